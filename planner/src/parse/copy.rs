//! `COPY`: both spellings of its options, the list in parentheses and the words in a row that came before it.
//!
//! The checks and their words are those of Postgres; what would reach the files or programs of the server's
//! machine is refused by name.

use sqlparser::tokenizer::Token;

use crate::copy::{CopyFormat, CopyHeader, CopyOptions, ForcedColumns};
use crate::error::{PlanError, PlanErrorKind, Result, TextPosition};
use crate::statement::StatementText;

use super::ast::{Copy, CopyTarget, Statement};
use super::cursor::Cursor;

/// `COPY table [(columns)] {FROM | TO} ...` and `COPY (statement) TO ...`.
pub(super) fn copy(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["COPY"])?;
    let mut given = Given::default();
    if cursor.is_at(&["BINARY"]) && matches!(cursor.peek(1), Token::Word(_)) && !is_direction(cursor, 1) {
        given.format = Some((CopyFormat::Binary, cursor.position()));
        cursor.next();
    }
    let target = match *cursor.peek(0) {
        Token::LParen => CopyTarget::Statement(inner_statement(cursor)?),
        _ => {
            let name = cursor.name()?;
            let columns = match *cursor.peek(0) {
                Token::LParen => cursor.identifiers_in_parentheses()?,
                _ => Vec::new(),
            };
            CopyTarget::Relation { name, columns }
        }
    };
    let from = match &target {
        CopyTarget::Relation { .. } if cursor.accept(&["FROM"]) => true,
        _ => {
            cursor.expect(&["TO"])?;
            false
        }
    };
    client_side(cursor, from)?;
    options(cursor, &mut given)?;
    if cursor.is_at(&["WHERE"]) {
        let message = "COPY FROM ... WHERE is not supported";
        return Err(PlanError::unsupported(message)
            .with_hint("COPY into a table of its own and INSERT from there.")
            .at(Some(cursor.position())));
    }
    let options = given.checked(from)?;
    Ok(Statement::Copy(Box::new(Copy { target, from, options })))
}

fn is_direction(cursor: &Cursor<'_>, ahead: usize) -> bool {
    ["FROM", "TO"].iter().any(|word| super::normalize::is_word(cursor.peek(ahead), word))
}

/// The statement in parentheses, as text.
fn inner_statement(cursor: &mut Cursor<'_>) -> Result<StatementText> {
    cursor.expect_token(&Token::LParen)?;
    let (start, first) = (cursor.position(), cursor.mark());
    let mut depth = 0_usize;
    loop {
        match cursor.peek(0) {
            Token::EOF => return Err(cursor.unexpected()),
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => break,
            Token::RParen => depth -= 1,
            _ => {}
        }
        cursor.next();
    }
    if cursor.mark() == first {
        return Err(cursor.unexpected());
    }
    let sql = cursor.source_since(first);
    cursor.expect_token(&Token::RParen)?;
    Ok(StatementText { sql, start })
}

/// `STDIN` or `STDOUT`; Postgres takes either word in both directions.
fn client_side(cursor: &mut Cursor<'_>, from: bool) -> Result<()> {
    let position = cursor.position();
    let what = if cursor.accept(&["PROGRAM"]) {
        "a program"
    } else if cursor.accept(&["STDIN"]) || cursor.accept(&["STDOUT"]) {
        return Ok(());
    } else {
        "a file"
    };
    if cursor.accept_string().is_none() {
        return Err(cursor.expected("STDIN or STDOUT"));
    }
    let (direction, stream) = if from { ("from", "COPY FROM STDIN") } else { ("to", "COPY TO STDOUT") };
    Err(PlanError::unsupported(format!("COPY {direction} {what} of the server's machine is not supported"))
        .with_hint(format!("Use {stream}, or \\copy in psql: it runs on the client's side."))
        .at(Some(position)))
}

/// What was said, with its place.
#[derive(Default)]
struct Given {
    format: Option<(CopyFormat, TextPosition)>,
    delimiter: Option<(String, TextPosition)>,
    null: Option<(String, TextPosition)>,
    header: Option<(CopyHeader, TextPosition)>,
    quote: Option<(String, TextPosition)>,
    escape: Option<(String, TextPosition)>,
    force_quote: Option<(ForcedColumns, TextPosition)>,
    force_not_null: Option<(ForcedColumns, TextPosition)>,
    force_null: Option<(ForcedColumns, TextPosition)>,
    encoding: Option<(String, TextPosition)>,
    freeze: Option<(bool, TextPosition)>,
}

