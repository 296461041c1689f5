//! Collection: deleting objects that nothing names any more.
//!
//! An object of a graph goes when no retained checkpoint names it and either it is of an older term, so that
//! nobody can be about to name it, or this owner knows that it will not be named again: a checkpoint that named
//! it is no longer retained, or whoever wrote it gave it up. Rows objects go with the log entries that name them.
//!
//! A checkpoint that is committed while its caller puts together what is retained is safe: what it names can go at
//! the collection after the next one at the earliest, and each collection is told what is retained then.
//!
//! Whatever is deleted rests on records that are durable (invariant 10): a server that takes over meanwhile
//! reads the same checkpoints.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::entry::Entry;
use super::manifest::{CheckpointRef, Manifest};
use super::object::ObjectRef;
use super::record::CheckpointRecord;
use super::{Storage, names};
use crate::error::{Error, Result};
use crate::graph::GraphId;
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
    /// Why the entry that is being written does not stand yet.
    pub(crate) trouble: Option<Error>,
    /// Entries above this have their rows objects in `rows`; those below it are read when first needed.
    pub(crate) rows_known_after: LogPosition,
    /// The newest committed checkpoint of every graph.
    pub(crate) checkpoints: BTreeMap<GraphId, CheckpointRecord>,
    /// Rows objects by the entry that names them.
    rows: BTreeMap<LogPosition, Vec<String>>,
    /// Objects of this term that will not be named again.
    given_up: HashSet<String>,
    /// Objects that a committed checkpoint named at the time of the last collection, or before: if none that is
    /// retained names them now, none ever will.
    named: HashSet<String>,
    /// Manifests that were committed since the last collection.
    committed: Vec<String>,
    /// What manifests name: those that this owner wrote, and those that are retained.
    manifests: HashMap<String, Vec<String>>,
}

impl Ledger {
    /// An entry stands.
    pub(crate) fn appended(&mut self, position: LogPosition, bytes: usize) {
        self.last = position;
        self.bytes_since_snapshot += bytes as u64;
    }

    /// A commit of that entry names these.
    pub(crate) fn committed(&mut self, position: LogPosition, rows_objects: Vec<String>, manifests: Vec<String>) {
        if !rows_objects.is_empty() {
            self.rows.entry(position).or_default().extend(rows_objects);
        }
        self.committed.extend(manifests);
    }

    /// This owner has written a manifest.
    pub(crate) fn manifest_written(&mut self, checkpoint: &CheckpointRef, manifest: &Manifest) {
        self.manifests.insert(checkpoint.manifest.clone(), paths(manifest));
    }

    /// An object that will not be named again, unless an entry names it by now.
    pub(crate) fn give_up(&mut self, object: String) {
        self.given_up.insert(object);
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

    /// These objects are gone, and what is committed by now can go from the next collection on.
    fn collected(&mut self, gone: &[String], live: HashSet<String>) {
        for name in gone {
            self.given_up.remove(name);
            self.named.remove(name);
            self.manifests.remove(name);
        }
        self.named.extend(live);
        for manifest in std::mem::take(&mut self.committed) {
            self.named.extend(self.manifests.get(&manifest).into_iter().flatten().cloned());
            self.named.insert(manifest);
        }
    }
}

fn paths(manifest: &Manifest) -> Vec<String> {
    manifest.objects().map(|object| object.path.clone()).collect()
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
    /// every graph, the failed ones included: the newest committed one of each, and those of savepoints. Put the
    /// list together after the last collection has returned; one runs at a time.
    pub async fn collect(&self, retained: &[CheckpointRef]) -> Result<Collected> {
        let _alone = self.collecting.try_lock().map_err(|_| Error::internal("two collections were to run at once"))?;
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
        self.ledger().collected(&names, live);
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
                None => paths(&self.read_manifest(checkpoint).await?),
            };
            manifests.insert(checkpoint.manifest.clone(), objects);
        }
        let mut live: HashSet<String> = manifests.keys().cloned().collect();
        live.extend(manifests.values().flatten().cloned());
        self.ledger().manifests.extend(manifests);
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
