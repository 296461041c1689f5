//! What a client must show before it is let in, as the wire asks for it.

use std::fmt;

pub use crate::session::door::Demand;
use crate::session::door::Door;

/// Knows what every user must show.
pub trait Gate: fmt::Debug + Send + Sync + 'static {
    /// What a client of that user name must show. Called before anything else is known of it: the answer may
    /// not tell by its time whether there is such a user.
    fn demand(&self, user: &str) -> Demand;
}

impl Gate for Door {
    fn demand(&self, user: &str) -> Demand {
        Door::demand(self, user)
    }
}
