//! The relations, indexes and schemas that the catalog relations describe.

use arrow::datatypes::{DataType, Field, SchemaRef};
use millstream_planner::catalog::{Relation, RelationKind};

use super::CatalogView;
use super::schema::definitions;
use crate::wire::values::{ColumnType, Kind};

/// The user who owns everything, as Postgres numbers the first one.
pub(super) const OWNER_OID: u32 = 10;

/// The schema `pg_catalog`.
pub(super) const PG_CATALOG_OID: u32 = 11;

/// The schema `information_schema`.
pub(super) const INFORMATION_SCHEMA_OID: u32 = 13_000;

/// The database, as Postgres numbers `postgres`.
pub(super) const DATABASE_OID: u32 = 5;

/// The access method of tables.
pub(super) const HEAP_OID: u32 = 2;

/// The access method of indexes.
pub(super) const BTREE_OID: u32 = 403;

/// The database's collation.
pub(super) const DEFAULT_COLLATION_OID: u32 = 100;

/// Set in the OID of a table it gives that of its primary key's index.
const INDEX_BIT: u32 = 1 << 30;

/// Set in the OID of a table it gives that of its primary key's constraint.
const CONSTRAINT_BIT: u32 = 1 << 29;

/// A relation that clients see.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) oid: u32,
    pub(super) schema: String,
    pub(super) schema_oid: u32,
    pub(super) name: String,
    /// As in `pg_class`: `r`, `v`, `m`.
    pub(super) kind: &'static str,
    pub(super) columns: SchemaRef,
    /// Columns of the primary key.
    pub(super) key: Vec<usize>,
    /// One default per column, as SQL.
    pub(super) defaults: Vec<Option<String>>,
    /// The query of a view.
    pub(super) query: String,
}

impl Object {
    /// Its primary key's index.
    pub(super) fn index(&self) -> Option<Index<'_>> {
        (!self.key.is_empty()).then(|| Index {
            table: self,
            oid: self.oid | INDEX_BIT,
            constraint_oid: self.oid | CONSTRAINT_BIT,
            name: format!("{}_pkey", self.name),
        })
    }

    /// Whether it is the server's own.
    pub(super) fn is_system(&self) -> bool {
        matches!(self.schema.as_str(), "pg_catalog" | "information_schema")
    }
}

/// The index of a primary key.
#[derive(Debug)]
pub(super) struct Index<'a> {
    pub(super) table: &'a Object,
    pub(super) oid: u32,
    pub(super) constraint_oid: u32,
    pub(super) name: String,
}

impl Index<'_> {
    /// The names of its columns.
    pub(super) fn column_names(&self) -> String {
        let names = self.table.key.iter().map(|column| quote_identifier(self.table.columns.field(*column).name()));
        names.collect::<Vec<_>>().join(", ")
    }

    /// The statement that would make it.
    pub(super) fn definition(&self) -> String {
        let (schema, table) = (quote_identifier(&self.table.schema), quote_identifier(&self.table.name));
        let (name, columns) = (quote_identifier(&self.name), self.column_names());
        format!("CREATE UNIQUE INDEX {name} ON {schema}.{table} USING btree ({columns})")
    }
}

/// Everything that the catalog relations describe.
#[derive(Debug)]
pub(super) struct Objects {
    /// Names and OIDs.
    pub(super) schemas: Vec<(String, u32)>,
    /// Relations of the user and of the server.
    pub(super) relations: Vec<Object>,
}

impl Objects {
    /// Reads the catalog.
    pub(super) fn of(view: &CatalogView) -> Self {
        let mut schemas: Vec<(String, u32)> =
            view.catalog.schemas().iter().map(|(name, oid)| (name.clone(), *oid)).collect();
        for (name, oid) in [("pg_catalog", PG_CATALOG_OID), ("information_schema", INFORMATION_SCHEMA_OID)] {
            if !schemas.iter().any(|(known, _)| known == name) {
                schemas.push((name.to_owned(), oid));
            }
        }
        let schema_oid = |name: &str| schemas.iter().find(|(known, _)| known == name).map_or(0, |(_, oid)| *oid);
        let users = view.catalog.relations().filter_map(|relation| user_object(relation, &schema_oid));
        let systems = definitions().iter().map(|definition| Object {
            oid: definition.oid,
            schema: definition.schema.clone(),
            schema_oid: schema_oid(&definition.schema),
            name: definition.name.clone(),
            kind: definition.kind,
            columns: SchemaRef::clone(&definition.columns),
            key: Vec::new(),
            defaults: Vec::new(),
            query: String::new(),
        });
        let relations = users.filter(|object| !object.is_system()).chain(systems).collect();
        Self { schemas, relations }
    }

    /// A relation by OID.
    pub(super) fn relation(&self, oid: u32) -> Option<&Object> {
        self.relations.iter().find(|object| object.oid == oid)
    }

