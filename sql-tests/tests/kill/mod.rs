//! kill -9 against the real binary, with a real Kafka and a real S3 store.
//!
//! Attacks invariants 1 to 3, 7, 8, 10, 11 and 14: after kills at random moments the two views (a windowed one and a
//! join) equal what `input` computes from the records that were produced, every record is accounted for, and every
//! acknowledged row is there once. Here the server is killed; in `outages` the broker and the store are, too.
//! Moments are chosen by progress (rows visible) or by a deadline on a wait; both come from a printed seed.

mod input;
mod outages;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use millstream_sql_tests::kafka::Topic;
use millstream_sql_tests::server::{Launch, PATIENCE, Session, connect};
use millstream_sql_tests::services::{self, fresh};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

use self::input::{AUCTIONS, Expected, Note, PARTITIONS, Record};

/// Kills of one run.
const KILLS: usize = 25;

/// Events of one run unless `MILLSTREAM_KILL_EVENTS` says otherwise.
const EVENTS_DEFAULT: usize = 1_000_000;

/// What the inserting client knows at the end.
#[derive(Default)]
struct Inserted {
    acknowledged: BTreeSet<Note>,
    /// Sent, and the connection ended before the answer.
    unknown: BTreeSet<Note>,
}

/// Inserts one note after the other wherever the server is, until told to stop by the sender's end.
async fn insert_notes(mut server: watch::Receiver<Option<SocketAddr>>) -> Inserted {
    let mut inserted = Inserted::default();
    let mut id = 0;
    loop {
        let Some(address) = *server.borrow_and_update() else {
            if server.changed().await.is_err() {
                return inserted;
            }
            continue;
        };
        if let Ok(session) = connect(address).await {
            while server.has_changed().is_ok_and(|changed| !changed) {
                id += 1;
                let note = Note { id, auction: id % AUCTIONS };
                let sql = format!("INSERT INTO notes VALUES ({}, {})", note.id, note.auction);
                match session.client().batch_execute(&sql).await {
                    Ok(()) => inserted.acknowledged.insert(note),
                    Err(_) => inserted.unknown.insert(note),
                };
                if session.client().is_closed() {
                    break;
                }
            }
        }
        if server.changed().await.is_err() {
            return inserted;
        }
    }
}

const VIEWS: [&str; 2] = [
    "CREATE MATERIALIZED VIEW per_minute AS SELECT window_start, auction, count(*) AS n, max(price) AS top \
     FROM tumble(bids, ts, INTERVAL '1 minute') GROUP BY window_start, auction",
    "CREATE MATERIALIZED VIEW noted AS SELECT n.id, count(*) AS bids, sum(b.price) AS total \
     FROM bids b JOIN notes n ON b.auction = n.auction GROUP BY n.id",
];

async fn create(session: &Session, bootstrap: &str, topic: &str) {
    session.run("SET millstream.checkpoint_interval = '200ms'").await;
    let source = format!(
        "CREATE SOURCE bids (auction BIGINT, bidder BIGINT, price BIGINT, ts TIMESTAMP, \
             WATERMARK FOR ts AS ts - INTERVAL '4 seconds') \
         WITH (connector = 'kafka', topic = '{topic}', properties.bootstrap.server = '{bootstrap}', \
             scan.startup.mode = 'earliest') FORMAT PLAIN ENCODE JSON"
    );
    session.run(&source).await;
    session.run("CREATE TABLE notes (id BIGINT, auction BIGINT)").await;
    for view in VIEWS {
        session.run(view).await;
    }
}

/// The moment of a kill.
#[derive(Debug)]
struct Moment {
    /// So many records are read,
    rows: i64,
    /// and so many checkpoints were committed since the start,
    checkpoints: usize,
    /// or this time is over.
    deadline: Duration,
}

impl Moment {
    /// Half of them let checkpoints be committed first; the other half is before, in the middle of recovery.
    fn random(random: &mut StdRng, produced: usize) -> Self {
        let checkpoints = if random.random() { random.random_range(1..=3) } else { 0 };
        let deadline = Duration::from_millis(random.random_range(0..if checkpoints > 0 { 8_000 } else { 2_000 }));
        Self { rows: random.random_range(0..=produced as i64), checkpoints, deadline }
    }

