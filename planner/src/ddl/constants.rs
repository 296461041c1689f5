//! Constants in statements and options: lengths of time and points in time.

use arrow::array::timezone::Tz;
use arrow::array::types::IntervalMonthDayNano;
use arrow::compute::kernels::cast_utils::{parse_interval_month_day_nano, string_to_datetime};
use sqlparser::ast::{DataType as SqlType, DateTimeField, Expr, Interval, TypedString, UnaryOperator, Value};

use crate::error::{PlanError, PlanErrorKind, Result};
use crate::parse::ast::SqlExpression;

const DAY_MICROS: i64 = 86_400_000_000;
const NANOS_PER_MICRO: i64 = 1_000;

/// Microseconds of an interval as text: `5 seconds`, `1 minute 30 seconds`, `00:00:05`. Months have no fixed
/// length and are refused.
pub fn interval_micros(text: &str) -> Result<i64> {
    let wrong = || {
        PlanError::new(
            PlanErrorKind::InvalidTextRepresentation,
            format!("invalid input syntax for type interval: \"{text}\""),
        )
        .with_hint("Write it as '5 seconds', '1 minute' or '2 hours'.")
    };
    if let Some(micros) = clock_micros(text.trim()) {
        return Ok(micros);
    }
    let interval: IntervalMonthDayNano = parse_interval_month_day_nano(text).map_err(|_| wrong())?;
    if interval.months != 0 {
        return Err(PlanError::new(PlanErrorKind::InvalidParameterValue, "an interval of months has no fixed length")
            .with_hint("Use days."));
    }
    i64::from(interval.days)
        .checked_mul(DAY_MICROS)
        .and_then(|days| days.checked_add(interval.nanoseconds / NANOS_PER_MICRO))
        .ok_or_else(wrong)
}

/// Microseconds of `[-]hours:minutes[:seconds]`, which arrow's parser does not read.
fn clock_micros(text: &str) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let mut parts = digits.split(':');
    let (hours, minutes) = (parts.next()?, parts.next()?);
    let seconds = parts.next().unwrap_or("0");
    if parts.next().is_some()
        || [hours, minutes, seconds].iter().any(|part| !part.starts_with(|c: char| c.is_ascii_digit()))
    {
        return None;
    }
    let whole_minutes = hours.parse::<i64>().ok()?.checked_mul(60)?.checked_add(minutes.parse().ok()?)?;
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    if fraction.len() > 6 || !fraction.chars().all(|character| character.is_ascii_digit()) {
        return None;
    }
    let micros: i64 = format!("{fraction:0<6}").parse().ok()?;
    let seconds = whole_minutes.checked_mul(60)?.checked_add(whole.parse().ok()?)?;
    seconds.checked_mul(1_000_000)?.checked_add(micros)?.checked_mul(sign)
}

/// Microseconds of a constant interval expression: `INTERVAL '5 seconds'`, `INTERVAL '5' SECOND`, `'5 seconds'`.
pub(crate) fn interval_of(expression: &SqlExpression) -> Result<i64> {
    let at = Some(expression.position);
    let not_constant = || {
        PlanError::new(PlanErrorKind::InvalidParameterValue, "expected a constant interval")
            .with_hint("Write it as INTERVAL '10 seconds'.")
            .at(at)
    };
    let text = match &expression.expression {
        Expr::Interval(interval) => interval_text(interval).ok_or_else(not_constant)?,
        other => literal(other).ok_or_else(not_constant)?,
    };
    interval_micros(&text).map_err(|error| error.at(at))
}

fn interval_text(interval: &Interval) -> Option<String> {
    if interval.last_field.is_some() {
        return None;
    }
    let value = literal(&interval.value)?;
    let unit = match interval.leading_field {
        None => return Some(value),
        Some(DateTimeField::Second | DateTimeField::Seconds) => "second",
        Some(DateTimeField::Minute | DateTimeField::Minutes) => "minute",
        Some(DateTimeField::Hour | DateTimeField::Hours) => "hour",
        Some(DateTimeField::Day | DateTimeField::Days) => "day",
        Some(DateTimeField::Millisecond | DateTimeField::Milliseconds) => "millisecond",
        Some(_) => return None,
    };
    Some(format!("{value} {unit}"))
}

fn literal(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::Number(text, _) => Some(text.clone()),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => literal(expr).map(|text| format!("-{text}")),
        _ => None,
    }
}

/// Microseconds since 1970 of a constant point in time: `TIMESTAMP '2026-01-01 00:00:00'` or the text alone. A
/// text without a zone is UTC.
pub(crate) fn timestamp_of(expression: &SqlExpression) -> Result<i64> {
    let at = Some(expression.position);
    let not_constant = || {
        PlanError::new(PlanErrorKind::InvalidParameterValue, "expected a constant timestamp")
            .with_hint("Write it as TIMESTAMP '2026-01-01 00:00:00'.")
            .at(at)
    };
    let text = match &expression.expression {
        Expr::TypedString(TypedString { data_type: SqlType::Timestamp(..) | SqlType::Date, value, .. }) => {
            value.value.clone().into_string().ok_or_else(not_constant)?
        }
        other => literal(other).ok_or_else(not_constant)?,
    };
    timestamp_text_micros(&text).map_err(|error| error.at(at))
}

/// Microseconds since 1970 of a point in time as text; without a zone it is UTC.
pub(crate) fn timestamp_text_micros(text: &str) -> Result<i64> {
    let utc: Tz = "+00:00".parse().expect("a fixed offset is a zone");
    let instant = string_to_datetime(&utc, text.trim()).map_err(|_| {
        let message = format!("invalid input syntax for type timestamp: \"{text}\"");
        PlanError::new(PlanErrorKind::InvalidTextRepresentation, message)
    })?;
    Ok(instant.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::interval_micros;

    #[test]
    fn intervals_as_text() {
        for (text, expected) in [
            ("5 seconds", Some(5_000_000)),
            ("1 minute 30 seconds", Some(90_000_000)),
            ("00:00:05", Some(5_000_000)),
            ("-01:00", Some(-3_600_000_000)),
            ("100:00:00.25", Some(360_000_250_000)),
            ("1:2:3:4", None),
            ("2 days", Some(172_800_000_000)),
            ("-1 second", Some(-1_000_000)),
            ("1 month", None),
            ("soon", None),
        ] {
            assert_eq!(interval_micros(text).ok(), expected, "{text}");
        }
    }
}
