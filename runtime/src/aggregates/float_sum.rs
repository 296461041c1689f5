//! Exact sums of floating-point numbers.
//!
//! A sum is a fixed-point integer in units of 2^-1074, the smallest positive double, held as signed digits of
//! 32 bits with room for carries. It is only as wide as its values need. Nothing is ever rounded while
//! adding, so the sum is a function of the multiset of values: it takes back what was added and does not
//! depend on order or parallelism. Rounding happens once, to nearest even, when the result is read.
//!
//! The idea is Kulisch's long accumulator; the digits with delayed carries are those of R. Neal, "Fast exact
//! summation using small and large superaccumulators" (2015).

use crate::aggregates::bytes::{Reader, put_i64, put_u32};
use crate::error::Result;

/// Bits of a digit; the other 31 bits and the sign of an `i64` are room for carries.
const DIGIT_BITS: usize = 32;
const DIGIT_MASK: i64 = (1 << DIGIT_BITS) - 1;
/// Additions after which a digit might leave its `i64`: each adds less than 2^34 in absolute value.
const ADDITIONS_BEFORE_CARRY: u32 = 1 << 28;
/// The exponent of a unit: values are integers times 2^UNIT_EXPONENT.
const UNIT_EXPONENT: i64 = -1074;

/// The exact sum of a multiset of floats.
#[derive(Clone, Debug, Default)]
pub(super) struct FloatSum {
    /// Position of the first digit, in digits from the unit.
    first: u32,
    /// Additions since the carries were last taken.
    additions: u32,
    digits: Vec<i64>,
    /// Values that are not finite, rarely there.
    special: Option<Box<Special>>,
}

/// How many values are not finite.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Special {
    nan: i64,
    positive: i64,
    negative: i64,
}

/// The float type of a result: its bits of precision and the position of its smallest unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FloatWidth {
    /// `real`.
    Single,
    /// `double precision`.
    Double,
}

