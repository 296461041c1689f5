//! Who owns a storage, and what a server does with a storage that is damaged.

use std::fs;
use std::path::{Path, PathBuf};

use millstream_sql_tests::server::Launch;
use millstream_sql_tests::services::{self, fresh};

#[tokio::test]
async fn a_directory_that_another_server_holds_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new(folder.path().to_str().unwrap());
    let server = launch.start().await;
    let (code, log) = launch.spawn().ended().await;
    assert_eq!(code, Some(1));
    assert!(log.contains(folder.path().to_str().unwrap()), "the message names no directory: {log}");
    // The first goes on, and a third may start once it is gone.
    server.connect().await.run("CREATE TABLE t (a INT)").await;
    server.kill().await;
    let server = launch.start().await;
    assert_eq!(server.connect().await.number("SELECT count(*) FROM t").await, 0);
}

#[tokio::test]
async fn a_second_server_on_a_prefix_owns_it_and_the_older_ends() {
    let Some(bucket) = services::s3("a_second_server_on_a_prefix_owns_it_and_the_older_ends") else { return };
    let launch = Launch::new(format!("{bucket}/{}", fresh("owner")));
    let older = launch.start().await;
    let of_older = older.connect().await;
    of_older.run("CREATE TABLE t (a INT); INSERT INTO t VALUES (1)").await;
    let newer = launch.start().await;
    // What the older says now must not be acknowledged.
    assert!(of_older.client().batch_execute("INSERT INTO t VALUES (2)").await.is_err());
    let (code, log) = older.ended().await;
    assert_eq!(code, Some(3), "{log}");
    let session = newer.connect().await;
    session.run("INSERT INTO t VALUES (3)").await;
    assert_eq!(session.rows("SELECT a FROM t ORDER BY a").await, [["1"], ["3"]]);
}

/// The state objects of checkpoints below a root, by graph.
fn checkpoint_objects(root: &Path) -> Vec<PathBuf> {
    let graphs = fs::read_dir(root.join("graph")).unwrap().map(|graph| graph.unwrap().path());
    graphs.flat_map(|graph| fs::read_dir(graph).unwrap().map(|object| object.unwrap().path())).collect()
}

#[tokio::test]
async fn a_damaged_or_missing_checkpoint_object_is_named_and_other_graphs_run() {
    type Harm = fn(&Path);
    let harms: [Harm; 2] = [
        |object| {
            let mut bytes = fs::read(object).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
            fs::write(object, bytes).unwrap();
        },
        |object| fs::remove_file(object).unwrap(),
    ];
    for harm in harms {
        let folder = tempfile::tempdir().unwrap();
        let launch = Launch::new(folder.path().to_str().unwrap());
        let server = launch.start().await;
        let session = server.connect().await;
        for graph in ["a", "b"] {
            session.run(&format!("CREATE TABLE t{graph} (x INT)")).await;
            session.run(&format!("CREATE MATERIALIZED VIEW v{graph} AS SELECT count(*) AS n FROM t{graph}")).await;
            session.run(&format!("INSERT INTO t{graph} VALUES (1), (2)")).await;
        }
        session.run("CHECKPOINT").await;
        let manifests = "SELECT c.manifest FROM millstream.checkpoints c JOIN millstream.jobs j ON j.graph = c.graph \
                         WHERE j.relation = 'va'";
        let manifest = session.rows(manifests).await.remove(0).remove(0);
        server.kill().await;
        let objects = checkpoint_objects(folder.path());
        let object = objects.iter().find(|object| object.to_str().unwrap().ends_with(&manifest));
        harm(object.unwrap_or_else(|| panic!("{manifest} is not among {objects:?}")));

        let server = launch.start().await;
        let session = server.connect().await;
        assert_eq!(session.rows("SELECT n FROM vb").await, [["2"]]);
        session.run("INSERT INTO tb VALUES (3)").await;
        assert_eq!(session.rows("SELECT n FROM vb").await, [["3"]]);
        let name = Path::new(&manifest).file_name().unwrap().to_str().unwrap();
        let jobs = "SELECT state, reason FROM millstream.jobs WHERE relation = 'va'";
        let job = session.until(jobs, |rows| rows[0][0] == "FAILED").await;
        assert!(job[0][1].contains(name), "the reason names no object: {job:?}");
        let (_, message) = session.error("SELECT n FROM va").await;
        assert!(message.contains("failed"), "{message}");
    }
}
