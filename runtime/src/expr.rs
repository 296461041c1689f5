//! Row expressions with the failing rows set apart.
//!
//! DataFusion evaluates a batch or fails it. Here one bad row costs only itself: when a batch fails it is
//! halved until the rows that fail stand alone. A row fails as a whole if any of the expressions fails on it.
//! Reasons are worded as Postgres words them.
//!
//! A panic inside an expression counts as a failure of the row that causes it. Only an expression that fails
//! on no rows at all is an error of ours: it can't have been the data.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;

use crate::error::{Error, Result};

/// Expressions over the rows of one schema.
pub struct RowExpressions {
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

/// The values of expressions over a batch.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// One array per expression, over the rows that succeeded.
    pub columns: Vec<ArrayRef>,
    /// Which rows succeeded, rising; `None` means all of them.
    pub succeeded: Option<UInt32Array>,
    /// The rows that failed, rising, each with its reason.
    pub failures: Vec<(usize, String)>,
}

/// What a failed attempt says: the first line for people, and where it came from.
type Failure = String;

impl RowExpressions {
    /// Expressions over rows of `schema`.
    pub fn new(expressions: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef) -> Self {
        Self { expressions, schema }
    }

    /// The values for every row that does not fail.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<Evaluated> {
        if let Ok(columns) = self.attempt(batch) {
            return Ok(Evaluated { columns, succeeded: None, failures: Vec::new() });
        }
        if let Err(error) = self.attempt(&batch.slice(0, 0)) {
            return Err(Error::internal(format!("an expression can't be evaluated: {error}")));
        }
        let mut parts = Parts { columns: vec![Vec::new(); self.expressions.len()], ..Parts::default() };
        self.halve(batch, 0, &mut parts);
        let columns = parts.columns.iter().zip(&self.expressions).map(|(parts, expression)| {
            let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
            if parts.is_empty() {
                return Ok(arrow::array::new_empty_array(&expression.data_type(&self.schema)?));
            }
            Ok(compute::concat(&parts)?)
        });
        let columns = columns.collect::<Result<_>>()?;
        Ok(Evaluated { columns, succeeded: Some(parts.succeeded.into()), failures: parts.failures })
    }

    fn halve(&self, batch: &RecordBatch, first_row: usize, parts: &mut Parts) {
        let length = batch.num_rows();
        if length == 1 {
            return match self.attempt(batch) {
                Ok(columns) => parts.succeed(columns, first_row, 1),
                Err(reason) => parts.failures.push((first_row, reason)),
            };
        }
        for (start, length) in [(0, length / 2), (length / 2, length - length / 2)] {
            let half = batch.slice(start, length);
            match self.attempt(&half) {
                Ok(columns) => parts.succeed(columns, first_row + start, length),
                Err(reason) if length == 1 => parts.failures.push((first_row + start, reason)),
                Err(_) => self.halve(&half, first_row + start, parts),
            }
        }
    }

    /// All expressions over all rows, or why not.
    fn attempt(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, Failure> {
        self.expressions.iter().map(|expression| self.attempt_one(expression, batch)).collect()
    }

    fn attempt_one(&self, expression: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<ArrayRef, Failure> {
        match evaluate(expression, batch) {
            Ok(array) => Ok(array),
            Err(error) => {
                let culprit = self.innermost_failure(expression, batch);
                let data_type = culprit.data_type(&self.schema).unwrap_or(DataType::Null);
                Err(reason(&error, &data_type))
            }
        }
    }

    /// The innermost part of a failing expression that still fails: its type names what is out of range.
    fn innermost_failure<'a>(
        &self,
        expression: &'a Arc<dyn PhysicalExpr>,
        batch: &RecordBatch,
    ) -> &'a Arc<dyn PhysicalExpr> {
        // Only single rows are looked at: for more, nobody reads the reason.
        if batch.num_rows() != 1 {
            return expression;
        }
        let failing = expression.children().into_iter().find(|child| evaluate(child, batch).is_err());
        failing.map_or(expression, |child| self.innermost_failure(child, batch))
    }
}

