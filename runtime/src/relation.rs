//! Versioned columnar relations: what tables and materialized views keep in memory.
//!
//! A store is changed by one writer; every version is immutable and shared by `Arc`, so that readers never
//! block the dataflow. Rows live in chunks of [`crate::limits::CHUNK_ROWS`]; a deletion sets a mark in a bitmap
//! that is copied only when a version still shares it.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;

use crate::batch::ChangeBatch;
use crate::error::Result;

/// An immutable version of a relation.
#[derive(Clone, Debug)]
pub struct RelationVersion {
    /// The columns.
    pub schema: SchemaRef,
    /// The chunks, in the order in which their rows came.
    pub chunks: Vec<Chunk>,
    /// Rows that are there, duplicates counted.
    pub rows: usize,
}

/// A run of rows of which some may be deleted.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// All rows, the deleted ones included.
    pub batch: RecordBatch,
    /// True where the row is there; `None` when all are.
    pub live: Option<Arc<BooleanArray>>,
}

impl RelationVersion {
    /// A version without rows.
    pub fn empty(schema: SchemaRef) -> Arc<Self> {
        Arc::new(Self { schema, chunks: Vec::new(), rows: 0 })
    }

    /// The rows that are there, chunk by chunk; empty chunks are left out.
    pub fn batches(&self) -> impl Iterator<Item = Result<RecordBatch>> + '_ {
        self.chunks.iter().map(|chunk| match &chunk.live {
            None => Ok(chunk.batch.clone()),
            Some(live) => Ok(arrow::compute::filter_record_batch(&chunk.batch, live)?),
        })
    }
}

/// The one writer's side of a relation.
#[derive(Debug)]
pub struct RelationStore {
    version: Arc<RelationVersion>,
}

impl RelationStore {
    /// An empty store. With `key` columns, rows are found by key; without, by the whole row.
    pub fn new(schema: SchemaRef, _key: Vec<usize>) -> Self {
        Self { version: RelationVersion::empty(schema) }
    }

    /// Applies changes as one step and gives back their net effect. A row taken back that is not there is an
    /// internal error (invariant 6) and leaves the store as it was.
    pub fn apply(&mut self, _changes: &[ChangeBatch]) -> Result<Vec<ChangeBatch>> {
        todo!("written next")
    }

    /// The current version.
    pub fn version(&self) -> Arc<RelationVersion> {
        Arc::clone(&self.version)
    }

    /// For every row of `keys` (the key columns, in key order) the row that the store holds under that key.
    pub fn find(&self, _keys: &RecordBatch) -> Result<Vec<Option<RecordBatch>>> {
        todo!("written next")
    }
}
