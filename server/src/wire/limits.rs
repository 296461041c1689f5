//! Every limit of the wire, with its reason.

use std::time::Duration;

/// Bytes of one message before the login is done: a startup packet with every setting that drivers send is
/// far below, and nobody who has not logged in may make the server keep more.
pub const LOGIN_MESSAGE_BYTES: usize = 64 << 10;

/// Bytes of one message that carries a statement or parameters: room for a large INSERT, and little enough
/// that a handful of connections can't exhaust the memory.
pub const MESSAGE_BYTES: usize = 64 << 20;

/// Bytes of one message of any other kind, as in Postgres.
pub const SMALL_MESSAGE_BYTES: usize = 10_000;

/// Encoded output at which a connection stops producing and writes: one large write per 32 KiB.
pub const OUTPUT_BYTES: usize = 32 << 10;

/// Bytes read ahead of a running statement, so that a client that went away is noticed: pipelined messages
/// beyond stay in the socket.
pub const READ_AHEAD_BYTES: usize = 64 << 10;

/// Free bytes that a read asks for.
pub const READ_BYTES: usize = 8 << 10;

/// Buffers larger than this are given back when a connection falls idle: idle connections cost little.
pub const IDLE_BUFFER_BYTES: usize = 1 << 10;

/// Bytes of data that one batch of a COPY takes: large enough that what every batch costs does not show, and
/// small enough that many COPYs at a time fit beside each other.
pub const COPY_SLICE_BYTES: usize = 2 << 20;

/// Rows that one batch of a COPY takes: those of narrow tables take more room as columns than as text.
pub const COPY_SLICE_ROWS: usize = 64 << 10;

/// Bytes of one line, or one binary row, of a COPY: it must be whole before it is read. As much as a message.
pub const COPY_LINE_BYTES: usize = MESSAGE_BYTES;

/// Prepared statements per connection; drivers keep some hundreds.
pub const STATEMENTS_PER_CONNECTION: usize = 10_000;

/// Open portals per connection: each may hold a running query.
pub const PORTALS_PER_CONNECTION: usize = 1_000;

/// Columns of a result: the message counts them in 16 bits, Postgres stops at this number.
pub const RESULT_COLUMNS: usize = 1_664;

/// Time for the whole login, from the first byte to ReadyForQuery.
pub const LOGIN_DEADLINE: Duration = Duration::from_secs(30);

/// Connections at a time; one more is told so and closed.
pub const CONNECTIONS: usize = 1_000;

/// Connections above the limit that may talk up to the point where they are refused or turn out to be
/// cancel requests, which always get through.
pub const CONNECTIONS_SPARE: usize = 50;

/// Time that a closing connection waits for the client to read its last error.
pub const LINGER: Duration = Duration::from_secs(1);

/// Time that a shutdown gives running statements to end.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
