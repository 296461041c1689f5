//! JSON out of other values, and other values out of JSON.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, LargeBinaryBuilder, LargeStringBuilder, new_empty_array};
use arrow::datatypes::{DataType, FieldRef};
use bytes::BytesMut;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;
use millstream_runtime::jsonb::{self, Json, quoted};

use super::{Operation, json_text, parse, type_name};
use crate::bind::refuse;
use crate::error::{PlanError, PlanErrorKind};
use crate::functions::cast::{Conversion, converted};
use crate::functions::sql_type;
use crate::types::{JSON, JSONB};
use crate::values::{ColumnReader, ColumnType, TextStyle, Value, as_stored, input, put_json, put_text};

/// The values of `jsonb_build_object`, `jsonb_build_array`, `to_jsonb` and their relatives.
pub(super) fn built(
    operation: Operation,
    as_json: bool,
    target: &DataType,
    style: TextStyle,
    columns: &[ArrayRef],
    fields: &[FieldRef],
    rows: usize,
) -> Result<ArrayRef> {
    let readers = columns.iter().zip(fields).map(|(column, field)| {
        let column_type = ColumnType::of_field(field).map_err(external)?;
        ColumnReader::new(&as_stored(column, &column_type)?, &column_type).map_err(external)
    });
    let readers = readers.collect::<Result<Vec<_>>>()?;
    let mut jsonb_values = LargeStringBuilder::new();
    let mut json_values = LargeBinaryBuilder::new();
    for row in 0..rows {
        let text = match operation {
            Operation::BuildObject => Some(object(&readers, row, as_json, style)?),
            Operation::BuildArray => {
                let items: Result<Vec<_>> =
                    readers.iter().map(|reader| member(reader.get(row).as_ref(), as_json, style)).collect();
                Some(format!("[{}]", items?.join(", ")))
            }
            _ => readers[0].get(row).map(|found| member(Some(&found), as_json, style)).transpose()?,
        };
        match (text, *target == JSON) {
            (Some(text), true) => json_values.append_value(text),
            (Some(text), false) => jsonb_values.append_value(parse(&text)?.to_string()),
            (None, true) => json_values.append_null(),
            (None, false) => jsonb_values.append_null(),
        }
    }
    Ok(if *target == JSON { Arc::new(json_values.finish()) } else { Arc::new(jsonb_values.finish()) })
}

pub(super) fn external(error: PlanError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn object(readers: &[ColumnReader], row: usize, as_json: bool, style: TextStyle) -> Result<String> {
    let colon = if as_json { " : " } else { ": " };
    let mut members = Vec::with_capacity(readers.len() / 2);
    for (number, pair) in readers.chunks_exact(2).enumerate() {
        let name = pair[0].get(row).ok_or_else(|| {
            let message = format!("argument {}: key must not be null", number * 2 + 1);
            refuse(PlanErrorKind::InvalidParameterValue, message)
        })?;
        members.push(format!("{}{colon}{}", key(&name, style)?, member(pair[1].get(row).as_ref(), as_json, style)?));
    }
    Ok(format!("{{{}}}", members.join(", ")))
}

/// A value within an object or an array.
pub(super) fn member(value: Option<&Value<'_>>, as_json: bool, style: TextStyle) -> Result<String> {
    if as_json { json_value(value, style) } else { self::value(value, style) }
}

/// A value as the name of a member.
pub(super) fn key(value: &Value<'_>, style: TextStyle) -> Result<String> {
    if matches!(value, Value::Array(_) | Value::Record(..) | Value::Json(_) | Value::Jsonb(_) | Value::Map(_)) {
        let message = "key value must be scalar, not array, composite, or json";
        return Err(refuse(PlanErrorKind::InvalidParameterValue, message));
    }
    let mut text = BytesMut::new();
    put_text(&mut text, value, style);
    Ok(quoted(&String::from_utf8_lossy(&text)))
}

/// A value as JSON.
fn value(value: Option<&Value<'_>>, style: TextStyle) -> Result<String> {
    let mut text = BytesMut::new();
    put_json(&mut text, value, style);
    String::from_utf8(text.to_vec()).map_err(|error| DataFusionError::Internal(error.to_string()))
}

/// A value as `json`: rows and arrays without blanks, as Postgres writes them; what is JSON already as it is.
fn json_value(value: Option<&Value<'_>>, style: TextStyle) -> Result<String> {
    let text = self::value(value, style)?;
    let composed = matches!(value, Some(Value::Record(..) | Value::Array(_)));
    Ok(if composed { without_blanks(&text) } else { text })
}

/// JSON without the blanks between its parts.
fn without_blanks(json: &str) -> String {
    let (mut within, mut escaped) = (false, false);
    let kept = |letter: &char| {
        if escaped {
            escaped = false;
        } else if *letter == '"' {
            within = !within;
        } else {
            escaped = within && *letter == '\\';
        }
        within || *letter != ' '
    };
    json.chars().filter(kept).collect()
}

/// The type to which JSON is cast by a function of ours; `None` where there is no such cast.
pub(crate) fn cast_target(source: &DataType, target: &DataType) -> bool {
    let scalar = target.is_numeric() || *target == DataType::Boolean;
    (*source == JSONB && (scalar || *target == JSON)) || (*source == JSON && *target == JSONB)
}

/// The value of JSON as a value of another type.
pub(crate) fn json_cast(json: Expr, target: &DataType) -> Expr {
    converted(json, target, JsonCast)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonCast;

impl Conversion for JsonCast {
    fn convert(&self, values: &ArrayRef, _source: &FieldRef, target: &DataType) -> Result<ArrayRef> {
        if values.is_empty() {
            return Ok(new_empty_array(target));
        }
        let values = (0..values.len()).map(|row| match values.is_null(row) {
            true => ScalarValue::try_from(target),
            false => scalar(json_text(values, row)?, target),
        });
        ScalarValue::iter_to_array(values.collect::<Result<Vec<_>>>()?)
    }
}

/// What the text of JSON stands for.
fn scalar(text: &str, target: &DataType) -> Result<ScalarValue> {
    if *target == JSON || *target == JSONB {
        return input::read(text, target, TextStyle::default()).map_err(external);
    }
    match (parse(text)?, target) {
        (Json::Bool(value), DataType::Boolean) => Ok(ScalarValue::Boolean(Some(value))),
        (Json::Number(digits), target) if target.is_integer() => {
            input::read(&whole(&digits)?, target, TextStyle::default()).map_err(external)
        }
        (Json::Number(digits), target) if target.is_numeric() => {
            input::read(&digits, target, TextStyle::default()).map_err(external)
        }
        (other, target) => {
            let found = type_name(jsonb::kind(&other.to_string()));
            let found = if matches!(other, Json::Number(_)) { "numeric" } else { found };
            let message = format!("cannot cast jsonb {found} to type {}", sql_type(target));
            Err(refuse(PlanErrorKind::InvalidParameterValue, message))
        }
    }
}

/// Digits rounded to a whole number.
fn whole(digits: &str) -> Result<String> {
    let mut text = BytesMut::new();
    crate::values::Decimal::parse(digits).map_err(external)?.rounded(0).put_text(&mut text);
    Ok(String::from_utf8_lossy(&text).into_owned())
}
