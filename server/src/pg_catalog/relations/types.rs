//! Types, collations, and the classes by which btree indexes order them.

use super::{Row, row};
use crate::pg_catalog::CatalogView;
use crate::pg_catalog::objects::{BTREE_OID, DEFAULT_COLLATION_OID, OWNER_OID, Object, Objects, PG_CATALOG_OID};
use crate::pg_catalog::sql::datum::Datum;
use crate::pg_catalog::sql::types::{self, TypeRow};

/// The collation of `name`.
const C_COLLATION_OID: u32 = 950;

/// Functions of array types: in, out, recv, send, typanalyze, subscript handler; and the handler of `name`.
const ARRAY_FUNCTIONS: [u32; 4] = [750, 751, 2_400, 2_401];
/// Functions of types of rows: in, out, recv, send.
const RECORD_FUNCTIONS: [u32; 4] = [2_290, 2_291, 2_402, 2_403];
const ARRAY_ANALYZE: u32 = 3_816;
const ARRAY_SUBSCRIPT: u32 = 6_179;
const RAW_SUBSCRIPT: u32 = 6_180;

/// `pg_type`: every type and, behind it, its array.
pub(super) fn types(_: &CatalogView, objects: &Objects) -> Vec<Row> {
    let own = types::types().iter().flat_map(|ty| [Some(plain(ty)), (ty.array != 0).then(|| array(ty))]).flatten();
    let of_rows = objects.relations.iter().filter_map(|object| Some((object, object.row_type()?)));
    own.chain(of_rows.flat_map(|(object, oid)| rows_of(object, oid))).collect()
}

/// The type of a relation's rows, and that of arrays of them.
fn rows_of(object: &Object, oid: u32) -> [Row; 2] {
    let common = |name: String, functions: [u32; 4]| {
        row! {
            "typname": name,
            "typnamespace": object.schema_oid,
            "typowner": object.owner,
            "typlen": -1i64,
            "typbyval": false,
            "typispreferred": false,
            "typisdefined": true,
            "typdelim": ",",
            "typinput": functions[0],
            "typoutput": functions[1],
            "typreceive": functions[2],
            "typsend": functions[3],
            "typmodin": 0u32,
            "typmodout": 0u32,
            "typalign": "d",
            "typstorage": "x",
            "typnotnull": false,
            "typbasetype": 0u32,
            "typtypmod": -1i64,
            "typndims": 0u32,
            "typcollation": 0u32,
        }
    };
    let mut row = common(object.name.clone(), RECORD_FUNCTIONS);
    row.extend(row! {
        "oid": oid,
        "typtype": "c",
        "typcategory": "C",
        "typrelid": object.oid,
        "typsubscript": 0u32,
        "typelem": 0u32,
        "typarray": object.row_array(),
        "typanalyze": 0u32,
    });
    let mut array = common(format!("_{}", object.name), ARRAY_FUNCTIONS);
    array.extend(row! {
        "oid": object.row_array(),
        "typtype": "b",
        "typcategory": "A",
        "typrelid": 0u32,
        "typsubscript": ARRAY_SUBSCRIPT,
        "typelem": oid,
        "typarray": 0u32,
        "typanalyze": ARRAY_ANALYZE,
    });
    [row, array]
}

fn plain(ty: &TypeRow) -> Row {
    let subscript = match ty.oid {
        22 | 30 => ARRAY_SUBSCRIPT,
        19 => RAW_SUBSCRIPT,
        _ => 0,
    };
    row! {
        "oid": ty.oid,
        "typname": ty.name,
        "typnamespace": PG_CATALOG_OID,
        "typowner": OWNER_OID,
        "typlen": ty.length,
        "typbyval": ty.by_value,
        "typtype": ty.kind,
        "typcategory": ty.category.to_string(),
        "typispreferred": ty.preferred,
        "typisdefined": true,
        "typdelim": ",",
        "typrelid": 0u32,
        "typsubscript": subscript,
        "typelem": ty.element,
        "typarray": ty.array,
        "typinput": ty.functions[0],
        "typoutput": ty.functions[1],
        "typreceive": ty.functions[2],
        "typsend": ty.functions[3],
        "typmodin": ty.modifiers[0],
        "typmodout": ty.modifiers[1],
        "typanalyze": 0u32,
        "typalign": ty.align,
        "typstorage": ty.storage,
        "typnotnull": false,
        "typbasetype": 0u32,
        "typtypmod": -1i64,
        "typndims": 0u32,
        "typcollation": ty.collation,
    }
}

