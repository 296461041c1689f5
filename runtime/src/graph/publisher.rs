//! Publishing the outboxes of a sink, in order, after their checkpoints are committed.
//!
//! Invariant 11 rests on the order here: an outbox is handed to this task only once its checkpoint stands in
//! the log, and the next one is published only after the one before it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use crate::error::Error;
use crate::limits::{RETRY_MILLIS_MAX, RETRY_MILLIS_MIN};
use crate::sink::{Publisher, Sink, SinkIdentity};

/// The encoded rows of one checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    /// Dense, from 1.
    pub(super) sequence: u64,
    /// The payloads of its epochs.
    pub(super) payloads: Vec<Bytes>,
}

/// A running publisher; dropping it stops the publishing. It wakes its graph whenever it got on or met trouble.
pub(super) struct Publishing {
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    inner: Mutex<Inner>,
    ready: Notify,
    /// The highest sequence number that is published.
    published: watch::Sender<u64>,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Outbox>,
    trouble: Option<Error>,
}

impl Drop for Publishing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Publishing {
    /// Starts to publish whatever is pushed.
    pub(super) fn start(
        tokio: &tokio::runtime::Handle,
        name: String,
        sink: Arc<dyn Sink>,
        identity: SinkIdentity,
        wake: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        let (inner, ready, published) = (Mutex::default(), Notify::new(), watch::channel(0).0);
        let shared = Arc::new(Shared { inner, ready, published, wake });
        let task = tokio.spawn(run(name, sink, identity, Arc::clone(&shared)));
        Self { shared, task }
    }

    /// Hands over an outbox whose checkpoint is committed.
    pub(super) fn push(&self, outbox: Outbox) {
        self.shared.lock().waiting.push_back(outbox);
        self.shared.ready.notify_one();
    }

    /// The highest sequence number that is published.
    pub(super) fn published(&self) -> u64 {
        *self.shared.published.borrow()
    }

    /// Told of every sequence number that is published.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.shared.published.subscribe()
    }

    /// What keeps it from publishing.
    pub(super) fn trouble(&self) -> Option<Error> {
        self.shared.lock().trouble.clone()
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn next(&self) -> Outbox {
        loop {
            let ready = self.ready.notified();
            if let Some(outbox) = self.lock().waiting.front() {
                return outbox.clone();
            }
            ready.await;
        }
    }

    fn published(&self, sequence: u64) {
        let mut inner = self.lock();
        inner.trouble = None;
        inner.waiting.retain(|outbox| outbox.sequence > sequence);
        drop(inner);
        self.published.send_modify(|published| *published = sequence.max(*published));
        (self.wake)();
    }

    fn meet(&self, trouble: Error) {
        self.lock().trouble = Some(trouble);
        (self.wake)();
    }
}

async fn run(name: String, sink: Arc<dyn Sink>, identity: SinkIdentity, shared: Arc<Shared>) {
    let mut publisher: Option<Box<dyn Publisher>> = None;
    let mut delay = Duration::from_millis(RETRY_MILLIS_MIN);
    loop {
        let outbox = shared.next().await;
        match publish(sink.as_ref(), &identity, &mut publisher, &outbox).await {
            Ok(()) => {
                shared.published(outbox.sequence);
                delay = Duration::from_millis(RETRY_MILLIS_MIN);
            }
            Err(error) => {
                tracing::warn!(sink = %name, sequence = outbox.sequence, %error, "publishing failed, trying again");
                // Whatever happened, the publisher's own idea of it is void: open anew and ask the outside.
                publisher = None;
                shared.meet(error);
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(Duration::from_millis(RETRY_MILLIS_MAX));
            }
        }
    }
}

async fn publish(
    sink: &dyn Sink,
    identity: &SinkIdentity,
    publisher: &mut Option<Box<dyn Publisher>>,
    outbox: &Outbox,
) -> crate::error::Result<()> {
    let publisher = match publisher {
        Some(publisher) => publisher,
        None => {
            let mut opened = sink.open(identity).await?;
            if opened.progress().await?.is_some_and(|held| held >= outbox.sequence) {
                *publisher = Some(opened);
                return Ok(());
            }
            publisher.insert(opened)
        }
    };
    publisher.publish(outbox.sequence, &outbox.payloads).await
}
