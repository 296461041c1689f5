//! Cuts a line of the text or CSV format into values.

use std::ops::Range;

use millstream_planner::copy::CopyOptions;

use super::super::errors;
use crate::session::SqlError;

/// The values of one line; reused from line to line.
#[derive(Default)]
pub(super) struct Fields {
    places: Vec<Place>,
    /// Values that differ from what stands in the line, one behind the other.
    unescaped: Vec<u8>,
}

/// Where a value stands.
enum Place {
    Null,
    Line(Range<usize>),
    Unescaped(Range<usize>),
    /// What stands for NULL, where it shall be read as a value.
    NullText,
}

/// What CSV makes of values that look like NULL.
pub(super) struct Forced<'a> {
    pub(super) not_null: &'a [bool],
    pub(super) null: &'a [bool],
}

impl Fields {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// A value's bytes; `None` is NULL.
    pub(super) fn get<'a>(&'a self, index: usize, line: &'a [u8], options: &'a CopyOptions) -> Option<&'a [u8]> {
        match &self.places[index] {
            Place::Null => None,
            Place::Line(range) => Some(&line[range.clone()]),
            Place::Unescaped(range) => Some(&self.unescaped[range.clone()]),
            Place::NullText => Some(options.null.as_bytes()),
        }
    }

    /// Cuts a line of the text format.
    pub(super) fn cut_text(&mut self, line: &[u8], options: &CopyOptions) {
        self.places.clear();
        self.unescaped.clear();
        let mut start = 0;
        loop {
            let mut at = start;
            let mut has_escapes = false;
            let end = loop {
                match memchr::memchr2(options.delimiter, b'\\', &line[at.min(line.len())..]) {
                    None => break line.len(),
                    Some(next) if line[at + next] == b'\\' => {
                        has_escapes = true;
                        at += next + 2;
                    }
                    Some(next) => break at + next,
                }
            };
            let raw = &line[start..end];
            self.places.push(if raw == options.null.as_bytes() {
                Place::Null
            } else if has_escapes {
                let from = self.unescaped.len();
                unescape(raw, &mut self.unescaped);
                Place::Unescaped(from..self.unescaped.len())
            } else {
                Place::Line(start..end)
            });
            if end >= line.len() {
                return;
            }
            start = end + 1;
        }
    }

    /// Cuts a line of the CSV format.
    pub(super) fn cut_csv(&mut self, line: &[u8], options: &CopyOptions, forced: &Forced<'_>) -> Result<(), SqlError> {
        self.places.clear();
        self.unescaped.clear();
        let mut at = 0;
        loop {
            let start = at;
            let plain = memchr::memchr2(options.delimiter, options.quote, &line[start..]);
            let end = plain.map_or(line.len(), |next| start + next);
            let (place, quoted) = if end == line.len() || line[end] == options.delimiter {
                at = end;
                (Place::Line(start..end), false)
            } else {
                let from = self.unescaped.len();
                at = unquote(line, start, options, &mut self.unescaped)?;
                (Place::Unescaped(from..self.unescaped.len()), true)
            };
            let index = self.places.len();
            let is_forced = |flags: &[bool]| flags.get(index).copied().unwrap_or(false);
            self.places.push(place);
            let is_null_text = self.get(index, line, options) == Some(options.null.as_bytes());
            if is_null_text && !quoted {
                let place = if is_forced(forced.not_null) { Place::NullText } else { Place::Null };
                self.places[index] = place;
            } else if is_null_text && is_forced(forced.null) {
                self.places[index] = Place::Null;
            }
            if at >= line.len() {
                return Ok(());
            }
            at += 1;
        }
    }
}

/// Reads a value in which a quote stands, from `at` to its delimiter or the end of the line.
fn unquote(line: &[u8], mut at: usize, options: &CopyOptions, value: &mut Vec<u8>) -> Result<usize, SqlError> {
    let (quote, escape) = (options.quote, options.escape);
    let mut inside = false;
    while at < line.len() {
        let byte = line[at];
        at += 1;
        if !inside {
            if byte == options.delimiter {
                return Ok(at - 1);
            }
            if byte == quote {
                inside = true;
                continue;
            }
        } else if byte == escape && line.get(at).is_some_and(|next| *next == quote || *next == escape) {
            value.push(line[at]);
            at += 1;
            continue;
        } else if byte == quote {
            inside = false;
            continue;
        }
        value.push(byte);
    }
    if inside { Err(errors::bad_copy("unterminated CSV quoted field")) } else { Ok(at) }
}

