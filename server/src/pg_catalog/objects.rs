//! The relations, indexes and schemas that the catalog relations describe.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::Field;
use millstream_planner::catalog::{Relation, RelationKind};
use millstream_planner::meant::present_text;
use millstream_planner::values::{Described, Shown};

use super::schema::definitions;
use super::{CatalogView, CommentRow};
use crate::wire::values::{ColumnType, Kind};

/// The user who owns everything, as Postgres numbers the first one.
pub(super) const OWNER_OID: u32 = 10;

/// The schema `pg_catalog`.
pub(super) const PG_CATALOG_OID: u32 = 11;

/// The schema `information_schema`.
pub(super) const INFORMATION_SCHEMA_OID: u32 = 13_000;

/// The database, as Postgres numbers `postgres`.
pub const DATABASE_OID: u32 = 5;

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

/// Set in the OID of a view it gives that of the rule that pg_rewrite has for it.
const RULE_BIT: u32 = 1 << 31;

/// Set in the OID of a relation it gives that of the type of its rows.
const ROW_TYPE_BIT: u32 = 1 << 27;

/// Set in the OID of a relation it gives that of the type of arrays of its rows.
const ROW_ARRAY_BIT: u32 = 1 << 26;

/// The OID of the type of a relation's rows.
pub fn row_type(relation: u32) -> u32 {
    relation | ROW_TYPE_BIT
}

/// The OID of the index of a table's primary key.
pub fn primary_key_index(table: u32) -> u32 {
    table | INDEX_BIT
}

/// The OID of the constraint that a table's primary key is.
pub fn primary_key(table: u32) -> u32 {
    table | CONSTRAINT_BIT
}

/// What a comment is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommentClass {
    /// A relation, an index or a column.
    Relation,
    /// A schema.
    Schema,
    /// A constraint.
    Constraint,
    /// A secret: `millstream.secrets`.
    Secret,
    /// A role, in all databases.
    Role,
    /// A database.
    Database,
}

impl CommentClass {
    /// The catalog relation in which the object stands.
    pub(super) fn oid(self) -> u32 {
        match self {
            Self::Relation => 1_259,
            Self::Schema => 2_615,
            Self::Constraint => 2_606,
            Self::Secret => 9_008,
            Self::Role => 1_260,
            Self::Database => 1_262,
        }
    }

    /// The class that the functions of comments call so.
    pub(super) fn named(catalog: &str) -> Option<Self> {
        match catalog {
            "pg_class" => Some(Self::Relation),
            "pg_namespace" => Some(Self::Schema),
            "pg_constraint" => Some(Self::Constraint),
            "secrets" => Some(Self::Secret),
            "pg_authid" => Some(Self::Role),
            "pg_database" => Some(Self::Database),
            _ => None,
        }
    }

    /// Whether it stands in `pg_shdescription`: what is no database's own.
    pub(super) fn is_shared(self) -> bool {
        matches!(self, Self::Role | Self::Database)
    }
}

/// A column of a relation that clients see.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) type_oid: u32,
    pub(super) modifier: i64,
    pub(super) not_null: bool,
    /// The default, or what the column is computed from, as SQL.
    pub(super) default: Option<String>,
    pub(super) generated: bool,
}

/// A relation that clients see.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) oid: u32,
    pub(super) schema: String,
    pub(super) schema_oid: u32,
    pub(super) name: String,
    /// As in `pg_class`: `r`, `v`, `m`.
    pub(super) kind: &'static str,
    pub(super) columns: Vec<Column>,
    /// Columns of the primary key.
    pub(super) key: Vec<usize>,
    /// The query of a view.
    pub(super) query: String,
    /// The relations that it reads, by OID.
    pub(super) reads: Vec<u32>,
    /// Whether rows are put in by clients.
    pub(super) takes_rows: bool,
    /// The role that owns it.
    pub(super) owner: u32,
}

impl Object {
    /// Whether it is the server's own.
    pub(super) fn is_system(&self) -> bool {
        matches!(self.schema.as_str(), "pg_catalog" | "information_schema" | "millstream")
    }

    /// Whether INSERT and its relatives take it.
    pub(super) fn is_writable(&self) -> bool {
        self.takes_rows && !self.is_system()
    }

