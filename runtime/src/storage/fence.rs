//! The fence: whether this server may still do anything in the name of the storage.
//!
//! It closes once, when an entry of a newer term was seen, and never opens again. What closes it is told to
//! everything that asks afterwards, as an error of the kind `Fenced`.

use tokio::sync::watch;

use crate::error::{Error, Result};

/// Closed for good once this server is known not to be the owner any more.
pub(crate) struct Fence(watch::Sender<Option<Error>>);

impl Fence {
    /// Open.
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// The error of everything that needs ownership, once it is lost.
    pub(crate) fn check(&self) -> Result<()> {
        self.0.borrow().clone().map_or(Ok(()), Err)
    }

    /// Closes it, with the reason.
    pub(crate) fn close(&self, error: Error) {
        tracing::error!(%error, "the storage has another owner");
        self.0.send_replace(Some(error));
    }

    /// Ends when the fence has closed, with the reason.
    pub(crate) fn closed(&self) -> impl Future<Output = Error> + Send + use<> {
        let mut watch = self.0.subscribe();
        async move {
            loop {
                if let Some(error) = watch.borrow_and_update().clone() {
                    return error;
                }
                if watch.changed().await.is_err() {
                    // The storage is gone, and with it whoever could lose it.
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}
