//! Every aggregate against fixed answers, and against itself over shuffled, cut, merged and retracted input.

#![allow(clippy::unwrap_used)]

use arrow::array::{
    Decimal128Array, Float64Array, Int16Array, Int64Array, ListArray, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Int64Type, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::*;

fn spec(function: AggregateFunction, argument: &DataType) -> AggregateSpec {
    AggregateSpec { function, argument: Some(argument.clone()), distinct: false, order: vec![], retractable: true }
}

/// The result of one group over all rows of `values`, as text; the reason if it fails.
fn result_of(spec: &AggregateSpec, values: &ArrayRef, weights: Option<&[i64]>) -> String {
    let mut states = AggregateStates::new(spec).unwrap();
    states.resize(1);
    let groups = vec![0; values.len()];
    states.update(Update { argument: Some(values), order: &[], filter: None, groups: &groups, weights }).unwrap();
    text(&states.evaluate(&[0]).unwrap(), 0)
}

fn text(evaluated: &Evaluated, index: usize) -> String {
    if let Some((_, reason)) = evaluated.failures.iter().find(|(at, _)| *at == index) {
        return format!("error: {reason}");
    }
    let options = FormatOptions::default().with_null("NULL");
    ArrayFormatter::try_new(&evaluated.values, &options).unwrap().value(index).to_string()
}

#[test]
fn fixed_answers() {
    use AggregateFunction as F;
    let smallints: ArrayRef = Arc::new(Int16Array::from(vec![Some(1), None, Some(2), Some(2)]));
    let bigints: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, i64::MAX, 1]));
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.1), Some(0.2), Some(f64::NAN), None]));
    let decimals: ArrayRef = Arc::new(Decimal128Array::from(vec![150, -50]).with_precision_and_scale(5, 2).unwrap());
    let huge: ArrayRef = Arc::new(
        Decimal128Array::from(vec![99 * 10_i128.pow(36), 99 * 10_i128.pow(36)])
            .with_precision_and_scale(38, 0)
            .unwrap(),
    );
    let words: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), Some("a"), None, Some("b")]));
    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]));
    let comma = F::StringAgg { delimiter: ", ".into() };
    let cases: Vec<(F, &ArrayRef, bool, &str)> = vec![
        (F::Count, &smallints, false, "3"),
        (F::Count, &smallints, true, "2"),
        (F::Sum, &smallints, false, "5"),
        (F::Sum, &smallints, true, "3"),
        (F::Avg, &smallints, false, "1.6666666666666667"),
        (F::Mean, &smallints, false, "1.666666666666666700000000"),
        (F::Min, &smallints, false, "1"),
        (F::Max, &smallints, false, "2"),
        (F::ArrayAgg, &smallints, false, "[1, 2, 2, NULL]"),
        (F::ArrayAgg, &smallints, true, "[1, 2, NULL]"),
        (F::Sum, &bigints, false, "18446744073709551615"),
        (F::Avg, &bigints, false, "6148914691236517205.0000000000000000"),
        (F::Mean, &bigints, false, "6148914691236517205.000000000000000000000000"),
        (F::Max, &floats, false, "NaN"),
        (F::Min, &floats, false, "0.1"),
        (F::Sum, &floats, false, "NaN"),
        (F::Count, &floats, false, "3"),
        (F::Sum, &decimals, false, "1.00"),
        (F::Avg, &decimals, false, "0.5000000000000000"),
        (F::Sum, &huge, false, "error: numeric field overflow"),
        (comma.clone(), &words, false, "a, b, b"),
        (comma, &words, true, "a, b"),
        (F::Min, &words, false, "a"),
        (F::Max, &words, false, "b"),
        (F::BoolAnd, &flags, false, "false"),
        (F::BoolOr, &flags, false, "true"),
    ];
    for (function, values, distinct, expected) in cases {
        for retractable in [true, false] {
            let spec = AggregateSpec { distinct, retractable, ..spec(function.clone(), values.data_type()) };
            assert_eq!(result_of(&spec, values, None), expected, "{spec:?}");
        }
    }
}

#[test]
fn nothing_gives_null_and_count_zero() {
    for function in
        [AggregateFunction::Sum, AggregateFunction::Avg, AggregateFunction::Min, AggregateFunction::ArrayAgg]
    {
        let none: ArrayRef = Arc::new(Int64Array::from(Vec::<i64>::new()));
        assert_eq!(result_of(&spec(function, &DataType::Int64), &none, None), "NULL");
        assert_eq!(result_of(&spec(AggregateFunction::Count, &DataType::Int64), &none, None), "0");
    }
}

