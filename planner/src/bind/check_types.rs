//! The rule that holds what DataFusion has planned against Postgres' types, before DataFusion coerces them: what it
//! does not build through an operator of the text ([`super::operators`]), it is held to here.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{Between, Case, Cast, InList, InSubquery, ScalarFunction, SetComparison};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Join, Like, Limit, LogicalPlan, Operator, ScalarUDF, Sort, Subquery,
};
use datafusion::optimizer::AnalyzerRule;

use super::characters::{Characters, is_pattern};
use super::diagnose::refuse;
use super::matching::{conformed_column, match_columns, matched, union};
use super::numbers::Numbers;
use super::operators::{
    Operand, are_alike, boolean, cast, float_type, located, missing_operator, moment_type, narrowed, read, resolve,
};
use super::rewrite::rewrite_node;
use crate::error::{PlanError, PlanErrorKind};
use crate::functions::{
    self, AS_JSON, compares, interval_length, is_json, json_literals, json_sort_key, matches_operator,
    numeric_operation, registry, sql_type,
};
use crate::reading::Reading;
use crate::types::{CHAR, JSON, JSONB, UUID};

/// See the module's text.
#[derive(Debug)]
pub(super) struct CheckTypes {
    /// How the text is read.
    pub(super) reading: Reading,
}

impl AnalyzerRule for CheckTypes {
    fn name(&self) -> &str {
        "check_types"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let checked = plan.transform_up_with_subqueries(|node| {
            let node = rewrite_node(node, &|expr, scope| {
                let characters = Characters { scope, reading: self.reading };
                let numbers = Numbers { scope, reading: self.reading };
                expression(expr, &characters, &numbers).map(Transformed::yes)
            })?
            .data;
            Ok(Transformed::yes(match node {
                LogicalPlan::Join(join) => LogicalPlan::Join(joined(join, self.reading)?),
                LogicalPlan::Union(inputs) => union(inputs, self.reading)?,
                LogicalPlan::Sort(sort) => LogicalPlan::Sort(sorted(sort)?),
                LogicalPlan::Limit(limit) => LogicalPlan::Limit(limited(limit)?),
                LogicalPlan::Aggregate(aggregate) => {
                    grouped(&aggregate.group_expr, aggregate.input.schema())?;
                    LogicalPlan::Aggregate(aggregate)
                }
                LogicalPlan::Distinct(distinct) => {
                    let columns: Vec<Expr> = distinct.input().schema().iter().map(Expr::from).collect();
                    grouped(&columns, distinct.input().schema())?;
                    LogicalPlan::Distinct(distinct)
                }
                other => other,
            }))
        })?;
        Ok(checked.data)
    }
}

fn expression(expr: Expr, characters: &Characters<'_>, numbers: &Numbers<'_>) -> Result<Expr> {
    let (schema, reading) = (characters.scope.schema(), characters.reading);
    let truth = |expr: Box<Expr>, place: &str| boolean(*expr, place, schema).map(Box::new);
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (left, right) = resolve(&op.to_string(), *left, *right, schema, reading)?;
            let (left, right) = match is_pattern(op) {
                true => (characters.shown(left), characters.shown(right)),
                false => (left, right),
            };
            let (left, right) = match op {
                Operator::StringConcat => numbers.concatenated(left, right),
                _ => (left, right),
            };
            let calculated = numeric_operation(&op.to_string(), &left, &right, schema);
            match calculated.filter(|_| numbers.reading >= Reading::POSTGRES_DIGITS) {
                Some(call) => call,
                None => Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))),
            }
        }
        Expr::Between(between) => Expr::Between(self::between(between, schema, reading)?),
        Expr::InList(list) => Expr::InList(in_list(list, schema, reading)?),
        Expr::Like(like) => {
            let symbol = match (like.negated, like.case_insensitive) {
                (false, false) => "~~",
                (false, true) => "~~*",
                (true, false) => "!~~",
                (true, true) => "!~~*",
            };
            Expr::Like(pattern(symbol, like, characters)?)
        }
        Expr::SimilarTo(like) => {
            let symbol = if like.negated { "!~" } else { "~" };
            Expr::SimilarTo(pattern(symbol, like, characters)?)
        }
        Expr::Case(case) => Expr::Case(self::case(case, schema, reading)?),
        Expr::Cast(cast) => {
            if numbers.reading >= Reading::POSTGRES_DIGITS {
                check_cast(&cast, schema)?;
            }
            numbers.cast(characters.cast(cast))
        }
        Expr::ScalarFunction(mut call) if call.func.name() == AS_JSON => match call.args.pop() {
            Some(value) => numbers.json(value),
            None => return Err(refuse(PlanErrorKind::UndefinedFunction, "JSON of nothing")),
        },
        Expr::ScalarFunction(call) => characters.call(numbers.call(self::call(call, schema, reading)?)),
        Expr::InSubquery(subquery) => Expr::InSubquery(in_subquery(subquery, schema, reading)?),
        Expr::SetComparison(comparison) => Expr::SetComparison(set_comparison(comparison, schema, reading)?),
        Expr::AggregateFunction(mut call) => {
            call.params.filter = call.params.filter.map(|filter| truth(filter, "FILTER")).transpose()?;
            Expr::AggregateFunction(characters.aggregate(call))
        }
        Expr::Not(inner) => Expr::Not(truth(inner, "NOT")?),
        Expr::IsTrue(inner) => Expr::IsTrue(truth(inner, "IS TRUE")?),
        Expr::IsNotTrue(inner) => Expr::IsNotTrue(truth(inner, "IS NOT TRUE")?),
        Expr::IsFalse(inner) => Expr::IsFalse(truth(inner, "IS FALSE")?),
        Expr::IsNotFalse(inner) => Expr::IsNotFalse(truth(inner, "IS NOT FALSE")?),
        Expr::IsUnknown(inner) => Expr::IsUnknown(truth(inner, "IS UNKNOWN")?),
        Expr::IsNotUnknown(inner) => Expr::IsNotUnknown(truth(inner, "IS NOT UNKNOWN")?),
        other => other,
    })
}

