//! Dates, times, moments and intervals made of numbers.

use bytes::BytesMut;
use datafusion::error::Result;

use super::clock::{instant_of, interval, interval_out_of_range, out_of_range};
use super::frame::{Datum, Definition, Kind, Row, overload};
use super::zones::zone_named;
use crate::bind::refuse;
use crate::error::PlanErrorKind;
use crate::values::datetime::{DAY_MICROS, days_from_civil, days_in_month};
use crate::values::put_float8;

use Kind::{Double as F, Integer as N, Text as S};

pub(super) const MAKE_DATE: Definition = Definition {
    name: "make_date",
    overloads: &[overload(&[N, N, N], Kind::Date, |row| {
        let days = days(row)?;
        i32::try_from(days).map(Datum::Date).map_err(|_| date_out_of_range(row))
    })],
    strict: true,
};

pub(super) const MAKE_TIME: Definition = Definition {
    name: "make_time",
    overloads: &[overload(&[N, N, F], Kind::Time, |row| of_day(row, 0).map(Datum::Micros))],
    strict: true,
};

pub(super) const MAKE_TIMESTAMP: Definition = Definition {
    name: "make_timestamp",
    overloads: &[overload(&[N, N, N, N, N, F], Kind::Timestamp, |row| local(row).map(Datum::Micros))],
    strict: true,
};

pub(super) const MAKE_TIMESTAMPTZ: Definition = Definition {
    name: "make_timestamptz",
    overloads: &[
        overload(&[N, N, N, N, N, F], Kind::Timestamptz, |row| instant_of(row.zone()?, local(row)?).map(Datum::Micros)),
        overload(&[N, N, N, N, N, F, S], Kind::Timestamptz, |row| {
            instant_of(zone_named(row.text(6))?, local(row)?).map(Datum::Micros)
        }),
    ],
    strict: true,
};

pub(super) const MAKE_INTERVAL: Definition = Definition {
    name: "make_interval",
    overloads: &[
        overload(&[], Kind::Interval, made_interval),
        overload(&[N], Kind::Interval, made_interval),
        overload(&[N, N], Kind::Interval, made_interval),
        overload(&[N, N, N], Kind::Interval, made_interval),
        overload(&[N, N, N, N], Kind::Interval, made_interval),
        overload(&[N, N, N, N, N], Kind::Interval, made_interval),
        overload(&[N, N, N, N, N, N], Kind::Interval, made_interval),
        overload(&[N, N, N, N, N, N, F], Kind::Interval, made_interval),
    ],
    strict: true,
};

/// The names of the arguments of functions that may be called with names, and what stands for one that is left out.
pub(crate) const NAMED_ARGUMENTS: &[(&str, &[&str], Option<&str>)] = &[
    ("make_date", &["year", "month", "day"], None),
    ("make_time", &["hour", "min", "sec"], None),
    ("make_timestamp", &["year", "month", "mday", "hour", "min", "sec"], None),
    ("make_timestamptz", &["year", "month", "mday", "hour", "min", "sec", "timezone"], None),
    ("make_interval", &["years", "months", "weeks", "days", "hours", "mins", "secs"], Some("0")),
];

/// Seconds since 1970 as an instant.
pub(super) fn of_seconds(row: &Row<'_>) -> Result<Datum> {
    let seconds = row.double(0);
    if seconds.is_nan() {
        return Err(refuse(PlanErrorKind::DatetimeFieldOverflow, "timestamp cannot be NaN"));
    }
    if seconds.is_infinite() {
        return Ok(Datum::Micros(if seconds > 0.0 { i64::MAX } else { i64::MIN }));
    }
    let micros = (seconds * 1e6).round_ties_even();
    if micros.abs() >= i64::MAX as f64 {
        let mut shown = BytesMut::new();
        put_float8(&mut shown, seconds, 0);
        let message = format!("timestamp out of range: \"{}\"", String::from_utf8_lossy(&shown));
        return Err(refuse(PlanErrorKind::DatetimeFieldOverflow, message));
    }
    Ok(Datum::Micros(micros as i64))
}

fn date_out_of_range(row: &Row<'_>) -> datafusion::error::DataFusionError {
    let (year, month, day) = (row.integer(0), row.integer(1), row.integer(2));
    let message = format!("date field value out of range: {year}-{month:02}-{day:02}");
    refuse(PlanErrorKind::DatetimeFieldOverflow, message)
}

/// Days since 1970 of the year, the month and the day that come first; a year below 0 is one before Christ.
fn days(row: &Row<'_>) -> Result<i64> {
    let year = i64::from(row.integer(0));
    let astronomical = if year < 0 { year + 1 } else { year };
    let (month, day) = (u32::try_from(row.integer(1)), u32::try_from(row.integer(2)));
    match (month, day) {
        (Ok(month @ 1..=12), Ok(day @ 1..)) if year != 0 && day <= days_in_month(astronomical, month) => {
            Ok(days_from_civil(astronomical, month, day))
        }
        _ => Err(date_out_of_range(row)),
    }
}

/// Microseconds of the day of an hour, a minute and seconds.
fn of_day(row: &Row<'_>, first: usize) -> Result<i64> {
    let (hour, minute, second) = (row.integer(first), row.integer(first + 1), row.double(first + 2));
    let out_of_range = || {
        let shown = if second.fract() == 0.0 { format!("{second:02}") } else { format!("{second}") };
        let message = format!("time field value out of range: {hour}:{minute:02}:{shown}");
        refuse(PlanErrorKind::DatetimeFieldOverflow, message)
    };
    if !(0..=24).contains(&hour) || !(0..60).contains(&minute) || !(0.0..=60.0).contains(&second) {
        return Err(out_of_range());
    }
    let minutes = i64::from(hour) * 60 + i64::from(minute);
    let micros = minutes * 60_000_000 + (second * 1e6).round_ties_even() as i64;
    if micros > DAY_MICROS { Err(out_of_range()) } else { Ok(micros) }
}

fn local(row: &Row<'_>) -> Result<i64> {
    let of_day = of_day(row, 3)?;
    days(row)?.checked_mul(DAY_MICROS).and_then(|midnight| midnight.checked_add(of_day)).ok_or_else(out_of_range)
}

fn made_interval(row: &Row<'_>) -> Result<Datum> {
    let part = |column: usize| if column < row.count() { i64::from(row.integer(column)) } else { 0 };
    let seconds = if row.count() > 6 { row.double(6) } else { 0.0 };
    let micros = (seconds * 1e6).round_ties_even();
    if !micros.is_finite() || micros.abs() >= i64::MAX as f64 {
        return Err(interval_out_of_range());
    }
    let time = i128::from(part(4) * 60 + part(5)) * 60_000_000 + micros as i128;
    interval(part(0) * 12 + part(1), part(2) * 7 + part(3), time).map(Datum::Interval)
}
