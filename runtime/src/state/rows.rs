//! Whole rows, linked by the slot of their key: what a join remembers of a side.
//!
//! Rows stay in the batches in which they came; an entry says where, and links to the next row of its key, so
//! that storing a row costs a link and finding the matches of a batch ends in one `interleave`. Batches that
//! have become small or empty of live rows are merged or dropped.
//!
//! Where rows may be taken back, equal rows share an entry that counts them, found by a hash of the whole row
//! and compared value by value.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, make_comparator};
use arrow::compute::{self, SortOptions};
use arrow::datatypes::SchemaRef;
use hashbrown::{HashMap, HashTable, hash_map};

use crate::error::Result;
use crate::limits::BATCH_ROWS;
use crate::operator::SnapshotKind;
use crate::state::keys::KeyCodec;
use crate::state::table::NO_SLOT;

/// No such entry.
const NO_ENTRY: u32 = u32::MAX;

/// Small batches that may pile up before they are merged: bounds the inputs of an `interleave`.
const SMALL_BATCHES_MAX: usize = 32;

/// A list of dirty entries below this length is not worth a compaction.
const DIRTY_ENTRIES_MIN: usize = 1024;

/// Rows with their multiplicities, listed by key slot.
pub struct RowStore {
    schema: SchemaRef,
    batches: Vec<Option<Block>>,
    /// Places in `batches` that are empty.
    free_batches: Vec<u32>,
    small_batches: usize,
    entries: Vec<Entry>,
    free_entries: Vec<u32>,
    /// The first entry of every key slot.
    heads: Vec<u32>,
    /// Finds equal rows; `None` where rows are never taken back.
    by_content: Option<ByContent>,
    /// Entries whose multiplicity differs from what the snapshots say.
    dirty: Vec<u32>,
    /// Entries of multiplicity 0 that the snapshots hold, with their key group.
    gone: Vec<(u32, u16)>,
    /// Entries whose multiplicity is below zero: none at the end of an epoch.
    negative: usize,
}

struct ByContent {
    codec: KeyCodec,
    index: HashTable<u32>,
}

/// A batch and the entries of its rows.
struct Block {
    rows: RecordBatch,
    /// By row; [`NO_ENTRY`] for rows that are not remembered any more.
    entries: Vec<u32>,
    live: usize,
    small: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    batch: u32,
    row: u32,
    slot: u32,
    previous: u32,
    next: u32,
    dirty: bool,
    hash: u64,
    weight: i64,
    /// The weight in the snapshots taken so far.
    stored: i64,
    /// For the operator's use: how many rows of the other side match.
    matches: i64,
}

/// Where a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryId(u32);

/// Rows to be added.
#[derive(Clone, Copy)]
pub struct Added<'a> {
    /// The rows.
    pub rows: &'a RecordBatch,
    /// The key slot of every row.
    pub slots: &'a [u32],
    /// The weight of every row; `None` means 1.
    pub weights: Option<&'a [i64]>,
    /// How many rows of the other side match every row, where that is counted.
    pub matches: Option<&'a [i64]>,
}

/// Rows of a snapshot.
pub struct StoredRows {
    /// The key group of every row.
    pub key_groups: Vec<u16>,
    /// Its multiplicity, or how that has changed.
    pub weights: Vec<i64>,
    /// The rows.
    pub rows: RecordBatch,
}

impl RowStore {
    /// No rows yet. With `retractable`, equal rows are found again; an invalid error when they can't be
    /// compared.
    pub fn new(schema: SchemaRef, retractable: bool) -> Result<Self> {
        let types = schema.fields().iter().map(|field| field.data_type().clone()).collect();
        let by_content = match retractable {
            true => Some(ByContent { codec: KeyCodec::new(types)?, index: HashTable::new() }),
            false => None,
        };
        Ok(Self {
            schema,
            batches: Vec::new(),
            free_batches: Vec::new(),
            small_batches: 0,
            entries: Vec::new(),
            free_entries: Vec::new(),
            heads: Vec::new(),
            by_content,
            dirty: Vec::new(),
            gone: Vec::new(),
            negative: 0,
        })
    }

    /// The columns of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Makes key slots below this number usable.
    pub fn resize(&mut self, slot_count: usize) {
        self.heads.resize(slot_count, NO_ENTRY);
    }

    /// Whether more rows were taken back than were there.
    pub fn has_negative(&self) -> bool {
        self.negative > 0
    }

    /// Whether a key slot has no rows.
    pub fn is_slot_empty(&self, slot: u32) -> bool {
        self.heads[slot as usize] == NO_ENTRY
    }

