//! Groups rows by keys and keeps aggregates of every group.
//!
//! With `EMIT ON UPDATE` the net change of every touched group comes out once per epoch: the row that was
//! shown is taken back and the new one added, or nothing if they are equal. With `EMIT ON WINDOW CLOSE` a
//! group comes out once, when the watermark closes it. Without keys there is one group that is always there.
//!
//! A group whose aggregate fails has no row but an entry among the rejected ones, with the values of its keys;
//! the entry is taken back when the group heals.
//!
//! State, table `groups`: key group, keys, number of rows (null: the group is gone), and one column of bytes
//! per aggregate.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, UInt32Array, make_comparator};
use arrow::compute::{self, SortOptions};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use crate::aggregates::{AggregateSpec, AggregateStates, Update};
use crate::batch::ChangeBatch;
use crate::error::{Error, Result};
use crate::limits::BATCH_ROWS;
use crate::operator::{Operator, Output, Port, Rejected, SnapshotKind, StatePart};
use crate::operators::{column_types, compact_weights, emit, is_table, record_batch, select};
use crate::plan::{AggregateCall, Changes, ClosingKey, EmitOn, PlanNode};
use crate::state::{ClosingTime, KeyedState, NO_SLOT, SnapshotSlots};
use crate::time::Watermark;

/// `GROUP BY keys` with its aggregates.
pub(super) struct Aggregate {
    keys: Vec<usize>,
    calls: Vec<Call>,
    emit: EmitOn,
    schema: SchemaRef,
    /// The keys alone, for rejected groups.
    key_schema: SchemaRef,
    state_schema: SchemaRef,
    groups: KeyedState,
    /// Rows of every group, by slot.
    row_counts: Vec<i64>,
    /// Whether the last epoch showed the group, as a row or as a rejected entry, by slot.
    shown: Vec<bool>,
    /// What was shown of the groups that this epoch has touched so far, in the order in which it did.
    before: Vec<Results>,
}

/// One aggregate of all groups.
struct Call {
    argument: Option<usize>,
    filter: Option<usize>,
    order: Vec<usize>,
    states: AggregateStates,
}

/// What some groups show.
struct Results {
    slots: Vec<u32>,
    /// The columns of the output; those of failed groups are arbitrary.
    columns: Vec<ArrayRef>,
    /// Why a group (an index into `slots`) has no row.
    failures: BTreeMap<usize, String>,
}

impl Aggregate {
    pub(super) fn new(
        node: &PlanNode,
        input: &PlanNode,
        keys: &[usize],
        calls: &[AggregateCall],
        closing: Option<ClosingKey>,
        emit: EmitOn,
    ) -> Result<Self> {
        if emit == EmitOn::WindowClose && closing.is_none() {
            return Err(Error::invalid("EMIT ON WINDOW CLOSE needs a group key that the watermark closes"));
        }
        let calls = calls.iter().map(|call| Call::new(call, input)).collect::<Result<Vec<_>>>()?;
        let closing = closing.map(|closing| ClosingTime { key: closing.key, extent_micros: closing.extent_micros });
        let groups = KeyedState::new(column_types(&input.schema, keys), closing)?;
        let key_schema = Arc::new(Schema::new(node.schema.fields()[..keys.len()].to_vec()));
        let state_schema = state_schema(&key_schema, calls.len());
        let mut aggregate = Self {
            keys: keys.to_vec(),
            calls,
            emit,
            schema: Arc::clone(&node.schema),
            key_schema,
            state_schema,
            groups,
            row_counts: Vec::new(),
            shown: Vec::new(),
            before: Vec::new(),
        };
        if aggregate.is_global() {
            // The one group is there, and changed, from the beginning.
            let slots = aggregate.slots_of(&[], 1)?;
            aggregate.groups.touch(&slots);
        }
        Ok(aggregate)
    }

    fn is_global(&self) -> bool {
        self.keys.is_empty()
    }

    /// The slots of keys, made where there are none.
    fn slots_of(&mut self, keys: &[ArrayRef], row_count: usize) -> Result<Vec<u32>> {
        let encoded = self.groups.encode(keys, row_count)?;
        let slots = self.groups.upsert(keys, &encoded)?.slots;
        let slot_count = self.groups.slot_count();
        self.row_counts.resize(slot_count, 0);
        self.shown.resize(slot_count, false);
        for call in &mut self.calls {
            call.states.resize(slot_count);
        }
        Ok(slots)
    }

