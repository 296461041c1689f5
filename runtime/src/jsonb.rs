//! The canonical text of JSON, as Postgres' `jsonb` prints it: what a record's decoder and SQL both store.
//!
//! Keys are sorted by length, then by bytes; of equal keys the last one stays; numbers are written without exponent and
//! keep their digits; one space follows every comma and colon. So a part of a canonical text is canonical itself, and
//! getting a field copies a slice.

use std::cmp::Ordering;
use std::fmt::Write as _;

/// Levels of arrays and objects: reading and writing them recurses.
pub const JSON_LEVELS: usize = 128;

/// The largest exponent of a number: it is written out.
const EXPONENT_MAX: i64 = 1_000;

/// Why a text is no JSON that can be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is no JSON; what was met.
    Syntax(String),
    /// A number that takes too many digits to write.
    Number,
    /// Nested deeper than this.
    Depth(usize),
}

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` and `false`
    Bool(bool),
    /// Digits, maybe with a point, without exponent.
    Number(String),
    /// Text, unescaped.
    Text(String),
    /// `[...]`
    Array(Vec<Json>),
    /// `{...}`, its keys in the canonical order and different.
    Object(Vec<(String, Json)>),
}

/// Whether a text is JSON.
pub fn check(text: &str) -> Result<(), Fault> {
    parse(text).map(|_| ())
}

/// The canonical form of a text.
pub fn canonical(text: &str) -> Result<String, Fault> {
    Ok(parse(text)?.to_string())
}

/// Reads a text.
pub fn parse(text: &str) -> Result<Json, Fault> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.space();
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.unexpected("the end of input")),
    }
}

/// Sorts the members of an object into the canonical order; of equal keys the last one stays.
pub fn object(mut members: Vec<(String, Json)>) -> Json {
    members.reverse();
    members.sort_by(|(left, _), (right, _)| key_order(left, right));
    members.dedup_by(|(left, _), (right, _)| left == right);
    Json::Object(members)
}

/// The order of keys: by length in bytes, then by bytes.
pub fn key_order(left: &str, right: &str) -> Ordering {
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

impl std::fmt::Display for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(digits) => f.write_str(digits),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Array(items) => {
                f.write_char('[')?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                f.write_char(']')
            }
            Self::Object(members) => {
                f.write_char('{')?;
                for (index, (key, value)) in members.iter().enumerate() {
                    write!(f, "{}{}: {value}", if index == 0 { "" } else { ", " }, quoted(key))?;
                }
                f.write_char('}')
            }
        }
    }
}

/// A text as a JSON string.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                write!(out, "\\u{:04x}", control as u32).expect("writing to memory does not fail");
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// What a JSON text is, by its first character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` and `false`
    Bool,
    /// A number.
    Number,
    /// A string.
    Text,
    /// `[...]`
    Array,
    /// `{...}`
    Object,
}

/// What a text is that was checked to be JSON.
pub fn kind(text: &str) -> Kind {
    match text.trim_ascii_start().as_bytes().first() {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b'"') => Kind::Text,
        Some(b't' | b'f') => Kind::Bool,
        Some(b'n') | None => Kind::Null,
        Some(_) => Kind::Number,
    }
}

/// The value under a key of an object, as it stands in the text, which was checked to be JSON. Of equal keys the last
/// one counts.
pub fn member<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut found = None;
    for (name, value) in Parts::of(text, b'{')? {
        let plain = &name[1..name.len() - 1];
        let same = if plain.contains('\\') { text_of(name).as_deref() == Some(key) } else { plain == key };
        if same {
            found = Some(value);
        }
    }
    found
}

/// The element of an array, as it stands in the text, which was checked to be JSON; below 0 from its end.
pub fn element(text: &str, index: i64) -> Option<&str> {
    let mut parts = Parts::of(text, b'[')?;
    let index = match usize::try_from(index) {
        Ok(index) => index,
        Err(_) => {
            let length = Parts::of(text, b'[')?.count();
            usize::try_from(i64::try_from(length).ok()? + index).ok()?
        }
    };
    parts.nth(index).map(|(_, value)| value)
}

/// How many elements an array has; `None` for what is none.
pub fn array_length(text: &str) -> Option<usize> {
    Parts::of(text, b'[').map(Iterator::count)
}

/// A scalar's text without quotes, another value as it stands; `None` for `null`.
pub fn text_of(text: &str) -> Option<String> {
    match kind(text) {
        Kind::Null => None,
        Kind::Text => match parse(text) {
            Ok(Json::Text(text)) => Some(text),
            _ => None,
        },
        _ => Some(text.to_owned()),
    }
}

