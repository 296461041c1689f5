//! `to_char` of moments and intervals.

use arrow::datatypes::IntervalMonthDayNano;
use datafusion::error::{DataFusionError, Result};

use super::clock::{Local, is_infinite, local_of};
use super::fields::iso_week;
use super::frame::{Datum, Definition, Kind, Row, overload};
use super::numbers;
use super::pattern::{Case, DAYS, Field, MONTHS, Part, ROMAN_MONTHS, ordinal_ending, parse};
use crate::error::{PlanError, PlanErrorKind};
use crate::values::datetime::days_from_civil;

pub(super) const TO_CHAR: Definition = Definition {
    name: "to_char",
    overloads: &[
        overload(&[Kind::Timestamp, Kind::Text], Kind::Text, |row| {
            let micros = row.micros(0);
            of_moment(row.text(1), micros, micros, None)
        }),
        overload(&[Kind::Timestamptz, Kind::Text], Kind::Text, |row| {
            let micros = row.micros(0);
            let zone = row.zone()?;
            let offset = zone.offset_at(micros);
            let name = zone.abbreviation_at(micros).unwrap_or_else(|| offset_text(offset));
            of_moment(row.text(1), micros, local_of(zone, micros), Some((name, offset)))
        }),
        overload(&[Kind::Interval, Kind::Text], Kind::Text, of_interval),
        overload(&[Kind::Numeric, Kind::Text], Kind::Text, |row| {
            let (unscaled, scale) = row.numeric(0);
            numbers::written(row.text(1), numbers::Number::of_decimal(unscaled, scale)).map(Datum::Text)
        }),
        overload(&[Kind::Integer, Kind::Text], Kind::Text, |row| {
            numbers::written(row.text(1), numbers::Number::of_integer(row.integer(0).into())).map(Datum::Text)
        }),
        overload(&[Kind::BigInt, Kind::Text], Kind::Text, |row| {
            numbers::written(row.text(1), numbers::Number::of_integer(row.big(0))).map(Datum::Text)
        }),
        overload(&[Kind::Double, Kind::Text], Kind::Text, |row| {
            numbers::written(row.text(1), numbers::Number::of_float(row.double(0))?).map(Datum::Text)
        }),
    ],
    strict: true,
};

/// What the fields of a template are taken from.
struct Shown {
    /// Of an interval: parts that are not bounded by a calendar.
    is_interval: bool,
    /// As it is counted where there is a year 0.
    year: i64,
    month: i64,
    day: i64,
    day_of_year: i64,
    /// Days since 1970; 0 of an interval.
    days: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    zone: Option<(String, i32)>,
}

fn of_moment(template: &str, micros: i64, local: i64, zone: Option<(String, i32)>) -> Result<Datum> {
    if is_infinite(micros) || template.is_empty() {
        return Ok(Datum::Null);
    }
    let local = Local::of(local);
    let days = local.days();
    let seconds = local.of_day / 1_000_000;
    let shown = Shown {
        is_interval: false,
        year: local.year,
        month: local.month.into(),
        day: local.day.into(),
        day_of_year: days - days_from_civil(local.year, 1, 1) + 1,
        days,
        hour: seconds / 3600,
        minute: seconds / 60 % 60,
        second: seconds % 60,
        micros: local.of_day % 1_000_000,
        zone,
    };
    shown.write(template).map(Datum::Text)
}

fn of_interval(row: &Row<'_>) -> Result<Datum> {
    let (template, interval): (&str, IntervalMonthDayNano) = (row.text(1), row.interval(0));
    if template.is_empty() {
        return Ok(Datum::Null);
    }
    let micros = interval.nanoseconds / 1_000;
    let seconds = micros / 1_000_000;
    let months = i64::from(interval.months);
    let shown = Shown {
        is_interval: true,
        year: months / 12,
        month: months % 12,
        day: interval.days.into(),
        day_of_year: months * 30 + i64::from(interval.days),
        days: 0,
        hour: seconds / 3600,
        minute: seconds / 60 % 60,
        second: seconds % 60,
        micros: micros % 1_000_000,
        zone: None,
    };
    shown.write(template).map(Datum::Text)
}

/// `+05:30`
fn offset_text(offset: i32) -> String {
    let (sign, seconds) = if offset < 0 { ('-', -offset) } else { ('+', offset) };
    let mut text = format!("{sign}{:02}", seconds / 3600);
    if seconds % 3600 != 0 {
        text.push_str(&format!(":{:02}", seconds / 60 % 60));
    }
    if seconds % 60 != 0 {
        text.push_str(&format!(":{:02}", seconds % 60));
    }
    text
}

fn cased(word: &str, case: Case) -> String {
    match case {
        Case::Upper => word.to_ascii_uppercase(),
        Case::Lower => word.to_ascii_lowercase(),
        Case::Capital => word.to_string(),
    }
}

/// A number in at least so many digits, the sign not counted.
fn digits(number: i64, width: usize, bare: bool) -> String {
    let width = if bare { 0 } else { width + usize::from(number < 0) };
    format!("{number:0width$}")
}

impl Shown {
    fn write(&self, template: &str) -> Result<String> {
        let mut output = String::new();
        for part in parse(template).iter() {
            match part {
                Part::Literal(character) | Part::Quoted(character) => output.push(*character),
                Part::Field { field, case, bare, ordinal, .. } => {
                    let text = self.field(*field, *case, *bare)?;
                    let ending = ordinal.filter(|_| !text.is_empty()).map_or("", |case| ordinal_ending(&text, case));
                    output.push_str(&text);
                    output.push_str(ending);
                }
            }
        }
        Ok(output)
    }

    /// The year as it is written: there is none before 1 but those before Christ.
    fn written_year(&self) -> i64 {
        if self.is_interval || self.year > 0 { self.year } else { 1 - self.year }
    }

