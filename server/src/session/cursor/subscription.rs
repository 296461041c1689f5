//! Cursors over SUBSCRIBE: a FETCH gives the changes that there are, and waits for the first where there are none.
//!
//! Without a timeout it waits for as long as it takes, with one of 0 not at all. Nothing that is not fetched is kept:
//! the subscription holds a place in a history. So WITH HOLD needs nothing either, and lives as long as the session.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use millstream_planner::cursor::{Declare, Fetch, Motion};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::rows::{CursorRows, Run};
use super::{RowStream, SqlError, drawn};
use crate::engine::stop::Stop;
use crate::session::sqlstate::Condition;

/// Refuses what no subscription can do.
pub(super) fn check_declared(declare: &Declare) -> Result<(), SqlError> {
    if declare.scroll != Some(true) {
        return Ok(());
    }
    let message = "a cursor over SUBSCRIBE can't scroll";
    Err(SqlError::new(Condition::FeatureNotSupported, message).with_hint("Leave SCROLL out: changes only go forward."))
}

/// Refuses motions other than forward.
pub(super) fn check_fetched(fetch: &Fetch) -> Result<(), SqlError> {
    match fetch.motion {
        Motion::Forward(_) if !fetch.is_move => Ok(()),
        Motion::Forward(_) | Motion::Backward(_) | Motion::Absolute(_) | Motion::Relative(_) => {
            let message = format!("cursor \"{}\" over SUBSCRIBE only goes forward", fetch.name);
            Err(SqlError::new(Condition::FeatureNotSupported, message)
                .with_hint("FETCH a number of rows from it, or ALL that there are now."))
        }
    }
}

/// The rows of a FETCH: waits for the first until the timeout, for the others not at all.
pub(super) fn ready_rows(rows: Arc<Mutex<CursorRows>>, run: Run, stop: Stop, timeout_micros: Option<i64>) -> RowStream {
    let timeout = timeout_micros.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0)));
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let given = futures::stream::unfold(Some((rows, run, stop, true)), move |fetching| async move {
        let (rows, mut run, stop, first) = fetching?;
        let next = {
            let draw = drawn(&rows, &stop, async |rows| rows.next(&mut run).await);
            let mut draw = std::pin::pin!(draw);
            match (draw.as_mut().now_or_never(), first, deadline) {
                (Some(next), ..) => next,
                (None, false, _) => return None,
                (None, true, None) => draw.await,
                (None, true, Some(deadline)) => tokio::time::timeout_at(deadline, draw).await.ok()?,
            }
        };
        match next.transpose()? {
            Ok(batch) => Some((Ok(batch), Some((rows, run, stop, false)))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Box::pin(given)
}
