//! Every type with its values, in text and in binary, as column and as parameter: the matrix of
//! `clients/types.json`, which the programs of other clients run, too. Its texts are held against a Postgres 15 where
//! there is one.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::{BufMut, BytesMut};
use millstream_sql_tests::docs::check_section;
use millstream_sql_tests::server::Launch;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Bytes as they go over the wire in the binary format.
#[derive(Debug, PartialEq)]
struct Raw(Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl ToSql for Raw {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

struct Matrix(serde_json::Value);

/// A value of the matrix.
struct Case<'a> {
    type_name: &'a str,
    oid: u32,
    input: &'a str,
    /// What Millstream writes.
    text: &'a str,
    /// What Postgres writes.
    postgres: &'a str,
}

impl Matrix {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/types.json");
        Self(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    }

    fn cases(&self) -> Vec<Case<'_>> {
        let mut cases = Vec::new();
        for entry in self.0["types"].as_array().unwrap() {
            for value in entry["values"].as_array().unwrap() {
                let text = value[1].as_str().unwrap();
                cases.push(Case {
                    type_name: entry["type"].as_str().unwrap(),
                    oid: u32::try_from(entry["oid"].as_u64().unwrap()).unwrap(),
                    input: value[0].as_str().unwrap(),
                    text,
                    postgres: value[2].as_str().unwrap_or(text),
                });
            }
        }
        assert!(cases.len() > 90, "{} cases", cases.len());
        cases
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The one value of a query in the text format.
async fn simple(client: &Client, sql: &str) -> Option<String> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let row = messages.into_iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    row.expect("the query gives a row").get(0).map(str::to_string)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_value_goes_both_ways_in_both_formats() {
    let server = Launch::new("memory://").start().await;
    let session = server.connect().await;
    let client = session.client();
    let matrix = Matrix::read();
    for Case { type_name, oid, input, text, .. } in matrix.cases() {
        let sql = format!("SELECT {}::{type_name}", quoted(input));
        assert_eq!(simple(client, &sql).await.as_deref(), Some(text), "{sql}");
        // The column in binary, then the same bytes as a parameter, shown in both formats.
        let row = client.query_one(&sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(row.columns()[0].type_().oid(), oid, "{sql}");
        let binary: Raw = row.get(0);
        let is_array = type_name.ends_with("[]");
        // A NULL beside an array leaves dimensions of different lengths, which have no binary format.
        let array = if is_array { String::new() } else { format!(", ARRAY[$1::{type_name}, NULL]") };
        let back = format!("SELECT $1::{type_name}, ($1::{type_name})::text{array}");
        let row = client.query_one(&back, &[&binary]).await.unwrap_or_else(|error| panic!("{back}: {error:?}"));
        assert_eq!(row.get::<_, Raw>(0), binary, "{sql}");
        // A cast of a truth value writes the whole word.
        let word = match (type_name, text) {
            ("boolean", "t") => "true",
            ("boolean", "f") => "false",
            // As in Postgres the text of a `char(n)` is what it holds.
            ("char(5)", text) => text.trim_end_matches(' '),
            _ => text,
        };
        assert_eq!(row.get::<_, &str>(1), word, "{sql}");
        // Within an array the bytes are the same.
        if !is_array {
            let array: Raw = row.get(2);
            let element = &array.0[24..24 + binary.0.len()];
            assert_eq!(element, binary.0, "{sql} in an array");
            let again = client.query_one(&format!("SELECT $1::{type_name}[]"), &[&array]).await.unwrap();
            assert_eq!(again.get::<_, Raw>(0), array, "{sql} as a parameter of arrays");
        }
    }
    let mut refused = Vec::new();
    for case in matrix.0["refused"].as_array().unwrap() {
        let sql = case["sql"].as_str().unwrap();
        let (code, message) = session.error(sql).await;
        assert_eq!(code, case["code"].as_str().unwrap(), "{case}");
        refused.push(format!("| `{sql}` | {} |", message.trim()));
    }
    check_section("types", &page(&matrix, &refused));
}

/// The tables of the documentation: what has gone both ways, and what was refused.
fn page(matrix: &Matrix, refused: &[String]) -> String {
    let mut lines = vec![
        "Every value of `sql-tests/clients/types.json` has gone both ways, in text and in binary, as a column, as a \
         parameter and within an array; where there is a Postgres 15 its answers are the same to the byte, but for \
         those named:"
            .to_owned(),
        String::new(),
        "| type | OID | values | written otherwise than by Postgres |".to_owned(),
        "|---|---|---|---|".to_owned(),
    ];
    let cases = matrix.cases();
    for of_type in cases.chunk_by(|left, right| left.type_name == right.type_name) {
        let differs = of_type.iter().filter(|case| case.text != case.postgres);
        let differs: Vec<String> = differs.map(|case| format!("`{}`, there `{}`", case.text, case.postgres)).collect();
        let Case { type_name, oid, .. } = &of_type[0];
        lines.push(format!("| `{type_name}` | {oid} | {} | {} |", of_type.len(), differs.join("; ")));
    }
    lines.extend(["", "What is refused, and how:", "", "| statement | error |", "|---|---|"].map(str::to_owned));
    lines.extend(refused.iter().cloned());
    lines.join("\n")
}

/// What is an OID and shown by name: how it is written, the OID of its type, and the number.
const REGISTRY: &[(&str, u32, u32)] = &[
    ("'pg_class'::regclass", 2205, 1259),
    ("'integer'::regtype", 2206, 23),
    ("'pg_catalog'::regnamespace", 4089, 11),
    ("'now'::regproc", 24, 1299),
    ("'now()'::regprocedure", 2202, 1299),
    ("'\"C\"'::regcollation", 4191, 950),
    ("10::regrole", 4096, 10),
    ("77::oid", 26, 77),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_by_name_is_a_number_in_binary() {
    let server = Launch::new("memory://").start().await;
    let session = server.connect().await;
    let postgres = Postgres::start();
    let mut clients = vec![session.client()];
    let theirs = match &postgres {
        Some(postgres) => Some(postgres.connect().await),
        None => None,
    };
    clients.extend(&theirs);
    for client in clients {
        for (value, oid, number) in REGISTRY {
            let binary = Raw(number.to_be_bytes().to_vec());
            let sql = format!("SELECT {value}, ARRAY[{value}]");
            let row = client.query_one(&sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            assert_eq!(row.columns()[0].type_().oid(), *oid, "{sql}");
            assert_eq!(row.get::<_, Raw>(0), binary, "{sql}");
            let elements: Raw = row.get(1);
            assert_eq!(elements.0[elements.0.len() - 4..], number.to_be_bytes(), "{sql}");
            // The number as a parameter, shown by name again.
            let type_name = value.rsplit_once("::").unwrap().1;
            let sql = format!("SELECT $1::{type_name}, $1::{type_name}::text");
            let row = client.query_one(&sql, &[&binary]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            assert_eq!(row.get::<_, Raw>(0), binary, "{sql}");
            let shown = simple(client, &format!("SELECT {value}")).await;
            assert_eq!(row.get::<_, Option<&str>>(1), shown.as_deref(), "{sql}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn composite_values_are_parameters_where_their_fields_are_known() {
    let server = Launch::new("memory://").start().await;
    let session = server.connect().await;
    session.run("CREATE TABLE pairs (id int PRIMARY KEY, p STRUCT<a int, b text>, ps STRUCT<a int, b text>[])").await;
    session
        .run("INSERT INTO pairs VALUES (1, '(7,\"a b\")', ARRAY['(7,\"a b\")', NULL]::STRUCT<a int, b text>[])")
        .await;
    let client = session.client();
    let there = client.query_one("SELECT p, ps FROM pairs WHERE id = 1", &[]).await.unwrap();
    let (pair, pairs): (Raw, Raw) = (there.get(0), there.get(1));
    let insert = "INSERT INTO pairs VALUES ($1, $2, $3)";
    // The types may be left to the server, or named: a record has no other name.
    let left_open = client.prepare(insert).await.unwrap();
    assert_eq!(left_open.params(), [Type::INT4, Type::RECORD, Type::RECORD_ARRAY]);
    let named = client.prepare_typed(insert, &[Type::INT4, Type::RECORD, Type::RECORD_ARRAY]).await.unwrap();
    for (id, statement) in [(2, &left_open), (3, &named)] {
        client.execute(statement, &[&id, &pair, &pairs]).await.unwrap();
    }
    let found = client.query("SELECT id FROM pairs WHERE p = $1 ORDER BY id", &[&pair]).await.unwrap();
    assert_eq!(found.iter().map(|row| row.get::<_, i32>(0)).collect::<Vec<_>>(), [1, 2, 3]);
    let rows = session.rows("SELECT p, ps FROM pairs ORDER BY id").await;
    assert!(rows.iter().all(|row| *row == ["(7,\"a b\")", "{\"(7,\\\"a b\\\")\",NULL}"]), "{rows:?}");
    // A row with a column too few, and one whose column is of another type.
    let (mut short, mut other) = (pair.0.clone(), pair.0.clone());
    short[3] = 1;
    short.truncate(16);
    other[7] = 21;
    for wrong in [Raw(short), Raw(other)] {
        let error = client.execute(&left_open, &[&9, &wrong, &pairs]).await.unwrap_err();
        assert_eq!(error.as_db_error().unwrap().code().code(), "42804", "{error:?}");
    }
    // Where nothing tells the fields there is no such input, as in Postgres.
    let open = client.prepare_typed("SELECT $1::text", &[Type::RECORD]).await.unwrap();
    let error = client.query(&open, &[&pair]).await.unwrap_err();
    assert_eq!(error.as_db_error().unwrap().code().code(), "0A000", "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_value_is_kept_by_tables_and_views() {
    let server = Launch::new("memory://").start().await;
    let session = server.connect().await;
    let matrix = Matrix::read();
    for (number, entry) in matrix.0["types"].as_array().unwrap().iter().enumerate() {
        let type_name = entry["type"].as_str().unwrap();
        session.run(&format!("CREATE TABLE t{number} (id int PRIMARY KEY, v {type_name}, w {type_name}[])")).await;
        session.run(&format!("CREATE MATERIALIZED VIEW v{number} AS SELECT id, v, w FROM t{number}")).await;
        let mut expected = vec![vec!["0".to_string(), "-".to_string()]];
        session.run(&format!("INSERT INTO t{number} VALUES (0, NULL, NULL)")).await;
        for (id, value) in entry["values"].as_array().unwrap().iter().enumerate() {
            let input = quoted(value[0].as_str().unwrap());
            session
                .run(&format!("INSERT INTO t{number} VALUES ({}, {input}, ARRAY[{input}]::{type_name}[])", id + 1))
                .await;
            expected.push(vec![(id + 1).to_string(), value[1].as_str().unwrap().to_string()]);
        }
        for relation in [format!("t{number}"), format!("v{number}")] {
            let rows = session.rows(&format!("SELECT id, v FROM {relation} ORDER BY id")).await;
            assert_eq!(rows, expected, "{type_name} in {relation}");
            let within = session.rows(&format!("SELECT id, w[1] FROM {relation} ORDER BY id")).await;
            assert_eq!(within, expected, "{type_name}[] in {relation}");
        }
    }
}

/// A Postgres of the machine's, in a folder of its own.
struct Postgres {
    folder: tempfile::TempDir,
    bin: PathBuf,
}

/// Postgres does not run as root.
const NOBODY: u32 = 65_534;

impl Postgres {
    fn start() -> Option<Self> {
        let bin = PathBuf::from("/usr/lib/postgresql/15/bin");
        if !bin.join("initdb").exists() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let postgres = Self { folder, bin };
        if postgres.is_root() {
            std::os::unix::fs::chown(postgres.folder.path(), Some(NOBODY), None).unwrap();
        }
        let data = postgres.folder.path().join("data").display().to_string();
        let socket = postgres.folder.path().display().to_string();
        postgres.run("initdb", &["-D", &data, "-U", "me", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
        let options = format!("-k {socket} -c listen_addresses='' -c timezone=UTC");
        let log = postgres.folder.path().join("log").display().to_string();
        postgres.run("pg_ctl", &["-D", &data, "-o", &options, "-l", &log, "-w", "start"]);
        Some(postgres)
    }

    fn is_root(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(self.bin.join(program));
        command.args(arguments).current_dir(self.folder.path()).stdout(std::process::Stdio::null());
        if self.is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let status = command.status().unwrap();
        assert!(status.success(), "{program} {arguments:?}: {status}");
    }

    async fn connect(&self) -> Client {
        let config = format!("host={} user=me dbname=postgres", self.folder.path().display());
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.folder.path().join("data").display().to_string();
        self.run("pg_ctl", &["-D", &data, "-m", "immediate", "-w", "stop"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_matrix_is_what_postgres_gives() {
    let Some(postgres) = Postgres::start() else {
        eprintln!("SKIPPED types::the_matrix_is_what_postgres_gives: there is no Postgres 15");
        return;
    };
    let client = postgres.connect().await;
    let server = Launch::new("memory://").start().await;
    let session = server.connect().await;
    for Case { type_name, oid, input, text, postgres } in Matrix::read().cases() {
        let sql = format!("SELECT {}::{type_name}", quoted(input));
        assert_eq!(simple(&client, &sql).await.as_deref(), Some(postgres), "{sql}");
        let theirs = client.query_one(&sql, &[]).await.unwrap();
        assert_eq!(theirs.columns()[0].type_().oid(), oid, "{sql}");
        // What differs in text differs in the digits that binary shows.
        if text == postgres {
            let ours = session.client().query_one(&sql, &[]).await.unwrap();
            assert_eq!(ours.get::<_, Raw>(0), theirs.get::<_, Raw>(0), "{sql} in binary");
        }
    }
}