/// What has been found out about the rows of a failing batch.
#[derive(Default)]
struct Parts {
    columns: Vec<Vec<ArrayRef>>,
    succeeded: Vec<u32>,
    failures: Vec<(usize, String)>,
}

impl Parts {
    fn succeed(&mut self, columns: Vec<ArrayRef>, first_row: usize, length: usize) {
        self.succeeded.extend(first_row as u32..(first_row + length) as u32);
        for (parts, column) in self.columns.iter_mut().zip(columns) {
            parts.push(column);
        }
    }
}

/// Why an expression gave no value.
enum Trouble {
    Error(DataFusionError),
    Panic(String),
}

fn evaluate(expression: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<ArrayRef, Trouble> {
    // Expressions hold no state that a panic could leave half changed: they are evaluated by shared reference.
    let attempt = catch_unwind(AssertUnwindSafe(|| expression.evaluate(batch)?.into_array(batch.num_rows())));
    match attempt {
        Ok(Ok(array)) => Ok(array),
        Ok(Err(error)) => Err(Trouble::Error(error)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Err(Trouble::Panic(text.unwrap_or_else(|| "no message".to_owned())))
        }
    }
}

/// The failure in Postgres' words; `data_type` is what the failing part would have given.
fn reason(trouble: &Trouble, data_type: &DataType) -> String {
    let error = match trouble {
        Trouble::Panic(text) => return format!("the expression panicked: {text}"),
        Trouble::Error(error) => error,
    };
    match error.find_root() {
        DataFusionError::ArrowError(error, _) => arrow_reason(error, data_type),
        DataFusionError::Execution(message) => lower_first(message),
        DataFusionError::External(own) => lower_first(&own.to_string()),
        other => lower_first(&other.strip_backtrace()),
    }
}

fn arrow_reason(error: &ArrowError, data_type: &DataType) -> String {
    match error {
        ArrowError::DivideByZero => "division by zero".to_owned(),
        ArrowError::ArithmeticOverflow(_) => out_of_range(data_type),
        ArrowError::CastError(message) | ArrowError::ParseError(message) | ArrowError::ComputeError(message) => {
            let type_name = postgres_name(data_type);
            if let Some(text) = quoted(message).filter(|_| is_parse_message(message)) {
                format!("invalid input syntax for type {type_name}: \"{text}\"")
            } else if message.starts_with("Can't cast value") || message.contains("is too large to store") {
                out_of_range(data_type)
            } else {
                lower_first(message)
            }
        }
        ArrowError::InvalidArgumentError(message) if message.contains("is too large to store") => {
            out_of_range(data_type)
        }
        ArrowError::InvalidArgumentError(message) => lower_first(message),
        other => lower_first(&other.to_string()),
    }
}

fn is_parse_message(message: &str) -> bool {
    message.starts_with("Cannot cast string") || message.starts_with("Error parsing") || message.contains("parse")
}

/// What stands between the first and the last single quote.
fn quoted(message: &str) -> Option<&str> {
    let (start, end) = (message.find('\'')?, message.rfind('\'')?);
    message.get(start + 1..end)
}

fn out_of_range(data_type: &DataType) -> String {
    match data_type {
        DataType::Decimal128(..) | DataType::Decimal256(..) => "numeric field overflow".to_owned(),
        DataType::Float32 | DataType::Float64 => "value out of range: overflow".to_owned(),
        other => format!("{} out of range", postgres_name(other)),
    }
}

/// The type's name in Postgres' messages.
fn postgres_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Int8 | DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        DataType::Decimal128(..) | DataType::Decimal256(..) => "numeric",
        DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Boolean => "boolean",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone",
        DataType::Interval(_) | DataType::Duration(_) => "interval",
        DataType::Utf8 | DataType::LargeUtf8 => "text",
        DataType::Utf8View => "character",
        other => return other.to_string().to_lowercase(),
    }
    .to_owned()
}

