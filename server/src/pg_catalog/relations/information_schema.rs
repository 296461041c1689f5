//! The standard's views of the catalog. Like Postgres they show what the user owns, which is everything.

use super::types::{TYPES, TypeRow};
use super::{Cell, Row, row};
use crate::pg_catalog::CatalogView;
use crate::pg_catalog::objects::{Object, Objects, column_type};
use crate::wire::values::Kind;

/// `information_schema_catalog_name`
pub(super) fn catalog_name(view: &CatalogView, _: &Objects) -> Vec<Row> {
    vec![row! {"catalog_name": view.database.as_str()}]
}

/// `schemata`
pub(super) fn schemata(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = objects.schemas.iter().map(|(name, _)| {
        row! {
            "catalog_name": view.database.as_str(),
            "schema_name": name.as_str(),
            "schema_owner": view.user.as_str(),
        }
    });
    rows.collect()
}

/// `enabled_roles`
pub(super) fn enabled_roles(view: &CatalogView, _: &Objects) -> Vec<Row> {
    vec![row! {"role_name": view.user.as_str()}]
}

/// `applicable_roles`
pub(super) fn applicable_roles(view: &CatalogView, _: &Objects) -> Vec<Row> {
    vec![row! {"grantee": view.user.as_str(), "role_name": view.user.as_str(), "is_grantable": "YES"}]
}

/// `tables`
pub(super) fn tables(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = objects.relations.iter().map(|object| {
        // The standard knows no materialized views: tools that read this list them among the views.
        let (kind, insertable) = match object.kind {
            "r" => ("BASE TABLE", "YES"),
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
            "view_definition": object.query.as_str(),
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
        .flat_map(|object| (0..object.columns.fields().len()).map(|column| column_row(view, object, column)));
    rows.collect()
}

fn column_row(view: &CatalogView, object: &Object, column: usize) -> Row {
    let field = object.columns.field(column);
    let (kind, oid, modifier) = column_type(field);
    let nullable = field.is_nullable() && !object.key.contains(&column);
    let mut row = row! {
        "table_catalog": view.database.as_str(),
        "table_schema": object.schema.as_str(),
        "table_name": object.name.as_str(),
        "column_name": field.name().as_str(),
        "ordinal_position": column + 1,
        "is_nullable": if nullable { "YES" } else { "NO" },
        "data_type": if kind == Kind::Array { "ARRAY" } else { kind.sql_name() },
        "udt_catalog": view.database.as_str(),
        "udt_schema": "pg_catalog",
        "udt_name": type_name(oid),
        "dtd_identifier": (column + 1).to_string(),
        "is_self_referencing": "NO",
        "is_identity": "NO",
        "is_generated": "NEVER",
        "is_updatable": if object.kind == "r" { "YES" } else { "NO" },
    };
    let default = object.defaults.get(column).cloned().flatten();
    row.push(("column_default", default.map_or(Cell::Null, Cell::from)));
    let precision = match kind {
        Kind::Int2 => Some((16, 2, Some(0))),
        Kind::Int4 => Some((32, 2, Some(0))),
        Kind::Int8 => Some((64, 2, Some(0))),
        Kind::Float4 => Some((24, 2, None)),
        Kind::Float8 => Some((53, 2, None)),
        Kind::Numeric if modifier >= 0 => {
            Some((i64::from(modifier >> 16), 10, Some(i64::from((modifier - 4) & 0xffff))))
        }
        _ => None,
    };
    if let Some((precision, radix, scale)) = precision {
        row.extend(row! {"numeric_precision": precision, "numeric_precision_radix": radix as i64});
        row.push(("numeric_scale", scale.map_or(Cell::Null, Cell::Int)));
    }
    if matches!(kind, Kind::Time | Kind::Timestamp | Kind::Timestamptz | Kind::Interval) {
        row.extend(row! {"datetime_precision": 6i64});
    }
    row
}

/// The internal name of a type, with an underscore before that of an array's element.
fn type_name(oid: u32) -> String {
    let found = TYPES.iter().find_map(|TypeRow(known, name, .., array)| match oid {
        oid if oid == *known => Some((*name).to_owned()),
        oid if oid == *array => Some(format!("_{name}")),
        _ => None,
    });
    found.unwrap_or_else(|| "text".to_owned())
}

/// `table_constraints`
pub(super) fn table_constraints(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = objects.indexes().map(|index| {
        row! {
            "constraint_catalog": view.database.as_str(),
            "constraint_schema": index.table.schema.as_str(),
            "constraint_name": index.name.as_str(),
            "table_catalog": view.database.as_str(),
            "table_schema": index.table.schema.as_str(),
            "table_name": index.table.name.as_str(),
            "constraint_type": "PRIMARY KEY",
            "is_deferrable": "NO",
            "initially_deferred": "NO",
            "enforced": "YES",
        }
    });
    rows.collect()
}

/// `key_column_usage`
pub(super) fn key_columns(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = objects.indexes().flat_map(|index| {
        let columns = index.table.key.iter().enumerate().map(|(position, column)| {
            row! {
                "constraint_catalog": view.database.as_str(),
                "constraint_schema": index.table.schema.as_str(),
                "constraint_name": index.name.as_str(),
                "table_catalog": view.database.as_str(),
                "table_schema": index.table.schema.as_str(),
                "table_name": index.table.name.as_str(),
                "column_name": index.table.columns.field(*column).name().as_str(),
                "ordinal_position": position + 1,
            }
        });
        columns.collect::<Vec<_>>()
    });
    rows.collect()
}
