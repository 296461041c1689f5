//! The clock and times.

use chrono::{Datelike, Timelike};
use millstream_planner::error::{PlanError, PlanErrorKind, Result};
use millstream_planner::values::{Zone, abbreviation_seconds};

use super::super::datum::Datum;
use super::super::types;
use super::Call;

pub(super) const FUNCTIONS: super::Values = &[
    ("now", |call| Ok(Datum::Moment(call.context.now_micros))),
    ("transaction_timestamp", |call| Ok(Datum::Moment(call.context.now_micros))),
    ("statement_timestamp", |call| Ok(Datum::Moment(call.context.now_micros))),
    ("clock_timestamp", |call| Ok(Datum::Moment(call.context.now_micros))),
    ("date_trunc", |call| truncated(call)),
    ("date_part", |call| part(call.text(0), call.datum(1))),
    ("extract", |call| part(call.text(0), call.datum(1))),
    ("to_char", |call| shown_as(call)),
    ("timezone", |call| in_zone(call)),
    ("to_timestamp", |call| Ok(Datum::Moment((call.float(0) * 1e6) as i64))),
];

fn civil(micros: i64) -> Option<chrono::NaiveDateTime> {
    chrono::DateTime::from_timestamp_micros(micros).map(|moment| moment.naive_utc())
}

/// `to_char(timestamp, pattern)`: the parts of a moment in the patterns that tools show moments in; what is none of
/// them stands for itself, between double quotes whatever it is.
fn shown_as(call: &Call<'_>) -> Result<Datum> {
    let Datum::Moment(micros) = call.datum(0) else { return Ok(Datum::Null) };
    let zoned = *call.ty(0) == types::TIMESTAMPTZ;
    let zone = call.context.view.style.zone;
    let ahead = if zoned { i64::from(zone.offset_at(*micros)) * 1_000_000 } else { 0 };
    let Some(moment) = micros.checked_add(ahead).and_then(civil) else { return Ok(Datum::Null) };
    let hour12 = (moment.hour() + 11) % 12 + 1;
    let part = |pattern: &str| {
        Some(match pattern {
            "YYYY" => format!("{:04}", moment.year()),
            "MM" => format!("{:02}", moment.month()),
            "DD" => format!("{:02}", moment.day()),
            "DDD" => format!("{:03}", moment.ordinal()),
            "HH24" => format!("{:02}", moment.hour()),
            "HH12" | "HH" => format!("{hour12:02}"),
            "MI" => format!("{:02}", moment.minute()),
            "SS" => format!("{:02}", moment.second()),
            "MS" => format!("{:03}", moment.nanosecond() / 1_000_000),
            "US" => format!("{:06}", moment.nanosecond() / 1_000),
            "AM" | "PM" => if moment.hour() < 12 { "AM" } else { "PM" }.to_owned(),
            "TZ" if zoned => zone.abbreviation_at(*micros).unwrap_or_default(),
            "TZ" => String::new(),
            _ => return None,
        })
    };
    let (pattern, mut text) = (call.text(1), String::new());
    let mut left = pattern;
    while let Some(first) = left.chars().next() {
        // The longest that fits: HH24 before HH.
        let longest = (2..=4).rev().filter_map(|length| left.get(..length)).find_map(|word| Some((word, part(word)?)));
        match longest {
            Some((word, value)) => {
                text.push_str(&value);
                left = &left[word.len()..];
            }
            None if first == '"' => {
                let (quoted, rest) = left[1..].split_once('"').unwrap_or((&left[1..], ""));
                text.push_str(quoted);
                left = rest;
            }
            None if first.is_ascii_alphabetic() => {
                let message =
                    format!("the pattern \"{pattern}\" of to_char is not supported in queries of the catalog");
                let hint = "The parts are YYYY, MM, DD, DDD, HH24, HH12, MI, SS, MS, US, AM and TZ.";
                return Err(PlanError::unsupported(message).with_hint(hint));
            }
            None => {
                text.push(first);
                left = &left[first.len_utf8()..];
            }
        }
    }
    Ok(Datum::text(text))
}

/// `moment AT TIME ZONE zone`: what the zone's clocks show at an instant, or the instant at which they show it.
fn in_zone(call: &Call<'_>) -> Result<Datum> {
    let Datum::Moment(micros) = call.datum(1) else { return Ok(Datum::Null) };
    let invalid = |message: String| PlanError::new(PlanErrorKind::InvalidParameterValue, message);
    let zone = match call.datum(0) {
        Datum::Interval(0, 0, ahead) => i32::try_from(ahead / 1_000_000).ok().map(Zone::Fixed),
        Datum::Interval(..) => {
            return Err(invalid("interval time zone must not include months or days".to_owned()));
        }
        _ => {
            let name = call.text(0);
            let found = abbreviation_seconds(name).map(Zone::Fixed).or_else(|| Zone::named(name));
            Some(found.ok_or_else(|| invalid(format!("time zone \"{name}\" not recognized")))?)
        }
    };
    let moved = zone.and_then(|zone| match (*micros, *call.ty(1) == types::TIMESTAMPTZ) {
        (infinite @ (i64::MIN | i64::MAX), _) => Some(infinite),
        (instant, true) => instant.checked_add(i64::from(zone.offset_at(instant)) * 1_000_000),
        (local, false) => zone.instant_of(local),
    });
    let out_of_range = || PlanError::new(PlanErrorKind::DatetimeFieldOverflow, "timestamp out of range");
    moved.map(Datum::Moment).ok_or_else(out_of_range)
}

