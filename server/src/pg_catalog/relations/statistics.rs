//! Statistics: what exists, with counters of what is not counted left empty.

use super::{Row, row};
use crate::pg_catalog::CatalogView;
use crate::pg_catalog::objects::{DATABASE_OID, Object, Objects};

fn tables(objects: &Objects, wanted: impl Fn(&Object) -> bool) -> Vec<Row> {
    let tables = objects.relations.iter().filter(|object| object.kind != "v" && wanted(object));
    let rows = tables.map(|object| {
        row! {
            "relid": object.oid,
            "schemaname": object.schema.as_str(),
            "relname": object.name.as_str(),
        }
    });
    rows.collect()
}

/// `pg_stat_all_tables`
pub(super) fn all_tables(_: &CatalogView, objects: &Objects) -> Vec<Row> {
    tables(objects, |_| true)
}

/// `pg_stat_user_tables`
pub(super) fn user_tables(_: &CatalogView, objects: &Objects) -> Vec<Row> {
    tables(objects, |object| !object.is_system())
}

/// `pg_stat_sys_tables`
pub(super) fn system_tables(_: &CatalogView, objects: &Objects) -> Vec<Row> {
    tables(objects, Object::is_system)
}

/// `pg_statio_all_tables`
pub(super) fn all_tables_io(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    all_tables(view, objects)
}

/// `pg_statio_user_tables`
pub(super) fn user_tables_io(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    user_tables(view, objects)
}

/// `pg_stat_all_indexes`
pub(super) fn all_indexes(_: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = objects.indexes.iter().map(|index| {
        row! {
            "relid": index.table_oid,
            "indexrelid": index.oid,
            "schemaname": index.schema.as_str(),
            "relname": index.table.as_str(),
            "indexrelname": index.name.as_str(),
        }
    });
    rows.collect()
}

/// `pg_stat_user_indexes`
pub(super) fn user_indexes(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    all_indexes(view, objects)
}

/// `pg_stat_database`
pub(super) fn databases(view: &CatalogView, _: &Objects) -> Vec<Row> {
    vec![row! {
        "datid": DATABASE_OID,
        "datname": view.database.as_str(),
        "numbackends": view.sessions.len(),
    }]
}
