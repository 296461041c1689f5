//! What leads from one version of a relation to a later one.
//!
//! Chunks that both versions share cost nothing: a view being filled catches up by differences, and whoever follows a
//! relation gets them epoch by epoch, so that nobody needs a queue of changes. A row that only moved to another chunk
//! is no change. Versions of different stores share no chunk: their difference is right, and costs both of them.
//!
//! Invariant 6: the older version plus the difference is the later one. Attacked by
//! `store::tests::random_histories_equal_a_multiset`, `store::tests::rows_that_move_to_another_chunk_are_no_changes` and
//! `graph::follow::tests::the_sum_of_what_is_followed_is_what_is_shown`.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::Int64Array;
use arrow::compute;

use super::{Chunk, RelationVersion, consolidate};
use crate::batch::ChangeBatch;
use crate::error::Result;
use crate::limits::CHUNK_ROWS;

impl RelationVersion {
    /// The changes that lead from `older` to this version, in batches of about [`CHUNK_ROWS`].
    pub fn changes_since(&self, older: &Self) -> Result<Vec<ChangeBatch>> {
        if self.compared_bytes(older) > 0 {
            let net = self.net_since(older)?;
            let cuts = (0..net.len()).step_by(CHUNK_ROWS);
            return Ok(cuts.map(|from| net.slice(from, CHUNK_ROWS.min(net.len() - from))).collect());
        }
        let mut changes = Vec::new();
        let mut place = ChunkPlace::default();
        while let Some(change) = self.next_change(older, &mut place)? {
            changes.push(change);
        }
        Ok(changes)
    }

    /// Bytes of the rows that have to be compared to know the difference: rows that came and rows that went may be
    /// the same ones. None when there are only such, or only such, so that it can be told chunk by chunk.
    pub fn compared_bytes(&self, older: &Self) -> usize {
        let (mut came, mut went) = (None, None);
        for pair in pairs(older, self) {
            match pair {
                Pair::Gone(chunk) => *went.get_or_insert(0) += chunk.memory_bytes(),
                Pair::Both(old, chunk) if Arc::ptr_eq(old, chunk) => {}
                Pair::Both(old, chunk) => {
                    let rows = old.live_count() - chunk.live_count();
                    *went.get_or_insert(0) += chunk.memory_bytes() / chunk.batch.num_rows().max(1) * rows;
                }
                Pair::New(chunk) => *came.get_or_insert(0) += chunk.memory_bytes(),
            }
        }
        match (came, went) {
            // Rows of no bytes are compared, too.
            (Some(came), Some(went)) => (came + went).max(1),
            _ => 0,
        }
    }

    /// The whole difference in one batch, every row once.
    pub fn net_since(&self, older: &Self) -> Result<ChangeBatch> {
        let mut changes = Vec::new();
        let mut taken = Vec::new();
        for pair in pairs(older, self) {
            match pair {
                Pair::New(chunk) => changes.push(given(chunk)?),
                Pair::Both(old, chunk) => taken.push(thinned(old, chunk)?),
                Pair::Gone(chunk) => taken.push(taken_back(chunk.live_rows()?)),
            }
        }
        changes.extend(taken);
        consolidate(&self.schema, &changes)
    }

    /// Rows of the two versions that [`Self::compared_bytes`] are of, at most.
    pub fn compared_rows(&self, older: &Self) -> usize {
        let rows = pairs(older, self).map(|pair| match pair {
            Pair::Gone(chunk) | Pair::New(chunk) => chunk.live_count(),
            Pair::Both(old, chunk) => old.live_count() - chunk.live_count(),
        });
        rows.sum()
    }

