//! How the encoded rows of a Kafka sink stand in an outbox.
//!
//! A payload is one byte with the version of the layout, then messages one after the other: length of the key
//! and length of the value, each a little-endian `u32` in which [`NONE`] stands for "no key" or "no value" (a
//! tombstone), then their bytes. An outbox is stored and may be read by a later release (invariant 16).

use bytes::Bytes;
use millstream_runtime::{Error, Result};

/// The layout that this release writes.
const VERSION: u8 = 1;

/// The length that stands for absence.
const NONE: u32 = u32::MAX;

/// A message as it will be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Framed<'a> {
    /// The key.
    pub(super) key: Option<&'a [u8]>,
    /// The value; `None` takes back what was sent under the key.
    pub(super) value: Option<&'a [u8]>,
}

/// Writes a payload.
#[derive(Debug)]
pub(super) struct FrameWriter {
    buffer: Vec<u8>,
}

impl FrameWriter {
    /// An empty payload.
    pub(super) fn new() -> Self {
        Self { buffer: vec![VERSION] }
    }

    /// Appends a message. Keys and values are shorter than 4 GiB, as rows are.
    pub(super) fn push(&mut self, message: Framed<'_>) {
        for part in [message.key, message.value] {
            let length = part.map_or(NONE, |part| u32::try_from(part.len()).expect("a row is shorter than 4 GiB"));
            self.buffer.extend_from_slice(&length.to_le_bytes());
        }
        for part in [message.key, message.value].into_iter().flatten() {
            self.buffer.extend_from_slice(part);
        }
    }

    /// The payload; empty when there is no message.
    pub(super) fn finish(self) -> Bytes {
        if self.buffer.len() == 1 { Bytes::new() } else { Bytes::from(self.buffer) }
    }
}

/// The messages of a payload, in order. An error ends them.
pub(super) fn read(payload: &[u8]) -> impl Iterator<Item = Result<Framed<'_>>> {
    let mut rest = Ok(payload.strip_prefix(&[VERSION]));
    if let (Ok(None), Some(version)) = (&rest, payload.first()) {
        rest =
            Err(Error::data(format!("an outbox of a kafka sink has layout {version}, this release knows {VERSION}")));
    }
    std::iter::from_fn(move || match std::mem::replace(&mut rest, Ok(None)) {
        Err(error) => Some(Err(error)),
        Ok(None | Some([])) => None,
        Ok(Some(bytes)) => match read_one(bytes) {
            Some((message, behind)) => {
                rest = Ok(Some(behind));
                Some(Ok(message))
            }
            None => Some(Err(Error::data("an outbox of a kafka sink is cut off"))),
        },
    })
}

fn read_one(bytes: &[u8]) -> Option<(Framed<'_>, &[u8])> {
    let (key_length, bytes) = bytes.split_first_chunk::<4>()?;
    let (value_length, bytes) = bytes.split_first_chunk::<4>()?;
    let (key, bytes) = read_part(u32::from_le_bytes(*key_length), bytes)?;
    let (value, bytes) = read_part(u32::from_le_bytes(*value_length), bytes)?;
    Some((Framed { key, value }, bytes))
}

fn read_part(length: u32, bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    if length == NONE {
        return Some((None, bytes));
    }
    let (part, bytes) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    Some((Some(part), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: [Framed<'static>; 4] = [
        Framed { key: Some(b"k"), value: Some(b"value") },
        Framed { key: Some(b""), value: None },
        Framed { key: None, value: Some(b"") },
        Framed { key: None, value: None },
    ];

    fn payload() -> Bytes {
        let mut writer = FrameWriter::new();
        MESSAGES.into_iter().for_each(|message| writer.push(message));
        writer.finish()
    }

    #[test]
    fn what_is_written_is_read() {
        let read_back: Vec<_> = read(&payload()).map(|message| format!("{:?}", message.expect("whole"))).collect();
        assert_eq!(read_back, MESSAGES.map(|message| format!("{message:?}")));
        assert!(FrameWriter::new().finish().is_empty());
        assert_eq!(read(&[]).count(), 0);
    }

    #[test]
    fn damage_is_an_error_at_every_length() {
        let payload = payload();
        let ends_of_messages = [0, 1, 1 + 8 + 6, 1 + 8 + 6 + 8, 1 + 8 + 6 + 16];
        for length in (0..payload.len()).filter(|length| !ends_of_messages.contains(length)) {
            let last = read(&payload[..length]).last().expect("something comes");
            assert!(last.expect_err("is cut off").message.contains("cut off"), "at {length}");
        }
        let mut later = payload.to_vec();
        later[0] = 2;
        assert!(read(&later).next().expect("an error").expect_err("unknown").message.contains("layout 2"));
    }
}
