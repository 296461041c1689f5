//! What an operator is: a synchronous, deterministic state machine.
//!
//! It does no I/O, holds no lock, reads no clock, draws no random number, and its output does not depend on
//! hash order. The instance that runs it aligns barriers, merges watermarks and forwards both.
//!
//! Within an epoch an operator sees any number of `on_batch` calls on its ports, then, once the epoch's
//! barrier has arrived on every port, `on_watermark` (only if the merged watermark advanced), `on_epoch`,
//! and at a checkpoint `snapshot`. Watermarks travel on barriers, so they advance once per epoch.

use std::ops::Range;

use arrow::array::RecordBatch;

use crate::batch::ChangeBatch;
use crate::error::Result;
use crate::time::Watermark;

/// An input of an operator: 0 for unary operators, 0 and 1 for the left and right side of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u8);

/// The number of key groups: the granularity at which keyed state moves between subtasks.
pub const KEY_GROUPS: u16 = 128;

/// A contiguous range of key groups.
pub type KeyGroupRange = Range<u16>;

/// Where an operator's output goes: straight into the operators behind it, by direct calls.
pub trait Output {
    /// Hands rows on. Large outputs are handed on in batches of about [`crate::limits::BATCH_ROWS`].
    fn emit(&mut self, batch: ChangeBatch) -> Result<()>;

    /// Records rows that an expression failed on. They are kept in the view's `$rejected` relation and
    /// maintained there: a retracted row takes its entry back.
    fn reject(&mut self, rows: Rejected) -> Result<()>;
}

/// Rows that were refused by an expression.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// The rows as the operator got them, with their weights.
    pub batch: ChangeBatch,
    /// One reason per row, as Postgres words it (`division by zero`).
    pub reasons: Vec<String>,
}

/// How much an operator hands over at a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotKind {
    /// All of its state: a new base.
    Full,
    /// What changed since the last snapshot of either kind.
    Delta,
}

/// A named table of state at a checkpoint.
///
/// A `Full` part replaces the table, a `Delta` part is applied on top. The meaning of the columns is the
/// operator's own, with one rule: the first column is `key_group: UInt16`, so that the state can be dealt
/// out to another number of subtasks without knowing the operator.
#[derive(Clone, Debug)]
pub struct StatePart {
    /// Which of the operator's tables this is.
    pub table: String,
    /// Whether `rows` replaces the table or is applied on top of it.
    pub kind: SnapshotKind,
    /// The rows; the first column is `key_group: UInt16`.
    pub rows: RecordBatch,
}

/// A state machine over change batches. See the module's text for the order of calls.
pub trait Operator: Send {
    /// Updates the state with a batch and maybe emits.
    fn on_batch(&mut self, port: Port, batch: ChangeBatch, out: &mut dyn Output) -> Result<()>;

    /// The merged watermark advanced: emits what it completes and forgets what is no longer needed.
    fn on_watermark(&mut self, _watermark: Watermark, _out: &mut dyn Output) -> Result<()> {
        Ok(())
    }

    /// Emits the net changes of the epoch, before its barrier is forwarded.
    fn on_epoch(&mut self, _out: &mut dyn Output) -> Result<()> {
        Ok(())
    }

    /// Bytes of state that it keeps now. May walk over the state: it is asked now and then only.
    fn state_bytes(&self) -> usize {
        0
    }

    /// Hands over state for a checkpoint. Stateless operators have none.
    fn snapshot(&mut self, _kind: SnapshotKind) -> Result<Vec<StatePart>> {
        Ok(Vec::new())
    }

    /// Takes state back, once, before the first event: for every table its base, then its deltas in order,
    /// already cut to this subtask's key groups. An operator that never snapshots refuses any part.
    fn restore(&mut self, parts: Vec<StatePart>) -> Result<()> {
        match parts.first() {
            None => Ok(()),
            Some(part) => {
                Err(crate::Error::data(format!("a stateless operator was given state table \"{}\"", part.table)))
            }
        }
    }
}
