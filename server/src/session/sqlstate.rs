//! The only file that knows SQLSTATEs: every error that a client sees gets its five characters here.
//!
//! The planner, the runtime and DataFusion know kinds of mistakes, not codes. Messages pass through as they
//! are worded where they arise; what DataFusion puts around them for its own developers is taken off.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use millstream_planner::error::{PlanError, PlanErrorKind};
use millstream_planner::words;
use millstream_runtime::ErrorKind;

use super::{ErrorObject, Notice, SqlError};

/// What can go wrong at the server, beside what the planner and the runtime name. One SQLSTATE each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// 00000: all is well (notices).
    Success,
    /// 01000: a warning.
    Warning,
    /// 01006: less was revoked than was said.
    PrivilegeNotRevoked,
    /// 01007: less was granted than was said.
    PrivilegeNotGranted,
    /// 08003: the connection is no longer there.
    ConnectionDoesNotExist,
    /// 08006: an outside service does not answer.
    ConnectionFailure,
    /// 08007: the statement was sent to the log and its outcome is not known.
    TransactionResolutionUnknown,
    /// 08P01: the client broke the protocol.
    ProtocolViolation,
    /// 0A000: valid, but not offered.
    FeatureNotSupported,
    /// 0LP01: a grant that makes no sense.
    InvalidGrantOperation,
    /// 21000: a row would be changed twice, or a scalar subquery gave several rows.
    CardinalityViolation,
    /// 22000: input or stored bytes are wrong, and nothing more precise is known.
    DataException,
    /// 22003: a number does not fit its type.
    NumericValueOutOfRange,
    /// 22007: a date or time that can't be read.
    InvalidDatetimeFormat,
    /// 22008: a date or time does not fit its type.
    DatetimeFieldOverflow,
    /// 22011: a part of a text of negative length.
    SubstringError,
    /// 22012: division by zero.
    DivisionByZero,
    /// 2201B: a regular expression that can't be read.
    InvalidRegularExpression,
    /// 2201F: a root or a power that no number is.
    InvalidArgumentForPower,
    /// 22021: text that is not UTF-8.
    CharacterNotInRepertoire,
    /// 22001
    StringDataRightTruncation,
    /// 22023: a setting or an option with a wrong value.
    InvalidParameterValue,
    /// 22P02: a text that its type does not read.
    InvalidTextRepresentation,
    /// 22P03: a binary parameter that its type does not read.
    InvalidBinaryRepresentation,
    /// 22P04: the data of a COPY is not in the form that was said.
    BadCopyFileFormat,
    /// 23502: a null in a NOT NULL column.
    NotNullViolation,
    /// 23505: a key that is there already.
    UniqueViolation,
    /// 25001: a statement that can't run inside a transaction block.
    ActiveSqlTransaction,
    /// 25006: a write in a read-only transaction.
    ReadOnlySqlTransaction,
    /// 25P01: there is no transaction.
    NoActiveSqlTransaction,
    /// 25P02: the transaction has failed already.
    InFailedSqlTransaction,
    /// 25P03: the client waited too long in an open transaction.
    IdleInTransactionSessionTimeout,
    /// 26000: a prepared statement that is not there.
    InvalidSqlStatementName,
    /// 28000: this user may not connect.
    InvalidAuthorizationSpecification,
    /// 28P01: wrong password.
    InvalidPassword,
    /// 34000: a portal that is not there.
    InvalidCursorName,
    /// 2BP01: other objects depend on it.
    DependentObjectsStillExist,
    /// 3B001: a savepoint that is not there.
    InvalidSavepoint,
    /// 3D000: a database that is not there.
    InvalidCatalogName,
    /// 3F000: a schema that is not there.
    InvalidSchemaName,
    /// 40001: the transaction can't see one state of all that it reads; run it again.
    SerializationFailure,
    /// 40P01: sessions wait for each other's locks.
    DeadlockDetected,
    /// 42501: the role may not do this.
    InsufficientPrivilege,
    /// 42601: the text can't be read.
    SyntaxError,
    /// 42602: a name that is reserved.
    InvalidName,
    /// 42704: an object that is not there.
    UndefinedObject,
    /// 42710: an object that is there already.
    DuplicateObject,
    /// 42809: the relation is of another kind.
    WrongObjectType,
    /// 42939: a name that is the server's own.
    ReservedName,
    /// 42P01: a relation that is not there.
    UndefinedTable,
    /// 42P02: a parameter where none can be given.
    UndefinedParameter,
    /// 42P03: a portal that is there already.
    DuplicateCursor,
    /// 42P05: a prepared statement that is there already.
    DuplicatePreparedStatement,
    /// 42P06: a schema that is there already.
    DuplicateSchema,
    /// 42P07: a relation that is there already.
    DuplicateTable,
    /// 53200: the statement's memory limit is reached.
    OutOfMemory,
    /// 53300: too many connections.
    TooManyConnections,
    /// 54000: a limit of ours.
    ProgramLimitExceeded,
    /// 55000: the relation is not in a state for this (its job has failed).
    ObjectNotInPrerequisiteState,
    /// 55006: the object is in use.
    ObjectInUse,
    /// 55P02: a setting that can't be changed.
    CantChangeRuntimeParam,
    /// 55P03: a lock was not to be had in time.
    LockNotAvailable,
    /// 57014: canceled, or out of time.
    QueryCanceled,
    /// 57P01: the server stops.
    AdminShutdown,
    /// 57P03: not now.
    CannotConnectNow,
    /// 57P05: the client waited too long.
    IdleSessionTimeout,
    /// 58030: the storage does not answer.
    IoError,
    /// XX000: a bug of ours.
    InternalError,
    /// XX001: stored bytes are damaged.
    DataCorrupted,
}

