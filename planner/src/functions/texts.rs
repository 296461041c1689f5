//! Functions of texts and bytes that DataFusion lacks, or takes otherwise than Postgres.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, Int32Array, ListBuilder, StringBuilder};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ScalarUDF;
use regex::Regex;

use super::bounded::Budget;
use super::forms::{Form, Gives, Takes, form, function, variadic};
use crate::bind::refuse;
use crate::error::PlanErrorKind;
use crate::words;

/// Characters of a line of base64.
const LINE: usize = 76;

const LENGTH: &[Form] = &[
    form(&[Takes::Text], Gives::Int, |columns, _, _| Ok(counted(columns[0].as_string::<i32>().iter(), characters))),
    form(&[Takes::Bytes], Gives::Int, |columns, _, _| Ok(counted(columns[0].as_binary::<i32>().iter(), <[u8]>::len))),
];
const ENCODE: &[Form] = &[
    form(&[Takes::Bytes, Takes::Text], Gives::Text, |columns, _, rows| {
        texts(columns, rows, |row| encoded(columns[0].as_binary::<i32>().value(row), text(&columns[1], row)).map(Some))
    }),
    form(&[Takes::Text, Takes::Text], Gives::Text, |columns, _, rows| {
        texts(columns, rows, |row| encoded(text(&columns[0], row).as_bytes(), text(&columns[1], row)).map(Some))
    }),
];
const DECODE: &[Form] = &[form(&[Takes::Text, Takes::Text], Gives::Bytes, |columns, _, rows| {
    bytes(columns, rows, |row| decoded(text(&columns[0], row), text(&columns[1], row)))
})];
const TO_HEX: &[Form] = &[
    form(&[Takes::Int], Gives::Text, |columns, _, rows| {
        texts(columns, rows, |row| Ok(Some(format!("{:x}", columns[0].as_primitive::<Int32Type>().value(row)))))
    }),
    form(&[Takes::Bigint], Gives::Text, |columns, _, rows| {
        texts(columns, rows, |row| Ok(Some(format!("{:x}", columns[0].as_primitive::<Int64Type>().value(row)))))
    }),
];
const QUOTE_IDENT: &[Form] = &[form(&[Takes::Text], Gives::Text, |columns, _, rows| {
    texts(columns, rows, |row| Ok(Some(as_identifier(text(&columns[0], row)))))
})];
const QUOTE_LITERAL: &[Form] = &[form(&[Takes::Text], Gives::Text, |columns, _, rows| {
    texts(columns, rows, |row| Ok(Some(as_literal(text(&columns[0], row)))))
})];
const QUOTE_NULLABLE: &[Form] = &[form(&[Takes::Text], Gives::Text, |columns, _, rows| {
    let quoted = |row| if columns[0].is_null(row) { "NULL".to_string() } else { as_literal(text(&columns[0], row)) };
    Ok(Arc::new((0..rows).map(|row| Some(quoted(row))).collect::<arrow::array::StringArray>()))
})];
const FORMAT: &[Form] = &[variadic(&[Takes::Text, Takes::Text], Gives::Text, format_rows)];
const CONVERT_FROM: &[Form] = &[form(&[Takes::Bytes, Takes::Text], Gives::Text, |columns, _, rows| {
    texts(columns, rows, |row| from_utf8(columns[0].as_binary::<i32>().value(row), text(&columns[1], row)).map(Some))
})];
const CONVERT_TO: &[Form] = &[form(&[Takes::Text, Takes::Text], Gives::Bytes, |columns, _, rows| {
    bytes(columns, rows, |row| {
        must_be_utf8("destination", text(&columns[1], row))?;
        Ok(text(&columns[0], row).as_bytes().to_vec())
    })
})];
const GET_BYTE: &[Form] = &[form(&[Takes::Bytes, Takes::Bigint], Gives::Int, |columns, _, rows| {
    let places = columns[1].as_primitive::<Int64Type>();
    let found = (0..rows).map(|row| {
        if !given(columns, row) {
            return Ok(None);
        }
        let (bytes, place) = (columns[0].as_binary::<i32>().value(row), places.value(row));
        let found = usize::try_from(place).ok().and_then(|place| bytes.get(place)).map(|byte| i32::from(*byte));
        found.map(Some).ok_or_else(|| {
            let last = bytes.len() as i64 - 1;
            refuse(PlanErrorKind::InvalidParameterValue, format!("index {place} out of valid range, 0..{last}"))
        })
    });
    Ok(Arc::new(found.collect::<Result<Int32Array>>()?))
})];
const SUBSTRING: &[Form] = &[form(&[Takes::Text, Takes::Text], Gives::Text, |columns, _, rows| {
    let mut patterns = Patterns::default();
    texts(columns, rows, |row| {
        let found = patterns.get(text(&columns[1], row))?.captures(text(&columns[0], row));
        Ok(found.and_then(|found| found.get(usize::from(found.len() > 1)).map(|part| part.as_str().to_string())))
    })
})];
const REGEXP_SUBSTR: &[Form] = &[form(&[Takes::Text, Takes::Text], Gives::Text, |columns, _, rows| {
    let mut patterns = Patterns::default();
    texts(columns, rows, |row| {
        let found = patterns.get(text(&columns[1], row))?.find(text(&columns[0], row));
        Ok(found.map(|found| found.as_str().to_string()))
    })
})];
const SPLIT: &[Form] = &[form(&[Takes::Text, Takes::Text], Gives::Texts, |columns, _, rows| {
    let (mut patterns, mut parts) = (Patterns::default(), ListBuilder::new(StringBuilder::new()));
    for row in 0..rows {
        if given(columns, row) {
            split(patterns.get(text(&columns[1], row))?, text(&columns[0], row), parts.values());
        }
        parts.append(given(columns, row));
    }
    Ok(Arc::new(parts.finish()))
})];
const NULLS: &[Form] = &[variadic(&[Takes::Anything], Gives::Int, |columns, _, rows| Ok(nulls(columns, rows, true)))];
const NON_NULLS: &[Form] =
    &[variadic(&[Takes::Anything], Gives::Int, |columns, _, rows| Ok(nulls(columns, rows, false)))];

