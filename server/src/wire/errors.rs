//! The errors that arise on the wire itself; those of statements come from the session.

use std::time::Duration;

use millstream_planner::error::{PlanError, PlanErrorKind};

use crate::engine::limits::LOGINS_PER_ADDRESS;
use crate::session::SqlError;
use crate::session::sqlstate::Condition;

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

fn error(condition: Condition, message: impl Into<String>) -> SqlError {
    SqlError::new(condition, message)
}

/// The bytes are not what the protocol says.
pub(super) fn protocol_violation(message: impl Into<String>) -> SqlError {
    error(Condition::ProtocolViolation, message)
}

/// A part of the protocol that is not offered.
pub(super) fn unsupported(message: impl Into<String>, hint: impl Into<String>) -> SqlError {
    error(Condition::FeatureNotSupported, message).with_hint(hint)
}

/// The data of a COPY is not in the form that was said.
pub(super) fn bad_copy(message: impl Into<String>) -> SqlError {
    error(Condition::BadCopyFileFormat, message)
}

/// The client gave a COPY up.
pub(super) fn copy_failed(reason: &str) -> SqlError {
    error(Condition::QueryCanceled, format!("COPY from stdin failed: {reason}"))
}

/// The client went away in the middle of a COPY; nobody reads this but the session.
pub(super) fn client_gone() -> SqlError {
    error(Condition::ConnectionFailure, "unexpected EOF on client connection with an open transaction")
}

/// Text that is not UTF-8.
pub(super) fn invalid_encoding() -> SqlError {
    error(Condition::CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\"")
}

/// Text that its type does not read.
pub(super) fn invalid_text(type_name: &str, text: &str) -> SqlError {
    error(Condition::InvalidTextRepresentation, format!("invalid input syntax for type {type_name}: \"{text}\""))
}

/// Text that its type does not read, with more of what is wrong.
pub(super) fn malformed(message: impl Into<String>, detail: impl Into<String>) -> SqlError {
    error(Condition::InvalidTextRepresentation, message).with_detail(detail)
}

/// Bytes that are not of the type's binary format.
pub(super) fn invalid_binary(message: impl Into<String>) -> SqlError {
    error(Condition::InvalidBinaryRepresentation, message)
}

/// A value that is of another type than its place.
pub(super) fn datatype_mismatch(message: impl Into<String>) -> SqlError {
    SqlError::from(PlanError::new(PlanErrorKind::DatatypeMismatch, message))
}

/// A number beyond its type.
pub(super) fn out_of_range(message: impl Into<String>) -> SqlError {
    error(Condition::NumericValueOutOfRange, message)
}

/// A date or time beyond its type.
pub(super) fn datetime_out_of_range(message: impl Into<String>) -> SqlError {
    error(Condition::DatetimeFieldOverflow, message)
}

/// A value that a message's field can't have.
pub(super) fn invalid_parameter(message: impl Into<String>) -> SqlError {
    error(Condition::InvalidParameterValue, message)
}

/// A statement that can't be prepared as one.
pub(super) fn syntax_error(message: impl Into<String>) -> SqlError {
    error(Condition::SyntaxError, message)
}

/// A parameter where none can be given.
pub(super) fn undefined_parameter() -> SqlError {
    error(Condition::UndefinedParameter, "there is no parameter $1").with_hint("Parameters need a prepared statement.")
}

/// A type that is not known.
pub(super) fn unknown_type(oid: u32) -> SqlError {
    error(Condition::UndefinedObject, format!("type with OID {oid} does not exist"))
}

/// No such prepared statement.
pub(super) fn no_statement(name: &str) -> SqlError {
    match name {
        "" => error(Condition::InvalidSqlStatementName, "unnamed prepared statement does not exist"),
        name => error(Condition::InvalidSqlStatementName, format!("prepared statement \"{name}\" does not exist")),
    }
}

/// The prepared statement is there already.
pub(super) fn duplicate_statement(name: &str) -> SqlError {
    error(Condition::DuplicatePreparedStatement, format!("prepared statement \"{name}\" already exists"))
}

/// No such portal.
pub(super) fn no_portal(name: &str) -> SqlError {
    error(Condition::InvalidCursorName, format!("portal \"{name}\" does not exist"))
}

/// The portal is there already.
pub(super) fn duplicate_portal(name: &str) -> SqlError {
    error(Condition::DuplicateCursor, format!("cursor \"{name}\" already exists"))
}

