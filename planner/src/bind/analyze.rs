//! Types settled: parameters inferred, literals narrowed, operands coerced, casts as Postgres rounds them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, IntervalMonthDayNano, IntervalUnit, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::expr::{Cast, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, Projection};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;

use super::check_types::CheckTypes;
use super::context::planner_options;
use super::diagnose::{plan_error, refuse};
use super::literal;
use super::operators::{external, narrowed};
use super::rewrite::rewrite_expressions;
use super::series::SeriesNode;
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::functions::{self, Registry, registry_of};
use crate::reading::Reading;
use crate::settings::PlanSettings;
use crate::types::{CHAR, UUID};
use crate::values::{TextStyle, input};

/// A plan with the types of all of its parameters.
pub struct TypedParameters {
    /// The plan; its placeholders carry their types.
    pub plan: LogicalPlan,
    /// The types of `$1`, `$2`, ...
    pub parameters: Vec<DataType>,
}

/// Plans with the types that are known, takes those that the planner infers, and where nothing tells plans
/// once more with text, as Postgres does.
pub(super) fn with_parameters(
    mut known: Vec<Option<DataType>>,
    plan: impl Fn(&[Option<DataType>]) -> Result<LogicalPlan>,
) -> Result<TypedParameters> {
    let first = plan(&known)?;
    let mut inferred = parameter_types(&first)?;
    if inferred.values().any(Option::is_none) {
        // What stands in CASE or COALESCE has its type from its neighbours.
        let options = planner_options();
        let check = CheckTypes { reading: Reading::NEWEST };
        let narrow = NarrowLiterals.analyze(first.clone(), options).map_err(plan_error)?;
        inferred = parameter_types(&check.analyze(narrow, options).map_err(plan_error)?)?;
    }
    let mut complete = true;
    for (name, data_type) in inferred {
        let number: usize = name.trim_start_matches('$').parse().map_err(|_| {
            PlanError::new(PlanErrorKind::SyntaxError, format!("parameters are numbered: \"{name}\" is not"))
        })?;
        if known.len() < number {
            known.resize(number, None);
        }
        if known[number - 1].is_none() {
            known[number - 1] = data_type;
            complete = false;
        }
    }
    let parameters: Vec<DataType> = known.into_iter().map(|known| known.unwrap_or(DataType::Utf8)).collect();
    let plan = if complete { first } else { plan(&parameters.iter().cloned().map(Some).collect::<Vec<_>>())? };
    Ok(TypedParameters { plan, parameters })
}

/// The parameters of a plan with their types. As in Postgres the first place that gives a parameter a type decides;
/// elsewhere it is cast.
fn parameter_types(plan: &LogicalPlan) -> Result<HashMap<String, Option<DataType>>> {
    let mut types: HashMap<String, Option<DataType>> = HashMap::new();
    let visited = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Placeholder(parameter) = expr {
                    let data_type = parameter.field.as_ref().map(|field| field.data_type().clone());
                    let known = types.entry(parameter.id.clone()).or_default();
                    *known = known.take().or(data_type);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    visited.map_err(plan_error)?;
    Ok(types)
}

/// Settles the types of a plan that `SqlToRel` made. Casts to text write as `style` says, which is that of `settings`.
pub(super) fn analyze(plan: LogicalPlan, style: TextStyle, settings: &PlanSettings) -> Result<LogicalPlan> {
    let (reading, registry) = (settings.reading, registry_of(settings.reading));
    let rules: [Arc<dyn AnalyzerRule>; 6] = [
        Arc::new(NarrowLiterals),
        Arc::new(CheckTypes { reading }),
        Arc::new(ResolveGroupingFunction::new()),
        Arc::new(TypeCoercion::new()),
        Arc::new(PostgresCasts { style, registry }),
        Arc::new(functions::OrderedAggregates),
    ];
    // DataFusion's own way to run them refuses subqueries that [`crate::subqueries`] takes.
    let analyzed = rules.iter().try_fold(plan, |plan, rule| rule.analyze(plan, planner_options()));
    analyzed.map_err(plan_error)
}

/// Casts the output columns that clients have no type for: DataFusion's unsigned counters, its other encodings
/// of text and time, and the difference of two timestamps.
pub(super) fn client_types(plan: LogicalPlan, reading: Reading) -> Result<LogicalPlan> {
    let client_type = |data_type: &DataType| match data_type {
        // Without `char(n)` it is one of those encodings.
        data_type if *data_type == CHAR => (reading < Reading::BLANK_PADDED).then_some(DataType::Utf8),
        data_type => client_type(data_type),
    };
    if plan.schema().fields().iter().all(|field| client_type(field.data_type()).is_none()) {
        return Ok(plan);
    }
    let columns = plan.schema().iter().map(|(qualifier, field)| {
        let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        match client_type(field.data_type()) {
            None => column,
            Some(shown) => {
                let cast = Expr::Cast(Cast::new(Box::new(column), shown));
                cast.alias_qualified(qualifier.cloned(), field.name())
            }
        }
    });
    let columns = columns.collect();
    Projection::try_new(columns, Arc::new(plan)).map(LogicalPlan::Projection).map_err(plan_error)
}

/// The type in which a client gets a value, where it is another one.
fn client_type(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Null => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Time32(_) | DataType::Time64(TimeUnit::Nanosecond) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Duration(_) => DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Nanosecond, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
        }
        _ => return None,
    })
}

