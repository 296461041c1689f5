//! Which values a setting takes, and the one form in which each is kept and shown.
//!
//! Errors are those of Postgres: 22023 with what is wrong, and the units or values that there are as a hint.

use std::time::Duration;

use millstream_planner::values::{DateForm, DateOrder, IntervalForm, Zone};

use super::table::Known;
use crate::session::SqlError;
use crate::session::sqlstate::Condition;

/// Which values a setting takes.
pub enum Accepts {
    /// Any text.
    Text,
    /// One of these, compared without case; the hidden ones are not told of.
    OneOf {
        /// For the hint.
        shown: &'static [&'static str],
        /// Taken, too.
        hidden: &'static [&'static str],
    },
    /// on, off, true, false, yes, no, 1, 0, and what is the beginning of one of them only.
    Bool,
    /// A truth value that can't be off.
    AlwaysOn,
    /// An integer within bounds.
    Integer(i64, i64),
    /// A number within bounds.
    Float(f64, f64),
    /// A time: a bare number is in milliseconds.
    Milliseconds,
    /// An amount of memory: a bare number is in kB.
    Kilobytes,
    /// A time zone.
    TimeZone,
    /// A form and an order of the parts.
    DateStyle,
    /// UTF8 under one of its names, or SQL_ASCII, which converts nothing.
    Encoding,
    /// Fixed by the server.
    ReadOnly,
}

/// The names of units and how many of the base unit they are, largest first.
type Units = &'static [(&'static str, f64)];

const TIME_UNITS: Units =
    &[("d", 86_400_000.0), ("h", 3_600_000.0), ("min", 60_000.0), ("s", 1_000.0), ("ms", 1.0), ("us", 0.001)];
const MEMORY_UNITS: Units =
    &[("TB", 1_073_741_824.0), ("GB", 1_048_576.0), ("MB", 1_024.0), ("kB", 1.0), ("B", 1.0 / 1_024.0)];

/// The largest integer of a setting.
const INTEGER_MAX: i64 = 2_147_483_647;

impl Known {
    /// A value in the form in which it is kept and shown.
    pub fn checked(&self, value: &str) -> Result<String, SqlError> {
        let lower = value.trim().to_ascii_lowercase();
        match &self.accepts {
            Accepts::Text => Ok(value.to_string()),
            Accepts::OneOf { shown, hidden } => {
                let words = shown.iter().chain(*hidden);
                let known = words.copied().find(|allowed| *allowed == lower).or_else(|| synonym(shown, &lower));
                known
                    .map(str::to_string)
                    .ok_or_else(|| self.refused(value).with_hint(format!("Available values: {}.", shown.join(", "))))
            }
            Accepts::Bool => self.boolean(&lower).map(|on| if on { "on" } else { "off" }.to_string()),
            Accepts::AlwaysOn if self.boolean(&lower)? => Ok("on".to_string()),
            Accepts::AlwaysOn => {
                let message = format!("parameter \"{}\" cannot be turned off", self.spelling);
                Err(SqlError::new(Condition::FeatureNotSupported, message)
                    .with_hint("Write E'...' where a backslash is to escape."))
            }
            Accepts::Integer(low, high) => self.integer(value, (*low, *high), None),
            Accepts::Float(low, high) => self.float(value, (*low, *high)),
            Accepts::Milliseconds => self.integer(value, (0, INTEGER_MAX), Some(("ms", TIME_UNITS))),
            Accepts::Kilobytes => self.integer(value, (64, INTEGER_MAX), Some(("kB", MEMORY_UNITS))),
            Accepts::TimeZone => self.time_zone(value.trim()),
            Accepts::DateStyle => self.date_style(value),
            Accepts::Encoding => match lower.replace(['-', '_', '\''], "").as_str() {
                "utf8" | "unicode" => Ok("UTF8".to_string()),
                "sqlascii" => Ok("SQL_ASCII".to_string()),
                _ => Err(self.refused(value).with_hint("The only encoding is UTF8.")),
            },
            Accepts::ReadOnly => {
                let message = format!("parameter \"{}\" cannot be changed", self.spelling);
                Err(SqlError::new(Condition::CantChangeRuntimeParam, message))
            }
        }
    }

