//! The catalog as Postgres' clients read it: `pg_catalog` and `information_schema`.
//!
//! The relations are ours, made on demand from the planner's catalog: [`schema`] knows their columns,
//! [`relations`] their rows. A statement that reads only them is answered by [`query`] through [`sql`], an
//! interpreter of SQL that knows Postgres' types: what drivers ask here (correlated subqueries in every place,
//! arrays of rows, recursive queries, OIDs that are shown by name, records taken apart) is far from what
//! DataFusion plans, and the relations are small.
//!
//! What holds: every relation of `columns.txt` can be queried, those without rows of ours are empty; OIDs are
//! the same after a restart (user relations carry theirs, indexes and constraints derive from them); the text of
//! a statement is never changed.

mod defaults;
pub mod objects;
pub mod query;
mod relations;
pub mod roles;
mod schema;
mod sql;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use millstream_planner::catalog::Catalog;
use millstream_planner::values::TextStyle;

pub use objects::CommentClass;
pub use query::{CatalogPlan, CatalogQuery};
pub use roles::{MemberRow, RoleRow};

use crate::engine::advisory::LockRow;
use crate::session::registry::{Ends, PreparedRow, SessionRow, Sessions};
use crate::session::settings::SettingData;

/// Whether there is a relation of Postgres' of this name.
pub fn is_relation(schema: &str, name: &str) -> bool {
    schema::position(schema, name).is_some()
}

/// What the system relations are made from.
#[derive(Clone, Debug, Default)]
pub struct CatalogView {
    /// The relations of the user.
    pub catalog: Arc<Catalog>,
    /// The role whose privileges count in the session.
    pub user: String,
    /// The role that connected.
    pub session_user: String,
    /// The database of the session, which is the only one.
    pub database: String,
    /// Schemas in which unqualified names are found.
    pub search_path: Vec<String>,
    /// The settings of the session.
    pub settings: Vec<SettingData>,
    /// How values are written as text.
    pub style: TextStyle,
    /// The number of the connection.
    pub process_id: i32,
    /// What `version()` gives.
    pub version: String,
    /// All roles.
    pub roles: Vec<RoleRow>,
    /// Which role is in which.
    pub members: Vec<MemberRow>,
    /// What was said by COMMENT ON.
    pub comments: Vec<CommentRow>,
    /// The connection's ends.
    pub ends: Ends,
    /// The sessions of the server as they are.
    pub sessions: Vec<SessionRow>,
    /// Through which other sessions are told to stop.
    pub registry: Option<Arc<Sessions>>,
    /// The statement's time, microseconds since 1970.
    pub now_micros: i64,
    /// When the server was started, microseconds since 1970.
    pub started_micros: i64,
    /// The number of the transaction: the newest position of the log that the session has seen.
    pub transaction: i64,
    /// What relations take.
    pub sizes: Sizes,
    /// Statements that were prepared, by name.
    pub prepared: Vec<(String, PreparedRow)>,
    /// The advisory locks of all sessions.
    pub locks: Vec<LockRow>,
    /// The open cursors.
    pub cursors: Vec<CursorRow>,
}

/// What a table or a materialized view takes, in bytes.
#[derive(Clone, Debug, Default)]
pub struct RelationSize {
    /// Its rows, deleted ones among them that were not cleared away yet.
    pub rows: i64,
    /// The orders of its rows that look-ups have asked for so far, by their columns.
    pub orders: Vec<(Vec<usize>, i64)>,
}

impl RelationSize {
    /// The rows and all orders.
    pub fn total(&self) -> i64 {
        self.rows + self.orders.iter().map(|(_, bytes)| *bytes).sum::<i64>()
    }
}

type Measure = dyn Fn(u32) -> Option<RelationSize> + Send + Sync;

/// Measures relations by OID, only those that somebody asks for.
#[derive(Clone, Default)]
pub struct Sizes(Option<Arc<Measure>>);

impl Sizes {
    /// What measures them: `None` for what holds no rows.
    pub fn new(measure: impl Fn(u32) -> Option<RelationSize> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(measure)))
    }

    /// The size of a table or a materialized view.
    pub(crate) fn of(&self, oid: u32) -> Option<RelationSize> {
        self.0.as_ref()?(oid)
    }
}

impl std::fmt::Debug for Sizes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sizes")
    }
}

/// An open cursor.
#[derive(Clone, Debug)]
pub struct CursorRow {
    /// Its name.
    pub name: String,
    /// The text that declared it.
    pub statement: String,
    /// `WITH HOLD`
    pub is_holdable: bool,
    /// Its rows are sent in binary formats.
    pub is_binary: bool,
    /// It can go back.
    pub is_scrollable: bool,
    /// When it was declared, microseconds since 1970.
    pub created_micros: i64,
}

/// A comment.
#[derive(Clone, Debug)]
pub struct CommentRow {
    /// What it is on.
    pub class: CommentClass,
    /// The object's OID.
    pub oid: u32,
    /// The column's number from 1; 0 for the object itself.
    pub column: i64,
    /// What it says.
    pub text: String,
}

/// Something that a function of a query asks the session to do when the query is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// `set_config(name, value, local)`
    Set {
        /// The setting.
        name: String,
        /// Its value; `None` puts it back.
        value: Option<String>,
        /// For the transaction only.
        local: bool,
    },
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

#[cfg(test)]
pub(crate) mod tests;
