//! Running a statement: one arm per statement, each a function or a line.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use futures::TryStreamExt;
use millstream_planner::parse::literal_position;
use millstream_planner::plan::plan_arguments;
use millstream_planner::statement::{Command, Discard, Statement, StatementText};
use millstream_planner::values::ColumnType;
use millstream_runtime::graph::GraphState;
use millstream_runtime::plan::RelationId;
use millstream_runtime::time::Watermark;
use tokio_util::sync::CancellationToken;

use super::commit::set_constraints;
use super::prepare::Work;
use super::registry::PreparedRow;
use super::sqlstate::Condition;
use super::{CommandTag, Notice, Outcome, Prepared, Session, SqlError};
use crate::engine::returning::RowsCheck;
use crate::engine::stop::Stop;

impl Outcome {
    /// A tag and nothing else.
    pub fn tagged(tag: CommandTag) -> Self {
        Self { rows: None, tag, notices: Vec::new(), changed_parameters: Vec::new(), durable: false }
    }

    pub(super) fn fixed(tag: &str) -> Self {
        Self::tagged(CommandTag::Fixed(tag.to_string()))
    }
}

impl Session {
    /// Runs a statement. `parameters` have the types that `prepared` named. When `cancel` fires, the
    /// statement (or its row stream) ends with SQLSTATE 57014.
    pub async fn execute(
        &mut self,
        prepared: &Prepared,
        parameters: Vec<ScalarValue>,
        cancel: CancellationToken,
    ) -> Result<Outcome, SqlError> {
        self.execute_for(prepared, parameters, None, cancel).await
    }

    /// The same for a client that takes rows in a form of its own: what a statement that changes rows returns must pass
    /// `rows_check` before anything of it is durable.
    pub async fn execute_for(
        &mut self,
        prepared: &Prepared,
        parameters: Vec<ScalarValue>,
        rows_check: Option<RowsCheck>,
        cancel: CancellationToken,
    ) -> Result<Outcome, SqlError> {
        self.rows_check = rows_check;
        let stop = Stop::new(cancel, self.settings.statement_timeout());
        if self.more_follows && !self.transaction.is_open() {
            self.begin_implicit();
        }
        let mut outcome = self.dispatch(prepared, parameters, stop).await;
        self.rows_check = None;
        match &mut outcome {
            Ok(outcome) => outcome.notices.retain(|notice| self.settings.tells(notice)),
            Err(error) => {
                self.transaction.fail();
                locate_literal(error, prepared.own_text());
            }
        }
        outcome
    }

