//! The job master: owns one graph, runs its epochs, coordinates its checkpoints, restarts it.
//!
//! It runs on a thread of its own and takes everything from one mailbox, so that its order of events is the
//! order of its mailbox. `epoch` has what an epoch does, `fill` how a new view catches up, `checkpoint` how
//! state is frozen, committed and restored; this file has the loop, the messages and the failures.
//!
//! Invariants: an epoch is visible whole or not at all (4); a failure ends in a state with a reason (15); only
//! this thread changes what it owns, so nothing here takes a lock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::bad_rows::KeptRows;
use super::checkpoint::{CheckpointDone, Checkpoints};
use super::fill::Fill;
use super::history::History;
use super::instance::Counters;
use super::memory::{Gauge, Share};
use super::publisher::Publishing;
use super::pump::{Pump, PumpHealth};
use super::runner::Runner;
use super::shared::{Shared, ViewProgress};
use super::slots::{InstanceKey, panic_text};
use super::split::SplitState;
use super::temporary::{Lease, Leases};
use super::{GraphConfig, GraphState, InputDeployment, InputOrigin, Published, TableCommit, ViewDeployment};
use crate::batch::ChangeBatch;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{RESTARTS_MAX, RETRY_MILLIS_MAX, RETRY_MILLIS_MIN};
use crate::plan::{Changes, InputRelation, RelationId};
use crate::relation::{RelationStore, RelationVersion};
use crate::source::{Source, SplitId};
use crate::storage::CheckpointRef;
use crate::time::{Epoch, LogPosition, Stamp, Watermark};

/// Where the answer to a message goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T>>;

