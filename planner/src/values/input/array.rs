//! Arrays as Postgres writes them: `{1,NULL,"a b"}`.

use super::errors;
use crate::error::{PlanError, Result};
use crate::values::NESTING_LEVELS;

/// An element of an array literal.
#[derive(Debug, PartialEq, Eq)]
pub enum ArrayItem {
    /// `NULL`
    Null,
    /// Its text, unquoted.
    Text(String),
    /// A further dimension.
    Array(Vec<ArrayItem>),
}

/// Reads an array literal: `{1,NULL,"a b"}`, nested braces for further dimensions.
pub fn array(text: &str) -> Result<Vec<ArrayItem>> {
    let characters: Vec<char> = text.chars().collect();
    let mut literal = Literal { text, characters, at: 0 };
    literal.skip_space();
    let items = literal.braces(0)?;
    literal.skip_space();
    if literal.peek().is_some() {
        return Err(literal.malformed("Junk after closing right brace."));
    }
    Ok(items)
}

struct Literal<'a> {
    text: &'a str,
    characters: Vec<char>,
    at: usize,
}

impl Literal<'_> {
    fn malformed(&self, detail: &str) -> PlanError {
        errors::malformed(format!("malformed array literal: \"{}\"", self.text), detail)
    }

    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn next(&mut self) -> Result<char> {
        let character = self.peek().ok_or_else(|| self.malformed("Unexpected end of input."))?;
        self.at += 1;
        Ok(character)
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|character| character.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn braces(&mut self, level: usize) -> Result<Vec<ArrayItem>> {
        if level > NESTING_LEVELS {
            return Err(self.malformed("The array has too many dimensions."));
        }
        if self.peek() != Some('{') {
            return Err(self.malformed("Array value must start with \"{\" or dimension information."));
        }
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some('}') {
            self.at += 1;
            return Ok(items);
        }
        loop {
            self.skip_space();
            items.push(match self.peek() {
                Some('{') => ArrayItem::Array(self.braces(level + 1)?),
                Some('"') => ArrayItem::Text(self.quoted()?),
                _ => self.bare()?,
            });
            self.skip_space();
            match self.next()? {
                ',' => {}
                '}' => return Ok(items),
                _ => return Err(self.malformed("Unexpected array element.")),
            }
        }
    }

    fn quoted(&mut self) -> Result<String> {
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.next()? {
                '"' => return Ok(text),
                '\\' => text.push(self.next()?),
                other => text.push(other),
            }
        }
    }

    fn bare(&mut self) -> Result<ArrayItem> {
        let mut text = String::new();
        let mut kept = 0;
        while let Some(character) = self.peek() {
            match character {
                ',' | '}' => break,
                '{' | '"' => return Err(self.malformed("Unexpected array element.")),
                '\\' => {
                    self.at += 1;
                    text.push(self.next()?);
                    kept = text.len();
                }
                other => {
                    self.at += 1;
                    text.push(other);
                    if !other.is_ascii_whitespace() {
                        kept = text.len();
                    }
                }
            }
        }
        text.truncate(kept);
        match text.is_empty() {
            true => Err(self.malformed("Unexpected \",\" or \"}\" character.")),
            false if text.eq_ignore_ascii_case("null") => Ok(ArrayItem::Null),
            false => Ok(ArrayItem::Text(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn array_literals() {
        let text = |text: &str| ArrayItem::Text(text.to_owned());
        assert_eq!(array("{}").unwrap(), []);
        assert_eq!(array(" { 1 , null ,\"a \\\"b\\\\\" } ").unwrap(), [text("1"), ArrayItem::Null, text("a \"b\\")]);
        assert_eq!(array("{\"\",\"NULL\",a b}").unwrap(), [text(""), text("NULL"), text("a b")]);
        assert_eq!(array("{{1},{2}}").unwrap(), [ArrayItem::Array(vec![text("1")]), ArrayItem::Array(vec![text("2")])]);
        for wrong in ["", "1", "{", "{1", "{1,}", "{,}", "{1}x", "{\"a}", "{\"a\"b}", "{1{2}}"] {
            assert_eq!(errors::sqlstate(&array(wrong).unwrap_err()), "22P02", "{wrong}");
        }
        assert_eq!(errors::sqlstate(&array(&"{".repeat(100_000)).unwrap_err()), "22P02");
    }
}
