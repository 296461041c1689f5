//! Arithmetic of decimals beyond what Arrow's has: exact in 256 bits, rounded half away from zero where digits are
//! dropped, and divided as Postgres divides numerics.
//!
//! A decimal is its digits as an integer, and how many of them stand behind the point. Every function gives `None`
//! where the result does not fit 256 bits; that it fits the digits of its column is for the caller to see.

use arrow::datatypes::i256;

/// Digits that a quotient has at least, counted from its first one; as in Postgres.
const QUOTIENT_DIGITS: i32 = 16;
/// Decimal digits in one of those in which Postgres counts.
const GROUP: i32 = 4;
/// Decimal digits that always fit 256 bits.
const DIGITS_MAX: u32 = 76;
/// The largest power of ten in a limb, and its exponent.
const LIMB_POWER: (u64, u32) = (10_000_000_000_000_000_000, 19);

/// A decimal: its digits, and how many of them stand behind the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    /// All digits.
    pub unscaled: i256,
    /// Those behind the point.
    pub scale: i8,
}

impl Decimal {
    /// A decimal of these digits.
    pub fn new(unscaled: i256, scale: i8) -> Self {
        Self { unscaled, scale }
    }

    /// Where the first digit stands (0: before the point, −1: behind it), in groups of four; and the first group.
    fn leading_group(self) -> Option<(i32, i256)> {
        let magnitude = self.unscaled.checked_abs()?;
        let digits = digits(magnitude) as i32;
        if digits == 0 {
            return None;
        }
        let place = digits - 1 - i32::from(self.scale);
        let in_group = place.rem_euclid(GROUP) + 1;
        let group = match digits - in_group {
            more @ 0.. => magnitude.wrapping_div(power(more as u32)?),
            fewer => magnitude.wrapping_mul(power(fewer.unsigned_abs())?),
        };
        Some((place.div_euclid(GROUP), group))
    }

    /// How many digits stand behind the point without the zeros at the end.
    fn digits_behind(self) -> i32 {
        let (mut unscaled, mut scale) = (self.unscaled, i32::from(self.scale));
        let ten = i256::from_i128(10);
        while scale > 0 && unscaled.wrapping_rem(ten) == i256::ZERO {
            unscaled = unscaled.wrapping_div(ten);
            scale -= 1;
        }
        scale
    }

    /// The same number with `scale` digits behind the point, rounded if that is fewer.
    pub fn rescaled(self, scale: i8) -> Option<i256> {
        match scale.checked_sub(self.scale)? {
            more @ 0.. => self.unscaled.checked_mul(power(more.unsigned_abs().into())?),
            fewer => match power(fewer.unsigned_abs().into()) {
                Some(unit) => rounded_quotient(self.unscaled, unit),
                None => Some(i256::ZERO),
            },
        }
    }

    /// How many digits a quotient of Postgres shows behind the point, by its value: so many that sixteen follow the
    /// first one, rounded up to whole groups of four. A value between one and two groups can be of both kinds: its
    /// own digits tell, or, of exact ones, how it mostly comes about.
    pub fn quotient_digits(self) -> u8 {
        let behind = match self.leading_group() {
            None => QUOTIENT_DIGITS + GROUP,
            Some((weight, group)) => {
                let fewer = QUOTIENT_DIGITS - GROUP * weight;
                // As far as it is exact, only equal numbers and those times a power of 10,000 give one.
                let is_power = || {
                    let magnitude = self.unscaled.wrapping_abs();
                    power(digits(magnitude) - 1) == Some(magnitude)
                };
                if group == i256::ONE && (self.digits_behind() > fewer || is_power()) { fewer + GROUP } else { fewer }
            }
        };
        // No column has more.
        u8::try_from(behind.max(0)).unwrap_or(u8::MAX)
    }
}

/// `dividend / divisor` with `scale` digits behind the point, zeros behind those that Postgres gives the quotient:
/// sixteen from its first one on, and as many as either operand has. `None` if it does not fit, or the divisor is 0.
///
/// Operands with many digits are columns that have room for them: of those the zeros at the end don't count.
pub fn quotient(dividend: Decimal, divisor: Decimal, scale: i8) -> Option<i256> {
    let (divisor_weight, divisor_group) = divisor.leading_group()?;
    let (weight, group) = dividend.leading_group().unwrap_or((0, i256::ZERO));
    let weight = weight - divisor_weight - i32::from(group <= divisor_group);
    let mut digits = (QUOTIENT_DIGITS - GROUP * weight).max(0);
    for operand in [dividend, divisor] {
        let declared = i32::from(operand.scale);
        if declared > digits {
            digits = digits.max(if declared < QUOTIENT_DIGITS { declared } else { operand.digits_behind() });
        }
    }
    let digits = digits.min(i32::from(scale)) as i8;
    let shift = i32::from(digits) + i32::from(divisor.scale) - i32::from(dividend.scale);
    let unscaled = divided(dividend.unscaled, divisor.unscaled, shift)?;
    Decimal::new(unscaled, digits).rescaled(scale)
}

