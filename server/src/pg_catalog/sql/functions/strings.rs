//! Functions over text, patterns among them.

use millstream_planner::error::{PlanError, PlanErrorKind, Result};
use regex::{Regex, RegexBuilder};

use super::super::datum::Datum;
use super::Call;
use crate::pg_catalog::objects::{quote_identifier, split_name};

pub(super) const FUNCTIONS: super::Values = &[
    ("lower", |call| Ok(call.text(0).to_lowercase().into())),
    ("upper", |call| Ok(call.text(0).to_uppercase().into())),
    ("initcap", |call| Ok(initcap(call.text(0)).into())),
    ("length", |call| Ok(call.text(0).chars().count().into())),
    ("char_length", |call| Ok(call.text(0).chars().count().into())),
    ("character_length", |call| Ok(call.text(0).chars().count().into())),
    ("octet_length", |call| {
        Ok(match call.datum(0) {
            Datum::Bytes(bytes) => bytes.len(),
            _ => call.text(0).len(),
        }
        .into())
    }),
    ("substr", substring),
    ("substring", substring),
    ("left", |call| Ok(left(call.text(0), call.int(1)).into())),
    ("right", |call| Ok(right(call.text(0), call.int(1)).into())),
    ("strpos", |call| Ok(position(call.text(0), call.text(1)))),
    ("position", |call| Ok(position(call.text(0), call.text(1)))),
    ("replace", |call| Ok(replaced(call).into())),
    ("btrim", |call| Ok(call.text(0).trim_matches(among(call)).into())),
    ("ltrim", |call| Ok(call.text(0).trim_start_matches(among(call)).into())),
    ("rtrim", |call| Ok(call.text(0).trim_end_matches(among(call)).into())),
    ("concat", |call| Ok((0..call.arguments.len()).map(|index| shown(call, index)).collect::<String>().into())),
    ("concat_ws", |call| {
        let given = (1..call.arguments.len()).filter(|index| call.given(*index)).map(|index| shown(call, index));
        let joined = given.collect::<Vec<_>>().join(call.text(0));
        Ok(call.given(0).then_some(joined).into())
    }),
    ("quote_ident", |call| Ok(quote_identifier(call.text(0)).into())),
    ("parse_ident", |call| parse_ident(call.text(0))),
    ("quote_literal", |call| Ok(literal(&call.shown(0)).into())),
    ("quote_nullable", |call| Ok(if call.given(0) { literal(&call.shown(0)) } else { "NULL".to_owned() }.into())),
    ("format", format),
    ("split_part", |call| Ok(split_part(call).into())),
    ("starts_with", |call| Ok(call.text(0).starts_with(call.text(1)).into())),
    ("reverse", |call| Ok(call.text(0).chars().rev().collect::<String>().into())),
    ("repeat", |call| {
        let times = usize::try_from(call.int(1)).unwrap_or(0);
        match call.text(0).len().saturating_mul(times) {
            0..=TEXT_BYTES => Ok(call.text(0).repeat(times).into()),
            _ => Err(PlanError::new(PlanErrorKind::ProgramLimitExceeded, "requested length too large")),
        }
    }),
    ("ascii", |call| Ok(call.text(0).chars().next().map_or(0, u32::from).into())),
    ("chr", |call| Ok(char::from_u32(call.oid(0)).map(String::from).into())),
    ("translate", |call| Ok(translated(call).into())),
    ("to_hex", |call| Ok(format!("{:x}", call.int(0)).into())),
    ("regexp_replace", regexp_replace),
    ("regexp_match", |call| regexp_match(call)),
    ("regexp_split_to_array", |call| {
        let regex = regex(call.text(1), call.text(2).contains('i'))?;
        Ok(Datum::texts(regex.split(call.text(0))))
    }),
    ("bpchar", |call| Ok(call.shown(0).into())),
    ("text", |call| Ok(call.shown(0).into())),
    ("name", |call| Ok(call.shown(0).into())),
    ("varchar", |call| Ok(call.shown(0).into())),
];

