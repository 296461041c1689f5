//! The subqueries that DataFusion runs as SQL wants them: conditions that keep or drop a row, and scalar subqueries that
//! give one row by themselves.
//!
//! Everything else that it would take is not listed on purpose: it makes marks of two values where three are wanted,
//! takes `NOT IN` with further conditions for one without, and drops LIMIT and OFFSET of a correlated subquery.

use datafusion::common::JoinType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Distinct, Expr, LogicalPlan, Operator};

use super::has_subquery;
use super::node::{outer_columns, subquery_of};
use crate::functions::rows_of_array;

/// A condition with `= ANY`, `<> ALL` and NOT spelled as IN and EXISTS.
pub(super) fn normalized(condition: Expr) -> Expr {
    match condition {
        Expr::Not(inner) => match normalized(*inner) {
            Expr::Exists(Exists { subquery, negated }) => Expr::Exists(Exists { subquery, negated: !negated }),
            Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                Expr::InSubquery(InSubquery { expr, subquery, negated: !negated })
            }
            other => Expr::Not(Box::new(other)),
        },
        Expr::SetComparison(SetComparison { expr, subquery, op: Operator::Eq, quantifier: SetQuantifier::Any }) => {
            Expr::InSubquery(InSubquery { expr, subquery, negated: false })
        }
        Expr::SetComparison(SetComparison { expr, subquery, op: Operator::NotEq, quantifier: SetQuantifier::All }) => {
            Expr::InSubquery(InSubquery { expr, subquery, negated: true })
        }
        other => other,
    }
}

/// Whether a whole condition of WHERE can stay.
pub(super) fn condition(condition: &Expr) -> bool {
    match condition {
        Expr::Exists(Exists { subquery, .. }) => plain(&subquery.subquery),
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            // DataFusion forgets the NULL of a constant that is not in a column without NULLs.
            let asks_negated = *negated && (!is_uncorrelated(&subquery.subquery) || !matches!(**expr, Expr::Column(_)));
            // Rows are compared field by field here, as values there.
            let of_rows = subquery.subquery.schema().fields().iter().any(|field| field.data_type().is_nested());
            !of_rows && !has_subquery(expr) && plain(&subquery.subquery) && !asks_negated
        }
        other => scalars(other),
    }
}

/// The same for a view: what an earlier release ran in a view is planned as it was.
pub(super) fn condition_of_view(condition: &Expr) -> bool {
    match condition {
        Expr::Not(inner) => condition_of_view(inner),
        Expr::Exists(_) | Expr::SetComparison(_) => true,
        Expr::InSubquery(InSubquery { expr, .. }) => !has_subquery(expr),
        other => only_scalars(other),
    }
}

/// Whether all subqueries of an expression are scalar ones that DataFusion makes joins of.
pub(super) fn only_scalars(expr: &Expr) -> bool {
    let others = expr
        .exists(|expr| Ok(rows_of_array(expr).is_some() || (subquery_of(expr).is_some() && !is_scalar_of_view(expr))));
    !others.unwrap_or(true)
}

/// Whether an expression is a scalar subquery that DataFusion makes a join of.
pub(super) fn is_scalar_of_view(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarSubquery(subquery) => is_uncorrelated(&subquery.subquery) || aggregates(&subquery.subquery),
        _ => false,
    }
}

fn aggregates(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => aggregates(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => aggregates(&alias.input),
        LogicalPlan::Filter(filter) => aggregates(&filter.input),
        LogicalPlan::Sort(sort) => aggregates(&sort.input),
        LogicalPlan::Limit(limit) => aggregates(&limit.input),
        LogicalPlan::Aggregate(_) => true,
        _ => false,
    }
}

/// Whether the scalar subqueries of a node's expressions can stay.
pub(super) fn scalars_of(node: &LogicalPlan) -> bool {
    matches!(node, LogicalPlan::Projection(_) | LogicalPlan::Filter(_))
}

/// Whether an expression has scalar subqueries only, which can stay.
pub(super) fn scalars(expr: &Expr) -> bool {
    let others = expr.exists(|expr| {
        if rows_of_array(expr).is_some() {
            return Ok(true);
        }
        Ok(match (subquery_of(expr), expr) {
            (None, _) => false,
            (Some(subquery), Expr::ScalarSubquery(_)) => {
                // DataFusion takes the value for NOT NULL where the column is, although there may be no row.
                let nullable = subquery.subquery.schema().fields().iter().all(|field| field.is_nullable());
                !(is_plain_aggregate(&subquery.subquery) || nullable && is_uncorrelated(&subquery.subquery))
            }
            (Some(_), _) => true,
        })
    });
    !others.unwrap_or(true)
}

fn is_uncorrelated(plan: &LogicalPlan) -> bool {
    outer_columns(plan).is_ok_and(|columns| columns.is_empty())
}

/// Whether outer columns are in conditions of WHERE only, below nodes that keep every row for itself.
fn plain(plan: &LogicalPlan) -> bool {
    is_uncorrelated(plan) || plain_nodes(plan, |_| true)
}

/// An aggregate without groups over rows that are chosen by equalities.
fn is_plain_aggregate(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => {
            !projection.expr.iter().any(names_outer) && is_plain_aggregate(&projection.input)
        }
        LogicalPlan::SubqueryAlias(alias) => is_plain_aggregate(&alias.input),
        LogicalPlan::Aggregate(aggregate) => {
            aggregate.group_expr.is_empty()
                && !aggregate.aggr_expr.iter().any(names_outer)
                && plain_nodes(&aggregate.input, is_equality)
        }
        _ => false,
    }
}

fn plain_nodes(plan: &LogicalPlan, takes: impl Fn(&Expr) -> bool) -> bool {
    let mut odd = false;
    let visited = plan.apply(|node| {
        let mut outer = false;
        node.apply_expressions(|expr| {
            outer |= names_outer(expr);
            Ok(TreeNodeRecursion::Continue)
        })?;
        odd |= match node {
            LogicalPlan::Filter(filter) => {
                let conditions = split_conjunction(&filter.predicate);
                conditions.into_iter().any(|expr| names_outer(expr) && (has_subquery(expr) || !takes(expr)))
            }
            LogicalPlan::Join(join) => outer || join.join_type != JoinType::Inner,
            LogicalPlan::Sort(sort) => outer || sort.fetch.is_some(),
            LogicalPlan::Projection(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::TableScan(_)
            | LogicalPlan::Distinct(Distinct::All(_)) => outer,
            _ => true,
        };
        Ok(TreeNodeRecursion::Continue)
    });
    visited.is_ok() && !odd
}

/// Whether an expression, or a subquery in it, names a column of a query around.
pub(crate) fn names_outer(expr: &Expr) -> bool {
    expr.exists(|expr| {
        Ok(match (expr, subquery_of(expr)) {
            (Expr::OuterReferenceColumn(..), _) => true,
            (_, Some(subquery)) => !is_uncorrelated(&subquery.subquery),
            _ => false,
        })
    })
    .unwrap_or(true)
}

/// An outer expression that equals an inner one.
fn is_equality(condition: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return false };
    let sides = [left, right].map(|side| (names_outer(side), !side.column_refs().is_empty()));
    matches!(sides, [(true, false), (false, true)] | [(false, true), (true, false)])
}
