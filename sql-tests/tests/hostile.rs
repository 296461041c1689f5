//! Hostile clients, too few file descriptors, and SIGTERM, against the real binary: honest clients are served throughout,
//! nothing panics, and what was taken is given back.
//!
//! `HOSTILE_CONNECTIONS` makes the first of them longer: 20,000 is what a release is held to.

use std::net::SocketAddr;
use std::process::Command;

use futures::StreamExt;
use millstream_sql_tests::server::{Launch, PATIENCE, Server, connect};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What real clients sent over one connection each.
const RECORDINGS: [&[u8]; 4] = [
    include_bytes!("../../server/src/wire/tests/recordings/psql.bin"),
    include_bytes!("../../server/src/wire/tests/recordings/pgbench.bin"),
    include_bytes!("../../server/src/wire/tests/recordings/psycopg.bin"),
    include_bytes!("../../server/src/wire/tests/recordings/asyncpg.bin"),
];

const CONNECTIONS: u64 = 400;

/// Hostile connections at a time.
const AT_A_TIME: usize = 64;

/// Connections between two statements of the honest client.
const BETWEEN: usize = 50;

/// Memory that a server may have more than before, in KiB: what an allocator keeps, far below what 64 connections with
/// their largest buffers would hold.
const MORE_KIB: u64 = 96 << 10;

fn startup() -> Vec<u8> {
    let body = b"\0\x03\0\0user\0u\0database\0d\0\0";
    [&(body.len() as u32 + 4).to_be_bytes()[..], body].concat()
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

/// Bytes that stand in the socket of a hostile client, and whether it then goes away without a word.
fn attack(random: &mut StdRng) -> (Vec<u8>, bool) {
    let recording = RECORDINGS[random.random_range(0..RECORDINGS.len())];
    let mut bytes = match random.random_range(0..8) {
        // Half-open: it connects and says nothing.
        0 => Vec::new(),
        // Truncated anywhere.
        1 => recording[..random.random_range(0..recording.len())].to_vec(),
        // Endless: a frame that promises far more than comes, before the login and behind it.
        2 => [&b"\0\0\xff\xf0\0\x03\0\0"[..], &vec![b'u'; 4_000]].concat(),
        3 => [startup(), b"Q\x03\xff\xff\xff".to_vec(), vec![b'x'; 200_000]].concat(),
        // Out of order.
        4 => {
            let messages = [
                message(b'E', b"\0\0\0\0\0"),
                message(b'D', b"Pnothing\0"),
                message(b'B', b"\0\0\0\0\0\0\0\0"),
                message(b'S', b""),
                message(b'c', b""),
                message(b'p', b"secret\0"),
            ];
            let chosen = (0..random.random_range(1..9)).map(|_| messages[random.random_range(0..6)].clone());
            std::iter::once(startup()).chain(chosen).collect::<Vec<_>>().concat()
        }
        // Bytes of chance.
        5 => (0..random.random_range(1..2_000)).map(|_| random.random()).collect(),
        _ => recording.to_vec(),
    };
    for _ in 0..random.random_range(0..5) {
        if bytes.is_empty() {
            break;
        }
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..3) {
            0 => bytes[at] = random.random(),
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, random.random()),
        }
    }
    (bytes, random.random_bool(0.3))
}

/// One hostile connection: in pieces or at once; then it goes, or reads until the server closes.
async fn attack_once(address: SocketAddr, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let (bytes, vanishes) = attack(&mut random);
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    let piece = if random.random_bool(0.2) { random.random_range(1..20) } else { bytes.len().max(1) };
    for piece in bytes.chunks(piece).take(400) {
        // The server may have closed already.
        if stream.write_all(piece).await.is_err() {
            return;
        }
    }
    if !vanishes {
        let _ = stream.shutdown().await;
        let mut answers = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answers)).await;
        assert!(read.is_ok(), "seed {seed}: the server neither answers nor closes: {bytes:?}");
    }
}