/// The members of an object or the elements of an array, as slices of a text that was checked to be JSON.
struct Parts<'a> {
    text: &'a str,
    at: usize,
    keyed: bool,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str, opening: u8) -> Option<Self> {
        let start = text.len() - text.trim_ascii_start().len();
        let keyed = opening == b'{';
        (text.as_bytes().get(start) == Some(&opening)).then_some(Self { text, at: start + 1, keyed })
    }

    fn skip(&mut self, skipped: &[u8]) {
        while self.text.as_bytes().get(self.at).is_some_and(|byte| skipped.contains(byte)) {
            self.at += 1;
        }
    }

    fn value(&mut self) -> &'a str {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    while bytes.get(self.at).is_some_and(|byte| *byte != b'"') {
                        self.at += if bytes[self.at] == b'\\' { 2 } else { 1 };
                    }
                }
                Some(b'{' | b'[') => depth += 1,
                Some(b'}' | b']') if depth > 0 => depth -= 1,
                Some(b'}' | b']' | b',' | b':' | b' ' | b'\t' | b'\n' | b'\r') if depth == 0 => break,
                Some(_) => {}
                None => break,
            }
            self.at += 1;
            if depth == 0 && matches!(bytes.get(self.at - 1), Some(b'"' | b'}' | b']')) {
                break;
            }
        }
        &self.text[start..self.at.min(self.text.len())]
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.skip(b" \t\n\r,");
        if matches!(self.text.as_bytes().get(self.at), None | Some(b'}' | b']')) {
            return None;
        }
        let name = if self.keyed { self.value() } else { "" };
        self.skip(b" \t\n\r:");
        Some((name, self.value()))
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn unexpected(&self, expected: &str) -> Fault {
        let rest = self.text.get(self.at..).unwrap_or_default();
        match rest.chars().next() {
            None => Fault::Syntax(format!("expected {expected}, but the input ended")),
            Some(found) => Fault::Syntax(format!("expected {expected}, but found \"{}\"", found.escape_default())),
        }
    }

    fn take(&mut self, byte: u8, expected: &str) -> Result<(), Fault> {
        if self.peek() != Some(byte) {
            return Err(self.unexpected(expected));
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, level: usize) -> Result<Json, Fault> {
        if level > JSON_LEVELS {
            return Err(Fault::Depth(JSON_LEVELS));
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.members(level),
            Some(b'[') => self.items(level),
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                for (word, value) in [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))] {
                    if self.text[self.at..].starts_with(word) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err(self.unexpected("a JSON value"))
            }
        }
    }

    fn members(&mut self, level: usize) -> Result<Json, Fault> {
        self.at += 1;
        let mut members = Vec::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("a string"));
            }
            let key = self.string()?;
            self.space();
            self.take(b':', "\":\"")?;
            members.push((key, self.value(level + 1)?));
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => {
                    self.take(b'}', "\",\" or \"}\"")?;
                    return Ok(object(members));
                }
            }
        }
    }

    fn items(&mut self, level: usize) -> Result<Json, Fault> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(level + 1)?);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => {
                    self.take(b']', "\",\" or \"]\"")?;
                    return Ok(Json::Array(items));
                }
            }
        }
    }

    fn string(&mut self) -> Result<String, Fault> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let start = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..=0x1f)) {
                self.at += 1;
            }
            out.push_str(&self.text[start..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escaped()?);
                }
                _ => return Err(self.unexpected("the end of a string")),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, Fault> {
        let byte = self.peek().ok_or_else(|| self.unexpected("an escape"))?;
        let plain = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.unexpected("an escape")),
        };
        self.at += 1;
        Ok(plain)
    }

    fn unicode(&mut self) -> Result<char, Fault> {
        let first = self.hexadecimal()?;
        let code = match first {
            0xd800..=0xdbff => {
                if !self.text[self.at..].starts_with("\\u") {
                    return Err(Fault::Syntax("a high surrogate must be followed by a low one".into()));
                }
                self.at += 2;
                let second = self.hexadecimal()?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(Fault::Syntax("a high surrogate must be followed by a low one".into()));
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            // Text has no such character.
            0 => return Err(Fault::Syntax("\\u0000 cannot be converted to text".into())),
            other => other,
        };
        char::from_u32(code).ok_or_else(|| Fault::Syntax("a low surrogate must follow a high one".into()))
    }

    fn hexadecimal(&mut self) -> Result<u32, Fault> {
        let digits = self.text.get(self.at..self.at + 4);
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let digits = digits.ok_or_else(|| self.unexpected("four hexadecimal digits"))?;
        self.at += 4;
        Ok(u32::from_str_radix(digits, 16).expect("the digits were checked"))
    }

    fn digits(&mut self) -> Result<&str, Fault> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if start == self.at { Err(self.unexpected("a digit")) } else { Ok(&self.text[start..self.at]) }
    }

    fn number(&mut self) -> Result<Json, Fault> {
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        let whole = self.digits()?.to_owned();
        if whole.len() > 1 && whole.starts_with('0') {
            return Err(Fault::Syntax("a number has leading zeros".into()));
        }
        let fraction = match self.peek() {
            Some(b'.') => {
                self.at += 1;
                self.digits()?.to_owned()
            }
            _ => String::new(),
        };
        let exponent = match self.peek() {
            Some(b'e' | b'E') => {
                self.at += 1;
                let below = self.peek() == Some(b'-');
                self.at += usize::from(matches!(self.peek(), Some(b'-' | b'+')));
                let size: i64 = self.digits()?.parse().map_err(|_| Fault::Number)?;
                if below { -size } else { size }
            }
            _ => 0,
        };
        // What follows a number ends it: `1a` is none.
        if matches!(self.peek(), Some(b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'.')) {
            return Err(self.unexpected("the end of a number"));
        }
        written_out(negative, &whole, &fraction, exponent).map(Json::Number)
    }
}

