//! Growing columns that can be cut back.
//!
//! A record is decoded straight into the columns of its relation; when it turns out to be bad, every column is
//! cut back to where the record began. So a good record costs no copy and a bad one leaves no trace, which
//! Arrow's own builders can't do. A column that is checked but not built holds nothing.

use std::sync::Arc;

use arrow::array::NullBufferBuilder;
use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Decimal256Array, FixedSizeBinaryArray,
    LargeBinaryArray, LargeStringArray, ListArray, PrimitiveArray, StringArray, StringViewArray, StructArray,
    make_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowPrimitiveType, DataType, FieldRef, Int32Type, Int64Type, i256};
use millstream_runtime::{Error, Result};

/// A column under construction.
#[derive(Debug)]
pub(crate) struct Column {
    validity: NullBufferBuilder,
    values: Values,
}

/// The values of a column; times are held as the integers that Arrow keeps them in.
#[derive(Debug)]
pub(crate) enum Values {
    /// Checked, not built.
    Skipped,
    /// Booleans.
    Boolean(Vec<bool>),
    /// Smallint.
    Int16(Vec<i16>),
    /// Integer and date.
    Int32(Vec<i32>),
    /// Bigint, time and timestamps.
    Int64(Vec<i64>),
    /// Real.
    Float32(Vec<f32>),
    /// Double precision.
    Float64(Vec<f64>),
    /// Numeric up to 38 digits.
    Decimal128(Vec<i128>),
    /// Numeric up to 76 digits.
    Decimal256(Vec<i256>),
    /// Text, bytea and JSON: the offset behind every value, and all bytes.
    Bytes { ends: Vec<i32>, data: Vec<u8> },
    /// Uuid.
    Uuid(Vec<[u8; 16]>),
    /// Arrays: the offset behind every value, in elements. The elements are a column of their own.
    List { ends: Vec<i32> },
    /// Structs: how many. The fields are columns of their own.
    Struct { length: usize },
}

impl Values {
    /// Empty values for `data_type`; `None` for a type that has no decoder.
    pub(crate) fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Boolean(Vec::new()),
            DataType::Int16 => Self::Int16(Vec::new()),
            DataType::Int32 | DataType::Date32 => Self::Int32(Vec::new()),
            DataType::Int64 | DataType::Time64(_) | DataType::Timestamp(_, _) => Self::Int64(Vec::new()),
            DataType::Float32 => Self::Float32(Vec::new()),
            DataType::Float64 => Self::Float64(Vec::new()),
            DataType::Decimal128(_, _) => Self::Decimal128(Vec::new()),
            DataType::Decimal256(_, _) => Self::Decimal256(Vec::new()),
            DataType::Utf8 | DataType::Utf8View | DataType::Binary | DataType::LargeUtf8 | DataType::LargeBinary => {
                Self::Bytes { ends: Vec::new(), data: Vec::new() }
            }
            DataType::FixedSizeBinary(16) => Self::Uuid(Vec::new()),
            DataType::List(_) => Self::List { ends: Vec::new() },
            DataType::Struct(_) => Self::Struct { length: 0 },
            _ => return None,
        })
    }
}

impl Column {
    /// An empty column.
    pub(crate) fn new(values: Values) -> Self {
        Self { validity: NullBufferBuilder::new(0), values }
    }

    /// Whether values are kept at all.
    pub(crate) fn is_built(&self) -> bool {
        !matches!(self.values, Values::Skipped)
    }

    /// Number of values, nulls included; 0 for a column that is not built.
    pub(crate) fn len(&self) -> usize {
        match &self.values {
            Values::Skipped => 0,
            _ => self.validity.len(),
        }
    }

    /// Elements in all lists so far: the length that the column of the elements has.
    pub(crate) fn elements(&self) -> usize {
        match &self.values {
            Values::List { ends } => ends.last().copied().unwrap_or(0) as usize,
            _ => 0,
        }
    }

    /// Cuts back to the first `length` values.
    pub(crate) fn truncate(&mut self, length: usize) {
        if length >= self.len() {
            // Bytes of a value that was begun and not ended may stand behind the last end.
            if let Values::Bytes { ends, data } = &mut self.values {
                data.truncate(ends.last().copied().unwrap_or(0) as usize);
            }
            return;
        }
        self.validity.truncate(length);
        match &mut self.values {
            Values::Skipped => {}
            Values::Boolean(values) => values.truncate(length),
            Values::Int16(values) => values.truncate(length),
            Values::Int32(values) => values.truncate(length),
            Values::Int64(values) => values.truncate(length),
            Values::Float32(values) => values.truncate(length),
            Values::Float64(values) => values.truncate(length),
            Values::Decimal128(values) => values.truncate(length),
            Values::Decimal256(values) => values.truncate(length),
            Values::Uuid(values) => values.truncate(length),
            Values::List { ends } => ends.truncate(length),
            Values::Struct { length: structs } => *structs = length,
            Values::Bytes { ends, data } => {
                ends.truncate(length);
                data.truncate(ends.last().copied().unwrap_or(0) as usize);
            }
        }
    }

