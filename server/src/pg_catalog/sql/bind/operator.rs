//! Operators.

use millstream_planner::error::{PlanError, PlanErrorKind, Result};
use sqlparser::ast::{BinaryOperator, Expr as Ast, Query, Value, ValueWithSpan};

use super::super::datum::Datum;
use super::super::operations;
use super::super::plan::{Comparison, Expr, Operation, SubqueryUse, Typed};
use super::super::types::{self, Family, Type};
use super::expression::negation;
use super::{Binder, unsupported};

impl Binder<'_> {
    pub(super) fn binary(&mut self, left: &Ast, op: &BinaryOperator, right: &Ast) -> Result<Typed> {
        let op = &plain(op);
        if let Some(comparison) = comparison_of(op) {
            return self.compared(comparison, left, right);
        }
        match op {
            BinaryOperator::And | BinaryOperator::Or => {
                let (left, right) = (Box::new(self.condition(left)?), Box::new(self.condition(right)?));
                let expr = if *op == BinaryOperator::And { Expr::And(left, right) } else { Expr::Or(left, right) };
                Ok(Typed { expr, ty: types::BOOL })
            }
            BinaryOperator::PGRegexMatch
            | BinaryOperator::PGRegexIMatch
            | BinaryOperator::PGRegexNotMatch
            | BinaryOperator::PGRegexNotIMatch
            | BinaryOperator::PGLikeMatch
            | BinaryOperator::PGILikeMatch
            | BinaryOperator::PGNotLikeMatch
            | BinaryOperator::PGNotILikeMatch
            | BinaryOperator::PGStartsWith => {
                let (left, right) = (self.expression(left)?, self.expression(right)?);
                self.match_operator(op, left, right)
            }
            BinaryOperator::StringConcat => {
                let (left, right) = (self.expression(left)?, self.expression(right)?);
                self.concatenation(left, right)
            }
            BinaryOperator::Arrow | BinaryOperator::LongArrow => {
                let (left, right) = (self.expression(left)?, self.expression(right)?);
                let left = if left.ty == Type::Unknown { self.coerce(left, &types::JSON)? } else { left };
                let right = if right.ty == Type::Unknown { self.coerce(right, &types::TEXT)? } else { right };
                let (operation, ty): (Operation, Type) = match op {
                    BinaryOperator::Arrow => (operations::json_field, left.ty.clone()),
                    _ => (operations::json_text_field, types::TEXT),
                };
                Ok(operator(operation, left, right, ty))
            }
            BinaryOperator::AtArrow | BinaryOperator::ArrowAt | BinaryOperator::PGOverlap => {
                let (left, right) = (self.expression(left)?, self.expression(right)?);
                let types = (left.ty.sql_name(), right.ty.sql_name());
                let Some((left, right)) = self.matched(left, right)? else {
                    return Err(undefined(op, &types.0, &types.1));
                };
                let operation: Operation = match op {
                    BinaryOperator::AtArrow => operations::contains,
                    BinaryOperator::ArrowAt => operations::contained,
                    _ => operations::overlaps,
                };
                Ok(operator(operation, left, right, types::BOOL))
            }
            _ => {
                let (left, right) = (self.expression(left)?, self.expression(right)?);
                self.arithmetic(op, left, right)
            }
        }
    }

    pub(super) fn compared(&mut self, comparison: Comparison, left: &Ast, right: &Ast) -> Result<Typed> {
        let span = super::expression_span(left);
        let (left, right) = (self.expression(left)?, self.expression(right)?);
        self.comparison(comparison, left, right).map_err(|error| self.at(error, span))
    }

    /// Compares two values in the type that they have in common.
    pub(super) fn comparison(&mut self, comparison: Comparison, left: Typed, right: Typed) -> Result<Typed> {
        let names = (left.ty.sql_name(), right.ty.sql_name());
        let json = left.ty == types::JSON || right.ty == types::JSON;
        match self.matched(left, right)? {
            Some((left, right)) if !json => {
                let (left, right) = (Box::new(left.expr), Box::new(right.expr));
                Ok(Typed { expr: Expr::Compare { comparison, left, right }, ty: types::BOOL })
            }
            _ => Err(undefined(&comparison_sign(comparison), &names.0, &names.1)),
        }
    }

    pub(super) fn distinct(&mut self, left: &Ast, right: &Ast, negated: bool) -> Result<Typed> {
        let (left, right) = (self.expression(left)?, self.expression(right)?);
        let names = (left.ty.sql_name(), right.ty.sql_name());
        let Some((left, right)) = self.matched(left, right)? else {
            return Err(undefined(&BinaryOperator::Eq, &names.0, &names.1));
        };
        let (left, right) = (Box::new(left.expr), Box::new(right.expr));
        Ok(Typed { expr: Expr::Distinct { left, right, negated }, ty: types::BOOL })
    }

    pub(super) fn in_list(&mut self, left: &Ast, list: &[Ast], negated: bool) -> Result<Typed> {
        let left = self.expression(left)?;
        let mut values = Vec::new();
        for value in list {
            values.push(self.expression(value)?);
        }
        if left.ty == Type::Unknown {
            let mut all = vec![left];
            all.extend(values);
            let (mut all, _) = self.alike(all, "IN")?;
            let left = Box::new(all.remove(0));
            return Ok(Typed { expr: Expr::InList { left, list: all, negated }, ty: types::BOOL });
        }
        // Rows are compared field by field, each as its types ask for.
        if left.ty.family() == Family::Record {
            return self.in_records(left, values, negated);
        }
        let mut coerced = Vec::new();
        let mut ty = left.ty.clone();
        for value in &values {
            let names = (ty.sql_name(), value.ty.sql_name());
            ty = types::common(&ty, &value.ty).ok_or_else(|| undefined(&BinaryOperator::Eq, &names.0, &names.1))?;
        }
        let left = self.coerce(left, &ty)?;
        for value in values {
            coerced.push(self.coerce(value, &ty)?.expr);
        }
        Ok(Typed { expr: Expr::InList { left: Box::new(left.expr), list: coerced, negated }, ty: types::BOOL })
    }

    fn in_records(&mut self, left: Typed, values: Vec<Typed>, negated: bool) -> Result<Typed> {
        let list = values.into_iter().map(|value| value.expr).collect();
        Ok(Typed { expr: Expr::InList { left: Box::new(left.expr), list, negated }, ty: types::BOOL })
    }

    /// `left = ANY (subquery)`; several columns are compared as a row.
    pub(super) fn quantified(&mut self, left: &Ast, comparison: Comparison, query: &Query, all: bool) -> Result<Typed> {
        let left = self.expression(left)?;
        let plan = self.query(query)?;
        let plan = self.settled(plan);
        let width = super::super::text::record_fields(&left.ty).len().max(1);
        if plan.columns.len() != width {
            let message = if plan.columns.len() > width {
                "subquery has too many columns"
            } else {
                "subquery has too few columns"
            };
            return Err(PlanError::new(PlanErrorKind::SyntaxError, message));
        }
        let left = if width == 1 {
            let found = plan.columns[0].1.clone();
            let names = (left.ty.sql_name(), found.sql_name());
            let sign = comparison_sign(comparison);
            let ty = types::common(&left.ty, &found).ok_or_else(|| undefined(&sign, &names.0, &names.1))?;
            self.coerce(left, &ty)?
        } else {
            left
        };
        let used = SubqueryUse::Quantified { left: Box::new(left.expr), comparison, all };
        Ok(Typed { expr: Expr::Subquery { plan: std::sync::Arc::new(plan), used }, ty: types::BOOL })
    }

    /// `left op ANY (array or subquery)`
    pub(super) fn any(&mut self, left: &Ast, op: &BinaryOperator, right: &Ast, all: bool) -> Result<Typed> {
        let op = &plain(op);
        let right = match right {
            Ast::Nested(inner) => inner.as_ref(),
            other => other,
        };
        if let (Ast::Subquery(query), Some(comparison)) = (right, comparison_of(op)) {
            return self.quantified(left, comparison, query, all);
        }
        let (left, right) = (self.expression(left)?, self.expression(right)?);
        let operation: Option<Operation> = match op {
            BinaryOperator::PGRegexMatch => Some(operations::regex),
            BinaryOperator::PGRegexIMatch => Some(operations::regex_any_case),
            BinaryOperator::PGLikeMatch => Some(operations::like),
            BinaryOperator::PGILikeMatch => Some(operations::like_any_case),
            BinaryOperator::PGNotLikeMatch => Some(operations::not_like),
            BinaryOperator::PGRegexNotMatch => Some(operations::not_regex),
            _ => None,
        };
        let comparison = match (operation, comparison_of(op)) {
            (Some(_), _) => Comparison::Equal,
            (None, Some(comparison)) => comparison,
            (None, None) => return Err(unsupported(&format!("{op} ANY"))),
        };
        let names = (left.ty.sql_name(), right.ty.sql_name());
        let element = match &right.ty {
            Type::Unknown => left.ty.clone(),
            ty => ty.element().ok_or_else(|| {
                PlanError::new(PlanErrorKind::WrongObjectType, "op ANY/ALL (array) requires array on right side")
            })?,
        };
        let ty = if operation.is_some() { Some(types::TEXT) } else { types::common(&left.ty, &element) };
        let ty = ty.ok_or_else(|| undefined(op, &names.0, &names.1))?;
        let array = ty.array_of().unwrap_or(Type::Array(25));
        let (left, right) = (self.coerce(left, &ty)?, self.coerce(right, &array)?);
        let (left, right) = (Box::new(left.expr), Box::new(right.expr));
        Ok(Typed { expr: Expr::CompareElements { comparison, operation, left, right, all }, ty: types::BOOL })
    }

    /// LIKE and ILIKE with or without an ESCAPE.
    pub(super) fn pattern(&mut self, ast: &Ast) -> Result<Typed> {
        let (negated, expr, pattern, escape, any_case) = match ast {
            Ast::Like { negated, expr, pattern, escape_char, any: false } => {
                (*negated, expr, pattern, escape_char, false)
            }
            Ast::ILike { negated, expr, pattern, escape_char, any: false } => {
                (*negated, expr, pattern, escape_char, true)
            }
            other => return Err(unsupported(&format!("{other}"))),
        };
        let (left, right) = (self.expression(expr)?, self.expression(pattern)?);
        let right = match escape.as_ref().map(escape_of) {
            None => right,
            // Rewritten once into the usual escape.
            Some(escape) => {
                let right = self.coerce(right, &types::TEXT)?;
                let escape = Typed { expr: Expr::Const(Datum::text(escape)), ty: types::TEXT };
                operator(operations::with_escape, right, escape, types::TEXT)
            }
        };
        let op = if any_case { BinaryOperator::PGILikeMatch } else { BinaryOperator::PGLikeMatch };
        let matched = self.match_operator(&op, left, right)?;
        Ok(if negated { negation(matched) } else { matched })
    }

    fn match_operator(&mut self, op: &BinaryOperator, left: Typed, right: Typed) -> Result<Typed> {
        let fits = |ty: &Type| matches!(ty.family(), Family::Text | Family::Unknown);
        if !fits(&left.ty) || !fits(&right.ty) {
            return Err(undefined(op, &left.ty.sql_name(), &right.ty.sql_name()));
        }
        let (left, right) = (self.coerce(left, &types::TEXT)?, self.coerce(right, &types::TEXT)?);
        let operation: Operation = match op {
            BinaryOperator::PGRegexMatch => operations::regex,
            BinaryOperator::PGRegexIMatch => operations::regex_any_case,
            BinaryOperator::PGRegexNotMatch => operations::not_regex,
            BinaryOperator::PGRegexNotIMatch => operations::not_regex_any_case,
            BinaryOperator::PGLikeMatch => operations::like,
            BinaryOperator::PGILikeMatch => operations::like_any_case,
            BinaryOperator::PGNotLikeMatch => operations::not_like,
            BinaryOperator::PGNotILikeMatch => operations::not_like_any_case,
            _ => operations::starts_with,
        };
        Ok(operator(operation, left, right, types::BOOL))
    }

    fn concatenation(&mut self, left: Typed, right: Typed) -> Result<Typed> {
        let array =
            [&left, &right].into_iter().find(|side| side.ty.family() == Family::Array).map(|side| side.ty.clone());
        let (left, right, ty) = match array {
            Some(array) => {
                let element = array.element().unwrap_or(types::TEXT);
                let mut side = |side: Typed| match side.ty.family() {
                    Family::Array | Family::Unknown => self.coerce(side, &array),
                    _ => self.coerce(side, &element),
                };
                (side(left)?, side(right)?, array)
            }
            None => {
                let texts =
                    [&left, &right].iter().any(|side| matches!(side.ty.family(), Family::Text | Family::Unknown));
                if !texts {
                    return Err(undefined(&BinaryOperator::StringConcat, &left.ty.sql_name(), &right.ty.sql_name()));
                }
                (self.coerce(left, &types::TEXT)?, self.coerce(right, &types::TEXT)?, types::TEXT)
            }
        };
        Ok(operator(operations::concatenate, left, right, ty))
    }

    pub(super) fn arithmetic(&mut self, op: &BinaryOperator, left: Typed, right: Typed) -> Result<Typed> {
        let names = (left.ty.sql_name(), right.ty.sql_name());
        let families = (left.ty.family(), right.ty.family());
        let moment = |ty: &Type| matches!(ty.family(), Family::Moment);
        let operation: Operation = match op {
            BinaryOperator::Plus => operations::add,
            BinaryOperator::Minus => operations::subtract,
            BinaryOperator::Multiply => operations::multiply,
            BinaryOperator::Divide => operations::divide,
            BinaryOperator::Modulo => operations::modulo,
            BinaryOperator::BitwiseAnd => operations::bit_and,
            BinaryOperator::BitwiseOr => operations::bit_or,
            BinaryOperator::PGBitwiseShiftLeft => operations::shift_left,
            BinaryOperator::PGBitwiseShiftRight => operations::shift_right,
            other => return Err(undefined(other, &names.0, &names.1)),
        };
        let plus_or_minus = matches!(op, BinaryOperator::Plus | BinaryOperator::Minus);
        if plus_or_minus && moment(&left.ty) && moment(&right.ty) && *op == BinaryOperator::Minus {
            let ty = if left.ty == types::DATE && right.ty == types::DATE { types::INT4 } else { types::INTERVAL };
            let operation: Operation = if ty == types::INT4 { operations::days_between } else { operations::subtract };
            return Ok(operator(operation, left, right, ty));
        }
        if plus_or_minus && moment(&left.ty) && matches!(families.1, Family::Interval | Family::Unknown) {
            let ty = if left.ty == types::DATE { types::TIMESTAMP } else { left.ty.clone() };
            let right = self.coerce(right, &types::INTERVAL)?;
            return Ok(operator(operation, left, right, ty));
        }
        let numeric = |family| matches!(family, Family::Int | Family::Float | Family::Unknown);
        if !numeric(families.0) || !numeric(families.1) || families == (Family::Unknown, Family::Unknown) {
            return Err(undefined(op, &names.0, &names.1));
        }
        let Some((left, right)) = self.matched(left, right)? else { return Err(undefined(op, &names.0, &names.1)) };
        let ty = left.ty.clone();
        Ok(operator(operation, left, right, ty))
    }
}

