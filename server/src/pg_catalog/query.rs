//! Recognises statements that read only the catalog, and answers them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, MemTable, MemoryCatalogProvider, SchemaProvider, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement as DataFusionStatement;
use futures::FutureExt;
use sqlparser::ast::{Expr, ObjectName, Query, Statement, Visit, Visitor};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::functions::{self, Context};
use super::objects::Objects;
use super::{CatalogView, relations, rewrite, schema};

/// A statement that reads nothing but the catalog.
#[derive(Clone, Debug)]
pub struct CatalogQuery {
    query: Box<Query>,
}

/// What is known of it before it runs.
#[derive(Clone, Debug)]
pub struct CatalogPlan {
    /// The types of its parameters.
    pub parameters: Vec<DataType>,
    /// Its columns; names may repeat.
    pub columns: SchemaRef,
}

impl CatalogQuery {
    /// Takes a statement that reads only relations of `pg_catalog` and `information_schema`, or none but calls
    /// a function over the catalog; `None` for all others.
    pub fn recognize(sql: &str) -> Option<Self> {
        if !may_be_one(sql) {
            return None;
        }
        let statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).ok()?;
        let [Statement::Query(query)] = <[Statement; 1]>::try_from(statements).ok()? else { return None };
        let mut names = Names::default();
        let _: ControlFlow<()> = query.visit(&mut names);
        let only_catalog = names.relations.iter().all(|relation| names.is_catalog(relation));
        let reads_catalog = names.relations.iter().any(|relation| catalog_relation(relation).is_some());
        (only_catalog && (reads_catalog || names.calls_catalog)).then_some(Self { query })
    }

    /// Finds its columns and the types of its parameters.
    pub fn plan(&self, view: &CatalogView) -> Result<CatalogPlan, DataFusionError> {
        let rewritten = rewrite::rewrite(self.query.as_ref().clone());
        if rewritten.is_empty {
            return Ok(CatalogPlan { parameters: Vec::new(), columns: unknown_columns(&rewritten.names) });
        }
        let names = rewritten.names.clone();
        let context = context(view);
        let planning = logical_plan(&context, rewritten).now_or_never();
        let plan = planning.expect("planning waits for nothing: the relations are made in memory")?;
        let numbered = plan.get_parameter_types()?.into_iter().filter_map(|(name, data_type)| {
            let number: usize = name.strip_prefix('$')?.parse().ok()?;
            Some((number, data_type.unwrap_or(DataType::Utf8)))
        });
        let parameters = numbered.collect::<BTreeMap<_, _>>().into_values().collect();
        Ok(CatalogPlan { parameters, columns: Arc::new(renamed(plan.schema().as_arrow(), &names)) })
    }

    /// Runs it over the catalog as it is now.
    pub async fn run(
        &self,
        view: &CatalogView,
        parameters: Vec<ScalarValue>,
    ) -> Result<Vec<RecordBatch>, DataFusionError> {
        let rewritten = rewrite::rewrite(self.query.as_ref().clone());
        if rewritten.is_empty {
            return Ok(Vec::new());
        }
        let context = context(view);
        let names = rewritten.names.clone();
        let mut plan = logical_plan(&context, rewritten).await?;
        if !parameters.is_empty() {
            plan = plan.with_param_values(parameters)?;
        }
        let columns = Arc::new(renamed(plan.schema().as_arrow(), &names));
        let batches = context.execute_logical_plan(plan).await?.collect().await?;
        let named = batches.into_iter().map(|batch| {
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            RecordBatch::try_new_with_options(Arc::clone(&columns), batch.columns().to_vec(), &options)
        });
        Ok(named.collect::<Result<_, _>>()?)
    }
}

async fn logical_plan(context: &SessionContext, rewritten: rewrite::Rewritten) -> Result<LogicalPlan, DataFusionError> {
    let statement = Statement::Query(Box::new(rewritten.query));
    context.state().statement_to_plan(DataFusionStatement::Statement(Box::new(statement))).await
}

