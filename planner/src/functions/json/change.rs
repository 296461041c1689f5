//! Functions that give a changed `jsonb`.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use millstream_runtime::jsonb::{Json, object, quoted};

use super::{index, path};
use crate::bind::refuse;
use crate::error::PlanErrorKind;

fn wrong(message: impl Into<String>) -> DataFusionError {
    refuse(PlanErrorKind::InvalidParameterValue, message)
}

/// `||`: two objects merged, otherwise two arrays joined, what is no array taken as one of it alone.
pub(super) fn concatenated(left: Json, right: Json) -> Json {
    let items = |value: Json| match value {
        Json::Array(items) => items,
        other => vec![other],
    };
    match (left, right) {
        (Json::Object(mut left), Json::Object(right)) => {
            left.extend(right);
            object(left)
        }
        (left, right) => Json::Array(items(left).into_iter().chain(items(right)).collect()),
    }
}

/// `-`: without a key, some keys, or the element at an index.
pub(super) fn without(value: Json, selector: &ArrayRef, row: usize) -> Result<Json> {
    if let Some(index) = index(selector, row) {
        return match value {
            Json::Array(mut items) => {
                if let Some(index) = place(index, items.len()) {
                    items.remove(index);
                }
                Ok(Json::Array(items))
            }
            Json::Object(_) => Err(wrong("cannot delete from object using integer index")),
            _ => Err(wrong("cannot delete from scalar")),
        };
    }
    let keys: Vec<String> = match selector.data_type() {
        DataType::Utf8 => vec![selector.as_string::<i32>().value(row).to_owned()],
        _ => path(selector, row).into_iter().flatten().collect(),
    };
    match value {
        Json::Object(mut members) => {
            members.retain(|(name, _)| !keys.contains(name));
            Ok(Json::Object(members))
        }
        Json::Array(mut items) => {
            items.retain(|item| !matches!(item, Json::Text(text) if keys.contains(text)));
            Ok(Json::Array(items))
        }
        _ => Err(wrong("cannot delete from scalar")),
    }
}

/// An index from either end as a place in an array.
fn place(index: i64, length: usize) -> Option<usize> {
    let place = if index < 0 { index + i64::try_from(length).ok()? } else { index };
    usize::try_from(place).ok().filter(|place| *place < length)
}

fn step_index(step: &str, position: usize) -> Result<i64> {
    step.parse().map_err(|_| {
        refuse(
            PlanErrorKind::InvalidTextRepresentation,
            format!("path element at position {position} is not an integer: \"{step}\""),
        )
    })
}

/// `#-`: without the part at a path.
pub(super) fn without_path(value: Json, path: &[Option<String>]) -> Result<Json> {
    match value {
        Json::Object(_) | Json::Array(_) => deleted(value, path, 1),
        _ => Err(wrong("cannot delete path in scalar")),
    }
}

fn deleted(value: Json, path: &[Option<String>], position: usize) -> Result<Json> {
    let Some((step, rest)) = path.split_first() else { return Ok(value) };
    let step = step_text(step.as_deref(), position)?;
    Ok(match value {
        Json::Object(mut members) => {
            if let Some(at) = members.iter().position(|(name, _)| name == step) {
                if rest.is_empty() {
                    members.remove(at);
                } else {
                    let inner = std::mem::replace(&mut members[at].1, Json::Null);
                    members[at].1 = deleted(inner, rest, position + 1)?;
                }
            }
            Json::Object(members)
        }
        Json::Array(mut items) => {
            if let Some(at) = place(step_index(step, position)?, items.len()) {
                if rest.is_empty() {
                    items.remove(at);
                } else {
                    let inner = std::mem::replace(&mut items[at], Json::Null);
                    items[at] = deleted(inner, rest, position + 1)?;
                }
            }
            Json::Array(items)
        }
        other => other,
    })
}

fn step_text(step: Option<&str>, position: usize) -> Result<&str> {
    step.ok_or_else(|| refuse(PlanErrorKind::NotNullViolation, format!("path element at position {position} is null")))
}

/// `jsonb_set`: with another part at a path, put in where there is none if `create` says so.
pub(super) fn with(value: Json, path: &[Option<String>], new: Json, create: bool) -> Result<Json> {
    match value {
        Json::Object(_) | Json::Array(_) => replaced(value, path, new, create, 1),
        _ => Err(wrong("cannot set path in scalar")),
    }
}

fn replaced(value: Json, path: &[Option<String>], new: Json, create: bool, position: usize) -> Result<Json> {
    let Some((step, rest)) = path.split_first() else { return Ok(value) };
    let step = step_text(step.as_deref(), position)?;
    Ok(match value {
        Json::Object(mut members) => {
            match members.iter().position(|(name, _)| name == step) {
                Some(at) if rest.is_empty() => members[at].1 = new,
                Some(at) => {
                    let inner = std::mem::replace(&mut members[at].1, Json::Null);
                    members[at].1 = replaced(inner, rest, new, create, position + 1)?;
                }
                None if rest.is_empty() && create => members.push((step.to_owned(), new)),
                None => {}
            }
            object(members)
        }
        Json::Array(mut items) => {
            let index = step_index(step, position)?;
            match place(index, items.len()) {
                Some(at) if rest.is_empty() => items[at] = new,
                Some(at) => {
                    let inner = std::mem::replace(&mut items[at], Json::Null);
                    items[at] = replaced(inner, rest, new, create, position + 1)?;
                }
                None if rest.is_empty() && create && index < 0 => items.insert(0, new),
                None if rest.is_empty() && create => items.push(new),
                None => {}
            }
            Json::Array(items)
        }
        other => other,
    })
}

/// `jsonb_strip_nulls`: without the members of objects that are null.
pub(super) fn without_nulls(value: Json) -> Json {
    match value {
        Json::Object(members) => {
            let kept = members.into_iter().filter(|(_, value)| *value != Json::Null);
            Json::Object(kept.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Json::Array(items) => Json::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// `jsonb_pretty`: a line per value, four spaces a level.
pub(super) fn pretty(value: &Json) -> String {
    let mut out = String::new();
    put_pretty(value, 0, &mut out);
    out
}

fn put_pretty(value: &Json, level: usize, out: &mut String) {
    let line = |out: &mut String, level: usize| {
        out.push('\n');
        out.push_str(&"    ".repeat(level));
    };
    match value {
        Json::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                line(out, level + 1);
                put_pretty(item, level + 1, out);
            }
            line(out, level);
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (index, (name, item)) in members.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                line(out, level + 1);
                out.push_str(&quoted(name));
                out.push_str(": ");
                put_pretty(item, level + 1, out);
            }
            line(out, level);
            out.push('}');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}
