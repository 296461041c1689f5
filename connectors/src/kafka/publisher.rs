//! Publishes the outboxes of a sink, each message once.
//!
//! What is true here:
//! - `init_transactions` comes first: from then on an older publisher of the same sink can commit nothing. Only
//!   then is its progress read.
//! - An outbox is sent in short transactions of at most [`CHUNK_BYTES`], each with the marker that says how far
//!   it goes. What the marker says is published is not sent again.
//! - After any error the result of the last transaction is unknown, so the publisher can't be used again: the
//!   caller opens a new one, whose `init_transactions` settles what is open and whose marker tells the truth.
//!
//! librdkafka can't take up a transaction again after a restart; that is why nothing here stays open from one
//! call to the next.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millstream_runtime::sink::{Publisher, SinkIdentity};
use millstream_runtime::{Error, Result};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;

use super::client::{self, KafkaContext};
use super::framing::{self, Framed};
use super::progress::{self, Marker, PROGRESS_PARTITION, PROGRESS_TOPIC};
use super::settings::SinkSettings;
use super::source::blocking;
use super::topic::{CALL_TIMEOUT, Topic};

/// Bytes of keys and values in one transaction: what fits the producer's queue several times over.
const CHUNK_BYTES: usize = 8 << 20;

/// Messages in one transaction.
const CHUNK_MESSAGES: u64 = 50_000;

/// How long the commit of one transaction may take before its result counts as unknown.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);

/// A sink's publisher.
pub(super) struct KafkaPublisher {
    /// Calls of librdkafka's transactions block, so they run on other threads, one at a time. `None` after an
    /// error.
    state: Arc<Mutex<Option<State>>>,
}

struct State {
    relation: String,
    topic: String,
    topic_id: String,
    identity: SinkIdentity,
    settings: SinkSettings,
    producer: BaseProducer<KafkaContext>,
    marker: Option<Marker>,
}

/// Checks the target, fences older publishers, and reads how far they came.
pub(super) async fn open(settings: SinkSettings, relation: String, identity: SinkIdentity) -> Result<KafkaPublisher> {
    let state = blocking(move || State::open(settings, relation, identity)).await?;
    Ok(KafkaPublisher { state: Arc::new(Mutex::new(Some(state))) })
}

#[async_trait]
impl Publisher for KafkaPublisher {
    async fn progress(&mut self) -> Result<Option<u64>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = state.as_ref().ok_or_else(thrown_away)?;
        Ok(state.marker.as_ref().and_then(|marker| match marker.whole {
            true => Some(marker.sequence),
            // The outbox before it is whole, if there was one.
            false => marker.sequence.checked_sub(1),
        }))
    }

    async fn publish(&mut self, sequence: u64, outbox: &[Bytes]) -> Result<()> {
        let (state, outbox) = (Arc::clone(&self.state), outbox.to_vec());
        blocking(move || {
            let mut slot = state.lock().unwrap_or_else(PoisonError::into_inner);
            // Taken out, so that an error or a panic leaves no producer behind whose state is unknown.
            let mut taken = slot.take().ok_or_else(thrown_away)?;
            taken.publish(sequence, &outbox)?;
            *slot = Some(taken);
            Ok(())
        })
        .await
    }
}

impl Drop for KafkaPublisher {
    fn drop(&mut self) {
        let state = Arc::clone(&self.state);
        // A producer that is dropped waits for its last answers, for up to half a second. Without a thread the
        // last one to hold the state waits.
        let _ = std::thread::Builder::new().name("kafka drop".to_string()).spawn(move || {
            drop(state.lock().unwrap_or_else(PoisonError::into_inner).take());
        });
    }
}

fn thrown_away() -> Error {
    Error::unavailable("the publisher failed before and has to be opened again")
}

impl State {
    fn open(settings: SinkSettings, relation: String, identity: SinkIdentity) -> Result<Self> {
        let asking = settings.client.of_any_client();
        let topic_id = Topic::connect(&settings.topic, &asking, &relation)?.describe()?.id;
        progress::ensure_topic(&asking, &relation)?;
        let transactional_id = format!("millstream-{}", identity.id);
        let config = client::producer_config(&settings.client, &transactional_id);
        let producer = BaseProducer::from_config_and_context(&config, KafkaContext::new(&relation))
            .map_err(|error| client::creation_error(&error))?;
        let mut state =
            Self { relation, topic: settings.topic.clone(), topic_id, identity, settings, producer, marker: None };
        state.producer.init_transactions(CALL_TIMEOUT).map_err(|error| state.error("be opened for writing", &error))?;
        let marker = progress::read(&asking, &state.relation, &state.identity.id)?;
        state.marker = state.check(marker)?;
        Ok(state)
    }

