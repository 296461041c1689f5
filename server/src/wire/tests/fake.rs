//! A session that knows a handful of statements, and a server that serves it on a free port.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use futures::StreamExt;
use millstream_planner::error::TextPosition;
use millstream_planner::statement::StatementText;
use millstream_planner::values::TextStyle;
use tokio_util::sync::CancellationToken;

use crate::engine::returning::RowsCheck;
use crate::session::{
    CommandTag, CopyShape, CursorCommand, CursorShape, IncomingRows, Notice, Outcome, RowStream, SqlError,
    TransactionStatus,
};
use crate::wire::{
    ClientCursors, ClientSession, ClientSettings, Described, Listener, Login, WireConfig, listen, serve,
};

/// What the tests look at from outside.
#[derive(Default)]
pub(super) struct Observed {
    /// Texts of the statements that were executed.
    pub(super) executed: Mutex<Vec<String>>,
    /// Batches that endless results have produced.
    pub(super) batches: AtomicUsize,
    /// Results that were dropped.
    pub(super) dropped_results: AtomicUsize,
    /// Signals that an endless result was dropped.
    pub(super) dropped: tokio::sync::Notify,
}

impl Observed {
    pub(super) fn executed(&self) -> Vec<String> {
        self.executed.lock().unwrap().clone()
    }
}

pub(super) struct FakeSession {
    observed: Arc<Observed>,
    status: TransactionStatus,
    login: Login,
    /// Within a transaction and without.
    idle_timeouts: [Option<Duration>; 2],
}

pub(super) struct FakePrepared {
    sql: String,
    parameters: Vec<DataType>,
    columns: Option<SchemaRef>,
}

impl Described for FakePrepared {
    fn parameters(&self) -> &[DataType] {
        &self.parameters
    }

    fn columns(&self) -> Option<&SchemaRef> {
        self.columns.as_ref()
    }

    fn copy(&self) -> Option<&CopyShape> {
        None
    }

    fn deallocates(&self) -> Option<&str> {
        self.sql.strip_prefix("deallocate ")
    }

    fn cursor_command(&self) -> Option<CursorCommand<'_>> {
        None
    }
}

fn error(sqlstate: &'static str, message: &str) -> SqlError {
    let (message, hint) = (message.into(), Some("a hint".into()));
    SqlError { sqlstate, message, detail: None, hint, position: Some(3), place: None, object: None }
}

fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
    let fields = fields.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(columns.first().map_or(1, |column| column.len())));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).unwrap()
}

struct DropSignal(Arc<Observed>);

impl Drop for DropSignal {
    fn drop(&mut self) {
        self.0.dropped_results.fetch_add(1, Ordering::SeqCst);
        self.0.dropped.notify_one();
    }
}

impl FakeSession {
    /// `numbers N`: N rows in batches of 10; `endless`: rows for ever; `stall`: one row, then nothing for ever.
    fn rows(&self, prepared: &FakePrepared, parameters: &[ScalarValue]) -> Option<RowStream> {
        let schema = prepared.columns.clone()?;
        let mut words = prepared.sql.split(' ');
        let signal = DropSignal(Arc::clone(&self.observed));
        let observed = Arc::clone(&self.observed);
        let numbers = move |from: i64, to: i64| {
            let _held = &signal;
            batch(&schema, vec![Arc::new(Int64Array::from_iter_values(from..to))])
        };
        Some(match words.next().unwrap() {
            "numbers" => {
                let count: i64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(0).clamp(0, 100_000);
                let starts = (0..count).step_by(10);
                futures::stream::iter(starts.map(move |from| Ok(numbers(from, (from + 10).min(count))))).boxed()
            }
            "endless" => futures::stream::iter(0..)
                .map(move |index: i64| {
                    observed.batches.fetch_add(1, Ordering::SeqCst);
                    Ok(numbers(index * 1000, index * 1000 + 1000))
                })
                .boxed(),
            "stall" => futures::stream::iter([Ok(numbers(0, 1))])
                .chain(futures::stream::once(async move {
                    let _held = numbers;
                    std::future::pending().await
                }))
                .boxed(),
            "half" => futures::stream::iter([Ok(numbers(0, 3)), Err(error("22012", "division by zero"))]).boxed(),
            "echo" => {
                let schema = prepared.columns.clone().unwrap();
                let columns = parameters.iter().map(|value| value.to_array().unwrap()).collect();
                futures::stream::iter([Ok(batch(&schema, columns))]).boxed()
            }
            _ => {
                let schema = prepared.columns.clone().unwrap();
                let shown = format!("{} {}", self.login.user, self.login.database);
                let columns: Vec<ArrayRef> = vec![
                    Arc::new(Int32Array::from(vec![Some(1), None])),
                    Arc::new(StringArray::from(vec!["x", &shown])),
                ];
                futures::stream::iter([Ok(batch(&schema, columns))]).boxed()
            }
        })
    }
}

