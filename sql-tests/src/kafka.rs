//! Topics with known content.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Message, Offset, TopicPartitionList};

/// The longest that the broker may take for what a test asks of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Room for a record of a MiB and what Kafka puts around it.
const MESSAGE_BYTES: &str = "2097152";

/// A topic of a test, and a producer for it.
pub struct Topic {
    name: String,
    bootstrap: String,
    partitions: i32,
    producer: BaseProducer,
}

impl Topic {
    /// Creates a topic with a fresh name.
    pub async fn create(bootstrap: &str, prefix: &str, partitions: i32) -> Self {
        let name = crate::services::fresh(prefix);
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("message.max.bytes", MESSAGE_BYTES)
            .set("queue.buffering.max.kbytes", "262144")
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            // A broker that was killed is found as soon as it is back.
            .set("reconnect.backoff.max.ms", "500");
        let topic = Self { name, bootstrap: bootstrap.to_owned(), partitions, producer: config.create().unwrap() };
        topic.make().await.unwrap();
        topic
    }

    async fn make(&self) -> Result<(), RDKafkaErrorCode> {
        let new = NewTopic::new(&self.name, self.partitions, TopicReplication::Fixed(1));
        let created = self.admin().create_topics([&new.set("max.message.bytes", MESSAGE_BYTES)], &patient()).await;
        created.unwrap().remove(0).map(drop).map_err(|(_, code)| code)
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.bootstrap).create().unwrap()
    }

    /// Deletes the topic.
    pub async fn delete(&self) {
        let deleted = self.admin().delete_topics(&[&self.name], &patient()).await;
        deleted.unwrap().remove(0).unwrap();
    }

    /// Creates a topic of the same name once the old one is gone.
    pub async fn create_again(&self) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(code) = self.make().await {
            assert!(
                code == RDKafkaErrorCode::TopicAlreadyExists && Instant::now() < deadline,
                "the topic can't be created again: {code}"
            );
        }
    }

    /// Removes the records of a partition before an offset, as retention does.
    pub async fn delete_records(&self, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.name, partition, Offset::Offset(before)).unwrap();
        let deleted = self.admin().delete_records(&list, &patient()).await.unwrap();
        deleted.elements()[0].error().unwrap();
    }

    /// The offsets at which the partitions end. Blocks.
    pub fn ends(&self) -> Vec<i64> {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &self.bootstrap).create().unwrap();
        let end = |partition| consumer.fetch_watermarks(&self.name, partition, PATIENCE).unwrap().1;
        (0..self.partitions).map(end).collect()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends records to a partition, in their order. They are in the topic after [`Self::flush`].
    pub fn send<'a>(&self, partition: i32, records: impl IntoIterator<Item = &'a [u8]>) {
        records.into_iter().for_each(|payload| self.send_record(partition, Some(payload)));
    }

    /// Sends a record; without a payload it is a tombstone.
    pub fn send_record(&self, partition: i32, payload: Option<&[u8]>) {
        let mut record = BaseRecord::<(), [u8]>::to(&self.name).partition(partition);
        record.payload = payload;
        while let Err((error, refused)) = self.producer.send(record) {
            assert!(
                matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)),
                "the broker takes no records: {error}"
            );
            self.producer.poll(Duration::from_millis(20));
            record = refused;
        }
    }

    /// Waits until everything that was sent is in the topic.
    pub fn flush(&self) {
        self.producer.flush(PATIENCE).unwrap();
    }

    /// What a new read_committed reader sees, from the beginning to the end of every partition. It goes on
    /// reading until `enough` holds, but not beyond the deadline. Blocks.
    pub fn committed(&self, deadline: Duration, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("group.id", "unused");
        config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
        config.set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut all = TopicPartitionList::new();
        for partition in 0..self.partitions {
            all.add_partition_offset(&self.name, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&all).unwrap();
        let until = Instant::now() + deadline;
        let (mut records, mut at_end) = (Vec::new(), BTreeSet::new());
        while at_end.len() < self.partitions as usize || !enough(&records) {
            let left = until.saturating_duration_since(Instant::now());
            match consumer.poll(left) {
                None if left.is_zero() => break,
                None => {}
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(at_end.insert(partition)),
                Some(Err(error)) => panic!("the topic can't be read: {error}"),
                Some(Ok(message)) => {
                    at_end.remove(&message.partition());
                    records.push(String::from_utf8(message.payload().unwrap_or_default().to_vec()).unwrap());
                }
            }
        }
        records
    }
}

fn patient() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE))
}
