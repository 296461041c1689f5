//! The writer's side of a relation: chunks, deletion marks and an index from a row's hash to its place.
//!
//! The index is over the key columns, or over the whole row where there is no key. It is built on the first
//! retraction or look-up: a relation that only grows never pays for it. A hit is verified against the stored
//! values, many rows at a time.

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{RowConverter, Rows};
use hashbrown::{HashMap, HashTable};
use xxhash_rust::xxh3::xxh3_64;

use super::consolidate::{consolidate_encoded, join, row_converter};
use super::{Chunk, RelationVersion, next_chunk_id};
use crate::batch::ChangeBatch;
use crate::error::{Error, Result};
use crate::limits::CHUNK_ROWS;

/// The one writer's side of a relation.
pub struct RelationStore {
    schema: SchemaRef,
    /// Columns of the index; all of them when the relation has no key.
    indexed: Vec<usize>,
    has_key: bool,
    row_converter: RowConverter,
    key_converter: RowConverter,
    slots: Vec<Slot>,
    index: Option<HashTable<Entry>>,
    rows: usize,
    version: Arc<RelationVersion>,
}

/// A chunk and what the writer knows of it.
struct Slot {
    chunk: Arc<Chunk>,
    /// Hash of every row's indexed columns; empty while there is no index.
    hashes: Vec<u64>,
    live_rows: usize,
}

/// Where a row with this hash is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    hash: u64,
    chunk: u64,
    row: u32,
}

impl RelationStore {
    /// An empty store. With `key` columns, rows are found by key; without, by the whole row. Keys are not
    /// enforced here: the commit writer does that.
    pub fn new(schema: SchemaRef, key: Vec<usize>) -> Result<Self> {
        let has_key = !key.is_empty();
        let indexed = if has_key { key } else { (0..schema.fields().len()).collect() };
        let key_schema: SchemaRef = Arc::new(schema.project(&indexed)?);
        Ok(Self {
            row_converter: row_converter(&schema)?,
            key_converter: row_converter(&key_schema)?,
            version: RelationVersion::empty(Arc::clone(&schema)),
            schema,
            indexed,
            has_key,
            slots: Vec::new(),
            index: None,
            rows: 0,
        })
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The schema of the key columns (of the whole row without a key), in key order: what [`Self::find`] takes.
    pub fn key_schema(&self) -> Result<Schema> {
        Ok(self.schema.project(&self.indexed)?)
    }

    /// The current version.
    pub fn version(&self) -> Arc<RelationVersion> {
        Arc::clone(&self.version)
    }

    /// Bytes held: the rows, and what finds them.
    pub fn memory_bytes(&self) -> usize {
        let hashes: usize = self.slots.iter().map(|slot| slot.hashes.capacity() * size_of::<u64>()).sum();
        self.version.memory_bytes() + hashes + self.index.as_ref().map_or(0, HashTable::allocation_size)
    }

    /// Applies changes as one step and gives back their net effect. A row taken back that is not there is an
    /// internal error (invariant 6) and leaves the store as it was.
    pub fn apply(&mut self, changes: &[ChangeBatch]) -> Result<Vec<ChangeBatch>> {
        let changes: Vec<ChangeBatch> = changes.iter().filter(|change| !change.is_empty()).cloned().collect();
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        if changes.iter().all(|change| change.weights.is_none()) {
            let joined = join(&self.schema, &changes)?;
            self.append(joined.rows.clone())?;
            self.publish();
            return Ok(vec![joined]);
        }
        let net = consolidate_encoded(&self.schema, &self.row_converter, &changes)?;
        let (taken, given): (Vec<u32>, Vec<u32>) =
            (0..net.batch.len() as u32).partition(|row| net.batch.weight(*row as usize) < 0);
        if !taken.is_empty() {
            let places = self.places_of(&net.batch, &net.source, &net.encoded, &taken)?;
            self.delete(&places)?;
        }
        self.append(repeated(&net.batch, &given)?)?;
        self.publish();
        if net.batch.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![net.batch])
    }

