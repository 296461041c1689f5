//! The committer: takes decided commits in the order of the heads, makes them durable, hands them to graphs.
//!
//! Invariants:
//! - Commits enter the queue under the writer's lock, so the queue, the heads and the log have one order.
//! - Commits that wait together become one entry of the log, and each graph gets an entry's changes at once:
//!   a position that a graph shows is never half there.
//! - After a failed append the heads are ahead of the log. Nothing is acknowledged from then on, and every
//!   further write is refused with the reason.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use millstream_runtime::graph::{Graph, GraphId, TableChange, TableCommit};
use millstream_runtime::storage::{DdlRecord, Record, RowsRecord, Storage};
use millstream_runtime::time::LogPosition;
use millstream_runtime::{Error, Result};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::state::SharedState;

/// Commits that may wait for the log: more sessions than that wait before they evaluate their statement.
const PENDING_COMMITS: usize = 1024;

/// Bytes of commits put into one append, so that an entry does not keep small commits waiting for long.
const APPEND_BYTES: usize = 4 << 20;

/// A decided commit on its way into the log.
pub struct Pending {
    /// Definitions of the same transaction, before its rows in the log.
    definitions: Vec<DdlRecord>,
    /// What the log gets.
    pub rows: Vec<RowsRecord>,
    /// What the graphs get; the late rows are in `rows` alone.
    pub changes: Vec<TableChange>,
    answer: oneshot::Sender<Result<LogPosition>>,
    /// Fires when what the definitions make runs; the answer comes before it then.
    made: Option<oneshot::Receiver<()>>,
}

impl Pending {
    /// A commit, and where its position in the log arrives once it is durable. One without rows writes nothing:
    /// it is answered behind those before it.
    pub fn new(rows: Vec<RowsRecord>, changes: Vec<TableChange>) -> (Self, oneshot::Receiver<Result<LogPosition>>) {
        let (answer, position) = oneshot::channel();
        (Self { definitions: Vec::new(), rows, changes, answer, made: None }, position)
    }

    /// The same commit with definitions before its rows. It is answered as soon as it is durable; its rows are
    /// handed over when the returned sender says, or is dropped, because what they are for runs by then.
    pub fn with_definitions(mut self, definitions: Vec<DdlRecord>) -> (Self, oneshot::Sender<()>) {
        let (ready, made) = oneshot::channel();
        self.definitions = definitions;
        self.made = Some(made);
        (self, ready)
    }

    fn records(&mut self) -> impl Iterator<Item = Record> + use<> {
        let definitions = std::mem::take(&mut self.definitions).into_iter().map(Record::Ddl);
        definitions.chain(std::mem::take(&mut self.rows).into_iter().map(Record::Rows))
    }

    fn memory_bytes(&self) -> usize {
        self.rows.iter().flat_map(|rows| &rows.changes).map(|change| change.memory_bytes()).sum()
    }
}

/// What the graphs have been given.
#[derive(Debug, Default)]
pub struct Delivered {
    /// The newest commit that each graph was given.
    pub last: BTreeMap<GraphId, LogPosition>,
    /// The newest commit that any of them was given: each has all of its own up to here.
    pub newest: LogPosition,
}

impl Delivered {
    /// Tells a graph that no commit up to the newest one concerns it, so that its checkpoints hold back no log.
    pub fn catch_up(&mut self, graph: &Graph) {
        let last = self.last.entry(graph.id()).or_default();
        if *last < self.newest {
            *last = self.newest;
            graph.commit(TableCommit { position: self.newest, tables: Vec::new() });
        }
    }
}

/// The writer's end of the queue.
pub struct Committer {
    queue: mpsc::Sender<Pending>,
    /// Why nothing can be written any more.
    stopped: Arc<OnceLock<Error>>,
    delivered: Arc<Mutex<Delivered>>,
}

impl Committer {
    /// Starts the committer on the current tokio runtime; it ends when this is dropped.
    pub fn start(storage: Arc<Storage>, state: Arc<SharedState>, delivered: Delivered) -> Self {
        let (queue, pending) = mpsc::channel(PENDING_COMMITS);
        let stopped = Arc::new(OnceLock::new());
        let delivered = Arc::new(Mutex::new(delivered));
        let worker =
            Worker { storage, state, pending, stopped: Arc::clone(&stopped), delivered: Arc::clone(&delivered) };
        tokio::spawn(worker.run());
        Self { queue, stopped, delivered }
    }

