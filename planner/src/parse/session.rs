//! `SHOW`, `SET`, `RESET`, `DISCARD` and transactions: what concerns the session.

use sqlparser::tokenizer::Token;

use crate::ddl::constants::interval_micros;
use crate::error::{PlanError, PlanErrorKind, Result, TextPosition};
use crate::statement::{Command, Discard, ShowObjects};

use super::ast::Statement;
use super::cursor::Cursor;
use super::objects;

/// `SHOW …`.
pub(super) fn show(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["SHOW"])?;
    if cursor.accept(&["CREATE"]) {
        let Some(object) = objects::relation_kind(cursor) else {
            return Err(cursor.expected("TABLE, SOURCE, VIEW, MATERIALIZED VIEW or SINK"));
        };
        return Ok(Statement::ShowCreate { object, name: cursor.name()? });
    }
    if cursor.accept(&["COLUMNS"]) {
        if !cursor.accept(&["FROM"]) {
            cursor.expect(&["IN"])?;
        }
        return Ok(Statement::Describe { name: cursor.name()? });
    }
    if let Some(objects) = show_objects(cursor) {
        if *cursor.peek(0) != Token::EOF {
            return Err(PlanError::unsupported("SHOW with FROM, IN or LIKE is not supported")
                .with_hint("Query information_schema.tables with a WHERE clause.")
                .at(Some(cursor.position())));
        }
        return Ok(Command::ShowObjects(objects).into());
    }
    Ok(Command::ShowSetting { name: setting_name(cursor)? }.into())
}

fn show_objects(cursor: &mut Cursor<'_>) -> Option<ShowObjects> {
    let kinds: [(&[&str], ShowObjects); 8] = [
        (&["TABLES"], ShowObjects::Tables),
        (&["SOURCES"], ShowObjects::Sources),
        (&["VIEWS"], ShowObjects::Views),
        (&["MATERIALIZED", "VIEWS"], ShowObjects::MaterializedViews),
        (&["SINKS"], ShowObjects::Sinks),
        (&["SCHEMAS"], ShowObjects::Schemas),
        (&["SECRETS"], ShowObjects::Secrets),
        (&["JOBS"], ShowObjects::Jobs),
    ];
    kinds.into_iter().find(|(words, _)| cursor.accept(words)).map(|(_, objects)| objects)
}

/// A setting's name, lower case; the names of several words that Postgres knows are turned into its own.
fn setting_name(cursor: &mut Cursor<'_>) -> Result<String> {
    let phrases: [(&[&str], &str); 3] = [
        (&["TIME", "ZONE"], "timezone"),
        (&["TRANSACTION", "ISOLATION", "LEVEL"], "transaction_isolation"),
        (&["SESSION", "AUTHORIZATION"], "session_authorization"),
    ];
    if let Some((_, name)) = phrases.into_iter().find(|(words, _)| cursor.accept(words)) {
        return Ok(name.to_string());
    }
    let mut name = cursor.identifier()?.value.to_lowercase();
    while cursor.accept_token(&Token::Period) {
        name.push('.');
        name.push_str(&cursor.identifier()?.value.to_lowercase());
    }
    Ok(name)
}