    /// Appends a null.
    pub(crate) fn push_null(&mut self) {
        match &mut self.values {
            Values::Skipped => return,
            Values::Boolean(values) => values.push(false),
            Values::Int16(values) => values.push(0),
            Values::Int32(values) => values.push(0),
            Values::Int64(values) => values.push(0),
            Values::Float32(values) => values.push(0.0),
            Values::Float64(values) => values.push(0.0),
            Values::Decimal128(values) => values.push(0),
            Values::Decimal256(values) => values.push(i256::ZERO),
            Values::Uuid(values) => values.push([0; 16]),
            Values::Bytes { ends, .. } | Values::List { ends } => ends.push(ends.last().copied().unwrap_or(0)),
            Values::Struct { length } => *length += 1,
        }
        self.validity.append_null();
    }

    /// Appends a boolean.
    pub(crate) fn push_bool(&mut self, value: bool) {
        match &mut self.values {
            Values::Skipped => return,
            Values::Boolean(values) => values.push(value),
            other => unreachable!("a boolean for {other:?}"),
        }
        self.validity.append_non_null();
    }

    /// Appends an integer or a time; it was checked to fit.
    pub(crate) fn push_integer(&mut self, value: i64) {
        match &mut self.values {
            Values::Skipped => return,
            Values::Int64(values) => values.push(value),
            Values::Int32(values) => values.push(i32::try_from(value).expect("the range was checked")),
            Values::Int16(values) => values.push(i16::try_from(value).expect("the range was checked")),
            other => unreachable!("an integer for {other:?}"),
        }
        self.validity.append_non_null();
    }

    /// Appends a float; for `real` it was rounded before.
    pub(crate) fn push_float(&mut self, value: f64) {
        match &mut self.values {
            Values::Skipped => return,
            Values::Float64(values) => values.push(value),
            Values::Float32(values) => values.push(value as f32),
            other => unreachable!("a float for {other:?}"),
        }
        self.validity.append_non_null();
    }

    /// Appends a decimal's unscaled digits.
    pub(crate) fn push_decimal(&mut self, digits: i256) {
        match &mut self.values {
            Values::Skipped => return,
            Values::Decimal128(values) => values.push(digits.to_i128().expect("the precision was checked")),
            Values::Decimal256(values) => values.push(digits),
            other => unreachable!("a decimal for {other:?}"),
        }
        self.validity.append_non_null();
    }

    /// Appends a uuid.
    pub(crate) fn push_uuid(&mut self, value: [u8; 16]) {
        match &mut self.values {
            Values::Skipped => return,
            Values::Uuid(values) => values.push(value),
            other => unreachable!("a uuid for {other:?}"),
        }
        self.validity.append_non_null();
    }

    /// Appends text or bytes.
    pub(crate) fn push_bytes(&mut self, value: &[u8]) {
        if let Some(data) = self.begin_bytes() {
            data.extend_from_slice(value);
            self.end_bytes();
        }
    }

    /// Where the bytes of the next value go; `None` when the column is not built. [`Self::end_bytes`] ends it.
    pub(crate) fn begin_bytes(&mut self) -> Option<&mut Vec<u8>> {
        match &mut self.values {
            Values::Skipped => None,
            Values::Bytes { data, .. } => Some(data),
            other => unreachable!("bytes for {other:?}"),
        }
    }

    /// Ends the value whose bytes were written behind [`Self::begin_bytes`].
    pub(crate) fn end_bytes(&mut self) {
        if let Values::Bytes { ends, data } = &mut self.values {
            ends.push(i32::try_from(data.len()).expect("a decoder is drained long before 2 GiB"));
            self.validity.append_non_null();
        }
    }

    /// Ends a list; its elements so far are `elements`.
    pub(crate) fn end_list(&mut self, elements: usize) {
        match &mut self.values {
            Values::Skipped => return,
            Values::List { ends } => {
                ends.push(i32::try_from(elements).expect("a decoder is drained long before 2 GiB"))
            }
            other => unreachable!("a list for {other:?}"),
        }
        self.validity.append_non_null();
    }

