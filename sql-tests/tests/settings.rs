//! Every setting of the server as it is shown, and what those that act do: the table of `docs/postgres.md`.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use futures::future::poll_fn;
use millstream_sql_tests::docs::check_section;
use millstream_sql_tests::server::{Launch, PATIENCE, Server};
use tokio_postgres::{AsyncMessage, NoTls, SimpleQueryMessage};

/// What a statement shows: the first value of its last row, an error's code, or what was told beside it.
enum Shown {
    Value(&'static str),
    Error(&'static str),
    Notice(&'static str),
    /// The session ends by itself with this code.
    Ends(&'static str),
    /// Nothing is told.
    Silence,
}

use Shown::{Ends, Error, Notice, Silence, Value};

/// A setting, statements in a session of their own, and what the last of them shows.
const EFFECTS: &[(&str, &[&str], Shown)] = &[
    (
        "application_name",
        &["SET application_name = 'me'", "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"],
        Value("me"),
    ),
    ("bytea_output", &["SET bytea_output = escape", r"SELECT '\x00ff41'::bytea"], Value(r"\000\377A")),
    ("client_encoding", &["SET client_encoding = LATIN1"], Error("22023")),
    ("client_min_messages", &["DROP TABLE IF EXISTS nothing"], Notice("table \"nothing\" does not exist, skipping")),
    ("client_min_messages", &["SET client_min_messages = warning", "DROP TABLE IF EXISTS nothing"], Silence),
    ("DateStyle", &["SET DateStyle = 'SQL, DMY'", "SELECT '2026-02-01'::date"], Value("01/02/2026")),
    (
        "default_transaction_isolation",
        &["SET default_transaction_isolation = serializable", "BEGIN", "SHOW transaction_isolation"],
        Value("serializable"),
    ),
    (
        "default_transaction_read_only",
        &["SET default_transaction_read_only = on", "CREATE TABLE written (id INT)"],
        Error("25006"),
    ),
    ("extra_float_digits", &["SELECT 0.1::float8 + 0.2::float8"], Value("0.30000000000000004")),
    ("extra_float_digits", &["SET extra_float_digits = 0", "SELECT 0.1::float8 + 0.2::float8"], Value("0.3")),
    ("idle_in_transaction_session_timeout", &["SET idle_in_transaction_session_timeout = 5", "BEGIN"], Ends("25P03")),
    ("idle_session_timeout", &["SET idle_session_timeout = 5"], Ends("57P05")),
    ("IntervalStyle", &["SET IntervalStyle = iso_8601", "SELECT '1 day 2 hours'::interval"], Value("P1DT2H")),
    ("millstream.clock", &["SET millstream.clock = manual", "SHOW millstream.clock"], Value("manual")),
    ("password_encryption", &["SET password_encryption = md5"], Error("22023")),
    ("role", &["CREATE ROLE shown", "SET ROLE shown", "SELECT current_user"], Value("shown")),
    (
        "search_path",
        &["CREATE SCHEMA shelf", "SET search_path = shelf, public", "SELECT current_schema()"],
        Value("shelf"),
    ),
    ("server_version", &["SET server_version = '17'"], Error("55P02")),
    ("standard_conforming_strings", &["SET standard_conforming_strings = off"], Error("0A000")),
    ("statement_timeout", &["SET statement_timeout = 5", "SELECT pg_sleep(3600)"], Error("57014")),
    (
        "TimeZone",
        &["SET TimeZone = 'Europe/Berlin'", "SELECT '2026-07-01 12:00+00'::timestamptz"],
        Value("2026-07-01 14:00:00+02"),
    ),
    (
        "transaction_isolation",
        &["BEGIN ISOLATION LEVEL REPEATABLE READ", "SHOW transaction_isolation"],
        Value("repeatable read"),
    ),
    ("transaction_read_only", &["BEGIN READ ONLY", "CREATE TABLE written (id INT)"], Error("25006")),
    (
        "a name that is not known",
        &["SET nobody_knows = 1"],
        Notice("parameter \"nobody_knows\" is not known here: it is kept and shown, and has no effect"),
    ),
    ("a name that is not known", &["SET nobody_knows = 1", "SHOW nobody_knows"], Value("1")),
    ("a name with a dot", &["SET my.own = 'kept'", "SELECT current_setting('my.own')"], Value("kept")),
];

/// Runs statements in a session of their own: what they showed, as the page says it.
async fn seen(server: &Server, statements: &[&str], expected: &Shown) -> String {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(server.address().port()).user("millstream").dbname("millstream");
    let (client, mut connection) = config.connect(NoTls).await.unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let notices = Arc::clone(&told);
    let ended = tokio::spawn(async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notice(notice) = message? {
                notices.lock().unwrap().push(notice.message().to_owned());
            }
        }
        Ok::<(), tokio_postgres::Error>(())
    });
    let mut last = Ok(Vec::new());
    for sql in statements {
        assert!(last.is_ok(), "{sql} stands behind an error: {:?}", last.err());
        last = client.simple_query(sql).await;
    }
    let value = |messages: &[SimpleQueryMessage]| {
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        rows.last()
    };
    let code = |error: &tokio_postgres::Error| error.code().map(|code| code.code().to_owned()).unwrap_or_default();
    let notice = || told.lock().unwrap().join("; ");
    match (expected, last) {
        (Value(expected), Ok(messages)) => {
            assert_eq!(value(&messages).as_deref(), Some(*expected), "{statements:?}");
            format!("`{expected}`")
        }
        (Error(expected), Err(error)) => {
            assert_eq!(code(&error), *expected, "{statements:?}: {error:?}");
            let message = error.as_db_error().map(|error| error.message().to_owned()).unwrap_or_default();
            format!("{expected}: {message}")
        }
        (Notice(expected), Ok(_)) => {
            assert!(notice().contains(expected), "{statements:?}: {:?}", notice());
            format!("NOTICE: {expected}")
        }
        (Silence, Ok(_)) => {
            assert_eq!(notice(), "", "{statements:?}");
            "nothing is told".to_owned()
        }
        (Ends(expected), Ok(_)) => {
            let ended = tokio::time::timeout(PATIENCE, ended).await.expect("the session ends by itself").unwrap();
            let error = ended.expect_err("a session that ends is told why");
            assert_eq!(code(&error), *expected, "{statements:?}: {error:?}");
            format!("the session ends: {expected}")
        }
        (_, other) => panic!("{statements:?}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_do_what_they_say() {
    let server = Launch::new("memory://").start().await;
    let session = server.connect().await;
    let all =
        session.rows("SELECT name, boot_val, unit, short_desc, context FROM pg_settings ORDER BY lower(name)").await;
    let mut page = String::from(
        "Those that act, with what a test saw them do:\n\n| setting | without SET | what it is for | example | shows |\n|---|---|---|---|---|\n",
    );
    let mut without_effect = Vec::new();
    for row in &all {
        let [name, default, unit, description, context] = &row[..] else { panic!("{row:?}") };
        // What every name can be SET to again is what it is.
        if context != "internal" && name != "role" {
            session.run(&format!("RESET \"{name}\"")).await;
        }
        if description == "Accepted for clients; has no effect." {
            without_effect.push(format!("`{name}`"));
            continue;
        }
        let unit = if unit == "-" || default == "0" { "" } else { unit };
        let default = if default.is_empty() { String::new() } else { format!("`{default}{unit}`") };
        let mut effects = EFFECTS.iter().filter(|(of, ..)| of == name).peekable();
        if effects.peek().is_none() {
            writeln!(page, "| `{name}` | {default} | {description} | | |").expect("memory takes it");
        }
        for (at, (_, statements, shown)) in effects.enumerate() {
            let shown = seen(&server, statements, shown).await;
            let head = if at == 0 { format!("`{name}` | {default} | {description}") } else { "| |".to_owned() };
            writeln!(page, "| {head} | `{}` | {shown} |", statements.join("; ")).expect("memory takes it");
        }
    }
    for (name, statements, shown) in EFFECTS {
        if name.starts_with("a name") {
            let shown = seen(&server, statements, shown).await;
            writeln!(page, "| {name} | | | `{}` | {shown} |", statements.join("; ")).expect("memory takes it");
            continue;
        }
        assert!(all.iter().any(|row| row[0] == *name), "{name} is not in pg_settings");
    }
    assert!(without_effect.len() > 40, "{without_effect:?}");
    writeln!(
        page,
        "\nKnown, their values checked and kept, without effect, because what they steer is not there: {}.",
        without_effect.join(", ")
    )
    .expect("memory takes it");
    check_section("settings", &page);
}
