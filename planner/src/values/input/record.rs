//! Composite values as Postgres writes them: `(1,"a b",)`, where nothing between two commas is NULL.

use super::errors;
use crate::error::{PlanError, Result};

/// The texts of the fields, as many as the type has.
pub fn record(text: &str, fields: usize) -> Result<Vec<Option<String>>> {
    let wrong =
        |detail: &str| -> PlanError { errors::malformed(format!("malformed record literal: \"{text}\""), detail) };
    let inner = text.trim_ascii().strip_prefix('(').ok_or_else(|| wrong("Missing left parenthesis."))?;
    let mut characters = inner.chars();
    let mut found = Vec::new();
    let mut field = String::new();
    // An empty field is NULL unless something was quoted in it.
    let (mut quoted, mut in_quotes) = (false, false);
    loop {
        let character = characters.next().ok_or_else(|| wrong("Unexpected end of input."))?;
        match character {
            '\\' => field.push(characters.next().ok_or_else(|| wrong("Unexpected end of input."))?),
            '"' if in_quotes && characters.as_str().starts_with('"') => {
                characters.next();
                field.push('"');
            }
            '"' => (quoted, in_quotes) = (true, !in_quotes),
            other if in_quotes => field.push(other),
            ',' | ')' => {
                let ended = std::mem::take(&mut field);
                found.push(if ended.is_empty() && !quoted { None } else { Some(ended) });
                quoted = false;
                if character == ')' {
                    break;
                }
            }
            other => field.push(other),
        }
    }
    if !characters.as_str().trim_ascii().is_empty() {
        return Err(wrong("Junk after right parenthesis."));
    }
    match found.len() {
        count if count < fields => Err(wrong("Too few columns.")),
        count if count > fields => Err(wrong("Too many columns.")),
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fields_are_cut_as_postgres_cuts_them() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(record("(1,,\"\",a b)", 4).unwrap(), [some("1"), None, some(""), some("a b")]);
        assert_eq!(record(" (\"a \"\"b\"\" \\\\\",\"(x,y)\") ", 2).unwrap(), [some("a \"b\" \\"), some("(x,y)")]);
        for wrong in ["", "1,2", "(1,2", "(1)", "(1,2,3)", "(1,2) x", "(\"1,2)"] {
            assert_eq!(errors::sqlstate(&record(wrong, 2).unwrap_err()), "22P02", "{wrong}");
        }
    }
}