/// `dividend * 10^shift / divisor`, rounded.
fn divided(dividend: i256, divisor: i256, shift: i32) -> Option<i256> {
    let negative = dividend.is_negative() != divisor.is_negative();
    let (dividend, divisor) = (dividend.checked_abs()?, divisor.checked_abs()?);
    let quotient = if shift < 0 {
        // A divisor beyond 256 bits is more than twice every dividend.
        match power(shift.unsigned_abs()).and_then(|power| divisor.checked_mul(power)) {
            Some(divisor) => rounded_quotient(dividend, divisor)?,
            None => i256::ZERO,
        }
    } else if let Some(dividend) = power(shift as u32).and_then(|power| dividend.checked_mul(power)) {
        rounded_quotient(dividend, divisor)?
    } else {
        long_division(dividend, divisor, shift as u32)?
    };
    Some(if negative { quotient.wrapping_neg() } else { quotient })
}

/// The same where the shifted dividend does not fit: some digits after the others. Both are positive.
fn long_division(dividend: i256, mut divisor: i256, mut shift: u32) -> Option<i256> {
    let mut quotient = dividend.checked_div(divisor)?;
    let mut rest = dividend.wrapping_rem(divisor);
    while shift > 0 {
        // One more of the digits of a divisor that has all 76 would not fit: its last one counts for nothing.
        if digits(divisor) >= DIGITS_MAX {
            let ten = i256::from_i128(10);
            (divisor, rest) = (divisor.wrapping_div(ten), rest.wrapping_div(ten));
        }
        let step = (DIGITS_MAX - digits(divisor)).min(shift);
        let unit = power(step)?;
        rest = rest.checked_mul(unit)?;
        quotient = quotient.checked_mul(unit)?.checked_add(rest.wrapping_div(divisor))?;
        rest = rest.wrapping_rem(divisor);
        shift -= step;
    }
    if rest.checked_add(rest)? >= divisor { quotient.checked_add(i256::ONE) } else { Some(quotient) }
}

/// `left * right` with `scale` digits behind the point.
pub fn product(left: Decimal, right: Decimal, scale: i8) -> Option<i256> {
    let digits = i32::from(left.scale) + i32::from(right.scale);
    if let (Some(unscaled), Ok(digits)) = (left.unscaled.checked_mul(right.unscaled), i8::try_from(digits)) {
        return Decimal::new(unscaled, digits).rescaled(scale);
    }
    let negative = left.unscaled.is_negative() != right.unscaled.is_negative();
    let dropped = u32::try_from(digits - i32::from(scale)).ok()?;
    let magnitude = wide_product(left.unscaled.checked_abs()?, right.unscaled.checked_abs()?, dropped)?;
    Some(if negative { magnitude.wrapping_neg() } else { magnitude })
}

/// The product of two numbers that are not negative, without its last digits, rounded.
fn wide_product(left: i256, right: i256, mut dropped: u32) -> Option<i256> {
    let (left, right) = (limbs(left), limbs(right));
    let mut product = [0_u64; 8];
    for (place, left) in left.into_iter().enumerate() {
        let mut carry = 0_u128;
        for (other, right) in right.into_iter().enumerate() {
            let sum = u128::from(left) * u128::from(right) + u128::from(product[place + other]) + carry;
            product[place + other] = sum as u64;
            carry = sum >> 64;
        }
        product[place + 4] = carry as u64;
    }
    // The last digit that is dropped decides.
    let mut last = 0;
    while dropped > 0 {
        let (unit, step) = if dropped > LIMB_POWER.1 { LIMB_POWER } else { (10, 1) };
        let mut rest = 0_u128;
        for limb in product.iter_mut().rev() {
            let dividend = (rest << 64) | u128::from(*limb);
            *limb = (dividend / u128::from(unit)) as u64;
            rest = dividend % u128::from(unit);
        }
        (last, dropped) = (rest, dropped - step);
    }
    if product[4..].iter().any(|limb| *limb > 0) || product[3] >> 63 > 0 {
        return None;
    }
    let wide = |low: u64, high: u64| u128::from(high) << 64 | u128::from(low);
    let magnitude = i256::from_parts(wide(product[0], product[1]), wide(product[2], product[3]) as i128);
    if last >= 5 { magnitude.checked_add(i256::ONE) } else { Some(magnitude) }
}

/// A number that is not negative, lowest limb first.
fn limbs(number: i256) -> [u64; 4] {
    let (low, high) = number.to_parts();
    [low as u64, (low >> 64) as u64, high as u64, (high as u128 >> 64) as u64]
}

