//! Advisory locks: names that sessions agree to hold one at a time. They protect nothing by themselves.
//!
//! Invariants: a lock is held by any number of sessions that share it, or by one alone (which may take it again, also
//! to share it); it counts how often its session took it; what a session holds is gone with the session, and what its
//! transaction took with the transaction. Who waits is woken whenever something is released, in no order, and looks
//! each time whether those that it waits for wait for it: the last one of a circle fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
    /// What sessions wait for.
    waiting: BTreeMap<u64, Wanted>,
    /// The numbers that clients know sessions by.
    process_ids: BTreeMap<u64, i32>,
    sessions: u64,
}

/// A lock that a session holds or waits for, as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRow {
    /// Which.
    pub key: AdvisoryKey,
    /// The number of its session; 0 where no client is behind it.
    pub process_id: i32,
    /// Whether others may share it.
    pub shared: bool,
    /// Whether it is held; otherwise the session waits for it.
    pub granted: bool,
}

impl Table {
    /// The sessions that hold a lock against one that wants it.
    fn against(&self, wanted: Wanted, session: u64) -> impl Iterator<Item = u64> + '_ {
        let held = self.held.range((wanted.key, 0)..=(wanted.key, u64::MAX));
        let against = move |(_, held): &(_, &Held)| !wanted.shared || held.alone.any();
        held.filter(against).map(|((_, holder), _)| *holder).filter(move |holder| *holder != session)
    }

    /// Whether a session waits for itself, by way of others.
    fn is_circle(&self, session: u64) -> bool {
        let (mut next, mut seen) = (vec![session], BTreeSet::new());
        while let Some(waiting) = next.pop() {
            let Some(wanted) = self.waiting.get(&waiting) else { continue };
            for holder in self.against(*wanted, waiting) {
                if holder == session {
                    return true;
                }
                if seen.insert(holder) {
                    next.push(holder);
                }
            }
        }
        false
    }
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

    fn rows(&self) -> Vec<LockRow> {
        let table = self.table();
        let row = |key, session: &u64, shared, granted| {
            let process_id = table.process_ids.get(session).copied().unwrap_or_default();
            LockRow { key, process_id, shared, granted }
        };
        let held = table.held.iter().flat_map(|((key, session), held)| {
            let kinds = [(held.alone, false), (held.shared, true)].into_iter().filter(|(counts, _)| counts.any());
            kinds.map(|(_, shared)| row(*key, session, shared, true))
        });
        let waits = table.waiting.iter().map(|(session, wanted)| row(wanted.key, session, wanted.shared, false));
        held.chain(waits).collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change of the table is one step: a panic elsewhere leaves it whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session waits until this is dropped.
struct Waiting<'a>(&'a SessionLocks);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.locks.table().waiting.remove(&self.0.session);
    }
}

impl SessionLocks {
    /// Says by which number clients know the session.
    pub fn belong_to(&self, process_id: i32) {
        self.locks.table().process_ids.insert(self.session, process_id);
    }

    /// What all sessions of the server hold, and what they wait for.
    pub fn rows(&self) -> Vec<LockRow> {
        self.locks.rows()
    }

    /// Takes a lock, after whoever holds it against this; at the latest after `timeout` it fails.
    pub async fn take(&self, wanted: Wanted, timeout: Option<Duration>) -> Result<(), SqlError> {
        let taking = self.take_in_turn(wanted);
        let Some(timeout) = timeout else { return taking.await };
        tokio::time::timeout(timeout, taking).await.unwrap_or_else(|_| {
            Err(SqlError::new(Condition::LockNotAvailable, "canceling statement due to lock timeout"))
        })
    }

    async fn take_in_turn(&self, wanted: Wanted) -> Result<(), SqlError> {
        let waiting = Waiting(self);
        loop {
            let released = self.locks.released.notified();
            tokio::pin!(released);
            // Listens before it looks, so that a release in between is not missed.
            released.as_mut().enable();
            if self.try_take(wanted)? {
                return Ok(());
            }
            {
                let mut table = waiting.0.locks.table();
                table.waiting.insert(self.session, wanted);
                if table.is_circle(self.session) {
                    return Err(SqlError::new(Condition::DeadlockDetected, "deadlock detected")
                        .with_detail("Whoever holds the advisory lock waits for one of this session.")
                        .with_hint("Take locks in one order everywhere, and try the transaction again."));
                }
            }
            released.await;
        }
    }

    /// Takes a lock if nobody holds it against this.
    pub fn try_take(&self, wanted: Wanted) -> Result<bool, SqlError> {
        let mut table = self.locks.table();
        let Wanted { key, shared, transaction } = wanted;
        if table.against(wanted, self.session).next().is_some() {
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
        self.locks.table().process_ids.remove(&self.session);
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

    #[tokio::test]
    async fn others_see_what_is_held_and_who_waits() {
        let (one, two) = two();
        one.belong_to(11);
        two.belong_to(12);
        let row = |process_id, shared, granted| LockRow { key: KEY, process_id, shared, granted };
        assert!(one.try_take(wanted(false, false)).unwrap());
        {
            let mut waiting = std::pin::pin!(two.take(wanted(true, true), None));
            assert!(futures::poll!(waiting.as_mut()).is_pending());
            assert_eq!(one.rows(), [row(11, false, true), row(12, true, false)]);
            // Given up: it waits no longer.
        }
        assert_eq!(two.rows(), [row(11, false, true)]);
        assert!(one.release(KEY, false));
        two.take(wanted(true, true), None).await.unwrap();
        assert_eq!(one.rows(), [row(12, true, true)]);
        drop(two);
        assert_eq!(one.rows(), []);
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
        one.take(wanted(false, false), None).await.unwrap();
        let waiting = two.take(wanted(false, false), None);
        tokio::pin!(waiting);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        assert!(one.release(KEY, false));
        waiting.await.unwrap();
        assert!(!one.try_take(wanted(true, false)).unwrap());
    }

    #[tokio::test]
    async fn the_last_one_of_a_circle_fails() {
        let (one, two) = two();
        let three = one.locks.session();
        let of = |number, shared| Wanted { key: AdvisoryKey::One(number), shared, transaction: false };
        for (session, number) in [(&one, 1), (&two, 2), (&three, 3)] {
            session.take(of(number, false), None).await.unwrap();
        }
        three.take(of(4, true), None).await.unwrap();
        let mut first = Box::pin(one.take(of(2, true), None));
        assert!(futures::poll!(first.as_mut()).is_pending());
        let mut second = Box::pin(two.take(of(4, false), None));
        assert!(futures::poll!(second.as_mut()).is_pending());
        let error = three.take(of(1, false), None).await.unwrap_err();
        assert_eq!((error.sqlstate, error.message.as_str()), ("40P01", "deadlock detected"));
        // Who has given up is waited for no more, and what it holds goes to who waits.
        drop(first);
        let mut third = Box::pin(three.take(of(1, false), None));
        assert!(futures::poll!(third.as_mut()).is_pending());
        assert!(three.release(AdvisoryKey::One(4), true));
        second.await.unwrap();
        one.release_all();
        third.await.unwrap();
        assert!(one.locks.table().waiting.is_empty());
    }

    #[tokio::test]
    async fn a_wait_ends_at_its_timeout() {
        let (one, two) = two();
        let at_once = Some(Duration::ZERO);
        one.take(wanted(false, false), at_once).await.unwrap();
        let error = two.take(wanted(true, false), at_once).await.unwrap_err();
        assert_eq!((error.sqlstate, error.message.as_str()), ("55P03", "canceling statement due to lock timeout"));
        assert!(one.locks.table().waiting.is_empty());
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
