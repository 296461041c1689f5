//! Why a value is not one of its column.

use std::fmt;

/// A value that its column does not take: where it stands below the column, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// `price`, `bid.price`, `bids[2].price`; empty until the caller says where it is.
    path: String,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    /// `expected BIGINT, got string "abc"`
    Value(String),
    /// `the field is missing`, for a column that is NOT NULL
    NotNull(&'static str),
}

impl Fault {
    /// A value of the wrong type or out of range.
    pub(crate) fn value(reason: impl Into<String>) -> Self {
        Self { path: String::new(), problem: Problem::Value(reason.into()) }
    }

    /// No value where there must be one: `what` says why there is none.
    pub(crate) fn not_null(what: &'static str) -> Self {
        Self { path: String::new(), problem: Problem::NotNull(what) }
    }

    /// The same fault in a column or a field of this name.
    #[must_use]
    pub(crate) fn at(mut self, name: &str) -> Self {
        let point = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{name}{point}{}", self.path);
        self
    }

    /// The same fault in an element of an array, counted from 1.
    #[must_use]
    pub(crate) fn in_element(self, ordinal: usize) -> Self {
        self.at(&format!("[{ordinal}]"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Problem::Value(reason) => write!(f, "column \"{}\": {reason}", self.path),
            Problem::NotNull(what) => write!(f, "column \"{}\" is NOT NULL, but {what}", self.path),
        }
    }
}
