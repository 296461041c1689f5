//! `millstream serve`: an engine over a storage, and Postgres clients in front of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::CliError;
use super::client::Client;
use crate::engine::{Engine, EngineConfig};
use crate::session::Session;
use crate::session::door::Door;
use crate::wire::{ListenError, Listener, Login, WireConfig, is_loopback, listen, serve};

/// How long the checkpoint at the end may take: a storage that is away holds up nobody who wants to stop.
const LAST_CHECKPOINT: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// Where the state lives: a path, file:///path, s3://bucket/prefix (credentials from the AWS_* variables),
    /// or memory:// for a server that forgets.
    #[arg(long, env = "MILLSTREAM_STORAGE", default_value = "./millstream-data")]
    storage: String,

    /// The address for Postgres clients. Beyond loopback a password is required (MILLSTREAM_PASSWORD).
    #[arg(long, env = "MILLSTREAM_LISTEN", default_value = "127.0.0.1:5480")]
    listen: SocketAddr,

    /// Worker threads for dataflows [default: one per core].
    #[arg(long, env = "MILLSTREAM_SLOTS", value_parser = clap::value_parser!(u16).range(1..=128))]
    slots: Option<u16>,

    /// Subtasks per operator, at most the number of slots [default: as many as slots].
    #[arg(long, env = "MILLSTREAM_PARALLELISM", value_parser = clap::value_parser!(u16).range(1..=128))]
    parallelism: Option<u16>,

    /// Memory that all queries together may take, in MiB.
    #[arg(long, env = "MILLSTREAM_QUERY_MEMORY_MIB", default_value_t = 1024)]
    query_memory_mib: usize,

    /// Memory that operators, views and tables together may keep, in MiB [default: six tenths of the machine's]. A
    /// view that would take more stands as FAILED in SHOW JOBS; the others run on.
    #[arg(long, env = "MILLSTREAM_STATE_MEMORY_MIB")]
    state_memory_mib: Option<usize>,
}

impl ServeArguments {
    fn engine_config(&self) -> EngineConfig {
        let mut config = EngineConfig::new(&self.storage);
        if let Some(slots) = self.slots {
            config.slots = usize::from(slots);
            config.parallelism = config.slots;
        }
        if let Some(parallelism) = self.parallelism {
            config.parallelism = usize::from(parallelism);
        }
        config.query_memory_bytes = self.query_memory_mib.saturating_mul(1 << 20);
        if let Some(mib) = self.state_memory_mib {
            config.state_memory_bytes = mib.saturating_mul(1 << 20);
        }
        config
    }
}

/// The first superuser's password, from the environment: it never stands on a command line.
fn first_password() -> Option<String> {
    std::env::var("MILLSTREAM_PASSWORD").ok().filter(|password| !password.is_empty())
}

pub(super) async fn run(arguments: ServeArguments) -> Result<(), CliError> {
    // The address first: it is the cheaper of the two to get wrong, and nothing is touched yet.
    let beyond_loopback = !is_loopback(arguments.listen.ip());
    let door = Arc::new(Door::new(beyond_loopback));
    let config = WireConfig { credentials: Some(Arc::clone(&door) as _), ..WireConfig::default() };
    let listener = listen(arguments.listen, config).await.map_err(CliError::new)?;
    let address = listener.local_address().map_err(CliError::new)?;
    let engine = Engine::open(arguments.engine_config()).await.map_err(CliError::new)?;
    if let Some(password) = first_password() {
        engine.give_first_password(&password).await.map_err(CliError::new)?;
    }
    if beyond_loopback && !engine.has_first_password() {
        engine.stop().await;
        return Err(CliError::new(ListenError::PasswordRequired(arguments.listen)));
    }
    door.knows(Arc::clone(&engine));
    println!("millstream listens on {address}, storage {}", engine.storage_label());
    println!("connect with: psql -h {} -p {}", address.ip(), address.port());
    until_ended(engine, listener, stop_signal()).await
}

/// Serves until `stop` ends, or until a newer server takes the storage over.
pub(super) async fn until_ended(
    engine: Arc<Engine>,
    listener: Listener,
    stop: impl Future<Output = ()>,
) -> Result<(), CliError> {
    let shutdown = CancellationToken::new();
    let sessions = Arc::clone(&engine);
    let open =
        move |login: &Login| Session::connect(Arc::clone(&sessions), &login.user, &login.database, Some(&login.place));
    let mut serving = tokio::spawn(serve(listener, open, shutdown.clone()));
    let fenced = tokio::select! {
        error = engine.fenced() => Some(error),
        () = stop => None,
        ended = &mut serving => return Err(CliError::new(format!("the listener ended by itself: {ended:?}"))),
    };
    shutdown.cancel();
    if let Some(error) = fenced {
        // Nothing may be acknowledged any more: no time for farewells.
        serving.abort();
        return Err(CliError::fenced(error));
    }
    let panicked = serving.await.map_err(CliError::new)?;
    // A checkpoint shortens the next start; without one it replays the log, nothing is lost.
    let last = async { Client::new(&engine).command("CHECKPOINT").await };
    match tokio::time::timeout(LAST_CHECKPOINT, last).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(error = %error.message, "no checkpoint was taken at the end"),
        Err(_elapsed) => tracing::warn!("no checkpoint was taken at the end: it took too long"),
    }
    engine.stop().await;
    match panicked {
        0 => Ok(()),
        count => {
            Err(CliError::new(format!("{count} connections were closed because of a bug: the log has the traces")))
        }
    }
}

/// Ends at Ctrl-C or SIGTERM.
pub(super) async fn stop_signal() {
    let interrupted = tokio::signal::ctrl_c();
    let mut terminated = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(terminated) => terminated,
        Err(error) => {
            tracing::warn!(%error, "SIGTERM can't be caught");
            return interrupted.await.unwrap_or_else(|error| tracing::warn!(%error, "Ctrl-C can't be caught"));
        }
    };
    tokio::select! {
        _ = interrupted => {}
        _ = terminated.recv() => {}
    }
}
