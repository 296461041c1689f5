//! Values written as text: what JSON strings and CSV fields are read with.
//!
//! Every function takes the whole text and answers `None` when it is not a value of the type: nothing is
//! trimmed, guessed or rounded. Times have microseconds; further digits of a second are cut off.

use arrow::datatypes::i256;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// A date and time as written, with the offset from UTC when one was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Microseconds since 1970-01-01 00:00:00 of the clock that was written.
    pub(crate) local_micros: i64,
    /// Seconds east of UTC.
    pub(crate) offset_seconds: Option<i64>,
}

/// What is wrong with the text of a decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecimalFault {
    /// It is no number.
    Malformed,
    /// It has more digits before the point than the precision leaves room for.
    OutOfRange,
    /// It has digits behind the scale; cutting them would change the value.
    TooManyDigits,
}

/// `true` and `false`, in any case, as well as `t`, `f`, `1` and `0`.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    if text == "1" || text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("t") {
        Some(true)
    } else if text == "0" || text.eq_ignore_ascii_case("false") || text.eq_ignore_ascii_case("f") {
        Some(false)
    } else {
        None
    }
}

/// An integer; `None` also when it does not fit 128 bits.
pub(crate) fn integer(text: &str) -> Option<i128> {
    text.parse().ok()
}

/// Whether the text is an optional sign and digits: an integer of whatever size.
pub(crate) fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// A finite decimal or exponent notation, or `NaN`, `Infinity`, `-Infinity`.
pub(crate) fn double(text: &str) -> Option<f64> {
    special_float(text).or_else(|| lexical_core::parse(float_digits(text)?).ok())
}

/// As [`double`], rounded once to 32 bits.
pub(crate) fn real(text: &str) -> Option<f32> {
    special_float(text).map(|value| value as f32).or_else(|| lexical_core::parse(float_digits(text)?).ok())
}

fn special_float(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// The text, unless it is one of the words that the parser reads as well.
fn float_digits(text: &str) -> Option<&[u8]> {
    let bytes = text.as_bytes();
    bytes.iter().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte)).then_some(bytes)
}

/// The digits of a decimal at `scale`, exactly: `12.50` at scale 2 is 1250.
pub(crate) fn decimal(text: &str, precision: u8, scale: i8) -> Result<i256, DecimalFault> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], exponent(&unsigned[at + 1..]).ok_or(DecimalFault::Malformed)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
    if !all_digits || whole.len() + fraction.len() == 0 {
        return Err(DecimalFault::Malformed);
    }
    // Zeros in front and behind carry no digit; what remains is multiplied by ten to the power of `shift`.
    let fraction = fraction.trim_end_matches('0');
    let whole = whole.trim_start_matches('0');
    if whole.is_empty() && fraction.is_empty() {
        return Ok(i256::ZERO);
    }
    let mut shift = exponent.saturating_add(i64::from(scale)).saturating_sub(fraction.len() as i64);
    let digits = if fraction.is_empty() {
        let trimmed = whole.trim_end_matches('0');
        shift = shift.saturating_add((whole.len() - trimmed.len()) as i64);
        trimmed
    } else {
        whole
    };
    let significant =
        if digits.is_empty() { fraction.trim_start_matches('0').len() } else { digits.len() + fraction.len() };
    if (significant as i64).saturating_add(shift) > i64::from(precision) {
        return Err(DecimalFault::OutOfRange);
    }
    if shift < 0 {
        return Err(DecimalFault::TooManyDigits);
    }
    let value = unscaled(digits, fraction, usize::try_from(shift).expect("between 0 and the precision"));
    Ok(if negative { value.wrapping_neg() } else { value })
}

/// At most 76 digits, which 256 bits hold.
fn unscaled(whole: &str, fraction: &str, zeros: usize) -> i256 {
    let digits = whole.bytes().chain(fraction.bytes()).chain(std::iter::repeat_n(b'0', zeros));
    if whole.len() + fraction.len() + zeros <= 38 {
        return i256::from_i128(digits.fold(0_i128, |value, digit| value * 10 + i128::from(digit - b'0')));
    }
    let text: String = digits.map(char::from).collect();
    i256::from_string(&text).expect("at most 76 digits")
}

