//! What a sink is: an encoder that is deterministic, and a publisher that is idempotent.
//!
//! The rows of the epochs between two checkpoints are encoded into an *outbox* that is part of the later
//! checkpoint. Once the checkpoint is committed the outbox is published under a dense sequence number. After
//! a restart what the outside world has not seen is published again: the publisher's own progress tells.

use async_trait::async_trait;
use bytes::Bytes;

use crate::batch::ChangeBatch;
use crate::error::Result;

/// Who publishes: fixed for the life of a sink, so that an older server can be fenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkIdentity {
    /// Unique for the sink and the storage root, usable in a Kafka transactional id and in a file name.
    pub id: String,
    /// Counts restores of savepoints; 0 at first.
    pub timeline: u64,
}

/// Rows encoded for a sink.
#[derive(Clone, Debug, Default)]
pub struct EncodedRows {
    /// Opaque to the runtime; what [`Publisher::publish`] of the same sink takes.
    pub payload: Bytes,
    /// Rows that the sink can't take (a key that is null, a value without a JSON form), with reasons.
    pub refused: Vec<(usize, String)>,
}

/// An external relation that can be written.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Encodes the net changes of an epoch; deterministic and without I/O.
    fn encode(&self, changes: &ChangeBatch) -> Result<EncodedRows>;

    /// Checks the target, fences older publishers of the same identity, and makes a publisher.
    async fn open(&self, identity: &SinkIdentity) -> Result<Box<dyn Publisher>>;
}

/// Publishes outboxes in order.
#[async_trait]
pub trait Publisher: Send {
    /// The highest sequence number that the outside world is known to hold whole; `None` if it can't tell
    /// or holds nothing.
    async fn progress(&mut self) -> Result<Option<u64>>;

    /// Publishes one outbox: all of its payloads, or an error after which `open` is called again.
    async fn publish(&mut self, sequence: u64, outbox: &[Bytes]) -> Result<()>;
}
