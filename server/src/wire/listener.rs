//! Accepts connections, one task each, until told to stop.
//!
//! Beyond loopback a password is required: without one there is no [`Listener`] to serve.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::client_session::{ClientSession, Login};
use super::errors::Failure;
use super::gate::Gate;
use super::limits::{CONNECTIONS, CONNECTIONS_SPARE, LINGER, LOGIN_DEADLINE, SHUTDOWN_GRACE};
use super::login::Admission;
use super::socket::Socket;
use super::tls::Tls;
use super::{connection, errors, login, reply};
use crate::engine::access::attempts::{LoginAttempts, Origin};
use crate::session::SqlError;
use crate::session::registry::{Ends, Sessions};

/// How the front end is run.
#[derive(Clone, Debug)]
pub struct WireConfig {
    /// Connections at a time.
    pub connections: usize,
    /// Time for a whole login.
    pub login_deadline: Duration,
    /// Who may log in; `None` lets everybody in and is refused beyond loopback.
    pub credentials: Option<Arc<dyn Gate>>,
    /// Encryption; `None` declines it.
    pub tls: Option<Arc<Tls>>,
    /// How often logins have failed, and where.
    pub attempts: Arc<LoginAttempts>,
}

impl Default for WireConfig {
    fn default() -> Self {
        let attempts = Arc::default();
        Self { connections: CONNECTIONS, login_deadline: LOGIN_DEADLINE, credentials: None, tls: None, attempts }
    }
}

/// Why an address can't be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Everybody on the network would be let in.
    #[error(
        "refusing to listen on {0} without a password: set MILLSTREAM_PASSWORD, or listen on a loopback address \
         such as 127.0.0.1"
    )]
    PasswordRequired(SocketAddr),
    /// The system refuses, for example because the port is taken.
    #[error("can't listen on {address}: {error}")]
    Unavailable {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
}

/// A bound address with the rules by which connections are let in.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    config: WireConfig,
}

/// Binds an address; port 0 takes a free one.
pub async fn listen(address: SocketAddr, config: WireConfig) -> Result<Listener, ListenError> {
    if config.credentials.is_none() && !is_loopback(address.ip()) {
        return Err(ListenError::PasswordRequired(address));
    }
    let socket = TcpListener::bind(address).await.map_err(|error| ListenError::Unavailable { address, error })?;
    Ok(Listener { socket, config })
}

/// Whether only this machine can reach an address.
pub fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.to_ipv4_mapped().is_some_and(|address| address.is_loopback())
        }
    }
}

impl Listener {
    /// The address that was bound.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// What all connections share.
struct Server<F> {
    config: WireConfig,
    sessions: Arc<Sessions>,
    open_session: F,
    shutdown: CancellationToken,
}

/// Serves connections until `shutdown` fires: then idle ones are told and closed, running statements are
/// cancelled, and what has not ended after [`SHUTDOWN_GRACE`] is cut off. Returns, when all are closed, the
/// number of connections that ended by a panic: 0, unless there is a bug.
///
/// `open_session` makes the session of a client that has logged in.
pub async fn serve<S, F>(listener: Listener, open_session: F, shutdown: CancellationToken) -> usize
where
    S: ClientSession,
    F: Fn(&Login) -> Result<S, SqlError> + Send + Sync + 'static,
{
    let Listener { socket, config } = listener;
    let places = Arc::new(Semaphore::new(config.connections));
    let spare = Arc::new(Semaphore::new(CONNECTIONS_SPARE));
    let sessions = Arc::new(Sessions::default());
    let server = Arc::new(Server { config, sessions, open_session, shutdown });
    let mut connections = JoinSet::new();
    let mut panicked = 0;
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                panicked += usize::from(report_panic(ended));
                continue;
            }
            () = server.shutdown.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: it gets better when connections close.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some((place, admission)) = admit(&places, &spare, &server.config.attempts, peer) else { continue };
        let server = Arc::clone(&server);
        connections.spawn(async move {
            serve_connection(stream, &server, admission).await;
            drop(place);
        });
    }
    drop(socket);
    let all_ended = async {
        while let Some(ended) = connections.join_next().await {
            panicked += usize::from(report_panic(ended));
        }
    };
    if tokio::time::timeout(SHUTDOWN_GRACE, all_ended).await.is_err() {
        connections.shutdown().await;
    }
    panicked
}

/// Finds a place for a connection; `None` when there is none even to tell it so.
fn admit(
    places: &Arc<Semaphore>,
    spare: &Arc<Semaphore>,
    attempts: &Arc<LoginAttempts>,
    peer: SocketAddr,
) -> Option<(OwnedSemaphorePermit, Admission)> {
    let origin = Origin::of(peer.ip());
    let Ok(place) = Arc::clone(places).try_acquire_owned() else {
        let place = Arc::clone(spare).try_acquire_owned().ok()?;
        return Some((place, Admission::Refused(errors::too_many_connections())));
    };
    if let Some(open) = attempts.connects(origin, Instant::now()) {
        return Some((place, Admission::Admitted(origin, open)));
    }
    drop(place);
    let place = Arc::clone(spare).try_acquire_owned().ok()?;
    Some((place, Admission::Refused(errors::too_many_logins(origin))))
}

fn report_panic(ended: Result<(), tokio::task::JoinError>) -> bool {
    match ended {
        Err(error) if error.is_panic() => {
            tracing::error!(%error, "a connection was closed because of a bug: please report it");
            true
        }
        Ok(()) | Err(_) => false,
    }
}

async fn serve_connection<S, F>(stream: TcpStream, server: &Server<F>, admission: Admission)
where
    S: ClientSession,
    F: Fn(&Login) -> Result<S, SqlError> + Send + Sync + 'static,
{
    // Answers are written in one piece each; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let ends = Ends { client: stream.peer_addr().ok(), server: stream.local_addr().ok() };
    let mut socket = Socket::new(stream);
    // The server's stop and a session that ends another are one to the connection.
    let ended = server.shutdown.child_token();
    let registration = server.sessions.register(ends, ended.clone());
    let logging_in = login::login(&mut socket, &server.config, &server.sessions, &registration, admission, |login| {
        (server.open_session)(login)
    });
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(server.config.login_deadline, logging_in) => {
            outcome.unwrap_or_else(|_| Err(Failure::Fatal(errors::login_too_slow())))
        }
        () = server.shutdown.cancelled() => Err(Failure::Fatal(errors::shutting_down())),
    };
    match outcome {
        Ok(Some(session)) => {
            connection::run(socket, session, registration, ended).await;
        }
        Ok(None) | Err(Failure::Gone) => {}
        Err(Failure::Statement(error) | Failure::Fatal(error)) => {
            reply::error(&mut socket.output, "FATAL", &error);
            socket.close(LINGER).await;
        }
    }
}
