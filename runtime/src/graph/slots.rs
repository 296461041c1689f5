//! Task slots: the worker threads on which the instances of all graphs run.
//!
//! Each slot has an inbox with two lanes. What crosses from other slots is always taken first; control and new
//! input wait while any slot has more than [`EXCHANGE_BYTES`] of crossings before it. New input is therefore
//! admitted only as fast as the slowest slot takes it, and no two slots ever wait for each other.
//!
//! A panic while an instance runs fails that instance's graph and nothing else.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::instance::{Crossing, EpochEnd, Exchange, Instance, NodeId, SlotEpoch};
use crate::batch::ChangeBatch;
use crate::error::{Error, Result};
use crate::limits::EXCHANGE_BYTES;
use crate::operator::Port;
use crate::plan::RelationId;

/// An instance's name on every slot, never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InstanceKey(pub(crate) u64);

/// What a slot is asked to do.
pub(crate) enum SlotTask {
    /// Takes an instance, and answers when it is there.
    Deploy { instance: Box<Instance>, results: Sender<SlotResult> },
    /// Moves the nodes of another instance into this one, and answers.
    Merge { from: InstanceKey },
    /// Takes views out, and answers.
    RemoveViews { views: BTreeSet<RelationId> },
    /// Forgets the instance.
    Discard,
    /// Rows from outside.
    Input { relation: RelationId, batch: ChangeBatch },
    /// Ends the epoch, and answers with what it brought.
    EndEpoch(EpochEnd),
}

/// A slot's answer.
#[derive(Debug)]
pub(crate) struct SlotResult {
    /// Whose.
    pub(crate) instance: InstanceKey,
    /// Which slot.
    pub(crate) slot: usize,
    /// `None` for a task that only is acknowledged. An error fails the graph.
    pub(crate) outcome: Result<Option<SlotEpoch>>,
}

/// The task slots of the process: worker threads shared by all graphs. They end with the last handle.
#[derive(Clone)]
pub struct Slots {
    shared: Arc<Shared>,
    _end: Arc<EndOnDrop>,
}

struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        for inbox in &self.0.inboxes {
            inbox.lock().ended = true;
            inbox.ready.notify_all();
        }
    }
}

struct Shared {
    inboxes: Vec<Inbox>,
}

#[derive(Default)]
struct Inbox {
    lanes: Mutex<Lanes>,
    ready: Condvar,
    crossing_bytes: AtomicUsize,
}

#[derive(Default)]
struct Lanes {
    crossings: VecDeque<(InstanceKey, NodeId, Port, Crossing)>,
    tasks: VecDeque<(InstanceKey, SlotTask)>,
    ended: bool,
}

enum Work {
    Crossing(InstanceKey, NodeId, Port, Crossing),
    Task(InstanceKey, SlotTask),
}

impl Inbox {
    fn lock(&self) -> std::sync::MutexGuard<'_, Lanes> {
        // A poisoned lock can't hold half a change: the lanes are only pushed to and popped from.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    /// Starts `count` threads, at least one.
    pub fn start(count: usize) -> Self {
        let shared = Arc::new(Shared { inboxes: (0..count.max(1)).map(|_| Inbox::default()).collect() });
        for slot in 0..shared.inboxes.len() {
            let worker = Worker { slot, shared: Arc::clone(&shared), instances: HashMap::new() };
            std::thread::Builder::new()
                .name(format!("slot-{slot}"))
                .spawn(move || worker.run())
                .expect("the process may start threads when the server starts");
        }
        Self { _end: Arc::new(EndOnDrop(Arc::clone(&shared))), shared }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.shared.inboxes.len()
    }

    pub(crate) fn send(&self, slot: usize, instance: InstanceKey, task: SlotTask) {
        let inbox = &self.shared.inboxes[slot];
        inbox.lock().tasks.push_back((instance, task));
        inbox.ready.notify_one();
    }
}

/// One thread and the instances it runs.
struct Worker {
    slot: usize,
    shared: Arc<Shared>,
    instances: HashMap<InstanceKey, Running>,
}

struct Running {
    instance: Instance,
    results: Sender<SlotResult>,
    /// Set once it has failed: what still comes for it is void.
    failed: bool,
}

/// An instance's way to the other slots.
struct Crossings<'a> {
    key: InstanceKey,
    shared: &'a Shared,
}

impl Exchange for Crossings<'_> {
    fn send(&mut self, to: usize, node: NodeId, port: Port, crossing: Crossing) {
        let inbox = &self.shared.inboxes[to];
        if let Crossing::Rows(batch) = &crossing {
            inbox.crossing_bytes.fetch_add(batch.memory_bytes(), Ordering::Relaxed);
        }
        inbox.lock().crossings.push_back((self.key, node, port, crossing));
        inbox.ready.notify_one();
    }
}

