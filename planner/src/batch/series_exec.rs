//! `generate_series` in a batch query: its values, made as they are asked for.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, Scalar};
use arrow::datatypes::{DataType, Int32Type, Int64Type, IntervalMonthDayNanoType, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use futures::{Stream, StreamExt, TryFutureExt, TryStreamExt};

use super::expand_exec::{ExpandExec, Expansion};
use crate::bind::SeriesNode;
use crate::error::{PlanError, PlanErrorKind};

/// Plans a [`SeriesNode`].
pub(super) fn plan(
    _node: &SeriesNode,
    input: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
) -> Result<Arc<dyn ExecutionPlan>> {
    // A series never waits: it gives way to others by itself.
    Ok(Arc::new(CooperativeExec::new(Arc::new(ExpandExec::new(input, SeriesOfRows, schema)))))
}

/// See the module's text.
#[derive(Clone, Debug)]
struct SeriesOfRows;

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
        let batches = input.and_then(move |batch| {
            let schema = Arc::clone(&schema);
            std::future::ready((0..batch.num_rows()).map(|row| Series::of(&batch, row)).collect::<Result<Vec<_>>>())
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
    Times { next: Option<ScalarValue>, stop: ScalarValue, step: ScalarValue, upwards: bool },
}

impl Series {
    /// The series of a row; `None` when one of its values is NULL.
    fn of(row: &RecordBatch, number: usize) -> Result<Option<Self>> {
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
        let value = |column: usize| ScalarValue::try_from_array(row.column(column), number);
        Ok(Some(Self::Times { next: Some(value(0)?), stop: value(1)?, step: value(2)?, upwards: length > 0 }))
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
            Self::Times { next, stop, step, upwards } => {
                let step = Scalar::new(step.to_array()?);
                let mut values = Vec::new();
                while let Some(value) = next.take() {
                    if (if *upwards { value > *stop } else { value < *stop }) || values.len() >= batch_rows {
                        *next = Some(value);
                        break;
                    }
                    let sum = arrow::compute::kernels::numeric::add(&Scalar::new(value.to_array()?), &step);
                    *next = Some(ScalarValue::try_from_array(&sum?, 0)?);
                    values.push(value);
                }
                match values.is_empty() {
                    true => Ok(arrow::array::new_empty_array(&stop.data_type())),
                    false => ScalarValue::iter_to_array(values),
                }
            }
        }
    }
}