impl ClientSession for FakeSession {
    type Prepared = FakePrepared;

    fn split(&self, sql: &str) -> Result<Vec<StatementText>, SqlError> {
        if sql.contains('\'') {
            return Err(error("42601", "unterminated quoted string"));
        }
        let texts = sql.split(';').map(str::trim).filter(|text| !text.is_empty());
        Ok(texts.map(|text| StatementText { sql: text.into(), start: TextPosition(1) }).collect())
    }

    async fn prepare(&mut self, text: &StatementText, types: &[Option<DataType>]) -> Result<FakePrepared, SqlError> {
        let sql = text.sql.clone();
        let word = sql.split(' ').next().unwrap();
        if self.status == TransactionStatus::Failed && word != "rollback" {
            return Err(error("25P02", "current transaction is aborted"));
        }
        let (parameters, columns) = match word {
            "numbers" | "endless" | "stall" | "half" => (vec![], Some(schema(&[("n", DataType::Int64)]))),
            "table" => (vec![], Some(schema(&[("a", DataType::Int32), ("b", DataType::Utf8)]))),
            "echo" => {
                let parameters: Vec<_> = types.iter().map(|named| named.clone().unwrap_or(DataType::Utf8)).collect();
                let names: Vec<_> = parameters.iter().map(|data_type| ("?column?", data_type.clone())).collect();
                let columns = schema(&names);
                (parameters, Some(columns))
            }
            "unknown" => return Err(error("42P01", "relation \"unknown\" does not exist")),
            _ => (vec![], None),
        };
        Ok(FakePrepared { sql, parameters, columns })
    }

    async fn execute(
        &mut self,
        prepared: &FakePrepared,
        parameters: Vec<ScalarValue>,
        _rows_check: Option<RowsCheck>,
        cancel: CancellationToken,
    ) -> Result<Outcome, SqlError> {
        self.observed.executed.lock().unwrap().push(prepared.sql.clone());
        let rows = self.rows(prepared, &parameters);
        let mut outcome = Outcome { rows, ..Outcome::tagged(CommandTag::Counted("SELECT ")) };
        let tag = |outcome: &mut Outcome, tag: &str| outcome.tag = CommandTag::Fixed(tag.into());
        match prepared.sql.as_str() {
            "begin" => {
                self.status = TransactionStatus::Active;
                tag(&mut outcome, "BEGIN");
            }
            "commit" | "rollback" => {
                self.status = TransactionStatus::Idle;
                tag(&mut outcome, &prepared.sql.to_ascii_uppercase());
            }
            name if name.starts_with("deallocate ") => return Err(error("26000", "no such statement")),
            "panic" => panic!("a test of what a panic does"),
            "fail" => return Err(error("XX001", "it failed")),
            "wait" => {
                cancel.cancelled().await;
                return Err(error("57014", "canceling statement due to user request"));
            }
            "set" => {
                outcome.changed_parameters.push(("timezone".into(), "Europe/Berlin".into()));
                outcome.notices.push(Notice {
                    severity: "NOTICE",
                    sqlstate: "00000",
                    message: "take note".into(),
                    hint: None,
                });
                tag(&mut outcome, "SET");
            }
            idle if idle.starts_with("idle ") => {
                let words: Vec<&str> = idle.split(' ').collect();
                self.idle_timeouts[usize::from(words[1] == "session")] =
                    words.get(2).and_then(|millis| millis.parse().ok()).map(Duration::from_millis);
            }
            "discard all" => tag(&mut outcome, "DISCARD ALL"),
            "insert" => tag(&mut outcome, "INSERT 0 3"),
            _ => {}
        }
        Ok(outcome)
    }

