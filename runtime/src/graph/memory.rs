//! The budget for what graphs keep in memory: the state of operators, views and tables.
//!
//! Invariant 13: all of it is accounted in bytes, and a graph that takes more than is left stands as failed with
//! that reason; the process and the other graphs go on. What grows is what fails: every graph looks at the sum
//! right after it has added to it. Queues, results of queries and kept bad rows have bounds of their own
//! ([`crate::limits`]) and don't count here.
//!
//! Nothing fails for want of what is kept for one reader alone: graphs offer their temporary views, and the largest of
//! all gives way. One of another graph is asked to go and counts as gone from then on: that graph ends it before its
//! next epoch, and waiting for that would hold up the one that needs the room.
//!
//! Attacked by `session::tests::memory` of the server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::GraphId;
use crate::error::{Error, Result};
use crate::plan::RelationId;

/// What all graphs of a process may keep, and what they do.
pub struct StateMemory {
    bytes_max: usize,
    held: AtomicUsize,
    offers: Mutex<BTreeMap<GraphId, Offer>>,
}

/// What a graph keeps that may go for want of room.
struct Offer {
    /// Bytes of each temporary view.
    sizes: BTreeMap<RelationId, usize>,
    /// Those of them that are to go.
    asked: BTreeSet<RelationId>,
    /// Makes the graph look.
    wake: Box<dyn Fn() + Send + Sync>,
}

/// Whose view is the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Largest {
    /// The asking graph's own: it ends it.
    Own(RelationId),
    /// One of another graph, which was asked to end it.
    Asked,
}

impl StateMemory {
    /// A budget of that many bytes.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, held: AtomicUsize::new(0), offers: Mutex::default() })
    }

    /// Bytes that may still be kept, those included that would give way.
    pub fn left(&self) -> usize {
        let offered: usize = self.offers().values().flat_map(|offer| offer.sizes.values()).sum();
        self.bytes_max.saturating_sub(self.held().saturating_sub(offered))
    }

    /// Bytes that all graphs keep now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn offers(&self) -> MutexGuard<'_, BTreeMap<GraphId, Offer>> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of what was asked to go and is not gone yet.
    fn going(&self) -> usize {
        let offers = self.offers();
        let asked = offers.values().flat_map(|offer| offer.asked.iter().filter_map(|view| offer.sizes.get(view)));
        asked.sum()
    }

    /// Notes the temporary views that a graph has now; nothing is noted of one that has none.
    pub(super) fn offer(
        &self,
        graph: GraphId,
        sizes: BTreeMap<RelationId, usize>,
        wake: impl FnOnce() -> Box<dyn Fn() + Send + Sync>,
    ) {
        let mut offers = self.offers();
        if sizes.is_empty() {
            offers.remove(&graph);
            return;
        }
        let offer = offers.entry(graph).or_insert_with(|| Offer {
            sizes: BTreeMap::new(),
            asked: BTreeSet::new(),
            wake: wake(),
        });
        offer.asked.retain(|view| sizes.contains_key(view));
        offer.sizes = sizes;
    }

    /// The views of a graph that are to go.
    pub(super) fn asked(&self, graph: GraphId) -> BTreeSet<RelationId> {
        self.offers().get(&graph).map(|offer| offer.asked.clone()).unwrap_or_default()
    }

    /// Chooses the largest view of all graphs to go, if it has so many bytes; `None` when there is none.
    pub(super) fn take_largest(&self, graph: GraphId, at_least: usize) -> Option<Largest> {
        let mut offers = self.offers();
        let sizes = offers.iter().flat_map(|(of, offer)| {
            let there = offer.sizes.iter().filter(|(view, _)| !offer.asked.contains(*view));
            there.map(|(view, size)| (*size, *of, *view))
        });
        let (_, of, view) = sizes.filter(|(size, ..)| *size >= at_least).max()?;
        let offer = offers.get_mut(&of)?;
        offer.asked.insert(view);
        if of == graph {
            return Some(Largest::Own(view));
        }
        (offer.wake)();
        Some(Largest::Asked)
    }
}

impl std::fmt::Debug for StateMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateMemory").field("bytes_max", &self.bytes_max).field("held", &self.held()).finish()
    }
}

/// What one graph has of the budget; dropping it gives that back.
#[derive(Debug)]
pub(super) struct Share {
    memory: Arc<StateMemory>,
    bytes: usize,
}

impl Share {
    pub(super) fn new(memory: Arc<StateMemory>) -> Self {
        Self { memory, bytes: 0 }
    }

    /// Accounts that the graph keeps `bytes` now, which counts even where it is too much.
    pub(super) fn hold(&mut self, bytes: usize) {
        // Wraps around for a graph that shrinks; the sum never does.
        self.memory.held.fetch_add(bytes.wrapping_sub(self.bytes), Ordering::Relaxed);
        self.bytes = bytes;
    }

    /// Bytes that the graph keeps.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// An error when all graphs together keep too much, what is going not counted.
    pub(super) fn check(&self) -> Result<()> {
        let held = self.memory.held();
        // What is going has to be looked up only where it matters.
        if held <= self.memory.bytes_max || held.saturating_sub(self.memory.going()) <= self.memory.bytes_max {
            return Ok(());
        }
        Err(self.exhausted())
    }

