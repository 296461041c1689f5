//! Syntax errors as Postgres words them, with a hint where a keyword was probably meant.

use sqlparser::parser::ParserError;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{PlanError, PlanErrorKind, TextPosition};

use super::limits::too_complex;

/// Words that statements are made of: what a misspelt word may have meant.
const KEYWORDS: [&str; 62] = [
    "ADVANCE",
    "ALTER",
    "ANALYZE",
    "APPEND",
    "BEGIN",
    "BETWEEN",
    "CASCADE",
    "CHECKPOINT",
    "COMMIT",
    "CONFLICT",
    "CREATE",
    "DEFAULT",
    "DELETE",
    "DESCRIBE",
    "DISTINCT",
    "DROP",
    "EMIT",
    "ENCODE",
    "EXCEPT",
    "EXECUTE",
    "EXISTS",
    "EXPLAIN",
    "FLUSH",
    "FORMAT",
    "FROM",
    "GENERATED",
    "GROUP",
    "HAVING",
    "INCLUDE",
    "INNER",
    "INSERT",
    "INTERSECT",
    "INTERVAL",
    "INTO",
    "JOIN",
    "LEFT",
    "LIMIT",
    "MATERIALIZED",
    "OFFSET",
    "ORDER",
    "PARTITION",
    "PREPARE",
    "PRIMARY",
    "RENAME",
    "RESET",
    "RETURNING",
    "ROLLBACK",
    "SCHEMA",
    "SELECT",
    "SHOW",
    "SINK",
    "SOURCE",
    "TABLE",
    "TRUNCATE",
    "UNION",
    "UPDATE",
    "USING",
    "VALUES",
    "VIEW",
    "WATERMARK",
    "WHERE",
    "WITH",
];

/// Turns sqlparser's error into ours. `tokens` are those that it read, without whitespace; `source` gives the
/// text of a token; `current` is the index of the token that it read last; `end` is the position after the
/// statement.
pub(super) fn from_parser(
    error: &ParserError,
    tokens: &[TokenWithSpan],
    source: impl Fn(&TokenWithSpan) -> String,
    current: usize,
    end: TextPosition,
) -> PlanError {
    let message = match error {
        ParserError::RecursionLimitExceeded => return too_complex(),
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
    };
    let index = match column_in(message) {
        Some(column) => tokens.iter().position(|token| token.span.start.column >= column).unwrap_or(tokens.len()),
        None if message.contains("found: EOF") => tokens.len(),
        None => current,
    };
    let error = at_token(tokens, index, source, end);
    let explained = message.starts_with("Expected") || message.starts_with("expected");
    if explained { error } else { error.with_detail(without_location(message).to_string()) }
}

/// The error for a token that does not belong where it stands.
pub(super) fn at_token(
    tokens: &[TokenWithSpan],
    index: usize,
    source: impl Fn(&TokenWithSpan) -> String,
    end: TextPosition,
) -> PlanError {
    // A boundary that was put in stands for the token behind it.
    let index = index + usize::from(tokens.get(index).is_some_and(|token| token.token == Token::SemiColon));
    let error = match tokens.get(index).filter(|token| token.token != Token::EOF) {
        None => PlanError::new(PlanErrorKind::SyntaxError, "syntax error at end of input").at(Some(end)),
        Some(token) => {
            let message = format!("syntax error at or near \"{}\"", source(token));
            PlanError::new(PlanErrorKind::SyntaxError, message).at(super::position_of(token.span))
        }
    };
    // The word before is a suspect too: `SELECT a FORM t` fails at `t`.
    let suspects = [Some(index), index.checked_sub(1)];
    let near = suspects.into_iter().flatten().filter_map(|index| tokens.get(index)).find_map(misspelt);
    match near {
        Some((written, keyword)) => error.with_hint(format!("Perhaps \"{written}\" was meant to be {keyword}.")),
        None => error,
    }
}

/// The column in the ` at Line: 1, Column: n` that ends most of sqlparser's messages.
fn column_in(message: &str) -> Option<u64> {
    let (_, column) = message.rsplit_once(" at Line: 1, Column: ")?;
    column.parse().ok()
}

fn without_location(message: &str) -> &str {
    message.rsplit_once(" at Line: ").map_or(message, |(text, _)| text)
}

/// A word that is no keyword but close to one, with that keyword.
fn misspelt(token: &TokenWithSpan) -> Option<(String, &'static str)> {
    const LENGTH_MIN: usize = 4;
    let Token::Word(word) = &token.token else { return None };
    let written = word.value.to_ascii_uppercase();
    if word.quote_style.is_some() || written.len() < LENGTH_MIN || KEYWORDS.contains(&written.as_str()) {
        return None;
    }
    let allowed = if written.len() > 5 { 2 } else { 1 };
    let closest = KEYWORDS.iter().map(|keyword| (distance(&written, keyword), *keyword)).min()?;
    (closest.0 <= allowed).then(|| (word.value.clone(), closest.1))
}

/// Insertions, deletions, replacements and swaps of neighbours between two words (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    const FAR: usize = 100;
    if left.len().abs_diff(right.len()) > 2 {
        return FAR;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (row, from) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, to) in right.iter().enumerate() {
            let replaced = previous[column] + usize::from(from != to);
            let mut cost = replaced.min(previous[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && left[row - 1] == *to && *from == right[column - 1] {
                cost = cost.min(before[column - 1] + 1);
            }
            current.push(cost);
        }
        before = std::mem::replace(&mut previous, current);
    }
    previous[right.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn distances() {
        for (left, right, expected) in [
            ("FROM", "FORM", 1),
            ("SELECT", "SELCT", 1),
            ("WHERE", "WERE", 1),
            ("GROUP", "GROUP", 0),
            ("A", "ABCD", 100),
        ] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }
}
