//! Kafka, over librdkafka.
//!
//! Reading order: [`settings`] (the options) and [`properties`] (which of librdkafka's a user may set),
//! [`topic`] (partitions and offsets), [`mod@source`], [`reader`] and the thread behind it, [`consume`], with
//! [`positions`] and [`health`] for what can be wrong with a topic; then [`mod@sink`] and [`framing`] (what is sent),
//! [`publisher`] and [`progress`] (that it is sent once). [`client`] makes clients and turns their errors into
//! ours; all unsafe code is in [`native`].
//!
//! Positions are offsets. The connector never commits them to Kafka except for observation, under the group
//! that `properties.group.id` names: what was read is the checkpoint's to say.
//!
//! Invariants that are kept here, and what attacks them: honest positions (12, `tests/kafka/failures.rs`), sinks
//! whose outboxes are seen once and in order (11, `tests/kafka/writing.rs`), memory that does not grow with a
//! topic (13, `offsets_removed_while_reading_are_named`), secrets that stay where they are (18, the tests of
//! [`settings`] and `unknown_topic_and_unreachable_broker_fail_in_time`).

mod client;
mod consume;
mod framing;
mod health;
mod native;
mod positions;
mod progress;
mod properties;
mod publisher;
mod reader;
mod settings;
mod sink;
mod source;
mod topic;

use std::sync::Arc;

use millstream_runtime::Result;
use millstream_runtime::sink::Sink;
use millstream_runtime::source::{ConnectorSpec, Source};

use crate::formats::Decoder;

/// A Kafka source as declared. Checks options, columns and encoding, and connects to nothing.
pub fn source(spec: &ConnectorSpec) -> Result<Arc<dyn Source>> {
    let settings = settings::read_source(spec)?;
    Decoder::new(spec, &[])?;
    Ok(Arc::new(source::KafkaSource::new(spec.clone(), settings)))
}

/// A Kafka sink as declared. Checks options, columns, key and encoding, and connects to nothing.
pub fn sink(spec: &ConnectorSpec) -> Result<Arc<dyn Sink>> {
    let settings = settings::read_sink(spec)?;
    Ok(Arc::new(sink::KafkaSink::new(spec, settings)?))
}
