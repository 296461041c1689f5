//! The one registry of functions for views and ad hoc queries, so that the two can be held against each other.
//!
//! Scalar functions are DataFusion's where they agree with Postgres, ours where they don't (the clock, the
//! session). The aggregates that a view can keep are wrappers of the runtime's own states, so that a batch
//! query and a view agree to the bit; the other aggregates of DataFusion serve ad hoc queries only.

mod aggregate;
mod array_of_rows;
mod arrays;
mod bounded;
mod cast;
mod character;
mod checked;
mod declared;
mod expansion;
mod float_cast;
mod forms;
mod interval;
mod json;
mod list_cast;
mod matches;
mod math;
mod moment_cast;
mod moments;
mod number_cast;
mod number_out;
mod numerics;
mod ordered;
mod session;
mod settings;
mod similar;
mod text_in;
mod text_out;
mod texts;
mod use_check;
mod uuid;
mod waiting;
mod wrapped;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock};

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{AggregateUDF, Expr, ScalarUDF, WindowUDF};
use datafusion::physical_expr::PhysicalExpr;

use crate::bind::plan_error;
use crate::error::Result;
use crate::reading::Reading;
use crate::values::TextStyle;

pub use aggregate::{ExactAggregate, ExactKind};
pub(crate) use array_of_rows::{ARRAY_OF_ROWS, array_of_rows, rows_of_array};
pub(crate) use character::{
    CHARACTER, character, keeps_character, length as length_of_character, padded, shows_blanks,
};
pub use checked::{checked_functions, fold_constants};
pub(crate) use checked::{folded, folded_if_it_can_be};
pub(crate) use declared::{AS_JSON, SECOND_DIGITS, VARYING, written_function};
pub(crate) use expansion::is_stand_in;
pub(crate) use float_cast::{fits as float_fits, float_cast, needs_float_cast, out_of_range as float_out_of_range};
pub(crate) use interval::{length as interval_length, scaled as scaled_interval};
pub(crate) use json::{
    aggregate as json_aggregate, aggregate_function as json_aggregate_function, cast_target as casts_json,
    is_aggregate as is_array_json, is_json, json_cast, literal_types as json_literals, operator_call as json_operator,
    sort_key as json_sort_key,
};
pub(crate) use list_cast::{list_cast, needs_list_cast};
pub(crate) use matches::{compares, matches_function, matches_name, matches_operator};
pub(crate) use moment_cast::{moment_cast, needs_moment_cast, needs_span_cast, span_cast};
pub(crate) use moments::{NAMED_ARGUMENTS, moment_arguments, moved_by, shifted, shown_digits, time_between};
pub(crate) use number_cast::{needs_number_cast, number_cast};
pub(crate) use number_out::number_out;
pub(crate) use numerics::{Operation, operation as numeric_operation, operation_of as numeric_operation_of};
pub use ordered::OrderedAggregates;
pub use session::SessionFacts;
pub(crate) use session::{fact_value, is_fact};
pub use settings::{SessionSettings, changes_settings};
pub(crate) use similar::SIMILAR_TO;
pub(crate) use text_in::{needs_text_in, text_in};
pub(crate) use text_out::{needs_text_out, text_out};
pub use use_check::{FunctionUse, check_use, check_view_functions};
pub(crate) use waiting::check_places;
pub use waiting::{AdvisoryCall, AdvisoryKey, ServerCalls};

/// Every function by its name.
pub struct Registry {
    scalars: HashMap<String, Arc<ScalarUDF>>,
    aggregates: HashMap<String, Arc<AggregateUDF>>,
    windows: HashMap<String, Arc<WindowUDF>>,
    reading: Reading,
}

/// A registry per reading, made when it is first asked for.
static REGISTRIES: LazyLock<Vec<OnceLock<Registry>>> =
    LazyLock::new(|| Reading::all().map(|_| OnceLock::new()).collect());

/// The registry.
pub fn registry() -> &'static Registry {
    registry_of(Reading::NEWEST)
}

/// The registry of the time when something was written.
pub fn registry_of(reading: Reading) -> &'static Registry {
    REGISTRIES[reading.index()].get_or_init(|| Registry::build(reading))
}

