//! COMMIT: what a transaction has gathered becomes one commit, checked once more against the newest one.
//!
//! Invariants:
//! - All tables are checked before any is changed, under the writer's lock: a transaction that fails here leaves
//!   nothing, and nobody sees a part of one that does not.
//! - A row that it takes back must still be there as it was (else 40001), a key that it adds must be free (else
//!   23505), a row that it adds must not have become late (it goes to `$late`, or the transaction fails with
//!   40001 where it also takes rows back).

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute;
use millstream_runtime::Error;
use millstream_runtime::batch::ChangeBatch;
use millstream_runtime::plan::RelationId;
use millstream_runtime::time::LogPosition;

use super::Engine;
use super::access::check::still_may;
use super::committer::Pending;
use super::dml::{duplicate, encode};
use super::gathered::{Gathered, OwnChanges, concurrent_update};
use super::head::TableHead;
use super::stop::Stop;
use super::write::{Answer, Heads, TableCommit, apply};
use crate::session::SqlError;
use crate::session::sqlstate::Condition;

/// What COMMIT has done; durable.
#[derive(Debug, Default)]
pub struct Committed {
    /// Its place in the log; `None` when there was nothing to write.
    pub position: Option<LogPosition>,
    /// The tables that were changed.
    pub tables: Vec<RelationId>,
    /// Rows that were in time when they were inserted, and came behind the watermark of another commit.
    pub late: Vec<(RelationId, usize)>,
    /// New materialized views that the client waits for.
    pub views: Vec<RelationId>,
    /// What was defined and could not be started, with the reason.
    pub unstarted: Vec<(String, Error)>,
}

impl Engine {
    /// Commits what a transaction has gathered, until it is durable. One that defines something is not stopped
    /// once it has begun: it runs in a task of its own, which a session that goes away leaves behind.
    pub async fn commit(self: &Arc<Self>, gathered: Gathered, stop: &Stop) -> Result<Committed, SqlError> {
        let (definitions, tables, rights) = gathered.into_parts();
        if !definitions.is_empty() {
            let (engine, stop) = (Arc::clone(self), stop.clone());
            let running =
                tokio::spawn(async move { engine.commit_definitions(&definitions, tables, &rights, &stop).await });
            return running.await.map_err(|error| Error::internal(format!("a COMMIT ended early: {error}")))?;
        }
        let mut committed = Committed { tables: tables.keys().copied().collect(), ..Committed::default() };
        let state = self.state.load();
        still_may(&state.catalog.view, &rights)?;
        for table in &committed.tables {
            self.refuse_failed_job(&state, *table)?;
        }
        let decided = stop.race(self.decide_commit(tables, &mut committed.late)).await?;
        if let Some(answer) = decided {
            committed.position = Some(self.durable(answer, stop).await?);
        }
        Ok(committed)
    }

    /// Checks everything and queues the commit. Nothing awaits between the first change of a head and the queue.
    async fn decide_commit(
        &self,
        tables: BTreeMap<RelationId, OwnChanges>,
        late: &mut Vec<(RelationId, usize)>,
    ) -> Result<Option<Answer>, SqlError> {
        let permit = self.committer.reserve().await?;
        let mut heads = self.heads.lock().await;
        let decisions = decided(&mut heads, tables, late)?;
        let (rows, changes) = apply(&mut heads, decisions)?;
        if rows.is_empty() {
            return Ok(None);
        }
        let (pending, answer) = Pending::new(rows, changes);
        permit.send(pending);
        Ok(Some(answer))
    }

    /// Waits until all that was decided so far is durable and handed over, and gives back its place in the log.
    pub async fn settled(&self) -> Result<LogPosition, SqlError> {
        let permit = self.committer.reserve().await?;
        let (pending, answer) = Pending::new(Vec::new(), Vec::new());
        {
            // Behind every commit that a head has.
            let _heads = self.heads.lock().await;
            permit.send(pending);
        }
        Ok(answer.await.map_err(|_| self.committer.why())??)
    }
}

