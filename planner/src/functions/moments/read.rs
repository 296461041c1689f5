//! `to_date` and `to_timestamp` of texts: moments read as a template writes them.
//!
//! A text is read leniently, as Postgres does: any separator stands for any other, blanks may be missing or more, a
//! number ends where something else begins. Absent, and refused by name: zones by name (`TZ`, `OF`).

use datafusion::error::{DataFusionError, Result};

use super::clock::{instant_of, out_of_range};
use super::fields::iso_week;
use super::frame::{Datum, Row};
use super::pattern::{DAYS, Field, MONTHS, Part, ROMAN_MONTHS, parse};
use crate::bind::refuse;
use crate::error::{PlanError, PlanErrorKind};
use crate::values::Zone;
use crate::values::datetime::{DAY_MICROS, days_from_civil, days_in_month};

/// `to_date(text, template)`
pub(super) fn date(row: &Row<'_>) -> Result<Datum> {
    let found = Found::read(row.text(0), row.text(1))?;
    i32::try_from(found.days(row.text(0))?).map(Datum::Date).map_err(|_| out_of_range())
}

/// `to_timestamp(text, template)`
pub(super) fn instant(row: &Row<'_>) -> Result<Datum> {
    let text = row.text(0);
    let found = Found::read(text, row.text(1))?;
    let of_day = found.of_day(text)?;
    let local = found.days(text)?.checked_mul(DAY_MICROS).and_then(|midnight| midnight.checked_add(of_day));
    let zone = match found.zone_seconds() {
        Some(seconds) => Zone::Fixed(seconds),
        None => row.zone()?,
    };
    instant_of(zone, local.ok_or_else(out_of_range)?).map(Datum::Micros)
}

fn is_separator(character: char) -> bool {
    character.is_ascii() && !character.is_ascii_alphanumeric() && !character.is_ascii_control()
}

fn invalid(message: String) -> DataFusionError {
    refuse(PlanErrorKind::InvalidDatetimeFormat, message)
}

fn detailed(message: String, detail: String) -> DataFusionError {
    let mut error = PlanError::new(PlanErrorKind::InvalidDatetimeFormat, message);
    error.detail = Some(detail);
    DataFusionError::External(Box::new(error))
}

/// The fields that were read.
#[derive(Debug, Default)]
struct Found {
    year: Option<i64>,
    century: Option<i64>,
    /// Digits of the year: of fewer than four the beginning is missing.
    year_digits: u8,
    iso_year: Option<i64>,
    before_christ: bool,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    iso_day_of_year: Option<i64>,
    /// 1 is Monday.
    iso_day: Option<i64>,
    week: Option<i64>,
    week_of_month: Option<i64>,
    iso_week: Option<i64>,
    julian: Option<i64>,
    hour: Option<i64>,
    /// Of twelve.
    twelve: bool,
    afternoon: bool,
    minute: Option<i64>,
    second: Option<i64>,
    second_of_day: Option<i64>,
    micros: i64,
    zone_sign: i64,
    zone_hours: Option<i64>,
    zone_minutes: Option<i64>,
}

/// What is left of a text.
struct Input<'a> {
    rest: &'a str,
    /// Blanks and separators that were skipped beyond those of the template.
    extra: usize,
    /// The character that was skipped last.
    previous: Option<char>,
}

impl<'a> Input<'a> {
    /// Skips blanks and says how many.
    fn skip_blanks(&mut self) -> usize {
        let before = self.rest.len();
        self.rest = self.rest.trim_start_matches(|character: char| character.is_ascii_whitespace());
        before - self.rest.len()
    }

    fn skip(&mut self) {
        let mut characters = self.rest.chars();
        self.previous = characters.next();
        self.rest = characters.as_str();
    }

    /// A whole number of at most `width` digits; all of them must be there unless it is `free`.
    fn number(&mut self, width: usize, free: bool, field: &str) -> Result<i64> {
        self.skip_blanks();
        let signed = usize::from(self.rest.starts_with(['-', '+']));
        let digits = self.rest[signed..].bytes().take_while(u8::is_ascii_digit).count();
        let length = if free { signed + digits } else { (signed + digits).min(width) };
        let shown: String = self.rest.chars().take(width).collect();
        if !free && self.rest.chars().count() < width {
            let mut error = PlanError::new(
                PlanErrorKind::InvalidDatetimeFormat,
                format!("source string too short for \"{field}\" formatting field"),
            );
            error.detail =
                Some(format!("Field requires {width} characters, but only {} remain.", self.rest.chars().count()));
            return Err(DataFusionError::External(Box::new(
                error.with_hint("If your source string is not fixed-width, try using the \"FM\" modifier."),
            )));
        }
        if digits == 0 {
            let message = format!("invalid value \"{shown}\" for \"{field}\"");
            return Err(detailed(message, "Value must be an integer.".to_string()));
        }
        if !free && length < width {
            let message = format!("invalid value \"{shown}\" for \"{field}\"");
            let detail = format!("Field requires {width} characters, but only {length} could be parsed.");
            return Err(detailed(message, detail));
        }
        let value = self.rest[..length].parse::<i32>().map_err(|_| {
            refuse(
                PlanErrorKind::DatetimeFieldOverflow,
                format!("value for \"{field}\" in source string is out of range"),
            )
        })?;
        self.rest = &self.rest[length..];
        Ok(value.into())
    }

