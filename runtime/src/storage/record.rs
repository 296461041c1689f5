//! The records of the log: everything that changes what the server is, in one order.
//!
//! A commit is a list of records that stand in one entry, so that a transaction with DDL and DML is there as a
//! whole or not at all.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::manifest::CheckpointRef;
use super::rows::StoredRows;
use crate::batch::ChangeBatch;
use crate::graph::GraphId;
use crate::plan::RelationId;
use crate::time::{Epoch, LogPosition, Watermark};

/// One record of the log.
#[derive(Clone, Debug)]
pub enum Record {
    /// A server has opened its term. Written by [`super::Storage::recover`] alone.
    Term {
        /// The term, which is the number of the entry too.
        term: u64,
    },
    /// A statement that changes the catalog.
    Ddl(DdlRecord),
    /// Rows of a table that changed.
    Rows(RowsRecord),
    /// A checkpoint of a graph that counts from here on.
    Checkpoint(CheckpointRecord),
    /// Graphs have become one, made from their last checkpoints.
    GraphsJoined {
        /// The graph that they have become.
        graph: GraphId,
        /// The last checkpoints of those that it was made of.
        parents: Vec<CheckpointRecord>,
    },
    /// A name for checkpoints that are kept until the name is dropped.
    SavepointNamed {
        /// The name, unique among the savepoints.
        name: String,
        /// What it keeps.
        checkpoints: Vec<CheckpointRecord>,
    },
    /// A savepoint's name is gone, and with it what only it kept.
    SavepointDropped {
        /// The name.
        name: String,
    },
}

/// A statement that changes the catalog, with all that planning it again needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DdlRecord {
    /// The statement's text.
    pub sql: String,
    /// The session settings that bear on what it means.
    pub settings: serde_json::Value,
    /// The relations that it makes, in the order in which the statement names them.
    pub relations: Vec<DdlRelation>,
    /// What the engine keeps beside: the plan as text, resolved splits. Never a secret in the clear.
    pub detail: serde_json::Value,
}

/// A relation that a statement makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DdlRelation {
    /// Its number.
    pub id: RelationId,
    /// What the Postgres catalog shows as its OID.
    pub oid: u32,
}

/// Final changes of one relation's rows.
#[derive(Clone, Debug)]
pub struct RowsRecord {
    /// The relation.
    pub relation: RelationId,
    /// Whether these are rows that came too late: they go to `$late` and nowhere else.
    pub late: bool,
    /// The changes, all with one schema, to be applied as one step; none where they stand in `stored`.
    pub changes: Vec<ChangeBatch>,
    /// The object that holds the changes already, for a commit that was too large to be encoded at once. Never
    /// set in what is read back.
    pub stored: Option<Arc<StoredRows>>,
    /// The table's clock behind the commit. Rows alone don't tell it: a row that met a key that was there is
    /// not among them, and has moved the clock. `None` without a declared watermark, and in older entries.
    pub watermark: Option<Watermark>,
}

/// A checkpoint that is committed by the entry that holds this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointRecord {
    /// Whose checkpoint.
    pub graph: GraphId,
    /// Where its manifest is.
    pub checkpoint: CheckpointRef,
    /// The epoch that it is of.
    pub epoch: Epoch,
    /// Every commit up to here is in.
    pub log_position: LogPosition,
}
