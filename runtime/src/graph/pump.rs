//! The pump: reads one source, decides about its rows, and queues them for the epochs.
//!
//! It runs as an asynchronous task beside the dataflow, so that fetching and decoding overlap with computing.
//! Whatever it queues carries the split's state after it: an epoch that takes the first n items knows its cut
//! (invariant 2). Floors, idleness and lateness are decided here and nowhere else.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::accept::Acceptor;
use super::split::{SplitState, merged};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{DISCOVERY_SECONDS, READER_QUEUE_BYTES, RETRY_MILLIS_MAX, RETRY_MILLIS_MIN};
use crate::plan::InputRelation;
use crate::source::{Position, RejectedRecord, Source, SourceBatch, SourceEvent, SourceReader, SplitId, SplitRange};
use crate::time::Watermark;

/// One step of one split.
#[derive(Debug)]
pub(crate) struct PumpItem {
    /// The split's state after the step.
    pub(crate) state: SplitState,
    /// Accepted rows.
    pub(crate) rows: Option<RecordBatch>,
    /// Late rows.
    pub(crate) late: Option<RecordBatch>,
    /// Records that were refused.
    pub(crate) rejected: Vec<RejectedRecord>,
    /// The relation's merged watermark after the step.
    pub(crate) merged: Watermark,
}

impl PumpItem {
    fn bytes(&self) -> usize {
        let rows = |batch: &Option<RecordBatch>| batch.as_ref().map_or(0, RecordBatch::get_array_memory_size);
        rows(&self.rows) + rows(&self.late) + self.rejected.iter().map(|record| record.raw.len() + 128).sum::<usize>()
    }
}

/// What the job master should know of a pump beside its rows.
#[derive(Clone, Debug, Default)]
pub(crate) enum PumpHealth {
    /// Reads.
    #[default]
    Reading,
    /// The outside world is away; it tries again.
    Waiting(Error),
    /// It can't go on.
    Failed(Error),
    /// Everything that it was to read is queued.
    Ended,
}

