//! What statements are described as before they run: the types of their parameters, and of their columns the type, its
//! modifier and the column of a relation that it is. Held against Millstream, and against a Postgres 15 where there is
//! one.

use std::collections::HashMap;
use std::fmt::Write as _;

use millstream_sql_tests::postgres::Postgres;
use millstream_sql_tests::server::Launch;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};

/// A line of the file.
struct Case {
    sql: &'static str,
    /// Parameters and columns, divided by a tab; an SQLSTATE where it is refused.
    expected: String,
    /// What Postgres says, where Millstream says something else on purpose.
    postgres: String,
}

fn cases() -> Vec<Case> {
    let text = include_str!("../fixtures/descriptions.tsv");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let cases = lines.map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let (sql, expected) = match fields[..] {
            [sql, code] => (sql, code.to_owned()),
            [sql, parameters, columns, ..] => (sql, format!("{parameters}\t{columns}")),
            _ => panic!("a statement and its description are wanted: {line}"),
        };
        let postgres = fields.get(3).map_or(expected.clone(), |other| other.replace(" => ", "\t"));
        Case { sql, expected, postgres }
    });
    cases.collect()
}

async fn set_up(client: &Client) -> HashMap<u32, String> {
    client.batch_execute(include_str!("../fixtures/descriptions.sql")).await.unwrap();
    let rows = client.query("SELECT oid, relname::text FROM pg_class WHERE relkind IN ('r', 'v', 'm')", &[]).await;
    rows.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn name(of: &Type) -> String {
    match of.name().strip_prefix('_') {
        Some(element) => format!("{element}[]"),
        None => of.name().to_owned(),
    }
}

fn described(statement: &Statement, relations: &HashMap<u32, String>) -> String {
    let parameters: Vec<String> = statement.params().iter().map(name).collect();
    let columns = statement.columns().iter().map(|column| {
        let mut text = format!("{} {}", column.name(), name(column.type_()));
        if column.type_modifier() != -1 {
            write!(text, "({})", column.type_modifier()).unwrap();
        }
        if let Some(relation) = column.table_oid() {
            write!(text, " = {}.{}", relations[&relation], column.column_id().unwrap()).unwrap();
        }
        text
    });
    format!("{}\t{}", parameters.join(", "), columns.collect::<Vec<_>>().join(", "))
}

async fn differences(client: &Client, expected: impl Fn(&Case) -> &str) -> String {
    let relations = set_up(client).await;
    let mut differences = String::new();
    for case in cases() {
        let found = match client.prepare(case.sql).await {
            Ok(statement) => described(&statement, &relations),
            Err(error) => error.code().map_or(error.to_string(), |code| code.code().to_owned()),
        };
        if found != expected(&case) {
            writeln!(differences, "{}\n    expected {:?}\n    found    {found:?}", case.sql, expected(&case)).unwrap();
        }
    }
    differences
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_are_described_as_postgres_does() {
    let server = Launch::new("memory://").start().await;
    let session = server.connect().await;
    let differences = differences(session.client(), |case| &case.expected).await;
    assert!(differences.is_empty(), "\n{differences}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_describes_them_so() {
    let postgres = match Postgres::start().await {
        Ok(postgres) => postgres,
        Err(why) => return eprintln!("postgres_describes_them_so is SKIPPED: {why}"),
    };
    let client = postgres.client().await.unwrap();
    let differences = differences(&client, |case| &case.postgres).await;
    assert!(differences.is_empty(), "\n{differences}");
}
