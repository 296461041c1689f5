//! A query's text with its literals out: what texts that differ in their values have in common.
//!
//! It is a key and nothing else, and no text is ever made of it. Whatever could be read in more than one way is left
//! alone: comments, dollar quotes, escapes and prefixes of strings, parameters.

/// Bytes of a text whose literals are looked for: statements with few values are short, and the rest of a long one
/// takes longer than planning it.
const TEXT_BYTES_MAX: usize = 2_048;

/// Literals of a text: a longer list of values makes a key of its own for every length.
const LITERALS_MAX: usize = 64;

/// A literal of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextLiteral {
    /// Its digits, or what stands between its quotes.
    pub text: String,
    /// Its kind.
    pub kind: LiteralKind,
    /// Its line in the text, from 1, and its first character in that line, from 1.
    pub place: (u64, u64),
}

/// What a literal says of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LiteralKind {
    /// An integer that is `integer`.
    Integer,
    /// One that is `bigint`.
    BigInteger,
    /// A string: it takes its type from where it stands.
    Text,
}

/// A text and its literals, apart.
#[derive(Clone, Debug)]
pub struct LiteralsOut {
    /// The text with marks in the places of literals.
    pub key: String,
    /// The literals, in order.
    pub literals: Vec<TextLiteral>,
}

impl LiteralsOut {
    /// Takes the literals out of a SELECT; `None` for texts that are not taken apart.
    pub fn of(sql: &str) -> Option<Self> {
        let is_select = sql.trim_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case("select"));
        if !is_select || sql.len() > TEXT_BYTES_MAX {
            return None;
        }
        let mut reader =
            Reader { rest: sql, place: (1, 1), key: String::with_capacity(sql.len()), literals: Vec::new() };
        while !reader.rest.is_empty() {
            reader.token()?;
        }
        Some(Self { key: reader.key, literals: reader.literals })
    }
}

struct Reader<'a> {
    rest: &'a str,
    place: (u64, u64),
    key: String,
    literals: Vec<TextLiteral>,
}

impl<'a> Reader<'a> {
    fn token(&mut self) -> Option<()> {
        let first = self.rest.chars().next()?;
        let word = |c: char| c.is_alphanumeric() || c == '_' || !c.is_ascii();
        match first {
            '\'' => self.string(),
            '"' => {
                let end = self.rest[1..].find('"')? + 2;
                self.copy(end);
                Some(())
            }
            '0'..='9' => {
                let end = self.rest.find(|c: char| !(word(c) || c == '.')).unwrap_or(self.rest.len());
                self.number(end);
                Some(())
            }
            // What follows is a part of a number, or a name.
            '.' => {
                let end = self.rest[1..].find(|c: char| !word(c)).map_or(self.rest.len(), |end| end + 1);
                self.copy(end);
                Some(())
            }
            '$' | '\\' => None,
            '-' if self.rest.starts_with("--") => None,
            '/' if self.rest.starts_with("/*") => None,
            '&' if self.rest.starts_with("&\'") || self.rest.starts_with("&\"") => None,
            c if c.is_control() && !c.is_ascii_whitespace() => None,
            c if word(c) => {
                let end = self.rest.find(|c: char| !(word(c) || c == '$')).unwrap_or(self.rest.len());
                // A prefix says how the string is read.
                if self.rest[end..].starts_with('\'') {
                    return None;
                }
                self.copy(end);
                Some(())
            }
            c => {
                self.copy(c.len_utf8());
                Some(())
            }
        }
    }

    /// Passes some bytes, and counts lines and characters as the parser does.
    fn pass(&mut self, bytes: usize) -> &'a str {
        let (passed, rest) = self.rest.split_at(bytes);
        for c in passed.chars() {
            self.place = if c == '\n' { (self.place.0 + 1, 1) } else { (self.place.0, self.place.1 + 1) };
        }
        self.rest = rest;
        passed
    }

    fn copy(&mut self, bytes: usize) {
        let passed = self.pass(bytes);
        self.key.push_str(passed);
    }

    fn string(&mut self) -> Option<()> {
        let end = self.rest[1..].find('\'')? + 1;
        let text = &self.rest[1..end];
        // A doubled quote goes on with the string, as one on a line further down does; a backslash may be one of an escape.
        if self.rest[end + 1..].trim_start().starts_with('\'')
            || text.contains('\\')
            || self.literals.len() == LITERALS_MAX
        {
            return None;
        }
        self.take(end + 1, text.to_string(), LiteralKind::Text, "\u{1}s");
        Some(())
    }

    fn number(&mut self, end: usize) {
        let digits = &self.rest[..end];
        let kind = match digits.parse::<i64>() {
            Ok(number) if digits.bytes().all(|byte| byte.is_ascii_digit()) => match i32::try_from(number) {
                Ok(_) => Some((LiteralKind::Integer, "\u{1}i")),
                Err(_) => Some((LiteralKind::BigInteger, "\u{1}l")),
            },
            _ => None,
        };
        match kind.filter(|_| self.literals.len() < LITERALS_MAX) {
            Some((kind, mark)) => self.take(end, digits.to_string(), kind, mark),
            None => self.copy(end),
        }
    }

    fn take(&mut self, bytes: usize, text: String, kind: LiteralKind, mark: &str) {
        let place = self.place;
        self.pass(bytes);
        self.key.push_str(mark);
        self.literals.push(TextLiteral { text, kind, place });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn literals_are_taken_out_with_their_places() {
        let out = LiteralsOut::of("select a1, \"b 2\" from t\n where \u{e4} = 12 and t.c = 'x y' and d > 3000000000")
            .unwrap();
        assert_eq!(out.key, "select a1, \"b 2\" from t\n where \u{e4} = \u{1}i and t.c = \u{1}s and d > \u{1}l");
        let places: Vec<_> = out.literals.iter().map(|literal| (literal.text.as_str(), literal.place)).collect();
        assert_eq!(places, [("12", (2, 12)), ("x y", (2, 25)), ("3000000000", (2, 39))]);
    }

    #[test]
    fn what_is_no_plain_literal_stays_or_is_left_alone() {
        let key = |sql: &str| LiteralsOut::of(sql).map(|out| out.key);
        for sql in [
            "select 'it''s'",
            "select e'a'",
            "select U&'a'",
            "select 1 -- 2",
            "select /* 1 */ 2",
            "select $1",
            "select $$1$$",
            "select 'a\\b'",
            "insert into t values (1)",
            "select 'a",
            "select \"a",
            "select n'x'",
            "select \u{1}i",
        ] {
            assert_eq!(key(sql), None, "{sql}");
        }
        for sql in
            ["select 1.5", "select .5", "select 1e3", "select t.1a", "select 99999999999999999999", "select 1_000"]
        {
            assert_eq!(key(sql).as_deref(), Some(sql), "{sql}");
        }
        assert_eq!(key("select 1+2").unwrap(), "select \u{1}i+\u{1}i");
    }
}
