//! The oracle: a lowered view, run over random changes by the runtime's operators, holds at the end of every
//! epoch what the batch engine answers for the same query over the rows that are there.
//!
//! A failure prints the seed; `ORACLE_SEED` runs that one alone, `ORACLE_SEEDS` that many.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::util::display::array_value_to_string;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use futures::TryStreamExt;
use millstream_planner::batch::BatchRuntime;
use millstream_planner::bind::{self, Binder, RelationTable};
use millstream_planner::parse::parse_query;
use millstream_planner::settings::PlanSettings;
use millstream_runtime::batch::ChangeBatch;
use millstream_runtime::operator::{Operator, Output, Port, Rejected};
use millstream_runtime::operators;
use millstream_runtime::plan::{Dataflow, Operation, PlanNode};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::fixture;

/// Queries that a view can keep, each over relations that the fixture has.
const QUERIES: &[&str] = &[
    "SELECT * FROM bids WHERE price > 3",
    "SELECT auction + 1 AS a, upper(channel) AS c, -price AS p FROM bids WHERE bidder IS NOT NULL",
    "SELECT auction, count(*) AS n, count(price) AS m, sum(price) AS s, avg(price) AS v FROM bids GROUP BY auction",
    "SELECT count(*) AS n, max(price) AS top, min(channel) AS first FROM bids",
    "SELECT channel, count(DISTINCT bidder) AS d, sum(price) FILTER (WHERE price > 2) AS s FROM bids GROUP BY channel",
    "SELECT auction, string_agg(channel, ',' ORDER BY price DESC) AS l, array_agg(price) AS a FROM bids GROUP BY auction",
    "SELECT auction % 3 AS g, sum(price) AS s FROM bids GROUP BY auction % 3 HAVING sum(price) > 4",
    "SELECT sum(score) AS s, avg(score) AS a, bool_or(score > 1) AS o FROM people",
    "SELECT DISTINCT channel, auction FROM bids",
    "SELECT auction FROM bids UNION SELECT id FROM people",
    "SELECT channel FROM bids UNION ALL SELECT name FROM people",
    "SELECT b.auction, b.price, p.name FROM bids b JOIN people p ON b.auction = p.id",
    "SELECT b.auction, p.name FROM bids b LEFT JOIN people p ON b.auction = p.id AND b.price > p.id",
    "SELECT p.name, b.price FROM bids b RIGHT JOIN people p ON b.auction = p.id",
    "SELECT auction, price FROM bids WHERE auction IN (SELECT id FROM people WHERE score > 0.5)",
    "SELECT id, name FROM people p WHERE NOT EXISTS (SELECT 1 FROM bids b WHERE b.auction = p.id)",
    "SELECT price - (SELECT max(price) FROM bids) AS below FROM bids",
    "SELECT auction, price FROM bids b WHERE price = (SELECT max(price) FROM bids x WHERE x.auction = b.auction)",
    "SELECT id, (SELECT count(*) FROM bids b WHERE b.auction = p.id) AS n FROM people p",
    "SELECT auction, price FROM bids ORDER BY price DESC, auction LIMIT 3",
    "SELECT auction FROM bids ORDER BY price LIMIT 2 OFFSET 1",
    "SELECT auction, price FROM (SELECT *, row_number() OVER (PARTITION BY auction ORDER BY price DESC) AS n FROM bids) x WHERE n <= 2",
    "SELECT DISTINCT ON (auction) auction, price, channel FROM bids ORDER BY auction, price DESC",
    "SELECT window_start, auction, count(*) AS n, max(price) AS top FROM tumble(bids, ts, INTERVAL '1 minute') GROUP BY 1, 2",
    "SELECT window_end, sum(price) AS s FROM hop(bids, ts, INTERVAL '20 seconds', INTERVAL '1 minute', INTERVAL '7 seconds') GROUP BY 1",
    "SELECT c.window_start, c.auction, c.n FROM (SELECT window_start, auction, count(*) AS n FROM tumble(bids, ts, INTERVAL '1 minute') GROUP BY 1, 2) c JOIN (SELECT window_start, max(n) AS top FROM (SELECT window_start, auction, count(*) AS n FROM tumble(bids, ts, INTERVAL '1 minute') GROUP BY 1, 2) x GROUP BY 1) m ON c.window_start = m.window_start AND c.n = m.top",
    "SELECT auction, price FROM high_bids",
    "SELECT n, count(*) AS auctions FROM (SELECT auction, count(*) AS n FROM bids GROUP BY auction) x GROUP BY n",
    "SELECT count(*) AS pairs FROM bids b, (SELECT count(*) AS n FROM people) p",
    "SELECT CASE WHEN price > 2 THEN 'high' ELSE 'low' END AS level, count(*) AS n FROM bids GROUP BY 1",
    "SELECT price::int AS i, score::int AS r FROM bids JOIN people ON id = auction",
];

