//! The newest versions of a graph's relations, for those who follow them from epoch to epoch.
//!
//! Versions are kept, not changes: who follows computes the difference of two versions, so that nobody holds up the
//! job master, and a relation that nobody follows costs its superseded chunks and no work. What is kept is bounded
//! here, by bytes and by number, whoever follows and however slowly: followers hold no version between two looks.
//! Who comes back too late finds its epoch gone and is told so.
//!
//! Per series ([`Series`]: the rows of a relation, or those beside it that did not get through), because most epochs
//! change few of them: an epoch in which a series did not change costs nothing, and an old epoch can be followed from
//! for as long as it stood still.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Published;
use crate::limits::{FOLLOWED_BYTES, FOLLOWED_VERSIONS};
use crate::plan::RelationId;
use crate::relation::RelationVersion;
use crate::time::Epoch;

/// Which rows of a relation: every part has versions of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Those that it holds.
    Rows,
    /// Those beside it that were rejected, or that a sink has refused.
    Rejected,
    /// Those beside it that came too late.
    Late,
}

/// What can be followed: a part of a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// The relation.
    pub relation: RelationId,
    /// Which of its rows.
    pub part: Part,
}

impl From<RelationId> for Series {
    fn from(relation: RelationId) -> Self {
        Self { relation, part: Part::Rows }
    }
}

/// The versions of one series, oldest first: what is shown from an epoch on; `None` while it is not shown, which
/// happens when its graph has started again and fills it anew.
type Versions = VecDeque<(Epoch, Option<Arc<RelationVersion>>)>;

/// The newest versions of the relations of one graph.
#[derive(Clone, Default)]
pub(super) struct History {
    series: BTreeMap<Series, Versions>,
    /// Of every version but the newest of each series, in the order in which they were superseded: whose the
    /// oldest one is, and what it alone keeps alive.
    superseded: VecDeque<(Series, usize)>,
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
        for part in [Part::Rows, Part::Rejected, Part::Late] {
            // Nobody can name the rows beside a temporary view.
            let named = |relation: &RelationId| part == Part::Rows || !relation.is_temporary();
            for (relation, version) in published.part(part).iter().filter(|(relation, _)| named(relation)) {
                let series = Series { relation: *relation, part };
                let versions = self.series.entry(series).or_default();
                let known = versions.back().and_then(|(_, last)| last.as_ref());
                if !known.is_some_and(|last| Arc::ptr_eq(last, version)) {
                    put(versions, &mut self.superseded, &mut self.bytes, series, (epoch, Some(Arc::clone(version))));
                }
            }
        }
        for (series, versions) in &mut self.series {
            let shown = versions.back().is_some_and(|(_, last)| last.is_some());
            if shown && !published.part(series.part).contains_key(&series.relation) {
                put(versions, &mut self.superseded, &mut self.bytes, *series, (epoch, None));
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

    /// Forgets a relation, with what stands beside it.
    pub(super) fn forget(&mut self, relation: RelationId) {
        self.series.retain(|series, _| series.relation != relation);
        let bytes = &mut self.bytes;
        self.superseded.retain(|(of, size)| {
            let stays = of.relation != relation;
            *bytes -= if stays { 0 } else { *size };
            stays
        });
    }

    /// Takes over what another graph kept, whose relations are of this graph from now on.
    pub(super) fn take_over(&mut self, other: Self) {
        self.series.extend(other.series);
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

    /// A series as it is shown at an epoch; `None` when that is not known any more, or not yet.
    pub(super) fn at(&self, series: Series, epoch: Epoch) -> Option<Arc<RelationVersion>> {
        let versions = self.series.get(&series).filter(|_| self.newest >= Some(epoch))?;
        let after = versions.partition_point(|(from, _)| *from <= epoch);
        versions.get(after.checked_sub(1)?)?.1.clone()
    }

    /// What follows the state of a series at `after`.
    pub(super) fn following(&self, series: Series, after: Epoch) -> Following {
        let (Some(versions), Some(from)) = (self.series.get(&series), self.at(series, after)) else {
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

    /// The oldest and the newest epoch at which a series is known.
    pub(super) fn held(&self, series: Series) -> Option<(Epoch, Epoch)> {
        let (oldest, _) = self.series.get(&series)?.iter().find(|(_, version)| version.is_some())?;
        Some((*oldest, self.newest?))
    }

    fn trim(&mut self, bytes_max: usize, versions_max: usize) {
        while self.bytes > bytes_max || self.superseded.len() > versions_max {
            let Some((series, bytes)) = self.superseded.pop_front() else { return };
            self.bytes -= bytes;
            if let Some(versions) = self.series.get_mut(&series) {
                versions.pop_front();
            }
        }
    }
}

/// Puts a version in the place of the newest one.
fn put(
    versions: &mut Versions,
    superseded: &mut VecDeque<(Series, usize)>,
    bytes: &mut usize,
    series: Series,
    (epoch, version): (Epoch, Option<Arc<RelationVersion>>),
) {
    if let Some((_, last)) = versions.back() {
        let size = match (last, &version) {
            (None, _) => 0,
            (Some(last), Some(now)) => last.superseded_bytes(now),
            (Some(last), None) => last.memory_bytes(),
        };
        superseded.push_back((series, size));
        *bytes += size;
    }
    versions.push_back((epoch, version));
}
