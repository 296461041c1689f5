//! The first rows in an order, per partition.
//!
//! A partition holds its rows in the order asked for; ties are settled by the values of the whole row, so that
//! what is shown is a function of the multiset of rows. At the end of an epoch the window of a touched
//! partition is compared with the one that was shown, and the difference comes out. Over append-only input a
//! partition forgets what has fallen behind its last visible row.
//!
//! State, table `rows`: key group, multiplicity (in deltas: its change), and the row.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt16Array};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};

use crate::batch::ChangeBatch;
use crate::error::{Error, Result};
use crate::limits::BATCH_ROWS;
use crate::operator::{Operator, Output, Port, SnapshotKind, StatePart};
use crate::operators::{column_types, compact_weights, emit, is_table, record_batch, select};
use crate::plan::{Changes, PlanNode, SortKey};
use crate::state::KeyedState;

/// `ORDER BY order LIMIT limit OFFSET offset`, per partition.
pub(super) struct TopN {
    schema: SchemaRef,
    state_schema: SchemaRef,
    partition: Vec<usize>,
    order: Vec<usize>,
    /// The columns of the order in their directions, then all columns of the row.
    converter: RowConverter,
    offset: i64,
    limit: Option<i64>,
    append_only: bool,
    slots: KeyedState,
    /// By slot.
    partitions: Vec<Partition>,
    /// What was shown of the partitions that this epoch has touched, in that order.
    before: Vec<(u32, Window)>,
    /// Rows whose multiplicity may differ from what the snapshots say.
    changed: Vec<(u32, Arc<[u8]>)>,
    /// Length of `changed` at which it is worth a compaction.
    changed_max: usize,
    /// Rows whose multiplicity is below zero: none at the end of an epoch.
    negative: usize,
}

/// The rows of a partition by their encoded order.
#[derive(Default)]
struct Partition {
    rows: BTreeMap<Arc<[u8]>, Copies>,
    /// Rows that are there, copies counted.
    count: i64,
}

/// How often a row is there, and how often according to the snapshots.
#[derive(Clone, Copy, Default)]
struct Copies {
    now: i64,
    stored: i64,
}

/// The visible rows with their visible copies, in order.
type Window = Vec<(Arc<[u8]>, i64)>;

impl TopN {
    pub(super) fn new(
        input: &PlanNode,
        partition: &[usize],
        order: &[SortKey],
        offset: usize,
        limit: Option<usize>,
    ) -> Result<Self> {
        let schema = Arc::clone(&input.schema);
        let mut sort: Vec<SortField> = Vec::new();
        for key in order {
            let options = SortOptions { descending: key.descending, nulls_first: key.nulls_first };
            sort.push(SortField::new_with_options(schema.field(key.column).data_type().clone(), options));
        }
        sort.extend(schema.fields().iter().map(|field| SortField::new(field.data_type().clone())));
        if !RowConverter::supports_fields(&sort) {
            return Err(Error::invalid("rows with a column of this type can't be ordered"));
        }
        let mut fields =
            vec![Field::new("key_group", DataType::UInt16, false), Field::new("weight", DataType::Int64, false)];
        fields.extend(schema.fields().iter().map(|field| field.as_ref().clone()));
        let as_count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        Ok(Self {
            slots: KeyedState::new(column_types(&schema, partition), None)?,
            state_schema: Arc::new(Schema::new(fields)),
            schema,
            partition: partition.to_vec(),
            order: order.iter().map(|key| key.column).collect(),
            converter: RowConverter::new(sort)?,
            offset: as_count(offset),
            limit: limit.map(as_count),
            append_only: input.changes == Changes::Append,
            partitions: Vec::new(),
            before: Vec::new(),
            changed: Vec::new(),
            changed_max: CHANGED_MIN,
            negative: 0,
        })
    }

    /// Rows that can ever be visible over append-only input; `None` when all can.
    fn reach(&self) -> Option<i64> {
        self.limit.map(|limit| self.offset.saturating_add(limit))
    }

    fn encode(&self, rows: &RecordBatch) -> Result<Rows> {
        let mut columns = select(rows, &self.order);
        columns.extend(rows.columns().iter().cloned());
        Ok(self.converter.convert_columns(&columns)?)
    }

