//! Assigns rows to tumbling or hopping windows. Stateless.
//!
//! A window with start `s` holds the event times in `[s, s + size)`. Starts are the multiples of the slide,
//! shifted by the offset, below zero too.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};

use crate::batch::ChangeBatch;
use crate::error::{Error, Result};
use crate::limits::BATCH_ROWS;
use crate::operator::{Operator, Output, Port};
use crate::operators::{emit, record_batch, reject};
use crate::state::{event_micros, fixed};

/// The windows of an event time, all in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    pub(super) size: i64,
    pub(super) slide: i64,
    pub(super) offset: i64,
}

impl Windows {
    /// Starts of the windows that hold a time, the earliest first; `None` when one of them is no timestamp.
    fn starts(self, time: i64) -> Option<impl Iterator<Item = i64>> {
        let last = time.checked_sub(time.checked_sub(self.offset)?.rem_euclid(self.slide))?;
        // The earliest start is the first one above `time - size`.
        let reach = self.size.checked_sub(time.checked_sub(last)?)?;
        let count = if reach <= 0 { 0 } else { (reach - 1) / self.slide + 1 };
        let first = last.checked_sub(self.slide.checked_mul((count - 1).max(0))?)?;
        last.checked_add(self.size)?;
        Some((0..count).map(move |index| first + index * self.slide))
    }
}

/// Appends `window_start` and `window_end`, repeating a row for every window that holds it.
pub(super) struct Window {
    time_column: usize,
    windows: Windows,
    schema: SchemaRef,
}

impl Window {
    pub(super) fn new(time_column: usize, windows: Windows, schema: SchemaRef) -> Result<Self> {
        if windows.size <= 0 || windows.slide <= 0 {
            return Err(Error::invalid("the size and the slide of a window must be positive"));
        }
        let ends_in_bounds = schema
            .fields()
            .iter()
            .rev()
            .take(2)
            .filter(|field| matches!(field.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _)));
        if ends_in_bounds.count() != 2 {
            return Err(Error::internal("a window's output ends with two timestamps in microseconds"));
        }
        Ok(Self { time_column, windows, schema })
    }

    fn emit_rows(&self, batch: &ChangeBatch, assigned: &mut Assigned, out: &mut dyn Output) -> Result<()> {
        let Assigned { rows, starts } = std::mem::take(assigned);
        // A tumbling window repeats nothing: the columns are passed on as they are.
        let identical = rows.len() == batch.len() && rows.iter().enumerate().all(|(at, row)| at == *row as usize);
        let indices = UInt32Array::from(rows);
        let batch = if identical { batch.clone() } else { batch.take(&indices)? };
        let mut columns = batch.rows.columns().to_vec();
        let ends = starts.iter().map(|start| start + self.windows.size).collect();
        for bounds in [starts, ends] {
            columns.push(fixed::from_words(bounds, None, self.schema.field(columns.len()).data_type())?);
        }
        emit(batch.with_rows(record_batch(&self.schema, columns, batch.len())?), out)
    }
}

/// Rows and the starts of their windows.
#[derive(Default)]
struct Assigned {
    rows: Vec<u32>,
    starts: Vec<i64>,
}

impl Operator for Window {
    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, out: &mut dyn Output) -> Result<()> {
        let times: ArrayRef = Arc::clone(batch.rows.column(self.time_column));
        let micros = event_micros(&times)?;
        let mut assigned = Assigned::default();
        let mut failures = Vec::new();
        for row in 0..micros.len() {
            if micros.is_null(row) {
                failures.push((row, "the event time is null".to_owned()));
                continue;
            }
            let Some(starts) = self.windows.starts(micros.value(row)) else {
                failures.push((row, "timestamp out of range".to_owned()));
                continue;
            };
            for start in starts {
                assigned.rows.push(row as u32);
                assigned.starts.push(start);
            }
            if assigned.rows.len() >= 2 * BATCH_ROWS {
                self.emit_rows(&batch, &mut assigned, out)?;
            }
        }
        reject(&batch, failures, out)?;
        self.emit_rows(&batch, &mut assigned, out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use arrow::array::TimestampMicrosecondArray;
    use arrow::datatypes::{Field, Schema};

    use super::*;
    use crate::operators::testing::Collector;

    fn starts(size: i64, slide: i64, offset: i64, time: i64) -> Option<Vec<i64>> {
        Windows { size, slide, offset }.starts(time).map(Iterator::collect)
    }

    #[test]
    fn starts_are_floored_also_below_zero() {
        assert_eq!(starts(10, 10, 0, 25), Some(vec![20]));
        assert_eq!(starts(10, 10, 0, 20), Some(vec![20]));
        assert_eq!(starts(10, 10, 0, -1), Some(vec![-10]));
        assert_eq!(starts(10, 10, 0, -10), Some(vec![-10]));
        assert_eq!(starts(10, 10, 3, 2), Some(vec![-7]));
        assert_eq!(starts(30, 10, 0, 5), Some(vec![-20, -10, 0]));
        assert_eq!(starts(25, 10, 0, 5), Some(vec![-10, 0]));
        assert_eq!(starts(25, 10, 0, 4), Some(vec![-20, -10, 0]));
        assert_eq!(starts(5, 10, 0, 7), Some(vec![]));
        assert_eq!(starts(10, 10, 0, i64::MAX), None);
        assert_eq!(starts(10, 10, 0, i64::MIN), None);
    }

    #[test]
    fn every_window_holds_its_row_and_none_is_missing() {
        for (size, slide, offset) in [(10, 10, 0), (30, 10, 4), (25, 10, -3), (7, 3, 1), (3, 7, 2)] {
            for time in -60..60 {
                let expected: Vec<i64> = (-200..200)
                    .filter(|start| (start - offset) % slide == 0 && *start <= time && time < start + size)
                    .collect();
                assert_eq!(starts(size, slide, offset, time), Some(expected), "{size} {slide} {offset} {time}");
            }
        }
    }

    #[test]
    fn rows_are_repeated_with_their_weights() {
        let micros = |name| Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, None), true);
        let schema = Arc::new(Schema::new(vec![micros("ts"), micros("window_start"), micros("window_end")]));
        let rows = arrow::array::RecordBatch::try_new(
            Arc::new(Schema::new(vec![micros("ts")])),
            vec![Arc::new(TimestampMicrosecondArray::from(vec![Some(5), None, Some(12)]))],
        )
        .unwrap();
        let batch = ChangeBatch::weighted(rows, vec![1, 1, -2].into());
        let windows = Windows { size: 20, slide: 10, offset: 0 };
        let mut window = Window::new(0, windows, schema).unwrap();
        let mut out = Collector::default();
        window.on_batch(Port(0), batch, &mut out).unwrap();
        let micros = |value: i64| {
            let seconds = if value < 0 { "1969-12-31T23:59:59" } else { "1970-01-01T00:00:00" };
            match value.rem_euclid(1_000_000) {
                0 => seconds.to_owned(),
                fraction => format!("{seconds}.{fraction:06}"),
            }
        };
        let row = |ts, start, end| format!("{}|{}|{}", micros(ts), micros(start), micros(end));
        let mut expected = vec![(row(5, -10, 10), 1), (row(5, 0, 20), 1), (row(12, 0, 20), -2), (row(12, 10, 30), -2)];
        expected.sort();
        assert_eq!(out.rows(), expected);
        assert_eq!(out.rejected().len(), 1);
    }
}