/// Takes the backslashes out of a value.
fn unescape(raw: &[u8], value: &mut Vec<u8>) {
    let mut at = 0;
    while at < raw.len() {
        let byte = raw[at];
        at += 1;
        if byte != b'\\' || at == raw.len() {
            value.push(byte);
            continue;
        }
        let escaped = raw[at];
        at += 1;
        value.push(match escaped {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            b'0'..=b'7' => {
                let digits = raw[at..].iter().take(2).take_while(|digit| (b'0'..=b'7').contains(digit)).count();
                let code =
                    raw[at - 1..at + digits].iter().fold(0_u32, |code, digit| code * 8 + u32::from(digit - b'0'));
                at += digits;
                (code & 0xff) as u8
            }
            b'x' => {
                let digits = raw[at..].iter().take(2).take_while(|digit| digit.is_ascii_hexdigit()).count();
                let digit = |digit: &u8| (*digit as char).to_digit(16).unwrap_or(0);
                let code = raw[at..at + digits].iter().fold(0_u32, |code, hex| code * 16 + digit(hex));
                at += digits;
                if digits == 0 { b'x' } else { code as u8 }
            }
            other => other,
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use millstream_planner::copy::{CopyFormat, CopyHeader, ForcedColumns};

    use super::*;

    fn options(csv: bool, null: &str, escape: u8) -> CopyOptions {
        CopyOptions {
            format: if csv { CopyFormat::Csv } else { CopyFormat::Text },
            delimiter: if csv { b',' } else { b'\t' },
            null: null.to_string(),
            header: CopyHeader::Absent,
            quote: b'"',
            escape,
            force_quote: ForcedColumns::None,
            force_not_null: ForcedColumns::None,
            force_null: ForcedColumns::None,
        }
    }

    fn shown(fields: &Fields, line: &str, options: &CopyOptions) -> Vec<Option<String>> {
        let value = |index| {
            let bytes = fields.get(index, line.as_bytes(), options)?;
            Some(String::from_utf8(bytes.to_vec()).unwrap())
        };
        (0..fields.len()).map(value).collect()
    }

    #[test]
    fn text_is_cut_at_delimiters_and_backslashes_are_taken_out() {
        let cases: [(&str, &[Option<&str>]); 9] = [
            ("", &[Some("")]),
            ("a\tb", &[Some("a"), Some("b")]),
            ("\t", &[Some(""), Some("")]),
            ("\\N\t\\\\N", &[None, Some("\\N")]),
            ("a\\\tb\tc", &[Some("a\tb"), Some("c")]),
            ("\\b\\f\\n\\r\\t\\v", &[Some("\u{8}\u{c}\n\r\t\u{b}")]),
            ("\\101\\x42\\x4\\7z", &[Some("AB\u{4}\u{7}z")]),
            ("\\xz\\q", &[Some("xzq")]),
            ("a\\", &[Some("a\\")]),
        ];
        for (line, expected) in cases {
            let options = options(false, "\\N", b'"');
            let mut fields = Fields::default();
            fields.cut_text(line.as_bytes(), &options);
            let expected: Vec<Option<String>> = expected.iter().map(|text| text.map(str::to_string)).collect();
            assert_eq!(shown(&fields, line, &options), expected, "{line:?}");
        }
    }

    #[test]
    fn csv_tells_nulls_from_quoted_texts() {
        let cases: [(&str, u8, &[Option<&str>]); 8] = [
            ("", b'"', &[None]),
            ("a,,\"\"", b'"', &[Some("a"), None, Some("")]),
            ("\"a,\"\"b\"\"\",c", b'"', &[Some("a,\"b\""), Some("c")]),
            ("x\"y,z\"w,v", b'"', &[Some("xy,zw"), Some("v")]),
            ("\"a\\\"b\\\\\"", b'\\', &[Some("a\"b\\")]),
            ("\"a\\n\"", b'\\', &[Some("a\\n")]),
            ("a,", b'"', &[Some("a"), None]),
            ("\"a\nb\"", b'"', &[Some("a\nb")]),
        ];
        for (line, escape, expected) in cases {
            let options = options(true, "", escape);
            let mut fields = Fields::default();
            fields.cut_csv(line.as_bytes(), &options, &Forced { not_null: &[], null: &[] }).unwrap();
            let expected: Vec<Option<String>> = expected.iter().map(|text| text.map(str::to_string)).collect();
            assert_eq!(shown(&fields, line, &options), expected, "{line:?}");
        }
        let options = options(true, "NA", b'"');
        let mut fields = Fields::default();
        let forced = Forced { not_null: &[true, false, false], null: &[false, true, false] };
        fields.cut_csv(b"NA,\"NA\",\"NA\"", &options, &forced).unwrap();
        let expected = [Some("NA".to_string()), None, Some("NA".to_string())];
        assert_eq!(shown(&fields, "NA,\"NA\",\"NA\"", &options), expected);
        assert_eq!(fields.cut_csv(b"\"a", &options, &forced).unwrap_err().sqlstate, "22P04");
    }
}
