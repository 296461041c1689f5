//! Functions of arrays as Postgres has them: lengths are `integer`, of an empty array there is none; a place outside
//! of an array holds nothing. DataFusion counts in unsigned numbers, takes places below 1 from the end, and calls the
//! length of an empty array 0.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, ListArray, StringArray, new_null_array};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{cast, concat, filter, is_not_null, not};
use arrow::datatypes::{DataType, FieldRef, Int32Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF};

use super::bounded::Budget;
use super::forms::{Form, Gives, Takes, form, function};
use super::wrapped::{Around, wrapped};
use crate::bind::refuse;
use crate::error::PlanErrorKind;

const LENGTH: &[Form] = &[
    form(&[Takes::List, Takes::Bigint], Gives::Int, |columns, _, rows| dimension(columns, rows, |length| length)),
    form(&[Takes::List], Gives::Int, |columns, _, rows| Ok(integers(rows, |row| length(&list(columns, row)?, 1)))),
];
const LOWER: &[Form] =
    &[form(&[Takes::List, Takes::Bigint], Gives::Int, |columns, _, rows| dimension(columns, rows, |_| 1))];
const UPPER: &[Form] =
    &[form(&[Takes::List, Takes::Bigint], Gives::Int, |columns, _, rows| dimension(columns, rows, |length| length))];
const CARDINALITY: &[Form] =
    &[form(&[Takes::List], Gives::Int, |columns, _, rows| Ok(integers(rows, |row| Some(count(&list(columns, row)?)))))];
const DIMENSIONS: &[Form] = &[form(&[Takes::List], Gives::Int, |columns, _, rows| {
    Ok(integers(rows, |row| i32::try_from(lengths(&list(columns, row)?).len()).ok().filter(|count| *count > 0)))
})];
const DIMENSION_TEXT: &[Form] = &[form(&[Takes::List], Gives::Text, |columns, _, rows| {
    let text = |row: usize| {
        let lengths = lengths(&list(columns, row)?);
        let text: String = lengths.iter().map(|length| format!("[1:{length}]")).collect();
        (!text.is_empty()).then_some(text)
    };
    Ok(Arc::new((0..rows).map(text).collect::<StringArray>()))
})];
const ELEMENT: &[Form] = &[form(&[Takes::List, Takes::Bigint], Gives::Element, element)];
const SLICE: &[Form] = &[form(&[Takes::List, Takes::Bigint, Takes::Bigint], Gives::First, slice)];
const REMOVE: &[Form] = &[form(&[Takes::List, Takes::Element], Gives::First, remove)];
const TRIM: &[Form] = &[form(&[Takes::List, Takes::Bigint], Gives::First, trim)];
const FILL: &[Form] = &[form(&[Takes::Anything, Takes::Ints], Gives::ListOfFirst, fill)];

/// All of them.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![
        function("array_length", &["list_length"], LENGTH),
        function("array_lower", &[], LOWER),
        function("array_upper", &[], UPPER),
        function("cardinality", &[], CARDINALITY),
        function("array_ndims", &["list_ndims"], DIMENSIONS),
        function("array_dims", &["list_dims"], DIMENSION_TEXT),
        function("array_element", &["list_element", "list_extract", "array_extract"], ELEMENT),
        function("array_slice", &["list_slice"], SLICE),
        function("array_remove", &["list_remove"], REMOVE),
        function("trim_array", &[], TRIM),
        function("array_fill", &[], FILL),
    ]
}

/// A function of DataFusion's whose places are integers, or the function itself.
pub(super) fn counted(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    let target = match function.name() {
        "array_position" => DataType::Int32,
        "array_positions" => DataType::new_list(DataType::Int32, true),
        _ => return function,
    };
    wrapped(function, Counted { target })
}

/// The elements of a row; `None` for NULL.
fn list(columns: &[ArrayRef], row: usize) -> Option<ArrayRef> {
    let lists = columns[0].as_list::<i32>();
    (!lists.is_null(row)).then(|| lists.value(row))
}

fn integers(rows: usize, value: impl Fn(usize) -> Option<i32>) -> ArrayRef {
    Arc::new((0..rows).map(value).collect::<Int32Array>())
}

