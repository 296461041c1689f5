//! What a statement that changes rows must be allowed on its target: as in Postgres, changing rows is one privilege
//! and learning what stands in them another.

use std::ops::ControlFlow;

use millstream_runtime::plan::RelationId;
use sqlparser::ast::{self, SelectItem, visit_expressions};

use crate::access::Privileges;
use crate::statement::Use;

/// The uses of a statement whose plan scans its own target. Where the user's text `reads` nothing of it, that scan
/// is the plan's own business.
pub(super) fn of_change(mut uses: Vec<Use>, target: RelationId, change: Privileges, reads: bool) -> Vec<Use> {
    uses.retain(|one| one.relation != target || one.through.is_some());
    let privileges = if reads { change.with(Privileges::SELECT) } else { change };
    uses.push(Use { relation: target, through: None, privileges });
    uses
}

/// Whether an expression names columns or asks a query.
pub(super) fn reads(expr: &ast::Expr) -> bool {
    let found = visit_expressions(expr, |expr| match expr {
        ast::Expr::Identifier(_)
        | ast::Expr::CompoundIdentifier(_)
        | ast::Expr::Subquery(_)
        | ast::Expr::InSubquery { .. }
        | ast::Expr::Exists { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// Whether RETURNING names columns.
pub(super) fn returning_reads(items: Option<&[SelectItem]>) -> bool {
    items.into_iter().flatten().any(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => reads(expr),
        _ => true,
    })
}
