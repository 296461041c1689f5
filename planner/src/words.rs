//! How Postgres words what expressions fail on: DataFusion and Arrow have words of their own, which name types as Arrow
//! does. Both who plans and who runs a statement ask here.

use crate::error::{PlanError, PlanErrorKind};

/// The error that Postgres has for such a message; `None` where it says nothing that we know.
pub fn failure(message: &str) -> Option<PlanError> {
    out_of_range(message)
        .or_else(|| regular_expression(message))
        .or_else(|| encoding(message))
        .or_else(|| unit(message))
        .or_else(|| series(message))
        .or_else(|| rows(message))
}

/// A query of one row that has more.
fn rows(message: &str) -> Option<PlanError> {
    let several = message.to_ascii_lowercase().contains("scalar subquery returned more than one row");
    several.then(|| {
        let message = "more than one row returned by a subquery used as an expression";
        PlanError::new(PlanErrorKind::CardinalityViolation, message)
    })
}

/// What a series can't do.
fn series(message: &str) -> Option<PlanError> {
    let lower = message.to_ascii_lowercase();
    if lower.contains("step can't be 0 for function generate_series") {
        return Some(PlanError::new(PlanErrorKind::InvalidParameterValue, "step size cannot equal zero"));
    }
    lower.contains("unnest should be rewritten to logicalplan::unnest").then(|| {
        PlanError::unsupported("set-returning functions are not allowed within aggregates and conditions")
            .with_hint("Put it into FROM, or into the select list of a subquery.")
    })
}

/// A number that does not fit its type.
fn out_of_range(message: &str) -> Option<PlanError> {
    let of_type = |name: &str| {
        let name = match name.trim_end_matches("Array") {
            "Int16" => "smallint",
            "Int32" => "integer",
            "Int64" => "bigint",
            _ => return None,
        };
        Some(PlanError::new(PlanErrorKind::NumericValueOutOfRange, format!("{name} out of range")))
    };
    let word_behind = |marker: &str| message.split_once(marker)?.1.split([' ', ',', '\n']).next();
    if message.to_ascii_lowercase().contains("can't cast value ") {
        return of_type(word_behind(" to type ")?);
    }
    if message.contains("value of ") && message.contains(" is out of range ") {
        return of_type(word_behind(" is out of range ")?);
    }
    if let Some((before, _)) = message.split_once("Array overflow on abs(") {
        return of_type(before.rsplit(' ').next()?);
    }
    if let Some((_, operation)) = message.split_once("Overflow happened on: ") {
        return of_type(type_of_operands(operation)?);
    }
    if message.contains("annot cast to Decimal") && message.contains(". Overflowing on ") {
        return Some(PlanError::new(PlanErrorKind::NumericValueOutOfRange, "numeric field overflow"));
    }
    let (_, rest) = message.split_once(" is too large to store in a Decimal")?;
    numeric_field(rest)
}

/// The type whose arithmetic failed. Operands of a wider type that fit into a narrower one do not overflow it: no sum,
/// difference or product of two `smallint` is too large for `integer`, none of two `integer` for `bigint`.
fn type_of_operands(operation: &str) -> Option<&'static str> {
    let operation = operation.lines().next()?;
    let operands =
        operation.split(' ').filter(|word| word.starts_with(|first: char| first.is_ascii_digit() || first == '-'));
    let operands: Vec<i128> = operands.filter_map(|word| word.parse().ok()).collect();
    let all_fit = |min: i128, max: i128| operands.iter().all(|operand| (min..=max).contains(operand));
    if operands.is_empty() {
        None
    } else if all_fit(i16::MIN.into(), i16::MAX.into()) {
        Some("Int16")
    } else if all_fit(i32::MIN.into(), i32::MAX.into()) {
        Some("Int32")
    } else if all_fit(i64::MIN.into(), i64::MAX.into()) {
        Some("Int64")
    } else {
        None
    }
}

/// From `128 of precision 4. Max is 99.99`.
fn numeric_field(rest: &str) -> Option<PlanError> {
    let precision: usize = rest.split_once("of precision ")?.1.split('.').next()?.parse().ok()?;
    let largest = rest.split_once("Max is ")?.1.split_whitespace().next()?;
    let scale = largest.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let detail = format!(
        "A field with precision {precision}, scale {scale} must round to an absolute value less than 10^{}.",
        precision.checked_sub(scale)?
    );
    Some(PlanError::new(PlanErrorKind::NumericValueOutOfRange, "numeric field overflow").with_detail(detail))
}

