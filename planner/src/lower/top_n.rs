//! Rows cut off in an order: LIMIT, DISTINCT ON, and a compared `row_number()`.

use std::sync::Arc;

use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::expr::Sort as LogicalSortKey;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    DistinctOn, Expr, FetchType, Filter, Limit, LogicalPlan, Operator, Projection, SkipType, Window,
    WindowFunctionDefinition,
};
use datafusion::physical_expr::expressions::Literal;
use millstream_runtime::plan::{Changes, Operation, SortKey};

use super::{Lowered, Lowering, column_expressions};
use crate::bind::plan_error;
use crate::error::{PlanError, PlanErrorKind, Result};

/// Which rows of an order are kept.
#[derive(Clone, Copy)]
struct Range {
    offset: usize,
    limit: Option<usize>,
}

impl Lowering {
    pub(super) fn limit(&mut self, limit: &Limit) -> Result<Lowered> {
        let range = range_of(limit)?;
        if range.offset == 0 && range.limit.is_none() {
            return self.plan(&limit.input);
        }
        match limit.input.as_ref() {
            LogicalPlan::Sort(sort) => {
                let input = self.plan(&sort.input)?;
                self.sorted(&input, &[], &sort.expr, sort.input.schema(), range)
            }
            LogicalPlan::Projection(projection) => match projection.input.as_ref() {
                LogicalPlan::Sort(sort) => {
                    let input = self.plan(&sort.input)?;
                    let kept = self.sorted(&input, &[], &sort.expr, sort.input.schema(), range)?;
                    self.project(&kept, &projection.expr, sort.input.schema())
                }
                _ => self.unordered(&limit.input, range),
            },
            other => self.unordered(other, range),
        }
    }

    /// Without an order of the user's the rows are ordered by all of their values, so that the answer is one.
    fn unordered(&mut self, plan: &LogicalPlan, range: Range) -> Result<Lowered> {
        let input = self.plan(plan)?;
        let order = (0..input.schema.fields().len()).map(ascending).collect();
        Ok(self.top_n(&input, Vec::new(), order, range))
    }

    /// The rows of a range in an order, per partition. Keys that are no plain columns are computed behind the
    /// columns and taken out again.
    fn sorted(
        &mut self,
        input: &Lowered,
        partition: &[Expr],
        keys: &[LogicalSortKey],
        schema: &DFSchema,
        range: Range,
    ) -> Result<Lowered> {
        let mut expressions: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
        let width = expressions.len();
        let mut column_of = |expr: &Expr| match expressions.iter().position(|known| known == expr) {
            Some(column) => column,
            None => {
                expressions.push(expr.clone());
                expressions.len() - 1
            }
        };
        let partition = partition.iter().map(&mut column_of).collect();
        let order = keys
            .iter()
            .map(|key| SortKey { column: column_of(&key.expr), descending: !key.asc, nulls_first: key.nulls_first })
            .collect();
        let prepared = self.project(input, &expressions, schema)?;
        let kept = self.top_n(&prepared, partition, order, range);
        let columns = column_expressions(&kept.schema, 0..width);
        self.project_physical(&kept, columns)
    }

    fn top_n(&mut self, input: &Lowered, partition: Vec<usize>, order: Vec<SortKey>, range: Range) -> Lowered {
        let schema = Arc::clone(&input.schema);
        // One row per partition: the partition is a key.
        let one_each = range.limit == Some(1) && !partition.is_empty();
        let key = if one_each { Some(partition.clone()) } else { input.key.clone() };
        // Only rows of the same window push each other out.
        let bounds = input.event_times.iter().filter(|bound| partition.contains(&bound.column));
        let event_times = bounds.copied().collect();
        let operation = Operation::TopN { partition, order, offset: range.offset, limit: range.limit };
        let node = self.add(operation, vec![input.node], Arc::clone(&schema), Changes::Retract);
        Lowered { node, schema, changes: Changes::Retract, event_times, key, one_row: false }
    }

    pub(super) fn distinct_on(&mut self, distinct: &DistinctOn) -> Result<Lowered> {
        let input = self.plan(&distinct.input)?;
        let schema = distinct.input.schema();
        let keys = distinct.sort_expr.as_deref().unwrap_or_default();
        let range = Range { offset: 0, limit: Some(1) };
        let kept = self.sorted(&input, &distinct.on_expr, keys, schema, range)?;
        self.project(&kept, &distinct.select_expr, schema)
    }

