//! Terms: who owns the log, and what becomes of those who do not know yet that it is somebody else.

use super::faults::{Fault, Request};
use super::*;
use crate::error::ErrorKind;

#[tokio::test]
async fn a_term_is_the_number_of_its_entry() {
    let memory = Arc::new(InMemory::new());
    let (a, _) = server(&memory).await;
    let recovered = a.recover().await.unwrap();
    assert_eq!((recovered.term, recovered.position, a.term()), (1, LogPosition(1), Some(1)));
    assert!(recovered.snapshot.is_none());
    assert_eq!(a.append(commit(10)).await.unwrap(), LogPosition(2));
    assert_eq!(a.append(commit(11)).await.unwrap(), LogPosition(3));
    let (b, _) = server(&memory).await;
    let recovered = b.recover().await.unwrap();
    assert_eq!(recovered.term, 4);
    assert_eq!(all_tags(&recovered), [10, 11]);
    assert_eq!(a.root_id(), b.root_id());
}

#[tokio::test]
async fn nothing_is_appended_before_the_storage_is_owned() {
    let (a, _) = server(&Arc::new(InMemory::new())).await;
    assert_eq!(a.append(commit(1)).await.unwrap_err().kind, ErrorKind::Internal);
    a.recover().await.unwrap();
    assert_eq!(a.recover().await.unwrap_err().kind, ErrorKind::Internal);
    assert_eq!(a.append(Vec::new()).await.unwrap_err().kind, ErrorKind::Internal);
}

#[tokio::test]
async fn the_older_owner_stops_at_its_next_commit_and_for_good() {
    let memory = Arc::new(InMemory::new());
    let (a, _) = server(&memory).await;
    a.recover().await.unwrap();
    let fenced = a.fenced();
    let (b, _) = server(&memory).await;
    b.recover().await.unwrap();
    assert_eq!(a.append(commit(1)).await.unwrap_err().kind, ErrorKind::Fenced);
    assert_eq!(fenced.await.kind, ErrorKind::Fenced);
    for _ in 0..2 {
        assert_eq!(a.append(commit(2)).await.unwrap_err().kind, ErrorKind::Fenced);
        assert_eq!(a.confirm_ownership().await.unwrap_err().kind, ErrorKind::Fenced);
        assert_eq!(a.trim(LogPosition(9)).await.unwrap_err().kind, ErrorKind::Fenced);
        assert_eq!(a.collect(&[]).await.unwrap_err().kind, ErrorKind::Fenced);
        assert_eq!(a.write_state(crate::graph::GraphId(1), &[]).await.unwrap_err().kind, ErrorKind::Fenced);
        assert_eq!(a.write_snapshot(LogPosition(1), &Snapshot::default()).await.unwrap_err().kind, ErrorKind::Fenced);
    }
    b.confirm_ownership().await.unwrap();
    b.append(commit(3)).await.unwrap();
    let (c, _) = server(&memory).await;
    assert_eq!(all_tags(&c.recover().await.unwrap()), [3]);
}

#[tokio::test]
async fn an_idle_owner_notices_a_newer_term_by_itself() {
    let memory = Arc::new(InMemory::new());
    let timing = Timing { look_every: Duration::from_millis(1), ..QUICK };
    let a = Storage::open_over(Backend::over(FaultyStore::over(&memory), timing)).await.unwrap();
    a.recover().await.unwrap();
    let (b, _) = server(&memory).await;
    b.recover().await.unwrap();
    assert_eq!(a.fenced().await.kind, ErrorKind::Fenced);
    b.append(commit(1)).await.unwrap();
}

#[tokio::test]
async fn a_store_that_is_away_fences_nobody() {
    let memory = Arc::new(InMemory::new());
    let (a, store) = server(&memory).await;
    a.recover().await.unwrap();
    store.fault(Request::Get, "log/", Fault::Lost);
    assert_eq!(a.confirm_ownership().await.unwrap_err().kind, ErrorKind::Unavailable);
    a.confirm_ownership().await.unwrap();
    a.append(commit(1)).await.unwrap();
}

