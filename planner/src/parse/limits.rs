//! Bounds on the shape of a statement, so that no text overflows a stack or keeps a thread busy.
//!
//! They are checked over the tokens, before sqlparser sees them: it guards some of its recursions only, and
//! a long chain of operators becomes a tree as deep as the chain, which is dropped, cloned and walked by
//! recursion later on.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{PlanError, PlanErrorKind, Result};

use super::position_of;

/// Levels of parentheses, brackets and angle brackets. People write 10, generators 30; every level costs
/// sqlparser several frames.
pub(super) const NESTING_MAX: usize = 100;

/// What [`sqlparser::parser::Parser::with_recursion_limit`] gets: each level above costs it up to three.
pub(super) const PARSER_DEPTH_MAX: usize = 400;

/// Operators in one chain (`a OR b OR c`, `x UNION y UNION z`): as deep a tree must be walked within the
/// 2 MiB stack of a thread, in a build without optimisation too.
pub(super) const CHAIN_MAX: usize = 1_000;

/// `INTERVAL INTERVAL ...` recurses in sqlparser without a guard; two may stand beside each other (a column
/// of that name with that alias).
const INTERVAL_RUN_MAX: usize = 3;

/// Expressions begun per token of the statement, retries included. Straight parsing needs at most 2.
pub(super) const PREFIXES_PER_TOKEN_MAX: u64 = 64;

/// Refuses a statement that nests or chains too deeply; `tokens` without whitespace.
pub(super) fn check(tokens: &[TokenWithSpan]) -> Result<()> {
    // One counter of chained operators per open parenthesis.
    let mut chains = vec![0_usize];
    let mut angles = 0_usize;
    let mut intervals = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        intervals = if is_keyword(&token.token, Keyword::INTERVAL) { intervals + 1 } else { 0 };
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => chains.push(0),
            Token::RParen | Token::RBracket | Token::RBrace => {
                chains.pop();
                if chains.is_empty() {
                    chains.push(0);
                }
            }
            Token::Comma => *chains.last_mut().expect("never empty") = 0,
            Token::Lt if index > 0 && opens_type(&tokens[index - 1].token) => angles += 1,
            Token::Gt if angles > 0 => angles -= 1,
            Token::ShiftRight if angles > 0 => angles = angles.saturating_sub(2),
            other if chains_on(other) => *chains.last_mut().expect("never empty") += 1,
            _ => {}
        }
        let too_long = chains.last().is_some_and(|links| *links > CHAIN_MAX);
        if chains.len() + angles > NESTING_MAX || too_long || intervals > INTERVAL_RUN_MAX {
            return Err(too_complex().at(position_of(token.span)));
        }
    }
    Ok(())
}

/// The error for what is beyond the limits.
pub(super) fn too_complex() -> PlanError {
    PlanError::new(PlanErrorKind::ProgramLimitExceeded, "statement is too complex")
        .with_detail(format!(
            "expressions nest at most {NESTING_MAX} levels deep and chain at most {CHAIN_MAX} operators"
        ))
        .with_hint("Use IN (...) or a join with VALUES in place of a long chain of OR.")
}

fn opens_type(token: &Token) -> bool {
    [Keyword::ARRAY, Keyword::STRUCT, Keyword::MAP].into_iter().any(|keyword| is_keyword(token, keyword))
        || matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("row"))
}

fn is_keyword(token: &Token, keyword: Keyword) -> bool {
    matches!(token, Token::Word(word) if word.keyword == keyword)
}

