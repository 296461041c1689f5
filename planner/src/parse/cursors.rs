//! `DECLARE`, `FETCH`, `MOVE` and `CLOSE`, with every spelling of the direction that Postgres reads.

use sqlparser::tokenizer::Token;

use crate::cursor::{Declare, Fetch, Motion};
use crate::ddl::constants::interval_micros;
use crate::error::{PlanError, PlanErrorKind, Result, TextPosition};
use crate::statement::{Command, StatementText};

use super::ast::Statement;
use super::cursor::Cursor;

/// First words of what a cursor can read.
const QUERIES: [&str; 5] = ["SELECT", "WITH", "VALUES", "TABLE", "SUBSCRIBE"];

/// `DECLARE name [BINARY] [INSENSITIVE | ASENSITIVE] [[NO] SCROLL] CURSOR [{WITH | WITHOUT} HOLD] FOR query`.
pub(super) fn declare(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let position = cursor.position();
    cursor.expect(&["DECLARE"])?;
    let name = cursor.identifier()?.value;
    let options = Options::read(cursor, position)?;
    cursor.expect(&["CURSOR"])?;
    let hold = cursor.accept(&["WITH", "HOLD"]);
    let _said = !hold && cursor.accept(&["WITHOUT", "HOLD"]);
    cursor.expect(&["FOR"])?;
    let is_query = *cursor.peek(0) == Token::LParen || QUERIES.iter().any(|word| cursor.is_at(&[word]));
    if !is_query {
        return Err(cursor.expected("a query"));
    }
    let query = StatementText { start: cursor.position(), sql: cursor.rest() };
    while *cursor.peek(0) != Token::EOF {
        cursor.next();
    }
    let Options { binary, scroll, .. } = options;
    Ok(Statement::Declare(Box::new(Declare { name, binary, scroll, hold, query })))
}

/// What stands between the name and CURSOR: in any order, as often as one likes.
#[derive(Default)]
struct Options {
    binary: bool,
    scroll: Option<bool>,
    /// INSENSITIVE was said, or ASENSITIVE: every cursor sees the moment of its DECLARE.
    insensitive: Option<bool>,
}

impl Options {
    fn read(cursor: &mut Cursor<'_>, position: TextPosition) -> Result<Self> {
        let mut options = Self::default();
        let mut scroll = |said: bool| {
            let before = options.scroll.replace(said);
            before.is_none_or(|before| before == said).then_some(()).ok_or(("SCROLL", "NO SCROLL"))
        };
        let mut insensitive = |said: bool| {
            let before = options.insensitive.replace(said);
            before.is_none_or(|before| before == said).then_some(()).ok_or(("INSENSITIVE", "ASENSITIVE"))
        };
        loop {
            let agrees = if cursor.accept(&["BINARY"]) {
                options.binary = true;
                Ok(())
            } else if cursor.accept(&["NO", "SCROLL"]) {
                scroll(false)
            } else if cursor.accept(&["SCROLL"]) {
                scroll(true)
            } else if cursor.accept(&["INSENSITIVE"]) {
                insensitive(true)
            } else if cursor.accept(&["ASENSITIVE"]) {
                insensitive(false)
            } else {
                return Ok(options);
            };
            agrees.map_err(|(one, other)| {
                let message = format!("cannot specify both {one} and {other}");
                PlanError::new(PlanErrorKind::InvalidCursorDefinition, message).at(Some(position))
            })?;
        }
    }
}

/// `FETCH [direction] [FROM | IN] name [WITH (timeout = '1s')]`.
pub(super) fn fetch(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["FETCH"])?;
    let (motion, name) = motion(cursor)?;
    let timeout_micros = timeout(cursor)?;
    Ok(Command::Fetch(Fetch { name, motion, is_move: false, timeout_micros }).into())
}

/// `MOVE [direction] [FROM | IN] name`.
pub(super) fn move_by(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["MOVE"])?;
    let (motion, name) = motion(cursor)?;
    Ok(Command::Fetch(Fetch { name, motion, is_move: true, timeout_micros: None }).into())
}

/// `CLOSE name | ALL`.
pub(super) fn close(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["CLOSE"])?;
    let name = if cursor.accept(&["ALL"]) { None } else { Some(cursor.identifier()?.value) };
    Ok(Command::Close { name }.into())
}

