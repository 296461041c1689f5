//! The job master's hands: the same instance on several slots, spoken to as one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use arrow::array::UInt32Array;

use super::instance::{EpochEnd, Instance, SlotEpoch, Subtask, ViewPart};
use super::slots::{InstanceKey, SlotResult, SlotTask, Slots};
use crate::batch::ChangeBatch;
use crate::error::{Error, Result};
use crate::operator::{KEY_GROUPS, StatePart};
use crate::plan::{Dataflow, RelationId};
use crate::state::key_groups;

static NEXT_KEY: AtomicU64 = AtomicU64::new(1);

/// State of a view's nodes, by node index.
pub(super) type ViewState = BTreeMap<u32, Vec<StatePart>>;

/// Runs instances for one job master.
pub(super) struct Runner {
    slots: Slots,
    parallelism: usize,
    results: Sender<SlotResult>,
    answers: Receiver<SlotResult>,
    next_slot: usize,
}

impl Runner {
    pub(super) fn new(slots: Slots, parallelism: usize) -> Self {
        let (results, answers) = channel();
        let parallelism = parallelism.clamp(1, slots.count());
        Self { slots, parallelism, results, answers, next_slot: 0 }
    }

    /// Deploys an instance with the given views (restored where there is state) on every slot.
    pub(super) fn deploy(&self, views: &[(RelationId, &Dataflow, Option<&ViewState>)]) -> Result<InstanceKey> {
        let key = InstanceKey(NEXT_KEY.fetch_add(1, Ordering::Relaxed));
        let mut instances = Vec::with_capacity(self.parallelism);
        for index in 0..self.parallelism {
            let mut instance = Instance::new(Subtask { index, count: self.parallelism });
            for (view, dataflow, state) in views {
                let restored = state.is_some();
                let state = state.cloned().unwrap_or_default();
                instance.add_view(ViewPart { view: *view, dataflow, state })?;
                if restored {
                    instance.mark_restored(*view);
                }
            }
            instances.push(instance);
        }
        for (slot, instance) in instances.into_iter().enumerate() {
            let task = SlotTask::Deploy { instance: Box::new(instance), results: self.results.clone() };
            self.slots.send(slot, key, task);
        }
        self.acknowledged(key)?;
        Ok(key)
    }

    /// Moves the nodes of `from` into `into`.
    pub(super) fn merge(&self, from: InstanceKey, into: InstanceKey) -> Result<()> {
        self.all(into, || SlotTask::Merge { from })
    }

    /// Takes views out.
    pub(super) fn remove_views(&self, key: InstanceKey, views: &BTreeSet<RelationId>) -> Result<()> {
        self.all(key, || SlotTask::RemoveViews { views: views.clone() })
    }

    /// Forgets an instance, whatever it is doing.
    pub(super) fn discard(&self, key: InstanceKey) {
        (0..self.parallelism).for_each(|slot| self.slots.send(slot, key, SlotTask::Discard));
    }

    /// Rows of an append-only relation: whole batches go round.
    pub(super) fn append(&mut self, key: InstanceKey, relation: RelationId, batch: ChangeBatch) {
        self.next_slot = (self.next_slot + 1) % self.parallelism;
        self.slots.send(self.next_slot, key, SlotTask::Input { relation, batch });
    }

    /// Rows of a relation that may take rows back: equal rows go the same way, so that no subtask meets a row
    /// taken back before it met the row.
    pub(super) fn change(&mut self, key: InstanceKey, relation: RelationId, batch: &ChangeBatch) -> Result<()> {
        if self.parallelism == 1 {
            self.append(key, relation, batch.clone());
            return Ok(());
        }
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); self.parallelism];
        for (row, group) in key_groups(batch.rows.columns())?.into_iter().enumerate() {
            rows[usize::from(group) * self.parallelism / usize::from(KEY_GROUPS)].push(row as u32);
        }
        for (slot, rows) in rows.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            let batch = batch.take(&UInt32Array::from(rows))?;
            self.slots.send(slot, key, SlotTask::Input { relation, batch });
        }
        Ok(())
    }

    /// Ends an epoch on every slot and puts together what it brought.
    pub(super) fn end_epoch(&self, key: InstanceKey, end: &EpochEnd) -> Result<SlotEpoch> {
        (0..self.parallelism).for_each(|slot| self.slots.send(slot, key, SlotTask::EndEpoch(end.clone())));
        let mut whole: Option<SlotEpoch> = None;
        for part in self.answers_of(key)? {
            let part = part.ok_or_else(|| Error::internal("a slot acknowledged where it owed an epoch"))?;
            whole = Some(match whole {
                None => part,
                Some(whole) => joined(whole, part),
            });
        }
        whole.ok_or_else(|| Error::internal("an epoch ran on no slot"))
    }

    fn all(&self, key: InstanceKey, task: impl Fn() -> SlotTask) -> Result<()> {
        (0..self.parallelism).for_each(|slot| self.slots.send(slot, key, task()));
        self.acknowledged(key)
    }

    fn acknowledged(&self, key: InstanceKey) -> Result<()> {
        self.answers_of(key).map(drop)
    }

    /// One answer of every slot, in the order of slots. The first failure is returned at once: the others may
    /// wait for the failed one for ever, and are discarded with the instance.
    fn answers_of(&self, key: InstanceKey) -> Result<Vec<Option<SlotEpoch>>> {
        let mut answers: Vec<Option<Option<SlotEpoch>>> = (0..self.parallelism).map(|_| None).collect();
        while answers.iter().any(Option::is_none) {
            let result = self.answers.recv().map_err(|_| Error::internal("the slots have ended"))?;
            // Late answers of an instance that was discarded mean nothing any more.
            if result.instance == key {
                answers[result.slot] = Some(result.outcome?);
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }
}

fn joined(mut whole: SlotEpoch, part: SlotEpoch) -> SlotEpoch {
    for (view, changes) in part.changes {
        whole.changes.entry(view).or_default().extend(changes);
    }
    whole.rejected.extend(part.rejected);
    for (node, (kind, parts)) in part.snapshots {
        whole.snapshots.entry(node).or_insert_with(|| (kind, Vec::new())).1.extend(parts);
    }
    for (view, watermark) in part.watermarks {
        let merged = whole.watermarks.entry(view).or_insert(watermark);
        *merged = watermark.min(*merged);
    }
    for (node, counters) in part.counters {
        let sum = whole.counters.entry(node).or_default();
        sum.rows_in += counters.rows_in;
        sum.rows_out += counters.rows_out;
        sum.state_bytes += counters.state_bytes;
    }
    whole
}
