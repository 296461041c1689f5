//! `PREPARE`, `EXECUTE` and `DEALLOCATE`: prepared statements by SQL.

use sqlparser::tokenizer::Token;

use crate::error::{PlanError, Result};
use crate::statement::{Command, Discard, StatementText};

use super::ast::{SqlExpression, Statement};
use super::cursor::Cursor;

/// First words of what can be prepared.
const PREPARED: [&str; 8] = ["SELECT", "INSERT", "UPDATE", "DELETE", "VALUES", "WITH", "TABLE", "MERGE"];

/// `PREPARE name [(types)] AS statement`; the statement is planned when it is prepared, not here.
pub(super) fn prepare(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let position = cursor.position();
    cursor.expect(&["PREPARE"])?;
    if cursor.is_at(&["TRANSACTION"])
        && !matches!(cursor.peek(1), Token::LParen)
        && !super::normalize::is_word(cursor.peek(1), "AS")
    {
        return Err(PlanError::unsupported("two-phase commit is not supported").at(Some(position)));
    }
    let name = cursor.identifier()?.value;
    let mut parameter_types = Vec::new();
    if cursor.accept_token(&Token::LParen) {
        parameter_types = cursor.comma_separated(Cursor::data_type)?;
        cursor.expect_token(&Token::RParen)?;
    }
    cursor.expect(&["AS"])?;
    cursor.skip_boundary();
    let is_prepared = *cursor.peek(0) == Token::LParen || PREPARED.iter().any(|word| cursor.is_at(&[word]));
    if !is_prepared {
        return Err(cursor.expected("SELECT, INSERT, UPDATE, DELETE or VALUES"));
    }
    let text = StatementText { start: cursor.position(), sql: cursor.rest() };
    while *cursor.peek(0) != Token::EOF {
        cursor.next();
    }
    Ok(Statement::Prepare { name, parameter_types, text })
}

/// `EXECUTE name [(values)]`.
pub(super) fn execute(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["EXECUTE"])?;
    let name = cursor.identifier()?.value;
    let mut arguments = Vec::new();
    if cursor.accept_token(&Token::LParen) {
        arguments = cursor.comma_separated(Cursor::expression)?;
        cursor.expect_token(&Token::RParen)?;
    }
    let text = |argument: SqlExpression| StatementText { sql: argument.sql, start: argument.position };
    Ok(Command::Execute { name, arguments: arguments.into_iter().map(text).collect() }.into())
}

/// `DEALLOCATE [PREPARE] name | ALL`.
pub(super) fn deallocate(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["DEALLOCATE"])?;
    if cursor.is_at(&["PREPARE"]) && *cursor.peek(1) != Token::EOF {
        cursor.next();
    }
    if cursor.accept(&["ALL"]) {
        return Ok(Command::Discard(Discard::Prepared).into());
    }
    Ok(Command::Discard(Discard::One(cursor.identifier()?.value)).into())
}
