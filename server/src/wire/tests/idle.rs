//! Sessions that wait too long are ended. No test looks at a clock: each waits for the end itself, and what must
//! not end has waited longer than something that did.

use super::fake::{TestServer, start};
use super::raw::{RawClient, query, tags};
use crate::wire::WireConfig;

/// Logs in and runs statements; `idle session N` and `idle transaction N` set the times, in milliseconds.
async fn ready(server: &TestServer, statements: &str) -> RawClient {
    let mut client = RawClient::ready(server).await;
    client.send(&query(statements)).await;
    client
}

#[tokio::test]
async fn an_idle_session_is_ended_after_its_time() {
    let server = start(WireConfig::default()).await;
    let mut client = ready(&server, "idle session 1").await;
    let replies = client.until_closed().await;
    assert_eq!(tags(&replies), "CZE");
    assert_eq!((replies[2].field('S').as_str(), replies[2].sqlstate().as_str()), ("FATAL", "57P05"));
}

#[tokio::test]
async fn bytes_that_trickle_in_do_not_hold_a_transaction_open() {
    let server = start(WireConfig::default()).await;
    let mut client = ready(&server, "begin; idle transaction 50").await;
    let length: u32 = 60 << 20;
    client.until_ready().await;
    client.send(&[&b"Q"[..], &length.to_be_bytes()].concat()).await;
    // Were the time wound up by every byte, all of the message would come through, and be answered by an error of
    // its own: it is no text that ends.
    let piece = [b'x'; 16];
    for _ in 0..(length as usize - 4) / piece.len() {
        if tokio::io::AsyncWriteExt::write_all(&mut client.stream, &piece).await.is_err() {
            break;
        }
    }
    let replies = client.until_closed().await;
    // A client that sends on while the server closes may lose the farewell; no other answer is right.
    if let Some(reply) = replies.first() {
        assert_eq!(reply.sqlstate(), "25P03");
    }
    let mut other = ready(&server, "begin; idle transaction 1").await;
    let replies = other.until_closed().await;
    assert_eq!(tags(&replies), "CCZE");
    assert_eq!(replies[3].sqlstate(), "25P03");
}

#[tokio::test]
async fn only_waiting_counts_and_each_time_is_of_its_own_state() {
    let server = start(WireConfig::default()).await;
    let mut outside = ready(&server, "idle transaction 1").await;
    let mut inside = ready(&server, "begin; idle session 1").await;
    let mut busy = ready(&server, "idle session 1; stall").await;
    assert_eq!(tags(&outside.until_ready().await), "CZ");
    assert_eq!(tags(&inside.until_ready().await), "CCZ");
    for tag in ['C', 'T', 'D'] {
        assert_eq!(busy.next().await.map(|reply| reply.tag), Some(tag));
    }
    // It begins to wait behind the others, for as long as they would.
    let mut last = ready(&server, "idle session 1").await;
    assert_eq!(tags(&last.until_closed().await), "CZE");
    for client in [&mut outside, &mut inside] {
        client.send(&query("insert")).await;
        assert_eq!(tags(&client.until_ready().await), "CZ");
    }
    // The statement still runs: nothing more was said to its client.
    let mut unread = [0];
    assert!(busy.stream.try_read(&mut unread).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
}
