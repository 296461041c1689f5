//! The Postgres front end: sockets, messages and formats; nothing here knows SQL.
//!
//! The life of a connection: [`listener`] accepts it, `login` talks until the user is known, `connection`
//! takes one message after the other, `simple` and `extended` drive the statements of the two protocols over a
//! [`ClientSession`], `rows` streams results through [`values`], `copy` those of COPY. `codec` cuts and decodes what clients send,
//! `reply` encodes what they are told.
//!
//! What holds (invariant 17):
//! - any byte string gets a protocol error or a close, never a panic (`tests::hostile`);
//! - every statement gets exactly one terminal message (`tests::protocol`);
//! - a cancel touches only the statement that runs on the connection it names (`tests::cancel`);
//! - nothing that stands behind a failed login is read (`tests::login`);
//! - nothing that was read before a TLS handshake is used after it (`tests::tls`);
//! - a result is never held whole: at most one batch of rows and [`limits::OUTPUT_BYTES`] of encoded output.
//!
//! Of pgwire only the types of the messages that servers send are used: its decoders panic on short bodies and
//! its server loop reads on after a failed login. Deliberately absent:
//! replication, the function call message.

mod client_session;
mod codec;
mod columns;
mod connection;
mod copy;
mod cursors;
mod der;
mod errors;
mod extended;
mod gate;
pub mod limits;
mod listener;
mod login;
mod reply;
mod rows;
mod scram;
mod simple;
mod socket;
mod tls;
pub mod values;

#[cfg(test)]
mod tests;

pub use client_session::{ClientCursors, ClientSession, ClientSettings, Described, Login};
pub use gate::{Demand, Gate};
pub use listener::{ListenError, Listener, WireConfig, is_loopback, listen, serve};
pub use tls::{Tls, TlsError, TlsOptions, refuse_open_key};
