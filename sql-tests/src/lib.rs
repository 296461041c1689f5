//! What the tests of the product share: the real binary as a child, and the services that it needs.
//!
//! Everything here is for tests: helpers panic with the reason, since a test that can't go on has failed.

#![allow(clippy::unwrap_used)]

pub mod docs;
pub mod kafka;
pub mod postgres;
pub mod process;
pub mod server;
pub mod services;
