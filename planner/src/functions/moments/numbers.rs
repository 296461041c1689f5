//! `to_char` and `to_number` of numbers: templates of digits, signs and points.
//!
//! Absent, and refused by name: `B` and `C`, which Postgres takes and does not build either, and reading `RN` and
//! `EEEE`. The currency sign is that of the C locale, a space.

use arrow::datatypes::i256;
use datafusion::error::{DataFusionError, Result};

use super::frame::{Datum, Definition, Gives, Kind, Overload, Row};
use super::pattern::{Case, ordinal_ending};
use crate::bind::refuse;
use crate::error::{PlanError, PlanErrorKind};

/// Digits that a `double precision` shows.
const FLOAT_DIGITS: usize = 15;

/// Characters of a Roman number with its padding.
const ROMAN_WIDTH: usize = 15;

/// Digits of a template: as many as of a numeric.
const TEMPLATE_DIGITS: usize = 76;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Negative,
    Positive,
}

/// A number as its digits.
#[derive(Debug)]
pub(super) struct Number {
    sign: Sign,
    /// Those before the point, without leading zeros.
    whole: String,
    /// Those behind it.
    fraction: String,
    float: Option<f64>,
}

impl Number {
    pub(super) fn of_integer(value: i64) -> Self {
        Self::of_decimal(i256::from_i128(value.into()), 0)
    }

    pub(super) fn of_decimal(unscaled: i256, scale: i8) -> Self {
        let text = unscaled.to_string();
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => (Sign::Negative, digits),
            None => (Sign::Positive, text.as_str()),
        };
        let scale = usize::try_from(scale).unwrap_or_default();
        let digits = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let whole = whole.trim_start_matches('0').to_string();
        Self { sign, whole, fraction: fraction.to_string(), float: None }
    }

    pub(super) fn of_float(value: f64) -> Result<Self> {
        if !value.is_finite() {
            return Err(unsupported("to_char of NaN and of infinities"));
        }
        let sign = if value.is_sign_negative() { Sign::Negative } else { Sign::Positive };
        let whole = format!("{:.0}", value.abs().trunc()).trim_start_matches('0').to_string();
        Ok(Self { sign, whole, fraction: String::new(), float: Some(value.abs()) })
    }

    /// With so many digits behind the point, the last one rounded, after the point was moved by `shift` digits.
    fn rounded(&self, shift: usize, digits: usize) -> Self {
        if let Some(float) = self.float {
            let shifted = float * 10_f64.powi(shift as i32);
            let whole = format!("{:.0}", shifted.trunc());
            // What is behind the digits of the type is noise.
            let kept = digits.min(FLOAT_DIGITS.saturating_sub(whole.len()));
            let text = format!("{shifted:.kept$}");
            let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
            let (whole, fraction) = (whole.trim_start_matches('0').to_string(), fraction.to_string());
            return Self { sign: self.sign, whole, fraction, float: None };
        }
        let point = self.whole.len() + shift;
        let all = format!("{}{}", self.whole, self.fraction);
        let all = format!("{all:0<width$}", width = point + digits + 1);
        let (kept, rest) = all.split_at(point + digits);
        let kept = if rest.as_bytes()[0] >= b'5' { incremented(kept) } else { kept.to_string() };
        let kept = format!("{kept:0>width$}", width = digits + 1);
        let (whole, fraction) = kept.split_at(kept.len() - digits);
        let (whole, fraction) = (whole.trim_start_matches('0').to_string(), fraction.to_string());
        // Nothing is left of a number that is rounded to zero, not even its sign.
        let zero = whole.is_empty() && fraction.bytes().all(|digit| digit == b'0');
        Self { sign: if zero { Sign::Positive } else { self.sign }, whole, fraction, float: None }
    }
}

/// The digits plus one at the last place.
fn incremented(digits: &str) -> String {
    let mut digits: Vec<u8> = digits.bytes().collect();
    for digit in digits.iter_mut().rev() {
        if *digit == b'9' {
            *digit = b'0';
        } else {
            *digit += 1;
            return String::from_utf8_lossy(&digits).into_owned();
        }
    }
    format!("1{}", String::from_utf8_lossy(&digits))
}

