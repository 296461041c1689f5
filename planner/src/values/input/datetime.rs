//! Dates, times and intervals as text: the ISO forms, and for intervals also Postgres' own.
//!
//! Words that depend on a clock (`now`, `today`) are not read: a parameter is a value.

use std::borrow::Cow;

use arrow::datatypes::IntervalMonthDayNano;
use datafusion::common::ScalarValue;

use super::errors;
use crate::error::Result;
use crate::values::datetime::{DAY_MICROS, days_from_civil, days_in_month};
use crate::values::{DateOrder, TextStyle, Zone, abbreviation_seconds, offset_seconds};

/// Years that Postgres' dates can have.
const DATE_YEARS: std::ops::RangeInclusive<i64> = -4713..=5_874_897;

/// Years that Postgres' timestamps can have.
const YEARS: std::ops::RangeInclusive<i64> = -4713..=294_276;

/// The first day that dates and timestamps can have, from which Julian days are counted: 4714-11-24 BC.
const FIRST_DAY: (i64, u32, u32) = (-4713, 11, 24);

/// A `date`: days since 1970.
pub fn date(text: &str, order: DateOrder) -> Result<i32> {
    match special(text) {
        Some(Special::Infinity) => Ok(i32::MAX),
        Some(Special::MinusInfinity) => Ok(i32::MIN),
        Some(Special::Epoch) => Ok(0),
        None => {
            let moment = Moment::parse("date", text, order)?;
            i32::try_from(moment.days)
                .map_err(|_| errors::datetime_out_of_range(format!("date out of range: \"{text}\"")))
        }
    }
}

/// A `time`: microseconds since midnight. A zone is ignored, as in Postgres.
pub fn time(text: &str) -> Result<i64> {
    let invalid = || errors::invalid_datetime("time", text);
    let (clock, _) = split_zone(text.trim_ascii()).ok_or_else(invalid)?;
    clock_micros(clock).ok_or_else(invalid)?.within("time", text)
}

/// A `timestamp`: microseconds since 1970. A zone is ignored, as in Postgres.
pub fn timestamp(text: &str, order: DateOrder) -> Result<i64> {
    match special(text) {
        Some(special) => Ok(special.micros()),
        None => Moment::parse("timestamp", text, order)?.micros("timestamp", text),
    }
}

/// A `timestamptz`: microseconds since 1970 UTC; without a zone of its own it is of the style's.
pub fn timestamptz(text: &str, style: TextStyle) -> Result<i64> {
    if let Some(special) = special(text) {
        return Ok(special.micros());
    }
    let moment = Moment::parse("timestamp with time zone", text, style.forms.order)?;
    let local = moment.micros("timestamp with time zone", text)?;
    let instant = moment.zone.unwrap_or(style.zone).instant_of(local);
    instant.ok_or_else(|| errors::datetime_out_of_range(format!("timestamp out of range: \"{text}\"")))
}

enum Special {
    Infinity,
    MinusInfinity,
    Epoch,
}

impl Special {
    fn micros(&self) -> i64 {
        match self {
            Self::Infinity => i64::MAX,
            Self::MinusInfinity => i64::MIN,
            Self::Epoch => 0,
        }
    }
}

fn special(text: &str) -> Option<Special> {
    match text.trim_ascii().to_ascii_lowercase().as_str() {
        "infinity" | "+infinity" => Some(Special::Infinity),
        "-infinity" => Some(Special::MinusInfinity),
        "epoch" => Some(Special::Epoch),
        _ => None,
    }
}

/// A date with a time of day, and the zone that the text names.
struct Moment {
    days: i64,
    of_day: i64,
    zone: Option<Zone>,
}

