//! `CREATE SECRET`, `ALTER SECRET`, `DROP SECRET`. No error quotes what stands in the statement: it may be the value.

use sqlparser::tokenizer::Token;

use crate::error::{PlanError, PlanErrorKind, Result, TextPosition};
use crate::secret::SecretText;
use crate::statement::ObjectKind;

use super::ast::{SecretStatement, Statement};
use super::cursor::Cursor;
use super::limits::SECRET_BYTES_MAX;
use super::{objects, roles};

/// `SECRET [IF NOT EXISTS] name [WITH (backend = 'meta')] AS 'value'`; the cursor stands behind CREATE.
pub(super) fn create(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["SECRET"])?;
    let if_not_exists = cursor.accept(&["IF", "NOT", "EXISTS"]);
    let name = cursor.name()?;
    if cursor.is_at(&["WITH"]) {
        backend(cursor)?;
    }
    let value = value(cursor, "CREATE SECRET name AS 'value'")?;
    Ok(Statement::Secret(SecretStatement::Create { name, if_not_exists, value }))
}

/// `SECRET [IF EXISTS] name AS 'value'`, `... OWNER TO role`; the cursor stands behind ALTER.
pub(super) fn alter(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["SECRET"])?;
    let if_exists = cursor.accept(&["IF", "EXISTS"]);
    let name = cursor.name()?;
    if cursor.accept(&["OWNER", "TO"]) {
        return Ok(Statement::OwnerTo { object: ObjectKind::Secret, if_exists, name, owner: roles::spec(cursor)? });
    }
    if cursor.is_at(&["RENAME"]) {
        return Err(PlanError::unsupported("ALTER SECRET ... RENAME TO is not supported")
            .with_hint("The statements that use it name it: create another one, and those anew.")
            .at(Some(cursor.position())));
    }
    let value = value(cursor, "ALTER SECRET name AS 'value'")?;
    Ok(Statement::Secret(SecretStatement::Alter { name, if_exists, value }))
}

/// `SECRET [IF EXISTS] names [CASCADE | RESTRICT]`; the cursor stands behind DROP.
pub(super) fn drop(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["SECRET"])?;
    let if_exists = cursor.accept(&["IF", "EXISTS"]);
    let names = cursor.comma_separated(Cursor::name)?;
    Ok(Statement::Secret(SecretStatement::Drop { names, if_exists, cascade: objects::cascade(cursor) }))
}

/// RisingWave's `WITH (backend = 'meta')`: kept by the server itself, as everything is here.
fn backend(cursor: &mut Cursor<'_>) -> Result<()> {
    let position = cursor.position();
    let refused = || {
        PlanError::unsupported("options of a secret are not supported")
            .with_hint("Write CREATE SECRET name AS 'value': the server keeps it, encrypted.")
            .at(Some(position))
    };
    cursor.expect(&["WITH"])?;
    let words = [Token::LParen, Token::Eq, Token::RParen];
    let named = cursor.accept_token(&words[0]) && cursor.accept(&["BACKEND"]) && cursor.accept_token(&words[1]);
    let meta = named && cursor.accept_string().is_some_and(|backend| backend == "meta");
    if meta && cursor.accept_token(&words[2]) { Ok(()) } else { Err(refused()) }
}

/// `AS 'value'`, and nothing behind it.
fn value(cursor: &mut Cursor<'_>, form: &str) -> Result<SecretText> {
    let malformed = |position: TextPosition| {
        PlanError::new(PlanErrorKind::SyntaxError, "syntax error in the definition of a secret")
            .with_hint(format!("Write {form}."))
            .at(Some(position))
    };
    if !cursor.accept(&["AS"]) {
        return Err(malformed(cursor.position()));
    }
    let position = cursor.position();
    let Some(value) = cursor.accept_string() else { return Err(malformed(position)) };
    if *cursor.peek(0) != Token::EOF {
        return Err(malformed(cursor.position()));
    }
    if value.len() > SECRET_BYTES_MAX {
        let message = format!("the value of a secret can't be longer than {SECRET_BYTES_MAX} bytes");
        return Err(PlanError::new(PlanErrorKind::ProgramLimitExceeded, message).at(Some(position)));
    }
    Ok(SecretText::new(value))
}
