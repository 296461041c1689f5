//! The columns of a result as RowDescription tells them.

use arrow::datatypes::SchemaRef;
use millstream_planner::values::Described;

use super::errors;
use super::limits::RESULT_COLUMNS;
use super::values::ColumnType;
use crate::session::SqlError;

/// A column of a result.
pub(super) struct ResultColumn {
    pub(super) name: String,
    pub(super) column: ColumnType,
    /// Of its type and its relation.
    pub(super) described: Described,
}

/// The columns of a schema.
pub(super) fn describe_columns(schema: &SchemaRef) -> Result<Vec<ResultColumn>, SqlError> {
    if schema.fields().len() > RESULT_COLUMNS {
        let message = format!("target lists can have at most {RESULT_COLUMNS} entries");
        return Err(errors::limit_exceeded(message, "Select fewer columns."));
    }
    let columns = schema.fields().iter().map(|field| {
        let (column, described) = (ColumnType::of_field(field)?, Described::of(field));
        Ok(ResultColumn { name: field.name().clone(), column, described })
    });
    columns.collect()
}

/// The types alone, as rows are encoded by them.
pub(super) fn types_of(columns: &[ResultColumn]) -> std::sync::Arc<[ColumnType]> {
    columns.iter().map(|column| column.column.clone()).collect()
}
