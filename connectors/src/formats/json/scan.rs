//! A strict JSON scanner (RFC 8259) over text that is known to be UTF-8.
//!
//! It only finds where tokens are; [`super::value`] gives them a meaning by the declared type. It is ours and
//! not serde_json's for three things that cost extra there: the digits of a number as they were written (decimals
//! are exact), a look at the next key before it is read (keys mostly come in the order of the record before), and
//! reasons that name the byte. A test holds it against serde_json: both accept the same texts.

/// Deeper nesting is refused: the scanner recurses.
pub(crate) const DEPTH_MAX: usize = 128;

/// The text is not JSON: why, as a person reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) String);

/// A result that fails for the whole record.
pub(crate) type Scanned<T> = Result<T, Malformed>;

/// A position in a JSON text.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

/// A string: `raw` is what stands between the quotes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quoted<'a> {
    /// Between the quotes.
    pub(crate) raw: &'a str,
    /// Whether `raw` has backslashes.
    pub(crate) escaped: bool,
}

/// A number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number<'a> {
    /// As written.
    pub(crate) text: &'a str,
    /// Its value, when it is an integer that fits.
    pub(crate) integer: Option<i64>,
    /// Whether it has neither a point nor an exponent.
    pub(crate) whole: bool,
}

impl<'a> Scanner<'a> {
    /// Starts at the beginning.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0, depth: 0 }
    }

    /// The next byte that is not white space, without taking it; `None` at the end.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            // One comparison for the common case: nothing in JSON but white space is this low.
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// Where the scanner stands.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The text from `start` to where the scanner stands.
    pub(crate) fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    /// Goes back to where a value began.
    pub(crate) fn back_to(&mut self, start: usize) {
        self.at = start;
    }

    /// Takes `expected` if it is what comes next.
    #[inline]
    pub(crate) fn take(&mut self, expected: u8) -> bool {
        let found = self.peek() == Some(expected);
        self.at += usize::from(found);
        found
    }

    /// Takes `"key":` if exactly that comes next; `quoted` has the quotes.
    #[inline]
    pub(crate) fn take_key(&mut self, quoted: &[u8]) -> bool {
        if self.peek() != Some(b'"') || !self.bytes[self.at..].starts_with(quoted) {
            return false;
        }
        let before = self.at;
        self.at += quoted.len();
        if self.take(b':') {
            return true;
        }
        self.at = before;
        false
    }

    /// Takes a word such as `null`.
    pub(crate) fn word(&mut self, word: &str) -> Scanned<()> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        if word.as_bytes().starts_with(&self.bytes[self.at..]) {
            self.at = self.bytes.len();
        }
        Err(self.unexpected("a value"))
    }

    /// Enters an object or an array: its first byte is taken.
    #[inline]
    pub(crate) fn enter(&mut self) -> Scanned<()> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Malformed(format!("the JSON is nested more than {DEPTH_MAX} levels deep")));
        }
        Ok(())
    }

    /// After a member of an object or array: whether another one follows. `close` ends it.
    #[inline]
    pub(crate) fn another(&mut self, close: u8) -> Scanned<bool> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.leave();
                Ok(false)
            }
            _ => Err(self.unexpected(if close == b'}' { "\",\" or \"}\"" } else { "\",\" or \"]\"" })),
        }
    }

    /// Leaves an object or an array: its last byte is taken.
    #[inline]
    pub(crate) fn leave(&mut self) {
        self.at += 1;
        self.depth -= 1;
    }

    /// A string; the opening quote comes next.
    #[inline]
    pub(crate) fn string(&mut self) -> Scanned<Quoted<'a>> {
        debug_assert_eq!(self.bytes.get(self.at), Some(&b'"'));
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at = plain_end(self.bytes, self.at);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    let raw = &self.text[start..self.at];
                    self.at += 1;
                    return Ok(Quoted { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(Malformed(format!("a control character in a string at byte {}", self.at))),
                None => return Err(self.unexpected("the end of a string")),
            }
        }
    }

    /// Checks an escape sequence; [`unescape`] reads it.
    fn escape(&mut self) -> Scanned<()> {
        match self.bytes.get(self.at + 1) {
            None => {
                self.at = self.bytes.len();
                Err(self.unexpected("the end of a string"))
            }
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => self.unicode_escape(),
            Some(_) => Err(Malformed(format!("an unknown escape sequence in a string at byte {}", self.at))),
        }
    }

    /// `\uXXXX`, twice for a character beyond the first plane.
    fn unicode_escape(&mut self) -> Scanned<()> {
        let malformed = |at| Malformed(format!("an unfinished \\u escape in a string at byte {at}"));
        let lone = |at| Malformed(format!("half of a surrogate pair in a string at byte {at}"));
        let unit = hex4(self.bytes, self.at + 2).ok_or_else(|| malformed(self.at))?;
        match unit {
            0xDC00..=0xDFFF => Err(lone(self.at)),
            0xD800..=0xDBFF => {
                let second = self.bytes[self.at + 6..].starts_with(b"\\u").then(|| hex4(self.bytes, self.at + 8));
                match second.flatten() {
                    Some(0xDC00..=0xDFFF) => {
                        self.at += 12;
                        Ok(())
                    }
                    _ => Err(lone(self.at)),
                }
            }
            _ => {
                self.at += 6;
                Ok(())
            }
        }
    }

    /// A number; a minus or a digit comes next.
    #[inline]
    pub(crate) fn number(&mut self) -> Scanned<Number<'a>> {
        let start = self.at;
        let negative = self.bytes[self.at] == b'-';
        self.at += usize::from(negative);
        let first = self.at;
        let mut magnitude: u64 = 0;
        while let Some(digit) = self.digit() {
            magnitude = magnitude.wrapping_mul(10).wrapping_add(u64::from(digit));
            self.at += 1;
        }
        let digits = self.at - first;
        if digits == 0 {
            return Err(self.unexpected("a digit"));
        }
        if digits > 1 && self.bytes[first] == b'0' {
            return Err(Malformed(format!("a number with a leading zero at byte {start}")));
        }
        let whole = !matches!(self.bytes.get(self.at), Some(b'.' | b'e' | b'E'));
        if !whole {
            self.fraction_and_exponent()?;
        }
        // 18 digits always fit; for more the digits are read again with a check.
        let integer = match whole {
            true if digits <= 18 && negative => Some(-(magnitude as i64)),
            true if digits <= 18 => Some(magnitude as i64),
            true => self.text[start..self.at].parse().ok(),
            false => None,
        };
        Ok(Number { text: &self.text[start..self.at], integer, whole })
    }

    fn fraction_and_exponent(&mut self) -> Scanned<()> {
        if self.bytes[self.at] == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.bytes.get(self.at), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Scanned<()> {
        let start = self.at;
        while self.digit().is_some() {
            self.at += 1;
        }
        if self.at == start { Err(self.unexpected("a digit")) } else { Ok(()) }
    }

    #[inline]
    fn digit(&self) -> Option<u8> {
        let digit = self.bytes.get(self.at)?.wrapping_sub(b'0');
        (digit < 10).then_some(digit)
    }

    /// Checks a value of any type and steps over it.
    pub(crate) fn skip(&mut self) -> Scanned<()> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| ()),
            Some(b'{') => {
                self.enter()?;
                if self.take_close(b'}') {
                    return Ok(());
                }
                loop {
                    self.key()?;
                    self.skip()?;
                    if !self.another(b'}')? {
                        return Ok(());
                    }
                }
            }
            Some(b'[') => {
                self.enter()?;
                if self.take_close(b']') {
                    return Ok(());
                }
                loop {
                    self.skip()?;
                    if !self.another(b']')? {
                        return Ok(());
                    }
                }
            }
            Some(b'n') => self.word("null"),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'-' | b'0'..=b'9') => self.number().map(|_| ()),
            _ => Err(self.unexpected("a value")),
        }
    }

    /// Leaves an object or array that ends at once.
    #[inline]
    pub(crate) fn take_close(&mut self, close: u8) -> bool {
        let ends = self.peek() == Some(close);
        if ends {
            self.leave();
        }
        ends
    }

    /// A key and its colon.
    pub(crate) fn key(&mut self) -> Scanned<Quoted<'a>> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("a field name in double quotes"));
        }
        let key = self.string()?;
        if !self.take(b':') {
            return Err(self.unexpected("\":\""));
        }
        Ok(key)
    }

    /// The error for whatever comes next, or for its absence.
    #[cold]
    pub(crate) fn unexpected(&mut self, expected: &str) -> Malformed {
        match self.peek() {
            None => Malformed(format!("the JSON ends at byte {}, where {expected} was expected: truncated?", self.at)),
            Some(_) => {
                let found = self.text[self.at..].chars().next().expect("a byte comes next");
                Malformed(format!("malformed JSON at byte {}: expected {expected}, got {found:?}", self.at))
            }
        }
    }
}

