//! Brings the AST of a statement over the catalog into a form that DataFusion plans.
//!
//! Expressions first, from the inside: schemas of functions and operators, collations and casts to Postgres'
//! own types ([`expressions`]). Then every SELECT: correlated scalar subqueries become left joins
//! ([`subqueries`]). Last the output: columns get unique names to be planned under, because Postgres allows
//! two columns of one name and DataFusion does not; the client sees those of [`names`].

mod empty;
mod expressions;
mod names;
mod subqueries;

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Ident, ObjectName, OrderByKind, Query, Select, SelectItem, SetExpr, TableFactor, VisitMut, VisitorMut,
};

pub(super) use expressions::is_registry_type;

/// A statement in a form that DataFusion plans.
#[derive(Debug)]
pub(super) struct Rewritten {
    /// The statement.
    pub(super) query: Query,
    /// The names of its columns by the place in the select list, empty for wildcards.
    pub(super) names: Vec<String>,
    /// It reads a relation that never has rows in such a way that it has none itself.
    pub(super) is_empty: bool,
}

/// Rewrites a statement.
pub(super) fn rewrite(mut query: Query) -> Rewritten {
    let names = first_select(&query.body).map(|select| names::of_items(&select.projection)).unwrap_or_default();
    let is_empty = empty::is_empty(&query);
    if !is_empty {
        let _: ControlFlow<()> = query.visit(&mut Rewriter { flattened: 0 });
        order_by_position(&mut query, &names);
        name_by_position(&mut query.body);
    }
    Rewritten { query, names, is_empty }
}

struct Rewriter {
    /// Subqueries that became joins, for unique names.
    flattened: usize,
}

impl VisitorMut for Rewriter {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        expressions::rewrite(expr);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        subqueries::flatten(select, &mut self.flattened);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        // The query around a subquery in FROM refers to its columns by the names that Postgres gives them.
        if let TableFactor::Derived { subquery, .. } = factor
            && let SetExpr::Select(select) = subquery.body.as_mut()
        {
            names::name_items(&mut select.projection);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for table in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            if let SetExpr::Select(select) = table.query.body.as_mut() {
                names::name_items(&mut select.projection);
            }
        }
        ControlFlow::Continue(())
    }
}

fn first_select(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => first_select(&query.body),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

/// The name under which a column is planned.
fn planned_name(index: usize) -> String {
    format!("__column_{index}")
}

/// The place in the select list of a column that was planned under such a name.
pub(super) fn planned_index(name: &str) -> Option<usize> {
    name.strip_prefix("__column_")?.parse().ok()
}

fn name_by_position(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            for (index, item) in select.projection.iter_mut().enumerate() {
                let expr = match item {
                    SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr.clone(),
                    _ => continue,
                };
                *item = SelectItem::ExprWithAlias { expr, alias: Ident::new(planned_name(index)) };
            }
        }
        SetExpr::Query(query) => name_by_position(&mut query.body),
        SetExpr::SetOperation { left, right, .. } => {
            name_by_position(left);
            name_by_position(right);
        }
        _ => {}
    }
}

/// ORDER BY refers to output columns by name: to those under which they are planned.
fn order_by_position(query: &mut Query, names: &[String]) {
    let Some(order_by) = &mut query.order_by else { return };
    let OrderByKind::Expressions(expressions) = &mut order_by.kind else { return };
    for order in expressions {
        if let Expr::Identifier(ident) = &order.expr
            && let Some(index) = names.iter().position(|name| *name == folded(ident))
        {
            order.expr = Expr::Identifier(Ident::new(planned_name(index)));
        }
    }
}

/// An identifier as Postgres compares it.
pub(super) fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// The last part of a name, folded.
pub(super) fn last_part(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(|part| part.as_ident()).map(folded)
}
