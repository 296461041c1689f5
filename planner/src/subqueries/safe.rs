//! Whether evaluating something can fail, by its form alone.
//!
//! What is evaluated on rows that SQL would not have asked must not fail there. Two measures: [`is_safe`] never fails;
//! [`rarely_fails`] does where numbers grow beyond their types, and computing it by one join is worth that.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, JoinType};
use datafusion::error::Result;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Distinct, Expr, ExprSchemable, FetchType, LogicalPlan, Operator};

use super::node::subquery_of;

/// Whether no expression of a plan can fail on a row: they are evaluated on rows that no outer row chooses, too.
pub(super) fn is_safe(plan: &LogicalPlan) -> Result<bool> {
    let plain = |node: &LogicalPlan| match node {
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::TableScan(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Distinct(Distinct::All(_)) => true,
        LogicalPlan::Sort(sort) => sort.fetch.is_none(),
        LogicalPlan::Join(join) => join.join_type == JoinType::Inner,
        _ => false,
    };
    expressions_pass(plan, &plain, &is_safe_expression)
}

/// Whether nothing of a plan fails but by numbers that grow too large.
pub(super) fn rarely_fails(plan: &LogicalPlan) -> Result<bool> {
    let plain = |node: &LogicalPlan| !matches!(node, LogicalPlan::Extension(_) | LogicalPlan::Unnest(_));
    expressions_pass(plan, &plain, &rarely_fails_expression)
}

fn expressions_pass(
    plan: &LogicalPlan,
    node_passes: &dyn Fn(&LogicalPlan) -> bool,
    passes: &dyn Fn(&Expr, &DFSchema) -> Result<bool>,
) -> Result<bool> {
    let mut all = true;
    plan.apply(|node| {
        all &= node_passes(node);
        let inputs = node.inputs();
        let schema = merge_schema(&inputs);
        node.apply_expressions(|expr| {
            all &= passes(expr, &schema)?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(all)
}

/// Whether an expression can't fail on any row.
pub(crate) fn is_safe_expression(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    let failing = expr.exists(|expr| Ok(!is_safe_step(expr, schema)?))?;
    Ok(!failing)
}

fn rarely_fails_expression(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    let failing = expr.exists(|expr| {
        Ok(match expr {
            Expr::BinaryExpr(binary)
                if matches!(
                    binary.op,
                    Operator::Plus | Operator::Minus | Operator::Multiply | Operator::StringConcat
                ) =>
            {
                false
            }
            Expr::Cast(Cast { expr, field }) => {
                let (from, to) = (expr.get_type(schema)?, field.data_type());
                let grows = from.is_numeric() && (to.is_floating() || to.is_decimal());
                !(grows || is_safe_cast(&from, to))
            }
            Expr::AggregateFunction(_) | Expr::WindowFunction(_) | Expr::Like(_) | Expr::Negative(_) => false,
            step => !is_safe_step(step, schema)?,
        })
    })?;
    Ok(!failing)
}

fn is_safe_step(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    const FUNCTIONS: [&str; 6] = ["lower", "upper", "coalesce", "btrim", "character_length", "nullif"];
    if subquery_of(expr).is_some() {
        return Ok(false);
    }
    Ok(match expr {
        Expr::BinaryExpr(binary) => binary.op.is_logic_operator() || binary.op.supports_propagation(),
        Expr::Cast(Cast { expr, field }) => is_safe_cast(&expr.get_type(schema)?, field.data_type()),
        Expr::ScalarFunction(call) => FUNCTIONS.contains(&call.name()),
        Expr::Column(_)
        | Expr::OuterReferenceColumn(..)
        | Expr::Literal(..)
        | Expr::Alias(_)
        | Expr::Not(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::Between(_)
        | Expr::InList(_)
        | Expr::Case(_) => true,
        _ => false,
    })
}

fn is_safe_cast(from: &arrow::datatypes::DataType, to: &arrow::datatypes::DataType) -> bool {
    from.is_integer() && to.is_integer() && from.primitive_width() <= to.primitive_width()
}

/// Whether a subquery has one row at most, by its form.
pub(super) fn gives_one_row(plan: &LogicalPlan) -> Result<bool> {
    Ok(match plan {
        LogicalPlan::Projection(projection) => gives_one_row(&projection.input)?,
        LogicalPlan::SubqueryAlias(alias) => gives_one_row(&alias.input)?,
        LogicalPlan::Sort(sort) => gives_one_row(&sort.input)?,
        LogicalPlan::Filter(filter) => gives_one_row(&filter.input)?,
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(_) => true,
        LogicalPlan::Limit(limit) => match limit.get_fetch_type()? {
            FetchType::Literal(Some(0 | 1)) => true,
            _ => gives_one_row(&limit.input)?,
        },
        _ => false,
    })
}
