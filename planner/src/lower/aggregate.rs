//! Grouping: a projection that prepares keys and arguments, then the aggregate over columns.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::AggregateFunction as Call;
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable};
use millstream_runtime::aggregates;
use millstream_runtime::plan::{
    AggregateCall, AggregateFunction, Changes, ClosingKey, EmitOn, EventTimeColumn, Operation, SortKey,
};

use super::{Lowered, Lowering};
use crate::bind::plan_error;
use crate::error::{PlanError, Result};
use crate::functions::ExactAggregate;

/// The columns that an aggregate needs, each computed once.
struct Arguments {
    expressions: Vec<Expr>,
}

impl Arguments {
    fn column(&mut self, expr: &Expr) -> usize {
        let expr = expr.clone().unalias();
        match self.expressions.iter().position(|known| *known == expr) {
            Some(column) => column,
            None => {
                self.expressions.push(expr);
                self.expressions.len() - 1
            }
        }
    }
}

impl Lowering {
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Lowered> {
        let input = self.plan(&aggregate.input)?;
        let input_schema = aggregate.input.schema();
        let mut arguments = Arguments { expressions: Vec::new() };
        if aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
            return Err(PlanError::unsupported(
                "GROUPING SETS, ROLLUP and CUBE are not supported in a materialized view",
            )
            .with_hint("Write one SELECT per grouping and put them together with UNION ALL."));
        }
        let keys: Vec<usize> = aggregate.group_expr.iter().map(|expr| arguments.column(expr)).collect();
        let outputs = aggregate.schema.fields().iter().skip(keys.len());
        let mut calls = Vec::with_capacity(aggregate.aggr_expr.len());
        for (expr, output) in aggregate.aggr_expr.iter().zip(outputs) {
            calls.push(call(expr, output.data_type(), &mut arguments, input_schema)?);
        }
        let prepared = self.project(&input, &arguments.expressions, input_schema)?;
        self.grouped(&prepared, keys, calls)
    }

    /// Groups the columns of a node.
    pub(super) fn grouped(&mut self, input: &Lowered, keys: Vec<usize>, calls: Vec<AggregateCall>) -> Result<Lowered> {
        let mut fields: Vec<_> = keys.iter().map(|key| Arc::clone(&input.schema.fields()[*key])).collect();
        fields.extend(calls.iter().map(|call| Arc::clone(&call.output)));
        let schema = Arc::new(Schema::new(fields));
        let event_times: Vec<EventTimeColumn> = input
            .event_times
            .iter()
            .filter_map(|bound| {
                let column = keys.iter().position(|key| *key == bound.column)?;
                Some(EventTimeColumn { column, extent_micros: bound.extent_micros })
            })
            .collect();
        let closing =
            event_times.first().map(|bound| ClosingKey { key: bound.column, extent_micros: bound.extent_micros });
        let emit = match (self.emit, &closing) {
            (EmitOn::WindowClose, Some(_)) => {
                self.closed_windows = true;
                EmitOn::WindowClose
            }
            (EmitOn::WindowClose | EmitOn::Update, _) => EmitOn::Update,
        };
        let changes = if emit == EmitOn::WindowClose { Changes::Append } else { Changes::Retract };
        let key = (!keys.is_empty()).then(|| (0..keys.len()).collect());
        let one_row = keys.is_empty();
        let operation = Operation::Aggregate { keys, aggregates: calls, closing, emit };
        let node = self.add(operation, vec![input.node], Arc::clone(&schema), changes);
        Ok(Lowered { node, schema, changes, event_times, key, one_row })
    }
}

fn call(expr: &Expr, output: &DataType, arguments: &mut Arguments, schema: &DFSchema) -> Result<AggregateCall> {
    let Expr::AggregateFunction(call) = expr.clone().unalias() else {
        return Err(PlanError::internal(format!("{expr} is no aggregate")));
    };
    let name = call.func.name();
    let distinct = call.params.distinct;
    let filter = call.params.filter.as_ref().map(|filter| arguments.column(filter));
    let (function, argument, order) = match call.func.inner().downcast_ref::<ExactAggregate>() {
        Some(exact) => exact_call(exact, &call, arguments)?,
        None => (AggregateFunction::Count, count_argument(&call, arguments)?, Vec::new()),
    };
    let argument_type = match argument {
        Some(column) => Some(arguments.expressions[column].get_type(schema).map_err(plan_error)?),
        None => None,
    };
    let result = aggregates::result_type(&function, argument_type.as_ref())
        .map_err(|error| PlanError::internal(error.to_string()))?;
    if result != *output {
        return Err(PlanError::internal(format!("{name} gives {result}, the planner expects {output}")));
    }
    let output = Arc::new(Field::new(name, result, true));
    Ok(AggregateCall { function, argument, distinct, filter, order, output })
}

type Parts = (AggregateFunction, Option<usize>, Vec<SortKey>);

fn exact_call(exact: &ExactAggregate, call: &Call, arguments: &mut Arguments) -> Result<Parts> {
    let (argument, order_columns) = call
        .params
        .args
        .split_first()
        .ok_or_else(|| PlanError::internal(format!("{} without an argument", call.func.name())))?;
    let argument = arguments.column(argument);
    let order = order_columns.iter().zip(&exact.order).map(|(expr, direction)| SortKey {
        column: arguments.column(expr),
        descending: direction.descending,
        nulls_first: direction.nulls_first,
    });
    let order = order.collect();
    Ok((exact.function(), Some(argument), order))
}

/// The argument of `count`; `None` when every row counts.
fn count_argument(call: &Call, arguments: &mut Arguments) -> Result<Option<usize>> {
    if call.func.name() != "count" {
        return Err(PlanError::unsupported(format!(
            "the aggregate {}() is not supported in a materialized view",
            call.func.name()
        ))
        .with_hint(
            "Views keep count, sum, avg, min, max, bool_and, bool_or, string_agg and array_agg; the others can be \
             computed in a query over the view.",
        ));
    }
    match call.params.args.as_slice() {
        [] => Ok(None),
        [Expr::Literal(value, _)] if !value.is_null() && !call.params.distinct => Ok(None),
        [argument] => Ok(Some(arguments.column(argument))),
        [_, ..] => Err(PlanError::unsupported("count() of several columns is not supported in a materialized view")
            .with_hint("Group by the columns in a subquery and count its rows.")),
    }
}
