//! Expressions.

use std::sync::Arc;

use millstream_planner::error::{PlanError, PlanErrorKind, Result};
use sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, Expr as Ast, Ident, Query, Subscript, UnaryOperator, Value, ValueWithSpan,
};

use super::super::datum::Datum;
use super::super::plan::{Comparison, Expr, SubqueryUse, Typed};
use super::super::text::record_fields;
use super::super::types::{self, Family, Type};
use super::{Binder, folded, unsupported};

impl Binder<'_> {
    pub(super) fn expression(&mut self, ast: &Ast) -> Result<Typed> {
        match ast {
            Ast::Identifier(ident) => self.identifier(ident),
            Ast::CompoundIdentifier(parts) => self.compound(parts),
            Ast::Value(value) => self.literal(value),
            Ast::Nested(inner) => self.expression(inner),
            // Texts are ordered by their bytes whatever the collation.
            Ast::Collate { expr, .. } => self.expression(expr),
            Ast::BinaryOp { left, op, right } => self.binary(left, op, right),
            Ast::UnaryOp { op, expr } => self.unary(*op, expr),
            Ast::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr, data_type, .. } => {
                let to = self.type_named(data_type)?;
                let inner = self.cast_operand(expr, &to)?;
                self.cast(inner, &to).map_err(|error| self.at(error, super::expression_span(expr)))
            }
            Ast::TypedString(typed) => {
                let to = self.type_named(&typed.data_type)?;
                let inner = self.literal(&typed.value)?;
                self.cast(inner, &to)
            }
            Ast::Interval(interval) => {
                let inner = self.expression(&interval.value)?;
                let unit = interval.leading_field.as_ref().map(|unit| format!(" {unit}").to_lowercase());
                let inner = match (inner.expr, unit) {
                    (Expr::Const(Datum::Text(text)), Some(unit)) => Expr::Const(format!("{text}{unit}").into()),
                    (expr, _) => expr,
                };
                self.cast(Typed { expr: inner, ty: Type::Unknown }, &types::INTERVAL)
            }
            Ast::IsNull(inner) => self.is_null(inner, false),
            Ast::IsNotNull(inner) => self.is_null(inner, true),
            Ast::IsTrue(inner) => self.is_bool(inner, true, false),
            Ast::IsNotTrue(inner) => self.is_bool(inner, true, true),
            Ast::IsFalse(inner) => self.is_bool(inner, false, false),
            Ast::IsNotFalse(inner) => self.is_bool(inner, false, true),
            Ast::IsUnknown(inner) => self.is_null(inner, false),
            Ast::IsNotUnknown(inner) => self.is_null(inner, true),
            Ast::IsDistinctFrom(left, right) => self.distinct(left, right, false),
            Ast::IsNotDistinctFrom(left, right) => self.distinct(left, right, true),
            Ast::InList { expr, list, negated } => self.in_list(expr, list, *negated),
            Ast::InSubquery { expr, subquery, negated } => {
                let found = self.quantified(expr, Comparison::Equal, subquery, false)?;
                Ok(if *negated { negation(found) } else { found })
            }
            Ast::Between { expr, negated, low, high } => {
                let low = self.compared(Comparison::GreaterOrEqual, expr, low)?;
                let high = self.compared(Comparison::LessOrEqual, expr, high)?;
                let both = Typed { expr: Expr::And(Box::new(low.expr), Box::new(high.expr)), ty: types::BOOL };
                Ok(if *negated { negation(both) } else { both })
            }
            Ast::Like { .. } | Ast::ILike { .. } | Ast::SimilarTo { .. } => self.pattern(ast),
            Ast::AnyOp { left, compare_op, right, .. } => self.any(left, compare_op, right, false),
            Ast::AllOp { left, compare_op, right } => self.any(left, compare_op, right, true),
            Ast::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())
            }
            Ast::Exists { subquery, negated } => {
                let plan = Arc::new(self.query(subquery)?);
                let found = Typed { expr: Expr::Subquery { plan, used: SubqueryUse::Exists }, ty: types::BOOL };
                Ok(if *negated { negation(found) } else { found })
            }
            Ast::Subquery(query) => self.scalar_subquery(query),
            Ast::Function(function) => self.call(function),
            Ast::Array(array) => self.array(&array.elem),
            Ast::Tuple(values) => self.record(values),
            Ast::CompoundFieldAccess { root, access_chain } => self.access(root, access_chain),
            Ast::Extract { field, expr, .. } => {
                let unit = Typed { expr: Expr::Const(field.to_string().to_lowercase().into()), ty: types::TEXT };
                let of = self.expression(expr)?;
                self.called("date_part", vec![unit, of])
            }
            Ast::Position { expr, r#in } => {
                let arguments = vec![self.expression(r#in)?, self.expression(expr)?];
                self.called("position", arguments)
            }
            Ast::Substring { expr, substring_from, substring_for, .. } => {
                let mut arguments = vec![self.expression(expr)?];
                match (substring_from, substring_for) {
                    (Some(from), length) => {
                        arguments.push(self.expression(from)?);
                        arguments.extend(length.as_ref().map(|length| self.expression(length)).transpose()?);
                    }
                    (None, length) => {
                        arguments.push(Typed { expr: Expr::Const(Datum::Int(1)), ty: types::INT4 });
                        arguments.extend(length.as_ref().map(|length| self.expression(length)).transpose()?);
                    }
                }
                self.called("substring", arguments)
            }
            Ast::Trim { expr, trim_where, trim_what, trim_characters } => {
                use sqlparser::ast::TrimWhereField as Where;
                let name = match trim_where {
                    Some(Where::Leading) => "ltrim",
                    Some(Where::Trailing) => "rtrim",
                    Some(Where::Both) | None => "btrim",
                };
                let mut arguments = vec![self.expression(expr)?];
                let what = trim_what.as_deref().or_else(|| trim_characters.as_ref().and_then(|list| list.first()));
                arguments.extend(what.map(|what| self.expression(what)).transpose()?);
                self.called(name, arguments)
            }
            Ast::Ceil { expr, .. } => {
                let argument = self.expression(expr)?;
                self.called("ceil", vec![argument])
            }
            Ast::Floor { expr, .. } => {
                let argument = self.expression(expr)?;
                self.called("floor", vec![argument])
            }
            Ast::AtTimeZone { timestamp, time_zone } => {
                let arguments = vec![self.expression(time_zone)?, self.expression(timestamp)?];
                self.called("timezone", arguments)
            }
            other => Err(unsupported(&format!("the expression {other}"))),
        }
    }

    /// What is cast: `ARRAY[]` alone has no type of its own.
    fn cast_operand(&mut self, ast: &Ast, to: &Type) -> Result<Typed> {
        match ast {
            Ast::Array(array) if array.elem.is_empty() => Ok(Typed { expr: Expr::Array(Vec::new()), ty: to.clone() }),
            ast => self.expression(ast),
        }
    }

    /// A column by its name alone, or a keyword that is a function.
    pub(super) fn identifier(&mut self, ident: &Ident) -> Result<Typed> {
        let name = folded(ident);
        if let Some(found) = self.column(None, &name, ident)? {
            return Ok(found);
        }
        if ident.quote_style.is_none() {
            match name.as_str() {
                "current_user" | "user" | "current_role" => return self.called("current_user", Vec::new()),
                "session_user" => return self.called("session_user", Vec::new()),
                "current_catalog" => return self.called("current_database", Vec::new()),
                "current_schema" => return self.called("current_schema", Vec::new()),
                "current_timestamp" => return self.called("now", Vec::new()),
                "current_date" => {
                    let now = self.called("now", Vec::new())?;
                    return self.cast(now, &types::DATE);
                }
                "localtimestamp" => {
                    let now = self.called("now", Vec::new())?;
                    return self.cast(now, &types::TIMESTAMP);
                }
                _ => {}
            }
        }
        let error = PlanError::new(PlanErrorKind::UndefinedColumn, format!("column \"{name}\" does not exist"));
        Err(self.at(error, ident.span))
    }

    fn compound(&mut self, idents: &[Ident]) -> Result<Typed> {
        let parts: Vec<String> = idents.iter().map(folded).collect();
        let last = idents.last().expect("a compound name has parts");
        let (relation, name) = match parts.as_slice() {
            [relation, name] => ((None, relation.as_str()), name),
            [.., schema, relation, name] => ((Some(schema.as_str()), relation.as_str()), name),
            _ => return Err(PlanError::new(PlanErrorKind::SyntaxError, "improper qualified name")),
        };
        if let Some(found) = self.column(Some(relation), name, last)? {
            return Ok(found);
        }
        let known = self
            .scopes
            .iter()
            .any(|scope| scope.visible && scope.factors.iter().any(|factor| names_relation(factor, relation)));
        let error = if known {
            let message = format!("column {}.{name} does not exist", relation.1);
            PlanError::new(PlanErrorKind::UndefinedColumn, message)
        } else {
            let message = format!("missing FROM-clause entry for table \"{}\"", relation.1);
            PlanError::new(PlanErrorKind::UndefinedTable, message)
        };
        Err(self.at(error, idents[0].span))
    }

    /// A column, a relation's whole row, or one of the columns that every table has.
    fn column(&mut self, relation: Option<(Option<&str>, &str)>, name: &str, ident: &Ident) -> Result<Option<Typed>> {
        for scope_at in (0..self.scopes.len()).rev() {
            let scope = &self.scopes[scope_at];
            if !scope.visible {
                continue;
            }
            let level = self.scopes.len() - 1 - scope_at;
            let mut found = Vec::new();
            let mut tables = Vec::new();
            for (at, factor) in scope.factors.iter().enumerate() {
                if relation.is_some_and(|relation| !names_relation(factor, relation)) {
                    continue;
                }
                tables.push(at);
                for (index, (known, ty)) in factor.columns.iter().enumerate() {
                    if known == name && (relation.is_some() || !factor.hidden[index]) {
                        found.push((at, Expr::Column { level, factor: at, index }, ty.clone()));
                    }
                }
            }
            if found.len() > 1 {
                let message = format!("column reference \"{name}\" is ambiguous");
                return Err(self.at(PlanError::new(PlanErrorKind::AmbiguousColumn, message), ident.span));
            }
            let whole = || {
                let at = scope.factors.iter().position(|factor| relation.is_none() && factor.alias == name)?;
                Some((at, whole_row(&scope.factors[at], level, at)))
            };
            let system = || {
                let [at] = tables.as_slice() else { return None };
                relation?;
                Some((*at, system_column(name, scope.factors[*at].oid?)?))
            };
            let found = found.pop().map(|(at, expr, ty)| (at, Typed { expr, ty })).or_else(whole).or_else(system);
            if let Some((at, typed)) = found {
                self.scopes[scope_at].touched |= 1 << at;
                self.touch(scope_at);
                return Ok(Some(typed));
            }
        }
        Ok(None)
    }

    fn literal(&mut self, value: &ValueWithSpan) -> Result<Typed> {
        let unknown = |datum: Datum| Ok(Typed { expr: Expr::Const(datum), ty: Type::Unknown });
        match &value.value {
            Value::Null => unknown(Datum::Null),
            Value::Boolean(value) => Ok(Typed { expr: Expr::Const(Datum::Bool(*value)), ty: types::BOOL }),
            Value::Number(text, _) => Ok(number_literal(text)),
            Value::Placeholder(name) => {
                let number = name.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
                let index = number.and_then(|number| number.checked_sub(1)).ok_or_else(|| {
                    PlanError::new(PlanErrorKind::SyntaxError, format!("syntax error at or near \"{name}\""))
                })?;
                if index >= usize::from(u16::MAX) {
                    return Err(PlanError::new(PlanErrorKind::ProgramLimitExceeded, "too many parameters"));
                }
                if self.parameters.len() <= index {
                    self.parameters.resize(index + 1, None);
                }
                let ty = self.parameters[index].clone().filter(|ty| *ty != types::TEXT).unwrap_or(Type::Unknown);
                Ok(Typed { expr: Expr::Parameter(index), ty })
            }
            other => match other.clone().into_string() {
                Some(text) => unknown(Datum::text(text)),
                None => Err(unsupported(&format!("the literal {other}"))),
            },
        }
    }

    fn is_null(&mut self, inner: &Ast, negated: bool) -> Result<Typed> {
        let inner = Box::new(self.expression(inner)?.expr);
        Ok(Typed { expr: Expr::IsNull { inner, negated }, ty: types::BOOL })
    }

    fn is_bool(&mut self, inner: &Ast, wanted: bool, negated: bool) -> Result<Typed> {
        let inner = Box::new(self.condition(inner)?);
        Ok(Typed { expr: Expr::IsBool { inner, wanted, negated }, ty: types::BOOL })
    }

    fn unary(&mut self, op: UnaryOperator, inner: &Ast) -> Result<Typed> {
        match op {
            UnaryOperator::Not => {
                let inner = self.condition(inner)?;
                Ok(Typed { expr: Expr::Not(Box::new(inner)), ty: types::BOOL })
            }
            UnaryOperator::Plus => self.expression(inner),
            UnaryOperator::Minus => {
                let inner = self.expression(inner)?;
                match inner.expr {
                    Expr::Const(Datum::Int(value)) => Ok(Typed { expr: Expr::Const(Datum::Int(-value)), ..inner }),
                    Expr::Const(Datum::Float(value)) => Ok(Typed { expr: Expr::Const(Datum::Float(-value)), ..inner }),
                    expr => {
                        let zero = Typed { expr: Expr::Const(Datum::Int(0)), ty: types::INT4 };
                        self.arithmetic(&BinaryOperator::Minus, zero, Typed { expr, ty: inner.ty })
                    }
                }
            }
            other => Err(unsupported(&format!("the operator {other}"))),
        }
    }

    fn scalar_subquery(&mut self, query: &Query) -> Result<Typed> {
        let plan = self.query(query)?;
        let plan = self.settled(plan);
        let [(_, ty)] = plan.columns.as_slice() else {
            return Err(PlanError::new(PlanErrorKind::SyntaxError, "subquery must return only one column"));
        };
        let ty = ty.clone();
        Ok(Typed { expr: Expr::Subquery { plan: Arc::new(plan), used: SubqueryUse::Scalar }, ty })
    }

    /// `ARRAY(SELECT ...)`
    pub(super) fn array_subquery(&mut self, query: &Query) -> Result<Typed> {
        let plan = self.query(query)?;
        let plan = self.settled(plan);
        let [(_, ty)] = plan.columns.as_slice() else {
            return Err(PlanError::new(PlanErrorKind::SyntaxError, "subquery must return only one column"));
        };
        let ty = ty.array_of().unwrap_or(Type::Array(25));
        Ok(Typed { expr: Expr::Subquery { plan: Arc::new(plan), used: SubqueryUse::Array }, ty })
    }

    fn array(&mut self, elements: &[Ast]) -> Result<Typed> {
        let bound = elements.iter().map(|element| self.expression(element)).collect::<Result<Vec<_>>>()?;
        let (values, ty) = self.alike(bound, "ARRAY")?;
        let ty = ty.array_of().unwrap_or(Type::Array(25));
        Ok(Typed { expr: Expr::Array(values), ty })
    }

    pub(super) fn record(&mut self, values: &[Ast]) -> Result<Typed> {
        let bound = values.iter().map(|value| self.expression(value)).collect::<Result<Vec<_>>>()?;
        let mut fields = Vec::new();
        let mut exprs = Vec::new();
        for (index, value) in bound.into_iter().enumerate() {
            let ty = if value.ty == Type::Unknown { types::TEXT } else { value.ty.clone() };
            let value = self.coerce(value, &ty)?;
            fields.push((format!("f{}", index + 1), ty));
            exprs.push(value.expr);
        }
        Ok(Typed { expr: Expr::Record(exprs), ty: Type::Record(fields.into()) })
    }

    /// Values in the one type that they have in common.
    pub(super) fn alike(&mut self, values: Vec<Typed>, what: &str) -> Result<(Vec<Expr>, Type)> {
        let mut ty = Type::Unknown;
        for value in values.iter().filter(|value| value.ty != Type::Unknown) {
            ty = types::common(&ty, &value.ty).ok_or_else(|| {
                let message = format!("{what} types {} and {} cannot be matched", ty.sql_name(), value.ty.sql_name());
                PlanError::new(PlanErrorKind::DatatypeMismatch, message)
            })?;
        }
        let ty = if ty == Type::Unknown { types::TEXT } else { ty };
        let values = values.into_iter().map(|value| Ok(self.coerce(value, &ty)?.expr)).collect::<Result<_>>()?;
        Ok((values, ty))
    }

    fn case(
        &mut self,
        operand: Option<&Ast>,
        whens: &[sqlparser::ast::CaseWhen],
        otherwise: Option<&Ast>,
    ) -> Result<Typed> {
        let mut conditions = Vec::new();
        let mut results = Vec::new();
        for when in whens {
            conditions.push(match operand {
                Some(operand) => self.compared(Comparison::Equal, operand, &when.condition)?.expr,
                None => self.condition(&when.condition)?,
            });
            results.push(self.expression(&when.result)?);
        }
        results.push(match otherwise {
            Some(otherwise) => self.expression(otherwise)?,
            None => Typed { expr: Expr::Const(Datum::Null), ty: Type::Unknown },
        });
        let (mut results, ty) = self.alike(results, "CASE")?;
        let otherwise = Box::new(results.pop().unwrap_or(Expr::Const(Datum::Null)));
        let conditions = conditions.into_iter().zip(results).collect();
        Ok(Typed { expr: Expr::Case { conditions, otherwise }, ty })
    }

    /// `(record).field`, `array[1]`, `array[1:2]`
    fn access(&mut self, root: &Ast, chain: &[AccessExpr]) -> Result<Typed> {
        // A qualified name with a subscript comes as a chain of names.
        let mut idents: Vec<Ident> = match root {
            Ast::Identifier(ident) => vec![ident.clone()],
            Ast::CompoundIdentifier(idents) => idents.clone(),
            _ => Vec::new(),
        };
        let mut rest = chain;
        if !idents.is_empty() {
            while let Some((AccessExpr::Dot(Ast::Identifier(ident)), after)) = rest.split_first() {
                idents.push(ident.clone());
                rest = after;
            }
        }
        let mut value = match idents.as_slice() {
            [] => self.expression(root)?,
            [one] => self.identifier(one)?,
            several => self.compound(several)?,
        };
        for access in rest {
            value = match access {
                AccessExpr::Dot(Ast::Identifier(field)) => self.field(value, field)?,
                AccessExpr::Dot(other) => return Err(unsupported(&format!("the field {other}"))),
                AccessExpr::Subscript(subscript) => self.subscript(value, subscript)?,
            };
        }
        Ok(value)
    }

    fn field(&mut self, value: Typed, field: &Ident) -> Result<Typed> {
        let name = folded(field);
        let found = record_fields(&value.ty).iter().position(|(known, _)| *known == name);
        let Some(index) = found else {
            let message = match value.ty.family() {
                Family::Record => format!("could not identify column \"{name}\" in record data type"),
                _ => format!(
                    "column notation .{name} applied to type {}, which is not a composite type",
                    value.ty.sql_name()
                ),
            };
            return Err(self.at(PlanError::new(PlanErrorKind::UndefinedColumn, message), field.span));
        };
        let ty = record_fields(&value.ty)[index].1.clone();
        Ok(Typed { expr: Expr::Field { inner: Box::new(value.expr), index }, ty })
    }

    fn subscript(&mut self, value: Typed, subscript: &Subscript) -> Result<Typed> {
        let Some(element) = value.ty.element() else {
            let message =
                format!("cannot subscript type {} because it does not support subscripting", value.ty.sql_name());
            return Err(PlanError::new(PlanErrorKind::DatatypeMismatch, message));
        };
        let first = value.ty.first_subscript();
        let inner = Box::new(value.expr);
        let mut bound = |ast: &Ast| {
            let typed = self.expression(ast)?;
            Ok::<_, PlanError>(Box::new(self.coerce(typed, &types::INT4)?.expr))
        };
        match subscript {
            Subscript::Index { index } => {
                let index = bound(index)?;
                Ok(Typed { expr: Expr::Subscript { inner, index, first }, ty: element })
            }
            Subscript::Slice { lower_bound, upper_bound, .. } => {
                let from = lower_bound.as_ref().map(&mut bound).transpose()?;
                let to = upper_bound.as_ref().map(&mut bound).transpose()?;
                let ty = element.array_of().unwrap_or(value.ty);
                Ok(Typed { expr: Expr::Slice { inner, from, to, first }, ty })
            }
        }
    }
}

