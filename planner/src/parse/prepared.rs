//! `PREPARE`, `EXECUTE` and `DEALLOCATE`: prepared statements by SQL.

use sqlparser::tokenizer::Token;

use crate::error::Result;
use crate::statement::{Command, Discard};

use super::ast::Statement;
use super::cursor::Cursor;

/// `PREPARE name [(types)] AS statement`; the statement is planned when it is prepared, not here.
pub(super) fn prepare(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["PREPARE"])?;
    let name = cursor.identifier()?.value;
    let mut parameter_types = Vec::new();
    if cursor.accept_token(&Token::LParen) {
        parameter_types = cursor.comma_separated(Cursor::data_type)?;
        cursor.expect_token(&Token::RParen)?;
    }
    cursor.expect(&["AS"])?;
    cursor.skip_boundary();
    if *cursor.peek(0) == Token::EOF {
        return Err(cursor.unexpected());
    }
    let sql = cursor.rest();
    while *cursor.peek(0) != Token::EOF {
        cursor.next();
    }
    Ok(Statement::Prepare { name, parameter_types, sql })
}

/// `EXECUTE name [(values)]`.
pub(super) fn execute(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["EXECUTE"])?;
    let name = cursor.identifier()?.value;
    let mut arguments = Vec::new();
    if cursor.accept_token(&Token::LParen) && !cursor.accept_token(&Token::RParen) {
        arguments = cursor.comma_separated(|cursor| Ok(cursor.expression()?.sql))?;
        cursor.expect_token(&Token::RParen)?;
    }
    Ok(Command::Execute { name, arguments }.into())
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
