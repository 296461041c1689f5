//! Cuts the binary format into rows: a header, rows as DataRow has them, and the count −1 at the end.

use bytes::{Buf, Bytes, BytesMut};

use super::super::errors;
use super::super::limits::COPY_LINE_BYTES;
use super::output::SIGNATURE;
use crate::session::SqlError;

/// Flags whose upper half a reader must know; the one that says that rows have OIDs is no longer spoken.
const CRITICAL_FLAGS: u32 = 0xffff_0000;
const FLAG_OIDS: u32 = 1 << 16;

/// A row.
pub(super) struct Tuple {
    /// Its values.
    pub(super) values: Vec<Option<Bytes>>,
    /// What it took of the data.
    pub(super) size_bytes: usize,
}

/// Cuts rows out of what comes in.
pub(super) struct Tuples {
    columns: usize,
    input: BytesMut,
    begun: bool,
    ended: bool,
    count: u64,
}

impl Tuples {
    pub(super) fn new(columns: usize) -> Self {
        Self { columns, input: BytesMut::new(), begun: false, ended: false, count: 0 }
    }

    /// More has come.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), SqlError> {
        if self.ended && !bytes.is_empty() {
            return Err(errors::bad_copy("received copy data after EOF marker"));
        }
        self.input.extend_from_slice(bytes);
        Ok(())
    }

    /// How many rows have been cut.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The next whole row. `last` says that no more will come: then none may be begun.
    pub(super) fn next(&mut self, last: bool) -> Result<Option<Tuple>, SqlError> {
        if self.ended {
            return Ok(None);
        }
        if !self.begun && !self.header(last)? {
            return Ok(None);
        }
        let tuple = self.tuple()?;
        if tuple.is_none() && !self.ended {
            // Postgres takes data without the trailer, as long as no row is cut short.
            if last && !self.input.is_empty() {
                return Err(errors::bad_copy("unexpected EOF in COPY data"));
            }
            if self.input.len() > COPY_LINE_BYTES {
                let message = format!("a row of COPY is longer than {} MiB", COPY_LINE_BYTES >> 20);
                return Err(errors::limit_exceeded(message, "Send shorter values."));
            }
        }
        Ok(tuple)
    }

    /// Takes the header; whether it is there.
    fn header(&mut self, last: bool) -> Result<bool, SqlError> {
        let signature = &self.input[..self.input.len().min(SIGNATURE.len())];
        if !SIGNATURE.starts_with(signature) || (last && signature.len() < SIGNATURE.len()) {
            return Err(errors::bad_copy("COPY file signature not recognized"));
        }
        let word =
            |at: usize| self.input.get(at..at + 4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
        let (flags_at, extension_at) = (SIGNATURE.len(), SIGNATURE.len() + 4);
        let (Some(flags), Some(extension)) = (word(flags_at), word(extension_at)) else {
            return if last { Err(errors::bad_copy("invalid COPY file header (missing flags)")) } else { Ok(false) };
        };
        if flags & FLAG_OIDS != 0 {
            return Err(errors::bad_copy("invalid COPY file header (WITH OIDS)"));
        }
        if flags & CRITICAL_FLAGS != 0 {
            return Err(errors::bad_copy("unrecognized critical flags in COPY file header"));
        }
        let length = extension_at + 4 + extension as usize;
        if extension as usize > COPY_LINE_BYTES {
            return Err(errors::bad_copy("invalid COPY file header (wrong length)"));
        }
        if self.input.len() < length {
            return if last { Err(errors::bad_copy("invalid COPY file header (wrong length)")) } else { Ok(false) };
        }
        self.input.advance(length);
        self.begun = true;
        Ok(true)
    }

    fn tuple(&mut self) -> Result<Option<Tuple>, SqlError> {
        let Some(count) = self.input.get(..2).map(|count| i16::from_be_bytes([count[0], count[1]])) else {
            return Ok(None);
        };
        if count == -1 {
            if self.input.len() > 2 {
                return Err(errors::bad_copy("received copy data after EOF marker"));
            }
            self.input.clear();
            self.ended = true;
            return Ok(None);
        }
        if usize::try_from(count) != Ok(self.columns) {
            return Err(errors::bad_copy(format!("row field count is {count}, expected {}", self.columns)));
        }
        // The places first: a row is taken when all of it is there.
        let mut places = Vec::with_capacity(self.columns);
        let mut at = 2;
        for _ in 0..self.columns {
            let Some(length) = self.input.get(at..at + 4) else { return Ok(None) };
            let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
            at += 4;
            match usize::try_from(length) {
                Ok(length) => {
                    if self.input.len() - at < length {
                        return Ok(None);
                    }
                    places.push(Some(at..at + length));
                    at += length;
                }
                Err(_) if length == -1 => places.push(None),
                Err(_) => return Err(errors::bad_copy("invalid field size")),
            }
        }
        let row = self.input.split_to(at).freeze();
        self.count += 1;
        let values = places.into_iter().map(|place| place.map(|place| row.slice(place))).collect();
        Ok(Some(Tuple { values, size_bytes: at }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn header(flags: u32, extension: &[u8]) -> Vec<u8> {
        let words = [flags, extension.len() as u32];
        let words = words.iter().flat_map(|word| word.to_be_bytes());
        SIGNATURE.iter().copied().chain(words).chain(extension.iter().copied()).collect()
    }

    /// The rows, or the error, when the data comes in pieces of a size.
    fn rows(data: &[u8], piece: usize) -> Result<Vec<Vec<Option<Vec<u8>>>>, String> {
        let mut tuples = Tuples::new(2);
        let mut found = Vec::new();
        let mut take = |tuples: &mut Tuples, last| {
            while let Some(tuple) = tuples.next(last).map_err(|error| error.message)? {
                found.push(tuple.values.iter().map(|value| value.as_ref().map(|bytes| bytes.to_vec())).collect());
            }
            Ok::<_, String>(())
        };
        for piece in data.chunks(piece) {
            tuples.feed(piece).map_err(|error| error.message)?;
            take(&mut tuples, false)?;
        }
        take(&mut tuples, true)?;
        Ok(found)
    }

    #[test]
    fn rows_are_the_same_however_the_data_comes_in() {
        let row = b"\0\x02\0\0\0\x01a\xff\xff\xff\xff";
        let with = |header: Vec<u8>, rest: &[&[u8]]| [header, rest.concat()].concat();
        let one = vec![vec![Some(b"a".to_vec()), None]];
        let two = [one.clone(), one.clone()].concat();
        let cases: Vec<(Vec<u8>, Result<Vec<_>, &str>)> = vec![
            (with(header(0, b""), &[b"\xff\xff"]), Ok(vec![])),
            (with(header(0, b""), &[row, row, b"\xff\xff"]), Ok(two)),
            (with(header(7, b"extension"), &[row]), Ok(one)),
            (with(header(0, b""), &[b"\0\x02\0\0\0\x01"]), Err("unexpected EOF in COPY data")),
            (with(header(0, b""), &[b"\0\x03"]), Err("row field count is 3, expected 2")),
            (with(header(0, b""), &[b"\0\x02\xff\xff\xff\xfe"]), Err("invalid field size")),
            (with(header(0, b""), &[b"\xff\xff", row]), Err("received copy data after EOF marker")),
            (header(1 << 16, b""), Err("invalid COPY file header (WITH OIDS)")),
            (header(1 << 17, b""), Err("unrecognized critical flags in COPY file header")),
            (b"PGCOPX".to_vec(), Err("COPY file signature not recognized")),
            (Vec::new(), Err("COPY file signature not recognized")),
            (SIGNATURE.to_vec(), Err("invalid COPY file header (missing flags)")),
        ];
        for (data, expected) in cases {
            for piece in 1..=data.len().max(1) {
                assert_eq!(rows(&data, piece), expected.clone().map_err(str::to_string), "{data:?} in {piece}");
            }
        }
    }
}
