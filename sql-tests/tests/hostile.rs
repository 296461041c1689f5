//! Hostile clients, too few file descriptors, and SIGTERM, against the real binary: honest clients are served throughout,
//! nothing panics, and what was taken is given back.
//!
//! Variables make them longer; a release is held to `HOSTILE_CONNECTIONS=20000 HOSTILE_CANCELS=10000
//! HOSTILE_ROWS=10000000 HOSTILE_VANISHING=1000`. `HOSTILE_SEED` repeats one.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use millstream_sql_tests::process;
use millstream_sql_tests::server::{Launch, PATIENCE, Server, Session, connect};
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

/// Cancels at random moments, by connections that run statements at a time.
const CANCELS: u64 = 160;
const TARGETS: u64 = 8;

/// Rows that a client reads that had stopped for a while.
const READ_ON_ROWS: u64 = 100_000;

/// Clients that vanish.
const VANISHING: u64 = 40;

/// Memory that clients may cost that do not read, in KiB: less than a tenth of what they have asked for.
const STALLED_KIB: u64 = 64 << 10;

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

fn memory_kib(server: &Server) -> u64 {
    process::memory_kib(server.process_id())
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

/// A client that sees single messages.
struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What a cancel request has to name.
    key: [u8; 8],
}

/// What a server answers up to ReadyForQuery.
#[derive(Debug)]
struct Answer {
    rows: u64,
    /// The first row, from its first value on.
    first: String,
    /// The tag, or the SQLSTATE.
    end: Result<String, String>,
}

