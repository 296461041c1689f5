//! The columns of the system relations, read once from `columns.txt`.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef, TimeUnit};

use crate::wire::values::TYPE_METADATA;

/// A system relation.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) oid: u32,
    /// `r` or `v`.
    pub(super) kind: &'static str,
    pub(super) columns: SchemaRef,
}

static DEFINITIONS: LazyLock<Vec<Definition>> = LazyLock::new(|| {
    let lines = include_str!("columns.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| read(line).unwrap_or_else(|| panic!("columns.txt is part of the program: {line}"))).collect()
});

/// All of them, by schema and name.
pub(super) fn definitions() -> &'static [Definition] {
    &DEFINITIONS
}

/// One by name.
pub(super) fn find(schema: &str, name: &str) -> Option<&'static Definition> {
    definitions().iter().find(|definition| definition.schema == schema && definition.name == name)
}

fn read(line: &'static str) -> Option<Definition> {
    let mut words = line.split(' ');
    let (schema, name) = words.next()?.split_once('.')?;
    let oid = words.next()?.parse().ok()?;
    let kind = words.next()?;
    let fields = words.map(|word| word.split_once(':').and_then(|(name, type_name)| field(name, type_name)));
    let fields: Option<Vec<Field>> = fields.collect();
    let columns = Arc::new(Schema::new(fields?));
    Some(Definition { schema: schema.to_owned(), name: name.to_owned(), oid, kind, columns })
}

fn field(name: &str, type_name: &str) -> Option<Field> {
    let list = |element: DataType| DataType::List(Arc::new(Field::new_list_field(element, true)));
    let (data_type, metadata) = match type_name {
        "int2vector" => (list(DataType::Int16), Some("int2vector")),
        "oidvector" => (list(DataType::Int64), Some("oidvector")),
        array if array.ends_with("[]") => {
            let (element, metadata) = plain(array.trim_end_matches("[]"))?;
            (list(element), metadata)
        }
        plain_name => plain(plain_name)?,
    };
    let field = Field::new(name, data_type, true);
    Some(match metadata {
        Some(metadata) => field.with_metadata(HashMap::from([(TYPE_METADATA.to_owned(), metadata.to_owned())])),
        None => field,
    })
}

fn plain(type_name: &str) -> Option<(DataType, Option<&'static str>)> {
    Some(match type_name {
        "bool" => (DataType::Boolean, None),
        "int2" => (DataType::Int16, None),
        "int4" => (DataType::Int32, None),
        "int8" => (DataType::Int64, None),
        "float4" => (DataType::Float32, None),
        "float8" => (DataType::Float64, None),
        "numeric" => (DataType::Decimal128(38, 0), None),
        "oid" => (DataType::Int64, Some("oid")),
        // Shown by name, as Postgres does.
        "text" | "regproc" | "regtype" | "regclass" => (DataType::Utf8, None),
        "name" => (DataType::Utf8, Some("name")),
        "varchar" => (DataType::Utf8, Some("varchar")),
        "char" => (DataType::Utf8, Some("\"char\"")),
        "pg_node_tree" => (DataType::Utf8, Some("pg_node_tree")),
        "bytea" => (DataType::Binary, None),
        "timestamptz" => (DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), None),
        "interval" => (DataType::Interval(IntervalUnit::MonthDayNano), None),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_line_is_read_and_oids_are_unique() {
        assert!(definitions().len() > 100);
        let mut oids: Vec<u32> = definitions().iter().map(|definition| definition.oid).collect();
        oids.sort_unstable();
        oids.dedup();
        assert_eq!(oids.len(), definitions().len());
        let class = find("pg_catalog", "pg_class").unwrap();
        assert_eq!((class.oid, class.kind, class.columns.field(1).name().as_str()), (1259, "r", "relname"));
    }
}
