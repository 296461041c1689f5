//! Event time, watermarks, epochs and stamps.
//!
//! All times are microseconds since 1970-01-01T00:00:00Z, the resolution of Postgres' timestamps. Nothing
//! here reads a clock: processing time enters the runtime as a [`Stamp`] that the job master gives out.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A promise: no accepted row that follows on this edge has an event time below it.
///
/// Never goes back on an edge, restarts included (invariant 7). A relation without a declared watermark
/// stays at [`Watermark::NONE`] for ever, unless it is bounded: the end of input is [`Watermark::END`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Watermark(i64);

impl Watermark {
    /// Nothing is promised yet.
    pub const NONE: Self = Self(i64::MIN);
    /// No row follows: the input has ended.
    pub const END: Self = Self(i64::MAX);

    /// The watermark at the given microseconds since 1970.
    pub const fn at_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970; `i64::MIN` and `i64::MAX` stand for [`Self::NONE`] and [`Self::END`].
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whether a row with this event time is still allowed to come.
    pub const fn admits(self, event_micros: i64) -> bool {
        event_micros >= self.0
    }

    /// Whether everything that starts at `start_micros` and covers `extent_micros` is complete: a window of
    /// one hour has an extent of one hour, a window's end an extent of 0, a plain event time an extent of 1.
    pub const fn closes(self, start_micros: i64, extent_micros: i64) -> bool {
        start_micros.saturating_add(extent_micros) <= self.0
    }
}

/// The number of an epoch: the term of the server that ran it, then a counter. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// The term of the owner that ran the epoch.
    pub term: u64,
    /// Counts up within a graph; goes on from the restored checkpoint.
    pub counter: u64,
}

impl Epoch {
    /// The epoch after this one, run by the owner of `term`.
    #[must_use]
    pub fn next(self, term: u64) -> Self {
        assert!(term >= self.term, "terms never fall");
        Self { term, counter: self.counter + 1 }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.counter)
    }
}

/// Processing time stamped on an epoch, in microseconds since 1970; never goes back within a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp(pub i64);

/// The number of an entry of the durable log. Entries are dense and start at 1; 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogPosition(pub u64);
