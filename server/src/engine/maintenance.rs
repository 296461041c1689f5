//! What keeps the storage small: snapshots of the log, trimming, and collection of objects that nothing names.
//!
//! A snapshot is only written while every joined graph has a checkpoint of its own, so that it never has to say
//! what a graph was made of. Whatever is deleted rests on a snapshot and on checkpoints that stand (10).

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use millstream_runtime::graph::{GraphId, GraphState};
use millstream_runtime::storage::{CheckpointRecord, Snapshot};
use millstream_runtime::time::LogPosition;
use millstream_runtime::{ErrorKind, Result};

use super::Engine;
use super::limits::{MAINTENANCE_SECONDS, SNAPSHOT_LOG_BYTES, SNAPSHOT_LOG_ENTRIES};
use super::read::graph_failed;
use super::state::State;
use crate::session::SqlError;

/// Looks after the storage until the engine is dropped.
pub fn start(engine: &Arc<Engine>) {
    let engine: Weak<Engine> = Arc::downgrade(engine);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(MAINTENANCE_SECONDS));
        ticks.tick().await;
        let mut seen = LogPosition(0);
        loop {
            ticks.tick().await;
            let Some(engine) = engine.upgrade() else { return };
            // Nothing becomes superfluous without an entry.
            let last = engine.storage.last_position();
            if last == seen {
                continue;
            }
            match engine.tidy_storage(false).await {
                Ok(()) => seen = last,
                Err(error) if error.kind == ErrorKind::Fenced => return,
                Err(error) => tracing::warn!(%error, "the storage could not be tidied, trying again later"),
            }
        }
    });
}

impl Engine {
    /// `CHECKPOINT`: a checkpoint of every graph that runs, then a snapshot, then what is no longer needed goes.
    /// Gives back the graphs that could not take part, with the reason.
    pub async fn checkpoint(&self) -> Result<Vec<String>, SqlError> {
        let state = self.state.load();
        let mut left_out = Vec::new();
        let mut running = Vec::new();
        for (id, graph) in &state.graphs {
            match graph.state() {
                GraphState::Failed { reason } => left_out.push(format!("graph {} has failed: {reason}", id.0)),
                GraphState::Running | GraphState::Waiting { .. } | GraphState::Restarting { .. } => {
                    running.push((*id, graph.clone()));
                }
            }
        }
        {
            let mut delivered = self.committer.delivered().lock().await;
            running.iter().for_each(|(_, graph)| delivered.catch_up(graph));
        }
        let taken = running
            .into_iter()
            .map(async |(id, graph)| graph.checkpoint().await.map_err(|error| graph_failed(&state, id, &graph, error)));
        futures::future::try_join_all(taken).await?;
        match self.tidy_storage(true).await {
            // What a failed graph was to start from can't be read: the others have their checkpoints all the same.
            Err(error) if error.kind == ErrorKind::Data => left_out.push(format!("the log was kept: {error}")),
            tidied => tidied?,
        }
        Ok(left_out)
    }

    /// Deletes what the newest checkpoints make superfluous; where it is due or asked for, writes a snapshot
    /// first and drops the log that it covers.
    async fn tidy_storage(&self, snapshot_now: bool) -> Result<()> {
        let _no_ddl = self.ddl.lock().await;
        let state = self.state.load();
        // Taken before the checkpoints: one that is committed in between is read again from the log.
        let position = self.storage.last_position();
        let checkpoints = self.storage.checkpoints();
        let newest: BTreeMap<GraphId, CheckpointRecord> =
            state.graphs.keys().filter_map(|id| Some((*id, checkpoints.get(id)?.clone()))).collect();
        if self.has_unsettled_joins(&state, &newest) {
            return Ok(());
        }
        let entries = position.0 - self.snapshot_at.load(Ordering::Relaxed);
        let bytes = self.storage.bytes_since_snapshot();
        if snapshot_now || entries >= SNAPSHOT_LOG_ENTRIES || bytes >= SNAPSHOT_LOG_BYTES {
            self.shorten_log(&state, position, &newest).await?;
            self.snapshot_at.store(position.0, Ordering::Relaxed);
        }
        let retained: Vec<_> = newest.into_values().map(|checkpoint| checkpoint.checkpoint).collect();
        self.storage.collect(&retained).await.map(drop)
    }

    /// Until a joined graph has a checkpoint of its own, those of its parts are still needed.
    fn has_unsettled_joins(&self, state: &State, newest: &BTreeMap<GraphId, CheckpointRecord>) -> bool {
        let mut unsettled = self.unsettled.lock().expect("nothing panics while it is locked");
        unsettled.retain(|id, before| {
            state.graphs.contains_key(id) && newest.get(id).map(|record| &record.checkpoint) == before.as_ref()
        });
        !unsettled.is_empty()
    }

    /// Writes a snapshot of the log up to `position`, and drops what it and the checkpoints cover.
    async fn shorten_log(
        &self,
        state: &State,
        position: LogPosition,
        newest: &BTreeMap<GraphId, CheckpointRecord>,
    ) -> Result<()> {
        let catalog = serde_json::to_value(state.catalog.to_stored())
            .map_err(|error| millstream_runtime::Error::internal(format!("the catalog has no JSON form: {error}")))?;
        let snapshot = Snapshot { catalog, checkpoints: newest.clone(), savepoints: BTreeMap::new() };
        self.storage.write_snapshot(position, &snapshot).await?;
        let tables = state.catalog.view.relations().filter(|relation| state.catalog.kept_table(relation).is_some());
        let past = tables
            .map(|table| {
                let checkpoint = state.catalog.graph_of(table.id).and_then(|graph| newest.get(&graph));
                let at = checkpoint.map(|checkpoint| checkpoint.log_position).unwrap_or_default();
                at.max(state.catalog.rows_from(table.id))
            })
            .min();
        self.storage.trim(past.unwrap_or(position)).await.map(drop)
    }
}