fn put<T>(slot: &mut Option<(T, TextPosition)>, value: T, position: TextPosition) -> Result<()> {
    if slot.is_some() {
        let message = "conflicting or redundant options";
        return Err(PlanError::new(PlanErrorKind::SyntaxError, message).at(Some(position)));
    }
    *slot = Some((value, position));
    Ok(())
}

fn options(cursor: &mut Cursor<'_>, given: &mut Given) -> Result<()> {
    cursor.skip_boundary();
    if cursor.accept(&["USING", "DELIMITERS"]) || cursor.accept(&["DELIMITERS"]) {
        let position = cursor.position();
        let delimiter = string(cursor)?;
        put(&mut given.delimiter, delimiter, position)?;
    }
    let _said = cursor.accept(&["WITH"]);
    if cursor.accept_token(&Token::LParen) {
        loop {
            listed_option(cursor, given)?;
            if !cursor.accept_token(&Token::Comma) {
                break;
            }
        }
        return cursor.expect_token(&Token::RParen);
    }
    while *cursor.peek(0) != Token::EOF && !cursor.is_at(&["WHERE"]) {
        old_option(cursor, given)?;
    }
    Ok(())
}

/// One of `(FORMAT csv, HEADER, ...)`.
fn listed_option(cursor: &mut Cursor<'_>, given: &mut Given) -> Result<()> {
    let position = cursor.position();
    let name = cursor.identifier()?.value;
    match name.as_str() {
        "format" => {
            let value = word(cursor)?;
            let format = match value.as_str() {
                "text" => CopyFormat::Text,
                "csv" => CopyFormat::Csv,
                "binary" => CopyFormat::Binary,
                _ => return Err(invalid(format!("COPY format \"{value}\" not recognized"), position)),
            };
            put(&mut given.format, format, position)
        }
        "delimiter" => put(&mut given.delimiter, word(cursor)?, position),
        "null" => put(&mut given.null, word(cursor)?, position),
        "quote" => put(&mut given.quote, word(cursor)?, position),
        "escape" => put(&mut given.escape, word(cursor)?, position),
        "encoding" => put(&mut given.encoding, word(cursor)?, position),
        "header" => put(&mut given.header, header(cursor, position)?, position),
        "freeze" => put(&mut given.freeze, boolean(cursor, "freeze", position)?, position),
        "force_quote" => put(&mut given.force_quote, parenthesized_columns(cursor)?, position),
        "force_not_null" => put(&mut given.force_not_null, parenthesized_columns(cursor)?, position),
        "force_null" => put(&mut given.force_null, parenthesized_columns(cursor)?, position),
        _ => {
            let message = format!("option \"{name}\" not recognized");
            Err(PlanError::new(PlanErrorKind::SyntaxError, message).at(Some(position)))
        }
    }
}

/// One of `CSV HEADER DELIMITER AS ';'`.
fn old_option(cursor: &mut Cursor<'_>, given: &mut Given) -> Result<()> {
    let position = cursor.position();
    if cursor.accept(&["BINARY"]) {
        return put(&mut given.format, CopyFormat::Binary, position);
    }
    if cursor.accept(&["CSV"]) {
        return put(&mut given.format, CopyFormat::Csv, position);
    }
    if cursor.accept(&["HEADER"]) {
        return put(&mut given.header, CopyHeader::Present, position);
    }
    if cursor.accept(&["FREEZE"]) {
        return put(&mut given.freeze, true, position);
    }
    if cursor.accept(&["FORCE"]) {
        let slot = if cursor.accept(&["QUOTE"]) {
            &mut given.force_quote
        } else if cursor.accept(&["NOT", "NULL"]) {
            &mut given.force_not_null
        } else if cursor.accept(&["NULL"]) {
            &mut given.force_null
        } else {
            return Err(cursor.expected("QUOTE, NOT NULL or NULL"));
        };
        return put(slot, columns(cursor)?, position);
    }
    let slots = [
        ("DELIMITER", &mut given.delimiter),
        ("NULL", &mut given.null),
        ("QUOTE", &mut given.quote),
        ("ESCAPE", &mut given.escape),
        ("ENCODING", &mut given.encoding),
    ];
    for (name, slot) in slots {
        if cursor.accept(&[name]) {
            let _said = cursor.accept(&["AS"]);
            let value = string(cursor)?;
            return put(slot, value, position);
        }
    }
    Err(cursor.unexpected())
}

