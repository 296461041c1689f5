//! Relations, their columns, indexes and constraints.

use std::sync::LazyLock;

use super::{Row, row, tuple};
use crate::pg_catalog::CatalogView;
use crate::pg_catalog::objects::{BTREE_OID, HEAP_OID, Index, Object, Objects};
use crate::pg_catalog::roles;
use crate::pg_catalog::schema;
use crate::pg_catalog::sql::Tuple;
use crate::pg_catalog::sql::datum::Datum;
use crate::pg_catalog::sql::types::{self, Type};

/// Added to a column's number it gives the OID of its default, with the table's OID above.
const DEFAULT_BIT: u32 = 1 << 28;

/// `pg_namespace`
pub(super) fn namespaces(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = objects.schemas.iter();
    rows.map(|(name, oid)| {
        row! {
            "oid": *oid,
            "nspname": name.as_str(),
            "nspowner": roles::schema_owner(view, *oid),
            "nspacl": roles::acl_of(view, roles::Privileged::Schema(*oid)),
        }
    })
    .collect()
}

/// `pg_class`
pub(super) fn classes(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    let relations = objects.relations.iter().map(|object| {
        let method = if object.kind == "v" { 0 } else { HEAP_OID };
        let indexed = objects.indexes_on(object.oid).next().is_some();
        let mut row = class(
            object.oid,
            object.name.as_str(),
            object.schema_oid,
            object.owner,
            object.kind,
            method,
            [
                object.columns.len().into(),
                indexed.into(),
                matches!(object.kind, "v" | "m").into(),
                if object.is_system() || object.kind == "v" { "n" } else { "d" }.into(),
            ],
        );
        row.extend(row! {
            "reltype": object.row_type().unwrap_or(0),
            "relacl": roles::acl_of(view, roles::Privileged::Relation(object)),
        });
        row
    });
    let indexes = objects.indexes.iter().map(|index| {
        class(
            index.oid,
            index.name.as_str(),
            index.schema_oid,
            index.owner,
            "i",
            BTREE_OID,
            [index.columns.len().into(), false.into(), false.into(), "n".into()],
        )
    });
    relations.chain(indexes).collect()
}

fn class(
    oid: u32,
    name: &str,
    schema_oid: u32,
    owner: u32,
    kind: &str,
    method: u32,
    [columns, indexed, rules, identity]: [Datum; 4],
) -> Row {
    row! {
        "oid": oid,
        "relname": name,
        "relnamespace": schema_oid,
        "reltype": 0u32,
        "reloftype": 0u32,
        "relowner": owner,
        "relam": method,
        "relfilenode": 0u32,
        "reltablespace": 0u32,
        // As of a table that was never analyzed: nothing is known of the rows before they are counted.
        "relpages": 0u32,
        "reltuples": Datum::Float(-1.0),
        "relallvisible": 0u32,
        "reltoastrelid": 0u32,
        "relhasindex": indexed,
        "relisshared": false,
        "relpersistence": "p",
        "relkind": kind,
        "relnatts": columns,
        "relchecks": 0u32,
        "relhasrules": rules,
        "relhastriggers": false,
        "relhassubclass": false,
        "relrowsecurity": false,
        "relforcerowsecurity": false,
        "relispopulated": true,
        "relreplident": identity,
        "relispartition": false,
        "relrewrite": 0u32,
        "relfrozenxid": 0u32,
        "relminmxid": 0u32,
    }
}

/// The columns of the server's own relations: the same for everybody.
pub(super) static SYSTEM_ATTRIBUTES: LazyLock<Vec<Tuple>> = LazyLock::new(|| {
    let definition = schema::find("pg_catalog", "pg_attribute").expect("pg_attribute is defined");
    let objects = Objects::of(&CatalogView::default());
    let rows = objects.relations.iter().flat_map(|object| attributes_of(object));
    rows.map(|row| tuple(definition, &row)).collect()
});

/// `pg_attribute`, without the server's own relations.
pub(super) fn attributes(_: &CatalogView, objects: &Objects) -> Vec<Row> {
    let users = objects.relations.iter().filter(|object| schema::find(&object.schema, &object.name).is_none());
    let of_relations = users.flat_map(|object| attributes_of(object));
    let of_indexes = objects.indexes.iter().flat_map(|index| {
        let table = objects.relation(index.table_oid);
        let columns = index.columns.iter().enumerate();
        let rows = columns.filter_map(|(position, column)| Some(attribute(table?, *column, index.oid, position + 1)));
        rows.collect::<Vec<_>>()
    });
    of_relations.chain(of_indexes).collect()
}

fn attributes_of(object: &Object) -> Vec<Row> {
    (0..object.columns.len()).map(|column| attribute(object, column, object.oid, column + 1)).collect()
}

