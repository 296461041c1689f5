//! Events per CPU-second: Nexmark as JSON lines through a source into a tumbling count per auction, on one slot.
//!
//! The lines are made once and kept. Every run is an engine of its own, in this process, in memory; one run is
//! thrown away, the median of the others is reported. The counts of every run are compared with those of an
//! independent reader. The same from Kafka where `MILLSTREAM_TEST_KAFKA` names a broker, and in DuckDB where
//! `python3` has it.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use futures::TryStreamExt;
use millstream::engine::{Engine, EngineConfig};
use millstream::session::Session;
use millstream_sql_tests::kafka::Topic;
use millstream_sql_tests::process;
use tokio_util::sync::CancellationToken;

/// As the server has it: glibc's would be measured instead of ours.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bids per window of ten seconds and auction.
type Counts = HashMap<(i64, i64), i64>;

/// What a run took.
struct Run {
    wall_seconds: f64,
    cpu_seconds: f64,
    peak_mib: f64,
}

const WINDOW_MICROS: i64 = 10_000_000;

const COLUMNS: &str = "event_type BIGINT,
    person STRUCT<id BIGINT, name TEXT, email_address TEXT, credit_card TEXT, city TEXT, state TEXT,
                  date_time TIMESTAMP, extra TEXT>,
    auction STRUCT<id BIGINT, item_name TEXT, description TEXT, initial_bid BIGINT, reserve BIGINT,
                   date_time TIMESTAMP, expires TIMESTAMP, seller BIGINT, category BIGINT, extra TEXT>,
    bid STRUCT<auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time TIMESTAMP, extra TEXT>,
    ts TIMESTAMP GENERATED ALWAYS AS (CASE event_type
        WHEN 0 THEN (person).date_time WHEN 1 THEN (auction).date_time ELSE (bid).date_time END),
    WATERMARK FOR ts AS ts - INTERVAL '4 seconds'";

const VIEW: &str = "CREATE MATERIALIZED VIEW counts AS
    SELECT window_start, (bid).auction AS auction, count(*) AS n
    FROM tumble(events, ts, INTERVAL '10 seconds') WHERE event_type = 2 GROUP BY window_start, (bid).auction";

#[tokio::main]
async fn main() {
    let events: u64 = process::option("--events", 2_000_000);
    let runs: usize = process::option("--runs", 3);
    let lines = lines(events);
    let expected = expected(&lines);
    println!("{events} Nexmark events, {} MiB of JSON lines, one slot", fs::metadata(&lines).unwrap().len() >> 20);
    println!("{} groups; median of {runs} runs after one that is thrown away\n", expected.len());
    println!("{:<12}{:>10}{:>10}{:>22}{:>12}", "input", "wall s", "CPU s", "events/CPU-second", "peak MiB");
    let file = format!("(connector = 'file', path = '{}')", lines.display());
    report("file", events, measured(&file, &expected, runs).await);
    match std::env::var("MILLSTREAM_TEST_KAFKA").ok().filter(|bootstrap| !bootstrap.is_empty()) {
        None => println!("kafka       skipped: MILLSTREAM_TEST_KAFKA names no broker"),
        Some(bootstrap) => {
            let topic = filled(&bootstrap, &lines).await;
            let kafka = format!(
                "(connector = 'kafka', topic = '{topic}', properties.bootstrap.server = '{bootstrap}',
                  scan.startup.mode = 'earliest')"
            );
            report("kafka", events, measured(&kafka, &expected, runs).await);
        }
    }
    match duckdb(&lines, &expected, runs) {
        Ok(run) => report("DuckDB", events, run),
        Err(why) => println!("DuckDB      skipped: {why}"),
    }
    println!("\nAll counts are equal to those of the independent reader.");
}

fn report(name: &str, events: u64, run: Run) {
    println!(
        "{name:<12}{:>10.2}{:>10.2}{:>22.0}{:>12.0}",
        run.wall_seconds,
        run.cpu_seconds,
        events as f64 / run.cpu_seconds,
        run.peak_mib
    );
}

