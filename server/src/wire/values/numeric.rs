//! Numerics in Postgres' base-10000 binary form, and parameters brought to a declared numeric.

use arrow::datatypes::i256;
use bytes::{Buf, BufMut, BytesMut};
use millstream_planner::values::Decimal;

use crate::session::SqlError;
use crate::wire::errors;

/// Writes the binary form: groups of four digits, aligned at the point.
pub(super) fn put_binary(output: &mut BytesMut, decimal: &Decimal) {
    let (whole, fraction) = decimal.parts();
    let fraction = format!("{}{fraction}", "0".repeat(decimal.scale() - fraction.len()));
    let padded_whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let padded_fraction = format!("{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
    let mut weight = (padded_whole.len() / 4) as i16 - 1;
    let all = padded_whole + &padded_fraction;
    let mut groups: Vec<i16> = all
        .as_bytes()
        .chunks(4)
        .map(|group| group.iter().fold(0, |value, digit| value * 10 + i16::from(digit - b'0')))
        .collect();
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    weight = if groups.is_empty() { 0 } else { weight - leading as i16 };
    output.put_i16(groups.len() as i16);
    output.put_i16(weight);
    output.put_u16(if decimal.is_negative() { 0x4000 } else { 0 });
    output.put_i16(decimal.scale() as i16);
    for group in groups {
        output.put_i16(group);
    }
}

/// Reads the binary form.
pub(super) fn parse_binary(mut bytes: &[u8]) -> Result<Decimal, SqlError> {
    let invalid = || errors::invalid_binary("incorrect binary data format of numeric");
    if bytes.len() < 8 {
        return Err(invalid());
    }
    let count = bytes.get_u16();
    let weight = i64::from(bytes.get_i16());
    let sign = bytes.get_u16();
    let _shown_scale = bytes.get_u16();
    let negative = match sign {
        0 => false,
        0x4000 => true,
        0xC000 | 0xD000 | 0xF000 => {
            return Err(errors::out_of_range("numeric NaN and Infinity are not supported"));
        }
        _ => return Err(invalid()),
    };
    if bytes.len() != usize::from(count) * 2 || count > 1_000 || weight.abs() > 1_000 {
        return Err(invalid());
    }
    let mut digits = String::with_capacity(usize::from(count) * 4);
    for _ in 0..count {
        let group = bytes.get_u16();
        if group > 9_999 {
            return Err(invalid());
        }
        digits.push_str(&format!("{group:04}"));
    }
    let scale = (i64::from(count) - 1 - weight) * 4;
    Ok(Decimal::of_digits(negative, digits, scale))
}

/// The digits with `scale` of them behind the point, at most `precision` in all. More are refused: a
/// parameter is never rounded in silence.
pub(super) fn unscaled(decimal: &Decimal, precision: u8, scale: i8) -> Result<i256, SqlError> {
    decimal.unscaled(precision, scale).ok_or_else(|| {
        let message = format!("a numeric parameter has more digits than numeric({precision}, {scale}) keeps");
        errors::out_of_range(message)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn binary_forms_go_both_ways() {
        let cases: [(&str, &[i16]); 8] = [
            ("0", &[0, 0, 0, 0]),
            ("1", &[1, 0, 0, 0, 1]),
            ("-1.5", &[2, 0, 0x4000, 1, 1, 5000]),
            ("10000", &[1, 1, 0, 0, 1]),
            ("12345.678", &[3, 1, 0, 3, 1, 2345, 6780]),
            ("0.0001", &[1, -1, 0, 4, 1]),
            ("0.00001", &[1, -2, 0, 5, 1000]),
            ("100000000", &[1, 2, 0, 0, 1]),
        ];
        for (written, fields) in cases {
            let decimal = Decimal::parse(written).unwrap();
            let mut output = BytesMut::new();
            put_binary(&mut output, &decimal);
            let expected: Vec<u8> = fields.iter().flat_map(|field| field.to_be_bytes()).collect();
            assert_eq!(&output[..], expected, "{written}");
            assert_eq!(parse_binary(&output).unwrap(), decimal);
        }
    }

    #[test]
    fn bytes_that_are_no_numeric_are_refused() {
        let cases: [&[u8]; 4] = [b"", b"\0\x01\0\0\0\0\0\0", b"\0\x01\0\0\0\0\0\0\x27\x10", b"\0\0\0\0\x12\x34\0\0"];
        for bytes in cases {
            assert_eq!(parse_binary(bytes).unwrap_err().sqlstate, "22P03", "{bytes:?}");
        }
    }
}