    fn results(&self, slots: Vec<u32>) -> Result<Results> {
        let mut columns = self.groups.columns(&slots)?;
        let mut failures = BTreeMap::new();
        for call in &self.calls {
            let evaluated = call.states.evaluate(&slots)?;
            columns.push(evaluated.values);
            for (index, reason) in evaluated.failures {
                failures.entry(index).or_insert(reason);
            }
        }
        Ok(Results { slots, columns, failures })
    }

    /// Whether a group is there; fails if more rows were taken back than it has.
    fn exists(&self, slot: u32) -> Result<bool> {
        match self.row_counts[slot as usize] {
            count if count < 0 => Err(Error::internal("a row was taken back from a group that does not hold it")),
            count => Ok(count > 0 || self.is_global()),
        }
    }

    fn remove(&mut self, slot: u32) {
        self.groups.remove(slot);
        self.row_counts[slot as usize] = 0;
        self.shown[slot as usize] = false;
        for call in &mut self.calls {
            call.states.reset(slot);
        }
    }

    /// Emits the net change of the touched groups and forgets those that have no rows any more.
    fn flush(&mut self, out: &mut dyn Output) -> Result<()> {
        let touched = self.groups.take_touched();
        let (mut there, mut gone) = (Vec::new(), Vec::new());
        for slot in &touched {
            if self.exists(*slot)? { there.push(*slot) } else { gone.push(*slot) }
        }
        if self.emit == EmitOn::Update {
            let before = self.concat_before()?;
            for slot in &there {
                self.shown[*slot as usize] = true;
            }
            let after = self.results(there)?;
            self.emit_difference(&touched, &before, &after, out)?;
        }
        for slot in gone {
            self.remove(slot);
        }
        Ok(())
    }

    fn concat_before(&mut self) -> Result<Results> {
        let mut parts = std::mem::take(&mut self.before);
        if parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        let mut all = Results { slots: Vec::new(), columns: Vec::new(), failures: BTreeMap::new() };
        for column in 0..if parts.is_empty() { 0 } else { self.schema.fields().len() } {
            let columns: Vec<&dyn Array> = parts.iter().map(|part| part.columns[column].as_ref()).collect();
            all.columns.push(compute::concat(&columns)?);
        }
        for part in parts {
            let start = all.slots.len();
            all.failures.extend(part.failures.into_iter().map(|(index, reason)| (start + index, reason)));
            all.slots.extend(part.slots);
        }
        Ok(all)
    }

    /// Emits what differs; the slots of both results stand in the order of `touched`.
    fn emit_difference(&self, touched: &[u32], before: &Results, after: &Results, out: &mut dyn Output) -> Result<()> {
        if before.slots.is_empty() && after.failures.is_empty() {
            return self.emit_all(&after.columns, after.slots.len(), out);
        }
        let same = Comparison::new(before, after)?;
        let mut rows = Picked::default();
        let mut rejected = Picked::default();
        let (mut old, mut new) = (0, 0);
        for slot in touched {
            let was = (before.slots.get(old) == Some(slot)).then_some(old);
            let is = (after.slots.get(new) == Some(slot)).then_some(new);
            old += usize::from(was.is_some());
            new += usize::from(is.is_some());
            if let (Some(was), Some(is)) = (was, is)
                && same.holds(before, was, after, is)
            {
                continue;
            }
            for (side, results, index, weight) in [(0, before, was, -1), (1, after, is, 1)] {
                let Some(index) = index else { continue };
                let picked = if results.failures.contains_key(&index) { &mut rejected } else { &mut rows };
                picked.rows.push((side, index));
                picked.weights.push(weight);
            }
        }
        self.emit_picked(&rows, before, after, out)?;
        self.reject_picked(&rejected, before, after, out)
    }

    fn emit_all(&self, columns: &[ArrayRef], row_count: usize, out: &mut dyn Output) -> Result<()> {
        emit(ChangeBatch::append(record_batch(&self.schema, columns.to_vec(), row_count)?), out)
    }

    fn emit_picked(&self, picked: &Picked, before: &Results, after: &Results, out: &mut dyn Output) -> Result<()> {
        for (rows, weights) in picked.rows.chunks(BATCH_ROWS).zip(picked.weights.chunks(BATCH_ROWS)) {
            let columns = interleave(before, after, self.schema.fields().len(), rows)?;
            let rows = record_batch(&self.schema, columns, rows.len())?;
            out.emit(ChangeBatch { rows, weights: compact_weights(weights.to_vec()) })?;
        }
        Ok(())
    }

