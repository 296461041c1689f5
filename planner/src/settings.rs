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
    /// lengths, because `varchar(n)` was text of any length when they were written, and what was
    /// defined then goes on to hold what it holds.
    pub text_lengths: bool,
    /// Literals have Postgres' types everywhere: integers in VALUES are `integer` where they fit, whole numbers beyond
    /// `bigint`, or with an exponent, `numeric` without digits behind the point. No session can change this, either:
    /// entries of older logs do not say so, and what is kept of their rows has the types that their literals had.
    pub typed_literals: bool,
    /// Rows are compared column by column, and a NULL leaves the answer open. No session can change it: what was
    /// defined when rows were compared as structs, to which NULL is a value, goes on to hold what it holds.
    pub rows_by_columns: bool,
    /// `char(n)` and `bpchar` are a type of their own. In entries of older logs, which do not say so, they are text of
    /// any length.
    pub blank_padded: bool,
    /// Whether clauses are held to what may stand in them (`crate::bind`, the module `mistakes`): where that was not
    /// done a mistake could be taken in silence, and what was defined so is planned as it was. No session can change it.
    pub checked_clauses: bool,
    /// Functions of arrays, texts and JSON, places in arrays and the rounding of floats are Postgres'. No session can
    /// change it: entries of older logs do not say so, and what is kept of their rows came of DataFusion's functions of
    /// the same names.
    pub postgres_functions: bool,
}

/// As a log has them, of whatever release.
#[derive(Deserialize)]
struct StoredSettings {
    search_path: Vec<String>,
    time_zone: String,
    forms: Option<TextForms>,
    text_lengths: Option<bool>,
    #[serde(default)]
    typed_literals: bool,
    #[serde(default)]
    rows_by_columns: bool,
    #[serde(default)]
    blank_padded: bool,
    #[serde(default)]
    checked_clauses: bool,
    #[serde(default)]
    postgres_functions: bool,
}

impl From<StoredSettings> for PlanSettings {
    fn from(stored: StoredSettings) -> Self {
        let StoredSettings { search_path, time_zone, forms, text_lengths, typed_literals, .. } = stored;
        let StoredSettings { rows_by_columns, blank_padded, checked_clauses, postgres_functions, .. } = stored;
        // Lengths came with the forms, before they had a field of their own.
        let text_lengths = text_lengths.unwrap_or(forms.is_some());
        let forms = forms.unwrap_or_default();
        Self {
            search_path,
            time_zone,
            forms,
            text_lengths,
            typed_literals,
            rows_by_columns,
            blank_padded,
            checked_clauses,
            postgres_functions,
        }
    }
}

impl Default for PlanSettings {
    fn default() -> Self {
        Self {
            search_path: vec!["public".to_string()],
            time_zone: "UTC".to_string(),
            forms: TextForms::default(),
            text_lengths: true,
            typed_literals: true,
            rows_by_columns: true,
            blank_padded: true,
            checked_clauses: true,
            postgres_functions: true,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use arrow::datatypes::DataType;

    use super::*;
    use crate::catalog::Catalog;
    use crate::error::TextPosition;
    use crate::plan::plan;
    use crate::statement::{Statement, StatementText};

    #[test]
    fn entries_of_older_logs_have_no_lengths() {
        let lengths = |json: &str| serde_json::from_str::<PlanSettings>(json).unwrap().text_lengths;
        assert!(!lengths(r#"{"search_path": ["public"], "time_zone": "UTC"}"#));
        let newest = serde_json::to_string(&PlanSettings::default()).unwrap();
        assert!(lengths(&newest));
        let old = PlanSettings { text_lengths: false, ..PlanSettings::default() };
        assert!(!lengths(&serde_json::to_string(&old).unwrap()), "a snapshot keeps what the log said");
    }

    #[test]
    fn rows_of_older_logs_are_compared_as_structs() {
        let older = r#"{ "search_path": ["public"], "time_zone": "UTC" }"#;
        let older: PlanSettings = serde_json::from_str(older).expect("older logs are read");
        assert!(!older.rows_by_columns && PlanSettings::default().rows_by_columns);
        let text = "SELECT 1 FROM (VALUES (1, 2)) AS v(a, b) WHERE (a, b) < (1, 3)".to_string();
        let plan_under = |settings: &PlanSettings| {
            let text = StatementText { sql: text.clone(), start: TextPosition(1) };
            let Ok(Statement::Query(query)) = plan(&text, &Catalog::default(), settings, &[]) else {
                panic!("a query was planned: {}", text.sql);
            };
            query.plan.display_indent().to_string()
        };
        assert!(plan_under(&older).contains("struct("), "{}", plan_under(&older));
        assert!(plan_under(&PlanSettings::default()).contains(" OR "), "{}", plan_under(&PlanSettings::default()));
    }

    fn types(sql: &str, settings: &PlanSettings) -> Vec<DataType> {
        let text = StatementText { sql: sql.to_string(), start: TextPosition(1) };
        let Ok(Statement::Query(query)) = plan(&text, &Catalog::default(), settings, &[]) else {
            panic!("a query was planned: {sql}");
        };
        query.schema.fields().iter().map(|field| field.data_type().clone()).collect()
    }

    #[test]
    fn literals_of_older_logs_keep_their_types() {
        let older = r#"{ "search_path": ["public"], "time_zone": "UTC" }"#;
        let older: PlanSettings = serde_json::from_str(older).expect("older logs are read");
        let newer = PlanSettings::default();
        let rows = "SELECT * FROM (VALUES (1, -2147483648, 3000000000), (2, NULL, 1)) AS v(a, b, c)";
        assert_eq!(types(rows, &newer), [DataType::Int32, DataType::Int32, DataType::Int64]);
        assert_eq!(types(rows, &older), [DataType::Int64, DataType::Int64, DataType::Int64]);
        let literals = "SELECT 1, 9223372036854775808, -9223372036854775808, 1e3";
        let numeric = |digits, scale| DataType::Decimal128(digits, scale);
        assert_eq!(types(literals, &newer), [DataType::Int32, numeric(19, 0), DataType::Int64, numeric(4, 0)]);
        assert_eq!(types(literals, &older)[3], numeric(5, 1));
        let lengths = "SELECT array_length(ARRAY[1], 1), cardinality(ARRAY[1])";
        assert_eq!(types(lengths, &newer), [DataType::Int32, DataType::Int32]);
        assert_eq!(types(lengths, &older), [DataType::Int64, DataType::Int64], "as DataFusion's came out");
    }

    #[test]
    fn blanks_of_older_logs_mean_something() {
        let older: PlanSettings =
            serde_json::from_str(r#"{ "search_path": [], "time_zone": "UTC", "text_lengths": true }"#)
                .expect("older logs are read");
        let casts = "SELECT 'a '::char(3), 'a '::bpchar, '{a}'::char(2)[]";
        let list = |element| DataType::new_list(element, true);
        assert_eq!(types(casts, &older), [DataType::Utf8, DataType::Utf8, list(DataType::Utf8)]);
        let newer = types(casts, &PlanSettings::default());
        assert_eq!(newer, [DataType::Utf8View, DataType::Utf8View, list(DataType::Utf8View)]);
    }
}
