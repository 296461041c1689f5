//! Statements that have no rows because a relation that they must read never has any.
//!
//! psql and drivers ask for policies, publications, inheritance and the like in ways that DataFusion can't
//! plan; the answer is known without.

use sqlparser::ast::{
    Expr, FunctionArguments, GroupByExpr, Join, JoinOperator, ObjectName, Query, Select, SelectItem, SetExpr,
    SetOperator, TableFactor, TableWithJoins,
};

use super::last_part;
use crate::pg_catalog::query::catalog_relation;
use crate::pg_catalog::relations::is_always_empty;

/// Whether a statement has no rows, whatever the catalog holds.
pub(super) fn is_empty(query: &Query) -> bool {
    query.with.is_none() && is_empty_body(&query.body)
}

fn is_empty_body(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => is_empty_select(select),
        SetExpr::Query(query) => is_empty(query),
        SetExpr::SetOperation { op, left, right, .. } => match op {
            SetOperator::Union => is_empty_body(left) && is_empty_body(right),
            SetOperator::Intersect => is_empty_body(left) || is_empty_body(right),
            SetOperator::Except | SetOperator::Minus => is_empty_body(left),
        },
        _ => false,
    }
}

pub(super) fn is_empty_select(select: &Select) -> bool {
    let ungrouped = matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
    // An aggregate without GROUP BY gives a row for no rows.
    let aggregates = ungrouped && (select.having.is_some() || select.projection.iter().any(item_aggregates));
    !aggregates && select.from.iter().any(reads_nothing)
}

fn reads_nothing(tables: &TableWithJoins) -> bool {
    tables.joins.iter().fold(factor_is_empty(&tables.relation), |left, Join { relation, join_operator, .. }| {
        let right = factor_is_empty(relation);
        match join_operator {
            JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => left,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) => right,
            JoinOperator::FullOuter(_) => left && right,
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => left || right,
            _ => false,
        }
    })
}

fn factor_is_empty(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table { name, args: None, .. } => {
            catalog_relation(name).is_some_and(|(schema, name)| is_always_empty(schema, name))
        }
        TableFactor::Derived { subquery, .. } => is_empty(subquery),
        TableFactor::NestedJoin { table_with_joins, .. } => reads_nothing(table_with_joins),
        _ => false,
    }
}

fn item_aggregates(item: &SelectItem) -> bool {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => aggregates(expr),
        _ => false,
    }
}

/// Whether an expression calls an aggregate, outside of subqueries.
pub(super) fn aggregates(expr: &Expr) -> bool {
    struct Aggregates {
        depth: usize,
        found: bool,
    }
    impl sqlparser::ast::Visitor for Aggregates {
        type Break = ();
        fn pre_visit_query(&mut self, _: &Query) -> std::ops::ControlFlow<()> {
            self.depth += 1;
            std::ops::ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &Query) -> std::ops::ControlFlow<()> {
            self.depth -= 1;
            std::ops::ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> std::ops::ControlFlow<()> {
            if let Expr::Function(function) = expr
                && self.depth == 0
                && function.over.is_none()
                && !matches!(function.args, FunctionArguments::Subquery(_))
            {
                self.found |= is_aggregate(&function.name);
            }
            std::ops::ControlFlow::Continue(())
        }
    }
    let mut aggregates = Aggregates { depth: 0, found: false };
    let _ = sqlparser::ast::Visit::visit(expr, &mut aggregates);
    aggregates.found
}

fn is_aggregate(name: &ObjectName) -> bool {
    let known =
        ["count", "sum", "min", "max", "avg", "array_agg", "string_agg", "bool_and", "bool_or", "every", "json_agg"];
    last_part(name).is_some_and(|name| known.contains(&name.as_str()))
}
