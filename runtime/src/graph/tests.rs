//! Graphs from the outside: scripted sources, table commits, and what readers see; with restarts, failures,
//! fills and joins, at parallelism 1 and 3.

#![allow(clippy::unwrap_used)]

mod following;
mod outside;
mod temporary;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, lit};
use tokio::sync::Notify;

use super::*;
use crate::plan::{
    AggregateCall, AggregateFunction, Changes, ClosingKey, EmitOn, NodeIndex, Operation, PlanNode, WatermarkSpec,
};
use crate::relation::RelationStore;
use crate::source::{SourceBatch, SourceEvent, SourceReader, SplitRange};
use crate::storage::{Record, RowsRecord, Storage};

const TABLE: RelationId = RelationId(1);
const SOURCE: RelationId = RelationId(2);
const VIEW: RelationId = RelationId(10);
/// Windows over the source.
const WINDOWS: RelationId = RelationId(11);
const SECOND: i64 = 1_000_000;

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Stamp {
        Stamp(0)
    }
}

/// Rows `(k, v, ts)`.
fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("v", DataType::Int64, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ]))
}

type Row = (i64, i64, i64);

fn rows(rows: &[Row]) -> RecordBatch {
    let column = |pick: fn(&Row) -> i64| rows.iter().map(pick);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(column(|row| row.0))),
        Arc::new(Int64Array::from_iter_values(column(|row| row.1))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(column(|row| row.2 * SECOND))),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// A source whose splits are vectors that a test appends to.
#[derive(Default)]
struct Script {
    splits: Mutex<BTreeMap<String, Vec<Row>>>,
    grown: Notify,
    bounded: bool,
}

impl Script {
    fn with(splits: &[(&str, &[Row])], bounded: bool) -> Arc<Self> {
        let splits = splits.iter().map(|(id, rows)| (id.to_string(), rows.to_vec())).collect();
        Arc::new(Self { splits: Mutex::new(splits), grown: Notify::new(), bounded })
    }

    fn push(&self, split: &str, rows: &[Row]) {
        self.splits.lock().unwrap().get_mut(split).unwrap().extend(rows);
        self.grown.notify_waiters();
    }

    fn described(&self) -> Vec<Split> {
        let ids: Vec<String> = self.splits.lock().unwrap().keys().cloned().collect();
        ids.into_iter().map(|id| Split { id: SplitId(id), start: Position(0), incarnation: String::new() }).collect()
    }
}

struct ScriptSource(Arc<Script>);

#[async_trait]
impl Source for ScriptSource {
    async fn splits(&self) -> Result<Vec<Split>> {
        Ok(self.0.described())
    }

    async fn ends(&self) -> Result<BTreeMap<SplitId, Position>> {
        let splits = self.0.splits.lock().unwrap();
        Ok(splits.iter().map(|(id, rows)| (SplitId(id.clone()), Position(rows.len() as u64))).collect())
    }

    async fn open(&self, ranges: Vec<SplitRange>, _columns: Vec<usize>) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(ScriptReader { script: Arc::clone(&self.0), ranges }))
    }

    fn bounded(&self) -> bool {
        self.0.bounded
    }
}

struct ScriptReader {
    script: Arc<Script>,
    ranges: Vec<SplitRange>,
}

impl ScriptReader {
    /// Up to three rows of the first split that has some.
    fn step(&mut self) -> Option<SourceEvent> {
        let splits = self.script.splits.lock().unwrap();
        for at in 0..self.ranges.len() {
            let range = &mut self.ranges[at];
            let all = &splits[&range.split.id.0];
            let end = range.until.map_or(all.len(), |until| until.0 as usize);
            let from = range.from.0 as usize;
            let to = end.min(from + 3);
            if from < to {
                range.from = Position(to as u64);
                return Some(SourceEvent::Batch(SourceBatch {
                    split: range.split.id.clone(),
                    rows: rows(&all[from..to]),
                    positions: (from..to).map(|position| Position(position as u64)).collect(),
                    raw: None,
                    rejected: Vec::new(),
                    next: Position(to as u64),
                }));
            }
            if range.until.is_some() || self.script.bounded {
                let range = self.ranges.remove(at);
                return Some(SourceEvent::SplitEnded(range.split.id));
            }
        }
        None
    }
}

