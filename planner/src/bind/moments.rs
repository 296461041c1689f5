//! The syntax of dates and times that stands for functions and casts, written out as such: `AT TIME ZONE`, OVERLAPS,
//! literals of intervals, arguments by name.

use arrow::compute::kernels::cast_utils::{IntervalParseConfig, IntervalUnit, parse_interval_month_day_nano_config};
use datafusion::common::ScalarValue;
use sqlparser::ast::{
    CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Spanned, Value,
    ValueWithSpan,
};

use super::diagnose::span_position;
use super::normalize::{call, folded};
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::functions::NAMED_ARGUMENTS;
use crate::values::input::datetime::{Interval, interval};

/// An expression of its own syntax as what it stands for.
pub(super) fn written_out(expr: &mut Expr) -> Result<()> {
    let name = |name: &str, expr: &Expr| Ident { value: name.to_string(), quote_style: None, span: expr.span() };
    match expr {
        Expr::AtTimeZone { timestamp, time_zone } => {
            let name = name("timezone", timestamp);
            *expr = call(name, vec![time_zone.as_ref().clone(), timestamp.as_ref().clone()]);
        }
        Expr::BinaryOp { left, right, .. } => {
            let position = span_position(left.span());
            let (Some(first), Some(second)) = (period(left), period(right)) else {
                return Err(PlanError::new(PlanErrorKind::SyntaxError, "wrong number of parameters of OVERLAPS")
                    .with_hint("Write (begin, end) OVERLAPS (begin, end).")
                    .at(position));
            };
            *expr = call(name("overlaps", left), first.into_iter().chain(second).collect());
        }
        Expr::Interval(literal) => {
            let plain = literal.leading_precision.is_none()
                && literal.last_field.is_none()
                && literal.fractional_seconds_precision.is_none();
            let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), span }) = literal.value.as_ref()
            else {
                return Ok(());
            };
            let text = match &literal.leading_field {
                None => text.clone(),
                // `'5' MINUTE`: the field is the unit of a bare number.
                Some(field) if text.trim_ascii().parse::<f64>().is_ok() => format!("{} {field}", text.trim_ascii()),
                Some(_) => return Ok(()),
            };
            if plain && !reads_alike(&text) {
                let literal = Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), span: *span });
                *expr = Expr::Cast {
                    kind: CastKind::DoubleColon,
                    expr: Box::new(literal),
                    data_type: DataType::Interval { fields: None, precision: None },
                    array: false,
                    format: None,
                };
            }
        }
        _ => {}
    }
    Ok(())
}

/// Whether the planner reads an interval as Postgres does. What it does stays a literal of its syntax: the bounds of
/// windows can be nothing else.
fn reads_alike(text: &str) -> bool {
    let theirs = parse_interval_month_day_nano_config(text, IntervalParseConfig::new(IntervalUnit::Second));
    let ours = interval(text).and_then(Interval::into_scalar);
    matches!((theirs, ours), (Ok(theirs), Ok(ours)) if ours == ScalarValue::IntervalMonthDayNano(Some(theirs)))
}

/// Begin and end of a period.
fn period(expr: &Expr) -> Option<Vec<Expr>> {
    let fields = match expr {
        Expr::Tuple(fields) => fields.clone(),
        Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("row") => {
            let FunctionArguments::List(list) = &function.args else { return None };
            list.args.iter().map(positional).collect::<Option<_>>()?
        }
        _ => return None,
    };
    (fields.len() == 2).then_some(fields)
}

fn positional(argument: &FunctionArg) -> Option<Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    }
}

/// Brings arguments with names (`days => 10`) into the order of the function. Those left out are what the function has
/// for them; `time with time zone`, which there is no type for, is refused by the name of its function.
pub(super) fn arguments_in_order(function: &mut Function) -> Result<()> {
    let position = span_position(function.span());
    let called = function.name.to_string().to_lowercase();
    let called = called.strip_prefix("pg_catalog.").unwrap_or(&called);
    if called == "current_time" {
        return Err(PlanError::unsupported("current_time is not supported: there is no type time with time zone")
            .with_hint("Use localtime, or current_timestamp.")
            .at(position));
    }
    let Some((_, names, missing)) = NAMED_ARGUMENTS.iter().find(|(name, ..)| *name == called) else { return Ok(()) };
    let FunctionArguments::List(list) = &mut function.args else { return Ok(()) };
    if list.args.iter().all(|argument| matches!(argument, FunctionArg::Unnamed(_))) {
        return Ok(());
    }
    let unknown = |message: String| PlanError::new(PlanErrorKind::UndefinedFunction, message).at(position);
    let mut ordered: Vec<Option<Expr>> = vec![None; names.len()];
    for (place, argument) in list.args.iter().enumerate() {
        let (place, value) = match argument {
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
                let name = folded(name);
                let place = names.iter().position(|known| *known == name);
                (place.ok_or_else(|| unknown(format!("function {called} has no argument \"{name}\"")))?, value)
            }
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) if place < names.len() => (place, value),
            _ => return Err(unknown(format!("function {called} does not take such arguments"))),
        };
        if ordered[place].replace(value.clone()).is_some() {
            return Err(unknown(format!("argument \"{}\" of function {called} is given twice", names[place])));
        }
    }
    while missing.is_none() && ordered.last().is_some_and(Option::is_none) {
        ordered.pop();
    }
    let given = ordered.into_iter().zip(*names).map(|(value, name)| match (value, missing) {
        (Some(value), _) => Ok(FunctionArg::Unnamed(FunctionArgExpr::Expr(value))),
        (None, Some(number)) => {
            let number = Value::Number(number.to_string(), false).with_empty_span();
            Ok(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(number))))
        }
        (None, None) => Err(unknown(format!("function {called} needs the argument \"{name}\""))),
    });
    list.args = given.collect::<Result<_>>()?;
    Ok(())
}
