//! The simple protocol: a text with any number of statements, which stops at the first that fails.

use super::client_session::{ClientSession, Described};
use super::columns::describe_columns;
use super::connection::Connection;
use super::errors::{self, Failure};
use super::reply;
use super::rows::{ResultRows, rows_token};
use crate::session::CommandTag;
use millstream_planner::statement::StatementText;

impl<S: ClientSession> Connection<S> {
    /// Runs every statement of a text, then says that the next can come.
    pub(super) async fn simple_query(&mut self, sql: &str) -> Result<(), Failure> {
        self.registration.seat().begins(sql);
        self.portals.remove("");
        self.statements.remove("");
        let texts = self.session.split(sql)?;
        if texts.is_empty() {
            reply::complete(&mut self.socket.output, &CommandTag::Empty, 0);
        }
        for (index, text) in texts.iter().enumerate() {
            let last = index + 1 == texts.len();
            self.session.more_follows(!last);
            let (tag, rows_sent) = self.simple_statement(text).await?;
            // The last statement counts as done only when the implicit transaction has ended well.
            if last {
                self.end_implicit().await?;
            }
            reply::complete(&mut self.socket.output, &tag, rows_sent);
        }
        if texts.is_empty() {
            self.end_implicit().await?;
        }
        self.ready();
        Ok(())
    }

    /// Runs one statement up to, but without, its terminal message.
    async fn simple_statement(&mut self, text: &StatementText) -> Result<(CommandTag, u64), Failure> {
        let prepared = self.planned(text, &[]).await?;
        if !prepared.parameters().is_empty() {
            return Err(errors::undefined_parameter().into());
        }
        let copy = prepared.copy().cloned();
        let columns = prepared.columns().map(describe_columns).transpose()?;
        let token = self.statement_token();
        let _running = self.registration.running(token.clone());
        if let Some(copy) = copy {
            return self.copy(&prepared, Vec::new(), &copy, token).await;
        }
        let check = columns.as_ref().map(|columns| self.form(columns, vec![0; columns.len()]).check(None));
        let outcome = self.run_statement(&prepared, Vec::new(), check, &token).await?;
        let mut rows_sent = 0;
        if let Some(columns) = columns {
            let cursor = prepared.cursor_command().and_then(|command| self.session.cursor(command.name()));
            // In this protocol only a cursor says that its rows are binary.
            let formats = cursor.map_or_else(|| vec![0; columns.len()], |cursor| cursor.formats);
            reply::row_description(&mut self.socket.output, &columns, &formats);
            if let Some(stream) = outcome.rows {
                let token = rows_token(token, outcome.durable);
                let mut rows = ResultRows::new(stream, self.form(&columns, formats), token);
                rows_sent = rows.send(&mut self.socket, None).await?.rows;
            }
        } else if outcome.rows.is_some() {
            return Err(errors::internal("a statement without columns gave rows").into());
        }
        Ok((outcome.tag, rows_sent))
    }
}
