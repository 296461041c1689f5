//! Cuts what a client sent into statements at the semicolons that stand outside strings, quoted names, dollar
//! quotes and comments (which nest, as in Postgres).
//!
//! A statement's text starts at its first token and ends with its last one: whitespace and comments around it
//! are not part of it. Statements without a token are left out.

use crate::error::{PlanError, PlanErrorKind, Result, TextPosition};
use crate::statement::StatementText;

/// Cuts `sql` into statements. Fails where a string, a quoted name or a comment does not end.
pub fn split(sql: &str) -> Result<Vec<StatementText>> {
    let characters: Vec<char> = sql.chars().collect();
    let mut statements = Vec::new();
    // First and last token of the current statement, as character indices, the second one exclusive.
    let mut current: Option<(usize, usize)> = None;
    let mut at = 0;
    while at < characters.len() {
        let (lexeme, end) = lexeme_at(&characters, at)?;
        match lexeme {
            Lexeme::Blank => {}
            Lexeme::Semicolon => statements.extend(current.take().map(|range| text(&characters, range))),
            Lexeme::Token => current = Some((current.map_or(at, |(start, _)| start), end)),
        }
        at = end;
    }
    statements.extend(current.map(|range| text(&characters, range)));
    Ok(statements)
}

/// Where an operator of this spelling first stands in a statement at or behind a place, outside strings, names and
/// comments. A spelling is a run of symbols or a word.
pub(crate) fn operator_after(text: &StatementText, place: TextPosition, spelling: &str) -> Option<TextPosition> {
    let characters: Vec<char> = text.sql.chars().collect();
    let is_symbol = |character: &char| "+-*/<>=~!@#%^&|".contains(*character);
    let mut at = place.0.checked_sub(text.start.0)?;
    while at < characters.len() {
        let (_, mut end) = lexeme_at(&characters, at).ok()?;
        // The symbols of an operator are one token each for cutting, and together for Postgres.
        while is_symbol(&characters[at]) && characters.get(end).is_some_and(is_symbol) {
            end += 1;
        }
        let token: String = characters[at..end].iter().collect();
        if token.eq_ignore_ascii_case(spelling) {
            return Some(TextPosition(text.start.0 + at));
        }
        at = end;
    }
    None
}

/// Where the parenthesis stands that opens what begins at a place.
pub(crate) fn parenthesis_before(text: &StatementText, place: TextPosition) -> Option<TextPosition> {
    let before: Vec<char> = text.sql.chars().take(place.0.checked_sub(text.start.0)?).collect();
    let at = before.iter().rposition(|character| !character.is_whitespace())?;
    (before[at] == '(').then_some(TextPosition(text.start.0 + at))
}

