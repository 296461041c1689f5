//! COPY FROM STDIN: the messages of the client, read while the session asks for rows.
//!
//! CopyInResponse is sent when the session asks for the first time: whatever it refuses before, it refuses
//! without a COPY. Within one, Flush and Sync say nothing; CopyFail, and any message that does not belong here,
//! end it as a failed statement. What the client has under way then is thrown away where messages are handled.

use std::sync::Arc;

use arrow::array::RecordBatch;
use millstream_planner::copy::{CopyFormat, CopyIn};
use tokio_util::sync::CancellationToken;

use super::super::client_session::ClientSession;
use super::super::codec::{self, Message};
use super::super::connection::Connection;
use super::super::errors::{self, Failure};
use super::super::socket::Socket;
use super::super::values::DisplaySettings;
use super::output;
use super::rows::Decoder;
use crate::session::registry::CopyProgress;
use crate::session::{IncomingRows, Outcome, SqlError};

impl<S: ClientSession> Connection<S> {
    /// Runs a COPY FROM STDIN up to, but without, its terminal message.
    pub(in crate::wire) async fn copy_in(
        &mut self,
        prepared: &S::Prepared,
        shape: &Arc<CopyIn>,
        token: &CancellationToken,
    ) -> Result<Outcome, Failure> {
        let decoder = Decoder::new(shape, &DisplaySettings::of(&self.session))?;
        let mut input = Input {
            socket: &mut self.socket,
            shape: Arc::clone(shape),
            decoder,
            begun: false,
            ended: false,
            progress: self.registration.seat().copies(Some(shape.insert.relation), true),
            given: 0,
            failure: None,
        };
        let copied = self.session.copy_in(prepared, &mut input, token.clone()).await;
        // The session was told of it, and has undone what there was of the COPY.
        if let Some(failure) = input.failure {
            return Err(failure);
        }
        let outcome = copied?;
        self.after_execution(&outcome);
        Ok(outcome)
    }
}

/// The data of one COPY.
struct Input<'a> {
    socket: &'a mut Socket,
    shape: Arc<CopyIn>,
    decoder: Decoder,
    begun: bool,
    ended: bool,
    /// What others see of it.
    progress: Arc<CopyProgress>,
    /// Rows that were given last: they have been taken when more are asked for.
    given: u64,
    /// What ends the connection, not only the statement.
    failure: Option<Failure>,
}

impl IncomingRows for Input<'_> {
    async fn next(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        if !self.begun {
            self.begun = true;
            let binary = self.shape.options.format == CopyFormat::Binary;
            output::response(&mut self.socket.output, b'G', binary, self.shape.columns.fields().len())?;
        }
        self.progress.add(std::mem::take(&mut self.given), 0);
        loop {
            if self.decoder.decode(self.ended)? || self.ended {
                let rows = self.decoder.take()?;
                self.given = rows.as_ref().map_or(0, |rows| rows.num_rows() as u64);
                return Ok(rows);
            }
            match self.message().await? {
                Message::CopyData(bytes) => {
                    self.progress.add(0, bytes.len() as u64);
                    self.decoder.feed(bytes)?;
                    // Much data that is there already must not keep the others of this thread waiting.
                    tokio::task::consume_budget().await;
                }
                Message::CopyDone => self.ended = true,
                Message::CopyFail(reason) => return Err(errors::copy_failed(&reason)),
                Message::Flush | Message::Sync => {}
                Message::Terminate => return Err(self.gone()),
                other => {
                    let tag = other.tag();
                    let message = format!("unexpected message type 0x{tag:02X} during COPY from stdin");
                    return Err(errors::protocol_violation(message));
                }
            }
        }
    }

    fn place(&self, row: Option<usize>) -> String {
        self.decoder.place(row)
    }
}

impl Input<'_> {
    async fn message(&mut self) -> Result<Message, SqlError> {
        loop {
            match codec::message(&mut self.socket.input) {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(failure) => {
                    let error = match &failure {
                        Failure::Statement(error) | Failure::Fatal(error) => error.clone(),
                        Failure::Gone => errors::client_gone(),
                    };
                    self.failure = Some(failure);
                    return Err(error);
                }
            }
            let more = match self.socket.flush().await {
                Ok(()) => self.socket.read().await,
                Err(error) => Err(error),
            };
            if !matches!(more, Ok(true)) {
                return Err(self.gone());
            }
        }
    }

    fn gone(&mut self) -> SqlError {
        self.failure = Some(Failure::Gone);
        errors::client_gone()
    }
}
