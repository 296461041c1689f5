//! Filling a new view while its graph goes on.
//!
//! The view's operators run as an instance of their own. Relations that keep rows are read from a version, in
//! slices between the epochs of the graph; what changed meanwhile is the difference of two versions, so nothing
//! has to be queued. A source is read again from its start by a reader of its own, up to where the graph's
//! reader stands. When everything has been met at the end of an epoch, the operators are moved into the
//! graph's instance, and from the next epoch on the view follows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::ViewDeployment;
use super::instance::EpochEnd;
use super::master::{Input, Master, Message, Origin, View};
use super::memory::Share;
use super::pump::{Extent, Pump, PumpHealth};
use super::runner::Runner;
use super::shared::ViewProgress;
use super::slots::InstanceKey;
use super::split::SplitState;
use crate::batch::ChangeBatch;
use crate::error::{Error, Result};
use crate::limits::{CATCH_UP_ROUNDS, EPOCH_SOURCE_BYTES, FILL_SLICE_CHUNKS};
use crate::plan::RelationId;
use crate::relation::RelationVersion;
use crate::source::SplitId;
use crate::time::Watermark;

/// A view that is being filled.
pub(super) struct Fill {
    pub(super) deployment: Arc<ViewDeployment>,
    running: Option<Running>,
}

struct Running {
    instance: InstanceKey,
    view: View,
    memory: Share,
    inputs: BTreeMap<RelationId, FillInput>,
    rows_done: usize,
}

enum FillInput {
    /// A relation that keeps rows.
    Versions(VersionCursor),
    /// A source that somebody has read before.
    CatchUp(Box<CatchUp>),
    /// A source that nobody has read: the view will be its first reader.
    Unread,
}

struct VersionCursor {
    /// What is being read.
    target: Arc<RelationVersion>,
    /// Changes on the way to `target`, in slices.
    pending: VecDeque<ChangeBatch>,
}

struct CatchUp {
    splits: BTreeMap<SplitId, SplitState>,
    pump: Option<Pump>,
    rounds: u32,
}

/// What a slice has brought.
enum Step {
    /// There is more to do at once.
    More,
    /// Waits for a reader.
    Waits,
    /// Everything is met.
    Met,
}

impl Fill {
    /// A fill that has not begun.
    pub(super) fn waiting(deployment: Arc<ViewDeployment>) -> Self {
        Self { deployment, running: None }
    }

    /// What its reader waits for.
    pub(super) fn trouble(&self) -> Option<Error> {
        let inputs = self.running.iter().flat_map(|running| running.inputs.values());
        inputs
            .filter_map(|input| match input {
                FillInput::CatchUp(catch_up) => catch_up.pump.as_ref(),
                FillInput::Versions(_) | FillInput::Unread => None,
            })
            .find_map(|pump| match pump.queue.health() {
                PumpHealth::Waiting(trouble) => Some(trouble),
                PumpHealth::Reading | PumpHealth::Failed(_) | PumpHealth::Ended => None,
            })
    }

    /// Bytes that it keeps so far.
    pub(super) fn memory_bytes(&self) -> usize {
        self.running.as_ref().map_or(0, |running| running.memory.bytes())
    }

    /// Stops it; the deployment stays, to begin anew.
    pub(super) fn stop(&mut self, runner: &Runner) {
        if let Some(running) = self.running.take() {
            runner.discard(running.instance);
        }
    }

    /// Ends it.
    pub(super) fn discard(mut self, runner: &Runner) {
        self.stop(runner);
    }
}

impl Master {
    /// Takes a view in to be filled, as soon as its inputs are there.
    pub(super) fn wait_to_fill(&mut self, deployment: Arc<ViewDeployment>) {
        self.shared.set_progress(deployment.id, ViewProgress::Filling(0.0));
        self.fills.insert(deployment.id, Fill::waiting(deployment));
    }

    /// Starts to fill a view; `None` while one of its inputs is being filled itself.
    fn begin_fill(&mut self, deployment: &Arc<ViewDeployment>) -> Result<Option<Running>> {
        let mut inputs = BTreeMap::new();
        for id in deployment.dataflow.inputs() {
            match self.fill_input(id)? {
                Some(input) => inputs.insert(id, input),
                None => return Ok(None),
            };
        }
        let instance = self.runner.deploy(&[(deployment.id, &deployment.dataflow, None)])?;
        let view = View::new(Arc::clone(deployment), &self.config.tokio, self.waker())?;
        let memory = Share::new(Arc::clone(&self.config.memory));
        Ok(Some(Running { instance, view, memory, inputs, rows_done: 0 }))
    }

