//! SUBSCRIBE to rows that did not get through: `$rejected`, `$late` and `$refused` are followed as relations are.

use super::subscribe::{Epoch, Reader, newest};
use super::{Client, open};

const NEVER: Epoch = (u64::MAX, 0);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_rows_are_followed() {
    let engine = open("subscribe_late").await;
    let mut client = Client::new(&engine);
    let columns = "id INT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '5 seconds'";
    client.tag(&format!("CREATE TABLE clicks ({columns})")).await;
    let mut late = Reader::start(&engine, "SUBSCRIBE \"clicks$late\" WITH (PROGRESS)").await.unwrap();
    client.tag("INSERT INTO clicks VALUES (1, '2026-01-01 12:00:30')").await;
    client.tag("INSERT INTO clicks VALUES (2, '2026-01-01 12:00:01'), (3, '2026-01-01 12:00:29')").await;
    late.read_to(newest(&mut client).await).await.unwrap();
    assert_eq!(late.rows(), ["2|2026-01-01T12:00:01"]);
    // Each gives what it has not given yet, over a restart of the graph, too; one that begins later has all.
    engine.state().graphs.values().for_each(|graph| graph.restart("a test"));
    client.tag("INSERT INTO clicks VALUES (4, '2026-01-01 12:00:02')").await;
    let mut after = Reader::start(&engine, "SUBSCRIBE \"clicks$late\" WITH (PROGRESS)").await.unwrap();
    let now = newest(&mut client).await;
    for reader in [&mut late, &mut after] {
        reader.read_to(now).await.unwrap();
        assert_eq!(reader.rows(), ["2|2026-01-01T12:00:01", "4|2026-01-01T12:00:02"]);
    }
    // It is called as it is called now, and goes with its owner.
    client.tag("ALTER TABLE clicks RENAME TO hits").await;
    client.tag("INSERT INTO hits VALUES (5, '2026-01-01 12:00:03')").await;
    late.read_to(newest(&mut client).await).await.unwrap();
    assert_eq!(late.rows().len(), 3);
    client.tag("DROP TABLE hits").await;
    let error = late.read_to(NEVER).await.unwrap_err();
    let expected = ("42P01", "relation \"hits\" was dropped while it was subscribed to");
    assert_eq!((error.sqlstate, error.message.as_str()), expected);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_records_of_a_source_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    // A line of a file that is watched ends with its line break.
    let write = |name: &str, lines: &[&str]| std::fs::write(folder.path().join(name), lines.concat()).unwrap();
    write("one.json", &["{\"id\": 1}\n", "{\"id\": \"no\"}\n"]);
    let engine = open("subscribe_rejected").await;
    let mut client = Client::new(&engine);
    let source = format!(
        "CREATE SOURCE s (id INT) WITH (connector = 'file', path = '{}', mode = 'watch') FORMAT PLAIN ENCODE JSON",
        folder.path().display()
    );
    client.tag(&source).await;
    client.tag("CREATE MATERIALIZED VIEW v AS SELECT 10 / (id - 2) AS q FROM s").await;
    let begin = async |what: &str| Reader::start(&engine, &format!("SUBSCRIBE {what} WITH (PROGRESS)")).await.unwrap();
    let (mut of_source, mut of_view) = (begin("\"s$rejected\"").await, begin("\"v$rejected\"").await);
    while of_source.rows().is_empty() {
        of_source.read_more().await.unwrap();
    }
    assert_eq!(of_source.rows().len(), 1, "{:?}", of_source.rows());
    assert!(of_source.rows()[0].contains("id"), "{:?}", of_source.rows());
    write("two.json", &["{\"id\": 2}\n", "{\n", "{\"id\": 3}\n"]);
    // A new file is found when its folder is looked at again.
    while of_source.rows().len() < 2 {
        of_source.read_more().await.unwrap();
    }
    let now = newest(&mut client).await;
    for (reader, relation) in [(&mut of_source, "\"s$rejected\""), (&mut of_view, "\"v$rejected\"")] {
        reader.read_to(now).await.unwrap();
        let mut shown = client.rows(&format!("SELECT * FROM {relation}")).await;
        shown.sort_unstable();
        assert_eq!(reader.rows(), shown, "{relation}");
    }
    assert!(of_view.rows()[0].contains("division by zero"), "{:?}", of_view.rows());
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_a_sink_refuses_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open("subscribe_refused_rows").await;
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE t (id INT, f DOUBLE PRECISION) APPEND ONLY").await;
    let path = folder.path().join("out").display().to_string();
    client
        .tag(&format!("CREATE SINK k FROM t WITH (connector = 'file', path = '{path}') FORMAT PLAIN ENCODE JSON"))
        .await;
    let mut refused = Reader::start(&engine, "SUBSCRIBE \"k$refused\" WITH (PROGRESS)").await.unwrap();
    client.tag("INSERT INTO t VALUES (1, 1.5), (2, 'NaN')").await;
    refused.read_to(newest(&mut client).await).await.unwrap();
    assert_eq!(refused.rows().len(), 1, "{:?}", refused.rows());
    assert!(refused.rows()[0].contains("NaN has no number in JSON"), "{:?}", refused.rows());
    // Nothing comes twice over a restart of the graph, and whoever begins later has all.
    engine.state().graphs.values().for_each(|graph| graph.restart("a test"));
    client.tag("INSERT INTO t VALUES (3, 'Infinity'), (4, 4)").await;
    let mut after = Reader::start(&engine, "SUBSCRIBE \"k$refused\" WITH (PROGRESS)").await.unwrap();
    let now = newest(&mut client).await;
    let mut shown = client.rows("SELECT * FROM \"k$refused\"").await;
    shown.sort_unstable();
    assert_eq!(shown.len(), 2, "{shown:?}");
    for reader in [&mut refused, &mut after] {
        reader.read_to(now).await.unwrap();
        assert_eq!(reader.rows(), shown);
    }
    client.tag("DROP SINK k").await;
    let error = refused.read_to(NEVER).await.unwrap_err();
    let expected = ("42P01", "relation \"k\" was dropped while it was subscribed to");
    assert_eq!((error.sqlstate, error.message.as_str()), expected);
    engine.stop().await;
}

/// Whoever may read a relation may read what stands beside it, and nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_beside_a_relation_needs_the_right_to_read_it() {
    let engine = open("subscribe_beside_rights").await;
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE t (v INT)").await;
    client.tag("CREATE MATERIALIZED VIEW m AS SELECT 1 / v AS q FROM t").await;
    client.tag("CREATE ROLE reader").await;
    client.tag("SET ROLE reader").await;
    let declare = "DECLARE c CURSOR WITH HOLD FOR SUBSCRIBE \"m$rejected\"";
    let error = client.error(declare).await;
    assert_eq!(error.sqlstate, "42501", "{error:?}");
    client.tag("RESET ROLE").await;
    client.tag("GRANT SELECT ON m TO reader").await;
    client.tag("SET ROLE reader").await;
    client.tag(declare).await;
    client.tag("RESET ROLE").await;
    client.tag("INSERT INTO t VALUES (0), (1)").await;
    let rows = client.rows("FETCH ALL FROM c WITH (timeout = '1h')").await;
    assert!(rows.len() == 1 && rows[0].contains("|1|"), "{rows:?}");
    client.tag("REVOKE SELECT ON m FROM reader").await;
    assert_eq!(client.error("FETCH ALL FROM c").await.sqlstate, "42501");
    engine.stop().await;
}