/// `left / right` rounded to a whole number, halves away from zero.
fn rounded_quotient(left: i256, right: i256) -> Option<i256> {
    if let (Some(left), Some(right)) = (left.to_i128(), right.to_i128()) {
        let (quotient, rest) = (left.checked_div(right)?, left.checked_rem(right)?);
        let away = rest.unsigned_abs() >= right.unsigned_abs() - rest.unsigned_abs();
        let quotient = i256::from_i128(quotient);
        return Some(match (away, (left < 0) == (right < 0)) {
            (false, _) => quotient,
            (true, true) => quotient.wrapping_add(i256::ONE),
            (true, false) => quotient.wrapping_sub(i256::ONE),
        });
    }
    let (quotient, rest) = (left.checked_div(right)?, left.wrapping_rem(right).checked_abs()?);
    let away = rest >= right.checked_abs()?.checked_sub(rest)?;
    match (away, left.is_negative() == right.is_negative()) {
        (false, _) => Some(quotient),
        (true, true) => quotient.checked_add(i256::ONE),
        (true, false) => quotient.checked_sub(i256::ONE),
    }
}

/// A power of ten; `None` beyond 256 bits.
pub fn power(exponent: u32) -> Option<i256> {
    (exponent <= DIGITS_MAX).then(|| i256::from_i128(10).wrapping_pow(exponent))
}

/// How many decimal digits a number that is not negative has; zero has none.
fn digits(number: i256) -> u32 {
    match number.to_i128() {
        Some(small) => small.unsigned_abs().checked_ilog10().map_or(0, |power| power + 1),
        None => {
            // Beyond 128 bits there are at least 39.
            let mut count = 38;
            let mut rest = number.wrapping_div(power(38).unwrap_or(i256::ONE));
            while rest > i256::ZERO {
                rest = rest.wrapping_div(i256::from_i128(10));
                count += 1;
            }
            count
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn decimal(text: &str) -> Decimal {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        Decimal::new(i256::from_string(&format!("{whole}{fraction}")).unwrap(), fraction.len() as i8)
    }

    fn divided_to(left: &str, right: &str, scale: i8) -> Option<i256> {
        quotient(decimal(left), decimal(right), scale)
    }

    /// Each as a Postgres 15 gives it.
    #[test]
    fn quotients_have_the_digits_of_postgres() {
        for (left, right, expected) in [
            ("1", "3.0", "0.33333333333333333333"),
            ("6.0", "2", "3.0000000000000000"),
            ("2", "3.0", "0.66666666666666666667"),
            ("-2", "3.0", "-0.66666666666666666667"),
            ("1", "30000.0", "0.000033333333333333333333"),
            ("100000", "3.0", "33333.333333333333"),
            ("1000000000000000000", "3.0", "333333333333333333.3"),
            ("1.5", "1", "1.50000000000000000000"),
            ("0", "3.0", "0.00000000000000000000"),
            ("20000", "1.5", "13333.333333333333"),
            ("1.00000000000000000000000001", "3", "0.33333333333333333333333334"),
        ] {
            let found = divided_to(left, right, 38).unwrap();
            assert_eq!(Some(found), decimal(expected).rescaled(38), "{left} / {right}");
            let shown = decimal(expected).scale;
            let exact = ["1.5", "1.00000000000000000000000001", "1000000000000000000"].contains(&left);
            assert!(exact || Decimal::new(found, 38).quotient_digits() == shown.unsigned_abs(), "{left} / {right}");
        }
        assert_eq!(divided_to("1", "0", 20), None);
    }

    #[test]
    fn long_numbers_are_divided_and_multiplied() {
        let long = format!("{}.{}", "7".repeat(38), "3".repeat(38));
        assert_eq!(divided_to(&long, &long, 38), power(38));
        assert_eq!(divided_to(&long, "0.00000000000000000000000000000000000001", 38), None);
        // All 76 digits on both sides: the last one of the divisor is not looked at.
        let nines = "9".repeat(76);
        assert_eq!(divided_to("1", &nines, 38), Some(i256::ZERO));
        assert_eq!(divided_to(&nines, &nines, 38), power(38));
        let third = decimal(&format!("0.{}", "3".repeat(38)));
        let ninth = product(third, third, 38).unwrap();
        assert_eq!(ninth, i256::from_string(&"1".repeat(38)).unwrap());
        let wide = decimal(&format!("{}.{}", "6".repeat(20), "6".repeat(38)));
        let squared = product(wide, wide, 30).map(|unscaled| unscaled.to_string());
        // 4/9 of 10^40, but for what 58 digits lose.
        assert!(squared.unwrap().starts_with(&"4".repeat(38)));
        assert_eq!(product(decimal(&nines), decimal(&nines), 0), None);
        assert_eq!(product(decimal("-1.5"), decimal("0.25"), 2), Some(i256::from_i128(-38)), "-0.375 is rounded");
    }

    #[test]
    fn numbers_are_rounded_half_away_from_zero() {
        for (text, scale, expected) in
            [("2.5", 0, 3), ("-2.5", 0, -3), ("2.4999", 0, 2), ("0.05", 1, 1), ("7", 2, 700), ("-0.04", 1, 0)]
        {
            assert_eq!(decimal(text).rescaled(scale), Some(i256::from_i128(expected)), "{text}");
        }
        assert_eq!(decimal(&"9".repeat(76)).rescaled(2), None);
    }
}
