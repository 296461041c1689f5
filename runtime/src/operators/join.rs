//! Joins two changing relations on equal keys: inner, left, semi and anti.
//!
//! Each side remembers its rows by key. A batch of one side meets what the other side holds, and is then
//! remembered itself, so that every pair of rows is met exactly once, with the product of their weights. For
//! left, semi and anti joins every left row knows how many right rows match it: what it shows beside pairs
//! changes only when that number leaves or reaches zero.
//!
//! A null key equals nothing: such rows are never remembered, and left ones come out at once where the kind
//! of join shows rows without a match. A residual condition that fails on a pair rejects the pair.
//!
//! State, tables `left` and `right`: key group, multiplicity (in deltas: its change), and the row. Rows that
//! the watermark has closed leave the state without a word in the deltas: what an older part brings back can
//! match nothing and is closed again by the next watermark. Matches are counted anew after a restore.

use std::sync::Arc;

use arrow::array::new_null_array;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt16Array, UInt32Array};
use arrow::compute;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;

use crate::batch::{ChangeBatch, take_rows};
use crate::error::{Error, Result};
use crate::expr::RowExpressions;
use crate::limits::BATCH_ROWS;
use crate::operator::{Operator, Output, Port, Rejected, SnapshotKind, StatePart};
use crate::operators::{column_types, compact_weights, emit, is_table, record_batch, select};
use crate::plan::{Changes, ClosingJoin, JoinKind, PlanNode};
use crate::state::{Added, ClosingTime, EntryId, KeyTable, KeyedState, RowStore, Upserted, fixed};
use crate::time::Watermark;

/// Positions of the sides, which are also their ports.
const LEFT: usize = 0;
const RIGHT: usize = 1;

/// `left JOIN right ON keys AND residual`.
pub(super) struct Join {
    kind: JoinKind,
    schema: SchemaRef,
    /// Left columns, then right columns: what the residual sees.
    pair_schema: SchemaRef,
    residual: Option<RowExpressions>,
    sides: [Side; 2],
    /// The key columns of right input rows, for a semi or anti join without a residual condition: all that
    /// matters of a key is whether it is there, so that the right side remembers keys and not rows, and left
    /// rows need no counts of their own.
    existence: Option<Vec<usize>>,
}

/// What is remembered of one input.
struct Side {
    table: &'static str,
    keys: Vec<usize>,
    state_schema: SchemaRef,
    slots: KeyedState,
    rows: RowStore,
}

/// Rows of a batch with rows that the other side holds.
#[derive(Default)]
struct Pairs {
    rows: Vec<u32>,
    entries: Vec<EntryId>,
}

/// Pairs that satisfy the residual condition.
struct Matched {
    pairs: Pairs,
    /// Their columns, where somebody needed them.
    columns: Option<RecordBatch>,
}

/// Pairs that the residual condition fails on.
struct Failed {
    pairs: Pairs,
    columns: RecordBatch,
    reasons: Vec<String>,
}

impl Join {
    pub(super) fn new(
        node: &PlanNode,
        inputs: [&PlanNode; 2],
        kind: JoinKind,
        on: &[(usize, usize)],
        residual: Option<&Arc<dyn PhysicalExpr>>,
        closing: Option<ClosingJoin>,
    ) -> Result<Self> {
        let (left_keys, right_keys): (Vec<usize>, Vec<usize>) = on.iter().copied().unzip();
        let types = column_types(&inputs[LEFT].schema, &left_keys);
        if types != column_types(&inputs[RIGHT].schema, &right_keys) {
            return Err(Error::internal("the key columns of a join have different types"));
        }
        // A row goes when neither side can bring or take back anything at its time.
        let closing = closing.map(|closing| ClosingTime {
            key: closing.pair,
            extent_micros: closing.left_extent_micros.max(closing.right_extent_micros),
        });
        let left = Side::new("left", inputs[LEFT], left_keys, closing)?;
        let existence = residual.is_none() && matches!(kind, JoinKind::LeftSemi | JoinKind::LeftAnti);
        let right = match existence {
            true => Side::of_keys("right", inputs[RIGHT], &right_keys, closing)?,
            false => Side::new("right", inputs[RIGHT], right_keys.clone(), closing)?,
        };
        let existence = existence.then_some(right_keys);
        let fields = inputs.iter().flat_map(|input| input.schema.fields().iter().cloned());
        let pair_schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let residual =
            residual.map(|residual| RowExpressions::new(vec![Arc::clone(residual)], Arc::clone(&pair_schema)));
        Ok(Self { kind, schema: Arc::clone(&node.schema), pair_schema, residual, sides: [left, right], existence })
    }

