//! A declared column as a decoder sees it: what values it takes, its name in messages, and where they go.

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use millstream_runtime::{Error, Result, jsonb};

use super::column::{Column, Values};
use super::fault::Fault;
use super::json::object::ObjectReader;
use super::text;

/// What values a column takes.
#[derive(Debug)]
pub(crate) enum Kind {
    /// BOOLEAN
    Boolean,
    /// SMALLINT, INTEGER, BIGINT: the lowest and the highest value.
    Integer { lowest: i64, highest: i64 },
    /// REAL
    Real,
    /// DOUBLE PRECISION
    Double,
    /// NUMERIC
    Decimal { precision: u8, scale: i8 },
    /// VARCHAR
    Text,
    /// JSONB and JSON: any JSON value, as canonical text or as it was written
    Json { canonical: bool },
    /// BYTEA
    Bytes,
    /// UUID
    Uuid,
    /// DATE
    Date,
    /// TIME
    Time,
    /// TIMESTAMP and TIMESTAMPTZ
    Timestamp { zoned: bool },
    /// An array with its elements
    List(Box<Node>),
    /// A struct with its fields
    Struct(Box<ObjectReader>),
}

/// A column, an element of arrays or a field of structs.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its name as declared.
    pub(crate) name: String,
    /// Its type as SQL writes it.
    pub(crate) sql_type: String,
    /// Whether NULL is a value of it.
    pub(crate) nullable: bool,
    /// What values it takes.
    pub(crate) kind: Kind,
    /// Where they go.
    pub(crate) column: Column,
    data_type: DataType,
}

impl Node {
    /// The node of `field`; with `build` unset its values are checked and dropped.
    pub(crate) fn new(field: &Field, build: bool) -> Result<Self> {
        let data_type = field.data_type();
        let unsupported = || {
            Error::invalid(format!("column \"{}\": a record has no values of type {}", field.name(), sql_type(field)))
                .with_hint("Read the field as VARCHAR and cast it in a view.")
        };
        let values = Values::of(data_type).ok_or_else(unsupported)?;
        let kind = match data_type {
            DataType::Boolean => Kind::Boolean,
            DataType::Int16 => Kind::Integer { lowest: i16::MIN.into(), highest: i16::MAX.into() },
            DataType::Int32 => Kind::Integer { lowest: i32::MIN.into(), highest: i32::MAX.into() },
            DataType::Int64 => Kind::Integer { lowest: i64::MIN, highest: i64::MAX },
            DataType::Float32 => Kind::Real,
            DataType::Float64 => Kind::Double,
            DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
                Kind::Decimal { precision: *precision, scale: *scale }
            }
            DataType::LargeUtf8 => Kind::Json { canonical: true },
            DataType::LargeBinary => Kind::Json { canonical: false },
            DataType::Utf8 | DataType::Utf8View => Kind::Text,
            DataType::Binary => Kind::Bytes,
            DataType::FixedSizeBinary(16) => Kind::Uuid,
            DataType::Date32 => Kind::Date,
            DataType::Time64(TimeUnit::Microsecond) => Kind::Time,
            DataType::Timestamp(TimeUnit::Microsecond, zone) => Kind::Timestamp { zoned: zone.is_some() },
            DataType::List(element) => Kind::List(Box::new(Self::new(element, build)?)),
            DataType::Struct(fields) => Kind::Struct(Box::new(ObjectReader::new(nodes(fields, |_| build)?))),
            _ => return Err(unsupported()),
        };
        Ok(Self {
            name: field.name().clone(),
            sql_type: sql_type(field),
            nullable: field.is_nullable(),
            kind,
            column: Column::new(if build { values } else { Values::Skipped }),
            data_type: data_type.clone(),
        })
    }

    /// Its Arrow type.
    pub(crate) fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// Cuts the column and those below it back to the first `length` values.
    pub(crate) fn truncate(&mut self, length: usize) {
        if !self.column.is_built() {
            return;
        }
        self.column.truncate(length);
        match &mut self.kind {
            Kind::List(element) => element.truncate(self.column.elements()),
            Kind::Struct(object) => object.nodes.iter_mut().for_each(|node| node.truncate(length)),
            Kind::Boolean | Kind::Integer { .. } | Kind::Real | Kind::Double | Kind::Decimal { .. } | Kind::Text => {}
            Kind::Json { .. } | Kind::Bytes | Kind::Uuid | Kind::Date | Kind::Time | Kind::Timestamp { .. } => {}
        }
    }

    /// Appends a null, below a struct to all of its fields.
    pub(crate) fn push_null(&mut self) {
        self.column.push_null();
        if let Kind::Struct(object) = &mut self.kind {
            object.nodes.iter_mut().for_each(Self::push_null);
        }
    }

    /// Appends the value that `text` writes; arrays and structs have no text.
    pub(crate) fn push_text(&mut self, text: &str) -> Result<(), Fault> {
        let expected = || Fault::value(format!("expected {}, got {}", self.sql_type, excerpt(text)));
        match &self.kind {
            Kind::Boolean => self.column.push_bool(text::boolean(text).ok_or_else(expected)?),
            Kind::Integer { lowest, highest } => match text::integer(text) {
                Some(value) if (i128::from(*lowest)..=i128::from(*highest)).contains(&value) => {
                    self.column.push_integer(i64::try_from(value).expect("the range lies within"));
                }
                _ if text::is_integer(text) => return Err(out_of_range(text, &self.sql_type)),
                _ => return Err(expected()),
            },
            Kind::Real | Kind::Double => return self.push_double(text, expected()),
            Kind::Decimal { precision, scale } => match text::decimal(text, *precision, *scale) {
                Ok(digits) => self.column.push_decimal(digits),
                Err(fault) => return Err(decimal_fault(fault, text, &self.sql_type, *scale)),
            },
            Kind::Text => self.column.push_bytes(text.as_bytes()),
            Kind::Json { canonical: true } => {
                self.column.push_bytes(jsonb::canonical(text).map_err(|_| expected())?.as_bytes());
            }
            Kind::Json { canonical: false } => {
                jsonb::check(text).map_err(|_| expected())?;
                self.column.push_bytes(text.as_bytes());
            }
            Kind::Bytes => match text::bytes(text) {
                Some(bytes) => self.column.push_bytes(&bytes),
                None => {
                    let found = excerpt(text);
                    return Err(Fault::value(format!("expected base64 (or \\x and hexadecimal digits), got {found}")));
                }
            },
            Kind::Uuid => match uuid::Uuid::try_parse(text) {
                Ok(uuid) => self.column.push_uuid(uuid.into_bytes()),
                Err(_) => return Err(expected()),
            },
            Kind::Date => self.column.push_integer(text::date(text).ok_or_else(expected)?),
            Kind::Time => self.column.push_integer(text::time(text).ok_or_else(expected)?),
            Kind::Timestamp { zoned } => {
                let micros = moment_micros(text::moment(text).ok_or_else(expected)?, *zoned);
                let hint = || {
                    let found = excerpt(text);
                    Fault::value(format!("{found} has an offset from UTC: declare the column as TIMESTAMPTZ"))
                };
                self.column.push_integer(micros.ok_or_else(hint)?);
            }
            Kind::List(_) | Kind::Struct(_) => return Err(expected()),
        }
        Ok(())
    }

    fn push_double(&mut self, text: &str, expected: Fault) -> Result<(), Fault> {
        // Each width is read from the text itself: rounding twice could end one step off.
        let value = match self.kind {
            Kind::Real => text::real(text).map(f64::from),
            _ => text::double(text),
        };
        let value = value.ok_or(expected)?;
        // A number that only the rounding made infinite is out of range.
        let written_finite = text.bytes().any(|byte| byte.is_ascii_digit());
        if written_finite && value.is_infinite() {
            return Err(out_of_range(text, &self.sql_type));
        }
        self.column.push_float(value);
        Ok(())
    }

    /// Takes out what was appended.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef> {
        let children = match &mut self.kind {
            Kind::List(element) => vec![element.finish()?],
            Kind::Struct(object) => object.nodes.iter_mut().map(Self::finish).collect::<Result<_>>()?,
            _ => Vec::new(),
        };
        self.column.finish(&self.data_type, children)
    }
}