/// The first quote, backslash or control character at or after `at`; eight bytes at a time (the tests for a byte
/// below or equal to another in a word are from "Bit Twiddling Hacks", S. E. Anderson).
#[inline]
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    while let Some(chunk) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        let quotes = zero_bytes(word ^ (ONES * u64::from(b'"')));
        let backslashes = zero_bytes(word ^ (ONES * u64::from(b'\\')));
        let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let special = quotes | backslashes | controls;
        if special != 0 {
            // The lowest mark is exact; borrows can only make false ones above it.
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|&byte| byte != b'"' && byte != b'\\' && byte >= 0x20) {
        at += 1;
    }
    at
}

fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |value, &digit| char::from(digit).to_digit(16).map(|digit| value * 16 + digit))
}

/// Appends what an escaped string stands for; the scanner has checked its escapes.
pub(crate) fn unescape(raw: &str, out: &mut Vec<u8>) {
    let bytes = raw.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let plain = memchr::memchr(b'\\', &bytes[at..]).map_or(bytes.len(), |offset| at + offset);
        out.extend_from_slice(&bytes[at..plain]);
        at = plain;
        if at == bytes.len() {
            return;
        }
        let unit = match bytes[at + 1] {
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => 0x0A,
            b'r' => 0x0D,
            b't' => 0x09,
            b'u' => {
                at += 4;
                let first = hex4(bytes, at - 2).expect("the scanner checked the escape");
                match first {
                    0xD800..=0xDBFF => {
                        let second = hex4(bytes, at + 4).expect("the scanner checked the escape");
                        at += 6;
                        0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
                    }
                    _ => first,
                }
            }
            other => u32::from(other),
        };
        at += 2;
        let character = char::from_u32(unit).expect("the scanner checked surrogates");
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}
