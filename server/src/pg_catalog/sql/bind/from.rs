//! FROM: relations, joins, functions; and where conditions are checked.

use std::sync::Arc;

use millstream_planner::error::{PlanError, PlanErrorKind, Result};
use sqlparser::ast::{
    self as sql, Expr as Ast, FunctionArg, FunctionArgExpr, JoinConstraint, JoinOperator, ObjectName, TableAlias,
    TableFactor, TableWithJoins,
};
use sqlparser::tokenizer::Span;

use super::super::functions;
use super::super::plan::{Comparison, Expr, Factor, JoinKind, Rows, SetCall, Source};
use super::super::text::record_fields;
use super::super::types::{self, Type};
use super::query::named_columns;
use super::{Binder, Named, UserRelation, folded, parts, unsupported};
use crate::pg_catalog::schema;

/// The most relations of one FROM: touched ones are bits.
const FACTORS: usize = 120;

/// A join without a condition.
pub(super) fn crossed(left: Source, right: Source) -> Source {
    Source::Join { kind: JoinKind::Inner, left: Box::new(left), right: Box::new(right), on: Vec::new() }
}

/// The relations of a part of a FROM, as bits.
fn within(source: &Source) -> u128 {
    match source {
        Source::Nothing => 0,
        Source::Factor(factor) => 1 << factor.at,
        Source::Join { left, right, .. } => within(left) | within(right),
    }
}

/// Puts a condition where it can be checked first: at the last of the relations that it touches. `there` are
/// the relations whose rows stand when this part is read. Gives back what must wait until the whole part is read.
pub(super) fn place(source: &mut Source, condition: Expr, touched: u128, there: u128) -> Option<Expr> {
    match source {
        Source::Nothing => Some(condition),
        Source::Factor(factor) => {
            match lookup(&condition, factor.at).filter(|_| factor.lookup.is_none()) {
                Some(found) => factor.lookup = Some(found),
                None => factor.filters.push(condition),
            }
            None
        }
        Source::Join { kind: JoinKind::Inner, left, right, on } => {
            let with_left = there | within(left);
            let left_over = if touched & !with_left == 0 {
                place(left, condition, touched, there)
            } else {
                place(right, condition, touched, with_left)
            };
            on.extend(left_over);
            None
        }
        Source::Join { kind: JoinKind::Left, left, .. } if touched & !(there | within(left)) == 0 => {
            place(left, condition, touched, there)
        }
        Source::Join { .. } => Some(condition),
    }
}

/// `column = expression` where the column is of one relation and the expression is of others.
fn lookup(condition: &Expr, at: usize) -> Option<(usize, Expr)> {
    let Expr::Compare { comparison: Comparison::Equal, left, right } = condition else { return None };
    let column = |expr: &Expr| match expr {
        Expr::Column { level: 0, factor, index } if *factor == at => Some(*index),
        _ => None,
    };
    match (column(left), column(right)) {
        (Some(index), None) if avoids(right, at) => Some((index, right.as_ref().clone())),
        (None, Some(index)) if avoids(left, at) => Some((index, left.as_ref().clone())),
        _ => None,
    }
}

/// Whether an expression surely reads nothing of a relation.
fn avoids(expr: &Expr, at: usize) -> bool {
    match expr {
        Expr::Const(_) | Expr::Parameter(_) => true,
        Expr::Column { level, factor, .. } => *level > 0 || *factor != at,
        Expr::Cast { inner, .. } => avoids(inner, at),
        Expr::Call { arguments, .. } => arguments.iter().all(|argument| avoids(&argument.expr, at)),
        Expr::Subquery { plan, .. } => !plan.correlated,
        Expr::Operator { left, right, .. } => avoids(left, at) && avoids(right, at),
        _ => false,
    }
}

