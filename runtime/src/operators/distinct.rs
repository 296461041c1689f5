//! Every different row once.
//!
//! Rows are counted by weight. Over append-only input a row comes out when it is first seen; otherwise the
//! rows that appeared or disappeared come out at the end of the epoch.
//!
//! State, table `rows`: key group, number of copies (null: the row is gone), and the row.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, UInt32Array};
use arrow::compute;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use crate::batch::{ChangeBatch, take_rows};
use crate::error::{Error, Result};
use crate::limits::BATCH_ROWS;
use crate::operator::{Operator, Output, Port, SnapshotKind, StatePart};
use crate::operators::{column_types, compact_weights, emit, is_table, record_batch};
use crate::plan::{Changes, PlanNode};
use crate::state::{KeyedState, NO_SLOT, SnapshotSlots};

/// `SELECT DISTINCT`: the key is the whole row, nulls are equal.
pub(super) struct Distinct {
    schema: SchemaRef,
    state_schema: SchemaRef,
    changes: Changes,
    rows: KeyedState,
    /// Copies of every row, by slot.
    counts: Vec<i64>,
    /// Whether the last epoch showed the row, by slot.
    shown: Vec<bool>,
}

impl Distinct {
    pub(super) fn new(input: &PlanNode) -> Result<Self> {
        let all: Vec<usize> = (0..input.schema.fields().len()).collect();
        let mut fields =
            vec![Field::new("key_group", DataType::UInt16, false), Field::new("copies", DataType::Int64, true)];
        fields.extend(input.schema.fields().iter().map(|field| field.as_ref().clone()));
        Ok(Self {
            schema: Arc::clone(&input.schema),
            state_schema: Arc::new(Schema::new(fields)),
            changes: input.changes,
            rows: KeyedState::new(column_types(&input.schema, &all), None)?,
            counts: Vec::new(),
            shown: Vec::new(),
        })
    }

    fn resize(&mut self) {
        self.counts.resize(self.rows.slot_count(), 0);
        self.shown.resize(self.rows.slot_count(), false);
    }

    fn remove(&mut self, slot: u32) {
        self.rows.remove(slot);
        self.counts[slot as usize] = 0;
        self.shown[slot as usize] = false;
    }
}

