//! Appending under every kind of answer, and dying at every write.

use super::faults::{Fault, Request};
use super::*;
use crate::error::ErrorKind;
use crate::graph::GraphId;
use crate::operator::{SnapshotKind, StatePart};

#[tokio::test]
async fn an_entry_is_written_once_whatever_the_store_answers() {
    type Faults = fn() -> Vec<(Request, Fault)>;
    let cases: [(&str, Faults); 8] = [
        ("plain", Vec::new),
        ("never arrived", || vec![(Request::Create, Fault::Lost)]),
        ("answer lost", || vec![(Request::Create, Fault::AnswerLost)]),
        ("met its own write", || vec![(Request::Create, Fault::TakenByItself)]),
        ("409, nothing stored", || vec![(Request::Create, Fault::Conflict)]),
        ("answer lost, read lost", || vec![(Request::Create, Fault::AnswerLost), (Request::Get, Fault::Lost)]),
        ("409 twice, read lost", || {
            vec![(Request::Create, Fault::Conflict), (Request::Get, Fault::Lost), (Request::Create, Fault::Conflict)]
        }),
        ("lost, then met its own write", || {
            vec![(Request::Create, Fault::Lost), (Request::Create, Fault::TakenByItself)]
        }),
    ];
    for (case, faults) in cases {
        let memory = Arc::new(InMemory::new());
        let (a, store) = server(&memory).await;
        // The entry of the term, and that of a commit.
        for _ in 0..2 {
            for (request, fault) in faults() {
                store.fault(request, "log/", fault);
            }
            if a.term().is_none() {
                assert_eq!(a.recover().await.unwrap().term, 1, "{case}");
            } else {
                assert_eq!(a.append(commit(7)).await.unwrap(), LogPosition(2), "{case}");
            }
        }
        assert_eq!(a.append(commit(8)).await.unwrap(), LogPosition(3), "{case}");
        let (b, _) = server(&memory).await;
        assert_eq!(all_tags(&b.recover().await.unwrap()), [7, 8], "{case}");
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_neither_loses_nor_doubles_its_commit() {
    let memory = Arc::new(InMemory::new());
    let (a, store) = server(&memory).await;
    a.recover().await.unwrap();
    let release = store.hold(Request::Create, "log/");
    let mut first = Box::pin(a.append(commit(1)));
    let mut second = Box::pin(a.append(commit(2)));
    assert!(futures::poll!(&mut first).is_pending());
    store.holds().await;
    assert!(futures::poll!(&mut second).is_pending());
    drop((first, second));
    drop(release);
    assert_eq!(a.append(commit(3)).await.unwrap(), LogPosition(3), "the second and the third share an entry");
    let (b, _) = server(&memory).await;
    assert_eq!(all_tags(&b.recover().await.unwrap()), [1, 2, 3]);
}

#[tokio::test]
async fn commits_that_wait_share_an_entry_in_the_order_of_their_calls() {
    let memory = Arc::new(InMemory::new());
    let (a, store) = server(&memory).await;
    a.recover().await.unwrap();
    let release = store.hold(Request::Create, "log/");
    // The third one takes longest to prepare, and still keeps its place.
    let large = (0..200_000_i64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64)).collect();
    let records =
        [commit(1), vec![rows(7, vec![1, 2])], vec![rows(7, large)], vec![rows(7, vec![3]), rows(8, vec![4])]];
    let appends: Vec<_> = records.into_iter().map(|records| a.append(records)).collect();
    let release_later = async {
        store.holds().await;
        drop(release);
    };
    let (positions, ()) = futures::join!(futures::future::join_all(appends), release_later);
    let positions: Vec<_> = positions.into_iter().map(|position| position.unwrap().0).collect();
    assert_eq!(positions[0], 2);
    assert!(positions.is_sorted(), "{positions:?}");
    let (through, only) = (a.last_position(), BTreeSet::from([RelationId(7)]));
    let read = a.read_rows(LogPosition(0), through, &only).await.unwrap();
    let lengths: Vec<_> = read.iter().flat_map(|(_, rows)| rows).map(|rows| values(rows).len()).collect();
    assert_eq!(lengths, [2, 200_000, 1]);
    assert_eq!(a.backend.list(names::ROWS, None).await.unwrap().len(), 1, "the large one has an object of its own");
    let both = BTreeSet::from([RelationId(7), RelationId(8)]);
    let last = a.read_rows(LogPosition(positions[3] - 1), through, &both).await.unwrap();
    let last: Vec<_> = last.iter().flat_map(|(_, rows)| rows).map(values).collect();
    assert!(last.ends_with(&[vec![3], vec![4]]), "a commit stays whole: {last:?}");
}

#[tokio::test]
async fn rows_that_could_not_be_stored_are_stored_again() {
    let memory = Arc::new(InMemory::new());
    let (a, store) = server(&memory).await;
    a.recover().await.unwrap();
    store.fault(Request::Put, "rows/", Fault::Lost);
    store.fault(Request::Put, "rows/", Fault::AnswerLost);
    let large: Vec<i64> = (0..400_000_i64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64)).collect();
    let position = a.append(vec![rows(1, large.clone())]).await.unwrap();
    assert_eq!(position, LogPosition(2));
    let (b, _) = server(&memory).await;
    let recovered = b.recover().await.unwrap();
    let [(_, _), (_, records), (_, _)] = &recovered.entries[..] else { panic!("three entries") };
    let [Record::Rows(read)] = &records[..] else { panic!("one record") };
    assert_eq!(values(read), large);
}