    /// All indexes.
    pub(super) fn indexes(&self) -> impl Iterator<Item = Index<'_>> {
        self.relations.iter().filter_map(Object::index)
    }

    /// The schema and name of a relation or an index.
    pub(super) fn name(&self, oid: u32) -> Option<(&str, String)> {
        if let Some(object) = self.relation(oid) {
            return Some((&object.schema, object.name.clone()));
        }
        let index = self.indexes().find(|index| index.oid == oid)?;
        Some((&index.table.schema, index.name))
    }

    /// The OID of a relation or an index by its name, qualified or not.
    pub(super) fn find(&self, name: &str, view: &CatalogView) -> Option<u32> {
        let parts = split_name(name);
        let (schemas, name) = match parts.as_slice() {
            [name] => (visible_schemas(view), name),
            [schema, name] => (vec![schema.as_str()], name),
            _ => return None,
        };
        schemas.iter().find_map(|schema| {
            let relations =
                self.relations.iter().map(|object| (object.schema.as_str(), object.name.clone(), object.oid));
            let indexes = self.indexes().map(|index| (index.table.schema.as_str(), index.name.clone(), index.oid));
            let mut all = relations.chain(indexes);
            all.find(|(in_schema, known, _)| in_schema == schema && known == name).map(|(_, _, oid)| oid)
        })
    }
}

/// The schemas in which unqualified names are found, in order.
pub(super) fn visible_schemas(view: &CatalogView) -> Vec<&str> {
    let path = view.search_path.iter().map(String::as_str).filter(|schema| *schema != "pg_catalog");
    std::iter::once("pg_catalog").chain(path).collect()
}

/// Cuts a name at the dots outside of quotes and folds what is not quoted.
fn split_name(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for character in name.chars() {
        let part = parts.last_mut().expect("there is always a part");
        match character {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            other if quoted => part.push(other),
            other => part.extend(other.to_lowercase()),
        }
    }
    parts
}

/// A name as it must be written in SQL.
pub(super) fn quote_identifier(name: &str) -> String {
    let plain = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.chars().all(|rest| rest.is_ascii_lowercase() || rest.is_ascii_digit() || rest == '_' || rest == '$');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn user_object(relation: &Relation, schema_oid: &impl Fn(&str) -> u32) -> Option<Object> {
    let (kind, key, defaults, query) = match &relation.kind {
        RelationKind::Table(table) => ("r", table.input.primary_key.clone(), table.defaults.clone(), String::new()),
        RelationKind::Source(source) => ("r", source.input.primary_key.clone(), Vec::new(), String::new()),
        RelationKind::View { query } => ("v", Vec::new(), Vec::new(), query.clone()),
        RelationKind::MaterializedView(_) => ("m", Vec::new(), Vec::new(), query_of(&relation.sql)),
        RelationKind::System => ("v", Vec::new(), Vec::new(), String::new()),
        // Nothing can be selected from it.
        RelationKind::Sink(_) => return None,
    };
    Some(Object {
        oid: relation.oid,
        schema: relation.name.schema.clone(),
        schema_oid: schema_oid(&relation.name.schema),
        name: relation.name.name.clone(),
        kind,
        columns: SchemaRef::clone(&relation.schema),
        key,
        defaults,
        query,
    })
}

/// What stands behind the first AS outside of quotes and parentheses.
fn query_of(sql: &str) -> String {
    let bytes = sql.as_bytes();
    let (mut depth, mut quote) = (0usize, None);
    for (at, byte) in bytes.iter().enumerate() {
        match (quote, byte) {
            (Some(open), byte) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'(') => depth += 1,
            (None, b')') => depth = depth.saturating_sub(1),
            (None, b'a' | b'A') if depth == 0 => {
                let before = at
                    .checked_sub(1)
                    .is_some_and(|before| bytes[before].is_ascii_whitespace() || bytes[before] == b')');
                let word = bytes.get(at..at + 2).is_some_and(|word| word.eq_ignore_ascii_case(b"as"));
                let after = bytes.get(at + 2).is_some_and(|after| after.is_ascii_whitespace() || *after == b'(');
                if before && word && after {
                    return sql[at + 2..].trim().to_owned();
                }
            }
            (None, _) => {}
        }
    }
    sql.to_owned()
}

/// The type of a column and its modifier, as `pg_attribute` has them.
pub(super) fn column_type(field: &Field) -> (Kind, u32, i32) {
    let Ok(column) = ColumnType::of_field(field) else { return (Kind::Text, Kind::Text.oid(), -1) };
    let modifier = match field.data_type() {
        // Without precision and scale, as the planner stores it.
        DataType::Decimal128(38, 10) => -1,
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            (i32::from(*precision) << 16 | i32::from(*scale)) + 4
        }
        _ => -1,
    };
    (column.kind(), column.oid(), modifier)
}

/// An empty catalog with schema `public`, for tests.
#[cfg(test)]
pub(super) fn empty_catalog() -> millstream_planner::catalog::Catalog {
    let mut catalog = millstream_planner::catalog::Catalog::default();
    catalog.add_schema("public".to_owned(), 2_200);
    catalog
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_and_folded() {
        assert_eq!(split_name("Public.\"A.b\""), ["public", "A.b"]);
        assert_eq!(quote_identifier("plain_1"), "plain_1");
        assert_eq!(quote_identifier("s$late"), "s$late");
        assert_eq!(quote_identifier("Odd \"name\""), "\"Odd \"\"name\"\"\"");
    }

    #[test]
    fn the_query_of_a_view_stands_behind_as() {
        for (sql, query) in [
            ("CREATE MATERIALIZED VIEW v AS SELECT 1 AS one", "SELECT 1 AS one"),
            ("create materialized view \" as \" (a, b) with (x = ' as ')\nas\nselect 1", "select 1"),
            ("CREATE MATERIALIZED VIEW v AS(SELECT 1)", "(SELECT 1)"),
        ] {
            assert_eq!(query_of(sql), query);
        }
    }
}
