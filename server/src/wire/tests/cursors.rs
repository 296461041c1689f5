//! Cursors by messages, over real sessions: portals and cursors share their names.

use super::raw::{RawClient, Reply, bind, close, describe, execute, message, parse, query, sync, tags};
use super::served::Served;

/// Bind with one format for all results.
fn bind_as(portal: &str, statement: &str, format: u8) -> Vec<u8> {
    let mut body = format!("{portal}\0{statement}\0\0\0\0\0").into_bytes();
    body.extend([0, 1, 0, format]);
    message('B', &body)
}

/// Sends, and gives back what came up to ReadyForQuery.
async fn replies(client: &mut RawClient, script: &[Vec<u8>]) -> Vec<Reply> {
    client.send(&script.concat()).await;
    client.until_ready().await
}

/// The values of rows of one column.
fn values(replies: &[Reply]) -> Vec<Vec<u8>> {
    replies.iter().filter(|reply| reply.tag == 'D').map(|row| row.body[6..].to_vec()).collect()
}

fn texts(replies: &[Reply]) -> Vec<String> {
    values(replies).into_iter().map(|value| String::from_utf8(value).unwrap()).collect()
}

fn completed(replies: &[Reply]) -> Vec<String> {
    let tags = replies.iter().filter(|reply| reply.tag == 'C');
    tags.map(|reply| String::from_utf8(reply.body[..reply.body.len() - 1].to_vec()).unwrap()).collect()
}

fn failure(replies: &[Reply]) -> String {
    replies.iter().find(|reply| reply.tag == 'E').unwrap_or_else(|| panic!("{replies:?}")).sqlstate()
}

/// A simple query's values and tags.
async fn simple(client: &mut RawClient, sql: &str) -> (Vec<String>, Vec<String>) {
    let replies = replies(client, &[query(sql)]).await;
    assert!(!replies.iter().any(|reply| reply.tag == 'E'), "{sql}: {replies:?}");
    (texts(&replies), completed(&replies))
}

const DECLARE: &str = "DECLARE c SCROLL CURSOR FOR SELECT g::int AS n FROM generate_series(1, 10) AS s(g) ORDER BY g";

/// What psycopg, node and JDBC's users send: a cursor that takes parameters, described as a portal and as a FETCH.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_is_declared_described_and_fetched_by_messages() {
    let server = Served::start().await;
    let mut client = server.raw().await;
    client.tags(&query("BEGIN")).await;
    let mut with_parameter = b"\0d\0".to_vec();
    with_parameter.extend([0, 0, 0, 1, 0, 0, 0, 1, b'7', 0, 0]);
    let sql = "DECLARE c CURSOR FOR SELECT g AS n FROM generate_series(1, $1) AS s(g) ORDER BY g";
    let script = [parse("d", sql), describe('S', "d"), message('B', &with_parameter), execute("", 0), sync()];
    let declared = replies(&mut client, &script).await;
    assert_eq!(tags(&declared), "1tn2CZ");
    assert_eq!(completed(&declared), ["DECLARE CURSOR"]);

    let described = replies(&mut client, &[describe('P', "c"), sync()]).await;
    assert_eq!(tags(&described), "TZ");
    assert!(described[0].body.windows(2).any(|bytes| bytes == b"n\0"));

    let script =
        [parse("f", "FETCH FORWARD 3 FROM c"), describe('S', "f"), bind("", "f"), describe('P', ""), execute("", 0)];
    let fetched = replies(&mut client, &[script.concat(), sync()]).await;
    assert_eq!(tags(&fetched), "1tT2TDDDCZ");
    assert_eq!(texts(&fetched), ["1", "2", "3"]);
    assert_eq!(completed(&fetched), ["FETCH 3"]);

    // The prepared FETCH goes on, in another format, and in parts; MOVE gives no rows.
    let fetched = replies(&mut client, &[bind_as("", "f", 1), execute("", 2), execute("", 2), sync()]).await;
    assert_eq!(tags(&fetched), "2DDsDCZ");
    assert_eq!(values(&fetched).last().unwrap().last(), Some(&6));
    let script = [parse("", "MOVE ALL IN c"), describe('S', ""), bind("", ""), execute("", 0), sync()];
    let moved = replies(&mut client, &script).await;
    assert_eq!((tags(&moved).as_str(), completed(&moved)), ("1tn2CZ", vec!["MOVE 1".to_string()]));
}