/// Where a quoted literal of this text first stands in a statement.
pub fn literal_position(text: &StatementText, literal: &str) -> Option<TextPosition> {
    let characters: Vec<char> = text.sql.chars().collect();
    let wanted: Vec<char> = format!("'{}'", literal.replace('\'', "''")).chars().collect();
    let mut at = 0;
    while at < characters.len() {
        let (_, end) = lexeme_at(&characters, at).ok()?;
        if characters[at..end] == wanted {
            return Some(TextPosition(text.start.0 + at));
        }
        at = end;
    }
    None
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lexeme {
    /// Whitespace or a comment.
    Blank,
    Semicolon,
    /// A part of a statement; not necessarily a whole token where that does not matter for cutting.
    Token,
}

fn text(characters: &[char], (start, end): (usize, usize)) -> StatementText {
    StatementText { sql: characters[start..end].iter().collect(), start: TextPosition(start + 1) }
}

/// What starts at `at`, and the index after it.
fn lexeme_at(characters: &[char], at: usize) -> Result<(Lexeme, usize)> {
    let next = characters.get(at + 1).copied();
    match characters[at] {
        ';' => Ok((Lexeme::Semicolon, at + 1)),
        '-' if next == Some('-') => Ok((Lexeme::Blank, line_end(characters, at))),
        '/' if next == Some('*') => Ok((Lexeme::Blank, comment_end(characters, at)?)),
        '\'' => Ok((Lexeme::Token, quoted_end(characters, at, at, false)?)),
        quote @ ('"' | '`') => Ok((Lexeme::Token, name_end(characters, at, quote)?)),
        '$' => Ok((Lexeme::Token, dollar_end(characters, at)?)),
        'e' | 'E' if next == Some('\'') => Ok((Lexeme::Token, quoted_end(characters, at, at + 1, true)?)),
        character if character.is_whitespace() => Ok((Lexeme::Blank, at + 1)),
        character if is_word_part(character) => Ok((Lexeme::Token, word_end(characters, at))),
        _ => Ok((Lexeme::Token, at + 1)),
    }
}

fn is_word_part(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || !character.is_ascii()
}

/// Past a word or number; a `$` within is part of it, so that `a$b$c` opens no dollar quote.
fn word_end(characters: &[char], at: usize) -> usize {
    let inside = |character: &char| is_word_part(*character) || *character == '$';
    at + characters[at..].iter().take_while(|character| inside(character)).count()
}

fn line_end(characters: &[char], at: usize) -> usize {
    at + characters[at..].iter().take_while(|character| **character != '\n').count()
}

fn comment_end(characters: &[char], at: usize) -> Result<usize> {
    let mut depth = 0_usize;
    let mut index = at;
    while index + 1 < characters.len() {
        match (characters[index], characters[index + 1]) {
            ('/', '*') => {
                depth += 1;
                index += 2;
            }
            ('*', '/') => {
                depth -= 1;
                index += 2;
                if depth == 0 {
                    return Ok(index);
                }
            }
            _ => index += 1,
        }
    }
    Err(unterminated("/* comment", characters, at))
}

/// Past a string whose opening quote stands at `open`; a doubled quote is part of it, and with `escapes` so is
/// one behind a backslash.
fn quoted_end(characters: &[char], at: usize, open: usize, escapes: bool) -> Result<usize> {
    let mut index = open + 1;
    while index < characters.len() {
        match characters[index] {
            '\\' if escapes => index += 2,
            '\'' if characters.get(index + 1) == Some(&'\'') => index += 2,
            '\'' => return Ok(index + 1),
            _ => index += 1,
        }
    }
    Err(unterminated("quoted string", characters, at))
}

fn name_end(characters: &[char], at: usize, quote: char) -> Result<usize> {
    let mut index = at + 1;
    while index < characters.len() {
        if characters[index] != quote {
            index += 1;
        } else if characters.get(index + 1) == Some(&quote) {
            index += 2;
        } else {
            return Ok(index + 1);
        }
    }
    Err(unterminated("quoted identifier", characters, at))
}

/// Past a dollar quote, or past the `$` alone when it opens none (a parameter).
fn dollar_end(characters: &[char], at: usize) -> Result<usize> {
    let tag_length = characters[at + 1..].iter().take_while(|character| is_word_part(**character)).count();
    let opens = characters.get(at + 1 + tag_length) == Some(&'$')
        && !characters.get(at + 1).is_some_and(|character| character.is_ascii_digit());
    if !opens {
        return Ok(at + 1 + tag_length);
    }
    let tag = &characters[at..at + tag_length + 2];
    let body = at + tag.len();
    (body..characters.len())
        .find(|&index| characters[index..].starts_with(tag))
        .map(|index| index + tag.len())
        .ok_or_else(|| unterminated("dollar-quoted string", characters, at))
}

/// As Postgres words it: the text that never ended follows.
fn unterminated(what: &str, characters: &[char], at: usize) -> PlanError {
    const SHOWN_CHARACTERS_MAX: usize = 60;
    let rest: String = characters[at..].iter().take(SHOWN_CHARACTERS_MAX).collect();
    PlanError::new(PlanErrorKind::SyntaxError, format!("unterminated {what} at or near \"{rest}\""))
        .at(Some(TextPosition(at + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(sql: &str) -> Vec<(String, usize)> {
        split(sql).expect("the text can be cut").into_iter().map(|text| (text.sql, text.start.0)).collect()
    }

    #[test]
    fn semicolons_cut_only_outside_quotes_and_comments() {
        for (sql, expected) in [
            ("", vec![]),
            (" ;; -- nothing\n ; /* ; */ ", vec![]),
            ("a; b", vec![("a", 1), ("b", 4)]),
            ("a;\n  b -- c; d\n ;", vec![("a", 1), ("b", 6)]),
            ("'a;b'; c", vec![("'a;b'", 1), ("c", 8)]),
            ("'it''s;' ; c", vec![("'it''s;'", 1), ("c", 12)]),
            (r"E'it\';' ; c", vec![(r"E'it\';'", 1), ("c", 12)]),
            (r"'\' ; c", vec![(r"'\'", 1), ("c", 7)]),
            ("\"a;\"\"b\"; `c;d`", vec![("\"a;\"\"b\"", 1), ("`c;d`", 10)]),
            ("$$a;b$$; $x$ $$ ; $x$", vec![("$$a;b$$", 1), ("$x$ $$ ; $x$", 10)]),
            ("a$b$c; d$b$", vec![("a$b$c", 1), ("d$b$", 8)]),
            ("select $1; select $2", vec![("select $1", 1), ("select $2", 12)]),
            ("/* /* ; */ ; */ a; b", vec![("a", 17), ("b", 20)]),
            ("a /* x */; b", vec![("a", 1), ("b", 12)]),
            ("\u{e4}\u{1f600};\u{fc}", vec![("\u{e4}\u{1f600}", 1), ("\u{fc}", 4)]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|(text, start)| (text.to_string(), start)).collect();
            assert_eq!(pieces(sql), expected, "{sql}");
        }
    }

    #[test]
    fn what_does_not_end_is_an_error_at_its_start() {
        for (sql, message, position) in [
            ("a; 'b", "unterminated quoted string at or near \"'b\"", 4),
            ("E'b\\'", "unterminated quoted string at or near \"E'b\\'\"", 1),
            ("a \"b", "unterminated quoted identifier at or near \"\"b\"", 3),
            ("$x$ $$", "unterminated dollar-quoted string at or near \"$x$ $$\"", 1),
            ("a /* /* */", "unterminated /* comment at or near \"/* /* */\"", 3),
        ] {
            let error = split(sql).expect_err(sql);
            assert_eq!((error.message.as_str(), error.position), (message, Some(TextPosition(position))), "{sql}");
        }
    }
}
