//! Mistakes that the planner below would take in silence, or would only find when the plan is run: calls and constants
//! in clauses where they mean nothing. Each is refused with the words and the place of Postgres.
//!
//! Definitions of logs that were written before this was looked at are planned without
//! ([`crate::reading::Reading::CHECKED_CLAUSES`]).

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, JoinConstraint, LimitClause,
    OrderByKind, Query, Select, SelectItem, SetExpr, Spanned, UnaryOperator, Value, Visit, Visitor, WindowFrameBound,
    WindowType,
};
use sqlparser::tokenizer::Span;

use super::clause_places::{aggregate_in, arguments, in_calls, is_aggregate, window_in};
use super::diagnose::{NO_FUNCTION, span_position};
use super::joined_columns::kept_rows;
use super::normalize::{column_name, folded};
use crate::error::{PlanError, PlanErrorKind, Result, TextPosition};
use crate::functions::registry;

/// Refuses what is wrong in the clauses of a query, and of those within it.
pub(super) fn check(query: &Query) -> Result<()> {
    result(Visit::visit(query, &mut Search))
}

/// The same for an expression that stands alone, where neither aggregates nor window functions can; `place` is what
/// messages call it.
pub(super) fn check_alone(expr: &Expr, place: &str) -> Result<()> {
    without_calls(expr, place)?;
    result(Visit::visit(expr, &mut Search))
}

/// Refuses aggregates and window functions; `place` is what messages call where the expression stands.
pub(super) fn without_calls(expr: &Expr, place: &str) -> Result<()> {
    if let Some(position) = aggregate_in(expr) {
        let message = format!("aggregate functions are not allowed in {place}");
        return Err(PlanError::new(PlanErrorKind::GroupingError, message).at(Some(position)));
    }
    without_windows(expr, place)
}

fn without_windows(expr: &Expr, place: &str) -> Result<()> {
    match window_in(expr) {
        None => Ok(()),
        Some(position) => {
            let message = format!("window functions are not allowed in {place}");
            Err(PlanError::new(PlanErrorKind::WindowingError, message).at(Some(position)))
        }
    }
}