/// A number without its exponent: the point moved, zeros put in.
fn written_out(negative: bool, whole: &str, fraction: &str, exponent: i64) -> Result<String, Fault> {
    if exponent.abs() > EXPONENT_MAX {
        return Err(Fault::Number);
    }
    let mut digits = format!("{whole}{fraction}");
    let mut scale = fraction.len() as i64 - exponent;
    while scale < 0 {
        digits.push('0');
        scale += 1;
    }
    let scale = usize::try_from(scale).expect("it was brought to zero at least");
    if digits.len() <= scale {
        digits.insert_str(0, &"0".repeat(scale + 1 - digits.len()));
    }
    let (before, after) = digits.split_at(digits.len() - scale);
    let before = before.trim_start_matches('0');
    let zero = before.is_empty() && after.bytes().all(|digit| digit == b'0');
    let mut written = String::with_capacity(digits.len() + 2);
    // There is no negative zero among decimals.
    if negative && !zero {
        written.push('-');
    }
    written.push_str(if before.is_empty() { "0" } else { before });
    if scale > 0 {
        written.push('.');
        written.push_str(after);
    }
    Ok(written)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_postgres() {
        for (text, expected) in [
            ("  null ", "null"),
            ("[1,2 ,  3]", "[1, 2, 3]"),
            (r#"{"bb":1,"a":2,"c":3,"a":4}"#, r#"{"a": 4, "c": 3, "bb": 1}"#),
            ("[1e2, 1.50, -0, -0.0, 1E-3, 12.5e1, 0.1e1]", "[100, 1.50, 0, 0.0, 0.001, 125, 1]"),
            (r#""\u00e4\u0001\n\/\ud83d\ude00""#, "\"ä\\u0001\\n/😀\""),
            ("{}", "{}"),
            ("[]", "[]"),
            (r#"{"a":{"b":[true,false,null]}}"#, r#"{"a": {"b": [true, false, null]}}"#),
        ] {
            assert_eq!(canonical(text).unwrap(), expected, "{text}");
            assert_eq!(canonical(expected).unwrap(), expected);
        }
    }

    #[test]
    fn parts_are_slices() {
        let text = r#" {"a" : [1, {"b": "x,]\\\""}, "" ], "n":null, "c\"": -1.5e3 ,"a2":{}, "a2":[] } "#;
        let array = member(text, "a").unwrap();
        assert_eq!(array, r#"[1, {"b": "x,]\\\""}, "" ]"#);
        assert_eq!(array_length(array), Some(3));
        assert_eq!((element(array, 0), element(array, 2), element(array, 3)), (Some("1"), Some("\"\""), None));
        assert_eq!((element(array, -3), element(array, -4)), (Some("1"), None));
        assert_eq!(member(element(array, 1).unwrap(), "b").and_then(text_of).unwrap(), "x,]\\\"");
        assert_eq!(member(text, "c\""), Some("-1.5e3"));
        assert_eq!(member(text, "a2"), Some("[]"));
        assert_eq!(member(text, "n").map(text_of), Some(None));
        assert_eq!(
            (member(text, "b"), member("[1]", "a"), element("{}", 0), element("[]", -1)),
            (None, None, None, None)
        );
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let wrong = [
            "",
            "{",
            "[1,]",
            "{\"a\"}",
            "{a:1}",
            "01",
            "1.",
            "-",
            "\"",
            "\"\n\"",
            "tru",
            "nulls",
            "1a",
            "[1] 2",
            r#""\x""#,
            r#""\u12""#,
            r#""\ud800""#,
            r#""\u0000""#,
        ];
        for text in wrong {
            assert!(matches!(canonical(text), Err(Fault::Syntax(_))), "{text}");
        }
        assert_eq!(canonical("1e5000"), Err(Fault::Number));
        assert_eq!(canonical(&"[".repeat(100_000)), Err(Fault::Depth(JSON_LEVELS)));
    }
}
