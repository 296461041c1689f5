//! Functions of floats that fail where Postgres' do: DataFusion's give an infinity, a zero or NaN. And those that
//! round otherwise, or that it lacks.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, new_empty_array};
use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::checked::{FLOAT_OVERFLOW, FLOAT_UNDERFLOW};
use super::forms::{Form, Gives, Takes, form, function, undefined};
use super::sql_type;
use super::wrapped::{Around, wrapped};
use crate::bind::refuse;
use crate::error::PlanErrorKind;

/// The functions that are checked.
const CHECKED: [&str; 10] = ["exp", "power", "pow", "ln", "log10", "log2", "log", "sqrt", "sinh", "cosh"];

/// The functions of angles, which are defined on some numbers only.
const OF_ANGLES: [&str; 8] = ["acos", "asin", "acosh", "atanh", "sin", "cos", "tan", "cot"];

/// What has no form of DataFusion's.
const SIGN: &[Form] = &[form(&[Takes::Float], Gives::Float, |columns, _, _| {
    let signs = columns[0].as_primitive::<Float64Type>();
    Ok(Arc::new(signs.unary::<_, Float64Type>(|value| if value == 0.0 { value } else { value.signum() })))
})];

/// Functions of ours.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let remainder = Remainder { signature: Signature::user_defined(Volatility::Immutable) };
    vec![function("sign", &[], SIGN), Arc::new(ScalarUDF::from(remainder))]
}

/// `mod(a, b)`, which is `a % b` of integers and numerics; of floats there is none.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Remainder {
    signature: Signature,
}

