//! The real `millstream` binary as a child process, on a port of its own.
//!
//! The child is ended by its own handle, at the latest when a test drops it. Its log goes to a file; when a
//! test fails, the end of the log is shown.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// The longest that a start, or any single wait of a test, may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Launch {
    storage: String,
    listen: String,
    arguments: Vec<String>,
    /// What starts the binary instead, with its arguments before those of the binary.
    under: Vec<String>,
    environment: BTreeMap<String, String>,
}

impl Launch {
    /// A server over a storage.
    pub fn new(storage: impl Into<String>) -> Self {
        let listen = "127.0.0.1:0".to_owned();
        Self { storage: storage.into(), listen, arguments: Vec::new(), under: Vec::new(), environment: BTreeMap::new() }
    }

    /// At another address than a port of its own on loopback.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// With one more argument of `millstream serve`.
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Started by another program, which becomes the binary.
    pub fn under<'a>(mut self, command: impl IntoIterator<Item = &'a str>) -> Self {
        self.under = command.into_iter().map(str::to_owned).collect();
        self
    }

    /// With more variables in its environment.
    pub fn environment(mut self, variables: &BTreeMap<String, String>) -> Self {
        self.environment.extend(variables.clone());
        self
    }

    /// Starts it; the child may still be reading its storage, or on its way to failing.
    pub fn spawn(&self) -> Starting {
        let log = NamedTempFile::new().unwrap();
        let mut words = self.under.iter().map(OsStr::new).chain([binary().as_os_str()]);
        let mut command = Command::new(words.next().expect("the binary is one"));
        command.args(words);
        command.arg("serve").args(["--listen", &self.listen, "--storage", &self.storage]).args(&self.arguments);
        command
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.reopen().unwrap())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines();
        Starting { process: Process { child, log }, lines }
    }

    /// Starts it and waits until it answers.
    pub async fn start(&self) -> Server {
        let starting = self.spawn();
        tokio::time::timeout(PATIENCE, starting.listening()).await.expect("the server listens in time")
    }
}

/// The child and its log.
#[derive(Debug)]
struct Process {
    child: Child,
    log: NamedTempFile,
}

/// A server that does not listen yet.
pub struct Starting {
    process: Process,
    lines: Lines<BufReader<ChildStdout>>,
}

/// A server that listens.
pub struct Server {
    process: Process,
    address: SocketAddr,
    /// Kept open: a server whose standard output is closed would notice.
    _lines: Lines<BufReader<ChildStdout>>,
}

impl Starting {
    /// Waits until it listens; fails if it ends before.
    pub async fn listening(mut self) -> Server {
        let Some(line) = self.lines.next_line().await.unwrap() else {
            let status = self.process.child.wait().await.unwrap();
            panic!("the server ended before it listened, {status}:\n{}", self.process.log_end());
        };
        let address = line.strip_prefix("millstream listens on ").and_then(|rest| rest.split(',').next());
        let address = address.and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("the server says \"{line}\" instead of where it listens"));
        Server { process: self.process, address, _lines: self.lines }
    }

    /// Waits until it ends by itself: its exit code and what it logged.
    pub async fn ended(mut self) -> (Option<i32>, String) {
        let status = tokio::time::timeout(PATIENCE, self.process.child.wait()).await;
        let status = status.expect("the server ends in time").unwrap();
        (status.code(), self.process.log_end())
    }

    /// Kills it with SIGKILL.
    pub async fn kill(mut self) {
        self.process.kill().await;
    }
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection of its own.
    pub async fn connect(&self) -> Session {
        connect(self.address).await.unwrap_or_else(|error| panic!("{error}:\n{}", self.log_end()))
    }

    /// The end of what it logged.
    pub fn log_end(&self) -> String {
        self.process.log_end()
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub async fn kill(mut self) {
        self.process.kill().await;
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.process.signal("TERM");
    }

    /// Stops it where it is, until [`Self::resume`].
    pub fn pause(&self) {
        self.process.signal("STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.signal("CONT");
    }

    /// Its process.
    pub fn process_id(&self) -> u32 {
        self.process.child.id().expect("it has not been waited for")
    }

    /// Waits until it ends by itself: its exit code and what it logged.
    pub async fn ended(mut self) -> (Option<i32>, String) {
        let status = tokio::time::timeout(PATIENCE, self.process.child.wait()).await;
        let status = status.expect("the server ends in time").unwrap();
        (status.code(), self.log_end())
    }
}

impl Process {
    /// The standard library sends only SIGKILL.
    fn signal(&self, name: &str) {
        let process = self.child.id().expect("it has not been waited for").to_string();
        let sent = std::process::Command::new("kill").args([&format!("-{name}"), &process]).status().unwrap();
        assert!(sent.success(), "kill -{name} {process}: {sent}");
    }

    async fn kill(&mut self) {
        self.child.kill().await.unwrap();
        let status: ExitStatus = self.child.wait().await.unwrap();
        assert_eq!(status.signal(), Some(9), "the server had ended by itself, {status}:\n{}", self.log_end());
    }

    fn log_end(&self) -> String {
        let log = std::fs::read_to_string(self.log.path()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of the server's log:\n{}", self.log_end());
        }
    }
}

/// A client's session.
pub struct Session {
    client: Client,
}

/// Connects to a server that may be gone.
pub async fn connect(address: SocketAddr) -> Result<Session, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config.host(address.ip().to_string()).port(address.port()).user("millstream").dbname("millstream");
    let (client, connection) = config.connect(NoTls).await?;
    // Ends with its client; what goes wrong reaches the client as well.
    tokio::spawn(connection);
    Ok(Session { client })
}

