//! The hash table from keys to slots.
//!
//! A slot is a small number under which operators keep their own columns. Slots of removed keys are used
//! again. Nothing here ever walks the table, so no output can depend on where a key hashes to.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::error::Result;
use crate::state::keys::{EncodedKeys, Form, KeyCodec};

/// No such key.
pub const NO_SLOT: u32 = u32::MAX;

/// Keys by slot, and slots by key.
pub struct KeyTable {
    codec: KeyCodec,
    index: HashTable<u32>,
    /// By slot.
    hashes: Vec<u64>,
    stored: Stored,
    free: Vec<u32>,
}

/// The keys by slot, in the form of the codec.
enum Stored {
    One(Vec<[u64; 2]>),
    Two(Vec<[u64; 3]>),
    Three(Vec<[u64; 4]>),
    Rows(ByteArena),
}

/// The slots of a batch of keys.
#[derive(Debug, Default)]
pub struct Upserted {
    /// The slot of every row.
    pub slots: Vec<u32>,
    /// The slots that are new, with the row that brought each, in the order of rows.
    pub inserted: Vec<(u32, u32)>,
}

impl KeyTable {
    /// An empty table for keys of these types.
    pub fn new(types: Vec<DataType>) -> Result<Self> {
        let codec = KeyCodec::new(types)?;
        let stored = match codec.encode(&codec.empty_columns(), 0)?.form {
            Form::One(_) => Stored::One(Vec::new()),
            Form::Two(_) => Stored::Two(Vec::new()),
            Form::Three(_) => Stored::Three(Vec::new()),
            Form::Rows(_) => Stored::Rows(ByteArena::default()),
        };
        Ok(Self { codec, index: HashTable::new(), hashes: Vec::new(), stored, free: Vec::new() })
    }

    /// Encodes keys for the methods below.
    pub fn encode(&self, columns: &[ArrayRef], row_count: usize) -> Result<EncodedKeys> {
        self.codec.encode(columns, row_count)
    }

    /// Slots are below this number.
    pub fn slot_count(&self) -> usize {
        self.hashes.len()
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The slot of every key; [`NO_SLOT`] where there is none.
    pub fn find(&self, keys: &EncodedKeys) -> Vec<u32> {
        match (&self.stored, &keys.form) {
            (Stored::One(stored), Form::One(form)) => self.find_packed(&keys.hashes, stored, form),
            (Stored::Two(stored), Form::Two(form)) => self.find_packed(&keys.hashes, stored, form),
            (Stored::Three(stored), Form::Three(form)) => self.find_packed(&keys.hashes, stored, form),
            (Stored::Rows(stored), Form::Rows(form)) => {
                self.find_each(&keys.hashes, |row, slot| stored.get(slot) == form.row(row).data())
            }
            _ => unreachable!("keys are encoded by the table's own codec"),
        }
    }

    fn find_packed<K: PartialEq>(&self, hashes: &[u64], stored: &[K], keys: &[K]) -> Vec<u32> {
        self.find_each(hashes, |row, slot| stored[slot as usize] == keys[row])
    }

    #[inline]
    fn find_each(&self, hashes: &[u64], is_key: impl Fn(usize, u32) -> bool) -> Vec<u32> {
        let find = |(row, hash): (usize, &u64)| self.index.find(*hash, |slot| is_key(row, *slot));
        hashes.iter().enumerate().map(|row| find(row).copied().unwrap_or(NO_SLOT)).collect()
    }

    /// The slot of every key; new keys get one.
    pub fn upsert(&mut self, keys: &EncodedKeys) -> Upserted {
        let Self { index, hashes, stored, free, .. } = self;
        let mut slots = Slots { index, hashes, free };
        match (stored, &keys.form) {
            (Stored::One(stored), Form::One(form)) => slots.upsert_packed(&keys.hashes, stored, form),
            (Stored::Two(stored), Form::Two(form)) => slots.upsert_packed(&keys.hashes, stored, form),
            (Stored::Three(stored), Form::Three(form)) => slots.upsert_packed(&keys.hashes, stored, form),
            (Stored::Rows(stored), Form::Rows(form)) => slots.upsert_rows(&keys.hashes, stored, form),
            _ => unreachable!("keys are encoded by the table's own codec"),
        }
    }

    /// Makes the key of a slot unknown. The slot keeps the key's value until it is released.
    pub fn unlink(&mut self, slot: u32) {
        let found = self.index.find_entry(self.hashes[slot as usize], |entry| *entry == slot);
        found.expect("only slots of known keys are unlinked").remove();
    }

    /// Gives an unlinked slot back for another key.
    pub fn release(&mut self, slot: u32) {
        if let Stored::Rows(arena) = &mut self.stored {
            arena.clear(slot);
        }
        self.free.push(slot);
    }

    /// The key columns of some slots.
    pub fn columns(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let at = slots.iter().map(|slot| *slot as usize);
        match &self.stored {
            Stored::One(stored) => self.codec.decode_packed(at.map(|slot| stored[slot])),
            Stored::Two(stored) => self.codec.decode_packed(at.map(|slot| stored[slot])),
            Stored::Three(stored) => self.codec.decode_packed(at.map(|slot| stored[slot])),
            Stored::Rows(stored) => self.codec.decode_rows(slots.iter().map(|slot| stored.get(*slot))),
        }
    }

    /// The key group of a slot.
    pub fn key_group(&self, slot: u32) -> u16 {
        self.codec.key_group(self.hashes[slot as usize])
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> usize {
        let stored = match &self.stored {
            Stored::One(stored) => stored.capacity() * 16,
            Stored::Two(stored) => stored.capacity() * 24,
            Stored::Three(stored) => stored.capacity() * 32,
            Stored::Rows(stored) => stored.memory_bytes(),
        };
        stored + self.hashes.capacity() * 8 + self.free.capacity() * 4 + self.index.allocation_size()
    }
}

/// The parts of the table that every form of key shares.
struct Slots<'a> {
    index: &'a mut HashTable<u32>,
    hashes: &'a mut Vec<u64>,
    free: &'a mut Vec<u32>,
}

impl Slots<'_> {
    #[inline]
    fn upsert_packed<K: PartialEq + Copy>(&mut self, hashes: &[u64], stored: &mut Vec<K>, keys: &[K]) -> Upserted {
        let mut upserted = Upserted { slots: Vec::with_capacity(keys.len()), inserted: Vec::new() };
        for (row, (hash, key)) in hashes.iter().zip(keys).enumerate() {
            let (slot, is_new) = self.slot(*hash, |slot| stored[slot as usize] == *key);
            if is_new {
                match stored.get_mut(slot as usize) {
                    Some(place) => *place = *key,
                    None => stored.push(*key),
                }
                upserted.inserted.push((slot, row as u32));
            }
            upserted.slots.push(slot);
        }
        upserted
    }

