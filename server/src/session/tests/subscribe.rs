//! SUBSCRIBE: what is given adds up to what a SELECT shows, whatever happens meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::random::seeds;
use super::{Client, open};
use crate::engine::Engine;
use crate::session::{RowStream, SqlError};

/// An epoch as a client reads it.
pub(super) type Epoch = (u64, u64);

fn epoch_of(text: &str) -> Epoch {
    let (term, counter) = text.split_once('.').unwrap();
    (term.parse().unwrap(), counter.parse().unwrap())
}

/// The newest epoch of any graph: in tests that write one statement after the other nothing is behind it.
pub(super) async fn newest(client: &mut Client) -> Epoch {
    let epochs = client.rows("SELECT epoch FROM millstream.epochs").await;
    epochs.iter().map(|epoch| epoch_of(epoch)).max().unwrap()
}

/// One who reads a subscription with weights and progress, and adds up.
pub(super) struct Reader {
    pub(super) stream: RowStream,
    sum: BTreeMap<String, i64>,
    at: Epoch,
    pub(super) cancel: CancellationToken,
}

impl Reader {
    pub(super) async fn start(engine: &Arc<Engine>, sql: &str) -> Result<Self, SqlError> {
        let mut client = Client::new(engine);
        let texts = client.0.split(sql)?;
        let prepared = client.0.prepare(&texts[0], &[]).await?;
        let cancel = CancellationToken::new();
        let outcome = client.0.execute(&prepared, Vec::new(), cancel.clone()).await?;
        Ok(Self { stream: outcome.rows.unwrap(), sum: BTreeMap::new(), at: (0, 0), cancel })
    }

    /// Reads until another epoch was given whole.
    pub(super) async fn read_more(&mut self) -> Result<(), SqlError> {
        self.read_to((self.at.0, self.at.1 + 1)).await
    }

    /// Reads until everything up to an epoch was given.
    pub(super) async fn read_to(&mut self, to: Epoch) -> Result<(), SqlError> {
        while self.at < to {
            let batch = self.stream.next().await.expect("a subscription does not end by itself")?;
            let epochs = batch.column(0).as_string::<i32>();
            let (progressed, weights) = (batch.column(1).as_boolean(), batch.column(2).as_primitive::<Int64Type>());
            let options = FormatOptions::new().with_null("null");
            let columns: Vec<_> =
                batch.columns()[3..].iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
            for row in 0..batch.num_rows() {
                let epoch = epoch_of(epochs.value(row));
                assert!(epoch >= self.at, "{epoch:?} behind {:?}", self.at);
                if progressed.value(row) {
                    self.at = epoch;
                    assert!(weights.is_null(row));
                    assert!(self.sum.values().all(|weight| *weight > 0), "{:?} at {epoch:?}", self.sum);
                    continue;
                }
                assert!(epoch > self.at, "rows of {epoch:?} after it was complete");
                let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
                let sum = self.sum.entry(cells.join("|")).or_default();
                *sum += weights.value(row);
                if *sum == 0 {
                    self.sum.remove(&cells.join("|"));
                }
            }
        }
        Ok(())
    }

    /// The rows that what was given adds up to.
    pub(super) fn rows(&self) -> Vec<String> {
        self.sum.iter().flat_map(|(row, count)| std::iter::repeat_n(row.clone(), *count as usize)).collect()
    }
}

async fn sorted(client: &mut Client, sql: &str) -> Vec<String> {
    let mut rows = client.rows(sql).await;
    rows.sort_unstable();
    rows
}

const GROUPED: &str = "SELECT v % 3 AS g, count(*) AS n, sum(v) AS s FROM a GROUP BY v % 3";
const JOINED: &str = "SELECT a.id, a.v, b.w FROM a JOIN b ON a.id = b.id";

