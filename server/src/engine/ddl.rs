//! DDL: statements that make, drop and rename relations, and with them the graphs.
//!
//! One at a time. A statement is checked, with the outside world where it names one, then logged, then takes
//! effect; the log entry is what makes it so, and whoever asks gets the answer after it. The work runs in a task
//! of its own, which a session that goes away leaves behind: nothing is given up halfway.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use millstream_planner::catalog::{Auxiliary, QualifiedName, RelationKind};
use millstream_planner::settings::PlanSettings;
use millstream_planner::statement::Statement;
use millstream_runtime::graph::{Graph, GraphId, GraphState};
use millstream_runtime::plan::RelationId;
use millstream_runtime::source::{CREATE_TIMEOUT_SECONDS, ConnectorSpec, Split};
use millstream_runtime::storage::Record;
use millstream_runtime::time::LogPosition;
use millstream_runtime::{Error, Result};

use tokio::sync::OwnedMutexGuard;

use super::Engine;
use super::catalog::DurableCatalog;
use super::head::TableHead;
use super::read::graph_failed;
use super::record::{Ddl, Detail, Placement};
use super::state::State;
use super::stop::Stop;
use super::system;
use crate::session::sqlstate::Condition;
use crate::session::{Notice, SqlError};

/// A DDL statement as a session hands it over.
pub struct DdlRequest {
    /// The text.
    pub sql: String,
    /// The settings under which it was planned.
    pub settings: PlanSettings,
    /// Its plan over the newest catalog.
    pub statement: Statement,
    /// Microseconds between the checkpoints of a graph that it makes.
    pub checkpoint_interval_micros: Option<i64>,
    /// Whether a view is to be full before the answer.
    pub waits: bool,
}

/// A relation that a CREATE makes.
struct Creation<'a> {
    name: &'a QualifiedName,
    if_not_exists: bool,
    /// The relations whose changes it follows.
    inputs: Vec<RelationId>,
    connector: Option<&'a ConnectorSpec>,
    runs: bool,
}

impl Engine {
    /// Runs a DDL statement under the lock that [`Self::begin_ddl`] gave, in a task of its own, so that it is
    /// never dropped halfway. The lock is given back before a view is waited for: filling it holds up no other
    /// definition. A view that can't be filled, or whose session gives up waiting, is taken back.
    pub async fn run_ddl(
        &self,
        request: DdlRequest,
        one_at_a_time: OwnedMutexGuard<()>,
        stop: &Stop,
    ) -> Result<Vec<Notice>, SqlError> {
        let (notices, waits_for) = self.define(&request, stop).await?;
        drop(one_at_a_time);
        if let Some(view) = waits_for
            && let Err(error) = self.wait_until_full(view, stop).await
        {
            let _one_at_a_time = self.begin_ddl().await;
            self.take_back(&request, view).await?;
            return Err(error);
        }
        Ok(notices)
    }

    /// Checks, logs and starts what a statement defines; gives back the view that is to be waited for.
    async fn define(&self, request: &DdlRequest, stop: &Stop) -> Result<(Vec<Notice>, Option<RelationId>), SqlError> {
        let mut notices = Vec::new();
        let state = self.state.load();
        match &request.statement {
            Statement::CreateSchema { name, if_not_exists } => {
                self.create_schema(&state, request, name, *if_not_exists, &mut notices).await?;
            }
            Statement::DropSchema { names, if_exists, cascade } => {
                self.drop_schemas(&state, request, names, *if_exists, *cascade, &mut notices).await?;
            }
            Statement::Drop(drop) => {
                notices.extend(drop.notices.iter().map(Notice::plain));
                if !drop.relations.is_empty() {
                    let detail = Detail::Drop { relations: drop.relations.clone() };
                    self.drop_relations(request, detail, &drop.relations).await?;
                }
            }
            Statement::Rename { relation: None, object, .. } => {
                notices.push(Notice::plain(format!("{} does not exist, skipping", object.sql().to_lowercase())));
            }
            Statement::Rename { relation: Some(relation), new_name, .. } => {
                self.rename(&state, request, *relation, new_name).await?;
            }
            _ => match creation(&request.statement) {
                Some(creation) => {
                    let waits_for = self.create(&state, request, creation, &mut notices, stop).await?;
                    return Ok((notices, waits_for));
                }
                None => return Err(Error::internal("a statement that is no DDL came to the dispatcher").into()),
            },
        }
        Ok((notices, None))
    }

