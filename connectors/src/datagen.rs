//! `datagen`: rows made up from a description of their columns.
//!
//! | option | meaning |
//! |---|---|
//! | `rows.per.second` | rows per second of all splits; 10 unless set, 0 is as fast as they are taken |
//! | `number-of-rows` | how many rows there are; without it they never end |
//! | `datagen.split.num` | number of splits, 1 unless set |
//! | `fields.NAME.kind` | `random` (unless set) or `sequence` |
//! | `fields.NAME.start`, `.end` | of a sequence; 0 unless set; the source ends with the first sequence that ends |
//! | `fields.NAME.min`, `.max` | of random numbers, both included; 0 and 1000 unless set |
//! | `fields.NAME.length` | of random texts and bytes; 10 unless set |
//! | `fields.NAME.max-past` | how far a random timestamp lies at most behind its row: `500 ms`, `10 s`, `5 min`, `1 h`, `1 d`; 0 unless set |
//! | `fields.NAME.seed` | another seed gives other values; 0 unless set |
//!
//! A value is a pure function of the seed, the column's number and the row's number. The time of a row is the moment
//! at which it was due or, without a rate, 2024-01-01T00:00:00 and as many milliseconds as there are rows before.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, Float64Array, Int64Array, RecordBatch};
use arrow::array::{RecordBatchOptions, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use millstream_runtime::source::{ConnectorSpec, Source};
use millstream_runtime::{Error, Result};

use crate::ConnectorContext;
use crate::formats::{is_json, sql_type};
use crate::generator::{Generator, GeneratorSource, Numbers, Pace, Rate, check_declaration};
use crate::options::{Options, wrong};

/// Rows per second where no rate is set: enough to see something move.
const DEFAULT_ROWS_PER_SECOND: u64 = 10;

/// 2024-01-01T00:00:00Z.
const UNPACED_BASE_MICROS: i64 = 1_704_067_200_000_000;

/// Longer random texts serve no test and fill the memory.
const LENGTH_MAX: usize = 1 << 20;

/// The source as declared; nothing but options and columns is looked at.
pub fn source(spec: &ConnectorSpec, context: &ConnectorContext) -> Result<Arc<dyn Source>> {
    check_declaration(spec)?;
    let mut options = Options::of_connector(spec);
    let per_second = options.number::<u64>(&["rows.per.second", "rows-per-second", "datagen.rows.per.second"])?;
    let row_count = options.number::<u64>(&["number-of-rows", "number.of.rows"])?;
    let split_count = options.number::<u64>(&["datagen.split.num"])?.unwrap_or(1);
    if !(1..=1024).contains(&split_count) {
        return Err(Error::invalid("option \"datagen.split.num\" takes a number from 1 to 1024"));
    }
    let mut columns = Vec::new();
    let mut sequence_rows = Vec::new();
    for (index, field) in spec.schema.fields().iter().enumerate() {
        let (values, rows) = values(&mut options, field)?;
        sequence_rows.extend(rows);
        let seed = options.number::<u64>(&[&format!("fields.{}.seed", field.name().to_lowercase())])?.unwrap_or(0);
        columns.push(MadeColumn { values, seed: scramble(seed ^ scramble(index as u64)) });
    }
    options.finish()?;
    let rate = Rate::per_second(per_second.unwrap_or(DEFAULT_ROWS_PER_SECOND));
    let generator = DatagenGenerator { columns, schema: Arc::clone(&spec.schema), rate };
    let row_count = row_count.into_iter().chain(sequence_rows).min();
    let pace = Pace { rate, row_count, split_count };
    Ok(Arc::new(GeneratorSource::new(Arc::new(generator), pace, Arc::clone(&context.clock))))
}

/// Makes rows up.
#[derive(Debug)]
struct DatagenGenerator {
    columns: Vec<MadeColumn>,
    schema: SchemaRef,
    rate: Option<Rate>,
}

#[derive(Debug)]
struct MadeColumn {
    values: MadeValues,
    seed: u64,
}

/// How the values of a column are made.
#[derive(Clone, Copy, Debug, PartialEq)]
enum MadeValues {
    /// The row's number, counted from here.
    Sequence {
        start: i64,
    },
    Boolean,
    Integer {
        min: i64,
        max: i64,
    },
    Float {
        min: f64,
        max: f64,
    },
    Text {
        length: usize,
    },
    Bytes {
        length: usize,
    },
    Uuid,
    Time {
        past_micros: u64,
    },
}

/// What a column's options say, and how many rows there are at most.
fn values(options: &mut Options<'_>, field: &Field) -> Result<(MadeValues, Option<u64>)> {
    let option = |name: &str| format!("fields.{}.{name}", field.name().to_lowercase());
    let sequence = options.choice(&[&option("kind")], &[("sequence", true), ("random", false)])?.unwrap_or(false);
    if sequence {
        if !is_number(field) && (field.data_type() != &DataType::Utf8 || is_json(field)) {
            let (name, found) = (field.name(), sql_type(field));
            return Err(Error::invalid(format!("column \"{name}\" of type {found} can't hold a sequence"))
                .with_hint("Sequences are numbers or texts of numbers."));
        }
        let start = options.number::<i64>(&[&option("start")])?.unwrap_or(0);
        let rows = match options.number::<i64>(&[&option("end")])? {
            Some(end) if end < start => {
                return Err(wrong(&option("end"), "a number not below the start", &end.to_string()));
            }
            end => end.map(|end| end.abs_diff(start).saturating_add(1)),
        };
        return Ok((MadeValues::Sequence { start }, rows));
    }
    let values = match field.data_type() {
        DataType::Boolean => MadeValues::Boolean,
        DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Decimal128(_, _)
        | DataType::Decimal256(_, _) => {
            let (min, max) = range(options, &option("min"), &option("max"), 0_i64, 1000)?;
            MadeValues::Integer { min, max }
        }
        DataType::Float32 | DataType::Float64 => {
            let (min, max) = range(options, &option("min"), &option("max"), 0.0, 1000.0)?;
            MadeValues::Float { min, max }
        }
        DataType::Utf8 if !is_json(field) => MadeValues::Text { length: length(options, &option("length"))? },
        DataType::Binary => MadeValues::Bytes { length: length(options, &option("length"))? },
        DataType::FixedSizeBinary(16) => MadeValues::Uuid,
        DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let name = option("max-past");
            let past = options.text(&[&name, &option("max_past")])?;
            let parse = |text| duration_micros(text).ok_or_else(|| wrong(&name, "a duration such as '10 s'", text));
            MadeValues::Time { past_micros: past.map(parse).transpose()?.unwrap_or(0) }
        }
        _ => {
            let (name, found) = (field.name(), sql_type(field));
            return Err(Error::invalid(format!("column \"{name}\": datagen makes no values of type {found}")));
        }
    };
    Ok((values, None))
}