impl Moment {
    fn parse(type_name: &str, text: &str, order: DateOrder) -> Result<Self> {
        let invalid = || errors::invalid_datetime(type_name, text);
        let (rest, before_christ) = without_era(text.trim_ascii());
        let (date, clock) = match rest.split_once(['T', 't', ' ']) {
            Some((date, clock)) => (date, clock.trim_ascii()),
            // A zone may stand right behind the day, where no other digit can.
            None => rest.split_at(zone_start(&rest)),
        };
        let (year, month, day) = year_month_day(date, order).ok_or_else(invalid)?;
        let year = if before_christ { 1 - year } else { year };
        let out_of_range = || errors::datetime_field_out_of_range(text);
        if year == 0 && !before_christ || !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
            return Err(out_of_range());
        }
        let years = if type_name == "date" { DATE_YEARS } else { YEARS };
        if !years.contains(&year) {
            return Err(out_of_range());
        }
        if (year, month, day) < FIRST_DAY {
            let what = if type_name == "date" { "date" } else { "timestamp" };
            return Err(errors::datetime_out_of_range(format!("{what} out of range: \"{text}\"")));
        }
        let (clock, zone) = match clock {
            "" => (None, None),
            // A zone may stand behind a day alone: drivers send dates so.
            clock => split_zone(clock)
                .map(|(clock, zone)| ((!clock.is_empty()).then_some(clock), zone))
                .ok_or_else(invalid)?,
        };
        let of_day = match clock {
            None => 0,
            Some(clock) => clock_micros(clock).ok_or_else(invalid)?.within(type_name, text)?,
        };
        Ok(Self { days: days_from_civil(year, month, day), of_day, zone })
    }

    fn micros(&self, type_name: &str, text: &str) -> Result<i64> {
        let micros = self.days.checked_mul(DAY_MICROS).and_then(|micros| micros.checked_add(self.of_day));
        micros.ok_or_else(|| errors::datetime_out_of_range(format!("{type_name} out of range: \"{text}\"")))
    }
}

/// Where a zone begins that stands right behind a day: `2020-01-31+02`, `2020-01-31Z`.
fn zone_start(text: &str) -> usize {
    let zone = |(at, character): &(usize, char)| {
        *character == '+' || (*at > 0 && character.is_ascii_alphabetic()) || (*character == '-' && is_third(text, *at))
    };
    text.char_indices().find(zone).map_or(text.len(), |(at, _)| at)
}

/// Whether two hyphens stand before the one at a place: a day has no third one.
fn is_third(text: &str, at: usize) -> bool {
    text[..at].bytes().filter(|byte| *byte == b'-').count() == 2
}

/// Takes the era out, a word behind the date that may stand before a zone: drivers send `0044-03-15 BC +00`. Whether it
/// is that before Christ.
fn without_era(text: &str) -> (Cow<'_, str>, bool) {
    let word = |era: &str| {
        let of_era = |(at, _): &(usize, char)| text.get(*at..at + 2).is_some_and(|word| word.eq_ignore_ascii_case(era));
        let (at, _) = text.char_indices().find(of_era)?;
        let ends = |beside: Option<char>| beside.is_none_or(|beside| beside.is_ascii_whitespace());
        let before = text[..at].chars().next_back();
        let alone = before.is_none_or(|before| before.is_ascii_whitespace() || before.is_ascii_digit());
        (at > 0 && alone && ends(text[at + 2..].chars().next())).then_some(at)
    };
    let cut = |at: usize| format!("{} {}", text[..at].trim_ascii_end(), text[at + 2..].trim_ascii());
    match (word("bc"), word("ad")) {
        (Some(at), None) => (Cow::Owned(cut(at).trim_ascii_end().to_owned()), true),
        (None, Some(at)) => (Cow::Owned(cut(at).trim_ascii_end().to_owned()), false),
        _ => (Cow::Borrowed(text), false),
    }
}

/// `YYYY-MM-DD` with at least three digits of the year, `YYYYMMDD`, or three short numbers in the session's order;
/// between them hyphens, slashes or points.
fn year_month_day(text: &str, order: DateOrder) -> Option<(i64, u32, u32)> {
    if text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some((text[..4].parse().ok()?, text[4..6].parse().ok()?, text[6..].parse().ok()?));
    }
    let separator = text.chars().find(|character| matches!(character, '-' | '/' | '.'))?;
    let mut parts = text.split(separator);
    let (first, second, third) = (parts.next()?, parts.next()?, parts.next()?);
    let order = if first.len() > 2 { DateOrder::Ymd } else { order };
    let (year, month, day) = match order {
        DateOrder::Ymd => (first, second, third),
        DateOrder::Mdy => (third, first, second),
        DateOrder::Dmy => (third, second, first),
    };
    let digits =
        |part: &str, most: usize| (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    // A year where the day should be is one that is out of range, not one that can't be read.
    if parts.next().is_some() || !digits(year, 7) || !digits(month, 2) || !digits(day, 7) {
        return None;
    }
    let century = match year.len() {
        1 | 2 if year.parse::<i64>().ok()? < 70 => 2000,
        1 | 2 => 1900,
        _ => 0,
    };
    Some((century + year.parse::<i64>().ok()?, month.parse().ok()?, day.parse().ok()?))
}