    fn upsert_rows(&mut self, hashes: &[u64], stored: &mut ByteArena, keys: &arrow::row::Rows) -> Upserted {
        let mut upserted = Upserted { slots: Vec::with_capacity(hashes.len()), inserted: Vec::new() };
        for (row, (hash, key)) in hashes.iter().zip(keys).enumerate() {
            let (slot, is_new) = self.slot(*hash, |slot| stored.get(slot) == key.data());
            if is_new {
                stored.set(slot, key.data());
                upserted.inserted.push((slot, row as u32));
            }
            upserted.slots.push(slot);
        }
        upserted
    }

    #[inline]
    fn slot(&mut self, hash: u64, is_key: impl Fn(u32) -> bool) -> (u32, bool) {
        let hashes = &mut *self.hashes;
        match self.index.entry(hash, |slot| is_key(*slot), |slot| hashes[*slot as usize]) {
            Entry::Occupied(entry) => (*entry.get(), false),
            Entry::Vacant(entry) => {
                let slot = self.free.pop().unwrap_or_else(|| {
                    hashes.push(0);
                    u32::try_from(hashes.len() - 1).expect("a subtask holds fewer than 2^32 keys")
                });
                hashes[slot as usize] = hash;
                entry.insert(slot);
                (slot, true)
            }
        }
    }
}

/// Byte strings by slot in one buffer, rewritten when more than half of it is garbage.
#[derive(Default)]
struct ByteArena {
    bytes: Vec<u8>,
    /// Start and length by slot.
    spans: Vec<(usize, usize)>,
    garbage: usize,
}

/// Garbage below this is not worth a rewrite.
const GARBAGE_BYTES_MIN: usize = 1 << 16;

impl ByteArena {
    #[inline]
    fn get(&self, slot: u32) -> &[u8] {
        let (start, length) = self.spans[slot as usize];
        &self.bytes[start..start + length]
    }

    fn set(&mut self, slot: u32, value: &[u8]) {
        let span = (self.bytes.len(), value.len());
        self.bytes.extend_from_slice(value);
        match self.spans.get_mut(slot as usize) {
            Some(place) => *place = span,
            None => self.spans.push(span),
        }
    }

    fn clear(&mut self, slot: u32) {
        let span = &mut self.spans[slot as usize];
        self.garbage += span.1;
        *span = (0, 0);
        if self.garbage > GARBAGE_BYTES_MIN && self.garbage > self.bytes.len() / 2 {
            let mut kept = Vec::with_capacity(self.bytes.len() - self.garbage);
            for (start, length) in &mut self.spans {
                let from = std::mem::replace(start, kept.len());
                kept.extend_from_slice(&self.bytes[from..from + *length]);
            }
            self.bytes = kept;
            self.garbage = 0;
        }
    }

    fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.spans.capacity() * size_of::<(usize, usize)>()
    }
}
