//! The aggregate operator against a naive recomputation of its groups.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::TimeUnit;

use super::*;
use crate::aggregates::result_type;
use crate::operators::testing::{Collector, Row, Subject, Texts, add, changes, check, input, int_schema, node, text};
use crate::plan::{AggregateFunction as F, Operation, SortKey};

fn call(function: F, argument: Option<usize>, input: &SchemaRef) -> AggregateCall {
    let data_type = result_type(&function, argument.map(|column| input.field(column).data_type())).unwrap();
    let output = Arc::new(Field::new(format!("{function:?}").to_lowercase(), data_type, true));
    AggregateCall { function, argument, distinct: false, filter: None, order: vec![], output }
}

fn operator(
    input_schema: &SchemaRef,
    kind: Changes,
    keys: &[usize],
    calls: &[AggregateCall],
    closing: Option<ClosingKey>,
    emit: EmitOn,
) -> Box<dyn Operator> {
    let mut fields: Vec<Field> = keys.iter().map(|key| input_schema.field(*key).clone()).collect();
    fields.extend(calls.iter().map(|call| call.output.as_ref().clone()));
    let schema = Arc::new(Schema::new(fields));
    let operation = Operation::Aggregate { keys: keys.to_vec(), aggregates: calls.to_vec(), closing, emit };
    let node = node(operation, 1, &schema);
    Box::new(Aggregate::new(&node, &input(input_schema, kind), keys, calls, closing, emit).unwrap())
}

/// count(*), sum(v), max(v), count(distinct v), array_agg(v order by w desc nulls last) of column 1 (and 2).
fn calls(schema: &SchemaRef) -> Vec<AggregateCall> {
    let mut distinct = call(F::Count, Some(1), schema);
    distinct.distinct = true;
    let mut ordered = call(F::ArrayAgg, Some(1), schema);
    ordered.order = vec![SortKey { column: 2, descending: true, nulls_first: false }];
    vec![call(F::Count, None, schema), call(F::Sum, Some(1), schema), call(F::Max, Some(1), schema), distinct, ordered]
}

fn group_text(rows: &[&Row]) -> String {
    let values: Vec<i64> = rows.iter().filter_map(|row| row[1]).collect();
    let sum = (!values.is_empty()).then(|| values.iter().sum::<i64>());
    let different: std::collections::BTreeSet<i64> = values.iter().copied().collect();
    let mut ordered: Vec<&Row> = rows.to_vec();
    ordered.sort_by_key(|row| (row[2].is_none(), std::cmp::Reverse(row[2]), row[1].is_none(), row[1]));
    let ordered: Vec<String> = ordered.iter().map(|row| text(&[row[1]])).collect();
    let list = if rows.is_empty() { "NULL".to_owned() } else { format!("[{}]", ordered.join(", ")) };
    let numbers = text(&[Some(rows.len() as i64), sum, values.iter().max().copied(), Some(different.len() as i64)]);
    format!("{numbers}|{list}")
}

fn expected(rows: &[Row], global: bool) -> Texts {
    let mut groups: BTreeMap<Row, Vec<&Row>> = BTreeMap::new();
    if global {
        groups.insert(vec![], vec![]);
    }
    for row in rows {
        let key = if global { vec![] } else { vec![row[0]] };
        groups.entry(key).or_default().push(row);
    }
    let line = |(key, rows): (&Row, &Vec<&Row>)| {
        let key: String = key.iter().map(|value| text(&[*value]) + "|").collect();
        (key + &group_text(rows), 1)
    };
    groups.iter().map(line).collect()
}