/// What is followed, and a relation of its job; those behind the second can be followed once there is a join.
const FOLLOWED: [(&str, &str); 9] = [
    ("a", "a"),
    ("b", "b"),
    ("grouped", "grouped"),
    ("\"checked$rejected\"", "checked"),
    ("(SELECT v % 3 AS g, count(*) AS n, sum(v) AS s FROM a GROUP BY v % 3)", "a"),
    ("(SELECT id + 1 AS id, w FROM b WHERE w % 2 = 0)", "b"),
    ("(SELECT g, max(n) AS n FROM grouped WHERE s > 10 GROUP BY g)", "a"),
    ("joined", "joined"),
    ("(SELECT a.id, sum(b.w) AS w FROM a LEFT JOIN b ON a.id = b.id GROUP BY a.id)", "a"),
];
const BEFORE_THE_JOIN: usize = 7;

/// Writes, graphs that join, indexes, renames; readers that begin anywhere, some of them where others stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_adds_up_to_what_is_shown() {
    for seed in seeds() {
        eprintln!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let engine = open(&format!("subscribe_{seed}")).await;
        let mut client = Client::new(&engine);
        client.tag("CREATE TABLE a (id INT PRIMARY KEY, v INT NOT NULL)").await;
        client.tag("CREATE TABLE b (id INT, w INT)").await;
        client.tag(&format!("CREATE MATERIALIZED VIEW grouped AS {GROUPED}")).await;
        client.tag("CREATE MATERIALIZED VIEW checked AS SELECT id, 100 / (v % 7) AS q FROM a").await;
        let mut readers: Vec<((&str, &str), Reader)> = Vec::new();
        let mut joined = false;
        let mut restarts = 0;
        for step in 0..60 {
            let (id, v) = (random.random_range(0..30), random.random_range(0..100));
            match random.random_range(0..12) {
                0..=2 => {
                    let upsert = "ON CONFLICT (id) DO UPDATE SET v = a.v + excluded.v";
                    client.tag(&format!("INSERT INTO a VALUES ({id}, {v}), ({}, {v}) {upsert}", id + 30)).await.clear();
                }
                3 => client.tag(&format!("UPDATE a SET v = v + 1 WHERE v < {v}")).await.clear(),
                4 => client.tag(&format!("DELETE FROM a WHERE id < {id}")).await.clear(),
                5 | 6 => client.tag(&format!("INSERT INTO b VALUES ({id}, {v}), ({id}, {v})")).await.clear(),
                7 => client.tag(&format!("DELETE FROM b WHERE id = {id}")).await.clear(),
                8 => client.tag("CHECKPOINT").await.clear(),
                10 if random.random_bool(0.3) => {
                    // Views of queries are made anew under those who follow them.
                    restarts += 1;
                    engine.state().graphs.values().for_each(|graph| graph.restart("a test"));
                }
                9 if !joined && step > 15 => {
                    // The graphs of both tables become one under those who follow them.
                    client.tag(&format!("CREATE MATERIALIZED VIEW joined AS {JOINED}")).await;
                    joined = true;
                }
                _ => {
                    let there = if joined { FOLLOWED.len() } else { BEFORE_THE_JOIN };
                    let followed = FOLLOWED[random.random_range(0..there)];
                    let sql = format!("SUBSCRIBE TO {} WITH (PROGRESS)", followed.0);
                    readers.push((followed, Reader::start(&engine, &sql).await.unwrap()));
                }
            }
            let to = newest(&mut client).await;
            for ((followed, beside), reader) in &mut readers {
                if random.random_bool(0.6) {
                    continue;
                }
                let alias = if followed.starts_with('(') { "AS q" } else { "" };
                let shown = sorted(&mut client, &format!("SELECT * FROM {followed} {alias}")).await;
                let of_graph = format!(
                    "SELECT e.epoch FROM millstream.epochs e, millstream.jobs j
                     WHERE e.graph = j.graph AND j.relation LIKE '%{beside}'"
                );
                let to = client.rows(&of_graph).await.first().map_or(to, |epoch| epoch_of(epoch));
                reader.read_to(to).await.unwrap();
                assert_eq!(reader.rows(), shown, "seed {seed}, step {step}, {followed}");
                if random.random_bool(0.3) && alias.is_empty() {
                    let (term, counter) = reader.at;
                    let resumed =
                        format!("SUBSCRIBE {followed} AS OF '{term}.{counter}' WITH (SNAPSHOT = false, PROGRESS)");
                    let resumed = Reader::start(&engine, &resumed).await.unwrap();
                    let before = std::mem::replace(reader, resumed);
                    (reader.sum, reader.at) = (before.sum, before.at);
                }
            }
        }
        let queries = readers.iter().filter(|((followed, _), _)| followed.starts_with('(')).count();
        assert_eq!(engine.temporary_views(), queries, "seed {seed}, {restarts} restarts");
        drop(readers);
        assert_eq!(engine.temporary_views(), 0);
        engine.stop().await;
    }
}

