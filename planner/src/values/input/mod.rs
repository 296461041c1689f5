//! Text to values, as Postgres' input functions read it. Literals, casts from text, parameters in the text format and
//! COPY all read here, so that a text means the same wherever it stands.
//!
//! Words that depend on a clock (`now`, `today`) are not read: a text is a value.

mod array;
pub mod datetime;
mod errors;
mod record;

use arrow::datatypes::{DataType, FieldRef, IntervalUnit, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::scalar::ScalarStructBuilder;

pub use self::array::{ArrayItem, array};
use super::{Decimal, TextStyle};
use crate::error::{PlanError, Result};
use crate::functions::sql_type;

/// The value of the type `target` that a text stands for. `style` is the session's: the zone of a `timestamptz`
/// without one of its own, and the order of a date's parts.
pub fn read(text: &str, target: &DataType, style: TextStyle) -> Result<ScalarValue> {
    Ok(match target {
        DataType::Boolean => ScalarValue::Boolean(Some(boolean(text)?)),
        DataType::Int16 => ScalarValue::Int16(Some(integer(text, target)?)),
        DataType::Int32 => ScalarValue::Int32(Some(integer(text, target)?)),
        DataType::Int64 => ScalarValue::Int64(Some(integer(text, target)?)),
        DataType::Float32 => ScalarValue::Float32(Some(real(text)?)),
        DataType::Float64 => ScalarValue::Float64(Some(double(text)?)),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            numeric(text, target, *precision, *scale)?
        }
        DataType::Utf8 => ScalarValue::Utf8(Some(text.to_owned())),
        // `char(n)`: blanks at the end mean nothing and are not kept.
        DataType::Utf8View => ScalarValue::Utf8View(Some(text.trim_end_matches(' ').to_owned())),
        DataType::LargeUtf8 => ScalarValue::LargeUtf8(Some(jsonb(text)?)),
        DataType::LargeBinary => ScalarValue::LargeBinary(Some(json(text)?.as_bytes().to_vec())),
        DataType::Binary => ScalarValue::Binary(Some(bytea(text)?)),
        DataType::FixedSizeBinary(16) => ScalarValue::FixedSizeBinary(16, Some(uuid(text)?.to_vec())),
        DataType::Date32 => ScalarValue::Date32(Some(datetime::date(text, style.forms.order)?)),
        DataType::Time64(TimeUnit::Microsecond) => ScalarValue::Time64Microsecond(Some(datetime::time(text)?)),
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            ScalarValue::TimestampMicrosecond(Some(datetime::timestamp(text, style.forms.order)?), None)
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(utc)) => {
            ScalarValue::TimestampMicrosecond(Some(datetime::timestamptz(text, style)?), Some(utc.clone()))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => datetime::interval(text)?.into_scalar()?,
        DataType::List(element) => list(&array(text)?, element, style)?,
        DataType::Struct(fields) => {
            let texts = record::record(text, fields.len())?;
            let mut values = ScalarStructBuilder::new();
            for (field, text) in fields.iter().zip(texts) {
                values = values.with_scalar(FieldRef::clone(field), nullable(text.as_deref(), field, style)?);
            }
            values.build().map_err(|error| PlanError::internal(error.to_string()))?
        }
        other => {
            let message = format!("values of type {} can't be written as text", sql_type(other));
            return Err(PlanError::unsupported(message).with_hint("Make the value with a function or a cast."));
        }
    })
}

/// Whether [`read`] has values of a type.
pub fn can_read(target: &DataType) -> bool {
    match target {
        DataType::List(element) => can_read(element.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| can_read(field.data_type())),
        DataType::Timestamp(unit, _) | DataType::Time64(unit) => *unit == TimeUnit::Microsecond,
        DataType::Interval(unit) => *unit == IntervalUnit::MonthDayNano,
        DataType::FixedSizeBinary(width) => *width == 16,
        DataType::Boolean
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::Decimal256(..)
        | DataType::Utf8
        | DataType::Utf8View
        | DataType::LargeUtf8
        | DataType::LargeBinary
        | DataType::Binary
        | DataType::Date32 => true,
        _ => false,
    }
}

/// Whether the meaning of a text depends on the session: its zone, or the order of a date's parts.
pub fn asks_for_session(target: &DataType) -> bool {
    match target {
        DataType::Date32 | DataType::Timestamp(..) => true,
        DataType::List(element) => asks_for_session(element.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| asks_for_session(field.data_type())),
        _ => false,
    }
}

fn nullable(text: Option<&str>, field: &FieldRef, style: TextStyle) -> Result<ScalarValue> {
    match text {
        Some(text) => read(text, field.data_type(), style),
        None => null(field.data_type()),
    }
}

fn null(data_type: &DataType) -> Result<ScalarValue> {
    ScalarValue::try_from(data_type).map_err(|error| PlanError::internal(error.to_string()))
}

