//! A graph: the connected relations that share one epoch loop, one checkpoint lineage and one fate.
//!
//! [`Graph`] is the handle that the server holds; behind it a job master runs on a thread of its own.

mod accept;
mod bad_rows;
mod checkpoint;
mod epoch;
mod fill;
mod follow;
mod history;
mod instance;
mod master;
mod memory;
mod moments;
mod publisher;
mod pump;
mod relation_state;
mod runner;
mod shared;
mod slots;
mod split;
mod temporary;
#[cfg(test)]
mod tests;
mod texts;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use tokio::sync::oneshot;

pub use self::accept::{Accepted, Acceptor, SplitClock};
pub use self::bad_rows::{rejected_record_schema, rejected_row_schema};
pub use self::checkpoint::{RestoredTable, restore_tables};
pub use self::follow::{Difference, Followed, Follower};
pub use self::history::{Part, Series};
use self::master::{Master, Message, Reply};
pub use self::memory::StateMemory;
pub use self::moments::{SECOND_DIGITS, rounded_moments};
use self::shared::{Shared, ViewProgress};
pub use self::slots::Slots;
pub use self::temporary::Lease;
use crate::batch::ChangeBatch;
use crate::error::{Error, Result};
use crate::plan::{Dataflow, InputRelation, RelationId};
use crate::relation::RelationVersion;
use crate::sink::{Sink, SinkIdentity};
use crate::source::{Position, Source, Split, SplitId};
use crate::storage::Storage;
use crate::time::{Epoch, LogPosition, Stamp, Watermark};

/// The number of a graph, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GraphId(pub u64);

/// Where processing time comes from; set by hand in tests.
pub trait Clock: Send + Sync {
    /// Microseconds since 1970.
    fn now(&self) -> Stamp;
}

/// What a graph is started with.
pub struct GraphConfig {
    /// Its number.
    pub id: GraphId,
    /// The term of this server.
    pub term: u64,
    /// Where its subtasks run.
    pub slots: Slots,
    /// Number of subtasks per operator, at most the number of slots.
    pub parallelism: usize,
    /// What all graphs of the process may keep in memory.
    pub memory: Arc<StateMemory>,
    /// Microseconds between checkpoints that are taken by themselves; `None` only on request.
    pub checkpoint_interval_micros: Option<i64>,
    /// Processing time.
    pub clock: Arc<dyn Clock>,
    /// Where checkpoints go, and the log that commits them.
    pub storage: Arc<Storage>,
    /// Runs readers and uploads.
    pub tokio: tokio::runtime::Handle,
}

/// A source or a table of the graph.
pub struct InputDeployment {
    /// How its rows are treated.
    pub relation: InputRelation,
    /// Where they come from.
    pub origin: InputOrigin,
}

/// Where an input's rows come from.
pub enum InputOrigin {
    /// A connector; rows are not kept. The splits as resolved at CREATE SOURCE.
    Source {
        /// The connector's side.
        source: Arc<dyn Source>,
        /// The splits with their start positions, as they stand in the log.
        splits: Vec<Split>,
        /// What `topic` shows in `$rejected`.
        label: Option<String>,
    },
    /// DML through [`Graph::commit`]; the engine keeps the head, the graph shows versions of it.
    Table {
        /// The table as the checkpoint that the graph starts from has it; empty without one.
        version: Arc<RelationVersion>,
        /// Its watermark then.
        watermark: Watermark,
    },
}

/// A materialized view or a sink of the graph.
pub struct ViewDeployment {
    /// Its number.
    pub id: RelationId,
    /// Its qualified name, for messages.
    pub name: String,
    /// What it computes.
    pub dataflow: Dataflow,
    /// Unique columns, empty when not known.
    pub key: Vec<usize>,
    /// Set for a sink: the rows leave instead of being kept.
    pub sink: Option<SinkDeployment>,
}

/// Where the rows of a sink go.
pub struct SinkDeployment {
    /// The connector's side.
    pub sink: Arc<dyn Sink>,
    /// Who publishes.
    pub identity: SinkIdentity,
}

