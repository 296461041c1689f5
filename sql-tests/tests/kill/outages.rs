//! The harness with the broker and the store killed as well: those of the test's own, with SIGKILL, at the same
//! random moments, the server sometimes with them and sometimes alive. They are started again when something was
//! seen to happen meanwhile: a state, further acknowledged rows, a start that was refused.

use std::collections::BTreeMap;

use millstream_sql_tests::server::{Server, Starting};
use millstream_sql_tests::services::OwnService;

use super::*;

/// Rounds of kills of one run; each takes a broker's start, some seconds.
const ROUNDS: usize = 8;

/// Events of one run unless `MILLSTREAM_KILL_EVENTS` says otherwise.
const EVENTS_DEFAULT: usize = 250_000;

/// Everything that can be killed.
struct World {
    broker: OwnService,
    store: OwnService,
    launch: Launch,
    /// `None` while it is not there.
    server: Option<Server>,
    /// Where the inserting client finds the server.
    whereabouts: watch::Sender<Option<SocketAddr>>,
}

/// Who is killed in a round.
#[derive(Clone, Copy, Debug)]
struct Victims {
    broker: bool,
    store: bool,
    server: bool,
}

impl Victims {
    /// One service or both, and every other time the server.
    fn random(random: &mut StdRng) -> Self {
        let (broker, store) = [(true, false), (false, true), (true, true)][random.random_range(0..3)];
        Self { broker, store, server: random.random() }
    }
}

impl World {
    /// Kills the victims one right after the other, the server first or last.
    async fn kill(&mut self, victims: Victims, server_first: bool) {
        if victims.server && server_first {
            self.kill_server().await;
        }
        if victims.broker {
            self.broker.kill().await;
        }
        if victims.store {
            self.store.kill().await;
        }
        if victims.server && !server_first {
            self.kill_server().await;
        }
    }

    async fn kill_server(&mut self) {
        self.whereabouts.send_replace(None);
        self.server.take().expect("it runs").kill().await;
    }

    /// Waits for a server that was started, and tells the inserting client.
    async fn await_server(&mut self, starting: Starting) {
        let server = tokio::time::timeout(PATIENCE, starting.listening()).await.expect("the server listens in time");
        self.whereabouts.send_replace(Some(server.address()));
        self.server = Some(server);
    }

    /// While the services are away: what has to happen without them is waited for.
    async fn meanwhile(&mut self, victims: Victims) {
        match (&self.server, victims.store) {
            // A server that is alive and can't write says so.
            (Some(server), true) => {
                let jobs = "SELECT state, coalesce(reason, '') FROM millstream.jobs WHERE relation = 'noted'";
                let job = server.connect().await.until(jobs, |rows| rows[0][0] != "RUNNING").await.remove(0);
                assert_eq!(job[0], "WAITING", "{job:?}");
            }
            // One that can't read goes on taking rows.
            (Some(server), false) => {
                let session = server.connect().await;
                let rows = "SELECT count(*) FROM notes";
                let before = session.number(rows).await;
                session.until(rows, |now| now[0][0].parse::<i64>().unwrap() > before + 5).await;
            }
            // One without its storage does not start.
            (None, true) => {
                let (code, log) = self.launch.spawn().ended().await;
                assert_eq!(code, Some(1), "{log}");
            }
            // One without its broker does.
            (None, false) => {
                let starting = self.launch.spawn();
                self.await_server(starting).await;
            }
        }
    }

