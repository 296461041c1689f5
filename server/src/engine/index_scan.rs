//! Look-ups by index: conditions of a query to ranges of keys, and their rows as a plan of DataFusion's.
//!
//! A look-up gives the rows that may match, and the query's own filter stays above it: an index decides what is read,
//! never what is right. Rows are looked up when the query is planned, from the version that it has pinned.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::stats::{Precision, Statistics};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, StatisticsArgs,
};
use millstream_runtime::relation::{Edge, FoundRows, KeyRange, RelationVersion, encoded_keys};

use super::limits::{INDEX_KEYS_MAX, INDEX_ROWS_SHARE};

/// Chunks that are sorted where they are needed; more than these beside the other tasks of the process.
const CHUNKS_SORTED_IN_PLACE: usize = 16;

/// An index as a look-up needs it.
#[derive(Clone, Debug)]
pub struct IndexColumns {
    /// Its name, for EXPLAIN.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<usize>,
}

/// What a query says of one column.
#[derive(Clone, Debug, Default)]
struct Bounds {
    /// The values that it may have; empty when nothing says so.
    equal: Vec<ScalarValue>,
    /// The lower bound, and whether it is itself within.
    above: Option<(ScalarValue, bool)>,
    /// The upper bound, the same.
    below: Option<(ScalarValue, bool)>,
}

/// Rows that an index has found.
pub struct Found<'a> {
    /// The index.
    pub index: &'a IndexColumns,
    /// The rows, by chunk.
    rows: FoundRows,
}

/// The rows that may meet some conditions, found by the index that serves these best; `None` where none does, or
/// where they are more than `rows_max`.
pub async fn find<'a>(
    version: &Arc<RelationVersion>,
    declared: &SchemaRef,
    indexes: &'a [IndexColumns],
    conditions: &[Expr],
    rows_max: usize,
) -> Result<Option<Found<'a>>> {
    if conditions.is_empty() || indexes.is_empty() {
        return Ok(None);
    }
    let mut bounds = vec![Bounds::default(); declared.fields().len()];
    conditions.iter().for_each(|condition| note(condition, declared, &mut bounds));
    let score = |index: &&IndexColumns| {
        let equal = index.columns.iter().take_while(|column| !bounds[**column].equal.is_empty()).count();
        let next = index.columns.get(equal).map(|column| &bounds[*column]);
        equal * 2 + usize::from(next.is_some_and(|next| next.above.is_some() || next.below.is_some()))
    };
    // Of equal ones the first: the primary key's stands there.
    let best = indexes.iter().rev().max_by_key(score).filter(|index| score(index) > 0);
    let Some(index) = best else { return Ok(None) };
    let Some(ranges) = ranges(declared, &index.columns, &bounds)? else { return Ok(None) };
    if version.unsorted_chunks(&index.columns) > CHUNKS_SORTED_IN_PLACE {
        let (version, columns) = (Arc::clone(version), index.columns.clone());
        let sorted = tokio::task::spawn_blocking(move || version.sort_by(&columns)).await;
        sorted.map_err(|error| DataFusionError::External(Box::new(error)))?.map_err(external)?;
    }
    let rows_max = (version.rows / INDEX_ROWS_SHARE).max(1_024).min(rows_max);
    let found = version.look_up(&index.columns, &ranges, rows_max).map_err(external)?;
    Ok(found.map(|rows| Found { index, rows }))
}

impl Found<'_> {
    /// Some columns of the rows, a batch per chunk, under a schema of their types.
    pub fn batches(&self, columns: &[usize], schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
        let taken = self.rows.iter().map(|(chunk, rows)| {
            let columns: Vec<ArrayRef> = columns
                .iter()
                .map(|column| compute::take(chunk.batch.column(*column), rows, None))
                .collect::<std::result::Result<_, _>>()?;
            let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
            Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
        });
        taken.collect()
    }
}