/// The direction and the name. A word of the directions with nothing behind it is a name.
fn motion(cursor: &mut Cursor<'_>) -> Result<(Motion, String)> {
    let is_name = matches!(cursor.peek(0), Token::Word(_)) && *cursor.peek(1) == Token::EOF;
    let motion = if is_name { Motion::forward(1) } else { direction(cursor)? };
    let _said = cursor.accept(&["FROM"]) || cursor.accept(&["IN"]);
    Ok((motion, cursor.identifier()?.value))
}

fn direction(cursor: &mut Cursor<'_>) -> Result<Motion> {
    if cursor.accept(&["NEXT"]) {
        Ok(Motion::forward(1))
    } else if cursor.accept(&["PRIOR"]) {
        Ok(Motion::backward(1))
    } else if cursor.accept(&["FIRST"]) {
        Ok(Motion::Absolute(1))
    } else if cursor.accept(&["LAST"]) {
        Ok(Motion::Absolute(-1))
    } else if cursor.accept(&["ABSOLUTE"]) {
        Ok(Motion::Absolute(needed_count(cursor)?))
    } else if cursor.accept(&["RELATIVE"]) {
        Ok(Motion::Relative(needed_count(cursor)?))
    } else if cursor.accept(&["ALL"]) {
        Ok(Motion::Forward(None))
    } else if cursor.accept(&["FORWARD"]) {
        match cursor.accept(&["ALL"]) {
            true => Ok(Motion::Forward(None)),
            false => Ok(Motion::forward(count(cursor)?.unwrap_or(1))),
        }
    } else if cursor.accept(&["BACKWARD"]) {
        match cursor.accept(&["ALL"]) {
            true => Ok(Motion::Backward(None)),
            false => Ok(Motion::backward(count(cursor)?.unwrap_or(1))),
        }
    } else {
        Ok(Motion::forward(count(cursor)?.unwrap_or(1)))
    }
}

fn needed_count(cursor: &mut Cursor<'_>) -> Result<i64> {
    match count(cursor)? {
        Some(count) => Ok(count),
        None => Err(cursor.expected("a number of rows")),
    }
}

/// A whole number with or without its sign, as large as Postgres reads one here.
fn count(cursor: &mut Cursor<'_>) -> Result<Option<i64>> {
    let negative = cursor.accept_token(&Token::Minus);
    let signed = negative || cursor.accept_token(&Token::Plus);
    let number = match cursor.peek(0) {
        Token::Number(digits, _) => digits.parse::<i32>().ok().map(i64::from),
        _ if signed => None,
        _ => return Ok(None),
    };
    let Some(number) = number else { return Err(cursor.unexpected()) };
    cursor.next();
    Ok(Some(if negative { -number } else { number }))
}

