//! SQL text to our own AST, with a character position for everything that can be wrong.
//!
//! Reading order: [`split`] cuts what a client sent into statements; [`normalize`] rewrites the tokens of one
//! statement where sqlparser has no words for our dialect; [`cursor`] is the parser's handle on them;
//! [`statement`] dispatches on the first words to one file per family of statements.
//!
//! **Spans are positions.** Every span in an AST made here, sqlparser's included, has line 1 and the column
//! is the character offset into what the client sent, from 1: [`position_of`] is all the conversion there is.
//!
//! What a query looks like after parsing: window functions stand in FROM as
//! `TableFactor::Table { name, args }` with positional arguments, whatever their spelling:
//! `TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), size))` and `tumble(t, ts, size)` give the same tree, and
//! `session(t PARTITION BY k, ts, gap)` gives `session(t, partition_by(k), ts, gap)`.
//!
//! No input panics or overflows the stack: depth, chains of operators and the work of backtracking are
//! bounded ([`limits`]).

pub mod ast;
mod comment;
mod copy;
mod create_relation;
mod create_view;
mod cursor;
mod cursors;
mod dialect;
mod explain;
mod grants;
mod index;
mod limits;
mod literals_out;
mod maintenance;
mod normalize;
mod objects;
mod options;
mod prepared;
mod refused;
mod roles;
mod secret;
mod session;
mod split;
mod statement;
mod subscribe;
mod syntax_error;

use sqlparser::ast::{Expr, Query};
use sqlparser::tokenizer::Span;

use crate::error::{Result, TextPosition};
use crate::statement::StatementText;

pub use cursor::folded;
pub use literals_out::{LiteralKind, LiteralsOut, TextLiteral};
pub use normalize::PARTITION_BY_FUNCTION;
pub use split::{literal_position, split};
pub(crate) use split::{operator_after, parenthesis_before};

/// Parses one statement. An error carries its position in what the client sent.
pub fn parse_statement(text: &StatementText) -> Result<ast::Statement> {
    cursor::with_cursor(text, statement::parse_whole)
}

/// Parses the text of a query that stands in the catalog: a view's. Positions count from its own start.
pub fn parse_query(sql: &str) -> Result<Box<Query>> {
    cursor::with_cursor(&stored(sql), |cursor| {
        let query = cursor.query()?;
        cursor.end()?;
        Ok(query)
    })
}

/// Parses an expression that stands in the catalog: a column's default.
pub fn parse_expression(sql: &str) -> Result<Expr> {
    cursor::with_cursor(&stored(sql), |cursor| {
        let expression = cursor.expression()?;
        cursor.end()?;
        Ok(expression.expression)
    })
}

/// Parses an expression that stands in a statement; positions count in what the client sent.
pub fn parse_argument(text: &StatementText) -> Result<ast::SqlExpression> {
    cursor::with_cursor(text, |cursor| {
        let expression = cursor.expression()?;
        cursor.end()?;
        Ok(expression)
    })
}

/// Where a span of an AST made here stands in what the client sent; `None` for one that sqlparser left empty.
pub fn position_of(span: Span) -> Option<TextPosition> {
    (span.start.line != 0).then_some(TextPosition(usize::try_from(span.start.column).unwrap_or(usize::MAX)))
}

fn stored(sql: &str) -> StatementText {
    StatementText { sql: sql.to_string(), start: TextPosition(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_position(sql: &str, start: usize) -> Option<usize> {
        let text = StatementText { sql: sql.to_string(), start: TextPosition(start) };
        parse_statement(&text).expect_err(sql).position.map(|position| position.0)
    }

    /// Positions count characters of what the client sent: over lines, behind other statements, in any script.
    #[test]
    fn positions_count_in_what_the_client_sent() {
        assert_eq!(error_position("SELECT 1 2", 1), Some(10));
        assert_eq!(error_position("SELECT 1 2", 101), Some(110));
        assert_eq!(error_position("SELECT\r\n 'äö😀',\n 1 2", 1), Some(20));
        assert_eq!(error_position("SELECT (", 11), Some(19));
        for text in split("SELECT 1;\nSELECT 'ü' 'x' FORM t WHERE").expect("it can be cut").iter().skip(1) {
            let error = parse_statement(text).expect_err("FORM is no keyword");
            assert_eq!(error.position, Some(TextPosition(26)));
        }
    }

    #[test]
    fn spans_of_queries_are_positions() {
        let text = StatementText { sql: "SELECT\n  abc".to_string(), start: TextPosition(41) };
        let Ok(ast::Statement::Query(query)) = parse_statement(&text) else { panic!("a query was parsed") };
        let span = sqlparser::ast::Spanned::span(query.as_ref());
        assert_eq!(span.end.column, 53);
        let abc =
            sqlparser::ast::Spanned::span(query.body.as_select().expect("a SELECT").projection.first().expect("abc"));
        assert_eq!(position_of(abc), Some(TextPosition(50)));
    }
}
