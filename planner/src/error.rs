//! What can be wrong with a statement, with the place where it is wrong.

use std::fmt;

/// A character offset into the statement's text, counted from 1 as Postgres does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextPosition(pub usize);

/// The class of a mistake. The server maps each to one SQLSTATE (named here in the variant's text).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanErrorKind {
    /// 42601
    SyntaxError,
    /// 21000
    CardinalityViolation,
    /// 42501
    InsufficientPrivilege,
    /// 42P01
    UndefinedTable,
    /// 42703
    UndefinedColumn,
    /// 42702
    AmbiguousColumn,
    /// 42883
    UndefinedFunction,
    /// 42725
    AmbiguousFunction,
    /// 42704: a type, a setting, a schema's object of another kind
    UndefinedObject,
    /// 3F000
    UndefinedSchema,
    /// 42P07
    DuplicateTable,
    /// 42701
    DuplicateColumn,
    /// 42710
    DuplicateObject,
    /// 42P06
    DuplicateSchema,
    /// 42803
    GroupingError,
    /// 42712: a table's name or a WITH query's, twice
    DuplicateAlias,
    /// 428C9: a value for a generated column
    GeneratedAlways,
    /// 42P10: a position that is not in the select list, and the like
    InvalidColumnReference,
    /// 42P20: a window function where none can be
    WindowingError,
    /// 2201W
    InvalidLimit,
    /// 2201X
    InvalidOffset,
    /// 42804
    DatatypeMismatch,
    /// 42809
    WrongObjectType,
    /// 42P11: a cursor with options that exclude each other
    InvalidCursorDefinition,
    /// 42P18
    IndeterminateDatatype,
    /// 22P02: a literal that its type does not read
    InvalidTextRepresentation,
    /// 22007: a literal that is no date or time
    InvalidDatetimeFormat,
    /// 22008
    DatetimeFieldOverflow,
    /// 22001: a text longer than its column takes
    StringDataRightTruncation,
    /// 22012
    DivisionByZero,
    /// 2201E
    InvalidArgumentForLogarithm,
    /// 2201F
    InvalidArgumentForPower,
    /// 42846
    CannotCoerce,
    /// 22003
    NumericValueOutOfRange,
    /// 22025
    InvalidEscapeSequence,
    /// 2200C
    InvalidUseOfEscapeCharacter,
    /// 2202E
    ArraySubscript,
    /// 22021: bytes that are no text
    CharacterNotInRepertoire,
    /// 22023: an option with a wrong name or value
    InvalidParameterValue,
    /// 2BP01
    DependentObjectsStillExist,
    /// 0A000
    FeatureNotSupported,
    /// 42611, 42P16: a definition that makes no sense
    InvalidDefinition,
    /// 23502
    NotNullViolation,
    /// 54000, 54001: a limit of ours
    ProgramLimitExceeded,
    /// 42939
    ReservedName,
    /// 0LP01
    InvalidGrant,
    /// 2201B
    InvalidRegularExpression,
    /// 42P02: a parameter that is not there
    UndefinedParameter,
    /// XX000: a bug of ours
    Internal,
}

/// A statement that can't be planned.
#[derive(Clone, Debug)]
pub struct PlanError {
    /// The class.
    pub kind: PlanErrorKind,
    /// As Postgres words it: lower case, names in double quotes.
    pub message: String,
    /// More of what happened.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where in the text.
    pub position: Option<TextPosition>,
}

/// A result with this crate's error.
pub type Result<T, E = PlanError> = std::result::Result<T, E>;

impl PlanError {
    /// An error without position, detail and hint.
    pub fn new(kind: PlanErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), detail: None, hint: None, position: None }
    }

    /// What is valid SQL but not offered: names the construct.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(PlanErrorKind::FeatureNotSupported, message)
    }

    /// A bug of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(PlanErrorKind::Internal, message)
    }

    /// The same error at a place; a place that is known already stays.
    #[must_use]
    pub fn at(mut self, position: Option<TextPosition>) -> Self {
        self.position = self.position.or(position);
        self
    }

    /// The same error with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with a detail.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PlanError {}
