//! A connection of a file: a Postgres client that outlives the server which it talks to.
//!
//! Statements go through the simple protocol, as psql sends them. A statement that gave rows is described
//! through the extended protocol too, for the types of its columns.

use std::error::Error as _;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use sqllogictest::{AsyncDB, ColumnType, DBOutput};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::RECORD_DEADLINE;
use super::server::TestServer;
use crate::session::SqlError;

/// A connection of a file; `connection NAME` records open further ones.
pub(super) struct Connection {
    server: Arc<TestServer>,
    /// The client, and the start of the server that it belongs to.
    client: Option<(Client, u64)>,
    /// Statements that changed only the session, to be sent again when the server was killed.
    session_statements: Vec<String>,
    in_transaction: bool,
}

/// What a statement failed with.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct ConnectionError {
    message: String,
    sqlstate: Option<String>,
}

impl ConnectionError {
    /// The server could not be started, or was lost.
    pub(super) fn server(error: impl Display) -> Self {
        Self { message: error.to_string(), sqlstate: None }
    }

    /// Its SQLSTATE, if a statement failed.
    pub(super) fn sqlstate(&self) -> Option<&str> {
        self.sqlstate.as_deref()
    }
}

impl From<SqlError> for ConnectionError {
    fn from(error: SqlError) -> Self {
        Self { message: error.message.clone(), sqlstate: Some(error.sqlstate.to_string()) }
    }
}

impl From<tokio_postgres::Error> for ConnectionError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(told) => {
                let mut message = told.message().to_string();
                for (label, more) in [("DETAIL", told.detail()), ("HINT", told.hint())] {
                    if let Some(more) = more {
                        message.push_str(&format!("\n{label}: {more}"));
                    }
                }
                Self { message, sqlstate: Some(told.code().code().to_string()) }
            }
            None => {
                let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                Self::server(format!("the connection was lost: {error}{cause}"))
            }
        }
    }
}

/// Types of columns, one letter each in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Column {
    /// `B`: boolean.
    Boolean,
    /// `I`: smallint, integer, bigint.
    Integer,
    /// `R`: real, double precision, numeric.
    Real,
    /// `T`: text.
    Text,
    /// `P`: date, time, timestamp, interval.
    PointInTime,
    /// `?`: any; what is not named here.
    Any,
}

impl ColumnType for Column {
    fn from_char(letter: char) -> Option<Self> {
        match letter {
            'B' => Some(Self::Boolean),
            'I' => Some(Self::Integer),
            'R' => Some(Self::Real),
            'T' => Some(Self::Text),
            'P' => Some(Self::PointInTime),
            '?' => Some(Self::Any),
            _ => None,
        }
    }

    fn to_char(&self) -> char {
        match self {
            Self::Boolean => 'B',
            Self::Integer => 'I',
            Self::Real => 'R',
            Self::Text => 'T',
            Self::PointInTime => 'P',
            Self::Any => '?',
        }
    }
}

impl Column {
    fn of(column: &Type) -> Self {
        match *column {
            Type::BOOL => Self::Boolean,
            Type::INT2 | Type::INT4 | Type::INT8 => Self::Integer,
            Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC => Self::Real,
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => Self::Text,
            Type::DATE | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::INTERVAL => Self::PointInTime,
            _ => Self::Any,
        }
    }

    /// Whether the columns are those that a file expects.
    #[allow(clippy::ptr_arg, reason = "the shape that sqllogictest asks for")]
    pub(super) fn all_match(actual: &Vec<Self>, expected: &Vec<Self>) -> bool {
        let matches = |(actual, expected): (&Self, &Self)| *expected == Self::Any || actual == expected;
        actual.len() == expected.len() && actual.iter().zip(expected).all(matches)
    }
}

/// What a statement does to its session, as far as the test of a kill must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Begins,
    Ends,
    /// Changes what a new connection would not know.
    Session,
    Other,
}

impl Effect {
    fn of(sql: &str) -> Self {
        let sql = sql.to_ascii_uppercase();
        let words = sql.split(|letter: char| !letter.is_ascii_alphabetic()).filter(|word| !word.is_empty());
        let words: Vec<&str> = words.filter(|word| !matches!(*word, "WORK" | "TRANSACTION")).collect();
        match words.first().copied().unwrap_or_default() {
            "COMMIT" | "END" | "ROLLBACK" | "ABORT" if words.get(1..3) == Some(&["AND", "CHAIN"]) => Self::Begins,
            "ROLLBACK" | "ABORT" if words.get(1) == Some(&"TO") => Self::Other,
            "BEGIN" | "START" => Self::Begins,
            "COMMIT" | "END" | "ROLLBACK" | "ABORT" => Self::Ends,
            "SET" | "RESET" | "PREPARE" | "DEALLOCATE" | "DISCARD" => Self::Session,
            _ => Self::Other,
        }
    }
}

impl Connection {
    pub(super) fn new(server: Arc<TestServer>) -> Self {
        Self { server, client: None, session_statements: Vec::new(), in_transaction: false }
    }

