//! Acceptance: what a relation makes of rows before anything else sees them.
//!
//! Decided here, once, and by the row, the relation's declared schema and the recorded state of the row's own
//! split only (invariant 3): generated columns, NOT NULL, the event time, and whether the row is late. The
//! same code serves a source's pump, a catching-up reader and the commit writer, so all of them agree.
//!
//! Attacked by `tests::every_row_is_accepted_late_or_rejected` and `tests::a_replay_decides_alike`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};

use crate::error::{Error, Result};
use crate::expr::RowExpressions;
use crate::graph::moments::with_digits;
use crate::graph::texts::{Fitted, fitted, without_blanks};
use crate::plan::{InputRelation, WatermarkSpec};
use crate::source::Position;
use crate::time::Watermark;

/// A split's watermark and floor. A row below either (less the allowed lateness) is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SplitClock {
    /// The highest watermark that a row of the split has implied.
    pub watermark: Watermark,
    /// The relation's merged watermark when the split was found or came back from being idle.
    pub floor: Watermark,
}

impl SplitClock {
    /// A split of which nothing is known, found while the merged watermark stood at `floor`.
    pub fn starting_at(floor: Watermark) -> Self {
        Self { watermark: Watermark::NONE, floor }
    }
}

/// What became of a batch.
#[derive(Debug)]
pub struct Accepted {
    /// The accepted rows with all columns.
    pub rows: RecordBatch,
    /// The late rows with all columns.
    pub late: RecordBatch,
    /// Rows (by number in the batch that came) that the schema refuses, with reasons.
    pub rejected: Vec<(usize, String)>,
}

/// Accepts the rows of one relation.
pub struct Acceptor {
    schema: SchemaRef,
    physical_columns: usize,
    generated: Option<RowExpressions>,
    not_null: Vec<usize>,
    text_lengths: Vec<(usize, usize)>,
    second_digits: Vec<(usize, u8)>,
    watermark: Option<(WatermarkSpec, RowExpressions)>,
}

impl Acceptor {
    /// An acceptor for a declared relation.
    pub fn new(relation: &InputRelation) -> Result<Self> {
        let schema = Arc::clone(&relation.schema);
        let physical = Arc::new(schema.project(&(0..relation.physical_columns).collect::<Vec<_>>())?);
        let generated = match relation.generated.as_slice() {
            [] => None,
            expressions => Some(RowExpressions::new(expressions.to_vec(), physical)),
        };
        let watermark = match &relation.watermark {
            None => None,
            Some(spec) => {
                let expression = RowExpressions::new(vec![Arc::clone(&spec.expression)], Arc::clone(&schema));
                Some((spec.clone(), expression))
            }
        };
        let not_null = (0..schema.fields().len()).filter(|column| !schema.field(*column).is_nullable()).collect();
        let (text_lengths, second_digits) = (relation.text_lengths.clone(), relation.second_digits.clone());
        let physical_columns = relation.physical_columns;
        Ok(Self { schema, physical_columns, generated, not_null, text_lengths, second_digits, watermark })
    }

    /// Accepts rows of one split, in the order of their positions, and moves its clock on.
    ///
    /// `physical` has the relation's physical columns. Rows are looked at one after the other: whether a row is
    /// late depends on the rows before it, never on those behind it or on where a batch was cut.
    pub fn accept(&self, physical: &RecordBatch, clock: &mut SplitClock) -> Result<Accepted> {
        if physical.num_columns() != self.physical_columns {
            return Err(Error::internal("a batch has another number of columns than its relation"));
        }
        let mut rejected = Vec::new();
        let physical = with_digits(without_blanks(physical)?, &self.second_digits)?;
        let (rows, mut numbers) = self.generate(&physical, &mut rejected)?;
        let rows = self.refuse_nulls(rows, &mut numbers, &mut rejected)?;
        let rows = self.refuse_long_texts(rows, &mut numbers, &mut rejected)?;
        let (rows, late) = match &self.watermark {
            None => {
                let late = rows.slice(0, 0);
                (rows, late)
            }
            Some((spec, expression)) => split_late(spec, expression, rows, &mut numbers, &mut rejected, clock)?,
        };
        rejected.sort_unstable_by_key(|(row, _)| *row);
        // Nullability is part of the declared schema; only now does it hold.
        let rows = self.declared(rows)?;
        let late = self.declared(late)?;
        Ok(Accepted { rows, late, rejected })
    }