impl Condition {
    /// The five characters.
    pub fn code(self) -> &'static str {
        match self {
            Self::Success => "00000",
            Self::Warning => "01000",
            Self::PrivilegeNotRevoked => "01006",
            Self::PrivilegeNotGranted => "01007",
            Self::ConnectionDoesNotExist => "08003",
            Self::ConnectionFailure => "08006",
            Self::TransactionResolutionUnknown => "08007",
            Self::ProtocolViolation => "08P01",
            Self::FeatureNotSupported => "0A000",
            Self::InvalidGrantOperation => "0LP01",
            Self::CardinalityViolation => "21000",
            Self::DataException => "22000",
            Self::NumericValueOutOfRange => "22003",
            Self::InvalidDatetimeFormat => "22007",
            Self::DatetimeFieldOverflow => "22008",
            Self::SubstringError => "22011",
            Self::DivisionByZero => "22012",
            Self::InvalidRegularExpression => "2201B",
            Self::InvalidArgumentForPower => "2201F",
            Self::CharacterNotInRepertoire => "22021",
            Self::StringDataRightTruncation => "22001",
            Self::InvalidParameterValue => "22023",
            Self::InvalidTextRepresentation => "22P02",
            Self::InvalidBinaryRepresentation => "22P03",
            Self::BadCopyFileFormat => "22P04",
            Self::NotNullViolation => "23502",
            Self::UniqueViolation => "23505",
            Self::ActiveSqlTransaction => "25001",
            Self::ReadOnlySqlTransaction => "25006",
            Self::NoActiveSqlTransaction => "25P01",
            Self::InFailedSqlTransaction => "25P02",
            Self::IdleInTransactionSessionTimeout => "25P03",
            Self::InvalidSqlStatementName => "26000",
            Self::InvalidAuthorizationSpecification => "28000",
            Self::InvalidPassword => "28P01",
            Self::InvalidCursorName => "34000",
            Self::DependentObjectsStillExist => "2BP01",
            Self::InvalidSavepoint => "3B001",
            Self::InvalidCatalogName => "3D000",
            Self::InvalidSchemaName => "3F000",
            Self::SerializationFailure => "40001",
            Self::DeadlockDetected => "40P01",
            Self::InsufficientPrivilege => "42501",
            Self::SyntaxError => "42601",
            Self::InvalidName => "42602",
            Self::UndefinedObject => "42704",
            Self::DuplicateObject => "42710",
            Self::WrongObjectType => "42809",
            Self::ReservedName => "42939",
            Self::UndefinedTable => "42P01",
            Self::UndefinedParameter => "42P02",
            Self::DuplicateCursor => "42P03",
            Self::DuplicatePreparedStatement => "42P05",
            Self::DuplicateSchema => "42P06",
            Self::DuplicateTable => "42P07",
            Self::OutOfMemory => "53200",
            Self::TooManyConnections => "53300",
            Self::ProgramLimitExceeded => "54000",
            Self::ObjectNotInPrerequisiteState => "55000",
            Self::ObjectInUse => "55006",
            Self::CantChangeRuntimeParam => "55P02",
            Self::LockNotAvailable => "55P03",
            Self::QueryCanceled => "57014",
            Self::AdminShutdown => "57P01",
            Self::CannotConnectNow => "57P03",
            Self::IdleSessionTimeout => "57P05",
            Self::IoError => "58030",
            Self::InternalError => "XX000",
            Self::DataCorrupted => "XX001",
        }
    }
}

