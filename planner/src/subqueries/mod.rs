//! Subqueries as expressions: `EXISTS`, `IN`, `ANY`, `ALL` and scalar subqueries, wherever an expression can stand.
//!
//! DataFusion makes joins of them where they are conditions of WHERE, in two-valued logic, and of scalar subqueries
//! that are aggregates. Those stay with it ([`kept`]). Of the others those whose rows are chosen by equalities become
//! joins that keep SQL's three-valued logic ([`keyed`]), which views can follow, too. What is left is answered row by row
//! by a node below the one that asks ([`SubqueryNode`]), whatever it consists of; in a view it is refused.

mod guarded;
mod kept;
mod keyed;
mod node;
mod safe;

use std::cell::Cell;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison, SetQuantifier, Sort as SortKey};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Distinct, DistinctOn, EmptyRelation, Expr, Extension, Filter, Join, LogicalPlan, Operator, Projection, Subquery,
    Union, Values, lit,
};

use self::guarded::{Need, Parts, each_part, may_fail_early};
pub(crate) use self::guarded::{as_condition, as_number, branch_by_branch};
pub(crate) use self::kept::names_outer;
pub(crate) use self::keyed::rows_only;
pub(crate) use self::node::{Answer, SubqueryNode, awaited, with_awaited, with_outer_values};
use self::node::{outer_columns, subquery_of};
pub(crate) use self::safe::is_safe_expression;
use crate::bind::{plan_error, refuse};
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::functions::rows_of_array;

/// The plan of a batch query with the subqueries that DataFusion can't run made columns.
pub(crate) fn as_columns(plan: LogicalPlan) -> Result<LogicalPlan> {
    refuse_outer_aggregates(&plan).map_err(plan_error)?;
    rewritten(plan, Pass { made: Cell::new(0), of_view: false })
}

/// An aggregate over columns of the query around belongs to that query, as SQL has it; the planner counts it among the
/// subquery's own, which would give other values.
fn refuse_outer_aggregates(plan: &LogicalPlan) -> DataFusionResult<()> {
    plan.apply_with_subqueries(|node| {
        let LogicalPlan::Aggregate(aggregate) = node else { return Ok(TreeNodeRecursion::Continue) };
        for expr in &aggregate.aggr_expr {
            let outer = expr.exists(|expr| Ok(matches!(expr, Expr::OuterReferenceColumn(..))))?;
            if outer && expr.column_refs().is_empty() {
                let message = "an aggregate over columns of the query around a subquery is not supported in it";
                let hint = "Compute it in a subquery in FROM, or name a column of the subquery in it.";
                return Err(refuse_with(PlanErrorKind::FeatureNotSupported, message, hint));
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn refuse_with(kind: PlanErrorKind, message: &str, hint: &str) -> DataFusionError {
    DataFusionError::External(Box::new(PlanError::new(kind, message).with_hint(hint)))
}

/// `EXISTS` asks for a row and for no column of it: what its subquery selects is not computed, and can't fail.
pub(crate) fn rows_of_exists(plan: LogicalPlan) -> DataFusionResult<LogicalPlan> {
    let reduced = |expr: Expr| -> DataFusionResult<Transformed<Expr>> {
        let Expr::Exists(Exists { subquery, negated }) = expr else { return Ok(Transformed::no(expr)) };
        let rows = Arc::new(rows_only(&subquery.subquery)?.clone());
        let plan = LogicalPlan::Projection(Projection::try_new(vec![lit(true).alias("found")], rows)?);
        let outer_ref_columns = plan.all_out_ref_exprs();
        let subquery = Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: subquery.spans };
        Ok(Transformed::yes(Expr::Exists(Exists { subquery, negated })))
    };
    let changed = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(expr.transform_up(reduced)?.update_data(|expr| name.restore(expr)))
        })
    });
    changed.map(|changed| changed.data)
}

/// The plan of a view with the subqueries that DataFusion makes no join of made joins.
pub(crate) fn as_joins(plan: LogicalPlan) -> Result<LogicalPlan> {
    rewritten(plan, Pass { made: Cell::new(0), of_view: true })
}

fn rewritten(plan: LogicalPlan, pass: Pass) -> Result<LogicalPlan> {
    let changed = plan.transform_up_with_subqueries(|node| pass.node(node));
    changed.map(|changed| changed.data).map_err(plan_error)
}

/// Names the columns that it makes.
struct Pass {
    made: Cell<usize>,
    /// Only what changes of rows can be followed through.
    of_view: bool,
}

