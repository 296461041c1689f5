//! The Millstream server: the only crate with sockets, SQLSTATEs, flags and files.
//!
//! [`engine`] holds the durable catalog, the commit writer and the graphs; [`session`] runs the statements of
//! one client; [`pg_catalog`] answers what clients ask of the catalog; [`wire`] speaks the Postgres protocol on
//! sockets; [`slt`] tests all of it with sqllogictest files; [`cli`] is what a person types.

pub mod cli;
pub mod engine;
pub mod pg_catalog;
pub mod session;
pub mod slt;
pub mod wire;