#[async_trait]
impl SourceReader for ScriptReader {
    async fn next(&mut self) -> Result<Option<SourceEvent>> {
        loop {
            let script = Arc::clone(&self.script);
            let grown = script.grown.notified();
            tokio::pin!(grown);
            grown.as_mut().enable();
            if let Some(event) = self.step() {
                return Ok(Some(event));
            }
            if self.ranges.is_empty() {
                return Ok(None);
            }
            grown.await;
        }
    }
}

fn input(id: RelationId, watermark: Option<WatermarkSpec>, changes: Changes) -> InputRelation {
    InputRelation {
        id,
        name: format!("input_{}", id.0),
        schema: schema(),
        physical_columns: 3,
        generated: Vec::new(),
        watermark,
        changes,
        primary_key: Vec::new(),
        text_lengths: Vec::new(),
        second_digits: Vec::new(),
    }
}

fn table(id: RelationId) -> InputDeployment {
    let origin = InputOrigin::Table { version: RelationVersion::empty(schema()), watermark: Watermark::NONE };
    InputDeployment { relation: input(id, None, Changes::Retract), origin }
}

/// The watermark is the event time itself.
fn source(id: RelationId, script: &Arc<Script>) -> InputDeployment {
    let watermark = WatermarkSpec {
        column: 2,
        expression: Arc::new(Column::new("ts", 2)),
        allowed_lateness_micros: 0,
        idle_timeout_micros: None,
    };
    let origin = InputOrigin::Source {
        source: Arc::new(ScriptSource(Arc::clone(script))),
        splits: script.described(),
        label: Some("script".to_string()),
    };
    InputDeployment { relation: input(id, Some(watermark), Changes::Append), origin }
}

fn leaf(id: RelationId, changes: Changes) -> PlanNode {
    PlanNode {
        operation: Operation::Relation { id, name: format!("input_{}", id.0) },
        inputs: Vec::new(),
        schema: schema(),
        changes,
        event_time: None,
    }
}

/// `SELECT k, count(*), sum(v) FROM input GROUP BY k`.
fn per_key(id: RelationId, reads: RelationId, changes: Changes) -> ViewDeployment {
    let fields = [("k", DataType::Int64), ("n", DataType::Int64), ("total", DataType::Decimal128(38, 0))];
    let fields: Vec<Field> = fields.into_iter().map(|(name, kind)| Field::new(name, kind, true)).collect();
    let call = |function, argument, field: &Field| AggregateCall {
        function,
        argument,
        distinct: false,
        filter: None,
        order: Vec::new(),
        output: Arc::new(field.clone()),
    };
    let aggregate = Operation::Aggregate {
        keys: vec![0],
        aggregates: vec![
            call(AggregateFunction::Count, None, &fields[1]),
            call(AggregateFunction::Sum, Some(1), &fields[2]),
        ],
        closing: None,
        emit: EmitOn::Update,
    };
    let root = PlanNode {
        operation: aggregate,
        inputs: vec![NodeIndex(0)],
        schema: Arc::new(Schema::new(fields)),
        changes: Changes::Retract,
        event_time: None,
    };
    let dataflow = Dataflow { nodes: vec![leaf(reads, changes), root] };
    ViewDeployment { id, name: format!("view_{}", id.0), dataflow, key: vec![0], sink: None }
}

/// `SELECT window_start, count(*) FROM tumble(source, ts, 10 s) GROUP BY window_start EMIT ON WINDOW CLOSE`.
fn per_window(id: RelationId, reads: RelationId) -> ViewDeployment {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let mut windowed: Vec<Field> = schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    windowed.push(Field::new("window_start", time.clone(), false));
    windowed.push(Field::new("window_end", time.clone(), false));
    let window = PlanNode {
        operation: Operation::Window {
            time_column: 2,
            size_micros: 10 * SECOND,
            slide_micros: 10 * SECOND,
            offset_micros: 0,
        },
        inputs: vec![NodeIndex(0)],
        schema: Arc::new(Schema::new(windowed)),
        changes: Changes::Append,
        event_time: None,
    };
    let count = AggregateCall {
        function: AggregateFunction::Count,
        argument: None,
        distinct: false,
        filter: None,
        order: Vec::new(),
        output: Arc::new(Field::new("n", DataType::Int64, true)),
    };
    let root = PlanNode {
        operation: Operation::Aggregate {
            keys: vec![3],
            aggregates: vec![count],
            closing: Some(ClosingKey { key: 0, extent_micros: 10 * SECOND }),
            emit: EmitOn::WindowClose,
        },
        inputs: vec![NodeIndex(1)],
        schema: Arc::new(Schema::new(vec![
            Field::new("window_start", time, false),
            Field::new("n", DataType::Int64, true),
        ])),
        changes: Changes::Append,
        event_time: None,
    };
    let dataflow = Dataflow { nodes: vec![leaf(reads, Changes::Append), window, root] };
    ViewDeployment { id, name: format!("view_{}", id.0), dataflow, key: Vec::new(), sink: None }
}