    /// The rows behind encoded ones.
    fn decode<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        let mut columns = self.converter.convert_rows(rows.map(|row| parser.parse(row)))?;
        Ok(columns.split_off(self.order.len()))
    }

    fn slots_of(&mut self, rows: &RecordBatch) -> Result<Vec<u32>> {
        let keys = select(rows, &self.partition);
        let encoded = self.slots.encode(&keys, rows.num_rows())?;
        let slots = self.slots.upsert(&keys, &encoded)?.slots;
        self.partitions.resize_with(self.slots.slot_count(), Partition::default);
        Ok(slots)
    }

    /// Adds copies of a row to a partition.
    fn add(&mut self, slot: u32, row: &[u8], weight: i64) {
        let partition = &mut self.partitions[slot as usize];
        if self.append_only
            && let Some(reach) = self.limit.map(|limit| self.offset.saturating_add(limit))
            && partition.count >= reach
            && partition.rows.last_key_value().is_none_or(|(last, _)| row > last.as_ref())
        {
            return;
        }
        partition.count += weight;
        let (key, copies) = match partition.rows.get_key_value(row) {
            Some((key, copies)) => (Arc::clone(key), *copies),
            None => (row.into(), Copies::default()),
        };
        let now = copies.now + weight;
        self.negative = self.negative + usize::from(now < 0) - usize::from(copies.now < 0);
        if now == 0 && copies.stored == 0 {
            partition.rows.remove(&key);
        } else {
            partition.rows.insert(Arc::clone(&key), Copies { now, ..copies });
        }
        if copies.now == copies.stored {
            self.note_changed(slot, key);
        }
    }

    /// Notes that a row's multiplicity departs from what the snapshots say. Rows that went and came again stand
    /// in the list more than once: without checkpoints it would grow for ever.
    fn note_changed(&mut self, slot: u32, row: Arc<[u8]>) {
        self.changed.push((slot, row));
        if self.changed.len() > self.changed_max {
            self.changed.sort_unstable();
            self.changed.dedup();
            let partitions = &self.partitions;
            self.changed.retain(|(slot, row)| partitions[*slot as usize].rows.contains_key(row));
            self.changed_max = CHANGED_MIN.max(2 * self.changed.len());
        }
    }

    /// Forgets rows of an append-only partition that can never be visible again.
    fn prune(&mut self, slot: u32) {
        let Some(reach) = self.reach().filter(|_| self.append_only) else { return };
        while self.partitions[slot as usize].count > reach {
            let partition = &mut self.partitions[slot as usize];
            // Rows that only the snapshots still hold are passed over; they go with the next one.
            let last = partition.rows.iter_mut().rev().find(|(_, copies)| copies.now > 0);
            let (key, copies) = last.expect("a count above zero comes from rows");
            let surplus = (partition.count - reach).min(copies.now);
            let (key, unchanged) = (Arc::clone(key), copies.now == copies.stored);
            copies.now -= surplus;
            let vanished = copies.now == 0 && copies.stored == 0;
            partition.count -= surplus;
            if vanished {
                partition.rows.remove(&key);
            } else if unchanged {
                self.note_changed(slot, key);
            }
        }
    }

    fn window(&self, slot: u32) -> Window {
        let mut window = Window::new();
        let mut skipped = 0;
        let mut visible = 0;
        for (row, copies) in &self.partitions[slot as usize].rows {
            let left_out = copies.now.min(self.offset - skipped).max(0);
            skipped += left_out;
            let room = self.limit.map_or(i64::MAX, |limit| limit - visible);
            let shown = (copies.now - left_out).min(room);
            if shown > 0 {
                visible += shown;
                window.push((Arc::clone(row), shown));
            }
            if self.limit.is_some_and(|limit| visible >= limit) {
                break;
            }
        }
        window
    }

    fn emit_rows(&self, rows: &[(Arc<[u8]>, i64)], out: &mut dyn Output) -> Result<()> {
        for rows in rows.chunks(BATCH_ROWS) {
            let columns = self.decode(rows.iter().map(|(row, _)| row.as_ref()))?;
            let weights = compact_weights(rows.iter().map(|(_, weight)| *weight).collect());
            let rows = record_batch(&self.schema, columns, rows.len())?;
            emit(ChangeBatch { rows, weights }, out)?;
        }
        Ok(())
    }

    /// Gives the slots of partitions back that hold nothing any more.
    fn remove_empty(&mut self, slot: u32) {
        if self.partitions[slot as usize].rows.is_empty() {
            self.slots.remove(slot);
        }
    }
}