    /// Starts again what was killed.
    async fn restore(&mut self, victims: Victims) {
        if victims.store {
            self.store.start().await;
        }
        if self.server.is_none() {
            let starting = self.launch.spawn();
            self.await_server(starting).await;
        }
        if victims.broker {
            self.broker.start().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_counted_twice_when_broker_and_store_are_killed() {
    let test = "nothing_is_lost_or_counted_twice_when_broker_and_store_are_killed";
    let _turn = services::turn().await;
    let Some(store) = OwnService::s3(test).await else { return };
    let Some(broker) = OwnService::kafka(test).await else { return };
    let mut feed = Feed::create(broker.bootstrap(), EVENTS_DEFAULT, ROUNDS).await;
    let launch = Launch::new(format!("{}/{}", store.bucket(), fresh("kill"))).environment(store.exports());
    let server = launch.start().await;
    let session = server.connect().await;
    create(&session, broker.bootstrap(), feed.topic.name()).await;
    let published = Topic::create(broker.bootstrap(), "published", 2).await;
    create_sink(&session, broker.bootstrap(), feed.topic.name(), published.name()).await;
    let (whereabouts, inserting) = watch::channel(Some(server.address()));
    let inserting = tokio::spawn(insert_notes(inserting));
    let mut world = World { broker, store, launch, server: Some(server), whereabouts };
    let started = Instant::now();
    let mut manifests = BTreeSet::new();
    for round in 1..=ROUNDS {
        feed.produce(round, ROUNDS);
        let address = world.server.as_ref().expect("it runs").address();
        let seen = Moment::random(&mut feed.random, feed.produced).wait(address, &mut manifests).await;
        let victims = Victims::random(&mut feed.random);
        let (read, produced, elapsed) = (seen, feed.produced, started.elapsed());
        say(&format!("round {round} at {elapsed:.1?}: {read} rows read of {produced}, {victims:?}"));
        world.kill(victims, feed.random.random()).await;
        // Every other time they are back before anybody can have noticed.
        if feed.random.random() {
            world.meanwhile(victims).await;
        }
        world.restore(victims).await;
    }
    feed.finish();
    drop(world.whereabouts);
    let inserted = tokio::time::timeout(PATIENCE, inserting).await.expect("every INSERT is answered").unwrap();
    let session = world.server.as_ref().expect("it runs").connect().await;
    session.until("SELECT count(*) FROM millstream.jobs WHERE state <> 'RUNNING'", |rows| rows == [["0"]]).await;
    session.run("FLUSH").await;
    say(&format!("{} events read in {:.1?}", feed.produced, started.elapsed()));
    assert!(!manifests.is_empty(), "no checkpoint was ever taken");
    check(&session, &Expected::of(&feed.partitions), &inserted).await;
    session.run("CHECKPOINT").await;
    check_published(&published, &feed.partitions);
}

/// A graph beside the other one: everything that is read goes into another topic.
async fn create_sink(session: &Session, bootstrap: &str, from: &str, to: &str) {
    let options =
        |topic: &str| format!("connector = 'kafka', topic = '{topic}', properties.bootstrap.server = '{bootstrap}'");
    let source = format!(
        "CREATE SOURCE everything (auction BIGINT, price BIGINT) \
         WITH ({}, scan.startup.mode = 'earliest') FORMAT PLAIN ENCODE JSON",
        options(from)
    );
    session.run(&source).await;
    let sink = format!(
        "CREATE SINK publish AS SELECT auction, price FROM everything WITH ({}) FORMAT PLAIN ENCODE JSON",
        options(to)
    );
    session.run(&sink).await;
}

/// A read_committed reader of the sink's topic sees every record that is a row once (invariant 11).
fn check_published(topic: &Topic, partitions: &[Vec<Record>]) {
    let mut missing: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    for record in partitions.iter().flatten() {
        if let Record::Bid { auction, price, .. } = *record {
            *missing.entry((auction, price)).or_default() += 1;
        }
    }
    let wanted = missing.values().sum::<i64>() as usize;
    let seen = tokio::task::block_in_place(|| topic.committed(PATIENCE, |rows| rows.len() >= wanted));
    for row in &seen {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        *missing.entry((row["auction"].as_i64().unwrap(), row["price"].as_i64().unwrap())).or_default() -= 1;
    }
    let wrong: Vec<_> = missing.iter().filter(|(_, count)| **count != 0).take(5).collect();
    assert!(wrong.is_empty(), "{} rows are published, {wanted} were to be; too few or many: {wrong:?}", seen.len());
    say(&format!("the sink has published each of {wanted} rows once"));
}