fn operator(operation: Operation, left: Typed, right: Typed, ty: Type) -> Typed {
    Typed { expr: Expr::Operator { operation, left: Box::new(left.expr), right: Box::new(right.expr) }, ty }
}

fn undefined(op: &BinaryOperator, left: &str, right: &str) -> PlanError {
    let message = format!("operator does not exist: {left} {op} {right}");
    PlanError::new(PlanErrorKind::UndefinedFunction, message)
        .with_hint("No operator matches the given name and argument types. You might need to add explicit type casts.")
}

fn escape_of(escape: &ValueWithSpan) -> String {
    match &escape.value {
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => text.clone(),
        other => other.to_string(),
    }
}

fn comparison_of(op: &BinaryOperator) -> Option<Comparison> {
    Some(match op {
        BinaryOperator::Eq => Comparison::Equal,
        BinaryOperator::NotEq => Comparison::NotEqual,
        BinaryOperator::Lt => Comparison::Less,
        BinaryOperator::LtEq => Comparison::LessOrEqual,
        BinaryOperator::Gt => Comparison::Greater,
        BinaryOperator::GtEq => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn comparison_sign(comparison: Comparison) -> BinaryOperator {
    match comparison {
        Comparison::Equal => BinaryOperator::Eq,
        Comparison::NotEqual => BinaryOperator::NotEq,
        Comparison::Less => BinaryOperator::Lt,
        Comparison::LessOrEqual => BinaryOperator::LtEq,
        Comparison::Greater => BinaryOperator::Gt,
        Comparison::GreaterOrEqual => BinaryOperator::GtEq,
    }
}

/// `OPERATOR(pg_catalog.~)` is `~`.
fn plain(op: &BinaryOperator) -> BinaryOperator {
    let BinaryOperator::PGCustomBinaryOperator(parts) = op else { return op.clone() };
    match parts.last().map(String::as_str) {
        Some("~") => BinaryOperator::PGRegexMatch,
        Some("~*") => BinaryOperator::PGRegexIMatch,
        Some("!~") => BinaryOperator::PGRegexNotMatch,
        Some("!~*") => BinaryOperator::PGRegexNotIMatch,
        Some("~~") => BinaryOperator::PGLikeMatch,
        Some("~~*") => BinaryOperator::PGILikeMatch,
        Some("!~~") => BinaryOperator::PGNotLikeMatch,
        Some("!~~*") => BinaryOperator::PGNotILikeMatch,
        Some("=") => BinaryOperator::Eq,
        Some("<>" | "!=") => BinaryOperator::NotEq,
        Some("<") => BinaryOperator::Lt,
        Some("<=") => BinaryOperator::LtEq,
        Some(">") => BinaryOperator::Gt,
        Some(">=") => BinaryOperator::GtEq,
        Some("||") => BinaryOperator::StringConcat,
        Some("+") => BinaryOperator::Plus,
        Some("-") => BinaryOperator::Minus,
        Some("*") => BinaryOperator::Multiply,
        Some("/") => BinaryOperator::Divide,
        Some("%") => BinaryOperator::Modulo,
        Some("@>") => BinaryOperator::AtArrow,
        Some("<@") => BinaryOperator::ArrowAt,
        Some("&&") => BinaryOperator::PGOverlap,
        _ => op.clone(),
    }
}
