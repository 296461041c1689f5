//! What a look-up does with the rows that an index has found: some steps over one batch, in order.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{self, SortColumn, SortOptions};
use arrow::datatypes::{Field, Schema};
use datafusion::common::DFSchema;
use datafusion::common::cast::as_boolean_array;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregateBuilder};

use crate::functions;

/// One step.
#[derive(Debug)]
pub enum RowStep {
    /// Keeps the rows for which the condition is true.
    Filter(Arc<dyn PhysicalExpr>),
    /// Makes other columns of them.
    Project(Vec<Arc<dyn PhysicalExpr>>),
    /// Makes one row of all of them.
    Aggregate(Arc<Aggregates>),
    /// Orders them.
    Sort(Vec<(Arc<dyn PhysicalExpr>, SortOptions)>),
    /// Leaves out the first rows and those behind some others.
    Limit {
        /// Rows that are left out first.
        skip: usize,
        /// Rows at most; all without it.
        fetch: Option<usize>,
    },
}

impl RowStep {
    /// The rows after this step.
    pub fn run(&self, rows: RecordBatch) -> Result<RecordBatch> {
        match self {
            Self::Filter(condition) => {
                let kept = condition.evaluate(&rows)?.into_array(rows.num_rows())?;
                Ok(compute::filter_record_batch(&rows, as_boolean_array(&kept)?)?)
            }
            Self::Project(columns) => project(&rows, columns),
            Self::Aggregate(aggregates) => aggregates.of(&rows),
            Self::Sort(keys) => sorted(rows, keys),
            Self::Limit { skip, fetch } => {
                let skip = (*skip).min(rows.num_rows());
                let left = rows.num_rows() - skip;
                Ok(rows.slice(skip, fetch.map_or(left, |fetch| fetch.min(left))))
            }
        }
    }
}

/// Aggregates without groups, by the accumulators of DataFusion's own plan.
#[derive(Debug)]
pub struct Aggregates(Vec<FilteredAggregate>);

/// An aggregate, and which rows it takes.
type FilteredAggregate = (Arc<AggregateFunctionExpr>, Option<Arc<dyn PhysicalExpr>>);

impl Aggregates {
    /// Calls over columns of a schema and constants.
    pub(super) fn new(calls: &[Expr], schema: &DFSchema) -> Result<Self> {
        let calls = calls.iter().map(|call| {
            let (surroundings, context) = (functions::standalone(), PhysicalPlanningContext::default());
            let made = LoweredAggregateBuilder::new(call, schema, schema.as_arrow(), surroundings, &context).build()?;
            Ok((made.aggregate, made.filter))
        });
        calls.collect::<Result<_>>().map(Self)
    }

    fn of(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let mut values = Vec::with_capacity(self.0.len());
        for (call, condition) in &self.0 {
            let kept = match condition {
                Some(condition) => {
                    let kept = condition.evaluate(rows)?.into_array(rows.num_rows())?;
                    compute::filter_record_batch(rows, as_boolean_array(&kept)?)?
                }
                None => rows.clone(),
            };
            let mut accumulator = call.create_accumulator()?;
            if kept.num_rows() > 0 {
                let args = call.expressions();
                let args = args.iter().map(|arg| arg.evaluate(&kept)?.into_array(kept.num_rows()));
                accumulator.update_batch(&args.collect::<Result<Vec<_>>>()?)?;
            }
            values.push(accumulator.evaluate()?.to_array()?);
        }
        batch(values, 1)
    }
}

fn project(rows: &RecordBatch, columns: &[Arc<dyn PhysicalExpr>]) -> Result<RecordBatch> {
    let arrays = columns.iter().map(|column| column.evaluate(rows)?.into_array(rows.num_rows()));
    batch(arrays.collect::<Result<_>>()?, rows.num_rows())
}

fn batch(arrays: Vec<ArrayRef>, row_count: usize) -> Result<RecordBatch> {
    // Names and nullability are the statement's, which it has told the client.
    let fields: Vec<Field> = arrays.iter().map(|array| Field::new("", array.data_type().clone(), true)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(row_count));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?)
}

fn sorted(rows: RecordBatch, keys: &[(Arc<dyn PhysicalExpr>, SortOptions)]) -> Result<RecordBatch> {
    if rows.num_rows() < 2 {
        return Ok(rows);
    }
    let columns = keys.iter().map(|(key, options)| {
        let values = key.evaluate(&rows)?.into_array(rows.num_rows())?;
        Ok(SortColumn { values, options: Some(*options) })
    });
    let order = compute::lexsort_to_indices(&columns.collect::<Result<Vec<_>>>()?, None)?;
    Ok(compute::take_record_batch(&rows, &order)?)
}
