//! The rows of one cursor and its place among them, with the motions of FETCH and MOVE.
//!
//! Invariants: the place is the number of a row, from 1, 0 before the first and one more than there are behind the
//! last; a row that was read is kept as long as the cursor may come back to it, within [`CURSOR_BYTES`]; a cursor
//! that only goes forward keeps the batch that it is in, and nothing else. Rows are never read twice: a query that
//! is run again need not give them in the same order.

use std::collections::VecDeque;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use datafusion::execution::memory_pool::MemoryReservation;
use millstream_planner::cursor::Motion;

use super::super::SqlError;
use super::super::sqlstate::Condition;
use super::source::Source;
use crate::engine::limits::{CURSOR_BYTES, CURSOR_BYTES_UNASKED};

/// Rows of a batch that goes back.
const BACKWARD_ROWS: u64 = 8_192;

/// What is kept of the rows that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    /// All of them; more than [`CURSOR_BYTES`] is an error.
    All,
    /// All of them up to [`CURSOR_BYTES_UNASKED`], then none: nobody said SCROLL or NO SCROLL.
    WhileFew,
    /// Those that are still to be given.
    Ahead,
}

/// The rows that a motion gives, once the cursor stands where they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    is_forward: bool,
    /// Rows still to be given, at most.
    left: u64,
}

/// The rows of a cursor.
pub(in crate::session) struct CursorRows {
    /// The cursor's, for messages.
    name: String,
    source: Source,
    keeping: Keeping,
    /// Batches with the number of their first row, in order and without gaps; the last one ends with the row that
    /// was read last.
    kept: VecDeque<(u64, RecordBatch)>,
    kept_bytes: usize,
    /// How many rows were read.
    read: u64,
    ended: bool,
    /// A FETCH or MOVE has failed: where it stands is not known to its client.
    failed: bool,
    /// The row on which it stands.
    at: u64,
    /// What is kept counts as memory of queries.
    memory: MemoryReservation,
}

impl CursorRows {
    /// A cursor in front of the first row.
    pub(super) fn new(name: &str, source: Source, scroll: Option<bool>, memory: MemoryReservation) -> Self {
        let keeping = match scroll {
            Some(true) => Keeping::All,
            Some(false) => Keeping::Ahead,
            None => Keeping::WhileFew,
        };
        Self {
            name: name.to_string(),
            source,
            keeping,
            kept: VecDeque::new(),
            kept_bytes: 0,
            read: 0,
            ended: false,
            failed: false,
            at: 0,
            memory,
        }
    }

    /// The same behind rows that were given already.
    pub(super) fn behind(self, given: u64) -> Self {
        Self { read: given, at: given, ..self }
    }

    /// Whether it can go back.
    pub(super) fn is_scrollable(&self) -> bool {
        self.keeping != Keeping::Ahead
    }

    /// Refuses one of which a FETCH or MOVE has failed.
    pub(super) fn check(&self) -> Result<(), SqlError> {
        if !self.failed {
            return Ok(());
        }
        let message = format!("portal \"{}\" cannot be run", self.name);
        Err(SqlError::new(Condition::ObjectNotInPrerequisiteState, message)
            .with_hint("A FETCH or MOVE of it has failed: CLOSE it, and DECLARE it again."))
    }

    /// A FETCH or MOVE has failed.
    pub(super) fn fail(&mut self) {
        self.failed = true;
    }

    /// Goes to where the rows of a motion begin.
    pub(super) async fn begin(&mut self, motion: Motion) -> Result<Run, SqlError> {
        match motion {
            Motion::Forward(Some(0)) | Motion::Backward(Some(0)) | Motion::Relative(0) => self.begin_again(),
            Motion::Forward(rows) => Ok(Run::forward(rows.unwrap_or(u64::MAX))),
            Motion::Backward(rows) => {
                self.check_scrollable()?;
                Ok(Run::backward(rows.unwrap_or(u64::MAX)))
            }
            Motion::Absolute(0) => {
                self.seek(0).await?;
                Ok(Run::forward(0))
            }
            Motion::Absolute(number @ 1..) => {
                self.seek(number.unsigned_abs() - 1).await?;
                Ok(Run::forward(1))
            }
            Motion::Absolute(number) => {
                self.check_scrollable()?;
                self.seek(u64::MAX).await?;
                self.seek(self.at.saturating_sub(number.unsigned_abs() - 1)).await?;
                Ok(Run::backward(1))
            }
            Motion::Relative(rows @ 1..) => {
                self.seek(self.at.saturating_add(rows.unsigned_abs() - 1)).await?;
                Ok(Run::forward(1))
            }
            Motion::Relative(rows) => {
                self.check_scrollable()?;
                self.seek(self.at.saturating_sub(rows.unsigned_abs() - 1)).await?;
                Ok(Run::backward(1))
            }
        }
    }