    /// Waits until no other DDL runs. A statement is planned and run while this is held.
    pub async fn begin_ddl(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.ddl).lock_owned().await
    }

    async fn create_schema(
        &self,
        state: &State,
        request: &DdlRequest,
        name: &str,
        if_not_exists: bool,
        notices: &mut Vec<Notice>,
    ) -> Result<(), SqlError> {
        if name.starts_with("pg_") || system::is_system_schema(name) {
            let error = SqlError::new(Condition::ReservedName, format!("unacceptable schema name \"{name}\""));
            return Err(error.with_detail("The prefix \"pg_\" and the server's own schemas are reserved."));
        }
        if state.catalog.view.schemas().contains_key(name) {
            let message = format!("schema \"{name}\" already exists");
            if !if_not_exists {
                return Err(SqlError::new(Condition::DuplicateSchema, message));
            }
            notices
                .push(Notice { sqlstate: Condition::DuplicateSchema.code(), ..Notice::plain(message + ", skipping") });
            return Ok(());
        }
        let detail = Detail::CreateSchema { name: name.to_string(), oid: state.catalog.next_oid() };
        self.log_and_apply(request, None, detail).await.map(drop)
    }

    async fn drop_schemas(
        &self,
        state: &State,
        request: &DdlRequest,
        names: &[String],
        if_exists: bool,
        cascade: bool,
        notices: &mut Vec<Notice>,
    ) -> Result<(), SqlError> {
        let catalog = &state.catalog.view;
        let mut found = Vec::new();
        for name in names {
            let message = format!("schema \"{name}\" does not exist");
            match catalog.schemas().contains_key(name) {
                true if system::is_system_schema(name) => {
                    let message = format!("cannot drop schema \"{name}\" because the server needs it");
                    return Err(SqlError::new(Condition::ReservedName, message));
                }
                true => found.push(name.clone()),
                false if if_exists => notices.push(Notice::plain(message + ", skipping")),
                false => return Err(SqlError::new(Condition::InvalidSchemaName, message)),
            }
        }
        let inside = |id: &RelationId| catalog.get(*id).is_some_and(|relation| found.contains(&relation.name.schema));
        let ids = catalog.relations().map(|relation| relation.id);
        let relations = with_dependents(&state.catalog, ids.filter(inside).collect());
        if !relations.is_empty() && !cascade {
            let named = relations.iter().filter_map(|id| catalog.get(*id)).map(|relation| relation.name.name.as_str());
            let message = format!("cannot drop schema {} because other objects depend on it", found.join(", "));
            return Err(SqlError::new(Condition::DependentObjectsStillExist, message)
                .with_detail(format!("They are: {}.", named.collect::<Vec<_>>().join(", ")))
                .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        if found.is_empty() {
            return Ok(());
        }
        let detail = Detail::DropSchemas { names: found, relations: relations.clone() };
        self.drop_relations(request, detail, &relations).await
    }

    async fn rename(
        &self,
        state: &State,
        request: &DdlRequest,
        relation: RelationId,
        new_name: &str,
    ) -> Result<(), SqlError> {
        let old =
            state.catalog.view.get(relation).ok_or_else(|| Error::internal("a relation is not in the catalog"))?;
        let name = QualifiedName { schema: old.name.schema.clone(), name: new_name.to_string() };
        refuse_taken_or_reserved(&state.catalog, &name)?;
        let detail = Detail::Rename { relation, new_name: new_name.to_string() };
        self.log_and_apply(request, None, detail).await.map(drop)
    }

    async fn create(
        &self,
        state: &State,
        request: &DdlRequest,
        creation: Creation<'_>,
        notices: &mut Vec<Notice>,
        stop: &Stop,
    ) -> Result<Option<RelationId>, SqlError> {
        if creation.if_not_exists && state.catalog.view.find(creation.name).is_some() {
            let message = format!("relation \"{}\" already exists, skipping", creation.name.name);
            notices.push(Notice { sqlstate: Condition::DuplicateTable.code(), ..Notice::plain(message) });
            return Ok(None);
        }
        if !replaces(&request.statement) {
            refuse_taken_or_reserved(&state.catalog, creation.name)?;
        }
        let replaced = self.replaced_view(state, &request.statement)?;
        let numbers = state.catalog.next_relation();
        let splits = self.checked_connector(&request.statement, creation.connector, numbers.id, stop).await?;
        let graphs = input_graphs(self, state, &creation.inputs)?;
        let mut joins = graphs.clone();
        let graph = creation.runs.then(|| joins.pop_first().unwrap_or(GraphId(u64::from(numbers.id.0))));
        let placement = Placement {
            graph,
            joins: joins.into_iter().collect(),
            splits,
            checkpoint_interval_micros: request.checkpoint_interval_micros,
        };
        if let Some(replaced) = replaced {
            let detail = Detail::Drop { relations: vec![replaced] };
            self.log_and_apply(request, None, detail).await?;
        }
        // Planned once more where the joined graphs or the replaced view have changed the catalog.
        self.join_graphs(&placement).await?;
        let before = self.state.load();
        let detail = Detail::CreateRelation(placement);
        let (ddl, mut applied) = self.plan_change(&before.catalog, request, Some(numbers), detail)?;
        let position = self.append(&ddl).await?;
        applied.logged_at(&ddl, position);
        let waits = matches!(request.statement, Statement::CreateMaterializedView(_)) && request.waits;
        match self.deploy_new(applied, numbers.id).await {
            Ok(()) => Ok(waits.then_some(numbers.id)),
            Err(error) => {
                self.take_back(request, numbers.id).await?;
                Err(error.into())
            }
        }
    }

    /// What never ran leaves nothing behind, nor does what has been put on it meanwhile.
    async fn take_back(&self, request: &DdlRequest, id: RelationId) -> Result<(), SqlError> {
        let state = self.state.load();
        if state.catalog.view.get(id).is_none() {
            return Ok(());
        }
        let relations = with_dependents(&state.catalog, vec![id]);
        self.drop_relations(request, Detail::Drop { relations: relations.clone() }, &relations).await
    }

    /// The view that `OR REPLACE` takes the place of.
    fn replaced_view(&self, state: &State, statement: &Statement) -> Result<Option<RelationId>, SqlError> {
        let Statement::CreateView(create) = statement else { return Ok(None) };
        let Some(old) = state.catalog.view.find(&create.name).filter(|_| create.or_replace) else { return Ok(None) };
        if !matches!(old.kind, RelationKind::View { .. }) {
            let message = format!("\"{}\" is not a view", create.name.name);
            return Err(SqlError::new(Condition::WrongObjectType, message));
        }
        if let Some(dependent) = state.catalog.view.dependents(old.id).first() {
            let message = format!("cannot replace view \"{}\" because other objects depend on it", create.name.name);
            return Err(SqlError::new(Condition::DependentObjectsStillExist, message)
                .with_detail(format!("\"{}\" reads it.", dependent.name.name))
                .with_hint("Drop what reads it first."));
        }
        Ok(Some(old.id))
    }

    /// Asks the outside world, within [`CREATE_TIMEOUT_SECONDS`]: the splits of a source, the target of a sink.
    async fn checked_connector(
        &self,
        statement: &Statement,
        connector: Option<&ConnectorSpec>,
        new: RelationId,
        stop: &Stop,
    ) -> Result<Vec<Split>, SqlError> {
        let Some(connector) = connector else { return Ok(Vec::new()) };
        let asked = async {
            match statement {
                Statement::CreateSource(_) | Statement::CreateTable(_) => {
                    Ok(millstream_connectors::source(connector, &self.starter.connectors)?.splits().await?)
                }
                Statement::CreateSink(_) => {
                    // The identity is new: nobody publishes under it who could be fenced by this.
                    let identity = self.starter.sink_identity(new);
                    millstream_connectors::sink(connector, &self.starter.connectors)?.open(&identity).await?;
                    Ok(Vec::new())
                }
                _ => Err(Error::internal("a statement without a connector names one").into()),
            }
        };
        let limit = Duration::from_secs(CREATE_TIMEOUT_SECONDS);
        let within = async {
            tokio::time::timeout(limit, asked).await.map_err(|_elapsed| {
                let message =
                    format!("connector \"{}\" did not answer within {CREATE_TIMEOUT_SECONDS} s", connector.connector);
                SqlError::new(Condition::ConnectionFailure, message)
                    .with_hint("Nothing was created. Look at the address and whether the service runs.")
            })?
        };
        stop.race(within).await
    }

    /// Makes the graphs that a view connects one. They stop at the same commit: none is handed over meanwhile.
    ///
    /// This comes before the log entry: should there never be one, a start makes the two graphs again, each from
    /// its own checkpoint and the rows behind it.
    async fn join_graphs(&self, placement: &Placement) -> Result<(), SqlError> {
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
        }
        Ok(())
    }

    /// Waits until a new view can be read.
    async fn wait_until_full(&self, view: RelationId, stop: &Stop) -> Result<(), SqlError> {
        loop {
            let Some(graph) = self.state.load().graph_of(view).cloned() else {
                let message = "the view was dropped while it was being filled";
                return Err(SqlError::new(Condition::UndefinedTable, message));
            };
            match stop.race(async { Ok(graph.wait_running(view).await) }).await? {
                Ok(()) => return Ok(()),
                // Another view has joined its graph to a second one, which fills it now.
                Err(_) if self.state.load().graph_of(view).is_some_and(|now| now.id() != graph.id()) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Logs a drop and takes the relations out of catalog, graphs and heads.
    async fn drop_relations(
        &self,
        request: &DdlRequest,
        detail: Detail,
        relations: &[RelationId],
    ) -> Result<(), SqlError> {
        let before = self.log_and_apply(request, None, detail).await?;
        let mut by_graph: BTreeMap<GraphId, Vec<RelationId>> = BTreeMap::new();
        for id in relations {
            if let Some(graph) = before.catalog.graph_of(*id) {
                by_graph.entry(graph).or_default().push(*id);
            }
        }
        {
            let mut heads = self.heads.lock().await;
            relations.iter().for_each(|id| drop(heads.remove(id)));
        }
        let after = self.state.load();
        let mut graphs = after.graphs.clone();
        for (id, relations) in by_graph {
            let Some(graph) = before.graphs.get(&id) else { continue };
            if after.catalog.members(id).is_empty() {
                graphs.remove(&id);
                graph.stop().await;
            } else {
                // What is not in the catalog any more is left out at every restart of the graph.
                if let Err(error) = graph.remove(relations).await {
                    tracing::warn!(graph = id.0, %error, "dropped relations still run");
                }
            }
        }
        self.state.store(State { catalog: after.catalog.clone(), graphs });
        Ok(())
    }

    /// For statements that only change the catalog; gives back the state before.
    async fn log_and_apply(
        &self,
        request: &DdlRequest,
        numbers: Option<millstream_runtime::storage::DdlRelation>,
        detail: Detail,
    ) -> Result<Arc<State>, SqlError> {
        let before = self.state.load();
        let (ddl, mut catalog) = self.plan_change(&before.catalog, request, numbers, detail)?;
        let position = self.append(&ddl).await?;
        catalog.logged_at(&ddl, position);
        self.state.store(State { catalog, graphs: before.graphs.clone() });
        Ok(before)
    }

    fn plan_change(
        &self,
        catalog: &DurableCatalog,
        request: &DdlRequest,
        relation: Option<millstream_runtime::storage::DdlRelation>,
        detail: Detail,
    ) -> Result<(Arc<Ddl>, DurableCatalog), SqlError> {
        let settings = request.settings.clone();
        let ddl = Arc::new(Ddl { sql: request.sql.clone(), settings, relation, detail });
        let next = catalog.applied(&ddl, Some(&request.statement))?;
        Ok((ddl, next))
    }

    /// Makes a statement durable.
    async fn append(&self, ddl: &Ddl) -> Result<LogPosition, SqlError> {
        self.committer.check()?;
        Ok(self.storage.append(vec![Record::Ddl(ddl.to_record())]).await?)
    }

    /// Starts what a CREATE has logged.
    async fn deploy_new(&self, catalog: DurableCatalog, id: RelationId) -> Result<()> {
        let before = self.state.load();
        let mut graphs = before.graphs.clone();
        graphs.retain(|graph, _| !catalog.members(*graph).is_empty());
        let relation = catalog.view.get(id).cloned().ok_or_else(|| Error::internal("a new relation is not there"))?;
        if let Some(definition) = catalog.kept_table(&relation) {
            let head = TableHead::new(definition.clone())?;
            self.heads.lock().await.insert(id, head);
        }
        let outcome = match catalog.graph_of(id) {
            None => Ok(()),
            Some(graph_id) => match graphs.get(&graph_id) {
                Some(graph) => self.starter.add(graph, &catalog, &relation).await,
                None => {
                    let graph = self.starter.start_graph(
                        &catalog,
                        graph_id,
                        &[Arc::clone(&relation)],
                        None,
                        &BTreeMap::new(),
                    )?;
                    graphs.insert(graph_id, graph);
                    Ok(())
                }
            },
        };
        self.state.store(State { catalog, graphs });
        outcome
    }
}

/// What a CREATE of a relation makes; `None` for other statements.
fn creation(statement: &Statement) -> Option<Creation<'_>> {
    let creation = match statement {
        Statement::CreateTable(create) => Creation {
            name: &create.name,
            if_not_exists: create.if_not_exists,
            inputs: Vec::new(),
            connector: create.connector.as_ref(),
            runs: true,
        },
        Statement::CreateSource(create) => Creation {
            name: &create.name,
            if_not_exists: create.if_not_exists,
            inputs: Vec::new(),
            connector: Some(&create.connector),
            runs: true,
        },
        Statement::CreateView(create) => Creation {
            name: &create.name,
            if_not_exists: create.if_not_exists,
            inputs: Vec::new(),
            connector: None,
            runs: false,
        },
        Statement::CreateMaterializedView(create) => Creation {
            name: &create.name,
            if_not_exists: create.if_not_exists,
            inputs: create.dataflow.inputs(),
            connector: None,
            runs: true,
        },
        Statement::CreateSink(create) => Creation {
            name: &create.name,
            if_not_exists: create.if_not_exists,
            inputs: create.dataflow.inputs(),
            connector: Some(&create.connector),
            runs: true,
        },
        _ => return None,
    };
    Some(creation)
}

fn replaces(statement: &Statement) -> bool {
    matches!(statement, Statement::CreateView(create) if create.or_replace)
}

fn refuse_taken_or_reserved(catalog: &DurableCatalog, name: &QualifiedName) -> Result<(), SqlError> {
    if system::is_system_schema(&name.schema) {
        let message = format!("permission denied to create \"{}.{}\"", name.schema, name.name);
        return Err(SqlError::new(Condition::ReservedName, message)
            .with_hint("The server's own schemas take no relations; name another schema."));
    }
    let auxiliaries = [Auxiliary::Rejected, Auxiliary::Late, Auxiliary::Refused];
    if let Some(suffix) = auxiliaries.iter().map(|which| which.suffix()).find(|suffix| name.name.ends_with(suffix)) {
        let message = format!("relation names that end in \"{suffix}\" are reserved");
        return Err(SqlError::new(Condition::ReservedName, message)
            .with_hint("Rows that did not get through are shown under such names; choose another one."));
    }
    if !catalog.view.schemas().contains_key(&name.schema) {
        let message = format!("schema \"{}\" does not exist", name.schema);
        return Err(SqlError::new(Condition::InvalidSchemaName, message));
    }
    match catalog.view.find(name) {
        Some(_) => {
            let message = format!("relation \"{}\" already exists", name.name);
            Err(SqlError::new(Condition::DuplicateTable, message))
        }
        None => Ok(()),
    }
}

/// The graphs of some relations; each must run.
fn input_graphs(engine: &Engine, state: &State, inputs: &[RelationId]) -> Result<BTreeSet<GraphId>, SqlError> {
    let mut graphs = BTreeSet::new();
    for input in inputs {
        let graph: &Graph = state
            .graph_of(*input)
            .ok_or_else(|| Error::internal(format!("relation {input} is in no graph and can't be followed")))?;
        if let GraphState::Waiting { reason } | GraphState::Restarting { reason } | GraphState::Failed { reason } =
            engine.graph_state(graph)
        {
            let name = state.catalog.view.get(*input).map_or("?", |relation| relation.name.name.as_str());
            let message = format!("the job of \"{name}\" does not run: {reason}");
            return Err(SqlError::new(Condition::ObjectNotInPrerequisiteState, message)
                .with_hint("Nothing was created. Try again once SHOW JOBS shows it as RUNNING."));
        }
        graphs.insert(graph.id());
    }
    Ok(graphs)
}

/// Relations and all that read them, dependents first.
fn with_dependents(catalog: &DurableCatalog, relations: Vec<RelationId>) -> Vec<RelationId> {
    fn visit(catalog: &DurableCatalog, id: RelationId, ordered: &mut Vec<RelationId>) {
        if ordered.contains(&id) {
            return;
        }
        for dependent in catalog.view.dependents(id) {
            visit(catalog, dependent.id, ordered);
        }
        ordered.push(id);
    }
    let mut ordered = Vec::new();
    for id in relations {
        visit(catalog, id, &mut ordered);
    }
    ordered
}
