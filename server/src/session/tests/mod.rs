//! Sessions over engines with memory storage: what a client gets, before and after a restart.

#![allow(clippy::unwrap_used)]

mod at_once;
mod catalog;
mod damage;
mod maintain;
mod memory;
mod oracle;
mod random;
mod random_renames;
mod random_transactions;
mod refused;
mod secrets;
mod subscribe;
mod subscribe_beside;
mod subscribe_query;
mod transactions;

use std::sync::Arc;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use tokio_util::sync::CancellationToken;

use super::{CommandTag, Prepared, Session, SqlError};
use crate::engine::{Engine, EngineConfig};
use crate::pg_catalog::tests::shown_columns;

/// What a statement gave: its tag, its rows as text, its notices.
#[derive(Debug)]
struct Answer {
    tag: CommandTag,
    rows: Vec<String>,
    notices: Vec<String>,
}

/// A session of a test.
struct Client(Session);

impl Client {
    fn new(engine: &Arc<Engine>) -> Self {
        Self(Session::new(Arc::clone(engine), "millstream"))
    }

    /// Runs one statement.
    async fn run(&mut self, sql: &str) -> Result<Answer, SqlError> {
        let texts = self.0.split(sql)?;
        assert_eq!(texts.len(), 1, "one statement at a time: {sql}");
        let prepared = self.0.prepare(&texts[0], &[]).await?;
        self.run_prepared(&prepared).await
    }

    /// Runs a statement that has been planned.
    async fn run_prepared(&mut self, prepared: &Prepared) -> Result<Answer, SqlError> {
        let outcome = self.0.execute(prepared, Vec::new(), CancellationToken::new()).await?;
        let mut rows = Vec::new();
        if let Some(stream) = outcome.rows {
            let batches: Vec<_> = stream.try_collect().await?;
            for batch in &batches {
                let options = FormatOptions::new().with_null("null");
                let shown = shown_columns(batch);
                let columns: Vec<_> =
                    shown.iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
                for row in 0..batch.num_rows() {
                    let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
                    rows.push(cells.join("|"));
                }
            }
        }
        let notices = outcome.notices.into_iter().map(|notice| notice.message).collect();
        Ok(Answer { tag: outcome.tag, rows, notices })
    }

    /// Runs one statement that must succeed and gives back its rows.
    async fn rows(&mut self, sql: &str) -> Vec<String> {
        self.run(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).rows
    }

    /// Runs one statement that must succeed and gives back its tag.
    async fn tag(&mut self, sql: &str) -> String {
        match self.run(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).tag {
            CommandTag::Fixed(tag) => tag,
            CommandTag::Counted(tag) => tag.to_string(),
            CommandTag::Empty => String::new(),
        }
    }

    /// Runs one statement that must fail.
    async fn error(&mut self, sql: &str) -> SqlError {
        match self.run(sql).await {
            Ok(answer) => panic!("{sql} succeeded: {answer:?}"),
            Err(error) => error,
        }
    }
}

