//! INSERT, UPDATE, DELETE, TRUNCATE: alone, run until durable, then until every view shows it; in a block,
//! gathered for its COMMIT.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use millstream_planner::access::Privileges;
use millstream_planner::statement::{Statement, Use};
use millstream_runtime::graph::GraphState;
use millstream_runtime::plan::RelationId;
use millstream_runtime::time::LogPosition;

use tokio_util::sync::CancellationToken;

use super::sqlstate::Condition;
use super::{CommandTag, Notice, Outcome, Session, SqlError};
use crate::engine::gather::Appended;
use crate::engine::read::Pinned;
use crate::engine::state::State;
use crate::engine::stop::Stop;
use crate::engine::write::{Change, WriteContext, views_read};

impl Session {
    pub(super) async fn change(
        &mut self,
        statement: &Statement,
        parameters: Vec<ScalarValue>,
        stop: Stop,
    ) -> Result<Outcome, SqlError> {
        let (change, tables, tag) = match statement {
            Statement::Insert(insert) => (Change::Insert(insert), vec![insert.relation], "INSERT 0 "),
            Statement::Update(update) => (Change::Update(update), vec![update.relation], "UPDATE "),
            Statement::Delete(delete) => (Change::Delete(delete), vec![delete.relation], "DELETE "),
            Statement::Truncate { relations } => (Change::Truncate(relations), relations.clone(), "TRUNCATE TABLE"),
            _ => return Err(SqlError::new(Condition::InternalError, "a statement that changes no rows")),
        };
        self.transaction.check_write(tag.trim_end_matches(" 0 ").trim_end(), &self.settings)?;
        let state = self.state();
        let in_block = self.transaction.is_open();
        let pinned = if in_block { Some(self.views_for(change, &state).await?) } else { None };
        let context = WriteContext {
            state: &state,
            parameters,
            viewer: self.actor()?.current,
            facts: self.facts(),
            rows_check: self.rows_check.clone(),
            stop: &stop,
            seen: self.seen,
        };
        let written = match pinned {
            None => self.engine.write(change, context).await?,
            Some(pinned) => {
                let moment = self.transaction.pinned().cloned();
                let gathered = self.transaction.gathered().expect("the block is open");
                let viewer = context.viewer;
                let written = self.engine.gather(change, context, gathered, &pinned, moment.as_ref()).await?;
                gathered.rests_on(viewer, &uses(statement));
                written
            }
        };
        let mut notices = Vec::new();
        if let Some(position) = written.position
            && self.settings.waits_for_visibility()
        {
            notices.extend(self.wait_until_visible(&tables, position, &stop).await);
            self.seen = self.seen.max(position);
        }
        if written.late > 0 {
            notices.push(late_notice(&state, tables[0], written.late));
        }
        let outcome = match written.returned {
            Some(rows) => Outcome { rows: Some(ready_rows(rows)), ..Outcome::tagged(CommandTag::Counted(tag)) },
            None if tag.ends_with(' ') => Outcome::tagged(CommandTag::Fixed(format!("{tag}{}", written.affected))),
            None => Outcome::tagged(CommandTag::Fixed(tag.to_string())),
        };
        Ok(Outcome { notices, durable: written.position.is_some(), ..outcome })
    }

