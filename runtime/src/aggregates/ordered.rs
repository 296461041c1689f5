//! Aggregates over the order of values: min, max, string_agg, array_agg, and DISTINCT.
//!
//! Values are kept as keys whose order is theirs: a word for types of at most eight bytes, otherwise the bytes
//! of arrow's row format. Where rows may be taken back, a group holds its keys as an ordered multiset.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};

use crate::aggregates::bytes::{Reader, put_i64, put_slice, put_u32};
use crate::aggregates::sums::negative;
use crate::aggregates::{GroupState, Members};
use crate::error::{Error, Result};
use crate::state::fixed;

/// A value as a key in an ordered multiset.
pub(super) trait Key: Ord + Clone + Borrow<Self::Ref> {
    /// What the key is looked up by, without allocating.
    type Ref: Ord + ToOwned<Owned = Self> + ?Sized;
    fn save(key: &Self::Ref, bytes: &mut Vec<u8>);
    fn load(reader: &mut Reader<'_>) -> Result<Self>;
    fn heap_bytes(&self) -> usize;
}

impl Key for i64 {
    type Ref = i64;

    fn save(key: &i64, bytes: &mut Vec<u8>) {
        put_i64(bytes, *key);
    }

    fn load(reader: &mut Reader<'_>) -> Result<Self> {
        reader.i64()
    }

    fn heap_bytes(&self) -> usize {
        0
    }
}

impl Key for Vec<u8> {
    type Ref = [u8];

    fn save(key: &[u8], bytes: &mut Vec<u8>) {
        put_slice(bytes, key);
    }

    fn load(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(reader.slice()?.to_vec())
    }

    fn heap_bytes(&self) -> usize {
        self.capacity()
    }
}

/// Turns columns into row-format keys and back.
pub(super) struct RowKeys {
    converter: RowConverter,
}

impl RowKeys {
    pub(super) fn new(fields: Vec<SortField>) -> Result<Self> {
        if !RowConverter::supports_fields(&fields) {
            return Err(Error::invalid("values of this type have no order to aggregate by"));
        }
        Ok(Self { converter: RowConverter::new(fields)? })
    }

    pub(super) fn encode(&self, columns: &[ArrayRef]) -> Result<Rows> {
        let columns: Vec<ArrayRef> = columns.iter().map(canonical_nan).collect();
        Ok(self.converter.convert_columns(&columns)?)
    }

    pub(super) fn decode<'a>(&self, keys: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        Ok(self.converter.convert_rows(keys.into_iter().map(|key| parser.parse(key)))?)
    }
}

/// NaN has many bits and one place in the order: last.
fn canonical_nan(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float32 | DataType::Float64 => {
            let words = fixed::to_words(array).expect("floats have words");
            fixed::from_words(words.values().to_vec(), array.nulls().cloned(), array.data_type())
                .expect("words are floats again")
        }
        _ => Arc::clone(array),
    }
}

/// An ordered multiset of keys.
#[derive(Clone, Debug)]
pub(super) struct Multiset<K> {
    counts: BTreeMap<K, i64>,
    /// Keys whose count is below zero: none at the end of an epoch.
    negative: usize,
    /// Bytes that the keys hold beside themselves.
    heap_bytes: usize,
}

impl<K> Default for Multiset<K> {
    fn default() -> Self {
        Self { counts: BTreeMap::new(), negative: 0, heap_bytes: 0 }
    }
}

impl<K: Key> Multiset<K> {
    /// Adds the key `weight` times and gives back its count before and after.
    pub(super) fn add(&mut self, key: &K::Ref, weight: i64) -> (i64, i64) {
        let before = match self.counts.get_mut(key) {
            Some(count) => {
                let before = *count;
                *count += weight;
                if *count == 0
                    && let Some((key, _)) = self.counts.remove_entry(key)
                {
                    self.heap_bytes -= key.heap_bytes();
                }
                before
            }
            None => {
                let key = key.to_owned();
                self.heap_bytes += key.heap_bytes();
                self.counts.insert(key, weight);
                0
            }
        };
        let after = before + weight;
        self.negative = self.negative + usize::from(after < 0) - usize::from(before < 0);
        (before, after)
    }

    pub(super) fn counts(&self) -> Result<&BTreeMap<K, i64>> {
        if self.negative == 0 { Ok(&self.counts) } else { Err(negative()) }
    }
}

impl<K: Key> GroupState for Multiset<K> {
    fn save(&self, bytes: &mut Vec<u8>) {
        put_u32(bytes, u32::try_from(self.counts.len()).expect("a group holds fewer than 2^32 different values"));
        for (key, count) in &self.counts {
            K::save(key.borrow(), bytes);
            put_i64(bytes, *count);
        }
    }

