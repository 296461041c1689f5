//! Cuts the bytes of a client into frames and decodes them. No I/O, no state, no panic.
//!
//! A frame is bounded by what may come in the state of the connection, split off exactly, and decoded from its
//! own bytes only; a body that is too short, or longer than what it says, is refused.

use bytes::{Buf, Bytes, BytesMut};

use super::errors::{Failure, invalid_encoding, protocol_violation};
use super::limits::{LOGIN_MESSAGE_BYTES, MESSAGE_BYTES, SMALL_MESSAGE_BYTES};
use crate::session::SqlError;

/// The first thing that a client sends; it has no tag.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// SSLRequest.
    Ssl,
    /// GSSENCRequest.
    GssEncryption,
    /// CancelRequest, on a connection of its own.
    Cancel {
        /// The connection that it means.
        process_id: i32,
        /// What only its client knows.
        secret: i32,
    },
    /// StartupMessage.
    Startup {
        /// The minor version of protocol 3.
        minor: u16,
        /// Names and values, as sent.
        parameters: Vec<(String, String)>,
    },
}

/// What a client sends after the login.
#[derive(Debug)]
pub(super) enum Message {
    /// Simple query.
    Query(String),
    /// Plans a statement under a name.
    Parse {
        /// The statement's name, empty for the unnamed one.
        name: String,
        /// The text.
        sql: String,
        /// Types that the client names, 0 for those that it leaves open.
        type_oids: Vec<u32>,
    },
    /// Puts parameters in.
    Bind(Bind),
    /// Asks for types.
    Describe(Target),
    /// Runs a portal.
    Execute {
        /// The portal's name, empty for the unnamed one.
        portal: String,
        /// Rows to send before it is suspended, 0 or less for all.
        row_limit: i32,
    },
    /// Forgets a statement or a portal.
    Close(Target),
    /// Asks for what has been answered so far.
    Flush,
    /// Ends a series of messages.
    Sync,
    /// The client goes.
    Terminate,
    /// Data of a COPY FROM.
    CopyData(Bytes),
    /// The data of a COPY FROM has ended.
    CopyDone,
    /// The client gives a COPY FROM up, and says why.
    CopyFail(String),
    /// The function call message.
    FunctionCall,
    /// A password, which is never expected here.
    Password,
    /// A message whose text is not UTF-8; its frame is whole, so the connection can go on.
    NotText {
        /// It was a simple query.
        simple: bool,
        /// What the client is told.
        error: SqlError,
    },
}

impl Message {
    /// The byte that it begins with.
    pub(super) fn tag(&self) -> u8 {
        match self {
            Self::Query(_) | Self::NotText { simple: true, .. } => b'Q',
            Self::Parse { .. } | Self::NotText { simple: false, .. } => b'P',
            Self::Bind(_) => b'B',
            Self::Describe(_) => b'D',
            Self::Execute { .. } => b'E',
            Self::Close(_) => b'C',
            Self::Flush => b'H',
            Self::Sync => b'S',
            Self::Terminate => b'X',
            Self::CopyData(_) => b'd',
            Self::CopyDone => b'c',
            Self::CopyFail(_) => b'f',
            Self::FunctionCall => b'F',
            Self::Password => b'p',
        }
    }
}

/// Puts parameters in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bind {
    /// The portal's name.
    pub(super) portal: String,
    /// The statement's name.
    pub(super) statement: String,
    /// Formats of the parameters: none, one for all, or one each.
    pub(super) parameter_formats: Vec<i16>,
    /// The parameters.
    pub(super) parameters: Vec<Option<Bytes>>,
    /// Formats of the columns: none, one for all, or one each.
    pub(super) result_formats: Vec<i16>,
}

/// A statement or a portal, by name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A prepared statement.
    Statement(String),
    /// A portal.
    Portal(String),
}

const SSL_REQUEST: i32 = 80_877_103;
const GSS_ENCRYPTION_REQUEST: i32 = 80_877_104;
const CANCEL_REQUEST: i32 = 80_877_102;

fn fatal(message: impl Into<String>) -> Failure {
    Failure::Fatal(protocol_violation(message))
}

