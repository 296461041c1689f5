//! Live views over a real Kafka, through the real binary and the wire.

use millstream_sql_tests::kafka::Topic;
use millstream_sql_tests::server::Launch;
use millstream_sql_tests::services::{self, fresh};

/// The source of the README's story.
fn bids_source(bootstrap: &str, topic: &str) -> String {
    format!(
        "CREATE SOURCE bids (auction BIGINT, bidder BIGINT, price BIGINT, ts TIMESTAMP, \
             WATERMARK FOR ts AS ts - INTERVAL '4 seconds') \
         WITH (connector = 'kafka', topic = '{topic}', properties.bootstrap.server = '{bootstrap}', \
             scan.startup.mode = 'earliest') FORMAT PLAIN ENCODE JSON"
    )
}

const PER_MINUTE: &str = "CREATE MATERIALIZED VIEW per_minute AS \
    SELECT window_start, auction, count(*) AS n, max(price) AS top \
    FROM tumble(bids, ts, INTERVAL '1 minute') GROUP BY window_start, auction";

const TOP: &str = "SELECT * FROM per_minute ORDER BY n DESC, window_start, auction LIMIT 10";

fn bid(auction: u64, price: u64, time: &str) -> Vec<u8> {
    format!(r#"{{"auction": {auction}, "bidder": 7, "price": {price}, "ts": "2026-05-01 {time}"}}"#).into_bytes()
}

/// The README's story: a view that moves on with its topic, and goes on where it was after a kill -9.
async fn the_story(bootstrap: &str, storage: &str) {
    let topic = Topic::create(bootstrap, "story", 2).await;
    topic.send(0, [bid(1, 10, "10:00:01"), bid(1, 30, "10:00:02"), bid(2, 20, "10:00:03")].iter().map(Vec::as_slice));
    topic.flush();
    let launch = Launch::new(storage);
    let server = launch.start().await;
    let session = server.connect().await;
    session.run("SET millstream.checkpoint_interval = '200ms'").await;
    session.run(&bids_source(bootstrap, topic.name())).await;
    session.run(PER_MINUTE).await;
    let first = [["2026-05-01 10:00:00", "1", "2", "30"], ["2026-05-01 10:00:00", "2", "1", "20"]];
    session.until(TOP, |rows| rows == first).await;

    // It has moved on.
    topic.send(1, [bid(1, 50, "10:00:04")].iter().map(Vec::as_slice));
    topic.flush();
    let second = [["2026-05-01 10:00:00", "1", "3", "50"], ["2026-05-01 10:00:00", "2", "1", "20"]];
    session.until(TOP, |rows| rows == second).await;
    session.until("SELECT count(*) FROM millstream.checkpoints", |rows| rows[0][0] != "0").await;

    // Rows before, while and after the server is gone are there once each.
    topic.send(0, [bid(2, 60, "10:00:05")].iter().map(Vec::as_slice));
    topic.flush();
    server.kill().await;
    topic.send(1, [bid(2, 40, "10:00:06")].iter().map(Vec::as_slice));
    topic.flush();
    let server = launch.start().await;
    let session = server.connect().await;
    let third = [["2026-05-01 10:00:00", "1", "3", "50"], ["2026-05-01 10:00:00", "2", "3", "60"]];
    session.run("FLUSH").await;
    assert_eq!(session.rows(TOP).await, third);
    topic.send(1, [bid(3, 1, "10:01:00")].iter().map(Vec::as_slice));
    topic.flush();
    session.run("FLUSH").await;
    assert_eq!(session.rows("SELECT count(*), sum(n) FROM per_minute").await, [["3", "7"]]);
    let read = "SELECT sum(rows_read), sum(accepted), sum(late), sum(rejected) FROM millstream.splits";
    assert_eq!(session.rows(read).await, [["7", "7", "0", "0"]]);
}

#[tokio::test]
async fn a_view_over_kafka_survives_kill_with_a_directory() {
    let Some(bootstrap) = services::kafka("a_view_over_kafka_survives_kill_with_a_directory") else { return };
    let folder = tempfile::tempdir().unwrap();
    the_story(&bootstrap, folder.path().to_str().unwrap()).await;
}

#[tokio::test]
async fn a_view_over_kafka_survives_kill_with_s3() {
    let test = "a_view_over_kafka_survives_kill_with_s3";
    let (Some(bootstrap), Some(bucket)) = (services::kafka(test), services::s3(test)) else { return };
    the_story(&bootstrap, &format!("{bucket}/{}", fresh("story"))).await;
}
