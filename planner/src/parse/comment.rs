//! `COMMENT ON` and `REFRESH MATERIALIZED VIEW`.

use sqlparser::tokenizer::Token;

use crate::bind::DATABASE;
use crate::error::{PlanError, Result};

use super::ast::{CommentObject, Name, Statement};
use super::cursor::Cursor;
use super::objects::relation_kind;

/// `COMMENT ON kind name IS text`; NULL takes the comment away.
pub(super) fn comment(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["COMMENT", "ON"])?;
    let position = cursor.position();
    let object = if cursor.accept(&["SCHEMA"]) {
        CommentObject::Schema(cursor.identifier()?)
    } else if cursor.accept(&["COLUMN"]) {
        column(cursor)?
    } else if cursor.accept(&["INDEX"]) {
        CommentObject::Index(cursor.name()?)
    } else if cursor.accept(&["CONSTRAINT"]) {
        let constraint = cursor.identifier()?;
        cursor.expect(&["ON"])?;
        CommentObject::Constraint(constraint, cursor.name()?)
    } else if cursor.accept(&["SECRET"]) {
        CommentObject::Secret(cursor.name()?)
    } else if cursor.accept(&["ROLE"]) {
        CommentObject::Role(cursor.identifier()?)
    } else if cursor.accept(&["DATABASE"]) {
        CommentObject::Database(cursor.identifier()?)
    } else if let Some(kind) = relation_kind(cursor) {
        CommentObject::Relation(kind, cursor.name()?)
    } else {
        let hint =
            "There are comments on the database, roles, schemas, relations, columns, indexes, constraints and secrets.";
        return Err(PlanError::unsupported("COMMENT ON this kind of object is not supported")
            .with_hint(hint)
            .at(Some(position)));
    };
    cursor.expect(&["IS"])?;
    let text = match cursor.peek(0).clone() {
        Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) | Token::UnicodeStringLiteral(text) => {
            cursor.next();
            Some(text)
        }
        Token::DollarQuotedString(text) => {
            cursor.next();
            Some(text.value)
        }
        _ if cursor.accept(&["NULL"]) => None,
        _ => return Err(cursor.expected("a string or NULL")),
    };
    // An empty comment is none, as in Postgres.
    Ok(Statement::Comment { object, text: text.filter(|text| !text.is_empty()) })
}

/// `[[database.]schema.]relation.column`
fn column(cursor: &mut Cursor<'_>) -> Result<CommentObject> {
    let first = cursor.identifier()?;
    let position = first.position;
    let mut parts = vec![first];
    while cursor.accept_token(&Token::Period) {
        parts.push(cursor.identifier()?);
    }
    if parts.len() == 4 && parts[0].value == DATABASE {
        parts.remove(0);
    }
    let column = parts.pop().filter(|_| (1..=2).contains(&parts.len()));
    let (Some(column), Some(relation)) = (column, parts.pop()) else {
        return Err(PlanError::new(crate::error::PlanErrorKind::SyntaxError, "column name must be qualified")
            .at(Some(position)));
    };
    let schema = parts.pop().map(|schema| schema.value);
    Ok(CommentObject::Column(Name { schema, name: relation.value, position }, column))
}

/// `REFRESH MATERIALIZED VIEW [CONCURRENTLY] name [WITH DATA]`
pub(super) fn refresh(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["REFRESH", "MATERIALIZED", "VIEW"])?;
    let _said = cursor.accept(&["CONCURRENTLY"]);
    let name = cursor.name()?;
    let position = cursor.position();
    if cursor.accept(&["WITH", "NO", "DATA"]) {
        return Err(PlanError::unsupported("REFRESH MATERIALIZED VIEW ... WITH NO DATA is not supported")
            .with_hint("A materialized view is always current.")
            .at(Some(position)));
    }
    let _said = cursor.accept(&["WITH", "DATA"]);
    Ok(Statement::Refresh { name })
}
