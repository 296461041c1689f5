//! What the wire asks of a session: the boundary at which it is tested with sessions made up for the purpose.

use std::future::Future;
use std::time::Duration;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use millstream_planner::statement::StatementText;
use millstream_planner::values::TextStyle;
use tokio_util::sync::CancellationToken;

use crate::engine::returning::RowsCheck;
use crate::session::registry::Place;
use crate::session::{
    CopyShape, CursorCommand, CursorShape, IncomingRows, Notice, Outcome, Prepared, RowStream, Session, SqlError,
    TransactionStatus,
};

/// Who connects, from the startup packet and after the password was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The database's name; the user's name when the client named none.
    pub database: String,
    /// Its seat among the server's sessions.
    pub place: Place,
}

/// A statement that was planned.
pub trait Described: Send + Sync + 'static {
    /// The types of its parameters, in order.
    fn parameters(&self) -> &[DataType];

    /// The OID of the type of a parameter, where several types share its Arrow type and it is not the first of them.
    fn parameter_oid(&self, _index: usize) -> Option<u32> {
        None
    }

    /// The columns of its rows; `None` when it gives none.
    fn columns(&self) -> Option<&SchemaRef>;

    /// How its rows travel if it is a COPY; then it has no columns.
    fn copy(&self) -> Option<&CopyShape>;

    /// The prepared statement that it forgets (`DEALLOCATE name`).
    fn deallocates(&self) -> Option<&str>;

    /// What it does with a cursor.
    fn cursor_command(&self) -> Option<CursorCommand<'_>>;
}

/// Runs the statements of one client. Used by one task at a time; see [`Session`] for what each call means.
pub trait ClientSession: ClientSettings + ClientCursors + Send + 'static {
    /// A statement that was planned.
    type Prepared: Described;

    /// Cuts what a client sent into statements.
    fn split(&self, sql: &str) -> Result<Vec<StatementText>, SqlError>;

    /// Plans a statement; dropping the future leaves the session as it was.
    fn prepare(
        &mut self,
        text: &StatementText,
        types: &[Option<DataType>],
    ) -> impl Future<Output = Result<Self::Prepared, SqlError>> + Send;

    /// Runs a statement. What one that changes rows returns passes `rows_check` before anything of it is durable. When
    /// `cancel` fires it ends with SQLSTATE 57014.
    fn execute(
        &mut self,
        prepared: &Self::Prepared,
        parameters: Vec<ScalarValue>,
        rows_check: Option<RowsCheck>,
        cancel: CancellationToken,
    ) -> impl Future<Output = Result<Outcome, SqlError>> + Send;

    /// Runs a COPY FROM: asks for rows until there are no more. When asking fails, nothing of it stays.
    fn copy_in(
        &mut self,
        prepared: &Self::Prepared,
        rows: &mut impl IncomingRows,
        cancel: CancellationToken,
    ) -> impl Future<Output = Result<Outcome, SqlError>> + Send;

    /// Says whether the statement that is executed next belongs to others behind it.
    fn more_follows(&mut self, more: bool);

    /// Ends the implicit transaction; when `cancel` fires the wait for that ends.
    fn sync(&mut self, cancel: CancellationToken) -> impl Future<Output = Result<Vec<Notice>, SqlError>> + Send;

    /// Tells the session that a statement failed on the wire.
    fn failed(&mut self);
}

/// What the wire does with the cursors of a session: messages name them as portals.
pub trait ClientCursors {
    /// What a client is told of a cursor; `None` when there is none of that name.
    fn cursor(&self, name: &str) -> Option<CursorShape>;

    /// Makes a cursor, which only goes forward, of a portal over `sql` that has given `given` rows.
    fn adopt_cursor(&mut self, name: &str, sql: &str, shape: CursorShape, rows: RowStream, given: u64);

    /// The next rows of a cursor, at most `limit`.
    fn fetch_cursor(
        &mut self,
        name: &str,
        limit: Option<u64>,
        cancel: CancellationToken,
    ) -> impl Future<Output = Result<Outcome, SqlError>> + Send;

