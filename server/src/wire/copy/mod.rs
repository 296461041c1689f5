//! COPY on the wire: rows that come in and go out beside the protocol of queries.
//!
//! [`input`] takes the messages of a COPY FROM and makes batches of them: [`lines`] cuts text and CSV into lines,
//! [`fields`] lines into values, [`binary`] the binary form into values; [`rows`] makes columns of values and
//! knows where each row stood. [`output`] writes the rows of a COPY TO.
//!
//! What holds: of what came in and is not yet with the session at most [`super::limits::COPY_SLICE_BYTES`] and
//! one message are held; a value that can't be read is told with its line, its column and its text.

mod binary;
mod fields;
mod input;
mod lines;
pub(super) mod output;
mod rows;
