//! Transaction blocks: BEGIN, COMMIT, ROLLBACK around reads.
//!
//! A block sees one state: what its first read pinned, for all graphs. Statements that write commit by
//! themselves and are refused inside a block.

use std::collections::BTreeMap;

use millstream_runtime::graph::GraphId;

use super::sqlstate::Condition;
use super::{Notice, SqlError, TransactionStatus};
use crate::engine::read::Pinned;

/// Where a session is with its transaction.
#[derive(Default)]
pub struct Transaction {
    block: Option<Block>,
}

/// An open block.
struct Block {
    read_only: bool,
    failed: bool,
    /// `now()` is the same in the whole block.
    now_micros: i64,
    pinned: Option<Pinned>,
    /// Graphs that could not be pinned, with the reason.
    unpinned: BTreeMap<GraphId, SqlError>,
}

impl Transaction {
    /// What ReadyForQuery says.
    pub fn status(&self) -> TransactionStatus {
        match &self.block {
            None => TransactionStatus::Idle,
            Some(Block { failed: true, .. }) => TransactionStatus::Failed,
            Some(_) => TransactionStatus::Active,
        }
    }

    /// `BEGIN`.
    pub fn begin(&mut self, read_only: bool, now_micros: i64) -> Option<Notice> {
        if self.block.is_some() {
            let message = "there is already a transaction in progress";
            return Some(Notice::warning(Condition::ActiveSqlTransaction, message));
        }
        self.block = Some(Block { read_only, failed: false, now_micros, pinned: None, unpinned: BTreeMap::new() });
        None
    }

    /// `COMMIT` or `ROLLBACK`: whether the block had not failed; `None` when there was none.
    pub fn end(&mut self) -> Option<bool> {
        self.block.take().map(|block| !block.failed)
    }

    /// A statement of the block failed.
    pub fn fail(&mut self) {
        if let Some(block) = &mut self.block {
            block.failed = true;
        }
    }

    /// The time of the block.
    pub fn now_micros(&self) -> Option<i64> {
        self.block.as_ref().map(|block| block.now_micros)
    }

    /// Refuses everything but the end of a block that failed.
    pub fn check(&self) -> Result<(), SqlError> {
        match &self.block {
            Some(Block { failed: true, .. }) => Err(SqlError::new(
                Condition::InFailedSqlTransaction,
                "current transaction is aborted, commands ignored until end of transaction block",
            )),
            _ => Ok(()),
        }
    }

    /// Refuses a statement that can't stand in a block.
    pub fn refuse_block(&self, statement: &str) -> Result<(), SqlError> {
        match &self.block {
            None => Ok(()),
            Some(block) if block.read_only => {
                let message = format!("cannot execute {statement} in a read-only transaction");
                Err(SqlError::new(Condition::ReadOnlySqlTransaction, message))
            }
            Some(_) => {
                let message = format!("{statement} inside a transaction block is not supported");
                Err(SqlError::new(Condition::FeatureNotSupported, message).with_hint(
                    "Every statement that writes commits by itself: send it outside BEGIN ... COMMIT \
                     (turn on autocommit in your driver). A transaction around reads sees one epoch.",
                ))
            }
        }
    }

    /// What the block has pinned; `None` outside a block, or before its first read.
    pub fn pinned(&self) -> Option<&Pinned> {
        self.block.as_ref().and_then(|block| block.pinned.as_ref())
    }

    /// Whether a block is open whose first read is still to come.
    pub fn wants_pin(&self) -> bool {
        self.block.as_ref().is_some_and(|block| block.pinned.is_none())
    }

    /// Keeps what the first read pinned.
    pub fn pin(&mut self, pinned: Pinned, unpinned: BTreeMap<GraphId, SqlError>) {
        if let Some(block) = &mut self.block {
            block.pinned = Some(pinned);
            block.unpinned = unpinned;
        }
    }

    /// Why a graph is not in what was pinned.
    pub fn unpinned(&self, graph: GraphId) -> Option<&SqlError> {
        self.block.as_ref().and_then(|block| block.unpinned.get(&graph))
    }
}
