//! The same against a real S3 store, when `AWS_ENDPOINT_URL` and `MILLSTREAM_TEST_S3` name one.

use object_store::aws::AmazonS3Builder;

use super::*;
use crate::error::ErrorKind;
use crate::graph::GraphId;
use crate::operator::{SnapshotKind, StatePart};

/// A root of its own below the bucket that the environment names.
fn root() -> Option<String> {
    let bucket = std::env::var("MILLSTREAM_TEST_S3").ok().filter(|_| std::env::var("AWS_ENDPOINT_URL").is_ok());
    if bucket.is_none() {
        eprintln!("SKIPPED: no S3 store is named by AWS_ENDPOINT_URL and MILLSTREAM_TEST_S3");
    }
    Some(format!("{}/storage-test-{}", bucket?.trim_end_matches('/'), uuid::Uuid::new_v4()))
}

/// Leaves nothing behind in a bucket that others use, too.
pub(super) async fn remove_everything(storage: &Storage) {
    for folder in ["log", "snapshot", "rows", "graph"] {
        let listed = storage.backend.list(folder, None).await.unwrap();
        storage.backend.delete(listed.into_iter().map(|listed| listed.name).collect()).await.unwrap();
    }
    storage.backend.delete(vec![names::FORMAT.to_owned()]).await.unwrap();
}

#[tokio::test]
async fn the_log_and_checkpoints_live_on_s3() {
    let Some(root) = root() else { return };
    let a = Storage::open(&root).await.unwrap();
    a.recover().await.unwrap();
    let positions = futures::future::join_all((1..=20).map(|tag| a.append(commit(tag)))).await;
    assert!(positions.iter().all(Result::is_ok), "{positions:?}");
    let large: Vec<i64> = (0..400_000_i64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64)).collect();
    let position = a.append(vec![rows(1, large.clone())]).await.unwrap();
    let relations = BTreeSet::from([RelationId(1)]);
    let read = a.read_rows(LogPosition(0), position, &relations).await.unwrap();
    assert_eq!(values(&read[0].1[0]), large);

    // An object of several parts.
    let count = i64::try_from(limits::UPLOAD_PART_BYTES / 4).unwrap();
    let noise =
        Int64Array::from((0..count).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64)).collect::<Vec<_>>());
    let rows = RecordBatch::try_from_iter([("v", Arc::new(noise) as ArrayRef)]).unwrap();
    let part = StatePart { table: "t".into(), kind: SnapshotKind::Full, rows };
    let object = a.write_state(GraphId(1), std::slice::from_ref(&part)).await.unwrap();
    assert!(object.bytes > limits::UPLOAD_PART_BYTES as u64);
    assert_eq!(a.read_state(&object).await.unwrap()[0].rows, part.rows);
    let manifest = checkpoints::manifest_of(GraphId(1), vec![object]);
    let checkpoint = a.write_manifest(GraphId(1), &manifest).await.unwrap();

    a.write_snapshot(position, &snapshot_of(&(1..=20).collect::<Vec<_>>())).await.unwrap();
    a.trim(position).await.unwrap();
    let b = Storage::open(&root).await.unwrap();
    let recovered = b.recover().await.unwrap();
    assert_eq!(all_tags(&recovered), (1..=20).collect::<Vec<_>>());
    assert_eq!(b.collect(std::slice::from_ref(&checkpoint)).await.unwrap().objects, 0);
    assert_eq!(a.append(commit(99)).await.unwrap_err().kind, ErrorKind::Fenced);
    assert_eq!(b.collect(&[]).await.unwrap().objects, 2);
    remove_everything(&b).await;
}

#[tokio::test]
async fn the_create_of_an_entry_has_one_winner_on_s3() {
    let Some(root) = root() else { return };
    let storage = Storage::open(&root).await.unwrap();
    let creates = (0..8).map(|n| storage.backend.create_entry("log/x", format!("writer {n}").into()));
    let answers = futures::future::join_all(creates).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    remove_everything(&storage).await;
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_a_clear_error_at_once() {
    let Some(root) = root() else { return };
    let error = Storage::open(&root.replacen("s3://", "s3://no-such-", 1)).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(error.message.contains("s3://no-such-"), "{error}");
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_is_a_clear_error_in_time() {
    let nobody = AmazonS3Builder::new()
        .with_endpoint("http://127.0.0.1:1")
        .with_allow_http(true)
        .with_access_key_id("key")
        .with_secret_access_key("geheim");
    let backend = Backend::s3(nobody, "s3://bucket/prefix", "bucket/prefix", QUICK).unwrap();
    let error = Storage::open_over(backend).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(error.message.contains("s3://bucket/prefix"), "{error}");
    assert!(!error.to_string().contains("geheim"), "{error}");
}
