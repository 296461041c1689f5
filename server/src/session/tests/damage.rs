//! Damaged storage: what needs it stands as failed and names the object, the rest runs on.

use std::path::{Path, PathBuf};

use super::Client;
use crate::engine::{Engine, EngineConfig};

async fn open_directory(path: &Path) -> std::sync::Arc<Engine> {
    let config = EngineConfig { slots: 2, parallelism: 1, ..EngineConfig::new(path.to_str().unwrap()) };
    Engine::open(config).await.unwrap()
}

fn files_below(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_checkpoint_stops_its_own_graph_only() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open_directory(directory.path()).await;
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE good (x INT)").await;
    client.tag("CREATE TABLE bad (x INT)").await;
    client.tag("CREATE MATERIALIZED VIEW m AS SELECT sum(x) AS s FROM bad").await;
    client.tag("INSERT INTO good VALUES (1)").await;
    client.tag("INSERT INTO bad VALUES (2)").await;
    client.tag("CHECKPOINT").await;
    let graph = client.rows("SELECT graph FROM millstream.jobs WHERE relation = 'bad'").await.remove(0);
    engine.stop().await;
    drop(client);
    drop(engine);
    for file in files_below(&directory.path().join("graph").join(graph)) {
        std::fs::write(file, b"nonsense").unwrap();
    }

    let engine = open_directory(directory.path()).await;
    let mut client = Client::new(&engine);
    assert_eq!(client.rows("SELECT x FROM good").await, ["1"]);
    client.tag("INSERT INTO good VALUES (3)").await;
    for statement in ["SELECT * FROM bad", "SELECT * FROM m", "INSERT INTO bad VALUES (4)"] {
        let error = client.error(statement).await;
        assert_eq!(error.sqlstate, "55000", "{statement}: {error:?}");
    }
    let reason = client.rows("SELECT DISTINCT reason FROM millstream.jobs WHERE state = 'FAILED'").await;
    assert!(reason[0].contains("graph/"), "the object is named: {reason:?}");
    assert_eq!(client.run("CHECKPOINT").await.unwrap().notices.len(), 2);
    client.tag("DROP TABLE bad CASCADE").await;
    assert_eq!(client.rows("SELECT relation, state FROM millstream.jobs").await, ["good|RUNNING"]);
    client.tag("CREATE TABLE bad (x INT)").await;
    client.tag("INSERT INTO bad VALUES (5)").await;
    assert_eq!(client.rows("SELECT x FROM bad").await, ["5"]);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_has_one_server() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open_directory(directory.path()).await;
    let config = EngineConfig::new(directory.path().to_str().unwrap());
    let refused = Engine::open(config).await.err().unwrap();
    assert_eq!(refused.kind, millstream_runtime::ErrorKind::Unavailable);
    engine.stop().await;
}
