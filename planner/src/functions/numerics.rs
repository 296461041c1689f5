//! Arithmetic of numerics with the digits that Postgres gives the results, as far as a column can have them.
//!
//! A numeric has the digits of its column here, so a result's are chosen when it is planned: all that its operands can
//! need, in 256 bits where 128 are too few. Quotients are always made here ([`millstream_runtime::decimals`]); sums,
//! products and remainders only where DataFusion's own would have too few digits for them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Decimal256Array};
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, i256};
use arrow::error::ArrowError;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use millstream_runtime::decimals::{self, Decimal};

use super::forms::undefined;
use super::sql_type;
use crate::bind::refuse;
use crate::error::PlanErrorKind;
use crate::types::{DECIMAL128_PRECISION_MAX, DECIMAL256_PRECISION_MAX};

/// Digits behind the point that a result has where it has no room for all of them.
const CROWDED_SCALE: i32 = 38;
/// Digits that a quotient has from its first one on: sixteen, in whole groups of four that begin anywhere.
const QUOTIENT_DIGITS: i32 = 16 + 4;

/// An operation of two numerics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operation {
    fn of_symbol(symbol: &str) -> Option<Self> {
        Some(match symbol {
            "+" => Self::Add,
            "-" => Self::Subtract,
            "*" => Self::Multiply,
            "/" => Self::Divide,
            "%" => Self::Remainder,
            _ => return None,
        })
    }

    /// Its name in plans and so in the fingerprints of views.
    fn name(self) -> &'static str {
        match self {
            Self::Add => "numeric_add",
            Self::Subtract => "numeric_sub",
            Self::Multiply => "numeric_mul",
            Self::Divide => "numeric_div",
            Self::Remainder => "numeric_mod",
        }
    }
}

/// The operation that a function of this name is.
pub(crate) fn operation_of(name: &str) -> Option<Operation> {
    use Operation::{Add, Divide, Multiply, Remainder, Subtract};
    [Add, Subtract, Multiply, Divide, Remainder].into_iter().find(|operation| operation.name() == name)
}

/// An operator between numerics, or a numeric and an integer, as a call; `None` where DataFusion's own has all digits,
/// and for what is no such operator.
pub(crate) fn operation(symbol: &str, left: &Expr, right: &Expr, schema: &DFSchema) -> Option<Expr> {
    let operation = Operation::of_symbol(symbol)?;
    let types = [left.get_type(schema).ok()?, right.get_type(schema).ok()?];
    if !types.iter().any(DataType::is_decimal) {
        return None;
    }
    let digits = Digits::of(&types[0])?.operated(operation, Digits::of(&types[1])?);
    let wide = types.iter().any(|data_type| matches!(data_type, DataType::Decimal256(..)));
    let enough = operation != Operation::Divide && digits.precision() <= DECIMAL128_PRECISION_MAX as i32 && !wide;
    let function = Numeric { operation, signature: Signature::user_defined(Volatility::Immutable) };
    (!enough).then(|| ScalarUDF::from(function).call(vec![left.clone(), right.clone()]))
}

/// How many digits stand before and behind the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Digits {
    whole: i32,
    scale: i32,
}

