//! A numeric as text, or as it stands in JSON, with the digits that a client sees.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, LargeBinaryBuilder, ListArray, StringBuilder};
use arrow::datatypes::{DataType, FieldRef};
use bytes::BytesMut;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;

use super::cast::{Conversion, converted};
use crate::types::JSON;
use crate::values::{ColumnReader, ColumnType, Described, Digits, Shown, TextStyle, put_text};

/// A numeric, or those of an array, as `target` says: text or JSON, or a list of either.
pub(crate) fn number_out(number: Expr, target: &DataType, digits: Option<Digits>) -> Expr {
    converted(number, target, NumberOut { digits })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct NumberOut {
    digits: Option<Digits>,
}

impl Conversion for NumberOut {
    fn name(&self, target: &DataType) -> String {
        let element = match target {
            DataType::List(element) => element.data_type(),
            target => target,
        };
        if *element == JSON { "number as json" } else { "number as text" }.to_string()
    }

    fn convert(&self, values: &ArrayRef, source: &FieldRef, target: &DataType) -> Result<ArrayRef> {
        if let (DataType::List(elements), DataType::List(target)) = (source.data_type(), target) {
            let lists = values.as_list::<i32>();
            let written = self.convert(lists.values(), elements, target.data_type())?;
            let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
            return Ok(Arc::new(ListArray::try_new(Arc::clone(target), offsets, written, nulls)?));
        }
        let shown = Shown { digits: self.digits, ..Shown::default() };
        let field = Described { shown, ..Described::default() }.put(source.as_ref().clone());
        let external = |error| DataFusionError::External(Box::new(error));
        let column = ColumnType::of_field(&field).map_err(external)?;
        let reader = ColumnReader::new(values, &column).map_err(external)?;
        let texts = (0..values.len()).map(|row| {
            let mut text = BytesMut::new();
            reader.get(row).map(|value| {
                put_text(&mut text, &value, TextStyle::default());
                // Digits, a point and a sign.
                String::from_utf8_lossy(&text).into_owned()
            })
        });
        Ok(if *target == JSON {
            let mut written = LargeBinaryBuilder::new();
            texts.for_each(|text| written.append_option(text));
            Arc::new(written.finish())
        } else {
            let mut written = StringBuilder::new();
            texts.for_each(|text| written.append_option(text));
            Arc::new(written.finish())
        })
    }
}
