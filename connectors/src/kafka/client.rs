//! Clients of librdkafka: how they are made, what they log, and how their errors become ours.
//!
//! What is true here: no text that leaves this file quotes the value of a property; an error that the user
//! can mend is *invalid*, one that may pass by itself is *unavailable*.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millstream_runtime::{Error, Result};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode;

use super::properties;
use super::settings::ClientSettings;

/// A consumer with our context.
pub(super) type KafkaConsumer = BaseConsumer<KafkaContext>;

/// Takes what librdkafka has to say.
pub(super) struct KafkaContext {
    /// The relation that the client works for.
    relation: String,
    /// The newest trouble with a connection: timeouts alone don't say why nobody answers.
    trouble: Mutex<Option<(RDKafkaErrorCode, String)>>,
    /// The first record of the running transaction that could not be delivered.
    undelivered: Mutex<Option<RDKafkaErrorCode>>,
    warnings: Mutex<Warnings>,
}

/// While a broker is away librdkafka repeats itself several times a second: one line in this time says it.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// When the last warning was written, and how many were left out since.
#[derive(Debug, Default)]
struct Warnings {
    written: Option<Instant>,
    left_out: u64,
}

impl Warnings {
    /// Whether a warning is written now, and then how many were left out before it.
    fn take_turn(&mut self, now: Instant) -> Option<u64> {
        if self.written.is_some_and(|written| now.duration_since(written) < WARNING_INTERVAL) {
            self.left_out += 1;
            return None;
        }
        self.written = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

impl KafkaContext {
    /// The context of a client that works for a relation.
    pub(super) fn new(relation: &str) -> Self {
        Self {
            relation: relation.to_string(),
            trouble: Mutex::new(None),
            undelivered: Mutex::new(None),
            warnings: Mutex::default(),
        }
    }

    /// The newest trouble with a connection since the last call.
    pub(super) fn take_trouble(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Why a record was not delivered, since the last call.
    pub(super) fn take_undelivered(&self) -> Option<RDKafkaErrorCode> {
        self.undelivered.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for KafkaContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let relation = self.relation.as_str();
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => {
                let turn = self.warnings.lock().unwrap_or_else(PoisonError::into_inner).take_turn(Instant::now());
                match turn {
                    Some(left_out) => tracing::warn!(relation, facility, left_out, "librdkafka: {message}"),
                    None => tracing::debug!(relation, facility, "librdkafka: {message}"),
                }
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(relation, facility, "librdkafka: {message}");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(relation, facility, "librdkafka: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        // The end of a partition is reported the same way and is no trouble.
        if code == RDKafkaErrorCode::PartitionEOF {
            return;
        }
        tracing::debug!(relation = self.relation.as_str(), "librdkafka: {code}: {reason}");
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        // "All brokers are down" says less than why the last one is.
        if code != RDKafkaErrorCode::AllBrokersDown || trouble.is_none() {
            *trouble = Some((code, reason.to_string()));
        }
    }
}

impl ConsumerContext for KafkaContext {
    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::warn!(relation = self.relation.as_str(), "offsets were not committed to the group: {error}");
        }
    }
}

impl ProducerContext for KafkaContext {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        use RDKafkaErrorCode as C;
        let Err((error, _)) = result else { return };
        // A message that was thrown out of the queue is a consequence, not the reason.
        let code = error.rdkafka_error_code().filter(|code| !matches!(code, C::PurgeQueue | C::PurgeInflight));
        let mut undelivered = self.undelivered.lock().unwrap_or_else(PoisonError::into_inner);
        *undelivered = undelivered.or(code);
    }
}

/// What every client is made with unless the user says otherwise.
const CLIENT_DEFAULTS: [(&str, &str); 5] = [
    ("client.id", "millstream"),
    // A broker that is back is found within a second, not after librdkafka's ten.
    ("reconnect.backoff.max.ms", "1000"),
    // Without it, brokers that went away silently are noticed only by a timeout of a minute.
    ("socket.keepalive.enable", "true"),
    ("socket.timeout.ms", "10000"),
    // The certificates that the system trusts: the OpenSSL that is linked in looks for them where it was built.
    ("ssl.ca.location", "probe"),
];

/// What consumers are made with unless the user says otherwise.
const CONSUMER_DEFAULTS: [(&str, &str); 5] = [
    ("isolation.level", "read_committed"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.error.backoff.ms", "100"),
    // A full queue is asked again after 5 ms; the default of a second would leave the decoder without work.
    ("fetch.queue.backoff.ms", "5"),
    // Assigning partitions needs the name of a group even though the group is never joined.
    ("group.id", "millstream"),
];

/// What producers are made with unless the user says otherwise.
const PRODUCER_DEFAULTS: [(&str, &str); 4] = [
    ("compression.type", "lz4"),
    ("linger.ms", "5"),
    ("queue.buffering.max.kbytes", "65536"),
    // Equal keys go where Java's clients put them.
    ("partitioner", "murmur2_random"),
];

/// A consumer that reads explicit offsets: no group management, no commits by itself, no silent reset.
pub(super) fn consumer(settings: &ClientSettings, relation: &str) -> Result<Arc<KafkaConsumer>> {
    let mut config = settings.config(&[&CLIENT_DEFAULTS[..], &CONSUMER_DEFAULTS[..]].concat());
    config
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true");
    let context = KafkaContext::new(relation);
    let consumer = KafkaConsumer::from_config_and_context(&config, context).map_err(|error| creation_error(&error))?;
    Ok(Arc::new(consumer))
}

/// A client that only asks: no group, nothing fetched.
pub(super) fn inquirer(settings: &ClientSettings, relation: &str) -> Result<Arc<KafkaConsumer>> {
    ask_only(settings, relation, &[])
}

/// A client that only asks, and counts the records of transactions that are still open.
pub(super) fn uncommitted_inquirer(settings: &ClientSettings, relation: &str) -> Result<Arc<KafkaConsumer>> {
    ask_only(settings, relation, &[("isolation.level", "read_uncommitted")])
}

fn ask_only(settings: &ClientSettings, relation: &str, forced: &[(&str, &str)]) -> Result<Arc<KafkaConsumer>> {
    let mut config = settings.config(&[&CLIENT_DEFAULTS[..], &CONSUMER_DEFAULTS[..]].concat());
    config.remove("group.id");
    for (name, value) in forced {
        config.set(*name, *value);
    }
    let context = KafkaContext::new(relation);
    let consumer = KafkaConsumer::from_config_and_context(&config, context).map_err(|error| creation_error(&error))?;
    Ok(Arc::new(consumer))
}

/// The configuration of a client that creates topics.
pub(super) fn admin_config(settings: &ClientSettings) -> ClientConfig {
    settings.config(&CLIENT_DEFAULTS)
}

/// The configuration of a transactional producer.
pub(super) fn producer_config(settings: &ClientSettings, transactional_id: &str) -> ClientConfig {
    let mut config = settings.config(&[&CLIENT_DEFAULTS[..], &PRODUCER_DEFAULTS[..]].concat());
    config.set("transactional.id", transactional_id);
    config
}

/// Why a client could not be made: always something in the options. A secret is never quoted.
pub(super) fn creation_error(error: &KafkaError) -> Error {
    match error {
        KafkaError::ClientConfig(_, _, name, _) if properties::is_secret(name) => {
            Error::invalid(format!("option \"properties.{name}\" has a value that is not accepted"))
        }
        KafkaError::ClientConfig(_, text, name, _) => Error::invalid(format!("option \"properties.{name}\": {text}")),
        KafkaError::ClientCreation(text) => Error::invalid(format!("kafka client: {text}")),
        other => Error::internal(format!("kafka client: {other}")),
    }
}

/// Whether the code only says that nobody answered, not why.
fn says_nothing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as C;
    matches!(
        code,
        C::OperationTimedOut
            | C::RequestTimedOut
            | C::MessageTimedOut
            | C::BrokerTransportFailure
            | C::AllBrokersDown
            | C::LeaderNotAvailable
    )
}

/// The error of a call about a topic; behind a mere timeout, the trouble that was met meanwhile.
pub(super) fn call_error(
    code: RDKafkaErrorCode,
    text: &str,
    topic: &str,
    settings: &ClientSettings,
    context: &KafkaContext,
) -> Error {
    use RDKafkaErrorCode as C;
    let trouble = if says_nothing(code) { context.take_trouble() } else { None };
    let (code, text) = trouble.unwrap_or_else(|| (code, text.to_string()));
    let servers = settings.servers();
    match code {
        C::UnknownTopicOrPartition | C::UnknownTopic | C::UnknownPartition => {
            Error::invalid(format!("kafka topic \"{topic}\" does not exist at {servers}"))
                .with_hint("Create the topic or mend the option \"topic\".")
        }
        C::TopicAuthorizationFailed => {
            Error::invalid(format!("not allowed to use kafka topic \"{topic}\" at {servers}"))
                .with_hint("Ask for the rights, or set properties.sasl.username to a user who has them.")
        }
        C::SaslAuthenticationFailed
        | C::Authentication
        | C::UnsupportedSASLMechanism
        | C::ClusterAuthorizationFailed
        | C::TransactionalIdAuthorizationFailed => Error::invalid(format!("kafka at {servers}: {text}"))
            .with_hint("Check properties.security.protocol and properties.sasl.*."),
        C::MessageSizeTooLarge => Error::data(format!("a message is larger than kafka topic \"{topic}\" takes"))
            .with_hint("Raise max.message.bytes of the topic."),
        C::InvalidTransactionTimeout => Error::invalid(format!("kafka at {servers}: {text}"))
            .with_hint("Lower properties.transaction.timeout.ms below the broker's transaction.max.timeout.ms."),
        _ => Error::unavailable(format!("kafka at {servers} can't be reached: {text}"))
            .with_hint("Check properties.bootstrap.server and that the broker runs."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_warnings_are_counted_and_not_written() {
        let (mut warnings, start) = (Warnings::default(), Instant::now());
        assert_eq!(warnings.take_turn(start), Some(0), "the first one tells at once");
        assert_eq!(warnings.take_turn(start + WARNING_INTERVAL / 2), None);
        assert_eq!(warnings.take_turn(start + WARNING_INTERVAL), Some(1));
        assert_eq!(warnings.take_turn(start + WARNING_INTERVAL * 2), Some(0));
    }
}