/// Postgres has no casts between moments and numbers, which DataFusion would count in microseconds.
fn check_cast(cast: &Cast, schema: &DFSchema) -> Result<()> {
    let Operand::Typed(source) = Operand::of(&cast.expr, schema) else { return Ok(()) };
    let target = cast.field.data_type();
    let is_number = |data_type: &DataType| data_type.is_numeric() || *data_type == DataType::Boolean;
    let is_moment = |data_type: &DataType| {
        matches!(data_type, DataType::Date32 | DataType::Timestamp(..) | DataType::Time64(_) | DataType::Interval(_))
    };
    if (is_moment(&source) && is_number(target)) || (is_number(&source) && is_moment(target)) {
        let message = format!("cannot cast type {} to {}", sql_type(&source), sql_type(target));
        return Err(located(refuse(PlanErrorKind::CannotCoerce, message), [&cast.expr]));
    }
    Ok(())
}

fn between(between: Between, schema: &DFSchema, reading: Reading) -> Result<Between> {
    let Between { expr, negated, low, high } = between;
    let bounds = if negated { vec![("<", *low), (">", *high)] } else { vec![(">=", *low), ("<=", *high)] };
    let (expr, bounds) = compared("BETWEEN", *expr, bounds, schema, reading)?;
    let [low, high] = <[Expr; 2]>::try_from(bounds).expect("as many expressions come out as went in");
    Ok(Between::new(Box::new(expr), negated, Box::new(low), Box::new(high)))
}

fn in_list(list: InList, schema: &DFSchema, reading: Reading) -> Result<InList> {
    let InList { expr, list, negated } = list;
    let symbol = if negated { "<>" } else { "=" };
    let list = list.into_iter().map(|item| (symbol, item)).collect();
    let (expr, list) = compared("IN", *expr, list, schema, reading)?;
    Ok(InList::new(Box::new(expr), list, negated))
}

/// ORDER BY with `jsonb` and intervals in their order.
fn sorted(mut sort: Sort) -> Result<Sort> {
    for ordered in &mut sort.expr {
        let data_type = ordered.expr.get_type(sort.input.schema())?;
        if data_type == JSON {
            return Err(no_operator("an ordering"));
        }
        if data_type == JSONB {
            ordered.expr = json_sort_key(ordered.expr.clone());
        }
        if matches!(data_type, DataType::Interval(_)) {
            ordered.expr = interval_length(ordered.expr.clone());
        }
    }
    Ok(sort)
}

