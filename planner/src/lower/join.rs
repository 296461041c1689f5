//! Joins: key columns prepared on both sides, right joins turned round, and the pair of keys from which the
//! watermark forgets rows.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::{DFSchema, JoinType, NullEquality};
use datafusion::logical_expr::{Expr, ExprSchemable, Join, LogicalPlan};
use millstream_runtime::plan::{Changes, ClosingJoin, EventTimeColumn, JoinKind, Operation};

use super::{Lowered, Lowering, column_expressions, unsupported};
use crate::bind::plan_error;
use crate::error::{PlanError, Result};
use crate::functions;

/// One side of a join.
struct Side<'a> {
    plan: &'a LogicalPlan,
    lowered: Lowered,
    /// Columns of the plan itself; key columns that are computed stand behind them.
    width: usize,
}

impl Lowering {
    pub(super) fn join(&mut self, join: &Join) -> Result<Lowered> {
        let (kind, turned) = kind_of(join)?;
        check_nulls(join)?;
        let (mut left, mut right) = (self.side(&join.left)?, self.side(&join.right)?);
        let mut keys: Vec<(Expr, Expr)> = join.on.clone();
        if turned {
            std::mem::swap(&mut left, &mut right);
            keys = keys.into_iter().map(|(left, right)| (right, left)).collect();
        }
        let (left_keys, right_keys): (Vec<Expr>, Vec<Expr>) = keys.into_iter().unzip();
        check_key_types(&left, &left_keys, &right, &right_keys)?;
        let left_columns = self.key_columns(&mut left, &left_keys)?;
        let right_columns = self.key_columns(&mut right, &right_keys)?;
        let on: Vec<(usize, usize)> = left_columns.into_iter().zip(right_columns).collect();
        self.check_cross(join, kind, &left, &right, &on)?;
        let residual = match &join.filter {
            None => None,
            Some(filter) => {
                let filter = functions::physical_expression(filter, &residual_schema(&left, &right)?)?;
                Some(shifted_residual(filter, left.width, left.lowered.schema.fields().len())?)
            }
        };
        let joined = self.joined(&left.lowered, &right.lowered, kind, on, residual);
        self.without_key_columns(joined, &left, &right, kind, turned)
    }

