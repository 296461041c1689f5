//! DISTINCT: lets a value through to its aggregate when it comes to a group for the first time, and takes it
//! back when it leaves for good.
//!
//! One table holds the values of all groups, keyed by group and value; every group links its values, so that
//! it can be written and emptied alone.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute;
use arrow::datatypes::DataType;

use crate::aggregates::Members;
use crate::aggregates::bytes::{Reader, put_i64, put_slice, put_u32};
use crate::aggregates::ordered::RowKeys;
use crate::error::Result;
use crate::state::KeyTable;

/// The values of every group with their counts.
pub(super) struct DistinctValues {
    /// Keys: the group, the value, and the columns of the order.
    table: KeyTable,
    /// How values are written.
    rows: RowKeys,
    /// By slot.
    values: Vec<Value>,
    /// The slot of the last value that came to a group, by group.
    heads: Vec<u32>,
    /// Counts that are below zero: none at the end of an epoch.
    negative: usize,
    /// Slots whose count has become zero in the current batch.
    gone: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Value {
    count: i64,
    previous: u32,
    next: u32,
}

/// The end of a group's list.
const NONE: u32 = u32::MAX;

impl DistinctValues {
    /// For values of the first type, ordered by columns of the other types, which `rows` can write.
    pub(super) fn new(types: impl IntoIterator<Item = DataType>, rows: RowKeys) -> Result<Self> {
        let types = std::iter::once(DataType::UInt32).chain(types).collect();
        let table = KeyTable::new(types)?;
        Ok(Self { table, rows, values: Vec::new(), heads: Vec::new(), negative: 0, gone: Vec::new() })
    }

    pub(super) fn resize(&mut self, groups: usize) {
        self.heads.resize(groups, NONE);
    }

    pub(super) fn reset(&mut self, group: u32) {
        for slot in self.slots(group) {
            let count = std::mem::take(&mut self.values[slot as usize].count);
            self.negative -= usize::from(count < 0);
            self.table.unlink(slot);
            self.table.release(slot);
        }
        self.heads[group as usize] = NONE;
    }

    /// Whether some value was taken back that is not there.
    pub(super) fn has_negative(&self) -> bool {
        self.negative > 0
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.table.memory_bytes() + self.values.capacity() * size_of::<Value>() + self.heads.capacity() * 4
    }

    /// Counts the members and gives back, by row, what the aggregate behind must see: 1, -1 or 0. `columns` are
    /// the value and then the columns of the order, which DISTINCT requires to follow from the value.
    pub(super) fn update(&mut self, columns: &[ArrayRef], members: &Members<'_>) -> Result<Vec<i64>> {
        let mut rows = Vec::with_capacity(members.groups.len());
        let mut groups = Vec::with_capacity(members.groups.len());
        let mut weights = Vec::with_capacity(members.groups.len());
        members.for_each(|row, group, weight| {
            rows.push(row as u32);
            groups.push(group as u32);
            weights.push(weight);
        });
        let mut key: Vec<ArrayRef> = vec![Arc::new(UInt32Array::from(groups.clone()))];
        if rows.len() == members.groups.len() {
            key.extend(columns.iter().cloned());
        } else {
            let rows = UInt32Array::from(rows.clone());
            key.extend(columns.iter().map(|column| compute::take(column, &rows, None)).collect::<Result<Vec<_>, _>>()?);
        }
        let slots = self.table.upsert(&self.table.encode(&key, rows.len())?).slots;
        self.values.resize(self.table.slot_count(), Value { count: 0, previous: NONE, next: NONE });
        let mut passed = vec![0; members.groups.len()];
        for (index, slot) in slots.into_iter().enumerate() {
            passed[rows[index] as usize] = self.add(groups[index], slot, weights[index]);
        }
        // A value that went within the batch may have come again, or have gone twice.
        let mut gone = std::mem::take(&mut self.gone);
        gone.sort_unstable();
        gone.dedup();
        for slot in gone.into_iter().filter(|slot| self.values[*slot as usize].count == 0) {
            self.table.unlink(slot);
            self.table.release(slot);
        }
        Ok(passed)
    }

    fn add(&mut self, group: u32, slot: u32, weight: i64) -> i64 {
        let before = self.values[slot as usize].count;
        let after = before + weight;
        if before == 0 {
            self.link(group, slot);
        }
        self.values[slot as usize].count = after;
        if after == 0 {
            self.unlink(group, slot);
            self.gone.push(slot);
        }
        self.negative = self.negative + usize::from(after < 0) - usize::from(before < 0);
        i64::from(after > 0) - i64::from(before > 0)
    }

    fn link(&mut self, group: u32, slot: u32) {
        let next = std::mem::replace(&mut self.heads[group as usize], slot);
        self.values[slot as usize] = Value { count: 0, previous: NONE, next };
        if next != NONE {
            self.values[next as usize].previous = slot;
        }
    }

    fn unlink(&mut self, group: u32, slot: u32) {
        let Value { previous, next, .. } = self.values[slot as usize];
        match previous {
            NONE => self.heads[group as usize] = next,
            previous => self.values[previous as usize].next = next,
        }
        if next != NONE {
            self.values[next as usize].previous = previous;
        }
    }

    fn slots(&self, group: u32) -> Vec<u32> {
        let first = self.heads[group as usize];
        let next = |slot: &u32| Some(self.values[*slot as usize].next).filter(|next| *next != NONE);
        std::iter::successors((first != NONE).then_some(first), next).collect()
    }

    /// The values of each group with their counts, as bytes.
    pub(super) fn save(&self, groups: &[u32]) -> Result<Vec<Vec<u8>>> {
        let slots: Vec<Vec<u32>> = groups.iter().map(|group| self.slots(*group)).collect();
        let keys = self.rows.encode(&self.table.columns(&slots.concat())?[1..])?;
        let mut at = 0;
        let group_bytes = |slots: &Vec<u32>| {
            let mut bytes = Vec::new();
            put_u32(&mut bytes, u32::try_from(slots.len()).expect("slots are numbered by u32"));
            for slot in slots {
                put_slice(&mut bytes, keys.row(at).data());
                put_i64(&mut bytes, self.values[*slot as usize].count);
                at += 1;
            }
            bytes
        };
        Ok(slots.iter().map(group_bytes).collect())
    }

    /// Reads what was saved: the columns of the values, and their counts.
    pub(super) fn load(&self, reader: &mut Reader<'_>) -> Result<(Vec<ArrayRef>, Vec<i64>)> {
        let (mut keys, mut counts) = (Vec::new(), Vec::new());
        for _ in 0..reader.u32()? {
            keys.push(reader.slice()?);
            counts.push(reader.i64()?);
        }
        Ok((self.rows.decode(keys)?, counts))
    }
}
