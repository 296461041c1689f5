//! Any value to text as Postgres prints it. DataFusion's own cast writes timestamps with a `T`, arrays in
//! brackets, and can't write bytes that are no UTF-8.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringBuilder};
use arrow::datatypes::{DataType, FieldRef};
use bytes::BytesMut;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

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
    let function = TextOut { target: target.clone(), style, signature: Signature::any(1, Volatility::Immutable) };
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(function)), vec![value]))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TextOut {
    /// `Utf8`, or a list of what is one of the two.
    target: DataType,
    style: TextStyle,
    signature: Signature,
}

impl ScalarUDFImpl for TextOut {
    fn name(&self) -> &str {
        "text_out"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.target.clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let field = &arguments.arg_fields[0];
        Ok(match &arguments.args[0] {
            ColumnarValue::Array(values) => ColumnarValue::Array(texts(values, field, &self.target, self.style)?),
            ColumnarValue::Scalar(value) => {
                let texts = texts(&value.to_array()?, field, &self.target, self.style)?;
                ColumnarValue::Scalar(ScalarValue::try_from_array(&texts, 0)?)
            }
        })
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