    pub(super) async fn dispatch(
        &mut self,
        prepared: &Prepared,
        parameters: Vec<ScalarValue>,
        stop: Stop,
    ) -> Result<Outcome, SqlError> {
        match &prepared.inner.work {
            Work::Statement(Statement::Command(Command::Commit { chain })) => return self.commit(*chain, &stop).await,
            Work::Statement(Statement::Command(Command::Rollback { chain })) => return self.rollback(*chain),
            Work::Statement(Statement::Command(Command::RollbackTo { savepoint })) => {
                return self.rollback_to(savepoint);
            }
            Work::Statement(_) | Work::Catalog(_) | Work::CopyOut(_) | Work::Declare(..) => self.transaction.check()?,
        }
        let prepared = &self.current(prepared)?;
        let parameters = prepared.own.as_ref().map_or(parameters, |own| own.values.clone());
        let statement = match &prepared.inner.work {
            Work::Statement(statement) => statement,
            Work::Catalog(query) => return self.catalog_query(query, parameters, stop).await,
            Work::CopyOut(inside) => return self.copy_of(inside, stop).await,
            Work::Declare(declare, inside) => {
                return self.declare(declare, inside, parameters, &prepared.inner.text, stop).await;
            }
        };
        self.authorize(statement)?;
        match statement {
            Statement::Empty => Ok(Outcome::tagged(CommandTag::Empty)),
            Statement::Query(query) => self.query(query, parameters, stop).await,
            Statement::Subscribe(subscribe) => self.subscribe(subscribe, parameters, stop).await,
            Statement::Copy(copy) => self.copy_out(copy, stop).await,
            statement @ (Statement::Insert(_)
            | Statement::Update(_)
            | Statement::Delete(_)
            | Statement::Truncate { .. }) => self.change(statement, parameters, stop).await,
            Statement::CreateSchema { .. }
            | Statement::CreateTable(_)
            | Statement::CreateSource(_)
            | Statement::CreateView(_)
            | Statement::CreateMaterializedView(_)
            | Statement::CreateSink(_)
            | Statement::Drop(_)
            | Statement::DropSchema { .. }
            | Statement::Comment { .. }
            | Statement::Rename { .. }
            | Statement::RenameSchema { .. }
            | Statement::Access(_)
            | Statement::Secret(_)
            | Statement::Index(_) => self.define(prepared, stop).await,
            Statement::Explain(explain) => self.explain(explain, parameters, stop).await,
            Statement::ShowCreate { relation } => self.show_create(*relation),
            Statement::Describe { relation } => self.describe(*relation),
            Statement::AdvanceClock { micros } => self.advance_clock(*micros, &stop).await,
            Statement::AdvanceWatermark { relation, micros } => {
                self.transaction.check_write("ADVANCE WATERMARK", &self.settings)?;
                self.transaction.refuse_block("ADVANCE WATERMARK")?;
                let position = self.engine.advance_watermark(*relation, Watermark::at_micros(*micros)).await?;
                self.seen = self.seen.max(position);
                Ok(Outcome::fixed("ADVANCE WATERMARK"))
            }
            Statement::Refresh { relation } => self.refresh(*relation, &stop).await,
            Statement::Maintain(maintain) => self.maintain(maintain),
            Statement::Prepare { name, parameter_types, text } => {
                let types: Vec<_> = parameter_types.iter().cloned().map(Some).collect();
                self.name_statement(name, text, &types, prepared.text())
            }
            Statement::Declare(_) => {
                Err(SqlError::new(Condition::InternalError, "the query of a cursor was not planned"))
            }
            Statement::Command(Command::Fetch(fetch)) => self.fetch(fetch, prepared.columns.as_ref(), stop).await,
            Statement::Command(command) => self.command(command, stop).await,
        }
    }

    async fn command(&mut self, command: &Command, stop: Stop) -> Result<Outcome, SqlError> {
        match command {
            Command::ShowSetting { name } => self.show_setting(name),
            Command::ShowObjects(objects) => self.show_objects(*objects),
            Command::Set { name, value, local } => self.set(name, value.as_deref(), *local),
            Command::Reset { name } => {
                Ok(Outcome { tag: CommandTag::Fixed("RESET".to_string()), ..self.set(name, None, false)? })
            }
            Command::SetModes { session, isolation, read_only } => self.set_modes(*session, *isolation, *read_only),
            Command::Begin { verb, isolation, read_only } => Ok(self.begin(verb, *isolation, *read_only)),
            Command::SetConstraints => Ok(set_constraints(self.transaction.is_open())),
            Command::Commit { .. } | Command::Rollback { .. } | Command::RollbackTo { .. } | Command::Fetch(_) => {
                unreachable!("they are handled before any other")
            }
            Command::Savepoint { name } => self.savepoint(name),
            Command::Release { savepoint } => self.release(savepoint),
            Command::Flush => self.flush(&stop).await,
            Command::Checkpoint => self.checkpoint(&stop).await,
            Command::Discard(discard) => self.discard(discard),
            Command::Close { name } => self.close(name.as_deref()),
            Command::Unlisten => Ok(Outcome::fixed("UNLISTEN")),
            Command::Execute { name, arguments } => {
                let (prepared, values) = stop.race(self.bound(name, arguments)).await?;
                Box::pin(self.dispatch(&prepared, values, stop)).await
            }
        }
    }

