//! Versioned columnar relations: what tables and materialized views keep in memory.
//!
//! A [`RelationStore`] is changed by one writer; every [`RelationVersion`] is immutable and shared by `Arc`, so
//! that readers never block the dataflow. Rows live in chunks of about [`crate::limits::CHUNK_ROWS`]; a deletion
//! sets a mark in a bitmap that is copied only when a version still shares it. Rows are found by the values of columns
//! through orders of each chunk's rows ([`sorted`]).
//!
//! Invariant 6 is asserted here: a row that is taken back must be there. Attacked by
//! `store::tests::random_histories_equal_a_multiset` and `store::tests::taking_back_what_is_not_there_changes_nothing`.

mod consolidate;
mod overlay;
mod sorted;
mod store;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch};
use arrow::compute;
use arrow::datatypes::SchemaRef;

pub use consolidate::consolidate;
pub use sorted::{Edge, KeyRange, can_sort, encoded_keys};
pub use store::RelationStore;

use crate::batch::ChangeBatch;
use crate::error::Result;
use crate::limits::CHUNK_ROWS;

/// An immutable version of a relation.
#[derive(Clone, Debug)]
pub struct RelationVersion {
    /// The columns.
    pub schema: SchemaRef,
    /// The chunks; the order of rows means nothing.
    pub chunks: Vec<Arc<Chunk>>,
    /// Rows that are there, duplicates counted.
    pub rows: usize,
}

/// A run of rows of which some may be deleted.
#[derive(Debug)]
pub struct Chunk {
    /// Unique within the store; a chunk that is rewritten gets a new one.
    pub(crate) id: u64,
    /// All rows, the deleted ones included.
    pub batch: RecordBatch,
    /// True where the row is there; `None` when all are.
    pub live: Option<BooleanArray>,
    /// The orders of the rows that look-ups have asked for; those of a chunk in its later states are the same.
    pub(crate) orders: Arc<sorted::Orders>,
}

impl Chunk {
    /// The rows that are there.
    pub fn live_rows(&self) -> Result<RecordBatch> {
        match &self.live {
            None => Ok(self.batch.clone()),
            Some(live) => Ok(compute::filter_record_batch(&self.batch, live)?),
        }
    }
}

impl RelationVersion {
    /// A version without rows.
    pub fn empty(schema: SchemaRef) -> Arc<Self> {
        Arc::new(Self { schema, chunks: Vec::new(), rows: 0 })
    }

    /// The rows that are there, chunk by chunk.
    pub fn batches(&self) -> impl Iterator<Item = Result<RecordBatch>> + '_ {
        self.chunks.iter().map(|chunk| chunk.live_rows())
    }

    /// Bytes that the rows take, deleted ones included, and their orders. Buffers that chunks share count once.
    pub fn memory_bytes(&self) -> usize {
        let columns = self.chunks.iter().flat_map(|chunk| chunk.batch.columns());
        // Types whose slices can't be measured count with all that they keep alive.
        let bytes =
            |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(column.get_array_memory_size());
        let orders: usize = self.chunks.iter().map(|chunk| chunk.orders.memory_bytes()).sum();
        columns.map(bytes).sum::<usize>() + orders
    }

    /// The changes that lead from `older`, a version of the same store, to this one. Chunks that both share
    /// cost nothing, so that a view being filled can catch up without a queue of changes. A row that only moved
    /// to another chunk is no change: what only grew gives no row that is taken back.
    pub fn changes_since(&self, older: &Self) -> Result<Vec<ChangeBatch>> {
        let mut before: HashMap<u64, &Arc<Chunk>> = older.chunks.iter().map(|chunk| (chunk.id, chunk)).collect();
        let mut changes = Vec::new();
        for chunk in &self.chunks {
            match before.remove(&chunk.id) {
                None => push(&mut changes, chunk.live_rows()?, 1),
                Some(old) if Arc::ptr_eq(old, chunk) => {}
                Some(old) => push(&mut changes, deleted_between(old, chunk)?, -1),
            }
        }
        if before.is_empty() {
            return Ok(changes);
        }
        // What is left was rewritten or emptied. Taking back in the order of the older version keeps this
        // independent of hash order.
        for chunk in &older.chunks {
            if before.contains_key(&chunk.id) {
                push(&mut changes, chunk.live_rows()?, -1);
            }
        }
        let net = consolidate(&self.schema, &changes)?;
        let cuts = (0..net.len()).step_by(CHUNK_ROWS);
        Ok(cuts.map(|from| net.slice(from, CHUNK_ROWS.min(net.len() - from))).collect())
    }
}

fn push(changes: &mut Vec<ChangeBatch>, rows: RecordBatch, weight: i64) {
    if rows.num_rows() > 0 {
        let weights = Int64Array::from(vec![weight; rows.num_rows()]);
        changes.push(if weight == 1 { ChangeBatch::append(rows) } else { ChangeBatch::weighted(rows, weights) });
    }
}

/// Rows alive in `old` and dead in `new`, two states of one chunk.
fn deleted_between(old: &Chunk, new: &Chunk) -> Result<RecordBatch> {
    let Some(new_live) = &new.live else {
        return Ok(old.batch.slice(0, 0));
    };
    let dead = compute::not(new_live)?;
    let mask = match &old.live {
        None => dead,
        Some(old_live) => compute::and(old_live, &dead)?,
    };
    Ok(compute::filter_record_batch(&old.batch, &mask)?)
}
