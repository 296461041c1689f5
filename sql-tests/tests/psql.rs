//! The real psql over a server: what a person types first gives answers, and no command gives an error.

use std::process::Command;
use std::sync::Arc;

use millstream::engine::{Engine, EngineConfig};
use millstream::session::Session;
use millstream::wire::{Login, WireConfig, listen, serve};
use tokio_util::sync::CancellationToken;

/// Statements and commands of one session, and a part of what each prints.
const TYPED: &[(&str, &str)] = &[
    ("CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT NOT NULL DEFAULT 'x', n NUMERIC(12, 2))", "CREATE TABLE"),
    ("CREATE VIEW w AS SELECT id, v FROM t", "CREATE VIEW"),
    ("CREATE MATERIALIZED VIEW m AS SELECT v, count(*) AS n FROM t GROUP BY v", "CREATE MATERIALIZED VIEW"),
    ("COMMENT ON TABLE t IS 'of everything'", "COMMENT"),
    ("COMMENT ON COLUMN t.v IS 'what it says'", "COMMENT"),
    ("\\d", "public|m|materialized view|"),
    ("\\d t", "id|bigint||not null|"),
    ("\\d t", "\"t_pkey\" PRIMARY KEY, btree (id)"),
    ("\\d+ t", "|what it says"),
    ("\\d w", "v|text|||"),
    ("\\d+ w", "SELECT id, v FROM t;"),
    ("\\d m", "n|bigint|||"),
    ("\\d t_pkey", "id|bigint|yes|id"),
    ("\\dt", "public|t|table|"),
    ("\\dt+", "of everything"),
    ("\\dv", "public|w|view|"),
    ("\\dm", "public|m|materialized view|"),
    ("\\di", "public|t_pkey|index|"),
    ("\\ds", ""),
    ("\\df", "Schema|Name|Result data type"),
    ("\\df pg_catalog.format_type", "pg_catalog|format_type|text|oid, integer|func"),
    ("\\dn", "public|"),
    ("\\dn+", "public|"),
    ("\\l", "|UTF8|C.UTF-8|"),
    ("\\du", "Superuser"),
    ("\\dp", "public|t|table|"),
    ("\\dT", "Schema|Name|Description"),
    ("\\dT pg_catalog.int4", "pg_catalog|integer|"),
    ("\\dd", "Schema|Name|Object|Description"),
    ("\\sv w", "CREATE OR REPLACE VIEW public.w AS"),
    ("\\conninfo", "You are connected to database"),
    ("SELECT 1 AS a, 'x'::text AS b \\gdesc", "a|integer"),
    ("\\x \\\\ SELECT 7 AS seven; \\x", "seven|7"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_shows_what_is_there() {
    if Command::new("psql").arg("--version").output().is_err() {
        println!("SKIPPED: there is no psql on this machine");
        return;
    }
    let engine = Engine::open(EngineConfig::new("memory://")).await.unwrap();
    let listener = listen("127.0.0.1:0".parse().unwrap(), WireConfig::default()).await.unwrap();
    let port = listener.local_address().unwrap().port();
    let shutdown = CancellationToken::new();
    let open =
        move |login: &Login| Session::connect(Arc::clone(&engine), &login.user, &login.database, Some(&login.place));
    tokio::spawn(serve(listener, open, shutdown.clone()));
    for (typed, expected) in TYPED {
        let mut psql = tokio::process::Command::new("psql");
        psql.args(["-X", "-A", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "millstream", "-d", "millstream"]);
        psql.args(["-p", &port.to_string(), "-f", "-"]);
        psql.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut running = psql.stderr(std::process::Stdio::piped()).spawn().unwrap();
        let mut input = running.stdin.take().unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut input, typed.as_bytes()).await.unwrap();
        // A statement ends with a semicolon, a command with its line.
        let end: &[u8] = if typed.contains('\\') { b"\n" } else { b";\n" };
        tokio::io::AsyncWriteExt::write_all(&mut input, end).await.unwrap();
        drop(input);
        let output = running.wait_with_output().await.unwrap();
        let (printed, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!errors.contains("ERROR"), "{typed}\n{printed}{errors}");
        let shown = format!("{printed}{errors}");
        assert!(shown.contains(expected), "{typed} does not print {expected}:\n{shown}");
    }
    shutdown.cancel();
}
