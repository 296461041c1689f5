//! Collection: deleting objects that nothing names any more.
//!
//! An object of a graph goes when no retained checkpoint names it and either it is of an older term, so that
//! nobody can be about to name it, or this owner knows that it will not be named again: a checkpoint that named
//! it is no longer retained, or whoever wrote it gave it up. Rows objects go with the log entries that name them.
//! Whatever is deleted rests on records that are durable (invariant 10): a server that takes over meanwhile
//! reads the same checkpoints.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::entry::Entry;
use super::manifest::CheckpointRef;
use super::object::ObjectRef;
use super::{Storage, names};
use crate::error::Result;
use crate::time::LogPosition;

/// What an owner knows about its log and objects.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Every term that was opened, rising.
    pub(crate) terms: Vec<u64>,
    /// The newest snapshot that stands; 0 without one.
    pub(crate) snapshot: LogPosition,
    /// The last entry.
    pub(crate) last: LogPosition,
    /// Bytes of the entries behind the newest snapshot that this owner wrote.
    pub(crate) bytes_since_snapshot: u64,
    /// Entries above this have their rows objects in `rows`; those below it are read when first needed.
    pub(crate) rows_known_after: LogPosition,
    /// Rows objects by the entry that names them.
    rows: BTreeMap<LogPosition, Vec<String>>,
    /// Objects of this term that will not be named again.
    given_up: HashSet<String>,
    /// Objects that a retained checkpoint named at the last collection.
    named: HashSet<String>,
    /// What the retained manifests name, so that each is read once.
    manifests: HashMap<String, Vec<String>>,
}

impl Ledger {
    /// An entry stands.
    pub(crate) fn appended(&mut self, position: LogPosition, bytes: usize, rows_objects: Vec<String>) {
        self.last = position;
        self.bytes_since_snapshot += bytes as u64;
        if !rows_objects.is_empty() {
            self.rows.insert(position, rows_objects);
        }
    }

    /// A snapshot stands.
    pub(crate) fn snapshot_stands(&mut self, position: LogPosition) {
        self.snapshot = self.snapshot.max(position);
        self.bytes_since_snapshot = 0;
    }

    /// The entries up to here are gone, and with them whatever named their rows.
    pub(crate) fn trimmed(&mut self, through: LogPosition) {
        let kept = self.rows.split_off(&LogPosition(through.0 + 1));
        let gone = std::mem::replace(&mut self.rows, kept);
        self.given_up.extend(gone.into_values().flatten());
    }
}

/// What a collection has deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Number of objects.
    pub objects: usize,
    /// Their size.
    pub bytes: u64,
}

impl Storage {
    /// Deletes the objects that nothing needs. `retained` are **all** checkpoints that may still be restored, of
    /// every graph, the failed ones included: the newest committed one of each, and those of savepoints.
    pub async fn collect(&self, retained: &[CheckpointRef]) -> Result<Collected> {
        let term = self.owner()?.term();
        // An owner that was superseded long ago has no business deleting, even if it would do no harm.
        self.owner()?.look().await?;
        let live = self.named_by(retained).await?;
        let mut doomed = Vec::new();
        for listed in self.backend.list(names::GRAPHS, None).await? {
            let ledger = self.ledger();
            let name = listed.name.as_str();
            let unneeded = names::term(name)
                .is_some_and(|of| of < term || ledger.given_up.contains(name) || ledger.named.contains(name));
            if unneeded && !live.contains(name) {
                doomed.push(listed);
            }
        }
        let rows = self.named_rows().await?;
        for listed in self.backend.list(names::ROWS, None).await? {
            let ledger = self.ledger();
            let name = listed.name.as_str();
            let unneeded = names::term(name).is_some_and(|of| of < term || ledger.given_up.contains(name));
            if unneeded && !rows.contains(name) {
                doomed.push(listed);
            }
        }
        let collected = Collected { objects: doomed.len(), bytes: doomed.iter().map(|listed| listed.bytes).sum() };
        let names: Vec<String> = doomed.into_iter().map(|listed| listed.name).collect();
        self.backend.delete(names.clone()).await?;
        let mut ledger = self.ledger();
        ledger.named = live;
        for name in &names {
            ledger.given_up.remove(name);
        }
        tracing::debug!(objects = collected.objects, bytes = collected.bytes, "objects collected");
        Ok(collected)
    }

    /// Objects that were written and will never be named by a committed checkpoint.
    pub fn give_up<'a>(&self, objects: impl IntoIterator<Item = &'a ObjectRef>) {
        self.ledger().given_up.extend(objects.into_iter().map(|object| object.path.clone()));
    }

    /// The manifests, and what they name.
    async fn named_by(&self, retained: &[CheckpointRef]) -> Result<HashSet<String>> {
        let mut manifests = HashMap::with_capacity(retained.len());
        for checkpoint in retained {
            let known = self.ledger().manifests.get(&checkpoint.manifest).cloned();
            let objects = match known {
                Some(objects) => objects,
                None => {
                    let manifest = self.read_manifest(checkpoint).await?;
                    manifest.objects().map(|object| object.path.clone()).collect()
                }
            };
            manifests.insert(checkpoint.manifest.clone(), objects);
        }
        let mut live: HashSet<String> = manifests.keys().cloned().collect();
        live.extend(manifests.values().flatten().cloned());
        self.ledger().manifests = manifests;
        Ok(live)
    }

    /// The rows objects that entries of the log name. Entries from before the snapshot that was recovered are
    /// read once, at the first collection.
    async fn named_rows(&self) -> Result<HashSet<String>> {
        let known_after = self.ledger().rows_known_after;
        if known_after > LogPosition(0) {
            let mut found = Vec::new();
            for listed in self.backend.list(names::LOG, None).await? {
                let Some(position) = names::position(&listed.name).filter(|at| *at <= known_after) else { continue };
                // Trimmed since it was listed: then it names nothing.
                let Some(sealed) = self.backend.read(&listed.name).await? else { continue };
                found.push((position, Entry::open(&listed.name, &sealed)?.rows_objects()));
            }
            let mut ledger = self.ledger();
            for (position, objects) in found {
                ledger.rows.entry(position).or_insert(objects);
            }
            ledger.rows_known_after = LogPosition(0);
        }
        Ok(self.ledger().rows.values().flatten().cloned().collect())
    }
}
