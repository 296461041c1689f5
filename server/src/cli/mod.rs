//! The command line: one file per subcommand. Every option is an environment variable `MILLSTREAM_…` too.
//!
//! Exit codes: 0 for success; 1 when something failed, with the reason on standard error; 2 when the arguments
//! are wrong; 3 when a newer server took the storage over.

mod client;
mod demo;
mod run;
mod secret_key;
mod serve;
mod table;
mod test;

use std::fmt;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Exit code of a server that a newer one has taken the storage from: a supervisor must not restart it.
const EXIT_FENCED: u8 = 3;

/// Streaming SQL with Postgres manners: materialized views that stay current by themselves.
#[derive(Debug, Parser)]
#[command(name = "millstream", version, about, subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "First steps:
  millstream demo                        a server with moving views, nothing to set up
  millstream serve --storage ./data      a server that keeps its state in a directory
  psql -h 127.0.0.1 -p 5480              connect to it
  millstream run script.sql              run a script over files and print its answers
  millstream test tests/                 run sqllogictest files, each against a server of its own

Exit codes: 0 success, 1 failure, 2 wrong arguments, 3 a newer server took the storage over.")]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// What is logged to standard error: a level (error, warn, info, debug), or `target=level` pairs.
    #[arg(long, global = true, env = "MILLSTREAM_LOG", default_value = "warn")]
    log: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves psql and other Postgres clients.
    Serve(serve::ServeArguments),
    /// Shows a server at work on generated auctions, with views that move.
    Demo(demo::DemoArguments),
    /// Runs a SQL script until its inputs have ended, and prints what its SELECTs give.
    Run(run::RunArguments),
    /// Runs sqllogictest files, each against a fresh server in memory.
    Test(test::TestArguments),
}

/// What a subcommand fails with; the message is all that the user sees.
#[derive(Debug)]
pub(crate) struct CliError {
    message: String,
    exit_code: u8,
}

impl CliError {
    /// A failure with exit code 1.
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), exit_code: 1 }
    }

    /// A newer server owns the storage.
    pub(crate) fn fenced(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), exit_code: EXIT_FENCED }
    }
}

/// Runs the command line of the process.
pub fn main() -> ExitCode {
    // Several crates link rustls with different providers: without a default the first handshake panics.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("millstream: another TLS provider was installed first");
        return ExitCode::from(1);
    }
    let cli = Cli::parse();
    if let Err(error) = start_logging(&cli.log) {
        eprintln!("millstream: {}", error.message);
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("millstream").build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("millstream: can't start threads: {error}");
            return ExitCode::from(1);
        }
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Serve(arguments) => serve::run(arguments).await,
            Command::Demo(arguments) => demo::run(arguments).await,
            Command::Run(arguments) => run::run(arguments).await,
            Command::Test(arguments) => test::run(arguments).await,
        }
    });
    // Readers that are in a blocking call must not hold the exit up.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millstream: {}", error.message);
            ExitCode::from(error.exit_code)
        }
    }
}

fn start_logging(filter: &str) -> Result<(), CliError> {
    let filter = EnvFilter::try_new(filter).map_err(|error| CliError::new(format!("--log: {error}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    Ok(())
}