#[tokio::test]
async fn a_missing_rows_object_is_named() {
    let memory = Arc::new(InMemory::new());
    let (a, _) = server(&memory).await;
    a.recover().await.unwrap();
    let large: Vec<i64> = (0..400_000_i64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64)).collect();
    a.append(vec![rows(1, large)]).await.unwrap();
    let object = a.backend.list(names::ROWS, None).await.unwrap().remove(0).name;
    a.backend.delete(vec![object.clone()]).await.unwrap();
    let (b, _) = server(&memory).await;
    let error = b.recover().await.unwrap_err();
    assert!(error.message.contains(&object), "{error}");
}

/// A server's life with every kind of write. Puts down what was acknowledged.
async fn life(storage: &Storage, first_tag: i64, acknowledged: &std::sync::Mutex<Vec<i64>>) -> Result<()> {
    let recovered = storage.recover().await?;
    let mut known = all_tags(&recovered);
    let mut retained = Vec::new();
    let graph = GraphId(1);
    for tag in first_tag..first_tag + 3 {
        let part = StatePart {
            table: "t".into(),
            kind: SnapshotKind::Full,
            rows: RecordBatch::try_from_iter([("v", Arc::new(Int64Array::from(vec![tag])) as ArrayRef)]).unwrap(),
        };
        let object = storage.write_state(graph, &[part]).await?;
        let manifest = super::checkpoints::manifest_of(graph, vec![object]);
        let checkpoint = storage.write_manifest(graph, &manifest).await?;
        let mut records = commit(tag);
        let large = if tag == first_tag { 160_000 } else { 1 };
        records.push(rows(1, (0..large).map(|n: i64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64)).collect()));
        let position = storage.append(records).await?;
        known.push(tag);
        acknowledged.lock().unwrap().push(tag);
        retained = vec![checkpoint];
        storage.write_snapshot(position, &snapshot_of(&known)).await?;
        storage.trim(position).await?;
        storage.collect(&retained).await?;
    }
    storage.collect(&retained).await.map(drop)
}

#[tokio::test]
async fn a_death_at_any_write_loses_and_doubles_nothing() {
    // A life has fewer writes than this: the last ones live to the end.
    let mut whole_lives = 0;
    for writes in 0..40 {
        for done in [false, true] {
            whole_lives = 0;
            let memory = Arc::new(InMemory::new());
            server(&memory).await;
            let acknowledged = std::sync::Mutex::new(Vec::new());
            for first_tag in [10, 20] {
                let (storage, store) = server(&memory).await;
                store.die_at(writes, done);
                tokio::select! {
                    biased;
                    () = store.death() => {}
                    result = life(&storage, first_tag, &acknowledged) => match result {
                        Ok(()) => whole_lives += 1,
                        Err(error) => assert!(store.is_dead(), "{error}"),
                    }
                }
            }
            let (last, _) = server(&memory).await;
            let found = all_tags(&last.recover().await.unwrap());
            let mut once = found.clone();
            once.dedup();
            assert_eq!(found, once, "nothing twice, after death at write {writes} (done: {done})");
            assert!(found.is_sorted(), "{found:?}");
            for tag in acknowledged.into_inner().unwrap() {
                assert!(found.contains(&tag), "{tag} was acknowledged before death at write {writes} (done: {done})");
            }
            last.append(commit(99)).await.unwrap();
        }
    }
    assert_eq!(whole_lives, 2, "the deaths must cover every write");
}