    fn emits_pairs(&self) -> bool {
        matches!(self.kind, JoinKind::Inner | JoinKind::Left)
    }

    /// Whether a left row must know how many right rows match it when it comes.
    fn counts_matches(&self) -> bool {
        self.kind != JoinKind::Inner
    }

    /// Whether it must also know later on.
    fn keeps_matches(&self) -> bool {
        self.counts_matches() && self.existence.is_none()
    }

    /// The rows with a complete key. Left ones without are shown here if they ever are.
    fn with_complete_key(&self, side: usize, batch: ChangeBatch, out: &mut dyn Output) -> Result<ChangeBatch> {
        let keys = self.sides[side].keys.iter().map(|column| batch.rows.column(*column));
        let nulls = keys.filter(|key| key.null_count() > 0).map(|key| compute::is_null(key));
        let Some(incomplete) = nulls.reduce(|a, b| compute::or(&a?, &b?)).transpose()? else {
            return Ok(batch);
        };
        if side == LEFT && matches!(self.kind, JoinKind::Left | JoinKind::LeftAnti) {
            let alone = batch.filter(&incomplete)?;
            self.emit_left(&alone.rows, |row| alone.weight(row), out)?;
        }
        batch.filter(&compute::not(&incomplete)?)
    }

    /// Calls `f` with the pairs of a batch and what the other side holds, about a batch at a time.
    fn for_each_pairs(
        &mut self,
        side: usize,
        rows: &RecordBatch,
        mut f: impl FnMut(&mut Self, Pairs) -> Result<()>,
    ) -> Result<()> {
        let keys = select(rows, &self.sides[side].keys);
        let other = &self.sides[1 - side];
        let slots = other.slots.find(&other.slots.encode(&keys, rows.num_rows())?);
        let mut pairs = Pairs::default();
        for (row, slot) in slots.into_iter().enumerate() {
            self.sides[1 - side].rows.for_each(slot, |entry| {
                pairs.rows.push(row as u32);
                pairs.entries.push(entry);
            });
            if pairs.rows.len() >= BATCH_ROWS {
                f(self, std::mem::take(&mut pairs))?;
            }
        }
        if pairs.rows.is_empty() { Ok(()) } else { f(self, pairs) }
    }

    /// The columns of pairs, the left ones first.
    fn pair_columns(&self, side: usize, rows: &RecordBatch, pairs: &Pairs) -> Result<RecordBatch> {
        let indices = UInt32Array::from(pairs.rows.clone());
        let own = take_rows(rows, &indices)?;
        let other = self.sides[1 - side].rows.gather(&pairs.entries)?;
        let (left, right) = if side == LEFT { (own, other) } else { (other, own) };
        let columns = left.columns().iter().chain(right.columns()).cloned().collect();
        record_batch(&self.pair_schema, columns, pairs.rows.len())
    }

    /// The pairs that satisfy the residual, and those on which it fails, with reasons.
    fn check_residual(&self, side: usize, rows: &RecordBatch, pairs: Pairs) -> Result<(Matched, Option<Failed>)> {
        let Some(residual) = &self.residual else {
            let columns = match self.emits_pairs() {
                true => Some(self.pair_columns(side, rows, &pairs)?),
                false => None,
            };
            return Ok((Matched { pairs, columns }, None));
        };
        let columns = self.pair_columns(side, rows, &pairs)?;
        let evaluated = residual.evaluate(&columns)?;
        let holds = evaluated.columns[0].as_boolean();
        let held = (0..holds.len()).filter(|index| holds.is_valid(*index) && holds.value(*index));
        let held: UInt32Array = match &evaluated.succeeded {
            None => held.map(|index| index as u32).collect(),
            Some(rows) => held.map(|index| rows.value(index)).collect(),
        };
        let failed = if evaluated.failures.is_empty() {
            None
        } else {
            let failed: UInt32Array = evaluated.failures.iter().map(|(index, _)| *index as u32).collect();
            let reasons = evaluated.failures.into_iter().map(|(_, reason)| reason).collect();
            let columns = take_rows(&columns, &failed)?;
            Some(Failed { pairs: pairs.pick(&failed), columns, reasons })
        };
        let columns = take_rows(&columns, &held)?;
        Ok((Matched { pairs: pairs.pick(&held), columns: Some(columns) }, failed))
    }

