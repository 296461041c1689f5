//! Which operators there are, by the types of their operands, as in Postgres. DataFusion would read any text as a
//! number where one stands beside it, and compare a `double precision` with a `numeric` as numerics.
//!
//! An operator gets its operands here in types that DataFusion then takes as they are: quoted literals read as what
//! stands beside them, floats beside other numbers as `double precision`.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::datatype::DataTypeExt;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Diagnostic, ScalarValue, Span};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{Cast, Placeholder};
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawAggregateExpr, RawBinaryExpr, RawFieldAccessExpr,
};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, GetFieldAccess, Operator};

use super::diagnose::refuse;
use super::literal;
use super::matching::matched;
use crate::error::{PlanError, PlanErrorKind};
use crate::functions::{
    interval_length, is_json, json_operator, json_sort_key, keeps_character, moved_by, numeric_operation, registry,
    registry_of, scaled_interval, sql_type, time_between,
};
use crate::reading::Reading;
use crate::types::{CHAR, JSON, JSONB, UUID};
use crate::values::input;

/// Resolves the operators of a text while it is planned: DataFusion asks for the types of what it has planned, and
/// would refuse what a literal makes possible.
#[derive(Debug)]
pub(super) struct Operators {
    /// How the text is read.
    pub reading: Reading,
}

/// Aggregates of casts, named by the casts, too.
#[derive(Debug)]
pub(super) struct NamedCasts;

impl ExprPlanner for NamedCasts {
    fn plan_aggregate(&self, mut expr: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        for argument in &mut expr.args {
            if argument.exists(|part| Ok(matches!(part, Expr::Cast(_))))? {
                *argument = argument.clone().alias(argument.to_string());
            }
        }
        Ok(PlannerResult::Original(expr))
    }
}

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = expr;
        let symbol = op.to_string();
        if let Some(call) = json_operation(&symbol, &left, &right, schema)? {
            return Ok(PlannerResult::Planned(call));
        }
        if symbol == "&&"
            && [&left, &right]
                .iter()
                .all(|side| !matches!(Operand::of(side, schema), Operand::Typed(known) if !known.is_list()))
            && let Some(function) = registry().scalar("array_has_any")
        {
            let (left, right) = resolve("=", left, right, schema, self.reading)?;
            // NULL overlaps with nothing, not even with itself.
            let left = match registry().scalar("array_remove") {
                Some(remove) => remove.call(vec![left, Expr::Literal(ScalarValue::Null, None)]),
                None => left,
            };
            return Ok(PlannerResult::Planned(function.call(vec![left, right])));
        }
        if scales_interval(&symbol, &Operand::of(&left, schema), &Operand::of(&right, schema)) {
            return Ok(PlannerResult::Planned(scaled(&symbol, left, right, schema)));
        }
        let (left, right) = match rows_with_parameters(&left, &right) {
            Some(_) if Family::of(&symbol) == Family::Comparison => {
                resolve_rows(&symbol, left, right, schema, self.reading)?
            }
            _ => resolve(&symbol, left, right, schema, self.reading)?,
        };
        if self.reading >= Reading::POSTGRES_FUNCTIONS
            && let Some(moved) = moved(&symbol, &left, &right, schema)
        {
            return Ok(PlannerResult::Planned(moved));
        }
        if self.reading >= Reading::POSTGRES_DIGITS
            && let Some(call) = numeric_operation(&symbol, &left, &right, schema)
        {
            return Ok(PlannerResult::Planned(call));
        }
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }

    /// `EXTRACT(field FROM value)` is a function of that name.
    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(match registry_of(self.reading).scalar("extract") {
            Some(function) => PlannerResult::Planned(function.call(args)),
            None => PlannerResult::Original(args),
        })
    }

    /// Elements in their common type, NULL among them: DataFusion finds none for NULL and bytes.
    fn plan_array_literal(&self, exprs: Vec<Expr>, schema: &DFSchema) -> Result<PlannerResult<Vec<Expr>>> {
        let exprs = matched("ARRAY", exprs, schema, self.reading)?;
        let typed = exprs.iter().find_map(|expr| match Operand::of(expr, schema) {
            Operand::Typed(data_type) => Some(data_type),
            Operand::Open | Operand::Unknown => None,
        });
        let Some(typed) = typed.filter(|data_type| data_type.is_binary() || is_json(data_type) || *data_type == UUID)
        else {
            return Ok(PlannerResult::Original(exprs));
        };
        let conformed = exprs.into_iter().map(|expr| match expr {
            Expr::Literal(ScalarValue::Null, metadata) => Ok(Expr::Literal(ScalarValue::try_from(&typed)?, metadata)),
            other => Ok(other),
        });
        Ok(PlannerResult::Original(conformed.collect::<Result<_>>()?))
    }

    /// `value['key']` and `value[0]` of a `jsonb` are its parts.
    fn plan_field_access(
        &self,
        expr: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        match type_of(&expr.expr, schema) {
            Some(data_type) if data_type == JSONB => {}
            Some(DataType::List(_)) if self.reading >= Reading::POSTGRES_FUNCTIONS => return Ok(part_of_array(expr)),
            _ => return Ok(PlannerResult::Original(expr)),
        }
        let selector = match &expr.field_access {
            GetFieldAccess::NamedStructField { name } => Expr::Literal(name.clone(), None),
            GetFieldAccess::ListIndex { key } => narrowed(key.as_ref().clone()),
            GetFieldAccess::ListRange { .. } => {
                return Err(external(PlanError::new(
                    PlanErrorKind::DatatypeMismatch,
                    "jsonb subscript does not support slices",
                )));
            }
        };
        Ok(match json_operation("->", &expr.expr, &selector, schema)? {
            Some(part) => PlannerResult::Planned(part),
            None => PlannerResult::Original(expr),
        })
    }
}