fn unknown_unit(unit: &str) -> PlanError {
    PlanError::new(PlanErrorKind::InvalidParameterValue, format!("unit \"{unit}\" not recognized"))
}

fn truncated(call: &Call<'_>) -> Result<Datum> {
    let Datum::Moment(micros) = call.datum(1) else { return Ok(Datum::Null) };
    let unit = call.text(0).to_ascii_lowercase();
    let step = match unit.as_str() {
        "microseconds" => Some(1),
        "milliseconds" => Some(1_000),
        "second" => Some(1_000_000),
        "minute" => Some(60_000_000),
        "hour" => Some(3_600_000_000),
        "day" => Some(86_400_000_000),
        _ => None,
    };
    if let Some(step) = step {
        return Ok(Datum::Moment(micros.div_euclid(step) * step));
    }
    let Some(date) = civil(*micros).map(|moment| moment.date()) else { return Ok(Datum::Moment(*micros)) };
    let start = match unit.as_str() {
        "week" => date.checked_sub_days(chrono::Days::new(u64::from(date.weekday().num_days_from_monday()))),
        "month" => date.with_day(1),
        "quarter" => date.with_day(1).and_then(|date| date.with_month0(date.month0() / 3 * 3)),
        "year" => date.with_ordinal(1),
        _ => return Err(unknown_unit(&unit)),
    };
    let midnight = start.and_then(|date| date.and_hms_opt(0, 0, 0));
    Ok(midnight.map(|midnight| Datum::Moment(midnight.and_utc().timestamp_micros())).unwrap_or(Datum::Null))
}

/// `EXTRACT(unit FROM value)`
pub(in crate::pg_catalog::sql) fn part(unit: &str, of: &Datum) -> Result<Datum> {
    let unit = unit.to_ascii_lowercase();
    let value = match of {
        Datum::Moment(micros) => {
            let Some(moment) = civil(*micros) else { return Ok(Datum::Null) };
            let second = f64::from(moment.second()) + f64::from(moment.nanosecond()) / 1e9;
            match unit.as_str() {
                "epoch" => *micros as f64 / 1e6,
                "year" => f64::from(moment.year()),
                "quarter" => f64::from(moment.month0() / 3 + 1),
                "month" => f64::from(moment.month()),
                "week" => f64::from(moment.iso_week().week()),
                "day" => f64::from(moment.day()),
                "dow" => f64::from(moment.weekday().num_days_from_sunday()),
                "isodow" => f64::from(moment.weekday().number_from_monday()),
                "doy" => f64::from(moment.ordinal()),
                "hour" => f64::from(moment.hour()),
                "minute" => f64::from(moment.minute()),
                "second" => second,
                "milliseconds" => second * 1e3,
                "microseconds" => second * 1e6,
                _ => return Err(unknown_unit(&unit)),
            }
        }
        Datum::Interval(months, days, micros) => match unit.as_str() {
            "epoch" => {
                let years = f64::from(months / 12) * 365.25 * 86_400.0;
                years + f64::from(months % 12) * 30.0 * 86_400.0 + f64::from(*days) * 86_400.0 + *micros as f64 / 1e6
            }
            "year" => f64::from(months / 12),
            "month" => f64::from(months % 12),
            "day" => f64::from(*days),
            "hour" => (micros / 3_600_000_000) as f64,
            "minute" => (micros / 60_000_000 % 60) as f64,
            "second" => (micros % 60_000_000) as f64 / 1e6,
            _ => return Err(unknown_unit(&unit)),
        },
        _ => return Ok(Datum::Null),
    };
    Ok(Datum::Float(value))
}

/// Between two moments, or from one to the midnight before now, in days and below.
pub(super) fn age(call: &Call<'_>) -> Result<Datum> {
    const DAY: i64 = 86_400_000_000;
    let today = call.context.now_micros.div_euclid(DAY) * DAY;
    let (later, earlier) = match (call.datum(0), call.datum(1)) {
        (Datum::Moment(later), Datum::Moment(earlier)) => (*later, *earlier),
        (Datum::Moment(earlier), _) => (today, *earlier),
        _ => return Ok(Datum::Null),
    };
    let micros = later.saturating_sub(earlier);
    Ok(Datum::Interval(0, i32::try_from(micros / DAY).unwrap_or(i32::MAX), micros % DAY))
}
