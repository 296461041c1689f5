//! A client's socket with its input and output buffers.
//!
//! Reading waits without a buffer, so that an idle connection holds none.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::codec;
use super::limits::{IDLE_BUFFER_BYTES, LINGER, OUTPUT_BYTES, READ_AHEAD_BYTES, READ_BYTES};

/// A client's socket.
pub(super) struct Socket {
    stream: TcpStream,
    /// What has come and is not yet decoded.
    pub(super) input: BytesMut,
    /// What is not yet sent.
    pub(super) output: BytesMut,
}

/// Bytes that a single read takes at most while a large message comes in.
const LARGE_READ_BYTES: usize = 256 << 10;

/// Bytes of a refused client's input that are read and thrown away, so that it gets to read why.
const LINGER_BYTES: usize = 1 << 20;

impl Socket {
    /// Takes over a connection.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, input: BytesMut::new(), output: BytesMut::new() }
    }

    /// Waits for more input; `false` when the client has closed its side. Cancel-safe.
    pub(super) async fn read(&mut self) -> io::Result<bool> {
        loop {
            self.stream.readable().await?;
            self.input.reserve(codec::missing_bytes(&self.input).clamp(READ_BYTES, LARGE_READ_BYTES));
            match self.stream.try_read_buf(&mut self.input) {
                Ok(count) => return Ok(count > 0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns when the client is gone; reads ahead a bounded number of bytes to find out. Cancel-safe.
    pub(super) async fn gone(&mut self) {
        while self.input.len() < READ_AHEAD_BYTES {
            match self.read().await {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
        }
        std::future::pending::<()>().await;
    }

    /// Sends everything that is waiting.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all_buf(&mut self.output).await
    }

    /// Sends what is waiting when it is much.
    pub(super) async fn flush_if_large(&mut self) -> io::Result<()> {
        if self.output.len() >= OUTPUT_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Gives large buffers back before a wait that may be long.
    pub(super) fn shrink(&mut self) {
        if self.output.is_empty() && self.output.capacity() > IDLE_BUFFER_BYTES {
            self.output = BytesMut::new();
        }
        if self.input.is_empty() && self.input.capacity() > IDLE_BUFFER_BYTES {
            self.input = BytesMut::new();
        }
    }

    /// Sends what is waiting and closes in such a way that the client can read it: closing with unread input
    /// would reset the connection and take the last error with it.
    pub(super) async fn close(mut self, linger: Duration) {
        let farewell = async {
            self.flush().await?;
            self.stream.shutdown().await?;
            let mut thrown_away = 0;
            while thrown_away < LINGER_BYTES {
                self.input.clear();
                if !self.read().await? {
                    break;
                }
                thrown_away += self.input.len();
            }
            Ok::<(), io::Error>(())
        };
        // Whether it worked or took too long makes no difference: the connection ends.
        let _ = tokio::time::timeout(linger.min(LINGER), farewell).await;
    }
}
