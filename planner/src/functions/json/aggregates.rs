//! `jsonb_agg`, `json_agg`, `jsonb_object_agg` and `json_object_agg`: JSON of the array that `array_agg` has gathered, so
//! that a view can keep them as it keeps that.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, LargeBinaryBuilder, LargeStringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::build::{external, key, member};
use super::parse;
use crate::bind::refuse;
use crate::error::PlanErrorKind;
use crate::types::{JSON, JSONB};
use crate::values::{ColumnReader, ColumnType, Elements, TextStyle, Value};

/// What stands before the name of an aggregate in the name of the function that makes its JSON: no statement can
/// write it.
const MARK: char = '\u{0}';

static FUNCTIONS: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let kinds = [("jsonb_agg", false, false), ("json_agg", true, false)];
    let objects = [("jsonb_object_agg", false, true), ("json_object_agg", true, true)];
    let functions = kinds.into_iter().chain(objects).map(|(aggregate, json, object)| {
        let name = format!("{MARK}{aggregate}");
        let signature = Signature::any(1, Volatility::Immutable);
        (name.clone(), Arc::new(ScalarUDF::from(OfArray { name, json, object, style: None, signature })))
    });
    functions.collect()
});

/// The function of a name that [`function_of`] gave.
pub(crate) fn aggregate(name: &str) -> Option<Arc<ScalarUDF>> {
    if name.starts_with(MARK) { FUNCTIONS.get(name).cloned() } else { None }
}

/// Whether a function makes the JSON of an aggregate.
pub(crate) fn is_aggregate(name: &str) -> bool {
    aggregate(name).is_some()
}

/// The name of the function that makes an aggregate's JSON, and whether it takes names and values.
pub(crate) fn function_of(aggregate: &str) -> Option<(String, bool)> {
    let name = format!("{MARK}{}", aggregate.to_lowercase());
    FUNCTIONS.contains_key(&name).then(|| (name, aggregate.to_lowercase().contains("object")))
}

/// Such a function with a session's zone and forms.
pub(super) fn in_session(function: &ScalarUDF, style: TextStyle) -> Option<ScalarUDF> {
    let found = function.inner().downcast_ref::<OfArray>()?;
    let (name, signature) = (found.name.clone(), found.signature.clone());
    Some(ScalarUDF::from(OfArray { name, json: found.json, object: found.object, style: Some(style), signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfArray {
    name: String,
    json: bool,
    object: bool,
    /// How values are written, once the call is bound.
    style: Option<TextStyle>,
    signature: Signature,
}

impl ScalarUDFImpl for OfArray {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(if self.json { JSON } else { JSONB })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let style =
            self.style.ok_or_else(|| DataFusionError::Internal("JSON was bound without a session".to_string()))?;
        let scalar = matches!(arguments.args[0], ColumnarValue::Scalar(_));
        let rows = if scalar { 1 } else { arguments.number_rows };
        let arrays = arguments.args[0].to_array(rows)?;
        let column = ColumnType::of_field(&arguments.arg_fields[0]).map_err(external)?;
        let reader = ColumnReader::new(&arrays, &column).map_err(external)?;
        let texts = (0..rows).map(|row| match reader.get(row) {
            Some(Value::Array(elements)) => self.text(&elements, style).map(Some),
            _ => Ok(None),
        });
        let texts = texts.collect::<Result<Vec<_>>>()?;
        let result: ArrayRef = match self.json {
            true => {
                let mut values = LargeBinaryBuilder::new();
                texts.into_iter().for_each(|text| values.append_option(text));
                Arc::new(values.finish())
            }
            false => {
                let mut values = LargeStringBuilder::new();
                for text in texts {
                    values.append_option(text.map(|text| parse(&text)).transpose()?.map(|json| json.to_string()));
                }
                Arc::new(values.finish())
            }
        };
        match scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            false => Ok(ColumnarValue::Array(result)),
        }
    }
}

impl OfArray {
    fn text(&self, elements: &Elements, style: TextStyle) -> Result<String> {
        if !self.object {
            let items = elements
                .iter()
                .map(|element| member(element.as_ref(), self.json, style))
                .collect::<Result<Vec<_>>>()?;
            // Postgres has one row a line.
            let composite = matches!(elements.iter().next(), Some(Some(Value::Record(..) | Value::Array(_))));
            return Ok(format!("[{}]", items.join(if composite { ", \n " } else { ", " })));
        }
        let members = elements.iter().map(|element| match element {
            Some(Value::Record(fields, row)) => {
                let name = fields[0]
                    .reader
                    .get(row)
                    .ok_or_else(|| refuse(PlanErrorKind::InvalidParameterValue, "field name must not be null"))?;
                Ok(format!(
                    "{} : {}",
                    key(&name, style)?,
                    member(fields[1].reader.get(row).as_ref(), self.json, style)?
                ))
            }
            _ => Err(refuse(PlanErrorKind::InvalidParameterValue, "field name must not be null")),
        });
        Ok(format!("{{ {} }}", members.collect::<Result<Vec<_>>>()?.join(", ")))
    }
}
