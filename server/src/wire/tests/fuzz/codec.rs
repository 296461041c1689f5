//! Conversations through the codec, as a connection reads them: the opening packets, a login, messages.
//!
//! What holds for every input: no panic; a packet is taken whole or not at all; nothing that is refused is read on; the
//! pieces in which bytes arrive make no difference; no more is waited for than the limits allow.

use bytes::BytesMut;
use rand::Rng;
use rand::rngs::StdRng;

use super::mutate::conversation;
use crate::wire::codec::{self, Message, Opening};
use crate::wire::errors::Failure;
use crate::wire::limits::{LOGIN_MESSAGE_BYTES, MESSAGE_BYTES};

/// What came of conversations.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Messages that could be read.
    pub(super) messages: u64,
    /// Conversations that were refused.
    pub(super) refused: u64,
}

impl Read {
    pub(super) fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.refused += other.refused;
    }
}

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Password,
    Messages,
    Over,
}

/// A connection without its socket.
struct Reader {
    input: BytesMut,
    phase: Phase,
    asks_password: bool,
    /// What was read, when it is to be compared.
    log: Option<Vec<String>>,
    read: Read,
}

impl Reader {
    fn new(asks_password: bool, logged: bool) -> Self {
        let log = logged.then(Vec::new);
        Self { input: BytesMut::new(), phase: Phase::Opening, asks_password, log, read: Read::default() }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while self.phase != Phase::Over && self.step() {}
    }

    /// Reads one packet; `false` when it is not whole yet.
    fn step(&mut self) -> bool {
        let before = self.input.len();
        let (outcome, next) = match self.phase {
            Phase::Opening => {
                let opening = codec::opening(&mut self.input);
                let next = match &opening {
                    Ok(Some(Opening::Startup { .. })) if self.asks_password => Phase::Password,
                    Ok(Some(Opening::Startup { .. })) => Phase::Messages,
                    Ok(Some(Opening::Cancel { .. })) => Phase::Over,
                    _ => Phase::Opening,
                };
                (described(opening), next)
            }
            Phase::Password => {
                let password = codec::password(&mut self.input);
                if let Ok(Some(Some(body))) = &password {
                    // Whatever it says, it is cut without a panic.
                    let _ = codec::sasl_initial_response(body.clone());
                }
                (described(password), Phase::Messages)
            }
            Phase::Messages | Phase::Over => {
                let message = codec::message(&mut self.input);
                let next = if matches!(message, Ok(Some(Message::Terminate))) { Phase::Over } else { Phase::Messages };
                (described(message), next)
            }
        };
        match outcome {
            Ok(Some(read)) => {
                assert!(self.input.len() < before, "{read}: nothing was taken");
                self.read.messages += 1;
                self.log.iter_mut().for_each(|log| log.push(read.clone()));
                self.phase = next;
                true
            }
            Ok(None) => {
                assert_eq!(self.input.len(), before, "part of a packet was taken");
                let limit = if self.phase == Phase::Messages { MESSAGE_BYTES } else { LOGIN_MESSAGE_BYTES };
                assert!(before <= limit + 1, "{before} bytes were kept for a packet of at most {limit}");
                assert!(codec::missing_bytes(&self.input) <= MESSAGE_BYTES);
                false
            }
            Err(code) => {
                self.read.refused += 1;
                self.log.iter_mut().for_each(|log| log.push(code.clone()));
                self.phase = Phase::Over;
                false
            }
        }
    }
}

/// What was read as text, or the code with which it was refused.
fn described<T: std::fmt::Debug>(outcome: Result<Option<T>, Failure>) -> Result<Option<String>, String> {
    match outcome {
        Ok(read) => Ok(read.map(|read| format!("{read:?}"))),
        Err(Failure::Fatal(error) | Failure::Statement(error)) => {
            assert!(["08P01", "22021", "0A000"].contains(&error.sqlstate), "{error:?}");
            Err(error.sqlstate.to_owned())
        }
        Err(Failure::Gone) => panic!("the codec knows no client"),
    }
}

pub(super) fn execute(random: &mut StdRng) -> Read {
    let bytes = conversation(random);
    let asks_password = random.random_bool(0.3);
    // The comparison costs as much again.
    let compared = random.random_bool(0.1);
    let mut in_pieces = Reader::new(asks_password, compared);
    let mut rest = bytes.as_slice();
    while !rest.is_empty() && in_pieces.phase != Phase::Over {
        let piece = if random.random_bool(0.2) { random.random_range(1..=16.min(rest.len())) } else { rest.len() };
        in_pieces.push(&rest[..piece]);
        rest = &rest[piece..];
    }
    if compared {
        let mut whole = Reader::new(asks_password, true);
        whole.push(&bytes);
        assert_eq!(in_pieces.log, whole.log);
    }
    in_pieces.read
}