/// A FETCH that was prepared is bound to the cursor that has the name then, whatever its columns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_fetch_follows_the_name() {
    let server = Served::start().await;
    let mut client = server.raw().await;
    assert_eq!(client.tags(&[parse("f", "FETCH c"), describe('S', "f"), sync()].concat()).await, "1tnZ");
    let missing = replies(&mut client, &[bind("", "f"), execute("", 0), sync()]).await;
    assert_eq!(failure(&missing), "34000");
    for (sql, expected) in [("SELECT 'text' AS a", "text"), ("SELECT 7 AS a", "7")] {
        simple(&mut client, &format!("BEGIN; DECLARE c CURSOR FOR {sql}")).await;
        let fetched = replies(&mut client, &[bind("", "f"), describe('P', ""), execute("", 0), sync()]).await;
        assert_eq!((tags(&fetched).as_str(), texts(&fetched)), ("2TDCZ", vec![expected.to_string()]));
        simple(&mut client, "COMMIT").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_is_executed_and_closed_as_a_portal() {
    let server = Served::start().await;
    let mut client = server.raw().await;
    simple(&mut client, &format!("BEGIN; {DECLARE}")).await;
    let script = [execute("c", 4), execute("c", 0), execute("c", 1), sync()];
    let fetched = replies(&mut client, &script).await;
    assert_eq!(tags(&fetched), "DDDDsDDDDDDCCZ");
    assert_eq!(completed(&fetched), ["SELECT 6", "SELECT 0"]);
    assert_eq!(simple(&mut client, "FETCH PRIOR FROM c").await.0, ["10"]);
    let twice = replies(&mut client, &[parse("s", "SELECT 1"), bind("c", "s"), sync()]).await;
    assert_eq!(failure(&twice), "42P03");
    simple(&mut client, &format!("ROLLBACK; BEGIN; {DECLARE}")).await;
    assert_eq!(client.tags(&[close('P', "c"), sync()].concat()).await, "3Z");
    let gone = replies(&mut client, &[query("FETCH c")]).await;
    assert_eq!(failure(&gone), "34000");
}

/// asyncpg moves its portals by `MOVE FORWARD n name`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_is_moved_fetched_and_closed_by_sql() {
    let server = Served::start().await;
    let mut client = server.raw().await;
    let sql = "SELECT g::bigint FROM generate_series(1, 100) AS s(g) ORDER BY g";
    simple(&mut client, "BEGIN").await;
    let begun = replies(&mut client, &[parse("s", sql), bind_as("p", "s", 1), execute("p", 2), sync()]).await;
    assert_eq!(tags(&begun), "12DDsZ");
    assert_eq!(simple(&mut client, "MOVE FORWARD 3 p").await.1, ["MOVE 3"]);
    // It goes on behind them, in its own format.
    let going_on = replies(&mut client, &[describe('P', "p"), execute("p", 1), sync()]).await;
    assert_eq!((tags(&going_on).as_str(), &values(&going_on)[0][..]), ("TDsZ", &6_i64.to_be_bytes()[..]));
    assert_eq!(simple(&mut client, "FETCH ABSOLUTE 10 FROM p").await.0, ["\0\0\0\0\0\0\0\n"], "in its format");
    let back = replies(&mut client, &[query("SAVEPOINT s"), query("FETCH PRIOR FROM p")]).await;
    assert_eq!(tags(&back), "CZ");
    assert_eq!(failure(&client.until_ready().await), "55000");
    simple(&mut client, "ROLLBACK").await;

    // One that has not begun yet; names that are taken; the end of the transaction.
    simple(&mut client, "BEGIN").await;
    client.tags(&[bind("q", "s"), sync()].concat()).await;
    let taken = replies(&mut client, &[query("DECLARE q CURSOR FOR SELECT 1")]).await;
    assert_eq!(failure(&taken), "42P03");
    simple(&mut client, "ROLLBACK; BEGIN").await;
    client.tags(&[bind("q", "s"), sync()].concat()).await;
    assert_eq!(simple(&mut client, "FETCH 2 FROM q; CLOSE q").await.0, ["1", "2"]);
    client.tags(&[bind("q", "s"), sync()].concat()).await;
    assert_eq!(simple(&mut client, "CLOSE q").await.1, ["CLOSE CURSOR"]);
    client.tags(&[bind("q", "s"), sync()].concat()).await;
    simple(&mut client, "CLOSE ALL").await;
    assert_eq!(failure(&replies(&mut client, &[execute("q", 0), sync()]).await), "34000");
}

