//! Logical optimisation: the rules that are sound for changes, and those for batch queries.
//!
//! A view's plan is run over changes of its inputs for ever, so a rule may not rely on seeing all rows at once
//! (limits pushed down, distinct aggregates split), move an expression to rows that it was not written for
//! beyond what a filter's own place allows, or read the clock.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::expr::{Sort as SortKey, WindowFunction};
use datafusion::logical_expr::{
    Distinct, DistinctOn, Expr, FetchType, Limit, LogicalPlan, Projection, SkipType, Sort, Union, Window,
    WindowFunctionDefinition,
};
use datafusion::optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::eliminate_filter::EliminateFilter;
use datafusion::optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::optimize_unions::OptimizeUnions;
use datafusion::optimizer::optimizer::{Optimizer, OptimizerContext, OptimizerRule};
use datafusion::optimizer::propagate_empty_relation::PropagateEmptyRelation;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::rewrite_set_comparison::RewriteSetComparison;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;

use crate::bind::{plan_error, planner_options};
use crate::error::Result;
use crate::functions;
use crate::subqueries;

type Rule = Arc<dyn OptimizerRule + Send + Sync>;

/// The rules for views, in order. Not here, with reasons: `simplify_expressions` (its folding is unchecked; ours
/// has run before), `push_down_limit`, `replace_distinct_aggregate`, `single_distinct_aggregation_to_group_by`
/// (they change what is kept), `eliminate_group_by_constant`, `common_sub_expression_eliminate` and the
/// leaf-expression rules (they make plans that depend on DataFusion's version for nothing).
fn view_rules() -> Vec<Rule> {
    vec![
        Arc::new(RewriteSetComparison::new()),
        Arc::new(OptimizeUnions::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(DecorrelateLateralJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateFilter::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(PropagateEmptyRelation::new()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(PushDownFilter::new()),
        Arc::new(OptimizeProjections::new()),
    ]
}

/// The rules for batch queries: all of DataFusion's.
pub(crate) fn batch_rules() -> Vec<Rule> {
    Optimizer::new().rules
}

/// Optimises the plan of a view. The same plan on every start: nothing here depends on the moment.
pub fn optimize_view(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = functions::fold_constants(plan).map_err(plan_error)?;
    let plan = settle_ties(plan).map_err(plan_error)?;
    let plan = subqueries::as_joins(plan)?;
    let mut options: ConfigOptions = planner_options().clone();
    options.optimizer.skip_failed_rules = false;
    options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    let context = OptimizerContext::new_with_config_options(Arc::new(options)).without_query_execution_start_time();
    Optimizer::with_rules(view_rules()).optimize(plan, &context, |_, _| {}).map_err(plan_error)
}

/// Settles ties where rows are cut off: behind the keys of an ORDER BY with a LIMIT, and of `row_number()`,
/// come all columns that the query shows. Rows that tie on those are equal to the reader.
pub fn settle_ties(plan: LogicalPlan) -> DataFusionResult<LogicalPlan> {
    let settled = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Limit(limit) => settle_limit(limit),
        LogicalPlan::Window(window) => settle_row_numbers(window),
        LogicalPlan::Distinct(Distinct::On(on)) => Ok(Transformed::yes(settle_distinct_on(on))),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(settled.data)
}

/// Gives the inputs of a UNION its own columns' names. A rule of DataFusion's that takes the union away where one input
/// alone is not empty looks for the names in that one.
pub(crate) fn name_unions(plan: LogicalPlan) -> DataFusionResult<LogicalPlan> {
    let named = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Union(union) = node else { return Ok(Transformed::no(node)) };
        let mut inputs = Vec::with_capacity(union.inputs.len());
        for input in union.inputs {
            if input.schema() == &union.schema {
                inputs.push(input);
                continue;
            }
            let columns = input.schema().columns().into_iter().zip(union.schema.iter());
            let columns = columns.map(|(column, (qualifier, field))| {
                Expr::Column(column).alias_qualified(qualifier.cloned(), field.name())
            });
            let named = Projection::try_new(columns.collect(), input)?;
            inputs.push(Arc::new(LogicalPlan::Projection(named)));
        }
        Ok(Transformed::yes(LogicalPlan::Union(Union { inputs, schema: union.schema })))
    })?;
    Ok(named.data)
}

/// Makes columns of the keys of ORDER BY that have a CASE in them: DataFusion's last check of a plan takes rows that are
/// sorted by some of those for unsorted where it merges them.
pub(crate) fn compute_sort_keys(plan: LogicalPlan) -> DataFusionResult<LogicalPlan> {
    let computed = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Sort(sort) = node else { return Ok(Transformed::no(node)) };
        let has_case = |key: &SortKey| key.expr.exists(|expr| Ok(matches!(expr, Expr::Case(_))));
        let odd = sort.expr.iter().map(has_case).collect::<DataFusionResult<Vec<bool>>>()?;
        if !odd.contains(&true) {
            return Ok(Transformed::no(LogicalPlan::Sort(sort)));
        }
        let shown: Vec<Expr> = sort.input.schema().columns().into_iter().map(Expr::Column).collect();
        let (mut columns, mut keys) = (shown.clone(), Vec::with_capacity(sort.expr.len()));
        for (index, (key, odd)) in sort.expr.into_iter().zip(odd).enumerate() {
            if !odd {
                keys.push(key);
                continue;
            }
            let name = format!("\u{0}key {index}");
            columns.push(key.expr.alias(name.as_str()));
            keys.push(SortKey { expr: Expr::Column(Column::new_unqualified(name)), ..key });
        }
        let input = Arc::new(LogicalPlan::Projection(Projection::try_new(columns, sort.input)?));
        let sorted = Arc::new(LogicalPlan::Sort(Sort { expr: keys, input, fetch: sort.fetch }));
        Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(shown, sorted)?)))
    })?;
    Ok(computed.data)
}

