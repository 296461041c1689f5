//! Writing: what readers of committed records see of a sink, each message once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Int64Array, RecordBatch};
use bytes::Bytes;
use millstream_runtime::ErrorKind;
use millstream_runtime::batch::ChangeBatch;
use millstream_runtime::sink::{Sink, SinkIdentity};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, Producer};

use super::{DEADLINE, TestTopic, broker, read_all};

fn identity(timeline: u64) -> SinkIdentity {
    SinkIdentity { id: format!("test-{}", uuid::Uuid::new_v4()), timeline }
}

fn sink(topic: &TestTopic, options: &[(&str, &str)]) -> Arc<dyn Sink> {
    millstream_connectors::kafka::sink(&topic.spec(options)).unwrap()
}

fn rows(numbers: impl IntoIterator<Item = i64>) -> RecordBatch {
    let topic = TestTopic { broker: String::new(), name: String::new() };
    let schema = std::mem::ManuallyDrop::new(topic).spec(&[]).schema;
    RecordBatch::try_new(schema, vec![Arc::new(numbers.into_iter().collect::<Int64Array>())]).unwrap()
}

fn outbox(sink: &dyn Sink, numbers: impl IntoIterator<Item = i64>) -> Vec<Bytes> {
    let encoded = sink.encode(&ChangeBatch::append(rows(numbers))).unwrap();
    assert!(encoded.refused.is_empty());
    vec![encoded.payload]
}

async fn seen(topic: &TestTopic) -> Vec<i64> {
    read_all(topic.source(&[]).as_ref(), vec![0]).await.all()
}

