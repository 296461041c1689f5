//! The session settings that bear on planning; they stand in the durable log beside every view's SQL, so
//! that a restart plans the same way.

use serde::{Deserialize, Serialize};

use crate::values::TextForms;

/// Settings that change what a statement means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanSettings {
    /// Schemas searched for unqualified names, in order; the first one takes new relations.
    pub search_path: Vec<String>,
    /// The zone in which `timestamptz` text without a zone is read.
    pub time_zone: String,
    /// How casts to text write. Entries of older logs have none: they write the default forms.
    #[serde(default)]
    pub forms: TextForms,
}

impl Default for PlanSettings {
    fn default() -> Self {
        Self { search_path: vec!["public".to_string()], time_zone: "UTC".to_string(), forms: TextForms::default() }
    }
}
