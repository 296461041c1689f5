//! Cursors: `DECLARE`, `FETCH`, `MOVE`, `CLOSE`, and what the end of a transaction makes of them.
//!
//! A cursor sees what its DECLARE saw: the versions of all that it reads are in its plan. It streams: what has not
//! been asked for is not computed, beyond what DataFusion reads ahead.
//!
//! **WITH HOLD is read to its end before COMMIT**, and kept within [`CURSOR_BYTES`]. Going on with the query after
//! COMMIT would need no bound on rows, but would hold old versions of whole tables for as long as a session likes,
//! where no timeout of a transaction ends it; and a query that fails would fail after what was before it is durable.
//!
//! [`CURSOR_BYTES`]: crate::engine::limits::CURSOR_BYTES

mod rows;
mod source;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use millstream_planner::cursor::{Declare, Fetch, Motion};
use millstream_planner::statement::{Statement, StatementText};
use millstream_runtime::graph::Clock;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use self::rows::CursorRows;
use self::source::Source;
use super::prepare::{Work, types_of};
use super::sqlstate::Condition;
use super::{CommandTag, Outcome, Prepared, RowStream, Session, SqlError};
use crate::engine::limits::CURSORS;
use crate::engine::stop::Stop;
use crate::pg_catalog::CursorRow;

/// The cursors of a session, by name.
#[derive(Default)]
pub(super) struct Cursors {
    open: BTreeMap<String, Cursor>,
    /// How many there ever were.
    declared: u64,
}

/// An open cursor.
struct Cursor {
    /// Which of the session's cursors it is, counted from 1.
    number: u64,
    /// The text of its DECLARE.
    statement: String,
    shape: CursorShape,
    /// `WITH HOLD` was said.
    hold: bool,
    /// Its transaction is over: it needs nothing but its rows, and no transaction ends it.
    is_held: bool,
    created_micros: i64,
    /// Shared with the results of FETCHes; never waited for, because a session does one thing at a time.
    rows: Arc<Mutex<CursorRows>>,
    /// Its rows are those of a SUBSCRIBE: they never end, and nothing has to be kept for them.
    subscription: bool,
}

/// What a client is told of a cursor before it fetches.
#[derive(Clone, Debug)]
pub struct CursorShape {
    /// Its columns.
    pub columns: SchemaRef,
    /// The formats in which its rows are sent where FETCH does not say: one code per column.
    pub formats: Vec<i16>,
}

/// A statement about the cursor of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CursorCommand<'a> {
    /// `DECLARE`
    Declare(&'a str),
    /// `FETCH`
    Fetch(&'a str),
    /// `MOVE`
    Move(&'a str),
    /// `CLOSE`
    Close(&'a str),
}

impl CursorCommand<'_> {
    /// The cursor's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Declare(name) | Self::Fetch(name) | Self::Move(name) | Self::Close(name) => name,
        }
    }
}

impl Cursors {
    fn get(&self, name: &str) -> Result<&Cursor, SqlError> {
        self.open
            .get(name)
            .ok_or_else(|| SqlError::new(Condition::InvalidCursorName, format!("cursor \"{name}\" does not exist")))
    }

    fn add(&mut self, name: &str, cursor: Cursor) {
        self.declared += 1;
        self.open.insert(name.to_string(), Cursor { number: self.declared, ..cursor });
    }

    /// A mark for [`Self::back_to`].
    pub(super) fn mark(&self) -> u64 {
        self.declared
    }

    /// Closes those that were declared since a mark.
    pub(super) fn back_to(&mut self, mark: u64) {
        self.open.retain(|_, cursor| cursor.is_held || cursor.number <= mark);
    }

    /// Closes those of a transaction that is over; those to be held stay where it was committed.
    pub(super) fn end_transaction(&mut self, committed: bool) {
        self.open.values_mut().for_each(|cursor| cursor.is_held |= committed && cursor.hold);
        self.open.retain(|_, cursor| cursor.is_held);
    }

    /// Closes all.
    pub(super) fn close_all(&mut self) {
        self.open.clear();
    }
}

impl Session {
    /// Plans the query of a DECLARE.
    pub(super) fn plan_declare(
        &self,
        declare: &Declare,
        types: &[Option<arrow::datatypes::DataType>],
    ) -> Result<Prepared, SqlError> {
        let inside = self.plan_now(&declare.query, types)?;
        inside.inner.work.check_cursor(&declare.query)?;
        Ok(inside)
    }