/// All of them.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![
        function("character_length", &["length", "char_length"], LENGTH),
        function("encode", &[], ENCODE),
        function("decode", &[], DECODE),
        function("to_hex", &[], TO_HEX),
        function("quote_ident", &[], QUOTE_IDENT),
        function("quote_literal", &[], QUOTE_LITERAL),
        function("quote_nullable", &[], QUOTE_NULLABLE),
        function("format", &[], FORMAT),
        function("convert_from", &[], CONVERT_FROM),
        function("convert_to", &[], CONVERT_TO),
        function("get_byte", &[], GET_BYTE),
        function("substring", &[], SUBSTRING),
        function("regexp_substr", &[], REGEXP_SUBSTR),
        function("regexp_split_to_array", &[], SPLIT),
        function("num_nulls", &[], NULLS),
        function("num_nonnulls", &[], NON_NULLS),
    ]
}

fn text(column: &ArrayRef, row: usize) -> &str {
    column.as_string::<i32>().value(row)
}

/// Whether no argument of a row is NULL.
fn given(columns: &[ArrayRef], row: usize) -> bool {
    columns.iter().all(|column| !column.is_null(row))
}

fn texts(
    columns: &[ArrayRef],
    rows: usize,
    mut value: impl FnMut(usize) -> Result<Option<String>>,
) -> Result<ArrayRef> {
    let mut texts = StringBuilder::new();
    for row in 0..rows {
        texts.append_option(if given(columns, row) { value(row)? } else { None });
    }
    Ok(Arc::new(texts.finish()))
}

fn bytes(columns: &[ArrayRef], rows: usize, value: impl Fn(usize) -> Result<Vec<u8>>) -> Result<ArrayRef> {
    let mut values = BinaryBuilder::new();
    for row in 0..rows {
        values.append_option(if given(columns, row) { Some(value(row)?) } else { None });
    }
    Ok(Arc::new(values.finish()))
}

fn counted<T: ?Sized>(
    values: impl Iterator<Item = Option<impl std::ops::Deref<Target = T>>>,
    count: fn(&T) -> usize,
) -> ArrayRef {
    let counts = values.map(|value| value.map(|value| i32::try_from(count(&value)).unwrap_or(i32::MAX)));
    Arc::new(counts.collect::<Int32Array>())
}

