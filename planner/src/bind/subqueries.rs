//! Spellings of subqueries that DataFusion's planner does not read, as those that it does.

use arrow::datatypes::DataType;
use sqlparser::ast::{
    self, CastKind, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, Query, SelectItem, SetExpr, Spanned, TableAlias, TableAliasColumnDef, TableFactor, TableWithJoins,
    Value, ValueWithSpan,
};

use super::diagnose::span_position;
use super::dml::select;
use super::normalize::{call, folded, note_type, parameter_number};
use super::rows::compared;
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::functions::{ARRAY_OF_ROWS, compares, matches_name};
use crate::reading::Reading;

/// The derived table of [`as_rows`]; no statement can write it.
const ROWS: &str = "\u{0}rows";

/// `ARRAY(SELECT ...)` as a call over a scalar subquery.
pub(super) fn as_array(function: &mut Function) {
    let name = function.name.0.last().and_then(|part| part.as_ident()).map(folded);
    let FunctionArguments::Subquery(query) = &function.args else { return };
    if name.as_deref() != Some("array") || function.name.0.len() != 1 {
        return;
    }
    let rows = FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(query.clone())));
    function.name = ObjectName::from(vec![Ident::with_quote('"', ARRAY_OF_ROWS)]);
    let args = vec![rows];
    function.args =
        FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() });
}

/// `(a, b) IN (SELECT x, y ...)` as `(a, b) IN (SELECT (x, y) FROM (SELECT x, y ...))`: the planner compares one column.
pub(super) fn as_rows(left: &Expr, query: &mut Query) {
    let Expr::Tuple(fields) = left else { return };
    let width = match query.body.as_ref() {
        SetExpr::Select(inner) if inner.projection.iter().all(|item| !is_wildcard(item)) => inner.projection.len(),
        _ => fields.len(),
    };
    if width != fields.len() {
        return;
    }
    let row = Expr::Tuple((0..width).map(|index| Expr::Identifier(column(index))).collect());
    *query = select(vec![SelectItem::UnnamedExpr(row)], vec![by_columns(query, width)], None);
}

/// `(a, b) < (SELECT x, y ...)` by columns, each of which a subquery of its own gives: without a row all are NULL, and
/// more than one are an error of each.
pub(super) fn write_out_beside_row(expr: &mut Expr) -> Result<()> {
    let Expr::BinaryOp { left, op, right } = &*expr else { return Ok(()) };
    let (Expr::Tuple(fields), Expr::Subquery(query)) = (left.as_ref(), right.as_ref()) else { return Ok(()) };
    let fields_asked = (0..fields.len()).map(|index| {
        let shown = vec![SelectItem::UnnamedExpr(Expr::Identifier(column(index)))];
        Expr::Subquery(Box::new(select(shown, vec![by_columns(query, fields.len())], None)))
    });
    let written = compared(fields, op, &fields_asked.collect::<Vec<_>>());
    *expr = written.ok_or_else(|| row_beside_query(left))?;
    Ok(())
}

/// A query whose columns are named by their places.
fn by_columns(query: &Query, width: usize) -> TableWithJoins {
    let named = (0..width).map(|index| TableAliasColumnDef { name: column(index), data_type: None });
    let alias = TableAlias { explicit: true, name: Ident::with_quote('"', ROWS), columns: named.collect(), at: None };
    let relation =
        TableFactor::Derived { lateral: false, subquery: Box::new(query.clone()), alias: Some(alias), sample: None };
    TableWithJoins { relation, joins: Vec::new() }
}

fn column(index: usize) -> Ident {
    Ident::with_quote('"', format!("\u{0}column {index}"))
}

/// Refuses a subquery with more or fewer columns than what it is compared with; one with `*` is left to the planner.
pub(super) fn check_width(left: &Expr, query: &Query) -> Result<()> {
    let wanted = match left {
        Expr::Tuple(fields) => fields.len(),
        _ => 1,
    };
    let message = match width(&query.body) {
        Some(width) if width > wanted => "subquery has too many columns",
        Some(width) if width < wanted => "subquery has too few columns",
        _ => return Ok(()),
    };
    Err(PlanError::new(PlanErrorKind::SyntaxError, message).at(span_position(left.span())))
}

/// A row beside ANY or ALL rows of a subquery, or with an operator that has no meaning by columns: what is compared there are values, to which NULL is one.
pub(super) fn row_beside_query(left: &Expr) -> PlanError {
    PlanError::unsupported("a comparison of a row with a subquery is not supported like this")
        .with_hint("IN, = ANY and <> ALL are, and =, <>, <, <=, >, >= with a subquery of one row.")
        .at(span_position(left.span()))
}

/// How many columns a query gives, where its text says so.
fn width(body: &SetExpr) -> Option<usize> {
    match body {
        SetExpr::Select(select) if !select.projection.iter().any(is_wildcard) => Some(select.projection.len()),
        SetExpr::SetOperation { left, .. } => width(left),
        SetExpr::Query(query) => width(&query.body),
        SetExpr::Values(values) => values.rows.first().map(|row| row.content.len()),
        _ => None,
    }
}

/// `x LIKE ANY (array)` and its like as a call: the planner compares with the elements of an array by `=` and its like only.
pub(super) fn as_matches(expr: &mut Expr, parameters: &mut Vec<Option<DataType>>, reading: Reading) -> Result<()> {
    let (left, operator, array, all) = match expr {
        Expr::AnyOp { left, compare_op, right, .. } => (left, compare_op, right, false),
        Expr::AllOp { left, compare_op, right } => (left, compare_op, right, true),
        _ => return Ok(()),
    };
    let Some(function) = matches_name(&operator.to_string(), all) else { return Ok(()) };
    let is_literal = matches!(array.as_ref(), Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(_), .. }));
    if compares(&operator.to_string()) {
        // A literal has its type from what it is compared with; for arrays there is DataFusion's own way.
        if is_literal && reading >= Reading::POSTGRES_DIGITS {
            let name = Ident { value: function.to_string(), quote_style: Some('"'), span: left.span() };
            *expr = call(name, vec![left.as_ref().clone(), array.as_ref().clone()]);
        }
        return Ok(());
    }
    if let Some(number) = parameter_number(array) {
        note_type(parameters, number, DataType::new_list(DataType::Utf8, true));
    } else if is_literal {
        let data_type = ast::DataType::Array(ast::ArrayElemTypeDef::SquareBracket(Box::new(ast::DataType::Text), None));
        let literal = array.clone();
        **array = Expr::Cast { kind: CastKind::DoubleColon, expr: literal, data_type, array: false, format: None };
    }
    // Its errors point at the left operand, as those of operators do.
    let name = Ident { value: function.to_string(), quote_style: Some('"'), span: left.span() };
    *expr = call(name, vec![left.as_ref().clone(), array.as_ref().clone()]);
    Ok(())
}

fn is_wildcard(item: &SelectItem) -> bool {
    matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
}
