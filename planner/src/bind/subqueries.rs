//! Spellings of subqueries that DataFusion's planner does not read, as those that it does.

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName, Query,
    SelectItem, SetExpr, TableAlias, TableAliasColumnDef, TableFactor, TableWithJoins,
};

use super::dml::select;
use super::normalize::folded;
use crate::functions::ARRAY_OF_ROWS;

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
    let column = |index: usize| Ident::with_quote('"', format!("\u{0}column {index}"));
    let named = (0..width).map(|index| TableAliasColumnDef { name: column(index), data_type: None });
    let alias = TableAlias { explicit: true, name: Ident::with_quote('"', ROWS), columns: named.collect(), at: None };
    let relation =
        TableFactor::Derived { lateral: false, subquery: Box::new(query.clone()), alias: Some(alias), sample: None };
    let row = Expr::Tuple((0..width).map(|index| Expr::Identifier(column(index))).collect());
    let from = vec![TableWithJoins { relation, joins: Vec::new() }];
    *query = select(vec![SelectItem::UnnamedExpr(row)], from, None);
}

fn is_wildcard(item: &SelectItem) -> bool {
    matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
}
