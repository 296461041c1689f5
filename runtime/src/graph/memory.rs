//! The budget for what graphs keep in memory: the state of operators, views and tables.
//!
//! Invariant 13: all of it is accounted in bytes, and a graph that takes more than is left stands as failed with
//! that reason; the process and the other graphs go on. What grows is what fails: every graph looks at the sum
//! right after it has added to it. Queues, results of queries and kept bad rows have bounds of their own
//! ([`crate::limits`]) and don't count here.
//!
//! Attacked by `session::tests::memory` of the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};

/// What all graphs of a process may keep, and what they do.
#[derive(Debug)]
pub struct StateMemory {
    bytes_max: usize,
    held: AtomicUsize,
}

impl StateMemory {
    /// A budget of that many bytes.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, held: AtomicUsize::new(0) })
    }

    /// Bytes that may still be kept.
    pub fn left(&self) -> usize {
        self.bytes_max.saturating_sub(self.held())
    }

    /// Bytes that all graphs keep now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
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

    /// An error when all graphs together keep too much.
    pub(super) fn check(&self) -> Result<()> {
        let held = self.memory.held();
        if held <= self.memory.bytes_max {
            return Ok(());
        }
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        Err(Error::exhausted(format!(
            "out of memory for state: this graph keeps {:.1} MiB and all graphs {:.1} MiB, of {:.1} MiB",
            mib(self.bytes),
            mib(held),
            mib(self.memory.bytes_max)
        ))
        .with_hint("Drop a view, or start the server with a higher --state-memory-mib."))
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
