//! Between values of catalog queries and Arrow: results go out, parameters and rows of users' relations come in.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_empty_array};
use arrow::datatypes::{DataType, Field, Fields, IntervalMonthDayNano, IntervalUnit, SchemaRef, TimeUnit, i256};
use bytes::BytesMut;
use datafusion::common::ScalarValue;
use millstream_planner::error::{PlanError, Result};
use millstream_planner::types::UUID;
use millstream_planner::values::{ColumnReader, Decimal, TextStyle, Value, input, put_text};

use super::Context;
use super::datum::Datum;
use super::plan::Tuple;
use super::text;
use super::types::{self, Family, Type};
use crate::wire::values::{ColumnType, Kind, TYPE_METADATA};

const DAY_MICROS: i64 = 86_400_000_000;

/// Digits of a numeric: as many as there can be.
pub(super) const NUMERIC_DIGITS: u8 = 76;

/// The column in which values of a type are handed out.
pub(in crate::pg_catalog) fn field(name: &str, ty: &Type) -> Field {
    let field = Field::new(name, data_type(ty), true);
    let element = match ty {
        Type::Array(element) => *element,
        other => other.oid(),
    };
    let named = match element {
        _ if matches!(ty, Type::Record(_)) => None,
        // Shown as what they print like.
        27 | 29 | 28 | 5069 => None,
        oid => Kind::of_oid(oid).map(|(kind, _)| kind.sql_name()),
    };
    match named {
        Some(named) => field.with_metadata(HashMap::from([(TYPE_METADATA.to_owned(), named.to_owned())])),
        None => field,
    }
}

fn data_type(ty: &Type) -> DataType {
    let list = |element: DataType| DataType::List(Arc::new(Field::new_list_field(element, true)));
    match ty {
        Type::Unknown => DataType::Utf8,
        Type::Array(2249) => list(DataType::Utf8),
        Type::Array(element) => list(data_type(&Type::Plain(*element))),
        Type::Record(fields) => {
            let fields: Fields = fields.iter().map(|(name, ty)| field(name, ty)).collect();
            DataType::Struct(fields)
        }
        registry if registry.is_registry() => DataType::Struct(registry_fields()),
        Type::Plain(oid) => match oid {
            16 => DataType::Boolean,
            21 => DataType::Int16,
            23 => DataType::Int32,
            20 | 26 | 28 | 29 | 5069 => DataType::Int64,
            700 => DataType::Float32,
            701 => DataType::Float64,
            1700 => DataType::Decimal256(NUMERIC_DIGITS, millstream_planner::types::NUMERIC_SCALE),
            2950 => UUID,
            17 => DataType::Binary,
            1082 => DataType::Date32,
            1083 => DataType::Time64(TimeUnit::Microsecond),
            1114 => DataType::Timestamp(TimeUnit::Microsecond, None),
            1184 => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            1186 => DataType::Interval(IntervalUnit::MonthDayNano),
            _ => DataType::Utf8,
        },
    }
}

/// The number goes out in binary, the name in text.
fn registry_fields() -> Fields {
    [Field::new("oid", DataType::Int64, true), Field::new("name", DataType::Utf8, true)].into_iter().collect()
}

