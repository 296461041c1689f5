//! SUBSCRIBE with many rows: how fast a snapshot comes, what memory it takes of the server, also where its reader does
//! not read, and how long after a write's acknowledgement its change is at the reader. Beside it SELECT, once for the
//! snapshot and again and again for the change.

#![allow(clippy::unwrap_used)]

use std::pin::pin;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use millstream_sql_tests::process;
use millstream_sql_tests::server::{Launch, Server, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Rows of one piece of data.
const PIECE: u64 = 10_000;

/// Groups of the query that is grouped.
const GROUPS: u64 = 1_000;

/// What is followed: how it is called here, what it is, and the same as a query.
const FOLLOWED: [(&str, &str, &str); 3] = [
    ("relation", "t", "SELECT id, g, x FROM t"),
    ("query", "(SELECT id, g * 2 AS g, x FROM t WHERE g >= 0)", "SELECT id, g * 2 AS g, x FROM t WHERE g >= 0"),
    (
        "grouped query",
        "(SELECT g, count(*) AS n, max(id) AS top FROM t GROUP BY g)",
        "SELECT g, count(*) AS n, max(id) AS top FROM t GROUP BY g",
    ),
];

fn piece(from: u64, rows: u64) -> Bytes {
    let mut data = BytesMut::new();
    for id in from..from + rows {
        data.put_slice(format!("{id}\t{}\trow {id} of a table that is followed\n", id % GROUPS).as_bytes());
    }
    data.freeze()
}

async fn fill(session: &Session, rows: u64) {
    session.run("CREATE TABLE t (id BIGINT PRIMARY KEY, g INT, x TEXT)").await;
    let mut sink = pin!(session.client().copy_in::<_, Bytes>("COPY t FROM STDIN").await.unwrap());
    for from in (0..rows).step_by(PIECE as usize) {
        sink.send(piece(from, PIECE.min(rows - from))).await.unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), rows);
}

/// Memory of the server around something that it does.
struct Memory {
    server: u32,
    before: u64,
}

impl Memory {
    fn watch(server: u32) -> Self {
        let before = process::memory_kib(server);
        process::forget_peak(server);
        Self { server, before }
    }

    /// A line of the table: MiB before, at most, behind it.
    fn line(&self, what: &str, rate: Option<f64>) {
        let mib = |kib: u64| kib as f64 / 1024.0;
        let rate = rate.map_or("-".to_string(), |rate| format!("{rate:.0}"));
        let (most, behind) = (process::peak_memory_kib(self.server), process::memory_kib(self.server));
        println!("{what:<34}{rate:>12}{:>14.0}{:>14.0}{:>14.0}", mib(self.before), mib(most), mib(behind));
    }
}

