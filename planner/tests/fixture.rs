//! The catalog that the tests plan against: three streams, two tables, a view on each kind.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, col};
use millstream_planner::catalog::{
    Catalog, QualifiedName, Relation, RelationKind, SourceDefinition, TableDefinition, ViewDefinition,
};
use millstream_planner::functions::{AdvisoryCall, ServerCalls, SessionFacts, SessionSettings, physical_expression};
use millstream_planner::meant::MeantNames;
use millstream_planner::settings::PlanSettings;
use millstream_planner::statement::OnConflict;
use millstream_runtime::plan::{Changes, EventTimeColumn, InputRelation, RelationId, WatermarkSpec};
use millstream_runtime::source::{ColumnOrigin, ConnectorSpec};

/// What the functions of the session say in tests.
/// A server that is asked for nothing.
#[derive(Debug)]
struct NoServer;

#[async_trait::async_trait]
impl ServerCalls for NoServer {
    async fn sleep(&self, _time: std::time::Duration) {
        unreachable!("nothing here sleeps");
    }

    async fn advisory(&self, _call: AdvisoryCall) -> datafusion::error::Result<bool> {
        unreachable!("nothing here locks");
    }
}

pub fn facts() -> SessionFacts {
    SessionFacts {
        now_micros: 1_700_000_000_000_000,
        user: "ada".to_string(),
        session_user: "ada".to_string(),
        database: "millstream".to_string(),
        schema: "public".to_string(),
        version: "PostgreSQL 16.0 (Millstream)".to_string(),
        settings: Arc::new(NoSettings),
        server: Arc::new(NoServer),
    }
}

#[derive(Debug)]
struct NoSettings;

impl SessionSettings for NoSettings {
    fn get(&self, _name: &str) -> Option<String> {
        None
    }

    fn set(&self, name: &str, _value: Option<&str>, _local: bool) -> datafusion::error::Result<String> {
        Err(datafusion::error::DataFusionError::Execution(format!("{name} can't be set")))
    }
}

fn name(name: &str) -> QualifiedName {
    QualifiedName { schema: "public".to_string(), name: name.to_string() }
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

fn schema(columns: &[(&str, DataType, bool)]) -> SchemaRef {
    let fields = columns.iter().map(|(name, data_type, nullable)| Field::new(*name, data_type.clone(), *nullable));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn input(id: u32, relation: &str, schema: &SchemaRef, key: Vec<usize>, watermark: Option<usize>) -> InputRelation {
    let watermark = watermark.map(|column| {
        let df_schema = DFSchema::try_from(schema.as_ref().clone()).unwrap();
        let expression: Expr = col(schema.field(column).name().as_str());
        WatermarkSpec {
            column,
            expression: physical_expression(&expression, &df_schema).unwrap(),
            allowed_lateness_micros: 0,
            idle_timeout_micros: None,
        }
    });
    let changes = if key.is_empty() && watermark.is_some() { Changes::Append } else { Changes::Retract };
    InputRelation {
        id: RelationId(id),
        name: format!("public.{relation}"),
        schema: Arc::clone(schema),
        physical_columns: schema.fields().len(),
        generated: Vec::new(),
        watermark,
        changes,
        primary_key: key,
        text_lengths: Vec::new(),
        second_digits: Vec::new(),
    }
}

fn relation(id: u32, relation: &str, schema: SchemaRef, kind: RelationKind, depends_on: Vec<u32>) -> Relation {
    Relation {
        id: RelationId(id),
        oid: 16_384 + id,
        name: name(relation),
        schema,
        shown: Vec::new(),
        generated_sql: Vec::new(),
        kind,
        depends_on: depends_on.into_iter().map(RelationId).collect(),
        names: MeantNames::default(),
        sql: String::new(),
        settings: PlanSettings::default(),
        access: Default::default(),
    }
}

fn source(id: u32, source: &str, columns: &[(&str, DataType, bool)], watermark: usize) -> Relation {
    let schema = schema(columns);
    let connector = ConnectorSpec {
        relation: source.to_string(),
        connector: "kafka".to_string(),
        options: Default::default(),
        format: None,
        schema: Arc::clone(&schema),
        origins: vec![ColumnOrigin::Field; columns.len()],
        primary_key: Vec::new(),
        keeps_raw: false,
    };
    let input = input(id, source, &schema, Vec::new(), Some(watermark));
    relation(id, source, schema, RelationKind::Source(SourceDefinition { input, connector }), Vec::new())
}

fn table(id: u32, table: &str, columns: &[(&str, DataType, bool)], key: Vec<usize>) -> Relation {
    let schema = schema(columns);
    let input = input(id, table, &schema, key, None);
    let mut defaults = vec![None; columns.len()];
    if let Some(last) = defaults.last_mut() {
        *last = Some("'new'".to_string());
    }
    let definition = TableDefinition { input, defaults, on_conflict: OnConflict::Error, append_only: false };
    relation(id, table, schema, RelationKind::Table(definition), Vec::new())
}

/// The catalog.
pub fn catalog() -> Catalog {
    use DataType::{Float64, Int32, Int64, Utf8};
    let mut catalog = Catalog::default();
    catalog.add_schema("public".to_string(), 2200);
    catalog.put(source(
        1,
        "bids",
        &[
            ("auction", Int64, true),
            ("bidder", Int64, true),
            ("price", Int64, true),
            ("channel", Utf8, true),
            ("ts", timestamp(), false),
        ],
        4,
    ));
    catalog.put(source(
        2,
        "auctions",
        &[("id", Int64, true), ("seller", Int64, true), ("category", Int32, true), ("ts", timestamp(), false)],
        3,
    ));
    catalog.put(table(
        3,
        "people",
        &[("id", Int32, false), ("name", Utf8, true), ("score", Float64, true), ("note", Utf8, true)],
        vec![0],
    ));
    catalog.put(table(4, "log", &[("at", timestamp(), true), ("line", Utf8, true)], Vec::new()));
    let query = "SELECT auction, price FROM bids WHERE price > 100".to_string();
    let columns = schema(&[("auction", Int64, true), ("price", Int64, true)]);
    let mut view = relation(5, "high_bids", columns, RelationKind::View { query }, vec![1]);
    let bids = catalog.resolve(&name("bids")).expect("it was put in above");
    view.names.note(None, "bids", &bids);
    catalog.put(view);
    let definition = ViewDefinition {
        changes: Changes::Retract,
        event_time: Some(EventTimeColumn { column: 0, extent_micros: 60_000_000 }),
        key: vec![0, 1],
    };
    let columns = schema(&[("window_start", timestamp(), true), ("auction", Int64, true), ("n", Int64, true)]);
    catalog.put(relation(6, "per_minute", columns, RelationKind::MaterializedView(definition), vec![1]));
    catalog
}
