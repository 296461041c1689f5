//! Texts of values, and casts.
//!
//! Reading and writing follow Postgres' input and output functions. Types that show OIDs by name are looked up
//! in the catalog ([`super::registry`]).

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::datatypes::{DataType, IntervalUnit};
use bytes::BytesMut;
use datafusion::common::ScalarValue;
use millstream_planner::error::{PlanError, PlanErrorKind, Result};
use millstream_planner::values::{Value, put_text};

use super::Context;
use super::arrow::{NUMERIC_DIGITS, day_of};
use super::datum::Datum;
use super::registry;
use super::types::{self, CHAR, Family, NAME, Type};

/// Bytes of a `name`.
const NAME_BYTES: usize = 63;

const DAY_MICROS: i64 = 86_400_000_000;

fn malformed(ty: &Type, text: &str) -> PlanError {
    let message = format!("invalid input syntax for type {}: \"{text}\"", ty.sql_name());
    PlanError::new(PlanErrorKind::InvalidTextRepresentation, message)
}

/// A text as a value of a type.
pub(super) fn input(text: &str, ty: &Type, context: &Context) -> Result<Datum> {
    let trimmed = text.trim();
    match ty.family() {
        Family::Unknown | Family::Json | Family::Void => Ok(Datum::text(text)),
        Family::Text => Ok(text_of(text, ty)),
        Family::Bool => boolean(trimmed).map(Datum::Bool).ok_or_else(|| malformed(ty, text)),
        Family::Int if ty.is_registry() => registry::oid_of(ty, trimmed, context).map(Datum::Int),
        Family::Int => {
            let value: i64 = trimmed.parse().map_err(|_| malformed(ty, text))?;
            ranged(value, ty)
        }
        Family::Float => trimmed.parse().map(Datum::Float).map_err(|_| malformed(ty, text)),
        Family::Bytes => Ok(Datum::Bytes(bytes_of(text).ok_or_else(|| malformed(ty, text))?.into())),
        Family::Moment => moment(trimmed, ty, context).ok_or_else(|| malformed(ty, text)),
        Family::Interval => interval(trimmed).ok_or_else(|| malformed(ty, text)),
        Family::Array => {
            let element = ty.element().unwrap_or(types::TEXT);
            let vector = matches!(ty, Type::Plain(22 | 30));
            let items = if vector {
                trimmed.split_whitespace().map(|item| Some(item.to_owned())).collect()
            } else {
                array_items(trimmed).ok_or_else(|| {
                    PlanError::new(
                        PlanErrorKind::InvalidTextRepresentation,
                        format!("malformed array literal: \"{text}\""),
                    )
                })?
            };
            let items =
                items.into_iter().map(|item| item.map_or(Ok(Datum::Null), |item| input(&item, &element, context)));
            Ok(Datum::Array(items.collect::<Result<_>>()?))
        }
        Family::Record => {
            let message = "input of anonymous composite types is not implemented";
            Err(PlanError::new(PlanErrorKind::FeatureNotSupported, message).with_hint("Write ROW(...)."))
        }
    }
}

fn text_of(text: &str, ty: &Type) -> Datum {
    if *ty == NAME && text.len() > NAME_BYTES {
        let end = (0..=NAME_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        return Datum::text(&text[..end]);
    }
    if *ty == CHAR {
        return Datum::text(text.chars().take(1).collect::<String>());
    }
    Datum::text(text)
}

fn boolean(text: &str) -> Option<bool> {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "" | "o" => None,
        "1" | "on" => Some(true),
        "0" | "of" | "off" => Some(false),
        word if "true".starts_with(word) || "yes".starts_with(word) => Some(true),
        word if "false".starts_with(word) || "no".starts_with(word) => Some(false),
        _ => None,
    }
}

/// An integer, if its type can hold it.
pub(super) fn ranged(value: i64, ty: &Type) -> Result<Datum> {
    let fits = match ty.oid() {
        21 => i16::try_from(value).is_ok(),
        23 => i32::try_from(value).is_ok(),
        20 | 5069 => true,
        // OIDs wrap, as in Postgres: -1 is the highest.
        _ => u32::try_from(value).is_ok() || i32::try_from(value).is_ok(),
    };
    if fits {
        return Ok(Datum::Int(if value < 0 && !matches!(ty.oid(), 20 | 21 | 23) {
            i64::from(value as u32)
        } else {
            value
        }));
    }
    Err(out_of_range(ty))
}

fn out_of_range(ty: &Type) -> PlanError {
    let name = if ty.oid() == 26 { "OID".to_owned() } else { ty.sql_name() };
    PlanError::new(PlanErrorKind::NumericValueOutOfRange, format!("{name} out of range"))
}

fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let Some(hex) = text.strip_prefix("\\x") else { return Some(text.as_bytes().to_vec()) };
    let digits: Option<Vec<u8>> = hex.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn moment(text: &str, ty: &Type, context: &Context) -> Option<Datum> {
    match text {
        "infinity" => return Some(Datum::Moment(i64::MAX)),
        "-infinity" => return Some(Datum::Moment(i64::MIN)),
        "now" => return Some(Datum::Moment(context.now_micros)),
        _ => {}
    }
    if *ty == types::TIME {
        let time = ScalarValue::Utf8(Some(text.to_owned()))
            .cast_to(&DataType::Time64(arrow::datatypes::TimeUnit::Microsecond));
        return match time.ok()? {
            ScalarValue::Time64Microsecond(Some(micros)) => Some(Datum::Moment(micros)),
            _ => None,
        };
    }
    let utc: Tz = "+00:00".parse().ok()?;
    let micros = string_to_datetime(&utc, text).ok()?.timestamp_micros();
    Some(Datum::Moment(if *ty == types::DATE { micros.div_euclid(DAY_MICROS) * DAY_MICROS } else { micros }))
}

fn interval(text: &str) -> Option<Datum> {
    let target = DataType::Interval(IntervalUnit::MonthDayNano);
    match ScalarValue::Utf8(Some(text.to_owned())).cast_to(&target).ok()? {
        ScalarValue::IntervalMonthDayNano(Some(parts)) => {
            Some(Datum::Interval(parts.months, parts.days, parts.nanoseconds / 1_000))
        }
        _ => None,
    }
}

/// The items of an array literal of one dimension; `None` when it is none.
fn array_items(text: &str) -> Option<Vec<Option<String>>> {
    let inside = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut items = Vec::new();
    let mut characters = inside.chars().peekable();
    while characters.peek().is_some_and(|character| character.is_whitespace()) {
        characters.next();
    }
    if characters.peek().is_none() {
        return Some(items);
    }
    loop {
        let (mut item, mut quoted, mut end) = (String::new(), false, 0);
        let mut inside_quotes = false;
        let more = loop {
            match characters.next() {
                None if inside_quotes => return None,
                None => break false,
                Some('"') => {
                    // Blanks around what is quoted are not part of it.
                    if !quoted && item.trim().is_empty() {
                        item.clear();
                    }
                    (inside_quotes, quoted, end) = (!inside_quotes, true, item.len());
                }
                Some('\\') => item.push(characters.next()?),
                Some(',') if !inside_quotes => break true,
                Some('{' | '}') if !inside_quotes => return None,
                Some(other) => item.push(other),
            }
        };
        let shown = match quoted {
            true if item[end..].trim().is_empty() => item[..end].to_owned(),
            true => item,
            false => item.trim().to_owned(),
        };
        match (quoted, shown.as_str()) {
            (false, "") => return None,
            (false, word) if word.eq_ignore_ascii_case("null") => items.push(None),
            _ => items.push(Some(shown)),
        }
        if !more {
            return Some(items);
        }
    }
}

/// A value as text; of NULL nothing.
pub(super) fn output(datum: &Datum, ty: &Type, context: &Context) -> String {
    match datum {
        Datum::Null => String::new(),
        Datum::Bool(value) => if *value { "t" } else { "f" }.to_owned(),
        Datum::Int(oid) if ty.is_registry() => registry::name_of(ty, *oid, context),
        Datum::Int(value) => value.to_string(),
        Datum::Float(value) => printed(context, &Value::Float8(*value)),
        Datum::Numeric(value) => {
            let mut text = BytesMut::new();
            value.put_text(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        }
        Datum::Text(text) => text.to_string(),
        Datum::Bytes(bytes) => printed(context, &Value::Bytes(bytes)),
        Datum::Moment(micros) => printed(
            context,
            &match ty.oid() {
                1082 => Value::Date(day_of(*micros)),
                1083 => Value::Time(*micros),
                1114 => Value::Timestamp(*micros),
                _ => Value::Timestamptz(*micros),
            },
        ),
        Datum::Interval(months, days, micros) => {
            printed(context, &Value::Interval { months: *months, days: *days, micros: *micros })
        }
        Datum::Array(items) if matches!(ty, Type::Plain(22 | 30)) => {
            items.iter().map(|item| output(item, &types::OID, context)).collect::<Vec<_>>().join(" ")
        }
        Datum::Array(items) => {
            let element = ty.element().unwrap_or(types::TEXT);
            let items = items.iter().map(|item| match item {
                Datum::Null => "NULL".to_owned(),
                Datum::Array(_) => output(item, ty, context),
                item => quoted_item(&output(item, &element, context)),
            });
            format!("{{{}}}", items.collect::<Vec<_>>().join(","))
        }
        Datum::Record(values) => {
            let fields = record_fields(ty);
            let values = values.iter().enumerate().map(|(index, value)| match value {
                Datum::Null => String::new(),
                value => quoted_field(&output(value, fields.get(index).map_or(&types::TEXT, |(_, ty)| ty), context)),
            });
            format!("({})", values.collect::<Vec<_>>().join(","))
        }
    }
}

/// The fields of a record type.
pub(super) fn record_fields(ty: &Type) -> &[(String, Type)] {
    match ty {
        Type::Record(fields) => fields,
        _ => &[],
    }
}

fn printed(context: &Context, value: &Value<'_>) -> String {
    let mut text = BytesMut::new();
    put_text(&mut text, value, context.view.style);
    String::from_utf8_lossy(&text).into_owned()
}

fn quoted_item(item: &str) -> String {
    let special = |character: char| matches!(character, '{' | '}' | ',' | '"' | '\\') || character.is_whitespace();
    if item.is_empty() || item.eq_ignore_ascii_case("null") || item.contains(special) {
        return format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\""));
    }
    item.to_owned()
}

