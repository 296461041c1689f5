//! The Kafka source: one split per partition.
//!
//! A split is named by its partition's number, its incarnation is the topic's id, and its start is where the
//! startup mode points *now*: the caller resolves it once, at CREATE SOURCE, and keeps it. Partitions that
//! appear later are the caller's to start at 0; this file gives them the same start as all others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use millstream_runtime::source::{ConnectorSpec, Position, Source, SourceReader, Split, SplitId, SplitRange};
use millstream_runtime::{Error, ErrorKind, Result};

use super::positions::{self, HeldOffsets};
use super::reader::{self, ReaderConfig};
use super::settings::{SourceSettings, Startup};
use super::topic::{OffsetQuery, Topic};

/// A declared Kafka source. Nothing is connected before the first call.
pub(super) struct KafkaSource {
    spec: ConnectorSpec,
    settings: SourceSettings,
    /// The client that asks for partitions and offsets, kept so that `FLUSH` need not connect each time.
    topic: Mutex<Option<Arc<Topic>>>,
}

impl KafkaSource {
    /// A source over checked settings.
    pub(super) fn new(spec: ConnectorSpec, settings: SourceSettings) -> Self {
        Self { spec, settings, topic: Mutex::new(None) }
    }

    /// Runs a call about the topic on a blocking thread.
    async fn ask<T: Send + 'static>(&self, call: impl FnOnce(&Topic) -> Result<T> + Send + 'static) -> Result<T> {
        let topic = self.topic()?;
        blocking(move || call(&topic)).await
    }

    fn topic(&self) -> Result<Arc<Topic>> {
        let mut kept = self.topic.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = kept.as_ref() {
            return Ok(Arc::clone(topic));
        }
        let topic = Arc::new(Topic::connect(&self.settings.topic, &self.settings.client, &self.spec.relation)?);
        *kept = Some(Arc::clone(&topic));
        Ok(topic)
    }
}

/// Runs what blocks away from the threads that must not.
pub(super) async fn blocking<T: Send + 'static>(call: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(call).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal(format!("a call to kafka did not finish: {error}"))),
    }
}

#[async_trait]
impl Source for KafkaSource {
    async fn splits(&self) -> Result<Vec<Split>> {
        let startup = self.settings.startup.clone();
        self.ask(move |topic| {
            let description = topic.describe()?;
            if let Startup::Offsets(offsets) = &startup
                && let Some(missing) = offsets.keys().find(|partition| !description.partitions.contains(partition))
            {
                return Err(Error::invalid(format!(
                    "option \"scan.startup.specific-offsets\" names partition {missing}, which the topic does not have"
                )));
            }
            let starts = resolve_starts(topic, &startup, &description.partitions)?;
            let split = |(partition, start): (i32, u64)| Split {
                id: split_id(partition),
                start: Position(start),
                incarnation: description.id.clone(),
            };
            Ok(starts.into_iter().map(split).collect())
        })
        .await
    }

    async fn ends(&self) -> Result<BTreeMap<SplitId, Position>> {
        self.ask(|topic| {
            let partitions = topic.describe()?.partitions;
            let ends = topic.offsets(&partitions.iter().map(|p| (*p, OffsetQuery::End)).collect())?;
            Ok(ends.into_iter().map(|(partition, end)| (split_id(partition), Position(end))).collect())
        })
        .await
    }

    async fn open(&self, ranges: Vec<SplitRange>, columns: Vec<usize>) -> Result<Box<dyn SourceReader>> {
        let partitions = ranges.into_iter().map(|range| Ok((partition_of(&range.split.id)?, range)));
        let ranges: BTreeMap<i32, SplitRange> = partitions.collect::<Result<_>>()?;
        let topic_name = self.settings.topic.clone();
        let checked = ranges.clone();
        self.ask(move |topic| check_ranges(topic, &topic_name, &checked)).await?;
        let config = ReaderConfig { spec: self.spec.clone(), settings: self.settings.clone(), ranges, columns };
        Ok(Box::new(reader::open(config)?))
    }

    fn bounded(&self) -> bool {
        false
    }
}

/// The split of a partition.
fn split_id(partition: i32) -> SplitId {
    SplitId(partition.to_string())
}

/// The partition of a split.
pub(super) fn partition_of(split: &SplitId) -> Result<i32> {
    let SplitId(text) = split;
    text.parse().map_err(|_| Error::data(format!("split \"{text}\" does not name a kafka partition")))
}

fn resolve_starts(topic: &Topic, startup: &Startup, partitions: &[i32]) -> Result<BTreeMap<i32, u64>> {
    let query = match startup {
        // Of the offsets that the user gave, it is checked when they are read that the broker holds them.
        Startup::Earliest | Startup::Offsets(_) => OffsetQuery::First,
        Startup::Latest => OffsetQuery::End,
        Startup::Timestamp(millis) => OffsetQuery::AtMillis(*millis),
    };
    let mut starts = topic.offsets(&partitions.iter().map(|partition| (*partition, query)).collect())?;
    if let Startup::Offsets(offsets) = startup {
        starts.extend(offsets);
    }
    Ok(starts)
}

/// Refuses positions that the broker can't serve before anything is read.
fn check_ranges(topic: &Topic, name: &str, ranges: &BTreeMap<i32, SplitRange>) -> Result<()> {
    // At CREATE a missing topic is the user's to mend; a reader waits for it to be back.
    let description = topic.describe().map_err(|error| match error.kind {
        ErrorKind::Invalid => Error { kind: ErrorKind::Unavailable, ..error },
        _ => error,
    })?;
    for (partition, range) in ranges {
        if let Some(error) = positions::check_incarnation(name, &range.split.incarnation, &description.id) {
            return Err(error);
        }
        if !description.partitions.contains(partition) {
            return Err(Error::data(format!("kafka topic \"{name}\" has no partition {partition} any more")));
        }
    }
    let all = |query| ranges.keys().map(|partition| (*partition, query)).collect();
    let first = topic.offsets(&all(OffsetQuery::First))?;
    let end = topic.offsets(&all(OffsetQuery::End))?;
    for (partition, range) in ranges {
        let held = HeldOffsets { first: first[partition], end: end[partition] };
        let nothing_to_read = range.until.is_some_and(|until| until <= range.from);
        if !nothing_to_read && let Some(error) = positions::check(name, *partition, range.from.0, held) {
            return Err(error);
        }
    }
    Ok(())
}
