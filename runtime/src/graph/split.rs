//! The recorded state of a split, and what the splits of a relation promise together.
//!
//! Everything here stands in the checkpoint: a restart, and a reader that catches up from the start, decide
//! about every row as the first reader did.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::SplitStatus;
use super::accept::{FloorChange, SplitClock, promised};
use crate::plan::WatermarkSpec;
use crate::source::{Position, Split, SplitId};
use crate::time::Watermark;

/// A split as the graph has read it up to a position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SplitState {
    /// The split.
    pub(crate) split: Split,
    /// The next position.
    pub(crate) position: Position,
    /// Its watermark and its current floor.
    pub(crate) clock: SplitClock,
    /// All floors that it ever had, in the order of their positions.
    pub(crate) floors: Vec<FloorChange>,
    /// Taken out of the merge for want of rows.
    pub(crate) idle: bool,
    /// A bounded split that has ended.
    pub(crate) ended: bool,
    /// Rows accepted, for ever.
    pub(crate) accepted: u64,
    /// Rows late, for ever.
    pub(crate) late: u64,
    /// Records rejected, for ever.
    pub(crate) rejected: u64,
}

impl SplitState {
    /// A split found while the relation's merged watermark stood at `floor`.
    pub(crate) fn found(split: Split, floor: Watermark) -> Self {
        let position = split.start;
        Self {
            split,
            position,
            clock: SplitClock::starting_at(floor),
            floors: vec![FloorChange { from: position, floor }],
            idle: false,
            ended: false,
            accepted: 0,
            late: 0,
            rejected: 0,
        }
    }

    /// The same split before its first record, with the floors that later reading found: where a reader that
    /// catches up begins.
    pub(crate) fn rewound(&self) -> Self {
        let floor = self.floors.first().map_or(Watermark::NONE, |first| first.floor);
        Self { floors: self.floors.clone(), ..Self::found(self.split.clone(), floor) }
    }

    /// The split comes back from being idle with a record at `from`.
    pub(crate) fn wake(&mut self, from: Position, merged: Watermark) {
        self.idle = false;
        self.clock.floor = merged;
        self.floors.push(FloorChange { from, floor: merged });
    }

    /// The floor that holds for a position, and the position at which the next one begins.
    pub(crate) fn floor_at(&self, position: Position) -> (Watermark, Option<Position>) {
        let behind = self.floors.partition_point(|change| change.from <= position);
        let floor = behind.checked_sub(1).map_or(Watermark::NONE, |at| self.floors[at].floor);
        (floor, self.floors.get(behind).map(|change| change.from))
    }

    /// What SQL shows of it.
    pub(crate) fn status(&self) -> SplitStatus {
        SplitStatus {
            position: self.position,
            watermark: self.clock.watermark,
            idle: self.idle,
            ended: self.ended,
            read: self.accepted + self.late + self.rejected,
            accepted: self.accepted,
            late: self.late,
            rejected: self.rejected,
        }
    }
}

/// The merged watermark of a relation after `before`: the minimum over the active splits, never going back.
pub(crate) fn merged(
    spec: Option<&WatermarkSpec>,
    splits: &BTreeMap<SplitId, SplitState>,
    bounded: bool,
    before: Watermark,
) -> Watermark {
    if bounded && splits.values().all(|split| split.ended) {
        return Watermark::END;
    }
    let Some(spec) = spec else {
        return before;
    };
    let active = splits.values().filter(|split| !split.idle && !split.ended);
    active.map(|split| promised(spec, &split.clock)).min().map_or(before, |watermark| before.max(watermark))
}
