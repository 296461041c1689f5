//! Casts to `real` and `double precision` that fail where the value does not fit, as Postgres' do; Arrow's make
//! an infinity or a zero of it.

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

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
    let signature = Signature::any(1, Volatility::Immutable);
    let function = FloatCast { name: format!("cast to {}", sql_type(target)), target: target.clone(), signature };
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(function)), vec![value]))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FloatCast {
    name: String,
    target: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for FloatCast {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.target.clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(match &arguments.args[0] {
            ColumnarValue::Array(values) => ColumnarValue::Array(self.cast(values)?),
            ColumnarValue::Scalar(value) => {
                ColumnarValue::Scalar(ScalarValue::try_from_array(&self.cast(&value.to_array()?)?, 0)?)
            }
        })
    }
}

impl FloatCast {
    fn cast(&self, values: &ArrayRef) -> Result<ArrayRef> {
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let floats = cast_with_options(values, &self.target, &options)?;
        match self.target {
            DataType::Float32 => self.check::<Float32Type>(values, &floats)?,
            _ => self.check::<Float64Type>(values, &floats)?,
        }
        Ok(floats)
    }

    fn check<T: ArrowPrimitiveType<Native: Into<f64>>>(&self, values: &ArrayRef, floats: &ArrayRef) -> Result<()> {
        for (row, float) in floats.as_primitive::<T>().iter().enumerate() {
            let Some(float) = float else { continue };
            let float: f64 = float.into();
            if float.is_infinite() || float == 0.0 {
                self.check_extreme(values, row, float)?;
            }
        }
        Ok(())
    }

    /// A zero or an infinity must come of one.
    fn check_extreme(&self, values: &ArrayRef, row: usize, float: f64) -> Result<()> {
        if let Some(texts) = values.as_string_opt::<i32>() {
            let text = texts.value(row);
            return match fits(text, float) {
                true => Ok(()),
                false => Err(DataFusionError::Execution(out_of_range(text, &self.target))),
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