/// Cuts a zone off the end of a time of day.
fn split_zone(text: &str) -> Option<(&str, Option<Zone>)> {
    let end = text.find(|character: char| !character.is_ascii_digit() && character != ':' && character != '.');
    let Some(end) = end else { return Some((text, None)) };
    let (clock, zone) = (text[..end].trim_ascii_end(), text[end..].trim_ascii());
    if zone.is_empty() {
        return Some((clock, None));
    }
    match offset_seconds(zone) {
        Some(seconds) => Some((clock, Some(Zone::Fixed(seconds)))),
        None => Some((clock, Some(abbreviation_seconds(zone).map(Zone::Fixed).or_else(|| Zone::named(zone))?))),
    }
}

/// Microseconds since midnight, not yet checked against the day.
struct Clock {
    hours: i64,
    minutes: i64,
    micros: i64,
}

impl Clock {
    fn within(&self, type_name: &str, text: &str) -> Result<i64> {
        let total = (self.hours * 60 + self.minutes) * 60_000_000 + self.micros;
        if self.minutes > 59 || self.micros > 60_000_000 || total > DAY_MICROS {
            let message = format!("date/time field value out of range for type {type_name}: \"{text}\"");
            return Err(errors::datetime_out_of_range(message));
        }
        Ok(total)
    }
}

/// `HH:MM`, `HH:MM:SS` and `HH:MM:SS.ffffff`; further digits are rounded.
fn clock_micros(text: &str) -> Option<Clock> {
    let mut parts = text.split(':');
    let number = |part: &str| {
        let digits = !part.is_empty() && part.len() <= 9 && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse::<i64>().ok()).flatten()
    };
    let (hours, minutes) = (number(parts.next()?)?, number(parts.next()?)?);
    let micros = match parts.next() {
        None => 0,
        Some(seconds) => {
            let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
            number(whole)? * 1_000_000 + fraction_micros(fraction)?
        }
    };
    parts.next().is_none().then_some(Clock { hours, minutes, micros })
}

/// Digits behind the point in millionths, the seventh rounded.
fn fraction_micros(digits: &str) -> Option<i64> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digit = |index: usize| digits.as_bytes().get(index).map_or(0, |byte| i64::from(byte - b'0'));
    let micros = (0..6).fold(0, |micros, index| micros * 10 + digit(index));
    Some(micros + i64::from(digit(6) >= 5))
}

/// An interval in Postgres' fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// Months.
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

impl Interval {
    /// In Arrow's form, which counts nanoseconds and so reaches 292 years of hours.
    pub fn into_scalar(self) -> Result<ScalarValue> {
        let nanoseconds =
            self.micros.checked_mul(1_000).ok_or_else(|| errors::datetime_out_of_range("interval out of range"))?;
        let value = IntervalMonthDayNano { months: self.months, days: self.days, nanoseconds };
        Ok(ScalarValue::IntervalMonthDayNano(Some(value)))
    }
}

/// A number with millionths, both of the number's sign.
#[derive(Clone, Copy)]
struct Quantity {
    whole: i64,
    millionths: i64,
}

