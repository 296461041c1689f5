//! Sorted ways into chunks: what the indexes of relations are made of.
//!
//! A chunk's rows never change, deletions are marks beside them. So the order of its rows by some columns is computed
//! once, when it is first asked for, and shared by all versions that have the chunk; a relation that nobody looks up
//! never pays for it. A chunk of a few rows is not sorted: scanning it costs less than sorting it anew after each small
//! epoch.
//!
//! Keys are Arrow's row encoding, whose bytes are ordered as the values are (NULL first), column behind column: the
//! encoding of leading columns is a prefix of the whole key's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};

use super::{Chunk, RelationVersion};
use crate::error::Result;

/// Rows of a chunk that is scanned rather than sorted.
const UNSORTED_ROWS: usize = 256;

/// A place between keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// An encoded key, or the encoding of its leading columns.
    pub key: Vec<u8>,
    /// Behind all keys that begin so, rather than before them.
    pub behind: bool,
}

/// The keys from one edge to another; without an edge there is no end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// Where it begins.
    pub start: Option<Edge>,
    /// Where it ends.
    pub end: Option<Edge>,
}

/// The rows of a chunk in the order of some of its columns.
#[derive(Debug)]
pub(crate) struct SortedRows {
    /// Row numbers.
    rows: Vec<u32>,
    /// The keys in the order of `rows`, one behind the other.
    keys: Vec<u8>,
    /// Where each key ends.
    ends: Vec<usize>,
}

/// Row numbers within chunks.
pub type FoundRows = Vec<(Arc<Chunk>, UInt32Array)>;

/// The orders of one chunk's rows, by columns.
#[derive(Debug, Default)]
pub(crate) struct Orders(Mutex<Vec<(Vec<usize>, Arc<SortedRows>)>>);

impl Edge {
    fn is_behind(&self, key: &[u8]) -> bool {
        key < self.key.as_slice() || (self.behind && key.starts_with(&self.key))
    }
}

impl SortedRows {
    fn of(batch: &RecordBatch, columns: &[usize]) -> Result<Self> {
        let encoded = encoder(&batch.schema(), columns)?.convert_columns(batch.project(columns)?.columns())?;
        let mut rows: Vec<u32> = (0..batch.num_rows() as u32).collect();
        rows.sort_unstable_by(|left, right| {
            let (left_key, right_key) = (encoded.row(*left as usize), encoded.row(*right as usize));
            left_key.cmp(&right_key).then(left.cmp(right))
        });
        let mut keys = Vec::with_capacity(encoded.size());
        let mut ends = Vec::with_capacity(rows.len());
        for row in &rows {
            keys.extend_from_slice(encoded.row(*row as usize).as_ref());
            ends.push(keys.len());
        }
        Ok(Self { rows, keys, ends })
    }

    fn key(&self, place: usize) -> &[u8] {
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.keys[start..self.ends[place]]
    }

