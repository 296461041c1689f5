//! What the tests of the operators share: rows as text, an output that collects, and a driver that holds a
//! stateful operator against a naive recomputation.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt16Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::logical_expr::Operator as Op;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, col};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::batch::ChangeBatch;
use crate::error::Result;
use crate::operator::{KEY_GROUPS, Operator, Output, Port, Rejected, SnapshotKind, StatePart};
use crate::operators::{record_batch, select};
use crate::plan::{Changes, NodeIndex, Operation, PlanNode, RelationId};
use crate::state::key_groups;

/// A row of nullable numbers.
pub(super) type Row = Vec<Option<i64>>;
/// Rows as text with their multiplicities.
pub(super) type Texts = BTreeMap<String, i64>;

/// A schema of nullable BIGINT columns; a name that begins with `s` makes a text column.
pub(super) fn int_schema(names: &[&str]) -> SchemaRef {
    let field = |name: &&str| {
        let data_type = if name.starts_with('s') { DataType::Utf8 } else { DataType::Int64 };
        Field::new(*name, data_type, true)
    };
    Arc::new(Schema::new(names.iter().map(field).collect::<Vec<_>>()))
}

/// Rows with weights; no weights at all when every one is 1.
pub(super) fn changes(schema: &SchemaRef, rows: &[(Row, i64)]) -> ChangeBatch {
    let column = |index: usize| -> ArrayRef {
        let values = rows.iter().map(|(row, _)| row[index]);
        match schema.field(index).data_type() {
            DataType::Utf8 => Arc::new(values.map(|v| v.map(|v| v.to_string())).collect::<StringArray>()),
            _ => Arc::new(values.collect::<Int64Array>()),
        }
    };
    let columns = (0..schema.fields().len()).map(column).collect();
    let batch = record_batch(schema, columns, rows.len()).unwrap();
    if rows.iter().all(|(_, weight)| *weight == 1) {
        return ChangeBatch::append(batch);
    }
    ChangeBatch::weighted(batch, rows.iter().map(|(_, weight)| *weight).collect::<Vec<_>>().into())
}

/// The text of a row, columns parted by `|`.
pub(super) fn text(row: &[Option<i64>]) -> String {
    let texts: Vec<String> = row.iter().map(|v| v.map_or("NULL".to_owned(), |v| v.to_string())).collect();
    texts.join("|")
}

fn batch_texts(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap()).collect();
    let row = |row: usize| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|");
    (0..batch.num_rows()).map(row).collect()
}

/// Keeps everything that comes out.
#[derive(Default)]
pub(super) struct Collector {
    pub(super) batches: Vec<ChangeBatch>,
    pub(super) rejects: Vec<Rejected>,
}

impl Output for Collector {
    fn emit(&mut self, batch: ChangeBatch) -> Result<()> {
        assert!(!batch.is_empty(), "nothing is not handed on");
        self.batches.push(batch);
        Ok(())
    }

    fn reject(&mut self, rows: Rejected) -> Result<()> {
        assert_eq!(rows.batch.len(), rows.reasons.len());
        self.rejects.push(rows);
        Ok(())
    }
}

impl Collector {
    /// The net rows, sorted.
    pub(super) fn rows(&self) -> Vec<(String, i64)> {
        let mut net = Texts::new();
        self.add_rows_to(&mut net);
        net.into_iter().collect()
    }

    /// The net rejected rows with their reasons, sorted.
    pub(super) fn rejected(&self) -> Vec<(String, i64)> {
        let mut net = Texts::new();
        for rejected in &self.rejects {
            for (row, text) in batch_texts(&rejected.batch.rows).into_iter().enumerate() {
                add(&mut net, format!("{text}: {}", rejected.reasons[row]), rejected.batch.weight(row));
            }
        }
        net.into_iter().collect()
    }

    fn add_rows_to(&self, net: &mut Texts) {
        for batch in &self.batches {
            for (row, text) in batch_texts(&batch.rows).into_iter().enumerate() {
                add(net, text, batch.weight(row));
            }
        }
    }
}

/// Adds to a multiset.
pub(super) fn add(net: &mut Texts, text: String, weight: i64) {
    let count = net.entry(text).or_default();
    *count += weight;
    if *count == 0 {
        net.retain(|_, count| *count != 0);
    }
}

/// A leaf with this schema.
pub(super) fn input(schema: &SchemaRef, changes: Changes) -> PlanNode {
    let operation = Operation::Relation { id: RelationId(1), name: "t".into() };
    PlanNode { operation, inputs: vec![], schema: Arc::clone(schema), changes, event_time: None }
}

/// A node over leaves.
pub(super) fn node(operation: Operation, inputs: usize, schema: &SchemaRef) -> PlanNode {
    let inputs = (0..inputs).map(NodeIndex).collect();
    PlanNode { operation, inputs, schema: Arc::clone(schema), changes: Changes::Retract, event_time: None }
}

/// A column as an expression.
pub(super) fn column(schema: &SchemaRef, name: &str) -> Arc<dyn PhysicalExpr> {
    col(name, schema).unwrap()
}

/// A binary expression that fails on overflow.
pub(super) fn checked(left: Arc<dyn PhysicalExpr>, op: Op, right: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
    Arc::new(BinaryExpr::new(left, op, right).with_fail_on_overflow(true))
}

