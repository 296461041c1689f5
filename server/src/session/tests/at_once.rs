//! What several sessions do at the same moment: names that are swapped, cursors and subscriptions over them, views that
//! are filled while their graphs join.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Barrier;

use super::random::seeds;
use super::subscribe::{Reader, newest};
use super::{Client, open};
use crate::engine::Engine;

/// What one who swaps meets when somebody else was faster, as docs/postgres.md has it.
const FASTER: [&str; 2] = ["40001", "55P03"];

/// Moves three names on by one, in one transaction; whether it was committed.
async fn rotate(client: &mut Client, swaps: [&str; 2], pauses: [u32; 3]) -> bool {
    let mut statements = vec!["BEGIN".to_string()];
    statements.extend(swaps.map(|names| format!("ALTER TABLE {names}")));
    statements.push("COMMIT".to_string());
    for (at, sql) in statements.iter().enumerate() {
        for _ in 0..pauses.get(at).copied().unwrap_or_default() {
            tokio::task::yield_now().await;
        }
        if let Err(error) = client.run(sql).await {
            assert!(FASTER.contains(&error.sqlstate), "{sql}: {error:?}");
            if sql != "COMMIT" {
                client.tag("ROLLBACK").await;
            }
            return false;
        }
    }
    true
}

/// What the three names stand for.
async fn meant(client: &mut Client) -> String {
    client.rows("SELECT (SELECT v FROM a), (SELECT v FROM b), (SELECT v FROM c)").await.remove(0)
}

/// Each transaction moves three names on by one with two swaps. Moves add up in any order, and half of one would leave
/// an order that no number of them leads to: so whoever looks sees 1 2 3, 2 3 1 or 3 1 2, and in the end the one that
/// those who were told so have made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sessions_that_swap_the_same_names_each_is_whole() {
    for seed in seeds() {
        let mut random = StdRng::seed_from_u64(seed);
        let name = format!("swaps_at_once_{seed}");
        let mut engine = open(&name).await;
        let mut setup = Client::new(&engine);
        for (table, v) in [("a", 1), ("b", 2), ("c", 3)] {
            setup.tag(&format!("CREATE TABLE {table} (v INT)")).await;
            setup.tag(&format!("INSERT INTO {table} VALUES ({v})")).await;
        }
        setup.tag("CREATE MATERIALIZED VIEW of_a AS SELECT v FROM a").await;
        let (mut moved, mut refused) = (0, 0);
        for round in 0..12 {
            let start = Arc::new(Barrier::new(3));
            let rotating = [0, 1].map(|_| {
                let pauses = std::array::from_fn(|_| random.random_range(0..4));
                let (mut client, start) = (Client::new(&engine), Arc::clone(&start));
                tokio::spawn(async move {
                    start.wait().await;
                    rotate(&mut client, ["a SWAP WITH b", "b SWAP WITH c"], pauses).await
                })
            });
            let looks = random.random_range(1..6);
            let (mut client, ready) = (Client::new(&engine), Arc::clone(&start));
            let looking = tokio::spawn(async move {
                ready.wait().await;
                for _ in 0..looks {
                    let seen = meant(&mut client).await;
                    assert!(["1|2|3", "2|3|1", "3|1|2"].contains(&seen.as_str()), "a mix: {seen}");
                }
            });
            let mut committed = 0;
            for one in rotating {
                committed += usize::from(one.await.unwrap());
            }
            looking.await.unwrap();
            assert!(committed > 0, "seed {seed}, round {round}: one of them is not in the other's way");
            (moved, refused) = (moved + committed, refused + 2 - committed);
            let expected = ["1|2|3", "2|3|1", "3|1|2"][moved % 3];
            let mut client = Client::new(&engine);
            assert_eq!(meant(&mut client).await, expected, "seed {seed}, round {round}, {moved} of them");
            assert_eq!(client.rows("SELECT v FROM of_a").await, ["1"], "it reads what it has read");
            if random.random_bool(0.2) {
                engine.stop().await;
                engine = open(&name).await;
                assert_eq!(meant(&mut Client::new(&engine)).await, expected, "seed {seed}, round {round}, restarted");
            }
        }
        eprintln!("seed {seed}: {moved} committed, {refused} refused");
        engine.stop().await;
    }
}