/// The lengths of an array's dimensions: none of an empty one.
fn lengths(elements: &ArrayRef) -> Vec<i32> {
    let own = i32::try_from(elements.len()).unwrap_or(i32::MAX);
    if own == 0 {
        return Vec::new();
    }
    let mut lengths = vec![own];
    if let Some(inner) = elements.as_list_opt::<i32>() {
        lengths.extend(self::lengths(&inner.value(0)));
    }
    lengths
}

/// The length of a dimension, which are counted from 1.
fn length(elements: &ArrayRef, dimension: i64) -> Option<i32> {
    let place = usize::try_from(dimension).ok()?.checked_sub(1)?;
    lengths(elements).get(place).copied()
}

fn dimension(columns: &[ArrayRef], rows: usize, value: fn(i32) -> i32) -> Result<ArrayRef> {
    let dimensions = columns[1].as_primitive::<Int64Type>();
    Ok(integers(rows, |row| {
        let dimension = (!dimensions.is_null(row)).then(|| dimensions.value(row))?;
        length(&list(columns, row)?, dimension).map(value)
    }))
}

/// How many elements there are in all dimensions.
fn count(elements: &ArrayRef) -> i32 {
    match elements.as_list_opt::<i32>() {
        Some(inner) => (0..inner.len()).map(|row| count(&inner.value(row))).sum(),
        None => i32::try_from(elements.len()).unwrap_or(i32::MAX),
    }
}

fn element(columns: &[ArrayRef], result: &DataType, rows: usize) -> Result<ArrayRef> {
    let places = columns[1].as_primitive::<Int64Type>();
    let lists = columns[0].as_list::<i32>();
    let offsets = lists.value_offsets();
    let place = |row: usize| {
        let given = !lists.is_null(row) && !places.is_null(row);
        let place = u32::try_from(places.value(row)).ok().filter(|place| given && *place >= 1)?;
        let start = offsets[row];
        let found = i64::from(start) + i64::from(place) - 1;
        (found < i64::from(offsets[row + 1])).then(|| u32::try_from(found).ok()).flatten()
    };
    let found: arrow::array::UInt32Array = (0..rows).map(place).collect();
    let taken = arrow::compute::take(lists.values(), &found, None)?;
    Ok(if taken.data_type() == result { taken } else { cast(&taken, result)? })
}

/// The rows of lists, put together again.
fn lists(rows: Vec<Option<ArrayRef>>, result: &DataType) -> Result<ArrayRef> {
    let DataType::List(field) = result else { return Ok(new_null_array(result, rows.len())) };
    let lengths: Vec<usize> = rows.iter().map(|row| row.as_ref().map_or(0, |row| row.len())).collect();
    let nulls: arrow::buffer::NullBuffer = rows.iter().map(Option::is_some).collect::<Vec<bool>>().into();
    let parts: Vec<ArrayRef> = rows.into_iter().flatten().collect();
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    let values = if parts.is_empty() { new_null_array(field.data_type(), 0) } else { concat(&parts)? };
    let values = if values.data_type() == field.data_type() { values } else { cast(&values, field.data_type())? };
    let offsets = arrow::buffer::OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(Arc::clone(field) as FieldRef, offsets, values, Some(nulls))?))
}

fn slice(columns: &[ArrayRef], result: &DataType, rows: usize) -> Result<ArrayRef> {
    let (from, to) = (columns[1].as_primitive::<Int64Type>(), columns[2].as_primitive::<Int64Type>());
    let sliced = |row: usize| {
        let elements = list(columns, row).filter(|_| !from.is_null(row) && !to.is_null(row))?;
        let length = elements.len() as i64;
        let (from, to) = (from.value(row).clamp(1, length + 1), to.value(row).clamp(0, length));
        let count = (to - from + 1).max(0);
        Some(elements.slice(from as usize - 1, count as usize))
    };
    lists((0..rows).map(sliced).collect(), result)
}

