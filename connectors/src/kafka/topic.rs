//! What a topic looks like from outside: its id, its partitions, and the offsets at which they begin and end.
//!
//! All calls here block, for at most [`CALL_TIMEOUT`] each; callers run them on blocking threads.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_runtime::source::CREATE_TIMEOUT_SECONDS;
use millstream_runtime::{Error, Result};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use super::client::{self, KafkaConsumer};
use super::native::{DescribeTopic, TopicDescription};
use super::settings::ClientSettings;

/// How long one call may take: two in a row stay below what a CREATE may take in all.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_millis(CREATE_TIMEOUT_SECONDS * 1000 * 9 / 20);

/// Events of a client that are handled in one go.
const EVENTS_AT_ONCE: usize = 32;

/// A topic and the client through which it is looked at.
pub(super) struct Topic {
    name: String,
    name_native: CString,
    settings: ClientSettings,
    client: Arc<KafkaConsumer>,
}

/// Which offset of a partition is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OffsetQuery {
    /// The first that is still there.
    First,
    /// The one after the last, as a reader with the client's isolation level sees it.
    End,
    /// That of the first record at this time or later, in milliseconds since 1970; [`Self::End`] if none.
    AtMillis(i64),
}

impl Topic {
    /// Looks at a topic through a client of its own.
    pub(super) fn connect(name: &str, settings: &ClientSettings, relation: &str) -> Result<Self> {
        let client = client::inquirer(settings, relation)?;
        Ok(Self::through(client, name, settings))
    }

    /// Looks at a topic through a client that is there already.
    pub(super) fn through(client: Arc<KafkaConsumer>, name: &str, settings: &ClientSettings) -> Self {
        let name_native = CString::new(name).expect("names of topics were checked and hold no zero");
        Self { name: name.to_string(), name_native, settings: settings.clone(), client }
    }

    /// Its id and its partitions.
    pub(super) fn describe(&self) -> Result<TopicDescription> {
        let request = self.start_describe();
        let deadline = Instant::now() + CALL_TIMEOUT;
        loop {
            // Serving the client's own queue is what tells why nobody answers.
            self.serve();
            if let Some(answer) = request.poll(Duration::from_millis(50)) {
                return answer.map_err(|failure| self.error(failure.code, &failure.text));
            }
            if Instant::now() > deadline + Duration::from_secs(1) {
                return Err(self.error(RDKafkaErrorCode::OperationTimedOut, "no answer"));
            }
        }
    }

    /// Asks for its description without waiting.
    pub(super) fn start_describe(&self) -> DescribeTopic {
        DescribeTopic::send(Arc::clone(&self.client), &self.name_native, CALL_TIMEOUT)
    }

    /// One offset of each of these partitions.
    pub(super) fn offsets(&self, queries: &BTreeMap<i32, OffsetQuery>) -> Result<BTreeMap<i32, u64>> {
        let mut found = self.list_offsets(queries)?;
        // A time after the last record is answered with "the end", which is a second question.
        let at_end: BTreeMap<i32, OffsetQuery> = found
            .iter()
            .filter(|(_, offset)| offset.is_none())
            .map(|(partition, _)| (*partition, OffsetQuery::End))
            .collect();
        if !at_end.is_empty() {
            found.extend(self.list_offsets(&at_end)?);
        }
        found
            .into_iter()
            .map(|(partition, offset)| match offset {
                Some(offset) => Ok((partition, offset)),
                None => Err(Error::unavailable(format!(
                    "kafka told no offset for partition {partition} of topic \"{}\"",
                    self.name
                ))),
            })
            .collect()
    }

    fn list_offsets(&self, queries: &BTreeMap<i32, OffsetQuery>) -> Result<BTreeMap<i32, Option<u64>>> {
        if queries.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut list = TopicPartitionList::with_capacity(queries.len());
        for (partition, query) in queries {
            let offset = match query {
                OffsetQuery::First => Offset::Beginning,
                OffsetQuery::End => Offset::End,
                OffsetQuery::AtMillis(millis) => Offset::Offset(*millis),
            };
            list.add_partition_offset(&self.name, *partition, offset).map_err(|error| self.kafka_error(&error))?;
        }
        // The request for offsets by time takes the two marks for first and last offset as times too, and
        // asks for all partitions at once, which the request for watermarks does not.
        let answer = self.client.offsets_for_times(list, CALL_TIMEOUT);
        self.serve();
        let answer = answer.map_err(|error| self.kafka_error(&error))?;
        let mut found = BTreeMap::new();
        for element in answer.elements() {
            element.error().map_err(|error| self.kafka_error(&error))?;
            let offset = match element.offset() {
                Offset::Offset(offset) => u64::try_from(offset).ok(),
                _ => None,
            };
            found.insert(element.partition(), offset);
        }
        Ok(found)
    }

    /// Hands the client's events (logs, troubles with connections) to its context.
    pub(super) fn serve(&self) {
        // One call hands over one event, and does not tell a log line from an empty queue.
        for _ in 0..EVENTS_AT_ONCE {
            // The client reads nothing, and its errors have been kept by its context.
            let _ = self.client.poll(Duration::ZERO);
        }
    }

    /// The error of a call about this topic.
    pub(super) fn error(&self, code: RDKafkaErrorCode, text: &str) -> Error {
        self.serve();
        client::call_error(code, text, &self.name, &self.settings, self.client.context())
    }

    fn kafka_error(&self, error: &KafkaError) -> Error {
        match error.rdkafka_error_code() {
            Some(code) => self.error(code, &code.to_string()),
            None => Error::internal(format!("kafka topic \"{}\": {error}", self.name)),
        }
    }
}
