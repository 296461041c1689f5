//! Containment, existence and the order of `jsonb`.

use millstream_runtime::jsonb::{self, Json, Kind};

/// Whether `left` contains `right` (`@>`).
pub(super) fn contains(left: &Json, right: &Json) -> bool {
    match (left, right) {
        // Only at the top an array contains a scalar.
        (Json::Array(items), scalar) if is_scalar(scalar) => items.iter().any(|item| equal(item, scalar)),
        _ => contains_alike(left, right),
    }
}

fn contains_alike(left: &Json, right: &Json) -> bool {
    match (left, right) {
        (Json::Object(left), Json::Object(right)) => right.iter().all(|(key, wanted)| {
            left.iter().find(|(name, _)| name == key).is_some_and(|(_, found)| contains_alike(found, wanted))
        }),
        (Json::Array(left), Json::Array(right)) => right.iter().all(|wanted| match is_scalar(wanted) {
            true => left.iter().any(|found| equal(found, wanted)),
            false => left.iter().any(|found| contains_alike(found, wanted)),
        }),
        (left, right) => is_scalar(left) && is_scalar(right) && equal(left, right),
    }
}

fn is_scalar(value: &Json) -> bool {
    !matches!(value, Json::Array(_) | Json::Object(_))
}

fn equal(left: &Json, right: &Json) -> bool {
    match (left, right) {
        (Json::Number(left), Json::Number(right)) => number_key(left) == number_key(right),
        (left, right) => left == right,
    }
}

/// Whether a text is a key of an object, a string of an array, or the string itself (`?`).
pub(super) fn has_key(text: &str, key: &str) -> bool {
    match jsonb::kind(text) {
        Kind::Object => jsonb::member(text, key).is_some(),
        Kind::Array => match jsonb::parse(text) {
            Ok(Json::Array(items)) => items.iter().any(|item| matches!(item, Json::Text(text) if text == key)),
            _ => false,
        },
        Kind::Text => jsonb::text_of(text).as_deref() == Some(key),
        Kind::Null | Kind::Bool | Kind::Number => false,
    }
}

/// Bytes that are ordered as Postgres orders `jsonb`: objects above arrays above booleans above numbers above strings
/// above null, an empty array at the top below all; containers by their size first.
pub(super) fn sort_key(value: &Json) -> Vec<u8> {
    let mut key = Vec::new();
    match value {
        Json::Array(items) if items.is_empty() => key.push(0),
        value => put_key(value, &mut key),
    }
    key
}

fn put_key(value: &Json, key: &mut Vec<u8>) {
    match value {
        Json::Null => key.push(1),
        Json::Text(text) => {
            key.push(2);
            put_text(text, key);
        }
        Json::Number(digits) => {
            key.push(3);
            key.extend(number_key(digits));
        }
        Json::Bool(value) => key.extend([4, u8::from(*value)]),
        Json::Array(items) => {
            key.push(5);
            put_count(items.len(), key);
            items.iter().for_each(|item| put_key(item, key));
        }
        Json::Object(members) => {
            key.push(6);
            put_count(members.len(), key);
            for (name, value) in members {
                put_count(name.len(), key);
                key.extend_from_slice(name.as_bytes());
                put_key(value, key);
            }
        }
    }
}

fn put_count(count: usize, key: &mut Vec<u8>) {
    key.extend_from_slice(&(count as u64).to_be_bytes());
}

/// JSON's strings hold no byte 0 here, so that it can end them.
fn put_text(text: &str, key: &mut Vec<u8>) {
    key.extend_from_slice(text.as_bytes());
    key.push(0);
}

/// A number as bytes that are ordered as numbers are, equal for equal ones: the sign, where the first digit stands, and
/// the digits up to the last that is not zero.
fn number_key(text: &str) -> Vec<u8> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    let Some(first) = all.iter().position(|digit| *digit != b'0') else { return vec![0x80] };
    let last = all.iter().rposition(|digit| *digit != b'0').unwrap_or(first);
    let exponent = whole.len() as i32 - first as i32;
    let mut key = (exponent.wrapping_sub(i32::MIN) as u32).to_be_bytes().to_vec();
    key.extend_from_slice(&all[first..=last]);
    key.push(0);
    if negative {
        key.iter_mut().for_each(|byte| *byte = !*byte);
    }
    key.insert(0, if negative { 0x40 } else { 0xc0 });
    key
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(text: &str) -> Json {
        jsonb::parse(text).unwrap()
    }

    #[test]
    fn the_order_is_that_of_postgres() {
        let rising = [
            "[]",
            "null",
            "\"\"",
            "\"a\"",
            "\"ab\"",
            "\"b\"",
            "-100",
            "-12",
            "-1.5",
            "-1",
            "-0.01",
            "0",
            "0.001",
            "0.01",
            "1",
            "1.5",
            "9",
            "10",
            "100",
            "false",
            "true",
            "[1]",
            "[2]",
            "[1, 1]",
            "{}",
            "{\"a\": 1}",
            "{\"a\": 2}",
            "{\"b\": 1}",
            "{\"aa\": 1}",
            "{\"a\": 1, \"b\": 1}",
        ];
        for pair in rising.windows(2) {
            assert!(sort_key(&parse(pair[0])) < sort_key(&parse(pair[1])), "{} < {}", pair[0], pair[1]);
        }
        for (left, right) in [("1", "1.00"), ("0", "0.000"), ("[1.0]", "[1]"), ("-2.50", "-2.5")] {
            assert_eq!(sort_key(&parse(left)), sort_key(&parse(right)), "{left} = {right}");
        }
    }

    #[test]
    fn containment_is_that_of_postgres() {
        for (left, right, expected) in [
            (r#"{"a":1,"b":2}"#, r#"{"b":2}"#, true),
            (r#"{"a":1,"b":2}"#, r#"{"b":3}"#, false),
            ("[1,2,3]", "[3,1,1]", true),
            ("[1,2,[1,3]]", "[1,3]", false),
            ("[1,2,[1,3]]", "[[1,3]]", true),
            (r#"["foo","bar"]"#, r#""bar""#, true),
            (r#""bar""#, r#"["bar"]"#, false),
            (r#"{"foo":{"bar":"baz"}}"#, r#"{"bar":"baz"}"#, false),
            (r#"{"foo":{"bar":"baz"}}"#, r#"{"foo":{}}"#, true),
            ("1", "1.0", true),
            ("{}", "[]", false),
            (r#"[{"a":1,"b":2}]"#, r#"[{"a":1}]"#, true),
            (r#"{"a":["x"]}"#, r#"{"a":"x"}"#, false),
        ] {
            assert_eq!(contains(&parse(left), &parse(right)), expected, "{left} @> {right}");
        }
    }
}
