//! A subquery's answer for every row of a batch query.
//!
//! The subquery runs once for every different set of outer values, and never where nobody asks. It is optimised once,
//! with places for the values; a run puts them in as literals, so that an index may serve it. One that names no outer
//! column runs once. What it gives counts against the memory of queries.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{filter_record_batch, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::lock::Mutex;
use futures::{Stream, StreamExt, TryStreamExt};

use super::expand_exec::{ExpandExec, Expansion};
use super::{physical_of, tell_filters};
use crate::error::{PlanError, PlanErrorKind};
use crate::functions;
use crate::subqueries::{Answer, SubqueryNode, awaited, with_awaited, with_outer_values};

/// Different sets of outer values whose answers are remembered: beyond, the memory starts anew.
const REMEMBERED: usize = 16_384;

/// Plans a [`SubqueryNode`]; `state` is what its subquery is planned and run with.
pub(super) fn plan(
    node: &SubqueryNode,
    state: &SessionState,
    input: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
) -> Result<Arc<dyn ExecutionPlan>> {
    let answers = Answers(Arc::new(Asked::of(node, state.clone())?));
    Ok(Arc::new(ExpandExec::new(input, answers, schema)))
}

/// See the module's text.
#[derive(Clone, Debug)]
struct Answers(Arc<Asked>);

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outer: Vec<&str> = self.0.outer.iter().map(|(column, _)| column.name.as_str()).collect();
        write!(f, "{}: outer=[{}]", Self::NAME, outer.join(", "))
    }
}

impl Expansion for Answers {
    const NAME: &'static str = "SubqueryExec";

    fn expand(
        &self,
        input: SendableRecordBatchStream,
        schema: SchemaRef,
        _batch_rows: usize,
    ) -> impl Stream<Item = Result<RecordBatch>> + Send + 'static {
        let asked = Arc::clone(&self.0);
        input.and_then(move |batch| {
            let (asked, schema) = (Arc::clone(&asked), Arc::clone(&schema));
            async move {
                let answers = asked.of_rows_that_ask(&batch).await?;
                let mut columns = batch.columns().to_vec();
                columns.push(answers);
                Ok(RecordBatch::try_new(schema, columns)?)
            }
        })
    }
}

/// A subquery, and what it has answered so far.
struct Asked {
    state: SessionState,
    subquery: Arc<LogicalPlan>,
    outer: Vec<(Column, Arc<dyn PhysicalExpr>)>,
    comparison: Option<Comparison>,
    /// Which rows ask.
    when: Option<Arc<dyn PhysicalExpr>>,
    /// The type of the answer.
    data_type: DataType,
    answer: Answer,
    known: Mutex<Known>,
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("outer", &self.outer).finish_non_exhaustive()
    }
}

struct Known {
    /// The subquery, optimised, with places for the outer values; none before the first run.
    plan: Option<LogicalPlan>,
    rows: HashMap<Vec<ScalarValue>, Found>,
    held: MemoryReservation,
}

/// What a run of the subquery gave.
enum Found {
    Value(ScalarValue),
    /// Its column, batch by batch, and what compares with it how.
    Rows {
        batches: Vec<ArrayRef>,
        compared: HashMap<ScalarValue, Option<bool>>,
    },
}

/// `left op ANY (...)`, `left op ALL (...)`.
struct Comparison {
    left: Arc<dyn PhysicalExpr>,
    /// Over two columns: the value, and one of the subquery.
    pair: Arc<dyn PhysicalExpr>,
    columns: SchemaRef,
    all: bool,
}

impl Comparison {
    fn of(left: &Expr, op: Operator, all: bool, input: &DFSchema, found: &DataType) -> Result<Self> {
        let physical = functions::physical_expression(left, input).map_err(external)?;
        let left_type = physical.data_type(input.as_arrow())?;
        let columns =
            Schema::new(vec![Field::new("value", left_type.clone(), true), Field::new("found", found.clone(), true)]);
        let column = |name: &str| Box::new(Expr::Column(Column::new_unqualified(name)));
        let whole = Expr::BinaryExpr(BinaryExpr::new(column("value"), op, column("found")));
        let pair = match (&left_type, op) {
            // Rows are equal when all of their fields are, and a NULL among those leaves it open.
            (DataType::Struct(fields), Operator::Eq) => conjunction(fields.iter().map(|field| {
                let of = |row: &str| get_field(*column(row), field.name().as_str());
                of("value").eq(of("found"))
            }))
            .unwrap_or(whole),
            _ => whole,
        };
        let schema = DFSchema::try_from(columns.clone())?;
        let pair = functions::physical_expression(&pair, &schema).map_err(external)?;
        Ok(Self { left: physical, pair, columns: Arc::new(columns), all })
    }