/// `SELECT 1 / v FROM input`: fails on v = 0.
fn divided(id: RelationId, reads: RelationId) -> ViewDeployment {
    let expression: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(
        lit(100_i64),
        datafusion::logical_expr::Operator::Divide,
        Arc::new(Column::new("v", 1)),
    ));
    let root = PlanNode {
        operation: Operation::Project { expressions: vec![expression] },
        inputs: vec![NodeIndex(0)],
        schema: Arc::new(Schema::new(vec![Field::new("q", DataType::Int64, true)])),
        changes: Changes::Retract,
        event_time: None,
    };
    let dataflow = Dataflow { nodes: vec![leaf(reads, Changes::Retract), root] };
    ViewDeployment { id, name: format!("view_{}", id.0), dataflow, key: Vec::new(), sink: None }
}

/// The rows of a relation, sorted, as text.
fn shown(version: &RelationVersion) -> Vec<String> {
    let mut shown = Vec::new();
    for batch in version.batches() {
        let batch = batch.unwrap();
        shown.extend((0..batch.num_rows()).map(|row| pump::row_text(&batch, row)));
    }
    shown.sort();
    shown
}

struct World {
    storage: Arc<Storage>,
    term: u64,
    slots: Slots,
    parallelism: usize,
    head: RelationStore,
}

impl World {
    async fn new(parallelism: usize) -> Self {
        Self::over("memory://", parallelism).await
    }

    async fn over(storage: &str, parallelism: usize) -> Self {
        let storage = Storage::open(storage).await.unwrap();
        let term = storage.recover().await.unwrap().term;
        let head = RelationStore::new(schema(), Vec::new()).unwrap();
        Self { storage, term, slots: Slots::start(parallelism), parallelism, head }
    }

    fn config(&self, id: u64) -> GraphConfig {
        GraphConfig {
            id: GraphId(id),
            term: self.term,
            slots: self.slots.clone(),
            parallelism: self.parallelism,
            memory: StateMemory::new(usize::MAX),
            checkpoint_interval_micros: None,
            clock: Arc::new(FixedClock),
            storage: Arc::clone(&self.storage),
            tokio: tokio::runtime::Handle::current(),
        }
    }

    fn start(&self, inputs: Vec<InputDeployment>, views: Vec<ViewDeployment>) -> Graph {
        Graph::start(self.config(1), inputs, views, None)
    }

    /// A graph of a view over the table, and another of windows over a source with that script: both run.
    async fn start_two(&self) -> (Graph, Graph, Arc<Script>) {
        let graph = self.start(vec![table(TABLE)], vec![per_key(VIEW, TABLE, Changes::Retract)]);
        let script = Script::with(&[("a", &[(1, 1, 3), (1, 1, 12)])], false);
        let other =
            Graph::start(self.config(2), vec![source(SOURCE, &script)], vec![per_window(WINDOWS, SOURCE)], None);
        deadline(graph.wait_running(VIEW)).await.unwrap();
        deadline(other.wait_running(WINDOWS)).await.unwrap();
        (graph, other, script)
    }

    async fn log(&self, relation: RelationId, changes: &[ChangeBatch]) -> LogPosition {
        let record = RowsRecord { relation, late: false, changes: changes.to_vec(), stored: None, watermark: None };
        self.storage.append(vec![Record::Rows(record)]).await.unwrap()
    }

    /// Commits changes of the table and waits until they are visible.
    async fn commit(&mut self, graph: &Graph, changes: &[(Row, i64)]) -> Arc<Published> {
        let batch = ChangeBatch::weighted(
            rows(&changes.iter().map(|(row, _)| *row).collect::<Vec<_>>()),
            Int64Array::from_iter_values(changes.iter().map(|(_, weight)| *weight)),
        );
        let changes = self.head.apply(&[batch]).unwrap();
        let position = self.log(TABLE, &changes).await;
        let change = TableChange {
            relation: TABLE,
            changes,
            late: vec![],
            version: self.head.version(),
            watermark: Watermark::NONE,
        };
        graph.commit(TableCommit { position, tables: vec![change] });
        deadline(graph.wait_for(position)).await.unwrap()
    }
}

