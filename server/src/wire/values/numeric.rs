//! Numerics: decimal digits with a scale, as text, in Postgres' base-10000 binary form, and back.

use arrow::datatypes::i256;
use bytes::{Buf, BufMut, BytesMut};

use crate::session::SqlError;
use crate::wire::errors;

/// A decimal number: its digits without leading zeros, how many of them stand behind the point, its sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    digits: String,
    scale: usize,
}

impl Decimal {
    /// Without trailing zeros behind the point.
    pub(super) fn new(unscaled: i256, scale: i8) -> Self {
        let text = match unscaled.to_i128() {
            Some(small) => small.to_string(),
            None => unscaled.to_string(),
        };
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits.to_owned()),
            None => (false, text),
        };
        Self::normalized(negative, digits, i64::from(scale))
    }

    fn normalized(negative: bool, mut digits: String, mut scale: i64) -> Self {
        let leading = digits.len() - digits.trim_start_matches('0').len();
        digits.drain(..leading);
        if digits.is_empty() {
            return Self { negative: false, digits, scale: 0 };
        }
        while scale > 0 && digits.ends_with('0') {
            digits.pop();
            scale -= 1;
        }
        while scale < 0 {
            digits.push('0');
            scale += 1;
        }
        Self { negative, digits, scale: scale as usize }
    }

    /// Writes it as text.
    pub(super) fn put_text(&self, output: &mut BytesMut) {
        if self.negative {
            output.put_u8(b'-');
        }
        let (whole, fraction) = self.parts();
        output.put_slice(if whole.is_empty() { b"0" } else { whole.as_bytes() });
        if self.scale > 0 {
            output.put_u8(b'.');
            output.put_bytes(b'0', self.scale - fraction.len());
            output.put_slice(fraction.as_bytes());
        }
    }

    /// The digits before the point, and those behind it without the zeros that come first.
    fn parts(&self) -> (&str, &str) {
        self.digits.split_at(self.digits.len().saturating_sub(self.scale))
    }

    /// Writes the binary form: groups of four digits, aligned at the point.
    pub(super) fn put_binary(&self, output: &mut BytesMut) {
        let (whole, fraction) = self.parts();
        let fraction = format!("{}{fraction}", "0".repeat(self.scale - fraction.len()));
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
        output.put_u16(if self.negative { 0x4000 } else { 0 });
        output.put_i16(self.scale as i16);
        for group in groups {
            output.put_i16(group);
        }
    }

    /// Reads text: digits with an optional sign, point and exponent.
    pub(super) fn parse(text: &str) -> Result<Self, SqlError> {
        let invalid = || errors::invalid_text("numeric", text);
        let trimmed = text.trim_ascii();
        let (negative, rest) = match trimmed.as_bytes().first() {
            Some(b'-') => (true, &trimmed[1..]),
            Some(b'+') => (false, &trimmed[1..]),
            _ => (false, trimmed),
        };
        if ["nan", "infinity", "inf"].contains(&rest.to_ascii_lowercase().as_str()) {
            return Err(errors::out_of_range(format!("numeric {text} is not supported")));
        }
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().map_err(|_| invalid())?),
            None => (rest, 0),
        };
        if exponent.abs() > 1_000 {
            return Err(errors::out_of_range("value overflows numeric format"));
        }
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid());
        }
        Ok(Self::normalized(negative, digits, fraction.len() as i64 - exponent))
    }

    /// Reads the binary form.
    pub(super) fn parse_binary(mut bytes: &[u8]) -> Result<Self, SqlError> {
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
        Ok(Self::normalized(negative, digits, scale))
    }

    /// The digits with `scale` of them behind the point, at most `precision` in all. More are refused: a
    /// parameter is never rounded in silence.
    pub(super) fn unscaled(&self, precision: u8, scale: i8) -> Result<i256, SqlError> {
        let scale = i64::from(scale);
        let zeros = scale - self.scale as i64;
        let too_long = || {
            let message = format!("a numeric parameter has more digits than numeric({precision}, {scale}) keeps");
            errors::out_of_range(message)
        };
        if self.digits.is_empty() {
            return Ok(i256::ZERO);
        }
        let zeros = usize::try_from(zeros).map_err(|_| too_long())?;
        if self.digits.len() + zeros > usize::from(precision) {
            return Err(too_long());
        }
        let sign = if self.negative { "-" } else { "" };
        let text = format!("{sign}{}{}", self.digits, "0".repeat(zeros));
        i256::from_string(&text).ok_or_else(too_long)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(decimal: &Decimal) -> String {
        let mut output = BytesMut::new();
        decimal.put_text(&mut output);
        String::from_utf8(output.to_vec()).unwrap()
    }

    #[test]
    fn texts() {
        for (unscaled, scale, expected) in [
            (0, 0, "0"),
            (0, 10, "0"),
            (150, 2, "1.5"),
            (100, 2, "1"),
            (-5, 1, "-0.5"),
            (-5, 3, "-0.005"),
            (1_234_567, 4, "123.4567"),
            (100, 0, "100"),
            (12, -3, "12000"),
            (i128::MIN, 0, "-170141183460469231731687303715884105728"),
        ] {
            assert_eq!(text(&Decimal::new(i256::from_i128(unscaled), scale)), expected);
        }
        let wide = i256::from_string("1234567890123456789012345678901234567890123456789012345678901234567890").unwrap();
        let expected = "1234567890123456789012345678901234567890.12345678901234567890123456789";
        assert_eq!(text(&Decimal::new(wide, 30)), expected);
    }

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
            decimal.put_binary(&mut output);
            let expected: Vec<u8> = fields.iter().flat_map(|field| field.to_be_bytes()).collect();
            assert_eq!(&output[..], expected, "{written}");
            assert_eq!(Decimal::parse_binary(&output).unwrap(), decimal);
            assert_eq!(text(&decimal), written);
        }
    }

    #[test]
    fn texts_are_read_as_postgres_does() {
        for (written, shown) in [
            (" 1.50 ", "1.5"),
            ("+7", "7"),
            ("1e3", "1000"),
            ("1.25E-2", "0.0125"),
            (".5", "0.5"),
            ("5.", "5"),
            ("-0", "0"),
        ] {
            assert_eq!(text(&Decimal::parse(written).unwrap()), shown);
        }
        for (wrong, sqlstate) in [
            ("", "22P02"),
            ("1,5", "22P02"),
            ("1e", "22P02"),
            ("--1", "22P02"),
            ("NaN", "22003"),
            ("1e999999", "22003"),
        ] {
            assert_eq!(Decimal::parse(wrong).unwrap_err().sqlstate, sqlstate, "{wrong}");
        }
    }

    #[test]
    fn more_digits_than_are_kept_are_refused() {
        let decimal = Decimal::parse("12.345").unwrap();
        assert_eq!(decimal.unscaled(6, 4).unwrap(), i256::from_i128(123_450));
        assert_eq!(decimal.unscaled(6, 2).unwrap_err().sqlstate, "22003");
        assert_eq!(decimal.unscaled(4, 3).unwrap_err().sqlstate, "22003");
        assert_eq!(Decimal::parse("0.000").unwrap().unscaled(1, 0).unwrap(), i256::ZERO);
    }

    #[test]
    fn bytes_that_are_no_numeric_are_refused() {
        let cases: [&[u8]; 4] = [b"", b"\0\x01\0\0\0\0\0\0", b"\0\x01\0\0\0\0\0\0\x27\x10", b"\0\0\0\0\x12\x34\0\0"];
        for bytes in cases {
            assert_eq!(Decimal::parse_binary(bytes).unwrap_err().sqlstate, "22P03", "{bytes:?}");
        }
    }
}