    /// Calls `f` with every row of a key slot; none for [`NO_SLOT`].
    #[inline]
    pub fn for_each(&self, slot: u32, mut f: impl FnMut(EntryId)) {
        if slot == NO_SLOT {
            return;
        }
        let mut at = self.heads[slot as usize];
        while at != NO_ENTRY {
            f(EntryId(at));
            at = self.entries[at as usize].next;
        }
    }

    /// The multiplicity of a row.
    #[inline]
    pub fn weight(&self, entry: EntryId) -> i64 {
        self.entries[entry.0 as usize].weight
    }

    /// How many rows of the other side match it.
    pub fn matches(&self, entry: EntryId) -> i64 {
        self.entries[entry.0 as usize].matches
    }

    /// Notes how many rows of the other side match it.
    pub fn set_matches(&mut self, entry: EntryId, matches: i64) {
        self.entries[entry.0 as usize].matches = matches;
    }

    /// Adds rows under their key slots, with what is known of their matches. `key_group` gives the group of a
    /// slot. Gives back the slots that may have become empty.
    pub fn add(&mut self, added: Added<'_>, key_group: impl Fn(u32) -> u16) -> Result<Vec<u32>> {
        let Added { rows, slots, weights, matches } = added;
        let hashes = match &self.by_content {
            Some(content) => Some(content.codec.encode(rows.columns(), rows.num_rows())?.hashes),
            None => None,
        };
        // The block counts one live row too many while rows are added, so that it is not dropped meanwhile.
        let block = Block { rows: rows.clone(), entries: vec![NO_ENTRY; slots.len()], live: 1, small: false };
        let place = self.put(block);
        let mut comparators = HashMap::new();
        let mut emptied = Vec::new();
        for (row, slot) in slots.iter().enumerate() {
            let weight = weights.map_or(1, |weights| weights[row]);
            let hash = hashes.as_ref().map_or(0, |hashes| hashes[row]);
            if hashes.is_some()
                && let Some(equal) = self.find_equal(hash, rows, row, &mut comparators)?
            {
                if self.add_weight(equal, weight, &key_group) {
                    emptied.push(*slot);
                }
                continue;
            }
            let id = self.insert(*slot, hash, place, row as u32);
            self.entries[id as usize].matches = matches.map_or(0, |matches| matches[row]);
            let block = self.batches[place as usize].as_mut().expect("it was put there");
            block.entries[row] = id;
            block.live += 1;
            self.change_weight(id, weight);
        }
        self.lose_row(place);
        if self.small_batches > SMALL_BATCHES_MAX {
            self.merge_small_batches()?;
        }
        Ok(emptied)
    }

    fn put(&mut self, block: Block) -> u32 {
        match self.free_batches.pop() {
            Some(place) => {
                self.batches[place as usize] = Some(block);
                place
            }
            None => {
                self.batches.push(Some(block));
                (self.batches.len() - 1) as u32
            }
        }
    }

    fn find_equal(
        &self,
        hash: u64,
        rows: &RecordBatch,
        row: usize,
        comparators: &mut HashMap<u32, RowComparator>,
    ) -> Result<Option<u32>> {
        let content = self.by_content.as_ref().expect("only asked where rows are taken back");
        for id in content.index.iter_hash(hash) {
            let Entry { hash: other, batch, row: stored_row, .. } = self.entries[*id as usize];
            if other != hash {
                continue;
            }
            let comparator = match comparators.entry(batch) {
                hash_map::Entry::Occupied(comparator) => comparator.into_mut(),
                hash_map::Entry::Vacant(vacant) => vacant.insert(RowComparator::new(rows, self.rows(batch))?),
            };
            if comparator.equal(row, stored_row as usize) {
                return Ok(Some(*id));
            }
        }
        Ok(None)
    }

    fn rows(&self, batch: u32) -> &RecordBatch {
        &self.batches[batch as usize].as_ref().expect("an entry's batch is there").rows
    }

