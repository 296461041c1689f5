//! A statement that changes rows within a transaction: decided now, against every commit and the transaction's
//! own changes, and kept until COMMIT.
//!
//! Tables are read as the transaction sees them: at the moment that its first read pinned, or, as long as it
//! has read nothing, with every commit that there is, always with its own changes. Keys are held against the
//! newest commit in any case, as a unique index would.

use std::sync::Arc;

use arrow::array::RecordBatch;
use millstream_planner::catalog::TableDefinition;
use millstream_planner::statement::OnConflict;
use millstream_runtime::plan::RelationId;
use millstream_runtime::relation::RelationVersion;

use super::Engine;
use super::definitions::is_provisional;
use super::dml::{self, Target};
use super::gathered::Gathered;
use super::head::TableHead;
use super::read::{Pinned, not_there_yet, version_of};
use super::returning::{Affected, returning_plan};
use super::state::State;
use super::stop::Stop;
use super::write::{
    Change, StoredChanges, Versions, WriteContext, Written, all_rows, decision, insertable, no_head, plan_of,
    tables_read, written,
};
use crate::session::SqlError;

/// What became of rows that were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Rows that are in the table once the transaction commits.
    pub rows: usize,
    /// Rows that came too late and go to `$late`.
    pub late: usize,
}

impl Engine {
    /// Runs a statement that changes rows within a transaction. `pinned` has the views that it reads; `moment`
    /// is what the transaction's first read pinned, once there was one.
    pub async fn gather(
        &self,
        change: Change<'_>,
        context: WriteContext<'_>,
        gathered: &mut Gathered,
        pinned: &Pinned,
        moment: Option<&Pinned>,
    ) -> Result<Written, SqlError> {
        let tables = self.writable_tables(change, context.state)?;
        let rows = match plan_of(change) {
            Some(plan) => {
                let read = tables_read(context.state, plan)?;
                let versions = self.seen_by(context.state, &read, gathered, moment).await?;
                Some(context.stop.race(self.evaluate(plan, pinned, &versions, &context)).await?)
            }
            None => None,
        };
        let before = match returning_plan(change) {
            Some(plan) => {
                let read = tables_read(context.state, plan)?;
                self.seen_by(context.state, &read, gathered, moment).await?
            }
            None => Versions::new(),
        };
        let emptied = match change {
            Change::Truncate(_) => self.seen_by(context.state, &tables, gathered, moment).await?,
            _ => Versions::new(),
        };
        let mut heads = context.stop.race(async { Ok(self.heads.lock().await) }).await?;
        let (mut decisions, mut result) = (Vec::new(), None);
        for table in tables {
            let definition = insertable(context.state, table)?.clone();
            let mut empty = new_table(table, &definition)?;
            let head = match &mut empty {
                Some(empty) => empty,
                None => heads.get_mut(&table).ok_or_else(|| no_head(&self.state.load(), table))?,
            };
            let own = gathered.table(table);
            let rows = match emptied.get(&table) {
                Some(version) => Some(all_rows(version)?),
                None => rows.clone(),
            };
            let decision = decision(change, Target { head, own }, rows.as_ref(), &context.parameters)?;
            if result.is_none() {
                let affected = Affected { definition: &definition, rows: &decision.affected };
                let returned = self.returned(change, affected, pinned, &before, &context);
                result = context.stop.race(returned).await?;
            }
            gathered.check_room(&decision, self.starter.memory.left())?;
            decisions.push((table, definition, decision));
        }
        drop(heads);
        let written = written(change, decisions.iter().map(|(_, _, decision)| decision), result);
        for (table, definition, decision) in decisions {
            let own = gathered.touched(table, &definition)?;
            own.meets_others |= resolves_conflicts(change);
            own.gather(decision)?;
        }
        Ok(written)
    }

    /// Adds rows to a table within a transaction, as an INSERT of them would: COPY brings a table in slices of
    /// any size. `rows` has the physical columns of the table, in order, defaults put in.
    ///
    /// Nothing is written before COMMIT, and a slice that fails leaves the transaction to be rolled back. What
    /// has come together is put into the storage as it grows, so that COMMIT has not to encode it all.
    pub async fn gather_rows(
        &self,
        table: RelationId,
        rows: &RecordBatch,
        state: &State,
        gathered: &mut Gathered,
        stop: &Stop,
    ) -> Result<Appended, SqlError> {
        let definition = insertable(state, table)?.clone();
        self.refuse_failed_job(state, table)?;
        let decision = {
            let mut heads = stop.race(async { Ok(self.heads.lock().await) }).await?;
            let mut empty = new_table(table, &definition)?;
            let head = match &mut empty {
                Some(empty) => empty,
                None => heads.get_mut(&table).ok_or_else(|| no_head(&self.state.load(), table))?,
            };
            dml::insert(&mut Target { head, own: gathered.table(table) }, rows, &definition.on_conflict, None)?
        };
        gathered.check_room(&decision, self.starter.memory.left())?;
        let late = decision.late.as_ref().map_or(0, RecordBatch::num_rows);
        let appended = Appended { rows: decision.affected.num_rows(), late };
        let own = gathered.touched(table, &definition)?;
        own.meets_others |= definition.on_conflict != OnConflict::Error;
        own.gather(decision)?;
        if let Some((range, changes)) = own.storable() {
            match stop.race(async { Ok(self.storage.write_rows(changes).await) }).await? {
                Ok(rows) => own.note_stored(StoredChanges { range, rows }),
                // COMMIT writes them then, and waits for the storage as every commit does.
                Err(error) => tracing::warn!(%error, "rows of a transaction are not stored before its COMMIT"),
            }
        }
        Ok(appended)
    }

    /// Tables as a transaction sees them.
    pub async fn seen_by(
        &self,
        state: &State,
        tables: &[RelationId],
        gathered: &mut Gathered,
        moment: Option<&Pinned>,
    ) -> Result<Versions, SqlError> {
        let mut versions = Versions::new();
        for table in tables {
            let base = self.base_version(state, *table, moment).await?;
            let version = match gathered.table(*table) {
                Some(own) => own.shown(&base)?,
                None => base,
            };
            versions.insert(*table, version);
        }
        Ok(versions)
    }

    async fn base_version(
        &self,
        state: &State,
        table: RelationId,
        moment: Option<&Pinned>,
    ) -> Result<Arc<RelationVersion>, SqlError> {
        if is_provisional(table) {
            return Ok(RelationVersion::empty(Arc::clone(&insertable(state, table)?.input.schema)));
        }
        let Some(moment) = moment else {
            let heads = self.heads.lock().await;
            return Ok(heads.get(&table).ok_or_else(|| no_head(state, table))?.store.version());
        };
        let name = || state.catalog.view.get(table).map_or("?", |relation| relation.name.name.as_str());
        version_of(moment, table).ok_or_else(|| not_there_yet(name()))
    }
}

/// The head of a table that the transaction has made: nothing is committed to it.
fn new_table(table: RelationId, definition: &TableDefinition) -> Result<Option<TableHead>, SqlError> {
    Ok(if is_provisional(table) { Some(TableHead::new(definition.clone())?) } else { None })
}

/// Whether a row that meets a key of another one is no error of the statement: then it is none of COMMIT either,
/// but a reason to run the transaction again.
fn resolves_conflicts(change: Change<'_>) -> bool {
    matches!(change, Change::Insert(insert) if insert.on_conflict != OnConflict::Error)
}
