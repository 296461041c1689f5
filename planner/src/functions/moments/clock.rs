//! Moments taken apart into calendar and clock, and put together again.

use arrow::datatypes::IntervalMonthDayNano;
use datafusion::error::{DataFusionError, Result};

use crate::bind::refuse;
use crate::error::PlanErrorKind;
use crate::values::Zone;
use crate::values::datetime::{DAY_MICROS, civil_from_days, days_from_civil, days_in_month};

/// What a calendar and a clock show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local {
    /// Astronomical: 0 is 1 BC.
    pub(super) year: i64,
    pub(super) month: u32,
    pub(super) day: u32,
    /// Microseconds since midnight.
    pub(super) of_day: i64,
}

impl Local {
    /// Of local microseconds since 1970.
    pub(super) fn of(micros: i64) -> Self {
        Self { of_day: micros.rem_euclid(DAY_MICROS), ..Self::of_days(micros.div_euclid(DAY_MICROS)) }
    }

    /// Midnight of a day.
    pub(super) fn of_days(days: i64) -> Self {
        let (year, month, day) = civil_from_days(days);
        Self { year, month, day, of_day: 0 }
    }

    /// Days since 1970.
    pub(super) fn days(self) -> i64 {
        days_from_civil(self.year, self.month, self.day)
    }

    /// Local microseconds since 1970.
    pub(super) fn micros(self) -> Result<i64> {
        let micros = self.days().checked_mul(DAY_MICROS).and_then(|micros| micros.checked_add(self.of_day));
        micros.ok_or_else(out_of_range)
    }

    /// The same time of day so many months on; behind the month's end, its last day.
    pub(super) fn plus_months(self, months: i64) -> Self {
        let total = self.year * 12 + i64::from(self.month) - 1 + months;
        let (year, month) = (total.div_euclid(12), total.rem_euclid(12) as u32 + 1);
        Self { year, month, day: self.day.min(days_in_month(year, month)), ..self }
    }
}

/// What the zone's clocks show at an instant.
pub(super) fn local_of(zone: Zone, micros: i64) -> i64 {
    micros.saturating_add(i64::from(zone.offset_at(micros)) * 1_000_000)
}

/// The instant at which the zone's clocks show it.
pub(super) fn instant_of(zone: Zone, local: i64) -> Result<i64> {
    zone.instant_of(local).filter(|instant| !is_infinite(*instant)).ok_or_else(out_of_range)
}

/// Whether it is an infinity.
pub(super) fn is_infinite(micros: i64) -> bool {
    matches!(micros, i64::MAX | i64::MIN)
}

pub(super) fn out_of_range() -> DataFusionError {
    refuse(PlanErrorKind::DatetimeFieldOverflow, "timestamp out of range")
}

pub(super) fn interval_out_of_range() -> DataFusionError {
    refuse(PlanErrorKind::DatetimeFieldOverflow, "interval out of range")
}

/// Arrow's form of an interval.
pub(super) fn interval(months: i64, days: i64, micros: i128) -> Result<IntervalMonthDayNano> {
    let (months, days) = (i32::try_from(months), i32::try_from(days));
    let nanoseconds = micros.checked_mul(1_000).and_then(|nanos| i64::try_from(nanos).ok());
    match (months, days, nanoseconds) {
        (Ok(months), Ok(days), Some(nanoseconds)) => Ok(IntervalMonthDayNano { months, days, nanoseconds }),
        _ => Err(interval_out_of_range()),
    }
}

/// An instant moved by an interval: months and days by the clocks of the zone, then the time.
pub(super) fn shifted(zone: Zone, micros: i64, by: IntervalMonthDayNano, sign: i64) -> Result<i64> {
    if is_infinite(micros) {
        return Ok(micros);
    }
    let mut micros = micros;
    if by.months != 0 {
        let local = Local::of(local_of(zone, micros)).plus_months(sign * i64::from(by.months));
        micros = instant_of(zone, local.micros()?)?;
    }
    if by.days != 0 {
        let days = i64::from(by.days) * sign * DAY_MICROS;
        let local = local_of(zone, micros).checked_add(days).ok_or_else(out_of_range)?;
        micros = instant_of(zone, local)?;
    }
    let time = sign * (by.nanoseconds / 1_000);
    micros.checked_add(time).filter(|micros| !is_infinite(*micros)).ok_or_else(out_of_range)
}
