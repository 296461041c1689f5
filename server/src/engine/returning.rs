//! RETURNING: the rows of a statement that changes rows, computed and looked through before anything of it is applied.
//!
//! What holds: a row that RETURNING fails on, or that can't be told to the client in the form that it asked for, fails
//! the statement while nothing of it is durable; what is computed is bounded as the changed rows are; a cancel is
//! met between slices of rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use millstream_planner::bind;
use millstream_planner::catalog::TableDefinition;
use millstream_planner::functions;

use super::limits::{DML_STATEMENT_BYTES, RETURNING_SLICE_ROWS};
use super::read::Pinned;
use super::write::{Change, Versions, WriteContext};
use super::{Engine, with_parameters};
use crate::session::SqlError;
use crate::session::sqlstate::Condition;

/// Finds out whether rows can be told to the client that waits for them.
pub type RowsCheck = Arc<dyn Fn(&RecordBatch) -> Result<(), SqlError> + Send + Sync>;

/// What a statement has changed in its table, as RETURNING sees it.
pub(super) struct Affected<'a> {
    /// The table.
    pub definition: &'a TableDefinition,
    /// New rows, for DELETE the old ones.
    pub rows: &'a RecordBatch,
}

impl Engine {
    /// The rows of RETURNING, which the client can be told; `None` without one. Subqueries read views as they are
    /// pinned, and tables as they were before the statement.
    pub(super) async fn returned(
        &self,
        change: Change<'_>,
        affected: Affected<'_>,
        pinned: &Pinned,
        versions: &Versions,
        context: &WriteContext<'_>,
    ) -> Result<Option<Vec<RecordBatch>>, SqlError> {
        let Some(returning) = returning_of(change) else { return Ok(None) };
        let schema = returning_schema(returning, affected.definition)?;
        let rows = match returning_plan(change) {
            None => computed(returning, &Arc::new(schema), &affected, &context.parameters).await?,
            Some(plan) => {
                let batch = self.evaluate_over(plan, Some(affected.rows.clone()), pinned, versions, context).await?;
                // There may be no row where a column can't be null.
                let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
                let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
                slices(&RecordBatch::try_new(schema, batch.columns().to_vec())?).collect()
            }
        };
        if let Some(check) = &context.rows_check {
            for (number, batch) in rows.iter().enumerate() {
                give_way(number).await;
                check(batch)?;
            }
        }
        Ok(Some(rows))
    }
}

/// Expressions over the rows themselves.
async fn computed(
    returning: &[Expr],
    schema: &SchemaRef,
    affected: &Affected<'_>,
    parameters: &[ScalarValue],
) -> Result<Vec<RecordBatch>, SqlError> {
    let around = DFSchema::try_from(affected.definition.input.schema.as_ref().clone())?;
    let physical = returning.iter().map(|expr| {
        let expr = with_parameters(expr, parameters)?;
        Ok(functions::physical_expression(&expr, &around)?)
    });
    let physical = physical.collect::<Result<Vec<_>, SqlError>>()?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for (number, slice) in slices(affected.rows).enumerate() {
        give_way(number).await;
        let columns = physical.iter().map(|expr| Ok(expr.evaluate(&slice)?.into_array(slice.num_rows())?));
        let batch = RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, SqlError>>()?)?;
        bytes += new_bytes(&batch, &slice);
        if bytes > DML_STATEMENT_BYTES {
            let message = format!("RETURNING can't give more than {} MiB of rows", DML_STATEMENT_BYTES >> 20);
            return Err(SqlError::new(Condition::ProgramLimitExceeded, message)
                .with_hint("Return fewer columns, or change fewer rows at a time."));
        }
        rows.push(batch);
    }
    Ok(rows)
}

/// Lets other tasks run between two slices, and whoever cancels the statement be heard.
async fn give_way(slice: usize) {
    if slice > 0 {
        tokio::task::yield_now().await;
    }
}

/// Rows in parts that take some milliseconds each; one without rows where there are none, for its columns.
fn slices(rows: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let starts = (0..rows.num_rows().max(1)).step_by(RETURNING_SLICE_ROWS);
    starts.map(|start| rows.slice(start, RETURNING_SLICE_ROWS.min(rows.num_rows() - start)))
}

/// Bytes of the columns that were made for RETURNING. A column of the table is there anyway.
fn new_bytes(batch: &RecordBatch, of: &RecordBatch) -> usize {
    let is_made = |column: &&ArrayRef| !of.columns().iter().any(|known| Arc::ptr_eq(known, column));
    // What is a part of a larger buffer counts as that part.
    let bytes =
        |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size());
    batch.columns().iter().filter(is_made).map(bytes).sum()
}

fn returning_of(change: Change<'_>) -> Option<&[Expr]> {
    match change {
        Change::Insert(insert) => insert.returning.as_deref(),
        Change::Update(update) => update.returning.as_deref(),
        Change::Delete(delete) => delete.returning.as_deref(),
        Change::Truncate(_) => None,
    }
}

/// RETURNING as a plan, where it asks subqueries.
pub(super) fn returning_plan(change: Change<'_>) -> Option<&LogicalPlan> {
    match change {
        Change::Insert(insert) => insert.returning_rows.as_ref(),
        Change::Update(update) => update.returning_rows.as_ref(),
        Change::Delete(delete) => delete.returning_rows.as_ref(),
        Change::Truncate(_) => None,
    }
}

/// The columns of RETURNING.
pub fn returning_schema(returning: &[Expr], definition: &TableDefinition) -> Result<Schema, SqlError> {
    let schema = DFSchema::try_from(definition.input.schema.as_ref().clone())?;
    let fields = returning.iter().map(|expr| {
        let field = expr.to_field(&schema)?.1;
        let name = bind::visible_name(&expr.schema_name().to_string()).to_string();
        Ok::<_, SqlError>(field.as_ref().clone().with_name(name))
    });
    Ok(Schema::new(fields.collect::<Result<Vec<_>, _>>()?))
}
