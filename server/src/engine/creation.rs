//! CREATE of a relation: its name, the outside world behind it, and the graph that it will run in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use millstream_planner::access::ObjectAccess;
use millstream_planner::catalog::{Auxiliary, QualifiedName, RelationKind};
use millstream_planner::secret::SecretUses;
use millstream_planner::statement::Statement;
use millstream_runtime::Error;
use millstream_runtime::graph::{GraphId, GraphState};
use millstream_runtime::plan::RelationId;
use millstream_runtime::source::{CREATE_TIMEOUT_SECONDS, ConnectorSpec, Split};

use super::Engine;
use super::access::AccessChange;
use super::catalog::DurableCatalog;
use super::ddl::{Outside, Planning};
use super::record::{Detail, Placement};
use super::secrets::connect::SecretValues;
use super::state::State;
use super::stop::Stop;
use super::system;
use crate::session::SqlError;
use crate::session::sqlstate::Condition;

/// A relation that a CREATE makes.
pub(super) struct Creation<'a> {
    name: &'a QualifiedName,
    if_not_exists: bool,
    /// The relations whose changes it follows.
    inputs: Vec<RelationId>,
    connector: Option<&'a ConnectorSpec>,
    /// The options of the connector that secrets give, if there are any.
    secrets: Option<&'a SecretUses>,
    runs: bool,
}

impl Engine {
    /// Plans what a CREATE makes.
    pub(super) async fn plan_creation(
        &self,
        planning: &mut Planning<'_>,
        creation: Creation<'_>,
        outside: Outside<'_>,
    ) -> Result<(), SqlError> {
        let statement = &planning.request.statement;
        if creation.if_not_exists && planning.catalog().view.find(creation.name).is_some() {
            let message = format!("relation \"{}\" already exists", creation.name.name);
            planning.skip(Condition::DuplicateTable, &message);
            return Ok(());
        }
        if !replaces(statement) {
            refuse_taken_or_reserved(planning.catalog(), creation.name)?;
        }
        let replaced = replaced_view(planning.catalog(), statement)?;
        let numbers = planning.catalog().next_relation();
        let splits = match outside {
            Outside::Ask(stop) => {
                let secrets = self.starter.secrets.with(Arc::clone(planning.catalog().sealed()));
                self.checked_connector(statement, &creation, &secrets, numbers.id, stop).await?
            }
            Outside::Known(splits) => splits,
        };
        let mut joins = input_graphs(self, &planning.state, &creation.inputs)?;
        // A graph that runs takes up what is new, never the other way round.
        let running = joins.iter().find(|id| planning.state.graphs.contains_key(*id)).copied();
        let first = running.or(joins.first().copied());
        joins.retain(|id| Some(*id) != first);
        let graph = creation.runs.then(|| first.unwrap_or(GraphId(u64::from(numbers.id.0))));
        // A view that takes another one's place belongs to the same role, and the same roles may read it.
        let access = replaced.and_then(|old| planning.catalog().view.get(old)).map(|old| old.access.clone());
        let placement = Placement {
            owner: access.as_ref().map_or(planning.request.actor.current, |access| access.owner),
            graph,
            joins: joins.into_iter().collect(),
            splits,
            checkpoint_interval_micros: planning.request.checkpoint_interval_micros,
            rows_follow: false,
            sealed_sql: planning.sealed_text(numbers.id, self.starter.secrets.keys())?,
            name: matches!(statement, Statement::CreateSink(create) if !create.is_named)
                .then(|| creation.name.name.clone()),
        };
        let access = access.unwrap_or_else(|| {
            let defaults = planning.catalog().view.default_privileges();
            let acl = defaults.of_new(placement.owner, Some(&creation.name.schema), true);
            ObjectAccess { owner: placement.owner, acl }
        });
        if let Some(replaced) = replaced {
            planning.add(None, Detail::Drop { relations: vec![replaced] })?;
        }
        planning.add(Some(numbers), Detail::CreateRelation(placement))?;
        match access.acl.is_some() {
            true => {
                let change = AccessChange::Relation { relation: numbers.id, access };
                planning.add(None, Detail::Access { changes: vec![change] })
            }
            false => Ok(()),
        }
    }

