//! `nexmark`: the standard auction events, with the columns of RisingWave's source of that name.
//!
//! | option | meaning |
//! |---|---|
//! | `nexmark.table.type` | `Person`, `Auction` or `Bid`; without it all three in one envelope: `event_type` (0, 1, 2) and the structs `person`, `auction`, `bid`, of which one is not null |
//! | `nexmark.event.num` | number of events of all types; without it (or −1) they never end |
//! | `nexmark.min.event.gap.in.ns` | time between two events of whatever type; 100,000 unless set, 0 is as fast as they are taken |
//! | `rows.per.second` | events of all types per second, instead of the gap |
//! | `nexmark.split.num` | number of splits, 1 unless set |
//! | `nexmark.base.time` | event time of the first event, milliseconds since 1970 |
//!
//! An event's time follows from its number: events are spaced by the gap (100 µs when there is none), from the
//! base time on. The base time is the moment at which the first event was due or, without a gap,
//! 2015-07-15T00:00:00 as in the original generator, so that everything is the same each time. With a table type,
//! events of the other types are left out; everything else stays as it is in the whole stream.
//!
//! US states are upper case, as the standard queries expect, not lower case as the crate has them.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use millstream_runtime::source::{ConnectorSpec, Source};
use millstream_runtime::{Error, Result};
use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use nexmark::event::{Auction, Bid, Event, EventType, Person};

use crate::ConnectorContext;
use crate::formats::JsonRows;
use crate::generator::{Generator, GeneratorSource, Numbers, Pace, Rate, check_declaration};
use crate::options::Options;

/// The gap between events where none is set: 10,000 events per second, as in the original.
const DEFAULT_GAP_NANOS: u64 = 100_000;

/// 2015-07-15T00:00:00Z, the base time of the original generator.
const ORIGINAL_BASE_MILLIS: u64 = 1_436_918_400_000;

/// Of 50 events one is a person, three are auctions, the others bids, in this order.
const CYCLE: u64 = 50;

/// Rows per batch of [`write_json_lines`].
const WRITE_ROWS: u64 = 4096;

/// Which events a source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableType {
    /// All three in one envelope.
    Envelope,
    /// People who sell and bid.
    Person,
    /// Auctions.
    Auction,
    /// Bids.
    Bid,
}

/// The columns that a source of this type has.
pub fn schema(table: TableType) -> SchemaRef {
    let fields = match table {
        TableType::Person => fields_of(&PERSON_FIELDS, |name| person_column(&[], name)),
        TableType::Auction => fields_of(&AUCTION_FIELDS, |name| auction_column(&[], name)),
        TableType::Bid => fields_of(&BID_FIELDS, |name| bid_column(&[], name)),
        TableType::Envelope => {
            let of = |table| DataType::Struct(schema(table).fields().clone());
            Fields::from(vec![
                Field::new("event_type", DataType::Int64, true),
                Field::new("person", of(TableType::Person), true),
                Field::new("auction", of(TableType::Auction), true),
                Field::new("bid", of(TableType::Bid), true),
            ])
        }
    };
    Arc::new(Schema::new(fields))
}