    /// `DECLARE`.
    pub(super) async fn declare(
        &mut self,
        declare: &Declare,
        inside: &Prepared,
        parameters: Vec<ScalarValue>,
        text: &StatementText,
        stop: Stop,
    ) -> Result<Outcome, SqlError> {
        let is_alone = !self.transaction.is_open();
        if is_alone && !declare.hold {
            let message = "DECLARE CURSOR can only be used in transaction blocks";
            return Err(SqlError::new(Condition::NoActiveSqlTransaction, message)
                .with_hint("BEGIN first, or declare it WITH HOLD."));
        }
        if self.cursors.open.contains_key(&declare.name) {
            let message = format!("cursor \"{}\" already exists", declare.name);
            return Err(SqlError::new(Condition::DuplicateCursor, message));
        }
        if self.cursors.open.len() >= CURSORS {
            let message = format!("a session can have at most {CURSORS} cursors");
            return Err(SqlError::new(Condition::ProgramLimitExceeded, message)
                .with_hint("CLOSE those that are not needed any more."));
        }
        let subscription = inside.inner.work.is_subscription();
        if subscription {
            subscription::check_declared(declare)?;
        }
        // The rows outlive this statement: each FETCH brings what stops it.
        let endless = Stop::new(CancellationToken::new(), None);
        let started = stop.race(Box::pin(self.dispatch(inside, parameters, endless))).await?;
        let missing = || SqlError::new(Condition::InternalError, "a query gave no rows");
        let source = Source::Query(started.rows.ok_or_else(missing)?);
        let memory = self.engine.query_memory("cursor");
        let scroll = if subscription { Some(false) } else { declare.scroll };
        let mut rows = CursorRows::new(&declare.name, source, scroll, memory);
        if is_alone && !subscription {
            stop.race(rows.hold()).await?;
        }
        let columns = inside.columns.clone().ok_or_else(missing)?;
        let formats = vec![i16::from(declare.binary); columns.fields().len()];
        let cursor = Cursor {
            number: 0,
            statement: text.sql.clone(),
            shape: CursorShape { columns, formats },
            hold: declare.hold,
            is_held: is_alone,
            created_micros: self.engine.clock().now().0,
            rows: Arc::new(Mutex::new(rows)),
            subscription,
        };
        self.cursors.add(&declare.name, cursor);
        let (notices, changed_parameters) = (started.notices, started.changed_parameters);
        Ok(Outcome { notices, changed_parameters, ..Outcome::fixed("DECLARE CURSOR") })
    }

    /// `FETCH` and `MOVE`. `columns` are those that the client was told.
    pub(super) async fn fetch(
        &mut self,
        fetch: &Fetch,
        columns: Option<&SchemaRef>,
        stop: Stop,
    ) -> Result<Outcome, SqlError> {
        let cursor = self.cursors.get(&fetch.name)?;
        let subscription = cursor.subscription;
        if subscription {
            subscription::check_fetched(fetch)?;
        } else if fetch.timeout_micros.is_some() {
            let message = format!("cursor \"{}\" takes no timeout", fetch.name);
            return Err(SqlError::new(Condition::FeatureNotSupported, message)
                .with_hint("The rows of a query are there, or are computed: SET statement_timeout bounds that."));
        }
        let rows = Arc::clone(&cursor.rows);
        rows.lock().await.check()?;
        if fetch.is_move {
            let passed = drawn(&rows, &stop, async |rows| rows.pass(fetch.motion).await).await?;
            return Ok(Outcome::fixed(&format!("MOVE {passed}")));
        }
        if columns.map(types_of) != Some(types_of(&cursor.shape.columns)) {
            let error = SqlError::new(Condition::FeatureNotSupported, "cached plan must not change result type");
            return Err(error.with_hint("Prepare the FETCH again: the cursor is another one now."));
        }
        let run = drawn(&rows, &stop, async |rows| rows.begin(fetch.motion).await).await?;
        if subscription {
            let given = subscription::ready_rows(rows, run, stop, fetch.timeout_micros);
            return Ok(Outcome { rows: Some(given), ..Outcome::tagged(CommandTag::Counted("FETCH ")) });
        }
        let given = futures::stream::unfold(Some((rows, run, stop)), |fetching| async move {
            let (rows, mut run, stop) = fetching?;
            let next = drawn(&rows, &stop, async |rows| rows.next(&mut run).await).await;
            match next.transpose()? {
                Ok(batch) => Some((Ok(batch), Some((rows, run, stop)))),
                Err(error) => Some((Err(error), None)),
            }
        });
        let given: RowStream = Box::pin(given);
        Ok(Outcome { rows: Some(given), ..Outcome::tagged(CommandTag::Counted("FETCH ")) })
    }

