//! `extract` and `date_part`: one field of a date, a time, a moment or an interval.

use arrow::datatypes::IntervalMonthDayNano;
use datafusion::error::{DataFusionError, Result};

use super::clock::{Local, is_infinite};
use super::frame::{Datum, Definition, Gives, Kind, Overload, Row, overload};
use crate::bind::refuse;
use crate::error::{PlanError, PlanErrorKind};
use crate::values::datetime::{DAY_MICROS, days_from_civil};

/// The Julian day of 1970-01-01.
const EPOCH_JULIAN_DAY: i64 = 2_440_588;

/// Digits behind the point of a Julian day with a time.
const JULIAN_DIGITS: u8 = 20;

/// A field by any of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unit {
    Microseconds,
    Milliseconds,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
    IsoYear,
    DayOfWeek,
    IsoDayOfWeek,
    DayOfYear,
    Epoch,
    Julian,
    Timezone,
    TimezoneHour,
    TimezoneMinute,
}

impl Unit {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "us" | "usec" | "usecs" | "microsecond" | "microseconds" => Self::Microseconds,
            "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => Self::Milliseconds,
            "s" | "sec" | "secs" | "second" | "seconds" => Self::Second,
            "m" | "min" | "mins" | "minute" | "minutes" => Self::Minute,
            "h" | "hr" | "hrs" | "hour" | "hours" => Self::Hour,
            "d" | "day" | "days" => Self::Day,
            "w" | "week" | "weeks" => Self::Week,
            "mon" | "mons" | "month" | "months" => Self::Month,
            "qtr" | "quarter" => Self::Quarter,
            "y" | "yr" | "yrs" | "year" | "years" => Self::Year,
            "dec" | "decs" | "decade" | "decades" => Self::Decade,
            "c" | "cent" | "century" | "centuries" => Self::Century,
            "mil" | "mils" | "millennium" | "millennia" => Self::Millennium,
            "isoyear" => Self::IsoYear,
            "dow" => Self::DayOfWeek,
            "isodow" => Self::IsoDayOfWeek,
            "doy" => Self::DayOfYear,
            "epoch" => Self::Epoch,
            "j" | "jd" | "julian" => Self::Julian,
            "timezone" => Self::Timezone,
            "timezone_h" | "timezone_hour" => Self::TimezoneHour,
            "timezone_m" | "timezone_minute" => Self::TimezoneMinute,
            _ => return None,
        })
    }

    /// The unit of that name, or that there is none.
    pub(super) fn of(name: &str, type_name: &str) -> Result<Self> {
        Self::named(name).ok_or_else(|| {
            let name = name.to_ascii_lowercase();
            let message = format!("unit \"{name}\" not recognized for type {type_name}");
            refuse(PlanErrorKind::InvalidParameterValue, message)
        })
    }
}

/// A unit that a type does not have.
pub(super) fn unsupported(name: &str, type_name: &str) -> DataFusionError {
    let name = name.to_ascii_lowercase();
    let message = format!("unit \"{name}\" not supported for type {type_name}");
    DataFusionError::External(Box::new(PlanError::unsupported(message)))
}

pub(super) const DATE: &str = "date";
pub(super) const TIME: &str = "time without time zone";
pub(super) const TIMESTAMP: &str = "timestamp without time zone";
pub(super) const TIMESTAMPTZ: &str = "timestamp with time zone";
pub(super) const INTERVAL: &str = "interval";

const fn extracted(takes: &'static [Kind], run: fn(&Row<'_>) -> Result<Datum>) -> Overload {
    Overload { takes, gives: Gives::Digits(digits), run }
}

pub(super) const EXTRACT: Definition = Definition {
    name: "extract",
    overloads: &[
        extracted(&[Kind::Text, Kind::Date], |row| of_date(row.text(0), row.days(1)).and_then(Part::numeric)),
        extracted(&[Kind::Text, Kind::Time], |row| of_time(row.text(0), row.time(1)).and_then(Part::numeric)),
        extracted(&[Kind::Text, Kind::Timestamp], |row| {
            of_moment(row.text(0), row.micros(1), None).and_then(Part::numeric)
        }),
        extracted(&[Kind::Text, Kind::Timestamptz], |row| zoned(row).and_then(Part::numeric)),
        extracted(&[Kind::Text, Kind::Interval], |row| {
            of_interval(row.text(0), row.interval(1)).and_then(Part::numeric)
        }),
    ],
    strict: true,
};

