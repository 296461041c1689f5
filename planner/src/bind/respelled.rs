//! What Postgres spells otherwise than the planner, in the planner's spelling: operators before an operand, ESCAPE,
//! COLLATE, open slices, aggregates that are JSON of an array.
//!
//! Everything here works on the syntax tree; the text of the user stays as it is.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, Select, Spanned, Subscript, UnaryOperator, Value, ValueWithSpan,
    visit_expressions_mut,
};
use sqlparser::tokenizer::Span;

use super::context::GENERATE_SERIES;
use super::diagnose::{NO_FUNCTION, span_position};
use super::normalize;
use super::whole_row::NAMED_STRUCT;
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::functions::{AS_JSON, SECOND_DIGITS, SIMILAR_TO, json_aggregate_function};
use crate::reading::Reading;

/// The upper bound of a slice without one: no array is longer.
const OPEN_END: &str = "2147483647";

/// Respells an expression; what is in it comes later. `reading` is that of the text.
pub(super) fn respell(expr: &mut Expr, reading: Reading) -> Result<()> {
    let span = expr.span();
    match expr {
        Expr::UnaryOp { op, expr: operand } => {
            if let Some(respelled) = prefix(*op, operand) {
                *expr = respelled;
            }
        }
        Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
            if let Some(character) = escape_char.take() {
                escape(pattern, &character)?;
            }
        }
        Expr::BinaryOp { left, op: BinaryOperator::PGStartsWith, right } => {
            *expr = call("starts_with", vec![left.as_ref().clone(), right.as_ref().clone()]);
        }
        Expr::SimilarTo { .. } if reading >= Reading::POSTGRES_DIGITS => *expr = similar(expr),
        Expr::SimilarTo { escape_char: Some(character), .. } => {
            return Err(PlanError::unsupported("SIMILAR TO ... ESCAPE is not supported")
                .with_hint("Write a regular expression with ~.")
                .at(span_position(character.span)));
        }
        Expr::Collate { expr: inner, collation } => {
            check_collation(collation, span)?;
            *expr = inner.as_ref().clone();
            respell(expr, reading)?;
        }
        Expr::Value(ValueWithSpan { value, .. }) => match value {
            Value::UnicodeStringLiteral(text) => *value = Value::SingleQuotedString(std::mem::take(text)),
            Value::SingleQuotedByteStringLiteral(_) => {
                return Err(PlanError::unsupported("bit strings are not supported")
                    .with_hint("Use an integer, or bytea: '\\x1f'::bytea.")
                    .at(span_position(span)));
            }
            _ => {}
        },
        Expr::Substring { expr: text, substring_from: Some(pattern), substring_for: None, .. } if is_text(pattern) => {
            *expr = call("substring", vec![text.as_ref().clone(), pattern.as_ref().clone()]);
        }
        Expr::Substring { expr: text, substring_from: Some(pattern), substring_for: Some(escape), .. }
            if reading >= Reading::POSTGRES_DIGITS && is_text(pattern) =>
        {
            let pattern = call(SIMILAR_TO, vec![pattern.as_ref().clone(), escape.as_ref().clone()]);
            *expr = call("substring", vec![text.as_ref().clone(), pattern]);
        }
        Expr::Function(function) => {
            if let Some(respelled) = function_call(function, reading)? {
                *expr = respelled;
            }
        }
        _ => {}
    }
    Ok(())
}

/// `a SIMILAR TO b`: as in Postgres the regular expression that the pattern is decides.
fn similar(expr: &Expr) -> Expr {
    let Expr::SimilarTo { negated, expr: text, pattern, escape_char } = expr else { return expr.clone() };
    let op = if *negated { BinaryOperator::PGRegexNotMatch } else { BinaryOperator::PGRegexMatch };
    let escape = escape_char.clone().map(Expr::Value);
    let pattern = call(SIMILAR_TO, std::iter::once(pattern.as_ref().clone()).chain(escape).collect());
    Expr::Nested(Box::new(Expr::BinaryOp { left: text.clone(), op, right: Box::new(pattern) }))
}

/// The function of a series where a list of it is wanted: no statement can write it.
pub(super) const LIST_OF_SERIES: &str = "\u{0}series";

fn is_series(function: &Function) -> bool {
    let name = function.name.to_string().to_lowercase();
    name.strip_prefix("pg_catalog.").unwrap_or(&name) == GENERATE_SERIES
}

