//! Batch queries over small tables: what they answer, and that the exact aggregates agree with a naive count.

use std::sync::Arc;

use arrow::array::{Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::util::pretty::pretty_format_batches;
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use futures::TryStreamExt;
use millstream_planner::batch::BatchRuntime;
use millstream_planner::bind::{Binder, RelationTable};
use millstream_planner::error::PlanError;
use millstream_planner::parse::parse_query;
use millstream_planner::settings::PlanSettings;

use crate::fixture;

const MINUTE: i64 = 60_000_000;

fn rows(table: &RelationTable) -> RecordBatch {
    let columns: Vec<Arc<dyn Array>> = match table.name.name.as_str() {
        "bids" => vec![
            Arc::new(Int64Array::from(vec![Some(1), Some(1), Some(2), Some(2), None])),
            Arc::new(Int64Array::from(vec![7, 8, 7, 9, 9])),
            Arc::new(Int64Array::from(vec![Some(10), Some(30), Some(20), Some(20), None])),
            Arc::new(StringArray::from(vec!["a", "b", "c", "b", "a"])),
            Arc::new(TimestampMicrosecondArray::from(vec![0, MINUTE, MINUTE + 1, 2 * MINUTE, 3 * MINUTE])),
        ],
        "people" => vec![
            Arc::new(Int32Array::from(vec![1, 2, 3])),
            Arc::new(StringArray::from(vec![Some("ada"), Some("bob"), None])),
            Arc::new(Float64Array::from(vec![Some(0.1), Some(0.2), Some(0.3)])),
            Arc::new(StringArray::from(vec![None::<&str>, None, None])),
        ],
        _ => return RecordBatch::new_empty(Arc::clone(&table.schema)),
    };
    RecordBatch::try_new(Arc::clone(&table.schema), columns).unwrap()
}

async fn answer(sql: &str, parameters: Vec<ScalarValue>) -> Result<String, PlanError> {
    let (catalog, settings) = (fixture::catalog(), PlanSettings::default());
    let query = Binder::new(&catalog, &settings).query(&*parse_query(sql)?, &[])?;
    let mut provider = |table: &RelationTable| {
        let batch = rows(table);
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
        Ok(Arc::new(table) as Arc<dyn TableProvider>)
    };
    let run = BatchRuntime::new(64 << 20, 2).query(fixture::facts());
    let plan = run.physical_plan(&query.plan, parameters, &mut provider).await?;
    let batches: Vec<RecordBatch> =
        plan.stream().unwrap().try_collect().await.map_err(millstream_planner::bind::plan_error)?;
    let named: Vec<RecordBatch> = batches
        .iter()
        .map(|batch| RecordBatch::try_new(Arc::clone(&plan.schema), batch.columns().to_vec()).unwrap())
        .collect();
    Ok(pretty_format_batches(&named).unwrap().to_string())
}

/// SQL and the cells that its answer has, row by row.
const ANSWERS: &[(&str, &[&str])] = &[
    ("SELECT 1 AS a, 'x' AS b", &["1|x"]),
    ("SELECT count(*), count(price), sum(price), avg(price) FROM bids", &["5|4|80|20.000000000000000000000000"]),
    ("SELECT sum(score) FROM people", &["0.6"]),
    ("SELECT auction, max(price) FROM bids GROUP BY auction ORDER BY auction", &["1|30", "2|20", "|"]),
    ("SELECT string_agg(channel, ',' ORDER BY channel DESC, price) FROM bids", &["c,b,b,a,a"]),
    ("SELECT array_agg(price ORDER BY price DESC) FROM bids WHERE auction = 2", &["[20, 20]"]),
    ("SELECT count(DISTINCT channel), sum(DISTINCT price) FROM bids", &["3|60"]),
    ("SELECT count(*) FILTER (WHERE price > 15) FROM bids", &["3"]),
    (
        "SELECT window_start, count(*) FROM tumble(bids, ts, INTERVAL '1 minute') GROUP BY 1 ORDER BY 1",
        &["1970-01-01T00:00:00|1", "1970-01-01T00:01:00|2", "1970-01-01T00:02:00|1", "1970-01-01T00:03:00|1"],
    ),
    ("SELECT count(*) FROM hop(bids, ts, INTERVAL '30 seconds', INTERVAL '1 minute')", &["10"]),
    ("SELECT auction, price FROM bids ORDER BY price DESC NULLS LAST LIMIT 2 OFFSET 1", &["2|20", "2|20"]),
    ("SELECT bidder FROM bids ORDER BY price LIMIT 2 OFFSET 1", &["7", "9"]),
    ("SELECT DISTINCT ON (auction) auction, price FROM bids ORDER BY auction, price DESC LIMIT 1", &["1|30"]),
    ("SELECT a.auction, p.name FROM bids a JOIN people p ON a.auction = p.id ORDER BY 1, a.price LIMIT 1", &["1|ada"]),
    ("SELECT name FROM people WHERE id IN (SELECT auction FROM bids) ORDER BY name", &["ada", "bob"]),
    ("SELECT (SELECT max(price) FROM bids) - 5 AS x", &["25"]),
    ("SELECT 1.5::int, 2.5::numeric(4,1)::int, -0.5::int", &["2|3|-1"]),
    ("SELECT now() = current_timestamp, current_user, current_schema()", &["true|ada|public"]),
    ("SELECT ts - TIMESTAMP '1970-01-01' AS age FROM bids ORDER BY ts LIMIT 1", &["0 secs"]),
    ("SELECT row_number() OVER (ORDER BY price DESC) AS n, price FROM bids ORDER BY n LIMIT 2", &["1|", "2|30"]),
    (
        "SELECT sum(price) OVER (ORDER BY ts ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM bids WHERE auction = 1 ORDER BY ts",
        &["10", "40"],
    ),
    ("SELECT i * 2 FROM generate_series(1, 3) AS i WHERE i <> 2", &["2", "6"]),
    ("SELECT generate_series FROM generate_series(4, 2, -2)", &["4", "2"]),
    ("SELECT price, price FROM high_bids", &[]),
    ("SELECT a, a FROM (SELECT 1 AS a) x", &["1|1"]),
    ("SELECT x FROM (VALUES (1), (2)) v(x) ORDER BY x DESC FETCH FIRST 1 ROW ONLY", &["2"]),
];

fn cells(table: &str) -> Vec<String> {
    let lines = table.lines().filter(|line| line.starts_with('|')).skip(1);
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join("|")).collect()
}

