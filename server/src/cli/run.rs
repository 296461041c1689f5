//! `millstream run`: a script against a server within the process, in application mode.
//!
//! Statements run in their order. Before a query is answered, every bounded input is waited for, so that a
//! SELECT over a view gives the final answer. An error ends the run with the file, the line and a caret.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::CliError;
use super::client::Client;
use super::secret_key::SecretKeyArguments;
use super::table::{self, Format};
use crate::engine::{Engine, EngineConfig};
use crate::session::SqlError;

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The script: statements that end with semicolons.
    file: PathBuf,

    /// How the rows of SELECTs are printed.
    #[arg(long, env = "MILLSTREAM_FORMAT", value_enum, default_value = "table")]
    format: Format,

    /// Where the state lives; a run forgets it unless this says otherwise.
    #[arg(long, env = "MILLSTREAM_RUN_STORAGE", default_value = "memory://")]
    storage: String,

    #[command(flatten)]
    secret_key: SecretKeyArguments,
}

pub(super) async fn run(arguments: RunArguments) -> Result<(), CliError> {
    let name = arguments.file.display().to_string();
    let script = std::fs::read_to_string(&arguments.file).map_err(|error| CliError::new(format!("{name}: {error}")))?;
    let config = EngineConfig { secret_keys: arguments.secret_key.keys()?, ..EngineConfig::new(&arguments.storage) };
    let engine = Engine::open(config).await.map_err(CliError::new)?;
    let mut client = Client::new(&engine);
    let located = |error: SqlError| CliError::new(located(&name, &script, &error));
    for statement in client.split(&script).map_err(located)? {
        if reads(&statement.sql) {
            engine.wait_ended().await.map_err(located)?;
            engine.flush().await.map_err(located)?;
        }
        let answer = client.run(&statement).await.map_err(|error| {
            let at = error.position.or(Some(statement.start.0));
            located(SqlError { position: at, ..error })
        })?;
        for notice in &answer.notices {
            eprintln!("{}: {}", notice.severity, notice.message);
        }
        if let Some(rows) = &answer.rows {
            let mut out = std::io::stdout().lock();
            table::write(&mut out, rows, arguments.format).and_then(|()| out.flush()).map_err(CliError::new)?;
        } else if arguments.format == Format::Table && !answer.tag.is_empty() {
            eprintln!("{}", answer.tag);
        }
    }
    // Sinks and views without a reader are complete, too, before the process ends.
    engine.wait_ended().await.map_err(located)?;
    client.command("FLUSH; CHECKPOINT").await.map_err(located)?;
    engine.wait_published().await.map_err(located)?;
    engine.stop().await;
    Ok(())
}

/// Whether a statement shows rows that depend on inputs.
fn reads(sql: &str) -> bool {
    let first = sql.split_whitespace().next().unwrap_or("").to_ascii_uppercase();
    ["SELECT", "WITH", "TABLE", "VALUES", "EXECUTE"].iter().any(|word| first.starts_with(word))
}

/// `file:line: error`, the line, and a caret under the place.
fn located(name: &str, script: &str, error: &SqlError) -> String {
    let mut text = String::new();
    let position = error.position.unwrap_or(1).max(1) - 1;
    let before: String = script.chars().take(position).collect();
    let line_number = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|letter| *letter != '\n').count();
    text.push_str(&format!("{name}:{line_number}: ERROR {}: {}", error.sqlstate, error.message));
    if error.position.is_some()
        && let Some(line) = script.lines().nth(line_number - 1)
    {
        text.push_str(&format!("\n{line}\n{}^", " ".repeat(column)));
    }
    for (label, more) in [("DETAIL", &error.detail), ("HINT", &error.hint)] {
        if let Some(more) = more {
            text.push_str(&format!("\n{label}: {more}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::sqlstate::Condition;

    #[test]
    fn an_error_shows_its_line_and_a_caret() {
        let script = "SELECT 1;\nSELECT nó, x FROM t;";
        let mut error = SqlError::new(Condition::FeatureNotSupported, "no");
        error.position = Some(script.chars().position(|letter| letter == 'x').expect("there is an x") + 1);
        assert_eq!(located("a.sql", script, &error), "a.sql:2: ERROR 0A000: no\nSELECT nó, x FROM t;\n           ^");
    }
}