    pub(super) fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<Outcome, SqlError> {
        let changed = match name {
            "role" | "session_authorization" => self.set_role(name, value, local)?,
            _ => self.settings.set(name, value, local)?,
        };
        if name == "millstream.clock" {
            self.engine.clock().set_manual(self.settings.get(name).as_deref() == Some("manual"));
        }
        Ok(Outcome { notices: changed.notices, changed_parameters: changed.reported, ..Outcome::fixed("SET") })
    }

    /// The modes of this transaction, or of those to come.
    fn set_modes(
        &mut self,
        session: bool,
        isolation: Option<&str>,
        read_only: Option<bool>,
    ) -> Result<Outcome, SqlError> {
        let mut outcome = Outcome::fixed("SET");
        let read_only = read_only.map(|on| if on { "on" } else { "off" });
        if !session && isolation.is_some_and(|level| self.setting("transaction_isolation").as_deref() != Some(level)) {
            self.transaction.refuse_after_query("SET TRANSACTION ISOLATION LEVEL")?;
        }
        for (mode, value) in [("transaction_isolation", isolation), ("transaction_read_only", read_only)] {
            let Some(value) = value else { continue };
            let name = if session { format!("default_{mode}") } else { mode.to_string() };
            let changed = self.settings.set(&name, Some(value), !session)?;
            outcome.changed_parameters.extend(changed.reported);
            // One warning says it for all modes.
            if outcome.notices.is_empty() {
                outcome.notices = changed.notices;
            }
        }
        Ok(outcome)
    }

    fn discard(&mut self, discard: &Discard) -> Result<Outcome, SqlError> {
        match discard {
            Discard::All => {
                self.transaction.refuse_block("DISCARD ALL")?;
                self.named.clear();
                self.cursors.close_all();
                self.listed.clear();
                self.locks.release_all();
                let changed = self.settings.reset_all();
                Ok(Outcome { changed_parameters: changed.reported, ..Outcome::fixed("DISCARD ALL") })
            }
            Discard::Prepared => {
                self.named.clear();
                self.listed.clear();
                Ok(Outcome::fixed("DEALLOCATE ALL"))
            }
            Discard::One(name) => match self.named.remove(name) {
                Some(_) => {
                    self.listed.remove(name);
                    Ok(Outcome::fixed("DEALLOCATE"))
                }
                None => Err(unknown_statement(name)),
            },
        }
    }

    fn name_statement(
        &mut self,
        name: &str,
        text: &StatementText,
        types: &[Option<DataType>],
        whole: &str,
    ) -> Result<Outcome, SqlError> {
        if self.named.contains_key(name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(SqlError::new(Condition::DuplicatePreparedStatement, message));
        }
        let prepared = self.plan_now(text, types)?;
        let oids = prepared.parameters.iter().map(|data_type| Ok(ColumnType::of_type(data_type)?.oid()));
        let row = PreparedRow::now(whole, oids.collect::<Result<_, SqlError>>()?, true);
        self.listed.insert(name.to_string(), row);
        self.named.insert(name.to_string(), prepared);
        Ok(Outcome::fixed("PREPARE"))
    }

