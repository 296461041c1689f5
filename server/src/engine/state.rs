//! What statements look at: the catalog and the running graphs, swapped together.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_runtime::graph::{Graph, GraphId};
use millstream_runtime::plan::RelationId;
use millstream_runtime::time::LogPosition;
use tokio::sync::watch;

use super::catalog::DurableCatalog;

/// The catalog and its graphs at one moment.
#[derive(Clone)]
pub struct State {
    /// What there is.
    pub catalog: DurableCatalog,
    /// What runs.
    pub graphs: BTreeMap<GraphId, Graph>,
    /// The commit that made the newest change of the catalog: whoever sees this catalog sees its rows, too.
    pub made_by: LogPosition,
}

impl State {
    /// The graph that a relation runs in.
    pub fn graph_of(&self, relation: RelationId) -> Option<&Graph> {
        self.catalog.graph_of(relation).and_then(|id| self.graphs.get(&id))
    }
}

/// The newest state. Readers keep the one they loaded; only DDL puts another in its place, one at a time.
pub struct SharedState(watch::Sender<Arc<State>>);

impl SharedState {
    /// The first state.
    pub fn new(state: State) -> Self {
        Self(watch::Sender::new(Arc::new(state)))
    }

    /// The newest state.
    pub fn load(&self) -> Arc<State> {
        Arc::clone(&self.0.borrow())
    }

    /// Puts another in its place.
    pub fn store(&self, state: State) {
        self.0.send_replace(Arc::new(state));
    }

    /// Told of every new one.
    pub fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.0.subscribe()
    }
}