/// The look-up that serves some conditions best, as a plan; `None` where no index does.
pub async fn look_up(
    version: &Arc<RelationVersion>,
    declared: &SchemaRef,
    relation: &str,
    indexes: &[IndexColumns],
    filters: &[Expr],
    projection: &[usize],
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(found) = find(version, declared, indexes, filters, usize::MAX).await? else { return Ok(None) };
    let schema = Arc::new(declared.project(projection)?);
    let batches = found.batches(projection, &schema)?;
    Ok(Some(Arc::new(IndexScan::new(format!("{} on {relation}", found.index.name), schema, batches))))
}

fn external(error: millstream_runtime::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Takes what a condition says of columns alone; what it says beside that is for the query's filter.
fn note(filter: &Expr, schema: &SchemaRef, bounds: &mut [Bounds]) {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            note(left, schema, bounds);
            note(right, schema, bounds);
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let sides = match (left.as_ref(), right.as_ref()) {
                (Expr::Column(column), Expr::Literal(value, _)) => Some((column, *op, value)),
                (Expr::Literal(value, _), Expr::Column(column)) => op.swap().map(|op| (column, op, value)),
                _ => None,
            };
            if let Some((column, op, value)) = sides
                && let Some(bounds) = column_bounds(&column.name, value, schema, bounds)
            {
                bounds.compare(op, value);
            } else if *op == Operator::Or {
                note_alternatives(filter, schema, bounds);
            }
        }
        Expr::InList(list) if !list.negated => {
            let Expr::Column(column) = list.expr.as_ref() else { return };
            let values: Option<Vec<ScalarValue>> = list.list.iter().map(literal).collect();
            let Some(values) = values.filter(|values| !values.is_empty()) else { return };
            if let Some(bounds) = column_bounds(&column.name, &values[0], schema, bounds)
                && values.iter().all(|value| value.data_type() == values[0].data_type())
            {
                bounds.one_of(values);
            }
        }
        Expr::Between(between) if !between.negated => {
            let (Expr::Column(column), Some(low), Some(high)) =
                (between.expr.as_ref(), literal(&between.low), literal(&between.high))
            else {
                return;
            };
            if let Some(bounds) = column_bounds(&column.name, &low, schema, bounds)
                && high.data_type() == low.data_type()
            {
                bounds.compare(Operator::GtEq, &low);
                bounds.compare(Operator::LtEq, &high);
            }
        }
        _ => {}
    }
}

/// `k = 1 OR k = 2`, which DataFusion makes of short IN lists.
fn note_alternatives(filter: &Expr, schema: &SchemaRef, bounds: &mut [Bounds]) {
    let mut values = Vec::new();
    let mut name: Option<&str> = None;
    let mut waiting = vec![filter];
    while let Some(expr) = waiting.pop() {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return };
        match (op, left.as_ref(), right.as_ref()) {
            (Operator::Or, left, right) => waiting.extend([left, right]),
            (Operator::Eq, Expr::Column(column), Expr::Literal(value, _))
            | (Operator::Eq, Expr::Literal(value, _), Expr::Column(column))
                if name.is_none_or(|name| name == column.name) =>
            {
                name = Some(&column.name);
                values.push(value.clone());
            }
            _ => return,
        }
    }
    let Some(name) = name else { return };
    let same = values.iter().all(|value| value.data_type() == values[0].data_type());
    if let Some(bounds) = column_bounds(name, &values[0], schema, bounds).filter(|_| same) {
        bounds.one_of(values);
    }
}

fn literal(expr: &Expr) -> Option<ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value.clone()),
        _ => None,
    }
}

/// The bounds of a column, if the value is of its type.
fn column_bounds<'a>(
    name: &str,
    value: &ScalarValue,
    schema: &SchemaRef,
    bounds: &'a mut [Bounds],
) -> Option<&'a mut Bounds> {
    let column = schema.index_of(name).ok()?;
    let data_type: &DataType = schema.field(column).data_type();
    (value.data_type() == *data_type).then(|| &mut bounds[column])
}

