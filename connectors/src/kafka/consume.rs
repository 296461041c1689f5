//! The thread of a reader: takes messages from librdkafka, decodes them, and hands batches on.
//!
//! What is true here:
//! - Offsets are explicit. No group is joined, nothing is committed but what the reader is told to show, and
//!   an offset that the broker does not hold is an error, never a reset.
//! - `next` of a split only rises. It also passes over what is never delivered (the control records that end
//!   transactions, records of aborted transactions, records that compaction removed), because the end of a
//!   partition counts them.
//! - The thread sleeps unless there is something to do: librdkafka unparks it when messages arrive, the reader
//!   when there is room again; every [`IDLE_WAIT`] it serves the client's events.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use millstream_runtime::source::{ColumnOrigin, Position, SourceBatch, SourceEvent, SplitId, SplitRange};
use millstream_runtime::{Error, ErrorKind, Result};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::mpsc::UnboundedSender;

use super::client::{self, KafkaConsumer};
use super::health::Health;
use super::native::{Message, MessageQueue, Messages, TAKE_MESSAGES};
use super::positions::{self, HeldOffsets};
use super::reader::{ReaderConfig, Shared, batch_bytes};
use super::topic::{OffsetQuery, Topic};
use crate::formats::{Decoded, Decoder, Record};

/// How long the thread sleeps at most.
const IDLE_WAIT: Duration = Duration::from_millis(200);

/// Bytes of payload after which a batch is handed on even though more messages are at hand.
const BATCH_PAYLOAD_BYTES: usize = 4 << 20;

/// Runs until every split has ended, something failed, or the reader is gone.
pub(super) fn run(config: ReaderConfig, shared: &Shared, events: &UnboundedSender<Result<SourceEvent>>) {
    let result = Consumption::start(config, shared, events).and_then(Consumption::read);
    if let Err(error) = result {
        // Nobody listens when the reader is gone, and then nobody needs to know.
        let _ = events.send(Err(error));
    }
}

/// How far one split is.
struct Progress {
    id: SplitId,
    /// The offset that is read next.
    next: u64,
    /// The offset before which the split ends.
    until: Option<u64>,
    /// The position that was handed on last.
    handed_on: u64,
    /// A client's position that means nothing, see [`Work::pass_over_undelivered`].
    event_position: Option<u64>,
    ended: bool,
}

/// The queue and what is done with its messages, apart so that both can be borrowed at once.
struct Consumption<'a> {
    queue: MessageQueue,
    work: Work<'a>,
}

struct Work<'a> {
    topic_name: String,
    topic: Topic,
    group_is_shown: bool,
    wants_headers: bool,
    splits: BTreeMap<i32, Progress>,
    decoder: Decoder,
    health: Health,
    shared: &'a Shared,
    events: &'a UnboundedSender<Result<SourceEvent>>,
    consumer: Arc<KafkaConsumer>,
}

impl<'a> Consumption<'a> {
    /// Connects and assigns the partitions at their offsets.
    fn start(
        config: ReaderConfig,
        shared: &'a Shared,
        events: &'a UnboundedSender<Result<SourceEvent>>,
    ) -> Result<Self> {
        let ReaderConfig { spec, settings, ranges, columns } = config;
        let consumer = client::consumer(&settings.client, &spec.relation)?;
        let incarnation = ranges.values().next().map_or(String::new(), |range| range.split.incarnation.clone());
        let progress = |range: SplitRange| Progress {
            id: range.split.id,
            next: range.from.0,
            handed_on: range.from.0,
            until: range.until.map(|position| position.0),
            event_position: None,
            ended: false,
        };
        let mut work = Work {
            topic: Topic::through(Arc::clone(&consumer), &settings.topic, &settings.client),
            topic_name: settings.topic,
            group_is_shown: settings.client.group().is_some(),
            wants_headers: spec.origins.contains(&ColumnOrigin::Headers),
            splits: ranges.into_iter().map(|(partition, range)| (partition, progress(range))).collect(),
            decoder: Decoder::new(&spec, &columns)?,
            health: Health::new(incarnation, Instant::now()),
            shared,
            events,
            consumer: Arc::clone(&consumer),
        };
        let partitions: Vec<i32> = work.splits.keys().copied().collect();
        partitions.into_iter().try_for_each(|partition| work.end_if_done(partition))?;
        let queue = MessageQueue::new(consumer, thread::current());
        work.assign(&queue)?;
        Ok(Self { queue, work })
    }

    fn read(mut self) -> Result<()> {
        while !self.work.shared.is_closed() && self.work.splits.values().any(|progress| !progress.ended) {
            self.work.serve_client()?;
            if self.work.shared.is_full() {
                thread::park_timeout(IDLE_WAIT);
                continue;
            }
            let messages = self.queue.take();
            self.work.hand_on(&messages)?;
            if messages.len() == TAKE_MESSAGES {
                continue;
            }
            drop(messages);
            self.work.pass_over_undelivered()?;
            thread::park_timeout(IDLE_WAIT);
        }
        Ok(())
    }
}

