//! Durable commits per second: records of one row each, appended to the log by several callers at a time.
//!
//! Callers that wait together share an entry of the log, so that the rate grows with their number. In memory, in a
//! directory (every entry is synced), and in the bucket that `MILLSTREAM_TEST_S3` names, where what was written
//! stays behind under the prefix that the table shows.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use millstream_runtime::batch::ChangeBatch;
use millstream_runtime::plan::RelationId;
use millstream_runtime::storage::{Record, RowsRecord, Storage};
use millstream_sql_tests::process;

/// Callers at a time.
const CALLERS: [usize; 3] = [1, 32, 256];

fn row(value: i64) -> Record {
    let column = Arc::new(Int64Array::from(vec![value])) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("v", column)]).unwrap();
    let changes = vec![ChangeBatch::append(batch)];
    Record::Rows(RowsRecord { relation: RelationId(1), late: false, changes, stored: None, watermark: None })
}

/// The seconds that it takes `callers` to make `commits` in all, one after the other each.
async fn seconds(storage: &Arc<Storage>, callers: usize, commits: usize) -> f64 {
    let started = Instant::now();
    let tasks = (0..callers).map(|_| {
        let storage = Arc::clone(storage);
        tokio::spawn(async move {
            for value in 0..commits / callers {
                storage.append(vec![row(value as i64)]).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    started.elapsed().as_secs_f64()
}

#[tokio::main]
async fn main() {
    let commits: usize = process::option("--commits", 10_240);
    let folder = tempfile::tempdir().unwrap();
    let mut roots = vec!["memory://".to_owned(), folder.path().display().to_string()];
    if let Ok(bucket) = std::env::var("MILLSTREAM_TEST_S3") {
        roots.push(format!("{}/commits-{}", bucket.trim_end_matches('/'), std::process::id()));
    }
    println!("{:<44}{:>9}{:>11}{:>12}{:>15}", "storage", "callers", "commits", "commits/s", "commits/entry");
    for root in roots {
        let storage = Storage::open(&root).await.unwrap();
        storage.recover().await.unwrap();
        for callers in CALLERS {
            // One caller waits for every commit: a thirty-second of them says as much.
            let commits = if callers == 1 { commits / 32 } else { commits } / callers * callers;
            let before = storage.last_position();
            let seconds = seconds(&storage, callers, commits).await;
            let entries = storage.last_position().0 - before.0;
            let (rate, shared) = (commits as f64 / seconds, commits as f64 / entries as f64);
            println!("{root:<44}{callers:>9}{commits:>11}{rate:>12.0}{shared:>15.1}");
        }
    }
}
