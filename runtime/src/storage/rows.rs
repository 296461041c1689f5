//! Rows objects that are written before their commit: a large transaction puts its rows into the storage while it
//! gathers them, so that its commit has only to name them.
//!
//! An object that no commit names is given up when its handle goes, and collected: a transaction that was rolled
//! back leaves nothing for long, and what a server leaves that dies goes with its term.

use std::sync::{Arc, Mutex, PoisonError};

use super::collect::Ledger;
use super::envelope::{self, Kind};
use super::object::on_blocking_pool;
use super::{Storage, ipc, names};
use crate::batch::ChangeBatch;
use crate::error::Result;

/// Changes that are durable and not committed yet.
pub struct StoredRows {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) checksum: u32,
    pub(crate) rows: u64,
    ledger: Arc<Mutex<Ledger>>,
}

impl Storage {
    /// Writes changes of one schema as an object of their own. They count once a commit names them.
    pub async fn write_rows(&self, changes: Vec<ChangeBatch>) -> Result<Arc<StoredRows>> {
        let path = names::rows_object(self.owner()?.term());
        let rows = changes.iter().map(|change| change.len() as u64).sum();
        let (sealed, checksum) = on_blocking_pool(move || {
            let sealed = envelope::seal(Kind::Rows, &[&ipc::encode_changes(&changes)?]);
            let checksum = crc32fast::hash(&sealed);
            Ok((sealed, checksum))
        })
        .await?;
        let bytes = sealed.len() as u64;
        // Whatever becomes of the write, the name is given up when this is dropped.
        let stored = StoredRows { path, bytes, checksum, rows, ledger: Arc::clone(&self.ledger) };
        self.backend.put(&stored.path, sealed).await?;
        Ok(Arc::new(stored))
    }
}

impl Drop for StoredRows {
    fn drop(&mut self) {
        // An object that an entry of the log names is not collected, given up or not.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).give_up(std::mem::take(&mut self.path));
    }
}

impl std::fmt::Debug for StoredRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredRows").field("path", &self.path).field("rows", &self.rows).finish_non_exhaustive()
    }
}