    /// What is wrong with a marker that was found; `None` is what an older timeline's is worth.
    fn check(&self, marker: Option<Marker>) -> Result<Option<Marker>> {
        let Some(marker) = marker else { return Ok(None) };
        let timeline = self.identity.timeline;
        if marker.timeline > timeline {
            return Err(Error::data(format!(
                "sink \"{}\" was published on timeline {} already, this is timeline {timeline}",
                self.relation, marker.timeline
            ))
            .with_hint("A newer restore of a savepoint owns the sink. Drop this one."));
        }
        if marker.timeline < timeline {
            return Ok(None);
        }
        if !marker.topic_id.is_empty() && !self.topic_id.is_empty() && marker.topic_id != self.topic_id {
            return Err(Error::data(format!(
                "kafka topic \"{}\" was deleted and created again since sink \"{}\" wrote to it",
                self.topic, self.relation
            ))
            .with_hint("Drop the sink and create it again to fill the new topic."));
        }
        Ok(Some(marker))
    }

    fn publish(&mut self, sequence: u64, outbox: &[Bytes]) -> Result<()> {
        let mut skip = 0;
        if let Some(marker) = &self.marker {
            if marker.sequence > sequence || (marker.sequence == sequence && marker.whole) {
                return Ok(());
            }
            let expected = if marker.whole { marker.sequence + 1 } else { marker.sequence };
            if sequence != expected {
                return Err(Error::internal(format!(
                    "sink \"{}\" is to publish outbox {sequence}, but {expected} is next",
                    self.relation
                )));
            }
            skip = if marker.whole { 0 } else { marker.messages };
        }
        let mut messages = outbox.iter().flat_map(|payload| framing::read(payload));
        for _ in 0..skip {
            messages.next().ok_or_else(|| {
                Error::data(format!(
                    "outbox {sequence} of sink \"{}\" has fewer messages than were published",
                    self.relation
                ))
            })??;
        }
        let mut messages = messages.peekable();
        let mut sent = skip;
        loop {
            self.producer.begin_transaction().map_err(|error| self.error("begin a transaction", &error))?;
            let mut chunk = (0_u64, 0_usize);
            while chunk.0 < CHUNK_MESSAGES && chunk.1 < CHUNK_BYTES {
                let Some(message) = messages.next() else { break };
                let message = message?;
                self.send(&self.topic, None, message)?;
                chunk.0 += 1;
                chunk.1 += message.key.map_or(0, <[u8]>::len) + message.value.map_or(0, <[u8]>::len);
            }
            sent += chunk.0;
            let whole = messages.peek().is_none();
            let marker = Marker::new(self.identity.timeline, sequence, sent, whole, &self.topic_id);
            let value = marker.to_bytes();
            let framed = Framed { key: Some(self.identity.id.as_bytes()), value: Some(&value) };
            self.send(PROGRESS_TOPIC, Some(PROGRESS_PARTITION), framed)?;
            self.producer.commit_transaction(COMMIT_TIMEOUT).map_err(|error| self.error("commit", &error))?;
            self.marker = Some(marker);
            if whole {
                return Ok(());
            }
        }
    }

    /// Puts a message into the producer's queue; when that is full, waits until it is not.
    fn send(&self, topic: &str, partition: Option<i32>, message: Framed<'_>) -> Result<()> {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic);
        record.partition = partition;
        record.key = message.key;
        record.payload = message.value;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), returned)) => {
                    record = returned;
                    self.producer.poll(Duration::from_millis(100));
                }
                Err((error, _)) => return Err(self.error("take a message", &error)),
            }
        }
    }

    fn error(&self, what: &str, error: &KafkaError) -> Error {
        // Serves what the client has to say, which tells more than a timeout.
        self.producer.poll(Duration::ZERO);
        let context = self.producer.context();
        // That a transaction failed says less than why one of its messages was not taken.
        let undelivered = context.take_undelivered();
        let code = undelivered.or(error.rdkafka_error_code()).unwrap_or(RDKafkaErrorCode::Fail);
        if matches!(code, RDKafkaErrorCode::Fenced | RDKafkaErrorCode::InvalidProducerEpoch) {
            // Not necessarily a newer server: a coordinator that aborts a transaction for its age says the
            // same. Who owns the storage is for the log to say.
            return Error::unavailable(format!("another publisher took over sink \"{}\"", self.relation));
        }
        let text = format!("kafka did not {what}: {}", undelivered.map_or(error.to_string(), |code| code.to_string()));
        client::call_error(code, &text, &self.topic, &self.settings.client, context)
    }
}
