//! DISTINCT: lets a value through to its aggregate when it comes to a group for the first time, and takes it
//! back when it leaves for good.

use std::hash::{BuildHasherDefault, Hasher};

use arrow::array::ArrayRef;
use hashbrown::HashMap;

use crate::aggregates::Members;
use crate::aggregates::bytes::{Reader, put_i64, put_slice, put_u32};
use crate::aggregates::ordered::RowKeys;
use crate::error::Result;
use crate::state::fixed;

/// A fixed hash, so that two runs use the same memory in the same way. No output depends on it.
#[derive(Default)]
struct FixedHasher(u64);

impl Hasher for FixedHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, self.0);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Counts = HashMap<Box<[u8]>, i64, BuildHasherDefault<FixedHasher>>;

/// The values of every group with their counts.
pub(super) struct DistinctValues {
    rows: RowKeys,
    groups: Vec<Counts>,
    heap_bytes: usize,
    /// Counts that are below zero: none at the end of an epoch.
    negative: usize,
}

impl DistinctValues {
    pub(super) fn new(rows: RowKeys) -> Self {
        Self { rows, groups: Vec::new(), heap_bytes: 0, negative: 0 }
    }

    pub(super) fn resize(&mut self, groups: usize) {
        self.groups.resize_with(groups, Counts::default);
    }

    pub(super) fn reset(&mut self, group: usize) {
        let counts = std::mem::take(&mut self.groups[group]);
        self.heap_bytes -= counts.keys().map(|key| key.len() + ENTRY_BYTES).sum::<usize>();
        self.negative -= counts.values().filter(|count| **count < 0).count();
    }

    /// Whether some value was taken back that is not there.
    pub(super) fn has_negative(&self) -> bool {
        self.negative > 0
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.heap_bytes
    }

    /// Counts the members and gives back, by row, what the aggregate behind must see: 1, -1 or 0. `columns` are
    /// the value and then the columns of the order, which DISTINCT requires to follow from the value.
    pub(super) fn update(&mut self, columns: &[ArrayRef], members: &Members<'_>) -> Result<Vec<i64>> {
        let columns: Vec<ArrayRef> = columns.iter().map(fixed::canonical_floats).collect();
        let keys = self.rows.encode(&columns)?;
        let mut passed = vec![0; keys.num_rows()];
        members.for_each(|row, group, weight| {
            passed[row] = self.add(group, keys.row(row).data(), weight);
        });
        Ok(passed)
    }

    fn add(&mut self, group: usize, key: &[u8], weight: i64) -> i64 {
        let counts = &mut self.groups[group];
        let (before, after) = match counts.get_mut(key) {
            Some(count) => {
                *count += weight;
                (*count - weight, *count)
            }
            None => {
                counts.insert(key.into(), weight);
                self.heap_bytes += key.len() + ENTRY_BYTES;
                (0, weight)
            }
        };
        if after == 0 {
            counts.remove(key);
            self.heap_bytes -= key.len() + ENTRY_BYTES;
        }
        self.negative = self.negative + usize::from(after < 0) - usize::from(before < 0);
        i64::from(after > 0) - i64::from(before > 0)
    }

    pub(super) fn save(&self, group: usize, bytes: &mut Vec<u8>) {
        let mut counts: Vec<(&Box<[u8]>, &i64)> = self.groups[group].iter().collect();
        counts.sort_unstable();
        put_u32(bytes, u32::try_from(counts.len()).expect("a group holds fewer than 2^32 different values"));
        for (key, count) in counts {
            put_slice(bytes, key);
            put_i64(bytes, *count);
        }
    }

    /// Adds saved counts to a group and gives back the columns of the values that came or went, and with
    /// which weight the aggregate behind must see them.
    pub(super) fn merge(&mut self, group: usize, reader: &mut Reader<'_>) -> Result<(Vec<ArrayRef>, Vec<i64>)> {
        let (mut keys, mut weights) = (Vec::new(), Vec::new());
        for _ in 0..reader.u32()? {
            let key = reader.slice()?;
            let passed = self.add(group, key, reader.i64()?);
            if passed != 0 {
                keys.push(key);
                weights.push(passed);
            }
        }
        Ok((self.rows.decode(keys)?, weights))
    }
}

/// What an entry costs beside its key's bytes.
const ENTRY_BYTES: usize = size_of::<Box<[u8]>>() + size_of::<i64>() + 1;