impl FloatSum {
    /// Adds `value` `weight` times.
    #[inline]
    pub(super) fn add(&mut self, value: f64, weight: i64) {
        if !value.is_finite() {
            return self.add_special(value, weight);
        }
        let bits = value.to_bits();
        let exponent = ((bits >> 52) & 0x7ff) as usize;
        let fraction = bits & ((1 << 52) - 1);
        // A subnormal has the same unit as the smallest normal number, without the hidden bit.
        let (mantissa, position) = if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 52, exponent - 1) };
        if mantissa == 0 {
            return;
        }
        let negative = value.is_sign_negative() != (weight < 0);
        let shifted = u128::from(mantissa) << (position % DIGIT_BITS);
        let at = (position / DIGIT_BITS) as u32;
        if weight.unsigned_abs() == 1 {
            self.reserve(at, 3);
            let digits = &mut self.digits[(at - self.first) as usize..][..3];
            let parts = [shifted as u32, (shifted >> 32) as u32, (shifted >> 64) as u32];
            for (digit, part) in digits.iter_mut().zip(parts) {
                *digit += if negative { -i64::from(part) } else { i64::from(part) };
            }
            self.count_addition();
        } else {
            self.add_times(at, shifted, weight.unsigned_abs(), negative);
        }
    }

    fn add_times(&mut self, at: u32, shifted: u128, times: u64, negative: bool) {
        self.reserve(at, 6);
        for part in 0..3 {
            let product = ((shifted >> (32 * part)) & u128::from(u32::MAX)) * u128::from(times);
            for step in 0..3 {
                let digit = ((product >> (32 * step)) & u128::from(u32::MAX)) as i64;
                self.digits[(at - self.first) as usize + part + step] += if negative { -digit } else { digit };
            }
        }
        self.count_addition();
    }

    #[cold]
    fn add_special(&mut self, value: f64, weight: i64) {
        let special = self.special.get_or_insert_default();
        let count = if value.is_nan() {
            &mut special.nan
        } else if value > 0.0 {
            &mut special.positive
        } else {
            &mut special.negative
        };
        *count += weight;
        if **special == Special::default() {
            self.special = None;
        }
    }

    fn count_addition(&mut self) {
        self.additions += 1;
        if self.additions == ADDITIONS_BEFORE_CARRY {
            self.carry();
        }
    }

    /// Makes the digits `at .. at + count` addressable.
    #[inline]
    fn reserve(&mut self, at: u32, count: u32) {
        if self.digits.is_empty() {
            self.first = at;
        }
        if at < self.first {
            let missing = (self.first - at) as usize;
            self.digits.splice(0..0, std::iter::repeat_n(0, missing));
            self.first = at;
        }
        let length = (at - self.first + count) as usize;
        if self.digits.len() < length {
            self.digits.resize(length, 0);
        }
    }

    /// Brings every digit but the last into 0..2^32; the last one carries the sign.
    fn carry(&mut self) {
        self.additions = 0;
        let mut carry = 0;
        for digit in &mut self.digits {
            let sum = *digit + carry;
            *digit = sum & DIGIT_MASK;
            carry = sum >> DIGIT_BITS;
        }
        while carry != 0 && carry != -1 {
            self.digits.push(carry & DIGIT_MASK);
            carry >>= DIGIT_BITS;
        }
        if carry == -1 {
            self.digits.push(-1);
        }
        // A sum that shrank gives its leading zeros (or, below zero, its leading ones) back.
        while self.digits.last() == Some(&0) {
            self.digits.pop();
        }
        while let [.., ones, -1] = self.digits.as_mut_slice()
            && *ones == DIGIT_MASK
        {
            *ones = -1;
            self.digits.pop();
        }
    }

    /// The sum rounded once to nearest even; `None` when a finite sum is beyond the type's range.
    pub(super) fn round(&self, width: FloatWidth) -> Option<f64> {
        if let Some(special) = &self.special {
            return Some(match (special.nan != 0, special.positive != 0, special.negative != 0) {
                (false, true, false) => f64::INFINITY,
                (false, false, true) => f64::NEG_INFINITY,
                _ => f64::NAN,
            });
        }
        let (negative, magnitude) = self.magnitude();
        let rounded = round_magnitude(&magnitude, self.first as usize * DIGIT_BITS, width);
        let rounded = match width {
            FloatWidth::Single => f64::from(rounded as f32),
            FloatWidth::Double => rounded,
        };
        rounded.is_finite().then_some(if negative { -rounded } else { rounded })
    }

    /// Sign and digits in 0..2^32 of the absolute value, without leading zeros.
    fn magnitude(&self) -> (bool, Vec<u32>) {
        let mut sum = self.clone();
        sum.carry();
        let negative = sum.digits.last() == Some(&-1);
        if negative {
            for digit in &mut sum.digits {
                *digit = -*digit;
            }
            sum.carry();
        }
        (negative, sum.digits.iter().map(|digit| *digit as u32).collect())
    }

    /// Adds another sum.
    pub(super) fn add_sum(&mut self, other: &Self) {
        let mut other = other.clone();
        other.carry();
        self.carry();
        if !other.digits.is_empty() {
            self.reserve(other.first, other.digits.len() as u32);
            let start = (other.first - self.first) as usize;
            for (digit, added) in self.digits[start..].iter_mut().zip(&other.digits) {
                *digit += added;
            }
            self.count_addition();
        }
        if let Some(special) = other.special {
            for (value, count) in
                [(f64::NAN, special.nan), (f64::INFINITY, special.positive), (f64::NEG_INFINITY, special.negative)]
            {
                if count != 0 {
                    self.add_special(value, count);
                }
            }
        }
    }

    pub(super) fn save(&self, bytes: &mut Vec<u8>) {
        let mut sum = self.clone();
        sum.carry();
        put_u32(bytes, sum.first);
        put_u32(bytes, sum.digits.len() as u32);
        for digit in &sum.digits {
            put_i64(bytes, *digit);
        }
        let special = sum.special.unwrap_or_default();
        for count in [special.nan, special.positive, special.negative] {
            put_i64(bytes, count);
        }
    }

    pub(super) fn load(reader: &mut Reader<'_>) -> Result<Self> {
        let first = reader.u32()?;
        let length = reader.u32()? as usize;
        let digits = (0..length).map(|_| reader.i64()).collect::<Result<_>>()?;
        let special = Special { nan: reader.i64()?, positive: reader.i64()?, negative: reader.i64()? };
        let special = (special != Special::default()).then(|| Box::new(special));
        Ok(Self { first, additions: 0, digits, special })
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.digits.capacity() * 8 + self.special.as_ref().map_or(0, |_| std::mem::size_of::<Special>())
    }
}

/// Rounds an integer of 32-bit digits, whose lowest bit stands `base` bits above the unit, to nearest even.
/// Infinite when it is beyond the range of a double.
fn round_magnitude(digits: &[u32], base: usize, width: FloatWidth) -> f64 {
    let Some(last) = digits.iter().rposition(|digit| *digit != 0) else { return 0.0 };
    let bit = |position: usize| {
        position >= base && digits.get((position - base) / 32).is_some_and(|d| d >> ((position - base) % 32) & 1 == 1)
    };
    let highest = base + last * 32 + 31 - digits[last].leading_zeros() as usize;
    let (precision, smallest) = match width {
        FloatWidth::Single => (24, 1074 - 149),
        FloatWidth::Double => (53, 0),
    };
    // The position of the result's last bit: no lower than the type's smallest positive value.
    let quantum = (highest + 1).saturating_sub(precision).max(smallest);
    let mut mantissa = (quantum..=highest).rev().fold(0_u64, |mantissa, at| mantissa << 1 | u64::from(bit(at)));
    if quantum > 0 && bit(quantum - 1) {
        let above_half = (base..quantum - 1).any(bit);
        if above_half || mantissa & 1 == 1 {
            mantissa += 1;
        }
    }
    let exponent = quantum as i64 + UNIT_EXPONENT;
    if exponent > 1023 {
        return f64::INFINITY;
    }
    // Both factors and the product are exact, because the product has at most `precision` bits.
    mantissa as f64 * power_of_two(exponent)
}