/// One node per field; `build` says by index which are built.
pub(crate) fn nodes(fields: &Fields, build: impl Fn(usize) -> bool) -> Result<Vec<Node>> {
    fields.iter().enumerate().map(|(index, field)| Node::new(field, build(index))).collect()
}

/// Without an offset a time is UTC where a zone is asked for; with one it can't lose it.
fn moment_micros(moment: text::Moment, zoned: bool) -> Option<i64> {
    match moment.offset_seconds {
        None | Some(0) => Some(moment.local_micros),
        Some(seconds) if zoned => Some(moment.local_micros - seconds * 1_000_000),
        Some(_) => None,
    }
}

/// The message for a number that its type can't hold.
pub(crate) fn out_of_range(text: &str, sql_type: &str) -> Fault {
    Fault::value(format!("{} is out of range for {sql_type}", shorten(text)))
}

/// The message for a decimal.
pub(crate) fn decimal_fault(fault: text::DecimalFault, text: &str, sql_type: &str, scale: i8) -> Fault {
    match fault {
        text::DecimalFault::Malformed => Fault::value(format!("expected {sql_type}, got {}", excerpt(text))),
        text::DecimalFault::OutOfRange => out_of_range(text, sql_type),
        text::DecimalFault::TooManyDigits => Fault::value(format!(
            "{} has more than {scale} digits behind the point, which {sql_type} can't hold",
            shorten(text)
        )),
    }
}

/// A text in quotes, as much of it as a message needs.
pub(crate) fn excerpt(text: &str) -> String {
    format!("{:?}", shorten(text))
}

/// The beginning of a text.
pub(crate) fn shorten(text: &str) -> std::borrow::Cow<'_, str> {
    const CHARACTERS: usize = 60;
    match text.char_indices().nth(CHARACTERS) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
}

/// Whether a column holds JSON: JSONB and JSON have Arrow types of their own.
pub fn is_json(field: &Field) -> bool {
    matches!(field.data_type(), DataType::LargeUtf8 | DataType::LargeBinary)
}

/// A column's type as SQL writes it.
pub fn sql_type(field: &Field) -> String {
    match field.data_type() {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INTEGER".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::Float32 => "REAL".into(),
        DataType::Float64 => "DOUBLE PRECISION".into(),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("NUMERIC({precision}, {scale})")
        }
        DataType::LargeUtf8 => "JSONB".into(),
        DataType::LargeBinary => "JSON".into(),
        DataType::Utf8 => "VARCHAR".into(),
        DataType::Utf8View => "CHAR".into(),
        DataType::Binary => "BYTEA".into(),
        DataType::FixedSizeBinary(16) => "UUID".into(),
        DataType::Date32 => "DATE".into(),
        DataType::Time64(_) => "TIME".into(),
        DataType::Timestamp(_, None) => "TIMESTAMP".into(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMPTZ".into(),
        DataType::Interval(_) => "INTERVAL".into(),
        DataType::List(element) => format!("{}[]", sql_type(element)),
        DataType::Struct(fields) => {
            let fields: Vec<_> = fields.iter().map(|field| format!("{} {}", field.name(), sql_type(field))).collect();
            format!("STRUCT<{}>", fields.join(", "))
        }
        other => other.to_string(),
    }
}
