//! Types by name.
use crate::error::*;
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use sqlparser::ast::DataType as Sql;
pub fn arrow_type(sql: &Sql) -> Result<DataType> {
    use sqlparser::ast::{ExactNumberInfo as E, TimezoneInfo as Z};
    Ok(match sql {
        Sql::Boolean | Sql::Bool => DataType::Boolean,
        Sql::SmallInt(_) | Sql::Int2(_) => DataType::Int16,
        Sql::Int(_) | Sql::Integer(_) | Sql::Int4(_) => DataType::Int32,
        Sql::BigInt(_) | Sql::Int8(_) => DataType::Int64,
        Sql::Real | Sql::Float4 => DataType::Float32,
        Sql::Double(_) | Sql::DoublePrecision | Sql::Float8 | Sql::Float(_) => DataType::Float64,
        Sql::Text | Sql::Varchar(_) | Sql::CharacterVarying(_) | Sql::Char(_) | Sql::Character(_) | Sql::String(_) => {
            DataType::Utf8
        }
        Sql::Date => DataType::Date32,
        Sql::Timestamp(_, Z::WithTimeZone | Z::Tz) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Sql::Timestamp(..) => DataType::Timestamp(TimeUnit::Microsecond, None),
        Sql::Interval { .. } => DataType::Interval(IntervalUnit::MonthDayNano),
        Sql::Numeric(E::PrecisionAndScale(p, s)) | Sql::Decimal(E::PrecisionAndScale(p, s)) => {
            DataType::Decimal128(*p as u8, *s as i8)
        }
        Sql::Numeric(_) | Sql::Decimal(_) => DataType::Decimal128(38, 10),
        other => return Err(PlanError::unsupported(format!("type {other}"))),
    })
}
