//! Every scalar function of the registry can stand in a view, or is refused there by name.
//!
//! A function that is new to the registry fails the test until it has a call here.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use futures::TryStreamExt;
use millstream_planner::batch::BatchRuntime;
use millstream_planner::bind::{self, Binder, RelationTable};
use millstream_planner::error::{PlanError, PlanErrorKind};
use millstream_planner::functions::registry;
use millstream_planner::parse::parse_query;
use millstream_planner::settings::PlanSettings;
use millstream_runtime::expr::RowExpressions;
use millstream_runtime::plan::{Dataflow, Operation};

use crate::fixture;

/// A call of every function that a view may have, over the columns of `bids`: `auction`, `bidder` and `price`
/// are bigint, `channel` is text, `ts` a timestamp.
const CALLS: &[&str] = &[
    "json_array_length('[1, 2]')",
    "json_build_array(auction, true, NULL)",
    "json_build_object('a', auction)",
    "json_extract_path('{\"a\": [1]}', 'a', '0')",
    "json_extract_path_text('{\"a\": \"b\"}', 'a')",
    "json_typeof('null')",
    "jsonb_array_length('[1, 2]')",
    "jsonb_build_array(auction, true, NULL)",
    "jsonb_build_object('a', auction)",
    "jsonb_concat('[1]', '2')",
    "jsonb_contained('[1]', '[1, 2]')",
    "jsonb_contains('[1, 2]', '[1]')",
    "jsonb_delete('{\"a\": 1}', 'a'::text)",
    "jsonb_delete_path('{\"a\": {\"b\": 1}}', '{a,b}')",
    "jsonb_exists('{\"a\": 1}', 'a'::text)",
    "jsonb_exists_all('{\"a\": 1}', '{a,b}')",
    "jsonb_exists_any('{\"a\": 1}', '{a,b}')",
    "jsonb_extract_path('{\"a\": [1]}', 'a', '0')",
    "jsonb_extract_path_text('{\"a\": \"b\"}', 'a')",
    "jsonb_pretty('{\"a\": [1]}')",
    "jsonb_set('{\"a\": 1}', '{a}', '2')",
    "jsonb_strip_nulls('{\"a\": null}')",
    "jsonb_typeof('1')",
    "to_json(auction)",
    "array_to_json(ARRAY[auction])",
    "to_jsonb(price)",
    "abs(-price)",
    "age(ts, ts)",
    "array_fill(price, ARRAY[2])",
    "array_lower(ARRAY[price], 1)",
    "array_upper(ARRAY[price], 1)",
    "trim_array(ARRAY[price, auction], 1)",
    "convert_from(convert_to(channel, 'UTF8'), 'UTF8')",
    "convert_to(channel, 'UTF8')",
    "format('%s %L', channel, price)",
    "get_byte('abc', 1)",
    "num_nonnulls(price, auction)",
    "num_nulls(price, auction)",
    "quote_ident(channel)",
    "quote_literal(channel)",
    "quote_nullable(price)",
    "regexp_split_to_array(channel, ',')",
    "regexp_substr(channel, 'a.')",
    "row_to_json(ROW(price, channel))",
    "mod(price, 7)",
    "sign(price)",
    "substring(channel from 'p.')",
    "acos(price / 100.0)",
    "acosh(price::float8 + 1)",
    "array_add(ARRAY[price::float8], ARRAY[1.5::float8])",
    "array_any_value(ARRAY[NULL, price])",
    "array_append(ARRAY[price], auction)",
    "array_avg(ARRAY[price::float8])",
    "array_compact(ARRAY[price, NULL])",
    "array_concat(ARRAY[price], ARRAY[auction])",
    "array_dims(ARRAY[price])",
    "array_distance(ARRAY[price::float8], ARRAY[1.5::float8])",
    "array_distinct(ARRAY[price, price])",
    "array_element(ARRAY[price, auction], 2)",
    "array_except(ARRAY[price, auction], ARRAY[auction])",
    "array_has(ARRAY[price], auction)",
    "array_has_all(ARRAY[price, auction], ARRAY[auction])",
    "array_has_any(ARRAY[price], ARRAY[auction])",
    "array_intersect(ARRAY[price, auction], ARRAY[auction])",
    "array_length(ARRAY[price])",
    "array_max(ARRAY[price, auction])",
    "array_min(ARRAY[price, auction])",
    "array_ndims(ARRAY[price])",
    "array_normalize(ARRAY[price::float8, 3])",
    "array_pop_back(ARRAY[price, auction])",
    "array_pop_front(ARRAY[price, auction])",
    "array_position(ARRAY[price, auction], auction)",
    "array_positions(ARRAY[price, price], price)",
    "array_prepend(price, ARRAY[auction])",
    "array_product(ARRAY[price::float8, 2])",
    "array_remove(ARRAY[price, auction], auction)",
    "array_remove_all(ARRAY[price, auction], auction)",
    "array_remove_n(ARRAY[price, auction], auction, 1)",
    "array_repeat(price, 2)",
    "array_replace(ARRAY[price, auction], auction, bidder)",
    "array_replace_all(ARRAY[price, auction], auction, bidder)",
    "array_replace_n(ARRAY[price, auction], auction, bidder, 1)",
    "array_resize(ARRAY[price], 3, 7::bigint)",
    "array_reverse(ARRAY[price, auction])",
    "array_scale(ARRAY[price::float8], 2)",
    "array_slice(ARRAY[price, auction, bidder], 1, 2)",
    "array_sort(ARRAY[price, auction])",
    "array_subtract(ARRAY[price::float8], ARRAY[1.5::float8])",
    "array_sum(ARRAY[price::float8])",
    "array_to_string(ARRAY[price, auction], ',')",
    "array_union(ARRAY[price], ARRAY[auction])",
    "arrays_zip(ARRAY[price], ARRAY[channel])",
    "arrow_cast(price, 'Int32')",
    "arrow_field(price)",
    "arrow_metadata(price)",
    "arrow_try_cast(channel, 'Int32')",
    "arrow_typeof(price)",
    "ascii(channel)",
    "asin(price / 100.0)",
    "asinh(price)",
    "atan(price)",
    "atan2(price, auction)",
    "atanh(price / 100.0)",
    "bit_length(channel)",
    "bpchar(channel, 1)",
    "btrim(channel, 'a')",
    "cardinality(ARRAY[price])",
    "cast_to_type(price, 1.5::float8)",
    "cbrt(price)",
    "ceil(price / 3.0)",
    "character_length(channel)",
    "chr(price + 65)",
    "coalesce(price, auction)",
    "concat(channel, price, ts)",
    "concat_ws('-', channel, price)",
    "contains(channel, 'a')",
    "cos(price)",
    "cosh(price)",
    "cosine_distance(ARRAY[price::float8], ARRAY[1.5::float8])",
    "cot(price)",
    "date_bin(INTERVAL '15 minutes', ts)",
    "date_part('minute', ts)",
    "date_trunc('minute', ts)",
    "decode(encode(channel, 'hex'), 'hex')",
    "degrees(price)",
    "digest(channel, 'sha256')",
    "empty(ARRAY[price])",
    "encode(channel, 'base64')",
    "ends_with(channel, 'a')",
    "exp(price / 10.0)",
    "extract('hour', ts)",
    "factorial(3 + auction % 3)",
    "find_in_set(channel, 'a,b')",
    "flatten(ARRAY[ARRAY[price], ARRAY[auction]])",
    "floor(price / 3.0)",
    "from_unixtime(price)",
    "gcd(price, auction)",
    "get_field(named_struct('a', price), 'a')",
    "greatest(price, auction)",
    "initcap(channel)",
    "inner_product(ARRAY[price::float8], ARRAY[1.5::float8])",
    "isnan(price::float8)",
    "isfinite(ts)",
    "iszero(price::float8)",
    "justify_days(make_interval(0, 0, 0, auction::int))",
    "justify_hours(make_interval(0, 0, 0, 0, auction::int))",
    "justify_interval(make_interval(0, 1, 0, auction::int))",
    "lcm(price, auction)",
    "least(price, auction)",
    "left(channel, 1)",
    "levenshtein(channel, 'ab')",
    "ln(price)",
    "log(10, price)",
    "log10(price)",
    "log2(price)",
    "lower(channel)",
    "lpad(channel, 3, '.')",
    "ltrim(channel, 'a')",
    "make_array(price, auction)",
    "make_date(2026, 1, auction::int)",
    "make_interval(days => auction::int)",
    "make_time(12, 30, auction::int)",
    "make_timestamp(2026, 1, 1, 12, 30, auction)",
    "make_timestamptz(2026, 1, 1, 12, 30, auction)",
    "map(ARRAY[coalesce(channel, '')], ARRAY[price])",
    "map_entries(map(ARRAY[coalesce(channel, '')], ARRAY[price]))",
    "map_extract(map(ARRAY[coalesce(channel, '')], ARRAY[price]), 'a')",
    "map_keys(map(ARRAY[coalesce(channel, '')], ARRAY[price]))",
    "map_values(map(ARRAY[coalesce(channel, '')], ARRAY[price]))",
    "md5(channel)",
    "named_struct('a', price)",
    "nanvl(price::float8, 1.5::float8)",
    "nullif(price, auction)",
    "nvl(price, auction)",
    "nvl2(price, auction, bidder)",
    "octet_length(channel)",
    "overlaps(ts, ts, ts, ts)",
    "overlay(channel PLACING 'x' FROM 1 FOR 1)",
    "pg_typeof(price)",
    "pi()",
    "power(price, 2)",
    "radians(price)",
    "range(1, auction)",
    "regexp_count(channel, 'a')",
    "regexp_instr(channel, 'a')",
    "regexp_like(channel, '^a')",
    "regexp_match(channel, '(.)')",
    "regexp_replace(channel, 'a', 'x')",
    "repeat(channel, 2)",
    "replace(channel, 'a', 'x')",
    "reverse(channel)",
    "right(channel, 1)",
    "round(price / 3.0)",
    "rpad(channel, 3, '.')",
    "rtrim(channel, 'a')",
    "sha224(channel)",
    "sha256(channel)",
    "sha384(channel)",
    "sha512(channel)",
    "signum(price)",
    "sin(price)",
    "sinh(price)",
    "split_part(channel, ',', 1)",
    "starts_with(channel, 'a')",
    "string_to_array(channel, ',')",
    "strpos(channel, 'a')",
    "struct(price, channel)",
    "sqrt(price)",
    "substr(channel, 1)",
    "substr_index(channel, ',', 1)",
    "tan(price)",
    "tanh(price)",
    "timezone('UTC', ts)",
    "to_char(ts, 'YYYY-MM-DD')",
    "to_date('2026-01-0' || auction, 'YYYY-MM-DD')",
    "to_hex(price)",
    "to_number(price::text, '999')",
    "to_local_time(ts)",
    "to_time('12:00:0' || auction)",
    "to_timestamp(price)",
    "to_timestamp_micros(price)",
    "to_timestamp_millis(price)",
    "to_timestamp_nanos(price)",
    "to_timestamp_seconds(price)",
    "to_unixtime(ts)",
    "translate(channel, 'a', 'x')",
    "trunc(price / 3.0)",
    "try_cast_to_type(channel, 1)",
    "upper(channel)",
    "with_metadata(price, 'unit', 'cent')",
];