    fn merge(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        for _ in 0..reader.u32()? {
            let key = K::load(reader)?;
            let count = reader.i64()?;
            self.add(key.borrow(), count);
        }
        Ok(())
    }

    fn heap_bytes(&self) -> usize {
        self.heap_bytes + self.counts.len() * (size_of::<K>() + size_of::<i64>())
    }
}

/// The smallest key seen, for input that takes nothing back.
#[derive(Clone, Debug)]
pub(super) struct Smallest<K> {
    key: Option<K>,
}

impl<K> Default for Smallest<K> {
    fn default() -> Self {
        Self { key: None }
    }
}

impl<K: Key> GroupState for Smallest<K> {
    fn save(&self, bytes: &mut Vec<u8>) {
        put_u32(bytes, u32::from(self.key.is_some()));
        if let Some(key) = &self.key {
            K::save(key.borrow(), bytes);
        }
    }

    fn merge(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        if reader.u32()? == 1 {
            let key = K::load(reader)?;
            self.offer(key.borrow(), 1)?;
        }
        Ok(())
    }

    fn heap_bytes(&self) -> usize {
        self.key.as_ref().map_or(0, Key::heap_bytes)
    }
}

/// Where the smallest of a group's keys can be asked for.
pub(super) trait HasSmallest<K: Key> {
    fn offer(&mut self, key: &K::Ref, weight: i64) -> Result<()>;
    fn smallest(&self) -> Result<Option<&K>>;
}

impl<K: Key> HasSmallest<K> for Smallest<K> {
    #[inline]
    fn offer(&mut self, key: &K::Ref, weight: i64) -> Result<()> {
        if weight < 0 {
            return Err(Error::internal("an append-only edge carries a negative weight"));
        }
        if self.key.as_ref().is_none_or(|smallest| key < smallest.borrow()) {
            self.key = Some(key.to_owned());
        }
        Ok(())
    }

    fn smallest(&self) -> Result<Option<&K>> {
        Ok(self.key.as_ref())
    }
}

impl<K: Key> HasSmallest<K> for Multiset<K> {
    fn offer(&mut self, key: &K::Ref, weight: i64) -> Result<()> {
        self.add(key, weight);
        Ok(())
    }

    fn smallest(&self) -> Result<Option<&K>> {
        Ok(self.counts()?.first_key_value().map(|(key, _)| key))
    }
}

/// Offers words; `reversed` makes the smallest the greatest.
pub(super) fn offer_words<S: HasSmallest<i64>>(
    states: &mut [S],
    values: &ArrayRef,
    reversed: bool,
    members: &Members<'_>,
) -> Result<()> {
    let words = fixed::to_words(values)?;
    let words = words.values();
    let flip = if reversed { -1 } else { 0 };
    let mut result = Ok(());
    members.for_each(|row, group, weight| {
        if let Err(error) = states[group].offer(&(words[row] ^ flip), weight) {
            result = Err(error);
        }
    });
    result
}

/// The extreme words as an array.
pub(super) fn evaluate_words<S: HasSmallest<i64>>(
    states: &[S],
    groups: &[u32],
    reversed: bool,
    result: &DataType,
) -> Result<ArrayRef> {
    let flip = if reversed { -1 } else { 0 };
    let mut words = Vec::with_capacity(groups.len());
    let mut valid = Vec::with_capacity(groups.len());
    for group in groups {
        let word = states[*group as usize].smallest()?;
        valid.push(word.is_some());
        words.push(word.map_or(0, |word| word ^ flip));
    }
    fixed::from_words(words, Some(NullBuffer::from(valid)), result)
}

/// Offers keys in row format.
pub(super) fn offer_rows<S: HasSmallest<Vec<u8>>>(states: &mut [S], keys: &Rows, members: &Members<'_>) -> Result<()> {
    let mut result = Ok(());
    members.for_each(|row, group, weight| {
        if let Err(error) = states[group].offer(keys.row(row).data(), weight) {
            result = Err(error);
        }
    });
    result
}

/// The extreme values from their row-format keys; `absent` is the key of null.
pub(super) fn evaluate_rows<S: HasSmallest<Vec<u8>>>(
    states: &[S],
    groups: &[u32],
    rows: &RowKeys,
    absent: &[u8],
) -> Result<ArrayRef> {
    let keys: Vec<&[u8]> = groups
        .iter()
        .map(|group| Ok(states[*group as usize].smallest()?.map_or(absent, Vec::as_slice)))
        .collect::<Result<_>>()?;
    Ok(rows.decode(keys)?.swap_remove(0))
}