/// `generate_series(...)` in a select list gives a row for each of its values: `unnest` of their list does.
pub(super) fn sets_in_rows(select: &mut Select) {
    for item in &mut select.projection {
        let _: ControlFlow<()> = visit_expressions_mut(item, |expr| {
            if let Expr::Function(function) = expr
                && is_series(function)
            {
                function.name = ObjectName::from(vec![Ident::with_quote('"', LIST_OF_SERIES)]);
                *expr = call("unnest", vec![expr.clone()]);
            }
            ControlFlow::Continue(())
        });
    }
}

/// Elsewhere in a query there is one row, and no place for a series.
pub(super) fn refuse_set(function: &Function) -> Result<()> {
    match is_series(function) {
        true => Err(PlanError::unsupported("set-returning functions are allowed in FROM and in a select list only")
            .with_hint("Join with it in FROM.")
            .at(span_position(function.span()))),
        false => Ok(()),
    }
}

/// Both bounds of a slice.
pub(super) fn close(subscript: &mut Subscript) {
    if let Subscript::Slice { lower_bound, upper_bound, .. } = subscript {
        lower_bound.get_or_insert_with(|| number("1"));
        upper_bound.get_or_insert_with(|| number(OPEN_END));
    }
}

fn number(digits: &str) -> Expr {
    Expr::Value(Value::Number(digits.to_string(), false).with_empty_span())
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(_), .. }))
}

/// An operator that stands before its operand.
fn prefix(operator: UnaryOperator, operand: &Expr) -> Option<Expr> {
    let function = match operator {
        UnaryOperator::PGSquareRoot => "sqrt",
        UnaryOperator::PGCubeRoot => "cbrt",
        UnaryOperator::PGAbs => "abs",
        UnaryOperator::BitwiseNot => {
            // All bits turned.
            let (left, right) = (Box::new(Expr::Nested(Box::new(operand.clone()))), Box::new(number("1")));
            let right = Box::new(Expr::UnaryOp { op: UnaryOperator::Minus, expr: right });
            return Some(Expr::BinaryOp { left, op: BinaryOperator::PGBitwiseXor, right });
        }
        _ => return None,
    };
    Some(call(function, vec![operand.clone()]))
}

/// A pattern whose escape is another character as one whose escape is the backslash.
fn escape(pattern: &mut Expr, character: &ValueWithSpan) -> Result<()> {
    let place = span_position(character.span);
    let Value::SingleQuotedString(escape) = &character.value else {
        return Err(PlanError::unsupported("ESCAPE with other than a text is not supported").at(place));
    };
    let mut characters = escape.chars();
    let (first, rest) = (characters.next(), characters.next());
    if rest.is_some() {
        return Err(PlanError::new(PlanErrorKind::InvalidEscapeSequence, "invalid escape string")
            .with_hint("Escape string must be empty or one character.")
            .at(place));
    }
    if first == Some('\\') {
        return Ok(());
    }
    let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) = pattern else {
        return Err(PlanError::unsupported("ESCAPE is supported beside a pattern that is a constant")
            .with_hint("Use the backslash in the pattern, and leave ESCAPE out.")
            .at(place));
    };
    let mut respelled = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            letter if Some(letter) == first => {
                respelled.push('\\');
                respelled.extend(letters.next());
            }
            '\\' => respelled.push_str("\\\\"),
            letter => respelled.push(letter),
        }
    }
    *text = respelled;
    Ok(())
}

/// Text is compared by its code points: collations that say so are what there is.
fn check_collation(collation: &ObjectName, span: Span) -> Result<()> {
    let name = collation.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.clone()).unwrap_or_default();
    match name.as_str() {
        "C" | "POSIX" | "default" | "ucs_basic" | "C.UTF-8" | "C.utf8" => Ok(()),
        _ => Err(PlanError::new(
            PlanErrorKind::UndefinedObject,
            format!("collation \"{name}\" for encoding \"UTF8\" does not exist"),
        )
        .with_hint("Text is ordered by its code points: COLLATE \"C\", or none.")
        .at(span_position(span))),
    }
}

