//! kill -9 against the real binary, with a real Kafka and a real S3 store.
//!
//! Attacks invariants 1 to 3, 7, 8 and 10: after kills at random moments the views equal what this file computes
//! from the records that it produced, every record is accounted for, and every acknowledged row is there once.
//! Moments are chosen by progress (rows visible) or by a deadline on a wait; both come from a printed seed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use millstream_sql_tests::kafka::Topic;
use millstream_sql_tests::server::{Launch, PATIENCE, Session, connect};
use millstream_sql_tests::services::{self, fresh};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

/// Kills of one run.
const KILLS: usize = 25;

/// Events of one run unless `MILLSTREAM_KILL_EVENTS` says otherwise.
const EVENTS_DEFAULT: usize = 1_000_000;

const PARTITIONS: usize = 3;

const AUCTIONS: i64 = 1_000;

/// What the watermark is behind the newest event.
const DELAY_MICROS: i64 = 4_000_000;

/// A record of the topic, as it was produced.
enum Record {
    Bid {
        auction: i64,
        price: i64,
        micros: i64,
    },
    /// Not a record of the source.
    Broken,
}

impl Record {
    fn random(random: &mut StdRng, number: usize) -> Self {
        if random.random_ratio(1, 2_000) {
            return Self::Broken;
        }
        // One event a millisecond of event time, out of order within the delay; some are an hour late.
        let back = match random.random_ratio(1, 1_000) {
            true => 3_600_000_000,
            false => random.random_range(0..DELAY_MICROS),
        };
        let micros = 1_800_000_000_000_000 + number as i64 * 1_000 - back;
        Self::Bid { auction: random.random_range(0..AUCTIONS), price: random.random_range(1..1_000_000), micros }
    }

