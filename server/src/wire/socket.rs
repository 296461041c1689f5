//! A client's socket with its input and output buffers.
//!
//! Reading waits without a buffer, so that an idle connection holds none.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::codec;
use super::limits::{IDLE_BUFFER_BYTES, LINGER, OUTPUT_BYTES, READ_AHEAD_BYTES, READ_BYTES};
use super::tls::Tls;

/// A client's socket.
pub(super) struct Socket {
    stream: Stream,
    /// What channel binding ties to: the hash of the certificate that the client has seen.
    pub(super) end_point: Option<Vec<u8>>,
    /// The common name of the client's certificate.
    pub(super) client_name: Option<String>,
    /// What has come and is not yet decoded.
    pub(super) input: BytesMut,
    /// What is not yet sent.
    pub(super) output: BytesMut,
}

/// The connection below the messages.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// A handshake is under way, or has failed: nothing can be read or written.
    Between,
}

/// Bytes that a single read takes at most while a large message comes in.
const LARGE_READ_BYTES: usize = 256 << 10;

/// Bytes of a refused client's input that are read and thrown away, so that it gets to read why.
const LINGER_BYTES: usize = 1 << 20;

impl Socket {
    /// Takes over a connection.
    pub(super) fn new(stream: TcpStream) -> Self {
        let (input, output) = (BytesMut::new(), BytesMut::new());
        Self { stream: Stream::Plain(stream), end_point: None, client_name: None, input, output }
    }

    /// Whether what is sent can be read on the way.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.stream, Stream::Plain(_))
    }

    /// The first byte that the client sends, left where it is; `None` when the client is gone.
    pub(super) async fn first_byte(&mut self) -> io::Result<Option<u8>> {
        let Stream::Plain(stream) = &self.stream else { return Err(io::ErrorKind::NotConnected.into()) };
        let mut byte = [0];
        Ok((stream.peek(&mut byte).await? > 0).then_some(byte[0]))
    }

    /// Shakes hands. What was read before is not used: there must be none. Returns whether the client said that it
    /// will speak our protocol.
    pub(super) async fn start_tls(&mut self, tls: &Tls) -> io::Result<bool> {
        assert!(self.input.is_empty(), "what came in the clear would be taken for encrypted");
        let Stream::Plain(stream) = std::mem::replace(&mut self.stream, Stream::Between) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let shaken = tls.accept(stream).await?;
        self.stream = Stream::Tls(Box::new(shaken.stream));
        self.end_point = shaken.end_point;
        self.client_name = shaken.client_name;
        Ok(shaken.named_protocol)
    }

    /// Waits for more input; `false` when the client has closed its side. Cancel-safe.
    pub(super) async fn read(&mut self) -> io::Result<bool> {
        let stream = match &mut self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => return read_decrypted(stream, &mut self.input).await,
            Stream::Between => return Err(io::ErrorKind::NotConnected.into()),
        };
        loop {
            stream.readable().await?;
            self.input.reserve(codec::missing_bytes(&self.input).clamp(READ_BYTES, LARGE_READ_BYTES));
            match stream.try_read_buf(&mut self.input) {
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
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all_buf(&mut self.output).await,
            Stream::Tls(stream) => {
                stream.write_all_buf(&mut self.output).await?;
                stream.flush().await
            }
            Stream::Between => Err(io::ErrorKind::NotConnected.into()),
        }
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
            match &mut self.stream {
                Stream::Plain(stream) => stream.shutdown().await?,
                Stream::Tls(stream) => stream.shutdown().await?,
                Stream::Between => return Ok(()),
            }
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

/// Waits for decrypted bytes without a buffer of its own: an idle connection holds none. Cancel-safe.
async fn read_decrypted(stream: &mut TlsStream<TcpStream>, input: &mut BytesMut) -> io::Result<bool> {
    std::future::poll_fn(|context| {
        let mut space = [std::mem::MaybeUninit::uninit(); READ_BYTES];
        let mut space = ReadBuf::uninit(&mut space);
        std::task::ready!(std::pin::Pin::new(&mut *stream).poll_read(context, &mut space))?;
        input.extend_from_slice(space.filled());
        std::task::Poll::Ready(Ok(!space.filled().is_empty()))
    })
    .await
}
