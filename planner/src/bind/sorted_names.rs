//! `SELECT coalesce(t.x, 0) AS x FROM t ORDER BY t.x`: the planner can't tell a column that it sorts by from an output
//! column of the same name, so that one gets a mark, where no query around reads its name.

use std::collections::HashSet;
use std::ops::ControlFlow;

use sqlparser::ast::{Expr, GroupByExpr, Ident, OrderByExpr, OrderByKind, Query, SelectItem, SetExpr, Visit, Visitor};

use super::normalize::{REPEATED, column_name, folded};

/// The numbers of these marks begin behind those of repeated names.
const FIRST_MARK: usize = 100_000;

/// Marks the output columns that have the name of a column of ORDER BY.
pub(super) fn mark(query: &mut Query) {
    operands(&mut query.body);
    let Some(OrderByKind::Expressions(keys)) = query.order_by.as_mut().map(|order_by| &mut order_by.kind) else {
        return;
    };
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let mut names = qualified_names(keys);
    // As in Postgres a bare name of GROUP BY may be that of an output column.
    if let GroupByExpr::Expressions(expressions, _) = &select.group_by {
        let grouped: HashSet<String> = expressions.iter().filter_map(bare_name).collect();
        names.retain(|name| !grouped.contains(name));
    }
    if names.is_empty() || select.distinct.is_some() {
        return;
    }
    for (index, item) in select.projection.iter_mut().enumerate() {
        let (expr, name) = match item {
            SelectItem::ExprWithAlias { expr, alias } => (expr, folded(alias)),
            SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => continue,
            SelectItem::UnnamedExpr(expr) => match column_name(expr) {
                Some(name) => (expr, name),
                None => continue,
            },
            SelectItem::ExprWithAliases { .. } | SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => {
                continue;
            }
        };
        if !names.remove(&name) {
            continue;
        }
        let marked = Ident::with_quote('"', format!("{name}{REPEATED}{}", FIRST_MARK + index));
        for key in keys.iter_mut().filter(|key| bare_name(&key.expr).as_ref() == Some(&name)) {
            key.expr = Expr::Identifier(marked.clone());
        }
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: marked };
    }
}

/// The same in the operands of UNION and its like: their columns go by their places.
fn operands(body: &mut SetExpr) {
    match body {
        SetExpr::SetOperation { left, right, .. } => {
            operands(left);
            operands(right);
        }
        SetExpr::Query(query) => mark(query),
        _ => {}
    }
}

fn bare_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(folded(ident)),
        _ => None,
    }
}

/// The last parts of the names with a qualifier.
fn qualified_names(keys: &[OrderByExpr]) -> HashSet<String> {
    struct Names(HashSet<String>);
    impl Visitor for Names {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::CompoundIdentifier(parts) = expr {
                self.0.extend(parts.last().map(folded));
            }
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(HashSet::new());
    for key in keys {
        let _: ControlFlow<()> = key.expr.visit(&mut names);
    }
    names.0
}