fn array(ty: &TypeRow) -> Row {
    row! {
        "oid": ty.array,
        "typname": format!("_{}", ty.name),
        "typnamespace": PG_CATALOG_OID,
        "typowner": OWNER_OID,
        "typlen": -1i64,
        "typbyval": false,
        "typtype": if ty.kind == "p" { "p" } else { "b" },
        "typcategory": if ty.kind == "p" { "P" } else { "A" },
        "typispreferred": false,
        "typisdefined": true,
        "typdelim": ",",
        "typrelid": 0u32,
        "typsubscript": ARRAY_SUBSCRIPT,
        "typelem": ty.oid,
        "typarray": 0u32,
        "typinput": ARRAY_FUNCTIONS[0],
        "typoutput": ARRAY_FUNCTIONS[1],
        "typreceive": ARRAY_FUNCTIONS[2],
        "typsend": ARRAY_FUNCTIONS[3],
        "typmodin": ty.modifiers[0],
        "typmodout": ty.modifiers[1],
        "typanalyze": ARRAY_ANALYZE,
        "typalign": if ty.align == "d" { "d" } else { "i" },
        "typstorage": "x",
        "typnotnull": false,
        "typbasetype": 0u32,
        "typtypmod": -1i64,
        "typndims": 0u32,
        "typcollation": ty.collation,
    }
}

/// `pg_collation`
pub(super) fn collations(_: &CatalogView, _: &Objects) -> Vec<Row> {
    let collation = |oid: u32, name: &str, provider: &str, locale: Option<&str>| {
        row! {
            "oid": oid,
            "collname": name,
            "collnamespace": PG_CATALOG_OID,
            "collowner": OWNER_OID,
            "collprovider": provider,
            "collisdeterministic": true,
            "collencoding": -1i64,
            "collcollate": locale,
            "collctype": locale,
        }
    };
    vec![
        collation(DEFAULT_COLLATION_OID, "default", "d", None),
        collation(C_COLLATION_OID, "C", "c", Some("C")),
        collation(951, "POSIX", "c", Some("POSIX")),
    ]
}

/// Classes of btree: OID, name, family, its name, type; as Postgres numbers them.
const CLASSES: &[(u32, &str, u32, &str, u32)] = &[
    (424, "bool_ops", 424, "bool_ops", 16),
    (428, "bytea_ops", 428, "bytea_ops", 17),
    (429, "char_ops", 429, "char_ops", 18),
    (3_122, "date_ops", 434, "datetime_ops", 1_082),
    (1_970, "float4_ops", 1_970, "float_ops", 700),
    (3_123, "float8_ops", 1_970, "float_ops", 701),
    (1_979, "int2_ops", 1_976, "integer_ops", 21),
    (1_978, "int4_ops", 1_976, "integer_ops", 23),
    (3_124, "int8_ops", 1_976, "integer_ops", 20),
    (1_982, "interval_ops", 1_982, "interval_ops", 1_186),
    (10_028, "name_ops", 1_994, "text_ops", 19),
    (3_125, "numeric_ops", 1_988, "numeric_ops", 1_700),
    (1_981, "oid_ops", 1_989, "oid_ops", 26),
    (3_126, "text_ops", 1_994, "text_ops", 25),
    (1_996, "time_ops", 1_996, "time_ops", 1_083),
    (3_127, "timestamptz_ops", 434, "datetime_ops", 1_184),
    (3_128, "timestamp_ops", 434, "datetime_ops", 1_114),
    (2_968, "uuid_ops", 2_968, "uuid_ops", 2_950),
    (397, "array_ops", 397, "array_ops", 2_277),
    (4_033, "jsonb_ops", 4_033, "jsonb_ops", 3_802),
];

/// The class by which values of a type are ordered.
pub(super) fn operator_class_of(type_oid: u32) -> u32 {
    let by_type = match types::of_oid(type_oid) {
        Some((_, true)) => 2_277,
        _ if matches!(type_oid, 1_042 | 1_043) => 25,
        _ => type_oid,
    };
    CLASSES.iter().find(|class| class.4 == by_type).map_or(0, |class| class.0)
}

/// `pg_opclass`
pub(super) fn operator_classes(_: &CatalogView, _: &Objects) -> Vec<Row> {
    let rows = CLASSES.iter().map(|(oid, name, family, _, ty)| {
        row! {
            "oid": *oid,
            "opcmethod": BTREE_OID,
            "opcname": *name,
            "opcnamespace": PG_CATALOG_OID,
            "opcowner": OWNER_OID,
            "opcfamily": *family,
            "opcintype": *ty,
            "opcdefault": true,
            "opckeytype": 0u32,
        }
    });
    rows.collect()
}

/// `pg_opfamily`
pub(super) fn operator_families(_: &CatalogView, _: &Objects) -> Vec<Row> {
    let mut families: Vec<(u32, &str)> = CLASSES.iter().map(|class| (class.2, class.3)).collect();
    families.sort_unstable();
    families.dedup();
    let rows = families.into_iter().map(|(oid, name)| {
        row! {
            "oid": oid,
            "opfmethod": Datum::from(BTREE_OID),
            "opfname": name,
            "opfnamespace": PG_CATALOG_OID,
            "opfowner": OWNER_OID,
        }
    });
    rows.collect()
}
