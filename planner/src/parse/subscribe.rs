//! `SUBSCRIBE [TO] relation | (query)` and its clauses, in any order, each once:
//! `WITH (SNAPSHOT = …, PROGRESS = …)`, `AS OF epoch`, `ENVELOPE UPSERT | DEBEZIUM [(KEY (columns))]`.

use sqlparser::tokenizer::Token;

use crate::error::{PlanError, PlanErrorKind, Result};

use super::ast::{Statement, Subscribe, SubscribeEnvelope, SubscribeTarget};
use super::cursor::Cursor;

pub(super) fn subscribe(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["SUBSCRIBE"])?;
    let _said = cursor.accept(&["TO"]);
    let target = if cursor.accept_token(&Token::LParen) {
        let position = cursor.position();
        let query = cursor.query()?;
        cursor.expect_token(&Token::RParen)?;
        SubscribeTarget::Query { query, position }
    } else {
        SubscribeTarget::Relation(cursor.name()?)
    };
    let mut subscribe = Subscribe { target, snapshot: None, progress: None, as_of: None, envelope: None };
    loop {
        cursor.skip_boundary();
        if cursor.is_at(&["WITH"]) && subscribe.snapshot.is_none() && subscribe.progress.is_none() {
            options(cursor, &mut subscribe)?;
        } else if cursor.is_at(&["AS", "OF"]) && subscribe.as_of.is_none() {
            subscribe.as_of = Some(epoch(cursor)?);
        } else if cursor.is_at(&["ENVELOPE"]) && subscribe.envelope.is_none() {
            subscribe.envelope = Some(envelope(cursor)?);
        } else {
            return Ok(Statement::Subscribe(Box::new(subscribe)));
        }
    }
}

/// `WITH (name [=] value, …)`; a name alone is switched on.
fn options(cursor: &mut Cursor<'_>, subscribe: &mut Subscribe) -> Result<()> {
    cursor.expect(&["WITH"])?;
    cursor.expect_token(&Token::LParen)?;
    let named = cursor.comma_separated(|cursor| {
        let name = cursor.identifier()?;
        let _said = cursor.accept_token(&Token::Eq);
        let bare = matches!(cursor.peek(0), Token::Comma | Token::RParen);
        let value = if bare { true } else { boolean(cursor, &name.value)? };
        Ok((name, value))
    })?;
    cursor.expect_token(&Token::RParen)?;
    for (name, value) in named {
        let place = match name.value.as_str() {
            "snapshot" => &mut subscribe.snapshot,
            "progress" => &mut subscribe.progress,
            other => {
                let message = format!("unrecognized SUBSCRIBE option \"{other}\"");
                return Err(PlanError::new(PlanErrorKind::SyntaxError, message)
                    .with_hint("The options are SNAPSHOT and PROGRESS.")
                    .at(Some(name.position)));
            }
        };
        if place.replace(value).is_some() {
            let message = format!("option \"{}\" is given twice", name.value);
            return Err(PlanError::new(PlanErrorKind::SyntaxError, message).at(Some(name.position)));
        }
    }
    Ok(())
}

fn boolean(cursor: &mut Cursor<'_>, option: &str) -> Result<bool> {
    let position = cursor.position();
    let value = match cursor.accept_string() {
        Some(value) => value,
        None => match cursor.next().token {
            Token::Word(word) => word.value,
            Token::Number(digits, _) => digits,
            other => other.to_string(),
        },
    };
    match value.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => {
            Err(PlanError::new(PlanErrorKind::SyntaxError, format!("{option} requires a Boolean value"))
                .at(Some(position)))
        }
    }
}

/// `AS OF '3.17'`, or without the quotes; its digits are no fraction.
fn epoch(cursor: &mut Cursor<'_>) -> Result<(String, crate::error::TextPosition)> {
    cursor.expect(&["AS", "OF"])?;
    let position = cursor.position();
    if let Some(text) = cursor.accept_string() {
        return Ok((text, position));
    }
    match cursor.peek(0) {
        Token::Number(digits, _) => {
            let digits = digits.clone();
            cursor.next();
            Ok((digits, position))
        }
        _ => Err(cursor.expected("an epoch, such as '3.17'")),
    }
}

fn envelope(cursor: &mut Cursor<'_>) -> Result<SubscribeEnvelope> {
    let position = cursor.position();
    cursor.expect(&["ENVELOPE"])?;
    let debezium = cursor.accept(&["DEBEZIUM"]);
    if !debezium && !cursor.accept(&["UPSERT"]) {
        return Err(cursor.expected("UPSERT or DEBEZIUM"));
    }
    let mut key = Vec::new();
    if cursor.accept_token(&Token::LParen) {
        cursor.expect(&["KEY"])?;
        key = cursor.identifiers_in_parentheses()?;
        cursor.expect_token(&Token::RParen)?;
    }
    Ok(SubscribeEnvelope { debezium, key, position })
}
