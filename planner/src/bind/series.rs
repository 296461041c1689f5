//! `generate_series(start, stop [, step])` in FROM: the plan node and its planner.
//!
//! The arguments are any expressions without columns, parameters among them: they are the columns of a row below the
//! node, so that their types are settled like those of every other expression. Integers give a series of `integer`, or
//! of `bigint` where one of them is; timestamps one of timestamps, whose step is an interval.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use datafusion::common::datatype::DataTypeExt;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{Cast, Placeholder};
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{
    EmptyRelation, Expr, Extension, LogicalPlan, Projection, UserDefinedLogicalNodeCore, lit,
};
use sqlparser::ast::{FunctionArg, ObjectName, TableFactor};

use super::context::GENERATE_SERIES;
use super::diagnose::refuse;
use super::operators::{Operand, narrowed};
use super::window::argument_expression;
use crate::error::{PlanError, PlanErrorKind};
use crate::functions::sql_type;
use crate::values::Zone;

/// A series for every row of its input, whose columns are start, stop and step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesNode {
    /// Start, stop, step.
    pub input: LogicalPlan,
    /// The session's zone, whose clocks say how long the days of a `timestamptz` series are.
    pub zone: Zone,
    schema: DFSchemaRef,
}

impl SeriesNode {
    fn try_new(input: LogicalPlan, zone: Zone) -> Result<Self> {
        let data_type = input.schema().field(0).data_type().clone();
        let field = Field::new(GENERATE_SERIES, data_type, false);
        let schema = Arc::new(DFSchema::new_with_metadata(vec![(None, Arc::new(field))], Default::default())?);
        Ok(Self { input, zone, schema })
    }

    /// The plan with its series by the clocks of a zone.
    pub(super) fn in_zone(plan: LogicalPlan, zone: Zone) -> Result<LogicalPlan> {
        let bound = plan.transform_up_with_subqueries(|node| match &node {
            LogicalPlan::Extension(extension) => Ok(match Self::of(extension) {
                Some(series) => {
                    let node = Arc::new(Self { zone, ..series.clone() });
                    Transformed::yes(LogicalPlan::Extension(Extension { node }))
                }
                None => Transformed::no(node),
            }),
            _ => Ok(Transformed::no(node)),
        })?;
        Ok(bound.data)
    }

    /// The node behind an extension, if it is one of these.
    pub fn of(extension: &Extension) -> Option<&Self> {
        extension.node.as_any().downcast_ref::<Self>()
    }
}

impl Hash for SeriesNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
        self.zone.hash(state);
    }
}

impl PartialOrd for SeriesNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.input.partial_cmp(&other.input)
    }
}

impl UserDefinedLogicalNodeCore for SeriesNode {
    fn name(&self) -> &str {
        "Series"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        [GENERATE_SERIES.to_string()].into()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Series")
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let [input] = <[LogicalPlan; 1]>::try_from(inputs)
            .map_err(|_| DataFusionError::Internal("a series has one input".to_string()))?;
        Self::try_new(input, self.zone)
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![vec![0, 1, 2]])
    }
}

/// Plans the function where a relation stands.
#[derive(Debug)]
pub(super) struct SeriesPlanner;

impl RelationPlanner for SeriesPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let (arguments, alias) = match &relation {
            TableFactor::Table { name, args: Some(args), alias, with_ordinality: false, .. } if is_series(name) => {
                (args.args.clone(), alias.clone())
            }
            _ => return Ok(RelationPlanning::Original(Box::new(relation))),
        };
        let plan = plan_series(arguments, context)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

fn is_series(name: &ObjectName) -> bool {
    let parts: Option<Vec<String>> =
        name.0.iter().map(|part| Some(super::normalize::folded(part.as_ident()?))).collect();
    let parts = parts.unwrap_or_default();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    matches!(parts.as_slice(), [GENERATE_SERIES] | ["pg_catalog", GENERATE_SERIES])
}

fn plan_series(arguments: Vec<FunctionArg>, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
    let usage = || {
        let error = PlanError::new(PlanErrorKind::UndefinedFunction, "generate_series() takes two or three arguments");
        DataFusionError::External(Box::new(error.with_hint("Write generate_series(start, stop [, step]).")))
    };
    let arguments = arguments.into_iter().map(argument_expression).collect::<Option<Vec<_>>>().ok_or_else(usage)?;
    if !(2..=3).contains(&arguments.len()) {
        return Err(usage());
    }
    let empty = DFSchema::empty();
    let mut values = Vec::new();
    for argument in arguments {
        values.push(narrowed(context.sql_to_expr(argument, &empty)?));
    }
    let (data_type, step_type) = series_type(&values, &empty)?;
    let mut values = values.into_iter();
    let start = values.next().ok_or_else(usage)?;
    let stop = values.next().ok_or_else(usage)?;
    let step = match (values.next(), &step_type) {
        (Some(step), _) => step,
        (None, DataType::Interval(_)) => {
            return Err(refuse(PlanErrorKind::UndefinedFunction, "a series of timestamps needs a step, an interval"));
        }
        (None, _) => lit(1_i32),
    };
    let typed = |value: Expr, data_type: &DataType, name: &str| {
        let value = match value {
            // A parameter that nobody has given a type has that of the series.
            Expr::Placeholder(parameter) if parameter.field.is_none() => {
                let field = data_type.clone().into_nullable_field_ref();
                Expr::Placeholder(Placeholder::new_with_field(parameter.id, Some(field)))
            }
            other => other,
        };
        Expr::Cast(Cast::new(Box::new(value), data_type.clone())).alias(name)
    };
    let columns =
        vec![typed(start, &data_type, "start"), typed(stop, &data_type, "stop"), typed(step, &step_type, "step")];
    let row = LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, schema: Arc::new(empty) });
    let input = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(row))?);
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(SeriesNode::try_new(input, Zone::Utc)?) }))
}

/// The types of the series and of its step.
fn series_type(values: &[Expr], schema: &DFSchema) -> Result<(DataType, DataType)> {
    let known: Vec<DataType> = values
        .iter()
        .filter_map(|value| match Operand::of(value, schema) {
            Operand::Typed(data_type) => Some(data_type),
            Operand::Open | Operand::Unknown => None,
        })
        .collect();
    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
    let zoned = |data_type: &DataType| matches!(data_type, DataType::Timestamp(_, Some(_)) | DataType::Date32);
    if known.iter().any(zoned) {
        return Ok((DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), interval));
    }
    if known.iter().any(|data_type| matches!(data_type, DataType::Timestamp(_, None))) {
        return Ok((DataType::Timestamp(TimeUnit::Microsecond, None), interval));
    }
    match known.iter().find(|data_type| !data_type.is_signed_integer()) {
        Some(other) => {
            let names: Vec<String> = known.iter().map(sql_type).collect();
            let message = format!("function generate_series({}) does not exist", names.join(", "));
            let error = PlanError::new(PlanErrorKind::UndefinedFunction, message);
            let error = match other.is_numeric() {
                true => error.with_hint("Cast the arguments to bigint."),
                false => error.with_hint("It takes integers, or timestamps and an interval."),
            };
            Err(DataFusionError::External(Box::new(error)))
        }
        None if known.contains(&DataType::Int64) => Ok((DataType::Int64, DataType::Int64)),
        None => Ok((DataType::Int32, DataType::Int32)),
    }
}
