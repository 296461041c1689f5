//! Cancel requests over sockets.

use super::fake::{connect, start};
use super::raw::{RawClient, packet, query, startup};
use super::served::Served;
use crate::wire::WireConfig;

fn cancel_packet(process_id: i32, secret: i32) -> Vec<u8> {
    let words = [80_877_102, process_id, secret];
    packet(&words.iter().flat_map(|word: &i32| word.to_be_bytes()).collect::<Vec<_>>())
}

/// Logs in and returns what BackendKeyData said.
async fn with_key(client: &mut RawClient) -> (i32, i32) {
    client.send(&startup()).await;
    let replies = client.until_ready().await;
    let key = &replies.iter().find(|reply| reply.tag == 'K').unwrap().body;
    let word = |at: usize| i32::from_be_bytes(key[at..at + 4].try_into().unwrap());
    (word(0), word(4))
}

#[tokio::test]
async fn a_driver_cancels_a_running_statement() {
    let server = start(WireConfig::default()).await;
    let client = connect(&server, None).await.unwrap();
    let token = client.cancel_token();
    let waiting = client.simple_query("wait");
    let cancelling = async {
        while server.observed.executed().is_empty() {
            tokio::task::yield_now().await;
        }
        token.cancel_query(tokio_postgres::NoTls).await.unwrap();
    };
    let (result, ()) = tokio::join!(waiting, cancelling);
    assert_eq!(result.unwrap_err().code().unwrap().code(), "57014");
    assert!(client.simple_query("insert").await.is_ok());
}

#[tokio::test]
async fn a_cancel_ends_a_result_while_rows_flow_and_touches_nobody_else() {
    let server = start(WireConfig::default()).await;
    let mut target = RawClient::connect(&server).await;
    let (process_id, secret) = with_key(&mut target).await;
    let mut other = RawClient::connect(&server).await;
    with_key(&mut other).await;
    target.send(&query("endless")).await;
    other.send(&query("stall")).await;
    assert_eq!(target.next().await.unwrap().tag, 'T');
    assert_eq!(other.next().await.unwrap().tag, 'T');
    assert_eq!(other.next().await.unwrap().tag, 'D');

    // A wrong secret is answered by a close and does nothing.
    let mut wrong = RawClient::connect(&server).await;
    wrong.send(&cancel_packet(process_id, secret.wrapping_add(1))).await;
    assert!(wrong.until_closed().await.is_empty());
    for _ in 0..10_000 {
        assert_eq!(target.next().await.unwrap().tag, 'D');
    }

    let mut right = RawClient::connect(&server).await;
    right.send(&cancel_packet(process_id, secret)).await;
    assert!(right.until_closed().await.is_empty());
    let replies = target.until_ready().await;
    let error = &replies[replies.len() - 2];
    assert_eq!(error.sqlstate(), "57014");
    server.observed.dropped.notified().await;

    // The other one still runs, and what the target runs next is not touched.
    assert_eq!(target.tags(&query("table")).await, "TDDCZ");
    let silent = tokio::time::timeout(std::time::Duration::from_millis(50), other.next()).await;
    assert!(silent.is_err(), "the other statement goes on");
}

#[tokio::test]
async fn a_cancel_between_statements_is_forgotten() {
    let server = start(WireConfig::default()).await;
    let mut client = RawClient::connect(&server).await;
    let (process_id, secret) = with_key(&mut client).await;
    let mut cancel = RawClient::connect(&server).await;
    cancel.send(&cancel_packet(process_id, secret)).await;
    assert!(cancel.until_closed().await.is_empty());
    assert_eq!(client.tags(&query("table")).await, "TDDCZ");
}

/// An error would say that nothing was written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_comes_too_late_for_the_rows_of_what_is_written() {
    let server = Served::start().await;
    let mut target = RawClient::connect_to(server.address).await;
    let (process_id, secret) = with_key(&mut target).await;
    assert_eq!(target.tags(&query("CREATE TABLE t (id INT, x TEXT)")).await, "CZ");
    let sql = "INSERT INTO t SELECT v, repeat('x', 500) FROM generate_series(1, 50000) g(v) RETURNING *";
    target.send(&query(sql)).await;
    assert_eq!(target.next().await.unwrap().tag, 'T');
    assert_eq!(target.next().await.unwrap().tag, 'D');

    let mut cancel = RawClient::connect_to(server.address).await;
    cancel.send(&cancel_packet(process_id, secret)).await;
    assert!(cancel.until_closed().await.is_empty());
    let replies = target.until_ready().await;
    assert_eq!(replies.iter().filter(|reply| reply.tag == 'D').count(), 49_999);
    assert_eq!(replies[replies.len() - 2].body, b"INSERT 0 50000\0"[..]);
    assert_eq!(target.tags(&query("SELECT 1 FROM t LIMIT 1")).await, "TDCZ");
}