/// The rows of a result.
pub(super) fn batch(
    schema: &SchemaRef,
    columns: &[(String, Type)],
    rows: &[Tuple],
    context: &Context,
) -> Result<RecordBatch> {
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(columns.len());
    for (at, (_, ty)) in columns.iter().enumerate() {
        if rows.is_empty() {
            arrays.push(new_empty_array(schema.field(at).data_type()));
            continue;
        }
        let values = rows.iter().map(|row| scalar(row.get(at).unwrap_or(&Datum::Null), ty, context));
        let values = values.collect::<Result<Vec<_>>>()?;
        arrays.push(ScalarValue::iter_to_array(values).map_err(|error| internal(&error))?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options).map_err(|error| internal(&error))
}

fn internal(error: &dyn std::fmt::Display) -> PlanError {
    PlanError::internal(format!("a result of the catalog does not fit its columns: {error}"))
}

fn scalar(datum: &Datum, ty: &Type, context: &Context) -> Result<ScalarValue> {
    let target = data_type(ty);
    let null = || ScalarValue::try_from(&target).map_err(|error| internal(&error));
    Ok(match (datum, &target) {
        (Datum::Null, _) => null()?,
        (Datum::Bool(value), DataType::Boolean) => ScalarValue::Boolean(Some(*value)),
        (Datum::Int(value), DataType::Int16) => ScalarValue::Int16(Some(fitting(*value, ty)?)),
        (Datum::Int(value), DataType::Int32) => ScalarValue::Int32(Some(fitting(*value, ty)?)),
        (Datum::Int(value), DataType::Int64) => ScalarValue::Int64(Some(*value)),
        (Datum::Float(value), DataType::Float32) => ScalarValue::Float32(Some(*value as f32)),
        (Datum::Int(value), DataType::Float32) => ScalarValue::Float32(Some(*value as f32)),
        (Datum::Float(value), DataType::Float64) => ScalarValue::Float64(Some(*value)),
        (Datum::Int(value), DataType::Float64) => ScalarValue::Float64(Some(*value as f64)),
        (Datum::Int(value), DataType::Decimal256(precision, scale)) => {
            numeric(&Decimal::from(*value), *precision, *scale)?
        }
        (Datum::Float(value), DataType::Decimal256(precision, scale)) => {
            // The digits that a float surely has.
            numeric(&Decimal::parse(&format!("{value:.15}"))?, *precision, *scale)?
        }
        (Datum::Numeric(value), DataType::Decimal256(precision, scale)) => numeric(value, *precision, *scale)?,
        (Datum::Numeric(value), DataType::Float32) => ScalarValue::Float32(Some(value.to_f64() as f32)),
        (Datum::Numeric(value), DataType::Float64) => ScalarValue::Float64(Some(value.to_f64())),
        (Datum::Text(text), DataType::FixedSizeBinary(16)) => {
            ScalarValue::FixedSizeBinary(16, Some(input::uuid(text)?.to_vec()))
        }
        (Datum::Bytes(bytes), DataType::Binary) => ScalarValue::Binary(Some(bytes.to_vec())),
        (Datum::Moment(micros), DataType::Date32) => ScalarValue::Date32(Some(day_of(*micros))),
        (Datum::Moment(micros), DataType::Time64(_)) => ScalarValue::Time64Microsecond(Some(*micros)),
        (Datum::Moment(micros), DataType::Timestamp(_, zone)) => {
            ScalarValue::TimestampMicrosecond(Some(*micros), zone.clone())
        }
        (Datum::Interval(months, days, micros), DataType::Interval(_)) => {
            let nanos = micros.saturating_mul(1_000);
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(*months, *days, nanos)))
        }
        (Datum::Array(items), DataType::List(element)) => {
            let element_type = ty.element().unwrap_or(types::TEXT);
            let items = items.iter().map(|item| scalar(item, &element_type, context)).collect::<Result<Vec<_>>>()?;
            ScalarValue::List(ScalarValue::new_list_nullable(&items, element.data_type()))
        }
        (Datum::Int(oid), DataType::Struct(fields)) => {
            let name = ScalarValue::Utf8(Some(text::output(datum, ty, context)));
            let columns = [ScalarValue::Int64(Some(*oid)).to_array(), name.to_array()].into_iter();
            let columns = columns.collect::<Result<Vec<_>, _>>().map_err(|error| internal(&error))?;
            let array = arrow::array::StructArray::try_new(fields.clone(), columns, None);
            ScalarValue::Struct(Arc::new(array.map_err(|error| internal(&error))?))
        }
        (Datum::Record(values), DataType::Struct(fields)) => {
            let columns = values
                .iter()
                .zip(text::record_fields(ty))
                .map(|(value, (_, ty))| scalar(value, ty, context)?.to_array().map_err(|error| internal(&error)));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let array = arrow::array::StructArray::try_new(fields.clone(), columns, None);
            ScalarValue::Struct(Arc::new(array.map_err(|error| internal(&error))?))
        }
        (other, DataType::Utf8) => ScalarValue::Utf8(Some(text::output(other, ty, context))),
        (other, target) => return Err(internal(&format!("{other:?} is no {target}"))),
    })
}

fn fitting<T: TryFrom<i64>>(value: i64, ty: &Type) -> Result<T> {
    T::try_from(value).map_err(|_| {
        let kind = millstream_planner::error::PlanErrorKind::NumericValueOutOfRange;
        PlanError::new(kind, format!("{} out of range", ty.sql_name()))
    })
}

/// A numeric to its last digit, or an error that says so.
fn numeric(value: &Decimal, precision: u8, scale: i8) -> Result<ScalarValue> {
    let unscaled = value.unscaled(precision, scale).ok_or_else(|| {
        let kind = millstream_planner::error::PlanErrorKind::NumericValueOutOfRange;
        let message =
            format!("a numeric has more than {scale} digits behind its point, or more than {precision} in all");
        PlanError::new(kind, message).with_hint(
            "In queries about the catalog there is one type for all numerics. Cast the column to text, or read it in a \
             query that asks nothing of the catalog.",
        )
    })?;
    Ok(ScalarValue::Decimal256(Some(unscaled), precision, scale))
}

/// The Arrow type under which a parameter is asked for.
pub(super) fn parameter_type(ty: &Type) -> DataType {
    match ty {
        Type::Record(_) => DataType::Utf8,
        registry if registry.is_registry() => DataType::Utf8,
        Type::Plain(1700) => {
            DataType::Decimal128(millstream_planner::types::NUMERIC_PRECISION, millstream_planner::types::NUMERIC_SCALE)
        }
        Type::Array(element) if Type::Plain(*element).is_registry() => {
            DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
        }
        ty => data_type(ty),
    }
}

/// The type that a client means by naming an Arrow type for a parameter.
pub(super) fn type_of(data_type: &DataType) -> Option<Type> {
    let column = ColumnType::of_type(data_type).ok()?;
    Type::of_oid(column.oid())
}