impl Pass {
    fn node(&self, node: LogicalPlan) -> DataFusionResult<Transformed<LogicalPlan>> {
        // A scalar subquery may give NULL where its column can't; those above are told.
        let node = if self.made.get() > 0 { node.recompute_schema()? } else { node };
        if !self.asks(&node)? {
            return Ok(Transformed::no(node));
        }
        match node {
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Values(values) => self.values(values),
            // A query has asked them already (`crate::batch`); what explains one has not.
            LogicalPlan::Limit(limit) if !self.of_view => Ok(Transformed::no(LogicalPlan::Limit(limit))),
            LogicalPlan::Limit(_) => {
                let message = "a subquery in LIMIT or OFFSET is not supported in a materialized view";
                Err(refuse(PlanErrorKind::FeatureNotSupported, message))
            }
            node => self.others(node),
        }
    }

    /// Whether a node has a subquery that DataFusion can't run where it is.
    fn asks(&self, node: &LogicalPlan) -> DataFusionResult<bool> {
        let mut asks = false;
        node.apply_expressions(|expr| {
            asks |= has_subquery(expr) && !self.keeps(node, expr)?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(asks)
    }

    /// Whether an expression of a node can stay as it is.
    fn keeps(&self, node: &LogicalPlan, expr: &Expr) -> DataFusionResult<bool> {
        if self.of_view {
            return Ok(kept::only_scalars(expr));
        }
        Ok(kept::scalars_of(node) && kept::scalars(expr) && !may_fail_early(expr, asks_eagerly(node)?)?)
    }

    /// What DataFusion makes a join of stays a condition.
    fn filter(&self, filter: Filter) -> DataFusionResult<Transformed<LogicalPlan>> {
        let conditions = split_conjunction_owned(filter.predicate.clone()).into_iter();
        let conditions = conditions.map(|condition| if self.of_view { condition } else { kept::normalized(condition) });
        let eagerly = asks_eagerly(&filter.input)?;
        let (mut kept, mut asked) = (Vec::new(), Vec::new());
        for condition in conditions {
            let stays = match self.of_view {
                true => kept::condition_of_view(&condition),
                false => kept::condition(&condition) && !may_fail_early(&condition, eagerly)?,
            };
            if !has_subquery(&condition) || stays { kept.push(condition) } else { asked.push(condition) }
        }
        if asked.is_empty() && self.of_view {
            return Ok(Transformed::no(LogicalPlan::Filter(filter)));
        }
        let mut input = filter.input;
        if let Some(kept) = conjunction(kept) {
            input = Arc::new(LogicalPlan::Filter(Filter::try_new(kept, input)?));
        }
        let Some(asked) = conjunction(asked) else { return Ok(Transformed::yes(input.as_ref().clone())) };
        let shown = Arc::clone(input.schema());
        let (asked, input) = self.columns(asked, input.as_ref().clone())?;
        let filtered = LogicalPlan::Filter(Filter::try_new(asked, Arc::new(input))?);
        Ok(Transformed::yes(only(&shown, filtered)?))
    }

    /// The condition of an inner join can be asked behind it; that of another one on the side that it is about.
    fn join(&self, mut join: Join) -> DataFusionResult<Transformed<LogicalPlan>> {
        let shown = Arc::clone(&join.schema);
        let conditions = join.filter.take().map(split_conjunction_owned).unwrap_or_default();
        let (asked, plain): (Vec<Expr>, Vec<Expr>) = conditions.into_iter().partition(has_subquery);
        if join.on.iter().any(|(left, right)| has_subquery(left) || has_subquery(right)) {
            return Err(refuse(PlanErrorKind::FeatureNotSupported, BOTH_SIDES));
        }
        if join.join_type == JoinType::Inner {
            join.filter = conjunction(plain);
            let joined = LogicalPlan::Join(join);
            let Some(asked) = conjunction(asked) else { return Ok(Transformed::no(joined)) };
            return self.filter(Filter::try_new(asked, Arc::new(joined))?);
        }
        let mut conditions = plain;
        for condition in asked {
            let (left, right) = (join.left.as_ref().clone(), join.right.as_ref().clone());
            let condition = match (about(&condition, left.schema())?, about(&condition, right.schema())?) {
                (true, _) => {
                    let (condition, left) = self.columns(condition, left)?;
                    join.left = Arc::new(left);
                    condition
                }
                (false, true) => {
                    let (condition, right) = self.columns(condition, right)?;
                    join.right = Arc::new(right);
                    condition
                }
                (false, false) => return Err(refuse(PlanErrorKind::FeatureNotSupported, BOTH_SIDES)),
            };
            conditions.push(condition);
        }
        let joined = Join::try_new(
            join.left,
            join.right,
            join.on,
            conjunction(conditions),
            join.join_type,
            join.join_constraint,
            join.null_equality,
            join.null_aware,
        )?;
        Ok(Transformed::yes(only(&shown, LogicalPlan::Join(joined))?))
    }

    /// Rows of VALUES become rows that are projected.
    fn values(&self, values: Values) -> DataFusionResult<Transformed<LogicalPlan>> {
        let names: Vec<&String> = values.schema.fields().iter().map(|field| field.name()).collect();
        let mut rows = Vec::with_capacity(values.values.len());
        for row in values.values {
            let schema = Arc::new(DFSchema::empty());
            let one_row = LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, schema });
            let cells = row.into_iter().zip(&names).map(|(cell, name)| cell.alias(name.as_str())).collect();
            let row = LogicalPlan::Projection(Projection::try_new(cells, Arc::new(one_row))?);
            rows.push(Arc::new(self.node(row)?.data));
        }
        Ok(Transformed::yes(match rows.as_slice() {
            [one] => one.as_ref().clone(),
            _ => LogicalPlan::Union(Union::try_new(rows)?),
        }))
    }