fn string(cursor: &mut Cursor<'_>) -> Result<String> {
    cursor.accept_string().ok_or_else(|| cursor.expected("a string"))
}

/// A word or a string: Postgres takes both wherever an option has a value.
fn word(cursor: &mut Cursor<'_>) -> Result<String> {
    match cursor.accept_string() {
        Some(text) => Ok(text),
        None => Ok(cursor.identifier()?.value),
    }
}

fn is_option_end(cursor: &Cursor<'_>) -> bool {
    matches!(cursor.peek(0), Token::Comma | Token::RParen)
}

fn header(cursor: &mut Cursor<'_>, position: TextPosition) -> Result<CopyHeader> {
    if cursor.is_at(&["MATCH"]) {
        cursor.next();
        return Ok(CopyHeader::Match);
    }
    match flag(cursor)? {
        Some(true) => Ok(CopyHeader::Present),
        Some(false) => Ok(CopyHeader::Absent),
        None => {
            let message = "header requires a Boolean value or \"match\"";
            Err(PlanError::new(PlanErrorKind::SyntaxError, message).at(Some(position)))
        }
    }
}

fn boolean(cursor: &mut Cursor<'_>, name: &str, position: TextPosition) -> Result<bool> {
    flag(cursor)?.ok_or_else(|| {
        let message = format!("{name} requires a Boolean value");
        PlanError::new(PlanErrorKind::SyntaxError, message).at(Some(position))
    })
}

/// Nothing is true; `None` for what is no truth value.
fn flag(cursor: &mut Cursor<'_>) -> Result<Option<bool>> {
    if is_option_end(cursor) {
        return Ok(Some(true));
    }
    if let Token::Number(digits, _) = cursor.peek(0) {
        let value = match digits.as_str() {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        };
        cursor.next();
        return Ok(value);
    }
    Ok(match word(cursor)?.to_lowercase().as_str() {
        "true" | "on" => Some(true),
        "false" | "off" => Some(false),
        _ => None,
    })
}

fn parenthesized_columns(cursor: &mut Cursor<'_>) -> Result<ForcedColumns> {
    if cursor.accept_token(&Token::Mul) {
        return Ok(ForcedColumns::All);
    }
    Ok(ForcedColumns::Named(cursor.identifiers_in_parentheses()?))
}

fn columns(cursor: &mut Cursor<'_>) -> Result<ForcedColumns> {
    if cursor.accept_token(&Token::Mul) {
        return Ok(ForcedColumns::All);
    }
    Ok(ForcedColumns::Named(cursor.comma_separated(Cursor::identifier)?))
}

fn invalid(message: impl Into<String>, position: TextPosition) -> PlanError {
    PlanError::new(PlanErrorKind::InvalidParameterValue, message).at(Some(position))
}

fn unsupported(message: impl Into<String>, position: TextPosition) -> PlanError {
    PlanError::unsupported(message).at(Some(position))
}

impl Given {
    /// The options, if they go together.
    fn checked(self, from: bool) -> Result<CopyOptions> {
        let format = self.format.map_or(CopyFormat::Text, |(format, _)| format);
        self.refuse_of_other_formats(format)?;
        self.refuse_of_other_direction(from)?;
        if let Some((encoding, position)) = &self.encoding {
            check_encoding(encoding, *position)?;
        }
        if let Some((true, position)) = self.freeze {
            let message = "COPY FREEZE is not supported";
            return Err(unsupported(message, position).with_hint("Leave FREEZE out: there is nothing to freeze."));
        }
        let csv = format == CopyFormat::Csv;
        let place = |slot: &Option<(String, TextPosition)>| slot.as_ref().map(|(_, position)| *position);
        let (delimiter_at, null_at) = (place(&self.delimiter), place(&self.null));
        let delimiter = one_byte("delimiter", self.delimiter, if csv { b',' } else { b'\t' })?;
        let quote = one_byte("quote", self.quote, b'"')?;
        let escape = one_byte("escape", self.escape, quote)?;
        let null = self.null.map_or_else(|| if csv { "" } else { "\\N" }.to_string(), |(null, _)| null);
        let at = |position: Option<TextPosition>, error: PlanError| Err(error.at(position));
        if matches!(delimiter, b'\n' | b'\r') {
            let message = "COPY delimiter cannot be newline or carriage return";
            return at(delimiter_at, PlanError::new(PlanErrorKind::InvalidParameterValue, message));
        }
        if null.contains(['\n', '\r']) {
            let message = "COPY null representation cannot use newline or carriage return";
            return at(null_at, PlanError::new(PlanErrorKind::InvalidParameterValue, message));
        }
        if !csv && b"\\.abcdefghijklmnopqrstuvwxyz0123456789".contains(&delimiter) {
            let message = format!("COPY delimiter cannot be \"{}\"", delimiter as char);
            return at(delimiter_at, PlanError::new(PlanErrorKind::InvalidParameterValue, message));
        }
        if csv && delimiter == quote {
            let message = "COPY delimiter and quote must be different";
            return at(delimiter_at, PlanError::new(PlanErrorKind::InvalidParameterValue, message));
        }
        if format != CopyFormat::Binary && null.as_bytes().contains(&delimiter) {
            let message = "COPY delimiter must not appear in the NULL specification";
            return at(null_at, PlanError::unsupported(message));
        }
        if csv && null.as_bytes().contains(&quote) {
            let message = "CSV quote character must not appear in the NULL specification";
            return at(null_at, PlanError::unsupported(message));
        }
        let forced = |slot: Option<(ForcedColumns, TextPosition)>| slot.map(|(columns, _)| columns).unwrap_or_default();
        Ok(CopyOptions {
            format,
            delimiter,
            null,
            header: self.header.map_or(CopyHeader::Absent, |(header, _)| header),
            quote,
            escape,
            force_quote: forced(self.force_quote),
            force_not_null: forced(self.force_not_null),
            force_null: forced(self.force_null),
        })
    }

