//! The standard's views of the catalog. Like Postgres they show what the user owns, which is everything.

use millstream_planner::access::{PUBLIC, Privileges, RoleOid};

use super::classes::type_of;
use super::{Row, row};
use crate::pg_catalog::CatalogView;
use crate::pg_catalog::objects::{Object, Objects};
use crate::pg_catalog::roles::{self, Privileged};
use crate::pg_catalog::sql::datum::Datum;
use crate::pg_catalog::sql::types::{self, Type};

/// `information_schema_catalog_name`
pub(super) fn catalog_name(view: &CatalogView, _: &Objects) -> Vec<Row> {
    vec![row! {"catalog_name": view.database.as_str()}]
}

/// `schemata`
pub(super) fn schemata(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = objects.schemas.iter().map(|(name, oid)| {
        row! {
            "catalog_name": view.database.as_str(),
            "schema_name": name.as_str(),
            "schema_owner": roles::schema_owner_name(view, *oid),
        }
    });
    rows.collect()
}

/// `enabled_roles`: what the current user is, and is in.
pub(super) fn enabled_roles(view: &CatalogView, _: &Objects) -> Vec<Row> {
    let me = view.roles.iter().find(|role| role.name == view.user);
    let mine =
        view.roles.iter().filter(|role| me.is_some_and(|me| me.superuser || roles::is_member(view, me.oid, role.oid)));
    mine.map(|role| row! {"role_name": role.name.as_str()}).collect()
}

fn memberships(view: &CatalogView, wanted: impl Fn(bool) -> bool) -> Vec<Row> {
    let name = |oid: u32| view.roles.iter().find(|role| role.oid == oid).map(|role| role.name.as_str());
    let rows = view.members.iter().filter(|member| wanted(member.admin)).map(|member| {
        row! {
            "grantee": name(member.member),
            "role_name": name(member.role),
            "is_grantable": if member.admin { "YES" } else { "NO" },
        }
    });
    rows.collect()
}

/// `applicable_roles`
pub(super) fn applicable_roles(view: &CatalogView, _: &Objects) -> Vec<Row> {
    memberships(view, |_| true)
}

/// `administrable_role_authorizations`
pub(super) fn administrable_roles(view: &CatalogView, _: &Objects) -> Vec<Row> {
    memberships(view, |admin| admin)
}

/// `character_sets`
pub(super) fn character_sets(view: &CatalogView, _: &Objects) -> Vec<Row> {
    vec![row! {
        "character_set_name": "UTF8",
        "character_repertoire": "UCS",
        "form_of_use": "UTF8",
        "default_collate_catalog": view.database.as_str(),
        "default_collate_schema": "pg_catalog",
        "default_collate_name": "C.UTF-8",
    }]
}

/// `collations`
pub(super) fn collations(view: &CatalogView, _: &Objects) -> Vec<Row> {
    let rows = ["C", "POSIX", "default"].iter().map(|name| {
        row! {
            "collation_catalog": view.database.as_str(),
            "collation_schema": "pg_catalog",
            "collation_name": *name,
            "pad_attribute": "NO PAD",
        }
    });
    rows.collect()
}

/// `table_privileges`: what was granted on relations by or to a role that the current user is in, or to everybody.
pub(super) fn table_privileges(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    let me = view.roles.iter().find(|role| role.name == view.user);
    let is_mine = |role: RoleOid| me.is_some_and(|me| me.superuser || roles::is_member(view, me.oid, role.0));
    let name = |role: RoleOid| match role {
        PUBLIC => "PUBLIC".to_owned(),
        role => view.catalog.roles().name_of(role),
    };
    let mut rows = Vec::new();
    for object in objects.relations.iter().filter(|object| object.kind != "m") {
        let items = roles::items(view, object);
        let shown =
            items.iter().filter(|item| item.grantee == PUBLIC || is_mine(item.grantee) || is_mine(item.grantor));
        for item in shown {
            let owns = item.grantee.0 == object.owner;
            rows.extend(item.privileges.names().map(|(privilege, _)| {
                let grantable = owns || Privileges::named(privilege).is_some_and(|one| item.grantable.and(one) == one);
                row! {
                    "grantor": name(item.grantor),
                    "grantee": name(item.grantee),
                    "table_catalog": view.database.as_str(),
                    "table_schema": object.schema.as_str(),
                    "table_name": object.name.as_str(),
                    "privilege_type": privilege,
                    "is_grantable": if grantable { "YES" } else { "NO" },
                    "with_hierarchy": if privilege == "SELECT" { "YES" } else { "NO" },
                }
            }));
        }
    }
    rows
}

/// `role_table_grants`: the same without what everybody may do.
pub(super) fn role_table_grants(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    let is_all = |value: &Datum| matches!(value, Datum::Text(name) if &**name == "PUBLIC");
    let to_all = |row: &Row| row.iter().any(|(column, value)| *column == "grantee" && is_all(value));
    table_privileges(view, objects).into_iter().filter(|row| !to_all(row)).collect()
}