    /// Ends a struct whose fields have been appended.
    pub(crate) fn end_struct(&mut self) {
        match &mut self.values {
            Values::Skipped => return,
            Values::Struct { length } => *length += 1,
            other => unreachable!("a struct for {other:?}"),
        }
        self.validity.append_non_null();
    }

    /// Takes the values out as an array of `data_type`; `children` are the finished elements or fields.
    pub(crate) fn finish(&mut self, data_type: &DataType, children: Vec<ArrayRef>) -> Result<ArrayRef> {
        let length = self.len();
        let nulls = self.validity.finish();
        Ok(match &mut self.values {
            Values::Skipped => return Err(Error::internal("a column that is not built was asked for")),
            Values::Boolean(values) => {
                let array = BooleanArray::new(BooleanBuffer::from(values.as_slice()), nulls);
                values.clear();
                Arc::new(array)
            }
            Values::Int16(values) => primitive::<arrow::datatypes::Int16Type>(values, nulls, data_type)?,
            Values::Int32(values) => primitive::<Int32Type>(values, nulls, data_type)?,
            Values::Int64(values) => primitive::<Int64Type>(values, nulls, data_type)?,
            Values::Float32(values) => primitive::<arrow::datatypes::Float32Type>(values, nulls, data_type)?,
            Values::Float64(values) => primitive::<arrow::datatypes::Float64Type>(values, nulls, data_type)?,
            Values::Decimal128(values) => {
                Arc::new(Decimal128Array::new(take(values).into(), nulls).with_data_type(data_type.clone()))
            }
            Values::Decimal256(values) => {
                Arc::new(Decimal256Array::new(take(values).into(), nulls).with_data_type(data_type.clone()))
            }
            Values::Bytes { ends, data } => {
                let offsets = offsets(ends);
                let data = Buffer::from_vec(take(data));
                match data_type {
                    DataType::Binary => Arc::new(BinaryArray::try_new(offsets, data, nulls)?),
                    DataType::LargeUtf8 => Arc::new(LargeStringArray::try_new(widened(&offsets), data, nulls)?),
                    DataType::LargeBinary => Arc::new(LargeBinaryArray::try_new(widened(&offsets), data, nulls)?),
                    DataType::Utf8View => Arc::new(StringViewArray::from(&StringArray::try_new(offsets, data, nulls)?)),
                    _ => Arc::new(StringArray::try_new(offsets, data, nulls)?),
                }
            }
            Values::Uuid(values) => {
                let mut bytes = MutableBuffer::with_capacity(values.len() * 16);
                values.iter().for_each(|value| bytes.extend_from_slice(value));
                values.clear();
                Arc::new(FixedSizeBinaryArray::try_new(16, bytes.into(), nulls)?)
            }
            Values::List { ends } => {
                let elements = children.into_iter().next().expect("a list has a column of elements");
                Arc::new(ListArray::try_new(child_fields(data_type)[0].clone(), offsets(ends), elements, nulls)?)
            }
            Values::Struct { length: structs } => {
                *structs = 0;
                let fields = child_fields(data_type).into();
                Arc::new(StructArray::try_new_with_length(fields, children, nulls, length)?)
            }
        })
    }
}

/// The fields below a nested type, none below others.
pub(crate) fn child_fields(data_type: &DataType) -> Vec<FieldRef> {
    match data_type {
        DataType::List(element) => vec![Arc::clone(element)],
        DataType::Struct(fields) => fields.iter().cloned().collect(),
        _ => Vec::new(),
    }
}

/// Takes the values and leaves room for as many again: batches of a stream have similar sizes.
fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    let capacity = values.len();
    std::mem::replace(values, Vec::with_capacity(capacity))
}

fn offsets(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let mut offsets = Vec::with_capacity(ends.len() + 1);
    offsets.push(0);
    offsets.append(ends);
    OffsetBuffer::new(ScalarBuffer::from(offsets))
}

fn widened(offsets: &OffsetBuffer<i32>) -> OffsetBuffer<i64> {
    OffsetBuffer::new(offsets.iter().map(|offset| i64::from(*offset)).collect())
}

/// An array of `data_type`, which has the same layout as `T`: dates and times are integers.
fn primitive<T: ArrowPrimitiveType>(
    values: &mut Vec<T::Native>,
    nulls: Option<NullBuffer>,
    data_type: &DataType,
) -> Result<ArrayRef> {
    let array = PrimitiveArray::<T>::try_new(take(values).into(), nulls)?;
    if array.data_type() == data_type {
        return Ok(Arc::new(array));
    }
    Ok(make_array(array.into_data().into_builder().data_type(data_type.clone()).build()?))
}
