//! Builds the arrays of columns from values in the text or binary format: what COPY reads.
//!
//! Common types are read without a value in between; whatever such a reading does not take, and every other
//! type, goes through [`parameter::decode`], so that a COPY reads and refuses what a parameter does.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder, Int16Builder,
    Int32Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder, new_empty_array,
};
use arrow::datatypes::{DataType, Field, TimeUnit};
use bytes::Bytes;
use datafusion::common::ScalarValue;
use millstream_planner::values::input::datetime;

use super::{ColumnType, DisplaySettings, Kind, parameter};
use crate::session::SqlError;
use crate::wire::errors;

/// Digits that fit an i128 whatever they are.
const I128_DIGITS: usize = 38;

/// Builds one column.
pub struct ColumnBuilder {
    kind: Kind,
    oid: u32,
    target: DataType,
    display: DisplaySettings,
    values: Values,
}

enum Values {
    Bool(BooleanBuilder),
    Int2(Int16Builder),
    Int4(Int32Builder),
    Int8(Int64Builder),
    Float4(Float32Builder),
    Float8(Float64Builder),
    Text(StringBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Numeric(Decimal128Builder, i8),
    Any(Vec<ScalarValue>),
}

impl ColumnBuilder {
    /// A builder for a column of a table.
    pub fn new(field: &Field, display: DisplaySettings) -> Result<Self, SqlError> {
        let column = ColumnType::of_field(field)?;
        let target = field.data_type().clone();
        let values = match (column.kind(), &target) {
            (Kind::Bool, DataType::Boolean) => Values::Bool(BooleanBuilder::new()),
            (Kind::Int2, DataType::Int16) => Values::Int2(Int16Builder::new()),
            (Kind::Int4, DataType::Int32) => Values::Int4(Int32Builder::new()),
            (Kind::Int8, DataType::Int64) => Values::Int8(Int64Builder::new()),
            (Kind::Float4, DataType::Float32) => Values::Float4(Float32Builder::new()),
            (Kind::Float8, DataType::Float64) => Values::Float8(Float64Builder::new()),
            (Kind::Text | Kind::Varchar, DataType::Utf8) => Values::Text(StringBuilder::new()),
            (Kind::Date, DataType::Date32) => Values::Date(Date32Builder::new()),
            (Kind::Timestamp | Kind::Timestamptz, DataType::Timestamp(TimeUnit::Microsecond, _)) => {
                Values::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(target.clone()))
            }
            (Kind::Numeric, DataType::Decimal128(precision, scale)) if *scale >= 0 => {
                let builder = Decimal128Builder::new().with_precision_and_scale(*precision, *scale)?;
                Values::Numeric(builder, *scale)
            }
            _ => Values::Any(Vec::new()),
        };
        Ok(Self { kind: column.kind(), oid: column.oid(), target, display, values })
    }

    /// Adds a value in the text format, of which is known that it is UTF-8; `None` is NULL.
    pub fn put_text(&mut self, text: Option<&str>) -> Result<(), SqlError> {
        let Some(text) = text else { return self.put_null() };
        if self.put_common_text(text) {
            return Ok(());
        }
        self.put_decoded(&Bytes::copy_from_slice(text.as_bytes()), 0)
    }

    /// Adds a value in the binary format; `None` is NULL.
    pub fn put_binary(&mut self, bytes: Option<&[u8]>) -> Result<(), SqlError> {
        let Some(bytes) = bytes else { return self.put_null() };
        match (&mut self.values, bytes.len()) {
            (Values::Int4(builder), 4) => {
                builder.append_value(i32::from_be_bytes(bytes.try_into().expect("four bytes")));
                Ok(())
            }
            (Values::Int8(builder), 8) => {
                builder.append_value(i64::from_be_bytes(bytes.try_into().expect("eight bytes")));
                Ok(())
            }
            (Values::Float8(builder), 8) => {
                builder.append_value(f64::from_be_bytes(bytes.try_into().expect("eight bytes")));
                Ok(())
            }
            _ => self.put_decoded(&Bytes::copy_from_slice(bytes), 1),
        }
    }

