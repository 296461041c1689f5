//! One value of a column, as Postgres would hold it: what the formats are written from.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array,
    Decimal256Array, DurationMicrosecondArray, FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array,
    Int32Array, Int64Array, IntervalMonthDayNanoArray, LargeBinaryArray, LargeStringArray, ListArray, MapArray,
    StringArray, StringViewArray, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, DurationMicrosecondType, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType, i256,
};

use super::column_type::{ColumnType, Kind};
use super::shown::Digits;
use crate::error::{PlanError, Result};

/// One value that is not NULL.
#[derive(Debug)]
pub enum Value<'a> {
    /// `boolean`
    Bool(bool),
    /// `smallint`
    Int2(i16),
    /// `integer`
    Int4(i32),
    /// `bigint`
    Int8(i64),
    /// `oid`
    Oid(u32),
    /// An OID that is shown by name.
    Registry(u32, &'a str),
    /// `real`
    Float4(f32),
    /// `double precision`
    Float8(f64),
    /// Digits, how many of them stand behind the point, and how many are shown there at least.
    Numeric(i256, i8, u8),
    /// `text` and its relatives.
    Text(&'a str),
    /// JSON as it was written.
    Json(&'a str),
    /// Text with a version byte before its binary form.
    Jsonb(&'a str),
    /// `bytea`
    Bytes(&'a [u8]),
    /// `uuid`
    Uuid([u8; 16]),
    /// Days since 1970; the extremes of i32 are the infinities.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    /// Microseconds since 1970 on a clock without zone; the extremes of i64 are the infinities.
    Timestamp(i64),
    /// Microseconds since 1970 UTC; the extremes of i64 are the infinities.
    Timestamptz(i64),
    /// `interval`: its three parts are counted apart.
    Interval {
        /// Months.
        months: i32,
        /// Days.
        days: i32,
        /// Microseconds.
        micros: i64,
    },
    /// An array of any depth.
    Array(Box<Elements>),
    /// Fields in order, NULL where there is none.
    Record(&'a [RecordField], usize),
    /// A map, shown as JSON.
    Map(Box<Entries>),
}

/// Keys and values of a map.
#[derive(Debug)]
pub struct Entries {
    /// The keys.
    pub keys: Elements,
    /// The values, in the order of the keys.
    pub values: Elements,
}

/// The values of an array.
#[derive(Debug)]
pub struct Elements {
    /// Reads them.
    pub reader: ColumnReader,
    /// How many there are.
    pub length: usize,
    /// Their type.
    pub column: ColumnType,
}

/// A field of a record.
#[derive(Debug)]
pub struct RecordField {
    /// Its name.
    pub name: String,
    /// The OID of its type.
    pub oid: u32,
    /// Reads it.
    pub reader: ColumnReader,
}

/// Reads the values of one array.
#[derive(Debug)]
pub struct ColumnReader {
    nulls: Option<arrow::buffer::NullBuffer>,
    source: Source,
}

/// Arrays are cheap to clone: buffers are shared.
#[derive(Debug)]
enum Source {
    Null,
    Bool(BooleanArray),
    Int2(Int16Array),
    Int4(Int32Array),
    Int8(Int64Array),
    Oid(Int64Array),
    Registry(Int64Array, StringArray),
    Float4(Float32Array),
    Float8(Float64Array),
    Decimal128(Decimal128Array, i8, Digits),
    Decimal256(Decimal256Array, i8, Digits),
    Text(Strings, bool),
    Binary(BinaryArray),
    Json(LargeBinaryArray),
    BinaryView(BinaryViewArray),
    FixedSizeBinary(FixedSizeBinaryArray),
    Uuid(FixedSizeBinaryArray),
    Date(Date32Array),
    Time(Time64MicrosecondArray),
    Timestamp(TimestampMicrosecondArray),
    Timestamptz(TimestampMicrosecondArray),
    Interval(IntervalMonthDayNanoArray),
    Duration(DurationMicrosecondArray),
    List(ListArray, ColumnType),
    Struct(Vec<RecordField>),
    Map(MapArray, ColumnType, ColumnType),
}

#[derive(Debug)]
enum Strings {
    Utf8(StringArray),
    LargeUtf8(LargeStringArray),
    Utf8View(StringViewArray),
}

impl ColumnReader {
    /// Reads `array`, which is of the column's storage type.
    pub fn new(array: &ArrayRef, column: &ColumnType) -> Result<Self> {
        let kind = column.kind();
        let jsonb = kind == Kind::Jsonb;
        let source = match array.data_type() {
            DataType::Null => Source::Null,
            DataType::Boolean => Source::Bool(array.as_boolean().clone()),
            DataType::Int16 => Source::Int2(array.as_primitive::<Int16Type>().clone()),
            DataType::Int32 => Source::Int4(array.as_primitive::<Int32Type>().clone()),
            DataType::Int64 if kind == Kind::Oid => Source::Oid(array.as_primitive::<Int64Type>().clone()),
            DataType::Int64 => Source::Int8(array.as_primitive::<Int64Type>().clone()),
            DataType::Float32 => Source::Float4(array.as_primitive::<Float32Type>().clone()),
            DataType::Float64 => Source::Float8(array.as_primitive::<Float64Type>().clone()),
            DataType::Decimal128(_, scale) => {
                Source::Decimal128(array.as_primitive::<Decimal128Type>().clone(), *scale, column.digits())
            }
            DataType::Decimal256(_, scale) => {
                Source::Decimal256(array.as_primitive::<Decimal256Type>().clone(), *scale, column.digits())
            }
            DataType::Utf8 => Source::Text(Strings::Utf8(array.as_string().clone()), jsonb),
            DataType::LargeUtf8 => Source::Text(Strings::LargeUtf8(array.as_string().clone()), jsonb),
            DataType::Utf8View if column.width() > 0 => {
                Source::Text(Strings::Utf8(with_blanks(array.as_string_view(), column.width())), false)
            }
            DataType::Utf8View => Source::Text(Strings::Utf8View(array.as_string_view().clone()), jsonb),
            DataType::Binary => Source::Binary(array.as_binary().clone()),
            DataType::LargeBinary => Source::Json(array.as_binary().clone()),
            DataType::BinaryView => Source::BinaryView(array.as_binary_view().clone()),
            DataType::FixedSizeBinary(16) if kind == Kind::Uuid => Source::Uuid(array.as_fixed_size_binary().clone()),
            DataType::FixedSizeBinary(_) => Source::FixedSizeBinary(array.as_fixed_size_binary().clone()),
            DataType::Date32 => Source::Date(array.as_primitive::<Date32Type>().clone()),
            DataType::Time64(_) => Source::Time(array.as_primitive::<Time64MicrosecondType>().clone()),
            DataType::Timestamp(_, None) => Source::Timestamp(array.as_primitive::<TimestampMicrosecondType>().clone()),
            DataType::Timestamp(_, Some(_)) => {
                Source::Timestamptz(array.as_primitive::<TimestampMicrosecondType>().clone())
            }
            DataType::Interval(_) => Source::Interval(array.as_primitive::<IntervalMonthDayNanoType>().clone()),
            DataType::Duration(_) => Source::Duration(array.as_primitive::<DurationMicrosecondType>().clone()),
            DataType::List(_) => Source::List(array.as_list().clone(), column.children()[0].clone()),
            DataType::Struct(_) if kind.is_registry() => {
                let fields = array.as_struct();
                let (oids, names) = (fields.column(0), fields.column(1));
                Source::Registry(oids.as_primitive::<Int64Type>().clone(), names.as_string().clone())
            }
            DataType::Struct(_) => Source::Struct(fields(array.as_struct(), column)?),
            DataType::Map(..) => {
                let [key, value] = column.children() else {
                    return Err(PlanError::internal("the entries of a map have no key and value"));
                };
                Source::Map(array.as_map().clone(), key.clone(), value.clone())
            }
            other => return Err(PlanError::internal(format!("{other} is not a storage type"))),
        };
        Ok(Self { nulls: array.logical_nulls(), source })
    }

    /// The value of a row; `None` is NULL.
    pub fn get(&self, row: usize) -> Option<Value<'_>> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return None;
        }
        Some(match &self.source {
            Source::Null => return None,
            Source::Bool(array) => Value::Bool(array.value(row)),
            Source::Int2(array) => Value::Int2(array.value(row)),
            Source::Int4(array) => Value::Int4(array.value(row)),
            Source::Int8(array) => Value::Int8(array.value(row)),
            // OIDs are 32 bits wide by construction of the catalog.
            Source::Oid(array) => Value::Oid(array.value(row) as u32),
            Source::Registry(oids, names) => Value::Registry(oids.value(row) as u32, names.value(row)),
            Source::Float4(array) => Value::Float4(array.value(row)),
            Source::Float8(array) => Value::Float8(array.value(row)),
            Source::Decimal128(array, scale, digits) => {
                let unscaled = i256::from_i128(array.value(row));
                Value::Numeric(unscaled, *scale, digits.of_value(unscaled, *scale))
            }
            Source::Decimal256(array, scale, digits) => {
                Value::Numeric(array.value(row), *scale, digits.of_value(array.value(row), *scale))
            }
            Source::Text(strings, false) => Value::Text(strings.get(row)),
            Source::Text(strings, true) => Value::Jsonb(strings.get(row)),
            Source::Binary(array) => Value::Bytes(array.value(row)),
            // What is no JSON was refused when it came in, what is no text with it.
            Source::Json(array) => Value::Json(std::str::from_utf8(array.value(row)).unwrap_or_default()),
            Source::BinaryView(array) => Value::Bytes(array.value(row)),
            Source::FixedSizeBinary(array) => Value::Bytes(array.value(row)),
            Source::Uuid(array) => Value::Uuid(array.value(row).try_into().expect("the array is 16 bytes wide")),
            Source::Date(array) => Value::Date(array.value(row)),
            Source::Time(array) => Value::Time(array.value(row)),
            Source::Timestamp(array) => Value::Timestamp(array.value(row)),
            Source::Timestamptz(array) => Value::Timestamptz(array.value(row)),
            Source::Interval(array) => {
                let value = array.value(row);
                Value::Interval { months: value.months, days: value.days, micros: value.nanoseconds / 1_000 }
            }
            Source::Duration(array) => Value::Interval { months: 0, days: 0, micros: array.value(row) },
            Source::List(array, column) => Value::Array(Box::new(Elements::new(array.value(row), column))),
            Source::Struct(fields) => Value::Record(fields, row),
            Source::Map(array, key, value) => {
                let entries = array.value(row);
                Value::Map(Box::new(Entries {
                    keys: Elements::new(ArrayRef::clone(entries.column(0)), key),
                    values: Elements::new(ArrayRef::clone(entries.column(1)), value),
                }))
            }
        })
    }
}

impl Elements {
    fn new(array: ArrayRef, column: &ColumnType) -> Self {
        let reader = ColumnReader::new(&array, column).expect("the storage type was checked with its parent");
        Self { reader, length: array.len(), column: column.clone() }
    }

    /// The values in order, `None` for NULL.
    pub fn iter(&self) -> impl Iterator<Item = Option<Value<'_>>> {
        (0..self.length).map(|row| self.reader.get(row))
    }
}

impl Strings {
    fn get(&self, row: usize) -> &str {
        match self {
            Self::Utf8(array) => array.value(row),
            Self::LargeUtf8(array) => array.value(row),
            Self::Utf8View(array) => array.value(row),
        }
    }
}

/// The values of a `char(n)` as they are shown.
fn with_blanks(array: &StringViewArray, width: usize) -> StringArray {
    array.iter().map(|text| text.map(|text| format!("{text:<width$}"))).collect()
}

fn fields(array: &StructArray, column: &ColumnType) -> Result<Vec<RecordField>> {
    let columns = array.columns().iter().zip(column.children());
    let fields = array.fields().iter().zip(columns).map(|(field, (array, column))| {
        let reader = ColumnReader::new(array, column)?;
        Ok(RecordField { name: field.name().clone(), oid: column.oid(), reader })
    });
    fields.collect()
}
