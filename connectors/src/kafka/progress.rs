//! The progress marker: what a sink has published, written in the same transaction as the rows themselves.
//!
//! Markers of all sinks of a Kafka cluster stand in one compacted topic with one partition, keyed by sink, and
//! nothing expires them. A marker says: of outbox `sequence` of `timeline`, the first `messages` messages are
//! published; `whole` when that is all of them. Because it commits with those messages or not at all, what it
//! says is exactly what a read_committed reader of the sink's topic sees.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_runtime::{Error, Result};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::Consumer;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;
use serde::{Deserialize, Serialize};

use super::client::{self, KafkaContext};
use super::settings::ClientSettings;
use super::topic::{CALL_TIMEOUT, OffsetQuery, Topic};

/// The topic of the markers.
pub(super) const PROGRESS_TOPIC: &str = "__millstream_progress";

/// The one partition of it.
pub(super) const PROGRESS_PARTITION: i32 = 0;

/// The layout of markers that this release writes.
const VERSION: u32 = 1;

/// How long other sinks' running transactions may hide what stands behind them.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// What a sink has published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    version: u32,
    /// Counts restores of savepoints.
    pub(super) timeline: u64,
    /// The outbox.
    pub(super) sequence: u64,
    /// How many of its messages are published.
    pub(super) messages: u64,
    /// Whether those are all.
    pub(super) whole: bool,
    /// The id of the topic that they went to; empty when the broker does not know ids.
    pub(super) topic_id: String,
}

impl Marker {
    /// A marker of this release.
    pub(super) fn new(timeline: u64, sequence: u64, messages: u64, whole: bool, topic_id: &str) -> Self {
        Self { version: VERSION, timeline, sequence, messages, whole, topic_id: topic_id.to_string() }
    }

    /// As it is stored.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and a string have a JSON form")
    }

    /// As it was stored.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let damaged = |why: String| Error::data(format!("a progress marker in kafka topic \"{PROGRESS_TOPIC}\" {why}"));
        let marker: Self = serde_json::from_slice(bytes).map_err(|error| damaged(format!("is damaged: {error}")))?;
        if marker.version != VERSION {
            return Err(damaged(format!("has layout {}, this release knows {VERSION}", marker.version)));
        }
        Ok(marker)
    }
}

/// Makes the topic of the markers unless it is there.
pub(super) fn ensure_topic(settings: &ClientSettings, relation: &str) -> Result<()> {
    let context = KafkaContext::new(relation);
    let admin: AdminClient<KafkaContext> =
        client::admin_config(settings).create_with_context(context).map_err(|error| client::creation_error(&error))?;
    let topic = NewTopic::new(PROGRESS_TOPIC, 1, TopicReplication::Fixed(-1))
        .set("cleanup.policy", "compact")
        .set("retention.ms", "-1")
        // Small and short segments, so that a start does not read the markers of weeks.
        .set("segment.bytes", "16777216")
        .set("segment.ms", "3600000")
        .set("min.cleanable.dirty.ratio", "0.1");
    let options = AdminOptions::new().request_timeout(Some(CALL_TIMEOUT)).operation_timeout(Some(CALL_TIMEOUT));
    let call = admin.create_topics([&topic], &options);
    let answer = futures::executor::block_on(call).map_err(|error| {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        client::call_error(code, &error.to_string(), PROGRESS_TOPIC, settings, admin.inner().context())
    })?;
    match answer.into_iter().next() {
        None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, code))) => Err(Error::invalid(format!(
            "kafka topic \"{PROGRESS_TOPIC}\" can't be created: {code}"
        ))
        .with_hint("Create it with one partition and cleanup.policy=compact, or allow the sink's user to do so.")),
    }
}

/// The newest marker of a sink. To be called after the sink's older producers were fenced.
///
/// A reader of committed records stops at the first running transaction, and another sink's may stand before
/// our own marker: so it reads up to where the topic ends for readers of everything, and waits if it must.
pub(super) fn read(settings: &ClientSettings, relation: &str, sink_id: &str) -> Result<Option<Marker>> {
    let everything = client::uncommitted_inquirer(settings, relation)?;
    let all = Topic::through(everything, PROGRESS_TOPIC, settings);
    let ask = |query| -> Result<u64> {
        Ok(all.offsets(&BTreeMap::from([(PROGRESS_PARTITION, query)]))?[&PROGRESS_PARTITION])
    };
    let (first, end) = (ask(OffsetQuery::First)?, ask(OffsetQuery::End)?);
    if first == end {
        return Ok(None);
    }
    let consumer = client::consumer(settings, relation)?;
    let mut list = TopicPartitionList::new();
    let start = Offset::Offset(i64::try_from(first).unwrap_or(i64::MAX));
    let assigned =
        list.add_partition_offset(PROGRESS_TOPIC, PROGRESS_PARTITION, start).and_then(|()| consumer.assign(&list));
    assigned.map_err(|error| Error::internal(format!("the progress of a sink can't be read: {error}")))?;
    let deadline = Instant::now() + READ_TIMEOUT;
    let mut newest = None;
    while position(&consumer)? < end {
        if Instant::now() > deadline {
            return Err(Error::unavailable(format!("kafka topic \"{PROGRESS_TOPIC}\" could not be read to its end"))
                .with_hint("Another sink's transaction is open, or the broker is slow. It is tried again."));
        }
        match consumer.poll(Duration::from_millis(20)) {
            Some(Ok(message)) if message.key() == Some(sink_id.as_bytes()) => {
                newest = message.payload().map(Marker::from_bytes).transpose()?;
            }
            // Other sinks' markers; the end of the partition; troubles that pass or end at the deadline.
            Some(_) | None => {}
        }
    }
    Ok(newest)
}

/// The offset that the consumer reads next, control records counted.
fn position(consumer: &Arc<client::KafkaConsumer>) -> Result<u64> {
    let positions = consumer
        .position()
        .map_err(|error| Error::internal(format!("the progress of a sink can't be read: {error}")))?;
    let position = positions.elements().first().and_then(|element| match element.offset() {
        Offset::Offset(offset) => u64::try_from(offset).ok(),
        _ => None,
    });
    Ok(position.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_keep_their_layout() {
        let marker = Marker::new(2, 17, 1000, false, "id");
        let text = r#"{"version":1,"timeline":2,"sequence":17,"messages":1000,"whole":false,"topic_id":"id"}"#;
        assert_eq!(String::from_utf8(marker.to_bytes()).expect("JSON"), text);
        assert_eq!(Marker::from_bytes(text.as_bytes()).expect("whole"), marker);
        assert!(Marker::from_bytes(b"{}").expect_err("damaged").message.contains("damaged"));
        let later = text.replace("\"version\":1", "\"version\":2");
        assert!(Marker::from_bytes(later.as_bytes()).expect_err("unknown").message.contains("layout 2"));
    }
}