fn function_call(function: &mut Function, reading: Reading) -> Result<Option<Expr>> {
    let name = function.name.to_string().to_lowercase();
    let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
    if let Some((maker, object)) = json_aggregate_function(name) {
        return json_of_array(function, name, (&maker, object), reading).map(Some);
    }
    let FunctionArguments::List(list) = &mut function.args else { return Ok(None) };
    if reading >= Reading::POSTGRES_DIGITS
        && matches!(name, "current_timestamp" | "localtimestamp" | "localtime")
        && let Some([digits @ Expr::Value(ValueWithSpan { value: Value::Number(..), .. })]) = arguments(list).as_deref()
    {
        let digits = digits.clone();
        list.args.clear();
        return Ok(Some(call(SECOND_DIGITS, vec![Expr::Function(function.clone()), digits])));
    }
    match name {
        "format" => {
            list.args.iter_mut().skip(1).for_each(|argument| cast(argument, &DataType::Text, false));
        }
        "row_to_json" | "to_json" | "to_jsonb" => {
            list.args.iter_mut().take(1).for_each(name_fields);
        }
        "quote_literal" | "quote_nullable" => {
            list.args.iter_mut().for_each(|argument| cast(argument, &DataType::Text, false));
        }
        "encode" | "convert_from" | "get_byte" => {
            list.args.iter_mut().take(1).for_each(|argument| cast(argument, &DataType::Bytea, true));
        }
        _ => {}
    }
    Ok(None)
}

fn arguments(list: &FunctionArgumentList) -> Option<Vec<Expr>> {
    let plain = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().map(plain).collect()
}

/// Casts an argument; `quoted`: only where it is a quoted literal.
fn cast(argument: &mut FunctionArg, data_type: &DataType, quoted: bool) {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument else { return };
    if quoted && !is_text(expr) {
        return;
    }
    let inner = Box::new(expr.clone());
    let (kind, data_type) = (CastKind::DoubleColon, data_type.clone());
    *expr = Expr::Cast { kind, expr: inner, data_type, array: false, format: None };
}

/// The fields of a row that is written out are `f1`, `f2` and so on.
fn name_fields(argument: &mut FunctionArg) {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument else { return };
    let fields = match expr {
        Expr::Tuple(fields) => fields.clone(),
        Expr::Function(row) if row.name.to_string().eq_ignore_ascii_case("row") => match &row.args {
            FunctionArguments::List(list) => arguments(list).unwrap_or_default(),
            _ => return,
        },
        _ => return,
    };
    *expr = row_of(fields);
}

/// A row with fields `f1`, `f2` and so on.
fn row_of(fields: Vec<Expr>) -> Expr {
    let named = fields.into_iter().enumerate().flat_map(|(place, field)| {
        let name = Value::SingleQuotedString(format!("f{}", place + 1)).with_empty_span();
        [Expr::Value(name), field]
    });
    call(NAMED_STRUCT, named.collect())
}

/// `jsonb_agg(x ORDER BY y)` as JSON of `array_agg(x ORDER BY y)`.
fn json_of_array(function: &Function, name: &str, (maker, object): (&str, bool), reading: Reading) -> Result<Expr> {
    let mut gathered = function.clone();
    gathered.name = ObjectName::from(vec![Ident::with_span(function.name.span(), "array_agg")]);
    let wanted = if object { 2 } else { 1 };
    let undefined = || {
        let message = format!("function {name}() takes {wanted} argument{}", if object { "s" } else { "" });
        let error = PlanError::new(PlanErrorKind::UndefinedFunction, message);
        error.with_hint(NO_FUNCTION).at(span_position(function.span()))
    };
    let FunctionArguments::List(list) = &mut gathered.args else { return Err(undefined()) };
    let mut given = arguments(list).filter(|given| given.len() == wanted).ok_or_else(undefined)?;
    // Values that are told apart stay what they are: JSON has no equality.
    if reading >= Reading::POSTGRES_DIGITS
        && list.duplicate_treatment.is_none()
        && let Some(value) = given.pop()
    {
        given.push(call(AS_JSON, vec![value]));
        list.args = given.iter().cloned().map(|value| FunctionArg::Unnamed(FunctionArgExpr::Expr(value))).collect();
    }
    if object {
        list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(row_of(given)))];
    }
    Ok(call(maker, vec![Expr::Function(gathered)]))
}

/// A call of a function, its name as it stands.
pub(super) fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    normalize::call(Ident::with_quote('"', name), arguments)
}