    /// Its type as `pg_settings` names it.
    pub fn type_name(&self) -> &'static str {
        match self.accepts {
            Accepts::Bool | Accepts::AlwaysOn => "bool",
            Accepts::OneOf { .. } => "enum",
            Accepts::Integer(..) | Accepts::Milliseconds | Accepts::Kilobytes => "integer",
            Accepts::Float(..) => "real",
            Accepts::Text | Accepts::TimeZone | Accepts::DateStyle | Accepts::Encoding | Accepts::ReadOnly => "string",
        }
    }

    /// The unit of its numbers.
    pub fn unit(&self) -> Option<&'static str> {
        match self.accepts {
            Accepts::Milliseconds => Some("ms"),
            Accepts::Kilobytes => Some("kB"),
            _ => None,
        }
    }

    /// Its bounds.
    pub fn bounds(&self) -> Option<(String, String)> {
        match self.accepts {
            Accepts::Integer(low, high) => Some((low.to_string(), high.to_string())),
            Accepts::Float(low, high) => Some((low.to_string(), high.to_string())),
            Accepts::Milliseconds => Some(("0".to_string(), INTEGER_MAX.to_string())),
            Accepts::Kilobytes => Some(("64".to_string(), INTEGER_MAX.to_string())),
            _ => None,
        }
    }

    /// A kept value as a number of its unit, as `pg_settings` has it.
    pub fn in_unit(&self, kept: &str) -> String {
        let units = match self.accepts {
            Accepts::Milliseconds => TIME_UNITS,
            Accepts::Kilobytes => MEMORY_UNITS,
            _ => return kept.to_string(),
        };
        let (number, unit) = split_number(kept).unwrap_or((0.0, ""));
        let factor = units.iter().find(|(name, _)| *name == unit).map_or(1.0, |(_, factor)| *factor);
        format!("{:.0}", number * factor)
    }

    fn refused(&self, value: &str) -> SqlError {
        let message = format!("invalid value for parameter \"{}\": \"{value}\"", self.spelling);
        SqlError::new(Condition::InvalidParameterValue, message)
    }

    fn boolean(&self, lower: &str) -> Result<bool, SqlError> {
        let words = [("true", true), ("false", false), ("yes", true), ("no", false), ("1", true), ("0", false)];
        let begins = words.iter().find(|(word, _)| !lower.is_empty() && word.starts_with(lower));
        match (lower, begins) {
            ("on", _) => Ok(true),
            ("of" | "off", _) => Ok(false),
            (_, Some((_, on))) => Ok(*on),
            (_, None) => {
                let message = format!("parameter \"{}\" requires a Boolean value", self.spelling);
                Err(SqlError::new(Condition::InvalidParameterValue, message))
            }
        }
    }

    /// A number with an optional unit, rounded to the base unit, and shown in the largest unit that takes it whole.
    fn integer(
        &self,
        value: &str,
        (low, high): (i64, i64),
        units: Option<(&'static str, Units)>,
    ) -> Result<String, SqlError> {
        let (number, unit) = split_number(value.trim()).ok_or_else(|| self.refused(value))?;
        let factor = match (unit, units) {
            ("", _) => 1.0,
            (unit, Some((_, units))) => match units.iter().find(|(name, _)| *name == unit) {
                Some((_, factor)) => *factor,
                None => {
                    let names: Vec<String> = units.iter().rev().map(|(name, _)| format!("\"{name}\"")).collect();
                    let (last, others) = names.split_last().expect("there are units");
                    let hint = format!("Valid units for this parameter are {}, and {last}.", others.join(", "));
                    return Err(self.refused(value).with_hint(hint));
                }
            },
            (_, None) => return Err(self.refused(value)),
        };
        let number = (number * factor).round_ties_even();
        if number.abs() > INTEGER_MAX as f64 {
            return Err(self.refused(value).with_hint("Value exceeds integer range."));
        }
        let number = number as i64;
        if !(low..=high).contains(&number) {
            let unit = units.map_or(String::new(), |(base, _)| format!(" {base}"));
            let name = self.spelling;
            let message =
                format!("{number}{unit} is outside the valid range for parameter \"{name}\" ({low} .. {high})");
            return Err(SqlError::new(Condition::InvalidParameterValue, message));
        }
        let Some((_, units)) = units.filter(|_| number > 0) else { return Ok(number.to_string()) };
        let whole = units.iter().find(|(_, factor)| *factor >= 1.0 && number % (*factor as i64) == 0);
        let (unit, factor) = whole.expect("the base unit takes every number");
        Ok(format!("{}{unit}", number / (*factor as i64)))
    }

    fn float(&self, value: &str, (low, high): (f64, f64)) -> Result<String, SqlError> {
        match split_number(value.trim()) {
            Some((number, "")) if (low..=high).contains(&number) => Ok(number.to_string()),
            Some((number, "")) => {
                let name = self.spelling;
                let message = format!("{number} is outside the valid range for parameter \"{name}\" ({low} .. {high})");
                Err(SqlError::new(Condition::InvalidParameterValue, message))
            }
            _ => Err(self.refused(value)),
        }
    }

    /// A zone under the name that the database gives it; a number is hours to the east.
    fn time_zone(&self, value: &str) -> Result<String, SqlError> {
        if let Some((hours, "")) = split_number(value) {
            return zone_of_offset(hours * 3600.0)
                .ok_or_else(|| self.refused(value).with_detail("UTC timezone offset is out of range."));
        }
        let zone = Zone::named(value).ok_or_else(|| {
            self.refused(value).with_hint("It is a name such as Europe/Berlin, or hours east of Greenwich such as 2.")
        })?;
        Ok(zone.spelling().map_or_else(|| value.to_uppercase(), str::to_string))
    }

    fn date_style(&self, value: &str) -> Result<String, SqlError> {
        let (mut form, mut order) = (None, None);
        let conflict = || Err(self.refused(value).with_detail("Conflicting \"datestyle\" specifications."));
        for word in value.split(',') {
            let lower = word.trim().to_ascii_lowercase();
            let (new_form, new_order) = match lower.as_str() {
                "iso" => (Some("ISO"), None),
                "sql" => (Some("SQL"), None),
                word if word.starts_with("postgres") => (Some("Postgres"), None),
                "german" => (Some("German"), None),
                "ymd" => (None, Some("YMD")),
                word if word == "dmy" || word.starts_with("euro") => (None, Some("DMY")),
                word if word == "mdy" || word == "us" || word.starts_with("noneuro") => (None, Some("MDY")),
                "default" => (form.is_none().then_some("ISO"), order.is_none().then_some("MDY")),
                _ => {
                    let detail = format!("Unrecognized key word: \"{}\".", word.trim());
                    return Err(self.refused(value).with_detail(detail));
                }
            };
            for (kept, new) in [(&mut form, new_form), (&mut order, new_order)] {
                match (*kept, new) {
                    (Some(before), Some(new)) if before != new => return conflict(),
                    (_, Some(new)) => *kept = Some(new),
                    (_, None) => {}
                }
            }
        }
        // What is not said is kept: the caller puts it in.
        Ok(match (form, order) {
            (Some("German"), None) => "German, DMY".to_string(),
            (form, order) => format!("{}, {}", form.unwrap_or(""), order.unwrap_or("")),
        })
    }
}

