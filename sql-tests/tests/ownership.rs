//! Who owns a storage.

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
