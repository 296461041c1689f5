//! The oracle: random scripts run through whole engines, every view held against the batch engine after every
//! statement, every table against a model.
//!
//! What is attacked: that a view is the batch query over the accepted rows at every epoch (invariant 1), that every
//! row written is accepted, late or refused (3), that nothing depends on order, cuts, slots and restarts (5),
//! that nothing is taken back that was not there (6), and that watermarks never go back (7). References, tables
//! and clocks: `views.rs`, `tables.rs`; what is compared when: `run.rs`.
//!
//! A failure prints its seed, a script that is as small as it could be made, and the queries that show it.
//! `ORACLE_SEED` runs that seed alone, or is the first when `ORACLE_SEEDS` says how many.

mod generate;
mod reorder;
mod run;
mod script;
mod shrink;
mod tables;
mod views;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;

use futures::StreamExt;
use rand::SeedableRng;
use rand::rngs::StdRng;

use self::run::{Failure, Outcome};
use self::script::{Change, Conflict, Only, Script, Step};
use self::tables::{Table, Value};
use self::views::View;

/// Scripts of a run.
const SEEDS: u64 = 2_000;

/// Scripts that run at the same time: an engine waits for its own threads most of the time.
const AT_ONCE: usize = 6;

/// One script in so many is told in another way, too.
const REORDERED: u64 = 10;

/// Candidates that making a script smaller may cost.
const SHRINKING_RUNS: usize = 300;

/// Kinds of failures that are explained; the others are counted.
const EXPLAINED: usize = 3;

fn seeds() -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match (number("ORACLE_SEED"), number("ORACLE_SEEDS")) {
        (Some(seed), count) => seed..seed + count.unwrap_or(1),
        (None, count) => 0..count.unwrap_or(SEEDS),
    }
}

/// Runs a script, and for some seeds its other tellings; gives back the number of comparisons.
async fn case(seed: u64, script: &Script) -> Result<usize, Failure> {
    let outcome = run::run(script).await?;
    if !seed.is_multiple_of(REORDERED) {
        return Ok(outcome.comparisons);
    }
    let other = reorder::reordered(script, &outcome, &mut StdRng::seed_from_u64(seed));
    let told =
        |failure: Failure| Failure { detail: format!("{}\ntold in another way:\n{other}", failure.detail), ..failure };
    let again = run::run(&other).await.map_err(told)?;
    same_views(&outcome, &again).map_err(told)?;
    Ok(outcome.comparisons + again.comparisons + outcome.views.len())
}

fn same_views(one: &Outcome, other: &Outcome) -> Result<(), Failure> {
    for (name, (_, rows)) in &one.views {
        let again = &other.views[name].1;
        if rows != again {
            return Err(Failure {
                what: format!("{name} depends on how its rows came"),
                detail: format!("once {rows:?}\nthen {again:?}"),
                queries: vec![format!("SELECT * FROM {name}")],
            });
        }
    }
    Ok(())
}

/// A failing script made small, with what it shows.
async fn explained(seed: u64, script: Script, failure: &Failure) -> (Script, String) {
    let fails =
        async |candidate: &Script| matches!(case(seed, candidate).await, Err(other) if other.what == failure.what);
    let shrunk = shrink::shrink(script, SHRINKING_RUNS, fails).await;
    let shown = case(seed, &shrunk.script).await.err().unwrap_or_else(|| failure.clone());
    let mut text = format!("ORACLE_SEED={seed}: {}\n{}\n", shown.what, shown.detail);
    writeln!(text, "after {} runs the smallest script is", shrunk.runs).expect("a String takes all text");
    write!(text, "{}", shrunk.script).expect("a String takes all text");
    for query in &shown.queries {
        writeln!(text, "{query};").expect("a String takes all text");
    }
    (shrunk.script, text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_hold_what_the_batch_engine_answers_through_the_whole_graph() {
    let cases = futures::stream::iter(seeds()).map(|seed| async move {
        let script = generate::script(seed);
        (seed, case(seed, &script).await)
    });
    let mut cases = cases.buffer_unordered(AT_ONCE);
    let (mut comparisons, mut failed) = (0, BTreeMap::<String, Vec<(u64, Failure)>>::new());
    while let Some((seed, outcome)) = cases.next().await {
        match outcome {
            Ok(count) => comparisons += count,
            Err(failure) => failed.entry(failure.what.clone()).or_default().push((seed, failure)),
        }
    }
    println!("{:?}: {comparisons} comparisons", seeds());
    let mut text = String::new();
    for (what, cases) in &failed {
        let seeds: Vec<u64> = cases.iter().map(|(seed, _)| *seed).collect();
        writeln!(text, "{what}: seeds {seeds:?}").expect("a String takes all text");
    }
    for cases in failed.values().take(EXPLAINED) {
        let (seed, failure) = &cases[0];
        text += &explained(*seed, generate::script(*seed), failure).await.1;
    }
    assert!(failed.is_empty(), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_view_is_found_and_explained() {
    // As if count(*) did not count nulls.
    static WRONG: View = View {
        name: "wrong",
        sql: "SELECT count(*) AS n FROM items",
        reference: Some("SELECT count(x) AS n FROM items"),
        closing: None,
        rejected: None,
    };
    let row = |k, x| vec![Value::Int(k), Value::Text("a"), x];
    let insert = |rows| Step::Insert { table: Table::Items, rows, conflict: Conflict::Fails };
    let script = Script {
        slots: 3,
        lateness: 3,
        hurried: false,
        steps: vec![
            Step::Create(&WRONG),
            insert(vec![row(1, Value::Int(1)), row(2, Value::Int(5))]),
            Step::Checkpoint,
            Step::Restart { kill: true, slots: 1 },
            insert(vec![row(1, Value::Int(1)), row(2, Value::Null), row(3, Value::Int(2))]),
            Step::Change { table: Table::Items, change: Change::Delete, only: Only::Equal(1) },
        ],
    };
    let failure = case(1, &script).await.unwrap_err();
    assert_eq!(failure.what, "wrong differs");
    let (smallest, text) = explained(1, script, &failure).await;
    assert_eq!((smallest.steps.len(), smallest.row_count()), (2, 1), "{text}");
    let expected = [
        "CREATE TABLE items (k INT, g TEXT, x INT);",
        "CREATE MATERIALIZED VIEW wrong AS SELECT count(*) AS n FROM items;",
        "INSERT INTO items VALUES (2, 'a', NULL);",
        "SELECT * FROM wrong;",
        "SELECT count(x) AS n FROM items;",
    ];
    assert!(text.ends_with(&format!("{}\n", expected.join("\n"))), "{text}");
    assert!(text.contains("ORACLE_SEED=1: wrong differs"), "{text}");
}