    /// The client; a new one with the same settings when the server was killed meanwhile.
    async fn client(&mut self) -> Result<&Client, ConnectionError> {
        let (address, generation) = self.server.address().await;
        let current = matches!(&self.client, Some((_, known)) if *known == generation);
        if !current {
            let options = format!("host={} port={} user=millstream dbname=millstream", address.ip(), address.port());
            let (client, connection) = tokio_postgres::connect(&options, NoTls).await?;
            tokio::spawn(async move {
                // What goes wrong is told to the statement that waits.
                let _ = connection.await;
            });
            for statement in &self.session_statements {
                client.simple_query(statement).await?;
            }
            self.client = Some((client, generation));
        }
        let (client, _) = self.client.as_ref().expect("it was connected above");
        Ok(client)
    }

    /// Runs a text and notes what it did to the session.
    async fn run_noting(&mut self, sql: &str) -> Result<DBOutput<Column>, ConnectionError> {
        let client = self.client().await?;
        let outcome = match client.simple_query(sql).await {
            Ok(messages) => output(client, sql, &messages).await,
            Err(error) => Err(error.into()),
        };
        // A text that can't be cut has not changed anything.
        for statement in millstream_planner::parse::split(sql).unwrap_or_default() {
            match Effect::of(&statement.sql) {
                Effect::Begins => self.set_in_transaction(true),
                Effect::Ends => self.set_in_transaction(false),
                Effect::Session if outcome.is_ok() => self.session_statements.push(statement.sql),
                Effect::Session | Effect::Other => {}
            }
        }
        outcome
    }

    fn set_in_transaction(&mut self, now: bool) {
        match (self.in_transaction, now) {
            (false, true) => _ = self.server.open_transactions.fetch_add(1, Ordering::AcqRel),
            (true, false) => _ = self.server.open_transactions.fetch_sub(1, Ordering::AcqRel),
            (false, false) | (true, true) => {}
        }
        self.in_transaction = now;
    }
}

/// Rows of all statements of a text, or the count of the last one when none gave rows.
async fn output(
    client: &Client,
    sql: &str,
    messages: &[SimpleQueryMessage],
) -> Result<DBOutput<Column>, ConnectionError> {
    let (mut rows, mut column_count, mut affected, mut statement_count) = (Vec::new(), None, 0, 0);
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(columns) => column_count = Some(columns.len()),
            SimpleQueryMessage::Row(row) => rows.push((0..row.len()).map(|at| shown(row.get(at))).collect()),
            SimpleQueryMessage::CommandComplete(count) => {
                affected = *count;
                statement_count += 1;
            }
            _ => {}
        }
    }
    let Some(column_count) = column_count else {
        return Ok(DBOutput::StatementComplete(affected));
    };
    let types = if statement_count == 1 {
        client.prepare(sql).await?.columns().iter().map(|column| Column::of(column.type_())).collect()
    } else {
        vec![Column::Any; column_count]
    };
    Ok(DBOutput::Rows { types, rows })
}

/// A value as files spell it.
fn shown(value: Option<&str>) -> String {
    match value {
        None => "NULL".to_string(),
        Some("") => "(empty)".to_string(),
        Some(value) => value.to_string(),
    }
}

#[async_trait]
impl AsyncDB for Connection {
    type Error = ConnectionError;
    type ColumnType = Column;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<Column>, ConnectionError> {
        let outcome = tokio::time::timeout(RECORD_DEADLINE, self.run_noting(sql)).await;
        outcome.unwrap_or_else(|_| {
            self.server.hangs.store(true, Ordering::Release);
            Err(ConnectionError::server(format!("no answer within {} s", RECORD_DEADLINE.as_secs())))
        })
    }

    async fn shutdown(&mut self) {
        self.client = None;
    }

    fn engine_name(&self) -> &str {
        "millstream"
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn error_sql_state(error: &ConnectionError) -> Option<String> {
        error.sqlstate.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_told_apart_by_their_first_word() {
        for (sql, effect) in [
            ("BEGIN READ ONLY", Effect::Begins),
            (" start transaction", Effect::Begins),
            ("end", Effect::Ends),
            ("ROLLBACK WORK TO SAVEPOINT commit", Effect::Other),
            ("commit and chain", Effect::Begins),
            ("commit and no chain", Effect::Ends),
            ("SET timezone = 'UTC'", Effect::Session),
            ("settle", Effect::Other),
            ("SELECT 'BEGIN'", Effect::Other),
            ("", Effect::Other),
        ] {
            assert_eq!(Effect::of(sql), effect, "{sql}");
        }
    }

    #[test]
    fn a_question_mark_stands_for_any_type_of_one_column() {
        let (integer, any) = (vec![Column::Integer], vec![Column::Any]);
        assert!(Column::all_match(&integer, &any) && Column::all_match(&integer, &integer));
        assert!(!Column::all_match(&any, &integer));
        assert!(!Column::all_match(&integer, &vec![Column::Any, Column::Any]));
    }
}
