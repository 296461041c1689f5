//! Keys in one form for hashing, comparing and storing, whatever their columns are.
//!
//! Up to three columns of at most eight bytes are packed into words; everything else goes through arrow's row
//! format. The form follows from the types alone and the hash has a fixed seed, so that the exchanges and the
//! state that they feed agree on the group of every key. Nulls are values here: grouping treats them as
//! equal, and a join takes them out before.

use arrow::array::{Array, ArrayRef, new_empty_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::operator::KEY_GROUPS;
use crate::state::fixed;

/// Turns key columns into encoded keys and back.
pub struct KeyCodec {
    types: Vec<DataType>,
    /// `None` for packed keys.
    rows: Option<RowConverter>,
}

/// The keys of a batch with their hashes.
pub struct EncodedKeys {
    /// One per row.
    pub hashes: Vec<u64>,
    pub(super) form: Form,
}

/// A packed key: bits that are set where a column is null, then a word per column, 0 for nulls.
pub(super) enum Form {
    One(Vec<[u64; 2]>),
    Two(Vec<[u64; 3]>),
    Three(Vec<[u64; 4]>),
    Rows(Rows),
}

/// Columns that a packed key can have.
const PACKED_COLUMNS: usize = 3;

impl KeyCodec {
    /// Keys of these column types; an invalid error when they can't be compared.
    pub fn new(types: Vec<DataType>) -> Result<Self> {
        let packed = types.len() <= PACKED_COLUMNS && types.iter().all(fixed::is_fixed);
        if packed {
            return Ok(Self { types, rows: None });
        }
        let fields: Vec<SortField> = types.iter().cloned().map(SortField::new).collect();
        if !RowConverter::supports_fields(&fields) {
            let names: Vec<String> = types.iter().map(ToString::to_string).collect();
            return Err(Error::invalid(format!("values of type {} can't be compared", names.join(", "))));
        }
        Ok(Self { types, rows: Some(RowConverter::new(fields)?) })
    }

    /// Encodes `row_count` keys; without columns all of them are the one empty key.
    pub fn encode(&self, columns: &[ArrayRef], row_count: usize) -> Result<EncodedKeys> {
        assert_eq!(columns.len(), self.types.len(), "a key has a value per column");
        let canonical: Vec<ArrayRef> = columns.iter().map(fixed::canonical_floats).collect();
        let Some(rows) = &self.rows else {
            return match columns.len() {
                0 | 1 => packed::<2>(&canonical, row_count, Form::One),
                2 => packed::<3>(&canonical, row_count, Form::Two),
                _ => packed::<4>(&canonical, row_count, Form::Three),
            };
        };
        let rows = rows.convert_columns(&canonical)?;
        let hashes = rows.iter().map(|row| xxh3_64(row.data())).collect();
        Ok(EncodedKeys { hashes, form: Form::Rows(rows) })
    }

    /// The key group of a key with this hash. Takes bits that the hash table does not use, so that a subtask
    /// with few groups still fills its table evenly. The empty key is in group 0, which the first subtask
    /// holds: there, operators that can't be spread run.
    #[inline]
    pub fn key_group(&self, hash: u64) -> u16 {
        if self.types.is_empty() { 0 } else { ((hash >> 40) % u64::from(KEY_GROUPS)) as u16 }
    }

    pub(super) fn empty_columns(&self) -> Vec<ArrayRef> {
        self.types.iter().map(new_empty_array).collect()
    }

    pub(super) fn decode_packed<const N: usize>(&self, keys: impl Iterator<Item = [u64; N]>) -> Result<Vec<ArrayRef>> {
        let keys: Vec<[u64; N]> = keys.collect();
        let column = |(index, data_type): (usize, &DataType)| {
            let words = keys.iter().map(|key| key[index + 1] as i64).collect();
            let valid: NullBuffer = keys.iter().map(|key| key[0] >> index & 1 == 0).collect();
            fixed::from_words(words, (valid.null_count() > 0).then_some(valid), data_type)
        };
        self.types.iter().enumerate().map(column).collect()
    }

    pub(super) fn decode_rows<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let rows = self.rows.as_ref().expect("keys in row format have a converter");
        let parser = rows.parser();
        Ok(rows.convert_rows(keys.map(|key| parser.parse(key)))?)
    }
}

