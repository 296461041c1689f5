//! What the declared types of casts say beyond their Arrow types: the characters of a `varchar(n)`, the digits of a
//! second of `timestamp(3)` and its like. A cast is a call of one of these around the cast to the type itself, so that a
//! plan knows what it was; no statement can write their names without quotes.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ScalarUDF;
use millstream_runtime::graph::rounded_moments;

use super::forms::{Form, Gives, Takes, form, function};
use super::similar;

/// Of a text and, where there is one, the most characters: the text as a `varchar`.
pub(crate) const VARYING: &str = "as varchar";
/// Of a moment, a time or an interval and a number of digits.
pub(crate) const SECOND_DIGITS: &str = "with second digits";

/// Of a value that becomes JSON later, in an array or a row that an aggregate gathers.
pub(crate) const AS_JSON: &str = "as json";

const AS_JSON_FORMS: &[Form] = &[form(&[Takes::Anything], Gives::First, |columns, _, _| Ok(Arc::clone(&columns[0])))];
const VARYING_FORMS: &[Form] = &[
    form(&[Takes::Text], Gives::Text, |columns, _, _| Ok(Arc::clone(&columns[0]))),
    form(&[Takes::Text, Takes::Bigint], Gives::Text, |columns, _, _| cut(&columns[0], &columns[1])),
    form(&[Takes::List], Gives::First, |columns, _, _| Ok(Arc::clone(&columns[0]))),
    form(&[Takes::List, Takes::Bigint], Gives::First, |columns, _, _| cut(&columns[0], &columns[1])),
];
const SECOND_DIGITS_FORMS: &[Form] = &[form(&[Takes::Anything, Takes::Bigint], Gives::First, |columns, _, _| {
    let digits = u8::try_from(constant(&columns[1]).unwrap_or_default()).unwrap_or(u8::MAX);
    match columns[0].data_type() {
        DataType::Null => Ok(Arc::clone(&columns[0])),
        _ => rounded_moments(&columns[0], digits).map_err(|error| DataFusionError::External(Box::new(error))),
    }
})];

static FUNCTIONS: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| {
    vec![
        function(AS_JSON, &[], AS_JSON_FORMS),
        function(VARYING, &[], VARYING_FORMS),
        function(SECOND_DIGITS, &[], SECOND_DIGITS_FORMS),
        function(similar::SIMILAR_TO, &[], similar::FORMS),
    ]
});

/// The function of a name that the binder writes.
pub(crate) fn written_function(name: &str) -> Option<Arc<ScalarUDF>> {
    FUNCTIONS.iter().find(|function| function.name() == name).cloned()
}

/// The number that stands in every row.
fn constant(column: &ArrayRef) -> Option<i64> {
    (!column.is_empty()).then(|| column.as_primitive::<Int64Type>().value(0))
}

/// Texts, or lists of them, of at most so many characters.
fn cut(column: &ArrayRef, length: &ArrayRef) -> Result<ArrayRef> {
    let Some(length) = constant(length).and_then(|length| usize::try_from(length).ok()) else {
        return Ok(Arc::clone(column));
    };
    cut_to(column, length)
}

fn cut_to(column: &ArrayRef, length: usize) -> Result<ArrayRef> {
    match column.data_type() {
        DataType::Utf8 => {
            let end = |text: &str| text.char_indices().nth(length).map_or(text.len(), |(end, _)| end);
            let texts = column.as_string::<i32>().iter();
            Ok(Arc::new(texts.map(|text| text.map(|text| &text[..end(text)])).collect::<StringArray>()))
        }
        DataType::List(element) => {
            let lists = column.as_list::<i32>();
            let elements = cut_to(lists.values(), length)?;
            let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
            Ok(Arc::new(ListArray::try_new(Arc::clone(element), offsets, elements, nulls)?))
        }
        DataType::Null => Ok(Arc::clone(column)),
        other => Err(DataFusionError::Internal(format!("{other} has no length in characters"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn texts_are_cut_by_characters() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("äöü"), None, Some("a")]));
        let cut = cut_to(&texts, 2).unwrap();
        assert_eq!(cut.as_string::<i32>().iter().collect::<Vec<_>>(), [Some("äö"), None, Some("a")]);
    }
}
