//! The catalog as Postgres' clients read it: `pg_catalog` and `information_schema`.
//!
//! The relations are ours, made on demand from the planner's catalog: [`schema`] knows their columns,
//! [`relations`] their rows. A statement that reads only them is answered by [`query`] in a DataFusion context
//! of its own, after [`rewrite`] has put what DataFusion does not plan (operators with schemas, casts to
//! `regclass`, correlated scalar subqueries, ...) into an AST that it does; [`functions`] are those that such
//! statements call. The text of a statement is never changed.
//!
//! What holds: every relation of `columns.txt` can be queried, those without rows of ours are empty; OIDs are
//! the same after a restart (user relations carry theirs, indexes and constraints derive from them).

mod functions;
mod objects;
pub mod query;
mod relations;
mod rewrite;
mod schema;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_planner::catalog::Catalog;

use crate::session::settings::SettingData;

pub use query::CatalogQuery;

/// What the system relations are made from.
#[derive(Clone, Debug, Default)]
pub struct CatalogView {
    /// The relations of the user.
    pub catalog: Arc<Catalog>,
    /// The user of the session; owns everything.
    pub user: String,
    /// The database of the session, which is the only one.
    pub database: String,
    /// Schemas in which unqualified names are found.
    pub search_path: Vec<String>,
    /// The settings of the session.
    pub settings: Vec<SettingData>,
    /// The number of the connection.
    pub process_id: i32,
    /// What `version()` gives.
    pub version: String,
}

/// A relation that the server owns.
#[derive(Clone, Debug)]
pub struct SystemRelation {
    /// `pg_catalog` or `information_schema`.
    pub schema: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its OID, fixed.
    pub oid: u32,
    /// Its columns.
    pub columns: SchemaRef,
}

/// All system relations of these two schemas.
pub fn system_relations() -> impl Iterator<Item = SystemRelation> {
    schema::definitions().iter().map(|definition| SystemRelation {
        schema: &definition.schema,
        name: &definition.name,
        oid: definition.oid,
        columns: Arc::clone(&definition.columns),
    })
}

/// The rows of a system relation; `None` when there is no such relation.
pub fn rows(schema: &str, name: &str, view: &CatalogView) -> Option<RecordBatch> {
    schema::find(schema, name).map(|definition| relations::batch(definition, view))
}

#[cfg(test)]
mod tests;
