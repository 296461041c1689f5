//! The server of one file: an engine over a named memory storage and a listener on a free port.
//!
//! A kill leaves what the storage holds and nothing else: connections are cut and no checkpoint is taken, so
//! that the next start restores from the last checkpoint and replays the log behind it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::connection::ConnectionError;
use crate::engine::{Engine, EngineConfig, SecretKeys};
use crate::session::Session;
use crate::wire::{Login, WireConfig, listen, serve};

/// Bytes that the queries of one file may hold: files run side by side.
const QUERY_MEMORY_BYTES: usize = 256 << 20;

/// Bytes of state that one file may make, likewise.
const STATE_MEMORY_BYTES: usize = 1 << 30;

/// A server that can be killed and restored.
pub(super) struct TestServer {
    config: EngineConfig,
    running: Mutex<Running>,
    /// Connections that are in a transaction: the server is not killed meanwhile.
    pub(super) open_transactions: AtomicUsize,
    /// A statement did not end in time: nothing can be learned from this server any more.
    pub(super) hangs: AtomicBool,
}

struct Running {
    engine: Arc<Engine>,
    address: SocketAddr,
    serving: JoinHandle<usize>,
    /// Counts the starts: a connection of an older one is dead.
    generation: u64,
}

impl TestServer {
    /// Starts a server over a storage that nobody else has.
    pub(super) async fn start(parallelism: usize) -> Result<Arc<Self>, ConnectionError> {
        let config = EngineConfig {
            storage: format!("memory://{}", uuid::Uuid::new_v4()),
            slots: parallelism,
            parallelism,
            query_memory_bytes: QUERY_MEMORY_BYTES,
            state_memory_bytes: STATE_MEMORY_BYTES,
            login_attempts: Arc::default(),
            secret_keys: SecretKeys::random().map_err(ConnectionError::server)?,
        };
        let running = Running::open(&config, 0).await?;
        Ok(Arc::new(Self {
            config,
            running: Mutex::new(running),
            open_transactions: AtomicUsize::new(0),
            hangs: AtomicBool::new(false),
        }))
    }

    /// Where it listens now, and how often it was started before.
    pub(super) async fn address(&self) -> (SocketAddr, u64) {
        let running = self.running.lock().await;
        (running.address, running.generation)
    }

    /// Kills the server and opens it again; every second time right after a checkpoint, so that starts with
    /// and without a log to replay take turns. Does nothing inside a transaction, or while a session holds advisory
    /// locks: they would not outlive a kill.
    pub(super) async fn restart(&self) -> Result<(), ConnectionError> {
        if self.open_transactions.load(Ordering::Acquire) > 0 {
            return Ok(());
        }
        let mut running = self.running.lock().await;
        if running.engine.holds_advisory_locks() {
            return Ok(());
        }
        let generation = running.generation + 1;
        if generation.is_multiple_of(2) {
            checkpoint(&running.engine).await?;
        }
        running.kill().await;
        *running = Running::open(&self.config, generation).await?;
        Ok(())
    }

    /// Ends the server for good.
    pub(super) async fn stop(&self) {
        self.running.lock().await.kill().await;
    }
}

impl Running {
    async fn open(config: &EngineConfig, generation: u64) -> Result<Self, ConnectionError> {
        let engine = Engine::open(config.clone()).await.map_err(ConnectionError::server)?;
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = listen(loopback, WireConfig::default()).await.map_err(ConnectionError::server)?;
        let address = listener.local_address().map_err(ConnectionError::server)?;
        let sessions = Arc::clone(&engine);
        let open = move |login: &Login| {
            Session::connect(Arc::clone(&sessions), &login.user, &login.database, Some(&login.place))
        };
        let serving = tokio::spawn(serve(listener, open, CancellationToken::new()));
        Ok(Self { engine, address, serving, generation })
    }

    /// Cuts every connection, then stops the graphs where they are.
    async fn kill(&mut self) {
        self.serving.abort();
        self.engine.stop().await;
    }
}

async fn checkpoint(engine: &Arc<Engine>) -> Result<(), ConnectionError> {
    let mut session = Session::new(Arc::clone(engine), "millstream");
    for statement in session.split("CHECKPOINT")? {
        let prepared = session.prepare(&statement, &[]).await?;
        session.execute(&prepared, Vec::new(), CancellationToken::new()).await?;
    }
    Ok(())
}
