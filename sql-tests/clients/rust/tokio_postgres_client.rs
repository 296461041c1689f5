//! tokio-postgres as a program of its own beside the other clients: every type of ours in binary, COPY both ways,
//! pipelining, transactions, cancel, and what a client is told when the server shuts down.
//!
//! Prints what `sql-tests/clients/run` reads: a line per feature and `1..N` at the end.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod matrix;

use std::env::var;
use std::error::Error;
use std::fmt::Debug;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use futures::{SinkExt, StreamExt, TryStreamExt};
use tokio::task::JoinHandle;
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};

type Checked = Result<(), Box<dyn Error + Send + Sync>>;

/// The longest that one feature may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn config(port: &str) -> Config {
    let mut config = Config::new();
    config.host(var("PGHOST").unwrap()).port(port.parse().unwrap());
    config.user(var("PGUSER").unwrap()).dbname(var("PGDATABASE").unwrap()).password(var("PGPASSWORD").unwrap());
    config
}

/// A connection to the server that the environment names, and the task that drives it.
async fn connect_to(
    port: &str,
) -> Result<(Client, JoinHandle<Result<(), tokio_postgres::Error>>), tokio_postgres::Error> {
    let (client, connection) = config(port).connect(NoTls).await?;
    Ok((client, tokio::spawn(connection)))
}

async fn connect() -> Result<Client, tokio_postgres::Error> {
    Ok(connect_to(&var("PGPORT").unwrap()).await?.0)
}

fn equal<T: PartialEq + Debug>(got: T, wanted: T) -> Checked {
    if got == wanted { Ok(()) } else { Err(format!("{wanted:?} was expected, not {got:?}").into()) }
}

fn code<T>(result: Result<T, tokio_postgres::Error>, wanted: &SqlState) -> Checked {
    match result {
        Err(error) if error.code() == Some(wanted) => Ok(()),
        Err(error) => Err(format!("{} was expected, not {error}", wanted.code()).into()),
        Ok(_) => Err(format!("{} was expected, and nothing failed", wanted.code()).into()),
    }
}

/// Sends a value as a parameter of a type and reads it back, in binary both ways; NULL, too.
async fn there_and_back<T>(client: &Client, name: &str, value: T) -> Checked
where
    T: ToSql + Sync + PartialEq + Debug + for<'a> FromSql<'a>,
{
    let statement = client.prepare(&format!("SELECT $1::{name}, $2::{name}")).await?;
    let row = client.query_one(&statement, &[&value, &None::<T>]).await.map_err(|error| format!("{name}: {error}"))?;
    equal(row.try_get::<_, T>(0).map_err(|error| format!("{name}: {error}"))?, value)?;
    equal(row.try_get::<_, Option<T>>(1)?, None)
}

async fn every_type() -> Checked {
    let client = connect().await?;
    there_and_back(&client, "boolean", true).await?;
    there_and_back(&client, "smallint", i16::MIN).await?;
    there_and_back(&client, "integer", i32::MAX).await?;
    there_and_back(&client, "bigint", i64::MIN).await?;
    there_and_back(&client, "real", 0.5_f32).await?;
    there_and_back(&client, "double precision", 0.1_f64).await?;
    there_and_back(&client, "text", "grüße 東京".to_owned()).await?;
    there_and_back(&client, "varchar(20)", "v".to_owned()).await?;
    there_and_back(&client, "bytea", vec![0_u8, 1, 255]).await?;
    let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_767_268_800_000_005);
    there_and_back(&client, "timestamp", at).await?;
    there_and_back(&client, "timestamptz", at).await?;
    there_and_back(&client, "integer[]", vec![Some(1), None, Some(3)]).await?;
    there_and_back(&client, "bigint[]", vec![i64::MIN, 0]).await?;
    there_and_back(&client, "text[]", vec!["a".to_owned(), "q\"{},\\".to_owned(), String::new()]).await?;
    there_and_back(&client, "double precision[]", vec![0.1, -2.0]).await?;
    there_and_back(&client, "boolean[]", vec![true, false]).await?;
    there_and_back(&client, "bytea[]", vec![vec![0_u8], vec![]]).await?;
    there_and_back(&client, "timestamptz[]", vec![at]).await
}

