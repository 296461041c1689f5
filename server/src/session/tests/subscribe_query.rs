//! SUBSCRIBE to queries: what is refused, how a view of one reader ends, and what is left of it: nothing.

use std::sync::Arc;

use millstream_runtime::graph::GraphState;

use super::subscribe::{Epoch, Reader, error_of, newest};
use super::{Client, open};
use crate::engine::limits::TEMPORARY_VIEWS_PER_SESSION;
use crate::engine::{Engine, EngineConfig};

const NEVER: Epoch = (u64::MAX, 0);

/// Waits until no graph has a view that is in no catalog: they look when they are told to, not at once.
async fn until_nothing_is_left(engine: &Arc<Engine>) {
    assert_eq!(engine.temporary_views(), 0, "nobody holds one");
    for graph in engine.state().graphs.values() {
        let mut shown = graph.watch();
        let left = shown.wait_for(|shown| shown.relations.keys().all(|relation| !relation.is_temporary()));
        left.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_is_followed_from_when_it_is_subscribed_to() {
    let engine = open("subscribe_query").await;
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE t (id INT PRIMARY KEY, v INT)").await;
    client.tag("INSERT INTO t VALUES (1, 10), (2, 20), (3, 30)").await;
    client.tag("CREATE VIEW plain AS SELECT id, v FROM t WHERE v > 10").await;
    client.tag("CREATE MATERIALIZED VIEW total AS SELECT sum(v) AS s FROM t").await;
    let mut of_query = Reader::start(&engine, "SUBSCRIBE (SELECT v, id FROM t) WITH (PROGRESS)").await.unwrap();
    let mut of_plain = Reader::start(&engine, "SUBSCRIBE plain WITH (PROGRESS)").await.unwrap();
    let mut of_view = Reader::start(&engine, "SUBSCRIBE TO (SELECT s * 2 FROM total) WITH (PROGRESS)").await.unwrap();
    let mut later =
        Reader::start(&engine, "SUBSCRIBE (SELECT id FROM t) WITH (PROGRESS, SNAPSHOT = false)").await.unwrap();
    assert_eq!(engine.temporary_views(), 4);
    client.tag("UPDATE t SET v = v + 5 WHERE id = 1").await;
    client.tag("DELETE FROM t WHERE id = 3").await;
    client.tag("INSERT INTO t VALUES (4, 40)").await;
    let now = newest(&mut client).await;
    for (reader, rows) in [
        (&mut of_query, vec!["15|1", "20|2", "40|4"]),
        (&mut of_plain, vec!["1|15", "2|20", "4|40"]),
        (&mut of_view, vec!["150"]),
    ] {
        reader.read_to(now).await.unwrap();
        assert_eq!(reader.rows(), rows);
    }
    later.cancel.cancel();
    assert_eq!(later.read_to(NEVER).await.unwrap_err().sqlstate, "57014");
    // Nobody else sees them.
    for sql in [
        "SELECT count(*) FROM pg_class WHERE relkind = 'm'",
        "SELECT count(DISTINCT relation) FROM millstream.jobs WHERE relation LIKE '%total'",
    ] {
        assert_eq!(client.rows(sql).await, ["1"], "{sql}");
    }
    let (number, oid) = {
        let next = engine.state().catalog.next_relation();
        (next.id, next.oid)
    };
    drop((of_query, of_plain, of_view, later));
    until_nothing_is_left(&engine).await;
    let next = engine.state().catalog.next_relation();
    assert_eq!((next.id, next.oid), (number, oid), "no number of the catalog was used");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_a_view_of_one_graph_is_refused_by_name() {
    let engine = open("subscribe_query_refused").await;
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE a (id INT PRIMARY KEY)").await;
    client.tag("CREATE TABLE b (id INT PRIMARY KEY)").await;
    let two = "SUBSCRIBE (SELECT id FROM a JOIN b USING (id))";
    for (sql, sqlstate, message) in [
        (two, "0A000", "cannot subscribe to a query over relations of several jobs"),
        ("SUBSCRIBE (SELECT id FROM missing)", "42P01", "relation \"missing\" does not exist"),
        ("SUBSCRIBE (SELECT id FROM a) AS OF '0.1'", "55000", "epoch 0.1 of the query is not kept"),
        (
            "SUBSCRIBE (SELECT id FROM a) AS OF 99999999.1",
            "22023",
            "epoch 99999999.1 of the query has not been reached",
        ),
        ("SUBSCRIBE (SELECT id FROM a) ENVELOPE UPSERT (KEY (x))", "42703", "column \"x\" does not exist"),
    ] {
        let error = error_of(&engine, sql).await;
        assert_eq!((error.sqlstate, error.message.as_str()), (sqlstate, message), "{sql}");
    }
    let error = error_of(&engine, two).await;
    assert_eq!(error.detail.unwrap(), "The jobs of \"a\" and \"b\" have no epochs in common.");
    assert!(error.hint.unwrap().starts_with("CREATE MATERIALIZED VIEW for the query"));
    client.tag("BEGIN").await;
    client.tag("CREATE TABLE made (id INT)").await;
    for sql in ["SUBSCRIBE made", "SUBSCRIBE (SELECT id FROM made)"] {
        client.tag("SAVEPOINT s").await;
        let error = client.error(sql).await;
        let expected = ("0A000", "cannot subscribe to what the same transaction creates");
        assert_eq!((error.sqlstate, error.message.as_str()), expected, "{sql}");
        client.tag("ROLLBACK TO s").await;
    }
    client.tag("ROLLBACK").await;
    // What a materialized view has joined is one graph.
    client.tag("CREATE MATERIALIZED VIEW j AS SELECT id FROM a JOIN b USING (id)").await;
    let reader = Reader::start(&engine, two).await.unwrap();
    assert_eq!(engine.temporary_views(), 1);
    drop(reader);

    // A session has so many, and no more.
    client.tag("BEGIN").await;
    for number in 0..TEMPORARY_VIEWS_PER_SESSION {
        client.tag(&format!("DECLARE c{number} CURSOR FOR SUBSCRIBE (SELECT id FROM a)")).await;
    }
    client.tag("SAVEPOINT s").await;
    let error = client.error("DECLARE more CURSOR FOR SUBSCRIBE (SELECT id FROM a)").await;
    assert_eq!(
        (error.sqlstate, error.message.as_str()),
        ("54000", "a session can subscribe to at most 100 queries at a time")
    );
    client.tag("ROLLBACK TO s").await;
    client.tag("CLOSE c7").await;
    client.tag("DECLARE more CURSOR FOR SUBSCRIBE (SELECT id FROM a)").await;
    client.tag("ROLLBACK").await;
    until_nothing_is_left(&engine).await;
    engine.stop().await;
}

/// Whatever a cursor ends by, its view goes with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_goes_with_its_cursor() {
    let engine = open("subscribe_query_cursors").await;
    let (mut client, mut writer) = (Client::new(&engine), Client::new(&engine));
    writer.tag("CREATE TABLE t (v INT)").await;
    writer.tag("INSERT INTO t VALUES (1), (2)").await;
    let declare = "DECLARE c CURSOR FOR SUBSCRIBE (SELECT v * 10 FROM t)";
    for end in ["ROLLBACK", "COMMIT", "CLOSE c", "CLOSE ALL", "ROLLBACK TO s", "SELECT 1 / 0"] {
        client.tag("BEGIN").await;
        client.tag("SAVEPOINT s").await;
        client.tag(declare).await;
        assert_eq!(client.rows("FETCH ALL FROM c").await.len(), 2);
        writer.tag("INSERT INTO t VALUES (3)").await;
        let rows = client.rows("FETCH ALL FROM c WITH (timeout = '1h')").await;
        assert!(rows.len() == 1 && rows[0].ends_with("|1|30"), "{rows:?}");
        assert_eq!(engine.temporary_views(), 1);
        // An error fails the transaction, which is over with ROLLBACK.
        match end {
            "SELECT 1 / 0" => {
                assert_eq!(client.error(end).await.sqlstate, "22012");
                client.tag("ROLLBACK").await;
            }
            end => drop(client.tag(end).await),
        }
        until_nothing_is_left(&engine).await;
        client.tag("ROLLBACK").await;
        writer.tag("DELETE FROM t WHERE v = 3").await;
    }
    // Held, it lives with the session.
    client.tag("DECLARE h CURSOR WITH HOLD FOR SUBSCRIBE (SELECT v FROM t)").await;
    assert_eq!(client.rows("FETCH ALL FROM h").await.len(), 2);
    client.tag("DISCARD ALL").await;
    until_nothing_is_left(&engine).await;
    client.tag("DECLARE h CURSOR WITH HOLD FOR SUBSCRIBE (SELECT v FROM t)").await;
    drop(client);
    until_nothing_is_left(&engine).await;
    engine.stop().await;
}

/// Its reader is told which relation is gone.
async fn assert_ended_by_the_drop(mut reader: Reader, relation: &str) {
    let error = reader.read_to(NEVER).await.unwrap_err();
    let message = format!("relation \"{relation}\" was dropped while it was subscribed to");
    assert_eq!((error.sqlstate, error.message), ("42P01", message));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_to_a_query_ends_by_name() {
    let engine = open("subscribe_query_ends").await;
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE t (v INT)").await;
    client.tag("CREATE TABLE u (v INT)").await;
    client.tag("CREATE MATERIALIZED VIEW m AS SELECT t.v FROM t JOIN u ON t.v = u.v").await;
    client.tag("CREATE VIEW plain AS SELECT v FROM u").await;
    let both = "SUBSCRIBE (SELECT t.v FROM t LEFT JOIN u ON t.v = u.v) WITH (PROGRESS)";
    let of_view = Reader::start(&engine, "SUBSCRIBE (SELECT v FROM m) WITH (PROGRESS)").await.unwrap();
    let mut of_tables = Reader::start(&engine, both).await.unwrap();
    let of_plain = Reader::start(&engine, "SUBSCRIBE (SELECT v FROM plain) WITH (PROGRESS)").await.unwrap();
    // It is no dependent: the drop is not refused.
    client.tag("DROP MATERIALIZED VIEW m").await;
    assert_ended_by_the_drop(of_view, "m").await;
    client.tag("INSERT INTO t VALUES (1)").await;
    let now = newest(&mut client).await;
    of_tables.read_to(now).await.unwrap();
    assert_eq!(of_tables.rows(), ["1"], "the others go on");
    client.tag("DROP VIEW plain").await;
    assert_ended_by_the_drop(of_plain, "plain").await;
    client.tag("DROP TABLE u").await;
    assert_ended_by_the_drop(of_tables, "u").await;
    let mut last = Reader::start(&engine, "SUBSCRIBE (SELECT v FROM t) WITH (PROGRESS)").await.unwrap();
    client.tag("DROP TABLE t").await;
    assert_eq!(last.read_to(NEVER).await.unwrap_err().sqlstate, "42P01", "with its graph");

    // Whoever does not read is ended, and what was kept current for it goes at once.
    client.tag("CREATE TABLE wide (v TEXT)").await;
    client.tag("INSERT INTO wide SELECT repeat('x', 8000) FROM generate_series(1, 1000) AS g(i)").await;
    let mut slow = Reader::start(&engine, "SUBSCRIBE (SELECT v, 1 AS one FROM wide) WITH (PROGRESS)").await.unwrap();
    for _ in 0..11 {
        client.tag("UPDATE wide SET v = v || 'x'").await;
    }
    let graph = engine.state().graphs.values().next().unwrap().clone();
    assert!(graph.published().relations.keys().all(|relation| !relation.is_temporary()), "nobody can read it any more");
    let error = slow.read_to(NEVER).await.unwrap_err();
    assert_eq!(
        (error.sqlstate, error.message.as_str()),
        ("55000", "can no longer get changes of the query after its snapshot")
    );
    engine.stop().await;
}

/// The rights are asked of whoever subscribes, for all that is read, for as long as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_needs_the_right_to_read_all_of_it() {
    let engine = open("subscribe_query_rights").await;
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE t (v INT)").await;
    client.tag("CREATE ROLE reader").await;
    client.tag("CREATE MATERIALIZED VIEW m AS SELECT v FROM t").await;
    client.tag("GRANT SELECT ON m TO reader").await;
    client.tag("SET ROLE reader").await;
    let error = client.error("DECLARE c CURSOR WITH HOLD FOR SUBSCRIBE (SELECT v FROM m JOIN t USING (v))").await;
    assert_eq!((error.sqlstate, error.message.as_str()), ("42501", "permission denied for table t"));
    client.tag("DECLARE c CURSOR WITH HOLD FOR SUBSCRIBE (SELECT v FROM m)").await;
    client.tag("RESET ROLE").await;
    client.tag("INSERT INTO t VALUES (1)").await;
    assert_eq!(client.rows("FETCH ALL FROM c WITH (timeout = '1h')").await.len(), 1);
    client.tag("REVOKE SELECT ON m FROM reader").await;
    assert_eq!(client.error("FETCH ALL FROM c").await.sqlstate, "42501");
    client.tag("CLOSE c").await;
    until_nothing_is_left(&engine).await;
    engine.stop().await;
}

/// A large difference is computed where nobody else waits, counted as memory of queries, and given in parts; a wait for
/// it can be given up.
#[test]
fn a_large_difference_holds_up_nobody() {
    // All threads that may block are taken: whatever is computed on the session's own would be there at once.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).max_blocking_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let config = EngineConfig { slots: 2, parallelism: 2, ..EngineConfig::new("memory://subscribe_whole") };
        let engine = Engine::open(EngineConfig { query_memory_bytes: 64 << 20, ..config }).await.unwrap();
        let (mut client, mut writer) = (Client::new(&engine), Client::new(&engine));
        writer.tag("CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT)").await;
        writer.tag("INSERT INTO t SELECT i, repeat('x', 50) FROM generate_series(1, 30000) AS g(i)").await;
        for (subscribe, count) in [
            ("SUBSCRIBE (SELECT id, v FROM t) WITH (SNAPSHOT = false)", 60_000),
            ("SUBSCRIBE t WITH (SNAPSHOT = false) ENVELOPE UPSERT", 30_000),
            ("SUBSCRIBE (SELECT id, v FROM t) WITH (SNAPSHOT = false) ENVELOPE DEBEZIUM (KEY (id))", 30_000),
        ] {
            client.tag(&format!("DECLARE c CURSOR WITH HOLD FOR {subscribe}")).await;
            // Its rows go to the storage on such a thread, too.
            writer.tag("UPDATE t SET v = v || 'y'").await;
            let (release, wait) = std::sync::mpsc::channel::<()>();
            let blocked = tokio::task::spawn_blocking(move || wait.recv());
            assert!(client.rows("FETCH ALL FROM c WITH (timeout = '0s')").await.is_empty(), "{subscribe}");
            assert!(client.rows("FETCH ALL FROM c WITH (timeout = '10ms')").await.is_empty(), "{subscribe}");
            release.send(()).unwrap();
            blocked.await.unwrap().unwrap();
            let rows = client.rows("FETCH 5 FROM c").await;
            assert_eq!(rows.len(), 5);
            let rest = client.rows("FETCH ALL FROM c").await;
            assert_eq!(rest.len(), count - 5, "{subscribe}");
            client.tag("CLOSE c").await;
        }
        // What can't be had is refused, not taken.
        client.tag("DECLARE c CURSOR WITH HOLD FOR SUBSCRIBE t WITH (SNAPSHOT = false)").await;
        writer.tag("UPDATE t SET v = repeat('z', 1000)").await;
        let error = client.error("FETCH ALL FROM c").await;
        assert_eq!(error.sqlstate, "53200", "{error:?}");
        assert!(error.message.starts_with("a difference of "), "{}", error.message);
        client.tag("CLOSE c").await;
        engine.stop().await;
    });
}

