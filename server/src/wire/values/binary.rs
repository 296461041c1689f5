//! Values in the binary format.

use bytes::{BufMut, BytesMut};
use millstream_planner::values::datetime::{POSTGRES_EPOCH_DAYS, POSTGRES_EPOCH_MICROS};
use millstream_planner::values::{Decimal, Elements, Kind, RecordField, TextStyle, Value, put_map_as_json};

use super::{numeric, put_sized};
use crate::session::SqlError;
use crate::wire::errors;

/// Dimensions that Postgres' arrays can have.
const ARRAY_DIMENSIONS: usize = 6;

/// Writes a value.
pub(super) fn put(output: &mut BytesMut, value: &Value<'_>) -> Result<(), SqlError> {
    match value {
        Value::Bool(value) => output.put_u8(u8::from(*value)),
        Value::Int2(value) => output.put_i16(*value),
        Value::Int4(value) => output.put_i32(*value),
        Value::Int8(value) => output.put_i64(*value),
        Value::Oid(value) | Value::Registry(value, _) => output.put_u32(*value),
        Value::Float4(value) => output.put_f32(*value),
        Value::Float8(value) => output.put_f64(*value),
        Value::Numeric(unscaled, scale, digits) => {
            numeric::put_binary(output, &Decimal::new(*unscaled, *scale).with_digits(*digits));
        }
        Value::Text(text) | Value::Json(text) => output.put_slice(text.as_bytes()),
        Value::Jsonb(text) => {
            output.put_u8(1);
            output.put_slice(text.as_bytes());
        }
        Value::Bytes(bytes) => output.put_slice(bytes),
        Value::Uuid(bytes) => output.put_slice(bytes),
        Value::Date(days) => output.put_i32(date(*days)?),
        Value::Time(micros) => output.put_i64(*micros),
        Value::Timestamp(micros) | Value::Timestamptz(micros) => output.put_i64(timestamp(*micros)?),
        Value::Interval { months, days, micros } => {
            output.put_i64(*micros);
            output.put_i32(*days);
            output.put_i32(*months);
        }
        Value::Array(elements) => put_array(output, elements)?,
        Value::Record(fields, row) => put_record(output, fields, *row)?,
        // JSON has the same form in both formats, in which zones do not occur but for timestamps, shown in UTC.
        Value::Map(entries) => put_map_as_json(output, entries, TextStyle::default()),
    }
    Ok(())
}

fn date(days: i32) -> Result<i32, SqlError> {
    match days {
        i32::MAX | i32::MIN => Ok(days),
        days => days.checked_sub(POSTGRES_EPOCH_DAYS).ok_or_else(|| errors::datetime_out_of_range("date out of range")),
    }
}

fn timestamp(micros: i64) -> Result<i64, SqlError> {
    match micros {
        i64::MAX | i64::MIN => Ok(micros),
        micros => micros
            .checked_sub(POSTGRES_EPOCH_MICROS)
            .ok_or_else(|| errors::datetime_out_of_range("timestamp out of range")),
    }
}

/// Dimensions, whether there are NULLs, the element type, every dimension with its length and lower bound, then
/// the elements.
fn put_array(output: &mut BytesMut, elements: &Elements) -> Result<(), SqlError> {
    let mut dimensions = Vec::new();
    measure(elements, 0, &mut dimensions)?;
    // An array without elements has no dimensions.
    if dimensions.contains(&0) {
        dimensions.clear();
    }
    let start = output.len();
    output.put_i32(dimensions.len() as i32);
    output.put_i32(0);
    output.put_u32(elements.column.element().oid());
    for length in &dimensions {
        output.put_i32(*length as i32);
        output.put_i32(1);
    }
    let mut has_nulls = false;
    if !dimensions.is_empty() {
        put_elements(output, elements, &mut has_nulls)?;
    }
    if has_nulls {
        output[start + 4..start + 8].copy_from_slice(&1i32.to_be_bytes());
    }
    Ok(())
}

/// Finds the lengths of the dimensions, which must be the same throughout.
fn measure(elements: &Elements, level: usize, dimensions: &mut Vec<usize>) -> Result<(), SqlError> {
    if level == ARRAY_DIMENSIONS {
        let message = format!("number of array dimensions exceeds the maximum allowed ({ARRAY_DIMENSIONS})");
        return Err(errors::limit_exceeded(message, "Ask for the text format."));
    }
    match dimensions.get(level) {
        None => dimensions.push(elements.length),
        Some(length) if *length == elements.length => {}
        Some(_) => return Err(ragged()),
    }
    if elements.column.kind() != Kind::Array {
        return Ok(());
    }
    elements.iter().try_for_each(|element| match element {
        Some(Value::Array(inner)) => measure(&inner, level + 1, dimensions),
        Some(_) | None => Err(ragged()),
    })
}

fn ragged() -> SqlError {
    errors::unsupported(
        "arrays of arrays with different lengths have no binary format",
        "Ask for the text format, or cast the column to text.",
    )
}

fn put_elements(output: &mut BytesMut, elements: &Elements, has_nulls: &mut bool) -> Result<(), SqlError> {
    elements.iter().try_for_each(|element| match element {
        Some(Value::Array(inner)) => put_elements(output, &inner, has_nulls),
        Some(value) => put_sized(output, |output| put(output, &value)),
        None => {
            *has_nulls = true;
            output.put_i32(-1);
            Ok(())
        }
    })
}

fn put_record(output: &mut BytesMut, fields: &[RecordField], row: usize) -> Result<(), SqlError> {
    output.put_i32(fields.len() as i32);
    fields.iter().try_for_each(|field| {
        output.put_u32(field.oid);
        match field.reader.get(row) {
            Some(value) => put_sized(output, |output| put(output, &value)),
            None => {
                output.put_i32(-1);
                Ok(())
            }
        }
    })
}