fn result(found: ControlFlow<PlanError>) -> Result<()> {
    match found {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Search;

impl Visitor for Search {
    type Break = PlanError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<PlanError> {
        flow(limit(query).and_then(|()| order_by(query)))
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<PlanError> {
        flow(self::select(select))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<PlanError> {
        flow(match expr {
            Expr::Function(call) => self::call(call),
            Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default") => {
                let message = "DEFAULT is not allowed in this context";
                Err(PlanError::new(PlanErrorKind::SyntaxError, message).at(span_position(ident.span)))
            }
            _ => Ok(()),
        })
    }
}

fn flow(checked: Result<()>) -> ControlFlow<PlanError> {
    match checked {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

/// A constant in ORDER BY or GROUP BY is a position, or nothing.
fn constant(expr: &Expr, clause: &str) -> Result<()> {
    let not_listed = |number: String, span: Span| {
        let message = format!("{clause} position {number} is not in select list");
        Err(PlanError::new(PlanErrorKind::InvalidColumnReference, message).at(span_position(span)))
    };
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) if digits == "0" => not_listed(digits.clone(), value.span),
            Value::Number(digits, _) if digits.bytes().all(|digit| digit.is_ascii_digit()) => Ok(()),
            Value::Placeholder(_) => Ok(()),
            _ => {
                let message = format!("non-integer constant in {clause}");
                Err(PlanError::new(PlanErrorKind::SyntaxError, message).at(span_position(value.span)))
            }
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match expr.as_ref() {
            Expr::Value(value) => match &value.value {
                Value::Number(digits, _) if digits.parse::<i32>().is_ok() => {
                    // The sign stands right in front of its number: nothing keeps its own place.
                    let mut span = value.span;
                    span.start.column = span.start.column.saturating_sub(1);
                    not_listed(format!("-{digits}"), span)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn limit(query: &Query) -> Result<()> {
    let Some(LimitClause::LimitOffset { limit, offset, .. }) = &query.limit_clause else { return Ok(()) };
    limit.iter().try_for_each(|limit| without_calls(limit, "LIMIT"))?;
    offset.iter().try_for_each(|offset| without_calls(&offset.value, "OFFSET"))
}

fn order_by(query: &Query) -> Result<()> {
    let Some(OrderByKind::Expressions(keys)) = query.order_by.as_ref().map(|order_by| &order_by.kind) else {
        return Ok(());
    };
    keys.iter().try_for_each(|key| constant(&key.expr, "ORDER BY"))?;
    if !matches!(*query.body, SetExpr::SetOperation { .. }) {
        return Ok(());
    }
    let Some(names) = output_names(&query.body) else { return Ok(()) };
    keys.iter().try_for_each(|key| match &key.expr {
        Expr::Identifier(ident) if !names.contains(&folded(ident)) => {
            let message = format!("column \"{}\" does not exist", folded(ident));
            Err(PlanError::new(PlanErrorKind::UndefinedColumn, message).at(span_position(ident.span)))
        }
        _ => Ok(()),
    })
}

/// The names of the columns of a query, which are those of its first operand; `None` where the text does not say.
fn output_names(body: &SetExpr) -> Option<Vec<String>> {
    match body {
        SetExpr::SetOperation { left, .. } => output_names(left),
        SetExpr::Query(query) => output_names(&query.body),
        SetExpr::Select(select) => {
            let name = |item: &SelectItem| match item {
                SelectItem::UnnamedExpr(expr) => Some(column_name(expr).unwrap_or_default()),
                SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
                _ => None,
            };
            select.projection.iter().map(name).collect()
        }
        _ => None,
    }
}

fn select(select: &Select) -> Result<()> {
    for item in &select.projection {
        match item {
            SelectItem::Wildcard(options) if select.from.is_empty() => {
                let message = "SELECT * with no tables specified is not valid";
                let place = span_position(options.wildcard_token.0.span);
                return Err(PlanError::new(PlanErrorKind::SyntaxError, message).at(place));
            }
            SelectItem::ExprWithAlias { alias, .. } if alias.quote_style == Some('\'') => {
                let message = format!("syntax error at or near \"'{}'\"", alias.value);
                return Err(PlanError::new(PlanErrorKind::SyntaxError, message).at(span_position(alias.span)));
            }
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => named_windows(expr, select)?,
            _ => {}
        }
    }
    for join in select.from.iter().flat_map(|from| &from.joins) {
        let Some((_, constraint)) = kept_rows(&join.join_operator) else { continue };
        match constraint {
            JoinConstraint::On(condition) => without_calls(condition, "JOIN conditions")?,
            JoinConstraint::None => {
                return Err(PlanError::new(PlanErrorKind::SyntaxError, "a JOIN needs ON or USING")
                    .with_hint("Write CROSS JOIN for every pair of rows.")
                    .at(span_position(join.relation.span())));
            }
            JoinConstraint::Using(_) | JoinConstraint::Natural => {}
        }
    }
    if let GroupByExpr::Expressions(expressions, _) = &select.group_by {
        for expr in expressions {
            constant(expr, "GROUP BY")?;
            without_windows(expr, "GROUP BY")?;
        }
    }
    select.having.iter().try_for_each(|having| without_windows(having, "HAVING"))
}

/// Refuses the name of a window that the WINDOW clause does not have.
fn named_windows(expr: &Expr, select: &Select) -> Result<()> {
    let unknown = in_calls(expr, |call| match &call.over {
        Some(WindowType::NamedWindow(name)) => {
            let known = select.named_window.iter().any(|window| folded(&window.0) == folded(name));
            (!known).then(|| name.clone())
        }
        _ => None,
    });
    match unknown {
        None => Ok(()),
        Some(name) => {
            let message = format!("window \"{}\" does not exist", folded(&name));
            Err(PlanError::new(PlanErrorKind::UndefinedObject, message).at(span_position(name.span)))
        }
    }
}

fn call(call: &Function) -> Result<()> {
    let Some(name) = call.name.0.last().and_then(|part| part.as_ident()).map(folded) else { return Ok(()) };
    let at = span_position(call.name.span());
    if let Some(over) = &call.over {
        let is_known = registry().window(&name).is_some() || registry().aggregate(&name).is_some();
        if !is_known && registry().scalar(&name).is_some() {
            let message = format!("OVER specified, but {name} is not a window function nor an aggregate function");
            return Err(PlanError::new(PlanErrorKind::WrongObjectType, message).at(at));
        }
        return window(over);
    }
    if !is_aggregate(call) {
        return Ok(());
    }
    of_aggregate(call, &name, at)?;
    match arguments(call).find_map(window_in) {
        None => Ok(()),
        Some(place) => {
            let message = "aggregate function calls cannot contain window function calls";
            Err(PlanError::new(PlanErrorKind::GroupingError, message).at(Some(place)))
        }
    }
}

/// `*` and nothing at all are arguments of `count` only.
fn of_aggregate(call: &Function, name: &str, at: Option<TextPosition>) -> Result<()> {
    let FunctionArguments::List(list) = &call.args else { return Ok(()) };
    let is_star = matches!(list.args[..], [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]);
    if list.args.is_empty() && call.within_group.is_empty() {
        let message = format!("{name}(*) must be used to call a parameterless aggregate function");
        return Err(PlanError::new(PlanErrorKind::WrongObjectType, message).at(at));
    }
    if is_star && name != "count" {
        let message = format!("function {name}() does not exist");
        return Err(PlanError::new(PlanErrorKind::UndefinedFunction, message).with_hint(NO_FUNCTION).at(at));
    }
    Ok(())
}

fn window(over: &WindowType) -> Result<()> {
    let WindowType::WindowSpec(spec) = over else { return Ok(()) };
    let keys = spec.partition_by.iter().chain(spec.order_by.iter().map(|key| &key.expr));
    keys.into_iter().try_for_each(|key| without_windows(key, "window definitions"))?;
    let Some(frame) = &spec.window_frame else { return Ok(()) };
    let refused = |message: &str| Err(PlanError::new(PlanErrorKind::WindowingError, message));
    let end = frame.end_bound.as_ref();
    match (&frame.start_bound, end) {
        (WindowFrameBound::Following(None), _) => refused("frame start cannot be UNBOUNDED FOLLOWING"),
        (_, Some(WindowFrameBound::Preceding(None))) => refused("frame end cannot be UNBOUNDED PRECEDING"),
        (WindowFrameBound::CurrentRow, Some(WindowFrameBound::Preceding(_))) => {
            refused("frame starting from current row cannot have preceding rows")
        }
        (WindowFrameBound::Following(_), Some(WindowFrameBound::Preceding(_) | WindowFrameBound::CurrentRow)) => {
            refused("frame starting from following row cannot have preceding rows")
        }
        _ => Ok(()),
    }
}
