//! One message after the other, until the client goes or the server stops.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client_session::{ClientSession, Described};
use super::codec::{self, Message, Target};
use super::columns::{ResultColumn, types_of};
use super::errors::{self, Failure};
use super::extended::{Portal, Statement};
use super::limits::LINGER;
use super::reply;
use super::rows::RowForm;
use super::socket::Socket;
use super::values::DisplaySettings;
use crate::engine::returning::RowsCheck;
use crate::session::registry::Registration;
use crate::session::{CommandTag, Outcome, SqlError, TransactionStatus};

/// Settings that clients are told of: their names, as Postgres spells them, and what holds when the session
/// does not know them.
pub(super) const REPORTED_SETTINGS: &[(&str, &str, &str)] = &[
    ("application_name", "application_name", ""),
    ("client_encoding", "client_encoding", "UTF8"),
    ("datestyle", "DateStyle", "ISO, MDY"),
    ("default_transaction_read_only", "default_transaction_read_only", "off"),
    ("in_hot_standby", "in_hot_standby", "off"),
    ("integer_datetimes", "integer_datetimes", "on"),
    ("intervalstyle", "IntervalStyle", "postgres"),
    ("is_superuser", "is_superuser", "on"),
    ("server_encoding", "server_encoding", "UTF8"),
    ("server_version", "server_version", concat!("15.0 (Millstream ", env!("CARGO_PKG_VERSION"), ")")),
    ("session_authorization", "session_authorization", ""),
    ("standard_conforming_strings", "standard_conforming_strings", "on"),
    ("timezone", "TimeZone", "UTC"),
];

/// A client that has logged in.
pub(super) struct Connection<S: ClientSession> {
    pub(super) socket: Socket,
    pub(super) session: S,
    pub(super) statements: HashMap<String, Arc<Statement<S::Prepared>>>,
    pub(super) portals: HashMap<String, Portal<S::Prepared>>,
    pub(super) registration: Registration,
    /// Fires when the server stops; parent of every statement's token.
    pub(super) shutdown: CancellationToken,
    /// An extended statement failed: everything up to the next Sync is skipped.
    skipping: bool,
}

/// Serves a client that has logged in until it goes or `shutdown` fires.
pub(super) async fn run<S: ClientSession>(
    socket: Socket,
    session: S,
    registration: Registration,
    shutdown: CancellationToken,
) {
    let (statements, portals) = (HashMap::new(), HashMap::new());
    let mut connection = Connection { socket, session, statements, portals, registration, shutdown, skipping: false };
    match connection.serve().await {
        Ok(()) | Err(Failure::Gone) => {}
        Err(Failure::Statement(error) | Failure::Fatal(error)) => {
            reply::error(&mut connection.socket.output, "FATAL", &error);
            let Connection { socket, session, portals, .. } = connection;
            // Queries that still run stop before the client is waited for.
            drop((portals, session));
            socket.close(LINGER).await;
        }
    }
}

/// Lets the session work on; a client that goes away cancels it. The session ends the work itself: dropping it
/// half-way could leave a commit unknown.
pub(super) async fn unless_gone<T>(
    socket: &mut Socket,
    token: &CancellationToken,
    work: impl Future<Output = Result<T, SqlError>>,
) -> Result<T, SqlError> {
    let mut work = Box::pin(work);
    tokio::select! {
        biased;
        done = &mut work => done,
        () = socket.gone() => {
            token.cancel();
            work.await
        }
    }
}

