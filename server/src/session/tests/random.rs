//! Random statements, checkpoints and restarts: tables hold what a model holds, views what their queries give.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Client, open};
use crate::engine::Engine;

const KEYS: i32 = 12;
const STEPS: usize = 50;

/// The seeds of a run; `MILLSTREAM_TEST_SEEDS=FROM-TO` (exclusive) chooses others.
pub(super) fn seeds() -> std::ops::Range<u64> {
    let chosen = std::env::var("MILLSTREAM_TEST_SEEDS").ok();
    let bounds = chosen.as_deref().and_then(|text| text.split_once('-'));
    bounds.map_or(0..4, |(from, to)| from.parse().unwrap()..to.parse().unwrap())
}

const GROUPED: &str = "SELECT v % 3 AS g, count(*) AS n, sum(v) AS s, max(v) AS top FROM a GROUP BY v % 3";
const JOINED: &str = "SELECT a.id, a.v, b.w FROM a LEFT JOIN b ON a.id = b.id";

struct World {
    engine: std::sync::Arc<Engine>,
    client: Client,
    name: String,
    /// The table with a key.
    a: BTreeMap<i32, i32>,
    /// The table without one.
    b: Vec<(i32, i32)>,
    joined: bool,
}

impl World {
    async fn new(seed: u64) -> Self {
        let name = format!("random_{seed}");
        let engine = open(&name).await;
        let mut client = Client::new(&engine);
        if seed.is_multiple_of(2) {
            client.tag("SET millstream.checkpoint_interval = '20ms'").await;
        }
        client.tag("CREATE TABLE a (id INT PRIMARY KEY, v INT NOT NULL)").await;
        client.tag("CREATE TABLE b (id INT, w INT)").await;
        client.tag(&format!("CREATE MATERIALIZED VIEW grouped AS {GROUPED}")).await;
        Self { engine, client, name, a: BTreeMap::new(), b: Vec::new(), joined: false }
    }

    async fn step(&mut self, random: &mut StdRng) {
        let (id, v) = (random.random_range(0..KEYS), random.random_range(0..100));
        match random.random_range(0..12) {
            0 | 1 => {
                let outcome = self.client.run(&format!("INSERT INTO a VALUES ({id}, {v})")).await;
                assert_eq!(outcome.is_err(), self.a.contains_key(&id), "{outcome:?}");
                self.a.entry(id).or_insert(v);
            }
            2 => {
                let upsert = "ON CONFLICT (id) DO UPDATE SET v = a.v + excluded.v";
                self.client.tag(&format!("INSERT INTO a VALUES ({id}, {v}) {upsert}")).await;
                self.a.entry(id).and_modify(|old| *old += v).or_insert(v);
            }
            3 => {
                self.client.tag(&format!("UPDATE a SET v = v + 1 WHERE v < {v}")).await;
                self.a.values_mut().filter(|old| **old < v).for_each(|old| *old += 1);
            }
            4 => {
                self.client.tag(&format!("DELETE FROM a WHERE id = {id}")).await;
                self.a.remove(&id);
            }
            5..=7 => {
                self.client.tag(&format!("INSERT INTO b VALUES ({id}, {v}), ({id}, {v})")).await;
                self.b.extend([(id, v), (id, v)]);
            }
            8 => {
                self.client.tag(&format!("DELETE FROM b WHERE id = {id}")).await;
                self.b.retain(|row| row.0 != id);
            }
            9 => self.client.tag("CHECKPOINT").await.clear(),
            10 => self.restart(random.random_bool(0.5)).await,
            _ if self.joined => {
                self.client.tag("DROP MATERIALIZED VIEW joined").await;
                self.joined = false;
            }
            _ => {
                self.client.tag(&format!("CREATE MATERIALIZED VIEW joined AS {JOINED}")).await;
                self.joined = true;
            }
        }
    }

    /// Opens the storage anew, after the server has stopped or while it still runs.
    async fn restart(&mut self, stop: bool) {
        let old = std::sync::Arc::clone(&self.engine);
        if stop {
            old.stop().await;
        }
        self.engine = open(&self.name).await;
        self.client = Client::new(&self.engine);
        old.stop().await;
    }

    async fn check(&mut self) {
        let a: Vec<String> = self.a.iter().map(|(id, v)| format!("{id}|{v}")).collect();
        assert_eq!(self.client.rows("SELECT * FROM a ORDER BY id").await, a);
        self.b.sort_unstable();
        let b: Vec<String> = self.b.iter().map(|(id, w)| format!("{id}|{w}")).collect();
        assert_eq!(self.client.rows("SELECT * FROM b ORDER BY id, w").await, b);
        let order = "ORDER BY 1, 2, 3";
        let grouped = self.client.rows(&format!("SELECT * FROM grouped {order}")).await;
        assert_eq!(grouped, self.client.rows(&format!("SELECT * FROM ({GROUPED}) {order}")).await);
        if self.joined {
            let joined = self.client.rows(&format!("SELECT * FROM joined {order}")).await;
            assert_eq!(joined, self.client.rows(&format!("SELECT * FROM ({JOINED}) {order}")).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_and_views_survive_random_histories() {
    for seed in seeds() {
        eprintln!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let mut world = World::new(seed).await;
        for _ in 0..STEPS {
            world.step(&mut random).await;
            world.check().await;
        }
        world.engine.stop().await;
    }
}