fn settle_limit(limit: Limit) -> DataFusionResult<Transformed<LogicalPlan>> {
    let cuts = !matches!(limit.get_fetch_type()?, FetchType::Literal(None))
        || !matches!(limit.get_skip_type()?, SkipType::Literal(0));
    let settled = match limit.input.as_ref() {
        LogicalPlan::Sort(sort) if cuts => {
            let columns = sort.input.schema().columns().into_iter().map(Expr::Column).collect();
            Some(LogicalPlan::Sort(with_more_keys(sort, columns)))
        }
        LogicalPlan::Projection(projection) if cuts => match projection.input.as_ref() {
            LogicalPlan::Sort(sort) => {
                let shown = projection.expr.iter().map(|expr| expr.clone().unalias()).collect();
                let sorted = Arc::new(LogicalPlan::Sort(with_more_keys(sort, shown)));
                Some(LogicalPlan::Projection(Projection::try_new(projection.expr.clone(), sorted)?))
            }
            _ => None,
        },
        _ => None,
    };
    Ok(match settled {
        Some(input) => Transformed::yes(LogicalPlan::Limit(Limit { input: Arc::new(input), ..limit })),
        None => Transformed::no(LogicalPlan::Limit(limit)),
    })
}

/// `DISTINCT ON` keeps the first row of each group: behind its order come the columns that it shows.
fn settle_distinct_on(on: DistinctOn) -> LogicalPlan {
    let mut keys = on.sort_expr.clone().unwrap_or_default();
    for expr in &on.select_expr {
        let expr = expr.clone().unalias();
        if !expr.column_refs().is_empty() && !keys.iter().any(|key| key.expr == expr) {
            keys.push(SortKey::new(expr, true, false));
        }
    }
    LogicalPlan::Distinct(Distinct::On(DistinctOn { sort_expr: Some(keys), ..on }))
}

fn with_more_keys(sort: &Sort, more: Vec<Expr>) -> Sort {
    let mut keys = sort.expr.clone();
    for expr in more {
        let constant = expr.column_refs().is_empty();
        if !constant && !keys.iter().any(|key| key.expr == expr) {
            keys.push(SortKey::new(expr, true, false));
        }
    }
    Sort { expr: keys, input: Arc::clone(&sort.input), fetch: sort.fetch }
}

/// `row_number()` numbers rows of one partition in an order that is total. It gets a node of its own above what else is
/// computed over the window as it was written: the functions of one node share one order.
fn settle_row_numbers(window: Window) -> DataFusionResult<Transformed<LogicalPlan>> {
    let is_number = |expr: &Expr| matches!(expr, Expr::WindowFunction(call) if numbers_rows(call));
    let (numbers, others): (Vec<Expr>, Vec<Expr>) = window.window_expr.iter().cloned().partition(is_number);
    if numbers.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    }
    let columns = window.input.schema().columns();
    let settled = numbers.into_iter().map(|expr| settle_row_number(expr, &columns)).collect();
    let input = match others.is_empty() {
        true => window.input,
        false => Arc::new(LogicalPlan::Window(Window::try_new(others, window.input)?)),
    };
    Ok(Transformed::yes(LogicalPlan::Window(Window::try_new(settled, input)?)))
}

fn settle_row_number(expr: Expr, columns: &[Column]) -> Expr {
    let (qualifier, name) = expr.qualified_name();
    let Expr::WindowFunction(mut call) = expr else { return expr };
    for column in columns {
        let expr = Expr::Column(column.clone());
        let known = call.params.order_by.iter().any(|key| key.expr == expr) || call.params.partition_by.contains(&expr);
        if !known {
            call.params.order_by.push(SortKey::new(expr, true, false));
        }
    }
    Expr::WindowFunction(call).alias_qualified(qualifier, name)
}

fn numbers_rows(call: &WindowFunction) -> bool {
    matches!(&call.fun, WindowFunctionDefinition::WindowUDF(function) if function.name() == "row_number")
}
