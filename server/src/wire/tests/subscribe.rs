//! SUBSCRIBE over sockets: streams in both protocols and as a COPY, slow readers, cancels, clients that vanish.

use super::raw::{RawClient, Reply, bind, execute, message, parse, query, sync};
use super::served::Served;
use futures::StreamExt;
use tokio_postgres::types::ToSql;

/// The fields of a DataRow.
fn fields(reply: &Reply) -> Vec<Option<String>> {
    assert_eq!(reply.tag, 'D', "{:?}", String::from_utf8_lossy(&reply.body));
    let count = u16::from_be_bytes(reply.body[..2].try_into().unwrap());
    let mut rest = &reply.body[2..];
    let mut next = || {
        let length = i32::from_be_bytes(rest[..4].try_into().unwrap());
        rest = &rest[4..];
        let length = usize::try_from(length).ok()?;
        let value = String::from_utf8(rest[..length].to_vec()).unwrap();
        rest = &rest[length..];
        Some(value)
    };
    (0..count).map(|_| next()).collect()
}

/// Everything behind the epoch.
fn row(reply: &Reply) -> Vec<String> {
    fields(reply)[1..].iter().map(|field| field.clone().unwrap_or("null".to_string())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_streams_in_both_protocols_and_as_a_copy() {
    let server = Served::start().await;
    let client = server.client().await;
    client.batch_execute("CREATE TABLE t (id INT PRIMARY KEY, v TEXT)").await.unwrap();
    client.batch_execute("INSERT INTO t VALUES (1, 'one')").await.unwrap();
    client.batch_execute("CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM t").await.unwrap();

    let mut simple = server.raw().await;
    simple.send(&query("SUBSCRIBE TO t")).await;
    let description = simple.next().await.unwrap();
    assert_eq!(description.tag, 'T');
    for name in ["epoch", "weight", "id", "v"] {
        assert!(String::from_utf8_lossy(&description.body).contains(&format!("{name}\0")), "{name}");
    }
    assert_eq!(row(&simple.next().await.unwrap()), ["1", "1", "one"]);
    let mut copied = server.raw().await;
    copied.send(&query("COPY (SUBSCRIBE n WITH (SNAPSHOT = false)) TO STDOUT WITH (FORMAT csv)")).await;
    assert_eq!(copied.next().await.unwrap().tag, 'H');
    // A portal that is asked for two rows at a time.
    let mut portal = server.raw().await;
    portal.send(&[parse("", "SUBSCRIBE n"), bind("", ""), execute("", 2), message('H', b"")].concat()).await;
    assert_eq!(portal.next().await.unwrap().tag, '1');
    assert_eq!(portal.next().await.unwrap().tag, '2');
    assert_eq!(row(&portal.next().await.unwrap()), ["1", "1"]);

    // Nobody has to wait for a buffer to fill: each change comes by itself.
    client.batch_execute("INSERT INTO t VALUES (2, NULL)").await.unwrap();
    assert_eq!(row(&simple.next().await.unwrap()), ["1", "2", "null"]);
    let mut counts = vec![row(&portal.next().await.unwrap())];
    assert_eq!(portal.next().await.unwrap().tag, 's', "two rows were asked for");
    portal.send(&[execute("", 1), message('H', b"")].concat()).await;
    counts.push(row(&portal.next().await.unwrap()));
    counts.sort_unstable();
    assert_eq!(counts, [["-1", "1"], ["1", "2"]]);
    assert_eq!(portal.next().await.unwrap().tag, 's');
    portal.send(&sync()).await;
    assert_eq!(portal.next().await.unwrap().tag, 'Z');
    let mut lines = Vec::new();
    for _ in 0..2 {
        let data = copied.next().await.unwrap();
        assert_eq!(data.tag, 'd');
        let line = String::from_utf8(data.body).unwrap();
        lines.push(line.split_once(',').unwrap().1.to_string());
    }
    lines.sort_unstable();
    assert_eq!(lines, ["-1,1\n", "1,2\n"]);

    client.batch_execute("UPDATE t SET v = 'two' WHERE id = 2").await.unwrap();
    let mut changes = vec![row(&simple.next().await.unwrap()), row(&simple.next().await.unwrap())];
    changes.sort_unstable();
    assert_eq!(changes, [["-1", "2", "null"], ["1", "2", "two"]]);
    client.batch_execute("DROP MATERIALIZED VIEW n").await.unwrap();
    let ended = copied.until_ready().await;
    assert_eq!(ended.iter().find(|reply| reply.tag == 'E').unwrap().sqlstate(), "42P01");
}

/// A cancel, a timeout, the loss of the right to read and the end of the server: one answer each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_is_ended_from_outside() {
    let server = Served::start().await;
    // Once there are roles, nobody gets in under another name.
    let (owner, client, mut raw) = (server.client().await, server.client().await, server.raw().await);
    owner.batch_execute("CREATE TABLE t (v INT); INSERT INTO t VALUES (1)").await.unwrap();
    owner.batch_execute("CREATE ROLE reader LOGIN; GRANT SELECT ON t TO reader").await.unwrap();

    let rows = client.query_raw("SUBSCRIBE t", std::iter::empty::<i32>()).await.unwrap();
    let mut rows = Box::pin(rows);
    assert_eq!(rows.next().await.unwrap().unwrap().get::<_, i32>(2), 1);
    client.cancel_token().cancel_query(tokio_postgres::NoTls).await.unwrap();
    let error = rows.next().await.unwrap().unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57014");
    assert!(rows.next().await.is_none());
    assert_eq!(client.query_one("SELECT v FROM t", &[]).await.unwrap().get::<_, i32>(0), 1);

    client.batch_execute("SET statement_timeout = '20ms'").await.unwrap();
    let error = client.batch_execute("SUBSCRIBE t").await.unwrap_err();
    assert_eq!(error.as_db_error().unwrap().message(), "canceling statement due to statement timeout");
    client.batch_execute("RESET statement_timeout").await.unwrap();

    client.batch_execute("SET ROLE reader").await.unwrap();
    let rows = client.query_raw("SUBSCRIBE t", std::iter::empty::<i32>()).await.unwrap();
    let mut rows = Box::pin(rows);
    assert_eq!(rows.next().await.unwrap().unwrap().get::<_, i32>(2), 1);
    owner.batch_execute("REVOKE SELECT ON t FROM reader").await.unwrap();
    owner.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
    let error = rows.next().await.unwrap().unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42501", "what it may not read it is not told");
    let error = client.query("SUBSCRIBE t", &[]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42501");

    raw.send(&query("SUBSCRIBE t WITH (SNAPSHOT = false)")).await;
    assert_eq!(raw.next().await.unwrap().tag, 'T');
    drop(server);
    let replies = raw.until_closed().await;
    let errors: Vec<String> = replies.iter().filter(|reply| reply.tag == 'E').map(Reply::sqlstate).collect();
    assert_eq!(errors, ["57P01"]);
}

/// Clients that vanish while nothing happens leave nothing behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanishes_ends_its_subscription() {
    let server = Served::start().await;
    let client = server.client().await;
    client.batch_execute("CREATE TABLE t (v INT)").await.unwrap();
    let mut gone = server.raw().await;
    gone.send(&query("SUBSCRIBE t")).await;
    assert_eq!(gone.next().await.unwrap().tag, 'T');
    drop(gone);
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SUBSCRIBE%'";
    while client.query_one(sessions, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        tokio::task::yield_now().await;
    }
}

/// A table of ten megabytes, who changes it, and who has sent a SUBSCRIBE and reads no further than its columns.
async fn reader_that_stops(server: &Served, subscribe: &str) -> (tokio_postgres::Client, RawClient) {
    let client = server.client().await;
    client.batch_execute("CREATE TABLE wide (v TEXT)").await.unwrap();
    let filled = "INSERT INTO wide SELECT repeat('x', 10000) FROM generate_series(1, 1000) AS g(i)";
    client.batch_execute(filled).await.unwrap();
    let mut slow = server.raw().await;
    slow.send(&query(subscribe)).await;
    assert_eq!(slow.next().await.unwrap().tag, 'T');
    (client, slow)
}

/// It reads on: rows, why there are no more, and that it may go on.
async fn assert_ended_with_a_reason(mut slow: RawClient, of: &str) {
    let replies = slow.until_ready().await;
    let [rows @ .., error, last] = replies.as_slice() else { panic!("{} replies", replies.len()) };
    assert_eq!(last.tag, 'Z');
    assert_eq!((error.tag, error.sqlstate().as_str()), ('E', "55000"));
    let message = error.field('M');
    assert!(message.starts_with(&format!("can no longer get changes of {of} after ")), "{message}");
    assert!(!error.field('H').is_empty() && rows.iter().all(|reply| reply.tag == 'D'));
}

/// Whoever stops reading is told so when it reads again, and meanwhile nothing is kept for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_is_ended_with_a_reason() {
    let server = Served::start().await;
    let (client, slow) = reader_that_stops(&server, "SUBSCRIBE wide").await;
    for _ in 0..10 {
        client.batch_execute("UPDATE wide SET v = v || 'x'").await.unwrap();
    }
    assert_ended_with_a_reason(slow, "\"wide\"").await;
}

