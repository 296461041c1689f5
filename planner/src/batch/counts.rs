//! Subqueries in LIMIT and OFFSET: each is asked before the query around it is planned, over the same rows, and what it
//! gives stands in its place. An operator that counts rows needs a number, not an expression.

use std::sync::Arc;

use datafusion::arrow::compute::concat_batches;
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{EmptyRelation, Expr, Limit, LogicalPlan, Projection};
use futures::TryStreamExt;

use super::BatchQuery;
use crate::bind::{RelationTable, plan_error};
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::subqueries::{has_subquery, names_outer};

/// Gives the rows of the relations that a plan scans.
pub(super) type Providers<'a> = &'a mut (dyn FnMut(&RelationTable) -> Result<Arc<dyn TableProvider>> + Send);

impl BatchQuery {
    /// The plan with numbers in the place of the subqueries that count.
    pub(super) async fn with_counts(&self, mut plan: LogicalPlan, provider: Providers<'_>) -> Result<LogicalPlan> {
        while let Some(limit) = first_that_asks(&plan)? {
            let fetch = self.count(limit.fetch.as_deref(), "LIMIT", PlanErrorKind::InvalidLimit, provider).await?;
            let skip = self.count(limit.skip.as_deref(), "OFFSET", PlanErrorKind::InvalidOffset, provider).await?;
            plan = counted(plan, fetch, skip)?;
        }
        Ok(plan)
    }

    /// The number that a count is; `None` where there is none, or where it is NULL.
    async fn count(
        &self,
        count: Option<&Expr>,
        clause: &str,
        negative: PlanErrorKind,
        provider: Providers<'_>,
    ) -> Result<Option<Box<Expr>>> {
        let Some(count) = count else { return Ok(None) };
        if !has_subquery(count) {
            return Ok(Some(Box::new(count.clone())));
        }
        if names_outer(count) {
            let message = format!("a subquery in {clause} that names columns of a query around it is not supported");
            return Err(PlanError::unsupported(message));
        }
        let one_row = EmptyRelation { produce_one_row: true, schema: Arc::new(DFSchema::empty()) };
        let asked = Projection::try_new(vec![count.clone().alias("count")], LogicalPlan::EmptyRelation(one_row).into());
        let asked = LogicalPlan::Projection(asked.map_err(plan_error)?);
        let physical = Box::pin(self.physical_plan(&asked, Vec::new(), provider)).await?;
        let schema = physical.physical.schema();
        let batches: Vec<_> = physical.stream().map_err(plan_error)?.try_collect().await.map_err(plan_error)?;
        let answer = concat_batches(&schema, &batches).map_err(|error| plan_error(error.into()))?;
        match ScalarValue::try_from_array(answer.column(0), 0).map_err(plan_error)? {
            ScalarValue::Int64(None) => Ok(None),
            ScalarValue::Int64(Some(rows)) if rows < 0 => {
                Err(PlanError::new(negative, format!("{clause} must not be negative")))
            }
            ScalarValue::Int64(rows) => Ok(Some(Box::new(Expr::Literal(ScalarValue::Int64(rows), None)))),
            other => Err(PlanError::internal(format!("{clause} counts in {}", other.data_type()))),
        }
    }
}

fn asks(limit: &Limit) -> bool {
    limit.fetch.iter().chain(&limit.skip).any(|count| has_subquery(count))
}

/// Whether a plan counts by a subquery.
pub(super) fn asks_anywhere(plan: &LogicalPlan) -> Result<bool> {
    Ok(first_that_asks(plan)?.is_some())
}

fn first_that_asks(plan: &LogicalPlan) -> Result<Option<Limit>> {
    let mut found = None;
    let visited = plan.apply_with_subqueries(|node| match node {
        LogicalPlan::Limit(limit) if asks(limit) => {
            found = Some(limit.clone());
            Ok(TreeNodeRecursion::Stop)
        }
        _ => Ok(TreeNodeRecursion::Continue),
    });
    visited.map_err(plan_error)?;
    Ok(found)
}

/// The plan with the counts of the first node that asks for them.
fn counted(plan: LogicalPlan, fetch: Option<Box<Expr>>, skip: Option<Box<Expr>>) -> Result<LogicalPlan> {
    let mut counts = Some((fetch, skip));
    let changed = plan.transform_down_with_subqueries(|node| match node {
        LogicalPlan::Limit(limit) if asks(&limit) => Ok(match counts.take() {
            Some((fetch, skip)) => {
                let limit = Limit { fetch, skip, input: limit.input };
                Transformed::new(LogicalPlan::Limit(limit), true, TreeNodeRecursion::Stop)
            }
            None => Transformed::no(LogicalPlan::Limit(limit)),
        }),
        other => Ok(Transformed::no(other)),
    });
    changed.map(|changed| changed.data).map_err(plan_error)
}
