//! The session settings that bear on planning; they stand in the durable log beside every view's SQL, so
//! that a restart plans the same way.

use serde::{Deserialize, Serialize};

use crate::reading::Reading;
use crate::values::TextForms;

/// Settings that change what a statement means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredSettings")]
pub struct PlanSettings {
    /// Schemas searched for unqualified names, in order; the first one takes new relations.
    pub search_path: Vec<String>,
    /// The zone in which `timestamptz` text without a zone is read.
    pub time_zone: String,
    /// How casts to text write. Entries of older logs have none: they write the default forms.
    pub forms: TextForms,
    /// How SQL is read.
    pub reading: Reading,
}

/// As a log has them, of whatever release. Before there was one number each step of [`Reading`] had a field of its own,
/// which entries from before the step do not have.
#[derive(Deserialize)]
struct StoredSettings {
    search_path: Vec<String>,
    time_zone: String,
    forms: Option<TextForms>,
    reading: Option<Reading>,
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

impl StoredSettings {
    /// The reading that the fields of the steps tell. A snapshot keeps them as they were, so each step that is there
    /// has all earlier ones before it.
    fn reading_of_steps(&self) -> Result<Reading, String> {
        let steps = [
            // Lengths came with the forms, before they had a field of their own.
            (Reading::TEXT_LENGTHS, self.text_lengths.unwrap_or(self.forms.is_some())),
            (Reading::TYPED_LITERALS, self.typed_literals),
            (Reading::ROWS_BY_COLUMNS, self.rows_by_columns),
            (Reading::BLANK_PADDED, self.blank_padded),
            (Reading::CHECKED_CLAUSES, self.checked_clauses),
            (Reading::POSTGRES_FUNCTIONS, self.postgres_functions),
        ];
        let taken = steps.iter().take_while(|(_, is_taken)| *is_taken).count();
        match steps[taken..].iter().find(|(_, is_taken)| *is_taken) {
            Some((later, _)) => Err(format!("{later:?} stands there without {:?}", steps[taken].0)),
            None => Ok(taken.checked_sub(1).map_or(Reading::FIRST, |last| steps[last].0)),
        }
    }
}

impl TryFrom<StoredSettings> for PlanSettings {
    type Error = String;

    fn try_from(stored: StoredSettings) -> Result<Self, String> {
        let reading = match stored.reading {
            Some(reading) => reading,
            None => stored.reading_of_steps()?,
        };
        let StoredSettings { search_path, time_zone, forms, .. } = stored;
        Ok(Self { search_path, time_zone, forms: forms.unwrap_or_default(), reading })
    }
}

impl Default for PlanSettings {
    fn default() -> Self {
        Self {
            search_path: vec!["public".to_string()],
            time_zone: "UTC".to_string(),
            forms: TextForms::default(),
            reading: Reading::NEWEST,
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

    fn stored(fields: &str) -> Result<PlanSettings, String> {
        let json = format!(r#"{{"search_path": ["public"], "time_zone": "UTC"{fields}}}"#);
        serde_json::from_str(&json).map_err(|error| error.to_string())
    }

    #[test]
    fn steps_of_older_logs_are_readings() {
        let forms = serde_json::to_string(&TextForms::default()).unwrap();
        let mut fields = String::new();
        let reading = |fields: &str| stored(fields).unwrap().reading;
        assert_eq!(reading(&fields), Reading::FIRST);
        fields.push_str(&format!(r#", "forms": {forms}"#));
        assert_eq!(reading(&fields), Reading::TEXT_LENGTHS, "lengths came with the forms");
        assert_eq!(reading(&format!(r#"{fields}, "text_lengths": false"#)), Reading::FIRST, "of a snapshot");
        for (step, then) in [
            ("text_lengths", Reading::TEXT_LENGTHS),
            ("typed_literals", Reading::TYPED_LITERALS),
            ("rows_by_columns", Reading::ROWS_BY_COLUMNS),
            ("blank_padded", Reading::BLANK_PADDED),
            ("checked_clauses", Reading::CHECKED_CLAUSES),
            ("postgres_functions", Reading::POSTGRES_FUNCTIONS),
        ] {
            fields.push_str(&format!(r#", "{step}": true"#));
            assert_eq!(reading(&fields), then, "{fields}");
        }
    }

    #[test]
    fn a_snapshot_keeps_the_reading() {
        for reading in Reading::all() {
            let settings = PlanSettings { reading, ..PlanSettings::default() };
            let json = serde_json::to_string(&settings).unwrap();
            assert_eq!(serde_json::from_str::<PlanSettings>(&json).unwrap(), settings);
        }
    }

    #[test]
    fn readings_that_no_build_wrote_and_newer_ones_are_refused() {
        let apart = stored(r#", "text_lengths": true, "rows_by_columns": true"#).unwrap_err();
        assert!(apart.contains("without"), "{apart}");
        let newer = stored(&format!(r#", "reading": {}"#, Reading::NEWEST.index() + 1)).unwrap_err();
        assert!(newer.contains("this build knows"), "{newer}");
    }

    fn of(reading: Reading) -> PlanSettings {
        PlanSettings { reading, ..PlanSettings::default() }
    }

    #[test]
    fn rows_of_older_logs_are_compared_as_structs() {
        let older = of(Reading::TYPED_LITERALS);
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
        let older = of(Reading::TEXT_LENGTHS);
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
        let older = of(Reading::ROWS_BY_COLUMNS);
        let casts = "SELECT 'a '::char(3), 'a '::bpchar, '{a}'::char(2)[]";
        let list = |element| DataType::new_list(element, true);
        assert_eq!(types(casts, &older), [DataType::Utf8, DataType::Utf8, list(DataType::Utf8)]);
        let newer = types(casts, &PlanSettings::default());
        assert_eq!(newer, [DataType::Utf8View, DataType::Utf8View, list(DataType::Utf8View)]);
    }
}