    /// The type of its rows; the server's own relations have none.
    pub(super) fn row_type(&self) -> Option<u32> {
        (!self.is_system()).then(|| row_type(self.oid))
    }

    /// The type of arrays of its rows.
    pub(super) fn row_array(&self) -> u32 {
        self.oid | ROW_ARRAY_BIT
    }

    /// The rule by which a view is its query.
    pub(super) fn rule_oid(&self) -> Option<u32> {
        matches!(self.kind, "v" | "m").then_some(self.oid | RULE_BIT)
    }

    /// The query of a view as `pg_get_viewdef` shows it.
    pub(super) fn definition(&self) -> String {
        format!(" {};", self.query.trim().trim_end_matches(';'))
    }
}

/// An index.
#[derive(Clone, Debug)]
pub(super) struct Index {
    pub(super) oid: u32,
    pub(super) name: String,
    pub(super) schema: String,
    pub(super) schema_oid: u32,
    pub(super) table_oid: u32,
    pub(super) table: String,
    /// Numbers of the table's columns, from 0.
    pub(super) columns: Vec<usize>,
    pub(super) column_names: Vec<String>,
    /// Whether each is ordered downwards, and with NULL first.
    pub(super) orders: Vec<(bool, bool)>,
    pub(super) primary: bool,
    pub(super) unique: bool,
    /// The constraint that it keeps.
    pub(super) constraint_oid: Option<u32>,
    pub(super) owner: u32,
}

impl Index {
    /// The names of its columns as SQL.
    pub(super) fn columns_in_sql(&self) -> String {
        self.column_names.iter().map(|name| quote_identifier(name)).collect::<Vec<_>>().join(", ")
    }

    /// The statement that would make it, its table named with its schema or without.
    pub(super) fn definition(&self, without_schema: bool) -> String {
        let table = quote_identifier(&self.table);
        let table = if without_schema { table } else { format!("{}.{table}", quote_identifier(&self.schema)) };
        let name = quote_identifier(&self.name);
        let columns = self.column_names.iter().zip(&self.orders).map(|(column, order)| {
            // As Postgres shows it: what goes without saying is not said.
            let order = match order {
                (false, false) => "",
                (false, true) => " NULLS FIRST",
                (true, true) => " DESC",
                (true, false) => " DESC NULLS LAST",
            };
            format!("{}{order}", quote_identifier(column))
        });
        let columns = columns.collect::<Vec<_>>().join(", ");
        let unique = if self.unique { "UNIQUE " } else { "" };
        format!("CREATE {unique}INDEX {name} ON {table} USING btree ({columns})")
    }
}

/// The index of a relation's primary key.
fn primary_key_of(object: &Object) -> Option<Index> {
    (!object.key.is_empty()).then(|| Index {
        oid: primary_key_index(object.oid),
        name: format!("{}_pkey", object.name),
        schema: object.schema.clone(),
        schema_oid: object.schema_oid,
        table_oid: object.oid,
        table: object.name.clone(),
        columns: object.key.clone(),
        orders: vec![(false, false); object.key.len()],
        column_names: object.key.iter().map(|column| object.columns[*column].name.clone()).collect(),
        primary: true,
        unique: true,
        constraint_oid: Some(primary_key(object.oid)),
        owner: object.owner,
    })
}

/// The indexes that were made for relations.
fn declared_indexes(view: &CatalogView, relations: &[Arc<Object>]) -> Vec<Index> {
    let by_oid: HashMap<u32, &Arc<Object>> = relations.iter().map(|object| (object.oid, object)).collect();
    let declared = view.catalog.indexes().filter_map(|index| {
        let object = by_oid.get(&view.catalog.get(index.relation)?.oid)?;
        Some(Index {
            oid: index.oid,
            name: index.name.name.clone(),
            schema: object.schema.clone(),
            schema_oid: object.schema_oid,
            table_oid: object.oid,
            table: object.name.clone(),
            columns: index.columns.iter().map(|column| column.column).collect(),
            column_names: index.columns.iter().map(|column| object.columns[column.column].name.clone()).collect(),
            orders: index.columns.iter().map(|column| (column.descending, column.nulls_first)).collect(),
            primary: false,
            unique: index.unique,
            constraint_oid: None,
            owner: object.owner,
        })
    });
    declared.collect()
}

