//! A start: from what the storage holds to a running engine.
//!
//! The statements of the log are planned again, in their order, each over the catalog of its time and with its
//! own settings. Then every graph starts from its newest checkpoint, and the rows behind it are handed over
//! as the commits that they were. Graphs that a statement joined, and that have no checkpoint together yet,
//! start apart, from their own checkpoints, and are joined again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millstream_planner::catalog::{Catalog, Relation};
use millstream_planner::statement::Statement;
use millstream_runtime::graph::{Graph, GraphId, TableChange, TableCommit, restore_tables};
use millstream_runtime::plan::RelationId;
use millstream_runtime::storage::{CheckpointRecord, CheckpointRef, Record, Recovered, RowsRecord, Storage};
use millstream_runtime::time::LogPosition;
use millstream_runtime::{Error, ErrorKind, Result};

use super::catalog::DurableCatalog;
use super::committer::Delivered;
use super::deploy::{Starter, TableStart};
use super::head::TableHead;
use super::record::{Ddl, Detail, StoredCatalog};
use super::secrets::{SecretKeys, mask};
use super::state::State;
use super::write::Heads;

/// What the log amounts to, before anything runs.
pub struct History {
    /// What there is.
    pub catalog: DurableCatalog,
    graphs: BTreeMap<GraphId, GraphHistory>,
    rows: Vec<(LogPosition, Vec<RowsRecord>)>,
    /// Rows up to here are in the storage, not in `rows`.
    snapshot_position: LogPosition,
    position: LogPosition,
}

/// A graph as the log leaves it.
#[derive(Default)]
struct GraphHistory {
    checkpoint: Option<CheckpointRecord>,
    /// Graphs that became part of this one after its checkpoint, with their relations at that time.
    joined: Vec<(GraphId, BTreeSet<RelationId>, GraphHistory)>,
}

impl History {
    /// Reads the history that a storage gave back, with the keys of its secrets.
    pub fn read(recovered: Recovered, keys: &SecretKeys) -> Result<Self> {
        let mut history = Self {
            catalog: DurableCatalog::default(),
            graphs: BTreeMap::new(),
            rows: Vec::new(),
            snapshot_position: recovered.snapshot_position,
            position: recovered.position,
        };
        if let Some(snapshot) = recovered.snapshot {
            let stored: StoredCatalog = serde_json::from_value(snapshot.catalog)
                .map_err(|error| Error::data(format!("the catalog of the newest snapshot cannot be read: {error}")))?;
            for (position, record) in stored.statements {
                history.ddl(position, Ddl::from_record(record, keys)?)?;
            }
            history.catalog = history.catalog.with_access(&stored.access)?;
            history.catalog.reserve(stored.next_relation, stored.next_oid);
            // A snapshot is only written while no join is without a checkpoint.
            for graph in history.graphs.values_mut() {
                graph.joined.clear();
            }
            for checkpoint in snapshot.checkpoints.into_values() {
                history.checkpoint(checkpoint);
            }
        }
        for (position, records) in recovered.entries {
            let mut rows = Vec::new();
            for record in records {
                match record {
                    Record::Ddl(ddl) => history.ddl(position, Ddl::from_record(ddl, keys)?)?,
                    Record::Rows(record) => rows.push(record),
                    Record::Checkpoint(checkpoint) => history.checkpoint(checkpoint),
                    Record::GraphsJoined { parents, .. } => {
                        parents.into_iter().for_each(|parent| history.checkpoint(parent));
                    }
                    Record::Term { .. } | Record::SavepointNamed { .. } | Record::SavepointDropped { .. } => {}
                }
            }
            if !rows.is_empty() {
                history.rows.push((position, rows));
            }
        }
        Ok(history)
    }

