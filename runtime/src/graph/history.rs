//! The newest versions of a graph's relations, for those who follow them from epoch to epoch.
//!
//! Versions are kept, not changes: who follows computes the difference of two versions, so that nobody holds up the
//! job master, and a relation that nobody follows costs its superseded chunks and no work. What is kept is bounded
//! here, by bytes and by number, whoever follows and however slowly: followers hold no version between two looks.
//! Who comes back too late finds its epoch gone and is told so.
//!
//! Per relation, because most epochs change few of them: an epoch in which a relation did not change costs nothing,
//! and an old epoch can be followed from for as long as the relation stood still.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Published;
use crate::limits::{FOLLOWED_BYTES, FOLLOWED_VERSIONS};
use crate::plan::RelationId;
use crate::relation::RelationVersion;
use crate::time::Epoch;

/// The versions of one relation, oldest first: what is shown from an epoch on; `None` while it is not shown, which
/// happens when its graph has started again and fills it anew.
type Versions = VecDeque<(Epoch, Option<Arc<RelationVersion>>)>;

/// The newest versions of the relations of one graph.
#[derive(Clone, Default)]
pub(super) struct History {
    relations: BTreeMap<RelationId, Versions>,
    /// Of every version but the newest of each relation, in the order in which they were superseded: whose the
    /// oldest one is, and what it alone keeps alive.
    superseded: VecDeque<(RelationId, usize)>,
    bytes: usize,
    newest: Option<Epoch>,
}

/// What follows an epoch.
#[derive(Clone, Debug)]
pub(super) enum Following {
    /// The epoch is not held.
    Lost,
    /// Nothing has changed up to this epoch.
    Unchanged(Epoch),
    /// The relation at that epoch, and at the next in which it is another.
    Step { from: Arc<RelationVersion>, to: Arc<RelationVersion>, epoch: Epoch },
}

impl History {
    /// Takes note of what is shown from now on, and lets go what is too much.
    pub(super) fn push(&mut self, published: &Published) {
        let epoch = published.epoch;
        for (relation, version) in &published.relations {
            let versions = self.relations.entry(*relation).or_default();
            let known = versions.back().and_then(|(_, last)| last.as_ref());
            if !known.is_some_and(|last| Arc::ptr_eq(last, version)) {
                put(versions, &mut self.superseded, &mut self.bytes, *relation, (epoch, Some(Arc::clone(version))));
            }
        }
        for (relation, versions) in &mut self.relations {
            let shown = versions.back().is_some_and(|(_, last)| last.is_some());
            if shown && !published.relations.contains_key(relation) {
                put(versions, &mut self.superseded, &mut self.bytes, *relation, (epoch, None));
            }
        }
        self.newest = Some(epoch);
        self.trim(FOLLOWED_BYTES, FOLLOWED_VERSIONS);
    }

    /// Lets every superseded version go; whether there were any.
    pub(super) fn shed(&mut self) -> bool {
        let any = !self.superseded.is_empty();
        self.trim(0, 0);
        any
    }

    /// Forgets a relation.
    pub(super) fn forget(&mut self, relation: RelationId) {
        self.relations.remove(&relation);
        let bytes = &mut self.bytes;
        self.superseded.retain(|(of, size)| {
            let stays = *of != relation;
            *bytes -= if stays { 0 } else { *size };
            stays
        });
    }

    /// Takes over what another graph kept, whose relations are of this graph from now on.
    pub(super) fn take_over(&mut self, other: Self) {
        self.relations.extend(other.relations);
        self.superseded.extend(other.superseded);
        self.bytes += other.bytes;
        // The epochs of both go on above this one.
        self.newest = self.newest.max(other.newest);
        self.trim(FOLLOWED_BYTES, FOLLOWED_VERSIONS);
    }

    /// Bytes that only superseded versions keep alive.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The relation as it is shown at an epoch; `None` when that is not known any more, or not yet.
    pub(super) fn at(&self, relation: RelationId, epoch: Epoch) -> Option<Arc<RelationVersion>> {
        let versions = self.relations.get(&relation).filter(|_| self.newest >= Some(epoch))?;
        let after = versions.partition_point(|(from, _)| *from <= epoch);
        versions.get(after.checked_sub(1)?)?.1.clone()
    }

    /// What follows the state of a relation at `after`.
    pub(super) fn following(&self, relation: RelationId, after: Epoch) -> Following {
        let (Some(versions), Some(from)) = (self.relations.get(&relation), self.at(relation, after)) else {
            return Following::Lost;
        };
        let next = versions.partition_point(|(from, _)| *from <= after);
        let mut later = versions.range(next..);
        match later.find_map(|(epoch, version)| Some((*epoch, version.clone()?))) {
            Some((epoch, to)) => Following::Step { from, to, epoch },
            // While it is not shown nobody knows what it will be.
            None if next < versions.len() => Following::Unchanged(after),
            None => Following::Unchanged(self.newest.map_or(after, |newest| newest.max(after))),
        }
    }

    /// The oldest and the newest epoch at which a relation is known.
    pub(super) fn held(&self, relation: RelationId) -> Option<(Epoch, Epoch)> {
        let (oldest, _) = self.relations.get(&relation)?.iter().find(|(_, version)| version.is_some())?;
        Some((*oldest, self.newest?))
    }

    fn trim(&mut self, bytes_max: usize, versions_max: usize) {
        while self.bytes > bytes_max || self.superseded.len() > versions_max {
            let Some((relation, bytes)) = self.superseded.pop_front() else { return };
            self.bytes -= bytes;
            if let Some(versions) = self.relations.get_mut(&relation) {
                versions.pop_front();
            }
        }
    }
}

/// Puts a version in the place of the newest one.
fn put(
    versions: &mut Versions,
    superseded: &mut VecDeque<(RelationId, usize)>,
    bytes: &mut usize,
    relation: RelationId,
    (epoch, version): (Epoch, Option<Arc<RelationVersion>>),
) {
    if let Some((_, last)) = versions.back() {
        let size = match (last, &version) {
            (None, _) => 0,
            (Some(last), Some(now)) => last.superseded_bytes(now),
            (Some(last), None) => last.memory_bytes(),
        };
        superseded.push_back((relation, size));
        *bytes += size;
    }
    versions.push_back((epoch, version));
}