/// Functions of DataFusion that have no place here: they lie about what this server is, or ask for files and for
/// unions, of which no row here has any.
const LEFT_OUT: &[&str] = &[
    "version",
    "current_timestamp",
    "now",
    "current_date",
    "today",
    "current_time",
    "date_format",
    "file_row_index",
    "input_file_name",
    "union_extract",
    "union_tag",
];

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    fn build(reading: Reading) -> Self {
        let postgres_functions = reading >= Reading::POSTGRES_FUNCTIONS;
        let own = |mut function: Arc<ScalarUDF>| {
            if reading >= Reading::POSTGRES_DIGITS {
                function = math::of_angles(function);
            }
            if postgres_functions { math::rounding(arrays::counted(function)) } else { function }
        };
        let mut scalars = HashMap::new();
        for function in SessionStateDefaults::default_scalar_functions() {
            for name in names(function.name(), function.aliases()).filter(|name| !LEFT_OUT.contains(name)) {
                scalars.insert(name.to_string(), own(bounded::bounded(math::checked(Arc::clone(&function)))));
            }
        }
        if let Some(ceil) = scalars.get("ceil").cloned() {
            scalars.insert("ceiling".to_string(), ceil);
        }
        let ours = session::functions(reading)
            .into_iter()
            .chain(settings::functions())
            .chain(json::functions(postgres_functions))
            .chain(moments::functions().filter(|_| postgres_functions))
            .chain(waiting::functions())
            .chain([uuid::random(), character::function()]);
        let postgres = [arrays::functions(), math::functions(), texts::functions()].into_iter().flatten();
        for function in ours.chain(postgres.filter(|_| postgres_functions)) {
            for name in names(function.name(), function.aliases()) {
                scalars.insert(name.to_string(), Arc::clone(&function));
            }
        }
        let mut aggregates = HashMap::new();
        for function in
            SessionStateDefaults::default_aggregate_functions().into_iter().chain(aggregate::functions(reading))
        {
            for name in names(function.name(), function.aliases()) {
                aggregates.insert(name.to_string(), Arc::clone(&function));
            }
        }
        if let Some(variance) = aggregates.get("var_samp").cloned() {
            aggregates.insert("variance".to_string(), variance);
        }
        let mut windows = HashMap::new();
        for function in SessionStateDefaults::default_window_functions() {
            for name in names(function.name(), function.aliases()) {
                windows.insert(name.to_string(), Arc::clone(&function));
            }
        }
        Self { scalars, aggregates, windows, reading }
    }

    /// The reading of the texts that have these functions.
    pub(crate) fn reading(&self) -> Reading {
        self.reading
    }

    /// A scalar function; `pg_catalog.` may stand before its name.
    pub fn scalar(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.scalars.get(local_name(name)).cloned()
    }

    /// An aggregate.
    pub fn aggregate(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.aggregates.get(local_name(name)).cloned()
    }

    /// A window function.
    pub fn window(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.windows.get(local_name(name)).cloned()
    }

    /// All aggregates: rules of the optimizer look some up by name.
    pub(crate) fn aggregates(&self) -> Vec<Arc<AggregateUDF>> {
        self.aggregates.values().cloned().collect()
    }

    /// The names of all scalar functions, sorted.
    pub fn scalar_names(&self) -> Vec<String> {
        sorted(self.scalars.keys())
    }

    /// The names of all aggregates, sorted.
    pub fn aggregate_names(&self) -> Vec<String> {
        sorted(self.aggregates.keys())
    }

    /// The names of all window functions, sorted.
    pub fn window_names(&self) -> Vec<String> {
        sorted(self.windows.keys())
    }
}

fn names<'a>(name: &'a str, aliases: &'a [String]) -> impl Iterator<Item = &'a str> {
    std::iter::once(name).chain(aliases.iter().map(String::as_str))
}

fn local_name(name: &str) -> &str {
    name.strip_prefix("pg_catalog.").unwrap_or(name)
}

fn sorted<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut names: Vec<String> = names.cloned().collect();
    names.sort();
    names
}

/// A call with what it needs of the session that binds it: its zone, and the forms of values. `None` for calls that
/// need nothing.
pub(crate) fn in_session(call: &ScalarFunction, style: TextStyle) -> Option<Expr> {
    let function = moments::in_session(&call.func, style)
        .or_else(|| session::in_session(&call.func, style))
        .or_else(|| json::in_session(&call.func, style))?;
    Some(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function), call.args.clone())))
}

/// Whether a name is a scalar function and nothing else.
pub fn is_scalar(name: &str) -> bool {
    let name = name.to_lowercase();
    registry().scalar(&name).is_some() && registry().aggregate(&name).is_none() && registry().window(&name).is_none()
}

/// The surroundings of expressions that stand alone: none.
static STANDALONE: LazyLock<ExecutionProps> = LazyLock::new(|| {
    let mut properties = ExecutionProps::new();
    properties.config_options = Some(Arc::new(crate::bind::planner_options().clone()));
    properties
});

/// What such expressions are made with.
pub(crate) fn standalone() -> &'static ExecutionProps {
    &STANDALONE
}

/// The checked physical expression of an analyzed one: overflow and division by zero are errors of the row.
pub fn physical_expression(expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    if let Some(error) = waiting::misplaced(expr).map_err(plan_error)? {
        return Err(error);
    }
    let expr = expansion::written_out(expr.clone(), schema).map_err(plan_error)?;
    let expr = checked::logical(expr, schema).map_err(plan_error)?;
    let physical = datafusion::physical_expr::create_physical_expr(
        &expr,
        schema,
        &STANDALONE,
        &PhysicalPlanningContext::default(),
    )
    .map_err(plan_error)?;
    checked::physical(physical).map_err(plan_error)
}

/// The name of a type as Postgres shows it in messages, without its digits.
pub fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "unknown".to_string(),
        DataType::Boolean => "boolean".to_string(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint".to_string(),
        DataType::Int32 | DataType::UInt16 => "integer".to_string(),
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "bigint".to_string(),
        DataType::Float16 | DataType::Float32 => "real".to_string(),
        DataType::Float64 => "double precision".to_string(),
        DataType::Decimal128(..) | DataType::Decimal256(..) => "numeric".to_string(),
        DataType::Utf8 => "text".to_string(),
        DataType::Utf8View => "character".to_string(),
        DataType::LargeUtf8 => "jsonb".to_string(),
        DataType::LargeBinary => "json".to_string(),
        DataType::FixedSizeBinary(16) => "uuid".to_string(),
        DataType::Binary | DataType::BinaryView => "bytea".to_string(),
        DataType::Date32 | DataType::Date64 => "date".to_string(),
        DataType::Time32(_) | DataType::Time64(_) => "time without time zone".to_string(),
        DataType::Timestamp(_, None) => "timestamp without time zone".to_string(),
        DataType::Timestamp(
            TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond | TimeUnit::Nanosecond,
            _,
        ) => "timestamp with time zone".to_string(),
        DataType::Interval(IntervalUnit::YearMonth | IntervalUnit::DayTime | IntervalUnit::MonthDayNano)
        | DataType::Duration(_) => "interval".to_string(),
        DataType::List(field) | DataType::LargeList(field) => format!("{}[]", sql_type(field.data_type())),
        DataType::Struct(_) => "record".to_string(),
        other => other.to_string(),
    }
}
