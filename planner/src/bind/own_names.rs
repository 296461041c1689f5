//! The expressions in which a name means a column of this query: all of a node but those of the queries within it.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Query, VisitMut, VisitorMut};

/// Calls a function for each of them, inner ones first.
pub(super) fn each_expression(node: &mut impl VisitMut, change: impl FnMut(&mut Expr)) {
    let _: ControlFlow<()> = node.visit(&mut Outside { change, depth: 0 });
}

struct Outside<F> {
    change: F,
    /// Queries around the current place.
    depth: usize,
}

impl<F: FnMut(&mut Expr)> VisitorMut for Outside<F> {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0 {
            (self.change)(expr);
        }
        ControlFlow::Continue(())
    }
}