    fn payload(&self) -> Vec<u8> {
        match self {
            Self::Broken => b"{\"auction\": 1, \"pri".to_vec(),
            Self::Bid { auction, price, micros } => {
                format!(r#"{{"auction":{auction},"bidder":1,"price":{price},"ts":"{}"}}"#, timestamp(*micros)).into()
            }
        }
    }
}

/// A timestamp as the wire shows it; all events are of one day or the day before it.
fn timestamp(micros: i64) -> String {
    const DAY: i64 = 86_400_000_000;
    // 2027-01-15 08:00:00 is 1_800_000_000 seconds after the epoch.
    let day_start = 1_800_000_000_000_000 - 8 * 3_600_000_000;
    let (day, within) = ((micros - day_start).div_euclid(DAY), (micros - day_start).rem_euclid(DAY));
    let (seconds, fraction) = (within / 1_000_000, within % 1_000_000);
    let text = format!("2027-01-{:02} {:02}:{:02}:{:02}", 15 + day, seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction == 0 { text } else { format!("{text}.{fraction:06}").trim_end_matches('0').to_owned() }
}

/// The batch result over the topic, computed apart from the product.
#[derive(Default)]
struct Expected {
    /// (window start, auction) to (count, highest price).
    per_minute: BTreeMap<(i64, i64), (i64, i64)>,
    /// Auction to (count, sum of prices).
    per_auction: BTreeMap<i64, (i64, i64)>,
    accepted: i64,
    late: i64,
    rejected: i64,
}

impl Expected {
    fn of(partitions: &[Vec<Record>]) -> Self {
        let mut expected = Self::default();
        for records in partitions {
            let mut newest = i64::MIN;
            for record in records {
                let Record::Bid { auction, price, micros } = *record else {
                    expected.rejected += 1;
                    continue;
                };
                // Late is below the watermark of the rows before it in its own split.
                if newest != i64::MIN && micros < newest - DELAY_MICROS {
                    expected.late += 1;
                    continue;
                }
                newest = newest.max(micros);
                expected.accepted += 1;
                let window = micros - micros.rem_euclid(60_000_000);
                let minute = expected.per_minute.entry((window, auction)).or_insert((0, i64::MIN));
                *minute = (minute.0 + 1, minute.1.max(price));
                let total = expected.per_auction.entry(auction).or_default();
                *total = (total.0 + 1, total.1 + price);
            }
        }
        expected
    }

    fn per_minute_rows(&self) -> BTreeSet<Vec<String>> {
        let row = |(&(window, auction), &(count, top)): (&(i64, i64), &(i64, i64))| {
            vec![timestamp(window), auction.to_string(), count.to_string(), top.to_string()]
        };
        self.per_minute.iter().map(row).collect()
    }

    /// The join of the bids with the notes that the table holds.
    fn noted_rows(&self, notes: &[Note]) -> BTreeSet<Vec<String>> {
        let row = |note: &Note| {
            let (count, sum) = self.per_auction.get(&note.auction)?;
            Some(vec![note.id.to_string(), count.to_string(), sum.to_string()])
        };
        notes.iter().filter_map(row).collect()
    }
}

/// A row of the table that a second client inserts into.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Note {
    id: i64,
    auction: i64,
}

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
                let Ok(read) = session.try_rows("SELECT coalesce(sum(rows_read), 0) FROM millstream.splits").await
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_counted_twice_over_kills() {
    let test = "nothing_is_lost_or_counted_twice_over_kills";
    let (Some(bootstrap), Some(bucket)) = (services::kafka(test), services::s3(test)) else { return };
    let seed = number("MILLSTREAM_KILL_SEED").unwrap_or_else(rand::random);
    let events = number("MILLSTREAM_KILL_EVENTS").map_or(EVENTS_DEFAULT, |events| events as usize);
    say(&format!("seed {seed} (MILLSTREAM_KILL_SEED repeats it), {events} events, {KILLS} kills"));
    let mut random = StdRng::seed_from_u64(seed);
    let topic = Topic::create(&bootstrap, "kill", PARTITIONS as i32).await;
    let mut partitions: Vec<Vec<Record>> = (0..PARTITIONS).map(|_| Vec::new()).collect();
    let launch = Launch::new(format!("{bucket}/{}", fresh("kill")));
    let mut server = launch.start().await;
    create(&server.connect().await, &bootstrap, topic.name()).await;
    let (whereabouts, inserting) = watch::channel(Some(server.address()));
    let inserting = tokio::spawn(insert_notes(inserting));
    let started = Instant::now();
    let mut produced = 0;
    let mut manifests = BTreeSet::new();
    for kill in 1..=KILLS {
        let until = events * kill / KILLS;
        produce(&mut random, &topic, &mut partitions, produced..until);
        produced = until;
        let seen = Moment::random(&mut random, produced).wait(server.address(), &mut manifests).await;
        whereabouts.send_replace(None);
        server.kill().await;
        let (checkpoints, elapsed) = (manifests.len(), started.elapsed());
        say(&format!("kill {kill} at {elapsed:.1?}: {seen} rows read of {produced}, {checkpoints} checkpoints seen"));
        let mut starting = launch.spawn();
        // Now and then it is killed on its way up, too.
        if random.random_ratio(1, 5) {
            starting.kill().await;
            starting = launch.spawn();
        }
        server = tokio::time::timeout(PATIENCE, starting.listening()).await.expect("the server listens in time");
        whereabouts.send_replace(Some(server.address()));
    }
    topic.flush();
    drop(whereabouts);
    let inserted = tokio::time::timeout(PATIENCE, inserting).await.expect("every INSERT is answered").unwrap();
    let session = server.connect().await;
    session.run("FLUSH").await;
    say(&format!("{produced} events read in {:.1?}", started.elapsed()));
    assert!(!manifests.is_empty(), "no checkpoint was ever taken");
    check(&session, &Expected::of(&partitions), &inserted).await;
}

fn produce(random: &mut StdRng, topic: &Topic, partitions: &mut [Vec<Record>], numbers: std::ops::Range<usize>) {
    for number in numbers {
        let partition = random.random_range(0..partitions.len());
        let record = Record::random(random, number);
        topic.send(partition as i32, [record.payload().as_slice()]);
        partitions[partition].push(record);
    }
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

    let accounts = "SELECT sum(rows_read), sum(accepted), sum(late), sum(rejected) FROM millstream.splits";
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
