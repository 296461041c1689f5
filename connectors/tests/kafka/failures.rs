//! What is wrong or away: named errors, never a silent reset.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, Schema};
use millstream_runtime::ErrorKind;
use millstream_runtime::source::{Source, SourceReader, Split};
use rdkafka::admin::AdminOptions;
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::{DEADLINE, Seen, TestTopic, broker, from_start, range, read_until, skipped};

#[tokio::test(flavor = "multi_thread")]
async fn unknown_topic_and_unreachable_broker_fail_in_time() {
    let Some(broker) = broker() else { return };
    let topic = TestTopic::create(&broker, 1);
    let cases = [
        ([("topic", "millstream-no-such-topic"), ("properties.group.id", "x")], ErrorKind::Invalid, "does not exist"),
        (
            // A port that nobody listens on.
            [("properties.bootstrap.server", "127.0.0.1:1"), ("properties.sasl.password", "s3cret")],
            ErrorKind::Unavailable,
            "can't be reached",
        ),
        (
            // The broker speaks plain text.
            [("properties.security.protocol", "ssl"), ("properties.sasl.password", "s3cret")],
            ErrorKind::Unavailable,
            "SSL",
        ),
    ];
    for (options, kind, expected) in cases {
        let began = Instant::now();
        let error = topic.source(&options).splits().await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}: {error}", began.elapsed());
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(expected) && error.hint.is_some(), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
    // What librdkafka refuses is named without its value.
    let options = [("properties.ssl.key.pem", "s3cret"), ("properties.security.protocol", "ssl")];
    let error = topic.source(&options).splits().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_offsets_are_named() {
    let Some(broker) = broker() else { return };
    let topic = TestTopic::create(&broker, 1);
    topic.produce(0, 0..20);
    let source = topic.source(&[]);
    let splits = source.splits().await.unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic.name, 0, Offset::Offset(12)).unwrap();
    topic.admin().delete_records(&list, &AdminOptions::new()).await.unwrap();
    let error = source.open(from_start(&splits, None), vec![0]).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Data);
    for part in ["offset 0", "partition 0", topic.name.as_str(), "12", "20"] {
        assert!(error.message.contains(part), "{error}");
    }
    let error = source.open(vec![range(&splits[0], 21, None)], vec![0]).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Data);
    assert!(error.message.contains("ends at offset 20"), "{error}");
    let mut reader = source.open(vec![range(&splits[0], 12, None)], vec![0]).await.unwrap();
    let seen = read_until(reader.as_mut(), |seen| seen.all().len() == 8).await;
    assert_eq!(seen.all(), (12..20).collect::<Vec<_>>());
}

/// Far more than a reader holds, so that it can't have everything before the rest is removed.
#[tokio::test(flavor = "multi_thread")]
async fn offsets_removed_while_reading_are_named() {
    let Some(broker) = broker() else { return };
    let topic = TestTopic::create(&broker, 1);
    let producer = topic.producer(&[("linger.ms", "0")]);
    let payload = vec![b'x'; 900 << 10];
    let total = 130;
    for _ in 0..total {
        let mut record = BaseRecord::<(), _>::to(&topic.name).payload(&payload);
        while let Err((_, again)) = producer.send(record) {
            producer.poll(Duration::from_millis(10));
            record = again;
        }
    }
    producer.flush(DEADLINE).unwrap();
    let mut spec = topic.spec(&[]);
    spec.format.as_mut().unwrap().encode = "BYTES".to_string();
    spec.schema = Arc::new(Schema::new(vec![Field::new("bytes", DataType::Binary, false)]));
    let source = millstream_connectors::kafka::source(&spec).unwrap();
    let splits = source.splits().await.unwrap();
    let mut reader = source.open(from_start(&splits, None), vec![0]).await.unwrap();
    let mut seen = read_until(reader.as_mut(), |seen| !seen.batches.is_empty()).await;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic.name, 0, Offset::End).unwrap();
    topic.admin().delete_records(&list, &AdminOptions::new()).await.unwrap();
    let error = loop {
        match tokio::time::timeout(DEADLINE, reader.next()).await.expect("an event in time") {
            Ok(event) => seen.take(event.unwrap()),
            Err(error) => break error,
        }
    };
    let read = seen.next[&splits[0].id];
    assert!(read < total, "bounded ahead of its reader");
    assert_eq!(error.kind, ErrorKind::Data, "{error}");
    assert!(error.message.contains(&format!("offset {read} of partition 0")), "{error}");
    assert!(error.message.contains("is gone"), "{error}");
}

