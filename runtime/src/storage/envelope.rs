//! The frame around every stored object of ours: what it is, which format it has, and whether it is whole.
//!
//! ```text
//! 0..4    "MSTR"
//! 4       the kind: 'L' log entry, 'S' snapshot, 'M' manifest, 'O' state, 'R' rows
//! 5..8    zero
//! 8..12   format version of the kind, little endian
//! 12..16  CRC-32 of everything behind it, little endian
//! 16..    the payload
//! ```
//!
//! Reading checks all of it: a damaged object is an error that names the object, never a guess. A format above
//! the newest known one is refused with the advice to start a newer release.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::{Error, Result};

/// What a stored object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An entry of the log.
    Entry,
    /// What the log up to a position amounts to.
    Snapshot,
    /// The manifest of a checkpoint.
    Manifest,
    /// State of operators.
    State,
    /// Rows of a commit that are too large for its entry.
    Rows,
}

/// Bytes before the payload.
const HEADER_BYTES: usize = 16;

const MAGIC: &[u8; 4] = b"MSTR";

impl Kind {
    const fn tag(self) -> u8 {
        match self {
            Self::Entry => b'L',
            Self::Snapshot => b'S',
            Self::Manifest => b'M',
            Self::State => b'O',
            Self::Rows => b'R',
        }
    }

    /// The format that this release writes, and the newest that it reads.
    pub(crate) const fn newest_format(self) -> u32 {
        match self {
            Self::Entry | Self::Snapshot | Self::Manifest | Self::State | Self::Rows => 1,
        }
    }

    const fn noun(self) -> &'static str {
        match self {
            Self::Entry => "log entry",
            Self::Snapshot => "snapshot",
            Self::Manifest => "checkpoint manifest",
            Self::State => "state object",
            Self::Rows => "rows object",
        }
    }
}

/// Puts the frame around a payload that is given in pieces.
pub(crate) fn seal(kind: Kind, pieces: &[&[u8]]) -> Bytes {
    let payload: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut crc = crc32fast::Hasher::new();
    for piece in pieces {
        crc.update(piece);
    }
    let mut sealed = BytesMut::with_capacity(HEADER_BYTES + payload);
    sealed.put_slice(MAGIC);
    sealed.put_u8(kind.tag());
    sealed.put_bytes(0, 3);
    sealed.put_u32_le(kind.newest_format());
    sealed.put_u32_le(crc.finalize());
    for piece in pieces {
        sealed.put_slice(piece);
    }
    sealed.freeze()
}

/// Takes the frame off, after checking it; `name` is the object's, for the message.
pub(crate) fn open(kind: Kind, name: &str, sealed: &Bytes) -> Result<Bytes> {
    let noun = kind.noun();
    if sealed.len() < HEADER_BYTES || &sealed[0..4] != MAGIC {
        return Err(damaged(noun, name, &format!("{} bytes that do not begin as ours do", sealed.len())));
    }
    if sealed[4] != kind.tag() {
        return Err(damaged(noun, name, "it holds something else"));
    }
    let format = u32::from_le_bytes(sealed[8..12].try_into().expect("four bytes"));
    if format == 0 || format > kind.newest_format() {
        return Err(Error::data(format!(
            "{noun} \"{name}\" has format {format}, this release knows up to {}",
            kind.newest_format()
        ))
        .with_hint("Start the release of Millstream that wrote it, or a newer one."));
    }
    let stated = u32::from_le_bytes(sealed[12..16].try_into().expect("four bytes"));
    let payload = sealed.slice(HEADER_BYTES..);
    let found = crc32fast::hash(&payload);
    if stated != found {
        return Err(damaged(noun, name, &format!("its checksum is {found:08x} instead of {stated:08x}")));
    }
    Ok(payload)
}

/// The error for bytes that are not what was written.
pub(crate) fn damaged(noun: &str, name: &str, detail: &str) -> Error {
    Error::data(format!("{noun} \"{name}\" is damaged: {detail}"))
        .with_hint("Bring the object back from a copy of the storage, or go back to an earlier savepoint.")
}

/// The error for an object that is named but not there.
pub(crate) fn missing(noun: &str, name: &str) -> Error {
    Error::data(format!("{noun} \"{name}\" is missing"))
        .with_hint("Bring the object back from a copy of the storage, or go back to an earlier savepoint.")
}

/// Splits a payload that begins with the length of a JSON header: the header, and what follows it.
pub(crate) fn split_header<'a>(noun: &str, name: &str, payload: &'a Bytes) -> Result<(&'a [u8], Bytes)> {
    let length = payload.get(0..4).ok_or_else(|| damaged(noun, name, "it has no header"))?;
    let end = 4 + u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
    let header = payload.get(4..end).ok_or_else(|| damaged(noun, name, "its header is cut off"))?;
    Ok((header, payload.slice(end..)))
}

/// The length of a header as [`split_header`] wants it.
pub(crate) fn header_length(header: &[u8]) -> [u8; 4] {
    u32::try_from(header.len()).expect("a header is far below 4 GiB").to_le_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_was_sealed_opens() {
        let sealed = seal(Kind::Entry, &[b"ab", b"", b"c"]);
        assert_eq!(&open(Kind::Entry, "x", &sealed).unwrap()[..], b"abc");
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_found() {
        let sealed = seal(Kind::Snapshot, &[b"the payload"]);
        for length in 0..sealed.len() {
            let error = open(Kind::Snapshot, "snapshot/7", &sealed.slice(..length)).unwrap_err();
            assert!(error.message.contains("\"snapshot/7\""), "{error}");
        }
        for byte in (0..sealed.len()).filter(|byte| !(5..8).contains(byte)) {
            for bit in 0..8 {
                let mut bytes = sealed.to_vec();
                bytes[byte] ^= 1 << bit;
                open(Kind::Snapshot, "x", &Bytes::from(bytes)).unwrap_err();
            }
        }
    }

    #[test]
    fn another_kind_and_a_newer_format_are_refused() {
        let sealed = seal(Kind::Rows, &[b"r"]);
        assert!(open(Kind::Entry, "x", &sealed).unwrap_err().message.contains("something else"));
        let mut newer = sealed.to_vec();
        newer[8] = 9;
        let error = open(Kind::Rows, "x", &Bytes::from(newer)).unwrap_err();
        assert!(error.message.contains("format 9"), "{error}");
        assert!(error.hint.is_some());
    }
}
