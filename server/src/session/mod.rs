//! One client's session: settings, prepared statements, its transaction, and the running of statements.
//!
//! This is the boundary between the wire and the engine. The wire knows messages and formats, the session
//! knows SQL; neither knows the other's inside. `millstream run` uses sessions without a wire.

pub mod settings;
pub mod sqlstate;

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use futures::Stream;
use millstream_planner::statement::StatementText;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;

/// What went wrong, in the terms of Postgres' ErrorResponse. Made in one place only: `sqlstate.rs`.
#[derive(Clone, Debug)]
pub struct SqlError {
    /// Five characters.
    pub sqlstate: &'static str,
    /// Lower case, without a full stop.
    pub message: String,
    /// More of what happened.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Characters into the text that the client sent, from 1.
    pub position: Option<usize>,
}

/// Something that a client is told beside the result.
#[derive(Clone, Debug)]
pub struct Notice {
    /// `NOTICE` or `WARNING`.
    pub severity: &'static str,
    /// Five characters, `00000` for a plain notice.
    pub sqlstate: &'static str,
    /// The text.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// What ReadyForQuery says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// No transaction.
    Idle,
    /// In a transaction.
    Active,
    /// In a transaction that refuses everything but its end.
    Failed,
}

/// A statement that was planned once and can be run with parameters.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The types of its parameters, in order.
    pub parameters: Vec<DataType>,
    /// The columns of its rows; `None` when it gives none. Names may repeat.
    pub columns: Option<SchemaRef>,
    /// The rest is the session's own.
    pub(crate) inner: Arc<PreparedInner>,
}

/// What a session keeps of a prepared statement.
#[derive(Debug)]
pub(crate) struct PreparedInner {
    /// Its text, planned again when the catalog has changed.
    pub(crate) text: StatementText,
}

/// A stream of result rows; dropping it stops the query.
pub type RowStream = Pin<Box<dyn Stream<Item = Result<RecordBatch, SqlError>> + Send>>;

/// What running a statement gives.
pub struct Outcome {
    /// Rows, streamed, for statements that give rows; their columns are those that `Prepared` named.
    pub rows: Option<RowStream>,
    /// The command tag. For statements with rows whose tag counts them (`SELECT n`, `INSERT 0 n`), the wire
    /// puts the number of rows sent in.
    pub tag: CommandTag,
    /// Told before the tag.
    pub notices: Vec<Notice>,
    /// Settings that changed and that clients are told of (ParameterStatus).
    pub changed_parameters: Vec<(String, String)>,
}

/// A command tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandTag {
    /// As it is: `CREATE TABLE`, `INSERT 0 3`.
    Fixed(String),
    /// The prefix and the number of rows sent: `SELECT `, `INSERT 0 `.
    Counted(&'static str),
    /// The statement was empty: EmptyQueryResponse.
    Empty,
}

/// A session. One per connection, used by one task at a time.
pub struct Session {
    #[expect(dead_code, reason = "being written")]
    engine: Arc<Engine>,
}

impl Session {
    /// Cuts what a client sent into statements. A syntax error that makes cutting impossible is returned for
    /// the whole text.
    pub fn split(&self, _sql: &str) -> Result<Vec<StatementText>, SqlError> {
        todo!("written by the engine's part")
    }

    /// Plans a statement. `types` are the parameter types that the client named (`None`: infer it).
    pub async fn prepare(&mut self, _text: &StatementText, _types: &[Option<DataType>]) -> Result<Prepared, SqlError> {
        todo!("written by the engine's part")
    }

    /// Runs a statement. `parameters` have the types that `prepared` named. When `cancel` fires, the
    /// statement (or its row stream) ends with SQLSTATE 57014.
    pub async fn execute(
        &mut self,
        _prepared: &Prepared,
        _parameters: Vec<ScalarValue>,
        _cancel: CancellationToken,
    ) -> Result<Outcome, SqlError> {
        todo!("written by the engine's part")
    }

    /// Ends the implicit transaction: called at Sync, and at the end of a simple query.
    pub async fn sync(&mut self) -> Result<(), SqlError> {
        todo!("written by the engine's part")
    }

    /// Tells the session that a statement failed on the wire (a bad parameter, a failing row stream).
    pub fn failed(&mut self) {
        todo!("written by the engine's part")
    }

    /// What ReadyForQuery says.
    pub fn transaction_status(&self) -> TransactionStatus {
        todo!("written by the engine's part")
    }

    /// A setting's value, by lower-case name (`client_encoding`, `datestyle`, `timezone`, ...).
    pub fn setting(&self, _name: &str) -> Option<String> {
        todo!("written by the engine's part")
    }

    /// A setting from the startup packet.
    pub fn set_at_start(&mut self, _name: &str, _value: &str) -> Result<(), SqlError> {
        todo!("written by the engine's part")
    }
}
