//! `CREATE TABLE` and `CREATE SOURCE`.

use std::sync::Arc;

use arrow::datatypes::SchemaBuilder;
use millstream_runtime::plan::{Changes, InputRelation};
use millstream_runtime::source::ConnectorSpec;

use crate::bind::Binder;
use crate::catalog::{Catalog, QualifiedName};
use crate::error::{PlanError, PlanErrorKind, Result, TextPosition};
use crate::parse::ast::{CreateRelation, RelationClass};
use crate::reading::Reading;
use crate::secret::SecretUses;
use crate::settings::PlanSettings;
use crate::statement::{CreateSource, CreateTable, NEW_RELATION, OnConflict, Statement};

use super::columns::{self, Columns};
use super::names::new_name;
use super::options::{ALLOWED_LATENESS, APPEND_ONLY, IDLE_TIMEOUT, Options, connector_name};

/// Connectors that only take rows: a table of one, in Flink's way, is empty and is written by INSERT INTO.
pub(super) const WRITE_ONLY_CONNECTORS: [&str; 2] = ["blackhole", "print"];

fn refuse_conflicting_nulls(relation: &CreateRelation) -> Result<()> {
    let both = relation.columns.iter().find(|column| column.not_null && column.nullable.is_some());
    let Some(column) = both else { return Ok(()) };
    let (name, table) = (&column.name.value, &relation.name.name);
    let message = format!("conflicting NULL/NOT NULL declarations for column \"{name}\" of table \"{table}\"");
    Err(PlanError::new(PlanErrorKind::SyntaxError, message).at(column.nullable))
}

/// Defines a table or a source.
pub(crate) fn create_relation(
    relation: &CreateRelation,
    catalog: &Catalog,
    settings: &PlanSettings,
) -> Result<Statement> {
    let binder = Binder::new(catalog, settings);
    let name = new_name(&relation.name, relation.if_not_exists, catalog, settings)?;
    if settings.reading >= Reading::CHECKED_CLAUSES {
        refuse_conflicting_nulls(relation)?;
    }
    let mut options = Options::of(&relation.options);
    let columns = columns::resolve(relation, &options, &binder)?;
    let watermark = columns::watermark(relation.watermark.as_ref(), &columns.schema, &mut options, &binder)?;
    let append_only = relation.append_only | options.take_boolean(APPEND_ONLY)?.unwrap_or(false);
    let changes = match relation.class {
        RelationClass::Source => Changes::Append,
        RelationClass::Table if append_only => Changes::Append,
        RelationClass::Table => Changes::Retract,
    };
    let secrets = match options.names_connector() {
        true => options.take_secrets(catalog, settings)?,
        false => SecretUses::new(),
    };
    let mut connector = connector(relation, &name, &columns, options)?;
    if let (Some(spec), Some(watermark)) = (&mut connector, &watermark) {
        refuse_null_times(spec, watermark.column);
    }
    let input = InputRelation {
        id: NEW_RELATION,
        name: format!("{}.{}", name.schema, name.name),
        physical_columns: columns.physical.fields().len(),
        schema: columns.schema,
        generated: columns.generated,
        watermark,
        changes,
        primary_key: columns.primary_key,
        text_lengths: columns.text_lengths,
        second_digits: columns.second_digits,
    };
    let if_not_exists = relation.if_not_exists;
    match relation.class {
        RelationClass::Table => {
            let on_conflict = on_conflict(relation, append_only)?;
            let secrets = if connector.is_some() { secrets } else { SecretUses::new() };
            Ok(Statement::CreateTable(Box::new(CreateTable {
                name,
                if_not_exists,
                input,
                defaults: columns.defaults,
                shown: columns.shown,
                generated_sql: columns.generated_sql,
                on_conflict,
                append_only,
                connector,
                secrets,
            })))
        }
        RelationClass::Source => {
            check_source(relation)?;
            let Some(connector) = connector else {
                let message = "CREATE SOURCE needs a connector";
                return Err(PlanError::new(PlanErrorKind::InvalidParameterValue, message)
                    .with_hint("Add WITH (connector = 'kafka', ...), or use CREATE TABLE.")
                    .at(Some(relation.name.position)));
            };
            let (shown, generated_sql) = (columns.shown, columns.generated_sql);
            let source = CreateSource { name, if_not_exists, input, shown, generated_sql, connector, secrets };
            Ok(Statement::CreateSource(Box::new(source)))
        }
    }
}