/// `array[place]` and `array[from:to]`.
fn part_of_array(expr: RawFieldAccessExpr) -> PlannerResult<RawFieldAccessExpr> {
    let part = |name: &str, arguments: Vec<Expr>| match registry().scalar(name) {
        Some(function) => PlannerResult::Planned(function.call(arguments)),
        None => PlannerResult::Original(expr.clone()),
    };
    match &expr.field_access {
        GetFieldAccess::ListIndex { key } => part("array_element", vec![expr.expr.clone(), key.as_ref().clone()]),
        GetFieldAccess::ListRange { start, stop, .. } => {
            part("array_slice", vec![expr.expr.clone(), start.as_ref().clone(), stop.as_ref().clone()])
        }
        GetFieldAccess::NamedStructField { .. } => PlannerResult::Original(expr),
    }
}

/// The fields of two rows of one length of which one has parameters.
fn rows_with_parameters<'a>(left: &'a Expr, right: &'a Expr) -> Option<(&'a [Expr], &'a [Expr])> {
    let fields = |expr: &'a Expr| match expr {
        Expr::ScalarFunction(call) if call.name() == "struct" => Some(call.args.as_slice()),
        _ => None,
    };
    let (left, right) = (fields(left)?, fields(right)?);
    let open = left.iter().chain(right).any(|field| matches!(field, Expr::Placeholder(_)));
    (open && left.len() == right.len()).then_some((left, right))
}

/// Rows are compared field by field: a parameter is of the type of the field across.
fn resolve_rows(symbol: &str, left: Expr, right: Expr, schema: &DFSchema, reading: Reading) -> Result<(Expr, Expr)> {
    let (Expr::ScalarFunction(mut left), Expr::ScalarFunction(mut right)) = (left, right) else {
        return Err(external(PlanError::internal("rows are made by a function")));
    };
    for (left, right) in left.args.iter_mut().zip(&mut right.args) {
        (*left, *right) = resolve(symbol, left.clone(), right.clone(), schema, reading)?;
    }
    Ok((Expr::ScalarFunction(left), Expr::ScalarFunction(right)))
}

