//! The incremental dataflow runtime of Millstream.
//!
//! This crate owns the vocabulary that every other crate speaks: change batches, event time, epochs, the
//! dataflow plan, the traits of sources and sinks, versioned relations, and the durable log. It knows
//! neither SQL text nor Kafka nor sockets; object storage is the only outside world it touches.
//!
//! Reading order: [`batch`], [`time`], [`plan`], [`operator`], then [`graph`] for how they run together
//! and [`storage`] for how they survive.

pub mod aggregates;
pub mod batch;
pub mod decimals;
pub mod error;
pub mod expr;
pub mod graph;
pub mod jsonb;
pub mod limits;
pub mod operator;
pub mod operators;
pub mod plan;
pub mod plan_text;
pub mod relation;
pub mod sink;
pub mod source;
pub mod state;
pub mod storage;
pub mod time;

pub use batch::ChangeBatch;
pub use error::{Error, ErrorKind, Result};
