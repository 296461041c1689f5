//! A data directory on a disk that is full: nothing is acknowledged that is not there, what waits says why, and
//! goes on once there is room. The disk is a small one in memory, in a mount namespace of the server's own.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use millstream_sql_tests::server::{Launch, PATIENCE};

/// Makes a disk of 8 MiB at the folder that follows, and becomes the rest of the command.
const WITH_SMALL_DISK: &str = r#"mount -t tmpfs -o size=8m tmpfs "$0" && exec "$@""#;

/// Fills the disk at the folder that follows, and becomes the rest of the command.
const FULL: &str = r#"head -c 16M /dev/zero > "$0/ballast" 2>/dev/null; exec "$@""#;

fn with_small_disk(folder: &str) -> [&str; 8] {
    ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", WITH_SMALL_DISK, folder]
}

/// Whether this system lets a test mount a disk of its own.
fn can_mount(test: &str, folder: &str) -> bool {
    let [unshare, arguments @ ..] = with_small_disk(folder);
    let tried = Command::new(unshare).args(arguments).arg("true").output();
    let can = tried.as_ref().is_ok_and(|output| output.status.success());
    if !can {
        let why = tried.map_or_else(|error| error.to_string(), |output| String::from_utf8_lossy(&output.stderr).into());
        writeln!(std::io::stderr(), "{test} is SKIPPED: no disk can be mounted here: {why}").expect("stderr takes it");
    }
    can
}

/// Takes all the room that is left.
fn fill(disk: &mut File) {
    for piece in [64 << 10, 4 << 10, 1] {
        let filler = vec![0; piece];
        while disk.write_all(&filler).is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_waited_for_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    if !can_mount("a_full_disk_is_waited_for_and_says_so", path) {
        return;
    }
    let server = Launch::new(path).under(with_small_disk(path)).start().await;
    let session = server.connect().await;
    session.run("SET millstream.checkpoint_interval = '100ms'").await;
    session.run("CREATE TABLE t (x INT)").await;
    session.run("CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n FROM t").await;
    session.run("INSERT INTO t VALUES (1)").await;
    session.run("CHECKPOINT").await;

    // The server's disk is seen through its process.
    let ballast = PathBuf::from(format!("/proc/{}/root{path}/ballast", server.process_id()));
    fill(&mut File::create(&ballast).unwrap());
    let waiting = server.connect().await;
    let insert = tokio::spawn(async move { waiting.run("INSERT INTO t VALUES (2)").await });
    let jobs = "SELECT state, coalesce(reason, '') FROM millstream.jobs WHERE relation = 'total'";
    let job = session.until(jobs, |rows| rows[0][0] != "RUNNING").await.remove(0);
    assert!(job[0] == "WAITING" && job[1].contains("the disk is full") && job[1].contains(path), "{job:?}");
    // What is there can be read; what is not there is not acknowledged.
    assert_eq!(session.rows("SELECT n FROM total").await, [["1"]]);
    assert!(!insert.is_finished());

    fs::remove_file(&ballast).unwrap();
    tokio::time::timeout(PATIENCE, insert).await.expect("the INSERT is acknowledged").unwrap();
    session.until(jobs, |rows| rows[0][0] == "RUNNING").await;
    session.run("CHECKPOINT").await;
    assert_eq!(session.rows("SELECT n FROM total").await, [["2"]]);
}

#[tokio::test]
async fn a_start_on_a_full_disk_fails_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    if !can_mount("a_start_on_a_full_disk_fails_and_says_so", path) {
        return;
    }
    let nested = with_small_disk(path).into_iter().chain(["sh", "-c", FULL, path]);
    let (code, said) = Launch::new(path).under(nested).spawn().ended().await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the disk is full") || said.contains("No space left on device"), "{said}");
}