fn characters(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

fn nulls(columns: &[ArrayRef], rows: usize, null: bool) -> ArrayRef {
    let is_null = |column: &ArrayRef, row| column.data_type().is_null() || column.is_null(row);
    let count = |row: usize| columns.iter().filter(|column| is_null(column, row) == null).count();
    Arc::new((0..rows).map(|row| i32::try_from(count(row)).ok()).collect::<Int32Array>())
}

fn unknown_encoding(name: &str) -> DataFusionError {
    refuse(PlanErrorKind::InvalidParameterValue, format!("unrecognized encoding: \"{name}\""))
}

fn encoded(bytes: &[u8], format: &str) -> Result<String> {
    match format.to_ascii_lowercase().as_str() {
        "hex" => Ok(bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })),
        "base64" => {
            let whole = STANDARD.encode(bytes);
            let lines = whole.as_bytes().chunks(LINE).map(|line| String::from_utf8_lossy(line).into_owned());
            Ok(lines.collect::<Vec<_>>().join("\n"))
        }
        "escape" => Ok(bytes.iter().fold(String::with_capacity(bytes.len()), |mut text, byte| {
            match byte {
                b'\\' => text.push_str("\\\\"),
                0 | 0x80.. => {
                    let _ = write!(text, "\\{byte:03o}");
                }
                byte => text.push(char::from(*byte)),
            }
            text
        })),
        _ => Err(unknown_encoding(format)),
    }
}

fn decoded(text: &str, format: &str) -> Result<Vec<u8>> {
    let invalid = |what: &str| refuse(PlanErrorKind::InvalidParameterValue, what.to_string());
    let dense = || text.chars().filter(|letter| !letter.is_ascii_whitespace()).collect::<String>();
    match format.to_ascii_lowercase().as_str() {
        "hex" => {
            let digits = dense();
            if let Some(wrong) = digits.chars().find(|digit| !digit.is_ascii_hexdigit()) {
                return Err(invalid(&format!("invalid hexadecimal digit: \"{wrong}\"")));
            }
            if digits.len() % 2 == 1 {
                return Err(invalid("invalid hexadecimal data: odd number of digits"));
            }
            let nibble = |digit: u8| char::from(digit).to_digit(16).map_or(0, |digit| digit as u8);
            Ok(digits.as_bytes().chunks(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])).collect())
        }
        "base64" => STANDARD.decode(dense()).map_err(|error| match error {
            base64::DecodeError::InvalidByte(place, _) => {
                let symbol = dense().chars().nth(place).unwrap_or('=');
                invalid(&format!("invalid symbol \"{symbol}\" found while decoding base64 sequence"))
            }
            _ => invalid("invalid base64 end sequence"),
        }),
        "escape" => crate::values::input::bytea(text).map_err(|error| DataFusionError::External(Box::new(error))),
        _ => Err(unknown_encoding(format)),
    }
}

fn must_be_utf8(side: &str, name: &str) -> Result<()> {
    match name.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
        "utf8" | "unicode" => Ok(()),
        _ => Err(refuse(PlanErrorKind::InvalidParameterValue, format!("invalid {side} encoding name \"{name}\""))),
    }
}

fn from_utf8(bytes: &[u8], name: &str) -> Result<String> {
    must_be_utf8("source", name)?;
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text.to_string()),
        Ok(_) => {
            Err(refuse(PlanErrorKind::CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\": 0x00"))
        }
        Err(error) => {
            let byte = bytes[error.valid_up_to()];
            let message = format!("invalid byte sequence for encoding \"UTF8\": 0x{byte:02x}");
            Err(refuse(PlanErrorKind::CharacterNotInRepertoire, message))
        }
    }
}