/// An engine over a named store in this process; the same name opens the same store again.
async fn open(name: &str) -> Arc<Engine> {
    let config = EngineConfig { slots: 2, parallelism: 2, ..EngineConfig::new(format!("memory://{name}")) };
    Engine::open(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_over_a_table_is_current_after_every_statement() {
    let engine = open("first_view").await;
    let mut client = Client::new(&engine);
    assert_eq!(client.tag("CREATE TABLE t (id INT PRIMARY KEY, v INT)").await, "CREATE TABLE");
    assert_eq!(client.tag("INSERT INTO t VALUES (1, 10), (2, 20)").await, "INSERT 0 2");
    assert_eq!(client.rows("SELECT * FROM t ORDER BY id").await, ["1|10", "2|20"]);
    let created = client.tag("CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n, sum(v) AS s FROM t").await;
    assert_eq!(created, "CREATE MATERIALIZED VIEW");
    assert_eq!(client.rows("SELECT * FROM m").await, ["2|30"]);
    assert_eq!(client.tag("INSERT INTO t VALUES (3, 5)").await, "INSERT 0 1");
    assert_eq!(client.rows("SELECT * FROM m").await, ["3|35"]);
    assert_eq!(client.tag("UPDATE t SET v = v + 1 WHERE id < 3").await, "UPDATE 2");
    assert_eq!(client.rows("SELECT n, s FROM m").await, ["3|37"]);
    assert_eq!(client.tag("DELETE FROM t WHERE id = 1").await, "DELETE 1");
    assert_eq!(client.rows("SELECT n, s FROM m").await, ["2|26"]);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_rows_survive_a_restart() {
    let engine = open("restart").await;
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE t (id INT PRIMARY KEY, v TEXT NOT NULL)").await;
    client.tag("CREATE MATERIALIZED VIEW m AS SELECT v, count(*) AS n FROM t GROUP BY v").await;
    client.tag("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'a')").await;
    client.tag("CHECKPOINT").await;
    client.tag("INSERT INTO t VALUES (4, 'c')").await;
    client.tag("DELETE FROM t WHERE id = 2").await;
    client.tag("CREATE TABLE o (x INT)").await;
    client.tag("INSERT INTO o VALUES (7)").await;
    client.tag("ALTER TABLE o RENAME TO r").await;
    client.tag("CREATE VIEW w AS SELECT id, x FROM t CROSS JOIN r WHERE v = 'a'").await;
    engine.stop().await;
    drop(client);
    drop(engine);

    for _ in 0..2 {
        let engine = open("restart").await;
        let mut client = Client::new(&engine);
        assert_eq!(client.rows("SELECT * FROM t ORDER BY id").await, ["1|a", "3|a", "4|c"]);
        assert_eq!(client.rows("SELECT * FROM m ORDER BY v").await, ["a|2", "c|1"]);
        assert_eq!(client.rows("SELECT * FROM w ORDER BY id").await, ["1|7", "3|7"]);
        assert_eq!(client.error("INSERT INTO t VALUES (1, 'x')").await.sqlstate, "23505");
        engine.stop().await;
    }
    let engine = open("restart").await;
    let mut client = Client::new(&engine);
    client.tag("INSERT INTO t VALUES (5, 'c')").await;
    assert_eq!(client.rows("SELECT * FROM m ORDER BY v").await, ["a|2", "c|2"]);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_nulls_are_enforced() {
    let engine = open("keys").await;
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE t (id INT PRIMARY KEY, v INT NOT NULL, d INT DEFAULT 7)").await;
    client.tag("INSERT INTO t (id, v) VALUES (1, 1), (2, 2)").await;

    let error = client.error("INSERT INTO t VALUES (3, 3, 3), (1, 9, 9)").await;
    assert_eq!((error.sqlstate, error.detail.as_deref()), ("23505", Some("Key (id)=(1) already exists.")));
    assert_eq!(error.message, "duplicate key value violates unique constraint \"t_pkey\"");
    assert_eq!(client.error("INSERT INTO t VALUES (5, 5, 5), (5, 6, 6)").await.sqlstate, "23505");
    let error = client.error("INSERT INTO t VALUES (4, NULL, 4)").await;
    assert_eq!(error.sqlstate, "23502");
    assert_eq!(error.message, "null value in column \"v\" of relation \"t\" violates not-null constraint");
    assert_eq!(error.detail.as_deref(), Some("Failing row contains (4, null, 4)."));
    assert_eq!(client.rows("SELECT * FROM t ORDER BY id").await, ["1|1|7", "2|2|7"], "failed statements leave nothing");

    assert_eq!(client.tag("INSERT INTO t VALUES (1, 5, 5), (3, 3, 3) ON CONFLICT DO NOTHING").await, "INSERT 0 1");
    let upsert = "INSERT INTO t VALUES (1, 5, 5) ON CONFLICT (id) DO UPDATE SET v = t.v + excluded.v";
    assert_eq!(client.tag(upsert).await, "INSERT 0 1");
    assert_eq!(client.rows("SELECT * FROM t ORDER BY id").await, ["1|6|7", "2|2|7", "3|3|3"]);
    let twice = "INSERT INTO t VALUES (1, 5, 5), (1, 6, 6) ON CONFLICT (id) DO UPDATE SET v = excluded.v";
    assert_eq!(client.error(twice).await.sqlstate, "21000");

    assert_eq!(client.tag("UPDATE t SET id = id + 1").await, "UPDATE 3", "keys are unique at the end of a statement");
    assert_eq!(client.error("UPDATE t SET id = 2").await.sqlstate, "23505");
    assert_eq!(client.rows("INSERT INTO t VALUES (9, 9) RETURNING id, v * 2 AS w, d").await, ["9|18|7"]);
    assert_eq!(client.rows("UPDATE t SET v = 0 WHERE id = 9 RETURNING v").await, ["0"]);
    assert_eq!(client.rows("DELETE FROM t WHERE id = 9 RETURNING *").await, ["9|0|7"]);
    assert_eq!(client.tag("TRUNCATE t").await, "TRUNCATE TABLE");
    assert_eq!(client.rows("SELECT count(*) FROM t").await, ["0"]);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_joins_graphs_and_a_restart_joins_them_again() {
    let engine = open("joins").await;
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE a (id INT PRIMARY KEY, x INT)").await;
    client.tag("CREATE TABLE b (id INT PRIMARY KEY, y INT)").await;
    client.tag("INSERT INTO a VALUES (1, 10), (2, 20)").await;
    client.tag("INSERT INTO b VALUES (1, 100)").await;
    client.tag("CHECKPOINT").await;
    let graphs = "SELECT count(DISTINCT graph) FROM millstream.jobs";
    assert_eq!(client.rows(graphs).await, ["2"]);
    client.tag("CREATE MATERIALIZED VIEW j AS SELECT a.id, x, y FROM a JOIN b ON a.id = b.id").await;
    assert_eq!(client.rows(graphs).await, ["1"]);
    assert_eq!(client.rows("SELECT * FROM j").await, ["1|10|100"]);
    client.tag("INSERT INTO b VALUES (2, 200)").await;
    assert_eq!(client.rows("SELECT * FROM j ORDER BY id").await, ["1|10|100", "2|20|200"]);
    engine.stop().await;
    drop(client);

    let engine = open("joins").await;
    let mut client = Client::new(&engine);
    assert_eq!(client.rows("SELECT * FROM j ORDER BY id").await, ["1|10|100", "2|20|200"]);
    client.tag("UPDATE a SET x = 11 WHERE id = 1").await;
    assert_eq!(client.rows("SELECT * FROM j ORDER BY id").await, ["1|11|100", "2|20|200"]);
    client.tag("CHECKPOINT").await;
    client.tag("DELETE FROM b WHERE id = 2").await;
    engine.stop().await;
    drop(client);

    let engine = open("joins").await;
    let mut client = Client::new(&engine);
    assert_eq!(client.rows(graphs).await, ["1"]);
    assert_eq!(client.rows("SELECT * FROM j").await, ["1|11|100"]);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drops_name_what_depends_and_take_it_along() {
    let engine = open("drops").await;
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE t (id INT)").await;
    client.tag("CREATE VIEW v AS SELECT id FROM t").await;
    client.tag("CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM v").await;
    assert_eq!(client.error("DROP TABLE t").await.sqlstate, "2BP01");
    assert_eq!(client.error("CREATE TABLE t (x INT)").await.sqlstate, "42P07");
    let again = client.run("CREATE TABLE IF NOT EXISTS t (x INT)").await.unwrap();
    assert_eq!(again.notices, ["relation \"t\" already exists, skipping"]);
    assert_eq!(client.tag("DROP TABLE t CASCADE").await, "DROP TABLE");
    assert_eq!(client.error("SELECT * FROM m").await.sqlstate, "42P01");
    assert_eq!(client.rows("SELECT * FROM millstream.jobs").await, Vec::<String>::new());
    assert_eq!(client.run("DROP TABLE IF EXISTS t").await.unwrap().notices, ["table \"t\" does not exist, skipping"]);
    assert_eq!(client.error("DROP TABLE t").await.sqlstate, "42P01");

    client.tag("CREATE SCHEMA s").await;
    client.tag("CREATE TABLE s.t (id INT)").await;
    assert_eq!(client.error("DROP SCHEMA s").await.sqlstate, "2BP01");
    client.tag("DROP SCHEMA s CASCADE").await;
    assert_eq!(client.error("CREATE TABLE s.t (id INT)").await.sqlstate, "3F000");
    assert_eq!(client.error("CREATE TABLE \"x$late\" (id INT)").await.sqlstate, "42P16");
    engine.stop().await;
    drop(client);

    let engine = open("drops").await;
    let mut client = Client::new(&engine);
    assert_eq!(client.rows("SHOW TABLES").await, Vec::<String>::new());
    client.tag("CREATE TABLE t (id INT)").await;
    assert_eq!(client.rows("SELECT * FROM t").await, Vec::<String>::new(), "a number is never used again");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_rows_are_set_apart_and_told_of() {
    let engine = open("late").await;
    let mut client = Client::new(&engine);
    client
        .tag("CREATE TABLE t (id INT PRIMARY KEY, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '5 seconds')")
        .await;
    client.tag("INSERT INTO t VALUES (1, '2026-01-01 00:00:20')").await;
    let answer =
        client.run("INSERT INTO t VALUES (2, '2026-01-01 00:00:10'), (3, '2026-01-01 00:00:16')").await.unwrap();
    assert_eq!(answer.notices, ["1 row was below the watermark of \"t\" and not inserted"]);
    assert_eq!(client.rows("SELECT id FROM t ORDER BY id").await, ["1", "3"]);
    assert_eq!(client.rows("SELECT id FROM \"t$late\"").await, ["2"]);
    client.tag("INSERT INTO t VALUES (4, '2026-01-01 00:01:00')").await;
    let below = client.error("DELETE FROM t WHERE id = 1").await;
    assert_eq!((below.sqlstate, below.hint.is_some()), ("55000", true));
    assert_eq!(client.error("INSERT INTO t VALUES (5, NULL)").await.sqlstate, "23502");
    engine.stop().await;
    drop(client);

    let engine = open("late").await;
    let mut client = Client::new(&engine);
    assert_eq!(client.rows("SELECT id FROM \"t$late\"").await, ["2"]);
    let answer = client.run("INSERT INTO t VALUES (6, '2026-01-01 00:00:10')").await.unwrap();
    assert_eq!(answer.notices.len(), 1, "the watermark goes on from where it was");
    client.tag("CHECKPOINT").await;
    engine.stop().await;
    drop(client);

    let engine = open("late").await;
    let mut client = Client::new(&engine);
    assert_eq!(client.rows("SELECT id FROM \"t$late\" ORDER BY id").await, ["2", "6"]);
    assert_eq!(client.rows("SELECT id FROM t ORDER BY id").await, ["1", "3", "4"]);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watermark_that_no_stored_row_tells_of_survives_a_restart() {
    let engine = open("watermarks").await;
    let mut client = Client::new(&engine);
    for table in ["advanced", "met"] {
        let watermark = "WATERMARK FOR ts AS ts - INTERVAL '5 seconds'";
        client.tag(&format!("CREATE TABLE {table} (id INT PRIMARY KEY, ts TIMESTAMP, {watermark})")).await;
        client.tag(&format!("INSERT INTO {table} VALUES (1, '2026-01-01 00:00:01')")).await;
    }
    let closed = "SELECT window_end, count(*) AS n FROM tumble(met, ts, INTERVAL '10 seconds') GROUP BY 1";
    client.tag(&format!("CREATE MATERIALIZED VIEW closed AS {closed} EMIT ON WINDOW CLOSE")).await;
    client.tag("ADVANCE WATERMARK FOR advanced TO TIMESTAMP '2026-01-01 00:00:30'").await;
    let met = client.tag("INSERT INTO met VALUES (1, '2026-01-01 00:00:35') ON CONFLICT DO NOTHING").await;
    assert_eq!(met, "INSERT 0 0");
    assert_eq!(client.rows("SELECT * FROM closed").await, ["2026-01-01T00:00:10|1"]);
    for table in ["advanced", "met"] {
        client.tag(&format!("INSERT INTO {table} VALUES (2, '2026-01-01 00:00:29')")).await;
    }
    engine.stop().await;
    drop(client);

    let engine = open("watermarks").await;
    let mut client = Client::new(&engine);
    assert_eq!(client.rows("SELECT * FROM closed").await, ["2026-01-01T00:00:10|1"]);
    for table in ["advanced", "met"] {
        client.tag(&format!("INSERT INTO {table} VALUES (3, '2026-01-01 00:00:29'), (4, '2026-01-01 00:00:30')")).await;
        assert_eq!(client.rows(&format!("SELECT id FROM \"{table}$late\" ORDER BY id")).await, ["2", "3"], "{table}");
        assert_eq!(client.rows(&format!("SELECT id FROM {table} ORDER BY id")).await, ["1", "4"], "{table}");
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_around_reads_sees_one_moment() {
    let engine = open("transaction").await;
    let (mut reader, mut writer) = (Client::new(&engine), Client::new(&engine));
    writer.tag("CREATE TABLE a (x INT)").await;
    writer.tag("CREATE TABLE b (x INT)").await;
    assert_eq!(reader.tag("BEGIN").await, "BEGIN");
    assert_eq!(reader.rows("SELECT count(*) FROM a").await, ["0"]);
    writer.tag("INSERT INTO a VALUES (1)").await;
    writer.tag("INSERT INTO b VALUES (1)").await;
    assert_eq!(reader.rows("SELECT count(*) FROM a").await, ["0"]);
    assert_eq!(reader.rows("SELECT count(*) FROM b").await, ["0"], "pinned with the first read");
    let refused = reader.error("CHECKPOINT").await;
    assert_eq!((refused.sqlstate, refused.hint.is_some()), ("25001", true));
    assert_eq!(reader.error("SELECT 1").await.sqlstate, "25P02");
    assert_eq!(reader.tag("COMMIT").await, "ROLLBACK");
    assert_eq!(reader.rows("SELECT count(*) FROM a").await, ["1"]);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_over_two_graphs_sees_whole_commits() {
    let engine = open("two_graphs").await;
    let (mut reader, mut writer) = (Client::new(&engine), Client::new(&engine));
    writer.tag("CREATE TABLE a (x INT)").await;
    writer.tag("CREATE TABLE b (x INT)").await;
    // The writer always inserts into a before b: a reader that sees more in b than in a has seen time go back.
    let writing = tokio::spawn(async move {
        for x in 0..60 {
            writer.tag(&format!("INSERT INTO a VALUES ({x})")).await;
            writer.tag(&format!("INSERT INTO b VALUES ({x})")).await;
        }
    });
    let mut before = 0;
    while !writing.is_finished() {
        let rows =
            reader.rows("SELECT (SELECT count(*) FROM a) - (SELECT count(*) FROM b), (SELECT count(*) FROM a)").await;
        let (ahead, total) = rows[0].split_once('|').unwrap();
        assert!(matches!(ahead, "0" | "1"), "a is ahead of b by {ahead}");
        let total: i64 = total.parse().unwrap();
        assert!(total >= before, "what a session has seen it sees again");
        before = total;
    }
    writing.await.unwrap();
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_show_and_describe() {
    let engine = open("shows").await;
    let mut client = Client::new(&engine);
    client
        .tag("CREATE TABLE t (id INT PRIMARY KEY, v TEXT DEFAULT 'x', w INT GENERATED ALWAYS AS (id + 1) STORED)")
        .await;
    assert_eq!(
        client.rows("DESCRIBE t").await,
        ["id|integer|no|yes|null", "v|text|yes|null|'x'", "w|integer|no|null|generated"]
    );
    assert_eq!(client.rows("SHOW TABLES").await, ["public|t"]);
    assert!(client.rows("SHOW CREATE TABLE t").await[0].starts_with("public.t|CREATE TABLE t"));
    client.tag("INSERT INTO t (id) VALUES (1)").await;
    assert_eq!(client.rows("SELECT * FROM t").await, ["1|x|2"]);
    assert_eq!(client.rows("SHOW statement_timeout").await, ["0"]);
    client.tag("SET statement_timeout = '5s'").await;
    assert_eq!(client.rows("SHOW statement_timeout").await, ["5s"]);
    assert_eq!(client.error("SHOW no_such_thing").await.sqlstate, "42704");
    assert_eq!(client.error("ADVANCE CLOCK BY INTERVAL '1 second'").await.sqlstate, "55000");
    client.tag("SET millstream.clock = 'manual'").await;
    let before = client.rows("SELECT now()").await;
    assert_eq!(client.rows("SELECT now()").await, before);
    client.tag("ADVANCE CLOCK BY INTERVAL '1 second'").await;
    assert_ne!(client.rows("SELECT now()").await, before);
    assert!(!client.rows("EXPLAIN SELECT * FROM t").await.is_empty());
    client.tag("PREPARE p (INT) AS SELECT v FROM t WHERE id = $1").await;
    assert_eq!(client.rows("EXECUTE p (1)").await, ["x"]);
    assert_eq!(client.rows("EXECUTE p (2 - 1)").await, ["x"]);
    assert_eq!(client.error("EXECUTE q").await.sqlstate, "26000");
    assert_eq!(client.error("SELECT 1 / 0").await.sqlstate, "22012");
    assert_eq!(client.tag("FLUSH").await, "FLUSH");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_create_leaves_nothing_behind() {
    let engine = open("failed_create").await;
    let mut client = Client::new(&engine);
    let error =
        client.error("CREATE SOURCE s (a INT) WITH (connector = 'no_such_thing') FORMAT PLAIN ENCODE JSON").await;
    assert_eq!(error.sqlstate, "22023");
    assert_eq!(client.rows("SHOW SOURCES").await, Vec::<String>::new());
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_is_read_by_views_and_by_queries() {
    let engine = open("source").await;
    let mut client = Client::new(&engine);
    let created = client
        .tag(
            "CREATE SOURCE s (id BIGINT) WITH (connector = 'datagen', \"number-of-rows\" = '1000', \"rows.per.second\" = '100000', \
             \"fields.id.kind\" = 'sequence', \"fields.id.start\" = '1', \"fields.id.end\" = '1000')",
        )
        .await;
    assert_eq!(created, "CREATE SOURCE");
    client.tag("CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n, max(id) AS top FROM s").await;
    engine.wait_ended().await.unwrap();
    assert_eq!(client.rows("SELECT * FROM m").await, ["1000|1000"]);
    assert_eq!(client.rows("SELECT count(*) FROM s").await, ["1000"]);
    assert_eq!(client.rows("SELECT id FROM s ORDER BY id LIMIT 2").await, ["1", "2"]);
    client.tag("CHECKPOINT").await;
    engine.stop().await;
    drop(client);

    let engine = open("source").await;
    let mut client = Client::new(&engine);
    engine.wait_ended().await.unwrap();
    assert_eq!(client.rows("SELECT * FROM m").await, ["1000|1000"]);
    assert_eq!(client.rows("SELECT relation, rows_read, accepted FROM millstream.splits").await.len(), 1);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joined_graph_takes_commits_while_it_is_made() {
    let engine = open("joining").await;
    let mut client = Client::new(&engine);
    for table in ["a", "b", "c"] {
        client.tag(&format!("CREATE TABLE {table} (x INT)")).await;
    }
    let writers: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|table| {
            let mut writer = Client::new(&engine);
            tokio::spawn(async move {
                for x in 0..40 {
                    writer.tag(&format!("INSERT INTO {table} VALUES ({x})")).await;
                    let rows = writer.rows(&format!("SELECT count(*) FROM {table}")).await;
                    assert_eq!(rows, [(x + 1).to_string()], "a session sees what it wrote");
                }
            })
        })
        .collect();
    client.tag("CREATE MATERIALIZED VIEW ab AS SELECT a.x FROM a JOIN b ON a.x = b.x").await;
    client.tag("CREATE MATERIALIZED VIEW abc AS SELECT ab.x FROM ab JOIN c ON ab.x = c.x").await;
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(client.rows("SELECT count(*), sum(x) FROM abc").await, ["40|780"]);
    assert_eq!(client.rows("SELECT count(DISTINCT graph) FROM millstream.jobs").await, ["1"]);
    assert!(!client.rows("SELECT * FROM millstream.operators").await.is_empty());
    engine.stop().await;
    drop(client);

    let engine = open("joining").await;
    let mut client = Client::new(&engine);
    assert_eq!(client.rows("SELECT count(*), sum(x) FROM abc").await, ["40|780"]);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_server_stops_an_older_one() {
    let older = open("owner").await;
    let mut client = Client::new(&older);
    client.tag("CREATE TABLE t (x INT)").await;
    client.tag("INSERT INTO t VALUES (1)").await;
    let newer = open("owner").await;
    let refused = client.error("INSERT INTO t VALUES (2)").await;
    assert_eq!(refused.sqlstate, "57P01");
    assert_eq!(older.fenced().await.kind, millstream_runtime::ErrorKind::Fenced);
    assert_eq!(client.error("CREATE TABLE u (x INT)").await.sqlstate, "57P01");
    let mut client = Client::new(&newer);
    assert_eq!(client.rows("SELECT * FROM t").await, ["1"]);
    client.tag("INSERT INTO t VALUES (3)").await;
    older.stop().await;
    newer.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_in_order_to_write_has_every_earlier_commit() {
    let engine = open("counter").await;
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE t (id INT PRIMARY KEY, n INT)").await;
    client.tag("INSERT INTO t VALUES (1, 0)").await;
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let mut writer = Client::new(&engine);
            tokio::spawn(async move {
                for _ in 0..25 {
                    writer.tag("UPDATE t SET n = n + 1").await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(client.rows("SELECT n FROM t").await, ["100"]);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_have_the_columns_that_their_plan_declares() {
    let engine = open("declared_columns").await;
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE t (id INT, v INT)").await;
    client.tag("CREATE MATERIALIZED VIEW mv AS SELECT id, count(*) AS n FROM t GROUP BY id").await;
    client.tag("INSERT INTO t VALUES (1, 10), (1, 20), (2, 30)").await;
    // count(*) is never null, as the plan of this query knows.
    assert_eq!(client.rows("SELECT count(*), sum(n), max(n) FROM mv").await, ["2|3|2"]);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_is_canceled_while_it_is_filled_is_taken_back() {
    let engine = open("canceled_fill").await;
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE t (x BIGINT)").await;
    client.tag("INSERT INTO t SELECT x FROM generate_series(1, 200000) AS g(x)").await;
    client.tag("SET statement_timeout = '1ms'").await;
    let created =
        client.run("CREATE MATERIALIZED VIEW m AS SELECT x % 1000 AS k, count(*) AS n FROM t GROUP BY 1").await;
    client.tag("SET statement_timeout = 0").await;
    assert_eq!(created.unwrap_err().sqlstate, "57014");
    assert_eq!(client.rows("SHOW MATERIALIZED VIEWS").await, Vec::<String>::new());
    client.tag("CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM t").await;
    assert_eq!(client.rows("SELECT n FROM m").await, ["200000"]);
    engine.stop().await;
}
