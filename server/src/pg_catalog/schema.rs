//! The columns of the system relations, read once from `columns.txt`.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{Schema, SchemaRef};

use super::sql::arrow::field;
use super::sql::types::{CHAR, Type};

/// A system relation.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) oid: u32,
    /// `r` or `v`.
    pub(super) kind: &'static str,
    pub(super) columns: SchemaRef,
    /// The types of the columns.
    pub(super) types: Vec<Type>,
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
    position(schema, name).map(|at| &definitions()[at])
}

/// The place of one among all.
pub(super) fn position(schema: &str, name: &str) -> Option<usize> {
    definitions()
        .binary_search_by(|definition| (definition.schema.as_str(), definition.name.as_str()).cmp(&(schema, name)))
        .ok()
}

fn read(line: &'static str) -> Option<Definition> {
    let mut words = line.split(' ');
    let (schema, name) = words.next()?.split_once('.')?;
    let oid = words.next()?.parse().ok()?;
    let kind = words.next()?;
    let (mut fields, mut types) = (Vec::new(), Vec::new());
    for word in words {
        let (column, type_name) = word.split_once(':')?;
        let (type_name, nullable) = type_name.strip_suffix('!').map_or((type_name, true), |name| (name, false));
        let ty = if type_name == "char" { CHAR } else { Type::named(&type_name.replace("char[]", "\"char\"[]"))? };
        fields.push(field(column, &ty).with_nullable(nullable));
        types.push(ty);
    }
    let columns = Arc::new(Schema::new(fields));
    Some(Definition { schema: schema.to_owned(), name: name.to_owned(), oid, kind, columns, types })
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