/// What an operator of a running view has done since its graph started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorReport {
    /// The view or sink.
    pub view: RelationId,
    /// The node's index in the view's plan.
    pub node: usize,
    /// What it is.
    pub operator: &'static str,
    /// Rows that came in.
    pub rows_in: u64,
    /// Rows that went out.
    pub rows_out: u64,
    /// Bytes of state that it keeps, as last measured.
    pub state_bytes: usize,
    /// The view's watermark.
    pub watermark: Watermark,
}

/// A durable commit of table rows.
#[derive(Clone, Debug)]
pub struct TableCommit {
    /// Its log entry.
    pub position: LogPosition,
    /// Per table the final changes and the version that holds them.
    pub tables: Vec<TableChange>,
}

/// What a commit did to one table.
#[derive(Clone, Debug)]
pub struct TableChange {
    /// The table.
    pub relation: RelationId,
    /// Net changes, full schema.
    pub changes: Vec<ChangeBatch>,
    /// Rows that came too late, full schema: they are kept in `$late`.
    pub late: Vec<RecordBatch>,
    /// The table after the commit.
    pub version: Arc<RelationVersion>,
    /// The table's watermark after the commit.
    pub watermark: Watermark,
}

/// What readers see: one epoch of a graph.
#[derive(Clone, Debug)]
pub struct Published {
    /// The epoch.
    pub epoch: Epoch,
    /// Its processing time.
    pub stamp: Stamp,
    /// Every commit up to here is in.
    pub log_position: LogPosition,
    /// Tables and views of the graph that can be read.
    pub relations: BTreeMap<RelationId, Arc<RelationVersion>>,
    /// `$rejected` and `$refused`.
    pub rejected: BTreeMap<RelationId, Arc<RelationVersion>>,
    /// `$late`.
    pub late: BTreeMap<RelationId, Arc<RelationVersion>>,
    /// How far every split of every source is in.
    pub splits: BTreeMap<RelationId, BTreeMap<SplitId, SplitStatus>>,
    /// Watermark of every relation.
    pub watermarks: BTreeMap<RelationId, Watermark>,
}

/// A split at an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitStatus {
    /// The next position.
    pub position: Position,
    /// The split's own watermark.
    pub watermark: Watermark,
    /// Taken out of the merge for want of rows.
    pub idle: bool,
    /// A bounded split that has ended.
    pub ended: bool,
    /// Records read, for ever.
    pub read: u64,
    /// Rows accepted, for ever.
    pub accepted: u64,
    /// Rows late, for ever.
    pub late: u64,
    /// Records rejected, for ever.
    pub rejected: u64,
}

/// How a graph does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GraphState {
    /// Runs.
    Running,
    /// An outside service is away: what does not need it goes on, and all of it does once the service is back.
    Waiting {
        /// Which one, and what it said.
        reason: String,
    },
    /// Waits to be restarted after a failure.
    Restarting {
        /// Why.
        reason: String,
    },
    /// Stands until a person acts.
    Failed {
        /// Why.
        reason: String,
    },
}

/// How a view does.
#[derive(Clone, Debug, PartialEq)]
pub enum ViewState {
    /// Being filled; the share that is done, from 0 to 1.
    Filling(f64),
    /// Follows its inputs.
    Running,
    /// Its filling failed: it holds nothing and never will, until it is dropped or the server starts again.
    Failed {
        /// The error of its filling.
        reason: String,
    },
}

impl Published {
    fn before_everything() -> Self {
        Self {
            epoch: Epoch { term: 0, counter: 0 },
            stamp: Stamp(i64::MIN),
            log_position: LogPosition(0),
            relations: BTreeMap::new(),
            rejected: BTreeMap::new(),
            late: BTreeMap::new(),
            splits: BTreeMap::new(),
            watermarks: BTreeMap::new(),
        }
    }

    /// The versions of one part of every relation.
    pub(crate) fn part(&self, part: Part) -> &BTreeMap<RelationId, Arc<RelationVersion>> {
        match part {
            Part::Rows => &self.relations,
            Part::Rejected => &self.rejected,
            Part::Late => &self.late,
        }
    }