/// Everything that the catalog relations describe.
#[derive(Debug)]
pub(super) struct Objects {
    /// Names and OIDs.
    pub(super) schemas: Vec<(String, u32)>,
    /// Relations of the user and of the server.
    pub(super) relations: Vec<Arc<Object>>,
    pub(super) indexes: Vec<Index>,
    comments: Vec<CommentRow>,
    by_oid: HashMap<u32, usize>,
    by_name: HashMap<(String, String), u32>,
}

static SYSTEM: LazyLock<Vec<Arc<Object>>> = LazyLock::new(|| {
    let objects = definitions().iter().map(|definition| {
        let columns = definition.columns.fields().iter().zip(&definition.types).map(|(field, ty)| Column {
            name: field.name().clone(),
            type_oid: ty.oid(),
            modifier: -1,
            not_null: !field.is_nullable(),
            default: None,
            generated: false,
        });
        Arc::new(Object {
            oid: definition.oid,
            schema: definition.schema.clone(),
            schema_oid: if definition.schema == "pg_catalog" { PG_CATALOG_OID } else { INFORMATION_SCHEMA_OID },
            name: definition.name.clone(),
            kind: definition.kind,
            columns: columns.collect(),
            key: Vec::new(),
            query: String::new(),
            reads: Vec::new(),
            takes_rows: false,
            owner: OWNER_OID,
        })
    });
    objects.collect()
});

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
        let users = view.catalog.relations().filter_map(|relation| user_object(view, relation, &schema_oid));
        let users = users.filter(|object| !matches!(object.schema.as_str(), "pg_catalog" | "information_schema"));
        let relations: Vec<Arc<Object>> = users.map(Arc::new).chain(SYSTEM.iter().cloned()).collect();
        let primary_keys = relations.iter().filter_map(|object| primary_key_of(object));
        let indexes: Vec<Index> = primary_keys.chain(declared_indexes(view, &relations)).collect();
        let by_oid = relations.iter().enumerate().map(|(at, object)| (object.oid, at)).collect();
        let names = indexes.iter().map(|index| ((index.schema.clone(), index.name.clone()), index.oid));
        let tables = relations.iter().map(|object| ((object.schema.clone(), object.name.clone()), object.oid));
        let by_name = names.chain(tables).collect();
        Self { schemas, relations, indexes, comments: view.comments.clone(), by_oid, by_name }
    }

    /// A relation by OID.
    pub(super) fn relation(&self, oid: u32) -> Option<&Arc<Object>> {
        self.by_oid.get(&oid).map(|at| &self.relations[*at])
    }

    /// The relation of whose rows this is the type, and whether it is that of arrays of them.
    pub(super) fn of_row_type(&self, type_oid: u32) -> Option<(&Arc<Object>, bool)> {
        let array = type_oid & ROW_ARRAY_BIT != 0;
        let bit = if array { ROW_ARRAY_BIT } else { ROW_TYPE_BIT };
        let object = self.relation(type_oid & !bit).filter(|_| type_oid & bit != 0)?;
        object.row_type().map(|_| (object, array))
    }

    /// An index by OID.
    pub(super) fn index(&self, oid: u32) -> Option<&Index> {
        self.indexes.iter().find(|index| index.oid == oid)
    }

    /// The indexes of a relation.
    pub(super) fn indexes_on(&self, table: u32) -> impl Iterator<Item = &Index> {
        self.indexes.iter().filter(move |index| index.table_oid == table)
    }

    /// The schema and name of a relation or an index.
    pub(super) fn name(&self, oid: u32) -> Option<(&str, String)> {
        if let Some(object) = self.relation(oid) {
            return Some((&object.schema, object.name.clone()));
        }
        let index = self.index(oid)?;
        Some((&index.schema, index.name.clone()))
    }

    /// The OID of a relation or an index by its name, qualified or not.
    pub(super) fn find(&self, name: &str, view: &CatalogView) -> Option<u32> {
        let parts = split_name(name);
        let (schemas, name) = match parts.as_slice() {
            [name] => (visible_schemas(view), name),
            [schema, name] => (vec![schema.as_str()], name),
            [database, schema, name] if *database == view.database => (vec![schema.as_str()], name),
            _ => return None,
        };
        schemas.iter().find_map(|schema| self.by_name.get(&((*schema).to_owned(), name.clone())).copied())
    }

    /// What was said of an object; column 0 is the object itself.
    pub(super) fn comment(&self, class: Option<CommentClass>, oid: u32, column: i64) -> Option<String> {
        let of = |comment: &&CommentRow| {
            let of_class = class.map_or(!comment.class.is_shared(), |class| class == comment.class);
            comment.oid == oid && comment.column == column && of_class
        };
        self.comments.iter().find(of).map(|comment| comment.text.clone())
    }

    /// Everything that was said.
    pub(super) fn comments(&self) -> &[CommentRow] {
        &self.comments
    }
}