/// What must be added to `before` to become `after`; both are in order.
fn difference(before: Window, after: Window, changes: &mut Window) {
    let mut net: BTreeMap<Arc<[u8]>, i64> = BTreeMap::new();
    for (row, copies) in before {
        *net.entry(row).or_default() -= copies;
    }
    for (row, copies) in after {
        *net.entry(row).or_default() += copies;
    }
    // What goes comes first: a reader never sees more rows than the limit.
    let (gone, come): (Window, Window) = net.into_iter().filter(|(_, copies)| *copies != 0).partition(|(_, n)| *n < 0);
    changes.extend(gone);
    changes.extend(come);
}

impl Operator for TopN {
    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, out: &mut dyn Output) -> Result<()> {
        if self.limit.is_none() && self.offset == 0 {
            return emit(batch, out);
        }
        let slots = self.slots_of(&batch.rows)?;
        for slot in self.slots.touch(&slots) {
            let window = self.window(slot);
            self.before.push((slot, window));
        }
        let rows = self.encode(&batch.rows)?;
        for (row, slot) in slots.iter().enumerate() {
            let weight = batch.weight(row);
            if self.append_only && weight < 0 {
                return Err(Error::internal("an append-only edge carries a negative weight"));
            }
            self.add(*slot, rows.row(row).data(), weight);
            self.prune(*slot);
        }
        Ok(())
    }

    fn on_epoch(&mut self, out: &mut dyn Output) -> Result<()> {
        if self.negative > 0 {
            return Err(Error::internal("a row was taken back that a top-N does not hold"));
        }
        self.slots.take_touched();
        let before = std::mem::take(&mut self.before);
        let mut changes = Window::new();
        for (slot, before) in before {
            let after = self.window(slot);
            difference(before, after, &mut changes);
            self.remove_empty(slot);
        }
        self.emit_rows(&changes, out)
    }

    fn state_bytes(&self) -> usize {
        let rows = self.partitions.iter().flat_map(|partition| partition.rows.keys());
        let rows: usize = rows.map(|row| row.len() + ROW_BYTES).sum();
        let lists = self.partitions.capacity() * size_of::<Partition>()
            + self.changed.capacity() * size_of::<(u32, Arc<[u8]>)>();
        self.slots.memory_bytes() + rows + lists
    }

    fn snapshot(&mut self, kind: SnapshotKind) -> Result<Vec<StatePart>> {
        let changed = std::mem::take(&mut self.changed);
        let (mut key_groups, mut weights, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        if kind == SnapshotKind::Full {
            for (slot, partition) in self.partitions.iter().enumerate() {
                for (row, copies) in partition.rows.iter().filter(|(_, copies)| copies.now > 0) {
                    key_groups.push(self.slots.key_group(slot as u32));
                    weights.push(copies.now);
                    rows.push(Arc::clone(row));
                }
            }
        }
        for (slot, row) in changed {
            let partition = &mut self.partitions[slot as usize];
            let Some(copies) = partition.rows.get_mut(&row) else { continue };
            if kind == SnapshotKind::Delta && copies.now != copies.stored {
                key_groups.push(self.slots.key_group(slot));
                weights.push(copies.now - copies.stored);
                rows.push(Arc::clone(&row));
            }
            copies.stored = copies.now;
            if copies.now == 0 {
                partition.rows.remove(&row);
                self.remove_empty(slot);
            }
        }
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(UInt16Array::from(key_groups)), Arc::new(Int64Array::from(weights))];
        columns.extend(self.decode(rows.iter().map(AsRef::as_ref))?);
        let rows = record_batch(&self.state_schema, columns, rows.len())?;
        Ok(vec![StatePart { table: TABLE.into(), kind, rows }])
    }

    fn restore(&mut self, parts: Vec<StatePart>) -> Result<()> {
        for part in parts {
            if !is_table(&part, TABLE, &self.state_schema) {
                return Err(Error::data(format!("state table \"{}\" is not one of a top-N", part.table)));
            }
            let columns: Vec<usize> = (2..part.rows.num_columns()).collect();
            let rows = part.rows.project(&columns)?;
            let slots = self.slots_of(&rows)?;
            let weights = part.rows.column(1).as_primitive::<Int64Type>().values();
            let encoded = self.encode(&rows)?;
            // Nothing is pruned before all parts are there: a delta may take back what a base holds.
            let append_only = std::mem::replace(&mut self.append_only, false);
            for (row, slot) in slots.iter().enumerate() {
                self.add(*slot, encoded.row(row).data(), weights[row]);
            }
            self.append_only = append_only;
        }
        if self.negative > 0 {
            return Err(Error::data("the state of a top-N takes back rows that it does not hold"));
        }
        for (slot, row) in std::mem::take(&mut self.changed) {
            if let Some(copies) = self.partitions[slot as usize].rows.get_mut(&row) {
                copies.stored = copies.now;
            }
        }
        Ok(())
    }
}

