//! The writer of the log: the one task that creates entries.
//!
//! Invariants:
//! - One create is in flight at a time, and its outcome is known before the next one: a create that was not
//!   answered plainly is read back and repeated with the same bytes until the entry at that name is known.
//! - Commits stand in the log in the order in which [`Log::append`] was first polled. A caller that goes away
//!   changes nothing: what was handed over is written, once.
//! - Nothing is acknowledged after an entry of a newer term was seen (invariant 9): the fence closes first.
//!
//! Group commit: while one entry is being written the next commits gather; there is no waiting for company.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::backend::Backend;
use super::collect::Ledger;
use super::entry::{self, Commit, Draft, Entry};
use super::fence::Fence;
use super::names;
use super::object::on_blocking_pool;
use super::record::Record;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::time::LogPosition;

/// Rows with more memory than this are encoded away from the caller's thread.
const ENCODE_HERE_BYTES: usize = 256 << 10;

/// What a commit without rows counts against [`limits::LOG_QUEUE_BYTES`].
const COMMIT_BYTES: usize = 1 << 10;

/// The owner's side of the log.
pub(crate) struct Log {
    term: u64,
    backend: Arc<Backend>,
    fence: Arc<Fence>,
    ledger: Arc<Mutex<Ledger>>,
    /// Callers pass in the order of their first poll.
    turnstile: tokio::sync::Mutex<()>,
    room: Arc<Semaphore>,
    queue: mpsc::UnboundedSender<Job>,
}

enum Job {
    Commit(Waiting),
    Look(oneshot::Sender<Result<()>>),
}

/// A commit on its way into the log.
struct Waiting {
    encoding: Encoding,
    caller: Caller,
}

/// Who waits for a commit, and the room that the commit takes until it is answered.
struct Caller {
    answer: oneshot::Sender<Result<LogPosition>>,
    _room: OwnedSemaphorePermit,
}

impl Caller {
    fn answer(self, result: Result<LogPosition>) {
        // A caller that went away does not care.
        let _ = self.answer.send(result);
    }
}

enum Encoding {
    Done(Commit),
    Running(JoinHandle<Result<Commit>>),
}

impl Log {
    /// Starts the writer of `term` on the current tokio runtime; the first entry is the one behind the term's.
    pub(crate) fn start(backend: Arc<Backend>, term: u64, fence: Arc<Fence>, ledger: Arc<Mutex<Ledger>>) -> Self {
        let (queue, jobs) = mpsc::unbounded_channel();
        let writer = Writer {
            term,
            next: LogPosition(term + 1),
            backend: Arc::clone(&backend),
            fence: Arc::clone(&fence),
            ledger: Arc::clone(&ledger),
            jobs,
            held: None,
        };
        tokio::spawn(writer.run());
        let room = Arc::new(Semaphore::new(limits::LOG_QUEUE_BYTES));
        Self { term, backend, fence, ledger, turnstile: tokio::sync::Mutex::new(()), room, queue }
    }

    pub(crate) fn term(&self) -> u64 {
        self.term
    }

    /// See [`super::Storage::append`].
    pub(crate) async fn append(&self, records: Vec<Record>) -> Result<LogPosition> {
        self.fence.check()?;
        let memory = records.iter().map(memory_bytes).sum::<usize>();
        let permits = u32::try_from(memory.min(limits::LOG_QUEUE_BYTES)).expect("the limit is below 4 GiB");
        let turn = self.turnstile.lock().await;
        let room = Arc::clone(&self.room).acquire_many_owned(permits).await.expect("the semaphore is never closed");
        let encoding = if memory <= ENCODE_HERE_BYTES {
            let draft = Draft::encode(records, self.term)?;
            if draft.is_inline() { Encoding::Done(draft.into_commit()) } else { self.upload(async { Ok(draft) }) }
        } else {
            let term = self.term;
            self.upload(on_blocking_pool(move || Draft::encode(records, term)))
        };
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { encoding, caller: Caller { answer, _room: room } };
        self.queue.send(Job::Commit(waiting)).map_err(|_| self.lost())?;
        drop(turn);
        answered.await.map_err(|_| self.lost())?
    }

