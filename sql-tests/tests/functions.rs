//! What functions, operators and casts give: every line of `fixtures/functions/*.tsv`, as Millstream gives it, and, where
//! there is a Postgres 15, as Postgres gives it.
//!
//! A line is an expression, a tab, and its text; several rows stand beside each other with ` | ` between them. `SET`
//! statements hold for what follows in their file.

use std::fmt::Write as _;
use std::path::Path;

use millstream_sql_tests::docs::check_section;
use millstream_sql_tests::postgres::Postgres;
use millstream_sql_tests::server::Launch;
use tokio_postgres::{Client, SimpleQueryMessage};

/// The files: their names and their lines.
fn files() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/functions");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<(String, String)> = entries
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_string(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    files.sort();
    files
}

/// The rows of a query of one column; NULL is `NULL`.
async fn given(client: &Client, expression: &str) -> String {
    match client.simple_query(&format!("SELECT {expression}")).await {
        Ok(messages) => {
            let rows = messages.iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_string()),
                _ => None,
            });
            rows.collect::<Vec<_>>().join(" | ").replace('\n', "\\n")
        }
        Err(error) => match error.as_db_error() {
            Some(error) => format!("ERROR {}", error.code().code()),
            None => panic!("{expression}: {error}"),
        },
    }
}

/// What differs from the files.
async fn differences(client: &Client) -> String {
    let mut differences = String::new();
    for (name, text) in files() {
        client.batch_execute("RESET ALL").await.unwrap();
        client.batch_execute("SET TimeZone = 'UTC'").await.unwrap();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if line.starts_with("SET ") {
                client.batch_execute(line).await.unwrap();
                continue;
            }
            let (expression, expected) = line.split_once('\t').unwrap_or_else(|| panic!("{name}: no tab: {line}"));
            let found = given(client, expression).await;
            if found != expected {
                writeln!(differences, "{name}: {expression}\n    expected {expected}\n    found    {found}").unwrap();
            }
        }
    }
    differences
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_give_what_postgres_gives() {
    let server = Launch::new("memory://").start().await;
    let session = server.connect().await;
    let differences = differences(session.client()).await;
    assert!(differences.is_empty(), "\n{differences}");
    check_section("functions", &page());
}

/// The table of the documentation: how much is compared.
fn page() -> String {
    let mut page = "These give what Postgres 15 gives (`sql-tests/fixtures/functions`):\n\n\
                    | of | expressions |\n|---|---|\n"
        .to_string();
    for (name, text) in files() {
        let count = text.lines().filter(|line| line.contains('\t')).count();
        writeln!(page, "| {} | {count} |", name.replace('_', " ")).expect("memory takes it");
    }
    page
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_gives_them() {
    let postgres = match Postgres::start().await {
        Ok(postgres) => postgres,
        Err(why) => return eprintln!("postgres_gives_them is SKIPPED: {why}"),
    };
    let differences = differences(&postgres.client().await.unwrap()).await;
    assert!(differences.is_empty(), "\n{differences}");
}
