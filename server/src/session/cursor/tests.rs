//! Motions against a model that knows all rows, and what cursors keep.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::array::{Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, UnboundedMemoryPool};
use futures::StreamExt;
use millstream_planner::cursor::Motion;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::rows::CursorRows;
use super::source::Source;
use crate::engine::limits::{CURSOR_BYTES, CURSOR_BYTES_UNASKED};

fn batch(values: impl IntoIterator<Item = i64>) -> RecordBatch {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(values))]).unwrap()
}

fn cursor(batches: Vec<RecordBatch>, scroll: Option<bool>) -> (CursorRows, Arc<dyn MemoryPool>) {
    let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
    let source = Source::Query(futures::stream::iter(batches.into_iter().map(Ok)).boxed());
    (CursorRows::new("c", source, scroll, MemoryConsumer::new("test").register(&pool)), pool)
}

/// The rows that a motion gives.
async fn fetched(rows: &mut CursorRows, motion: Motion) -> Result<Vec<i64>, &'static str> {
    let mut run = rows.begin(motion).await.map_err(|error| error.sqlstate)?;
    let mut values = Vec::new();
    while let Some(batch) = rows.next(&mut run).await.map_err(|error| error.sqlstate)? {
        let column = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap().clone();
        values.extend(column.values().iter().copied());
    }
    Ok(values)
}

/// All rows are known, and are the numbers from 1; the place is as in `CursorRows`.
struct Model {
    rows: i64,
    at: i64,
}

impl Model {
    /// Steps one by one, as the standard words it.
    fn step(&mut self, forward: bool) -> Option<i64> {
        self.at = if forward { (self.at + 1).min(self.rows + 1) } else { (self.at - 1).max(0) };
        (1..=self.rows).contains(&self.at).then_some(self.at)
    }

    fn fetched(&mut self, motion: Motion) -> Vec<i64> {
        let steps = |model: &mut Self, forward: bool, count: Option<u64>| {
            let mut given = Vec::new();
            while count.is_none_or(|count| (given.len() as u64) < count)
                && let Some(row) = model.step(forward)
            {
                given.push(row);
            }
            given
        };
        let last = |given: Vec<i64>, wanted: u64| match given.len() as u64 == wanted {
            true => given.last().copied().into_iter().collect(),
            false => Vec::new(),
        };
        match motion {
            Motion::Forward(Some(0)) | Motion::Backward(Some(0)) | Motion::Relative(0) => {
                (1..=self.rows).contains(&self.at).then_some(self.at).into_iter().collect()
            }
            Motion::Forward(count) => steps(self, true, count),
            Motion::Backward(count) => steps(self, false, count),
            Motion::Absolute(0) => {
                self.at = 0;
                Vec::new()
            }
            Motion::Absolute(number) => {
                self.at = if number > 0 { 0 } else { self.rows + 1 };
                last(steps(self, number > 0, Some(number.unsigned_abs())), number.unsigned_abs())
            }
            Motion::Relative(rows) => last(steps(self, rows > 0, Some(rows.unsigned_abs())), rows.unsigned_abs()),
        }
    }
}

fn random_motion(random: &mut StdRng) -> Motion {
    let count = |random: &mut StdRng| random.random_range(-12..=12);
    match random.random_range(0..8) {
        0 => Motion::Forward(None),
        1 => Motion::Backward(None),
        2 => Motion::Absolute(count(random)),
        3 | 4 => Motion::Relative(count(random)),
        5 => Motion::backward(count(random)),
        _ => Motion::forward(count(random)),
    }
}

fn random_batches(random: &mut StdRng) -> (i64, Vec<RecordBatch>) {
    let (mut rows, mut batches) = (0, Vec::new());
    for _ in 0..random.random_range(0..6) {
        let more = random.random_range(0..6);
        batches.push(batch(rows + 1..=rows + more));
        rows += more;
    }
    (rows, batches)
}

/// FETCH gives what the model gives, MOVE counts it, and both end at the same place.
#[tokio::test]
async fn motions_do_what_the_model_does() {
    let seed: u64 = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..2_000 {
        let (rows, batches) = random_batches(&mut random);
        let scroll = if random.random_bool(0.5) { Some(true) } else { None };
        let (mut cursor, _) = cursor(batches, scroll);
        let mut model = Model { rows, at: 0 };
        for _ in 0..12 {
            let motion = random_motion(&mut random);
            let expected = model.fetched(motion);
            let told = || format!("seed {seed}, round {round}, {rows} rows, {motion:?}");
            if random.random_bool(0.3) {
                assert_eq!(cursor.pass(motion).await.unwrap(), expected.len() as u64, "{}", told());
            } else {
                assert_eq!(fetched(&mut cursor, motion).await, Ok(expected), "{}", told());
            }
            if random.random_bool(0.1) {
                cursor.hold().await.unwrap();
            }
        }
    }
}

