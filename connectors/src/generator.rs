//! Sources that make rows up: what `nexmark` and `datagen` have in common.
//!
//! A row is a pure function of its number, and nothing of a generator is remembered but positions. With a rate, a
//! position is an absolute moment: row `p` of a split is due `p` steps after 1970-01-01, a new split starts at
//! what is due at CREATE, and the number of a row counts from there. So restarts go on exactly, `ends` needs
//! nobody's memory, and rows that fell due while nobody read are made up for. Without a rate positions count from
//! 0 and every row is due at once.
//!
//! Row `k` of split `i` of `n` is row `k * n + i` of the whole.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use millstream_runtime::graph::Clock;
use millstream_runtime::limits::BATCH_ROWS;
use millstream_runtime::source::{
    ColumnOrigin, ConnectorSpec, Position, Source, SourceBatch, SourceEvent, SourceReader, Split, SplitId, SplitRange,
};
use millstream_runtime::{Error, Result};

/// Rows are handed over that often at least, so that a slow generator is seen at once; and a clock that is set by
/// hand is looked at that often.
const TICK_MICROS: i64 = 10_000;

/// Rows per batch when many are due: one batch takes about a millisecond, after which other tasks get their turn.
const CHUNK_ROWS: u64 = BATCH_ROWS as u64 / 2;

/// Makes rows up.
pub(crate) trait Generator: Debug + Send + Sync {
    /// The rows with these numbers, with the given columns of the declared schema. `began_micros` is when row 0
    /// was due; `None` without a rate.
    fn rows(&self, numbers: Numbers, began_micros: Option<i64>, columns: &[usize]) -> Result<RecordBatch>;
}

/// Checks what a generator has no use for. An encoding is not needed; the usual one is accepted, since scripts for
/// RisingWave give it to `datagen`.
pub(crate) fn check_declaration(spec: &ConnectorSpec) -> Result<()> {
    if let Some(format) = &spec.format
        && !matches!((format.format.as_str(), format.encode.as_str()), ("PLAIN", "JSON") | ("NATIVE", "NATIVE"))
    {
        let (connector, format, encode) = (&spec.connector, &format.format, &format.encode);
        return Err(Error::invalid(format!("connector '{connector}' has no FORMAT {format} ENCODE {encode}"))
            .with_hint("It makes typed rows: leave the encoding out."));
    }
    match spec.origins.iter().position(|origin| *origin != ColumnOrigin::Field) {
        None => Ok(()),
        Some(column) => {
            let name = spec.schema.field(column).name();
            Err(Error::invalid(format!("column \"{name}\": connector '{}' has nothing to INCLUDE", spec.connector)))
        }
    }
}

/// Which rows: `first`, `first + step`, ...
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// The first one.
    pub(crate) first: u64,
    /// From one to the next.
    pub(crate) step: u64,
    /// How many.
    pub(crate) count: u64,
}

impl Numbers {
    /// The numbers in order.
    pub(crate) fn iter(self) -> impl Iterator<Item = u64> + Clone {
        (0..self.count).map(move |index| self.first + index * self.step)
    }
}

/// How many rows there are, how fast, and in how many splits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// How fast all splits together make rows; `None` as fast as they are taken.
    pub(crate) rate: Option<Rate>,
    /// Rows of all splits together; `None` for ever.
    pub(crate) row_count: Option<u64>,
    /// At least one.
    pub(crate) split_count: u64,
}

/// So many rows in so many microseconds; neither is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) rows: u64,
    pub(crate) micros: u64,
}

impl Rate {
    /// Rows per second; `None` for 0, which is no limit.
    pub(crate) fn per_second(rows: u64) -> Option<Self> {
        (rows > 0).then_some(Self { rows, micros: 1_000_000 })
    }
}

impl Pace {
    /// Rows of a split that are due since 1970; all of them without a rate.
    fn due(self, now_micros: i64) -> u64 {
        let Some(rate) = self.rate else { return u64::MAX };
        let micros = u128::try_from(now_micros).unwrap_or(0);
        u64::try_from(micros * u128::from(rate.rows) / self.split_micros(rate)).unwrap_or(u64::MAX)
    }

