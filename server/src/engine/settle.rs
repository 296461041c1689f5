//! Definitions take effect: logged, then made to run.
//!
//! One at a time, under the lock for definitions. The log entry is what makes them so, and whoever asks gets the
//! answer after it. What has to start and to stop is the difference between the catalog before and the one
//! behind the entry: new relations are started first, then both are shown at once, then what is gone is stopped.
//! The work runs in a task of its own, which a session that goes away leaves behind: nothing is given up halfway.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millstream_planner::catalog::RelationKind;
use millstream_planner::settings::PlanSettings;
use millstream_runtime::graph::{Graph, GraphId};
use millstream_runtime::plan::RelationId;
use millstream_runtime::storage::Record;
use millstream_runtime::time::LogPosition;
use millstream_runtime::{Error, Result};

use tokio::sync::OwnedMutexGuard;

use super::Engine;
use super::catalog::DurableCatalog;
use super::ddl::{DdlRequest, Outside, with_dependents};
use super::head::TableHead;
use super::read::graph_failed;
use super::record::{Ddl, Detail, Placement};
use super::state::State;
use super::stop::Stop;
use crate::session::sqlstate::Condition;
use crate::session::{Notice, SqlError};

impl Engine {
    /// Runs a DDL statement under the lock that [`Self::begin_ddl`] gave. The lock is given back before a view is
    /// waited for: filling it holds up no other definition. A view that can't be filled, or whose session gives
    /// up waiting, is taken back.
    pub async fn run_ddl(
        &self,
        request: DdlRequest,
        one_at_a_time: OwnedMutexGuard<()>,
        stop: &Stop,
    ) -> Result<Vec<Notice>, SqlError> {
        let planning = self.plan_definition(&self.state.load(), &request, Outside::Ask(stop)).await?;
        let (records, catalog, notices) = (planning.records, planning.state.catalog, planning.notices);
        if records.is_empty() {
            return Ok(notices);
        }
        if let Some((relation, error)) = self.log_and_settle(&records, catalog).await?.into_iter().next() {
            self.take_back(&request.sql, &request.settings, relation).await?;
            return Err(error.into());
        }
        self.build_indexes(&records).await;
        let views = if request.waits { self.new_views(&records) } else { Vec::new() };
        drop(one_at_a_time);
        for view in views {
            if let Err(error) = self.wait_until_full(view, stop).await {
                let _one_at_a_time = self.begin_ddl().await;
                self.take_back(&request.sql, &request.settings, view).await?;
                return Err(error);
            }
        }
        Ok(notices)
    }

    /// Makes records durable, all in one entry, and then true. `catalog` is the newest one with all of them
    /// applied. Gives back the relations that could not be started.
    async fn log_and_settle(
        &self,
        records: &[Arc<Ddl>],
        mut catalog: DurableCatalog,
    ) -> Result<Vec<(RelationId, Error)>, SqlError> {
        for ddl in records {
            if let Detail::CreateRelation(placement) = &ddl.detail {
                self.join_graphs(placement).await?;
            }
        }
        self.committer.check()?;
        let logged = records.iter().map(|ddl| Record::Ddl(ddl.to_record())).collect();
        let position = self.storage.append(logged).await?;
        catalog.logged_at(position);
        let made_by = self.state.load().made_by;
        Ok(self.settle(catalog, made_by).await)
    }

    /// Makes what runs follow a catalog that has been logged.
    pub(super) async fn settle(&self, catalog: DurableCatalog, made_by: LogPosition) -> Vec<(RelationId, Error)> {
        let before = self.state.load();
        // What is dropped below connects until then: its secrets stay as long.
        let mut sealed = BTreeMap::clone(before.catalog.sealed());
        sealed.extend(catalog.sealed().iter().map(|(oid, value)| (*oid, value.clone())));
        self.starter.secrets.replace(Arc::new(sealed));
        let made: Vec<_> = catalog.running().filter(|id| before.catalog.deployed(*id).is_none()).collect();
        // Dependents have the higher numbers: they go first.
        let gone: Vec<_> = before.catalog.running().rev().filter(|id| catalog.deployed(*id).is_none()).collect();
        let mut graphs = before.graphs.clone();
        let mut failed = Vec::new();
        for id in made {
            if let Err(error) = self.start_relation(&catalog, &mut graphs, id).await {
                failed.push((id, error));
            }
        }
        self.state.store(State { catalog: catalog.clone(), graphs: graphs.clone(), made_by });
        connect_anew(&before, &catalog, &graphs);
        if gone.is_empty() {
            self.starter.secrets.replace(Arc::clone(catalog.sealed()));
            return failed;
        }
        {
            let mut heads = self.heads.lock().await;
            gone.iter().for_each(|id| drop(heads.remove(id)));
        }
        let mut by_graph: BTreeMap<GraphId, Vec<RelationId>> = BTreeMap::new();
        for id in gone {
            if let Some(graph) = before.catalog.graph_of(id) {
                by_graph.entry(graph).or_default().push(id);
            }
        }
        for (id, relations) in by_graph {
            let Some(graph) = before.graphs.get(&id) else { continue };
            if catalog.members(id).is_empty() {
                graphs.remove(&id);
                graph.stop().await;
            } else if let Err(error) = graph.remove(relations).await {
                // What is not in the catalog any more is left out at every restart of the graph.
                tracing::warn!(graph = id.0, %error, "dropped relations still run");
            }
        }
        self.starter.secrets.replace(Arc::clone(catalog.sealed()));
        self.state.store(State { catalog, graphs, made_by });
        failed
    }

