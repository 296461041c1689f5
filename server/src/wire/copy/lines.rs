//! Cuts the text and CSV formats into lines, without looking at any byte twice: a line that is not whole yet is
//! gone on with where the last look ended.
//!
//! Lines end as the first one does, in LF, CR or CR LF; another ending is an error, as in Postgres, because it is
//! data that somebody forgot to escape.

use bytes::{Buf, Bytes, BytesMut};
use millstream_planner::copy::{CopyFormat, CopyOptions};

use super::super::errors;
use super::super::limits::COPY_LINE_BYTES;
use crate::session::SqlError;

/// How lines end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Lf,
    Cr,
    CrLf,
}

/// What stands at a place.
enum Found {
    /// A line of so many bytes, and how many its ending has.
    Line(usize, usize),
    /// The line `\.`: nothing behind it counts.
    EndOfData,
    /// More has to come.
    Partial,
}

/// A line, without its ending.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The bytes.
    pub(super) text: Bytes,
    /// Its number, from 1; the last one, of a line with quoted line ends.
    pub(super) number: u64,
}

/// Cuts lines out of what comes in.
pub(super) struct Lines {
    csv: Option<(u8, Option<u8>)>,
    input: BytesMut,
    ending: Option<Ending>,
    /// Lines begun.
    number: u64,
    /// How far the current line has been looked at, and in what state.
    at: usize,
    in_quotes: bool,
    escaped: bool,
    /// Line ends within quotes in the current line.
    quoted_ends: u64,
    ended: bool,
}

impl Lines {
    pub(super) fn new(options: &CopyOptions) -> Self {
        let escape = (options.escape != options.quote).then_some(options.escape);
        Self {
            csv: (options.format == CopyFormat::Csv).then_some((options.quote, escape)),
            input: BytesMut::new(),
            ending: None,
            number: 0,
            at: 0,
            in_quotes: false,
            escaped: false,
            quoted_ends: 0,
            ended: false,
        }
    }