fn list(items: &[ArrayItem], element: &FieldRef, style: TextStyle) -> Result<ScalarValue> {
    let values = items.iter().map(|item| match (item, element.data_type()) {
        (ArrayItem::Null, data_type) => null(data_type),
        (ArrayItem::Array(inner), DataType::List(element)) => list(inner, element, style),
        (ArrayItem::Text(_), DataType::List(_)) | (ArrayItem::Array(_), _) => {
            let detail = "The array has another number of dimensions than its type.";
            Err(errors::malformed("malformed array literal", detail)
                .with_hint("Name a dimension of the type by a pair of brackets each: int[][]."))
        }
        (ArrayItem::Text(text), data_type) => read(text, data_type, style),
    });
    let values = values.collect::<Result<Vec<_>>>()?;
    Ok(ScalarValue::List(ScalarValue::new_list_nullable(&values, element.data_type())))
}

/// A numeric, rounded to the declared digits behind the point, as Postgres does.
fn numeric(text: &str, target: &DataType, precision: u8, scale: i8) -> Result<ScalarValue> {
    let decimal = Decimal::parse(text)?;
    let unscaled = decimal.unscaled(precision, scale).or_else(|| decimal.rounded(scale).unscaled(precision, scale));
    let unscaled = unscaled.ok_or_else(|| {
        let whole = i16::from(precision) - i16::from(scale);
        errors::out_of_range("numeric field overflow").with_detail(format!(
            "A field with precision {precision}, scale {scale} must round to an absolute value less than 10^{whole}."
        ))
    })?;
    Ok(match target {
        DataType::Decimal256(..) => ScalarValue::Decimal256(Some(unscaled), precision, scale),
        _ => ScalarValue::Decimal128(unscaled.to_i128(), precision, scale),
    })
}

/// The canonical text of a `jsonb`.
fn jsonb(text: &str) -> Result<String> {
    millstream_runtime::jsonb::canonical(text).map_err(|fault| no_json(text, &fault))
}

/// The text of a `json`, as it stands.
fn json(text: &str) -> Result<&str> {
    millstream_runtime::jsonb::check(text).map(|()| text).map_err(|fault| no_json(text, &fault))
}

fn no_json(text: &str, fault: &millstream_runtime::jsonb::Fault) -> PlanError {
    use millstream_runtime::jsonb::Fault;
    match fault {
        Fault::Syntax(reason) => {
            errors::malformed("invalid input syntax for type json", format!("{reason}: \"{text}\""))
        }
        Fault::Number => errors::out_of_range("value overflows numeric format"),
        Fault::Depth(levels) => {
            let message = format!("JSON can be nested at most {levels} levels deep");
            PlanError::new(crate::error::PlanErrorKind::ProgramLimitExceeded, message)
        }
    }
}

/// Any prefix of the words that tells them apart.
fn boolean(text: &str) -> Result<bool> {
    let word = text.trim_ascii().to_ascii_lowercase();
    match word.as_str() {
        "t" | "tr" | "tru" | "true" | "y" | "ye" | "yes" | "on" | "1" => Ok(true),
        "f" | "fa" | "fal" | "fals" | "false" | "n" | "no" | "of" | "off" | "0" => Ok(false),
        _ => Err(errors::invalid_text("boolean", text)),
    }
}

fn integer<T: std::str::FromStr<Err = std::num::ParseIntError>>(text: &str, target: &DataType) -> Result<T> {
    use std::num::IntErrorKind;
    text.trim_ascii().parse().map_err(|error: std::num::ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => {
            errors::out_of_range(format!("value \"{text}\" is out of range for type {}", sql_type(target)))
        }
        _ => errors::invalid_text(&sql_type(target), text),
    })
}

fn double(text: &str) -> Result<f64> {
    let value: f64 = text.trim_ascii().parse().map_err(|_| errors::invalid_text("double precision", text))?;
    if fits(text, value.is_infinite(), value == 0.0) { Ok(value) } else { Err(float_range(text, "double precision")) }
}

fn real(text: &str) -> Result<f32> {
    let value: f32 = text.trim_ascii().parse().map_err(|_| errors::invalid_text("real", text))?;
    if fits(text, value.is_infinite(), value == 0.0) { Ok(value) } else { Err(float_range(text, "real")) }
}

fn float_range(text: &str, type_name: &str) -> PlanError {
    errors::out_of_range(format!("\"{text}\" is out of range for type {type_name}"))
}

/// Whether a result of infinity or zero is what the text says, not an overflow or underflow.
fn fits(text: &str, infinite: bool, zero: bool) -> bool {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    if infinite {
        text.to_ascii_lowercase().contains("inf")
    } else {
        !zero || !mantissa.bytes().any(|byte| (b'1'..=b'9').contains(&byte))
    }
}