#[tokio::test]
async fn queries_answer() {
    for (sql, expected) in ANSWERS {
        let answer = answer(sql, Vec::new()).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(cells(&answer), *expected, "{sql}\n{answer}");
    }
}

#[tokio::test]
async fn parameters_take_their_values() {
    let sql = "SELECT price + $2 FROM bids WHERE channel = $1 AND price IS NOT NULL ORDER BY price LIMIT $3";
    let values =
        vec![ScalarValue::Utf8(Some("b".to_string())), ScalarValue::Int64(Some(1)), ScalarValue::Int64(Some(1))];
    assert_eq!(cells(&answer(sql, values).await.unwrap()), ["21"]);
}

#[tokio::test]
async fn arithmetic_is_checked() {
    for (sql, message) in [
        ("SELECT 2147483647 + 1", "integer out of range"),
        ("SELECT -(-2147483647 - 1)", "integer out of range"),
        ("SELECT price + 9223372036854775807 FROM bids", "bigint out of range"),
        ("SELECT price / 0 FROM bids", "zero"),
        ("SELECT 1 / 0", "zero"),
    ] {
        let error = answer(sql, Vec::new()).await.expect_err(sql);
        assert!(error.message.to_lowercase().contains(message), "{sql}: {}", error.message);
    }
}

#[tokio::test]
async fn exact_aggregates_agree_with_a_naive_count() {
    let sql = "SELECT i % 7 AS g, count(*), sum(i), min(i), max(i), avg(i), sum(DISTINCT i % 3), bool_and(i > 5) \
               FROM generate_series(1, 1000) AS i GROUP BY i % 7 ORDER BY g";
    let expected: Vec<String> = (0..7_i64)
        .map(|group| {
            let members: Vec<i64> = (1..=1000).filter(|i| i % 7 == group).collect();
            let (count, sum) = (members.len() as i128, members.iter().map(|i| i128::from(*i)).sum::<i128>());
            let scaled = sum * 10_i128.pow(16);
            let average = (scaled * 2 + count) / (count * 2);
            // Rounded at the sixteenth digit, in a column that has room for those of small means.
            let average = format!("{}.{:016}00000000", average / 10_i128.pow(16), average % 10_i128.pow(16));
            let all = members.iter().all(|i| *i > 5);
            format!("{group}|{count}|{sum}|{}|{}|{average}|3|{all}", members[0], members[members.len() - 1])
        })
        .collect();
    assert_eq!(cells(&answer(sql, Vec::new()).await.unwrap()), expected);
}
