//! Statements in both protocols: which messages, in which order, exactly once.

use std::sync::atomic::Ordering;

use super::fake::{connect, start};
use super::raw::{RawClient, bind, close, describe, execute, parse, query, sync, tags};
use crate::wire::WireConfig;

#[tokio::test]
async fn a_driver_runs_statements() {
    let server = start(WireConfig::default()).await;
    let client = connect(&server, None).await.unwrap();
    let rows = client.query("table", &[]).await.unwrap();
    assert_eq!((rows[0].get::<_, Option<i32>>(0), rows[0].get::<_, &str>(1)), (Some(1), "x"));
    assert_eq!((rows[1].get::<_, Option<i32>>(0), rows[1].get::<_, &str>(1)), (None, "u d"));
    assert_eq!(client.query("numbers 10000", &[]).await.unwrap().len(), 10_000);
    assert_eq!(client.execute("insert", &[]).await.unwrap(), 3);

    let statement = client
        .prepare_typed("echo", &[tokio_postgres::types::Type::INT8, tokio_postgres::types::Type::TEXT])
        .await
        .unwrap();
    let row = client.query_one(&statement, &[&-7i64, &"ä"]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, &str>(1)), (-7, "ä"));

    let error = client.query("unknown", &[]).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "42P01");
    assert_eq!(error.hint(), Some("a hint"));
    assert_eq!(error.position(), Some(&tokio_postgres::error::ErrorPosition::Original(3)));
    assert_eq!(client.query("table", &[]).await.unwrap().len(), 2, "the connection lives on");
}

#[tokio::test]
async fn simple_queries_stop_at_the_first_error() {
    let server = start(WireConfig::default()).await;
    let mut client = RawClient::ready(&server).await;
    for (sql, expected) in [
        ("", "IZ"),
        (" ; ", "IZ"),
        ("insert", "CZ"),
        ("table", "TDDCZ"),
        ("numbers 0", "TCZ"),
        ("insert; table; numbers 1", "CTDDCTDCZ"),
        ("insert; fail; insert", "CEZ"),
        ("unknown", "EZ"),
        ("half", "TDDDEZ"),
        ("it's", "EZ"),
        ("echo", "TDCZ"),
        ("set", "NSCZ"),
        ("insert; fail at end", "CEZ"),
    ] {
        assert_eq!(client.tags(&query(sql)).await, expected, "{sql}");
    }
    let executed = server.observed.executed();
    assert_eq!(executed.iter().filter(|sql| *sql == "insert").count(), 4, "{executed:?}");
}

#[tokio::test]
async fn the_state_of_the_transaction_is_told() {
    let server = start(WireConfig::default()).await;
    let mut client = RawClient::ready(&server).await;
    let mut status = async |sql: &str| {
        client.send(&query(sql)).await;
        client.until_ready().await.pop().unwrap().body
    };
    assert_eq!(status("insert").await, b"I");
    assert_eq!(status("begin").await, b"T");
    assert_eq!(status("fail").await, b"E");
    assert_eq!(status("insert").await, b"E");
    assert_eq!(status("rollback").await, b"I");
}

#[tokio::test]
async fn portals_are_sent_in_parts() {
    let server = start(WireConfig::default()).await;
    let mut client = RawClient::ready(&server).await;
    let steps = [
        (parse("s", "numbers 25"), "1"),
        (describe('S', "s"), "tT"),
        (bind("p", "s"), "2"),
        (describe('P', "p"), "T"),
        (execute("p", 12), "DDDDDDDDDDDDs"),
        (execute("p", 1), "Ds"),
        (execute("p", 12), "DDDDDDDDDDDDs"),
        (execute("p", 5), "C"),
        (execute("p", 0), "C"),
        (close('P', "p"), "3"),
        (close('P', "never there"), "3"),
    ];
    let expected: String = steps.iter().map(|(_, expected)| *expected).chain(["Z"]).collect();
    let mut script: Vec<u8> = steps.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
    script.extend(sync());
    assert_eq!(client.tags(&script).await, expected);
    for limit in [i32::MAX, i32::MIN, -1] {
        let script = [bind("", "s"), execute("", limit), sync()].concat();
        assert_eq!(client.tags(&script).await, format!("2{}CZ", "D".repeat(25)));
    }
}

