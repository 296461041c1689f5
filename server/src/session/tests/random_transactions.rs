//! Random transactions of several sessions against a model: savepoints, failures, definitions, kills.
//!
//! The model knows every row that a transaction wrote with what it found there first. So it knows which COMMIT has
//! to fail: one with a row that somebody else has changed since. After each COMMIT the tables equal the model, and
//! the views what their queries give.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::random::seeds;
use super::{Client, open};
use crate::engine::Engine;

const KEYS: i32 = 8;
const SESSIONS: usize = 3;
const STEPS: usize = 220;

const GROUPED: &str = "SELECT v % 3 AS g, count(*) AS n, sum(v) AS s FROM a GROUP BY v % 3";

type Rows = BTreeMap<i32, i32>;

/// A row that a transaction wrote: what was there before its first write, and what is there now.
type Written = BTreeMap<i32, (Option<i32>, Option<i32>)>;

#[derive(Clone, Default)]
struct Open {
    /// What the first read pinned; a transaction without one reads what is newest.
    snapshot: Option<Rows>,
    written: Written,
    /// Tables that it made, with their rows.
    made: BTreeMap<String, i64>,
    savepoints: Vec<(Written, BTreeMap<String, i64>)>,
    failed: bool,
}

impl Open {
    fn own(&self, key: i32) -> Option<Option<i32>> {
        self.written.get(&key).map(|(_, now)| *now)
    }

    fn write(&mut self, key: i32, found: Option<i32>, now: Option<i32>) {
        self.written.entry(key).and_modify(|written| written.1 = now).or_insert((found, now));
    }

    /// Whether somebody else has changed a row that it changes.
    fn conflicts(&self, committed: &Rows) -> bool {
        self.written.iter().any(|(key, (found, now))| found != now && committed.get(key).copied() != *found)
    }

    fn visible(&self, committed: &Rows) -> Rows {
        let mut rows = self.snapshot.as_ref().unwrap_or(committed).clone();
        for (key, (_, now)) in &self.written {
            match now {
                Some(value) => drop(rows.insert(*key, *value)),
                None => drop(rows.remove(key)),
            }
        }
        rows
    }
}

struct World {
    name: String,
    engine: Arc<Engine>,
    sessions: Vec<(Client, Option<Open>)>,
    committed: Rows,
    made: BTreeMap<String, i64>,
    /// Names of tables are never used twice.
    names: usize,
    commits: usize,
    conflicts: usize,
}

impl World {
    async fn new(seed: u64) -> Self {
        let name = format!("random_transactions_{seed}");
        let engine = open(&name).await;
        let mut client = Client::new(&engine);
        client.tag("CREATE TABLE a (id INT PRIMARY KEY, v INT NOT NULL)").await;
        client.tag(&format!("CREATE MATERIALIZED VIEW grouped AS {GROUPED}")).await;
        let sessions = (0..SESSIONS).map(|_| (Client::new(&engine), None)).collect();
        let (committed, made) = (Rows::new(), BTreeMap::new());
        Self { name, engine, sessions, committed, made, names: 0, commits: 0, conflicts: 0 }
    }

    async fn step(&mut self, random: &mut StdRng) {
        if random.random_ratio(1, 40) {
            return self.kill(random.random_bool(0.5)).await;
        }
        let at = random.random_range(0..SESSIONS);
        let (mut client, open) = self.sessions.remove(at);
        let next = match open {
            None => self.begin(&mut client, random).await,
            Some(open) if open.failed => self.leave_failed(&mut client, open, random).await,
            Some(open) => match random.random_range(0..14) {
                0..=2 => self.commit(&mut client, open).await,
                3 => {
                    assert_eq!(client.tag("ROLLBACK").await, "ROLLBACK");
                    None
                }
                4 => {
                    let mut open = open;
                    client.tag(&format!("SAVEPOINT s{}", open.savepoints.len())).await;
                    open.savepoints.push((open.written.clone(), open.made.clone()));
                    Some(open)
                }
                5 if !open.savepoints.is_empty() => Some(Self::back(&mut client, open, random).await),
                6 => Some(self.define(&mut client, open, random).await),
                _ => Some(self.write(&mut client, open, random).await),
            },
        };
        self.sessions.insert(at, (client, next));
    }

    async fn begin(&mut self, client: &mut Client, random: &mut StdRng) -> Option<Open> {
        client.tag("BEGIN").await;
        let mut open = Open::default();
        if random.random_bool(0.5) {
            self.compare(client, "a", &self.committed).await;
            open.snapshot = Some(self.committed.clone());
        }
        Some(open)
    }

    async fn leave_failed(&mut self, client: &mut Client, open: Open, random: &mut StdRng) -> Option<Open> {
        assert_eq!(client.error("SELECT 1").await.sqlstate, "25P02");
        if !open.savepoints.is_empty() && random.random_bool(0.5) {
            return Some(Self::back(client, open, random).await);
        }
        assert_eq!(client.tag("COMMIT").await, "ROLLBACK");
        None
    }

    async fn back(client: &mut Client, mut open: Open, random: &mut StdRng) -> Open {
        let to = random.random_range(0..open.savepoints.len());
        client.tag(&format!("ROLLBACK TO s{to}")).await;
        (open.written, open.made) = open.savepoints[to].clone();
        open.savepoints.truncate(to + 1);
        open.failed = false;
        open
    }