    /// Whether every split of the relation has been read up to the given positions.
    pub fn has_read(&self, relation: RelationId, ends: &BTreeMap<SplitId, Position>) -> bool {
        let read = |split: &SplitId, end: &Position| {
            self.splits
                .get(&relation)
                .and_then(|splits| splits.get(split))
                .is_some_and(|status| status.ended || status.position >= *end)
        };
        ends.iter().all(|(split, end)| end.0 == 0 || read(split, end))
    }
}

/// The handle of a running graph. Cheap to clone. The graph runs until it is stopped.
#[derive(Clone)]
pub struct Graph {
    id: GraphId,
    sender: Sender<Message>,
    shared: Arc<Shared>,
}

impl Graph {
    /// Starts a graph, from a checkpoint if there is one. Inputs and views are those of the catalog; views
    /// that the checkpoint does not know are filled anew.
    pub fn start(
        config: GraphConfig,
        inputs: Vec<InputDeployment>,
        views: Vec<ViewDeployment>,
        checkpoint: Option<crate::storage::CheckpointRef>,
    ) -> Self {
        let filling: Vec<RelationId> = views.iter().map(|view| view.id).collect();
        Self::spawn(config, &filling, |master| master.run(inputs, views, checkpoint))
    }

    /// A graph that can't be started, because what it was to start from can't be read: it stands as failed from
    /// the beginning, until what it holds is dropped.
    pub fn start_failed(config: GraphConfig, error: Error) -> Self {
        let reason = error.to_string();
        let graph = Self::spawn(config, &[], move |master| master.run_failed(&error));
        graph.shared.set_state(GraphState::Failed { reason });
        graph
    }

    fn spawn(config: GraphConfig, filling: &[RelationId], run: impl FnOnce(Master) + Send + 'static) -> Self {
        let (sender, mailbox) = std::sync::mpsc::channel();
        let shared = Arc::new(Shared::new(Published::before_everything()));
        filling.iter().for_each(|view| shared.set_progress(*view, ViewProgress::Filling(0.0)));
        let graph = Self { id: config.id, sender: sender.clone(), shared: Arc::clone(&shared) };
        std::thread::Builder::new()
            .name(format!("job-{}", config.id.0))
            .spawn(move || run(Master::new(config, shared, mailbox, sender)))
            .expect("the process may start a thread for a graph");
        graph
    }

    /// Its number.
    pub fn id(&self) -> GraphId {
        self.id
    }

    /// What readers see now.
    pub fn published(&self) -> Arc<Published> {
        Arc::clone(&self.shared.published.borrow())
    }

    /// Told of every new epoch.
    pub fn watch(&self) -> tokio::sync::watch::Receiver<Arc<Published>> {
        self.shared.published.subscribe()
    }

    /// The oldest and the newest epoch at which a series can still be followed.
    pub fn followed_epochs(&self, series: impl Into<Series>) -> Option<(Epoch, Epoch)> {
        self.shared.history().held(series.into())
    }

    /// How it does.
    pub fn state(&self) -> GraphState {
        self.shared.state.borrow().clone()
    }

    /// Told of how it does, whenever that changes.
    pub fn watch_state(&self) -> tokio::sync::watch::Receiver<GraphState> {
        self.shared.state.subscribe()
    }

    /// How often it has failed since it was started, the failures included that it got over by itself.
    pub fn failures(&self) -> u64 {
        self.shared.failures()
    }

    /// What its operators have done.
    pub fn report(&self) -> Arc<Vec<OperatorReport>> {
        self.shared.report()
    }

    /// How a view does; `None` when it is not of this graph.
    pub fn view_state(&self, view: RelationId) -> Option<ViewState> {
        match self.shared.views.borrow().get(&view)? {
            ViewProgress::Filling(share) => Some(ViewState::Filling(*share)),
            ViewProgress::Running => Some(ViewState::Running),
            ViewProgress::Failed(error) => Some(ViewState::Failed { reason: error.to_string() }),
        }
    }

    /// Adds a source or table; a source is read once a view reads it.
    pub async fn add_input(&self, input: InputDeployment) -> Result<()> {
        self.ask(|reply| Message::AddInput(Box::new(input), reply)).await
    }

