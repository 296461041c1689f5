//! The template patterns of dates and times, as `to_char`, `to_date` and `to_timestamp` share them.
//!
//! A pattern is its upper or its lower case spelling, nothing between but `Month`, `Mon`, `Day` and `Dy`; what is no
//! pattern stands for itself.

use std::sync::Arc;

/// Which letters a word is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    Upper,
    Lower,
    Capital,
}

/// What a field of a template stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// With points or without.
    Era {
        points: bool,
        before: bool,
    },
    Meridiem {
        points: bool,
    },
    Century,
    DayName,
    DayAbbreviation,
    /// Of the year.
    DayOfYear,
    Day,
    /// 1 is Sunday.
    DayOfWeek,
    /// So many digits.
    Fraction(u8),
    /// Fixed width.
    Exact,
    Hour24,
    Hour12,
    IsoDayOfYear,
    /// 1 is Monday.
    IsoDayOfWeek,
    IsoWeek,
    /// The last so many digits.
    IsoYear(u8),
    Julian,
    Minute,
    Month,
    MonthName,
    MonthAbbreviation,
    Milliseconds,
    Microseconds,
    Offset,
    Quarter,
    RomanMonth,
    SecondsOfDay,
    Second,
    ZoneHours,
    ZoneMinutes,
    ZoneName,
    WeekOfYear,
    WeekOfMonth,
    YearWithComma,
    /// The last so many digits.
    Year(u8),
}

impl Field {
    /// Whether its text is of digits.
    pub(super) fn is_number(self) -> bool {
        !matches!(
            self,
            Self::Era { .. }
                | Self::Meridiem { .. }
                | Self::DayName
                | Self::DayAbbreviation
                | Self::Exact
                | Self::MonthName
                | Self::MonthAbbreviation
                | Self::Offset
                | Self::RomanMonth
                | Self::ZoneName
                | Self::ZoneHours
                | Self::ZoneMinutes
        )
    }
}

/// Every pattern in upper case, a longer one before one that it begins with.
const FIELDS: &[(&str, Field)] = &[
    ("A.D.", Field::Era { points: true, before: false }),
    ("AD", Field::Era { points: false, before: false }),
    ("B.C.", Field::Era { points: true, before: true }),
    ("BC", Field::Era { points: false, before: true }),
    ("A.M.", Field::Meridiem { points: true }),
    ("AM", Field::Meridiem { points: false }),
    ("P.M.", Field::Meridiem { points: true }),
    ("PM", Field::Meridiem { points: false }),
    ("CC", Field::Century),
    ("DAY", Field::DayName),
    ("DDD", Field::DayOfYear),
    ("DD", Field::Day),
    ("DY", Field::DayAbbreviation),
    ("D", Field::DayOfWeek),
    ("FF1", Field::Fraction(1)),
    ("FF2", Field::Fraction(2)),
    ("FF3", Field::Fraction(3)),
    ("FF4", Field::Fraction(4)),
    ("FF5", Field::Fraction(5)),
    ("FF6", Field::Fraction(6)),
    ("FX", Field::Exact),
    ("HH24", Field::Hour24),
    ("HH12", Field::Hour12),
    ("HH", Field::Hour12),
    ("IDDD", Field::IsoDayOfYear),
    ("ID", Field::IsoDayOfWeek),
    ("IW", Field::IsoWeek),
    ("IYYY", Field::IsoYear(4)),
    ("IYY", Field::IsoYear(3)),
    ("IY", Field::IsoYear(2)),
    ("I", Field::IsoYear(1)),
    ("J", Field::Julian),
    ("MI", Field::Minute),
    ("MM", Field::Month),
    ("MONTH", Field::MonthName),
    ("MON", Field::MonthAbbreviation),
    ("MS", Field::Milliseconds),
    ("OF", Field::Offset),
    ("Q", Field::Quarter),
    ("RM", Field::RomanMonth),
    ("SSSSS", Field::SecondsOfDay),
    ("SSSS", Field::SecondsOfDay),
    ("SS", Field::Second),
    ("TZH", Field::ZoneHours),
    ("TZM", Field::ZoneMinutes),
    ("TZ", Field::ZoneName),
    ("US", Field::Microseconds),
    ("WW", Field::WeekOfYear),
    ("W", Field::WeekOfMonth),
    ("Y,YYY", Field::YearWithComma),
    ("YYYY", Field::Year(4)),
    ("YYY", Field::Year(3)),
    ("YY", Field::Year(2)),
    ("Y", Field::Year(1)),
];

