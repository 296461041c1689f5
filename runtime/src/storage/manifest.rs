//! Manifests: what a checkpoint is made of.
//!
//! A manifest is written after all the objects that it names, and counts only once a log entry names it. It is
//! JSON in the frame of [`super::envelope`]; the reference in the log carries its checksum, so that a manifest
//! that was replaced is found, too.

use serde::{Deserialize, Serialize};

use super::envelope::{self, Kind};
use super::object::ObjectRef;
use super::{Storage, names};
use crate::error::{Error, Result};
use crate::graph::GraphId;
use crate::time::{Epoch, LogPosition, Stamp};

/// The format that this release writes into [`Manifest::format`].
pub const MANIFEST_FORMAT: u32 = 1;

/// A committed checkpoint, as its log entry names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointRef {
    /// The manifest's object, below the root.
    pub manifest: String,
    /// CRC-32 of the manifest's bytes.
    pub checksum: u32,
}

/// A checkpoint: the state of every operator and the position of every split, at one epoch of one graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`] of the release that wrote it.
    pub format: u32,
    /// Whose checkpoint.
    pub graph: GraphId,
    /// The epoch that it is of.
    pub epoch: Epoch,
    /// The processing time of that epoch.
    pub stamp: Stamp,
    /// Every commit up to here is in.
    pub log_position: LogPosition,
    /// State by operator and relation.
    pub sections: Vec<Section>,
    /// Positions and watermarks of the splits, typed by the graph.
    pub inputs: serde_json::Value,
    /// Progress of the sinks, typed by the graph.
    pub sinks: serde_json::Value,
}

/// The state of one operator or relation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Which one, unique in the manifest.
    pub name: String,
    /// What it was computed by; state goes only to an operator with the same fingerprint.
    pub fingerprint: String,
    /// A base, then the deltas to apply on top of it, in order.
    pub objects: Vec<ObjectRef>,
}

impl Manifest {
    /// Every object that the checkpoint needs beside the manifest itself.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectRef> {
        self.sections.iter().flat_map(|section| &section.objects)
    }
}

impl Storage {
    /// Writes a manifest, which is durable then, and counts once a log entry holds what this returns.
    pub async fn write_manifest(&self, graph: GraphId, manifest: &Manifest) -> Result<CheckpointRef> {
        if manifest.graph != graph || manifest.format != MANIFEST_FORMAT {
            return Err(Error::internal("a manifest of another graph or format was to be written"));
        }
        let json = serde_json::to_vec(manifest)
            .map_err(|error| Error::internal(format!("a manifest has no JSON form: {error}")))?;
        let sealed = envelope::seal(Kind::Manifest, &[&json]);
        let path = names::graph_object(graph, self.owner()?.term());
        let reference = CheckpointRef { manifest: path, checksum: crc32fast::hash(&sealed) };
        self.backend.put(&reference.manifest, sealed).await?;
        self.ledger().manifest_written(&reference, manifest);
        Ok(reference)
    }

    /// Reads a manifest. One that is damaged, missing, or not the one that was committed is a `Data` error that
    /// names the object.
    pub async fn read_manifest(&self, checkpoint: &CheckpointRef) -> Result<Manifest> {
        const NOUN: &str = "checkpoint manifest";
        let name = &checkpoint.manifest;
        let sealed = self.backend.read(name).await?.ok_or_else(|| envelope::missing(NOUN, name))?;
        if crc32fast::hash(&sealed) != checkpoint.checksum {
            return Err(envelope::damaged(NOUN, name, "it is not the one that the log names"));
        }
        let json = envelope::open(Kind::Manifest, name, &sealed)?;
        let manifest: Manifest =
            serde_json::from_slice(&json).map_err(|error| envelope::damaged(NOUN, name, &error.to_string()))?;
        if manifest.format > MANIFEST_FORMAT {
            return Err(Error::data(format!("{NOUN} \"{name}\" has format {}", manifest.format))
                .with_hint("Start the release of Millstream that wrote it, or a newer one."));
        }
        Ok(manifest)
    }
}
