//! Relations, their columns, indexes and constraints.

use super::types::collation_of;
use super::{Cell, Row, row};
use crate::pg_catalog::CatalogView;
use crate::pg_catalog::objects::{BTREE_OID, HEAP_OID, Index, OWNER_OID, Object, Objects, column_type};

/// Added to a column's number it gives the OID of its default, with the table's OID above.
const DEFAULT_BIT: u32 = 1 << 28;

/// `pg_namespace`
pub(super) fn namespaces(_: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = objects.schemas.iter();
    rows.map(|(name, oid)| row! {"oid": *oid, "nspname": name.as_str(), "nspowner": OWNER_OID}).collect()
}

/// `pg_class`
pub(super) fn classes(_: &CatalogView, objects: &Objects) -> Vec<Row> {
    let relations = objects.relations.iter().map(|object| {
        let method = if object.kind == "v" { 0 } else { HEAP_OID };
        let mut row = class(object.oid, object.name.as_str(), object.schema_oid, object.kind, method);
        row.extend(row! {
            "relnatts": object.columns.fields().len(),
            "relhasindex": !object.key.is_empty(),
            "relhasrules": object.kind == "v",
            "relreplident": if object.is_system() { "n" } else { "d" },
        });
        row
    });
    let indexes = objects.indexes().map(|index| {
        let mut row = class(index.oid, index.name.as_str(), index.table.schema_oid, "i", BTREE_OID);
        row.extend(row! {
            "relnatts": index.table.key.len(),
            "relhasindex": false,
            "relhasrules": false,
            "relreplident": "n",
        });
        row
    });
    relations.chain(indexes).collect()
}

fn class(oid: u32, name: &str, schema_oid: u32, kind: &str, method: u32) -> Row {
    row! {
        "oid": oid,
        "relname": name,
        "relnamespace": schema_oid,
        "reltype": 0u32,
        "reloftype": 0u32,
        "relowner": OWNER_OID,
        "relam": method,
        "relfilenode": 0u32,
        "reltablespace": 0u32,
        "relpages": 0u32,
        "relallvisible": 0u32,
        "reltoastrelid": 0u32,
        "relisshared": false,
        "relpersistence": "p",
        "relkind": kind,
        "relchecks": 0u32,
        "relhastriggers": false,
        "relhassubclass": false,
        "relrowsecurity": false,
        "relforcerowsecurity": false,
        "relispopulated": true,
        "relispartition": false,
        "relrewrite": 0u32,
        "relfrozenxid": 0u32,
        "relminmxid": 0u32,
    }
}

/// `pg_attribute`
pub(super) fn attributes(_: &CatalogView, objects: &Objects) -> Vec<Row> {
    let of_relations = objects.relations.iter().flat_map(|object| {
        (0..object.columns.fields().len()).map(|column| attribute(object, column, object.oid, column + 1))
    });
    let of_indexes = objects.indexes().flat_map(|Index { table, oid, .. }| {
        let columns = table.key.iter().enumerate();
        columns.map(move |(position, column)| attribute(table, *column, oid, position + 1)).collect::<Vec<_>>()
    });
    of_relations.chain(of_indexes).collect()
}

fn attribute(object: &Object, column: usize, relation_oid: u32, number: usize) -> Row {
    let field = object.columns.field(column);
    let (kind, type_oid, modifier) = column_type(field);
    let has_default = relation_oid == object.oid && default_of(object, column).is_some();
    row! {
        "attrelid": relation_oid,
        "attname": field.name().as_str(),
        "atttypid": type_oid,
        "attstattarget": -1i64,
        "attlen": i64::from(kind.size_bytes()),
        "attnum": number,
        "attndims": i64::from(kind == crate::wire::values::Kind::Array),
        "attcacheoff": -1i64,
        "atttypmod": i64::from(modifier),
        "attbyval": matches!(kind.size_bytes(), 1 | 2 | 4 | 8),
        "attalign": "i",
        "attstorage": if kind.size_bytes() == -1 { "x" } else { "p" },
        "attcompression": "",
        "attnotnull": !field.is_nullable() || object.key.contains(&column),
        "atthasdef": has_default,
        "atthasmissing": false,
        "attidentity": "",
        "attgenerated": "",
        "attisdropped": false,
        "attislocal": true,
        "attinhcount": 0u32,
        "attcollation": collation_of(type_oid),
    }
}

