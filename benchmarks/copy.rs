//! COPY of many rows into a table with a key and out again: rows per second, and the server's memory on the way.

#![allow(clippy::unwrap_used)]

use std::pin::pin;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, TryStreamExt};
use millstream_sql_tests::process;
use millstream_sql_tests::server::Launch;

/// Rows of one piece of data.
const PIECE: u64 = 10_000;

fn piece(from: u64, rows: u64) -> Bytes {
    let mut data = BytesMut::new();
    for id in from..from + rows {
        data.put_slice(format!("{id}\t{}\trow {id} of a table that is copied\n", id % 1_000).as_bytes());
    }
    data.freeze()
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
        let before = memory();
        process::forget_peak(id);
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
        let most = process::peak_memory_kib(id) as f64 / 1024.0;
        println!("COPY {direction:<5}{rate:>12.0}{before:>14.0}{most:>14.0}{:>14.0}", memory());
    }
    println!("load behind it {}", process::load());
}