/// Integer literals of their own type ([`narrowed`]).
#[derive(Debug)]
struct NarrowLiterals;

impl AnalyzerRule for NarrowLiterals {
    fn name(&self) -> &str {
        "narrow_literals"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> DataFusionResult<LogicalPlan> {
        rewrite_expressions(plan, &|expr, scope| match expr {
            // The rows of VALUES have one type per column, which is settled already.
            expr if matches!(scope.node, LogicalPlan::Values(_)) => Ok(Transformed::no(expr)),
            literal @ Expr::Literal(ScalarValue::Int64(Some(_)), _) => Ok(Transformed::yes(narrowed(literal))),
            other => Ok(Transformed::no(other)),
        })
    }
}

/// Casts as Postgres makes them: a number with a fraction is rounded when it is cast to an integer type, where
/// DataFusion cuts it; text that is cast is read, and text that comes out of a cast is written, as Postgres does.
#[derive(Debug)]
struct PostgresCasts {
    style: TextStyle,
    registry: &'static Registry,
}

impl AnalyzerRule for PostgresCasts {
    fn name(&self) -> &str {
        "postgres_casts"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> DataFusionResult<LogicalPlan> {
        let plan = SeriesNode::in_zone(plan, self.style.zone)?;
        // Functions of older texts know no session.
        let earlier = self.registry.reading() < Reading::POSTGRES_FUNCTIONS;
        let of_functions = if earlier { TextStyle::default() } else { self.style };
        rewrite_expressions(plan, &|expr, scope| match expr {
            Expr::Cast(cast) => postgres_cast(cast, scope.schema(), self.style, self.registry),
            Expr::ScalarFunction(call) if call.name() == "array_to_string" => {
                elements_as_text(call, scope.schema(), self.style)
            }
            Expr::ScalarFunction(call) => Ok(match functions::in_session(&call, of_functions) {
                Some(bound) => Transformed::yes(bound),
                None => Transformed::no(Expr::ScalarFunction(call)),
            }),
            other => Ok(Transformed::no(other)),
        })
    }
}

/// `array_to_string` writes the elements: DataFusion would do it in its own way.
fn elements_as_text(
    mut call: ScalarFunction,
    schema: &DFSchema,
    style: TextStyle,
) -> DataFusionResult<Transformed<Expr>> {
    let texts = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
    let wanted = match call.args.first() {
        Some(array) => functions::needs_text_out(&array.get_type(schema)?, &texts),
        None => false,
    };
    if wanted {
        call.args[0] = functions::text_out(call.args[0].clone(), &texts, style);
    }
    Ok(Transformed::new_transformed(Expr::ScalarFunction(call), wanted))
}

/// See [`PostgresCasts`].
pub(super) fn postgres_cast(
    cast: Cast,
    schema: &DFSchema,
    style: TextStyle,
    registry: &Registry,
) -> DataFusionResult<Transformed<Expr>> {
    let Cast { expr, field } = cast;
    let target = field.data_type();
    let source = expr.get_type(schema)?;
    if source == CHAR && !target.is_string() {
        let text = Box::new(Expr::Cast(Cast::new(expr, DataType::Utf8)));
        return postgres_cast(Cast { expr: text, field }, schema, style, registry);
    }
    if functions::needs_text_in(&source, target) {
        return Ok(Transformed::yes(match literal::quoted(&expr) {
            Some(text) if clock_word(text, target).is_some() => {
                return clock_value(text, field, schema, style, registry).map(Transformed::yes);
            }
            // Read once, not once per batch.
            Some(text) => Expr::Literal(input::read(text, target, style).map_err(external)?, None),
            None => functions::text_in(*expr, target, style),
        }));
    }
    if functions::is_json(&source) || functions::is_json(target) || source == UUID || *target == UUID {
        return json_or_uuid_cast(*expr, &source, field, style);
    }
    if registry.reading() >= Reading::POSTGRES_DIGITS && functions::needs_list_cast(&source, target) {
        return Ok(Transformed::yes(functions::list_cast(*expr, target, style, registry.reading())));
    }
    if registry.reading() >= Reading::POSTGRES_DIGITS && functions::needs_number_cast(&source, target) {
        return Ok(Transformed::yes(functions::number_cast(*expr, target)));
    }
    let to_clock = matches!(target, DataType::Time64(_));
    if functions::needs_moment_cast(&source, target) && (!to_clock || registry.reading() >= Reading::POSTGRES_FUNCTIONS)
    {
        return Ok(Transformed::yes(functions::moment_cast(*expr, &source, target, style.zone)));
    }
    if functions::needs_span_cast(&source, target) {
        return Ok(Transformed::yes(functions::span_cast(*expr, target)));
    }
    if target.is_integer() {
        let (inner, rounded) = rounded(*expr, schema, registry)?;
        return Ok(Transformed::new_transformed(Expr::Cast(Cast { expr: Box::new(inner), field }), rounded));
    }
    if functions::needs_float_cast(&source, target) {
        return Ok(Transformed::yes(functions::float_cast(*expr, target)));
    }
    if functions::needs_text_out(&source, target) {
        return Ok(Transformed::yes(match target {
            // DataFusion's other encodings of text, which its functions ask for.
            DataType::Utf8View | DataType::LargeUtf8 => {
                let text = functions::text_out(*expr, &DataType::Utf8, style);
                Expr::Cast(Cast { expr: Box::new(text), field })
            }
            target => functions::text_out(*expr, target, style),
        }));
    }
    Ok(Transformed::no(Expr::Cast(Cast { expr, field })))
}

/// A column cast as Postgres does.
pub(crate) fn cast_of_postgres(
    column: &str,
    target: &DataType,
    schema: &DFSchema,
    style: TextStyle,
    reading: Reading,
) -> DataFusionResult<Expr> {
    let cast = Cast::new(Box::new(Expr::Column(Column::new_unqualified(column))), target.clone());
    postgres_cast(cast, schema, style, registry_of(reading)).map(|cast| cast.data)
}

/// Days after today that a word stands for which depends on the clock; for `now` the moment itself.
enum ClockWord {
    Now,
    Day(i32),
}

/// The word of the clock that a literal of a type is.
fn clock_word(text: &str, target: &DataType) -> Option<ClockWord> {
    if !matches!(target, DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, _)) {
        return None;
    }
    Some(match text.trim_ascii().to_ascii_lowercase().as_str() {
        "now" => ClockWord::Now,
        "today" => ClockWord::Day(0),
        "tomorrow" => ClockWord::Day(1),
        "yesterday" => ClockWord::Day(-1),
        _ => return None,
    })
}

/// The call that a word of the clock stands for, which no definition can have.
fn clock_value(
    text: &str,
    field: FieldRef,
    schema: &DFSchema,
    style: TextStyle,
    registry: &Registry,
) -> DataFusionResult<Expr> {
    let call = |name: &str| {
        let function = registry.scalar(name).expect("the registry has the functions of the clock");
        let call = ScalarFunction::new_udf(function, Vec::new());
        functions::in_session(&call, style).unwrap_or(Expr::ScalarFunction(call))
    };
    let value = match clock_word(text, field.data_type()) {
        Some(ClockWord::Day(days)) => {
            let days =
                Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, days, 0))), None);
            let midnight = DataType::Timestamp(TimeUnit::Microsecond, None);
            let today = Cast::new(Box::new(call("current_date")), midnight);
            let today = postgres_cast(today, schema, style, registry)?.data;
            Expr::BinaryExpr(BinaryExpr::new(Box::new(today), Operator::Plus, Box::new(days)))
        }
        _ => call("now"),
    };
    if value.get_type(schema)? == *field.data_type() {
        return Ok(value);
    }
    postgres_cast(Cast { expr: Box::new(value), field }, schema, style, registry).map(|cast| cast.data)
}

