//! Where the rows of a cursor come from. A closed list: what a cursor can stand on is ours to say.
//!
//! Invariant: a wait for rows can be given up at any moment (a cancel, the statement's timeout) and loses none: the
//! next one goes on where it was.

use arrow::array::RecordBatch;
use futures::StreamExt;

use super::super::{RowStream, SqlError};

/// The rows that are still to come.
pub(in crate::session) enum Source {
    /// A query's: they come one batch after the other, over what DECLARE pinned, and end.
    Query(RowStream),
    /// None: it has ended, and holds nothing any more.
    Ended,
}

impl Source {
    /// The next rows, in the cursor's columns; `None` at the end. After an error there are no more.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        let next = match self {
            Self::Query(rows) => rows.next().await,
            Self::Ended => None,
        };
        if !matches!(next, Some(Ok(_))) {
            *self = Self::Ended;
        }
        next.transpose()
    }
}