    fn side<'a>(&mut self, plan: &'a LogicalPlan) -> Result<Side<'a>> {
        Ok(Side { plan, lowered: self.plan(plan)?, width: plan.schema().fields().len() })
    }

    /// The columns that hold the keys of one side; those that are no plain columns are computed behind the rest.
    fn key_columns(&mut self, side: &mut Side<'_>, keys: &[Expr]) -> Result<Vec<usize>> {
        let schema = side.plan.schema();
        let mut expressions: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
        let mut columns = Vec::with_capacity(keys.len());
        for key in keys {
            let column = match key {
                Expr::Column(column) => schema.index_of_column(column).map_err(plan_error)?,
                computed => match expressions.iter().position(|known| known == computed) {
                    Some(column) => column,
                    None => {
                        expressions.push(computed.clone());
                        expressions.len() - 1
                    }
                },
            };
            columns.push(column);
        }
        side.lowered = self.project(&side.lowered, &expressions, schema)?;
        Ok(columns)
    }

    fn joined(
        &mut self,
        left: &Lowered,
        right: &Lowered,
        kind: JoinKind,
        on: Vec<(usize, usize)>,
        residual: Option<Arc<dyn datafusion::physical_expr::PhysicalExpr>>,
    ) -> Lowered {
        let bounds: Vec<(usize, EventTimeColumn, EventTimeColumn)> = on
            .iter()
            .enumerate()
            .filter_map(|(pair, (left_key, right_key))| {
                Some((pair, left.event_time(*left_key)?, right.event_time(*right_key)?))
            })
            .collect();
        let closing = bounds.first().map(|(pair, left, right)| ClosingJoin {
            pair: *pair,
            left_extent_micros: left.extent_micros,
            right_extent_micros: right.extent_micros,
        });
        let both_append = left.changes == Changes::Append && right.changes == Changes::Append;
        let (shows_right, appends) = match kind {
            JoinKind::Inner => (true, both_append),
            JoinKind::LeftSemi => (false, both_append),
            JoinKind::Left => (true, false),
            JoinKind::LeftAnti => (false, false),
        };
        let changes = if appends { Changes::Append } else { Changes::Retract };
        let left_width = left.schema.fields().len();
        let mut fields: Vec<_> = left.schema.fields().iter().cloned().collect();
        let mut event_times = Vec::new();
        for (_, left, right) in &bounds {
            // A pair comes with the later one of its rows.
            let extent_micros = left.extent_micros.max(right.extent_micros);
            event_times.push(EventTimeColumn { column: left.column, extent_micros });
            if kind == JoinKind::Inner {
                event_times.push(EventTimeColumn { column: left_width + right.column, extent_micros });
            }
        }
        if shows_right {
            let right_fields = right.schema.fields().iter();
            fields.extend(right_fields.map(|field| match kind {
                JoinKind::Left => Arc::new(Field::clone(field).with_nullable(true)),
                JoinKind::Inner | JoinKind::LeftSemi | JoinKind::LeftAnti => Arc::clone(field),
            }));
        }
        let key = joined_key(left, right, kind, &on);
        let one_row = matches!(kind, JoinKind::Left) && left.one_row && right.one_row;
        let schema = Arc::new(Schema::new(fields));
        let operation = Operation::Join { kind, on, residual, closing };
        let node = self.add(operation, vec![left.node, right.node], Arc::clone(&schema), changes);
        Lowered { node, schema, changes, event_times, key, one_row }
    }

    /// Takes computed key columns out again and puts the sides of a turned join back in order.
    fn without_key_columns(
        &mut self,
        joined: Lowered,
        left: &Side<'_>,
        right: &Side<'_>,
        kind: JoinKind,
        turned: bool,
    ) -> Result<Lowered> {
        let shift = left.lowered.schema.fields().len();
        let left_columns = 0..left.width;
        let right_columns = match kind {
            JoinKind::Inner | JoinKind::Left => shift..shift + right.width,
            JoinKind::LeftSemi | JoinKind::LeftAnti => 0..0,
        };
        let kept: Vec<usize> = match turned {
            false => left_columns.chain(right_columns).collect(),
            true => right_columns.chain(left_columns).collect(),
        };
        let expressions = column_expressions(&joined.schema, kept);
        self.project_physical(&joined, expressions)
    }

    /// A join without an equality is run when one side is a single row; otherwise every pair would be kept.
    fn check_cross(
        &self,
        join: &Join,
        kind: JoinKind,
        left: &Side<'_>,
        right: &Side<'_>,
        on: &[(usize, usize)],
    ) -> Result<()> {
        if !on.is_empty() || right.lowered.one_row || (left.lowered.one_row && kind == JoinKind::Inner) {
            return Ok(());
        }
        if kind == JoinKind::Left && join.filter.is_none() {
            return Err(unsupported(
                "a scalar subquery that may give several rows",
                "Aggregate it without GROUP BY, for example with max(), so that it gives one row.",
            ));
        }
        Err(unsupported(
            "a join without an equality between the two sides",
            "Every pair of rows would have to be kept: add a condition of the form a.x = b.y, or join with a \
             subquery of one row (an aggregate without GROUP BY).",
        ))
    }
}

fn kind_of(join: &Join) -> Result<(JoinKind, bool)> {
    Ok(match join.join_type {
        JoinType::Inner => (JoinKind::Inner, false),
        JoinType::Left => (JoinKind::Left, false),
        JoinType::Right => (JoinKind::Left, true),
        JoinType::LeftSemi => (JoinKind::LeftSemi, false),
        JoinType::RightSemi => (JoinKind::LeftSemi, true),
        JoinType::LeftAnti => (JoinKind::LeftAnti, false),
        JoinType::RightAnti => (JoinKind::LeftAnti, true),
        JoinType::Full => {
            return Err(unsupported(
                "FULL JOIN",
                "Write it as a LEFT JOIN b UNION ALL the rows of b for which NOT EXISTS a match in a.",
            ));
        }
        JoinType::LeftMark | JoinType::RightMark => {
            return Err(unsupported(
                "EXISTS or IN below OR or in the select list",
                "Write one SELECT per branch and put them together with UNION.",
            ));
        }
    })
}

