//! sqllogictest files against servers of their own: for `millstream test`, and for the tests of this project.
//!
//! What holds:
//! - every file has a fresh server in this process, with state in memory, and talks to it over the wire;
//! - with [`Options::restart`] the server is killed and restored between every two records that stand outside a
//!   transaction, and the file must not notice;
//! - no record reaches beyond the server: `system` records are refused;
//! - a record that hangs fails after [`RECORD_DEADLINE`], and its file ends there.

mod connection;
mod report;
mod runner;
mod server;

use std::path::PathBuf;
use std::time::Duration;

pub use report::{junit, summary};
pub use runner::run_file;

/// How long a record may take: far more than any needs, so that only a hang reaches it.
pub const RECORD_DEADLINE: Duration = Duration::from_secs(60);

/// Failures of one file that are kept; what comes after so many follows from them.
pub const FAILURES_MAX: usize = 10;

/// How files are run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Slots, and subtasks per operator.
    pub parallelism: usize,
    /// Kills the server and opens it again between the records.
    pub restart: bool,
    /// Puts what the server answers into the file, instead of comparing.
    pub update: bool,
    /// Colors in the differences.
    pub color: bool,
}

/// What running one file gave.
#[derive(Clone, Debug)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// Statements and queries that were run.
    pub record_count: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// What was not as expected, in the order of the file.
    pub failures: Vec<Failure>,
    /// Set when the file was written anew.
    pub updated: bool,
}

impl FileReport {
    /// Whether everything was as expected.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// A record that gave something else than the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// `file:line` of the record; the file alone when it could not be read.
    pub location: String,
    /// What is different.
    pub message: String,
}
