//! The rule that makes an aggregate's ORDER BY and delimiter part of the aggregate itself.
//!
//! `string_agg(x, ', ' ORDER BY y DESC)` becomes a call of an aggregate that knows `', '` and `DESC` with the
//! arguments `x, y`. DataFusion then has no order to provide, and ties are settled by the values.

use std::sync::Arc;

use arrow::compute::SortOptions;
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{AggregateUDF, Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

use super::aggregate::{ExactAggregate, ExactKind};
use crate::bind::{refuse, rewrite_expressions};
use crate::error::PlanErrorKind;

/// See the module's text.
#[derive(Debug)]
pub struct OrderedAggregates;

impl AnalyzerRule for OrderedAggregates {
    fn name(&self) -> &str {
        "ordered_aggregates"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite_expressions(plan, &|expr, _| match expr {
            Expr::AggregateFunction(call) => settle(call),
            other => Ok(Transformed::no(other)),
        })
    }
}

fn settle(call: AggregateFunction) -> Result<Transformed<Expr>> {
    let Some(exact) = call.func.inner().downcast_ref::<ExactAggregate>() else {
        return Ok(Transformed::no(Expr::AggregateFunction(call)));
    };
    let AggregateFunction { func, params } = &call;
    let needs_delimiter = exact.kind == ExactKind::StringAgg && exact.delimiter.is_none();
    // The order of the others changes nothing: their result is the same in every order.
    let ordered = matches!(exact.kind, ExactKind::StringAgg | ExactKind::ArrayAgg);
    if !needs_delimiter && params.order_by.is_empty() {
        return Ok(Transformed::no(Expr::AggregateFunction(call)));
    }
    let mut args = params.args.clone();
    let delimiter = if needs_delimiter { Some(delimiter(args.pop())?) } else { exact.delimiter.clone() };
    let mut directions = exact.order.clone();
    if ordered {
        for sort in &params.order_by {
            args.push(sort.expr.clone());
            directions.push(SortOptions { descending: !sort.asc, nulls_first: sort.nulls_first });
        }
    }
    if params.distinct && directions.len() != exact.order.len() {
        let own = args.len() == 2 && args[0] == args[1];
        if !own {
            return Err(refuse(
                PlanErrorKind::FeatureNotSupported,
                "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list",
            ));
        }
    }
    let _ = func;
    let settled = AggregateUDF::new_from_impl(exact.settled(delimiter, directions));
    Ok(Transformed::yes(Expr::AggregateFunction(AggregateFunction {
        func: Arc::new(settled),
        params: AggregateFunctionParams { args, order_by: Vec::new(), ..params.clone() },
    })))
}

fn delimiter(argument: Option<Expr>) -> Result<String> {
    let argument = argument.map(|argument| match argument {
        Expr::Cast(cast) => *cast.expr,
        other => other,
    });
    match argument {
        Some(Expr::Literal(ScalarValue::Utf8(Some(text)), _)) => Ok(text),
        _ => Err(refuse(PlanErrorKind::FeatureNotSupported, "the delimiter of string_agg must be a constant text")),
    }
}
