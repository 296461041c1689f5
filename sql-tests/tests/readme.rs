//! What README.md and ARCHITECTURE.md say, held against what is there: the example is run, the demo is started,
//! and commands, options, variables, paths and tests that are named exist.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use cargo_metadata::{MetadataCommand, TargetKind};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// The binary, without what the variables of whoever runs the tests would change.
fn millstream() -> Command {
    let mut command = Command::new(millstream_sql_tests::server::binary());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MILLSTREAM_")) {
        command.env_remove(name);
    }
    command
}

fn succeeded(output: Output) -> String {
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "it ended with {}:\n{log}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The fenced blocks of a language, in order.
fn fenced(text: &str, language: &str) -> Vec<String> {
    let blocks = text.split("\n```").skip(1).step_by(2);
    blocks
        .filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'))
        .map(|code| format!("{code}\n"))
        .collect()
}

/// The words between back quotes, fenced blocks left out.
fn quoted(text: &str) -> Vec<&str> {
    let mut inside = false;
    let lines = text.lines().filter(|line| {
        inside ^= line.starts_with("```");
        !inside && !line.starts_with("```")
    });
    lines.flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn the_example_prints_what_stands_below_it() {
    let readme = page("README.md");
    let (script, printed) = (&fenced(&readme, "sql")[0], &fenced(&readme, "text")[0]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("example.sql");
    fs::write(&file, script).unwrap();
    assert_eq!(&succeeded(millstream().arg("run").arg(&file).output().unwrap()), printed);
}

/// What a person types and sees: each line behind the prompt, and what psql answers.
fn session(block: &str) -> Vec<(String, String)> {
    let mut steps: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("millstream=# "), line.strip_prefix("millstream-# "), steps.last_mut()) {
            (Some(typed), ..) => steps.push((typed.to_owned(), String::new())),
            (_, Some(more), Some((typed, _))) => typed.extend(["\n", more]),
            (_, _, Some((_, shown))) => shown.extend([line, "\n"]),
            (_, _, None) => panic!("the session does not begin with a prompt: {line}"),
        }
    }
    steps
}

/// Stands between two steps in what psql prints.
const NEXT: &str = "---- next ----";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_session_in_psql_shows_what_a_newcomer_sees() {
    let steps = session(&fenced(&page("README.md"), "psql")[0]);
    assert!(steps.len() > 5, "the session was not found");
    if Command::new("psql").arg("--version").output().is_err() {
        return println!("SKIPPED: there is no psql on this machine");
    }
    let server = millstream_sql_tests::server::Launch::new("memory://").start().await;
    let script: String = steps.iter().map(|(typed, _)| format!("{typed}\n\\echo {NEXT}\n\\warn {NEXT}\n")).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("typed.sql");
    fs::write(&file, script).unwrap();
    let mut psql = Command::new("psql");
    psql.args(["-X", "-h", "127.0.0.1", "-U", "millstream", "-d", "millstream"]);
    psql.args(["-p", &server.address().port().to_string()]).env("PAGER", "").stdin(fs::File::open(&file).unwrap());
    let output = tokio::task::spawn_blocking(move || psql.output().unwrap()).await.unwrap();
    let (printed, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let parts =
        |text: &str| -> Vec<String> { text.split(&format!("{NEXT}\n")).map(str::to_owned).take(steps.len()).collect() };
    // A statement prints rows or an error, never both.
    let shown = parts(&printed).into_iter().zip(parts(&errors)).map(|(rows, error)| rows + &error);
    let seen: Vec<String> = shown.collect();
    assert_eq!(seen.len(), steps.len(), "{printed}{errors}");
    for ((typed, expected), seen) in steps.iter().zip(&seen) {
        // The page has no blanks at the ends of lines.
        let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        assert_eq!(trimmed(seen).trim_end(), trimmed(expected).trim_end(), "{typed}");
    }
}

#[test]
fn every_statement_that_is_shown_can_be_read() {
    let scripts = fenced(&page("README.md"), "sql");
    assert!(scripts.len() >= 2, "the fences were not found");
    for text in scripts.iter().flat_map(|script| millstream_planner::parse::split(script).unwrap()) {
        if let Err(error) = millstream_planner::parse::parse_statement(&text) {
            panic!("{}: {error:?}", text.sql);
        }
    }
}

#[test]
fn the_demo_shows_its_table_and_ends() {
    let shown = succeeded(millstream().args(["demo", "--for", "3s", "--port", "0"]).output().unwrap());
    assert!(shown.contains("window_start") && shown.contains("(10 rows)"), "there is no table:\n{shown}");
    assert!(shown.contains("connect:  psql -h 127.0.0.1 -p "), "it does not say how to connect:\n{shown}");
    // Without a terminal: plain lines before the last table.
    assert!(shown.starts_with("hot_auctions ") && !shown.contains('\x1b'), "{shown}");
}

#[test]
fn cargo_run_knows_what_to_run() {
    assert!(page("README.md").contains("cargo run --release -- demo"));
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap();
    let packages = metadata.workspace_default_packages();
    let targets = packages.iter().flat_map(|package| &package.targets);
    let binaries: Vec<&str> =
        targets.filter(|target| target.kind.contains(&TargetKind::Bin)).map(|target| target.name.as_str()).collect();
    assert_eq!(binaries, ["millstream"], "with several binaries `cargo run` needs a default-run");
}

#[test]
fn options_and_variables_that_are_named_exist() {
    let readme = page("README.md");
    let mut help = succeeded(millstream().arg("--help").output().unwrap());
    for command in ["serve", "demo", "run", "test"] {
        help.push_str(&succeeded(millstream().args([command, "--help"]).output().unwrap()));
    }
    let gate = page(".ci/run");
    let words = quoted(&readme);
    let variables = words.iter().filter(|word| word.starts_with("MILLSTREAM_"));
    let mut found = 0;
    for name in variables.map(|word| word.split(['=', ' ']).next().unwrap()) {
        found += 1;
        let known = help.contains(name) || (name.starts_with("MILLSTREAM_TEST_") && gate.contains(name));
        assert!(known, "README.md names {name}, which is not there");
    }
    assert!(found > 10, "only {found} variables were found");
    for option in words.iter().flat_map(|word| word.split(' ')).filter(|word| word.starts_with("--")) {
        let known =
            option == "--help" || help.contains(&format!("{option} ")) || gate.contains(&format!("= {option} "));
        assert!(known, "README.md names {option}, which is not there");
    }
}

#[test]
fn paths_and_tests_that_are_named_exist() {
    for name in ["README.md", "ARCHITECTURE.md", "docs/postgres.md"] {
        let text = page(name);
        let mut found = 0;
        for word in quoted(&text) {
            let (path, test) = word.split_once("::").map_or((word, None), |(path, test)| (path, Some(test)));
            let ours = [".rs", ".md", ".yml", ".toml"].iter().any(|end| path.ends_with(end)) && path.contains('/');
            if !ours {
                continue;
            }
            found += 1;
            let Ok(content) = fs::read_to_string(root().join(path)) else { panic!("{name} names {path}") };
            if let Some(test) = test {
                assert!(content.contains(&format!("fn {test}(")), "{name} names {test}, which is not in {path}");
            }
        }
        assert!(name != "ARCHITECTURE.md" || found > 80, "{name}: only {found} paths were found");
    }
    for target in page("README.md").split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(root().join(target).exists(), "README.md links to {target}");
    }
}