    fn reject_picked(&self, picked: &Picked, before: &Results, after: &Results, out: &mut dyn Output) -> Result<()> {
        if picked.rows.is_empty() {
            return Ok(());
        }
        let columns = interleave(before, after, self.keys.len(), &picked.rows)?;
        let rows = record_batch(&self.key_schema, columns, picked.rows.len())?;
        let reason = |(side, index): &(usize, usize)| [before, after][*side].failures[index].clone();
        let batch = ChangeBatch { rows, weights: compact_weights(picked.weights.clone()) };
        out.reject(Rejected { batch, reasons: picked.rows.iter().map(reason).collect() })
    }

    /// Shows closed groups for the first and last time.
    fn emit_closed(&self, closed: &[u32], out: &mut dyn Output) -> Result<()> {
        let after = self.results(closed.to_vec())?;
        let before = Results { slots: Vec::new(), columns: Vec::new(), failures: BTreeMap::new() };
        self.emit_difference(closed, &before, &after, out)
    }
}

impl Operator for Aggregate {
    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, _out: &mut dyn Output) -> Result<()> {
        let keys = select(&batch.rows, &self.keys);
        let slots = self.slots_of(&keys, batch.len())?;
        let mut first = self.groups.touch(&slots);
        if self.emit == EmitOn::Update {
            first.retain(|slot| self.shown[*slot as usize]);
            if !first.is_empty() {
                let shown = self.results(first)?;
                self.before.push(shown);
            }
        }
        let weights = batch.weights.as_ref().map(|weights| weights.values().as_ref());
        match weights {
            None => slots.iter().for_each(|slot| self.row_counts[*slot as usize] += 1),
            Some(weights) => {
                for (slot, weight) in slots.iter().zip(weights) {
                    self.row_counts[*slot as usize] += weight;
                }
            }
        }
        for call in &mut self.calls {
            let order = select(&batch.rows, &call.order);
            call.states.update(Update {
                argument: call.argument.map(|column| batch.rows.column(column)),
                order: &order,
                filter: call.filter.map(|column| batch.rows.column(column).as_boolean()),
                groups: &slots,
                weights,
            })?;
        }
        Ok(())
    }

    fn on_watermark(&mut self, watermark: Watermark, out: &mut dyn Output) -> Result<()> {
        let closed = self.groups.close(watermark);
        if closed.is_empty() {
            return Ok(());
        }
        // What this epoch changed comes out before the state goes, and groups that are empty go first.
        self.flush(out)?;
        let closed: Vec<u32> = closed.into_iter().filter(|slot| self.row_counts[*slot as usize] > 0).collect();
        if self.emit == EmitOn::WindowClose {
            self.emit_closed(&closed, out)?;
        }
        for slot in closed {
            self.remove(slot);
        }
        Ok(())
    }

    fn on_epoch(&mut self, out: &mut dyn Output) -> Result<()> {
        self.flush(out)
    }

    fn state_bytes(&self) -> usize {
        let calls: usize = self.calls.iter().map(|call| call.states.memory_bytes()).sum();
        self.groups.memory_bytes() + self.row_counts.capacity() * size_of::<i64>() + self.shown.capacity() + calls
    }

    fn snapshot(&mut self, kind: SnapshotKind) -> Result<Vec<StatePart>> {
        let slots = self.groups.snapshot_slots(kind);
        let SnapshotSlots { tombstones, live } = &slots;
        let all: Vec<u32> = tombstones.iter().chain(live).copied().collect();
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.groups.key_groups(&all))];
        columns.extend(self.groups.columns(&all)?);
        let counts = live.iter().map(|slot| Some(self.row_counts[*slot as usize]));
        columns.push(Arc::new(tombstones.iter().map(|_| None).chain(counts).collect::<Int64Array>()));
        for call in &self.calls {
            let gone = BinaryArray::from_iter_values(tombstones.iter().map(|_| []));
            columns.push(compute::concat(&[&gone, &call.states.save(live)])?);
        }
        let rows = record_batch(&self.state_schema, columns, all.len())?;
        self.groups.snapshot_taken(&slots);
        Ok(vec![StatePart { table: TABLE.into(), kind, rows }])
    }

    fn restore(&mut self, parts: Vec<StatePart>) -> Result<()> {
        for part in &parts {
            if !is_table(part, TABLE, &self.state_schema) {
                return Err(Error::data(format!("state table \"{}\" is not one of this aggregate", part.table)));
            }
            let counts = part.rows.column(1 + self.keys.len()).as_primitive::<Int64Type>();
            let gone = compute::is_null(counts)?;
            let tombstones = compute::filter_record_batch(&part.rows, &gone)?;
            let keys = tombstones.columns()[1..=self.keys.len()].to_vec();
            for slot in self.groups.find(&self.groups.encode(&keys, tombstones.num_rows())?) {
                if slot != NO_SLOT {
                    self.remove(slot);
                }
            }
            let live = compute::filter_record_batch(&part.rows, &compute::is_not_null(counts)?)?;
            self.restore_live(&live)?;
        }
        if !parts.is_empty() {
            self.groups.restored();
        }
        Ok(())
    }
}

