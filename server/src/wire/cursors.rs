//! Portals and cursors share their names: what DECLARE opened is described, executed and closed by messages, and a
//! portal that Bind opened can be named by FETCH, MOVE and CLOSE.
//!
//! Cursors are the session's, portals the connection's. A portal that SQL names to move it becomes a cursor of the
//! session's then, with the rows that it has not yet given; messages go on naming it.

use std::sync::Arc;

use futures::StreamExt;
use millstream_planner::error::TextPosition;
use millstream_planner::statement::StatementText;
use tokio_util::sync::CancellationToken;

use super::client_session::{ClientSession, Described};
use super::columns::describe_columns;
use super::connection::{Connection, unless_gone};
use super::errors::{self, Failure};
use super::extended::{PortalState, Statement};
use super::reply;
use super::rows::ResultRows;
use crate::session::{CommandTag, CursorCommand, CursorShape, Outcome};

impl<S: ClientSession> Connection<S> {
    /// Plans a statement; a portal that it fetches from becomes a cursor first, so that its columns are known.
    pub(super) async fn planned(
        &mut self,
        text: &StatementText,
        types: &[Option<arrow::datatypes::DataType>],
    ) -> Result<S::Prepared, Failure> {
        let prepared = self.session.prepare(text, types).await?;
        if let Some(CursorCommand::Fetch(name)) = prepared.cursor_command()
            && self.portals.contains_key(name)
        {
            self.hand_over(name).await?;
            return Ok(self.session.prepare(text, types).await?);
        }
        Ok(prepared)
    }

    /// A prepared FETCH as it is now: its columns are those of the cursor, which may be another one by now.
    pub(super) async fn bound_now(
        &mut self,
        statement: &Arc<Statement<S::Prepared>>,
    ) -> Result<Arc<Statement<S::Prepared>>, Failure> {
        let command = statement.prepared.as_ref().and_then(|prepared| prepared.cursor_command());
        let Some(CursorCommand::Fetch(_)) = command else { return Ok(Arc::clone(statement)) };
        let text = StatementText { sql: statement.sql.to_string(), start: TextPosition(1) };
        Ok(Arc::new(self.prepare(&text, Vec::new()).await?))
    }

    /// What a statement about a cursor does with a portal of that name; `None` leaves it to the session.
    pub(super) async fn about_portal(&mut self, prepared: &S::Prepared) -> Result<Option<Outcome>, Failure> {
        let Some(command) = prepared.cursor_command() else { return Ok(None) };
        if !self.portals.contains_key(command.name()) {
            return Ok(None);
        }
        match command {
            CursorCommand::Declare(name) => Err(errors::duplicate_portal(name).into()),
            CursorCommand::Fetch(name) | CursorCommand::Move(name) => {
                self.hand_over(name).await?;
                Ok(None)
            }
            CursorCommand::Close(name) => {
                self.portals.remove(name);
                let tag = CommandTag::Fixed("CLOSE CURSOR".to_owned());
                Ok(Some(Outcome::tagged(tag)))
            }
        }
    }

    /// Makes a portal a cursor of the session's.
    async fn hand_over(&mut self, name: &str) -> Result<(), Failure> {
        let Some(portal) = self.portals.remove(name) else { return Ok(()) };
        let prepared = portal.statement.prepared.as_ref();
        let (Some(prepared), Some(_)) = (prepared, &portal.statement.columns) else {
            return Err(errors::portal_cannot_run(name).into());
        };
        let (rows, given) = match portal.state {
            // It would be a FETCH of a FETCH.
            PortalState::Bound(_) if prepared.cursor_command().is_some() => {
                return Err(errors::portal_cannot_run(name).into());
            }
            PortalState::Bound(parameters) => {
                let token = self.statement_token();
                let _running = self.registration.running(token.clone());
                let check = portal.statement.columns.as_ref();
                let check = check.map(|columns| self.form(columns, portal.formats.clone()).check(None));
                let running = self.session.execute(prepared, parameters, check, token.clone());
                let outcome = unless_gone(&mut self.socket, &token, running).await?;
                self.after_execution(&outcome);
                (outcome.rows, 0)
            }
            PortalState::Sending(rows, _) => {
                let given = rows.sent();
                (Some(rows.into_stream()), given)
            }
            PortalState::Exhausted(_) | PortalState::Done => (None, 0),
        };
        let columns = prepared.columns().cloned().ok_or_else(|| errors::portal_cannot_run(name))?;
        let rows = rows.unwrap_or_else(|| futures::stream::empty().boxed());
        let shape = CursorShape { columns, formats: portal.formats };
        self.session.adopt_cursor(name, &portal.statement.sql, shape, rows, given);
        Ok(())
    }

    /// Describe of a cursor as a portal; whether there is one.
    pub(super) fn describe_cursor(&mut self, name: &str) -> Result<bool, Failure> {
        let Some(shape) = self.session.cursor(name) else { return Ok(false) };
        reply::row_description(&mut self.socket.output, &describe_columns(&shape.columns)?, &shape.formats);
        Ok(true)
    }

    /// Execute of a cursor as a portal: the next rows, at most `limit`.
    pub(super) async fn execute_cursor(
        &mut self,
        name: &str,
        shape: CursorShape,
        limit: Option<u64>,
    ) -> Result<(), Failure> {
        let token: CancellationToken = self.statement_token();
        let _running = self.registration.running(token.clone());
        let form = self.form(&describe_columns(&shape.columns)?, shape.formats);
        let fetching = self.session.fetch_cursor(name, limit, token.clone());
        let outcome = unless_gone(&mut self.socket, &token, fetching).await?;
        let stream = outcome.rows.ok_or_else(|| errors::internal("a cursor gave no rows"))?;
        let sent = ResultRows::new(stream, form, token).send(&mut self.socket, None).await?;
        match limit {
            Some(limit) if sent.rows == limit => reply::portal_suspended(&mut self.socket.output),
            _ => reply::complete(&mut self.socket.output, &CommandTag::Counted("SELECT "), sent.rows),
        }
        Ok(())
    }
}
