//! Recognises statements that are about the catalog, and answers them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use millstream_planner::error::Result;
use millstream_planner::statement::StatementText;
use sqlparser::ast::{Expr, ObjectName, Query, Statement, Visit, Visitor};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::sql::{Bound, Context, folded, functions, parts};
use super::{CatalogView, Effect, schema};

/// A statement about the catalog.
#[derive(Clone, Debug)]
pub struct CatalogQuery {
    text: StatementText,
    query: Box<Query>,
    /// It calls what only the catalog answers.
    asks: bool,
    /// The types that the client named for its parameters.
    given: Vec<Option<DataType>>,
    /// The OIDs of the types of its parameters, once it is planned.
    parameter_oids: Vec<u32>,
}

/// What is known of it before it runs.
#[derive(Clone, Debug)]
pub struct CatalogPlan {
    /// The types of its parameters.
    pub parameters: Vec<DataType>,
    /// Its columns; names may repeat.
    pub columns: SchemaRef,
    /// It reads relations of the user only, of names that looked like the catalog's: the planner's matter.
    pub of_users_only: bool,
}

/// Its answer.
#[derive(Debug)]
pub struct CatalogAnswer {
    /// The rows.
    pub rows: RecordBatch,
    /// What its functions ask the session to do.
    pub effects: Vec<Effect>,
}

impl CatalogQuery {
    /// Takes a query that reads a relation of `pg_catalog` or `information_schema`, or that calls a function
    /// or makes a cast which only the catalog can answer; `None` for all others.
    pub fn recognize(text: &StatementText, given: &[Option<DataType>]) -> Option<Self> {
        if !may_be_one(&text.sql) {
            return None;
        }
        let statements = Parser::parse_sql(&PostgreSqlDialect {}, &text.sql).ok()?;
        let [Statement::Query(query)] = <[Statement; 1]>::try_from(statements).ok()? else { return None };
        let mut names = Names::default();
        let _: ControlFlow<()> = query.visit(&mut names);
        let reads_catalog = names.relations.iter().any(|relation| names.is_catalog(relation));
        let asks = names.calls_catalog || names.relations.is_empty() && names.calls_facts;
        (reads_catalog || asks).then(|| Self {
            text: text.clone(),
            query,
            asks,
            given: given.to_vec(),
            parameter_oids: Vec::new(),
        })
    }

    /// Finds its columns and the types of its parameters.
    pub fn plan(&mut self, view: CatalogView) -> Result<CatalogPlan> {
        let context = Context::new(view, Arc::default());
        let bound = Bound::new(&context, &self.text, &self.query, &self.given)?;
        let of_users_only = !self.asks && !bound.reads_catalog && !bound.reads.is_empty();
        let (parameters, columns) = (bound.parameter_types(), Arc::clone(&bound.schema));
        self.parameter_oids = bound.parameter_oids();
        Ok(CatalogPlan { parameters, columns, of_users_only })
    }

    /// The OID of the type of a parameter, of which several share one Arrow type here.
    pub fn parameter_oid(&self, index: usize) -> Option<u32> {
        self.parameter_oids.get(index).copied()
    }

    /// The relations of the user that it reads beside the catalog: schema and name.
    pub fn reads(&self, view: CatalogView) -> Result<Vec<(String, String)>> {
        let context = Context::new(view, Arc::default());
        Ok(Bound::new(&context, &self.text, &self.query, &self.given)?.reads)
    }

    /// Whether it can read relations of the user.
    pub fn may_read_users(&self) -> bool {
        let mut names = Names::default();
        let _: ControlFlow<()> = self.query.visit(&mut names);
        names.relations.iter().any(|relation| !names.is_catalog(relation) && !names.is_with(relation))
    }

