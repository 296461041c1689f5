//! Parameters in the text format, read as Postgres' input functions do.

use datafusion::common::ScalarValue;
use millstream_planner::values::NESTING_LEVELS;

use super::{Kind, TextStyle, json_text, parse_datetime};
use crate::session::SqlError;
use crate::wire::errors;

/// The bytes as text.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, SqlError> {
    let text = std::str::from_utf8(bytes).map_err(|_| errors::invalid_encoding())?;
    if text.contains('\0') { Err(errors::invalid_encoding()) } else { Ok(text) }
}

/// A single value; numeric and uuid, whose form depends on what is planned, are read elsewhere.
pub(super) fn scalar(kind: Kind, text: &str, style: TextStyle) -> Result<ScalarValue, SqlError> {
    Ok(match kind {
        Kind::Bool => ScalarValue::Boolean(Some(boolean(text)?)),
        Kind::Int2 => ScalarValue::Int16(Some(integer(kind, text)?)),
        Kind::Int4 => ScalarValue::Int32(Some(integer(kind, text)?)),
        Kind::Int8 => ScalarValue::Int64(Some(integer(kind, text)?)),
        Kind::Oid | Kind::Regproc => ScalarValue::Int64(Some(i64::from(integer::<u32>(kind, text)?))),
        Kind::Float4 => ScalarValue::Float32(Some(real(text)?)),
        Kind::Float8 => ScalarValue::Float64(Some(double(text)?)),
        Kind::Text
        | Kind::Varchar
        | Kind::Bpchar
        | Kind::Name
        | Kind::Char
        | Kind::Regclass
        | Kind::Regtype
        | Kind::Int2Vector
        | Kind::OidVector
        | Kind::NodeTree => ScalarValue::Utf8(Some(text.to_owned())),
        Kind::Json | Kind::Jsonb => ScalarValue::Utf8(Some(json_text(kind, text)?.to_owned())),
        Kind::Bytea => ScalarValue::Binary(Some(bytea(text)?)),
        Kind::Date => ScalarValue::Date32(Some(parse_datetime::date(text, style.forms.order)?)),
        Kind::Time => ScalarValue::Time64Microsecond(Some(parse_datetime::time(text)?)),
        Kind::Timestamp => {
            ScalarValue::TimestampMicrosecond(Some(parse_datetime::timestamp(text, style.forms.order)?), None)
        }
        Kind::Timestamptz => {
            ScalarValue::TimestampMicrosecond(Some(parse_datetime::timestamptz(text, style)?), Some("UTC".into()))
        }
        Kind::Interval => parse_datetime::interval(text)?.into_scalar()?,
        Kind::Numeric | Kind::Uuid | Kind::Record | Kind::Array => {
            return Err(errors::unsupported(
                format!("parameters of type {} are not supported here", kind.sql_name()),
                "Pass the value as text and cast it.",
            ));
        }
    })
}

/// Any prefix of the words that tells them apart.
fn boolean(text: &str) -> Result<bool, SqlError> {
    let word = text.trim_ascii().to_ascii_lowercase();
    match word.as_str() {
        "t" | "tr" | "tru" | "true" | "y" | "ye" | "yes" | "on" | "1" => Ok(true),
        "f" | "fa" | "fal" | "fals" | "false" | "n" | "no" | "of" | "off" | "0" => Ok(false),
        _ => Err(errors::invalid_text("boolean", text)),
    }
}

fn integer<T: std::str::FromStr<Err = std::num::ParseIntError>>(kind: Kind, text: &str) -> Result<T, SqlError> {
    use std::num::IntErrorKind;
    text.trim_ascii().parse().map_err(|error: std::num::ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => {
            errors::out_of_range(format!("value \"{text}\" is out of range for type {}", kind.sql_name()))
        }
        _ => errors::invalid_text(kind.sql_name(), text),
    })
}

fn double(text: &str) -> Result<f64, SqlError> {
    let value: f64 = text.trim_ascii().parse().map_err(|_| errors::invalid_text("double precision", text))?;
    if fits(text, value.is_infinite(), value == 0.0) { Ok(value) } else { Err(float_range(text, "double precision")) }
}

