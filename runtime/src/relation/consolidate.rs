//! Consolidation: equal rows become one row with the sum of their weights; zero sums vanish.

use arrow::array::{Int64Array, UInt32Array};
use arrow::compute;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, Rows, SortField};
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::batch::ChangeBatch;
use crate::error::{Error, Result};

/// Rows of one batch, each different from the others, with their encoded form and its hash.
pub(super) struct Consolidated {
    /// The rows with their net weights, none of them zero.
    pub(super) batch: ChangeBatch,
    /// Row `i` of `batch` is row `source[i]` of `encoded`.
    pub(super) source: Vec<u32>,
    /// The encoded rows of the input.
    pub(super) encoded: Rows,
}

/// Sums up equal rows over several batches of one schema. The order of the result is that in which the rows
/// first appear.
pub fn consolidate(schema: &SchemaRef, changes: &[ChangeBatch]) -> Result<ChangeBatch> {
    let converter = row_converter(schema)?;
    Ok(consolidate_encoded(schema, &converter, changes)?.batch)
}

pub(super) fn row_converter(schema: &SchemaRef) -> Result<RowConverter> {
    Ok(RowConverter::new(schema.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect())?)
}

pub(super) fn consolidate_encoded(
    schema: &SchemaRef,
    converter: &RowConverter,
    changes: &[ChangeBatch],
) -> Result<Consolidated> {
    let joined = join(schema, changes)?;
    let encoded = converter.convert_columns(joined.rows.columns())?;
    // (hash, first row, net weight) of every different row.
    let mut groups: Vec<(u64, u32, i64)> = Vec::with_capacity(joined.len());
    let mut table: HashTable<u32> = HashTable::with_capacity(joined.len());
    for row in 0..joined.len() {
        let bytes = encoded.row(row);
        let hash = xxh3_64(bytes.as_ref());
        let weight = joined.weight(row);
        let same = |group: &u32| {
            let (other_hash, first, _) = groups[*group as usize];
            other_hash == hash && encoded.row(first as usize) == bytes
        };
        if let Some(group) = table.find(hash, same) {
            let sum = &mut groups[*group as usize].2;
            *sum = sum.checked_add(weight).ok_or_else(|| Error::internal("the weight of a row exceeds 64 bits"))?;
        } else {
            let group = u32::try_from(groups.len()).map_err(|_| Error::internal("too many rows in one epoch"))?;
            groups.push((hash, row as u32, weight));
            table.insert_unique(hash, group, |group| groups[*group as usize].0);
        }
    }
    groups.retain(|(_, _, weight)| *weight != 0);
    let source: Vec<u32> = groups.iter().map(|(_, row, _)| *row).collect();
    let weights = Int64Array::from_iter_values(groups.iter().map(|(_, _, weight)| *weight));
    let rows = compute::take_record_batch(&joined.rows, &UInt32Array::from(source.clone()))?;
    Ok(Consolidated { batch: ChangeBatch::weighted(rows, weights), source, encoded })
}

/// All changes in one batch.
pub(super) fn join(schema: &SchemaRef, changes: &[ChangeBatch]) -> Result<ChangeBatch> {
    if let [only] = changes {
        return Ok(only.clone());
    }
    let rows = compute::concat_batches(schema, changes.iter().map(|change| &change.rows))?;
    if changes.iter().all(|change| change.weights.is_none()) {
        return Ok(ChangeBatch::append(rows));
    }
    let weights = changes.iter().flat_map(|change| (0..change.len()).map(|row| change.weight(row)));
    Ok(ChangeBatch::weighted(rows, Int64Array::from_iter_values(weights)))
}
