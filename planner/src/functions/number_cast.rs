//! Casts between numerics and floats, by their decimal digits: a float has so many of them as Postgres takes for sure,
//! and a numeric becomes the float nearest to it. Arrow's own divide by a power of ten, which is not exact.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array};
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, FieldRef, Float32Type, Float64Type, i256};
use bytes::BytesMut;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;

use super::cast::{Conversion, converted};
use super::float_cast::out_of_range;
use crate::bind::refuse;
use crate::error::PlanErrorKind;
use crate::values::{Decimal, put_float4, put_float8};

/// Whether a cast is one of these.
pub(crate) fn needs_number_cast(source: &DataType, target: &DataType) -> bool {
    let is_float = |data_type: &DataType| matches!(data_type, DataType::Float32 | DataType::Float64);
    (source.is_decimal() && is_float(target)) || (is_float(source) && target.is_decimal())
}

/// The number as one of the type `target`.
pub(crate) fn number_cast(number: Expr, target: &DataType) -> Expr {
    converted(number, target, NumberCast)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct NumberCast;

impl Conversion for NumberCast {
    fn convert(&self, values: &ArrayRef, _source: &FieldRef, target: &DataType) -> Result<ArrayRef> {
        match target {
            DataType::Float64 => Ok(Arc::new(parsed::<f64>(values)?.into_iter().collect::<Float64Array>())),
            DataType::Float32 => {
                let floats = parsed::<f32>(values)?;
                match floats.iter().position(|float| float.is_some_and(f32::is_infinite)) {
                    Some(row) => Err(DataFusionError::Execution(out_of_range(&text_at(values, row)?, target))),
                    None => Ok(Arc::new(floats.into_iter().collect::<Float32Array>())),
                }
            }
            target => {
                if values.is_empty() {
                    return Ok(arrow::array::new_empty_array(target));
                }
                let numerics = (0..values.len()).map(|row| numeric(values, row, target));
                ScalarValue::iter_to_array(numerics.collect::<Result<Vec<_>>>()?)
            }
        }
    }
}

/// The numbers that the digits of numerics stand for.
fn parsed<T: std::str::FromStr>(values: &ArrayRef) -> Result<Vec<Option<T>>> {
    let float = |row: usize| {
        if values.is_null(row) {
            return Ok(None);
        }
        let text = text_at(values, row)?;
        let float = text.parse().map_err(|_| DataFusionError::Internal(format!("{text} is no number")))?;
        Ok(Some(float))
    };
    (0..values.len()).map(float).collect()
}

/// The digits of a numeric.
fn text_at(values: &ArrayRef, row: usize) -> Result<String> {
    let decimal = match values.data_type() {
        DataType::Decimal128(_, scale) => {
            Decimal::new(i256::from_i128(values.as_primitive::<Decimal128Type>().value(row)), *scale)
        }
        DataType::Decimal256(_, scale) => Decimal::new(values.as_primitive::<Decimal256Type>().value(row), *scale),
        other => return Err(DataFusionError::Internal(format!("{other} is no numeric"))),
    };
    let mut text = BytesMut::new();
    decimal.put_text(&mut text);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A float in the digits of a column, of its own 15, or of a `real` 6.
fn numeric(values: &ArrayRef, row: usize, target: &DataType) -> Result<ScalarValue> {
    let (DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale)) = target else {
        return Err(DataFusionError::Internal(format!("{target} is no numeric")));
    };
    if values.is_null(row) {
        return ScalarValue::try_from(target);
    }
    let mut text = BytesMut::new();
    match values.data_type() {
        DataType::Float32 => put_float4(&mut text, values.as_primitive::<Float32Type>().value(row), 0),
        _ => put_float8(&mut text, values.as_primitive::<Float64Type>().value(row), 0),
    }
    let decimal = Decimal::parse(&String::from_utf8_lossy(&text));
    let decimal = decimal.map_err(|error| DataFusionError::External(Box::new(error)))?.rounded(*scale);
    let overflow = || refuse(PlanErrorKind::NumericValueOutOfRange, "numeric field overflow");
    let unscaled = decimal.unscaled(*precision, *scale).ok_or_else(overflow)?;
    Ok(match target {
        DataType::Decimal128(..) => {
            ScalarValue::Decimal128(Some(unscaled.to_i128().ok_or_else(overflow)?), *precision, *scale)
        }
        _ => ScalarValue::Decimal256(Some(unscaled), *precision, *scale),
    })
}