/// Calls of the functions that give another value for the same row, or ask who is asking.
const REFUSED: &[&str] = &[
    "generate_series(1, auction)",
    "current_database()",
    "current_date",
    "current_schema()",
    "current_setting('timezone')",
    "set_config('timezone', 'UTC', false)",
    "current_user",
    "session_user",
    "localtime",
    "localtimestamp",
    "now()",
    "pg_advisory_lock(1)",
    "pg_advisory_lock_shared(1)",
    "pg_advisory_unlock(1)",
    "pg_advisory_unlock_all()",
    "pg_advisory_unlock_shared(1)",
    "pg_advisory_xact_lock(1)",
    "pg_advisory_xact_lock_shared(1)",
    "pg_sleep(1)",
    "pg_try_advisory_lock(1)",
    "pg_try_advisory_lock_shared(1, 2)",
    "pg_try_advisory_xact_lock(1)",
    "pg_try_advisory_xact_lock_shared(1, 2)",
    "random()",
    "gen_random_uuid()",
    "version()",
];

fn rows() -> Vec<ArrayRef> {
    vec![
        Arc::new(Int64Array::from(vec![Some(1), Some(2), None])),
        Arc::new(Int64Array::from(vec![7, 8, 9])),
        Arc::new(Int64Array::from(vec![Some(10), Some(30), None])),
        Arc::new(StringArray::from(vec![Some("a,b"), Some("Äpfel"), None])),
        Arc::new(TimestampMicrosecondArray::from(vec![0, 61_000_000, 3_600_000_001])),
    ]
}