    /// Whether a row with this event time may still be changed or come, as DML asks before UPDATE and DELETE.
    pub fn admits(&self, event_micros: i64, clock: &SplitClock) -> bool {
        self.watermark.as_ref().is_none_or(|(spec, _)| on_time(spec, event_micros, clock))
    }

    /// The declared event time column.
    pub fn event_time_column(&self) -> Option<usize> {
        self.watermark.as_ref().map(|(spec, _)| spec.column)
    }

    /// All columns of the rows whose generated columns can be computed, and their numbers in `physical`.
    fn generate(
        &self,
        physical: &RecordBatch,
        rejected: &mut Vec<(usize, String)>,
    ) -> Result<(RecordBatch, Vec<usize>)> {
        let all = || (0..physical.num_rows()).collect::<Vec<_>>();
        let nullable = Arc::new(arrow::datatypes::Schema::new(
            self.schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>(),
        ));
        let Some(generated) = &self.generated else {
            return Ok((batch(nullable, physical.columns().to_vec(), physical.num_rows())?, all()));
        };
        let evaluated = generated.evaluate(physical)?;
        rejected.extend(evaluated.failures);
        let (base, numbers) = match &evaluated.succeeded {
            None => (physical.clone(), all()),
            Some(kept) => {
                (compute::take_record_batch(physical, kept)?, kept.values().iter().map(|row| *row as usize).collect())
            }
        };
        let columns: Vec<ArrayRef> = base.columns().iter().cloned().chain(evaluated.columns).collect();
        Ok((batch(nullable, columns, numbers.len())?, numbers))
    }

    fn refuse_nulls(
        &self,
        rows: RecordBatch,
        numbers: &mut Vec<usize>,
        rejected: &mut Vec<(usize, String)>,
    ) -> Result<RecordBatch> {
        let mut keep: Option<Vec<bool>> = None;
        for column in &self.not_null {
            let array = rows.column(*column);
            if array.logical_null_count() == 0 {
                continue;
            }
            let keep = keep.get_or_insert_with(|| vec![true; rows.num_rows()]);
            let nulls = array.logical_nulls().expect("there are nulls");
            for row in 0..rows.num_rows() {
                if nulls.is_null(row) && std::mem::replace(&mut keep[row], false) {
                    let name = self.schema.field(*column).name();
                    rejected
                        .push((numbers[row], format!("null value in column \"{name}\" violates not-null constraint")));
                }
            }
        }
        match keep {
            None => Ok(rows),
            Some(keep) => kept(&rows, numbers, keep),
        }
    }

    /// Texts longer than their columns take are refused; as in Postgres, blanks that are too many are cut.
    fn refuse_long_texts(
        &self,
        mut rows: RecordBatch,
        numbers: &mut Vec<usize>,
        rejected: &mut Vec<(usize, String)>,
    ) -> Result<RecordBatch> {
        for (column, length_max) in &self.text_lengths {
            let Some(Fitted { keep, column: cut, reason }) = fitted(rows.column(*column), *length_max)? else {
                continue;
            };
            let long = keep.iter().zip(numbers.iter()).filter(|(keep, _)| !**keep);
            rejected.extend(long.map(|(_, number)| (*number, reason.clone())));
            let mut columns = rows.columns().to_vec();
            columns[*column] = cut;
            let shortened = batch(rows.schema(), columns, rows.num_rows())?;
            rows = kept(&shortened, numbers, keep)?;
        }
        Ok(rows)
    }

    fn declared(&self, rows: RecordBatch) -> Result<RecordBatch> {
        batch(Arc::clone(&self.schema), rows.columns().to_vec(), rows.num_rows())
    }
}