/// The opening packet, once it is whole.
pub(super) fn opening(input: &mut BytesMut) -> Result<Option<Opening>, Failure> {
    let Some(length) = peek_length(input, 0) else { return Ok(None) };
    if !(8..=LOGIN_MESSAGE_BYTES as i64).contains(&length) {
        return Err(fatal("invalid length of startup packet"));
    }
    let Some(mut body) = split_frame(input, 0, length as usize) else { return Ok(None) };
    let code = body.i32()?;
    let opening = match code {
        SSL_REQUEST => Opening::Ssl,
        GSS_ENCRYPTION_REQUEST => Opening::GssEncryption,
        CANCEL_REQUEST => Opening::Cancel { process_id: body.i32()?, secret: body.i32()? },
        version if version >> 16 == 3 => startup(version as u16, &mut body)?,
        version => {
            let (major, minor) = (version >> 16, version & 0xffff);
            return Err(fatal(format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0")));
        }
    };
    body.end()?;
    Ok(Some(opening))
}

fn startup(minor: u16, body: &mut Body) -> Result<Opening, Failure> {
    let mut parameters = Vec::new();
    loop {
        let name = body.text().map_err(into_fatal)?;
        if name.is_empty() {
            return Ok(Opening::Startup { minor, parameters });
        }
        parameters.push((name, body.text().map_err(into_fatal)?));
    }
}

fn into_fatal(failure: Failure) -> Failure {
    match failure {
        Failure::Statement(error) => Failure::Fatal(error),
        Failure::Fatal(_) | Failure::Gone => failure,
    }
}

/// The body of the next password message during a login; `None` for Terminate.
pub(super) fn password(input: &mut BytesMut) -> Result<Option<Option<Bytes>>, Failure> {
    let Some(&tag) = input.first() else { return Ok(None) };
    if tag != b'p' && tag != b'X' {
        return Err(fatal(format!("expected password response, got message type {tag}")));
    }
    let Some(length) = peek_length(input, 1) else { return Ok(None) };
    if !(4..=LOGIN_MESSAGE_BYTES as i64).contains(&length) {
        return Err(fatal("invalid message length"));
    }
    let Some(body) = split_frame(input, 1, length as usize) else { return Ok(None) };
    Ok(Some((tag == b'p').then_some(body.0)))
}

/// Cuts SASLInitialResponse into the mechanism's name and the client's first message.
pub(super) fn sasl_initial_response(body: Bytes) -> Result<(String, Bytes), Failure> {
    let mut body = Body(body);
    let mechanism = body.text().map_err(into_fatal)?;
    let data = body.sized_bytes()?.unwrap_or_default();
    body.end()?;
    Ok((mechanism, data))
}

/// Whether the next message is a Sync that has come already.
pub(super) fn sync_is_next(input: &BytesMut) -> bool {
    input.first() == Some(&b'S')
}

/// The next message after the login, once it is whole.
pub(super) fn message(input: &mut BytesMut) -> Result<Option<Message>, Failure> {
    let Some(&tag) = input.first() else { return Ok(None) };
    let limit = match tag {
        b'Q' | b'P' | b'B' | b'd' => MESSAGE_BYTES,
        b'D' | b'E' | b'C' | b'H' | b'S' | b'X' | b'c' | b'f' | b'F' | b'p' => SMALL_MESSAGE_BYTES,
        other => return Err(fatal(format!("invalid frontend message type {other}"))),
    };
    let Some(length) = peek_length(input, 1) else { return Ok(None) };
    if length < 4 {
        return Err(fatal("invalid message length"));
    }
    if length > limit as i64 {
        return Err(fatal(format!("message of {length} bytes exceeds the limit of {limit} bytes")));
    }
    let Some(body) = split_frame(input, 1, length as usize) else { return Ok(None) };
    match decode(tag, body) {
        Err(Failure::Statement(error)) => Ok(Some(Message::NotText { simple: tag == b'Q', error })),
        decoded => decoded.map(Some),
    }
}

fn decode(tag: u8, mut body: Body) -> Result<Message, Failure> {
    let message = match tag {
        b'Q' => Message::Query(body.text()?),
        b'P' => parse(&mut body)?,
        b'B' => Message::Bind(bind(&mut body)?),
        b'D' => Message::Describe(target(&mut body)?),
        b'E' => Message::Execute { portal: body.text()?, row_limit: body.i32()? },
        b'C' => Message::Close(target(&mut body)?),
        b'H' => Message::Flush,
        b'S' => Message::Sync,
        b'X' => Message::Terminate,
        // What these carry is of no interest: they are refused as they are.
        b'F' => return Ok(Message::FunctionCall),
        b'p' => return Ok(Message::Password),
        b'c' => Message::CopyDone,
        b'f' => return Ok(Message::CopyFail(body.lossy_text())),
        _ => return Ok(Message::CopyData(body.0)),
    };
    body.end()?;
    Ok(message)
}

/// How many bytes the frame that begins here still lacks, to read large messages in few steps.
pub(super) fn missing_bytes(input: &BytesMut) -> usize {
    match peek_length(input, 1) {
        Some(length) => usize::try_from(length + 1).unwrap_or(0).saturating_sub(input.len()).min(MESSAGE_BYTES),
        None => 0,
    }
}

fn parse(body: &mut Body) -> Result<Message, Failure> {
    let name = body.text()?;
    let sql = body.text()?;
    let count = body.u16()?;
    let type_oids = (0..count).map(|_| body.i32().map(|oid| oid as u32)).collect::<Result<_, _>>()?;
    Ok(Message::Parse { name, sql, type_oids })
}

fn bind(body: &mut Body) -> Result<Bind, Failure> {
    let portal = body.text()?;
    let statement = body.text()?;
    let parameter_formats = formats(body)?;
    let count = body.u16()?;
    let parameters = (0..count).map(|_| body.sized_bytes()).collect::<Result<_, _>>()?;
    let result_formats = formats(body)?;
    Ok(Bind { portal, statement, parameter_formats, parameters, result_formats })
}

fn formats(body: &mut Body) -> Result<Vec<i16>, Failure> {
    let count = body.u16()?;
    (0..count).map(|_| body.u16().map(|format| format as i16)).collect()
}

fn target(body: &mut Body) -> Result<Target, Failure> {
    match body.u8()? {
        b'S' => Ok(Target::Statement(body.text()?)),
        b'P' => Ok(Target::Portal(body.text()?)),
        other => Err(fatal(format!("invalid message subtype {other}"))),
    }
}

/// The length field behind `tag_bytes`, which counts itself.
fn peek_length(input: &BytesMut, tag_bytes: usize) -> Option<i64> {
    let field = input.get(tag_bytes..tag_bytes + 4)?;
    Some(i64::from(i32::from_be_bytes(field.try_into().expect("four bytes were taken"))))
}

/// Splits one frame off, when all of it has come; `length` is at least 4.
fn split_frame(input: &mut BytesMut, tag_bytes: usize, length: usize) -> Option<Body> {
    if input.len() < tag_bytes + length {
        return None;
    }
    input.advance(tag_bytes + 4);
    Some(Body(input.split_to(length - 4).freeze()))
}

/// The bytes of one message, read from the front; every read is checked.
struct Body(Bytes);

impl Body {
    fn take(&mut self, count: usize) -> Result<Bytes, Failure> {
        if self.0.len() < count {
            return Err(fatal("insufficient data left in message"));
        }
        Ok(self.0.split_to(count))
    }

    fn u8(&mut self) -> Result<u8, Failure> {
        Ok(self.take(1)?.get_u8())
    }

    fn u16(&mut self) -> Result<u16, Failure> {
        Ok(self.take(2)?.get_u16())
    }

    fn i32(&mut self) -> Result<i32, Failure> {
        Ok(self.take(4)?.get_i32())
    }

    /// Bytes behind their length; −1 is NULL.
    fn sized_bytes(&mut self) -> Result<Option<Bytes>, Failure> {
        match self.i32()? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) => self.take(length).map(Some),
                Err(_) => Err(fatal("invalid length in message")),
            },
        }
    }

    /// A text that a zero byte ends. Text that is not UTF-8 fails the statement only: the frame is whole.
    fn text(&mut self) -> Result<String, Failure> {
        let Some(end) = memchr::memchr(0, &self.0) else {
            return Err(fatal("invalid string in message"));
        };
        let text = self.take(end + 1)?;
        match std::str::from_utf8(&text[..end]) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(Failure::Statement(invalid_encoding())),
        }
    }

    /// A text up to a zero byte or the end, whatever it is made of.
    fn lossy_text(&self) -> String {
        let end = memchr::memchr(0, &self.0).unwrap_or(self.0.len());
        String::from_utf8_lossy(&self.0[..end]).into_owned()
    }

    fn end(&self) -> Result<(), Failure> {
        if self.0.is_empty() { Ok(()) } else { Err(fatal("invalid message format")) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn frame(tag: u8, body: &[u8]) -> BytesMut {
        let mut bytes = BytesMut::from(&[tag][..]);
        bytes.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    fn is_fatal<T: std::fmt::Debug>(result: Result<T, Failure>) -> bool {
        matches!(result, Err(Failure::Fatal(error)) if error.sqlstate == "08P01")
    }

    #[test]
    fn messages_are_decoded_from_their_own_bytes() {
        let mut input = frame(b'Q', b"SELECT 1\0");
        input.extend_from_slice(&frame(b'S', b""));
        assert!(matches!(message(&mut input).unwrap(), Some(Message::Query(sql)) if sql == "SELECT 1"));
        assert!(matches!(message(&mut input).unwrap(), Some(Message::Sync)));
        assert!(message(&mut input).unwrap().is_none());

        let mut input = frame(b'B', b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x02hi\xff\xff\xff\xff\0\0");
        let bind = Bind {
            portal: "p".into(),
            statement: "s".into(),
            parameter_formats: vec![1],
            parameters: vec![Some(Bytes::from_static(b"hi")), None],
            result_formats: vec![],
        };
        assert!(matches!(message(&mut input).unwrap(), Some(Message::Bind(decoded)) if decoded == bind));
    }

    #[test]
    fn a_frame_that_is_not_whole_waits_and_says_what_it_lacks() {
        let whole = frame(b'Q', b"SELECT 1\0");
        for length in 0..whole.len() {
            let mut part = BytesMut::from(&whole[..length]);
            assert!(message(&mut part).unwrap().is_none(), "{length} bytes");
            assert_eq!(missing_bytes(&part), if length < 5 { 0 } else { whole.len() - length });
        }
    }

    #[test]
    fn short_long_and_unknown_bodies_are_refused() {
        let bodies: [(u8, &[u8]); 16] = [
            (b'Q', b"no end"),
            (b'Q', b"a\0leftover"),
            (b'P', b"\0\0"),
            (b'P', b"s\0q\0\0\x02\0\0\0\x17"),
            (b'B', b"\0\0\0\0\0\x01"),
            (b'B', b"\0\0\0\0\0\x01\0\0\0\x09hi\0\0"),
            (b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0"),
            (b'B', b"\0\0\xff\xff"),
            (b'B', b"\0\0\0\0\0\0\xff\xff\0\x01"),
            (b'D', b""),
            (b'D', b"Zname\0"),
            (b'E', b"\0\0\0"),
            (b'C', b"S"),
            (b'S', b"x"),
            (b'H', b"x"),
            (b'X', b"x"),
        ];
        for (tag, body) in bodies {
            assert!(is_fatal(message(&mut frame(tag, body))), "{} {body:?}", tag as char);
        }
        assert!(is_fatal(message(&mut frame(b'z', b""))));
        assert!(is_fatal(message(&mut BytesMut::from(&b"Q\0\0\0\x03"[..]))));
        assert!(is_fatal(message(&mut BytesMut::from(&b"Q\xff\xff\xff\xff"[..]))));
        assert!(is_fatal(message(&mut BytesMut::from(&b"Q\x7f\xff\xff\xff"[..]))));
        assert!(is_fatal(message(&mut BytesMut::from(&b"S\0\0\xff\xff"[..]))));
    }

    #[test]
    fn text_that_is_not_utf8_fails_the_statement_only() {
        let decoded = message(&mut frame(b'Q', b"\xff\0")).unwrap();
        assert!(matches!(decoded, Some(Message::NotText { simple: true, error }) if error.sqlstate == "22021"));
    }

    #[test]
    fn openings() {
        fn packet(body: &[u8]) -> BytesMut {
            let mut bytes = BytesMut::from(&(body.len() as i32 + 4).to_be_bytes()[..]);
            bytes.extend_from_slice(body);
            bytes
        }
        let startup = Opening::Startup { minor: 0, parameters: vec![("user".into(), "u".into())] };
        assert_eq!(opening(&mut packet(b"\0\x03\0\0user\0u\0\0")).unwrap(), Some(startup));
        assert_eq!(opening(&mut packet(&SSL_REQUEST.to_be_bytes())).unwrap(), Some(Opening::Ssl));
        let cancel = Opening::Cancel { process_id: 7, secret: 9 };
        assert_eq!(opening(&mut packet(b"\x04\xd2\x16\x2e\0\0\0\x07\0\0\0\x09")).unwrap(), Some(cancel));
        assert!(is_fatal(opening(&mut packet(b"\0\x03\0\0user\0u\0"))));
        assert!(is_fatal(opening(&mut packet(b"\0\x03\0\0user\0u\0\0x"))));
        assert!(is_fatal(opening(&mut packet(b"\0\x02\0\0user\0u\0\0"))));
        assert!(is_fatal(opening(&mut packet(b"\0\x03"))));
        assert!(is_fatal(opening(&mut packet(b"\x04\xd2\x16\x2e\0\0\0\x07"))));
        assert!(is_fatal(opening(&mut BytesMut::from(&b"\0\x01\0\x01"[..]))));
        assert!(is_fatal(opening(&mut BytesMut::from(&b"GET / HTTP/1.1\r\n\r\n"[..]))));
    }

    #[test]
    fn before_the_login_only_passwords_and_farewells_are_read() {
        assert!(is_fatal(password(&mut frame(b'Q', b"SELECT 1\0"))));
        assert!(is_fatal(password(&mut BytesMut::from(&b"p\0\x01\0\x01"[..]))));
        assert_eq!(password(&mut frame(b'X', b"")).unwrap(), Some(None));
        let body = password(&mut frame(b'p', b"SCRAM\0\0\0\0\x01n")).unwrap().unwrap().unwrap();
        assert_eq!(sasl_initial_response(body).unwrap(), ("SCRAM".into(), Bytes::from_static(b"n")));
        assert!(is_fatal(sasl_initial_response(Bytes::from_static(b"SCRAM\0\0\0\0\x09n"))));
    }
}
