//! Parameters: from the client's type and format to a value of the planned type.

use bytes::Bytes;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, i256};
use bytes::BytesMut;
use datafusion::common::ScalarValue;
use datafusion::common::scalar::ScalarStructBuilder;
use millstream_planner::values::input::{self, ArrayItem};
use millstream_planner::values::{ColumnReader, Decimal, put_text};

use super::parse_binary::{self, BinaryArray};
use super::{ColumnType, DisplaySettings, Kind, TextStyle, numeric, utf8};
use crate::session::SqlError;
use crate::wire::errors;

/// OIDs by which clients say that they leave the type open: none, and `unknown`.
const OPEN_OIDS: [u32; 2] = [0, 705];

/// Whether a client that names this OID has named a type.
pub fn is_known(oid: u32) -> bool {
    !OPEN_OIDS.contains(&oid) && Kind::of_oid(oid).is_some()
}

/// The Arrow type that a client means by an OID; `None` leaves it to the planner, which alone knows the
/// precision and scale of a numeric and the fields of a record. An error for types that are not known.
pub fn type_of_oid(oid: u32) -> Result<Option<DataType>, SqlError> {
    if OPEN_OIDS.contains(&oid) {
        return Ok(None);
    }
    let (kind, array) = Kind::of_oid(oid).ok_or_else(|| errors::unknown_type(oid))?;
    let Some(element) = kind.arrow_type() else {
        return match kind {
            Kind::Numeric | Kind::Record => Ok(None),
            _ => Err(errors::unsupported(
                format!("parameters of type {} are not supported", kind.sql_name()),
                "Pass the value as text and cast it.",
            )),
        };
    };
    Ok(Some(if array { DataType::List(Field::new_list_field(element, true).into()) } else { element }))
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
    let reader = Reader { kind, display };
    let value = match (array, format) {
        (false, 0) => reader.text(utf8(bytes)?, target)?,
        (false, _) => reader.binary(bytes, target)?,
        (true, 0) => reader.array(&input::array(utf8(bytes)?)?, target)?,
        (true, _) => reader.binary_array(&parse_binary::array(bytes)?, target)?,
    };
    brought_to(value, target, display.style)?.ok_or_else(|| {
        let wanted = ColumnType::of_type(target).map_or_else(|_| target.to_string(), |column| column.sql_name());
        errors::out_of_range(format!("a parameter of type {} does not fit {wanted}", kind.sql_name()))
    })
}

/// The value in the planned type, text read and written as everywhere; `None` where it does not fit.
fn brought_to(value: ScalarValue, target: &DataType, style: TextStyle) -> Result<Option<ScalarValue>, SqlError> {
    if &value.data_type() == target {
        return Ok(Some(value));
    }
    match (&value, target) {
        (ScalarValue::Utf8(Some(text)), target) if input::can_read(target) => {
            Ok(Some(input::read(text, target, style)?))
        }
        (value, DataType::Utf8) => {
            let column = ColumnType::of_type(&value.data_type())?;
            let array = value.to_array().map_err(|error| errors::internal(error.to_string()))?;
            let reader = ColumnReader::new(&array, &column)?;
            let mut text = BytesMut::new();
            reader.get(0).iter().for_each(|value| put_text(&mut text, value, style));
            Ok(Some(ScalarValue::Utf8(Some(utf8(&text)?.to_owned()))))
        }
        (value, target) => Ok(value.cast_to(target).ok()),
    }
}

fn null(target: &DataType) -> Result<ScalarValue, SqlError> {
    ScalarValue::try_from(target).map_err(|error| errors::internal(format!("no NULL of type {target}: {error}")))
}

/// Reads single values of one type.
struct Reader<'a> {
    kind: Kind,
    display: &'a DisplaySettings,
}

