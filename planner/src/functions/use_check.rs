//! Which functions may stand where: what a view or a stored column computes must depend on its rows alone.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, ScalarUDF, Volatility};

use super::session::{asks_for_session, asks_for_time};
use super::settings::asks_for_settings;
use crate::bind::plan_error;
use crate::error::{PlanError, PlanErrorKind, Result};

/// Where an expression stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionUse {
    /// In a generated column, a watermark or a check.
    Row,
    /// In a materialized view or a sink.
    View,
}

impl FunctionUse {
    fn place(self) -> &'static str {
        match self {
            Self::Row => "an expression that is computed once per row and kept",
            Self::View => "a materialized view",
        }
    }
}

/// Refuses functions whose value is not a function of their arguments.
pub fn check_use(expr: &Expr, place: FunctionUse) -> Result<()> {
    let mut refused = None;
    expr.apply(|node| {
        if let Expr::ScalarFunction(call) = node {
            refused = refusal(&call.func, place);
        }
        Ok(if refused.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })
    .map_err(plan_error)?;
    refused.map_or(Ok(()), Err)
}

/// The same for every expression of a view's plan, subqueries included.
pub fn check_view_functions(plan: &LogicalPlan) -> Result<()> {
    let mut refused = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            if let Err(error) = check_use(expr, FunctionUse::View) {
                refused = Some(error);
                return Ok(TreeNodeRecursion::Stop);
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })
    .map_err(plan_error)?;
    refused.map_or(Ok(()), Err)
}

fn refusal(function: &ScalarUDF, place: FunctionUse) -> Option<PlanError> {
    let name = function.name();
    let place_name = place.place();
    if asks_for_time(function) {
        return Some(
            PlanError::unsupported(format!(
                "{name}() is not supported in {place_name}: its value changes without a change of input"
            ))
            .with_hint("Compare with now() where the view is read, or group by windows of an event time column."),
        );
    }
    if asks_for_session(function) || asks_for_settings(function) {
        return Some(PlanError::unsupported(format!(
            "{name}() is not supported in {place_name}: its value depends on who asks"
        )));
    }
    if function.signature().volatility == Volatility::Volatile {
        return Some(PlanError::new(
            PlanErrorKind::InvalidDefinition,
            format!("{name}() is not supported in {place_name}: it gives another value every time"),
        ));
    }
    None
}
