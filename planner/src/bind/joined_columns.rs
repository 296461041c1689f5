//! `JOIN ... USING` and `NATURAL JOIN` as Postgres means them: the columns joined by are one column each, first of all,
//! and that of the side that always has a row.
//!
//! DataFusion knows of such joins when it expands `*`, where it keeps the column of the table whose name comes first in
//! the alphabet, and takes any of the two for a name without a table: NULL, where an outer join found no row on that
//! side. So the joins are written out before names are resolved: `ON` in the place of `USING`, the column of the left or
//! the right side or `coalesce` of both in the place of the name, and a list in the place of `*`. What relations of FROM
//! have for columns is asked of the planner.
//!
//! Names in a subquery that mean a joined column of the query around it are left alone, and are ambiguous there.

use std::collections::HashSet;
use std::ops::ControlFlow;

use arrow::datatypes::FieldRef;
use datafusion::common::TableReference;
use datafusion::logical_expr;
use sqlparser::ast::{
    BinaryOperator, Cte, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, OrderByKind, Query, Select,
    SelectItem, SetExpr, Spanned, TableAlias, TableFactor, TableWithJoins, Value, Visit, VisitMut, Visitor, VisitorMut,
    With,
};
use sqlparser::tokenizer::Span;

use super::context::Context;
use super::diagnose::span_position;
use super::normalize::{call, column_name, folded};
use super::operators::{Operand, are_alike};
use super::own_names::each_expression;
use super::{dml, normalize, visible_name, whole_row};
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::reading::Reading;

/// Writes joins by columns of one name out, in the queries of a syntax node.
pub(super) fn write_out<N: Visit + VisitMut>(node: &mut N, context: &Context<'_>) -> Result<()> {
    if context.settings().reading < Reading::JOINED_COLUMNS || Visit::visit(&*node, &mut Finds).is_continue() {
        return Ok(());
    }
    match VisitMut::visit(node, &mut Joins { context, with: Vec::new(), put_aside: Vec::new() }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Ends at the first join by columns of one name.
struct Finds;

impl Visitor for Finds {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        if select.from.iter().any(joins_by_name) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn joins_by_name(from: &TableWithJoins) -> bool {
    let nested = |factor: &TableFactor| match factor {
        TableFactor::NestedJoin { table_with_joins, .. } => joins_by_name(table_with_joins),
        _ => false,
    };
    nested(&from.relation)
        || from.joins.iter().any(|join| {
            let by_name =
                |constraint: &JoinConstraint| matches!(constraint, JoinConstraint::Using(_) | JoinConstraint::Natural);
            kept_rows(&join.join_operator).is_some_and(|(_, constraint)| by_name(constraint)) || nested(&join.relation)
        })
}

/// The sides of a join whose rows all stay.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Neither,
    Left,
    Right,
    Both,
}

/// Which sides stay, and by what the join is; `None` for joins that are not SQL's.
pub(super) fn kept_rows(operator: &JoinOperator) -> Option<(Kept, &JoinConstraint)> {
    Some(match operator {
        JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => (Kept::Neither, constraint),
        JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => (Kept::Left, constraint),
        JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => (Kept::Right, constraint),
        JoinOperator::FullOuter(constraint) => (Kept::Both, constraint),
        _ => return None,
    })
}

fn constraint_of(operator: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint) => Some(constraint),
        _ => None,
    }
}

struct Joins<'a> {
    context: &'a Context<'a>,
    /// The WITH queries that are known where the visitor is, the innermost last, written out already.
    with: Vec<Cte>,
    /// The WITH clauses of the queries around, and how many WITH queries were known before.
    put_aside: Vec<(Option<With>, usize)>,
}

type Flow = ControlFlow<PlanError>;

impl VisitorMut for Joins<'_> {
    type Break = PlanError;

    /// WITH queries are visited here, in order: each knows those before it, and the body knows all.
    fn pre_visit_query(&mut self, query: &mut Query) -> Flow {
        let known = self.with.len();
        let mut with = query.with.take();
        for cte in with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            VisitMut::visit(&mut cte.query, self)?;
            self.with.push(cte.clone());
        }
        self.put_aside.push((with, known));
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> Flow {
        if let Err(error) = self.write_out(query) {
            return ControlFlow::Break(error);
        }
        if let Some((with, known)) = self.put_aside.pop() {
            query.with = with;
            self.with.truncate(known);
        }
        ControlFlow::Continue(())
    }
}