/// `WITH (timeout = '1s')`, which Postgres does not have.
fn timeout(cursor: &mut Cursor<'_>) -> Result<Option<i64>> {
    cursor.skip_boundary();
    if !cursor.accept(&["WITH"]) {
        return Ok(None);
    }
    cursor.expect_token(&Token::LParen)?;
    let position = Some(cursor.position());
    let name = cursor.identifier()?.value;
    if name != "timeout" {
        let message = format!("option \"{name}\" not recognized");
        return Err(PlanError::new(PlanErrorKind::SyntaxError, message)
            .with_hint("FETCH takes the option timeout.")
            .at(position));
    }
    cursor.expect_token(&Token::Eq)?;
    let position = Some(cursor.position());
    let Some(text) = cursor.accept_string() else { return Err(cursor.expected("a quoted interval")) };
    let micros = interval_micros(&text).map_err(|error| error.at(position))?;
    if micros < 0 {
        let message = "a timeout can't be negative";
        return Err(PlanError::new(PlanErrorKind::InvalidParameterValue, message).at(position));
    }
    cursor.expect_token(&Token::RParen)?;
    Ok(Some(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(sql: &str) -> Result<Statement> {
        super::super::parse_statement(&StatementText { sql: sql.to_string(), start: TextPosition(1) })
    }

    fn motion_of(sql: &str) -> (Motion, String) {
        match parsed(sql) {
            Ok(Statement::Command(Command::Fetch(fetch))) => (fetch.motion, fetch.name),
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn every_direction_is_read() {
        let spellings = [
            ("FETCH c", Motion::Forward(Some(1))),
            ("FETCH FROM c", Motion::Forward(Some(1))),
            ("FETCH IN c", Motion::Forward(Some(1))),
            ("FETCH NEXT c", Motion::Forward(Some(1))),
            ("FETCH NEXT FROM c", Motion::Forward(Some(1))),
            ("FETCH PRIOR IN c", Motion::Backward(Some(1))),
            ("FETCH FIRST FROM c", Motion::Absolute(1)),
            ("FETCH LAST FROM c", Motion::Absolute(-1)),
            ("FETCH ABSOLUTE -3 FROM c", Motion::Absolute(-3)),
            ("FETCH RELATIVE +2 c", Motion::Relative(2)),
            ("FETCH 5 c", Motion::Forward(Some(5))),
            ("FETCH -5 FROM c", Motion::Backward(Some(5))),
            ("FETCH 0 FROM c", Motion::Forward(Some(0))),
            ("FETCH ALL c", Motion::Forward(None)),
            ("FETCH FORWARD c", Motion::Forward(Some(1))),
            ("FETCH FORWARD 7 c", Motion::Forward(Some(7))),
            ("FETCH FORWARD -7 c", Motion::Backward(Some(7))),
            ("FETCH FORWARD ALL IN c", Motion::Forward(None)),
            ("FETCH BACKWARD FROM c", Motion::Backward(Some(1))),
            ("FETCH BACKWARD 2 FROM c", Motion::Backward(Some(2))),
            ("FETCH BACKWARD -2 FROM c", Motion::Forward(Some(2))),
            ("MOVE BACKWARD ALL FROM c", Motion::Backward(None)),
        ];
        for (sql, motion) in spellings {
            assert_eq!(motion_of(sql), (motion, "c".to_string()), "{sql}");
        }
        assert_eq!(motion_of("FETCH next"), (Motion::Forward(Some(1)), "next".to_string()));
        assert_eq!(motion_of("FETCH FROM \"My c\""), (Motion::Forward(Some(1)), "My c".to_string()));
        for wrong in ["FETCH", "FETCH ABSOLUTE c", "FETCH 3000000000 c", "FETCH 1.5 c", "FETCH c d", "MOVE - c"] {
            let error = parsed(wrong).expect_err(wrong);
            assert_eq!(error.kind, PlanErrorKind::SyntaxError, "{wrong}");
        }
    }

    #[test]
    fn options_stand_in_any_order() {
        let declared = |sql: &str| match parsed(sql) {
            Ok(Statement::Declare(declare)) => *declare,
            other => panic!("{sql}: {other:?}"),
        };
        let plain = declared("DECLARE c CURSOR FOR SELECT 1");
        assert_eq!((plain.binary, plain.scroll, plain.hold), (false, None, false));
        assert_eq!((plain.query.sql.as_str(), plain.query.start), ("SELECT 1", TextPosition(22)));
        let full = declared("DECLARE \"C\" INSENSITIVE SCROLL BINARY SCROLL CURSOR WITH HOLD FOR (VALUES (1))");
        assert_eq!((full.name.as_str(), full.binary, full.scroll, full.hold), ("C", true, Some(true), true));
        let off = declared("DECLARE c NO SCROLL CURSOR WITHOUT HOLD FOR TABLE t");
        assert_eq!((off.scroll, off.hold), (Some(false), false));
        let error = parsed("DECLARE c SCROLL NO SCROLL CURSOR FOR SELECT 1").expect_err("they exclude each other");
        assert_eq!(error.kind, PlanErrorKind::InvalidCursorDefinition);
        let error = parsed("DECLARE c CURSOR FOR INSERT INTO t VALUES (1)").expect_err("it is no query");
        assert_eq!(error.position, Some(TextPosition(22)));
    }

    #[test]
    fn a_fetch_takes_a_timeout() {
        let timeout = |sql: &str| match parsed(sql) {
            Ok(Statement::Command(Command::Fetch(fetch))) => Ok(fetch.timeout_micros),
            Ok(other) => panic!("{sql}: {other:?}"),
            Err(error) => Err(error.kind),
        };
        assert_eq!(timeout("FETCH ALL FROM c WITH (timeout = '1.5s')"), Ok(Some(1_500_000)));
        assert_eq!(timeout("FETCH c WITH (timeout = '0s')"), Ok(Some(0)));
        assert_eq!(timeout("FETCH c WITH (deadline = '1s')"), Err(PlanErrorKind::SyntaxError));
        assert_eq!(timeout("FETCH c WITH (timeout = '-1s')"), Err(PlanErrorKind::InvalidParameterValue));
    }
}
