//! The commit writer: INSERT, UPDATE, DELETE and TRUNCATE, from their plan to what graphs and log get.
//!
//! Invariants:
//! - A statement that reads tables in order to write is evaluated under the writer's lock, against heads: every
//!   earlier commit is applied, those still on their way to the log included.
//! - The lock is not held while anybody waits for the log. Heads change and commits are queued in one step.
//! - Once queued, a commit can't be taken back: a session that gives up waiting is told how it came out where the log
//!   says so within [`COMMIT_GRACE`], as in Postgres, which holds a cancel off while it commits; else it is told 08007.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use datafusion::catalog::TableProvider;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{Expr, LogicalPlan};
use futures::{FutureExt, TryStreamExt};
use millstream_planner::access::RoleOid;
use millstream_planner::bind::{self, RelationTable};
use millstream_planner::catalog::{Resolved, TableDefinition};
use millstream_planner::functions::{self, SessionFacts};
use millstream_planner::statement::{Delete, Insert, NEW_RELATION, Read, Update};
use millstream_runtime::batch::ChangeBatch;
use millstream_runtime::graph::{GraphState, SplitClock, TableChange};
use millstream_runtime::plan::RelationId;
use millstream_runtime::relation::RelationVersion;
use millstream_runtime::storage::{RowsRecord, StoredRows};
use millstream_runtime::time::{LogPosition, Watermark};

use super::Engine;
use super::committer::Pending;
use super::dml::{self, Decision, Target};
use super::head::TableHead;
use super::index::indexes_of;
use super::limits::{COMMIT_GRACE, DML_STATEMENT_BYTES};
use super::provider::{Scan, VersionRows};
use super::read::Pinned;
use super::returning::{Affected, RowsCheck, returning_plan};
use super::state::State;
use super::stop::Stop;
use crate::session::SqlError;
use crate::session::sqlstate::Condition;

/// The tables of the server with every commit applied.
pub type Heads = BTreeMap<RelationId, TableHead>;

/// Tables as a statement reads them, where that is not what was pinned.
pub type Versions = BTreeMap<RelationId, Arc<RelationVersion>>;