/// A view of one reader takes memory of the budget, and is what goes when there is too little.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_takes_more_memory_than_is_left_ends_alone() {
    let config = EngineConfig { slots: 2, parallelism: 2, ..EngineConfig::new("memory://subscribe_query_memory") };
    let engine = Engine::open(EngineConfig { state_memory_bytes: 48 << 20, ..config }).await.unwrap();
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE t (v TEXT)").await;
    client.tag("INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 1000) AS g(i)").await;
    client.tag("CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM t").await;
    let mut large =
        Reader::start(&engine, "SUBSCRIBE (SELECT v || v || v || v AS v FROM t) WITH (PROGRESS)").await.unwrap();
    let mut small = Reader::start(&engine, "SUBSCRIBE (SELECT n FROM n) WITH (PROGRESS)").await.unwrap();
    client.tag("INSERT INTO t SELECT repeat('y', 1000) FROM generate_series(1, 10000) AS g(i)").await;
    let error = large.read_to(NEVER).await.unwrap_err();
    assert_eq!(error.sqlstate, "53200", "{error:?}");
    assert!(error.message.starts_with("the query that is subscribed to: out of memory for state"), "{}", error.message);
    let now = newest(&mut client).await;
    small.read_to(now).await.unwrap();
    assert_eq!(small.rows(), ["11000"]);
    let graph = engine.state().graphs.values().next().unwrap().clone();
    assert_eq!((graph.state(), graph.failures()), (GraphState::Running, 0));
    // One that is too large from the beginning is refused.
    let error = error_of(&engine, "SUBSCRIBE (SELECT repeat(v, 8) AS v FROM t)").await;
    assert_eq!(error.sqlstate, "53200", "{error:?}");
    drop((large, small));
    until_nothing_is_left(&engine).await;
    engine.stop().await;
}

