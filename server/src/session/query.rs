//! SELECT: pin what it sees, plan it for DataFusion, stream its rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::execution::SendableRecordBatchStream;
use futures::{StreamExt, TryStreamExt};
use millstream_planner::batch::BatchPlan;
use millstream_planner::bind::RelationTable;
use millstream_planner::catalog::{Catalog, Relation, RelationKind};
use millstream_planner::functions::SessionFacts;
use millstream_planner::statement::{Query, Read};
use millstream_runtime::graph::{GraphId, GraphState};
use millstream_runtime::plan::RelationId;

use super::change::one_batch;
use super::look_up::FoundAtOnce;
use super::settings::SettingsCopy;
use super::sqlstate::Condition;
use super::{CommandTag, Notice, Outcome, RowStream, Session, SqlError};
use crate::engine::definitions::is_provisional;
use crate::engine::read::Pinned;
use crate::engine::state::State;
use crate::engine::stop::Stop;
use crate::engine::write::Versions;

/// What a query sees.
pub(super) struct Seen {
    pub(super) pinned: Pinned,
    /// The tables that the transaction has changed, with its changes.
    pub(super) versions: Versions,
}

/// How a query runs.
pub(super) enum Run {
    /// It has, as a look-up.
    Found(FoundAtOnce),
    /// By DataFusion.
    Planned(BatchPlan),
}

impl Session {
    pub(super) async fn query(
        &mut self,
        query: &Query,
        parameters: Vec<ScalarValue>,
        stop: Stop,
    ) -> Result<Outcome, SqlError> {
        if query.changes_settings {
            return self.query_that_sets(query, parameters, stop).await;
        }
        let rows = match stop.race(self.run_over(query, parameters)).await? {
            Run::Found(found) => one_batch(found.rows),
            Run::Planned(plan) => rows_of(plan.stream()?, stop),
        };
        let notices = self.notice_of_views(&query.reads).into_iter().collect();
        Ok(Outcome { rows: Some(rows), notices, ..Outcome::tagged(CommandTag::Counted("SELECT ")) })
    }

    /// A query with `set_config`: collected, because what it sets holds before its first row is sent.
    async fn query_that_sets(
        &mut self,
        query: &Query,
        parameters: Vec<ScalarValue>,
        stop: Stop,
    ) -> Result<Outcome, SqlError> {
        let copy = Arc::new(SettingsCopy::of(&self.settings));
        let facts = SessionFacts { settings: Arc::<SettingsCopy>::clone(&copy), ..self.facts() };
        let running = async {
            let plan = self.batch_plan_over(query, parameters, facts).await?;
            Ok(plan.stream()?.try_collect::<Vec<_>>().await?)
        };
        let batches = stop.race(running).await?;
        let (settings, changed) = copy.taken();
        let clock = settings.get("millstream.clock");
        if clock != self.settings.get("millstream.clock") {
            // The clock is the server's, not the session's.
            self.authorize_setting("millstream.clock")?;
            self.engine.clock().set_manual(clock.as_deref() == Some("manual"));
        }
        self.settings = settings;
        let rows = futures::stream::iter(batches.into_iter().map(Ok)).boxed();
        let tag = CommandTag::Counted("SELECT ");
        let (notices, changed_parameters) = (changed.notices, changed.reported);
        Ok(Outcome { rows: Some(rows), notices, changed_parameters, ..Outcome::tagged(tag) })
    }

    /// The rows of a query that an index finds at once, or its plan.
    pub(super) async fn run_over(&mut self, query: &Query, parameters: Vec<ScalarValue>) -> Result<Run, SqlError> {
        let seen = self.seen_by(query).await?;
        if let Some(found) = self.looked_up(query, &parameters, &seen).await? {
            return Ok(Run::Found(found));
        }
        let facts = self.facts();
        Ok(Run::Planned(self.plan_over(query, parameters, facts, &seen).await?))
    }

    /// The plan of a query over what it sees.
    pub(super) async fn batch_plan(
        &mut self,
        query: &Query,
        parameters: Vec<ScalarValue>,
    ) -> Result<BatchPlan, SqlError> {
        let facts = self.facts();
        self.batch_plan_over(query, parameters, facts).await
    }

    async fn batch_plan_over(
        &mut self,
        query: &Query,
        parameters: Vec<ScalarValue>,
        facts: SessionFacts,
    ) -> Result<BatchPlan, SqlError> {
        let seen = self.seen_by(query).await?;
        self.plan_over(query, parameters, facts, &seen).await
    }

    async fn seen_by(&mut self, query: &Query) -> Result<Seen, SqlError> {
        self.refuse_unmade(&query.reads)?;
        let pinned = self.pinned_for(&query.reads).await?;
        let versions = self.own_versions(&query.reads, &pinned).await?;
        Ok(Seen { pinned, versions })
    }

    async fn plan_over(
        &self,
        query: &Query,
        parameters: Vec<ScalarValue>,
        facts: SessionFacts,
        Seen { pinned, versions }: &Seen,
    ) -> Result<BatchPlan, SqlError> {
        let batch = self.engine.batch_query(facts);
        let viewer = self.actor()?.current;
        let mut failure = None;
        let mut provider = |table: &RelationTable| -> millstream_planner::error::Result<Arc<dyn TableProvider>> {
            let provider = self.engine.provider_of(versions, pinned, viewer, table);
            provider.map_err(|error| crate::engine::keep(&mut failure, error))
        };
        let planned = batch.physical_plan(&query.plan, parameters, &mut provider).await;
        match failure {
            Some(error) => Err(error),
            None => Ok(planned?),
        }
    }