    /// The first place that is not before an edge.
    fn place_of(&self, edge: &Edge) -> usize {
        let (mut low, mut high) = (0, self.rows.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if edge.is_behind(self.key(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn places(&self, range: &KeyRange) -> std::ops::Range<usize> {
        // Most chunks have no key in the range, and most of these lie beside it: their ends tell.
        let (start, end) = (range.start.as_ref(), range.end.as_ref());
        let before = start.is_some_and(|edge| edge.is_behind(self.key(self.rows.len() - 1)));
        if before || end.is_some_and(|edge| !edge.is_behind(self.key(0))) {
            return 0..0;
        }
        let start = range.start.as_ref().map_or(0, |edge| self.place_of(edge));
        let end = range.end.as_ref().map_or(self.rows.len(), |edge| self.place_of(edge));
        start..end.max(start)
    }

    fn memory_bytes(&self) -> usize {
        self.keys.capacity() + self.rows.capacity() * size_of::<u32>() + self.ends.capacity() * size_of::<usize>()
    }
}

impl Orders {
    fn get(&self, columns: &[usize]) -> Option<Arc<SortedRows>> {
        let orders = self.0.lock().expect("no panic while the orders are locked");
        orders.iter().find(|(by, _)| by == columns).map(|(_, sorted)| Arc::clone(sorted))
    }

    /// Computed outside of the lock: of two who do it at once one does it in vain.
    fn get_or_sort(&self, batch: &RecordBatch, columns: &[usize]) -> Result<Arc<SortedRows>> {
        if let Some(sorted) = self.get(columns) {
            return Ok(sorted);
        }
        let sorted = Arc::new(SortedRows::of(batch, columns)?);
        let mut orders = self.0.lock().expect("no panic while the orders are locked");
        match orders.iter().find(|(by, _)| by == columns) {
            Some((_, other)) => Ok(Arc::clone(other)),
            None => {
                orders.push((columns.to_vec(), Arc::clone(&sorted)));
                Ok(sorted)
            }
        }
    }

    /// Adds the bytes of each order to those of its columns.
    pub(crate) fn add_bytes(&self, sums: &mut BTreeMap<Vec<usize>, usize>) {
        let orders = self.0.lock().expect("no panic while the orders are locked");
        for (columns, sorted) in orders.iter() {
            *sums.entry(columns.clone()).or_default() += sorted.memory_bytes();
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let orders = self.0.lock().expect("no panic while the orders are locked");
        orders.iter().map(|(_, sorted)| sorted.memory_bytes()).sum()
    }
}

fn encoder(schema: &SchemaRef, columns: &[usize]) -> Result<RowConverter> {
    let fields = columns.iter().map(|column| SortField::new(schema.field(*column).data_type().clone())).collect();
    Ok(RowConverter::new(fields)?)
}

/// Whether rows can be ordered by these columns.
pub fn can_sort(schema: &SchemaRef, columns: &[usize]) -> bool {
    let fields: Vec<SortField> =
        columns.iter().map(|column| SortField::new(schema.field(*column).data_type().clone())).collect();
    RowConverter::supports_fields(&fields)
}

/// The encoded keys of values of leading columns of an index: one array per column, a key per row.
pub fn encoded_keys(schema: &SchemaRef, columns: &[usize], values: &[ArrayRef]) -> Result<Vec<Vec<u8>>> {
    let encoded = encoder(schema, columns)?.convert_columns(values)?;
    Ok(encoded.iter().map(|row| row.as_ref().to_vec()).collect())
}

impl RelationVersion {
    /// Chunks that have yet to be sorted by these columns before a look-up.
    pub fn unsorted_chunks(&self, columns: &[usize]) -> usize {
        let unsorted =
            |chunk: &&Arc<Chunk>| chunk.batch.num_rows() > UNSORTED_ROWS && chunk.orders.get(columns).is_none();
        self.chunks.iter().filter(unsorted).count()
    }

    /// Sorts what is not sorted by these columns.
    pub fn sort_by(&self, columns: &[usize]) -> Result<()> {
        for chunk in &self.chunks {
            if chunk.batch.num_rows() > UNSORTED_ROWS {
                chunk.orders.get_or_sort(&chunk.batch, columns)?;
            }
        }
        Ok(())
    }

    /// The rows whose keys are in any of the ranges, and maybe others: those of small chunks are not looked at. Every
    /// row comes once. `None` when there are more than `rows_max`, so that reading everything costs less.
    pub fn look_up(&self, columns: &[usize], ranges: &[KeyRange], rows_max: usize) -> Result<Option<FoundRows>> {
        let mut found = Vec::new();
        let mut count = 0;
        for chunk in &self.chunks {
            let is_live = |row: &u32| chunk.live.as_ref().is_none_or(|live| live.value(*row as usize));
            let length = chunk.batch.num_rows();
            let rows: Vec<u32> = if length <= UNSORTED_ROWS {
                (0..length as u32).filter(is_live).collect()
            } else {
                let sorted = chunk.orders.get_or_sort(&chunk.batch, columns)?;
                let places: Vec<_> = ranges.iter().map(|range| sorted.places(range)).collect();
                if count + places.iter().map(ExactSizeIterator::len).sum::<usize>() > rows_max {
                    return Ok(None);
                }
                let mut rows: Vec<u32> =
                    places.into_iter().flat_map(|places| sorted.rows[places].iter().copied()).filter(is_live).collect();
                // Ranges may overlap.
                rows.sort_unstable();
                rows.dedup();
                rows
            };
            if !rows.is_empty() {
                count += rows.len();
                found.push((Arc::clone(chunk), UInt32Array::from(rows)));
            }
        }
        Ok(Some(found))
    }
}

/// The rows of one chunk that are next in the order.
struct Ahead {
    sorted: Arc<SortedRows>,
    /// The places that are left.
    places: std::ops::Range<usize>,
    chunk: usize,
}

impl Ahead {
    fn next(&self, descending: bool) -> Option<usize> {
        let place = if descending { self.places.end.checked_sub(1)? } else { self.places.start };
        self.places.contains(&place).then_some(place)
    }

    fn pass(&mut self, descending: bool) {
        match descending {
            true => self.places.end -= 1,
            false => self.places.start += 1,
        }
    }
}

impl RelationVersion {
    /// The first rows of a range in the order of an index, or in the opposite one: `count` of them, and those that
    /// equal the last in the first `tied` columns. Whether these are all rows of the range.
    pub fn first(
        &self,
        columns: &[usize],
        range: &KeyRange,
        descending: bool,
        tied: usize,
        count: usize,
    ) -> Result<(FoundRows, bool)> {
        let mut ahead = Vec::new();
        for (number, chunk) in self.chunks.iter().enumerate().filter(|(_, chunk)| chunk.batch.num_rows() > 0) {
            let sorted = match chunk.batch.num_rows() > UNSORTED_ROWS {
                true => chunk.orders.get_or_sort(&chunk.batch, columns)?,
                // For this time only.
                false => Arc::new(SortedRows::of(&chunk.batch, columns)?),
            };
            let places = sorted.places(range);
            ahead.push(Ahead { sorted, places, chunk: number });
        }
        let mut found: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        let (mut taken, mut last) = (0, None::<Vec<u8>>);
        let complete = loop {
            let next = ahead.iter().enumerate().filter_map(|(index, ahead)| Some((index, ahead.next(descending)?)));
            let key = |(index, place): &(usize, usize)| ahead[*index].sorted.key(*place);
            let next = match descending {
                true => next.max_by(|left, right| key(left).cmp(key(right))),
                false => next.min_by(|left, right| key(left).cmp(key(right))),
            };
            let Some((index, place)) = next else { break true };
            let (chunk, row) = (ahead[index].chunk, ahead[index].sorted.rows[place]);
            if last.as_ref().is_some_and(|last| !ahead[index].sorted.key(place).starts_with(last)) {
                break false;
            }
            ahead[index].pass(descending);
            if self.chunks[chunk].live.as_ref().is_some_and(|live| !live.value(row as usize)) {
                continue;
            }
            found.entry(chunk).or_default().push(row);
            taken += 1;
            if taken == count {
                let batch = self.chunks[chunk].batch.slice(row as usize, 1).project(&columns[..tied])?;
                last = encoded_keys(&batch.schema(), &(0..tied).collect::<Vec<_>>(), batch.columns())?.pop();
            }
        };
        let found = found.into_iter().map(|(chunk, mut rows)| {
            rows.sort_unstable();
            (Arc::clone(&self.chunks[chunk]), UInt32Array::from(rows))
        });
        Ok((found.collect(), complete))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use arrow::array::{Array, AsArray, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::batch::ChangeBatch;
    use crate::relation::RelationStore;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("k", DataType::Int64, true),
            Field::new("t", DataType::Utf8, true),
        ]))
    }

    type Row = (i64, Option<i64>, Option<String>);

    fn batch(rows: &[Row], weight: i64) -> ChangeBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
            Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.1))),
            Arc::new(StringArray::from_iter(rows.iter().map(|row| row.2.clone()))),
        ];
        let weights = Int64Array::from(vec![weight; rows.len()]);
        ChangeBatch::weighted(RecordBatch::try_new(schema(), columns).unwrap(), weights)
    }

    fn key(columns: &[usize], k: i64, t: Option<&str>) -> Vec<u8> {
        let mut values: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![k]))];
        values.extend(t.map(|t| Arc::new(StringArray::from(vec![t])) as ArrayRef));
        encoded_keys(&schema(), &columns[..values.len()], &values).unwrap().remove(0)
    }

    /// The ids that a look-up gives, filtered as a query would; every id comes once.
    fn looked_up(version: &RelationVersion, range: KeyRange, wanted: impl Fn(&Row) -> bool) -> BTreeSet<i64> {
        let mut ids = BTreeSet::new();
        for (chunk, rows) in version.look_up(&[1, 2], &[range], usize::MAX).unwrap().unwrap() {
            let batch = arrow::compute::take_record_batch(&chunk.batch, &rows).unwrap();
            for row in 0..batch.num_rows() {
                let k = batch.column(1).as_primitive::<Int64Type>();
                let t = batch.column(2).as_string::<i32>();
                let row = (
                    batch.column(0).as_primitive::<Int64Type>().value(row),
                    k.is_valid(row).then(|| k.value(row)),
                    t.is_valid(row).then(|| t.value(row).to_string()),
                );
                if wanted(&row) {
                    assert!(ids.insert(row.0), "a row came twice");
                }
            }
        }
        ids
    }

    #[test]
    fn look_ups_over_random_histories_equal_scans() {
        for seed in 0..20 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut store = RelationStore::new(schema(), vec![0]).unwrap();
            let mut model: Vec<Row> = Vec::new();
            let mut next = 0;
            for _ in 0..12 {
                let gone: Vec<Row> = model.extract_if(.., |_| random.random_ratio(1, 8)).collect();
                let new: Vec<Row> = (0..random.random_range(0..1_500))
                    .map(|_| {
                        next += 1;
                        let k = random.random_ratio(9, 10).then(|| random.random_range(-20..20));
                        (next, k, random.random_ratio(9, 10).then(|| format!("t{}", random.random_range(0..4))))
                    })
                    .collect();
                model.extend(new.iter().cloned());
                store.apply(&[batch(&gone, -1), batch(&new, 1)]).unwrap();
                let version = store.version();
                let columns = [1, 2];
                let (k, t) = (random.random_range(-22..22), format!("t{}", random.random_range(0..5)));
                let edge = |key: Vec<u8>, behind| Some(Edge { key, behind });
                let expected = |wanted: &dyn Fn(&Row) -> bool| -> BTreeSet<i64> {
                    model.iter().filter(|row| wanted(row)).map(|row| row.0).collect()
                };
                let whole = key(&columns, k, None);
                let both = key(&columns, k, Some(&t));
                let is_k = |row: &Row| row.1 == Some(k);
                let range = KeyRange { start: edge(whole.clone(), false), end: edge(whole.clone(), true) };
                assert_eq!(looked_up(&version, range, is_k), expected(&is_k), "= seed {seed}");
                let is_both = |row: &Row| row.1 == Some(k) && row.2.as_deref() == Some(t.as_str());
                let range = KeyRange { start: edge(both.clone(), false), end: edge(both.clone(), true) };
                assert_eq!(looked_up(&version, range, is_both), expected(&is_both), "both, seed {seed}");
                let above = |row: &Row| row.1.is_some_and(|found| found > k);
                let range = KeyRange { start: edge(whole.clone(), true), end: None };
                assert_eq!(looked_up(&version, range, above), expected(&above), "> seed {seed}");
                let at_most = |row: &Row| row.1.is_some_and(|found| found <= k);
                let range = KeyRange { start: None, end: edge(whole.clone(), true) };
                assert_eq!(looked_up(&version, range, at_most), expected(&at_most), "<= seed {seed}");
                let second = |row: &Row| row.1 == Some(k) && row.2.as_deref().is_some_and(|found| found >= t.as_str());
                let range = KeyRange { start: edge(both, false), end: edge(whole, true) };
                assert_eq!(looked_up(&version, range, second), expected(&second), "= and >=, seed {seed}");
            }
        }
    }

    #[test]
    fn the_first_rows_are_those_of_a_sorted_scan() {
        for seed in 0..20 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut store = RelationStore::new(schema(), vec![0]).unwrap();
            let mut model: Vec<Row> = Vec::new();
            for step in 0..10 {
                let gone: Vec<Row> = model.extract_if(.., |_| random.random_ratio(1, 8)).collect();
                let ids = model.len() as i64 * 100 + step * 1_000_000;
                let new: Vec<Row> = (0..random.random_range(1..900))
                    .map(|row| (ids + row, random.random_ratio(9, 10).then(|| random.random_range(-9..9)), None))
                    .collect();
                model.extend(new.iter().cloned());
                store.apply(&[batch(&gone, -1), batch(&new, 1)]).unwrap();
                let version = store.version();
                let (from, count) = (random.random_range(-10..10), random.random_range(1..400));
                let (descending, tied) = (random.random_ratio(1, 2), random.random_range(1..3));
                let start = Some(Edge { key: key(&[1], from, None), behind: true });
                let range = KeyRange { start, end: None };
                let (found, complete) = version.first(&[1, 0], &range, descending, tied, count).unwrap();
                let mut ids = Vec::new();
                for (chunk, rows) in found {
                    let batch = arrow::compute::take_record_batch(&chunk.batch, &rows).unwrap();
                    ids.extend(batch.column(0).as_primitive::<Int64Type>().values().iter().copied());
                }
                ids.sort_unstable();
                let mut wanted: Vec<(Option<i64>, i64)> =
                    model.iter().filter(|row| row.1.is_some_and(|k| k > from)).map(|row| (row.1, row.0)).collect();
                wanted.sort_unstable();
                if descending {
                    wanted.reverse();
                }
                let last = wanted.get(count - 1).copied();
                let within = |place: usize, row: &(Option<i64>, i64)| {
                    place < count || (tied == 1 && last.is_some_and(|last| last.0 == row.0))
                };
                let mut expected: Vec<i64> = (wanted.iter().enumerate())
                    .filter(|(place, row)| within(*place, row))
                    .map(|(_, row)| row.1)
                    .collect();
                expected.sort_unstable();
                assert_eq!(complete, expected.len() == wanted.len(), "seed {seed}");
                assert_eq!(ids, expected, "seed {seed}");
            }
        }
    }

    #[test]
    fn too_many_rows_are_not_looked_up() {
        let mut store = RelationStore::new(schema(), vec![0]).unwrap();
        let rows: Vec<Row> = (0..1_000).map(|id| (id, Some(id % 2), None)).collect();
        store.apply(&[batch(&rows, 1)]).unwrap();
        let before = store.memory_bytes();
        let whole = key(&[1], 1, None);
        let range = KeyRange {
            start: Some(Edge { key: whole.clone(), behind: false }),
            end: Some(Edge { key: whole, behind: true }),
        };
        let version = store.version();
        assert_eq!(version.unsorted_chunks(&[1]), 1);
        assert!(version.look_up(&[1], std::slice::from_ref(&range), 499).unwrap().is_none());
        assert!(version.look_up(&[1], &[range], 500).unwrap().is_some());
        assert_eq!(version.unsorted_chunks(&[1]), 0);
        assert!(store.memory_bytes() > before, "the order is accounted");
    }
}