fn batch(schema: &SchemaRef) -> RecordBatch {
    RecordBatch::try_new(Arc::clone(schema), rows()).unwrap()
}

fn view(sql: &str) -> Result<Dataflow, PlanError> {
    let (catalog, settings) = (fixture::catalog(), PlanSettings::default());
    let bound = Binder::new(&catalog, &settings).definition(&*parse_query(sql)?)?;
    Ok(bind::view(&bound, None)?.dataflow)
}

/// What the dataflow of a view makes of the rows.
fn in_view(sql: &str) -> Result<ArrayRef, String> {
    let dataflow = view(sql).map_err(|error| error.message)?;
    let project = dataflow.nodes.last().unwrap();
    let Operation::Project { expressions } = &project.operation else {
        return Err(format!("{:?} computes nothing", project.operation));
    };
    let input = &dataflow.nodes[project.inputs[0].0].schema;
    let evaluated = RowExpressions::new(expressions.clone(), Arc::clone(input)).evaluate(&batch(input));
    let evaluated = evaluated.map_err(|error| error.to_string())?;
    match evaluated.failures.first() {
        None => Ok(Arc::clone(&evaluated.columns[0])),
        Some((row, reason)) => Err(format!("row {row}: {reason}")),
    }
}

/// What the batch engine answers.
async fn in_query(sql: &str) -> Result<ArrayRef, String> {
    let (catalog, settings) = (fixture::catalog(), PlanSettings::default());
    let parsed = parse_query(sql).map_err(|error| error.message)?;
    let query = Binder::new(&catalog, &settings).query(&parsed, &[]).map_err(|error| error.message)?;
    let mut provider = |table: &RelationTable| {
        let table = MemTable::try_new(Arc::clone(&table.schema), vec![vec![batch(&table.schema)]]).unwrap();
        Ok(Arc::new(table) as Arc<dyn TableProvider>)
    };
    let run = BatchRuntime::new(64 << 20, 1).query(fixture::facts());
    let plan = run.physical_plan(&query.plan, Vec::new(), &mut provider).await.map_err(|error| error.message)?;
    let stream = plan.stream().map_err(|error| error.to_string())?;
    let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(|error| error.to_string())?;
    Ok(Arc::clone(batches[0].column(0)))
}