    /// The column; the builder is empty again.
    pub fn finish(&mut self) -> Result<ArrayRef, SqlError> {
        Ok(match &mut self.values {
            Values::Bool(builder) => Arc::new(builder.finish()),
            Values::Int2(builder) => Arc::new(builder.finish()),
            Values::Int4(builder) => Arc::new(builder.finish()),
            Values::Int8(builder) => Arc::new(builder.finish()),
            Values::Float4(builder) => Arc::new(builder.finish()),
            Values::Float8(builder) => Arc::new(builder.finish()),
            Values::Text(builder) => Arc::new(builder.finish()),
            Values::Date(builder) => Arc::new(builder.finish()),
            Values::Timestamp(builder) => Arc::new(builder.finish()),
            Values::Numeric(builder, _) => Arc::new(builder.finish()),
            Values::Any(values) if values.is_empty() => new_empty_array(&self.target),
            Values::Any(values) => ScalarValue::iter_to_array(std::mem::take(values))?,
        })
    }

    fn put_null(&mut self) -> Result<(), SqlError> {
        match &mut self.values {
            Values::Bool(builder) => builder.append_null(),
            Values::Int2(builder) => builder.append_null(),
            Values::Int4(builder) => builder.append_null(),
            Values::Int8(builder) => builder.append_null(),
            Values::Float4(builder) => builder.append_null(),
            Values::Float8(builder) => builder.append_null(),
            Values::Text(builder) => builder.append_null(),
            Values::Date(builder) => builder.append_null(),
            Values::Timestamp(builder) => builder.append_null(),
            Values::Numeric(builder, _) => builder.append_null(),
            Values::Any(values) => values.push(ScalarValue::try_from(&self.target)?),
        }
        Ok(())
    }

    /// Whether the text was one of the plain forms of a common type; all else is left to the decoder.
    fn put_common_text(&mut self, text: &str) -> bool {
        fn put<T>(value: Option<T>, append: impl FnOnce(T)) -> bool {
            value.map(append).is_some()
        }
        let style = self.display.style;
        match &mut self.values {
            Values::Bool(builder) => match text {
                "t" | "true" => put(Some(true), |value| builder.append_value(value)),
                "f" | "false" => put(Some(false), |value| builder.append_value(value)),
                _ => false,
            },
            Values::Int2(builder) => put(text.parse().ok(), |value| builder.append_value(value)),
            Values::Int4(builder) => put(text.parse().ok(), |value| builder.append_value(value)),
            Values::Int8(builder) => put(text.parse().ok(), |value| builder.append_value(value)),
            // Only what surely neither overflows nor underflows.
            Values::Float8(builder) if text.len() < 32 && !text.contains(['e', 'E', 'n', 'N']) => {
                put(text.parse().ok(), |value| builder.append_value(value))
            }
            Values::Text(builder) => put(Some(text), |value| builder.append_value(value)),
            Values::Date(builder) => {
                put(datetime::date(text, style.forms.order).ok(), |value| builder.append_value(value))
            }
            Values::Timestamp(builder) => {
                let micros = match self.kind {
                    Kind::Timestamptz => datetime::timestamptz(text, style),
                    _ => datetime::timestamp(text, style.forms.order),
                };
                put(micros.ok(), |value| builder.append_value(value))
            }
            Values::Numeric(builder, scale) => {
                let precision = match self.target {
                    DataType::Decimal128(precision, _) => precision,
                    _ => return false,
                };
                put(unscaled(text, precision, *scale), |value| builder.append_value(value))
            }
            Values::Float4(_) | Values::Float8(_) | Values::Any(_) => false,
        }
    }