fn packed<const N: usize>(
    columns: &[ArrayRef],
    row_count: usize,
    form: impl FnOnce(Vec<[u64; N]>) -> Form,
) -> Result<EncodedKeys> {
    let mut keys = vec![[0; N]; row_count];
    for (index, column) in columns.iter().enumerate() {
        let words = fixed::to_words(column)?;
        for (key, word) in keys.iter_mut().zip(words.values()) {
            key[index + 1] = *word as u64;
        }
        if let Some(nulls) = column.nulls().filter(|nulls| nulls.null_count() > 0) {
            for (key, valid) in keys.iter_mut().zip(nulls) {
                if !valid {
                    key[0] |= 1 << index;
                    key[index + 1] = 0;
                }
            }
        }
    }
    Ok(EncodedKeys { hashes: keys.iter().map(hash_words).collect(), form: form(keys) })
}

/// Multiplies to 128 bits and folds, word by word, as wyhash does.
#[inline]
fn hash_words<const N: usize>(words: &[u64; N]) -> u64 {
    const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
    const FACTOR: u64 = 0xd6e8_feb8_6659_fd93;
    let fold = |value: u64| {
        let product = u128::from(value) * u128::from(FACTOR);
        (product as u64) ^ (product >> 64) as u64
    };
    fold(words.iter().fold(SEED, |hash, word| fold(hash ^ word).wrapping_add(FACTOR)))
}

/// The key group of every row: where an exchange sends it, and what the state behind writes it under.
pub fn key_groups(columns: &[ArrayRef]) -> Result<Vec<u16>> {
    let row_count = columns.first().map_or(0, |column| column.len());
    let codec = KeyCodec::new(columns.iter().map(|column| column.data_type().clone()).collect())?;
    Ok(codec.encode(columns, row_count)?.hashes.into_iter().map(|hash| codec.key_group(hash)).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use arrow::array::{Float64Array, Int32Array, Int64Array, StringArray};

    use super::*;
    use crate::state::KeyTable;

    fn columns() -> Vec<ArrayRef> {
        vec![
            Arc::new(Int64Array::from_iter((0..1000).map(|i| (i % 7 != 0).then_some(i * 977)))),
            Arc::new(Float64Array::from_iter((0..1000).map(|i| Some(f64::from(i % 10) / 3.0)))),
            Arc::new(StringArray::from_iter((0..1000).map(|i| Some(format!("key {}", i % 50))))),
            Arc::new(Int32Array::from_iter((0..1000).map(|i| (i % 3 != 0).then_some(i)))),
        ]
    }

    #[test]
    fn every_form_finds_its_keys_and_gives_them_back() {
        let all = columns();
        for chosen in [vec![], vec![0], vec![2], vec![0, 1], vec![3, 0, 1], vec![0, 2], vec![0, 1, 3, 0]] {
            let key: Vec<ArrayRef> = chosen.iter().map(|column: &usize| Arc::clone(&all[*column])).collect();
            let mut table = KeyTable::new(key.iter().map(|column| column.data_type().clone()).collect()).unwrap();
            let encoded = table.encode(&key, 1000).unwrap();
            let slots = table.upsert(&encoded).slots;
            assert_eq!(table.find(&encoded), slots);
            for (stored, column) in table.columns(&slots).unwrap().iter().zip(&key) {
                assert_eq!(stored, column, "{chosen:?}");
            }
            let groups: Vec<u16> = slots.iter().map(|slot| table.key_group(*slot)).collect();
            match key.is_empty() {
                true => assert!(groups.iter().all(|group| *group == 0)),
                false => assert_eq!(key_groups(&key).unwrap(), groups, "exchanges agree with the state"),
            }
        }
    }

    #[test]
    fn key_groups_are_used_evenly() {
        let key: ArrayRef = Arc::new(Int64Array::from_iter_values(0..128_000));
        let mut sizes = vec![0; usize::from(KEY_GROUPS)];
        for group in key_groups(&[key]).unwrap() {
            sizes[usize::from(group)] += 1;
        }
        assert!(sizes.iter().all(|size| (800..1200).contains(size)), "{sizes:?}");
    }

    #[test]
    fn equal_floats_are_one_key() {
        let key: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN]));
        let mut table = KeyTable::new(vec![DataType::Float64]).unwrap();
        let encoded = table.encode(&[key], 4).unwrap();
        assert_eq!(table.upsert(&encoded).slots, vec![0, 0, 1, 1]);
    }
}