#[test]
fn an_overflow_goes_away_when_rows_are_taken_back() {
    let values: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![i32::MAX, i32::MAX]));
    let sum = spec(AggregateFunction::Sum, &DataType::Int32);
    assert_eq!(result_of(&sum, &values, Some(&[1 << 33, 1])), "error: bigint out of range");
    assert_eq!(result_of(&sum, &values, Some(&[1 << 33, -(1 << 33) + 1])), "2147483647");
}

#[test]
fn taking_back_what_is_not_there_is_a_bug() {
    let values: ArrayRef = Arc::new(Int64Array::from(vec![4, 5]));
    for function in [AggregateFunction::Count, AggregateFunction::Sum, AggregateFunction::Min] {
        for distinct in [false, true] {
            let mut states =
                AggregateStates::new(&AggregateSpec { distinct, ..spec(function.clone(), &DataType::Int64) }).unwrap();
            states.resize(1);
            let weights = [-1, -1];
            let update =
                Update { argument: Some(&values), order: &[], filter: None, groups: &[0, 0], weights: Some(&weights) };
            states.update(update).unwrap();
            let error = states.evaluate(&[0]).unwrap_err();
            assert_eq!(error.kind, crate::ErrorKind::Internal);
            // Before the epoch ends it may come right again.
            states.update(Update { weights: Some(&[1, 2]), ..update }).unwrap();
            assert!(states.evaluate(&[0]).is_ok());
        }
    }
}

#[test]
fn a_filter_leaves_rows_out() {
    let values: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 4]));
    let filter = BooleanArray::from(vec![Some(true), None, Some(true)]);
    let mut states = AggregateStates::new(&spec(AggregateFunction::Sum, &DataType::Int64)).unwrap();
    states.resize(2);
    let update =
        Update { argument: Some(&values), order: &[], filter: Some(&filter), groups: &[0, 0, 1], weights: None };
    states.update(update).unwrap();
    let evaluated = states.evaluate(&[1, 0]).unwrap();
    assert_eq!((text(&evaluated, 0), text(&evaluated, 1)), ("4".into(), "1".into()));
}

#[test]
fn an_order_is_kept_and_ties_are_settled_by_the_value() {
    let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(3), Some(1), None, Some(2)]));
    let order: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(7), Some(7), None]));
    let options = SortOptions { descending: true, nulls_first: true };
    let mut spec = spec(AggregateFunction::ArrayAgg, &DataType::Int64);
    spec.order = vec![(DataType::Int64, options)];
    let mut states = AggregateStates::new(&spec).unwrap();
    states.resize(1);
    let order = [order];
    let update = Update { argument: Some(&values), order: &order, filter: None, groups: &[0, 0, 0, 0], weights: None };
    states.update(update).unwrap();
    assert_eq!(text(&states.evaluate(&[0]).unwrap(), 0), "[2, 1, NULL, 3]");
}

/// Random rows: group, value index, weight.
type Rows = Vec<(u32, usize, i64)>;

fn apply(states: &mut AggregateStates, values: &ArrayRef, rows: &Rows, random: &mut StdRng) {
    let mut rest = rows.as_slice();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(random.random_range(1..=rest.len()));
        rest = later;
        let indices: Int64Array = now.iter().map(|(_, index, _)| *index as i64).collect();
        let column = compute::take(values, &indices, None).unwrap();
        let groups: Vec<u32> = now.iter().map(|(group, ..)| *group).collect();
        let weights: Vec<i64> = now.iter().map(|(.., weight)| *weight).collect();
        let update =
            Update { argument: Some(&column), order: &[], filter: None, groups: &groups, weights: Some(&weights) };
        states.update(update).unwrap();
    }
}

fn random_values(random: &mut StdRng) -> Vec<ArrayRef> {
    let null = |random: &mut StdRng| random.random_bool(0.2);
    let bigints: Int64Array = (0..12).map(|_| (!null(random)).then(|| random.random_range(-5..5) << 60)).collect();
    let floats: Float64Array =
        (0..12).map(|_| (!null(random)).then(|| f64::from(random.random_range(-9..9)) / 7.0)).collect();
    let words: StringArray = (0..12).map(|i| (!null(random)).then(|| "xyzxyzxyzxyz"[i..].to_string())).collect();
    let times: TimestampMicrosecondArray =
        (0..12).map(|_| (!null(random)).then(|| random.random_range(-9..9))).collect();
    let flags: BooleanArray = (0..12).map(|_| (!null(random)).then(|| random.random_bool(0.7))).collect();
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(
        (0..12).map(|i| (!null(random)).then(|| vec![Some(i % 3), None])),
    );
    let wide = compute::cast(&bigints, &DataType::Decimal256(60, 5)).unwrap();
    let narrow = compute::cast(&bigints, &DataType::Decimal128(30, 2)).unwrap();
    vec![
        Arc::new(bigints),
        Arc::new(floats),
        Arc::new(words),
        Arc::new(times),
        Arc::new(flags),
        Arc::new(lists),
        wide,
        narrow,
    ]
}

