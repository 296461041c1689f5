//! Defaults as Postgres shows them: the user's own text, where a constant stands in it with its type.
//!
//! Postgres keeps a default as an expression and writes text anew from it. Drivers read the text back: they look for
//! `'x'::text` to tell a constant from a call. What is no lone constant stays as the user wrote it.

use super::sql::types::Type;

/// The text of a default of a column of this type.
pub(super) fn shown(expression: &str, type_oid: u32) -> String {
    let text = expression.trim();
    let lower = text.to_ascii_lowercase();
    if is_one_literal(text) {
        return match Type::of_oid(type_oid) {
            Some(ty) => format!("{text}::{}", ty.sql_name()),
            None => text.to_owned(),
        };
    }
    match text.strip_prefix('-') {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("'{text}'::{}", type_of_integer(digits))
        }
        _ if lower == "true" || lower == "false" => lower,
        _ => text.to_owned(),
    }
}

/// The type that an integer of so many digits has in SQL, before it is turned into the column's.
fn type_of_integer(digits: &str) -> &'static str {
    let value = format!("-{digits}");
    match (value.parse::<i32>(), value.parse::<i64>()) {
        (Ok(_), _) => "integer",
        (_, Ok(_)) => "bigint",
        _ => "numeric",
    }
}

/// Whether the text is one string between quotes and nothing else.
fn is_one_literal(text: &str) -> bool {
    let inner = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    inner.is_some_and(|inner| !inner.replace("''", "").contains('\''))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Postgres 15 shows for the same defaults.
    #[test]
    fn constants_are_shown_with_their_type() {
        for (written, type_oid, expected) in [
            ("'it''s'", 25, "'it''s'::text"),
            ("'x'", 1043, "'x'::character varying"),
            ("'2026-01-01'", 1082, "'2026-01-01'::date"),
            ("'{}'", 1009, "'{}'::text[]"),
            ("5", 20, "5"),
            ("-5", 23, "'-5'::integer"),
            ("-5", 20, "'-5'::integer"),
            ("-3000000000", 20, "'-3000000000'::bigint"),
            ("TRUE", 16, "true"),
            ("now()", 1184, "now()"),
            ("'a' || 'b'", 25, "'a' || 'b'"),
            ("'a'::text", 25, "'a'::text"),
        ] {
            assert_eq!(shown(written, type_oid), expected, "{written}");
        }
    }
}