impl SqlError {
    /// An error without detail, hint and position.
    pub fn new(condition: Condition, message: impl Into<String>) -> Self {
        Self {
            sqlstate: condition.code(),
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            object: None,
            place: None,
        }
    }

    /// The same error with a hint, a whole sentence.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with a detail, a whole sentence.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same error with what it is about.
    #[must_use]
    pub fn about(mut self, object: ErrorObject) -> Self {
        self.object = Some(Box::new(object));
        self
    }

    /// The same error with where it arose; what is known already stays.
    #[must_use]
    pub fn with_context(mut self, context: impl Into<String>) -> Self {
        self.place.get_or_insert_default().context.get_or_insert_with(|| context.into());
        self
    }

    /// The same error with the number of the row, among those that the statement was given, that it is about.
    #[must_use]
    pub fn with_row(mut self, row: usize) -> Self {
        self.place.get_or_insert_default().row = Some(row);
        self
    }

    /// The number of the row that it is about, if that is known.
    pub fn row(&self) -> Option<usize> {
        self.place.as_ref()?.row
    }

    /// The same error about no row in particular.
    #[must_use]
    pub fn without_row(mut self) -> Self {
        if let Some(place) = &mut self.place {
            place.row = None;
        }
        self
    }

    /// Whether the error has this condition.
    pub fn is(&self, condition: Condition) -> bool {
        self.sqlstate == condition.code()
    }
}

impl std::fmt::Display for SqlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.sqlstate)
    }
}

impl std::error::Error for SqlError {}

impl Notice {
    /// A plain notice.
    pub fn plain(message: impl Into<String>) -> Self {
        Self { severity: "NOTICE", sqlstate: Condition::Success.code(), message: message.into(), hint: None }
    }

    /// A warning.
    pub fn warning(condition: Condition, message: impl Into<String>) -> Self {
        Self { severity: "WARNING", sqlstate: condition.code(), message: message.into(), hint: None }
    }
}

fn plan_code(kind: PlanErrorKind) -> &'static str {
    match kind {
        PlanErrorKind::SyntaxError => Condition::SyntaxError.code(),
        PlanErrorKind::CardinalityViolation => Condition::CardinalityViolation.code(),
        PlanErrorKind::InsufficientPrivilege => "42501",
        PlanErrorKind::UndefinedTable => Condition::UndefinedTable.code(),
        PlanErrorKind::UndefinedColumn => "42703",
        PlanErrorKind::AmbiguousColumn => "42702",
        PlanErrorKind::UndefinedFunction => "42883",
        PlanErrorKind::AmbiguousFunction => "42725",
        PlanErrorKind::UndefinedObject => Condition::UndefinedObject.code(),
        PlanErrorKind::UndefinedSchema => Condition::InvalidSchemaName.code(),
        PlanErrorKind::DuplicateTable => Condition::DuplicateTable.code(),
        PlanErrorKind::DuplicateColumn => "42701",
        PlanErrorKind::DuplicateObject => Condition::DuplicateObject.code(),
        PlanErrorKind::DuplicateSchema => Condition::DuplicateSchema.code(),
        PlanErrorKind::GroupingError => "42803",
        PlanErrorKind::DatatypeMismatch => "42804",
        PlanErrorKind::DuplicateAlias => "42712",
        PlanErrorKind::InvalidColumnReference => "42P10",
        PlanErrorKind::WindowingError => "42P20",
        PlanErrorKind::InvalidEscapeSequence => "22025",
        PlanErrorKind::InvalidUseOfEscapeCharacter => "2200C",
        PlanErrorKind::ArraySubscript => "2202E",
        PlanErrorKind::CharacterNotInRepertoire => "22021",
        PlanErrorKind::InvalidLimit => "2201W",
        PlanErrorKind::InvalidOffset => "2201X",
        PlanErrorKind::InvalidCursorDefinition => "42P11",
        PlanErrorKind::WrongObjectType => Condition::WrongObjectType.code(),
        PlanErrorKind::IndeterminateDatatype => "42P18",
        PlanErrorKind::InvalidTextRepresentation => Condition::InvalidTextRepresentation.code(),
        PlanErrorKind::InvalidDatetimeFormat => Condition::InvalidDatetimeFormat.code(),
        PlanErrorKind::DatetimeFieldOverflow => Condition::DatetimeFieldOverflow.code(),
        PlanErrorKind::StringDataRightTruncation => Condition::StringDataRightTruncation.code(),
        PlanErrorKind::InvalidArgumentForLogarithm => "2201E",
        PlanErrorKind::InvalidArgumentForPower => "2201F",
        PlanErrorKind::CannotCoerce => "42846",
        PlanErrorKind::DivisionByZero => Condition::DivisionByZero.code(),
        PlanErrorKind::NumericValueOutOfRange => Condition::NumericValueOutOfRange.code(),
        PlanErrorKind::InvalidParameterValue => Condition::InvalidParameterValue.code(),
        PlanErrorKind::DependentObjectsStillExist => Condition::DependentObjectsStillExist.code(),
        PlanErrorKind::FeatureNotSupported => Condition::FeatureNotSupported.code(),
        PlanErrorKind::InvalidDefinition => "42P16",
        PlanErrorKind::GeneratedAlways => "428C9",
        PlanErrorKind::NotNullViolation => Condition::NotNullViolation.code(),
        PlanErrorKind::ProgramLimitExceeded => Condition::ProgramLimitExceeded.code(),
        PlanErrorKind::ReservedName => Condition::ReservedName.code(),
        PlanErrorKind::InvalidGrant => Condition::InvalidGrantOperation.code(),
        PlanErrorKind::InvalidRegularExpression => Condition::InvalidRegularExpression.code(),
        PlanErrorKind::UndefinedParameter => Condition::UndefinedParameter.code(),
        PlanErrorKind::Internal => Condition::InternalError.code(),
    }
}

