//! Operators over two values, neither of them NULL.

use millstream_planner::error::{PlanError, PlanErrorKind, Result};

use super::datum::Datum;
use super::functions::{self, json_text};

const DAY_MICROS: i64 = 86_400_000_000;

fn texts<'a>(left: &'a Datum, right: &'a Datum) -> (&'a str, &'a str) {
    let text = |datum: &'a Datum| match datum {
        Datum::Text(text) => text,
        _ => "",
    };
    (text(left), text(right))
}

pub(super) fn regex(left: &Datum, right: &Datum) -> Result<Datum> {
    functions::regex_matches(left, right, false).map(Datum::Bool)
}

pub(super) fn regex_any_case(left: &Datum, right: &Datum) -> Result<Datum> {
    functions::regex_matches(left, right, true).map(Datum::Bool)
}

pub(super) fn not_regex(left: &Datum, right: &Datum) -> Result<Datum> {
    functions::regex_matches(left, right, false).map(|found| Datum::Bool(!found))
}

pub(super) fn not_regex_any_case(left: &Datum, right: &Datum) -> Result<Datum> {
    functions::regex_matches(left, right, true).map(|found| Datum::Bool(!found))
}

fn like_with(left: &Datum, right: &Datum, any_case: bool) -> bool {
    let (text, pattern) = texts(left, right);
    functions::like(text, pattern, Some('\\'), any_case)
}

pub(super) fn like(left: &Datum, right: &Datum) -> Result<Datum> {
    Ok(like_with(left, right, false).into())
}

pub(super) fn like_any_case(left: &Datum, right: &Datum) -> Result<Datum> {
    Ok(like_with(left, right, true).into())
}

pub(super) fn not_like(left: &Datum, right: &Datum) -> Result<Datum> {
    Ok((!like_with(left, right, false)).into())
}

pub(super) fn not_like_any_case(left: &Datum, right: &Datum) -> Result<Datum> {
    Ok((!like_with(left, right, true)).into())
}

/// A pattern with an escape of its own as one whose escape is the backslash.
pub(super) fn with_escape(left: &Datum, right: &Datum) -> Result<Datum> {
    let (pattern, escape) = texts(left, right);
    let mut rewritten = String::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            escaped if escape.starts_with(escaped) => {
                let next = letters.next().ok_or_else(|| {
                    PlanError::new(
                        PlanErrorKind::InvalidParameterValue,
                        "LIKE pattern must not end with escape character",
                    )
                })?;
                rewritten.extend(['\\', next]);
            }
            '\\' => rewritten.push_str("\\\\"),
            other => rewritten.push(other),
        }
    }
    Ok(rewritten.into())
}

pub(super) fn starts_with(left: &Datum, right: &Datum) -> Result<Datum> {
    let (text, start) = texts(left, right);
    Ok(text.starts_with(start).into())
}

pub(super) fn concatenate(left: &Datum, right: &Datum) -> Result<Datum> {
    functions::concatenated(left, right)
}

pub(super) fn json_field(left: &Datum, right: &Datum) -> Result<Datum> {
    Ok(functions::json_get(left, right)?.map_or(Datum::Null, |value| json_text(&value, false)))
}

pub(super) fn json_text_field(left: &Datum, right: &Datum) -> Result<Datum> {
    Ok(match functions::json_get(left, right)? {
        None | Some(serde_json::Value::Null) => Datum::Null,
        Some(serde_json::Value::String(text)) => text.into(),
        Some(value) => json_text(&value, false),
    })
}

fn items(datum: &Datum) -> &[Datum] {
    match datum {
        Datum::Array(items) => items,
        _ => &[],
    }
}

pub(super) fn contains(left: &Datum, right: &Datum) -> Result<Datum> {
    Ok(items(right).iter().all(|item| items(left).contains(item)).into())
}

pub(super) fn contained(left: &Datum, right: &Datum) -> Result<Datum> {
    contains(right, left)
}

pub(super) fn overlaps(left: &Datum, right: &Datum) -> Result<Datum> {
    Ok(items(left).iter().any(|item| items(right).contains(item)).into())
}

fn out_of_range() -> PlanError {
    PlanError::new(PlanErrorKind::NumericValueOutOfRange, "bigint out of range")
}

/// Floats would lose digits of them.
pub(super) fn no_numerics(what: &str) -> PlanError {
    PlanError::unsupported(format!("{what} a numeric column is not supported in a query that asks the catalog"))
        .with_hint("Cast the column to double precision, or compute it in a query that asks nothing of the catalog.")
}

