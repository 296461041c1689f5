//! COPY of many rows into a table with a key and out again: rows per second, and the server's memory on the way.

#![allow(clippy::unwrap_used)]

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, TryStreamExt};
use millstream_sql_tests::process;
use millstream_sql_tests::server::Launch;

/// Rows of one piece of data.
const PIECE: u64 = 10_000;

/// Time between two looks at the server's memory.
const LOOK: Duration = Duration::from_millis(20);

fn piece(from: u64, rows: u64) -> Bytes {
    let mut data = BytesMut::new();
    for id in from..from + rows {
        data.put_slice(format!("{id}\t{}\trow {id} of a table that is copied\n", id % 1_000).as_bytes());
    }
    data.freeze()
}

/// Looks at a process' memory until told to stop; the most that there was, in MiB.
async fn peak(process_id: u32, stop: Arc<AtomicBool>) -> f64 {
    let most = AtomicU64::new(0);
    while !stop.load(Ordering::Relaxed) {
        most.fetch_max(process::memory_kib(process_id), Ordering::Relaxed);
        tokio::time::sleep(LOOK).await;
    }
    most.into_inner() as f64 / 1024.0
}

#[tokio::main]
async fn main() {
    let rows: u64 = process::option("--rows", 10_000_000);
    let data = tempfile::tempdir().unwrap();
    let server = Launch::new(data.path().to_str().unwrap()).start().await;
    let session = server.connect().await;
    session.run("CREATE TABLE t (id BIGINT PRIMARY KEY, g INT, x TEXT)").await;
    let id = server.process_id();
    let memory = || process::memory_kib(id) as f64 / 1024.0;
    println!("{rows} rows, load {}", process::load());
    println!("{:<10}{:>12}{:>14}{:>14}{:>14}", "", "rows/s", "MiB before", "MiB at most", "MiB behind");
    for direction in ["in", "out"] {
        let (before, stop) = (memory(), Arc::new(AtomicBool::new(false)));
        let watching = tokio::spawn(peak(id, Arc::clone(&stop)));
        let started = Instant::now();
        if direction == "in" {
            let mut sink = pin!(session.client().copy_in::<_, Bytes>("COPY t FROM STDIN").await.unwrap());
            for from in (0..rows).step_by(PIECE as usize) {
                sink.send(piece(from, PIECE.min(rows - from))).await.unwrap();
            }
            assert_eq!(sink.finish().await.unwrap(), rows);
        } else {
            let stream = session.client().copy_out("COPY t TO STDOUT").await.unwrap();
            let lines = stream.try_fold(0, async |lines, _| Ok(lines + 1)).await.unwrap();
            assert_eq!(lines, rows);
        }
        let rate = rows as f64 / started.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        let most = watching.await.unwrap();
        println!("COPY {direction:<5}{rate:>12.0}{before:>14.0}{most:>14.0}{:>14.0}", memory());
    }
    println!("load behind it {}", process::load());
}
