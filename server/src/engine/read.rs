//! What a statement reads: one state of everything, pinned before the first row.
//!
//! Invariants: all relations of one graph are at one epoch; across graphs all are at one log position, so that
//! no commit is seen in part; what a session has seen it sees again (invariant 4). Readers never hold up a
//! graph; only one that reads several graphs waits for the slowest of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use millstream_planner::access::RoleOid;
use millstream_planner::bind::RelationTable;
use millstream_planner::catalog::{Auxiliary, Relation, RelationKind, Resolved};
use millstream_planner::statement::Read;
use millstream_runtime::Error;
use millstream_runtime::graph::{Graph, GraphId, GraphState, Published, ViewState};
use millstream_runtime::plan::RelationId;
use millstream_runtime::relation::RelationVersion;
use millstream_runtime::time::LogPosition;

use super::Engine;
use super::committer::Delivered;
use super::index::indexes_of;
use super::provider::{BatchRows, Scan, VersionRows};
use super::source_scan::SourceRows;
use super::state::State;
use super::system::{self, SystemContext};
use crate::session::SqlError;
use crate::session::sqlstate::Condition;

/// Attempts to find several graphs at one position before the commits are held back for a moment.
const ATTEMPTS: usize = 4;

/// One state of some graphs.
#[derive(Clone)]
pub struct Pinned {
    /// The catalog and the graphs.
    pub state: Arc<State>,
    /// What each graph showed.
    pub graphs: BTreeMap<GraphId, Arc<Published>>,
}

impl Pinned {
    /// The newest commit that is in what was pinned.
    pub fn log_position(&self) -> LogPosition {
        self.graphs.values().map(|published| published.log_position).max().unwrap_or_default()
    }
}

impl Engine {
    /// The graphs that a statement reads. Sources are read from outside and are in none of them.
    pub fn graphs_read(&self, state: &State, reads: &[Read]) -> BTreeSet<GraphId> {
        let from_graph = |read: &&Read| {
            let relation = state.catalog.view.get(read.relation);
            read.auxiliary.is_some() || relation.is_none_or(|relation| state.catalog.source(relation).is_none())
        };
        reads.iter().filter(from_graph).filter_map(|read| state.catalog.graph_of(read.relation)).collect()
    }

    /// Pins some graphs at one position that is not before `seen`.
    pub async fn pin(
        &self,
        state: &Arc<State>,
        reads: &[Read],
        graphs: &BTreeSet<GraphId>,
        seen: LogPosition,
    ) -> Result<Pinned, SqlError> {
        let running: BTreeMap<GraphId, Graph> =
            graphs.iter().filter_map(|id| Some((*id, state.graphs.get(id)?.clone()))).collect();
        wait_until_shown(state, reads, &running).await?;
        let seen = seen.max(state.made_by);
        for _ in 0..ATTEMPTS {
            let waits = {
                let delivered = self.committer.delivered().lock().await;
                match settled(&running, &delivered, seen) {
                    Ok(graphs) => return Ok(Pinned { state: Arc::clone(state), graphs }),
                    Err(waits) => waits,
                }
            };
            wait_all(state, &running, waits).await?;
        }
        // Commits come faster than the slowest graph takes them: hold them back until all have caught up.
        let delivered = self.committer.delivered().lock().await;
        loop {
            match settled(&running, &delivered, seen) {
                Ok(graphs) => return Ok(Pinned { state: Arc::clone(state), graphs }),
                Err(waits) => wait_all(state, &running, waits).await?,
            }
        }
    }

    /// The rows behind a table scan; system relations keep to what the viewer may see.
    pub fn provider(
        &self,
        pinned: &Pinned,
        viewer: RoleOid,
        table: &RelationTable,
    ) -> Result<Arc<dyn TableProvider>, SqlError> {
        match &table.resolved {
            Resolved::Auxiliary { owner, auxiliary, schema } => {
                let version = self.auxiliary_rows(pinned, owner.id, *auxiliary);
                let version = version.unwrap_or_else(|| RelationVersion::empty(Arc::clone(schema)));
                Ok(Arc::new(Scan(VersionRows::new(version, Arc::clone(schema)))))
            }
            Resolved::Relation(relation) => self.relation_provider(pinned, viewer, relation),
        }
    }

    fn relation_provider(
        &self,
        pinned: &Pinned,
        viewer: RoleOid,
        relation: &Relation,
    ) -> Result<Arc<dyn TableProvider>, SqlError> {
        let catalog = &pinned.state.catalog;
        if let Some((input, connector)) = catalog.source(relation) {
            let splits = catalog.deployed(relation.id).map(|deployed| deployed.splits.clone()).unwrap_or_default();
            let uses = catalog.view.secret_uses(relation.id);
            let source = self.starter.secrets.source(connector, uses, &self.starter.connectors)?;
            return Ok(Arc::new(Scan(SourceRows { input: input.clone(), source, splits })));
        }
        match &relation.kind {
            RelationKind::Table(_) | RelationKind::MaterializedView(_) => {
                let version = version_of(pinned, relation.id).ok_or_else(|| not_there_yet(&relation.name.name))?;
                let rows = VersionRows::new(version, Arc::clone(&relation.schema));
                let indexes = indexes_of(&pinned.state.catalog, relation);
                Ok(Arc::new(Scan(rows.with_indexes(&relation.name.name, indexes))))
            }
            RelationKind::System => {
                let context = SystemContext { engine: self, state: &pinned.state, viewer };
                Ok(Arc::new(Scan(BatchRows(system::rows(&relation.name, &context)?))))
            }
            RelationKind::Source(_) | RelationKind::View { .. } | RelationKind::Sink(_) => {
                Err(Error::internal(format!("a plan scans \"{}\"", relation.name.name)).into())
            }
        }
    }

