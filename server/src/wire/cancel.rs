//! Who may cancel what: one slot per connection, found by its process id and checked by its secret.
//!
//! A slot holds the token of the statement that runs now and nothing between statements, so that a late
//! CancelRequest touches no later statement.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio_util::sync::CancellationToken;

/// The connections of a server.
#[derive(Debug, Default)]
pub(super) struct CancelRegistry {
    slots: Mutex<HashMap<i32, Arc<Slot>>>,
}

#[derive(Debug)]
struct Slot {
    secret: i32,
    running: Mutex<Option<CancellationToken>>,
}

impl CancelRegistry {
    /// Registers a connection under a process id that no other one has.
    pub(super) fn register(self: &Arc<Self>) -> Registration {
        let slot = Arc::new(Slot { secret: rand::random(), running: Mutex::new(None) });
        let mut slots = lock(&self.slots);
        // Positive, as clients and pg_stat_activity expect of a process id.
        let mut process_id = rand::random_range(1..i32::MAX);
        while slots.contains_key(&process_id) {
            process_id = rand::random_range(1..i32::MAX);
        }
        slots.insert(process_id, Arc::clone(&slot));
        Registration { registry: Arc::clone(self), slot, process_id }
    }

    /// Cancels the statement that runs on a connection; says nothing about whether there was one.
    pub(super) fn cancel(&self, process_id: i32, secret: i32) {
        let slot = lock(&self.slots).get(&process_id).cloned();
        if let Some(slot) = slot.filter(|slot| slot.secret == secret)
            && let Some(running) = &*lock(&slot.running)
        {
            running.cancel();
        }
    }
}

/// A registered connection; leaves the registry when dropped.
#[derive(Debug)]
pub(super) struct Registration {
    registry: Arc<CancelRegistry>,
    slot: Arc<Slot>,
    process_id: i32,
}

impl Registration {
    /// The number that names the connection.
    pub(super) fn process_id(&self) -> i32 {
        self.process_id
    }

    /// What only the connection's own client knows.
    pub(super) fn secret(&self) -> i32 {
        self.slot.secret
    }

    /// Says that a statement runs until the guard is dropped.
    pub(super) fn running(&self, token: CancellationToken) -> Running {
        *lock(&self.slot.running) = Some(token);
        Running { slot: Arc::clone(&self.slot) }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.registry.slots).remove(&self.process_id);
    }
}

/// While it lives, a statement can be cancelled.
#[derive(Debug)]
pub(super) struct Running {
    slot: Arc<Slot>,
}

impl Drop for Running {
    fn drop(&mut self) {
        *lock(&self.slot.running) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds this lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancel_touches_only_the_running_statement_of_its_target() {
        let registry = Arc::new(CancelRegistry::default());
        let (target, other) = (registry.register(), registry.register());
        let (token, other_token) = (CancellationToken::new(), CancellationToken::new());
        let guard = target.running(token.clone());
        let _other_guard = other.running(other_token.clone());

        registry.cancel(target.process_id(), target.secret().wrapping_add(1));
        registry.cancel(0, target.secret());
        assert!(!token.is_cancelled());
        registry.cancel(target.process_id(), target.secret());
        assert!(token.is_cancelled() && !other_token.is_cancelled());

        drop(guard);
        registry.cancel(target.process_id(), target.secret());
        let next = CancellationToken::new();
        let _guard = target.running(next.clone());
        assert!(!next.is_cancelled(), "a cancel between statements is forgotten");
    }

    #[test]
    fn a_closed_connection_leaves_the_registry() {
        let registry = Arc::new(CancelRegistry::default());
        let registration = registry.register();
        drop(registration);
        assert!(lock(&registry.slots).is_empty());
    }
}