pub(super) const DATE_PART: Definition = Definition {
    name: "date_part",
    overloads: &[
        overload(&[Kind::Text, Kind::Date], Kind::Double, |row| {
            let micros = match row.days(1) {
                i32::MAX => i64::MAX,
                i32::MIN => i64::MIN,
                days => i64::from(days).checked_mul(DAY_MICROS).ok_or_else(super::clock::out_of_range)?,
            };
            of_moment(row.text(0), micros, None).map(Part::double)
        }),
        overload(&[Kind::Text, Kind::Time], Kind::Double, |row| of_time(row.text(0), row.time(1)).map(Part::double)),
        overload(&[Kind::Text, Kind::Timestamp], Kind::Double, |row| {
            of_moment(row.text(0), row.micros(1), None).map(Part::double)
        }),
        overload(&[Kind::Text, Kind::Timestamptz], Kind::Double, |row| zoned(row).map(Part::double)),
        overload(&[Kind::Text, Kind::Interval], Kind::Double, |row| {
            of_interval(row.text(0), row.interval(1)).map(Part::double)
        }),
    ],
    strict: true,
};

/// Digits behind the point by the field, where that is a literal.
fn digits(literals: &[Option<&str>]) -> Option<u8> {
    let unit = Unit::named(literals.first().copied().flatten()?)?;
    Some(match unit {
        Unit::Second | Unit::Epoch => 6,
        Unit::Milliseconds => 3,
        Unit::Julian => JULIAN_DIGITS,
        _ => 0,
    })
}

/// The value of a field.
enum Part {
    /// Digits, and how many of them stand behind the point.
    Number(i128, u8),
    Infinity {
        negative: bool,
    },
    /// An infinity has no such field.
    None,
}

impl Part {
    fn numeric(self) -> Result<Datum> {
        match self {
            Self::Number(unscaled, digits) => Ok(Datum::Numeric(unscaled, digits)),
            Self::None => Ok(Datum::Null),
            Self::Infinity { .. } => {
                let error = PlanError::unsupported("numeric infinity is not supported")
                    .with_hint("Use date_part(), which gives a double precision.");
                Err(DataFusionError::External(Box::new(error)))
            }
        }
    }

    fn double(self) -> Datum {
        match self {
            Self::Number(unscaled, JULIAN_DIGITS) => {
                let unit = 10_i128.pow(u32::from(JULIAN_DIGITS));
                Datum::Double((unscaled / unit) as f64 + (unscaled % unit) as f64 / unit as f64)
            }
            Self::Number(unscaled, digits) => Datum::Double(unscaled as f64 / 10_f64.powi(i32::from(digits))),
            Self::None => Datum::Null,
            Self::Infinity { negative: false } => Datum::Double(f64::INFINITY),
            Self::Infinity { negative: true } => Datum::Double(f64::NEG_INFINITY),
        }
    }
}

fn whole(number: i64) -> Part {
    Part::Number(i128::from(number), 0)
}

/// Fields that grow with time: those of infinity are infinite.
fn of_infinity(unit: Unit, negative: bool) -> Part {
    match unit {
        Unit::Year | Unit::Decade | Unit::Century | Unit::Millennium | Unit::IsoYear | Unit::Epoch | Unit::Julian => {
            Part::Infinity { negative }
        }
        _ => Part::None,
    }
}

/// Fields of the clock.
fn of_clock(unit: Unit, of_day: i64) -> Option<Part> {
    let in_minute = of_day % 60_000_000;
    Some(match unit {
        Unit::Microseconds => whole(in_minute),
        Unit::Milliseconds => Part::Number(i128::from(in_minute), 3),
        Unit::Second => Part::Number(i128::from(in_minute), 6),
        Unit::Minute => whole(of_day / 60_000_000 % 60),
        Unit::Hour => whole(of_day / 3_600_000_000),
        _ => return None,
    })
}

/// Fields of the calendar.
fn of_calendar(unit: Unit, local: Local) -> Option<Part> {
    let days = local.days();
    // There is no year 0.
    let counted = |year: i64| if year > 0 { year } else { year - 1 };
    Some(whole(match unit {
        Unit::Day => i64::from(local.day),
        Unit::Week => iso_week(days).1,
        Unit::Month => i64::from(local.month),
        Unit::Quarter => i64::from((local.month - 1) / 3 + 1),
        Unit::Year => counted(local.year),
        Unit::Decade => local.year.div_euclid(10),
        Unit::Century => span_number(local.year, 100),
        Unit::Millennium => span_number(local.year, 1_000),
        Unit::IsoYear => counted(iso_week(days).0),
        Unit::DayOfWeek => (days + 4).rem_euclid(7),
        Unit::IsoDayOfWeek => (days + 3).rem_euclid(7) + 1,
        Unit::DayOfYear => days - days_from_civil(local.year, 1, 1) + 1,
        _ => return None,
    }))
}