/// The rows to keep, and their numbers.
fn kept(rows: &RecordBatch, numbers: &mut Vec<usize>, keep: Vec<bool>) -> Result<RecordBatch> {
    *numbers = numbers.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(number, _)| *number).collect();
    Ok(compute::filter_record_batch(rows, &BooleanArray::from(keep))?)
}

/// Parts the rows into accepted and late ones; a row without event time is rejected.
fn split_late(
    spec: &WatermarkSpec,
    expression: &RowExpressions,
    rows: RecordBatch,
    numbers: &mut Vec<usize>,
    rejected: &mut Vec<(usize, String)>,
    clock: &mut SplitClock,
) -> Result<(RecordBatch, RecordBatch)> {
    let evaluated = expression.evaluate(&rows)?;
    rejected.extend(evaluated.failures.into_iter().map(|(row, reason)| (numbers[row], format!("watermark: {reason}"))));
    let (rows, kept) = match &evaluated.succeeded {
        None => (rows, std::mem::take(numbers)),
        Some(kept) => {
            let left = kept.values().iter().map(|row| numbers[*row as usize]).collect();
            (compute::take_record_batch(&rows, kept)?, left)
        }
    };
    let micros = |array: &ArrayRef| array.as_primitive_opt::<TimestampMicrosecondType>().cloned();
    let wrong = || Error::internal("event times and watermarks are timestamps in microseconds");
    let times = micros(rows.column(spec.column)).ok_or_else(wrong)?;
    let implied = micros(&evaluated.columns[0]).ok_or_else(wrong)?;
    let (mut on, mut late) = (Vec::with_capacity(rows.num_rows()), Vec::new());
    for (row, number) in kept.iter().enumerate() {
        if times.is_null(row) {
            rejected.push((*number, "the event time is null".to_string()));
            continue;
        }
        // One such row would make all others late.
        if matches!(times.value(row), i64::MAX | i64::MIN) {
            rejected.push((*number, "the event time is infinite".to_string()));
            continue;
        }
        if on_time(spec, times.value(row), clock) {
            on.push(row as u32);
        } else {
            late.push(row as u32);
        }
        if implied.is_valid(row) {
            clock.watermark = clock.watermark.max(Watermark::at_micros(implied.value(row)));
        }
    }
    if on.len() == rows.num_rows() {
        let none = rows.slice(0, 0);
        return Ok((rows, none));
    }
    let accepted = compute::take_record_batch(&rows, &UInt32Array::from(on))?;
    Ok((accepted, compute::take_record_batch(&rows, &UInt32Array::from(late))?))
}

fn on_time(spec: &WatermarkSpec, event_micros: i64, clock: &SplitClock) -> bool {
    clock.watermark.admits(event_micros.saturating_add(spec.allowed_lateness_micros))
        && clock.floor.admits(event_micros)
}

/// What the split promises: no row of it that is still accepted has an event time below this.
pub(crate) fn promised(spec: &WatermarkSpec, clock: &SplitClock) -> Watermark {
    let own = clock.watermark.micros();
    let unbounded = clock.watermark == Watermark::NONE || clock.watermark == Watermark::END;
    let own = if unbounded { own } else { own.saturating_sub(spec.allowed_lateness_micros) };
    Watermark::at_micros(own).max(clock.floor)
}

