//! Parameters in the binary format.

use bytes::{Buf, Bytes};
use datafusion::common::ScalarValue;
use millstream_planner::types::{JSON, JSONB};
use millstream_planner::values::datetime::{DAY_MICROS, POSTGRES_EPOCH_DAYS, POSTGRES_EPOCH_MICROS};

use millstream_planner::values::input;
use millstream_planner::values::input::datetime::Interval;

use super::{Kind, TextStyle, utf8};
use crate::session::SqlError;
use crate::wire::errors;

/// As many bytes as the type has.
pub(super) fn exact<const N: usize>(bytes: &[u8], kind: Kind) -> Result<[u8; N], SqlError> {
    bytes.try_into().map_err(|_| {
        let message = format!("incorrect binary data format: {} has {N} bytes, got {}", kind.sql_name(), bytes.len());
        errors::invalid_binary(message)
    })
}

/// A single value; numeric, whose form depends on what is planned, and composites are read elsewhere.
pub(super) fn scalar(kind: Kind, bytes: &[u8]) -> Result<ScalarValue, SqlError> {
    Ok(match kind {
        Kind::Bool => ScalarValue::Boolean(Some(exact::<1>(bytes, kind)? != [0])),
        Kind::Int2 => ScalarValue::Int16(Some(i16::from_be_bytes(exact(bytes, kind)?))),
        Kind::Int4 => ScalarValue::Int32(Some(i32::from_be_bytes(exact(bytes, kind)?))),
        Kind::Int8 => ScalarValue::Int64(Some(i64::from_be_bytes(exact(bytes, kind)?))),
        // The number is read where names are.
        kind if kind.is_registry() => ScalarValue::Utf8(Some(u32::from_be_bytes(exact(bytes, kind)?).to_string())),
        Kind::Oid => ScalarValue::Int64(Some(i64::from(u32::from_be_bytes(exact(bytes, kind)?)))),
        Kind::Float4 => ScalarValue::Float32(Some(f32::from_be_bytes(exact(bytes, kind)?))),
        Kind::Float8 => ScalarValue::Float64(Some(f64::from_be_bytes(exact(bytes, kind)?))),
        Kind::Text | Kind::Varchar | Kind::Bpchar | Kind::Name | Kind::Char => {
            ScalarValue::Utf8(Some(utf8(bytes)?.to_owned()))
        }
        Kind::Json => input::read(utf8(bytes)?, &JSON, TextStyle::default())?,
        Kind::Jsonb => match bytes {
            [1, text @ ..] => input::read(utf8(text)?, &JSONB, TextStyle::default())?,
            _ => return Err(errors::invalid_binary("unsupported jsonb version number")),
        },
        Kind::Uuid => ScalarValue::FixedSizeBinary(16, Some(exact::<16>(bytes, kind)?.to_vec())),
        Kind::Bytea => ScalarValue::Binary(Some(bytes.to_vec())),
        Kind::Date => ScalarValue::Date32(Some(date(i32::from_be_bytes(exact(bytes, kind)?))?)),
        Kind::Time => ScalarValue::Time64Microsecond(Some(time(i64::from_be_bytes(exact(bytes, kind)?))?)),
        Kind::Timestamp => {
            ScalarValue::TimestampMicrosecond(Some(timestamp(i64::from_be_bytes(exact(bytes, kind)?))?), None)
        }
        Kind::Timestamptz => {
            let micros = timestamp(i64::from_be_bytes(exact(bytes, kind)?))?;
            ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into()))
        }
        Kind::Interval => {
            let mut fields = &exact::<16>(bytes, kind)?[..];
            let (micros, days, months) = (fields.get_i64(), fields.get_i32(), fields.get_i32());
            Interval { months, days, micros }.into_scalar()?
        }
        Kind::Regclass
        | Kind::Regproc
        | Kind::Regprocedure
        | Kind::Regoper
        | Kind::Regoperator
        | Kind::Regtype
        | Kind::Regnamespace
        | Kind::Regrole
        | Kind::Regcollation
        | Kind::Int2Vector
        | Kind::OidVector
        | Kind::NodeTree
        | Kind::Numeric
        | Kind::Record
        | Kind::Array => {
            return Err(errors::unsupported(
                format!("binary parameters of type {} are not supported", kind.sql_name()),
                "Pass the value in the text format.",
            ));
        }
    })
}

fn date(days: i32) -> Result<i32, SqlError> {
    match days {
        i32::MAX | i32::MIN => Ok(days),
        days => days.checked_add(POSTGRES_EPOCH_DAYS).ok_or_else(|| errors::datetime_out_of_range("date out of range")),
    }
}

fn time(micros: i64) -> Result<i64, SqlError> {
    if (0..=DAY_MICROS).contains(&micros) {
        Ok(micros)
    } else {
        Err(errors::datetime_out_of_range("time out of range"))
    }
}

fn timestamp(micros: i64) -> Result<i64, SqlError> {
    match micros {
        i64::MAX | i64::MIN => Ok(micros),
        micros => micros
            .checked_add(POSTGRES_EPOCH_MICROS)
            .ok_or_else(|| errors::datetime_out_of_range("timestamp out of range")),
    }
}

/// An array as it is sent.
#[derive(Debug)]
pub(super) struct BinaryArray {
    /// The type of its elements.
    pub(super) element_oid: u32,
    /// The length of every dimension.
    pub(super) lengths: Vec<usize>,
    /// The elements in row-major order.
    pub(super) elements: Vec<Option<Bytes>>,
}

/// Dimensions that Postgres' arrays can have.
const ARRAY_DIMENSIONS: i32 = 6;