/// A statement that changes rows.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// `INSERT`.
    Insert(&'a Insert),
    /// `UPDATE`.
    Update(&'a Update),
    /// `DELETE`.
    Delete(&'a Delete),
    /// `TRUNCATE`.
    Truncate(&'a [RelationId]),
}

/// What a statement needs beside its plan.
pub struct WriteContext<'a> {
    /// The catalog that it was planned against.
    pub state: &'a Arc<State>,
    /// The values of its parameters.
    pub parameters: Vec<ScalarValue>,
    /// Who runs the statement.
    pub viewer: RoleOid,
    /// The clock and who asks.
    pub facts: SessionFacts,
    /// Holds the rows of RETURNING against what the client can be told.
    pub rows_check: Option<RowsCheck>,
    /// Ends it early.
    pub stop: &'a Stop,
    /// The newest commit that the session has seen.
    pub seen: LogPosition,
}

/// What a statement has done; durable.
#[derive(Debug)]
pub struct Written {
    /// Its commit; `None` when it changed nothing.
    pub position: Option<LogPosition>,
    /// Rows for the command tag.
    pub affected: usize,
    /// Rows that came too late and are in `$late`.
    pub late: usize,
    /// The rows of RETURNING.
    pub returned: Option<Vec<RecordBatch>>,
}

impl Engine {
    /// Runs a statement that changes rows as a transaction of its own, until it is durable.
    pub async fn write(&self, change: Change<'_>, context: WriteContext<'_>) -> Result<Written, SqlError> {
        let tables = self.writable_tables(change, context.state)?;
        let decided = context.stop.race(self.decide(change, &tables, &context)).await?;
        let Some(answer) = decided.answer else { return Ok(decided.written) };
        let position = self.durable(answer, context.stop).await?;
        Ok(Written { position: Some(position), ..decided.written })
    }

    /// The tables that a statement changes, if it may.
    pub(super) fn writable_tables(&self, change: Change<'_>, state: &State) -> Result<Vec<RelationId>, SqlError> {
        let tables = tables_of(change);
        for table in &tables {
            writable(state, *table, change)?;
            self.refuse_failed_job(state, *table)?;
        }
        Ok(tables)
    }

    /// What can't be shown to anybody is not taken.
    pub(super) fn refuse_failed_job(&self, state: &State, table: RelationId) -> Result<(), SqlError> {
        let Some(GraphState::Failed { reason }) = state.graph_of(table).map(|graph| graph.state()) else {
            return Ok(());
        };
        let name = state.catalog.view.get(table).map_or("?", |relation| relation.name.name.as_str());
        let message = format!("the job of table \"{name}\" has failed: {reason}");
        Err(SqlError::new(Condition::ObjectNotInPrerequisiteState, message)
            .with_hint("Nothing was written. DROP the view that failed, or mend the cause."))
    }

    /// Waits until a commit is durable; that it was queued can't be taken back.
    pub(super) async fn durable(&self, answer: Answer, stop: &Stop) -> Result<LogPosition, SqlError> {
        let answered = answer.map(|answered| Ok(answered.map_err(|_| self.committer.why())??));
        let mut answered = pin!(answered);
        tokio::select! {
            answered = &mut answered => answered,
            stopped = stop.stopped() => {
                if let Ok(answered) = tokio::time::timeout(COMMIT_GRACE, answered).await {
                    return answered;
                }
                let message = "the statement was given up while its commit was being written: it may be there or not";
                Err(SqlError::new(Condition::TransactionResolutionUnknown, message)
                    .with_detail(format!("The reason: {}.", stopped.message))
                    .with_hint("Look whether the rows are there before you send it again."))
            }
        }
    }

    /// Evaluates the statement and queues its commit. Nothing awaits between the change of a head and the
    /// queue, so that dropping this future leaves a statement done or not begun.
    async fn decide(
        &self,
        change: Change<'_>,
        tables: &[RelationId],
        context: &WriteContext<'_>,
    ) -> Result<Decided, SqlError> {
        let pinned = self.pin_others(change, context).await?;
        let rows = match plan_of(change) {
            Some(plan) if tables_read(context.state, plan)?.is_empty() => {
                Some(self.evaluate(plan, &pinned, &Versions::new(), context).await?)
            }
            _ => None,
        };
        let permit = self.committer.reserve().await?;
        let mut heads = self.heads.lock().await;
        let rows = match (rows, plan_of(change)) {
            (Some(rows), _) => Some(rows),
            (None, Some(plan)) => {
                let read = tables_read(context.state, plan)?.into_iter();
                let versions = read.filter_map(|id| Some((id, heads.get(&id)?.store.version()))).collect();
                Some(self.evaluate(plan, &pinned, &versions, context).await?)
            }
            (None, None) => None,
        };
        let mut commit = Vec::new();
        for table in tables {
            let head = heads.get_mut(table).ok_or_else(|| no_head(&self.state.load(), *table))?;
            let rows = match change {
                Change::Truncate(_) => Some(all_rows(&head.store.version())?),
                _ => rows.clone(),
            };
            let decision = decision(change, Target { head, own: None }, rows.as_ref(), &context.parameters)?;
            commit.push((*table, decision));
        }
        let result = match commit.first() {
            Some((table, decision)) => {
                let read = returning_plan(change).map(|plan| tables_read(context.state, plan)).transpose()?;
                let read = read.into_iter().flatten();
                let versions = read.filter_map(|id| Some((id, heads.get(&id)?.store.version()))).collect();
                let affected = Affected { definition: &heads[table].definition, rows: &decision.affected };
                self.returned(change, affected, &pinned, &versions, context).await?
            }
            None => None,
        };
        let written = written(change, commit.iter().map(|(_, decision)| decision), result);
        let commit = commit.into_iter().map(|(table, decision)| (table, decision.into())).collect();
        let (rows, changes) = apply(&mut heads, commit)?;
        if rows.is_empty() {
            return Ok(Decided { written, answer: None });
        }
        let (pending, answer) = Pending::new(rows, changes);
        permit.send(pending);
        Ok(Decided { written, answer: Some(answer) })
    }

    /// The views that the statement reads; tables are read at their heads.
    async fn pin_others(&self, change: Change<'_>, context: &WriteContext<'_>) -> Result<Pinned, SqlError> {
        let others = views_read(context.state, change)?;
        let graphs = self.graphs_read(context.state, &others);
        self.pin(context.state, &others, &graphs, context.seen).await
    }

    /// The rows of a plan, with the given versions of tables.
    pub(super) async fn evaluate(
        &self,
        plan: &LogicalPlan,
        pinned: &Pinned,
        versions: &Versions,
        context: &WriteContext<'_>,
    ) -> Result<RecordBatch, SqlError> {
        self.evaluate_over(plan, None, pinned, versions, context).await
    }

    /// The same, with the rows of [`NEW_RELATION`] where the plan is that of a RETURNING.
    pub(super) async fn evaluate_over(
        &self,
        plan: &LogicalPlan,
        changed: Option<RecordBatch>,
        pinned: &Pinned,
        versions: &Versions,
        context: &WriteContext<'_>,
    ) -> Result<RecordBatch, SqlError> {
        let mut failure = None;
        let mut provider = |table: &RelationTable| -> millstream_planner::error::Result<Arc<dyn TableProvider>> {
            let rows = match changed.as_ref().filter(|_| table.relation.relation == NEW_RELATION) {
                Some(changed) => MemTable::try_new(changed.schema(), vec![vec![changed.clone()]])
                    .map(|rows| Arc::new(rows) as Arc<dyn TableProvider>)
                    .map_err(SqlError::from),
                None => self.provider_of(versions, pinned, context.viewer, table),
            };
            rows.map_err(|error| super::keep(&mut failure, error))
        };
        let query = match changed {
            Some(_) => self.batch.query_in_order(context.facts.clone()),
            None => self.batch.query(context.facts.clone()),
        };
        let planned = query.physical_plan(plan, context.parameters.clone(), &mut provider).await;
        let planned = match (planned, failure) {
            (_, Some(error)) => return Err(error),
            (planned, None) => planned?,
        };
        let schema = planned.physical.schema();
        let mut stream = planned.stream()?;
        let (mut batches, mut bytes) = (Vec::new(), 0);
        while let Some(batch) = stream.try_next().await? {
            bytes += batch.get_array_memory_size();
            if bytes > DML_STATEMENT_BYTES {
                let message = format!("a statement can't change more than {} MiB of rows", DML_STATEMENT_BYTES >> 20);
                return Err(SqlError::new(Condition::ProgramLimitExceeded, message)
                    .with_hint("Split it into several statements."));
            }
            batches.push(batch);
        }
        Ok(arrow::compute::concat_batches(&schema, &batches)?)
    }
}

impl Engine {
    /// The rows behind a table scan: a given version, or what was pinned.
    pub fn provider_of(
        &self,
        versions: &Versions,
        pinned: &Pinned,
        viewer: RoleOid,
        table: &RelationTable,
    ) -> Result<Arc<dyn TableProvider>, SqlError> {
        match versions.get(&table.relation.relation).filter(|_| table.relation.auxiliary.is_none()) {
            Some(version) => {
                let rows = VersionRows::new(Arc::clone(version), Arc::clone(&version.schema));
                Ok(Arc::new(Scan(match &table.resolved {
                    Resolved::Relation(relation) => {
                        rows.with_indexes(&relation.name.name, indexes_of(&pinned.state.catalog, relation))
                    }
                    Resolved::Auxiliary { .. } => rows,
                })))
            }
            None => self.provider(pinned, viewer, table),
        }
    }

    /// `ADVANCE WATERMARK`: raises a table's watermark as if rows up to there had come.
    pub async fn advance_watermark(&self, table: RelationId, to: Watermark) -> Result<LogPosition, SqlError> {
        let permit = self.committer.reserve().await?;
        let answer = {
            let mut heads = self.heads.lock().await;
            let head = heads
                .get_mut(&table)
                .ok_or_else(|| SqlError::new(Condition::WrongObjectType, "only a table's watermark can be advanced"))?;
            head.advance_watermark(to);
            let version = head.store.version();
            let change =
                TableChange { relation: table, changes: vec![], late: vec![], version, watermark: head.watermark() };
            let watermark = head.clock();
            let record = RowsRecord { relation: table, late: false, changes: vec![], stored: None, watermark };
            let (pending, answer) = Pending::new(vec![record], vec![change]);
            permit.send(pending);
            answer
        };
        let position = answer.await.map_err(|_| self.committer.why())??;
        if let Some(graph) = self.state.load().graph_of(table) {
            graph.wait_for(position).await?;
        }
        Ok(position)
    }
}

/// Where the place of a commit in the log arrives.
pub(super) type Answer = tokio::sync::oneshot::Receiver<millstream_runtime::Result<LogPosition>>;

struct Decided {
    written: Written,
    answer: Option<Answer>,
}

/// What a statement has done, without its place in the log.
pub(super) fn written<'a>(
    change: Change<'_>,
    decisions: impl Iterator<Item = &'a Decision>,
    returned: Option<Vec<RecordBatch>>,
) -> Written {
    let mut written = Written { position: None, affected: 0, late: 0, returned };
    for decision in decisions {
        written.late += decision.late.as_ref().map_or(0, RecordBatch::num_rows);
        if !matches!(change, Change::Truncate(_)) {
            written.affected += decision.affected.num_rows();
        }
    }
    written
}

pub(super) fn no_head(state: &State, table: RelationId) -> SqlError {
    match state.catalog.view.get(table) {
        None => SqlError::new(Condition::UndefinedTable, "the table was dropped while the statement waited"),
        Some(relation) => {
            let message = format!("table \"{}\" can't be written: what it holds can't be read", relation.name.name);
            SqlError::new(Condition::ObjectNotInPrerequisiteState, message)
                .with_hint("SHOW JOBS names the object that is damaged or missing.")
        }
    }
}

fn tables_of(change: Change<'_>) -> Vec<RelationId> {
    match change {
        Change::Insert(insert) => vec![insert.relation],
        Change::Update(update) => vec![update.relation],
        Change::Delete(delete) => vec![delete.relation],
        Change::Truncate(relations) => relations.to_vec(),
    }
}

pub(super) fn plan_of(change: Change<'_>) -> Option<&LogicalPlan> {
    match change {
        Change::Insert(insert) => Some(&insert.rows),
        Change::Update(update) => Some(&update.rows),
        Change::Delete(delete) => Some(&delete.rows),
        Change::Truncate(_) => None,
    }
}

/// The table, if this statement may change it.
fn writable(state: &State, id: RelationId, change: Change<'_>) -> Result<(), SqlError> {
    let definition = insertable(state, id)?;
    match change {
        Change::Update(_) | Change::Delete(_) | Change::Truncate(_) if definition.append_only => {
            let name = state.catalog.view.get(id).map_or("?", |relation| relation.name.name.as_str());
            let message = format!("table \"{name}\" is declared APPEND ONLY");
            Err(SqlError::new(Condition::ObjectNotInPrerequisiteState, message).with_hint("Only INSERT can change it."))
        }
        _ => Ok(()),
    }
}

/// The table, if it keeps rows.
pub(super) fn insertable(state: &State, id: RelationId) -> Result<&TableDefinition, SqlError> {
    let relation = state.catalog.view.get(id).ok_or_else(|| {
        SqlError::new(Condition::UndefinedTable, "the table was dropped after the statement was planned")
    })?;
    state.catalog.kept_table(relation).ok_or_else(|| {
        let message = format!("\"{}\" is not a table that keeps rows", relation.name.name);
        SqlError::new(Condition::WrongObjectType, message)
            .with_hint("A relation with a connector takes its rows from there.")
    })
}

fn is_table(state: &State, read: Read) -> bool {
    let relation = state.catalog.view.get(read.relation);
    read.auxiliary.is_none() && relation.is_some_and(|relation| state.catalog.kept_table(relation).is_some())
}

/// What a statement reads beside tables that keep rows.
pub fn views_read(state: &State, change: Change<'_>) -> Result<Vec<Read>, SqlError> {
    let mut others: Vec<Read> = Vec::new();
    for plan in plan_of(change).into_iter().chain(returning_plan(change)) {
        let reads = bind::reads(plan)?.into_iter();
        let reads = reads.filter(|read| read.relation != NEW_RELATION && !is_table(state, *read));
        others.extend(reads.filter(|read| !others.contains(read)).collect::<Vec<_>>());
    }
    Ok(others)
}

/// The tables whose rows a plan reads.
pub(super) fn tables_read(state: &State, plan: &LogicalPlan) -> Result<Vec<RelationId>, SqlError> {
    let reads = bind::reads(plan)?.into_iter().filter(|read| is_table(state, *read));
    Ok(reads.map(|read| read.relation).collect())
}

/// All rows of a version as one batch.
pub(super) fn all_rows(version: &RelationVersion) -> Result<RecordBatch, SqlError> {
    let batches = version.batches().collect::<millstream_runtime::Result<Vec<_>>>()?;
    Ok(arrow::compute::concat_batches(&version.schema, &batches)?)
}

pub(super) fn decision(
    change: Change<'_>,
    mut target: Target<'_>,
    rows: Option<&RecordBatch>,
    parameters: &[ScalarValue],
) -> Result<Decision, SqlError> {
    let rows = rows.ok_or_else(|| SqlError::new(Condition::InternalError, "a statement has no rows"));
    match change {
        Change::Insert(insert) => match &insert.conflict_assignments {
            None => dml::insert(&mut target, rows?, &insert.on_conflict, None),
            Some(assignments) => {
                let definition = target.head.definition.clone();
                let merge = |pairs: &RecordBatch| merged(assignments, &definition, pairs, parameters);
                dml::insert(&mut target, rows?, &insert.on_conflict, Some(&merge))
            }
        },
        Change::Update(_) => dml::update(&mut target, rows?),
        Change::Delete(_) | Change::Truncate(_) => dml::delete(&mut target, rows?),
    }
}

/// What a commit does to one table, checked.
pub(super) struct TableCommit {
    /// Final changes.
    pub changes: Vec<ChangeBatch>,
    /// Rows that came too late.
    pub late: Option<RecordBatch>,
    /// The table's clock behind the rows, if some were added.
    pub clock: Option<SplitClock>,
    /// Objects that hold some of the changes already; then all of them only add rows.
    pub stored: Vec<StoredChanges>,
}

/// An object with the changes of a table from one number to another.
#[derive(Clone)]
pub(super) struct StoredChanges {
    pub range: std::ops::Range<usize>,
    pub rows: Arc<StoredRows>,
}

impl From<Decision> for TableCommit {
    fn from(decision: Decision) -> Self {
        Self { changes: decision.changes, late: decision.late, clock: decision.clock, stored: Vec::new() }
    }
}

/// Applies what was decided for each table; all of it or, for a bug of ours, none that was acknowledged.
pub(super) fn apply(
    heads: &mut Heads,
    commit: Vec<(RelationId, TableCommit)>,
) -> Result<(Vec<RowsRecord>, Vec<TableChange>), SqlError> {
    let (mut records, mut changes) = (Vec::new(), Vec::new());
    for (relation, decision) in commit {
        let head = heads.get_mut(&relation).expect("it was there when the statement was decided");
        let clock = head.clock();
        let net = head.commit(&decision.changes, decision.clock)?;
        let (watermark, late) = (head.clock(), decision.late.into_iter().collect::<Vec<RecordBatch>>());
        let record = |late, changes, stored| RowsRecord { relation, late, changes, stored, watermark };
        // Stored changes only add rows: then the net effect is the changes themselves.
        let loose: Vec<ChangeBatch> = match decision.stored.is_empty() {
            true => net.clone(),
            false => unstored(&decision.changes, &decision.stored),
        };
        records.extend(decision.stored.into_iter().map(|stored| record(false, Vec::new(), Some(stored.rows))));
        // A row that changes nothing can move the clock: then that is what the log gets.
        if !loose.is_empty() || net.is_empty() && watermark != clock {
            records.push(record(false, loose, None));
        }
        if !late.is_empty() {
            records.push(record(true, late.iter().cloned().map(ChangeBatch::append).collect(), None));
        }
        if !net.is_empty() || !late.is_empty() || watermark != clock {
            let version = head.store.version();
            changes.push(TableChange { relation, changes: net, late, version, watermark: head.watermark() });
        }
    }
    Ok((records, changes))
}

/// The changes that stand in no object yet.
fn unstored(changes: &[ChangeBatch], stored: &[StoredChanges]) -> Vec<ChangeBatch> {
    let loose = changes.iter().enumerate().filter(|(at, _)| !stored.iter().any(|stored| stored.range.contains(at)));
    loose.map(|(_, change)| change.clone()).collect()
}

/// The physical columns that `DO UPDATE SET` gives, from (old columns, new columns).
fn merged(
    assignments: &[Expr],
    definition: &TableDefinition,
    pairs: &RecordBatch,
    parameters: &[ScalarValue],
) -> Result<RecordBatch, SqlError> {
    let df_schema = bind::conflict_schema(&definition.input.schema)?;
    let physical = definition.input.physical_columns;
    let columns = evaluate_all(&assignments[..physical.min(assignments.len())], &df_schema, pairs, parameters)?;
    let fields = definition.input.schema.fields()[..physical].iter();
    let schema = Schema::new(fields.map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>());
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}

fn evaluate_all(
    expressions: &[Expr],
    schema: &DFSchema,
    rows: &RecordBatch,
    parameters: &[ScalarValue],
) -> Result<Vec<arrow::array::ArrayRef>, SqlError> {
    let evaluated = expressions.iter().map(|expr| {
        let expr = super::with_parameters(expr, parameters)?;
        let physical = functions::physical_expression(&expr, schema)?;
        Ok(physical.evaluate(rows)?.into_array(rows.num_rows())?)
    });
    evaluated.collect()
}