fn unsupported(what: &str) -> DataFusionError {
    DataFusionError::External(Box::new(PlanError::unsupported(format!("{what} is not supported"))))
}

fn wrong(message: &str) -> DataFusionError {
    refuse(PlanErrorKind::SyntaxError, message)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// A digit; leading and trailing zeros are shown, too.
    Zero,
    /// A digit.
    Nine,
    Point,
    Comma,
    Currency,
    Ordinal(Case),
    /// `MI`
    Minus,
    /// `PL`
    Plus,
    /// `SG`
    SignHere,
    Literal(char),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SignPlace {
    Before,
    Behind,
}

/// A template in its parts.
#[derive(Debug, Default)]
struct Template {
    parts: Vec<Part>,
    /// Digits before the point, and behind it; those behind `V` are before it.
    before: usize,
    behind: usize,
    /// Digits behind `V`.
    shift: usize,
    has_point: bool,
    has_shift: bool,
    /// The first place of a zero before the point.
    first_zero: Option<usize>,
    /// The last place of a zero, counted from the first digit.
    last_zero: Option<usize>,
    sign: Option<SignPlace>,
    brackets: bool,
    has_minus: bool,
    has_plus: bool,
    bare: bool,
    scientific: bool,
    roman: Option<Case>,
}

impl Template {
    fn parse(text: &str) -> Result<Self> {
        let mut template = Self::default();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if first == '"' {
                rest = template.quoted(&rest[1..]);
                continue;
            }
            if let Some(behind) = rest.strip_prefix("\\\"") {
                template.parts.push(Part::Literal('"'));
                rest = behind;
                continue;
            }
            match template.pattern(rest)? {
                Some(length) => rest = &rest[length..],
                None => {
                    template.parts.push(Part::Literal(first));
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        if template.before + template.behind > TEMPLATE_DIGITS {
            return Err(refuse(
                PlanErrorKind::InvalidParameterValue,
                format!("a template of numbers has at most {TEMPLATE_DIGITS} digits"),
            ));
        }
        Ok(template)
    }

    /// Takes quoted characters, and gives what stands behind them.
    fn quoted<'a>(&mut self, text: &'a str) -> &'a str {
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                '"' => break,
                '\\' => self.parts.extend(characters.next().map(Part::Literal)),
                other => self.parts.push(Part::Literal(other)),
            }
        }
        characters.as_str()
    }

    /// Takes the pattern at the beginning of a text and gives its length; `None` where there is none.
    fn pattern(&mut self, text: &str) -> Result<Option<usize>> {
        const PATTERNS: [&str; 18] =
            ["EEEE", "FM", "MI", "PL", "PR", "RN", "SG", "TH", "0", "9", ",", ".", "B", "C", "D", "G", "L", "S"];
        let is = |name: &&&str| {
            let head = text.get(..name.len());
            head.is_some_and(|head| head == **name || head == name.to_ascii_lowercase())
        };
        let Some(name) = PATTERNS.iter().find(is).copied().or_else(|| text.starts_with(['V', 'v']).then_some("V"))
        else {
            return Ok(None);
        };
        let case = if text.starts_with(|first: char| first.is_ascii_lowercase()) { Case::Lower } else { Case::Upper };
        if self.scientific && name != "FM" {
            return Err(wrong("\"EEEE\" must be the last pattern used"));
        }
        match name {
            "9" | "0" => self.digit(name == "0")?,
            "." | "D" => {
                if self.has_point {
                    return Err(wrong("multiple decimal points"));
                }
                if self.has_shift {
                    return Err(wrong("cannot use \"V\" and decimal point together"));
                }
                self.has_point = true;
                self.parts.push(Part::Point);
            }
            "V" => {
                if self.has_point {
                    return Err(wrong("cannot use \"V\" and decimal point together"));
                }
                self.has_shift = true;
            }
            "," | "G" => self.parts.push(Part::Comma),
            "L" => self.parts.push(Part::Currency),
            "TH" => self.parts.push(Part::Ordinal(case)),
            "FM" => self.bare = true,
            "EEEE" => {
                if self.bare || self.sign.is_some() || self.brackets || self.has_minus || self.has_plus {
                    return Err(wrong("\"EEEE\" is incompatible with other formats"));
                }
                self.scientific = true;
            }
            "RN" => self.roman = Some(case),
            "S" | "MI" | "PL" | "SG" | "PR" => self.sign(name)?,
            other => return Err(unsupported(&format!("the pattern \"{other}\" of a number"))),
        }
        Ok(Some(name.len()))
    }

    fn digit(&mut self, zero: bool) -> Result<()> {
        if self.brackets {
            return Err(wrong("\"9\" must be ahead of \"PR\""));
        }
        let place = self.before + self.behind;
        if zero {
            self.last_zero = Some(place);
            if !self.has_point {
                self.first_zero.get_or_insert(place);
            }
        }
        self.shift += usize::from(self.has_shift);
        *if self.has_point { &mut self.behind } else { &mut self.before } += 1;
        self.parts.push(if zero { Part::Zero } else { Part::Nine });
        Ok(())
    }

    fn sign(&mut self, name: &str) -> Result<()> {
        let other = self.brackets || self.has_minus || self.has_plus;
        match name {
            "S" => {
                if self.sign.is_some() {
                    return Err(wrong("cannot use \"S\" twice"));
                }
                if other {
                    return Err(wrong("cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together"));
                }
                let digits = self.before + self.behind;
                self.sign = Some(if digits == 0 { SignPlace::Before } else { SignPlace::Behind });
                return Ok(());
            }
            _ if self.sign.is_some() => {
                return Err(wrong(&format!("cannot use \"S\" and \"{name}\" together")));
            }
            "PR" if other => return Err(wrong("cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together")),
            "PR" => self.brackets = true,
            "MI" => {
                self.has_minus = true;
                self.parts.push(Part::Minus);
            }
            "PL" => {
                self.has_plus = true;
                self.parts.push(Part::Plus);
            }
            _ => {
                (self.has_minus, self.has_plus) = (true, true);
                self.parts.push(Part::SignHere);
            }
        }
        Ok(())
    }
}