/// LIMIT and OFFSET count in `bigint`.
fn limited(mut limit: Limit) -> Result<Limit> {
    let schema = DFSchema::empty();
    let counted = |count: Option<Box<Expr>>, place: &str| -> Result<Option<Box<Expr>>> {
        let Some(count) = count else { return Ok(None) };
        Ok(Some(Box::new(match Operand::of(&count, &schema) {
            Operand::Unknown => read(*count, &DataType::Int64)?,
            Operand::Typed(known) if known.is_integer() => *count,
            Operand::Typed(known) if known.is_numeric() => {
                let round = registry().scalar("round").expect("DataFusion has round");
                cast(round.call(vec![*count]), &known, &DataType::Int64)
            }
            Operand::Typed(known) => {
                let message = format!("argument of {place} must be type bigint, not type {}", sql_type(&known));
                return Err(refuse(PlanErrorKind::DatatypeMismatch, message));
            }
            Operand::Open => *count,
        })))
    };
    limit.fetch = counted(limit.fetch, "LIMIT")?;
    limit.skip = counted(limit.skip, "OFFSET")?;
    Ok(limit)
}

/// Whether rows can be told apart by these values: `json` has no equality.
fn grouped(expressions: &[Expr], schema: &DFSchema) -> Result<()> {
    let is_json = |expr: &Expr| expr.get_type(schema).is_ok_and(|data_type| data_type == JSON);
    if expressions.iter().any(is_json) { Err(no_operator("an equality")) } else { Ok(()) }
}

fn no_operator(kind: &str) -> DataFusionError {
    let error =
        PlanError::new(PlanErrorKind::UndefinedFunction, format!("could not identify {kind} operator for type json"));
    DataFusionError::External(Box::new(error.with_hint("Cast the value to jsonb.")))
}

/// An expression and those that operators compare it with, all in types that can be compared.
fn compared(
    place: &str,
    expr: Expr,
    others: Vec<(&str, Expr)>,
    schema: &DFSchema,
    reading: Reading,
) -> Result<(Expr, Vec<Expr>)> {
    let mut all = vec![expr];
    for (symbol, other) in others {
        resolve(symbol, all[0].clone(), other.clone(), schema, reading)?;
        all.push(other);
    }
    let mut all = matched(place, all, schema, reading)?;
    match all[0].get_type(schema) {
        Ok(data_type) if data_type == JSONB => all = all.into_iter().map(json_sort_key).collect(),
        Ok(DataType::Interval(_)) => all = all.into_iter().map(interval_length).collect(),
        _ => {}
    }
    let mut all = all.into_iter();
    let expr = all.next().expect("as many expressions come out as went in");
    Ok((expr, all.collect()))
}

fn pattern(symbol: &str, like: Like, characters: &Characters<'_>) -> Result<Like> {
    let (expr, pattern) = resolve(symbol, *like.expr, *like.pattern, characters.scope.schema(), characters.reading)?;
    let (expr, pattern) = (characters.shown(expr), characters.shown(pattern));
    Ok(Like { expr: Box::new(expr), pattern: Box::new(pattern), ..like })
}

fn case(case: Case, schema: &DFSchema, reading: Reading) -> Result<Case> {
    let Case { expr, when_then_expr, else_expr } = case;
    let (whens, thens): (Vec<Expr>, Vec<Expr>) = when_then_expr.into_iter().map(|(when, then)| (*when, *then)).unzip();
    let (expr, whens) = match expr {
        Some(expr) => {
            let whens = whens.into_iter().map(|when| ("=", when)).collect();
            let (expr, whens) = compared("CASE/WHEN", *expr, whens, schema, reading)?;
            (Some(Box::new(expr)), whens)
        }
        None => {
            let whens = whens.into_iter().map(|when| boolean(when, "CASE/WHEN", schema));
            (None, whens.collect::<Result<Vec<_>>>()?)
        }
    };
    // Postgres looks at ELSE first.
    let has_else = else_expr.is_some();
    let results = else_expr.map(|expr| *expr).into_iter().chain(thens).collect();
    let mut results = matched("CASE", results, schema, reading)?.into_iter();
    let else_expr = if has_else { results.next().map(Box::new) } else { None };
    let when_then_expr = whens.into_iter().map(Box::new).zip(results.map(Box::new)).collect();
    Ok(Case { expr, when_then_expr, else_expr })
}