/// A value that came from outside, as one of a type.
pub(super) fn datum(value: &ScalarValue, ty: &Type, context: &Context) -> Result<Datum> {
    if value.is_null() {
        return Ok(Datum::Null);
    }
    let plain = plain_datum(value)?;
    Ok(match (&plain, ty.family()) {
        (Datum::Text(text), family) if !matches!(family, Family::Text | Family::Unknown) => {
            text::input(text, ty, context)?
        }
        (Datum::Array(items), Family::Array) => {
            let element = ty.element().unwrap_or(types::TEXT);
            let items = items.iter().map(|item| match item {
                Datum::Text(text) if element.family() != Family::Text => text::input(text, &element, context),
                other => Ok(other.clone()),
            });
            Datum::Array(items.collect::<Result<_>>()?)
        }
        (Datum::Int(_) | Datum::Bool(_) | Datum::Float(_) | Datum::Numeric(_), Family::Text) => {
            let from = type_of(&value.data_type()).unwrap_or(types::TEXT);
            Datum::text(text::output(&plain, &from, context))
        }
        _ => plain,
    })
}

fn plain_datum(value: &ScalarValue) -> Result<Datum> {
    if value.is_null() {
        return Ok(Datum::Null);
    }
    Ok(match value {
        ScalarValue::Boolean(Some(value)) => Datum::Bool(*value),
        ScalarValue::Int16(Some(value)) => Datum::Int(i64::from(*value)),
        ScalarValue::Int32(Some(value)) => Datum::Int(i64::from(*value)),
        ScalarValue::Int64(Some(value)) => Datum::Int(*value),
        ScalarValue::Float32(Some(value)) => Datum::Float(f64::from(*value)),
        ScalarValue::Float64(Some(value)) => Datum::Float(*value),
        ScalarValue::Decimal128(Some(value), _, scale) => {
            Datum::Numeric(Arc::new(Decimal::new(i256::from_i128(*value), *scale)))
        }
        ScalarValue::Decimal256(Some(value), _, scale) => Datum::Numeric(Arc::new(Decimal::new(*value, *scale))),
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => {
            Datum::text(text.as_str())
        }
        ScalarValue::LargeBinary(Some(bytes)) => Datum::text(String::from_utf8_lossy(bytes)),
        ScalarValue::Binary(Some(bytes)) => Datum::Bytes(bytes.as_slice().into()),
        ScalarValue::FixedSizeBinary(16, Some(bytes)) => {
            let bytes: [u8; 16] = bytes.as_slice().try_into().map_err(|_| internal(&"a uuid has 16 bytes"))?;
            let mut text = BytesMut::new();
            put_text(&mut text, &Value::Uuid(bytes), TextStyle::default());
            Datum::text(String::from_utf8_lossy(&text))
        }
        ScalarValue::Date32(Some(days)) => Datum::Moment(midnight(*days)),
        ScalarValue::Time64Microsecond(Some(micros)) => Datum::Moment(*micros),
        ScalarValue::TimestampMicrosecond(Some(micros), _) => Datum::Moment(*micros),
        ScalarValue::IntervalMonthDayNano(Some(parts)) => {
            Datum::Interval(parts.months, parts.days, parts.nanoseconds / 1_000)
        }
        ScalarValue::List(list) => {
            let items = list.value(0);
            let values = (0..items.len()).map(|at| {
                let item = ScalarValue::try_from_array(&items, at).map_err(|error| internal(&error))?;
                plain_datum(&item)
            });
            Datum::Array(values.collect::<Result<_>>()?)
        }
        // Records and maps are looked at as a whole only.
        other => {
            let array = other.to_array().map_err(|error| internal(&error))?;
            let reader = ColumnReader::new(&array, &ColumnType::of_type(array.data_type())?)?;
            let mut text = BytesMut::new();
            if let Some(value) = reader.get(0) {
                put_text(&mut text, &value, TextStyle::default());
            }
            Datum::text(String::from_utf8_lossy(&text))
        }
    })
}

/// The midnight of a day in microseconds since 1970, of the infinite ones their infinity.
fn midnight(days: i32) -> i64 {
    match days {
        i32::MIN => i64::MIN,
        i32::MAX => i64::MAX,
        days => i64::from(days) * DAY_MICROS,
    }
}

/// The day of a moment, which is [`midnight`]'s.
pub(super) fn day_of(micros: i64) -> i32 {
    match micros {
        i64::MIN => i32::MIN,
        i64::MAX => i32::MAX,
        micros => i32::try_from(micros.div_euclid(DAY_MICROS)).unwrap_or(i32::MAX),
    }
}

/// Rows of a user's relation.
pub(super) fn tuples(batches: &[RecordBatch]) -> Result<Vec<Tuple>> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter().map(|column| {
                let value = ScalarValue::try_from_array(column, row).map_err(|error| internal(&error))?;
                plain_datum(&value)
            });
            rows.push(values.collect::<Result<Tuple>>()?);
        }
    }
    Ok(rows)
}
