//! The columns of a table or source: physical ones, what INCLUDE adds, generated ones, the key, the watermark.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use millstream_runtime::plan::WatermarkSpec;
use millstream_runtime::source::ColumnOrigin;

use crate::bind::{Binder, Purpose};
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::parse::ast::{Column, CreateRelation, Identifier, Include, Metadata, SqlExpression, Watermark};
use crate::reading::Reading;
use crate::settings::PlanSettings;
use crate::types::{TEXT_LENGTH_MAX, arrow_type, declared_digits, declared_length, sql_name, take_character, under};
use crate::values::Shown;

use super::nexmark;
use super::options::{ALLOWED_LATENESS, IDLE_TIMEOUT, Options};

/// Columns of one relation; as in Postgres.
const COLUMNS_MAX: usize = 1_600;

/// The columns of a relation, resolved.
pub(super) struct Columns {
    /// Physical columns, then generated ones.
    pub(super) schema: SchemaRef,
    /// The physical columns alone.
    pub(super) physical: SchemaRef,
    /// Where each physical column comes from.
    pub(super) origins: Vec<ColumnOrigin>,
    /// One expression per generated column.
    pub(super) generated: Vec<Arc<dyn PhysicalExpr>>,
    /// The same as SQL text.
    pub(super) generated_sql: Vec<String>,
    /// One per column of `schema`, as SQL text.
    pub(super) defaults: Vec<Option<String>>,
    /// What the declared types say beyond Arrow's, one per column of `schema`.
    pub(super) shown: Vec<Shown>,
    /// Columns of the primary key.
    pub(super) primary_key: Vec<usize>,
    /// Physical columns of a `varchar(n)` or a `char(n)`, or of arrays of the latter, with their lengths.
    pub(super) text_lengths: Vec<(usize, usize)>,
    pub(super) second_digits: Vec<(usize, u8)>,
}

impl CreateRelation {
    /// Lets the declared types mean what they meant under the settings of the definition.
    pub(crate) fn under(&mut self, settings: &PlanSettings) {
        let declared = self.columns.iter_mut().filter_map(|column| column.data_type.as_mut());
        declared.for_each(|declared| under(declared, settings));
    }
}

/// Resolves the columns of `relation`.
pub(super) fn resolve(relation: &CreateRelation, options: &Options, binder: &Binder<'_>) -> Result<Columns> {
    check_names(relation)?;
    let (mut fields, mut defaults) = declared(relation, options, binder)?;
    let mut origins = vec![ColumnOrigin::Field; fields.len()];
    for include in &relation.includes {
        fields.push(included(include));
        origins.push(origin(include.metadata));
        defaults.push(None);
    }
    let stored = relation.columns.iter().filter(|column| column.generated.is_none());
    let mut shown: Vec<Shown> = stored.map(shown_of).collect();
    shown.resize(fields.len(), Shown::default());
    let primary_key = primary_key(relation, &mut fields)?;
    let physical: SchemaRef = Arc::new(Schema::new(fields.clone()));
    let (mut generated, mut generated_sql) = (Vec::new(), Vec::new());
    for (column, expression) in generated_columns(relation) {
        let (field, physical_expression) = generated_column(column, expression, &physical, binder)?;
        fields.push(field);
        generated.push(physical_expression);
        generated_sql.push(expression.sql.clone());
        defaults.push(None);
        shown.push(shown_of(column));
    }
    let text_lengths = text_lengths(relation)?;
    Ok(Columns {
        schema: Arc::new(Schema::new(fields)),
        physical,
        origins,
        generated,
        generated_sql,
        defaults,
        shown,
        primary_key,
        text_lengths,
        second_digits: second_digits(relation, binder.reading()),
    })
}

/// Columns that the user wrote down, or those that the generator fixes.
fn declared(
    relation: &CreateRelation,
    options: &Options,
    binder: &Binder<'_>,
) -> Result<(Vec<Field>, Vec<Option<String>>)> {
    let stored = relation.columns.iter().filter(|column| column.generated.is_none());
    let mut fields = Vec::new();
    let mut defaults = Vec::new();
    for column in stored {
        let field = stored_field(column)?;
        defaults.push(default_of(column, field.data_type(), binder)?);
        fields.push(field);
    }
    if fields.is_empty() && options.connector() == Some("nexmark") {
        let table_type = options.peek(nexmark::TABLE_TYPE_OPTION);
        let position = table_type.map(|(_, position)| position);
        let fixed = nexmark::columns(table_type.map(|(value, _)| value)).map_err(|error| error.at(position))?;
        fields = fixed.iter().map(|field| field.as_ref().clone()).collect();
        defaults = vec![None; fields.len()];
        for column in &relation.columns {
            if fields.iter().any(|field| *field.name() == column.name.value) {
                return Err(twice(&column.name));
            }
        }
    }
    Ok((fields, defaults))
}

