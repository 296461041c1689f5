//! Look-ups by index: conditions of a query to ranges of keys, and their rows as a plan of DataFusion's.
//!
//! A look-up gives the rows that may match, and the query's own filter stays above it: an index decides what is read,
//! never what is right. Rows are looked up when the query is planned, from the version that it has pinned.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{self, SortOptions};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::stats::{Precision, Statistics};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, ScalarValue};
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
    /// The lower bound.
    above: Option<Bound>,
    /// The upper bound.
    below: Option<Bound>,
}

/// Where the rows of a range begin or end: by a value of the column, or by one of a row that begins with the column.
#[derive(Clone, Debug)]
struct Bound {
    /// The columns, the first the bounded one, and their values.
    row: Vec<(usize, ScalarValue)>,
    /// Whether it is itself within.
    within: bool,
}

/// Rows that an index has found.
pub struct Found<'a> {
    /// The index.
    pub index: &'a IndexColumns,
    /// The rows, by chunk.
    rows: FoundRows,
    /// They are all that there are.
    pub complete: bool,
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
    let bounds = Bounds::of(conditions, declared);
    let score = |index: &&IndexColumns| {
        let equal = index.columns.iter().take_while(|column| !bounds[**column].equal.is_empty()).count();
        let next = index.columns.get(equal).map(|column| &bounds[*column]);
        equal * 2 + usize::from(next.is_some_and(|next| next.above.is_some() || next.below.is_some()))
    };
    // Of equal ones the first: the primary key's stands there.
    let best = indexes.iter().rev().max_by_key(score).filter(|index| score(index) > 0);
    let Some(index) = best else { return Ok(None) };
    let Some(ranges) = ranges(declared, &index.columns, &bounds)? else { return Ok(None) };
    sort(version, &index.columns).await?;
    let rows_max = (version.rows / INDEX_ROWS_SHARE).max(1_024).min(rows_max);
    let found = version.look_up(&index.columns, &ranges, rows_max).map_err(external)?;
    Ok(found.map(|rows| Found { index, rows, complete: true }))
}

/// The first rows in an order that may meet some conditions, `count` of them or a few more where those are equal in
/// it; `None` where no index has the order.
pub async fn find_first<'a>(
    version: &Arc<RelationVersion>,
    declared: &SchemaRef,
    indexes: &'a [IndexColumns],
    conditions: &[Expr],
    wanted: FirstOrder<'_>,
    count: usize,
) -> Result<Option<Found<'a>>> {
    let bounds = Bounds::of(conditions, declared);
    let ordered = indexes.iter().filter_map(|index| Some((index, order_of(index, declared, &bounds, wanted.keys)?)));
    let ordered = ordered.filter(|(_, order)| order.bounds > 0 || !wanted.bounded);
    // The one whose range is the smallest, and of equal ones the first.
    let best = ordered.collect::<Vec<_>>().into_iter().rev().max_by_key(|(_, order)| order.bounds);
    let Some((index, order)) = best else { return Ok(None) };
    let range = ranges(declared, &index.columns, &bounds)?.and_then(|mut ranges| ranges.pop());
    let Some(range) = range else { return Ok(None) };
    sort(version, &index.columns).await?;
    let (rows, complete) =
        version.first(&index.columns, &range, order.descending, order.tied, count.max(1)).map_err(external)?;
    Ok(Some(Found { index, rows, complete }))
}

/// The order in which rows are the first.
#[derive(Clone, Copy, Debug)]
pub struct FirstOrder<'a> {
    /// Columns.
    pub keys: &'a [(usize, SortOptions)],
    /// Only by an index whose range the conditions bound.
    pub bounded: bool,
}

/// How an index gives an order of rows.
struct Order {
    /// From its end to its beginning.
    descending: bool,
    /// Its columns that say where rows stand.
    tied: usize,
    /// Conditions that its range serves.
    bounds: usize,
}

