//! What a graph's handle and its job master share: what is shown, and how it does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::history::History;
use super::{GraphState, OperatorReport, Published};
use crate::error::Error;
use crate::plan::RelationId;
use crate::source::Source;
use crate::storage::CheckpointRef;

/// How a view does, with the error of one whose filling failed.
#[derive(Clone, Debug)]
pub(super) enum ViewProgress {
    Filling(f64),
    Running,
    Failed(Error),
}

/// Shared by the handle and the job master.
pub(super) struct Shared {
    pub(super) published: watch::Sender<Arc<Published>>,
    pub(super) state: watch::Sender<GraphState>,
    pub(super) views: watch::Sender<BTreeMap<RelationId, ViewProgress>>,
    sources: Mutex<BTreeMap<RelationId, Arc<dyn Source>>>,
    report: Mutex<Arc<Vec<OperatorReport>>>,
    reads: Mutex<BTreeSet<RelationId>>,
    committed: Mutex<Option<CheckpointRef>>,
    failures: AtomicU64,
    pub(super) history: Mutex<History>,
}

impl Shared {
    pub(super) fn new(published: Published) -> Self {
        Self {
            published: watch::channel(Arc::new(published)).0,
            state: watch::channel(GraphState::Running).0,
            views: watch::channel(BTreeMap::new()).0,
            sources: Mutex::default(),
            report: Mutex::default(),
            reads: Mutex::default(),
            committed: Mutex::default(),
            failures: AtomicU64::new(0),
            history: Mutex::default(),
        }
    }

    /// What was shown, for those who follow it.
    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }

    /// Shows an epoch. Whoever is woken finds it in the history.
    pub(super) fn show(&self, published: Published) {
        self.history().push(&published);
        self.published.send_replace(Arc::new(published));
    }

    pub(super) fn set_state(&self, state: GraphState) {
        self.state.send_if_modified(|now| {
            let changed = *now != state;
            *now = state;
            changed
        });
    }

    pub(super) fn set_progress(&self, view: RelationId, progress: ViewProgress) {
        self.views.send_modify(|views| {
            views.insert(view, progress);
        });
    }

    pub(super) fn forget(&self, relation: RelationId) {
        self.views.send_modify(|views| {
            views.remove(&relation);
        });
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).remove(&relation);
        self.history().forget(relation);
    }

    pub(super) fn put_source(&self, relation: RelationId, source: Arc<dyn Source>) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).insert(relation, source);
    }

    pub(super) fn sources(&self) -> BTreeMap<RelationId, Arc<dyn Source>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The relations that running views read.
    pub(super) fn set_reads(&self, reads: BTreeSet<RelationId>) {
        *self.reads.lock().unwrap_or_else(PoisonError::into_inner) = reads;
    }

    pub(super) fn is_read(&self, relation: RelationId) -> bool {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).contains(&relation)
    }

    pub(super) fn set_committed(&self, checkpoint: CheckpointRef) {
        *self.committed.lock().unwrap_or_else(PoisonError::into_inner) = Some(checkpoint);
    }

    pub(super) fn committed(&self) -> Option<CheckpointRef> {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn set_report(&self, report: Vec<OperatorReport>) {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(report);
    }

    pub(super) fn report(&self) -> Arc<Vec<OperatorReport>> {
        Arc::clone(&self.report.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The history as it is now; nothing that is done with it can leave it half changed.
pub(super) fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}