impl Digits {
    fn of(data_type: &DataType) -> Option<Self> {
        let whole = |whole| Some(Self { whole, scale: 0 });
        match data_type {
            DataType::Int8 => whole(3),
            DataType::Int16 | DataType::UInt8 => whole(5),
            DataType::Int32 | DataType::UInt16 => whole(10),
            DataType::Int64 | DataType::UInt32 => whole(19),
            DataType::UInt64 => whole(20),
            DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
                let scale = i32::from(*scale);
                Some(Self { whole: (i32::from(*precision) - scale).max(0), scale })
            }
            _ => None,
        }
    }

    fn precision(self) -> i32 {
        self.whole + self.scale
    }

    /// Those of the result, at most as many as there are.
    fn operated(self, operation: Operation, other: Self) -> Self {
        let scale = self.scale.max(other.scale);
        let wanted = match operation {
            // Columns of 38 digits stay such in sums: a digit more is needed once in a life.
            Operation::Add | Operation::Subtract => match self.whole.max(other.whole) {
                whole if whole + scale == DECIMAL128_PRECISION_MAX as i32 => Self { whole, scale },
                whole => Self { whole: whole + 1, scale },
            },
            Operation::Multiply => Self { whole: self.whole + other.whole, scale: self.scale + other.scale },
            // The smallest quotient is that of the smallest number and the largest.
            Operation::Divide => {
                let zeros = self.scale + other.whole;
                let scale = (QUOTIENT_DIGITS + (zeros + 3) / 4 * 4).min(CROWDED_SCALE).max(scale);
                Self { whole: self.whole + other.scale, scale }
            }
            Operation::Remainder => Self { whole: self.whole.min(other.whole), scale },
        };
        let most = DECIMAL256_PRECISION_MAX as i32;
        if wanted.precision() <= most {
            return wanted;
        }
        let scale = (most - wanted.whole).max(wanted.scale.min(CROWDED_SCALE));
        Self { whole: most - scale, scale }
    }

    fn data_type(self) -> DataType {
        let (precision, scale) = (self.precision().clamp(1, DECIMAL256_PRECISION_MAX as i32) as u8, self.scale as i8);
        match u64::from(precision) <= DECIMAL128_PRECISION_MAX {
            true => DataType::Decimal128(precision, scale),
            false => DataType::Decimal256(precision, scale),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Numeric {
    operation: Operation,
    signature: Signature,
}

impl ScalarUDFImpl for Numeric {
    fn name(&self) -> &str {
        self.operation.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, found: &[DataType]) -> Result<Vec<DataType>> {
        let numeric = |data_type: &DataType| match data_type {
            data_type if data_type.is_null() => Some(DataType::Decimal128(1, 0)),
            DataType::Decimal128(..) | DataType::Decimal256(..) => Some(data_type.clone()),
            other => Digits::of(other).map(Digits::data_type),
        };
        found.iter().map(numeric).collect::<Option<Vec<_>>>().filter(|types| types.len() == 2).ok_or_else(|| {
            let types: Vec<String> = found.iter().map(sql_type).collect();
            undefined(self.name(), &types.join(", "))
        })
    }

    fn return_type(&self, found: &[DataType]) -> Result<DataType> {
        let types = self.coerce_types(found)?;
        let digits = types.iter().map(Digits::of).collect::<Option<Vec<_>>>();
        match digits.as_deref() {
            Some([left, right]) => Ok(left.operated(self.operation, *right).data_type()),
            _ => Err(DataFusionError::Internal("operands of numerics have digits".to_string())),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { arguments.number_rows };
        let columns = arguments.args.iter().map(|argument| argument.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let result = self.rows(&columns, arguments.return_field.data_type(), rows)?;
        match scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            false => Ok(ColumnarValue::Array(result)),
        }
    }
}

impl Numeric {
    fn rows(&self, columns: &[ArrayRef], target: &DataType, rows: usize) -> Result<ArrayRef> {
        let (DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale)) = target else {
            return Err(DataFusionError::Internal(format!("a numeric can't be {target}")));
        };
        let bound = decimals::power(u32::from(*precision)).ok_or_else(overflow)?;
        let value = |row: usize| match (decimal_at(&columns[0], row), decimal_at(&columns[1], row)) {
            (Some(left), Some(right)) => {
                let value = self.computed(left, right, *scale)?;
                let fits = value.checked_abs().is_some_and(|magnitude| magnitude < bound);
                if fits { Ok(Some(value)) } else { Err(overflow()) }
            }
            _ => Ok(None),
        };
        let values = (0..rows).map(value).collect::<Result<Vec<_>>>()?;
        Ok(match target {
            DataType::Decimal128(..) => {
                let narrow = values.into_iter().map(|value| value.map(i256::as_i128));
                Arc::new(narrow.collect::<Decimal128Array>().with_precision_and_scale(*precision, *scale)?)
            }
            _ => Arc::new(Decimal256Array::from(values).with_precision_and_scale(*precision, *scale)?),
        })
    }

    fn computed(&self, left: Decimal, right: Decimal, scale: i8) -> Result<i256> {
        let divides = matches!(self.operation, Operation::Divide | Operation::Remainder);
        if divides && right.unscaled == i256::ZERO {
            return Err(ArrowError::DivideByZero.into());
        }
        let both = || Some((left.rescaled(scale)?, right.rescaled(scale)?));
        let value = match self.operation {
            Operation::Add => both().and_then(|(left, right)| left.checked_add(right)),
            Operation::Subtract => both().and_then(|(left, right)| left.checked_sub(right)),
            Operation::Multiply => decimals::product(left, right, scale),
            Operation::Divide => decimals::quotient(left, right, scale),
            Operation::Remainder => both().and_then(|(left, right)| left.checked_rem(right)),
        };
        value.ok_or_else(overflow)
    }
}

fn decimal_at(column: &ArrayRef, row: usize) -> Option<Decimal> {
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::Decimal128(_, scale) => {
            let unscaled = column.as_primitive::<Decimal128Type>().value(row);
            Some(Decimal::new(i256::from_i128(unscaled), *scale))
        }
        DataType::Decimal256(_, scale) => {
            Some(Decimal::new(column.as_primitive::<Decimal256Type>().value(row), *scale))
        }
        // The arguments were coerced to numerics.
        _ => None,
    }
}

fn overflow() -> DataFusionError {
    refuse(PlanErrorKind::NumericValueOutOfRange, "value overflows numeric format")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_room_for_their_digits() {
        use Operation::{Add, Divide, Multiply, Remainder};
        let numeric = DataType::Decimal128;
        let bare = numeric(38, 16);
        for (operation, left, right, expected) in [
            (Divide, DataType::Int32, numeric(2, 1), numeric(35, 24)),
            (Divide, numeric(10, 2), numeric(10, 2), DataType::Decimal256(42, 32)),
            (Divide, bare.clone(), bare.clone(), DataType::Decimal256(76, 38)),
            (Divide, DataType::Decimal256(76, 38), DataType::Decimal256(76, 38), DataType::Decimal256(76, 38)),
            (Multiply, bare.clone(), bare.clone(), DataType::Decimal256(76, 32)),
            (Multiply, DataType::Decimal256(76, 38), bare.clone(), DataType::Decimal256(76, 38)),
            (Add, bare.clone(), bare.clone(), bare.clone()),
            (Add, numeric(38, 0), numeric(10, 10), DataType::Decimal256(49, 10)),
            (Remainder, DataType::Int64, numeric(38, 38), numeric(38, 38)),
        ] {
            let found = Digits::of(&left).zip(Digits::of(&right));
            let found = found.map(|(left, right)| left.operated(operation, right).data_type());
            assert_eq!(found, Some(expected), "{operation:?} of {left} and {right}");
        }
    }
}