    /// Adds a view or sink and returns once it is being filled. Its inputs are of this graph.
    pub async fn add_view(&self, view: ViewDeployment) -> Result<()> {
        self.shared.set_progress(view.id, ViewProgress::Filling(0.0));
        self.ask(|reply| Message::AddView(Box::new(view), reply)).await
    }

    /// Adds a view with a number that no catalog has, which no checkpoint knows: it goes when its lease is dropped and
    /// the graph is made to look ([`Self::sweep`]), and may be ended before ([`Self::view_ended`]).
    pub async fn add_temporary(&self, view: ViewDeployment, lease: &Arc<Lease>) -> Result<()> {
        self.ask(|reply| Message::AddTemporary(Box::new(view), Arc::downgrade(lease), reply)).await
    }

    /// Looks which temporary views have lost their readers, and takes them out.
    pub fn sweep(&self) {
        // A graph that has ended has none.
        drop(self.sender.send(Message::Sweep));
    }

    /// Waits until a view has failed, or was ended: the reason; `None` where it is not of this graph any more.
    pub async fn view_ended(&self, view: RelationId) -> Option<Error> {
        let mut views = self.shared.views.subscribe();
        let ended = |views: &BTreeMap<RelationId, ViewProgress>| {
            !matches!(views.get(&view), Some(ViewProgress::Running | ViewProgress::Filling(_)))
        };
        match views.wait_for(ended).await.ok()?.get(&view)? {
            ViewProgress::Failed(error) => Some(error.clone()),
            ViewProgress::Running | ViewProgress::Filling(_) => None,
        }
    }

    /// Waits until a view is full and follows its inputs; the error of its filling if that fails.
    pub async fn wait_running(&self, view: RelationId) -> Result<()> {
        let mut views = self.shared.views.subscribe();
        let mut state = self.shared.state.subscribe();
        loop {
            match views.borrow_and_update().get(&view) {
                Some(ViewProgress::Running) => return Ok(()),
                Some(ViewProgress::Failed(error)) => return Err(error.clone()),
                Some(ViewProgress::Filling(_)) => {}
                None => return Err(Error::unavailable("the view is not there any more")),
            }
            failed(&state.borrow_and_update())?;
            tokio::select! {
                changed = views.changed() => changed.map_err(|_| ended())?,
                changed = state.changed() => changed.map_err(|_| ended())?,
            }
        }
    }

    /// Takes relations out, dependents first.
    pub async fn remove(&self, relations: Vec<RelationId>) -> Result<()> {
        self.ask(|reply| Message::Remove(relations, reply)).await
    }

    /// Hands over a durable commit; never waits. Positions rise from call to call. A commit without tables
    /// only says that the log has come that far.
    pub fn commit(&self, commit: TableCommit) {
        // A graph that has stopped takes its commits from the log when it starts again.
        drop(self.sender.send(Message::Commit(commit)));
    }

    /// Waits until an epoch with every commit up to `position` is visible; an error when the graph fails.
    pub async fn wait_for(&self, position: LogPosition) -> Result<Arc<Published>> {
        self.wait_until(|published| published.log_position >= position).await
    }

    /// Waits until the graph shows an epoch that has the given tables and views; an error when the graph fails.
    pub async fn wait_shown(&self, relations: &[RelationId]) -> Result<Arc<Published>> {
        let shown = |published: &Published| {
            let started = published.epoch > Published::before_everything().epoch;
            started && relations.iter().all(|relation| published.relations.contains_key(relation))
        };
        self.wait_until(shown).await
    }

    /// Waits until everything that stood in the sources when it was called is visible, in the views that are
    /// still being filled, too: after a start it is not yet known who reads what. Sources that no view reads
    /// have nothing to show.
    pub async fn flush(&self) -> Result<Arc<Published>> {
        self.wait_filled().await?;
        let mut ends = Vec::new();
        for (id, source) in self.shared.sources() {
            // One that was never published is waited for too: right after a start nothing was.
            if self.shared.is_read(id) {
                ends.push((id, source.ends().await?));
            }
        }
        let read = |published: &Published| {
            ends.iter().all(|(id, ends)| published.has_read(*id, ends) || !self.shared.is_read(*id))
        };
        self.wait_until(read).await
    }