/// The longest text that a function makes.
const TEXT_BYTES: usize = 1 << 20;

fn shown(call: &Call<'_>, index: usize) -> String {
    call.shown(index)
}

fn initcap(text: &str) -> String {
    let mut inside = false;
    let letters = text.chars().flat_map(|letter| {
        let first = letter.is_alphanumeric() && !inside;
        inside = letter.is_alphanumeric();
        if first { letter.to_uppercase().collect::<Vec<_>>() } else { letter.to_lowercase().collect() }
    });
    letters.collect()
}

/// From a position, counted from 1, which may stand before the text; or by a pattern.
fn substring(call: &Call<'_>) -> Result<Datum> {
    if let Datum::Text(pattern) = call.datum(1) {
        let regex = regex(pattern, false)?;
        let Some(captures) = regex.captures(call.text(0)) else { return Ok(Datum::Null) };
        let found = captures.get(1).filter(|_| captures.len() > 1).or_else(|| captures.get(0));
        return Ok(found.map(|found| found.as_str()).into());
    }
    let start = call.int(1);
    let end = if call.given(2) {
        if call.int(2) < 0 {
            return Err(PlanError::new(PlanErrorKind::InvalidParameterValue, "negative substring length not allowed"));
        }
        start.saturating_add(call.int(2))
    } else {
        i64::MAX
    };
    let letters = call.text(0).chars().zip(1i64..).filter(|(_, at)| (start..end).contains(at));
    Ok(letters.map(|(letter, _)| letter).collect::<String>().into())
}

/// The first letters; a negative number leaves out so many at the end.
fn left(text: &str, count: i64) -> String {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let count = if count < 0 { length + count } else { count };
    text.chars().take(usize::try_from(count).unwrap_or(0)).collect()
}

fn right(text: &str, count: i64) -> String {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let skip = if count < 0 { -count } else { length - count };
    text.chars().skip(usize::try_from(skip).unwrap_or(0)).collect()
}

fn position(text: &str, part: &str) -> Datum {
    text.find(part).map_or(0, |at| text[..at].chars().count() + 1).into()
}

fn replaced(call: &Call<'_>) -> String {
    if call.text(1).is_empty() { call.text(0).to_owned() } else { call.text(0).replace(call.text(1), call.text(2)) }
}

fn among<'a>(call: &'a Call<'_>) -> impl Fn(char) -> bool + use<'a> {
    let letters = if call.given(1) { call.text(1) } else { " " };
    move |letter| letters.contains(letter)
}

/// The parts of a qualified name, folded where they are not quoted.
fn parse_ident(text: &str) -> Result<Datum> {
    let parts = split_name(text.trim());
    if parts.iter().any(String::is_empty) {
        let message = format!("string is not a valid identifier: \"{text}\"");
        return Err(PlanError::new(PlanErrorKind::InvalidParameterValue, message));
    }
    Ok(Datum::texts(parts))
}

fn literal(text: &str) -> String {
    let quoted = format!("'{}'", text.replace('\'', "''"));
    if text.contains('\\') { format!("E{}", quoted.replace('\\', "\\\\")) } else { quoted }
}

