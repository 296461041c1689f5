//! What is one for the whole server: roles, databases, settings.

use super::{Row, row};
use crate::pg_catalog::CatalogView;
use crate::pg_catalog::objects::{BTREE_OID, DATABASE_OID, HEAP_OID, OWNER_OID, Objects};

/// The default tablespace.
const TABLESPACE_OID: u32 = 1_663;

/// UTF8 in Postgres' numbering of encodings.
const UTF8: i64 = 6;

/// `pg_am`
pub(super) fn access_methods(_: &CatalogView, _: &Objects) -> Vec<Row> {
    vec![
        row! {"oid": HEAP_OID, "amname": "heap", "amhandler": "heap_tableam_handler", "amtype": "t"},
        row! {"oid": BTREE_OID, "amname": "btree", "amhandler": "bthandler", "amtype": "i"},
    ]
}

/// `pg_roles`, `pg_authid`
pub(super) fn roles(view: &CatalogView, _: &Objects) -> Vec<Row> {
    vec![row! {
        "oid": OWNER_OID,
        "rolname": view.user.as_str(),
        "rolsuper": true,
        "rolinherit": true,
        "rolcreaterole": true,
        "rolcreatedb": true,
        "rolcanlogin": true,
        "rolreplication": false,
        "rolbypassrls": true,
        "rolconnlimit": -1i64,
    }]
}

/// `pg_user`, `pg_shadow`
pub(super) fn users(view: &CatalogView, _: &Objects) -> Vec<Row> {
    vec![row! {
        "usename": view.user.as_str(),
        "usesysid": OWNER_OID,
        "usecreatedb": true,
        "usesuper": true,
        "userepl": false,
        "usebypassrls": true,
    }]
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
        "dattablespace": TABLESPACE_OID,
        "datcollate": "C.UTF-8",
        "datctype": "C.UTF-8",
    }]
}

/// `pg_tablespace`
pub(super) fn tablespaces(_: &CatalogView, _: &Objects) -> Vec<Row> {
    vec![row! {"oid": TABLESPACE_OID, "spcname": "pg_default", "spcowner": OWNER_OID}]
}

/// `pg_settings`
pub(super) fn settings(view: &CatalogView, _: &Objects) -> Vec<Row> {
    let rows = view.settings.iter().map(|setting| {
        let (low, high) = setting.bounds.clone().unzip();
        row! {
            "name": setting.name.as_str(),
            "setting": setting.setting.as_str(),
            "unit": setting.unit,
            "category": "Millstream",
            "short_desc": setting.description,
            "context": setting.context,
            "vartype": setting.type_name,
            "source": setting.source,
            "min_val": low.as_deref(),
            "max_val": high.as_deref(),
            "enumvals": setting.choices.map(|choices| format!("{{{}}}", choices.join(","))),
            "boot_val": setting.boot.as_str(),
            "reset_val": setting.reset.as_str(),
            "pending_restart": false,
        }
    });
    rows.collect()
}
