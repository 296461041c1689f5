//! `AT TIME ZONE`, whose function is `timezone`, and moments moved by intervals.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::IntervalMonthDayNano;
use bytes::BytesMut;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, ScalarUDF};

use super::clock::{instant_of, interval, is_infinite, local_of, shifted};
use super::frame::{Datum, Definition, Kind, Row, function, overload};
use crate::bind::refuse;
use crate::error::PlanErrorKind;
use crate::values::datetime::DAY_MICROS;
use crate::values::{IntervalForm, Zone, abbreviation_seconds, put_interval};

pub(super) const TIMEZONE: Definition = Definition {
    name: "timezone",
    overloads: &[
        overload(&[Kind::Text, Kind::Timestamptz], Kind::Timestamp, |row| shown(row, zone_named(row.text(0))?)),
        overload(&[Kind::Text, Kind::Timestamp], Kind::Timestamptz, |row| meant(row, zone_named(row.text(0))?)),
        overload(&[Kind::Interval, Kind::Timestamptz], Kind::Timestamp, |row| shown(row, zone_of(row.interval(0))?)),
        overload(&[Kind::Interval, Kind::Timestamp], Kind::Timestamptz, |row| meant(row, zone_of(row.interval(0))?)),
    ],
    strict: true,
};

const PLUS: Definition = Definition {
    name: "timestamptz_pl_interval",
    overloads: &[overload(&[Kind::Timestamptz, Kind::Interval], Kind::Timestamptz, |row| moved(row, 1))],
    strict: true,
};

const MINUS: Definition = Definition {
    name: "timestamptz_mi_interval",
    overloads: &[overload(&[Kind::Timestamptz, Kind::Interval], Kind::Timestamptz, |row| moved(row, -1))],
    strict: true,
};

const DIFFERENCE: Definition = Definition {
    name: "timestamp_mi",
    overloads: &[
        overload(&[Kind::Timestamp, Kind::Timestamp], Kind::Interval, difference),
        overload(&[Kind::Timestamptz, Kind::Timestamptz], Kind::Interval, difference),
    ],
    strict: true,
};

static DIFFERENCE_FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| function(&DIFFERENCE, &[]));
static PLUS_FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| function(&PLUS, &[]));
static MINUS_FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| function(&MINUS, &[]));

/// An instant and an interval added, or subtracted where `symbol` is `-`: a day is as long as the session's clocks make
/// it.
pub(crate) fn moved_by(symbol: &str, instant: Expr, interval: Expr) -> Expr {
    let function = if symbol == "-" { &MINUS_FUNCTION } else { &PLUS_FUNCTION };
    function.call(vec![instant, interval])
}

/// The time between two moments of one type, in days of 24 hours and a time.
pub(crate) fn time_between(end: Expr, begin: Expr) -> Expr {
    DIFFERENCE_FUNCTION.call(vec![end, begin])
}

fn difference(row: &Row<'_>) -> Result<Datum> {
    let (end, begin) = (row.micros(0), row.micros(1));
    if is_infinite(end) || is_infinite(begin) {
        return Err(refuse(PlanErrorKind::DatetimeFieldOverflow, "cannot subtract infinite timestamps"));
    }
    let micros = i128::from(end) - i128::from(begin);
    let day = i128::from(DAY_MICROS);
    interval(0, (micros / day) as i64, micros % day).map(Datum::Interval)
}

fn moved(row: &Row<'_>, sign: i64) -> Result<Datum> {
    shifted(row.zone()?, row.micros(0), row.interval(1), sign).map(Datum::Micros)
}

/// What the zone's clocks show.
fn shown(row: &Row<'_>, zone: Zone) -> Result<Datum> {
    let micros = row.micros(1);
    Ok(Datum::Micros(if is_infinite(micros) { micros } else { local_of(zone, micros) }))
}

/// When the zone's clocks show it.
fn meant(row: &Row<'_>, zone: Zone) -> Result<Datum> {
    let micros = row.micros(1);
    Ok(Datum::Micros(if is_infinite(micros) { micros } else { instant_of(zone, micros)? }))
}

/// The zone of an abbreviation (`CEST`, a fixed offset even where a zone has the same name), of a name or of a POSIX
/// specification.
pub(super) fn zone_named(name: &str) -> Result<Zone> {
    abbreviation_seconds(name)
        .map(Zone::Fixed)
        .or_else(|| Zone::named(name))
        .ok_or_else(|| refuse(PlanErrorKind::InvalidParameterValue, format!("time zone \"{name}\" not recognized")))
}

/// The zone so far east of Greenwich.
fn zone_of(interval: IntervalMonthDayNano) -> Result<Zone> {
    if interval.months != 0 || interval.days != 0 {
        let mut text = BytesMut::new();
        let micros = interval.nanoseconds / 1_000;
        put_interval(&mut text, interval.months, interval.days, micros, IntervalForm::Postgres);
        let text = String::from_utf8_lossy(&text);
        let message = format!("interval time zone \"{text}\" must not include months or days");
        return Err(refuse(PlanErrorKind::InvalidParameterValue, message));
    }
    let seconds = i32::try_from(interval.nanoseconds / 1_000_000_000);
    seconds
        .map(Zone::Fixed)
        .map_err(|_| refuse(PlanErrorKind::InvalidParameterValue, "interval time zone is out of range"))
}
