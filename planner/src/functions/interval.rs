//! Arithmetic and order of intervals, whose three parts (months, days, time) Postgres keeps apart. DataFusion has no
//! product of them, and compares them part by part: a month of 30 days would be longer than 31 days.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Decimal128Array, IntervalMonthDayNanoArray};
use arrow::datatypes::{DataType, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::bind::refuse;
use crate::error::PlanErrorKind;
use crate::values::datetime::DAY_MICROS;

/// Days of a month where an interval is measured.
const MONTH_DAYS: f64 = 30.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operation {
    Multiply,
    Divide,
    /// The length in microseconds, a month having 30 days.
    Length,
}

static MULTIPLY: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(Intervals::udf("*", Operation::Multiply)));
static DIVIDE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(Intervals::udf("/", Operation::Divide)));
static LENGTH: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Arc::new(Intervals::udf("interval_length", Operation::Length)));

/// `interval * factor` or `interval / factor`; the factor is a `double precision`.
pub(crate) fn scaled(symbol: &str, interval: Expr, factor: Expr) -> Expr {
    let function = if symbol == "*" { &MULTIPLY } else { &DIVIDE };
    function.call(vec![interval, factor])
}

/// What intervals are compared and ordered by.
pub(crate) fn length(interval: Expr) -> Expr {
    LENGTH.call(vec![interval])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Intervals {
    name: &'static str,
    operation: Operation,
    signature: Signature,
}

impl Intervals {
    fn udf(name: &'static str, operation: Operation) -> ScalarUDF {
        let count = if operation == Operation::Length { 1 } else { 2 };
        ScalarUDF::from(Self { name, operation, signature: Signature::any(count, Volatility::Immutable) })
    }
}

impl ScalarUDFImpl for Intervals {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.operation {
            Operation::Multiply | Operation::Divide => DataType::Interval(IntervalUnit::MonthDayNano),
            Operation::Length => DataType::Decimal128(38, 0),
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { arguments.number_rows };
        let columns = arguments.args.iter().map(|argument| argument.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let intervals = columns[0].as_primitive::<IntervalMonthDayNanoType>();
        let result: ArrayRef = match self.operation {
            Operation::Length => {
                let lengths = intervals.iter().map(|interval| interval.map(micros));
                Arc::new(lengths.collect::<Decimal128Array>().with_precision_and_scale(38, 0)?)
            }
            operation => {
                let factors = columns[1].as_primitive::<Float64Type>();
                let scaled = intervals.iter().zip(factors.iter()).map(|pair| match pair {
                    (Some(interval), Some(factor)) => scale(operation, interval, factor).map(Some),
                    _ => Ok(None),
                });
                Arc::new(scaled.collect::<Result<IntervalMonthDayNanoArray>>()?)
            }
        };
        match scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            false => Ok(ColumnarValue::Array(result)),
        }
    }
}

fn micros(interval: IntervalMonthDayNano) -> i128 {
    let days = i128::from(interval.months) * MONTH_DAYS as i128 + i128::from(interval.days);
    days * i128::from(DAY_MICROS) + i128::from(interval.nanoseconds / 1_000)
}

/// Every part scaled, what is left of months as days and of days as time.
fn scale(operation: Operation, interval: IntervalMonthDayNano, factor: f64) -> Result<IntervalMonthDayNano> {
    let out_of_range = || refuse(PlanErrorKind::DatetimeFieldOverflow, "interval out of range");
    if operation == Operation::Divide && factor == 0.0 {
        return Err(refuse(PlanErrorKind::DivisionByZero, "division by zero"));
    }
    let scaled = |part: f64| if operation == Operation::Multiply { part * factor } else { part / factor };
    let to_millionths = |value: f64| (value * 1e6).round() / 1e6;
    let (months, days) = (scaled(interval.months.into()), scaled(interval.days.into()));
    let month_rest = to_millionths((months - months.trunc()) * MONTH_DAYS);
    let mut seconds = to_millionths((days - days.trunc() + month_rest - month_rest.trunc()) * 86_400.0);
    let mut whole_days = days.trunc() + month_rest.trunc();
    if seconds.abs() >= 86_400.0 {
        whole_days += (seconds / 86_400.0).trunc();
        seconds -= (seconds / 86_400.0).trunc() * 86_400.0;
    }
    let micros = (scaled((interval.nanoseconds / 1_000) as f64) + seconds * 1e6).round_ties_even();
    let part = |value: f64| -> Result<i32> {
        let fits = value >= f64::from(i32::MIN) && value <= f64::from(i32::MAX);
        if fits { Ok(value as i32) } else { Err(out_of_range()) }
    };
    // Arrow counts the time in nanoseconds.
    if !micros.is_finite() || micros.abs() > (i64::MAX / 1_000) as f64 {
        return Err(out_of_range());
    }
    Ok(IntervalMonthDayNano::new(part(months.trunc())?, part(whole_days)?, micros as i64 * 1_000))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn scaled(operation: Operation, parts: (i32, i32, i64), factor: f64) -> (i32, i32, i64) {
        let interval = IntervalMonthDayNano::new(parts.0, parts.1, parts.2 * 1_000);
        let result = scale(operation, interval, factor).unwrap();
        (result.months, result.days, result.nanoseconds / 1_000)
    }

    #[test]
    fn parts_flow_down() {
        assert_eq!(scaled(Operation::Multiply, (1, 0, 0), 1.5), (1, 15, 0));
        assert_eq!(scaled(Operation::Multiply, (0, 1, 0), 0.5), (0, 0, 43_200_000_000));
        assert_eq!(scaled(Operation::Divide, (1, 0, 0), 2.0), (0, 15, 0));
        assert_eq!(scaled(Operation::Divide, (0, 0, 3_600_000_000), 1.5), (0, 0, 2_400_000_000));
        assert_eq!(scaled(Operation::Multiply, (14, 3, 1), -2.0), (-28, -6, -2));
        let hour = IntervalMonthDayNano::new(0, 0, 3_600_000_000_000);
        assert!(scale(Operation::Multiply, hour, 1e300).is_err());
        assert!(scale(Operation::Divide, hour, 0.0).is_err());
    }

    #[test]
    fn a_month_is_as_long_as_thirty_days() {
        assert_eq!(micros(IntervalMonthDayNano::new(1, 0, 0)), micros(IntervalMonthDayNano::new(0, 30, 0)));
        assert_eq!(
            micros(IntervalMonthDayNano::new(0, 1, 0)),
            micros(IntervalMonthDayNano::new(0, 0, DAY_MICROS * 1_000))
        );
    }
}
