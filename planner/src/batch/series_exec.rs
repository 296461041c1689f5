//! `generate_series` in a batch query: its values, made as they are asked for.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{
    DataType, Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, SchemaRef, TimestampMicrosecondType,
};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use futures::{Stream, StreamExt, TryFutureExt, TryStreamExt};

use super::expand_exec::{ExpandExec, Expansion};
use crate::bind::SeriesNode;
use crate::error::{PlanError, PlanErrorKind};
use crate::functions::shifted;
use crate::values::Zone;

/// Plans a [`SeriesNode`].
pub(super) fn plan(
    node: &SeriesNode,
    input: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
) -> Result<Arc<dyn ExecutionPlan>> {
    // A series never waits: it gives way to others by itself.
    Ok(Arc::new(CooperativeExec::new(Arc::new(ExpandExec::new(input, SeriesOfRows { zone: node.zone }, schema)))))
}

/// See the module's text.
#[derive(Clone, Debug)]
struct SeriesOfRows {
    zone: Zone,
}

impl fmt::Display for SeriesOfRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAME)
    }
}

impl Expansion for SeriesOfRows {
    const NAME: &'static str = "SeriesExec";

    fn expand(
        &self,
        input: SendableRecordBatchStream,
        schema: SchemaRef,
        batch_rows: usize,
    ) -> impl Stream<Item = Result<RecordBatch>> + Send + 'static {
        let zone = self.zone;
        let batches = input.and_then(move |batch| {
            let schema = Arc::clone(&schema);
            std::future::ready(
                (0..batch.num_rows()).map(|row| Series::of(&batch, row, zone)).collect::<Result<Vec<_>>>(),
            )
            .map_ok(move |series| values(series, batch_rows, schema))
        });
        batches.try_flatten()
    }
}

fn values(
    series: Vec<Option<Series>>,
    batch_rows: usize,
    schema: SchemaRef,
) -> impl Stream<Item = Result<RecordBatch>> {
    futures::stream::iter(series.into_iter().flatten()).flat_map(move |series| {
        let schema = Arc::clone(&schema);
        futures::stream::iter(series.batches(batch_rows))
            .map(move |values| Ok(RecordBatch::try_new(Arc::clone(&schema), vec![values?])?))
    })
}

/// One series, as far as it has not been made.
enum Series {
    Integers { next: Option<i64>, stop: i64, step: i64, narrow: bool },
    Times { next: Option<i64>, stop: i64, step: IntervalMonthDayNano, upwards: bool, data_type: DataType, zone: Zone },
}

impl Series {
    /// The series of a row; `None` when one of its values is NULL.
    fn of(row: &RecordBatch, number: usize, zone: Zone) -> Result<Option<Self>> {
        if row.columns().iter().any(|column| column.is_null(number)) {
            return Ok(None);
        }
        let integer = |column: usize| match row.column(column).data_type() {
            DataType::Int32 => i64::from(row.column(column).as_primitive::<Int32Type>().value(number)),
            _ => row.column(column).as_primitive::<Int64Type>().value(number),
        };
        let zero = || {
            let error = PlanError::new(PlanErrorKind::InvalidParameterValue, "step size cannot equal zero");
            DataFusionError::External(Box::new(error))
        };
        if let DataType::Int32 | DataType::Int64 = row.column(0).data_type() {
            let narrow = *row.column(0).data_type() == DataType::Int32;
            let (next, stop, step) = (Some(integer(0)), integer(1), integer(2));
            return if step == 0 { Err(zero()) } else { Ok(Some(Self::Integers { next, stop, step, narrow })) };
        }
        let interval = row.column(2).as_primitive::<IntervalMonthDayNanoType>().value(number);
        // Postgres compares intervals by months of 30 days and days of 24 hours.
        const DAY_NANOS: i128 = 86_400_000_000_000;
        let days = i128::from(interval.months) * 30 + i128::from(interval.days);
        let length = days * DAY_NANOS + i128::from(interval.nanoseconds);
        if length == 0 {
            return Err(zero());
        }
        let value = |column: usize| row.column(column).as_primitive::<TimestampMicrosecondType>().value(number);
        let data_type = row.column(0).data_type().clone();
        let zone = if matches!(data_type, DataType::Timestamp(_, Some(_))) { zone } else { Zone::Utc };
        let (next, stop) = (Some(value(0)), value(1));
        Ok(Some(Self::Times { next, stop, step: interval, upwards: length > 0, data_type, zone }))
    }

    /// Its values, at most so many at a time.
    fn batches(mut self, batch_rows: usize) -> impl Iterator<Item = Result<ArrayRef>> {
        std::iter::from_fn(move || match self.batch(batch_rows) {
            Ok(values) if values.is_empty() => None,
            values => Some(values),
        })
    }

    fn batch(&mut self, batch_rows: usize) -> Result<ArrayRef> {
        match self {
            Self::Integers { next, stop, step, narrow } => {
                let mut values: Vec<i64> = Vec::new();
                while let Some(value) = next.filter(|value| if *step > 0 { value <= stop } else { value >= stop })
                    && values.len() < batch_rows
                {
                    values.push(value);
                    // Beyond the type's end there is nothing more.
                    *next = value.checked_add(*step);
                }
                let values = arrow::array::Int64Array::from(values);
                let data_type = if *narrow { DataType::Int32 } else { DataType::Int64 };
                Ok(arrow::compute::cast(&values, &data_type)?)
            }
            Self::Times { next, stop, step, upwards, data_type, zone } => {
                let mut values: Vec<i64> = Vec::new();
                while let Some(value) = next.filter(|value| if *upwards { value <= stop } else { value >= stop })
                    && values.len() < batch_rows
                {
                    values.push(value);
                    *next = Some(shifted(*zone, value, *step)?);
                }
                let marked = match data_type {
                    DataType::Timestamp(_, marked) => marked.clone(),
                    _ => None,
                };
                Ok(Arc::new(TimestampMicrosecondArray::from(values).with_timezone_opt(marked)))
            }
        }
    }
}