    /// The weights of pairs of a batch.
    fn pair_weights(&self, side: usize, batch: &ChangeBatch, pairs: &Pairs) -> Vec<i64> {
        let other = &self.sides[1 - side].rows;
        let weight = |(row, entry): (&u32, &EntryId)| batch.weight(*row as usize) * other.weight(*entry);
        pairs.rows.iter().zip(&pairs.entries).map(weight).collect()
    }

    /// Emits pairs and rejected pairs, and gives back those that match.
    fn meet(&mut self, side: usize, batch: &ChangeBatch, pairs: Pairs, out: &mut dyn Output) -> Result<Pairs> {
        let (Matched { pairs, columns }, failed) = self.check_residual(side, &batch.rows, pairs)?;
        if let Some(Failed { pairs: failed, columns: rows, reasons }) = failed {
            let weights = compact_weights(self.pair_weights(side, batch, &failed));
            out.reject(Rejected { batch: ChangeBatch { rows, weights }, reasons })?;
        }
        if let Some(columns) = columns.filter(|_| self.emits_pairs()) {
            let rows = record_batch(&self.schema, columns.columns().to_vec(), columns.num_rows())?;
            emit(ChangeBatch { rows, weights: compact_weights(self.pair_weights(side, batch, &pairs)) }, out)?;
        }
        Ok(pairs)
    }

    /// Emits left rows by themselves, with nulls on the right where the output has right columns.
    fn emit_left(&self, rows: &RecordBatch, weight: impl Fn(usize) -> i64, out: &mut dyn Output) -> Result<()> {
        let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
        for field in &self.schema.fields()[columns.len()..] {
            columns.push(new_null_array(field.data_type(), rows.num_rows()));
        }
        let weights = (0..rows.num_rows()).map(weight).collect();
        let rows = record_batch(&self.schema, columns, rows.num_rows())?;
        emit(ChangeBatch { rows, weights: compact_weights(weights) }, out)
    }

    fn on_left(&mut self, batch: &ChangeBatch, out: &mut dyn Output) -> Result<Vec<i64>> {
        let mut matches = vec![0; if self.counts_matches() { batch.len() } else { 0 }];
        self.for_each_pairs(LEFT, &batch.rows, |join, pairs| {
            let pairs = join.meet(LEFT, batch, pairs, out)?;
            if join.counts_matches() {
                for (row, entry) in pairs.rows.iter().zip(&pairs.entries) {
                    matches[*row as usize] += join.sides[RIGHT].rows.weight(*entry);
                }
            }
            Ok(())
        })?;
        let shown_when_matched = match self.kind {
            JoinKind::Inner => return Ok(matches),
            JoinKind::Left | JoinKind::LeftAnti => false,
            JoinKind::LeftSemi => true,
        };
        let shown: BooleanArray = matches.iter().map(|matches| Some((*matches > 0) == shown_when_matched)).collect();
        let shown = batch.filter(&shown)?;
        self.emit_left(&shown.rows, |row| shown.weight(row), out)?;
        Ok(matches)
    }

    fn on_right(&mut self, batch: &ChangeBatch, out: &mut dyn Output) -> Result<()> {
        self.for_each_pairs(RIGHT, &batch.rows, |join, pairs| {
            let pairs = join.meet(RIGHT, batch, pairs, out)?;
            let matched_shows = match join.kind {
                JoinKind::Inner => return Ok(()),
                JoinKind::Left | JoinKind::LeftAnti => -1,
                JoinKind::LeftSemi => 1,
            };
            let left = &mut join.sides[LEFT].rows;
            let (mut turned, mut weights) = (Vec::new(), Vec::new());
            for (row, entry) in pairs.rows.iter().zip(pairs.entries) {
                let before = left.matches(entry);
                let after = before + batch.weight(*row as usize);
                left.set_matches(entry, after);
                if (before > 0) != (after > 0) {
                    turned.push(entry);
                    weights.push(left.weight(entry) * if after > 0 { matched_shows } else { -matched_shows });
                }
            }
            let rows = join.sides[LEFT].rows.gather(&turned)?;
            join.emit_left(&rows, |row| weights[row], out)
        })
    }

