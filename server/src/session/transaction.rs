//! Transaction blocks: BEGIN, COMMIT, ROLLBACK, savepoints, and the block that nobody wrote.
//!
//! A block sees one state: what its first read pinned, for all graphs. Its writes are gathered and become one
//! commit. A text of several statements, and the messages up to a Sync, are a block of their own unless they
//! say BEGIN: the implicit one. A lone statement is none: it commits by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_runtime::graph::GraphId;

use super::settings::Settings;
use super::sqlstate::Condition;
use super::{Notice, SqlError, TransactionStatus};
use crate::engine::gathered::{Gathered, Mark};
use crate::engine::limits::SAVEPOINTS;
use crate::engine::read::Pinned;
use crate::engine::state::State;

/// Where a session is with its transaction.
#[derive(Default)]
pub struct Transaction {
    block: Option<Block>,
}

/// An open block.
struct Block {
    /// Nobody wrote BEGIN.
    implicit: bool,
    read_only: bool,
    failed: bool,
    /// `now()` is the same in the whole block.
    now_micros: i64,
    pinned: Option<Pinned>,
    /// Graphs that could not be pinned, with the reason.
    unpinned: BTreeMap<GraphId, SqlError>,
    gathered: Gathered,
    savepoints: Vec<Savepoint>,
    /// The client knows that views do not show what the block has written.
    told_of_views: bool,
}

/// A place to come back to.
struct Savepoint {
    name: String,
    mark: Mark,
    settings: Settings,
    /// The cursors that there were.
    cursors: u64,
}

/// A block that is over.
pub struct Ended {
    /// Nobody wrote BEGIN.
    pub implicit: bool,
    /// It can only be rolled back.
    pub failed: bool,
    /// Whether it was read only.
    pub read_only: bool,
    /// What is to be committed.
    pub gathered: Gathered,
}

impl Transaction {
    /// What ReadyForQuery says.
    pub fn status(&self) -> TransactionStatus {
        match &self.block {
            None | Some(Block { implicit: true, .. }) => TransactionStatus::Idle,
            Some(Block { failed: true, .. }) => TransactionStatus::Failed,
            Some(_) => TransactionStatus::Active,
        }
    }

    /// `BEGIN`. What an implicit block has done becomes part of the one that is written.
    pub fn begin(&mut self, read_only: bool, now_micros: i64) -> Option<Notice> {
        match &mut self.block {
            Some(block) if block.implicit => {
                block.implicit = false;
                block.read_only = read_only;
            }
            Some(_) => {
                let message = "there is already a transaction in progress";
                return Some(Notice::warning(Condition::ActiveSqlTransaction, message));
            }
            None => self.open(false, read_only, now_micros),
        }
        None
    }

    /// More statements follow that belong together.
    pub fn begin_implicit(&mut self, read_only: bool, now_micros: i64) {
        self.open(true, read_only, now_micros);
    }

    fn open(&mut self, implicit: bool, read_only: bool, now_micros: i64) {
        self.block = Some(Block {
            implicit,
            read_only,
            failed: false,
            now_micros,
            pinned: None,
            unpinned: BTreeMap::new(),
            gathered: Gathered::default(),
            savepoints: Vec::new(),
            told_of_views: false,
        });
    }

    /// Takes the block, to commit it or to forget it; `None` when there was none.
    pub fn end(&mut self) -> Option<Ended> {
        let Block { implicit, failed, read_only, gathered, .. } = self.block.take()?;
        Some(Ended { implicit, failed, read_only, gathered })
    }

    /// A statement of the block failed.
    pub fn fail(&mut self) {
        if let Some(block) = &mut self.block {
            block.failed = true;
        }
    }

    /// Whether a block is open, be it written or not.
    pub fn is_open(&self) -> bool {
        self.block.is_some()
    }

    /// Whether the open block is one that nobody wrote.
    pub fn is_implicit(&self) -> bool {
        self.block.as_ref().is_some_and(|block| block.implicit)
    }