/// The functions that are syntax in Postgres.
fn call(call: ScalarFunction, schema: &DFSchema, reading: Reading) -> Result<ScalarFunction> {
    let ScalarFunction { func, args } = call;
    let args = match func.name() {
        "coalesce" => matched("COALESCE", args, schema, reading)?,
        "nvl" => matched("NVL", args, schema, reading)?,
        "character_length" | "octet_length" | "bit_length" => {
            of_text(func.name(), &args, schema)?;
            args
        }
        "greatest" => matched("GREATEST", args, schema, reading)?,
        "least" => matched("LEAST", args, schema, reading)?,
        "make_array" => matched("ARRAY", args, schema, reading)?,
        "array_has" => array_has(args, schema)?,
        "nullif" => match <[Expr; 2]>::try_from(args) {
            Ok([left, right]) => {
                let (left, right) = resolve("=", left, right, schema, reading)?;
                vec![left, right]
            }
            Err(args) => args,
        },
        name if let Some(operator) = matches_operator(name) => matches(operator, args, schema)?,
        name => {
            refuse_text_of_json(&func, &args, schema)?;
            let args = of_moments(&func, args, schema)?;
            if name.starts_with("array_") { beside_characters(args, schema)? } else { args }
        }
    };
    Ok(ScalarFunction { func, args })
}

/// Literals and parameters beside an array of `char(n)` are elements of it.
fn beside_characters(args: Vec<Expr>, schema: &DFSchema) -> Result<Vec<Expr>> {
    let operands: Vec<Operand> = args.iter().map(|arg| Operand::of(arg, schema)).collect();
    let is_array =
        |operand: &Operand| matches!(operand, Operand::Typed(DataType::List(element)) if *element.data_type() == CHAR);
    if !operands.iter().any(is_array) {
        return Ok(args);
    }
    let pairs = args.into_iter().zip(operands);
    pairs.map(|(arg, operand)| if matches!(operand, Operand::Unknown) { read(arg, &CHAR) } else { Ok(arg) }).collect()
}

/// The arguments of a function of dates and times in the types in which Postgres takes them.
fn of_moments(function: &ScalarUDF, mut args: Vec<Expr>, schema: &DFSchema) -> Result<Vec<Expr>> {
    let operands = |args: &[Expr]| args.iter().map(|arg| Operand::of(arg, schema)).collect::<Vec<_>>();
    if function.name() == "age" && args.len() == 1 {
        let today = functions::registry().scalar("current_date").expect("the registry has the day").call(Vec::new());
        args.insert(0, today);
    }
    let operands = operands(&args);
    let known = operands.iter().map(|operand| match operand {
        Operand::Typed(data_type) => Some(data_type.clone()),
        Operand::Open | Operand::Unknown => None,
    });
    let Some(wanted) = functions::moment_arguments(function, &known.collect::<Vec<_>>()) else { return Ok(args) };
    let typed = args.into_iter().zip(operands).zip(wanted?).map(|((arg, operand), wanted)| match operand {
        Operand::Unknown => read(arg, &wanted),
        Operand::Open => Ok(cast(arg, &DataType::Null, &wanted)),
        Operand::Typed(own) => Ok(cast(arg, &own, &wanted)),
    });
    typed.collect()
}

/// `= ANY(array)`: an array of which nothing is known holds what it is searched for.
fn array_has(args: Vec<Expr>, schema: &DFSchema) -> Result<Vec<Expr>> {
    let [array, element] = match <[Expr; 2]>::try_from(args) {
        Ok(both) => both,
        Err(args) => return Ok(args),
    };
    match (Operand::of(&array, schema), Operand::of(&element, schema)) {
        (Operand::Unknown, Operand::Typed(known)) => Ok(vec![read(array, &DataType::new_list(known, true))?, element]),
        (Operand::Typed(DataType::List(known)), Operand::Unknown) if *known.data_type() == CHAR => {
            Ok(vec![array, read(element, &CHAR)?])
        }
        (Operand::Typed(DataType::List(known)), Operand::Typed(found))
            if found == CHAR && *known.data_type() == DataType::Utf8 =>
        {
            Ok(vec![array, cast(element, &CHAR, &DataType::Utf8)])
        }
        (Operand::Typed(other), _) if !other.is_nested() && !other.is_null() => Err(located(no_array(), [&element])),
        _ => Ok(vec![array, element]),
    }
}