    /// Keys come or go on the right: the left rows under those that appear or disappear turn.
    fn on_right_existence(&mut self, batch: &ChangeBatch, out: &mut dyn Output) -> Result<()> {
        let (rows, appeared) = self.sides[RIGHT].turning_keys(batch)?;
        let appearing_shows = if self.kind == JoinKind::LeftSemi { 1 } else { -1 };
        self.for_each_pairs(RIGHT, &rows, |join, pairs| {
            let left = &join.sides[LEFT].rows;
            let sign = |row: u32| if appeared[row as usize] { appearing_shows } else { -appearing_shows };
            let turned = pairs.rows.iter().zip(&pairs.entries);
            let weights: Vec<i64> = turned.map(|(row, entry)| left.weight(*entry) * sign(*row)).collect();
            join.emit_left(&left.gather(&pairs.entries)?, |row| weights[row], out)
        })
    }

    /// Counts the matches of every left row anew.
    fn count_matches(&mut self) -> Result<()> {
        let all = self.sides[LEFT].rows.all();
        for entries in all.chunks(BATCH_ROWS) {
            let rows = self.sides[LEFT].rows.gather(entries)?;
            let mut matches = vec![0; entries.len()];
            self.for_each_pairs(LEFT, &rows, |join, pairs| {
                let (Matched { pairs, .. }, _) = join.check_residual(LEFT, &rows, pairs)?;
                for (row, entry) in pairs.rows.iter().zip(&pairs.entries) {
                    matches[*row as usize] += join.sides[RIGHT].rows.weight(*entry);
                }
                Ok(())
            })?;
            for (entry, matches) in entries.iter().zip(matches) {
                self.sides[LEFT].rows.set_matches(*entry, matches);
            }
        }
        Ok(())
    }
}

impl Operator for Join {
    fn on_batch(&mut self, port: Port, batch: ChangeBatch, out: &mut dyn Output) -> Result<()> {
        let side = usize::from(port.0);
        let batch = match &self.existence {
            Some(columns) if side == RIGHT => batch.with_rows(self.sides[RIGHT].keys_alone(&batch.rows, columns)?),
            _ => batch,
        };
        let batch = self.with_complete_key(side, batch, out)?;
        if batch.is_empty() {
            return Ok(());
        }
        let weights = batch.weights.as_ref().map(|weights| weights.values().as_ref());
        if side == LEFT {
            let matches = self.on_left(&batch, out)?;
            let matches = self.keeps_matches().then_some(matches.as_slice());
            self.sides[LEFT].remember(&batch.rows, weights, matches)
        } else {
            if self.existence.is_some() {
                self.on_right_existence(&batch, out)?;
            } else {
                self.on_right(&batch, out)?;
            }
            self.sides[RIGHT].remember(&batch.rows, weights, None)
        }
    }

    fn on_watermark(&mut self, watermark: Watermark, _out: &mut dyn Output) -> Result<()> {
        for side in &mut self.sides {
            for slot in side.slots.close(watermark) {
                side.rows.drop_slot(slot);
                side.slots.remove(slot);
            }
        }
        Ok(())
    }

    fn on_epoch(&mut self, _out: &mut dyn Output) -> Result<()> {
        match self.sides.iter().find(|side| side.rows.has_negative()) {
            None => Ok(()),
            Some(side) => Err(Error::internal(format!(
                "a row was taken back that the {} side of a join does not hold",
                side.table
            ))),
        }
    }

    fn state_bytes(&self) -> usize {
        self.sides.iter().map(|side| side.slots.memory_bytes() + side.rows.memory_bytes()).sum()
    }

    fn snapshot(&mut self, kind: SnapshotKind) -> Result<Vec<StatePart>> {
        self.sides.iter_mut().map(|side| side.snapshot(kind)).collect()
    }

    fn restore(&mut self, parts: Vec<StatePart>) -> Result<()> {
        for part in &parts {
            let side = self.sides.iter_mut().find(|side| is_table(part, side.table, &side.state_schema));
            let side =
                side.ok_or_else(|| Error::data(format!("state table \"{}\" is not one of this join", part.table)))?;
            let columns: Vec<usize> = (2..part.rows.num_columns()).collect();
            let weights = part.rows.column(1).as_primitive::<Int64Type>().values();
            side.remember(&part.rows.project(&columns)?, Some(weights), None)?;
        }
        for side in &mut self.sides {
            side.rows.restored();
        }
        if self.keeps_matches() { self.count_matches() } else { Ok(()) }
    }
}

