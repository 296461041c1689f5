//! sqlparser's Postgres dialect with our differences, and a budget on the work of its backtracking.
//!
//! sqlparser tries alternatives and goes back; nested constructs that fail at the innermost place are tried
//! twice per level, which is exponential. Every expression begins with a call of `parse_prefix`, so counting
//! those bounds the work; the error it gives when the budget is used up is the one that is never caught on
//! the way out.

use std::any::TypeId;
use std::cell::Cell;

use sqlparser::ast::{CastKind, DataType, Expr, Ident, Spanned, Value};
use sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Span, Token};

use super::limits::PREFIXES_PER_TOKEN_MAX;
use crate::bind::call;
use crate::functions::SIMILAR_TO;

/// Our dialect, for one statement.
#[derive(Debug)]
pub(super) struct MillstreamDialect {
    postgres: PostgreSqlDialect,
    prefixes_left: Cell<u64>,
}

impl MillstreamDialect {
    /// A dialect for a statement of so many tokens.
    pub(super) fn for_tokens(token_count: usize) -> Self {
        let budget = PREFIXES_PER_TOKEN_MAX * (u64::try_from(token_count).unwrap_or(u64::MAX / 2) / 2 + 16);
        Self { postgres: PostgreSqlDialect {}, prefixes_left: Cell::new(budget) }
    }
}

/// `interval(n) '...'`, whose digits sqlparser drops, as the cast that it is.
fn interval_with_digits(parser: &mut Parser) -> Option<Expr> {
    let is_interval =
        matches!(&parser.peek_nth_token_ref(0).token, Token::Word(word) if word.keyword == Keyword::INTERVAL);
    if !is_interval || parser.peek_nth_token_ref(1).token != Token::LParen {
        return None;
    }
    let Token::Number(digits, _) = &parser.peek_nth_token_ref(2).token else { return None };
    let precision = digits.parse().ok()?;
    let Token::SingleQuotedString(text) = &parser.peek_nth_token_ref(4).token else { return None };
    let value = Value::SingleQuotedString(text.clone()).with_span(parser.peek_nth_token_ref(4).span);
    if parser.peek_nth_token_ref(3).token != Token::RParen {
        return None;
    }
    (0..5).for_each(|_| drop(parser.next_token()));
    let data_type = DataType::Interval { fields: None, precision: Some(precision) };
    let expr = Box::new(Expr::Value(value));
    Some(Expr::Cast { kind: CastKind::Cast, expr, data_type, array: false, format: None })
}

/// Tokens in which `SIMILAR` is looked for behind `substring(`.
const SUBSTRING_TOKENS: usize = 64;

/// Whether `substring(text SIMILAR pattern ESCAPE character)` follows, which sqlparser does not know.
fn is_substring_of_pattern(parser: &Parser) -> bool {
    let is_word = |at: usize, keyword: Keyword| matches!(&parser.peek_nth_token_ref(at).token, Token::Word(word) if word.keyword == keyword);
    if !is_word(0, Keyword::SUBSTRING) || parser.peek_nth_token_ref(1).token != Token::LParen {
        return false;
    }
    let mut depth = 0;
    for at in 2..SUBSTRING_TOKENS {
        match &parser.peek_nth_token_ref(at).token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => return false,
            Token::RParen => depth -= 1,
            Token::EOF => return false,
            _ if depth == 0 && is_word(at, Keyword::SIMILAR) => return !is_word(at + 1, Keyword::TO),
            _ => {}
        }
    }
    false
}

impl MillstreamDialect {
    /// The call that it stands for.
    fn substring_of_pattern(&self, parser: &mut Parser) -> Result<Expr, ParserError> {
        let name = parser.parse_object_name(false)?;
        parser.expect_token(&Token::LParen)?;
        let text = parser.parse_subexpr(self.prec_value(Precedence::Like))?;
        parser.expect_keyword(Keyword::SIMILAR)?;
        let pattern = parser.parse_subexpr(self.prec_value(Precedence::Like))?;
        parser.expect_keyword(Keyword::ESCAPE)?;
        let escape = parser.parse_expr()?;
        parser.expect_token(&Token::RParen)?;
        let pattern = call(Ident::with_quote('"', SIMILAR_TO), vec![pattern, escape]);
        let span = name.0.first().map_or_else(Span::empty, Spanned::span);
        Ok(call(Ident::with_span(span, "substring"), vec![text, pattern]))
    }
}

impl Dialect for MillstreamDialect {
    /// sqlparser asks for the type where behaviour has no method of its own.
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        let Some(left) = self.prefixes_left.get().checked_sub(1) else {
            return Some(Err(ParserError::RecursionLimitExceeded));
        };
        self.prefixes_left.set(left);
        if let Some(literal) = interval_with_digits(parser) {
            return Some(Ok(literal));
        }
        is_substring_of_pattern(parser).then(|| self.substring_of_pattern(parser))
    }

    // Ours: back-quoted names as in Flink's scripts, STRUCT, and constructs that are parsed only so that the
    // binder can refuse them by name.

    fn is_delimited_identifier_start(&self, character: char) -> bool {
        matches!(character, '"' | '`')
    }

    fn is_custom_operator_part(&self, character: char) -> bool {
        character != '`' && self.postgres.is_custom_operator_part(character)
    }

    fn supports_struct_literal(&self) -> bool {
        true
    }

    fn supports_map_literal_with_angle_brackets(&self) -> bool {
        true
    }

    fn supports_match_recognize(&self) -> bool {
        true
    }

    fn supports_table_versioning(&self) -> bool {
        true
    }

    /// Names of arguments are identifiers: with expressions in their place every argument is parsed twice.
    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        false
    }

    // The rest is Postgres'.

    /// Among others that makes `?` an operator, of `jsonb`, not a parameter.
    fn supports_geometric_types(&self) -> bool {
        true
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        self.postgres.identifier_quote_style(identifier)
    }

    fn is_identifier_start(&self, character: char) -> bool {
        self.postgres.is_identifier_start(character)
    }

    fn is_identifier_part(&self, character: char) -> bool {
        self.postgres.is_identifier_part(character)
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        self.postgres.is_reserved_for_identifier(keyword)
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        self.postgres.get_next_precedence(parser)
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        self.postgres.prec_value(precedence)
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn allow_extract_single_quotes(&self) -> bool {
        true
    }

    fn supports_factorial_operator(&self) -> bool {
        true
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }

    fn supports_empty_projections(&self) -> bool {
        true
    }

    fn supports_nested_comments(&self) -> bool {
        true
    }

    fn supports_string_escape_constant(&self) -> bool {
        true
    }

    fn supports_numeric_literal_underscores(&self) -> bool {
        true
    }

    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }

    fn supports_notnull_operator(&self) -> bool {
        true
    }

    fn supports_interval_options(&self) -> bool {
        true
    }

    fn supports_insert_table_alias(&self) -> bool {
        true
    }

    fn supports_select_wildcard_with_alias(&self) -> bool {
        true
    }

    fn supports_comma_separated_trim(&self) -> bool {
        true
    }
}
