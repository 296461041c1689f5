//! `WITH (name = value, …)` and `FORMAT … ENCODE … (name = value, …)`.
//!
//! Names are words with dots (`properties.bootstrap.server`), or strings in Flink's spelling; values are
//! strings, numbers, words, or `SECRET name`. Which names are known is not the parser's business.

use sqlparser::tokenizer::Token;

use crate::error::{PlanError, PlanErrorKind, Result};

use super::ast::{Format, OptionValue, WithOption};
use super::cursor::Cursor;

/// `WITH (…)` if it follows; a second one is an error.
pub(super) fn with_options(cursor: &mut Cursor<'_>, options: &mut Vec<WithOption>) -> Result<bool> {
    cursor.skip_boundary();
    if !cursor.is_at(&["WITH"]) || *cursor.peek(1) != Token::LParen {
        return Ok(false);
    }
    if !options.is_empty() {
        return Err(cursor.unexpected());
    }
    cursor.next();
    *options = parenthesized(cursor)?;
    Ok(true)
}

/// `FORMAT … ENCODE …` if it follows; a second one is an error.
pub(super) fn format(cursor: &mut Cursor<'_>, format: &mut Option<Format>) -> Result<bool> {
    cursor.skip_boundary();
    let position = cursor.position();
    if !cursor.is_at(&["FORMAT"]) || format.is_some() {
        return Ok(false);
    }
    cursor.next();
    let name = one_of(cursor, &["PLAIN", "UPSERT", "DEBEZIUM"])?;
    cursor.expect(&["ENCODE"])?;
    let encode = one_of(cursor, &["JSON", "CSV", "BYTES", "PARQUET", "AVRO", "PROTOBUF"])?;
    let options = if *cursor.peek(0) == Token::LParen { parenthesized(cursor)? } else { Vec::new() };
    *format = Some(Format { format: name.to_string(), encode: encode.to_string(), options, position });
    Ok(true)
}

fn one_of(cursor: &mut Cursor<'_>, words: &[&'static str]) -> Result<&'static str> {
    match words.iter().find(|word| cursor.is_at(&[word])) {
        Some(word) => {
            cursor.next();
            Ok(word)
        }
        None => Err(cursor.expected(&format!("one of {}", words.join(", ")))),
    }
}

fn parenthesized(cursor: &mut Cursor<'_>) -> Result<Vec<WithOption>> {
    cursor.expect_token(&Token::LParen)?;
    if cursor.accept_token(&Token::RParen) {
        return Ok(Vec::new());
    }
    let options = cursor.comma_separated(option)?;
    cursor.expect_token(&Token::RParen)?;
    for (index, option) in options.iter().enumerate() {
        if options[..index].iter().any(|earlier| earlier.name == option.name) {
            let message = format!("option \"{}\" is given twice", option.name);
            return Err(PlanError::new(PlanErrorKind::InvalidParameterValue, message).at(Some(option.position)));
        }
    }
    Ok(options)
}

fn option(cursor: &mut Cursor<'_>) -> Result<WithOption> {
    let position = cursor.position();
    let name = match cursor.accept_string() {
        Some(name) => name,
        None => dotted_name(cursor)?,
    };
    cursor.expect_token(&Token::Eq)?;
    let value = value(cursor)?;
    Ok(WithOption { name: name.to_lowercase(), value, position })
}

/// `a.b-c.1`: all that stands before the `=`, as it is written.
fn dotted_name(cursor: &mut Cursor<'_>) -> Result<String> {
    let first = cursor.mark();
    if !matches!(cursor.peek(0), Token::Word(_)) {
        return Err(cursor.expected("the name of an option"));
    }
    while matches!(cursor.peek(0), Token::Word(_) | Token::Number(..) | Token::Period | Token::Minus) {
        cursor.next();
    }
    Ok(cursor.source_since(first).chars().filter(|character| !character.is_whitespace() && *character != '"').collect())
}

fn value(cursor: &mut Cursor<'_>) -> Result<OptionValue> {
    if let Some(value) = cursor.accept_string() {
        return Ok(OptionValue::Text(value));
    }
    if cursor.is_at(&["SECRET"]) && matches!(cursor.peek(1), Token::Word(_)) {
        cursor.next();
        return Ok(OptionValue::Secret(cursor.name()?));
    }
    let sign = if cursor.accept_token(&Token::Minus) { "-" } else { "" };
    let value = match cursor.peek(0) {
        Token::Number(digits, _) => format!("{sign}{digits}"),
        Token::Word(word) if sign.is_empty() => word.value.clone(),
        _ => return Err(cursor.expected("a string, a number or a word as the option's value")),
    };
    cursor.next();
    Ok(OptionValue::Text(value))
}