    /// The place of the word that the text begins with, in any case.
    fn word(&mut self, words: &[&str], field: &str) -> Result<usize> {
        self.skip_blanks();
        let begins = |word: &&&str| self.rest.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
        let longest = words.iter().filter(begins).max_by_key(|word| word.len());
        let Some(word) = longest else {
            let shown: String = self.rest.split_whitespace().next().unwrap_or_default().to_string();
            return Err(detailed(
                format!("invalid value \"{shown}\" for \"{field}\""),
                "The given value did not match any of the allowed values for this field.".to_string(),
            ));
        };
        self.rest = &self.rest[word.len()..];
        Ok(words.iter().position(|other| other == word).expect("the word is one of them"))
    }
}

impl Found {
    fn read(text: &str, template: &str) -> Result<Self> {
        let parts = parse(template);
        let exact = parts.iter().any(|part| matches!(part, Part::Field { field: Field::Exact, .. }));
        let mut found = Self { zone_sign: 1, ..Self::default() };
        let mut input = Input { rest: text, extra: 0, previous: None };
        for (place, part) in parts.iter().enumerate() {
            if input.rest.is_empty() {
                break;
            }
            if !exact && (place == 0 || matches!(part, Part::Field { .. })) {
                input.extra += input.skip_blanks();
            }
            match part {
                Part::Field { field: Field::Exact, .. } => {}
                Part::Field { field, written, bare, ordinal, .. } => {
                    let free = *bare || ordinal.is_some() || ends_number(parts.get(place + 1));
                    found.take(*field, written, free, &mut input)?;
                    if ordinal.is_some() {
                        input.skip();
                        input.skip();
                    }
                    input.extra = if exact { 0 } else { input.skip_blanks() };
                }
                Part::Literal(_) | Part::Quoted(_) if exact => input.skip(),
                Part::Literal(character) if is_separator(*character) => {
                    input.extra = input.extra.saturating_sub(1);
                    if input.rest.starts_with(is_separator) {
                        input.skip();
                        input.extra += 1;
                    }
                }
                Part::Literal(_) | Part::Quoted(_) if input.extra > 0 => input.extra -= 1,
                Part::Literal(_) | Part::Quoted(_) => input.skip(),
            }
        }
        Ok(found)
    }

    fn take(&mut self, field: Field, written: &str, free: bool, input: &mut Input<'_>) -> Result<()> {
        let mut number = |width: usize| input.number(width, free, written);
        let slot = match field {
            Field::Month => (&mut self.month, number(2)?),
            Field::Day => (&mut self.day, number(2)?),
            Field::DayOfYear => (&mut self.day_of_year, number(3)?),
            Field::IsoDayOfYear => (&mut self.iso_day_of_year, number(3)?),
            Field::IsoDayOfWeek => (&mut self.iso_day, number(1)?),
            Field::DayOfWeek => (&mut self.iso_day, (number(1)? + 5) % 7 + 1),
            Field::WeekOfYear => (&mut self.week, number(2)?),
            Field::WeekOfMonth => (&mut self.week_of_month, number(1)?),
            Field::IsoWeek => (&mut self.iso_week, number(2)?),
            Field::Julian => (&mut self.julian, number(7)?),
            Field::Century => (&mut self.century, number(2)?),
            Field::Hour24 => (&mut self.hour, number(2)?),
            Field::Hour12 => {
                self.twelve = true;
                (&mut self.hour, number(2)?)
            }
            Field::Minute => (&mut self.minute, number(2)?),
            Field::Second => (&mut self.second, number(2)?),
            Field::SecondsOfDay => (&mut self.second_of_day, number(5)?),
            Field::ZoneMinutes => (&mut self.zone_minutes, number(2)?),
            Field::Year(count) => {
                self.year_digits = count;
                let value = number(count.into())?;
                (&mut self.year, if count == 4 { value } else { whole_year(value) })
            }
            Field::IsoYear(count) => {
                let value = number(count.into())?;
                (&mut self.iso_year, if count == 4 { value } else { whole_year(value) })
            }
            other => return self.take_other(other, written, free, input),
        };
        set(slot.0, slot.1, written)
    }

