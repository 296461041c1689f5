//! Text to any type as Postgres reads it ([`crate::values::input`]). DataFusion's own casts know neither infinity nor
//! the session's zone, no arrays and no records, and take the bytes of a text for its `bytea`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, new_empty_array};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;

use super::cast::{Conversion, converted};
use crate::values::{TextStyle, input};

/// Whether a cast is one from text to a type with a text form of its own.
pub(crate) fn needs_text_in(source: &DataType, target: &DataType) -> bool {
    match (source, target) {
        // A text becomes `char(n)` by a function of its own: DataFusion compares the two in this type.
        (DataType::Utf8, DataType::Utf8 | DataType::Utf8View) => false,
        (DataType::Utf8, target) => input::can_read(target),
        (DataType::List(source), DataType::List(target)) => needs_text_in(source.data_type(), target.data_type()),
        _ => false,
    }
}

/// The values of the type `target` that texts stand for. `style` is the session's.
pub(crate) fn text_in(text: Expr, target: &DataType, style: TextStyle) -> Expr {
    let style = if input::asks_for_session(target) { style } else { TextStyle::default() };
    converted(text, target, TextIn { style })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TextIn {
    style: TextStyle,
}

impl Conversion for TextIn {
    fn convert(&self, texts: &ArrayRef, _source: &FieldRef, target: &DataType) -> Result<ArrayRef> {
        self.read(texts, target)
    }
}

impl TextIn {
    fn read(&self, texts: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
        if let (DataType::List(_), DataType::List(element)) = (texts.data_type(), target) {
            let lists = texts.as_list::<i32>();
            let elements = self.read(lists.values(), element.data_type())?;
            let offsets = lists.offsets().clone();
            return Ok(Arc::new(ListArray::try_new(Arc::clone(element), offsets, elements, lists.nulls().cloned())?));
        }
        if texts.is_empty() {
            return Ok(new_empty_array(target));
        }
        let value = |text: Option<&str>| match text {
            Some(text) => {
                input::read(text, target, self.style).map_err(|error| DataFusionError::External(Box::new(error)))
            }
            None => ScalarValue::try_from(target),
        };
        ScalarValue::iter_to_array(texts.as_string::<i32>().iter().map(value).collect::<Result<Vec<_>>>()?)
    }
}
