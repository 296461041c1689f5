//! JSON: made from rows and values, and taken apart.

use millstream_planner::error::{PlanError, PlanErrorKind, Result};
use serde_json::{Map, Value};

use super::super::Context;
use super::super::datum::Datum;
use super::super::text::{output, record_fields};
use super::super::types::{self, Family, Type};
use super::Call;

pub(super) const FUNCTIONS: super::Values = &[
    ("to_json", |call| Ok(in_order(call.datum(0), call.ty(0), call.context))),
    ("to_jsonb", |call| Ok(text_of(&of_datum(call.datum(0), call.ty(0), call.context), true))),
    ("row_to_json", |call| Ok(in_order(call.datum(0), call.ty(0), call.context))),
    ("array_to_json", |call| Ok(in_order(call.datum(0), call.ty(0), call.context))),
    ("json_build_object", |call| build_object(call, false)),
    ("jsonb_build_object", |call| build_object(call, true)),
    ("json_build_array", |call| Ok(build_array(call, false))),
    ("jsonb_build_array", |call| Ok(build_array(call, true))),
    ("json_array_length", |call| Ok(parsed(call.datum(0))?.as_array().map(Vec::len).into())),
    ("jsonb_array_length", |call| Ok(parsed(call.datum(0))?.as_array().map(Vec::len).into())),
];

/// The type of what is in an array: an array in it is a further dimension, of the same type.
fn within<'a>(item: &Datum, array: &'a Type, element: &'a Type) -> &'a Type {
    if matches!(item, Datum::Array(_)) { array } else { element }
}

/// A value as JSON.
pub(in crate::pg_catalog::sql) fn of_datum(datum: &Datum, ty: &Type, context: &Context) -> Value {
    match datum {
        Datum::Null => Value::Null,
        Datum::Bool(value) => Value::Bool(*value),
        Datum::Int(value) if ty.family() == Family::Int && !ty.is_registry() && ty.oid() != types::OID.oid() => {
            Value::from(*value)
        }
        Datum::Int(value) if *ty == types::OID => Value::String(value.to_string()),
        Datum::Numeric(value) => serde_json::Number::from_f64(value.to_f64()).map_or(Value::Null, Value::Number),
        Datum::Float(value) => serde_json::Number::from_f64(*value).map_or(Value::Null, Value::Number),
        Datum::Array(items) => {
            let element = ty.element().unwrap_or(types::TEXT);
            Value::Array(items.iter().map(|item| of_datum(item, within(item, ty, &element), context)).collect())
        }
        Datum::Record(values) => {
            let fields = record_fields(ty);
            let pairs = values.iter().enumerate().map(|(index, value)| match fields.get(index) {
                Some((name, ty)) => (name.clone(), of_datum(value, ty, context)),
                None => (format!("f{}", index + 1), of_datum(value, &types::TEXT, context)),
            });
            Value::Object(pairs.collect())
        }
        Datum::Text(text) if ty.family() == Family::Json => serde_json::from_str(text).unwrap_or(Value::Null),
        other => Value::String(output(other, ty, context)),
    }
}

/// A value as the text of its JSON, the fields of records in their order, which a [`Map`] does not keep.
fn in_order(datum: &Datum, ty: &Type, context: &Context) -> Datum {
    let mut text = String::new();
    write_in_order(&mut text, datum, ty, context);
    text.into()
}

fn write_in_order(text: &mut String, datum: &Datum, ty: &Type, context: &Context) {
    match datum {
        Datum::Array(items) => {
            let element = ty.element().unwrap_or(types::TEXT);
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                write_in_order(text, item, within(item, ty, &element), context);
            }
            text.push(']');
        }
        Datum::Record(values) => {
            let fields = record_fields(ty);
            text.push('{');
            for (index, value) in values.iter().enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                let (name, ty) = match fields.get(index) {
                    Some((name, ty)) => (name.clone(), ty.clone()),
                    None => (format!("f{}", index + 1), types::TEXT),
                };
                text.push_str(&Value::String(name).to_string());
                text.push(':');
                write_in_order(text, value, &ty, context);
            }
            text.push('}');
        }
        Datum::Numeric(_) => text.push_str(&output(datum, ty, context)),
        plain => write(text, &of_datum(plain, ty, context), (":", ",")),
    }
}