pub(super) async fn error_of(engine: &Arc<Engine>, sql: &str) -> SqlError {
    match Reader::start(engine, sql).await {
        Err(error) => error,
        Ok(_) => panic!("{sql} is refused"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_followed_is_refused_by_name() {
    let engine = open("subscribe_refused").await;
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE t (id INT PRIMARY KEY, v INT)").await;
    client.tag("CREATE TABLE bag (v INT)").await;
    client.tag("CREATE SOURCE s (v INT) WITH (connector = 'datagen', \"number-of-rows\" = '1')").await;
    client.tag("CREATE TABLE c (v INT) WITH (connector = 'datagen', \"number-of-rows\" = '1')").await;
    for (sql, sqlstate, message) in [
        ("SUBSCRIBE missing", "42P01", "relation \"missing\" does not exist"),
        ("SUBSCRIBE s", "42809", "cannot subscribe to source \"s\", which keeps no rows"),
        ("SUBSCRIBE millstream.jobs", "42809", "cannot subscribe to system relation \"jobs\""),
        ("SUBSCRIBE c", "42809", "cannot subscribe to table \"c\" of a connector, which keeps no rows"),
        (
            "SUBSCRIBE (SELECT reason FROM \"s$rejected\")",
            "0A000",
            "cannot subscribe to a query over \"s$rejected\", which holds rows that did not get through",
        ),
        ("SUBSCRIBE \"s$rejected\" ENVELOPE UPSERT", "42P16", "these columns are not known to be unique"),
        ("SUBSCRIBE \"t$late\"", "42P01", "relation \"t$late\" does not exist"),
        ("SUBSCRIBE t AS OF 'x'", "22P02", "invalid epoch: \"x\""),
        ("SUBSCRIBE t AS OF '0.1'", "55000", "epoch 0.1 of \"t\" is not kept any more"),
        ("SUBSCRIBE t AS OF 99999999.1", "22023", "epoch 99999999.1 of \"t\" has not been reached"),
        ("SUBSCRIBE t WITH (RATE = 1)", "42601", "unrecognized SUBSCRIBE option \"rate\""),
        ("SUBSCRIBE t WITH (PROGRESS, PROGRESS = off)", "42601", "option \"progress\" is given twice"),
        ("SUBSCRIBE t WITH (PROGRESS = maybe)", "42601", "progress requires a Boolean value"),
        ("SUBSCRIBE t ENVELOPE UPSERT (KEY (x))", "42703", "column \"x\" does not exist"),
        ("SUBSCRIBE t ENVELOPE UPSERT (KEY (v))", "42P16", "these columns are not known to be unique"),
        ("SUBSCRIBE bag ENVELOPE DEBEZIUM", "42P16", "these columns are not known to be unique"),
    ] {
        let error = error_of(&engine, sql).await;
        assert_eq!((error.sqlstate, error.message.as_str()), (sqlstate, message), "{sql}");
    }
    client.tag("BEGIN").await;
    client.tag("INSERT INTO t VALUES (1, 1)").await;
    let error = client.run("SUBSCRIBE t").await.unwrap_err();
    assert_eq!(
        (error.sqlstate, error.message.as_str()),
        ("25001", "cannot subscribe in a transaction that has written")
    );
    client.tag("ROLLBACK").await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_ends_by_name() {
    let engine = open("subscribe_ends").await;
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE t (v INT)").await;
    client.tag("CREATE MATERIALIZED VIEW v AS SELECT v + 1 AS v FROM t").await;
    let mut of_view = Reader::start(&engine, "SUBSCRIBE v WITH (PROGRESS)").await.unwrap();
    client.tag("INSERT INTO t VALUES (1)").await;
    let now = newest(&mut client).await;
    of_view.read_to(now).await.unwrap();
    assert_eq!(of_view.rows(), ["2"]);

    // Names are not what is followed.
    client.tag("ALTER MATERIALIZED VIEW v RENAME TO w").await;
    client.tag("INSERT INTO t VALUES (2)").await;
    let now = newest(&mut client).await;
    of_view.read_to(now).await.unwrap();
    assert_eq!(of_view.rows(), ["2", "3"]);
    client.tag("DROP MATERIALIZED VIEW w").await;
    let error = of_view.read_to((u64::MAX, 0)).await.unwrap_err();
    assert_eq!(
        (error.sqlstate, error.message.as_str()),
        ("42P01", "relation \"w\" was dropped while it was subscribed to")
    );
    assert!(of_view.stream.next().await.is_none(), "one error ends it");

    let mut of_table = Reader::start(&engine, "SUBSCRIBE t WITH (PROGRESS, SNAPSHOT = off)").await.unwrap();
    of_table.cancel.cancel();
    let error = of_table.read_to((u64::MAX, 0)).await.unwrap_err();
    assert_eq!(error.sqlstate, "57014");

    // A reader that does not read is lost, and holds nothing that it could be lost with.
    client.tag("CREATE TABLE wide (v TEXT)").await;
    client.tag("INSERT INTO wide SELECT repeat('x', 8000) FROM generate_series(1, 1000) AS g(i)").await;
    let mut slow = Reader::start(&engine, "SUBSCRIBE wide WITH (PROGRESS)").await.unwrap();
    for _ in 0..11 {
        client.tag("UPDATE wide SET v = v || 'x'").await;
    }
    let error = slow.read_to((u64::MAX, 0)).await.unwrap_err();
    assert_eq!(
        (error.sqlstate, error.message.as_str()),
        ("55000", "can no longer get changes of \"wide\" after its snapshot")
    );
    let (detail, hint) = (error.detail.unwrap(), error.hint.unwrap());
    assert!(detail.starts_with("Epochs ") && detail.ends_with(" are kept."), "{detail}");
    assert!(hint.contains("without AS OF"), "{hint}");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envelopes_tell_what_stands_under_a_key() {
    let engine = open("subscribe_envelopes").await;
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE t (id INT PRIMARY KEY, v TEXT)").await;
    client.tag("INSERT INTO t VALUES (1, 'a'), (2, 'b')").await;
    let take = async |sql: &str, count: usize| {
        let mut reader = Reader::start(&engine, sql).await.unwrap();
        let mut client = Client::new(&engine);
        let mut rows: Vec<String> = Vec::new();
        let mut written = false;
        while rows.len() < count {
            if rows.len() >= 2 && !written {
                client.tag("BEGIN").await;
                client.tag("UPDATE t SET v = v || '!' WHERE id = 1").await;
                client.tag("DELETE FROM t WHERE id = 2").await;
                client.tag("INSERT INTO t VALUES (3, 'c')").await;
                client.tag("COMMIT").await;
                written = true;
            }
            let batch = reader.stream.next().await.unwrap().unwrap();
            let options = FormatOptions::new().with_null("null");
            let columns = &batch.columns()[1..];
            let columns: Vec<_> =
                columns.iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
            for row in 0..batch.num_rows() {
                let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
                rows.push(cells.join("|"));
            }
        }
        rows[..2].sort_unstable();
        rows[2..].sort_unstable();
        rows
    };
    let rows = take("SUBSCRIBE t ENVELOPE UPSERT", 5).await;
    assert_eq!(rows, ["upsert|1|a", "upsert|2|b", "delete|2|null", "upsert|1|a!", "upsert|3|c"]);
    client.tag("DELETE FROM t").await;
    client.tag("INSERT INTO t VALUES (1, 'a'), (2, 'b')").await;
    let rows = take("SUBSCRIBE t ENVELOPE DEBEZIUM (KEY (id))", 5).await;
    assert_eq!(
        rows,
        [
            "insert|null|null|1|a",
            "insert|null|null|2|b",
            "delete|2|b|null|null",
            "insert|null|null|3|c",
            "update|1|a|1|a!"
        ]
    );
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursors_fetch_changes_as_they_come() {
    let engine = open("subscribe_cursors").await;
    let (mut client, mut writer) = (Client::new(&engine), Client::new(&engine));
    writer.tag("CREATE TABLE t (v INT)").await;
    writer.tag("INSERT INTO t VALUES (1), (2), (3)").await;
    let values = |rows: Vec<String>| {
        let mut values: Vec<String> = rows.iter().map(|row| row.split_once('|').unwrap().1.to_string()).collect();
        values.sort_unstable();
        values
    };
    client.tag("BEGIN").await;
    client.tag("DECLARE c CURSOR FOR SUBSCRIBE t").await;
    assert_eq!(client.rows("FETCH 2 FROM c").await.len(), 2);
    assert_eq!(client.rows("FETCH ALL FROM c").await.len(), 1, "what there is is given at once");
    assert!(client.rows("FETCH ALL FROM c WITH (timeout = '0s')").await.is_empty());
    assert!(client.rows("FETCH 5 FROM c WITH (timeout = '5ms')").await.is_empty());
    writer.tag("DELETE FROM t WHERE v > 1").await;
    assert_eq!(values(client.rows("FETCH ALL c").await), ["-1|2", "-1|3"]);
    // It waits for the first.
    let waiting = tokio::spawn(async move {
        let rows = client.rows("FETCH NEXT FROM c").await;
        (client, rows)
    });
    writer.tag("INSERT INTO t VALUES (7)").await;
    let (mut client, rows) = waiting.await.unwrap();
    assert_eq!(values(rows), ["1|7"]);
    let error = client.error("FETCH BACKWARD 1 FROM c").await;
    assert_eq!((error.sqlstate, error.message.as_str()), ("0A000", "cursor \"c\" over SUBSCRIBE only goes forward"));
    client.tag("ROLLBACK").await;
    assert_eq!(client.error("FETCH c").await.sqlstate, "34000");

    // Held, it lives with the session, and keeps nothing.
    client.tag("DECLARE h CURSOR WITH HOLD FOR SUBSCRIBE TO t WITH (SNAPSHOT = false)").await;
    writer.tag("INSERT INTO t VALUES (8)").await;
    assert_eq!(values(client.rows("FETCH ALL h WITH (timeout = '1h')").await), ["1|8"]);
    client.tag("BEGIN").await;
    client.tag("DECLARE i CURSOR WITH HOLD FOR SUBSCRIBE TO t").await;
    client.tag("COMMIT").await;
    assert_eq!(values(client.rows("FETCH ALL i").await), ["1|1", "1|7", "1|8"]);
    let error = client.error("DECLARE s SCROLL CURSOR WITH HOLD FOR SUBSCRIBE t").await;
    assert_eq!((error.sqlstate, error.message.as_str()), ("0A000", "a cursor over SUBSCRIBE can't scroll"));
    writer.tag("DROP TABLE t").await;
    let error = client.error("FETCH ALL h").await;
    assert_eq!(
        (error.sqlstate, error.message.as_str()),
        ("42P01", "relation \"t\" was dropped while it was subscribed to")
    );
    assert_eq!(client.error("FETCH ALL h").await.sqlstate, "55000");
    client.tag("CLOSE h").await;
    engine.stop().await;
}