    /// Waits for it; gives back the records read when that was last asked. Adds the checkpoints that it saw.
    async fn wait(&self, address: SocketAddr, manifests: &mut BTreeSet<String>) -> i64 {
        let (mut seen, mut fresh) = (0, BTreeSet::new());
        let watching = async {
            let Ok(session) = connect(address).await else { return };
            while seen < self.rows || fresh.len() < self.checkpoints {
                let Ok(read) = session
                    .try_rows("SELECT coalesce(sum(rows_read), 0) FROM millstream.splits WHERE relation = 'bids'")
                    .await
                else {
                    return;
                };
                let Ok(newest) = session.try_rows("SELECT manifest FROM millstream.checkpoints").await else { return };
                seen = read[0][0].parse().unwrap();
                let newest = newest.into_iter().flatten().filter(|manifest| !manifests.contains(manifest));
                fresh.extend(newest);
                tokio::task::yield_now().await;
            }
        };
        // What is under way then is of no interest.
        drop(tokio::time::timeout(self.deadline, watching).await);
        manifests.append(&mut fresh);
        seen
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

/// Past the test harness, which keeps what passing tests print: the figures and the seed are for people.
fn say(text: &str) {
    writeln!(std::io::stderr(), "kill -9 harness: {text}").expect("stderr takes a line");
}

/// A topic that is being filled, and what the server has to make of it.
struct Feed {
    random: StdRng,
    topic: Topic,
    partitions: Vec<Vec<Record>>,
    events: usize,
    produced: usize,
}

impl Feed {
    /// An empty topic; the seed and the number of events come from the environment, or are chosen.
    async fn create(bootstrap: &str, events_default: usize, kills: usize) -> Self {
        let seed = number("MILLSTREAM_KILL_SEED").unwrap_or_else(rand::random);
        let events = number("MILLSTREAM_KILL_EVENTS").map_or(events_default, |events| events as usize);
        say(&format!("seed {seed} (MILLSTREAM_KILL_SEED repeats it), {events} events, {kills} kills"));
        Self {
            random: StdRng::seed_from_u64(seed),
            topic: Topic::create(bootstrap, "kill", PARTITIONS as i32).await,
            partitions: (0..PARTITIONS).map(|_| Vec::new()).collect(),
            events,
            produced: 0,
        }
    }

    /// Produces up to a share of all events.
    fn produce(&mut self, part: usize, of: usize) {
        for number in self.produced..self.events * part / of {
            let partition = self.random.random_range(0..PARTITIONS);
            let record = Record::random(&mut self.random, number);
            self.topic.send(partition as i32, [record.payload().as_slice()]);
            self.partitions[partition].push(record);
        }
        self.produced = self.events * part / of;
    }

    /// Waits until the topic holds what was produced: each record once.
    fn finish(&self) {
        self.topic.flush();
        let produced: Vec<i64> = self.partitions.iter().map(|records| records.len() as i64).collect();
        assert_eq!(self.topic.ends(), produced, "the topic holds other records than were produced");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_counted_twice_over_kills() {
    let test = "nothing_is_lost_or_counted_twice_over_kills";
    let (Some(bootstrap), Some(bucket)) = (services::kafka(test), services::s3(test)) else { return };
    let mut feed = Feed::create(&bootstrap, EVENTS_DEFAULT, KILLS).await;
    let launch = Launch::new(format!("{bucket}/{}", fresh("kill")));
    let mut server = launch.start().await;
    create(&server.connect().await, &bootstrap, feed.topic.name()).await;
    let (whereabouts, inserting) = watch::channel(Some(server.address()));
    let inserting = tokio::spawn(insert_notes(inserting));
    let started = Instant::now();
    let mut manifests = BTreeSet::new();
    for kill in 1..=KILLS {
        feed.produce(kill, KILLS);
        let produced = feed.produced;
        let seen = Moment::random(&mut feed.random, produced).wait(server.address(), &mut manifests).await;
        whereabouts.send_replace(None);
        server.kill().await;
        let (checkpoints, elapsed) = (manifests.len(), started.elapsed());
        say(&format!("kill {kill} at {elapsed:.1?}: {seen} rows read of {produced}, {checkpoints} checkpoints seen"));
        let mut starting = launch.spawn();
        // Now and then it is killed on its way up, too.
        if feed.random.random_ratio(1, 5) {
            starting.kill().await;
            starting = launch.spawn();
        }
        server = tokio::time::timeout(PATIENCE, starting.listening()).await.expect("the server listens in time");
        whereabouts.send_replace(Some(server.address()));
    }
    feed.finish();
    drop(whereabouts);
    let inserted = tokio::time::timeout(PATIENCE, inserting).await.expect("every INSERT is answered").unwrap();
    let session = server.connect().await;
    session.run("FLUSH").await;
    say(&format!("{} events read in {:.1?}", feed.produced, started.elapsed()));
    assert!(!manifests.is_empty(), "no checkpoint was ever taken");
    check(&session, &Expected::of(&feed.partitions), &inserted).await;
}

/// The table, the accounting and both views against what they have to be.
async fn check(session: &Session, expected: &Expected, inserted: &Inserted) {
    let notes = session.rows("SELECT id, auction FROM notes ORDER BY id").await;
    let notes: Vec<Note> =
        notes.iter().map(|row| Note { id: row[0].parse().unwrap(), auction: row[1].parse().unwrap() }).collect();
    say(&format!(
        "{} INSERTs acknowledged, {} without an answer, {} rows in the table; {} rows accepted, {} late, {} rejected",
        inserted.acknowledged.len(),
        inserted.unknown.len(),
        notes.len(),
        expected.accepted,
        expected.late,
        expected.rejected,
    ));
    assert!(!inserted.acknowledged.is_empty(), "no INSERT was acknowledged: nothing is tested");
    let there: BTreeSet<Note> = notes.iter().copied().collect();
    assert_eq!(there.len(), notes.len(), "a row is there twice");
    let lost: Vec<&Note> = inserted.acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "acknowledged and not there: {lost:?}");
    let strange: Vec<&Note> =
        there.iter().filter(|note| !inserted.acknowledged.contains(note) && !inserted.unknown.contains(note)).collect();
    assert!(strange.is_empty(), "there and never sent: {strange:?}");

    let accounts =
        "SELECT sum(rows_read), sum(accepted), sum(late), sum(rejected) FROM millstream.splits WHERE relation = 'bids'";
    let read = expected.accepted + expected.late + expected.rejected;
    let wanted = [read, expected.accepted, expected.late, expected.rejected].map(|count| count.to_string());
    assert_eq!(session.rows(accounts).await, [wanted.to_vec()]);
    assert_eq!(session.number("SELECT count(*) FROM \"bids$rejected\"").await, expected.rejected);
    assert_eq!(session.number("SELECT count(*) FROM \"bids$late\"").await, expected.late);
    same("per_minute", session.rows("SELECT * FROM per_minute").await, &expected.per_minute_rows());
    same("noted", session.rows("SELECT * FROM noted").await, &expected.noted_rows(&notes));
}

fn same(view: &str, rows: Vec<Vec<String>>, expected: &BTreeSet<Vec<String>>) {
    let count = rows.len();
    let rows: BTreeSet<Vec<String>> = rows.into_iter().collect();
    assert_eq!(rows.len(), count, "{view} has a row twice");
    let missing: Vec<_> = expected.difference(&rows).take(5).collect();
    let strange: Vec<_> = rows.difference(expected).take(5).collect();
    assert!(
        missing.is_empty() && strange.is_empty(),
        "{view} differs: {} rows instead of {}; missing {missing:?}; not expected {strange:?}",
        rows.len(),
        expected.len()
    );
    say(&format!("{view} equals the batch result, {count} rows"));
}