/// `\x` with hexadecimal digits, else the escape format.
pub fn bytea(text: &str) -> Result<Vec<u8>> {
    if let Some(digits) = text.strip_prefix("\\x") {
        let digits: Vec<u8> = digits.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        if !digits.len().is_multiple_of(2) {
            return Err(errors::invalid_parameter("invalid hexadecimal data: odd number of digits"));
        }
        let digit = |byte: u8| {
            let value = (byte as char).to_digit(16).map(|value| value as u8);
            value.ok_or_else(|| {
                errors::invalid_parameter(format!("invalid hexadecimal digit: \"{}\"", byte.escape_ascii()))
            })
        };
        return digits.chunks(2).map(|pair| Ok(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'\\', [b'\\', tail @ ..]) => {
                bytes.push(b'\\');
                tail
            }
            (b'\\', [high @ b'0'..=b'3', middle @ b'0'..=b'7', low @ b'0'..=b'7', tail @ ..]) => {
                bytes.push((high - b'0') << 6 | (middle - b'0') << 3 | (low - b'0'));
                tail
            }
            (b'\\', _) => return Err(errors::invalid_text("bytea", text)),
            (other, tail) => {
                bytes.push(*other);
                tail
            }
        };
    }
    Ok(bytes)
}

/// 32 hexadecimal digits in any case; braces around them and hyphens behind every fourth are left out.
pub fn uuid(text: &str) -> Result<[u8; 16]> {
    let wrong = || errors::invalid_text("uuid", text);
    let inner = match text.strip_prefix('{') {
        Some(inner) => inner.strip_suffix('}').ok_or_else(wrong)?,
        None => text,
    };
    let mut uuid = [0; 16];
    let mut digits = 0;
    let mut after_hyphen = true;
    for character in inner.chars() {
        match character.to_digit(16) {
            Some(digit) if digits < 32 => {
                uuid[digits / 2] = uuid[digits / 2] << 4 | digit as u8;
                digits += 1;
                after_hyphen = false;
            }
            None if character == '-' && !after_hyphen && digits % 4 == 0 && digits < 32 => after_hyphen = true,
            _ => return Err(wrong()),
        }
    }
    if digits == 32 { Ok(uuid) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn booleans() {
        for (text, expected) in [("t", true), (" TRUE ", true), ("yes", true), ("on", true), ("1", true), ("of", false)]
        {
            assert_eq!(boolean(text).unwrap(), expected, "{text}");
        }
        for wrong in ["", "o", "2", "truee"] {
            assert_eq!(errors::sqlstate(&boolean(wrong).unwrap_err()), "22P02", "{wrong}");
        }
    }

    #[test]
    fn numbers() {
        let read = |target, text| read(text, &target, TextStyle::default());
        assert_eq!(read(DataType::Int32, " -12 ").unwrap(), ScalarValue::Int32(Some(-12)));
        assert_eq!(read(DataType::Int32, "+7").unwrap(), ScalarValue::Int32(Some(7)));
        let error = read(DataType::Int32, "3000000000").unwrap_err();
        assert_eq!(
            (errors::sqlstate(&error), error.message.as_str()),
            ("22003", "value \"3000000000\" is out of range for type integer")
        );
        let error = read(DataType::Int64, "1.5").unwrap_err();
        assert_eq!(
            (errors::sqlstate(&error), error.message.as_str()),
            ("22P02", "invalid input syntax for type bigint: \"1.5\"")
        );
        assert_eq!(read(DataType::Float64, "-Infinity").unwrap(), ScalarValue::Float64(Some(f64::NEG_INFINITY)));
        assert_eq!(errors::sqlstate(&read(DataType::Float64, "1e400").unwrap_err()), "22003");
        assert_eq!(errors::sqlstate(&read(DataType::Float64, "1e-400").unwrap_err()), "22003");
        assert_eq!(read(DataType::Float64, "0e-400").unwrap(), ScalarValue::Float64(Some(0.0)));
        assert_eq!(errors::sqlstate(&read(DataType::Float32, "1e39").unwrap_err()), "22003");
        assert_eq!(errors::sqlstate(&read(DataType::Float64, "abc").unwrap_err()), "22P02");
    }

    #[test]
    fn byteas_and_uuids() {
        assert_eq!(bytea("\\xDEad be\tef").unwrap(), [0xde, 0xad, 0xbe, 0xef]);
        assert_eq!(bytea("a\\\\b\\001").unwrap(), b"a\\b\x01");
        assert_eq!(errors::sqlstate(&bytea("\\x1").unwrap_err()), "22023");
        assert_eq!(errors::sqlstate(&bytea("\\x1g").unwrap_err()), "22023");
        assert_eq!(errors::sqlstate(&bytea("\\9").unwrap_err()), "22P02");
        let expected = [0xa0, 0xee, 0xbc, 0x99, 0x9c, 0x0b, 0x4e, 0xf8, 0xbb, 0x6d, 0x6b, 0xb9, 0xbd, 0x38, 0x0a, 0x11];
        for text in [
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
            "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
        ] {
            assert_eq!(uuid(text).unwrap(), expected);
        }
        assert_eq!(errors::sqlstate(&uuid("a0eebc99").unwrap_err()), "22P02");
    }

    #[test]
    fn json_is_checked() {
        assert!(read("{\"a\": [1, null]}", &DataType::LargeUtf8, TextStyle::default()).is_ok());
        assert_eq!(errors::sqlstate(&read("{a}", &DataType::LargeUtf8, TextStyle::default()).unwrap_err()), "22P02");
    }
}
