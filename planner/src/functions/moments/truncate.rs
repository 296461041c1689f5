//! `date_trunc` and `date_bin`: moments cut down to a unit, or to the beginning of a stride.

use arrow::datatypes::IntervalMonthDayNano;
use datafusion::error::{DataFusionError, Result};

use super::clock::{Local, instant_of, interval, is_infinite, local_of, out_of_range};
use super::fields::{INTERVAL, TIMESTAMP, TIMESTAMPTZ, Unit, unsupported};
use super::frame::{Datum, Definition, Kind, Row, overload};
use super::zones::zone_named;
use crate::bind::refuse;
use crate::error::{PlanError, PlanErrorKind};
use crate::values::Zone;
use crate::values::datetime::DAY_MICROS;

pub(super) const DATE_TRUNC: Definition = Definition {
    name: "date_trunc",
    overloads: &[
        overload(&[Kind::Text, Kind::Timestamp], Kind::Timestamp, |row| {
            let micros = row.micros(1);
            let unit = unit_of(row.text(0), TIMESTAMP)?;
            Ok(Datum::Micros(if is_infinite(micros) { micros } else { truncated(unit, micros)? }))
        }),
        overload(&[Kind::Text, Kind::Timestamptz], Kind::Timestamptz, |row| in_zone(row, row.zone()?)),
        overload(&[Kind::Text, Kind::Timestamptz, Kind::Text], Kind::Timestamptz, |row| {
            in_zone(row, zone_named(row.text(2))?)
        }),
        overload(&[Kind::Text, Kind::Interval], Kind::Interval, |row| {
            of_interval(row.text(0), row.interval(1)).map(Datum::Interval)
        }),
    ],
    strict: true,
};

pub(super) const DATE_BIN: Definition = Definition {
    name: "date_bin",
    overloads: &[
        overload(&[Kind::Interval, Kind::Timestamp, Kind::Timestamp], Kind::Timestamp, |row| {
            binned(row, row.micros(2))
        }),
        overload(&[Kind::Interval, Kind::Timestamptz, Kind::Timestamptz], Kind::Timestamptz, |row| {
            binned(row, row.micros(2))
        }),
        // Without an origin, which Postgres asks for: since 1970.
        overload(&[Kind::Interval, Kind::Timestamp], Kind::Timestamp, |row| binned(row, 0)),
        overload(&[Kind::Interval, Kind::Timestamptz], Kind::Timestamptz, |row| binned(row, 0)),
    ],
    strict: true,
};

fn unit_of(name: &str, type_name: &str) -> Result<Unit> {
    let unit = Unit::of(name, type_name)?;
    if unit > Unit::Millennium { Err(unsupported(name, type_name)) } else { Ok(unit) }
}

fn in_zone(row: &Row<'_>, zone: Zone) -> Result<Datum> {
    let micros = row.micros(1);
    let unit = unit_of(row.text(0), TIMESTAMPTZ)?;
    if is_infinite(micros) {
        return Ok(Datum::Micros(micros));
    }
    let local = truncated(unit, local_of(zone, micros))?;
    // Below a day the clocks stay as they are: an hour that comes twice is two hours.
    let instant = match unit >= Unit::Day {
        true => instant_of(zone, local)?,
        false => local.checked_sub(i64::from(zone.offset_at(micros)) * 1_000_000).ok_or_else(out_of_range)?,
    };
    Ok(Datum::Micros(instant))
}

/// A local time cut down.
fn truncated(unit: Unit, micros: i64) -> Result<i64> {
    let local = Local::of(micros);
    let midnight = |year: i64, month: u32, day: u32| Local { year, month, day, of_day: 0 }.micros();
    // The first year of a span: that of the first century is 1, that of the one before it -99 (100 BC).
    let first_of = |years: i64| (local.year - 1).div_euclid(years) * years + 1;
    match unit {
        Unit::Week => {
            let days = local.days();
            Local::of_days(days - (days + 3).rem_euclid(7)).micros()
        }
        Unit::Day => midnight(local.year, local.month, local.day),
        Unit::Month => midnight(local.year, local.month, 1),
        Unit::Quarter => midnight(local.year, (local.month - 1) / 3 * 3 + 1, 1),
        Unit::Year => midnight(local.year, 1, 1),
        Unit::Decade => midnight(local.year.div_euclid(10) * 10, 1, 1),
        Unit::Century => midnight(first_of(100), 1, 1),
        Unit::Millennium => midnight(first_of(1_000), 1, 1),
        unit => Ok(micros - micros.rem_euclid(clock_micros(unit))),
    }
}

/// Microseconds of a unit of the clock.
fn clock_micros(unit: Unit) -> i64 {
    match unit {
        Unit::Milliseconds => 1_000,
        Unit::Second => 1_000_000,
        Unit::Minute => 60_000_000,
        Unit::Hour => 3_600_000_000,
        _ => 1,
    }
}

/// An interval without its smaller parts; every part is cut towards zero.
fn of_interval(name: &str, given: IntervalMonthDayNano) -> Result<IntervalMonthDayNano> {
    let unit = unit_of(name, INTERVAL)?;
    if unit == Unit::Week {
        let message = "unit \"week\" not supported for type interval";
        let mut error = PlanError::unsupported(message);
        error.detail = Some("Months usually have fractional weeks.".to_string());
        return Err(DataFusionError::External(Box::new(error)));
    }
    let months = i64::from(given.months);
    let cut = |months: i64, span: i64| months - months % span;
    match unit {
        Unit::Millennium => interval(cut(months, 12_000), 0, 0),
        Unit::Century => interval(cut(months, 1_200), 0, 0),
        Unit::Decade => interval(cut(months, 120), 0, 0),
        Unit::Year => interval(cut(months, 12), 0, 0),
        Unit::Quarter => interval(cut(months, 3), 0, 0),
        Unit::Month => interval(months, 0, 0),
        Unit::Day => interval(months, given.days.into(), 0),
        unit => {
            let micros = given.nanoseconds / 1_000;
            interval(months, given.days.into(), i128::from(micros - micros % clock_micros(unit)))
        }
    }
}

fn binned(row: &Row<'_>, origin: i64) -> Result<Datum> {
    let (stride, micros) = (row.interval(0), row.micros(1));
    if is_infinite(micros) {
        return Ok(Datum::Micros(micros));
    }
    if is_infinite(origin) {
        return Err(refuse(PlanErrorKind::DatetimeFieldOverflow, "origin out of range"));
    }
    if stride.months != 0 {
        let message = "timestamps cannot be binned into intervals containing months or years";
        return Err(DataFusionError::External(Box::new(PlanError::unsupported(message))));
    }
    let length = i128::from(stride.days) * i128::from(DAY_MICROS) + i128::from(stride.nanoseconds / 1_000);
    if length <= 0 {
        return Err(refuse(PlanErrorKind::DatetimeFieldOverflow, "stride must be greater than zero"));
    }
    let since = i128::from(micros) - i128::from(origin);
    let begin = i128::from(micros) - since.rem_euclid(length);
    i64::try_from(begin).ok().filter(|begin| !is_infinite(*begin)).map(Datum::Micros).ok_or_else(out_of_range)
}
