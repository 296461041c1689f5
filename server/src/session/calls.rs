//! What a statement's functions ask of the server: to let time pass, and advisory locks.

use std::time::Duration;

use async_trait::async_trait;
use datafusion::error::{DataFusionError, Result};
use millstream_planner::functions::{AdvisoryCall, ServerCalls};

use crate::engine::advisory::{SessionLocks, Wanted};

/// The calls of one session.
#[derive(Debug)]
pub(super) struct SessionCalls {
    locks: SessionLocks,
}

impl SessionCalls {
    pub(super) fn new(locks: SessionLocks) -> Self {
        Self { locks }
    }

    /// What the session holds.
    pub(super) fn locks(&self) -> &SessionLocks {
        &self.locks
    }
}

#[async_trait]
impl ServerCalls for SessionCalls {
    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    async fn advisory(&self, call: AdvisoryCall) -> Result<bool> {
        let failed = |error| DataFusionError::External(Box::new(error));
        match call {
            AdvisoryCall::Take { key, shared, transaction, wait: true } => {
                self.locks.take(Wanted { key, shared, transaction }).await.map(|()| true).map_err(failed)
            }
            AdvisoryCall::Take { key, shared, transaction, wait: false } => {
                self.locks.try_take(Wanted { key, shared, transaction }).map_err(failed)
            }
            AdvisoryCall::Release { key, shared } => Ok(self.locks.release(key, shared)),
            AdvisoryCall::ReleaseAll => {
                self.locks.release_all();
                Ok(true)
            }
        }
    }
}