/// `%s`, `%I`, `%L` and `%%`, with positions such as `%1$s`.
fn format(call: &Call<'_>) -> Result<Datum> {
    if !call.given(0) {
        return Ok(Datum::Null);
    }
    let wrong = |message: &str| PlanError::new(PlanErrorKind::InvalidParameterValue, message);
    let (mut text, mut next) = (String::new(), 1);
    let mut letters = call.text(0).chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let mut digits = String::new();
        while let Some(digit) = letters.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        let at = match letters.next_if_eq(&'$') {
            Some(_) => digits.parse().unwrap_or(0),
            None => next,
        };
        let argument = |call: &Call<'_>| match at < call.arguments.len() && at > 0 {
            true => Ok(call.given(at).then(|| call.shown(at))),
            false => Err(wrong("too few arguments for format()")),
        };
        match letters.next() {
            Some('%') => {
                text.push('%');
                continue;
            }
            Some('s') => text.push_str(&argument(call)?.unwrap_or_default()),
            Some('I') => match argument(call)? {
                Some(name) => text.push_str(&quote_identifier(&name)),
                None => return Err(wrong("null values cannot be formatted as an SQL identifier")),
            },
            Some('L') => text.push_str(&argument(call)?.map_or_else(|| "NULL".to_owned(), |value| literal(&value))),
            Some(other) => return Err(wrong(&format!("unrecognized format() type specifier \"{other}\""))),
            None => return Err(wrong("unterminated format() type specifier")),
        }
        next = at + 1;
    }
    Ok(text.into())
}

fn split_part(call: &Call<'_>) -> String {
    let parts: Vec<&str> = call.text(0).split(call.text(1)).collect();
    let at = match call.int(2) {
        from_end if from_end < 0 => i64::try_from(parts.len()).unwrap_or(i64::MAX) + from_end,
        at => at - 1,
    };
    usize::try_from(at).ok().and_then(|at| parts.get(at)).map_or_else(String::new, |part| (*part).to_owned())
}

fn translated(call: &Call<'_>) -> String {
    let to: Vec<char> = call.text(2).chars().collect();
    let letters =
        call.text(0).chars().filter_map(|letter| match call.text(1).chars().position(|from| from == letter) {
            Some(at) => to.get(at).copied(),
            None => Some(letter),
        });
    letters.collect()
}

/// A pattern of Postgres, whose classes and anchors are ours, too.
fn regex(pattern: &str, ignore_case: bool) -> Result<Regex> {
    // `***:` and `***=` at the beginning say how the rest is read.
    let pattern = match pattern.strip_prefix("***=") {
        Some(plain) => regex::escape(plain),
        None => pattern.strip_prefix("***:").unwrap_or(pattern).to_owned(),
    };
    let built = RegexBuilder::new(&pattern).case_insensitive(ignore_case).size_limit(TEXT_BYTES).build();
    built.map_err(|_| {
        PlanError::new(PlanErrorKind::InvalidParameterValue, format!("invalid regular expression: \"{pattern}\""))
    })
}