impl ScalarUDFImpl for Remainder {
    fn name(&self) -> &str {
        "mod"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, found: &[DataType]) -> Result<Vec<DataType>> {
        let whole = |data_type: &DataType| match data_type {
            DataType::Null | DataType::Int8 | DataType::Int16 | DataType::Int32 => Some(DataType::Int32),
            DataType::Int64 => Some(DataType::Int64),
            _ => None,
        };
        let numeric = |data_type: &DataType| match whole(data_type) {
            Some(DataType::Int32) => Some(DataType::Decimal128(10, 0)),
            Some(_) => Some(DataType::Decimal128(19, 0)),
            None => data_type.is_decimal().then(|| data_type.clone()),
        };
        if let [left, right] = found {
            if let (Some(left), Some(right)) = (whole(left), whole(right)) {
                let wide = left == DataType::Int64 || right == DataType::Int64;
                return Ok(vec![if wide { DataType::Int64 } else { DataType::Int32 }; 2]);
            }
            if let (Some(left), Some(right)) = (numeric(left), numeric(right)) {
                let is_wide = |data_type: &DataType| matches!(data_type, DataType::Decimal256(..));
                let wide = is_wide(&left) || is_wide(&right);
                let widened = |data_type: DataType| match data_type {
                    DataType::Decimal128(precision, scale) if wide => DataType::Decimal256(precision, scale),
                    other => other,
                };
                return Ok(vec![widened(left), widened(right)]);
            }
        }
        let types: Vec<String> = found.iter().map(sql_type).collect();
        Err(undefined(self.name(), &types.join(", ")))
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let types = self.coerce_types(types)?;
        let (left, right) = (new_empty_array(&types[0]), new_empty_array(&types[1]));
        Ok(numeric::rem(&left, &right)?.data_type().clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let columns = arguments.args.iter().map(|argument| argument.to_array(rows)).collect::<Result<Vec<_>>>()?;
        Ok(ColumnarValue::Array(numeric::rem(&columns[0], &columns[1])?))
    }
}

/// A function of DataFusion's with its results checked, or the function itself.
pub(super) fn checked(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    if CHECKED.contains(&function.name()) { wrapped(function, Checked) } else { function }
}

/// A function of angles of DataFusion's with its arguments checked, or the function itself.
pub(super) fn of_angles(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    if OF_ANGLES.contains(&function.name()) { wrapped(function, Checked) } else { function }
}

/// DataFusion's `round` with floats rounded to whole numbers as Postgres rounds them, or the function itself.
pub(super) fn rounding(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    if function.name() == "round" { wrapped(function, HalvesToEven) } else { function }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct HalvesToEven;

impl Around for HalvesToEven {
    fn call(&self, inner: &ScalarUDF, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let target = arguments.return_field.data_type();
        match arguments.args.as_slice() {
            [value] if target.is_floating() => {
                Ok(ColumnarValue::Array(halves_to_even(&value.to_array(arguments.number_rows)?, target)?))
            }
            _ => inner.inner().invoke_with_args(arguments),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked;

impl Around for Checked {
    fn call(&self, inner: &ScalarUDF, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let arrays = |values: &[ColumnarValue]| {
            let floats = |value: &ColumnarValue| Ok(arrow::compute::cast(&value.to_array(rows)?, &DataType::Float64)?);
            values.iter().map(floats).collect::<Result<Vec<ArrayRef>>>()
        };
        let floating = arguments.return_field.data_type().is_floating();
        let given = if floating { arrays(&arguments.args)? } else { Vec::new() };
        for row in 0..if floating { rows } else { 0 } {
            if let Some(values) = row_of(&given, row) {
                check_arguments(inner.name(), &values)?;
            }
        }
        let result = inner.inner().invoke_with_args(arguments)?;
        if floating {
            let results = arrays(std::slice::from_ref(&result))?;
            for row in 0..rows {
                if let (Some(values), Some(result)) = (row_of(&given, row), row_of(&results, row)) {
                    check_result(inner.name(), &values, result[0])?;
                }
            }
        }
        Ok(result)
    }
}

/// Floats rounded as Postgres rounds them: halves to the even neighbour. Numerics go away from zero.
fn halves_to_even(floats: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    let floats = arrow::compute::cast(floats, &DataType::Float64)?;
    let rounded = floats.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::round_ties_even);
    Ok(arrow::compute::cast(&rounded, target)?)
}

/// The values of a row; `None` where one is NULL.
fn row_of(columns: &[ArrayRef], row: usize) -> Option<Vec<f64>> {
    columns
        .iter()
        .map(|column| (!column.is_null(row)).then(|| column.as_primitive::<Float64Type>().value(row)))
        .collect()
}

fn check_arguments(name: &str, values: &[f64]) -> Result<()> {
    let power = |message: &str| Err(refuse(PlanErrorKind::InvalidArgumentForPower, message));
    let out_of_range = || Err(refuse(PlanErrorKind::NumericValueOutOfRange, "input is out of range"));
    let logarithm = |message: &str| Err(refuse(PlanErrorKind::InvalidArgumentForLogarithm, message));
    match (name, values) {
        ("acos" | "asin", [value]) if value.abs() > 1.0 => out_of_range(),
        ("acosh", [value]) if *value < 1.0 => out_of_range(),
        ("atanh", [value]) if value.abs() > 1.0 => out_of_range(),
        ("sin" | "cos" | "tan" | "cot", [value]) if value.is_infinite() => out_of_range(),
        ("ln" | "log10" | "log2", [value]) | ("log", [value]) | ("log", [_, value]) if *value == 0.0 => {
            logarithm("cannot take logarithm of zero")
        }
        ("ln" | "log10" | "log2" | "log", [value]) | ("log", [_, value]) if *value < 0.0 => {
            logarithm("cannot take logarithm of a negative number")
        }
        ("sqrt", [value]) if *value < 0.0 => power("cannot take square root of a negative number"),
        ("power" | "pow", [base, exponent]) if *base == 0.0 && *exponent < 0.0 => {
            power("zero raised to a negative power is undefined")
        }
        ("power" | "pow", [base, exponent])
            if *base < 0.0 && base.is_finite() && exponent.is_finite() && exponent.fract() != 0.0 =>
        {
            power("a negative number raised to a non-integer power yields a complex result")
        }
        _ => Ok(()),
    }
}

fn check_result(name: &str, values: &[f64], result: f64) -> Result<()> {
    if values.iter().any(|value| !value.is_finite()) {
        return Ok(());
    }
    // These have infinities where nothing has overflown.
    if result.is_infinite() && !OF_ANGLES.contains(&name) {
        return Err(DataFusionError::Execution(FLOAT_OVERFLOW.to_string()));
    }
    let vanished = match (name, values) {
        ("exp", _) => true,
        ("power" | "pow", [base, _]) => *base != 0.0,
        _ => false,
    };
    if result == 0.0 && vanished {
        return Err(DataFusionError::Execution(FLOAT_UNDERFLOW.to_string()));
    }
    Ok(())
}