pub(super) fn negation(typed: Typed) -> Typed {
    Typed { expr: Expr::Not(Box::new(typed.expr)), ty: types::BOOL }
}

fn number_literal(text: &str) -> Typed {
    match text.parse::<i64>() {
        Ok(value) => {
            let ty = if i32::try_from(value).is_ok() { types::INT4 } else { types::INT8 };
            Typed { expr: Expr::Const(Datum::Int(value)), ty }
        }
        Err(_) => Typed { expr: Expr::Const(Datum::Float(text.parse().unwrap_or(f64::NAN))), ty: types::NUMERIC },
    }
}

fn names_relation(factor: &super::Named, (schema, relation): (Option<&str>, &str)) -> bool {
    factor.alias == relation && (schema.is_none() || factor.schema.as_deref() == schema)
}

fn whole_row(factor: &super::Named, level: usize, at: usize) -> Typed {
    if factor.is_value {
        return Typed { expr: Expr::Column { level, factor: at, index: 0 }, ty: factor.columns[0].1.clone() };
    }
    let expr = Expr::Whole { level, factor: at };
    Typed { expr, ty: Type::Record(factor.columns.clone().into()) }
}

/// The columns that every table has without declaring them.
fn system_column(name: &str, relation: u32) -> Option<Typed> {
    let (datum, ty) = match name {
        "tableoid" => (Datum::Int(i64::from(relation)), types::OID),
        "xmin" | "xmax" => (Datum::Int(0), types::XID),
        "ctid" => (Datum::text("(0,0)"), types::TID),
        _ => return None,
    };
    Some(Typed { expr: Expr::Const(datum), ty })
}

