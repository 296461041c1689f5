//! An engine in memory behind a listener of its own, and the clients that connect to it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::{CancellationToken, DropGuard};

use super::raw::RawClient;
use crate::engine::{Engine, EngineConfig};
use crate::session::Session;
use crate::wire::{Login, WireConfig, listen, serve};

/// Serves until it is dropped.
pub(super) struct Served {
    pub(super) engine: Arc<Engine>,
    pub(super) address: SocketAddr,
    _shutdown: DropGuard,
}

impl Served {
    pub(super) async fn start() -> Self {
        let engine = Engine::open(EngineConfig::new("memory://")).await.unwrap();
        let listener = listen("127.0.0.1:0".parse().unwrap(), WireConfig::default()).await.unwrap();
        let address = listener.local_address().unwrap();
        let shutdown = CancellationToken::new();
        let served = Arc::clone(&engine);
        let sessions = move |login: &Login| {
            Session::connect(Arc::clone(&served), &login.user, &login.database, Some(&login.place))
        };
        tokio::spawn(serve(listener, sessions, shutdown.clone()));
        Self { engine, address, _shutdown: shutdown.drop_guard() }
    }

    /// What a driver is told to connect with.
    pub(super) fn login(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.address.port()).user("me").dbname("db");
        config
    }

    /// A driver that is logged in.
    pub(super) async fn client(&self) -> tokio_postgres::Client {
        let (client, connection) = self.login().connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// A client of bytes that is logged in.
    pub(super) async fn raw(&self) -> RawClient {
        RawClient::ready_at(self.address).await
    }
}