/// `x LIKE ANY (array)`: of texts, and an array of them.
fn matches(symbol: &str, args: Vec<Expr>, schema: &DFSchema) -> Result<Vec<Expr>> {
    let [text, array] = match <[Expr; 2]>::try_from(args) {
        Ok(both) => both,
        Err(args) => return Ok(args),
    };
    if compares(symbol) {
        return compared_with_literal(symbol, text, array, schema);
    }
    let element = match Operand::of(&array, schema) {
        Operand::Typed(DataType::List(element)) => match element.data_type() {
            DataType::Null => Operand::Open,
            element => Operand::Typed(element.clone()),
        },
        Operand::Typed(_) => return Err(located(no_array(), [&text])),
        other => other,
    };
    let operands = (Operand::of(&text, schema), element);
    // A pattern is held against its blanks, too, which the array's side could not know of.
    let is_char = |operand: &Operand| matches!(operand, Operand::Typed(data_type) if *data_type == CHAR);
    if is_char(&operands.0) || is_char(&operands.1) {
        let message = format!("operator {symbol} with ANY or ALL of an array is not supported for type character");
        let error = PlanError::unsupported(message).with_hint("Cast the value to text.");
        return Err(located(DataFusionError::External(Box::new(error)), [&text]));
    }
    let is_text = |operand: &Operand| match operand {
        Operand::Open | Operand::Unknown => true,
        Operand::Typed(data_type) => data_type.is_string(),
    };
    if !is_text(&operands.0) || !is_text(&operands.1) {
        return Err(located(missing_operator(symbol, &operands), [&text]));
    }
    Ok(vec![text, array])
}

/// `x < ANY ('{...}')`: the literal is an array of what is compared with it.
fn compared_with_literal(symbol: &str, value: Expr, array: Expr, schema: &DFSchema) -> Result<Vec<Expr>> {
    let (value, element) = match Operand::of(&value, schema) {
        Operand::Typed(known) => (narrowed(value), known),
        Operand::Open | Operand::Unknown => (read(value, &DataType::Utf8)?, DataType::Utf8),
    };
    let element = match value.get_type(schema) {
        Ok(data_type) if !data_type.is_null() => data_type,
        _ => element,
    };
    if element.is_nested() || element == JSONB || element == JSON || matches!(element, DataType::Interval(_)) {
        let message =
            format!("operator {symbol} with ANY or ALL of a literal is not supported for {}", sql_type(&element));
        let error = PlanError::unsupported(message).with_hint("Cast the literal to an array.");
        return Err(located(DataFusionError::External(Box::new(error)), [&value]));
    }
    // A literal keeps all of its digits, whatever the numeric beside it has.
    let (value, element) = match element.is_decimal() {
        true => (cast(value, &element, &DataType::Decimal256(76, 38)), DataType::Decimal256(76, 38)),
        false => (value, element),
    };
    let array = read(array, &DataType::new_list(element, true))?;
    Ok(vec![value, array])
}

/// What stands behind ANY or ALL, and is neither a query nor an array.
fn no_array() -> DataFusionError {
    refuse(PlanErrorKind::WrongObjectType, "op ANY/ALL (array) requires array on right side")
}

/// Functions of texts and bytes take no `jsonb` and no `uuid`, which DataFusion would read as such.
fn refuse_text_of_json(function: &ScalarUDF, args: &[Expr], schema: &DFSchema) -> Result<()> {
    const OF_ANYTHING: &[&str] = &[
        "pg_typeof",
        "arrow_typeof",
        "arrow_cast",
        "struct",
        "row",
        "named_struct",
        "concat",
        "concat_ws",
        "text_out",
        "array_append",
        "array_prepend",
        "array_position",
        "array_positions",
        "array_remove",
        "array_remove_all",
        "array_replace",
        "array_replace_all",
        "array_has",
        "array_repeat",
        "array_fill",
        "jsonb_sort_key",
        "num_nulls",
        "num_nonnulls",
        "array_element",
        "array_slice",
        "array_length",
        "array_lower",
        "array_upper",
        "array_ndims",
        "array_dims",
        "cardinality",
        "trim_array",
        "->",
        "->>",
        "#>",
        "#>>",
        "@>",
        "<@",
        "?",
        "?|",
        "?&",
        "||",
        "-",
        "#-",
    ];
    let name = function.name();
    if OF_ANYTHING.contains(&name)
        || name.starts_with(['\u{0}'])
        || name.starts_with("cast to ")
        || json_literals(name).is_some()
    {
        return Ok(());
    }
    let types: Vec<DataType> = args.iter().filter_map(|arg| arg.get_type(schema).ok()).collect();
    if !types.iter().any(|data_type| is_json(data_type) || *data_type == UUID) {
        return Ok(());
    }
    let types: Vec<String> = types.iter().map(sql_type).collect();
    let error = PlanError::new(
        PlanErrorKind::UndefinedFunction,
        format!("function {name}({}) does not exist", types.join(", ")),
    );
    let hint = "No function matches the given name and argument types. You might need to add explicit type casts.";
    Err(DataFusionError::External(Box::new(error.with_hint(hint))))
}