/// `SET [SESSION | LOCAL] name {= | TO} values`, `SET TIME ZONE value`, `SET NAMES value` and the transaction forms.
pub(super) fn set(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let position = cursor.position();
    cursor.expect(&["SET"])?;
    if cursor.accept(&["CONSTRAINTS"]) {
        return set_constraints(cursor, position);
    }
    if cursor.accept(&["SESSION", "CHARACTERISTICS", "AS", "TRANSACTION"]) {
        return set_modes(cursor, true);
    }
    if cursor.accept(&["TRANSACTION"]) {
        return set_modes(cursor, false);
    }
    let local = cursor.accept(&["LOCAL"]);
    if cursor.accept(&["SESSION", "AUTHORIZATION"]) {
        return role(cursor, "session_authorization", local);
    }
    let _said = !local && cursor.accept(&["SESSION"]);
    if cursor.accept(&["SESSION", "AUTHORIZATION"]) {
        return role(cursor, "session_authorization", local);
    }
    if cursor.is_at(&["ROLE"]) && !matches!(cursor.peek(1), Token::Eq) && !is_to(cursor) {
        cursor.next();
        return role(cursor, "role", local);
    }
    if cursor.accept(&["NAMES"]) {
        let value = values(cursor, "client_encoding")?;
        return Ok(Command::Set { name: "client_encoding".to_string(), value, local }.into());
    }
    if cursor.accept(&["TIME", "ZONE"]) {
        let value = match cursor.accept(&["LOCAL"]) {
            true => None,
            false if cursor.accept(&["INTERVAL"]) => Some(zone_interval(cursor)?),
            false => values(cursor, "timezone")?,
        };
        return Ok(Command::Set { name: "timezone".to_string(), value, local }.into());
    }
    let name = setting_name(cursor)?;
    if !cursor.accept_token(&Token::Eq) && !cursor.accept(&["TO"]) {
        return Err(cursor.expected("= or TO"));
    }
    let value = values(cursor, &name)?;
    Ok(Command::Set { name, value, local }.into())
}

/// `SET CONSTRAINTS ALL`: none can be deferred, so there is nothing to do. One by its name is refused, as Postgres does
/// with one that can't be.
fn set_constraints(cursor: &mut Cursor<'_>, position: TextPosition) -> Result<Statement> {
    if !cursor.accept(&["ALL"]) {
        let message = "SET CONSTRAINTS of one constraint is not supported";
        return Err(PlanError::unsupported(message)
            .with_hint("No constraint can be deferred here; SET CONSTRAINTS ALL is taken.")
            .at(Some(position)));
    }
    if !cursor.accept(&["DEFERRED"]) && !cursor.accept(&["IMMEDIATE"]) {
        return Err(cursor.expected("DEFERRED or IMMEDIATE"));
    }
    Ok(Command::SetConstraints.into())
}

/// Whether `TO` follows the word that follows; a role may be called `to`, but not without quotes.
fn is_to(cursor: &Cursor<'_>) -> bool {
    super::normalize::is_word(cursor.peek(1), "TO") && *cursor.peek(2) != Token::EOF
}

/// `SET ROLE name`, `SET SESSION AUTHORIZATION name`: a name or a string; NONE and DEFAULT go back.
fn role(cursor: &mut Cursor<'_>, name: &str, local: bool) -> Result<Statement> {
    let default = if name == "role" { "NONE" } else { "DEFAULT" };
    let value = if cursor.accept(&[default]) {
        None
    } else {
        match cursor.accept_string() {
            Some(text) => Some(text),
            None => Some(cursor.identifier()?.value),
        }
    };
    Ok(Command::Set { name: name.to_string(), value, local }.into())
}

/// One value or several with commas between, as one text; `None` for DEFAULT.
fn values(cursor: &mut Cursor<'_>, name: &str) -> Result<Option<String>> {
    if cursor.accept(&["DEFAULT"]) {
        return Ok(None);
    }
    let names_listed = name == "search_path";
    let position = cursor.position();
    let values = cursor.comma_separated(|cursor| value(cursor, names_listed))?;
    if values.len() > 1 && !LISTS.contains(&name) {
        let message = format!("SET {name} takes only one argument");
        return Err(PlanError::new(PlanErrorKind::InvalidParameterValue, message).at(Some(position)));
    }
    Ok(Some(values.join(", ")))
}

/// Settings whose values are lists.
const LISTS: [&str; 3] = ["datestyle", "search_path", "temp_tablespaces"];