/// The name that a column has without an alias.
pub(super) fn output_name(ast: &Ast) -> String {
    name_within(ast).map_or_else(|| "?column?".to_owned(), |(name, _)| name)
}

/// A name and whether it is stronger than that of a type to which it is cast.
fn name_within(ast: &Ast) -> Option<(String, bool)> {
    use sqlparser::ast::TrimWhereField as Where;
    let strong = |name: &str| Some((name.to_owned(), true));
    match ast {
        Ast::Identifier(ident) => match folded(ident).as_str() {
            "user" => strong("current_user"),
            name => strong(name),
        },
        Ast::CompoundIdentifier(idents) => strong(&folded(idents.last()?)),
        Ast::Function(function) => strong(&super::parts(&function.name).pop()?),
        Ast::Cast { expr, data_type, .. } => match name_within(expr) {
            Some((name, true)) => Some((name, true)),
            weak => type_name(data_type).map(|name| (name, false)).or(weak),
        },
        Ast::TypedString(typed) => type_name(&typed.data_type).map(|name| (name, false)),
        Ast::Case { else_result, .. } => match else_result.as_deref().and_then(name_within) {
            Some((name, true)) => Some((name, true)),
            _ => Some(("case".to_owned(), false)),
        },
        Ast::Nested(inner) | Ast::Collate { expr: inner, .. } => name_within(inner),
        Ast::CompoundFieldAccess { root, access_chain } => {
            let field = access_chain.iter().rev().find_map(|access| match access {
                AccessExpr::Dot(Ast::Identifier(ident)) => Some((folded(ident), true)),
                _ => None,
            });
            field.or_else(|| name_within(root))
        }
        Ast::Subquery(query) => match query.body.as_ref() {
            sqlparser::ast::SetExpr::Select(select) => match select.projection.first()? {
                sqlparser::ast::SelectItem::UnnamedExpr(expr) => name_within(expr),
                sqlparser::ast::SelectItem::ExprWithAlias { alias, .. } => strong(&folded(alias)),
                _ => None,
            },
            _ => None,
        },
        Ast::Exists { .. } => strong("exists"),
        Ast::Array(_) => strong("array"),
        Ast::Tuple(_) => strong("row"),
        Ast::Extract { .. } => strong("extract"),
        Ast::Position { .. } => strong("position"),
        Ast::Substring { .. } => strong("substring"),
        Ast::Ceil { .. } => strong("ceil"),
        Ast::Floor { .. } => strong("floor"),
        Ast::Trim { trim_where: Some(Where::Leading), .. } => strong("ltrim"),
        Ast::Trim { trim_where: Some(Where::Trailing), .. } => strong("rtrim"),
        Ast::Trim { .. } => strong("btrim"),
        _ => None,
    }
}

/// A type's name within the catalog.
fn type_name(data_type: &sqlparser::ast::DataType) -> Option<String> {
    use sqlparser::ast::{ArrayElemTypeDef, DataType};
    if let DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) = data_type {
        return type_name(element);
    }
    let written = data_type.to_string().to_ascii_lowercase();
    let ty = Type::named(written.split('(').next()?.trim().trim_matches('"'))?;
    types::of_oid(ty.oid()).map(|(row, _)| row.name.to_owned())
}