    /// How a value compares with all of them together: one that decides decides, else a NULL leaves it open.
    fn with(&self, value: &ScalarValue, batches: &[ArrayRef]) -> Result<Option<bool>> {
        let mut open = false;
        for found in batches {
            let values = value.to_array_of_size(found.len())?;
            let pairs = RecordBatch::try_new(Arc::clone(&self.columns), vec![values, Arc::clone(found)])?;
            let compared = self.pair.evaluate(&pairs)?.into_array(pairs.num_rows())?;
            let compared = compared.as_boolean();
            let decides = if self.all { compared.has_false() } else { compared.has_true() };
            if decides {
                return Ok(Some(!self.all));
            }
            open |= compared.null_count() > 0;
        }
        Ok(if open { None } else { Some(self.all) })
    }
}

impl Asked {
    fn of(node: &SubqueryNode, state: SessionState) -> Result<Self> {
        let input = node.input.schema();
        let outer = node
            .outer
            .iter()
            .map(|(column, expr)| Ok((column.clone(), functions::physical_expression(expr, input).map_err(external)?)));
        let found = node.subquery.schema().fields().first().map(|field| field.data_type().clone());
        let (comparison, data_type) = match (&node.answer, found) {
            (Answer::Exists, _) => (None, DataType::Boolean),
            (Answer::Compared { left, op, all }, Some(found)) => {
                (Some(Comparison::of(left, *op, *all, input, &found)?), DataType::Boolean)
            }
            (Answer::Value, Some(found)) => (None, found),
            (Answer::Array, Some(found)) => (None, DataType::new_list(found, true)),
            (_, None) => return Err(DataFusionError::Internal("a subquery has no column".to_string())),
        };
        let when = node.when.as_ref().map(|when| functions::physical_expression(when, input));
        let held = MemoryConsumer::new("subquery").register(&state.runtime_env().memory_pool);
        Ok(Self {
            outer: outer.collect::<Result<_>>()?,
            subquery: Arc::clone(&node.subquery),
            comparison,
            when: when.transpose().map_err(external)?,
            data_type,
            answer: node.answer.clone(),
            known: Mutex::new(Known { plan: None, rows: HashMap::new(), held }),
            state,
        })
    }

    /// The answers for the rows of a batch, NULL for those that do not ask.
    async fn of_rows_that_ask(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let Some(when) = &self.when else { return self.of_batch(batch).await };
        let asks = when.evaluate(batch)?.into_array(batch.num_rows())?;
        let asks = asks.as_boolean();
        match asks.true_count() {
            0 => Ok(arrow::array::new_null_array(&self.data_type, batch.num_rows())),
            all if all == batch.num_rows() => self.of_batch(batch).await,
            _ => {
                let answers = self.of_batch(&filter_record_batch(batch, asks)?).await?;
                let mut next = 0..;
                let places = asks.iter().map(|asks| if asks == Some(true) { next.next() } else { None });
                Ok(take(&answers, &UInt32Array::from_iter(places), None)?)
            }
        }
    }

    /// The answers for the rows of a batch.
    async fn of_batch(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let evaluated = |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(batch)?.into_array(batch.num_rows());
        let outer = self.outer.iter().map(|(_, expr)| evaluated(expr)).collect::<Result<Vec<_>>>()?;
        let left = self.comparison.as_ref().map(|comparison| evaluated(&comparison.left)).transpose()?;
        let mut answers = Vec::with_capacity(batch.num_rows());
        // Partitions take turns: what one has asked the others need not ask again.
        let mut known = self.known.lock().await;
        if self.outer.is_empty() && self.comparison.is_none() && batch.num_rows() > 0 {
            let found = self.found(&[], &mut known).await?;
            let Found::Value(value) = found else {
                return Err(DataFusionError::Internal("rows of a subquery that is not compared".to_string()));
            };
            return value.to_array_of_size(batch.num_rows());
        }
        for row in 0..batch.num_rows() {
            let values = outer.iter().map(|column| ScalarValue::try_from_array(column, row));
            let values = values.collect::<Result<Vec<_>>>()?;
            let found = self.found(&values, &mut known).await?;
            answers.push(match (found, &self.comparison, &left) {
                (Found::Value(value), ..) => value.clone(),
                (Found::Rows { batches, compared }, Some(comparison), Some(left)) => {
                    let value = ScalarValue::try_from_array(left, row)?;
                    let answer = match compared.get(&value) {
                        Some(answer) => *answer,
                        None => comparison.with(&value, batches)?,
                    };
                    if compared.len() < REMEMBERED {
                        compared.insert(value, answer);
                    }
                    ScalarValue::Boolean(answer)
                }
                (Found::Rows { .. }, ..) => {
                    return Err(DataFusionError::Internal("rows of a subquery that is not compared".to_string()));
                }
            });
        }
        match answers.is_empty() {
            true => Ok(arrow::array::new_empty_array(&self.data_type)),
            false => ScalarValue::iter_to_array(answers),
        }
    }

