//! How SQL is read: what a text means has changed with the releases, and a text of the log goes on to mean what it
//! meant when it was written. One number tells the readings apart; it stands beside every text that is kept.
//!
//! Readings are steps in the order in which they came, each with all that came before it. Whoever changes what a
//! definition means, in its types, its plan or what a function gives, adds the next step here, makes it [`Reading::NEWEST`], and
//! asks `settings.reading >= Reading::THE_STEP` in the place that changes; below it everything stays as it was, down to the
//! names of functions, which are part of the fingerprints that state is found by. Two changes that come in one
//! release can share a step. No session can choose its reading: it is the newest.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a text is read; a later reading is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16")]
pub struct Reading(u16);

impl Reading {
    /// As the first logs were written.
    pub const FIRST: Self = Self(0);

    /// The length of a `varchar(n)` says something. Before, it was text of any length.
    pub const TEXT_LENGTHS: Self = Self(1);

    /// Literals have Postgres' types everywhere: integers in VALUES are `integer` where they fit, whole numbers beyond
    /// `bigint`, or with an exponent, `numeric` without digits behind the point. What is kept of older rows has the
    /// types that their literals had.
    pub const TYPED_LITERALS: Self = Self(2);

    /// Rows are compared column by column, and a NULL leaves the answer open. Before, they were compared as structs,
    /// to which NULL is a value.
    pub const ROWS_BY_COLUMNS: Self = Self(3);

    /// `char(n)` and `bpchar` are a type of their own. Before, they were text of any length.
    pub const BLANK_PADDED: Self = Self(4);

    /// Clauses are held to what may stand in them (`crate::bind`, the module `mistakes`). Before, a mistake could be
    /// taken in silence, and what was defined so is planned as it was.
    pub const CHECKED_CLAUSES: Self = Self(5);

    /// Functions of arrays, texts, JSON, dates and times, places in arrays and the rounding of floats are Postgres'.
    /// Before, they were DataFusion's functions of the same names, and clocks were those of UTC but in casts.
    pub const POSTGRES_FUNCTIONS: Self = Self(6);

    /// A column that `USING` and `NATURAL` join by is that of the side that always has a row, and comes first. Before, it
    /// was that of the table whose name came first, NULL or not.
    pub const JOINED_COLUMNS: Self = Self(7);

    /// Numbers and moments have the digits of Postgres: quotients and means sixteen from the first one on, numerics the
    /// zeros of their scale where they become text or JSON, casts between floats and numerics those that count,
    /// `timestamp(3)` and its like as many of a second as are declared. Patterns of `SIMILAR TO` are SQL's. Before,
    /// quotients had four digits more than the dividend, texts no zeros at their end, moments all digits, and such
    /// patterns were regular expressions.
    pub const POSTGRES_DIGITS: Self = Self(8);

    /// As this build reads what it is told.
    pub const NEWEST: Self = Self::POSTGRES_DIGITS;

    /// Every reading, the first one first.
    pub fn all() -> impl Iterator<Item = Self> {
        (Self::FIRST.0..=Self::NEWEST.0).map(Self)
    }

    /// Its place among [`Self::all`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A text is read in a way that came after this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewerReading(u16);

impl fmt::Display for NewerReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SQL was read in way {} when it was written, and this build knows {}", self.0, Reading::NEWEST.0)
    }
}

impl TryFrom<u16> for Reading {
    type Error = NewerReading;

    fn try_from(number: u16) -> Result<Self, NewerReading> {
        if number > Self::NEWEST.0 { Err(NewerReading(number)) } else { Ok(Self(number)) }
    }
}