    /// Refuses what has to come before the first query of the block.
    pub fn refuse_after_query(&self, what: &str) -> Result<(), SqlError> {
        match &self.block {
            Some(block) if block.pinned.is_some() || !block.gathered.is_empty() => {
                let message = format!("{what} must be called before any query");
                Err(SqlError::new(Condition::ActiveSqlTransaction, message))
            }
            _ => Ok(()),
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

    /// Refuses a statement that changes something where nothing may change.
    pub fn check_write(&self, statement: &str, settings: &Settings) -> Result<(), SqlError> {
        let on = |name: &str| settings.get(name).as_deref() == Some("on");
        let read_only = match &self.block {
            Some(block) => block.read_only || on("transaction_read_only"),
            None => on("default_transaction_read_only"),
        };
        if read_only {
            let message = format!("cannot execute {statement} in a read-only transaction");
            return Err(SqlError::new(Condition::ReadOnlySqlTransaction, message));
        }
        Ok(())
    }

    /// Refuses a statement that takes effect at once and that nothing can take back. In a block that nobody
    /// wrote it may stand before the first write.
    pub fn refuse_block(&self, statement: &str) -> Result<(), SqlError> {
        match &self.block {
            Some(block) if !block.implicit || !block.gathered.is_empty() => {
                let message = format!("{statement} cannot run inside a transaction block");
                Err(SqlError::new(Condition::ActiveSqlTransaction, message)
                    .with_hint("Send it by itself, outside BEGIN ... COMMIT and not behind other statements."))
            }
            _ => Ok(()),
        }
    }

    /// What the block has pinned; `None` outside a block, or before its first read.
    pub fn pinned(&self) -> Option<&Pinned> {
        self.block.as_ref().and_then(|block| block.pinned.as_ref())
    }

    /// Whether a block is open whose first read is still to come. A block that nobody wrote and that has written
    /// nothing pins nothing: its statements see each their own moment.
    pub fn wants_pin(&self) -> bool {
        let wants = |block: &Block| block.pinned.is_none() && (!block.implicit || !block.gathered.is_empty());
        self.block.as_ref().is_some_and(wants)
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

    /// What the open block has gathered.
    pub fn gathered(&mut self) -> Option<&mut Gathered> {
        self.block.as_mut().map(|block| &mut block.gathered)
    }

    /// The catalog with what the open block has defined; `None` when that is nothing.
    pub fn state(&self) -> Option<&Arc<State>> {
        self.block.as_ref().and_then(|block| block.gathered.definitions.state())
    }

    /// Whether the client is still to be told that views do not show what the block has written.
    pub fn tells_of_views(&mut self) -> bool {
        self.block.as_mut().is_some_and(|block| !std::mem::replace(&mut block.told_of_views, true))
    }

    /// `SAVEPOINT`.
    pub fn savepoint(&mut self, name: &str, settings: &Settings, cursors: u64) -> Result<(), SqlError> {
        let block = self.written_block("SAVEPOINT")?;
        if block.savepoints.len() == SAVEPOINTS {
            let message = format!("a transaction can have at most {SAVEPOINTS} savepoints");
            return Err(SqlError::new(Condition::ProgramLimitExceeded, message)
                .with_hint("RELEASE those that are not needed any more."));
        }
        let (name, mark) = (name.to_string(), block.gathered.mark());
        block.savepoints.push(Savepoint { name, mark, settings: settings.clone(), cursors });
        Ok(())
    }

    /// `RELEASE SAVEPOINT`: it and those behind it are forgotten, what was done since stays.
    pub fn release(&mut self, name: &str) -> Result<(), SqlError> {
        let block = self.written_block("RELEASE SAVEPOINT")?;
        let at = block.find(name)?;
        block.savepoints.truncate(at);
        Ok(())
    }

    /// `ROLLBACK TO SAVEPOINT`: what was done since is forgotten, the savepoint stays. Gives back the settings
    /// as they were, and which cursors there were.
    pub fn back_to(&mut self, name: &str) -> Result<(Settings, u64), SqlError> {
        let block = self.written_block("ROLLBACK TO SAVEPOINT")?;
        let at = block.find(name)?;
        block.gathered.back_to(&block.savepoints[at].mark)?;
        block.savepoints.truncate(at + 1);
        block.failed = false;
        Ok((block.savepoints[at].settings.clone(), block.savepoints[at].cursors))
    }

    fn written_block(&mut self, statement: &str) -> Result<&mut Block, SqlError> {
        self.block.as_mut().filter(|block| !block.implicit).ok_or_else(|| {
            let message = format!("{statement} can only be used in transaction blocks");
            SqlError::new(Condition::NoActiveSqlTransaction, message)
        })
    }
}

impl Block {
    /// The newest savepoint of a name.
    fn find(&self, name: &str) -> Result<usize, SqlError> {
        self.savepoints
            .iter()
            .rposition(|savepoint| savepoint.name == name)
            .ok_or_else(|| SqlError::new(Condition::InvalidSavepoint, format!("savepoint \"{name}\" does not exist")))
    }
}
