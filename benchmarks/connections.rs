//! Many connections: what idle ones cost in memory, and how long a point lookup takes over busy ones while a view is
//! updated as fast as rows can be written.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millstream_sql_tests::process;
use millstream_sql_tests::server::{Launch, Session};

/// Rows of the table that is looked up in.
const ROWS: usize = 10_000;

/// Rows of one INSERT.
const BATCH: usize = 500;

fn rows(from: usize, count: usize) -> String {
    let rows: Vec<String> = (from..from + count).map(|id| format!("({id}, {})", id % 97)).collect();
    format!("INSERT INTO t VALUES {}", rows.join(", "))
}

/// Looks rows up until told to stop; the time of each.
async fn look_up(session: Session, stop: Arc<AtomicBool>, number: usize) -> Vec<Duration> {
    let statement = session.client().prepare("SELECT g FROM t WHERE id = $1").await.unwrap();
    let mut times = Vec::new();
    let mut id = number;
    while !stop.load(Ordering::Relaxed) {
        id = (id * 31 + 7) % ROWS;
        let started = Instant::now();
        let found = session.client().query(&statement, &[&(id as i32)]).await.unwrap();
        times.push(started.elapsed());
        assert_eq!(found.len(), 1, "row {id}");
    }
    times
}

#[tokio::main]
async fn main() {
    let idle: usize = process::option("--idle", 999);
    let busy: usize = process::option("--busy", 200);
    let batches: usize = process::option("--batches", 200);
    let server = Launch::new("memory://").start().await;
    let writer = server.connect().await;
    writer.run("CREATE TABLE t (id INT PRIMARY KEY, g INT)").await;
    writer.run("CREATE MATERIALIZED VIEW m AS SELECT g, count(*) AS n FROM t GROUP BY g").await;
    for from in (0..ROWS).step_by(BATCH) {
        writer.run(&rows(from, BATCH)).await;
    }

    println!("load {}", process::load());
    let before = process::memory_kib(server.process_id());
    let mut sessions = Vec::new();
    for _ in 0..idle {
        let session = server.connect().await;
        session.run("SELECT 1").await;
        sessions.push(session);
    }
    let more = process::memory_kib(server.process_id()).saturating_sub(before);
    println!("{idle} idle connections: {:.1} MiB, {:.1} KiB each", more as f64 / 1024.0, more as f64 / idle as f64);
    drop(sessions);

    let stop = Arc::new(AtomicBool::new(false));
    let mut lookups = Vec::new();
    for number in 0..busy {
        // Those that were idle may still be leaving.
        let session = server.connect().await;
        lookups.push(tokio::spawn(look_up(session, Arc::clone(&stop), number)));
    }
    let started = Instant::now();
    for batch in 0..batches {
        writer.run(&rows(ROWS + batch * BATCH, BATCH)).await;
    }
    let seconds = started.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for lookup in lookups {
        times.extend(lookup.await.unwrap());
    }
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("{busy} busy connections beside {:.0} rows/s into a view:", (batches * BATCH) as f64 / seconds);
    println!("{} point lookups, {:.0} /s", times.len(), times.len() as f64 / seconds);
    println!("load behind them {}", process::load());
    println!("p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms", at(0.5), at(0.99), at(0.999));
}
