//! Literals that DataFusion would not read as Postgres does: quoted ones, whose type is unknown until something
//! around them has one, and numbers with an exponent. They are read now, so that a wrong one is an error of the
//! statement.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::Cast;
use sqlparser::ast as sql;
use sqlparser::tokenizer::Span;

use crate::error::{PlanError, PlanErrorKind, Result};
use crate::functions;
use crate::types::{DECIMAL128_PRECISION_MAX, DECIMAL256_PRECISION_MAX};
use crate::values::{Decimal, TextStyle, input};

/// The literal's text, if the expression is a quoted literal.
pub(super) fn quoted(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text),
        _ => None,
    }
}

/// A literal as a value of a type; what depends on the session as a cast, which the analyzer evaluates.
pub(super) fn of_type(text: &str, target: &DataType) -> Result<Expr> {
    if !input::can_read(target) {
        let message = format!("there are no literals of type {}", functions::sql_type(target));
        return Err(PlanError::unsupported(message).with_hint("Write a cast to another type."));
    }
    if input::asks_for_session(target) {
        let literal = Expr::Literal(ScalarValue::Utf8(Some(text.to_string())), None);
        return Ok(Expr::Cast(Cast::new(Box::new(literal), target.clone())));
    }
    Ok(Expr::Literal(input::read(text, target, TextStyle::default())?, None))
}

/// A literal as an operand beside one of the type `other`. A numeric keeps all of its digits, whatever the other
/// one has.
pub(super) fn beside(text: &str, other: &DataType) -> Result<Expr> {
    let kept = || Expr::Literal(ScalarValue::Utf8(Some(text.to_string())), None);
    match other {
        DataType::Decimal128(..) | DataType::Decimal256(..) => numeric(&Decimal::parse(text)?),
        DataType::Utf8 | DataType::Null => Ok(kept()),
        DataType::Dictionary(_, values) => beside(text, values),
        // Types that only DataFusion's own functions give: it makes of the text what it can.
        other if !input::can_read(other) => Ok(kept()),
        other => of_type(text, other),
    }
}

/// A numeric in as many digits as it has.
fn numeric(decimal: &Decimal) -> Result<Expr> {
    let too_long = || {
        let message = format!("a numeric has at most {DECIMAL256_PRECISION_MAX} digits");
        PlanError::new(PlanErrorKind::NumericValueOutOfRange, message)
    };
    let digits = decimal.precision().max(1) as u64;
    if digits > DECIMAL256_PRECISION_MAX {
        return Err(too_long());
    }
    // Behind the point there are at most as many digits as there are in all.
    let (precision, scale) = (digits as u8, decimal.scale() as i8);
    let unscaled = decimal.unscaled(precision, scale).ok_or_else(too_long)?;
    let value = match digits <= DECIMAL128_PRECISION_MAX {
        true => ScalarValue::Decimal128(unscaled.to_i128(), precision, scale),
        false => ScalarValue::Decimal256(Some(unscaled), precision, scale),
    };
    Ok(Expr::Literal(value, None))
}

/// An integer literal, with or without a sign, as `integer` if it is one: DataFusion makes `bigint` of all of them, and
/// settles the types of VALUES before they can be narrowed.
pub(super) fn narrow_integer(expr: &mut sql::Expr) {
    let digits = |value: &sql::ValueWithSpan| match &value.value {
        sql::Value::Number(digits, _) => digits.parse::<i64>().ok(),
        _ => None,
    };
    let number = match &*expr {
        sql::Expr::Value(value) => digits(value),
        sql::Expr::UnaryOp { op: sql::UnaryOperator::Minus, expr } => match expr.as_ref() {
            sql::Expr::Value(value) => digits(value).map(|number| -number),
            _ => None,
        },
        _ => None,
    };
    if number.is_some_and(|number| i32::try_from(number).is_ok()) {
        *expr = sql::Expr::Cast {
            kind: sql::CastKind::DoubleColon,
            expr: Box::new(expr.clone()),
            data_type: sql::DataType::Int4(None),
            array: false,
            format: None,
        };
    }
}

/// A whole number beyond `bigint`, which DataFusion would read without a sign, as a numeric without a fraction.
pub(super) fn widen_integer(expr: &mut sql::Expr) {
    /// The one number that is a `bigint` with a sign only.
    const LEAST: &str = "9223372036854775808";
    let (text, span) = match &*expr {
        sql::Expr::UnaryOp { op: sql::UnaryOperator::Minus, expr } => match expr.as_ref() {
            sql::Expr::Value(sql::ValueWithSpan { value: sql::Value::Number(digits, _), span }) if digits == LEAST => {
                (format!("-{LEAST}"), *span)
            }
            _ => return,
        },
        sql::Expr::Value(sql::ValueWithSpan { value: sql::Value::Number(digits, _), span }) => {
            let whole = digits.bytes().all(|byte| byte.is_ascii_digit());
            if !whole || digits.parse::<i64>().is_ok() {
                return;
            }
            (format!("{digits}."), *span)
        }
        _ => return,
    };
    *expr = sql::Expr::Value(sql::Value::Number(text, false).with_span(span));
}

/// A number with an exponent: the numeric that it is, digit by digit, or `double precision` where that has more
/// digits than a numeric of 128 bits. DataFusion would make a numeric with a negative scale of it.
///
/// `typed`: one without a fraction has no digits behind the point, instead of one.
pub(super) fn with_exponent(text: &str, span: Span, typed: bool) -> Result<sql::Expr> {
    let text = text.replace('_', "");
    let literal = |value: sql::Value| sql::Expr::Value(value.with_span(span));
    let digits = Decimal::parse(&text).ok().filter(|decimal| decimal.precision() as u64 <= DECIMAL128_PRECISION_MAX);
    if let Some(decimal) = digits {
        let mut written = bytes::BytesMut::new();
        decimal.put_text(&mut written);
        let mut written = String::from_utf8_lossy(&written).into_owned();
        // Otherwise an integer would be read.
        if written.parse::<u64>().is_ok() {
            written.push_str(if typed { "." } else { ".0" });
        }
        return Ok(literal(sql::Value::Number(written, false)));
    }
    match text.parse::<f64>() {
        Ok(float) if (float.is_finite() && float != 0.0) || functions::float_fits(&text, float) => {
            Ok(sql::Expr::Cast {
                kind: sql::CastKind::DoubleColon,
                expr: Box::new(literal(sql::Value::SingleQuotedString(text))),
                data_type: sql::DataType::DoublePrecision,
                array: false,
                format: None,
            })
        }
        _ => {
            let message = functions::float_out_of_range(&text, &DataType::Float64);
            Err(PlanError::new(PlanErrorKind::NumericValueOutOfRange, message))
        }
    }
}
