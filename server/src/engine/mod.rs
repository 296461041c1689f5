//! The engine: one durable catalog, one commit writer, and the graphs that keep the views current.
//!
//! The life of a statement here: [`catalog`] and [`state`] are what it was planned against; [`read`] pins what
//! a query sees and [`provider`], [`source_scan`] give its rows; [`mod@write`] decides what DML does to the
//! [`head`]s of tables with [`dml`], and [`committer`] makes it durable and hands it to the graphs; [`ddl`]
//! and [`creation`] plan what changes the catalog, [`settle`] logs it and makes it so with [`deploy`]; [`recovery`] does all of it again at a start;
//! [`maintenance`] keeps the log short.
//!
//! Invariants kept here, by the numbers of the project's list, each with the test that attacks it:
//! 1, 3, 5, 6, 7 (`session::tests::oracle::views_hold_what_the_batch_engine_answers_through_the_whole_graph`,
//! `session::tests::random::tables_and_views_survive_random_histories`),
//! 4 (`session::tests::a_statement_over_two_graphs_sees_whole_commits`),
//! 9 (`session::tests::a_newer_server_stops_an_older_one`),
//! 10 (`session::tests::acknowledged_rows_survive_a_restart`),
//! 13 (`session::tests::memory::a_view_that_takes_more_memory_than_is_left_fails_alone`),
//! 15 (`session::tests::damage::a_damaged_checkpoint_stops_its_own_graph_only`,
//! `session::tests::a_failed_create_leaves_nothing_behind`),
//! 18 (`engine::secrets::mask::tests::secrets_are_masked_and_nothing_else`).

pub mod access;
pub mod advisory;
pub mod catalog;
pub mod clock;
pub mod commit;
mod commit_definitions;
pub mod committer;
mod creation;
pub mod ddl;
pub mod definitions;
mod deploy;
pub mod dml;
pub mod gather;
pub mod gathered;
pub mod head;
pub mod index;
pub mod index_scan;
pub mod limits;
pub mod maintenance;
mod memory;
pub mod provider;
pub mod read;
pub mod record;
pub mod recovery;
pub mod returning;
mod secrets;
mod settle;
pub mod source_scan;
pub mod state;
pub mod stop;
pub mod system;
pub mod temporary;
pub mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::Expr;
use millstream_connectors::ConnectorContext;
use millstream_planner::batch::{BatchQuery, BatchRuntime};
use millstream_planner::error::PlanError;
use millstream_planner::functions::SessionFacts;
use millstream_runtime::graph::{Graph, GraphId, GraphState, Slots, StateMemory};
use millstream_runtime::storage::{CheckpointRecord, CheckpointRef, Storage};
use millstream_runtime::time::LogPosition;
use millstream_runtime::{Error, Result};
use tokio::sync::Mutex;

use self::access::attempts::LoginAttempts;
use self::access::connections::RoleConnections;
use self::advisory::{AdvisoryLocks, SessionLocks};
use self::clock::ServerClock;
use self::committer::Committer;
use self::deploy::Starter;
use self::recovery::{History, Started};
use self::secrets::connect::SecretValues;
pub use self::secrets::{SecretKeys, mask, masked_sql};
use self::state::{SharedState, State};
use self::temporary::TemporaryViews;
use self::write::Heads;
use crate::session::{KnownTexts, SqlError};

/// The storage that ends with the engine: nobody else can open it.
const MEMORY: &str = "memory://";

/// What an engine is opened with.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The storage's URL: a path, `file:///path`, `s3://bucket/prefix`, `memory://` or `memory://NAME`.
    pub storage: String,
    /// Worker threads for the graphs.
    pub slots: usize,
    /// Subtasks per operator, at most `slots`.
    pub parallelism: usize,
    /// Bytes that all queries together may hold.
    pub query_memory_bytes: usize,
    /// Bytes that operators, views and tables together may keep.
    pub state_memory_bytes: usize,
    /// What secrets are kept with. A storage of the process' own memory gets a key of its own where there is none.
    pub secret_keys: SecretKeys,
    /// Where whoever lets clients in counts their attempts.
    pub login_attempts: Arc<LoginAttempts>,
}

impl EngineConfig {
    /// A configuration with one slot per core, a GiB for queries, and most of the machine's memory for state.
    pub fn new(storage: impl Into<String>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            storage: storage.into(),
            slots: cores,
            parallelism: cores,
            query_memory_bytes: 1 << 30,
            state_memory_bytes: memory::state_bytes_default(),
            secret_keys: SecretKeys::default(),
            login_attempts: Arc::default(),
        }
    }
}