/// `column_privileges`, `role_column_grants`: what the current user may do with columns of users' relations.
pub(super) fn column_privileges(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    let Some(me) = view.roles.iter().find(|role| role.name == view.user) else { return Vec::new() };
    let users = objects.relations.iter().filter(|object| !object.is_system());
    let rows = users.flat_map(|object| {
        object.columns.iter().flat_map(move |column| {
            let privileges = ["INSERT", "SELECT", "UPDATE", "REFERENCES"].into_iter();
            let granted = privileges
                .filter(move |privilege| roles::may(view, me, Privileged::Relation(object), privilege, false));
            granted.map(move |privilege| {
                row! {
                    "grantor": view.user.as_str(),
                    "grantee": view.user.as_str(),
                    "table_catalog": view.database.as_str(),
                    "table_schema": object.schema.as_str(),
                    "table_name": object.name.as_str(),
                    "column_name": column.name.as_str(),
                    "privilege_type": privilege,
                    "is_grantable": "YES",
                }
            })
        })
    });
    rows.collect()
}

/// `tables`
pub(super) fn tables(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = objects.relations.iter().map(|object| {
        // The standard knows no materialized views: tools that read this list them among the views.
        let (kind, insertable) = match object.kind {
            "r" => ("BASE TABLE", if object.is_writable() { "YES" } else { "NO" }),
            "m" => ("MATERIALIZED VIEW", "NO"),
            _ => ("VIEW", "NO"),
        };
        row! {
            "table_catalog": view.database.as_str(),
            "table_schema": object.schema.as_str(),
            "table_name": object.name.as_str(),
            "table_type": kind,
            "is_insertable_into": insertable,
            "is_typed": "NO",
        }
    });
    rows.collect()
}

/// `views`
pub(super) fn views(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    let views = objects.relations.iter().filter(|object| object.kind == "v");
    let rows = views.map(|object| {
        row! {
            "table_catalog": view.database.as_str(),
            "table_schema": object.schema.as_str(),
            "table_name": object.name.as_str(),
            "view_definition": object.definition(),
            "check_option": "NONE",
            "is_updatable": "NO",
            "is_insertable_into": "NO",
            "is_trigger_updatable": "NO",
            "is_trigger_deletable": "NO",
            "is_trigger_insertable_into": "NO",
        }
    });
    rows.collect()
}

/// `columns`
pub(super) fn columns(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = objects
        .relations
        .iter()
        .flat_map(|object| (0..object.columns.len()).map(|column| column_row(view, object, column)));
    rows.collect()
}

fn column_row(view: &CatalogView, object: &Object, at: usize) -> Row {
    let column = &object.columns[at];
    let ty = type_of(column.type_oid);
    let (precision, radix, scale) = numeric_digits(&ty, column.modifier);
    let moment = match column.type_oid {
        1082 => Some(0),
        1083 | 1114 | 1184 if column.modifier >= 0 => Some(column.modifier),
        1083 | 1114 | 1184 | 1186 => Some(6),
        _ => None,
    };
    let length = (matches!(column.type_oid, 1042 | 1043) && column.modifier >= 4).then(|| column.modifier - 4);
    let text = matches!(column.type_oid, 25 | 1042 | 1043);
    let octets = text.then(|| length.map_or(1 << 30, |characters| characters * 4));
    let (default, generated) = match &column.default {
        Some(expression) if column.generated => (None, Some(expression.as_str())),
        other => (other.as_deref(), None),
    };
    row! {
        "table_catalog": view.database.as_str(),
        "table_schema": object.schema.as_str(),
        "table_name": object.name.as_str(),
        "column_name": column.name.as_str(),
        "ordinal_position": at + 1,
        "column_default": default,
        "is_nullable": if column.not_null { "NO" } else { "YES" },
        "data_type": if matches!(ty, Type::Array(_) | Type::Plain(22 | 30)) { "ARRAY".to_owned() } else { ty.sql_name() },
        "character_maximum_length": length,
        "character_octet_length": octets,
        "numeric_precision": precision,
        "numeric_precision_radix": radix,
        "numeric_scale": scale,
        "datetime_precision": moment,
        "collation_name": Datum::Null,
        "udt_catalog": view.database.as_str(),
        "udt_schema": "pg_catalog",
        "udt_name": type_name(column.type_oid),
        "dtd_identifier": (at + 1).to_string(),
        "is_self_referencing": "NO",
        "is_identity": "NO",
        "identity_cycle": "NO",
        "is_generated": if column.generated { "ALWAYS" } else { "NEVER" },
        "generation_expression": generated,
        "is_updatable": if object.is_writable() { "YES" } else { "NO" },
    }
}

/// Precision, its radix, and scale.
fn numeric_digits(ty: &Type, modifier: i64) -> (Option<i64>, Option<i64>, Option<i64>) {
    match ty.oid() {
        21 => (Some(16), Some(2), Some(0)),
        23 => (Some(32), Some(2), Some(0)),
        20 => (Some(64), Some(2), Some(0)),
        700 => (Some(24), Some(2), None),
        701 => (Some(53), Some(2), None),
        1700 if modifier >= 4 => (Some((modifier - 4) >> 16), Some(10), Some((modifier - 4) & 0xffff)),
        1700 => (None, Some(10), None),
        _ => (None, None, None),
    }
}

/// The internal name of a type, with an underscore before that of an array's element.
fn type_name(oid: u32) -> String {
    match types::of_oid(oid) {
        Some((row, true)) => format!("_{}", row.name),
        Some((row, false)) => row.name.to_owned(),
        None => "text".to_owned(),
    }
}