fn is_number(field: &Field) -> bool {
    let data_type = field.data_type();
    data_type.is_signed_integer() || data_type.is_floating() || data_type.is_decimal()
}

fn range<T>(options: &mut Options<'_>, min: &str, max: &str, default_min: T, default_max: T) -> Result<(T, T)>
where
    T: std::str::FromStr + PartialOrd + Copy + std::fmt::Display,
{
    let low = options.number::<T>(&[min])?;
    let high = options.number::<T>(&[max])?;
    // A bound that is given moves the other one along when that is not.
    let low =
        low.unwrap_or(if high.is_some_and(|high| high < default_min) { high.expect("just seen") } else { default_min });
    let high = high.unwrap_or(if low > default_max { low } else { default_max });
    if low <= high { Ok((low, high)) } else { Err(wrong(max, &format!("a number not below {low}"), &high.to_string())) }
}

fn length(options: &mut Options<'_>, name: &str) -> Result<usize> {
    match options.number::<usize>(&[name])? {
        None => Ok(10),
        Some(length) if length <= LENGTH_MAX => Ok(length),
        Some(length) => Err(wrong(name, &format!("at most {LENGTH_MAX}"), &length.to_string())),
    }
}

fn duration_micros(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let micros: u64 = match text[digits..].trim() {
        "ms" | "milliseconds" => 1_000,
        "s" | "sec" | "second" | "seconds" => 1_000_000,
        "m" | "min" | "minute" | "minutes" => 60_000_000,
        "h" | "hour" | "hours" => 3_600_000_000,
        "d" | "day" | "days" => 86_400_000_000,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(micros).filter(|micros| *micros < 1 << 60)
}

impl Generator for DatagenGenerator {
    fn rows(&self, numbers: Numbers, began_micros: Option<i64>, columns: &[usize]) -> Result<RecordBatch> {
        let schema = Arc::new(self.schema.project(columns)?);
        let arrays = columns.iter().map(|&column| {
            let array = self.array(&self.columns[column], numbers, began_micros);
            let field = self.schema.field(column);
            if array.data_type() == field.data_type() {
                return Ok(array);
            }
            let too_large = |error| Error::from(error).context(format!("column \"{}\" of datagen", field.name()));
            let options = arrow::compute::CastOptions { safe: false, ..Default::default() };
            arrow::compute::cast_with_options(&array, field.data_type(), &options).map_err(too_large)
        });
        let options = RecordBatchOptions::new().with_row_count(Some(numbers.iter().count()));
        Ok(RecordBatch::try_new_with_options(schema, arrays.collect::<Result<_>>()?, &options)?)
    }
}

impl DatagenGenerator {
    fn array(&self, column: &MadeColumn, numbers: Numbers, began_micros: Option<i64>) -> ArrayRef {
        let random = |row: u64| Random { state: column.seed ^ row.wrapping_mul(0xD6E8_FEB8_6659_FD93) };
        let rows = numbers.iter();
        match column.values {
            MadeValues::Sequence { start } => {
                let value = |row: u64| start.wrapping_add_unsigned(row);
                Arc::new(rows.map(value).collect::<Int64Array>())
            }
            MadeValues::Boolean => {
                Arc::new(rows.map(|row| Some(random(row).next() & 1 == 1)).collect::<BooleanArray>())
            }
            MadeValues::Integer { min, max } => {
                Arc::new(rows.map(|row| random(row).between(min, max)).collect::<Int64Array>())
            }
            MadeValues::Float { min, max } => {
                Arc::new(rows.map(|row| min + random(row).fraction() * (max - min)).collect::<Float64Array>())
            }
            MadeValues::Text { length } => {
                Arc::new(rows.map(|row| Some(random(row).text(length))).collect::<StringArray>())
            }
            MadeValues::Bytes { length } => {
                Arc::new(rows.map(|row| Some(random(row).bytes(length))).collect::<BinaryArray>())
            }
            MadeValues::Uuid => Arc::new(uuids(rows.map(random))),
            MadeValues::Time { past_micros } => {
                let time = |row: u64| {
                    let past = random(row).next() % (past_micros + 1);
                    self.row_micros(row, began_micros).saturating_sub_unsigned(past)
                };
                Arc::new(TimestampMicrosecondArray::from_iter_values(rows.map(time)))
            }
        }
    }

    /// When a row was due.
    fn row_micros(&self, row: u64, began_micros: Option<i64>) -> i64 {
        match (self.rate, began_micros) {
            (Some(rate), Some(began)) => {
                let micros = u128::from(row) * u128::from(rate.micros) / u128::from(rate.rows);
                began.saturating_add_unsigned(u64::try_from(micros).unwrap_or(u64::MAX))
            }
            _ => UNPACED_BASE_MICROS.saturating_add_unsigned(row.saturating_mul(1_000)),
        }
    }
}

fn uuids(rows: impl Iterator<Item = Random>) -> FixedSizeBinaryArray {
    let uuid = |mut random: Random| {
        let bytes = (u128::from(random.next()) << 64 | u128::from(random.next())).to_be_bytes();
        uuid::Builder::from_random_bytes(bytes).into_uuid().into_bytes()
    };
    let bytes: Vec<u8> = rows.flat_map(uuid).collect();
    FixedSizeBinaryArray::new(16, bytes.into(), None)
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators"): any number is a good start, so
/// that every row has a generator of its own.
#[derive(Clone, Copy, Debug)]
struct Random {
    state: u64,
}

impl Random {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        scramble(self.state)
    }

    /// Both bounds included.
    fn between(&mut self, min: i64, max: i64) -> i64 {
        let span = u128::from(max.abs_diff(min)) + 1;
        // The high half of the product: no modulo, and a bias below 2^-64 times the span.
        let offset = (u128::from(self.next()) * span) >> 64;
        min.wrapping_add_unsigned(offset as u64)
    }

    /// From 0 to below 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn text(mut self, length: usize) -> String {
        const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        std::iter::repeat_with(|| char::from(LETTERS[(self.next() >> 59) as usize])).take(length).collect()
    }

    fn bytes(mut self, length: usize) -> Vec<u8> {
        std::iter::repeat_with(|| (self.next() >> 56) as u8).take(length).collect()
    }
}

fn scramble(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Date32Type, Int16Type, Int64Type, Schema, TimestampMicrosecondType};
    use millstream_runtime::source::{ColumnOrigin, FormatSpec, Position};

    use super::*;
    use crate::generator::tests::{ManualClock, read_from};

    fn spec(fields: Vec<Field>, options: &[(&str, &str)]) -> ConnectorSpec {
        ConnectorSpec {
            relation: "made".into(),
            connector: "datagen".into(),
            options: options.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            format: None,
            origins: vec![ColumnOrigin::Field; fields.len()],
            schema: Arc::new(Schema::new(fields)),
            primary_key: Vec::new(),
            keeps_raw: false,
        }
    }

    fn open(fields: Vec<Field>, options: &[(&str, &str)]) -> Result<Arc<dyn Source>> {
        source(&spec(fields, options), &ConnectorContext::with_clock(Arc::new(ManualClock::default())))
    }

    fn every_type() -> Vec<Field> {
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let types = [
            DataType::Int64,
            DataType::Int16,
            DataType::Boolean,
            DataType::Float32,
            DataType::Decimal128(10, 2),
            DataType::Utf8,
            DataType::Binary,
            DataType::FixedSizeBinary(16),
            DataType::Date32,
            DataType::Timestamp(TimeUnit::Microsecond, None),
            zoned,
        ];
        types
            .into_iter()
            .enumerate()
            .map(|(index, data_type)| Field::new(format!("C{index}"), data_type, false))
            .collect()
    }

    #[tokio::test]
    async fn values_depend_on_nothing_but_their_row() {
        let options = [
            ("rows.per.second", "0"),
            ("fields.c0.kind", "sequence"),
            ("fields.c0.start", "5"),
            ("fields.c0.end", "10004"),
            ("fields.c1.min", "-3"),
            ("fields.c1.max", "3"),
            ("fields.c5.length", "4"),
            ("fields.c9.max-past", "1 s"),
        ];
        let source = open(every_type(), &options).unwrap();
        assert!(source.bounded(), "a sequence that ends ends the source");
        let columns: Vec<usize> = (0..11).collect();
        let whole = read_from(source.as_ref(), Position(0), columns.clone()).await;
        assert_eq!(whole.num_rows(), 10_000);
        let rest = read_from(source.as_ref(), Position(4_321), columns).await;
        assert_eq!(rest, whole.slice(4_321, 10_000 - 4_321));
        assert_eq!(whole.column(0).as_primitive::<Int64Type>().value(9_999), 10_004);
        let small = whole.column(1).as_primitive::<Int16Type>();
        let found: std::collections::BTreeSet<i16> = small.values().iter().copied().collect();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [-3, -2, -1, 0, 1, 2, 3]);
        assert!(whole.column(5).as_string::<i32>().iter().all(|text| text.unwrap().len() == 4));
        let times = whole.column(9).as_primitive::<TimestampMicrosecondType>();
        let row_time = |row: usize| UNPACED_BASE_MICROS + row as i64 * 1_000;
        assert!((0..10_000).all(|row| (row_time(row) - 1_000_000..=row_time(row)).contains(&times.value(row))));
        assert_eq!(whole.column(8).as_primitive::<Date32Type>().value(9_999), 19_723);
        assert_eq!(whole.column(7).len(), 10_000);
    }

    #[tokio::test]
    async fn another_seed_gives_other_values() {
        let fields = || vec![Field::new("a", DataType::Int64, false), Field::new("b", DataType::Int64, false)];
        let options = [("rows.per.second", "0"), ("number-of-rows", "10"), ("fields.a.max", "1000000")];
        let first = read_from(open(fields(), &options).unwrap().as_ref(), Position(0), vec![0]).await;
        let again = read_from(open(fields(), &options).unwrap().as_ref(), Position(0), vec![0]).await;
        assert_eq!(first, again);
        let seeded = [&options[..], &[("fields.a.seed", "1")]].concat();
        let other = read_from(open(fields(), &seeded).unwrap().as_ref(), Position(0), vec![0]).await;
        assert_ne!(first, other);
    }

    #[test]
    fn mistakes_are_named() {
        let field = |data_type| vec![Field::new("a", data_type, false)];
        let message = |data_type, options: &[(&str, &str)]| open(field(data_type), options).err().unwrap().to_string();
        let sequence = ("fields.a.kind", "sequence");
        assert!(message(DataType::Boolean, &[sequence]).contains("can't hold a sequence"));
        let mut encoded = spec(field(DataType::Int64), &[]);
        let context = ConnectorContext::with_clock(Arc::new(ManualClock::default()));
        let format =
            |encode: &str| FormatSpec { format: "PLAIN".into(), encode: encode.into(), options: Default::default() };
        encoded.format = Some(format("JSON"));
        assert!(source(&encoded, &context).is_ok());
        encoded.format = Some(format("CSV"));
        let error = source(&encoded, &context).err().unwrap();
        assert_eq!(error.message, "connector 'datagen' has no FORMAT PLAIN ENCODE CSV");
        assert_eq!(
            message(DataType::Int64, &[sequence, ("fields.a.start", "2"), ("fields.a.end", "1")]),
            "option \"fields.a.end\" takes a number not below the start, not \"1\""
        );
        assert_eq!(
            message(DataType::Int64, &[("fields.a.min", "5"), ("fields.a.max", "4")]),
            "option \"fields.a.max\" takes a number not below 5, not \"4\""
        );
        assert!(
            message(DataType::Int64, &[("fields.b.min", "5")])
                .contains("has no option \"fields.b.min\" (It knows rows.per.second")
        );
        assert_eq!(
            message(DataType::Date32, &[("fields.a.max-past", "5")]),
            "option \"fields.a.max-past\" takes a duration such as '10 s', not \"5\""
        );
    }
}
