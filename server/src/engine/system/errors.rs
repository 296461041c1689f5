//! `millstream.errors`: the graphs that do not run, with their reasons, for the owners of what
//! they hold.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::Field;
use millstream_runtime::Result;
use millstream_runtime::graph::GraphState;

use super::{SystemContext, SystemRelation, bigint, count, sees_reasons, text};

/// The relation.
pub const RELATION: SystemRelation =
    SystemRelation { schema: super::SCHEMA, name: "errors", oid: 9_005, columns, rows };

fn columns() -> Vec<Field> {
    vec![bigint("graph"), text("state"), text("relations"), text("reason")]
}

fn rows(context: &SystemContext<'_>) -> Result<Vec<ArrayRef>> {
    let mut failures = Vec::new();
    for (id, graph) in &context.state.graphs {
        let (state, reason) = match context.engine.graph_state(graph) {
            GraphState::Running => continue,
            GraphState::Waiting { reason } => ("WAITING", reason),
            GraphState::Restarting { reason } => ("RESTARTING", reason),
            GraphState::Failed { reason } => ("FAILED", reason),
        };
        let members = context.state.catalog.members(*id);
        let seen = members.iter().any(|relation| sees_reasons(context.state, context.viewer, relation));
        let names: Vec<&str> = members.iter().map(|relation| relation.name.name.as_str()).collect();
        failures.push((count(id.0), state, names.join(", "), seen.then_some(reason)));
    }
    Ok(vec![
        Arc::new(Int64Array::from_iter_values(failures.iter().map(|failure| failure.0))),
        Arc::new(StringArray::from_iter_values(failures.iter().map(|failure| failure.1))),
        Arc::new(StringArray::from_iter_values(failures.iter().map(|failure| &failure.2))),
        Arc::new(StringArray::from_iter(failures.iter().map(|failure| failure.3.as_ref()))),
    ])
}
