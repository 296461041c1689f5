//! The first words of a statement say which file reads the rest.

use sqlparser::ast::{self as sql, SetExpr};
use sqlparser::tokenizer::Token;

use crate::error::{PlanError, Result};
use crate::statement::Command;

use super::ast::Statement;
use super::cursor::Cursor;
use super::{
    comment, copy, create_relation, create_view, cursors, explain, grants, index, maintenance, objects, prepared,
    refused, roles, secret, session, subscribe,
};

/// A whole text: one statement, or nothing.
pub(super) fn parse_whole(cursor: &mut Cursor<'_>) -> Result<Statement> {
    if *cursor.peek(0) == Token::EOF {
        return Ok(Statement::Empty);
    }
    let statement = parse(cursor)?;
    cursor.end()?;
    Ok(statement)
}

/// One statement; the caller sees that nothing follows.
fn parse(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let first = match cursor.peek(0) {
        Token::LParen => return query(cursor),
        Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
        _ => return Err(cursor.unexpected()),
    };
    match first.as_str() {
        "SELECT" | "WITH" | "VALUES" | "TABLE" => query(cursor),
        "COPY" => copy::copy(cursor),
        "SUBSCRIBE" => subscribe::subscribe(cursor),
        "INSERT" | "UPDATE" | "DELETE" => change(cursor, &first),
        "CREATE" => create(cursor),
        "EXPLAIN" => explained(cursor),
        "DROP" if roles::is_role(cursor, "DROP") => roles::drop(cursor),
        "DROP" => objects::drop(cursor),
        "GRANT" => grants::grant(cursor),
        "REVOKE" => grants::revoke(cursor),
        "REASSIGN" => grants::reassign(cursor),
        "ALTER" => objects::alter(cursor),
        "TRUNCATE" => objects::truncate(cursor),
        "DESCRIBE" | "DESC" => objects::describe(cursor),
        "SHOW" => session::show(cursor),
        "SET" => session::set(cursor),
        "RESET" => session::reset(cursor),
        "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT" => session::transaction(cursor),
        "SAVEPOINT" => session::savepoint(cursor),
        "RELEASE" => session::release(cursor),
        "DISCARD" => session::discard(cursor),
        "DECLARE" => cursors::declare(cursor),
        "FETCH" => cursors::fetch(cursor),
        "MOVE" => cursors::move_by(cursor),
        "CLOSE" => cursors::close(cursor),
        "UNLISTEN" => session::unlisten(cursor),
        "PREPARE" => prepared::prepare(cursor),
        "EXECUTE" => prepared::execute(cursor),
        "DEALLOCATE" => prepared::deallocate(cursor),
        "ADVANCE" => objects::advance(cursor),
        "FLUSH" => alone(cursor, Command::Flush.into()),
        "CHECKPOINT" => alone(cursor, Command::Checkpoint.into()),
        "COMMENT" => comment::comment(cursor),
        "REFRESH" => comment::refresh(cursor),
        "VACUUM" => maintenance::vacuum(cursor),
        "ANALYZE" | "ANALYSE" => maintenance::analyze(cursor),
        "REINDEX" => maintenance::reindex(cursor),
        _ => Err(refused::statement(cursor).unwrap_or_else(|| cursor.unexpected())),
    }
}

fn alone(cursor: &mut Cursor<'_>, statement: Statement) -> Result<Statement> {
    cursor.next();
    Ok(statement)
}

fn query(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let position = cursor.position();
    let mut query = cursor.query()?;
    match *query.body {
        // WITH in front of an INSERT names queries that its source can read.
        SetExpr::Insert(sql::Statement::Insert(mut insert)) => {
            let Some(source) = insert.source.as_mut().filter(|source| source.with.is_none()) else {
                let message = "WITH in front of an INSERT without a query of its own is not supported";
                return Err(PlanError::unsupported(message).at(Some(position)));
            };
            source.with = query.with.take();
            Ok(Statement::Insert(Box::new(insert)))
        }
        SetExpr::Update(sql::Statement::Update(update)) => Ok(Statement::Update(query.with.take(), Box::new(update))),
        SetExpr::Delete(sql::Statement::Delete(delete)) => Ok(Statement::Delete(query.with.take(), Box::new(delete))),
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
            Err(PlanError::unsupported("WITH in front of MERGE is not supported").at(Some(position)))
        }
        _ => Ok(Statement::Query(query)),
    }
}