async fn types_of_statements() -> Checked {
    let client = connect().await?;
    client.batch_execute("CREATE TABLE r_types (id int PRIMARY KEY, v text, at timestamptz, n bigint)").await?;
    let insert = client.prepare("INSERT INTO r_types VALUES ($1, $2, $3, $4)").await?;
    equal(insert.params(), &[Type::INT4, Type::TEXT, Type::TIMESTAMPTZ, Type::INT8])?;
    let select = client.prepare("SELECT id, v, at, n FROM r_types WHERE n > $1 AND v = ANY($2)").await?;
    equal(select.params(), &[Type::INT8, Type::TEXT_ARRAY])?;
    let columns: Vec<Type> = select.columns().iter().map(|column| column.type_().clone()).collect();
    equal(columns, vec![Type::INT4, Type::TEXT, Type::TIMESTAMPTZ, Type::INT8])?;
    equal(client.execute(&insert, &[&1, &"a", &SystemTime::UNIX_EPOCH, &5_i64]).await?, 1)?;
    let row = client.query_one(&select, &[&4_i64, &vec!["a", "b"]]).await?;
    equal(row.try_get::<_, SystemTime>(2)?, SystemTime::UNIX_EPOCH)?;
    Ok(client.batch_execute("DROP TABLE r_types").await?)
}

async fn pipelining() -> Checked {
    let client = connect().await?;
    let statement = client.prepare("SELECT $1::int * 2").await?;
    let answers = (0..100).map(|number| {
        let (client, statement) = (&client, &statement);
        async move { client.query_one(statement, &[&number]).await?.try_get::<_, i32>(0) }
    });
    let answers = futures::future::try_join_all(answers).await?;
    equal(answers, (0..100).map(|number| number * 2).collect())
}

async fn portals() -> Checked {
    let mut client = connect().await?;
    let transaction = client.transaction().await?;
    let portal = transaction.bind("SELECT g FROM generate_series(1, 250) AS s(g) ORDER BY g", &[]).await?;
    let first = transaction.query_portal(&portal, 100).await?;
    equal(first.len(), 100)?;
    equal(transaction.query_one("SELECT 'between'", &[]).await?.try_get::<_, &str>(0)?, "between")?;
    equal(transaction.query_portal(&portal, 100).await?[0].try_get::<_, i32>(0)?, 101)?;
    equal(transaction.query_portal(&portal, 0).await?.len(), 50)?;
    Ok(transaction.commit().await?)
}

async fn copies() -> Checked {
    let client = connect().await?;
    client.batch_execute("CREATE TABLE r_copy (id int PRIMARY KEY, v text, at timestamptz)").await?;
    let types = [Type::INT4, Type::TEXT, Type::TIMESTAMPTZ];
    let sink = client.copy_in("COPY r_copy FROM STDIN (FORMAT BINARY)").await?;
    let writer = BinaryCopyInWriter::new(sink, &types);
    futures::pin_mut!(writer);
    for id in 0..500_i32 {
        let text = (id % 7 != 0).then(|| format!("v{id}"));
        writer.as_mut().write(&[&id, &text, &SystemTime::UNIX_EPOCH]).await?;
    }
    equal(writer.finish().await?, 500)?;
    let stream = client.copy_out("COPY (SELECT * FROM r_copy ORDER BY id) TO STDOUT (FORMAT BINARY)").await?;
    let rows: Vec<_> = BinaryCopyOutStream::new(stream, &types).try_collect().await?;
    equal(rows.len(), 500)?;
    equal(rows[7].get::<Option<&str>>(1), None)?;
    equal(rows[8].get::<&str>(1), "v8")?;
    let mut sink = Box::pin(client.copy_in("COPY r_copy FROM STDIN").await?);
    sink.send(bytes("1000\ta\\tb\t\\N\n10")).await?;
    sink.send(bytes("01\t\\N\t\\N\n")).await?;
    equal(sink.as_mut().finish().await?, 2)?;
    let text = client.copy_out("COPY (SELECT id, v FROM r_copy WHERE id >= 1000 ORDER BY id) TO STDOUT").await?;
    let text: Vec<_> = text.try_collect().await?;
    equal(text.concat(), b"1000\ta\\tb\n1001\t\\N\n".to_vec())?;
    // Given up: nothing of it stays.
    let mut sink = Box::pin(client.copy_in("COPY r_copy FROM STDIN").await?);
    sink.send(bytes("2000\tx\t\\N\n")).await?;
    drop(sink);
    equal(client.query_one("SELECT count(*) FROM r_copy", &[]).await?.try_get::<_, i64>(0)?, 502)?;
    Ok(client.batch_execute("DROP TABLE r_copy").await?)
}

