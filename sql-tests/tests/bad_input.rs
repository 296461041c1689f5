//! Bad input over Kafka: every bad record is kept with where it came from and why, and the stream goes on.

use millstream_sql_tests::kafka::Topic;
use millstream_sql_tests::server::Launch;
use millstream_sql_tests::services;

/// How much of a rejected record is kept.
const RAW_BYTES: usize = 64 << 10;

fn source(bootstrap: &str, topic: &str) -> String {
    format!(
        "CREATE SOURCE readings (id BIGINT NOT NULL, n INT, name TEXT, ts TIMESTAMP, \
             WATERMARK FOR ts AS ts - INTERVAL '5 seconds') \
         WITH (connector = 'kafka', topic = '{topic}', properties.bootstrap.server = '{bootstrap}', \
             scan.startup.mode = 'earliest') FORMAT PLAIN ENCODE JSON"
    )
}

fn reading(fields: &str) -> Vec<u8> {
    format!(r#"{{{fields}, "ts": "2026-05-01 10:00:00"}}"#).into_bytes()
}

/// Records (`None` is a tombstone), and a word of the reason when they are to be rejected.
fn records() -> Vec<(Option<Vec<u8>>, Option<&'static str>)> {
    let nonsense: Vec<u8> =
        (0..1 << 20_u32).map(|number: u32| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let records = vec![
        (reading(r#""id": 1, "n": 1, "name": "1""#), None),
        (reading(r#""id": 2, n"#), Some("json")),
        (reading(r#""id": 3, "n": "many""#), Some("\"n\"")),
        (reading(r#""n": 4"#), Some("\"id\"")),
        (reading(r#""id": 5, "n": 99999999999"#), Some("\"n\"")),
        (br#"{"id": 6, "n""#.to_vec(), Some("json")),
        ([reading(r#""id": 7, "n": 7"#), reading(r#""id": 8, "n": 8"#)].concat(), Some("")),
        (Vec::new(), Some("empty")),
        (nonsense, Some("utf-8")),
        (br#"{"id": 9, "n": 9}"#.to_vec(), Some("\"ts\"")),
        (reading(r#""id": 10"#), None),
        (reading(r#""id": 11, "n": 0, "name": "11""#), None),
        (reading(r#""id": 12, "n": 2, "name": "twelve""#), None),
    ];
    let tombstone = (None, Some("no value (a tombstone)"));
    records.into_iter().map(|(payload, reason)| (Some(payload), reason)).chain([tombstone]).collect()
}

#[tokio::test]
async fn bad_records_are_kept_beside_the_source_and_the_stream_goes_on() {
    let Some(bootstrap) = services::kafka("bad_records_are_kept_beside_the_source_and_the_stream_goes_on") else {
        return;
    };
    let topic = Topic::create(&bootstrap, "bad", 1).await;
    let records = records();
    records.iter().for_each(|(payload, _)| topic.send_record(0, payload.as_deref()));
    topic.flush();
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new(folder.path().to_str().unwrap());
    let server = launch.start().await;
    let session = server.connect().await;
    session.run(&source(&bootstrap, topic.name())).await;
    session.run("CREATE MATERIALIZED VIEW ids AS SELECT id FROM readings").await;
    session.run("CREATE MATERIALIZED VIEW shares AS SELECT id, 100 / n AS share FROM readings").await;
    session.run("CREATE MATERIALIZED VIEW names AS SELECT id, CAST(name AS BIGINT) AS number FROM readings").await;
    topic.send(0, [br#"{"id": 13, "ts": "2026-05-01 09:59:54"}"#.as_slice(), &reading(r#""id": 14, "n": 4"#)]);
    topic.flush();
    session.run("FLUSH").await;
    session.run("CHECKPOINT").await;

    // The same before and after a kill: what was kept is state.
    server.kill().await;
    let server = launch.start().await;
    let session = server.connect().await;
    session.run("FLUSH").await;
    assert_eq!(session.rows("SELECT id FROM ids ORDER BY id").await, [["1"], ["10"], ["11"], ["12"], ["14"]]);
    let shares = session.rows("SELECT id, share FROM shares ORDER BY id").await;
    assert_eq!(shares, [["1", "100"], ["10", "-"], ["12", "50"], ["14", "25"]]);
    let names = session.rows("SELECT id, number FROM names ORDER BY id").await;
    assert_eq!(names, [["1", "1"], ["10", "-"], ["11", "11"], ["14", "-"]]);
    let by_zero = session.rows("SELECT reason FROM \"shares$rejected\"").await;
    assert!(by_zero.len() == 1 && by_zero[0][0].contains("division by zero"), "{by_zero:?}");
    let not_a_number = session.rows("SELECT reason, row FROM \"names$rejected\"").await;
    assert!(not_a_number.len() == 1 && not_a_number[0][1].contains("twelve"), "{not_a_number:?}");
    assert_eq!(session.rows("SELECT id FROM \"readings$late\"").await, [["13"]]);

    let kept = "SELECT topic, partition, \"offset\", reason, encode(raw, 'hex') FROM \"readings$rejected\" ORDER BY 3";
    let kept = session.rows(kept).await;
    let wanted = records.iter().enumerate().filter_map(|(offset, (raw, reason))| Some((offset, raw, (*reason)?)));
    let wanted: Vec<_> = wanted.collect();
    assert_eq!(kept.len(), wanted.len(), "{:?}", kept.iter().map(|row| &row[..4]).collect::<Vec<_>>());
    for (row, (offset, raw, reason)) in kept.iter().zip(wanted) {
        assert_eq!(row[..3], [topic.name().to_owned(), "0".to_owned(), offset.to_string()]);
        assert!(row[3].to_lowercase().contains(reason), "offset {offset}: \"{}\" says nothing of {reason}", row[3]);
        let hex: String = raw.iter().flatten().take(RAW_BYTES).map(|byte| format!("{byte:02x}")).collect();
        assert!(row[4] == hex, "offset {offset}: not the bytes of the record");
    }
}