/// The number of the century or millennium of a year: the first began with the year 1, none is 0.
pub(super) fn span_number(year: i64, years: i64) -> i64 {
    if year > 0 { (year - 1) / years + 1 } else { -((years - year) / years) }
}

/// Year and week as ISO 8601 counts them: weeks begin on Mondays, the first one has the year's first Thursday.
pub(super) fn iso_week(days: i64) -> (i64, i64) {
    let thursday = days - (days + 3).rem_euclid(7) + 3;
    let year = Local::of_days(thursday).year;
    (year, (thursday - days_from_civil(year, 1, 1)) / 7 + 1)
}

fn of_date(name: &str, days: i32) -> Result<Part> {
    let unit = Unit::of(name, DATE)?;
    let local = Local::of_days(i64::from(days));
    match unit {
        Unit::Epoch | Unit::Julian => {}
        _ if of_calendar(unit, local).is_some() => {}
        _ => return Err(unsupported(name, DATE)),
    }
    if matches!(days, i32::MAX | i32::MIN) {
        return Ok(of_infinity(unit, days == i32::MIN));
    }
    Ok(match unit {
        Unit::Epoch => whole(i64::from(days) * 86_400),
        Unit::Julian => whole(i64::from(days) + EPOCH_JULIAN_DAY),
        unit => of_calendar(unit, local).expect("other units were refused"),
    })
}

fn of_time(name: &str, of_day: i64) -> Result<Part> {
    match Unit::of(name, TIME)? {
        Unit::Epoch => Ok(Part::Number(i128::from(of_day), 6)),
        unit => of_clock(unit, of_day).ok_or_else(|| unsupported(name, TIME)),
    }
}

fn zoned(row: &Row<'_>) -> Result<Part> {
    let micros = row.micros(1);
    of_moment(row.text(0), micros, Some(row.zone()?.offset_at(micros)))
}

/// A field of a local time, or of an instant where clocks are so many seconds east.
fn of_moment(name: &str, micros: i64, offset: Option<i32>) -> Result<Part> {
    let type_name = if offset.is_some() { TIMESTAMPTZ } else { TIMESTAMP };
    let unit = Unit::of(name, type_name)?;
    if is_infinite(micros) {
        return Ok(of_infinity(unit, micros < 0));
    }
    let local_micros = micros.saturating_add(i64::from(offset.unwrap_or_default()) * 1_000_000);
    let local = Local::of(local_micros);
    let part = match (unit, offset) {
        (Unit::Epoch, _) => Some(Part::Number(i128::from(micros), 6)),
        (Unit::Julian, _) => Some(julian(local_micros)),
        (Unit::Timezone, Some(seconds)) => Some(whole(i64::from(seconds))),
        (Unit::TimezoneHour, Some(seconds)) => Some(whole(i64::from(seconds / 3600))),
        (Unit::TimezoneMinute, Some(seconds)) => Some(whole(i64::from(seconds / 60 % 60))),
        (unit, _) => of_clock(unit, local.of_day).or_else(|| of_calendar(unit, local)),
    };
    part.ok_or_else(|| unsupported(name, type_name))
}

/// The day with its fraction, half a unit of the last digit rounded up.
fn julian(local_micros: i64) -> Part {
    let unit = 10_i128.pow(u32::from(JULIAN_DIGITS));
    let days = i128::from(local_micros.div_euclid(DAY_MICROS) + EPOCH_JULIAN_DAY);
    let day = i128::from(DAY_MICROS);
    let fraction = (i128::from(local_micros.rem_euclid(DAY_MICROS)) * unit + day / 2) / day;
    Part::Number(days * unit + fraction, JULIAN_DIGITS)
}

fn of_interval(name: &str, interval: IntervalMonthDayNano) -> Result<Part> {
    let (months, micros) = (i64::from(interval.months), interval.nanoseconds / 1_000);
    let (years, months_rest) = (months / 12, months % 12);
    Ok(match Unit::of(name, INTERVAL)? {
        Unit::Day => whole(i64::from(interval.days)),
        Unit::Month => whole(months_rest),
        Unit::Quarter => whole(months_rest / 3 + 1),
        Unit::Year => whole(years),
        Unit::Decade => whole(years / 10),
        Unit::Century => whole(years / 100),
        Unit::Millennium => whole(years / 1_000),
        Unit::Epoch => {
            // A year has 365.25 days here, and a month 30.
            let quarter_days =
                i128::from(years) * 1_461 + i128::from(months_rest) * 120 + i128::from(interval.days) * 4;
            Part::Number(quarter_days * i128::from(DAY_MICROS / 4) + i128::from(micros), 6)
        }
        unit => of_clock(unit, micros).ok_or_else(|| unsupported(name, INTERVAL))?,
    })
}
