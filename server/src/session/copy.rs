//! COPY: what leaves is a query like any other; what comes in is a series of batches that become rows of a
//! table all at once, or not at all.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use futures::TryStreamExt;
use millstream_planner::bind::RelationTable;
use millstream_planner::copy::{Copy, CopyIn, CopyOptions, CopySource, rows_of_copy};
use millstream_planner::error::PlanError;
use millstream_planner::statement::{Statement, StatementText};
use millstream_runtime::plan::RelationId;
use tokio_util::sync::CancellationToken;

use super::change::late_notice;
use super::prepare::Work;
use super::sqlstate::Condition;
use super::{CommandTag, Outcome, Prepared, Session, SqlError};
use crate::engine::provider::{BatchRows, Scan};
use crate::engine::stop::Stop;

/// How the rows of a COPY travel.
#[derive(Clone, Debug)]
pub enum CopyShape {
    /// To the client.
    Out(Arc<CopyOut>),
    /// From the client.
    In(Arc<CopyIn>),
}

/// The rows of a COPY TO.
#[derive(Clone, Debug)]
pub struct CopyOut {
    /// Their columns.
    pub columns: SchemaRef,
    /// Their form.
    pub options: CopyOptions,
    /// Whose rows they are; none for those of a query.
    pub relation: Option<RelationId>,
}

impl CopyShape {
    /// That of a statement; `None` when it is no COPY, or one of a statement in parentheses.
    pub(super) fn of(statement: &Statement) -> Option<Self> {
        let Statement::Copy(copy) = statement else { return None };
        match copy.as_ref() {
            Copy::In(shape) => Some(Self::In(Arc::clone(shape))),
            Copy::Out { source: CopySource::Relation(query), options } => {
                let columns = Arc::clone(&query.schema);
                let relation = query.reads.first().map(|read| read.relation);
                Some(Self::Out(Arc::new(CopyOut { columns, options: options.clone(), relation })))
            }
            Copy::Out { source: CopySource::Text(_), .. } => None,
        }
    }

    /// The columns that travel.
    pub fn columns(&self) -> &SchemaRef {
        match self {
            Self::Out(shape) => &shape.columns,
            Self::In(shape) => &shape.columns,
        }
    }
}

/// The rows of a COPY FROM as they come in.
pub trait IncomingRows: Send {
    /// The next rows, in the columns that the statement named; `None` at the end. A COPY whose rows can't be
    /// read fails with the error given here.
    fn next(&mut self) -> impl Future<Output = Result<Option<RecordBatch>, SqlError>> + Send;

    /// Where a row of the batch given last stood in the data; without a row, how far the data has been read.
    fn place(&self, row: Option<usize>) -> String;
}