    fn insert(&mut self, slot: u32, hash: u64, batch: u32, row: u32) -> u32 {
        let next = self.heads[slot as usize];
        let entry =
            Entry { batch, row, slot, previous: NO_ENTRY, next, dirty: false, hash, weight: 0, stored: 0, matches: 0 };
        let id = match self.free_entries.pop() {
            Some(id) => {
                self.entries[id as usize] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).expect("a subtask holds fewer than 2^32 rows")
            }
        };
        if next != NO_ENTRY {
            self.entries[next as usize].previous = id;
        }
        self.heads[slot as usize] = id;
        if let Some(content) = &mut self.by_content {
            let entries = &self.entries;
            content.index.insert_unique(hash, id, |entry| entries[*entry as usize].hash);
        }
        id
    }

    fn change_weight(&mut self, id: u32, change: i64) {
        let entry = &mut self.entries[id as usize];
        let before = entry.weight;
        entry.weight += change;
        self.negative = self.negative + usize::from(entry.weight < 0) - usize::from(before < 0);
        if !entry.dirty {
            entry.dirty = true;
            self.dirty.push(id);
            if self.dirty.len() > DIRTY_ENTRIES_MIN.max(2 * self.entries.len()) {
                self.compact_dirty();
            }
        }
    }

    /// Entries that were used again stand in the list more than once: without checkpoints it would grow for
    /// ever.
    fn compact_dirty(&mut self) {
        self.dirty.retain(|id| std::mem::take(&mut self.entries[*id as usize].dirty));
        for id in &self.dirty {
            self.entries[*id as usize].dirty = true;
        }
    }

    /// Adds to a row that is there; true when it is gone and its key slot has no other.
    fn add_weight(&mut self, id: u32, change: i64, key_group: &impl Fn(u32) -> u16) -> bool {
        self.change_weight(id, change);
        let Entry { weight, stored, slot, .. } = self.entries[id as usize];
        if weight != 0 {
            return false;
        }
        self.unlink(id);
        if stored == 0 {
            self.forget(id);
        } else {
            self.gone.push((id, key_group(slot)));
        }
        self.is_slot_empty(slot)
    }

    /// Takes an entry out of its key's list and out of the index by content.
    fn unlink(&mut self, id: u32) {
        let Entry { previous, next, slot, hash, .. } = self.entries[id as usize];
        match previous {
            NO_ENTRY => self.heads[slot as usize] = next,
            previous => self.entries[previous as usize].next = next,
        }
        if next != NO_ENTRY {
            self.entries[next as usize].previous = previous;
        }
        if let Some(content) = &mut self.by_content {
            content.index.find_entry(hash, |entry| *entry == id).expect("every linked entry is found").remove();
        }
    }

    /// Gives an unlinked entry and its place in its batch free.
    fn forget(&mut self, id: u32) {
        let Entry { batch, row, .. } = self.entries[id as usize];
        // The list of dirty entries may still name it: it must not be taken for the next one of this number.
        self.entries[id as usize].dirty = false;
        self.free_entries.push(id);
        let block = self.batches[batch as usize].as_mut().expect("an entry's batch is there");
        block.entries[row as usize] = NO_ENTRY;
        self.lose_row(batch);
    }

    /// A block has a live row less: it may be dropped, or become small.
    fn lose_row(&mut self, batch: u32) {
        let place = &mut self.batches[batch as usize];
        let block = place.as_mut().expect("a block with live rows is there");
        block.live -= 1;
        if block.live == 0 {
            self.small_batches -= usize::from(block.small);
            *place = None;
            self.free_batches.push(batch);
        } else if !block.small && (block.live < BATCH_ROWS / 2 || block.live < block.entries.len() / 2) {
            block.small = true;
            self.small_batches += 1;
        }
    }

    /// Makes one block of all small ones.
    fn merge_small_batches(&mut self) -> Result<()> {
        let small = |place: &usize| self.batches[*place].as_ref().is_some_and(|block| block.small);
        let places: Vec<usize> = (0..self.batches.len()).filter(small).collect();
        let mut ids = Vec::new();
        for block in places.iter().filter_map(|place| self.batches[*place].as_ref()) {
            ids.extend(block.entries.iter().copied().filter(|id| *id != NO_ENTRY));
        }
        let rows = self.gather_ids(&ids)?;
        for place in places {
            self.batches[place] = None;
            self.free_batches.push(place as u32);
        }
        let small = ids.len() < BATCH_ROWS / 2;
        self.small_batches = usize::from(small);
        let place = self.put(Block { rows, entries: ids.clone(), live: ids.len(), small });
        for (row, id) in ids.iter().enumerate() {
            let entry = &mut self.entries[*id as usize];
            (entry.batch, entry.row) = (place, row as u32);
        }
        Ok(())
    }

    /// The values of some rows.
    pub fn gather(&self, entries: &[EntryId]) -> Result<RecordBatch> {
        let ids: Vec<u32> = entries.iter().map(|entry| entry.0).collect();
        self.gather_ids(&ids)
    }

    fn gather_ids(&self, ids: &[u32]) -> Result<RecordBatch> {
        if ids.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        // Only the batches that are used take part, in the order of their first use.
        let mut position = vec![NO_ENTRY; self.batches.len()];
        let mut used: Vec<&RecordBatch> = Vec::new();
        let mut places = Vec::with_capacity(ids.len());
        for id in ids {
            let Entry { batch, row, .. } = self.entries[*id as usize];
            if position[batch as usize] == NO_ENTRY {
                position[batch as usize] = used.len() as u32;
                used.push(self.rows(batch));
            }
            places.push((position[batch as usize] as usize, row as usize));
        }
        let column = |index: usize| -> Result<ArrayRef> {
            let columns: Vec<&dyn Array> = used.iter().map(|rows| rows.column(index).as_ref()).collect();
            Ok(compute::interleave(&columns, &places)?)
        };
        let columns = (0..self.schema.fields().len()).map(column).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(ids.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }

    /// Drops all rows of a key slot that the watermark has closed. Snapshots are not told: whatever they bring
    /// back is closed again by the next watermark, and can't match anything.
    pub fn drop_slot(&mut self, slot: u32) {
        let mut at = self.heads[slot as usize];
        while at != NO_ENTRY {
            let next = self.entries[at as usize].next;
            if self.by_content.is_some() {
                self.unlink(at);
            }
            self.forget(at);
            at = next;
        }
        self.heads[slot as usize] = NO_ENTRY;
    }

    /// The rows for a snapshot, which is thereby taken: all with their multiplicities, or those whose
    /// multiplicity has changed with the change. `key_group` gives the group of a slot.
    pub fn snapshot(&mut self, kind: SnapshotKind, key_group: impl Fn(u32) -> u16) -> Result<StoredRows> {
        let mut ids = Vec::new();
        let (mut key_groups, mut weights) = (Vec::new(), Vec::new());
        match kind {
            SnapshotKind::Full => {
                for id in self.batches.iter().flatten().flat_map(|block| &block.entries) {
                    if *id != NO_ENTRY && self.entries[*id as usize].weight != 0 {
                        let Entry { weight, slot, .. } = self.entries[*id as usize];
                        ids.push(*id);
                        weights.push(weight);
                        key_groups.push(key_group(slot));
                    }
                }
            }
            SnapshotKind::Delta => {
                for (id, group) in &self.gone {
                    ids.push(*id);
                    weights.push(-self.entries[*id as usize].stored);
                    key_groups.push(*group);
                }
                for id in &self.dirty {
                    let entry = &mut self.entries[*id as usize];
                    if std::mem::take(&mut entry.dirty) && entry.weight != 0 && entry.weight != entry.stored {
                        ids.push(*id);
                        weights.push(entry.weight - entry.stored);
                        key_groups.push(key_group(entry.slot));
                    }
                }
            }
        }
        let rows = self.gather_ids(&ids)?;
        self.settle(&ids);
        Ok(StoredRows { key_groups, weights, rows })
    }

    /// After a restore: everything that is there is stored.
    pub fn restored(&mut self) {
        let ids: Vec<u32> = self.batches.iter().flatten().flat_map(|block| block.entries.iter().copied()).collect();
        let there: Vec<u32> = ids.into_iter().filter(|id| *id != NO_ENTRY).collect();
        self.settle(&there);
    }

    /// What is named is stored as it is; nothing is dirty.
    fn settle(&mut self, ids: &[u32]) {
        for id in ids {
            let entry = &mut self.entries[*id as usize];
            entry.stored = entry.weight;
        }
        for id in std::mem::take(&mut self.dirty) {
            self.entries[id as usize].dirty = false;
        }
        for (id, _) in std::mem::take(&mut self.gone) {
            self.forget(id);
        }
    }

    /// All rows that are there, oldest block first.
    pub fn all(&self) -> Vec<EntryId> {
        let ids = self.batches.iter().flatten().flat_map(|block| block.entries.iter().copied());
        ids.filter(|id| *id != NO_ENTRY && self.entries[*id as usize].weight != 0).map(EntryId).collect()
    }

    /// Bytes held; walks over the batches.
    pub fn memory_bytes(&self) -> usize {
        let blocks = self.batches.iter().flatten();
        let blocks: usize = blocks.map(|block| block.rows.get_array_memory_size() + block.entries.capacity() * 4).sum();
        let lists = self.heads.capacity() + self.dirty.capacity() + self.free_entries.capacity();
        let index = self.by_content.as_ref().map_or(0, |content| content.index.allocation_size());
        blocks + self.entries.capacity() * size_of::<Entry>() + lists * 4 + index
    }
}

/// Compares rows of two batches value by value.
struct RowComparator {
    columns: Vec<Box<dyn Fn(usize, usize) -> Ordering + Send + Sync>>,
}

impl RowComparator {
    fn new(left: &RecordBatch, right: &RecordBatch) -> Result<Self> {
        let columns = left.columns().iter().zip(right.columns());
        let columns = columns.map(|(left, right)| Ok(make_comparator(left, right, SortOptions::default())?));
        Ok(Self { columns: columns.collect::<Result<_>>()? })
    }

    fn equal(&self, left: usize, right: usize) -> bool {
        self.columns.iter().all(|compare| compare(left, right) == Ordering::Equal)
    }
}
