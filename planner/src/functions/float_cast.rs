//! Casts to `real` and `double precision` that fail where the value does not fit, as Postgres' do; Arrow's make
//! an infinity or a zero of it.

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, FieldRef, Float32Type, Float64Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;

use super::cast::{Conversion, converted};
use super::checked::{FLOAT_OVERFLOW, FLOAT_UNDERFLOW};
use super::sql_type;

/// Whether values of the source can be outside of the target's range.
pub(crate) fn needs_float_cast(source: &DataType, target: &DataType) -> bool {
    match target {
        DataType::Float64 => *source == DataType::Utf8,
        DataType::Float32 => {
            matches!(source, DataType::Utf8 | DataType::Float64 | DataType::Decimal128(..) | DataType::Decimal256(..))
        }
        _ => false,
    }
}

/// The value as a float of the type `target`.
pub(crate) fn float_cast(value: Expr, target: &DataType) -> Expr {
    converted(value, target, FloatCast)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FloatCast;

impl Conversion for FloatCast {
    fn convert(&self, values: &ArrayRef, _source: &FieldRef, target: &DataType) -> Result<ArrayRef> {
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let floats = cast_with_options(values, target, &options)?;
        match target {
            DataType::Float32 => check::<Float32Type>(values, &floats)?,
            _ => check::<Float64Type>(values, &floats)?,
        }
        Ok(floats)
    }
}

fn check<T: ArrowPrimitiveType<Native: Into<f64>>>(values: &ArrayRef, floats: &ArrayRef) -> Result<()> {
    for (row, float) in floats.as_primitive::<T>().iter().enumerate() {
        let Some(float) = float else { continue };
        let float: f64 = float.into();
        if float.is_infinite() || float == 0.0 {
            check_extreme(values, row, float, &T::DATA_TYPE)?;
        }
    }
    Ok(())
}

/// A zero or an infinity must come of one.
fn check_extreme(values: &ArrayRef, row: usize, float: f64, target: &DataType) -> Result<()> {
    if let Some(texts) = values.as_string_opt::<i32>() {
        let text = texts.value(row);
        return match fits(text, float) {
            true => Ok(()),
            false => Err(DataFusionError::Execution(out_of_range(text, target))),
        };
    }
    let kept = match values.as_primitive_opt::<Float64Type>() {
        Some(sources) => sources.value(row) == float,
        // A numeric knows no infinity.
        None => float == 0.0,
    };
    let message = if float == 0.0 { FLOAT_UNDERFLOW } else { FLOAT_OVERFLOW };
    if kept { Ok(()) } else { Err(DataFusionError::Execution(message.to_string())) }
}

/// Whether a text that was read as zero or infinity says so: it has no other digit, or is no number.
pub(crate) fn fits(text: &str, float: f64) -> bool {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    match float == 0.0 {
        true => !mantissa.bytes().any(|byte| byte.is_ascii_digit() && byte != b'0'),
        false => !mantissa.bytes().any(|byte| byte.is_ascii_digit()),
    }
}

/// What Postgres says of a text that stands for no float.
pub(crate) fn out_of_range(text: &str, target: &DataType) -> String {
    format!("\"{text}\" is out of range for type {}", sql_type(target))
}
