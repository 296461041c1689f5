//! What a JSON value means for a declared type.
//!
//! | column | JSON |
//! |---|---|
//! | boolean | `true`, `false` |
//! | smallint, integer, bigint | a number without point and exponent |
//! | real, double precision | a number; the strings `NaN`, `Infinity`, `-Infinity` |
//! | numeric | a number or a string with one, exactly: more digits than the scale has are refused |
//! | varchar | a string; numbers and booleans are refused, not printed |
//! | bytea | a string: base64, or `\x` and hexadecimal digits |
//! | date, time, uuid | a string |
//! | timestamp, timestamptz | a string (`2024-01-01 00:00:00.123`, `2024-01-01T00:00:00.123Z`), or a number: milliseconds since 1970. Without an offset a timestamptz is UTC; a timestamp takes no offset but zero |
//! | jsonb, json | any value: in canonical form, and as it was written |
//! | array, struct | an array, an object |
//!
//! `null` is NULL for every type.

use super::scan::{Quoted, Scanned, Scanner, unescape};
use crate::formats::fault::Fault;
use crate::formats::node::{Kind, Node, decimal_fault, excerpt, out_of_range, shorten};

/// Reads the next value into `node`. A value of another type is stepped over and named in the fault.
#[inline]
pub(crate) fn read(scanner: &mut Scanner<'_>, node: &mut Node) -> Scanned<Result<(), Fault>> {
    let Some(first) = scanner.peek() else {
        return Err(scanner.unexpected("a value"));
    };
    match (first, &mut node.kind) {
        (b'n', _) => {
            scanner.word("null")?;
            Ok(null(node))
        }
        (b'"', Kind::Text) => {
            let string = scanner.string()?;
            if let Some(data) = node.column.begin_bytes() {
                if string.escaped {
                    unescape(string.raw, data);
                } else {
                    data.extend_from_slice(string.raw.as_bytes());
                }
                node.column.end_bytes();
            }
            Ok(Ok(()))
        }
        (_, Kind::Json { .. }) => {
            let start = scanner.at();
            scanner.skip()?;
            Ok(node.push_text(scanner.since(start)))
        }
        (b'-' | b'0'..=b'9', _) => number(scanner, node),
        (b'{', Kind::Struct(object)) => {
            let length = node.column.len();
            let result = object.read(scanner, length)?;
            if result.is_ok() {
                node.column.end_struct();
            }
            Ok(result)
        }
        (b'[', Kind::List(_)) => list(scanner, node),
        (b't', Kind::Boolean) => {
            scanner.word("true")?;
            node.column.push_bool(true);
            Ok(Ok(()))
        }
        (b'f', Kind::Boolean) => {
            scanner.word("false")?;
            node.column.push_bool(false);
            Ok(Ok(()))
        }
        (b'"', _) => {
            let string = scanner.string()?;
            Ok(string_value(string, node))
        }
        (_, _) => mismatch(scanner, node),
    }
}

#[inline]
fn null(node: &mut Node) -> Result<(), Fault> {
    if node.nullable {
        node.push_null();
        Ok(())
    } else {
        Err(Fault::not_null("the field is null"))
    }
}

#[inline]
fn number(scanner: &mut Scanner<'_>, node: &mut Node) -> Scanned<Result<(), Fault>> {
    let start = scanner.at();
    let number = scanner.number()?;
    match &node.kind {
        Kind::Integer { lowest, highest } => match number.integer {
            Some(value) if (*lowest..=*highest).contains(&value) => node.column.push_integer(value),
            _ if number.whole => return Ok(Err(out_of_range(number.text, &node.sql_type))),
            _ => return Ok(Err(wrong(node, "", &shorten(number.text)))),
        },
        // Integers up to 53 bits are exact; minus zero keeps its sign only through the text.
        Kind::Double => match number.integer {
            Some(value) if value != 0 && value.unsigned_abs() <= 1 << 53 => node.column.push_float(value as f64),
            _ => return Ok(node.push_text(number.text)),
        },
        Kind::Real => return Ok(node.push_text(number.text)),
        Kind::Decimal { precision, scale } => {
            let digits = crate::formats::text::decimal(number.text, *precision, *scale);
            match digits {
                Ok(digits) => node.column.push_decimal(digits),
                Err(fault) => return Ok(Err(decimal_fault(fault, number.text, &node.sql_type, *scale))),
            }
        }
        Kind::Timestamp { .. } => match number.integer.and_then(|millis| millis.checked_mul(1_000)) {
            Some(micros) => node.column.push_integer(micros),
            None if number.whole => return Ok(Err(out_of_range(number.text, &node.sql_type))),
            None => return Ok(Err(wrong(node, "milliseconds, which must be whole: ", &shorten(number.text)))),
        },
        Kind::Boolean | Kind::Text | Kind::Json { .. } | Kind::Bytes | Kind::Uuid | Kind::Date | Kind::Time => {
            return Ok(Err(wrong(node, "number ", &shorten(number.text))));
        }
        Kind::List(_) | Kind::Struct(_) => {
            scanner.back_to(start);
            return mismatch(scanner, node);
        }
    }
    Ok(Ok(()))
}

/// A string where the type is not text.
fn string_value(string: Quoted<'_>, node: &mut Node) -> Result<(), Fault> {
    let mut unescaped = Vec::new();
    let text = if string.escaped {
        unescape(string.raw, &mut unescaped);
        std::str::from_utf8(&unescaped).expect("an unescaped string is UTF-8")
    } else {
        string.raw
    };
    match &node.kind {
        Kind::Decimal { .. } | Kind::Bytes | Kind::Uuid | Kind::Date | Kind::Time | Kind::Timestamp { .. } => {
            node.push_text(text)
        }
        Kind::Real | Kind::Double if matches!(text, "NaN" | "Infinity" | "-Infinity") => node.push_text(text),
        Kind::Boolean | Kind::Integer { .. } | Kind::Real | Kind::Double | Kind::Text | Kind::Json { .. } => {
            Err(wrong(node, "string ", &excerpt(text)))
        }
        Kind::List(_) | Kind::Struct(_) => Err(wrong(node, "string ", &excerpt(text))),
    }
}

fn list(scanner: &mut Scanner<'_>, node: &mut Node) -> Scanned<Result<(), Fault>> {
    let Kind::List(element) = &mut node.kind else { unreachable!("asked for lists only") };
    scanner.enter()?;
    let mut fault = None;
    let mut ordinal = 1;
    if !scanner.take_close(b']') {
        loop {
            if let Err(found) = read(scanner, element)?
                && fault.is_none()
            {
                fault = Some(found.in_element(ordinal));
            }
            ordinal += 1;
            if !scanner.another(b']')? {
                break;
            }
        }
    }
    match fault {
        Some(fault) => Ok(Err(fault)),
        None => {
            node.column.end_list(element.column.len());
            Ok(Ok(()))
        }
    }
}

/// Steps over a value of the wrong type and says so.
#[cold]
fn mismatch(scanner: &mut Scanner<'_>, node: &Node) -> Scanned<Result<(), Fault>> {
    let start = scanner.at();
    scanner.skip()?;
    let found = scanner.since(start);
    let article = match found.as_bytes()[0] {
        b'{' => "object ",
        b'[' => "array ",
        b'"' => "string ",
        b't' | b'f' => "boolean ",
        _ => "number ",
    };
    Ok(Err(wrong(node, article, &shorten(found))))
}

fn wrong(node: &Node, what: &str, found: &str) -> Fault {
    Fault::value(format!("expected {}, got {what}{found}", node.sql_type))
}
