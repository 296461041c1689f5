//! `CREATE VIEW`, `CREATE MATERIALIZED VIEW` and `CREATE SINK`: what has a query.

use millstream_runtime::plan::EmitOn;

use sqlparser::tokenizer::Token;

use crate::error::{PlanError, Result};

use super::ast::{CreateSink, CreateView, Emit, SinkInput, Statement};
use super::cursor::Cursor;
use super::options;

/// `[MATERIALIZED] VIEW [IF NOT EXISTS] name [(columns)] [WITH (…)] AS query [EMIT …]`.
pub(super) fn view(cursor: &mut Cursor<'_>, or_replace: bool) -> Result<Statement> {
    let position = cursor.position();
    let materialized = cursor.accept(&["MATERIALIZED"]);
    cursor.expect(&["VIEW"])?;
    if materialized && or_replace {
        return Err(PlanError::unsupported("CREATE OR REPLACE MATERIALIZED VIEW is not supported")
            .with_hint("DROP the materialized view first.")
            .at(Some(position)));
    }
    let if_not_exists = cursor.accept(&["IF", "NOT", "EXISTS"]);
    let name = cursor.name()?;
    let columns = if *cursor.peek(0) == Token::LParen { cursor.identifiers_in_parentheses()? } else { Vec::new() };
    let mut options = Vec::new();
    options::with_options(cursor, &mut options)?;
    cursor.expect(&["AS"])?;
    let query = cursor.sql_query()?;
    let emit = emit(cursor)?;
    if cursor.is_at(&["WITH", "NO", "DATA"]) || cursor.is_at(&["WITH", "DATA"]) || cursor.is_at(&["WITH", "CHECK"]) {
        let message = "WITH behind the query of a view is not supported";
        return Err(PlanError::unsupported(message).with_hint("Leave it out.").at(Some(cursor.position())));
    }
    let view = CreateView { name, materialized, or_replace, if_not_exists, columns, options, query, emit };
    Ok(Statement::CreateView(Box::new(view)))
}

/// `SINK [IF NOT EXISTS] name FROM relation | AS query [EMIT …] [WITH (…)] [FORMAT … ENCODE …]`.
pub(super) fn sink(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["SINK"])?;
    let if_not_exists = cursor.accept(&["IF", "NOT", "EXISTS"]);
    let name = cursor.name()?;
    if cursor.is_at(&["INTO"]) {
        return Err(PlanError::unsupported("CREATE SINK ... INTO a table is not supported")
            .with_hint("Create a materialized view in place of the table.")
            .at(Some(cursor.position())));
    }
    let input = if cursor.accept(&["FROM"]) {
        SinkInput::Relation(cursor.name()?)
    } else if cursor.accept(&["AS"]) {
        SinkInput::Query(cursor.sql_query()?)
    } else {
        return Err(cursor.expected("FROM relation or AS query"));
    };
    let emit = emit(cursor)?;
    let (mut options, mut format) = (Vec::new(), None);
    while options::with_options(cursor, &mut options)? || options::format(cursor, &mut format)? {}
    cursor.skip_boundary();
    Ok(Statement::CreateSink(Box::new(CreateSink { name, if_not_exists, input, emit, options, format })))
}

/// `EMIT ON WINDOW CLOSE`, `EMIT ON UPDATE`, `EMIT CHANGES`.
fn emit(cursor: &mut Cursor<'_>) -> Result<Option<Emit>> {
    cursor.skip_boundary();
    let position = cursor.position();
    if !cursor.accept(&["EMIT"]) {
        return Ok(None);
    }
    let on = if cursor.accept(&["ON", "WINDOW", "CLOSE"]) {
        EmitOn::WindowClose
    } else if cursor.accept(&["ON", "UPDATE"]) || cursor.accept(&["CHANGES"]) {
        EmitOn::Update
    } else {
        return Err(cursor.expected("ON WINDOW CLOSE or ON UPDATE"));
    };
    Ok(Some(Emit { on, position }))
}