impl From<PlanError> for SqlError {
    fn from(error: PlanError) -> Self {
        Self {
            sqlstate: match error.kind {
                PlanErrorKind::InvalidTextRepresentation => literal_condition(&error.message).code(),
                kind => plan_code(kind),
            },
            message: error.message,
            detail: error.detail,
            hint: error.hint,
            position: error.position.map(|position| position.0),
            object: None,
            place: None,
        }
    }
}

impl From<millstream_runtime::Error> for SqlError {
    fn from(error: millstream_runtime::Error) -> Self {
        let condition = match error.kind {
            ErrorKind::Invalid => Condition::InvalidParameterValue,
            ErrorKind::Unavailable => Condition::ConnectionFailure,
            ErrorKind::Data => data_condition(&error.message),
            ErrorKind::Internal => Condition::InternalError,
            ErrorKind::Fenced => Condition::AdminShutdown,
            ErrorKind::Exhausted => Condition::OutOfMemory,
        };
        let message = if condition == Condition::DivisionByZero { "division by zero".into() } else { error.message };
        Self { hint: error.hint, ..Self::new(condition, message) }
    }
}

impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => Self::from(*inner),
            DataFusionError::Shared(inner) => from_shared(&inner),
            DataFusionError::Collection(mut errors) if !errors.is_empty() => Self::from(errors.swap_remove(0)),
            DataFusionError::ArrowError(inner, _) => Self::from(*inner),
            DataFusionError::External(inner) => from_external(inner),
            other => from_message(&other),
        }
    }
}

impl From<ArrowError> for SqlError {
    fn from(error: ArrowError) -> Self {
        if let Some(known) = known_failure(&error) {
            return known;
        }
        match error {
            ArrowError::DivideByZero => Self::new(Condition::DivisionByZero, "division by zero"),
            ArrowError::ArithmeticOverflow(message) => out_of_range(&message),
            ArrowError::ExternalError(inner) => from_external(inner),
            ArrowError::CastError(message) | ArrowError::ParseError(message) => {
                let condition = match data_condition(&message) {
                    Condition::DataException => Condition::InvalidTextRepresentation,
                    precise => precise,
                };
                Self::new(condition, lower_first(&message))
            }
            ArrowError::ComputeError(message) | ArrowError::InvalidArgumentError(message) => {
                Self::new(data_condition(&message), lower_first(&message))
            }
            other => Self::new(Condition::InternalError, lower_first(&other.to_string())),
        }
    }
}

