//! Queries for one row by its key, which need no optimizer: what it could improve costs less than asking it.

use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, Volatility};

use crate::bind::RelationTable;
use crate::catalog::Resolved;
use crate::functions;

/// Whether a plan, its parameters put in, is `SELECT ... FROM relation WHERE key = constant` for every column of the
/// relation's key: whatever else it asks, it reads one row at most.
pub(super) fn is_key_look_up(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Projection(projection) = plan else { return false };
    let LogicalPlan::Filter(filter) = projection.input.as_ref() else { return false };
    let LogicalPlan::TableScan(scan) = filter.input.as_ref() else { return false };
    let Some(table) = scan.source.downcast_ref::<RelationTable>() else { return false };
    let Resolved::Relation(relation) = &table.resolved else { return false };
    let Some(key) = relation.key() else { return false };
    let conjuncts = split_conjunction(&filter.predicate);
    let is_given = |column: &usize| {
        let field = relation.schema.field(*column);
        conjuncts.iter().any(|condition| match condition {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match (left.as_ref(), right.as_ref()) {
                (Expr::Column(column), Expr::Literal(value, _)) | (Expr::Literal(value, _), Expr::Column(column)) => {
                    column.name == *field.name() && value.data_type() == *field.data_type()
                }
                _ => false,
            },
            _ => false,
        })
    };
    let plain = |expr: &Expr| {
        !expr.exists(|node| Ok(needs_the_optimizer(node) || functions::is_stand_in(node))).unwrap_or(true)
    };
    !key.is_empty() && key.iter().all(is_given) && plain(&filter.predicate) && projection.expr.iter().all(plain)
}

/// What only the optimizer's rules make runnable, or what they evaluate once per statement.
pub(super) fn needs_the_optimizer(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarSubquery(_)
        | Expr::Exists(_)
        | Expr::InSubquery(_)
        | Expr::SetComparison(_)
        | Expr::OuterReferenceColumn(..)
        | Expr::Placeholder(_) => true,
        Expr::ScalarFunction(call) => call.func.signature().volatility != Volatility::Immutable,
        _ => false,
    }
}
