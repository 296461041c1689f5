//! The planner's tests at its boundary, with data.

#![allow(clippy::unwrap_used, reason = "a test that fails there has failed")]

mod batch_runs;
mod definitions;
mod fingerprints;
mod fixture;
mod functions;
mod oracle;
mod plans;
