//! Counts, sums and averages: exact, and able to take back what was added.
//!
//! Sums are kept wider than their results, so that an overflow is a property of the multiset of values and
//! goes away when rows are taken back.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Decimal128Array, Decimal256Array, Float32Array, Float64Array, Int64Array,
};
use arrow::compute;
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, Float64Type, Int64Type, UInt64Type, i256};

use crate::aggregates::bytes::{Reader, put_i64, put_i128};
use crate::aggregates::float_sum::{FloatSum, FloatWidth};
use crate::aggregates::{Evaluated, GroupState, Members};
use crate::decimals::{self, Decimal};
use crate::error::{Error, Result};

/// How often something was there.
#[derive(Clone, Debug, Default)]
pub(super) struct Count(pub(super) i64);

impl GroupState for Count {
    fn save(&self, bytes: &mut Vec<u8>) {
        put_i64(bytes, self.0);
    }

    fn merge(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        self.0 += reader.i64()?;
        Ok(())
    }

    fn heap_bytes(&self) -> usize {
        0
    }
}

/// The sum of 64-bit integers: 2^63 rows do not overflow it.
#[derive(Clone, Debug, Default)]
pub(super) struct IntegerSum {
    sum: i128,
    count: i64,
}

impl GroupState for IntegerSum {
    fn save(&self, bytes: &mut Vec<u8>) {
        put_i128(bytes, self.sum);
        put_i64(bytes, self.count);
    }

    fn merge(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        self.sum = self.sum.wrapping_add(reader.i128()?);
        self.count += reader.i64()?;
        Ok(())
    }

    fn heap_bytes(&self) -> usize {
        0
    }
}

/// The sum of decimals in two halves, so that not even 76 digits overflow it:
/// `high * 2^128 + low`, where `low` sums what does not carry a sign.
#[derive(Clone, Debug, Default)]
pub(super) struct DecimalSum {
    high: i256,
    low: i256,
    count: i64,
}

impl DecimalSum {
    fn add(&mut self, value: i256, weight: i64) {
        let (low, high) = value.to_parts();
        let weight_wide = i256::from_i128(i128::from(weight));
        self.low = self.low.wrapping_add(i256::from_parts(low, 0).wrapping_mul(weight_wide));
        self.high = self.high.wrapping_add(i256::from_i128(high).wrapping_mul(weight_wide));
        self.count += weight;
    }

    /// The sum; `None` when it does not fit 256 bits.
    fn total(&self) -> Option<i256> {
        let (low, carry) = self.low.to_parts();
        let high = self.high.wrapping_add(i256::from_i128(carry)).to_i128()?;
        Some(i256::from_parts(low, high))
    }
}

impl GroupState for DecimalSum {
    fn save(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.high.to_le_bytes());
        bytes.extend_from_slice(&self.low.to_le_bytes());
        put_i64(bytes, self.count);
    }

    fn merge(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        self.high = self.high.wrapping_add(i256::from_parts(reader.i128()? as u128, reader.i128()?));
        self.low = self.low.wrapping_add(i256::from_parts(reader.i128()? as u128, reader.i128()?));
        self.count += reader.i64()?;
        Ok(())
    }

    fn heap_bytes(&self) -> usize {
        0
    }
}

/// The exact sum of floats and how many there are.
#[derive(Clone, Debug, Default)]
pub(super) struct CountedFloatSum {
    sum: FloatSum,
    count: i64,
}

impl GroupState for CountedFloatSum {
    fn save(&self, bytes: &mut Vec<u8>) {
        self.sum.save(bytes);
        put_i64(bytes, self.count);
    }

    fn merge(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        self.sum.add_sum(&FloatSum::load(reader)?);
        self.count += reader.i64()?;
        Ok(())
    }

    fn heap_bytes(&self) -> usize {
        self.sum.heap_bytes()
    }
}

/// How many values are true and how many are false.
#[derive(Clone, Debug, Default)]
pub(super) struct BoolCounts {
    yes: i64,
    no: i64,
}

impl GroupState for BoolCounts {
    fn save(&self, bytes: &mut Vec<u8>) {
        put_i64(bytes, self.yes);
        put_i64(bytes, self.no);
    }

    fn merge(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        self.yes += reader.i64()?;
        self.no += reader.i64()?;
        Ok(())
    }