/// The source as declared; nothing but options and columns is looked at.
pub fn source(spec: &ConnectorSpec, context: &ConnectorContext) -> Result<Arc<dyn Source>> {
    check_declaration(spec)?;
    let mut options = Options::of_connector(spec);
    let tables = [("Person", TableType::Person), ("Auction", TableType::Auction), ("Bid", TableType::Bid)];
    let table = options.choice(&["nexmark.table.type"], &tables)?.unwrap_or(TableType::Envelope);
    let event_count = options.number::<i64>(&["nexmark.event.num"])?.and_then(|count| u64::try_from(count).ok());
    let gap_nanos = options.number::<u64>(&["nexmark.min.event.gap.in.ns"])?;
    let per_second = options.number::<u64>(&["rows.per.second", "rows-per-second"])?;
    let split_count = options.number::<u64>(&["nexmark.split.num"])?.unwrap_or(1);
    let base_millis = options.number::<u64>(&["nexmark.base.time"])?;
    options.finish()?;
    if gap_nanos.is_some() && per_second.is_some() {
        return Err(Error::invalid(
            "options \"nexmark.min.event.gap.in.ns\" and \"rows.per.second\" exclude each other",
        ));
    }
    if !(1..=1024).contains(&split_count) {
        return Err(Error::invalid("option \"nexmark.split.num\" takes a number from 1 to 1024"));
    }
    let rate = match (gap_nanos, per_second) {
        (_, Some(rows)) => Rate::per_second(rows),
        (Some(0), None) => None,
        (gap, None) => Some(Rate { rows: 1_000, micros: gap.unwrap_or(DEFAULT_GAP_NANOS) }),
    };
    let columns = spec.schema.fields().iter().map(|field| column_of(table, field)).collect::<Result<_>>()?;
    let generator = NexmarkGenerator {
        table,
        columns,
        schema: Arc::clone(&spec.schema),
        gap_nanos: rate.map_or(DEFAULT_GAP_NANOS, |rate| (rate.micros * 1_000 / rate.rows).max(1)),
        base_millis,
        events: generator(table),
    };
    let pace = Pace {
        rate: rate.map(|rate| Rate { rows: rate.rows * table.per_cycle(), micros: rate.micros * CYCLE }),
        row_count: event_count.map(|count| table.rows_in(count)),
        split_count,
    };
    Ok(Arc::new(GeneratorSource::new(Arc::new(generator), pace, Arc::clone(&context.clock))))
}

/// Writes the first events as envelope rows in JSON, one a line: row `n` goes to file `n` modulo their number. Events
/// are 100 µs apart from 2015-07-15 on; the bytes are the same each time.
pub fn write_json_lines(paths: &[PathBuf], events: u64) -> Result<()> {
    let failed = |path: &PathBuf, error: std::io::Error| Error::unavailable(format!("{}: {error}", path.display()));
    let create = |path: &PathBuf| File::create(path).map(BufWriter::new).map_err(|error| failed(path, error));
    let mut files = paths.iter().map(create).collect::<Result<Vec<_>>>()?;
    let generator = NexmarkGenerator::envelope()?;
    let columns: Vec<usize> = (0..generator.columns.len()).collect();
    let mut line = Vec::new();
    let mut written = 0;
    while written < events {
        let count = WRITE_ROWS.min(events - written);
        let rows = generator.rows(Numbers { first: written, step: 1, count }, None, &columns)?;
        let encoder = JsonRows::new(&rows)?;
        for row in 0..rows.num_rows() {
            line.clear();
            encoder.write(row, &mut line).map_err(Error::internal)?;
            line.push(b'\n');
            let target = (written as usize + row) % paths.len();
            files[target].write_all(&line).map_err(|error| failed(&paths[target], error))?;
        }
        written += count;
    }
    for (file, path) in files.iter_mut().zip(paths) {
        file.flush().map_err(|error| failed(path, error))?;
    }
    Ok(())
}

impl TableType {
    /// Events of this type in a cycle.
    fn per_cycle(self) -> u64 {
        match self {
            Self::Envelope => CYCLE,
            Self::Person => 1,
            Self::Auction => 3,
            Self::Bid => CYCLE - 4,
        }
    }

    /// Where in a cycle the first event of this type stands.
    fn first_in_cycle(self) -> u64 {
        match self {
            Self::Envelope | Self::Person => 0,
            Self::Auction => 1,
            Self::Bid => 4,
        }
    }

    /// Rows of this type among the first events.
    fn rows_in(self, events: u64) -> u64 {
        let rest = (events % CYCLE).saturating_sub(self.first_in_cycle()).min(self.per_cycle());
        events / CYCLE * self.per_cycle() + rest
    }

    /// The number, among all events, of a row of this type.
    fn event_number(self, row: u64) -> u64 {
        row / self.per_cycle() * CYCLE + self.first_in_cycle() + row % self.per_cycle()
    }
}

fn generator(table: TableType) -> EventGenerator {
    let mut config = NexmarkConfig { base_time: ORIGINAL_BASE_MILLIS, ..NexmarkConfig::default() };
    config.us_states.iter_mut().for_each(|state| *state = state.to_uppercase());
    let generator = EventGenerator::new(config);
    match table {
        TableType::Envelope => generator,
        TableType::Person => generator.with_type_filter(EventType::Person),
        TableType::Auction => generator.with_type_filter(EventType::Auction),
        TableType::Bid => generator.with_type_filter(EventType::Bid),
    }
}

