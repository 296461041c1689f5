//! The standard's views of constraints, and of what views read.

use super::{Row, row};
use crate::pg_catalog::CatalogView;
use crate::pg_catalog::objects::{Index, Objects};

fn kept(objects: &Objects) -> impl Iterator<Item = &Index> {
    objects.indexes.iter().filter(|index| index.constraint_oid.is_some())
}

/// `table_constraints`
pub(super) fn table_constraints(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = kept(objects).map(|index| {
        row! {
            "constraint_catalog": view.database.as_str(),
            "constraint_schema": index.schema.as_str(),
            "constraint_name": index.name.as_str(),
            "table_catalog": view.database.as_str(),
            "table_schema": index.schema.as_str(),
            "table_name": index.table.as_str(),
            "constraint_type": if index.primary { "PRIMARY KEY" } else { "UNIQUE" },
            "is_deferrable": "NO",
            "initially_deferred": "NO",
            "enforced": "YES",
        }
    });
    rows.collect()
}

/// `key_column_usage`
pub(super) fn key_columns(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = kept(objects).flat_map(|index| {
        index.column_names.iter().enumerate().map(|(position, column)| {
            row! {
                "constraint_catalog": view.database.as_str(),
                "constraint_schema": index.schema.as_str(),
                "constraint_name": index.name.as_str(),
                "table_catalog": view.database.as_str(),
                "table_schema": index.schema.as_str(),
                "table_name": index.table.as_str(),
                "column_name": column.as_str(),
                "ordinal_position": position + 1,
            }
        })
    });
    rows.collect()
}

/// `constraint_column_usage`
pub(super) fn constraint_columns(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = kept(objects).flat_map(|index| {
        index.column_names.iter().map(|column| {
            row! {
                "table_catalog": view.database.as_str(),
                "table_schema": index.schema.as_str(),
                "table_name": index.table.as_str(),
                "column_name": column.as_str(),
                "constraint_catalog": view.database.as_str(),
                "constraint_schema": index.schema.as_str(),
                "constraint_name": index.name.as_str(),
            }
        })
    });
    rows.collect()
}

/// `constraint_table_usage`: only of foreign keys, which there are none, and of keys.
pub(super) fn constraint_tables(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = kept(objects).map(|index| {
        row! {
            "table_catalog": view.database.as_str(),
            "table_schema": index.schema.as_str(),
            "table_name": index.table.as_str(),
            "constraint_catalog": view.database.as_str(),
            "constraint_schema": index.schema.as_str(),
            "constraint_name": index.name.as_str(),
        }
    });
    rows.collect()
}

/// `view_table_usage`
pub(super) fn view_tables(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    let views = objects.relations.iter().filter(|object| object.kind == "v" && !object.is_system());
    let rows = views.flat_map(|object| {
        object.reads.iter().filter_map(|read| {
            let read = objects.relation(*read)?;
            Some(row! {
                "view_catalog": view.database.as_str(),
                "view_schema": object.schema.as_str(),
                "view_name": object.name.as_str(),
                "table_catalog": view.database.as_str(),
                "table_schema": read.schema.as_str(),
                "table_name": read.name.as_str(),
            })
        })
    });
    rows.collect()
}

/// `view_column_usage`: which columns a view reads is not kept.
pub(super) fn view_columns(_: &CatalogView, _: &Objects) -> Vec<Row> {
    Vec::new()
}
