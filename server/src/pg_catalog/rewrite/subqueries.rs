//! Correlated scalar subqueries as left joins.
//!
//! Postgres allows a scalar subquery at most one row, so for a subquery without aggregates, grouping and limits
//! `SELECT (SELECT e FROM s WHERE p) FROM t` gives the same rows as `SELECT e FROM t LEFT JOIN s ON p`, which
//! DataFusion plans with any predicate. The aliases of the subquery are renamed so that they meet no others.

use std::collections::HashMap;
use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, GroupByExpr, Ident, Join, JoinConstraint, JoinOperator, Query, Select, SelectItem, SetExpr, TableAlias,
    TableFactor, TableWithJoins, Value, VisitMut, VisitorMut,
};

use super::{empty, expressions, folded, last_part};
use crate::pg_catalog::query::catalog_relation;
use crate::pg_catalog::schema;

/// Puts the scalar subqueries of one SELECT into its FROM; `count` makes their names unique.
pub(super) fn flatten(select: &mut Select, count: &mut usize) {
    let mut flattening = Flattening { depth: 0, joins: Vec::new(), count };
    if !select.from.is_empty() {
        for item in &mut select.projection {
            let _: ControlFlow<()> = item.visit(&mut flattening);
        }
        if let Some(selection) = &mut select.selection {
            let _: ControlFlow<()> = selection.visit(&mut flattening);
        }
    }
    let joins = flattening.joins;
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            expressions::settle(expr);
        }
    }
    if joins.is_empty() {
        return;
    }
    // The predicates may refer to every table of the list: it becomes one chain of joins.
    let mut tables = std::mem::take(&mut select.from).into_iter();
    let Some(mut chain) = tables.next() else { return };
    for table in tables {
        let nested = TableFactor::NestedJoin { table_with_joins: Box::new(table), alias: None };
        chain.joins.push(join(nested, JoinOperator::CrossJoin(JoinConstraint::None)));
    }
    chain.joins.extend(joins);
    select.from = vec![chain];
}

fn join(relation: TableFactor, join_operator: JoinOperator) -> Join {
    Join { relation, global: false, join_operator }
}

struct Flattening<'a> {
    /// Queries around the expression that is looked at, within the SELECT.
    depth: usize,
    joins: Vec<Join>,
    count: &'a mut usize,
}

impl VisitorMut for Flattening<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0
            && let Expr::Subquery(query) = expr
            && let Some((value, join)) = as_join(query, *self.count)
        {
            *self.count += 1;
            *expr = value;
            self.joins.push(join);
        }
        ControlFlow::Continue(())
    }
}

/// The value of a subquery and the join that gives it; `None` when it is not of the form, or not correlated.
fn as_join(query: &Query, number: usize) -> Option<(Expr, Join)> {
    let plain = query.with.is_none() && query.limit_clause.is_none() && query.fetch.is_none();
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let ungrouped = matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
    if !plain || !ungrouped || select.distinct.is_some() || select.having.is_some() {
        return None;
    }
    let [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] = select.projection.as_slice()
    else {
        return None;
    };
    if empty::aggregates(value) {
        return None;
    }
    let mut scope = Scope { tables: HashMap::new(), columns: HashMap::new(), number, outer: false };
    let mut from = select.from.clone();
    for tables in &mut from {
        scope.enter(&mut tables.relation)?;
        for join in &mut tables.joins {
            scope.enter(&mut join.relation)?;
        }
    }
    let mut value = value.clone();
    let _: ControlFlow<()> = value.visit(&mut scope);
    let _: ControlFlow<()> = from.visit(&mut scope);
    let truth = || Expr::Value(Value::Boolean(true).into());
    let mut predicate = select.selection.clone().unwrap_or_else(truth);
    let _: ControlFlow<()> = predicate.visit(&mut scope);
    if !scope.outer {
        return None;
    }
    let mut tables = from.into_iter();
    let mut inner = tables.next()?;
    for table in tables {
        let nested = TableFactor::NestedJoin { table_with_joins: Box::new(table), alias: None };
        inner.joins.push(join(nested, JoinOperator::CrossJoin(JoinConstraint::None)));
    }
    let relation = match inner.joins.is_empty() {
        true => inner.relation,
        false => {
            let TableWithJoins { relation, joins } = inner;
            TableFactor::NestedJoin { table_with_joins: Box::new(TableWithJoins { relation, joins }), alias: None }
        }
    };
    Some((value, join(relation, JoinOperator::LeftOuter(JoinConstraint::On(predicate)))))
}

/// The tables of a subquery: qualifies and renames what refers to them, and sees what refers beyond.
struct Scope {
    /// Aliases to the unique ones that take their place.
    tables: HashMap<String, String>,
    /// Columns to the unique alias of their table.
    columns: HashMap<String, String>,
    number: usize,
    /// Something refers to the query around.
    outer: bool,
}

impl Scope {
    /// Takes a table in and renames it; `None` when it is none of the catalog's.
    fn enter(&mut self, factor: &mut TableFactor) -> Option<()> {
        let TableFactor::Table { name, alias, args: None, .. } = factor else { return None };
        let (in_schema, relation) = catalog_relation(name)?;
        let known = match alias {
            Some(alias) if !alias.columns.is_empty() => return None,
            Some(alias) => folded(&alias.name),
            None => last_part(name)?,
        };
        let unique = format!("__s{}_{known}", self.number);
        for field in schema::find(in_schema, relation)?.columns.fields() {
            self.columns.insert(field.name().clone(), unique.clone());
        }
        self.tables.insert(known, unique.clone());
        *alias = Some(TableAlias { explicit: true, name: Ident::new(unique), columns: Vec::new(), at: None });
        Some(())
    }
}

impl VisitorMut for Scope {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => match self.columns.get(&folded(ident)) {
                Some(table) => *expr = Expr::CompoundIdentifier(vec![Ident::new(table.clone()), ident.clone()]),
                None => self.outer = true,
            },
            Expr::CompoundIdentifier(parts) => match parts.first().map(folded) {
                Some(table) if table.starts_with("__s") => {}
                Some(table) => match self.tables.get(&table) {
                    Some(unique) => parts[0] = Ident::new(unique.clone()),
                    None => self.outer = true,
                },
                None => {}
            },
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