#[tokio::test]
async fn portals_end_with_their_transaction_and_statements_stay() {
    let server = start(WireConfig::default()).await;
    let mut client = RawClient::ready(&server).await;
    let script = [parse("s", "numbers 25"), bind("p", "s"), execute("p", 1), sync()].concat();
    assert_eq!(client.tags(&script).await, "12DsZ");
    assert_eq!(client.tags(&[execute("p", 1), sync()].concat()).await, "EZ");
    assert_eq!(client.tags(&query("begin")).await, "CZ");
    assert_eq!(client.tags(&[bind("p", "s"), execute("p", 1), sync()].concat()).await, "2DsZ");
    assert_eq!(client.tags(&[execute("p", 1), sync()].concat()).await, "DsZ", "the transaction is still open");
    assert_eq!(client.tags(&query("commit")).await, "CZ");
    assert_eq!(client.tags(&[execute("p", 1), sync()].concat()).await, "EZ");
    assert_eq!(client.tags(&query("discard all")).await, "CZ");
    assert_eq!(client.tags(&[bind("p", "s"), sync()].concat()).await, "EZ");
}

#[tokio::test]
async fn deallocate_forgets_statements_of_messages() {
    let server = start(WireConfig::default()).await;
    let mut client = RawClient::ready(&server).await;
    assert_eq!(client.tags(&[parse("s", "table"), sync()].concat()).await, "1Z");
    assert_eq!(client.tags(&query("deallocate s")).await, "CZ");
    assert_eq!(client.tags(&[bind("", "s"), sync()].concat()).await, "EZ");
    assert_eq!(client.tags(&query("deallocate s")).await, "EZ");
}

#[tokio::test]
async fn after_an_error_everything_up_to_sync_is_skipped() {
    let server = start(WireConfig::default()).await;
    let mut client = RawClient::ready(&server).await;
    let good = [parse("", "insert"), bind("", ""), execute("", 0)].concat();
    for (bad, sqlstate) in [
        (parse("", "unknown"), "42P01"),
        (parse("", "insert; insert"), "42601"),
        (bind("", "missing"), "26000"),
        (execute("missing", 0), "34000"),
        (describe('S', "missing"), "26000"),
        (describe('P', "missing"), "34000"),
        ([parse("", "fail"), bind("", ""), execute("", 0)].concat(), "XX001"),
    ] {
        let before = server.observed.executed().iter().filter(|sql| *sql == "insert").count();
        client.send(&[bad, good.clone(), query("insert"), sync()].concat()).await;
        let replies = client.until_ready().await;
        let errors: Vec<_> = replies.iter().filter(|reply| reply.tag == 'E').collect();
        assert_eq!((errors.len(), errors[0].sqlstate().as_str()), (1, sqlstate));
        assert!(tags(&replies).ends_with("EZ"), "{replies:?}");
        let after = server.observed.executed().iter().filter(|sql| *sql == "insert").count();
        assert_eq!(before, after, "nothing behind the error is run");
    }
    assert_eq!(client.tags(&[good, sync()].concat()).await, "12CZ");
}