/// What one reader has gives way to other jobs, too: to rows that come there, and to a view that is made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_gives_way_to_what_another_job_needs() {
    for (name, sql, shown) in [
        ("rows", "INSERT INTO u SELECT repeat('z', 1000) FROM generate_series(1, 25000) AS g(i)", "u"),
        ("view", "CREATE MATERIALIZED VIEW w AS SELECT v || v || v || v || v AS v FROM u", "w"),
    ] {
        let config = EngineConfig { slots: 2, parallelism: 2, ..EngineConfig::new(format!("memory://way_{name}")) };
        let engine = Engine::open(EngineConfig { state_memory_bytes: 48 << 20, ..config }).await.unwrap();
        let mut client = Client::new(&engine);
        for table in ["t", "u"] {
            client.tag(&format!("CREATE TABLE {table} (v TEXT)")).await;
            let rows = "SELECT repeat('y', 1000) FROM generate_series(1, 5000) AS g(i)";
            client.tag(&format!("INSERT INTO {table} {rows}")).await;
        }
        let begin = async |query: &str| Reader::start(&engine, &format!("SUBSCRIBE ({query}) WITH (PROGRESS)")).await;
        let mut large = begin("SELECT v || v || v || v || v AS v FROM t").await.unwrap();
        let mut small = begin("SELECT count(*) AS n FROM t").await.unwrap();
        client.tag(sql).await;
        let error = large.read_to(NEVER).await.unwrap_err();
        assert_eq!(error.sqlstate, "53200", "{name}: {error:?}");
        assert!(error.message.starts_with("the query that is subscribed to: out of memory for state"), "{error:?}");
        // Nobody else has noticed.
        assert_eq!(client.rows(&format!("SELECT count(*) > 4999 FROM {shown}")).await, ["true"]);
        client.tag("INSERT INTO t VALUES ('one more')").await;
        while small.rows() != ["5001"] {
            small.read_more().await.unwrap();
        }
        for graph in engine.state().graphs.values() {
            assert_eq!((graph.state(), graph.failures()), (GraphState::Running, 0), "{name}");
        }
        drop((large, small));
        until_nothing_is_left(&engine).await;
        engine.stop().await;
    }
}