    /// For every row of `keys` (the key columns, in key order; the whole row without a key) the row that the
    /// store holds under that key. With several equal ones it is any of them.
    pub fn find(&mut self, keys: &RecordBatch) -> Result<Vec<Option<RecordBatch>>> {
        self.ensure_index()?;
        let encoded = self.key_converter.convert_columns(keys.columns())?;
        // All candidates are gathered and compared at once; mostly there is one or none for a row.
        let (mut places, mut wanted) = (Vec::new(), Vec::new());
        for row in 0..keys.num_rows() {
            places.extend(self.candidates(xxh3_64(encoded.row(row).as_ref())));
            wanted.resize(places.len(), row);
        }
        let stored = self.rows_at(&places)?;
        let stored_keys = self.key_converter.convert_columns(stored.project(&self.indexed)?.columns())?;
        let mut found = vec![None; keys.num_rows()];
        for (place, row) in wanted.into_iter().enumerate() {
            if found[row].is_none() && stored_keys.row(place) == encoded.row(row) {
                found[row] = Some(stored.slice(place, 1));
            }
        }
        Ok(found)
    }

    /// The first row of a consolidated batch that it takes back and that is not here as often; `None` when
    /// [`Self::apply`] would find them all.
    pub fn lacking(&mut self, net: &ChangeBatch) -> Result<Option<usize>> {
        let taken: Vec<u32> = (0..net.len() as u32).filter(|row| net.weight(*row as usize) < 0).collect();
        if taken.is_empty() {
            return Ok(None);
        }
        self.ensure_index()?;
        let rows = compute::take_record_batch(&net.rows, &UInt32Array::from(taken.clone()))?;
        let encoded = self.row_converter.convert_columns(rows.columns())?;
        let (mut places, mut wanted) = (Vec::new(), Vec::new());
        for (number, hash) in self.hashes(&rows)?.into_iter().enumerate() {
            places.extend(self.candidates(hash));
            wanted.resize(places.len(), number);
        }
        let stored = self.row_converter.convert_columns(self.rows_at(&places)?.columns())?;
        let mut missing: Vec<i64> = taken.iter().map(|row| -net.weight(*row as usize)).collect();
        for (place, number) in wanted.into_iter().enumerate() {
            if stored.row(place) == encoded.row(number) {
                missing[number] -= 1;
            }
        }
        let lacking = missing.iter().position(|count| *count > 0);
        Ok(lacking.map(|number| taken[number] as usize))
    }

    /// The places of the rows to take back, each as often as its weight says.
    fn places_of(&mut self, batch: &ChangeBatch, source: &[u32], encoded: &Rows, taken: &[u32]) -> Result<Vec<Entry>> {
        self.ensure_index()?;
        let key_rows = compute::take_record_batch(&batch.rows, &UInt32Array::from(taken.to_vec()))?;
        let hashes = self.hashes(&key_rows)?;
        let mut places = Vec::with_capacity(taken.len());
        // The wanted row (by its place in `encoded`) of every place.
        let mut wanted = Vec::with_capacity(taken.len());
        for (row, hash) in taken.iter().zip(&hashes) {
            let count = usize::try_from(-batch.weight(*row as usize)).expect("only negative weights are taken back");
            let before = places.len();
            places.extend(self.candidates(*hash).into_iter().take(count));
            if places.len() - before < count {
                return Err(self.missing(batch, *row));
            }
            wanted.resize(places.len(), (source[*row as usize], *row, *hash));
        }
        let stored = self.row_converter.convert_columns(self.rows_at(&places)?.columns())?;
        let verified = (0..places.len()).all(|at| stored.row(at) == encoded.row(wanted[at].0 as usize));
        if verified { Ok(places) } else { self.places_one_by_one(batch, encoded, &wanted) }
    }