/// The same for a query: what was kept current for a reader that has stopped goes long before it reads again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_a_query_that_stops_is_ended_with_a_reason() {
    let server = Served::start().await;
    let (client, slow) = reader_that_stops(&server, "SUBSCRIBE (SELECT v, length(v) AS n FROM wide)").await;
    let kept = || {
        let state = server.engine.state();
        let shown: Vec<_> = state.graphs.values().map(|graph| graph.published()).collect();
        shown.iter().flat_map(|shown| shown.relations.keys()).filter(|relation| relation.is_temporary()).count()
    };
    assert_eq!(kept(), 1);
    let mut updates = 0;
    while kept() > 0 {
        client.batch_execute("UPDATE wide SET v = v || 'x'").await.unwrap();
        updates += 1;
        assert!(updates < 30, "64 MiB are kept for it, and 20 more are superseded by every update");
    }
    assert_eq!(server.engine.temporary_views(), 1, "it is not told yet");
    assert_ended_with_a_reason(slow, "the query").await;
    until_nobody_subscribes(&server).await;
}

/// Waits until the server has heard of the end of every subscription to a query.
async fn until_nobody_subscribes(server: &Served) {
    while server.engine.temporary_views() > 0 {
        tokio::task::yield_now().await;
    }
}

/// A query in both protocols, as a COPY and by a cursor; whatever its client does, its view goes with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_streams_and_leaves_nothing_behind() {
    let server = Served::start().await;
    let client = server.client().await;
    client.batch_execute("CREATE TABLE t (id INT PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'a')").await.unwrap();
    let grouped = "SELECT v, count(*) AS n FROM t GROUP BY v";
    let mut simple = server.raw().await;
    simple.send(&query(&format!("SUBSCRIBE ({grouped}) ENVELOPE UPSERT"))).await;
    let description = simple.next().await.unwrap();
    for name in ["epoch", "op", "v", "n"] {
        assert!(String::from_utf8_lossy(&description.body).contains(&format!("{name}\0")), "{name}");
    }
    assert_eq!(row(&simple.next().await.unwrap()), ["upsert", "a", "1"]);
    let mut portal = server.raw().await;
    let described = format!("SUBSCRIBE ({grouped}) ENVELOPE DEBEZIUM (KEY (v))");
    portal.send(&[parse("", &described), bind("", ""), execute("", 1), message('H', b"")].concat()).await;
    assert_eq!((portal.next().await.unwrap().tag, portal.next().await.unwrap().tag), ('1', '2'));
    assert_eq!(row(&portal.next().await.unwrap()), ["insert", "null", "null", "a", "1"]);
    assert_eq!(portal.next().await.unwrap().tag, 's');
    let mut copied = server.raw().await;
    copied.send(&query(&format!("COPY (SUBSCRIBE ({grouped}) WITH (SNAPSHOT = false)) TO STDOUT"))).await;
    assert_eq!(copied.next().await.unwrap().tag, 'H');
    let mut fetched = server.client().await;
    let transaction = fetched.transaction().await.unwrap();
    transaction.batch_execute(&format!("DECLARE c CURSOR FOR SUBSCRIBE ({grouped})")).await.unwrap();
    assert_eq!(transaction.query("FETCH ALL FROM c", &[]).await.unwrap().len(), 1);
    assert_eq!(server.engine.temporary_views(), 4);

    client.batch_execute("INSERT INTO t VALUES (2, 'a')").await.unwrap();
    assert_eq!(row(&simple.next().await.unwrap()), ["upsert", "a", "2"]);
    portal.send(&[execute("", 1), message('H', b"")].concat()).await;
    assert_eq!(row(&portal.next().await.unwrap()), ["update", "a", "1", "a", "2"]);
    let mut lines = Vec::new();
    for _ in 0..2 {
        let line = String::from_utf8(copied.next().await.unwrap().body).unwrap();
        lines.push(line.split_once('\t').unwrap().1.to_string());
    }
    lines.sort_unstable();
    assert_eq!(lines, ["-1\ta\t1\n", "1\ta\t2\n"]);
    assert_eq!(transaction.query("FETCH ALL FROM c", &[]).await.unwrap().len(), 2);

    // Two are dropped with their sockets, one with its portal, one with its transaction, one is cancelled.
    drop((simple, copied));
    portal.send(&sync()).await;
    transaction.rollback().await.unwrap();
    fetched.batch_execute("SET statement_timeout = '20ms'").await.unwrap();
    let error = fetched.batch_execute(&format!("SUBSCRIBE ({grouped})")).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57014");
    until_nobody_subscribes(&server).await;
}