async fn deadline<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("within a minute")
}

fn multi<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

#[test]
fn a_view_follows_a_table() {
    for parallelism in [1, 3] {
        multi(async {
            let mut world = World::new(parallelism).await;
            let graph = world.start(vec![table(TABLE)], vec![per_key(VIEW, TABLE, Changes::Retract)]);
            deadline(graph.wait_running(VIEW)).await.unwrap();
            let published = world.commit(&graph, &[((1, 10, 0), 1), ((1, 5, 0), 1), ((2, 7, 0), 1)]).await;
            assert_eq!(shown(&published.relations[&VIEW]), ["(1, 2, 15)", "(2, 1, 7)"]);
            let published = world.commit(&graph, &[((1, 10, 0), -1), ((2, 7, 0), -1)]).await;
            assert_eq!(shown(&published.relations[&VIEW]), ["(1, 1, 5)"]);
            assert_eq!(shown(&published.relations[&TABLE]).len(), 1, "table and view are of one epoch");
            graph.stop().await;
        });
    }
}

#[test]
fn windows_close_and_late_rows_are_kept() {
    for parallelism in [1, 3] {
        multi(async {
            let world = World::new(parallelism).await;
            let script = Script::with(&[("a", &[(1, 1, 3), (1, 1, 12), (1, 1, 4), (1, 1, 25)])], false);
            let graph = world.start(vec![source(SOURCE, &script)], vec![per_window(VIEW, SOURCE)]);
            deadline(graph.wait_running(VIEW)).await.unwrap();
            let published = deadline(graph.flush()).await.unwrap();
            assert_eq!(shown(&published.relations[&VIEW]), ["(1970-01-01T00:00:00, 1)", "(1970-01-01T00:00:10, 1)"]);
            assert_eq!(shown(&published.late[&SOURCE]), ["(1, 1, 1970-01-01T00:00:04)"]);
            let status = &published.splits[&SOURCE][&SplitId("a".to_string())];
            assert_eq!((status.read, status.accepted, status.late, status.rejected), (4, 3, 1, 0));
            script.push("a", &[(1, 1, 30), (1, 1, 31)]);
            let published = deadline(graph.flush()).await.unwrap();
            assert_eq!(shown(&published.relations[&VIEW]).len(), 3);
            graph.stop().await;
        });
    }
}

#[test]
fn a_bounded_source_closes_every_window() {
    multi(async {
        let world = World::new(1).await;
        let script = Script::with(&[("a", &[(1, 1, 3), (1, 1, 5)]), ("b", &[(1, 1, 4), (2, 1, 11)])], true);
        let graph = world.start(vec![source(SOURCE, &script)], vec![per_window(VIEW, SOURCE)]);
        deadline(graph.wait_running(VIEW)).await.unwrap();
        deadline(graph.wait_ended()).await.unwrap();
        let published = graph.published();
        assert_eq!(shown(&published.relations[&VIEW]), ["(1970-01-01T00:00:00, 3)", "(1970-01-01T00:00:10, 1)"]);
        assert_eq!(published.watermarks[&SOURCE], Watermark::END);
        graph.stop().await;
    });
}

#[test]
fn a_new_view_is_filled_while_its_table_changes() {
    for parallelism in [1, 3] {
        multi(async {
            let mut world = World::new(parallelism).await;
            let graph = world.start(vec![table(TABLE)], Vec::new());
            let many: Vec<(Row, i64)> = (0..50_000).map(|at| ((at % 7, at, 0), 1)).collect();
            world.commit(&graph, &many).await;
            graph.add_view(per_key(VIEW, TABLE, Changes::Retract)).await.unwrap();
            for at in 0..20 {
                world.commit(&graph, &[((at, at * 1000 + at, 1), 1), ((at % 7, at, 0), -1)]).await;
            }
            deadline(graph.wait_running(VIEW)).await.unwrap();
            let published = world.commit(&graph, &[((100, 1, 1), 1)]).await;
            let counts: i64 = published.relations[&VIEW]
                .batches()
                .map(|batch| batch.unwrap().column(1).as_primitive::<Int64Type>().values().iter().sum::<i64>())
                .sum();
            assert_eq!(counts, 50_000 + 1);
            assert_eq!(published.relations[&TABLE].rows, 50_001);
            graph.stop().await;
        });
    }
}