    /// Waits for a place in the queue; taken before the writer's lock, so that nobody waits under it.
    pub async fn reserve(&self) -> Result<mpsc::Permit<'_, Pending>> {
        self.check()?;
        self.queue.reserve().await.map_err(|_| self.why())
    }

    /// Fails with the reason once nothing can be written any more.
    pub fn check(&self) -> Result<()> {
        self.stopped.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// What the graphs have been given. While this is locked they are given nothing more.
    pub fn delivered(&self) -> &Arc<Mutex<Delivered>> {
        &self.delivered
    }

    /// Why there is no answer to a commit.
    pub fn why(&self) -> Error {
        self.check().err().unwrap_or_else(|| Error::unavailable("the server is stopping"))
    }
}

struct Worker {
    storage: Arc<Storage>,
    state: Arc<SharedState>,
    pending: mpsc::Receiver<Pending>,
    stopped: Arc<OnceLock<Error>>,
    delivered: Arc<Mutex<Delivered>>,
}

impl Worker {
    async fn run(mut self) {
        while let Some(first) = self.pending.recv().await {
            let mut commits = self.gather(first);
            let records = commits.iter_mut().flat_map(Pending::records);
            let appended = match self.stopped.get() {
                Some(error) => Err(error.clone()),
                None => self.append(records.collect()).await,
            };
            match appended {
                Ok(position) => self.deliver(position, commits).await,
                Err(error) => self.stop(&error, commits),
            }
        }
    }

    /// The place in the log behind some records: their own entry, or for none the last one.
    async fn append(&self, records: Vec<Record>) -> Result<LogPosition> {
        if records.is_empty() {
            return Ok(self.delivered.lock().await.newest);
        }
        self.storage.append(records).await
    }

    /// The first commit and those that have come meanwhile.
    fn gather(&mut self, first: Pending) -> Vec<Pending> {
        let mut bytes = first.memory_bytes();
        let mut commits = vec![first];
        while bytes < APPEND_BYTES {
            let Ok(next) = self.pending.try_recv() else { break };
            bytes += next.memory_bytes();
            commits.push(next);
        }
        commits
    }

    async fn deliver(&self, position: LogPosition, mut commits: Vec<Pending>) {
        // While it is locked nobody pins a state of the graphs that has the definitions and not the rows.
        let mut delivered = self.delivered.lock().await;
        for commit in &mut commits {
            if let Some(made) = commit.made.take() {
                let (unused, _) = oneshot::channel();
                let _ = std::mem::replace(&mut commit.answer, unused).send(Ok(position));
                // Dropped where the server is stopping: nobody is left to hand rows to.
                let _ = made.await;
            }
        }
        let state = self.state.load();
        let mut answers = Vec::with_capacity(commits.len());
        let mut by_graph: BTreeMap<GraphId, Vec<TableChange>> = BTreeMap::new();
        for commit in commits {
            for change in commit.changes {
                // Dropped since it was decided: nobody can see it any more.
                let Some(graph) = state.catalog.graph_of(change.relation) else { continue };
                merge(by_graph.entry(graph).or_default(), change);
            }
            answers.push(commit.answer);
        }
        for (id, tables) in by_graph {
            if let Some(graph) = state.graphs.get(&id) {
                graph.commit(TableCommit { position, tables });
                delivered.last.insert(id, position);
            }
        }
        delivered.newest = position;
        drop(delivered);
        for answer in answers {
            // A session that went away does not care.
            let _ = answer.send(Ok(position));
        }
    }

    fn stop(&self, error: &Error, commits: Vec<Pending>) {
        let kind = error.kind;
        let reason = Error::new(kind, format!("the server takes no more writes: {}", error.message))
            .with_hint("The failed write is not there. Start the server again, it goes on from what is durable.");
        tracing::error!(%error, "a commit could not be written");
        let reason = self.stopped.get_or_init(|| reason);
        for commit in commits {
            let _ = commit.answer.send(Err(reason.clone()));
        }
    }
}

/// Changes of one table in one entry are one change: the rows of all, the last version.
pub fn merge(tables: &mut Vec<TableChange>, change: TableChange) {
    match tables.iter_mut().find(|table| table.relation == change.relation) {
        None => tables.push(change),
        Some(table) => {
            table.changes.extend(change.changes);
            table.late.extend(change.late);
            table.version = change.version;
            table.watermark = change.watermark;
        }
    }
}