/// A number as a template shows it.
pub(super) fn written(template: &str, number: Number) -> Result<String> {
    let template = Template::parse(template)?;
    if let Some(case) = template.roman {
        return Ok(roman(&number, case, template.bare));
    }
    if template.scientific {
        return Ok(scientific(&number, template.behind));
    }
    Ok(Layout::of(&template, number.rounded(template.shift, template.behind)).write())
}

/// The digits of a number in the places of a template.
struct Layout<'a> {
    template: &'a Template,
    sign: Sign,
    /// Of every place before the point what stands there; `None` is blank.
    before: Vec<Option<char>>,
    /// Of every place behind it, as far as digits are shown.
    behind: Vec<char>,
    overflows: bool,
}

impl<'a> Layout<'a> {
    fn of(template: &'a Template, number: Number) -> Self {
        let overflows = number.whole.len() > template.before;
        if overflows {
            let before = vec![Some('#'); template.before];
            return Self { template, sign: number.sign, before, behind: vec!['#'; template.behind], overflows };
        }
        let mut behind: Vec<char> = number.fraction.chars().collect();
        if template.bare {
            let shown = template.last_zero.map_or(0, |place| (place + 1).saturating_sub(template.before));
            while behind.len() > shown && behind.last() == Some(&'0') {
                behind.pop();
            }
        }
        // A zero before the point is shown where nothing else would be.
        let lone = number.whole.is_empty()
            && template.first_zero.is_none()
            && (template.behind == 0 || (template.bare && behind.is_empty()));
        let whole = if lone { "0" } else { &number.whole };
        let blanks = template.before.saturating_sub(whole.len());
        let before = (0..template.before).map(|place| match place.checked_sub(blanks) {
            Some(digit) => whole.chars().nth(digit),
            None => template.first_zero.filter(|first| *first <= place).map(|_| '0'),
        });
        Self { template, sign: number.sign, before: before.collect(), behind, overflows }
    }