#[test]
fn a_second_view_of_a_source_catches_up() {
    multi(async {
        let world = World::new(1).await;
        let first: Vec<Row> = (0..1000).map(|at| (at % 5, 1, at)).collect();
        let script = Script::with(&[("a", &first), ("b", &[])], false);
        let graph = world.start(vec![source(SOURCE, &script)], vec![per_key(VIEW, SOURCE, Changes::Append)]);
        deadline(graph.wait_running(VIEW)).await.unwrap();
        deadline(graph.flush()).await.unwrap();
        let second = RelationId(11);
        graph.add_view(per_key(second, SOURCE, Changes::Append)).await.unwrap();
        let more: Vec<Row> = (1000..1500).map(|at| (at % 5, 1, at)).collect();
        script.push("a", &more);
        deadline(graph.wait_running(second)).await.unwrap();
        script.push("b", &[(9, 1, 5), (9, 1, 6)]);
        let published = deadline(graph.flush()).await.unwrap();
        assert_eq!(shown(&published.relations[&second]), shown(&published.relations[&VIEW]));
        assert_eq!(published.relations[&VIEW].rows, 6);
        assert_eq!(published.rejected[&SOURCE].rows, 0, "the second reader records nothing again");
        graph.stop().await;
    });
}

#[test]
fn a_restart_goes_on_from_the_checkpoint() {
    for (before, after) in [(1, 1), (1, 3), (3, 1)] {
        multi(async {
            let mut world = World::new(before).await;
            let script = Script::with(&[("a", &[(1, 1, 3), (1, 1, 12)])], false);
            let graph = world.start(
                vec![source(SOURCE, &script)],
                vec![per_window(VIEW, SOURCE), per_key(RelationId(11), SOURCE, Changes::Append)],
            );
            deadline(graph.wait_running(VIEW)).await.unwrap();
            deadline(graph.wait_running(RelationId(11))).await.unwrap();
            deadline(graph.flush()).await.unwrap();
            deadline(graph.checkpoint()).await.unwrap();
            script.push("a", &[(2, 5, 13)]);
            deadline(graph.flush()).await.unwrap();
            deadline(graph.checkpoint()).await.unwrap();
            script.push("a", &[(2, 6, 14)]);
            deadline(graph.flush()).await.unwrap();
            graph.stop().await;
            let checkpoint = graph.last_checkpoint().unwrap();
            world.parallelism = after;
            world.slots = Slots::start(after);
            script.push("a", &[(1, 1, 25)]);
            let graph = Graph::start(
                world.config(1),
                vec![source(SOURCE, &script)],
                vec![per_window(VIEW, SOURCE), per_key(RelationId(11), SOURCE, Changes::Append)],
                Some(checkpoint),
            );
            deadline(graph.wait_running(VIEW)).await.unwrap();
            let published = deadline(graph.flush()).await.unwrap();
            assert_eq!(shown(&published.relations[&VIEW]), ["(1970-01-01T00:00:00, 1)", "(1970-01-01T00:00:10, 3)"]);
            assert_eq!(shown(&published.relations[&RelationId(11)]), ["(1, 3, 3)", "(2, 2, 11)"]);
            graph.stop().await;
        });
    }
}

#[test]
fn refused_rows_follow_their_rows() {
    multi(async {
        let mut world = World::new(1).await;
        let graph = world.start(vec![table(TABLE)], vec![divided(VIEW, TABLE)]);
        deadline(graph.wait_running(VIEW)).await.unwrap();
        let published = world.commit(&graph, &[((1, 0, 0), 1), ((1, 50, 0), 1)]).await;
        assert_eq!(shown(&published.relations[&VIEW]), ["(2)"]);
        assert_eq!(shown(&published.rejected[&VIEW]), ["(Project, division by zero, (1, 0, 1970-01-01T00:00:00))"]);
        let published = world.commit(&graph, &[((1, 0, 0), -1)]).await;
        assert_eq!(shown(&published.rejected[&VIEW]), Vec::<String>::new());
        graph.stop().await;
    });
}

