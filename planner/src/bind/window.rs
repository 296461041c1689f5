//! `tumble` and `hop`: the plan node and the planner of their spelling in FROM.
//!
//! The node appends `window_start` and `window_end`, of the type of the time column, and repeats a row for
//! every window that holds it. A row without a time is in no window. It can't be pruned away: it changes the
//! number of rows. Predicates over the input's own columns may pass below it, those over the window may not.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::{Column, DFSchema, DFSchemaRef, ScalarValue, TableReference};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use sqlparser::ast::{
    Expr as SqlExpr, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, ObjectNamePart, Spanned, TableAlias,
    TableFactor,
};

use super::diagnose::refuse;
use crate::error::PlanErrorKind;
use crate::values::{TextStyle, input};

/// Name of the first column that a window function adds.
pub const WINDOW_START: &str = "window_start";
/// Name of the second column that a window function adds.
pub const WINDOW_END: &str = "window_end";

/// The shape of tumbling and hopping windows, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowShape {
    /// Width of a window, above 0.
    pub size_micros: i64,
    /// Distance of window starts, above 0 and at most the size; equal to the size for tumbling windows.
    pub slide_micros: i64,
    /// Shifts window starts away from 1970-01-01.
    pub offset_micros: i64,
}

/// A window function over a relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowNode {
    /// What is assigned to windows.
    pub input: LogicalPlan,
    /// A column of the input, a timestamp in microseconds.
    pub time: Column,
    /// Which windows.
    pub shape: WindowShape,
    schema: DFSchemaRef,
}

impl WindowNode {
    /// Puts a window function over `input`; the error of a time column that is not there or no timestamp.
    pub fn try_new(input: LogicalPlan, time: Column, shape: WindowShape) -> Result<Self> {
        let (_, time_field) = input.schema().qualified_field_from_column(&time)?;
        let data_type = time_field.data_type().clone();
        if !matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, _)) {
            return Err(refuse(
                PlanErrorKind::DatatypeMismatch,
                format!(
                    "the time column of a window function must be a timestamp, \"{}\" is {}",
                    time.name,
                    crate::functions::sql_type(&data_type)
                ),
            ));
        }
        let qualifier = single_qualifier(input.schema());
        let mut fields: Vec<(Option<TableReference>, Arc<Field>)> =
            input.schema().iter().map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect();
        for name in [WINDOW_START, WINDOW_END] {
            fields.push((qualifier.clone(), Arc::new(Field::new(name, data_type.clone(), false))));
        }
        let schema = Arc::new(DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?);
        Ok(Self { input, time, shape, schema })
    }

    /// Index of the time column in the input.
    pub fn time_index(&self) -> usize {
        self.input.schema().index_of_column(&self.time).expect("try_new looked it up")
    }

    /// The node behind an extension, if it is one of these.
    pub fn of(extension: &Extension) -> Option<&Self> {
        extension.node.as_any().downcast_ref::<Self>()
    }
}

/// The qualifier that all columns share.
fn single_qualifier(schema: &DFSchema) -> Option<TableReference> {
    let mut qualifiers = schema.iter().map(|(qualifier, _)| qualifier);
    let first = qualifiers.next()??;
    qualifiers.all(|other| other == Some(first)).then(|| first.clone())
}

impl Hash for WindowNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
        self.time.hash(state);
        self.shape.hash(state);
    }
}

impl PartialOrd for WindowNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.input.partial_cmp(&other.input) {
            Some(Ordering::Equal) => (&self.time, self.shape).partial_cmp(&(&other.time, other.shape)),
            unequal => unequal,
        }
    }
}