/// Cuts an array into its elements.
pub(super) fn array(bytes: &Bytes) -> Result<BinaryArray, SqlError> {
    let mut bytes = bytes.clone();
    let short = || errors::invalid_binary("insufficient data left in an array");
    let word = |bytes: &mut Bytes| if bytes.len() < 4 { Err(short()) } else { Ok(bytes.get_i32()) };
    let dimensions = word(&mut bytes)?;
    let flags = word(&mut bytes)?;
    let element_oid = word(&mut bytes)? as u32;
    if !(0..=ARRAY_DIMENSIONS).contains(&dimensions) || !(0..=1).contains(&flags) {
        return Err(errors::invalid_binary("invalid dimensions or flags of an array"));
    }
    let mut lengths = Vec::new();
    for _ in 0..dimensions {
        let length = usize::try_from(word(&mut bytes)?).map_err(|_| short())?;
        let _lower_bound = word(&mut bytes)?;
        lengths.push(length);
    }
    let count = match lengths.as_slice() {
        [] => 0,
        lengths => lengths.iter().try_fold(1usize, |product, length| product.checked_mul(*length)).ok_or_else(short)?,
    };
    // Every element has a length of four bytes: more can't have been sent.
    if count > bytes.len() / 4 {
        return Err(short());
    }
    let mut elements = Vec::with_capacity(count);
    for _ in 0..count {
        elements.push(match word(&mut bytes)? {
            -1 => None,
            length => {
                let length = usize::try_from(length).ok().filter(|length| *length <= bytes.len()).ok_or_else(short)?;
                Some(bytes.split_to(length))
            }
        });
    }
    if !bytes.is_empty() {
        return Err(errors::invalid_binary("too much data in an array"));
    }
    Ok(BinaryArray { element_oid, lengths, elements })
}

/// Cuts a record into the OIDs and values of its fields.
pub(super) fn record(bytes: &Bytes) -> Result<Vec<(u32, Option<Bytes>)>, SqlError> {
    let mut bytes = bytes.clone();
    let short = || errors::invalid_binary("insufficient data left in a record");
    let word = |bytes: &mut Bytes| if bytes.len() < 4 { Err(short()) } else { Ok(bytes.get_i32()) };
    let count = usize::try_from(word(&mut bytes)?).map_err(|_| short())?;
    // Every field has a type and a length: more can't have been sent.
    if count > bytes.len() / 8 {
        return Err(short());
    }
    let mut fields = Vec::with_capacity(count);
    for _ in 0..count {
        let oid = word(&mut bytes)? as u32;
        let value = match word(&mut bytes)? {
            -1 => None,
            length => {
                let length = usize::try_from(length).ok().filter(|length| *length <= bytes.len()).ok_or_else(short)?;
                Some(bytes.split_to(length))
            }
        };
        fields.push((oid, value));
    }
    match bytes.is_empty() {
        true => Ok(fields),
        false => Err(errors::invalid_binary("too much data in a record")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_of_fixed_size_take_no_other_size() {
        for kind in [Kind::Bool, Kind::Int2, Kind::Int4, Kind::Int8, Kind::Float4, Kind::Float8, Kind::Date] {
            for bytes in [&b""[..], b"\0\0\0", b"\0\0\0\0\0\0\0\0\0"] {
                assert_eq!(scalar(kind, bytes).unwrap_err().sqlstate, "22P03", "{kind:?} {bytes:?}");
            }
        }
        assert_eq!(scalar(Kind::Interval, b"").unwrap_err().sqlstate, "22P03");
        assert_eq!(scalar(Kind::Jsonb, b"\x02{}").unwrap_err().sqlstate, "22P03");
        assert_eq!(scalar(Kind::Text, b"\xff").unwrap_err().sqlstate, "22021");
        assert_eq!(scalar(Kind::Time, &(-1i64).to_be_bytes()).unwrap_err().sqlstate, "22008");
    }

    #[test]
    fn values() {
        assert_eq!(scalar(Kind::Int4, &[0, 0, 1, 0]).unwrap(), ScalarValue::Int32(Some(256)));
        assert_eq!(scalar(Kind::Date, &0i32.to_be_bytes()).unwrap(), ScalarValue::Date32(Some(10_957)));
        let timestamp = ScalarValue::TimestampMicrosecond(Some(946_684_800_000_000), None);
        assert_eq!(scalar(Kind::Timestamp, &0i64.to_be_bytes()).unwrap(), timestamp);
        let infinity = ScalarValue::TimestampMicrosecond(Some(i64::MAX), None);
        assert_eq!(scalar(Kind::Timestamp, &i64::MAX.to_be_bytes()).unwrap(), infinity);
    }

    #[test]
    fn arrays_are_cut_with_every_length_checked() {
        let words = |words: &[i32]| Bytes::from(words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>());
        let parsed = array(&words(&[1, 1, 23, 2, 1, 4, 7, -1])).unwrap();
        assert_eq!((parsed.element_oid, parsed.lengths), (23, vec![2]));
        assert_eq!(parsed.elements, [Some(Bytes::from_static(&[0, 0, 0, 7])), None]);
        assert!(array(&words(&[0, 0, 23])).unwrap().elements.is_empty());
        let wrong: [&[i32]; 8] = [
            &[],
            &[1, 0, 23],
            &[7, 0, 23],
            &[1, 2, 23, 1, 1, -1],
            &[1, 0, 23, -1, 1],
            &[1, 0, 23, i32::MAX, 1],
            &[1, 0, 23, 1, 1, 100, 0],
            &[1, 0, 23, 1, 1, -1, 0],
        ];
        for bytes in wrong {
            assert_eq!(array(&words(bytes)).unwrap_err().sqlstate, "22P03", "{bytes:?}");
        }
    }
}
