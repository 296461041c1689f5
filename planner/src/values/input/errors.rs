//! What is wrong with a text, as Postgres' input functions say it.

use crate::error::{PlanError, PlanErrorKind};

/// Text that its type does not read.
pub fn invalid_text(type_name: &str, text: &str) -> PlanError {
    let message = format!("invalid input syntax for type {type_name}: \"{text}\"");
    PlanError::new(PlanErrorKind::InvalidTextRepresentation, message)
}

/// Text that its type does not read, with more of what is wrong.
pub fn malformed(message: impl Into<String>, detail: impl Into<String>) -> PlanError {
    PlanError::new(PlanErrorKind::InvalidTextRepresentation, message).with_detail(detail)
}

/// A number beyond its type.
pub fn out_of_range(message: impl Into<String>) -> PlanError {
    PlanError::new(PlanErrorKind::NumericValueOutOfRange, message)
}

/// Text that is no date or time.
pub fn invalid_datetime(type_name: &str, text: &str) -> PlanError {
    let message = format!("invalid input syntax for type {type_name}: \"{text}\"");
    PlanError::new(PlanErrorKind::InvalidDatetimeFormat, message)
}

/// A date whose parts stand in another order, most likely.
pub fn datetime_field_out_of_range(text: &str) -> PlanError {
    let message = format!("date/time field value out of range: \"{text}\"");
    PlanError::new(PlanErrorKind::DatetimeFieldOverflow, message)
        .with_hint("Perhaps you need a different \"datestyle\" setting.")
}

/// A date or time beyond its type.
pub fn datetime_out_of_range(message: impl Into<String>) -> PlanError {
    PlanError::new(PlanErrorKind::DatetimeFieldOverflow, message)
}

/// A text whose digits are none.
pub fn invalid_parameter(message: impl Into<String>) -> PlanError {
    PlanError::new(PlanErrorKind::InvalidParameterValue, message)
}

/// The SQLSTATE that the server gives an error, for tests.
#[cfg(test)]
pub fn sqlstate(error: &PlanError) -> &'static str {
    match error.kind {
        PlanErrorKind::InvalidTextRepresentation => "22P02",
        PlanErrorKind::NumericValueOutOfRange => "22003",
        PlanErrorKind::InvalidDatetimeFormat => "22007",
        PlanErrorKind::DatetimeFieldOverflow => "22008",
        PlanErrorKind::InvalidParameterValue => "22023",
        other => panic!("no input function fails with {other:?}"),
    }
}
