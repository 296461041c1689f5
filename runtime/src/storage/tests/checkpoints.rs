//! State objects, manifests, and what a collection may delete.

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::faults::{Fault, Request};
use super::*;
use crate::error::ErrorKind;
use crate::graph::GraphId;
use crate::operator::{SnapshotKind, StatePart};
use crate::time::{Epoch, Stamp};

const GRAPH: GraphId = GraphId(3);

/// A manifest over some objects.
pub(super) fn manifest_of(graph: GraphId, objects: Vec<ObjectRef>) -> Manifest {
    Manifest {
        format: MANIFEST_FORMAT,
        graph,
        epoch: Epoch { term: 1, counter: 5 },
        stamp: Stamp(77),
        log_position: LogPosition(2),
        sections: vec![Section { name: "v/2".into(), fingerprint: "f00".into(), objects }],
        inputs: serde_json::json!({"bids": {"0": 12}}),
        sinks: serde_json::Value::Null,
    }
}

fn part(table: &str, kind: SnapshotKind, count: i64) -> StatePart {
    let values = Int64Array::from((0..count).collect::<Vec<_>>());
    let rows = RecordBatch::try_from_iter([(table, Arc::new(values) as ArrayRef)]).unwrap();
    StatePart { table: table.into(), kind, rows }
}

async fn owner() -> (Arc<Storage>, Arc<FaultyStore>, Arc<InMemory>) {
    let memory = Arc::new(InMemory::new());
    let (storage, store) = server(&memory).await;
    storage.recover().await.unwrap();
    (storage, store, memory)
}

#[tokio::test]
async fn a_checkpoint_is_read_back_as_it_was_written() {
    let (storage, _, _) = owner().await;
    let parts = [
        part("groups", SnapshotKind::Full, 10_000),
        part("empty", SnapshotKind::Delta, 0),
        part("few", SnapshotKind::Delta, 3),
    ];
    let object = storage.write_state(GRAPH, &parts).await.unwrap();
    assert_eq!(object.rows, 10_003);
    assert!(object.path.starts_with("graph/3/1-"), "{}", object.path);
    let manifest = manifest_of(GRAPH, vec![object.clone()]);
    let checkpoint = storage.write_manifest(GRAPH, &manifest).await.unwrap();
    assert_eq!(storage.read_manifest(&checkpoint).await.unwrap(), manifest);
    let read = storage.read_state(&object).await.unwrap();
    assert_eq!(read.len(), parts.len());
    for (read, written) in read.iter().zip(&parts) {
        assert_eq!((&read.table, read.kind, &read.rows), (&written.table, written.kind, &written.rows));
    }
}

#[tokio::test]
async fn a_slice_of_a_table_is_stored_as_the_slice() {
    let (storage, _, _) = owner().await;
    let mut part = part("groups", SnapshotKind::Full, 100_000);
    part.rows = part.rows.slice(50_000, 10);
    let object = storage.write_state(GRAPH, &[part.clone()]).await.unwrap();
    assert!(object.bytes < 2_000, "{} bytes", object.bytes);
    assert_eq!(storage.read_state(&object).await.unwrap()[0].rows, part.rows);
}

#[tokio::test]
async fn damaged_and_missing_objects_are_named() {
    let (storage, _, memory) = owner().await;
    let object = storage.write_state(GRAPH, &[part("t", SnapshotKind::Full, 5)]).await.unwrap();
    let checkpoint = storage.write_manifest(GRAPH, &manifest_of(GRAPH, vec![object.clone()])).await.unwrap();
    for name in [&object.path, &checkpoint.manifest] {
        let path = Path::from(name.as_str());
        let whole = memory.get(&path).await.unwrap().bytes().await.unwrap();
        let mut flipped = whole.to_vec();
        flipped[whole.len() / 2] ^= 4;
        let cases = [Some(flipped), Some(whole[..whole.len() - 1].to_vec()), Some(Vec::new()), None];
        for bytes in cases {
            match bytes {
                Some(bytes) => drop(memory.put(&path, bytes.into()).await.unwrap()),
                None => memory.delete(&path).await.unwrap(),
            }
            let error = if *name == object.path {
                storage.read_state(&object).await.unwrap_err()
            } else {
                storage.read_manifest(&checkpoint).await.unwrap_err()
            };
            assert_eq!(error.kind, ErrorKind::Data, "{error}");
            assert!(error.message.contains(name.as_str()), "{error}");
        }
        memory.put(&path, whole.into()).await.unwrap();
    }
    storage.read_manifest(&checkpoint).await.unwrap();
    storage.read_state(&object).await.unwrap();
}