impl Raw {
    async fn connect(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let body = b"\0\x03\0\0user\0millstream\0database\0millstream\0\0";
        stream.write_all(&[&(body.len() as u32 + 4).to_be_bytes()[..], body].concat()).await.unwrap();
        let mut raw = Self { stream, buffer: Vec::new(), key: [0; 8] };
        loop {
            match raw.next().await {
                (b'K', body) => raw.key = body.try_into().unwrap(),
                (b'Z', _) => return raw,
                (tag, body) => assert!(b"RSN".contains(&tag), "{}", String::from_utf8_lossy(&body)),
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn next(&mut self) -> (u8, Vec<u8>) {
        loop {
            if let [tag, a, b, c, d, ..] = self.buffer[..] {
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                if self.buffer.len() > length {
                    let body = self.buffer[5..=length].to_vec();
                    self.buffer.drain(..=length);
                    return (tag, body);
                }
            }
            let read = self.stream.read_buf(&mut self.buffer).await.unwrap();
            assert!(read > 0, "the server has closed");
        }
    }

    /// Reads one answer, in which there must be one terminal message.
    async fn answer(&mut self) -> Answer {
        let (mut rows, mut first, mut end) = (0, String::new(), None);
        loop {
            let (tag, body) = self.next().await;
            assert!(tag == b'Z' || end.is_none(), "{tag} behind the end {end:?}");
            match tag {
                b'D' => {
                    rows += 1;
                    if rows == 1 {
                        first = String::from_utf8_lossy(&body[6..]).into_owned();
                    }
                }
                b'd' => rows += 1,
                b'C' => end = Some(Ok(String::from_utf8_lossy(&body[..body.len() - 1]).into_owned())),
                b'E' => {
                    let mut fields = body.split(|byte| *byte == 0);
                    let code = fields.find(|field| field.first() == Some(&b'C')).expect("an error has a code");
                    end = Some(Err(String::from_utf8_lossy(&code[1..]).into_owned()));
                }
                b'Z' => return Answer { rows, first, end: end.expect("a statement has an end") },
                tag => assert!(b"T123HcNS".contains(&tag), "{}", tag as char),
            }
        }
    }
}

/// Asks the server to cancel what a connection runs, and waits until it has heard.
async fn cancel(address: SocketAddr, key: [u8; 8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&[&[0, 0, 0, 16, 4, 210, 22, 46], &key[..]].concat()).await.unwrap();
    let mut nothing = Vec::new();
    stream.read_to_end(&mut nothing).await.unwrap();
    assert!(nothing.is_empty(), "a cancel request has no answer");
}

/// A statement that gives `marker` as its first value, and whether only a cancel ends it. `id` is for a row of its own.
fn statement(kind: u32, marker: u64, id: u64) -> (Vec<u8>, bool) {
    let simple = |sql: String| message(b'Q', format!("{sql}\0").as_bytes());
    let series = "generate_series(1, 200)";
    match kind {
        0 => (simple(format!("SELECT {marker}, count(*) FROM t")), false),
        1 => (simple(format!("SELECT {marker}, sum(a * b % 7) FROM {series} x(a), {series} y(b)")), false),
        2 => (simple(format!("SELECT {marker}, id FROM t WHERE id = 1")), false),
        3 => (simple(format!("COPY (SELECT {marker}, v FROM generate_series(1, 20000) g(v)) TO STDOUT")), false),
        4 => (simple(format!("INSERT INTO t VALUES ({id}) RETURNING {marker}")), false),
        5 => {
            let sql = format!("\0SELECT {marker}, v FROM generate_series(1, 5000) g(v)\0\0\0");
            let parts = [message(b'P', sql.as_bytes()), message(b'B', &[0; 8]), message(b'E', &[0; 5])];
            ([parts.concat(), message(b'S', b"")].concat(), false)
        }
        _ => (simple(format!("SELECT {marker}, pg_sleep(3600)")), true),
    }
}

/// Kinds of statements that end by themselves.
const FINITE: u32 = 6;

/// Whether a statement ended as it has to when nobody cancels it.
fn is_whole(answer: &Answer, kind: u32, marker: u64) -> bool {
    let rows = [1, 1, 1, 20_000, 1, 5_000][kind as usize];
    let tag = if kind == 3 {
        "COPY"
    } else if kind == 4 {
        "INSERT 0"
    } else {
        "SELECT"
    };
    // Data of a COPY is not looked into.
    let marked = kind == 3 || answer.first.starts_with(&marker.to_string());
    marked && answer.rows == rows && answer.end == Ok(format!("{tag} {rows}"))
}

/// Runs statements that are cancelled at random moments; the rows that were acknowledged, and those that were not.
async fn cancelled_session(address: SocketAddr, seed: u64, count: u64, ids: u64) -> (Vec<u64>, Vec<u64>) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut target = Raw::connect(address).await;
    let (mut acknowledged, mut cancelled) = (Vec::new(), Vec::new());
    for number in 0..count {
        let (kind, id) = (random.random_range(0..=FINITE), ids + number);
        let (bytes, endless) = statement(kind, id, id);
        let (pauses, key) = (random.random_range(0..60), target.key);
        let ended = AtomicBool::new(false);
        let asking = async {
            target.send(&bytes).await;
            let answer = target.answer().await;
            ended.store(true, Ordering::Relaxed);
            answer
        };
        let cancelling = async {
            for _ in 0..pauses {
                tokio::task::yield_now().await;
            }
            cancel(address, key).await;
            while endless && !ended.load(Ordering::Relaxed) {
                cancel(address, key).await;
            }
        };
        let (answer, ()) = tokio::time::timeout(PATIENCE, async { tokio::join!(asking, cancelling) }).await.unwrap();
        let whole = !endless && is_whole(&answer, kind, id);
        // A commit that is on its way is not taken back: whether it came to be is said to be unknown.
        let codes = if kind == 4 { &["57014", "08007"][..] } else { &["57014"] };
        let stopped = answer.end.as_ref().is_err_and(|code| codes.contains(&code.as_str()));
        assert!(whole || stopped, "kind {kind}, seed {seed}: {answer:?}");
        if kind == 4 {
            if whole { &mut acknowledged } else { &mut cancelled }.push(id);
        }
    }
    (acknowledged, cancelled)
}

/// Runs the same statements with nobody who cancels them, until the others are done.
async fn bystander(address: SocketAddr, seed: u64, ids: u64, done: Arc<AtomicBool>) -> u64 {
    let mut random = StdRng::seed_from_u64(seed);
    let mut session = Raw::connect(address).await;
    let mut count = 0;
    while !done.load(Ordering::Relaxed) {
        let (kind, id) = (random.random_range(0..FINITE), ids + count);
        session.send(&statement(kind, id, id).0).await;
        let answer = session.answer().await;
        assert!(is_whole(&answer, kind, id), "kind {kind}, seed {seed}: {answer:?}");
        count += 1;
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_ends_its_statement_once_and_no_other() {
    let count: u64 = std::env::var("HOSTILE_CANCELS").map_or(CANCELS, |count| count.parse().unwrap());
    let seed: u64 = std::env::var("HOSTILE_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    let server = Launch::new("memory://").start().await;
    let honest = server.connect().await;
    honest.run("CREATE TABLE t (id BIGINT PRIMARY KEY); INSERT INTO t VALUES (1)").await;
    let address = server.address();
    let (mut acknowledged, mut unknown, mut between) = (vec![1], Vec::new(), 0);
    let mut before = 0;
    // The first quarter warms the allocator up.
    for (part, cancels) in [(1, count / 4), (2, count - count / 4)] {
        let done = Arc::new(AtomicBool::new(false));
        let bystanders: Vec<_> = (0..2)
            .map(|number| {
                let ids = (part << 40) + (1 << 36) + (number << 32);
                tokio::spawn(bystander(address, seed.wrapping_add(ids), ids, Arc::clone(&done)))
            })
            .collect();
        let targets: Vec<_> = (0..TARGETS)
            .map(|number| {
                let ids = (part << 40) + (number << 32);
                tokio::spawn(cancelled_session(address, seed.wrapping_add(ids), cancels.div_ceil(TARGETS), ids))
            })
            .collect();
        for target in targets {
            let (rows, others) = target.await.unwrap();
            acknowledged.extend(rows);
            unknown.extend(others);
        }
        done.store(true, Ordering::Relaxed);
        for bystander in bystanders {
            between += bystander.await.unwrap();
        }
        if part == 1 {
            before = memory_kib(&server);
        }
    }
    let after = memory_kib(&server);
    eprintln!("{count} cancels beside {between} other statements, seed {seed}: {before} KiB before, {after} KiB after");
    let kept: Vec<u64> = honest.rows("SELECT id FROM t").await.iter().map(|row| row[0].parse().unwrap()).collect();
    let kept: std::collections::HashSet<u64> = kept.into_iter().filter(|id| id & (1 << 36) == 0).collect();
    assert!(acknowledged.iter().all(|id| kept.contains(id)), "seed {seed}: acknowledged rows are gone");
    let known: std::collections::HashSet<u64> = acknowledged.iter().chain(&unknown).copied().collect();
    assert!(kept.is_subset(&known), "seed {seed}: rows that nobody wrote");
    assert!(after < before + MORE_KIB, "seed {seed}: {before} KiB before, {after} KiB after {count} cancels");
    assert!(!has_bug(&server.log_end()), "seed {seed}:\n{}", server.log_end());
}

/// Waits until a connection has left the server.
async fn until_gone(honest: &Session, key: [u8; 8]) {
    let process_id = i32::from_be_bytes(key[..4].try_into().unwrap());
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {process_id}");
    honest.until(&sql, |rows| rows[0][0] == "0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_reading_costs_no_memory() {
    let read_on: u64 = std::env::var("HOSTILE_ROWS").map_or(READ_ON_ROWS, |count| count.parse().unwrap());
    let server = Launch::new("memory://").start().await;
    let honest = server.connect().await;
    honest.run("CREATE TABLE t (id BIGINT PRIMARY KEY, x TEXT)").await;
    honest.run("INSERT INTO t SELECT v, repeat('x', 90) FROM generate_series(1, 100000) g(v)").await;
    let wide = |rows: u64| format!("SELECT v, repeat('x', 90) FROM generate_series(1, {rows}) g(v)");
    let asked = [wide(10_000_000), format!("COPY ({}) TO STDOUT", wide(10_000_000)), wide(read_on)];
    let mut stalled = Vec::new();
    let before = memory_kib(&server);
    for sql in &asked {
        let mut raw = Raw::connect(server.address()).await;
        raw.send(&message(b'Q', format!("{sql}\0").as_bytes())).await;
        let mut rows = 0;
        while rows < 1_000 {
            rows += u64::from(b"Dd".contains(&raw.next().await.0));
        }
        stalled.push((raw, rows));
    }
    // The others are served, and what the stalled ones were promised does not pile up.
    for id in 0..100 {
        honest.run(&format!("INSERT INTO t VALUES ({}, 'y')", 200_000 + id)).await;
        assert_eq!(honest.number("SELECT count(*) FROM t").await, 100_001 + id);
    }
    let during = memory_kib(&server);
    eprintln!("three clients that stopped reading: {before} KiB before, {during} KiB during");
    assert!(during < before + STALLED_KIB, "{before} KiB before, {during} KiB during");
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%repeat%'";
    assert_eq!(honest.number(&format!("{sql} AND pid <> pg_backend_pid()")).await, 3);
    // One reads on and gets the rest; the others vanish, and their statements end.
    let (mut raw, rows) = stalled.pop().expect("there are three");
    let answer = raw.answer().await;
    assert_eq!((rows + answer.rows, answer.end), (read_on, Ok(format!("SELECT {read_on}"))));
    for (raw, _) in stalled {
        let key = raw.key;
        drop(raw);
        until_gone(&honest, key).await;
    }
    let after = memory_kib(&server);
    eprintln!("behind them {after} KiB");
    assert!(after < before + STALLED_KIB, "{before} KiB before, {after} KiB after");
    assert!(!has_bug(&server.log_end()), "{}", server.log_end());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanishes_leaves_nothing() {
    let count: u64 = std::env::var("HOSTILE_VANISHING").map_or(VANISHING, |count| count.parse().unwrap());
    let seed: u64 = std::env::var("HOSTILE_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    let mut random = StdRng::seed_from_u64(seed);
    let server = Launch::new("memory://").start().await;
    let honest = server.connect().await;
    honest.run("CREATE TABLE t (id BIGINT PRIMARY KEY, x TEXT); INSERT INTO t VALUES (1, 'x')").await;
    let mut before = 0;
    for number in 0..count {
        let mut raw = Raw::connect(server.address()).await;
        let query = |sql: &str| message(b'Q', format!("{sql}\0").as_bytes());
        let rows = (10..2_000).map(|id| format!("{id}\trow\n")).collect::<String>();
        let (bytes, wait_for) = match random.random_range(0..5) {
            0 => (query("SELECT v, repeat('x', 90) FROM generate_series(1, 10000000) g(v)"), Some(b'D')),
            1 => (query("SELECT pg_sleep(3600)"), None),
            2 => ([query("COPY t FROM STDIN"), message(b'd', rows.as_bytes())].concat(), Some(b'G')),
            3 => (query("BEGIN; INSERT INTO t VALUES (2, 'never'); SELECT pg_sleep(3600)"), Some(b'C')),
            _ => (query("COPY (SELECT * FROM generate_series(1, 10000000)) TO STDOUT"), Some(b'd')),
        };
        raw.send(&bytes).await;
        while let Some(wanted) = wait_for {
            if raw.next().await.0 == wanted {
                break;
            }
        }
        if random.random_bool(0.5) {
            // It is reset rather than closed.
            raw.stream.set_zero_linger().unwrap();
        }
        let key = raw.key;
        drop(raw);
        until_gone(&honest, key).await;
        assert_eq!(honest.number("SELECT count(*) FROM t").await, 1, "seed {seed}");
        if number == count / 4 {
            before = memory_kib(&server);
        }
    }
    honest.run("INSERT INTO t VALUES (2, 'now'); DELETE FROM t").await;
    let after = memory_kib(&server);
    eprintln!("{count} clients that vanished, seed {seed}: {before} KiB before, {after} KiB after");
    assert!(after < before + STALLED_KIB, "seed {seed}: {before} KiB before, {after} KiB after");
    assert!(!has_bug(&server.log_end()), "seed {seed}:\n{}", server.log_end());
}
