//! A real Postgres 15 beside Millstream, where there is one: what the two say to the same statement is compared.
//!
//! It runs in a folder of its own, on a socket in it, as the user `nobody` where the tests run as root, which Postgres
//! refuses. Where there is none, tests say so and compare nothing.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

/// The user and group `nobody` of Debian.
const NOBODY: u32 = 65_534;

/// A server that ends when it is dropped.
pub struct Postgres {
    folder: TempDir,
    server: Child,
}

/// Where its programs are, if they are.
fn programs() -> Option<PathBuf> {
    let debian = PathBuf::from("/usr/lib/postgresql/15/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(debian).chain(std::env::split_paths(&path));
    folders.into_iter().find(|folder| folder.join("postgres").exists() && folder.join("initdb").exists())
}

fn is_root() -> bool {
    let own = std::fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own));
    own.is_ok_and(|uid| uid == 0)
}

/// A program of Postgres, as a user that it runs for.
fn program(folder: &Path, name: &str) -> Command {
    let mut command = Command::new(folder.join(name));
    command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

impl Postgres {
    /// Starts one; `None` where there is none, or none can be made, which `why` says.
    pub async fn start() -> Result<Self, String> {
        let programs = programs().ok_or("there is no Postgres 15 on this machine")?;
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        if is_root() {
            std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).map_err(|error| error.to_string())?;
        }
        let data = folder.path().join("data");
        let mut init = program(&programs, "initdb");
        init.arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
        let made = init.status().map_err(|error| error.to_string())?;
        if !made.success() {
            return Err(format!("initdb could not make a database here: {made}"));
        }
        let mut server = program(&programs, "postgres");
        server.arg("-D").arg(&data).args(["-c", "listen_addresses=", "-c", "fsync=off", "-c"]);
        server.arg(format!("unix_socket_directories={}", folder.path().display()));
        let server = server.spawn().map_err(|error| error.to_string())?;
        let mut postgres = Self { folder, server };
        loop {
            if postgres.client().await.is_ok() {
                return Ok(postgres);
            }
            if let Ok(Some(status)) = postgres.server.try_wait() {
                return Err(format!("postgres could not start here: {status}"));
            }
            tokio::task::yield_now().await;
        }
    }

    /// A connection of its own.
    pub async fn client(&self) -> Result<Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(self.folder.path()).user("postgres").dbname("postgres");
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Nothing of it is kept, so it need not end by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
