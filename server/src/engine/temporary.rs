//! The views of subscriptions to queries: each runs in the one graph that its inputs are in, and is known there and
//! here only. The catalog, the log and checkpoints never hear of it, so that no end of a process leaves one behind.
//!
//! It goes with its [`TemporaryView`], whatever that ends by: the end of the statement, a cancel, CLOSE, ROLLBACK, a
//! client that vanishes. Its graph may join another one at any time: what is kept here is what it reads, and the
//! catalog says where that is.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_planner::catalog::Catalog;
use millstream_planner::subscribe::Temporary;
use millstream_runtime::graph::{Graph, GraphId, Lease, ViewDeployment};
use millstream_runtime::plan::RelationId;

use super::Engine;
use super::limits::{TEMPORARY_VIEWS, TEMPORARY_VIEWS_PER_SESSION};
use super::read::graph_failed;
use super::state::State;
use crate::session::SqlError;
use crate::session::sqlstate::Condition;

/// The temporary views of a server, by number.
#[derive(Debug, Default)]
pub struct TemporaryViews(Mutex<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    taken: BTreeSet<RelationId>,
    given: u32,
}

/// Those of one session are counted by what they hold of this.
#[derive(Clone, Debug, Default)]
pub struct SessionViews(Arc<()>);

/// A number that nobody else has.
struct Number {
    engine: Arc<Engine>,
    id: RelationId,
    _of_session: SessionViews,
}

/// A view that is there for as long as this is.
pub struct TemporaryView {
    /// Given up first: the graph is told to look when it is gone.
    lease: Option<Arc<Lease>>,
    number: Number,
    /// One of the relations that it reads: it runs where they do.
    beside: RelationId,
}

impl TemporaryViews {
    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.numbers().taken.len()
    }

    fn take(&self) -> Option<RelationId> {
        let mut numbers = self.numbers();
        if numbers.taken.len() >= TEMPORARY_VIEWS {
            return None;
        }
        let first = RelationId::FIRST_TEMPORARY.0;
        loop {
            let id = RelationId(first + numbers.given);
            // The last number stands for what has none yet.
            numbers.given = (numbers.given + 1) % (u32::MAX - first);
            if numbers.taken.insert(id) {
                return Some(id);
            }
        }
    }
}

impl Number {
    fn take(engine: &Arc<Engine>, session: &SessionViews) -> Result<Self, SqlError> {
        let refused = |message: String| {
            let error = SqlError::new(Condition::ProgramLimitExceeded, message);
            error.with_hint("CREATE MATERIALIZED VIEW for the query: any number of sessions can subscribe to that.")
        };
        // The session holds one itself.
        if Arc::strong_count(&session.0) > TEMPORARY_VIEWS_PER_SESSION {
            let most = TEMPORARY_VIEWS_PER_SESSION;
            return Err(refused(format!("a session can subscribe to at most {most} queries at a time")));
        }
        let full = || refused(format!("the sessions of a server can subscribe to at most {TEMPORARY_VIEWS} queries"));
        let id = engine.temporary.take().ok_or_else(full)?;
        Ok(Self { engine: Arc::clone(engine), id, _of_session: session.clone() })
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        self.engine.temporary.numbers().taken.remove(&self.id);
    }
}

impl TemporaryView {
    /// Its number in its graph.
    pub fn id(&self) -> RelationId {
        self.number.id
    }

    /// A relation that runs in the same graph.
    pub fn beside(&self) -> RelationId {
        self.beside
    }

    /// What keeps it.
    pub fn lease(&self) -> Option<&Arc<Lease>> {
        self.lease.as_ref()
    }
}

impl Drop for TemporaryView {
    fn drop(&mut self) {
        self.lease = None;
        if let Some(graph) = self.number.engine.state().graph_of(self.beside) {
            graph.sweep();
        }
    }
}

impl Engine {
    /// Makes a view of a query and waits until it is full: what it shows is not before what its inputs show now.
    pub async fn temporary_view(
        self: &Arc<Self>,
        temporary: &Temporary,
        session: &SessionViews,
    ) -> Result<(TemporaryView, Graph), SqlError> {
        let inputs = temporary.dataflow.inputs();
        let mut states = self.states();
        let beside = *inputs.first().ok_or_else(reads_nothing)?;
        the_graph(&self.state(), &inputs)?;
        let lease = Arc::new(Lease::default());
        let view = TemporaryView { lease: Some(Arc::clone(&lease)), number: Number::take(self, session)?, beside };
        let deployment = || ViewDeployment {
            id: view.id(),
            name: "the query of a subscription".to_string(),
            dataflow: temporary.dataflow.clone(),
            key: temporary.key.clone(),
            sink: None,
        };
        let mut added = false;
        loop {
            let state = Arc::clone(&states.borrow_and_update());
            let graph = the_graph(&state, &inputs)?;
            let filled = async {
                if !added {
                    graph.add_temporary(deployment(), &lease).await?;
                    added = true;
                }
                graph.wait_running(view.id()).await
            };
            let filled = tokio::select! {
                filled = filled => filled,
                // A graph that has joined another one fills nothing any more: the other one does.
                _ = states.changed() => continue,
            };
            let Err(error) = filled else { return Ok((view, graph)) };
            // A join of graphs may be under way.
            drop(self.begin_ddl().await);
            if the_graph(&self.state(), &inputs)?.id() == graph.id() {
                return Err(graph_failed(&state, graph.id(), &graph, error));
            }
        }
    }

    /// How many temporary views there are.
    pub fn temporary_views(&self) -> usize {
        self.temporary.count()
    }
}

/// The graph that all inputs of a query are in.
fn the_graph(state: &State, inputs: &[RelationId]) -> Result<Graph, SqlError> {
    let catalog = &state.catalog.view;
    let mut found: Option<(RelationId, GraphId)> = None;
    for input in inputs {
        let Some(id) = state.catalog.graph_of(*input) else {
            return Err(not_there());
        };
        match found {
            Some((first, graph)) if graph != id => return Err(several_graphs(catalog, first, *input)),
            Some(_) => {}
            None => found = Some((*input, id)),
        }
    }
    let graph = found.and_then(|(_, id)| state.graphs.get(&id)).cloned();
    graph.ok_or_else(reads_nothing)
}

fn reads_nothing() -> SqlError {
    SqlError::new(Condition::FeatureNotSupported, "cannot subscribe to a query that reads no relation")
        .with_hint("SELECT it: its rows never change.")
}

/// What is in no graph was dropped after the query was planned.
fn not_there() -> SqlError {
    SqlError::new(Condition::UndefinedTable, "a relation that the query reads was dropped")
        .with_hint("Look at the query, and SUBSCRIBE again.")
}

fn several_graphs(catalog: &Catalog, one: RelationId, other: RelationId) -> SqlError {
    let name = |id: RelationId| catalog.get(id).map_or_else(|| id.to_string(), |found| found.name.name.clone());
    SqlError::new(Condition::FeatureNotSupported, "cannot subscribe to a query over relations of several jobs")
        .with_detail(format!("The jobs of \"{}\" and \"{}\" have no epochs in common.", name(one), name(other)))
        .with_hint("CREATE MATERIALIZED VIEW for the query, which makes the jobs one, and subscribe to that.")
}
