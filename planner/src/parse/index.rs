//! `CREATE INDEX`, `DROP INDEX` and `ALTER INDEX`.

use sqlparser::tokenizer::Token;

use crate::error::{PlanError, PlanErrorKind, Result};

use super::ast::{Identifier, IndexItem, IndexStatement, Statement};
use super::cursor::Cursor;

/// `CREATE [UNIQUE] INDEX [CONCURRENTLY] [[IF NOT EXISTS] name] ON relation [USING method] (columns)`; the cursor
/// stands behind CREATE.
pub(super) fn create(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let unique = cursor.accept(&["UNIQUE"]);
    cursor.expect(&["INDEX"])?;
    // An index never holds up writers.
    let _said = cursor.accept(&["CONCURRENTLY"]);
    let if_not_exists = cursor.accept(&["IF", "NOT", "EXISTS"]);
    let name = if !if_not_exists && cursor.is_at(&["ON"]) { None } else { Some(cursor.identifier()?) };
    cursor.expect(&["ON"])?;
    let _said = cursor.accept(&["ONLY"]);
    let relation = cursor.name()?;
    if cursor.accept(&["USING"]) {
        method(cursor)?;
    }
    cursor.expect_token(&Token::LParen)?;
    let columns = cursor.comma_separated(item)?;
    cursor.expect_token(&Token::RParen)?;
    let refused: [(&[&str], &str); 5] = [
        (&["WHERE"], "a partial index"),
        (&["INCLUDE"], "INCLUDE"),
        (&["NULLS"], "NULLS [NOT] DISTINCT"),
        (&["WITH"], "a storage parameter of an index"),
        (&["TABLESPACE"], "TABLESPACE"),
    ];
    if let Some((_, what)) = refused.iter().find(|(words, _)| cursor.is_at(words)) {
        return Err(PlanError::unsupported(format!("{what} is not supported")).at(Some(cursor.position())));
    }
    Ok(Statement::Index(IndexStatement::Create { name, if_not_exists, unique, relation, columns }))
}

fn method(cursor: &mut Cursor<'_>) -> Result<()> {
    let method = cursor.identifier()?;
    match method.value.as_str() {
        "btree" | "hash" => Ok(()),
        known @ ("gist" | "gin" | "spgist" | "brin") => {
            let message = format!("access method \"{known}\" is not supported");
            Err(PlanError::unsupported(message).with_hint("Use btree.").at(Some(method.position)))
        }
        other => {
            let message = format!("access method \"{other}\" does not exist");
            Err(PlanError::new(PlanErrorKind::UndefinedObject, message).at(Some(method.position)))
        }
    }
}

/// `column [ASC | DESC] [NULLS FIRST | LAST]`.
fn item(cursor: &mut Cursor<'_>) -> Result<IndexItem> {
    let position = cursor.position();
    let is_expression = *cursor.peek(0) == Token::LParen || *cursor.peek(1) == Token::LParen;
    if is_expression {
        return Err(PlanError::unsupported("an index on an expression is not supported")
            .with_hint("Add a generated column, and index that.")
            .at(Some(position)));
    }
    let column = cursor.identifier()?;
    if matches!(cursor.peek(0), Token::Word(_)) && !["ASC", "DESC", "NULLS"].iter().any(|word| cursor.is_at(&[word])) {
        let message = "COLLATE and operator classes of indexes are not supported";
        return Err(PlanError::unsupported(message).at(Some(cursor.position())));
    }
    let descending = cursor.accept(&["DESC"]);
    let _said = !descending && cursor.accept(&["ASC"]);
    let nulls_first = if cursor.accept(&["NULLS", "FIRST"]) {
        true
    } else if cursor.accept(&["NULLS", "LAST"]) {
        false
    } else {
        descending
    };
    Ok(IndexItem { column, descending, nulls_first })
}

/// `[CONCURRENTLY] [IF EXISTS] names [CASCADE | RESTRICT]`, behind `DROP INDEX`.
pub(super) fn drop(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let _said = cursor.accept(&["CONCURRENTLY"]);
    let if_exists = cursor.accept(&["IF", "EXISTS"]);
    let names = cursor.comma_separated(Cursor::name)?;
    // Nothing depends on an index.
    let _said = cursor.accept(&["CASCADE"]) || cursor.accept(&["RESTRICT"]);
    Ok(Statement::Index(IndexStatement::Drop { names, if_exists }))
}

/// `[IF EXISTS] name RENAME TO new_name`, behind `ALTER INDEX`.
pub(super) fn alter(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let if_exists = cursor.accept(&["IF", "EXISTS"]);
    let name = cursor.name()?;
    if !cursor.accept(&["RENAME", "TO"]) {
        return Err(PlanError::unsupported("this form of ALTER INDEX is not supported")
            .with_hint("Only RENAME TO is.")
            .at(Some(cursor.position())));
    }
    let new_name: Identifier = cursor.identifier()?;
    Ok(Statement::Index(IndexStatement::Rename { name, if_exists, new_name }))
}
