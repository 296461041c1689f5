//! The engine: one durable catalog, one commit writer, and the graphs that keep the views current.

/// A running engine, shared by all sessions.
pub struct Engine {}
