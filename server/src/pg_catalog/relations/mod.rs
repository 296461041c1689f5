//! The rows of the system relations: one function per relation that has some.

mod classes;
mod information_schema;
mod server;
mod types;

pub(super) use types::{TYPES, TypeRow};

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

use super::CatalogView;
use super::objects::Objects;
use super::schema::Definition;

/// A value of a row.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    Ints(Vec<i64>),
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u32> for Cell {
    fn from(value: u32) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<usize> for Cell {
    fn from(value: usize) -> Self {
        Self::Int(value as i64)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl<T> From<Option<T>> for Cell
where
    Cell: From<T>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Self::from)
    }
}

/// A row: names and values; what is not named is NULL.
pub(super) type Row = Vec<(&'static str, Cell)>;

/// Makes a [`Row`].
macro_rules! row {
    ($($name:literal: $value:expr),* $(,)?) => {
        vec![$(($name, $crate::pg_catalog::relations::Cell::from($value))),*]
    };
}
use row;

type Fill = fn(&CatalogView, &Objects) -> Vec<Row>;

/// The relations that have rows; all others are empty.
const FILLED: &[(&str, &str, Fill)] = &[
    ("pg_catalog", "pg_am", server::access_methods),
    ("pg_catalog", "pg_attrdef", classes::defaults),
    ("pg_catalog", "pg_attribute", classes::attributes),
    ("pg_catalog", "pg_authid", server::roles),
    ("pg_catalog", "pg_class", classes::classes),
    ("pg_catalog", "pg_collation", types::collations),
    ("pg_catalog", "pg_constraint", classes::constraints),
    ("pg_catalog", "pg_database", server::databases),
    ("pg_catalog", "pg_index", classes::indexes),
    ("pg_catalog", "pg_indexes", classes::index_texts),
    ("pg_catalog", "pg_matviews", classes::materialized_views),
    ("pg_catalog", "pg_namespace", classes::namespaces),
    ("pg_catalog", "pg_roles", server::roles),
    ("pg_catalog", "pg_settings", server::settings),
    ("pg_catalog", "pg_shadow", server::users),
    ("pg_catalog", "pg_tables", classes::tables),
    ("pg_catalog", "pg_tablespace", server::tablespaces),
    ("pg_catalog", "pg_type", types::types),
    ("pg_catalog", "pg_user", server::users),
    ("pg_catalog", "pg_views", classes::views),
    ("information_schema", "applicable_roles", information_schema::applicable_roles),
    ("information_schema", "columns", information_schema::columns),
    ("information_schema", "enabled_roles", information_schema::enabled_roles),
    ("information_schema", "information_schema_catalog_name", information_schema::catalog_name),
    ("information_schema", "key_column_usage", information_schema::key_columns),
    ("information_schema", "schemata", information_schema::schemata),
    ("information_schema", "table_constraints", information_schema::table_constraints),
    ("information_schema", "tables", information_schema::tables),
    ("information_schema", "views", information_schema::views),
];

fn fill(schema: &str, name: &str) -> Option<Fill> {
    FILLED.iter().find(|(in_schema, known, _)| *in_schema == schema && *known == name).map(|(_, _, fill)| *fill)
}

/// Whether a relation never has rows.
pub(super) fn is_always_empty(schema: &str, name: &str) -> bool {
    fill(schema, name).is_none()
}

/// The rows of a relation as one batch.
pub(super) fn batch(definition: &Definition, view: &CatalogView) -> RecordBatch {
    let rows = match fill(&definition.schema, &definition.name) {
        Some(fill) => fill(view, &Objects::of(view)),
        None => Vec::new(),
    };
    let columns = definition.columns.fields().iter().map(|field| {
        let cells = rows.iter().map(|row| row.iter().find(|(name, _)| name == field.name()).map(|(_, cell)| cell));
        column(cells, rows.len(), field.data_type())
    });
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(Arc::clone(&definition.columns), columns.collect(), &options)
        .expect("every column was made for its field")
}

fn column<'a>(cells: impl Iterator<Item = Option<&'a Cell>>, length: usize, data_type: &DataType) -> ArrayRef {
    let null = ScalarValue::try_from(data_type).expect("every column type has a NULL");
    let values: Vec<ScalarValue> = cells.map(|cell| value(cell, data_type).unwrap_or_else(|| null.clone())).collect();
    if values.is_empty() || values.iter().all(ScalarValue::is_null) {
        return new_null_array(data_type, length);
    }
    ScalarValue::iter_to_array(values).expect("the values are of the column's type")
}

/// A cell in the column's type; `None` for NULL.
fn value(cell: Option<&Cell>, data_type: &DataType) -> Option<ScalarValue> {
    let plain = match cell? {
        Cell::Null => return None,
        Cell::Bool(value) => ScalarValue::Boolean(Some(*value)),
        Cell::Int(value) => ScalarValue::Int64(Some(*value)),
        Cell::Text(text) => ScalarValue::Utf8(Some(text.clone())),
        Cell::Ints(values) => {
            let values: Vec<ScalarValue> = values.iter().map(|value| ScalarValue::Int64(Some(*value))).collect();
            ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Int64))
        }
    };
    Some(plain.cast_to(data_type).expect("cells are made for their columns"))
}

#[cfg(test)]
mod tests {
    use super::super::{objects, schema};
    use super::*;

    #[test]
    fn every_filled_relation_is_defined_and_names_only_its_columns() {
        let view = CatalogView { catalog: Arc::new(objects::empty_catalog()), ..CatalogView::default() };
        for (schema_name, name, fill) in FILLED {
            let definition = schema::find(schema_name, name).unwrap_or_else(|| panic!("{schema_name}.{name}"));
            for row in fill(&view, &Objects::of(&view)) {
                for (column, _) in &row {
                    assert!(definition.columns.index_of(column).is_ok(), "{name} has no column {column}");
                }
            }
            batch(definition, &view);
        }
    }
}