/// The product or quotient of an interval and a number, which may come first.
fn scaled(symbol: &str, left: Expr, right: Expr, schema: &DFSchema) -> Expr {
    let is_interval = |expr: &Expr| matches!(type_of(expr, schema), Some(DataType::Interval(_)));
    let (interval, factor) = if is_interval(&left) { (left, right) } else { (right, left) };
    scaled_interval(symbol, interval, Expr::Cast(Cast::new(Box::new(factor), DataType::Float64)))
}

/// The difference of two moments, or an instant moved by an interval, as a call that knows the session's clocks. An
/// interval of a time alone needs none.
fn moved(symbol: &str, left: &Expr, right: &Expr, schema: &DFSchema) -> Option<Expr> {
    if !matches!(symbol, "+" | "-") {
        return None;
    }
    if let ("-", Some(end @ DataType::Timestamp(TimeUnit::Microsecond, _)), Some(begin)) =
        (symbol, type_of(left, schema), type_of(right, schema))
        && end == begin
    {
        return Some(time_between(left.clone(), right.clone()));
    }
    let is_zoned = |expr: &Expr| matches!(type_of(expr, schema), Some(DataType::Timestamp(_, Some(_))));
    let is_interval = |expr: &Expr| matches!(type_of(expr, schema), Some(DataType::Interval(_)));
    let (instant, interval) = match symbol {
        "+" if is_interval(left) && is_zoned(right) => (right, left),
        _ if is_zoned(left) && is_interval(right) => (left, right),
        _ => return None,
    };
    (!is_time_alone(interval)).then(|| moved_by(symbol, instant.clone(), interval.clone()))
}

/// Whether it is a constant interval without months and days.
fn is_time_alone(interval: &Expr) -> bool {
    match interval {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _) => {
            interval.months == 0 && interval.days == 0
        }
        Expr::Cast(cast) => literal::quoted(&cast.expr).is_some_and(|text| {
            input::datetime::interval(text).is_ok_and(|interval| interval.months == 0 && interval.days == 0)
        }),
        _ => false,
    }
}

/// The type in which Postgres compares two moments, and takes their difference: the one that knows more. In older texts
/// DataFusion finds one.
pub(super) fn moment_type(left: &DataType, right: &DataType, reading: Reading) -> Option<DataType> {
    if reading < Reading::POSTGRES_FUNCTIONS {
        return None;
    }
    let moments = Category::of(left).is_moment() && Category::of(right).is_moment();
    if !moments || left == right {
        return None;
    }
    [left, right]
        .into_iter()
        .find(|data_type| matches!(data_type, DataType::Timestamp(_, Some(_))))
        .or_else(|| [left, right].into_iter().find(|data_type| matches!(data_type, DataType::Timestamp(..))))
        .cloned()
}

/// The call that an operator of JSON stands for; `None` for the operators of other types.
fn json_operation(symbol: &str, left: &Expr, right: &Expr, schema: &DFSchema) -> Result<Option<Expr>> {
    let both = matches!(symbol, "@>" | "<@" | "||");
    if !both && !matches!(symbol, "->" | "->>" | "#>" | "#>>" | "?" | "?|" | "?&" | "#-" | "-") {
        return Ok(None);
    }
    let (left, right) = (&narrowed(left.clone()), &narrowed(right.clone()));
    let operands = (Operand::of(left, schema), Operand::of(right, schema));
    let known = |operand: &Operand| matches!(operand, Operand::Typed(data_type) if is_json(data_type));
    let texts = DataType::new_list(DataType::Utf8, true);
    let (left, right) = match (known(&operands.0), known(&operands.1)) {
        (true, true) if both => (left.clone(), right.clone()),
        (true, _) if both => match &operands.1 {
            Operand::Unknown => (left.clone(), read(right.clone(), &JSONB)?),
            _ => return Ok(None),
        },
        (_, true) if both => match &operands.0 {
            Operand::Unknown => (read(left.clone(), &JSONB)?, right.clone()),
            _ => return Ok(None),
        },
        (true, _) => {
            let wanted = if matches!(symbol, "#>" | "#>>" | "?|" | "?&" | "#-") { texts } else { DataType::Utf8 };
            let known = !matches!(operands.1, Operand::Unknown);
            (left.clone(), if known { right.clone() } else { read(right.clone(), &wanted)? })
        }
        // Other types have no such operators.
        _ if !both && symbol != "-" => return Err(located(missing_operator(symbol, &operands), [left, right])),
        _ => return Ok(None),
    };
    let call = json_operator(symbol, left.clone(), right.clone());
    // What it does not take is no operator.
    match call.map(|call| (type_of(&call, schema), call)) {
        Some((Some(_), call)) => Ok(Some(call)),
        _ => Err(located(missing_operator(symbol, &operands), [&left, &right])),
    }
}

