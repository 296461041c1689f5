//! Parameters: from the client's type and format to a value of the planned type.

use bytes::Bytes;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit, i256};
use datafusion::common::ScalarValue;
use millstream_planner::values::Decimal;

use super::parse_binary::{self, BinaryArray};
use super::parse_text::{self, ArrayItem};
use super::{ColumnType, DisplaySettings, Kind, TextStyle, numeric};
use crate::session::SqlError;
use crate::wire::errors;

/// OIDs by which clients say that they leave the type open: none, and `unknown`.
const OPEN_OIDS: [u32; 2] = [0, 705];

/// Whether a client that names this OID has named a type.
pub fn is_known(oid: u32) -> bool {
    !OPEN_OIDS.contains(&oid) && Kind::of_oid(oid).is_some()
}

/// The Arrow type that a client means by an OID; `None` leaves it to the planner, which alone knows the
/// precision and scale of a numeric. An error for types that are not known.
pub fn type_of_oid(oid: u32) -> Result<Option<DataType>, SqlError> {
    if OPEN_OIDS.contains(&oid) {
        return Ok(None);
    }
    let (kind, array) = Kind::of_oid(oid).ok_or_else(|| errors::unknown_type(oid))?;
    let Some(element) = plain_type(kind) else {
        return match kind {
            Kind::Numeric => Ok(None),
            _ => Err(errors::unsupported(
                format!("parameters of type {} are not supported", kind.sql_name()),
                "Pass the value as text and cast it.",
            )),
        };
    };
    Ok(Some(if array { DataType::List(Field::new_list_field(element, true).into()) } else { element }))
}

/// The Arrow type of a parameter of a kind; `None` where it needs more than the kind.
fn plain_type(kind: Kind) -> Option<DataType> {
    Some(match kind {
        Kind::Bool => DataType::Boolean,
        Kind::Int2 => DataType::Int16,
        Kind::Int4 => DataType::Int32,
        Kind::Int8 | Kind::Oid | Kind::Regproc => DataType::Int64,
        Kind::Float4 => DataType::Float32,
        Kind::Float8 => DataType::Float64,
        Kind::Text
        | Kind::Varchar
        | Kind::Bpchar
        | Kind::Name
        | Kind::Char
        | Kind::Json
        | Kind::Jsonb
        | Kind::Regclass
        | Kind::Regtype
        | Kind::Int2Vector
        | Kind::OidVector
        | Kind::NodeTree => DataType::Utf8,
        Kind::Bytea => DataType::Binary,
        Kind::Date => DataType::Date32,
        Kind::Time => DataType::Time64(TimeUnit::Microsecond),
        Kind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        Kind::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Kind::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
        Kind::Uuid => DataType::FixedSizeBinary(16),
        Kind::Numeric | Kind::Record | Kind::Array => return None,
    })
}

/// A parameter's value. `oid` is its type as ParameterDescription said, `target` what the planner expects,
/// `format` 0 for text and 1 for binary.
pub fn decode(
    bytes: Option<&Bytes>,
    format: i16,
    oid: u32,
    target: &DataType,
    display: &DisplaySettings,
) -> Result<ScalarValue, SqlError> {
    let Some(bytes) = bytes else { return null(target) };
    let (kind, array) = Kind::of_oid(oid).ok_or_else(|| errors::unknown_type(oid))?;
    let reader = Reader { kind, style: display.style };
    let value = match (array, format) {
        (false, 0) => reader.text(parse_text::utf8(bytes)?, target)?,
        (false, _) => reader.binary(bytes, target)?,
        (true, 0) => reader.array(&parse_text::array(parse_text::utf8(bytes)?)?, target)?,
        (true, _) => reader.binary_array(&parse_binary::array(bytes)?, target)?,
    };
    if &value.data_type() == target {
        return Ok(value);
    }
    value.cast_to(target).map_err(|_| {
        let wanted = ColumnType::of_type(target).map_or_else(|_| target.to_string(), |column| column.sql_name());
        errors::out_of_range(format!("a parameter of type {} does not fit {wanted}", kind.sql_name()))
    })
}

fn null(target: &DataType) -> Result<ScalarValue, SqlError> {
    ScalarValue::try_from(target).map_err(|error| errors::internal(format!("no NULL of type {target}: {error}")))
}

/// Reads single values of one type.
struct Reader {
    kind: Kind,
    style: TextStyle,
}