    fn heap_bytes(&self) -> usize {
        0
    }
}

/// Whether the result of a sum is the sum itself or its average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Sum,
    Average,
    /// With the digits that Postgres gives a quotient.
    Mean,
}

pub(super) fn update_counts(states: &mut [Count], members: &Members<'_>) {
    members.for_each(|_, group, weight| states[group].0 += weight);
}

pub(super) fn evaluate_counts(states: &[Count], groups: &[u32]) -> Result<Evaluated> {
    let counts: Int64Array = groups.iter().map(|group| states[*group as usize].0).collect();
    match counts.values().iter().any(|count| *count < 0) {
        true => Err(negative()),
        false => Ok(Evaluated::of(Arc::new(counts))),
    }
}

pub(super) fn update_integers(states: &mut [IntegerSum], values: &ArrayRef, members: &Members<'_>) -> Result<()> {
    let mut add = |group: usize, value: i128, weight: i64| {
        let state = &mut states[group];
        state.sum = state.sum.wrapping_add(value.wrapping_mul(i128::from(weight)));
        state.count += weight;
    };
    if let Some(values) = values.as_primitive_opt::<UInt64Type>() {
        members.for_each(|row, group, weight| add(group, i128::from(values.value(row)), weight));
    } else {
        let values = compute::cast(values, &DataType::Int64)?;
        let values = values.as_primitive::<Int64Type>().values();
        members.for_each(|row, group, weight| add(group, i128::from(values[row]), weight));
    }
    Ok(())
}

pub(super) fn update_decimals(states: &mut [DecimalSum], values: &ArrayRef, members: &Members<'_>) {
    if let Some(values) = values.as_primitive_opt::<Decimal128Type>() {
        members.for_each(|row, group, weight| states[group].add(i256::from_i128(values.value(row)), weight));
    } else {
        let values = values.as_primitive::<Decimal256Type>();
        members.for_each(|row, group, weight| states[group].add(values.value(row), weight));
    }
}

pub(super) fn update_floats(states: &mut [CountedFloatSum], values: &ArrayRef, members: &Members<'_>) -> Result<()> {
    let values = compute::cast(values, &DataType::Float64)?;
    let values = values.as_primitive::<Float64Type>().values();
    members.for_each(|row, group, weight| {
        let state = &mut states[group];
        state.sum.add(values[row], weight);
        state.count += weight;
    });
    Ok(())
}

pub(super) fn update_bools(states: &mut [BoolCounts], values: &BooleanArray, members: &Members<'_>) {
    members.for_each(|row, group, weight| {
        let state = &mut states[group];
        *(if values.value(row) { &mut state.yes } else { &mut state.no }) += weight;
    });
}

/// Sums and averages of integers; `result` says which of their types comes out.
pub(super) fn evaluate_integers(
    states: &[IntegerSum],
    groups: &[u32],
    reading: Reading,
    result: &DataType,
) -> Result<Evaluated> {
    if result == &DataType::Int64 {
        return evaluate_each(
            groups,
            |group| match present(states[group].count)? {
                false => Ok(Ok(None)),
                true => Ok(i64::try_from(states[group].sum).map(Some).map_err(|_| "bigint out of range")),
            },
            |values| Ok(Arc::new(Int64Array::from(values))),
        );
    }
    evaluate_decimal(groups, result, 0, reading, |group| {
        (states[group].count, Some(i256::from_i128(states[group].sum)))
    })
}

/// Sums and averages of decimals with `scale` digits behind the point.
pub(super) fn evaluate_decimals(
    states: &[DecimalSum],
    groups: &[u32],
    reading: Reading,
    scale: i8,
    result: &DataType,
) -> Result<Evaluated> {
    evaluate_decimal(groups, result, scale, reading, |group| (states[group].count, states[group].total()))
}