/// What a job master is told.
pub(super) enum Message {
    /// A pump has something.
    Wake,
    AddInput(Box<InputDeployment>, Reply<()>),
    AddView(Box<ViewDeployment>, Reply<()>),
    AddTemporary(Box<ViewDeployment>, Weak<Lease>, Reply<()>),
    /// Temporary views may have lost their readers.
    Sweep,
    Remove(Vec<RelationId>, Reply<()>),
    Commit(TableCommit),
    Checkpoint(Reply<()>),
    /// Answered once every outbox of a committed checkpoint is published.
    Published(Reply<()>),
    /// Takes checkpoints by itself from now on, that many microseconds apart.
    CheckpointEvery(Option<i64>),
    CheckpointDone(Box<Result<CheckpointDone>>),
    /// A part of a checkpoint could not be written and is tried again.
    CheckpointWaits(Error),
    /// Go back to the last checkpoint, for this reason, and connect to the outside world anew.
    Restart(&'static str),
    /// Give up everything to another graph.
    Surrender(Reply<Box<Core>>),
    /// Take over what another graph gave up.
    Absorb(Box<Core>, Reply<()>),
    Stop(Reply<()>),
}

/// A source or a table.
pub(super) struct Input {
    pub(super) relation: InputRelation,
    pub(super) origin: Origin,
    /// Kept rejected records (sources).
    pub(super) rejected: KeptRows,
    /// Kept late rows (sources).
    pub(super) late: KeptRows,
}

/// Where an input's rows come from.
pub(super) enum Origin {
    Table(TableInput),
    Source(Box<SourceInput>),
}

/// A table as the graph sees it.
pub(super) struct TableInput {
    pub(super) version: Arc<RelationVersion>,
    pub(super) watermark: Watermark,
    /// Changes since the last checkpoint.
    pub(super) delta: Vec<ChangeBatch>,
    pub(super) gauge: Gauge,
}

/// A source as the graph has read it.
pub(super) struct SourceInput {
    pub(super) source: Arc<dyn Source>,
    /// What `topic` shows in `$rejected`.
    pub(super) label: Option<String>,
    pub(super) splits: BTreeMap<SplitId, SplitState>,
    /// As at CREATE: where everything starts anew.
    pub(super) initial: BTreeMap<SplitId, SplitState>,
    pub(super) merged: Watermark,
    pub(super) pump: Option<Pump>,
    /// A view that catches up with this source is about to meet it: nothing is taken until then.
    pub(super) held: bool,
}

/// A running view or sink.
pub(super) struct View {
    pub(super) deployment: Arc<ViewDeployment>,
    /// `None` for a sink.
    pub(super) store: Option<RelationStore>,
    pub(super) outlet: Option<Outlet>,
    pub(super) rejected: RelationStore,
    pub(super) watermark: Watermark,
    /// Changes since the last checkpoint.
    pub(super) delta: Vec<ChangeBatch>,
    pub(super) rejected_delta: Vec<ChangeBatch>,
    pub(super) counters: BTreeMap<u32, Counters>,
    /// Of the rows that it keeps.
    pub(super) gauge: Gauge,
}

/// A sink's way out.
pub(super) struct Outlet {
    pub(super) publishing: Publishing,
    /// Payloads since the last checkpoint.
    pub(super) payloads: Vec<bytes::Bytes>,
    /// The sequence number of the newest committed or frozen outbox.
    pub(super) sequence: u64,
}

/// Everything that a graph hands over when it joins another.
pub(super) struct Core {
    pub(super) inputs: BTreeMap<RelationId, Input>,
    pub(super) views: BTreeMap<RelationId, View>,
    pub(super) fills: Vec<Arc<ViewDeployment>>,
    pub(super) commits: VecDeque<TableCommit>,
    pub(super) instance: InstanceKey,
    pub(super) checkpoints: Checkpoints,
    pub(super) epoch: Epoch,
    pub(super) stamp: Stamp,
    pub(super) log_position: LogPosition,
    pub(super) history: History,
    pub(super) leases: Leases,
}

/// The state of one job master.
pub(super) struct Master {
    pub(super) config: GraphConfig,
    pub(super) shared: Arc<Shared>,
    pub(super) mailbox: Receiver<Message>,
    pub(super) sender: Sender<Message>,
    pub(super) runner: Runner,
    pub(super) instance: Option<InstanceKey>,
    pub(super) inputs: BTreeMap<RelationId, Input>,
    pub(super) views: BTreeMap<RelationId, View>,
    pub(super) fills: BTreeMap<RelationId, Fill>,
    pub(super) commits: VecDeque<TableCommit>,
    pub(super) checkpoints: Checkpoints,
    pub(super) epoch: Epoch,
    pub(super) stamp: Stamp,
    pub(super) log_position: LogPosition,
    pub(super) memory: Share,
    /// The budget seems to be used up: the next epoch measures everything, and then it is.
    pub(super) measure: bool,
    pub(super) checkpoint_wanted: Vec<Reply<()>>,
    pub(super) checkpoint_due: Option<Instant>,
    /// Something is to be shown though no row has come.
    pub(super) dirty: bool,
    /// What was shown before a restart, until this run covers it.
    pub(super) shown_before: Option<Arc<Published>>,
    /// Views that run and will be seen with the next epoch that is shown.
    pub(super) unshown: Vec<RelationId>,
    pub(super) leases: Leases,
    /// Joins wait for a checkpoint that is under way: it is of one graph or of the other.
    postponed: Vec<Message>,
    /// Failures of its own since the last committed checkpoint.
    restarts: u32,
    /// Failures of any kind since then: how long to wait before the next attempt.
    attempts: u32,
}

/// Why the loop was left.
enum Exit {
    Stopped,
    Surrendered,
}

impl Master {
    pub(super) fn new(
        config: GraphConfig,
        shared: Arc<Shared>,
        mailbox: Receiver<Message>,
        sender: Sender<Message>,
    ) -> Self {
        let runner = Runner::new(config.slots.clone(), config.parallelism);
        Self {
            runner,
            shared,
            mailbox,
            sender,
            instance: None,
            inputs: BTreeMap::new(),
            views: BTreeMap::new(),
            fills: BTreeMap::new(),
            commits: VecDeque::new(),
            checkpoints: Checkpoints::default(),
            epoch: Epoch { term: config.term, counter: 0 },
            stamp: Stamp(i64::MIN),
            log_position: LogPosition(0),
            memory: Share::new(Arc::clone(&config.memory)),
            measure: false,
            checkpoint_wanted: Vec::new(),
            checkpoint_due: None,
            dirty: true,
            shown_before: None,
            unshown: Vec::new(),
            leases: Leases::new(),
            postponed: Vec::new(),
            restarts: 0,
            attempts: 0,
            config,
        }
    }