/// The order of an index as far as it is the one that is asked for. Its columns before those of the order have one
/// value each.
fn order_of(
    index: &IndexColumns,
    declared: &SchemaRef,
    bounds: &[Bounds],
    keys: &[(usize, SortOptions)],
) -> Option<Order> {
    let fixed = index.columns.iter().take_while(|column| bounds[**column].equal.len() == 1).count();
    let (fixed_columns, rest) = index.columns.split_at(fixed);
    // A list of values for the next column would be several ranges.
    if rest.first().is_some_and(|column| !bounds[*column].equal.is_empty()) {
        return None;
    }
    let mut keys = keys.iter().filter(|(column, _)| !fixed_columns.contains(column));
    let mut descending = None;
    let mut ordered = 0;
    for column in rest {
        let Some((_, options)) = keys.next().filter(|(key, _)| key == column) else { break };
        // NULL is the first of an index. Where the column has bounds there is none.
        let bounded = bounds[*column].above.is_some() || bounds[*column].below.is_some();
        let nulls_fit = options.nulls_first != options.descending;
        if (declared.field(*column).is_nullable() && !bounded && !nulls_fit)
            || *descending.get_or_insert(options.descending) != options.descending
        {
            break;
        }
        ordered += 1;
    }
    let next = rest.first().map(|column| &bounds[*column]);
    let bounded = next.is_some_and(|next| next.above.is_some() || next.below.is_some());
    (ordered > 0).then_some(Order {
        descending: descending.unwrap_or(false),
        tied: fixed + ordered,
        bounds: fixed * 2 + usize::from(bounded),
    })
}

/// Sorts what a look-up needs sorted, beside the other tasks where it is much.
async fn sort(version: &Arc<RelationVersion>, columns: &[usize]) -> Result<()> {
    if version.unsorted_chunks(columns) > CHUNKS_SORTED_IN_PLACE {
        let (version, columns) = (Arc::clone(version), columns.to_vec());
        let sorted = tokio::task::spawn_blocking(move || version.sort_by(&columns)).await;
        sorted.map_err(|error| DataFusionError::External(Box::new(error)))?.map_err(external)?;
    }
    Ok(())
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
                (side, Expr::Literal(value, _)) => column_of(side).map(|column| (column, *op, value)),
                (Expr::Literal(value, _), side) => {
                    column_of(side).and_then(|column| op.swap().map(|op| (column, op, value)))
                }
                _ => None,
            };
            if let Some((column, op, value)) = sides {
                note_comparison(column, op, value, schema, bounds);
            } else if *op == Operator::Or {
                note_alternatives(filter, schema, bounds);
                if let Some((row, op)) = row_comparison(filter, schema) {
                    bounds[row[0].0].compare_row(op, row);
                }
            }
        }
        Expr::InList(list) if !list.negated => {
            let Some(column) = column_of(&list.expr) else { return };
            let values: Option<Vec<ScalarValue>> = list.list.iter().map(literal).collect();
            let Some(values) = values.filter(|values| !values.is_empty()) else { return };
            // What no value of the column equals need not be looked for, as long as another is.
            let own = values.iter().filter_map(|value| match within_type(column, Operator::Eq, value, schema)? {
                (value, Operator::Eq) => Some(value),
                _ => None,
            });
            let own: Vec<ScalarValue> = own.collect();
            let values = if own.is_empty() { values } else { own };
            if let Some(bounds) = column_bounds(&column.name, &values[0], schema, bounds)
                && values.iter().all(|value| value.data_type() == values[0].data_type())
            {
                bounds.one_of(values);
            }
        }
        Expr::Between(between) if !between.negated => {
            let (Some(column), Some(low), Some(high)) =
                (column_of(&between.expr), literal(&between.low), literal(&between.high))
            else {
                return;
            };
            for (op, value) in [(Operator::GtEq, low), (Operator::LtEq, high)] {
                note_comparison(column, op, &value, schema, bounds);
            }
        }
        _ => {}
    }
}

fn note_comparison(column: &Column, op: Operator, value: &ScalarValue, schema: &SchemaRef, bounds: &mut [Bounds]) {
    if let Some((value, op)) = within_type(column, op, value, schema)
        && let Ok(column) = schema.index_of(&column.name)
    {
        bounds[column].compare(op, column, value);
    }
}