impl Worker {
    fn run(mut self) {
        while let Some(work) = self.next() {
            match work {
                Work::Crossing(key, node, port, crossing) => {
                    if let Crossing::Rows(batch) = &crossing {
                        self.shared.inboxes[self.slot]
                            .crossing_bytes
                            .fetch_sub(batch.memory_bytes(), Ordering::Relaxed);
                    }
                    self.step(key, |instance, out| instance.crossing(node, port, crossing, out));
                }
                Work::Task(key, task) => self.task(key, task),
            }
        }
    }

    fn task(&mut self, key: InstanceKey, task: SlotTask) {
        match task {
            SlotTask::Deploy { instance, results } => {
                self.instances.insert(key, Running { instance: *instance, results, failed: false });
                self.acknowledge(key, Ok(()));
            }
            SlotTask::Merge { from } => {
                let moved = self.instances.remove(&from);
                let merged = match (moved, self.instances.get_mut(&key)) {
                    (Some(moved), Some(into)) => {
                        into.instance.merge(moved.instance);
                        Ok(())
                    }
                    _ => Err(Error::internal("an instance that is not there was to be merged")),
                };
                self.acknowledge(key, merged);
            }
            SlotTask::RemoveViews { views } => {
                if let Some(running) = self.instances.get_mut(&key) {
                    running.instance.remove(&views);
                }
                self.acknowledge(key, Ok(()));
            }
            SlotTask::Discard => {
                self.instances.remove(&key);
            }
            SlotTask::Input { relation, batch } => {
                self.step(key, |instance, out| instance.input(relation, &batch, out))
            }
            SlotTask::EndEpoch(end) => self.step(key, |instance, _| {
                instance.end_epoch(end);
                Ok(())
            }),
        }
    }

    fn acknowledge(&mut self, key: InstanceKey, outcome: Result<()>) {
        if let Some(running) = self.instances.get(&key) {
            running.answer(key, self.slot, outcome.map(|()| None));
        }
    }

    /// Runs one step of an instance, then whatever that lets it complete.
    fn step(&mut self, key: InstanceKey, step: impl FnOnce(&mut Instance, &mut dyn Exchange) -> Result<()>) {
        let Some(running) = self.instances.get_mut(&key).filter(|running| !running.failed) else {
            return;
        };
        let mut crossings = Crossings { key, shared: &self.shared };
        let instance = &mut running.instance;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            step(instance, &mut crossings)?;
            instance.advance(&mut crossings)
        }));
        match outcome {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(epoch))) => running.answer(key, self.slot, Ok(Some(epoch))),
            Ok(Err(error)) => {
                running.failed = true;
                running.answer(key, self.slot, Err(error));
            }
            Err(panic) => {
                running.failed = true;
                running.answer(
                    key,
                    self.slot,
                    Err(Error::internal(format!("an operator panicked: {}", panic_text(&panic)))),
                );
            }
        }
    }

    /// The next thing to do; `None` when the process ends.
    fn next(&self) -> Option<Work> {
        let inbox = &self.shared.inboxes[self.slot];
        let mut lanes = inbox.lock();
        loop {
            if let Some((key, node, port, crossing)) = lanes.crossings.pop_front() {
                return Some(Work::Crossing(key, node, port, crossing));
            }
            if lanes.ended {
                return None;
            }
            let admitted = self.admits_input();
            match lanes.tasks.front() {
                Some((_, SlotTask::Input { .. })) if !admitted => {
                    // Whoever drains below the bound does not know who waits: look again soon.
                    let wait = inbox.ready.wait_timeout(lanes, Duration::from_micros(200));
                    lanes = wait.unwrap_or_else(PoisonError::into_inner).0;
                }
                Some(_) => {
                    let (key, task) = lanes.tasks.pop_front().expect("there is a first task");
                    return Some(Work::Task(key, task));
                }
                None => lanes = inbox.ready.wait(lanes).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn admits_input(&self) -> bool {
        self.shared.inboxes.iter().all(|inbox| inbox.crossing_bytes.load(Ordering::Relaxed) < EXCHANGE_BYTES)
    }
}

impl Running {
    fn answer(&self, instance: InstanceKey, slot: usize, outcome: Result<Option<SlotEpoch>>) {
        // The job master may be gone already; then nobody needs the answer.
        drop(self.results.send(SlotResult { instance, slot, outcome }));
    }
}

pub(crate) fn panic_text(panic: &Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_string())
}