    /// The slow way, for hashes that collide and for keys under which several rows stand.
    fn places_one_by_one(&self, batch: &ChangeBatch, encoded: &Rows, wanted: &[(u32, u32, u64)]) -> Result<Vec<Entry>> {
        let mut used: HashMap<u64, Vec<Entry>> = HashMap::new();
        let mut places = Vec::with_capacity(wanted.len());
        for (at, row, hash) in wanted {
            let candidates = self.candidates(*hash);
            let stored = self.row_converter.convert_columns(self.rows_at(&candidates)?.columns())?;
            let used = used.entry(*hash).or_default();
            let free = candidates
                .iter()
                .enumerate()
                .find(|(place, entry)| stored.row(*place) == encoded.row(*at as usize) && !used.contains(entry));
            let (_, entry) = free.ok_or_else(|| self.missing(batch, *row))?;
            used.push(*entry);
            places.push(*entry);
        }
        Ok(places)
    }

    fn missing(&self, batch: &ChangeBatch, row: u32) -> Error {
        let columns: Vec<String> = batch.rows.columns().iter().map(|column| describe(column, row as usize)).collect();
        Error::internal(format!("a row is taken back that is not there: ({})", columns.join(", ")))
    }

    fn candidates(&self, hash: u64) -> Vec<Entry> {
        let index = self.index.as_ref().expect("callers ensure the index");
        let mut entries: Vec<Entry> = index.iter_hash(hash).filter(|entry| entry.hash == hash).copied().collect();
        // The table's own order depends on its history; the oldest row first does not.
        entries.sort_unstable_by_key(|entry| (entry.chunk, entry.row));
        entries
    }

    /// The stored rows at the given places, in that order.
    fn rows_at(&self, places: &[Entry]) -> Result<RecordBatch> {
        let mut batches: Vec<&RecordBatch> = Vec::new();
        let mut numbers: HashMap<u64, usize> = HashMap::new();
        let mut indices = Vec::with_capacity(places.len());
        for place in places {
            let number = *numbers.entry(place.chunk).or_insert_with(|| {
                batches.push(&self.slots[self.slot_of(place.chunk)].chunk.batch);
                batches.len() - 1
            });
            indices.push((number, place.row as usize));
        }
        if batches.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        Ok(compute::interleave_record_batch(&batches, &indices)?)
    }

    /// Slots are ordered by chunk id: ids rise, and a rewritten chunk goes to the end.
    fn slot_of(&self, chunk: u64) -> usize {
        self.slots.binary_search_by_key(&chunk, |slot| slot.chunk.id).expect("the index names chunks that are there")
    }

    fn delete(&mut self, places: &[Entry]) -> Result<()> {
        let mut by_chunk: HashMap<u64, Vec<u32>> = HashMap::new();
        let index = self.index.as_mut().expect("places come from the index");
        for place in places {
            match index.find_entry(place.hash, |entry| entry == place) {
                Ok(entry) => drop(entry.remove()),
                Err(_) => return Err(Error::internal("the index lost a row of a relation")),
            }
            by_chunk.entry(place.chunk).or_default().push(place.row);
        }
        for (chunk, rows) in by_chunk {
            let at = self.slot_of(chunk);
            let slot = &mut self.slots[at];
            slot.chunk = Arc::new(without(&slot.chunk, &rows));
            slot.live_rows -= rows.len();
        }
        self.rows -= places.len();
        let sparse: Vec<u64> = self
            .slots
            .iter()
            .filter(|slot| slot.live_rows * 2 < slot.chunk.batch.num_rows())
            .map(|slot| slot.chunk.id)
            .collect();
        for chunk in sparse {
            let at = self.slot_of(chunk);
            self.rewrite(at, at + 1)?;
        }
        Ok(())
    }

    fn append(&mut self, rows: RecordBatch) -> Result<()> {
        let mut offset = 0;
        while offset < rows.num_rows() {
            let length = CHUNK_ROWS.min(rows.num_rows() - offset);
            self.append_chunk(rows.slice(offset, length))?;
            offset += length;
        }
        Ok(())
    }