    /// The fields that are no plain number.
    fn take_other(&mut self, field: Field, written: &str, free: bool, input: &mut Input<'_>) -> Result<()> {
        match field {
            Field::YearWithComma => {
                let thousands = input.number(input.rest.len(), true, written)?;
                if !input.rest.starts_with(',') {
                    return Err(invalid("invalid input string for \"Y,YYY\"".to_string()));
                }
                input.skip();
                let rest = input.number(3, free, written)?;
                self.year_digits = 4;
                set(&mut self.year, thousands * 1_000 + rest, written)
            }
            Field::Quarter => input.number(1, free, written).map(drop),
            Field::Milliseconds => self.fraction(3, written, input),
            Field::Microseconds => self.fraction(6, written, input),
            Field::Fraction(count) => self.fraction(count.into(), written, input),
            Field::Era { points, .. } => {
                let words = if points { ["A.D.", "B.C."] } else { ["AD", "BC"] };
                self.before_christ = input.word(&words, written)? == 1;
                Ok(())
            }
            Field::Meridiem { points } => {
                let words = if points { ["A.M.", "P.M."] } else { ["AM", "PM"] };
                self.afternoon = input.word(&words, written)? == 1;
                self.twelve = true;
                Ok(())
            }
            Field::MonthName => {
                let month = input.word(&MONTHS, written)?;
                set(&mut self.month, month as i64 + 1, written)
            }
            Field::MonthAbbreviation => {
                let month = input.word(&MONTHS.map(|name| &name[..3]), written)?;
                set(&mut self.month, month as i64 + 1, written)
            }
            Field::RomanMonth => {
                let month = input.word(&ROMAN_MONTHS, written)?;
                set(&mut self.month, month as i64 + 1, written)
            }
            Field::DayName => self.week_day(input.word(&DAYS, written)?, written),
            Field::DayAbbreviation => self.week_day(input.word(&DAYS.map(|name| &name[..3]), written)?, written),
            Field::ZoneHours => {
                // A hyphen that was taken for a separator is the sign all the same.
                let taken = input.extra > 0 && input.previous == Some('-');
                self.zone_sign = if taken || input.rest.starts_with('-') { -1 } else { 1 };
                if input.rest.starts_with(['+', '-', ' ']) {
                    input.skip();
                }
                let hours = input.number(2, free, written)?;
                set(&mut self.zone_hours, hours, written)
            }
            _ => {
                let written = written.to_ascii_uppercase();
                let message = format!("formatting field \"{written}\" is only supported in to_char");
                Err(DataFusionError::External(Box::new(PlanError::unsupported(message))))
            }
        }
    }

    fn week_day(&mut self, sunday_first: usize, written: &str) -> Result<()> {
        set(&mut self.iso_day, (sunday_first as i64 + 6) % 7 + 1, written)
    }

    /// Digits behind the point of a second: `5` is half a second.
    fn fraction(&mut self, width: usize, written: &str, input: &mut Input<'_>) -> Result<()> {
        input.skip_blanks();
        let digits: String = input.rest.chars().take_while(char::is_ascii_digit).take(width).collect();
        let value = input.number(digits.len().max(1), false, written)?;
        let missing = 6_u32.saturating_sub(digits.len() as u32);
        self.micros += value * 10_i64.pow(missing);
        Ok(())
    }

    /// Days since 1970.
    fn days(&self, text: &str) -> Result<i64> {
        let out_of_range =
            || refuse(PlanErrorKind::DatetimeFieldOverflow, format!("date/time field value out of range: \"{text}\""));
        if let Some(julian) = self.julian {
            return Ok(julian - 2_440_588);
        }
        let iso = self.iso_year.is_some() || self.iso_week.is_some() || self.iso_day_of_year.is_some();
        let gregorian = self.year.is_some() || self.month.is_some() || self.day.is_some() || self.week.is_some();
        if iso && gregorian {
            let error = PlanError::new(PlanErrorKind::InvalidDatetimeFormat, "invalid combination of date conventions");
            return Err(DataFusionError::External(Box::new(
                error.with_hint("Do not mix Gregorian and ISO week date conventions in a formatting template."),
            )));
        }
        if iso {
            return self.iso_days().ok_or_else(out_of_range);
        }
        let year = self.astronomical_year();
        let day_of_year = self.day_of_year.or_else(|| self.week.map(|week| (week - 1) * 7 + 1));
        if let (Some(day), None) = (day_of_year, self.month) {
            let longest = 365 + i64::from(days_in_month(year, 2) == 29);
            let within = (1..=longest).contains(&day);
            return if within { Ok(days_from_civil(year, 1, 1) + day - 1) } else { Err(out_of_range()) };
        }
        let day = self.day.or_else(|| self.week_of_month.map(|week| (week - 1) * 7 + 1)).unwrap_or(1);
        let (month, day) = (u32::try_from(self.month.unwrap_or(1)), u32::try_from(day));
        match (month, day) {
            (Ok(month @ 1..=12), Ok(day @ 1..)) if day <= days_in_month(year, month) => {
                Ok(days_from_civil(year, month, day))
            }
            _ => Err(out_of_range()),
        }
    }