    async fn copy_in(
        &mut self,
        _prepared: &FakePrepared,
        _rows: &mut impl IncomingRows,
        _cancel: CancellationToken,
    ) -> Result<Outcome, SqlError> {
        Err(error("XX000", "no statement of these is a COPY"))
    }

    fn more_follows(&mut self, _more: bool) {}

    async fn sync(&mut self, _cancel: CancellationToken) -> Result<Vec<Notice>, SqlError> {
        let late = self.observed.executed.lock().unwrap().last().is_some_and(|sql| sql == "fail at end");
        if late {
            self.observed.executed.lock().unwrap().push("ended".into());
            return Err(error("40001", "the implicit transaction failed"));
        }
        Ok(Vec::new())
    }

    fn failed(&mut self) {
        if self.status == TransactionStatus::Active {
            self.status = TransactionStatus::Failed;
        }
    }
}

/// It has no cursors: `session` tests them with real sessions.
impl ClientCursors for FakeSession {
    fn cursor(&self, _name: &str) -> Option<CursorShape> {
        None
    }

    fn adopt_cursor(&mut self, name: &str, _sql: &str, _shape: CursorShape, _rows: RowStream, _given: u64) {
        panic!("no statement names a cursor, not even {name}");
    }

    async fn fetch_cursor(
        &mut self,
        _name: &str,
        _limit: Option<u64>,
        _cancel: CancellationToken,
    ) -> Result<Outcome, SqlError> {
        Err(error("34000", "there are no cursors"))
    }

    fn close_cursor(&mut self, _name: &str) {}
}

impl ClientSettings for FakeSession {
    fn transaction_status(&self) -> TransactionStatus {
        self.status
    }

    fn setting(&self, _name: &str) -> Option<String> {
        None
    }

    fn set_at_start(&mut self, name: &str, value: &str) -> Result<(), SqlError> {
        if name == "bad" { Err(error("22023", value)) } else { Ok(()) }
    }

    fn text_style(&self) -> TextStyle {
        TextStyle::default()
    }

    fn idle_timeout(&self, in_transaction: bool) -> Option<Duration> {
        self.idle_timeouts[usize::from(!in_transaction)]
    }
}

/// A served address; dropping it stops the server.
pub(super) struct TestServer {
    pub(super) address: SocketAddr,
    pub(super) observed: Arc<Observed>,
    pub(super) shutdown: CancellationToken,
    pub(super) ended: tokio::task::JoinHandle<usize>,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(super) async fn start(config: WireConfig) -> TestServer {
    let listener: Listener = listen("127.0.0.1:0".parse().unwrap(), config).await.unwrap();
    let address = listener.local_address().unwrap();
    let observed = Arc::new(Observed::default());
    let shutdown = CancellationToken::new();
    let sessions = {
        let observed = Arc::clone(&observed);
        move |login: &Login| {
            Ok(FakeSession {
                observed: Arc::clone(&observed),
                status: TransactionStatus::Idle,
                login: login.clone(),
                idle_timeouts: [None; 2],
            })
        }
    };
    let ended = tokio::spawn(serve(listener, sessions, shutdown.clone()));
    TestServer { address, observed, shutdown, ended }
}

/// A client of tokio-postgres that runs until it is dropped.
pub(super) async fn connect(
    server: &TestServer,
    password: Option<&str>,
) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(server.address.port()).user("u").dbname("d");
    if let Some(password) = password {
        config.password(password);
    }
    let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
