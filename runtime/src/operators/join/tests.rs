//! The join operator against nested loops.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::datatypes::TimeUnit;
use datafusion::logical_expr::Operator as Op;
use datafusion::physical_expr::expressions::lit;

use super::*;
use crate::operators::testing::{Collector, Row, Subject, Texts, add, changes, check, checked, column, input};
use crate::operators::testing::{int_schema, node, text};
use crate::plan::Operation;

const KINDS: [JoinKind; 4] = [JoinKind::Inner, JoinKind::Left, JoinKind::LeftSemi, JoinKind::LeftAnti];

fn join(
    schemas: [&SchemaRef; 2],
    changes: [Changes; 2],
    kind: JoinKind,
    on: &[(usize, usize)],
    residual: Option<&Arc<dyn PhysicalExpr>>,
    closing: Option<ClosingJoin>,
) -> Box<dyn Operator> {
    let mut fields: Vec<Field> = schemas[0].fields().iter().map(|field| field.as_ref().clone()).collect();
    if matches!(kind, JoinKind::Inner | JoinKind::Left) {
        fields.extend(schemas[1].fields().iter().map(|field| field.as_ref().clone()));
    }
    let schema = Arc::new(Schema::new(fields));
    let operation = Operation::Join { kind, on: on.to_vec(), residual: residual.cloned(), closing };
    let inputs = [input(schemas[0], changes[0]), input(schemas[1], changes[1])];
    let node = node(operation, 2, &schema);
    Box::new(Join::new(&node, [&inputs[0], &inputs[1]], kind, on, residual, closing).unwrap())
}

fn expected(kind: JoinKind, on: &[(usize, usize)], residual: bool, held: &[Vec<Row>]) -> Texts {
    let mut net = Texts::new();
    let matches = |left: &Row, right: &Row| {
        let keys = on.iter().all(|(l, r)| left[*l].is_some() && left[*l] == right[*r]);
        // The residual: left.v + right.v < 3.
        keys && (!residual || matches!((left[1], right[1]), (Some(l), Some(r)) if l + r < 3))
    };
    for left in &held[0] {
        let matching: Vec<&Row> = held[1].iter().filter(|right| matches(left, right)).collect();
        match kind {
            JoinKind::Inner | JoinKind::Left => {
                for right in &matching {
                    add(&mut net, format!("{}|{}", text(left), text(right)), 1);
                }
                if kind == JoinKind::Left && matching.is_empty() {
                    add(&mut net, format!("{}|NULL|NULL", text(left)), 1);
                }
            }
            JoinKind::LeftSemi if !matching.is_empty() => add(&mut net, text(left), 1),
            JoinKind::LeftAnti if matching.is_empty() => add(&mut net, text(left), 1),
            JoinKind::LeftSemi | JoinKind::LeftAnti => {}
        }
    }
    net
}

#[test]
fn equals_nested_loops() {
    let kinds = [Changes::Append, Changes::Retract];
    for (seed, names) in (0..60).zip([["k", "v"], ["sk", "v"]].iter().cycle()) {
        let schema = int_schema(names);
        let pair = int_schema(&["k", "left_v", "k2", "right_v"]);
        let sum = checked(column(&pair, "left_v"), Op::Plus, column(&pair, "right_v"));
        let residual = checked(sum, Op::Lt, lit(3_i64));
        for kind in KINDS {
            for on in [vec![(0, 0)], vec![(0, 0), (1, 1)], vec![]] {
                for residual in [None, Some(&residual)] {
                    let changes = [kinds[seed as usize / 2 % 2], kinds[seed as usize / 4 % 2]];
                    let subject = Subject {
                        make: &|| join([&schema, &schema], changes, kind, &on, residual, None),
                        ports: vec![(Arc::clone(&schema), changes[0]), (Arc::clone(&schema), changes[1])],
                        expected: &|held| expected(kind, &on, residual.is_some(), held),
                        hashed: vec![on.iter().map(|pair| pair.0).collect(), on.iter().map(|pair| pair.1).collect()],
                        range: 4,
                    };
                    check(&subject, seed);
                }
            }
        }
    }
}

