//! One client's session: settings, prepared statements, its transaction, and the running of statements.
//!
//! This is the boundary between the wire and the engine. The wire knows messages and formats, the session
//! knows SQL; neither knows the other's inside. `millstream run` uses sessions without a wire.
//!
//! The life of a statement here: [`Session::prepare`] plans it (`prepare.rs`), [`Session::execute`] dispatches it
//! (`execute.rs`) to one function each: queries (`query.rs`), rows that change (`change.rs`), cursors (`cursor`), transactions (`commit.rs`), DDL
//! (`define.rs`), what is shown (`show.rs`, `explain.rs`). Errors get their SQLSTATEs in `sqlstate.rs`.

mod calls;
mod catalog;
mod change;
mod commit;
mod copy;
mod cursor;
mod define;
pub mod door;
mod execute;
mod explain;
mod identity;
mod look_up;
mod maintain;
mod prepare;
mod query;
pub mod registry;
pub mod settings;
mod show;
pub mod sqlstate;
mod subscribe;
#[cfg(test)]
mod tests;
mod texts;
mod transaction;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use futures::Stream;
use millstream_planner::functions::SessionFacts;
use millstream_planner::settings::PlanSettings;
use millstream_planner::statement::StatementText;
use millstream_planner::values::TextStyle;
use millstream_runtime::graph::Clock;
use millstream_runtime::time::LogPosition;
use tokio_util::sync::CancellationToken;

use self::calls::SessionCalls;
pub use self::copy::{CopyOut, CopyShape, IncomingRows};
use self::cursor::Cursors;
pub use self::cursor::{CursorCommand, CursorShape};
use self::identity::Identity;
use self::registry::{Place, PreparedRow};
use self::settings::{SERVER_VERSION, Settings, SettingsCopy};
pub(crate) use self::texts::KnownTexts;
use self::transaction::Transaction;
use crate::engine::Engine;
use crate::engine::access::connections::Counted;
use crate::engine::advisory::SessionLocks;
use crate::engine::returning::RowsCheck;
use crate::engine::state::State;
use crate::engine::stop::Stop;
use crate::engine::temporary::SessionViews;

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
    /// Where in the client's data it arose; apart, because few errors have it and all are passed by value.
    pub place: Option<Box<DataPlace>>,
    /// What it is about, in fields of their own: programs look there instead of into the message.
    pub object: Option<Box<ErrorObject>>,
}

/// What an error is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorObject {
    /// The table's schema.
    pub schema: String,
    /// The table.
    pub table: String,
    /// A column of it.
    pub column: Option<String>,
    /// A constraint of it.
    pub constraint: Option<String>,
}

/// Where in the data that a client sent an error arose.
#[derive(Clone, Debug, Default)]
pub struct DataPlace {
    /// In words: `COPY t, line 3, column b: "x"`.
    pub context: Option<String>,
    /// Which of the rows that the statement was given, from 0; no client is told.
    pub row: Option<usize>,
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
    /// Set for a COPY, whose rows travel in another way.
    pub copy: Option<CopyShape>,
    /// The rest is the session's own.
    inner: Arc<prepare::Planned>,
    /// Set where the plan is shared with texts of other values.
    own: Option<Arc<texts::OwnText>>,
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
    /// What it did is durable: a cancel comes too late for its rows, and an error would deny what stays.
    pub durable: bool,
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
    engine: Arc<Engine>,
    identity: Identity,
    database: String,
    /// The seat of its connection among the server's; none without one.
    place: Option<Place>,
    settings: Settings,
    transaction: Transaction,
    /// The statement that is run next belongs to others behind it.
    more_follows: bool,
    /// Whether the rows of the statement that runs can be told to its client.
    rows_check: Option<RowsCheck>,
    /// Statements that SQL's PREPARE has named.
    named: BTreeMap<String, Prepared>,
    /// The same, as others list them.
    listed: BTreeMap<String, PreparedRow>,
    cursors: Cursors,
    /// The newest commit that the session has seen: it never sees less.
    seen: LogPosition,
    /// Counts against the role's CONNECTION LIMIT.
    counted: Option<Counted>,
    locks: Arc<SessionLocks>,
    /// The queries that it subscribes to.
    views: SessionViews,
}

impl Session {
    /// A session of the server's own, for its command line and for tests: it is the first superuser.
    pub fn new(engine: Arc<Engine>, database: impl Into<String>) -> Self {
        let identity = Identity::server(engine.state().catalog.view.roles());
        Self::of(engine, identity, true, database.into())
    }

