//! Raw bytes to a server, and its answers cut into messages.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fake::TestServer;

/// The longest wait for anything of the server: a server that says nothing fails a test instead of holding it up.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) tag: char,
    pub(super) body: Vec<u8>,
}

impl Reply {
    /// The SQLSTATE of an ErrorResponse.
    pub(super) fn sqlstate(&self) -> String {
        assert_eq!(self.tag, 'E');
        self.field('C')
    }

    /// A field of an ErrorResponse.
    pub(super) fn field(&self, code: char) -> String {
        let fields = self.body.split(|byte| *byte == 0).map(|field| String::from_utf8_lossy(field).into_owned());
        let mut with_code = fields.filter(|field| field.starts_with(code)).map(|field| field[1..].to_owned());
        with_code.next().unwrap_or_default()
    }
}

pub(super) struct RawClient {
    pub(super) stream: TcpStream,
    buffer: Vec<u8>,
}

/// A message with a tag.
pub(super) fn message(tag: char, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag as u8];
    bytes.extend((body.len() as i32 + 4).to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A packet without a tag.
pub(super) fn packet(body: &[u8]) -> Vec<u8> {
    message(' ', body)[1..].to_vec()
}

pub(super) fn startup() -> Vec<u8> {
    packet(b"\0\x03\0\0user\0u\0database\0d\0\0")
}

pub(super) fn query(sql: &str) -> Vec<u8> {
    message('Q', format!("{sql}\0").as_bytes())
}

pub(super) fn parse(name: &str, sql: &str) -> Vec<u8> {
    message('P', format!("{name}\0{sql}\0\0\0").as_bytes())
}

pub(super) fn bind(portal: &str, statement: &str) -> Vec<u8> {
    message('B', format!("{portal}\0{statement}\0\0\0\0\0\0\0").as_bytes())
}

pub(super) fn describe(target: char, name: &str) -> Vec<u8> {
    message('D', format!("{target}{name}\0").as_bytes())
}

pub(super) fn execute(portal: &str, limit: i32) -> Vec<u8> {
    let mut body = format!("{portal}\0").into_bytes();
    body.extend(limit.to_be_bytes());
    message('E', &body)
}

pub(super) fn close(target: char, name: &str) -> Vec<u8> {
    message('C', format!("{target}{name}\0").as_bytes())
}

pub(super) fn sync() -> Vec<u8> {
    message('S', b"")
}

impl RawClient {
    pub(super) async fn connect(server: &TestServer) -> Self {
        Self::connect_to(server.address).await
    }

    pub(super) async fn connect_to(address: std::net::SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), buffer: Vec::new() }
    }

    /// Connects and logs in without a password.
    pub(super) async fn ready(server: &TestServer) -> Self {
        Self::ready_at(server.address).await
    }

    pub(super) async fn ready_at(address: std::net::SocketAddr) -> Self {
        let mut client = Self::connect_to(address).await;
        client.send(&startup()).await;
        client.until_ready().await;
        client
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next message; `None` when the server has closed.
    pub(super) async fn next(&mut self) -> Option<Reply> {
        loop {
            if self.buffer.len() >= 5 {
                let length = u32::from_be_bytes(self.buffer[1..5].try_into().unwrap()) as usize;
                if self.buffer.len() > length {
                    let frame: Vec<u8> = self.buffer.drain(..=length).collect();
                    return Some(Reply { tag: frame[0] as char, body: frame[5..].to_vec() });
                }
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
            match read.unwrap_or_else(|_| panic!("nothing comes within {PATIENCE:?}")) {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// All messages up to ReadyForQuery, that one included.
    pub(super) async fn until_ready(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        while let Some(reply) = self.next().await {
            replies.push(reply);
            if replies.last().unwrap().tag == 'Z' {
                return replies;
            }
        }
        panic!("the server closed before it was ready: {replies:?}");
    }

    /// All messages up to the close.
    pub(super) async fn until_closed(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        while let Some(reply) = self.next().await {
            replies.push(reply);
        }
        replies
    }

    /// Sends and returns the tags of the answers up to ReadyForQuery.
    pub(super) async fn tags(&mut self, bytes: &[u8]) -> String {
        self.send(bytes).await;
        tags(&self.until_ready().await)
    }
}

/// The tags of messages, one character each.
pub(super) fn tags(replies: &[Reply]) -> String {
    replies.iter().map(|reply| reply.tag).collect()
}
