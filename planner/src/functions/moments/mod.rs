//! Functions of dates, times, moments and intervals as Postgres has them: DataFusion's count by UTC, whatever zone a
//! `timestamptz` is shown in, and have types and patterns of their own.
//!
//! Absent: `time with time zone`, for which there is no type here.

mod clock;
mod fields;
mod frame;
mod make;
mod numbers;
mod pattern;
mod read;
mod spans;
mod truncate;
mod write;
mod zones;

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalMonthDayNano};
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::expr::ScalarFunction;

use self::frame::{Definition, Kind, function, overload};
use crate::values::{TextStyle, Zone};

pub(crate) use make::NAMED_ARGUMENTS;
pub(crate) use zones::{moved_by, time_between};

const TO_TIMESTAMP: Definition = Definition {
    name: "to_timestamp",
    overloads: &[
        overload(&[Kind::Double], Kind::Timestamptz, make::of_seconds),
        overload(&[Kind::Text, Kind::Text], Kind::Timestamptz, read::instant),
    ],
    strict: true,
};

const TO_DATE: Definition = Definition {
    name: "to_date",
    overloads: &[overload(&[Kind::Text, Kind::Text], Kind::Date, read::date)],
    strict: true,
};

/// Every function with the other names that it has.
const FUNCTIONS: &[(&Definition, &[&str])] = &[
    (&fields::EXTRACT, &[]),
    (&fields::DATE_PART, &["datepart"]),
    (&truncate::DATE_TRUNC, &["datetrunc"]),
    (&truncate::DATE_BIN, &[]),
    (&zones::TIMEZONE, &[]),
    (&spans::AGE, &[]),
    (&spans::JUSTIFY_HOURS, &[]),
    (&spans::JUSTIFY_DAYS, &[]),
    (&spans::JUSTIFY_INTERVAL, &[]),
    (&spans::ISFINITE, &[]),
    (&spans::OVERLAPS, &[]),
    (&make::MAKE_DATE, &[]),
    (&make::MAKE_TIME, &[]),
    (&make::MAKE_TIMESTAMP, &[]),
    (&make::MAKE_TIMESTAMPTZ, &[]),
    (&make::MAKE_INTERVAL, &[]),
    (&TO_TIMESTAMP, &[]),
    (&TO_DATE, &[]),
    (&write::TO_CHAR, &[]),
    (&numbers::TO_NUMBER, &[]),
];

/// The functions.
pub(super) fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    FUNCTIONS.iter().map(|(definition, aliases)| function(definition, aliases))
}

/// The function with a session's zone and forms; `None` for one that is none of these.
pub(super) fn in_session(function: &ScalarUDF, style: TextStyle) -> Option<ScalarUDF> {
    frame::in_session(function, style)
}

/// The types in which a function of these takes its arguments; see [`frame::wanted`].
pub(crate) fn moment_arguments(function: &ScalarUDF, known: &[Option<DataType>]) -> Option<Result<Vec<DataType>>> {
    frame::wanted(function, known)
}

/// The digits behind the point that the numeric of a call shows.
pub(crate) fn shown_digits(call: &ScalarFunction) -> Option<u8> {
    frame::shown_digits(&call.func, &call.args)
}

/// An instant moved by an interval, by the clocks of a zone.
pub(crate) fn shifted(zone: Zone, micros: i64, by: IntervalMonthDayNano) -> Result<i64> {
    clock::shifted(zone, micros, by, 1)
}
