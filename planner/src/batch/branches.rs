//! CASE and COALESCE come to a branch only for the rows that choose it.
//!
//! Two things would not: constants are folded wherever they stand, and DataFusion makes AND and OR of a CASE of conditions,
//! of which it evaluates both sides. So branches that constants decide are taken before anything else is folded
//! ([`decided`]), and conditions that may fail are made numbers meanwhile, which DataFusion leaves alone ([`kept_apart`]).

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Case, Cast, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};

use crate::functions;
use crate::subqueries::{as_condition, as_number, branch_by_branch, has_subquery, is_safe_expression, rows_of_exists};

/// The plan without the branches that no row comes to, and without what EXISTS does not look at.
pub(super) fn decided(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = match found(&plan, &|expr| matches!(expr, Expr::Case(_)) || is_coalesce(expr))? {
        true => rewritten(plan, &branch, Order::Down)?,
        false => plan,
    };
    match found(&plan, &|expr| matches!(expr, Expr::Exists(_)))? {
        true => rows_of_exists(plan),
        false => Ok(plan),
    }
}

/// The plan with CASE and COALESCE of conditions in a form that DataFusion keeps, where a branch of them may fail.
pub(super) fn kept_apart(plan: LogicalPlan) -> Result<LogicalPlan> {
    match found(&plan, &|expr| matches!(expr, Expr::Case(_)) || is_coalesce(expr))? {
        true => rewritten(plan, &apart, Order::Up),
        false => Ok(plan),
    }
}

#[derive(Clone, Copy)]
enum Order {
    Up,
    Down,
}

type Rewrite<'a> = &'a dyn Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>;

fn rewritten(plan: LogicalPlan, rewrite: Rewrite<'_>, order: Order) -> Result<LogicalPlan> {
    let changed = plan.transform_down_with_subqueries(|node| {
        if matches!(node, LogicalPlan::Limit(_)) {
            return Ok(Transformed::no(node));
        }
        let names = NamePreserver::new(&node);
        let schema = merge_schema(&node.inputs());
        let changed = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let changed = match order {
                Order::Up => expr.transform_up(|expr| rewrite(expr, &schema))?,
                Order::Down => expr.transform_down(|expr| rewrite(expr, &schema))?,
            };
            Ok(changed.update_data(|expr| name.restore(expr)))
        })?;
        match changed.transformed {
            true => changed.map_data(LogicalPlan::recompute_schema),
            false => Ok(changed),
        }
    })?;
    Ok(changed.data)
}

/// Whether an expression of a plan, or of its subqueries, is one of those.
fn found(plan: &LogicalPlan, is_one: &dyn Fn(&Expr) -> bool) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= expr.exists(|expr| Ok(is_one(expr)))?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}

fn apart(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let may_fail = |expr: &Expr| Ok::<_, datafusion::error::DataFusionError>(!is_safe_expression(expr, schema)?);
    match expr {
        Expr::Case(case) => {
            let thens = case.when_then_expr.iter().map(|(_, then)| then);
            let whens = case.when_then_expr.iter().skip(1).map(|(when, _)| when);
            let mut fails = false;
            for part in thens.chain(whens).chain(&case.else_expr) {
                fails |= may_fail(part)?;
            }
            let expr = Expr::Case(case);
            if !fails || expr.get_type(schema)? != DataType::Boolean {
                return Ok(Transformed::no(expr));
            }
            let Expr::Case(case) = expr else { return Ok(Transformed::no(expr)) };
            Ok(Transformed::yes(branch_by_branch(case)))
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "coalesce" => {
            let mut fails = false;
            for arg in args.iter().skip(1) {
                fails |= may_fail(arg)?;
            }
            let is_condition = args
                .first()
                .is_some_and(|arg| arg.get_type(schema).is_ok_and(|data_type| data_type == DataType::Boolean));
            if !fails || !is_condition {
                return Ok(Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args })));
            }
            let args = args.into_iter().map(as_number).collect();
            Ok(Transformed::yes(as_condition(Expr::ScalarFunction(ScalarFunction { func, args }))))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn is_coalesce(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.name() == "coalesce")
}

fn branch(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::Case(case) => of_case(case, schema),
        Expr::ScalarFunction(ScalarFunction { func, mut args }) if func.name() == "coalesce" => {
            let decides = |arg: &Expr| matches!(arg, Expr::Literal(value, _) if !value.is_null());
            let Some(index) = args.iter().position(decides).filter(|index| index + 1 < args.len()) else {
                return Ok(Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args })));
            };
            args.truncate(index + 1);
            Ok(Transformed::yes(match args.len() {
                1 => args.remove(0),
                _ => Expr::ScalarFunction(ScalarFunction { func, args }),
            }))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn of_case(case: Case, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let decisions = case.when_then_expr.iter().map(|(when, _)| match &case.expr {
        Some(operand) => decision(operand.as_ref().clone().eq(when.as_ref().clone())),
        None => decision(when.as_ref().clone()),
    });
    let decisions = decisions.collect::<Result<Vec<_>>>()?;
    if decisions.iter().all(Option::is_none) {
        return Ok(Transformed::no(Expr::Case(case)));
    }
    let data_type = Expr::Case(case.clone()).get_type(schema)?;
    let (mut open, mut otherwise) = (Vec::new(), case.else_expr);
    for ((when, then), decision) in case.when_then_expr.into_iter().zip(decisions) {
        match decision {
            None => open.push((when, then)),
            Some(true) => {
                otherwise = Some(then);
                break;
            }
            Some(false) => {}
        }
    }
    let otherwise = match otherwise {
        Some(expr) => expr,
        None => Box::new(Expr::Literal(ScalarValue::try_from(&data_type)?, None)),
    };
    Ok(Transformed::yes(match open.is_empty() {
        // It may be decided, too.
        true => branch(of_type(*otherwise, &data_type, schema)?, schema)?.data,
        false => Expr::Case(Case { expr: case.expr, when_then_expr: open, else_expr: Some(otherwise) }),
    }))
}

/// What is left alone has the type of all branches.
fn of_type(expr: Expr, data_type: &DataType, schema: &DFSchema) -> Result<Expr> {
    Ok(match expr.get_type(schema)? == *data_type {
        true => expr,
        false => Expr::Cast(Cast::new(Box::new(expr), data_type.clone())),
    })
}

/// Whether a condition is true, where it is constant. One that fails decides nothing yet.
fn decision(condition: Expr) -> Result<Option<bool>> {
    let constant = condition.column_refs().is_empty() && !condition.is_volatile() && !has_subquery(&condition);
    if !constant {
        return Ok(None);
    }
    let folded = condition.transform_up(|expr| Ok(functions::folded_if_it_can_be(expr)))?.data;
    Ok(match folded {
        Expr::Literal(ScalarValue::Boolean(value), _) => Some(value == Some(true)),
        Expr::Literal(ScalarValue::Null, _) => Some(false),
        _ => None,
    })
}
