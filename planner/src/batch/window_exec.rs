//! `tumble` and `hop` in a batch query: repeats every row for the windows that hold it.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef, TimestampMicrosecondType};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::ExecutionPlan;
use futures::{Stream, StreamExt};

use super::expand_exec::{ExpandExec, Expansion};
use crate::bind::{WindowNode, WindowShape};

/// Plans a [`WindowNode`].
pub(super) fn plan(
    node: &WindowNode,
    input: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
) -> Result<Arc<dyn ExecutionPlan>> {
    let windows = Windows { time: node.time_index(), shape: node.shape };
    Ok(Arc::new(ExpandExec::new(input, windows, schema)))
}

/// See the module's text.
#[derive(Clone, Debug)]
struct Windows {
    /// The column of event times.
    time: usize,
    shape: WindowShape,
}

impl fmt::Display for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WindowShape { size_micros, slide_micros, offset_micros } = self.shape;
        write!(f, "{}: time=@{}, size={size_micros}us, slide={slide_micros}us", Self::NAME, self.time)?;
        if offset_micros != 0 {
            write!(f, ", offset={offset_micros}us")?;
        }
        Ok(())
    }
}

impl Expansion for Windows {
    const NAME: &'static str = "WindowExec";

    fn expand(
        &self,
        input: SendableRecordBatchStream,
        schema: SchemaRef,
        _batch_rows: usize,
    ) -> impl Stream<Item = Result<RecordBatch>> + Send + 'static {
        let (time, shape) = (self.time, self.shape);
        input.map(move |batch| assign(&batch?, time, shape, &schema))
    }
}

/// The rows of a batch, once per window; windows of a row in the order of their starts.
fn assign(batch: &RecordBatch, time: usize, shape: WindowShape, schema: &SchemaRef) -> Result<RecordBatch> {
    let times = batch.column(time).as_primitive::<TimestampMicrosecondType>();
    let mut rows: Vec<u32> = Vec::with_capacity(batch.num_rows());
    let mut starts: Vec<i64> = Vec::with_capacity(batch.num_rows());
    let out_of_range = || DataFusionError::Execution("timestamp out of range".to_string());
    for row in (0..times.len()).filter(|row| times.is_valid(*row)) {
        let (first, last) = window_starts(times.value(row), shape).ok_or_else(out_of_range)?;
        let index = u32::try_from(row).map_err(|_| out_of_range())?;
        let mut start = first;
        while start <= last {
            rows.push(index);
            starts.push(start);
            start += shape.slide_micros;
        }
    }
    let ends: Vec<i64> = starts.iter().map(|start| start + shape.size_micros).collect();
    let taken = arrow::compute::take_record_batch(batch, &UInt32Array::from(rows))?;
    let zone = match times.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let column = |micros: Vec<i64>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(micros).with_timezone_opt(zone.clone()))
    };
    let mut columns = taken.columns().to_vec();
    columns.push(column(starts));
    columns.push(column(ends));
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// First and last start of the windows that hold a time; `None` when one is beyond what a timestamp can say.
fn window_starts(time: i64, shape: WindowShape) -> Option<(i64, i64)> {
    let WindowShape { size_micros, slide_micros, offset_micros } = shape;
    let shifted = time.checked_sub(offset_micros)?;
    let last = shifted.checked_sub(shifted.rem_euclid(slide_micros))?.checked_add(offset_micros)?;
    last.checked_add(size_micros)?;
    // The earliest start is the smallest one above `time - size`.
    let windows = (last.checked_sub(time)?.checked_add(size_micros)? - 1).div_euclid(slide_micros);
    let first = last.checked_sub(windows.checked_mul(slide_micros)?)?;
    Some((first, last))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_time_is_in_every_window_that_covers_it() {
        for (size, slide, offset) in [(10, 10, 0), (10, 5, 0), (10, 3, 0), (7, 2, 1), (10, 4, -3)] {
            let shape = WindowShape { size_micros: size, slide_micros: slide, offset_micros: offset };
            for time in -25..25 {
                let (first, last) = window_starts(time, shape).unwrap();
                let expected: Vec<i64> = (-60..60)
                    .filter(|start| (start - offset) % slide == 0 && *start <= time && time < start + size)
                    .collect();
                let mut actual = Vec::new();
                let mut start = first;
                while start <= last {
                    actual.push(start);
                    start += slide;
                }
                assert_eq!(actual, expected, "time {time}, {shape:?}");
            }
        }
    }

    #[test]
    fn times_at_the_ends_of_the_range_are_refused() {
        let shape = WindowShape { size_micros: 10, slide_micros: 10, offset_micros: 0 };
        assert_eq!(window_starts(i64::MAX, shape), None);
        assert_eq!(window_starts(i64::MIN, shape), None);
    }
}
