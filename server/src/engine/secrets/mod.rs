//! Secrets: how they are kept, and where their values go (18).
//!
//! What holds: a value is in the clear in the statement that gives it, in the process, and in what connects with it,
//! and nowhere else. The log and snapshots have it encrypted ([`keys`]), with its OID as associated data, so that no
//! stored value can be put in another's place; the text of a statement with a secret in it is encrypted, too, where
//! there is a key ([`keys::Place::Statement`]), and masked wherever it is shown ([`mask`]). Connectors get the value
//! when they connect ([`connect`]), so that a changed one is taken up by the next connection.

pub mod connect;
mod define;
pub mod keys;
mod mask;

pub use self::keys::SecretKeys;
pub use self::mask::{mask, masked_sql};
