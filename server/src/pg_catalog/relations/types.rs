//! Types and collations.

use super::{Cell, Row, row};
use crate::pg_catalog::CatalogView;
use crate::pg_catalog::objects::{DEFAULT_COLLATION_OID, OWNER_OID, Objects, PG_CATALOG_OID};

/// The collation of `name`.
const C_COLLATION_OID: u32 = 950;

/// A type: OID, name, bytes (−1: it varies), type (`b`ase or `p`seudo), category, element, array.
pub(in crate::pg_catalog) struct TypeRow(
    pub(in crate::pg_catalog) u32,
    pub(in crate::pg_catalog) &'static str,
    pub(in crate::pg_catalog) i64,
    pub(in crate::pg_catalog) &'static str,
    pub(in crate::pg_catalog) &'static str,
    pub(in crate::pg_catalog) u32,
    pub(in crate::pg_catalog) u32,
);

/// The types that values can have, as Postgres numbers them.
pub(in crate::pg_catalog) const TYPES: &[TypeRow] = &[
    TypeRow(16, "bool", 1, "b", "B", 0, 1000),
    TypeRow(17, "bytea", -1, "b", "U", 0, 1001),
    TypeRow(18, "char", 1, "b", "Z", 0, 1002),
    TypeRow(19, "name", 64, "b", "S", 18, 1003),
    TypeRow(20, "int8", 8, "b", "N", 0, 1016),
    TypeRow(21, "int2", 2, "b", "N", 0, 1005),
    TypeRow(22, "int2vector", -1, "b", "A", 21, 1006),
    TypeRow(23, "int4", 4, "b", "N", 0, 1007),
    TypeRow(24, "regproc", 4, "b", "N", 0, 1008),
    TypeRow(25, "text", -1, "b", "S", 0, 1009),
    TypeRow(26, "oid", 4, "b", "N", 0, 1028),
    TypeRow(30, "oidvector", -1, "b", "A", 26, 1013),
    TypeRow(114, "json", -1, "b", "U", 0, 199),
    TypeRow(194, "pg_node_tree", -1, "b", "Z", 0, 0),
    TypeRow(700, "float4", 4, "b", "N", 0, 1021),
    TypeRow(701, "float8", 8, "b", "N", 0, 1022),
    TypeRow(705, "unknown", -2, "p", "X", 0, 0),
    TypeRow(1042, "bpchar", -1, "b", "S", 0, 1014),
    TypeRow(1043, "varchar", -1, "b", "S", 0, 1015),
    TypeRow(1082, "date", 4, "b", "D", 0, 1182),
    TypeRow(1083, "time", 8, "b", "D", 0, 1183),
    TypeRow(1114, "timestamp", 8, "b", "D", 0, 1115),
    TypeRow(1184, "timestamptz", 8, "b", "D", 0, 1185),
    TypeRow(1186, "interval", 16, "b", "T", 0, 1187),
    TypeRow(1700, "numeric", -1, "b", "N", 0, 1231),
    TypeRow(2205, "regclass", 4, "b", "N", 0, 2210),
    TypeRow(2206, "regtype", 4, "b", "N", 0, 2211),
    TypeRow(2249, "record", -1, "p", "P", 0, 2287),
    TypeRow(2277, "anyarray", -1, "p", "P", 0, 0),
    TypeRow(2278, "void", 4, "p", "P", 0, 0),
    TypeRow(2950, "uuid", 16, "b", "U", 0, 2951),
    TypeRow(3802, "jsonb", -1, "b", "U", 0, 3807),
];

/// The collation of a type, 0 when it has none.
pub(super) fn collation_of(type_oid: u32) -> u32 {
    match type_oid {
        19 | 1003 => C_COLLATION_OID,
        25 | 194 | 1042 | 1043 | 1009 | 1014 | 1015 => DEFAULT_COLLATION_OID,
        _ => 0,
    }
}

/// `pg_type`: every type and, behind it, its array.
pub(super) fn types(_: &CatalogView, _: &Objects) -> Vec<Row> {
    let mut rows = Vec::new();
    for TypeRow(oid, name, length, kind, category, element, array) in TYPES {
        let stored = if *element == 0 { *name } else { "array" };
        rows.push(type_row(*oid, (*name).to_owned(), *length, kind, category, *element, *array, stored));
        if *array != 0 {
            rows.push(type_row(*array, format!("_{name}"), -1, kind, "A", *oid, 0, "array"));
        }
    }
    rows
}

#[expect(clippy::too_many_arguments, reason = "the fields of a row, named where it is built")]
fn type_row(
    oid: u32,
    name: String,
    length: i64,
    kind: &str,
    category: &str,
    element: u32,
    array: u32,
    stored: &str,
) -> Row {
    let functions = match stored {
        "array" => "array_".to_owned(),
        "bool" | "bytea" | "char" | "int8" | "int2" | "int4" | "text" | "oid" | "float4" | "float8" | "bpchar"
        | "varchar" | "name" | "regproc" | "regclass" | "regtype" | "unknown" | "void" => stored.to_owned(),
        other => format!("{other}_"),
    };
    let by_value = matches!(length, 1 | 2 | 4 | 8);
    row! {
        "oid": oid,
        "typname": name,
        "typnamespace": PG_CATALOG_OID,
        "typowner": OWNER_OID,
        "typlen": length,
        "typbyval": by_value,
        "typtype": kind,
        "typcategory": category,
        "typispreferred": matches!(oid, 16 | 25 | 26 | 701 | 1184 | 1186),
        "typisdefined": true,
        "typdelim": ",",
        "typrelid": 0u32,
        "typsubscript": "-",
        "typelem": element,
        "typarray": array,
        "typinput": format!("{functions}in"),
        "typoutput": format!("{functions}out"),
        "typreceive": format!("{functions}recv"),
        "typsend": format!("{functions}send"),
        "typmodin": "-",
        "typmodout": "-",
        "typanalyze": "-",
        "typalign": if length == 8 { "d" } else { "i" },
        "typstorage": if length == -1 { "x" } else { "p" },
        "typnotnull": false,
        "typbasetype": 0u32,
        "typtypmod": -1i64,
        "typndims": 0u32,
        "typcollation": collation_of(oid),
    }
}

/// `pg_collation`
pub(super) fn collations(_: &CatalogView, _: &Objects) -> Vec<Row> {
    let collation = |oid: u32, name: &str, provider: &str, locale: Cell| {
        let mut row = row! {
            "oid": oid,
            "collname": name,
            "collnamespace": PG_CATALOG_OID,
            "collowner": OWNER_OID,
            "collprovider": provider,
            "collisdeterministic": true,
            "collencoding": -1i64,
        };
        row.push(("collcollate", locale.clone()));
        row.push(("collctype", locale));
        row
    };
    vec![
        collation(DEFAULT_COLLATION_OID, "default", "d", Cell::Null),
        collation(C_COLLATION_OID, "C", "c", Cell::from("C")),
    ]
}
