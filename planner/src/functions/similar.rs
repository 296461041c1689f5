//! Patterns of SQL (`SIMILAR TO`) as regular expressions: `%` and `_` stand for any characters, `|`, `*`, `+`, `?`,
//! `{m,n}`, `()` and `[]` mean what they mean there, and all of the text has to match.
//!
//! Nothing but what Postgres gives a meaning reaches the regular expression as more than itself: it knows more
//! operators than SQL, `&&` within brackets among them.

use std::iter::Peekable;
use std::str::Chars;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};

use super::forms::{Form, Gives, Takes, form};
use crate::error::{PlanError, PlanErrorKind};

/// The function that makes a regular expression of a pattern: no statement can write its name without quotes.
pub(crate) const SIMILAR_TO: &str = "similar to";

pub(super) const FORMS: &[Form] = &[
    form(&[Takes::Text], Gives::Text, regular_expressions),
    form(&[Takes::Text, Takes::Text], Gives::Text, regular_expressions),
];

/// Patterns, and the characters that escape in them: the backslash where none are given, none where they are empty.
fn regular_expressions(columns: &[ArrayRef], _target: &DataType, rows: usize) -> Result<ArrayRef> {
    let mut made = StringBuilder::new();
    for row in 0..rows {
        if columns.iter().any(|column| column.is_null(row)) {
            made.append_null();
            continue;
        }
        let text = |column: &ArrayRef| column.as_string::<i32>().value(row).to_string();
        let escape = match columns.get(1).map(text) {
            None => Some('\\'),
            Some(escape) => only_character(&escape).map_err(external)?,
        };
        made.append_value(regular_expression(&text(&columns[0]), escape).map_err(external)?);
    }
    Ok(Arc::new(made.finish()))
}

fn external(error: PlanError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn only_character(escape: &str) -> Result<Option<char>, PlanError> {
    let mut characters = escape.chars();
    match (characters.next(), characters.next()) {
        (character, None) => Ok(character),
        _ => Err(PlanError::new(PlanErrorKind::InvalidEscapeSequence, "invalid escape string")
            .with_hint("Escape string must be empty or one character.")),
    }
}

/// The pattern as a regular expression that matches whole texts. Two escaped quotes part it into three; it has one
/// group then, the one between them.
fn regular_expression(pattern: &str, escape: Option<char>) -> Result<String, PlanError> {
    let mut parts = Vec::from([String::new()]);
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        let part = parts.last_mut().expect("there is one from the start on");
        if Some(character) == escape {
            match characters.next() {
                Some('"') => parts.push(String::new()),
                Some(escaped) => put_escaped(part, escaped),
                None => {}
            }
            continue;
        }
        match character {
            '%' => part.push_str(".*"),
            '_' => part.push('.'),
            '(' => part.push_str("(?:"),
            '[' => put_class(part, &mut characters, escape),
            '{' if !is_count(characters.clone()) => part.push_str("\\{"),
            '\\' | '.' | '^' | '$' => part.extend(['\\', character]),
            other => part.push(other),
        }
    }
    // Line ends are characters as others are.
    match parts.as_slice() {
        [all] => Ok(format!("^(?s:{all})$")),
        // Before the group as little as can be, in it as much.
        [before, between, behind] => Ok(format!("^(?sU:{before})(?s)({between})(?:{behind})$")),
        // Up to the end.
        [before, between] => Ok(format!("^(?sU:{before})(?s)({between})$")),
        _ => {
            let message = "SQL regular expression may not contain more than two escape-double-quote separators";
            Err(PlanError::new(PlanErrorKind::InvalidUseOfEscapeCharacter, message))
        }
    }
}

/// An escaped character: itself, or one of the classes and places that regular expressions know.
fn put_escaped(part: &mut String, escaped: char) {
    match escaped {
        'm' => part.push_str("\\b{start}"),
        'M' => part.push_str("\\b{end}"),
        'y' => part.push_str("\\b"),
        'Y' => part.push_str("\\B"),
        'Z' => part.push_str("\\z"),
        'b' => part.push_str("\\x08"),
        'B' => part.push_str("\\\\"),
        escaped if escaped.is_ascii_alphanumeric() => part.extend(['\\', escaped]),
        escaped => part.push_str(&regex::escape(escaped.encode_utf8(&mut [0; 4]))),
    }
}

