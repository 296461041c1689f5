//! Encodings: bytes of the outside world into Arrow columns and back.
//!
//! A [`Decoder`] is fed one record at a time. A record that is no row of its relation never disturbs its
//! neighbours: it goes to the rejected records with its coordinates and a reason. Whether a record is accepted
//! depends only on the record and on the declared schema: pruned columns are checked like all others.

mod bytes;
mod cells;
mod column;
pub(crate) mod csv;
mod fault;
mod json;
mod node;
mod text;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use millstream_runtime::batch::ChangeBatch;
use millstream_runtime::limits::REJECTED_RAW_BYTES;
use millstream_runtime::source::{ColumnOrigin, ConnectorSpec, FormatSpec, Position, RawRecords, RejectedRecord};
use millstream_runtime::{Error, Result};

use self::bytes::BytesReader;
use self::csv::CsvReader;
use self::fault::Fault;
pub use self::json::encode::JsonRows;
use self::json::object::ObjectReader;
use self::json::scan::Scanner;
use self::node::Node;
pub use self::node::{is_json, sql_type};
use crate::options::Options;

/// A larger record is rejected: it would not fit a budget of the reader, and it is no row of a table.
pub const RECORD_BYTES_MAX: usize = 64 << 20;

/// Why a record is rejected, as a person reads it.
type Reason = String;

/// One record as its transport delivers it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Where it stands in its split.
    pub position: Position,
    /// The bytes; `None` for a tombstone.
    pub payload: Option<&'a [u8]>,
    /// The key, where the transport has one.
    pub key: Option<&'a [u8]>,
    /// The partition, where the transport has one.
    pub partition: Option<i32>,
    /// Milliseconds since 1970, where the transport has a timestamp.
    pub timestamp_millis: Option<i64>,
    /// Names and values, where the transport has headers.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

impl<'a> Record<'a> {
    /// A record that is nothing but bytes, such as a line of a file.
    pub fn plain(position: Position, payload: &'a [u8]) -> Self {
        Self { position, payload: Some(payload), key: None, partition: None, timestamp_millis: None, headers: &[] }
    }
}

/// What came of the records since the last [`Decoder::finish`].
#[derive(Debug)]
pub struct Decoded {
    /// The good ones, with the columns that were asked for.
    pub rows: RecordBatch,
    /// Position of each row.
    pub positions: Vec<Position>,
    /// The record of each row, where the relation asks for them.
    pub raw: Option<RawRecords>,
    /// The bad ones.
    pub rejected: Vec<RejectedRecord>,
}

/// Turns records into rows of a declared relation.
#[derive(Debug)]
pub struct Decoder {
    body: Body,
    metadata: Vec<Metadata>,
    /// Where each column of the output comes from.
    output: Vec<Place>,
    schema: SchemaRef,
    positions: Vec<Position>,
    raw: Option<RawRecords>,
    rejected: Vec<RejectedRecord>,
    payload_bytes: usize,
}

#[derive(Debug)]
enum Body {
    Json(ObjectReader),
    Csv(CsvReader),
    Bytes(BytesReader),
}

/// A column that comes from beside the record's payload.
#[derive(Debug)]
struct Metadata {
    node: Node,
    origin: ColumnOrigin,
}

/// An index into the nodes of the body or into the metadata.
#[derive(Clone, Copy, Debug)]
enum Place {
    Body(usize),
    Metadata(usize),
}

impl Decoder {
    /// A decoder for the declared relation that builds `columns` (indices into its schema), in that order. Checks
    /// the encoding's options; a type or an encoding that has no decoder is an `Invalid` error.
    pub fn new(spec: &ConnectorSpec, columns: &[usize]) -> Result<Self> {
        let format = spec.format.as_ref().ok_or_else(|| {
            Error::invalid(format!("connector '{}' needs an encoding", spec.connector))
                .with_hint("Add FORMAT PLAIN ENCODE JSON (or CSV, BYTES) at the end of the statement.")
        })?;
        if format.format != "PLAIN" {
            return Err(Error::invalid(format!("FORMAT {} is not supported for sources", format.format))
                .with_hint("Use FORMAT PLAIN."));
        }
        let mut fields = Vec::new();
        let mut metadata = Vec::new();
        let mut places = Vec::with_capacity(spec.schema.fields().len());
        for (index, field) in spec.schema.fields().iter().enumerate() {
            let node = Node::new(field, columns.contains(&index))?;
            match &spec.origins[index] {
                ColumnOrigin::Field => {
                    places.push(Place::Body(fields.len()));
                    fields.push(node);
                }
                origin => {
                    check_metadata_type(origin, field)?;
                    places.push(Place::Metadata(metadata.len()));
                    metadata.push(Metadata { node, origin: origin.clone() });
                }
            }
        }
        Ok(Self {
            body: body(spec, format, fields)?,
            metadata,
            output: columns.iter().map(|&column| places[column]).collect(),
            schema: Arc::new(Schema::new(
                columns.iter().map(|&column| Arc::clone(&spec.schema.fields()[column])).collect::<Vec<_>>(),
            )),
            positions: Vec::new(),
            raw: spec.keeps_raw.then(RawRecords::default),
            rejected: Vec::new(),
            payload_bytes: 0,
        })
    }

