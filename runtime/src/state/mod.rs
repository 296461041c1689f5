//! Keyed state: the one structure that aggregates, joins, deduplication and top-N share.
//!
//! [`KeyedState`] maps keys to slots; operators keep their own columns by slot. It knows which keys an epoch
//! and a checkpoint have changed, deals keys out to key groups, and drops what a watermark closes by time
//! partition. [`RowStore`] keeps whole rows, linked by slot. Spilling cold state to disk belongs here too,
//! one day.
//!
//! Invariants: the order of everything that comes out follows from the order of what went in, never from a
//! hash; a key's group is the same here and in the exchanges ([`key_groups`]); what a delta snapshot leaves
//! out was in the snapshots before it.

pub mod fixed;
mod keyed;
mod keys;
mod rows;
mod table;

pub use keyed::{ClosingTime, KeyedState, SnapshotSlots, event_micros};
pub use keys::{EncodedKeys, KeyCodec, key_groups};
pub use rows::{Added, EntryId, RowStore, StoredRows};
pub use table::{KeyTable, NO_SLOT, Upserted};
