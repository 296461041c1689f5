//! An entry of the log as bytes: one or more whole commits.
//!
//! Within the frame of [`super::envelope`]:
//!
//! ```text
//! 16 bytes  nonce: two entries with the same nonce are the same write
//! 4 bytes   length of the header
//! header    JSON: the writer's term, then the records in order
//! bodies    the rows of the records that hold theirs inline, in order, each an Arrow IPC stream
//! ```
//!
//! Rows beyond [`limits::INLINE_ROWS_BYTES`] of one commit stand in objects of their own, which are durable
//! before the entry that names them is written.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::backend::Backend;
use super::envelope::{self, Kind};
use super::record::{CheckpointRecord, DdlRecord, Record, RowsRecord};
use super::rows::StoredRows;
use super::{ipc, names};
use crate::error::{Error, Result};
use crate::graph::GraphId;
use crate::limits;
use crate::plan::RelationId;
use crate::time::Watermark;

/// A record as the header of an entry holds it: rows only by where they are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
enum RecordHeader {
    Term { term: u64 },
    Ddl(DdlRecord),
    Rows(RowsHeader),
    Checkpoint(CheckpointRecord),
    GraphsJoined { graph: GraphId, parents: Vec<CheckpointRecord> },
    SavepointNamed { name: String, checkpoints: Vec<CheckpointRecord> },
    SavepointDropped { name: String },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct RowsHeader {
    relation: RelationId,
    late: bool,
    rows: u64,
    body: BodyPlace,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    watermark: Option<Watermark>,
}

/// Where the rows of a record are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BodyPlace {
    /// The next bytes behind the header.
    Inline { bytes: u64 },
    /// An object below the root.
    Object { path: String, bytes: u64, checksum: u32 },
}

#[derive(Serialize)]
struct EntryHeader<'a> {
    term: u64,
    records: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct StoredHeader {
    term: u64,
    records: Vec<RecordHeader>,
}

/// The records of one caller, ready to be put into an entry.
#[derive(Debug, Default)]
pub(crate) struct Commit {
    headers: Vec<Box<RawValue>>,
    bodies: Vec<Bytes>,
    /// Rows objects that it names.
    pub(crate) rows_objects: Vec<String>,
    /// Manifests of the checkpoints that it commits.
    pub(crate) manifests: Vec<String>,
    /// Keeps objects that were written before from being given up until the entry names them.
    pub(crate) stored: Vec<Arc<StoredRows>>,
}

impl Commit {
    /// Bytes that it adds to an entry.
    pub(crate) fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|header| header.get().len() + 1).sum();
        headers + self.bodies.iter().map(Bytes::len).sum::<usize>()
    }
}

/// A commit of which some rows may still have to be written as objects of their own.
#[derive(Default)]
pub(crate) struct Draft {
    records: Vec<(RecordHeader, Option<Bytes>)>,
    /// Rows objects to write first: path and sealed bytes.
    uploads: Vec<(String, Bytes)>,
    /// Rows objects that stand already.
    stored: Vec<Arc<StoredRows>>,
}

impl Draft {
    /// Encodes records: pure computation, long for many rows.
    pub(crate) fn encode(records: Vec<Record>, term: u64) -> Result<Self> {
        let mut draft = Self { records: Vec::with_capacity(records.len()), ..Self::default() };
        let mut inline_bytes = 0;
        for record in records {
            let header = match record {
                Record::Rows(RowsRecord { stored: Some(stored), relation, late, watermark, .. }) => {
                    let (path, bytes, checksum) = (stored.path.clone(), stored.bytes, stored.checksum);
                    let body = BodyPlace::Object { path, bytes, checksum };
                    let rows = stored.rows;
                    draft.stored.push(stored);
                    RecordHeader::Rows(RowsHeader { relation, late, rows, body, watermark })
                }
                Record::Rows(rows) => {
                    let stream = ipc::encode_changes(&rows.changes)?;
                    inline_bytes += stream.len();
                    draft.add_rows(&rows, stream, inline_bytes > limits::INLINE_ROWS_BYTES, term);
                    continue;
                }
                Record::Term { term } => RecordHeader::Term { term },
                Record::Ddl(ddl) => RecordHeader::Ddl(ddl),
                Record::Checkpoint(checkpoint) => RecordHeader::Checkpoint(checkpoint),
                Record::GraphsJoined { graph, parents } => RecordHeader::GraphsJoined { graph, parents },
                Record::SavepointNamed { name, checkpoints } => RecordHeader::SavepointNamed { name, checkpoints },
                Record::SavepointDropped { name } => RecordHeader::SavepointDropped { name },
            };
            draft.records.push((header, None));
        }
        Ok(draft)
    }

