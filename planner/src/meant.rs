//! What the names in a definition's text mean: the relations that they stood for when it was planned first.
//!
//! A relation keeps its number when it gets another name, and whoever reads it goes on to read it, as in Postgres. The
//! text of a plain view is planned again wherever the view is used, with the old names in it: each leads through
//! this map, never through the catalog of that day. Nothing of it is stored: a start plans every definition in its
//! old place among the others, renames included, and finds the same relations under the same names.

use std::collections::BTreeMap;

use crate::catalog::{Catalog, Resolved};
use crate::statement::Read;

/// The names of relations in a text, as they stand there (folded unless quoted), and what they mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeantNames(BTreeMap<(Option<String>, String), Read>);

impl MeantNames {
    /// Notes what a name stands for.
    pub fn note(&mut self, schema: Option<&str>, name: &str, resolved: &Resolved) {
        let read = match resolved {
            Resolved::Relation(relation) => Read { relation: relation.id, auxiliary: None },
            Resolved::Auxiliary { owner, auxiliary, .. } => Read { relation: owner.id, auxiliary: Some(*auxiliary) },
        };
        self.0.insert((schema.map(str::to_string), name.to_string()), read);
    }

    /// What a name means; `None` for one that the text does not have, and for what is gone.
    pub fn find(&self, schema: Option<&str>, name: &str, catalog: &Catalog) -> Option<Resolved> {
        catalog.resolve_read(*self.0.get(&(schema.map(str::to_string), name.to_string()))?)
    }
}
