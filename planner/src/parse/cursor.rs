//! The parser's place in a statement: our words by comparison, names, expressions and queries by sqlparser.

use sqlparser::ast::{DataType, Ident, Query};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

use crate::bind::DATABASE;
use crate::error::{PlanError, PlanErrorKind, Result, TextPosition};
use crate::statement::StatementText;

use super::ast::{Identifier, Name, SqlExpression, SqlQuery};
use super::dialect::MillstreamDialect;
use super::limits;
use super::normalize::{is_word, normalize};
use super::position_of;
use super::syntax_error;

/// Tokenizes a statement and runs `parse` over it.
pub(super) fn with_cursor<T>(text: &StatementText, parse: impl FnOnce(&mut Cursor<'_>) -> Result<T>) -> Result<T> {
    let tokens = tokenize(text)?;
    limits::check(&tokens)?;
    let tokens = normalize(tokens);
    let token_count = tokens.len();
    let dialect = MillstreamDialect::for_tokens(token_count);
    let parser =
        Parser::new(&dialect).with_recursion_limit(limits::PARSER_DEPTH_MAX).with_tokens_with_locations(tokens);
    parse(&mut Cursor { text, characters: text.sql.chars().collect(), token_count, parser })
}

/// The tokens without whitespace; their spans made positions (see the parent module).
fn tokenize(text: &StatementText) -> Result<Vec<TokenWithSpan>> {
    let dialect = MillstreamDialect::for_tokens(0);
    let positions = Positions::of(text);
    let tokens = Tokenizer::new(&dialect, &text.sql).tokenize_with_location().map_err(|error| {
        let message = error.message.to_lowercase();
        PlanError::new(PlanErrorKind::SyntaxError, message)
            .at(position_of(positions.span(error.location, error.location)))
    })?;
    let significant = tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF));
    let mut joined: Vec<TokenWithSpan> = Vec::new();
    for token in significant {
        if !joined.last_mut().is_some_and(|before| goes_on(before, &token)) {
            joined.push(token);
        }
    }
    Ok(joined
        .into_iter()
        .map(|token| TokenWithSpan { span: positions.span(token.span.start, token.span.end), token: token.token })
        .collect())
}

/// Whether a string goes on in this token, as it does on a line further down; then it takes it in.
fn goes_on(before: &mut TokenWithSpan, token: &TokenWithSpan) -> bool {
    let (
        Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) | Token::UnicodeStringLiteral(text),
        Token::SingleQuotedString(more),
    ) = (&mut before.token, &token.token)
    else {
        return false;
    };
    if token.span.start.line <= before.span.end.line {
        return false;
    }
    text.push_str(more);
    before.span.end = token.span.end;
    true
}

/// Translates lines and columns of a statement into positions in what the client sent.
struct Positions {
    /// The position of every line's first character.
    line_starts: Vec<u64>,
}

impl Positions {
    fn of(text: &StatementText) -> Self {
        let start = u64::try_from(text.start.0).unwrap_or(u64::MAX / 2);
        let mut line_starts = vec![start];
        let breaks = text.sql.chars().zip(start..).filter(|(character, _)| *character == '\n');
        line_starts.extend(breaks.map(|(_, position)| position + 1));
        Self { line_starts }
    }

    fn span(&self, start: Location, end: Location) -> Span {
        Span { start: self.location(start), end: self.location(end) }
    }

    fn location(&self, location: Location) -> Location {
        let line = usize::try_from(location.line).unwrap_or(usize::MAX).saturating_sub(1);
        let start = self.line_starts.get(line).or(self.line_starts.last()).copied().unwrap_or(1);
        Location { line: 1, column: start + location.column.saturating_sub(1) }
    }
}

/// A place in the tokens of one statement.
pub(super) struct Cursor<'a> {
    text: &'a StatementText,
    characters: Vec<char>,
    token_count: usize,
    parser: Parser<'a>,
}

impl<'a> Cursor<'a> {
    /// The token so far ahead; `Token::EOF` behind the last one.
    pub(super) fn peek(&self, ahead: usize) -> &Token {
        &self.parser.peek_nth_token_ref(ahead).token
    }