/// Makes events up.
#[derive(Debug)]
struct NexmarkGenerator {
    table: TableType,
    /// What each declared column is.
    columns: Vec<NexmarkColumn>,
    schema: SchemaRef,
    gap_nanos: u64,
    base_millis: Option<u64>,
    events: EventGenerator,
}

/// What a declared column is.
#[derive(Debug)]
enum NexmarkColumn {
    EventType,
    /// A struct of the envelope.
    Struct(TableType),
    /// A field of the events of a type.
    Field(TableType, &'static str),
}

impl NexmarkGenerator {
    /// All columns of the envelope, at the pace of the original.
    fn envelope() -> Result<Self> {
        let schema = schema(TableType::Envelope);
        let columns =
            schema.fields().iter().map(|field| column_of(TableType::Envelope, field)).collect::<Result<_>>()?;
        Ok(Self {
            table: TableType::Envelope,
            columns,
            schema,
            gap_nanos: DEFAULT_GAP_NANOS,
            base_millis: None,
            events: generator(TableType::Envelope),
        })
    }

    /// The events with exact times: the crate computes them in 32-bit floats.
    fn events(&self, numbers: Numbers, base_millis: u64) -> Vec<Event> {
        let events = self.events.clone().with_offset(numbers.first).with_step(numbers.step);
        let events = events.zip(numbers.iter()).map(|(mut event, row)| {
            let nanos = u128::from(self.table.event_number(row)) * u128::from(self.gap_nanos);
            let millis = base_millis + u64::try_from(nanos / 1_000_000).expect("within the next million years");
            match &mut event {
                Event::Person(person) => person.date_time = millis,
                Event::Bid(bid) => bid.date_time = millis,
                Event::Auction(auction) => {
                    let length = (auction.expires - auction.date_time) * self.gap_nanos / DEFAULT_GAP_NANOS;
                    auction.date_time = millis;
                    auction.expires = millis + length.max(1);
                }
            }
            event
        });
        events.collect()
    }
}

impl Generator for NexmarkGenerator {
    fn rows(&self, numbers: Numbers, began_micros: Option<i64>, columns: &[usize]) -> Result<RecordBatch> {
        let began_millis = began_micros.map(|micros| micros.max(0).unsigned_abs() / 1_000);
        let events = self.events(numbers, self.base_millis.or(began_millis).unwrap_or(ORIGINAL_BASE_MILLIS));
        let arrays = columns.iter().map(|&column| {
            let data_type = self.schema.field(column).data_type();
            match &self.columns[column] {
                NexmarkColumn::EventType => {
                    Ok(Arc::new(events.iter().map(event_number).collect::<Int64Array>()) as ArrayRef)
                }
                NexmarkColumn::Field(table, name) => field_array(&events, *table, name, data_type),
                NexmarkColumn::Struct(table) => struct_array(&events, *table, data_type),
            }
        });
        let options = RecordBatchOptions::new().with_row_count(Some(events.len()));
        let schema = Arc::new(self.schema.project(columns)?);
        Ok(RecordBatch::try_new_with_options(schema, arrays.collect::<Result<_>>()?, &options)?)
    }
}

fn event_number(event: &Event) -> Option<i64> {
    Some(match event.event_type() {
        EventType::Person => 0,
        EventType::Auction => 1,
        EventType::Bid => 2,
    })
}

fn struct_array(events: &[Event], table: TableType, data_type: &DataType) -> Result<ArrayRef> {
    let DataType::Struct(fields) = data_type else { unreachable!("the type was checked") };
    let arrays = fields.iter().map(|field| field_array(events, table, field.name(), field.data_type()));
    let wanted = match table {
        TableType::Person => EventType::Person,
        TableType::Auction => EventType::Auction,
        TableType::Bid => EventType::Bid,
        TableType::Envelope => unreachable!("an envelope holds no envelope"),
    };
    let nulls: NullBuffer = events.iter().map(|event| event.event_type() == wanted).collect::<Vec<_>>().into();
    let arrays = arrays.collect::<Result<_>>()?;
    Ok(Arc::new(StructArray::try_new(fields.clone(), arrays, Some(nulls))?))
}

fn field_array(events: &[Event], table: TableType, name: &str, data_type: &DataType) -> Result<ArrayRef> {
    let array = match table {
        TableType::Person => person_column(&events.iter().map(person).collect::<Vec<_>>(), name),
        TableType::Auction => auction_column(&events.iter().map(auction).collect::<Vec<_>>(), name),
        TableType::Bid => bid_column(&events.iter().map(bid).collect::<Vec<_>>(), name),
        TableType::Envelope => None,
    };
    let array = array.ok_or_else(|| Error::internal(format!("nexmark events have no field \"{name}\"")))?;
    // The only declared type that differs from the array's is a timestamp with a zone.
    if array.data_type() == data_type { Ok(array) } else { Ok(arrow::compute::cast(&array, data_type)?) }
}

fn person(event: &Event) -> Option<&Person> {
    if let Event::Person(person) = event { Some(person) } else { None }
}

fn auction(event: &Event) -> Option<&Auction> {
    if let Event::Auction(auction) = event { Some(auction) } else { None }
}

fn bid(event: &Event) -> Option<&Bid> {
    if let Event::Bid(bid) = event { Some(bid) } else { None }
}

/// What a declared column is, or an `Invalid` error that says what there is.
fn column_of(table: TableType, field: &Field) -> Result<NexmarkColumn> {
    let known = schema(table);
    let found = known.fields().iter().find(|candidate| candidate.name().eq_ignore_ascii_case(field.name()));
    let Some(found) = found else {
        let names: Vec<_> = known.fields().iter().map(|field| field.name().as_str()).collect();
        return Err(Error::invalid(format!("nexmark events have no column \"{}\"", field.name()))
            .with_hint(format!("There are {}.", names.join(", "))));
    };
    let static_name = |names: &[&'static str]| {
        *names.iter().find(|name| *name == found.name()).expect("the schema is made of these names")
    };
    let column = match (table, found.name().as_str()) {
        (TableType::Person, _) => NexmarkColumn::Field(table, static_name(&PERSON_FIELDS)),
        (TableType::Auction, _) => NexmarkColumn::Field(table, static_name(&AUCTION_FIELDS)),
        (TableType::Bid, _) => NexmarkColumn::Field(table, static_name(&BID_FIELDS)),
        (TableType::Envelope, "event_type") => NexmarkColumn::EventType,
        (TableType::Envelope, "person") => NexmarkColumn::Struct(TableType::Person),
        (TableType::Envelope, "auction") => NexmarkColumn::Struct(TableType::Auction),
        (TableType::Envelope, _) => NexmarkColumn::Struct(TableType::Bid),
    };
    let fits = match (&column, field.data_type()) {
        (NexmarkColumn::Struct(nested), DataType::Struct(declared)) => {
            field.is_nullable()
                && declared.iter().all(|declared| {
                    schema(*nested).fields().iter().any(|known| {
                        known.name() == declared.name() && same_type(known.data_type(), declared.data_type())
                    })
                })
        }
        (_, declared) => same_type(found.data_type(), declared),
    };
    if fits {
        return Ok(column);
    }
    let expected = crate::formats::sql_type(found);
    let declared = crate::formats::sql_type(field);
    Err(Error::invalid(format!("column \"{}\" is declared as {declared}, but nexmark gives {expected}", field.name())))
}

/// Timestamps may be declared with or without a zone.
fn same_type(known: &DataType, declared: &DataType) -> bool {
    match (known, declared) {
        (DataType::Timestamp(known, _), DataType::Timestamp(declared, _)) => known == declared,
        _ => known == declared,
    }
}

const PERSON_FIELDS: [&str; 8] = ["id", "name", "email_address", "credit_card", "city", "state", "date_time", "extra"];
const AUCTION_FIELDS: [&str; 10] =
    ["id", "item_name", "description", "initial_bid", "reserve", "date_time", "expires", "seller", "category", "extra"];
const BID_FIELDS: [&str; 7] = ["auction", "bidder", "price", "channel", "url", "date_time", "extra"];

fn fields_of(names: &[&str], column: impl Fn(&str) -> Option<ArrayRef>) -> Fields {
    let field = |name: &&str| {
        let data_type = column(name).expect("every listed name is a field").data_type().clone();
        Field::new(*name, data_type, true)
    };
    names.iter().map(field).collect()
}

fn person_column(people: &[Option<&Person>], name: &str) -> Option<ArrayRef> {
    Some(match name {
        "id" => numbers(people, |person| person.id),
        "name" => texts(people, |person| &person.name),
        "email_address" => texts(people, |person| &person.email_address),
        "credit_card" => texts(people, |person| &person.credit_card),
        "city" => texts(people, |person| &person.city),
        "state" => texts(people, |person| &person.state),
        "date_time" => times(people, |person| person.date_time),
        "extra" => texts(people, |person| &person.extra),
        _ => return None,
    })
}

fn auction_column(auctions: &[Option<&Auction>], name: &str) -> Option<ArrayRef> {
    Some(match name {
        "id" => numbers(auctions, |auction| auction.id),
        "item_name" => texts(auctions, |auction| &auction.item_name),
        "description" => texts(auctions, |auction| &auction.description),
        "initial_bid" => numbers(auctions, |auction| auction.initial_bid),
        "reserve" => numbers(auctions, |auction| auction.reserve),
        "date_time" => times(auctions, |auction| auction.date_time),
        "expires" => times(auctions, |auction| auction.expires),
        "seller" => numbers(auctions, |auction| auction.seller),
        "category" => numbers(auctions, |auction| auction.category),
        "extra" => texts(auctions, |auction| &auction.extra),
        _ => return None,
    })
}

fn bid_column(bids: &[Option<&Bid>], name: &str) -> Option<ArrayRef> {
    Some(match name {
        "auction" => numbers(bids, |bid| bid.auction),
        "bidder" => numbers(bids, |bid| bid.bidder),
        "price" => numbers(bids, |bid| bid.price),
        "channel" => texts(bids, |bid| &bid.channel),
        "url" => texts(bids, |bid| &bid.url),
        "date_time" => times(bids, |bid| bid.date_time),
        "extra" => texts(bids, |bid| &bid.extra),
        _ => return None,
    })
}

fn numbers<T>(rows: &[Option<&T>], of: impl Fn(&T) -> usize) -> ArrayRef {
    Arc::new(rows.iter().map(|row| row.map(|row| of(row) as i64)).collect::<Int64Array>())
}

fn texts<'a, T>(rows: &[Option<&'a T>], of: impl Fn(&'a T) -> &'a String) -> ArrayRef {
    Arc::new(rows.iter().map(|row| row.map(|row| of(row).as_str())).collect::<StringArray>())
}

