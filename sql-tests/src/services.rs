//! The services that some tests need, named by environment variables; without them those tests say so and pass.
//!
//! Most tests share a broker and a store that run. A test that kills one has its own: [`OwnService`], started
//! and stopped by the scripts of a folder.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::process::Stdio;

use rand::Rng;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::{Mutex, MutexGuard};

/// The bootstrap address of a Kafka broker (`MILLSTREAM_TEST_KAFKA`), or a plain line that `test` is skipped.
pub fn kafka(test: &str) -> Option<String> {
    named(test, "MILLSTREAM_TEST_KAFKA", "the address of a Kafka broker")
}

/// A bucket's URL (`MILLSTREAM_TEST_S3`, with the `AWS_*` variables), or a plain line that `test` is skipped.
pub fn s3(test: &str) -> Option<String> {
    named(test, "MILLSTREAM_TEST_S3", "an s3://bucket URL (with the AWS_* variables)")
}

/// A name that no other test and no other run uses.
pub fn fresh(prefix: &str) -> String {
    format!("{prefix}-{:016x}", rand::random::<u64>())
}

fn named(test: &str, variable: &str, what: &str) -> Option<String> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        // Past the test harness, which shows nothing of a test that passes.
        writeln!(std::io::stderr(), "{test} is SKIPPED: set {variable} to {what}").expect("stderr takes a line");
    }
    value
}

/// Ports that stay free over a restart: the system gives none of them to a client's connection, nor of those
/// that a broker uses beside them.
const PORTS: std::ops::Range<u16> = 11_000..21_000;

/// A broker's second port is that far above its first.
const CONTROLLER_PORT_ABOVE: u16 = 10_000;

/// Waits until no other test of this process has services of its own: each takes a good part of a machine.
pub async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// A service of a test's own, on a port and in a folder of its own. It is killed when it is dropped.
pub struct OwnService {
    scripts: String,
    folder: TempDir,
    port: u16,
    /// What its clients need to know, by variable.
    exports: BTreeMap<String, String>,
}

impl OwnService {
    /// A Kafka broker, started by `MILLSTREAM_TEST_KAFKA_SERVICE`/start, or a plain line that `test` is skipped.
    pub async fn kafka(test: &str) -> Option<Self> {
        Self::of(test, "MILLSTREAM_TEST_KAFKA_SERVICE").await
    }

    /// An S3 store, started by `MILLSTREAM_TEST_S3_SERVICE`/start, or a plain line that `test` is skipped.
    pub async fn s3(test: &str) -> Option<Self> {
        Self::of(test, "MILLSTREAM_TEST_S3_SERVICE").await
    }

    async fn of(test: &str, variable: &str) -> Option<Self> {
        let scripts = named(test, variable, "a folder with the scripts `start DIR PORT` and `stop DIR [-9]`")?;
        let folder = tempfile::tempdir().unwrap();
        let mut service = Self { scripts, folder, port: free_port(), exports: BTreeMap::new() };
        service.start().await;
        Some(service)
    }

    /// Starts it, with what it held when it was killed, and waits until it answers.
    pub async fn start(&mut self) {
        let mut start = Command::new(format!("{}/start", self.scripts));
        start.arg(self.folder.path()).arg(self.port.to_string()).stdin(Stdio::null());
        let output = start.output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}/start, {}: {said}", self.scripts, output.status);
        let exports = String::from_utf8(output.stdout).unwrap();
        let export = |line: &str| line.strip_prefix("export ")?.split_once('=').map(|(a, b)| (a.into(), b.into()));
        self.exports = exports.lines().filter_map(export).collect();
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub async fn kill(&self) {
        let mut stop = Command::new(format!("{}/stop", self.scripts));
        let output = stop.arg(self.folder.path()).arg("-9").stdin(Stdio::null()).output().await.unwrap();
        assert!(output.status.success(), "{}/stop: {output:?}", self.scripts);
    }

    /// What its clients need in their environment.
    pub fn exports(&self) -> &BTreeMap<String, String> {
        &self.exports
    }

    /// The value of one variable.
    pub fn export(&self, variable: &str) -> &str {
        self.exports.get(variable).unwrap_or_else(|| panic!("{}/start exports no {variable}", self.scripts))
    }

    /// A broker's bootstrap address.
    pub fn bootstrap(&self) -> &str {
        self.export("MILLSTREAM_TEST_KAFKA")
    }

    /// A store's bucket, as a URL.
    pub fn bucket(&self) -> &str {
        self.export("MILLSTREAM_TEST_S3")
    }
}

impl Drop for OwnService {
    fn drop(&mut self) {
        let mut stop = std::process::Command::new(format!("{}/stop", self.scripts));
        let stopped = stop.arg(self.folder.path()).arg("-9").output();
        if !stopped.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("{}/stop has failed: {stopped:?}", self.scripts);
        }
    }
}

fn free_port() -> u16 {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut random = rand::rng();
    let tried = (0..1_000).map(|_| random.random_range(PORTS));
    let mut found = tried.filter(|port| free(*port) && free(port + CONTROLLER_PORT_ABOVE));
    found.next().expect("among a thousand ports some are free")
}
