//! Transactions through the real binary: kill -9 in the middle of those that define and write, and statements that
//! wait for each other's answer no longer than the protocol asks for.
//!
//! Attacks invariants 4 and 10: a transaction is there as a whole or not at all, its catalog and its rows, and one
//! that was acknowledged is there. Moments are chosen by progress, from a printed seed.

use millstream_sql_tests::server::{Launch, Session, connect};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

/// Kills of one run.
const KILLS: usize = 6;

/// One after the other until the server is gone: a table with rows, rows of a table that is there, and a view that
/// takes the place of another one.
async fn define_and_write(session: Session, from: i64, acknowledged: watch::Sender<i64>) {
    for round in from.. {
        let script = format!(
            "BEGIN;
             CREATE TABLE part_{round} (id INT PRIMARY KEY);
             INSERT INTO part_{round} VALUES (1), (2);
             INSERT INTO ledger VALUES ({round});
             ALTER MATERIALIZED VIEW newest RENAME TO gone;
             CREATE MATERIALIZED VIEW newest AS SELECT count(*) AS n, {round} AS round FROM ledger;
             DROP MATERIALIZED VIEW gone;
             COMMIT"
        );
        if session.client().batch_execute(&script).await.is_err() {
            return;
        }
        acknowledged.send_replace(round);
    }
}

/// What stands after a start: the last round, of which everything is there, and of the next one nothing.
async fn whole_rounds(session: &Session) -> i64 {
    let last = session.number("SELECT coalesce(max(round), 0) FROM ledger").await;
    assert_eq!(session.number("SELECT count(*) FROM ledger").await, last);
    assert_eq!(session.rows("SELECT n, round FROM newest").await, [[last.to_string(), last.to_string()]]);
    let tables =
        session.number("SELECT count(*) FROM pg_catalog.pg_class WHERE relname LIKE 'part_%' AND relkind = 'r'");
    assert_eq!(tables.await, last, "every table of a round, and none of the next");
    for round in 1..=last {
        assert_eq!(session.number(&format!("SELECT sum(id) FROM part_{round}")).await, 3);
    }
    let gone = session.try_rows("SELECT * FROM gone").await;
    assert!(gone.is_err(), "the view whose place was taken is gone with the round");
    last
}

/// One after the other until the server is gone: two views change their names, one way and the other.
async fn swap_names(session: Session, from: i64, acknowledged: watch::Sender<i64>) {
    for round in from.. {
        let swap = match round % 2 {
            0 => "ALTER MATERIALIZED VIEW x SWAP WITH y",
            _ => {
                "ALTER MATERIALIZED VIEW x RENAME TO z;
                 ALTER MATERIALIZED VIEW y RENAME TO x;
                 ALTER MATERIALIZED VIEW z RENAME TO y"
            }
        };
        let script = format!("BEGIN; {swap}; INSERT INTO ledger VALUES ({round}); COMMIT");
        if session.client().batch_execute(&script).await.is_err() {
            return;
        }
        acknowledged.send_replace(round);
    }
}

/// What stands after a start: the last round, and every name where it leaves them.
async fn swapped_rounds(session: &Session) -> i64 {
    let last = session.number("SELECT count(*) FROM ledger").await;
    let (under_x, under_y) = if last % 2 == 0 { ("first", "second") } else { ("second", "first") };
    for (relation, who) in [("x", under_x), ("y", under_y), ("of_first", "first"), ("of_second", "second")] {
        let rows = session.rows(&format!("SELECT who, n FROM {relation}")).await;
        assert_eq!(rows, [[who.to_string(), last.to_string()]], "{relation} after round {last}");
    }
    last
}

/// Kills the server again and again while `write` goes through its rounds from the one that it is given and says which
/// were acknowledged; `whole` checks what stands behind each start and tells the last round of it.
async fn killed_amid_rounds<W: Future<Output = ()> + Send + 'static>(
    seed: u64,
    definitions: &[&str],
    write: fn(Session, i64, watch::Sender<i64>) -> W,
    whole: impl AsyncFn(&Session) -> i64,
) {
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new(folder.path().to_str().unwrap());
    let mut server = launch.start().await;
    let session = server.connect().await;
    for definition in definitions {
        session.run(definition).await;
    }
    let mut last = 0;
    for kill in 0..KILLS {
        let (acknowledged, mut progress) = watch::channel(last);
        let writer = connect(server.address()).await.unwrap();
        let writing = tokio::spawn(write(writer, last + 1, acknowledged));
        let target = last + random.random_range(1..7);
        progress.wait_for(|round| *round >= target).await.unwrap();
        if kill % 2 == 0 {
            // Some start from a checkpoint that has part of what the log holds.
            let _ = server.connect().await.client().batch_execute("CHECKPOINT").await;
        }
        server.kill().await;
        writing.await.unwrap();
        let acknowledged = *progress.borrow();
        server = launch.start().await;
        last = whole(&server.connect().await).await;
        assert!(last == acknowledged || last == acknowledged + 1, "{last} stand, {acknowledged} were acknowledged");
    }
    server.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_swapped_as_a_whole_and_readers_follow_after_kills() {
    let definitions = [
        "CREATE TABLE ledger (round BIGINT PRIMARY KEY)",
        "CREATE MATERIALIZED VIEW x AS SELECT 'first' AS who, count(*) AS n FROM ledger",
        "CREATE MATERIALIZED VIEW y AS SELECT 'second' AS who, count(*) AS n FROM ledger",
        "CREATE VIEW of_first AS SELECT x.who, n FROM x",
        "CREATE MATERIALIZED VIEW of_second AS SELECT y.who, n FROM y",
    ];
    killed_amid_rounds(20_261_122, &definitions, swap_names, swapped_rounds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_with_definitions_are_whole_after_kills() {
    let definitions = [
        "CREATE TABLE ledger (round BIGINT PRIMARY KEY)",
        "CREATE MATERIALIZED VIEW newest AS SELECT count(*) AS n, 0 AS round FROM ledger",
    ];
    killed_amid_rounds(20_261_121, &definitions, define_and_write, whole_rounds).await;
}