    /// Takes a checkpoint and waits until it is committed.
    pub async fn checkpoint(&self) -> Result<()> {
        self.ask(Message::Checkpoint).await
    }

    /// Waits until the outboxes of every committed checkpoint are published: what was checkpointed before the
    /// call has left through its sinks when it returns.
    pub async fn wait_published(&self) -> Result<()> {
        self.ask(Message::Published).await
    }

    /// The newest checkpoint that this run of the graph has committed.
    pub fn last_checkpoint(&self) -> Option<crate::storage::CheckpointRef> {
        self.shared.committed()
    }

    /// Waits until every bounded source that is read has ended and its rows are visible.
    pub async fn wait_ended(&self) -> Result<()> {
        let bounded: Vec<RelationId> =
            self.shared.sources().iter().filter(|(_, source)| source.bounded()).map(|(id, _)| *id).collect();
        let ended = |published: &Published| {
            bounded
                .iter()
                .filter(|id| self.shared.is_read(**id))
                .all(|id| published.splits.get(id).is_some_and(|splits| splits.values().all(|split| split.ended)))
        };
        self.wait_until(ended).await.map(drop)
    }

    /// Takes checkpoints by itself from now on, that many microseconds apart; `None` only on request.
    pub fn checkpoint_every(&self, micros: Option<i64>) {
        // A graph that has ended takes none.
        drop(self.sender.send(Message::CheckpointEvery(micros)));
    }

    /// Goes back to the last checkpoint and connects to sources and sinks anew; what stood as failed is tried again.
    pub fn restart(&self, reason: &'static str) {
        // A graph that has ended connects to nothing.
        drop(self.sender.send(Message::Restart(reason)));
    }

    /// Joins another graph into this one; both keep running until the moment they are one. The other handle
    /// is dead afterwards. A checkpoint that is under way on either side is finished before, so that every
    /// checkpoint that is committed after this returned is of both.
    pub async fn absorb(&self, other: Graph) -> Result<()> {
        let core = other.ask(Message::Surrender).await?;
        self.ask(|reply| Message::Absorb(core, reply)).await
    }

    /// Stops it without a checkpoint.
    pub async fn stop(&self) {
        // A graph that is gone already is stopped.
        drop(self.ask(Message::Stop).await);
    }

    async fn ask<T>(&self, message: impl FnOnce(Reply<T>) -> Message) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.sender.send(message(reply)).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// Waits until no view is being started or filled.
    async fn wait_filled(&self) -> Result<()> {
        let mut views = self.shared.views.subscribe();
        let mut state = self.shared.state.subscribe();
        loop {
            let filling = |(id, progress): (&RelationId, &ViewProgress)| {
                // Nobody but its reader waits for a temporary one.
                !id.is_temporary() && matches!(progress, ViewProgress::Filling(_))
            };
            if !views.borrow_and_update().iter().any(filling) {
                return Ok(());
            }
            failed(&state.borrow_and_update())?;
            tokio::select! {
                changed = views.changed() => changed.map_err(|_| ended())?,
                changed = state.changed() => changed.map_err(|_| ended())?,
            }
        }
    }

    async fn wait_until(&self, holds: impl Fn(&Published) -> bool) -> Result<Arc<Published>> {
        let mut published = self.shared.published.subscribe();
        let mut state = self.shared.state.subscribe();
        loop {
            let now = Arc::clone(&published.borrow_and_update());
            if holds(&now) {
                return Ok(now);
            }
            failed(&state.borrow_and_update())?;
            tokio::select! {
                changed = published.changed() => changed.map_err(|_| ended())?,
                changed = state.changed() => changed.map_err(|_| ended())?,
            }
        }
    }
}

fn ended() -> Error {
    Error::unavailable("the graph has ended")
}

fn failed(state: &GraphState) -> Result<()> {
    match state {
        GraphState::Failed { reason } => Err(Error::unavailable(format!("the job has failed: {reason}"))
            .with_hint("SHOW JOBS has the reason; DROP the relation that it names, or mend the cause and restart.")),
        GraphState::Running | GraphState::Waiting { .. } | GraphState::Restarting { .. } => Ok(()),
    }
}
