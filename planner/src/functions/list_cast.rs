//! Casts of arrays of numbers, by the casts of their elements: Arrow's own cut a fraction, where Postgres rounds.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::DFSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;

use super::cast::{Conversion, converted};
use crate::bind::cast_of_postgres;
use crate::reading::Reading;
use crate::values::TextStyle;

/// Whether a cast is one of these.
pub(crate) fn needs_list_cast(source: &DataType, target: &DataType) -> bool {
    match (source, target) {
        (DataType::List(source), DataType::List(target)) => {
            let (source, target) = (source.data_type(), target.data_type());
            (source != target && source.is_numeric() && target.is_numeric()) || needs_list_cast(source, target)
        }
        _ => false,
    }
}

/// The array as one of the type `target`.
pub(crate) fn list_cast(array: Expr, target: &DataType, style: TextStyle, reading: Reading) -> Expr {
    converted(array, target, ListCast { style, reading })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ListCast {
    style: TextStyle,
    reading: Reading,
}

impl Conversion for ListCast {
    fn convert(&self, values: &ArrayRef, source: &FieldRef, target: &DataType) -> Result<ArrayRef> {
        let (DataType::List(source), DataType::List(target)) = (source.data_type(), target) else {
            return Err(DataFusionError::Internal(format!("{target} is no array")));
        };
        let lists = values.as_list::<i32>();
        let elements = lists.values();
        let schema = Schema::new(vec![Field::new("element", source.data_type().clone(), true)]);
        let of_elements = DFSchema::try_from(schema.clone())?;
        let cast = cast_of_postgres("element", target.data_type(), &of_elements, self.style, self.reading)?;
        let physical = super::physical_expression(&cast, &of_elements)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::clone(elements)])?;
        let cast = physical.evaluate(&batch)?.into_array(elements.len())?;
        let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
        Ok(Arc::new(ListArray::try_new(Arc::clone(target), offsets, cast, nulls)?))
    }
}
