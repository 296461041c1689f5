//! What pgwire's stock loop gets wrong, and the other tests here do not provoke: see the table in `mod.rs`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::fake::start;
use super::raw::{RawClient, Reply, bind, describe, execute, message, packet, parse, query, startup, sync};
use super::served::Served;
use crate::wire::WireConfig;
use crate::wire::scram::Credentials;

/// The messages whose bodies the stock loop decodes before it asks whether they may come.
const TAGS: &[u8] = b"pdCDEPB";

/// What ends a connection: one error, and no word behind it.
fn is_one_farewell(replies: &[Reply]) -> bool {
    let errors: Vec<&Reply> = replies.iter().filter(|reply| reply.tag == 'E').collect();
    errors.len() == 1 && errors[0].field('S') == "FATAL" && errors[0].sqlstate() == "08P01"
}

#[tokio::test]
async fn short_bodies_end_the_connection_before_the_login_and_behind_it() {
    let credentials = Credentials::new(None, "a password");
    let locked = start(WireConfig { credentials: Some(Arc::new(credentials)), ..WireConfig::default() }).await;
    let open = start(WireConfig::default()).await;
    for &tag in TAGS {
        // Too short for every one of them but CopyData, which has no shape.
        for length in 0..2 {
            let short = message(tag as char, &vec![b'S'; length]);
            let mut client = RawClient::connect(&locked).await;
            client.send(&[startup(), short.clone(), query("insert")].concat()).await;
            let replies = client.until_closed().await;
            assert!(is_one_farewell(&replies), "before the login, {} {length}: {replies:?}", tag as char);

            let mut client = RawClient::ready(&open).await;
            client.send(&[short, query("insert")].concat()).await;
            if tag == b'd' {
                // Outside of a COPY its data goes nowhere, as in Postgres.
                assert_eq!(client.until_ready().await.iter().map(|reply| reply.tag).collect::<String>(), "CZ");
                continue;
            }
            let replies = client.until_closed().await;
            assert!(is_one_farewell(&replies), "behind the login, {} {length}: {replies:?}", tag as char);
        }
    }
    assert!(locked.observed.executed().is_empty());
    assert!(open.observed.executed().iter().all(|sql| sql == "insert"));
    assert_eq!(open.observed.executed().len(), 2, "those behind CopyData only");
}