/// A stateful operator and what it must compute.
pub(super) struct Subject<'a> {
    /// Makes it anew.
    pub(super) make: &'a dyn Fn() -> Box<dyn Operator>,
    /// Schema of every port and whether rows are taken back there.
    pub(super) ports: Vec<(SchemaRef, Changes)>,
    /// The output for the rows that every port holds.
    pub(super) expected: &'a dyn Fn(&[Vec<Row>]) -> Texts,
    /// The columns of every port that rows are dealt out by; none where a single subtask must run.
    pub(super) hashed: Vec<Vec<usize>>,
    /// Values are drawn from `0..range`, and sometimes null.
    pub(super) range: i64,
}

/// Runs random changes through the subject, with random batch cuts, snapshots and restores, each time at
/// another parallelism; after every epoch its accumulated output must be what is expected.
pub(super) fn check(subject: &Subject<'_>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut subtasks = Subtasks::start(subject, &mut random);
    let mut held: Vec<Vec<Row>> = vec![Vec::new(); subject.ports.len()];
    let mut shown = Texts::new();
    let mut parts: Vec<StatePart> = Vec::new();
    for epoch in 0..random.random_range(2..9) {
        let mut out = Collector::default();
        for _ in 0..random.random_range(0..5) {
            let port = random.random_range(0..subject.ports.len());
            let (schema, kind) = &subject.ports[port];
            let rows = random_changes(&mut held[port], schema.fields().len(), *kind, subject.range, &mut random);
            if !rows.is_empty() {
                subtasks.on_batch(port, &changes(schema, &rows), &mut out);
            }
        }
        for (_, operator) in &mut subtasks.running {
            operator.on_epoch(&mut out).unwrap();
        }
        out.add_rows_to(&mut shown);
        assert_eq!(shown, (subject.expected)(&held), "seed {seed}, epoch {epoch}");
        if random.random_bool(0.5) {
            let kind =
                if parts.is_empty() || random.random_bool(0.3) { SnapshotKind::Full } else { SnapshotKind::Delta };
            if kind == SnapshotKind::Full {
                parts.clear();
            }
            for (_, operator) in &mut subtasks.running {
                parts.extend(operator.snapshot(kind).unwrap());
            }
            if random.random_bool(0.5) {
                subtasks = Subtasks::start(subject, &mut random);
                subtasks.restore(&parts);
            }
        }
    }
}

/// The subject as it runs in parallel, every subtask with its key groups.
struct Subtasks {
    running: Vec<(Range<u16>, Box<dyn Operator>)>,
    /// By port.
    hashed: Vec<Vec<usize>>,
}

impl Subtasks {
    fn start(subject: &Subject<'_>, random: &mut StdRng) -> Self {
        let count = random.random_range(1..4);
        // What can't be spread runs at the first subtask, which still holds only its own key groups.
        let running = if subject.hashed.iter().any(Vec::is_empty) { 1 } else { count };
        let bound = |index: u16| index * KEY_GROUPS / count;
        let subtask = |index: u16| (bound(index)..bound(index + 1), (subject.make)());
        Self { running: (0..running).map(subtask).collect(), hashed: subject.hashed.clone() }
    }

    fn on_batch(&mut self, port: usize, batch: &ChangeBatch, out: &mut Collector) {
        let keys = select(&batch.rows, &self.hashed[port]);
        if keys.is_empty() {
            return self.running[0].1.on_batch(Port(port as u8), batch.clone(), out).unwrap();
        }
        let groups = key_groups(&keys).unwrap();
        for (range, operator) in &mut self.running {
            let own: BooleanArray = groups.iter().map(|group| Some(range.contains(group))).collect();
            let own = batch.filter(&own).unwrap();
            if !own.is_empty() {
                operator.on_batch(Port(port as u8), own, out).unwrap();
            }
        }
    }

    /// Gives parts back table by table, in order, cut to the key groups of every subtask.
    fn restore(&mut self, parts: &[StatePart]) {
        let mut tables: BTreeMap<&str, Vec<&StatePart>> = BTreeMap::new();
        for part in parts {
            assert_eq!(part.rows.schema().field(0).name(), "key_group");
            tables.entry(&part.table).or_default().push(part);
        }
        for (range, operator) in &mut self.running {
            let cut = |part: &&StatePart| {
                let groups = part.rows.column(0).as_primitive::<UInt16Type>().values();
                let own: BooleanArray = groups.iter().map(|group| Some(range.contains(group))).collect();
                StatePart { rows: filter_record_batch(&part.rows, &own).unwrap(), ..(*part).clone() }
            };
            operator.restore(tables.values().flatten().map(cut).collect()).unwrap();
        }
    }
}

fn random_changes(
    held: &mut Vec<Row>,
    columns: usize,
    kind: Changes,
    range: i64,
    random: &mut StdRng,
) -> Vec<(Row, i64)> {
    let mut rows = Vec::new();
    for _ in 0..random.random_range(0..12) {
        if kind == Changes::Retract && !held.is_empty() && random.random_bool(0.45) {
            let row = held.swap_remove(random.random_range(0..held.len()));
            rows.push((row, -1));
            continue;
        }
        let row: Row =
            (0..columns).map(|_| (!random.random_bool(0.15)).then(|| random.random_range(0..range))).collect();
        let weight = if kind == Changes::Retract && random.random_bool(0.1) { 2 } else { 1 };
        held.extend((0..weight).map(|_| row.clone()));
        rows.push((row, weight));
    }
    rows
}