    /// The next rows of a motion; `None` when it is over. Moves as far as it gives rows.
    pub(super) async fn next(&mut self, run: &mut Run) -> Result<Option<RecordBatch>, SqlError> {
        if run.left == 0 {
            return Ok(None);
        }
        let batch = if run.is_forward { self.forward(run.left).await? } else { self.backward(run.left)? };
        run.left = batch.as_ref().map_or(0, |batch| run.left - batch.num_rows() as u64);
        Ok(batch)
    }

    /// Moves without giving rows; over how many it went, or whether it is on a row where it was to go over none.
    pub(super) async fn pass(&mut self, motion: Motion) -> Result<u64, SqlError> {
        if let Motion::Forward(Some(0)) | Motion::Backward(Some(0)) | Motion::Relative(0) = motion {
            return Ok(u64::from(self.is_on_row()));
        }
        let run = self.begin(motion).await?;
        let before = self.at;
        if run.is_forward {
            self.seek(before.saturating_add(run.left)).await?;
            // Standing behind the last row is no row passed.
            Ok(self.at.min(self.read).saturating_sub(before))
        } else {
            self.at = before.saturating_sub(run.left);
            Ok((before - self.at).saturating_sub(u64::from(self.at == 0 && before > 0)).min(run.left))
        }
    }

    /// Reads all that is still to come, so that nothing else is needed any more: the cursor outlives its
    /// transaction.
    pub(super) async fn hold(&mut self) -> Result<(), SqlError> {
        if self.keeping == Keeping::WhileFew {
            self.keeping = Keeping::All;
        }
        while self.read_more(true).await? {}
        // Rows that are part of a larger batch would keep all of it, and with it an old version of a table.
        for (_, batch) in &mut self.kept {
            *batch = copied(batch)?;
        }
        Ok(())
    }

    /// Batches that are kept.
    #[cfg(test)]
    pub(super) fn kept_batches(&self) -> usize {
        self.kept.len()
    }

    /// Bytes that are kept, with all that hangs on them.
    #[cfg(test)]
    pub(super) fn kept_memory(&self) -> usize {
        self.kept.iter().map(|(_, batch)| batch.get_array_memory_size()).sum()
    }

    /// The row it is on once more.
    fn begin_again(&mut self) -> Result<Run, SqlError> {
        if !self.is_on_row() {
            return Ok(Run::forward(0));
        }
        self.check_scrollable()?;
        self.at -= 1;
        Ok(Run::forward(1))
    }

    fn is_on_row(&self) -> bool {
        self.at > 0 && self.at <= self.read
    }

    fn check_scrollable(&self) -> Result<(), SqlError> {
        if self.is_scrollable() {
            return Ok(());
        }
        let error = SqlError::new(Condition::ObjectNotInPrerequisiteState, "cursor can only scan forward");
        Err(error.with_hint("Declare it with SCROLL option to enable backward scan."))
    }

    /// Goes to a row, or behind the last one where there are less.
    async fn seek(&mut self, row: u64) -> Result<(), SqlError> {
        if row < self.at {
            self.check_scrollable()?;
            self.at = row;
            return Ok(());
        }
        while self.read < row && self.read_more(false).await? {
            self.at = self.read.min(row);
            self.forget_passed();
        }
        self.at = row.min(self.read + u64::from(self.ended));
        self.forget_passed();
        Ok(())
    }

    async fn forward(&mut self, limit: u64) -> Result<Option<RecordBatch>, SqlError> {
        while self.at >= self.read {
            if !self.read_more(false).await? {
                self.at = self.read + 1;
                return Ok(None);
            }
        }
        let (first, batch) = self.kept_with(self.at + 1)?;
        let offset = usize_of(self.at + 1 - first);
        let count = usize_of(limit).min(batch.num_rows() - offset);
        let given = batch.slice(offset, count);
        self.at += count as u64;
        self.forget_passed();
        Ok(Some(given))
    }