#[tokio::test]
async fn a_life_in_a_directory_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    // The directory and the one above it are made.
    let root = folder.path().join("a").join("b");
    let acknowledged = std::sync::Mutex::new(Vec::new());
    for (url, first_tag) in [(root.display().to_string(), 10), (format!("file://{}", root.display()), 20)] {
        let storage = Storage::open(&url).await.unwrap();
        life(&storage, first_tag, &acknowledged).await.unwrap();
        let refused = Storage::open(&url).await.err().unwrap();
        assert!(refused.message.contains("held by another"), "{refused}");
        drop(storage);
        // The writer lets go of the directory as soon as it has run once more.
        while Storage::open(&url).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
    let storage = Storage::open(&root.display().to_string()).await.unwrap();
    let recovered = storage.recover().await.unwrap();
    assert_eq!(all_tags(&recovered), [10, 11, 12, 20, 21, 22]);
    assert_eq!(storage.backend.list(names::LOG, None).await.unwrap().len(), 4, "three terms, and one at the snapshot");
}

#[tokio::test]
async fn why_the_log_waits_is_known_while_it_waits() {
    let memory = Arc::new(InMemory::new());
    let (a, store) = server(&memory).await;
    a.recover().await.unwrap();
    store.fault(Request::Create, "log/", Fault::Lost);
    let release = store.hold(Request::Create, "log/");
    let mut under_way = Box::pin(a.append(commit(1)));
    assert!(futures::poll!(&mut under_way).is_pending());
    store.holds().await;
    let trouble = a.trouble().unwrap();
    assert!(trouble.message.contains(&names::entry(LogPosition(2))), "{trouble}");
    drop(release);
    under_way.await.unwrap();
    assert!(a.trouble().is_none());
}

#[tokio::test]
async fn a_full_disk_is_waited_for_and_nothing_is_acknowledged_meanwhile() {
    let memory = Arc::new(InMemory::new());
    let (a, store) = server(&memory).await;
    a.recover().await.unwrap();
    // Rows that fit the entry, and rows that need an object before it; each is refused twice.
    let large: Vec<i64> = (0..400_000_i64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64)).collect();
    for (request, folder, values) in [(Request::Create, "log/", vec![1, 2]), (Request::Put, "rows/", large)] {
        store.fault(request, folder, Fault::Full);
        store.fault(request, folder, Fault::Full);
        let release = store.hold(request, folder);
        let mut under_way = Box::pin(a.append(vec![rows(1, values)]));
        assert!(futures::poll!(&mut under_way).is_pending());
        let held = tokio::time::timeout(Duration::from_secs(60), store.holds()).await;
        assert!(held.is_ok(), "{folder} is not tried again");
        let trouble = a.trouble().unwrap();
        assert!(trouble.message.contains(folder) && trouble.message.contains("the disk is full"), "{trouble}");
        assert!(trouble.hint.as_ref().unwrap().contains("room"), "{trouble}");
        assert!(futures::poll!(&mut under_way).is_pending(), "nothing stands yet");
        drop(release);
        under_way.await.unwrap();
        assert!(a.trouble().is_none());
    }
    // State of a checkpoint is for its graph to write again.
    store.fault(Request::Put, "graph/", Fault::Full);
    let error = a.write_state(GraphId(1), &[]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(error.message.contains("the disk is full"), "{error}");
    a.write_state(GraphId(1), &[]).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_is_full_at_a_start_is_named() {
    let memory = Arc::new(InMemory::new());
    let (a, store) = server(&memory).await;
    // More often than it is tried while a start waits.
    (0..100_000).for_each(|_| store.fault(Request::Create, "log/", Fault::Full));
    let error = a.recover().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(error.message.contains("takes no log entry") && error.message.contains("the disk is full"), "{error}");
}