    /// Asks the outside world, within [`CREATE_TIMEOUT_SECONDS`]: the splits of a source, the target of a sink.
    async fn checked_connector(
        &self,
        statement: &Statement,
        creation: &Creation<'_>,
        secrets: &SecretValues,
        new: RelationId,
        stop: &Stop,
    ) -> Result<Vec<Split>, SqlError> {
        let Some(connector) = creation.connector else { return Ok(Vec::new()) };
        let (uses, context) = (creation.secrets, &self.starter.connectors);
        let asked = async {
            match statement {
                Statement::CreateSource(_) | Statement::CreateTable(_) => {
                    Ok(secrets.source(connector, uses, context)?.splits().await?)
                }
                Statement::CreateSink(_) => {
                    // The identity is new: nobody publishes under it who could be fenced by this.
                    let identity = self.starter.sink_identity(new);
                    secrets.sink(connector, uses, context)?.open(&identity).await?;
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
}

/// The view that `OR REPLACE` takes the place of.
fn replaced_view(catalog: &DurableCatalog, statement: &Statement) -> Result<Option<RelationId>, SqlError> {
    let Statement::CreateView(create) = statement else { return Ok(None) };
    let Some(old) = catalog.view.find(&create.name).filter(|_| create.or_replace) else { return Ok(None) };
    if !matches!(old.kind, RelationKind::View { .. }) {
        let message = format!("\"{}\" is not a view", create.name.name);
        return Err(SqlError::new(Condition::WrongObjectType, message));
    }
    if let Some(dependent) = catalog.view.dependents(old.id).first() {
        let message = format!("cannot replace view \"{}\" because other objects depend on it", create.name.name);
        return Err(SqlError::new(Condition::DependentObjectsStillExist, message)
            .with_detail(format!("\"{}\" reads it.", dependent.name.name))
            .with_hint("Drop what reads it first."));
    }
    Ok(Some(old.id))
}

/// What a CREATE of a relation makes; `None` for other statements.
pub(super) fn creation(statement: &Statement) -> Option<Creation<'_>> {
    let creation = match statement {
        Statement::CreateTable(create) => Creation {
            name: &create.name,
            if_not_exists: create.if_not_exists,
            inputs: Vec::new(),
            connector: create.connector.as_ref(),
            secrets: given(&create.secrets),
            runs: true,
        },
        Statement::CreateSource(create) => Creation {
            name: &create.name,
            if_not_exists: create.if_not_exists,
            inputs: Vec::new(),
            connector: Some(&create.connector),
            secrets: given(&create.secrets),
            runs: true,
        },
        Statement::CreateView(create) => Creation {
            name: &create.name,
            if_not_exists: create.if_not_exists,
            inputs: Vec::new(),
            connector: None,
            secrets: None,
            runs: false,
        },
        Statement::CreateMaterializedView(create) => Creation {
            name: &create.name,
            if_not_exists: create.if_not_exists,
            inputs: create.dataflow.inputs(),
            connector: None,
            secrets: None,
            runs: true,
        },
        Statement::CreateSink(create) => Creation {
            name: &create.name,
            if_not_exists: create.if_not_exists,
            inputs: create.dataflow.inputs(),
            connector: Some(&create.connector),
            secrets: given(&create.secrets),
            runs: true,
        },
        _ => return None,
    };
    Some(creation)
}

fn given(secrets: &SecretUses) -> Option<&SecretUses> {
    (!secrets.is_empty()).then_some(secrets)
}

fn replaces(statement: &Statement) -> bool {
    matches!(statement, Statement::CreateView(create) if create.or_replace)
}

pub(super) fn refuse_taken_or_reserved(catalog: &DurableCatalog, name: &QualifiedName) -> Result<(), SqlError> {
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

/// The graphs of some relations; each must run, or be made by the same transaction.
fn input_graphs(engine: &Engine, state: &State, inputs: &[RelationId]) -> Result<BTreeSet<GraphId>, SqlError> {
    let mut graphs = BTreeSet::new();
    for input in inputs {
        let id = state.catalog.graph_of(*input);
        let id = id.ok_or_else(|| Error::internal(format!("relation {input} is in no graph and can't be followed")))?;
        let doing = state.graphs.get(&id).map(|graph| engine.graph_state(graph));
        if let Some(
            GraphState::Waiting { reason } | GraphState::Restarting { reason } | GraphState::Failed { reason },
        ) = doing
        {
            let name = state.catalog.view.get(*input).map_or("?", |relation| relation.name.name.as_str());
            let message = format!("the job of \"{name}\" does not run: {reason}");
            return Err(SqlError::new(Condition::ObjectNotInPrerequisiteState, message)
                .with_hint("Nothing was created. Try again once SHOW JOBS shows it as RUNNING."));
        }
        graphs.insert(id);
    }
    Ok(graphs)
}
