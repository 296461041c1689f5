//! Every limit of the engine, with its reason.

/// Bytes of rows that one DML statement may change: they are held at once, in the statement and in its commit.
pub const DML_STATEMENT_BYTES: usize = 256 << 20;

/// Bytes of log after which a snapshot is written by itself: bounds what a start has to read.
pub const SNAPSHOT_LOG_BYTES: u64 = 64 << 20;

/// Seconds between two looks at whether a snapshot is due and objects can be collected.
pub const MAINTENANCE_SECONDS: u64 = 10;