    fn write(&self) -> String {
        let template = self.template;
        let mut output = String::new();
        let digits = template.before + template.behind;
        let (mut place, mut begun, mut signed) = (0_usize, false, template.has_minus);
        for part in &template.parts {
            match part {
                Part::Zero | Part::Nine => {
                    let shown = match place.checked_sub(template.before) {
                        None => self.before[place],
                        Some(fraction) => self.behind.get(fraction).copied(),
                    };
                    if shown.is_some() || (place >= template.before && !self.behind.is_empty()) {
                        self.put_sign(&mut output, &mut signed);
                    }
                    begun |= shown.is_some();
                    match shown {
                        Some(digit) => output.push(digit),
                        None if place < template.before && !template.bare => output.push(' '),
                        None => {}
                    }
                    place += 1;
                    if place == digits {
                        self.put_end(&mut output);
                    }
                }
                // A float that has no digits left for it shows no point.
                Part::Point if self.behind.is_empty() && template.behind > 0 && !template.bare => {}
                Part::Point => {
                    self.put_sign(&mut output, &mut signed);
                    output.push('.');
                    begun = true;
                }
                Part::Comma if begun => output.push(','),
                Part::Comma if template.bare => {}
                Part::Comma | Part::Currency => output.push(' '),
                Part::Ordinal(case) => {
                    let whole: String = self.before.iter().flatten().collect();
                    if self.sign == Sign::Positive && !template.has_point && !self.overflows {
                        output.push_str(ordinal_ending(&whole, *case));
                    }
                }
                Part::Minus => match self.sign {
                    Sign::Negative => output.push('-'),
                    Sign::Positive if template.bare => {}
                    Sign::Positive => output.push(' '),
                },
                Part::Plus => match self.sign {
                    Sign::Positive => output.push('+'),
                    Sign::Negative if template.bare => {}
                    Sign::Negative => output.push(' '),
                },
                Part::SignHere => output.push(if self.sign == Sign::Negative { '-' } else { '+' }),
                Part::Literal(character) => output.push(*character),
            }
        }
        output
    }

    /// The sign before the first digit, unless a pattern has its place.
    fn put_sign(&self, output: &mut String, signed: &mut bool) {
        if std::mem::replace(signed, true) {
            return;
        }
        let template = self.template;
        match (template.sign, self.sign) {
            (Some(SignPlace::Before), Sign::Negative) => output.push('-'),
            (Some(SignPlace::Before), Sign::Positive) => output.push('+'),
            (Some(SignPlace::Behind), _) => {}
            (None, Sign::Negative) if template.brackets => output.push('<'),
            (None, Sign::Negative) => output.push('-'),
            (None, Sign::Positive) if template.bare => {}
            (None, Sign::Positive) => output.push(' '),
        }
    }

    /// What stands behind the last digit.
    fn put_end(&self, output: &mut String) {
        match (self.template.sign, self.sign) {
            (Some(SignPlace::Behind), Sign::Negative) => output.push('-'),
            (Some(SignPlace::Behind), Sign::Positive) => output.push('+'),
            (None, Sign::Negative) if self.template.brackets => output.push('>'),
            (None, Sign::Positive) if self.template.brackets && !self.template.bare => output.push(' '),
            _ => {}
        }
    }
}