impl Session {
    /// The driver's client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Runs statements that have to succeed.
    pub async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {}", text(&error)));
    }

    /// The rows of a query that has to succeed, as text; NULL is `-`.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        self.try_rows(sql).await.unwrap_or_else(|error| panic!("{sql}: {}", text(&error)))
    }

    /// The rows of a query, as text; NULL is `-`.
    pub async fn try_rows(&self, sql: &str) -> Result<Vec<Vec<String>>, tokio_postgres::Error> {
        let messages = self.client.simple_query(sql).await?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let cells = |row: &tokio_postgres::SimpleQueryRow| {
            (0..row.len()).map(|column| row.get(column).unwrap_or("-").to_owned()).collect()
        };
        Ok(rows.map(cells).collect())
    }

    /// The one number that a query has to give.
    pub async fn number(&self, sql: &str) -> i64 {
        let rows = self.rows(sql).await;
        assert!(rows.len() == 1 && rows[0].len() == 1, "{sql}: one value was expected, not {rows:?}");
        rows[0][0].parse().unwrap_or_else(|_| panic!("{sql}: a number was expected, not {}", rows[0][0]))
    }

    /// Repeats a query until its rows are as wanted.
    pub async fn until(&self, sql: &str, wanted: impl Fn(&[Vec<String>]) -> bool) -> Vec<Vec<String>> {
        let mut last = Vec::new();
        let reached = tokio::time::timeout(PATIENCE, async {
            loop {
                last = self.rows(sql).await;
                if wanted(&last) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
        let reached = reached.await;
        assert!(reached.is_ok(), "{sql}: not as wanted after {PATIENCE:?}: {last:?}");
        last
    }

    /// The SQLSTATE and the message of statements that have to fail.
    pub async fn error(&self, sql: &str) -> (String, String) {
        let error = self.client.batch_execute(sql).await.expect_err(sql);
        let code = error.code().map_or_else(String::new, |code| code.code().to_owned());
        (code, text(&error))
    }
}

/// An error as a person would see it.
pub fn text(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        None => error.to_string(),
        Some(error) => format!("{} {} {}", error.code().code(), error.message(), error.detail().unwrap_or("")),
    }
}

/// The binary beside the test executable, built once if it is missing or out of date: `cargo test` builds a
/// binary only for the integration tests of its own package.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(|deps| deps.parent()).expect("tests run from target/PROFILE/deps");
        let target = profile.parent().expect("a profile has a target folder");
        // One build at a time, whichever test process asks; the whole workspace, so that features are the same.
        let lock = File::create(profile.join(".millstream-test-build")).unwrap();
        lock.lock().unwrap();
        let mut build = std::process::Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--workspace", "--bin", "millstream", "--target-dir"]).arg(target);
        build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        // Those of the running test: build scripts of dependencies watch some of them, and would run again.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("CARGO_MANIFEST") || name.starts_with("CARGO_PKG")) {
                build.env_remove(name);
            }
        }
        assert!(build.status().unwrap().success(), "the millstream binary does not build");
        profile.join("millstream")
    })
}