impl Reader {
    fn text(&self, text: &str, target: &DataType) -> Result<ScalarValue, SqlError> {
        match self.kind {
            Kind::Numeric => numeric_value(&Decimal::parse(text)?, target),
            Kind::Uuid => uuid(parse_text::uuid(text)?, target),
            kind => parse_text::scalar(kind, text, self.style),
        }
    }

    fn binary(&self, bytes: &[u8], target: &DataType) -> Result<ScalarValue, SqlError> {
        match self.kind {
            Kind::Numeric => numeric_value(&numeric::parse_binary(bytes)?, target),
            Kind::Uuid => uuid(parse_binary::exact(bytes, Kind::Uuid)?, target),
            kind => parse_binary::scalar(kind, bytes),
        }
    }

    fn array(&self, items: &[ArrayItem], target: &DataType) -> Result<ScalarValue, SqlError> {
        let element = element_type(target, self.kind);
        let values = items.iter().map(|item| match item {
            ArrayItem::Null => null(&element),
            ArrayItem::Text(text) => self.text(text, &element),
            ArrayItem::Array(inner) => self.array(inner, &element),
        });
        list(values.collect::<Result<_, _>>()?, &element)
    }

    fn binary_array(&self, array: &BinaryArray, target: &DataType) -> Result<ScalarValue, SqlError> {
        if array.element_oid != self.kind.oid() {
            let message = format!("wrong element type: {} instead of {}", array.element_oid, self.kind.oid());
            return Err(errors::invalid_binary(message));
        }
        self.dimension(&array.lengths, &array.elements, target)
    }

    /// Builds one dimension; `elements` are those within it, in row-major order.
    fn dimension(
        &self,
        lengths: &[usize],
        elements: &[Option<Bytes>],
        target: &DataType,
    ) -> Result<ScalarValue, SqlError> {
        let element = element_type(target, self.kind);
        let values: Vec<ScalarValue> = match lengths {
            [] | [_] => {
                let values = elements.iter().map(|bytes| match bytes {
                    None => null(&element),
                    Some(bytes) => self.binary(bytes, &element),
                });
                values.collect::<Result<_, _>>()?
            }
            [length, inner @ ..] => {
                let size = elements.len() / (*length).max(1);
                let values = elements.chunks(size.max(1)).map(|part| self.dimension(inner, part, &element));
                values.collect::<Result<_, _>>()?
            }
        };
        list(values, &element)
    }
}

fn element_type(target: &DataType, kind: Kind) -> DataType {
    match target {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            field.data_type().clone()
        }
        _ => plain_type(kind).unwrap_or(DataType::Utf8),
    }
}

fn list(values: Vec<ScalarValue>, element: &DataType) -> Result<ScalarValue, SqlError> {
    let cast = |value: ScalarValue| match &value.data_type() == element {
        true => Ok(value),
        false => value
            .cast_to(element)
            .map_err(|_| errors::malformed("malformed array literal", "An element does not fit the array's type.")),
    };
    let values = values.into_iter().map(cast).collect::<Result<Vec<_>, _>>()?;
    Ok(ScalarValue::List(ScalarValue::new_list_nullable(&values, element)))
}

/// A numeric in the planned precision and scale; where no numeric is planned, as its text would be read.
fn numeric_value(decimal: &Decimal, target: &DataType) -> Result<ScalarValue, SqlError> {
    match target {
        DataType::Decimal128(precision, scale) => {
            let unscaled = numeric::unscaled(decimal, *precision, *scale)?;
            let unscaled = unscaled.to_i128().expect("at most 38 digits fit 128 bits");
            Ok(ScalarValue::Decimal128(Some(unscaled), *precision, *scale))
        }
        DataType::Decimal256(precision, scale) => {
            let unscaled: i256 = numeric::unscaled(decimal, *precision, *scale)?;
            Ok(ScalarValue::Decimal256(Some(unscaled), *precision, *scale))
        }
        _ => {
            let mut text = bytes::BytesMut::new();
            decimal.put_text(&mut text);
            let kind = ColumnType::of_type(target)?.kind();
            parse_text::scalar(kind, parse_text::utf8(&text)?, TextStyle::default())
        }
    }
}

/// A uuid as bytes, or as text where text is planned.
fn uuid(bytes: [u8; 16], target: &DataType) -> Result<ScalarValue, SqlError> {
    Ok(match target {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            ScalarValue::Utf8(Some(uuid::Uuid::from_bytes(bytes).to_string()))
        }
        _ => ScalarValue::FixedSizeBinary(16, Some(bytes.to_vec())),
    })
}