/// What is known of an operand's type.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    /// Nothing, and it fits everything: NULL.
    Open,
    /// Nothing yet, and it takes the type of what stands beside it: a quoted literal, or a parameter that nobody
    /// has given a type.
    Unknown,
    /// All.
    Typed(DataType),
}

impl Operand {
    pub(super) fn of(expr: &Expr, schema: &DFSchema) -> Self {
        let untyped = matches!(expr, Expr::Placeholder(parameter) if parameter.field.is_none());
        if untyped || literal::quoted(expr).is_some() {
            return Self::Unknown;
        }
        match type_of(expr, schema) {
            Some(data_type) if !data_type.is_null() => Self::Typed(data_type),
            _ => Self::Open,
        }
    }

    /// The name that messages have for it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Open | Self::Unknown => "unknown".to_string(),
            Self::Typed(data_type) => sql_type(data_type),
        }
    }
}

/// An expression's type; `None` where DataFusion can't tell, or will say so itself.
fn type_of(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    match expr {
        // Without a look at the operands: chains of these are long.
        Expr::BinaryExpr(BinaryExpr { op, .. }) if gives_truth(*op) => Some(DataType::Boolean),
        Expr::BinaryExpr(BinaryExpr { op: Operator::StringConcat, .. }) => Some(DataType::Utf8),
        Expr::Placeholder(parameter) => parameter.field.as_ref().map(|field| field.data_type().clone()),
        // DataFusion's own encoding of text, which is none of `char(n)`.
        Expr::ScalarFunction(call) if !keeps_character(call.name()) => match expr.get_type(schema).ok()? {
            data_type if data_type == CHAR => Some(DataType::Utf8),
            data_type => Some(data_type),
        },
        expr => expr.get_type(schema).ok(),
    }
}

fn gives_truth(operator: Operator) -> bool {
    matches!(Family::of(&operator.to_string()), Family::Comparison | Family::Logic | Family::Pattern)
}

/// Types that have the same operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Category {
    Boolean,
    Integer,
    Numeric,
    Float,
    Text,
    Bytes,
    Date,
    Timestamp,
    Time,
    Interval,
    Uuid,
    Jsonb,
    Json,
    Array,
    Record,
    Other,
}

impl Category {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::Boolean,
            DataType::Dictionary(_, values) => Self::of(values),
            data_type if data_type.is_integer() => Self::Integer,
            data_type if data_type.is_floating() => Self::Float,
            data_type if data_type.is_numeric() => Self::Numeric,
            data_type if *data_type == JSONB => Self::Jsonb,
            data_type if *data_type == JSON => Self::Json,
            data_type if *data_type == UUID => Self::Uuid,
            data_type if data_type.is_string() => Self::Text,
            data_type if data_type.is_binary() => Self::Bytes,
            DataType::Date32 => Self::Date,
            DataType::Date64 | DataType::Timestamp(..) => Self::Timestamp,
            DataType::Time32(_) | DataType::Time64(_) => Self::Time,
            DataType::Interval(_) | DataType::Duration(_) => Self::Interval,
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => Self::Array,
            DataType::Struct(_) => Self::Record,
            _ => Self::Other,
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Self::Integer | Self::Numeric | Self::Float)
    }

    fn is_moment(self) -> bool {
        matches!(self, Self::Date | Self::Timestamp)
    }
}