#[test]
fn a_pair_that_the_residual_fails_on_is_rejected_and_taken_back() {
    let schema = int_schema(&["k", "v"]);
    let pair = int_schema(&["k", "left_v", "k2", "right_v"]);
    let quotient = checked(column(&pair, "left_v"), Op::Divide, column(&pair, "right_v"));
    let residual = checked(quotient, Op::Gt, lit(0_i64));
    let retract = [Changes::Retract; 2];
    let mut join = join([&schema, &schema], retract, JoinKind::Left, &[(0, 0)], Some(&residual), None);
    let mut out = Collector::default();
    let row = |k: i64, v: i64, weight: i64| changes(&schema, &[(vec![Some(k), Some(v)], weight)]);
    join.on_batch(Port(0), row(1, 7, 1), &mut out).unwrap();
    join.on_batch(Port(1), row(1, 0, 2), &mut out).unwrap();
    join.on_batch(Port(1), row(1, 2, 1), &mut out).unwrap();
    assert_eq!(out.rows(), vec![("1|7|1|2".to_owned(), 1)]);
    assert_eq!(out.rejected(), vec![("1|7|1|0: division by zero".to_owned(), 2)]);
    join.on_batch(Port(0), row(1, 7, -1), &mut out).unwrap();
    join.on_epoch(&mut out).unwrap();
    assert_eq!((out.rows(), out.rejected()), (vec![], vec![]));
}

#[test]
fn a_row_that_is_not_there_is_a_bug() {
    let schema = int_schema(&["k", "v"]);
    let retract = [Changes::Retract; 2];
    let mut join = join([&schema, &schema], retract, JoinKind::Inner, &[(0, 0)], None, None);
    let mut out = Collector::default();
    join.on_batch(Port(1), changes(&schema, &[(vec![Some(1), Some(1)], -1)]), &mut out).unwrap();
    assert_eq!(join.on_epoch(&mut out).unwrap_err().kind, crate::ErrorKind::Internal);
}

#[test]
fn the_watermark_drops_what_can_match_nothing_any_more() {
    let times = Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("v", DataType::Int64, true),
    ]));
    let rows = |micros: &[i64]| {
        let schema = int_schema(&["ts", "v"]);
        let rows: Vec<(Row, i64)> = micros.iter().map(|at| (vec![Some(*at), Some(0)], 1)).collect();
        let batch = changes(&schema, &rows);
        let ts = compute::cast(batch.rows.column(0), times.field(0).data_type()).unwrap();
        batch.with_rows(record_batch(&times, vec![ts, Arc::clone(batch.rows.column(1))], batch.len()).unwrap())
    };
    let closing = Some(ClosingJoin { pair: 0, left_extent_micros: 10, right_extent_micros: 1 });
    for changes in [Changes::Append, Changes::Retract] {
        let mut join = join([&times, &times], [changes; 2], JoinKind::Left, &[(0, 0)], None, closing);
        let mut out = Collector::default();
        join.on_batch(Port(0), rows(&[10, 20, 30]), &mut out).unwrap();
        join.on_batch(Port(1), rows(&[10, 20]), &mut out).unwrap();
        join.on_watermark(Watermark::at_micros(30), &mut out).unwrap();
        join.on_epoch(&mut out).unwrap();
        assert_eq!(out.rows().len(), 3);
        let parts = join.snapshot(SnapshotKind::Full).unwrap();
        let sizes: Vec<usize> = parts.iter().map(|part| part.rows.num_rows()).collect();
        assert_eq!(sizes, vec![1, 0], "only the left row at 30 may still find a match");
    }
}

#[test]
fn many_small_batches_are_merged_and_stay_right() {
    let schema = int_schema(&["k", "sv"]);
    for kind in [Changes::Append, Changes::Retract] {
        let mut join = join([&schema, &schema], [kind; 2], JoinKind::Inner, &[(0, 0)], None, None);
        let mut out = Collector::default();
        for at in 0..300 {
            join.on_batch(Port(0), changes(&schema, &[(vec![Some(at % 10), Some(at)], 1)]), &mut out).unwrap();
            if kind == Changes::Retract && at % 3 == 2 {
                let taken = at - 2;
                let batch = changes(&schema, &[(vec![Some(taken % 10), Some(taken)], -1)]);
                join.on_batch(Port(0), batch, &mut out).unwrap();
            }
            join.on_epoch(&mut out).unwrap();
        }
        join.on_batch(Port(1), changes(&schema, &[(vec![Some(4), Some(0)], 1)]), &mut out).unwrap();
        let kept = (0..300).filter(|at| at % 10 == 4 && (kind == Changes::Append || at % 3 != 0));
        let mut expected: Vec<(String, i64)> = kept.map(|at| (format!("4|{at}|4|0"), 1)).collect();
        expected.sort();
        assert_eq!(out.rows(), expected, "{kind:?}");
    }
}