/// What Arrow says in words that we know.
fn known_failure(error: &ArrowError) -> Option<SqlError> {
    match error {
        ArrowError::ArithmeticOverflow(message)
        | ArrowError::CastError(message)
        | ArrowError::ParseError(message)
        | ArrowError::ComputeError(message)
        | ArrowError::InvalidArgumentError(message) => words::failure(message).map(SqlError::from),
        _ => None,
    }
}

/// What our own code put into DataFusion's or Arrow's error comes out as it went in.
fn from_external(error: Box<dyn std::error::Error + Send + Sync>) -> SqlError {
    let error = match error.downcast::<SqlError>() {
        Ok(own) => return *own,
        Err(error) => error,
    };
    let error = match error.downcast::<PlanError>() {
        Ok(planning) => return SqlError::from(*planning),
        Err(error) => error,
    };
    let error = match error.downcast::<millstream_runtime::Error>() {
        Ok(runtime) => return SqlError::from(*runtime),
        Err(error) => error,
    };
    match error.downcast::<DataFusionError>() {
        Ok(inner) => SqlError::from(*inner),
        Err(error) => SqlError::new(Condition::InternalError, error.to_string()),
    }
}

/// An error that several readers share can't be taken apart by value.
fn from_shared(error: &DataFusionError) -> SqlError {
    match error.find_root() {
        DataFusionError::External(inner) => {
            if let Some(own) = inner.downcast_ref::<SqlError>() {
                return own.clone();
            }
            if let Some(planning) = inner.downcast_ref::<PlanError>() {
                return SqlError::from(planning.clone());
            }
            match inner.downcast_ref::<millstream_runtime::Error>() {
                Some(runtime) => SqlError::from(runtime.clone()),
                None => SqlError::new(Condition::InternalError, inner.to_string()),
            }
        }
        DataFusionError::ArrowError(inner, _) => match (known_failure(inner), inner.as_ref()) {
            (Some(known), _) => known,
            (None, ArrowError::DivideByZero) => SqlError::new(Condition::DivisionByZero, "division by zero"),
            (None, ArrowError::ArithmeticOverflow(message)) => out_of_range(message),
            (None, ArrowError::CastError(message) | ArrowError::ParseError(message)) => {
                SqlError::from(ArrowError::CastError(message.clone()))
            }
            (None, other) => SqlError::new(data_condition(&other.to_string()), lower_first(&other.to_string())),
        },
        root => from_message(root),
    }
}

fn from_message(error: &DataFusionError) -> SqlError {
    let message = error.strip_backtrace();
    let plain = ["Execution error: ", "Error during planning: ", "This feature is not implemented: "]
        .iter()
        .find_map(|prefix| message.strip_prefix(prefix))
        .unwrap_or(&message)
        .trim();
    if let Some(known) = words::failure(plain) {
        return SqlError::from(known);
    }
    match error {
        DataFusionError::Execution(_) => match data_condition(plain) {
            Condition::DivisionByZero => SqlError::new(Condition::DivisionByZero, "division by zero"),
            condition => SqlError::new(condition, lower_first(plain)),
        },
        DataFusionError::NotImplemented(_) => SqlError::new(Condition::FeatureNotSupported, lower_first(plain)),
        DataFusionError::Plan(_) | DataFusionError::SchemaError(..) => {
            SqlError::new(Condition::SyntaxError, lower_first(plain))
        }
        DataFusionError::ResourcesExhausted(_) => {
            SqlError::new(Condition::OutOfMemory, "the statement needs more memory than it may use").with_detail(plain)
        }
        DataFusionError::IoError(_) => SqlError::new(Condition::IoError, lower_first(plain)),
        _ => SqlError::new(Condition::InternalError, lower_first(plain)),
    }
}