impl Reader<'_> {
    fn text(&self, text: &str, target: &DataType) -> Result<ScalarValue, SqlError> {
        match (self.kind, target) {
            (Kind::Numeric, target) => numeric_value(&Decimal::parse(text)?, target),
            (Kind::Record, DataType::Struct(_)) => Ok(input::read(text, target, self.display.style)?),
            // OIDs have no sign.
            (Kind::Oid, _) => {
                let number: Result<u32, _> = text.trim_ascii().parse();
                let number = number.map_err(|_| errors::invalid_text("oid", text))?;
                Ok(ScalarValue::Int64(Some(i64::from(number))))
            }
            (kind, _) => match kind.arrow_type() {
                Some(own) => Ok(input::read(text, &own, self.display.style)?),
                None => Err(self.unsupported()),
            },
        }
    }

    fn binary(&self, bytes: &Bytes, target: &DataType) -> Result<ScalarValue, SqlError> {
        match (self.kind, target) {
            (Kind::Numeric, target) => numeric_value(&numeric::parse_binary(bytes)?, target),
            (Kind::Record, DataType::Struct(fields)) => self.record(&parse_binary::record(bytes)?, fields),
            (Kind::Record | Kind::Array, _) => Err(self.unsupported()),
            (kind, _) => parse_binary::scalar(kind, bytes),
        }
    }

    fn unsupported(&self) -> SqlError {
        if self.kind == Kind::Record {
            return errors::unsupported(
                "input of anonymous composite types is not implemented",
                "Cast the parameter to STRUCT<name type, ...>, or assign it to a column of such a type.",
            );
        }
        errors::unsupported(
            format!("parameters of type {} are not supported here", self.kind.sql_name()),
            "Pass the value as text and cast it.",
        )
    }

    fn record(&self, values: &[(u32, Option<Bytes>)], fields: &Fields) -> Result<ScalarValue, SqlError> {
        if values.len() != fields.len() {
            let message = format!("wrong number of columns: {}, expected {}", values.len(), fields.len());
            return Err(errors::datatype_mismatch(message));
        }
        let mut record = ScalarStructBuilder::new();
        for (number, ((oid, bytes), field)) in values.iter().zip(fields).enumerate() {
            let expected = ColumnType::of_field(field)?;
            if !sends(*oid, &expected) {
                let (found, wanted) = (name_of(*oid), expected.oid());
                let message = format!(
                    "binary data has type {oid} ({found}) instead of expected {wanted} ({}) in record column {}",
                    expected.sql_name(),
                    number + 1
                );
                return Err(errors::datatype_mismatch(message));
            }
            let value = decode(bytes.as_ref(), 1, *oid, field.data_type(), self.display)?;
            record = record.with_scalar(FieldRef::clone(field), value);
        }
        record.build().map_err(|error| errors::internal(error.to_string()))
    }

    fn array(&self, items: &[ArrayItem], target: &DataType) -> Result<ScalarValue, SqlError> {
        let element = element_type(target, self.kind);
        let values = items.iter().map(|item| match item {
            ArrayItem::Null => null(&element),
            ArrayItem::Text(text) => self.text(text, &element),
            ArrayItem::Array(inner) => self.array(inner, &element),
        });
        self.list(values.collect::<Result<_, _>>()?, &element)
    }

    fn binary_array(&self, array: &BinaryArray, target: &DataType) -> Result<ScalarValue, SqlError> {
        // Where nothing named the type it is text here, and varchar to a client that reads the cast.
        let is_text =
            |oid| matches!(Kind::of_oid(oid), Some((Kind::Text | Kind::Varchar | Kind::Bpchar | Kind::Name, false)));
        let alike = is_text(array.element_oid) && is_text(self.kind.oid());
        if array.element_oid != self.kind.oid() && !alike {
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
        self.list(values, &element)
    }

    fn list(&self, values: Vec<ScalarValue>, element: &DataType) -> Result<ScalarValue, SqlError> {
        let misfit = |detail| errors::malformed("malformed array literal", detail);
        let fitting = |value: ScalarValue| {
            // An array where an element is expected would become its text.
            if matches!(value, ScalarValue::List(_)) && !matches!(element, DataType::List(_)) {
                return Err(misfit("The array has another number of dimensions than its type."));
            }
            let fitted = brought_to(value, element, self.display.style)?;
            fitted.ok_or_else(|| misfit("An element does not fit the array's type."))
        };
        let values = values.into_iter().map(fitting).collect::<Result<Vec<_>, _>>()?;
        Ok(ScalarValue::List(ScalarValue::new_list_nullable(&values, element)))
    }
}

/// Whether values that a client sends under an OID are those of a record's field. Texts are, whatever they are called:
/// a field does not keep which of their types it was declared as.
fn sends(oid: u32, field: &ColumnType) -> bool {
    let text = |oid| match Kind::of_oid(oid) {
        Some((Kind::Text | Kind::Varchar | Kind::Bpchar | Kind::Name, is_array)) => Some(is_array),
        _ => None,
    };
    oid == field.oid() || (text(oid).is_some() && text(oid) == text(field.oid()))
}

/// The name of a type that a client has named.
fn name_of(oid: u32) -> String {
    match Kind::of_oid(oid) {
        Some((kind, false)) => kind.sql_name().to_owned(),
        Some((kind, true)) => format!("{}[]", kind.sql_name()),
        None => "???".to_owned(),
    }
}

fn element_type(target: &DataType, kind: Kind) -> DataType {
    match target {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            field.data_type().clone()
        }
        _ => kind.arrow_type().unwrap_or(DataType::Utf8),
    }
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
            let mut text = BytesMut::new();
            decimal.put_text(&mut text);
            Ok(input::read(utf8(&text)?, target, TextStyle::default())?)
        }
    }
}