fn check_names(relation: &CreateRelation) -> Result<()> {
    let names: Vec<&Identifier> = relation
        .columns
        .iter()
        .map(|column| &column.name)
        .chain(relation.includes.iter().map(|include| &include.name))
        .collect();
    if names.len() > COLUMNS_MAX {
        let message = format!("a relation can have at most {COLUMNS_MAX} columns");
        return Err(PlanError::new(PlanErrorKind::ProgramLimitExceeded, message).at(Some(relation.name.position)));
    }
    let mut seen = std::collections::HashSet::new();
    match names.into_iter().find(|name| !seen.insert(&name.value)) {
        None => Ok(()),
        Some(name) => Err(twice(name)),
    }
}

fn twice(name: &Identifier) -> PlanError {
    let message = format!("column \"{}\" specified more than once", name.value);
    PlanError::new(PlanErrorKind::DuplicateColumn, message).at(Some(name.position))
}

fn stored_field(column: &Column) -> Result<Field> {
    let declared = column.data_type.as_ref().ok_or_else(|| PlanError::internal("a stored column has a type"))?;
    let data_type = arrow_type(declared).map_err(|error| error.at(Some(column.type_position)))?;
    Ok(Field::new(&column.name.value, data_type, !column.not_null))
}

fn shown_of(column: &Column) -> Shown {
    column.data_type.as_ref().map(Shown::of_declared).unwrap_or_default()
}

/// The text of a default, after it was seen to be a value of the column.
fn default_of(column: &Column, data_type: &DataType, binder: &Binder<'_>) -> Result<Option<String>> {
    let Some(default) = &column.default else { return Ok(None) };
    let no_columns: SchemaRef = Arc::new(Schema::empty());
    binder
        .expression_as(&default.expression, &no_columns, data_type, &column.name.value, Purpose::Default)
        .map_err(|error| error.at(Some(default.position)))?;
    Ok(Some(default.sql.clone()))
}

/// The stored columns whose texts have a length; they come first, in declared order.
fn text_lengths(relation: &CreateRelation) -> Result<Vec<(usize, usize)>> {
    let stored = relation.columns.iter().filter(|column| column.generated.is_none());
    let lengths = stored.enumerate().filter_map(|(index, column)| {
        let declared = column.data_type.as_ref()?;
        // The length of a `char(n)` was checked with its type.
        let padded = || take_character(&mut declared.clone()).and_then(Result::ok).flatten();
        let length = declared_length(declared).or_else(padded)?;
        Some((index, length, column.type_position))
    });
    let checked = lengths.map(|(index, length, position)| match length {
        1..=TEXT_LENGTH_MAX => Ok((index, length as usize)),
        _ => {
            let message = format!("length for type varchar cannot exceed {TEXT_LENGTH_MAX}");
            Err(PlanError::new(PlanErrorKind::InvalidParameterValue, message).at(Some(position)))
        }
    });
    checked.collect()
}

/// The stored columns with fewer digits of a second than there can be.
fn second_digits(relation: &CreateRelation, reading: Reading) -> Vec<(usize, u8)> {
    if reading < Reading::POSTGRES_DIGITS {
        return Vec::new();
    }
    let stored = relation.columns.iter().filter(|column| column.generated.is_none()).enumerate();
    let digits = |column: &Column| declared_digits(column.data_type.as_ref()?);
    stored.filter_map(|(index, column)| Some((index, digits(column)?))).collect()
}

fn included(include: &Include) -> Field {
    let data_type = match include.metadata {
        Metadata::Key => DataType::Binary,
        Metadata::Partition => DataType::Int32,
        Metadata::Offset => DataType::Int64,
        Metadata::Timestamp => DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into())),
        Metadata::Headers => {
            let header = Fields::from(vec![
                Field::new("key", DataType::Utf8, true),
                Field::new("value", DataType::Binary, true),
            ]);
            DataType::List(Arc::new(Field::new_list_field(DataType::Struct(header), true)))
        }
    };
    Field::new(&include.name.value, data_type, true)
}