    async fn write(&mut self, client: &mut Client, mut open: Open, random: &mut StdRng) -> Open {
        let (key, value) = (random.random_range(0..KEYS), random.random_range(0..100));
        let newest = self.committed.get(&key).copied();
        let seen = open.own(key).unwrap_or(match &open.snapshot {
            Some(snapshot) => snapshot.get(&key).copied(),
            None => newest,
        });
        let (sql, now, refused) = match random.random_range(0..4) {
            // A key is held against the newest commit, whatever the snapshot has: only where both agree is it
            // one row that the statement is about.
            0 if open.own(key).is_some() || seen == newest => {
                (format!("INSERT INTO a VALUES ({key}, {value})"), Some(value), seen.is_some())
            }
            1 => (format!("DELETE FROM a WHERE id = {key}"), None, false),
            _ => (format!("UPDATE a SET v = v + {value} WHERE id = {key}"), seen.map(|seen| seen + value), false),
        };
        match client.run(&sql).await {
            Ok(_) => {
                assert!(!refused, "{sql} found a row");
                if seen != now {
                    open.write(key, seen, now);
                }
                if open.snapshot.is_some() {
                    self.compare(client, "a", &open.visible(&self.committed)).await;
                }
            }
            Err(error) => {
                let lost = error.sqlstate == "40001" && open.conflicts(&self.committed);
                assert!(lost || refused && error.sqlstate == "23505", "{sql}: {error:?}");
                open.failed = true;
            }
        }
        open
    }

    /// A table with rows and a view over it and another table.
    async fn define(&mut self, client: &mut Client, mut open: Open, random: &mut StdRng) -> Open {
        let (name, rows) = (format!("made_{}", self.names), random.random_range(1..4_i64));
        self.names += 1;
        client.tag(&format!("CREATE TABLE {name} (id INT PRIMARY KEY)")).await;
        let values: Vec<String> = (0..rows).map(|id| format!("({id})")).collect();
        client.tag(&format!("INSERT INTO {name} VALUES {}", values.join(", "))).await;
        assert_eq!(client.rows(&format!("SELECT count(*) FROM {name}")).await, [rows.to_string()]);
        let joined = format!("SELECT a.id, a.v FROM {name} JOIN a ON a.id = {name}.id");
        client.tag(&format!("CREATE MATERIALIZED VIEW over_{name} AS {joined}")).await;
        // Reading the new table has pinned the moment, unless it was pinned before.
        if open.snapshot.is_none() {
            open.snapshot = Some(self.committed.clone());
        }
        open.made.insert(name, rows);
        open
    }

    async fn commit(&mut self, client: &mut Client, open: Open) -> Option<Open> {
        let outcome = client.run("COMMIT").await;
        if open.conflicts(&self.committed) {
            let error = outcome.expect_err("somebody else has changed a row");
            assert!(["40001", "23505"].contains(&error.sqlstate), "{error:?}");
            self.conflicts += 1;
        } else {
            outcome.expect("nobody has changed a row");
            for (key, (_, now)) in &open.written {
                match now {
                    Some(value) => drop(self.committed.insert(*key, *value)),
                    None => drop(self.committed.remove(key)),
                }
            }
            self.made.extend(open.made);
            self.commits += 1;
        }
        self.check().await;
        None
    }

    /// Opens the storage anew, after the server has stopped or while it still runs: then it dies in the middle.
    async fn kill(&mut self, stop: bool) {
        let old = Arc::clone(&self.engine);
        if stop {
            self.sessions[0].0.run("ROLLBACK").await.unwrap();
            self.sessions[0].0.tag("CHECKPOINT").await;
            old.stop().await;
        }
        self.engine = open(&self.name).await;
        self.sessions = (0..SESSIONS).map(|_| (Client::new(&self.engine), None)).collect();
        old.stop().await;
        self.check().await;
    }

    async fn check(&mut self) {
        let mut client = Client::new(&self.engine);
        self.compare(&mut client, "a", &self.committed).await;
        let grouped = client.rows("SELECT * FROM grouped ORDER BY 1, 2, 3").await;
        assert_eq!(grouped, client.rows(&format!("SELECT * FROM ({GROUPED}) ORDER BY 1, 2, 3")).await);
        let found = client.rows("SHOW TABLES").await;
        let found: Vec<&str> = found.iter().filter_map(|row| row.strip_prefix("public|made_")).collect();
        assert_eq!(found.len(), self.made.len(), "{found:?}");
        for (name, rows) in &self.made {
            assert_eq!(client.rows(&format!("SELECT count(*) FROM {name}")).await, [rows.to_string()]);
            let joined: Rows = self.committed.clone().into_iter().filter(|(id, _)| i64::from(*id) < *rows).collect();
            self.compare(&mut client, &format!("over_{name}"), &joined).await;
        }
    }

    async fn compare(&self, client: &mut Client, relation: &str, expected: &Rows) {
        let expected: Vec<String> = expected.iter().map(|(id, v)| format!("{id}|{v}")).collect();
        assert_eq!(client.rows(&format!("SELECT id, v FROM {relation} ORDER BY id")).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_of_several_sessions_do_what_the_model_does() {
    let (mut commits, mut conflicts) = (0, 0);
    for seed in seeds() {
        eprintln!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let mut world = World::new(seed).await;
        for _ in 0..STEPS {
            world.step(&mut random).await;
        }
        world.check().await;
        world.engine.stop().await;
        (commits, conflicts) = (commits + world.commits, conflicts + world.conflicts);
    }
    assert!(commits > 0 && conflicts > 0, "{commits} commits and {conflicts} conflicts attack nothing");
}