fn regular_expression(message: &str) -> Option<PlanError> {
    let lower = message.to_ascii_lowercase();
    if !lower.contains("regular expression did not compile") && !lower.contains("regex parse error") {
        return None;
    }
    let reason = message.lines().find_map(|line| line.trim().strip_prefix("error: "));
    let message = match reason {
        Some(reason) => format!("invalid regular expression: {reason}"),
        None => "invalid regular expression".to_string(),
    };
    Some(PlanError::new(PlanErrorKind::InvalidRegularExpression, message))
}

/// A part of a moment that there is not, for `date_trunc`, `extract` and `date_part`.
fn unit(message: &str) -> Option<PlanError> {
    let lower = message.to_ascii_lowercase();
    let marker = ["unsupported date_trunc granularity: '", "date part '"].into_iter().find(|at| lower.contains(at))?;
    let start = lower.find(marker)? + marker.len();
    let name = message.get(start..)?.split('\'').next()?;
    Some(PlanError::new(PlanErrorKind::InvalidParameterValue, format!("unit \"{name}\" not recognized")))
}

fn encoding(message: &str) -> Option<PlanError> {
    let name = message.split_once("There is no built-in encoding named '").map(|(_, rest)| rest);
    let name = name.or_else(|| message.split_once("there is no built-in encoding named '").map(|(_, rest)| rest));
    if let Some(name) = name.and_then(|rest| rest.split('\'').next()) {
        let message = format!("unrecognized encoding: \"{name}\"");
        return Some(PlanError::new(PlanErrorKind::InvalidParameterValue, message));
    }
    let (_, rest) = message.split_once("ailed to decode value using hex: ")?;
    let message = match rest.split_once("Invalid character '").and_then(|(_, rest)| rest.chars().next()) {
        Some(digit) => format!("invalid hexadecimal digit: \"{digit}\""),
        None => "invalid hexadecimal data: odd number of digits".to_string(),
    };
    Some(PlanError::new(PlanErrorKind::InvalidParameterValue, message))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn numbers_that_do_not_fit_are_told_by_their_type() {
        for (message, expected) in [
            ("Cast error: Can't cast value 3000000000 to type Int32", "integer out of range"),
            ("can't cast value 1.5e30 to type Int64", "bigint out of range"),
            ("Cast error: value of 40000 is out of range Int16", "smallint out of range"),
            ("Arithmetic overflow: Overflow happened on: 32767 + 1", "smallint out of range"),
            ("Overflow happened on: 2147483647 * 2", "integer out of range"),
            ("Overflow happened on: 0 - -2147483648", "integer out of range"),
            ("Overflow happened on: - -9223372036854775808", "bigint out of range"),
            ("Compute error: Int32Array overflow on abs(-2147483648)", "integer out of range"),
            ("12345.68 is too large to store in a Decimal128 of precision 4. Max is 99.99", "numeric field overflow"),
            ("Cast error: Cannot cast to Decimal128(38, 16). Overflowing on 1000", "numeric field overflow"),
        ] {
            assert_eq!(failure(message).map(|error| error.message).as_deref(), Some(expected), "{message}");
        }
        assert!(failure("Overflow happened on: 1000000000000000000000000000000 * 15").is_none());
        assert!(failure("something else").is_none());
        let detail = failure("1 is too large to store in a Decimal128 of precision 4. Max is 99.99").unwrap().detail;
        let expected = "A field with precision 4, scale 2 must round to an absolute value less than 10^2.";
        assert_eq!(detail.as_deref(), Some(expected));
    }

    #[test]
    fn patterns_and_encodings_are_told_apart() {
        let message =
            "Regular expression did not compile: Syntax(\nregex parse error:\n    (\n    ^\nerror: unclosed group\n)";
        let error = failure(message).unwrap();
        assert_eq!(error.kind, PlanErrorKind::InvalidRegularExpression);
        assert_eq!(error.message, "invalid regular expression: unclosed group");
        let error = failure("Execution error: Date part 'foo' not supported").unwrap();
        assert_eq!(error.message, "unit \"foo\" not recognized");
        let error = failure("Unsupported date_trunc granularity: 'foo'. Supported values are: day").unwrap();
        assert_eq!(
            (error.kind, error.message.as_str()),
            (PlanErrorKind::InvalidParameterValue, "unit \"foo\" not recognized")
        );
        let error = failure("There is no built-in encoding named 'foo', currently").unwrap();
        assert_eq!(error.message, "unrecognized encoding: \"foo\"");
        let error = failure("Failed to decode value using hex: Invalid character 'z' at position 0").unwrap();
        assert_eq!(error.message, "invalid hexadecimal digit: \"z\"");
    }
}