/// Whether values of two types can be compared, and stand in one column.
pub(super) fn are_alike(left: &DataType, right: &DataType) -> bool {
    let (left_category, right_category) = (Category::of(left), Category::of(right));
    if let (DataType::List(left), DataType::List(right)) = (left, right) {
        return left.data_type().is_null()
            || right.data_type().is_null()
            || are_alike(left.data_type(), right.data_type());
    }
    left_category == right_category
        || (left_category.is_number() && right_category.is_number())
        || (left_category.is_moment() && right_category.is_moment())
        || left_category == Category::Other
        || right_category == Category::Other
}

/// The type in which Postgres has two numbers meet where one of them is a float. `None`: as they are.
pub(super) fn float_type(left: &DataType, right: &DataType) -> Option<DataType> {
    let numbers = Category::of(left).is_number() && Category::of(right).is_number();
    let floats = left.is_floating() || right.is_floating();
    (numbers && floats && left != right).then_some(DataType::Float64)
}

/// The operands of an operator in the types in which it takes them, or the error that there is no such operator.
pub(super) fn resolve(
    symbol: &str,
    left: Expr,
    right: Expr,
    schema: &DFSchema,
    reading: Reading,
) -> Result<(Expr, Expr)> {
    let (left, right) = (narrowed(left), narrowed(right));
    let family = Family::of(symbol);
    let operands = (Operand::of(&left, schema), Operand::of(&right, schema));
    let missing = || Err(located(missing_operator(symbol, &operands), [&left, &right]));
    match family {
        Family::Other => Ok((left, right)),
        Family::Logic => Ok((boolean(left, symbol, schema)?, boolean(right, symbol, schema)?)),
        Family::Pattern => match [&operands.0, &operands.1].into_iter().all(may_be_text) {
            true => Ok((left, right)),
            false => missing(),
        },
        Family::Concatenation => match concatenates(&operands.0, &operands.1) {
            true => concatenated(left, right, &operands),
            false => missing(),
        },
        Family::Comparison | Family::Arithmetic | Family::Bits => {
            let (left_type, right_type) = match (&operands.0, &operands.1) {
                (Operand::Typed(left), Operand::Typed(right)) => (left.clone(), right.clone()),
                (Operand::Typed(known), Operand::Unknown) => match beside(symbol, family, known) {
                    Beside::Type(wanted) => return resolve(symbol, left, read(right, &wanted)?, schema, reading),
                    Beside::AsIs => return Ok((left, right)),
                    Beside::Ambiguous => return Err(located(ambiguous(symbol, &operands), [&left, &right])),
                    Beside::None => return missing(),
                },
                (Operand::Unknown, Operand::Typed(known)) => match beside(symbol, family, known) {
                    Beside::Type(wanted) => return resolve(symbol, read(left, &wanted)?, right, schema, reading),
                    Beside::AsIs => return Ok((left, right)),
                    Beside::Ambiguous => return Err(located(ambiguous(symbol, &operands), [&left, &right])),
                    Beside::None => return missing(),
                },
                (Operand::Unknown, Operand::Unknown) if family != Family::Comparison => {
                    return Err(located(ambiguous(symbol, &operands), [&left, &right]));
                }
                _ => return Ok((left, right)),
            };
            if !family.takes(symbol, &left_type, &right_type) {
                return missing();
            }
            Ok(family.converted(symbol, (left, left_type), (right, right_type), reading))
        }
    }
}