fn select(call: &str) -> String {
    format!("SELECT {call} AS x FROM bids")
}

fn name(call: &str) -> &str {
    call.split('(').next().unwrap()
}

fn called(calls: &[&str]) -> BTreeSet<String> {
    calls.iter().map(|call| name(call).to_string()).collect()
}

#[test]
fn every_function_is_called_here() {
    let functions = registry().scalar_names().into_iter().map(|name| registry().scalar(&name).unwrap());
    let registered: BTreeSet<String> = functions.map(|function| function.name().to_string()).collect();
    let both: BTreeSet<String> = called(CALLS).union(&called(REFUSED)).cloned().collect();
    let missing: Vec<&String> = registered.difference(&both).collect();
    let gone: Vec<&String> = both.difference(&registered).collect();
    assert!(missing.is_empty() && gone.is_empty(), "without a call: {missing:?}, not registered: {gone:?}");
}

#[tokio::test]
async fn a_view_computes_what_a_query_answers() {
    let mut differences = String::new();
    for call in CALLS {
        let sql = select(call);
        let (view, query) = (in_view(&sql), in_query(&sql).await);
        if view != query || view.as_ref().is_ok_and(|values| values.len() != 3) {
            writeln!(differences, "{sql}: {view:?} in a view, {query:?} in a query").unwrap();
        }
        if let Err(error) = &view {
            writeln!(differences, "{sql}: {error}").unwrap();
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn what_a_view_can_not_keep_is_refused_by_name() {
    for call in REFUSED {
        let error = view(&select(call)).expect_err(call);
        assert!(
            matches!(error.kind, PlanErrorKind::InvalidDefinition | PlanErrorKind::FeatureNotSupported),
            "{call}: {error:?}"
        );
        assert!(error.message.starts_with(&format!("{}() is not supported", name(call))), "{call}: {error}");
    }
}