    /// Starts a new relation, in its graph or with a new one.
    async fn start_relation(
        &self,
        catalog: &DurableCatalog,
        graphs: &mut BTreeMap<GraphId, Graph>,
        id: RelationId,
    ) -> Result<()> {
        let relation = catalog.view.get(id).cloned().ok_or_else(|| Error::internal("a new relation is not there"))?;
        if let Some(definition) = catalog.kept_table(&relation) {
            // A transaction that brings rows along has made the head with them.
            let head = TableHead::new(definition.clone())?;
            self.heads.lock().await.entry(id).or_insert(head);
        }
        let Some(graph_id) = catalog.graph_of(id) else { return Ok(()) };
        if let Some(graph) = graphs.get(&graph_id) {
            return self.starter.add(graph, catalog, &relation).await;
        }
        let members = [Arc::clone(&relation)];
        let graph = self.starter.start_graph(catalog, graph_id, &members, None, &BTreeMap::new())?;
        graphs.insert(graph_id, graph);
        Ok(())
    }

    /// The materialized views among what records have made.
    fn new_views(&self, records: &[Arc<Ddl>]) -> Vec<RelationId> {
        let catalog = self.state.load().catalog.clone();
        let made = records.iter().filter_map(|ddl| ddl.relation).map(|made| made.id);
        made.filter(|id| {
            let relation = catalog.view.get(*id);
            relation.is_some_and(|relation| matches!(relation.kind, RelationKind::MaterializedView(_)))
        })
        .collect()
    }

    /// What never ran leaves nothing behind, nor does what has been put on it meanwhile.
    pub(super) async fn take_back(&self, sql: &str, settings: &PlanSettings, id: RelationId) -> Result<(), SqlError> {
        let state = self.state.load();
        if state.catalog.view.get(id).is_none() {
            return Ok(());
        }
        let relations = with_dependents(&state.catalog, vec![id]);
        let (sql, settings) = (sql.to_string(), settings.clone());
        let ddl = Arc::new(Ddl { sql, settings, relation: None, detail: Detail::Drop { relations } });
        let catalog = state.catalog.applied(&ddl, None)?;
        self.log_and_settle(&[ddl], catalog).await.map(drop)
    }

    /// Makes the graphs that a view connects one. They stop at the same commit: none is handed over meanwhile.
    ///
    /// This comes before the log entry: should there never be one, a start makes the two graphs again, each from
    /// its own checkpoint and the rows behind it.
    pub(super) async fn join_graphs(&self, placement: &Placement) -> Result<(), SqlError> {
        let before = self.state.load();
        let Some(graph) = placement.graph.and_then(|id| before.graphs.get(&id)).filter(|_| !placement.joins.is_empty())
        else {
            return Ok(());
        };
        let mut delivered = self.committer.delivered().lock().await;
        let caught_up = async |graph: &Graph| {
            let last = delivered.last.get(&graph.id()).copied().unwrap_or_default();
            graph.wait_for(last).await.map_err(|error| graph_failed(&before, graph.id(), graph, error))
        };
        caught_up(graph).await?;
        for other in placement.joins.iter().filter_map(|id| before.graphs.get(id)) {
            caught_up(other).await?;
        }
        let mut state = State::clone(&before);
        let earlier = self.storage.checkpoints().get(&graph.id()).map(|record| record.checkpoint.clone());
        self.unsettled.lock().expect("nothing panics while it is locked").insert(graph.id(), earlier);
        for id in &placement.joins {
            let Some(other) = state.graphs.remove(id) else { continue };
            graph.absorb(other).await?;
            let newest = delivered.last.remove(id).unwrap_or_default();
            let last = delivered.last.entry(graph.id()).or_default();
            *last = newest.max(*last);
            state.catalog.join(graph.id(), *id);
            self.state.store(state.clone());
            // Who gave up a temporary view of the other one meanwhile may have told it too late.
            graph.sweep();
        }
        Ok(())
    }

    /// Waits until a new view can be read.
    pub async fn wait_until_full(&self, view: RelationId, stop: &Stop) -> Result<(), SqlError> {
        let mut states = self.states();
        loop {
            let Some(graph) = states.borrow_and_update().graph_of(view).cloned() else {
                let message = "the view was dropped while it was being filled";
                return Err(SqlError::new(Condition::UndefinedTable, message));
            };
            let filled = async {
                Ok(tokio::select! {
                    filled = graph.wait_running(view) => Some(filled),
                    _ = states.changed() => None,
                })
            };
            match stop.race(filled).await? {
                Some(Ok(())) => return Ok(()),
                // Another view may have joined its graph to a second one, which fills it now.
                None => {}
                Some(Err(error)) => {
                    // Such a join may be under way still.
                    drop(stop.race(async { Ok(self.begin_ddl().await) }).await?);
                    if self.state.load().graph_of(view).is_none_or(|now| now.id() == graph.id()) {
                        return Err(error.into());
                    }
                }
            }
        }
    }
}

/// Graphs that connect with a secret whose value has changed go back to their checkpoints and connect with the new one.
fn connect_anew(before: &State, catalog: &DurableCatalog, graphs: &BTreeMap<GraphId, Graph>) {
    let old = before.catalog.sealed();
    let changed = catalog.sealed().iter().filter(|(oid, value)| old.get(*oid).is_some_and(|old| old != *value));
    let users = changed.flat_map(|(oid, _)| catalog.view.users_of_secret(*oid));
    let using: BTreeSet<GraphId> = users.filter_map(|relation| catalog.graph_of(relation)).collect();
    for graph in using.iter().filter_map(|id| graphs.get(id)) {
        graph.restart("a secret has a new value: connecting with it");
    }
}