/// Joins in which null equals null, or in which one null decides for all rows, have no operator.
fn check_nulls(join: &Join) -> Result<()> {
    if join.null_equality == NullEquality::NullEqualsNull {
        return Err(unsupported(
            "a join in which null equals null (IS NOT DISTINCT FROM, INTERSECT, EXCEPT)",
            "Write it with = and EXISTS or NOT EXISTS.",
        ));
    }
    if join.null_aware {
        let nullable = |expr: &Expr, plan: &LogicalPlan| expr.nullable(plan.schema().as_ref()).unwrap_or(true);
        let decided_by_null =
            join.on.iter().any(|(left, right)| nullable(left, &join.left) || nullable(right, &join.right));
        if decided_by_null {
            return Err(unsupported(
                "NOT IN over columns that may be null",
                "Write NOT EXISTS (SELECT ... WHERE inner.x = outer.x), or declare the columns NOT NULL.",
            ));
        }
    }
    Ok(())
}

fn check_key_types(left: &Side<'_>, left_keys: &[Expr], right: &Side<'_>, right_keys: &[Expr]) -> Result<()> {
    for (left_key, right_key) in left_keys.iter().zip(right_keys) {
        let left_type = left_key.get_type(left.plan.schema().as_ref()).map_err(plan_error)?;
        let right_type = right_key.get_type(right.plan.schema().as_ref()).map_err(plan_error)?;
        if left_type != right_type {
            return Err(PlanError::internal(format!("join keys of types {left_type} and {right_type}")));
        }
    }
    Ok(())
}

/// The columns that a residual condition sees, computed keys left out.
fn residual_schema(left: &Side<'_>, right: &Side<'_>) -> Result<DFSchema> {
    left.plan.schema().join(right.plan.schema()).map_err(plan_error)
}

/// Moves the references to right columns behind the computed key columns of the left side.
fn shifted_residual(
    filter: Arc<dyn datafusion::physical_expr::PhysicalExpr>,
    width: usize,
    width_with_keys: usize,
) -> Result<Arc<dyn datafusion::physical_expr::PhysicalExpr>> {
    use datafusion::common::tree_node::{Transformed, TreeNode};
    use datafusion::physical_expr::PhysicalExpr;
    use datafusion::physical_expr::expressions::Column;
    let shift = width_with_keys - width;
    if shift == 0 {
        return Ok(filter);
    }
    let moved = filter.transform_up(|node| {
        let Some(column) = node.downcast_ref::<Column>() else { return Ok(Transformed::no(node)) };
        if column.index() < width {
            return Ok(Transformed::no(node));
        }
        let moved = Column::new(column.name(), column.index() + shift);
        Ok(Transformed::yes(Arc::new(moved) as Arc<dyn PhysicalExpr>))
    });
    Ok(moved.map_err(plan_error)?.data)
}

/// What is unique in the output of a join.
fn joined_key(left: &Lowered, right: &Lowered, kind: JoinKind, on: &[(usize, usize)]) -> Option<Vec<usize>> {
    let left_width = left.schema.fields().len();
    let covers = |key: &Option<Vec<usize>>, columns: &mut dyn Iterator<Item = usize>| {
        let columns: Vec<usize> = columns.collect();
        key.as_ref().is_some_and(|key| key.iter().all(|column| columns.contains(column)))
    };
    let shifted = |key: &[usize]| key.iter().map(|column| column + left_width).collect::<Vec<_>>();
    match kind {
        JoinKind::LeftSemi | JoinKind::LeftAnti => left.key.clone(),
        JoinKind::Inner | JoinKind::Left => {
            if right.one_row || covers(&right.key, &mut on.iter().map(|(_, right)| *right)) {
                return left.key.clone();
            }
            if kind == JoinKind::Inner && (left.one_row || covers(&left.key, &mut on.iter().map(|(left, _)| *left))) {
                return right.key.as_deref().map(shifted);
            }
            // In a left join the right half of a key may be null, and null is never equal to itself.
            match (kind, &left.key, &right.key) {
                (JoinKind::Inner, Some(left), Some(right)) => {
                    Some(left.iter().copied().chain(shifted(right)).collect())
                }
                _ => None,
            }
        }
    }
}
