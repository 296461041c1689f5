//! A relation's statement as it may be shown: the values of options that hold secrets are masked (18).

use millstream_planner::catalog::Relation;

/// Parts of option names whose values are secrets.
const SECRET_WORDS: &[&str] = &["password", "secret", "token", "jaas", "credential", "access_key", "access.key"];

/// What stands in the place of a secret.
const MASK: &str = "'********'";

/// The statement that made a relation, without the secrets in it.
pub fn masked_sql(relation: &Relation) -> String {
    mask(&relation.sql)
}

/// Masks every string literal that is assigned to an option with a secret's name.
pub(super) fn mask(sql: &str) -> String {
    let mut shown = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(start) = rest.find('\'') {
        let (before, literal) = rest.split_at(start);
        let end = literal_end(literal);
        shown.push_str(before);
        let name = shown.trim_end().strip_suffix('=').map(option_name).unwrap_or_default();
        if SECRET_WORDS.iter().any(|word| name.contains(word)) {
            shown.push_str(MASK);
        } else {
            shown.push_str(&literal[..end]);
        }
        rest = &literal[end..];
    }
    shown.push_str(rest);
    shown
}

/// Bytes of the literal that `text` starts with, both quotes included.
fn literal_end(text: &str) -> usize {
    let mut at = 1;
    while let Some(quote) = text[at..].find('\'') {
        at += quote + 1;
        if !text[at..].starts_with('\'') {
            return at;
        }
        at += 1;
    }
    text.len()
}

/// The last option name of a text that ends before `=`, lower case, whatever its quotes.
fn option_name(text: &str) -> String {
    let name: String = text.trim_end().chars().rev().take_while(|c| !matches!(c, '(' | ',' | '=')).collect();
    name.chars().rev().collect::<String>().to_ascii_lowercase()
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
        assert_eq!(mask("SELECT 'open"), "SELECT 'open");
    }
}