/// Whether a token can make the tree one level deeper.
fn chains_on(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::XOR
                | Keyword::NOT
                | Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::INTERSECT
                | Keyword::JOIN
                | Keyword::IS
                | Keyword::NOTNULL
                | Keyword::IN
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::SIMILAR
                | Keyword::REGEXP
                | Keyword::BETWEEN
                | Keyword::COLLATE
                | Keyword::AT
                | Keyword::OPERATOR
                | Keyword::OVERLAPS
        ),
        Token::Number(..)
        | Token::Char(_)
        | Token::SingleQuotedString(_)
        | Token::DollarQuotedString(_)
        | Token::EscapedStringLiteral(_)
        | Token::UnicodeStringLiteral(_)
        | Token::NationalStringLiteral(_)
        | Token::HexStringLiteral(_)
        | Token::Placeholder(_)
        | Token::Period
        | Token::SemiColon
        | Token::EOF => false,
        // Operators, and whatever a later sqlparser adds: counting too much is safe.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use crate::error::{PlanErrorKind, TextPosition};
    use crate::parse::parse_statement;
    use crate::statement::StatementText;

    fn kind_of(sql: String) -> Option<PlanErrorKind> {
        parse_statement(&StatementText { sql, start: TextPosition(1) }).err().map(|error| error.kind)
    }

    /// The depths that are allowed must fit the 2 MiB stack that this test runs on: parsed, cloned, printed
    /// and dropped.
    #[test]
    fn what_is_allowed_fits_the_stack() {
        for sql in [
            format!("SELECT {}1", "1 + ".repeat(super::CHAIN_MAX - 1)),
            format!("SELECT 1{}", "::bigint".repeat(super::CHAIN_MAX - 1)),
            format!("SELECT 1 {}", "UNION ALL SELECT 1 ".repeat(super::CHAIN_MAX - 1)),
            format!("SELECT 1 WHERE true {}", "OR a = 1 ".repeat(super::CHAIN_MAX / 2 - 1)),
            format!("SELECT {}1{}", "(".repeat(super::NESTING_MAX - 2), ")".repeat(super::NESTING_MAX - 2)),
            format!("SELECT {}1{}", "f(".repeat(super::NESTING_MAX - 2), ")".repeat(super::NESTING_MAX - 2)),
            format!("{}SELECT 1{}", "SELECT * FROM (".repeat(90), ") t".repeat(90)),
        ] {
            let statement = parse_statement(&StatementText { sql: sql.clone(), start: TextPosition(1) });
            let statement = statement.unwrap_or_else(|error| panic!("{error:?}: {}", &sql[..60]));
            assert!(!format!("{:?}", statement.clone()).is_empty());
        }
    }

    #[test]
    fn what_is_beyond_is_refused_at_once() {
        for sql in [
            format!("SELECT {}1", "1 + ".repeat(100_000)),
            format!("SELECT {}1", "(".repeat(100_000)),
            format!("SELECT {}1", "-".repeat(100_000)),
            format!("SELECT {}", "NOT ".repeat(100_000)),
            format!("SELECT {} '1'", "INTERVAL ".repeat(100_000)),
            format!("SELECT {}", "CASE WHEN ".repeat(10_000)),
            format!("SELECT CAST(a AS {}", "ARRAY<".repeat(100_000)),
            format!("SELECT 1{}", " UNION SELECT 1".repeat(100_000)),
            format!("SELECT a{}", "::int".repeat(100_000)),
        ] {
            assert_eq!(kind_of(sql.clone()), Some(PlanErrorKind::ProgramLimitExceeded), "{}", &sql[..30]);
        }
    }

    /// Each of these is tried twice per level by sqlparser; without the budget they would never end.
    #[test]
    fn backtracking_is_bounded() {
        for (open, inner) in [
            ("cast(", "x y"),
            ("f(a => ", "x y"),
            ("extract(", "x y"),
            ("substring(", "x y"),
            ("CASE WHEN cast(", "x y"),
            ("1 IN (", "x y"),
            ("EXISTS (SELECT ", "x y z"),
            ("(SELECT * FROM ((", "x y z"),
            ("ARRAY[", "x y"),
            ("interval (", "x y"),
            ("convert(", "x y"),
            ("ceil(", "x y"),
            ("(SELECT * FROM (SELECT * FROM f(", "x y z"),
        ] {
            let sql = format!("SELECT {}{inner}", open.repeat(45));
            assert!(kind_of(sql).is_some(), "{open}");
        }
    }
}
