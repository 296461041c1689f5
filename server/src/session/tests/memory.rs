//! The budget for state: what would take more is refused or fails, by itself and by name.

use std::sync::Arc;

use super::Client;
use crate::engine::{Engine, EngineConfig};

async fn open_with(name: &str, state_memory_bytes: usize) -> Arc<Engine> {
    let config =
        EngineConfig { slots: 2, parallelism: 2, state_memory_bytes, ..EngineConfig::new(format!("memory://{name}")) };
    Engine::open(config).await.unwrap()
}

const SMALL: usize = 4 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_takes_more_memory_than_is_left_fails_alone() {
    let engine = open_with("memory_source", SMALL).await;
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE t (x INT)").await;
    client.tag("CREATE MATERIALIZED VIEW small AS SELECT sum(x) AS s FROM t").await;
    client
        .tag(
            "CREATE SOURCE numbers (id BIGINT) WITH (connector = 'datagen', fields.id.kind = 'sequence',
             fields.id.start = '1', fields.id.end = '1000000', 'rows-per-second' = '1000000')",
        )
        .await;
    client.tag("CREATE MATERIALIZED VIEW every AS SELECT id, count(*) AS n FROM numbers GROUP BY id").await;
    let error = engine.wait_ended().await.unwrap_err();
    assert!(format!("{error:?}").contains("out of memory for state"), "{error:?}");

    let failed = client.rows("SELECT relation, reason FROM millstream.jobs WHERE state = 'FAILED' ORDER BY 1").await;
    assert_eq!(failed.len(), 2, "the source and its view: {failed:?}");
    assert!(failed[0].contains("of 4.0 MiB"), "{failed:?}");
    // Its rows are gone, and that is said: an old answer would be a part of the truth.
    let error = client.error("SELECT count(*) FROM every").await;
    assert!(error.sqlstate == "55000" && error.message.contains("out of memory for state"), "{error:?}");
    client.tag("INSERT INTO t VALUES (1), (2)").await;
    assert_eq!(client.rows("SELECT * FROM small").await, ["3"], "the others run on");

    // What it held is given back, and the next one finds room.
    client.tag("DROP SOURCE numbers CASCADE").await;
    client.tag("CREATE MATERIALIZED VIEW other AS SELECT x, count(*) AS n FROM t GROUP BY x").await;
    assert_eq!(client.rows("SELECT * FROM other ORDER BY x").await, ["1|1", "2|1"]);
    assert_eq!(client.rows("SELECT DISTINCT state FROM millstream.jobs").await, ["RUNNING"]);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_does_not_fit_is_not_created() {
    let engine = open_with("memory_fill", SMALL).await;
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE t (x BIGINT)").await;
    client.tag("INSERT INTO t SELECT * FROM generate_series(1, 20000)").await;
    let error = client.error("CREATE MATERIALIZED VIEW wide AS SELECT x, repeat('y', 1000) AS y FROM t").await;
    assert_eq!(error.sqlstate, "53200", "{error:?}");
    assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("--state-memory-mib")), "{error:?}");
    assert_eq!(client.rows("SELECT relation, state FROM millstream.jobs").await, ["t|RUNNING"]);
    client.tag("CREATE MATERIALIZED VIEW narrow AS SELECT max(x) AS m FROM t").await;
    assert_eq!(client.rows("SELECT * FROM narrow").await, ["20000"]);
    let bytes = "SELECT min(state_bytes) > 0 FROM millstream.operators WHERE operator = 'Aggregate'";
    assert_eq!(client.rows(bytes).await, ["true"], "what an operator keeps can be asked");
    engine.stop().await;
}
