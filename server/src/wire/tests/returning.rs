//! RETURNING whose rows can't be told: the statement fails as a whole, in whatever form its rows were to leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::TryStreamExt;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::raw::{RawClient, execute, message, parse, query, sync, tags};
use super::served::Served;
use crate::engine::limits::RETURNING_SLICE_ROWS;
use crate::engine::returning::RowsCheck;
use crate::session::Session;

/// Arrays of the rows 1 and 2 together have no binary form where their lengths differ: those of row 2.
const SETUP: &str = "CREATE TABLE t (id INT PRIMARY KEY, a INT[], b INT[]);
                     CREATE TABLE kept (id INT PRIMARY KEY, a INT[], b INT[]);
                     INSERT INTO kept VALUES (1, ARRAY[1], ARRAY[1]), (2, ARRAY[1], ARRAY[1, 2])";

const CHANGES: [&str; 3] = [
    "INSERT INTO t SELECT * FROM kept ORDER BY id RETURNING id, ARRAY[a, b]",
    "UPDATE kept SET id = id + 10 RETURNING id, ARRAY[a, b]",
    "DELETE FROM kept RETURNING id, ARRAY[a, b]",
];

async fn served() -> (Served, Client) {
    let server = Served::start().await;
    let client = server.client().await;
    client.batch_execute(SETUP).await.unwrap();
    (server, client)
}

async fn count(client: &Client, of: &str) -> i64 {
    client.query_one(&format!("SELECT count(*) FROM {of}"), &[]).await.unwrap().get(0)
}

fn code(error: &tokio_postgres::Error) -> &str {
    error.code().unwrap_or_else(|| panic!("{error}")).code()
}

/// What the setup has made and nothing else.
async fn untouched(client: &Client) {
    assert_eq!(count(client, "t").await, 0);
    assert_eq!(count(client, "kept WHERE id IN (1, 2)").await, 2);
    assert_eq!(count(client, "kept").await, 2);
}