    fn put_decoded(&mut self, bytes: &Bytes, format: i16) -> Result<(), SqlError> {
        let value = parameter::decode(Some(bytes), format, self.oid, &self.target, &self.display)?;
        let wrong = || errors::internal("a value was read as another type than its column's");
        match (&mut self.values, value) {
            (Values::Bool(builder), ScalarValue::Boolean(value)) => builder.append_option(value),
            (Values::Int2(builder), ScalarValue::Int16(value)) => builder.append_option(value),
            (Values::Int4(builder), ScalarValue::Int32(value)) => builder.append_option(value),
            (Values::Int8(builder), ScalarValue::Int64(value)) => builder.append_option(value),
            (Values::Float4(builder), ScalarValue::Float32(value)) => builder.append_option(value),
            (Values::Float8(builder), ScalarValue::Float64(value)) => builder.append_option(value),
            (Values::Text(builder), ScalarValue::Utf8(value)) => builder.append_option(value),
            (Values::Date(builder), ScalarValue::Date32(value)) => builder.append_option(value),
            (Values::Timestamp(builder), ScalarValue::TimestampMicrosecond(value, _)) => builder.append_option(value),
            (Values::Numeric(builder, _), ScalarValue::Decimal128(value, ..)) => builder.append_option(value),
            (Values::Any(values), value) => values.push(value),
            _ => return Err(wrong()),
        }
        Ok(())
    }
}

/// The digits of a plain number (`-12.30`) brought to a scale; `None` where it is not that plain, needs
/// rounding or does not fit.
fn unscaled(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let scale = usize::try_from(scale).ok()?;
    let (whole, fraction) = match memchr::memchr(b'.', digits) {
        Some(point) => (&digits[..point], &digits[point + 1..]),
        None => (digits, &[][..]),
    };
    if whole.is_empty() || fraction.len() > scale || whole.len() + scale > I128_DIGITS.min(usize::from(precision)) {
        return None;
    }
    let mut value = 0_i128;
    for digit in whole.iter().chain(fraction) {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i128::from(digit - b'0');
    }
    value *= 10_i128.pow(u32::try_from(scale - fraction.len()).ok()?);
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use arrow::util::display::array_value_to_string;

    use super::*;

    /// What a short cut reads is what the decoder reads; both refuse alike.
    #[test]
    fn the_short_cuts_read_as_the_decoder_does() {
        let cases: [(DataType, &[&str]); 9] = [
            (DataType::Boolean, &["t", "f", "true", "no", " on", "x", ""]),
            (DataType::Int16, &["1", "-32768", "32768", " 7 ", "+5", "x", ""]),
            (DataType::Int32, &["1", "-2147483648", "2147483648", "1.5"]),
            (DataType::Int64, &["9223372036854775807", "9223372036854775808", "0x1"]),
            (DataType::Float64, &["1.5", "-0", "1e400", "NaN", "Infinity", "1e-400", ".5", "5.", "x"]),
            (
                DataType::Decimal128(10, 2),
                &["1", "-1.5", "1.25", "1.255", "99999999.99", "100000000", ".5", "1e2", "-"],
            ),
            (DataType::Utf8, &["", "x", "\u{e4}"]),
            (DataType::Date32, &["2026-01-02", "infinity", "2026-13-01", ""]),
            (
                DataType::Timestamp(TimeUnit::Microsecond, None),
                &["2026-01-02 03:04:05.678901", "2026-01-02T03:04:05Z", "infinity", "yesterday"],
            ),
        ];
        for (data_type, texts) in cases {
            let field = Field::new("c", data_type.clone(), true);
            for text in texts {
                let mut column = ColumnBuilder::new(&field, DisplaySettings::default()).unwrap();
                let put = column.put_text(Some(text)).map_err(|error| error.sqlstate);
                let read = column.finish().unwrap();
                let oid = ColumnType::of_type(&data_type).unwrap().oid();
                let bytes = Bytes::copy_from_slice(text.as_bytes());
                let decoded = parameter::decode(Some(&bytes), 0, oid, &data_type, &DisplaySettings::default());
                match (put, decoded) {
                    (Ok(()), Ok(value)) => {
                        let expected = value.to_array().unwrap();
                        assert_eq!(
                            array_value_to_string(&read, 0).unwrap(),
                            array_value_to_string(&expected, 0).unwrap(),
                            "{data_type} {text:?}"
                        );
                    }
                    (put, decoded) => {
                        let expected = decoded.err().map(|error| error.sqlstate);
                        assert_eq!(put.err(), expected, "{data_type} {text:?}");
                    }
                }
            }
        }
    }
}