/// A name as SQL has to write it.
fn as_identifier(name: &str) -> String {
    let plain = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
    let upper = name.to_ascii_uppercase();
    let word = sqlparser::keywords::ALL_KEYWORDS.binary_search(&upper.as_str()).ok();
    let word = word.map(|place| sqlparser::keywords::ALL_KEYWORDS_INDEX[place]);
    let reserved = word.is_some_and(|word| {
        sqlparser::keywords::RESERVED_FOR_COLUMN_ALIAS.contains(&word)
            || sqlparser::keywords::RESERVED_FOR_TABLE_ALIAS.contains(&word)
    });
    if plain && !reserved { name.to_string() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// A text as SQL has to write it.
fn as_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

fn format_rows(columns: &[ArrayRef], _: &DataType, rows: usize) -> Result<ArrayRef> {
    let (mut texts, mut budget) = (StringBuilder::new(), Budget::default());
    for row in 0..rows {
        if columns[0].is_null(row) {
            texts.append_null();
            continue;
        }
        let arguments: Vec<Option<&str>> =
            columns[1..].iter().map(|column| (!column.is_null(row)).then(|| text(column, row))).collect();
        texts.append_value(formatted(text(&columns[0], row), &arguments, &mut budget)?);
    }
    Ok(Arc::new(texts.finish()))
}

/// What stands between `%` and the letter of a specifier.
#[derive(Default)]
struct Specifier {
    /// Which argument; the next one where none is named.
    argument: Option<usize>,
    left: bool,
    width: usize,
}

/// `format(text, ...)`: `%s`, `%I`, `%L` and `%%`, each with an optional place (`1$`), `-` and width.
fn formatted(pattern: &str, arguments: &[Option<&str>], budget: &mut Budget) -> Result<String> {
    let invalid = |message: String| Err(refuse(PlanErrorKind::InvalidParameterValue, message));
    let mut text = String::with_capacity(pattern.len());
    let mut rest = pattern.chars().peekable();
    let mut next = 0;
    while let Some(letter) = rest.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        if rest.next_if_eq(&'%').is_some() {
            text.push('%');
            continue;
        }
        let specifier = specifier(&mut rest, &mut next, arguments)?;
        let Some(kind) = rest.next() else { return invalid("unterminated format() type specifier".to_string()) };
        if !matches!(kind, 's' | 'I' | 'L') {
            return invalid(format!("unrecognized format() type specifier \"{kind}\""));
        }
        let place = specifier.argument.unwrap_or(next);
        next = place + 1;
        let Some(argument) = arguments.get(place) else {
            return invalid("too few arguments for format()".to_string());
        };
        let value = match (kind, argument) {
            ('s', argument) => argument.unwrap_or_default().to_string(),
            ('I', Some(name)) => as_identifier(name),
            ('I', None) => return invalid("null values cannot be formatted as an SQL identifier".to_string()),
            (_, Some(value)) => as_literal(value),
            (_, None) => "NULL".to_string(),
        };
        let missing = specifier.width.saturating_sub(characters(&value));
        budget.take((value.len() + missing) as u64)?;
        let blanks = " ".repeat(missing);
        let (before, behind) = if specifier.left { ("", blanks.as_str()) } else { (blanks.as_str(), "") };
        text.extend([before, &value, behind]);
    }
    Ok(text)
}

/// Longest width of a value that `format` fills up with blanks.
const WIDTH_MAX: usize = 1_000_000;

fn specifier(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    next: &mut usize,
    arguments: &[Option<&str>],
) -> Result<Specifier> {
    let invalid = |message: &str| refuse(PlanErrorKind::InvalidParameterValue, message.to_string());
    let number = |rest: &mut std::iter::Peekable<std::str::Chars<'_>>| -> Result<Option<usize>> {
        let mut value: Option<usize> = None;
        while let Some(digit) = rest.next_if(char::is_ascii_digit) {
            let digit = digit.to_digit(10).map_or(0, |digit| digit as usize);
            let grown = value.unwrap_or(0) * 10 + digit;
            if grown > WIDTH_MAX {
                return Err(invalid("number is out of range"));
            }
            value = Some(grown);
        }
        Ok(value)
    };
    let mut specifier = Specifier::default();
    let first = number(rest)?;
    let mut width = first;
    if let (Some(place), true) = (first, rest.next_if_eq(&'$').is_some()) {
        let place = place.checked_sub(1);
        specifier.argument =
            Some(place.ok_or_else(|| invalid("format specifies argument 0, but arguments are numbered from 1"))?);
        width = None;
    }
    while rest.next_if_eq(&'-').is_some() {
        specifier.left = true;
    }
    if width.is_none() {
        width = number(rest)?;
    }
    if width.is_none() && rest.next_if_eq(&'*').is_some() {
        let argument = arguments.get(*next).ok_or_else(|| invalid("too few arguments for format()"))?;
        *next += 1;
        let given: i64 = argument.map_or(Ok(0), str::parse).map_err(|_| invalid("number is out of range"))?;
        specifier.left |= given < 0;
        let given = usize::try_from(given.unsigned_abs()).ok().filter(|given| *given <= WIDTH_MAX);
        width = Some(given.ok_or_else(|| invalid("number is out of range"))?);
    }
    specifier.width = width.unwrap_or(0);
    Ok(specifier)
}