impl UserDefinedLogicalNodeCore for WindowNode {
    fn name(&self) -> &str {
        "Window"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![Expr::Column(self.time.clone())]
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        [WINDOW_START, WINDOW_END].map(String::from).into()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let WindowShape { size_micros, slide_micros, offset_micros } = self.shape;
        write!(f, "Window: time={}, size={size_micros}us, slide={slide_micros}us", self.time)?;
        if offset_micros != 0 {
            write!(f, ", offset={offset_micros}us")?;
        }
        Ok(())
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let [Expr::Column(time)] = exprs.as_slice() else {
            return Err(DataFusionError::Internal("a window node has one expression, a column".to_string()));
        };
        let [input] = <[LogicalPlan; 1]>::try_from(inputs)
            .map_err(|_| DataFusionError::Internal("a window node has one input".to_string()))?;
        Self::try_new(input, time.clone(), self.shape)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.input.schema().fields().len();
        let mut needed: Vec<usize> = output_columns.iter().copied().filter(|column| *column < width).collect();
        needed.push(self.time_index());
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

/// Plans `tumble(...)`, `hop(...)` and Flink's `TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), ...))`.
#[derive(Debug)]
pub(super) struct WindowPlanner;

#[derive(Clone, Copy, PartialEq, Eq)]
enum WindowFunction {
    Tumble,
    Hop,
}

impl WindowFunction {
    fn of(name: &ObjectName) -> Option<Self> {
        let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else { return None };
        match ident.value.to_ascii_lowercase().as_str() {
            "tumble" => Some(Self::Tumble),
            "hop" => Some(Self::Hop),
            _ => None,
        }
    }

    fn usage(self) -> &'static str {
        match self {
            Self::Tumble => "Write tumble(relation, time_column, INTERVAL 'size' [, INTERVAL 'offset']).",
            Self::Hop => "Write hop(relation, time_column, INTERVAL 'slide', INTERVAL 'size' [, INTERVAL 'offset']).",
        }
    }
}

impl RelationPlanner for WindowPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let planned = match &relation {
            TableFactor::Table { name, args: Some(args), alias, .. } => {
                WindowFunction::of(name).map(|function| (function, args.args.clone(), alias.clone()))
            }
            TableFactor::Function { name, args, alias, lateral: false, with_ordinality: false } => {
                WindowFunction::of(name).map(|function| (function, args.clone(), alias.clone()))
            }
            TableFactor::TableFunction { expr: SqlExpr::Function(call), alias } => {
                let FunctionArguments::List(list) = &call.args else {
                    return Ok(RelationPlanning::Original(Box::new(relation)));
                };
                WindowFunction::of(&call.name).map(|function| (function, list.args.clone(), alias.clone()))
            }
            _ => None,
        };
        match planned {
            None => Ok(RelationPlanning::Original(Box::new(relation))),
            Some((function, arguments, alias)) => {
                let plan = plan_window(function, arguments, context)?;
                Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
            }
        }
    }
}

fn plan_window(
    function: WindowFunction,
    arguments: Vec<FunctionArg>,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    let usage = || {
        DataFusionError::External(Box::new(
            crate::error::PlanError::new(PlanErrorKind::UndefinedFunction, "wrong arguments of a window function")
                .with_hint(function.usage()),
        ))
    };
    let mut arguments = arguments.into_iter().map(argument_expression).collect::<Option<Vec<_>>>().ok_or_else(usage)?;
    let intervals_least = if function == WindowFunction::Tumble { 1 } else { 2 };
    if arguments.len() < 2 + intervals_least || arguments.len() > 3 + intervals_least {
        return Err(usage());
    }
    let rest = arguments.split_off(2);
    let time_argument = descriptor_column(arguments.pop().expect("there are two")).ok_or_else(usage)?;
    let relation = relation_argument(arguments.pop().expect("there are two")).ok_or_else(usage)?;

    let input = context.plan(relation)?;
    let time = match context.sql_to_expr(time_argument, input.schema())? {
        Expr::Column(column) => column,
        other => {
            return Err(refuse(
                PlanErrorKind::DatatypeMismatch,
                format!("the second argument of a window function must be a column, not {other}"),
            ));
        }
    };
    let empty = DFSchema::empty();
    let micros = rest
        .into_iter()
        .map(|argument| {
            let span = argument.span();
            interval_micros(&context.sql_to_expr(argument, &empty)?).map_err(|error| super::diagnose::at(error, span))
        })
        .collect::<Result<Vec<i64>>>()?;
    let shape = match (function, micros.as_slice()) {
        (WindowFunction::Tumble, [size, rest @ ..]) => {
            WindowShape { size_micros: *size, slide_micros: *size, offset_micros: rest.first().copied().unwrap_or(0) }
        }
        (WindowFunction::Hop, [slide, size, rest @ ..]) => {
            WindowShape { size_micros: *size, slide_micros: *slide, offset_micros: rest.first().copied().unwrap_or(0) }
        }
        (WindowFunction::Tumble | WindowFunction::Hop, _) => return Err(usage()),
    };
    check_shape(shape, function)?;
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(WindowNode::try_new(input, time, shape)?) }))
}

/// Windows that a row can be in at most: bounds how far `hop` multiplies rows.
const WINDOWS_PER_ROW_MAX: i64 = 10_000;

