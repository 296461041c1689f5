//! SQL text and an immutable catalog in, a [`statement::Statement`] out.
//!
//! Pure: no I/O, no async, no connectors, no clock. The same text over the same catalog and settings gives
//! the same plan, on every start: recovery relies on it.
//!
//! The life of a statement here: [`plan::plan`] is called with its text; [`parse`] makes an AST with positions;
//! `ddl` turns definitions into what [`statement`] says; queries go through [`bind`], which resolves names
//! against the [`catalog`] with DataFusion's `SqlToRel`, and [`optimize`], whose rules are sound for changes;
//! then [`lower`] puts a view onto the runtime's dataflow, while [`batch`] runs a query with DataFusion's engine.

pub mod access;
pub mod batch;
pub mod bind;
pub mod catalog;
pub mod copy;
pub mod cursor;
mod ddl;
pub mod error;
pub mod explain;
pub mod functions;
pub mod lower;
pub mod meant;
pub mod optimize;
pub mod parse;
pub mod plan;
pub mod reading;
pub mod secret;
pub mod settings;
pub mod statement;
mod subqueries;
pub mod subscribe;
pub mod template;
pub mod types;
pub mod values;
pub mod words;
