//! What ends a statement before its time: a cancel request, or its timeout.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::session::SqlError;
use crate::session::sqlstate::Condition;

/// Ends a statement.
#[derive(Clone, Debug)]
pub struct Stop {
    token: CancellationToken,
    deadline: Option<Instant>,
}

impl Stop {
    /// Stops when `token` is cancelled, or `timeout` after now.
    pub fn new(token: CancellationToken, timeout: Option<Duration>) -> Self {
        Self { token, deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)) }
    }

    /// Waits until the statement has to end, and says why.
    pub async fn stopped(&self) -> SqlError {
        let expired = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.token.cancelled() => {
                SqlError::new(Condition::QueryCanceled, "canceling statement due to user request")
            }
            () = expired => SqlError::new(Condition::QueryCanceled, "canceling statement due to statement timeout"),
        }
    }

    /// Runs something that leaves nothing behind when it is dropped halfway.
    pub async fn race<T>(&self, work: impl Future<Output = Result<T, SqlError>>) -> Result<T, SqlError> {
        tokio::select! {
            biased;
            error = self.stopped() => Err(error),
            result = work => result,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn a_statement_ends_by_cancel_or_by_timeout() {
        let token = CancellationToken::new();
        let stop = Stop::new(token.clone(), None);
        assert!(stop.race(async { Ok(1) }).await.is_ok());
        token.cancel();
        let error = stop.race(std::future::pending::<Result<(), SqlError>>()).await.unwrap_err();
        assert_eq!((error.sqlstate, error.message.as_str()), ("57014", "canceling statement due to user request"));

        let stop = Stop::new(CancellationToken::new(), Some(Duration::from_millis(1)));
        let error = stop.race(std::future::pending::<Result<(), SqlError>>()).await.unwrap_err();
        assert_eq!(error.message, "canceling statement due to statement timeout");
    }
}
