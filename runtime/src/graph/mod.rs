//! A graph: the connected relations that share one epoch loop, one checkpoint lineage and one fate.
//!
//! [`Graph`] is the handle that the server holds; behind it a job master runs on a thread of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::batch::ChangeBatch;
use crate::error::Result;
use crate::plan::{Dataflow, InputRelation, RelationId};
use crate::relation::RelationVersion;
use crate::sink::Sink;
use crate::source::{Position, Source, Split, SplitId};
use crate::storage::Storage;
use crate::time::{Epoch, LogPosition, Stamp, Watermark};

/// The number of a graph, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GraphId(pub u64);

/// Where processing time comes from; set by hand in tests.
pub trait Clock: Send + Sync {
    /// Microseconds since 1970.
    fn now(&self) -> Stamp;
}

/// The task slots of the process: worker threads shared by all graphs.
#[derive(Clone)]
pub struct Slots {}

impl Slots {
    /// Starts `count` threads.
    pub fn start(_count: usize) -> Self {
        Self {}
    }
}

/// What a graph is started with.
pub struct GraphConfig {
    /// Its number.
    pub id: GraphId,
    /// The term of this server.
    pub term: u64,
    /// Where its subtasks run.
    pub slots: Slots,
    /// Number of subtasks per operator, at most the number of slots.
    pub parallelism: usize,
    /// Microseconds between checkpoints that are taken by themselves; `None` only on request.
    pub checkpoint_interval_micros: Option<i64>,
    /// Processing time.
    pub clock: Arc<dyn Clock>,
    /// Where checkpoints go, and the log that commits them.
    pub storage: Arc<Storage>,
    /// Runs readers and uploads.
    pub tokio: tokio::runtime::Handle,
}

/// A source or a table of the graph.
pub struct InputDeployment {
    /// How its rows are treated.
    pub relation: InputRelation,
    /// Where they come from.
    pub origin: InputOrigin,
}

/// Where an input's rows come from.
pub enum InputOrigin {
    /// A connector; rows are not kept. The splits as resolved at CREATE SOURCE.
    Source {
        /// The connector's side.
        source: Arc<dyn Source>,
        /// The splits with their start positions, as they stand in the log.
        splits: Vec<Split>,
    },
    /// DML through [`Graph::commit`]; the engine keeps the head, the graph shows versions of it.
    Table,
}

/// A materialized view or a sink of the graph.
pub struct ViewDeployment {
    /// Its number.
    pub id: RelationId,
    /// Its qualified name, for messages.
    pub name: String,
    /// What it computes.
    pub dataflow: Dataflow,
    /// Unique columns, empty when not known.
    pub key: Vec<usize>,
    /// Set for a sink: the rows leave instead of being kept.
    pub sink: Option<Arc<dyn Sink>>,
}

/// A durable commit of table rows.
#[derive(Clone, Debug)]
pub struct TableCommit {
    /// Its log entry.
    pub position: LogPosition,
    /// Per table the final changes and the version that holds them.
    pub tables: Vec<TableChange>,
}

/// What a commit did to one table.
#[derive(Clone, Debug)]
pub struct TableChange {
    /// The table.
    pub relation: RelationId,
    /// Net changes, full schema.
    pub changes: Vec<ChangeBatch>,
    /// The table after the commit.
    pub version: Arc<RelationVersion>,
    /// The table's watermark after the commit.
    pub watermark: Watermark,
}

/// What readers see: one epoch of a graph.
#[derive(Clone, Debug)]
pub struct Published {
    /// The epoch.
    pub epoch: Epoch,
    /// Its processing time.
    pub stamp: Stamp,
    /// Every commit up to here is in.
    pub log_position: LogPosition,
    /// Tables and views of the graph that can be read.
    pub relations: BTreeMap<RelationId, Arc<RelationVersion>>,
    /// `$rejected` and `$refused`.
    pub rejected: BTreeMap<RelationId, Arc<RelationVersion>>,
    /// `$late`.
    pub late: BTreeMap<RelationId, Arc<RelationVersion>>,
    /// How far every split of every source is in.
    pub splits: BTreeMap<RelationId, BTreeMap<SplitId, SplitStatus>>,
    /// Watermark of every relation.
    pub watermarks: BTreeMap<RelationId, Watermark>,
}

