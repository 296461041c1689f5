//! Connectors: bytes of the outside world into batches and back.
//!
//! Every connector implements [`Source`] or [`Sink`]. None of them ever sees a barrier, an epoch or a watermark.
//! Adding one touches: one file, one arm of [`source`] or [`sink`], and its name in the list beside it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod blackhole;
pub mod datagen;
pub mod file;
pub mod formats;
mod generator;
pub mod kafka;
pub mod nexmark;
pub mod options;
pub mod print;

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex};

use millstream_runtime::graph::Clock;
use millstream_runtime::sink::Sink;
use millstream_runtime::source::{ConnectorSpec, Source};
use millstream_runtime::{Error, Result};

/// What connectors need of the process that they run in.
#[derive(Clone)]
pub struct ConnectorContext {
    /// Processing time: what generators pace themselves by.
    pub clock: Arc<dyn Clock>,
    /// Where `print` writes: standard output, except in tests.
    pub output: Arc<Mutex<dyn Write + Send>>,
}

impl ConnectorContext {
    /// A context whose output is the standard output.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { clock, output: Arc::new(Mutex::new(std::io::stdout())) }
    }
}

impl fmt::Debug for ConnectorContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectorContext").finish_non_exhaustive()
    }
}

/// The source that a relation declares. Everything that can be checked without I/O is checked: names and values
/// of options, the encoding, the types of the columns.
pub fn source(spec: &ConnectorSpec, context: &ConnectorContext) -> Result<Arc<dyn Source>> {
    match spec.connector.as_str() {
        "datagen" => datagen::source(spec, context),
        "file" => file::source(spec),
        "kafka" => kafka::source(spec),
        "nexmark" => nexmark::source(spec, context),
        other => Err(unknown(other, "source", "datagen, file, kafka, nexmark")),
    }
}

/// The sink that a statement declares, checked in the same way.
pub fn sink(spec: &ConnectorSpec, context: &ConnectorContext) -> Result<Arc<dyn Sink>> {
    match spec.connector.as_str() {
        "blackhole" => blackhole::sink(spec),
        "file" => file::sink(spec),
        "kafka" => kafka::sink(spec),
        "print" => print::sink(spec, context),
        other => Err(unknown(other, "sink", "blackhole, file, kafka, print")),
    }
}

fn unknown(connector: &str, what: &str, known: &str) -> Error {
    Error::invalid(format!("there is no {what} connector '{connector}'")).with_hint(format!("There are {known}."))
}