/// One that only goes forward gives the same rows, refuses what goes back, and keeps the batch that it is in.
#[tokio::test]
async fn forward_only_keeps_nothing_behind_it() {
    let seed: u64 = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..500 {
        let (rows, batches) = random_batches(&mut random);
        let (mut cursor, pool) = cursor(batches, Some(false));
        let mut model = Model { rows, at: 0 };
        for _ in 0..8 {
            let motion = match random_motion(&mut random) {
                Motion::Backward(_) => Motion::forward(1),
                Motion::Relative(rows) => Motion::Relative(rows.abs().max(1)),
                Motion::Absolute(row) => Motion::Absolute(row.abs().max(model.at + 1)),
                Motion::Forward(rows) => Motion::Forward(rows.map(|rows| rows.max(1))),
            };
            let expected = model.fetched(motion);
            assert_eq!(fetched(&mut cursor, motion).await, Ok(expected), "seed {seed}, round {round}, {motion:?}");
            assert!(cursor.kept_batches() <= 1, "seed {seed}, round {round}");
            for back in [Motion::backward(1), Motion::Relative(-1), Motion::Absolute(-1), Motion::Backward(None)] {
                assert_eq!(fetched(&mut cursor, back).await, Err("55000"), "seed {seed}, round {round}");
            }
        }
        assert_eq!(pool.reserved(), 0);
        cursor.hold().await.unwrap();
        assert_eq!(fetched(&mut cursor, Motion::Forward(None)).await, Ok(model.fetched(Motion::Forward(None))));
        assert_eq!((cursor.kept_batches(), pool.reserved()), (0, 0), "what was held is let go of as it is given");
    }
}

/// Batches of 8 MiB that all are the same memory.
fn large(bytes: usize) -> Vec<RecordBatch> {
    let one = batch(0..1 << 20);
    vec![one; bytes.div_ceil(8 << 20)]
}

#[tokio::test]
async fn what_is_kept_has_a_bound() {
    let (mut scrolls, pool) = cursor(large(CURSOR_BYTES + (8 << 20)), Some(true));
    let read = scrolls.pass(Motion::forward(1 << 20)).await.unwrap();
    assert_eq!((read, pool.reserved()), (1 << 20, 8 << 20));
    let error = scrolls.pass(Motion::Forward(None)).await.unwrap_err();
    assert_eq!(error.sqlstate, "54000", "{error:?}");
    assert!(error.message.contains("more than 256 MiB"), "{error:?}");
    drop(scrolls);
    assert_eq!(pool.reserved(), 0);

    // Nobody asked it to go back: it stops to be able to, and goes on.
    let rows = (large(CURSOR_BYTES + (8 << 20)).len() as u64) << 20;
    let (mut unasked, pool) = cursor(large(CURSOR_BYTES + (8 << 20)), None);
    assert!(unasked.is_scrollable() && CURSOR_BYTES_UNASKED < 8 << 20);
    assert_eq!(unasked.pass(Motion::Forward(None)).await.unwrap(), rows);
    assert_eq!((unasked.is_scrollable(), unasked.kept_batches(), pool.reserved()), (false, 0, 0));

    let (mut forward, pool) = cursor(large(CURSOR_BYTES + (8 << 20)), Some(false));
    assert_eq!(forward.pass(Motion::Forward(None)).await.unwrap(), rows);
    assert_eq!(pool.reserved(), 0);
    let (mut held, _) = cursor(large(CURSOR_BYTES + (8 << 20)), Some(false));
    assert_eq!(held.hold().await.unwrap_err().sqlstate, "54000");
}

/// A held row of a large batch does not keep the batch.
#[tokio::test]
async fn held_rows_are_in_memory_of_their_own() {
    let (mut held, pool) = cursor(vec![batch(0..1 << 16).slice(5, 2)], Some(true));
    held.hold().await.unwrap();
    assert_eq!(pool.reserved(), 16);
    assert!(held.kept_memory() < 1_000, "{}", held.kept_memory());
    assert_eq!(fetched(&mut held, Motion::Forward(None)).await, Ok(vec![5, 6]));
}
