//! Golden plans: SQL and what the planner makes of it, side by side in one file per topic.
//!
//! A case is SQL text, a line `----`, and the expected text up to an empty line. `UPDATE_GOLDEN=1` writes the
//! files anew. Which planner runs is said by the first word of a file's name: `view_*` lowers, `query_*` plans
//! a batch query, `change_*` plans DML.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use millstream_planner::bind::{self, Binder};
use millstream_planner::error::{PlanError, TextPosition};
use millstream_planner::parse::parse_query;
use millstream_planner::plan::plan;
use millstream_planner::settings::PlanSettings;
use millstream_planner::statement::{ExplainMode, Statement, StatementText};
use millstream_planner::types::sql_name;
use millstream_planner::{batch, explain};
use millstream_runtime::plan::EmitOn;

use crate::fixture;

#[test]
fn plans_are_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the golden files are beside the tests")
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no golden files in {}", folder.display());
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut differences = String::new();
    for file in files {
        let name = file.file_stem().and_then(|name| name.to_str()).expect("golden files have plain names").to_string();
        let written = fs::read_to_string(&file).expect("a golden file can be read");
        let actual = rendered(&name, &written);
        if update {
            fs::write(&file, &actual).expect("a golden file can be written");
        } else if actual != written {
            let _ = writeln!(differences, "{name}:\n{}", difference(&written, &actual));
        }
    }
    assert!(differences.is_empty(), "UPDATE_GOLDEN=1 writes them anew:\n{differences}");
}

fn rendered(name: &str, written: &str) -> String {
    let mut text = String::new();
    for case in written.split("\n\n").filter(|case| !case.trim().is_empty()) {
        let sql = case.split("\n----").next().unwrap_or_default().trim();
        let (comments, statement): (Vec<&str>, Vec<&str>) = sql.lines().partition(|line| line.starts_with('#'));
        let statement = statement.join("\n");
        let result = match name.split('_').next() {
            Some("view") => view(&statement),
            Some("query") => query(&statement),
            Some("change") => change(&statement),
            other => panic!("{name}: what is {other:?}?"),
        };
        let result = result.unwrap_or_else(|error| failure(&error));
        comments.iter().for_each(|comment| {
            let _ = writeln!(text, "{comment}");
        });
        if !statement.is_empty() {
            let _ = writeln!(text, "{statement}\n----\n{}", result.trim_end());
        }
        text.push('\n');
    }
    text
}

fn failure(error: &PlanError) -> String {
    let mut text = format!("ERROR {:?}: {}\n", error.kind, error.message);
    if let Some(detail) = &error.detail {
        let _ = writeln!(text, "DETAIL: {detail}");
    }
    if let Some(hint) = &error.hint {
        let _ = writeln!(text, "HINT: {hint}");
    }
    if let Some(position) = error.position {
        let _ = writeln!(text, "AT: {}", position.0);
    }
    text
}

fn columns(schema: &SchemaRef) -> String {
    let columns = schema.fields().iter();
    columns.map(|field| format!("{} {}", field.name(), sql_name(field.data_type()))).collect::<Vec<_>>().join(", ")
}

fn view(sql: &str) -> Result<String, PlanError> {
    let (sql, emit) = match sql.strip_suffix("EMIT ON WINDOW CLOSE") {
        Some(sql) => (sql, EmitOn::WindowClose),
        None => (sql, EmitOn::Update),
    };
    let (catalog, settings) = (fixture::catalog(), PlanSettings::default());
    let bound = Binder::new(&catalog, &settings).definition(&*parse_query(sql)?)?;
    let view = bind::view(&bound, Some(emit))?;
    let mut text = explain::dataflow(&view.dataflow, ExplainMode::Plan);
    text.push_str(&explain::dataflow(&view.dataflow, ExplainMode::State));
    let names = |indices: &[usize]| {
        indices.iter().map(|index| bound.schema.field(*index).name().as_str()).collect::<Vec<_>>().join(", ")
    };
    let _ = writeln!(text, "columns: {}", columns(&view.dataflow.root().schema));
    let _ = writeln!(text, "key: ({})", names(&view.definition.key));
    if let Some(bound) = view.definition.event_time {
        let _ = writeln!(text, "event time: {} + {}us", names(&[bound.column]), bound.extent_micros);
    }
    Ok(text)
}

fn query(sql: &str) -> Result<String, PlanError> {
    let (catalog, settings) = (fixture::catalog(), PlanSettings::default());
    let query = Binder::new(&catalog, &settings).query(&*parse_query(sql)?, &[])?;
    let optimized = batch::BatchRuntime::new(1 << 20, 1).query(fixture::facts()).optimized(&query.plan, Vec::new())?;
    let mut text = explain::query(&optimized);
    let _ = writeln!(text, "columns: {}", columns(&query.schema));
    if !query.parameters.is_empty() {
        let types = query.parameters.iter().map(|known| known.as_ref().map_or("?".to_string(), sql_name));
        let _ = writeln!(text, "parameters: {}", types.collect::<Vec<_>>().join(", "));
    }
    Ok(text)
}

fn change(sql: &str) -> Result<String, PlanError> {
    let (catalog, settings) = (fixture::catalog(), PlanSettings::default());
    let text = StatementText { sql: sql.to_string(), start: TextPosition(1) };
    let (rows, returning, parameters, more) = match plan(&text, &catalog, &settings, &[])? {
        Statement::Insert(insert) => {
            let more = format!("on conflict: {:?}", insert.on_conflict);
            let sets = insert.conflict_assignments.iter().flatten().map(ToString::to_string).collect::<Vec<_>>();
            (insert.rows, insert.returning, insert.parameters, format!("{more} [{}]\n", sets.join(", ")))
        }
        Statement::Update(update) => (update.rows, update.returning, update.parameters, String::new()),
        Statement::Delete(delete) => (delete.rows, delete.returning, delete.parameters, String::new()),
        other => panic!("no DML: {other:?}"),
    };
    let mut text = explain::query(&rows);
    text.push_str(&more);
    let fields = rows.schema().fields().iter();
    let fields = fields.map(|field| format!("{} {}", field.name(), sql_name(field.data_type())));
    let _ = writeln!(text, "rows: {}", fields.collect::<Vec<_>>().join(", "));
    if let Some(returning) = returning {
        let _ =
            writeln!(text, "returning: {}", returning.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    }
    if !parameters.is_empty() {
        let types = parameters.iter().map(|known| known.as_ref().map_or("?".to_string(), sql_name));
        let _ = writeln!(text, "parameters: {}", types.collect::<Vec<_>>().join(", "));
    }
    Ok(text)
}

/// The lines that differ, with those around them.
fn difference(written: &str, actual: &str) -> String {
    let (written, actual): (Vec<&str>, Vec<&str>) = (written.lines().collect(), actual.lines().collect());
    let first = written.iter().zip(&actual).take_while(|(left, right)| left == right).count();
    let shown =
        |lines: &[&str]| lines.iter().skip(first.saturating_sub(3)).take(14).copied().collect::<Vec<_>>().join("\n");
    format!("--- written, line {}\n{}\n--- actual\n{}\n", first + 1, shown(&written), shown(&actual))
}