#[tokio::test]
async fn a_commit_under_way_when_a_newer_term_is_opened_is_refused() {
    let memory = Arc::new(InMemory::new());
    let (a, store) = server(&memory).await;
    a.recover().await.unwrap();
    let release = store.hold(Request::Create, "log/");
    let under_way = tokio::spawn({
        let a = Arc::clone(&a);
        async move { a.append(commit(1)).await }
    });
    store.holds().await;
    let (b, _) = server(&memory).await;
    b.recover().await.unwrap();
    drop(release);
    assert_eq!(under_way.await.unwrap().unwrap_err().kind, ErrorKind::Fenced);
    let (c, _) = server(&memory).await;
    assert!(all_tags(&c.recover().await.unwrap()).is_empty());
}

#[tokio::test]
async fn a_commit_that_stood_before_the_newer_term_is_kept_and_acknowledged() {
    let memory = Arc::new(InMemory::new());
    let (a, store) = server(&memory).await;
    a.recover().await.unwrap();
    store.fault(Request::Create, "log/", Fault::AnswerLost);
    let release = store.hold(Request::Get, "log/");
    let under_way = tokio::spawn({
        let a = Arc::clone(&a);
        async move { a.append(commit(1)).await }
    });
    store.holds().await;
    let (b, _) = server(&memory).await;
    assert_eq!(all_tags(&b.recover().await.unwrap()), [1]);
    drop(release);
    assert_eq!(under_way.await.unwrap().unwrap(), LogPosition(2));
    assert_eq!(a.append(commit(2)).await.unwrap_err().kind, ErrorKind::Fenced);
}

#[tokio::test]
async fn of_two_that_start_at_once_one_owns_the_log() {
    let memory = Arc::new(InMemory::new());
    let (a, store) = server(&memory).await;
    let release = store.hold(Request::Create, "log/");
    let starting = tokio::spawn({
        let a = Arc::clone(&a);
        async move { a.recover().await }
    });
    store.holds().await;
    let (b, _) = server(&memory).await;
    assert_eq!(b.recover().await.unwrap().term, 1);
    b.append(commit(1)).await.unwrap();
    drop(release);
    let recovered = starting.await.unwrap().unwrap();
    assert_eq!(recovered.term, 3, "it finds the names taken, applies them and goes on");
    assert_eq!(all_tags(&recovered), [1]);
    assert_eq!(b.append(commit(2)).await.unwrap_err().kind, ErrorKind::Fenced);
}

#[tokio::test]
async fn a_term_that_another_one_followed_at_once_does_not_count() {
    let memory = Arc::new(InMemory::new());
    let (a, store) = server(&memory).await;
    // Its term stands, but it hears of it only after another server has come.
    store.fault(Request::Create, "log/", Fault::AnswerLost);
    let release = store.hold(Request::Get, "log/");
    let starting = tokio::spawn({
        let a = Arc::clone(&a);
        async move { a.recover().await }
    });
    store.holds().await;
    let (b, _) = server(&memory).await;
    assert_eq!(b.recover().await.unwrap().term, 2);
    drop(release);
    assert_eq!(starting.await.unwrap().unwrap_err().kind, ErrorKind::Fenced);
    b.append(commit(1)).await.unwrap();
}

#[tokio::test]
async fn a_term_in_a_hole_that_trimming_left_is_void() {
    let memory = Arc::new(InMemory::new());
    let (a, _) = server(&memory).await;
    a.recover().await.unwrap();
    let (late, store) = server(&memory).await;
    let release = store.hold(Request::Create, "log/");
    let starting = tokio::spawn({
        let late = Arc::clone(&late);
        async move { late.recover().await }
    });
    store.holds().await;
    for tag in 1..=4 {
        a.append(commit(tag)).await.unwrap();
    }
    a.write_snapshot(LogPosition(4), &snapshot_of(&[1, 2, 3])).await.unwrap();
    assert_eq!(a.trim(LogPosition(4)).await.unwrap(), 2, "the term and the entry at the snapshot stay");
    drop(release);
    let recovered = starting.await.unwrap().unwrap();
    assert_eq!(recovered.term, 6, "2 was free, but is void");
    assert_eq!(all_tags(&recovered), [1, 2, 3, 4]);
    assert_eq!(a.append(commit(5)).await.unwrap_err().kind, ErrorKind::Fenced);
    let (c, _) = server(&memory).await;
    let recovered = c.recover().await.unwrap();
    assert_eq!((recovered.term, all_tags(&recovered)), (7, vec![1, 2, 3, 4]));
}

