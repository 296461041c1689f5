//! `CREATE SINK`, and `INSERT INTO` a table that has a connector (Flink's way to say the same).

use millstream_runtime::plan::{Changes, Dataflow, EmitOn, RelationId};
use millstream_runtime::source::{ColumnOrigin, ConnectorSpec, FormatSpec};
use sqlparser::ast::{Insert, Query};

use crate::access::Privileges;
use crate::bind::Binder;
use crate::catalog::{Catalog, QualifiedName, Relation, RelationKind};
use crate::error::{PlanError, PlanErrorKind, Result, TextPosition};
use crate::parse::ast::{self, CreateRelation, CreateSink as Parsed, SinkInput};
use crate::parse::{folded, parse_query, parse_statement};
use crate::settings::PlanSettings;
use crate::statement::{CreateSink, Statement, StatementText, Use};

use super::columns;
use super::names::{find, new_name};
use super::options::{Options, connector_name};
use super::relation::{WRITE_ONLY_CONNECTORS, connector_spec};
use super::view::{dependencies, quoted};

/// Options that concern reading only: they stay behind when a table is written.
const READING_PREFIX: &str = "scan.";

/// Defines a sink.
pub(crate) fn create_sink(sink: &Parsed, catalog: &Catalog, settings: &PlanSettings) -> Result<Statement> {
    let name = new_name(&sink.name, sink.if_not_exists, catalog, settings)?;
    let mut options = Options::of(&sink.options);
    let Some(connector) = options.connector().map(connector_name) else {
        return Err(PlanError::new(PlanErrorKind::InvalidParameterValue, "CREATE SINK needs a connector")
            .with_hint("Add WITH (connector = 'kafka', ...).")
            .at(Some(sink.name.position)));
    };
    let (query, position) = match &sink.input {
        SinkInput::Query(query) => (query.query.clone(), query.position),
        SinkInput::Relation(name) => {
            let relation = find(name, catalog, settings)?;
            let text = format!("SELECT * FROM {}.{}", quoted(&relation.name.schema), quoted(&relation.name.name));
            (parse_query(&text)?, name.position)
        }
    };
    let rows = rows(&query, sink.emit.map(|emit| emit.on), position, catalog, settings)?;
    let primary_key = key_option(&options, &rows)?;
    let format = options.take_format(sink.format.as_ref())?;
    let connector_position = options.connector_position();
    let secrets = options.take_secrets(catalog, settings)?;
    let spec = ConnectorSpec {
        keeps_raw: false,
        relation: name.name.clone(),
        connector,
        options: options.into_connector_options(),
        format,
        schema: rows.dataflow.root().schema.clone(),
        origins: vec![ColumnOrigin::Field; rows.dataflow.root().schema.fields().len()],
        primary_key,
    };
    check_changes(&spec, &rows.dataflow).map_err(|error| error.at(connector_position))?;
    Ok(Statement::CreateSink(Box::new(CreateSink {
        name,
        is_named: true,
        if_not_exists: sink.if_not_exists,
        dataflow: rows.dataflow,
        connector: spec,
        secrets,
        depends_on: rows.depends_on,
        uses: rows.uses,
    })))
}

/// The rows that leave.
struct Rows {
    uses: Vec<Use>,
    dataflow: Dataflow,
    depends_on: Vec<RelationId>,
}

fn rows(
    query: &Query,
    emit: Option<EmitOn>,
    position: TextPosition,
    catalog: &Catalog,
    settings: &PlanSettings,
) -> Result<Rows> {
    let at = Some(position);
    let bound = Binder::new(catalog, settings).definition(query).map_err(|error| error.at(at))?;
    let lowered = crate::bind::view(&bound, emit).map_err(|error| error.at(at))?;
    Ok(Rows { depends_on: dependencies(&bound)?, dataflow: lowered.dataflow, uses: bound.uses })
}

/// The columns of option `primary_key`, which stays for the connector.
fn key_option(options: &Options, rows: &Rows) -> Result<Vec<usize>> {
    let Some((value, position)) = options.peek("primary_key") else { return Ok(Vec::new()) };
    let schema = &rows.dataflow.root().schema;
    value
        .split(',')
        .map(|name| {
            schema.index_of(name.trim()).map_err(|_| {
                let message = format!("column \"{}\" named in key does not exist", name.trim());
                PlanError::new(PlanErrorKind::UndefinedColumn, message).at(Some(position))
            })
        })
        .collect()
}

/// An encoding that can only add rows must not get a view that takes rows back.
fn check_changes(spec: &ConnectorSpec, dataflow: &Dataflow) -> Result<()> {
    let plain = spec.format.as_ref().is_some_and(|format: &FormatSpec| format.format == "PLAIN");
    let forced = spec.options.get("force_append_only").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if !plain || forced || dataflow.root().changes == Changes::Append {
        return Ok(());
    }
    let message = "FORMAT PLAIN can't take rows back, but the query does";
    Err(PlanError::new(PlanErrorKind::InvalidDefinition, message).with_hint(
        "Use FORMAT UPSERT with option primary_key, EMIT ON WINDOW CLOSE, or force_append_only = 'true' to leave out \
         what is taken back.",
    ))
}