impl Joins<'_> {
    fn write_out(&self, query: &mut Query) -> Result<()> {
        if let SetExpr::Select(select) = query.body.as_mut() {
            let Some(columns) = self.write_out_select(select)? else { return Ok(()) };
            let shown = shown_names(select);
            let Some(order) = &mut query.order_by else { return Ok(()) };
            let OrderByKind::Expressions(keys) = &mut order.kind else { return Ok(()) };
            for key in keys {
                // A name alone means a column of the result first.
                if !matches!(&key.expr, Expr::Identifier(name) if shown.contains(&folded(name))) {
                    columns.put_in(&mut key.expr);
                }
            }
            return Ok(());
        }
        self.write_out_body(query.body.as_mut())
    }

    fn write_out_body(&self, body: &mut SetExpr) -> Result<()> {
        match body {
            SetExpr::Select(select) => self.write_out_select(select).map(drop),
            SetExpr::SetOperation { left, right, .. } => {
                self.write_out_body(left)?;
                self.write_out_body(right)
            }
            _ => Ok(()),
        }
    }

    /// The columns of FROM, if it has a join by names.
    fn write_out_select(&self, select: &mut Select) -> Result<Option<Columns>> {
        if !select.from.iter().any(joins_by_name) {
            return Ok(None);
        }
        let mut from = std::mem::take(&mut select.from);
        let mut columns = Columns::default();
        for item in &mut from {
            columns.0.extend(self.of_joins(item)?.0);
        }
        for item in std::mem::take(&mut select.projection) {
            match item {
                SelectItem::Wildcard(options) => {
                    let span = options.wildcard_token.0.span;
                    select.projection.extend(columns.0.iter().map(|column| column.as_item(span)));
                }
                SelectItem::UnnamedExpr(expr) => select.projection.push(columns.put_into_item(expr)),
                other => select.projection.push(other),
            }
        }
        columns.put_in(select);
        select.from = from;
        Ok(Some(columns))
    }

    /// The columns of relations that are joined, whose conditions are written out.
    fn of_joins(&self, from: &mut TableWithJoins) -> Result<Columns> {
        let mut left = self.of_factor(&mut from.relation)?;
        for join in &mut from.joins {
            let right = self.of_factor(&mut join.relation)?;
            left = joined(left, right, join)?;
        }
        Ok(left)
    }

    fn of_factor(&self, factor: &mut TableFactor) -> Result<Columns> {
        if let TableFactor::NestedJoin { table_with_joins, alias } = factor {
            let Some(alias) = alias.take() else { return self.of_joins(table_with_joins) };
            let from = vec![table_with_joins.as_ref().clone()];
            let mut query = dml::select(vec![everything()], from, None);
            self.write_out(&mut query)?;
            *factor =
                TableFactor::Derived { lateral: false, subquery: Box::new(query), alias: Some(alias), sample: None };
        }
        let known = self.columns_of(factor)?;
        let Some(relation) = name_of(factor) else {
            let message = "subquery in FROM must have an alias";
            return Err(PlanError::new(PlanErrorKind::SyntaxError, message)
                .with_hint("For example, FROM (SELECT ...) [AS] foo.")
                .at(span_position(factor.span())));
        };
        let column = |(name, of_type): (String, Operand)| {
            let expr = qualified(&relation, &name);
            Column { name, of_type, expr, joined: false }
        };
        Ok(Columns(known.into_iter().map(column).collect()))
    }

    /// The names of the columns of a relation in FROM, and what is known of their types.
    fn columns_of(&self, factor: &TableFactor) -> Result<Vec<(String, Operand)>> {
        let mut query =
            dml::select(vec![everything()], vec![TableWithJoins { relation: factor.clone(), joins: Vec::new() }], None);
        let mut seen = HashSet::new();
        let visible = self.with.iter().rev().filter(|cte| seen.insert(folded(&cte.alias.name)));
        let mut cte_tables: Vec<Cte> = visible.cloned().collect();
        cte_tables.reverse();
        if !cte_tables.is_empty() {
            let with_token = sqlparser::ast::helpers::attached_token::AttachedToken::empty();
            query.with = Some(With { with_token, recursive: false, cte_tables });
        }
        let context = self.context.beside();
        whole_row::write_out(&mut query, context.binder);
        let mut parameters = Vec::new();
        normalize::query(&mut query, &mut parameters, context.settings())?;
        let plan = context.query_plan(&query, &parameters)?;
        let known = |(qualifier, field): (Option<&TableReference>, &FieldRef)| {
            let column = logical_expr::Expr::Column((qualifier, field).into());
            (visible_name(field.name()).to_string(), Operand::of(&column, plan.schema()))
        };
        Ok(plan.schema().iter().map(known).collect())
    }
}

