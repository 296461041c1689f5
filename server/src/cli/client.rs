//! A session without a wire, for the commands that run SQL themselves.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use futures::TryStreamExt;
use millstream_planner::statement::StatementText;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::session::{CommandTag, Notice, Session, SqlError};
use crate::wire::values::{ColumnType, DisplaySettings, RowEncoder};

/// Runs statements and turns their values into text, as psql would show them.
pub(super) struct Client {
    session: Session,
}

/// What a statement gave.
pub(super) struct Answer {
    /// Its rows, if it gives rows.
    pub(super) rows: Option<TextRows>,
    /// The command tag.
    pub(super) tag: String,
    /// What was told beside.
    pub(super) notices: Vec<Notice>,
}

/// Rows as text, with the schema that they have.
pub(super) struct TextRows {
    pub(super) schema: SchemaRef,
    pub(super) rows: Vec<Vec<Option<String>>>,
}

impl Client {
    pub(super) fn new(engine: &Arc<Engine>) -> Self {
        Self { session: Session::new(Arc::clone(engine), "millstream") }
    }

    /// Cuts a script into statements.
    pub(super) fn split(&self, sql: &str) -> Result<Vec<StatementText>, SqlError> {
        self.session.split(sql)
    }

    /// Runs one statement and takes all of its rows.
    pub(super) async fn run(&mut self, statement: &StatementText) -> Result<Answer, SqlError> {
        let prepared = self.session.prepare(statement, &[]).await?;
        let outcome = self.session.execute(&prepared, Vec::new(), CancellationToken::new()).await?;
        let rows = match (outcome.rows, &prepared.columns) {
            (Some(stream), Some(schema)) => {
                let batches: Vec<RecordBatch> = stream.try_collect().await?;
                Some(TextRows { schema: Arc::clone(schema), rows: texts(schema, &batches)? })
            }
            _ => None,
        };
        let tag = match outcome.tag {
            CommandTag::Fixed(tag) => tag,
            CommandTag::Counted(prefix) => format!("{prefix}{}", rows.as_ref().map_or(0, |rows| rows.rows.len())),
            CommandTag::Empty => String::new(),
        };
        Ok(Answer { rows, tag, notices: outcome.notices })
    }

    /// Runs every statement of a text; the answer of the last one.
    pub(super) async fn command(&mut self, sql: &str) -> Result<Answer, SqlError> {
        let mut last = Answer { rows: None, tag: String::new(), notices: Vec::new() };
        for statement in self.split(sql)? {
            last = self.run(&statement).await?;
        }
        Ok(last)
    }

    /// The rows of a query.
    pub(super) async fn query(&mut self, sql: &str) -> Result<TextRows, SqlError> {
        let answer = self.command(sql).await?;
        Ok(answer.rows.unwrap_or_else(|| TextRows { schema: Arc::new(Schema::empty()), rows: Vec::new() }))
    }
}

fn texts(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<Vec<Option<String>>>, SqlError> {
    let columns: Vec<ColumnType> =
        schema.fields().iter().map(|field| ColumnType::of_field(field)).collect::<Result<_, _>>()?;
    let formats = vec![0; columns.len()];
    let mut rows = Vec::new();
    for batch in batches {
        let encoder = RowEncoder::new(batch, &columns, &formats, DisplaySettings::default())?;
        for row in 0..batch.num_rows() {
            rows.push(encoder.texts(row)?);
        }
    }
    Ok(rows)
}