impl Side {
    fn new(table: &'static str, input: &PlanNode, keys: Vec<usize>, closing: Option<ClosingTime>) -> Result<Self> {
        let mut fields =
            vec![Field::new("key_group", DataType::UInt16, false), Field::new("weight", DataType::Int64, false)];
        fields.extend(input.schema.fields().iter().map(|field| field.as_ref().clone()));
        Ok(Self {
            table,
            slots: KeyedState::new(column_types(&input.schema, &keys), closing)?,
            keys,
            state_schema: Arc::new(Schema::new(fields)),
            rows: RowStore::new(Arc::clone(&input.schema), input.changes == Changes::Retract)?,
        })
    }

    /// A side that remembers keys and how often each is there.
    fn of_keys(table: &'static str, input: &PlanNode, keys: &[usize], closing: Option<ClosingTime>) -> Result<Self> {
        let schema = Arc::new(input.schema.project(keys)?);
        // Also over append-only input equal keys share one entry.
        let input = PlanNode { schema, changes: Changes::Retract, ..input.clone() };
        Self::new(table, &input, (0..keys.len()).collect(), closing)
    }

    /// The keys of input rows, equal ones in equal bits.
    fn keys_alone(&self, rows: &RecordBatch, columns: &[usize]) -> Result<RecordBatch> {
        let keys = select(rows, columns).iter().map(fixed::canonical_floats).collect();
        record_batch(self.rows.schema(), keys, rows.num_rows())
    }

    /// The keys of a batch that it makes appear (true) or disappear, each once.
    fn turning_keys(&self, batch: &ChangeBatch) -> Result<(RecordBatch, Vec<bool>)> {
        let keys = select(&batch.rows, &self.keys);
        let mut different = KeyTable::new(keys.iter().map(|key| key.data_type().clone()).collect())?;
        let encoded = different.encode(&keys, batch.len())?;
        let Upserted { slots, inserted } = different.upsert(&encoded);
        let mut changes = vec![0; inserted.len()];
        for (row, slot) in slots.iter().enumerate() {
            changes[*slot as usize] += batch.weight(row);
        }
        let held = self.slots.find(&encoded);
        let (mut rows, mut appeared) = (Vec::new(), Vec::new());
        for (slot, row) in inserted {
            let mut before = 0;
            self.rows.for_each(held[row as usize], |entry| before += self.rows.weight(entry));
            let after = before + changes[slot as usize];
            if (before > 0) != (after > 0) {
                rows.push(row);
                appeared.push(after > 0);
            }
        }
        Ok((take_rows(&batch.rows, &UInt32Array::from(rows))?, appeared))
    }

    /// Adds rows to the state, or takes them back.
    fn remember(&mut self, rows: &RecordBatch, weights: Option<&[i64]>, matches: Option<&[i64]>) -> Result<()> {
        let keys = select(rows, &self.keys);
        let encoded = self.slots.encode(&keys, rows.num_rows())?;
        let slots = self.slots.upsert(&keys, &encoded)?.slots;
        self.rows.resize(self.slots.slot_count());
        let added = Added { rows, slots: &slots, weights, matches };
        let mut emptied = self.rows.add(added, |slot| self.slots.key_group(slot))?;
        emptied.sort_unstable();
        emptied.dedup();
        for slot in emptied {
            if self.rows.is_slot_empty(slot) {
                self.slots.remove(slot);
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, kind: SnapshotKind) -> Result<StatePart> {
        let stored = self.rows.snapshot(kind, |slot| self.slots.key_group(slot))?;
        let row_count = stored.weights.len();
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(UInt16Array::from(stored.key_groups)), Arc::new(Int64Array::from(stored.weights))];
        columns.extend(stored.rows.columns().iter().cloned());
        let rows = record_batch(&self.state_schema, columns, row_count)?;
        Ok(StatePart { table: self.table.into(), kind, rows })
    }
}

impl Pairs {
    fn pick(&self, indices: &UInt32Array) -> Self {
        let at = indices.values().iter().map(|index| *index as usize);
        Self { rows: at.clone().map(|at| self.rows[at]).collect(), entries: at.map(|at| self.entries[at]).collect() }
    }
}

#[cfg(test)]
mod tests;
