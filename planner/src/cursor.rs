//! Cursors as statements name them: what is declared, and how far a FETCH or MOVE goes.
//!
//! Nothing here knows rows. The query of a DECLARE is kept as text with its place, and planned beside it.

use crate::statement::StatementText;

/// `DECLARE name CURSOR FOR query`.
#[derive(Clone, Debug)]
pub struct Declare {
    /// Its name.
    pub name: String,
    /// Its rows are sent in binary formats where the protocol does not say which.
    pub binary: bool,
    /// `SCROLL` or `NO SCROLL`; `None` when neither was said.
    pub scroll: Option<bool>,
    /// `WITH HOLD`: it outlives its transaction.
    pub hold: bool,
    /// What stands behind FOR.
    pub query: StatementText,
}

/// `FETCH` and `MOVE`.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// The cursor.
    pub name: String,
    /// How far.
    pub motion: Motion,
    /// `MOVE`: no rows are given, only counted.
    pub is_move: bool,
    /// `WITH (timeout = '1s')`: how long rows that are still to come are waited for, in microseconds.
    pub timeout_micros: Option<i64>,
}

/// How a cursor moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    /// Over so many rows towards the end, giving each; `None`: all. None at all gives the row it is on once more.
    Forward(Option<u64>),
    /// The same towards the start.
    Backward(Option<u64>),
    /// To the row with this number, from 1; negative numbers count from the end, 0 is before the first row.
    Absolute(i64),
    /// To the row so many rows on, or back; 0 gives the row it is on once more.
    Relative(i64),
}

impl Motion {
    /// So many rows towards the end; a negative number goes towards the start.
    pub fn forward(rows: i64) -> Self {
        match u64::try_from(rows) {
            Ok(rows) => Self::Forward(Some(rows)),
            Err(_) => Self::Backward(Some(rows.unsigned_abs())),
        }
    }

    /// So many rows towards the start; a negative number goes towards the end.
    pub fn backward(rows: i64) -> Self {
        match u64::try_from(rows) {
            Ok(rows) => Self::Backward(Some(rows)),
            Err(_) => Self::Forward(Some(rows.unsigned_abs())),
        }
    }
}
