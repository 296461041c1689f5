//! `CREATE SCHEMA`, `DROP`, `ALTER`, `TRUNCATE`, `DESCRIBE` and `ADVANCE`.

use sqlparser::tokenizer::Token;

use crate::error::{PlanError, Result};
use crate::statement::ObjectKind;

use super::ast::{Name, NewName, Statement};
use super::cursor::Cursor;
use super::{grants, index, refused, roles, secret};

/// The kinds of relations with their words, longest first.
const RELATION_KINDS: [(&[&str], ObjectKind); 5] = [
    (&["MATERIALIZED", "VIEW"], ObjectKind::MaterializedView),
    (&["TABLE"], ObjectKind::Table),
    (&["SOURCE"], ObjectKind::Source),
    (&["VIEW"], ObjectKind::View),
    (&["SINK"], ObjectKind::Sink),
];

/// Takes `TABLE`, `MATERIALIZED VIEW` and so on, if it follows.
pub(super) fn relation_kind(cursor: &mut Cursor<'_>) -> Option<ObjectKind> {
    RELATION_KINDS.iter().find(|(words, _)| cursor.accept(words)).map(|(_, kind)| *kind)
}

/// `SCHEMA [IF NOT EXISTS] name`.
pub(super) fn create_schema(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["SCHEMA"])?;
    let if_not_exists = cursor.accept(&["IF", "NOT", "EXISTS"]);
    let name = cursor.identifier()?;
    if cursor.accept(&["AUTHORIZATION"]) {
        return Err(PlanError::unsupported("CREATE SCHEMA ... AUTHORIZATION is not supported").at(Some(name.position)));
    }
    Ok(Statement::CreateSchema { name, if_not_exists })
}

/// `DROP kind [IF EXISTS] names [CASCADE | RESTRICT]`.
pub(super) fn drop(cursor: &mut Cursor<'_>) -> Result<Statement> {
    if cursor.accept(&["DROP", "OWNED"]) {
        return grants::drop_owned(cursor);
    }
    if let Some(error) = refused::drop(cursor) {
        return Err(error);
    }
    cursor.expect(&["DROP"])?;
    if cursor.accept(&["SCHEMA"]) {
        let if_exists = cursor.accept(&["IF", "EXISTS"]);
        let names = cursor.comma_separated(Cursor::identifier)?;
        return Ok(Statement::DropSchema { names, if_exists, cascade: cascade(cursor) });
    }
    if cursor.accept(&["INDEX"]) {
        return index::drop(cursor);
    }
    if cursor.is_at(&["SECRET"]) {
        return secret::drop(cursor);
    }
    let Some(object) = relation_kind(cursor) else {
        return Err(cursor.expected("TABLE, SOURCE, VIEW, MATERIALIZED VIEW, SINK, INDEX, SCHEMA or SECRET"));
    };
    let if_exists = cursor.accept(&["IF", "EXISTS"]);
    let names = cursor.comma_separated(Cursor::name)?;
    Ok(Statement::Drop { object, names, if_exists, cascade: cascade(cursor) })
}

/// RESTRICT is the default.
pub(super) fn cascade(cursor: &mut Cursor<'_>) -> bool {
    let cascade = cursor.accept(&["CASCADE"]);
    let _said = !cascade && cursor.accept(&["RESTRICT"]);
    cascade
}

