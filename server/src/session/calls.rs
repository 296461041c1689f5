//! What a statement's functions ask of the server: to let time pass, and advisory locks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::error::{DataFusionError, Result};
use millstream_planner::functions::{AdvisoryCall, ServerCalls};

use crate::engine::advisory::{SessionLocks, Wanted};

/// The calls of one statement.
#[derive(Debug)]
pub(super) struct SessionCalls {
    /// What the session holds.
    pub(super) locks: Arc<SessionLocks>,
    /// The longest time that it waits for more.
    pub(super) lock_timeout: Option<Duration>,
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
                let wanted = Wanted { key, shared, transaction };
                self.locks.take(wanted, self.lock_timeout).await.map(|()| true).map_err(failed)
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