/// The class of a failed expression, from how DataFusion, Arrow and our own expressions word it: they carry
/// no code of their own.
fn data_condition(message: &str) -> Condition {
    let text = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["division by zero", "divide by zero"]) {
        Condition::DivisionByZero
    } else if says(&["timestamp out of range", "date out of range", "interval out of range"]) {
        Condition::DatetimeFieldOverflow
    } else if says(&["overflow", "out of range", "too large to store", "is not a finite number"]) {
        Condition::NumericValueOutOfRange
    } else if says(&["error parsing timestamp", "error parsing date", "invalid input syntax for type timestamp"])
        || (says(&["cannot cast string", "invalid input syntax"]) && says(&["date", "timestamp", "interval", "time"]))
    {
        Condition::InvalidDatetimeFormat
    } else if says(&["cannot cast", "can't cast", "invalid input syntax", "error parsing", "parser error"]) {
        Condition::InvalidTextRepresentation
    } else if says(&["negative substring length", "negative count not allowed"]) {
        Condition::SubstringError
    } else if says(&["square root of a negative number"]) {
        Condition::InvalidArgumentForPower
    } else if says(&["unsupported date_trunc granularity", "date part '"]) {
        Condition::InvalidParameterValue
    } else if says(&["more than one row returned by a subquery", "scalar subquery returned more than one row"]) {
        Condition::CardinalityViolation
    } else {
        Condition::DataException
    }
}

/// The class of a literal that its type does not take: the planner has one kind for all of them.
fn literal_condition(message: &str) -> Condition {
    let precise = data_condition(message);
    if matches!(precise, Condition::SubstringError | Condition::InvalidArgumentForPower) {
        return precise;
    }
    let moments = ["date", "timestamp", "time", "interval"].map(|name| format!("invalid input syntax for type {name}"));
    if moments.iter().any(|start| message.starts_with(start)) {
        Condition::InvalidDatetimeFormat
    } else if message.contains("is too large to store in a Decimal") {
        Condition::NumericValueOutOfRange
    } else {
        Condition::InvalidTextRepresentation
    }
}

fn out_of_range(message: &str) -> SqlError {
    SqlError::new(Condition::NumericValueOutOfRange, "value out of range").with_detail(message)
}

fn lower_first(message: &str) -> String {
    let mut characters = message.chars();
    match (characters.next(), message.chars().nth(1)) {
        // A word in capitals, or a name, stays as it is.
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => message.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn execution_errors_get_the_codes_of_postgres() {
        let arrow = |error: ArrowError| DataFusionError::ArrowError(Box::new(error), None);
        let cases: Vec<(DataFusionError, &str)> = vec![
            (arrow(ArrowError::DivideByZero), "22012"),
            (arrow(ArrowError::ArithmeticOverflow("Overflow happened on: 1 + 2".into())), "22003"),
            (arrow(ArrowError::CastError("Cannot cast string 'x' to value of Int64 type".into())), "22P02"),
            (arrow(ArrowError::CastError("Cannot cast string 'x' to value of Date32 type".into())), "22007"),
            (arrow(ArrowError::ParseError("Error parsing timestamp from 'x'".into())), "22007"),
            (DataFusionError::Execution("Division by zero".into()), "22012"),
            (DataFusionError::Execution("something odd".into()), "22000"),
            (DataFusionError::NotImplemented("Physical plan does not support X".into()), "0A000"),
            (DataFusionError::ResourcesExhausted("no".into()), "53200"),
            (DataFusionError::Internal("no".into()), "XX000"),
            (DataFusionError::External(Box::new(SqlError::new(Condition::QueryCanceled, "canceled"))), "57014"),
            (DataFusionError::External(Box::new(millstream_runtime::Error::unavailable("away"))), "08006"),
            (arrow(ArrowError::DivideByZero).context("while doing"), "22012"),
        ];
        for (error, code) in cases {
            let text = error.to_string();
            assert_eq!(SqlError::from(error).sqlstate, code, "{text}");
        }
    }

    #[test]
    fn a_shared_error_keeps_its_code() {
        let inner = DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None);
        let shared = DataFusionError::Shared(std::sync::Arc::new(inner));
        assert_eq!(SqlError::from(shared).sqlstate, "22012");
    }

    #[test]
    fn a_planning_error_keeps_its_place_and_hint() {
        let error = PlanError::new(PlanErrorKind::UndefinedTable, "relation \"t\" does not exist")
            .at(Some(millstream_planner::error::TextPosition(15)))
            .with_hint("Create it.");
        let error = SqlError::from(DataFusionError::External(Box::new(error)));
        assert_eq!((error.sqlstate, error.position), ("42P01", Some(15)));
        assert_eq!(error.hint.as_deref(), Some("Create it."));
    }

    #[test]
    fn messages_start_in_lower_case_unless_they_start_with_a_name() {
        assert_eq!(lower_first("Cannot cast"), "cannot cast");
        assert_eq!(lower_first("UNION is odd"), "UNION is odd");
        assert_eq!(lower_first(""), "");
    }
}
