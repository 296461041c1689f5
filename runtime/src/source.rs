//! What a source is: splits with positions, and readers that turn their records into Arrow batches.
//!
//! Connectors implement these traits. They never see a barrier, an epoch or a watermark: the pump of the
//! graph that reads a source assigns event time, decides what is late, and cuts epochs.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// The name of a split: a Kafka partition number, a file's path, a generator's index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SplitId(pub String);

/// Where to read next in a split: a Kafka offset, a byte offset in a file, a row number of a generator.
///
/// Records of a split are ordered by position and a record's position is below the next one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position(pub u64);

/// A split as the source describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Its name, unique within the source.
    pub id: SplitId,
    /// Where a new reader starts, resolved once when the split is found.
    pub start: Position,
    /// Identity of the thing behind the name (a topic's id, a file's version), empty when there is none.
    /// A restored position with another incarnation is an error, never a silent reset.
    pub incarnation: String,
}

/// One split to read, and how far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitRange {
    /// The split.
    pub split: Split,
    /// The first position to read.
    pub from: Position,
    /// Stop before this position; `None` reads on (to the end of a bounded split).
    pub until: Option<Position>,
}

/// A record that could not be decoded, or a row that its relation's declared schema does not accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRecord {
    /// Position of the record in its split.
    pub position: Position,
    /// Why, as a person reads it (`column "price": expected BIGINT, got "abc"`).
    pub reason: String,
    /// The record's bytes, cut at [`crate::limits::REJECTED_RAW_BYTES`].
    pub raw: Vec<u8>,
}

/// The bytes of records that became rows: a row may be refused after it was decoded, and what is kept of it then are
/// the bytes as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawRecords {
    bytes: Vec<u8>,
    /// Where every record ends.
    ends: Vec<usize>,
}

impl RawRecords {
    /// Appends a record, cut at [`crate::limits::REJECTED_RAW_BYTES`].
    pub fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(&record[..record.len().min(crate::limits::REJECTED_RAW_BYTES)]);
        self.ends.push(self.bytes.len());
    }

    /// The record of a row.
    pub fn get(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.bytes[start..self.ends[row]]
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<usize>()
    }

    /// Takes the records out and leaves room for as many again.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let room = Self { bytes: Vec::with_capacity(self.bytes.len()), ends: Vec::with_capacity(self.ends.len()) };
        std::mem::replace(self, room)
    }
}

/// What a reader hands over: consecutive records of one split.
#[derive(Clone, Debug)]
pub struct SourceBatch {
    /// The split that all of these come from.
    pub split: SplitId,
    /// The decoded rows, in the order of their positions, with the schema that was asked for.
    pub rows: RecordBatch,
    /// Position of each row, as many as `rows` has rows, not falling.
    pub positions: Vec<Position>,
    /// The records of the rows, where [`ConnectorSpec::keeps_raw`] asks for them.
    pub raw: Option<RawRecords>,
    /// The records that did not become rows.
    pub rejected: Vec<RejectedRecord>,
    /// The position after the last record of this batch.
    pub next: Position,
}

/// What happened at a reader.
#[derive(Debug)]
pub enum SourceEvent {
    /// Records arrived.
    Batch(SourceBatch),
    /// A bounded split, or one read up to `until`, has ended; nothing more comes from it.
    SplitEnded(SplitId),
}

/// An external relation that can be read.
#[async_trait]
pub trait Source: Send + Sync {
    /// The splits that exist now. Called at CREATE (where an unreachable service is an error within
    /// [`CREATE_TIMEOUT_SECONDS`]) and again every now and then to find new ones.
    async fn splits(&self) -> Result<Vec<Split>>;

    /// The position after the last record of every split as a read_committed reader sees it now; for
    /// unbounded generators the rows due by now.
    async fn ends(&self) -> Result<BTreeMap<SplitId, Position>>;

    /// Opens one reader over some splits. `columns` are indices into the declared physical schema: only
    /// those are built, in that order, but every declared column is checked.
    async fn open(&self, ranges: Vec<SplitRange>, columns: Vec<usize>) -> Result<Box<dyn SourceReader>>;

    /// Whether the input ends by itself (a bounded file, a generator with a row limit).
    fn bounded(&self) -> bool;
}

/// Seconds after which an unreachable service fails a CREATE: long enough for a slow broker, and the error is there
/// within the ten that a person waits.
pub const CREATE_TIMEOUT_SECONDS: u64 = 9;

/// A reader of some splits of a source.
#[async_trait]
pub trait SourceReader: Send {
    /// Waits for what comes next; `None` when every split has ended.
    ///
    /// Cancel-safe: dropping the future loses no record. An `Unavailable` error means that the caller opens
    /// a new reader from the positions it holds; a `Data` error stops the relation with its reason.
    async fn next(&mut self) -> Result<Option<SourceEvent>>;

    /// Tells the outside world how far a durable checkpoint has read, for observation only.
    async fn committed(&mut self, _positions: &BTreeMap<SplitId, Position>) -> Result<()> {
        Ok(())
    }
}

/// Where a declared column of a source comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ColumnOrigin {
    /// A field of the decoded record, found by name.
    Field,
    /// The record's key.
    Key,
    /// The number of the Kafka partition.
    Partition,
    /// The record's offset.
    Offset,
    /// The record's timestamp.
    Timestamp,
    /// The record's headers.
    Headers,
}

/// How records are encoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormatSpec {
    /// `PLAIN`, `UPSERT` or `DEBEZIUM`, upper case.
    pub format: String,
    /// `JSON`, `CSV`, `BYTES`, `PARQUET`, ..., upper case.
    pub encode: String,
    /// Options of the encoding, names lower case.
    pub options: BTreeMap<String, String>,
}

/// Everything that a connector needs to know of a declared source or sink.
#[derive(Clone, Debug)]
pub struct ConnectorSpec {
    /// The relation's name as the user wrote it, for messages.
    pub relation: String,
    /// The connector's name, lower case: `kafka`, `nexmark`, ...
    pub connector: String,
    /// Options of the WITH clause without `connector`; names as written, lower-cased; values with secrets
    /// already put in. Unknown names are an error of the connector that lists the known ones.
    pub options: BTreeMap<String, String>,
    /// The encoding; `None` where the connector makes typed rows itself.
    pub format: Option<FormatSpec>,
    /// The physical schema: the columns that the connector builds, without generated ones.
    pub schema: SchemaRef,
    /// Where each column of `schema` comes from.
    pub origins: Vec<ColumnOrigin>,
    /// Columns of the primary key, as indices into `schema`; empty when there is none.
    pub primary_key: Vec<usize>,
    /// Whether rows may be refused after they were decoded (by a generated column), so that batches carry the bytes
    /// of their records where there are any.
    pub keeps_raw: bool,
}
