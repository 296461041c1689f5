//! One SELECT: its FROM, its conditions, its groups, what it gives and how that is sorted.

use millstream_planner::error::{PlanError, PlanErrorKind, Result};
use sqlparser::ast::{
    self as sql, Distinct, Expr as Ast, GroupByExpr, OrderByExpr, SelectItem, SelectItemQualifiedWildcardKind,
};

use super::super::plan::{Expr, Select, SortBy, SortKey, Source, Typed};
use super::super::text::record_fields;
use super::super::types::{self, Type};
use super::from::place;
use super::query::{directed, number};
use super::{Binder, Scope, folded, parts, unsupported};

/// What a SELECT gives, before it is settled where it stands.
struct Outputs {
    typed: Vec<Typed>,
    names: Vec<String>,
    /// As it was written, for ORDER BY and GROUP BY.
    written: Vec<Option<Ast>>,
}

impl Binder<'_> {
    /// Binds a SELECT with the ORDER BY behind it.
    pub(super) fn select(
        &mut self,
        select: &sql::Select,
        order: &[OrderByExpr],
    ) -> Result<(Select, Vec<(String, Type)>)> {
        self.scopes.push(Scope { visible: true, ..Scope::default() });
        let bound = self.select_inside(select, order);
        self.scopes.pop();
        bound
    }

    fn select_inside(&mut self, select: &sql::Select, order: &[OrderByExpr]) -> Result<(Select, Vec<(String, Type)>)> {
        if select.into.is_some() || !select.lateral_views.is_empty() || select.qualify.is_some() {
            return Err(unsupported("this form of SELECT"));
        }
        let mut source = self.from(&select.from)?;
        let mut filters = Vec::new();
        if let Some(selection) = &select.selection {
            self.conditions(selection, &mut |conjunct, touched| {
                filters.extend(place(&mut source, conjunct, touched, 0));
            })?;
        }
        let factors = self.scope().factors.len();
        let scope = self.scope();
        (scope.aggregates, scope.sets) = (Some(Vec::new()), Some(Vec::new()));
        let outputs = self.outputs(&select.projection)?;
        let keys = match &select.group_by {
            GroupByExpr::Expressions(keys, _) => keys.as_slice(),
            GroupByExpr::All(_) => return Err(unsupported("GROUP BY ALL")),
        };
        let having = select.having.as_ref().map(|having| self.condition(having)).transpose()?;
        let sorted = order.iter().map(|key| self.sort_key(key, &outputs)).collect::<Result<Vec<_>>>()?;
        let distinct_on = match &select.distinct {
            Some(Distinct::On(keys)) => keys.iter().map(|key| self.key(key, &outputs)).collect::<Result<_>>()?,
            _ => Vec::new(),
        };
        let scope = self.scope();
        let aggregates = scope.aggregates.take().unwrap_or_default();
        let sets = scope.sets.take().unwrap_or_default();
        let windows = std::mem::take(&mut scope.windows);
        let group_by = keys.iter().map(|key| self.key(key, &outputs)).collect::<Result<Vec<_>>>()?;
        let columns = outputs.names.into_iter().zip(outputs.typed.iter().map(|typed| typed.ty.clone())).collect();
        let select = Select {
            source,
            factors,
            filters,
            grouped: !group_by.is_empty() || !aggregates.is_empty() || having.is_some(),
            group_by,
            aggregates,
            having,
            windows,
            sets,
            outputs: outputs.typed,
            distinct: matches!(select.distinct, Some(Distinct::Distinct)),
            distinct_on,
            order: sorted,
        };
        Ok((select, columns))
    }

    /// The SELECT that is being bound.
    pub(super) fn scope(&mut self) -> &mut Scope {
        self.scopes.last_mut().expect("a scope is open while a SELECT is bound")
    }

    /// Binds what a condition joins with AND, one by one, with the relations that each touches.
    pub(super) fn conditions(&mut self, condition: &Ast, take: &mut dyn FnMut(Expr, u128)) -> Result<()> {
        match condition {
            Ast::BinaryOp { left, op: sql::BinaryOperator::And, right } => {
                self.conditions(left, take)?;
                self.conditions(right, take)
            }
            Ast::Nested(inner) => self.conditions(inner, take),
            condition => {
                let before = std::mem::take(&mut self.scope().touched);
                let bound = self.condition(condition)?;
                let touched = std::mem::replace(&mut self.scope().touched, before);
                self.scope().touched |= touched;
                take(bound, touched);
                Ok(())
            }
        }
    }

    /// A boolean expression.
    pub(super) fn condition(&mut self, condition: &Ast) -> Result<Expr> {
        let bound = self.expression(condition)?;
        if bound.ty != types::BOOL && bound.ty != Type::Unknown {
            let message = format!("argument of WHERE must be type boolean, not type {}", bound.ty.sql_name());
            return Err(PlanError::new(PlanErrorKind::DatatypeMismatch, message));
        }
        Ok(self.coerce(bound, &types::BOOL)?.expr)
    }

    fn outputs(&mut self, items: &[SelectItem]) -> Result<Outputs> {
        let mut outputs = Outputs { typed: Vec::new(), names: Vec::new(), written: Vec::new() };
        for item in items {
            match item {
                SelectItem::UnnamedExpr(Ast::CompoundFieldAccess { root, access_chain })
                    if matches!(access_chain.last(), Some(sql::AccessExpr::Dot(Ast::Wildcard(_)))) =>
                {
                    let rest = &access_chain[..access_chain.len() - 1];
                    let inner = if rest.is_empty() {
                        root.as_ref().clone()
                    } else {
                        Ast::CompoundFieldAccess { root: root.clone(), access_chain: rest.to_vec() }
                    };
                    self.fields_of(&inner, &mut outputs)?;
                }
                SelectItem::UnnamedExpr(expr) => {
                    let name = super::expression::output_name(expr);
                    self.output(expr, name, &mut outputs)?;
                }
                SelectItem::ExprWithAlias { expr, alias } => self.output(expr, folded(alias), &mut outputs)?,
                SelectItem::Wildcard(_) => {
                    if self.scope().factors.is_empty() {
                        let message = "SELECT * with no tables specified is not valid";
                        return Err(PlanError::new(PlanErrorKind::SyntaxError, message));
                    }
                    for factor in 0..self.scope().factors.len() {
                        self.columns_of(factor, false, &mut outputs);
                    }
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    let parts = parts(name);
                    let wanted = parts.last().cloned().unwrap_or_default();
                    let found = self.scope().factors.iter().position(|factor| factor.alias == wanted);
                    let factor = found.ok_or_else(|| {
                        let message = format!("missing FROM-clause entry for table \"{wanted}\"");
                        PlanError::new(PlanErrorKind::UndefinedTable, message)
                    })?;
                    self.columns_of(factor, true, &mut outputs);
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(expr), _) => {
                    self.fields_of(expr, &mut outputs)?;
                }
                SelectItem::ExprWithAliases { .. } => return Err(unsupported("several aliases of one column")),
            }
        }
        Ok(outputs)
    }

    fn output(&mut self, expr: &Ast, name: String, outputs: &mut Outputs) -> Result<()> {
        outputs.typed.push(self.expression(expr)?);
        outputs.names.push(name);
        outputs.written.push(Some(expr.clone()));
        Ok(())
    }

    /// All columns of a relation, those that a join merged only when it is named.
    fn columns_of(&mut self, factor: usize, merged: bool, outputs: &mut Outputs) {
        let depth = self.scopes.len() - 1;
        self.touch(depth);
        let scope = self.scope();
        scope.touched |= 1 << factor;
        let named = &scope.factors[factor];
        for (index, (name, ty)) in named.columns.iter().enumerate() {
            if merged || !named.hidden[index] {
                let expr = Expr::Column { level: 0, factor, index };
                outputs.typed.push(Typed { expr, ty: ty.clone() });
                outputs.names.push(name.clone());
                outputs.written.push(None);
            }
        }
    }

    /// `(expression).*`: every field of a record.
    fn fields_of(&mut self, expr: &Ast, outputs: &mut Outputs) -> Result<()> {
        let record = self.expression(expr)?;
        let fields = record_fields(&record.ty).to_vec();
        if fields.is_empty() {
            let message =
                format!("column notation .* applied to type {}, which is not a composite type", record.ty.sql_name());
            return Err(PlanError::new(PlanErrorKind::WrongObjectType, message));
        }
        for (index, (name, ty)) in fields.into_iter().enumerate() {
            let expr = Expr::Field { inner: Box::new(record.expr.clone()), index };
            outputs.typed.push(Typed { expr, ty });
            outputs.names.push(name);
            outputs.written.push(None);
        }
        Ok(())
    }

    /// A sort key: a column of the result by name or number, or an expression over the rows.
    fn sort_key(&mut self, key: &OrderByExpr, outputs: &Outputs) -> Result<SortKey> {
        if let Some(number) = number(&key.expr) {
            let index = number.checked_sub(1).filter(|index| *index < outputs.typed.len());
            let index = index.ok_or_else(|| not_in_list("ORDER BY", number))?;
            return Ok(directed(key, SortBy::Output(index)));
        }
        if let Ast::Identifier(ident) = &key.expr {
            let name = folded(ident);
            if let Some(index) = outputs.names.iter().position(|known| *known == name) {
                return Ok(directed(key, SortBy::Output(index)));
            }
        }
        if let Some(index) = outputs.written.iter().position(|written| written.as_ref() == Some(&key.expr)) {
            return Ok(directed(key, SortBy::Output(index)));
        }
        let bound = self.expression(&key.expr)?;
        Ok(directed(key, SortBy::Expr(bound.expr)))
    }

    /// A key of GROUP BY or DISTINCT ON: a column of the relations first, then of the result.
    fn key(&mut self, key: &Ast, outputs: &Outputs) -> Result<Expr> {
        let of_output = match key {
            Ast::Identifier(ident) => {
                let name = folded(ident);
                let is_column =
                    self.scope().factors.iter().any(|factor| factor.columns.iter().any(|(known, _)| *known == name));
                if is_column { None } else { outputs.names.iter().position(|known| *known == name) }
            }
            key => match number(key) {
                Some(number) => {
                    let index = number.checked_sub(1).filter(|index| *index < outputs.typed.len());
                    Some(index.ok_or_else(|| not_in_list("GROUP BY", number))?)
                }
                None => None,
            },
        };
        match of_output {
            Some(index) => Ok(outputs.typed[index].expr.clone()),
            None => Ok(self.expression(key)?.expr),
        }
    }

    /// A FROM clause.
    fn from(&mut self, tables: &[sql::TableWithJoins]) -> Result<Source> {
        let mut source = Source::Nothing;
        for table in tables {
            let next = self.joined(table)?;
            source = match source {
                Source::Nothing => next,
                left => super::from::crossed(left, next),
            };
        }
        Ok(source)
    }
}

fn not_in_list(clause: &str, number: usize) -> PlanError {
    PlanError::new(PlanErrorKind::SyntaxError, format!("{clause} position {number} is not in select list"))
}