    /// Appends a chunk and merges the tail while that at least doubles the chunk before it, so that many small
    /// epochs cost each row a logarithmic number of copies.
    fn append_chunk(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows += batch.num_rows();
        self.push_slot(batch)?;
        while let [.., before, last] = self.slots.as_slice()
            && before.live_rows <= 2 * last.live_rows
            && before.live_rows + last.live_rows <= CHUNK_ROWS
        {
            let end = self.slots.len();
            self.rewrite(end - 2, end)?;
        }
        Ok(())
    }

    fn push_slot(&mut self, batch: RecordBatch) -> Result<()> {
        let id = next_chunk_id();
        let hashes = if self.index.is_some() { self.hashes(&batch)? } else { Vec::new() };
        if let Some(index) = &mut self.index {
            for (row, hash) in hashes.iter().enumerate() {
                index.insert_unique(*hash, Entry { hash: *hash, chunk: id, row: row as u32 }, |entry| entry.hash);
            }
        }
        let live_rows = batch.num_rows();
        self.slots.push(Slot {
            chunk: Arc::new(Chunk { id, batch, live: None, orders: Arc::default() }),
            hashes,
            live_rows,
        });
        Ok(())
    }

    /// Takes slots out and puts their living rows at the end as one new chunk.
    fn rewrite(&mut self, from: usize, to: usize) -> Result<()> {
        let old: Vec<Slot> = self.slots.drain(from..to).collect();
        let mut parts = Vec::with_capacity(old.len());
        for slot in &old {
            if let Some(index) = &mut self.index {
                for (row, hash) in slot.hashes.iter().enumerate() {
                    if slot.chunk.live.as_ref().is_none_or(|live| live.value(row)) {
                        let place = Entry { hash: *hash, chunk: slot.chunk.id, row: row as u32 };
                        match index.find_entry(*hash, |entry| *entry == place) {
                            Ok(entry) => drop(entry.remove()),
                            Err(_) => return Err(Error::internal("the index lost a row of a relation")),
                        }
                    }
                }
            }
            parts.push(slot.chunk.live_rows()?);
        }
        let batch = compute::concat_batches(&self.schema, &parts)?;
        if batch.num_rows() > 0 { self.push_slot(batch) } else { Ok(()) }
    }

    fn ensure_index(&mut self) -> Result<()> {
        if self.index.is_some() {
            return Ok(());
        }
        let mut index = HashTable::with_capacity(self.rows);
        for at in 0..self.slots.len() {
            let hashes = self.hashes(&self.slots[at].chunk.batch)?;
            let slot = &mut self.slots[at];
            for (row, hash) in hashes.iter().enumerate() {
                if slot.chunk.live.as_ref().is_none_or(|live| live.value(row)) {
                    let entry = Entry { hash: *hash, chunk: slot.chunk.id, row: row as u32 };
                    index.insert_unique(*hash, entry, |entry: &Entry| entry.hash);
                }
            }
            slot.hashes = hashes;
        }
        self.index = Some(index);
        Ok(())
    }

    fn hashes(&self, rows: &RecordBatch) -> Result<Vec<u64>> {
        let encoded = if self.has_key {
            self.key_converter.convert_columns(rows.project(&self.indexed)?.columns())?
        } else {
            self.row_converter.convert_columns(rows.columns())?
        };
        Ok(encoded.iter().map(|row| xxh3_64(row.as_ref())).collect())
    }

    fn publish(&mut self) {
        self.version = Arc::new(RelationVersion {
            schema: Arc::clone(&self.schema),
            chunks: self.slots.iter().map(|slot| Arc::clone(&slot.chunk)).collect(),
            rows: self.rows,
        });
    }
}

impl std::fmt::Debug for RelationStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelationStore").field("rows", &self.rows).field("chunks", &self.slots.len()).finish()
    }
}

/// A chunk with some more rows deleted.
fn without(chunk: &Chunk, rows: &[u32]) -> Chunk {
    let count = chunk.batch.num_rows();
    let mut live: Vec<bool> = match &chunk.live {
        None => vec![true; count],
        Some(live) => live.values().iter().collect(),
    };
    for row in rows {
        assert!(live[*row as usize], "a row is deleted once");
        live[*row as usize] = false;
    }
    Chunk {
        id: chunk.id,
        batch: chunk.batch.clone(),
        live: Some(BooleanArray::new(BooleanBuffer::from(live), None)),
        orders: Arc::clone(&chunk.orders),
    }
}