    fn of(engine: Arc<Engine>, identity: Identity, superuser: bool, database: String) -> Self {
        let seen = engine.opened_at();
        let mut settings = Settings::default();
        settings.set_user(identity.name(), superuser);
        let locks = Arc::new(engine.advisory_locks());
        Self {
            engine,
            identity,
            database,
            place: None,
            settings,
            transaction: Transaction::default(),
            more_follows: false,
            rows_check: None,
            named: BTreeMap::new(),
            listed: BTreeMap::new(),
            cursors: Cursors::default(),
            seen,
            counted: None,
            locks,
            views: SessionViews::default(),
        }
    }

    /// Cuts what a client sent into statements. A syntax error that makes cutting impossible is returned for
    /// the whole text.
    pub fn split(&self, sql: &str) -> Result<Vec<StatementText>, SqlError> {
        Ok(millstream_planner::parse::split(sql)?)
    }

    /// Says whether the statement that is run next belongs to others behind it: they are one transaction then,
    /// which [`Self::sync`] ends. A lone statement commits by itself.
    pub fn more_follows(&mut self, more: bool) {
        self.more_follows = more;
    }

    /// Ends the implicit transaction: called at Sync, and at the end of a simple query. What its statements have
    /// written is durable afterwards; an error means that none of it is there. `cancel` ends the wait.
    pub async fn sync(&mut self, cancel: CancellationToken) -> Result<Vec<Notice>, SqlError> {
        let stop = Stop::new(cancel, self.settings.statement_timeout());
        let ended = self.end_implicit(&stop).await;
        if self.transaction.status() == TransactionStatus::Idle {
            // One that a portal became, without a transaction of its own.
            self.cursors.end_transaction(false);
            self.locks.end_transaction();
        }
        ended
    }

    /// Tells the session that a statement failed on the wire (a bad parameter, a failing row stream).
    pub fn failed(&mut self) {
        self.transaction.fail();
    }

    /// What ReadyForQuery says.
    pub fn transaction_status(&self) -> TransactionStatus {
        self.transaction.status()
    }

    /// A setting's value, by lower-case name (`client_encoding`, `datestyle`, `timezone`, ...).
    pub fn setting(&self, name: &str) -> Option<String> {
        if name == "millstream.clock" {
            let manual = self.engine.clock().is_manual();
            return Some(if manual { "manual" } else { "system" }.to_string());
        }
        if name == "transaction_isolation" && self.transaction.status() == TransactionStatus::Idle {
            // Every statement begins a transaction of the default level.
            return self.settings.get("default_transaction_isolation");
        }
        self.settings.get(name)
    }

    /// A setting from the startup packet.
    pub fn set_at_start(&mut self, name: &str, value: &str) -> Result<(), SqlError> {
        self.settings.set_at_start(name, value)
    }

    /// In which forms values are shown.
    pub fn text_style(&self) -> TextStyle {
        self.settings.text_style()
    }

    /// The longest time that the session waits for its client, within a transaction and without.
    pub fn idle_timeout(&self, in_transaction: bool) -> Option<Duration> {
        self.settings.idle_timeout(in_transaction)
    }

    /// The settings that clients are told of when they connect, as they spell them.
    pub fn reported_settings(&self) -> Vec<(String, String)> {
        self.settings.reported()
    }

    /// The settings that bear on planning.
    fn plan_settings(&self) -> PlanSettings {
        let mut settings = self.settings.plan();
        settings.search_path = self.usable_schemas(&self.state().catalog.view, settings.search_path);
        settings
    }

    /// The catalog that statements are planned over: the newest one, or the transaction's own.
    fn state(&self) -> Arc<State> {
        self.transaction.state().cloned().unwrap_or_else(|| self.engine.state())
    }

    /// What a statement's functions may ask about its surroundings.
    fn facts(&self) -> SessionFacts {
        let path = self.plan_settings().search_path;
        let (user, session_user) = self.user_names();
        SessionFacts {
            now_micros: self.transaction.now_micros().unwrap_or_else(|| self.engine.clock().now().0),
            user,
            session_user,
            database: self.database.clone(),
            schema: path.into_iter().next().unwrap_or_else(|| "public".to_string()),
            version: format!("PostgreSQL {SERVER_VERSION} (Millstream {})", env!("CARGO_PKG_VERSION")),
            settings: Arc::new(SettingsCopy::of(&self.settings)),
            server: Arc::new(SessionCalls {
                locks: Arc::clone(&self.locks),
                lock_timeout: self.settings.lock_timeout(),
            }),
        }
    }
}
