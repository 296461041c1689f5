//! COMMIT of a transaction that defines something: catalog and rows in one entry of the log.
//!
//! Invariants:
//! - Everything is checked before the first graph is touched: definitions are planned over the newest catalog
//!   under the lock for definitions, rows are held against the newest heads under the writer's lock.
//! - Graphs that a new view connects are made one before the entry, as for a single CREATE, and only once nothing
//!   but the storage can stand against it any more.
//! - The rows are handed to the graphs when the new ones run, and nobody pins a state in between.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_runtime::Error;
use millstream_runtime::plan::RelationId;

use super::Engine;
use super::access::check::still_may;
use super::commit::{Committed, decided};
use super::committer::Pending;
use super::definitions::{Definitions, Replanned};
use super::gathered::{OwnChanges, Right};
use super::head::TableHead;
use super::record::{Ddl, Detail};
use super::stop::Stop;
use super::write::{Answer, Heads, apply};
use crate::session::SqlError;

/// A commit that is in the queue, and what tells the committer that its graphs run.
struct Queued {
    answer: Answer,
    ready: tokio::sync::oneshot::Sender<()>,
}

impl Engine {
    /// Commits definitions and rows.
    pub(super) async fn commit_definitions(
        &self,
        definitions: &Definitions,
        tables: BTreeMap<RelationId, OwnChanges>,
        rights: &[Right],
        stop: &Stop,
    ) -> Result<Committed, SqlError> {
        let one_at_a_time = stop.race(async { Ok(self.begin_ddl().await) }).await?;
        let newest = self.state.load();
        let replanned = self.plan_again(&newest, definitions, |table| tables.contains_key(&table)).await?;
        // With what the transaction itself has granted and revoked.
        still_may(&replanned.catalog.view, rights)?;
        let tables = renumbered(tables, &replanned);
        let mut committed = Committed { tables: tables.keys().copied().collect(), ..Committed::default() };
        for table in &committed.tables {
            self.refuse_failed_job(&newest, *table)?;
        }
        let Queued { answer, ready } = self.queue_definitions(&replanned, tables, &mut committed).await?;
        let position = answer.await.map_err(|_| self.committer.why())??;
        let Replanned { mut catalog, records, views, .. } = replanned;
        catalog.logged_at(position);
        let unstarted = self.settle(catalog, position).await;
        // It waits for this; one that has ended has no use for it.
        let _ = ready.send(());
        committed.position = Some(position);
        committed.views = views;
        for (relation, error) in unstarted {
            committed.unstarted.push(self.dropped_unstarted(&records, relation, error).await?);
        }
        drop(one_at_a_time);
        Ok(committed)
    }

    /// Holds rows against the heads, joins graphs, and queues the commit. The heads change in one step with the
    /// queue; the tables that are new get theirs here.
    async fn queue_definitions(
        &self,
        replanned: &Replanned,
        tables: BTreeMap<RelationId, OwnChanges>,
        committed: &mut Committed,
    ) -> Result<Queued, SqlError> {
        let permit = self.committer.reserve().await?;
        let mut heads = self.heads.lock().await;
        let made = new_heads(replanned, &tables)?;
        let new: Vec<RelationId> = made.keys().copied().collect();
        heads.extend(made);
        let checked = async {
            let decisions = decided(&mut heads, tables, &mut committed.late)?;
            for ddl in &replanned.records {
                if let Detail::CreateRelation(placement) = &ddl.detail {
                    self.join_graphs(placement).await?;
                }
            }
            Ok::<_, SqlError>(decisions)
        };
        let decisions = match checked.await {
            Ok(decisions) => decisions,
            Err(error) => {
                new.iter().for_each(|table| drop(heads.remove(table)));
                return Err(error);
            }
        };
        let (rows, changes) = apply(&mut heads, decisions)?;
        let (pending, answer) = Pending::new(rows, changes);
        let (pending, ready) = pending.with_definitions(replanned.records.iter().map(|ddl| ddl.to_record()).collect());
        permit.send(pending);
        Ok(Queued { answer, ready })
    }

    /// Takes back what is committed and can't run; gives back its name, for the client.
    async fn dropped_unstarted(
        &self,
        records: &[Arc<Ddl>],
        relation: RelationId,
        error: Error,
    ) -> Result<(String, Error), SqlError> {
        let state = self.state.load();
        let name = state.catalog.view.get(relation).map_or_else(String::new, |relation| relation.name.name.clone());
        let made = records.iter().find(|ddl| ddl.relation.is_some_and(|made| made.id == relation));
        if let Some(ddl) = made {
            self.take_back(&ddl.sql, &ddl.settings, relation).await?;
        }
        Ok((name, error))
    }
}

/// The tables under the numbers that they have now; what the transaction has dropped is left out.
fn renumbered(tables: BTreeMap<RelationId, OwnChanges>, replanned: &Replanned) -> BTreeMap<RelationId, OwnChanges> {
    let dropped: Vec<RelationId> = replanned.records.iter().flat_map(|ddl| dropped_by(ddl)).collect();
    let numbered = tables.into_iter().map(|(id, own)| (*replanned.numbers.get(&id).unwrap_or(&id), own));
    numbered.filter(|(id, _)| !dropped.contains(id)).collect()
}

fn dropped_by(ddl: &Ddl) -> Vec<RelationId> {
    match &ddl.detail {
        Detail::Drop { relations } | Detail::DropSchemas { relations, .. } => relations.clone(),
        _ => Vec::new(),
    }
}

/// Empty heads for the new tables that get rows.
fn new_heads(replanned: &Replanned, tables: &BTreeMap<RelationId, OwnChanges>) -> Result<Heads, SqlError> {
    let mut heads = Heads::new();
    for id in replanned.numbers.values().filter(|id| tables.contains_key(id)) {
        let relation = replanned.catalog.view.get(*id);
        let relation = relation.ok_or_else(|| Error::internal("a table with rows is not in the catalog"))?;
        let definition = replanned.catalog.kept_table(relation);
        let definition = definition.ok_or_else(|| Error::internal("rows of what keeps none"))?;
        heads.insert(*id, TableHead::new(definition.clone())?);
    }
    Ok(heads)
}
