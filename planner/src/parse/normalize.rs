//! Rewrites the tokens of a statement where sqlparser has no words for our dialect. Positions stay.
//!
//! - `TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), …))` becomes `TUMBLE(t, ts, …)`;
//! - `PARTITION BY k` and `PARTITION BY (a, b)` in a window function become `, partition_by(…)`;
//! - `TABLE t`, where a query can begin, becomes `SELECT * FROM t`;
//! - `ROW<…>` as a type becomes `STRUCT<…>`;
//! - a semicolon, which no statement contains, is put before the clauses that end a query in our statements
//!   (`EMIT …`, `WITH (…)`, `FORMAT … ENCODE …`): sqlparser would read them as aliases or table hints.

use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

/// Functions in FROM that assign windows.
const WINDOW_FUNCTIONS: [&str; 6] = ["tumble", "hop", "session", "cumulate", "tumble_rows", "hop_rows"];

/// The function under which a window function's partition keys stand among its arguments.
pub const PARTITION_BY_FUNCTION: &str = "partition_by";

/// Whether a token is this word, unquoted; `word` is upper or lower case, whatever reads better.
pub(super) fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}

/// The tokens in the form that sqlparser reads; `tokens` without whitespace.
pub(super) fn normalize(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut rewrite = Rewrite {
        output: Vec::with_capacity(tokens.len() + 4),
        input: tokens,
        at: 0,
        open: Vec::new(),
        seen_as: false,
    };
    while rewrite.at < rewrite.input.len() {
        rewrite.step();
    }
    rewrite.output
}

/// What closes with a parenthesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Plain,
    /// The arguments of a window function.
    Window,
    /// The parentheses of `TABLE(…)`, left out.
    Dropped,
}

struct Rewrite {
    input: Vec<TokenWithSpan>,
    at: usize,
    output: Vec<TokenWithSpan>,
    open: Vec<Open>,
    /// AS was seen outside parentheses: a query may have begun.
    seen_as: bool,
}

impl Rewrite {
    fn step(&mut self) {
        if self.starts_clause() {
            let boundary = TokenWithSpan { token: Token::SemiColon, span: self.input[self.at].span };
            self.output.push(boundary);
            self.seen_as = false;
        }
        if self.words(0, &["TABLE"]) && self.token(1) == Some(&Token::LParen) && self.is_window_call(2) {
            self.open.push(Open::Dropped);
            self.at += 2;
        } else if self.is_window_call(0) {
            self.copy(2);
            self.open.push(Open::Window);
            if self.words(0, &["TABLE"]) && matches!(self.token(1), Some(Token::Word(_))) {
                self.at += 1;
            }
        } else if let Some((length, operator)) = self.pattern_operator() {
            let span = self.input[self.at].span;
            self.output.push(TokenWithSpan { token: operator, span });
            self.at += length;
        } else if self.words(0, &["TABLE"]) && self.begins_query() && matches!(self.token(1), Some(Token::Word(_))) {
            self.whole_table();
        } else if self.open.last() == Some(&Open::Window) && self.is_descriptor() {
            self.at += 2;
            self.copy(1);
            self.at += 1;
        } else if self.open.last() == Some(&Open::Window) && self.words(0, &["PARTITION", "BY"]) {
            self.partition_by();
        } else {
            self.plain();
        }
    }

    /// One token that stays as it is, or is left out together with its opening one.
    fn plain(&mut self) {
        match &self.input[self.at].token {
            Token::LParen => self.open.push(Open::Plain),
            Token::RParen if self.open.pop() == Some(Open::Dropped) => {
                self.at += 1;
                return;
            }
            _ => {}
        }
        if self.open.is_empty() && self.words(0, &["AS"]) {
            self.seen_as = true;
        }
        if self.words(0, &["ROW"]) && self.token(1) == Some(&Token::Lt) {
            let span = self.input[self.at].span;
            self.output.push(TokenWithSpan { token: Token::make_keyword("STRUCT"), span });
            self.at += 1;
        } else {
            self.copy(1);
        }
    }

    fn copy(&mut self, count: usize) {
        self.output.extend(self.input[self.at..self.at + count].iter().cloned());
        self.at += count;
    }