    /// Adds rows to a table as part of the open transaction, or of one that this opens and [`Self::sync`] ends:
    /// what COPY ... FROM STDIN calls for every slice that it has read, of a thousand rows or a hundred thousand.
    ///
    /// `rows` has the physical columns of the table (those that are not generated), in order and with the types
    /// that it declares, defaults put in. NOT NULL, keys, ON CONFLICT and the watermark are seen to here. Nobody
    /// sees the rows before COMMIT. After an error call [`Self::failed`], so that nothing of any slice stays;
    /// the error's detail names the row. Memory beyond the table itself does not grow with the number of slices,
    /// for a table without a key; with one, what finds keys is there twice until COMMIT.
    pub async fn append_rows(
        &mut self,
        table: RelationId,
        rows: &RecordBatch,
        cancel: CancellationToken,
    ) -> Result<Appended, SqlError> {
        self.transaction.check()?;
        self.transaction.check_write("COPY FROM", &self.settings)?;
        if !self.transaction.is_open() {
            self.begin_implicit();
        }
        let (state, stop) = (self.state(), Stop::new(cancel, self.settings.statement_timeout()));
        let viewer = self.actor()?.current;
        let gathered = self.transaction.gathered().expect("the block is open");
        gathered.rests_on(viewer, &[Use { relation: table, through: None, privileges: Privileges::INSERT }]);
        let appended = self.engine.gather_rows(table, rows, &state, gathered, &stop).await;
        if appended.is_err() {
            self.transaction.fail();
        }
        appended
    }

    /// What a statement in a block reads beside tables, at the moment of the block.
    async fn views_for(&mut self, change: Change<'_>, state: &Arc<State>) -> Result<Pinned, SqlError> {
        let reads = views_read(state, change)?;
        if reads.is_empty() {
            return Ok(Pinned { state: Arc::clone(state), graphs: Default::default() });
        }
        self.refuse_unmade(&reads)?;
        self.pinned_for(&reads).await
    }

    /// Waits until the graphs of the tables show the commit. It is durable: whatever goes wrong here is no
    /// failure of the statement.
    pub(super) async fn wait_until_visible(
        &self,
        tables: &[RelationId],
        position: LogPosition,
        stop: &Stop,
    ) -> Option<Notice> {
        for table in tables {
            // A graph that joins another one meanwhile hands the wait over to it.
            while let Some(graph) = self.engine.state().graph_of(*table) {
                let waited = tokio::select! {
                    waited = graph.wait_for(position) => waited,
                    _stopped = stop.stopped() => {
                        let message = "the rows are durable; the statement was canceled while it waited for the views";
                        return Some(Notice::warning(Condition::QueryCanceled, message));
                    }
                };
                if waited.is_ok() {
                    break;
                }
                let reason = match graph.state() {
                    GraphState::Failed { reason } => reason,
                    GraphState::Running | GraphState::Waiting { .. } | GraphState::Restarting { .. } => {
                        let now = self.engine.state();
                        if now.graph_of(*table).is_some_and(|now| now.id() != graph.id()) {
                            continue;
                        }
                        "its graph has ended".to_string()
                    }
                };
                let message = format!("the rows are durable, but no view shows them: the job has failed: {reason}");
                return Some(Notice::warning(Condition::Warning, message));
            }
        }
        None
    }
}

/// What a change needs.
fn uses(statement: &Statement) -> Vec<Use> {
    match statement {
        Statement::Insert(insert) => insert.uses.clone(),
        Statement::Update(update) => update.uses.clone(),
        Statement::Delete(delete) => delete.uses.clone(),
        Statement::Truncate { relations } => {
            let one =
                |relation: &RelationId| Use { relation: *relation, through: None, privileges: Privileges::TRUNCATE };
            relations.iter().map(one).collect()
        }
        _ => Vec::new(),
    }
}

/// Tells of rows that are not where the client put them.
pub(super) fn late_notice(state: &State, table: RelationId, late: usize) -> Notice {
    let name = state.catalog.view.get(table).map_or("the table", |relation| relation.name.name.as_str());
    let rows = if late == 1 { "row was" } else { "rows were" };
    let mut notice = Notice::plain(format!("{late} {rows} below the watermark of \"{name}\" and not inserted"));
    notice.hint = Some(format!("SELECT * FROM \"{name}$late\" shows them."));
    notice
}

/// One batch as a stream of rows.
pub(super) fn one_batch(rows: RecordBatch) -> super::RowStream {
    ready_rows(vec![rows])
}

fn ready_rows(rows: Vec<RecordBatch>) -> super::RowStream {
    Box::pin(futures::stream::iter(rows.into_iter().map(Ok)))
}