/// A split at an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitStatus {
    /// The next position.
    pub position: Position,
    /// The split's own watermark.
    pub watermark: Watermark,
    /// Taken out of the merge for want of rows.
    pub idle: bool,
    /// A bounded split that has ended.
    pub ended: bool,
    /// Records read, for ever.
    pub read: u64,
    /// Rows accepted, for ever.
    pub accepted: u64,
    /// Rows late, for ever.
    pub late: u64,
    /// Records rejected, for ever.
    pub rejected: u64,
}

/// How a graph does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GraphState {
    /// Runs.
    Running,
    /// Waits to be restarted after a failure, or for an outside service that is away.
    Restarting {
        /// Why.
        reason: String,
    },
    /// Stands until a person acts.
    Failed {
        /// Why.
        reason: String,
    },
}

/// How a view does.
#[derive(Clone, Debug, PartialEq)]
pub enum ViewState {
    /// Being filled; the share that is done, from 0 to 1.
    Filling(f64),
    /// Follows its inputs.
    Running,
}

/// The handle of a running graph. Cheap to clone.
#[derive(Clone)]
pub struct Graph {}

impl Graph {
    /// Starts a graph, from a checkpoint if there is one. Inputs and views are those of the catalog; views
    /// that the checkpoint does not know are filled anew.
    pub fn start(
        _config: GraphConfig,
        _inputs: Vec<InputDeployment>,
        _views: Vec<ViewDeployment>,
        _checkpoint: Option<crate::storage::CheckpointRef>,
    ) -> Self {
        todo!("written next")
    }

    /// Its number.
    pub fn id(&self) -> GraphId {
        todo!("written next")
    }

    /// What readers see now.
    pub fn published(&self) -> Arc<Published> {
        todo!("written next")
    }

    /// How it does.
    pub fn state(&self) -> GraphState {
        todo!("written next")
    }

    /// How a view does; `None` when it is not of this graph.
    pub fn view_state(&self, _view: RelationId) -> Option<ViewState> {
        todo!("written next")
    }

    /// Adds a source or table; it takes rows once a view reads it (a table: at once).
    pub async fn add_input(&self, _input: InputDeployment) -> Result<()> {
        todo!("written next")
    }

    /// Adds a view or sink and returns once it is being filled. Its inputs are of this graph.
    pub async fn add_view(&self, _view: ViewDeployment) -> Result<()> {
        todo!("written next")
    }

    /// Waits until a view is full and follows its inputs.
    pub async fn wait_running(&self, _view: RelationId) -> Result<()> {
        todo!("written next")
    }

    /// Takes relations out, dependents first.
    pub async fn remove(&self, _relations: Vec<RelationId>) -> Result<()> {
        todo!("written next")
    }

    /// Hands over a durable commit; never waits. Positions rise from call to call.
    pub fn commit(&self, _commit: TableCommit) {
        todo!("written next")
    }

    /// Waits until an epoch with every commit up to `position` is visible; an error when the graph fails.
    pub async fn wait_for(&self, _position: LogPosition) -> Result<Arc<Published>> {
        todo!("written next")
    }

    /// Waits until everything that stood in the sources when it was called is visible.
    pub async fn flush(&self) -> Result<Arc<Published>> {
        todo!("written next")
    }

    /// Takes a checkpoint and waits until it is committed.
    pub async fn checkpoint(&self) -> Result<()> {
        todo!("written next")
    }

    /// Waits until every bounded source has ended and its rows are visible.
    pub async fn wait_ended(&self) -> Result<()> {
        todo!("written next")
    }

    /// Joins another graph into this one; both keep running until the moment they are one.
    pub async fn absorb(&self, _other: Graph) -> Result<()> {
        todo!("written next")
    }

    /// Stops it without a checkpoint.
    pub async fn stop(&self) {
        todo!("written next")
    }
}
