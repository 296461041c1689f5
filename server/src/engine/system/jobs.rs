//! `millstream.jobs`: every table, source, view and sink that runs, and how it does. SHOW JOBS shows the same.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field};
use millstream_planner::access::RoleOid;
use millstream_runtime::Result;
use millstream_runtime::graph::{GraphState, ViewState};
use millstream_runtime::time::Watermark;

use super::relations::kind_name;
use super::{SystemContext, SystemRelation, bigint, count, sees_reasons, text, timestamp, watermarks};
use crate::engine::Engine;
use crate::engine::state::State;

/// The relation.
pub const RELATION: SystemRelation = SystemRelation { schema: super::SCHEMA, name: "jobs", oid: 9_001, columns, rows };

/// How a relation's job does.
pub struct Job {
    /// Its graph.
    pub graph: u64,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub relation: String,
    /// What it is.
    pub kind: &'static str,
    /// `RUNNING`, `FILLING`, `WAITING`, `RESTARTING` or `FAILED`.
    pub state: &'static str,
    /// Why it does not run; its owner sees it.
    pub reason: Option<String>,
    /// The share of the fill that is done.
    pub progress: Option<f64>,
    /// The newest epoch that can be read.
    pub epoch: String,
    /// What the relation promises.
    pub watermark: Option<Watermark>,
}

/// Every relation that runs, by number; with reasons as far as the viewer may see them.
pub fn jobs(engine: &Engine, state: &State, viewer: RoleOid) -> Vec<Job> {
    let relations = state.catalog.view.relations();
    relations
        .filter_map(|relation| {
            let graph = state.graph_of(relation.id)?;
            let published = graph.published();
            let (job_state, reason, progress) = state_of(engine.graph_state(graph), graph.view_state(relation.id));
            Some(Job {
                graph: graph.id().0,
                schema: relation.name.schema.clone(),
                relation: relation.name.name.clone(),
                kind: kind_name(&relation.kind),
                state: job_state,
                reason: reason.filter(|_| sees_reasons(state, viewer, relation)),
                progress,
                epoch: published.epoch.to_string(),
                watermark: published.watermarks.get(&relation.id).copied(),
            })
        })
        .collect()
}

fn state_of(graph: GraphState, view: Option<ViewState>) -> (&'static str, Option<String>, Option<f64>) {
    match (graph, view) {
        (GraphState::Failed { reason }, _) => ("FAILED", Some(reason), None),
        (GraphState::Waiting { reason }, _) => ("WAITING", Some(reason), None),
        (GraphState::Restarting { reason }, _) => ("RESTARTING", Some(reason), None),
        (GraphState::Running, Some(ViewState::Filling(share))) => ("FILLING", None, Some(share)),
        (GraphState::Running, Some(ViewState::Failed { reason })) => ("FAILED", Some(reason), None),
        (GraphState::Running, Some(ViewState::Running)) => ("RUNNING", None, Some(1.0)),
        (GraphState::Running, None) => ("RUNNING", None, None),
    }
}

fn columns() -> Vec<Field> {
    vec![
        bigint("graph"),
        text("schema"),
        text("relation"),
        text("kind"),
        text("state"),
        text("reason"),
        Field::new("progress", DataType::Float64, true),
        text("epoch"),
        timestamp("watermark"),
    ]
}

fn rows(context: &SystemContext<'_>) -> Result<Vec<ArrayRef>> {
    let jobs = jobs(context.engine, context.state, context.viewer);
    Ok(vec![
        Arc::new(Int64Array::from_iter_values(jobs.iter().map(|job| count(job.graph)))),
        Arc::new(StringArray::from_iter_values(jobs.iter().map(|job| &job.schema))),
        Arc::new(StringArray::from_iter_values(jobs.iter().map(|job| &job.relation))),
        Arc::new(StringArray::from_iter_values(jobs.iter().map(|job| job.kind))),
        Arc::new(StringArray::from_iter_values(jobs.iter().map(|job| job.state))),
        Arc::new(StringArray::from_iter(jobs.iter().map(|job| job.reason.as_ref()))),
        Arc::new(Float64Array::from_iter(jobs.iter().map(|job| job.progress))),
        Arc::new(StringArray::from_iter_values(jobs.iter().map(|job| &job.epoch))),
        watermarks(jobs.iter().map(|job| job.watermark)),
    ])
}