    fn fill_input(&self, id: RelationId) -> Result<Option<FillInput>> {
        if let Some(version) = self.version_of(id) {
            return Ok(Some(FillInput::Versions(VersionCursor::from_nothing(version))));
        }
        if self.fills.contains_key(&id) {
            return Ok(None);
        }
        match self.inputs.get(&id) {
            Some(Input { origin: Origin::Source(source), .. }) => {
                let unread = source.pump.is_none() && source.splits == source.initial;
                if unread {
                    return Ok(Some(FillInput::Unread));
                }
                let splits = source.splits.iter().map(|(id, state)| (id.clone(), state.rewound())).collect();
                Ok(Some(FillInput::CatchUp(Box::new(CatchUp { splits, pump: None, rounds: 0 }))))
            }
            _ => Err(Error::internal(format!("relation {id} is not of this graph"))),
        }
    }

    /// The current version of a table or a running view.
    fn version_of(&self, id: RelationId) -> Option<Arc<RelationVersion>> {
        if let Some(view) = self.views.get(&id) {
            return view.store.as_ref().map(|store| store.version());
        }
        match &self.inputs.get(&id)?.origin {
            Origin::Table(table) => Some(Arc::clone(&table.version)),
            Origin::Source(_) => None,
        }
    }

    /// One slice for every view that is being filled; whether there is more to do at once.
    pub(super) fn fill(&mut self) -> Result<bool> {
        let mut more = false;
        for id in self.fills.keys().copied().collect::<Vec<_>>() {
            let Some(mut fill) = self.fills.remove(&id) else {
                continue;
            };
            match self.fill_one(&mut fill) {
                Ok(Step::Met) => {
                    self.join_graph(fill)?;
                    more = true;
                }
                Ok(step) => {
                    more |= matches!(step, Step::More);
                    self.fills.insert(id, fill);
                }
                Err(error) => {
                    // The view never ran: its failure is its own.
                    fill.discard(&self.runner);
                    self.release_sources();
                    self.shared.set_progress(id, ViewProgress::Failed(error));
                }
            }
        }
        Ok(more)
    }

    fn fill_one(&mut self, fill: &mut Fill) -> Result<Step> {
        if fill.running.is_none() {
            fill.running = self.begin_fill(&fill.deployment)?;
        }
        let Some(running) = fill.running.as_mut() else {
            return Ok(Step::Waits);
        };
        let mut waits = false;
        let mut worked = false;
        let mut inputs = std::mem::take(&mut running.inputs);
        for (id, input) in &mut inputs {
            match self.feed(*id, input, running)? {
                Step::More => worked = true,
                Step::Waits => waits = true,
                Step::Met => {}
            }
        }
        running.inputs = inputs;
        if worked {
            self.end_fill_epoch(running, BTreeMap::new())?;
        }
        self.shared.set_progress(fill.deployment.id, ViewProgress::Filling(running.progress()));
        Ok(match (worked, waits) {
            (true, _) => Step::More,
            (false, true) => Step::Waits,
            (false, false) => Step::Met,
        })
    }

    /// Gives the view a slice of one of its inputs.
    fn feed(&mut self, id: RelationId, input: &mut FillInput, running: &mut Running) -> Result<Step> {
        match input {
            FillInput::Unread => Ok(Step::Met),
            FillInput::Versions(cursor) => {
                if cursor.pending.is_empty() {
                    let now = self.version_of(id).ok_or_else(|| Error::unavailable("an input is gone"))?;
                    cursor.advance_to(now)?;
                }
                let slice: Vec<ChangeBatch> =
                    cursor.pending.drain(..cursor.pending.len().min(FILL_SLICE_CHUNKS)).collect();
                for batch in &slice {
                    running.rows_done += batch.len();
                    self.runner.change(running.instance, id, batch)?;
                }
                Ok(if slice.is_empty() { Step::Met } else { Step::More })
            }
            FillInput::CatchUp(catch_up) => self.catch_up(id, catch_up, running),
        }
    }

    fn catch_up(&mut self, id: RelationId, catch_up: &mut CatchUp, running: &mut Running) -> Result<Step> {
        let Some(Input { origin: Origin::Source(source), relation, .. }) = self.inputs.get_mut(&id) else {
            return Err(Error::unavailable("an input is gone"));
        };
        if let Some(pump) = &catch_up.pump {
            let items = pump.queue.take(EPOCH_SOURCE_BYTES);
            if items.is_empty() {
                match pump.queue.health() {
                    PumpHealth::Failed(error) => return Err(error.context(format!("source \"{}\"", relation.name))),
                    PumpHealth::Ended if pump.queue.is_empty() => catch_up.pump = None,
                    PumpHealth::Ended | PumpHealth::Reading | PumpHealth::Waiting(_) => return Ok(Step::Waits),
                }
            } else {
                // What the first reader recorded as late or rejected is recorded already.
                for item in items {
                    if let Some(rows) = item.rows {
                        running.rows_done += rows.num_rows();
                        self.runner.append(running.instance, id, ChangeBatch::append(rows));
                    }
                    catch_up.splits.insert(item.state.split.id.clone(), item.state);
                }
                return Ok(Step::More);
            }
        }
        if catch_up.has_met(&source.splits) {
            return Ok(Step::Met);
        }
        // Each round is shorter than the one before it; a source faster than that is held for the last one.
        source.held = catch_up.rounds >= CATCH_UP_ROUNDS;
        catch_up.begin_round(&source.splits);
        let until = source.splits.iter().map(|(split, state)| (split.clone(), state.position)).collect();
        let sender = self.sender.clone();
        catch_up.pump = Some(Pump::start(
            &self.config.tokio,
            relation,
            Arc::clone(&source.source),
            catch_up.splits.clone(),
            Watermark::NONE,
            Extent::CatchUp(until),
            Box::new(move || drop(sender.send(Message::Wake))),
        )?);
        Ok(Step::Waits)
    }

