//! Queries: WITH, UNION and its relatives, VALUES, ORDER BY and LIMIT around them.

use std::sync::Arc;

use millstream_planner::error::{PlanError, PlanErrorKind, Result};
use sqlparser::ast::{
    self as sql, LimitClause, OrderByExpr, OrderByKind, Query, SetExpr, SetOperator, SetQuantifier, Value, With,
};

use super::super::plan::{Body, Cte, Plan, SetOperation, SortBy, SortKey, Typed};
use super::super::types::{self, Type};
use super::{Binder, NamedCte, SCOPES, folded, unsupported};

/// Touched by what reads the rows that a recursive query has so far: they differ from round to round.
const REPEATED: u64 = 1 << 63;

impl Binder<'_> {
    /// Binds a query that stands within the scopes that are open.
    pub(super) fn query(&mut self, query: &Query) -> Result<Plan> {
        if self.scopes.len() >= SCOPES || self.touches.len() >= 2 * SCOPES {
            return Err(PlanError::new(PlanErrorKind::ProgramLimitExceeded, "queries are nested too deeply"));
        }
        if !query.locks.is_empty() || query.for_clause.is_some() {
            return Err(unsupported("locking rows"));
        }
        self.touches.push(0);
        let known = self.with.len();
        let plan = self.query_inside(query);
        self.with.truncate(known);
        let touched = self.touches.pop().unwrap_or_default();
        let around = touched & (((1u64 << self.scopes.len()) - 1) | REPEATED);
        if let Some(outer) = self.touches.last_mut() {
            *outer |= around;
        }
        Ok(Plan { correlated: around != 0, ..plan? })
    }

    fn query_inside(&mut self, query: &Query) -> Result<Plan> {
        let with = query.with.as_ref().map(|with| self.with(with)).transpose()?.unwrap_or_default();
        let order = match query.order_by.as_ref().map(|order| &order.kind) {
            None => &[][..],
            Some(OrderByKind::Expressions(order)) => order,
            Some(OrderByKind::All(_)) => return Err(unsupported("ORDER BY ALL")),
        };
        let (body, columns, order) = match query.body.as_ref() {
            SetExpr::Select(select) => {
                let (body, columns) = self.select(select, order)?;
                (Body::Select(Box::new(body)), columns, Vec::new())
            }
            body => {
                let (body, columns) = self.body(body)?;
                let order = order.iter().map(|key| self.sort_output(key, &columns)).collect::<Result<_>>()?;
                (body, columns, order)
            }
        };
        let (limit, offset) = match &query.limit_clause {
            None => (query.fetch.as_ref().and_then(|fetch| fetch.quantity.as_ref()), None),
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                let fetched = query.fetch.as_ref().and_then(|fetch| fetch.quantity.as_ref());
                (limit.as_ref().or(fetched), offset.as_ref().map(|offset| &offset.value))
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => (Some(limit), Some(offset)),
        };
        let mut count = |expr: Option<&sql::Expr>| {
            let bound = expr.map(|expr| self.expression(expr)).transpose()?;
            Ok::<_, PlanError>(bound.map(|bound| self.coerce(bound, &types::INT8)).transpose()?.map(|typed| typed.expr))
        };
        let (limit, offset) = (count(limit)?, count(offset)?);
        Ok(Plan { id: self.id(), with, body, order, limit, offset, columns, correlated: false })
    }

    fn with(&mut self, with: &With) -> Result<Vec<Cte>> {
        let mut bound = Vec::new();
        for cte in &with.cte_tables {
            let name = folded(&cte.alias.name);
            let aliases: Vec<String> = cte.alias.columns.iter().map(|column| folded(&column.name)).collect();
            let slot = self.id();
            let repeated = with.recursive.then(|| repeated_parts(&cte.query)).flatten();
            let before = self.touches.last().copied().unwrap_or_default();
            if let Some(touches) = self.touches.last_mut() {
                *touches = 0;
            }
            let (plan, repeated) = match repeated {
                None => (self.query(&cte.query)?, None),
                Some((first, rest, all)) => {
                    let first = self.part(&cte.query, first)?;
                    let columns = named_columns(&first.columns, &aliases);
                    self.with.push(NamedCte { name: name.clone(), slot, columns, touches: REPEATED });
                    let rest = self.part(&cte.query, rest);
                    self.with.pop();
                    let rest = rest?;
                    if rest.columns.len() != first.columns.len() {
                        return Err(different_widths("UNION"));
                    }
                    let rest = self.converted(rest, &first.columns)?;
                    (first, Some((Arc::new(rest), !all)))
                }
            };
            let plan = self.settled(plan);
            let touches = self.touches.last().copied().unwrap_or_default() & !REPEATED;
            if let Some(slot) = self.touches.last_mut() {
                *slot |= before;
            }
            let columns = named_columns(&plan.columns, &aliases);
            self.with.push(NamedCte { name, slot, columns, touches });
            bound.push(Cte { slot, plan: Arc::new(plan), repeated });
        }
        Ok(bound)
    }

    /// One side of a recursive query as a query of its own.
    fn part(&mut self, of: &Query, body: &SetExpr) -> Result<Plan> {
        let part = Query { with: None, body: Box::new(body.clone()), order_by: None, limit_clause: None, ..of.clone() };
        let plan = self.query(&part)?;
        Ok(self.settled(plan))
    }

    /// A query whose columns have given types.
    fn converted(&mut self, plan: Plan, to: &[(String, Type)]) -> Result<Plan> {
        let columns: Vec<(Type, Type)> =
            plan.columns.iter().zip(to).map(|((_, from), (_, to))| (from.clone(), to.clone())).collect();
        let (id, correlated) = (self.id(), plan.correlated);
        let body = Body::Converted { body: Box::new(Body::Query(Arc::new(plan))), columns };
        let columns = to.to_vec();
        Ok(Plan { id, with: Vec::new(), body, order: Vec::new(), limit: None, offset: None, columns, correlated })
    }

    /// A query whose columns all have types: literals that nothing settled are text.
    pub(super) fn settled(&mut self, plan: Plan) -> Plan {
        if plan.columns.iter().all(|(_, ty)| *ty != Type::Unknown) {
            return plan;
        }
        let settle = |columns: &[(String, Type)]| -> Vec<(String, Type)> {
            let text = |ty: &Type| if *ty == Type::Unknown { types::TEXT } else { ty.clone() };
            columns.iter().map(|(name, ty)| (name.clone(), text(ty))).collect()
        };
        for index in 0..self.parameters.len() {
            // A parameter that is only shown is text.
            if self.parameters[index].is_none() && plan_shows(&plan, index) {
                self.parameters[index] = Some(types::TEXT);
            }
        }
        Plan { columns: settle(&plan.columns), ..plan }
    }

    fn body(&mut self, body: &SetExpr) -> Result<(Body, Vec<(String, Type)>)> {
        match body {
            SetExpr::Select(select) => {
                let (select, columns) = self.select(select, &[])?;
                Ok((Body::Select(Box::new(select)), columns))
            }
            SetExpr::Query(query) => {
                let plan = self.query(query)?;
                let columns = plan.columns.clone();
                Ok((Body::Query(Arc::new(plan)), columns))
            }
            SetExpr::Values(values) => self.values(values),
            SetExpr::SetOperation { left, op, right, set_quantifier } => {
                let (operation, word) = match op {
                    SetOperator::Union => (SetOperation::Union, "UNION"),
                    SetOperator::Intersect => (SetOperation::Intersect, "INTERSECT"),
                    SetOperator::Except | SetOperator::Minus => (SetOperation::Except, "EXCEPT"),
                };
                let all = matches!(set_quantifier, SetQuantifier::All);
                let ((left, left_columns), (right, right_columns)) = (self.body(left)?, self.body(right)?);
                if left_columns.len() != right_columns.len() {
                    return Err(different_widths(word));
                }
                let mut columns = Vec::new();
                for ((name, left), (_, right)) in left_columns.iter().zip(&right_columns) {
                    let ty = types::common(left, right).ok_or_else(|| {
                        let (left, right) = (left.sql_name(), right.sql_name());
                        let message = format!("{word} types {left} and {right} cannot be matched");
                        PlanError::new(PlanErrorKind::DatatypeMismatch, message)
                    })?;
                    columns.push((name.clone(), ty));
                }
                let (left, right) =
                    (as_columns(left, &left_columns, &columns), as_columns(right, &right_columns, &columns));
                Ok((Body::Set { operation, all, left: Box::new(left), right: Box::new(right) }, columns))
            }
            SetExpr::Table(table) => Err(unsupported(&format!("{table}"))),
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                Err(unsupported("changing rows"))
            }
        }
    }

    fn values(&mut self, values: &sql::Values) -> Result<(Body, Vec<(String, Type)>)> {
        let mut rows = Vec::new();
        for row in &values.rows {
            rows.push(row.content.iter().map(|expr| self.expression(expr)).collect::<Result<Vec<Typed>>>()?);
        }
        let width = rows.first().map_or(0, Vec::len);
        if rows.iter().any(|row| row.len() != width) {
            return Err(PlanError::new(PlanErrorKind::SyntaxError, "VALUES lists must all be the same length"));
        }
        let mut columns = Vec::new();
        for index in 0..width {
            let mut ty = Type::Unknown;
            for row in &rows {
                if row[index].ty != Type::Unknown {
                    ty = types::common(&ty, &row[index].ty).ok_or_else(|| {
                        let (left, right) = (ty.sql_name(), row[index].ty.sql_name());
                        let message = format!("VALUES types {left} and {right} cannot be matched");
                        PlanError::new(PlanErrorKind::DatatypeMismatch, message)
                    })?;
                }
            }
            let ty = if ty == Type::Unknown { types::TEXT } else { ty };
            columns.push((format!("column{}", index + 1), ty));
        }
        let mut coerced = Vec::new();
        for row in rows {
            let cells = row.into_iter().zip(&columns).map(|(cell, (_, ty))| self.coerce(cell, ty));
            coerced.push(cells.collect::<Result<Vec<_>>>()?);
        }
        Ok((Body::Values(coerced), columns))
    }

    /// A sort key that names a column of the result, by name or number.
    fn sort_output(&self, key: &OrderByExpr, columns: &[(String, Type)]) -> Result<SortKey> {
        let found = match &key.expr {
            sql::Expr::Identifier(ident) => {
                let name = folded(ident);
                columns.iter().position(|(known, _)| *known == name)
            }
            expr => number(expr).and_then(|number| number.checked_sub(1)).filter(|index| *index < columns.len()),
        };
        let by = SortBy::Output(found.ok_or_else(|| {
            let message = "invalid UNION/INTERSECT/EXCEPT ORDER BY clause";
            PlanError::new(PlanErrorKind::FeatureNotSupported, message)
                .with_hint("Only result column names can be used, not expressions or functions.")
        })?);
        Ok(directed(key, by))
    }
}

