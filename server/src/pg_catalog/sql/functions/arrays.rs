//! Functions over arrays, and the few over numbers that catalog queries call.

use millstream_planner::error::{PlanError, PlanErrorKind, Result};

use super::super::datum::Datum;
use super::super::text::output;
use super::super::types;
use super::Call;

pub(super) const FUNCTIONS: super::Values = &[
    ("array_to_string", |call| Ok(to_string(call))),
    ("string_to_array", |call| Ok(from_string(call))),
    ("array_length", |call| Ok(one_dimension(call, call.items(0).len()))),
    ("array_upper", |call| {
        let first = call.ty(0).first_subscript();
        Ok(one_dimension(call, call.items(0).len()).map_int(|length| length + first - 1))
    }),
    ("array_lower", |call| {
        let first = call.ty(0).first_subscript();
        Ok(one_dimension(call, call.items(0).len()).map_int(|_| first))
    }),
    ("array_ndims", |call| Ok((!call.items(0).is_empty()).then_some(1).into())),
    ("cardinality", |call| Ok(call.items(0).len().into())),
    ("array_append", |call| Ok(joined(call.items(0), &[call.datum(1).clone()]))),
    ("array_prepend", |call| Ok(joined(&[call.datum(0).clone()], call.items(1)))),
    ("array_cat", |call| Ok(joined(call.items(0), call.items(1)))),
    ("array_remove", |call| {
        Ok(Datum::Array(call.items(0).iter().filter(|item| *item != call.datum(1)).cloned().collect()))
    }),
    ("array_position", |call| Ok(position(call))),
    ("array_positions", |call| {
        let first = call.ty(0).first_subscript();
        let found = call.items(0).iter().zip(first..).filter(|(item, _)| *item == call.datum(1));
        Ok(Datum::Array(found.map(|(_, at)| Datum::Int(at)).collect()))
    }),
    ("abs", |call| {
        Ok(match call.datum(0) {
            Datum::Int(value) => Datum::Int(value.saturating_abs()),
            _ => Datum::Float(call.float(0).abs()),
        })
    }),
    ("round", |call| {
        let scale = 10f64.powi(i32::try_from(call.int(1)).unwrap_or(0));
        Ok(Datum::Float((call.float(0) * scale).round() / scale))
    }),
    ("floor", |call| Ok(Datum::Float(call.float(0).floor()))),
    ("ceil", |call| Ok(Datum::Float(call.float(0).ceil()))),
    ("ceiling", |call| Ok(Datum::Float(call.float(0).ceil()))),
    ("trunc", |call| Ok(Datum::Float(call.float(0).trunc()))),
    ("mod", |call| match call.int(1) {
        0 => Err(PlanError::new(PlanErrorKind::DivisionByZero, "division by zero")),
        divisor => Ok(Datum::Int(call.int(0).wrapping_rem(divisor))),
    }),
];

impl Datum {
    /// An integer changed, anything else as it is.
    fn map_int(self, change: impl FnOnce(i64) -> i64) -> Self {
        match self {
            Self::Int(value) => Self::Int(change(value)),
            other => other,
        }
    }
}

/// Of the first dimension; an empty array has none.
fn one_dimension(call: &Call<'_>, length: usize) -> Datum {
    (call.int(1) == 1 && length > 0).then_some(length).into()
}

fn joined(left: &[Datum], right: &[Datum]) -> Datum {
    Datum::Array(left.iter().chain(right).cloned().collect())
}

fn position(call: &Call<'_>) -> Datum {
    let first = call.ty(0).first_subscript();
    let start = if call.given(2) { call.int(2) } else { first };
    let found = call.items(0).iter().zip(first..).find(|(item, at)| *at >= start && *item == call.datum(1));
    found.map(|(_, at)| at).into()
}

fn to_string(call: &Call<'_>) -> Datum {
    if !call.given(0) || !call.given(1) {
        return Datum::Null;
    }
    let element = call.ty(0).element().unwrap_or(types::TEXT);
    let null = call.given(2).then(|| call.text(2).to_owned());
    let shown = call.items(0).iter().filter_map(|item| match item {
        Datum::Null => null.clone(),
        // Booleans are shown as in arrays.
        item => Some(output(item, &element, call.context)),
    });
    shown.collect::<Vec<_>>().join(call.text(1)).into()
}

fn from_string(call: &Call<'_>) -> Datum {
    if !call.given(0) {
        return Datum::Null;
    }
    let text = call.text(0);
    let null = call.given(2).then(|| call.text(2).to_owned());
    let part = |part: &str| if null.as_deref() == Some(part) { Datum::Null } else { Datum::text(part) };
    let parts = match call.given(1).then(|| call.text(1)) {
        _ if text.is_empty() => Vec::new(),
        None => text.chars().map(|character| part(&character.to_string())).collect(),
        Some("") => vec![part(text)],
        Some(separator) => text.split(separator).map(part).collect(),
    };
    Datum::Array(parts.into())
}

/// Joins with `||`: texts, arrays, or an array and an element.
pub(in crate::pg_catalog::sql) fn concatenated(left: &Datum, right: &Datum) -> Result<Datum> {
    Ok(match (left, right) {
        (Datum::Array(left), Datum::Array(right)) => joined(left, right),
        (Datum::Array(items), element) => joined(items, std::slice::from_ref(element)),
        (element, Datum::Array(items)) => joined(std::slice::from_ref(element), items),
        (Datum::Text(left), Datum::Text(right)) => format!("{left}{right}").into(),
        _ => Datum::Null,
    })
}