impl Quantity {
    fn parse(text: &str) -> Option<Self> {
        let (sign, digits) = match text.as_bytes().first()? {
            b'-' => (-1, &text[1..]),
            b'+' => (1, &text[1..]),
            _ => (1, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() || whole.len() > 18 {
            return None;
        }
        let whole: i64 = if whole.is_empty() { 0 } else { unsigned(whole)? };
        Some(Self { whole: sign * whole, millionths: sign * fraction_micros(fraction)? })
    }
}

fn unsigned(digits: &str) -> Option<i64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The parts of an interval while they are summed up.
#[derive(Default)]
struct Sum {
    months: i128,
    days: i128,
    micros: i128,
}

impl Sum {
    /// Adds a quantity; a fraction of a unit goes into the smaller ones, a month having 30 days.
    fn add(&mut self, quantity: Quantity, unit: Unit) {
        let (whole, millionths) = (i128::from(quantity.whole), i128::from(quantity.millionths));
        match unit {
            Unit::Months(count) => {
                self.months += whole * count;
                let rest = millionths * count;
                match count {
                    1 => self.add_days(rest * 30),
                    _ => self.months += (rest + rest.signum() * 500_000) / 1_000_000,
                }
            }
            Unit::Days(count) => self.add_days((whole * 1_000_000 + millionths) * count),
            Unit::Micros(count) => self.micros += whole * count + millionths * count / 1_000_000,
        }
    }

    fn add_days(&mut self, millionths: i128) {
        self.days += millionths / 1_000_000;
        self.micros += millionths % 1_000_000 * i128::from(DAY_MICROS) / 1_000_000;
    }

    fn finish(self, negative: bool, text: &str) -> Result<Interval> {
        let sign = if negative { -1 } else { 1 };
        let interval = || {
            Some(Interval {
                months: i32::try_from(self.months * sign).ok()?,
                days: i32::try_from(self.days * sign).ok()?,
                micros: i64::try_from(self.micros * sign).ok()?,
            })
        };
        interval()
            .ok_or_else(|| errors::datetime_out_of_range(format!("interval field value out of range: \"{text}\"")))
    }
}

/// What a quantity counts.
#[derive(Clone, Copy)]
enum Unit {
    Months(i128),
    Days(i128),
    Micros(i128),
}

fn unit(word: &str) -> Option<Unit> {
    Some(match word {
        "us" | "usec" | "usecs" | "microsecond" | "microseconds" => Unit::Micros(1),
        "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => Unit::Micros(1_000),
        "s" | "sec" | "secs" | "second" | "seconds" => Unit::Micros(1_000_000),
        "m" | "min" | "mins" | "minute" | "minutes" => Unit::Micros(60_000_000),
        "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Micros(3_600_000_000),
        "d" | "day" | "days" => Unit::Days(1),
        "w" | "week" | "weeks" => Unit::Days(7),
        "mon" | "mons" | "month" | "months" => Unit::Months(1),
        "y" | "yr" | "yrs" | "year" | "years" => Unit::Months(12),
        "decade" | "decades" => Unit::Months(120),
        "century" | "centuries" => Unit::Months(1_200),
        "millennium" | "millennia" => Unit::Months(12_000),
        _ => return None,
    })
}

/// An `interval`: `1 year 2 mons 3 days 04:05:06.7`, `@ 1 day ago`, `P1Y2M3DT4H5M6.7S`.
pub fn interval(text: &str) -> Result<Interval> {
    let lower = text.trim_ascii().to_ascii_lowercase();
    let parsed = match lower.strip_prefix('p') {
        Some(designators) => iso_interval(designators).map(|sum| (sum, false)),
        None => postgres_interval(&lower),
    };
    let (sum, negative) = parsed.ok_or_else(|| errors::invalid_datetime("interval", text))?;
    sum.finish(negative, text)
}

fn iso_interval(text: &str) -> Option<Sum> {
    let mut sum = Sum::default();
    let (mut rest, mut in_time) = (text, false);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix('t') {
            if std::mem::replace(&mut in_time, true) {
                return None;
            }
            rest = time;
            continue;
        }
        let end = rest.find(|character: char| character.is_ascii_alphabetic())?;
        let unit = match (&rest[end..=end], in_time) {
            ("y", false) => Unit::Months(12),
            ("m", false) => Unit::Months(1),
            ("w", false) => Unit::Days(7),
            ("d", false) => Unit::Days(1),
            ("h", true) => Unit::Micros(3_600_000_000),
            ("m", true) => Unit::Micros(60_000_000),
            ("s", true) => Unit::Micros(1_000_000),
            _ => return None,
        };
        sum.add(Quantity::parse(&rest[..end])?, unit);
        rest = &rest[end + 1..];
    }
    Some(sum)
}

fn postgres_interval(text: &str) -> Option<(Sum, bool)> {
    let mut sum = Sum::default();
    let spaced = separate_units(text.strip_prefix('@').unwrap_or(text));
    let mut words = spaced.split_ascii_whitespace().peekable();
    words.peek()?;
    while let Some(word) = words.next() {
        if word == "ago" {
            return words.next().is_none().then_some((sum, true));
        }
        if word.contains(':') {
            let (sign, clock) = match word.strip_prefix('-') {
                Some(clock) => (-1, clock),
                None => (1, word.strip_prefix('+').unwrap_or(word)),
            };
            let clock = clock_micros(clock)?;
            let total = (i128::from(clock.hours) * 60 + i128::from(clock.minutes)) * 60_000_000;
            sum.micros += sign * (total + i128::from(clock.micros));
            continue;
        }
        if let Some(months) = years_and_months(word) {
            sum.months += months;
            continue;
        }
        let quantity = Quantity::parse(word)?;
        // A number before a time of day counts days.
        if words.peek().is_some_and(|next| next.contains(':')) {
            sum.add(quantity, Unit::Days(1));
            continue;
        }
        // A last number without a unit counts seconds.
        let unit = match words.next() {
            Some(word) => unit(word)?,
            None => Unit::Micros(1_000_000),
        };
        sum.add(quantity, unit);
    }
    Some((sum, false))
}

/// Months of `1-2`, as the standard writes years and months.
fn years_and_months(word: &str) -> Option<i128> {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, word.strip_prefix('+').unwrap_or(word)),
    };
    let (years, months) = digits.split_once('-')?;
    let (years, months) = (unsigned(years)?, unsigned(months)?);
    (months < 12).then_some(sign * (i128::from(years) * 12 + i128::from(months)))
}

