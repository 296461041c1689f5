//! Advisory locks: names that sessions agree to hold one at a time. They protect nothing by themselves.
//!
//! Invariants: a lock is held by any number of sessions that share it, or by one alone (which may take it again, also
//! to share it); it counts how often its session took it; what a session holds is gone with the session, and what its
//! transaction took with the transaction. Who waits is woken whenever something is released, in no order. There is no
//! detection of deadlocks: `statement_timeout` or a cancel ends a wait.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_planner::functions::AdvisoryKey;
use tokio::sync::Notify;

use super::limits::ADVISORY_LOCKS;
use crate::session::SqlError;
use crate::session::sqlstate::Condition;

/// The locks of a server.
#[derive(Debug, Default)]
pub struct AdvisoryLocks {
    table: Mutex<Table>,
    released: Notify,
}

#[derive(Debug, Default)]
struct Table {
    /// By key and session; what is held no more is taken out.
    held: BTreeMap<(AdvisoryKey, u64), Held>,
    sessions: u64,
}

/// How often a session took a lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    alone: Counts,
    shared: Counts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    session: u32,
    transaction: u32,
}

impl Counts {
    fn any(self) -> bool {
        self.session > 0 || self.transaction > 0
    }
}

/// How a lock is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Which.
    pub key: AdvisoryKey,
    /// Whether others may share it.
    pub shared: bool,
    /// Whether it goes with the transaction.
    pub transaction: bool,
}

/// The locks of one session; dropping it releases them.
#[derive(Debug)]
pub struct SessionLocks {
    locks: Arc<AdvisoryLocks>,
    session: u64,
    /// Whether the transaction took any: every statement asks.
    in_transaction: AtomicBool,
}

impl AdvisoryLocks {
    /// The locks of a new session.
    pub fn session(self: &Arc<Self>) -> SessionLocks {
        let mut table = self.table();
        table.sessions += 1;
        SessionLocks { locks: Arc::clone(self), session: table.sessions, in_transaction: AtomicBool::new(false) }
    }