fn remove(columns: &[ArrayRef], result: &DataType, rows: usize) -> Result<ArrayRef> {
    let kept = |row: usize| -> Result<Option<ArrayRef>> {
        let Some(elements) = list(columns, row) else { return Ok(None) };
        let removed = columns[1].slice(row, 1);
        let keep: BooleanArray = match (removed.is_null(0), elements.data_type().is_nested()) {
            (true, _) => is_not_null(&elements)?,
            (false, false) => not(&not_distinct(&elements, &arrow::array::Scalar::new(removed))?)?,
            (false, true) => {
                let message = "removing elements from multidimensional arrays is not supported";
                return Err(refuse(PlanErrorKind::FeatureNotSupported, message));
            }
        };
        Ok(Some(filter(&elements, &keep)?))
    };
    lists((0..rows).map(kept).collect::<Result<_>>()?, result)
}

fn trim(columns: &[ArrayRef], result: &DataType, rows: usize) -> Result<ArrayRef> {
    let counts = columns[1].as_primitive::<Int64Type>();
    let trimmed = |row: usize| -> Result<Option<ArrayRef>> {
        let Some(elements) = list(columns, row).filter(|_| !counts.is_null(row)) else { return Ok(None) };
        let kept = usize::try_from(counts.value(row)).ok().and_then(|count| elements.len().checked_sub(count));
        let kept = kept.ok_or_else(|| {
            let message = format!("number of elements to trim must be between 0 and {}", elements.len());
            refuse(PlanErrorKind::ArraySubscript, message)
        })?;
        Ok(Some(elements.slice(0, kept)))
    };
    lists((0..rows).map(trimmed).collect::<Result<_>>()?, result)
}

/// Elements of an array that is made at most: what fits into the memory of one statement many times over.
const FILLED_MAX: i32 = 1_000_000;

fn fill(columns: &[ArrayRef], result: &DataType, rows: usize) -> Result<ArrayRef> {
    let dimensions = columns[1].as_list::<i32>();
    let mut budget = Budget::default();
    let filled = |row: usize| -> Result<Option<ArrayRef>> {
        if dimensions.is_null(row) {
            let message = "dimension array or low bound array cannot be null";
            return Err(refuse(PlanErrorKind::InvalidParameterValue, message));
        }
        let lengths = dimensions.value(row);
        let lengths = lengths.as_primitive::<Int32Type>();
        let [length] = lengths.values().as_ref() else {
            let message = "array_fill() with other than one dimension is not supported";
            return Err(refuse(PlanErrorKind::FeatureNotSupported, message));
        };
        if lengths.null_count() > 0 {
            return Err(refuse(PlanErrorKind::InvalidParameterValue, "dimension values cannot be null"));
        }
        if *length > FILLED_MAX {
            let message = format!("array size exceeds the maximum allowed ({FILLED_MAX})");
            return Err(refuse(PlanErrorKind::ProgramLimitExceeded, message));
        }
        let value = ScalarValue::try_from_array(&columns[0], row)?;
        let value_bytes = value.to_array()?.get_buffer_memory_size() as u64;
        budget.take(value_bytes.saturating_mul(u64::try_from(*length).unwrap_or(0)))?;
        Ok(Some(value.to_array_of_size(usize::try_from(*length).unwrap_or(0))?))
    };
    lists((0..rows).map(filled).collect::<Result<_>>()?, result)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Counted {
    target: DataType,
}

impl Around for Counted {
    fn field(&self, inner: &ScalarUDF, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let field = inner.return_field_from_args(arguments)?;
        Ok(Arc::new(field.as_ref().clone().with_data_type(self.target.clone())))
    }

    fn call(&self, inner: &ScalarUDF, mut arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalars: Vec<Option<&ScalarValue>> = vec![None; arguments.arg_fields.len()];
        let fields = ReturnFieldArgs { arg_fields: &arguments.arg_fields, scalar_arguments: &scalars };
        arguments.return_field = inner.return_field_from_args(fields)?;
        match inner.inner().invoke_with_args(arguments)? {
            ColumnarValue::Array(values) => Ok(ColumnarValue::Array(cast(&values, &self.target)?)),
            ColumnarValue::Scalar(value) => Ok(ColumnarValue::Scalar(value.cast_to(&self.target)?)),
        }
    }
}