fn roman(number: &Number, case: Case, bare: bool) -> String {
    const NUMERALS: [(u32, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let whole = number.rounded(0, 0);
    let value = whole.whole.parse().ok().filter(|value| whole.sign == Sign::Positive && (1..4000).contains(value));
    let Some(mut value): Option<u32> = value else { return "#".repeat(ROMAN_WIDTH) };
    let mut text = String::new();
    for (worth, numeral) in NUMERALS {
        while value >= worth {
            text.push_str(numeral);
            value -= worth;
        }
    }
    let text = if case == Case::Lower { text.to_ascii_lowercase() } else { text };
    if bare { text } else { format!("{text:>ROMAN_WIDTH$}") }
}

/// `1.235e+06`
fn scientific(number: &Number, digits: usize) -> String {
    let all = match number.float {
        Some(float) => {
            let text = format!("{float:.digits$e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            return signed_exponent(number.sign, mantissa, exponent.parse().unwrap_or_default());
        }
        None => format!("{}{}", number.whole, number.fraction),
    };
    let leading = all.len() - all.trim_start_matches('0').len();
    if leading == all.len() {
        let mantissa = if digits == 0 { "0".to_string() } else { format!("0.{}", "0".repeat(digits)) };
        return signed_exponent(Sign::Positive, &mantissa, 0);
    }
    let mut exponent = number.whole.len() as i64 - leading as i64 - 1;
    let significant = format!("{:0<width$}", &all[leading..], width = digits + 2);
    let (kept, rest) = significant.split_at(digits + 1);
    let mut kept = if rest.as_bytes()[0] >= b'5' { incremented(kept) } else { kept.to_string() };
    if kept.len() > digits + 1 {
        kept.pop();
        exponent += 1;
    }
    let mantissa = if digits == 0 { kept } else { format!("{}.{}", &kept[..1], &kept[1..]) };
    signed_exponent(number.sign, &mantissa, exponent)
}

fn signed_exponent(sign: Sign, mantissa: &str, exponent: i64) -> String {
    let sign = if sign == Sign::Negative { '-' } else { ' ' };
    let exponent_sign = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{mantissa}e{exponent_sign}{:02}", exponent.abs())
}

pub(super) const TO_NUMBER: Definition = Definition {
    name: "to_number",
    overloads: &[Overload { takes: &[Kind::Text, Kind::Text], gives: Gives::Digits(digits), run: read }],
    strict: true,
};

/// The digits behind the point of a template, where that is a literal.
fn digits(literals: &[Option<&str>]) -> Option<u8> {
    let template = Template::parse(literals.get(1).copied().flatten()?).ok()?;
    u8::try_from(template.behind + template.shift).ok().filter(|digits| *digits <= 30)
}

/// A text read as a template shows numbers: grouping and signs may stand where the template has them, or be missing.
fn read(row: &Row<'_>) -> Result<Datum> {
    let (text, template) = (row.text(0), Template::parse(row.text(1))?);
    if template.scientific {
        return Err(unsupported("\"EEEE\" for input"));
    }
    if template.roman.is_some() {
        return Err(unsupported("\"RN\" for input"));
    }
    let mut input = text.chars().peekable();
    let (mut number, mut behind, mut negative, mut pointed) = (0_i128, 0_u32, false, false);
    let mut found = false;
    let out_of_range = || refuse(PlanErrorKind::NumericValueOutOfRange, "numeric field overflow");
    for part in &template.parts {
        match part {
            Part::Zero | Part::Nine => {
                while input.peek().is_some_and(|next| next.is_whitespace()) {
                    input.next();
                }
                if !found && !negative {
                    while let Some(sign) = input.peek().copied().filter(|next| matches!(next, '-' | '+' | '<')) {
                        negative |= sign != '+';
                        input.next();
                    }
                }
                if let Some(digit) = input.peek().and_then(|next| next.to_digit(10)) {
                    input.next();
                    found = true;
                    number = number
                        .checked_mul(10)
                        .and_then(|number| number.checked_add(digit.into()))
                        .ok_or_else(out_of_range)?;
                    behind += u32::from(pointed);
                }
            }
            Part::Point => {
                if input.peek() == Some(&'.') {
                    input.next();
                }
                pointed = true;
            }
            Part::Comma => {
                if input.peek() == Some(&',') {
                    input.next();
                }
            }
            Part::Minus | Part::Plus | Part::SignHere => {
                if let Some(sign) = input.peek().copied().filter(|next| matches!(next, '-' | '+')) {
                    negative |= sign == '-';
                    input.next();
                }
            }
            Part::Currency | Part::Literal(_) => {
                if input.peek().is_some_and(|next| !next.is_ascii_digit() && !matches!(next, '.' | '-' | '+' | ',')) {
                    input.next();
                }
            }
            Part::Ordinal(_) => {
                input.next();
                input.next();
            }
        }
    }
    if template.sign == Some(SignPlace::Behind) {
        negative |= input.peek() == Some(&'-');
    }
    if !found {
        let message = format!("invalid input syntax for type numeric: \"{text}\"");
        return Err(refuse(PlanErrorKind::InvalidTextRepresentation, message));
    }
    let digits = u8::try_from(behind + template.shift as u32).map_err(|_| out_of_range())?;
    Ok(Datum::Numeric(if negative { -number } else { number }, digits))
}
