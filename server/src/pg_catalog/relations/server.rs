//! What is one for the whole server: roles, databases, settings.

use super::{Row, row, tuple};
use crate::pg_catalog::objects::{BTREE_OID, DATABASE_OID, HEAP_OID, OWNER_OID, Objects};
use crate::pg_catalog::sql::datum::Datum;
use crate::pg_catalog::{CatalogView, schema};

/// The default tablespace.
const TABLESPACE_OID: u32 = 1_663;

/// Where Postgres has what all databases share; tools expect it.
const GLOBAL_TABLESPACE_OID: u32 = 1_664;

/// UTF8 in Postgres' numbering of encodings.
const UTF8: i64 = 6;

/// `pg_am`
pub(super) fn access_methods(_: &CatalogView, _: &Objects) -> Vec<Row> {
    vec![
        row! {"oid": HEAP_OID, "amname": "heap", "amhandler": 3u32, "amtype": "t"},
        row! {"oid": BTREE_OID, "amname": "btree", "amhandler": 330u32, "amtype": "i"},
    ]
}

/// `pg_language`
pub(super) fn languages(_: &CatalogView, _: &Objects) -> Vec<Row> {
    vec![row! {
        "oid": super::procedures::INTERNAL_OID,
        "lanname": "internal",
        "lanowner": OWNER_OID,
        "lanispl": false,
        "lanpltrusted": false,
        "lanplcallfoid": 0u32,
        "laninline": 0u32,
        "lanvalidator": 0u32,
    }]
}

/// `pg_extension`: what cannot be dropped is none.
pub(super) fn extensions(_: &CatalogView, _: &Objects) -> Vec<Row> {
    Vec::new()
}

/// `pg_roles`, `pg_authid`
pub(super) fn roles(view: &CatalogView, _: &Objects) -> Vec<Row> {
    let rows = view.roles.iter().map(|role| {
        row! {
            "oid": role.oid,
            "rolname": role.name.as_str(),
            "rolsuper": role.superuser,
            "rolinherit": role.inherits,
            "rolcreaterole": role.creates_roles,
            "rolcreatedb": role.superuser,
            "rolcanlogin": role.logs_in,
            "rolreplication": false,
            "rolbypassrls": role.superuser,
            "rolconnlimit": role.connection_limit.map_or(-1, i64::from),
            "rolvaliduntil": role.valid_until_micros.map_or(Datum::Null, Datum::Moment),
            // What is kept of a password is shown to nobody.
            "rolpassword": "********",
        }
    });
    rows.collect()
}

/// `pg_auth_members`
pub(super) fn members(view: &CatalogView, _: &Objects) -> Vec<Row> {
    let rows = view.members.iter().map(|member| {
        row! {
            "roleid": member.role,
            "member": member.member,
            "grantor": OWNER_OID,
            "admin_option": member.admin,
        }
    });
    rows.collect()
}

/// `pg_group`: roles that cannot log in.
pub(super) fn groups(view: &CatalogView, _: &Objects) -> Vec<Row> {
    let rows = view.roles.iter().filter(|role| !role.logs_in).map(|role| {
        let members = view.members.iter().filter(|member| member.role == role.oid);
        row! {
            "groname": role.name.as_str(),
            "grosysid": role.oid,
            "grolist": Datum::Array(members.map(|member| member.member.into()).collect()),
        }
    });
    rows.collect()
}

/// `pg_user`, `pg_shadow`
pub(super) fn users(view: &CatalogView, _: &Objects) -> Vec<Row> {
    let rows = view.roles.iter().filter(|role| role.logs_in).map(|role| {
        row! {
            "usename": role.name.as_str(),
            "usesysid": role.oid,
            "usecreatedb": role.superuser,
            "usesuper": role.superuser,
            "userepl": false,
            "usebypassrls": role.superuser,
            "passwd": "********",
        }
    });
    rows.collect()
}

/// `pg_default_acl`
pub(super) fn default_privileges(view: &CatalogView, _: &Objects) -> Vec<Row> {
    let rows = view.catalog.default_privileges().iter().map(|(of, (oid, acl))| {
        let schema = of.schema.as_ref().and_then(|schema| view.catalog.schemas().get(schema)).copied();
        row! {
            "oid": *oid,
            "defaclrole": of.owner.0,
            "defaclnamespace": schema.unwrap_or(0),
            "defaclobjtype": if of.relations { "r" } else { "n" },
            "defaclacl": Datum::texts(acl.iter().map(|item| item.shown(|oid| view.catalog.roles().name_of(oid)))),
        }
    });
    rows.collect()
}

/// `pg_database`
pub(super) fn databases(view: &CatalogView, _: &Objects) -> Vec<Row> {
    vec![row! {
        "oid": DATABASE_OID,
        "datname": view.database.as_str(),
        "datdba": OWNER_OID,
        "encoding": UTF8,
        "datlocprovider": "c",
        "datistemplate": false,
        "datallowconn": true,
        "datconnlimit": -1i64,
        "datfrozenxid": 0u32,
        "datminmxid": 0u32,
        "dattablespace": TABLESPACE_OID,
        "datcollate": "C.UTF-8",
        "datctype": "C.UTF-8",
    }]
}

/// `pg_tablespace`
pub(super) fn tablespaces(_: &CatalogView, _: &Objects) -> Vec<Row> {
    let row = |oid: u32, name: &str| row! {"oid": oid, "spcname": name, "spcowner": OWNER_OID};
    vec![row(TABLESPACE_OID, "pg_default"), row(GLOBAL_TABLESPACE_OID, "pg_global")]
}

/// `pg_settings`
pub(super) fn settings(view: &CatalogView, _: &Objects) -> Vec<Row> {
    let rows = view.settings.iter().map(|setting| {
        let (low, high) = setting.bounds.clone().unzip();
        row! {
            "name": setting.name.as_str(),
            "setting": setting.setting.as_str(),
            "unit": setting.unit,
            "category": "Client Connection Defaults",
            "short_desc": setting.description,
            "context": setting.context,
            "vartype": setting.type_name,
            "source": setting.source,
            "min_val": low.as_deref(),
            "max_val": high.as_deref(),
            "enumvals": setting.choices.map_or(Datum::Null, |choices| Datum::texts(choices.iter().copied())),
            "boot_val": setting.boot.as_str(),
            "reset_val": setting.reset.as_str(),
            "pending_restart": false,
        }
    });
    rows.collect()
}

/// The same as `pg_show_all_settings` gives them.
pub(in crate::pg_catalog) fn settings_records(view: &CatalogView) -> Vec<Datum> {
    let Some(definition) = schema::find("pg_catalog", "pg_settings") else { return Vec::new() };
    let objects = Objects::of(&CatalogView::default());
    settings(view, &objects).iter().map(|row| Datum::Record(tuple(definition, row))).collect()
}
