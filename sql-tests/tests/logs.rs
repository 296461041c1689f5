//! Storages of earlier releases (`sql-tests/fixtures/logs`): this one starts on each, and answers what the release
//! answered that wrote it; again after a checkpoint of its own, and after kills (invariant 16). What the release made of
//! later changes, this one makes of them, too, on one slot and on three.

use std::fs;
use std::path::{Path, PathBuf};

use millstream_sql_tests::server::{Launch, Session};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/logs")
}

/// The names of the storages that are kept.
fn names() -> Vec<String> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap());
    let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    let mut names: Vec<String> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A line of answers with its numbers in one form: how many zeros stand behind a point is how a value is shown, and may
/// change; the value may not.
fn plain(line: &str) -> String {
    let cell = |cell: &str| match cell.split_once('.') {
        Some((whole, part))
            if whole.trim_start_matches('-').chars().chain(part.chars()).all(|digit| digit.is_ascii_digit()) =>
        {
            cell.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => cell.to_owned(),
    };
    line.split('|').map(cell).collect::<Vec<_>>().join("|")
}

fn lines(answers: &str) -> Vec<String> {
    answers.lines().map(plain).collect()
}

/// What the questions are answered with, in the form of the file `answers`.
async fn answers(session: &Session, questions: &str) -> String {
    // Sources read on from where the release was killed.
    session.run("FLUSH").await;
    let mut said = String::new();
    for question in questions.lines() {
        said.push_str(&format!("> {question}\n"));
        session.rows(question).await.iter().for_each(|row| said.push_str(&format!("{}\n", row.join("|"))));
    }
    said
}

/// Starts on a copy of a storage three times: as it is, after rows and a checkpoint, and after a kill without one.
async fn starts_and_answers(name: &str) {
    let kept = folder().join(name);
    let read = |file: &str| fs::read_to_string(kept.join(file)).unwrap();
    let (questions, expected) = (read("questions.sql"), read("answers"));
    assert!(expected.lines().any(|line| !line.starts_with('>')), "{name}: nothing was answered");
    let storage = tempfile::tempdir().unwrap();
    copy(&kept.join("data"), storage.path());
    let launch = Launch::new(storage.path().to_str().unwrap());
    for (round, then) in ["INSERT INTO passed VALUES (2)", "CHECKPOINT", "SELECT 1"].into_iter().enumerate() {
        let server = launch.start().await;
        let session = server.connect().await;
        let failed = "SELECT relation, state, reason FROM millstream.jobs WHERE state = 'FAILED'";
        assert_eq!(session.rows(failed).await, Vec::<Vec<String>>::new(), "{name}: start {round}");
        if round > 0 {
            // What this release has written is there beside what the other one had.
            assert_eq!(session.rows("SELECT a FROM passed ORDER BY a").await, [["1"], ["2"]], "{name}: start {round}");
            session.run("DELETE FROM passed WHERE a = 2").await;
        }
        let answered = answers(&session, &questions).await;
        assert_eq!(lines(&answered), lines(&expected), "{name}: start {round}");
        if round > 0 {
            session.run("INSERT INTO passed VALUES (2)").await;
        }
        session.run(then).await;
        server.kill().await;
    }
}

#[tokio::test]
async fn storages_of_earlier_releases_start_and_answer_what_they_did() {
    let names = names();
    assert!(names.len() >= 2, "{names:?}");
    for name in names {
        starts_and_answers(&name).await;
    }
}

/// Makes the changes on a copy of a storage, and asks before and after a kill.
async fn changes_as_the_release(name: &str, slots: &str) {
    let kept = folder().join(name);
    let read = |file: &str| fs::read_to_string(kept.join(file)).unwrap();
    let (questions, expected) = (read("questions.sql"), read("changed"));
    assert_ne!(lines(&expected), lines(&read("answers")), "{name}: nothing was changed");
    let storage = tempfile::tempdir().unwrap();
    copy(&kept.join("data"), storage.path());
    let launch = Launch::new(storage.path().to_str().unwrap()).argument("--slots").argument(slots);
    let server = launch.start().await;
    let session = server.connect().await;
    for change in read("changes.sql").lines() {
        session.run(change).await;
    }
    assert_eq!(lines(&answers(&session, &questions).await), lines(&expected), "{name} on {slots} slots");
    server.kill().await;
    let server = launch.start().await;
    let answered = answers(&server.connect().await, &questions).await;
    assert_eq!(lines(&answered), lines(&expected), "{name} on {slots} slots, after a kill");
}

#[tokio::test]
async fn views_of_earlier_releases_follow_changes_as_they_did() {
    let names: Vec<String> =
        names().into_iter().filter(|name| folder().join(name).join("changes.sql").exists()).collect();
    assert!(names.len() >= 2, "{names:?}");
    for name in names {
        changes_as_the_release(&name, "1").await;
        changes_as_the_release(&name, "3").await;
    }
}

#[tokio::test]
async fn lengths_that_meant_nothing_go_on_to_mean_nothing() {
    let storage = tempfile::tempdir().unwrap();
    copy(&folder().join("1-before-roles/data"), storage.path());
    let server = Launch::new(storage.path().to_str().unwrap()).start().await;
    let session = server.connect().await;
    session.run("INSERT INTO later VALUES ('a longer code', 'a longer name')").await;
    session.run("CREATE MATERIALIZED VIEW over AS SELECT initial FROM later_names").await;
    let initials = [["a longer name"], ["long name"]];
    assert_eq!(session.rows("SELECT initial FROM over ORDER BY 1").await, initials);
    // What is defined now has them.
    session.run("CREATE TABLE new (name varchar(2))").await;
    let (sqlstate, message) = session.error("INSERT INTO new VALUES ('abc')").await;
    assert_eq!(sqlstate, "22001", "{message}");
}