/// A message as Postgres begins them.
fn lower_first(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    let mut characters = message.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::datatypes::{Field, Int64Type, Schema};
    use datafusion::logical_expr::Operator;
    use datafusion::physical_expr::expressions::{BinaryExpr, cast, col, lit};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Int64, true),
            Field::new("t", DataType::Utf8, true),
        ]))
    }

    fn batch(rows: &[(i64, i64, &str)]) -> RecordBatch {
        let a: Int64Array = rows.iter().map(|row| row.0).collect();
        let b: Int64Array = rows.iter().map(|row| row.1).collect();
        let t: StringArray = rows.iter().map(|row| Some(row.2)).collect();
        RecordBatch::try_new(schema(), vec![Arc::new(a), Arc::new(b), Arc::new(t)]).unwrap()
    }

    fn checked(left: Arc<dyn PhysicalExpr>, op: Operator, right: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
        Arc::new(BinaryExpr::new(left, op, right).with_fail_on_overflow(true))
    }

    #[test]
    fn reasons_are_those_of_postgres() {
        let schema = schema();
        let column = |name: &str| col(name, &schema).unwrap();
        let quotient = checked(column("a"), Operator::Divide, column("b"));
        let sum = checked(column("a"), Operator::Plus, column("b"));
        let number = cast(column("t"), &schema, DataType::Int64).unwrap();
        let small = cast(column("a"), &schema, DataType::Int16).unwrap();
        let nested = checked(checked(column("a"), Operator::Multiply, lit(2_i64)), Operator::Gt, lit(0_i64));
        let cases = [
            (quotient, (1, 0, ""), "division by zero"),
            (sum, (i64::MAX, 1, ""), "bigint out of range"),
            (number, (0, 0, "abc"), "invalid input syntax for type bigint: \"abc\""),
            (small, (70_000, 0, ""), "smallint out of range"),
            (nested, (i64::MAX, 0, ""), "bigint out of range"),
        ];
        for (expression, row, expected) in cases {
            let expressions = RowExpressions::new(vec![expression], Arc::clone(&schema));
            let evaluated = expressions.evaluate(&batch(&[row])).unwrap();
            assert_eq!(evaluated.failures, vec![(0, expected.to_owned())]);
            assert_eq!(evaluated.columns[0].len(), 0);
        }
    }

    #[test]
    fn only_the_bad_rows_fail() {
        let schema = schema();
        let column = |name: &str| col(name, &schema).unwrap();
        let expressions = RowExpressions::new(
            vec![checked(column("a"), Operator::Divide, column("b")), column("a"), lit(7_i64)],
            Arc::clone(&schema),
        );
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let rows: Vec<(i64, i64, &str)> =
                (0..random.random_range(0..40)).map(|row| (row, i64::from(!random.random_bool(0.2)), "")).collect();
            let evaluated = expressions.evaluate(&batch(&rows)).unwrap();
            let bad: Vec<usize> = (0..rows.len()).filter(|row| rows[*row].1 == 0).collect();
            let good: Vec<i64> = rows.iter().filter(|row| row.1 != 0).map(|row| row.0).collect();
            assert_eq!(evaluated.failures.iter().map(|(row, _)| *row).collect::<Vec<_>>(), bad, "seed {seed}");
            assert_eq!(evaluated.columns[0].as_primitive::<Int64Type>().values(), good.as_slice(), "seed {seed}");
            assert_eq!(evaluated.columns[1].as_primitive::<Int64Type>().values(), good.as_slice(), "seed {seed}");
            assert_eq!(evaluated.columns[2].len(), good.len(), "seed {seed}");
            let succeeded = evaluated.succeeded.map(|rows| rows.values().to_vec());
            let expected = (!bad.is_empty()).then(|| good.iter().map(|row| *row as u32).collect());
            assert_eq!(succeeded, expected, "seed {seed}");
        }
    }
}
