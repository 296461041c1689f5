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
mod difference;
mod overlay;
mod sorted;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute;
use arrow::datatypes::SchemaRef;

pub use consolidate::consolidate;
pub use difference::ChunkPlace;
pub use sorted::{Edge, FoundRows, KeyRange, can_sort, encoded_keys};
pub use store::RelationStore;

use crate::error::Result;

/// A number that no chunk had before. They are of the process, not of a store, so that versions of two stores never
/// seem to share a chunk: the difference over a restart of a graph is right, if not cheap.
pub(crate) fn next_chunk_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

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
    /// Unique within the process; a chunk that is rewritten gets a new one.
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

    /// Bytes of its rows and of their orders, without the marks.
    fn memory_bytes(&self) -> usize {
        self.row_bytes() + self.orders.memory_bytes()
    }

    fn row_bytes(&self) -> usize {
        // Types whose slices can't be measured count with all that they keep alive.
        let bytes =
            |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(column.get_array_memory_size());
        self.batch.columns().iter().map(bytes).sum()
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
        self.chunks.iter().map(|chunk| chunk.memory_bytes()).sum()
    }

    /// Of these the bytes of the rows.
    pub fn row_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.row_bytes()).sum()
    }

    /// And those of the orders, by the columns that they are of.
    pub fn order_bytes(&self) -> BTreeMap<Vec<usize>, usize> {
        let mut orders = BTreeMap::new();
        for chunk in &self.chunks {
            chunk.orders.add_bytes(&mut orders);
        }
        orders
    }
}