    /// When the row at a position is due.
    fn due_at_micros(self, position: u64) -> Option<i64> {
        let rate = self.rate?;
        let micros = ((u128::from(position) + 1) * self.split_micros(rate)).div_ceil(u128::from(rate.rows));
        Some(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    /// Microseconds in which one split makes the rows of the rate.
    fn split_micros(self, rate: Rate) -> u128 {
        u128::from(rate.micros) * u128::from(self.split_count)
    }

    /// Rows of the split with this index.
    fn split_rows(self, split: u64) -> Option<u64> {
        self.row_count.map(|rows| (rows + self.split_count - 1 - split) / self.split_count)
    }
}

/// A source over a [`Generator`].
#[derive(Debug)]
pub(crate) struct GeneratorSource {
    generator: Arc<dyn Generator>,
    pace: Pace,
    clock: SharedClock,
    /// The start of the splits, once this instance has seen it: with a rate and a number of rows the end is
    /// counted from it.
    start: Mutex<Option<u64>>,
}

/// A clock, opaque to `Debug`.
#[derive(Clone)]
pub(crate) struct SharedClock(pub(crate) Arc<dyn Clock>);

impl Debug for SharedClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

impl SharedClock {
    fn micros(&self) -> i64 {
        self.0.now().0
    }
}

impl GeneratorSource {
    /// A source that makes rows at a pace.
    pub(crate) fn new(generator: Arc<dyn Generator>, pace: Pace, clock: Arc<dyn Clock>) -> Self {
        Self { generator, pace, clock: SharedClock(clock), start: Mutex::new(None) }
    }

    fn start(&self) -> std::sync::MutexGuard<'_, Option<u64>> {
        self.start.lock().expect("nothing panics while it holds the start")
    }

    fn reader(&self, ranges: Vec<SplitRange>, columns: Vec<usize>) -> Result<GeneratorReader> {
        let mut splits = VecDeque::new();
        for range in ranges {
            let index = range.split.id.0.parse::<u64>().ok().filter(|index| *index < self.pace.split_count);
            let index = index.ok_or_else(|| Error::data(format!("the generator has no split {}", range.split.id.0)))?;
            let start = range.split.start.0;
            *self.start() = Some(start);
            let last = self.pace.split_rows(index).map_or(u64::MAX, |rows| start.saturating_add(rows));
            let end = range.until.map_or(last, |until| until.0.min(last));
            splits.push_back(SplitProgress { id: range.split.id, index, start, next: range.from.0.max(start), end });
        }
        Ok(GeneratorReader {
            generator: Arc::clone(&self.generator),
            pace: self.pace,
            clock: self.clock.clone(),
            columns,
            splits,
        })
    }
}

#[async_trait]
impl Source for GeneratorSource {
    async fn splits(&self) -> Result<Vec<Split>> {
        let now = if self.pace.rate.is_some() { self.pace.due(self.clock.micros()) } else { 0 };
        let start = *self.start().get_or_insert(now);
        let split =
            |index: u64| Split { id: SplitId(index.to_string()), start: Position(start), incarnation: String::new() };
        Ok((0..self.pace.split_count).map(split).collect())
    }

    async fn ends(&self) -> Result<BTreeMap<SplitId, Position>> {
        let due = self.pace.due(self.clock.micros());
        let start = if self.pace.rate.is_some() { *self.start() } else { Some(0) };
        let end = |index: u64| match (self.pace.split_rows(index), start) {
            (Some(rows), Some(start)) => due.min(start.saturating_add(rows)),
            // Neither rate nor limit: there are always more rows, and none that anybody waits for.
            (None, _) if self.pace.rate.is_none() => 0,
            _ => due,
        };
        Ok((0..self.pace.split_count).map(|index| (SplitId(index.to_string()), Position(end(index)))).collect())
    }

    async fn open(&self, ranges: Vec<SplitRange>, columns: Vec<usize>) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(self.reader(ranges, columns)?))
    }

    fn bounded(&self) -> bool {
        self.pace.row_count.is_some()
    }
}

/// Reads some splits of a generator, in turn.
#[derive(Debug)]
struct GeneratorReader {
    generator: Arc<dyn Generator>,
    pace: Pace,
    clock: SharedClock,
    columns: Vec<usize>,
    /// The one whose turn it is comes first.
    splits: VecDeque<SplitProgress>,
}

#[derive(Debug)]
struct SplitProgress {
    id: SplitId,
    index: u64,
    start: u64,
    next: u64,
    end: u64,
}

impl GeneratorReader {
    /// The next event that is due, without waiting.
    fn poll(&mut self) -> Result<Option<SourceEvent>> {
        let due = self.pace.due(self.clock.micros());
        for _ in 0..self.splits.len() {
            let split = self.splits.front_mut().expect("as many as there are");
            if split.next >= split.end {
                let ended = self.splits.pop_front().expect("it was there");
                return Ok(Some(SourceEvent::SplitEnded(ended.id)));
            }
            if split.next < due.min(split.end) {
                let batch = self.generate(due)?;
                self.splits.rotate_left(1);
                return Ok(Some(SourceEvent::Batch(batch)));
            }
            self.splits.rotate_left(1);
        }
        Ok(None)
    }

    /// Rows of the first split.
    fn generate(&mut self, due: u64) -> Result<SourceBatch> {
        let split = self.splits.front_mut().expect("the caller has looked at it");
        let next = due.min(split.end).min(split.next + CHUNK_ROWS);
        let numbers = Numbers {
            first: (split.next - split.start) * self.pace.split_count + split.index,
            step: self.pace.split_count,
            count: next - split.next,
        };
        let began_micros = self.pace.due_at_micros(split.start);
        let rows = self.generator.rows(numbers, began_micros, &self.columns)?;
        let positions = (split.next..next).map(Position).collect();
        split.next = next;
        Ok(SourceBatch {
            split: split.id.clone(),
            rows,
            positions,
            raw: None,
            rejected: Vec::new(),
            next: Position(next),
        })
    }

