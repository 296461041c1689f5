//! Connectors: bytes of the outside world into batches and back.
//!
//! Every connector implements [`millstream_runtime::source::Source`] or [`millstream_runtime::sink::Sink`]. None of them
//! ever sees a barrier, an epoch or a watermark.

pub mod formats;
pub mod kafka;
pub mod options;
