//! Keys with what epochs, checkpoints and watermarks need to know about them.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, UInt16Array};
use arrow::compute;
use arrow::datatypes::{DataType, TimeUnit};

use crate::error::Result;
use crate::operator::SnapshotKind;
use crate::state::fixed;
use crate::state::keys::EncodedKeys;
use crate::state::table::{KeyTable, Upserted};
use crate::time::Watermark;

/// The key column from which the watermark closes keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosingTime {
    /// Index into the key columns, of a timestamp type.
    pub key: usize,
    /// See [`crate::plan::EventTimeColumn`].
    pub extent_micros: i64,
}

/// Keys and their slots, with dirty tracking, key groups and closing.
pub struct KeyedState {
    table: KeyTable,
    flags: Vec<Flags>,
    /// Slots touched since the epoch began, in that order; may hold slots that are gone again.
    touched: Vec<u32>,
    /// Slots touched since the last snapshot, likewise.
    dirty: Vec<u32>,
    /// Slots of keys that the last snapshots hold and that are gone: the next delta names them.
    tombstones: Vec<u32>,
    closing: Option<Closing>,
}

/// What is known of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flags {
    /// Its key is there.
    live: bool,
    /// It is in `touched`.
    touched: bool,
    /// It is in `dirty`.
    dirty: bool,
    /// The snapshots taken so far hold its key.
    stored: bool,
}

struct Closing {
    time: ClosingTime,
    /// By slot.
    micros: Vec<i64>,
    /// The slots of every time; may hold slots that are gone again or that have another time by now.
    partitions: BTreeMap<i64, Vec<u32>>,
}

/// A list of dirty slots below this length is not worth a compaction.
const DIRTY_SLOTS_MIN: usize = 1024;

/// What a snapshot has to write.
#[derive(Debug)]
pub struct SnapshotSlots {
    /// Keys that are gone; they stand before the live ones, because a key may have come again.
    pub tombstones: Vec<u32>,
    /// Keys that are there, all or only the changed ones.
    pub live: Vec<u32>,
}

impl KeyedState {
    /// No keys yet, of these types.
    pub fn new(types: Vec<DataType>, closing: Option<ClosingTime>) -> Result<Self> {
        let closing = closing.map(|time| Closing { time, micros: Vec::new(), partitions: BTreeMap::new() });
        Ok(Self {
            table: KeyTable::new(types)?,
            flags: Vec::new(),
            touched: Vec::new(),
            dirty: Vec::new(),
            tombstones: Vec::new(),
            closing,
        })
    }