#[tokio::test(flavor = "multi_thread")]
async fn outboxes_are_published_once_and_in_order() {
    let Some(broker) = broker() else { return };
    let topic = TestTopic::create(&broker, 1);
    let sink = sink(&topic, &[]);
    let who = identity(0);
    let mut publisher = sink.open(&who).await.unwrap();
    assert_eq!(publisher.progress().await.unwrap(), None);
    publisher.publish(1, &outbox(sink.as_ref(), 0..5)).await.unwrap();
    publisher.publish(2, &[]).await.unwrap();
    let two_payloads = [outbox(sink.as_ref(), 5..8), outbox(sink.as_ref(), 8..10)].concat();
    publisher.publish(3, &two_payloads).await.unwrap();
    assert_eq!(publisher.progress().await.unwrap(), Some(3));

    // After a restart the progress is known, and what is published already is not sent again.
    let mut publisher = sink.open(&who).await.unwrap();
    assert_eq!(publisher.progress().await.unwrap(), Some(3));
    publisher.publish(2, &outbox(sink.as_ref(), 100..110)).await.unwrap();
    publisher.publish(3, &two_payloads).await.unwrap();
    publisher.publish(4, &outbox(sink.as_ref(), 10..12)).await.unwrap();
    let error = publisher.publish(6, &[]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Internal, "a gap: {error}");
    assert!(publisher.publish(5, &[]).await.is_err(), "after an error it has to be opened again");
    assert_eq!(seen(&topic).await, (0..12).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_outbox_goes_in_several_transactions() {
    let Some(broker) = broker() else { return };
    let topic = TestTopic::create(&broker, 3);
    let sink = sink(&topic, &[("properties.compression.type", "zstd")]);
    let who = identity(0);
    let mut publisher = sink.open(&who).await.unwrap();
    let began = Instant::now();
    publisher.publish(1, &outbox(sink.as_ref(), 0..120_000)).await.unwrap();
    eprintln!("120,000 messages published in {:?}", began.elapsed());
    assert_eq!(seen(&topic).await, (0..120_000).collect::<Vec<_>>());
    assert_eq!(sink.open(&who).await.unwrap().progress().await.unwrap(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_outbox_is_completed() {
    let Some(broker) = broker() else { return };
    let topic = TestTopic::create(&broker, 1);
    let sink = sink(&topic, &[]);
    let who = identity(0);
    let mut publisher = sink.open(&who).await.unwrap();
    publisher.publish(1, &outbox(sink.as_ref(), 0..3)).await.unwrap();
    drop(publisher);
    // As if a server had stopped after the first of two transactions.
    let id = topic.source(&[]).splits().await.unwrap()[0].incarnation.clone();
    let marker =
        format!("{{\"version\":1,\"timeline\":0,\"sequence\":2,\"messages\":2,\"whole\":false,\"topic_id\":\"{id}\"}}");
    topic.produce(0, 3..5);
    let producer = topic.producer(&[]);
    let record = BaseRecord::to("__millstream_progress").partition(0).key(&who.id).payload(&marker);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(DEADLINE).unwrap();

    let mut publisher = sink.open(&who).await.unwrap();
    assert_eq!(publisher.progress().await.unwrap(), Some(1), "the second outbox is not whole");
    publisher.publish(2, &outbox(sink.as_ref(), 3..9)).await.unwrap();
    assert_eq!(seen(&topic).await, (0..9).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_publisher_is_fenced() {
    let Some(broker) = broker() else { return };
    let topic = TestTopic::create(&broker, 1);
    let sink = sink(&topic, &[]);
    let who = identity(0);
    let mut older = sink.open(&who).await.unwrap();
    older.publish(1, &outbox(sink.as_ref(), 0..3)).await.unwrap();
    let mut newer = sink.open(&who).await.unwrap();
    let error = older.publish(2, &outbox(sink.as_ref(), 100..103)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains("another publisher"), "{error}");
    assert_eq!(newer.progress().await.unwrap(), Some(1));
    newer.publish(2, &outbox(sink.as_ref(), 3..6)).await.unwrap();
    assert_eq!(seen(&topic).await, (0..6).collect::<Vec<_>>());
}

/// A reader of committed records stops at the first open transaction: a marker behind another sink's must not
/// be overlooked.
#[tokio::test(flavor = "multi_thread")]
async fn a_marker_behind_an_open_transaction_is_waited_for() {
    let Some(broker) = broker() else { return };
    let topic = TestTopic::create(&broker, 1);
    let sink = sink(&topic, &[]);
    let who = identity(0);
    let mut publisher = sink.open(&who).await.unwrap();
    let other = topic.producer(&[("transactional.id", topic.name.as_str())]);
    other.init_transactions(DEADLINE).unwrap();
    other.begin_transaction().unwrap();
    let record = BaseRecord::to("__millstream_progress").partition(0).key("another").payload("{}");
    other.send(record).map_err(|(error, _)| error).unwrap();
    other.flush(DEADLINE).unwrap();
    publisher.publish(1, &outbox(sink.as_ref(), 0..3)).await.unwrap();
    drop(publisher);

    let (again, same) = (Arc::clone(&sink), who.clone());
    let mut opening = tokio::spawn(async move { again.open(&same).await.unwrap().progress().await.unwrap() });
    let early = tokio::time::timeout(Duration::from_secs(2), &mut opening).await;
    assert!(early.is_err(), "it waits while the other transaction is open: {early:?}");
    other.abort_transaction(DEADLINE).unwrap();
    assert_eq!(opening.await.unwrap(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn timelines_and_topics_that_do_not_fit() {
    let Some(broker) = broker() else { return };
    let topic = TestTopic::create(&broker, 1);
    let sink = sink(&topic, &[]);
    let old = identity(0);
    let new = SinkIdentity { timeline: 1, ..old.clone() };
    sink.open(&old).await.unwrap().publish(7, &outbox(sink.as_ref(), 0..3)).await.unwrap();
    let mut restored = sink.open(&new).await.unwrap();
    assert_eq!(restored.progress().await.unwrap(), None, "a new timeline has published nothing");
    restored.publish(3, &outbox(sink.as_ref(), 3..4)).await.unwrap();
    let error = sink.open(&old).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Data);
    assert!(error.message.contains("timeline 1"), "{error}");

    topic.delete();
    topic.create_again(1);
    let error = sink.open(&new).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Data, "{error}");
    assert!(error.message.contains("created again"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_fails_in_time() {
    let Some(broker) = broker() else { return };
    let topic = TestTopic::create(&broker, 1);
    let cases = [
        (("topic", "millstream-no-such-topic"), ErrorKind::Invalid, "does not exist"),
        (("properties.bootstrap.server", "127.0.0.1:1"), ErrorKind::Unavailable, "can't be reached"),
    ];
    for (option, kind, expected) in cases {
        let began = Instant::now();
        let error = sink(&topic, &[option]).open(&identity(0)).await.err().unwrap();
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(expected), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upserts_and_tombstones_reach_the_topic() {
    let Some(broker) = broker() else { return };
    let topic = TestTopic::create(&broker, 3);
    let sink = sink(&topic, &[("primary_key", "n")]);
    let mut publisher = sink.open(&identity(0)).await.unwrap();
    publisher.publish(1, &outbox(sink.as_ref(), 1..3)).await.unwrap();
    let removal = ChangeBatch::weighted(rows([1]), Int64Array::from(vec![-1]));
    publisher.publish(2, &[sink.encode(&removal).unwrap().payload]).await.unwrap();

    let consumer: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", &broker)
        .set("group.id", &topic.name)
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[&topic.name]).unwrap();
    let mut messages = Vec::new();
    let deadline = Instant::now() + DEADLINE;
    while messages.len() < 3 && Instant::now() < deadline {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let text = |part: Option<&[u8]>| part.map(|part| String::from_utf8(part.to_vec()).unwrap());
        messages.push((text(message.key()).unwrap(), text(message.payload()), message.partition()));
    }
    let of = |key: &str| -> Vec<_> { messages.iter().filter(|message| message.0 == key).collect() };
    let (one, two) = (of("{\"n\":1}"), of("{\"n\":2}"));
    assert_eq!(one.iter().map(|message| message.1.as_deref()).collect::<Vec<_>>(), [Some("{\"n\":1}"), None]);
    assert_eq!(one[0].2, one[1].2, "a key stays in its partition");
    assert_eq!(two.len(), 1);
}
