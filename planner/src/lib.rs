//! SQL text and an immutable catalog in, a [`statement::Statement`] out.
//!
//! Pure: no I/O, no async, no connectors, no clock. The same text over the same catalog and settings gives
//! the same plan, on every start: recovery relies on it.
//!
//! The life of a statement here: [`parse`] text to an AST with positions, [`bind`] it against the
//! [`catalog`] with DataFusion's `SqlToRel`, [`optimize`] with the rules that are sound for changes, then
//! [`lower`] a view onto the runtime's dataflow, or leave a query to DataFusion's batch engine.

pub mod batch;
pub mod bind;
pub mod catalog;
mod ddl;
pub mod error;
pub mod explain;
pub mod functions;
pub mod lower;
pub mod optimize;
pub mod parse;
pub mod plan;
pub mod settings;
pub mod statement;
pub mod types;