fn batch(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

/// A floor as it was set: rows at `from` and behind are held against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FloorChange {
    /// The first position that the floor holds for.
    pub from: Position,
    /// The floor.
    pub floor: Watermark,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use datafusion::logical_expr::Operator;
    use datafusion::physical_expr::PhysicalExpr;
    use datafusion::physical_expr::expressions::{BinaryExpr, Column, lit};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::plan::{Changes, RelationId};

    type Row = (Option<i64>, Option<i64>);

    /// `(v BIGINT, ts TIMESTAMP, q AS 100 / v NOT NULL)`, watermark `ts`, rows up to 5 µs late accepted.
    fn relation() -> InputRelation {
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let quotient: Arc<dyn PhysicalExpr> =
            Arc::new(BinaryExpr::new(lit(100_i64), Operator::Divide, Arc::new(Column::new("v", 0))));
        InputRelation {
            id: RelationId(1),
            name: "s".to_string(),
            schema: Arc::new(Schema::new(vec![
                Field::new("v", DataType::Int64, true),
                Field::new("ts", time, true),
                Field::new("q", DataType::Int64, false),
            ])),
            physical_columns: 2,
            generated: vec![quotient],
            watermark: Some(WatermarkSpec {
                column: 1,
                expression: Arc::new(Column::new("ts", 1)),
                allowed_lateness_micros: 5,
                idle_timeout_micros: None,
            }),
            changes: Changes::Append,
            primary_key: Vec::new(),
            text_lengths: Vec::new(),
            second_digits: Vec::new(),
        }
    }

    fn physical(rows: &[Row]) -> RecordBatch {
        let values: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0)));
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter(rows.iter().map(|row| row.1)));
        let schema = relation().schema.project(&[0, 1]).unwrap();
        RecordBatch::try_new(Arc::new(schema), vec![values, times]).unwrap()
    }

    fn random_rows(random: &mut StdRng) -> Vec<Row> {
        let count = random.random_range(1..60);
        let row = |at: i64, random: &mut StdRng| {
            let value = random.random_bool(0.9).then(|| random.random_range(0..4));
            let time = random.random_bool(0.9).then(|| at + random.random_range(-12..6));
            (value, time)
        };
        (0..count).map(|at| row(at, random)).collect()
    }

    /// Event times of the accepted rows, of the late ones, and the numbers of the rejected ones.
    fn accept(acceptor: &Acceptor, rows: &[Row], clock: &mut SplitClock) -> (Vec<i64>, Vec<i64>, Vec<usize>) {
        let accepted = acceptor.accept(&physical(rows), clock).unwrap();
        let times = |batch: &RecordBatch| batch.column(1).as_primitive::<TimestampMicrosecondType>().values().to_vec();
        (times(&accepted.rows), times(&accepted.late), accepted.rejected.into_iter().map(|(row, _)| row).collect())
    }

    #[test]
    fn every_row_is_accepted_late_or_rejected() {
        let acceptor = Acceptor::new(&relation()).unwrap();
        for seed in 0..200 {
            let rows = random_rows(&mut StdRng::seed_from_u64(seed));
            let floor = Watermark::at_micros(seed as i64 % 20);
            let mut clock = SplitClock::starting_at(floor);
            let (accepted, late, rejected) = accept(&acceptor, &rows, &mut clock);
            // The same, one row after the other, written down as the rules say it.
            let (mut on_time, mut behind, mut refused, mut highest) = (Vec::new(), Vec::new(), Vec::new(), i64::MIN);
            for (number, (value, time)) in rows.iter().enumerate() {
                match (value, time) {
                    (None | Some(0), _) | (_, None) => refused.push(number),
                    (Some(_), Some(time)) => {
                        let kept = time.saturating_add(5) >= highest && *time >= floor.micros();
                        if kept { &mut on_time } else { &mut behind }.push(*time);
                        highest = highest.max(*time);
                    }
                }
            }
            assert_eq!((accepted, late, rejected), (on_time, behind, refused), "seed {seed}");
            assert!(clock.watermark.micros() == highest, "seed {seed}");
        }
    }

    #[test]
    fn a_replay_decides_alike() {
        let acceptor = Acceptor::new(&relation()).unwrap();
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let rows = random_rows(&mut random);
            let whole = accept(&acceptor, &rows, &mut SplitClock::starting_at(Watermark::NONE));
            let mut clock = SplitClock::starting_at(Watermark::NONE);
            let mut parts = (Vec::new(), Vec::new(), Vec::new());
            let mut start = 0;
            while start < rows.len() {
                let end = random.random_range(start + 1..=rows.len());
                let (accepted, late, rejected) = accept(&acceptor, &rows[start..end], &mut clock);
                parts.0.extend(accepted);
                parts.1.extend(late);
                parts.2.extend(rejected.into_iter().map(|row| row + start));
                start = end;
            }
            assert_eq!(parts, whole, "other cuts, seed {seed}");
        }
    }
}
