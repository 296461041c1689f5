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
pub(super) const CHAIN_MAX: usize = 600;

/// Levels that a subquery counts for: the trees of queries have the largest frames.
const SUBQUERY_WEIGHT: usize = 4;

/// What one UNION, EXCEPT or INTERSECT counts for: its frames are that much larger.
const SET_OPERATION_LINKS: usize = 10;

/// `INTERVAL INTERVAL ...` recurses in sqlparser without a guard; two may stand beside each other (a column
/// of that name with that alias).
const INTERVAL_RUN_MAX: usize = 3;

/// Expressions begun per token of the statement, retries included. Straight parsing needs at most 2.
pub(super) const PREFIXES_PER_TOKEN_MAX: u64 = 64;

/// Bytes of a secret's value: room for a private key with its chain of certificates, and no place for files.
pub(super) const SECRET_BYTES_MAX: usize = 64 << 10;

/// An open parenthesis.
#[derive(Default)]
struct Level {
    /// Operators since the last comma.
    links: usize,
    /// Levels that it counts for.
    weight: usize,
}

/// Refuses a statement that nests or chains too deeply; `tokens` without whitespace.
pub(super) fn check(tokens: &[TokenWithSpan]) -> Result<()> {
    // Never empty: the first level is the statement itself.
    let mut levels = vec![Level::default()];
    let (mut depth, mut angles, mut intervals) = (0_usize, 0_usize, 0_usize);
    for (index, token) in tokens.iter().enumerate() {
        intervals = if is_keyword(&token.token, Keyword::INTERVAL) { intervals + 1 } else { 0 };
        let level = levels.last_mut().expect("the statement's own level stays");
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                let subquery = tokens.get(index + 1).is_some_and(|next| is_keyword(&next.token, Keyword::SELECT));
                let weight = if subquery { SUBQUERY_WEIGHT } else { 1 };
                depth += weight;
                levels.push(Level { links: 0, weight });
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                if levels.len() > 1 {
                    depth -= levels.pop().map_or(0, |level| level.weight);
                }
            }
            Token::Comma => level.links = 0,
            Token::Lt if index > 0 && opens_type(&tokens[index - 1].token) => angles += 1,
            Token::Gt if angles > 0 => angles -= 1,
            Token::ShiftRight if angles > 0 => angles = angles.saturating_sub(2),
            other => level.links += links(other),
        }
        let too_long = levels.last().is_some_and(|level| level.links > CHAIN_MAX);
        if depth + angles > NESTING_MAX || too_long || intervals > INTERVAL_RUN_MAX {
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

/// How much deeper a token can make the tree.
fn links(token: &Token) -> usize {
    match token {
        Token::Word(word) => match word.keyword {
            Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT => SET_OPERATION_LINKS,
            Keyword::AND
            | Keyword::OR
            | Keyword::XOR
            | Keyword::NOT
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
            | Keyword::OVERLAPS => 1,
            _ => 0,
        },
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
        | Token::EOF => 0,
        // Operators, and whatever a later sqlparser adds: counting too much is safe.
        _ => 1,
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
            format!("SELECT 1 {}", "UNION ALL SELECT 1 ".repeat(super::CHAIN_MAX / super::SET_OPERATION_LINKS)),
            format!("SELECT 1 WHERE true {}", "OR a = 1 ".repeat(super::CHAIN_MAX / 2 - 1)),
            format!("SELECT {}1{}", "(".repeat(super::NESTING_MAX - 2), ")".repeat(super::NESTING_MAX - 2)),
            format!("SELECT {}1{}", "f(".repeat(super::NESTING_MAX - 2), ")".repeat(super::NESTING_MAX - 2)),
            format!("{}SELECT 1{}", "SELECT * FROM (".repeat(25), ") t".repeat(25)),
            format!("{}SELECT 1{}", "SELECT (".repeat(25), ")".repeat(25)),
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
            format!("SELECT {}1", "- ".repeat(100_000)),
            format!("SELECT {}", "NOT ".repeat(100_000)),
            format!("SELECT {} '1'", "INTERVAL ".repeat(100_000)),
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
            ("CASE WHEN ", "x y"),
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