/// Waits for a moment that may never come.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl<S: ClientSession> Connection<S> {
    async fn serve(&mut self) -> Result<(), Failure> {
        while let Some(message) = self.next_message().await? {
            if let Message::Terminate = message {
                break;
            }
            if self.skipping && !matches!(message, Message::Sync) {
                continue;
            }
            let simple =
                matches!(message, Message::Query(_) | Message::FunctionCall | Message::NotText { simple: true, .. });
            // Statements are large futures: an idle connection does not carry their size. A panic in one leaves
            // a session of which nothing is known: the client is told, and the connection ends.
            match AssertUnwindSafe(Box::pin(self.handle(message))).catch_unwind().await {
                // What was ended by the end of the connection has the one answer.
                Ok(Err(Failure::Statement(error))) if self.shutdown.is_cancelled() && errors::is_canceled(&error) => {
                    return Err(Failure::Fatal(errors::shutting_down()));
                }
                Ok(Err(Failure::Statement(error))) => self.statement_failed(&error, simple).await?,
                Ok(other) => other?,
                Err(_) => return Err(Failure::Fatal(errors::statement_panicked())),
            }
            self.socket.flush_if_large().await?;
        }
        Ok(())
    }

    /// The next message; `None` when the client is gone. The time that a session may be idle runs until a message
    /// is whole, so that single bytes do not hold a transaction open.
    async fn next_message(&mut self) -> Result<Option<Message>, Failure> {
        let in_transaction = self.session.transaction_status() != TransactionStatus::Idle;
        let deadline = self.session.idle_timeout(in_transaction).and_then(|limit| Instant::now().checked_add(limit));
        loop {
            if self.shutdown.is_cancelled() {
                return Err(Failure::Fatal(errors::shutting_down()));
            }
            if let Some(message) = codec::message(&mut self.socket.input)? {
                return Ok(Some(message));
            }
            // Before a wait everything that is known is sent, asked for by a Flush or not.
            self.socket.flush().await?;
            self.socket.shrink();
            tokio::select! {
                more = self.socket.read() => if !more? { return Ok(None) },
                () = self.shutdown.cancelled() => {}
                () = until(deadline) => return Err(Failure::Fatal(errors::idle_too_long(in_transaction))),
            }
        }
    }

    async fn handle(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Query(sql) => self.simple_query(&sql).await,
            Message::Parse { name, sql, type_oids } => self.parse(name, &sql, type_oids).await,
            Message::Bind(bind) => self.bind(bind).await,
            Message::Describe(Target::Statement(name)) => self.describe_statement(&name),
            Message::Describe(Target::Portal(name)) => self.describe_portal(&name),
            Message::Execute { portal, row_limit } => self.execute_portal(portal, row_limit).await,
            Message::Close(target) => {
                self.close(&target);
                Ok(())
            }
            Message::Flush => Ok(self.socket.flush().await?),
            Message::Sync => self.sync().await,
            Message::Terminate => Ok(()),
            // What a client still had under way when its COPY failed, as the protocol has it.
            Message::CopyData(_) | Message::CopyDone | Message::CopyFail(_) => Ok(()),
            Message::Password => {
                Err(Failure::Fatal(errors::protocol_violation("unexpected password message after the login")))
            }
            Message::FunctionCall => {
                let hint = "Call the function in a SELECT.";
                Err(errors::unsupported("the function call message is not supported", hint).into())
            }
            Message::NotText { error, .. } => Err(error.into()),
        }
    }

    /// Tells of a statement's failure and puts the connection into the state that follows it.
    async fn statement_failed(&mut self, error: &SqlError, simple: bool) -> Result<(), Failure> {
        reply::error(&mut self.socket.output, "ERROR", error);
        self.session.failed();
        self.portals.clear();
        if simple {
            // The failure above is the statement's terminal message: whatever ending it says is not told.
            if let Err(error) = self.end_implicit().await {
                tracing::debug!(error = error.message, "a failed statement could not be ended");
            }
            reply::ready_for_query(&mut self.socket.output, self.session.transaction_status());
        } else {
            self.skipping = true;
        }
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), Failure> {
        self.skipping = false;
        if let Err(error) = self.end_implicit().await {
            reply::error(&mut self.socket.output, "ERROR", &error);
            self.session.failed();
            self.portals.clear();
        }
        self.ready();
        Ok(())
    }

    /// Ends the implicit transaction, as a statement of its own: a cancel request and a client that goes away end
    /// the wait for it.
    pub(super) async fn end_implicit(&mut self) -> Result<(), SqlError> {
        let token = self.statement_token();
        let _running = self.registration.running(token.clone());
        let ending = self.session.sync(token.clone());
        for notice in unless_gone(&mut self.socket, &token, ending).await? {
            reply::notice(&mut self.socket.output, &notice);
        }
        Ok(())
    }

    /// Ends a simple query or a series of messages. Portals end with their transaction.
    pub(super) fn ready(&mut self) {
        let status = self.session.transaction_status();
        self.registration.seat().waits(status, self.session.setting("application_name"));
        if status == TransactionStatus::Idle {
            self.portals.clear();
        }
        reply::ready_for_query(&mut self.socket.output, status);
    }

    /// A token for one statement.
    pub(super) fn statement_token(&self) -> CancellationToken {
        self.shutdown.child_token()
    }

    /// How rows of these columns are written now; `formats` holds one code per column.
    pub(super) fn form(&self, columns: &[ResultColumn], formats: Vec<i16>) -> RowForm {
        RowForm { columns: types_of(columns), formats, display: DisplaySettings::of(&self.session) }
    }

    /// Runs a statement in the session; a client that goes away cancels it.
    pub(super) async fn run_statement(
        &mut self,
        prepared: &S::Prepared,
        parameters: Vec<datafusion::common::ScalarValue>,
        rows_check: Option<RowsCheck>,
        token: &CancellationToken,
    ) -> Result<Outcome, Failure> {
        // SQL and messages name prepared statements alike. Those of messages are kept here.
        if let Some(name) = prepared.deallocates()
            && self.session.transaction_status() != TransactionStatus::Failed
            && self.statements.remove(name).is_some()
        {
            self.registration.seat().forgets(name);
            let tag = CommandTag::Fixed("DEALLOCATE".to_owned());
            return Ok(Outcome::tagged(tag));
        }
        if let Some(done) = self.about_portal(prepared).await? {
            return Ok(done);
        }
        let running = self.session.execute(prepared, parameters, rows_check, token.clone());
        let outcome = unless_gone(&mut self.socket, token, running).await?;
        self.after_execution(&outcome);
        Ok(outcome)
    }

    fn forget_statements(&mut self) {
        self.statements.clear();
        self.registration.seat().forgets_all();
    }

    pub(super) fn after_execution(&mut self, outcome: &Outcome) {
        for notice in &outcome.notices {
            reply::notice(&mut self.socket.output, notice);
        }
        for (name, value) in &outcome.changed_parameters {
            let lower = name.to_ascii_lowercase();
            let shown = REPORTED_SETTINGS.iter().find(|(known, ..)| *known == lower);
            reply::parameter_status(&mut self.socket.output, shown.map_or(name, |(_, shown, _)| shown), value);
        }
        match &outcome.tag {
            CommandTag::Fixed(tag) => match tag.as_str() {
                "COMMIT" | "ROLLBACK" | "CLOSE CURSOR ALL" => self.portals.clear(),
                "DEALLOCATE ALL" => self.forget_statements(),
                "DISCARD ALL" => {
                    self.portals.clear();
                    self.forget_statements();
                }
                _ => {}
            },
            CommandTag::Counted(_) | CommandTag::Empty => {}
        }
    }
}