impl Binder<'_> {
    pub(super) fn joined(&mut self, table: &TableWithJoins) -> Result<Source> {
        let mut source = self.factor(&table.relation)?;
        for join in &table.joins {
            let before = self.scope().factors.len();
            let right = self.factor(&join.relation)?;
            source = self.join(source, right, before, &join.join_operator)?;
        }
        Ok(source)
    }

    fn join(&mut self, left: Source, right: Source, before: usize, operator: &JoinOperator) -> Result<Source> {
        let (kind, turned, constraint) = match operator {
            JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) | JoinOperator::CrossJoin(constraint) => {
                (JoinKind::Inner, false, constraint)
            }
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => (JoinKind::Left, false, constraint),
            JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
                (JoinKind::Left, true, constraint)
            }
            JoinOperator::FullOuter(constraint) => (JoinKind::Full, false, constraint),
            _ => return Err(unsupported("this kind of join")),
        };
        let mut on: Vec<(Expr, u128)> = Vec::new();
        match constraint {
            JoinConstraint::None => {}
            JoinConstraint::On(condition) => {
                self.conditions(condition, &mut |conjunct, touched| on.push((conjunct, touched)))?;
            }
            JoinConstraint::Using(columns) => {
                let names = columns.iter().filter_map(|column| parts(column).pop()).collect();
                self.merge(before, names, turned, &mut on)?;
            }
            JoinConstraint::Natural => {
                let factors = &self.scope().factors;
                let has = |factors: &[Named], name: &str| {
                    factors.iter().any(|factor| factor.columns.iter().any(|(known, _)| known == name))
                };
                let right = factors[before..].iter().flat_map(|factor| factor.columns.iter());
                let names: Vec<String> =
                    right.filter(|(name, _)| has(&factors[..before], name)).map(|(name, _)| name.clone()).collect();
                self.merge(before, names, turned, &mut on)?;
            }
        }
        // What RIGHT keeps is the left side of the same join turned round: rows know their relations by number.
        let (left, right) = if turned { (right, left) } else { (left, right) };
        let mut source = Source::Join { kind, left: Box::new(left), right: Box::new(right), on: Vec::new() };
        for (condition, touched) in on {
            attach(&mut source, condition, touched);
        }
        Ok(source)
    }

    /// Joins by columns of the same name, which are one column from here on.
    fn merge(&mut self, before: usize, names: Vec<String>, turned: bool, on: &mut Vec<(Expr, u128)>) -> Result<()> {
        for name in names {
            let find = |factors: &[Named], offset: usize| {
                factors.iter().enumerate().find_map(|(at, factor)| {
                    let index = (0..factor.columns.len())
                        .find(|index| factor.columns[*index].0 == name && !factor.hidden[*index])?;
                    Some((at + offset, index, factor.columns[index].1.clone()))
                })
            };
            let factors = &self.scope().factors;
            let (left, right) = (find(&factors[..before], 0), find(&factors[before..], before));
            let (Some(left), Some(right)) = (left, right) else {
                let message = format!("column \"{name}\" specified in USING clause does not exist");
                return Err(PlanError::new(PlanErrorKind::UndefinedColumn, message));
            };
            let typed = |(factor, index, ty): &(usize, usize, Type)| super::Typed {
                expr: Expr::Column { level: 0, factor: *factor, index: *index },
                ty: ty.clone(),
            };
            let condition = self.comparison(Comparison::Equal, typed(&left), typed(&right))?;
            on.push((condition.expr, 1 << left.0 | 1 << right.0));
            let hidden = if turned { left } else { right };
            self.scope().factors[hidden.0].hidden[hidden.1] = true;
        }
        Ok(())
    }

    fn factor(&mut self, factor: &TableFactor) -> Result<Source> {
        if self.scope().factors.len() >= FACTORS {
            return Err(PlanError::new(PlanErrorKind::ProgramLimitExceeded, "too many relations in one FROM"));
        }
        match factor {
            TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } => {
                self.functions(&[(parts(name), args.args.clone())], alias.as_ref(), *with_ordinality, name_span(name))
            }
            TableFactor::Table { name, alias, .. } => self.relation(name, alias.as_ref()),
            TableFactor::Function { name, args, alias, with_ordinality, .. } => {
                self.functions(&[(parts(name), args.clone())], alias.as_ref(), *with_ordinality, name_span(name))
            }
            TableFactor::UNNEST { alias, array_exprs, with_ordinality, .. } => {
                let call = |array: &Ast| {
                    (vec!["unnest".to_owned()], vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(array.clone()))])
                };
                let calls: Vec<_> = array_exprs.iter().map(call).collect();
                self.functions(&calls, alias.as_ref(), *with_ordinality, Span::empty())
            }
            TableFactor::Derived { lateral, subquery, alias, .. } => self.derived(*lateral, subquery, alias.as_ref()),
            TableFactor::NestedJoin { table_with_joins, alias: None } => self.joined(table_with_joins),
            _ => Err(unsupported("this form of FROM")),
        }
    }

    /// Adds a relation to the FROM.
    fn add(&mut self, named: Named, rows: Rows) -> Result<Source> {
        let id = self.id();
        let scope = self.scope();
        if scope.factors.iter().any(|factor| factor.alias == named.alias && factor.schema == named.schema) {
            let message = format!("table name \"{}\" specified more than once", named.alias);
            return Err(PlanError::new(PlanErrorKind::DuplicateTable, message));
        }
        let at = scope.factors.len();
        scope.factors.push(named);
        Ok(Source::Factor(Factor { at, id, rows, filters: Vec::new(), lookup: None }))
    }

    fn relation(&mut self, name: &ObjectName, alias: Option<&TableAlias>) -> Result<Source> {
        let parts = parts(name);
        let shown = parts.join(".");
        let (schema_name, relation) = match parts.as_slice() {
            [name] => (None, name.as_str()),
            [schema, name] => (Some(schema.as_str()), name.as_str()),
            [database, schema, name] if *database == self.context.view.database => {
                (Some(schema.as_str()), name.as_str())
            }
            [_, _, _] => {
                let message = format!("cross-database references are not implemented: \"{shown}\"");
                return Err(self.at(PlanError::new(PlanErrorKind::FeatureNotSupported, message), name_span(name)));
            }
            _ => return Err(PlanError::new(PlanErrorKind::SyntaxError, format!("improper relation name: {shown}"))),
        };
        if schema_name.is_none()
            && let Some(cte) = self.with.iter().rev().find(|cte| cte.name == relation).cloned()
        {
            if let Some(touches) = self.touches.last_mut() {
                *touches |= cte.touches;
            }
            let named = aliased(relation, None, cte.columns, alias);
            return self.add(named, Rows::Cte(cte.slot));
        }
        let found = self.catalog_relation(schema_name, relation);
        if let Some((index, definition)) = found {
            self.reads_catalog = true;
            let columns = definition.types.iter().zip(definition.columns.fields());
            let columns = columns.map(|(ty, field)| (field.name().clone(), ty.clone())).collect();
            let mut named = aliased(relation, Some(&definition.schema), columns, alias);
            named.oid = Some(definition.oid);
            return self.add(named, Rows::Catalog(index));
        }
        let Some((relation, columns)) = self.context.user_relation(schema_name, relation) else {
            let error = match schema_name {
                Some(schema) if !self.context.objects.schemas.iter().any(|(known, _)| known == schema) => {
                    // As in Postgres the whole name is what is not there.
                    PlanError::new(PlanErrorKind::UndefinedTable, format!("relation \"{shown}\" does not exist"))
                }
                _ => millstream_planner::bind::unknown_relation(&self.context.view.catalog, schema_name, relation),
            };
            return Err(self.at(error, name_span(name)));
        };
        let known = self.user_relations.iter().position(|known| *known == relation);
        let index = known.unwrap_or_else(|| {
            self.user_relations.push(relation.clone());
            self.user_relations.len() - 1
        });
        let UserRelation { schema, name } = relation;
        let named = aliased(&name, Some(&schema), columns, alias);
        self.add(named, Rows::User(index))
    }

    fn catalog_relation(&self, schema: Option<&str>, name: &str) -> Option<(usize, &'static schema::Definition)> {
        let path = &self.context.view.search_path;
        let schemas: Vec<&str> = match schema {
            Some(schema) => vec![schema],
            None => std::iter::once("pg_catalog").chain(path.iter().map(String::as_str)).collect(),
        };
        for schema in schemas {
            if let Some(found) = schema::position(schema, name) {
                return Some((found, &schema::definitions()[found]));
            }
            if schema != "pg_catalog" && self.context.user_relation(Some(schema), name).is_some() {
                return None;
            }
        }
        None
    }

    fn derived(&mut self, lateral: bool, query: &sql::Query, alias: Option<&TableAlias>) -> Result<Source> {
        let here = self.scopes.len() - 1;
        let was = std::mem::replace(&mut self.scope().visible, lateral);
        let outer = self.touches.last().copied().unwrap_or_default();
        if let Some(touches) = self.touches.last_mut() {
            *touches = 0;
        }
        let plan = self.query(query);
        let touched = self.touches.last().copied().unwrap_or_default();
        if let Some(touches) = self.touches.last_mut() {
            *touches |= outer;
        }
        self.scope().visible = was;
        let plan = plan?;
        let plan = self.settled(plan);
        let named = aliased("unnamed_subquery", None, plan.columns.clone(), alias);
        let lateral = touched & 1 << here != 0;
        let named = match alias {
            Some(_) => named,
            // It can't be named, and two of them don't clash.
            None => Named { alias: format!("\0{}", self.scope().factors.len()), ..named },
        };
        self.add(named, Rows::Plan { plan: Arc::new(plan), lateral })
    }

    /// Functions in FROM, side by side where there are several.
    fn functions(
        &mut self,
        calls: &[(Vec<String>, Vec<FunctionArg>)],
        alias: Option<&TableAlias>,
        ordinality: bool,
        span: Span,
    ) -> Result<Source> {
        let (mut bound, mut columns) = (Vec::new(), Vec::new());
        let mut is_value = calls.len() == 1 && !ordinality;
        for (name, arguments) in calls {
            let name = name.last().cloned().unwrap_or_default();
            let mut arguments_bound = Vec::new();
            for argument in arguments {
                let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument else {
                    return Err(unsupported("named arguments"));
                };
                arguments_bound.push(self.expression(expr)?);
            }
            let (function, arguments, result) =
                self.resolved(&name, arguments_bound).map_err(|error| self.at(error, span))?;
            let fields = record_fields(&result);
            let width = fields.len();
            if width == 0 {
                let column = if calls.len() == 1 { alias.map(|alias| folded(&alias.name)) } else { None };
                columns.push((column.unwrap_or_else(|| name.clone()), result));
            } else {
                is_value = false;
                columns.extend(fields.iter().cloned());
            }
            bound.push(SetCall { function, arguments, width });
        }
        if ordinality {
            columns.push(("ordinality".to_owned(), types::INT8));
        }
        let name = calls.first().and_then(|(name, _)| name.last().cloned()).unwrap_or_default();
        let named = Named { is_value, ..aliased(&name, None, columns, alias) };
        self.add(named, Rows::Functions { calls: bound, ordinality })
    }

    /// The function that a call means, its arguments as it takes them, and the type of its value.
    pub(super) fn resolved(
        &mut self,
        name: &str,
        arguments: Vec<super::Typed>,
    ) -> Result<(&'static functions::Function, Vec<super::Typed>, Type)> {
        let given: Vec<Type> = arguments.iter().map(|argument| argument.ty.clone()).collect();
        let function = functions::resolve(name, &given)?;
        let mut taken = Vec::new();
        for (index, argument) in arguments.into_iter().enumerate() {
            let ty = functions::argument_type(function.row, index, &argument.ty);
            taken.push(self.coerce(argument, &ty)?);
        }
        let given: Vec<Type> = taken.iter().map(|argument| argument.ty.clone()).collect();
        let result = functions::result_type(function.row, &given);
        Ok((function, taken, result))
    }
}