#[test]
fn results_are_functions_of_the_multiset() {
    use AggregateFunction as F;
    let functions = [
        F::Count,
        F::Sum,
        F::Min,
        F::Max,
        F::Avg,
        F::Mean,
        F::BoolAnd,
        F::BoolOr,
        F::StringAgg { delimiter: "-".into() },
        F::ArrayAgg,
    ];
    for seed in 0..40 {
        let mut random = StdRng::seed_from_u64(seed);
        for values in random_values(&mut random) {
            let net: Rows = (0..30).map(|_| (random.random_range(0..3), random.random_range(0..12), 1)).collect();
            // The same rows with detours, in another order.
            let mut detours = net.clone();
            for _ in 0..20 {
                let (group, index) = (random.random_range(0..3), random.random_range(0..12));
                let weight = random.random_range(1..4);
                detours.extend([(group, index, weight), (group, index, -weight)]);
            }
            detours.shuffle(&mut random);
            for function in &functions {
                for distinct in [false, true] {
                    if result_type(function, Some(values.data_type())).is_err() {
                        continue;
                    }
                    let spec = AggregateSpec { distinct, ..spec(function.clone(), values.data_type()) };
                    check_multiset(&spec, &values, &net, &detours, &mut random, seed);
                }
            }
        }
    }
}

fn check_multiset(spec: &AggregateSpec, values: &ArrayRef, net: &Rows, detours: &Rows, random: &mut StdRng, seed: u64) {
    let make = |retractable| {
        let mut states = AggregateStates::new(&AggregateSpec { retractable, ..spec.clone() }).unwrap();
        states.resize(4);
        states
    };
    let mut straight = make(false);
    apply(&mut straight, values, net, random);
    let expected = straight.evaluate(&[0, 1, 2, 3]).unwrap();
    assert_eq!(expected.values.data_type(), straight.result_type());

    let mut retracting = make(true);
    apply(&mut retracting, values, detours, random);
    let actual = retracting.evaluate(&[0, 1, 2, 3]).unwrap();
    assert_eq!(&actual.values, &expected.values, "seed {seed}, {spec:?}");
    assert_eq!(actual.failures, expected.failures, "seed {seed}, {spec:?}");

    // Two halves, one of them through bytes.
    let (mut left, mut right) = (make(true), make(true));
    let (first, second) = detours.split_at(detours.len() / 2);
    apply(&mut left, values, &first.to_vec(), random);
    apply(&mut right, values, &second.to_vec(), random);
    left.merge(&[0, 1, 2, 3], &right.save(&[0, 1, 2, 3])).unwrap();
    assert_eq!(&left.evaluate(&[0, 1, 2, 3]).unwrap().values, &expected.values, "seed {seed}, {spec:?}");
    left.reset(1);
    let reset = left.evaluate(&[1]).unwrap();
    assert_eq!(&reset.values, &expected.values.slice(3, 1), "group 3 has no rows; seed {seed}, {spec:?}");
}

#[test]
fn result_types_are_those_of_the_plan() {
    use AggregateFunction as F;
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let cases = [
        (F::Count, DataType::Utf8, Some(DataType::Int64)),
        (F::Sum, DataType::Int16, Some(DataType::Int64)),
        (F::Sum, DataType::Int64, Some(DataType::Decimal128(38, 0))),
        (F::Sum, DataType::Decimal128(10, 3), Some(DataType::Decimal128(38, 3))),
        (F::Sum, DataType::Float32, Some(DataType::Float32)),
        (F::Avg, DataType::Int32, Some(DataType::Decimal128(38, 16))),
        (F::Avg, DataType::Decimal128(30, 20), Some(DataType::Decimal128(38, 20))),
        (F::Avg, DataType::Float32, Some(DataType::Float64)),
        (F::Mean, DataType::Int32, Some(DataType::Decimal128(38, 24))),
        (F::Mean, DataType::Int64, Some(DataType::Decimal256(76, 24))),
        (F::Mean, DataType::Decimal128(10, 2), Some(DataType::Decimal128(38, 28))),
        (F::Mean, DataType::Decimal128(38, 16), Some(DataType::Decimal256(76, 38))),
        (F::Mean, DataType::Float32, Some(DataType::Float64)),
        (F::Max, micros.clone(), Some(micros.clone())),
        (F::Sum, micros, None),
        (F::Sum, DataType::Utf8, None),
        (F::BoolAnd, DataType::Int64, None),
    ];
    for (function, argument, expected) in cases {
        assert_eq!(result_type(&function, Some(&argument)).ok(), expected, "{function:?}({argument})");
    }
    assert!(result_type(&F::Sum, None).is_err());
}