impl Work<'_> {
    fn assign(&self, queue: &MessageQueue) -> Result<()> {
        let name = CString::new(self.topic_name.as_str()).expect("names of topics were checked and hold no zero");
        let mut list = TopicPartitionList::new();
        for (partition, progress) in self.splits.iter().filter(|(_, progress)| !progress.ended) {
            if !queue.forward(&name, *partition) {
                return Err(Error::internal(format!("no queue for partition {partition} of \"{}\"", self.topic_name)));
            }
            let offset = i64::try_from(progress.next)
                .map_err(|_| Error::data(format!("{} is no offset of a kafka partition", progress.next)))?;
            list.add_partition_offset(&self.topic_name, *partition, Offset::Offset(offset))
                .map_err(|error| refused("set an offset", &error))?;
        }
        self.consumer.assign(&list).map_err(|error| refused("assign partitions", &error))
    }

    /// Everything about the client but its messages: logs, troubles, offsets to show, the topic's health.
    fn serve_client(&mut self) -> Result<()> {
        match self.consumer.poll(Duration::ZERO) {
            None => {}
            Some(Ok(_)) => return Err(Error::internal("a kafka message arrived outside of its queue")),
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                return Err(self.topic.error(code, "the client gave up"));
            }
            // Its context has kept it; librdkafka tries again by itself.
            Some(Err(_)) => {}
        }
        if let Some(offsets) = self.shared.take_commit()
            && self.group_is_shown
        {
            self.show_in_group(&offsets);
        }
        self.health.check(&self.topic, &self.topic_name, Instant::now())
    }

    fn show_in_group(&self, offsets: &BTreeMap<i32, u64>) {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        let added = offsets.iter().try_for_each(|(partition, offset)| {
            let offset = Offset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
            list.add_partition_offset(&self.topic_name, *partition, offset)
        });
        if let Err(error) = added.and_then(|()| self.consumer.commit(&list, CommitMode::Async)) {
            tracing::warn!(topic = self.topic_name, "offsets were not committed to the group: {error}");
        }
    }

    /// Decodes what was taken, partition by partition.
    fn hand_on(&mut self, messages: &Messages<'_>) -> Result<()> {
        // Mostly sorted already: messages come in runs of one partition, each run from one fetch.
        let mut order: Vec<usize> = (0..messages.len()).collect();
        order.sort_by_key(|index| messages.get(*index).partition());
        for run in order.chunk_by(|a, b| messages.get(*a).partition() == messages.get(*b).partition()) {
            let partition = messages.get(run[0]).partition();
            for index in run {
                self.read_message(partition, messages.get(*index))?;
            }
            self.flush(partition)?;
            self.end_if_done(partition)?;
        }
        Ok(())
    }

    fn read_message(&mut self, partition: i32, message: Message<'_>) -> Result<()> {
        if let Some((code, text)) = message.error() {
            if let Some(progress) = self.splits.get_mut(&partition) {
                progress.event_position = u64::try_from(message.offset() + 1).ok();
            }
            return self.handle_event(partition, message.offset(), code, &text);
        }
        let Some(progress) = self.splits.get_mut(&partition) else {
            return Err(Error::internal(format!("a message of kafka partition {partition}, which was not asked for")));
        };
        let offset = u64::try_from(message.offset())
            .map_err(|_| Error::internal(format!("a kafka record at offset {}", message.offset())))?;
        // A record before `next` was handed on already; one at or behind `until` only shows that the end is
        // reached.
        let is_wanted = offset >= progress.next && progress.until.is_none_or(|until| offset < until);
        progress.next = progress.next.max(offset + 1);
        if !is_wanted {
            return Ok(());
        }
        let headers = if self.wants_headers { message.headers() } else { Vec::new() };
        self.decoder.push(Record {
            position: Position(offset),
            payload: message.payload(),
            key: message.key(),
            partition: Some(partition),
            timestamp_millis: message.timestamp_millis(),
            headers: &headers,
        });
        if self.decoder.payload_bytes() >= BATCH_PAYLOAD_BYTES { self.flush(partition) } else { Ok(()) }
    }

    /// Hands on what the decoder holds, which is all of one partition.
    fn flush(&mut self, partition: i32) -> Result<()> {
        if self.decoder.records() == 0 {
            return Ok(());
        }
        let decoded = self.decoder.finish()?;
        self.send_batch(partition, decoded);
        Ok(())
    }

    fn send_batch(&mut self, partition: i32, decoded: Decoded) {
        let Some(progress) = self.splits.get_mut(&partition) else { return };
        let Decoded { rows, positions, raw, rejected } = decoded;
        // The record behind `until` may have moved `next` past it; what is handed on never does.
        let next = progress.until.map_or(progress.next, |until| progress.next.min(until));
        progress.handed_on = next;
        let batch = SourceBatch { split: progress.id.clone(), rows, positions, raw, rejected, next: Position(next) };
        self.shared.hold(batch_bytes(&batch));
        // The reader may be gone; the loop notices.
        let _ = self.events.send(Ok(SourceEvent::Batch(batch)));
    }

    /// Moves a split on over offsets that are never delivered, and says so.
    fn advance(&mut self, partition: i32, offset: i64) -> Result<()> {
        let (Some(progress), Ok(offset)) = (self.splits.get_mut(&partition), u64::try_from(offset)) else {
            return Ok(());
        };
        if progress.ended || offset <= progress.next {
            return Ok(());
        }
        progress.next = offset;
        let nothing_decoded = self.decoder.finish()?;
        self.send_batch(partition, nothing_decoded);
        self.end_if_done(partition)
    }

    /// Control records don't come out of the queue, but move the client's position. Looking at it shows the
    /// end of a transaction at once; the event for the end of a partition can take half a second longer.
    ///
    /// When librdkafka hands out events in a batch it moves the position one behind the event's offset, as if
    /// it were a record: a position of that value is no evidence that anything stood there.
    fn pass_over_undelivered(&mut self) -> Result<()> {
        let positions = self.consumer.position().map_err(|error| refused("tell its positions", &error))?;
        for element in positions.elements() {
            let Offset::Offset(offset) = element.offset() else { continue };
            let of_event = self.splits.get(&element.partition()).and_then(|progress| progress.event_position);
            if u64::try_from(offset).ok() != of_event {
                self.advance(element.partition(), offset)?;
            }
        }
        Ok(())
    }

    fn end_if_done(&mut self, partition: i32) -> Result<()> {
        let Some(progress) = self.splits.get_mut(&partition) else { return Ok(()) };
        if progress.ended || progress.until.is_none_or(|until| progress.next < until) {
            return Ok(());
        }
        progress.ended = true;
        let ended = SourceEvent::SplitEnded(progress.id.clone());
        if progress.until.is_some_and(|until| progress.handed_on < until) {
            // Nothing was delivered between the last record and `until`.
            let nothing_decoded = self.decoder.finish()?;
            self.send_batch(partition, nothing_decoded);
        }
        let _ = self.events.send(Ok(ended));
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(&self.topic_name, partition);
        // Fetching what nobody wants is a waste, not an error.
        if let Err(error) = self.consumer.pause(&list) {
            tracing::debug!(topic = self.topic_name, partition, "a partition that has ended was not paused: {error}");
        }
        Ok(())
    }

    /// What comes in place of a record.
    fn handle_event(&mut self, partition: i32, offset: i64, code: RDKafkaErrorCode, text: &str) -> Result<()> {
        use RDKafkaErrorCode as C;
        self.flush(partition)?;
        let name = &self.topic_name;
        match code {
            C::PartitionEOF => self.advance(partition, offset),
            C::AutoOffsetReset | C::OffsetOutOfRange | C::LogTruncation => Err(self.explain_offset(partition, text)),
            C::MessageSizeTooLarge => Err(Error::data(format!(
                "the record at offset {offset} of partition {partition} of kafka topic \"{name}\" is too large to fetch"
            ))
            .with_hint("Raise properties.receive.message.max.bytes.")),
            C::BadMessage | C::BadCompression | C::InvalidMessage | C::NotImplemented => Err(Error::data(format!(
                "the records from offset {offset} of partition {partition} of kafka topic \"{name}\" can't be read: {text}"
            ))),
            C::TopicAuthorizationFailed => {
                Err(Error::unavailable(format!("not allowed to read kafka topic \"{name}\""))
                    .with_hint("Reading goes on from the same offsets when the right is given."))
            }
            _ => {
                tracing::debug!(topic = name, partition, "librdkafka: {code}: {text}");
                self.health.suspect(Instant::now());
                Ok(())
            }
        }
    }

    /// Why the broker refused an offset: the topic is another one, or does not hold it.
    fn explain_offset(&self, partition: i32, text: &str) -> Error {
        let next = self.splits.get(&partition).map_or(0, |progress| progress.next);
        let look = || {
            let description = self.topic.describe()?;
            if let Some(error) = self.health.check_incarnation(&self.topic_name, &description) {
                return Ok(error);
            }
            let ask =
                |query| -> Result<u64> { Ok(self.topic.offsets(&BTreeMap::from([(partition, query)]))?[&partition]) };
            let held = HeldOffsets { first: ask(OffsetQuery::First)?, end: ask(OffsetQuery::End)? };
            Ok(positions::check(&self.topic_name, partition, next, held).unwrap_or_else(|| {
                Error::unavailable(format!(
                    "kafka did not serve offset {next} of partition {partition} of topic \"{}\": {text}",
                    self.topic_name
                ))
            }))
        };
        look().unwrap_or_else(|error: Error| Error { kind: ErrorKind::Unavailable, ..error })
    }
}

/// A call of the client's that only a bug or a full machine makes fail.
fn refused(what: &str, error: &KafkaError) -> Error {
    Error::internal(format!("the kafka client did not {what}: {error}"))
}