    /// Runs until it is stopped or joins another graph.
    pub(super) fn run(
        mut self,
        inputs: Vec<InputDeployment>,
        views: Vec<ViewDeployment>,
        checkpoint: Option<CheckpointRef>,
    ) {
        self.checkpoints.committed = checkpoint;
        for input in inputs {
            self.put_input(input);
        }
        let views: Vec<Arc<ViewDeployment>> = views.into_iter().map(Arc::new).collect();
        let mut failure = self.start_or_keep(views).err();
        loop {
            let error = match failure.take() {
                Some(error) => error,
                None => match self.guarded(Self::serve) {
                    Ok(Exit::Stopped | Exit::Surrendered) => return,
                    Err(error) => error,
                },
            };
            match self.recover(error) {
                Ok(None) => {}
                Ok(Some(_)) => return,
                Err(error) => failure = Some(error),
            }
        }
    }

    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        match catch_unwind(AssertUnwindSafe(|| work(self))) {
            Ok(outcome) => outcome,
            Err(panic) => Err(Error::internal(format!("the job master panicked: {}", panic_text(&panic)))),
        }
    }

    /// The loop: messages, then an epoch if there is reason for one, then a slice of every view being filled.
    fn serve(&mut self) -> Result<Exit> {
        self.shared.set_state(GraphState::Running);
        loop {
            while let Ok(message) = self.mailbox.try_recv() {
                if let Some(exit) = self.handle(message)? {
                    return Ok(exit);
                }
            }
            if !self.checkpoints.in_flight {
                for message in std::mem::take(&mut self.postponed) {
                    if let Some(exit) = self.handle(message)? {
                        return Ok(exit);
                    }
                }
            }
            self.watch_outside()?;
            let due = self.checkpoint_is_due();
            if due || self.has_input() {
                self.run_epoch(due)?;
            }
            let filling = self.fill()?;
            if filling || self.has_input() || self.checkpoint_is_due() {
                continue;
            }
            match self.mailbox.recv_timeout(self.patience()) {
                Ok(message) => {
                    if let Some(exit) = self.handle(message)? {
                        return Ok(exit);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(Exit::Stopped),
            }
        }
    }

    /// How long to wait for a message: until the next checkpoint, if one will be due.
    fn patience(&self) -> Duration {
        const LONG: Duration = Duration::from_secs(3600);
        let due = self.checkpoint_due.filter(|_| self.checkpoints.changed && !self.checkpoints.in_flight);
        due.map_or(LONG, |due| due.saturating_duration_since(Instant::now()))
    }

    fn handle(&mut self, message: Message) -> Result<Option<Exit>> {
        match message {
            Message::Wake => {}
            Message::AddInput(input, reply) => {
                self.put_input(*input);
                answer(reply, Ok(()));
            }
            Message::AddView(view, reply) => {
                self.wait_to_fill(Arc::new(*view));
                answer(reply, Ok(()));
            }
            Message::AddTemporary(view, lease, reply) => {
                self.take_temporary(Arc::new(*view), lease);
                answer(reply, Ok(()));
            }
            Message::Sweep => self.sweep()?,
            Message::Remove(relations, reply) => {
                self.remove(&relations.into_iter().collect())?;
                answer(reply, Ok(()));
            }
            Message::Commit(commit) => self.commits.push_back(commit),
            Message::Checkpoint(reply) => self.checkpoint_wanted.push(reply),
            Message::Published(reply) => self.answer_when_published(reply),
            Message::CheckpointDone(done) => self.checkpoint_done(*done)?,
            Message::CheckpointWaits(trouble) => self.checkpoints.trouble = Some(trouble),
            Message::CheckpointEvery(micros) => {
                self.config.checkpoint_interval_micros = micros;
                self.schedule_checkpoint();
            }
            Message::Restart(reason) => return Err(Error::unavailable(reason)),
            message @ (Message::Surrender(_) | Message::Absorb(..)) if self.checkpoints.in_flight => {
                self.postponed.push(message);
            }
            Message::Surrender(reply) => {
                let core = self.surrender()?;
                answer(reply, Ok(core));
                return Ok(Some(Exit::Surrendered));
            }
            Message::Absorb(core, reply) => {
                self.absorb(*core)?;
                answer(reply, Ok(()));
            }
            Message::Stop(reply) => {
                self.tear_down();
                answer(reply, Ok(()));
                return Ok(Some(Exit::Stopped));
            }
        }
        Ok(None)
    }

    /// Makes the loop look again at what it waits for.
    pub(super) fn waker(&self) -> Box<dyn Fn() + Send + Sync> {
        let sender = self.sender.clone();
        Box::new(move || drop(sender.send(Message::Wake)))
    }

    /// The next checkpoint is due an interval from now.
    pub(super) fn schedule_checkpoint(&mut self) {
        let interval = self.config.checkpoint_interval_micros;
        self.checkpoint_due = interval.map(|micros| Instant::now() + Duration::from_micros(micros.unsigned_abs()));
    }

    fn answer_when_published(&self, reply: Reply<()>) {
        let outlets = self.views.values().filter_map(|view| view.outlet.as_ref());
        let waits: Vec<_> = outlets.map(|outlet| (outlet.publishing.watch(), outlet.sequence)).collect();
        self.config.tokio.spawn(async move {
            for (mut published, sequence) in waits {
                if published.wait_for(|published| *published >= sequence).await.is_err() {
                    return answer(reply, Err(Error::unavailable("a sink was dropped before it had published")));
                }
            }
            answer(reply, Ok(()));
        });
    }

    fn put_input(&mut self, input: InputDeployment) {
        let InputDeployment { relation, origin } = input;
        let origin = match origin {
            InputOrigin::Table { version, watermark } => {
                Origin::Table(TableInput { version, watermark, delta: Vec::new(), gauge: Gauge::default() })
            }
            InputOrigin::Source { source, splits, label } => {
                let found = |split: crate::source::Split| (split.id.clone(), SplitState::found(split, Watermark::NONE));
                let initial: BTreeMap<SplitId, SplitState> = splits.into_iter().map(found).collect();
                self.shared.put_source(relation.id, Arc::clone(&source));
                Origin::Source(Box::new(SourceInput {
                    source,
                    label,
                    splits: initial.clone(),
                    initial,
                    merged: Watermark::NONE,
                    pump: None,
                    held: false,
                }))
            }
        };
        let late = KeptRows::new(Arc::clone(&relation.schema));
        let rejected = KeptRows::new(super::rejected_record_schema());
        self.inputs.insert(relation.id, Input { relation, origin, rejected, late });
        self.dirty = true;
    }

    pub(super) fn remove(&mut self, relations: &BTreeSet<RelationId>) -> Result<()> {
        self.end_readers_of(relations)?;
        self.inputs.retain(|id, _| !relations.contains(id));
        self.take_out(relations)?;
        self.leases.retain(|id, _| !relations.contains(id));
        relations.iter().for_each(|relation| self.shared.forget(*relation));
        Ok(())
    }

    /// Takes views out of what runs, and ends those that are being filled.
    pub(super) fn take_out(&mut self, relations: &BTreeSet<RelationId>) -> Result<()> {
        for relation in relations {
            if let Some(fill) = self.fills.remove(relation) {
                fill.discard(&self.runner);
            }
        }
        let views: BTreeSet<RelationId> = relations.iter().copied().filter(|id| self.views.contains_key(id)).collect();
        self.views.retain(|id, _| !views.contains(id));
        // A graph that does not run reads nothing: its readers begin where it starts again.
        let Some(instance) = self.instance else { return Ok(()) };
        if !views.is_empty() {
            self.runner.remove_views(instance, &views)?;
        }
        self.dirty = true;
        self.sync_pumps()
    }

    /// A source is read exactly while a running view reads it.
    pub(super) fn sync_pumps(&mut self) -> Result<()> {
        let read: BTreeSet<RelationId> =
            self.views.values().flat_map(|view| view.deployment.dataflow.inputs()).collect();
        self.shared.set_reads(read.clone());
        for (id, input) in &mut self.inputs {
            let Origin::Source(source) = &mut input.origin else {
                continue;
            };
            if !read.contains(id) {
                source.pump = None;
            } else if source.pump.is_none() {
                let sender = self.sender.clone();
                source.pump = Some(Pump::start(
                    &self.config.tokio,
                    &input.relation,
                    Arc::clone(&source.source),
                    source.splits.clone(),
                    source.merged,
                    super::pump::Extent::Shared,
                    Box::new(move || drop(sender.send(Message::Wake))),
                )?);
            }
        }
        Ok(())
    }

    /// Whatever waits for the outside world makes the graph wait, visibly; a pump or a sink that can't go on fails it.
    fn watch_outside(&mut self) -> Result<()> {
        let mut waiting = self.checkpoints.trouble.as_ref().map(|trouble| format!("checkpoint: {trouble}"));
        for input in self.inputs.values() {
            let Origin::Source(source) = &input.origin else {
                continue;
            };
            match source.pump.as_ref().map(|pump| (pump.queue.health(), pump.queue.is_empty())) {
                Some((PumpHealth::Failed(error), true)) => {
                    return Err(error.context(format!("source \"{}\"", input.relation.name)));
                }
                Some((PumpHealth::Waiting(error), _)) => {
                    waiting = Some(format!("source \"{}\": {error}", input.relation.name))
                }
                _ => {}
            }
        }
        for fill in self.fills.values() {
            if let Some(trouble) = fill.trouble() {
                waiting = Some(format!("view \"{}\" is being filled: {trouble}", fill.deployment.name));
            }
        }
        for view in self.views.values() {
            let Some(trouble) = view.outlet.as_ref().and_then(|outlet| outlet.publishing.trouble()) else { continue };
            let trouble = trouble.context(format!("sink \"{}\"", view.deployment.name));
            // What a person has to mend does not pass by itself.
            if matches!(trouble.kind, ErrorKind::Data | ErrorKind::Internal) {
                return Err(trouble);
            }
            waiting = Some(trouble.to_string());
        }
        self.shared.set_state(waiting.map_or(GraphState::Running, |reason| GraphState::Waiting { reason }));
        Ok(())
    }

    fn has_input(&self) -> bool {
        let pumped = |input: &Input| match &input.origin {
            Origin::Table(_) => false,
            Origin::Source(source) => !source.held && source.pump.as_ref().is_some_and(|pump| !pump.queue.is_empty()),
        };
        // While a sink holds the graph up, what is pumped waits: the publisher wakes the loop when it got on.
        let taken = || self.sinks_admit_input() && self.inputs.values().any(pumped);
        self.dirty || !self.commits.is_empty() || taken()
    }

    fn checkpoint_is_due(&self) -> bool {
        let due = self.checkpoint_due.is_some_and(|due| due <= Instant::now());
        !self.checkpoints.in_flight && (!self.checkpoint_wanted.is_empty() || (due && self.checkpoints.changed))
    }

    /// After a failure: waits, then goes back to the last checkpoint; or stands as failed until it is ended.
    fn recover(&mut self, error: Error) -> Result<Option<Exit>> {
        tracing::error!(graph = self.config.id.0, %error, "a graph failed");
        self.shared.count_failure();
        self.tear_down();
        // An outside service that is away is waited for as long as it takes: that is no fault of the graph.
        self.restarts += u32::from(error.kind != ErrorKind::Unavailable);
        self.attempts += 1;
        let hopeless =
            matches!(error.kind, ErrorKind::Data | ErrorKind::Fenced | ErrorKind::Invalid | ErrorKind::Exhausted);
        let without_temporaries = error.kind != ErrorKind::Fenced && (hopeless || self.restarts > RESTARTS_MAX);
        if without_temporaries && self.end_all_temporaries(&error)? {
            // Perhaps it was about them: one attempt without.
            self.restarts = RESTARTS_MAX;
        } else if hopeless || self.restarts > RESTARTS_MAX {
            self.shared.set_state(GraphState::Failed { reason: error.to_string() });
            if error.kind == ErrorKind::Exhausted {
                self.give_rows_back();
            }
            if let Some(exit) = self.stand_failed(&error) {
                return Ok(Some(exit));
            }
            (self.restarts, self.attempts) = (0, 1);
        }
        let reason = error.to_string();
        self.shared.set_state(match error.kind {
            ErrorKind::Unavailable => GraphState::Waiting { reason },
            _ => GraphState::Restarting { reason },
        });
        let millis = (RETRY_MILLIS_MIN << (self.attempts - 1).min(16)).min(RETRY_MILLIS_MAX);
        let until = Instant::now() + Duration::from_millis(millis);
        let mut later = Vec::new();
        loop {
            // A checkpoint that is being written is the one to go back to: its outcome is waited for.
            let patience = if self.checkpoints.in_flight {
                Duration::from_secs(3600)
            } else {
                until.saturating_duration_since(Instant::now())
            };
            match self.mailbox.recv_timeout(patience) {
                Ok(
                    message @ (Message::Stop(_)
                    | Message::Remove(..)
                    | Message::Sweep
                    | Message::Commit(_)
                    | Message::CheckpointDone(_)),
                ) => {
                    if let Some(exit) = self.handle(message)? {
                        return Ok(Some(exit));
                    }
                }
                // It does so anyway, once the time is over.
                Ok(Message::Wake | Message::CheckpointWaits(_) | Message::Restart(_)) => {}
                Ok(message) => later.push(message),
                Err(RecvTimeoutError::Timeout) if self.checkpoints.in_flight => {}
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Ok(Some(Exit::Stopped)),
            }
        }
        let views = self.deployments();
        self.start_or_keep(views)?;
        for message in later {
            if let Some(exit) = self.handle(message)? {
                return Ok(Some(exit));
            }
        }
        Ok(None)
    }

    /// Lets the rows of views go, which a budget that is used up is about: they can't be read until the graph runs
    /// again. Those of tables are the commit writer's, too; sinks go on to publish what is committed.
    fn give_rows_back(&mut self) {
        let (views, sinks) = std::mem::take(&mut self.views).into_iter().partition(|(_, view)| view.store.is_some());
        self.views = sinks;
        let views: BTreeMap<RelationId, View> = views;
        for (id, view) in views {
            self.fills.insert(id, Fill::waiting(view.deployment));
        }
        let kept: BTreeSet<RelationId> = self.inputs.keys().copied().collect();
        self.shared.published.send_modify(|published| {
            let mut shown = Published::clone(published);
            shown.relations.retain(|id, _| kept.contains(id));
            shown.rejected.retain(|id, _| kept.contains(id));
            *published = Arc::new(shown);
        });
        self.fills.keys().for_each(|view| self.shared.history().forget(*view));
    }

    /// Starts the views. When that fails, none is lost for the next attempt.
    fn start_or_keep(&mut self, views: Vec<Arc<ViewDeployment>>) -> Result<()> {
        let started = self.guarded(|master| master.start(views.clone()));
        if started.is_err() {
            for view in views.into_iter().filter(|view| !self.views.contains_key(&view.id)) {
                self.fills.entry(view.id).or_insert_with(|| Fill::waiting(view));
            }
        }
        started
    }

    /// All views, running or not, to be started again.
    fn deployments(&mut self) -> Vec<Arc<ViewDeployment>> {
        let running = self.views.values().map(|view| Arc::clone(&view.deployment));
        let filling = self.fills.values().map(|fill| Arc::clone(&fill.deployment));
        running.chain(filling).collect()
    }

    /// Stands as failed from the beginning.
    pub(super) fn run_failed(mut self, error: &Error) {
        self.shared.set_state(GraphState::Failed { reason: error.to_string() });
        // Nothing was deployed that could be tried again: it only ends by being stopped.
        while self.stand_failed(error).is_none() {}
    }

    /// A failed graph still answers: it can be stopped, and what it holds can be dropped, after which the rest
    /// is tried again (`None`).
    fn stand_failed(&mut self, error: &Error) -> Option<Exit> {
        let failed = || Error::unavailable(format!("the job has failed: {error}"));
        self.checkpoint_wanted.drain(..).for_each(|reply| answer(reply, Err(failed())));
        for message in std::mem::take(&mut self.postponed) {
            match message {
                Message::Surrender(reply) => answer(reply, Err(failed())),
                Message::Absorb(_, reply) => answer(reply, Err(failed())),
                _ => unreachable!("only joins are postponed"),
            }
        }
        loop {
            match self.mailbox.recv() {
                Err(_) => return Some(Exit::Stopped),
                Ok(Message::Stop(reply)) => {
                    answer(reply, Ok(()));
                    return Some(Exit::Stopped);
                }
                Ok(Message::Remove(relations, reply)) => {
                    let relations: BTreeSet<RelationId> = relations.into_iter().collect();
                    self.views.retain(|id, _| !relations.contains(id));
                    self.fills.retain(|id, _| !relations.contains(id));
                    self.inputs.retain(|id, _| !relations.contains(id));
                    relations.iter().for_each(|relation| self.shared.forget(*relation));
                    answer(reply, Ok(()));
                    return None;
                }
                Ok(Message::Sweep) => {
                    if let Err(error) = self.sweep() {
                        tracing::warn!(graph = self.config.id.0, %error, "the view of a subscription is still there");
                    }
                }
                // Durable already: it is shown if the graph runs again.
                Ok(Message::Commit(commit)) => self.commits.push_back(commit),
                Ok(
                    Message::AddInput(_, reply)
                    | Message::AddView(_, reply)
                    | Message::AddTemporary(_, _, reply)
                    | Message::Checkpoint(reply)
                    | Message::Published(reply)
                    | Message::Absorb(_, reply),
                ) => {
                    answer(reply, Err(failed()));
                }
                Ok(Message::Surrender(reply)) => answer(reply, Err(failed())),
                Ok(Message::CheckpointEvery(micros)) => self.config.checkpoint_interval_micros = micros,
                // What it failed for may be mended.
                Ok(Message::Restart(_)) => return None,
                Ok(Message::CheckpointDone(done)) => {
                    if let Err(error) = self.checkpoint_done(*done) {
                        tracing::warn!(graph = self.config.id.0, %error, "the last checkpoint was not written");
                    }
                }
                Ok(Message::Wake | Message::CheckpointWaits(_)) => {}
            }
        }
    }

    /// Stops everything that runs for the graph; what it knows stays.
    pub(super) fn tear_down(&mut self) {
        for input in self.inputs.values_mut() {
            if let Origin::Source(source) = &mut input.origin {
                source.pump = None;
                source.held = false;
            }
        }
        if let Some(instance) = self.instance.take() {
            self.runner.discard(instance);
        }
        for fill in self.fills.values_mut() {
            fill.stop(&self.runner);
        }
        self.memory.hold(0);
        self.config.memory.offer(self.config.id, BTreeMap::new(), || Box::new(|| {}));
        self.measure = false;
    }

    /// A checkpoint was committed: failures before it are history.
    pub(super) fn restarted_well(&mut self) {
        self.restarts = 0;
        self.attempts = 0;
    }

    fn surrender(&mut self) -> Result<Box<Core>> {
        let instance = self.instance.take().ok_or_else(|| Error::unavailable("the graph does not run"))?;
        let fills = std::mem::take(&mut self.fills).into_values();
        let fills = fills.map(|mut fill| {
            fill.stop(&self.runner);
            fill.deployment
        });
        let fills = fills.collect();
        self.tear_down();
        Ok(Box::new(Core {
            inputs: std::mem::take(&mut self.inputs),
            views: std::mem::take(&mut self.views),
            fills,
            commits: std::mem::take(&mut self.commits),
            instance,
            checkpoints: std::mem::take(&mut self.checkpoints),
            epoch: self.epoch,
            stamp: self.stamp,
            log_position: self.log_position,
            // Not taken: whoever follows a relation here finds its place until it finds the other graph.
            history: self.shared.history().clone(),
            leases: std::mem::take(&mut self.leases),
        }))
    }

    fn absorb(&mut self, core: Core) -> Result<()> {
        let instance = self.instance.ok_or_else(|| Error::unavailable("the graph does not run"))?;
        self.runner.merge(core.instance, instance)?;
        for (id, input) in core.inputs {
            if let Origin::Source(source) = &input.origin {
                self.shared.put_source(id, Arc::clone(&source.source));
            }
            self.inputs.insert(id, input);
        }
        core.views.keys().for_each(|id| self.shared.set_progress(*id, ViewProgress::Running));
        self.views.extend(core.views);
        self.checkpoints.take_over(core.checkpoints);
        self.shared.history().take_over(core.history);
        let mut commits: Vec<TableCommit> = self.commits.drain(..).chain(core.commits).collect();
        commits.sort_by_key(|commit| commit.position);
        self.commits = commits.into();
        self.epoch.counter = self.epoch.counter.max(core.epoch.counter);
        self.stamp = self.stamp.max(core.stamp);
        self.log_position = self.log_position.max(core.log_position);
        core.fills.into_iter().for_each(|deployment| self.wait_to_fill(deployment));
        self.leases.extend(core.leases);
        self.sync_pumps()?;
        self.dirty = true;
        self.sweep()
    }
}

impl Input {
    /// Whether its rows may be taken back.
    pub(super) fn retracts(&self) -> bool {
        self.relation.changes == Changes::Retract
    }
}

/// Answers somebody who may have gone away.
pub(super) fn answer<T>(reply: Reply<T>, outcome: Result<T>) {
    drop(reply.send(outcome));
}