    fn refuse_of_other_formats(&self, format: CopyFormat) -> Result<()> {
        if format == CopyFormat::Binary {
            let syntax = |slot: &Option<(String, TextPosition)>, name: &str| match slot {
                Some((_, position)) => {
                    let message = format!("cannot specify {name} in BINARY mode");
                    Err(PlanError::new(PlanErrorKind::SyntaxError, message).at(Some(*position)))
                }
                None => Ok(()),
            };
            syntax(&self.delimiter, "DELIMITER")?;
            syntax(&self.null, "NULL")?;
            if let Some((CopyHeader::Present | CopyHeader::Match, position)) = self.header {
                return Err(unsupported("cannot specify HEADER in BINARY mode", position));
            }
        }
        if format != CopyFormat::Csv {
            let only_csv = [
                (self.quote.as_ref().map(|(_, position)| position), "quote"),
                (self.escape.as_ref().map(|(_, position)| position), "escape"),
                (self.force_quote.as_ref().map(|(_, position)| position), "force quote"),
                (self.force_not_null.as_ref().map(|(_, position)| position), "force not null"),
                (self.force_null.as_ref().map(|(_, position)| position), "force null"),
            ];
            if let Some((Some(position), name)) = only_csv.into_iter().find(|(given, _)| given.is_some()) {
                return Err(unsupported(format!("COPY {name} available only in CSV mode"), *position));
            }
        }
        Ok(())
    }

    fn refuse_of_other_direction(&self, from: bool) -> Result<()> {
        let wrong = if from {
            [(self.force_quote.as_ref(), "force quote only available using COPY TO"), (None, "")]
        } else {
            [
                (self.force_not_null.as_ref(), "force not null only available using COPY FROM"),
                (self.force_null.as_ref(), "force null only available using COPY FROM"),
            ]
        };
        if let Some((Some((_, position)), message)) = wrong.into_iter().find(|(given, _)| given.is_some()) {
            return Err(unsupported(format!("COPY {message}"), *position));
        }
        match self.header {
            Some((CopyHeader::Match, position)) if !from => {
                Err(unsupported("cannot use \"match\" with HEADER in COPY TO", position))
            }
            _ => Ok(()),
        }
    }
}

fn one_byte(name: &str, given: Option<(String, TextPosition)>, default: u8) -> Result<u8> {
    match given {
        None => Ok(default),
        Some((text, position)) => match text.as_bytes() {
            [byte] => Ok(*byte),
            _ => Err(unsupported(format!("COPY {name} must be a single one-byte character"), position)),
        },
    }
}

fn check_encoding(encoding: &str, position: TextPosition) -> Result<()> {
    let plain: String = encoding.chars().filter(char::is_ascii_alphanumeric).collect();
    match plain.to_ascii_lowercase().as_str() {
        "utf8" | "unicode" => Ok(()),
        _ => Err(unsupported(format!("COPY in the encoding \"{encoding}\" is not supported"), position)
            .with_hint("Convert the data to UTF8.")),
    }
}