fn real(text: &str) -> Result<f32, SqlError> {
    let value: f32 = text.trim_ascii().parse().map_err(|_| errors::invalid_text("real", text))?;
    if fits(text, value.is_infinite(), value == 0.0) { Ok(value) } else { Err(float_range(text, "real")) }
}

fn float_range(text: &str, type_name: &str) -> SqlError {
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
fn bytea(text: &str) -> Result<Vec<u8>, SqlError> {
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

/// With or without hyphens and braces.
pub(super) fn uuid(text: &str) -> Result<[u8; 16], SqlError> {
    let inner = text.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(text);
    let parsed = uuid::Uuid::try_parse(inner).map_err(|_| errors::invalid_text("uuid", text))?;
    Ok(parsed.into_bytes())
}

/// An element of an array literal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ArrayItem {
    Null,
    Text(String),
    Array(Vec<ArrayItem>),
}

/// Reads an array literal: `{1,NULL,"a b"}`, nested braces for further dimensions.
pub(super) fn array(text: &str) -> Result<Vec<ArrayItem>, SqlError> {
    let characters: Vec<char> = text.chars().collect();
    let mut literal = Literal { text, characters, at: 0 };
    literal.skip_space();
    let items = literal.braces(0)?;
    literal.skip_space();
    if literal.peek().is_some() {
        return Err(literal.malformed("Junk after closing right brace."));
    }
    Ok(items)
}

struct Literal<'a> {
    text: &'a str,
    characters: Vec<char>,
    at: usize,
}

