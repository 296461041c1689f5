//! Bytes that no client sends: always an error or a close, and the server lives on.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::AsyncWriteExt;

use super::fake::{TestServer, start};
use super::raw::{RawClient, bind, close, describe, execute, message, packet, parse, query, startup, sync};
use crate::wire::WireConfig;

async fn is_alive(server: &TestServer) {
    let mut client = RawClient::ready(server).await;
    assert_eq!(client.tags(&query("table")).await, "TDDCZ");
}

/// Sends bytes, closes the sending side and reads to the end.
async fn answers(server: &TestServer, bytes: &[u8]) -> Vec<super::raw::Reply> {
    let mut client = RawClient::connect(server).await;
    // The server may have closed before everything is sent.
    let _ = client.stream.write_all(bytes).await;
    let _ = client.stream.shutdown().await;
    client.until_closed().await
}

#[tokio::test]
async fn broken_frames_end_the_connection() {
    let server = start(WireConfig::default()).await;
    let huge = [b"Q".to_vec(), i32::MAX.to_be_bytes().to_vec(), vec![b'x'; 1000]].concat();
    for bytes in [
        message('z', b""),
        message('Q', b"no end"),
        message('Q', b"a\0b"),
        message('c', b"x"),
        message('p', b"password\0"),
        message('B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff"),
        message('D', b"X\0"),
        b"Q\0\0\0\0".to_vec(),
        b"S\xff\xff\xff\xff".to_vec(),
        huge,
    ] {
        let mut client = RawClient::ready(&server).await;
        client.send(&[bytes.clone(), query("insert")].concat()).await;
        let replies = client.until_closed().await;
        let last = replies.last().unwrap_or_else(|| panic!("no answer to {bytes:?}"));
        assert_eq!((last.sqlstate().as_str(), last.field('S').as_str()), ("08P01", "FATAL"), "{bytes:?}");
    }
    assert!(server.observed.executed().is_empty());
    is_alive(&server).await;
}

#[tokio::test]
async fn broken_startups_end_the_connection() {
    let server = start(WireConfig::default()).await;
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec(),
        packet(b"\0\x02\0\0"),
        packet(b"\0\x03\0\0user\0u"),
        packet(b"\0\x03\0\0database\0d\0\0"),
        packet(b"\0\x03\0\0user\0\xff\0\0"),
        packet(b"\0\x03\0\0user\0u\0replication\0database\0\0"),
        packet(b""),
        b"\0\0\0\x01".to_vec(),
        b"\xff\xff\xff\xff".to_vec(),
    ] {
        let replies = answers(&server, &bytes).await;
        assert_eq!(replies.len(), 1, "{bytes:?}: {replies:?}");
        assert_eq!(replies[0].field('S'), "FATAL");
    }
    is_alive(&server).await;
}

#[tokio::test]
async fn conversations_that_break_off_anywhere_are_closed() {
    let server = start(WireConfig::default()).await;
    let conversation = conversation();
    for length in 0..conversation.len() {
        answers(&server, &conversation[..length]).await;
    }
    is_alive(&server).await;
}

fn conversation() -> Vec<u8> {
    [
        startup(),
        query("table; numbers 3"),
        parse("s", "table"),
        bind("p", "s"),
        describe('P', "p"),
        execute("p", 1),
        close('S', "s"),
        sync(),
        message('X', b""),
    ]
    .concat()
}

#[tokio::test]
async fn random_mutations_are_survived() {
    let seed: u64 = rand::random();
    let server = start(WireConfig::default()).await;
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..400 {
        let mut bytes = conversation();
        // Half of them with a startup that stays whole, so that the rest is reached.
        let from = if round % 2 == 0 { startup().len() } else { 0 };
        for _ in 0..random.random_range(1..6) {
            let at = random.random_range(from..bytes.len());
            match random.random_range(0..4) {
                0 => bytes[at] = random.random(),
                1 => bytes[at] ^= 1 << random.random_range(0..8),
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, random.random()),
            }
        }
        let replies = answers(&server, &bytes).await;
        let ready = replies.iter().filter(|reply| reply.tag == 'Z').count();
        assert!(ready <= 4, "seed {seed}, round {round}: {replies:?}");
        let panicked = replies.iter().any(|reply| reply.tag == 'E' && reply.sqlstate() == "XX000");
        assert!(!panicked, "seed {seed}, round {round}: {replies:?}");
    }
    server.shutdown.cancel();
    let mut server = server;
    assert_eq!((&mut server.ended).await.unwrap(), 0, "seed {seed}: a connection panicked");
}