/// Rows of a statement that streams; the rest of them in a channel, each when it came.
async fn first_rows(session: &Session, sql: &str, count: u64) -> mpsc::UnboundedReceiver<(i64, Instant)> {
    let none = std::iter::empty::<i32>();
    let mut rows = Box::pin(session.client().query_raw(sql, none).await.unwrap());
    for _ in 0..count {
        rows.next().await.unwrap().unwrap();
    }
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(row)) = rows.next().await {
            if sender.send((row.get(1), Instant::now())).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A client that has asked and does not read: bytes of the protocol over a socket of its own.
async fn asked_and_not_read(server: &Server, sql: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let mut startup = BytesMut::new();
    startup.put_slice(b"\0\x03\0\0user\0millstream\0database\0millstream\0\0");
    stream.write_i32(startup.len() as i32 + 4).await.unwrap();
    stream.write_all(&startup).await.unwrap();
    loop {
        let (tag, length) = (stream.read_u8().await.unwrap(), stream.read_i32().await.unwrap());
        let mut body = vec![0; length as usize - 4];
        stream.read_exact(&mut body).await.unwrap();
        if tag == b'Z' {
            break;
        }
    }
    stream.write_u8(b'Q').await.unwrap();
    stream.write_i32(sql.len() as i32 + 5).await.unwrap();
    stream.write_all(sql.as_bytes()).await.unwrap();
    stream.write_u8(0).await.unwrap();
    // The first byte of the answer: it has begun.
    stream.read_u8().await.unwrap();
    stream
}

/// Milliseconds from the acknowledgement of each of some writes until it is at a reader.
struct Delays(Vec<f64>);

impl Delays {
    fn note(&mut self, acknowledged: Instant, arrived: Instant) {
        let late = arrived.saturating_duration_since(acknowledged).as_secs_f64();
        let early = acknowledged.saturating_duration_since(arrived).as_secs_f64();
        self.0.push((late - early) * 1e3);
    }

    fn line(&mut self, what: &str, way: &str) {
        let delays = &mut self.0;
        let (p50, p99) = (process::quantile(delays, 0.5), process::quantile(delays, 0.99));
        let (first, last) = (delays[0], delays[delays.len() - 1]);
        println!("{what:<20}{way:<22}{first:>10.3}{p50:>10.3}{p99:>10.3}{last:>10.3}");
    }
}

/// Writes one row at a time and waits until the reader has what it changes.
async fn delays_of_changes(
    writer: &Session,
    changes: &mut mpsc::UnboundedReceiver<(i64, Instant)>,
    ids: std::ops::Range<u64>,
) -> Delays {
    let mut delays = Delays(Vec::new());
    for id in ids {
        writer.run(&format!("INSERT INTO t VALUES ({id}, {}, 'written while it is followed')", id % GROUPS)).await;
        let acknowledged = Instant::now();
        let arrived = loop {
            match changes.recv().await.expect("a subscription does not end by itself") {
                (weight, at) if weight > 0 => break at,
                _ => {}
            }
        };
        delays.note(acknowledged, arrived);
    }
    delays
}

/// The same by a SELECT that is asked again and again on a connection of its own.
async fn delays_of_polls(writer: &Session, reader: &Session, sql: &str, ids: std::ops::Range<u64>) -> Delays {
    let mut delays = Delays(Vec::new());
    let statement = reader.client().prepare(&format!("SELECT max(top) FROM ({sql}) AS q")).await.unwrap();
    for id in ids {
        writer.run(&format!("INSERT INTO t VALUES ({id}, {}, 'written while it is polled')", id % GROUPS)).await;
        let acknowledged = Instant::now();
        while reader.client().query_one(&statement, &[]).await.unwrap().get::<_, i64>(0) < id as i64 {}
        delays.note(acknowledged, Instant::now());
    }
    delays
}

#[tokio::main]
async fn main() {
    let rows: u64 = process::option("--rows", 3_000_000);
    let writes: u64 = process::option("--writes", 1_000);
    let data = tempfile::tempdir().unwrap();
    let server = Launch::new(data.path().to_str().unwrap()).start().await;
    let (writer, id) = (server.connect().await, server.process_id());
    println!("{rows} rows, load {}", process::load());
    println!("{:<34}{:>12}{:>14}{:>14}{:>14}", "", "rows/s", "MiB before", "MiB at most", "MiB behind");
    let memory = Memory::watch(id);
    let started = Instant::now();
    fill(&writer, rows).await;
    memory.line("COPY in", Some(rows as f64 / started.elapsed().as_secs_f64()));
    let mut written = rows;
    let mut delays: Vec<(&str, &str, Delays)> = Vec::new();
    for (what, followed, query) in FOLLOWED {
        let given = |there: u64| if what == "grouped query" { GROUPS.min(there) } else { there };
        let (reader, poller) = (server.connect().await, server.connect().await);
        let (memory, started) = (Memory::watch(id), Instant::now());
        let mut selected = Box::pin(poller.client().query_raw(query, std::iter::empty::<i32>()).await.unwrap());
        let mut count = 0;
        while selected.next().await.transpose().unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, given(written));
        memory.line(&format!("SELECT, {what}"), Some(count as f64 / started.elapsed().as_secs_f64()));

        let (memory, started) = (Memory::watch(id), Instant::now());
        let mut changes = first_rows(&reader, &format!("SUBSCRIBE {followed}"), given(written)).await;
        memory.line(&format!("SUBSCRIBE, {what}"), Some(given(written) as f64 / started.elapsed().as_secs_f64()));
        let ids = written..written + writes;
        delays.push((what, "change after write", delays_of_changes(&writer, &mut changes, ids).await));
        written += writes;
        drop((changes, reader));

        if what == "grouped query" {
            let ids = written..written + writes;
            delays.push((what, "SELECT after write", delays_of_polls(&writer, &poller, query, ids).await));
            written += writes;
        } else {
            let memory = Memory::watch(id);
            let stopped = asked_and_not_read(&server, &format!("SUBSCRIBE {followed}")).await;
            let reader = server.connect().await;
            drop(first_rows(&reader, &format!("SUBSCRIBE {followed}"), given(written)).await);
            memory.line(&format!("one stopped, one reads, {what}"), None);
            drop((stopped, reader));
        }
    }
    println!("\nmilliseconds from the acknowledgement of {writes} writes of a row until it is at the reader");
    println!("{:<20}{:<22}{:>10}{:>10}{:>10}{:>10}", "", "", "least", "p50", "p99", "most");
    for (what, way, delays) in &mut delays {
        delays.line(what, way);
    }
    println!("load behind it {}", process::load());
}