    /// What a statement sees: its own moment, or that of the transaction's first read.
    pub(super) async fn pinned_for(&mut self, reads: &[Read]) -> Result<Pinned, SqlError> {
        let state = self.engine.state();
        let wanted = self.engine.graphs_read(&state, reads);
        if self.transaction.wants_pin() {
            self.pin_block(&state, reads, &wanted).await?;
        }
        let Some(pinned) = self.transaction.pinned() else {
            let pinned = self.engine.pin(&state, reads, &wanted, self.seen).await?;
            self.seen = self.seen.max(pinned.log_position());
            return Ok(pinned);
        };
        let pinned = pinned.clone();
        for graph in wanted {
            if pinned.graphs.contains_key(&graph) {
                continue;
            }
            return Err(self.transaction.unpinned(graph).cloned().unwrap_or_else(|| {
                let message = "could not serialize access: the relation was made after the transaction's first read";
                SqlError::new(Condition::SerializationFailure, message).with_hint("Run the transaction again.")
            }));
        }
        Ok(pinned)
    }

    /// The tables among what is read that the transaction has changed, with its changes.
    async fn own_versions(&mut self, reads: &[Read], pinned: &Pinned) -> Result<Versions, SqlError> {
        let state = self.state();
        let Some(gathered) = self.transaction.gathered() else { return Ok(Versions::new()) };
        let rows = reads.iter().filter(|read| read.auxiliary.is_none()).map(|read| read.relation);
        let changed: Vec<_> = rows.filter(|table| is_provisional(*table) || gathered.table(*table).is_some()).collect();
        self.engine.seen_by(&state, &changed, gathered, Some(pinned)).await
    }

    /// Refuses to read what does not run before COMMIT. A table does without: it has the transaction's rows.
    pub(super) fn refuse_unmade(&self, reads: &[Read]) -> Result<(), SqlError> {
        let state = self.state();
        for read in reads.iter().filter(|read| is_provisional(read.relation)) {
            let Some(relation) = state.catalog.view.get(read.relation) else { continue };
            if state.catalog.kept_table(relation).is_none() {
                let name = &relation.name.name;
                let message = format!("cannot read \"{name}\" in the transaction that creates it");
                return Err(SqlError::new(Condition::FeatureNotSupported, message)
                    .with_hint("COMMIT first: it has rows from then on."));
            }
        }
        Ok(())
    }

    /// Says, once in a transaction, that a view that is read does not show what the transaction has written.
    fn notice_of_views(&mut self, reads: &[Read]) -> Option<Notice> {
        let changed: Vec<_> = self.transaction.gathered()?.tables().collect();
        if changed.is_empty() {
            return None;
        }
        let catalog = &self.state().catalog.view;
        let behind = reads.iter().filter(|read| read.auxiliary.is_none()).find_map(|read| {
            let view = catalog.get(read.relation)?;
            let is_view = matches!(view.kind, RelationKind::MaterializedView(_));
            (is_view && depends_on_any(catalog, view, &changed)).then(|| view.name.name.clone())
        })?;
        if !self.transaction.tells_of_views() {
            return None;
        }
        let mut notice = Notice::plain(format!("view \"{behind}\" does not show what this transaction has written"));
        notice.hint = Some("Views follow at COMMIT; tables show the transaction's own rows at once.".to_string());
        Some(notice)
    }

    /// Pins every graph that runs, so that later reads of the block see the same moment.
    async fn pin_block(
        &mut self,
        state: &Arc<State>,
        reads: &[Read],
        wanted: &BTreeSet<GraphId>,
    ) -> Result<(), SqlError> {
        // Own changes were decided over every commit that there was: the moment must not be before them.
        if self.transaction.gathered().is_some_and(|gathered| !gathered.is_empty()) {
            self.seen = self.seen.max(self.engine.settled().await?);
        }
        let mut graphs = wanted.clone();
        let mut unpinned = BTreeMap::new();
        for (id, graph) in &state.graphs {
            match graph.state() {
                GraphState::Running => drop(graphs.insert(*id)),
                GraphState::Waiting { reason } | GraphState::Restarting { reason } | GraphState::Failed { reason } => {
                    let message = format!("the relation's job did not run at the transaction's first read: {reason}");
                    unpinned.insert(*id, SqlError::new(Condition::ObjectNotInPrerequisiteState, message));
                }
            }
        }
        let pinned = self.engine.pin(state, reads, &graphs, self.seen).await?;
        self.seen = self.seen.max(pinned.log_position());
        self.transaction.pin(pinned, unpinned);
        Ok(())
    }
}

/// Whether a relation reads one of some tables, directly or through other views.
fn depends_on_any(catalog: &Catalog, relation: &Relation, tables: &[RelationId]) -> bool {
    relation
        .depends_on
        .iter()
        .any(|id| tables.contains(id) || catalog.get(*id).is_some_and(|inner| depends_on_any(catalog, inner, tables)))
}

/// DataFusion's rows as a client gets them; a cancel or the timeout ends them.
fn rows_of(stream: SendableRecordBatchStream, stop: Stop) -> RowStream {
    let rows = futures::stream::unfold(Some((stream, stop)), |reading| async move {
        let (mut stream, stop) = reading?;
        let next = stop.race(async { Ok(stream.next().await) }).await;
        match next {
            Ok(None) => None,
            Ok(Some(Ok(batch))) => Some((Ok(batch), Some((stream, stop)))),
            Ok(Some(Err(error))) => Some((Err(SqlError::from(error)), None)),
            Err(stopped) => Some((Err(stopped), None)),
        }
    });
    Box::pin(rows)
}
