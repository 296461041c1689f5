//! Exactly-once into Kafka: the server is killed while it publishes, and a read_committed reader sees each row
//! once (invariant 11).

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_sql_tests::kafka::Topic;
use millstream_sql_tests::server::{Launch, PATIENCE};
use millstream_sql_tests::services;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const KILLS: i64 = 8;

/// Rows that arrive between two kills.
const ROWS: i64 = 500;

/// The row behind all others: rows are published in order, so nothing comes after it.
const LAST: i64 = -1;

fn send(topic: &Topic, numbers: impl Iterator<Item = i64>) {
    for n in numbers {
        topic.send(0, [format!(r#"{{"n": {n}}}"#).as_bytes()]);
    }
    topic.flush();
}

fn number(row: &str) -> i64 {
    let row: serde_json::Value = serde_json::from_str(row).unwrap();
    let n = row["n"].as_i64().unwrap();
    assert_eq!(row["twice"].as_i64(), Some(n * 2), "{row}");
    n
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_committed_reader_sees_every_row_once_over_kills() {
    let Some(bootstrap) = services::kafka("a_read_committed_reader_sees_every_row_once_over_kills") else { return };
    let seed: u64 = rand::random();
    // Shown when the test fails.
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (input, output) = (Topic::create(&bootstrap, "in", 1).await, Topic::create(&bootstrap, "out", 2).await);
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new(folder.path().to_str().unwrap());
    let mut server = launch.start().await;
    let session = server.connect().await;
    session.run("SET millstream.checkpoint_interval = '50ms'").await;
    let (from, to) = (input.name(), output.name());
    let options =
        |topic| format!("connector = 'kafka', topic = '{topic}', properties.bootstrap.server = '{bootstrap}'");
    let source = format!(
        "CREATE SOURCE numbers (n BIGINT) WITH ({}, scan.startup.mode = 'earliest') FORMAT PLAIN ENCODE JSON",
        options(from)
    );
    session.run(&source).await;
    let sink = format!(
        "CREATE SINK doubled AS SELECT n, n * 2 AS twice FROM numbers WITH ({}) FORMAT PLAIN ENCODE JSON",
        options(to)
    );
    session.run(&sink).await;
    for round in 0..KILLS {
        send(&input, round * ROWS..(round + 1) * ROWS);
        // A random moment between reading and publishing.
        let visible = random.random_range(0..=(round + 1) * ROWS) as usize;
        let deadline = Duration::from_millis(random.random_range(0..1_500));
        tokio::task::block_in_place(|| output.committed(deadline, |rows| rows.len() >= visible));
        server.kill().await;
        server = launch.start().await;
    }
    // The one row with a minus sign.
    send(&input, std::iter::once(LAST));
    let rows =
        tokio::task::block_in_place(|| output.committed(PATIENCE, |rows| rows.iter().any(|row| row.contains('-'))));
    let mut times: BTreeMap<i64, usize> = BTreeMap::new();
    rows.iter().for_each(|row| *times.entry(number(row)).or_default() += 1);
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times != 1).take(5).collect();
    assert!(twice.is_empty(), "not once: {twice:?}");
    let missing: Vec<i64> = (LAST..KILLS * ROWS).filter(|n| !times.contains_key(n)).take(5).collect();
    assert!(missing.is_empty(), "missing: {missing:?} of {} rows", times.len());
    assert_eq!(times.len() as i64, KILLS * ROWS + 1);
}
