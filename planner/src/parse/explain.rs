//! The options of EXPLAIN: those of Postgres, and STATE.
//!
//! Costs and what is counted beside rows and time are not known here: their options are taken where they switch
//! something off, and COSTS, TIMING and SUMMARY, which are on in Postgres unless one says otherwise, in any case.

use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::statement::{ExplainFormat, ExplainMode};

/// What was said.
pub(super) struct Options {
    pub(super) mode: ExplainMode,
    pub(super) format: ExplainFormat,
}

/// What stands between EXPLAIN and the statement.
pub(super) fn options(cursor: &mut Cursor<'_>) -> Result<Options> {
    let mut options = Options { mode: ExplainMode::Plan, format: ExplainFormat::Text };
    if *cursor.peek(0) == Token::LParen && !starts_query_in_parentheses(cursor) {
        cursor.expect_token(&Token::LParen)?;
        cursor.comma_separated(|cursor| option(cursor, &mut options))?;
        cursor.expect_token(&Token::RParen)?;
    } else {
        if cursor.accept(&["ANALYZE"]) {
            options.mode = ExplainMode::Analyze;
        }
        if cursor.accept(&["VERBOSE"]) {
            options.says(ExplainMode::Verbose);
        }
    }
    Ok(options)
}

impl Options {
    /// What runs the statement shows more than what tells of types.
    fn says(&mut self, mode: ExplainMode) {
        if mode != ExplainMode::Verbose || self.mode == ExplainMode::Plan {
            self.mode = mode;
        }
    }
}

fn starts_query_in_parentheses(cursor: &Cursor<'_>) -> bool {
    let mut ahead = 0;
    while *cursor.peek(ahead) == Token::LParen {
        ahead += 1;
    }
    ["SELECT", "VALUES", "WITH", "TABLE"].iter().any(|word| super::normalize::is_word(cursor.peek(ahead), word))
}

fn option(cursor: &mut Cursor<'_>, options: &mut Options) -> Result<()> {
    let position = cursor.position();
    let name = cursor.identifier()?;
    match name.value.as_str() {
        "format" => {
            let position = cursor.position();
            options.format = match cursor.identifier()?.value.as_str() {
                "text" => ExplainFormat::Text,
                "json" => ExplainFormat::Json,
                other @ ("xml" | "yaml") => {
                    let message = format!("EXPLAIN (FORMAT {}) is not supported", other.to_uppercase());
                    return Err(PlanError::unsupported(message)
                        .with_hint("The formats are TEXT and JSON.")
                        .at(Some(position)));
                }
                other => {
                    let message = format!("unrecognized value for EXPLAIN option \"format\": \"{other}\"");
                    return Err(PlanError::new(PlanErrorKind::InvalidParameterValue, message).at(Some(position)));
                }
            };
        }
        "verbose" if is_on(cursor) => options.says(ExplainMode::Verbose),
        "analyze" | "analyse" if is_on(cursor) => options.says(ExplainMode::Analyze),
        "state" if is_on(cursor) => options.says(ExplainMode::State),
        "verbose" | "analyze" | "analyse" | "state" => {}
        "costs" | "timing" | "summary" => {
            let _either = is_on(cursor);
        }
        counted @ ("buffers" | "wal" | "settings" | "generic_plan" | "memory" | "serialize") => {
            if is_on(cursor) {
                let message = format!("EXPLAIN option {} is not supported", counted.to_uppercase());
                return Err(PlanError::unsupported(message).with_hint("Leave it out.").at(Some(position)));
            }
        }
        other => {
            let message = format!("unrecognized EXPLAIN option \"{other}\"");
            return Err(PlanError::new(PlanErrorKind::SyntaxError, message)
                .with_hint("The options are VERBOSE, ANALYZE, STATE, FORMAT, COSTS, TIMING and SUMMARY.")
                .at(Some(position)));
        }
    }
    Ok(())
}

/// What stands behind an option's name; nothing is ON.
fn is_on(cursor: &mut Cursor<'_>) -> bool {
    let number = |cursor: &Cursor<'_>| match cursor.peek(0) {
        Token::Number(digits, _) => digits.parse::<u8>().ok(),
        _ => None,
    };
    match number(cursor) {
        Some(switch @ (0 | 1)) => {
            let _number = cursor.next();
            switch == 1
        }
        _ if cursor.accept(&["OFF"]) || cursor.accept(&["FALSE"]) || cursor.accept(&["NONE"]) => false,
        _ => {
            let _said = cursor.accept(&["ON"]) || cursor.accept(&["TRUE"]);
            true
        }
    }
}