#[tokio::test]
async fn names_and_formats_are_checked() {
    let server = start(WireConfig::default()).await;
    let mut client = RawClient::ready(&server).await;
    assert_eq!(client.tags(&[parse("s", "table"), sync()].concat()).await, "1Z");
    let raw_bind = |body: &[u8]| super::raw::message('B', body);
    for (script, sqlstate) in [
        (parse("s", "table"), "42P05"),
        ([bind("p", "s"), bind("p", "s")].concat(), "42P03"),
        (raw_bind(b"\0s\0\0\0\0\x01\0\0\0\x01x\0\0"), "08P01"),
        (raw_bind(b"\0s\0\0\x02\0\0\0\0\0\0\0\0"), "08P01"),
        (raw_bind(b"\0s\0\0\0\0\0\0\x03\0\0\0\0\0\0"), "08P01"),
        (raw_bind(b"\0s\0\0\0\0\0\0\x01\0\x07"), "22023"),
        ([parse("", "insert"), bind("p", ""), execute("p", 0), execute("p", 0)].concat(), "55000"),
        (super::raw::message('P', b"\0echo\0\0\x01\0\x0f\x42\x3f"), "42704"),
    ] {
        client.send(&[script, sync()].concat()).await;
        let replies = client.until_ready().await;
        let error = replies.iter().find(|reply| reply.tag == 'E').unwrap();
        assert_eq!(error.sqlstate(), sqlstate);
    }
    assert_eq!(
        client.tags(&[parse("", "  "), bind("", ""), describe('P', ""), execute("", 0), sync()].concat()).await,
        "12nIZ"
    );
    client.send(&super::raw::message('F', b"\0\0\0\0")).await;
    assert_eq!(client.until_ready().await[0].sqlstate(), "0A000");
    client.send(&super::raw::message('Q', b"\xff\0")).await;
    assert_eq!(client.until_ready().await[0].sqlstate(), "22021");
}

#[tokio::test]
async fn a_panic_is_told_and_ends_its_connection_only() {
    let server = start(WireConfig::default()).await;
    let mut other = RawClient::ready(&server).await;
    let mut client = RawClient::ready(&server).await;
    client.send(&[query("panic"), query("insert")].concat()).await;
    let replies = client.until_closed().await;
    assert_eq!((replies.len(), replies[0].sqlstate().as_str()), (1, "XX000"));
    assert_eq!(replies[0].field('S'), "FATAL");
    assert_eq!(other.tags(&query("table")).await, "TDDCZ");
}

#[tokio::test]
async fn a_slow_reader_slows_its_query() {
    let server = start(WireConfig::default()).await;
    let mut client = RawClient::ready(&server).await;
    client.send(&query("endless")).await;
    // Reads a little and then no more: the buffers of both sockets fill and the query stands still.
    client.next().await.unwrap();
    let mut last = usize::MAX;
    loop {
        let now = server.observed.batches.load(Ordering::SeqCst);
        if now == last {
            break;
        }
        last = now;
        tokio::time::timeout(std::time::Duration::from_millis(200), std::future::pending::<()>()).await.unwrap_err();
    }
    assert!(last < 100_000, "{last} batches of 1000 rows fit no socket buffer");
    drop(client);
    server.observed.dropped.notified().await;
}

#[tokio::test]
async fn a_client_that_goes_away_stops_its_query() {
    let server = start(WireConfig::default()).await;
    for sql in ["stall", "wait"] {
        let mut client = RawClient::ready(&server).await;
        client.send(&query(sql)).await;
        if sql == "stall" {
            assert_eq!(client.next().await.unwrap().tag, 'T');
            assert_eq!(client.next().await.unwrap().tag, 'D', "rows are sent while more are awaited");
            drop(client);
            server.observed.dropped.notified().await;
        }
    }
}

#[tokio::test]
async fn a_shutdown_tells_idle_clients_and_ends_running_statements() {
    let mut server = start(WireConfig::default()).await;
    let mut idle = RawClient::ready(&server).await;
    let mut busy = RawClient::ready(&server).await;
    busy.send(&query("stall")).await;
    assert_eq!(busy.next().await.unwrap().tag, 'T');
    assert_eq!(busy.next().await.unwrap().tag, 'D');
    server.shutdown.cancel();
    let last = idle.until_closed().await.pop().unwrap();
    assert_eq!((last.sqlstate().as_str(), last.field('S').as_str()), ("57P01", "FATAL"));
    let replies = busy.until_closed().await;
    assert_eq!(replies.len(), 1, "a statement has one terminal message");
    assert_eq!((replies[0].sqlstate().as_str(), replies[0].field('S').as_str()), ("57P01", "FATAL"));
    drop((idle, busy));
    assert_eq!((&mut server.ended).await.unwrap(), 0);
}
