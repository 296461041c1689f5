//! `CREATE VIEW` and `CREATE MATERIALIZED VIEW`.

use std::collections::BTreeMap;

use arrow::datatypes::Field;
use millstream_runtime::plan::RelationId;
use sqlparser::ast::{Ident, Query, SetExpr, TableAliasColumnDef, TableFactor};

use crate::bind::{Binder, BoundQuery, reads};
use crate::catalog::{Catalog, QualifiedName, Relation, RelationKind};
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::parse::ast::{CreateView as Parsed, Identifier};
use crate::settings::PlanSettings;
use crate::statement::{CreateMaterializedView, CreateView, Statement};
use crate::types::sql_name;
use crate::values::Shown;

use super::names::new_name;
use super::options::Options;

/// Defines a view of either kind.
pub(crate) fn create_view(view: &Parsed, catalog: &Catalog, settings: &PlanSettings) -> Result<Statement> {
    let may_exist = view.if_not_exists || view.or_replace;
    let name = new_name(&view.name, may_exist, catalog, settings)?;
    let binder = Binder::new(catalog, settings);
    let at = Some(view.query.position);
    let bound = binder.definition(&view.query.query).map_err(|error| error.at(at))?;
    let (bound, renamed) = match view.columns.as_slice() {
        [] => (bound, None),
        columns => {
            let names = column_names(columns, &bound)?;
            let query = with_column_names(view.query.query.clone(), &names)?;
            (binder.definition(&query).map_err(|error| error.at(at))?, Some(names))
        }
    };
    if bound.schema.fields().is_empty() {
        return Err(PlanError::new(PlanErrorKind::InvalidDefinition, "a view needs at least one column").at(at));
    }
    let depends_on = dependencies(&bound)?;
    if view.materialized {
        return materialized(view, name, &bound, depends_on);
    }
    if let Some(emit) = view.emit {
        return Err(PlanError::new(PlanErrorKind::InvalidDefinition, "EMIT needs a materialized view")
            .with_hint("Use CREATE MATERIALIZED VIEW.")
            .at(Some(emit.position)));
    }
    Options::of(&view.options).must_be_empty("a view", &[])?;
    if let Some(existing) = catalog.find(&name).filter(|_| view.or_replace) {
        check_replaced(view, existing, &bound, catalog)?;
    }
    Ok(Statement::CreateView(Box::new(CreateView {
        name,
        or_replace: view.or_replace,
        if_not_exists: view.if_not_exists,
        query: match renamed {
            None => view.query.sql.clone(),
            Some(names) => text_with_column_names(&view.query.sql, &names),
        },
        shown: bound.shown(),
        schema: bound.schema,
        depends_on,
        names: bound.names,
        uses: bound.uses,
    })))
}

fn materialized(
    view: &Parsed,
    name: QualifiedName,
    bound: &BoundQuery,
    depends_on: Vec<RelationId>,
) -> Result<Statement> {
    Options::of(&view.options).must_be_empty("a materialized view", &[])?;
    let lowered =
        crate::bind::view(bound, view.emit.map(|emit| emit.on)).map_err(|error| error.at(Some(view.query.position)))?;
    Ok(Statement::CreateMaterializedView(Box::new(CreateMaterializedView {
        name,
        if_not_exists: view.if_not_exists,
        schema: bound.schema.clone(),
        shown: bound.shown(),
        dataflow: lowered.dataflow,
        definition: lowered.definition,
        depends_on,
        options: BTreeMap::new(),
        names: bound.names.clone(),
        uses: bound.uses.clone(),
    })))
}

