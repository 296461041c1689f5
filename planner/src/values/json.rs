//! Values as JSON: what `to_jsonb` makes of them, and how maps are shown, which Postgres has no type for. Keys are text,
//! a time stands as ISO 8601 has it.

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};

use super::style::TextStyle;
use super::text;
use super::value::{Entries, Value};

/// Writes a map as an object. JSON has one form of everything: of the style only the zone counts.
pub fn put_map(output: &mut BytesMut, entries: &Entries, style: TextStyle) {
    let style = TextStyle::from(style.zone);
    output.put_u8(b'{');
    for (index, (key, value)) in entries.keys.iter().zip(entries.values.iter()).enumerate() {
        if index > 0 {
            output.put_slice(b", ");
        }
        match key {
            Some(key) => put_string(output, &key, style),
            None => output.put_slice(b"\"\""),
        }
        output.put_slice(b": ");
        put_value(output, value.as_ref(), style);
    }
    output.put_u8(b'}');
}

/// Writes a value as JSON, `null` for none.
pub fn put_value(output: &mut BytesMut, value: Option<&Value<'_>>, style: TextStyle) {
    let Some(value) = value else {
        output.put_slice(b"null");
        return;
    };
    match value {
        Value::Bool(value) => output.put_slice(if *value { b"true" } else { b"false" }),
        Value::Int2(_)
        | Value::Int4(_)
        | Value::Int8(_)
        | Value::Oid(_)
        | Value::Numeric(..)
        | Value::Json(_)
        | Value::Jsonb(_) => {
            text::put(output, value, style);
        }
        Value::Float4(float) if float.is_finite() => text::put(output, value, style),
        Value::Float8(float) if float.is_finite() => text::put(output, value, style),
        Value::Array(elements) => {
            output.put_u8(b'[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    output.put_slice(b", ");
                }
                put_value(output, element.as_ref(), style);
            }
            output.put_u8(b']');
        }
        Value::Record(fields, row) => {
            output.put_u8(b'{');
            for (index, field) in fields.iter().enumerate() {
                if index > 0 {
                    output.put_slice(b", ");
                }
                escape(output, &field.name);
                output.put_slice(b": ");
                put_value(output, field.reader.get(*row).as_ref(), style);
            }
            output.put_u8(b'}');
        }
        Value::Map(entries) => put_map(output, entries, style),
        Value::Float4(_)
        | Value::Float8(_)
        | Value::Text(_)
        | Value::Registry(..)
        | Value::Bytes(_)
        | Value::Uuid(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::Timestamp(_)
        | Value::Timestamptz(_)
        | Value::Interval { .. } => put_string(output, value, style),
    }
}

fn put_string(output: &mut BytesMut, value: &Value<'_>, style: TextStyle) {
    let mut shown = BytesMut::new();
    text::put(&mut shown, value, style);
    let shown = String::from_utf8_lossy(&shown);
    match value {
        // With a `T`, and with the minutes of the zone.
        Value::Timestamp(_) => escape(output, &shown.replacen(' ', "T", 1)),
        Value::Timestamptz(_) => {
            let mut shown = shown.replacen(' ', "T", 1);
            if shown.len() > 3 && matches!(shown.as_bytes()[shown.len() - 3], b'+' | b'-') {
                shown.push_str(":00");
            }
            escape(output, &shown);
        }
        _ => escape(output, &shown),
    }
}

fn escape(output: &mut BytesMut, text: &str) {
    output.put_u8(b'"');
    for character in text.chars() {
        match character {
            '"' => output.put_slice(b"\\\""),
            '\\' => output.put_slice(b"\\\\"),
            '\n' => output.put_slice(b"\\n"),
            '\r' => output.put_slice(b"\\r"),
            '\t' => output.put_slice(b"\\t"),
            control if control < ' ' => {
                write!(output, "\\u{:04x}", control as u32).expect("writing to memory does not fail");
            }
            other => output.put_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    output.put_u8(b'"');
}