/// The columns of two sides of a join, whose condition is written out.
fn joined(left: Columns, right: Columns, join: &mut Join) -> Result<Columns> {
    let span = join.relation.span();
    let by_name = kept_rows(&join.join_operator).map(|(kept, constraint)| (kept, constraint.clone()));
    let (kept, names) = match by_name {
        Some((kept, JoinConstraint::Using(names))) => (kept, names.iter().map(used_name).collect::<Result<Vec<_>>>()?),
        Some((kept, JoinConstraint::Natural)) => {
            let names = left.0.iter().map(|column| &column.name);
            let shared = names.filter(|name| right.0.iter().any(|column| column.name == **name));
            let name = |name: &String| Ident { span, ..Ident::with_quote('"', name) };
            (kept, shared.map(name).collect())
        }
        _ => {
            let mut both = Columns([left.0, right.0].concat());
            if let Some(JoinConstraint::On(condition)) = constraint_of(&mut join.join_operator) {
                both.put_in(condition);
            }
            return Ok(std::mem::take(&mut both));
        }
    };
    let (mut merged, mut condition) = (Vec::new(), None);
    for name in &names {
        let (of_left, of_right) = (left.one(name, "left")?, right.one(name, "right")?);
        check_types(&of_left.of_type, &of_right.of_type)?;
        let equal = Expr::BinaryOp {
            left: Box::new(of_left.expr.clone()),
            op: BinaryOperator::Eq,
            right: Box::new(of_right.expr.clone()),
        };
        condition = Some(match condition.take() {
            None => equal,
            Some(before) => Expr::BinaryOp { left: Box::new(before), op: BinaryOperator::And, right: Box::new(equal) },
        });
        let column = match kept {
            Kept::Neither | Kept::Left => of_left.clone(),
            Kept::Right => of_right.clone(),
            Kept::Both => {
                let either =
                    call(Ident::with_span(name.span, "coalesce"), vec![of_left.expr.clone(), of_right.expr.clone()]);
                Column { expr: either, ..of_left.clone() }
            }
        };
        merged.push(Column { joined: true, ..column });
    }
    let names: HashSet<String> = names.iter().map(folded).collect();
    let rest = left.0.into_iter().chain(right.0).filter(|column| !names.contains(&column.name));
    let columns = merged.into_iter().chain(rest).collect();
    let condition = condition.unwrap_or_else(|| Expr::Value(Value::Boolean(true).with_span(span)));
    if let Some(constraint) = constraint_of(&mut join.join_operator) {
        *constraint = JoinConstraint::On(condition);
    }
    Ok(Columns(columns))
}

fn check_types(left: &Operand, right: &Operand) -> Result<()> {
    match (left, right) {
        (Operand::Typed(of_left), Operand::Typed(of_right)) if !are_alike(of_left, of_right) => {
            let message = format!("JOIN/USING types {} and {} cannot be matched", left.name(), right.name());
            Err(PlanError::new(PlanErrorKind::DatatypeMismatch, message))
        }
        _ => Ok(()),
    }
}

fn used_name(name: &ObjectName) -> Result<Ident> {
    match name.0.as_slice() {
        [part] => part.as_ident().cloned(),
        _ => None,
    }
    .ok_or_else(|| {
        PlanError::new(PlanErrorKind::SyntaxError, format!("a column of USING has no table in front: {name}"))
            .at(span_position(name.span()))
    })
}

