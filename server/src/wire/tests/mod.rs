//! The wire over real sockets: drivers and raw bytes on one side, a made-up session on the other.
#![allow(clippy::unwrap_used)]

mod cancel;
mod copy;
mod fake;
mod fuzz;
mod hostile;
mod idle;
mod login;
mod protocol;
mod raw;
mod session;