/// Refuses what is no text where DataFusion would make one of it.
fn of_text(function: &str, args: &[Expr], schema: &DFSchema) -> Result<()> {
    let [argument] = args else { return Ok(()) };
    let Operand::Typed(found) = Operand::of(argument, schema) else { return Ok(()) };
    let takes = found.is_string() || found.is_null() || matches!(found, DataType::Binary | DataType::Dictionary(..));
    if takes || found.is_nested() {
        return Ok(());
    }
    let name = if function == "character_length" { "length" } else { function };
    let message = format!("function {name}({}) does not exist", crate::functions::sql_type(&found));
    let error = PlanError::new(PlanErrorKind::UndefinedFunction, message).with_hint(super::diagnose::NO_FUNCTION);
    Err(DataFusionError::External(Box::new(error)))
}

fn in_subquery(condition: InSubquery, schema: &DFSchema, reading: Reading) -> Result<InSubquery> {
    let InSubquery { expr, subquery, negated } = condition;
    let (expr, subquery) = beside_query(if negated { "<>" } else { "=" }, *expr, subquery, schema, reading)?;
    Ok(InSubquery::new(Box::new(expr), subquery, negated))
}

fn set_comparison(condition: SetComparison, schema: &DFSchema, reading: Reading) -> Result<SetComparison> {
    let SetComparison { expr, subquery, op, quantifier } = condition;
    let (expr, subquery) = beside_query(&op.to_string(), *expr, subquery, schema, reading)?;
    Ok(SetComparison::new(Box::new(expr), subquery, op, quantifier))
}

/// An expression that is compared with the one column of a query.
fn beside_query(
    symbol: &str,
    expr: Expr,
    mut query: Subquery,
    schema: &DFSchema,
    reading: Reading,
) -> Result<(Expr, Subquery)> {
    let Some((qualifier, field)) = query.subquery.schema().iter().next() else { return Ok((expr, query)) };
    // Seen from here the column is one of another query.
    let column = Expr::OuterReferenceColumn(Arc::clone(field), Column::new(qualifier.cloned(), field.name()));
    let known = Operand::of(&column, schema);
    let (expr, column) = resolve(symbol, expr, column, schema, reading)?;
    if let (Operand::Typed(before), Operand::Typed(after)) = (&known, &Operand::of(&column, schema))
        && before != after
    {
        query.subquery = Arc::new(conformed_column(query.subquery.as_ref().clone(), 0, &known, after, reading)?);
    }
    Ok((expr, query))
}

/// A join by columns: USING, and what DataFusion makes of EXCEPT and INTERSECT.
fn joined(mut join: Join, reading: Reading) -> Result<Join> {
    let place = match join.join_type {
        JoinType::LeftAnti => "EXCEPT",
        JoinType::LeftSemi => "INTERSECT",
        _ => "JOIN/USING",
    };
    if matches!(join.join_type, JoinType::LeftAnti | JoinType::LeftSemi) && !join.on.is_empty() {
        let mut inputs = [join.left.as_ref().clone(), join.right.as_ref().clone()];
        if match_columns(place, &mut inputs, reading)? {
            let [left, right] = inputs;
            (join.left, join.right) = (Arc::new(left), Arc::new(right));
        }
    }
    for (left, right) in &mut join.on {
        let operands = (Operand::of(left, join.left.schema()), Operand::of(right, join.right.schema()));
        let (Operand::Typed(left_type), Operand::Typed(right_type)) = &operands else { continue };
        if !are_alike(left_type, right_type) {
            let (left, right) = (operands.0.name(), operands.1.name());
            let message = format!("{place} types {left} and {right} cannot be matched");
            return Err(refuse(PlanErrorKind::DatatypeMismatch, message));
        }
        if let Some(float) = float_type(left_type, right_type).or_else(|| moment_type(left_type, right_type, reading)) {
            *left = cast(left.clone(), left_type, &float);
            *right = cast(right.clone(), right_type, &float);
        }
    }
    Ok(join)
}