#[test]
fn equals_the_recomputation() {
    for (seed, names) in (0..150).zip([["k", "v", "w"], ["sk", "v", "w"]].iter().cycle()) {
        let schema = int_schema(names);
        let calls = calls(&schema);
        for kind in [Changes::Append, Changes::Retract] {
            for keys in [vec![0], vec![]] {
                let global = keys.is_empty();
                let subject = Subject {
                    make: &|| operator(&schema, kind, &keys, &calls, None, EmitOn::Update),
                    ports: vec![(Arc::clone(&schema), kind)],
                    expected: &|held| expected(&held[0], global),
                    hashed: vec![keys.clone()],
                    range: 4,
                };
                check(&subject, seed);
            }
        }
    }
}

#[test]
fn nothing_comes_out_when_nothing_changes() {
    let schema = int_schema(&["k", "v"]);
    let calls = [call(F::Max, Some(1), &schema)];
    let mut operator = operator(&schema, Changes::Retract, &[0], &calls, None, EmitOn::Update);
    let mut out = Collector::default();
    operator.on_batch(Port(0), changes(&schema, &[(vec![Some(1), Some(5)], 1)]), &mut out).unwrap();
    operator.on_epoch(&mut out).unwrap();
    assert_eq!(out.batches.len(), 1);
    operator.on_batch(Port(0), changes(&schema, &[(vec![Some(1), Some(2)], 1)]), &mut out).unwrap();
    operator.on_epoch(&mut out).unwrap();
    assert_eq!(out.batches.len(), 1, "the maximum is the same");
}

#[test]
fn a_failing_group_is_rejected_until_it_heals() {
    let schema = int_schema(&["k", "v"]);
    let wide =
        Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, true), Field::new("v", DataType::Int32, true)]));
    let calls = [call(F::Sum, Some(1), &wide)];
    let mut operator = operator(&wide, Changes::Retract, &[0], &calls, None, EmitOn::Update);
    let batch = |weight: i64| {
        let batch = changes(&schema, &[(vec![Some(7), Some(i64::from(i32::MAX))], weight)]);
        let narrow = compute::cast(batch.rows.column(1), &DataType::Int32).unwrap();
        let columns = vec![Arc::clone(batch.rows.column(0)), narrow];
        batch.with_rows(record_batch(&wide, columns, 1).unwrap())
    };
    let mut out = Collector::default();
    for (weight, rows, rejected) in [
        (1, vec![("7|2147483647", 1)], vec![]),
        (1 << 40, vec![], vec![("7: bigint out of range", 1)]),
        (1, vec![], vec![("7: bigint out of range", 1)]),
        (-(1 << 40), vec![("7|4294967294", 1)], vec![]),
        (-2, vec![], vec![]),
    ] {
        operator.on_batch(Port(0), batch(weight), &mut out).unwrap();
        operator.on_epoch(&mut out).unwrap();
        let owned = |list: Vec<(&str, i64)>| list.into_iter().map(|(t, n)| (t.to_owned(), n)).collect::<Vec<_>>();
        assert_eq!((out.rows(), out.rejected()), (owned(rows), owned(rejected)), "after {weight}");
    }
}

#[test]
fn a_row_that_is_not_there_is_a_bug() {
    let schema = int_schema(&["k"]);
    let calls = [call(F::Count, None, &schema)];
    for keys in [vec![0], vec![]] {
        let mut operator = operator(&schema, Changes::Retract, &keys, &calls, None, EmitOn::Update);
        let mut out = Collector::default();
        operator.on_batch(Port(0), changes(&schema, &[(vec![Some(1)], -1)]), &mut out).unwrap();
        assert_eq!(operator.on_epoch(&mut out).unwrap_err().kind, crate::ErrorKind::Internal);
    }
}

fn windowed(rows: &[(i64, i64)]) -> ChangeBatch {
    let schema = int_schema(&["w", "v"]);
    let rows: Vec<(Row, i64)> = rows.iter().map(|(window, value)| (vec![Some(*window), Some(*value)], 1)).collect();
    let batch = changes(&schema, &rows);
    let start = compute::cast(batch.rows.column(0), &DataType::Timestamp(TimeUnit::Microsecond, None)).unwrap();
    let columns = vec![start, Arc::clone(batch.rows.column(1))];
    batch.with_rows(record_batch(&window_schema(), columns, batch.len()).unwrap())
}