    /// Time until the next row is due, as the clock says now; at most a tick, and at least a part of one, so that
    /// rows come in batches.
    fn pause(&self) -> Duration {
        let due = self.splits.iter().filter_map(|split| self.pace.due_at_micros(split.next)).min();
        let micros = due.map_or(TICK_MICROS, |due| due.saturating_sub(self.clock.micros()));
        Duration::from_micros(micros.clamp(TICK_MICROS / 4, TICK_MICROS).unsigned_abs())
    }
}

#[async_trait]
impl SourceReader for GeneratorReader {
    async fn next(&mut self) -> Result<Option<SourceEvent>> {
        // A generator is always ready: without this its task would never let go of its thread.
        tokio::task::yield_now().await;
        loop {
            if self.splits.is_empty() {
                return Ok(None);
            }
            if let Some(event) = self.poll()? {
                return Ok(Some(event));
            }
            tokio::time::sleep(self.pause()).await;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use millstream_runtime::time::Stamp;

    use super::*;

    /// A clock that stands still until it is set.
    #[derive(Debug, Default)]
    pub(crate) struct ManualClock(pub(crate) AtomicI64);

    impl Clock for ManualClock {
        fn now(&self) -> Stamp {
            Stamp(self.0.load(Ordering::SeqCst))
        }
    }

    /// All rows that a bounded source gives when its only split is read from a position on.
    pub(crate) async fn read_from(source: &dyn Source, from: Position, columns: Vec<usize>) -> RecordBatch {
        let split = source.splits().await.unwrap().remove(0);
        let mut reader = source.open(vec![SplitRange { split, from, until: None }], columns).await.unwrap();
        let mut batches = Vec::new();
        while let Some(event) = reader.next().await.unwrap() {
            if let SourceEvent::Batch(batch) = event {
                batches.push(batch.rows);
            }
        }
        arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
    }

    #[test]
    fn a_row_is_due_exactly_when_it_is_counted() {
        for rate in [1, 3, 7, 10_000, 1_000_001] {
            for split_count in [1, 3] {
                let pace = Pace { rate: Rate::per_second(rate), row_count: None, split_count };
                for position in [0, 1, 12_345, 17_000_000_000] {
                    let due_at = pace.due_at_micros(position).unwrap();
                    assert!(pace.due(due_at) > position, "{rate} {split_count} {position}");
                    assert!(pace.due(due_at - 1) <= position, "{rate} {split_count} {position}");
                }
            }
        }
    }

    #[test]
    fn splits_share_the_rows() {
        let pace = Pace { rate: None, row_count: Some(10), split_count: 4 };
        let rows: Vec<_> = (0..4).map(|split| pace.split_rows(split).unwrap()).collect();
        assert_eq!(rows, [3, 3, 2, 2]);
    }

    /// Its only column is the number of the row.
    #[derive(Debug)]
    struct Counting;

    impl Generator for Counting {
        fn rows(&self, numbers: Numbers, _: Option<i64>, _: &[usize]) -> Result<RecordBatch> {
            let numbers: arrow::array::UInt64Array = numbers.iter().collect();
            Ok(RecordBatch::try_from_iter([("n", Arc::new(numbers) as arrow::array::ArrayRef)])?)
        }
    }

    #[tokio::test]
    async fn rows_come_when_they_are_due_and_a_restart_goes_on() {
        let clock = Arc::new(ManualClock(AtomicI64::new(1_700_000_000_000_000)));
        let pace = Pace { rate: Rate::per_second(10), row_count: None, split_count: 1 };
        let source = GeneratorSource::new(Arc::new(Counting), pace, Arc::clone(&clock) as Arc<dyn Clock>);
        let split = source.splits().await.unwrap().remove(0);
        assert_eq!(source.ends().await.unwrap()[&split.id], split.start);

        let range = SplitRange { split: split.clone(), from: split.start, until: None };
        let mut reader = source.reader(vec![range.clone()], vec![0]).unwrap();
        assert!(reader.poll().unwrap().is_none(), "no row is due");
        clock.0.fetch_add(500_000, Ordering::SeqCst);
        let Some(SourceEvent::Batch(batch)) = reader.next().await.unwrap() else { panic!("five rows are due") };
        assert_eq!(batch.rows.num_rows(), 5);
        assert_eq!(source.ends().await.unwrap()[&split.id], batch.next);

        // Another process, whose own splits would start later, reads on where this one stopped.
        clock.0.fetch_add(200_000, Ordering::SeqCst);
        let later = GeneratorSource::new(Arc::new(Counting), pace, clock);
        let mut reader = later.open(vec![SplitRange { from: batch.next, ..range }], vec![0]).await.unwrap();
        let Some(SourceEvent::Batch(batch)) = reader.next().await.unwrap() else { panic!("two rows are due") };
        let numbers = batch.rows.column(0).as_any().downcast_ref::<arrow::array::UInt64Array>().unwrap();
        assert_eq!(numbers.values(), &[5, 6]);
        assert_eq!(batch.positions, [Position(split.start.0 + 5), Position(split.start.0 + 6)]);
    }
}
