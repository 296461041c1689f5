//! Text to any type as Postgres reads it ([`crate::values::input`]). DataFusion's own casts know neither infinity nor
//! the session's zone, no arrays and no records, and take the bytes of a text for its `bytea`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, new_empty_array};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::sql_type;
use crate::values::{TextStyle, input};

/// Whether a cast is one from text to a type with a text form of its own.
pub(crate) fn needs_text_in(source: &DataType, target: &DataType) -> bool {
    match (source, target) {
        (DataType::Utf8, target) => *target != DataType::Utf8 && input::can_read(target),
        (DataType::List(source), DataType::List(target)) => needs_text_in(source.data_type(), target.data_type()),
        _ => false,
    }
}

/// The values of the type `target` that texts stand for. `style` is the session's.
pub(crate) fn text_in(text: Expr, target: &DataType, style: TextStyle) -> Expr {
    let style = if input::asks_for_session(target) { style } else { TextStyle::default() };
    let signature = Signature::any(1, Volatility::Immutable);
    let function = TextIn { name: format!("cast to {}", sql_type(target)), target: target.clone(), style, signature };
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(function)), vec![text]))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TextIn {
    name: String,
    target: DataType,
    style: TextStyle,
    signature: Signature,
}

impl ScalarUDFImpl for TextIn {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.target.clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(match &arguments.args[0] {
            ColumnarValue::Array(texts) => ColumnarValue::Array(self.array(texts, &self.target)?),
            ColumnarValue::Scalar(text) => {
                let value = self.array(&text.to_array()?, &self.target)?;
                ColumnarValue::Scalar(ScalarValue::try_from_array(&value, 0)?)
            }
        })
    }
}

impl TextIn {
    fn array(&self, texts: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
        if let (DataType::List(_), DataType::List(element)) = (texts.data_type(), target) {
            let lists = texts.as_list::<i32>();
            let elements = self.array(lists.values(), element.data_type())?;
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