    /// Looks whether a newer term has been opened, after everything that was handed over before.
    pub(crate) async fn look(&self) -> Result<()> {
        self.fence.check()?;
        let (answer, answered) = oneshot::channel();
        self.queue.send(Job::Look(answer)).map_err(|_| self.lost())?;
        answered.await.map_err(|_| self.lost())?
    }

    /// Writes the rows objects of a commit, as often as it takes: its caller has been promised that it waits.
    fn upload(&self, draft: impl Future<Output = Result<Draft>> + Send + 'static) -> Encoding {
        let (backend, fence, ledger) = (Arc::clone(&self.backend), Arc::clone(&self.fence), Arc::clone(&self.ledger));
        Encoding::Running(tokio::spawn(async move {
            let draft = draft.await?;
            let mut pause = backend.timing.retry_first;
            while let Err(error) = draft.upload(&backend).await {
                fence.check()?;
                if error.kind != ErrorKind::Unavailable {
                    return Err(error);
                }
                tracing::warn!(%error, "the rows of a commit are not written yet, trying again");
                ledger.lock().unwrap_or_else(PoisonError::into_inner).trouble = Some(error);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(backend.timing.retry_most);
            }
            Ok(draft.into_commit())
        }))
    }

    fn lost(&self) -> Error {
        self.fence.check().err().unwrap_or_else(|| Error::internal("the writer of the log has ended"))
    }
}

fn memory_bytes(record: &Record) -> usize {
    match record {
        Record::Rows(rows) => COMMIT_BYTES + rows.changes.iter().map(|change| change.memory_bytes()).sum::<usize>(),
        Record::Term { .. }
        | Record::Ddl(_)
        | Record::Checkpoint(_)
        | Record::GraphsJoined { .. }
        | Record::SavepointNamed { .. }
        | Record::SavepointDropped { .. } => COMMIT_BYTES,
    }
}

struct Writer {
    term: u64,
    /// The number of the next entry.
    next: LogPosition,
    backend: Arc<Backend>,
    fence: Arc<Fence>,
    ledger: Arc<Mutex<Ledger>>,
    jobs: mpsc::UnboundedReceiver<Job>,
    /// Taken from `jobs`, but not fit for the entry that was being filled.
    held: Option<Job>,
}

impl Writer {
    async fn run(mut self) {
        let Err(error) = self.serve().await else { return };
        self.fence.close(error.clone());
        self.jobs.close();
        while let Some(job) = self.jobs.recv().await {
            match job {
                Job::Commit(waiting) => waiting.caller.answer(Err(error.clone())),
                Job::Look(answer) => drop(answer.send(Err(error.clone()))),
            }
        }
    }

    /// Works until the storage is dropped; an error means that ownership is lost.
    async fn serve(&mut self) -> Result<()> {
        loop {
            let job = match self.held.take() {
                Some(job) => job,
                None => match tokio::time::timeout(self.idle_limit(), self.jobs.recv()).await {
                    Ok(Some(job)) => job,
                    Ok(None) => return Ok(()),
                    Err(_elapsed) => {
                        if let Err(error) = self.look().await? {
                            tracing::warn!(%error, "cannot look for a newer owner");
                        }
                        continue;
                    }
                },
            };
            match job {
                Job::Commit(first) => self.write(first).await?,
                Job::Look(answer) => match self.look().await {
                    Ok(looked) => drop(answer.send(looked)),
                    Err(lost) => {
                        self.fence.close(lost.clone());
                        drop(answer.send(Err(lost.clone())));
                        return Err(lost);
                    }
                },
            }
        }
    }

    fn idle_limit(&self) -> Duration {
        if self.backend.exclusive { Duration::MAX } else { self.backend.timing.look_every }
    }

