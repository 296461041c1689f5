//! `CREATE MATERIALIZED VIEW` and `CREATE SINK ... AS`: a bound query to a dataflow.

use millstream_runtime::plan::{Dataflow, EmitOn};

use super::BoundQuery;
use crate::catalog::ViewDefinition;
use crate::error::Result;
use crate::{functions, lower, optimize};

/// A view that is ready to be deployed.
#[derive(Clone, Debug)]
pub struct BoundView {
    /// What it computes; the schema of its root is that of the query.
    pub dataflow: Dataflow,
    /// What is known of its rows.
    pub definition: ViewDefinition,
}

/// Makes the dataflow of a definition.
pub fn view(bound: &BoundQuery, emit: Option<EmitOn>) -> Result<BoundView> {
    functions::check_view_functions(&bound.plan)?;
    let names: Vec<String> = bound.schema.fields().iter().map(|field| field.name().clone()).collect();
    let optimized = optimize::optimize_view(bound.plan.clone())?;
    let lowered = lower::lower_view(&optimized, &names, emit.unwrap_or(EmitOn::Update))?;
    let root = lowered.dataflow.root();
    let definition = ViewDefinition { changes: root.changes, event_time: root.event_time, key: lowered.key };
    Ok(BoundView { dataflow: lowered.dataflow, definition })
}
