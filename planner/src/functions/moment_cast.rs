//! Casts between `date`, `timestamp` and `timestamptz`, to `time`, and between `time` and `interval`: by the clocks of
//! the session's zone, infinity staying infinity. Arrow's own know neither: they would make a date in the year 294247
//! of it.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, IntervalMonthDayNanoArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Date32Type, FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;

use super::cast::{Conversion, converted};
use crate::bind::refuse;
use crate::error::PlanErrorKind;
use crate::values::Zone;
use crate::values::datetime::DAY_MICROS;

/// Whether a cast is one of these.
pub(crate) fn needs_moment_cast(source: &DataType, target: &DataType) -> bool {
    let of_day = matches!((source, target), (DataType::Timestamp(..), DataType::Time64(TimeUnit::Microsecond)));
    source != target && is_moment(source) && (is_moment(target) || of_day)
}

fn is_moment(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, _))
}

/// Whether a cast is one between `interval` and `time`.
pub(crate) fn needs_span_cast(source: &DataType, target: &DataType) -> bool {
    let time = DataType::Time64(TimeUnit::Microsecond);
    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
    (*source == interval && *target == time) || (*source == time && *target == interval)
}

/// The time of an interval as that of a day, or a time of the day as an interval.
pub(crate) fn span_cast(value: Expr, target: &DataType) -> Expr {
    converted(value, target, SpanCast)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SpanCast;

impl Conversion for SpanCast {
    fn convert(&self, values: &ArrayRef, _source: &FieldRef, target: &DataType) -> Result<ArrayRef> {
        Ok(match target {
            DataType::Time64(_) => {
                let intervals = values.as_primitive::<IntervalMonthDayNanoType>().iter();
                let times = intervals
                    .map(|interval| interval.map(|interval| (interval.nanoseconds / 1_000).rem_euclid(DAY_MICROS)));
                Arc::new(times.collect::<Time64MicrosecondArray>())
            }
            _ => {
                let times = values.as_primitive::<Time64MicrosecondType>().iter();
                let intervals =
                    times.map(|micros| micros.map(|micros| IntervalMonthDayNano::new(0, 0, micros * 1_000)));
                Arc::new(intervals.collect::<IntervalMonthDayNanoArray>())
            }
        })
    }
}

/// The value as another type; clocks are those of `zone`.
pub(crate) fn moment_cast(value: Expr, source: &DataType, target: &DataType, zone: Zone) -> Expr {
    let zoned = |data_type: &DataType| matches!(data_type, DataType::Timestamp(_, Some(_)));
    // Where both or neither know a zone, none is asked.
    let zone = if zoned(source) == zoned(target) { Zone::Utc } else { zone };
    converted(value, target, MomentCast { zone })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MomentCast {
    zone: Zone,
}

impl Conversion for MomentCast {
    fn convert(&self, values: &ArrayRef, _source: &FieldRef, target: &DataType) -> Result<ArrayRef> {
        let from_zone = matches!(values.data_type(), DataType::Timestamp(_, Some(_)));
        let local = match values.data_type() {
            DataType::Date32 => {
                let days = values.as_primitive::<Date32Type>();
                days.iter().map(|days| days.map(midnight).transpose()).collect::<Result<Vec<_>>>()?
            }
            _ => {
                let micros = values.as_primitive::<TimestampMicrosecondType>();
                // An instant becomes what the clocks of the zone show.
                let shown = |micros: i64| match from_zone && !is_infinite(micros) {
                    true => micros.saturating_add(i64::from(self.zone.offset_at(micros)) * 1_000_000),
                    false => micros,
                };
                micros.iter().map(|micros| micros.map(shown)).collect()
            }
        };
        let zone = match target {
            DataType::Timestamp(_, zone) => zone.clone(),
            // An infinity has no time of day.
            DataType::Time64(_) => {
                let times = local
                    .into_iter()
                    .map(|local| local.filter(|local| !is_infinite(*local)).map(|local| local.rem_euclid(DAY_MICROS)));
                return Ok(Arc::new(times.collect::<Time64MicrosecondArray>()));
            }
            _ => {
                let days = local.into_iter().map(|local| local.map(day));
                return Ok(Arc::new(days.collect::<Date32Array>()));
            }
        };
        let instants = local.into_iter().map(|local| match local {
            Some(local) if zone.is_some() && !is_infinite(local) => {
                self.zone.instant_of(local).map(Some).ok_or_else(|| out_of_range("timestamp out of range"))
            }
            other => Ok(other),
        });
        let instants = instants.collect::<Result<TimestampMicrosecondArray>>()?;
        Ok(Arc::new(instants.with_timezone_opt(zone)))
    }
}

fn is_infinite(micros: i64) -> bool {
    matches!(micros, i64::MAX | i64::MIN)
}

/// Midnight of a day in microseconds.
fn midnight(days: i32) -> Result<i64> {
    match days {
        i32::MAX => Ok(i64::MAX),
        i32::MIN => Ok(i64::MIN),
        days => i64::from(days).checked_mul(DAY_MICROS).ok_or_else(|| out_of_range("date out of range for timestamp")),
    }
}

/// The day of a local time; those of 64 bits of microseconds fit.
fn day(micros: i64) -> i32 {
    match micros {
        i64::MAX => i32::MAX,
        i64::MIN => i32::MIN,
        micros => micros.div_euclid(DAY_MICROS) as i32,
    }
}

fn out_of_range(message: &str) -> DataFusionError {
    refuse(PlanErrorKind::DatetimeFieldOverflow, message)
}