    /// Rows in front of the one it is on, the nearest first.
    fn backward(&mut self, limit: u64) -> Result<Option<RecordBatch>, SqlError> {
        if self.at <= 1 {
            self.at = 0;
            return Ok(None);
        }
        let nearest = self.at - 1;
        let (first, batch) = self.kept_with(nearest)?;
        let count = limit.min(nearest + 1 - first).min(BACKWARD_ROWS);
        let last = nearest - first;
        let indices = UInt64Array::from_iter_values((0..count).map(|back| last - back));
        let given = arrow::compute::take_record_batch(batch, &indices)?;
        self.at -= count;
        Ok(Some(given))
    }

    /// The kept batch with a row that was read.
    fn kept_with(&self, row: u64) -> Result<(u64, &RecordBatch), SqlError> {
        let behind = self.kept.partition_point(|(first, _)| *first <= row);
        let found = behind.checked_sub(1).and_then(|index| self.kept.get(index));
        let found = found.filter(|(first, batch)| row - first < batch.num_rows() as u64);
        let lost = || SqlError::new(Condition::InternalError, format!("row {row} of a cursor is no longer kept"));
        found.map(|(first, batch)| (*first, batch)).ok_or_else(lost)
    }

    /// Reads a batch; whether there was one. `bounded`: what is still to be given counts, too.
    async fn read_more(&mut self, bounded: bool) -> Result<bool, SqlError> {
        if self.ended {
            return Ok(false);
        }
        let Some(batch) = self.source.next().await? else {
            self.ended = true;
            return Ok(false);
        };
        if batch.num_rows() > 0 {
            let first = self.read + 1;
            self.read += batch.num_rows() as u64;
            let bytes = bytes_of(&batch);
            self.kept.push_back((first, batch));
            let unasked = self.keeping == Keeping::WhileFew;
            if unasked && (self.kept_bytes + bytes > CURSOR_BYTES_UNASKED || self.account(bytes).is_err()) {
                self.keeping = Keeping::Ahead;
                self.kept_bytes = 0;
                self.memory.free();
            } else if !unasked && (bounded || self.is_scrollable()) {
                self.account(bytes)?;
            }
        }
        Ok(true)
    }

    /// Counts rows that are kept, and refuses them where they are too many.
    fn account(&mut self, bytes: usize) -> Result<(), SqlError> {
        let kept_bytes = self.kept_bytes + bytes;
        if kept_bytes > CURSOR_BYTES {
            let message = format!("cursor \"{}\" has to keep more than {} MiB of rows", self.name, CURSOR_BYTES >> 20);
            return Err(SqlError::new(Condition::ProgramLimitExceeded, message).with_hint(
                "Declare it NO SCROLL and without HOLD: then nothing is kept. Or select fewer rows or columns.",
            ));
        }
        self.memory.try_grow(bytes)?;
        self.kept_bytes = kept_bytes;
        Ok(())
    }

    /// Lets go of the batches that were given, where nobody comes back to them.
    fn forget_passed(&mut self) {
        if self.is_scrollable() {
            return;
        }
        while let Some((first, batch)) = self.kept.front()
            && first + batch.num_rows() as u64 <= self.at + 1
        {
            // Counted only where it was held.
            let bytes = bytes_of(batch).min(self.kept_bytes);
            self.kept_bytes -= bytes;
            self.memory.shrink(bytes);
            self.kept.pop_front();
        }
    }
}

impl Run {
    fn forward(rows: u64) -> Self {
        Self { is_forward: true, left: rows }
    }

    fn backward(rows: u64) -> Self {
        Self { is_forward: false, left: rows }
    }
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Bytes of the rows themselves, without what their buffers hold beside.
fn bytes_of(batch: &RecordBatch) -> usize {
    let bytes = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(column.get_array_memory_size());
    batch.columns().iter().map(bytes).sum()
}

/// The rows in buffers of their own, where those that they are in hold much more.
fn copied(batch: &RecordBatch) -> Result<RecordBatch, SqlError> {
    if batch.get_array_memory_size() / 2 <= bytes_of(batch) {
        return Ok(batch.clone());
    }
    let all = UInt64Array::from_iter_values(0..batch.num_rows() as u64);
    Ok(arrow::compute::take_record_batch(batch, &all)?)
}