fn window_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("window_start", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("v", DataType::Int64, true),
    ]))
}

#[test]
fn a_window_comes_out_once_when_it_closes_also_over_a_restore() {
    let closing = Some(ClosingKey { key: 0, extent_micros: 10 });
    let schema = window_schema();
    let calls = [call(F::Count, None, &schema)];
    let make = || operator(&schema, Changes::Append, &[0], &calls, closing, EmitOn::WindowClose);
    let row = |window: i64, count: i64| (format!("1970-01-01T00:00:00.{window:06}|{count}"), 1);
    let mut operator = make();
    let mut parts = Vec::new();
    let mut out = Collector::default();
    operator.on_batch(Port(0), windowed(&[(10, 1), (20, 1), (10, 2)]), &mut out).unwrap();
    operator.on_watermark(Watermark::at_micros(19), &mut out).unwrap();
    operator.on_epoch(&mut out).unwrap();
    assert!(out.batches.is_empty());
    parts.extend(operator.snapshot(SnapshotKind::Full).unwrap());
    operator.on_batch(Port(0), windowed(&[(10, 3), (30, 1)]), &mut out).unwrap();
    operator.on_watermark(Watermark::at_micros(20), &mut out).unwrap();
    operator.on_epoch(&mut out).unwrap();
    assert_eq!(out.rows(), vec![row(10, 3)]);
    parts.extend(operator.snapshot(SnapshotKind::Delta).unwrap());
    operator = make();
    operator.restore(parts).unwrap();
    operator.on_watermark(Watermark::END, &mut out).unwrap();
    operator.on_epoch(&mut out).unwrap();
    assert_eq!(out.rows(), vec![row(10, 3), row(20, 1), row(30, 1)]);
}

#[test]
fn closing_an_updating_view_drops_state_and_keeps_results() {
    let closing = Some(ClosingKey { key: 0, extent_micros: 10 });
    let schema = window_schema();
    let calls = [call(F::Count, None, &schema)];
    let mut operator = operator(&schema, Changes::Append, &[0], &calls, closing, EmitOn::Update);
    let mut out = Collector::default();
    operator.on_batch(Port(0), windowed(&[(10, 1), (20, 1)]), &mut out).unwrap();
    operator.on_watermark(Watermark::at_micros(20), &mut out).unwrap();
    operator.on_epoch(&mut out).unwrap();
    operator.on_watermark(Watermark::at_micros(25), &mut out).unwrap();
    operator.on_epoch(&mut out).unwrap();
    assert_eq!(out.rows().len(), 2);
    let parts = operator.snapshot(SnapshotKind::Full).unwrap();
    assert_eq!(parts[0].rows.num_rows(), 1, "only the open window is left");
}

#[test]
fn results_are_right_after_many_keys_came_and_went() {
    let schema = int_schema(&["sk"]);
    let calls = [call(F::Count, None, &schema)];
    let mut operator = operator(&schema, Changes::Retract, &[0], &calls, None, EmitOn::Update);
    let mut net = Texts::new();
    for round in 0..20 {
        let mut out = Collector::default();
        let rows: Vec<(Row, i64)> = (0..2000)
            .flat_map(|key| [(vec![Some(round * 1000 + key)], 1), (vec![Some((round - 1) * 1000 + key)], -1)])
            .filter(|(_, weight)| round > 0 || *weight > 0)
            .collect();
        operator.on_batch(Port(0), changes(&schema, &rows), &mut out).unwrap();
        operator.on_epoch(&mut out).unwrap();
        for (text, weight) in out.rows() {
            add(&mut net, text, weight);
        }
        let expected: Texts = (0..2000).map(|key| (format!("{}|1", round * 1000 + key), 1)).collect();
        assert_eq!(net, expected, "round {round}");
    }
}
