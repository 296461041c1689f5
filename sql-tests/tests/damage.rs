//! Damaged storage: bits that flipped, files that were cut off or are gone. What needs them says which it was and
//! does not start; nothing is guessed (invariant 8).

use std::fs;
use std::path::{Path, PathBuf};

use millstream_sql_tests::server::{Launch, Server};
use tempfile::TempDir;

/// Does something to a file.
type Harm = fn(&Path);

/// What can befall a file.
const HARMS: [(&str, Harm); 3] = [
    ("a bit flips", |file| {
        let mut bytes = fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x40;
        fs::write(file, bytes).unwrap();
    }),
    ("its end is cut off", |file| {
        let bytes = fs::read(file).unwrap();
        fs::write(file, &bytes[..bytes.len() - 1]).unwrap();
    }),
    ("it is gone", |file| fs::remove_file(file).unwrap()),
];

/// The files below a folder, by their path below it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for path in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() { folders.push(path) } else { found.push(path.strip_prefix(folder).unwrap().to_owned()) }
        }
    }
    found.sort();
    found
}

fn copy_of(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in files(folder) {
        let target = copy.path().join(&file);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(folder.join(&file), target).unwrap();
    }
    copy
}

fn launch(folder: &Path) -> Launch {
    Launch::new(folder.to_str().unwrap())
}

/// Two graphs with rows and a view each, and a checkpoint of both; the folder of the first one's objects.
async fn two_graphs(server: &Server) -> String {
    let session = server.connect().await;
    // Checkpoints are taken when they are asked for.
    session.run("SET millstream.checkpoint_interval = '1h'").await;
    for graph in ["a", "b"] {
        session.run(&format!("CREATE TABLE t{graph} (x INT)")).await;
        session.run(&format!("CREATE MATERIALIZED VIEW v{graph} AS SELECT count(*) AS n FROM t{graph}")).await;
        session.run(&format!("INSERT INTO t{graph} VALUES (1), (2)")).await;
    }
    session.run("CHECKPOINT").await;
    format!("graph/{}", session.number("SELECT graph FROM millstream.jobs WHERE relation = 'va'").await)
}

#[tokio::test]
async fn a_damaged_or_missing_checkpoint_object_is_named_and_other_graphs_run() {
    let whole = tempfile::tempdir().unwrap();
    let server = launch(whole.path()).start().await;
    let folder = two_graphs(&server).await;
    server.kill().await;
    let objects: Vec<_> = files(whole.path()).into_iter().filter(|file| file.starts_with(&folder)).collect();
    assert!(objects.len() >= 4, "a manifest, a table, an operator and a view: {objects:?}");
    for object in objects {
        for (harm, harms) in HARMS {
            let case = format!("{}: {harm}", object.display());
            let copy = copy_of(whole.path());
            harms(&copy.path().join(&object));
            let server = launch(copy.path()).start().await;
            let session = server.connect().await;
            assert_eq!(session.rows("SELECT n FROM vb").await, [["2"]], "{case}");
            session.run("INSERT INTO tb VALUES (3)").await;
            assert_eq!(session.rows("SELECT n FROM vb").await, [["3"]], "{case}");
            let jobs = "SELECT state, reason FROM millstream.jobs WHERE relation = 'va'";
            let job = session.until(jobs, |rows| rows[0][0] == "FAILED").await.remove(0);
            assert!(job[1].contains(object.to_str().unwrap()), "{case}: the reason names no object: {job:?}");
            session.run("CREATE ROLE other; SET ROLE other").await;
            assert_eq!(session.rows(jobs).await, [["FAILED", "-"]], "{case}: reasons are for owners");
            let errors = "SELECT state, reason FROM millstream.errors";
            assert_eq!(session.rows(errors).await, [["FAILED", "-"]], "{case}: reasons are for owners");
            session.run("RESET ROLE").await;
            for refused in ["SELECT n FROM va", "INSERT INTO ta VALUES (3)"] {
                let (sqlstate, message) = session.error(refused).await;
                assert_eq!(sqlstate, "55000", "{case}: {refused}: {message}");
            }
            session.run("DROP TABLE ta CASCADE; CREATE TABLE ta (x INT); INSERT INTO ta VALUES (1)").await;
            assert_eq!(session.number("SELECT count(*) FROM ta").await, 1, "{case}");
        }
    }
}

/// All files with what is in them.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files(folder).into_iter().map(|file| (file.clone(), fs::read(folder.join(file)).unwrap())).collect()
}

#[tokio::test]
async fn a_damaged_log_is_named_and_the_server_does_not_start() {
    let whole = tempfile::tempdir().unwrap();
    let server = launch(whole.path()).start().await;
    let session = server.connect().await;
    session.run("SET millstream.checkpoint_interval = '1h'").await;
    session.run("CREATE TABLE t (x INT, filler TEXT); INSERT INTO t VALUES (1)").await;
    session.run("CHECKPOINT").await;
    // Behind the snapshot: entries, one of them with rows in an object of their own.
    let large = "INSERT INTO t SELECT n, md5(n || 'a') || md5(n || 'b') || md5(n || 'c') || md5(n || 'd') \
                 || md5(n || 'e') FROM generate_series(1, 10000) AS g(n)";
    session.run(large).await;
    session.run("INSERT INTO t VALUES (2)").await;
    session.run("INSERT INTO t VALUES (3)").await;
    server.kill().await;
    let all = files(whole.path());
    let below = |folder: &str| all.iter().filter(|file| file.starts_with(folder)).cloned().collect::<Vec<_>>();
    let (log, snapshots, rows) = (below("log"), below("snapshot"), below("rows"));
    assert!(log.len() >= 3 && snapshots.len() == 1 && rows.len() == 1, "{all:?}");
    for object in [&log[log.len() - 2], &snapshots[0], &rows[0]] {
        for (harm, harms) in HARMS {
            let case = format!("{}: {harm}", object.display());
            let copy = copy_of(whole.path());
            harms(&copy.path().join(object));
            let before = contents(copy.path());
            let (code, said) = launch(copy.path()).spawn().ended().await;
            assert_eq!(code, Some(1), "{case}: {said}");
            // Without a snapshot it is the log behind which something is missing.
            let named = if object.starts_with("snapshot") && harm == "it is gone" { Path::new("log/") } else { object };
            assert!(said.contains(named.to_str().unwrap()), "{case}: {said}");
            if !object.starts_with("rows") {
                assert!(contents(copy.path()) == before, "{case}: something was written");
            }
        }
    }
}