/// Rows that are there, as text, with their number.
type Multiset = BTreeMap<String, i64>;

/// A dataflow run by direct calls, node by node.
struct Run {
    plan: Dataflow,
    operators: Vec<Option<Box<dyn Operator>>>,
    view: Multiset,
}

#[derive(Default)]
struct Collected(Vec<ChangeBatch>);

impl Output for Collected {
    fn emit(&mut self, batch: ChangeBatch) -> millstream_runtime::Result<()> {
        self.0.push(batch);
        Ok(())
    }

    fn reject(&mut self, rows: Rejected) -> millstream_runtime::Result<()> {
        panic!("rejected: {:?}", rows.reasons)
    }
}

impl Run {
    fn new(plan: Dataflow) -> Self {
        let build = |node: &PlanNode| match node.operation {
            Operation::Relation { .. } => None,
            _ => {
                let inputs: Vec<&PlanNode> = node.inputs.iter().map(|input| &plan.nodes[input.0]).collect();
                Some(operators::build(node, &inputs).unwrap())
            }
        };
        let operators = plan.nodes.iter().map(build).collect();
        Self { plan, operators, view: Multiset::new() }
    }

    /// One epoch: the changes of every relation, then the barrier.
    fn epoch(&mut self, changes: &BTreeMap<String, Vec<ChangeBatch>>) {
        let mut outputs: Vec<Vec<ChangeBatch>> = Vec::new();
        for (node, operator) in self.plan.nodes.iter().zip(&mut self.operators) {
            let mut out = Collected::default();
            match (&node.operation, operator) {
                (Operation::Relation { name, .. }, _) => out.0 = changes.get(name).cloned().unwrap_or_default(),
                (_, Some(operator)) => {
                    for (port, input) in node.inputs.iter().enumerate() {
                        for batch in &outputs[input.0] {
                            operator.on_batch(Port(port as u8), batch.clone(), &mut out).unwrap();
                        }
                    }
                    operator.on_epoch(&mut out).unwrap();
                }
                (_, None) => unreachable!("only relations have no operator"),
            }
            outputs.push(out.0);
        }
        for batch in outputs.last().expect("a plan has nodes") {
            for row in 0..batch.len() {
                *self.view.entry(row_text(&batch.rows, row)).or_default() += batch.weight(row);
            }
        }
        self.view.retain(|_, count| *count != 0);
        assert!(self.view.values().all(|count| *count > 0), "a negative multiplicity: {:?}", self.view);
    }
}

fn row_text(rows: &RecordBatch, row: usize) -> String {
    let cells = rows.columns().iter().map(|column| match column.is_null(row) {
        true => "NULL".to_string(),
        false => array_value_to_string(column, row).unwrap(),
    });
    cells.collect::<Vec<_>>().join("|")
}

/// The relations that change: their rows, one batch of one row each.
#[derive(Default)]
struct World {
    rows: BTreeMap<String, Vec<RecordBatch>>,
}

impl World {
    fn change(&mut self, rng: &mut StdRng) -> BTreeMap<String, Vec<ChangeBatch>> {
        let mut changes: BTreeMap<String, Vec<ChangeBatch>> = BTreeMap::new();
        for _ in 0..rng.random_range(0..8) {
            let row = bid(rng);
            self.rows.entry("public.bids".to_string()).or_default().push(row.clone());
            changes.entry("public.bids".to_string()).or_default().push(ChangeBatch::append(row));
        }
        for _ in 0..rng.random_range(0..4) {
            let people = self.rows.entry("public.people".to_string()).or_default();
            let id = rng.random_range(0..6);
            let key = |row: &RecordBatch| row.column(0).as_any().downcast_ref::<Int32Array>().unwrap().value(0);
            if let Some(place) = people.iter().position(|row| key(row) == id) {
                let old = people.swap_remove(place);
                let taken = ChangeBatch::weighted(old, Int64Array::from(vec![-1]));
                changes.entry("public.people".to_string()).or_default().push(taken);
            }
            if rng.random_bool(0.7) {
                let row = person(rng, id);
                people.push(row.clone());
                changes.entry("public.people".to_string()).or_default().push(ChangeBatch::append(row));
            }
        }
        changes
    }
}

