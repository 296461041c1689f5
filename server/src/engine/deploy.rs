//! From the catalog to what runs: the inputs and views of a graph, as the runtime takes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_connectors::ConnectorContext;
use millstream_planner::catalog::{Relation, RelationKind};
use millstream_runtime::graph::{
    Graph, GraphConfig, GraphId, InputDeployment, InputOrigin, SinkDeployment, Slots, StateMemory, ViewDeployment,
};
use millstream_runtime::plan::RelationId;
use millstream_runtime::relation::RelationVersion;
use millstream_runtime::sink::SinkIdentity;
use millstream_runtime::storage::{CheckpointRef, Storage};
use millstream_runtime::time::Watermark;
use millstream_runtime::{Error, Result};

use super::catalog::{Deployed, DurableCatalog};
use super::clock::ServerClock;
use super::secrets::connect::SecretValues;

/// What graphs are started with.
#[derive(Clone)]
pub struct Starter {
    /// Where checkpoints go, and the log that commits them.
    pub storage: Arc<Storage>,
    /// The term of this server.
    pub term: u64,
    /// The worker threads.
    pub slots: Slots,
    /// Subtasks per operator.
    pub parallelism: usize,
    /// What all graphs may keep.
    pub memory: Arc<StateMemory>,
    /// Processing time.
    pub clock: Arc<ServerClock>,
    /// What connectors need of the process.
    pub connectors: ConnectorContext,
    /// What they connect with.
    pub secrets: SecretValues,
}

impl Starter {
    /// Who publishes for a sink. A number is never used twice in a root, so no two sinks publish under one name.
    pub(super) fn sink_identity(&self, sink: RelationId) -> SinkIdentity {
        SinkIdentity { id: format!("{}-{}", self.storage.root_id(), sink.0), timeline: 0 }
    }

    /// Adds a relation to a graph that runs.
    pub(super) async fn add(&self, graph: &Graph, catalog: &DurableCatalog, relation: &Relation) -> Result<()> {
        match part(self, catalog, relation, None)? {
            Part::Input(input) => graph.add_input(*input).await,
            Part::View(view) => graph.add_view(*view).await,
        }
    }

    /// Starts a graph with the given relations, from its checkpoint if it has one. `tables` are their rows at
    /// that checkpoint.
    pub(super) fn start_graph(
        &self,
        catalog: &DurableCatalog,
        id: GraphId,
        members: &[Arc<Relation>],
        checkpoint: Option<CheckpointRef>,
        tables: &BTreeMap<RelationId, TableStart>,
    ) -> Result<Graph> {
        let (mut inputs, mut views) = (Vec::new(), Vec::new());
        for relation in members {
            match part(self, catalog, relation, tables.get(&relation.id))? {
                Part::Input(input) => inputs.push(*input),
                Part::View(view) => views.push(*view),
            }
        }
        let config = self.graph_config(catalog, id, members);
        Ok(Graph::start(config, inputs, views, checkpoint))
    }

    /// A graph whose checkpoint can't be read: it stands as failed while the others run.
    pub(super) fn failed_graph(
        &self,
        catalog: &DurableCatalog,
        id: GraphId,
        members: &[Arc<Relation>],
        error: Error,
    ) -> Graph {
        Graph::start_failed(self.graph_config(catalog, id, members), error)
    }

    /// A graph keeps the interval of the relation that it was made with.
    pub(super) fn checkpoint_interval_micros(
        &self,
        catalog: &DurableCatalog,
        members: &[Arc<Relation>],
    ) -> Option<i64> {
        let first = members.first().and_then(|relation| catalog.deployed(relation.id));
        first.and_then(|deployed| deployed.checkpoint_interval_micros)
    }

    fn graph_config(&self, catalog: &DurableCatalog, id: GraphId, members: &[Arc<Relation>]) -> GraphConfig {
        GraphConfig {
            id,
            term: self.term,
            slots: self.slots.clone(),
            parallelism: self.parallelism,
            memory: Arc::clone(&self.memory),
            checkpoint_interval_micros: self.checkpoint_interval_micros(catalog, members),
            clock: Arc::clone(&self.clock) as _,
            storage: Arc::clone(&self.storage),
            tokio: tokio::runtime::Handle::current(),
        }
    }
}

/// A table as the checkpoint that its graph starts from has it.
#[derive(Clone)]
pub(super) struct TableStart {
    pub version: Arc<RelationVersion>,
    pub watermark: Watermark,
}

enum Part {
    Input(Box<InputDeployment>),
    View(Box<ViewDeployment>),
}

fn part(
    starter: &Starter,
    catalog: &DurableCatalog,
    relation: &Relation,
    restored: Option<&TableStart>,
) -> Result<Part> {
    let deployed = catalog
        .deployed(relation.id)
        .ok_or_else(|| Error::internal(format!("\"{}\" does not run", relation.name.name)))?;
    if let Some((input, connector)) = catalog.source(relation) {
        let uses = catalog.view.secret_uses(relation.id);
        let source = starter.secrets.source(connector, uses, &starter.connectors)?;
        // Rejected records name the topic that they come from.
        let label = connector.options.get("topic").or(connector.options.get("path")).cloned();
        let origin = InputOrigin::Source { source, splits: deployed.splits.clone(), label };
        return Ok(Part::Input(Box::new(InputDeployment { relation: input.clone(), origin })));
    }
    match &relation.kind {
        RelationKind::Table(definition) => {
            let empty = || RelationVersion::empty(Arc::clone(&definition.input.schema));
            let origin = InputOrigin::Table {
                version: restored.map_or_else(empty, |table| Arc::clone(&table.version)),
                watermark: restored.map_or(Watermark::NONE, |table| table.watermark),
            };
            Ok(Part::Input(Box::new(InputDeployment { relation: definition.input.clone(), origin })))
        }
        RelationKind::Source(_) => Err(Error::internal("a source has no connector")),
        RelationKind::MaterializedView(definition) => view(relation, deployed, definition.key.clone(), None),
        RelationKind::Sink(definition) => {
            let uses = catalog.view.secret_uses(relation.id);
            let sink = starter.secrets.sink(&definition.connector, uses, &starter.connectors)?;
            let identity = starter.sink_identity(relation.id);
            view(relation, deployed, Vec::new(), Some(SinkDeployment { sink, identity }))
        }
        RelationKind::View { .. } | RelationKind::System => {
            Err(Error::internal(format!("\"{}\" does not run", relation.name.name)))
        }
    }
}

fn view(relation: &Relation, deployed: &Deployed, key: Vec<usize>, sink: Option<SinkDeployment>) -> Result<Part> {
    let dataflow = deployed.dataflow.clone().ok_or_else(|| Error::internal("a view has no dataflow"))?;
    let name = format!("{}.{}", relation.name.schema, relation.name.name);
    Ok(Part::View(Box::new(ViewDeployment { id: relation.id, name, dataflow, key, sink })))
}
