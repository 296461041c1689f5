//! Golden files: cases of SQL and what came of it.
//!
//! A case is some lines of SQL, a line `----`, and the outcome up to an empty line. Lines that start with `#`
//! between the cases are comments. All cases of a file run in order over one catalog.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use millstream_planner::error::PlanError;

/// Runs every case of a file through `outcome` and compares, or writes the file anew.
pub fn check(file: &str, mut outcome: impl FnMut(&str) -> String) {
    let path = path(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut written = String::new();
    for block in blocks(&text) {
        match block {
            Block::Comment(lines) => write!(written, "{lines}\n\n").unwrap(),
            Block::Case(sql) => write!(written, "{sql}\n----\n{}\n\n", outcome(&sql).trim_end()).unwrap(),
        }
    }
    let written = format!("{}\n", written.trim_end());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, written).unwrap();
    } else if written != text {
        panic!("{}", difference(&path, &text, &written));
    }
}

/// The SQL of all golden files: what the fuzzer starts from.
pub fn all_sql() -> Vec<String> {
    let folder = path("");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let cases = files.iter().flat_map(|file| blocks(&std::fs::read_to_string(file).unwrap()));
    let sql = cases.filter_map(|block| match block {
        Block::Case(sql) => Some(sql),
        Block::Comment(_) => None,
    });
    sql.collect()
}

/// An error as `psql` shows it.
pub fn shown(sql: &str, error: &PlanError) -> String {
    let mut text = format!("ERROR {:?}: {}", error.kind, error.message);
    if let Some(position) = error.position {
        let offset = position.0 - 1;
        let before: String = sql.chars().take(offset).collect();
        let line_number = before.matches('\n').count();
        let column = before.chars().rev().take_while(|character| *character != '\n').count();
        let label = format!("LINE {}: ", line_number + 1);
        let line = sql.lines().nth(line_number).unwrap_or_default();
        write!(text, "\n{label}{line}\n{}^", " ".repeat(label.len() + column)).unwrap();
    }
    for (label, part) in [("DETAIL", &error.detail), ("HINT", &error.hint)] {
        if let Some(part) = part {
            write!(text, "\n{label}: {part}").unwrap();
        }
    }
    text
}

enum Block {
    Comment(String),
    Case(String),
}

fn blocks(text: &str) -> Vec<Block> {
    text.split("\n\n")
        .map(|block| block.trim_matches('\n'))
        .filter(|block| !block.is_empty())
        .map(|block| match block.split_once("\n----") {
            _ if block.starts_with('#') => Block::Comment(block.to_string()),
            Some((sql, _)) => Block::Case(sql.to_string()),
            None => Block::Case(block.to_string()),
        })
        .collect()
}

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/definitions/golden").join(file)
}

fn difference(path: &Path, expected: &str, found: &str) -> String {
    let mut text = format!("{} differs; UPDATE_GOLDEN=1 writes it anew\n", path.display());
    let (expected, found): (Vec<_>, Vec<_>) = (expected.lines().collect(), found.lines().collect());
    let first = expected.iter().zip(&found).take_while(|(left, right)| left == right).count();
    for line in expected.iter().skip(first.saturating_sub(4)).take(12) {
        writeln!(text, "- {line}").unwrap();
    }
    for line in found.iter().skip(first.saturating_sub(4)).take(12) {
        writeln!(text, "+ {line}").unwrap();
    }
    text
}
