//! Which parameters are `varchar`, which is text to a plan: a client is told the type that is written in a cast, and
//! that of the column that a parameter goes to.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Insert, SelectItem, SetExpr, Update, Visit, Visitor};

use super::normalize::parameter_number;
use crate::catalog::Relation;
use crate::values::{Kind, Shown};

/// Numbers of parameters, from 1, under a cast to `varchar` or its arrays.
pub(super) fn of_casts(statement: &impl Visit) -> Vec<usize> {
    struct Casts(Vec<usize>);
    impl Visitor for Casts {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Cast { expr, data_type, .. } = expr {
                let of_varchar = Shown::of_declared(data_type).kind == Some(Kind::Varchar);
                self.0.extend(parameter_number(expr).filter(|_| of_varchar));
            }
            ControlFlow::Continue(())
        }
    }
    let mut casts = Casts(Vec::new());
    // It never breaks off.
    let _: ControlFlow<()> = statement.visit(&mut casts);
    casts.0
}

/// The same of an INSERT, whose values go to these columns.
pub(super) fn of_insert(insert: &Insert, relation: &Relation, columns: &[usize]) -> Vec<usize> {
    let mut numbers = of_casts(insert);
    let mut take = |value: &Expr, column: &usize| numbers.extend(assigned(value, relation, *column));
    match insert.source.as_ref().map(|source| source.body.as_ref()) {
        Some(SetExpr::Values(values)) => {
            let cells = values.rows.iter().flat_map(|row| row.content.iter().zip(columns));
            cells.for_each(|(cell, column)| take(cell, column));
        }
        Some(SetExpr::Select(select)) => {
            for (item, column) in select.projection.iter().zip(columns) {
                let (SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }) = item else {
                    break;
                };
                take(value, column);
            }
        }
        _ => {}
    }
    numbers
}

/// The same of an UPDATE that sets these columns, in the order of its assignments.
pub(super) fn of_update(update: &Update, relation: &Relation, columns: &[usize]) -> Vec<usize> {
    let mut numbers = of_casts(update);
    let assignments = update.assignments.iter().zip(columns);
    numbers.extend(assignments.filter_map(|(assignment, column)| assigned(&assignment.value, relation, *column)));
    numbers
}

fn assigned(value: &Expr, relation: &Relation, column: usize) -> Option<usize> {
    parameter_number(value).filter(|_| relation.shown(column).kind == Some(Kind::Varchar))
}