fn some<T>(rng: &mut StdRng, value: T) -> Option<T> {
    rng.random_bool(0.85).then_some(value)
}

fn schema_of(relation: &str) -> arrow::datatypes::SchemaRef {
    let name = millstream_planner::catalog::QualifiedName { schema: "public".to_string(), name: relation.to_string() };
    Arc::clone(&fixture::catalog().find(&name).unwrap().schema)
}

fn bid(rng: &mut StdRng) -> RecordBatch {
    let (auction, bidder, price) =
        (rng.random_range(0..5_i64), rng.random_range(0..3_i64), rng.random_range(0..200_i64));
    let channel = ["a", "b", "c"][rng.random_range(0..3)];
    let columns: Vec<Arc<dyn Array>> = vec![
        Arc::new(Int64Array::from(vec![some(rng, auction)])),
        Arc::new(Int64Array::from(vec![some(rng, bidder)])),
        Arc::new(Int64Array::from(vec![some(rng, price)])),
        Arc::new(StringArray::from(vec![some(rng, channel)])),
        Arc::new(TimestampMicrosecondArray::from(vec![rng.random_range(0..180_000_000)])),
    ];
    RecordBatch::try_new(schema_of("bids"), columns).unwrap()
}

fn person(rng: &mut StdRng, id: i32) -> RecordBatch {
    let name = ["ada", "bob"][rng.random_range(0..2)];
    let score = f64::from(rng.random_range(0..20)) / 10.0;
    let columns: Vec<Arc<dyn Array>> = vec![
        Arc::new(Int32Array::from(vec![id])),
        Arc::new(StringArray::from(vec![some(rng, name)])),
        Arc::new(Float64Array::from(vec![some(rng, score)])),
        Arc::new(StringArray::from(vec![None::<&str>])),
    ];
    RecordBatch::try_new(schema_of("people"), columns).unwrap()
}

async fn batch_answer(sql: &str, world: &World) -> Multiset {
    let (catalog, settings) = (fixture::catalog(), PlanSettings::default());
    let query = Binder::new(&catalog, &settings).query(&parse_query(sql).unwrap(), &[]).unwrap();
    let mut provider = |table: &RelationTable| {
        let name = format!("{}.{}", table.name.schema, table.name.name);
        let rows = world.rows.get(&name).cloned().unwrap_or_default();
        let table = MemTable::try_new(Arc::clone(&table.schema), vec![rows]).unwrap();
        Ok(Arc::new(table) as Arc<dyn TableProvider>)
    };
    let run = BatchRuntime::new(64 << 20, 1).query(fixture::facts());
    let plan = run.physical_plan(&query.plan, Vec::new(), &mut provider).await.unwrap();
    let batches: Vec<RecordBatch> = plan.stream().unwrap().try_collect().await.unwrap();
    let mut answer = Multiset::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            *answer.entry(row_text(batch, row)).or_default() += 1;
        }
    }
    answer
}

/// Seeds of a run: with 31 queries a little over 2,000 random histories, in under a minute.
const SEEDS: u64 = 65;

#[tokio::test]
async fn views_hold_what_the_batch_engine_answers() {
    let seeds: Vec<u64> = match std::env::var("ORACLE_SEED") {
        Ok(seed) => vec![seed.parse().expect("ORACLE_SEED is a number")],
        Err(_) => (0..std::env::var("ORACLE_SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap())).collect(),
    };
    for sql in QUERIES {
        for seed in &seeds {
            let mut rng = StdRng::seed_from_u64(*seed);
            let (catalog, settings) = (fixture::catalog(), PlanSettings::default());
            let bound = Binder::new(&catalog, &settings).definition(&parse_query(sql).unwrap()).unwrap();
            let view = bind::view(&bound, None).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            let (mut run, mut world) = (Run::new(view.dataflow), World::default());
            for epoch in 0..3 {
                let changes = world.change(&mut rng);
                run.epoch(&changes);
                let expected = batch_answer(sql, &world).await;
                assert_eq!(run.view, expected, "ORACLE_SEED={seed}, epoch {epoch}: {sql}");
            }
        }
    }
}