    fn add_rows(&mut self, rows: &RowsRecord, stream: Bytes, apart: bool, term: u64) {
        let count = rows.changes.iter().map(|change| change.len() as u64).sum();
        let (body, inline) = if apart {
            let sealed = envelope::seal(Kind::Rows, &[&stream]);
            let path = names::rows_object(term);
            let checksum = crc32fast::hash(&sealed);
            let place = BodyPlace::Object { path: path.clone(), bytes: sealed.len() as u64, checksum };
            self.uploads.push((path, sealed));
            (place, None)
        } else {
            (BodyPlace::Inline { bytes: stream.len() as u64 }, Some(stream))
        };
        let (relation, late, watermark) = (rows.relation, rows.late, rows.watermark);
        let header = RowsHeader { relation, late, rows: count, body, watermark };
        self.records.push((RecordHeader::Rows(header), inline));
    }

    /// Whether nothing has to be written before the entry.
    pub(crate) fn is_inline(&self) -> bool {
        self.uploads.is_empty()
    }

    /// Writes the rows objects.
    pub(crate) async fn upload(&self, backend: &Backend) -> Result<()> {
        for (path, sealed) in &self.uploads {
            backend.put(path, sealed.clone()).await?;
        }
        Ok(())
    }

    /// What goes into the entry.
    pub(crate) fn into_commit(self) -> Commit {
        let stored = self.stored.iter().map(|stored| stored.path.clone());
        let rows_objects = self.uploads.into_iter().map(|(path, _)| path).chain(stored).collect();
        let mut commit = Commit { rows_objects, stored: self.stored, ..Commit::default() };
        for (header, body) in self.records {
            if let RecordHeader::Checkpoint(checkpoint) = &header {
                commit.manifests.push(checkpoint.checkpoint.manifest.clone());
            }
            commit.headers.push(serde_json::value::to_raw_value(&header).expect("headers have string keys only"));
            commit.bodies.extend(body);
        }
        commit
    }
}

/// The bytes of an entry with the given commits, in order.
pub(crate) fn seal_entry(term: u64, nonce: [u8; 16], commits: &[Commit]) -> Bytes {
    let records = commits.iter().flat_map(|commit| &commit.headers).map(Box::as_ref).collect();
    let header = serde_json::to_vec(&EntryHeader { term, records }).expect("headers have string keys only");
    let length = envelope::header_length(&header);
    let mut pieces: Vec<&[u8]> = vec![&nonce, &length, &header];
    pieces.extend(commits.iter().flat_map(|commit| &commit.bodies).map(|body| &body[..]));
    envelope::seal(Kind::Entry, &pieces)
}

/// An entry as read back; rows are still bytes, or still in objects of their own.
pub(crate) struct Entry {
    /// The term of the server that wrote it.
    pub(crate) term: u64,
    name: String,
    records: Vec<(RecordHeader, Bytes)>,
}