/// A cast of `jsonb`, `json` or `uuid`: to and from text, between the two kinds of JSON, and of JSON's scalars.
fn json_or_uuid_cast(
    expr: Expr,
    source: &DataType,
    field: FieldRef,
    style: TextStyle,
) -> DataFusionResult<Transformed<Expr>> {
    let target = field.data_type();
    if source == target || source.is_null() {
        return Ok(Transformed::no(Expr::Cast(Cast { expr: Box::new(expr), field })));
    }
    if functions::casts_json(source, target) {
        return Ok(Transformed::yes(functions::json_cast(expr, target)));
    }
    if matches!(target, DataType::Utf8 | DataType::Utf8View) {
        return Ok(Transformed::yes(functions::text_out(expr, &DataType::Utf8, style)));
    }
    let (from, to) = (functions::sql_type(source), functions::sql_type(target));
    Err(refuse(PlanErrorKind::CannotCoerce, format!("cannot cast type {from} to {to}")))
}

/// `expr` rounded to a whole number if its type has fractions, and whether that was so.
fn rounded(expr: Expr, schema: &DFSchema, registry: &Registry) -> DataFusionResult<(Expr, bool)> {
    let fractional = match expr.get_type(schema)? {
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => scale > 0,
        data_type => data_type.is_floating(),
    };
    if !fractional || is_round(&expr) {
        return Ok((expr, false));
    }
    let round = registry.scalar("round").expect("DataFusion has round");
    Ok((round.call(vec![expr]), true))
}

fn is_round(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(function) if function.name() == "round")
}