/// A list of changed rows below this length is not worth a compaction.
const CHANGED_MIN: usize = 1024;

/// Bytes that a row takes beside its own: its place in the tree, and the counts of the allocation.
const ROW_BYTES: usize = 64;

/// The one table of state.
const TABLE: &str = "rows";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::operators::testing::{Collector, Row, Subject, Texts, add, changes, check, input, int_schema, text};

    fn expected(rows: &[Row], partition: &[usize], order: &[SortKey], offset: usize, limit: Option<usize>) -> Texts {
        let mut partitions: BTreeMap<Row, Vec<&Row>> = BTreeMap::new();
        for row in rows {
            partitions.entry(partition.iter().map(|column| row[*column]).collect()).or_default().push(row);
        }
        let place = |value: Option<i64>, key: &SortKey| match value {
            None if key.nulls_first => (0, 0),
            None => (2, 0),
            Some(value) => (1, if key.descending { -value } else { value }),
        };
        let mut net = Texts::new();
        for mut rows in partitions.into_values() {
            // Ties: the whole row, nulls first.
            rows.sort_by_key(|row| (order.iter().map(|key| place(row[key.column], key)).collect::<Vec<_>>(), *row));
            for row in rows.into_iter().skip(offset).take(limit.unwrap_or(usize::MAX)) {
                add(&mut net, text(row), 1);
            }
        }
        net
    }

    #[test]
    fn equals_sorting() {
        for seed in 0..150 {
            let schema = int_schema(&["k", "v", "w"]);
            let descending = seed % 2 == 0;
            let order = [SortKey { column: 1, descending, nulls_first: seed % 3 == 0 }];
            for kind in [Changes::Append, Changes::Retract] {
                for partition in [vec![], vec![0]] {
                    for (offset, limit) in [(0, Some(3)), (2, Some(2)), (1, None), (0, None), (0, Some(0))] {
                        let subject = Subject {
                            make: &|| {
                                let input = input(&schema, kind);
                                Box::new(TopN::new(&input, &partition, &order, offset, limit).unwrap())
                            },
                            ports: vec![(Arc::clone(&schema), kind)],
                            expected: &|held| expected(&held[0], &partition, &order, offset, limit),
                            hashed: vec![partition.clone()],
                            range: 4,
                        };
                        check(&subject, seed);
                    }
                }
            }
        }
    }

    #[test]
    fn append_only_partitions_keep_what_can_be_seen() {
        let schema = int_schema(&["v"]);
        let order = [SortKey { column: 0, descending: true, nulls_first: false }];
        let mut top = TopN::new(&input(&schema, Changes::Append), &[], &order, 1, Some(2)).unwrap();
        let mut out = Collector::default();
        let rows: Vec<(Row, i64)> = (0..1000).map(|v| (vec![Some(v)], 1)).collect();
        top.on_batch(Port(0), changes(&schema, &rows), &mut out).unwrap();
        top.on_epoch(&mut out).unwrap();
        assert_eq!(out.rows(), vec![("997".to_owned(), 1), ("998".to_owned(), 1)]);
        assert_eq!(top.partitions[0].rows.len(), 3);
    }

    #[test]
    fn a_row_that_is_not_there_is_a_bug() {
        let schema = int_schema(&["v"]);
        let mut top = TopN::new(&input(&schema, Changes::Retract), &[], &[], 0, Some(1)).unwrap();
        let mut out = Collector::default();
        top.on_batch(Port(0), changes(&schema, &[(vec![Some(1)], -1)]), &mut out).unwrap();
        assert_eq!(top.on_epoch(&mut out).unwrap_err().kind, crate::ErrorKind::Internal);
    }
}
