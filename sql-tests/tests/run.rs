//! `millstream run` as a job: files in, files out, and errors with their place.

use std::fs;
use std::process::{Command, Output};

fn run(script: &std::path::Path) -> Output {
    let mut command = Command::new(millstream_sql_tests::server::binary());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MILLSTREAM_")) {
        command.env_remove(name);
    }
    command.arg("run").arg(script).output().unwrap()
}

#[test]
fn what_a_run_computes_has_left_through_its_sinks_when_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::create_dir(folder.path().join("in")).unwrap();
    let lines: String = (0..1000).map(|number| format!("{{\"k\": {}, \"v\": {number}}}\n", number % 10)).collect();
    fs::write(folder.path().join("in/rows.json"), lines).unwrap();
    let script = folder.path().join("job.sql");
    let sql = format!(
        "CREATE SOURCE rows (k BIGINT, v BIGINT) WITH (connector = 'file', path = '{}') FORMAT PLAIN ENCODE JSON;
         CREATE SINK big AS SELECT k, v FROM rows WHERE v >= 990
           WITH (connector = 'file', path = '{}') FORMAT PLAIN ENCODE CSV;",
        path("in/rows.json"),
        path("out"),
    );
    fs::write(&script, sql).unwrap();
    let output = run(&script);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut rows = Vec::new();
    for entry in fs::read_dir(folder.path().join("out")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        rows.extend(
            text.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit())).map(str::to_string),
        );
    }
    rows.sort();
    let expected: Vec<String> = (990..1000).map(|number| format!("{},{number}", number % 10)).collect();
    assert_eq!(rows, expected);
}

#[test]
fn an_error_names_the_file_the_line_and_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("wrong.sql");
    fs::write(&script, "CREATE TABLE t (a INT);\nSELECT a,\n       b FROM t;\n").unwrap();
    let output = run(&script);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("wrong.sql:3: ERROR 42703: column \"b\" does not exist"), "{errors}");
    assert!(errors.contains("\n       b FROM t;\n       ^"), "{errors}");
}
