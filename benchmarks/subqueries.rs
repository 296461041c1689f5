//! How long queries with subqueries as expressions take: IN and NOT IN, EXISTS in a list of columns, scalar subqueries
//! that are chosen by equalities, by a key and by an inequality; beside it the same from a real Postgres 15, where there
//! is one.
//!
//! Both are asked by the same client program on the same machine, one statement after the other, each the best of some
//! runs; their answers must be equal.

#![allow(clippy::unwrap_used)]

use std::time::Instant;

use millstream_sql_tests::postgres::Postgres;
use millstream_sql_tests::process;
use millstream_sql_tests::server::Launch;
use tokio_postgres::{Client, SimpleQueryMessage};

/// A name and a query that gives one number. `{few}` stands for the number of rows that ask where each is answered by
/// itself.
const QUERIES: [(&str, &str); 9] = [
    ("IN", "SELECT count(*) FROM t WHERE k IN (SELECT k FROM u WHERE n < 40)"),
    ("NOT IN", "SELECT count(*) FROM t WHERE k NOT IN (SELECT k FROM u WHERE n < 40)"),
    ("IN below OR", "SELECT count(*) FROM t WHERE n = 3 OR k IN (SELECT k FROM u WHERE n < 5)"),
    (
        "EXISTS in a column",
        "SELECT count(*) FROM (SELECT EXISTS (SELECT 1 FROM u WHERE u.k = t.k AND n < 5) AS e FROM t) AS q WHERE e",
    ),
    ("count by key", "SELECT sum(c) FROM (SELECT (SELECT count(*) FROM u WHERE u.k = t.k) AS c FROM t) AS q"),
    ("sum by key", "SELECT sum(c) FROM (SELECT (SELECT sum(n) FROM u WHERE u.k = t.k) AS c FROM t) AS q"),
    ("value by key", "SELECT sum(c) FROM (SELECT (SELECT u.n FROM u WHERE u.id = t.id) AS c FROM t) AS q"),
    (
        "count by inequality",
        "SELECT sum(c) FROM (SELECT (SELECT count(*) FROM u WHERE u.id < t.id) AS c FROM t WHERE id <= {few}) AS q",
    ),
    (
        "first by key",
        "SELECT sum(c) FROM (SELECT (SELECT u.n FROM u WHERE u.k = t.k ORDER BY u.id LIMIT 1) AS c FROM t \
         WHERE id <= {few}) AS q",
    ),
];

async fn fill(client: &Client, rows: i64) {
    for (table, modulus) in [("t", 97), ("u", 89)] {
        let sql = format!(
            "CREATE TABLE {table} (id BIGINT PRIMARY KEY, k BIGINT NOT NULL, n BIGINT NOT NULL);
             INSERT INTO {table} SELECT v, v % {keys}, v % {modulus} FROM generate_series(1, {rows}) AS g (v);
             CREATE INDEX ON {table} (k, id)",
            keys = rows / 2
        );
        client.batch_execute(&sql).await.unwrap();
    }
}

/// The answers, and the shortest times in milliseconds.
async fn measure(client: &Client, rows: i64, few: i64, runs: usize) -> Vec<(String, f64)> {
    fill(client, rows).await;
    let mut measured = Vec::new();
    for (_, sql) in QUERIES {
        let sql = sql.replace("{few}", &few.to_string());
        let (mut answer, mut best) = (String::new(), f64::INFINITY);
        for _ in 0..runs {
            let started = Instant::now();
            let messages = client.simple_query(&sql).await.unwrap();
            best = best.min(started.elapsed().as_secs_f64() * 1e3);
            let row = messages.iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            });
            answer = row.unwrap_or("-").to_string();
        }
        measured.push((answer, best));
    }
    measured
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let rows: i64 = process::option("--rows", 100_000);
    let few: i64 = process::option("--few", 200);
    let runs: usize = process::option("--runs", 3);
    println!("milliseconds, best of {runs}, {rows} x {rows} rows, {few} where each asks by itself");
    println!("load {}", process::load());
    let server = Launch::new("memory://").start().await;
    let ours = measure(server.connect().await.client(), rows, few, runs).await;
    let theirs = match Postgres::start().await {
        Ok(postgres) => Some(measure(&postgres.client().await.unwrap(), rows, few, runs).await),
        Err(why) => {
            println!("postgres 15: skipped, {why}");
            None
        }
    };
    println!("{:<22}{:>14}{:>14}", "subquery", "millstream", "postgres 15");
    for (index, (name, sql)) in QUERIES.iter().enumerate() {
        let (answer, best) = &ours[index];
        let other = theirs.as_ref().map(|theirs| &theirs[index]);
        if let Some((expected, _)) = other {
            assert_eq!(answer, expected, "{sql}");
        }
        let other = other.map_or_else(|| "-".to_string(), |(_, best)| format!("{best:.1}"));
        println!("{name:<22}{best:>14.1}{other:>14}");
    }
    println!("load behind them {}", process::load());
}