    fn auxiliary_rows(&self, pinned: &Pinned, owner: RelationId, which: Auxiliary) -> Option<Arc<RelationVersion>> {
        let graph = pinned.state.catalog.graph_of(owner)?;
        let published = pinned.graphs.get(&graph)?;
        match which {
            Auxiliary::Rejected | Auxiliary::Refused => published.rejected.get(&owner).cloned(),
            Auxiliary::Late => published.late.get(&owner).cloned(),
        }
    }
}

/// A table or view as it was pinned.
pub fn version_of(pinned: &Pinned, relation: RelationId) -> Option<Arc<RelationVersion>> {
    let graph = pinned.state.catalog.graph_of(relation)?;
    pinned.graphs.get(&graph)?.relations.get(&relation).cloned()
}

/// The error for a relation without a version.
pub fn not_there_yet(name: &str) -> SqlError {
    SqlError::new(Condition::ObjectNotInPrerequisiteState, format!("relation \"{name}\" can't be read yet"))
        .with_hint("Look at SHOW JOBS for the state of its job.")
}

/// What the graphs show, if that is one position: each has every commit that it was given. Otherwise what to
/// wait for.
fn settled(
    running: &BTreeMap<GraphId, Graph>,
    delivered: &Delivered,
    seen: LogPosition,
) -> Result<BTreeMap<GraphId, Arc<Published>>, BTreeMap<GraphId, LogPosition>> {
    let given = |id: &GraphId| delivered.last.get(id).copied().unwrap_or_default();
    let shown: BTreeMap<_, _> = running.iter().map(|(id, graph)| (*id, graph.published())).collect();
    let behind: BTreeMap<GraphId, LogPosition> = shown
        .iter()
        .map(|(id, published)| {
            // Alone, a graph needs only what the session has seen; together, all that any of them may show.
            let needed = if running.len() == 1 { given(id).min(seen) } else { given(id) };
            (*id, needed, published.log_position)
        })
        .filter(|(_, needed, at)| at < needed)
        .map(|(id, needed, _)| (id, needed))
        .collect();
    if behind.is_empty() { Ok(shown) } else { Err(behind) }
}

async fn wait_all(
    state: &State,
    running: &BTreeMap<GraphId, Graph>,
    waits: BTreeMap<GraphId, LogPosition>,
) -> Result<(), SqlError> {
    let waits = waits.into_iter().map(async |(id, position)| {
        let graph = &running[&id];
        graph.wait_for(position).await.map_err(|error| graph_failed(state, id, graph, error))
    });
    futures::future::try_join_all(waits).await.map(drop)
}

/// A view that is being filled is read once it is full, a graph that has just started once it shows something.
/// A view that could not be filled would be waited for in vain.
async fn wait_until_shown(state: &State, reads: &[Read], running: &BTreeMap<GraphId, Graph>) -> Result<(), SqlError> {
    let mut wanted: BTreeMap<GraphId, Vec<RelationId>> = running.keys().map(|id| (*id, Vec::new())).collect();
    for read in reads.iter().filter(|read| read.auxiliary.is_none()) {
        let Some(of_graph) = state.catalog.graph_of(read.relation).and_then(|id| wanted.get_mut(&id)) else { continue };
        of_graph.push(read.relation);
    }
    for (id, relations) in wanted {
        let graph = &running[&id];
        for relation in &relations {
            if let Some(ViewState::Filling(_) | ViewState::Failed { .. }) = graph.view_state(*relation) {
                graph.wait_running(*relation).await.map_err(|error| graph_failed(state, id, graph, error))?;
            }
        }
        let shown = graph.wait_shown(&relations).await;
        shown.map_err(|error| graph_failed(state, id, graph, error))?;
    }
    Ok(())
}

/// Why a graph can't be waited for, with a relation's name instead of its number.
pub fn graph_failed(state: &State, id: GraphId, graph: &Graph, error: Error) -> SqlError {
    let members = state.catalog.members(id);
    let name = members.last().map_or_else(|| format!("graph {}", id.0), |relation| relation.name.name.clone());
    match graph.state() {
        GraphState::Failed { reason } => SqlError::new(
            Condition::ObjectNotInPrerequisiteState,
            format!("the job of \"{name}\" has failed: {reason}"),
        )
        .with_hint("SHOW JOBS lists the jobs; DROP the relation, or mend the cause and start the server again."),
        GraphState::Running | GraphState::Waiting { .. } | GraphState::Restarting { .. } => SqlError::from(error),
    }
}