    /// The changes of the next chunk behind a place that has some; only for the same two versions as before, of which
    /// [`Self::compared_bytes`] is nothing. In this way nobody needs to hold more than one chunk of a difference.
    pub fn next_change(&self, older: &Self, place: &mut ChunkPlace) -> Result<Option<ChangeBatch>> {
        while let Some(pair) = next_pair(older, self, place) {
            let change = match pair {
                Pair::Both(old, chunk) if Arc::ptr_eq(old, chunk) => continue,
                Pair::Both(old, chunk) => thinned(old, chunk)?,
                Pair::New(chunk) => given(chunk)?,
                Pair::Gone(chunk) => taken_back(chunk.live_rows()?),
            };
            if !change.is_empty() {
                return Ok(Some(change));
            }
        }
        Ok(None)
    }

    /// Bytes that this version keeps alive and a later one does not: chunks that were rewritten, marks, its list.
    pub(crate) fn superseded_bytes(&self, later: &Self) -> usize {
        let own = size_of::<Self>() + self.chunks.len() * size_of::<Arc<Chunk>>();
        let lost = pairs(self, later).map(|pair| match pair {
            Pair::Gone(chunk) => chunk.memory_bytes() + marks_bytes(chunk),
            Pair::Both(old, chunk) if !Arc::ptr_eq(old, chunk) => marks_bytes(old),
            Pair::Both(..) | Pair::New(_) => 0,
        });
        own + lost.sum::<usize>()
    }
}

/// How far the chunks of two versions were looked through: so many of the older one, and of the later one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkPlace {
    old: usize,
    new: usize,
}

/// A chunk of one of two versions, or of both.
enum Pair<'a> {
    /// Of the older one only.
    Gone(&'a Arc<Chunk>),
    /// Of both, perhaps in two states.
    Both(&'a Arc<Chunk>, &'a Arc<Chunk>),
    /// Of the later one only.
    New(&'a Arc<Chunk>),
}

/// The chunks of two versions side by side. Their ids rise in both: whatever is rewritten goes to the end.
fn pairs<'a>(older: &'a RelationVersion, later: &'a RelationVersion) -> impl Iterator<Item = Pair<'a>> {
    let mut place = ChunkPlace::default();
    std::iter::from_fn(move || next_pair(older, later, &mut place))
}

fn next_pair<'a>(older: &'a RelationVersion, later: &'a RelationVersion, place: &mut ChunkPlace) -> Option<Pair<'a>> {
    let pair = match (older.chunks.get(place.old), later.chunks.get(place.new)) {
        (None, None) => return None,
        (Some(before), None) => Pair::Gone(before),
        (None, Some(after)) => Pair::New(after),
        (Some(before), Some(after)) => match before.id.cmp(&after.id) {
            Ordering::Less => Pair::Gone(before),
            Ordering::Equal => Pair::Both(before, after),
            Ordering::Greater => Pair::New(after),
        },
    };
    place.old += usize::from(!matches!(pair, Pair::New(_)));
    place.new += usize::from(!matches!(pair, Pair::Gone(_)));
    Some(pair)
}

impl Chunk {
    fn live_count(&self) -> usize {
        self.live.as_ref().map_or(self.batch.num_rows(), |live| live.true_count())
    }
}

fn marks_bytes(chunk: &Chunk) -> usize {
    chunk.live.as_ref().map_or(0, |live| live.len().div_ceil(8))
}

fn given(chunk: &Chunk) -> Result<ChangeBatch> {
    Ok(ChangeBatch::append(chunk.live_rows()?))
}

fn taken_back(rows: arrow::array::RecordBatch) -> ChangeBatch {
    let weights = Int64Array::from(vec![-1; rows.num_rows()]);
    ChangeBatch::weighted(rows, weights)
}

/// Rows alive in `old` and dead in `new`, two states of one chunk.
fn thinned(old: &Arc<Chunk>, new: &Arc<Chunk>) -> Result<ChangeBatch> {
    let Some(new_live) = new.live.as_ref().filter(|_| !Arc::ptr_eq(old, new)) else {
        return Ok(taken_back(old.batch.slice(0, 0)));
    };
    let dead = compute::not(new_live)?;
    let mask = match &old.live {
        None => dead,
        Some(old_live) => compute::and(old_live, &dead)?,
    };
    Ok(taken_back(compute::filter_record_batch(&old.batch, &mask)?))
}
