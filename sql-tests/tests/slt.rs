//! The files of `slt/`, each run three ways with one expected output: straight on one slot, straight on three,
//! and with the server killed and restored between every two records.

use std::path::{Path, PathBuf};

use futures::StreamExt;
use millstream::slt::{Options, run_file, summary};

/// Files at a time: most of a file is waiting for its server to start and to stop.
const FILES_AT_A_TIME: usize = 4;

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("slt");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.iter().all(|path| path.extension().is_some_and(|extension| extension == "slt")), "{files:?}");
    assert!(files.len() > 5, "the folder has {} files", files.len());
    files
}

async fn all_pass(options: Options) {
    let runs = files().into_iter().map(|path| {
        let options = options.clone();
        tokio::spawn(async move { run_file(&path, &options).await })
    });
    let mut runs = futures::stream::iter(runs).buffer_unordered(FILES_AT_A_TIME);
    let mut failures = String::new();
    while let Some(report) = runs.next().await {
        let report = report.unwrap();
        assert!(report.record_count > 0, "{} tests nothing", report.path.display());
        failures.push_str(&summary(&report));
    }
    assert!(failures.is_empty(), "\n{failures}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn files_pass_on_one_slot() {
    all_pass(Options { parallelism: 1, restart: false, update: false, color: false }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn files_pass_on_three_slots() {
    all_pass(Options { parallelism: 3, restart: false, update: false, color: false }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn files_do_not_notice_that_the_server_is_killed() {
    all_pass(Options { parallelism: 1, restart: true, update: false, color: false }).await;
}

#[test]
fn no_file_sleeps_or_tries_again() {
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let waits = text.lines().find(|line| {
            line.starts_with("sleep ")
                || (line.starts_with("query") || line.starts_with("statement")) && line.contains(" retry ")
        });
        assert_eq!(waits, None, "{}: reads see every write before them, FLUSH waits for sources", path.display());
    }
}
