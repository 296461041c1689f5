//! Secrets, from the outside: what a storage holds of them, what a start without the right key says, and that what connects
//! with one takes up a new value (invariant 18).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use millstream_sql_tests::kafka::Topic;
use millstream_sql_tests::server::{Launch, Server, Session};
use millstream_sql_tests::services;

/// Two keys, in both spellings.
const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const OTHER_KEY: &str = "//////////////////////////////////////////8=";

/// A value that stands nowhere by chance.
const FIRST: &str = "value-one-9f3a61";
const SECOND: &str = "value-two-77c2e0";
const INLINE: &str = "value-inline-51d8b4";

fn launch(storage: &Path, key: Option<&str>) -> Launch {
    let key = BTreeMap::from([("MILLSTREAM_SECRET_KEY".to_string(), key.unwrap_or_default().to_string())]);
    Launch::new(storage.to_str().unwrap()).environment(&key).argument("--log").argument("debug")
}

/// The files below a folder that hold a text.
pub(crate) fn files_with(folder: &Path, text: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(next) = folders.pop() {
        for path in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if fs::read(&path).unwrap().windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path);
            }
        }
    }
    found
}

fn send(topic: &Topic, payload: &str) {
    topic.send(0, [payload.as_bytes()]);
    topic.flush();
}

fn source(name: &str, bootstrap: &str, topic: &Topic, password: &str) -> String {
    let topic = topic.name();
    format!(
        "CREATE SOURCE {name} (a INT) WITH (connector = 'kafka', topic = '{topic}', \
         properties.bootstrap.server = '{bootstrap}', \
         properties.sasl.password = {password}) FORMAT PLAIN ENCODE JSON"
    )
}

/// All that a superuser can see of a server.
async fn shown(session: &Session) -> String {
    let mut text = String::new();
    for query in [
        "SHOW SECRETS",
        "SELECT * FROM millstream.secrets",
        "SELECT * FROM millstream.relations",
        "SELECT * FROM millstream.jobs",
        "SELECT * FROM millstream.errors",
        "SELECT * FROM pg_stat_activity",
        "SELECT * FROM pg_settings",
        "SELECT * FROM pg_class",
        "SHOW CREATE SOURCE named",
        "SHOW CREATE SOURCE inline",
        "SHOW ALL",
    ] {
        text.push_str(&format!("{:?}\n", session.rows(query).await));
    }
    text
}

async fn assert_unseen(storage: &Path, server: &Server, session: &Session) {
    let seen = shown(session).await;
    for value in [FIRST, SECOND, INLINE] {
        assert_eq!(files_with(storage, value), Vec::<PathBuf>::new(), "{value} stands in the storage");
        assert!(!seen.contains(value), "{value} is shown: {seen}");
        assert!(!server.log_end().contains(value), "{value} is logged");
    }
}

#[tokio::test]
async fn values_stand_nowhere_and_are_used() {
    let Some(bootstrap) = services::kafka("values_stand_nowhere_and_are_used") else { return };
    let (storage, topic) = (tempfile::tempdir().unwrap(), Topic::create(&bootstrap, "secrets", 1).await);
    send(&topic, "{\"a\": 1}");
    let server = launch(storage.path(), Some(KEY)).start().await;
    let session = server.connect().await;
    session.run(&format!("CREATE SECRET password AS '{FIRST}'")).await;
    session.run(&source("named", &bootstrap, &topic, "SECRET password")).await;
    session.run(&source("inline", &bootstrap, &topic, &format!("'{INLINE}'"))).await;
    session.run("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM named").await;
    session.run("FLUSH").await;
    assert_eq!(session.number("SELECT n FROM v").await, 1);
    assert_eq!(session.number("SELECT count(*) FROM named").await, 1);
    assert_unseen(storage.path(), &server, &session).await;

    // What connects with it connects anew, and goes on where it was.
    session.run(&format!("ALTER SECRET password AS '{SECOND}'")).await;
    send(&topic, "{\"a\": 2}");
    session.until("SELECT n FROM v", |rows| rows == [["2"]]).await;
    let jobs = "SELECT DISTINCT state FROM millstream.jobs WHERE relation IN ('named', 'v')";
    session.until(jobs, |rows| rows == [["RUNNING"]]).await;
    let (code, message) = session.error("DROP SECRET password").await;
    assert_eq!(code, "2BP01", "{message}");
    assert!(message.contains("source named depends on secret password"), "{message}");
    assert_unseen(storage.path(), &server, &session).await;
    server.kill().await;

    // From the log, and from a snapshot.
    for then in ["CHECKPOINT", "DROP SECRET password CASCADE"] {
        let server = launch(storage.path(), Some(KEY)).start().await;
        let session = server.connect().await;
        session.run("FLUSH").await;
        assert_eq!(session.number("SELECT n FROM v").await, 2, "before {then}");
        assert_eq!(session.rows("SELECT name, users FROM millstream.secrets").await, [["password", "1"]]);
        assert_eq!(session.rows("SELECT count(*) FROM inline").await, [["2"]]);
        session.run(then).await;
        assert_unseen_but_dropped(storage.path(), &session, then).await;
        server.kill().await;
    }
}

async fn assert_unseen_but_dropped(storage: &Path, session: &Session, then: &str) {
    for value in [FIRST, SECOND, INLINE] {
        assert_eq!(files_with(storage, value), Vec::<PathBuf>::new(), "{value} stands in the storage after {then}");
    }
    let left = if then == "CHECKPOINT" { "3" } else { "1" };
    let relations = "SELECT count(*) FROM millstream.relations WHERE name IN ('named', 'inline', 'v')";
    assert_eq!(session.rows(relations).await, [[left]], "after {then}");
}