/// Regular expressions, the last one kept: mostly all rows have the same.
#[derive(Default)]
struct Patterns {
    last: Option<(String, Regex)>,
}

impl Patterns {
    fn get(&mut self, pattern: &str) -> Result<&Regex> {
        if self.last.as_ref().is_none_or(|(known, _)| known != pattern) {
            let regex = Regex::new(pattern).map_err(|error| match words::failure(&error.to_string()) {
                Some(error) => DataFusionError::External(Box::new(error)),
                None => refuse(PlanErrorKind::InvalidRegularExpression, "invalid regular expression"),
            })?;
            self.last = Some((pattern.to_string(), regex));
        }
        match &self.last {
            Some((_, regex)) => Ok(regex),
            None => Err(DataFusionError::Internal("the pattern was kept".to_string())),
        }
    }
}

/// The parts between matches. A match without length splits between two characters, not at the ends.
fn split(pattern: &Regex, text: &str, parts: &mut StringBuilder) {
    let mut start = 0;
    for found in pattern.find_iter(text) {
        let nothing = found.is_empty() && (found.start() == start || found.start() == text.len());
        if !nothing {
            parts.append_value(&text[start..found.start()]);
            start = found.end();
        }
    }
    parts.append_value(&text[start..]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn formats_are_filled_in() {
        let arguments = [Some("a"), Some("B c"), Some("d'e\\"), None, Some("-5")];
        let all =
            |pattern: &str| formatted(pattern, &arguments, &mut Budget::default()).map_err(|error| error.to_string());
        assert_eq!(all("%s %I %L %L%%").unwrap(), "a \"B c\" E'd''e\\\\' NULL%");
        assert_eq!(all("%3$s|%1$s|%s").unwrap(), "d'e\\|a|B c");
        assert_eq!(all("|%5s|%-5s|%4$s|").unwrap(), "|    a|B c  ||");
        let widths = [Some("3"), Some("x"), Some("2"), Some("y")];
        assert_eq!(formatted("|%*s|%-*s|", &widths, &mut Budget::default()).unwrap(), "|  x|y |");
        let wide = formatted(&"%1$1000000s".repeat(2000), &[Some("x")], &mut Budget::default());
        assert!(wide.unwrap_err().to_string().contains("requested length too large"));
        assert!(all("%*s").unwrap_err().contains("out of range"), "a is no width");
        assert!(all("%s%s%s%s%s%s").unwrap_err().contains("too few arguments"));
        assert!(all("%d").unwrap_err().contains("unrecognized format() type specifier \"d\""));
        assert!(all("%").unwrap_err().contains("unterminated"));
        assert!(all("%4$I").unwrap_err().contains("null values"));
    }

    #[test]
    fn texts_are_split_as_postgres_splits() {
        let parts = |pattern: &str, text: &str| {
            let mut parts = StringBuilder::new();
            split(&Regex::new(pattern).unwrap(), text, &mut parts);
            parts.finish().iter().map(|part| part.unwrap().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(parts(r"\s+", "hello  big world"), ["hello", "big", "world"]);
        assert_eq!(parts(r"\s*", "a b c"), ["a", "b", "c"]);
        assert_eq!(parts(",", ",a,"), ["", "a", ""]);
        assert_eq!(parts("x", ""), [""]);
        assert_eq!(parts("", "abc"), ["a", "b", "c"]);
    }

    #[test]
    fn bytes_go_into_texts_and_back() {
        let bytes = [0_u8, b'a', b'\\', 0xff];
        for (format, text) in [("hex", "00615cff"), ("base64", "AGFc/w=="), ("escape", "\\000a\\\\\\377")] {
            assert_eq!(encoded(&bytes, format).unwrap(), text);
            assert_eq!(decoded(text, format).unwrap(), bytes);
        }
        assert_eq!(encoded(&[0; 60], "base64").unwrap().lines().map(str::len).collect::<Vec<_>>(), [76, 4]);
        assert!(decoded("0", "hex").is_err() && decoded("0g", "hex").is_err() && decoded("a", "base64").is_err());
        assert!(encoded(&bytes, "base32").is_err());
    }
}
