//! One epoch: take what has come, run it through the operators, show the result, all at once.
//!
//! The next epoch starts only when this one is over. Readers decode and commits arrive meanwhile, so that under
//! load epochs grow by themselves, up to the bytes that one takes per source; a commit is never split.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bad_rows::{refused_rows, rejected_records, rejected_row_schema};
use super::instance::{Counters, EpochEnd, NodeId, SlotEpoch};
use super::master::{Input, Master, Origin, Outlet, View};
use super::memory::Gauge;
use super::publisher::Publishing;
use super::runner::Runner;
use super::shared::ViewProgress;
use super::slots::InstanceKey;
use super::{OperatorReport, Published, TableCommit, ViewDeployment};
use crate::batch::ChangeBatch;
use crate::error::{Error, Result};
use crate::limits::{EPOCH_SOURCE_BYTES, OUTBOXES_WAITING_MAX};
use crate::operator::Rejected;
use crate::plan::RelationId;
use crate::relation::{RelationStore, consolidate};
use crate::time::{Stamp, Watermark};

impl Master {
    /// Runs an epoch; with `checkpoint`, freezes the state at its end.
    pub(super) fn run_epoch(&mut self, checkpoint: bool) -> Result<()> {
        let instance = self.instance.ok_or_else(|| Error::internal("an epoch without an instance"))?;
        self.stamp = self.stamp.max(self.config.clock.now());
        self.epoch = self.epoch.next(self.config.term);
        if self.sinks_admit_input() {
            self.take_sources(instance)?;
        }
        self.take_commits(instance)?;
        let snapshot = checkpoint.then(|| Arc::new(self.checkpoints.full_nodes()));
        let end = EpochEnd { watermarks: Arc::new(self.input_watermarks()), snapshot, measure: self.measure };
        let mut brought = self.runner.end_epoch(instance, &end)?;
        self.apply(&mut brought)?;
        self.dirty = false;
        self.account()?;
        if checkpoint {
            self.start_checkpoint(std::mem::take(&mut brought.snapshots))?;
        }
        self.publish();
        self.remove_lost_temporaries()
    }

    /// A sink that can't publish holds its graph up, once enough outboxes wait.
    pub(super) fn sinks_admit_input(&self) -> bool {
        let admits =
            |outlet: &Outlet| outlet.sequence.saturating_sub(outlet.publishing.published()) < OUTBOXES_WAITING_MAX;
        self.views.values().filter_map(|view| view.outlet.as_ref()).all(admits)
    }

    fn take_sources(&mut self, instance: InstanceKey) -> Result<()> {
        for (id, input) in &mut self.inputs {
            take_source(&mut self.runner, instance, *id, input, self.stamp, &mut self.checkpoints.changed)?;
        }
        Ok(())
    }

    fn take_commits(&mut self, instance: InstanceKey) -> Result<()> {
        while let Some(commit) = self.commits.pop_front() {
            if commit.position <= self.log_position && self.log_position.0 > 0 && !commit.tables.is_empty() {
                return Err(Error::internal("a commit came out of order"));
            }
            self.take_commit(instance, commit)?;
        }
        Ok(())
    }

    fn take_commit(&mut self, instance: InstanceKey, commit: TableCommit) -> Result<()> {
        self.log_position = self.log_position.max(commit.position);
        for change in commit.tables {
            // A table that has been dropped since has no rows to show.
            let Some(Input { origin: Origin::Table(table), late, .. }) = self.inputs.get_mut(&change.relation) else {
                continue;
            };
            self.checkpoints.changed = true;
            table.version = change.version;
            table.watermark = table.watermark.max(change.watermark);
            for rows in change.late {
                late.push(rows)?;
            }
            for batch in change.changes {
                self.runner.change(instance, change.relation, &batch)?;
                table.gauge.count(batch.len());
                table.delta.push(batch);
            }
        }
        Ok(())
    }