impl Operator for Distinct {
    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, out: &mut dyn Output) -> Result<()> {
        let encoded = self.rows.encode(batch.rows.columns(), batch.len())?;
        let upserted = self.rows.upsert(batch.rows.columns(), &encoded)?;
        self.resize();
        if self.changes == Changes::Append {
            let new: Vec<u32> = upserted.inserted.iter().map(|(slot, _)| *slot).collect();
            self.rows.touch(&new);
            for slot in new {
                (self.counts[slot as usize], self.shown[slot as usize]) = (1, true);
            }
            // What comes out is what the state holds: equal floats have equal bits.
            let rows: UInt32Array = upserted.inserted.iter().map(|(_, row)| *row).collect();
            let rows = take_rows(&batch.rows, &rows)?;
            let columns: Vec<ArrayRef> = rows.columns().iter().map(crate::state::fixed::canonical_floats).collect();
            return emit(ChangeBatch::append(record_batch(&self.schema, columns, rows.num_rows())?), out);
        }
        self.rows.touch(&upserted.slots);
        for (row, slot) in upserted.slots.iter().enumerate() {
            self.counts[*slot as usize] += batch.weight(row);
        }
        Ok(())
    }

    fn on_epoch(&mut self, out: &mut dyn Output) -> Result<()> {
        let touched = self.rows.take_touched();
        let (mut slots, mut weights) = (Vec::new(), Vec::new());
        for slot in &touched {
            let count = self.counts[*slot as usize];
            if count < 0 {
                return Err(Error::internal("a row was taken back that DISTINCT does not hold"));
            }
            let shown = std::mem::replace(&mut self.shown[*slot as usize], count > 0);
            if shown != (count > 0) {
                slots.push(*slot);
                weights.push(if count > 0 { 1 } else { -1 });
            }
        }
        for (slots, weights) in slots.chunks(BATCH_ROWS).zip(weights.chunks(BATCH_ROWS)) {
            let rows = record_batch(&self.schema, self.rows.columns(slots)?, slots.len())?;
            out.emit(ChangeBatch { rows, weights: compact_weights(weights.to_vec()) })?;
        }
        for slot in touched {
            if self.counts[slot as usize] == 0 {
                self.remove(slot);
            }
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.rows.memory_bytes() + self.counts.capacity() * size_of::<i64>() + self.shown.capacity()
    }

    fn snapshot(&mut self, kind: SnapshotKind) -> Result<Vec<StatePart>> {
        let slots = self.rows.snapshot_slots(kind);
        let SnapshotSlots { tombstones, live } = &slots;
        let all: Vec<u32> = tombstones.iter().chain(live).copied().collect();
        let counts = live.iter().map(|slot| Some(self.counts[*slot as usize]));
        let counts: Int64Array = tombstones.iter().map(|_| None).chain(counts).collect();
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.rows.key_groups(&all)), Arc::new(counts)];
        columns.extend(self.rows.columns(&all)?);
        let rows = record_batch(&self.state_schema, columns, all.len())?;
        self.rows.snapshot_taken(&slots);
        Ok(vec![StatePart { table: TABLE.into(), kind, rows }])
    }

    fn restore(&mut self, parts: Vec<StatePart>) -> Result<()> {
        for part in parts {
            if !is_table(&part, TABLE, &self.state_schema) {
                return Err(Error::data(format!("state table \"{}\" is not one of DISTINCT", part.table)));
            }
            let counts = part.rows.column(1).as_primitive::<Int64Type>();
            let gone = compute::filter_record_batch(&part.rows, &compute::is_null(counts)?)?;
            for slot in self.rows.find(&self.rows.encode(&gone.columns()[2..], gone.num_rows())?) {
                if slot != NO_SLOT {
                    self.remove(slot);
                }
            }
            let live = compute::filter_record_batch(&part.rows, &compute::is_not_null(counts)?)?;
            let encoded = self.rows.encode(&live.columns()[2..], live.num_rows())?;
            let slots = self.rows.upsert(&live.columns()[2..], &encoded)?.slots;
            self.resize();
            for (slot, count) in slots.iter().zip(live.column(1).as_primitive::<Int64Type>().values()) {
                (self.counts[*slot as usize], self.shown[*slot as usize]) = (*count, true);
            }
        }
        self.rows.restored();
        Ok(())
    }
}

/// The one table of state.
const TABLE: &str = "rows";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::operators::testing::{Collector, Subject, Texts, changes, check, input, int_schema, text};

    #[test]
    fn equals_the_set_of_rows() {
        for (seed, names) in (0..300).zip([["a", "b"], ["sa", "b"]].iter().cycle()) {
            let schema = int_schema(names);
            for kind in [Changes::Append, Changes::Retract] {
                let subject = Subject {
                    make: &|| Box::new(Distinct::new(&input(&schema, kind)).unwrap()),
                    ports: vec![(Arc::clone(&schema), kind)],
                    expected: &|held| held[0].iter().map(|row| (text(row), 1)).collect::<Texts>(),
                    hashed: vec![vec![0, 1]],
                    range: 4,
                };
                check(&subject, seed);
            }
        }
    }

    #[test]
    fn a_row_that_is_not_there_is_a_bug() {
        let schema = int_schema(&["a"]);
        let mut distinct = Distinct::new(&input(&schema, Changes::Retract)).unwrap();
        let mut out = Collector::default();
        distinct.on_batch(Port(0), changes(&schema, &[(vec![Some(1)], -1)]), &mut out).unwrap();
        assert_eq!(distinct.on_epoch(&mut out).unwrap_err().kind, crate::ErrorKind::Internal);
    }
}