    /// Where the next token starts; behind the statement at its end.
    pub(super) fn position(&self) -> TextPosition {
        position_of(self.parser.peek_token_ref().span).unwrap_or_else(|| self.end_position())
    }

    /// Whether these words follow, unquoted, in any case.
    pub(super) fn is_at(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(ahead, word)| is_word(self.peek(ahead), word))
    }

    /// Takes these words if they all follow.
    pub(super) fn accept(&mut self, words: &[&str]) -> bool {
        let found = self.is_at(words);
        if found {
            words.iter().for_each(|_| self.parser.advance_token());
        }
        found
    }

    /// Takes these words, or fails at the first that is another.
    pub(super) fn expect(&mut self, words: &[&str]) -> Result<()> {
        for word in words {
            if !self.accept(&[word]) {
                return Err(self.unexpected());
            }
        }
        Ok(())
    }

    /// Takes this token if it follows.
    pub(super) fn accept_token(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    /// Takes this token or fails.
    pub(super) fn expect_token(&mut self, token: &Token) -> Result<()> {
        if self.accept_token(token) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Takes the next token, whatever it is.
    pub(super) fn next(&mut self) -> TokenWithSpan {
        self.parser.next_token()
    }

    /// Fails unless the statement ends here.
    pub(super) fn end(&self) -> Result<()> {
        if *self.peek(0) == Token::EOF { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Passes the boundary that [`normalize`] put behind a query.
    pub(super) fn skip_boundary(&mut self) {
        while self.accept_token(&Token::SemiColon) {}
    }

    /// The error that the next token does not belong here.
    pub(super) fn unexpected(&self) -> PlanError {
        syntax_error::at_token(
            &self.tokens(),
            self.parser.index(),
            |token| self.source(token.span),
            self.end_position(),
        )
    }

    /// The same with what would have been right.
    pub(super) fn expected(&self, what: &str) -> PlanError {
        let error = self.unexpected();
        if error.hint.is_some() { error } else { error.with_hint(format!("Expected {what}.")) }
    }

    /// An identifier: a word of any kind, or a quoted one.
    pub(super) fn identifier(&mut self) -> Result<Identifier> {
        let token = self.parser.peek_token();
        match token.token {
            Token::Word(word) if word.quote_style.is_none() => {
                self.parser.advance_token();
                Ok(Identifier { value: word.value.to_lowercase(), position: self.position_or_end(token.span) })
            }
            Token::Word(word) => {
                let position = self.position_or_end(token.span);
                if word.value.is_empty() {
                    let message = "zero-length delimited identifier";
                    return Err(PlanError::new(PlanErrorKind::SyntaxError, message).at(Some(position)));
                }
                self.parser.advance_token();
                Ok(Identifier { value: word.value, position })
            }
            _ => Err(self.unexpected()),
        }
    }

    /// A relation's name, with or without a schema, and with or without this database.
    pub(super) fn name(&mut self) -> Result<Name> {
        let first = self.identifier()?;
        if !self.accept_token(&Token::Period) {
            return Ok(Name { schema: None, name: first.value, position: first.position });
        }
        let second = self.identifier()?;
        if *self.peek(0) == Token::Period && first.value == DATABASE {
            self.parser.advance_token();
            let third = self.identifier()?;
            return Ok(Name { schema: Some(second.value), name: third.value, position: first.position });
        }
        if *self.peek(0) == Token::Period {
            return Err(PlanError::unsupported("cross-database references are not implemented")
                .with_hint("Name a relation as \"schema.relation\".")
                .at(Some(first.position)));
        }
        Ok(Name { schema: Some(first.value), name: second.value, position: first.position })
    }

    /// `(a, b, …)`.
    pub(super) fn identifiers_in_parentheses(&mut self) -> Result<Vec<Identifier>> {
        self.expect_token(&Token::LParen)?;
        let names = self.comma_separated(Self::identifier)?;
        self.expect_token(&Token::RParen)?;
        Ok(names)
    }

    /// At least one, with commas between.
    pub(super) fn comma_separated<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.accept_token(&Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// The text of a string literal, if one follows.
    pub(super) fn accept_string(&mut self) -> Option<String> {
        let value = match self.peek(0) {
            Token::SingleQuotedString(value)
            | Token::EscapedStringLiteral(value)
            | Token::UnicodeStringLiteral(value)
            | Token::NationalStringLiteral(value) => value.clone(),
            Token::DollarQuotedString(quoted) => quoted.value.clone(),
            _ => return None,
        };
        self.parser.advance_token();
        Some(value)
    }

    /// An expression and its text.
    pub(super) fn expression(&mut self) -> Result<SqlExpression> {
        let (position, first) = (self.position(), self.parser.index());
        let expression = self.delegate(Parser::parse_expr)?;
        Ok(SqlExpression { expression, sql: self.source_since(first), position })
    }

    /// A query.
    pub(super) fn query(&mut self) -> Result<Box<Query>> {
        self.delegate(Parser::parse_query)
    }

    /// A query and its text.
    pub(super) fn sql_query(&mut self) -> Result<SqlQuery> {
        let (position, first) = (self.position(), self.parser.index());
        let query = self.query()?;
        Ok(SqlQuery { query, sql: self.source_since(first), position })
    }

    /// A type.
    pub(super) fn data_type(&mut self) -> Result<DataType> {
        self.delegate(Parser::parse_data_type)
    }

    /// What sqlparser reads from here on, with its error turned into ours.
    pub(super) fn delegate<T>(&mut self, parse: impl FnOnce(&mut Parser<'a>) -> Result<T, ParserError>) -> Result<T> {
        let before = self.parser.index();
        parse(&mut self.parser).map_err(|error| {
            let current = self.parser.index().saturating_sub(1).max(before);
            let at = self.position();
            let source = |token: &TokenWithSpan| self.source(token.span);
            syntax_error::from_parser(&error, &self.tokens(), source, current, self.end_position()).at(Some(at))
        })
    }

    /// The text between two positions of this statement.
    pub(super) fn source_between(&self, from: TextPosition, to: TextPosition) -> String {
        let index = |position: TextPosition| position.0.saturating_sub(self.text.start.0).min(self.characters.len());
        let (from, to) = (index(from), index(to));
        self.characters[from..to.max(from)].iter().collect()
    }

    /// The text from the token with the given index (as [`Self::mark`] gave it) to the last one taken.
    pub(super) fn source_since(&self, first: usize) -> String {
        let token = |index: usize| (index < self.token_count).then(|| self.parser.token_at(index));
        let from = token(first).and_then(|token| position_of(token.span));
        let last = self.parser.index().checked_sub(1).and_then(token);
        let to = last.map(|token| TextPosition(usize::try_from(token.span.end.column).unwrap_or(usize::MAX)));
        self.source_between(from.unwrap_or_else(|| self.end_position()), to.unwrap_or_else(|| self.end_position()))
    }

    /// The index of the next token, for [`Self::source_since`].
    pub(super) fn mark(&self) -> usize {
        self.parser.index()
    }

    /// The text from the next token to the end of the statement.
    pub(super) fn rest(&self) -> String {
        self.source_between(self.position(), self.end_position())
    }

    /// Behind the last character.
    pub(super) fn end_position(&self) -> TextPosition {
        TextPosition(self.text.start.0 + self.characters.len())
    }

    /// All tokens, for errors: the parser owns them.
    fn tokens(&self) -> Vec<TokenWithSpan> {
        (0..self.token_count).map(|index| self.parser.token_at(index).clone()).collect()
    }

    fn source(&self, span: Span) -> String {
        let end = TextPosition(usize::try_from(span.end.column).unwrap_or(usize::MAX));
        self.source_between(self.position_or_end(span), end)
    }

    fn position_or_end(&self, span: Span) -> TextPosition {
        position_of(span).unwrap_or_else(|| self.end_position())
    }
}

/// An identifier of sqlparser's as stored.
pub fn folded(identifier: &Ident) -> String {
    match identifier.quote_style {
        None => identifier.value.to_lowercase(),
        Some(_) => identifier.value.clone(),
    }
}