    /// Accounts what the graph keeps. Measures are a little old, so that before the graph fails over them all
    /// are taken anew in an epoch that follows at once.
    fn account(&mut self) -> Result<()> {
        let measured = std::mem::take(&mut self.measure);
        self.give_way()?;
        loop {
            let kept_for_followers = self.shared.history().bytes();
            self.hold(measured);
            match self.memory.check() {
                Ok(()) => return Ok(()),
                Err(_) if !measured => {
                    self.measure = true;
                    self.dirty = true;
                    return Ok(());
                }
                // Nothing fails for want of what is kept for one reader alone, or for those who read slowly: what is more
                // goes first.
                Err(_) if self.end_largest_temporary(kept_for_followers)? => {}
                Err(_) if self.shared.history().shed() => {}
                Err(_) if self.end_largest_temporary(0)? => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Notes what the graph keeps, and what of that may go.
    pub(super) fn hold(&mut self, measured: bool) {
        let bytes = self.kept_bytes(measured) + self.shared.history().bytes();
        self.memory.hold(bytes);
        self.offer_temporaries();
    }

    fn kept_bytes(&mut self, measured: bool) -> usize {
        let mut bytes: usize = self.views.values_mut().map(|view| view.memory_bytes(measured)).sum();
        for input in self.inputs.values_mut() {
            if let Origin::Table(table) = &mut input.origin {
                bytes += table.gauge.bytes(measured, || table.version.memory_bytes());
            }
        }
        bytes
    }

    /// Watermarks of the relations that rows enter from outside.
    pub(super) fn input_watermarks(&self) -> BTreeMap<RelationId, Watermark> {
        let watermark = |input: &Input| match &input.origin {
            Origin::Table(table) => table.watermark,
            Origin::Source(source) => source.merged,
        };
        self.inputs.iter().map(|(id, input)| (*id, watermark(input))).collect()
    }

    fn apply(&mut self, brought: &mut SlotEpoch) -> Result<()> {
        for (id, view) in &mut self.views {
            if let Some(changes) = brought.changes.remove(id) {
                self.checkpoints.changed |= !id.is_temporary();
                view.change(&changes)?;
            }
            if let Some(watermark) = brought.watermarks.remove(id) {
                view.watermark = view.watermark.max(watermark);
            }
        }
        // One step per view: what one subtask takes back another may have refused.
        let mut refused: BTreeMap<RelationId, Vec<ChangeBatch>> = BTreeMap::new();
        for (node, rejected) in brought.rejected.drain(..) {
            let view = self.views.get(&node.view).ok_or_else(|| Error::internal("an unknown view refused rows"))?;
            refused.entry(node.view).or_default().push(view.refused(node, &rejected)?);
        }
        for (id, changes) in refused {
            self.checkpoints.changed |= !id.is_temporary();
            self.views.get_mut(&id).expect("looked up above").refuse(&changes)?;
        }
        for view in self.views.values_mut() {
            view.count(&brought.counters);
        }
        Ok(())
    }

    /// Makes the epoch visible. After a restart, what was shown last is served until the new run covers it:
    /// nobody sees time go back.
    pub(super) fn publish(&mut self) {
        if self.shown_before.as_ref().is_some_and(|shown| !self.covers(shown)) {
            return;
        }
        self.shown_before = None;
        let mut published = Published::before_everything();
        published.epoch = self.epoch;
        published.stamp = self.stamp;
        published.log_position = self.log_position;
        for (id, input) in &self.inputs {
            match &input.origin {
                Origin::Table(table) => {
                    published.relations.insert(*id, Arc::clone(&table.version));
                    published.watermarks.insert(*id, table.watermark);
                }
                Origin::Source(source) => {
                    let statuses = source.splits.iter().map(|(split, state)| (split.clone(), state.status())).collect();
                    published.splits.insert(*id, statuses);
                    published.watermarks.insert(*id, source.merged);
                    published.rejected.insert(*id, input.rejected.version());
                }
            }
            published.late.insert(*id, input.late.version());
        }
        for (id, view) in &self.views {
            if let Some(store) = &view.store {
                published.relations.insert(*id, store.version());
            }
            published.rejected.insert(*id, view.rejected.version());
            published.watermarks.insert(*id, view.watermark);
        }
        self.shared.set_report(self.report());
        self.shared.show(published);
        for view in std::mem::take(&mut self.unshown) {
            self.shared.set_progress(view, ViewProgress::Running);
        }
    }

    /// Whether everything that was read for `shown` has been read again.
    fn covers(&self, shown: &Published) -> bool {
        shown.splits.iter().all(|(id, splits)| match self.inputs.get(id).map(|input| &input.origin) {
            Some(Origin::Source(source)) if source.pump.is_some() => splits
                .iter()
                .all(|(split, status)| source.splits.get(split).is_some_and(|state| state.position >= status.position)),
            _ => true,
        })
    }

    fn report(&self) -> Vec<OperatorReport> {
        let mut report = Vec::new();
        for (id, view) in &self.views {
            for (index, node) in view.deployment.dataflow.nodes.iter().enumerate() {
                let counters = view.counters.get(&(index as u32)).copied().unwrap_or_default();
                report.push(OperatorReport {
                    view: *id,
                    node: index,
                    operator: node.operation.name(),
                    rows_in: counters.rows_in,
                    rows_out: counters.rows_out,
                    state_bytes: counters.state_bytes,
                    watermark: view.watermark,
                });
            }
        }
        report
    }

    /// Starts the views, from the last checkpoint where it knows them.
    pub(super) fn start(&mut self, views: Vec<Arc<ViewDeployment>>) -> Result<()> {
        self.views.clear();
        self.fills.clear();
        self.schedule_checkpoint();
        let shown = Arc::clone(&self.shared.published.borrow());
        self.restore(views)?;
        self.sync_pumps()?;
        self.shown_before = (shown.epoch.counter > 0).then_some(shown);
        self.run_epoch(false)
    }
}

fn take_source(
    runner: &mut Runner,
    instance: InstanceKey,
    id: RelationId,
    input: &mut Input,
    stamp: Stamp,
    changed: &mut bool,
) -> Result<()> {
    let retracts = input.retracts();
    let Origin::Source(source) = &mut input.origin else {
        return Ok(());
    };
    let Some(pump) = source.pump.as_ref().filter(|_| !source.held) else {
        return Ok(());
    };
    for item in pump.queue.take(EPOCH_SOURCE_BYTES) {
        *changed = true;
        if let Some(rows) = item.rows {
            let batch = ChangeBatch::append(rows);
            if retracts { runner.change(instance, id, &batch)? } else { runner.append(instance, id, batch) }
        }
        if let Some(late) = item.late {
            input.late.push(late)?;
        }
        if !item.rejected.is_empty() {
            let split = &item.state.split.id;
            input.rejected.push(rejected_records(source.label.as_deref(), split, &item.rejected, stamp)?)?;
        }
        source.splits.insert(item.state.split.id.clone(), item.state);
        assert!(item.merged >= source.merged, "watermarks never go back");
        source.merged = item.merged;
    }
    Ok(())
}

impl View {
    /// A view without rows.
    pub(super) fn new(
        deployment: Arc<ViewDeployment>,
        tokio: &tokio::runtime::Handle,
        wake: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Self> {
        let schema = Arc::clone(&deployment.dataflow.root().schema);
        let (store, outlet) = match &deployment.sink {
            None => (Some(RelationStore::new(schema, deployment.key.clone())?), None),
            Some(sink) => {
                let (name, identity) = (deployment.name.clone(), sink.identity.clone());
                let publishing = Publishing::start(tokio, name, Arc::clone(&sink.sink), identity, wake);
                (None, Some(Outlet { publishing, payloads: Vec::new(), sequence: 0 }))
            }
        };
        Ok(Self {
            store,
            outlet,
            rejected: RelationStore::new(rejected_row_schema(), Vec::new())?,
            watermark: Watermark::NONE,
            delta: Vec::new(),
            rejected_delta: Vec::new(),
            counters: BTreeMap::new(),
            gauge: Gauge::default(),
            deployment,
        })
    }

    /// Applies the changes of an epoch.
    pub(super) fn change(&mut self, changes: &[ChangeBatch]) -> Result<()> {
        if let Some(store) = &mut self.store {
            let net =
                store.apply(changes).map_err(|error| error.context(format!("view \"{}\"", self.deployment.name)))?;
            self.gauge.count(net.iter().map(ChangeBatch::len).sum());
            if !self.deployment.id.is_temporary() {
                self.delta.extend(net);
            }
        }
        if let (Some(outlet), Some(sink)) = (&mut self.outlet, &self.deployment.sink) {
            let net = consolidate(&self.deployment.dataflow.root().schema, changes)?;
            if net.is_empty() {
                return Ok(());
            }
            let encoded = sink.sink.encode(&net)?;
            outlet.payloads.push(encoded.payload);
            if !encoded.refused.is_empty() {
                let rows = encoded.refused.iter().map(|(row, _)| *row as u32).collect::<Vec<_>>();
                let batch = net.take(&arrow::array::UInt32Array::from(rows))?;
                // What a sink refuses stays refused: a row taken back later is refused as well, not healed.
                let refused = Rejected {
                    batch: ChangeBatch::append(batch.rows),
                    reasons: encoded.refused.into_iter().map(|(_, reason)| reason).collect(),
                };
                self.refuse(&[refused_rows("sink", &refused)?])?;
            }
        }
        Ok(())
    }

    /// Adds what its nodes have done in an epoch.
    pub(super) fn count(&mut self, counters: &BTreeMap<NodeId, Counters>) {
        let first = NodeId { view: self.deployment.id, index: 0 };
        let last = NodeId { view: self.deployment.id, index: u32::MAX };
        for (node, counters) in counters.range(first..=last) {
            let sum = self.counters.entry(node.index).or_default();
            sum.rows_in += counters.rows_in;
            sum.rows_out += counters.rows_out;
            sum.state_bytes = counters.state_bytes;
        }
    }

    /// Bytes of its rows and of its operators' state.
    pub(super) fn memory_bytes(&mut self, now: bool) -> usize {
        let state: usize = self.counters.values().map(|counters| counters.state_bytes).sum();
        state + self.gauge.bytes(now, || self.store.as_ref().map_or(0, RelationStore::memory_bytes))
    }

    /// Rows that an operator refused, as changes of the view's `$rejected`.
    pub(super) fn refused(&self, node: NodeId, rejected: &Rejected) -> Result<ChangeBatch> {
        refused_rows(self.deployment.dataflow.nodes[node.index as usize].operation.name(), rejected)
    }

    /// Keeps rows that operators refused, and forgets those that were taken back.
    pub(super) fn refuse(&mut self, changes: &[ChangeBatch]) -> Result<()> {
        let net = self.rejected.apply(changes)?;
        if !self.deployment.id.is_temporary() {
            self.rejected_delta.extend(net);
        }
        Ok(())
    }
}