    /// Runs it over the catalog as the view has it. `user_rows` are those of the relations that [`Self::reads`]
    /// names; once `given_up` is set it ends soon.
    pub fn run(
        &self,
        view: CatalogView,
        parameters: &[ScalarValue],
        user_rows: &[Vec<RecordBatch>],
        given_up: Arc<AtomicBool>,
    ) -> Result<CatalogAnswer> {
        let context = Context::new(view, given_up);
        let bound = Bound::new(&context, &self.text, &self.query, &self.given)?;
        let rows = bound.run(&context, parameters, user_rows)?;
        Ok(CatalogAnswer { rows, effects: context.effects() })
    }
}

/// Whether a text has what every statement over the catalog has something of: most others are not parsed here.
fn may_be_one(sql: &str) -> bool {
    let start = sql.trim_start().as_bytes();
    let begins = |word: &str| start.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()));
    if !["select", "with", "(", "values", "/*", "--"].iter().any(|word| begins(word)) {
        return false;
    }
    let lower = sql.to_ascii_lowercase();
    ["pg_", "information_schema", "reg"].iter().any(|part| lower.contains(part))
        || lower
            .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .any(|word| is_ours(word) || is_fact(word) || is_registry_type(word))
}

/// Whether only the catalog has a function of that name.
fn is_ours(name: &str) -> bool {
    functions::is_known(name) && !millstream_planner::functions::is_scalar(name) && !is_shared(name)
}

/// Names that the planner has under another kind.
fn is_shared(name: &str) -> bool {
    matches!(name, "unnest" | "generate_series" | "text" | "name" | "varchar" | "bpchar" | "extract" | "format" | "age")
        || matches!(name, "to_char" | "position" | "substring" | "mod" | "ceiling" | "char_length" | "date_part")
}

/// Functions that say who asks whom.
fn is_fact(name: &str) -> bool {
    let facts = ["version", "current_database", "current_schema", "current_catalog", "current_user", "session_user"];
    facts.contains(&name) || name == "current_role"
}

/// What a statement names.
#[derive(Default)]
struct Names {
    relations: Vec<ObjectName>,
    with: BTreeSet<String>,
    calls_catalog: bool,
    /// Calls what the planner answers, too, in types that are not quite Postgres'.
    calls_facts: bool,
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let with = query.with.iter().flat_map(|with| &with.cte_tables);
        self.with.extend(with.map(|table| folded(&table.alias.name)));
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.relations.push(relation.clone());
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.calls_facts |= match expr {
            Expr::Function(function) => parts(&function.name).last().is_some_and(|name| is_fact(name)),
            Expr::Identifier(ident) => ident.quote_style.is_none() && is_fact(&folded(ident)),
            _ => false,
        };
        self.calls_catalog |= match expr {
            Expr::Function(function) => match parts(&function.name).as_slice() {
                [name] => is_ours(name),
                [schema, name] => {
                    schema == "information_schema"
                        || schema == "pg_catalog"
                            && functions::is_known(name)
                            && !millstream_planner::functions::is_scalar(name)
                }
                _ => false,
            },
            Expr::Cast { data_type, .. } => is_registry_type(&data_type.to_string()),
            _ => false,
        };
        ControlFlow::Continue(())
    }
}

impl Names {
    fn is_with(&self, relation: &ObjectName) -> bool {
        matches!(parts(relation).as_slice(), [name] if self.with.contains(name))
    }

    fn is_catalog(&self, relation: &ObjectName) -> bool {
        if self.is_with(relation) {
            return false;
        }
        match parts(relation).as_slice() {
            // Functions in FROM are relations to the parser.
            [name] => schema::find("pg_catalog", name).is_some() || name.starts_with("pg_") || is_ours(name),
            [.., schema, _] => matches!(schema.as_str(), "pg_catalog" | "information_schema"),
            [] => false,
        }
    }
}

/// Whether a type is one of those that show OIDs by name.
fn is_registry_type(written: &str) -> bool {
    let lower = written.to_ascii_lowercase();
    let name = lower.strip_prefix("pg_catalog.").unwrap_or(&lower).trim_end_matches("[]");
    let registry =
        ["regclass", "regtype", "regproc", "regprocedure", "regnamespace", "regrole", "regoper", "regcollation"];
    registry.contains(&name) || matches!(name, "oid" | "xid" | "oidvector" | "int2vector")
}