    fn ddl(&mut self, position: LogPosition, ddl: Ddl) -> Result<()> {
        let statement = match &ddl.detail {
            Detail::CreateRelation(_) => Some(plan_again(&ddl, &self.catalog.view)?),
            Detail::CreateSchema { .. }
            | Detail::Drop { .. }
            | Detail::DropSchemas { .. }
            | Detail::Comment { .. }
            | Detail::RenameSchema { .. }
            | Detail::Rename { .. }
            | Detail::Swap { .. }
            | Detail::SetSchema { .. }
            | Detail::Access { .. }
            | Detail::CreateIndex { .. }
            | Detail::DropIndexes { .. }
            | Detail::RenameIndex { .. }
            | Detail::CreateSecret { .. }
            | Detail::AlterSecret { .. }
            | Detail::DropSecrets { .. } => None,
        };
        if let Detail::CreateRelation(placement) = &ddl.detail
            && let Some(graph) = placement.graph
        {
            for id in &placement.joins {
                let members = self.catalog.members(*id).iter().map(|relation| relation.id).collect();
                let joined = self.graphs.remove(id).unwrap_or_default();
                self.graphs.entry(graph).or_default().joined.push((*id, members, joined));
            }
            self.graphs.entry(graph).or_default();
        }
        let ddl = Arc::new(ddl);
        self.catalog = self.catalog.applied(&ddl, statement.as_ref())?;
        self.catalog.logged_at(position);
        self.graphs.retain(|graph, _| !self.catalog.members(*graph).is_empty());
        Ok(())
    }

    fn checkpoint(&mut self, checkpoint: CheckpointRecord) {
        if let Some(graph) = self.graphs.get_mut(&checkpoint.graph) {
            // It was taken by what the graphs had become.
            graph.joined.clear();
            graph.checkpoint = Some(checkpoint);
        } else {
            self.graphs.values_mut().for_each(|graph| graph.checkpoint_of_joined(&checkpoint));
        }
    }
}

impl GraphHistory {
    fn checkpoint_ref(&self) -> Option<CheckpointRef> {
        self.checkpoint.as_ref().map(|checkpoint| checkpoint.checkpoint.clone())
    }

    fn checkpoint_of_joined(&mut self, checkpoint: &CheckpointRecord) {
        for (id, _, joined) in &mut self.joined {
            if *id == checkpoint.graph {
                joined.checkpoint = Some(checkpoint.clone());
            }
            joined.checkpoint_of_joined(checkpoint);
        }
    }
}

/// Plans a statement of the log as it was planned then.
fn plan_again(ddl: &Ddl, catalog: &Catalog) -> Result<Statement> {
    let text = millstream_planner::parse::split(&ddl.sql)
        .and_then(|texts| {
            let one = texts.into_iter().next();
            one.ok_or_else(|| millstream_planner::error::PlanError::internal("a statement of the log is empty"))
        })
        .and_then(|text| millstream_planner::plan::plan(&text, catalog, &ddl.settings, &[]));
    text.map_err(|error| {
        let sql = mask(&ddl.sql);
        Error::data(format!("a statement of the log can't be planned any more: {}: {sql}", error.message))
            .with_hint("Start the release of Millstream that ran it, and report this.")
    })
}

/// Everything that runs after a start.
pub struct Started {
    /// The catalog and the graphs.
    pub state: State,
    /// The tables.
    pub heads: Heads,
    /// What the graphs have been given.
    pub delivered: Delivered,
    /// The graphs that have no checkpoint since they were joined, with the one they had before.
    pub unsettled: BTreeMap<GraphId, Option<CheckpointRef>>,
    /// The newest checkpoint of every graph.
    pub checkpoints: BTreeMap<GraphId, CheckpointRecord>,
}

/// Starts the graphs of a history and hands over the rows behind their checkpoints.
pub(super) async fn start(starter: &Starter, history: History) -> Result<Started> {
    let mut start = Start { starter, catalog: &history.catalog, heads: BTreeMap::new(), positions: BTreeMap::new() };
    let mut pieces = Vec::new();
    for (id, graph) in &history.graphs {
        let members = history.catalog.members(*id);
        pieces.push(match start.piece(*id, graph, &members).await {
            Err(error) if matches!(error.kind, ErrorKind::Data | ErrorKind::Invalid) => {
                tracing::error!(graph = id.0, %error, "a graph can't be started");
                members.iter().for_each(|relation| drop(start.heads.remove(&relation.id)));
                Piece::alone(starter.failed_graph(&history.catalog, *id, &members, error))
            }
            piece => piece?,
        });
    }
    let Start { mut heads, mut positions, .. } = start;
    // A table that no checkpoint knows is in the log as a whole, behind the statement that made it.
    for id in heads.keys() {
        positions.entry(*id).or_insert_with(|| history.catalog.rows_from(*id));
    }
    let rows = history.rows_behind(&starter.storage, &positions).await?;
    let mut delivered = Delivered::default();
    for (position, records) in rows {
        let mut changes = replay(&mut heads, &positions, position, records)?;
        pieces.iter().for_each(|piece| piece.hand_over(position, &mut changes, &mut delivered));
        delivered.newest = position;
    }
    let mut graphs = BTreeMap::new();
    for piece in pieces {
        let graph = piece.join(starter, &history.catalog, &mut delivered).await?;
        graphs.insert(graph.id(), graph);
    }
    let unsettled = history.graphs.iter().filter(|(_, graph)| !graph.joined.is_empty());
    let unsettled = unsettled.map(|(id, graph)| (*id, graph.checkpoint_ref())).collect();
    let checkpoints = history.graphs.iter().filter_map(|(id, graph)| Some((*id, graph.checkpoint.clone()?))).collect();
    tracing::info!(position = history.position.0, graphs = graphs.len(), "the log is read");
    let state = State { catalog: history.catalog, graphs, made_by: LogPosition::default() };
    Ok(Started { state, heads, delivered, unsettled, checkpoints })
}