/// Other words for the values of settings that are truth values with more than two.
fn synonym(shown: &'static [&'static str], lower: &str) -> Option<&'static str> {
    let word = match lower {
        "true" | "yes" | "1" => "on",
        "false" | "no" | "0" => "off",
        "debug" => "debug2",
        _ => return None,
    };
    shown.iter().copied().find(|shown| *shown == word)
}

/// A number as C reads it, also hexadecimal, and what stands behind it.
fn split_number(text: &str) -> Option<(f64, &str)> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    if let Some(digits) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        let end = digits.find(|character: char| !character.is_ascii_hexdigit()).unwrap_or(digits.len());
        let number = i64::from_str_radix(&digits[..end], 16).ok()?;
        return Some((sign * number as f64, digits[end..].trim()));
    }
    let bytes = unsigned.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') {
        end += 1 + digits(end + 1);
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        let signed = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        match digits(end + 1 + signed) {
            0 => {}
            count => end += 1 + signed + count,
        }
    }
    let number: f64 = unsigned[..end].parse().ok()?;
    Some((sign * number, unsigned[end..].trim()))
}

/// A zone of so many seconds to the east, spelt as POSIX does: `<+05>-05`.
pub fn zone_of_offset(seconds: f64) -> Option<String> {
    // What the zone's own reader takes.
    if !seconds.is_finite() || seconds.abs() >= 16.0 * 3600.0 {
        return None;
    }
    let total = seconds.abs().round() as u32;
    let mut text = format!("{:02}", total / 3600);
    if !total.is_multiple_of(3600) {
        text.push_str(&format!(":{:02}", total / 60 % 60));
    }
    if !total.is_multiple_of(60) {
        text.push_str(&format!(":{:02}", total % 60));
    }
    let (east, west) = if seconds < 0.0 { ('-', '+') } else { ('+', '-') };
    Some(format!("<{east}{text}>{west}{text}"))
}

/// The time that a kept value stands for; `None` is without end.
pub fn duration(kept: &str) -> Option<Duration> {
    let (number, unit) = split_number(kept)?;
    let factor = TIME_UNITS.iter().find(|(name, _)| *name == unit).map_or(1.0, |(_, factor)| *factor);
    let millis = number * factor;
    (millis > 0.0).then(|| Duration::from_millis(millis as u64))
}

/// The form and the order of a kept DateStyle.
pub fn date_style_of(kept: &str) -> (DateForm, DateOrder) {
    let (form, order) = kept.split_once(", ").unwrap_or((kept, ""));
    let form = match form {
        "SQL" => DateForm::Sql,
        "Postgres" => DateForm::Postgres,
        "German" => DateForm::German,
        _ => DateForm::Iso,
    };
    let order = match order {
        "DMY" => DateOrder::Dmy,
        "YMD" => DateOrder::Ymd,
        _ => DateOrder::Mdy,
    };
    (form, order)
}

/// The style of a kept IntervalStyle.
pub fn interval_style_of(kept: &str) -> IntervalForm {
    match kept {
        "postgres_verbose" => IntervalForm::PostgresVerbose,
        "sql_standard" => IntervalForm::SqlStandard,
        "iso_8601" => IntervalForm::Iso8601,
        _ => IntervalForm::Postgres,
    }
}