/// What a bound query reads, plain views included, each once.
pub(crate) fn dependencies(bound: &BoundQuery) -> Result<Vec<RelationId>> {
    let read = reads(&bound.plan).map_err(crate::bind::plan_error)?;
    let mut ids: Vec<RelationId> = bound.views.clone();
    ids.extend(read.iter().map(|read| read.relation));
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// The names that were given, then those of the query for the columns behind them.
fn column_names(given: &[Identifier], bound: &BoundQuery) -> Result<Vec<String>> {
    let fields = bound.schema.fields();
    if let Some(surplus) = given.get(fields.len()) {
        let message = "CREATE VIEW specifies more column names than columns";
        return Err(PlanError::new(PlanErrorKind::SyntaxError, message).at(Some(surplus.position)));
    }
    let mut names: Vec<String> = Vec::new();
    let rest = fields.iter().skip(given.len()).map(|field| (field.name().clone(), None));
    for (name, position) in given.iter().map(|name| (name.value.clone(), Some(name.position))).chain(rest) {
        if names.contains(&name) {
            let message = format!("column \"{name}\" specified more than once");
            return Err(PlanError::new(PlanErrorKind::DuplicateColumn, message).at(position));
        }
        names.push(name);
    }
    Ok(names)
}

/// `SELECT * FROM (query) AS view (names)`.
fn with_column_names(query: Box<Query>, names: &[String]) -> Result<Box<Query>> {
    let mut outer = crate::parse::parse_query("SELECT * FROM (SELECT 1) AS view")?;
    let SetExpr::Select(select) = outer.body.as_mut() else {
        return Err(PlanError::internal("a SELECT was parsed as something else"));
    };
    let Some(TableFactor::Derived { subquery, alias: Some(alias), .. }) =
        select.from.first_mut().map(|from| &mut from.relation)
    else {
        return Err(PlanError::internal("a derived table was parsed as something else"));
    };
    *subquery = query;
    alias.columns = names
        .iter()
        .map(|name| TableAliasColumnDef { name: Ident::with_quote('"', name.clone()), data_type: None })
        .collect();
    Ok(outer)
}

/// The same as text, for the catalog.
fn text_with_column_names(sql: &str, names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    format!("SELECT * FROM ({sql}) AS view ({})", names.join(", "))
}

/// A name as it must be written in SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// As in Postgres: the columns that are there stay, with their names and types, and others may come behind them.
fn check_columns_kept(existing: &Relation, bound: &BoundQuery) -> Result<()> {
    let refused = |message: String| {
        Err(PlanError::new(PlanErrorKind::InvalidDefinition, message)
            .with_hint("DROP the view first, or create one of another name."))
    };
    if bound.schema.fields().len() < existing.schema.fields().len() {
        return refused("cannot drop columns from view".to_string());
    }
    let shown = bound.shown();
    for (place, (old, new)) in existing.schema.fields().iter().zip(bound.schema.fields()).enumerate() {
        if old.name() != new.name() {
            return refused(format!("cannot change name of view column \"{}\" to \"{}\"", old.name(), new.name()));
        }
        let of = |shown: &[Shown]| shown.get(place).copied().unwrap_or_default();
        let (was, is) = (of(&existing.shown), of(&shown));
        if old.data_type() != new.data_type() || (was.kind, was.modifier) != (is.kind, is.modifier) {
            let name = |field: &Field, shown: Shown| match shown.kind {
                Some(kind) => kind.sql_name().to_string(),
                None => sql_name(field.data_type()),
            };
            let (was, is) = (name(old, was), name(new, is));
            return refused(format!("cannot change data type of view column \"{}\" from {was} to {is}", old.name()));
        }
    }
    Ok(())
}

/// `OR REPLACE` keeps the columns that are there, since what reads the view was planned over them.
fn check_replaced(view: &Parsed, existing: &Relation, bound: &BoundQuery, catalog: &Catalog) -> Result<()> {
    let at = Some(view.name.position);
    if !matches!(existing.kind, RelationKind::View { .. }) {
        let message = format!("\"{}\" is not a view", view.name.name);
        return Err(PlanError::new(PlanErrorKind::WrongObjectType, message).at(at));
    }
    check_columns_kept(existing, bound).map_err(|error| error.at(at))?;
    let dependents = catalog.dependents(existing.id);
    if dependents.is_empty() {
        return Ok(());
    }
    let reads_itself = dependencies(bound)?.contains(&existing.id);
    let names: Vec<&str> = dependents.iter().map(|dependent| dependent.name.name.as_str()).collect();
    let message = format!("cannot replace view {} because other objects depend on it", existing.name.name);
    let detail = if reads_itself {
        "its new query reads the view itself".to_string()
    } else {
        format!("it is read by {}", names.join(", "))
    };
    Err(PlanError::new(PlanErrorKind::DependentObjectsStillExist, message)
        .with_detail(detail)
        .with_hint("Drop them first, or create a view of another name.")
        .at(at))
}
