//! Definitions: CREATE, DROP and ALTER turned into what `statement.rs` says, checked against the catalog.
//!
//! Nothing here knows a connector: options that are not ours go to it as they are, and it refuses what it does
//! not know. The one exception is the fixed schema of the Nexmark generator ([`nexmark`]), so that a source of
//! it needs no column list.

mod access;
mod columns;
mod comment;
pub mod constants;
mod drop;
mod index;
mod maintain;
mod names;
mod nexmark;
mod options;
mod relation;
mod rename;
mod schema;
mod secret;
mod sink;
mod view;

pub(crate) use access::{grant, owner_to};
pub(crate) use comment::comment;
pub(crate) use drop::drop;
pub(crate) use index::index;
pub(crate) use maintain::maintain;
pub(crate) use names::{find, must_be};
pub(crate) use relation::create_relation;
pub(crate) use rename::{rename, rename_schema};
pub(crate) use schema::{create_schema, drop_schemas};
pub(crate) use secret::secret;
pub(crate) use sink::{check_rows_kept, create_sink, insert_into_sink, sink_of_table};
pub(crate) use view::{create_view, dependencies};