    /// Whether any session holds any.
    pub fn any_held(&self) -> bool {
        !self.table().held.is_empty()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change of the table is one step: a panic elsewhere leaves it whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionLocks {
    /// Takes a lock, after whoever holds it against this.
    pub async fn take(&self, wanted: Wanted) -> Result<(), SqlError> {
        loop {
            let released = self.locks.released.notified();
            tokio::pin!(released);
            // Listens before it looks, so that a release in between is not missed.
            released.as_mut().enable();
            if self.try_take(wanted)? {
                return Ok(());
            }
            released.await;
        }
    }

    /// Takes a lock if nobody holds it against this.
    pub fn try_take(&self, wanted: Wanted) -> Result<bool, SqlError> {
        let mut table = self.locks.table();
        let Wanted { key, shared, transaction } = wanted;
        let others = table.held.range((key, 0)..=(key, u64::MAX)).filter(|((_, session), _)| *session != self.session);
        if others.into_iter().any(|(_, held)| !shared || held.alone.any()) {
            return Ok(false);
        }
        if table.held.len() >= ADVISORY_LOCKS && !table.held.contains_key(&(key, self.session)) {
            let message = format!("the server holds at most {ADVISORY_LOCKS} advisory locks");
            return Err(SqlError::new(Condition::OutOfMemory, message).with_hint("Release locks that are not needed."));
        }
        let held = table.held.entry((key, self.session)).or_default();
        let counts = if shared { &mut held.shared } else { &mut held.alone };
        self.in_transaction.fetch_or(transaction, Ordering::Relaxed);
        let count = if transaction { &mut counts.transaction } else { &mut counts.session };
        *count = count.saturating_add(1);
        Ok(true)
    }

    /// Releases a lock that the session took, once; whether it held it.
    pub fn release(&self, key: AdvisoryKey, shared: bool) -> bool {
        let held = self.change(|at, held| {
            let counts = if shared { &mut held.shared } else { &mut held.alone };
            let found = at == key && counts.session > 0;
            counts.session -= u32::from(found);
            found
        });
        held > 0
    }

    /// Releases all that the session took outside of its transaction.
    pub fn release_all(&self) {
        self.change(|_, held| {
            held.alone.session = 0;
            held.shared.session = 0;
            true
        });
    }

    /// Releases what the transaction took.
    pub fn end_transaction(&self) {
        if !self.in_transaction.swap(false, Ordering::Relaxed) {
            return;
        }
        self.change(|_, held| {
            let taken = held.alone.transaction > 0 || held.shared.transaction > 0;
            held.alone.transaction = 0;
            held.shared.transaction = 0;
            taken
        });
    }

    /// Changes what this session holds; how many locks were changed. Those that are held no more go.
    fn change(&self, mut change: impl FnMut(AdvisoryKey, &mut Held) -> bool) -> usize {
        let mut table = self.locks.table();
        let mut changed = 0;
        table.held.retain(|(key, session), held| {
            if *session == self.session {
                changed += usize::from(change(*key, held));
            }
            held.alone.any() || held.shared.any()
        });
        drop(table);
        if changed > 0 {
            self.locks.released.notify_waiters();
        }
        changed
    }
}

impl Drop for SessionLocks {
    fn drop(&mut self) {
        self.change(|_, held| {
            *held = Held::default();
            true
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const KEY: AdvisoryKey = AdvisoryKey::One(7);

    fn wanted(shared: bool, transaction: bool) -> Wanted {
        Wanted { key: KEY, shared, transaction }
    }

    fn two() -> (SessionLocks, SessionLocks) {
        let locks = Arc::new(AdvisoryLocks::default());
        (locks.session(), locks.session())
    }

    #[test]
    fn one_holds_alone_or_many_share() {
        let (one, two) = two();
        assert!(one.try_take(wanted(false, false)).unwrap());
        assert!(one.try_take(wanted(false, false)).unwrap(), "its own lock, again");
        assert!(one.try_take(wanted(true, false)).unwrap(), "its own lock, to share it");
        assert!(!two.try_take(wanted(false, false)).unwrap());
        assert!(!two.try_take(wanted(true, false)).unwrap());
        assert!(two.try_take(Wanted { key: AdvisoryKey::Two(0, 7), ..wanted(false, false) }).unwrap(), "another name");
        assert!(one.release(KEY, false));
        assert!(!two.try_take(wanted(true, false)).unwrap(), "it was taken twice");
        assert!(one.release(KEY, false));
        assert!(!one.release(KEY, false), "it is held no more");
        assert!(two.try_take(wanted(true, false)).unwrap(), "both share it");
        assert!(!two.try_take(wanted(false, false)).unwrap());
        one.release_all();
        assert!(two.try_take(wanted(false, false)).unwrap());
    }

    #[test]
    fn locks_go_with_their_transaction_or_their_session() {
        let (one, two) = two();
        assert!(one.try_take(wanted(false, true)).unwrap());
        assert!(!one.release(KEY, false), "the transaction's own");
        one.release_all();
        assert!(!two.try_take(wanted(false, false)).unwrap());
        one.end_transaction();
        assert!(two.try_take(wanted(false, false)).unwrap());
        drop(two);
        assert!(one.try_take(wanted(false, false)).unwrap());
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_a_release() {
        let (one, two) = two();
        one.take(wanted(false, false)).await.unwrap();
        let waiting = two.take(wanted(false, false));
        tokio::pin!(waiting);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        assert!(one.release(KEY, false));
        waiting.await.unwrap();
        assert!(!one.try_take(wanted(true, false)).unwrap());
    }

    #[test]
    fn their_number_is_bounded() {
        let (one, _) = two();
        for key in 0..ADVISORY_LOCKS {
            let key = AdvisoryKey::One(key as i64);
            assert!(one.try_take(Wanted { key, ..wanted(false, false) }).unwrap());
        }
        assert!(one.try_take(wanted(false, false)).unwrap(), "one that it holds");
        let more = Wanted { key: AdvisoryKey::One(-1), ..wanted(false, false) };
        assert_eq!(one.try_take(more).unwrap_err().sqlstate, "53200");
    }
}