impl Session {
    /// Plans the statement in the parentheses of `COPY (...) TO STDOUT`.
    pub(super) fn plan_copy_of(
        &self,
        text: &StatementText,
        options: &CopyOptions,
    ) -> Result<(Prepared, CopyShape), SqlError> {
        let inside = self.plan_now(text, &[])?;
        if !inside.parameters.is_empty() {
            return Err(SqlError::new(Condition::UndefinedParameter, "there is no parameter $1")
                .with_hint("COPY takes no parameters: write the values into the query."));
        }
        let (is_change, gives_rows) = match &inside.inner.work {
            Work::Catalog(_) | Work::Statement(Statement::Query(_) | Statement::Subscribe(_)) => (false, true),
            Work::Statement(Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_)) => (true, true),
            Work::Statement(_) | Work::CopyOut(_) | Work::Declare(..) => (false, false),
        };
        let columns = match inside.columns.clone() {
            Some(columns) if gives_rows => columns,
            _ if is_change => {
                let message = "COPY query must have a RETURNING clause";
                return Err(SqlError::new(Condition::FeatureNotSupported, message));
            }
            _ => {
                let error = SqlError::new(Condition::SyntaxError, "COPY takes a query, or a change with RETURNING");
                return Err(SqlError { position: Some(text.start.0), ..error });
            }
        };
        options.force_quote.among("FORCE_QUOTE", &columns)?;
        let shape = CopyOut { columns, options: options.clone(), relation: None };
        Ok((inside, CopyShape::Out(Arc::new(shape))))
    }

    /// Runs `COPY (...) TO STDOUT`.
    pub(super) async fn copy_of(&mut self, inside: &Prepared, stop: Stop) -> Result<Outcome, SqlError> {
        let outcome = Box::pin(self.dispatch(inside, Vec::new(), stop)).await?;
        Ok(Outcome { tag: CommandTag::Counted("COPY "), ..outcome })
    }

    /// Runs `COPY relation TO STDOUT`.
    pub(super) async fn copy_out(&mut self, copy: &Copy, stop: Stop) -> Result<Outcome, SqlError> {
        match copy {
            Copy::Out { source: CopySource::Relation(query), .. } => {
                let outcome = self.query(query, Vec::new(), stop).await?;
                Ok(Outcome { tag: CommandTag::Counted("COPY "), ..outcome })
            }
            Copy::Out { source: CopySource::Text(_), .. } => {
                Err(SqlError::new(Condition::InternalError, "the statement of a COPY was not planned"))
            }
            Copy::In(_) => {
                let message = "COPY FROM STDIN needs a client that sends the rows";
                Err(SqlError::new(Condition::FeatureNotSupported, message)
                    .with_hint("Connect with psql, or use INSERT or a source with connector = 'file'."))
            }
        }
    }

    /// Runs `COPY table FROM STDIN`: asks for rows until there are no more.
    pub async fn copy_in(
        &mut self,
        prepared: &Prepared,
        rows: &mut impl IncomingRows,
        cancel: CancellationToken,
    ) -> Result<Outcome, SqlError> {
        let stop = Stop::new(cancel.clone(), self.settings.statement_timeout());
        let outcome = self.copy_rows_in(prepared, rows, &cancel, stop).await;
        if outcome.is_err() {
            self.transaction.fail();
        }
        outcome
    }

    async fn copy_rows_in(
        &mut self,
        prepared: &Prepared,
        rows: &mut impl IncomingRows,
        cancel: &CancellationToken,
        stop: Stop,
    ) -> Result<Outcome, SqlError> {
        self.transaction.check()?;
        let prepared = self.current(prepared)?;
        let Some(CopyShape::In(shape)) = &prepared.copy else {
            return Err(SqlError::new(Condition::InternalError, "a statement that takes no rows was given some"));
        };
        self.authorize(prepared.inner.statement())?;
        self.transaction.check_write("COPY FROM", &self.settings)?;
        if !self.transaction.is_open() {
            self.begin_implicit();
        }
        let (mut count, mut late) = (0, 0);
        while let Some(batch) = stop.race(rows.next()).await? {
            let physical = stop.race(self.physical_rows(shape, &batch)).await?;
            let appended = self.append_rows(shape.insert.relation, &physical, cancel.clone()).await;
            let appended = appended.map_err(|error| {
                let place = rows.place(error.row());
                error.with_context(place)
            })?;
            count += batch.num_rows();
            late += appended.late;
        }
        // Alone, it is durable before it is answered.
        let mut notices = if self.more_follows { Vec::new() } else { self.end_implicit(&stop).await? };
        if late > 0 {
            notices.push(late_notice(&self.engine.state(), shape.insert.relation, late));
        }
        Ok(Outcome { notices, ..Outcome::fixed(&format!("COPY {count}")) })
    }

    /// Rows of the data as rows of the table: columns in order, defaults put in. The order of rows stays: which
    /// of two rows of one key comes last, and which row is late, depends on it.
    async fn physical_rows(&self, shape: &CopyIn, data: &RecordBatch) -> Result<RecordBatch, SqlError> {
        if shape.is_whole_row {
            return Ok(data.clone());
        }
        let rows: Arc<dyn TableProvider> = Arc::new(Scan(BatchRows(data.clone())));
        let plan = rows_of_copy(&shape.insert.rows, &rows)?;
        let mut no_other = |table: &RelationTable| -> millstream_planner::error::Result<Arc<dyn TableProvider>> {
            Err(PlanError::internal(format!("a default reads \"{}\"", table.name.name)))
        };
        let planned = self.engine.ordered_query(self.facts()).physical_plan(&plan, Vec::new(), &mut no_other).await?;
        let schema = planned.physical.schema();
        let batches: Vec<RecordBatch> = planned.stream()?.try_collect().await?;
        Ok(arrow::compute::concat_batches(&schema, &batches)?)
    }
}