    /// The error of a graph, or of a view, for which there is no room.
    pub(super) fn exhausted(&self) -> Error {
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        Error::exhausted(format!(
            "out of memory for state: this graph keeps {:.1} MiB and all graphs {:.1} MiB, of {:.1} MiB",
            mib(self.bytes),
            mib(self.memory.held()),
            mib(self.memory.bytes_max)
        ))
        .with_hint("Drop a view, or start the server with a higher --state-memory-mib.")
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.hold(0);
    }
}

/// Rows after which something is measured again, however small it is.
const ROWS_MIN: u64 = 1024;

/// Bytes of state that may be walked over per row that came since the last walk: the walk costs such a row some
/// nanoseconds, and what rows of 100 bytes add meanwhile is a tenth of the state.
const BYTES_PER_ROW: u64 = 1024;

/// A measure that walks over what it measures, and is taken again when the rows since have paid for that.
#[derive(Debug)]
pub(super) struct Gauge {
    bytes: usize,
    rows_since: u64,
}

impl Default for Gauge {
    /// Nothing is known: the first question is answered by measuring.
    fn default() -> Self {
        Self { bytes: 0, rows_since: u64::MAX }
    }
}

impl Gauge {
    /// Notes that rows have come or gone.
    pub(super) fn count(&mut self, rows: usize) {
        self.rows_since = self.rows_since.saturating_add(rows as u64);
    }

    /// The bytes; measured anew in any case when `now` is set.
    pub(super) fn bytes(&mut self, now: bool, measure: impl FnOnce() -> usize) -> usize {
        if now || self.rows_since >= ROWS_MIN.max(self.bytes as u64 / BYTES_PER_ROW) {
            self.bytes = measure();
            self.rows_since = 0;
        }
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_counts_what_it_holds_and_gives_it_back() {
        let memory = StateMemory::new(100);
        let (mut one, mut other) = (Share::new(Arc::clone(&memory)), Share::new(Arc::clone(&memory)));
        one.hold(60);
        other.hold(40);
        assert!(one.check().is_ok());
        other.hold(50);
        assert!(other.check().is_err_and(|error| error.message.contains("out of memory")));
        other.hold(10);
        assert_eq!((memory.held(), one.check().is_ok()), (70, true));
        drop(one);
        assert_eq!(memory.held(), 10);
    }

    #[test]
    fn the_largest_of_all_gives_way_and_counts_as_gone() {
        let memory = StateMemory::new(100);
        let (mut one, mut other) = (Share::new(Arc::clone(&memory)), Share::new(Arc::clone(&memory)));
        let woken = Arc::new(AtomicUsize::new(0));
        let (small, large, own) = (RelationId(1), RelationId(2), RelationId(3));
        let wake = || {
            let woken = Arc::clone(&woken);
            let count = move || {
                woken.fetch_add(1, Ordering::Relaxed);
            };
            Box::new(count) as Box<dyn Fn() + Send + Sync>
        };
        one.hold(90);
        other.hold(60);
        memory.offer(GraphId(1), BTreeMap::from([(small, 10), (large, 40)]), wake);
        memory.offer(GraphId(2), BTreeMap::from([(own, 15)]), wake);
        assert_eq!(memory.left(), 15, "150 are held, of which 65 would give way");
        assert_eq!(memory.take_largest(GraphId(2), 41), None);
        assert!(other.check().is_err());
        assert_eq!(memory.take_largest(GraphId(2), 0), Some(Largest::Asked));
        assert_eq!((woken.load(Ordering::Relaxed), memory.asked(GraphId(1))), (1, BTreeSet::from([large])));
        assert!(other.check().is_err(), "110 are left");
        assert_eq!(memory.take_largest(GraphId(2), 0), Some(Largest::Own(own)));
        assert!(other.check().is_ok() && one.check().is_ok());
        // Each has ended what it was asked to: it counts once.
        one.hold(50);
        memory.offer(GraphId(1), BTreeMap::from([(small, 10)]), wake);
        other.hold(45);
        memory.offer(GraphId(2), BTreeMap::new(), wake);
        assert!(memory.asked(GraphId(1)).is_empty() && memory.asked(GraphId(2)).is_empty());
        assert!(other.check().is_ok());
        other.hold(60);
        assert!(other.check().is_err());
        assert_eq!(memory.take_largest(GraphId(2), 0), Some(Largest::Asked), "the small one");
        assert_eq!(memory.take_largest(GraphId(2), 0), None);
    }

    #[test]
    fn a_gauge_measures_first_and_then_when_it_is_paid_for() {
        let mut gauge = Gauge::default();
        assert_eq!(gauge.bytes(false, || 10 << 20), 10 << 20);
        gauge.count(10 * 1024 - 1);
        assert_eq!(gauge.bytes(false, || 1), 10 << 20, "ten thousand rows for ten MiB");
        gauge.count(1);
        assert_eq!(gauge.bytes(false, || 11 << 20), 11 << 20);
        assert_eq!(gauge.bytes(true, || 5), 5);
    }
}