/// A running engine, shared by all sessions.
pub struct Engine {
    storage: Arc<Storage>,
    starter: Starter,
    batch: BatchRuntime,
    state: Arc<SharedState>,
    /// The writer's lock: see [`write`].
    heads: Mutex<Heads>,
    committer: Committer,
    /// One DDL at a time.
    ddl: Arc<Mutex<()>>,
    /// The graphs that have no checkpoint since they were joined, with the one they had before.
    unsettled: std::sync::Mutex<BTreeMap<GraphId, Option<CheckpointRef>>>,
    /// The log up to here is in a snapshot.
    snapshot_at: AtomicU64,
    /// The log entry with which this server became the owner.
    opened_at: LogPosition,
    /// The sessions of every role.
    role_connections: Arc<RoleConnections>,
    login_attempts: Arc<LoginAttempts>,
    advisory: Arc<AdvisoryLocks>,
    temporary: TemporaryViews,
    texts: KnownTexts,
}

impl Engine {
    /// Opens the storage, takes ownership, and starts everything that the log says there is. Views catch up
    /// while sessions connect; a SELECT waits for those that it reads.
    pub async fn open(config: EngineConfig) -> Result<Arc<Self>> {
        let storage = Storage::open(&config.storage).await?;
        let recovered = storage.recover().await?;
        let (term, opened_at) = (recovered.term, recovered.position);
        let snapshot_at = AtomicU64::new(recovered.snapshot_position.0);
        let keys = match config.secret_keys.is_empty() && config.storage == MEMORY {
            true => SecretKeys::random()?,
            false => config.secret_keys,
        };
        let history = History::read(recovered, &keys)?;
        let secrets = SecretValues::new(keys, Arc::clone(history.catalog.sealed()));
        let state = Arc::new(SharedState::new(State {
            catalog: history.catalog.clone(),
            graphs: Default::default(),
            made_by: opened_at,
        }));
        let clock: Arc<ServerClock> = Arc::default();
        let starter = Starter {
            storage: Arc::clone(&storage),
            term,
            slots: Slots::start(config.slots.max(1)),
            parallelism: config.parallelism.clamp(1, config.slots.max(1)),
            memory: StateMemory::new(config.state_memory_bytes),
            connectors: ConnectorContext::with_clock(Arc::clone(&clock) as _),
            clock,
            secrets,
        };
        let Started { state: started, heads, delivered, unsettled, checkpoints } =
            recovery::start(&starter, history).await?;
        state.store(started);
        storage.note_checkpoints(checkpoints.into_values());
        let committer = Committer::start(Arc::clone(&storage), Arc::clone(&state), delivered);
        let engine = Arc::new(Self {
            batch: BatchRuntime::new(config.query_memory_bytes, config.slots.max(1)),
            starter,
            storage,
            state,
            heads: Mutex::new(heads),
            committer,
            ddl: Arc::default(),
            unsettled: std::sync::Mutex::new(unsettled),
            snapshot_at,
            opened_at,
            role_connections: Arc::default(),
            login_attempts: config.login_attempts,
            advisory: Arc::default(),
            temporary: TemporaryViews::default(),
            texts: KnownTexts::default(),
        });
        maintenance::start(&engine);
        Ok(engine)
    }

    /// Ends, with the reason, once a newer server owns the storage: the process must stop then.
    pub fn fenced(&self) -> impl Future<Output = Error> + Send + use<> {
        self.storage.fenced()
    }

    /// Queries that were sent as text.
    pub(crate) fn texts(&self) -> &KnownTexts {
        &self.texts
    }

    /// The storage as messages name it.
    pub fn storage_label(&self) -> &str {
        self.storage.label()
    }

    /// The newest catalog and graphs.
    pub fn state(&self) -> Arc<State> {
        self.state.load()
    }

    /// Told of every new catalog, and of graphs that join.
    pub fn states(&self) -> tokio::sync::watch::Receiver<Arc<State>> {
        self.state.watch()
    }

    /// How a graph does. A log that takes no entry holds up the writes and checkpoints of every one.
    pub fn graph_state(&self, graph: &Graph) -> GraphState {
        match (graph.state(), self.storage.trouble()) {
            (GraphState::Running, Some(trouble)) => GraphState::Waiting { reason: format!("log: {trouble}") },
            (state, _) => state,
        }
    }