/// The one table of state.
const TABLE: &str = "groups";

impl Aggregate {
    fn restore_live(&mut self, rows: &arrow::array::RecordBatch) -> Result<()> {
        let slots = self.slots_of(&rows.columns()[1..=self.keys.len()], rows.num_rows())?;
        let counts = rows.column(1 + self.keys.len()).as_primitive::<Int64Type>();
        for (slot, count) in slots.iter().zip(counts.values()) {
            (self.row_counts[*slot as usize], self.shown[*slot as usize]) = (*count, true);
        }
        for (index, call) in self.calls.iter_mut().enumerate() {
            slots.iter().for_each(|slot| call.states.reset(*slot));
            call.states.merge(&slots, rows.column(2 + self.keys.len() + index).as_binary::<i32>())?;
        }
        Ok(())
    }
}

impl Call {
    fn new(call: &AggregateCall, input: &PlanNode) -> Result<Self> {
        let data_type = |column: usize| input.schema.field(column).data_type().clone();
        let order = call.order.iter().map(|key| {
            let options = SortOptions { descending: key.descending, nulls_first: key.nulls_first };
            (data_type(key.column), options)
        });
        let states = AggregateStates::new(&AggregateSpec {
            function: call.function.clone(),
            argument: call.argument.map(data_type),
            distinct: call.distinct,
            order: order.collect(),
            retractable: input.changes == Changes::Retract,
        })?;
        if states.result_type() != call.output.data_type() {
            return Err(Error::internal(format!(
                "aggregate \"{}\" is planned as {} but gives {}",
                call.output.name(),
                call.output.data_type(),
                states.result_type()
            )));
        }
        let order = call.order.iter().map(|key| key.column).collect();
        Ok(Self { argument: call.argument, filter: call.filter, order, states })
    }
}

fn state_schema(keys: &Schema, calls: usize) -> SchemaRef {
    let mut fields = vec![Field::new("key_group", DataType::UInt16, false)];
    fields.extend(
        keys.fields()
            .iter()
            .enumerate()
            .map(|(index, field)| Field::new(format!("key_{index}"), field.data_type().clone(), true)),
    );
    fields.push(Field::new("rows", DataType::Int64, true));
    fields.extend((0..calls).map(|index| Field::new(format!("aggregate_{index}"), DataType::Binary, false)));
    Arc::new(Schema::new(fields))
}

/// Rows picked from what was shown (side 0) and what is to be shown (side 1).
#[derive(Default)]
struct Picked {
    rows: Vec<(usize, usize)>,
    weights: Vec<i64>,
}

fn interleave(before: &Results, after: &Results, columns: usize, rows: &[(usize, usize)]) -> Result<Vec<ArrayRef>> {
    let column = |index: usize| -> Result<ArrayRef> {
        let after = after.columns[index].as_ref();
        match before.columns.get(index) {
            Some(before) => Ok(compute::interleave(&[before.as_ref(), after], rows)?),
            None => {
                let rows: UInt32Array = rows.iter().map(|(_, row)| *row as u32).collect();
                Ok(compute::take(after, &rows, None)?)
            }
        }
    };
    (0..columns).map(column).collect()
}

/// Compares what was shown with what is to be shown, column by column.
struct Comparison {
    columns: Vec<Box<dyn Fn(usize, usize) -> Ordering + Send + Sync>>,
}

impl Comparison {
    fn new(before: &Results, after: &Results) -> Result<Self> {
        let columns = before.columns.iter().zip(&after.columns);
        let columns = columns.map(|(before, after)| Ok(make_comparator(before, after, SortOptions::default())?));
        Ok(Self { columns: columns.collect::<Result<_>>()? })
    }

    fn holds(&self, before: &Results, was: usize, after: &Results, is: usize) -> bool {
        match (before.failures.get(&was), after.failures.get(&is)) {
            (None, None) => self.columns.iter().all(|compare| compare(was, is) == Ordering::Equal),
            (was, is) => was == is,
        }
    }
}

#[cfg(test)]
mod tests;
