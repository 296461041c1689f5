//! State objects: several named tables of state in one immutable object.
//!
//! Within the frame of [`super::envelope`]: the length of a JSON header, the header (table, kind, rows and bytes
//! of every part), then the parts, each an Arrow IPC stream compressed with LZ4. Encoding and decoding run on
//! the blocking pool, beside whatever else the runtime does.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::envelope::{self, Kind};
use super::{Storage, ipc, names};
use crate::error::{Error, Result};
use crate::graph::GraphId;
use crate::operator::{SnapshotKind, StatePart};

const NOUN: &str = "state object";

/// An object that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Where it is, below the root.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Rows of all of its parts.
    pub rows: u64,
    /// CRC-32 of its bytes.
    pub checksum: u32,
}

#[derive(Serialize, Deserialize)]
struct ObjectHeader {
    parts: Vec<PartHeader>,
}

#[derive(Serialize, Deserialize)]
struct PartHeader {
    table: String,
    kind: PartKind,
    rows: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PartKind {
    Full,
    Delta,
}

impl Storage {
    /// Writes state as one object, which is durable then. Nothing keeps it until a committed checkpoint names
    /// it: if none ever will, [`Self::give_up`] lets it be collected before the next start.
    pub async fn write_state(&self, graph: GraphId, parts: &[StatePart]) -> Result<ObjectRef> {
        let path = names::graph_object(graph, self.owner()?.term());
        let parts = parts.to_vec();
        let rows = parts.iter().map(|part| part.rows.num_rows() as u64).sum();
        let (sealed, checksum) = on_blocking_pool(move || {
            let sealed = encode(&parts)?;
            let checksum = crc32fast::hash(&sealed);
            Ok((sealed, checksum))
        })
        .await?;
        let reference = ObjectRef { path, bytes: sealed.len() as u64, rows, checksum };
        self.backend.put(&reference.path, sealed).await?;
        Ok(reference)
    }

    /// Reads state back, in the order in which it was written. A damaged or missing object is a `Data` error
    /// that names it.
    pub async fn read_state(&self, object: &ObjectRef) -> Result<Vec<StatePart>> {
        let sealed = self.backend.read(&object.path).await?.ok_or_else(|| envelope::missing(NOUN, &object.path))?;
        let object = object.clone();
        on_blocking_pool(move || decode(&object, &sealed)).await
    }
}

/// Runs a computation that takes long where it holds up nobody.
pub(crate) async fn on_blocking_pool<T: Send + 'static>(
    compute: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(compute).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal(format!("encoding has not finished: {error}"))),
    }
}

fn encode(parts: &[StatePart]) -> Result<Bytes> {
    let mut streams = Vec::with_capacity(parts.len());
    let mut headers = Vec::with_capacity(parts.len());
    for part in parts {
        let stream = ipc::encode_batches(&part.rows.schema(), std::slice::from_ref(&part.rows))?;
        let kind = match part.kind {
            SnapshotKind::Full => PartKind::Full,
            SnapshotKind::Delta => PartKind::Delta,
        };
        let (rows, bytes) = (part.rows.num_rows() as u64, stream.len() as u64);
        headers.push(PartHeader { table: part.table.clone(), kind, rows, bytes });
        streams.push(stream);
    }
    let header = serde_json::to_vec(&ObjectHeader { parts: headers }).expect("headers have string keys only");
    let length = envelope::header_length(&header);
    let mut pieces: Vec<&[u8]> = vec![&length, &header];
    pieces.extend(streams.iter().map(|stream| &stream[..]));
    Ok(envelope::seal(Kind::State, &pieces))
}

fn decode(object: &ObjectRef, sealed: &Bytes) -> Result<Vec<StatePart>> {
    let name = object.path.as_str();
    if sealed.len() as u64 != object.bytes || crc32fast::hash(sealed) != object.checksum {
        return Err(envelope::damaged(NOUN, name, "it is not the one that the manifest names"));
    }
    let payload = envelope::open(Kind::State, name, sealed)?;
    let (header, mut streams) = envelope::split_header(NOUN, name, &payload)?;
    let header: ObjectHeader =
        serde_json::from_slice(header).map_err(|error| envelope::damaged(NOUN, name, &error.to_string()))?;
    let mut parts = Vec::with_capacity(header.parts.len());
    for part in header.parts {
        if part.bytes > streams.len() as u64 {
            return Err(envelope::damaged(NOUN, name, &format!("state table \"{}\" is cut off", part.table)));
        }
        let stream = streams.split_to(usize::try_from(part.bytes).expect("not more than there are"));
        let batches = ipc::decode_batches(&stream).map_err(|error| envelope::damaged(NOUN, name, &error.message))?;
        let [rows] = <[_; 1]>::try_from(batches)
            .map_err(|batches| envelope::damaged(NOUN, name, &format!("{} batches in one part", batches.len())))?;
        if rows.num_rows() as u64 != part.rows {
            return Err(envelope::damaged(NOUN, name, &format!("state table \"{}\" lacks rows", part.table)));
        }
        let kind = match part.kind {
            PartKind::Full => SnapshotKind::Full,
            PartKind::Delta => SnapshotKind::Delta,
        };
        parts.push(StatePart { table: part.table, kind, rows });
    }
    Ok(parts)
}