    /// More has come; what follows the end of the data is thrown away.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if !self.ended {
            self.input.extend_from_slice(bytes);
        }
    }

    /// The number of the line that is being read.
    pub(super) fn current_number(&self) -> u64 {
        self.number + 1
    }

    /// The next whole line. `last` says that no more will come: then what is left is a line.
    pub(super) fn next(&mut self, last: bool) -> Result<Option<Line>, SqlError> {
        if self.ended {
            return Ok(None);
        }
        match self.find(last)? {
            Found::Line(length, ending) => {
                let text = self.input.split_to(length).freeze();
                self.input.advance(ending);
                Ok(Some(self.begun(text)))
            }
            Found::EndOfData => {
                self.ended = true;
                self.input.clear();
                Ok(None)
            }
            Found::Partial if last => {
                self.ended = true;
                if self.in_quotes {
                    return Err(errors::bad_copy("unterminated CSV quoted field"));
                }
                if self.input.is_empty() {
                    return Ok(None);
                }
                let text = self.input.split().freeze();
                Ok(Some(self.begun(text)))
            }
            Found::Partial if self.input.len() > COPY_LINE_BYTES => {
                let message = format!("a line of COPY is longer than {} MiB", COPY_LINE_BYTES >> 20);
                Err(errors::limit_exceeded(message, "Is a quote missing, or are lines ended in another way?"))
            }
            Found::Partial => Ok(None),
        }
    }

    fn begun(&mut self, text: Bytes) -> Line {
        self.number += 1 + std::mem::take(&mut self.quoted_ends);
        self.at = 0;
        self.in_quotes = false;
        self.escaped = false;
        Line { text, number: self.number }
    }

    fn find(&mut self, last: bool) -> Result<Found, SqlError> {
        match self.csv {
            None => self.find_in_text(last),
            Some((quote, escape)) => self.find_in_csv(quote, escape, last),
        }
    }

    /// A backslash takes the byte behind it along, a line end included.
    fn find_in_text(&mut self, last: bool) -> Result<Found, SqlError> {
        while let Some(next) = memchr::memchr3(b'\n', b'\r', b'\\', &self.input[self.at..]) {
            let place = self.at + next;
            self.at = place;
            if self.input[place] != b'\\' {
                return self.line_end(place, last);
            }
            match self.input.get(place + 1) {
                None => return Ok(Found::Partial),
                Some(b'.') if place == 0 => match self.ends_behind(2, last) {
                    None => return Ok(Found::Partial),
                    Some(true) => return Ok(Found::EndOfData),
                    Some(false) => return Err(errors::bad_copy("end-of-copy marker corrupt")),
                },
                Some(b'.') => return Err(errors::bad_copy("end-of-copy marker corrupt")),
                Some(_) => self.at = place + 2,
            }
        }
        self.at = self.input.len();
        Ok(Found::Partial)
    }

    fn find_in_csv(&mut self, quote: u8, escape: Option<u8>, last: bool) -> Result<Found, SqlError> {
        if self.at == 0 && self.input.starts_with(b"\\.") {
            match self.ends_behind(2, last) {
                None => return Ok(Found::Partial),
                Some(true) => return Ok(Found::EndOfData),
                Some(false) => {}
            }
        } else if self.at == 0 && self.input.as_ref() == b"\\" && !last {
            return Ok(Found::Partial);
        }
        while self.at < self.input.len() {
            // Outside quotes only a quote and line ends matter, and inside only what can end them.
            let skipped = match (self.in_quotes, escape) {
                (false, _) => memchr::memchr3(quote, b'\n', b'\r', &self.input[self.at..]),
                (true, Some(_)) => Some(0),
                (true, None) => memchr::memchr3(quote, b'\n', b'\r', &self.input[self.at..]),
            };
            let Some(skipped) = skipped else { break };
            self.at += skipped;
            let byte = self.input[self.at];
            if self.in_quotes && escape == Some(byte) {
                self.escaped = !self.escaped;
            }
            if byte == quote && !self.escaped {
                self.in_quotes = !self.in_quotes;
            }
            if escape != Some(byte) {
                self.escaped = false;
            }
            if matches!(byte, b'\n' | b'\r') {
                if !self.in_quotes {
                    return self.line_end(self.at, last);
                }
                let counts = if self.ending == Some(Ending::Cr) { b'\r' } else { b'\n' };
                self.quoted_ends += u64::from(byte == counts);
            }
            self.at += 1;
        }
        self.at = self.input.len();
        Ok(Found::Partial)
    }

    /// Whether a line ends at a place; `None` when that can't be said yet.
    fn ends_behind(&self, place: usize, last: bool) -> Option<bool> {
        match self.input.get(place) {
            Some(b'\n' | b'\r') => Some(true),
            Some(_) => Some(false),
            None => last.then_some(true),
        }
    }

    /// The line that ends at a place, where CR or LF stands.
    fn line_end(&mut self, place: usize, last: bool) -> Result<Found, SqlError> {
        let (byte, next) = (self.input[place], self.input.get(place + 1));
        if byte == b'\r' && next.is_none() && !last && self.ending != Some(Ending::Cr) {
            return Ok(Found::Partial);
        }
        let found = match (byte, next) {
            (b'\r', Some(b'\n')) if self.ending != Some(Ending::Cr) => Ending::CrLf,
            (b'\r', _) => Ending::Cr,
            _ => Ending::Lf,
        };
        let ending = *self.ending.get_or_insert(found);
        match (ending == found, byte, self.csv.is_some()) {
            (true, ..) => Ok(Found::Line(place, if ending == Ending::CrLf { 2 } else { 1 })),
            (false, b'\r', false) => Err(errors::bad_copy("literal carriage return found in data")
                .with_hint("Use \"\\r\" to represent carriage return.")),
            (false, b'\r', true) => Err(errors::bad_copy("unquoted carriage return found in data")
                .with_hint("Use quoted CSV field to represent carriage return.")),
            (false, _, false) => {
                Err(errors::bad_copy("literal newline found in data").with_hint("Use \"\\n\" to represent newline."))
            }
            (false, _, true) => Err(errors::bad_copy("unquoted newline found in data")
                .with_hint("Use quoted CSV field to represent newline.")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use millstream_planner::copy::{CopyHeader, ForcedColumns};

    use super::*;

    fn options(format: CopyFormat) -> CopyOptions {
        CopyOptions {
            format,
            delimiter: if format == CopyFormat::Csv { b',' } else { b'\t' },
            null: String::new(),
            header: CopyHeader::Absent,
            quote: b'"',
            escape: b'"',
            force_quote: ForcedColumns::None,
            force_not_null: ForcedColumns::None,
            force_null: ForcedColumns::None,
        }
    }

    type Expected = Result<&'static [(&'static str, u64)], &'static str>;

    /// The lines with their numbers, or the error, when the data comes in pieces of a size.
    fn lines(options: &CopyOptions, data: &str, piece: usize) -> Result<Vec<(String, u64)>, String> {
        let mut lines = Lines::new(options);
        let mut found = Vec::new();
        let mut take = |lines: &mut Lines, last| {
            while let Some(line) = lines.next(last).map_err(|error| error.message)? {
                found.push((String::from_utf8(line.text.to_vec()).unwrap(), line.number));
            }
            Ok::<_, String>(())
        };
        for piece in data.as_bytes().chunks(piece) {
            lines.feed(piece);
            take(&mut lines, false)?;
        }
        take(&mut lines, true)?;
        Ok(found)
    }

    #[test]
    fn lines_are_the_same_however_the_data_comes_in() {
        let cases: [(CopyFormat, u8, &str, Expected); 20] = [
            (CopyFormat::Text, b'"', "", Ok(&[])),
            (CopyFormat::Text, b'"', "a\nb", Ok(&[("a", 1), ("b", 2)])),
            (CopyFormat::Text, b'"', "a\r\nb\r\n", Ok(&[("a", 1), ("b", 2)])),
            (CopyFormat::Text, b'"', "a\rb\r\r", Ok(&[("a", 1), ("b", 2), ("", 3)])),
            (CopyFormat::Text, b'"', "a\\\nb\nc\n", Ok(&[("a\\\nb", 1), ("c", 2)])),
            (CopyFormat::Text, b'"', "a\\\\\nb\n", Ok(&[("a\\\\", 1), ("b", 2)])),
            (CopyFormat::Text, b'"', "a\n\\.\nrest \" of it", Ok(&[("a", 1)])),
            (CopyFormat::Text, b'"', "a\n\\.", Ok(&[("a", 1)])),
            (CopyFormat::Text, b'"', "a\n\\.x\n", Err("end-of-copy marker corrupt")),
            (CopyFormat::Text, b'"', "a\nb\rc\n", Err("literal carriage return found in data")),
            (CopyFormat::Text, b'"', "a\r\nb\nc\n", Err("literal newline found in data")),
            (CopyFormat::Csv, b'"', "a,\"b\nc\"\nd\n", Ok(&[("a,\"b\nc\"", 2), ("d", 3)])),
            (CopyFormat::Csv, b'"', "\"a\"\"\n\"\nd", Ok(&[("\"a\"\"\n\"", 2), ("d", 3)])),
            (CopyFormat::Csv, b'\\', "\"a\\\"\n\"\nd", Ok(&[("\"a\\\"\n\"", 2), ("d", 3)])),
            (CopyFormat::Csv, b'\\', "\"a\\\\\"\nd", Ok(&[("\"a\\\\\"", 1), ("d", 2)])),
            (CopyFormat::Csv, b'"', "a\n\\.\nb", Ok(&[("a", 1)])),
            (CopyFormat::Csv, b'"', "a\n\\.b\n\\", Ok(&[("a", 1), ("\\.b", 2), ("\\", 3)])),
            (CopyFormat::Csv, b'"', "a\n\"b\n", Err("unterminated CSV quoted field")),
            (CopyFormat::Csv, b'"', "a\nb\rc\n", Err("unquoted carriage return found in data")),
            (CopyFormat::Csv, b'"', "a\r\n\"\n\"\r\nb\n", Err("unquoted newline found in data")),
        ];
        for (format, escape, data, expected) in cases {
            let options = CopyOptions { escape, ..options(format) };
            let expected = expected
                .map(|lines| lines.iter().map(|(text, number)| ((*text).to_string(), *number)).collect::<Vec<_>>())
                .map_err(str::to_string);
            for piece in 1..=data.len().max(1) {
                assert_eq!(lines(&options, data, piece), expected, "{format:?} {data:?} in pieces of {piece}");
            }
        }
    }
}