    /// Whether the first line of every file names its columns: it then goes to [`Self::read_header`].
    pub fn has_header(&self) -> bool {
        matches!(&self.body, Body::Csv(reader) if reader.has_header())
    }

    /// Takes the line that names the columns of the records that follow.
    pub fn read_header(&mut self, line: &[u8]) -> Result<()> {
        match &mut self.body {
            Body::Csv(reader) => reader.read_header(line),
            Body::Json(_) | Body::Bytes(_) => Err(Error::internal("only CSV has a header")),
        }
    }

    /// The length of the first record in `bytes` with its line end, for files of lines; `None` when it does not end there.
    pub fn record_length(&self, bytes: &[u8]) -> Option<usize> {
        match &self.body {
            // A line end within the quotes of a field belongs to the field.
            Body::Csv(reader) => reader.record_length(bytes),
            Body::Json(_) | Body::Bytes(_) => memchr::memchr(b'\n', bytes).map(|end| end + 1),
        }
    }

    /// Records taken since the last [`Self::finish`], the bad ones included.
    pub fn records(&self) -> usize {
        self.positions.len() + self.rejected.len()
    }

    /// Bytes of the payloads taken since the last [`Self::finish`].
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// Takes one record. Records come in the order of their positions.
    pub fn push(&mut self, record: Record<'_>) {
        let payload = record.payload.unwrap_or_default();
        self.payload_bytes += payload.len();
        let length = self.positions.len();
        let result = self.decode(&record, payload, length);
        match result {
            Ok(()) => {
                self.positions.push(record.position);
                if let Some(raw) = &mut self.raw {
                    raw.push(payload);
                }
            }
            Err(reason) => {
                self.nodes().for_each(|node| node.truncate(length));
                self.reject(record.position, reason, payload);
            }
        }
    }

    /// Takes a record that its transport already knows to be bad.
    pub fn reject(&mut self, position: Position, reason: String, payload: &[u8]) {
        let raw = payload[..payload.len().min(REJECTED_RAW_BYTES)].to_vec();
        self.rejected.push(RejectedRecord { position, reason, raw });
    }

