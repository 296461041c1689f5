//! Secrets: values that stand nowhere but in what connects with them. A statement names one by `SECRET name`.
//!
//! The catalog knows names, owners and who uses what; the values are the server's, encrypted. Absent here: any way to
//! print one.

use std::collections::BTreeMap;
use std::fmt;

use millstream_runtime::plan::RelationId;

use crate::access::ObjectAccess;
use crate::catalog::QualifiedName;

/// What stands wherever a secret would.
pub const MASK: &str = "********";

/// The value of a secret, as a statement gives it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// Takes a value out of sight.
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value: for what encrypts it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// A secret as the catalog has it.
#[derive(Clone, Debug)]
pub struct Secret {
    /// Its OID, never used again.
    pub oid: u32,
    /// Its name; secrets have names of their own, beside those of relations.
    pub name: QualifiedName,
    /// Whose it is, and who else may connect with it.
    pub access: ObjectAccess,
}

/// The options of a connector that are given by secrets, with the secrets' OIDs.
pub type SecretUses = BTreeMap<String, u32>;

/// What happens to secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretChange {
    /// One is made.
    Create {
        /// Its name.
        name: QualifiedName,
        /// Its value.
        value: SecretText,
    },
    /// It is there already, or not there, and that is no error.
    Nothing {
        /// The command tag.
        tag: &'static str,
        /// What is the case.
        notice: String,
    },
    /// One gets another value.
    Alter {
        /// Its OID.
        oid: u32,
        /// Its value from here on.
        value: SecretText,
    },
    /// Some are dropped.
    Drop {
        /// Their OIDs.
        oids: Vec<u32>,
        /// What uses them and goes along (CASCADE), dependents before what they read.
        relations: Vec<RelationId>,
        /// What was not there, what CASCADE takes along.
        notices: Vec<String>,
    },
}

impl SecretChange {
    /// The command tag.
    pub fn tag(&self) -> &'static str {
        match self {
            Self::Create { .. } => "CREATE SECRET",
            Self::Nothing { tag, .. } => tag,
            Self::Alter { .. } => "ALTER SECRET",
            Self::Drop { .. } => "DROP SECRET",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_not_printed() {
        let change = SecretChange::Alter { oid: 1, value: SecretText::new("s3cret".to_string()) };
        assert!(!format!("{change:?}").contains("s3cret"));
    }
}
