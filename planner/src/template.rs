//! A query that was sent as text, planned once for all texts that differ from it in some values only.
//!
//! Literals that a condition of WHERE compares with a column become parameters in the parsed tree: their place says all
//! that there is to know of them. Every other literal stays what it is, and a text that differs in one has another
//! template. That the template is the query is not believed but held: with the values of the text that it was made of
//! it must be the plan of that text, constants folded, or there is none.

use std::ops::ControlFlow;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use sqlparser::ast::{self as sql, BinaryOperator, Expr, UnaryOperator, Value, VisitMut, VisitorMut};

use crate::batch::with_values;
use crate::bind::Binder;
use crate::catalog::Catalog;
use crate::parse::{LiteralKind, LiteralsOut, TextLiteral, ast, parse_statement};
use crate::settings::PlanSettings;
use crate::statement::{Query, StatementText};
use crate::types::UUID;
use crate::values::{TextStyle, input};

/// A query over values that are no part of it.
#[derive(Clone, Debug)]
pub struct Template {
    /// The query; its parameters are the values.
    pub query: Query,
    values: Values,
}

/// The values of a template, by the literals of its texts.
#[derive(Clone, Debug)]
pub struct Values {
    /// For each parameter the literal and its type.
    slots: Vec<(usize, DataType)>,
    style: TextStyle,
}

impl Values {
    /// The literals of a text that are no values: they must be the same.
    pub fn fixed<'a>(&self, literals: &'a [TextLiteral]) -> Vec<&'a str> {
        let is_value = |index: &usize| self.slots.iter().any(|(slot, _)| slot == index);
        let fixed = literals.iter().enumerate().filter(|(index, _)| !is_value(index));
        fixed.map(|(_, literal)| literal.text.as_str()).collect()
    }

    /// The values of a text; `None` where one can't be read, which planning the text tells of.
    pub fn of(&self, literals: &[TextLiteral]) -> Option<Vec<ScalarValue>> {
        let values = self.slots.iter().map(|(slot, data_type)| {
            let literal = literals.get(*slot)?;
            input::read(&literal.text, data_type, self.style).ok()
        });
        values.collect()
    }
}

impl Template {
    /// The template of a text that was planned as `query`, if it has one.
    pub fn of(
        text: &StatementText,
        out: &LiteralsOut,
        query: &Query,
        catalog: &Catalog,
        settings: &PlanSettings,
    ) -> Option<Self> {
        let ast::Statement::Query(mut parsed) = parse_statement(text).ok()? else { return None };
        let mut marker = Marker { literals: &out.literals, slots: Vec::new() };
        let ControlFlow::Continue(()) = VisitMut::visit(parsed.as_mut(), &mut marker);
        let types: Vec<Option<DataType>> =
            marker.slots.iter().map(|slot| given_type(out.literals[*slot].kind)).collect();
        let binder = Binder::new(catalog, settings);
        let planned = binder.query(&parsed, &types).ok()?;
        let types = planned.parameters.iter().cloned().collect::<Option<Vec<_>>>()?;
        if types.len() != marker.slots.len() || !types.iter().all(has_one_type) {
            return None;
        }
        let values = Values { slots: marker.slots.into_iter().zip(types).collect(), style: binder.style().ok()? };
        let is_same = {
            let with_these = with_values(&planned.plan, values.of(&out.literals)?).ok()?;
            with_these == with_values(&query.plan, Vec::new()).ok()?
                && planned.schema == query.schema
                && planned.uses == query.uses
                && planned.look_up.is_some()
        };
        is_same.then_some(Self { query: planned, values })
    }

    /// Which values it has.
    pub fn values(&self) -> &Values {
        &self.values
    }
}

fn given_type(kind: LiteralKind) -> Option<DataType> {
    match kind {
        LiteralKind::Integer => Some(DataType::Int32),
        LiteralKind::BigInteger => Some(DataType::Int64),
        LiteralKind::Text => None,
    }
}

/// Whether all values of a type have it: a numeric's digits are a part of it.
fn has_one_type(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Utf8
            | DataType::Date32
            | DataType::Timestamp(TimeUnit::Microsecond, _)
    ) || *data_type == UUID
}

/// Puts parameters in the places of literals.
struct Marker<'a> {
    literals: &'a [TextLiteral],
    /// The literal of each parameter.
    slots: Vec<usize>,
}

impl VisitorMut for Marker<'_> {
    type Break = std::convert::Infallible;

    fn pre_visit_select(&mut self, select: &mut sql::Select) -> ControlFlow<Self::Break> {
        if let Some(condition) = &mut select.selection {
            self.condition(condition);
        }
        ControlFlow::Continue(())
    }
}

impl Marker<'_> {
    fn condition(&mut self, condition: &mut Expr) {
        let is_column = |expr: &Expr| matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
        match condition {
            Expr::Nested(inner) => self.condition(inner),
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                self.condition(left);
                self.condition(right);
            }
            Expr::BinaryOp {
                left,
                op:
                    BinaryOperator::Eq
                    | BinaryOperator::Lt
                    | BinaryOperator::LtEq
                    | BinaryOperator::Gt
                    | BinaryOperator::GtEq,
                right,
            } => match (is_column(left), is_column(right)) {
                (true, false) => self.literal(right),
                (false, true) => self.literal(left),
                _ => {}
            },
            Expr::Between { expr, low, high, .. } if is_column(expr) => {
                self.literal(low);
                self.literal(high);
            }
            Expr::InList { expr, list, .. } if is_column(expr) => list.iter_mut().for_each(|value| self.literal(value)),
            _ => {}
        }
    }

    /// A literal, or one with a minus, that is one of those of the text.
    fn literal(&mut self, expr: &mut Expr) {
        if let Expr::UnaryOp { op: UnaryOperator::Minus, expr } = expr {
            return self.literal(expr);
        }
        let Expr::Value(value) = expr else { return };
        let (text, is_text) = match &value.value {
            Value::Number(digits, false) => (digits, false),
            Value::SingleQuotedString(text) => (text, true),
            _ => return,
        };
        let place = (value.span.start.line, value.span.start.column);
        let slot = self.literals.iter().position(|literal| {
            literal.place == place && literal.text == *text && (literal.kind == LiteralKind::Text) == is_text
        });
        let Some(slot) = slot.filter(|slot| !self.slots.contains(slot)) else { return };
        self.slots.push(slot);
        value.value = Value::Placeholder(format!("${}", self.slots.len()));
    }
}
