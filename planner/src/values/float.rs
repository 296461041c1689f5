//! Floats as Postgres prints them: the shortest digits that read back to the same value, or a number of digits.

use std::fmt::{LowerExp, Write as _};

use bytes::BytesMut;

/// Writes a `double precision`: plain from 1e-4 up to 1e15, with an exponent beyond. `extra_digits` above 0 are
/// the shortest digits, others 15 and so many more.
pub fn put_float8(output: &mut BytesMut, value: f64, extra_digits: i8) {
    match special(value) {
        Some(text) => output.extend_from_slice(text.as_bytes()),
        None if extra_digits > 0 => put_finite(output, value, 15),
        None => put_digits(output, value, 15 + i32::from(extra_digits)),
    }
}

/// Writes a `real`: plain from 1e-4 up to 1e6, with an exponent beyond. `extra_digits` as above, of 6.
pub fn put_float4(output: &mut BytesMut, value: f32, extra_digits: i8) {
    match special(f64::from(value)) {
        Some(text) => output.extend_from_slice(text.as_bytes()),
        None if extra_digits > 0 => put_finite(output, value, 6),
        None => put_digits(output, f64::from(value), 6 + i32::from(extra_digits)),
    }
}

/// C's `%g`: at least one digit, zeros at the end left out.
fn put_digits(output: &mut BytesMut, value: f64, digits: i32) {
    let digits = digits.max(1);
    let rounded = format!("{value:.*e}", digits as usize - 1);
    let (mantissa, exponent) = rounded.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a small integer");
    let without_zeros = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text.to_string(),
    };
    let written = if (-4..digits).contains(&exponent) {
        write!(output, "{}", without_zeros(&format!("{value:.*}", (digits - 1 - exponent) as usize)))
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(output, "{}e{sign}{:02}", without_zeros(mantissa), exponent.abs())
    };
    written.expect("writing to memory does not fail");
}

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value.is_infinite() {
        Some(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else if value == 0.0 {
        Some(if value.is_sign_negative() { "-0" } else { "0" })
    } else {
        None
    }
}

fn put_finite(output: &mut BytesMut, value: impl LowerExp, plain_digits: i32) {
    // `d.ddde±x` with the shortest digits.
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a small integer");
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => ("-", mantissa),
        None => ("", mantissa),
    };
    let written = if !(-4..plain_digits).contains(&exponent) {
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        write!(output, "{sign}{mantissa}e{exponent_sign}{:02}", exponent.abs())
    } else {
        let digits = mantissa.replace('.', "");
        if exponent < 0 {
            let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
            write!(output, "{sign}0.{zeros}{digits}")
        } else {
            let whole = exponent as usize + 1;
            match digits.len() > whole {
                true => write!(output, "{sign}{}.{}", &digits[..whole], &digits[whole..]),
                false => write!(output, "{sign}{digits:0<whole$}"),
            }
        }
    };
    written.expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn float8(value: f64) -> String {
        let mut output = BytesMut::new();
        put_float8(&mut output, value, 1);
        String::from_utf8(output.to_vec()).unwrap()
    }

    #[test]
    fn double_precision() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (100.0, "100"),
            (123_456.789, "123456.789"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (0.000_012_34, "1.234e-05"),
            (123_456_789_012_345.0, "123456789012345"),
            (999_999_999_999_999.0, "999999999999999"),
            (1e15, "1e+15"),
            (1_234_567_890_123_456.0, "1.234567890123456e+15"),
            (1e20, "1e+20"),
            (1e100, "1e+100"),
            (1e300, "1e+300"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
            (std::f64::consts::PI, "3.141592653589793"),
        ] {
            assert_eq!(float8(value), text);
        }
    }

    #[test]
    fn real() {
        for (value, text) in [
            (0.1f32, "0.1"),
            (1.5, "1.5"),
            (123_456.0, "123456"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (0.0001, "0.0001"),
            (1e-5, "1e-05"),
            (16_777_216.0, "1.6777216e+07"),
            (f32::MAX, "3.4028235e+38"),
            (1e-45, "1e-45"),
            (-0.0, "-0"),
            (f32::NAN, "NaN"),
        ] {
            let mut output = BytesMut::new();
            put_float4(&mut output, value, 1);
            assert_eq!(std::str::from_utf8(&output).unwrap(), text);
        }
    }

    #[test]
    fn fewer_digits() {
        let third = 1.0f32 / 3.0;
        for (value, extra_digits, text) in [
            (0.1 + 0.2, 0, "0.3"),
            (1e300 / 3.0, 0, "3.33333333333333e+299"),
            (1e15, 0, "1e+15"),
            (1e-5, 0, "1e-05"),
            (100.0, 0, "100"),
            (1e300 / 3.0, -5, "3.333333333e+299"),
            (123_456.789, -5, "123456.789"),
            (100.0, -15, "1e+02"),
            (0.1 + 0.2, -15, "0.3"),
            (123_456.789, -15, "1e+05"),
        ] {
            let mut output = BytesMut::new();
            put_float8(&mut output, value, extra_digits);
            assert_eq!(std::str::from_utf8(&output).unwrap(), text);
        }
        for (value, extra_digits, text) in
            [(third, 0, "0.333333"), (third, -5, "0.3"), (123_456_789.123, 0, "1.23457e+08")]
        {
            let mut output = BytesMut::new();
            put_float4(&mut output, value, extra_digits);
            assert_eq!(std::str::from_utf8(&output).unwrap(), text);
        }
    }
}