fn exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Anything that does not fit is far outside of every decimal.
    let magnitude = digits.parse::<i64>().unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
    Some(if text.starts_with('-') { -magnitude } else { magnitude })
}

/// Bytes as base64 (with or without padding) or, as Postgres writes them, `\\x` and hexadecimal digits.
pub(crate) fn bytes(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    match text.strip_prefix("\\x") {
        None => BASE64.decode(text).ok(),
        Some(digits) if digits.len() % 2 == 0 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
            Some(digits.as_bytes().chunks(2).map(|pair| hex(pair[0]) << 4 | hex(pair[1])).collect())
        }
        Some(_) => None,
    }
}

/// The standard alphabet; padding is written and not asked for.
pub(crate) const BASE64: base64::engine::GeneralPurpose = base64::engine::GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    base64::engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
);

fn hex(digit: u8) -> u8 {
    char::from(digit).to_digit(16).expect("checked to be a hexadecimal digit") as u8
}

/// `2024-01-31`: days since 1970-01-01.
pub(crate) fn date(text: &str) -> Option<i64> {
    date_of(text.as_bytes())
}

/// `12:34`, `12:34:56` or `12:34:56.123456`: microseconds since midnight.
pub(crate) fn time(text: &str) -> Option<i64> {
    time_of(text.as_bytes())
}

/// `2024-01-31`, or a date, `T` or a space, a time, and maybe `Z` or an offset (`+01`, `+01:00`, `+0100`).
pub(crate) fn moment(text: &str) -> Option<Moment> {
    let (day, rest) = text.as_bytes().split_at_checked(10)?;
    let midnight = date_of(day)? * SECONDS_PER_DAY * MICROS_PER_SECOND;
    let Some((b'T' | b't' | b' ', rest)) = rest.split_first() else {
        return rest.is_empty().then_some(Moment { local_micros: midnight, offset_seconds: None });
    };
    let (clock, offset_seconds) = match rest.iter().position(|byte| matches!(byte, b'Z' | b'z' | b'+' | b'-')) {
        // A space may stand between the time and its offset.
        Some(at) => (rest[..at].strip_suffix(b" ").unwrap_or(&rest[..at]), Some(offset(&rest[at..])?)),
        None => (rest, None),
    };
    Some(Moment { local_micros: midnight + time_of(clock)?, offset_seconds })
}

fn date_of(bytes: &[u8]) -> Option<i64> {
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let year = digits(&bytes[0..4])?;
    let month = digits(&bytes[5..7])?;
    let day = digits(&bytes[8..10])?;
    if year == 0 || !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    Some(days_from_civil(year, month, day))
}