/// Cursors give the rows of what they were declared over, subscriptions follow it, under whatever name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursors_and_subscriptions_stay_with_what_they_began_with() {
    let engine = open("swaps_under_cursors").await;
    let (mut client, mut other) = (Client::new(&engine), Client::new(&engine));
    for (table, first) in [("a", 1), ("b", 101)] {
        other.tag(&format!("CREATE TABLE {table} (v INT)")).await;
        other.tag(&format!("INSERT INTO {table} SELECT * FROM generate_series({first}, {})", first + 4)).await;
    }
    client.tag("DECLARE held CURSOR WITH HOLD FOR SELECT v FROM a ORDER BY v").await;
    client.tag("DECLARE back SCROLL CURSOR WITH HOLD FOR SELECT v FROM a ORDER BY v").await;
    client.tag("DECLARE followed CURSOR WITH HOLD FOR SUBSCRIBE a WITH (SNAPSHOT = false)").await;
    client.tag("DECLARE computed CURSOR WITH HOLD FOR SUBSCRIBE (SELECT v * 10 FROM a) WITH (SNAPSHOT = false)").await;
    let mut reader = Reader::start(&engine, "SUBSCRIBE a WITH (PROGRESS)").await.unwrap();
    client.tag("BEGIN").await;
    client.tag("DECLARE c CURSOR FOR SELECT v FROM a ORDER BY v").await;
    assert_eq!(client.rows("FETCH 2 FROM c").await, ["1", "2"]);
    assert_eq!(client.rows("FETCH 1 FROM held").await, ["1"]);
    assert_eq!(client.rows("FETCH 5 FROM back").await.len(), 5);

    other.tag("ALTER TABLE a SWAP WITH b").await;
    other.tag("INSERT INTO a VALUES (200)").await;
    other.tag("INSERT INTO b VALUES (6)").await;
    assert_eq!(client.rows("FETCH ALL FROM c").await, ["3", "4", "5"], "as it was when it was declared");
    client.tag("COMMIT").await;
    assert_eq!(client.rows("FETCH 2 FROM held").await, ["2", "3"]);
    assert_eq!(client.rows("FETCH BACKWARD ALL FROM back").await, ["4", "3", "2", "1"]);
    let changes = |rows: Vec<String>| rows.iter().map(|row| row.split_once('|').unwrap().1.to_string()).collect();
    let followed: Vec<String> = changes(client.rows("FETCH ALL FROM followed WITH (timeout = '1h')").await);
    assert_eq!(followed, ["1|6"]);
    let computed: Vec<String> = changes(client.rows("FETCH ALL FROM computed WITH (timeout = '1h')").await);
    assert_eq!(computed, ["1|60"]);
    reader.read_to(newest(&mut other).await).await.unwrap();
    assert_eq!(reader.rows(), ["1", "2", "3", "4", "5", "6"]);

    // A new one means what the name stands for now, in a transaction, too.
    client.tag("BEGIN").await;
    client.tag("ALTER TABLE a SWAP WITH b").await;
    client.tag("DECLARE again CURSOR FOR SELECT count(*) FROM a").await;
    assert_eq!(client.rows("FETCH ALL FROM again").await, ["6"]);
    client.tag("ROLLBACK").await;
    assert_eq!(client.rows("SELECT count(*) FROM a").await, ["6"], "five, and one of later");
    other.tag("DROP TABLE b").await;
    assert_eq!(client.rows("FETCH ALL FROM held").await, ["4", "5"], "what is held is there without it");
    for cursor in ["followed", "computed"] {
        let error = client.error(&format!("FETCH ALL FROM {cursor}")).await;
        let expected = ("42P01", "relation \"b\" was dropped while it was subscribed to");
        assert_eq!((error.sqlstate, error.message.as_str()), expected, "{cursor}");
    }
    drop((client, reader));
    engine.stop().await;
}

