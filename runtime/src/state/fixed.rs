//! Columns of at most eight bytes as `i64` words whose order is the order of the values.
//!
//! Floats are ordered as Postgres does: NaN, of whatever bits, is greater than everything else. As keys -0 and
//! 0 are one value and become 0; as ordered values -0 stands right before 0, so that a minimum does not
//! depend on which came first.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::compute;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};

use crate::error::Result;

/// Whether values of this type have a word each.
pub fn is_fixed(data_type: &DataType) -> bool {
    word_type(data_type).is_some()
}

/// The types that a value goes through on its way to 64 bits, the nearest first.
fn word_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Some(DataType::Int64),
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => Some(DataType::Int64),
        DataType::Date32 | DataType::Time32(_) => Some(DataType::Int32),
        DataType::Date64 | DataType::Time64(_) | DataType::Timestamp(..) | DataType::Duration(_) => {
            Some(DataType::Int64)
        }
        DataType::Float32 | DataType::Float64 => Some(DataType::Float64),
        _ => None,
    }
}

/// The words of an array of a fixed type; those of nulls are arbitrary.
pub fn to_words(array: &ArrayRef) -> Result<Int64Array> {
    let nearest = word_type(array.data_type()).expect("the caller asked is_fixed");
    if nearest == DataType::Float64 {
        let doubles = compute::cast(array, &DataType::Float64)?;
        return Ok(doubles.as_primitive::<Float64Type>().unary(float_to_word));
    }
    let words = compute::cast(&compute::cast(array, &nearest)?, &DataType::Int64)?;
    Ok(words.as_primitive::<Int64Type>().clone())
}

/// The array of a fixed type that has these words.
pub fn from_words(words: Vec<i64>, nulls: Option<NullBuffer>, data_type: &DataType) -> Result<ArrayRef> {
    let nearest = word_type(data_type).expect("the caller asked is_fixed");
    let words = Int64Array::new(words.into(), nulls);
    if nearest == DataType::Float64 {
        let doubles: Float64Array = words.unary(word_to_float);
        return Ok(compute::cast(&doubles, data_type)?);
    }
    Ok(compute::cast(&compute::cast(&words, &nearest)?, data_type)?)
}

fn float_to_word(value: f64) -> i64 {
    let value = if value.is_nan() { f64::NAN } else { value };
    let bits = value.to_bits() as i64;
    // Negative floats are ordered backwards by their bits.
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

fn word_to_float(word: i64) -> f64 {
    f64::from_bits((word ^ (((word >> 63) as u64) >> 1) as i64) as u64)
}

/// The array with every float that equals another one in the same bits: -0 becomes 0 and NaN the one NaN.
pub fn canonical_floats(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float32 => {
            let canonical: PrimitiveArray<Float32Type> =
                array.as_primitive::<Float32Type>().unary(|v| if v.is_nan() { f32::NAN } else { v + 0.0 });
            Arc::new(canonical)
        }
        DataType::Float64 => {
            let canonical: PrimitiveArray<Float64Type> =
                array.as_primitive::<Float64Type>().unary(|v| if v.is_nan() { f64::NAN } else { v + 0.0 });
            Arc::new(canonical)
        }
        _ => Arc::clone(array),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use arrow::array::{Date32Array, Float32Array, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn words_keep_values_and_order() {
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(Float64Array::from(vec![
                Some(f64::NEG_INFINITY),
                Some(-1.5),
                Some(-0.0),
                Some(0.0),
                Some(5e-324),
                Some(f64::INFINITY),
                Some(f64::NAN),
            ])),
            Arc::new(Float32Array::from(vec![f32::MIN, -0.0, 0.0, 1e-45, f32::MAX])),
            Arc::new(Date32Array::from(vec![-1, 0, 20_000])),
            Arc::new(TimestampMicrosecondArray::from(vec![i64::MIN, -1, 0, i64::MAX]).with_timezone("UTC")),
        ];
        for array in arrays {
            let words = to_words(&array).unwrap();
            assert!(words.values().is_sorted(), "{array:?}");
            let back = from_words(words.values().to_vec(), None, array.data_type()).unwrap();
            assert_eq!(&back, &array);
        }
    }

    #[test]
    fn equal_floats_get_equal_bits() {
        let array: ArrayRef = Arc::new(Float64Array::from(vec![-0.0, -f64::NAN]));
        let canonical = canonical_floats(&array);
        let values = canonical.as_primitive::<Float64Type>().values();
        assert_eq!(values[0].to_bits(), 0);
        assert_eq!(values[1].to_bits(), f64::NAN.to_bits());
    }
}