/// A portal that gives no rows to move over.
pub(super) fn portal_cannot_run(name: &str) -> SqlError {
    error(Condition::ObjectNotInPrerequisiteState, format!("portal \"{name}\" cannot be run"))
}

/// A portal that has run already.
pub(super) fn portal_has_run(name: &str) -> SqlError {
    error(Condition::ObjectNotInPrerequisiteState, format!("portal \"{name}\" cannot be run again"))
}

/// A limit of ours.
pub(super) fn limit_exceeded(message: impl Into<String>, hint: impl Into<String>) -> SqlError {
    error(Condition::ProgramLimitExceeded, message).with_hint(hint)
}

/// The client asked for it.
pub(super) fn canceled() -> SqlError {
    error(Condition::QueryCanceled, "canceling statement due to user request")
}

/// Whether a statement failed because it was canceled.
pub(super) fn is_canceled(error: &SqlError) -> bool {
    error.sqlstate == Condition::QueryCanceled.code()
}

/// The server stops.
pub(super) fn shutting_down() -> SqlError {
    error(Condition::AdminShutdown, "terminating connection due to administrator command")
}

/// The client sent nothing for longer than its session allows.
pub(super) fn idle_too_long(in_transaction: bool) -> SqlError {
    match in_transaction {
        true => error(
            Condition::IdleInTransactionSessionTimeout,
            "terminating connection due to idle-in-transaction timeout",
        ),
        false => error(Condition::IdleSessionTimeout, "terminating connection due to idle-session timeout"),
    }
}

/// The password is wrong, or the user is not known: the same words for both.
pub(super) fn wrong_password(user: &str) -> SqlError {
    error(Condition::InvalidPassword, format!("password authentication failed for user \"{user}\""))
}

/// The client may not be let in, whatever its password.
pub(super) fn not_authorized(message: impl Into<String>) -> SqlError {
    error(Condition::InvalidAuthorizationSpecification, message)
}

/// A connection in the clear where that is refused.
pub(super) fn tls_required() -> SqlError {
    not_authorized("connections without TLS are refused").with_hint("Connect with sslmode=require or a stronger one.")
}

/// The client's certificate bears another name.
pub(super) fn wrong_certificate(user: &str) -> SqlError {
    not_authorized(format!("certificate authentication failed for user \"{user}\""))
        .with_hint("The certificate's common name must be the name of the role.")
}

/// The startup packet names no user.
pub(super) fn no_user() -> SqlError {
    error(Condition::InvalidAuthorizationSpecification, "no PostgreSQL user name specified in startup packet")
}

/// The login took too long.
pub(super) fn login_too_slow() -> SqlError {
    error(Condition::ConnectionFailure, "the login took too long")
}

/// No room for one more connection.
pub(super) fn too_many_connections() -> SqlError {
    error(Condition::TooManyConnections, "sorry, too many clients already")
        .with_hint("Close connections that are not needed, or raise the limit of connections.")
}

/// Too many connections of one address have not logged in yet.
pub(super) fn too_many_logins(address: impl std::fmt::Display) -> SqlError {
    error(Condition::TooManyConnections, "too many connections of your address are logging in")
        .with_detail(format!("At most {LOGINS_PER_ADDRESS} of {address} may do so at a time."))
        .with_hint("Open fewer connections at once.")
}

/// Too many passwords were wrong.
pub(super) fn logins_refused(user: &str, address: impl std::fmt::Display, waits: Duration) -> SqlError {
    let seconds = waits.as_millis().div_ceil(1_000);
    error(Condition::InvalidAuthorizationSpecification, format!("too many failed logins for user \"{user}\""))
        .with_detail(format!("Further attempts from {address} are refused for {seconds} s."))
        .with_hint("Correct the password, wait, and try again.")
}

/// Whether a failed login was a wrong password.
pub(super) fn is_wrong_password(failure: &Failure) -> bool {
    matches!(failure, Failure::Fatal(error) if error.sqlstate == Condition::InvalidPassword.code())
}

/// A bug of ours ended the statement half-way.
pub(super) fn statement_panicked() -> SqlError {
    error(Condition::InternalError, "the statement met a bug of the server")
        .with_hint("The server's log says where. Please report it with the statement.")
}

/// The session broke its contract.
pub(super) fn internal(message: impl Into<String>) -> SqlError {
    error(Condition::InternalError, message)
}
