//! The text of a value, as Postgres' output functions write it.

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};

use super::datetime::{put_date, put_time, put_timestamp, put_timestamptz};
use super::float::{put_float4, put_float8};
use super::interval::put_interval;
use super::json;
use super::numeric::Decimal;
use super::style::TextStyle;
use super::value::{Elements, RecordField, Value};

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Writes a value.
pub fn put(output: &mut BytesMut, value: &Value<'_>, style: TextStyle) {
    match value {
        Value::Bool(value) => output.put_u8(if *value { b't' } else { b'f' }),
        Value::Int2(value) => put_integer(output, i64::from(*value)),
        Value::Int4(value) => put_integer(output, i64::from(*value)),
        Value::Int8(value) => put_integer(output, *value),
        Value::Oid(value) => put_integer(output, i64::from(*value)),
        Value::Float4(value) => put_float4(output, *value, style.forms.float_digits),
        Value::Float8(value) => put_float8(output, *value, style.forms.float_digits),
        Value::Numeric(unscaled, scale, digits) => {
            Decimal::new(*unscaled, *scale).with_digits(*digits).put_text(output);
        }
        Value::Text(text) | Value::Json(text) | Value::Jsonb(text) | Value::Registry(_, text) => {
            output.put_slice(text.as_bytes())
        }
        Value::Bytes(bytes) if style.forms.bytea_escaped => put_escaped(output, bytes),
        Value::Bytes(bytes) => put_hex(output, bytes),
        Value::Uuid(bytes) => put_uuid(output, *bytes),
        Value::Date(days) => put_date(output, *days, style.forms),
        Value::Time(micros) => put_time(output, *micros),
        Value::Timestamp(micros) => put_timestamp(output, *micros, style.forms),
        Value::Timestamptz(micros) => put_timestamptz(output, *micros, style),
        Value::Interval { months, days, micros } => {
            put_interval(output, *months, *days, *micros, style.forms.interval);
        }
        Value::Array(elements) => put_array(output, elements, style),
        Value::Record(fields, row) => put_record(output, fields, *row, style),
        Value::Map(entries) => json::put_map(output, entries, style),
    }
}

fn put_integer(output: &mut BytesMut, value: i64) {
    write!(output, "{value}").expect("writing to memory does not fail");
}

fn put_hex(output: &mut BytesMut, bytes: &[u8]) {
    output.reserve(2 + bytes.len() * 2);
    output.put_slice(b"\\x");
    bytes.iter().for_each(|byte| put_byte(output, *byte));
}

/// The older form: what is no printable ASCII as a backslash and three octal digits.
fn put_escaped(output: &mut BytesMut, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'\\' => output.put_slice(b"\\\\"),
            0x20..=0x7e => output.put_u8(*byte),
            byte => write!(output, "\\{byte:03o}").expect("writing to memory does not fail"),
        }
    }
}

fn put_byte(output: &mut BytesMut, byte: u8) {
    output.put_u8(HEX_DIGITS[usize::from(byte >> 4)]);
    output.put_u8(HEX_DIGITS[usize::from(byte & 15)]);
}

/// Writes a `uuid`: 8, 4, 4, 4 and 12 digits.
fn put_uuid(output: &mut BytesMut, bytes: [u8; 16]) {
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            output.put_u8(b'-');
        }
        put_byte(output, *byte);
    }
}

fn put_array(output: &mut BytesMut, elements: &Elements, style: TextStyle) {
    output.put_u8(b'{');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            output.put_u8(b',');
        }
        match element {
            None => output.put_slice(b"NULL"),
            // An array within an array is a further dimension and is never quoted.
            Some(Value::Array(inner)) => put_array(output, &inner, style),
            Some(value) => {
                let start = output.len();
                put(output, &value, style);
                let text = &output[start..];
                if text.is_empty() || text.eq_ignore_ascii_case(b"null") || text.iter().any(|byte| is_special(*byte)) {
                    quote(output, start, |byte| if byte == b'"' || byte == b'\\' { Some(b'\\') } else { None });
                }
            }
        }
    }
    output.put_u8(b'}');
}

/// Bytes that make the quotes of an array's element necessary.
fn is_special(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | b'{' | b'}' | b',' | b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn put_record(output: &mut BytesMut, fields: &[RecordField], row: usize, style: TextStyle) {
    output.put_u8(b'(');
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            output.put_u8(b',');
        }
        let Some(value) = field.reader.get(row) else { continue };
        let start = output.len();
        put(output, &value, style);
        let text = &output[start..];
        let quoted =
            |byte: &u8| matches!(byte, b'"' | b'\\' | b'(' | b')' | b',' | b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
        if text.is_empty() || text.iter().any(quoted) {
            // Here both are doubled.
            quote(output, start, |byte| if byte == b'"' || byte == b'\\' { Some(byte) } else { None });
        }
    }
    output.put_u8(b')');
}

/// Puts what was written since `start` into quotes; `escape` names the byte that goes before another one.
fn quote(output: &mut BytesMut, start: usize, escape: impl Fn(u8) -> Option<u8>) {
    let plain = output.split_off(start);
    output.put_u8(b'"');
    for byte in plain {
        if let Some(before) = escape(byte) {
            output.put_u8(before);
        }
        output.put_u8(byte);
    }
    output.put_u8(b'"');
}