/// The characters of brackets up to the closing one, which stands for itself in the first place.
fn put_class(part: &mut String, characters: &mut Peekable<Chars<'_>>, escape: Option<char>) {
    part.push('[');
    if characters.next_if_eq(&'^').is_some() {
        part.push('^');
    }
    if characters.next_if_eq(&']').is_some() {
        part.push_str("\\]");
    }
    while let Some(character) = characters.next() {
        if Some(character) == escape {
            if let Some(escaped) = characters.next() {
                put_escaped(part, escaped);
            }
            continue;
        }
        match character {
            ']' => return part.push(']'),
            // A class by its name, `[:alpha:]`.
            '[' if characters.peek() == Some(&':') => {
                let name: String = characters.by_ref().skip(1).take_while(|character| *character != ':').collect();
                characters.next_if_eq(&']');
                put_named_class(part, &name);
            }
            '-' if part.ends_with('-') => part.push_str("\\-"),
            '[' | '&' | '~' | '\\' => part.extend(['\\', character]),
            other => part.push(other),
        }
    }
}

/// A class by its name, of all letters that there are, not only of those of English.
fn put_named_class(part: &mut String, name: &str) {
    match name {
        "alpha" => part.push_str("\\p{Alphabetic}"),
        "alnum" => part.push_str("\\p{Alphabetic}\\p{Nd}"),
        "upper" => part.push_str("\\p{Uppercase}"),
        "lower" => part.push_str("\\p{Lowercase}"),
        "space" => part.push_str("\\s"),
        name => part.push_str(&format!("[:{name}:]")),
    }
}

/// Whether what follows a brace counts: `m}`, `m,}` or `m,n}`.
fn is_count(characters: Peekable<Chars<'_>>) -> bool {
    let count: String = characters.take_while(|character| *character != '}').collect();
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match count.split_once(',') {
        Some((least, most)) => !least.is_empty() && digits(least) && digits(most),
        None => !count.is_empty() && digits(&count),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use regex::Regex;

    use super::*;

    fn is_similar(text: &str, pattern: &str, escape: Option<char>) -> bool {
        Regex::new(&regular_expression(pattern, escape).unwrap()).unwrap().is_match(text)
    }

    #[test]
    fn patterns_match_whole_texts() {
        for (text, pattern, expected) in [
            ("abc", "a__", true),
            ("abc", "a_", false),
            ("abc", "%(b|d)%", true),
            ("abc", "(b|c)%", false),
            ("a\nb", "a_b", true),
            ("abc\n", "abc", false),
            ("a.c", "a.c", true),
            ("abc", "a.c", false),
            ("aaa", "a{3}", true),
            ("aaaa", "a{2,3}", false),
            ("a{b", "a{b", true),
            ("^a$", "^a$", true),
            ("a%", "a\\%", true),
            ("ab", "a\\%", false),
            ("x&y", "x[&&]y", true),
            ("]", "[]]", true),
            ("[", "[[]", true),
            ("b", "[^a-c]", false),
            ("é", "[[:alpha:]]", true),
            ("7", "\\d", true),
            ("a\\", "a[\\]", false),
            ("ab|cd", "ab\\|cd", true),
        ] {
            // A bracket that never ends is no pattern.
            if pattern == "a[\\]" {
                assert!(Regex::new(&regular_expression(pattern, Some('\\')).unwrap()).is_err());
                continue;
            }
            assert_eq!(is_similar(text, pattern, Some('\\')), expected, "{text} {pattern}");
        }
        assert!(is_similar("a%", "a#%", Some('#')));
        assert!(is_similar("a\\b", "a\\b", None));
    }

    #[test]
    fn quotes_part_a_pattern() {
        let between = |text: &str, pattern: &str| {
            let pattern = Regex::new(&regular_expression(pattern, Some('#')).unwrap()).unwrap();
            pattern.captures(text).map(|found| found.get(1).map_or("", |group| group.as_str()).to_string())
        };
        assert_eq!(between("foobar", "%#\"o_b#\"%").as_deref(), Some("oob"));
        assert_eq!(between("foobar", "#\"o_b#\"%"), None);
        assert_eq!(between("abab", "%#\"a%#\"").as_deref(), Some("abab"));
        assert!(regular_expression("#\"a#\"b#\"", Some('#')).is_err());
    }
}