fn change(cursor: &mut Cursor<'_>, first: &str) -> Result<Statement> {
    let position = cursor.position();
    let statement = cursor.delegate(|parser| {
        let token = parser.next_token();
        match first {
            "INSERT" => parser.parse_insert(token),
            "UPDATE" => parser.parse_update(token),
            _ => parser.parse_delete(token),
        }
    })?;
    match statement {
        sql::Statement::Insert(insert) => Ok(Statement::Insert(Box::new(insert))),
        sql::Statement::Update(update) => Ok(Statement::Update(None, Box::new(update))),
        sql::Statement::Delete(delete) => Ok(Statement::Delete(None, Box::new(delete))),
        _ => Err(PlanError::unsupported(format!("this form of {first} is not supported")).at(Some(position))),
    }
}

fn create(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let position = cursor.position();
    if roles::is_role(cursor, "CREATE") {
        return roles::create(cursor);
    }
    if let Some(error) = refused::create(cursor) {
        return Err(error);
    }
    cursor.expect(&["CREATE"])?;
    let or_replace = cursor.accept(&["OR", "REPLACE"]);
    if cursor.is_at(&["VIEW"]) || cursor.is_at(&["MATERIALIZED", "VIEW"]) {
        return create_view::view(cursor, or_replace);
    }
    if or_replace {
        let message = "OR REPLACE is supported for CREATE VIEW only";
        return Err(PlanError::unsupported(message).with_hint("DROP the relation first.").at(Some(position)));
    }
    if cursor.is_at(&["TABLE"]) || cursor.is_at(&["SOURCE"]) {
        create_relation::relation(cursor)
    } else if cursor.is_at(&["SINK"]) {
        create_view::sink(cursor)
    } else if cursor.is_at(&["INDEX"]) || cursor.is_at(&["UNIQUE", "INDEX"]) {
        index::create(cursor)
    } else if cursor.is_at(&["SCHEMA"]) {
        objects::create_schema(cursor)
    } else if cursor.is_at(&["SECRET"]) {
        secret::create(cursor)
    } else {
        Err(cursor.expected("TABLE, SOURCE, VIEW, MATERIALIZED VIEW, SINK, INDEX, SCHEMA or SECRET"))
    }
}

/// `EXPLAIN [ANALYZE | VERBOSE] …` and `EXPLAIN (option [ON | OFF], …) …`.
fn explained(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["EXPLAIN"])?;
    let options = explain::options(cursor)?;
    let position = cursor.position();
    if cursor.is_at(&["EXPLAIN"]) {
        return Err(cursor.unexpected());
    }
    let statement = parse(cursor)?;
    let explainable = match &statement {
        Statement::Query(_)
        | Statement::Insert(_)
        | Statement::Update(..)
        | Statement::Delete(..)
        | Statement::Command(Command::Execute { .. })
        | Statement::Subscribe(_)
        | Statement::CreateSink(_) => true,
        Statement::CreateView(view) => view.materialized,
        _ => false,
    };
    if !explainable {
        return Err(PlanError::unsupported("this statement has no plan to explain")
            .with_hint(
                "EXPLAIN takes queries, SUBSCRIBE, INSERT, UPDATE, DELETE, EXECUTE, CREATE MATERIALIZED VIEW and \
                 CREATE SINK.",
            )
            .at(Some(position)));
    }
    let explain::Options { mode, format } = options;
    Ok(Statement::Explain { mode, format, statement: Box::new(statement) })
}
