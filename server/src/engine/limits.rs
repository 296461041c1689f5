//! Every limit of the engine, with its reason.

use std::time::Duration;

/// Bytes of rows that one DML statement may change: they are held at once, in the statement and in its commit.
pub const DML_STATEMENT_BYTES: usize = 256 << 20;

/// Rows of RETURNING that are computed and looked through at once: some milliseconds, after which a cancel is heard.
pub const RETURNING_SLICE_ROWS: usize = 8_192;

/// How long a statement that is cancelled waits for the outcome of its commit, which is on its way to the log: where the
/// log is well, an entry takes milliseconds.
pub const COMMIT_GRACE: Duration = Duration::from_secs(1);

/// Bytes of log after which a snapshot is written by itself: bounds what a start has to read.
pub const SNAPSHOT_LOG_BYTES: u64 = 64 << 20;

/// Rounds of PBKDF2 that make a verifier of a password, as in Postgres.
pub const SCRAM_ITERATIONS: u32 = 4_096;

/// Rounds that a verifier made elsewhere may have: its client works through them at every login, nobody else does.
pub const SCRAM_ITERATIONS_MAX: u32 = 10_000_000;

/// Entries of log after which a snapshot is written by itself: a start reads them one by one.
pub const SNAPSHOT_LOG_ENTRIES: u64 = 1_000;

/// Advisory locks that all sessions hold together, one per key and session: programs take a few, and each costs memory.
pub const ADVISORY_LOCKS: usize = 10_000;

/// Keys that one look-up by index asks for: beyond that reading everything costs about the same.
pub const INDEX_KEYS_MAX: usize = 1_000;

/// A look-up that would give more than this part of a relation (one in so many rows) reads all of it: taking rows one by
/// one costs several times what scanning them does.
pub const INDEX_ROWS_SHARE: usize = 10;

/// Rows that a look-up may find and still be run at once, without giving way to other tasks: about a millisecond.
pub const LOOK_UP_ROWS: usize = 8_192;

/// Rows that are read in the order of an index before all rows are read instead: taking them one by one from between
/// all chunks costs about a tenth of a millisecond for so many in a relation of a million rows.
pub const FIRST_ROWS: usize = 2_048;

/// Seconds between two looks at the storage: how long what a checkpoint has made superfluous stays there.
pub const MAINTENANCE_SECONDS: u64 = 30;

/// Bytes of rows that a transaction may gather that also takes rows back: they are held beside the tables until
/// COMMIT and netted there as one batch, in which the offsets of a text column end at 2 GiB. Rows that only come
/// are netted with nothing: they may take what is left for state.
pub const TRANSACTION_BYTES: usize = 1 << 30;

/// Savepoints that a transaction may have at once: each notes what every changed table had by then.
pub const SAVEPOINTS: usize = 10_000;

/// Bytes of rows that a transaction puts into the storage before its COMMIT, as one object: what COMMIT has to
/// encode at once stays below this per table, and an object is large enough to be worth a request.
pub const STORED_ROWS_BYTES: usize = 16 << 20;

/// Statements that one transaction may define objects with: each keeps a catalog of its own until COMMIT, where all
/// are planned again while other definitions wait.
pub const DEFINITIONS: usize = 1_000;

/// Bytes of rows that one cursor keeps, WITH HOLD or to go back over them: they count as memory of queries, too, and
/// one cursor is not to take most of it.
pub const CURSOR_BYTES: usize = 256 << 20;

/// Bytes of rows that a cursor keeps that was declared neither SCROLL nor NO SCROLL: Postgres lets many of those go
/// back, and a result that somebody pages through by hand is small.
pub const CURSOR_BYTES_UNASKED: usize = 4 << 20;

/// Cursors that a session may have open: each may hold a running query. As many as the protocol's portals.
pub const CURSORS: usize = 1_000;

/// Queries that a session may subscribe to at a time: each is a view that is kept current for it alone.
pub const TEMPORARY_VIEWS_PER_SESSION: usize = 100;

/// Queries that all sessions may subscribe to at a time: every epoch of a graph goes through all of its views, and a
/// few microseconds for each of so many are some milliseconds.
pub const TEMPORARY_VIEWS: usize = 1_000;

/// Bytes of memory up to which the difference of two versions is computed at once for who follows a relation, without
/// giving way to other tasks: a few milliseconds.
pub const DIFFERENCE_BYTES_AT_ONCE: usize = 4 << 20;

/// Connections of one address that may be logging in at a time: a tenth of all, so that no address can hold every place
/// without showing a password, and a pool that opens its connections at once still gets them.
pub const LOGINS_PER_ADDRESS: u32 = 100;

/// Failed passwords of one role from one address before the next attempt has to wait: people mistype, and programs with
/// an old password start again a few times.
pub const FAILURES_PER_ROLE: u32 = 5;

/// Failed passwords from one address, whatever the roles: many people may stand behind one address, and trying one
/// password with every name is a way of guessing, too.
pub const FAILURES_PER_ADDRESS: u32 = 20;

/// Seconds that the longest wait takes: a guess a minute comes to nothing, and nobody stays shut out for longer.
pub const FAILURE_WAIT_SECONDS_MAX: u64 = 60;

/// Seconds after which one failure is forgotten: so a count of failures says how many there were per minute, too.
pub const FAILURE_FORGOTTEN_SECONDS: u64 = 60;

/// Addresses, and roles of addresses, that are kept count of: about 4 MB. Beyond that those go that were heard of longest
/// ago.
pub const LOGIN_COUNTS: usize = 20_000;