    /// `WHERE n <= 3` over `row_number() OVER (PARTITION BY ... ORDER BY ...) AS n`, if that is what it is.
    /// `shown` are the expressions over the filter's output, if it is not all shown. The number itself is not
    /// kept: unless only the first row is, it must not be shown.
    pub(super) fn ranked_filter(&mut self, filter: &Filter, shown: Option<&[Expr]>) -> Result<Option<Lowered>> {
        let (window, projection) = match filter.input.as_ref() {
            LogicalPlan::Window(window) => (window, None),
            LogicalPlan::Projection(projection) => match projection.input.as_ref() {
                LogicalPlan::Window(window) => (window, Some(projection)),
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        let Some(ranking) = row_number(window) else { return Ok(None) };
        let number = Column::from(window.schema.qualified_field(window.schema.fields().len() - 1));
        let number = match projection {
            None => number,
            Some(projection) => match place_of(projection, &number) {
                Some(place) => Column::from(projection.schema.qualified_field(place)),
                None => return Ok(None),
            },
        };
        let mut limit: Option<usize> = None;
        let mut others = Vec::new();
        for condition in split_conjunction(&filter.predicate) {
            match upper_bound(condition, &number) {
                Some(bound) => limit = Some(limit.map_or(bound, |known| known.min(bound))),
                None => others.push(condition.clone()),
            }
        }
        let Some(limit) = limit else { return Ok(None) };
        let number_shown = shown.is_none_or(|shown| shown.iter().any(|expr| expr.column_refs().contains(&number)));
        if number_shown && limit > 1 {
            return Err(PlanError::unsupported("row_number() can be compared but not shown in a materialized view")
                .with_hint("Leave the number out of the select list: a change of one row would change them all."));
        }
        if let Some(condition) = others.iter().find(|condition| condition.column_refs().contains(&number)) {
            return Err(PlanError::unsupported(format!(
                "row_number() can only be compared with a constant from above in a materialized view, not {condition}"
            )));
        }
        let input = self.plan(&window.input)?;
        let range = Range { offset: 0, limit: Some(limit) };
        let kept = self.sorted(&input, &ranking.partition_by, &ranking.order_by, window.input.schema(), range)?;
        let width = window.input.schema().fields().len();
        let mut expressions = column_expressions(&kept.schema, 0..width);
        expressions.push(Arc::new(Literal::new(ScalarValue::UInt64(Some(1)))));
        let mut numbered = self.project_physical(&kept, expressions)?;
        let mut schema = &window.schema;
        if let Some(projection) = projection {
            numbered = self.project(&numbered, &projection.expr, schema)?;
            schema = &projection.schema;
        }
        match conjunction(others) {
            None => Ok(Some(numbered)),
            Some(rest) => self.filtered(numbered, &rest, schema).map(Some),
        }
    }
}

/// Where a projection shows a column as it is, if that is the only use of it.
fn place_of(projection: &Projection, column: &Column) -> Option<usize> {
    let is_column = |expr: &Expr| matches!(expr.clone().unalias(), Expr::Column(own) if own == *column);
    let place = projection.expr.iter().position(is_column)?;
    let users = projection.expr.iter().filter(|expr| expr.column_refs().contains(column)).count();
    (users == 1).then_some(place)
}

fn ascending(column: usize) -> SortKey {
    SortKey { column, descending: false, nulls_first: false }
}

fn range_of(limit: &Limit) -> Result<Range> {
    let constant = || PlanError::new(PlanErrorKind::FeatureNotSupported, "LIMIT and OFFSET must be constants here");
    let offset = match limit.get_skip_type().map_err(plan_error)? {
        SkipType::Literal(offset) => offset,
        SkipType::UnsupportedExpr => return Err(constant()),
    };
    let limit = match limit.get_fetch_type().map_err(plan_error)? {
        FetchType::Literal(limit) => limit,
        FetchType::UnsupportedExpr => return Err(constant()),
    };
    Ok(Range { offset, limit })
}

struct Ranking {
    partition_by: Vec<Expr>,
    order_by: Vec<LogicalSortKey>,
}

/// The ranking of a node that computes one `row_number()` and nothing else.
fn row_number(window: &Window) -> Option<Ranking> {
    let [expr] = window.window_expr.as_slice() else { return None };
    let Expr::WindowFunction(call) = expr.clone().unalias() else { return None };
    let WindowFunctionDefinition::WindowUDF(function) = &call.fun else { return None };
    (function.name() == "row_number")
        .then(|| Ranking { partition_by: call.params.partition_by.clone(), order_by: call.params.order_by.clone() })
}

/// `n` of `number <= n`, also as `<`, `=` 1 and turned round; casts around the number are looked through.
fn upper_bound(condition: &Expr, number: &Column) -> Option<usize> {
    let Expr::BinaryExpr(binary) = condition else { return None };
    let is_number = |expr: &Expr| match expr {
        Expr::Cast(cast) => matches!(cast.expr.as_ref(), Expr::Column(column) if column == number),
        Expr::Column(column) => column == number,
        _ => false,
    };
    let (operator, bound) = if is_number(&binary.left) {
        (binary.op, binary.right.as_ref())
    } else if is_number(&binary.right) {
        (binary.op.swap()?, binary.left.as_ref())
    } else {
        return None;
    };
    let Expr::Literal(value, _) = bound else { return None };
    let ScalarValue::Int64(Some(bound)) = value.cast_to(&arrow::datatypes::DataType::Int64).ok()? else { return None };
    match operator {
        Operator::LtEq => usize::try_from(bound).ok(),
        Operator::Lt => usize::try_from(bound - 1).ok(),
        Operator::Eq if bound == 1 => Some(1),
        _ => None,
    }
}
