//! Snapshots: what the log up to a position amounts to, so that the log before it can go.
//!
//! A snapshot is written before the log is trimmed, and names every term that was opened up to its position:
//! an entry at or below it that opens a term it does not know was written by a server that came too late, and
//! is void.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::backend::Backend;
use super::envelope::{self, Kind};
use super::record::CheckpointRecord;
use super::{Storage, names};
use crate::error::{Error, Result};
use crate::graph::GraphId;
use crate::time::LogPosition;

/// What the log up to a position amounts to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The catalog, in the engine's own form.
    pub catalog: serde_json::Value,
    /// The newest checkpoint of every graph that has one.
    pub checkpoints: BTreeMap<GraphId, CheckpointRecord>,
    /// The checkpoints that have names.
    #[serde(default)]
    pub savepoints: BTreeMap<String, Vec<CheckpointRecord>>,
}

/// A snapshot as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredSnapshot {
    /// The log up to here is in.
    pub(crate) position: LogPosition,
    /// Every term opened up to `position`, rising.
    pub(crate) terms: Vec<u64>,
    /// The rest.
    pub(crate) snapshot: Snapshot,
}

impl Storage {
    /// Writes what the log up to `position` amounts to; durable when it returns. Does nothing when a newer or
    /// equal snapshot stands already. [`Self::trim`] may then drop entries.
    pub async fn write_snapshot(&self, position: LogPosition, snapshot: &Snapshot) -> Result<()> {
        self.fence.check()?;
        let (terms, earlier) = {
            let ledger = self.ledger();
            if position > ledger.last {
                return Err(Error::internal(format!(
                    "a snapshot at {} was to be written while the log ends at {}",
                    position.0, ledger.last.0
                )));
            }
            (ledger.terms.iter().copied().filter(|term| *term <= position.0).collect(), ledger.snapshot)
        };
        if position <= earlier {
            return Ok(());
        }
        let stored = StoredSnapshot { position, terms, snapshot: snapshot.clone() };
        let json = serde_json::to_vec(&stored)
            .map_err(|error| Error::internal(format!("a snapshot has no JSON form: {error}")))?;
        self.backend.put(&names::snapshot(position), envelope::seal(Kind::Snapshot, &[&json])).await?;
        self.ledger().snapshot_stands(position);
        tracing::debug!(position = position.0, bytes = json.len(), "snapshot written");
        self.drop_snapshots_before(earlier).await
    }

    /// Drops log entries up to and including `through`, as far as a snapshot covers them. The caller knows that
    /// every graph is past them. Entries of terms stay for ever, and so does the entry at the snapshot, which
    /// shows a server that comes late where the log goes on. Returns how many were dropped.
    pub async fn trim(&self, through: LogPosition) -> Result<usize> {
        self.fence.check()?;
        let (through, terms) = {
            let ledger = self.ledger();
            (through.min(LogPosition(ledger.snapshot.0.saturating_sub(1))), ledger.terms.clone())
        };
        let names: Vec<String> = self
            .backend
            .list(names::LOG, None)
            .await?
            .into_iter()
            .filter(|listed| {
                names::position(&listed.name).is_some_and(|at| at <= through && terms.binary_search(&at.0).is_err())
            })
            .map(|listed| listed.name)
            .collect();
        let count = names.len();
        self.backend.delete(names).await?;
        self.ledger().trimmed(through);
        Ok(count)
    }

    /// The one before the newest stays for a server that has listed it and is about to read it.
    async fn drop_snapshots_before(&self, kept: LogPosition) -> Result<()> {
        let listed = self.backend.list(names::SNAPSHOTS, None).await?;
        let older = listed.into_iter().filter(|listed| names::position(&listed.name).is_some_and(|at| at < kept));
        self.backend.delete(older.map(|listed| listed.name).collect()).await
    }
}

/// The newest snapshot. A damaged one is an error: the log that an older one needs may be gone.
pub(crate) async fn read_newest(backend: &Backend) -> Result<Option<StoredSnapshot>> {
    const NOUN: &str = "snapshot";
    loop {
        let listed = backend.list(names::SNAPSHOTS, None).await?;
        let Some(newest) = listed.iter().rfind(|listed| names::position(&listed.name).is_some()) else {
            return Ok(None);
        };
        let name = &newest.name;
        // Gone between the list and the read: its owner has written a newer one meanwhile.
        let Some(sealed) = backend.read(name).await? else { continue };
        let json = envelope::open(Kind::Snapshot, name, &sealed)?;
        let stored: StoredSnapshot =
            serde_json::from_slice(&json).map_err(|error| envelope::damaged(NOUN, name, &error.to_string()))?;
        if names::position(name) != Some(stored.position) {
            return Err(envelope::damaged(NOUN, name, "it is of another position"));
        }
        return Ok(Some(stored));
    }
}
