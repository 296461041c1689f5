//! `VACUUM`, `ANALYZE` and `REINDEX`, with the options of Postgres 15: what they would tune is not there to be tuned,
//! so options are read, checked and forgotten.

use sqlparser::tokenizer::Token;

use crate::error::{PlanError, PlanErrorKind, Result, TextPosition};

use super::ast::{Maintenance, ReindexName, Statement, VacuumName};
use super::cursor::Cursor;

/// What an option takes as its value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Boolean,
    /// A truth value or AUTO.
    Automatic,
    /// Processes, at most as many as Postgres allows.
    Processes,
    /// A tablespace, of which there is one only.
    Tablespace,
}

/// As Postgres has it.
const PROCESSES_MAX: u32 = 1024;

const OF_VACUUM: &[(&str, Takes)] = &[
    ("verbose", Takes::Boolean),
    ("skip_locked", Takes::Boolean),
    ("analyze", Takes::Boolean),
    ("freeze", Takes::Boolean),
    ("full", Takes::Boolean),
    ("disable_page_skipping", Takes::Boolean),
    ("index_cleanup", Takes::Automatic),
    ("process_toast", Takes::Boolean),
    ("truncate", Takes::Boolean),
    ("parallel", Takes::Processes),
];
const OF_ANALYZE: &[(&str, Takes)] = &[("verbose", Takes::Boolean), ("skip_locked", Takes::Boolean)];
const OF_REINDEX: &[(&str, Takes)] =
    &[("verbose", Takes::Boolean), ("concurrently", Takes::Boolean), ("tablespace", Takes::Tablespace)];

/// `VACUUM [(options) | FULL FREEZE VERBOSE ANALYZE] [relation [(columns)], ...]`.
pub(super) fn vacuum(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["VACUUM"])?;
    let mut analyze = false;
    if *cursor.peek(0) == Token::LParen {
        let on = options(cursor, "VACUUM", OF_VACUUM)?;
        analyze = on.contains(&"analyze");
    } else {
        for word in ["FULL", "FREEZE", "VERBOSE"] {
            let _said = cursor.accept(&[word]);
        }
        analyze |= cursor.accept(&["ANALYZE"]) || cursor.accept(&["ANALYSE"]);
    }
    let names = names(cursor)?;
    if !analyze && names.iter().any(|name| !name.columns.is_empty()) {
        let message = "ANALYZE option must be specified when a column list is provided";
        return Err(PlanError::new(PlanErrorKind::FeatureNotSupported, message));
    }
    Ok(Statement::Maintain(Maintenance::Vacuum { names }))
}

/// `ANALYZE [(options) | VERBOSE] [relation [(columns)], ...]`.
pub(super) fn analyze(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.next();
    if *cursor.peek(0) == Token::LParen {
        options(cursor, "ANALYZE", OF_ANALYZE)?;
    } else {
        let _said = cursor.accept(&["VERBOSE"]);
    }
    Ok(Statement::Maintain(Maintenance::Analyze { names: names(cursor)? }))
}

/// `REINDEX [(options)] INDEX | TABLE | SCHEMA | DATABASE | SYSTEM [CONCURRENTLY] name`.
pub(super) fn reindex(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["REINDEX"])?;
    let mut concurrently = false;
    if *cursor.peek(0) == Token::LParen {
        concurrently = options(cursor, "REINDEX", OF_REINDEX)?.contains(&"concurrently");
    }
    const KINDS: [&str; 5] = ["INDEX", "TABLE", "SCHEMA", "DATABASE", "SYSTEM"];
    let Some(kind) = KINDS.into_iter().find(|kind| cursor.accept(&[kind])) else {
        return Err(cursor.expected("INDEX, TABLE, SCHEMA, DATABASE or SYSTEM"));
    };
    concurrently |= cursor.accept(&["CONCURRENTLY"]);
    let name = match kind {
        "INDEX" => ReindexName::Index(cursor.name()?),
        "TABLE" => ReindexName::Table(cursor.name()?),
        "SCHEMA" => ReindexName::Schema(cursor.identifier()?),
        "DATABASE" => ReindexName::Database(cursor.identifier()?),
        _ => ReindexName::System(cursor.identifier()?),
    };
    Ok(Statement::Maintain(Maintenance::Reindex { name, concurrently }))
}

fn names(cursor: &mut Cursor<'_>) -> Result<Vec<VacuumName>> {
    if *cursor.peek(0) == Token::EOF {
        return Ok(Vec::new());
    }
    cursor.comma_separated(|cursor| {
        let name = cursor.name()?;
        let columns = match cursor.peek(0) {
            Token::LParen => cursor.identifiers_in_parentheses()?,
            _ => Vec::new(),
        };
        Ok(VacuumName { name, columns })
    })
}

/// `(option [value], ...)`: those that are on.
fn options(
    cursor: &mut Cursor<'_>,
    statement: &str,
    known: &'static [(&'static str, Takes)],
) -> Result<Vec<&'static str>> {
    let mut on = Vec::new();
    cursor.expect_token(&Token::LParen)?;
    cursor.comma_separated(|cursor| {
        let name = cursor.identifier()?;
        let asked = if name.value == "analyse" { "analyze" } else { name.value.as_str() };
        let Some((option, takes)) = known.iter().find(|(option, _)| *option == asked) else {
            let message = format!("unrecognized {statement} option \"{}\"", name.value);
            return Err(PlanError::new(PlanErrorKind::SyntaxError, message).at(Some(name.position)));
        };
        let value = value(cursor);
        if is_on(option, *takes, value.as_deref(), name.position)? {
            on.push(*option);
        }
        Ok(())
    })?;
    cursor.expect_token(&Token::RParen)?;
    Ok(on)
}

/// What stands behind an option's name, lower case.
fn value(cursor: &mut Cursor<'_>) -> Option<String> {
    if matches!(cursor.peek(0), Token::Comma | Token::RParen | Token::EOF) {
        return None;
    }
    if let Some(text) = cursor.accept_string() {
        return Some(text.to_lowercase());
    }
    Some(cursor.next().token.to_string().to_lowercase())
}

fn is_on(option: &str, takes: Takes, value: Option<&str>, position: TextPosition) -> Result<bool> {
    let wrong = |message: String| Err(PlanError::new(PlanErrorKind::SyntaxError, message).at(Some(position)));
    match (takes, value) {
        (Takes::Boolean | Takes::Automatic, None | Some("true" | "on" | "1")) => Ok(true),
        (Takes::Boolean | Takes::Automatic, Some("false" | "off" | "0")) | (Takes::Automatic, Some("auto")) => {
            Ok(false)
        }
        (Takes::Boolean | Takes::Automatic, Some(_)) => wrong(format!("{option} requires a Boolean value")),
        (Takes::Processes, None) => wrong(format!("parallel option requires a value between 0 and {PROCESSES_MAX}")),
        (Takes::Processes, Some(count)) => match count.parse::<u32>() {
            Ok(count) if count <= PROCESSES_MAX => Ok(false),
            Ok(_) => wrong(format!("parallel workers for vacuum must be between 0 and {PROCESSES_MAX}")),
            Err(_) => wrong(format!("{option} requires an integer value")),
        },
        (Takes::Tablespace, _) => {
            Err(PlanError::unsupported("TABLESPACE is not supported").with_hint("Leave it out.").at(Some(position)))
        }
    }
}