fn bytes(text: &'static str) -> std::io::Cursor<&'static [u8]> {
    std::io::Cursor::new(text.as_bytes())
}

async fn transactions() -> Checked {
    let mut client = connect().await?;
    client.batch_execute("CREATE TABLE r_tx (id int PRIMARY KEY)").await?;
    let mut outer = client.transaction().await?;
    outer.execute("INSERT INTO r_tx VALUES (1)", &[]).await?;
    let inner = outer.savepoint("here").await?;
    code(inner.execute("INSERT INTO r_tx VALUES (1)", &[]).await, &SqlState::UNIQUE_VIOLATION)?;
    inner.rollback().await?;
    outer.execute("INSERT INTO r_tx VALUES (2)", &[]).await?;
    outer.commit().await?;
    let dropped = client.transaction().await?;
    dropped.execute("INSERT INTO r_tx VALUES (3)", &[]).await?;
    drop(dropped);
    equal(client.query_one("SELECT count(*) FROM r_tx", &[]).await?.try_get::<_, i64>(0)?, 2)?;
    Ok(client.batch_execute("DROP TABLE r_tx").await?)
}

async fn errors() -> Checked {
    let client = connect().await?;
    client.batch_execute("CREATE TABLE r_err (id int PRIMARY KEY); INSERT INTO r_err VALUES (1)").await?;
    let error = client.execute("INSERT INTO r_err VALUES ($1)", &[&1]).await.err().ok_or("a key went in twice")?;
    let error = error.as_db_error().ok_or("not an error of the server")?;
    equal(error.code(), &SqlState::UNIQUE_VIOLATION)?;
    equal((error.schema(), error.table(), error.constraint()), (Some("public"), Some("r_err"), Some("r_err_pkey")))?;
    code(client.query("SELECT idd FROM r_err", &[]).await, &SqlState::UNDEFINED_COLUMN)?;
    Ok(client.batch_execute("DROP TABLE r_err").await?)
}

async fn notices() -> Checked {
    let (client, mut connection) = config(&var("PGPORT").unwrap()).connect(NoTls).await?;
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let messages = futures::stream::poll_fn(move |context| connection.poll_message(context));
    tokio::spawn(messages.for_each(move |message| {
        if let Ok(AsyncMessage::Notice(notice)) = message {
            // The check may be over already.
            let _ = sender.send(notice.message().to_owned());
        }
        std::future::ready(())
    }));
    client.batch_execute("DROP TABLE IF EXISTS r_nowhere").await?;
    equal(receiver.recv().await, Some("table \"r_nowhere\" does not exist, skipping".to_owned()))
}

async fn cancel() -> Checked {
    let (client, other) = (connect().await?, connect().await?);
    let token = client.cancel_token();
    let sleeping = client.query("SELECT pg_sleep(60)", &[]);
    let cancelling = async {
        loop {
            // One that comes before the query has no target.
            token.cancel_query(NoTls).await?;
            tokio::task::yield_now().await;
        }
        #[allow(unreachable_code)]
        Ok::<(), tokio_postgres::Error>(())
    };
    tokio::select! {
        result = sleeping => code(result, &SqlState::QUERY_CANCELED)?,
        result = cancelling => result?,
    }
    equal(client.query_one("SELECT 1", &[]).await?.try_get::<_, i32>(0)?, 1)?;
    equal(other.query_one("SELECT 1", &[]).await?.try_get::<_, i32>(0)?, 1)
}

/// A server of our own, to be shut down; at the latest when it is dropped.
struct OwnServer(Child);

impl Drop for OwnServer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn own_server() -> Result<(OwnServer, String), Box<dyn Error + Send + Sync>> {
    let storage = format!("{}/own", var("CLIENT_WORK")?);
    let mut child = Command::new(var("MILLSTREAM_SERVER")?)
        .args(["serve", "--listen", "127.0.0.1:0", "--storage", &storage])
        .env("MILLSTREAM_PASSWORD", var("PGPASSWORD")?)
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().expect("it is a pipe");
    let child = OwnServer(child);
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(',').next());
    let port = port.ok_or_else(|| format!("the server says {line:?} instead of where it listens"))?.to_owned();
    Ok((child, port))
}