/// 2^exponent for -1074..=1023.
fn power_of_two(exponent: i64) -> f64 {
    if exponent < -1022 {
        f64::from_bits(1 << (exponent + 1074))
    } else {
        f64::from_bits(((exponent + 1023) as u64) << 52)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn sum(values: &[f64]) -> f64 {
        let mut sum = FloatSum::default();
        for value in values {
            sum.add(*value, 1);
        }
        sum.round(FloatWidth::Double).unwrap_or(f64::INFINITY)
    }

    #[test]
    fn sums_are_exact() {
        assert_eq!(sum(&[]), 0.0);
        assert_eq!(sum(&[0.1, 0.2, -0.1, -0.2]), 0.0);
        assert_eq!(sum(&[1e308, 1e308, -1e308, -1e308, 5e-324]), 5e-324);
        assert_eq!(sum(&[1e16, 1.0, -1e16]), 1.0);
        assert_eq!(sum(&[f64::MAX, f64::MAX]), f64::INFINITY);
        assert_eq!(sum(&[-2.5, -1.0]), -3.5);
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
        assert_eq!(sum(&[f64::NEG_INFINITY, 3.0]), f64::NEG_INFINITY);
        // Ties go to even: 2^53 + 1 lies between 2^53 and 2^53 + 2.
        assert_eq!(sum(&[9007199254740992.0, 1.0]), 9007199254740992.0);
        assert_eq!(sum(&[9007199254740992.0, 1.0, 5e-324]), 9007199254740994.0);
        assert_eq!(sum(&[2.2250738585072014e-308, -5e-324]), 2.225073858507201e-308);
    }

    #[test]
    fn a_single_is_rounded_once() {
        // Rounded first to a double, 1 + 2^-24 + 2^-60 would become a tie and go down to 1.
        let mut sum = FloatSum::default();
        for value in [1.0, 2f64.powi(-24), 2f64.powi(-60)] {
            sum.add(value, 1);
        }
        assert_eq!(sum.round(FloatWidth::Single), Some(f64::from(1.0_f32 + f32::EPSILON)));
        let mut large = FloatSum::default();
        large.add(f64::from(f32::MAX), 2);
        assert_eq!(large.round(FloatWidth::Single), None);
        assert_eq!(large.round(FloatWidth::Double), Some(f64::from(f32::MAX) * 2.0));
    }

    #[test]
    fn every_single_value_survives() {
        let mut random = StdRng::seed_from_u64(7);
        for _ in 0..20_000 {
            let value = f64::from_bits(random.random());
            if value.is_finite() {
                assert_eq!(sum(&[value]), value, "{value:e}");
                let single = f32::from_bits(random.random());
                if single.is_finite() {
                    let mut sum = FloatSum::default();
                    sum.add(f64::from(single), 1);
                    assert_eq!(sum.round(FloatWidth::Single), Some(f64::from(single)));
                }
            }
        }
    }

    #[test]
    fn order_weights_merging_and_saving_make_no_difference() {
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let values: Vec<(f64, i64)> = (0..random.random_range(1..60))
                .map(|_| {
                    let exponent = random.random_range(-300..300);
                    (random.random_range(-1.0..1.0) * 10f64.powi(exponent), random.random_range(-5..6))
                })
                .collect();
            let (mut forward, mut backward, mut halves) =
                (FloatSum::default(), FloatSum::default(), [FloatSum::default(), FloatSum::default()]);
            for (index, (value, weight)) in values.iter().enumerate() {
                forward.add(*value, *weight);
                halves[index % 2].add(*value, *weight);
            }
            for (value, weight) in values.iter().rev() {
                for _ in 0..weight.abs() {
                    backward.add(*value, weight.signum());
                }
            }
            let mut bytes = Vec::new();
            halves[0].save(&mut bytes);
            let mut merged = FloatSum::load(&mut Reader::new(&bytes)).unwrap();
            merged.add_sum(&halves[1]);
            let expected = forward.round(FloatWidth::Double);
            assert_eq!(backward.round(FloatWidth::Double), expected, "seed {seed}");
            assert_eq!(merged.round(FloatWidth::Double), expected, "seed {seed}");
            for (value, weight) in &values {
                forward.add(*value, -weight);
            }
            assert_eq!(forward.round(FloatWidth::Double), Some(0.0), "seed {seed}");
        }
    }
}
