//! SUBSCRIBE to queries, from the outside: what a killed server leaves of their views in its storage, which is nothing.

use std::path::{Path, PathBuf};

use millstream_sql_tests::server::{Launch, Session};

use crate::secrets::files_with;

/// A text of a materialized view, which stands in the storage, and one of queries, which does not.
const KEPT: &str = "kept-5b0d73";
const PASSING: &str = "passing-c41f9e";

async fn subscribe(session: &Session, name: &str) {
    let plain = format!("SELECT id, '{PASSING}' || id AS v FROM t");
    let grouped = format!("SELECT '{PASSING}' || id % 7 AS v, count(*) AS n FROM t GROUP BY '{PASSING}' || id % 7");
    session.run(&format!("DECLARE {name} CURSOR WITH HOLD FOR SUBSCRIBE ({plain})")).await;
    session.run(&format!("DECLARE {name}_grouped CURSOR WITH HOLD FOR SUBSCRIBE ({grouped})")).await;
}

fn assert_nothing_stands(storage: &Path, when: &str) {
    assert_ne!(files_with(storage, KEPT), Vec::<PathBuf>::new(), "{when}: what is looked for is found");
    assert_eq!(files_with(storage, PASSING), Vec::<PathBuf>::new(), "{when}");
}

#[tokio::test]
async fn a_kill_leaves_nothing_of_a_query_that_was_subscribed_to() {
    let storage = tempfile::tempdir().unwrap();
    let launch = Launch::new(storage.path().to_str().unwrap());
    let server = launch.start().await;
    let (session, reader) = (server.connect().await, server.connect().await);
    session.run("CREATE TABLE t (id INT PRIMARY KEY)").await;
    session.run(&format!("CREATE MATERIALIZED VIEW m AS SELECT '{KEPT}' || id AS v FROM t")).await;
    session.run("INSERT INTO t SELECT i FROM generate_series(1, 1000) AS g(i)").await;
    subscribe(&reader, "c").await;
    assert_eq!(reader.rows("FETCH ALL FROM c").await.len(), 1000);
    for round in 1..4 {
        session.run(&format!("INSERT INTO t VALUES ({})", 1000 + round)).await;
        session.run("CHECKPOINT").await;
        assert_eq!(reader.rows("FETCH ALL FROM c WITH (timeout = '1h')").await.len(), 1);
        assert_nothing_stands(storage.path(), &format!("checkpoint {round}"));
    }
    let catalog = "SELECT oid, relname FROM pg_class WHERE relkind IN ('r', 'm', 'v') AND oid >= 16384 ORDER BY oid";
    let before = session.rows(catalog).await;
    server.kill().await;
    assert_nothing_stands(storage.path(), "after the kill");

    let server = launch.start().await;
    let (session, reader) = (server.connect().await, server.connect().await);
    session.run("FLUSH").await;
    assert_eq!(session.rows(catalog).await, before);
    assert_eq!(session.rows("SELECT count(*), count(DISTINCT v) FROM m").await, [["1003", "1003"]]);
    assert_eq!(session.rows("SELECT count(*) FROM pg_cursors").await, [["0"]]);
    subscribe(&reader, "c").await;
    assert_eq!(reader.rows("FETCH ALL FROM c").await.len(), 1003);
    session.run("CHECKPOINT").await;
    session.run("CREATE TABLE u (id INT)").await;
    let now = session.rows(catalog).await;
    let newest = |rows: &[Vec<String>]| rows.iter().map(|row| row[0].parse::<u32>().unwrap()).max().unwrap();
    assert_eq!(newest(&now), newest(&before) + 1, "no number of the catalog was used");
    assert_nothing_stands(storage.path(), "after the restart");
    server.kill().await;
}
