//! The one error type of this crate, grouped by what the reader of the message must do next.

use std::fmt;

/// What whoever meets the error has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The statement or its options are wrong: the user mends them.
    Invalid,
    /// Something outside is not there right now: try again, nothing is lost.
    Unavailable,
    /// Input or stored bytes are wrong: look at the named object or record.
    Data,
    /// An invariant of ours does not hold: a bug to report.
    Internal,
    /// A newer server owns the storage: this one must stop at once.
    Fenced,
    /// A budget is used up: hold less, or raise it.
    Exhausted,
}

/// An error with a kind, a message, and optionally what helps to mend it.
///
/// Messages read like those of Postgres: lower case, no full stop; `hint` is a whole sentence.
#[derive(Clone, Debug)]
pub struct Error {
    /// What the reader has to do.
    pub kind: ErrorKind,
    /// What happened, lower case, without a full stop.
    pub message: String,
    /// What to do about it, a whole sentence.
    pub hint: Option<String>,
}

/// A result with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of the given kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// The user has to mend something.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Try again later.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// Input or stored bytes are wrong.
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Data, message)
    }

    /// A bug of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Another server owns the storage now.
    pub fn fenced(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Fenced, message)
    }

    /// A budget is used up.
    pub fn exhausted(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Exhausted, message)
    }

    /// The same error with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with `context: ` before its message.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        use arrow::error::ArrowError as A;
        let kind = match error {
            A::DivideByZero | A::ArithmeticOverflow(_) | A::CastError(_) | A::ParseError(_) | A::ComputeError(_) => {
                ErrorKind::Data
            }
            _ => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<datafusion::error::DataFusionError> for Error {
    fn from(error: datafusion::error::DataFusionError) -> Self {
        use datafusion::error::DataFusionError as D;
        match error.find_root() {
            D::ArrowError(..) | D::Execution(_) => Self::new(ErrorKind::Data, error.strip_backtrace()),
            D::Plan(_) | D::SchemaError(..) | D::NotImplemented(_) => {
                Self::new(ErrorKind::Invalid, error.strip_backtrace())
            }
            D::ResourcesExhausted(_) | D::ObjectStore(_) | D::IoError(_) => {
                Self::new(ErrorKind::Unavailable, error.strip_backtrace())
            }
            _ => Self::new(ErrorKind::Internal, error.strip_backtrace()),
        }
    }
}