/// Operators that take the same operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Comparison,
    Arithmetic,
    Bits,
    Logic,
    Concatenation,
    Pattern,
    Other,
}

impl Family {
    fn of(symbol: &str) -> Self {
        match symbol {
            "=" | "<>" | "!=" | "<" | "<=" | ">" | ">=" | "IS DISTINCT FROM" | "IS NOT DISTINCT FROM" => {
                Self::Comparison
            }
            "+" | "-" | "*" | "/" | "%" | "^" => Self::Arithmetic,
            "&" | "|" | "#" | "BIT_XOR" | "<<" | ">>" => Self::Bits,
            "AND" | "OR" => Self::Logic,
            "||" => Self::Concatenation,
            "~" | "~*" | "!~" | "!~*" | "~~" | "~~*" | "!~~" | "!~~*" => Self::Pattern,
            _ => Self::Other,
        }
    }

    /// Whether there is such an operator on these types.
    fn takes(self, symbol: &str, left: &DataType, right: &DataType) -> bool {
        let (left_category, right_category) = (Category::of(left), Category::of(right));
        match self {
            // As in Postgres `json`, being text as it was written, has no equality.
            Self::Comparison => are_alike(left, right) && left_category != Category::Json,
            Self::Arithmetic => calculates(symbol, (left_category, left), (right_category, right)),
            Self::Bits => left_category == Category::Integer && right_category == Category::Integer,
            Self::Logic | Self::Concatenation | Self::Pattern | Self::Other => true,
        }
    }

    /// The operands as Postgres converts them: a float's partner to `double precision`, a date that an interval is
    /// added to, to `timestamp`.
    fn converted(
        self,
        symbol: &str,
        left: (Expr, DataType),
        right: (Expr, DataType),
        reading: Reading,
    ) -> (Expr, Expr) {
        if let (Some(float), true) = (float_type(&left.1, &right.1), self != Self::Bits) {
            return (cast(left.0, &left.1, &float), cast(right.0, &right.1, &float));
        }
        if let Some(moment) = moment_type(&left.1, &right.1, reading) {
            return (cast(left.0, &left.1, &moment), cast(right.0, &right.1, &moment));
        }
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        let categories = (Category::of(&left.1), Category::of(&right.1));
        match categories {
            (Category::Jsonb, Category::Jsonb) => return (json_sort_key(left.0), json_sort_key(right.0)),
            (Category::Interval, Category::Interval) if self == Self::Comparison => {
                return (interval_length(left.0), interval_length(right.0));
            }
            _ => {}
        }
        match (symbol, categories) {
            ("+" | "-", (Category::Date, Category::Interval)) => (cast(left.0, &left.1, &timestamp), right.0),
            ("+", (Category::Interval, Category::Date)) => (left.0, cast(right.0, &right.1, &timestamp)),
            _ => (left.0, right.0),
        }
    }
}

/// Whether an arithmetic operator takes operands of these categories.
fn calculates(symbol: &str, left: (Category, &DataType), right: (Category, &DataType)) -> bool {
    use Category::{Date, Integer, Interval, Other, Time, Timestamp};
    if left.0 == Other || right.0 == Other {
        return true;
    }
    if left.0.is_number() && right.0.is_number() {
        // Postgres has no remainder of floats.
        return symbol != "%" || !(left.1.is_floating() || right.1.is_floating());
    }
    // Days are counted in `integer`.
    let days = |(category, data_type): (Category, &DataType)| category == Integer && *data_type != DataType::Int64;
    match (symbol, left.0, right.0) {
        ("+", Date, Integer) | ("-", Date, Integer) => days(right),
        ("+", Integer, Date) => days(left),
        ("+", Date, Time) | ("+", Time, Date) | ("-", Date, Time) => true,
        ("+" | "-", Date | Timestamp | Time | Interval, Interval) => true,
        ("+", Interval, Date | Timestamp | Time) => true,
        ("-", Date | Timestamp, Date | Timestamp) | ("-", Time, Time) => true,
        _ => false,
    }
}