fn time_of(bytes: &[u8]) -> Option<i64> {
    if bytes.len() < 5 || bytes[2] != b':' {
        return None;
    }
    let hour = digits(&bytes[0..2])?;
    let minute = digits(&bytes[3..5])?;
    let (second, micros) = match bytes.len() {
        5 => (0, 0),
        8 => (second(&bytes[5..8])?, 0),
        6 | 7 | 9 => return None,
        _ => (second(&bytes[5..8])?, micros(&bytes[8..])?),
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some((hour * 3600 + minute * 60 + second) * MICROS_PER_SECOND + micros)
}

fn second(bytes: &[u8]) -> Option<i64> {
    if bytes[0] == b':' { digits(&bytes[1..3]) } else { None }
}

fn micros(bytes: &[u8]) -> Option<i64> {
    if bytes[0] != b'.' || bytes.len() > 10 {
        return None;
    }
    let fraction = &bytes[1..];
    let value = digits(&fraction[..fraction.len().min(6)])?;
    digits(fraction)?;
    Some((fraction.len()..6).fold(value, |value, _| value * 10))
}

fn offset(bytes: &[u8]) -> Option<i64> {
    let sign = match bytes[0] {
        b'Z' | b'z' if bytes.len() == 1 => return Some(0),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = match bytes.len() {
        3 => (digits(&bytes[1..3])?, 0),
        5 => (digits(&bytes[1..3])?, digits(&bytes[3..5])?),
        6 if bytes[3] == b':' => (digits(&bytes[1..3])?, digits(&bytes[4..6])?),
        _ => return None,
    };
    if hours > 15 || minutes > 59 { None } else { Some(sign * (hours * 3600 + minutes * 60)) }
}

/// At most 18 ASCII digits.
fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date
/// algorithms"): years begin in March, so that the leap day is the last one.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, NaiveDate};

    use super::*;

    #[test]
    fn dates_agree_with_chrono_over_four_centuries() {
        let first = NaiveDate::from_ymd_opt(1799, 12, 31).unwrap();
        for day in first.iter_days().take(150_000) {
            let text = day.format("%Y-%m-%d").to_string();
            let days = i64::from(day.num_days_from_ce()) - 719_163;
            assert_eq!(date(&text), Some(days), "{text}");
        }
    }

    #[test]
    fn texts_that_are_no_dates_or_times() {
        for text in ["", "2024-02-30", "2023-02-29", "2024-13-01", "2024-00-01", "24-01-01", "2024-1-1", "0000-01-01"] {
            assert_eq!(date(text), None, "{text}");
        }
        for text in
            ["", "1:00", "24:00", "12:60", "12:00:60", "12:00:00.", "12:00:00,5", "12:00:0", "12:00:00.1234567890"]
        {
            assert_eq!(time(text), None, "{text}");
        }
        for text in
            ["2024-01-01T", "2024-01-01X00:00", "2024-01-01 00:00:00+1", "2024-01-01 00:00:00Zx", "2024-01-01 00:00é"]
        {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn moments() {
        let micros = |text| moment(text).map(|moment| (moment.local_micros, moment.offset_seconds));
        assert_eq!(micros("1970-01-01"), Some((0, None)));
        assert_eq!(micros("1970-01-01T00:00:01.5Z"), Some((1_500_000, Some(0))));
        assert_eq!(micros("1970-01-01 00:00:00.123456789"), Some((123_456, None)));
        assert_eq!(micros("1970-01-02 01:00:00+01:30"), Some((90_000_000_000, Some(5_400))));
        assert_eq!(micros("1969-12-31 23:59:59 -0800"), Some((-1_000_000, Some(-28_800))));
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        use DecimalFault::*;
        let cases: [(&str, u8, i8, Result<i128, DecimalFault>); 22] = [
            ("0", 4, 2, Ok(0)),
            ("-0.000000", 4, 2, Ok(0)),
            ("12.5", 4, 2, Ok(1250)),
            ("-12.50000", 4, 2, Ok(-1250)),
            ("+1", 4, 2, Ok(100)),
            ("0012.3", 4, 2, Ok(1230)),
            (".5", 4, 2, Ok(50)),
            ("5.", 4, 2, Ok(500)),
            ("1.25e1", 4, 2, Ok(1250)),
            ("1250E-2", 4, 2, Ok(1250)),
            ("1e-400", 4, 2, Err(TooManyDigits)),
            ("0e999999999999999999999", 4, 2, Ok(0)),
            ("99.99", 4, 2, Ok(9999)),
            ("100", 4, 2, Err(OutOfRange)),
            ("1e999999999999999999999", 4, 2, Err(OutOfRange)),
            ("1.005", 4, 2, Err(TooManyDigits)),
            ("0.001", 4, 2, Err(TooManyDigits)),
            ("99999999999999999999999999999999999999", 38, 0, Ok(10_i128.pow(38) - 1)),
            ("", 4, 2, Err(Malformed)),
            ("-", 4, 2, Err(Malformed)),
            ("1e", 4, 2, Err(Malformed)),
            ("1.2.3", 4, 2, Err(Malformed)),
        ];
        for (text, precision, scale, expected) in cases {
            assert_eq!(decimal(text, precision, scale), expected.map(i256::from_i128), "{text}");
        }
        let wide = "1234567890".repeat(7) + "123456";
        assert_eq!(decimal(&wide, 76, 0).unwrap().to_string(), wide);
    }
}