#[test]
fn a_failed_graph_goes_back_to_what_the_log_holds() {
    multi(async {
        let mut world = World::new(1).await;
        let graph = world.start(vec![table(TABLE)], vec![per_key(VIEW, TABLE, Changes::Retract)]);
        deadline(graph.wait_running(VIEW)).await.unwrap();
        world.commit(&graph, &[((1, 1, 0), 1)]).await;
        // A retraction that nothing justifies breaks invariant 6 at every attempt: the log does not hold it, so
        // the graph heals by restarting; the row that was never there is never seen.
        let bad = ChangeBatch::weighted(rows(&[(5, 5, 5)]), Int64Array::from(vec![-1]));
        let position = world.log(RelationId(999), &[ChangeBatch::append(rows(&[]))]).await;
        let change = TableChange {
            relation: TABLE,
            changes: vec![bad],
            late: vec![],
            version: world.head.version(),
            watermark: Watermark::NONE,
        };
        graph.commit(TableCommit { position, tables: vec![change] });
        let mut states = graph.shared.state.subscribe();
        deadline(states.wait_for(|state| matches!(state, GraphState::Restarting { .. }))).await.unwrap();
        assert_eq!(graph.failures(), 1);
        deadline(graph.wait_for(position)).await.unwrap();
        deadline(graph.wait_running(VIEW)).await.unwrap();
        graph.remove(vec![VIEW]).await.unwrap();
        assert!(graph.view_state(VIEW).is_none());
        graph.stop().await;
    });
}

#[test]
fn a_graph_that_stands_as_failed_goes_on_without_the_view_that_failed_it() {
    multi(async {
        let mut world = World::new(1).await;
        let graph = world.start(vec![table(TABLE)], vec![per_key(VIEW, TABLE, Changes::Retract)]);
        deadline(graph.wait_running(VIEW)).await.unwrap();
        world.commit(&graph, &[((1, 1, 0), 1)]).await;
        deadline(graph.checkpoint()).await.unwrap();
        // The log holds a change that the view can't take, behind its checkpoint: every attempt fails.
        let bad = vec![ChangeBatch::weighted(rows(&[(5, 5, 5)]), Int64Array::from(vec![-1]))];
        let position = world.log(TABLE, &bad).await;
        let (version, watermark) = (world.head.version(), Watermark::NONE);
        let change = TableChange { relation: TABLE, changes: bad, late: vec![], version, watermark };
        graph.commit(TableCommit { position, tables: vec![change] });
        let mut states = graph.shared.state.subscribe();
        deadline(states.wait_for(|state| matches!(state, GraphState::Failed { .. }))).await.unwrap();
        assert!(graph.wait_for(LogPosition(position.0 + 1)).await.is_err());
        deadline(graph.remove(vec![VIEW])).await.unwrap();
        deadline(states.wait_for(|state| *state == GraphState::Running)).await.unwrap();
        let published = world.commit(&graph, &[((2, 2, 0), 1)]).await;
        assert_eq!(published.relations[&TABLE].rows, 2);
        graph.stop().await;
    });
}

#[test]
fn a_view_that_can_not_be_filled_says_why() {
    multi(async {
        let world = World::new(1).await;
        let graph = world.start(vec![table(TABLE)], vec![]);
        let mut view = per_window(VIEW, TABLE);
        if let Operation::Window { size_micros, .. } = &mut view.dataflow.nodes[1].operation {
            *size_micros = 0;
        }
        deadline(graph.add_view(view)).await.unwrap();
        let error = deadline(graph.wait_running(VIEW)).await.unwrap_err();
        assert!(
            matches!(graph.view_state(VIEW), Some(ViewState::Failed { reason }) if reason.contains(&error.message))
        );
        assert_eq!((graph.state(), graph.failures()), (GraphState::Running, 0));
        deadline(graph.remove(vec![VIEW])).await.unwrap();
        assert!(graph.view_state(VIEW).is_none());
        graph.stop().await;
    });
}

#[test]
fn two_graphs_become_one() {
    multi(async {
        let mut world = World::new(1).await;
        let (graph, other, script) = world.start_two().await;
        world.commit(&graph, &[((1, 1, 0), 1)]).await;
        deadline(other.flush()).await.unwrap();
        deadline(graph.absorb(other)).await.unwrap();
        script.push("a", &[(1, 1, 22)]);
        let published = world.commit(&graph, &[((1, 4, 0), 1)]).await;
        assert_eq!(shown(&published.relations[&VIEW]), ["(1, 2, 5)"]);
        let published = deadline(graph.flush()).await.unwrap();
        assert_eq!(shown(&published.relations[&WINDOWS]).len(), 2);
        graph.stop().await;
    });
}
