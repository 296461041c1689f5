//! The product through the wire, as a user sees it, and the rules that a linter does not know.
//!
//! One binary: linking it takes as long as all of its tests.

#![allow(clippy::unwrap_used)]

mod bad_input;
mod catalog;
mod compose;
mod damage;
mod descriptions;
mod exactly_once;
mod full_disk;
mod functions;
mod hostile;
mod indexes;
mod kafka;
mod kill;
mod logs;
mod look_ups;
mod mistakes;
mod outages;
mod ownership;
mod psql;
mod readme;
mod retention;
mod run;
mod secrets;
mod security;
mod settings;
mod slt;
mod subqueries;
mod subscribe;
mod tidy;
mod transactions;
mod types;