    /// The newest committed checkpoint of every graph.
    pub fn newest_checkpoints(&self) -> BTreeMap<GraphId, CheckpointRecord> {
        self.storage.checkpoints()
    }

    /// Processing time.
    pub fn clock(&self) -> &ServerClock {
        &self.starter.clock
    }

    /// Whether any session holds an advisory lock.
    pub fn holds_advisory_locks(&self) -> bool {
        self.advisory.any_held()
    }

    /// The advisory locks of a new session.
    pub fn advisory_locks(&self) -> SessionLocks {
        self.advisory.session()
    }

    /// Memory of queries for rows that are kept beside them.
    pub fn query_memory(&self, holder: &str) -> MemoryReservation {
        self.batch.reservation(holder)
    }

    /// A batch query's surroundings.
    pub fn batch_query(&self, facts: SessionFacts) -> BatchQuery {
        self.batch.query(facts)
    }

    /// The same for one whose rows keep their order.
    pub fn ordered_query(&self, facts: SessionFacts) -> BatchQuery {
        self.batch.query_in_order(facts)
    }

    /// `FLUSH`: what stood in the sources, and what was committed, when it was called can be read afterwards.
    /// Gives back the graphs that could not take part, with the reason.
    pub async fn flush(&self) -> Result<Vec<String>, SqlError> {
        let state = self.state.load();
        let last = self.committer.delivered().lock().await.last.clone();
        let flushes = state.graphs.iter().map(async |(id, graph)| {
            if let GraphState::Failed { reason } = graph.state() {
                return Ok(Some(format!("graph {} has failed: {reason}", id.0)));
            }
            let position = last.get(id).copied().unwrap_or_default();
            let flushed = async {
                graph.flush().await?;
                graph.wait_for(position).await
            };
            flushed.await.map(|_| None).map_err(|error| read::graph_failed(&state, *id, graph, error))
        });
        let left_out = futures::future::try_join_all(flushes).await?;
        Ok(left_out.into_iter().flatten().collect())
    }

    /// The log entry with which this server became the owner: a session has seen everything before it.
    pub fn opened_at(&self) -> LogPosition {
        self.opened_at
    }

    /// The sessions of every role.
    pub fn role_connections(&self) -> &Arc<RoleConnections> {
        &self.role_connections
    }

    /// Logins that failed or are under way.
    pub fn login_attempts(&self) -> &LoginAttempts {
        &self.login_attempts
    }

    /// Waits until the bounded sources of every graph have ended and their rows can be read.
    pub async fn wait_ended(&self) -> Result<(), SqlError> {
        let state = self.state.load();
        let waits = state.graphs.iter().map(async |(id, graph)| {
            graph.wait_ended().await.map_err(|error| read::graph_failed(&state, *id, graph, error))
        });
        futures::future::try_join_all(waits).await.map(drop)
    }

    /// Waits until what the last checkpoints hold for sinks has left through them.
    pub async fn wait_published(&self) -> Result<(), SqlError> {
        let state = self.state.load();
        let waits = state.graphs.iter().map(async |(id, graph)| {
            graph.wait_published().await.map_err(|error| read::graph_failed(&state, *id, graph, error))
        });
        futures::future::try_join_all(waits).await.map(drop)
    }

    /// Stops every graph and lets the storage go. Nothing is lost: a start goes on from what is durable.
    pub async fn stop(&self) {
        let state = self.state.load();
        futures::future::join_all(state.graphs.values().map(|graph| graph.stop())).await;
    }
}

/// An error of a callback that can only pass on an error of the planner: it is kept aside.
pub(crate) fn keep(kept: &mut Option<SqlError>, error: SqlError) -> PlanError {
    let placeholder = PlanError::internal(error.message.clone());
    *kept = Some(error);
    placeholder
}

/// An expression with the values of its parameters put in.
fn with_parameters(expr: &Expr, parameters: &[ScalarValue]) -> Result<Expr, SqlError> {
    let put_in = expr.clone().transform_up(|node| match &node {
        Expr::Placeholder(placeholder) => {
            let number = placeholder.id.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
            let value = number.and_then(|number| parameters.get(number.checked_sub(1)?));
            Ok(match value {
                Some(value) => Transformed::yes(Expr::Literal(value.clone(), None)),
                None => Transformed::no(node),
            })
        }
        _ => Ok(Transformed::no(node)),
    })?;
    Ok(put_in.data)
}