fn times<T>(rows: &[Option<&T>], of: impl Fn(&T) -> u64) -> ArrayRef {
    let micros = rows.iter().map(|row| row.map(|row| of(row) as i64 * 1_000));
    Arc::new(micros.collect::<TimestampMicrosecondArray>())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::AsArray;
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
    use millstream_runtime::source::{ColumnOrigin, Position};

    use super::*;
    use crate::generator::tests::{ManualClock, read_from};

    fn spec(table: TableType, options: &[(&str, &str)]) -> ConnectorSpec {
        let schema = schema(table);
        ConnectorSpec {
            relation: "events".into(),
            connector: "nexmark".into(),
            options: options.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            format: None,
            origins: vec![ColumnOrigin::Field; schema.fields().len()],
            schema,
            primary_key: Vec::new(),
            keeps_raw: false,
        }
    }

    fn open(table: TableType, options: &[(&str, &str)]) -> Arc<dyn Source> {
        let context = ConnectorContext::with_clock(Arc::new(ManualClock::default()));
        source(&spec(table, options), &context).unwrap()
    }

    #[tokio::test]
    async fn the_types_together_are_the_whole_stream() {
        let common = [("nexmark.min.event.gap.in.ns", "0"), ("nexmark.event.num", "1013")];
        let envelope = read_from(open(TableType::Envelope, &common).as_ref(), Position(0), vec![0, 1, 2, 3]).await;
        assert_eq!(envelope.num_rows(), 1013);
        for (index, table, name) in
            [(1, TableType::Person, "Person"), (2, TableType::Auction, "Auction"), (3, TableType::Bid, "Bid")]
        {
            let options = [common[0], common[1], ("nexmark.table.type", name)];
            let columns = (0..schema(table).fields().len()).collect();
            let alone = read_from(open(table, &options).as_ref(), Position(0), columns).await;
            let nested = envelope.column(index);
            let there = arrow::compute::is_not_null(nested).unwrap();
            let within = arrow::compute::filter(nested, &there).unwrap();
            assert_eq!(within.as_struct().columns(), alone.columns(), "{name}");
        }
    }

    #[tokio::test]
    async fn a_restart_goes_on_exactly_and_times_are_exact() {
        let source = open(
            TableType::Bid,
            &[("nexmark.min.event.gap.in.ns", "0"), ("nexmark.event.num", "20000"), ("nexmark.table.type", "bid")],
        );
        let whole = read_from(source.as_ref(), Position(0), vec![0, 2, 5]).await;
        assert_eq!(whole.num_rows(), 18_400);
        let rest = read_from(source.as_ref(), Position(7_777), vec![0, 2, 5]).await;
        assert_eq!(rest, whole.slice(7_777, whole.num_rows() - 7_777));
        let times = whole.column(2).as_primitive::<TimestampMicrosecondType>();
        let base = ORIGINAL_BASE_MILLIS as i64 * 1_000;
        assert_eq!(times.value(0), base);
        // Row 18,399 is event 19,999: 1.9999 seconds later, in milliseconds.
        assert_eq!(times.value(18_399), base + 1_999_000);
    }

    #[tokio::test]
    async fn splits_deal_the_events_out() {
        let common = [("nexmark.min.event.gap.in.ns", "0"), ("nexmark.event.num", "100")];
        let whole = read_from(open(TableType::Envelope, &common).as_ref(), Position(0), vec![3]).await;
        let two = open(TableType::Envelope, &[common[0], common[1], ("nexmark.split.num", "2")]);
        let even = read_from(two.as_ref(), Position(0), vec![3]).await;
        let indices = arrow::array::UInt32Array::from_iter_values((0..100).step_by(2));
        assert_eq!(even, arrow::compute::take_record_batch(&whole, &indices).unwrap());
    }

    #[test]
    fn mistakes_are_named() {
        let context = ConnectorContext::with_clock(Arc::new(ManualClock::default()));
        let message = |spec: &ConnectorSpec| source(spec, &context).err().unwrap().to_string();
        let unknown = message(&spec(TableType::Envelope, &[("nexmark.split.count", "2")]));
        assert!(
            unknown.starts_with("connector 'nexmark' has no option \"nexmark.split.count\" (It knows "),
            "{unknown}"
        );
        let mut wrong = spec(TableType::Bid, &[("nexmark.table.type", "Bid")]);
        wrong.schema = Arc::new(Schema::new(vec![Field::new("price", DataType::Utf8, true)]));
        assert_eq!(message(&wrong), "column \"price\" is declared as VARCHAR, but nexmark gives BIGINT");
        wrong.schema = Arc::new(Schema::new(vec![Field::new("prices", DataType::Int64, true)]));
        assert!(message(&wrong).starts_with("nexmark events have no column \"prices\" (There are auction, bidder"));
    }

    #[test]
    fn json_lines_are_dealt_out_and_repeat() {
        let folder = tempfile::tempdir().unwrap();
        let paths = vec![folder.path().join("0.json"), folder.path().join("1.json")];
        write_json_lines(&paths, 101).unwrap();
        let texts: Vec<_> = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        assert_eq!(texts.iter().map(|text| text.lines().count()).collect::<Vec<_>>(), [51, 50]);
        let third: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(texts[0].lines().nth(1).unwrap()).unwrap();
        assert_eq!(third["event_type"], 1);
        assert_eq!(third["person"], serde_json::Value::Null);
        assert_eq!(third["auction"]["date_time"], "2015-07-15T00:00:00");
        write_json_lines(&paths, 101).unwrap();
        assert_eq!(std::fs::read_to_string(&paths[1]).unwrap(), texts[1]);
        let envelope = NexmarkGenerator::envelope().unwrap();
        let rows = envelope.rows(Numbers { first: 2, step: 1, count: 1 }, None, &[0]).unwrap();
        assert_eq!(rows.column(0).as_primitive::<Int64Type>().value(0), 1);
    }
}