    /// What the subquery gives with values for its outer columns: remembered, or run.
    async fn found<'a>(&self, values: &[ScalarValue], known: &'a mut Known) -> Result<&'a mut Found> {
        if !known.rows.contains_key(values) {
            let found = self.run(values, known).await?;
            if known.rows.len() == REMEMBERED {
                known.rows.clear();
                known.held.free();
            }
            let bytes: usize = values.iter().map(ScalarValue::size).sum::<usize>() + found.bytes();
            known.held.try_grow(bytes)?;
            known.rows.insert(values.to_vec(), found);
        }
        Ok(known.rows.get_mut(values).expect("it was found or put in"))
    }

    /// The subquery with places for the values of its outer columns, optimised.
    fn optimized(&self, values: &[ScalarValue]) -> Result<LogicalPlan> {
        let places = self.outer.iter().zip(values).enumerate();
        let places: Vec<(Column, Expr)> =
            places.map(|(index, ((column, _), value))| (column.clone(), awaited(index, value.data_type()))).collect();
        let plan = with_outer_values(self.subquery.as_ref().clone(), &places)?;
        self.state.optimizer().optimize(plan, &self.state, |_, _| {})
    }

    /// Runs the subquery with values for its outer columns.
    async fn run(&self, values: &[ScalarValue], known: &mut Known) -> Result<Found> {
        let plan = match &known.plan {
            Some(plan) => plan.clone(),
            None => known.plan.insert(self.optimized(values)?).clone(),
        };
        let plan = with_awaited(plan, values)?;
        let plan = plan.transform_down_with_subqueries(|node| Ok(tell_filters(node)))?.data;
        // A subquery may have subqueries: their type would be without end.
        let physical = Box::pin(physical_of(plan, &self.state)).await?;
        let mut rows = execute_stream(physical, self.state.task_ctx())?;
        match &self.answer {
            Answer::Exists => return Ok(Found::Value(ScalarValue::Boolean(Some(has_row(&mut rows).await?)))),
            Answer::Value => return self.only_value(&mut rows).await.map(Found::Value),
            Answer::Array | Answer::Compared { .. } => {}
        }
        let mut batches = Vec::new();
        // What is kept is counted once more by the one who keeps it.
        let held = known.held.new_empty();
        while let Some(batch) = rows.try_next().await? {
            if batch.num_rows() > 0 {
                held.try_grow(batch.column(0).get_array_memory_size())?;
                batches.push(Arc::clone(batch.column(0)));
            }
        }
        match self.answer {
            Answer::Array => self.array(&batches).map(Found::Value),
            _ => Ok(Found::Rows { batches, compared: HashMap::new() }),
        }
    }

    fn array(&self, batches: &[ArrayRef]) -> Result<ScalarValue> {
        let DataType::List(element) = &self.data_type else {
            return Err(DataFusionError::Internal("an array of rows is no list".to_string()));
        };
        let parts: Vec<&dyn Array> = batches.iter().map(AsRef::as_ref).collect();
        let values = match parts.is_empty() {
            true => arrow::array::new_empty_array(element.data_type()),
            false => arrow::compute::concat(&parts)?,
        };
        let offsets = OffsetBuffer::from_lengths([values.len()]);
        Ok(ScalarValue::List(Arc::new(ListArray::try_new(Arc::clone(element), offsets, values, None)?)))
    }

    async fn only_value(&self, rows: &mut SendableRecordBatchStream) -> Result<ScalarValue> {
        let mut value = None;
        while let Some(batch) = rows.next().await.transpose()? {
            if batch.num_rows() > 1 || (value.is_some() && batch.num_rows() > 0) {
                let message = "more than one row returned by a subquery used as an expression";
                return Err(external(PlanError::new(PlanErrorKind::CardinalityViolation, message)));
            }
            if batch.num_rows() == 1 {
                value = Some(ScalarValue::try_from_array(batch.column(0), 0)?);
            }
        }
        value.map_or_else(|| ScalarValue::try_from(&self.data_type), Ok)
    }
}

impl Found {
    fn bytes(&self) -> usize {
        match self {
            Self::Value(value) => value.size(),
            Self::Rows { batches, .. } => batches.iter().map(|batch| batch.get_array_memory_size()).sum(),
        }
    }
}

async fn has_row(rows: &mut SendableRecordBatchStream) -> Result<bool> {
    while let Some(batch) = rows.next().await.transpose()? {
        if batch.num_rows() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

fn external(error: PlanError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