    /// Slots are below this number.
    pub fn slot_count(&self) -> usize {
        self.table.slot_count()
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Encodes key columns.
    pub fn encode(&self, columns: &[ArrayRef], row_count: usize) -> Result<EncodedKeys> {
        self.table.encode(columns, row_count)
    }

    /// The slot of every key, [`crate::state::NO_SLOT`] where there is none.
    pub fn find(&self, keys: &EncodedKeys) -> Vec<u32> {
        self.table.find(keys)
    }

    /// The slots of a batch of keys; new keys get one. `columns` are what `keys` encodes.
    pub fn upsert(&mut self, columns: &[ArrayRef], keys: &EncodedKeys) -> Result<Upserted> {
        let upserted = self.table.upsert(keys);
        self.flags.resize(self.table.slot_count(), Flags::default());
        for (slot, _) in &upserted.inserted {
            self.flags[*slot as usize] = Flags { live: true, ..Flags::default() };
        }
        if let Some(closing) = &mut self.closing {
            closing.insert(&columns[closing.time.key], &upserted, self.table.slot_count())?;
        }
        Ok(upserted)
    }

    /// Notes that slots change. Gives back those that had not changed in this epoch, in order.
    pub fn touch(&mut self, slots: &[u32]) -> Vec<u32> {
        let mut first = Vec::new();
        for slot in slots {
            let flags = &mut self.flags[*slot as usize];
            if !flags.touched {
                flags.touched = true;
                self.touched.push(*slot);
                first.push(*slot);
                if !flags.dirty {
                    flags.dirty = true;
                    self.dirty.push(*slot);
                }
            }
        }
        if self.dirty.len() > DIRTY_SLOTS_MIN.max(2 * self.slot_count()) {
            self.compact_dirty();
        }
        first
    }

    /// Slots that were used again stand in the list more than once: without checkpoints it would grow for ever.
    fn compact_dirty(&mut self) {
        self.dirty.retain(|slot| std::mem::take(&mut self.flags[*slot as usize].dirty));
        for slot in &self.dirty {
            self.flags[*slot as usize].dirty = true;
        }
    }

    /// Ends the epoch: the slots that it touched, in the order in which they were touched first.
    pub fn take_touched(&mut self) -> Vec<u32> {
        let mut touched = std::mem::take(&mut self.touched);
        touched.retain(|slot| std::mem::take(&mut self.flags[*slot as usize].touched));
        touched
    }

    /// Forgets a key. Its slot keeps the key's value until the next snapshot, if the last ones hold it. A
    /// removed key must not be in use by the current epoch any more.
    pub fn remove(&mut self, slot: u32) {
        self.table.unlink(slot);
        let flags = &mut self.flags[slot as usize];
        let stored = flags.stored;
        // A slot that stands in `dirty` is told apart there by this flag.
        *flags = Flags::default();
        if stored {
            self.tombstones.push(slot);
        } else {
            self.table.release(slot);
        }
    }

    /// The keys that the watermark closes, in the order of time and then of arrival. They stay until they are
    /// removed, and are not named again.
    pub fn close(&mut self, watermark: Watermark) -> Vec<u32> {
        let Some(closing) = &mut self.closing else { return Vec::new() };
        let mut closed = Vec::new();
        while let Some(first) = closing.partitions.first_entry()
            && watermark.closes(*first.key(), closing.time.extent_micros)
        {
            let (micros, mut slots) = first.remove_entry();
            slots.retain(|slot| self.flags[*slot as usize].live && closing.micros[*slot as usize] == micros);
            // A slot whose key went and came again within its time stands here twice.
            let mut seen = hashbrown::HashSet::with_capacity(slots.len());
            slots.retain(|slot| seen.insert(*slot));
            closed.append(&mut slots);
        }
        closed
    }

    /// The key columns of some slots.
    pub fn columns(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        self.table.columns(slots)
    }

    /// The key group of a slot.
    pub fn key_group(&self, slot: u32) -> u16 {
        self.table.key_group(slot)
    }

    /// The key groups of some slots.
    pub fn key_groups(&self, slots: &[u32]) -> UInt16Array {
        slots.iter().map(|slot| self.table.key_group(*slot)).collect()
    }

    /// What a snapshot has to write. Call [`Self::snapshot_taken`] once the slots' values are written down.
    pub fn snapshot_slots(&mut self, kind: SnapshotKind) -> SnapshotSlots {
        match kind {
            SnapshotKind::Full => {
                let live = (0..self.slot_count() as u32).filter(|slot| self.flags[*slot as usize].live).collect();
                SnapshotSlots { tombstones: Vec::new(), live }
            }
            SnapshotKind::Delta => {
                let mut live = self.dirty.clone();
                live.retain(|slot| std::mem::take(&mut self.flags[*slot as usize].dirty));
                SnapshotSlots { tombstones: self.tombstones.clone(), live }
            }
        }
    }

    /// The snapshot of these slots is made: what it holds is no longer dirty.
    pub fn snapshot_taken(&mut self, slots: &SnapshotSlots) {
        for slot in std::mem::take(&mut self.dirty) {
            self.flags[slot as usize].dirty = false;
        }
        for slot in &slots.live {
            self.flags[*slot as usize].stored = true;
        }
        for slot in std::mem::take(&mut self.tombstones) {
            self.table.release(slot);
        }
    }

    /// After a restore: everything that is there is stored, and nothing has changed.
    pub fn restored(&mut self) {
        for slot in std::mem::take(&mut self.tombstones) {
            self.table.release(slot);
        }
        self.touched.clear();
        self.dirty.clear();
        for flags in &mut self.flags {
            *flags = Flags { live: flags.live, stored: flags.live, ..Flags::default() };
        }
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> usize {
        let lists = self.touched.capacity() + self.dirty.capacity() + self.tombstones.capacity();
        let closing = self.closing.as_ref().map_or(0, |closing| {
            closing.micros.capacity() * 8 + closing.partitions.values().map(|slots| slots.capacity() * 4).sum::<usize>()
        });
        self.table.memory_bytes() + self.flags.capacity() * size_of::<Flags>() + lists * 4 + closing
    }
}

impl Closing {
    fn insert(&mut self, times: &ArrayRef, upserted: &Upserted, slot_count: usize) -> Result<()> {
        if upserted.inserted.is_empty() {
            return Ok(());
        }
        self.micros.resize(slot_count, 0);
        let times = event_micros(times)?;
        for (slot, row) in &upserted.inserted {
            // A null time never closes; the relation rejects it anyway.
            if times.is_valid(*row as usize) {
                let micros = times.value(*row as usize);
                self.micros[*slot as usize] = micros;
                self.partitions.entry(micros).or_default().push(*slot);
            }
        }
        Ok(())
    }
}

/// A timestamp column in microseconds since 1970.
pub fn event_micros(times: &ArrayRef) -> Result<arrow::array::Int64Array> {
    match times.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => fixed::to_words(times),
        _ => fixed::to_words(&compute::cast(times, &DataType::Timestamp(TimeUnit::Microsecond, None))?),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use arrow::array::{Int64Array, TimestampMicrosecondArray};

    use super::*;

    fn upsert(state: &mut KeyedState, micros: &[i64], keys: &[i64]) -> Vec<u32> {
        let columns: Vec<ArrayRef> =
            vec![Arc::new(TimestampMicrosecondArray::from(micros.to_vec())), Arc::new(Int64Array::from(keys.to_vec()))];
        let encoded = state.encode(&columns, keys.len()).unwrap();
        let slots = state.upsert(&columns, &encoded).unwrap().slots;
        state.touch(&slots);
        slots
    }

    fn windowed() -> KeyedState {
        let types = vec![DataType::Timestamp(TimeUnit::Microsecond, None), DataType::Int64];
        KeyedState::new(types, Some(ClosingTime { key: 0, extent_micros: 10 })).unwrap()
    }

    #[test]
    fn keys_close_in_the_order_of_time_and_once() {
        let mut state = windowed();
        let slots = upsert(&mut state, &[20, 10, 20, 30], &[1, 2, 3, 4]);
        assert_eq!(state.close(Watermark::at_micros(19)), Vec::<u32>::new());
        assert_eq!(state.close(Watermark::at_micros(30)), vec![slots[1], slots[0], slots[2]]);
        assert_eq!(state.close(Watermark::at_micros(30)), Vec::<u32>::new());
    }

    #[test]
    fn a_slot_that_was_used_again_closes_with_its_new_time_only() {
        let mut state = windowed();
        let first = upsert(&mut state, &[10, 10], &[1, 2]);
        state.take_touched();
        state.remove(first[0]);
        state.remove(first[1]);
        let again = upsert(&mut state, &[50, 10], &[1, 2]);
        assert_eq!(again, vec![first[1], first[0]], "slots are used again");
        assert_eq!(state.close(Watermark::at_micros(20)), vec![again[1]]);
        assert_eq!(state.close(Watermark::at_micros(60)), vec![again[0]]);
    }

    #[test]
    fn a_delta_names_what_changed_and_what_is_gone() {
        let mut state = windowed();
        let slots = upsert(&mut state, &[10, 20, 30], &[1, 2, 3]);
        state.take_touched();
        let full = state.snapshot_slots(SnapshotKind::Full);
        assert_eq!((full.live.len(), full.tombstones.len()), (3, 0));
        state.snapshot_taken(&full);
        state.remove(slots[0]);
        let new = upsert(&mut state, &[20, 10], &[2, 1]);
        state.take_touched();
        let delta = state.snapshot_slots(SnapshotKind::Delta);
        assert_eq!(delta.tombstones, vec![slots[0]], "the removed key keeps its slot until it is named");
        assert_eq!(delta.live, new);
        state.snapshot_taken(&delta);
        let nothing = state.snapshot_slots(SnapshotKind::Delta);
        assert!(nothing.live.is_empty() && nothing.tombstones.is_empty());
    }

    #[test]
    fn lists_stay_bounded_without_checkpoints() {
        let mut state = windowed();
        for round in 0..10_000 {
            let slots = upsert(&mut state, &[10, 10], &[round, round + 1]);
            state.take_touched();
            slots.into_iter().for_each(|slot| state.remove(slot));
        }
        assert!(state.dirty.len() <= DIRTY_SLOTS_MIN && state.slot_count() == 2);
    }
}
