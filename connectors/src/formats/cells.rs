//! Typed views of Arrow columns, and their values as text: what the encoders of JSON and CSV share.
//!
//! Texts are deterministic and are read back by [`super::text`]: times as in ISO 8601 with as many digits of a
//! second as they need, decimals without trailing zeros, bytea as base64.

use std::io::Write;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Decimal256Array, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, LargeBinaryArray,
    LargeStringArray, ListArray, StringArray, StringViewArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Field, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, i256,
};
use base64::Engine;
use millstream_runtime::{Error, Result};

use super::node::sql_type;
use super::text::BASE64;

/// Why a value has no text in an encoding, for the person who owns the sink.
pub(crate) type Refusal = String;

/// A column, or what is nested in one.
#[derive(Debug)]
pub(crate) struct Cells<'a> {
    array: &'a ArrayRef,
    /// What its values are.
    pub(crate) kind: CellKind<'a>,
}

/// The values of a column by type.
#[derive(Debug)]
pub(crate) enum CellKind<'a> {
    /// BOOLEAN
    Boolean(&'a BooleanArray),
    /// SMALLINT
    Int16(&'a Int16Array),
    /// INTEGER
    Int32(&'a Int32Array),
    /// BIGINT
    Int64(&'a Int64Array),
    /// REAL
    Float32(&'a Float32Array),
    /// DOUBLE PRECISION
    Float64(&'a Float64Array),
    /// NUMERIC with its scale
    Decimal128(&'a Decimal128Array, i8),
    /// NUMERIC with its scale
    Decimal256(&'a Decimal256Array, i8),
    /// VARCHAR
    Text(&'a StringArray),
    /// CHAR: what it holds, without the blanks that pad it where it is shown
    Char(&'a StringViewArray),
    /// JSONB
    Jsonb(&'a LargeStringArray),
    /// JSON
    Json(&'a LargeBinaryArray),
    /// BYTEA
    Bytes(&'a BinaryArray),
    /// UUID
    Uuid(&'a FixedSizeBinaryArray),
    /// DATE
    Date(&'a arrow::array::Date32Array),
    /// TIME
    Time(&'a arrow::array::Time64MicrosecondArray),
    /// TIMESTAMP; with a zone TIMESTAMPTZ
    Timestamp(&'a arrow::array::TimestampMicrosecondArray, bool),
    /// INTERVAL
    Interval(&'a IntervalMonthDayNanoArray),
    /// Arrays with their elements
    List(&'a ListArray, Box<Cells<'a>>),
    /// Structs: `"name":` in JSON, and the fields
    Struct(Vec<(Vec<u8>, Cells<'a>)>),
}

impl<'a> Cells<'a> {
    /// The view of a column; an `Invalid` error for a type that has no text.
    pub(crate) fn new(field: &Field, array: &'a ArrayRef) -> Result<Self> {
        let kind = match array.data_type() {
            DataType::Boolean => CellKind::Boolean(array.as_boolean()),
            DataType::Int16 => CellKind::Int16(array.as_primitive::<Int16Type>()),
            DataType::Int32 => CellKind::Int32(array.as_primitive::<Int32Type>()),
            DataType::Int64 => CellKind::Int64(array.as_primitive::<Int64Type>()),
            DataType::Float32 => CellKind::Float32(array.as_primitive::<Float32Type>()),
            DataType::Float64 => CellKind::Float64(array.as_primitive::<Float64Type>()),
            DataType::Decimal128(_, scale) => CellKind::Decimal128(array.as_primitive::<Decimal128Type>(), *scale),
            DataType::Decimal256(_, scale) => CellKind::Decimal256(array.as_primitive::<Decimal256Type>(), *scale),
            DataType::LargeUtf8 => CellKind::Jsonb(array.as_string()),
            DataType::LargeBinary => CellKind::Json(array.as_binary()),
            DataType::Utf8 => CellKind::Text(array.as_string()),
            DataType::Utf8View => CellKind::Char(array.as_string_view()),
            DataType::Binary => CellKind::Bytes(array.as_binary()),
            DataType::FixedSizeBinary(16) => CellKind::Uuid(array.as_fixed_size_binary()),
            DataType::Date32 => CellKind::Date(array.as_primitive::<Date32Type>()),
            DataType::Time64(TimeUnit::Microsecond) => CellKind::Time(array.as_primitive::<Time64MicrosecondType>()),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                CellKind::Timestamp(array.as_primitive::<TimestampMicrosecondType>(), zone.is_some())
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                CellKind::Interval(array.as_primitive::<IntervalMonthDayNanoType>())
            }
            DataType::List(element) => {
                let lists = array.as_list::<i32>();
                CellKind::List(lists, Box::new(Self::new(element, lists.values())?))
            }
            DataType::Struct(fields) => {
                let columns = array.as_struct().columns();
                let cells = fields.iter().zip(columns).map(|(field, column)| {
                    Ok((super::json::encode::quoted_key(field.name()), Self::new(field, column)?))
                });
                CellKind::Struct(cells.collect::<Result<_>>()?)
            }
            _ => {
                let found = sql_type(field);
                return Err(Error::invalid(format!("column \"{}\": a sink can't write type {found}", field.name()))
                    .with_hint("Cast the column to VARCHAR in the sink's query."));
            }
        };
        Ok(Self { array, kind })
    }

    /// Whether the value is NULL.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row)
    }

    /// Appends the text of a value that is neither null nor nested.
    pub(crate) fn write_text(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Refusal> {
        match &self.kind {
            CellKind::Boolean(array) => display(out, array.value(row)),
            CellKind::Int16(array) => display(out, array.value(row)),
            CellKind::Int32(array) => display(out, array.value(row)),
            CellKind::Int64(array) => display(out, array.value(row)),
            CellKind::Float32(array) => return float(out, f64::from(array.value(row)), array.value(row)),
            CellKind::Float64(array) => return float(out, array.value(row), array.value(row)),
            CellKind::Decimal128(array, scale) => decimal(out, &array.value(row).to_string(), *scale),
            CellKind::Decimal256(array, scale) => decimal256(out, array.value(row), *scale),
            CellKind::Text(array) => out.extend_from_slice(array.value(row).as_bytes()),
            CellKind::Char(array) => out.extend_from_slice(array.value(row).as_bytes()),
            CellKind::Jsonb(array) => out.extend_from_slice(array.value(row).as_bytes()),
            CellKind::Json(array) => out.extend_from_slice(array.value(row)),
            CellKind::Bytes(array) => out.extend_from_slice(BASE64.encode(array.value(row)).as_bytes()),
            CellKind::Uuid(array) => display(out, uuid::Uuid::from_slice(array.value(row)).expect("16 bytes")),
            CellKind::Date(array) => return date(out, i64::from(array.value(row))),
            CellKind::Time(array) => time(out, array.value(row)),
            CellKind::Timestamp(array, zoned) => {
                timestamp(out, array.value(row))?;
                if *zoned {
                    out.push(b'Z');
                }
            }
            CellKind::Interval(array) => interval(out, array.value(row)),
            CellKind::List(..) | CellKind::Struct(_) => unreachable!("nested values are written by the encoder"),
        }
        Ok(())
    }
}

fn display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("a vector takes every write");
}

/// The shortest digits that are read back as the same float.
fn float(out: &mut Vec<u8>, value: f64, shortest: impl std::fmt::Debug) -> Result<(), Refusal> {
    if !value.is_finite() {
        return Err(format!("{value} has no number in JSON"));
    }
    write!(out, "{shortest:?}").expect("a vector takes every write");
    Ok(())
}

fn decimal256(out: &mut Vec<u8>, value: i256, scale: i8) {
    decimal(out, &value.to_string(), scale);
}

/// Puts the point into a decimal's digits and leaves out trailing zeros behind it.
fn decimal(out: &mut Vec<u8>, digits: &str, scale: i8) {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    out.extend_from_slice(sign.as_bytes());
    let Ok(scale) = usize::try_from(scale) else {
        // A negative scale counts zeros that are not kept.
        out.extend_from_slice(digits.as_bytes());
        out.extend(std::iter::repeat_n(b'0', if digits == "0" { 0 } else { usize::from(scale.unsigned_abs()) }));
        return;
    };
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    let fraction = fraction.trim_end_matches('0');
    out.extend_from_slice(whole.as_bytes());
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    }
}

fn date(out: &mut Vec<u8>, days: i64) -> Result<(), Refusal> {
    let (year, month, day) = civil_from_days(days);
    if !(1..=9999).contains(&year) {
        return Err(format!("a date in the year {year} has no ISO 8601 text: years go from 1 to 9999"));
    }
    write!(out, "{year:04}-{month:02}-{day:02}").expect("a vector takes every write");
    Ok(())
}

fn time(out: &mut Vec<u8>, micros: i64) {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    write!(out, "{hours:02}:{minutes:02}:{seconds:02}").expect("a vector takes every write");
    match (fraction, fraction % 1_000) {
        (0, _) => {}
        (_, 0) => write!(out, ".{:03}", fraction / 1_000).expect("a vector takes every write"),
        _ => write!(out, ".{fraction:06}").expect("a vector takes every write"),
    }
}

fn timestamp(out: &mut Vec<u8>, micros: i64) -> Result<(), Refusal> {
    const DAY: i64 = 86_400_000_000;
    date(out, micros.div_euclid(DAY))?;
    out.push(b'T');
    time(out, micros.rem_euclid(DAY));
    Ok(())
}

/// As ISO 8601 with signed parts, which Postgres reads: `P1M-2DT0.5S`.
fn interval(out: &mut Vec<u8>, value: IntervalMonthDayNano) {
    let seconds = value.nanoseconds / 1_000_000_000;
    let micros = (value.nanoseconds % 1_000_000_000) / 1_000;
    let sign = if value.nanoseconds < 0 { "-" } else { "" };
    write!(out, "P{}M{}DT{sign}{}", value.months, value.days, seconds.unsigned_abs())
        .expect("a vector takes every write");
    if micros != 0 {
        write!(out, ".{:06}", micros.unsigned_abs()).expect("a vector takes every write");
    }
    out.push(b'S');
}

/// The inverse of counting days since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_back() {
        for days in (-719_162..2_932_896).step_by(97).chain([2_932_896]) {
            let mut out = Vec::new();
            date(&mut out, days).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert_eq!(crate::formats::text::date(&text), Some(days), "{text}");
        }
        assert!(date(&mut Vec::new(), 2_932_897).is_err());
        assert!(date(&mut Vec::new(), -719_163).is_err());
    }

    #[test]
    fn decimals_without_trailing_zeros() {
        let text = |digits: &str, scale| {
            let mut out = Vec::new();
            decimal(&mut out, digits, scale);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text("1250", 2), "12.5");
        assert_eq!(text("-5", 2), "-0.05");
        assert_eq!(text("0", 3), "0");
        assert_eq!(text("1200", 2), "12");
        assert_eq!(text("100", 0), "100");
        assert_eq!(text("12", -2), "1200");
    }
}
