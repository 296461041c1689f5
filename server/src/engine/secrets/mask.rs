//! A statement as it may be shown: the values of options that hold secrets, of passwords and of secrets are masked (18).
//!
//! The text is only cut into words, literals and signs, so that this works on texts that are no statements, too.

use millstream_planner::catalog::Relation;

/// Parts of option names whose values are secrets.
const SECRET_WORDS: &[&str] =
    &["password", "secret", "token", "jaas", "credential", "access_key", "access.key", "key.pem"];

/// What stands in the place of a secret.
const MASK: &str = "'********'";

/// The statement that made a relation, without the secrets in it.
pub fn masked_sql(relation: &Relation) -> String {
    mask(&relation.sql)
}

/// A piece of a text: where it starts and ends, and what it is.
struct Piece {
    start: usize,
    end: usize,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A name, a keyword or a number, dots and hyphens within included; quoted or not.
    Word,
    /// A literal in quotes of any kind.
    Literal,
    /// One character.
    Sign(char),
}

/// Masks every value that is assigned to an option with a secret's name, given as a password, or stands in the
/// definition of a secret.
pub fn mask(sql: &str) -> String {
    let pieces = pieces(sql);
    let mut shown = String::with_capacity(sql.len());
    let (mut copied, mut masked, mut defining) = (0, false, false);
    for (at, piece) in pieces.iter().enumerate() {
        // Within CREATE SECRET and ALTER SECRET every literal may be the value; PREPARE may stand in front.
        defining = match piece.kind {
            Kind::Sign(';') => false,
            _ => defining || defines_secret(sql, &pieces[..=at]),
        };
        let literal = piece.kind == Kind::Literal;
        // A literal goes on in the next one.
        masked = literal && (defining || masked) || is_secret(sql, &pieces[..=at], pieces.get(at + 1));
        if masked {
            shown.push_str(&sql[copied..piece.start]);
            shown.push_str(MASK);
            copied = piece.end;
        }
    }
    shown.push_str(&sql[copied..]);
    shown
}

fn is_word(sql: &str, piece: &Piece, words: &[&str]) -> bool {
    piece.kind == Kind::Word && words.iter().any(|word| sql[piece.start..piece.end].eq_ignore_ascii_case(word))
}

/// Whether the definition of a secret begins with the last of these pieces.
fn defines_secret(sql: &str, pieces: &[Piece]) -> bool {
    matches!(pieces, [.., verb, noun] if is_word(sql, verb, &["create", "alter"]) && is_word(sql, noun, &["secret"]))
}

/// Whether the last of these pieces is the value of a secret, by what stands in front of it and behind.
fn is_secret(sql: &str, pieces: &[Piece], next: Option<&Piece>) -> bool {
    match pieces {
        [.., name, sign, value] if sign.kind == Kind::Sign('=') && !matches!(value.kind, Kind::Sign(_)) => {
            let name = sql[name.start..name.end].to_ascii_lowercase();
            // `= SECRET name` names one.
            let names = is_word(sql, value, &["secret"]) && next.is_some_and(|next| next.kind == Kind::Word);
            SECRET_WORDS.iter().any(|word| name.contains(word)) && !names
        }
        [.., word, value] => value.kind == Kind::Literal && is_word(sql, word, &["password"]),
        _ => false,
    }
}

/// Cuts a text; comments and blanks are left out.
fn pieces(sql: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut start = 0;
    while let Some(first) = sql[start..].chars().next() {
        let rest = &sql[start..];
        let (length, kind) = if first.is_whitespace() {
            (first.len_utf8(), None)
        } else if rest.starts_with("--") {
            (rest.find('\n').unwrap_or(rest.len()), None)
        } else if rest.starts_with("/*") {
            (comment_length(rest), None)
        } else if let Some(length) = literal_length(rest) {
            (length, Some(Kind::Literal))
        } else if first == '$' && dollar_quoted_length(rest).is_some() {
            (dollar_quoted_length(rest).unwrap_or(1), Some(Kind::Literal))
        } else if is_word_part(first) || first == '"' {
            (word_length(rest), Some(Kind::Word))
        } else {
            (first.len_utf8(), Some(Kind::Sign(first)))
        };
        if let Some(kind) = kind {
            pieces.push(Piece { start, end: start + length, kind });
        }
        start += length;
    }
    pieces
}

/// Bytes of the comment that `text` starts with, those within it included; to the end if it is open.
fn comment_length(text: &str) -> usize {
    let (mut at, mut open) = (0, 0_usize);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            (at, open) = (at + 2, open + 1);
        } else if rest.starts_with(b"*/") {
            (at, open) = (at + 2, open - 1);
            if open == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Bytes of the literal in single quotes that `text` starts with, the letters of its kind included; `None` where none
/// begins.
fn literal_length(text: &str) -> Option<usize> {
    let quote = text.bytes().take(3).position(|byte| byte == b'\'')?;
    let escapes = match &text[..quote] {
        "e" | "E" => true,
        "" | "n" | "N" | "b" | "B" | "x" | "X" | "u&" | "U&" => false,
        _ => return None,
    };
    Some(quote + quoted_length(&text[quote..], '\'', escapes))
}

/// Bytes of the quoted text that `text` starts with, both quotes included; to the end if it is open.
fn quoted_length(text: &str, quote: char, escapes: bool) -> usize {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if escapes && character == '\\' {
            characters.next();
        } else if character == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            return at + quote.len_utf8();
        }
    }
    text.len()
}

