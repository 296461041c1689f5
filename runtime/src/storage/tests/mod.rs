//! The storage under attack: lost answers, deaths at every write, servers that come too late, damaged bytes.

#![allow(clippy::unwrap_used)]

mod checkpoints;
mod crashes;
mod faults;
mod histories;
mod ownership;
mod s3;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use object_store::memory::InMemory;

use self::faults::FaultyStore;
use super::backend::{Backend, Timing};
use super::*;
use crate::batch::ChangeBatch;

/// Repeats at once and never looks by itself.
const QUICK: Timing = Timing {
    retry_first: Duration::from_micros(100),
    retry_most: Duration::from_micros(200),
    look_every: Duration::from_secs(86_400),
    open_patience: Duration::from_millis(100),
};

/// A server over a store, not the owner yet.
async fn server_over(store: Arc<FaultyStore>) -> Arc<Storage> {
    Storage::open_over(Backend::over(store, QUICK)).await.unwrap()
}

/// A server with a store of its own before the memory that all share, not the owner yet.
async fn server(memory: &Arc<InMemory>) -> (Arc<Storage>, Arc<FaultyStore>) {
    let store = FaultyStore::over(memory);
    (server_over(Arc::clone(&store)).await, store)
}

/// A commit that can be told from any other.
fn commit(tag: i64) -> Vec<Record> {
    vec![Record::Ddl(DdlRecord {
        sql: tag.to_string(),
        settings: serde_json::Value::Null,
        relations: Vec::new(),
        detail: serde_json::Value::Null,
    })]
}

/// A commit of rows of one relation.
fn rows(relation: u32, values: Vec<i64>) -> Record {
    let batch = RecordBatch::try_from_iter([("v", Arc::new(Int64Array::from(values)) as ArrayRef)]).unwrap();
    let changes = vec![ChangeBatch::append(batch)];
    Record::Rows(RowsRecord { relation: RelationId(relation), late: false, changes, stored: None, watermark: None })
}

/// The values in a record of rows.
fn values(rows: &RowsRecord) -> Vec<i64> {
    let mut values = Vec::new();
    for change in &rows.changes {
        let column = change.rows.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
        values.extend(column.values());
    }
    values
}

/// The tags of the commits in some entries.
fn tags(entries: &[(LogPosition, Vec<Record>)]) -> Vec<i64> {
    let records = entries.iter().flat_map(|(_, records)| records);
    records.filter_map(|record| if let Record::Ddl(ddl) = record { ddl.sql.parse().ok() } else { None }).collect()
}

/// The tags that a new owner sees: those in the snapshot, which `snapshot_of` makes, then those behind it.
fn all_tags(recovered: &Recovered) -> Vec<i64> {
    let snapshot = recovered.snapshot.as_ref().map(|snapshot| snapshot.catalog.clone());
    let mut all: Vec<i64> = snapshot.map_or(Vec::new(), |catalog| serde_json::from_value(catalog).unwrap());
    all.extend(tags(&recovered.entries));
    all
}

/// A snapshot that knows the commits with these tags.
fn snapshot_of(tags: &[i64]) -> Snapshot {
    Snapshot { catalog: serde_json::json!(tags), ..Snapshot::default() }
}
