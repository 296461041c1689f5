//! Every limit of the runtime, with its reason.

/// Rows per batch that operators aim for: large enough to amortise a call, small enough for the L2 cache.
pub const BATCH_ROWS: usize = 8192;

/// Bytes that one epoch takes from one source: bounds an epoch's memory and its time to about 50 ms.
pub const EPOCH_SOURCE_BYTES: usize = 16 << 20;

/// Bytes that a source's reader may hold decoded ahead of the dataflow.
pub const READER_QUEUE_BYTES: usize = 32 << 20;

/// Bytes under way to one subtask through exchanges before its producers stop taking input.
pub const EXCHANGE_BYTES: usize = 16 << 20;

/// Bytes of rejected or late rows kept per relation; the oldest leave first and are counted.
pub const KEPT_BAD_ROWS_BYTES: usize = 64 << 20;

/// Raw bytes kept of one rejected record: the rest adds nothing to a diagnosis.
pub const REJECTED_RAW_BYTES: usize = 64 << 10;

/// Deltas of an operator may grow to this multiple of its base before they are folded into a new one.
pub const DELTA_TO_BASE_RATIO: f64 = 1.0;

/// Rows per chunk of a versioned relation: a deletion copies at most one bitmap of 1 KiB.
pub const CHUNK_ROWS: usize = 8192;

/// Bytes of a commit's rows that are inlined in a log entry; larger ones get objects of their own.
pub const INLINE_ROWS_BYTES: usize = 1 << 20;

/// Bytes at which a log entry takes no further commit: more would only delay those that wait for it.
pub const LOG_ENTRY_BYTES: usize = 4 << 20;

/// Bytes of commits that may wait for the log before whoever commits has to wait, too.
pub const LOG_QUEUE_BYTES: usize = 64 << 20;

/// Log entries fetched at once: hides the latency of object storage at a start.
pub const LOG_READS_AT_ONCE: usize = 16;

/// Seconds after which a storage root that does not answer fails a start.
pub const STORAGE_OPEN_SECONDS: u64 = 9;

/// Objects above this go to S3 in parts of this size (at least 5 MiB, and at most 10,000 parts an object).
pub const UPLOAD_PART_BYTES: usize = 16 << 20;

/// Parts of one object under way at once.
pub const UPLOAD_PARTS_AT_ONCE: usize = 4;
/// Seconds between looks for new splits of a source: new partitions and files are found about this fast.
pub const DISCOVERY_SECONDS: u64 = 2;

/// First and longest delay before an outside service that is away is tried again.
pub const RETRY_MILLIS_MIN: u64 = 100;
/// See [`RETRY_MILLIS_MIN`].
pub const RETRY_MILLIS_MAX: u64 = 5_000;

/// Failures in a row, without a committed checkpoint in between, after which a graph stands as failed: a row
/// that an operator of ours can't take fails it at every attempt.
pub const RESTARTS_MAX: u32 = 5;

/// Outboxes of a sink that may wait to be published before its graph takes no further input.
pub const OUTBOXES_WAITING_MAX: u64 = 16;

/// Chunks of a relation that a view being filled gets between two epochs: about 5 ms of work.
pub const FILL_SLICE_CHUNKS: usize = 16;

/// Rounds in which a view catches up with a running source before the source is held for the last one.
pub const CATCH_UP_ROUNDS: u32 = 4;

/// Objects of a checkpoint that are written or read at the same time: hides the latency of an object store.
pub const CHECKPOINT_OBJECTS_AT_ONCE: usize = 8;

/// Deltas of a section before they are folded, however small they are: a restore reads every one.
pub const DELTAS_MAX: usize = 32;

/// Bytes of superseded versions that a graph keeps for those who follow its relations: what a reader may fall behind,
/// some seconds of a graph at full load.
pub const FOLLOWED_BYTES: usize = 64 << 20;

/// Superseded versions that a graph keeps for them, however small they are: bounds what is looked through and let go.
pub const FOLLOWED_VERSIONS: usize = 16_384;