    /// `CLOSE`.
    pub(super) fn close(&mut self, name: Option<&str>) -> Result<Outcome, SqlError> {
        let Some(name) = name else {
            self.cursors.close_all();
            return Ok(Outcome::fixed("CLOSE CURSOR ALL"));
        };
        self.cursors.get(name)?;
        self.cursors.open.remove(name);
        Ok(Outcome::fixed("CLOSE CURSOR"))
    }

    /// Reads the cursors that are to outlive the transaction to their end; an error ends the transaction instead.
    pub(super) async fn hold_cursors(&mut self, stop: &Stop) -> Result<(), SqlError> {
        for cursor in self.cursors.open.values().filter(|cursor| cursor.hold && !cursor.is_held && !cursor.subscription)
        {
            drawn(&cursor.rows, stop, async |rows| rows.hold().await).await?;
        }
        Ok(())
    }

    /// The shape of a cursor, if there is one of that name.
    pub fn cursor(&self, name: &str) -> Option<CursorShape> {
        self.cursors.open.get(name).map(|cursor| cursor.shape.clone())
    }

    /// Makes a cursor, which only goes forward, of a portal over `sql` that has given `given` rows.
    pub fn adopt_cursor(&mut self, name: &str, sql: &str, shape: CursorShape, rows: RowStream, given: u64) {
        let memory = self.engine.query_memory("cursor");
        let rows = CursorRows::new(name, Source::Query(rows), Some(false), memory).behind(given);
        let cursor = Cursor {
            number: 0,
            statement: sql.to_string(),
            shape,
            hold: false,
            is_held: false,
            created_micros: self.engine.clock().now().0,
            rows: Arc::new(Mutex::new(rows)),
            subscription: false,
        };
        self.cursors.add(name, cursor);
    }

    /// The next rows of a cursor, at most `limit`: the protocol's Execute.
    pub async fn fetch_cursor(
        &mut self,
        name: &str,
        limit: Option<u64>,
        cancel: CancellationToken,
    ) -> Result<Outcome, SqlError> {
        let stop = Stop::new(cancel, self.settings.statement_timeout());
        let motion = Motion::Forward(limit);
        let fetch = Fetch { name: name.to_string(), motion, is_move: false, timeout_micros: None };
        let columns = self.cursor(name).map(|shape| shape.columns);
        let fetched = match self.transaction.check() {
            Ok(()) => self.fetch(&fetch, columns.as_ref(), stop).await,
            Err(error) => Err(error),
        };
        fetched.inspect_err(|_| self.transaction.fail())
    }

    /// The cursors as `pg_cursors` shows them.
    pub(super) fn cursor_rows(&self) -> Vec<CursorRow> {
        let row = |(name, cursor): (&String, &Cursor)| CursorRow {
            name: name.clone(),
            statement: cursor.statement.clone(),
            is_holdable: cursor.hold,
            is_binary: cursor.shape.formats.contains(&1),
            // Only a result that is being sent has it locked.
            is_scrollable: cursor.rows.try_lock().is_ok_and(|rows| rows.is_scrollable()),
            created_micros: cursor.created_micros,
        };
        self.cursors.open.iter().map(row).collect()
    }

    /// Closes a cursor, if there is one of that name: the protocol's Close.
    pub fn close_cursor(&mut self, name: &str) {
        self.cursors.open.remove(name);
    }
}

/// Draws from a cursor's rows until it is done or has to stop; whatever goes wrong, the cursor can't be used again.
async fn drawn<T>(
    rows: &Mutex<CursorRows>,
    stop: &Stop,
    draw: impl AsyncFnOnce(&mut CursorRows) -> Result<T, SqlError>,
) -> Result<T, SqlError> {
    let mut rows = rows.lock().await;
    let done = stop.race(draw(&mut rows)).await;
    done.inspect_err(|_| rows.fail())
}

impl Work {
    fn is_subscription(&self) -> bool {
        matches!(self, Work::Statement(Statement::Subscribe(_)))
    }

    /// Refuses what no cursor reads.
    fn check_cursor(&self, text: &StatementText) -> Result<(), SqlError> {
        match self {
            Work::Catalog(_) | Work::Statement(Statement::Query(_) | Statement::Subscribe(_)) => Ok(()),
            Work::Statement(_) | Work::CopyOut(_) | Work::Declare(..) => {
                let error = SqlError::new(
                    Condition::FeatureNotSupported,
                    "DECLARE CURSOR must not contain data-modifying statements in WITH",
                );
                Err(SqlError { position: Some(text.start.0), ..error })
            }
        }
    }
}