/// Whether a text matches a pattern somewhere.
pub(in crate::pg_catalog::sql) fn regex_matches(text: &Datum, pattern: &Datum, ignore_case: bool) -> Result<bool> {
    let (Datum::Text(text), Datum::Text(pattern)) = (text, pattern) else { return Ok(false) };
    // The patterns that clients make of names need no machine.
    if !ignore_case
        && let Some(name) = pattern.strip_prefix("^(").and_then(|rest| rest.strip_suffix(")$"))
        && name.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
    {
        return Ok(**text == *name);
    }
    thread_local! {
        static LAST: std::cell::RefCell<Option<(String, bool, Regex)>> = const { std::cell::RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| {
        if let Some((known, case, regex)) = last
            && *known == **pattern
            && *case == ignore_case
        {
            return Ok(regex.is_match(text));
        }
        let made = regex(pattern, ignore_case)?;
        let found = made.is_match(text);
        *last = Some((pattern.to_string(), ignore_case, made));
        Ok(found)
    })
}

fn regexp_replace(call: &Call<'_>) -> Result<Datum> {
    let flags = call.text(3);
    let regex = regex(call.text(1), flags.contains('i'))?;
    // `\1` and `\&` stand for what was found.
    let (mut with, mut letters) = (String::new(), call.text(2).chars());
    while let Some(letter) = letters.next() {
        match (letter, letter == '\\') {
            (_, true) => match letters.next() {
                Some(digit) if digit.is_ascii_digit() => with.push_str(&format!("${{{digit}}}")),
                Some('&') => with.push_str("${0}"),
                Some(other) => with.push(other),
                None => with.push('\\'),
            },
            ('$', _) => with.push_str("$$"),
            (other, _) => with.push(other),
        }
    }
    let limit = if flags.contains('g') { 0 } else { 1 };
    Ok(regex.replacen(call.text(0), limit, with.as_str()).as_ref().into())
}

fn regexp_match(call: &Call<'_>) -> Result<Datum> {
    let regex = regex(call.text(1), call.text(2).contains('i'))?;
    Ok(regex.captures(call.text(0)).map_or(Datum::Null, |captures| found(&captures)))
}

fn found(captures: &regex::Captures<'_>) -> Datum {
    let first = usize::from(captures.len() > 1);
    let parts = captures.iter().skip(first).map(|part| part.map(|part| part.as_str()).into());
    Datum::Array(parts.collect())
}

/// All places that match, each as the array of its parts.
pub(super) fn regexp_matches(call: &Call<'_>) -> Result<Vec<Datum>> {
    let flags = call.text(2);
    let regex = regex(call.text(1), flags.contains('i'))?;
    let all = regex.captures_iter(call.text(0)).map(|captures| found(&captures));
    Ok(if flags.contains('g') { all.collect() } else { all.take(1).collect() })
}

pub(super) fn regexp_split(call: &Call<'_>) -> Result<Vec<Datum>> {
    let regex = regex(call.text(1), call.text(2).contains('i'))?;
    Ok(regex.split(call.text(0)).map(Datum::text).collect())
}

/// LIKE: `%` and `_` stand for anything, what follows the escape for itself.
pub(in crate::pg_catalog::sql) fn like(text: &str, pattern: &str, escape: Option<char>, ignore_case: bool) -> bool {
    #[derive(Clone, Copy)]
    enum Part {
        Any,
        One,
        Letter(char),
    }
    let (text, pattern) =
        if ignore_case { (text.to_lowercase(), pattern.to_lowercase()) } else { (text.to_owned(), pattern.to_owned()) };
    let mut parts = Vec::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        parts.push(match letter {
            escaped if Some(escaped) == escape => Part::Letter(letters.next().unwrap_or(escaped)),
            '%' => Part::Any,
            '_' => Part::One,
            other => Part::Letter(other),
        });
    }
    let text: Vec<char> = text.chars().collect();
    // The last `%` and where in the text it was: when something does not fit, it takes one letter more.
    let (mut at, mut part, mut retry) = (0, 0, None);
    while at < text.len() {
        match parts.get(part) {
            Some(Part::Any) => {
                retry = Some((part, at));
                part += 1;
            }
            Some(Part::One) => (at, part) = (at + 1, part + 1),
            Some(Part::Letter(letter)) if *letter == text[at] => (at, part) = (at + 1, part + 1),
            _ => match retry {
                Some((any, from)) => {
                    (at, part) = (from + 1, any + 1);
                    retry = Some((any, from + 1));
                }
                None => return false,
            },
        }
    }
    parts[part..].iter().all(|part| matches!(part, Part::Any))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_follows_its_escape() {
        for (text, pattern, fits) in [
            ("pg_class", "pg\\_%", true),
            ("pgxclass", "pg\\_%", false),
            ("abc", "a%c", true),
            ("abcbc", "a%bc", true),
            ("", "%", true),
            ("", "_", false),
            ("a%", "a\\%", true),
            ("abc", "ab", false),
        ] {
            assert_eq!(like(text, pattern, Some('\\'), false), fits, "{text} LIKE {pattern}");
        }
        assert!(like("ABC", "a_c", Some('\\'), true));
    }

    #[test]
    fn cuts_count_letters() {
        assert_eq!(left("größe", 3), "grö");
        assert_eq!(left("abc", -1), "ab");
        assert_eq!(right("abc", 2), "bc");
        assert_eq!(initcap("hello wORLD"), "Hello World");
        assert_eq!(literal("it's"), "'it''s'");
    }
}