/// One part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Field {
        field: Field,
        case: Case,
        /// How the pattern is written, for messages.
        written: String,
        /// `FM`: without padding.
        bare: bool,
        /// `TH` or `th`: with the ending of an ordinal number.
        ordinal: Option<Case>,
    },
    /// A character for itself.
    Literal(char),
    /// The same, in quotes: never a separator where a text is read.
    Quoted(char),
}

/// A template in its parts.
pub(super) type Template = Arc<[Part]>;

/// Takes a template apart.
pub(super) fn parse(text: &str) -> Template {
    let mut parts = Vec::new();
    let mut rest = text;
    'parts: while let Some(first) = rest.chars().next() {
        let (bare, behind) = prefixed(rest);
        if let Some((field, case, length)) = field(behind) {
            let written = behind[..length].to_string();
            rest = &behind[length..];
            let ordinal = [("TH", Case::Upper), ("th", Case::Lower)]
                .into_iter()
                .find(|(ending, _)| rest.starts_with(ending) && field.is_number());
            if ordinal.is_some() {
                rest = &rest[2..];
            }
            // Spelled out in words: read, but never written so.
            rest = rest.strip_prefix("SP").unwrap_or(rest);
            let ordinal = ordinal.map(|(_, case)| case);
            parts.push(Part::Field { field, case, written, bare, ordinal });
            continue;
        }
        if bare {
            // A prefix without a pattern stands for nothing.
            rest = behind;
            continue;
        }
        let mut characters = rest.chars();
        characters.next();
        if first == '"' {
            let mut quoted = characters;
            while let Some(character) = quoted.next() {
                match character {
                    '"' => {
                        rest = quoted.as_str();
                        continue 'parts;
                    }
                    '\\' => parts.extend(quoted.next().map(Part::Quoted)),
                    other => parts.push(Part::Quoted(other)),
                }
            }
            break;
        }
        if let Some(behind) = rest.strip_prefix("\\\"") {
            parts.push(Part::Literal('"'));
            rest = behind;
            continue;
        }
        parts.push(Part::Literal(first));
        rest = characters.as_str();
    }
    parts.into()
}

/// Cuts `FM` and `TM` off, and says whether one was there. Names are English with `TM` as without, but not padded.
fn prefixed(text: &str) -> (bool, &str) {
    for prefix in ["FM", "fm"] {
        if let Some(rest) = text.strip_prefix(prefix) {
            return (true, prefixed(rest).1);
        }
    }
    for prefix in ["TM", "tm"] {
        if let Some(rest) = text.strip_prefix(prefix)
            && field(rest).is_some()
        {
            return (true, prefixed(rest).1);
        }
    }
    (false, text)
}

/// The pattern at the beginning of a text, and its length.
fn field(text: &str) -> Option<(Field, Case, usize)> {
    FIELDS.iter().find_map(|(name, field)| {
        let head = text.get(..name.len()).filter(|head| head.is_ascii())?;
        if head == *name {
            return Some((*field, Case::Upper, name.len()));
        }
        if head == name.to_ascii_lowercase() {
            return Some((*field, Case::Lower, name.len()));
        }
        let names = [Field::DayName, Field::DayAbbreviation, Field::MonthName, Field::MonthAbbreviation];
        let capital = head[..1] == name[..1] && head[1..] == name[1..].to_ascii_lowercase();
        (names.contains(field) && capital).then_some((*field, Case::Capital, name.len()))
    })
}

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Sunday first.
pub(super) const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The months as Roman numbers.
pub(super) const ROMAN_MONTHS: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// The ending of an ordinal number.
pub(super) fn ordinal_ending(digits: &str, case: Case) -> &'static str {
    let number: Vec<u8> = digits.bytes().rev().take(2).collect();
    let teen = number.get(1) == Some(&b'1');
    let ending = match number.first() {
        Some(b'1') if !teen => ("ST", "st"),
        Some(b'2') if !teen => ("ND", "nd"),
        Some(b'3') if !teen => ("RD", "rd"),
        _ => ("TH", "th"),
    };
    if case == Case::Upper { ending.0 } else { ending.1 }
}
