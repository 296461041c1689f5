//! Indexes change no result: random conditions over random histories, each asked so that an index serves it and so
//! that none can.

use millstream_sql_tests::server::{Launch, Session};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A condition, and the same in a form that no index serves.
fn condition(random: &mut StdRng) -> (String, String) {
    let k = random.random_range(-2..102);
    let text = format!("'t{}'", random.random_range(0..22));
    let (low, high) = (random.random_range(-5..100), random.random_range(0..105));
    match random.random_range(0..8) {
        0 => (format!("k = {k}"), format!("k + 0 = {k}")),
        1 => (format!("t = {text}"), format!("t || '' = {text}")),
        2 => (format!("k = {k} AND t >= {text}"), format!("k + 0 = {k} AND t || '' >= {text}")),
        3 => (format!("k BETWEEN {low} AND {low} + 2"), format!("k + 0 BETWEEN {low} AND {low} + 2")),
        4 => (format!("k IN ({k}, {low}, {high}, NULL)"), format!("k + 0 IN ({k}, {low}, {high}, NULL)")),
        5 => (format!("id = {}", high * 7), format!("id + 0 = {}", high * 7)),
        6 => (
            format!("{low} < k AND k <= {low} + 1 AND t <> {text}"),
            format!("{low} < k + 0 AND k + 0 <= {low} + 1 AND t <> {text}"),
        ),
        _ => {
            (format!("k = {k} OR k = {low} OR t = {text}"), format!("k + 0 = {k} OR k + 0 = {low} OR t || '' = {text}"))
        }
    }
}

async fn change(session: &Session, random: &mut StdRng, next: &mut i64) {
    match random.random_range(0..4) {
        0 => session.run(&format!("DELETE FROM t WHERE k = {}", random.random_range(0..100))).await,
        1 => {
            let (from, to) = (random.random_range(0..100), random.random_range(0..100));
            session.run(&format!("UPDATE t SET k = {to} WHERE k = {from}")).await;
        }
        _ => {
            let rows = random.random_range(1..900);
            let sql = format!(
                "INSERT INTO t SELECT value, CASE WHEN value % 11 = 0 THEN NULL ELSE (value * 7919 + {next}) % 100 END,
                     't' || ((value * 31) % 20) FROM generate_series({next}, {}) AS g (value)",
                *next + rows - 1
            );
            session.run(&sql).await;
            *next += rows;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_conditions_find_the_same_rows_with_and_without_an_index() {
    let seed = rand::rng().random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let server = Launch::new("memory://").start().await;
    let session = server.connect().await;
    session.run("CREATE TABLE t (id BIGINT PRIMARY KEY, k BIGINT, t TEXT)").await;
    session.run("CREATE MATERIALIZED VIEW v AS SELECT id, k, t FROM t WHERE k IS DISTINCT FROM 50").await;
    for relation in ["t", "v"] {
        session.run(&format!("CREATE INDEX {relation}_k ON {relation} (k, t); CREATE INDEX ON {relation} (t)")).await;
    }
    let mut next = 1;
    let mut used = 0;
    for step in 0..25 {
        change(&session, &mut random, &mut next).await;
        for _ in 0..6 {
            let (indexed, plain) = condition(&mut random);
            for relation in ["t", "v"] {
                let rows = async |condition: &str| {
                    session.rows(&format!("SELECT id, k, t FROM {relation} WHERE {condition} ORDER BY id")).await
                };
                let plan = session.rows(&format!("EXPLAIN SELECT id FROM {relation} WHERE {indexed}")).await;
                used += usize::from(plan.iter().any(|line| line[0].contains("Index Scan using")));
                assert_eq!(
                    rows(&indexed).await,
                    rows(&plain).await,
                    "step {step}, {indexed} in {relation}, seed {seed}"
                );
            }
        }
    }
    assert!(used > 50, "only {used} of the look-ups used an index, seed {seed}");
}