/// The interval of `SET TIME ZONE INTERVAL '...' HOUR TO MINUTE` as hours to the east, as a bare number says them.
fn zone_interval(cursor: &mut Cursor<'_>) -> Result<String> {
    let position = Some(cursor.position());
    let Some(text) = cursor.accept_string() else { return Err(cursor.expected("a quoted interval")) };
    let unsigned = text.trim().trim_start_matches(['+', '-']);
    let invalid = || {
        let message = format!("invalid value for parameter \"TimeZone\": \"INTERVAL '{text}'\"");
        PlanError::new(PlanErrorKind::InvalidParameterValue, message)
            .with_hint("It is hours east of Greenwich, such as INTERVAL '+02:00' HOUR TO MINUTE.")
            .at(position)
    };
    let micros = interval_micros(unsigned).map_err(|_| invalid())?;
    // Only one sign, in front of everything, has a plain meaning here.
    if micros < 0 || micros % 1_000_000 != 0 {
        return Err(invalid());
    }
    if cursor.accept(&["HOUR"]) && cursor.accept(&["TO"]) {
        cursor.expect(&["MINUTE"])?;
    }
    let sign = if text.trim().starts_with('-') { "-" } else { "" };
    Ok(format!("{sign}{}", micros as f64 / 3_600_000_000.0))
}

fn value(cursor: &mut Cursor<'_>, is_name: bool) -> Result<String> {
    if let Some(text) = cursor.accept_string() {
        return Ok(if is_name { quoted_if_needed(&text) } else { text });
    }
    let sign = if cursor.accept_token(&Token::Minus) { "-" } else { "" };
    match cursor.peek(0) {
        Token::Number(digits, _) => {
            let number = format!("{sign}{digits}");
            cursor.next();
            Ok(number)
        }
        Token::Word(_) if cursor.is_at(&["INTERVAL"]) => Err(PlanError::unsupported("intervals are not settings")
            .with_hint("Write the value as a string.")
            .at(Some(cursor.position()))),
        Token::Word(_) if sign.is_empty() => {
            let word = cursor.identifier()?.value;
            Ok(if is_name { quoted_if_needed(&word) } else { word })
        }
        _ => Err(cursor.expected("a value")),
    }
}

/// A schema's name as it stands in `search_path`: quoted where it would fold or break the list.
fn quoted_if_needed(name: &str) -> String {
    let plain = |character: char| character.is_lowercase() || character.is_ascii_digit() || character == '_';
    if !name.is_empty() && name.chars().all(plain) {
        name.to_string()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// `RESET name`, `RESET ALL`.
pub(super) fn reset(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["RESET"])?;
    Ok(Command::Reset { name: setting_name(cursor)? }.into())
}

/// `DISCARD ALL | PLANS | …`.
pub(super) fn discard(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["DISCARD"])?;
    if cursor.accept(&["ALL"]) {
        return Ok(Command::Discard(Discard::All).into());
    }
    let known = ["PLANS", "SEQUENCES", "TEMP", "TEMPORARY"];
    if known.iter().any(|word| cursor.is_at(&[word])) {
        let message = "DISCARD is supported for ALL only";
        return Err(PlanError::unsupported(message).at(Some(cursor.position())));
    }
    Err(cursor.expected("ALL"))
}

/// `UNLISTEN channel | *`.
pub(super) fn unlisten(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["UNLISTEN"])?;
    if !cursor.accept_token(&Token::Mul) {
        cursor.identifier()?;
    }
    Ok(Command::Unlisten.into())
}

