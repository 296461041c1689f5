//! How long one client waits for rows that an index finds: by key, by a range of keys and by another index, for pages, counts
//! and whether there is one, as text and prepared, over a table of a million rows; beside it the same from a real Postgres 15, where there is one.
//!
//! Both are asked by the same client program on the same machine, one statement after the other; Postgres is reached by
//! its socket, Millstream by TCP. Every answer is held against what the rows were made of.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use millstream_sql_tests::postgres::Postgres;
use millstream_sql_tests::process;
use millstream_sql_tests::server::Launch;
use tokio_postgres::{Client, SimpleQueryMessage};

/// Rows per value of the column with an index of its own.
const PER_GROUP: i64 = 10;

/// Keys in a range.
const RANGE: i64 = 50;

/// A kind of look-up: its name, its statement and the rows that it finds.
type Kind = (&'static str, &'static str, i64);

const KINDS: [Kind; 9] = [
    ("one row by key", "SELECT x FROM t WHERE id = $1", 1),
    ("range of keys", "SELECT id, x FROM t WHERE id BETWEEN $1 AND $1 + 49 ORDER BY id", RANGE),
    ("by another index", "SELECT id, x FROM t WHERE g = $1 ORDER BY id", PER_GROUP),
    ("is it there", "SELECT EXISTS (SELECT 1 FROM t WHERE id = $1)", 1),
    ("next page", "SELECT id, x FROM t WHERE id > $1 ORDER BY id LIMIT 20", 20),
    ("page of a group", "SELECT id, x FROM t WHERE (g, id) > ($1, 5) ORDER BY g, id LIMIT 20", 20),
    ("count and sum", "SELECT count(*), sum(id) FROM t WHERE g = $1", 1),
    ("int beside bigint", "SELECT x FROM t WHERE i = $1::bigint", 1),
    ("no relation", "SELECT $1::bigint + 1", 1),
];

async fn fill(client: &Client, rows: i64) {
    let groups = rows / PER_GROUP;
    client
        .batch_execute(&format!(
            "CREATE TABLE t (id BIGINT PRIMARY KEY, g BIGINT, x TEXT, i INT);
             INSERT INTO t SELECT v, v % {groups}, 'row ' || v, CAST(v AS INT) FROM generate_series(1, {rows}) AS g (v)"
        ))
        .await
        .unwrap();
    client.batch_execute("CREATE INDEX ON t (g, id); CREATE INDEX ON t (i)").await.unwrap();
}

/// The times of some look-ups, in milliseconds.
async fn times(client: &Client, kind: &Kind, prepared: bool, count: usize, rows: i64) -> Vec<f64> {
    let (_, sql, expected) = kind;
    let statement = client.prepare(sql).await.unwrap();
    let mut value = 1;
    let mut times = Vec::with_capacity(count);
    // The first tenth warms up.
    for number in 0..count + count / 10 {
        value = (value * 31 + 7) % (rows / PER_GROUP - RANGE) + 1;
        let started = Instant::now();
        let found = if prepared {
            client.query(&statement, &[&value]).await.unwrap().len()
        } else {
            let answer = client.simple_query(&sql.replace("$1", &value.to_string())).await.unwrap();
            answer.iter().filter(|message| matches!(message, SimpleQueryMessage::Row(_))).count()
        };
        let taken: Duration = started.elapsed();
        assert_eq!(found as i64, *expected, "{sql} of {value}");
        if number >= count / 10 {
            times.push(taken.as_secs_f64() * 1e3);
        }
    }
    times
}

async fn measure(name: &str, client: &Client, count: usize, rows: i64) {
    fill(client, rows).await;
    for kind in &KINDS {
        for (mode, prepared) in [("text", false), ("prepared", true)] {
            let mut times = times(client, kind, prepared, count, rows).await;
            let at = [0.5, 0.99].map(|part| process::quantile(&mut times, part));
            let mean = times.iter().sum::<f64>() / times.len() as f64;
            println!("{name:<12}{:<18}{mode:<10}{mean:>9.3}{:>9.3}{:>9.3}", kind.0, at[0], at[1]);
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let rows: i64 = process::option("--rows", 1_000_000);
    let count: usize = process::option("--count", 5_000);
    println!("milliseconds, {count} look-ups each over {rows} rows, load {}", process::load());
    println!("{:<12}{:<18}{:<10}{:>9}{:>9}{:>9}", "server", "look-up", "sent as", "mean", "p50", "p99");
    let server = Launch::new("memory://").start().await;
    measure("millstream", server.connect().await.client(), count, rows).await;
    match Postgres::start().await {
        Ok(postgres) => measure("postgres 15", &postgres.client().await.unwrap(), count, rows).await,
        Err(why) => println!("postgres 15: skipped, {why}"),
    }
    println!("load behind them {}", process::load());
}
