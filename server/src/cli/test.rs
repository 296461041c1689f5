//! `millstream test`: sqllogictest files, each against a fresh server in this process.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use futures::StreamExt;

use super::CliError;
use crate::slt::{FileReport, Options, junit, run_file, summary};

#[derive(Debug, Args)]
pub(super) struct TestArguments {
    /// Files, and folders that are searched for *.slt.
    #[arg(required = true)]
    paths: Vec<PathBuf>,

    /// Files at a time [default: one per core].
    #[arg(long, env = "MILLSTREAM_TEST_JOBS", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,

    /// Subtasks per operator of every server.
    #[arg(long, env = "MILLSTREAM_TEST_PARALLELISM", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=128))]
    parallelism: u16,

    /// Kills the server and restores it between every two records that stand outside a transaction.
    #[arg(long, env = "MILLSTREAM_TEST_RESTART", conflicts_with = "update")]
    restart: bool,

    /// Writes what the server answers into the files, instead of comparing: read the difference before you keep it.
    #[arg(long, env = "MILLSTREAM_TEST_UPDATE")]
    update: bool,

    /// Writes the outcome as JUnit's XML.
    #[arg(long, env = "MILLSTREAM_TEST_JUNIT", value_name = "FILE")]
    junit: Option<PathBuf>,
}

pub(super) async fn run(arguments: TestArguments) -> Result<(), CliError> {
    let started = Instant::now();
    let files = files(&arguments.paths)?;
    let options = Options {
        parallelism: usize::from(arguments.parallelism),
        restart: arguments.restart,
        update: arguments.update,
        color: std::io::stdout().is_terminal(),
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = arguments.jobs.map_or(cores, usize::from);
    let mut progress = Progress::new(files.len());
    let mut running = futures::stream::iter(files.into_iter().map(|path| {
        let options = options.clone();
        // Of its own, so that files use all cores.
        tokio::spawn(async move { run_file(&path, &options).await })
    }))
    .buffer_unordered(jobs);
    let mut reports = Vec::new();
    while let Some(report) = running.next().await {
        let report = report.map_err(|error| CliError::new(format!("a test ended by a bug of the runner: {error}")))?;
        progress.ended(&report);
        reports.push(report);
    }
    reports.sort_by(|left, right| left.path.cmp(&right.path));
    progress.finish();
    for report in &reports {
        print!("{}", summary(report));
    }
    if let Some(path) = &arguments.junit {
        std::fs::write(path, junit(&reports, started.elapsed()))
            .map_err(|error| CliError::new(format!("{}: {error}", path.display())))?;
    }
    let failed = reports.iter().filter(|report| !report.passed()).count();
    let records: usize = reports.iter().map(|report| report.record_count).sum();
    let passed = reports.len() - failed;
    println!("{passed} passed, {failed} failed; {records} records in {:.1} s", started.elapsed().as_secs_f64());
    match failed {
        0 => Ok(()),
        failed => Err(CliError::new(format!("{failed} of {} files failed", reports.len()))),
    }
}

/// The files to run, in the order of their names.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = files.len();
            search(path, &mut files).map_err(|error| CliError::new(format!("{}: {error}", path.display())))?;
            if files.len() == before {
                return Err(CliError::new(format!("there is no *.slt in {}", path.display())));
            }
        } else {
            files.push(path.clone());
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

fn search(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            search(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            files.push(path);
        }
    }
    Ok(())
}

/// One line that is written over on a terminal; elsewhere one line per file.
struct Progress {
    terminal: bool,
    file_count: usize,
    ended_count: usize,
    failed_count: usize,
}

impl Progress {
    fn new(file_count: usize) -> Self {
        Self { terminal: std::io::stdout().is_terminal(), file_count, ended_count: 0, failed_count: 0 }
    }

    fn ended(&mut self, report: &FileReport) {
        self.ended_count += 1;
        self.failed_count += usize::from(!report.passed());
        let outcome = match (report.passed(), report.updated) {
            (false, _) => "FAILED",
            (true, true) => "updated",
            (true, false) => "ok",
        };
        let (name, seconds) = (report.path.display(), report.elapsed.as_secs_f64());
        if !self.terminal || !report.passed() || report.updated {
            self.clear();
            println!("{outcome} {name} ({} records, {seconds:.1} s)", report.record_count);
        }
        if self.terminal {
            self.clear();
            print!("{} of {} files, {} failed", self.ended_count, self.file_count, self.failed_count);
            let _ = std::io::stdout().flush();
        }
    }

    fn finish(&self) {
        self.clear();
    }

    fn clear(&self) {
        if self.terminal {
            print!("\r\x1b[K");
        }
    }
}