/// The given rows, each as often as its weight says.
fn repeated(batch: &ChangeBatch, rows: &[u32]) -> Result<RecordBatch> {
    let indices = rows.iter().flat_map(|row| {
        let count = usize::try_from(batch.weight(*row as usize)).expect("only positive weights are added");
        std::iter::repeat_n(*row, count)
    });
    Ok(compute::take_record_batch(&batch.rows, &UInt32Array::from_iter_values(indices))?)
}

fn describe(column: &dyn Array, row: usize) -> String {
    arrow::util::display::array_value_to_string(column, row).unwrap_or_else(|error| format!("<{error}>"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Int64Type};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::super::consolidate;
    use super::*;

    type Row = (Option<i64>, Option<String>);

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, true), Field::new("v", DataType::Utf8, true)]))
    }

    fn batch(rows: &[(Row, i64)]) -> ChangeBatch {
        let keys: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|((k, _), _)| *k)));
        let values: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|((_, v), _)| v.clone())));
        let weights = Int64Array::from_iter_values(rows.iter().map(|(_, weight)| *weight));
        ChangeBatch::weighted(RecordBatch::try_new(schema(), vec![keys, values]).unwrap(), weights)
    }

    fn add(into: &mut BTreeMap<Row, i64>, rows: &RecordBatch, weight: impl Fn(usize) -> i64) {
        let keys = rows.column(0).as_primitive::<Int64Type>();
        let values = rows.column(1).as_string::<i32>();
        for row in 0..rows.num_rows() {
            let key = (!keys.is_null(row)).then(|| keys.value(row));
            let value = (!values.is_null(row)).then(|| values.value(row).to_string());
            *into.entry((key, value)).or_default() += weight(row);
        }
        into.retain(|_, weight| *weight != 0);
    }

    fn contents(version: &RelationVersion) -> BTreeMap<Row, i64> {
        let mut rows = BTreeMap::new();
        for batch in version.batches() {
            add(&mut rows, &batch.unwrap(), |_| 1);
        }
        rows
    }

    fn random_changes(random: &mut StdRng, model: &BTreeMap<Row, i64>) -> Vec<(Row, i64)> {
        let mut changes: Vec<(Row, i64)> = Vec::new();
        for (row, weight) in model {
            if random.random_bool(0.2) {
                changes.push((row.clone(), -random.random_range(1..=*weight)));
            }
        }
        for _ in 0..random.random_range(0..40) {
            let key = random.random_bool(0.9).then(|| random.random_range(0..20));
            let value = random.random_bool(0.9).then(|| format!("v{}", random.random_range(0..3)));
            changes.push(((key, value), random.random_range(1..3)));
        }
        changes
    }

    #[test]
    fn random_histories_equal_a_multiset() {
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let key = if random.random_bool(0.5) { vec![0] } else { Vec::new() };
            let mut store = RelationStore::new(schema(), key).unwrap();
            let mut model = BTreeMap::new();
            let mut older: Option<(Arc<RelationVersion>, BTreeMap<Row, i64>)> = None;
            for _ in 0..30 {
                let changes = random_changes(&mut random, &model);
                let cut = random.random_range(0..=changes.len());
                let parts = [batch(&changes[..cut]), batch(&changes[cut..])];
                let before = contents(&store.version());
                let apart = store.version().with_changes(&parts).unwrap().expect("every row is there");
                assert_eq!(store.lacking(&consolidate(&schema(), &parts).unwrap()).unwrap(), None, "seed {seed}");
                let net = store.apply(&parts).unwrap();
                assert_eq!(contents(&apart), contents(&store.version()), "put on a version, seed {seed}");
                assert_eq!(apart.rows, store.version().rows, "seed {seed}");
                let gone = ((Some(99), None), -1);
                assert!(store.version().with_changes(&[batch(std::slice::from_ref(&gone))]).unwrap().is_none());
                assert_eq!(store.lacking(&batch(&[gone])).unwrap(), Some(0));
                parts.iter().for_each(|part| add(&mut model, &part.rows, |row| part.weight(row)));
                let after = contents(&store.version());
                assert_eq!(after, model, "seed {seed}");
                assert_eq!(store.version().rows as i64, model.values().sum::<i64>(), "seed {seed}");
                let mut moved = before;
                net.iter().for_each(|change| add(&mut moved, &change.rows, |row| change.weight(row)));
                assert_eq!(moved, model, "the net change leads from before to after, seed {seed}");
                if let Some((version, mut rows)) = older.take() {
                    assert_eq!(contents(&version), rows, "versions never change, seed {seed}");
                    for change in store.version().changes_since(&version).unwrap() {
                        add(&mut rows, &change.rows, |row| change.weight(row));
                    }
                    assert_eq!(rows, model, "the difference of versions, seed {seed}");
                }
                older = Some((store.version(), model.clone()));
            }
        }
    }

    #[test]
    fn rows_that_move_to_another_chunk_are_no_changes() {
        let mut store = RelationStore::new(schema(), Vec::new()).unwrap();
        let mut versions = vec![store.version()];
        for key in 0..40 {
            store.apply(&[batch(&[((Some(key / 3), None), 1)])]).unwrap();
            versions.push(store.version());
        }
        for (count, older) in versions.iter().enumerate() {
            let changes = store.version().changes_since(older).unwrap();
            let weights: Vec<i64> =
                changes.iter().flat_map(|change| (0..change.len()).map(|row| change.weight(row))).collect();
            assert!(weights.iter().all(|weight| *weight > 0), "since {count} rows: {weights:?}");
            assert_eq!(weights.iter().sum::<i64>(), 40 - count as i64);
        }
    }

    #[test]
    fn taking_back_what_is_not_there_changes_nothing() {
        let mut store = RelationStore::new(schema(), Vec::new()).unwrap();
        let row = |key: i64| (Some(key), Some("x".to_string()));
        store.apply(&[batch(&[(row(1), 1)])]).unwrap();
        let error = store.apply(&[batch(&[(row(1), -1), (row(2), -1), (row(3), 1)])]).unwrap_err();
        assert!(error.message.contains("not there: (2, x)"), "{error}");
        assert_eq!(contents(&store.version()), BTreeMap::from([(row(1), 1)]));
        let error = store.apply(&[batch(&[(row(1), -2)])]).unwrap_err();
        assert!(error.message.contains("not there: (1, x)"), "{error}");
    }

    #[test]
    fn rows_are_found_by_key() {
        let mut store = RelationStore::new(schema(), vec![0]).unwrap();
        let rows: Vec<(Row, i64)> = (0..20_000).map(|key| ((Some(key), Some(format!("v{key}"))), 1)).collect();
        store.apply(&[ChangeBatch::append(batch(&rows).rows)]).unwrap();
        let keys: ArrayRef = Arc::new(Int64Array::from(vec![Some(19_999), Some(20_000), Some(0), None]));
        let keys = RecordBatch::try_new(Arc::new(store.key_schema().unwrap()), vec![keys]).unwrap();
        let found = store.find(&keys).unwrap();
        let values: Vec<Option<String>> = found
            .iter()
            .map(|row| row.as_ref().map(|row| row.column(1).as_string::<i32>().value(0).to_string()))
            .collect();
        assert_eq!(values, [Some("v19999".to_string()), None, Some("v0".to_string()), None]);
    }

    #[test]
    fn many_small_epochs_leave_few_chunks() {
        let mut store = RelationStore::new(schema(), Vec::new()).unwrap();
        for key in 0..2_000 {
            store.apply(&[batch(&[((Some(key), None), 1)])]).unwrap();
        }
        assert!(store.version().chunks.len() <= 16, "{} chunks", store.version().chunks.len());
    }
}
