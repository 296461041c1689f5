//! A real broker: topics of the test's own, records put into them, and what a source makes of them.

mod failures;
mod reading;
mod writing;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use millstream_runtime::source::{
    ColumnOrigin, ConnectorSpec, FormatSpec, Position, RejectedRecord, Source, SourceEvent, SourceReader, Split,
    SplitId, SplitRange,
};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

/// Longer than anything here takes: a test that gets there has failed.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The broker's address, or a line on stderr that says that the test is skipped.
pub fn broker() -> Option<String> {
    let address = std::env::var("MILLSTREAM_TEST_KAFKA").ok();
    if address.is_none() {
        skipped("MILLSTREAM_TEST_KAFKA names no broker");
    }
    address
}

/// Says so past the test harness, which swallows what is printed by tests that pass.
pub fn skipped(why: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_string();
    let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {why}");
}

/// A topic that is deleted when the test is done.
pub struct TestTopic {
    pub broker: String,
    pub name: String,
}

impl TestTopic {
    /// A topic with a name that nobody else has.
    pub fn create(broker: &str, partitions: i32) -> Self {
        let topic = Self { broker: broker.to_string(), name: format!("millstream-test-{}", uuid::Uuid::new_v4()) };
        topic.create_again(partitions);
        topic
    }

    /// Creates the topic once it is gone.
    pub fn create_again(&self, partitions: i32) {
        await_true("the topic is created", || {
            let topic = NewTopic::new(&self.name, partitions, TopicReplication::Fixed(1));
            let made = futures::executor::block_on(self.admin().create_topics([&topic], &AdminOptions::new()));
            made.unwrap()[0].is_ok()
        });
    }

    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.broker).create().unwrap()
    }

    pub fn delete(&self) {
        let deleted = futures::executor::block_on(self.admin().delete_topics(&[&self.name], &AdminOptions::new()));
        deleted.unwrap()[0].as_ref().unwrap();
    }

    pub fn producer(&self, settings: &[(&str, &str)]) -> BaseProducer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.broker);
        for (name, value) in settings {
            config.set(*name, *value);
        }
        config.create().unwrap()
    }

    /// Puts `{"n": number}` records into a partition.
    pub fn produce(&self, partition: i32, numbers: impl IntoIterator<Item = i64>) {
        let producer = self.producer(&[]);
        send(&producer, &self.name, partition, numbers);
        producer.flush(DEADLINE).unwrap();
    }

    /// The declaration of a source over this topic with the one column `n`.
    pub fn spec(&self, options: &[(&str, &str)]) -> ConnectorSpec {
        let base = [("topic", self.name.as_str()), ("properties.bootstrap.server", self.broker.as_str())];
        ConnectorSpec {
            relation: "test".to_string(),
            connector: "kafka".to_string(),
            options: base.iter().chain(options).map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect(),
            format: Some(FormatSpec {
                format: "PLAIN".to_string(),
                encode: "JSON".to_string(),
                options: BTreeMap::new(),
            }),
            schema: Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)])),
            origins: vec![ColumnOrigin::Field],
            primary_key: Vec::new(),
            keeps_raw: false,
        }
    }

    pub fn source(&self, options: &[(&str, &str)]) -> Arc<dyn Source> {
        millstream_connectors::kafka::source(&self.spec(options)).unwrap()
    }
}

impl Drop for TestTopic {
    fn drop(&mut self) {
        // A test whose broker is gone leaves nothing behind that would have to be deleted.
        let _ = futures::executor::block_on(self.admin().delete_topics(&[&self.name], &AdminOptions::new()));
    }
}

/// Hands records to a producer without flushing it.
pub fn send(producer: &BaseProducer, topic: &str, partition: i32, numbers: impl IntoIterator<Item = i64>) {
    for number in numbers {
        let payload = format!("{{\"n\": {number}}}");
        let mut record = BaseRecord::<(), _>::to(topic).partition(partition).payload(&payload);
        while let Err((_, again)) = producer.send(record) {
            producer.poll(Duration::from_millis(10));
            record = again;
        }
    }
}

/// Tries again until it is true.
pub fn await_true(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::yield_now();
    }
}

/// All of a split from a position on.
pub fn range(split: &Split, from: u64, until: Option<u64>) -> SplitRange {
    SplitRange { split: split.clone(), from: Position(from), until: until.map(Position) }
}

/// Every split from its start on.
pub fn from_start(splits: &[Split], ends: Option<&BTreeMap<SplitId, Position>>) -> Vec<SplitRange> {
    splits.iter().map(|split| range(split, split.start.0, ends.map(|ends| ends[&split.id].0))).collect()
}

/// What came out of a reader.
#[derive(Default)]
pub struct Seen {
    pub batches: Vec<RecordBatch>,
    /// Numbers of column `n` by split, in their order, with their positions.
    pub numbers: BTreeMap<SplitId, Vec<(u64, i64)>>,
    pub rejected: Vec<RejectedRecord>,
    pub next: BTreeMap<SplitId, u64>,
    pub ended: Vec<SplitId>,
}

impl Seen {
    pub fn all(&self) -> Vec<i64> {
        let mut all: Vec<i64> = self.numbers.values().flatten().map(|(_, number)| *number).collect();
        all.sort_unstable();
        all
    }

    pub fn take(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::SplitEnded(split) => self.ended.push(split),
            SourceEvent::Batch(batch) => {
                let before = self.next.insert(batch.split.clone(), batch.next.0);
                assert!(before.is_none_or(|before| before <= batch.next.0), "positions rise");
                if let Some(column) = batch.rows.column_by_name("n") {
                    let numbers = column.as_primitive::<Int64Type>().values().iter().copied();
                    let positions = batch.positions.iter().map(|position| position.0);
                    self.numbers.entry(batch.split).or_default().extend(positions.zip(numbers));
                }
                self.rejected.extend(batch.rejected);
                self.batches.push(batch.rows);
            }
        }
    }
}

/// Reads until the condition holds or every split has ended.
pub async fn read_until(reader: &mut dyn SourceReader, mut done: impl FnMut(&Seen) -> bool) -> Seen {
    let mut seen = Seen::default();
    while !done(&seen) {
        let event = tokio::time::timeout(DEADLINE, reader.next()).await.expect("an event in time");
        match event.unwrap() {
            Some(event) => seen.take(event),
            None => break,
        }
    }
    seen
}

/// Reads everything that the topic holds now.
pub async fn read_all(source: &dyn Source, columns: Vec<usize>) -> Seen {
    let (splits, ends) = (source.splits().await.unwrap(), source.ends().await.unwrap());
    let mut reader = source.open(from_start(&splits, Some(&ends)), columns).await.unwrap();
    let seen = read_until(reader.as_mut(), |_| false).await;
    assert_eq!(seen.ended.len(), splits.len(), "every split has ended");
    seen
}