#[tokio::test]
async fn trimming_everything_still_shows_where_the_log_goes_on() {
    let memory = Arc::new(InMemory::new());
    let (a, _) = server(&memory).await;
    a.recover().await.unwrap();
    let last = a.append(commit(1)).await.unwrap();
    a.write_snapshot(last, &snapshot_of(&[1])).await.unwrap();
    a.trim(LogPosition(99)).await.unwrap();
    let (b, _) = server(&memory).await;
    let recovered = b.recover().await.unwrap();
    assert_eq!((recovered.term, recovered.snapshot_position, all_tags(&recovered)), (3, last, vec![1]));
}

#[tokio::test]
async fn a_history_that_is_trimmed_while_it_is_read_is_read_again() {
    let memory = Arc::new(InMemory::new());
    let (a, _) = server(&memory).await;
    a.recover().await.unwrap();
    a.append(commit(1)).await.unwrap();
    let (b, store) = server(&memory).await;
    let release = store.hold(Request::Get, "log/");
    let starting = tokio::spawn({
        let b = Arc::clone(&b);
        async move { b.recover().await }
    });
    store.holds().await;
    for tag in 2..=3 {
        a.append(commit(tag)).await.unwrap();
    }
    a.write_snapshot(LogPosition(3), &snapshot_of(&[1, 2])).await.unwrap();
    a.trim(LogPosition(3)).await.unwrap();
    drop(release);
    assert_eq!(all_tags(&starting.await.unwrap().unwrap()), [1, 2, 3]);
}

#[tokio::test]
async fn a_missing_a_damaged_and_a_foreign_entry_are_named() {
    use object_store::{ObjectStoreExt, path::Path};
    for case in ["missing", "damaged", "foreign"] {
        let memory = Arc::new(InMemory::new());
        let (a, _) = server(&memory).await;
        a.recover().await.unwrap();
        for tag in 1..=3 {
            a.append(commit(tag)).await.unwrap();
        }
        let name = names::entry(LogPosition(3));
        let path = Path::from(name.as_str());
        match case {
            "missing" => memory.delete(&path).await.unwrap(),
            "damaged" => {
                let mut bytes = memory.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
                memory.put(&path, bytes.into()).await.map(drop).unwrap();
            }
            _ => {
                let foreign = entry::seal_entry(2, [0; 16], &[]);
                memory.put(&path, foreign.into()).await.map(drop).unwrap();
            }
        }
        let (b, _) = server(&memory).await;
        let error = b.recover().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Data, "{case}: {error}");
        assert!(error.message.contains(&name), "{case}: {error}");
    }
}

#[tokio::test]
async fn a_newer_layout_is_refused_and_nothing_is_written() {
    use object_store::{ObjectStoreExt, path::Path};
    let memory = Arc::new(InMemory::new());
    let newer = r#"{"layout":2,"something":"else"}"#;
    memory.put(&Path::from("format"), newer.into()).await.unwrap();
    let error = Storage::open_over(Backend::over(FaultyStore::over(&memory), QUICK)).await.err().unwrap();
    assert!(error.message.contains("layout 2"), "{error}");
    let stored = memory.get(&Path::from("format")).await.unwrap().bytes().await.unwrap();
    assert_eq!(stored, newer);
}

#[tokio::test]
async fn a_store_that_overwrites_in_silence_is_refused() {
    let memory = Arc::new(InMemory::new());
    server(&memory).await;
    let store = FaultyStore::ignoring_conditions(&memory);
    let error = Storage::open_over(Backend::over(store, QUICK)).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("If-None-Match"), "{error}");
}