/// Columns of a result that has no rows and was not planned.
fn unknown_columns(names: &[String]) -> SchemaRef {
    let fields = names.iter().map(|name| Field::new(name, DataType::Utf8, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Whether a text has a word that every statement over the catalog has one of: most others are not parsed here.
fn may_be_one(sql: &str) -> bool {
    let lower = sql.to_ascii_lowercase();
    ["pg_", "information_schema", "::reg"].iter().any(|part| lower.contains(part)) || functions::is_called_in(&lower)
}

/// The names that the client sees in place of those under which columns were planned.
fn renamed(schema: &Schema, names: &[String]) -> Schema {
    let fields = schema.fields().iter().map(|field| {
        let name = rewrite::planned_index(field.name()).and_then(|index| names.get(index));
        let field = field.as_ref().clone().with_nullable(true);
        match name {
            Some(name) => field.with_name(name),
            None => field,
        }
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// What a statement names.
#[derive(Default)]
struct Names {
    relations: Vec<ObjectName>,
    with: BTreeSet<String>,
    calls_catalog: bool,
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let with = query.with.iter().flat_map(|with| &with.cte_tables);
        self.with.extend(with.map(|table| rewrite::folded(&table.alias.name)));
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.relations.push(relation.clone());
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let known = match expr {
            Expr::Function(function) => {
                rewrite::last_part(&function.name).is_some_and(|name| functions::is_only_here(&name))
            }
            Expr::Cast { data_type, .. } => rewrite::is_registry_type(data_type),
            _ => false,
        };
        self.calls_catalog |= known;
        ControlFlow::Continue(())
    }
}

impl Names {
    fn is_catalog(&self, relation: &ObjectName) -> bool {
        let name = rewrite::last_part(relation).unwrap_or_default();
        let is_with = relation.0.len() == 1 && self.with.contains(&name);
        // Functions in FROM.
        let is_function = ["generate_series", "unnest"].contains(&name.as_str());
        is_with || is_function || catalog_relation(relation).is_some()
    }
}

/// The schema and name of a catalog relation; an unqualified one is of `pg_catalog`, which is searched first.
pub(super) fn catalog_relation(relation: &ObjectName) -> Option<(&'static str, &'static str)> {
    let parts: Vec<String> = relation.0.iter().filter_map(|part| part.as_ident().map(rewrite::folded)).collect();
    let (schema, name) = match parts.as_slice() {
        [name] => ("pg_catalog", name.as_str()),
        [.., schema, name] => (schema.as_str(), name.as_str()),
        [] => return None,
    };
    schema::find(schema, name).map(|definition| (definition.schema.as_str(), definition.name.as_str()))
}

/// A context in which only the catalog can be read.
fn context(view: &CatalogView) -> SessionContext {
    let mut config = SessionConfig::new()
        .with_target_partitions(1)
        .with_information_schema(false)
        .with_default_catalog_and_schema("millstream", "pg_catalog");
    config.options_mut().sql_parser.map_string_types_to_utf8view = false;
    let state = SessionStateBuilder::new().with_config(config).with_default_features().build();
    let context = SessionContext::new_with_state(state);
    let catalog = MemoryCatalogProvider::new();
    for schema in ["pg_catalog", "information_schema"] {
        let relations = CatalogSchema { schema, view: view.clone() };
        catalog.register_schema(schema, Arc::new(relations)).expect("a memory catalog takes every schema");
    }
    context.register_catalog("millstream", Arc::new(catalog));
    let over = Arc::new(Context { view: view.clone(), objects: Objects::of(view) });
    for function in functions::functions(&over) {
        context.register_udf(function);
    }
    context
}

/// The relations of a schema, made when they are asked for.
#[derive(Debug)]
struct CatalogSchema {
    schema: &'static str,
    view: CatalogView,
}

#[async_trait]
impl SchemaProvider for CatalogSchema {
    fn table_names(&self) -> Vec<String> {
        let definitions = schema::definitions().iter().filter(|definition| definition.schema == self.schema);
        definitions.map(|definition| definition.name.clone()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let Some(definition) = schema::find(self.schema, name) else { return Ok(None) };
        let batch = relations::batch(definition, &self.view);
        let table = MemTable::try_new(Arc::clone(&definition.columns), vec![vec![batch]])?;
        Ok(Some(Arc::new(table)))
    }

    fn table_exist(&self, name: &str) -> bool {
        schema::find(self.schema, name).is_some()
    }
}