/// Where the items wait, bounded in bytes.
pub(crate) struct PumpQueue {
    inner: Mutex<QueueInner>,
    space: Notify,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct QueueInner {
    items: VecDeque<(PumpItem, usize)>,
    bytes: usize,
    health: PumpHealth,
}

impl PumpQueue {
    fn new(wake: Box<dyn Fn() + Send + Sync>) -> Self {
        Self { inner: Mutex::default(), space: Notify::new(), wake }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, QueueInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn push(&self, item: PumpItem) {
        loop {
            // Made before the look, so that space given in between is not missed.
            let space = self.space.notified();
            if self.lock().bytes < READER_QUEUE_BYTES {
                break;
            }
            space.await;
        }
        let bytes = item.bytes();
        let mut inner = self.lock();
        inner.bytes += bytes;
        inner.items.push_back((item, bytes));
        drop(inner);
        (self.wake)();
    }

    fn set_health(&self, health: PumpHealth) {
        self.lock().health = health;
        (self.wake)();
    }

    /// Items up to about `bytes_max` (at least one if there is one).
    pub(crate) fn take(&self, bytes_max: usize) -> Vec<PumpItem> {
        let mut inner = self.lock();
        let mut taken = Vec::new();
        let mut bytes = 0;
        while bytes < bytes_max
            && let Some((item, size)) = inner.items.pop_front()
        {
            bytes += size;
            taken.push(item);
        }
        inner.bytes -= bytes;
        drop(inner);
        self.space.notify_waiters();
        taken
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().items.is_empty()
    }

    /// How the pump does.
    pub(crate) fn health(&self) -> PumpHealth {
        self.lock().health.clone()
    }
}

/// How far a pump reads.
pub(crate) enum Extent {
    /// On and on, finding new splits.
    Shared,
    /// Up to the given positions; records no idleness and finds no splits.
    CatchUp(BTreeMap<SplitId, Position>),
}

/// A running pump; dropping it stops the reading.
pub(crate) struct Pump {
    /// Its items.
    pub(crate) queue: Arc<PumpQueue>,
    committed: watch::Sender<BTreeMap<SplitId, Position>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pump {
    /// Starts to read from where `splits` stand.
    pub(crate) fn start(
        tokio: &tokio::runtime::Handle,
        relation: &InputRelation,
        source: Arc<dyn Source>,
        splits: BTreeMap<SplitId, SplitState>,
        watermark: Watermark,
        extent: Extent,
        wake: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Self> {
        let queue = Arc::new(PumpQueue::new(wake));
        let (committed, committed_seen) = watch::channel(BTreeMap::new());
        let pumping = Pumping {
            acceptor: Acceptor::new(relation)?,
            relation: relation.clone(),
            bounded: source.bounded(),
            source,
            last_row: splits.keys().map(|split| (split.clone(), Instant::now())).collect(),
            splits,
            merged: watermark,
            extent,
            queue: Arc::clone(&queue),
            committed: committed_seen,
        };
        Ok(Self { queue, committed, task: tokio.spawn(pumping.run()) })
    }

    /// Tells the outside world how far a durable checkpoint has read, for observation only.
    pub(crate) fn committed(&self, positions: BTreeMap<SplitId, Position>) {
        self.committed.send_replace(positions);
    }
}

struct Pumping {
    relation: InputRelation,
    acceptor: Acceptor,
    source: Arc<dyn Source>,
    bounded: bool,
    splits: BTreeMap<SplitId, SplitState>,
    last_row: BTreeMap<SplitId, Instant>,
    merged: Watermark,
    extent: Extent,
    queue: Arc<PumpQueue>,
    committed: watch::Receiver<BTreeMap<SplitId, Position>>,
}

/// Why a reader was given up without an error.
enum Turn {
    /// Everything has ended.
    Ended,
    /// The set of splits has changed.
    Reopen,
}

impl Pumping {
    async fn run(mut self) {
        let mut delay = Duration::from_millis(RETRY_MILLIS_MIN);
        loop {
            let read_before: u64 = self.splits.values().map(|split| split.position.0).sum();
            match self.read().await {
                Ok(Turn::Ended) => return self.queue.set_health(PumpHealth::Ended),
                Ok(Turn::Reopen) => {}
                Err(error) if error.kind == ErrorKind::Unavailable => {
                    tracing::warn!(relation = %self.relation.name, %error, "a source is away, trying again");
                    self.queue.set_health(PumpHealth::Waiting(error));
                    let read_now: u64 = self.splits.values().map(|split| split.position.0).sum();
                    if read_now != read_before {
                        delay = Duration::from_millis(RETRY_MILLIS_MIN);
                    }
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(Duration::from_millis(RETRY_MILLIS_MAX));
                }
                Err(error) => return self.queue.set_health(PumpHealth::Failed(error)),
            }
        }
    }

    async fn read(&mut self) -> Result<Turn> {
        if matches!(self.extent, Extent::Shared) && !self.bounded {
            self.discover().await?;
        }
        let ranges = self.ranges();
        if ranges.is_empty() && (self.bounded || matches!(self.extent, Extent::CatchUp(_))) {
            self.announce_end().await;
            return Ok(Turn::Ended);
        }
        let columns = (0..self.relation.physical_columns).collect();
        let mut reader = self.source.open(ranges, columns).await?;
        self.queue.set_health(PumpHealth::Reading);
        let mut discovery = tokio::time::interval(Duration::from_secs(DISCOVERY_SECONDS));
        discovery.reset();
        loop {
            let idle_at = self.next_idle();
            tokio::select! {
                biased;
                event = reader.next() => match event? {
                    Some(SourceEvent::Batch(batch)) => self.batch(batch).await?,
                    Some(SourceEvent::SplitEnded(split)) => self.split_ended(&split).await?,
                    None => return self.reader_ended(),
                },
                () = sleep_until(idle_at) => self.mark_idle().await,
                _ = discovery.tick(), if self.discovers() => {
                    if self.discover().await? {
                        return Ok(Turn::Reopen);
                    }
                }
                changed = self.committed.changed() => {
                    if changed.is_ok() {
                        self.tell_committed(reader.as_mut()).await;
                    }
                }
            }
        }
    }

    fn discovers(&self) -> bool {
        matches!(self.extent, Extent::Shared) && !self.bounded
    }

    fn ranges(&self) -> Vec<SplitRange> {
        let ranges = self.splits.values().filter(|state| !state.ended).map(|state| SplitRange {
            split: state.split.clone(),
            from: state.position,
            until: match &self.extent {
                Extent::Shared => None,
                Extent::CatchUp(until) => Some(until.get(&state.split.id).copied().unwrap_or(state.position)),
            },
        });
        ranges.filter(|range| range.until.is_none_or(|until| range.from < until)).collect()
    }

    /// A bounded source without any split left to read still has to say that it has ended.
    async fn announce_end(&mut self) {
        if matches!(self.extent, Extent::Shared)
            && let Some(state) = self.splits.values().next().cloned()
        {
            self.merged = Watermark::END;
            self.push(state, None, None, Vec::new()).await;
        }
    }

    fn reader_ended(&self) -> Result<Turn> {
        match self.extent {
            Extent::Shared if !self.bounded => Err(Error::unavailable("the reader ended though its source goes on")),
            Extent::Shared | Extent::CatchUp(_) => Ok(Turn::Ended),
        }
    }

    async fn tell_committed(&mut self, reader: &mut dyn SourceReader) {
        let positions = self.committed.borrow_and_update().clone();
        if let Err(error) = reader.committed(&positions).await {
            tracing::warn!(relation = %self.relation.name, %error, "committed positions could not be told");
        }
    }

    /// Looks for new splits; whether there are any. A split that became another thing is an error.
    async fn discover(&mut self) -> Result<bool> {
        let mut found = false;
        // At CREATE a topic that is missing is the user's to mend; from then on it is waited for.
        let splits = self.source.splits().await.map_err(|error| match error.kind {
            ErrorKind::Invalid => Error { kind: ErrorKind::Unavailable, ..error },
            ErrorKind::Unavailable
            | ErrorKind::Data
            | ErrorKind::Internal
            | ErrorKind::Fenced
            | ErrorKind::Exhausted => error,
        })?;
        for mut split in splits {
            match self.splits.get(&split.id) {
                Some(state) if state.split.incarnation == split.incarnation => {}
                Some(state) => return Err(self.made_anew(state).await),
                None => {
                    // Found later: nothing of it was there when the start was resolved, so all of it is new.
                    split.start = Position(0);
                    self.last_row.insert(split.id.clone(), Instant::now());
                    let state = SplitState::found(split.clone(), self.merged);
                    self.splits.insert(split.id, state.clone());
                    self.push(state, None, None, Vec::new()).await;
                    found = true;
                }
            }
        }
        Ok(found)
    }

    /// Why a split can't be read on that another thing has taken the name of. Its connector knows to say what it is.
    async fn made_anew(&self, state: &SplitState) -> Error {
        let range = SplitRange { split: state.split.clone(), from: state.position, until: None };
        if let Err(precise) = self.source.open(vec![range], Vec::new()).await {
            return precise;
        }
        Error::data(format!(
            "split \"{}\" of \"{}\" is not the one that was read before: it was made anew under the same name",
            state.split.id.0, self.relation.name
        ))
        .with_hint("Drop the source and create it again to read what is there now.")
    }

    async fn batch(&mut self, batch: SourceBatch) -> Result<()> {
        let merged_before = self.merged;
        let state =
            self.splits.get_mut(&batch.split).ok_or_else(|| Error::internal("a reader named an unknown split"))?;
        self.last_row.insert(batch.split.clone(), Instant::now());
        if state.idle {
            let first = batch.positions.iter().chain(batch.rejected.iter().map(|record| &record.position)).min();
            state.wake(first.copied().unwrap_or(state.position), merged_before);
        }
        let mut accepted = Vec::new();
        let mut late = Vec::new();
        let mut rejected = batch.rejected;
        for rows in segments(state, &batch.positions) {
            state.clock.floor = state.floor_at(batch.positions[rows.start]).0;
            let part = batch.rows.slice(rows.start, rows.len());
            let outcome = self.acceptor.accept(&part, &mut state.clock)?;
            accepted.push(outcome.rows);
            late.push(outcome.late);
            rejected.extend(outcome.rejected.into_iter().map(|(row, reason)| {
                RejectedRecord {
                    position: batch.positions[rows.start + row],
                    reason,
                    // Connectors that make typed rows themselves have no bytes: what they made is shown.
                    raw: batch
                        .raw
                        .as_ref()
                        .map_or_else(|| row_text(&part, row).into_bytes(), |raw| raw.get(rows.start + row).to_vec()),
                }
            }));
        }
        rejected.sort_by_key(|record| record.position);
        let accepted = joined(accepted)?;
        let late = joined(late)?;
        state.accepted += rows_in(&accepted);
        state.late += rows_in(&late);
        state.rejected += rejected.len() as u64;
        if batch.next < state.position {
            return Err(Error::internal("a reader went back"));
        }
        state.position = batch.next;
        let state = state.clone();
        self.push(state, accepted, late, rejected).await;
        Ok(())
    }

    async fn split_ended(&mut self, split: &SplitId) -> Result<()> {
        let state = self.splits.get_mut(split).ok_or_else(|| Error::internal("a reader named an unknown split"))?;
        match &self.extent {
            Extent::Shared => state.ended = true,
            Extent::CatchUp(until) => state.position = until.get(split).copied().unwrap_or(state.position),
        }
        let state = state.clone();
        self.push(state, None, None, Vec::new()).await;
        Ok(())
    }

    async fn push(
        &mut self,
        state: SplitState,
        rows: Option<RecordBatch>,
        late: Option<RecordBatch>,
        rejected: Vec<RejectedRecord>,
    ) {
        let bounded = self.bounded && matches!(self.extent, Extent::Shared);
        self.merged = merged(self.relation.watermark.as_ref(), &self.splits, bounded, self.merged);
        self.queue.push(PumpItem { state, rows, late, rejected, merged: self.merged }).await;
    }

    fn idle_timeout(&self) -> Option<Duration> {
        let micros = self.relation.watermark.as_ref()?.idle_timeout_micros?;
        matches!(self.extent, Extent::Shared).then(|| Duration::from_micros(micros.unsigned_abs()))
    }

    fn next_idle(&self) -> Option<Instant> {
        let timeout = self.idle_timeout()?;
        let active = self.splits.values().filter(|state| !state.idle && !state.ended);
        active.filter_map(|state| self.last_row.get(&state.split.id)).min().map(|since| *since + timeout)
    }

    async fn mark_idle(&mut self) {
        let Some(timeout) = self.idle_timeout() else {
            return;
        };
        let now = Instant::now();
        let due: Vec<SplitId> =
            self.last_row.iter().filter(|(_, since)| **since + timeout <= now).map(|(id, _)| id.clone()).collect();
        for split in due {
            let Some(state) = self.splits.get_mut(&split).filter(|state| !state.idle && !state.ended) else {
                continue;
            };
            state.idle = true;
            let state = state.clone();
            self.push(state, None, None, Vec::new()).await;
        }
    }
}

/// The rows of a batch cut where another floor begins.
fn segments(state: &SplitState, positions: &[Position]) -> Vec<Range<usize>> {
    let mut cuts = Vec::new();
    let mut start = 0;
    while start < positions.len() {
        let end = match state.floor_at(positions[start]).1 {
            None => positions.len(),
            Some(next) => start + positions[start..].partition_point(|position| *position < next),
        };
        cuts.push(start..end);
        start = end;
    }
    cuts
}

fn joined(parts: Vec<RecordBatch>) -> Result<Option<RecordBatch>> {
    let parts: Vec<RecordBatch> = parts.into_iter().filter(|part| part.num_rows() > 0).collect();
    match parts.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(only.clone())),
        [first, ..] => Ok(Some(compute::concat_batches(&first.schema(), &parts)?)),
    }
}

fn rows_in(batch: &Option<RecordBatch>) -> u64 {
    batch.as_ref().map_or(0, |batch| batch.num_rows() as u64)
}

/// A row as a person reads it: `(1, x, NULL)`.
pub(crate) fn row_text(batch: &RecordBatch, row: usize) -> String {
    let text = |column: &arrow::array::ArrayRef| {
        if column.is_null(row) {
            return "NULL".to_string();
        }
        arrow::util::display::array_value_to_string(column, row).unwrap_or_else(|error| format!("<{error}>"))
    };
    format!("({})", batch.columns().iter().map(text).collect::<Vec<_>>().join(", "))
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