impl Entry {
    /// Checks and takes apart the bytes of the object `name`.
    pub(crate) fn open(name: &str, sealed: &Bytes) -> Result<Self> {
        const NOUN: &str = "log entry";
        let payload = envelope::open(Kind::Entry, name, sealed)?;
        if payload.len() < 16 {
            return Err(envelope::damaged(NOUN, name, "it has no nonce"));
        }
        let behind_nonce = payload.slice(16..);
        let (header, mut bodies) = envelope::split_header(NOUN, name, &behind_nonce)?;
        let header: StoredHeader =
            serde_json::from_slice(header).map_err(|error| envelope::damaged(NOUN, name, &error.to_string()))?;
        let mut records = Vec::with_capacity(header.records.len());
        for record in header.records {
            let mut body = Bytes::new();
            if let RecordHeader::Rows(RowsHeader { body: BodyPlace::Inline { bytes }, .. }) = &record {
                if *bytes > bodies.len() as u64 {
                    return Err(envelope::damaged(NOUN, name, "its rows are cut off"));
                }
                body = bodies.split_to(usize::try_from(*bytes).expect("not more than there are"));
            }
            records.push((record, body));
        }
        Ok(Self { term: header.term, name: name.to_owned(), records })
    }

    /// The term that the entry opens, if it is the entry of a term.
    pub(crate) fn opens_term(&self) -> Option<u64> {
        let term = |record: &RecordHeader| if let RecordHeader::Term { term } = record { Some(*term) } else { None };
        self.records.iter().find_map(|(record, _)| term(record))
    }

    /// The rows objects that it names.
    pub(crate) fn rows_objects(&self) -> Vec<String> {
        let mut paths = Vec::new();
        for (record, _) in &self.records {
            if let RecordHeader::Rows(RowsHeader { body: BodyPlace::Object { path, .. }, .. }) = record {
                paths.push(path.clone());
            }
        }
        paths
    }

    /// Every record, with its rows.
    pub(crate) async fn into_records(self, backend: &Backend) -> Result<Vec<Record>> {
        let mut records = Vec::with_capacity(self.records.len());
        for (header, body) in self.records {
            records.push(match header {
                RecordHeader::Term { term } => Record::Term { term },
                RecordHeader::Ddl(ddl) => Record::Ddl(ddl),
                RecordHeader::Rows(header) => Record::Rows(read_rows(backend, &self.name, header, body).await?),
                RecordHeader::Checkpoint(checkpoint) => Record::Checkpoint(checkpoint),
                RecordHeader::GraphsJoined { graph, parents } => Record::GraphsJoined { graph, parents },
                RecordHeader::SavepointNamed { name, checkpoints } => Record::SavepointNamed { name, checkpoints },
                RecordHeader::SavepointDropped { name } => Record::SavepointDropped { name },
            });
        }
        Ok(records)
    }

    /// Only the rows of some relations; the objects of others are not fetched.
    pub(crate) async fn into_rows(
        self,
        backend: &Backend,
        wanted: impl Fn(RelationId) -> bool,
    ) -> Result<Vec<RowsRecord>> {
        let mut rows = Vec::new();
        for (header, body) in self.records {
            if let RecordHeader::Rows(header) = header
                && wanted(header.relation)
            {
                rows.push(read_rows(backend, &self.name, header, body).await?);
            }
        }
        Ok(rows)
    }
}

async fn read_rows(backend: &Backend, entry: &str, header: RowsHeader, inline: Bytes) -> Result<RowsRecord> {
    let RowsHeader { relation, late, rows, body, watermark } = header;
    let (holder, stream) = match body {
        BodyPlace::Inline { .. } => (entry.to_owned(), inline),
        BodyPlace::Object { path, checksum, .. } => {
            let sealed = backend.read(&path).await?.ok_or_else(|| envelope::missing("rows object", &path))?;
            if crc32fast::hash(&sealed) != checksum {
                return Err(envelope::damaged("rows object", &path, "it is not the one that the log names"));
            }
            let stream = envelope::open(Kind::Rows, &path, &sealed)?;
            (path, stream)
        }
    };
    let changes = ipc::decode_changes(&stream).map_err(|error| unreadable(&holder, &error))?;
    let found: u64 = changes.iter().map(|change| change.len() as u64).sum();
    if found != rows {
        return Err(Error::data(format!("\"{holder}\" holds {found} rows of {relation} instead of {rows}")));
    }
    Ok(RowsRecord { relation, late, changes, stored: None, watermark })
}

fn unreadable(name: &str, error: &Error) -> Error {
    Error::data(format!("the rows in \"{name}\" cannot be read: {}", error.message))
}