fn attribute(object: &Object, at: usize, relation_oid: u32, number: usize) -> Row {
    let column = &object.columns[at];
    let of_table = relation_oid == object.oid;
    let (row, array) = types::of_oid(column.type_oid).unwrap_or((&types::types()[0], false));
    let by_value = !array && row.by_value;
    let dimensions = i64::from(array || column.type_oid == 22 || column.type_oid == 30);
    row! {
        "attrelid": relation_oid,
        "attname": column.name.as_str(),
        "atttypid": column.type_oid,
        "attstattarget": -1i64,
        "attlen": if array { -1 } else { row.length },
        "attnum": number,
        "attndims": if of_table { dimensions } else { 0 },
        "attcacheoff": -1i64,
        "atttypmod": column.modifier,
        "attbyval": by_value,
        "attalign": if array && row.align != "d" { "i" } else { row.align },
        "attstorage": if array { "x" } else { row.storage },
        "attcompression": "",
        "attnotnull": of_table && column.not_null,
        "atthasdef": of_table && column.default.is_some(),
        "atthasmissing": false,
        "attidentity": "",
        "attgenerated": if of_table && column.generated { "s" } else { "" },
        "attisdropped": false,
        "attislocal": true,
        "attinhcount": 0u32,
        "attcollation": row.collation,
    }
}

/// `pg_attrdef`
pub(super) fn defaults(_: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = objects.relations.iter().flat_map(|object| {
        object.columns.iter().enumerate().filter_map(|(at, column)| {
            let expression = column.default.as_deref()?;
            let oid = DEFAULT_BIT | (object.oid << 8 & (DEFAULT_BIT - 1)) | (at as u32 & 0xff);
            Some(row! {"oid": oid, "adrelid": object.oid, "adnum": at + 1, "adbin": expression})
        })
    });
    rows.collect()
}

/// Numbers of an index' columns, from 1.
fn key_numbers(index: &Index) -> Datum {
    Datum::Array(index.columns.iter().map(|column| Datum::from(column + 1)).collect())
}

/// `pg_index`
pub(super) fn indexes(_: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = objects.indexes.iter().map(|index| {
        let count = index.columns.len();
        let type_of =
            |column: &usize| objects.relation(index.table_oid).map_or(0, |table| table.columns[*column].type_oid);
        let collation = |oid: u32| types::of_oid(oid).map_or(0, |(row, _)| row.collation);
        let collations = index.columns.iter().map(|column| collation(type_of(column)).into());
        let classes = index.columns.iter().map(|column| super::types::operator_class_of(type_of(column)).into());
        row! {
            "indexrelid": index.oid,
            "indrelid": index.table_oid,
            "indnatts": count,
            "indnkeyatts": count,
            "indisunique": index.unique,
            "indnullsnotdistinct": false,
            "indisprimary": index.primary,
            "indisexclusion": false,
            "indimmediate": true,
            "indisclustered": false,
            "indisvalid": true,
            "indcheckxmin": false,
            "indisready": true,
            "indislive": true,
            "indisreplident": false,
            "indkey": key_numbers(index),
            "indcollation": Datum::Array(collations.collect()),
            "indclass": Datum::Array(classes.collect()),
            "indoption": Datum::Array(index.orders.iter().map(|(descending, nulls_first)| {
                Datum::from(usize::from(*descending) + 2 * usize::from(*nulls_first))
            }).collect()),
        }
    });
    rows.collect()
}

/// `pg_constraint`
pub(super) fn constraints(_: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = objects.indexes.iter().filter_map(|index| {
        let oid = index.constraint_oid?;
        Some(row! {
            "oid": oid,
            "conname": index.name.as_str(),
            "connamespace": index.schema_oid,
            "contype": if index.primary { "p" } else { "u" },
            "condeferrable": false,
            "condeferred": false,
            "convalidated": true,
            "conrelid": index.table_oid,
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
            "conkey": key_numbers(index),
        })
    });
    rows.collect()
}

fn owner(view: &CatalogView, object: &Object) -> Datum {
    view.roles.iter().find(|role| role.oid == object.owner).map(|role| role.name.as_str()).into()
}

/// `pg_tables`
pub(super) fn tables(view: &CatalogView, objects: &Objects) -> Vec<Row> {
    let tables = objects.relations.iter().filter(|object| object.kind == "r");
    let rows = tables.map(|object| {
        row! {
            "schemaname": object.schema.as_str(),
            "tablename": object.name.as_str(),
            "tableowner": owner(view, object),
            "hasindexes": objects.indexes_on(object.oid).next().is_some(),
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
            "viewowner": owner(view, object),
            "definition": object.definition(),
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
            "matviewowner": owner(view, object),
            "hasindexes": objects.indexes_on(object.oid).next().is_some(),
            "ispopulated": true,
            "definition": object.definition(),
        }
    });
    rows.collect()
}

/// `pg_indexes`
pub(super) fn index_texts(_: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = objects.indexes.iter().map(|index| {
        row! {
            "schemaname": index.schema.as_str(),
            "tablename": index.table.as_str(),
            "indexname": index.name.as_str(),
            "indexdef": index.definition(false),
        }
    });
    rows.collect()
}

/// The type of a column, for the standard's views.
pub(super) fn type_of(oid: u32) -> Type {
    Type::of_oid(oid).unwrap_or(types::TEXT)
}