/// In one batch of messages, without a transaction that anybody wrote: what the portal became ends at Sync.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursors_of_messages_end_at_sync() {
    let server = Served::start().await;
    let mut client = server.raw().await;
    let sql = "SELECT g FROM generate_series(1, 9) AS s(g) ORDER BY g";
    let script = [
        parse("s", sql),
        bind("p", "s"),
        execute("p", 1),
        parse("", "MOVE 2 FROM p"),
        bind("", ""),
        execute("", 0),
        execute("p", 1),
    ];
    let done = replies(&mut client, &[script.concat(), sync()]).await;
    assert_eq!((tags(&done).as_str(), texts(&done)), ("12Ds12CDsZ", vec!["1".to_string(), "4".to_string()]));
    assert_eq!(failure(&replies(&mut client, &[query("FETCH p")]).await), "34000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binary_cursor_gives_binary_rows_where_the_protocol_does_not_say() {
    let server = Served::start().await;
    let mut client = server.raw().await;
    simple(&mut client, "BEGIN; DECLARE b BINARY CURSOR FOR SELECT 258::int AS n").await;
    let fetched = replies(&mut client, &[query("FETCH b")]).await;
    assert_eq!(values(&fetched), [258_i32.to_be_bytes()]);
    assert_eq!(fetched[0].body.last(), Some(&1), "the description says so");
    let fetched = replies(&mut client, &[parse("", "FETCH FIRST FROM b"), bind("", ""), execute("", 0), sync()]).await;
    assert_eq!(texts(&fetched), ["258"], "Bind says text");
}

/// Held cursors live on outside transactions; DISCARD ALL closes what there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_cursors_need_no_transaction() {
    let server = Served::start().await;
    let mut client = server.raw().await;
    simple(&mut client, &DECLARE.replace("SCROLL CURSOR", "SCROLL CURSOR WITH HOLD")).await;
    assert_eq!(simple(&mut client, "FETCH 2 FROM c").await.0, ["1", "2"]);
    assert_eq!(simple(&mut client, "FETCH LAST FROM c").await.0, ["10"]);
    assert_eq!(failure(&replies(&mut client, &[query("FETCH nothing")]).await), "34000");
    assert_eq!(simple(&mut client, "FETCH PRIOR FROM c").await.0, ["9"], "an error elsewhere leaves it alone");
    let fetched = replies(&mut client, &[parse("", "FETCH 2 FROM c"), bind("", ""), execute("", 0), sync()]).await;
    assert_eq!(texts(&fetched), ["10"]);
    simple(&mut client, "DISCARD ALL").await;
    assert_eq!(failure(&replies(&mut client, &[query("FETCH c")]).await), "34000");
    // A text of several statements is a transaction: what is not held ends with it.
    let (values, _) = simple(&mut client, &format!("{DECLARE}; FETCH ABSOLUTE 5 FROM c; FETCH c")).await;
    assert_eq!(values, ["5", "6"]);
    assert_eq!(failure(&replies(&mut client, &[query("FETCH c")]).await), "34000");
}