    fn iso_days(&self) -> Option<i64> {
        let year = self.iso_year.unwrap_or_default();
        // The fourth of January is in the first week.
        let fourth = days_from_civil(year, 1, 4);
        let monday = fourth - (fourth + 3).rem_euclid(7);
        if let Some(day) = self.iso_day_of_year {
            return (1..=371).contains(&day).then_some(monday + day - 1);
        }
        let (week, day) = (self.iso_week.unwrap_or(1), self.iso_day.unwrap_or(1));
        let days = monday + (week - 1) * 7 + day - 1;
        ((1..=53).contains(&week) && (1..=7).contains(&day) && iso_week(days).1 >= 1).then_some(days)
    }

    /// The year as it is counted where there is one before 1.
    fn astronomical_year(&self) -> i64 {
        let year = match (self.year, self.century) {
            (Some(year), Some(century)) if self.year_digits <= 2 => {
                let century = if self.before_christ { -century } else { century };
                let of_century = year % 100;
                match (of_century, century >= 0) {
                    (0, true) => century * 100,
                    (of_century, true) => (century - 1) * 100 + of_century,
                    (of_century, false) => (century + 1) * 100 - of_century + 1,
                }
            }
            (Some(year), _) => year,
            (None, Some(century)) if century > 0 => (century - 1) * 100 + 1,
            (None, Some(century)) => century * 100 + 1,
            (None, None) => 0,
        };
        if self.before_christ && year > 0 { 1 - year } else { year }
    }

    /// Microseconds since midnight.
    fn of_day(&self, text: &str) -> Result<i64> {
        let out_of_range =
            || refuse(PlanErrorKind::DatetimeFieldOverflow, format!("date/time field value out of range: \"{text}\""));
        let mut hour = self.hour.unwrap_or_default();
        if self.twelve && (self.hour.is_some()) {
            if !(1..=12).contains(&hour) {
                let message = format!("hour \"{hour}\" is invalid for the 12-hour clock");
                let error = PlanError::new(PlanErrorKind::InvalidDatetimeFormat, message)
                    .with_hint("Use the 24-hour clock, or give an hour between 1 and 12.");
                return Err(DataFusionError::External(Box::new(error)));
            }
            hour = hour % 12 + if self.afternoon { 12 } else { 0 };
        }
        let (mut minute, mut second) = (self.minute.unwrap_or_default(), self.second.unwrap_or_default());
        if let Some(seconds) = self.second_of_day {
            (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        }
        let within = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..60).contains(&second);
        if !within || !(0..1_000_000).contains(&self.micros) {
            return Err(out_of_range());
        }
        Ok((hour * 3600 + minute * 60 + second) * 1_000_000 + self.micros)
    }

    /// Seconds east of UTC that the text has.
    fn zone_seconds(&self) -> Option<i32> {
        if self.zone_hours.is_none() && self.zone_minutes.is_none() {
            return None;
        }
        let minutes = self.zone_hours.unwrap_or_default() * 60 + self.zone_minutes.unwrap_or_default();
        i32::try_from(self.zone_sign * minutes * 60).ok()
    }
}

/// Whether what comes next ends a number.
fn ends_number(next: Option<&Part>) -> bool {
    match next {
        None => true,
        Some(Part::Field { field, .. }) => !field.is_number(),
        Some(Part::Literal(character) | Part::Quoted(character)) => !character.is_ascii_digit(),
    }
}

/// A year of fewer than four digits as the one nearest to 2020.
fn whole_year(year: i64) -> i64 {
    match year {
        0..70 => year + 2000,
        70..100 => year + 1900,
        100..520 => year + 2000,
        520..1000 => year + 1000,
        year => year,
    }
}

/// Puts a field, which may be there twice only with one value.
fn set(slot: &mut Option<i64>, value: i64, written: &str) -> Result<()> {
    match slot.replace(value) {
        Some(before) if before != value => Err(detailed(
            format!("conflicting values for \"{written}\" field in formatting string"),
            "This value contradicts a previous setting for the same field type.".to_string(),
        )),
        _ => Ok(()),
    }
}