/// Puts a space where a unit stands right behind its number.
fn separate_units(text: &str) -> String {
    let mut spaced = String::with_capacity(text.len() + 8);
    let mut previous = ' ';
    for character in text.chars() {
        if character.is_ascii_alphabetic() && (previous.is_ascii_digit() || previous == '.') {
            spaced.push(' ');
        }
        spaced.push(character);
        previous = character;
    }
    spaced
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn dates() {
        for (text, days) in [
            ("1970-01-01", 0),
            (" 2024-02-29 ", 19_782),
            ("20240229", 19_782),
            ("2024-2-9", 19_762),
            ("2024-02-29 10:00", 19_782),
            ("2024-02-29 +00", 19_782),
            ("2024-02-29 -11", 19_782),
            ("2024-02-29 UTC", 19_782),
            ("0044-03-15 BC", -735_160),
            ("0044-03-15 bc +00", -735_160),
            ("0044-03-15 BC Europe/Berlin", -735_160),
            ("4714-11-24 BC", -2_440_588),
            ("2026-01-01 AD", 20_454),
            ("infinity", i32::MAX),
            ("-Infinity", i32::MIN),
            ("epoch", 0),
        ] {
            assert_eq!(date(text, DateOrder::Mdy).unwrap(), days, "{text}");
        }
        for (wrong, sqlstate) in [
            ("", "22007"),
            ("now", "22007"),
            ("2024-01", "22007"),
            ("24-01-01", "22008"),
            ("13/02/2024", "22008"),
            ("2023-02-29", "22008"),
            ("2024-13-01", "22008"),
            ("0000-01-01", "22008"),
            ("2024-01-01 25:00", "22008"),
            ("9999999-01-01", "22008"),
        ] {
            assert_eq!(errors::sqlstate(&date(wrong, DateOrder::Mdy).unwrap_err()), sqlstate, "{wrong}");
        }
    }

    /// Read as a Postgres 15 did.
    #[test]
    fn ambiguous_dates_are_read_in_the_order_of_the_session() {
        let day = |year, month, day| days_from_civil(year, month, day) as i32;
        for (text, order, days) in [
            ("01/02/2024", DateOrder::Mdy, day(2024, 1, 2)),
            ("1-2-2024", DateOrder::Mdy, day(2024, 1, 2)),
            ("01.02.2024", DateOrder::Mdy, day(2024, 1, 2)),
            ("01/02/24", DateOrder::Mdy, day(2024, 1, 2)),
            ("01/02/2024", DateOrder::Dmy, day(2024, 2, 1)),
            ("01.02.2024", DateOrder::Dmy, day(2024, 2, 1)),
            ("2024/01/02", DateOrder::Dmy, day(2024, 1, 2)),
            ("01/02/03", DateOrder::Ymd, day(2001, 2, 3)),
            ("69/1/2", DateOrder::Ymd, day(2069, 1, 2)),
            ("70/1/2", DateOrder::Ymd, day(1970, 1, 2)),
        ] {
            assert_eq!(date(text, order).unwrap(), days, "{text}");
        }
        let error = date("01/02/2024", DateOrder::Ymd).unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("Perhaps you need a different \"datestyle\" setting."));
        assert_eq!(errors::sqlstate(&error), "22008");
    }

    #[test]
    fn times_and_timestamps() {
        assert_eq!(time("04:05:06.789").unwrap(), 14_706_789_000);
        assert_eq!(time("24:00").unwrap(), DAY_MICROS);
        assert_eq!(time("04:05+02").unwrap(), 14_700_000_000);
        assert_eq!(errors::sqlstate(&time("24:00:01").unwrap_err()), "22008");
        assert_eq!(errors::sqlstate(&time("4").unwrap_err()), "22007");
        for text in
            ["2024-01-01 00:00:00.1", "2024-01-01T00:00:00.1", "2024-01-01 00:00:00.1Z", "2024-01-01 00:00:00.0999995"]
        {
            assert_eq!(timestamp(text, DateOrder::Mdy).unwrap(), 1_704_067_200_100_000, "{text}");
        }
        assert_eq!(timestamp("infinity", DateOrder::Mdy).unwrap(), i64::MAX);
        assert_eq!(errors::sqlstate(&timestamp("300000-01-01", DateOrder::Mdy).unwrap_err()), "22008");
        let berlin = TextStyle::from(Zone::named("Europe/Berlin").unwrap());
        for (text, micros) in [
            ("2024-01-01 00:00:00+00", 1_704_067_200_000_000),
            ("2024-01-01 00:00:00", 1_704_063_600_000_000),
            ("2024-01-01 05:30:00+05:30", 1_704_067_200_000_000),
            ("2024-01-01 00:00:00 UTC", 1_704_067_200_000_000),
            ("2024-01-01 00:00:00 Europe/Berlin", 1_704_063_600_000_000),
            ("2024-01-01", 1_704_063_600_000_000),
        ] {
            assert_eq!(timestamptz(text, berlin).unwrap(), micros, "{text}");
        }
        assert_eq!(errors::sqlstate(&timestamptz("2024-01-01 00:00 Nowhere", berlin).unwrap_err()), "22007");
    }

    #[test]
    fn intervals() {
        for (text, months, days, micros) in [
            ("1 year 2 mons 3 days 04:05:06.789", 14, 3, 14_706_789_000),
            ("-1 years -2 mons +3 days -04:05:06", -14, 3, -14_706_000_000),
            ("00:00:00", 0, 0, 0),
            ("@ 1 day 2 hours ago", 0, -1, -7_200_000_000),
            ("1.5 days", 0, 1, 43_200_000_000),
            ("1.5 mon", 1, 15, 0),
            ("1.5 years", 18, 0, 0),
            ("2w", 0, 14, 0),
            ("90s", 0, 0, 90_000_000),
            ("5", 0, 0, 5_000_000),
            ("P1Y2M3DT4H5M6.7S", 14, 3, 14_706_700_000),
            ("PT-0.5S", 0, 0, -500_000),
            ("P1W", 0, 7, 0),
        ] {
            assert_eq!(interval(text).unwrap(), Interval { months, days, micros }, "{text}");
        }
        for (wrong, sqlstate) in [
            ("", "22007"),
            ("P", "22007"),
            ("1 fortnight", "22007"),
            ("day", "22007"),
            ("1 day ago 2", "22007"),
            ("PT1H T1M", "22007"),
            ("999999999999 years", "22008"),
        ] {
            assert_eq!(errors::sqlstate(&interval(wrong).unwrap_err()), sqlstate, "{wrong}");
        }
    }
}
