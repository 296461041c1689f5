//! The change batch: Arrow rows with an optional weight per row (a Z-set).
//!
//! Weights stand beside the columns, never among them. No weights means that every row is +1, so that
//! append-only streams pay nothing. A weight is never zero.

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute;

use crate::error::Result;

/// Rows and how often each is added (positive weight) or taken back (negative weight).
#[derive(Clone, Debug)]
pub struct ChangeBatch {
    /// The rows.
    pub rows: RecordBatch,
    /// One non-null, non-zero weight per row; `None` means that every row is +1.
    pub weights: Option<Int64Array>,
}

impl ChangeBatch {
    /// Rows that are all added once.
    pub fn append(rows: RecordBatch) -> Self {
        Self { rows, weights: None }
    }

    /// Rows with their weights; panics when the lengths differ, which is a bug of the caller.
    pub fn weighted(rows: RecordBatch, weights: Int64Array) -> Self {
        assert_eq!(rows.num_rows(), weights.len(), "one weight per row");
        assert_eq!(weights.null_count(), 0, "weights are not null");
        Self { rows, weights: Some(weights) }
    }

    /// Number of rows (not the sum of weights).
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The weight of one row.
    pub fn weight(&self, row: usize) -> i64 {
        self.weights.as_ref().map_or(1, |weights| weights.value(row))
    }

    /// The same weights over other columns of the same length (what a projection does).
    pub fn with_rows(&self, rows: RecordBatch) -> Self {
        assert_eq!(rows.num_rows(), self.len(), "a projection keeps the number of rows");
        Self { rows, weights: self.weights.clone() }
    }

    /// The rows at the given indices, in that order.
    pub fn take(&self, indices: &UInt32Array) -> Result<Self> {
        let rows = take_rows(&self.rows, indices)?;
        let weights = match &self.weights {
            Some(weights) => Some(as_weights(&compute::take(weights, indices, None)?)),
            None => None,
        };
        Ok(Self { rows, weights })
    }

    /// The rows for which `mask` is true; null counts as false.
    pub fn filter(&self, mask: &BooleanArray) -> Result<Self> {
        let rows = compute::filter_record_batch(&self.rows, mask)?;
        let weights = match &self.weights {
            Some(weights) => Some(as_weights(&compute::filter(weights, mask)?)),
            None => None,
        };
        Ok(Self { rows, weights })
    }

    /// A zero-copy slice.
    #[must_use]
    pub fn slice(&self, offset: usize, length: usize) -> Self {
        Self {
            rows: self.rows.slice(offset, length),
            weights: self.weights.as_ref().map(|weights| weights.slice(offset, length)),
        }
    }

    /// Bytes that the batch keeps alive, for accounting against budgets.
    pub fn memory_bytes(&self) -> usize {
        self.rows.get_array_memory_size() + self.weights.as_ref().map_or(0, |weights| weights.get_array_memory_size())
    }
}

/// The rows at the given indices; unlike arrow's kernel, also of rows without columns.
pub fn take_rows(rows: &RecordBatch, indices: &UInt32Array) -> Result<RecordBatch> {
    let columns = rows.columns().iter().map(|column| compute::take(column, indices, None));
    let options = RecordBatchOptions::new().with_row_count(Some(indices.len()));
    Ok(RecordBatch::try_new_with_options(rows.schema(), columns.collect::<Result<_, _>>()?, &options)?)
}

fn as_weights(array: &ArrayRef) -> Int64Array {
    array.as_any().downcast_ref::<Int64Array>().expect("take and filter keep the type").clone()
}
