//! The errors that arise on the wire itself, with their SQLSTATEs; those of statements come from the session.

use crate::session::SqlError;

/// How a message exchange ends early.
#[derive(Debug)]
pub(super) enum Failure {
    /// The statement failed: ErrorResponse, and the connection lives on.
    Statement(SqlError),
    /// The connection can't go on: ErrorResponse with severity FATAL, then a close.
    Fatal(SqlError),
    /// The client is gone, there is nobody to tell.
    Gone,
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        Self::Statement(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

fn error(sqlstate: &'static str, message: impl Into<String>) -> SqlError {
    SqlError { sqlstate, message: message.into(), detail: None, hint: None, position: None }
}

fn with_hint(mut error: SqlError, hint: impl Into<String>) -> SqlError {
    error.hint = Some(hint.into());
    error
}

/// 08P01: the bytes are not what the protocol says.
pub(super) fn protocol_violation(message: impl Into<String>) -> SqlError {
    error("08P01", message)
}

/// 0A000: a part of the protocol that is not offered.
pub(super) fn unsupported(message: impl Into<String>, hint: impl Into<String>) -> SqlError {
    with_hint(error("0A000", message), hint)
}

/// 22021: text that is not UTF-8.
pub(super) fn invalid_encoding() -> SqlError {
    error("22021", "invalid byte sequence for encoding \"UTF8\"")
}

/// 22P02: text that its type does not read.
pub(super) fn invalid_text(type_name: &str, text: &str) -> SqlError {
    error("22P02", format!("invalid input syntax for type {type_name}: \"{text}\""))
}

/// 22P02 with more of what is wrong.
pub(super) fn malformed(message: impl Into<String>, detail: impl Into<String>) -> SqlError {
    let mut error = error("22P02", message);
    error.detail = Some(detail.into());
    error
}

/// 22P03: bytes that are not of the type's binary format.
pub(super) fn invalid_binary(message: impl Into<String>) -> SqlError {
    error("22P03", message)
}

/// 22003: a number beyond its type.
pub(super) fn out_of_range(message: impl Into<String>) -> SqlError {
    error("22003", message)
}

/// 22007: text that is no date or time.
pub(super) fn invalid_datetime(type_name: &str, text: &str) -> SqlError {
    error("22007", format!("invalid input syntax for type {type_name}: \"{text}\""))
}

/// 22008: a date or time beyond its type.
pub(super) fn datetime_out_of_range(message: impl Into<String>) -> SqlError {
    error("22008", message)
}

/// 22023: a value that a message's field can't have.
pub(super) fn invalid_parameter(message: impl Into<String>) -> SqlError {
    error("22023", message)
}

/// 42601: a statement that can't be prepared as one.
pub(super) fn syntax_error(message: impl Into<String>) -> SqlError {
    error("42601", message)
}

/// 42P02: a parameter where none can be given.
pub(super) fn undefined_parameter() -> SqlError {
    with_hint(error("42P02", "there is no parameter $1"), "Parameters need a prepared statement.")
}

/// 42704: a type that is not known.
pub(super) fn unknown_type(oid: u32) -> SqlError {
    error("42704", format!("type with OID {oid} does not exist"))
}

/// 26000: no such prepared statement.
pub(super) fn no_statement(name: &str) -> SqlError {
    match name {
        "" => error("26000", "unnamed prepared statement does not exist"),
        name => error("26000", format!("prepared statement \"{name}\" does not exist")),
    }
}

/// 42P05: the prepared statement is there already.
pub(super) fn duplicate_statement(name: &str) -> SqlError {
    error("42P05", format!("prepared statement \"{name}\" already exists"))
}

/// 34000: no such portal.
pub(super) fn no_portal(name: &str) -> SqlError {
    error("34000", format!("portal \"{name}\" does not exist"))
}

/// 42P03: the portal is there already.
pub(super) fn duplicate_portal(name: &str) -> SqlError {
    error("42P03", format!("cursor \"{name}\" already exists"))
}

/// 55000: a portal that has run already.
pub(super) fn portal_has_run(name: &str) -> SqlError {
    error("55000", format!("portal \"{name}\" cannot be run again"))
}

/// 54000: a limit of ours.
pub(super) fn limit_exceeded(message: impl Into<String>, hint: impl Into<String>) -> SqlError {
    with_hint(error("54000", message), hint)
}

/// 57014: the client asked for it.
pub(super) fn canceled() -> SqlError {
    error("57014", "canceling statement due to user request")
}

/// 57P01: the server stops.
pub(super) fn shutting_down() -> SqlError {
    error("57P01", "terminating connection due to administrator command")
}

/// 28P01: the password is wrong, or the user is not known: the same words for both.
pub(super) fn wrong_password(user: &str) -> SqlError {
    error("28P01", format!("password authentication failed for user \"{user}\""))
}

/// 28000: the startup packet names no user.
pub(super) fn no_user() -> SqlError {
    error("28000", "no PostgreSQL user name specified in startup packet")
}

/// 08006: the login took too long.
pub(super) fn login_too_slow() -> SqlError {
    error("08006", "the login took too long")
}

/// 53300: no room for one more connection.
pub(super) fn too_many_connections() -> SqlError {
    with_hint(
        error("53300", "sorry, too many clients already"),
        "Close connections that are not needed, or raise the limit of connections.",
    )
}

/// XX000: the session broke its contract.
pub(super) fn internal(message: impl Into<String>) -> SqlError {
    error("XX000", message)
}