#[tokio::test]
async fn a_store_that_is_away_is_no_damage() {
    let (storage, store, _) = owner().await;
    let object = storage.write_state(GRAPH, &[part("t", SnapshotKind::Full, 5)]).await.unwrap();
    store.fault(Request::Get, "graph/", Fault::Lost);
    assert_eq!(storage.read_state(&object).await.unwrap_err().kind, ErrorKind::Unavailable);
    storage.read_state(&object).await.unwrap();
}

/// The names of all objects under graph/ and rows/.
async fn objects(memory: &InMemory) -> BTreeSet<String> {
    let all = memory.list(None).try_collect::<Vec<_>>().await.unwrap();
    let names = all.into_iter().map(|meta| meta.location.to_string());
    names.filter(|name| name.starts_with("graph/") || name.starts_with("rows/")).collect()
}

#[tokio::test]
async fn a_collection_takes_what_is_given_up_and_nothing_that_is_under_way() {
    let (storage, _, memory) = owner().await;
    let write = async |count| storage.write_state(GRAPH, &[part("t", SnapshotKind::Full, count)]).await.unwrap();
    let (base, delta) = (write(1).await, write(2).await);
    let first = storage.write_manifest(GRAPH, &manifest_of(GRAPH, vec![base.clone()])).await.unwrap();
    let second = manifest_of(GRAPH, vec![base.clone(), delta.clone()]);
    let second = storage.write_manifest(GRAPH, &second).await.unwrap();
    let under_way = write(3).await;
    assert_eq!(storage.collect(std::slice::from_ref(&first)).await.unwrap(), Collected::default());
    // The second checkpoint is committed: the first one's manifest goes, the base is still named.
    assert_eq!(storage.collect(std::slice::from_ref(&second)).await.unwrap().objects, 1);
    let left = BTreeSet::from([&base.path, &delta.path, &second.manifest, &under_way.path].map(Clone::clone));
    assert_eq!(objects(&memory).await, left);
    storage.give_up([&under_way]);
    assert_eq!(storage.collect(std::slice::from_ref(&second)).await.unwrap().objects, 1);
    // A savepoint keeps what it names, whatever else is collected.
    let folded = write(4).await;
    let third = storage.write_manifest(GRAPH, &manifest_of(GRAPH, vec![folded.clone()])).await.unwrap();
    assert_eq!(storage.collect(&[second.clone(), third.clone()]).await.unwrap().objects, 0);
    assert_eq!(storage.collect(std::slice::from_ref(&third)).await.unwrap().objects, 3);
    assert_eq!(objects(&memory).await, BTreeSet::from([folded.path, third.manifest]));
}

#[tokio::test]
async fn checkpoints_that_no_collection_has_seen_go_too_and_new_ones_are_safe() {
    let (storage, _, memory) = owner().await;
    let checkpoint = async |count| {
        let object = storage.write_state(GRAPH, &[part("t", SnapshotKind::Full, count)]).await.unwrap();
        let checkpoint = storage.write_manifest(GRAPH, &manifest_of(GRAPH, vec![object.clone()])).await.unwrap();
        let epoch = Epoch { term: 1, counter: count.cast_unsigned() };
        let record = CheckpointRecord { graph: GRAPH, checkpoint, epoch, log_position: LogPosition(1) };
        storage.append(vec![Record::Checkpoint(record.clone())]).await.unwrap();
        (object.path, record.checkpoint)
    };
    let first = checkpoint(1).await;
    // What is retained was put together before the second one was committed.
    let retained = [first.1.clone()];
    let second = checkpoint(2).await;
    let third = checkpoint(3).await;
    assert_eq!(storage.collect(&retained).await.unwrap().objects, 0);
    // The first and the second, each with its manifest, go; no collection was ever told of the second.
    assert_eq!(storage.collect(std::slice::from_ref(&third.1)).await.unwrap().objects, 4);
    assert_eq!(objects(&memory).await, BTreeSet::from([third.0, third.1.manifest]));
    assert!(!objects(&memory).await.contains(&second.0));
}

