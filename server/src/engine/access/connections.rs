//! How many sessions every role has, for CONNECTION LIMIT.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use millstream_planner::access::RoleOid;

/// The sessions that are open, by role.
#[derive(Debug, Default)]
pub struct RoleConnections {
    open: Mutex<BTreeMap<RoleOid, u32>>,
}

/// A session that counts until it is dropped.
#[derive(Debug)]
pub struct Counted {
    role: RoleOid,
    among: Arc<RoleConnections>,
}

impl RoleConnections {
    /// Counts one more session of a role, unless it has `limit` of them already.
    pub fn open(self: &Arc<Self>, role: RoleOid, limit: Option<u32>) -> Option<Counted> {
        let mut open = self.open.lock().expect("nothing panics while it is locked");
        let count = open.entry(role).or_default();
        if limit.is_some_and(|limit| *count >= limit) {
            return None;
        }
        *count += 1;
        Some(Counted { role, among: Arc::clone(self) })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.among.open.lock().expect("nothing panics while it is locked");
        if let Some(count) = open.get_mut(&self.role) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.role);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_counts_until_it_ends() {
        let connections = Arc::new(RoleConnections::default());
        let first = connections.open(RoleOid(1), Some(1));
        assert!(first.is_some() && connections.open(RoleOid(1), Some(1)).is_none());
        assert!(connections.open(RoleOid(2), Some(1)).is_some(), "others have their own");
        assert!(connections.open(RoleOid(1), Some(0)).is_none());
        drop(first);
        assert!(connections.open(RoleOid(1), Some(1)).is_some());
    }
}
