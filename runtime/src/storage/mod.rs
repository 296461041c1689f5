//! What survives: one log of create-only entries, and immutable objects that its entries name.
//!
//! ```text
//! <root>/format                    layout version and the root's id
//! <root>/log/<n>                   the only mutable thing: a dense sequence of entries, each one or more whole commits
//! <root>/snapshot/<n>              what the log up to n amounts to
//! <root>/rows/<term>-<uuid>        rows of a commit that are too large for its entry
//! <root>/graph/<id>/<term>-<uuid>  manifests and state of checkpoints
//! ```
//!
//! Invariants kept here, by the numbers of the project's list: 8 (a checkpoint is whole with matching checksums,
//! or it is no candidate), 9 (one log, one owner; after a term is opened nothing of an older one follows), 10
//! (what is acknowledged or deleted rests on a durable record), 16 (every object carries a format version; a
//! newer layout is refused before any write).
//!
//! Reading order: [`record`](Record), `entry` (records as bytes), `log` (the one writer), `recover` (history and
//! ownership), `snapshot`, then `object` and `manifest` (checkpoints) and `collect`. `backend` and `durable` are
//! where the objects are.

mod backend;
mod collect;
mod durable;
mod entry;
mod envelope;
mod fence;
mod format;
mod ipc;
mod log;
mod manifest;
mod names;
mod object;
mod record;
mod recover;
mod rows;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures::{StreamExt, TryStreamExt};

use self::backend::Backend;
use self::collect::Ledger;
use self::entry::Entry;
use self::fence::Fence;
use self::log::Log;
use crate::error::{Error, Result};
use crate::graph::GraphId;
use crate::limits;
use crate::plan::RelationId;
use crate::time::LogPosition;

pub use self::collect::Collected;
pub use self::manifest::{CheckpointRef, MANIFEST_FORMAT, Manifest, Section};
pub use self::object::ObjectRef;
pub use self::record::{CheckpointRecord, DdlRecord, DdlRelation, Record, RowsRecord};
pub use self::recover::Recovered;
pub use self::rows::StoredRows;
pub use self::snapshot::Snapshot;

/// The storage root of one server.
pub struct Storage {
    backend: Arc<Backend>,
    root_id: String,
    fence: Arc<Fence>,
    ledger: Arc<Mutex<Ledger>>,
    recovering: tokio::sync::Mutex<()>,
    collecting: tokio::sync::Mutex<()>,
    /// Set once this server has opened its term.
    owner: OnceLock<Log>,
}

impl Storage {
    /// Opens the root that `url` names: a path or `file:///path` (held by a lock), `s3://bucket/prefix` (with
    /// the usual `AWS_…` variables), `memory://` (nobody else's) or `memory://NAME` (shared within the process).
    /// Makes it if there is none, and refuses the layout of a newer release before writing anything.
    ///
    /// Errors: `Invalid` for a URL that names no storage and a store that ignores conditions on writes,
    /// `Unavailable` for one that does not answer in time or a directory that another server holds.
    pub async fn open(url: &str) -> Result<Arc<Self>> {
        Self::open_over(Backend::open(url)?).await
    }

    async fn open_over(backend: Backend) -> Result<Arc<Self>> {
        let root_id = format::check_patiently(&backend).await?;
        Ok(Arc::new(Self {
            backend: Arc::new(backend),
            root_id,
            fence: Arc::new(Fence::new()),
            ledger: Arc::default(),
            recovering: tokio::sync::Mutex::new(()),
            collecting: tokio::sync::Mutex::new(()),
            owner: OnceLock::new(),
        }))
    }

    /// The root as messages name it.
    pub fn label(&self) -> &str {
        &self.backend.label
    }

    /// The identity of the root, given once: what is outside and belongs to it (a transactional id) is named by it.
    pub fn root_id(&self) -> &str {
        &self.root_id
    }

    /// The term of this server, once it has recovered the storage.
    pub fn term(&self) -> Option<u64> {
        self.owner.get().map(Log::term)
    }

    /// Appends a commit and returns the entry that it stands in, durable. Commits of concurrent callers share
    /// entries, in the order in which their futures were first polled; each stays whole.
    ///
    /// Dropping the future does not take the commit back. While the store does not answer this waits; an error
    /// means that nothing was written, except for `Fenced`, after which this server must stop.
    pub async fn append(&self, records: Vec<Record>) -> Result<LogPosition> {
        if records.is_empty() {
            return Err(Error::internal("a commit holds no record"));
        }
        let checkpoint = |record: &Record| match record {
            Record::Checkpoint(checkpoint) => Some(checkpoint.clone()),
            _ => None,
        };
        let checkpoints: Vec<CheckpointRecord> = records.iter().filter_map(checkpoint).collect();
        let position = self.owner()?.append(records).await?;
        self.note_checkpoints(checkpoints);
        Ok(position)
    }

    /// The newest committed checkpoint of every graph: those appended here, and those that were noted.
    pub fn checkpoints(&self) -> BTreeMap<GraphId, CheckpointRecord> {
        self.ledger().checkpoints.clone()
    }

    /// Checkpoints that the recovered history holds.
    pub fn note_checkpoints(&self, checkpoints: impl IntoIterator<Item = CheckpointRecord>) {
        let mut ledger = self.ledger();
        for checkpoint in checkpoints {
            ledger.checkpoints.insert(checkpoint.graph, checkpoint);
        }
    }

    /// Ends, with the reason, once a newer server owns the storage. Nothing may be acknowledged or published
    /// from then on.
    pub fn fenced(&self) -> impl Future<Output = Error> + Send + use<> {
        self.fence.closed()
    }

    /// Asks the store, now, whether this server is still the owner: `Fenced` if not, `Unavailable` if it does
    /// not answer.
    pub async fn confirm_ownership(&self) -> Result<()> {
        self.owner()?.look().await
    }

    /// The last entry of the log that is known to stand.
    pub fn last_position(&self) -> LogPosition {
        self.ledger().last
    }

    /// Why the log does not take an entry at the moment, while it tries again and again; `None` when all is well.
    pub fn trouble(&self) -> Option<Error> {
        self.ledger().trouble.clone()
    }

    /// Bytes that this server has appended since the newest snapshot: tells when the next one is due.
    pub fn bytes_since_snapshot(&self) -> u64 {
        self.ledger().bytes_since_snapshot
    }

    /// The rows of some relations in the entries behind `after` up to and including `through`. Entries without
    /// such rows are left out; an entry that is not there any more is a `Data` error that names it.
    pub async fn read_rows(
        &self,
        after: LogPosition,
        through: LogPosition,
        relations: &BTreeSet<RelationId>,
    ) -> Result<Vec<(LogPosition, Vec<RowsRecord>)>> {
        let reads = (after.0 + 1..=through.0).map(async |number| {
            let position = LogPosition(number);
            let name = names::entry(position);
            let sealed = self.backend.read(&name).await?.ok_or_else(|| envelope::missing("log entry", &name))?;
            let entry = Entry::open(&name, &sealed)?;
            let rows = entry.into_rows(&self.backend, |relation| relations.contains(&relation)).await?;
            Ok::<_, Error>((position, rows))
        });
        let entries = futures::stream::iter(reads).buffered(limits::LOG_READS_AT_ONCE);
        entries.try_filter(|(_, rows)| std::future::ready(!rows.is_empty())).try_collect().await
    }

    fn owner(&self) -> Result<&Log> {
        self.fence.check()?;
        self.owner.get().ok_or_else(|| Error::internal("the storage was not recovered yet"))
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