/// A graph on its way to running: what starts from its own checkpoint, and what becomes part of it before the
/// server is open.
struct Piece {
    graph: Graph,
    /// The relations that `graph` runs already.
    own: BTreeSet<RelationId>,
    joined: Vec<Piece>,
    /// The relations that can only run once the pieces are one.
    behind: Vec<Arc<Relation>>,
    /// Taken up once the pieces are one: a checkpoint before that would be of this piece alone.
    checkpoint_interval_micros: Option<i64>,
}

impl Piece {
    fn alone(graph: Graph) -> Self {
        Self { graph, own: BTreeSet::new(), joined: Vec::new(), behind: Vec::new(), checkpoint_interval_micros: None }
    }

    /// Hands over the changes of its own tables.
    fn hand_over(&self, position: LogPosition, changes: &mut Vec<TableChange>, delivered: &mut Delivered) {
        let (own, others) = std::mem::take(changes).into_iter().partition(|change| self.own.contains(&change.relation));
        *changes = others;
        let tables: Vec<TableChange> = own;
        if !tables.is_empty() {
            self.graph.commit(TableCommit { position, tables });
            delivered.last.insert(self.graph.id(), position);
        }
        self.joined.iter().for_each(|piece| piece.hand_over(position, changes, delivered));
    }

    /// Makes the pieces one. Each has taken the commits behind its checkpoint before: together they are at one
    /// place in the log.
    async fn join(self, starter: &Starter, catalog: &DurableCatalog, delivered: &mut Delivered) -> Result<Graph> {
        let Self { graph, joined, behind, checkpoint_interval_micros, .. } = self;
        if joined.is_empty() {
            return Ok(graph);
        }
        for piece in joined {
            let other = Box::pin(piece.join(starter, catalog, delivered)).await?;
            for graph in [&graph, &other] {
                graph.wait_for(delivered.last.get(&graph.id()).copied().unwrap_or_default()).await?;
            }
            let newest = delivered.last.remove(&other.id()).unwrap_or_default();
            graph.absorb(other).await?;
            let last = delivered.last.entry(graph.id()).or_default();
            *last = newest.max(*last);
        }
        for relation in behind {
            starter.add(&graph, catalog, &relation).await?;
        }
        graph.checkpoint_every(checkpoint_interval_micros);
        Ok(graph)
    }
}

/// Graphs on their way to running.
struct Start<'a> {
    starter: &'a Starter,
    catalog: &'a DurableCatalog,
    heads: Heads,
    /// Rows of a table up to here are in its head.
    positions: BTreeMap<RelationId, LogPosition>,
}

