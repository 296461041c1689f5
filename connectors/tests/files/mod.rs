//! The file connector over a real object store.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use futures::{StreamExt, TryStreamExt};
use millstream_connectors::file;
use millstream_runtime::ErrorKind;
use millstream_runtime::batch::ChangeBatch;
use millstream_runtime::sink::SinkIdentity;
use millstream_runtime::source::{ColumnOrigin, ConnectorSpec, FormatSpec, Position, SourceEvent, SplitRange};
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;

use crate::kafka::skipped;

/// A prefix that nobody else has, or a line on stderr that says that the test is skipped.
fn prefix() -> Option<String> {
    match std::env::var("MILLSTREAM_TEST_S3") {
        Ok(root) => Some(format!("{}/files-{}", root.trim_end_matches('/'), uuid::Uuid::new_v4())),
        Err(_) => {
            skipped("MILLSTREAM_TEST_S3 names no bucket");
            None
        }
    }
}

/// Leaves nothing behind in the bucket.
async fn delete(prefix: &str) {
    let store = AmazonS3Builder::from_env().with_url(prefix).build().unwrap();
    let folder = prefix.trim_start_matches("s3://").split_once('/').unwrap().1;
    let paths = store.list(Some(&folder.into())).map_ok(|file| file.location).boxed();
    store.delete_stream(paths).try_collect::<Vec<_>>().await.unwrap();
}

fn spec(path: &str, encode: &str) -> ConnectorSpec {
    ConnectorSpec {
        relation: "r".into(),
        connector: "file".into(),
        options: BTreeMap::from([("path".to_string(), path.to_string())]),
        format: Some(FormatSpec { format: "PLAIN".into(), encode: encode.into(), options: BTreeMap::new() }),
        schema: Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false)])),
        origins: vec![ColumnOrigin::Field],
        primary_key: Vec::new(),
        keeps_raw: false,
    }
}

fn rows(values: std::ops::Range<i64>) -> ChangeBatch {
    let schema = spec("", "").schema;
    ChangeBatch::append(RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(values))]).unwrap())
}

#[tokio::test]
async fn what_is_published_to_a_bucket_is_read_from_it() {
    let Some(prefix) = prefix() else { return };
    let identity = SinkIdentity { id: "k1".into(), timeline: 0 };
    for encode in ["JSON", "CSV", "PARQUET"] {
        let path = format!("{prefix}/{encode}");
        let sink = file::sink(&spec(&path, encode)).unwrap();
        let mut publisher = sink.open(&identity).await.unwrap();
        assert_eq!(publisher.progress().await.unwrap(), None);
        for (sequence, values) in [(1, 0..300_000), (2, 300_000..300_010), (2, 300_000..300_010)] {
            publisher.publish(sequence, &[sink.encode(&rows(values)).unwrap().payload]).await.unwrap();
        }
        assert_eq!(sink.open(&identity).await.unwrap().progress().await.unwrap(), Some(2));

        let source = file::source(&spec(&format!("{path}/k1-*"), encode)).unwrap();
        let splits = source.splits().await.unwrap();
        assert_eq!(splits.len(), 2);
        let ranges = splits.into_iter().map(|split| SplitRange { from: Position(0), until: None, split });
        let mut reader = source.open(ranges.collect(), vec![0]).await.unwrap();
        let mut read = Vec::new();
        while let Some(event) = reader.next().await.unwrap() {
            if let SourceEvent::Batch(batch) = event {
                read.extend_from_slice(batch.rows.column(0).as_primitive::<Int64Type>().values());
            }
        }
        read.sort_unstable();
        assert_eq!(read, (0..300_010).collect::<Vec<_>>(), "{encode}");
    }
    delete(&prefix).await;
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_unavailable() {
    if prefix().is_none() {
        return;
    }
    let source = file::source(&spec("s3://no-such-bucket-here/x/*.json", "JSON")).unwrap();
    let started = std::time::Instant::now();
    let error = source.splits().await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Data), "{error}");
    assert!(started.elapsed().as_secs() < 11);
}