/// The file of lines, made when it is not there yet.
fn lines(events: u64) -> PathBuf {
    let folder =
        std::env::var("MILLSTREAM_BENCH_CACHE").map_or_else(|_| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
    let path = folder.join(format!("nexmark-{events}.json"));
    if !path.exists() {
        fs::create_dir_all(&folder).unwrap();
        let unfinished = path.with_extension("unfinished");
        millstream_connectors::nexmark::write_json_lines(std::slice::from_ref(&unfinished), events).unwrap();
        fs::rename(&unfinished, &path).unwrap();
    }
    path
}

/// The counts as a reader gets them that shares no code with the engine.
fn expected(lines: &Path) -> Counts {
    let mut counts = Counts::new();
    for line in BufReader::new(File::open(lines).unwrap()).lines() {
        let event: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        if event["event_type"] == 2 {
            let bid = &event["bid"];
            let window = micros(bid["date_time"].as_str().unwrap()).div_euclid(WINDOW_MICROS) * WINDOW_MICROS;
            *counts.entry((window, bid["auction"].as_i64().unwrap())).or_default() += 1;
        }
    }
    counts
}

/// Microseconds since 1970 of a time in July 2015, as Nexmark writes it: days and time of day, by hand.
fn micros(text: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
    assert_eq!(&text[..8], "2015-07-", "the generator's base time is in July 2015");
    // 2015-07-01 is day 16617.
    let day = 16_616 + number(8..10);
    let seconds = ((day * 24 + number(11..13)) * 60 + number(14..16)) * 60 + number(17..19);
    let fraction = text.get(20..).unwrap_or("").trim_end_matches('Z');
    seconds * 1_000_000 + format!("{fraction:0<6}").parse::<i64>().unwrap()
}

/// The median of some runs over a connector, their counts compared.
async fn measured(connector: &str, expected: &Counts, runs: usize) -> Run {
    let mut done = Vec::new();
    for run in 0..=runs {
        let one = once(connector, expected).await;
        if run > 0 {
            done.push(one);
        }
    }
    median(&done)
}

fn median(runs: &[Run]) -> Run {
    let of = |value: fn(&Run) -> f64| process::quantile(&mut runs.iter().map(value).collect::<Vec<_>>(), 0.5);
    Run {
        wall_seconds: of(|run| run.wall_seconds),
        cpu_seconds: of(|run| run.cpu_seconds),
        peak_mib: of(|run| run.peak_mib),
    }
}

async fn once(connector: &str, expected: &Counts) -> Run {
    let mut config = EngineConfig::new("memory://");
    (config.slots, config.parallelism) = (1, 1);
    let engine = Engine::open(config).await.unwrap();
    let mut session = Session::new(Arc::clone(&engine), "millstream");
    let source = format!("CREATE SOURCE events ({COLUMNS}) WITH {connector} FORMAT PLAIN ENCODE JSON");
    process::reset_peak_memory();
    let (started, cpu) = (Instant::now(), process::cpu_seconds());
    rows(&mut session, &source).await;
    rows(&mut session, VIEW).await;
    engine.wait_ended().await.unwrap();
    engine.flush().await.unwrap();
    let run = Run {
        wall_seconds: started.elapsed().as_secs_f64(),
        cpu_seconds: process::cpu_seconds() - cpu,
        peak_mib: process::peak_memory_mib(),
    };
    let mut counts = Counts::new();
    for batch in rows(&mut session, "SELECT window_start, auction, n FROM counts").await {
        let windows = batch.column(0).as_primitive::<TimestampMicrosecondType>();
        let (auctions, numbers) =
            (batch.column(1).as_primitive::<Int64Type>(), batch.column(2).as_primitive::<Int64Type>());
        let keys = windows.values().iter().copied().zip(auctions.values().iter().copied());
        counts.extend(keys.zip(numbers.values().iter().copied()));
    }
    assert!(counts == *expected, "the counts differ: {} groups, {} expected", counts.len(), expected.len());
    engine.stop().await;
    run
}

/// Runs a statement and takes its rows.
async fn rows(session: &mut Session, sql: &str) -> Vec<RecordBatch> {
    let text = session.split(sql).unwrap().remove(0);
    let prepared = session.prepare(&text, &[]).await.unwrap();
    let outcome = session.execute(&prepared, Vec::new(), CancellationToken::new()).await.unwrap();
    match outcome.rows {
        Some(rows) => rows.try_collect().await.unwrap(),
        None => Vec::new(),
    }
}

/// A topic with one partition that holds the lines.
async fn filled(bootstrap: &str, lines: &Path) -> String {
    let topic = Topic::create(bootstrap, "bench-nexmark", 1).await;
    for line in BufReader::new(File::open(lines).unwrap()).lines() {
        topic.send(0, [line.unwrap().as_bytes()]);
    }
    topic.flush();
    topic.name().to_string()
}

/// The same counts in DuckDB on one thread, from its own process.
fn duckdb(lines: &Path, expected: &Counts, runs: usize) -> Result<Run, String> {
    let known = Command::new("python3").args(["-c", "import duckdb"]).output().map_err(|error| error.to_string())?;
    if !known.status.success() {
        return Err("python3 has no module duckdb (pip install duckdb)".to_string());
    }
    let script = format!(
        "import duckdb, resource
c = duckdb.connect()
c.execute('SET threads = 1')
c.execute('SET enable_progress_bar = false')
c.execute('''CREATE TABLE counts AS SELECT time_bucket(INTERVAL '10 seconds', bid.date_time) AS w, bid.auction AS a,
    count(*) AS n FROM read_json('{}', format = 'newline_delimited', columns = {{event_type: 'BIGINT',
    person: 'STRUCT(date_time TIMESTAMP)', auction: 'STRUCT(date_time TIMESTAMP)',
    bid: 'STRUCT(auction BIGINT, date_time TIMESTAMP)'}}) WHERE event_type = 2 GROUP BY ALL''')
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(*c.execute('SELECT count(*), sum(n), sum(n * (a % 1000))::BIGINT FROM counts').fetchone(), peak)",
        lines.display()
    );
    let mut done = Vec::new();
    for run in 0..=runs {
        let (started, cpu) = (Instant::now(), process::children_cpu_seconds());
        let output = Command::new("python3").args(["-c", &script]).output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let found: Vec<&str> = text.split_whitespace().collect();
        let sum = |value: fn(i64, i64) -> i64| expected.iter().map(|((_, a), n)| value(*a, *n)).sum::<i64>();
        let wanted =
            [expected.len() as i64, sum(|_, n| n), sum(|a, n| n * (a % 1000))].map(|number| number.to_string());
        assert_eq!(found[..3], wanted, "DuckDB counts otherwise");
        if run > 0 {
            done.push(Run {
                wall_seconds: started.elapsed().as_secs_f64(),
                cpu_seconds: process::children_cpu_seconds() - cpu,
                peak_mib: found[3].parse().map_err(|_| text.clone())?,
            });
        }
    }
    Ok(median(&done))
}