fn check_shape(shape: WindowShape, function: WindowFunction) -> Result<()> {
    let invalid = |message: String| {
        Err(DataFusionError::External(Box::new(
            crate::error::PlanError::new(PlanErrorKind::InvalidParameterValue, message).with_hint(function.usage()),
        )))
    };
    if shape.size_micros <= 0 || shape.slide_micros <= 0 {
        return invalid("the intervals of a window function must be above zero".to_string());
    }
    if shape.slide_micros > shape.size_micros {
        return invalid("the slide of hopping windows must not be longer than their size".to_string());
    }
    if shape.size_micros / shape.slide_micros > WINDOWS_PER_ROW_MAX {
        return invalid(format!("a row would be in more than {WINDOWS_PER_ROW_MAX} windows"));
    }
    Ok(())
}

pub(super) fn argument_expression(argument: FunctionArg) -> Option<SqlExpr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
        | FunctionArg::Named { arg: FunctionArgExpr::Expr(expr), .. }
        | FunctionArg::ExprNamed { arg: FunctionArgExpr::Expr(expr), .. } => Some(expr),
        FunctionArg::Unnamed(_) | FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => None,
    }
}

/// `DESCRIPTOR(ts)` is `ts`.
fn descriptor_column(expr: SqlExpr) -> Option<SqlExpr> {
    let SqlExpr::Function(call) = &expr else { return Some(expr) };
    let [ObjectNamePart::Identifier(name)] = call.name.0.as_slice() else { return Some(expr) };
    if !name.value.eq_ignore_ascii_case("descriptor") {
        return Some(expr);
    }
    match &call.args {
        FunctionArguments::List(list) => match list.args.as_slice() {
            [only] => argument_expression(only.clone()),
            _ => None,
        },
        FunctionArguments::None | FunctionArguments::Subquery(_) => None,
    }
}

/// The first argument: a name, or a subquery in brackets.
fn relation_argument(expr: SqlExpr) -> Option<TableFactor> {
    let name = match expr {
        SqlExpr::Identifier(ident) => ObjectName(vec![ObjectNamePart::Identifier(ident)]),
        SqlExpr::CompoundIdentifier(idents) => ObjectName(idents.into_iter().map(ObjectNamePart::Identifier).collect()),
        SqlExpr::Nested(inner) => return relation_argument(*inner),
        SqlExpr::Subquery(subquery) => {
            return Some(TableFactor::Derived { lateral: false, subquery, alias: None::<TableAlias>, sample: None });
        }
        _ => return None,
    };
    Some(plain_table(name))
}

/// A relation in FROM, by name alone.
pub(super) fn plain_table(name: ObjectName) -> TableFactor {
    TableFactor::Table {
        name,
        alias: None,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    }
}

/// Microseconds of a constant interval. Months have no fixed length and are refused.
pub fn interval_micros(expr: &Expr) -> Result<i64> {
    let wrong = |message: String| Err(refuse(PlanErrorKind::InvalidParameterValue, message));
    let value = match expr {
        Expr::Literal(value, _) => value.clone(),
        Expr::Cast(cast) => match cast.expr.as_ref() {
            Expr::Literal(ScalarValue::Utf8(Some(text)), _) => {
                input::read(text, cast.field.data_type(), TextStyle::default())
                    .map_err(|error| DataFusionError::External(Box::new(error)))?
            }
            Expr::Literal(value, _) => value.cast_to(cast.field.data_type())?,
            other => return wrong(format!("an interval must be a constant, not {other}")),
        },
        Expr::Alias(alias) => return interval_micros(&alias.expr),
        Expr::Negative(inner) => return Ok(-interval_micros(inner)?),
        other => return wrong(format!("an interval must be a constant, not {other}")),
    };
    const DAY_MICROS: i64 = 86_400_000_000;
    let micros = match value {
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => i64::from(interval.days)
            .checked_mul(DAY_MICROS)
            .and_then(|days| days.checked_add(interval.nanoseconds / 1_000)),
        ScalarValue::IntervalDayTime(Some(interval)) => i64::from(interval.days)
            .checked_mul(DAY_MICROS)
            .and_then(|days| days.checked_add(i64::from(interval.milliseconds) * 1_000)),
        ScalarValue::IntervalMonthDayNano(Some(_)) | ScalarValue::IntervalYearMonth(Some(_)) => {
            return wrong("an interval of months has no fixed length, use days".to_string());
        }
        other => return wrong(format!("expected an interval, got {other}")),
    };
    micros.ok_or_else(|| refuse(PlanErrorKind::InvalidParameterValue, "interval out of range".to_string()))
}