async fn shutdown() -> Checked {
    let (mut server, port) = own_server()?;
    let (idle, idle_ends) = connect_to(&port).await?;
    let (busy, _) = connect_to(&port).await?;
    let sleeping = tokio::spawn(async move { busy.query("SELECT pg_sleep(50)", &[]).await });
    let active = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(50)'";
    while idle.query_one(active, &[]).await?.try_get::<_, i64>(0)? == 0 {}
    let sent = Command::new("kill").args(["-TERM", &server.0.id().to_string()]).status()?;
    equal(sent.success(), true)?;
    code(sleeping.await?, &SqlState::ADMIN_SHUTDOWN)?;
    // Sent to who waits for nothing, too.
    code(idle_ends.await?, &SqlState::ADMIN_SHUTDOWN)?;
    let status = tokio::task::spawn_blocking(move || server.0.wait()).await??;
    equal(status.code(), Some(0))
}

#[tokio::main]
async fn main() {
    println!("# tokio-postgres {}", version());
    let mut checks = Checks { chosen: var("CLIENT_FEATURES").unwrap_or_default(), count: 0, failed: 0 };
    macro_rules! check {
        ($feature:literal, $run:expr) => {
            checks.run($feature, $run).await
        };
    }
    check!("every type in binary, both ways", every_type());
    check!("types of parameters and columns", types_of_statements());
    check!("pipelining", pipelining());
    check!("portals", portals());
    check!("COPY in text and binary, both ways", copies());
    check!("transactions and savepoints", transactions());
    check!("errors with their fields", errors());
    check!("notices", notices());
    check!("cancel", cancel());
    check!("notification of a shutdown: 57P01 to the idle and to the busy, exit with 0", shutdown());
    for kind in matrix::kinds() {
        checks.run(&format!("types: {}", kind.name), matrix::whole(&kind)).await;
    }
    check!("types: composite values", matrix::composites());
    println!("1..{}", checks.count);
    std::process::exit(i32::from(checks.failed > 0));
}

struct Checks {
    /// Only features that begin so are run.
    chosen: String,
    count: u32,
    failed: u32,
}

impl Checks {
    async fn run(&mut self, feature: &str, run: impl Future<Output = Checked>) {
        if !feature.starts_with(&self.chosen) {
            return;
        }
        self.count += 1;
        match tokio::time::timeout(PATIENCE, run).await.unwrap_or_else(|late| Err(late.into())) {
            Ok(()) => println!("ok - tokio-postgres: {feature}"),
            Err(error) => {
                self.failed += 1;
                let source = error.source().map_or_else(String::new, |source| format!(": {source}"));
                println!("not ok - tokio-postgres: {feature} # {}", format!("{error}{source}").replace('\n', " "));
            }
        }
    }
}

/// As Cargo.lock has it.
fn version() -> &'static str {
    let lock = include_str!("../../../Cargo.lock");
    let package = lock.split("[[package]]").find(|package| package.contains("name = \"tokio-postgres\"\n"));
    let line = package.and_then(|package| package.lines().find(|line| line.starts_with("version = ")));
    line.and_then(|line| line.split('"').nth(1)).expect("the lock file names every dependency")
}