fn numbers(
    left: &Datum,
    right: &Datum,
    whole: impl FnOnce(i64, i64) -> Option<i64>,
    float: impl FnOnce(f64, f64) -> f64,
) -> Result<Datum> {
    let number = |datum: &Datum| match datum {
        Datum::Int(value) => *value as f64,
        Datum::Float(value) => *value,
        _ => f64::NAN,
    };
    match (left, right) {
        (Datum::Numeric(_), _) | (_, Datum::Numeric(_)) => Err(no_numerics("arithmetic with")),
        (Datum::Int(left), Datum::Int(right)) => whole(*left, *right).map(Datum::Int).ok_or_else(out_of_range),
        (left, right) => Ok(Datum::Float(float(number(left), number(right)))),
    }
}

/// A moment moved by an interval, months by the calendar.
fn moved(micros: i64, (months, days, rest): (i32, i32, i64), sign: i64) -> Result<Datum> {
    let base = if months == 0 {
        Some(micros)
    } else {
        chrono::DateTime::from_timestamp_micros(micros).and_then(|moment| {
            let shift = chrono::Months::new(months.unsigned_abs());
            let forward = (months > 0) == (sign > 0);
            let moved = if forward { moment.checked_add_months(shift) } else { moment.checked_sub_months(shift) };
            moved.map(|moment| moment.timestamp_micros())
        })
    };
    let shift = i64::from(days).checked_mul(DAY_MICROS).and_then(|days| days.checked_add(rest));
    let moved = base.zip(shift).and_then(|(base, shift)| base.checked_add(shift.checked_mul(sign)?));
    moved
        .map(Datum::Moment)
        .ok_or_else(|| PlanError::new(PlanErrorKind::NumericValueOutOfRange, "timestamp out of range"))
}

pub(super) fn add(left: &Datum, right: &Datum) -> Result<Datum> {
    match (left, right) {
        (Datum::Moment(micros), Datum::Interval(months, days, rest)) => moved(*micros, (*months, *days, *rest), 1),
        _ => numbers(left, right, i64::checked_add, |left, right| left + right),
    }
}

pub(super) fn subtract(left: &Datum, right: &Datum) -> Result<Datum> {
    match (left, right) {
        (Datum::Moment(micros), Datum::Interval(months, days, rest)) => moved(*micros, (*months, *days, *rest), -1),
        (Datum::Moment(later), Datum::Moment(earlier)) => {
            let micros = later.checked_sub(*earlier).ok_or_else(out_of_range)?;
            let days = i32::try_from(micros / DAY_MICROS).map_err(|_| out_of_range())?;
            Ok(Datum::Interval(0, days, micros % DAY_MICROS))
        }
        _ => numbers(left, right, i64::checked_sub, |left, right| left - right),
    }
}

pub(super) fn days_between(left: &Datum, right: &Datum) -> Result<Datum> {
    match (left, right) {
        (Datum::Moment(later), Datum::Moment(earlier)) => Ok(Datum::Int((later - earlier) / DAY_MICROS)),
        _ => Ok(Datum::Null),
    }
}

pub(super) fn multiply(left: &Datum, right: &Datum) -> Result<Datum> {
    numbers(left, right, i64::checked_mul, |left, right| left * right)
}

fn refuse_zero(right: &Datum) -> Result<()> {
    match right {
        Datum::Int(0) => Err(PlanError::new(PlanErrorKind::DivisionByZero, "division by zero")),
        Datum::Float(value) if *value == 0.0 => Err(PlanError::new(PlanErrorKind::DivisionByZero, "division by zero")),
        _ => Ok(()),
    }
}

pub(super) fn divide(left: &Datum, right: &Datum) -> Result<Datum> {
    refuse_zero(right)?;
    numbers(left, right, i64::checked_div, |left, right| left / right)
}

pub(super) fn modulo(left: &Datum, right: &Datum) -> Result<Datum> {
    refuse_zero(right)?;
    numbers(left, right, |left, right| Some(left.wrapping_rem(right)), |left, right| left % right)
}

pub(super) fn bit_and(left: &Datum, right: &Datum) -> Result<Datum> {
    numbers(left, right, |left, right| Some(left & right), |_, _| f64::NAN)
}

pub(super) fn bit_or(left: &Datum, right: &Datum) -> Result<Datum> {
    numbers(left, right, |left, right| Some(left | right), |_, _| f64::NAN)
}

pub(super) fn shift_left(left: &Datum, right: &Datum) -> Result<Datum> {
    numbers(left, right, |left, right| Some(left.wrapping_shl(right as u32)), |_, _| f64::NAN)
}

pub(super) fn shift_right(left: &Datum, right: &Datum) -> Result<Datum> {
    numbers(left, right, |left, right| Some(left.wrapping_shr(right as u32)), |_, _| f64::NAN)
}
