//! RETURNING: expressions over the rows that a statement changes, and a plan over them where they ask subqueries. A
//! subquery sees what was there before the statement.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, LogicalPlan};
use sqlparser::ast::{Ident, ObjectName, ObjectNamePart, SelectItem, TableWithJoins};

use super::Binder;
use super::diagnose::plan_error;
use super::dml::{Parameters, Target, select, table_factor};
use super::mistakes::without_calls;
use super::relation::RelationTable;
use crate::error::{PlanError, Result};
use crate::statement::{NEW_RELATION, Read, Use};
use crate::subqueries::has_subquery;

/// What RETURNING gives; nothing of it where there is none.
#[derive(Default)]
pub(super) struct Returning {
    /// Over the table's columns, named as the client sees them.
    pub(super) expressions: Option<Vec<Expr>>,
    /// The same over a scan of [`NEW_RELATION`], where expressions alone do not do.
    pub(super) rows: Option<LogicalPlan>,
    /// What its subqueries name.
    pub(super) uses: Vec<Use>,
}

impl Binder<'_> {
    pub(super) fn returning(
        &self,
        target: &Target,
        items: Option<&[SelectItem]>,
        parameters: &mut Parameters,
    ) -> Result<Returning> {
        let Some(items) = items else { return Ok(Returning::default()) };
        for item in items {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                without_calls(expr, "RETURNING")?;
            }
        }
        let name = &target.relation.name;
        let parts = [&name.schema, &name.name].map(|part| ObjectNamePart::Identifier(Ident::with_quote('"', part)));
        let from = table_factor(ObjectName(parts.to_vec()), target.name.clone());
        let query = select(items.to_vec(), vec![TableWithJoins { relation: from, joins: Vec::new() }], None);
        let bound = self.bind_query(&query, parameters)?;
        *parameters = bound.parameters.into_iter().map(Some).collect();
        let only_rows = || PlanError::unsupported("RETURNING takes expressions over the row and subqueries only");
        let LogicalPlan::Projection(projection) = &bound.plan else { return Err(only_rows()) };
        if !matches!(projection.input.as_ref(), LogicalPlan::SubqueryAlias(_) | LogicalPlan::TableScan(_)) {
            return Err(only_rows());
        }
        let expressions = projection.expr.iter().map(bare).collect::<Result<Vec<_>>>()?;
        if !projection.expr.iter().any(has_subquery) {
            return Ok(Returning { expressions: Some(expressions), ..Returning::default() });
        }
        let rows = over_changed_rows(bound.plan)?;
        let of_others = |one: &Use| one.relation != target.relation.id || one.through.is_some();
        let uses = bound.uses.into_iter().filter(of_others).collect();
        Ok(Returning { expressions: Some(expressions), rows: Some(rows), uses })
    }
}

/// An output column over columns without qualifiers, with its name.
fn bare(expr: &Expr) -> Result<Expr> {
    let name = match expr {
        Expr::Column(column) => column.name.clone(),
        _ => expr.schema_name().to_string(),
    };
    let expr = expr.clone().unalias().transform_up(|node| match node {
        Expr::Column(column) => Ok(Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))),
        other => Ok(Transformed::no(other)),
    });
    Ok(expr.map_err(plan_error)?.data.alias(name))
}

/// The plan with the rows that the statement changes in the place of the table's own; its subqueries read the table.
fn over_changed_rows(plan: LogicalPlan) -> Result<LogicalPlan> {
    let replaced = plan.transform_up(|node| match node {
        LogicalPlan::TableScan(mut scan) => {
            let Some(table) = scan.source.downcast_ref::<RelationTable>() else {
                return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
            };
            scan.source = Arc::new(RelationTable {
                relation: Read { relation: NEW_RELATION, auxiliary: None },
                name: table.name.clone(),
                schema: Arc::clone(&table.schema),
                resolved: table.resolved.clone(),
                through: None,
            });
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        }
        other => Ok(Transformed::no(other)),
    });
    replaced.map(|replaced| replaced.data).map_err(plan_error)
}