/// Bind of the unnamed statement, all columns in the binary format.
fn bind_binary(portal: &str) -> Vec<u8> {
    message('B', format!("{portal}\0\0\0\0\0\0\0\x01\0\x01").as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_without_a_binary_form_fails_its_statement_and_nothing_stays() {
    let (_server, client) = served().await;
    for sql in CHANGES {
        let error = client.query(sql, &[]).await.unwrap_err();
        assert_eq!(code(&error), "0A000", "{sql}");
        untouched(&client).await;
    }
    // As text they can be told.
    let rows = client.simple_query(CHANGES[0]).await.unwrap();
    let row = rows.iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(1),
        _ => None,
    });
    assert_eq!(row.collect::<Vec<_>>(), ["{{1},{1}}", "{{1},{1,2}}"]);
    assert_eq!(count(&client, "t").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_can_not_be_computed_fails_its_statement_and_nothing_stays() {
    let (_server, client) = served().await;
    let per_row = "1 / (2 - id)";
    let asked = "(SELECT 1 / (2 - t.id) FROM kept WHERE kept.id = 1)";
    for of in [per_row, asked] {
        for sql in [
            format!("INSERT INTO t SELECT * FROM kept RETURNING {of}"),
            format!("COPY (INSERT INTO t SELECT * FROM kept RETURNING {of}) TO STDOUT"),
        ] {
            let error = client.batch_execute(&sql).await.unwrap_err();
            assert_eq!(code(&error), "22012", "{sql}");
            untouched(&client).await;
        }
    }
    for sql in ["UPDATE kept SET a = NULL RETURNING 1 / (2 - id)", "DELETE FROM kept RETURNING 1 / (2 - id)"] {
        assert_eq!(code(&client.batch_execute(sql).await.unwrap_err()), "22012", "{sql}");
        untouched(&client).await;
        assert_eq!(count(&client, "kept WHERE a IS NULL").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_transaction_it_fails_the_transaction_up_to_a_savepoint() {
    let (_server, client) = served().await;
    for sql in CHANGES {
        client.batch_execute("BEGIN; INSERT INTO t VALUES (7, NULL, NULL)").await.unwrap();
        assert_eq!(code(&client.query(sql, &[]).await.unwrap_err()), "0A000", "{sql}");
        assert_eq!(code(&client.batch_execute("SELECT 1").await.unwrap_err()), "25P02");
        client.batch_execute("COMMIT").await.unwrap();
        untouched(&client).await;
    }
    client.batch_execute("BEGIN; INSERT INTO t VALUES (7, NULL, NULL); SAVEPOINT s").await.unwrap();
    for sql in CHANGES {
        assert_eq!(code(&client.query(sql, &[]).await.unwrap_err()), "0A000", "{sql}");
        client.batch_execute("ROLLBACK TO s").await.unwrap();
    }
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(count(&client, "t").await, 1);
    assert_eq!(count(&client, "kept WHERE id IN (1, 2)").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_is_run_row_by_row_fails_at_once() {
    let (server, client) = served().await;
    let mut raw = RawClient::ready_at(server.address).await;
    for sql in CHANGES {
        // Alone before its Sync, and with a Flush that tells nothing of what follows.
        for behind in [sync(), message('H', b"")] {
            raw.send(&[parse("", sql), bind_binary("p"), execute("p", 1), behind.clone()].concat()).await;
            if behind != sync() {
                raw.send(&sync()).await;
            }
            let replies = raw.until_ready().await;
            assert_eq!(tags(&replies), "12EZ", "{sql}");
            assert_eq!(replies[2].sqlstate(), "0A000");
            untouched(&client).await;
        }
    }
    // One that can be told is told in parts, and is there when the first is.
    let sql = "INSERT INTO t SELECT * FROM kept ORDER BY id RETURNING id, a";
    raw.send(&[parse("", sql), bind_binary("p"), execute("p", 1), execute("p", 1), execute("p", 1), sync()].concat())
        .await;
    assert_eq!(tags(&raw.until_ready().await), "12DsDsCZ");
    assert_eq!(count(&client, "t").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_sql_fetches_from_is_held_to_its_own_formats() {
    let (server, client) = served().await;
    let mut raw = RawClient::ready_at(server.address).await;
    assert_eq!(raw.tags(&query("BEGIN")).await, "CZ");
    raw.send(&[parse("", CHANGES[0]), bind_binary("p"), parse("f", "FETCH ALL FROM p"), sync()].concat()).await;
    let replies = raw.until_ready().await;
    assert_eq!(tags(&replies), "12EZ");
    assert_eq!(replies[2].sqlstate(), "0A000");
    assert_eq!(raw.tags(&query("COMMIT")).await, "CZ");
    untouched(&client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_what_is_returned_fails_before_it_begins() {
    let (_server, client) = served().await;
    for sql in CHANGES {
        let copy = format!("COPY ({sql}) TO STDOUT (FORMAT binary)");
        let failed = match client.copy_out(&copy).await {
            Ok(rows) => rows.try_collect::<Vec<Bytes>>().await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(code(&failed), "0A000", "{sql}");
        untouched(&client).await;
    }
    let columns = vec!["id"; 1_700].join(", ");
    let wide = format!("COPY (INSERT INTO t SELECT * FROM kept RETURNING {columns}) TO STDOUT");
    assert_eq!(code(&client.batch_execute(&wide).await.unwrap_err()), "54000");
    untouched(&client).await;
    let rows: Vec<Bytes> =
        client.copy_out(&format!("COPY ({}) TO STDOUT", CHANGES[0])).await.unwrap().try_collect().await.unwrap();
    assert_eq!(rows.concat(), b"1\t{{1},{1}}\n2\t{{1},{1,2}}\n");
    assert_eq!(count(&client, "t").await, 2);
}

/// A cancel that comes while rows are looked through: the second slice is never reached.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_among_the_rows_of_returning_leaves_nothing() {
    let (server, client) = served().await;
    let rows = RETURNING_SLICE_ROWS * 3;
    let inserts = [
        format!("INSERT INTO t SELECT v, NULL, NULL FROM generate_series(1, {rows}) g(v) RETURNING id"),
        format!(
            "INSERT INTO t SELECT v, NULL, NULL FROM generate_series(1, {rows}) g(v) RETURNING id, (SELECT max(id) FROM kept)"
        ),
    ];
    for sql in &inserts {
        for in_transaction in [false, true] {
            let mut session = Session::new(Arc::clone(&server.engine), "db");
            if in_transaction {
                run(&mut session, "BEGIN", None, CancellationToken::new()).await.unwrap();
            }
            let (cancel, seen) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
            let (canceled, looked_at) = (cancel.clone(), Arc::clone(&seen));
            let check: RowsCheck = Arc::new(move |batch: &RecordBatch| {
                looked_at.fetch_add(batch.num_rows(), Ordering::SeqCst);
                canceled.cancel();
                Ok(())
            });
            let error = run(&mut session, sql, Some(check), cancel).await.unwrap_err();
            assert_eq!(error.sqlstate, "57014", "{sql}");
            assert_eq!(seen.load(Ordering::SeqCst), RETURNING_SLICE_ROWS, "{sql}");
            if in_transaction {
                run(&mut session, "COMMIT", None, CancellationToken::new()).await.unwrap();
            }
            untouched(&client).await;
        }
    }
}

async fn run(
    session: &mut Session,
    sql: &str,
    check: Option<RowsCheck>,
    cancel: CancellationToken,
) -> Result<(), crate::session::SqlError> {
    let texts = session.split(sql)?;
    let prepared = session.prepare(&texts[0], &[]).await?;
    session.execute_for(&prepared, Vec::new(), check, cancel).await.map(drop)
}