/// Words that are no names unless they are quoted.
pub(super) const RESERVED_WORDS: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "binary",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "natural",
    "not",
    "notnull",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "overlaps",
    "placing",
    "primary",
    "references",
    "returning",
    "right",
    "select",
    "session_user",
    "similar",
    "some",
    "symmetric",
    "table",
    "tablesample",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
];

/// The schemas in which unqualified names are found, in order.
pub(super) fn visible_schemas(view: &CatalogView) -> Vec<&str> {
    let path = view.search_path.iter().map(String::as_str).filter(|schema| *schema != "pg_catalog");
    std::iter::once("pg_catalog").chain(path).collect()
}

/// Cuts a name at the dots outside of quotes and folds what is not quoted.
pub(super) fn split_name(name: &str) -> Vec<String> {
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
    if plain && !RESERVED_WORDS.contains(&name) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

fn user_object(view: &CatalogView, relation: &Relation, schema_oid: &impl Fn(&str) -> u32) -> Option<Object> {
    let present = |text: &str| present_text(text, relation, &view.catalog, &quote_identifier);
    let (kind, input, defaults, query) = match &relation.kind {
        RelationKind::Table(table) => ("r", Some(&table.input), &table.defaults[..], String::new()),
        RelationKind::Source(source) => ("r", Some(&source.input), &[][..], String::new()),
        RelationKind::View { query } => ("v", None, &[][..], present(query)),
        RelationKind::MaterializedView(_) => ("m", None, &[][..], query_of(&present(&relation.sql))),
        RelationKind::System => ("v", None, &[][..], String::new()),
        // Nothing can be selected from it.
        RelationKind::Sink(_) => return None,
    };
    let key = input.map(|input| input.primary_key.clone()).unwrap_or_default();
    let first_generated = input.map_or(usize::MAX, |input| input.physical_columns);
    let columns = relation.schema.fields().iter().enumerate().map(|(at, field)| {
        let (type_oid, modifier) = column_type(field, relation.shown(at));
        let computed = at.checked_sub(first_generated).and_then(|generated| relation.generated_sql.get(generated));
        Column {
            name: field.name().clone(),
            type_oid,
            modifier,
            // Columns of views say nothing of NULLs, as in Postgres.
            not_null: input.is_some() && (!field.is_nullable() || key.contains(&at)),
            default: computed
                .cloned()
                .or_else(|| defaults.get(at)?.as_ref().map(|default| super::defaults::shown(default, type_oid))),
            generated: computed.is_some(),
        }
    });
    let reads = relation.depends_on.iter().filter_map(|id| view.catalog.get(*id)).map(|read| read.oid);
    Some(Object {
        oid: relation.oid,
        schema: relation.name.schema.clone(),
        schema_oid: schema_oid(&relation.name.schema),
        name: relation.name.name.clone(),
        kind,
        columns: columns.collect(),
        key,
        query,
        reads: reads.collect(),
        takes_rows: matches!(relation.kind, RelationKind::Table(_)),
        owner: super::roles::owner_of(view, relation),
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
fn column_type(field: &Field, shown: Shown) -> (u32, i64) {
    let field = Described { shown, ..Described::default() }.put(field.clone());
    let type_oid = ColumnType::of_field(&field).map_or(Kind::Text.oid(), |column| column.oid());
    (type_oid, shown.modifier.map_or(-1, i64::from))
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