#[tokio::test]
async fn before_the_login_a_tag_is_enough_to_be_refused() {
    let credentials = Arc::new(Credentials::new(None, "a password"));
    let server = start(WireConfig { credentials: Some(credentials), ..WireConfig::default() }).await;
    for tag in (0..=u8::MAX).filter(|tag| !b"pX".contains(tag)) {
        let mut client = RawClient::connect(&server).await;
        // Its length and its body never come: whoever waits for them waits for the deadline.
        client.send(&[startup(), vec![tag]].concat()).await;
        let replies = client.until_closed().await;
        assert!(is_one_farewell(&replies), "{tag}: {replies:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_promised_and_too_large_is_not_waited_for() {
    let credentials = Arc::new(Credentials::new(None, "a password"));
    let locked = start(WireConfig { credentials: Some(credentials), ..WireConfig::default() }).await;
    let open = start(WireConfig::default()).await;
    let half_a_gigabyte = (512i32 << 20).to_be_bytes();
    for &tag in b"QPBd" {
        let header = [&[tag][..], &half_a_gigabyte].concat();
        let mut client = RawClient::ready(&open).await;
        client.send(&header).await;
        assert!(is_one_farewell(&client.until_closed().await), "{}", tag as char);
    }
    // Before the login 64 KiB are the most, for the first packet and for passwords.
    let too_long = ((64i32 << 10) + 1).to_be_bytes();
    let opening = [&too_long[..], b"\0\x03\0\0"].concat();
    for bytes in [opening, [&startup()[..], b"p", &too_long].concat()] {
        let mut client = RawClient::connect(&locked).await;
        client.send(&bytes).await;
        assert!(is_one_farewell(&client.until_closed().await), "{bytes:?}");
    }
}

#[tokio::test]
async fn a_body_is_read_from_its_own_bytes_only() {
    let server = start(WireConfig::default()).await;
    // Each lacks its end, which stands in the message behind it.
    for bytes in [
        message('Q', b"insert"),
        message('P', b"name"),
        message('D', b"Sname"),
        message('C', b"Pname"),
        message('E', b"portal"),
        message('B', b"\0\0\0\0\0\x01\0\0\0\x20"),
    ] {
        let mut client = RawClient::ready(&server).await;
        client.send(&[bytes.clone(), message('d', &[0; 64]), query("insert")].concat()).await;
        let replies = client.until_closed().await;
        assert!(is_one_farewell(&replies), "{bytes:?}: {replies:?}");
    }
    assert!(server.observed.executed().is_empty());
}

#[tokio::test]
async fn a_portal_without_a_limit_streams_and_meets_its_cancel() {
    let server = start(WireConfig::default()).await;
    let mut client = RawClient::connect(&server).await;
    client.send(&startup()).await;
    let key = client.until_ready().await.into_iter().find(|reply| reply.tag == 'K').unwrap().body;
    let script = [parse("", "endless"), bind("", ""), describe('P', ""), execute("", 0), sync()].concat();
    client.send(&script).await;
    let mut begun = String::new();
    while !begun.ends_with('D') {
        begun.push(client.next().await.unwrap().tag);
    }
    assert_eq!(begun, "12TD");
    for _ in 0..5_000 {
        assert_eq!(client.next().await.unwrap().tag, 'D');
    }
    // Rows are made as they are taken: what nobody has read fits the buffers of two sockets.
    assert!(server.observed.batches.load(Ordering::SeqCst) < 100_000);
    let mut cancel = RawClient::connect(&server).await;
    cancel.send(&packet(&[&80_877_102i32.to_be_bytes()[..], &key].concat())).await;
    assert!(cancel.until_closed().await.is_empty());
    // What the buffers of two sockets hold may still come.
    let mut rows = 0;
    let ended = loop {
        match client.next().await.unwrap() {
            reply if reply.tag == 'D' => rows += 1,
            reply => break reply,
        }
        assert!(rows < 2_000_000, "rows flow on behind the cancel");
    };
    assert_eq!(ended.sqlstate(), "57014");
    assert_eq!(client.next().await.unwrap().tag, 'Z');
}

#[tokio::test]
async fn rows_of_a_portal_are_sent_while_more_are_awaited() {
    let server = start(WireConfig::default()).await;
    let mut client = RawClient::ready(&server).await;
    // One row of a few bytes, then nothing for ever: the row must come by itself.
    client.send(&[parse("", "stall"), bind("", ""), execute("", 0), sync()].concat()).await;
    let mut begun = String::new();
    while begun.len() < 3 {
        begun.push(client.next().await.unwrap().tag);
    }
    assert_eq!(begun, "12D");
}

/// The first column of the first row.
fn value(replies: &[Reply]) -> String {
    let row = replies.iter().find(|reply| reply.tag == 'D').unwrap();
    let length = usize::try_from(i32::from_be_bytes(row.body[2..6].try_into().unwrap())).unwrap();
    String::from_utf8(row.body[6..6 + length].to_vec()).unwrap()
}

/// The names of a RowDescription.
fn names(replies: &[Reply]) -> Vec<String> {
    let described = replies.iter().find(|reply| reply.tag == 'T').unwrap();
    let mut rest = &described.body[2..];
    let mut names = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        names.push(String::from_utf8(rest[..end].to_vec()).unwrap());
        // Table, column, type, length, modifier, format.
        rest = &rest[end + 1 + 18..];
    }
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_connection_has_a_session_of_its_own() {
    let server = Served::start().await;
    let mut one = server.raw().await;
    let mut other = server.raw().await;
    assert_eq!(one.tags(&query("SET application_name = 'one'; BEGIN; PREPARE p AS SELECT 1")).await, "SCCCZ");
    other.send(&query("SHOW application_name")).await;
    let replies = other.until_ready().await;
    assert_eq!((value(&replies), replies.last().unwrap().body.clone()), (String::new(), b"I".to_vec()));
    other.send(&query("EXECUTE p")).await;
    assert_eq!(other.until_ready().await[0].sqlstate(), "26000");
    assert_eq!(one.tags(&query("EXECUTE p; COMMIT")).await, "TDCCZ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_have_the_names_of_postgres() {
    let server = Served::start().await;
    let mut client = server.raw().await;
    for (sql, expected) in [
        ("SELECT 1, 'x', 1 + 1, NULL, -1", vec!["?column?"; 5]),
        ("SELECT count(*), upper('a'), COALESCE(NULL, 1), now()", vec!["count", "upper", "coalesce", "now"]),
        ("SELECT 1::bigint, CAST('1' AS int), '1'::text", vec!["int8", "int4", "text"]),
        ("SELECT CASE WHEN true THEN 1 END, ARRAY[1], (SELECT 1 AS n)", vec!["case", "array", "n"]),
        ("SELECT version(), current_user, current_schema", vec!["version", "current_user", "current_schema"]),
    ] {
        client.send(&query(sql)).await;
        assert_eq!(names(&client.until_ready().await), expected, "{sql}");
        client.send(&[parse("", sql), describe('S', ""), sync()].concat()).await;
        assert_eq!(names(&client.until_ready().await), expected, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_parameter_is_taken_under_every_type_of_text() {
    let server = Served::start().await;
    let mut client = server.raw().await;
    let made = "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9), w TEXT); INSERT INTO t VALUES (1, 'a', 'b')";
    assert_eq!(client.tags(&query(made)).await, "CCZ");
    // pgjdbc's setString says varchar (1043), others text (25), unknown (705), or nothing.
    for oid in [1043i32, 25, 705, 0] {
        for sql in ["SELECT id FROM t WHERE v = $1", "SELECT id FROM t WHERE w = 'b' AND v = $1 || ''"] {
            let parsed = [b"\0", sql.as_bytes(), b"\0\0\x01", &oid.to_be_bytes()[..]].concat();
            let bound = message('B', b"\0\0\0\0\0\x01\0\0\0\x01a\0\0");
            let script = [message('P', &parsed), bound, execute("", 0), sync()].concat();
            assert_eq!(client.tags(&script).await, "12DCZ", "{sql} with {oid}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_have_codes_and_places_of_their_own_over_the_wire() {
    let server = Served::start().await;
    let mut client = server.raw().await;
    for (sql, sqlstate, place) in [
        ("SELEC 1", "42601", "1"),
        ("SELECT * FROM nowhere", "42P01", "15"),
        ("SELECT relnam FROM pg_catalog.pg_class", "42703", "8"),
        ("SELECT relname FROM pg_catalog.pg_klass", "42P01", "21"),
        ("SELECT 1 / 0", "22012", ""),
        ("SELECT 'x'::int", "22P02", "8"),
    ] {
        client.send(&query(sql)).await;
        let replies = client.until_ready().await;
        let error = replies.iter().find(|reply| reply.tag == 'E').unwrap();
        assert_eq!((error.sqlstate().as_str(), error.field('P').as_str()), (sqlstate, place), "{sql}");
    }
}
