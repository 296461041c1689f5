//! The session settings that bear on planning; they stand in the durable log beside every view's SQL, so
//! that a restart plans the same way.

use serde::{Deserialize, Serialize};

use crate::values::TextForms;

/// Settings that change what a statement means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredSettings")]
pub struct PlanSettings {
    /// Schemas searched for unqualified names, in order; the first one takes new relations.
    pub search_path: Vec<String>,
    /// The zone in which `timestamptz` text without a zone is read.
    pub time_zone: String,
    /// How casts to text write. Entries of older logs have none: they write the default forms.
    pub forms: TextForms,
    /// Whether the length of a text type says anything. No session can change it: entries of older logs have no
    /// lengths, because `char(n)` and `varchar(n)` were text of any length when they were written, and what was
    /// defined then goes on to hold what it holds.
    pub text_lengths: bool,
}

/// As a log has them, of whatever release.
#[derive(Deserialize)]
struct StoredSettings {
    search_path: Vec<String>,
    time_zone: String,
    forms: Option<TextForms>,
    text_lengths: Option<bool>,
}

impl From<StoredSettings> for PlanSettings {
    fn from(stored: StoredSettings) -> Self {
        // Lengths came with the forms, before they had a field of their own.
        let text_lengths = stored.text_lengths.unwrap_or(stored.forms.is_some());
        let forms = stored.forms.unwrap_or_default();
        Self { search_path: stored.search_path, time_zone: stored.time_zone, forms, text_lengths }
    }
}

impl Default for PlanSettings {
    fn default() -> Self {
        Self {
            search_path: vec!["public".to_string()],
            time_zone: "UTC".to_string(),
            forms: TextForms::default(),
            text_lengths: true,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn entries_of_older_logs_have_no_lengths() {
        let lengths = |json: &str| serde_json::from_str::<PlanSettings>(json).unwrap().text_lengths;
        assert!(!lengths(r#"{"search_path": ["public"], "time_zone": "UTC"}"#));
        let newest = serde_json::to_string(&PlanSettings::default()).unwrap();
        assert!(lengths(&newest));
        let old = PlanSettings { text_lengths: false, ..PlanSettings::default() };
        assert!(!lengths(&serde_json::to_string(&old).unwrap()), "a snapshot keeps what the log said");
    }
}
