//! Numerics: decimal digits with a scale, and their text.

use std::cmp::Ordering;

use arrow::datatypes::i256;
use bytes::{BufMut, BytesMut};

use crate::error::{PlanError, PlanErrorKind, Result};

/// A decimal number: its digits without leading zeros, how many of them stand behind the point, its sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    digits: String,
    scale: usize,
}

impl Decimal {
    /// Without trailing zeros behind the point.
    pub fn new(unscaled: i256, scale: i8) -> Self {
        let text = match unscaled.to_i128() {
            Some(small) => small.to_string(),
            None => unscaled.to_string(),
        };
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits.to_owned()),
            None => (false, text),
        };
        Self::of_digits(negative, digits, i64::from(scale))
    }

    /// A number of decimal digits, `scale` of them behind the point (below 0: as many zeros follow them).
    pub fn of_digits(negative: bool, mut digits: String, mut scale: i64) -> Self {
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

    /// The same number with at least so many digits behind the point.
    pub fn with_digits(mut self, digits: u8) -> Self {
        let missing = usize::from(digits).saturating_sub(self.scale);
        if !self.digits.is_empty() {
            self.digits.extend(std::iter::repeat_n('0', missing));
        }
        self.scale += missing;
        self
    }

    /// Writes it as text.
    pub fn put_text(&self, output: &mut BytesMut) {
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

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// How many digits stand behind the point.
    pub fn scale(&self) -> usize {
        self.scale
    }

    /// How many digits it takes to write it, leading zeros behind the point included.
    pub fn precision(&self) -> usize {
        self.digits.len().max(self.scale)
    }

    /// The digits before the point, and those behind it without the zeros that come first.
    pub fn parts(&self) -> (&str, &str) {
        self.digits.split_at(self.digits.len().saturating_sub(self.scale))
    }

    /// The float nearest to it.
    pub fn to_f64(&self) -> f64 {
        let mut text = BytesMut::new();
        self.put_text(&mut text);
        std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
    }

    /// Which one is the larger number.
    pub fn compare(&self, other: &Self) -> Ordering {
        let absolute = || {
            let ((whole, fraction), (other_whole, other_fraction)) = (self.parts(), other.parts());
            let places = |scale: usize, fraction: &str| format!("{}{fraction}", "0".repeat(scale - fraction.len()));
            let fractions = || {
                let (left, right) = (places(self.scale, fraction), places(other.scale, other_fraction));
                left.trim_end_matches('0').cmp(right.trim_end_matches('0'))
            };
            whole.len().cmp(&other_whole.len()).then_with(|| whole.cmp(other_whole)).then_with(fractions)
        };
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => absolute(),
            (true, true) => absolute().reverse(),
        }
    }

    /// Reads text: digits with an optional sign, point and exponent.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || {
            let message = format!("invalid input syntax for type numeric: \"{text}\"");
            PlanError::new(PlanErrorKind::InvalidTextRepresentation, message)
        };
        let out_of_range = |message: String| PlanError::new(PlanErrorKind::NumericValueOutOfRange, message);
        let trimmed = text.trim_ascii();
        let (negative, rest) = match trimmed.as_bytes().first() {
            Some(b'-') => (true, &trimmed[1..]),
            Some(b'+') => (false, &trimmed[1..]),
            _ => (false, trimmed),
        };
        if ["nan", "infinity", "inf"].contains(&rest.to_ascii_lowercase().as_str()) {
            return Err(out_of_range(format!("numeric {text} is not supported")));
        }
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().map_err(|_| invalid())?),
            None => (rest, 0),
        };
        if exponent.abs() > 1_000 {
            return Err(out_of_range("value overflows numeric format".to_string()));
        }
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid());
        }
        Ok(Self::of_digits(negative, digits, fraction.len() as i64 - exponent))
    }

    /// Rounded to at most `scale` digits behind the point, halves away from zero.
    #[must_use]
    pub fn rounded(&self, scale: i8) -> Self {
        let scale = usize::try_from(scale).unwrap_or(0);
        let Some(cut) = self.scale.checked_sub(scale).filter(|cut| *cut > 0) else { return self.clone() };
        // One zero more in front takes what is carried over.
        let padded = format!("{}{}", "0".repeat((cut + 1).saturating_sub(self.digits.len()) + 1), self.digits);
        let (kept, dropped) = padded.split_at(padded.len() - cut);
        let mut digits = kept.as_bytes().to_vec();
        if dropped.as_bytes()[0] >= b'5' {
            for digit in digits.iter_mut().rev() {
                *digit = if *digit == b'9' { b'0' } else { *digit + 1 };
                if *digit != b'0' {
                    break;
                }
            }
        }
        let digits = digits.into_iter().map(char::from).collect();
        Self::of_digits(self.negative, digits, scale as i64)
    }

    /// The digits with `scale` of them behind the point; `None` when that loses some, or takes more than
    /// `precision` in all.
    pub fn unscaled(&self, precision: u8, scale: i8) -> Option<i256> {
        if self.digits.is_empty() {
            return Some(i256::ZERO);
        }
        let zeros = usize::try_from(i64::from(scale) - self.scale as i64).ok()?;
        if self.digits.len() + zeros > usize::from(precision) {
            return None;
        }
        let sign = if self.negative { "-" } else { "" };
        i256::from_string(&format!("{sign}{}{}", self.digits, "0".repeat(zeros)))
    }
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Self {
        Self::new(i256::from_i128(value.into()), 0)
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
    fn numbers_are_compared_by_their_value() {
        let sorted = ["-100", "-1.5", "-1.05", "0", "0.009", "0.09", "0.1", "1", "1.5", "1.50001", "9", "10", "1e40"];
        let sorted: Vec<Decimal> = sorted.iter().map(|text| Decimal::parse(text).unwrap()).collect();
        for (at, left) in sorted.iter().enumerate() {
            for (other, right) in sorted.iter().enumerate() {
                assert_eq!(left.compare(right), at.cmp(&other), "{left:?} {right:?}");
            }
        }
        assert_eq!(
            Decimal::parse("1.5").unwrap().with_digits(3).compare(&Decimal::parse("1.50").unwrap()),
            Ordering::Equal
        );
        assert_eq!(Decimal::from(-12).compare(&Decimal::parse("-12").unwrap()), Ordering::Equal);
        assert_eq!(Decimal::parse("-0.25").unwrap().to_f64(), -0.25);
    }

    #[test]
    fn rounding_carries() {
        for (written, scale, expected) in [
            ("1.005", 2, "1.01"),
            ("-1.004", 2, "-1"),
            ("9.995", 2, "10"),
            ("0.004", 2, "0"),
            ("0.5", 0, "1"),
            ("7", 2, "7"),
        ] {
            assert_eq!(text(&Decimal::parse(written).unwrap().rounded(scale)), expected, "{written}");
        }
        assert_eq!(text(&Decimal::parse("0.0001").unwrap().rounded(0)), "0");
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
        let (invalid, out_of_range) = (PlanErrorKind::InvalidTextRepresentation, PlanErrorKind::NumericValueOutOfRange);
        for (wrong, kind) in [
            ("", invalid),
            ("1,5", invalid),
            ("1e", invalid),
            ("--1", invalid),
            ("NaN", out_of_range),
            ("1e999999", out_of_range),
        ] {
            assert_eq!(Decimal::parse(wrong).unwrap_err().kind, kind, "{wrong}");
        }
    }

    #[test]
    fn no_digit_is_lost() {
        let decimal = Decimal::parse("12.345").unwrap();
        assert_eq!(decimal.unscaled(6, 4), Some(i256::from_i128(123_450)));
        assert_eq!(decimal.unscaled(6, 2), None);
        assert_eq!(decimal.unscaled(4, 3), None);
        assert_eq!(Decimal::parse("0.000").unwrap().unscaled(1, 0), Some(i256::ZERO));
    }
}
