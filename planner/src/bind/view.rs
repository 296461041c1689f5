//! `CREATE MATERIALIZED VIEW` and `CREATE SINK ... AS`: a query to a dataflow.

use arrow::datatypes::SchemaRef;
use millstream_runtime::plan::{Dataflow, EmitOn, RelationId};
use sqlparser::ast;

use super::{Binder, BoundQuery, plan_error, reads};
use crate::catalog::ViewDefinition;
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::{functions, lower, optimize};

/// A view that is ready to be deployed.
#[derive(Clone, Debug)]
pub struct BoundView {
    /// Its columns.
    pub schema: SchemaRef,
    /// What it computes.
    pub dataflow: Dataflow,
    /// What is known of its rows.
    pub definition: ViewDefinition,
    /// What it reads, plain views included, by number.
    pub depends_on: Vec<RelationId>,
}

impl BoundQuery {
    /// What the query reads, the plain views that were put in included, by number.
    pub fn depends_on(&self) -> Result<Vec<RelationId>> {
        let mut ids = self.views.clone();
        ids.extend(reads(&self.plan).map_err(plan_error)?.into_iter().map(|read| read.relation));
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }
}

impl Binder<'_> {
    /// Plans a view. `columns` rename its first columns, as `CREATE MATERIALIZED VIEW v (a, b)` does.
    pub fn view(&self, query: &ast::Query, columns: &[String], emit: EmitOn) -> Result<BoundView> {
        let bound = self.bind_definition(query, columns)?;
        functions::check_view_functions(&bound.plan)?;
        let depends_on = bound.depends_on()?;
        let names: Vec<String> = bound.schema.fields().iter().map(|field| field.name().clone()).collect();
        let optimized = optimize::optimize_view(bound.plan)?;
        let lowered = lower::lower_view(&optimized, &names, emit)?;
        let root = lowered.dataflow.root();
        let definition = ViewDefinition { changes: root.changes, event_time: root.event_time, key: lowered.key };
        Ok(BoundView { schema: root.schema.clone(), dataflow: lowered.dataflow, definition, depends_on })
    }
}

/// The names of a view's columns: those that were given, then those of the query.
pub(super) fn column_names(own: Vec<String>, given: &[String]) -> Result<Vec<String>> {
    if given.len() > own.len() {
        return Err(PlanError::new(PlanErrorKind::SyntaxError, "CREATE VIEW specifies more column names than columns"));
    }
    let mut names = own;
    names[..given.len()].clone_from_slice(given);
    let mut seen = std::collections::HashSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        None => Ok(names),
        Some(twice) => {
            Err(PlanError::new(PlanErrorKind::DuplicateColumn, format!("column \"{twice}\" specified more than once"))
                .with_hint("Give the columns different names with AS."))
        }
    }
}
