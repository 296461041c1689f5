//! Rows that did not get through, kept so that they can be queried: `$rejected` and `$late` of inputs as a
//! budgeted log, `$rejected` of views and `$refused` of sinks as a relation that follows its view.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::pump::row_text;
use crate::batch::ChangeBatch;
use crate::error::Result;
use crate::limits::{CHUNK_ROWS, KEPT_BAD_ROWS_BYTES};
use crate::operator::Rejected;
use crate::relation::{Chunk, RelationVersion, next_chunk_id};
use crate::source::{RejectedRecord, SplitId};
use crate::time::Stamp;

/// Columns of `$rejected` beside a source or table: `topic, partition, offset, reason, raw, rejected_at`.
pub fn rejected_record_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("topic", DataType::Utf8, true),
        Field::new("partition", DataType::Utf8, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("reason", DataType::Utf8, false),
        Field::new("raw", DataType::Binary, true),
        Field::new("rejected_at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
    ]))
}

/// Columns of `$rejected` beside a view and `$refused` beside a sink: `operator, reason, row`, the row as text.
pub fn rejected_row_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("operator", DataType::Utf8, false),
        Field::new("reason", DataType::Utf8, false),
        Field::new("row", DataType::Utf8, false),
    ]))
}

/// Rejected records as rows of [`rejected_record_schema`].
pub(crate) fn rejected_records(
    label: Option<&str>,
    split: &SplitId,
    records: &[RejectedRecord],
    stamp: Stamp,
) -> Result<RecordBatch> {
    let count = records.len();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![label; count])),
        Arc::new(StringArray::from(vec![split.0.as_str(); count])),
        Arc::new(Int64Array::from_iter_values(records.iter().map(|record| record.position.0 as i64))),
        Arc::new(StringArray::from_iter_values(records.iter().map(|record| &record.reason))),
        Arc::new(BinaryArray::from_iter_values(records.iter().map(|record| &record.raw))),
        Arc::new(TimestampMicrosecondArray::from(vec![stamp.0; count]).with_timezone("UTC")),
    ];
    Ok(RecordBatch::try_new(rejected_record_schema(), columns)?)
}

/// Refused rows as changes of [`rejected_row_schema`]: a retracted row takes its entry back.
pub(crate) fn refused_rows(operator: &str, rejected: &Rejected) -> Result<ChangeBatch> {
    let count = rejected.reasons.len();
    let rows = (0..count).map(|row| row_text(&rejected.batch.rows, row));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![operator; count])),
        Arc::new(StringArray::from_iter_values(&rejected.reasons)),
        Arc::new(StringArray::from_iter_values(rows)),
    ];
    let batch = RecordBatch::try_new(rejected_row_schema(), columns)?;
    Ok(ChangeBatch { rows: batch, weights: rejected.batch.weights.clone() })
}

/// A log of rows within [`KEPT_BAD_ROWS_BYTES`]; the oldest leave first and are counted.
#[derive(Debug)]
pub(crate) struct KeptRows {
    schema: SchemaRef,
    chunks: VecDeque<Arc<Chunk>>,
    bytes: usize,
    /// Rows that had to leave, for ever.
    pub(crate) left: u64,
    /// What came since the last checkpoint.
    fresh: Vec<RecordBatch>,
    /// As it is shown: the same one until rows come.
    shown: OnceLock<Arc<RelationVersion>>,
}

impl KeptRows {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self { schema, chunks: VecDeque::new(), bytes: 0, left: 0, fresh: Vec::new(), shown: OnceLock::new() }
    }

    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.fresh.push(batch.clone());
        self.restore(batch)
    }

    /// Takes back a batch of a checkpoint. Small batches are put together, so that a version has few chunks: while that
    /// at least doubles the one before, so that each row is copied a logarithmic number of times, and what is superseded
    /// for those who follow stays small.
    pub(crate) fn restore(&mut self, mut batch: RecordBatch) -> Result<()> {
        self.shown = OnceLock::new();
        while let Some(last) = self.chunks.back()
            && last.batch.num_rows() <= 2 * batch.num_rows()
            && last.batch.num_rows() + batch.num_rows() <= CHUNK_ROWS
        {
            self.bytes -= last.batch.get_array_memory_size();
            batch = compute::concat_batches(&self.schema, [&last.batch, &batch])?;
            self.chunks.pop_back();
        }
        self.bytes += batch.get_array_memory_size();
        self.chunks.push_back(Arc::new(Chunk { id: next_chunk_id(), batch, live: None, orders: Arc::default() }));
        while self.bytes > KEPT_BAD_ROWS_BYTES && self.chunks.len() > 1 {
            let oldest = self.chunks.pop_front().expect("there are several");
            self.bytes -= oldest.batch.get_array_memory_size();
            self.left += oldest.batch.num_rows() as u64;
        }
        Ok(())
    }

    /// What came since the last call.
    pub(crate) fn take_fresh(&mut self) -> Vec<RecordBatch> {
        std::mem::take(&mut self.fresh)
    }

    /// Everything that is kept.
    pub(crate) fn all(&self) -> Vec<RecordBatch> {
        self.chunks.iter().map(|chunk| chunk.batch.clone()).collect()
    }

    /// What is shown: a version of its own for each change, and no other.
    pub(crate) fn version(&self) -> Arc<RelationVersion> {
        let shown = self.shown.get_or_init(|| {
            Arc::new(RelationVersion {
                schema: Arc::clone(&self.schema),
                chunks: self.chunks.iter().cloned().collect(),
                rows: self.chunks.iter().map(|chunk| chunk.batch.num_rows()).sum(),
            })
        });
        Arc::clone(shown)
    }
}