impl Bounds {
    fn compare(&mut self, op: Operator, value: &ScalarValue) {
        // A comparison with NULL is never true: the filter leaves nothing, whatever is read.
        if value.is_null() {
            return;
        }
        match op {
            Operator::Eq => self.one_of(vec![value.clone()]),
            Operator::Gt | Operator::GtEq if self.above.is_none() => {
                self.above = Some((value.clone(), op == Operator::GtEq));
            }
            Operator::Lt | Operator::LtEq if self.below.is_none() => {
                self.below = Some((value.clone(), op == Operator::LtEq));
            }
            _ => {}
        }
    }

    /// Of several such conditions the shortest list reads least.
    fn one_of(&mut self, mut values: Vec<ScalarValue>) {
        values.retain(|value| !value.is_null());
        if !values.is_empty() && (self.equal.is_empty() || values.len() < self.equal.len()) {
            self.equal = values;
        }
    }
}

/// The ranges of keys of an index; `None` when they are too many.
fn ranges(schema: &SchemaRef, columns: &[usize], bounds: &[Bounds]) -> Result<Option<Vec<KeyRange>>> {
    let fixed = columns.iter().take_while(|column| !bounds[**column].equal.is_empty()).count();
    // Every combination of the values of the leading columns.
    let mut prefixes: Vec<Vec<ScalarValue>> = vec![Vec::new()];
    for column in &columns[..fixed] {
        let values = &bounds[*column].equal;
        if prefixes.len() * values.len() > INDEX_KEYS_MAX {
            return Ok(None);
        }
        let with = |prefix: &Vec<ScalarValue>| {
            let prefix = prefix.clone();
            values.iter().map(move |value| prefix.iter().chain([value]).cloned().collect())
        };
        prefixes = prefixes.iter().flat_map(with).collect();
    }
    let next = columns.get(fixed).map(|column| &bounds[*column]);
    let (above, below) = next.map_or((None, None), |next| (next.above.as_ref(), next.below.as_ref()));
    let edge = |prefix: &[ScalarValue], bound: Option<&(ScalarValue, bool)>, end: bool| -> Result<Option<Edge>> {
        let values: Vec<&ScalarValue> = prefix.iter().chain(bound.map(|(value, _)| value)).collect();
        if values.is_empty() {
            return Ok(None);
        }
        let arrays = values.iter().map(|value| value.to_array()).collect::<Result<Vec<_>>>()?;
        let key = encoded_keys(schema, &columns[..arrays.len()], &arrays).map_err(external)?.swap_remove(0);
        let within = bound.is_none_or(|(_, within)| *within);
        Ok(Some(Edge { key, behind: within == end }))
    };
    let ranges = prefixes
        .iter()
        .map(|prefix| Ok(KeyRange { start: edge(prefix, above, false)?, end: edge(prefix, below, true)? }));
    ranges.collect::<Result<Vec<_>>>().map(Some)
}

/// The rows of a look-up.
struct IndexScan {
    /// The index and its relation.
    name: String,
    batches: Vec<RecordBatch>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl IndexScan {
    fn new(name: String, schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { name, batches, schema, properties: Arc::new(properties) }
    }
}

impl fmt::Debug for IndexScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexScan({})", self.name)
    }
}

impl DisplayAs for IndexScan {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Index Scan using {}", self.name)
    }
}

impl ExecutionPlan for IndexScan {
    fn name(&self) -> &str {
        "IndexScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    /// How many rows there are: few are not worth being dealt to several tasks.
    fn statistics_from_inputs(
        &self,
        _input_stats: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let rows = self.batches.iter().map(RecordBatch::num_rows).sum();
        Ok(Arc::new(Statistics::new_unknown(&self.schema).with_num_rows(Precision::Inexact(rows))))
    }

    fn execute(&self, _partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let batches = futures::stream::iter(self.batches.clone().into_iter().map(Ok));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches)))
    }
}
