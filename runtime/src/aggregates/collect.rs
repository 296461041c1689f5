//! `string_agg` and `array_agg`: the values of a group in the order that was asked for.
//!
//! What the order leaves open is settled by the value itself, nulls last, so that the result is a function of
//! the multiset of rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, ListArray, StringBuilder};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{self, SortOptions};
use arrow::datatypes::{DataType, Field};
use arrow::row::SortField;

use crate::aggregates::Members;
use crate::aggregates::ordered::{Multiset, RowKeys};
use crate::error::{Error, Result};

/// The collected values of all groups.
pub(super) struct Collected {
    pub(super) groups: Vec<Multiset<Vec<u8>>>,
    /// Whether null is a value like any other.
    pub(super) keeps_nulls: bool,
    rows: RowKeys,
    /// Stands between two strings; `None` makes arrays.
    delimiter: Option<String>,
}

impl Collected {
    pub(super) fn strings(order: &[(DataType, SortOptions)], delimiter: &str) -> Result<Self> {
        let rows = keys(order, &DataType::Utf8)?;
        Ok(Self { groups: Vec::new(), keeps_nulls: false, rows, delimiter: Some(delimiter.to_owned()) })
    }

    pub(super) fn arrays(order: &[(DataType, SortOptions)], argument: &DataType) -> Result<Self> {
        Ok(Self { groups: Vec::new(), keeps_nulls: true, rows: keys(order, argument)?, delimiter: None })
    }

    pub(super) fn update(&mut self, argument: &ArrayRef, order: &[ArrayRef], members: &Members<'_>) -> Result<()> {
        let mut columns = order.to_vec();
        columns.push(match self.delimiter {
            Some(_) => compute::cast(argument, &DataType::Utf8)?,
            None => Arc::clone(argument),
        });
        let keys = self.rows.encode(&columns)?;
        members.for_each(|row, group, weight| {
            self.groups[group].add(keys.row(row).data(), weight);
        });
        Ok(())
    }

    pub(super) fn evaluate(&self, groups: &[u32], result: &DataType) -> Result<ArrayRef> {
        let mut keys: Vec<&[u8]> = Vec::new();
        let mut lengths = Vec::with_capacity(groups.len());
        for group in groups {
            let before = keys.len();
            for (key, count) in self.groups[*group as usize].counts()? {
                keys.extend((0..*count).map(|_| key.as_slice()));
            }
            lengths.push(keys.len() - before);
        }
        let values = self.rows.decode(keys)?.pop().expect("the value is the last column");
        match &self.delimiter {
            Some(delimiter) => Ok(join_strings(&values, &lengths, delimiter)),
            None => lists(values, &lengths, result),
        }
    }
}

fn keys(order: &[(DataType, SortOptions)], value: &DataType) -> Result<RowKeys> {
    let mut fields: Vec<SortField> =
        order.iter().map(|(data_type, options)| SortField::new_with_options(data_type.clone(), *options)).collect();
    let options = SortOptions { descending: false, nulls_first: false };
    fields.push(SortField::new_with_options(value.clone(), options));
    RowKeys::new(fields)
}

fn join_strings(values: &ArrayRef, lengths: &[usize], delimiter: &str) -> ArrayRef {
    let values = values.as_string::<i32>();
    let mut builder = StringBuilder::new();
    let mut joined = String::new();
    let mut at = 0;
    for length in lengths {
        joined.clear();
        for row in at..at + length {
            if row > at {
                joined.push_str(delimiter);
            }
            joined.push_str(values.value(row));
        }
        builder.append_option((*length > 0).then_some(&joined));
        at += length;
    }
    Arc::new(builder.finish())
}

fn lists(values: ArrayRef, lengths: &[usize], result: &DataType) -> Result<ArrayRef> {
    let DataType::List(field) = result else {
        return Err(Error::internal(format!("array_agg can't come out as {result}")));
    };
    let field: Arc<Field> = Arc::clone(field);
    let nulls: NullBuffer = lengths.iter().map(|length| *length > 0).collect();
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    Ok(Arc::new(ListArray::try_new(field, offsets, values, Some(nulls))?))
}
