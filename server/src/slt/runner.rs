//! One file: its records in their order, each compared, or put into the file anew.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use sqllogictest::{ExpectedError, QueryExpect, Record, RecordOutput, Runner, StatementExpect};

use super::connection::{Column, Connection, ConnectionError};
use super::server::TestServer;
use super::{FAILURES_MAX, Failure, FileReport, Options};

/// The variable that names the folder of a file, for scripts with `control substitution on`.
const FOLDER_VARIABLE: &str = "SLT_DIR";

/// Runs one file against a server of its own. What goes wrong, be it the file itself, stands in the report.
pub async fn run_file(path: &Path, options: &Options) -> FileReport {
    let started = Instant::now();
    let mut report = FileReport {
        path: path.to_path_buf(),
        record_count: 0,
        elapsed: started.elapsed(),
        failures: Vec::new(),
        updated: false,
    };
    if let Err(failure) = run_into(path, options, &mut report).await {
        report.failures.push(failure);
    }
    report.elapsed = started.elapsed();
    report
}

async fn run_into(path: &Path, options: &Options, report: &mut FileReport) -> Result<(), Failure> {
    let whole_file = |message: String| Failure { location: path.display().to_string(), message };
    let records = read(path)?;
    let server =
        TestServer::start(options.parallelism).await.map_err(|error| whole_file(format!("no server: {error}")))?;
    let connections = Arc::clone(&server);
    let mut runner = Runner::new(move || {
        let server = Arc::clone(&connections);
        async move { Ok::<_, ConnectionError>(Connection::new(server)) }
    });
    runner.with_column_validator(Column::all_match);
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok()).unwrap_or_default();
    runner.set_var(FOLDER_VARIABLE.to_string(), folder.display().to_string());
    let outcome = if options.update {
        update(path, records, &mut runner, report).await.map_err(whole_file)
    } else {
        compare(records, options, &server, &mut runner, report).await;
        Ok(())
    };
    runner.shutdown_async().await;
    server.stop().await;
    outcome
}

/// The records of a file, if all of them may be run.
fn read(path: &Path) -> Result<Vec<Record<Column>>, Failure> {
    let failure = |location: String, message: String| Failure { location, message };
    // The parser takes for granted that the file can be read.
    if let Err(error) = std::fs::read_to_string(path) {
        return Err(failure(path.display().to_string(), error.to_string()));
    }
    let records = sqllogictest::parse_file::<Column>(path)
        .map_err(|error| failure(error.location().to_string(), error.kind().to_string()))?;
    let system = records.iter().find_map(|record| match record {
        Record::System { loc, .. } => Some(loc),
        _ => None,
    });
    match system {
        Some(location) => Err(failure(
            location.to_string(),
            "system records are refused: a test that runs commands is not a test of SQL".to_string(),
        )),
        None => Ok(records),
    }
}

async fn compare<M>(
    records: Vec<Record<Column>>,
    options: &Options,
    server: &TestServer,
    runner: &mut Runner<Connection, M>,
    report: &mut FileReport,
) where
    M: sqllogictest::MakeConnection<Conn = Connection>,
{
    for record in records {
        if matches!(record, Record::Halt { .. }) {
            break;
        }
        if runs(&record) {
            if options.restart
                && report.record_count > 0
                && let Err(error) = server.restart().await
            {
                let message = format!("the server could not be restored before this record: {error}");
                report.failures.push(Failure { location: location(&record), message });
                break;
            }
            report.record_count += 1;
        }
        if let Err(error) = runner.run_async(record).await {
            let message = error.kind().display(options.color).to_string();
            report.failures.push(Failure { location: error.location().to_string(), message });
            if report.failures.len() == FAILURES_MAX || server.hangs.load(Ordering::Acquire) {
                break;
            }
        }
    }
}

/// Writes the file anew with what the server answers; a file that says the same already is left alone.
async fn update<M>(
    path: &Path,
    records: Vec<Record<Column>>,
    runner: &mut Runner<Connection, M>,
    report: &mut FileReport,
) -> Result<(), String>
where
    M: sqllogictest::MakeConnection<Conn = Connection>,
{
    let mut text = String::new();
    let mut halted = false;
    for record in records {
        match record {
            Record::Include { .. } => return Err("a file with an include can't be updated".to_string()),
            Record::Halt { .. } => halted = true,
            _ => {}
        }
        report.record_count += usize::from(!halted && runs(&record));
        let updated = if halted { None } else { updated(&record, &runner.apply_record(record.clone()).await) };
        text.push_str(&updated.unwrap_or(record).to_string());
        text.push('\n');
    }
    let text = format!("{}\n", text.trim_end());
    let old = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    if text != old {
        std::fs::write(path, text).map_err(|error| error.to_string())?;
        report.updated = true;
    }
    Ok(())
}

/// The record with what the server answered; `None` when it says so already.
fn updated(record: &Record<Column>, output: &RecordOutput<Column>) -> Option<Record<Column>> {
    let (expected, error) = match (record, output) {
        (
            Record::Statement { expected: StatementExpect::Error(expected), .. },
            RecordOutput::Statement { error, .. } | RecordOutput::Query { error, .. },
        )
        | (Record::Query { expected: QueryExpect::Error(expected), .. }, RecordOutput::Query { error, .. }) => {
            (Some(expected), error.as_ref())
        }
        _ => (None, None),
    };
    // An expected SQLSTATE stays one, which the library would replace with the message.
    if let (Some(ExpectedError::SqlState(expected)), Some(error)) = (expected, error) {
        let actual = error.downcast_ref::<ConnectionError>().and_then(ConnectionError::sqlstate);
        if actual == Some(expected.as_str()) {
            return None;
        }
    }
    sqllogictest::update_record_with_output(
        record,
        output,
        " ",
        sqllogictest::default_validator,
        sqllogictest::default_normalizer,
        Column::all_match,
    )
}

/// Whether a record sends SQL.
fn runs(record: &Record<Column>) -> bool {
    matches!(record, Record::Statement { .. } | Record::Query { .. } | Record::Let { .. })
}

fn location(record: &Record<Column>) -> String {
    match record {
        Record::Statement { loc, .. } | Record::Query { loc, .. } | Record::Let { loc, .. } => loc.to_string(),
        _ => String::new(),
    }
}
