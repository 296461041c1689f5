//! Reading the history and taking ownership of it.
//!
//! A server opens its term by creating the entry behind the last one; the entry's number is the term. Then it
//! looks again, because a name can be free for two reasons:
//! - it is the end of the log: then nothing stands behind the new entry, and whoever was the owner meets a
//!   taken name with its next commit;
//! - the log was trimmed while we read: then a snapshot stands at or above the entry, which does not know the
//!   term. The entry is void, and we read again.
//!
//! An entry behind ours that no such snapshot explains is that of a server that came after us: it is the owner.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use super::backend::Backend;
use super::entry::{Draft, Entry, seal_entry};
use super::log::{Log, Placed, place};
use super::record::Record;
use super::snapshot::{self, Snapshot};
use super::{Storage, names};
use crate::error::{Error, Result};
use crate::limits;
use crate::time::LogPosition;

/// What the storage holds, read by its new owner.
#[derive(Debug)]
pub struct Recovered {
    /// The term of this server.
    pub term: u64,
    /// The newest snapshot.
    pub snapshot: Option<Snapshot>,
    /// The position that the snapshot covers; 0 without one.
    pub snapshot_position: LogPosition,
    /// Every entry behind the snapshot in order, the one that opened the term last. Rows of graphs whose
    /// checkpoint is older than the snapshot come from [`Storage::read_rows`].
    pub entries: Vec<(LogPosition, Vec<Record>)>,
    /// The last entry: the one that opened the term.
    pub position: LogPosition,
}

/// The log as far as it was read.
struct History {
    snapshot: Option<Snapshot>,
    snapshot_position: LogPosition,
    terms: Vec<u64>,
    entries: Vec<(LogPosition, Entry)>,
}

enum Standing {
    Owner,
    Superseded,
    Void,
}

impl Storage {
    /// Reads the history and takes ownership. Afterwards this server may append, until a newer one does the
    /// same. Only once for a `Storage`; the log's writer runs on the current tokio runtime.
    ///
    /// Errors: `Data` for a damaged or missing object, which it names; `Fenced` when another server has taken
    /// ownership at the same time; `Unavailable` when the store does not answer.
    pub async fn recover(&self) -> Result<Recovered> {
        let _one_at_a_time = self.recovering.lock().await;
        if self.owner.get().is_some() {
            return Err(Error::internal("the storage is owned by this server already"));
        }
        let (history, term) = take_ownership(&self.backend).await?;
        {
            let mut ledger = self.ledger();
            ledger.terms.clone_from(&history.terms);
            ledger.snapshot = history.snapshot_position;
            ledger.rows_known_after = history.snapshot_position;
            for (position, entry) in &history.entries {
                ledger.appended(*position, 0);
                ledger.committed(*position, entry.rows_objects(), Vec::new());
            }
        }
        let backend = &self.backend;
        let records = history.entries.into_iter().map(async |(position, entry)| {
            let records = entry.into_records(backend).await?;
            Ok::<_, Error>((position, records))
        });
        let entries: Vec<_> = futures::stream::iter(records).buffered(limits::LOG_READS_AT_ONCE).try_collect().await?;
        let log = Log::start(self.backend.clone(), term, self.fence.clone(), self.ledger.clone());
        assert!(self.owner.set(log).is_ok(), "recoveries run one at a time");
        tracing::info!(term, entries = entries.len(), storage = self.backend.label, "storage recovered");
        Ok(Recovered {
            term,
            snapshot: history.snapshot,
            snapshot_position: history.snapshot_position,
            entries,
            position: LogPosition(term),
        })
    }
}

/// Reads the history up to its end and opens a term there.
async fn take_ownership(backend: &Backend) -> Result<(History, u64)> {
    let mut history = read_history(backend).await?;
    let nonce = *uuid::Uuid::new_v4().as_bytes();
    loop {
        let position = history.next();
        let term = position.0;
        let name = names::entry(position);
        let commit = Draft::encode(vec![Record::Term { term }], term)?.into_commit();
        let sealed = seal_entry(term, nonce, &[commit]);
        let limit = backend.timing.open_patience;
        let trouble = Mutex::new(Error::unavailable(format!("{} does not answer", backend.label)));
        let heard = |why: &Error| *trouble.lock().unwrap_or_else(PoisonError::into_inner) = why.clone();
        let placed = tokio::time::timeout(limit, place(backend, &name, sealed.clone(), heard)).await;
        let Ok(placed) = placed else {
            let why = trouble.into_inner().unwrap_or_else(PoisonError::into_inner);
            return Err(why.context("the storage takes no log entry"));
        };
        match placed {
            Placed::Taken(found) => {
                history.add(position, &found)?;
                continue;
            }
            Placed::Ours => history.add(position, &sealed)?,
        }
        match standing(backend, position).await? {
            Standing::Owner => return Ok((history, term)),
            Standing::Superseded => {
                return Err(Error::fenced(format!(
                    "another server took the storage {} at the same time",
                    backend.label
                ))
                .with_hint("Stop one of the two servers, or give them different storage."));
            }
            Standing::Void => history = read_history(backend).await?,
        }
    }
}

