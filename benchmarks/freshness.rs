//! How long a message takes from another program's producer, through Kafka and a view, to a SELECT.
//!
//! A real server process with a data directory and checkpoints every second, otherwise idle. The producer sends a
//! message; an open connection repeats a SELECT until it sees it. The time counts from before the send to the
//! row in the client's hands, so it holds the broker's share, too, which is shown beside it.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use millstream_sql_tests::kafka::Topic;
use millstream_sql_tests::process;
use millstream_sql_tests::server::Launch;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};

/// Time between two messages: the server is idle again by then.
const PAUSE: Duration = Duration::from_millis(50);

/// The longest that one message may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() {
    let messages: i64 = process::option("--messages", 400);
    let Some(bootstrap) = std::env::var("MILLSTREAM_TEST_KAFKA").ok().filter(|bootstrap| !bootstrap.is_empty()) else {
        println!("skipped: MILLSTREAM_TEST_KAFKA names no broker");
        return;
    };
    let topic = Topic::create(&bootstrap, "bench-freshness", 1).await;
    let data = tempfile::tempdir().unwrap();
    let server = Launch::new(data.path().to_str().unwrap()).start().await;
    let session = server.connect().await;
    session
        .run(&format!(
            "SET millstream.checkpoint_interval = '1s';
             CREATE SOURCE messages (id BIGINT) WITH (connector = 'kafka', topic = '{}',
                 properties.bootstrap.server = '{bootstrap}', scan.startup.mode = 'earliest')
                 FORMAT PLAIN ENCODE JSON;
             CREATE MATERIALIZED VIEW seen AS SELECT id, count(*) AS n FROM messages GROUP BY id",
            topic.name()
        ))
        .await;
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", &bootstrap).set("linger.ms", "0").create().unwrap();
    let select = session.client().prepare("SELECT n FROM seen WHERE id = $1").await.unwrap();
    let (mut sent, mut visible) = (Vec::new(), Vec::new());
    // The first ones open connections and fill caches.
    for id in -10..messages {
        tokio::time::sleep(PAUSE).await;
        let payload = format!("{{\"id\":{id}}}");
        let record = FutureRecord::<(), String>::to(topic.name()).partition(0).payload(&payload);
        let started = Instant::now();
        let delivery = producer.send_result(record).map_err(|(error, _)| error).unwrap();
        let acknowledged = async {
            delivery.await.unwrap().map_err(|(error, _)| error).unwrap();
            started.elapsed()
        };
        let selected = async {
            while session.client().query_opt(&select, &[&id]).await.unwrap().is_none() {
                assert!(started.elapsed() < PATIENCE, "message {id} is not visible after {PATIENCE:?}");
            }
            started.elapsed()
        };
        let (acknowledged, selected) = tokio::join!(acknowledged, selected);
        if id >= 0 {
            sent.push(acknowledged.as_secs_f64() * 1000.0);
            visible.push(selected.as_secs_f64() * 1000.0);
        }
    }
    let checkpoints = session.rows("SELECT epoch FROM millstream.checkpoints").await;
    assert!(!checkpoints.is_empty(), "no checkpoint was taken meanwhile");
    println!("{messages} messages, one every {} ms, checkpoints every second\n", PAUSE.as_millis());
    println!("{:<34}{:>9}{:>9}{:>9}{:>9}", "milliseconds from the send until", "p50", "p90", "p99", "max");
    for (name, times) in [("the broker acknowledges", &mut sent), ("a SELECT sees it", &mut visible)] {
        let of = [0.5, 0.9, 0.99, 1.0].map(|part| process::quantile(times, part));
        println!("{name:<34}{:>9.1}{:>9.1}{:>9.1}{:>9.1}", of[0], of[1], of[2], of[3]);
    }
}
