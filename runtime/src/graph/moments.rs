//! Moments and intervals with fewer digits of a second than they are kept with: what `timestamp(3)` and its like declare.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, PrimitiveArray, RecordBatch, RecordBatchOptions, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};

use crate::error::{Error, Result};

/// Digits of a second that a moment is kept with.
pub const SECOND_DIGITS: u8 = 6;
/// Where Postgres counts from, in microseconds since 1970: halves go away from there.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The rows, each of the columns with at most so many digits of a second.
pub(super) fn with_digits(rows: RecordBatch, digits: &[(usize, u8)]) -> Result<RecordBatch> {
    if digits.is_empty() {
        return Ok(rows);
    }
    let mut columns = rows.columns().to_vec();
    for (column, digits) in digits {
        columns[*column] = rounded_moments(&columns[*column], *digits)?;
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(rows.schema(), columns, &options)?)
}

/// Timestamps, times, intervals, or lists of them, each rounded to the nearest with so many digits of a second. The
/// infinities stay.
pub fn rounded_moments(column: &ArrayRef, digits: u8) -> Result<ArrayRef> {
    let Some(unit) = unit_micros(digits) else { return Ok(Arc::clone(column)) };
    Ok(match column.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let rounded: TimestampMicrosecondArray = column
                .as_primitive::<TimestampMicrosecondType>()
                .unary(|micros| rounded_from(micros, POSTGRES_EPOCH_MICROS, unit));
            Arc::new(rounded.with_timezone_opt(zone.clone()))
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            let rounded: Time64MicrosecondArray =
                column.as_primitive::<Time64MicrosecondType>().unary(|micros| rounded_from(micros, 0, unit));
            Arc::new(rounded)
        }
        DataType::Interval(_) => {
            let rounded: PrimitiveArray<IntervalMonthDayNanoType> =
                column.as_primitive::<IntervalMonthDayNanoType>().unary(|interval| {
                    let micros = rounded_from(interval.nanoseconds / 1_000, 0, unit);
                    IntervalMonthDayNano::new(interval.months, interval.days, micros.saturating_mul(1_000))
                });
            Arc::new(rounded)
        }
        DataType::List(element) => {
            let lists = column.as_list::<i32>();
            let elements = rounded_moments(lists.values(), digits)?;
            let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
            Arc::new(ListArray::try_new(Arc::clone(element), offsets, elements, nulls)?)
        }
        other => return Err(Error::internal(format!("{other} has no digits of a second"))),
    })
}

/// Microseconds of the last digit; `None` where all are kept.
fn unit_micros(digits: u8) -> Option<i64> {
    let dropped = SECOND_DIGITS.checked_sub(digits).filter(|dropped| *dropped > 0)?;
    Some(10_i64.pow(dropped.into()))
}

fn rounded_from(micros: i64, start: i64, unit: i64) -> i64 {
    if matches!(micros, i64::MAX | i64::MIN) {
        return micros;
    }
    let Some(since) = micros.checked_sub(start) else { return micros };
    let magnitude = (since.unsigned_abs() + unit.unsigned_abs() / 2) / unit.unsigned_abs() * unit.unsigned_abs();
    let rounded = i64::try_from(magnitude)
        .ok()
        .and_then(|magnitude| if since < 0 { start.checked_sub(magnitude) } else { start.checked_add(magnitude) });
    rounded.unwrap_or(micros)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_away_from_the_start() {
        for (micros, start, unit, expected) in [
            (1_500_000, 0, 1_000_000, 2_000_000),
            (1_499_999, 0, 1_000_000, 1_000_000),
            (-1_500_000, 0, 1_000_000, -2_000_000),
            (i64::MAX, 0, 1_000, i64::MAX),
            (i64::MIN, POSTGRES_EPOCH_MICROS, 1_000, i64::MIN),
            // Half a second before 2000: away from it is into the second before.
            (POSTGRES_EPOCH_MICROS - 500_000, POSTGRES_EPOCH_MICROS, 1_000_000, POSTGRES_EPOCH_MICROS - 1_000_000),
        ] {
            assert_eq!(rounded_from(micros, start, unit), expected, "{micros}");
        }
    }

    #[test]
    fn columns_and_lists_are_rounded() {
        let times: ArrayRef = Arc::new(Time64MicrosecondArray::from(vec![Some(1_234_567), None]));
        let rounded = rounded_moments(&times, 2).unwrap();
        assert_eq!(rounded.as_primitive::<Time64MicrosecondType>().value(0), 1_230_000);
        assert!(rounded.is_null(1));
        assert!(Arc::ptr_eq(&rounded_moments(&times, 6).unwrap(), &times));
        let numbers: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1]));
        assert!(rounded_moments(&numbers, 2).is_err());
    }
}