/// JSON as its text: `json` without spaces but behind the colons and commas of what was built, as Postgres has
/// them for `jsonb` everywhere.
pub(in crate::pg_catalog::sql) fn text_of(value: &Value, spaced: bool) -> Datum {
    let mut text = String::new();
    write(&mut text, value, if spaced { (": ", ", ") } else { (":", ",") });
    text.into()
}

fn write(text: &mut String, value: &Value, (colon, comma): (&str, &str)) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index > 0 { comma } else { "" });
                write(text, item, (colon, comma));
            }
            text.push(']');
        }
        Value::Object(pairs) => {
            text.push('{');
            for (index, (name, value)) in pairs.iter().enumerate() {
                text.push_str(if index > 0 { comma } else { "" });
                text.push_str(&Value::String(name.clone()).to_string());
                text.push_str(colon);
                write(text, value, (colon, comma));
            }
            text.push('}');
        }
        plain => text.push_str(&plain.to_string()),
    }
}

pub(super) fn parsed(datum: &Datum) -> Result<Value> {
    let Datum::Text(text) = datum else { return Ok(Value::Null) };
    serde_json::from_str(text).map_err(|error| {
        PlanError::new(PlanErrorKind::InvalidTextRepresentation, "invalid input syntax for type json")
            .with_detail(format!("{error}."))
    })
}

fn build_object(call: &Call<'_>, binary: bool) -> Result<Datum> {
    let count = call.arguments.len();
    if count % 2 == 1 {
        let error =
            PlanError::new(PlanErrorKind::InvalidParameterValue, "argument list must have even number of elements");
        return Err(error.with_hint("The arguments must consist of alternating keys and values."));
    }
    let pairs = (0..count / 2).map(|pair| {
        let value = of_datum(call.datum(2 * pair + 1), call.ty(2 * pair + 1), call.context);
        (call.shown(2 * pair), value)
    });
    if binary {
        return Ok(text_of(&Value::Object(pairs.collect::<Map<_, _>>()), true));
    }
    // What is built as json keeps its order and has spaces around its colons.
    let shown = pairs.map(|(name, value)| {
        let Datum::Text(value) = text_of(&value, false) else { return String::new() };
        format!("{} : {value}", Value::String(name))
    });
    Ok(format!("{{{}}}", shown.collect::<Vec<_>>().join(", ")).into())
}

fn build_array(call: &Call<'_>, binary: bool) -> Datum {
    let items = (0..call.arguments.len()).map(|index| of_datum(call.datum(index), call.ty(index), call.context));
    if binary {
        return text_of(&Value::Array(items.collect()), true);
    }
    let shown = items.map(|item| match text_of(&item, false) {
        Datum::Text(text) => text.to_string(),
        _ => String::new(),
    });
    format!("[{}]", shown.collect::<Vec<_>>().join(", ")).into()
}

/// `->` and `->>`: a field by name or an element by number, as JSON or as text.
pub(in crate::pg_catalog::sql) fn get(json: &Datum, key: &Datum) -> Result<Option<Value>> {
    let value = parsed(json)?;
    Ok(match key {
        Datum::Text(name) => value.get(name.as_ref()).cloned(),
        Datum::Int(at) => {
            let length = value.as_array().map_or(0, Vec::len);
            let at = if *at < 0 { at + i64::try_from(length).unwrap_or(i64::MAX) } else { *at };
            usize::try_from(at).ok().and_then(|at| value.get(at).cloned())
        }
        _ => None,
    })
}