/// A column of FROM.
#[derive(Clone)]
struct Column {
    name: String,
    of_type: Operand,
    /// What stands for it.
    expr: Expr,
    /// Whether it is one of two columns joined by.
    joined: bool,
}

impl Column {
    fn as_item(&self, span: Span) -> SelectItem {
        match &self.expr {
            Expr::CompoundIdentifier(_) => SelectItem::UnnamedExpr(self.expr.clone()),
            expr => SelectItem::ExprWithAlias { expr: expr.clone(), alias: alias(&self.name, span) },
        }
    }
}

/// The columns of FROM in the order of `*`.
#[derive(Clone, Default)]
struct Columns(Vec<Column>);

impl Columns {
    /// The one column of a side that has this name.
    fn one(&self, name: &Ident, side: &str) -> Result<&Column> {
        let wanted = folded(name);
        let mut found = self.0.iter().filter(|column| column.name == wanted);
        let error = match (found.next(), found.next()) {
            (Some(column), None) => return Ok(column),
            (None, _) => PlanError::new(
                PlanErrorKind::UndefinedColumn,
                format!("column \"{wanted}\" specified in USING clause does not exist in {side} table"),
            ),
            (Some(_), Some(_)) => PlanError::new(
                PlanErrorKind::AmbiguousColumn,
                format!("common column name \"{wanted}\" appears more than once in {side} table"),
            ),
        };
        // As in Postgres without a place: USING names a column of either side.
        Err(error)
    }

    /// What a name without a table means, if it is that of a column joined by and of no other.
    fn joined(&self, name: &Ident) -> Option<&Expr> {
        let wanted = folded(name);
        let mut found = self.0.iter().filter(|column| column.name == wanted);
        match (found.next(), found.next()) {
            (Some(column), None) if column.joined => Some(&column.expr),
            _ => None,
        }
    }

    /// Puts what names mean in their place.
    fn put_in(&self, node: &mut impl VisitMut) {
        each_expression(node, |expr| {
            let Expr::Identifier(name) = &*expr else { return };
            let Some(meant) = self.joined(name) else { return };
            let place = name.span;
            *expr = meant.clone();
            if let Expr::CompoundIdentifier(parts) = expr {
                parts.iter_mut().for_each(|part| part.span = place);
            }
        });
    }

    /// The same for an item of a select list, which keeps its name.
    fn put_into_item(&self, mut expr: Expr) -> SelectItem {
        let name = column_name(&expr);
        let span = expr.span();
        self.put_in(&mut expr);
        match name {
            Some(name) if column_name(&expr).as_ref() != Some(&name) => {
                SelectItem::ExprWithAlias { expr, alias: alias(&name, span) }
            }
            _ => SelectItem::UnnamedExpr(expr),
        }
    }
}

/// The names that the columns of a result have.
fn shown_names(select: &Select) -> HashSet<String> {
    let name = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) => column_name(expr),
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        _ => None,
    };
    select.projection.iter().filter_map(name).collect()
}

fn everything() -> SelectItem {
    SelectItem::Wildcard(Default::default())
}

fn alias(name: &str, span: Span) -> Ident {
    Ident { span, ..Ident::with_quote('"', name) }
}

/// The name by which columns of a relation in FROM are called.
fn name_of(factor: &TableFactor) -> Option<Ident> {
    let named = |alias: &Option<TableAlias>| alias.as_ref().map(|alias| alias.name.clone());
    let last = |name: &ObjectName| name.0.last().and_then(|part| part.as_ident()).cloned();
    match factor {
        TableFactor::Table { name, alias, .. } | TableFactor::Function { name, alias, .. } => {
            named(alias).or_else(|| last(name))
        }
        TableFactor::Derived { alias, .. }
        | TableFactor::TableFunction { alias, .. }
        | TableFactor::UNNEST { alias, .. } => named(alias),
        _ => None,
    }
}

fn qualified(relation: &Ident, column: &str) -> Expr {
    Expr::CompoundIdentifier(vec![relation.clone(), Ident { span: relation.span, ..Ident::with_quote('"', column) }])
}