/// `ALTER kind [IF EXISTS] name RENAME TO name | SWAP WITH name | SET SCHEMA name | OWNER TO role`, `ALTER SCHEMA`.
pub(super) fn alter(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let position = cursor.position();
    cursor.expect(&["ALTER"])?;
    if cursor.accept(&["INDEX"]) {
        return index::alter(cursor);
    }
    if cursor.is_at(&["SECRET"]) {
        return secret::alter(cursor);
    }
    if ["ROLE", "USER", "GROUP"].iter().any(|word| cursor.is_at(&[word])) {
        return roles::alter(cursor);
    }
    if cursor.accept(&["DEFAULT", "PRIVILEGES"]) {
        return grants::defaults(cursor);
    }
    if cursor.accept(&["SCHEMA"]) {
        return alter_schema(cursor);
    }
    let Some(object) = relation_kind(cursor) else {
        return Err(refused::alter(cursor).at(Some(position)));
    };
    let if_exists = cursor.accept(&["IF", "EXISTS"]);
    let name = cursor.name()?;
    if cursor.accept(&["OWNER", "TO"]) {
        return Ok(Statement::OwnerTo { object, if_exists, name, owner: roles::spec(cursor)? });
    }
    let to = if cursor.accept(&["RENAME", "TO"]) {
        NewName::Name(cursor.identifier()?)
    } else if cursor.accept(&["SWAP", "WITH"]) {
        NewName::Swap(cursor.name()?)
    } else if cursor.accept(&["SET", "SCHEMA"]) {
        NewName::Schema(cursor.identifier()?)
    } else {
        let known = ["RENAME", "ADD", "DROP", "ALTER", "SET", "SWAP", "OWNER", "RESET", "ENABLE", "DISABLE", "REFRESH"];
        if !known.iter().any(|word| cursor.is_at(&[word])) {
            return Err(cursor.expected("RENAME TO"));
        }
        return Err(PlanError::unsupported(format!("this form of ALTER {} is not supported", object.sql()))
            .with_hint(
                "RENAME TO, SWAP WITH, SET SCHEMA and OWNER TO are; otherwise drop the relation and create it anew.",
            )
            .at(Some(cursor.position())));
    };
    Ok(Statement::Rename { object, if_exists, name, to })
}

/// `name RENAME TO name | OWNER TO role`, behind `ALTER SCHEMA`.
fn alter_schema(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let name = cursor.identifier()?;
    if cursor.accept(&["RENAME", "TO"]) {
        return Ok(Statement::RenameSchema { name, new_name: cursor.identifier()? });
    }
    if !cursor.accept(&["OWNER", "TO"]) {
        return Err(cursor.expected("RENAME TO or OWNER TO"));
    }
    let name = Name { schema: None, name: name.value, position: name.position };
    let owner = roles::spec(cursor)?;
    Ok(Statement::OwnerTo { object: ObjectKind::Schema, if_exists: false, name, owner })
}

/// `TRUNCATE [TABLE] [ONLY] names [RESTART IDENTITY | CONTINUE IDENTITY] [CASCADE | RESTRICT]`. There are no sequences to
/// restart, and no foreign keys or heirs to follow: with and without these words the same rows go.
pub(super) fn truncate(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["TRUNCATE"])?;
    let _said = cursor.accept(&["TABLE"]);
    let _said = matches!(cursor.peek(1), Token::Word(_)) && cursor.accept(&["ONLY"]);
    let names = cursor.comma_separated(Cursor::name)?;
    let _said = cursor.accept(&["CONTINUE", "IDENTITY"]) || cursor.accept(&["RESTART", "IDENTITY"]);
    let _said = cursor.accept(&["CASCADE"]) || cursor.accept(&["RESTRICT"]);
    Ok(Statement::Truncate { names })
}

/// `DESCRIBE [kind] relation`.
pub(super) fn describe(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.next();
    // A relation may be called `table`, so the word is a kind only in front of another one.
    if matches!(cursor.peek(1), Token::Word(_)) {
        let _said = relation_kind(cursor);
    }
    Ok(Statement::Describe { name: cursor.name()? })
}

/// `ADVANCE CLOCK BY interval`, `ADVANCE WATERMARK FOR relation TO timestamp`.
pub(super) fn advance(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["ADVANCE"])?;
    if cursor.accept(&["CLOCK"]) {
        cursor.expect(&["BY"])?;
        return Ok(Statement::AdvanceClock { by: cursor.expression()? });
    }
    if !cursor.accept(&["WATERMARK"]) {
        return Err(cursor.expected("CLOCK BY or WATERMARK FOR"));
    }
    cursor.expect(&["FOR"])?;
    let name = cursor.name()?;
    cursor.expect(&["TO"])?;
    Ok(Statement::AdvanceWatermark { name, to: cursor.expression()? })
}
