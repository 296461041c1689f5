//! Values of catalog queries, held apart from their types.
//!
//! Equality, order and hash are those of Postgres' btree operators: text by bytes, arrays and records by their
//! elements, NULL equal to NULL (operators that give NULL for NULL look before they compare).

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use millstream_planner::values::Decimal;

/// A value.
#[derive(Clone, Debug)]
pub(in crate::pg_catalog) enum Datum {
    Null,
    Bool(bool),
    /// Integers, OIDs, and the types that show OIDs by name.
    Int(i64),
    /// Floats, and numerics of the few functions that give them.
    Float(f64),
    /// A numeric of a user's relation, to its last digit.
    Numeric(Arc<Decimal>),
    Text(Arc<str>),
    Bytes(Arc<[u8]>),
    /// Microseconds since 1970: timestamps, dates at their midnight; times since midnight.
    Moment(i64),
    /// Months, days, microseconds.
    Interval(i32, i32, i64),
    Array(Arc<[Datum]>),
    Record(Arc<[Datum]>),
}

impl Datum {
    pub(in crate::pg_catalog) fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }

    pub(in crate::pg_catalog) fn texts<T: Into<Arc<str>>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::Array(texts.into_iter().map(|text| Self::Text(text.into())).collect())
    }

    pub(in crate::pg_catalog) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// True, neither false nor NULL.
    pub(in crate::pg_catalog) fn is_true(&self) -> bool {
        matches!(self, Self::Bool(true))
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Bool(_) => 0,
            Self::Int(_) | Self::Float(_) | Self::Numeric(_) => 1,
            Self::Text(_) => 2,
            Self::Bytes(_) => 3,
            Self::Moment(_) => 4,
            Self::Interval(..) => 5,
            Self::Array(_) => 6,
            Self::Record(_) => 7,
            Self::Null => 8,
        }
    }
}

/// An interval in microseconds, with months of 30 days, as Postgres compares them.
fn interval_micros(months: i32, days: i32, micros: i64) -> i128 {
    (i128::from(months) * 30 + i128::from(days)) * 86_400_000_000 + i128::from(micros)
}

impl Ord for Datum {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(left), Self::Bool(right)) => left.cmp(right),
            (Self::Int(left), Self::Int(right)) => left.cmp(right),
            (Self::Float(left), Self::Float(right)) => left.total_cmp(right),
            (Self::Int(left), Self::Float(right)) => (*left as f64).total_cmp(right),
            (Self::Float(left), Self::Int(right)) => left.total_cmp(&(*right as f64)),
            (Self::Numeric(left), Self::Numeric(right)) => left.compare(right),
            (Self::Numeric(left), Self::Int(right)) => left.compare(&Decimal::from(*right)),
            (Self::Int(left), Self::Numeric(right)) => Decimal::from(*left).compare(right),
            (Self::Numeric(left), Self::Float(right)) => left.to_f64().total_cmp(right),
            (Self::Float(left), Self::Numeric(right)) => left.total_cmp(&right.to_f64()),
            (Self::Text(left), Self::Text(right)) => left.cmp(right),
            (Self::Bytes(left), Self::Bytes(right)) => left.cmp(right),
            (Self::Moment(left), Self::Moment(right)) => left.cmp(right),
            (Self::Interval(m1, d1, u1), Self::Interval(m2, d2, u2)) => {
                interval_micros(*m1, *d1, *u1).cmp(&interval_micros(*m2, *d2, *u2))
            }
            (Self::Array(left), Self::Array(right)) | (Self::Record(left), Self::Record(right)) => left.cmp(right),
            // NULL comes last.
            (left, right) => left.rank().cmp(&right.rank()),
        }
    }
}

impl PartialOrd for Datum {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Datum {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Datum {}

impl Hash for Datum {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        match self {
            Self::Null => {}
            Self::Bool(value) => value.hash(state),
            // Numbers that are equal hash alike.
            Self::Int(value) => (*value as f64).to_bits().hash(state),
            Self::Numeric(value) => value.to_f64().to_bits().hash(state),
            Self::Float(value) => value.to_bits().hash(state),
            Self::Text(value) => value.hash(state),
            Self::Bytes(value) => value.hash(state),
            Self::Moment(value) => value.hash(state),
            Self::Interval(months, days, micros) => interval_micros(*months, *days, *micros).hash(state),
            Self::Array(values) | Self::Record(values) => values.hash(state),
        }
    }
}

impl From<bool> for Datum {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Datum {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<i32> for Datum {
    fn from(value: i32) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<u32> for Datum {
    fn from(value: u32) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<usize> for Datum {
    fn from(value: usize) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<&str> for Datum {
    fn from(value: &str) -> Self {
        Self::text(value)
    }
}

impl From<String> for Datum {
    fn from(value: String) -> Self {
        Self::text(value)
    }
}

impl<T: Into<Datum>> From<Option<T>> for Datum {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