/// What an unknown operand is read as beside one whose type is known.
enum Beside {
    Type(DataType),
    /// It stays text.
    AsIs,
    /// There are several, and Postgres does not choose.
    Ambiguous,
    /// There is no such operator.
    None,
}

fn beside(symbol: &str, family: Family, known: &DataType) -> Beside {
    let interval = DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano);
    match (family, symbol, Category::of(known)) {
        (Family::Comparison, _, Category::Text) if *known != CHAR => Beside::AsIs,
        (Family::Comparison, ..) => Beside::Type(known.clone()),
        (_, "^", category) if category.is_number() => Beside::Type(DataType::Float64),
        (_, _, category) if category.is_number() => Beside::Type(known.clone()),
        (Family::Arithmetic, "+", Category::Timestamp | Category::Time | Category::Interval) => Beside::Type(interval),
        (Family::Arithmetic, "+", Category::Date) => Beside::Ambiguous,
        (Family::Arithmetic, "-", Category::Date | Category::Timestamp | Category::Time | Category::Interval) => {
            Beside::Type(known.clone())
        }
        _ => Beside::None,
    }
}

/// A quoted literal as a value of a type, or a parameter of that type.
pub(super) fn read(unknown: Expr, wanted: &DataType) -> Result<Expr> {
    match unknown {
        Expr::Placeholder(parameter) => {
            let field = Some(wanted.clone().into_nullable_field_ref());
            Ok(Expr::Placeholder(Placeholder { field, ..parameter }))
        }
        other => match literal::quoted(&other) {
            Some(text) => literal::beside(text, wanted).map_err(external),
            None => Ok(other),
        },
    }
}

fn may_be_text(operand: &Operand) -> bool {
    match operand {
        Operand::Open | Operand::Unknown => true,
        Operand::Typed(data_type) => matches!(Category::of(data_type), Category::Text | Category::Other),
    }
}

/// A parameter beside an array is an array.
fn concatenated(left: Expr, right: Expr, operands: &(Operand, Operand)) -> Result<(Expr, Expr)> {
    match (&left, &right, operands) {
        (_, Expr::Placeholder(_), (Operand::Typed(known @ DataType::List(_)), Operand::Unknown)) => {
            Ok((left, read(right, known)?))
        }
        (Expr::Placeholder(_), _, (Operand::Unknown, Operand::Typed(known @ DataType::List(_)))) => {
            Ok((read(left, known)?, right))
        }
        (_, _, (Operand::Typed(DataType::List(_)), _) | (_, Operand::Typed(DataType::List(_)))) => Ok((left, right)),
        // Of `char(n)` its text.
        (_, _, (left_operand, right_operand)) => {
            let text = |expr: Expr, operand: &Operand| match operand {
                Operand::Typed(known) if *known == CHAR => cast(expr, known, &DataType::Utf8),
                _ => expr,
            };
            Ok((text(left, left_operand), text(right, right_operand)))
        }
    }
}

/// `||`: of two texts, of a text and anything, of two arrays or an array and an element, of two `bytea`.
fn concatenates(left: &Operand, right: &Operand) -> bool {
    let (Operand::Typed(left), Operand::Typed(right)) = (left, right) else { return true };
    let element = |data_type: &DataType| match data_type {
        DataType::List(element) => Some(element.data_type().clone()),
        _ => None,
    };
    let element_fits = |array: &DataType, other: &DataType| {
        element(array).is_some_and(|element| element.is_null() || are_alike(&element, other))
    };
    match (Category::of(left), Category::of(right)) {
        (Category::Array, Category::Array) => {
            are_alike(left, right) || element_fits(left, right) || element_fits(right, left)
        }
        (Category::Array, _) => element_fits(left, right),
        (_, Category::Array) => element_fits(right, left),
        (Category::Text, _) | (_, Category::Text) => true,
        (Category::Bytes, Category::Bytes) => true,
        (Category::Other, _) | (_, Category::Other) => true,
        _ => false,
    }
}