/// What a transaction does to its tables, held against the newest state of each; nothing is changed.
pub(super) fn decided(
    heads: &mut Heads,
    tables: BTreeMap<RelationId, OwnChanges>,
    late: &mut Vec<(RelationId, usize)>,
) -> Result<Vec<(RelationId, TableCommit)>, SqlError> {
    let mut decisions = Vec::new();
    for (table, own) in tables {
        let head = heads.get_mut(&table).ok_or_else(|| dropped_meanwhile(&own))?;
        let told_late: usize = own.late().iter().map(RecordBatch::num_rows).sum();
        let decision = checked(own, head)?;
        let all_late = decision.late.as_ref().map_or(0, RecordBatch::num_rows);
        if all_late > told_late {
            late.push((table, all_late - told_late));
        }
        decisions.push((table, decision));
    }
    Ok(decisions)
}

fn dropped_meanwhile(own: &OwnChanges) -> SqlError {
    let message = format!("could not serialize access: table \"{}\" was dropped meanwhile", own.name());
    SqlError::new(Condition::SerializationFailure, message).with_hint("Nothing was written. Run the transaction again.")
}

/// What a transaction does to one table, held against its newest state.
fn checked(own: OwnChanges, head: &mut TableHead) -> Result<TableCommit, SqlError> {
    let definition = head.definition.clone();
    let mut changes = own.net()?;
    let (mut late, mut stored) = (own.late().to_vec(), own.stored());
    let clock = head.split_clock();
    for change in &mut changes {
        if head.store.lacking(change)?.is_some() {
            return Err(concurrent_update(&definition));
        }
        let Some(behind) = head.late_by(&change.rows, clock)?.filter(|behind| behind.true_count() > 0) else {
            continue;
        };
        // What windows have shown as final stays: a retry hears which row it is about.
        if change.weights.is_some() {
            return Err(concurrent_update(&definition)
                .with_detail(format!("A row of table \"{}\" fell behind its watermark meanwhile.", head.name())));
        }
        // The objects hold what does not hold any more: the rows go into the log anew.
        stored.clear();
        late.push(compute::filter_record_batch(&change.rows, &behind)?);
        let in_time: BooleanArray = compute::not(&behind)?;
        *change = ChangeBatch::append(compute::filter_record_batch(&change.rows, &in_time)?);
    }
    changes.retain(|change| !change.is_empty());
    refuse_taken_keys(head, &changes)
        .map_err(|taken| if own.meets_others { concurrent_update(&definition) } else { taken })?;
    let schema = &definition.input.schema;
    let late = if late.is_empty() { None } else { Some(compute::concat_batches(schema, &late)?) };
    let clock = own.clock.map(|own| {
        let mut clock = clock;
        clock.watermark = clock.watermark.max(own.watermark);
        clock
    });
    Ok(TableCommit { changes, late, clock, stored })
}

/// Keys that come must be free, or become free with the same commit. Among each other they are different: that
/// was checked when they came.
fn refuse_taken_keys(head: &mut TableHead, changes: &[ChangeBatch]) -> Result<(), SqlError> {
    let key = head.definition.input.primary_key.clone();
    if key.is_empty() {
        return Ok(());
    }
    for change in changes {
        let keys = change.rows.project(&key)?;
        let stored = head.store.find(&keys)?;
        let mut taken = (0..change.len()).filter(|row| change.weight(*row) > 0 && stored[*row].is_some()).peekable();
        if taken.peek().is_none() {
            continue;
        }
        let encoded = encode(&keys)?;
        let going = (0..change.len()).filter(|row| change.weight(*row) < 0);
        let going: std::collections::HashSet<_> = going.map(|row| &encoded[row]).collect();
        if let Some(row) = taken.find(|row| !going.contains(&encoded[*row])) {
            return Err(duplicate(head, &keys, row));
        }
    }
    Ok(())
}
