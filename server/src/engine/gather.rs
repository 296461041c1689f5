//! A statement that changes rows within a transaction: decided now, against every commit and the transaction's
//! own changes, and kept until COMMIT.
//!
//! Tables are read as the transaction sees them: at the moment that its first read pinned, or, as long as it
//! has read nothing, with every commit that there is, always with its own changes. Keys are held against the
//! newest commit in any case, as a unique index would.

use std::sync::Arc;

use millstream_planner::statement::OnConflict;
use millstream_runtime::plan::RelationId;
use millstream_runtime::relation::RelationVersion;

use super::Engine;
use super::dml::Target;
use super::gathered::Gathered;
use super::read::{Pinned, not_there_yet, version_of};
use super::state::State;
use super::write::{
    Change, Versions, WriteContext, Written, all_rows, decision, no_head, plan_of, returned, returning_of, tables_read,
    written,
};
use crate::session::SqlError;

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
        let emptied = match change {
            Change::Truncate(_) => self.seen_by(context.state, &tables, gathered, moment).await?,
            _ => Versions::new(),
        };
        let mut heads = context.stop.race(async { Ok(self.heads.lock().await) }).await?;
        let (mut decisions, mut result) = (Vec::new(), None);
        for table in tables {
            let head = heads.get_mut(&table).ok_or_else(|| no_head(&self.state.load(), table))?;
            let definition = head.definition.clone();
            let own = gathered.table(table);
            let rows = match emptied.get(&table) {
                Some(version) => Some(all_rows(version)?),
                None => rows.clone(),
            };
            let decision = decision(change, Target { head, own }, rows.as_ref(), &context.parameters)?;
            if let Some(returning) = returning_of(change) {
                result = Some(returned(returning, &definition, &decision.affected, &context.parameters)?);
            }
            gathered.check_room(&decision)?;
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
        let Some(moment) = moment else {
            let heads = self.heads.lock().await;
            return Ok(heads.get(&table).ok_or_else(|| no_head(state, table))?.store.version());
        };
        let name = || state.catalog.view.get(table).map_or("?", |relation| relation.name.name.as_str());
        version_of(moment, table).ok_or_else(|| not_there_yet(name()))
    }
}

/// Whether a row that meets a key of another one is no error of the statement: then it is none of COMMIT either,
/// but a reason to run the transaction again.
fn resolves_conflicts(change: Change<'_>) -> bool {
    matches!(change, Change::Insert(insert) if insert.on_conflict != OnConflict::Error)
}