/// An operand that must be a truth value; `place` is what asks for it.
pub(super) fn boolean(expr: Expr, place: &str, schema: &DFSchema) -> Result<Expr> {
    match Operand::of(&expr, schema) {
        Operand::Open => Ok(expr),
        Operand::Unknown => read(expr, &DataType::Boolean),
        Operand::Typed(DataType::Boolean) => Ok(expr),
        Operand::Typed(other) => {
            let message =
                format!("argument of {place} must be type boolean, not type {}", sql_type(&narrow(&expr, other)));
            Err(located(refuse(PlanErrorKind::DatatypeMismatch, message), [&expr]))
        }
    }
}

/// The type of a literal as Postgres sees it.
fn narrow(expr: &Expr, data_type: DataType) -> DataType {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), _) if i32::try_from(*value).is_ok() => DataType::Int32,
        _ => data_type,
    }
}

/// An integer literal is `integer` if it fits, as in Postgres; DataFusion makes all of them `bigint`.
pub(super) fn narrowed(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), metadata) => match i32::try_from(value) {
            Ok(narrow) => Expr::Literal(ScalarValue::Int32(Some(narrow)), metadata),
            Err(_) => Expr::Literal(ScalarValue::Int64(Some(value)), metadata),
        },
        other => other,
    }
}

/// An expression of the type `source` cast to `target`, unless it is of it.
pub(super) fn cast(expr: Expr, source: &DataType, target: &DataType) -> Expr {
    if source == target { expr } else { Expr::Cast(Cast::new(Box::new(expr), target.clone())) }
}

/// The hint of Postgres where no operator fits.
pub(super) const NO_OPERATOR: &str =
    "No operator matches the given name and argument types. You might need to add explicit type casts.";

pub(super) fn missing_operator(symbol: &str, (left, right): &(Operand, Operand)) -> DataFusionError {
    let shown = match symbol {
        "IS DISTINCT FROM" | "IS NOT DISTINCT FROM" => "=",
        "!=" => "<>",
        "BIT_XOR" => "#",
        symbol => symbol,
    };
    let operation = format!("{} {shown} {}", left.name(), right.name());
    let error = PlanError::new(PlanErrorKind::UndefinedFunction, format!("operator does not exist: {operation}"));
    external(error.with_hint(NO_OPERATOR))
}

/// The product or quotient of an interval and a number, which Postgres has.
fn scales_interval(symbol: &str, left: &Operand, right: &Operand) -> bool {
    let (Operand::Typed(left), Operand::Typed(right)) = (left, right) else { return false };
    let (left, right) = (Category::of(left), Category::of(right));
    match symbol {
        "*" => (left == Category::Interval && right.is_number()) || (left.is_number() && right == Category::Interval),
        "/" => left == Category::Interval && right.is_number(),
        _ => false,
    }
}

fn ambiguous(symbol: &str, operands: &(Operand, Operand)) -> DataFusionError {
    let error = PlanError::new(
        PlanErrorKind::AmbiguousFunction,
        format!("operator is not unique: {} {symbol} {}", operands.0.name(), operands.1.name()),
    );
    external(error.with_hint("Could not choose a best candidate operator. You might need to add explicit type casts."))
}

pub(super) fn external(error: PlanError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The same error at the first of the expressions of which the place is known.
pub(super) fn located<const N: usize>(error: DataFusionError, expressions: [&Expr; N]) -> DataFusionError {
    match expressions.into_iter().find_map(first_span) {
        Some(span) => error.with_diagnostic(Diagnostic::new_error("", Some(span))),
        None => error,
    }
}

fn first_span(expr: &Expr) -> Option<Span> {
    let mut found = None;
    let visited = expr.apply(|node| {
        found = match node {
            Expr::Column(column) => column.spans.first(),
            _ => None,
        };
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    visited.ok().and(found)
}