    fn token(&self, ahead: usize) -> Option<&Token> {
        self.input.get(self.at + ahead).map(|token| &token.token)
    }

    fn words(&self, ahead: usize, words: &[&str]) -> bool {
        words
            .iter()
            .enumerate()
            .all(|(index, word)| self.token(ahead + index).is_some_and(|token| is_word(token, word)))
    }

    fn is_window_call(&self, ahead: usize) -> bool {
        WINDOW_FUNCTIONS.iter().any(|name| self.words(ahead, &[name])) && self.token(ahead + 1) == Some(&Token::LParen)
    }

    /// `DESCRIPTOR ( word )`.
    fn is_descriptor(&self) -> bool {
        self.words(0, &["DESCRIPTOR"])
            && matches!(
                (self.token(1), self.token(2), self.token(3)),
                (Some(Token::LParen), Some(Token::Word(_)), Some(Token::RParen))
            )
    }

    /// Whether a query can begin here, and no statement that begins with TABLE's kind of object.
    fn begins_query(&self) -> bool {
        const BEFORE: [&str; 7] = ["UNION", "EXCEPT", "INTERSECT", "ALL", "DISTINCT", "AS", "EXPLAIN"];
        match self.output.last().map(|before| &before.token) {
            None => true,
            Some(Token::LParen) => self.open.last() == Some(&Open::Plain),
            Some(token) => BEFORE.iter().any(|word| is_word(token, word)),
        }
    }

    /// `[NOT] LIKE | ILIKE` in front of ANY, SOME or ALL with a parenthesis, as its operator, and of how many words it
    /// is: as in Postgres' grammar it is one like `=` there.
    fn pattern_operator(&self) -> Option<(usize, Token)> {
        let length = if self.words(0, &["NOT"]) { 2 } else { 1 };
        let quantified = ["ANY", "SOME", "ALL"].iter().any(|word| self.words(length, &[word]));
        if !quantified || self.token(length + 1) != Some(&Token::LParen) {
            return None;
        }
        let operator = match (self.words(length - 1, &["LIKE"]), self.words(length - 1, &["ILIKE"]), length) {
            (true, _, 1) => Token::DoubleTilde,
            (true, _, _) => Token::ExclamationMarkDoubleTilde,
            (_, true, 1) => Token::DoubleTildeAsterisk,
            (_, true, _) => Token::ExclamationMarkDoubleTildeAsterisk,
            _ => return None,
        };
        Some((length, operator))
    }

    fn whole_table(&mut self) {
        let span = self.input[self.at].span;
        for token in [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")] {
            self.output.push(TokenWithSpan { token, span });
        }
        self.at += 1;
    }

    /// `PARTITION BY key` or `PARTITION BY (key, …)`.
    fn partition_by(&mut self) {
        let span = self.input[self.at].span;
        let mut push = |token: Token| self.output.push(TokenWithSpan { token, span });
        push(Token::Comma);
        push(Token::Word(Word {
            value: PARTITION_BY_FUNCTION.to_string(),
            quote_style: None,
            keyword: sqlparser::keywords::Keyword::NoKeyword,
        }));
        self.at += 2;
        if self.token(0) == Some(&Token::LParen) {
            return;
        }
        self.output.push(TokenWithSpan { token: Token::LParen, span });
        while matches!(self.token(0), Some(Token::Word(_) | Token::Period)) {
            self.copy(1);
        }
        self.output.push(TokenWithSpan { token: Token::RParen, span });
    }

    /// Whether a clause of ours that follows a query starts here.
    fn starts_clause(&self) -> bool {
        if !self.open.is_empty() {
            return false;
        }
        let emit = self.words(0, &["EMIT", "ON", "WINDOW", "CLOSE"])
            || self.words(0, &["EMIT", "ON", "UPDATE"])
            || self.words(0, &["EMIT", "CHANGES"]);
        let with = self.words(0, &["WITH"]) && self.token(1) == Some(&Token::LParen);
        let format = self.words(0, &["FORMAT"]) && self.words(2, &["ENCODE"]);
        emit || (self.seen_as && (with || format))
    }
}