/// Bytes of `$tag$ ... $tag$`; `None` where no such quote begins.
fn dollar_quoted_length(text: &str) -> Option<usize> {
    let tag = 1 + text[1..].find('$')?;
    let plain = text[1..tag].chars().all(|character| character.is_alphanumeric() || character == '_');
    let (quote, inside) = text.split_at(tag + 1);
    plain.then(|| inside.find(quote).map_or(text.len(), |end| end + 2 * quote.len()))
}

/// Bytes of a name with its dots, hyphens and quoted parts.
fn word_length(text: &str) -> usize {
    let mut at = 0;
    while let Some(character) = text[at..].chars().next() {
        at += match character {
            '"' => quoted_length(&text[at..], '"', false),
            '-' if text[at..].starts_with("--") => break,
            '.' | '-' => 1,
            other if is_word_part(other) => other.len_utf8(),
            _ => break,
        };
    }
    at
}

fn is_word_part(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_nothing_else() {
        let sql = "CREATE SOURCE s (a TEXT) WITH (connector = 'kafka', properties.sasl.password = 'it''s', topic='t')";
        let shown =
            "CREATE SOURCE s (a TEXT) WITH (connector = 'kafka', properties.sasl.password = '********', topic='t')";
        assert_eq!(mask(sql), shown);
        assert_eq!(mask("WITH ('s3.secret.key' = 'x', 'a' = 'b')"), "WITH ('s3.secret.key' = '********', 'a' = 'b')");
        assert_eq!(mask("SELECT 'password' = 'x'"), "SELECT 'password' = '********'");
        for open in ["SELECT 'open", "SELECT \"open", "SELECT $$open", "/* open", "-- '", "SELECT $1, $2", "é'ü"] {
            assert_eq!(mask(open), open);
        }
    }

    #[test]
    fn every_spelling_of_a_value_is_masked() {
        for value in
            ["'x y'", "E'it\\'s y'", "N'x y'", "U&'x y'", "x'00'", "$$x y$$", "$q$x $$ y$q$", "xy", "42", "'open y"]
        {
            let sql = format!("WITH (a = 'b', /* it's */ properties.sasl.password -- '\n = {value}");
            assert_eq!(mask(&sql), "WITH (a = 'b', /* it's */ properties.sasl.password -- '\n = '********'");
        }
        assert_eq!(mask("WITH (\"my.Password\" = 'x')"), "WITH (\"my.Password\" = '********')");
    }

    #[test]
    fn long_statements_are_read_once() {
        let sql = format!("INSERT INTO t VALUES {}", "('it''s', -1, $$x$$, /* y */ E'z'), ".repeat(200_000));
        assert_eq!(mask(&sql), sql);
        let sql = format!("CREATE SECRET s AS {}", "'x' ".repeat(500_000));
        assert_eq!(mask(&sql), sql.replace("'x'", MASK));
    }

    #[test]
    fn definitions_of_secrets_and_passwords_are_masked() {
        for (sql, shown) in [
            ("ALTER ROLE r PASSWORD U&'x'", "ALTER ROLE r PASSWORD '********'"),
            ("ALTER ROLE r PASSWORD 'x'\n'y'", "ALTER ROLE r PASSWORD '********'\n'********'"),
            ("/* /* */ ' */ WITH (password = 'x')", "/* /* */ ' */ WITH (password = '********')"),
            ("CREATE SECRET s AS 'x'; SELECT 'y'", "CREATE SECRET s AS '********'; SELECT 'y'"),
            ("SELECT 'y'; alter /* */ secret a.s\nas $$x$$", "SELECT 'y'; alter /* */ secret a.s\nas '********'"),
            ("create secret if not exists s 'x' 'y'", "create secret if not exists s '********' '********'"),
            ("PREPARE p AS CREATE SECRET s AS 'x'", "PREPARE p AS CREATE SECRET s AS '********'"),
            ("ALTER ROLE r PASSWORD 'x' VALID UNTIL 'y'", "ALTER ROLE r PASSWORD '********' VALID UNTIL 'y'"),
            (
                "WITH (properties.sasl.password = SECRET s, a = 'b')",
                "WITH (properties.sasl.password = SECRET s, a = 'b')",
            ),
            ("SELECT secret FROM t WHERE a = 'x'", "SELECT secret FROM t WHERE a = 'x'"),
        ] {
            assert_eq!(mask(sql), shown);
        }
    }
}
