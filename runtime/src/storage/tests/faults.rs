//! A store in memory whose requests go wrong as told.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use tokio::sync::{Notify, oneshot};

/// Which requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Create-only writes.
    Create,
    /// Writes that replace.
    Put,
    /// Reads.
    Get,
}

/// What happens to one request.
#[derive(Debug)]
pub(super) enum Fault {
    /// It never arrives.
    Lost,
    /// The disk has no room for it.
    Full,
    /// It is done, but the answer is lost.
    AnswerLost,
    /// It is done, but the answer says that the name was taken: a retry inside the client met its own write.
    TakenByItself,
    /// The store answers 409 and does nothing; the client reports a taken name.
    Conflict,
    /// It arrives only when the other end is dropped or sent to.
    Held(oneshot::Receiver<()>),
}

/// See the file's text. Several of them can stand before one memory: one for each server.
#[derive(Debug)]
pub(super) struct FaultyStore {
    inner: Arc<InMemory>,
    faults: Mutex<Vec<(Request, String, Fault)>>,
    /// Writes until the server is dead, and whether the last one is still done.
    death: Mutex<Option<(usize, bool)>>,
    died: Notify,
    held: Notify,
    ignores_conditions: bool,
}

impl FaultyStore {
    pub(super) fn over(inner: &Arc<InMemory>) -> Arc<Self> {
        Arc::new(Self::new(inner, false))
    }

    /// One that takes a create-only write for one that replaces.
    pub(super) fn ignoring_conditions(inner: &Arc<InMemory>) -> Arc<Self> {
        Arc::new(Self::new(inner, true))
    }

    fn new(inner: &Arc<InMemory>, ignores_conditions: bool) -> Self {
        Self {
            inner: Arc::clone(inner),
            faults: Mutex::default(),
            death: Mutex::new(None),
            died: Notify::new(),
            held: Notify::new(),
            ignores_conditions,
        }
    }

    /// Lets the next request of this sort under `prefix` go wrong; faults of the same sort wait their turn.
    pub(super) fn fault(&self, request: Request, prefix: &str, fault: Fault) {
        self.faults.lock().unwrap().push((request, prefix.to_owned(), fault));
    }

    /// Holds the next request of this sort until the returned end is dropped.
    pub(super) fn hold(&self, request: Request, prefix: &str) -> oneshot::Sender<()> {
        let (release, held) = oneshot::channel();
        self.fault(request, prefix, Fault::Held(held));
        release
    }

    /// Waits until a request is being held.
    pub(super) async fn holds(&self) {
        self.held.notified().await;
    }

    /// The server dies at its write number `writes` (from 0): that one is done or not, everything later fails.
    pub(super) fn die_at(&self, writes: usize, done: bool) {
        *self.death.lock().unwrap() = Some((writes, done));
    }

    /// Waits until the server has died.
    pub(super) async fn death(&self) {
        self.died.notified().await;
    }

    /// Whether nothing arrives any more.
    pub(super) fn is_dead(&self) -> bool {
        matches!(*self.death.lock().unwrap(), Some((0, false)))
    }

    /// Counts a write: `Some(done)` when it is the last one.
    fn last_write(&self) -> Option<bool> {
        let mut death = self.death.lock().unwrap();
        match *death {
            None => None,
            Some((0, done)) => {
                *death = Some((0, false));
                self.died.notify_one();
                Some(done)
            }
            Some((left, done)) => {
                *death = Some((left - 1, done));
                None
            }
        }
    }

    fn take_fault(&self, request: Request, path: &Path) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let at = faults.iter().position(|(of, prefix, _)| *of == request && path.as_ref().starts_with(prefix))?;
        Some(faults.remove(at).2)
    }
}

fn lost() -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: "no answer".into() }
}

/// As a directory of ours reports it.
fn full() -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: Box::new(io::Error::from(io::ErrorKind::StorageFull)) }
}

fn taken(path: &Path) -> object_store::Error {
    object_store::Error::AlreadyExists { path: path.to_string(), source: "409".into() }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty memory")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        let request = if options.mode == PutMode::Create { Request::Create } else { Request::Put };
        let fault = self.take_fault(request, path);
        if let Some(Fault::Lost) = fault {
            return Err(lost());
        }
        if let Some(Fault::Full) = fault {
            return Err(full());
        }
        if let Some(Fault::Conflict) = fault {
            return Err(taken(path));
        }
        let (answer_lost, by_itself) =
            (matches!(fault, Some(Fault::AnswerLost)), matches!(fault, Some(Fault::TakenByItself)));
        if let Some(Fault::Held(held)) = fault {
            self.held.notify_one();
            let _ = held.await;
        }
        let last = self.last_write();
        if last == Some(false) || (last.is_none() && self.is_dead()) {
            return Err(lost());
        }
        let options = if self.ignores_conditions { PutOptions::default() } else { options };
        let result = self.inner.put_opts(path, payload, options).await;
        if answer_lost || last.is_some() {
            return Err(lost());
        }
        if by_itself {
            return Err(taken(path));
        }
        result
    }

    async fn put_multipart_opts(
        &self,
        _path: &Path,
        _options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        Err(lost())
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        match self.take_fault(Request::Get, path) {
            Some(Fault::Held(held)) => {
                self.held.notify_one();
                let _ = held.await;
            }
            Some(Fault::Lost | Fault::Full | Fault::AnswerLost | Fault::TakenByItself | Fault::Conflict) => {
                return Err(lost());
            }
            None => {}
        }
        if self.is_dead() {
            return Err(lost());
        }
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        match self.last_write() {
            // Only the first of several deletions is done.
            Some(true) => self.inner.delete_stream(locations.take(1).boxed()).map(|_| Err(lost())).boxed(),
            Some(false) => futures::stream::once(async { Err(lost()) }).boxed(),
            None if self.is_dead() => futures::stream::once(async { Err(lost()) }).boxed(),
            None => self.inner.delete_stream(locations),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        if self.is_dead() {
            return futures::stream::once(async { Err(lost()) }).boxed();
        }
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, _prefix: Option<&Path>) -> object_store::Result<ListResult> {
        Err(lost())
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> object_store::Result<()> {
        Err(lost())
    }
}
