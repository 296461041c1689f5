//! The SQLSTATE, the place and the hint of every mistake of `fixtures/mistakes.tsv`: as Millstream gives them, and, where
//! there is a Postgres 15, as Postgres gives them for the same statement over the same relations.

use std::fmt::Write as _;

use millstream_sql_tests::docs::check_section;
use millstream_sql_tests::postgres::Postgres;
use millstream_sql_tests::server::Launch;
use tokio_postgres::Client;
use tokio_postgres::error::{DbError, ErrorPosition};

const SETUP: [&str; 5] = [
    "CREATE TABLE t (id INT PRIMARY KEY, v TEXT NOT NULL, n NUMERIC)",
    "CREATE TABLE u (id INT PRIMARY KEY, w INT)",
    "INSERT INTO t VALUES (1, 'a', 1.5)",
    "CREATE MATERIALIZED VIEW mv AS SELECT v, count(*) AS n FROM t GROUP BY v",
    "CREATE VIEW vw AS SELECT id FROM t",
];

async fn set_up(client: &Client) {
    for sql in SETUP {
        client.batch_execute(sql).await.unwrap();
    }
}

/// A line of the file: what is expected of a statement.
struct Mistake {
    sqlstate: String,
    /// What stands where the error points; `-` for nowhere, `<end>` for the end.
    token: String,
    /// A part of the hint; empty when none is looked for.
    hint: String,
    sql: String,
    /// The message, where it is that of Postgres.
    message: Option<String>,
}

fn mistakes() -> Vec<Mistake> {
    let text = include_str!("../fixtures/mistakes.tsv");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let mistakes = lines.map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let (fields, message) = match fields.split_at_checked(4) {
            Some((fields, [])) => (fields, None),
            Some((fields, [message])) => (fields, Some(message.to_string())),
            _ => panic!("four fields are wanted, or five: {line}"),
        };
        let [sqlstate, token, hint, sql] = fields else { panic!("four fields are wanted: {line}") };
        let (sqlstate, token, hint) = (sqlstate.to_string(), token.to_string(), hint.to_string());
        Mistake { sqlstate, token, hint, sql: sql.to_string(), message }
    });
    mistakes.collect()
}

/// What stands where an error points.
fn pointed_at(sql: &str, error: &DbError) -> String {
    match error.position() {
        Some(ErrorPosition::Original(at)) => {
            let rest: String = sql.chars().skip(*at as usize - 1).collect();
            if rest.is_empty() { "<end>".to_owned() } else { rest }
        }
        _ => "-".to_owned(),
    }
}

async fn error_of(client: &Client, sql: &str) -> Result<DbError, String> {
    match client.batch_execute(sql).await {
        Ok(()) => Err(format!("{sql}\n    succeeds")),
        Err(error) => error.as_db_error().cloned().ok_or_else(|| format!("{sql}\n    {error}")),
    }
}

fn points_right(expected: &str, found: &str) -> bool {
    if expected == "-" { found == "-" } else { found.starts_with(expected) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_get_the_code_and_the_place_of_postgres() {
    let mistakes = mistakes();
    assert!(mistakes.len() >= 60, "the table has {} mistakes", mistakes.len());
    let server = Launch::new("memory://").start().await;
    let session = server.connect().await;
    set_up(session.client()).await;
    let mut differences = String::new();
    for mistake in &mistakes {
        let error = match error_of(session.client(), &mistake.sql).await {
            Ok(error) => error,
            Err(difference) => {
                writeln!(differences, "{difference}").expect("memory takes it");
                continue;
            }
        };
        let found = pointed_at(&mistake.sql, &error);
        let hinted = error.hint().unwrap_or_default().contains(&mistake.hint);
        let said = mistake.message.as_ref().is_none_or(|message| message == error.message());
        if error.code().code() != mistake.sqlstate || !points_right(&mistake.token, &found) || !hinted || !said {
            let Mistake { sqlstate, token, hint, sql, .. } = mistake;
            writeln!(
                differences,
                "{sql}\n    expected {sqlstate} at {token:?}, hint {hint:?}\n    found    {} at {found:?}, hint {:?}: {}",
                error.code().code(),
                error.hint(),
                error.message()
            )
            .expect("memory takes it");
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
    check_section("mistakes", &page(&mistakes));
}

/// The table of the documentation: the codes that are compared, with a statement that gets each.
fn page(mistakes: &[Mistake]) -> String {
    let mut page = format!(
        "{} mistakes get the SQLSTATE and the place that Postgres 15 gives them (`sql-tests/fixtures/mistakes.tsv`); \
         one of each code:\n\n| SQLSTATE | mistake |\n|---|---|\n",
        mistakes.len()
    );
    let mut codes: Vec<&Mistake> = mistakes.iter().collect();
    codes.sort_by(|left, right| left.sqlstate.cmp(&right.sqlstate));
    codes.dedup_by(|left, right| left.sqlstate == right.sqlstate);
    for mistake in codes {
        let sql = mistake.sql.replace('|', "\\|");
        writeln!(page, "| {} | `{sql}` |", mistake.sqlstate).expect("memory takes it");
    }
    page
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_says_the_same() {
    let postgres = match Postgres::start().await {
        Ok(postgres) => postgres,
        Err(why) => return eprintln!("postgres_says_the_same is SKIPPED: {why}"),
    };
    let client = postgres.client().await.unwrap();
    set_up(&client).await;
    let mut differences = String::new();
    for mistake in mistakes() {
        let (code, found, said) = match error_of(&client, &mistake.sql).await {
            Ok(error) => (
                error.code().code().to_owned(),
                pointed_at(&mistake.sql, &error),
                mistake.message.as_ref().is_none_or(|message| message == error.message()),
            ),
            Err(difference) => (difference, String::new(), false),
        };
        // Where Postgres names no place, ours is only more than it says.
        if code != mistake.sqlstate || (found != "-" && !points_right(&mistake.token, &found)) || !said {
            let Mistake { sqlstate, token, sql, message, .. } = mistake;
            let found = format!("expected {sqlstate} at {token:?}, {message:?}\n    Postgres {code} at {found:?}");
            writeln!(differences, "{sql}\n    {found}").expect("memory takes it");
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn violations_name_what_they_stand_on() {
    let server = Launch::new("memory://").start().await;
    let session = server.connect().await;
    set_up(session.client()).await;
    let twice = error_of(session.client(), "INSERT INTO t VALUES (1, 'b', 2)").await.unwrap();
    assert_eq!((twice.schema(), twice.table()), (Some("public"), Some("t")));
    assert_eq!((twice.column(), twice.constraint()), (None, Some("t_pkey")));
    let null = error_of(session.client(), "INSERT INTO t VALUES (2, NULL, 2)").await.unwrap();
    assert_eq!((null.schema(), null.table()), (Some("public"), Some("t")));
    assert_eq!((null.column(), null.constraint()), (Some("v"), None));
}
