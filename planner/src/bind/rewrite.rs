//! Rewriting the expressions of a whole plan, subqueries included.

use std::cell::OnceCell;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// The node in which an expression stands.
pub(crate) struct Scope<'a> {
    /// The node as it was before its expressions were rewritten.
    pub(crate) node: &'a LogicalPlan,
    schema: OnceCell<DFSchema>,
}

impl<'a> Scope<'a> {
    pub(super) fn of(node: &'a LogicalPlan) -> Self {
        Self { node, schema: OnceCell::new() }
    }

    /// The columns that the node's expressions see. Made when it is first asked for: most nodes never are.
    pub(crate) fn schema(&self) -> &DFSchema {
        self.schema.get_or_init(|| match self.node.inputs().as_slice() {
            [] => self.node.schema().as_ref().clone(),
            inputs => merge_schema(inputs),
        })
    }
}

/// Rewrites every expression of a plan bottom-up, subqueries included; output names stay as they are. The
/// counts of LIMIT are left alone: DataFusion wants them as they are.
pub(crate) fn rewrite_expressions(
    plan: LogicalPlan,
    rewrite: &dyn Fn(Expr, &Scope<'_>) -> Result<Transformed<Expr>>,
) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| rewrite_node(node, rewrite))?;
    Ok(rewritten.data)
}

/// The same for the expressions of one node.
pub(super) fn rewrite_node(
    node: LogicalPlan,
    rewrite: &dyn Fn(Expr, &Scope<'_>) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    if matches!(node, LogicalPlan::Limit(_)) {
        return Ok(Transformed::no(node));
    }
    let names = NamePreserver::new(&node);
    let original = node.clone();
    let scope = Scope::of(&original);
    let changed = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let changed = expr.transform_up(|expr| rewrite(expr, &scope))?;
        Ok(changed.update_data(|expr| name.restore(expr)))
    })?;
    changed.map_data(LogicalPlan::recompute_schema)
}
