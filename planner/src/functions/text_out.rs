//! Any value to text as Postgres prints it. DataFusion's own cast writes timestamps with a `T`, arrays in
//! brackets, and can't write bytes that are no UTF-8.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringBuilder};
use arrow::datatypes::{DataType, FieldRef};
use bytes::BytesMut;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;

use super::cast::{Conversion, converted};
use crate::values::{ColumnReader, ColumnType, TextStyle, as_stored, put_text};

/// Whether a cast needs [`text_out`]: DataFusion's own gives the same text of truth values and integers.
pub(crate) fn needs_text_out(source: &DataType, target: &DataType) -> bool {
    match source {
        DataType::Null | DataType::Boolean => false,
        DataType::Dictionary(_, values) => needs_text_out(values, target),
        DataType::List(source) if !target.is_string() => {
            matches!(target, DataType::List(target) if needs_text_out(source.data_type(), target.data_type()))
        }
        source => target.is_string() && !source.is_string() && !source.is_integer(),
    }
}

/// The text of a value, or an array of the texts of an array's elements, as `target` says. `timestamptz` as
/// `style` shows it.
pub(crate) fn text_out(value: Expr, target: &DataType, style: TextStyle) -> Expr {
    converted(value, target, TextOut { style })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TextOut {
    style: TextStyle,
}

impl Conversion for TextOut {
    fn name(&self, _target: &DataType) -> String {
        "text_out".to_string()
    }

    /// `target` is `Utf8`, or a list of what is one of the two.
    fn convert(&self, values: &ArrayRef, source: &FieldRef, target: &DataType) -> Result<ArrayRef> {
        texts(values, source, target, self.style)
    }
}

fn texts(values: &ArrayRef, field: &FieldRef, target: &DataType, style: TextStyle) -> Result<ArrayRef> {
    if let (DataType::List(element), DataType::List(target)) = (field.data_type(), target) {
        let lists = values.as_list::<i32>();
        let elements = texts(lists.values(), element, target.data_type(), style)?;
        let lists = ListArray::try_new(Arc::clone(target), lists.offsets().clone(), elements, lists.nulls().cloned())?;
        return Ok(Arc::new(lists));
    }
    let column = ColumnType::of_field(field).map_err(|error| DataFusionError::External(Box::new(error)))?;
    let stored = as_stored(values, &column)?;
    let reader = ColumnReader::new(&stored, &column).map_err(|error| DataFusionError::External(Box::new(error)))?;
    let mut texts = StringBuilder::new();
    let mut text = BytesMut::new();
    for row in 0..values.len() {
        match reader.get(row) {
            None => texts.append_null(),
            Some(value) => {
                text.clear();
                put_text(&mut text, &value, style);
                let text = std::str::from_utf8(&text)
                    .map_err(|error| DataFusionError::Internal(format!("a text that is no UTF-8: {error}")))?;
                texts.append_value(text);
            }
        }
    }
    Ok(Arc::new(texts.finish()))
}