    fn field(&self, field: Field, case: Case, bare: bool) -> Result<String> {
        let number = |number: i64, width: usize| digits(number, width, bare);
        let last_digits = |year: i64, count: u8| match count {
            4 => number(year, 4),
            count => number(year % 10_i64.pow(u32::from(count)), usize::from(count)),
        };
        Ok(match field {
            Field::Exact => String::new(),
            Field::Hour24 => number(self.hour, 2),
            Field::Hour12 => number(if self.hour % 12 == 0 { 12 } else { self.hour % 12 }, 2),
            Field::Minute => number(self.minute, 2),
            Field::Second => number(self.second, 2),
            Field::Fraction(count) => {
                let width = usize::from(count);
                format!("{:0width$}", self.micros / 10_i64.pow(6 - u32::from(count)))
            }
            Field::Milliseconds => format!("{:03}", self.micros / 1_000),
            Field::Microseconds => format!("{:06}", self.micros),
            Field::SecondsOfDay => (self.hour * 3600 + self.minute * 60 + self.second).to_string(),
            Field::Meridiem { points } => {
                let word = match (self.hour.rem_euclid(24) >= 12, points) {
                    (false, false) => "AM",
                    (true, false) => "PM",
                    (false, true) => "A.M.",
                    (true, true) => "P.M.",
                };
                cased(word, case)
            }
            Field::DayOfYear => number(self.day_of_year, 3),
            Field::Day if bare => self.day.to_string(),
            Field::Day => format!("{:02}", self.day),
            Field::Month => number(self.month, 2),
            Field::Quarter if self.month == 0 => String::new(),
            Field::Quarter => ((self.month - 1) / 3 + 1).to_string(),
            Field::WeekOfYear => number((self.day_of_year - 1) / 7 + 1, 2),
            Field::WeekOfMonth => ((self.day - 1) / 7 + 1).to_string(),
            Field::Century => {
                let century = match self.year {
                    year if self.is_interval => year / 100,
                    year if year > 0 => (year - 1) / 100 + 1,
                    year => year / 100 - 1,
                };
                if century.abs() < 100 { number(century, 2) } else { century.to_string() }
            }
            Field::YearWithComma => {
                let year = self.written_year();
                format!("{},{:03}", year / 1_000, year % 1_000)
            }
            Field::Year(count) => last_digits(self.written_year(), count),
            Field::RomanMonth => self.roman_month(case, bare),
            _ if self.is_interval => return Err(no_interval()),
            other => self.calendar_field(other, case, bare),
        })
    }

    fn roman_month(&self, case: Case, bare: bool) -> String {
        if self.month == 0 && self.year == 0 {
            return String::new();
        }
        // Months before the year's beginning count from its end; none is the one before the first.
        let place = match self.month {
            0 if self.year >= 0 => 12,
            0 => 1,
            month if month < 0 => 13 + month,
            month => month,
        };
        let text = cased(ROMAN_MONTHS[place as usize - 1], case);
        if bare { text } else { format!("{text:4}") }
    }

    /// The fields that an interval does not have.
    fn calendar_field(&self, field: Field, case: Case, bare: bool) -> String {
        let word = |word: &str| if bare { cased(word, case) } else { format!("{:9}", cased(word, case)) };
        let short = |word: &str| cased(&word[..3], case);
        let day_of_week = (self.days + 4).rem_euclid(7);
        let (iso_year, week) = iso_week(self.days);
        let offset = self.zone.as_ref().map_or(0, |(_, offset)| *offset);
        let (sign, seconds) = if offset < 0 { ('-', -offset) } else { ('+', offset) };
        match field {
            Field::Era { points, .. } => {
                let word = match (self.year <= 0, points) {
                    (false, false) => "AD",
                    (true, false) => "BC",
                    (false, true) => "A.D.",
                    (true, true) => "B.C.",
                };
                cased(word, case)
            }
            Field::MonthName => word(MONTHS[self.month as usize - 1]),
            Field::MonthAbbreviation => short(MONTHS[self.month as usize - 1]),
            Field::DayName => word(DAYS[day_of_week as usize]),
            Field::DayAbbreviation => short(DAYS[day_of_week as usize]),
            Field::DayOfWeek => (day_of_week + 1).to_string(),
            Field::IsoDayOfWeek => (if day_of_week == 0 { 7 } else { day_of_week }).to_string(),
            Field::IsoWeek => digits(week, 2, bare),
            Field::IsoDayOfYear => {
                let monday = self.days - (self.days + 3).rem_euclid(7);
                digits(self.days - (monday - (week - 1) * 7) + 1, 3, bare)
            }
            Field::IsoYear(count) => {
                let year = if iso_year > 0 { iso_year } else { 1 - iso_year };
                let shown = if count == 4 { year } else { year % 10_i64.pow(u32::from(count)) };
                digits(shown, usize::from(count), bare)
            }
            Field::Julian => (self.days + 2_440_588).to_string(),
            Field::ZoneName => {
                let name = self.zone.as_ref().map_or("", |(name, _)| name);
                if case == Case::Lower { name.to_ascii_lowercase() } else { name.to_string() }
            }
            Field::ZoneHours => format!("{sign}{:02}", seconds / 3600),
            Field::ZoneMinutes => format!("{:02}", seconds / 60 % 60),
            Field::Offset => offset_text(offset),
            _ => String::new(),
        }
    }
}

fn no_interval() -> DataFusionError {
    let error =
        PlanError::new(PlanErrorKind::InvalidDatetimeFormat, "invalid format specification for an interval value")
            .with_hint("Intervals are not tied to specific calendar dates.");
    DataFusionError::External(Box::new(error))
}