#[tokio::test]
async fn the_next_owner_collects_what_its_predecessor_left_lying() {
    let (storage, _, memory) = owner().await;
    let kept = storage.write_state(GRAPH, &[part("t", SnapshotKind::Full, 1)]).await.unwrap();
    let checkpoint = storage.write_manifest(GRAPH, &manifest_of(GRAPH, vec![kept.clone()])).await.unwrap();
    storage.write_state(GRAPH, &[part("t", SnapshotKind::Full, 2)]).await.unwrap();
    let (next, _) = server(&memory).await;
    next.recover().await.unwrap();
    let own = next.write_state(GRAPH, &[part("t", SnapshotKind::Full, 3)]).await.unwrap();
    assert_eq!(next.collect(std::slice::from_ref(&checkpoint)).await.unwrap().objects, 1);
    assert_eq!(objects(&memory).await, BTreeSet::from([kept.path, checkpoint.manifest, own.path]));
}

#[tokio::test]
async fn rows_objects_go_with_the_entries_that_name_them() {
    let (storage, _, memory) = owner().await;
    let large = || vec![rows(1, (0..400_000_i64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64)).collect())];
    for _ in 0..3 {
        storage.append(large()).await.unwrap();
    }
    storage.write_snapshot(LogPosition(4), &Snapshot::default()).await.unwrap();
    storage.trim(LogPosition(2)).await.unwrap();
    assert_eq!(storage.collect(&[]).await.unwrap().objects, 1);
    // The next owner has not read the entries before the snapshot, and still keeps their rows.
    let (next, _) = server(&memory).await;
    next.recover().await.unwrap();
    assert_eq!(next.collect(&[]).await.unwrap().objects, 0);
    let relations = BTreeSet::from([RelationId(1)]);
    assert_eq!(next.read_rows(LogPosition(2), LogPosition(4), &relations).await.unwrap().len(), 2);
    let error = next.read_rows(LogPosition(1), LogPosition(4), &relations).await.unwrap_err();
    assert!(error.message.contains(&names::entry(LogPosition(2))), "{error}");
    next.append(commit(1)).await.unwrap();
    next.write_snapshot(LogPosition(6), &Snapshot::default()).await.unwrap();
    next.trim(LogPosition(5)).await.unwrap();
    assert_eq!(next.collect(&[]).await.unwrap().objects, 2);
    assert!(objects(&memory).await.is_empty());
}

#[tokio::test]
async fn rows_that_were_written_before_their_commit_count_with_it() {
    let (storage, _, memory) = owner().await;
    let changes = |tag: i64| {
        let Record::Rows(record) = rows(1, vec![tag, tag + 1]) else { panic!("rows") };
        record.changes
    };
    let named = storage.write_rows(changes(10)).await.unwrap();
    let dropped = storage.write_rows(changes(20)).await.unwrap();
    let held = storage.write_rows(changes(30)).await.unwrap();
    drop(dropped);
    let Record::Rows(empty) = rows(1, Vec::new()) else { panic!("rows") };
    let record = RowsRecord { changes: Vec::new(), stored: Some(named), ..empty };
    let position = storage.append(vec![Record::Rows(record), rows(1, vec![7])]).await.unwrap();
    assert_eq!(storage.collect(&[]).await.unwrap().objects, 1, "only what was given up goes");
    let relations = BTreeSet::from([RelationId(1)]);
    let before = LogPosition(position.0 - 1);
    let read = storage.read_rows(before, position, &relations).await.unwrap();
    let found: Vec<Vec<i64>> = read[0].1.iter().map(values).collect();
    assert_eq!(found, [vec![10, 11], vec![7]]);
    // A server that dies leaves what it has not committed to the next one.
    let (next, _) = server(&memory).await;
    next.recover().await.unwrap();
    assert_eq!(next.collect(&[]).await.unwrap().objects, 1);
    drop(held);
    assert_eq!(next.read_rows(before, position, &relations).await.unwrap().len(), 1);
}

/// What the engine and the graph spawn must be able to move between threads.
#[test]
fn futures_are_send() {
    fn send<T: Send>(_: T) {}
    fn all(storage: &Storage, object: &ObjectRef, checkpoint: &CheckpointRef, manifest: &Manifest) {
        send(storage.recover());
        send(storage.append(Vec::new()));
        send(storage.fenced());
        send(storage.confirm_ownership());
        let relations = BTreeSet::new();
        send(storage.read_rows(LogPosition(0), LogPosition(0), &relations));
        send(storage.write_snapshot(LogPosition(0), &Snapshot::default()));
        send(storage.trim(LogPosition(0)));
        send(storage.collect(&[]));
        send(storage.write_state(GRAPH, &[]));
        send(storage.read_state(object));
        send(storage.write_manifest(GRAPH, manifest));
        send(storage.read_manifest(checkpoint));
        send(Storage::open(""));
    }
    let _: fn(&Storage, &ObjectRef, &CheckpointRef, &Manifest) = all;
}