    fn others(&self, node: LogicalPlan) -> DataFusionResult<Transformed<LogicalPlan>> {
        let inputs = node.inputs();
        let [input] = inputs.as_slice() else {
            return Err(refuse(PlanErrorKind::FeatureNotSupported, "a subquery is not supported here"));
        };
        let mut input = with_columns_below(&node, input)?;
        let shown = Arc::clone(node.schema());
        let names = NamePreserver::new(&node);
        let (mut expressions, mut known) = (Vec::new(), Vec::<(Expr, Expr)>::new());
        for expr in node.expressions() {
            let name = names.save(&expr);
            if !has_subquery(&expr) || self.keeps(&node, &expr)? {
                expressions.push(expr);
                continue;
            }
            // Expressions that have to be the same stay the same.
            let answered = match known.iter().find(|(asked, _)| *asked == expr) {
                Some((_, answered)) => answered.clone(),
                None => {
                    let (answered, below) = self.columns(expr.clone(), input)?;
                    input = below;
                    known.push((expr, answered.clone()));
                    answered
                }
            };
            expressions.push(name.restore(answered));
        }
        if let LogicalPlan::Distinct(Distinct::On(on)) = &node {
            return distinct_on(on, expressions, input).map(Transformed::yes);
        }
        let passes_columns = matches!(node, LogicalPlan::Sort(_) | LogicalPlan::Window(_));
        let answered = node.with_new_exprs(expressions, vec![input])?.recompute_schema()?;
        Ok(Transformed::yes(if passes_columns { only(&shown, answered)? } else { answered }))
    }

    /// An expression with columns in the place of its subqueries, and the input with those columns.
    fn columns(&self, expr: Expr, input: LogicalPlan) -> DataFusionResult<(Expr, LogicalPlan)> {
        let mut asking = Asking { pass: self, input };
        let answered = asking.part(expr, &None)?;
        Ok((answered, asking.input))
    }
}

/// Takes the subqueries of an expression to nodes below it.
struct Asking<'a> {
    pass: &'a Pass,
    /// The rows that ask, with what was answered so far.
    input: LogicalPlan,
}

impl Parts for Asking<'_> {
    fn part(&mut self, expr: Expr, need: &Need) -> DataFusionResult<Expr> {
        if !has_subquery(&expr) {
            return Ok(expr);
        }
        if let Some((subquery, answer, negated)) = question(&expr) {
            if self.pass.of_view && kept::is_scalar_of_view(&expr) {
                return Ok(expr);
            }
            let answer = self.answer(subquery, answer, need)?;
            return Ok(if negated { Expr::Not(Box::new(answer)) } else { answer });
        }
        let expr = match self.pass.of_view {
            true => expr,
            false => match each_part(self, expr, need)? {
                Ok(answered) => return Ok(answered),
                Err(other) => other,
            },
        };
        Ok(expr.map_children(|child| self.part(child, need).map(Transformed::yes))?.data)
    }
}

impl Asking<'_> {
    /// The answer of a subquery, over the input that has it then.
    fn answer(&mut self, subquery: Subquery, mut answer: Answer, need: &Need) -> DataFusionResult<Expr> {
        let of_view = self.pass.of_view;
        let mut joins = true;
        if let Answer::Compared { left, .. } = &mut answer {
            *left = self.part(left.clone(), need)?;
            // A join compares for every row.
            joins = of_view || need.is_none() || safe::is_safe_expression(left, self.input.schema())?;
        }
        let name = format!("\u{0}subquery {}", self.pass.made.get());
        self.pass.made.set(self.pass.made.get() + 1);
        if joins && let Some(joined) = keyed::joined(&subquery.subquery, &answer, &self.input, &name, of_view)? {
            self.input = joined.plan;
            return Ok(joined.answer);
        }
        if of_view {
            return Err(not_in_a_view());
        }
        let outer = outer_columns(&subquery.subquery)?.into_iter();
        let outer = outer.filter(|column| self.input.schema().maybe_index_of_column(column).is_some());
        let outer = outer.map(|column| (column.clone(), Expr::Column(column))).collect();
        let node = SubqueryNode::try_new(self.input.clone(), subquery.subquery, outer, answer, need.clone(), &name)?;
        self.input = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        Ok(Expr::Column(Column::new_unqualified(name)))
    }
}

