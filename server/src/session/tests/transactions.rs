//! Transactions from inside: rows that come in slices, and what other sessions and a restart see of them.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use millstream_runtime::plan::RelationId;

use super::{CancellationToken, Client, open};
use crate::session::SqlError;

/// Rows of `(id INT, note TEXT)` with long notes, which nothing makes shorter.
fn slice(from: i32, rows: i32) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int32Array::from_iter_values(from..from + rows));
    let noise = |id: i32| {
        (0..120).map(|word| format!("{:x}", id.wrapping_mul(0x9E37_79B1_u32 as i32).wrapping_mul(word + 1))).collect()
    };
    let notes: ArrayRef =
        Arc::new(StringArray::from_iter_values((from..from + rows).map(|id| -> String { noise(id) })));
    let fields = vec![Field::new("id", DataType::Int32, true), Field::new("note", DataType::Utf8, true)];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![ids, notes]).unwrap()
}

impl Client {
    fn table(&self, name: &str) -> RelationId {
        let state = self.0.engine.state();
        let found = state.catalog.view.relations().find(|relation| relation.name.name == name);
        found.unwrap().id
    }

    async fn append(&mut self, table: RelationId, rows: &RecordBatch) -> Result<usize, SqlError> {
        Ok(self.0.append_rows(table, rows, CancellationToken::new()).await?.rows)
    }

    async fn sync(&mut self) -> Result<(), SqlError> {
        self.0.sync(CancellationToken::new()).await.map(drop)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_come_in_slices_are_one_commit() {
    for key in ["", " PRIMARY KEY"] {
        let name = format!("slices_{}", key.len());
        let engine = open(&name).await;
        let (mut client, mut other) = (Client::new(&engine), Client::new(&engine));
        client.tag(&format!("CREATE TABLE t (id INT{key}, note TEXT)")).await;
        client.tag("CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n, max(id) AS top FROM t").await;
        let table = client.table("t");
        // Each slice is of about 4 MiB: several of them go to the storage before the end.
        for number in 0..9 {
            assert_eq!(client.append(table, &slice(number * 4_000, 4_000)).await.unwrap(), 4_000);
        }
        assert_eq!(other.rows("SELECT count(*) FROM t").await, ["0"]);
        assert_eq!(client.rows("SELECT count(*), max(id) FROM t").await, ["36000|35999"]);
        client.sync().await.unwrap();
        assert_eq!(other.rows("SELECT * FROM m").await, ["36000|35999"]);

        // A slice that fails leaves nothing of any, and objects that nobody names go.
        for number in 10..16 {
            client.append(table, &slice(number * 4_000, 4_000)).await.unwrap();
        }
        let ids: ArrayRef = Arc::new(StringArray::from(vec!["no number"]));
        let wrong = RecordBatch::try_from_iter([("id", Arc::clone(&ids)), ("note", ids)]).unwrap();
        assert!(client.append(table, &wrong).await.is_err());
        client.sync().await.unwrap();
        assert_eq!(other.rows("SELECT * FROM m").await, ["36000|35999"]);
        client.tag("INSERT INTO t VALUES (-1, 'behind')").await;
        engine.stop().await;
        drop((client, other));

        let engine = open(&name).await;
        let mut client = Client::new(&engine);
        assert_eq!(
            client.rows("SELECT count(*), count(DISTINCT id), sum(length(note)) > 0 FROM t").await,
            ["36001|36001|true"]
        );
        assert_eq!(client.rows("SELECT * FROM m").await, ["36001|35999"]);
        engine.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn savepoints_reach_into_rows_that_are_stored_already() {
    let engine = open("slices_savepoint").await;
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE t (id INT PRIMARY KEY, note TEXT)").await;
    let table = client.table("t");
    client.tag("BEGIN").await;
    client.append(table, &slice(0, 20_000)).await.unwrap();
    client.append(table, &slice(20_000, 1)).await.unwrap();
    client.tag("SAVEPOINT s").await;
    client.append(table, &slice(30_000, 20_000)).await.unwrap();
    assert_eq!(client.append(table, &slice(0, 1)).await.unwrap_err().sqlstate, "23505");
    client.tag("ROLLBACK TO s").await;
    client.append(table, &slice(30_000, 2)).await.unwrap();
    client.tag("COMMIT").await;
    assert_eq!(client.rows("SELECT count(*), max(id) FROM t").await, ["20003|30001"]);
    // With a row that is taken back, what is stored is not what is committed.
    client.tag("BEGIN").await;
    client.append(table, &slice(60_000, 20_000)).await.unwrap();
    assert_eq!(client.tag("DELETE FROM t WHERE id >= 70000").await, "DELETE 10000");
    client.tag("COMMIT").await;
    engine.stop().await;
    drop(client);

    let engine = open("slices_savepoint").await;
    let mut client = Client::new(&engine);
    assert_eq!(client.rows("SELECT count(*), max(id) FROM t").await, ["30003|69999"]);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_are_tagged_as_they_were_written() {
    let engine = open("tags").await;
    let mut client = Client::new(&engine);
    assert_eq!(client.tag("START TRANSACTION READ ONLY").await, "START TRANSACTION");
    assert_eq!(client.tag("SET CONSTRAINTS ALL IMMEDIATE").await, "SET CONSTRAINTS");
    assert_eq!(client.tag("COMMIT").await, "COMMIT");
    assert_eq!(client.tag("BEGIN").await, "BEGIN");
    assert_eq!(client.tag("ROLLBACK").await, "ROLLBACK");
    engine.stop().await;
}