fn quoted_field(field: &str) -> String {
    let special = |character: char| matches!(character, '(' | ')' | ',' | '"' | '\\') || character.is_whitespace();
    if field.is_empty() || field.contains(special) {
        return format!("\"{}\"", field.replace('\\', "\\\\").replace('"', "\"\""));
    }
    field.to_owned()
}

/// Whether values of a type can be cast to another.
pub(super) fn castable(from: &Type, to: &Type) -> bool {
    let (source, target) = (from.family(), to.family());
    source == target
        || matches!(source, Family::Unknown | Family::Text)
        || matches!(target, Family::Text | Family::Unknown)
        || matches!(
            (source, target),
            (Family::Int, Family::Float | Family::Bool)
                | (Family::Float, Family::Int)
                | (Family::Bool, Family::Int)
                | (Family::Json, Family::Json)
                | (Family::Moment, Family::Interval)
        )
}

/// A value of one type as one of another.
pub(super) fn cast(datum: &Datum, from: &Type, to: &Type, context: &Context) -> Result<Datum> {
    if datum.is_null() || from == to {
        return Ok(datum.clone());
    }
    Ok(match (datum, to.family()) {
        (Datum::Text(text), Family::Text) => text_of(text, to),
        (Datum::Text(text), Family::Json) => Datum::Text(std::sync::Arc::clone(text)),
        (Datum::Text(text), _) => input(text, to, context)?,
        (Datum::Bool(value), Family::Text) => Datum::text(if *value { "true" } else { "false" }),
        (value, Family::Text) => text_of(&output(value, from, context), to),
        (Datum::Int(value), Family::Int) => {
            if *to == types::XID || to.is_registry() && *value == 0 {
                Datum::Int(*value)
            } else {
                ranged(*value, to)?
            }
        }
        (Datum::Int(value), Family::Float) => Datum::Float(*value as f64),
        (Datum::Int(value), Family::Bool) => Datum::Bool(*value != 0),
        (Datum::Bool(value), Family::Int) => Datum::Int(i64::from(*value)),
        (Datum::Float(value), Family::Int) => ranged(value.round_ties_even() as i64, to)?,
        (Datum::Numeric(value), Family::Int) => {
            let whole = value.rounded(0).unscaled(NUMERIC_DIGITS, 0).and_then(|whole| whole.to_i128());
            ranged(whole.and_then(|whole| i64::try_from(whole).ok()).ok_or_else(|| out_of_range(to))?, to)?
        }
        (Datum::Numeric(value), Family::Float) if to.oid() != 1700 => Datum::Float(value.to_f64()),
        (Datum::Moment(i64::MIN | i64::MAX), Family::Moment) => datum.clone(),
        (Datum::Moment(micros), Family::Moment) if *to == types::DATE => {
            Datum::Moment(micros.div_euclid(DAY_MICROS) * DAY_MICROS)
        }
        (Datum::Moment(micros), Family::Moment) if *to == types::TIME => Datum::Moment(micros.rem_euclid(DAY_MICROS)),
        (Datum::Array(items), Family::Array) => {
            let (from, to) = (from.element().unwrap_or(types::TEXT), to.element().unwrap_or(types::TEXT));
            Datum::Array(items.iter().map(|item| cast(item, &from, &to, context)).collect::<Result<_>>()?)
        }
        (value, _) => value.clone(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn array_literals_are_cut_as_postgres_does() {
        let items = |text: &str| {
            array_items(text).map(|items| items.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>())
        };
        assert_eq!(items("{}"), Some(vec![]));
        assert_eq!(items("{a, \"b,c\" ,\"\\\"\"}").unwrap(), ["a", "b,c", "\""]);
        assert_eq!(array_items("{NULL,\"NULL\"}").unwrap(), [None, Some("NULL".to_owned())]);
        for wrong in ["", "a", "{a", "{a,}", "{\"a}"] {
            assert_eq!(items(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn items_are_quoted_where_they_must_be() {
        for (item, quoted) in
            [("a", "a"), ("", "\"\""), ("a b", "\"a b\""), ("null", "\"null\""), ("a\"b", "\"a\\\"b\"")]
        {
            assert_eq!(quoted_item(item), quoted);
        }
        assert_eq!(quoted_field("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn booleans_are_read_by_their_beginnings() {
        for (text, value) in [("t", Some(true)), ("fal", Some(false)), ("on", Some(true)), ("o", None), ("maybe", None)]
        {
            assert_eq!(boolean(text), value, "{text}");
        }
    }
}