    /// Hands over what has come of the records since the last call.
    pub fn finish(&mut self) -> Result<Decoded> {
        self.payload_bytes = 0;
        let positions = std::mem::take(&mut self.positions);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.output.len());
        for place in &self.output {
            let node = match *place {
                Place::Body(index) => &mut self.body.nodes()[index],
                Place::Metadata(index) => &mut self.metadata[index].node,
            };
            columns.push(node.finish()?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(positions.len()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        let raw = self.raw.as_mut().map(RawRecords::take);
        Ok(Decoded { rows, positions, raw, rejected: std::mem::take(&mut self.rejected) })
    }

    fn decode(&mut self, record: &Record<'_>, payload: &[u8], length: usize) -> Result<(), Reason> {
        if payload.len() > RECORD_BYTES_MAX {
            return Err(format!("the record has {} bytes, more than {} MiB", payload.len(), RECORD_BYTES_MAX >> 20));
        }
        match &mut self.body {
            Body::Json(object) => decode_json(object, record.payload, length)?,
            Body::Csv(reader) => reader.read(not_empty(record.payload)?)?,
            Body::Bytes(reader) => reader.read(record.payload).map_err(|fault| fault.to_string())?,
        }
        self.metadata.iter_mut().try_for_each(|column| column.read(record)).map_err(|fault| fault.to_string())
    }

    fn nodes(&mut self) -> impl Iterator<Item = &mut Node> {
        self.body.nodes().iter_mut().chain(self.metadata.iter_mut().map(|column| &mut column.node))
    }
}

impl Body {
    fn nodes(&mut self) -> &mut [Node] {
        match self {
            Self::Json(object) => &mut object.nodes,
            Self::Csv(reader) => &mut reader.nodes,
            Self::Bytes(reader) => std::slice::from_mut(&mut reader.node),
        }
    }
}

fn body(spec: &ConnectorSpec, format: &FormatSpec, nodes: Vec<Node>) -> Result<Body> {
    match format.encode.as_str() {
        "JSON" => {
            let mut options = Options::of_format(format);
            // Both of Flink's standards are read whichever is named.
            options.choice(&["timestamp-format.standard"], &[("SQL", ()), ("ISO-8601", ())])?;
            options.finish()?;
            Ok(Body::Json(ObjectReader::new(nodes)))
        }
        "CSV" => Ok(Body::Csv(CsvReader::new(spec, format, nodes)?)),
        "BYTES" => {
            Options::of_format(format).finish()?;
            Ok(Body::Bytes(BytesReader::new(nodes)?))
        }
        other => Err(Error::invalid(format!("connector '{}' can't read ENCODE {other}", spec.connector))
            .with_hint("It reads JSON, CSV and BYTES.")),
    }
}

fn decode_json(object: &mut ObjectReader, payload: Option<&[u8]>, length: usize) -> Result<(), Reason> {
    let bytes = not_empty(payload)?;
    let text = std::str::from_utf8(bytes).map_err(not_utf8)?;
    let mut scanner = Scanner::new(text);
    match scanner.peek() {
        None => return Err("the record is empty".to_string()),
        Some(b'{') => {}
        Some(_) => {
            scanner.skip().map_err(|malformed| malformed.0)?;
            return Err(format!("expected a JSON object, got {}", node::shorten(text.trim())));
        }
    }
    let result = object.read(&mut scanner, length).map_err(|malformed| malformed.0)?;
    if scanner.peek().is_some() {
        return Err(format!("more than one JSON value in the record: another begins at byte {}", scanner.at()));
    }
    result.map_err(|fault| fault.to_string())
}

fn not_utf8(error: std::str::Utf8Error) -> Reason {
    format!("the record is not UTF-8 at byte {}", error.valid_up_to())
}

fn not_empty(payload: Option<&[u8]>) -> Result<&[u8], Reason> {
    match payload {
        None => Err("the record has no value (a tombstone), which FORMAT PLAIN gives no meaning".to_string()),
        Some([]) => Err("the record is empty".to_string()),
        Some(payload) => Ok(payload),
    }
}

impl Metadata {
    fn read(&mut self, record: &Record<'_>) -> Result<(), Fault> {
        let given = match self.origin {
            ColumnOrigin::Key => record.key.map(|key| self.node.push_raw(key)),
            ColumnOrigin::Partition => record.partition.map(|partition| self.node.push_number(i64::from(partition))),
            ColumnOrigin::Offset => Some(self.node.push_number(i64::try_from(record.position.0).unwrap_or(i64::MAX))),
            ColumnOrigin::Timestamp => record.timestamp_millis.map(|millis| {
                let micros =
                    millis.checked_mul(1_000).ok_or_else(|| node::out_of_range("its timestamp", "TIMESTAMP"))?;
                self.node.column.push_integer(micros);
                Ok(())
            }),
            ColumnOrigin::Headers => Some(self.node.push_headers(record.headers)),
            ColumnOrigin::Field => unreachable!("fields are read from the payload"),
        };
        let result = match given {
            Some(result) => result,
            None if self.node.nullable => {
                self.node.push_null();
                Ok(())
            }
            None => Err(Fault::not_null("the record has none")),
        };
        result.map_err(|fault| fault.at(&self.node.name))
    }
}

/// The types that INCLUDE can give its columns.
fn check_metadata_type(origin: &ColumnOrigin, field: &arrow::datatypes::Field) -> Result<()> {
    let (what, fits) = match (origin, field.data_type()) {
        (ColumnOrigin::Key, found) => ("VARCHAR or BYTEA", matches!(found, DataType::Utf8 | DataType::Binary)),
        (ColumnOrigin::Partition, found) => {
            ("INTEGER, BIGINT or VARCHAR", matches!(found, DataType::Int32 | DataType::Int64 | DataType::Utf8))
        }
        (ColumnOrigin::Offset, found) => ("BIGINT or VARCHAR", matches!(found, DataType::Int64 | DataType::Utf8)),
        (ColumnOrigin::Timestamp, found) => ("TIMESTAMP or TIMESTAMPTZ", matches!(found, DataType::Timestamp(_, _))),
        (ColumnOrigin::Headers, found) => ("STRUCT<key VARCHAR, value BYTEA>[]", is_headers(found)),
        (ColumnOrigin::Field, _) => return Ok(()),
    };
    if fits {
        return Ok(());
    }
    let (name, found) = (field.name(), node::sql_type(field));
    Err(Error::invalid(format!("column \"{name}\" is of type {found}, but INCLUDE gives it {what}")))
}

fn is_headers(data_type: &DataType) -> bool {
    let DataType::List(element) = data_type else { return false };
    let DataType::Struct(fields) = element.data_type() else { return false };
    let types: Vec<_> = fields.iter().map(|field| field.data_type()).collect();
    types == [&DataType::Utf8, &DataType::Binary]
}

/// The rows that are added, each as often as its weight says; those that are taken back are refused.
pub fn additions(changes: &ChangeBatch) -> (impl Iterator<Item = usize> + '_, Vec<(usize, String)>) {
    let taken_back = (0..changes.len()).filter(|row| changes.weight(*row) < 0);
    let refused = taken_back.map(|row| (row, "the row is taken back, which this sink can't do".to_string())).collect();
    let times = |row| usize::try_from(changes.weight(row)).unwrap_or(0);
    ((0..changes.len()).flat_map(move |row| std::iter::repeat_n(row, times(row))), refused)
}