async fn first_error(reader: &mut dyn SourceReader) -> millstream_runtime::Error {
    loop {
        if let Err(error) = tokio::time::timeout(DEADLINE, reader.next()).await.expect("an event in time") {
            return error;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_created_again_is_another_one() {
    let Some(broker) = broker() else { return };
    let topic = TestTopic::create(&broker, 1);
    topic.produce(0, 0..5);
    let source = topic.source(&[]);
    let splits = source.splits().await.unwrap();
    let mut reader = source.open(from_start(&splits, None), vec![0]).await.unwrap();
    read_until(reader.as_mut(), |seen| seen.all().len() == 5).await;
    topic.delete();
    topic.create_again(1);
    // As many records again, so that the offset alone would not tell.
    topic.produce(0, 100..110);
    let error = first_error(reader.as_mut()).await;
    assert_eq!(error.kind, ErrorKind::Data, "{error}");
    assert!(error.message.contains("created again") || error.message.contains("ends at"), "{error}");
    let error = source.open(vec![range(&splits[0], 5, None)], vec![0]).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Data);
    assert!(error.message.contains("created again"), "{error}");
}

/// A broker of the test's own, on a port of its own.
struct OwnBroker {
    folder: tempfile::TempDir,
    service: String,
}

impl OwnBroker {
    const PORT: &str = "9192";

    fn start(service: &str) -> Self {
        let broker = Self { folder: tempfile::tempdir().unwrap(), service: service.to_string() };
        broker.start_again();
        broker
    }

    fn run(&self, script: &str, arguments: &[&str]) {
        let status = Command::new(format!("{}/{script}", self.service))
            .arg(self.folder.path())
            .args(arguments)
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{script}");
    }

    fn start_again(&self) {
        self.run("start", &[Self::PORT]);
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", Self::PORT)
    }
}

impl Drop for OwnBroker {
    fn drop(&mut self) {
        self.run("stop", &[]);
    }
}

/// Reads numbers up to `last`, opening a new reader from the position that is held whenever the broker is said
/// to be away, as a job does.
async fn read_on(
    source: &dyn Source,
    split: &Split,
    reader: &mut Option<Box<dyn SourceReader>>,
    seen: &mut Seen,
    last: i64,
) {
    let deadline = Instant::now() + DEADLINE;
    while seen.all().last() != Some(&last) {
        assert!(Instant::now() < deadline, "number {last} arrives");
        let result = match reader.as_mut() {
            Some(reader) => tokio::time::timeout(DEADLINE, reader.next()).await.expect("an event in time"),
            None => {
                let next = seen.next.get(&split.id).copied().unwrap_or(0);
                source.open(vec![range(split, next, None)], vec![0]).await.map(|opened| {
                    *reader = Some(opened);
                    None
                })
            }
        };
        match result {
            Ok(event) => event.into_iter().for_each(|event| seen.take(event)),
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
                *reader = None;
            }
        }
    }
}

/// Needs `MILLSTREAM_TEST_KAFKA_SERVICE`, a folder with the scripts `start DIR PORT` and `stop DIR`.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_comes_back_is_read_on() {
    let Ok(service) = std::env::var("MILLSTREAM_TEST_KAFKA_SERVICE") else {
        skipped("MILLSTREAM_TEST_KAFKA_SERVICE names no folder with start and stop");
        return;
    };
    let broker = OwnBroker::start(&service);
    let topic = TestTopic::create(&broker.address(), 1);
    topic.produce(0, 0..5);
    let source = topic.source(&[]);
    let split = source.splits().await.unwrap().remove(0);
    let (mut reader, mut seen) = (None, Seen::default());
    read_on(source.as_ref(), &split, &mut reader, &mut seen, 4).await;

    // Back at once: the same reader reads on, unless the machine is so slow that it reports the absence.
    broker.run("stop", &["-9"]);
    broker.start_again();
    topic.produce(0, 5..10);
    read_on(source.as_ref(), &split, &mut reader, &mut seen, 9).await;

    // Away for longer: the reader reports it, and no new one can be opened.
    broker.run("stop", &["-9"]);
    let away = Instant::now();
    let error = first_error(reader.take().unwrap().as_mut()).await;
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    eprintln!("reported after {:?}: {error}", away.elapsed());
    let error = source.open(vec![range(&split, 10, None)], vec![0]).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    broker.start_again();
    topic.produce(0, 10..15);
    read_on(source.as_ref(), &split, &mut reader, &mut seen, 14).await;
    assert_eq!(seen.all(), (0..15).collect::<Vec<_>>(), "nothing lost, nothing twice");
}