    /// Ends an epoch of the view alone.
    fn end_fill_epoch(&mut self, running: &mut Running, watermarks: BTreeMap<RelationId, Watermark>) -> Result<()> {
        let end = EpochEnd { watermarks: Arc::new(watermarks), snapshot: None, measure: false };
        let brought = self.runner.end_epoch(running.instance, &end)?;
        let id = running.view.deployment.id;
        running.view.count(&brought.counters);
        if let Some(changes) = brought.changes.get(&id) {
            running.view.change(changes)?;
        }
        let refused: Result<Vec<ChangeBatch>> =
            brought.rejected.iter().map(|(node, rejected)| running.view.refused(*node, rejected)).collect();
        running.view.refuse(&refused?)?;
        if let Some(watermark) = brought.watermarks.get(&id) {
            running.view.watermark = running.view.watermark.max(*watermark);
        }
        running.memory.hold(running.view.memory_bytes(false));
        // What everybody can read does not fail for want of what one reader has; one reader's is refused.
        while let Err(error) = running.memory.check() {
            if id.is_temporary() || !self.end_largest_temporary(0)? {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Moves a full view into the graph: its inputs stand exactly where the graph stands.
    fn join_graph(&mut self, mut fill: Fill) -> Result<()> {
        let mut running = fill.running.take().expect("only a running fill meets its inputs");
        let mut watermarks = self.input_watermarks();
        watermarks.extend(self.views.iter().map(|(id, view)| (*id, view.watermark)));
        let ended = self.end_fill_epoch(&mut running, watermarks);
        let instance = self.instance.ok_or_else(|| Error::internal("a view joins a graph that does not run"))?;
        self.release_sources();
        if let Err(error) = ended {
            self.runner.discard(running.instance);
            self.shared.set_progress(fill.deployment.id, ViewProgress::Failed(error));
            return Ok(());
        }
        self.runner.merge(running.instance, instance)?;
        let mut view = running.view;
        // Its first checkpoint is a base: the changes so far are in the store.
        view.delta.clear();
        view.rejected_delta.clear();
        self.views.insert(fill.deployment.id, view);
        self.checkpoints.changed |= !fill.deployment.id.is_temporary();
        self.sync_pumps()?;
        self.unshown.push(fill.deployment.id);
        self.publish();
        Ok(())
    }

    fn release_sources(&mut self) {
        for input in self.inputs.values_mut() {
            if let Origin::Source(source) = &mut input.origin {
                source.held = false;
            }
        }
    }
}

impl Running {
    fn progress(&self) -> f64 {
        let waiting: usize = self
            .inputs
            .values()
            .map(|input| match input {
                FillInput::Versions(cursor) => cursor.pending.iter().map(ChangeBatch::len).sum(),
                FillInput::CatchUp(catch_up) => usize::from(catch_up.pump.is_some()),
                FillInput::Unread => 0,
            })
            .sum();
        if waiting == 0 { 1.0 } else { self.rows_done as f64 / (self.rows_done + waiting) as f64 }
    }
}

impl VersionCursor {
    fn from_nothing(target: Arc<RelationVersion>) -> Self {
        let nothing = RelationVersion::empty(Arc::clone(&target.schema));
        let mut cursor = Self { target: nothing, pending: VecDeque::new() };
        cursor.advance_to(target).expect("the rows of a version can be read");
        cursor
    }

    fn advance_to(&mut self, now: Arc<RelationVersion>) -> Result<()> {
        if !Arc::ptr_eq(&now, &self.target) {
            self.pending.extend(now.changes_since(&self.target)?);
            self.target = now;
        }
        Ok(())
    }
}

impl CatchUp {
    fn has_met(&self, shared: &BTreeMap<SplitId, SplitState>) -> bool {
        let position = |id: &SplitId| self.splits.get(id).map(|state| state.position);
        shared.iter().all(|(id, state)| position(id) == Some(state.position))
    }

    /// New splits are read from their start; floors that were set meanwhile hold for what comes.
    fn begin_round(&mut self, shared: &BTreeMap<SplitId, SplitState>) {
        self.rounds += 1;
        for (id, state) in shared {
            let mine = self.splits.entry(id.clone()).or_insert_with(|| state.rewound());
            mine.floors.clone_from(&state.floors);
        }
    }
}