/// Puts a join's own condition on the side that it can be checked at.
fn attach(source: &mut Source, condition: Expr, touched: u128) {
    let Source::Join { kind, left, right, on } = source else { return };
    let left_over = match kind {
        JoinKind::Inner if touched & !within(left) == 0 && touched != 0 => place(left, condition, touched, 0),
        JoinKind::Inner | JoinKind::Left => place(right, condition, touched, within(left)),
        JoinKind::Full => Some(condition),
    };
    on.extend(left_over);
}

fn aliased(name: &str, schema: Option<&str>, columns: Vec<(String, Type)>, alias: Option<&TableAlias>) -> Named {
    let aliases: Vec<String> =
        alias.map(|alias| alias.columns.iter().map(|column| folded(&column.name)).collect()).unwrap_or_default();
    let columns = named_columns(&columns, &aliases);
    Named {
        alias: alias.map_or_else(|| name.to_owned(), |alias| folded(&alias.name)),
        schema: if alias.is_some() { None } else { schema.map(str::to_owned) },
        hidden: vec![false; columns.len()],
        columns,
        oid: None,
        is_value: false,
    }
}

/// Where a name stands.
pub(super) fn name_span(name: &ObjectName) -> Span {
    name.0.first().and_then(|part| part.as_ident()).map_or_else(Span::empty, |ident| ident.span)
}
