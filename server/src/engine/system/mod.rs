//! System relations: answered by the server from what it knows, queried like any other, never watched.
//!
//! One flat list; a relation is its name, its columns and a function that gives its rows. The rows are made
//! when a query scans them. What a graph shows is read graph by graph: these relations are for looking, and
//! hold up nobody.

mod checkpoints;
mod epochs;
mod errors;
pub mod jobs;
mod logins;
mod operators;
mod relations;
mod secrets;
mod splits;

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use millstream_planner::access::{AclItem, BOOTSTRAP, ObjectAccess, PUBLIC, Privileges, RoleOid};
use millstream_planner::catalog::{Catalog, QualifiedName, Relation, RelationKind};
use millstream_planner::meant::MeantNames;
use millstream_planner::settings::PlanSettings;
use millstream_runtime::plan::RelationId;
use millstream_runtime::time::Watermark;
use millstream_runtime::{Error, Result};

use super::Engine;
use super::state::State;

/// The schema of our own system relations.
pub const SCHEMA: &str = "millstream";

/// The first number of a system relation: far above what users reach.
const FIRST_RELATION: u32 = 0x8000_0000;

/// What a system relation can look at.
pub struct SystemContext<'a> {
    /// The server.
    pub engine: &'a Engine,
    /// The catalog and the graphs that the statement sees.
    pub state: &'a State,
    /// Who asks.
    pub viewer: RoleOid,
}

impl SystemContext<'_> {
    /// Whether everything is to be seen.
    pub fn is_superuser(&self) -> bool {
        self.state.catalog.view.roles().is_superuser(self.viewer)
    }
}

/// Whether a role may see why a relation does not run: reasons quote rows, addresses and paths, which are its owner's.
pub fn sees_reasons(state: &State, viewer: RoleOid, relation: &Relation) -> bool {
    state.catalog.view.roles().owns(viewer, &relation.access)
}

/// A relation that the server answers.
pub struct SystemRelation {
    /// Its schema.
    pub schema: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its OID, below 16384 and never changed.
    pub oid: u32,
    /// Its columns.
    pub columns: fn() -> Vec<Field>,
    /// Its rows, one array per column.
    pub rows: fn(&SystemContext<'_>) -> Result<Vec<ArrayRef>>,
}

/// The schemas of system relations, with their OIDs.
const SCHEMAS: &[(&str, u32)] = &[(SCHEMA, 9_000)];

/// All system relations. A new one goes to the end of its list: its place gives its number.
fn all() -> impl Iterator<Item = &'static SystemRelation> {
    const OWN: &[SystemRelation] = &[
        jobs::RELATION,
        epochs::RELATION,
        checkpoints::RELATION,
        splits::RELATION,
        errors::RELATION,
        relations::RELATION,
        operators::RELATION,
        secrets::RELATION,
        logins::RELATION,
    ];
    OWN.iter()
}

/// Every system relation as the catalog has it, made once.
static RELATIONS: LazyLock<Vec<Relation>> = LazyLock::new(|| {
    let numbered = all().zip(FIRST_RELATION..);
    numbered
        .map(|(relation, id)| Relation {
            id: RelationId(id),
            oid: relation.oid,
            name: QualifiedName { schema: relation.schema.to_string(), name: relation.name.to_string() },
            schema: schema_of(relation),
            shown: Vec::new(),
            generated_sql: Vec::new(),
            kind: RelationKind::System,
            depends_on: Vec::new(),
            names: MeantNames::default(),
            sql: String::new(),
            settings: PlanSettings::default(),
            access: ObjectAccess {
                owner: BOOTSTRAP,
                acl: Some(vec![AclItem::new(PUBLIC, BOOTSTRAP, Privileges::SELECT, Privileges::NONE)]),
            },
        })
        .collect()
});

/// The OID of schema `public` as every catalog begins with it, the same as in Postgres.
pub const PUBLIC_OID: u32 = 2_200;

/// Puts schema `public` and the system relations into an empty catalog.
pub fn register(catalog: &mut Catalog) {
    catalog.add_schema("public".to_string(), PUBLIC_OID);
    for (name, oid) in SCHEMAS {
        catalog.add_schema((*name).to_string(), *oid);
    }
    for relation in RELATIONS.iter() {
        catalog.put(relation.clone());
    }
}

/// Whether a schema is the server's own: nothing can be made in it and it can't be dropped.
pub fn is_system_schema(name: &str) -> bool {
    SCHEMAS.iter().any(|(schema, _)| *schema == name) || name == "pg_catalog" || name == "information_schema"
}

/// The rows of a system relation.
pub fn rows(name: &QualifiedName, context: &SystemContext<'_>) -> Result<RecordBatch> {
    let relation = all()
        .find(|relation| relation.schema == name.schema && relation.name == name.name)
        .ok_or_else(|| Error::internal(format!("there is no system relation {}.{}", name.schema, name.name)))?;
    let columns = (relation.rows)(context)?;
    let rows = columns.first().map_or(0, |column| column.len());
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema_of(relation), columns, &options)?)
}

fn schema_of(relation: &SystemRelation) -> SchemaRef {
    Arc::new(Schema::new((relation.columns)()))
}

/// A text column.
pub fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

/// A bigint column.
pub fn bigint(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

/// A column of moments without a zone.
pub fn timestamp(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, None), true)
}

/// Watermarks as a column: null where nothing is promised yet, infinity at the end of input.
pub fn watermarks(values: impl IntoIterator<Item = Option<Watermark>>) -> ArrayRef {
    let micros = values.into_iter().map(|value| value.filter(|value| *value != Watermark::NONE).map(Watermark::micros));
    Arc::new(TimestampMicrosecondArray::from_iter(micros))
}

/// Counters as SQL has them.
pub fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_oids_are_unique() {
        let names: BTreeSet<_> = all().map(|relation| (relation.schema, relation.name)).collect();
        let oids: BTreeSet<_> = all().map(|relation| relation.oid).collect();
        assert_eq!((names.len(), oids.len()), (all().count(), all().count()));
        assert!(oids.iter().all(|oid| *oid < 16_384));
    }
}
