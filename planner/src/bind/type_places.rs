//! Where an error about values that have no type in common points: at the first value of the other type, as it was
//! written. The planner tells the types, not the values.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Query, SelectItem, SetExpr, Spanned, UnaryOperator, Value, Visit, Visitor};

use super::clause_places::arguments;
use super::diagnose::span_position;
use super::normalize::folded;
use crate::error::{PlanError, PlanErrorKind, TextPosition};
use crate::functions::sql_type;

/// The place of the value that does not match, where the error is of this kind.
pub(super) fn type_place(error: &PlanError, query: &Query) -> Option<TextPosition> {
    if error.kind != PlanErrorKind::DatatypeMismatch {
        return None;
    }
    let (place, types) = error.message.strip_suffix(" cannot be matched")?.split_once(" types ")?;
    let (_, other) = types.split_once(" and ")?;
    match Visit::visit(query, &mut Search { place, other }) {
        ControlFlow::Break(position) => Some(position),
        ControlFlow::Continue(()) => None,
    }
}

/// Looks for the construct with a value of the other type.
struct Search<'a> {
    place: &'a str,
    other: &'a str,
}

impl Visitor for Search<'_> {
    type Break = TextPosition;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<TextPosition> {
        self.body(&query.body).map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<TextPosition> {
        let values = match expr {
            Expr::Case { conditions, else_result, .. } if self.place == "CASE" => {
                // Postgres looks at ELSE first.
                let results = conditions.iter().map(|when| &when.result);
                else_result.iter().map(AsRef::as_ref).chain(results).collect()
            }
            Expr::Array(array) if self.place == "ARRAY" => array.elem.iter().collect(),
            Expr::Function(call) => {
                let name = call.name.0.last().and_then(|part| part.as_ident()).map(folded);
                match name.is_some_and(|name| name.eq_ignore_ascii_case(self.place)) {
                    true => arguments(call).collect(),
                    false => Vec::new(),
                }
            }
            _ => Vec::new(),
        };
        self.among(&values).map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }
}

impl Search<'_> {
    /// The values of the query behind UNION and its like.
    fn body(&self, body: &SetExpr) -> Option<TextPosition> {
        let SetExpr::SetOperation { op, left, right, .. } = body else { return None };
        if let Some(position) = self.body(left) {
            return Some(position);
        }
        let SetExpr::Select(select) = right.as_ref() else { return None };
        let values = select.projection.iter().filter_map(|item| match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
            _ => None,
        });
        let values: Vec<&Expr> = values.collect();
        (op.to_string() == self.place).then(|| self.among(&values)).flatten()
    }

    /// The first value that is of the other type as it was written, else the only one that does not say.
    fn among(&self, values: &[&Expr]) -> Option<TextPosition> {
        let written: Vec<Option<String>> = values.iter().map(|value| written_type(value)).collect();
        let found = written.iter().position(|written| written.as_deref() == Some(self.other)).or_else(|| {
            let mut silent = written.iter().enumerate().filter(|(_, written)| written.is_none());
            silent.next().filter(|_| silent.next().is_none()).map(|(index, _)| index)
        });
        span_position(values.get(found?)?.span())
    }
}

/// The type that a value says of itself.
fn written_type(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Nested(inner) | Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr: inner } => {
            written_type(inner)
        }
        Expr::Cast { data_type, .. } => crate::types::arrow_type(data_type).ok().map(|known| sql_type(&known)),
        Expr::TypedString(typed) => crate::types::arrow_type(&typed.data_type).ok().map(|known| sql_type(&known)),
        Expr::Value(value) => match &value.value {
            Value::Boolean(_) => Some("boolean".to_string()),
            Value::Number(digits, _) => {
                let name = match (digits.parse::<i32>(), digits.parse::<i64>()) {
                    (Ok(_), _) => "integer",
                    (_, Ok(_)) => "bigint",
                    _ => "numeric",
                };
                Some(name.to_string())
            }
            _ => None,
        },
        _ => None,
    }
}
