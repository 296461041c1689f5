//! `millstream serve`: an engine over a storage, and Postgres clients in front of it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio_util::sync::CancellationToken;

use super::CliError;
use super::client::Client;
use super::secret_key::SecretKeyArguments;
use crate::engine::{Engine, EngineConfig};
use crate::session::Session;
use crate::session::door::Door;
use crate::wire::{ListenError, Listener, Login, Tls, TlsOptions, WireConfig, is_loopback, listen, serve};

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

    /// The server's certificate for TLS, PEM, with those that lead to a root behind it. Read again on SIGHUP.
    #[arg(long, env = "MILLSTREAM_TLS_CERT")]
    tls_cert: Option<PathBuf>,

    /// The certificate's key, PEM, readable by the server only.
    #[arg(long, env = "MILLSTREAM_TLS_KEY")]
    tls_key: Option<PathBuf>,

    /// Certificates, PEM: every client must show one that they vouch for. Refuses connections without TLS.
    #[arg(long, env = "MILLSTREAM_TLS_CLIENT_CA")]
    tls_client_ca: Option<PathBuf>,

    /// Which common names clients' certificates may bear.
    #[arg(long, env = "MILLSTREAM_TLS_CLIENT_NAME", value_enum, default_value_t = ClientName::Any)]
    tls_client_name: ClientName,

    /// Whether connections without TLS are let in.
    #[arg(long, env = "MILLSTREAM_TLS", value_enum, default_value_t = TlsMode::Allow)]
    tls: TlsMode,

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

    #[command(flatten)]
    secret_key: SecretKeyArguments,
}

/// What is done with connections in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TlsMode {
    /// They are let in.
    Allow,
    /// They are refused.
    Require,
}

/// What is asked of the names in clients' certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ClientName {
    /// Nothing.
    Any,
    /// To be the name of the role that connects.
    Role,
}

impl ServeArguments {
    /// TLS as it was asked for; what was asked for and can't be had is an error.
    fn tls(&self) -> Result<Option<Arc<Tls>>, CliError> {
        let (certificate, key) = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
            (None, None) => {
                let asked = [
                    (self.tls == TlsMode::Require, "--tls require"),
                    (self.tls_client_ca.is_some(), "--tls-client-ca"),
                    (self.tls_client_name == ClientName::Role, "--tls-client-name role"),
                ];
                return match asked.iter().find(|(asked, _)| *asked) {
                    Some((_, option)) => Err(CliError::new(format!("{option} needs --tls-cert and --tls-key"))),
                    None => Ok(None),
                };
            }
            (Some(_), None) => return Err(CliError::new("--tls-cert needs --tls-key")),
            (None, Some(_)) => return Err(CliError::new("--tls-key needs --tls-cert")),
        };
        if self.tls_client_name == ClientName::Role && self.tls_client_ca.is_none() {
            return Err(CliError::new("--tls-client-name role needs --tls-client-ca"));
        }
        let options = TlsOptions {
            certificate,
            key,
            client_ca: self.tls_client_ca.clone(),
            client_name: self.tls_client_name == ClientName::Role,
            required: self.tls == TlsMode::Require,
        };
        Ok(Some(Arc::new(Tls::open(options).map_err(CliError::new)?)))
    }

    fn engine_config(&self) -> Result<EngineConfig, CliError> {
        let mut config = EngineConfig::new(&self.storage);
        config.secret_keys = self.secret_key.keys()?;
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
        Ok(config)
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
    let tls = arguments.tls()?;
    let engine_config = arguments.engine_config()?;
    let config = WireConfig {
        credentials: Some(Arc::clone(&door) as _),
        tls: tls.clone(),
        attempts: Arc::clone(&engine_config.login_attempts),
        ..WireConfig::default()
    };
    let listener = listen(arguments.listen, config).await.map_err(CliError::new)?;
    let address = listener.local_address().map_err(CliError::new)?;
    let engine = Engine::open(engine_config).await.map_err(CliError::new)?;
    if let Some(password) = first_password() {
        engine.give_first_password(&password).await.map_err(CliError::new)?;
    }
    if beyond_loopback && !engine.has_first_password() {
        engine.stop().await;
        return Err(CliError::new(ListenError::PasswordRequired(arguments.listen)));
    }
    door.knows(Arc::clone(&engine));
    if let Some(tls) = tls {
        read_again_on_hangup(tls)?;
    }
    let (label, host, port) = (engine.storage_label(), address.ip(), address.port());
    let greeting =
        format!("millstream listens on {address}, storage {label}\nconnect with: psql -h {host} -p {port}\n");
    // Whoever started it may read where it listens and close the pipe: that is no reason to stop.
    if let Err(error) = std::io::stdout().write_all(greeting.as_bytes()) {
        tracing::warn!(%error, "standard output does not take where the server listens");
    }
    until_ended(engine, listener, stop_signal()).await
}

/// Reads the certificates again at every SIGHUP; those that can't be used are refused and named in the log.
fn read_again_on_hangup(tls: Arc<Tls>) -> Result<(), CliError> {
    let kind = tokio::signal::unix::SignalKind::hangup();
    let mut hangups = tokio::signal::unix::signal(kind).map_err(CliError::new)?;
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            match tls.reload() {
                Ok(()) => tracing::info!("the TLS certificate was read again"),
                Err(error) => tracing::error!(%error, "the TLS certificate stays the one before"),
            }
        }
    });
    Ok(())
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