/// `BEGIN`, `START TRANSACTION`, `COMMIT`, `END`, `ROLLBACK`, `ABORT`.
pub(super) fn transaction(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let position = cursor.position();
    if cursor.accept(&["START"]) {
        cursor.expect(&["TRANSACTION"])?;
        return Ok(begin("START TRANSACTION", &modes(cursor)?));
    }
    if cursor.accept(&["BEGIN"]) {
        accept_noise(cursor);
        return Ok(begin("BEGIN", &modes(cursor)?));
    }
    let rollback = cursor.is_at(&["ROLLBACK"]) || cursor.is_at(&["ABORT"]);
    cursor.next();
    if cursor.is_at(&["PREPARED"]) {
        return Err(PlanError::unsupported("two-phase commit is not supported").at(Some(position)));
    }
    accept_noise(cursor);
    if rollback && cursor.accept(&["TO"]) {
        return Ok(Command::RollbackTo { savepoint: savepoint_name(cursor)? }.into());
    }
    let chain = cursor.accept(&["AND", "CHAIN"]);
    let _said = !chain && cursor.accept(&["AND", "NO", "CHAIN"]);
    Ok(if rollback { Command::Rollback { chain } } else { Command::Commit { chain } }.into())
}

fn begin(verb: &'static str, modes: &Modes) -> Statement {
    Command::Begin { verb, isolation: modes.isolation, read_only: modes.read_only }.into()
}

/// `SAVEPOINT name`.
pub(super) fn savepoint(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["SAVEPOINT"])?;
    Ok(Command::Savepoint { name: cursor.identifier()?.value }.into())
}

/// `RELEASE [SAVEPOINT] name`.
pub(super) fn release(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["RELEASE"])?;
    Ok(Command::Release { savepoint: savepoint_name(cursor)? }.into())
}

/// A savepoint's name, with or without the word before it.
fn savepoint_name(cursor: &mut Cursor<'_>) -> Result<String> {
    let _said = cursor.accept(&["SAVEPOINT"]);
    Ok(cursor.identifier()?.value)
}

fn accept_noise(cursor: &mut Cursor<'_>) {
    let _said = cursor.accept(&["WORK"]) || cursor.accept(&["TRANSACTION"]);
}

#[derive(Default)]
struct Modes {
    isolation: Option<&'static str>,
    read_only: Option<bool>,
    /// [NOT] DEFERRABLE was said, which no transaction here needs.
    deferrable: bool,
}

/// Transaction modes, with or without commas. Every isolation level is accepted: whatever it is called, reads see
/// one epoch, and of two transactions that change one row the second fails.
fn modes(cursor: &mut Cursor<'_>) -> Result<Modes> {
    let mut modes = Modes::default();
    loop {
        if cursor.accept(&["ISOLATION", "LEVEL"]) {
            let levels: [(&[&str], &str); 4] = [
                (&["SERIALIZABLE"], "serializable"),
                (&["REPEATABLE", "READ"], "repeatable read"),
                (&["READ", "COMMITTED"], "read committed"),
                (&["READ", "UNCOMMITTED"], "read uncommitted"),
            ];
            let found = levels.into_iter().find(|(words, _)| cursor.accept(words));
            modes.isolation = Some(found.ok_or_else(|| cursor.expected("an isolation level"))?.1);
        } else if cursor.accept(&["READ", "ONLY"]) {
            modes.read_only = Some(true);
        } else if cursor.accept(&["READ", "WRITE"]) {
            modes.read_only = Some(false);
        } else if cursor.accept(&["NOT", "DEFERRABLE"]) || cursor.accept(&["DEFERRABLE"]) {
            modes.deferrable = true;
        } else {
            return Ok(modes);
        }
        let _said = cursor.accept_token(&Token::Comma);
    }
}

/// The modes of `SET TRANSACTION` and `SET SESSION CHARACTERISTICS AS TRANSACTION`.
fn set_modes(cursor: &mut Cursor<'_>, session: bool) -> Result<Statement> {
    let modes = modes(cursor)?;
    if modes.isolation.is_none() && modes.read_only.is_none() && !modes.deferrable {
        return Err(cursor.expected("ISOLATION LEVEL, READ ONLY or READ WRITE"));
    }
    Ok(Command::SetModes { session, isolation: modes.isolation, read_only: modes.read_only }.into())
}