/// A sort key with its direction; NULLs are the greatest unless it is said otherwise.
pub(super) fn directed(key: &OrderByExpr, by: SortBy) -> SortKey {
    let descending = key.options.asc == Some(false);
    SortKey { by, descending, nulls_first: key.options.nulls_first.unwrap_or(descending) }
}

/// An integer that is written out.
pub(super) fn number(expr: &sql::Expr) -> Option<usize> {
    match expr {
        sql::Expr::Value(value) => match &value.value {
            Value::Number(number, _) => number.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

fn different_widths(word: &str) -> PlanError {
    PlanError::new(PlanErrorKind::SyntaxError, format!("each {word} query must have the same number of columns"))
}

fn as_columns(body: Body, from: &[(String, Type)], to: &[(String, Type)]) -> Body {
    let columns: Vec<(Type, Type)> =
        from.iter().zip(to).map(|((_, from), (_, to))| (from.clone(), to.clone())).collect();
    if columns.iter().all(|(from, to)| from == to) {
        return body;
    }
    Body::Converted { body: Box::new(body), columns }
}

/// Columns under the names that an alias gives to the first of them.
pub(super) fn named_columns(columns: &[(String, Type)], aliases: &[String]) -> Vec<(String, Type)> {
    let named =
        columns.iter().enumerate().map(|(index, (name, ty))| (aliases.get(index).unwrap_or(name).clone(), ty.clone()));
    named.collect()
}

/// The two sides of a WITH RECURSIVE query that names itself, and whether rows that came before are kept.
fn repeated_parts(query: &Query) -> Option<(&SetExpr, &SetExpr, bool)> {
    match query.body.as_ref() {
        SetExpr::SetOperation { left, op: SetOperator::Union, right, set_quantifier } => {
            Some((left, right, matches!(set_quantifier, SetQuantifier::All)))
        }
        _ => None,
    }
}

/// Whether a parameter is a column of a query's result.
fn plan_shows(plan: &Plan, parameter: usize) -> bool {
    let shows = |typed: &Typed| matches!(typed.expr, super::Expr::Parameter(index) if index == parameter);
    match &plan.body {
        Body::Select(select) => select.outputs.iter().any(shows),
        Body::Values(rows) => rows.iter().flatten().any(shows),
        Body::Query(plan) => plan_shows(plan, parameter),
        Body::Set { .. } | Body::Converted { .. } => false,
    }
}