#[tokio::test]
async fn a_start_without_the_right_key_says_what_to_do() {
    let storage = tempfile::tempdir().unwrap();
    let server = launch(storage.path(), Some(KEY)).start().await;
    server.connect().await.run(&format!("CREATE SECRET password AS '{FIRST}'")).await;
    server.kill().await;
    for (key, says) in [
        (None, "secret \"password\" is encrypted, and there is no key"),
        (Some(OTHER_KEY), "secret \"password\" is encrypted with another key"),
        (Some("not a key"), "MILLSTREAM_SECRET_KEY can't be used: a key is 32 bytes"),
    ] {
        let (code, said) = launch(storage.path(), key).spawn().ended().await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(says) && !said.contains(OTHER_KEY) && !said.contains("not a key"), "{said}");
    }
    // A new key before the old one takes over with the next snapshot.
    let both = format!("{OTHER_KEY}\n{KEY}");
    let file = storage.path().join("../key-of-a-test");
    let file = file.with_file_name(format!("{}.key", storage.path().file_name().unwrap().to_str().unwrap()));
    fs::write(&file, &both).unwrap();
    let in_file = || launch(storage.path(), None).argument("--secret-key-file").argument(file.to_str().unwrap());
    std::process::Command::new("chmod").arg("644").arg(&file).status().unwrap();
    let (code, said) = in_file().spawn().ended().await;
    assert!(code == Some(1) && said.contains("has group or world access"), "{said}");
    std::process::Command::new("chmod").arg("600").arg(&file).status().unwrap();
    let server = in_file().start().await;
    server.connect().await.run("CHECKPOINT").await;
    server.kill().await;
    fs::remove_file(&file).unwrap();
    let (code, said) = launch(storage.path(), Some(KEY)).spawn().ended().await;
    assert!(code == Some(1) && said.contains("another key"), "{said}");
    let server = launch(storage.path(), Some(OTHER_KEY)).start().await;
    assert_eq!(server.connect().await.rows("SHOW SECRETS").await, [["public", "password"]]);
}

#[tokio::test]
async fn without_a_key_there_are_no_secrets() {
    let storage = tempfile::tempdir().unwrap();
    let server = launch(storage.path(), None).start().await;
    let session = server.connect().await;
    let (code, message) = session.error(&format!("CREATE SECRET password AS '{FIRST}'")).await;
    assert_eq!((code.as_str(), message.contains("no key to keep secrets with")), ("55000", true), "{message}");
    assert_eq!(files_with(storage.path(), FIRST), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn the_storage_has_values_encrypted_only() {
    let storage = tempfile::tempdir().unwrap();
    let server = launch(storage.path(), Some(KEY)).start().await;
    let session = server.connect().await;
    session
        .run(&format!("CREATE SECRET a AS '{FIRST}'; CREATE SECRET b AS '{FIRST}'; ALTER SECRET b AS '{SECOND}'"))
        .await;
    session.run(&format!("BEGIN; CREATE SECRET c AS '{INLINE}'; ALTER SECRET a AS '{INLINE}'; COMMIT")).await;
    let prepared = session.client().prepare(&format!("ALTER SECRET c AS '{SECOND}'")).await.unwrap();
    session.client().execute(&prepared, &[]).await.unwrap();
    session.run(&format!("ALTER ROLE millstream PASSWORD '{FIRST}'")).await;
    for statement in ["ALTER ROLE millstream PASSWORD NULL", "CHECKPOINT", "DROP SECRET b"] {
        session.run(statement).await;
    }
    for value in [FIRST, SECOND, INLINE] {
        assert_eq!(files_with(storage.path(), value), Vec::<PathBuf>::new(), "{value}");
        assert!(!server.log_end().contains(value), "{value} is logged");
        for sql in ["SELECT query FROM pg_stat_activity", "SELECT statement FROM pg_prepared_statements"] {
            let shown = session.rows(sql).await;
            assert!(!shown.is_empty(), "{sql}");
            assert!(!format!("{shown:?}").contains(value), "{shown:?}");
        }
    }
    server.kill().await;
    let server = launch(storage.path(), Some(KEY)).start().await;
    assert_eq!(server.connect().await.rows("SHOW SECRETS").await, [["public", "a"], ["public", "c"]]);
}

#[tokio::test]
async fn statements_with_secrets_are_encrypted_once_there_is_a_key() {
    let Some(bootstrap) = services::kafka("statements_with_secrets_are_encrypted_once_there_is_a_key") else { return };
    let (storage, topic) = (tempfile::tempdir().unwrap(), Topic::create(&bootstrap, "secrets", 1).await);
    let server = launch(storage.path(), None).start().await;
    server.connect().await.run(&source("inline", &bootstrap, &topic, &format!("'{INLINE}'"))).await;
    assert!(!files_with(storage.path(), INLINE).is_empty(), "nothing could encrypt it");
    server.kill().await;
    // With a key the text is encrypted, and gone from the storage with the next snapshot.
    let server = launch(storage.path(), Some(KEY)).start().await;
    server.connect().await.run("CHECKPOINT").await;
    assert_eq!(files_with(storage.path(), INLINE), Vec::<PathBuf>::new());
    server.kill().await;
    let (code, said) = launch(storage.path(), None).spawn().ended().await;
    assert!(code == Some(1) && said.contains("there is no key to read it with"), "{said}");
}