fn default_of(object: &Object, column: usize) -> Option<&str> {
    object.defaults.get(column).and_then(Option::as_deref)
}

/// `pg_attrdef`
pub(super) fn defaults(_: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = objects.relations.iter().flat_map(|object| {
        (0..object.defaults.len()).filter_map(|column| {
            let expression = default_of(object, column)?;
            let oid = DEFAULT_BIT | (object.oid << 8 & (DEFAULT_BIT - 1)) | (column as u32 & 0xff);
            Some(row! {"oid": oid, "adrelid": object.oid, "adnum": column + 1, "adbin": expression})
        })
    });
    rows.collect()
}

/// Numbers of an index' columns, from 1.
fn key_numbers(index: &Index<'_>) -> Cell {
    Cell::Ints(index.table.key.iter().map(|column| *column as i64 + 1).collect())
}

/// `pg_index`
pub(super) fn indexes(_: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = objects.indexes().map(|index| {
        let count = index.table.key.len();
        let zeros = Cell::Ints(vec![0; count]);
        let mut row = row! {
            "indexrelid": index.oid,
            "indrelid": index.table.oid,
            "indnatts": count,
            "indnkeyatts": count,
            "indisunique": true,
            "indnullsnotdistinct": false,
            "indisprimary": true,
            "indisexclusion": false,
            "indimmediate": true,
            "indisclustered": false,
            "indisvalid": true,
            "indcheckxmin": false,
            "indisready": true,
            "indislive": true,
            "indisreplident": false,
        };
        row.push(("indkey", key_numbers(&index)));
        row.push(("indcollation", zeros.clone()));
        row.push(("indclass", zeros.clone()));
        row.push(("indoption", zeros));
        row
    });
    rows.collect()
}

/// `pg_constraint`
pub(super) fn constraints(_: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = objects.indexes().map(|index| {
        let mut row = row! {
            "oid": index.constraint_oid,
            "conname": index.name.as_str(),
            "connamespace": index.table.schema_oid,
            "contype": "p",
            "condeferrable": false,
            "condeferred": false,
            "convalidated": true,
            "conrelid": index.table.oid,
            "contypid": 0u32,
            "conindid": index.oid,
            "conparentid": 0u32,
            "confrelid": 0u32,
            "confupdtype": " ",
            "confdeltype": " ",
            "confmatchtype": " ",
            "conislocal": true,
            "coninhcount": 0u32,
            "connoinherit": true,
        };
        row.push(("conkey", key_numbers(&index)));
        row
    });
    rows.collect()
}

/// `pg_tables`
pub(super) fn tables(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    let tables = objects.relations.iter().filter(|object| object.kind == "r");
    let rows = tables.map(|object| {
        row! {
            "schemaname": object.schema.as_str(),
            "tablename": object.name.as_str(),
            "tableowner": view.user.as_str(),
            "hasindexes": !object.key.is_empty(),
            "hasrules": false,
            "hastriggers": false,
            "rowsecurity": false,
        }
    });
    rows.collect()
}

/// `pg_views`
pub(super) fn views(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    let views = objects.relations.iter().filter(|object| object.kind == "v");
    let rows = views.map(|object| {
        row! {
            "schemaname": object.schema.as_str(),
            "viewname": object.name.as_str(),
            "viewowner": view.user.as_str(),
            "definition": object.query.as_str(),
        }
    });
    rows.collect()
}

/// `pg_matviews`
pub(super) fn materialized_views(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    let views = objects.relations.iter().filter(|object| object.kind == "m");
    let rows = views.map(|object| {
        row! {
            "schemaname": object.schema.as_str(),
            "matviewname": object.name.as_str(),
            "matviewowner": view.user.as_str(),
            "hasindexes": false,
            "ispopulated": true,
            "definition": object.query.as_str(),
        }
    });
    rows.collect()
}

/// `pg_indexes`
pub(super) fn index_texts(_: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = objects.indexes().map(|index| {
        row! {
            "schemaname": index.table.schema.as_str(),
            "tablename": index.table.name.as_str(),
            "indexname": index.name.as_str(),
            "indexdef": index.definition(),
        }
    });
    rows.collect()
}
