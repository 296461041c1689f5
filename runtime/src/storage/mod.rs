//! What survives: one log of create-only entries, and immutable objects that its entries name.

/// The storage root of one server.
pub struct Storage {}

/// A committed checkpoint, as its log entry names it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CheckpointRef {
    /// The manifest's object, below the root.
    pub manifest: String,
    /// CRC-32 of the manifest's bytes.
    pub checksum: u32,
}
