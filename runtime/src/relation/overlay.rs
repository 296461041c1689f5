//! A version with some changes put on it, for a reader that has changes of its own which nobody else sees yet.
//!
//! No index is built and no store is changed: the rows that are taken back are looked for in the chunks, the
//! newest first, and marked in copies of the marks. The chunks themselves stay shared.

use std::sync::Arc;

use arrow::array::{BooleanArray, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute;
use arrow::row::{RowConverter, Rows, SortField};
use hashbrown::HashMap;

use super::consolidate::consolidate;
use super::{Chunk, RelationVersion};
use crate::batch::ChangeBatch;
use crate::error::Result;
use crate::limits::CHUNK_ROWS;

/// The id of chunks that are in no store. Versions that hold them are only read, never compared.
const APART: u64 = u64::MAX;

impl RelationVersion {
    /// This version with the net effect of `changes`; `None` when a row is taken back that is not there.
    pub fn with_changes(&self, changes: &[ChangeBatch]) -> Result<Option<Arc<Self>>> {
        let mut version = self.clone();
        let mut given = Vec::new();
        if changes.iter().all(|change| change.weights.is_none()) {
            given.extend(changes.iter().map(|change| change.rows.clone()));
        } else {
            let net = consolidate(&self.schema, changes)?;
            let (taken, added): (Vec<u32>, Vec<u32>) =
                (0..net.len() as u32).partition(|row| net.weight(*row as usize) < 0);
            if !version.take(&net, &taken)? {
                return Ok(None);
            }
            let added = added.iter().flat_map(|row| {
                let count = usize::try_from(net.weight(*row as usize)).expect("only positive weights are added");
                std::iter::repeat_n(*row, count)
            });
            given.push(compute::take_record_batch(&net.rows, &UInt32Array::from_iter_values(added))?);
        }
        for rows in given {
            version.rows += rows.num_rows();
            for from in (0..rows.num_rows()).step_by(CHUNK_ROWS) {
                let batch = rows.slice(from, CHUNK_ROWS.min(rows.num_rows() - from));
                version.chunks.push(Arc::new(Chunk { id: APART, batch, live: None, orders: Arc::default() }));
            }
        }
        Ok(Some(Arc::new(version)))
    }

    /// Marks rows as deleted; false when one is not there as often as it is taken back.
    fn take(&mut self, net: &ChangeBatch, taken: &[u32]) -> Result<bool> {
        let fields = self.schema.fields().iter().map(|field| SortField::new(field.data_type().clone()));
        let converter = RowConverter::new(fields.collect())?;
        let wanted = compute::take_record_batch(&net.rows, &UInt32Array::from(taken.to_vec()))?;
        let wanted = converter.convert_columns(wanted.columns())?;
        let mut missing: HashMap<&[u8], i64> = HashMap::with_capacity(taken.len());
        for (place, row) in taken.iter().enumerate() {
            missing.insert(wanted.row(place).data(), -net.weight(*row as usize));
        }
        for chunk in self.chunks.iter_mut().rev() {
            if missing.is_empty() {
                break;
            }
            let rows = converter.convert_columns(chunk.batch.columns())?;
            if let Some((marked, gone)) = marked(chunk, &rows, &mut missing) {
                *chunk = Arc::new(marked);
                self.rows -= gone;
            }
        }
        Ok(missing.is_empty())
    }
}

/// The chunk without the living rows that are still missing, and how many those were; `None` when it has none.
fn marked(chunk: &Chunk, rows: &Rows, missing: &mut HashMap<&[u8], i64>) -> Option<(Chunk, usize)> {
    let mut gone = Vec::new();
    for row in 0..chunk.batch.num_rows() {
        if chunk.live.as_ref().is_some_and(|live| !live.value(row)) {
            continue;
        }
        let Some(count) = missing.get_mut(rows.row(row).data()) else { continue };
        *count -= 1;
        gone.push(row);
        if *count == 0 {
            missing.remove(rows.row(row).data());
        }
    }
    if gone.is_empty() {
        return None;
    }
    let mut live: Vec<bool> = match &chunk.live {
        None => vec![true; chunk.batch.num_rows()],
        Some(live) => live.values().iter().collect(),
    };
    gone.iter().for_each(|row| live[*row] = false);
    let live = Some(BooleanArray::new(BooleanBuffer::from(live), None));
    Some((Chunk { id: APART, batch: chunk.batch.clone(), live, orders: Arc::clone(&chunk.orders) }, gone.len()))
}