/// The memory that a server has now, in KiB.
fn memory_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process_id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn has_bug(log: &str) -> bool {
    log.contains("panicked") || log.contains("because of a bug")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_connections_leave_nothing_behind_and_honest_clients_are_served() {
    let count = std::env::var("HOSTILE_CONNECTIONS").map_or(CONNECTIONS, |count| count.parse().unwrap());
    let seed: u64 = std::env::var("HOSTILE_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    let server = Launch::new("memory://").start().await;
    let honest = server.connect().await;
    honest.run("CREATE TABLE t (id INT PRIMARY KEY)").await;
    honest.run("INSERT INTO t VALUES (1)").await;
    let address = server.address();
    // Those who came before the measurement warm the allocator up.
    let attacks = |from: u64, to: u64| {
        let each = (from..to).map(move |number| attack_once(address, seed.wrapping_add(number)));
        futures::stream::iter(each).buffer_unordered(AT_A_TIME)
    };
    attacks(0, count / 4).collect::<Vec<()>>().await;
    let before = memory_kib(&server);
    // Slowloris: before the login and behind it, open all the time, a byte now and then.
    let mut slow = Vec::new();
    for number in 0..40 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let whole = if number % 2 == 0 { startup() } else { startup()[..5].to_vec() };
        stream.write_all(&[whole, b"Q\0\0".to_vec()].concat()).await.unwrap();
        slow.push(stream);
    }
    let mut attacks = attacks(count / 4, count).chunks(BETWEEN);
    while let Some(attacked) = attacks.next().await {
        assert!(!attacked.is_empty());
        for stream in &mut slow {
            // One that was told that it was too slow is gone.
            let _ = stream.write_all(b"\0").await;
        }
        assert_eq!(honest.number("SELECT count(*) FROM t").await, 1, "seed {seed}");
        assert_eq!(server.connect().await.number("SELECT count(*) FROM t").await, 1, "seed {seed}");
    }
    drop(slow);
    honest.run("INSERT INTO t VALUES (2)").await;
    let after = memory_kib(&server);
    eprintln!("{count} hostile connections, seed {seed}: {before} KiB before, {after} KiB behind them");
    assert!(after < before + MORE_KIB, "seed {seed}: {before} KiB before, {after} KiB behind {count} connections");
    assert!(!has_bug(&server.log_end()), "seed {seed}:\n{}", server.log_end());
    drop(honest);
    server.terminate();
    let (code, log) = server.ended().await;
    // The exit code tells of connections that ended by a panic.
    assert_eq!(code, Some(0), "seed {seed}:\n{log}");
}

/// Whether this system can give a process fewer file descriptors.
fn can_limit() -> bool {
    Command::new("prlimit").args(["--nofile=64:64", "true"]).status().is_ok_and(|status| status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_out_of_file_descriptors_is_named_and_gets_better() {
    if !can_limit() {
        return eprintln!("running_out_of_file_descriptors_is_named_and_gets_better is SKIPPED: there is no prlimit");
    }
    let server = Launch::new("memory://").under(["prlimit", "--nofile=100:100"]).start().await;
    let honest = server.connect().await;
    honest.run("CREATE TABLE t (id INT PRIMARY KEY)").await;
    // The system accepts for the server, up to its backlog: what the server can't take waits there.
    let mut waiting = Vec::new();
    for _ in 0..120 {
        waiting.push(TcpStream::connect(server.address()).await.unwrap());
    }
    let named = tokio::time::timeout(PATIENCE, async {
        while !server.log_end().contains("could not be accepted") {
            tokio::task::yield_now().await;
        }
    });
    named.await.unwrap_or_else(|_| panic!("the log does not name it:\n{}", server.log_end()));
    assert!(server.log_end().contains("Too many open files"), "{}", server.log_end());
    // Who is connected is served, also what it writes.
    honest.run("INSERT INTO t VALUES (1)").await;
    assert_eq!(honest.number("SELECT count(*) FROM t").await, 1);
    drop(waiting);
    let again =
        tokio::time::timeout(PATIENCE, connect(server.address())).await.expect("the server takes clients again");
    assert_eq!(again.unwrap().number("SELECT count(*) FROM t").await, 1);
    assert!(!has_bug(&server.log_end()), "{}", server.log_end());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_tells_sessions_and_keeps_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let storage = folder.path().to_str().unwrap();
    let server = Launch::new(storage).start().await;
    let writer = server.connect().await;
    writer.run("CREATE TABLE t (id INT PRIMARY KEY)").await;
    writer.run("CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM t").await;
    let mut idle = TcpStream::connect(server.address()).await.unwrap();
    idle.write_all(&startup()).await.unwrap();
    let mut ready = [0; 1];
    idle.read_exact(&mut ready).await.unwrap();
    let busy = server.connect().await;
    let endless = tokio::spawn(async move {
        busy.error("SELECT count(*) FROM generate_series(1, 1000000) a(x), generate_series(1, 1000000) b(y)").await
    });
    let (begun, written) = tokio::sync::oneshot::channel();
    let writing = tokio::spawn(async move {
        let mut begun = Some(begun);
        for id in 1..1_000_000_i64 {
            if writer.client().batch_execute(&format!("INSERT INTO t VALUES ({id})")).await.is_err() {
                return id - 1;
            }
            if id == 5 {
                begun.take().expect("it is sent once").send(()).unwrap();
            }
        }
        unreachable!("the server is told to end")
    });
    written.await.unwrap();
    server.terminate();
    let mut farewell = Vec::new();
    idle.read_to_end(&mut farewell).await.unwrap();
    let told = String::from_utf8_lossy(&farewell).into_owned();
    assert!(told.contains("C57P01"), "{told}");
    let (code, _) = endless.await.unwrap();
    assert_eq!(code, "57P01");
    let acknowledged = writing.await.unwrap();
    let (code, log) = server.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("no checkpoint was taken"), "{log}");

    let server = Launch::new(storage).start().await;
    let session = server.connect().await;
    let kept = session.number("SELECT count(*) FROM t").await;
    // The last one may have been written without its client being told.
    assert!((acknowledged..=acknowledged + 1).contains(&kept), "{acknowledged} were acknowledged, {kept} are there");
    assert_eq!(session.number("SELECT n FROM m").await, kept);
}