/// A query is made a view when its parameters are known: directly, behind a cursor, with nulls, more than once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_takes_parameters() {
    let server = Served::start().await;
    let (mut client, writer) = (server.client().await, server.client().await);
    writer.batch_execute("CREATE TABLE t (id INT PRIMARY KEY, k TEXT); INSERT INTO t VALUES (1, 'a')").await.unwrap();
    let subscribe = "SUBSCRIBE (SELECT k, count(*) AS n FROM t WHERE k = $1 AND id < $2 GROUP BY k) ENVELOPE UPSERT";
    let statement = client.prepare(subscribe).await.unwrap();
    let types: Vec<&str> = statement.params().iter().map(|one| one.name()).collect();
    assert_eq!(types, ["text", "int4"]);
    let names: Vec<&str> = statement.columns().iter().map(|column| column.name()).collect();
    assert_eq!(names, ["epoch", "op", "k", "n"]);
    let values: [&(dyn ToSql + Sync); 2] = [&"a", &100_i32];
    let mut of_a = Box::pin(client.query_raw(&statement, values).await.unwrap());
    let first = of_a.next().await.unwrap().unwrap();
    assert_eq!((first.get::<_, &str>(1), first.get::<_, &str>(2), first.get::<_, i64>(3)), ("upsert", "a", 1));
    writer.batch_execute("INSERT INTO t VALUES (2, 'b'), (200, 'a')").await.unwrap();
    writer.batch_execute("INSERT INTO t VALUES (3, 'a')").await.unwrap();
    assert_eq!(of_a.next().await.unwrap().unwrap().get::<_, i64>(3), 2, "what does not meet it is not given");
    client.cancel_token().cancel_query(tokio_postgres::NoTls).await.unwrap();
    assert_eq!(of_a.next().await.unwrap().unwrap_err().code().unwrap().code(), "57014");
    drop(of_a);

    // Where no column is a key, whatever the values are, that is said when it is run.
    let without_key = client.prepare("SUBSCRIBE (SELECT k FROM t WHERE k = $1) ENVELOPE UPSERT").await.unwrap();
    let error = client.query(&without_key, &[&"a"]).await.unwrap_err();
    assert_eq!(error.as_db_error().unwrap().message(), "these columns are not known to be unique");
    let error = client.prepare("SUBSCRIBE (SELECT id FROM t WHERE k = $1 AND missing)").await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42703");

    let transaction = client.transaction().await.unwrap();
    let declare = "DECLARE c CURSOR FOR SUBSCRIBE (SELECT id FROM t WHERE k = $1)";
    transaction.execute(declare, &[&"b"]).await.unwrap();
    let of_null = "DECLARE d CURSOR FOR SUBSCRIBE (SELECT id FROM t WHERE k = $1)";
    transaction.execute(of_null, &[&None::<&str>]).await.unwrap();
    let rows = transaction.query("FETCH ALL FROM c", &[]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get::<_, i32>(2)).collect::<Vec<_>>(), [2]);
    writer.batch_execute("INSERT INTO t VALUES (4, 'b'), (5, NULL)").await.unwrap();
    let rows = transaction.query("FETCH ALL FROM c", &[]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get::<_, i32>(2)).collect::<Vec<_>>(), [4]);
    assert!(transaction.query("FETCH ALL FROM d WITH (timeout = '0s')", &[]).await.unwrap().is_empty());
    let explained = transaction.query("EXPLAIN SUBSCRIBE (SELECT id FROM t WHERE k = $1)", &[&"b"]).await.unwrap();
    let lines: Vec<&str> = explained.iter().map(|row| row.get(0)).collect();
    assert!(lines.iter().any(|line| line.starts_with("Filter") || line.contains("= b")), "{lines:?}");
    transaction.rollback().await.unwrap();
    until_nobody_subscribes(&server).await;
}
