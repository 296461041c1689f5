//! Measures, does not judge: `cargo test -p millstream-runtime --lib storage::tests::speed -- --ignored --nocapture`.

use std::time::Instant;

use super::*;

async fn commits_per_second(storage: &Arc<Storage>, callers: usize, each: usize) -> f64 {
    let started = Instant::now();
    let tasks = (0..callers).map(|_| {
        let storage = Arc::clone(storage);
        tokio::spawn(async move {
            for n in 0..each {
                storage.append(vec![rows(1, vec![i64::try_from(n).unwrap()])]).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    (callers * each) as f64 / started.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, does not judge"]
async fn small_commits_per_second() {
    let folder = tempfile::tempdir().unwrap();
    let mut roots = vec!["memory://".to_owned(), folder.path().display().to_string()];
    if let Ok(bucket) = std::env::var("MILLSTREAM_TEST_S3") {
        roots.push(format!("{}/speed-{}", bucket.trim_end_matches('/'), uuid::Uuid::new_v4()));
    }
    for root in roots {
        let storage = Storage::open(&root).await.unwrap();
        storage.recover().await.unwrap();
        for (callers, each) in [(1, 300), (32, 100), (256, 50)] {
            let before = storage.last_position();
            let rate = commits_per_second(&storage, callers, each).await;
            let entries = storage.last_position().0 - before.0;
            eprintln!("{root}: {callers} callers: {rate:.0} commits/s in {entries} entries");
        }
        s3::remove_everything(&storage).await;
    }
}