    /// The outer error: ownership is lost. The inner one: not known, the store did not answer.
    async fn look(&self) -> Result<Result<()>> {
        let name = names::entry(self.next);
        match self.backend.read_entry(&name).await {
            Ok(None) => Ok(Ok(())),
            Ok(Some(found)) => Err(self.superseded(&name, &found)),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Why an entry of somebody else at our next name ends our ownership.
    fn superseded(&self, name: &str, found: &Bytes) -> Error {
        let label = &self.backend.label;
        match Entry::open(name, found) {
            Ok(entry) if entry.term > self.term => {
                Error::fenced(format!("a newer server (term {}) owns the storage {label}", entry.term))
                    .with_hint("Stop one of the two servers, or give them different storage.")
            }
            Ok(entry) => Error::fenced(format!(
                "log entry \"{name}\" of {label} was written by another server under term {}, which is not newer than {}",
                entry.term, self.term
            )),
            Err(error) => Error::fenced(format!("the log of {label} cannot go on: {}", error.message)),
        }
    }

    /// Writes an entry with the first commit and those that are ready behind it, and answers them.
    async fn write(&mut self, first: Waiting) -> Result<()> {
        let (mut commits, callers) = self.gather(first).await;
        if commits.is_empty() {
            return Ok(());
        }
        let name = names::entry(self.next);
        let nonce = *uuid::Uuid::new_v4().as_bytes();
        let sealed = entry::seal_entry(self.term, nonce, &commits);
        let bytes = sealed.len();
        let trouble = |trouble: &Error| self.ledger().trouble = Some(trouble.clone());
        if let Placed::Taken(found) = place(&self.backend, &name, sealed, trouble).await {
            let error = self.superseded(&name, &found);
            self.fence.close(error.clone());
            for caller in callers {
                caller.answer(Err(error.clone()));
            }
            return Err(error);
        }
        let position = self.next;
        self.next = LogPosition(position.0 + 1);
        // Let go once the ledger knows that the entry names them, and not while it is locked.
        let stored: Vec<_> = commits.iter_mut().map(|commit| std::mem::take(&mut commit.stored)).collect();
        {
            let mut ledger = self.ledger();
            ledger.trouble = None;
            ledger.appended(position, bytes);
            for commit in commits {
                ledger.committed(position, commit.rows_objects, commit.manifests);
            }
        }
        drop(stored);
        for caller in callers {
            caller.answer(Ok(position));
        }
        Ok(())
    }

    /// The first commit, which is waited for, and those behind it as far as they are ready and fit.
    async fn gather(&mut self, first: Waiting) -> (Vec<Commit>, Vec<Caller>) {
        let (mut commits, mut callers, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut next = Some(Job::Commit(first));
        while let Some(job) = next {
            let Waiting { encoding, caller } = match job {
                Job::Commit(waiting) if commits.is_empty() || waiting.encoding.is_done() => waiting,
                Job::Commit(_) | Job::Look(_) => {
                    self.held = Some(job);
                    break;
                }
            };
            match encoding.finish().await {
                Ok(commit) => {
                    bytes += commit.bytes();
                    commits.push(commit);
                    callers.push(caller);
                }
                Err(error) => caller.answer(Err(error)),
            }
            next = if bytes < limits::LOG_ENTRY_BYTES { self.jobs.try_recv().ok() } else { None };
        }
        (commits, callers)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Encoding {
    fn is_done(&self) -> bool {
        match self {
            Self::Done(_) => true,
            Self::Running(task) => task.is_finished(),
        }
    }

    async fn finish(self) -> Result<Commit> {
        match self {
            Self::Done(commit) => Ok(commit),
            Self::Running(task) => match task.await {
                Ok(result) => result,
                Err(error) => Err(Error::internal(format!("encoding a commit has not finished: {error}"))),
            },
        }
    }
}

/// What stands at a name after an attempt to create it.
pub(crate) enum Placed {
    /// The bytes that were to be written.
    Ours,
    /// Other bytes.
    Taken(Bytes),
}

/// Creates a log entry, and goes on until it is known what stands under its name. The nonce in the bytes tells
/// our write from any other one; repeating it is safe, because a late arrival of an earlier attempt is the same
/// bytes under the same name. `trouble` hears why it takes so long.
pub(crate) async fn place(backend: &Backend, name: &str, sealed: Bytes, trouble: impl Fn(&Error)) -> Placed {
    let mut pause = backend.timing.retry_first;
    loop {
        let Err(unclear) = backend.create_entry(name, sealed.clone()).await else { return Placed::Ours };
        let error = match backend.read_entry(name).await {
            Ok(Some(found)) if found == sealed => return Placed::Ours,
            Ok(Some(found)) => return Placed::Taken(found),
            Ok(None) => backend.failed(&format!("write \"{name}\""), &unclear),
            Err(error) => error,
        };
        tracing::warn!(name, %error, "a log entry is not known to stand yet, trying again");
        trouble(&error);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(backend.timing.retry_most);
    }
}
