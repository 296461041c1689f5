//! The reader of a Kafka source: the side that the dataflow awaits.
//!
//! Fetching and decoding happen on a thread of the reader's own ([`super::consume`]); between the two stands a
//! channel that is bounded in bytes. When it is full the thread stops taking messages, then librdkafka's own
//! queue fills, then it stops fetching: memory stays flat whatever the topic holds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};

use async_trait::async_trait;
use millstream_runtime::limits::READER_QUEUE_BYTES;
use millstream_runtime::source::{
    ConnectorSpec, Position, RawRecords, SourceBatch, SourceEvent, SourceReader, SplitId, SplitRange,
};
use millstream_runtime::{Error, Result};
use tokio::sync::mpsc;

use super::consume;
use super::settings::SourceSettings;

/// What a reader is opened with.
pub(super) struct ReaderConfig {
    /// The source as declared.
    pub(super) spec: ConnectorSpec,
    /// Its options.
    pub(super) settings: SourceSettings,
    /// What to read, by partition.
    pub(super) ranges: BTreeMap<i32, SplitRange>,
    /// The columns to build.
    pub(super) columns: Vec<usize>,
}

/// What the reader and its thread share besides the channel.
#[derive(Default)]
pub(super) struct Shared {
    /// Bytes of the batches in the channel.
    held_bytes: AtomicUsize,
    /// The reader was dropped.
    closed: AtomicBool,
    /// Offsets to show in the consumer group, newest only.
    to_commit: Mutex<Option<BTreeMap<i32, u64>>>,
    /// The thread, to be woken when something here changed.
    thread: OnceLock<Thread>,
}

impl Shared {
    /// Whether the thread has to wait before it takes more messages.
    pub(super) fn is_full(&self) -> bool {
        self.held_bytes.load(Ordering::Acquire) >= READER_QUEUE_BYTES
    }

    /// Whether nobody reads any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Accounts for a batch that goes into the channel.
    pub(super) fn hold(&self, bytes: usize) {
        self.held_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// The offsets to show in the group, once.
    pub(super) fn take_commit(&self) -> Option<BTreeMap<i32, u64>> {
        self.to_commit.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn release(&self, bytes: usize) {
        let before = self.held_bytes.fetch_sub(bytes, Ordering::AcqRel);
        if before >= READER_QUEUE_BYTES {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// Bytes that a batch keeps alive.
pub(super) fn batch_bytes(batch: &SourceBatch) -> usize {
    let rejected: usize = batch.rejected.iter().map(|record| record.raw.len() + record.reason.len()).sum();
    let raw = batch.raw.as_ref().map_or(0, RawRecords::memory_bytes);
    raw + batch.rows.get_array_memory_size() + batch.positions.len() * size_of::<Position>() + rejected
}

/// Reads some partitions of a topic.
pub(super) struct KafkaReader {
    events: mpsc::UnboundedReceiver<Result<SourceEvent>>,
    shared: Arc<Shared>,
    /// Why the thread ended, said again to whoever asks again.
    failed: Option<Error>,
}

/// Starts the thread of a reader.
pub(super) fn open(config: ReaderConfig) -> Result<KafkaReader> {
    // Unbounded in number, but the thread puts nothing in while `held_bytes` is at its limit.
    let (sender, events) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared::default());
    let of_thread = Arc::clone(&shared);
    let handle = thread::Builder::new()
        .name(format!("kafka {}", config.settings.topic))
        .spawn(move || consume::run(config, &of_thread, &sender))
        .map_err(|error| Error::unavailable(format!("no thread for a kafka reader: {error}")))?;
    shared.thread.get_or_init(|| handle.thread().clone());
    Ok(KafkaReader { events, shared, failed: None })
}

#[async_trait]
impl SourceReader for KafkaReader {
    async fn next(&mut self) -> Result<Option<SourceEvent>> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        match self.events.recv().await {
            None => Ok(None),
            Some(Ok(event)) => {
                if let SourceEvent::Batch(batch) = &event {
                    self.shared.release(batch_bytes(batch));
                }
                Ok(Some(event))
            }
            Some(Err(error)) => {
                self.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    async fn committed(&mut self, positions: &BTreeMap<SplitId, Position>) -> Result<()> {
        let offsets = positions
            .iter()
            .map(|(split, position)| Ok((super::source::partition_of(split)?, position.0)))
            .collect::<Result<_>>()?;
        *self.shared.to_commit.lock().unwrap_or_else(PoisonError::into_inner) = Some(offsets);
        self.shared.wake();
        Ok(())
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        // The thread notices, closes its connections and ends by itself: nothing waits for it, because it
        // belongs to no group whose members would have to be told.
        self.shared.closed.store(true, Ordering::Release);
        self.shared.wake();
    }
}