impl Start<'_> {
    async fn piece(&mut self, id: GraphId, history: &GraphHistory, members: &[Arc<Relation>]) -> Result<Piece> {
        let foreign: BTreeSet<RelationId> =
            history.joined.iter().flat_map(|(_, members, _)| members).copied().collect();
        let (mut own, mut behind) = (Vec::new(), Vec::new());
        let mut elsewhere = foreign.clone();
        for relation in members.iter().filter(|relation| !foreign.contains(&relation.id)) {
            // What reads a graph that joined can only run once they are one.
            if self.inputs(relation).iter().any(|input| elsewhere.contains(input)) {
                elsewhere.insert(relation.id);
                behind.push(Arc::clone(relation));
            } else {
                own.push(Arc::clone(relation));
            }
        }
        let tables = self.restore_tables(history, &own).await?;
        let mut joined = Vec::new();
        for (other, of_other, other_history) in &history.joined {
            let members: Vec<_> = members.iter().filter(|relation| of_other.contains(&relation.id)).cloned().collect();
            joined.push(Box::pin(self.piece(*other, other_history, &members)).await?);
        }
        let graph = self.starter.start_graph(self.catalog, id, &own, history.checkpoint_ref(), &tables)?;
        let mut piece = Piece::alone(graph);
        if !joined.is_empty() {
            piece.graph.checkpoint_every(None);
            piece.checkpoint_interval_micros = self.starter.checkpoint_interval_micros(self.catalog, &own);
        }
        piece.own = own.iter().map(|relation| relation.id).collect();
        Ok(Piece { joined, behind, ..piece })
    }

    fn inputs(&self, relation: &Relation) -> Vec<RelationId> {
        let dataflow = self.catalog.deployed(relation.id).and_then(|deployed| deployed.dataflow.as_ref());
        dataflow.map(|dataflow| dataflow.inputs()).unwrap_or_default()
    }

    /// The tables of a graph as its checkpoint has them, and their heads.
    async fn restore_tables(
        &mut self,
        history: &GraphHistory,
        members: &[Arc<Relation>],
    ) -> Result<BTreeMap<RelationId, TableStart>> {
        let definitions: BTreeMap<RelationId, _> = members
            .iter()
            .filter_map(|relation| Some((relation.id, self.catalog.kept_table(relation)?.clone())))
            .collect();
        let tables: Vec<_> = definitions
            .iter()
            .map(|(id, definition)| (*id, Arc::clone(&definition.input.schema), definition.input.primary_key.clone()))
            .collect();
        let (position, mut restored) = match &history.checkpoint {
            Some(checkpoint) => restore_tables(&self.starter.storage, &checkpoint.checkpoint, &tables).await?,
            None => (LogPosition(0), BTreeMap::new()),
        };
        let mut starts = BTreeMap::new();
        for (id, definition) in definitions {
            let head = match restored.remove(&id) {
                Some(table) => {
                    let start = TableStart { version: table.store.version(), watermark: table.watermark };
                    starts.insert(id, start);
                    // An idle graph's position may be older than the table, and the log there gone.
                    self.positions.insert(id, position.max(self.catalog.rows_from(id)));
                    TableHead::restored(definition, table.store, table.watermark)?
                }
                // Made after the checkpoint: all of its rows are in the log.
                None => TableHead::new(definition)?,
            };
            self.heads.insert(id, head);
        }
        Ok(starts)
    }
}

impl History {
    /// All rows that some table's head does not have yet, in the order of the log.
    async fn rows_behind(
        &self,
        storage: &Storage,
        positions: &BTreeMap<RelationId, LogPosition>,
    ) -> Result<Vec<(LogPosition, Vec<RowsRecord>)>> {
        let mut rows = Vec::new();
        let earliest = positions.values().min().copied().unwrap_or(self.snapshot_position);
        if earliest < self.snapshot_position {
            let relations = positions.keys().copied().collect();
            rows = storage.read_rows(earliest, self.snapshot_position, &relations).await?;
        }
        rows.extend(self.rows.iter().cloned());
        Ok(rows)
    }
}

/// Applies an entry's rows to the heads; gives back what the graphs are to be handed, each table once.
fn replay(
    heads: &mut Heads,
    positions: &BTreeMap<RelationId, LogPosition>,
    position: LogPosition,
    records: Vec<RowsRecord>,
) -> Result<Vec<TableChange>> {
    let mut changes: Vec<TableChange> = Vec::new();
    for record in records {
        let relation = record.relation;
        // Dropped since, or in the checkpoint already.
        let Some(head) = heads.get_mut(&relation) else { continue };
        if position <= positions.get(&relation).copied().unwrap_or_default() {
            continue;
        }
        let net = head.replay(&record)?;
        let late =
            if record.late { record.changes.into_iter().map(|change| change.rows).collect() } else { Vec::new() };
        let (version, watermark) = (head.store.version(), head.watermark());
        super::committer::merge(&mut changes, TableChange { relation, changes: net, late, version, watermark });
    }
    Ok(changes)
}