/// The definition of a table that was declared with a connector, read again from its statement.
pub(crate) fn sink_of_table(relation: &Relation) -> Result<Option<CreateRelation>> {
    // Looking for the word first keeps an INSERT into a plain table from parsing its definition each time.
    let may_have = relation.sql.to_ascii_lowercase().contains("connector");
    if !may_have || !matches!(relation.kind, RelationKind::Table(_)) {
        return Ok(None);
    }
    let text = StatementText { sql: relation.sql.clone(), start: TextPosition(1) };
    match parse_statement(&text)? {
        ast::Statement::CreateRelation(mut definition) => {
            definition.under(&relation.settings);
            let has_connector = Options::of(&definition.options).connector().is_some();
            Ok(has_connector.then_some(*definition))
        }
        _ => Ok(None),
    }
}

/// Refuses rows that are written down for a table whose connector only takes a query's: it keeps none.
pub(crate) fn check_rows_kept(definition: &CreateRelation, position: TextPosition) -> Result<()> {
    let connector = Options::of(&definition.options).connector().map(connector_name).unwrap_or_default();
    if !WRITE_ONLY_CONNECTORS.contains(&connector.as_str()) {
        return Ok(());
    }
    let message = format!("INSERT ... VALUES into a table of connector '{connector}' is not supported");
    Err(PlanError::unsupported(message).with_hint("Use INSERT INTO ... SELECT over a relation.").at(Some(position)))
}

/// `INSERT INTO table [(columns)] query` for a table with a connector: a sink that runs until it is dropped.
pub(crate) fn insert_into_sink(
    insert: &Insert,
    position: TextPosition,
    table: &Relation,
    definition: &CreateRelation,
    catalog: &Catalog,
    settings: &PlanSettings,
) -> Result<Statement> {
    let at = Some(position);
    let Some(source) = &insert.source else {
        return Err(PlanError::unsupported("INSERT without a query into a table with a connector").at(at));
    };
    let mut options = definition.options.clone();
    options.retain(|option| !option.name.starts_with(READING_PREFIX));
    let mut options = Options::of(&options);
    let secrets = options.take_secrets(catalog, &table.settings)?;
    let resolved = columns::resolve(definition, &options, &Binder::new(catalog, settings))?;
    let query = assigned(insert, source, definition, table, catalog, settings).map_err(|error| error.at(at))?;
    let mut rows = rows(&query, None, position, catalog, settings)?;
    rows.uses.push(Use { relation: table.id, through: None, privileges: Privileges::INSERT });
    let mut spec = connector_spec(definition, &table.name, &resolved, options)?;
    spec.schema = rows.dataflow.root().schema.clone();
    check_changes(&spec, &rows.dataflow).map_err(|error| error.at(at))?;
    Ok(Statement::CreateSink(Box::new(CreateSink {
        name: free_name(&table.name, catalog),
        is_named: false,
        if_not_exists: false,
        dataflow: rows.dataflow,
        connector: spec,
        secrets,
        depends_on: rows.depends_on,
        uses: rows.uses,
    })))
}

/// The query with its columns cast to those of the table, in the table's order; what is not named is NULL.
fn assigned(
    insert: &Insert,
    source: &Query,
    definition: &CreateRelation,
    table: &Relation,
    catalog: &Catalog,
    settings: &PlanSettings,
) -> Result<Box<Query>> {
    let stored: Vec<&ast::Column> = definition.columns.iter().filter(|column| column.generated.is_none()).collect();
    let given = Binder::new(catalog, settings).definition(source)?.schema.fields().len();
    let named: Vec<String> = if insert.columns.is_empty() {
        stored.iter().take(given).map(|column| column.name.value.clone()).collect()
    } else {
        let idents = insert.columns.iter().filter_map(|column| column.0.last().and_then(|part| part.as_ident()));
        idents.map(folded).collect()
    };
    if named.len() != given {
        let more =
            if given > named.len() { ("expressions", "target columns") } else { ("target columns", "expressions") };
        let message = format!("INSERT has more {} than {}", more.0, more.1);
        return Err(PlanError::new(PlanErrorKind::SyntaxError, message));
    }
    if let Some(unknown) = named.iter().find(|name| stored.iter().all(|column| column.name.value != **name)) {
        let message = format!("column \"{unknown}\" of relation \"{}\" does not exist", table.name.name);
        return Err(PlanError::new(PlanErrorKind::UndefinedColumn, message));
    }
    let columns = stored.iter().filter_map(|column| {
        let declared = column.data_type.as_ref()?;
        let place = named.iter().position(|name| *name == column.name.value);
        let value = place.map_or_else(|| "NULL".to_string(), |place| format!("rows.c{place}"));
        Some(format!("CAST({value} AS {declared}) AS {}", quoted(&column.name.value)))
    });
    let columns: Vec<String> = columns.collect();
    let places: Vec<String> = (0..given).map(|place| format!("c{place}")).collect();
    parse_query(&format!("SELECT {} FROM ({source}) AS rows ({})", columns.join(", "), places.join(", ")))
}

/// A name for a sink that was not given one.
fn free_name(table: &QualifiedName, catalog: &Catalog) -> QualifiedName {
    let candidate = |number: usize| QualifiedName {
        schema: table.schema.clone(),
        name: match number {
            1 => format!("insert_into_{}", table.name),
            _ => format!("insert_into_{}_{number}", table.name),
        },
    };
    (1..).map(candidate).find(|name| catalog.find(name).is_none()).expect("a catalog is finite")
}