fn evaluate_decimal(
    groups: &[u32],
    result: &DataType,
    scale: i8,
    reading: Reading,
    count_and_sum: impl Fn(usize) -> (i64, Option<i256>),
) -> Result<Evaluated> {
    let (precision, result_scale, wide) = match result {
        DataType::Decimal128(precision, scale) => (*precision, *scale, false),
        DataType::Decimal256(precision, scale) => (*precision, *scale, true),
        other => return Err(Error::internal(format!("an exact sum can't come out as {other}"))),
    };
    let shift = i256::from_i128(10).wrapping_pow((result_scale - scale).unsigned_abs().into());
    let bound = i256::from_i128(10).wrapping_pow(precision.into());
    let value = |group: usize| {
        let (count, sum) = count_and_sum(group);
        if !present(count)? {
            return Ok(Ok(None));
        }
        let shifted = |sum: i256| sum.checked_mul(shift);
        let value = sum.and_then(|sum| match reading {
            Reading::Sum => shifted(sum),
            Reading::Average => divide_half_away(shifted(sum)?, count),
            Reading::Mean => {
                let count = Decimal::new(i256::from_i128(count.into()), 0);
                decimals::quotient(Decimal::new(sum, scale), count, result_scale)
            }
        });
        Ok(match value.filter(|value| value.wrapping_abs() < bound) {
            Some(value) => Ok(Some(value)),
            None => Err("numeric field overflow"),
        })
    };
    evaluate_each(groups, value, |values| {
        Ok(if wide {
            Arc::new(Decimal256Array::from(values).with_precision_and_scale(precision, result_scale)?)
        } else {
            let narrow = values.into_iter().map(|value| value.map(i256::as_i128));
            Arc::new(narrow.collect::<Decimal128Array>().with_precision_and_scale(precision, result_scale)?)
        })
    })
}

/// `sum / count`, halves rounded away from zero as Postgres does.
fn divide_half_away(sum: i256, count: i64) -> Option<i256> {
    let count = i256::from_i128(i128::from(count));
    let quotient = sum.checked_div(count)?;
    let remainder = sum.wrapping_rem(count).wrapping_abs();
    if remainder.wrapping_add(remainder) < count {
        return Some(quotient);
    }
    Some(if sum.is_negative() { quotient.wrapping_sub(i256::ONE) } else { quotient.wrapping_add(i256::ONE) })
}

pub(super) fn evaluate_floats(
    states: &[CountedFloatSum],
    groups: &[u32],
    reading: Reading,
    result: &DataType,
) -> Result<Evaluated> {
    let width = if result == &DataType::Float32 { FloatWidth::Single } else { FloatWidth::Double };
    let value = |group: usize| {
        let state = &states[group];
        if !present(state.count)? {
            return Ok(Ok(None));
        }
        let sum = state.sum.round(width).ok_or("value out of range: overflow");
        Ok(sum.map(|sum| match reading {
            Reading::Sum => Some(sum),
            Reading::Average | Reading::Mean => Some(sum / state.count as f64),
        }))
    };
    evaluate_each(groups, value, |values| {
        Ok(match width {
            FloatWidth::Double => Arc::new(Float64Array::from(values)),
            FloatWidth::Single => {
                Arc::new(values.into_iter().map(|value| value.map(|value| value as f32)).collect::<Float32Array>())
            }
        })
    })
}

/// `bool_and` (is nothing false?) or `bool_or` (is anything true?).
pub(super) fn evaluate_bools(states: &[BoolCounts], groups: &[u32], all: bool) -> Result<Evaluated> {
    let mut values = Vec::with_capacity(groups.len());
    for group in groups {
        let BoolCounts { yes, no } = states[*group as usize];
        let there = present(yes)? | present(no)?;
        values.push(there.then_some(if all { no == 0 } else { yes > 0 }));
    }
    Ok(Evaluated::of(Arc::new(BooleanArray::from(values))))
}

/// The value of every group, null where it fails, and why it fails.
pub(super) fn evaluate_each<T>(
    groups: &[u32],
    value: impl Fn(usize) -> Result<Result<Option<T>, &'static str>>,
    array: impl FnOnce(Vec<Option<T>>) -> Result<ArrayRef>,
) -> Result<Evaluated> {
    let mut values = Vec::with_capacity(groups.len());
    let mut failures = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        values.push(match value(*group as usize)? {
            Ok(value) => value,
            Err(reason) => {
                failures.push((index, reason.to_string()));
                None
            }
        });
    }
    Ok(Evaluated { values: array(values)?, failures })
}

/// Whether there is a value; a negative count breaks invariant 6.
pub(super) fn present(count: i64) -> Result<bool> {
    if count < 0 { Err(negative()) } else { Ok(count > 0) }
}

/// More was taken back than had been added.
pub(super) fn negative() -> Error {
    Error::internal("a value was taken back from an aggregate that does not hold it")
}