    /// A named statement with the values of its arguments, which are evaluated as a query without tables.
    pub(super) async fn bound(
        &mut self,
        name: &str,
        arguments: &[StatementText],
    ) -> Result<(Prepared, Vec<ScalarValue>), SqlError> {
        let prepared = self.named.get(name).cloned().ok_or_else(|| unknown_statement(name))?;
        if prepared.parameters.len() != arguments.len() {
            let message = format!("wrong number of parameters for prepared statement \"{name}\"");
            let (expected, got) = (prepared.parameters.len(), arguments.len());
            return Err(SqlError::new(Condition::SyntaxError, message)
                .with_detail(format!("Expected {expected} parameters but got {got}.")));
        }
        if arguments.is_empty() {
            return Ok((prepared, Vec::new()));
        }
        let types = &prepared.parameters;
        let query = plan_arguments(arguments, types, &self.state().catalog.view, &self.plan_settings())?;
        let batches: Vec<_> = self.batch_plan(&query, Vec::new()).await?.stream()?.try_collect().await?;
        let none = || SqlError::new(Condition::InternalError, "arguments gave no row");
        let row = batches.iter().find(|batch| batch.num_rows() > 0).ok_or_else(none)?;
        let values = row.columns().iter().map(|column| Ok::<_, SqlError>(ScalarValue::try_from_array(column, 0)?));
        let values = values.collect::<Result<_, _>>()?;
        Ok((prepared, values))
    }

    async fn flush(&mut self, stop: &Stop) -> Result<Outcome, SqlError> {
        self.transaction.refuse_block("FLUSH")?;
        let left_out = stop.race(self.engine.flush()).await?;
        let warn = |reason: String| Notice::warning(Condition::Warning, format!("not flushed: {reason}"));
        Ok(Outcome { notices: left_out.into_iter().map(warn).collect(), ..Outcome::fixed("FLUSH") })
    }

    /// A view is always on its way to what was committed: this waits until it is there.
    async fn refresh(&mut self, relation: RelationId, stop: &Stop) -> Result<Outcome, SqlError> {
        let state = self.engine.state();
        let graph = state.catalog.graph_of(relation).and_then(|graph| state.graphs.get(&graph));
        if let Some(graph) = graph.filter(|graph| graph.state() == GraphState::Running) {
            stop.race(async { Ok(graph.flush().await?) }).await?;
        }
        Ok(Outcome::fixed("REFRESH MATERIALIZED VIEW"))
    }

    async fn checkpoint(&mut self, stop: &Stop) -> Result<Outcome, SqlError> {
        self.transaction.refuse_block("CHECKPOINT")?;
        let left_out = stop.race(self.engine.checkpoint()).await?;
        let warn = |reason: String| Notice::warning(Condition::Warning, format!("no checkpoint: {reason}"));
        Ok(Outcome { notices: left_out.into_iter().map(warn).collect(), ..Outcome::fixed("CHECKPOINT") })
    }

    async fn advance_clock(&mut self, micros: i64, stop: &Stop) -> Result<Outcome, SqlError> {
        self.transaction.refuse_block("ADVANCE CLOCK")?;
        if !self.engine.clock().advance(micros) {
            let message = "the clock follows the system and can't be moved";
            return Err(SqlError::new(Condition::ObjectNotInPrerequisiteState, message)
                .with_hint("SET millstream.clock = 'manual' first."));
        }
        let state = self.engine.state();
        let running = state.graphs.values().filter(|graph| graph.state() == GraphState::Running);
        // What is due by the new time is shown by an epoch that ends after it.
        let flushed = futures::future::try_join_all(running.map(async |graph| graph.flush().await));
        stop.race(async { Ok(flushed.await?) }).await?;
        Ok(Outcome::fixed("ADVANCE CLOCK"))
    }
}

/// Puts an error about a literal under it: that a text is none of its type is found when it is read.
pub(super) fn locate_literal(error: &mut SqlError, text: &StatementText) {
    let about_text = ["22P02", "22007", "22008"].contains(&error.sqlstate) && error.position.is_none();
    let quoted = error.message.split_once(": \"").and_then(|(_, rest)| rest.strip_suffix('"'));
    if let (true, Some(literal)) = (about_text, quoted) {
        error.position = literal_position(text, literal).map(|position| position.0);
    }
}

fn unknown_statement(name: &str) -> SqlError {
    SqlError::new(Condition::InvalidSqlStatementName, format!("prepared statement \"{name}\" does not exist"))
}
