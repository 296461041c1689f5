//! The object `format`: the version of the layout, and the root's identity.
//!
//! It is the first thing that is read and the first thing that is written. Creating it a second time must fail:
//! that shows whether the store keeps create-only promises, on which the log rests.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::backend::Backend;
use super::names;
use crate::error::{Error, ErrorKind, Result};

/// The layout that this release knows and makes.
const LAYOUT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Format {
    layout: u32,
    root: String,
}

/// Only what every release, older or newer, can read.
#[derive(Deserialize)]
struct Layout {
    layout: u32,
}

/// [`check`], repeated while the store does not answer, for as long as a person waits at a start.
pub(crate) async fn check_patiently(backend: &Backend) -> Result<String> {
    let deadline = Instant::now() + backend.timing.open_patience;
    let mut last = Error::unavailable(format!("{} does not answer", backend.label));
    loop {
        match tokio::time::timeout_at(deadline, check(backend)).await {
            Err(_elapsed) => break,
            Ok(Err(error)) if error.kind == ErrorKind::Unavailable => last = error,
            Ok(decided) => return decided,
        }
        if tokio::time::timeout_at(deadline, tokio::time::sleep(backend.timing.retry_most)).await.is_err() {
            break;
        }
    }
    Err(last.with_hint("Look at the endpoint, the credentials and the network, then try again."))
}

/// Checks the layout, makes it where there is none, and gives back the root's identity.
pub(crate) async fn check(backend: &Backend) -> Result<String> {
    let stored = match backend.read_entry(names::FORMAT).await? {
        Some(stored) => stored,
        None => make(backend).await?,
    };
    let damaged = |error: serde_json::Error| {
        Error::data(format!("object \"{}\" in {} is damaged: {error}", names::FORMAT, backend.label))
            .with_hint("Look whether this is the storage of Millstream.")
    };
    let Layout { layout } = serde_json::from_slice(&stored).map_err(damaged)?;
    if layout > LAYOUT {
        return Err(Error::invalid(format!(
            "{} has layout {layout}, this release knows up to {LAYOUT}",
            backend.label
        ))
        .with_hint("Start the release of Millstream that wrote it, or a newer one."));
    }
    let format: Format = serde_json::from_slice(&stored).map_err(damaged)?;
    probe(backend, stored).await?;
    Ok(format.root)
}

async fn make(backend: &Backend) -> Result<Bytes> {
    let format = Format { layout: LAYOUT, root: uuid::Uuid::new_v4().simple().to_string() };
    let made = Bytes::from(serde_json::to_vec(&format).expect("a struct of a number and a string"));
    let created = backend.create_entry(names::FORMAT, made.clone()).await;
    // Two servers may start on an empty root at once: what stands there now is what counts.
    match (backend.read_entry(names::FORMAT).await?, created) {
        (Some(stored), _) => Ok(stored),
        (None, Err(error @ object_store::Error::NotFound { .. })) => {
            Err(Error::invalid(format!("there is no bucket for {}: {error}", backend.label))
                .with_hint("Create the bucket first, or name another one."))
        }
        (None, Err(error)) => Err(backend.failed("make the storage", &error)),
        (None, Ok(())) => Err(Error::invalid(format!("{} does not show what was written to it", backend.label))
            .with_hint("Use a store whose reads are consistent with its writes.")),
    }
}

/// Writes the same bytes again, create-only: a store that takes them would overwrite log entries in silence.
async fn probe(backend: &Backend, stored: Bytes) -> Result<()> {
    match backend.create_entry(names::FORMAT, stored).await {
        Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(()),
        Err(error) => Err(backend.failed("write", &error)),
        Ok(()) => Err(Error::invalid(format!("{} ignores the condition If-None-Match on writes", backend.label))
            .with_hint("Use a store that supports conditional writes, or a newer release of it.")),
    }
}