/// See the file's text.
async fn standing(backend: &Backend, position: LogPosition) -> Result<Standing> {
    if let Some(newest) = snapshot::read_newest(backend).await?
        && newest.position >= position
    {
        let known = newest.terms.contains(&position.0);
        return Ok(if known { Standing::Superseded } else { Standing::Void });
    }
    let later = backend.list(names::LOG, Some(&names::entry(position))).await?;
    Ok(if later.is_empty() { Standing::Owner } else { Standing::Superseded })
}

/// The newest snapshot and every entry behind it. The owner may trim meanwhile: what is missing then is covered
/// by a newer snapshot, and everything is read again.
async fn read_history(backend: &Backend) -> Result<History> {
    let mut missing_before = None;
    loop {
        let newest = snapshot::read_newest(backend).await?;
        let mut history = match newest {
            Some(stored) => History {
                snapshot: Some(stored.snapshot),
                snapshot_position: stored.position,
                terms: stored.terms,
                entries: Vec::new(),
            },
            None => {
                History { snapshot: None, snapshot_position: LogPosition(0), terms: Vec::new(), entries: Vec::new() }
            }
        };
        match read_entries(backend, &mut history).await? {
            None => return Ok(history),
            Some(missing) if missing_before == Some((missing, history.snapshot_position)) => {
                return Err(super::envelope::missing("log entry", &names::entry(missing)));
            }
            Some(missing) => missing_before = Some((missing, history.snapshot_position)),
        }
    }
}

/// Reads the entries behind the snapshot; gives back the first one that is missing, if one is.
async fn read_entries(backend: &Backend, history: &mut History) -> Result<Option<LogPosition>> {
    let listed = backend.list(names::LOG, Some(&names::entry(history.snapshot_position))).await?;
    let total = listed.len();
    if total > 0 {
        tracing::info!(entries = total, after = history.snapshot_position.0, "reading the log");
    }
    let reads = listed.into_iter().map(async |listed| {
        let bytes = backend.read(&listed.name).await?;
        Ok::<_, Error>((listed.name, bytes))
    });
    let mut reads = futures::stream::iter(reads).buffered(limits::LOG_READS_AT_ONCE);
    while let Some((name, bytes)) = reads.try_next().await? {
        let expected = history.next();
        match (names::position(&name), bytes) {
            (Some(position), Some(bytes)) if position == expected => history.add(position, &bytes)?,
            (None, _) => return Err(Error::data(format!("\"{name}\" in {} is no log entry", backend.label))),
            (Some(_), _) => return Ok(Some(expected)),
        }
        if history.entries.len().is_multiple_of(10_000) {
            tracing::info!(read = history.entries.len(), of = total, "reading the log");
        }
    }
    Ok(None)
}

impl History {
    /// The position behind the last entry.
    fn next(&self) -> LogPosition {
        let last = self.entries.last().map_or(self.snapshot_position, |(position, _)| *position);
        LogPosition(last.0 + 1)
    }

    /// Adds the next entry, if its term is one that may stand there (invariant 9).
    fn add(&mut self, position: LogPosition, sealed: &Bytes) -> Result<()> {
        let name = names::entry(position);
        let entry = Entry::open(&name, sealed)?;
        let newest = self.terms.last().copied().unwrap_or(0);
        let opens = entry.opens_term();
        let fits = match opens {
            Some(term) => term == position.0 && entry.term == term && term > newest,
            None => entry.term == newest,
        };
        if !fits {
            return Err(Error::data(format!(
                "log entry \"{name}\" is of term {}, which does not follow term {newest}",
                entry.term
            ))
            .with_hint("Two servers have written to this storage, or objects of another one were put into it."));
        }
        self.terms.extend(opens);
        self.entries.push((position, entry));
        Ok(())
    }
}