    /// Closes a cursor, if there is one of that name.
    fn close_cursor(&mut self, name: &str);
}

/// What the wire reads and sets beside statements.
pub trait ClientSettings {
    /// What ReadyForQuery says.
    fn transaction_status(&self) -> TransactionStatus;

    /// A setting's value, by lower-case name.
    fn setting(&self, name: &str) -> Option<String>;

    /// A setting from the startup packet.
    fn set_at_start(&mut self, name: &str, value: &str) -> Result<(), SqlError>;

    /// In which forms values are shown.
    fn text_style(&self) -> TextStyle;

    /// The longest time that the session waits for its client, within a transaction and without.
    fn idle_timeout(&self, in_transaction: bool) -> Option<Duration>;
}

impl Described for Prepared {
    fn parameters(&self) -> &[DataType] {
        &self.parameters
    }

    fn parameter_oid(&self, index: usize) -> Option<u32> {
        Prepared::parameter_oid(self, index)
    }

    fn columns(&self) -> Option<&SchemaRef> {
        self.columns.as_ref()
    }

    fn copy(&self) -> Option<&CopyShape> {
        self.copy.as_ref()
    }

    fn deallocates(&self) -> Option<&str> {
        Prepared::deallocates(self)
    }

    fn cursor_command(&self) -> Option<CursorCommand<'_>> {
        Prepared::cursor_command(self)
    }
}

impl ClientSession for Session {
    type Prepared = Prepared;

    fn split(&self, sql: &str) -> Result<Vec<StatementText>, SqlError> {
        Session::split(self, sql)
    }

    async fn prepare(&mut self, text: &StatementText, types: &[Option<DataType>]) -> Result<Prepared, SqlError> {
        Session::prepare(self, text, types).await
    }

    async fn execute(
        &mut self,
        prepared: &Prepared,
        parameters: Vec<ScalarValue>,
        rows_check: Option<RowsCheck>,
        cancel: CancellationToken,
    ) -> Result<Outcome, SqlError> {
        Session::execute_for(self, prepared, parameters, rows_check, cancel).await
    }

    async fn copy_in(
        &mut self,
        prepared: &Prepared,
        rows: &mut impl IncomingRows,
        cancel: CancellationToken,
    ) -> Result<Outcome, SqlError> {
        Session::copy_in(self, prepared, rows, cancel).await
    }

    fn more_follows(&mut self, more: bool) {
        Session::more_follows(self, more);
    }

    async fn sync(&mut self, cancel: CancellationToken) -> Result<Vec<Notice>, SqlError> {
        Session::sync(self, cancel).await
    }

    fn failed(&mut self) {
        Session::failed(self);
    }
}

impl ClientCursors for Session {
    fn cursor(&self, name: &str) -> Option<CursorShape> {
        Session::cursor(self, name)
    }

    fn adopt_cursor(&mut self, name: &str, sql: &str, shape: CursorShape, rows: RowStream, given: u64) {
        Session::adopt_cursor(self, name, sql, shape, rows, given);
    }

    async fn fetch_cursor(
        &mut self,
        name: &str,
        limit: Option<u64>,
        cancel: CancellationToken,
    ) -> Result<Outcome, SqlError> {
        Session::fetch_cursor(self, name, limit, cancel).await
    }

    fn close_cursor(&mut self, name: &str) {
        Session::close_cursor(self, name);
    }
}

impl ClientSettings for Session {
    fn transaction_status(&self) -> TransactionStatus {
        Session::transaction_status(self)
    }

    fn setting(&self, name: &str) -> Option<String> {
        Session::setting(self, name)
    }

    fn set_at_start(&mut self, name: &str, value: &str) -> Result<(), SqlError> {
        Session::set_at_start(self, name, value)
    }

    fn text_style(&self) -> TextStyle {
        Session::text_style(self)
    }

    fn idle_timeout(&self, in_transaction: bool) -> Option<Duration> {
        Session::idle_timeout(self, in_transaction)
    }
}
