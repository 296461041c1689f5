//! Sends the rows of a result: batch by batch, with back-pressure, until they end, a limit is reached, or the
//! client cancels or goes away.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::{BufMut, BytesMut};
use futures::{FutureExt, StreamExt};
use tokio_util::sync::CancellationToken;

use super::copy::output::CopyEncoder;
use super::errors::{self, Failure};
use super::socket::Socket;
use super::values::{ColumnType, DisplaySettings, RowEncoder};
use crate::engine::returning::RowsCheck;
use crate::session::registry::CopyProgress;
use crate::session::{CopyOut, RowStream, SqlError};

/// How the rows of a result are written.
#[derive(Clone)]
pub(super) struct RowForm {
    pub(super) columns: Arc<[ColumnType]>,
    /// One code per column.
    pub(super) formats: Vec<i16>,
    pub(super) display: DisplaySettings,
}

/// A result that is being sent.
pub(super) struct ResultRows {
    stream: RowStream,
    form: RowForm,
    token: CancellationToken,
    /// Rows that came and are not yet sent.
    rest: Option<RecordBatch>,
    /// Rows leave as the data of a COPY.
    copy: Option<CopyEncoder>,
    /// Rows sent so far.
    sent: u64,
}

/// How far a result was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// Rows sent now.
    pub(super) rows: u64,
    /// No more follow; unknown, and false, when the limit was reached.
    pub(super) finished: bool,
}

/// What cancels the rows of a statement that ran under `token`: nothing once what it did is durable.
pub(super) fn rows_token(token: CancellationToken, durable: bool) -> CancellationToken {
    if durable { CancellationToken::new() } else { token }
}

impl RowForm {
    fn encoder(&self, batch: &RecordBatch) -> Result<RowEncoder, SqlError> {
        RowEncoder::new(batch, &self.columns, &self.formats, self.display.clone())
    }

    /// Whether rows can be written so, `copy` if they are those of a COPY: they are, and what was written is forgotten.
    /// To be asked before that is durable which gives the rows.
    pub(super) fn check(self, copy: Option<Arc<CopyOut>>) -> RowsCheck {
        Arc::new(move |batch| {
            let (encoder, mut written) = (self.encoder(batch)?, BytesMut::new());
            let begun = copy.as_ref().map(|shape| CopyEncoder::begin(shape, CopyProgress::unseen(), &mut written));
            let mut copy = begun.transpose()?;
            for row in 0..batch.num_rows() {
                written.clear();
                match &mut copy {
                    None => put_row(&mut written, &encoder, row)?,
                    Some(copy) => copy.put_row(&mut written, &encoder, row)?,
                }
            }
            Ok(())
        })
    }
}

impl ResultRows {
    /// A result of which nothing was sent. `token` cancels it.
    pub(super) fn new(stream: RowStream, form: RowForm, token: CancellationToken) -> Self {
        Self { stream, form, token, rest: None, copy: None, sent: 0 }
    }

    /// The same as the data of a COPY, which begins here.
    pub(super) fn copied(
        mut self,
        shape: &Arc<CopyOut>,
        progress: Arc<CopyProgress>,
        socket: &mut Socket,
    ) -> Result<Self, SqlError> {
        self.copy = Some(CopyEncoder::begin(shape, progress, &mut socket.output)?);
        Ok(self)
    }

    /// Sends all rows of a COPY, and that it has ended; how many there were.
    pub(super) async fn send_copy(mut self, socket: &mut Socket) -> Result<u64, Failure> {
        let sent = self.send(socket, None).await?;
        if let Some(copy) = self.copy {
            copy.end(&mut socket.output)?;
        }
        Ok(sent.rows)
    }

    /// How many rows were sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// What is still to be sent.
    pub(super) fn into_stream(self) -> RowStream {
        futures::stream::iter(self.rest.map(Ok)).chain(self.stream).boxed()
    }

    /// What cancels it.
    pub(super) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Sends rows, at most `limit` of them.
    pub(super) async fn send(&mut self, socket: &mut Socket, limit: Option<u64>) -> Result<Sent, Failure> {
        let mut sent = 0;
        loop {
            let left = limit.map_or(u64::MAX, |limit| limit - sent);
            if left == 0 {
                return Ok(Sent { rows: sent, finished: false });
            }
            let batch = match self.rest.take() {
                Some(batch) => batch,
                None => match self.next_batch(socket).await? {
                    Some(batch) => batch,
                    None => return Ok(Sent { rows: sent, finished: true }),
                },
            };
            let count = batch.num_rows().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.send_batch(socket, &batch.slice(0, count)).await?;
            sent += count as u64;
            self.sent += count as u64;
            if count < batch.num_rows() {
                self.rest = Some(batch.slice(count, batch.num_rows() - count));
            }
        }
    }

    /// Waits for rows. While there are none, everything that is waiting is sent and the client is watched.
    async fn next_batch(&mut self, socket: &mut Socket) -> Result<Option<RecordBatch>, Failure> {
        loop {
            if self.token.is_cancelled() {
                return Err(errors::canceled().into());
            }
            let next = match self.stream.next().now_or_never() {
                Some(next) => next,
                None => {
                    socket.flush().await?;
                    tokio::select! {
                        biased;
                        () = self.token.cancelled() => return Err(errors::canceled().into()),
                        next = self.stream.next() => next,
                        () = socket.gone() => return Err(Failure::Gone),
                    }
                }
            };
            match next.transpose()? {
                Some(batch) if batch.num_rows() == 0 => {}
                other => return Ok(other),
            }
        }
    }

    async fn send_batch(&mut self, socket: &mut Socket, batch: &RecordBatch) -> Result<(), Failure> {
        let encoder = self.form.encoder(batch)?;
        for row in 0..batch.num_rows() {
            match &mut self.copy {
                None => put_row(&mut socket.output, &encoder, row)?,
                Some(copy) => copy.put_row(&mut socket.output, &encoder, row)?,
            }
            if socket.output.len() >= super::limits::OUTPUT_BYTES {
                socket.flush().await?;
                if self.token.is_cancelled() {
                    return Err(errors::canceled().into());
                }
            }
        }
        Ok(())
    }
}

/// Writes DataRow; a row that fails leaves nothing behind.
fn put_row(output: &mut BytesMut, encoder: &RowEncoder, row: usize) -> Result<(), SqlError> {
    let start = output.len();
    output.put_u8(b'D');
    output.put_i32(0);
    let written = encoder.put_row(row, output).and_then(|()| {
        let length = i32::try_from(output.len() - start - 1);
        length.map_err(|_| errors::limit_exceeded("a row is larger than 2 GiB", "Select fewer or shorter columns."))
    });
    match written {
        Ok(length) => {
            output[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
            Ok(())
        }
        Err(error) => {
            output.truncate(start);
            Err(error)
        }
    }
}