/// `a > x OR a = x AND b > y`, which is what a comparison of rows is: the row of values, and the comparison.
fn row_comparison(filter: &Expr, schema: &SchemaRef) -> Option<(Vec<(usize, ScalarValue)>, Operator)> {
    let one = |expr: &Expr, wanted: &[Operator]| {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return None };
        let (Expr::Literal(value, _), true) = (right.as_ref(), wanted.contains(op)) else { return None };
        let column = column_of(left)?;
        // A value beyond the type's range gives another comparison, which is no part of a row.
        let (value, same) = within_type(column, *op, value, schema).filter(|(value, _)| !value.is_null())?;
        (same == *op).then_some(())?;
        Some((schema.index_of(&column.name).ok()?, value, *op))
    };
    let (mut row, mut rest, mut strict) = (Vec::new(), filter, None);
    while let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) = rest {
        let Expr::BinaryExpr(BinaryExpr { left: equal, op: Operator::And, right: behind }) = right.as_ref() else {
            return None;
        };
        let (column, value, op) = one(left, &[Operator::Gt, Operator::Lt])?;
        let (equal_column, equal_value, _) = one(equal, &[Operator::Eq])?;
        if (column, &value) != (equal_column, &equal_value) || *strict.get_or_insert(op) != op {
            return None;
        }
        row.push((column, value));
        rest = behind;
    }
    let last = match strict? {
        Operator::Gt => [Operator::Gt, Operator::GtEq],
        _ => [Operator::Lt, Operator::LtEq],
    };
    let (column, value, op) = one(rest, &last)?;
    row.push((column, value));
    Some((row, op))
}

/// The column that an expression is; where it is cast its values stay what they are ([`within_type`]).
fn column_of(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Cast(cast) if cast.field.data_type().is_signed_integer() => match cast.expr.as_ref() {
            Expr::Column(column) => Some(column),
            _ => None,
        },
        _ => None,
    }
}

/// A comparison of a column of integers with a value of a wider type, in the column's own: drivers send every number
/// as `bigint`. Beyond the column's range the comparison is never true, and becomes one that is not either, or always
/// is, and says nothing.
fn within_type(
    column: &Column,
    op: Operator,
    value: &ScalarValue,
    schema: &SchemaRef,
) -> Option<(ScalarValue, Operator)> {
    let own = schema.field(schema.index_of(&column.name).ok()?).data_type();
    if value.data_type() == *own {
        return Some((value.clone(), op));
    }
    let given = match value.cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(Some(given))) if own.is_signed_integer() && value.data_type().is_signed_integer() => {
            given
        }
        _ => return None,
    };
    let (least, most) = match own {
        DataType::Int16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        DataType::Int32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    };
    let of = |value: i64| ScalarValue::Int64(Some(value)).cast_to(own).ok();
    match op {
        _ if (least..=most).contains(&given) => Some((of(given)?, op)),
        Operator::Eq => Some((of(least)?, Operator::Lt)),
        Operator::Gt | Operator::GtEq if given > most => Some((of(most)?, Operator::Gt)),
        Operator::Lt | Operator::LtEq if given < least => Some((of(least)?, Operator::Lt)),
        _ => None,
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
    /// Those of every column.
    fn of(conditions: &[Expr], declared: &SchemaRef) -> Vec<Self> {
        let mut bounds = vec![Self::default(); declared.fields().len()];
        conditions.iter().for_each(|condition| note(condition, declared, &mut bounds));
        bounds
    }

    fn compare(&mut self, op: Operator, column: usize, value: ScalarValue) {
        // A comparison with NULL is never true: the filter leaves nothing, whatever is read.
        if value.is_null() {
            return;
        }
        match op {
            Operator::Eq => self.one_of(vec![value]),
            op => self.compare_row(op, vec![(column, value)]),
        }
    }

    /// Of several such conditions the one of the longest row, else the first.
    fn compare_row(&mut self, op: Operator, row: Vec<(usize, ScalarValue)>) {
        let (bound, within) = match op {
            Operator::Gt | Operator::GtEq => (&mut self.above, op == Operator::GtEq),
            Operator::Lt | Operator::LtEq => (&mut self.below, op == Operator::LtEq),
            _ => return,
        };
        if bound.as_ref().is_none_or(|known| known.row.len() < row.len()) {
            *bound = Some(Bound { row, within });
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
    let edge = |prefix: &[ScalarValue], bound: Option<&Bound>, end: bool| -> Result<Option<Edge>> {
        // As far as the row has the columns of the index: beyond, what equals is within.
        let row = bound.map_or(&[][..], |bound| &bound.row);
        let served = row.iter().zip(&columns[fixed..]).take_while(|((column, _), indexed)| column == *indexed).count();
        let values: Vec<&ScalarValue> = prefix.iter().chain(row[..served].iter().map(|(_, value)| value)).collect();
        if values.is_empty() {
            return Ok(None);
        }
        let arrays = values.iter().map(|value| value.to_array()).collect::<Result<Vec<_>>>()?;
        let key = encoded_keys(schema, &columns[..arrays.len()], &arrays).map_err(external)?.swap_remove(0);
        let within = bound.is_none_or(|bound| bound.within || served < bound.row.len());
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