impl Literal<'_> {
    fn malformed(&self, detail: &str) -> SqlError {
        errors::malformed(format!("malformed array literal: \"{}\"", self.text), detail)
    }

    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn next(&mut self) -> Result<char, SqlError> {
        let character = self.peek().ok_or_else(|| self.malformed("Unexpected end of input."))?;
        self.at += 1;
        Ok(character)
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|character| character.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn braces(&mut self, level: usize) -> Result<Vec<ArrayItem>, SqlError> {
        if level > NESTING_LEVELS {
            return Err(self.malformed("The array has too many dimensions."));
        }
        if self.peek() != Some('{') {
            return Err(self.malformed("Array value must start with \"{\" or dimension information."));
        }
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some('}') {
            self.at += 1;
            return Ok(items);
        }
        loop {
            self.skip_space();
            items.push(match self.peek() {
                Some('{') => ArrayItem::Array(self.braces(level + 1)?),
                Some('"') => ArrayItem::Text(self.quoted()?),
                _ => self.bare()?,
            });
            self.skip_space();
            match self.next()? {
                ',' => {}
                '}' => return Ok(items),
                _ => return Err(self.malformed("Unexpected array element.")),
            }
        }
    }

    fn quoted(&mut self) -> Result<String, SqlError> {
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.next()? {
                '"' => return Ok(text),
                '\\' => text.push(self.next()?),
                other => text.push(other),
            }
        }
    }

    fn bare(&mut self) -> Result<ArrayItem, SqlError> {
        let mut text = String::new();
        let mut kept = 0;
        while let Some(character) = self.peek() {
            match character {
                ',' | '}' => break,
                '{' | '"' => return Err(self.malformed("Unexpected array element.")),
                '\\' => {
                    self.at += 1;
                    text.push(self.next()?);
                    kept = text.len();
                }
                other => {
                    self.at += 1;
                    text.push(other);
                    if !other.is_ascii_whitespace() {
                        kept = text.len();
                    }
                }
            }
        }
        text.truncate(kept);
        match text.is_empty() {
            true => Err(self.malformed("Unexpected \",\" or \"}\" character.")),
            false if text.eq_ignore_ascii_case("null") => Ok(ArrayItem::Null),
            false => Ok(ArrayItem::Text(text)),
        }
    }
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
            assert_eq!(boolean(wrong).unwrap_err().sqlstate, "22P02", "{wrong}");
        }
    }

    #[test]
    fn numbers() {
        let read = |kind, text| scalar(kind, text, TextStyle::default());
        assert_eq!(read(Kind::Int4, " -12 ").unwrap(), ScalarValue::Int32(Some(-12)));
        assert_eq!(read(Kind::Int4, "+7").unwrap(), ScalarValue::Int32(Some(7)));
        let error = read(Kind::Int4, "3000000000").unwrap_err();
        assert_eq!(
            (error.sqlstate, error.message.as_str()),
            ("22003", "value \"3000000000\" is out of range for type integer")
        );
        let error = read(Kind::Int8, "1.5").unwrap_err();
        assert_eq!(
            (error.sqlstate, error.message.as_str()),
            ("22P02", "invalid input syntax for type bigint: \"1.5\"")
        );
        assert_eq!(read(Kind::Oid, "-1").unwrap_err().sqlstate, "22P02");
        assert_eq!(read(Kind::Float8, "-Infinity").unwrap(), ScalarValue::Float64(Some(f64::NEG_INFINITY)));
        assert_eq!(read(Kind::Float8, "1e400").unwrap_err().sqlstate, "22003");
        assert_eq!(read(Kind::Float8, "1e-400").unwrap_err().sqlstate, "22003");
        assert_eq!(read(Kind::Float8, "0e-400").unwrap(), ScalarValue::Float64(Some(0.0)));
        assert_eq!(read(Kind::Float4, "1e39").unwrap_err().sqlstate, "22003");
        assert_eq!(read(Kind::Float8, "abc").unwrap_err().sqlstate, "22P02");
    }

    #[test]
    fn byteas_and_uuids() {
        assert_eq!(bytea("\\xDEad be\tef").unwrap(), [0xde, 0xad, 0xbe, 0xef]);
        assert_eq!(bytea("a\\\\b\\001").unwrap(), b"a\\b\x01");
        assert_eq!(bytea("\\x1").unwrap_err().sqlstate, "22023");
        assert_eq!(bytea("\\x1g").unwrap_err().sqlstate, "22023");
        assert_eq!(bytea("\\9").unwrap_err().sqlstate, "22P02");
        let expected = [0xa0, 0xee, 0xbc, 0x99, 0x9c, 0x0b, 0x4e, 0xf8, 0xbb, 0x6d, 0x6b, 0xb9, 0xbd, 0x38, 0x0a, 0x11];
        for text in [
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
        ] {
            assert_eq!(uuid(text).unwrap(), expected);
        }
        assert_eq!(uuid("a0eebc99").unwrap_err().sqlstate, "22P02");
    }

    #[test]
    fn array_literals() {
        let text = |text: &str| ArrayItem::Text(text.to_owned());
        assert_eq!(array("{}").unwrap(), []);
        assert_eq!(array(" { 1 , null ,\"a \\\"b\\\\\" } ").unwrap(), [text("1"), ArrayItem::Null, text("a \"b\\")]);
        assert_eq!(array("{\"\",\"NULL\",a b}").unwrap(), [text(""), text("NULL"), text("a b")]);
        assert_eq!(array("{{1},{2}}").unwrap(), [ArrayItem::Array(vec![text("1")]), ArrayItem::Array(vec![text("2")])]);
        for wrong in ["", "1", "{", "{1", "{1,}", "{,}", "{1}x", "{\"a}", "{\"a\"b}", "{1{2}}"] {
            assert_eq!(array(wrong).unwrap_err().sqlstate, "22P02", "{wrong}");
        }
        assert_eq!(array(&"{".repeat(100_000)).unwrap_err().sqlstate, "22P02");
    }

    #[test]
    fn json_is_checked() {
        assert!(scalar(Kind::Jsonb, "{\"a\": [1, null]}", TextStyle::default()).is_ok());
        assert_eq!(scalar(Kind::Jsonb, "{a}", TextStyle::default()).unwrap_err().sqlstate, "22P02");
    }
}