/// A view, in a transaction or by itself; what its session is told beside.
async fn create(engine: Arc<Engine>, sql: String, in_block: bool) -> Vec<String> {
    let mut client = Client::new(&engine);
    if !in_block {
        return client.run(&sql).await.unwrap().notices;
    }
    client.tag("BEGIN").await;
    client.tag(&sql).await;
    client.run("COMMIT").await.unwrap().notices
}

/// Whoever waits for a view to be full waits on in the graph that its graph joins meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_are_waited_for_while_their_graphs_join() {
    for seed in seeds() {
        let mut random = StdRng::seed_from_u64(seed);
        let engine = open(&format!("joins_amid_fills_{seed}")).await;
        let mut client = Client::new(&engine);
        for round in 0..4 {
            for (table, rows) in [("a", 20_000), ("b", 10)] {
                client.tag(&format!("CREATE TABLE {table}{round} (id INT, v INT)")).await;
                let rows = format!("SELECT i, i % 7 FROM generate_series(1, {rows}) AS g(i)");
                client.tag(&format!("INSERT INTO {table}{round} {rows}")).await;
            }
            let filled = format!(
                "CREATE MATERIALIZED VIEW filled{round} AS
                 SELECT id % 1000 AS g, count(*) AS n, string_agg(v::text, ',') AS all_of FROM a{round} GROUP BY 1"
            );
            let joined = format!(
                "CREATE MATERIALIZED VIEW joined{round} AS
                 SELECT b.id, count(*) AS n FROM a{round} a JOIN b{round} b ON a.v = b.v GROUP BY b.id"
            );
            let filling = tokio::spawn(create(Arc::clone(&engine), filled, random.random_bool(0.5)));
            for _ in 0..random.random_range(0..20) {
                tokio::task::yield_now().await;
            }
            let joining = tokio::spawn(create(Arc::clone(&engine), joined, random.random_bool(0.5)));
            for told in [filling.await.unwrap(), joining.await.unwrap()] {
                assert!(told.is_empty(), "seed {seed}, round {round}: {told:?}");
            }
            let full = format!("SELECT count(*), sum(n) FROM filled{round}");
            assert_eq!(client.rows(&full).await, ["1000|20000"], "seed {seed}, round {round}");
            let full = format!("SELECT count(*) > 0 FROM joined{round}");
            assert_eq!(client.rows(&full).await, ["true"], "seed {seed}, round {round}");
        }
        engine.stop().await;
    }
}

/// A sink that its INSERT did not name is called as it was called, whatever was dropped before a start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_without_a_name_keeps_the_one_that_it_got() {
    let engine = open("sinks_named_once").await;
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE t (v INT)").await;
    client.tag("CREATE TABLE out (v INT) WITH (connector = 'blackhole')").await;
    for _ in 0..3 {
        client.tag("INSERT INTO out SELECT v FROM t").await;
    }
    client.tag("DROP SINK insert_into_out").await;
    client.tag("ALTER SINK insert_into_out_3 RENAME TO third").await;
    let sinks = "SELECT relation FROM millstream.jobs WHERE kind = 'sink' ORDER BY relation";
    assert_eq!(client.rows(sinks).await, ["insert_into_out_2", "third"]);
    for checkpoint in [false, true] {
        if checkpoint {
            Client::new(&engine).tag("CHECKPOINT").await;
        }
    }
    engine.stop().await;
    let engine = open("sinks_named_once").await;
    let mut client = Client::new(&engine);
    assert_eq!(client.rows(sinks).await, ["insert_into_out_2", "third"]);
    client.tag("INSERT INTO out SELECT v FROM t").await;
    assert_eq!(client.rows(sinks).await, ["insert_into_out", "insert_into_out_2", "third"]);
    engine.stop().await;
}