fn origin(metadata: Metadata) -> ColumnOrigin {
    match metadata {
        Metadata::Key => ColumnOrigin::Key,
        Metadata::Partition => ColumnOrigin::Partition,
        Metadata::Offset => ColumnOrigin::Offset,
        Metadata::Timestamp => ColumnOrigin::Timestamp,
        Metadata::Headers => ColumnOrigin::Headers,
    }
}

/// The key's columns, which become NOT NULL.
fn primary_key(relation: &CreateRelation, fields: &mut [Field]) -> Result<Vec<usize>> {
    let mut key = Vec::new();
    for name in &relation.primary_key {
        let at = Some(name.position);
        if generated_columns(relation).any(|(column, _)| column.name.value == name.value) {
            let message = format!("column \"{}\" of the primary key is generated", name.value);
            return Err(PlanError::unsupported(message).with_hint("Use the columns that it is computed from.").at(at));
        }
        let Some(index) = fields.iter().position(|field| *field.name() == name.value) else {
            let message = format!("column \"{}\" named in key does not exist", name.value);
            return Err(PlanError::new(PlanErrorKind::UndefinedColumn, message).at(at));
        };
        if key.contains(&index) {
            let message = format!("column \"{}\" appears twice in primary key constraint", name.value);
            return Err(PlanError::new(PlanErrorKind::DuplicateColumn, message).at(at));
        }
        fields[index].set_nullable(false);
        key.push(index);
    }
    Ok(key)
}

fn generated_columns(relation: &CreateRelation) -> impl Iterator<Item = (&Column, &SqlExpression)> {
    relation.columns.iter().filter_map(|column| column.generated.as_ref().map(|expression| (column, expression)))
}

fn generated_column(
    column: &Column,
    expression: &SqlExpression,
    physical: &SchemaRef,
    binder: &Binder<'_>,
) -> Result<(Field, Arc<dyn PhysicalExpr>)> {
    let name = &column.name.value;
    if let Some(default) = &column.default {
        let message = format!("both default and generation expression specified for column \"{name}\"");
        return Err(PlanError::new(PlanErrorKind::InvalidDefinition, message).at(Some(default.position)));
    }
    let bound = match &column.data_type {
        None => binder.expression(&expression.expression, physical, Purpose::RowOnly),
        Some(declared) => {
            let data_type = arrow_type(declared).map_err(|error| error.at(Some(column.type_position)))?;
            binder.expression_as(&expression.expression, physical, &data_type, name, Purpose::RowOnly)
        }
    };
    let bound = bound.map_err(|error| error.at(Some(expression.position)))?;
    Ok((Field::new(name, bound.data_type, bound.nullable && !column.not_null), bound.physical))
}

/// The declared watermark over the whole schema, with the options that go with it.
pub(super) fn watermark(
    declared: Option<&Watermark>,
    schema: &SchemaRef,
    options: &mut Options,
    binder: &Binder<'_>,
) -> Result<Option<WatermarkSpec>> {
    let Some(declared) = declared else {
        options.needs_watermark(ALLOWED_LATENESS)?;
        options.needs_watermark(IDLE_TIMEOUT)?;
        return Ok(None);
    };
    let name = &declared.column;
    let Ok(column) = schema.index_of(&name.value) else {
        let message = format!("column \"{}\" of the WATERMARK does not exist", name.value);
        return Err(PlanError::new(PlanErrorKind::UndefinedColumn, message).at(Some(name.position)));
    };
    let data_type = schema.field(column).data_type();
    if !matches!(data_type, DataType::Timestamp(..)) {
        let message =
            format!("column \"{}\" of the WATERMARK is of type {}, not timestamp", name.value, sql_name(data_type));
        return Err(PlanError::new(PlanErrorKind::DatatypeMismatch, message)
            .with_hint(
                "Add a generated column with the event time, for example ts TIMESTAMPTZ AS to_timestamp(millis / 1000.0).",
            )
            .at(Some(name.position)));
    }
    let expression = &declared.expression;
    let bound = binder
        .expression_as(&expression.expression, schema, data_type, "watermark", Purpose::RowOnly)
        .map_err(|error| error.at(Some(expression.position)))?;
    Ok(Some(WatermarkSpec {
        column,
        expression: bound.physical,
        allowed_lateness_micros: options.take_interval(ALLOWED_LATENESS)?.unwrap_or(0),
        idle_timeout_micros: options.take_interval(IDLE_TIMEOUT)?,
    }))
}