/// Whether a scalar subquery is asked before the rows of a node are known to be there: a condition with its value can then
/// be asked below the joins.
fn asks_eagerly(node: &LogicalPlan) -> DataFusionResult<bool> {
    match node {
        LogicalPlan::Projection(_) => Ok(false),
        node => node.exists(|node| Ok(matches!(node, LogicalPlan::Join(_)))),
    }
}

fn not_in_a_view() -> DataFusionError {
    let message = "this subquery as an expression is not supported in a materialized view";
    let hint = "EXISTS and IN are, where the subquery is chosen by equalities with columns outside of it, and values \
                that a whole key chooses. Write others as a join with a grouped subquery, or use them in a query over \
                the view.";
    refuse_with(PlanErrorKind::FeatureNotSupported, message, hint)
}

const BOTH_SIDES: &str = "a subquery over both sides in the condition of an outer join is not supported";

/// What an expression asks of a subquery, and whether the opposite is wanted.
fn question(expr: &Expr) -> Option<(Subquery, Answer, bool)> {
    if let Some(subquery) = rows_of_array(expr) {
        return Some((subquery.clone(), Answer::Array, false));
    }
    Some(match expr {
        Expr::Exists(Exists { subquery, negated }) => (subquery.clone(), Answer::Exists, *negated),
        Expr::ScalarSubquery(subquery) => (subquery.clone(), Answer::Value, false),
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            let left = expr.as_ref().clone();
            (subquery.clone(), Answer::Compared { left, op: Operator::Eq, all: false }, *negated)
        }
        Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }) => {
            let (left, all) = (expr.as_ref().clone(), matches!(quantifier, SetQuantifier::All));
            match op {
                // It is NOT IN.
                Operator::NotEq if all => {
                    (subquery.clone(), Answer::Compared { left, op: Operator::Eq, all: false }, true)
                }
                op => (subquery.clone(), Answer::Compared { left, op: *op, all }, false),
            }
        }
        _ => return None,
    })
}

/// `DISTINCT ON` with other expressions: DataFusion takes it without an order only.
fn distinct_on(on: &DistinctOn, expressions: Vec<Expr>, input: LogicalPlan) -> DataFusionResult<LogicalPlan> {
    let mut expressions = expressions.into_iter();
    let groups = expressions.by_ref().take(on.on_expr.len()).collect();
    let shown = expressions.by_ref().take(on.select_expr.len()).collect();
    let keys = on.sort_expr.as_ref().map(|keys| {
        let keys = keys.iter().zip(expressions);
        keys.map(|(key, expr)| SortKey { expr, ..key.clone() }).collect::<Vec<_>>()
    });
    Ok(LogicalPlan::Distinct(Distinct::On(DistinctOn::try_new(groups, shown, keys, Arc::new(input))?)))
}

/// The input of a node, with the columns that ORDER BY asks for in its subqueries alone and does not show.
fn with_columns_below(node: &LogicalPlan, input: &LogicalPlan) -> DataFusionResult<LogicalPlan> {
    let (LogicalPlan::Sort(_), LogicalPlan::Projection(projection)) = (node, input) else { return Ok(input.clone()) };
    let mut expressions = projection.expr.clone();
    node.apply_expressions(|expr| {
        expr.apply(|expr| {
            let Some(subquery) = subquery_of(expr) else { return Ok(TreeNodeRecursion::Continue) };
            for column in outer_columns(&subquery.subquery)? {
                let hidden = projection.schema.maybe_index_of_column(&column).is_none()
                    && projection.input.schema().maybe_index_of_column(&column).is_some();
                let column = Expr::Column(column);
                if hidden && !expressions.contains(&column) {
                    expressions.push(column);
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(LogicalPlan::Projection(Projection::try_new(expressions, Arc::clone(&projection.input))?))
}

/// Whether an expression asks a subquery.
pub(crate) fn has_subquery(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(subquery_of(expr).is_some())).unwrap_or(true)
}

/// Whether all columns that an expression and its subqueries ask for are in a schema.
fn about(expr: &Expr, schema: &DFSchema) -> DataFusionResult<bool> {
    let mut columns: Vec<Column> = expr.column_refs().into_iter().cloned().collect();
    expr.apply(|expr| {
        if let Some(subquery) = subquery_of(expr) {
            columns.extend(outer_columns(&subquery.subquery)?);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(columns.iter().all(|column| schema.maybe_index_of_column(column).is_some()))
}

/// A plan with some of its columns only.
fn only(shown: &DFSchema, plan: LogicalPlan) -> DataFusionResult<LogicalPlan> {
    let columns = shown.columns().into_iter().map(Expr::Column).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
}