/// What the connector is told; `None` for a plain table.
fn connector(
    relation: &CreateRelation,
    name: &QualifiedName,
    columns: &Columns,
    options: Options,
) -> Result<Option<ConnectorSpec>> {
    let Some(connector) = options.connector().map(connector_name) else {
        let what = if relation.class == RelationClass::Table { "a table without a connector" } else { "a source" };
        if let Some(format) = &relation.format {
            return Err(needs_connector("FORMAT ... ENCODE", format.position));
        }
        if let Some(include) = relation.includes.first() {
            return Err(needs_connector("INCLUDE", include.name.position));
        }
        options.must_be_empty(what, &["connector", ALLOWED_LATENESS, IDLE_TIMEOUT, APPEND_ONLY])?;
        return Ok(None);
    };
    let mut spec = connector_spec(relation, name, columns, options)?;
    if columns.physical.fields().is_empty() {
        let message = format!("a relation of connector '{connector}' needs columns");
        return Err(PlanError::new(PlanErrorKind::InvalidDefinition, message)
            .with_hint("Write them behind the name: (id BIGINT, name TEXT, ...).")
            .at(Some(relation.name.position)));
    }
    if relation.class == RelationClass::Table && WRITE_ONLY_CONNECTORS.contains(&spec.connector.as_str()) {
        return Ok(None);
    }
    if let Some(format) = &mut spec.format
        && format.format != "PLAIN"
    {
        let position = relation.format.as_ref().map_or(relation.name.position, |format| format.position);
        return Err(PlanError::unsupported(format!("reading FORMAT {} is not supported", format.format))
            .with_hint("Use FORMAT PLAIN.")
            .at(Some(position)));
    }
    Ok(Some(spec))
}

/// What a connector is told of a relation, to read or to write it.
pub(super) fn connector_spec(
    relation: &CreateRelation,
    name: &QualifiedName,
    columns: &Columns,
    mut options: Options,
) -> Result<ConnectorSpec> {
    let format = options.take_format(relation.format.as_ref())?;
    let connector = options.connector().map(connector_name).unwrap_or_default();
    Ok(ConnectorSpec {
        relation: name.name.clone(),
        connector,
        options: options.into_connector_options(),
        format,
        schema: columns.physical.clone(),
        origins: columns.origins.clone(),
        primary_key: columns.primary_key.clone(),
        keeps_raw: !columns.generated.is_empty(),
    })
}

/// A row without event time is refused: the connector learns of it, so that it is refused with its record.
fn refuse_null_times(spec: &mut ConnectorSpec, event_time: usize) {
    let mut fields = SchemaBuilder::from(spec.schema.as_ref());
    // A generated column is none of the connector's.
    if event_time < spec.schema.fields().len() {
        let field = spec.schema.field(event_time).clone().with_nullable(false);
        *fields.field_mut(event_time) = Arc::new(field);
        spec.schema = Arc::new(fields.finish());
    }
}

fn needs_connector(what: &str, position: TextPosition) -> PlanError {
    PlanError::new(PlanErrorKind::InvalidDefinition, format!("{what} needs a connector"))
        .with_hint("Add WITH (connector = 'kafka', ...).")
        .at(Some(position))
}

fn on_conflict(relation: &CreateRelation, append_only: bool) -> Result<OnConflict> {
    let Some(on_conflict) = relation.on_conflict.clone() else { return Ok(OnConflict::default()) };
    let wrong = |message: &str, hint: &str| {
        Err(PlanError::new(PlanErrorKind::InvalidDefinition, message).with_hint(hint).at(Some(relation.name.position)))
    };
    if relation.primary_key.is_empty() {
        return wrong("ON CONFLICT needs a primary key", "Declare PRIMARY KEY (column).");
    }
    if append_only && on_conflict == OnConflict::DoUpdate {
        return wrong("an APPEND ONLY table can't update a row on conflict", "Use ON CONFLICT DO NOTHING.");
    }
    Ok(on_conflict)
}

/// What only a table can have.
fn check_source(relation: &CreateRelation) -> Result<()> {
    let refuse = |what: &str, position: TextPosition| {
        Err(PlanError::new(PlanErrorKind::InvalidDefinition, format!("a source can't have {what}"))
            .with_hint("Use CREATE TABLE ... WITH (connector = ...), which keeps its rows.")
            .at(Some(position)))
    };
    if relation.on_conflict.is_some() {
        return refuse("ON CONFLICT", relation.name.position);
    }
    match relation.columns.iter().find_map(|column| column.default.as_ref()) {
        Some(default) => refuse("a DEFAULT", default.position),
        None => Ok(()),
    }
}
