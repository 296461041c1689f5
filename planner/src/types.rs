//! SQL types and Arrow types, both ways. One Arrow type per SQL type, so that a plan never needs a cast that
//! the user did not write: text is always `Utf8`, times are always microseconds, lists are always `List`.
//!
//! Bare `numeric` is `numeric(38, 16)`: one stated precision in place of Postgres' unlimited one.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit};
use sqlparser::ast::{self as sql, ArrayElemTypeDef, CharacterLength, ExactNumberInfo, TimezoneInfo};

use crate::error::{PlanError, PlanErrorKind, Result};
use crate::reading::Reading;
use crate::settings::PlanSettings;

/// Digits of bare `numeric`.
pub const NUMERIC_PRECISION: u8 = 38;
/// Digits of bare `numeric` behind the point.
pub const NUMERIC_SCALE: i8 = 16;

/// `uuid`: its 16 bytes.
pub const UUID: DataType = DataType::FixedSizeBinary(16);
/// `jsonb`: its canonical text ([`millstream_runtime::jsonb`]). No other SQL type is of this Arrow type.
pub const JSONB: DataType = DataType::LargeUtf8;
/// `character(n)` and `bpchar`: the text without the blanks at its end, which mean nothing; how many a value is shown
/// with is its column's to say ([`crate::values::Shown`]). No other SQL type is of this Arrow type.
pub const CHAR: DataType = millstream_runtime::plan::BLANK_PADDED;
/// `json`: its text as it was written. No other SQL type is of this Arrow type.
pub const JSON: DataType = DataType::LargeBinary;

/// Digits that fit 128 bits.
pub(crate) const DECIMAL128_PRECISION_MAX: u64 = 38;
/// Digits that a numeric can have.
pub(crate) const DECIMAL256_PRECISION_MAX: u64 = 76;

/// Digits of a second that a timestamp can hold.
const TIME_PRECISION_MAX: u64 = 6;

/// The Arrow type of a declared type; an error names the type and, where there is one, another to use.
pub fn arrow_type(declared: &sql::DataType) -> Result<DataType> {
    use sql::DataType as Sql;
    match declared {
        Sql::Boolean | Sql::Bool => Ok(DataType::Boolean),
        Sql::SmallInt(None) | Sql::Int2(None) | Sql::Int16 => Ok(DataType::Int16),
        Sql::Integer(None) | Sql::Int(None) | Sql::Int4(None) | Sql::Int32 => Ok(DataType::Int32),
        Sql::BigInt(None) | Sql::Int8(None) | Sql::Int64 => Ok(DataType::Int64),
        Sql::Real | Sql::Float4 | Sql::Float32 => Ok(DataType::Float32),
        Sql::DoublePrecision | Sql::Double(ExactNumberInfo::None) | Sql::Float8 | Sql::Float64 => Ok(DataType::Float64),
        Sql::Float(bits) => float(bits),
        Sql::Numeric(digits) | Sql::Decimal(digits) | Sql::Dec(digits) => numeric(digits),
        Sql::Text | Sql::String(None) | Sql::Clob(None) | Sql::CharacterLargeObject(None) => Ok(DataType::Utf8),
        Sql::Varchar(length) | Sql::Nvarchar(length) | Sql::CharacterVarying(length) | Sql::CharVarying(length) => {
            text(length, declared)
        }
        Sql::Char(_) | Sql::Character(_) => character(declared).map(|_| CHAR),
        Sql::Bytea | Sql::Bytes(_) | Sql::Varbinary(_) | Sql::Binary(_) | Sql::Blob(None) => Ok(DataType::Binary),
        Sql::Date | Sql::Date32 => Ok(DataType::Date32),
        Sql::Time(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            time_precision(*precision, declared).map(|()| DataType::Time64(TimeUnit::Microsecond))
        }
        Sql::Timestamp(precision, zone) => timestamp(*precision, zone, declared),
        Sql::TimestampNtz(precision) => timestamp(*precision, &TimezoneInfo::None, declared),
        Sql::Interval { .. } => Ok(DataType::Interval(IntervalUnit::MonthDayNano)),
        Sql::Uuid => Ok(UUID),
        Sql::JSONB => Ok(JSONB),
        Sql::JSON => Ok(JSON),
        Sql::Array(element) => array(element, declared),
        Sql::Struct(fields, _) => structure(fields),
        Sql::Custom(name, modifiers) => custom(name, modifiers, declared),
        other => Err(refused(other)),
    }
}

fn float(bits: &ExactNumberInfo) -> Result<DataType> {
    match bits {
        ExactNumberInfo::None => Ok(DataType::Float64),
        ExactNumberInfo::Precision(1..=24) => Ok(DataType::Float32),
        ExactNumberInfo::Precision(25..=53) => Ok(DataType::Float64),
        ExactNumberInfo::Precision(_) | ExactNumberInfo::PrecisionAndScale(..) => {
            Err(invalid("precision for type float must be from 1 to 53 bits"))
        }
    }
}

fn numeric(digits: &ExactNumberInfo) -> Result<DataType> {
    let (precision, scale) = match digits {
        ExactNumberInfo::None => return Ok(DataType::Decimal128(NUMERIC_PRECISION, NUMERIC_SCALE)),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    if !(1..=DECIMAL256_PRECISION_MAX).contains(&precision) {
        let message = format!("NUMERIC precision {precision} must be between 1 and {DECIMAL256_PRECISION_MAX}");
        return Err(invalid(message));
    }
    if !u64::try_from(scale).is_ok_and(|scale| scale <= precision) {
        return Err(invalid(format!("NUMERIC scale {scale} must be between 0 and precision {precision}")));
    }
    let narrow = (u8::try_from(precision), i8::try_from(scale));
    let (Ok(width), Ok(scale)) = narrow else { return Err(PlanError::internal("numeric digits were checked")) };
    Ok(if precision <= DECIMAL128_PRECISION_MAX {
        DataType::Decimal128(width, scale)
    } else {
        DataType::Decimal256(width, scale)
    })
}

/// The declared length of a `varchar(n)`, in characters. It is no part of the type: a column holds its rows to it, a
/// cast cuts.
pub fn declared_length(declared: &sql::DataType) -> Option<u64> {
    match declared {
        sql::DataType::Varchar(Some(CharacterLength::IntegerLength { length, .. }))
        | sql::DataType::Nvarchar(Some(CharacterLength::IntegerLength { length, .. }))
        | sql::DataType::CharacterVarying(Some(CharacterLength::IntegerLength { length, .. }))
        | sql::DataType::CharVarying(Some(CharacterLength::IntegerLength { length, .. })) => Some(*length),
        _ => None,
    }
}

/// The declared digits of a second of a moment, a time or an interval, or of an array of them; as in Postgres more than
/// there can be are as many as there can be.
pub(crate) fn declared_digits(declared: &sql::DataType) -> Option<u8> {
    let digits = match declared {
        sql::DataType::Time(digits, _)
        | sql::DataType::Timestamp(digits, _)
        | sql::DataType::TimestampNtz(digits)
        | sql::DataType::Interval { precision: digits, .. } => (*digits)?,
        sql::DataType::Custom(name, modifiers) if name.to_string().eq_ignore_ascii_case("timestamp_ltz") => {
            modifiers.first()?.parse().ok()?
        }
        sql::DataType::Array(
            ArrayElemTypeDef::AngleBracket(element)
            | ArrayElemTypeDef::SquareBracket(element, _)
            | ArrayElemTypeDef::Parenthesis(element),
        ) => return declared_digits(element),
        _ => return None,
    };
    u8::try_from(digits.min(TIME_PRECISION_MAX)).ok()
}

/// Takes the digits of a second from a declared type, and gives them; `None` where it keeps all of them.
pub(crate) fn take_digits(declared: &mut sql::DataType) -> Option<u8> {
    let digits = declared_digits(declared)?;
    let mut innermost = declared;
    while let sql::DataType::Array(
        ArrayElemTypeDef::AngleBracket(element)
        | ArrayElemTypeDef::SquareBracket(element, _)
        | ArrayElemTypeDef::Parenthesis(element),
    ) = innermost
    {
        innermost = element;
    }
    match innermost {
        sql::DataType::Time(digits, _)
        | sql::DataType::Timestamp(digits, _)
        | sql::DataType::TimestampNtz(digits)
        | sql::DataType::Interval { precision: digits, .. } => *digits = None,
        sql::DataType::Custom(_, modifiers) => modifiers.clear(),
        _ => {}
    }
    Some(digits)
}

/// Makes text of a `varchar(n)`, or of the elements of an array of them, and gives its length; `None` for other types.
pub(crate) fn take_varying(declared: &mut sql::DataType) -> Option<Option<u64>> {
    use sql::DataType as Sql;
    if matches!(declared, Sql::Varchar(_) | Sql::Nvarchar(_) | Sql::CharacterVarying(_) | Sql::CharVarying(_)) {
        let length = declared_length(declared);
        *declared = Sql::Text;
        return Some(length);
    }
    let is_array = matches!(declared, Sql::Array(_));
    within(declared).into_iter().filter(|_| is_array).find_map(take_varying)
}

/// Lets a declared type mean what it meant under the settings of its definition: text of any length, where it is one
/// that was.
pub(crate) fn under(declared: &mut sql::DataType, settings: &PlanSettings) {
    use sql::DataType as Sql;
    let is_varying =
        matches!(declared, Sql::Varchar(_) | Sql::Nvarchar(_) | Sql::CharacterVarying(_) | Sql::CharVarying(_));
    let reading = settings.reading;
    if (is_varying && reading < Reading::TEXT_LENGTHS) || (is_character(declared) && reading < Reading::BLANK_PADDED) {
        *declared = Sql::Text;
    }
    within(declared).into_iter().for_each(|inner| under(inner, settings));
}

/// The types of the elements or fields of a declared one.
fn within(declared: &mut sql::DataType) -> Vec<&mut sql::DataType> {
    match declared {
        sql::DataType::Array(
            ArrayElemTypeDef::AngleBracket(element)
            | ArrayElemTypeDef::SquareBracket(element, _)
            | ArrayElemTypeDef::Parenthesis(element),
        ) => vec![element],
        sql::DataType::Struct(fields, _) => fields.iter_mut().map(|field| &mut field.field_type).collect(),
        _ => Vec::new(),
    }
}

/// Characters of a `char(n)` or a `varchar(n)`; as in Postgres.
pub(crate) const TEXT_LENGTH_MAX: u64 = 10_485_760;

/// Whether a declared type is `char(n)`, `char` or `bpchar`.
pub(crate) fn is_character(declared: &sql::DataType) -> bool {
    match declared {
        sql::DataType::Char(_) | sql::DataType::Character(_) => true,
        sql::DataType::Custom(name, _) => matches!(name.to_string().to_lowercase().as_str(), "bpchar" | BPCHAR),
        _ => false,
    }
}

const BPCHAR: &str = "pg_catalog.bpchar";

/// The length of a `char(n)`, in characters; without one `char` is one character and `bpchar` as long as its value.
pub(crate) fn character(declared: &sql::DataType) -> Result<Option<u64>> {
    let length = match declared {
        sql::DataType::Char(length) | sql::DataType::Character(length) => match length {
            None => 1,
            Some(CharacterLength::IntegerLength { length, .. }) => *length,
            Some(CharacterLength::Max) => return Err(refused(declared)),
        },
        sql::DataType::Custom(_, modifiers) => match modifiers.first() {
            None => return Ok(None),
            Some(length) => length.parse().map_err(|_| refused(declared))?,
        },
        _ => return Err(refused(declared)),
    };
    match length {
        0 => Err(invalid("length for type char must be at least 1")),
        1..=TEXT_LENGTH_MAX => Ok(Some(length)),
        _ => Err(invalid(format!("length for type char cannot exceed {TEXT_LENGTH_MAX}"))),
    }
}

/// Makes text of a `char(n)`, or of the elements of an array of them, and gives its length; `None` for other types.
pub(crate) fn take_character(declared: &mut sql::DataType) -> Option<Result<Option<u64>>> {
    if is_character(declared) {
        let length = character(declared);
        *declared = sql::DataType::Text;
        return Some(length);
    }
    let is_array = matches!(declared, sql::DataType::Array(_));
    within(declared).into_iter().filter(|_| is_array).find_map(take_character)
}

fn text(length: &Option<CharacterLength>, declared: &sql::DataType) -> Result<DataType> {
    match length {
        Some(CharacterLength::IntegerLength { length: 0, .. }) => {
            Err(invalid(format!("length for type {} must be at least 1", declared.to_string().to_lowercase())))
        }
        None | Some(CharacterLength::IntegerLength { .. } | CharacterLength::Max) => Ok(DataType::Utf8),
    }
}

fn time_precision(precision: Option<u64>, declared: &sql::DataType) -> Result<()> {
    match precision {
        Some(digits) if digits > TIME_PRECISION_MAX => {
            let message = format!("type {} has more digits than microseconds", declared.to_string().to_lowercase());
            Err(invalid(message).with_hint(format!("Use a precision of at most {TIME_PRECISION_MAX}.")))
        }
        _ => Ok(()),
    }
}

fn timestamp(precision: Option<u64>, zone: &TimezoneInfo, declared: &sql::DataType) -> Result<DataType> {
    time_precision(precision, declared)?;
    Ok(match zone {
        TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => DataType::Timestamp(TimeUnit::Microsecond, None),
        TimezoneInfo::WithTimeZone | TimezoneInfo::Tz => timestamptz(),
    })
}

fn timestamptz() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn array(element: &ArrayElemTypeDef, declared: &sql::DataType) -> Result<DataType> {
    match element {
        ArrayElemTypeDef::AngleBracket(element)
        | ArrayElemTypeDef::SquareBracket(element, _)
        | ArrayElemTypeDef::Parenthesis(element) => {
            Ok(DataType::List(Arc::new(Field::new_list_field(arrow_type(element)?, true))))
        }
        ArrayElemTypeDef::None => Err(refused(declared)),
    }
}

fn structure(fields: &[sql::StructField]) -> Result<DataType> {
    let fields = fields.iter().enumerate().map(|(index, field)| {
        // As in Postgres' ROW: fields without a name are f1, f2, ...
        let name = field.field_name.as_ref().map_or_else(|| format!("f{}", index + 1), crate::parse::folded);
        Ok(Field::new(name, arrow_type(&field.field_type)?, true))
    });
    let fields: Fields = fields.collect::<Result<Vec<_>>>()?.into();
    if fields.is_empty() {
        return Err(invalid("a struct needs at least one field").with_hint("Write STRUCT<name type, ...>."));
    }
    // Nothing stands beside a field that could say how many blanks its values are shown with.
    if fields.iter().any(|field| holds_character(field.data_type())) {
        return Err(PlanError::unsupported("type character is not supported within STRUCT")
            .with_hint("Use varchar(n) or text for the field."));
    }
    Ok(DataType::Struct(fields))
}

/// Whether values of a type are or have `char(n)`.
fn holds_character(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(element) => holds_character(element.data_type()),
        data_type => *data_type == CHAR,
    }
}

/// Types that sqlparser has no word for.
fn custom(name: &sql::ObjectName, modifiers: &[String], declared: &sql::DataType) -> Result<DataType> {
    let part = |part: &sql::ObjectNamePart| {
        part.as_ident().map(|ident| match ident.quote_style {
            Some(_) => ident.value.clone(),
            None => ident.value.to_lowercase(),
        })
    };
    let parts: Option<Vec<String>> = name.0.iter().map(part).collect();
    let written = match parts.as_deref() {
        Some([last]) => last.clone(),
        Some([schema, last]) if schema == "pg_catalog" => last.clone(),
        _ => name.to_string(),
    };
    let precision = modifiers.first().and_then(|modifier| modifier.parse().ok());
    match written.as_str() {
        // Flink's names.
        "timestamp_ltz" => timestamp(precision, &TimezoneInfo::Tz, declared),
        "bpchar" => character(declared).map(|_| CHAR),
        "smallserial" | "serial" | "bigserial" => {
            Err(PlanError::unsupported(format!("type {written} is not supported"))
                .with_hint("There are no sequences; use bigint and give the values."))
        }
        other => match (catalog_name(other), other.strip_prefix('_').and_then(catalog_name)) {
            (Some(data_type), _) => Ok(data_type),
            (None, Some(element)) => Ok(DataType::new_list(element, true)),
            (None, None) => Err(refused_name(other)),
        },
    }
}

/// The types by the names that the catalog has for them, which drivers write behind `pg_catalog.`; with `_` before it
/// such a name is that of an array.
fn catalog_name(name: &str) -> Option<DataType> {
    Some(match name {
        "bool" => DataType::Boolean,
        "int2" => DataType::Int16,
        "int4" => DataType::Int32,
        "int8" => DataType::Int64,
        "float4" => DataType::Float32,
        "float8" => DataType::Float64,
        "numeric" => DataType::Decimal128(NUMERIC_PRECISION, NUMERIC_SCALE),
        "text" | "varchar" | "name" => DataType::Utf8,
        "bytea" => DataType::Binary,
        "date" => DataType::Date32,
        "time" => DataType::Time64(TimeUnit::Microsecond),
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "interval" => DataType::Interval(IntervalUnit::MonthDayNano),
        "uuid" => UUID,
        "jsonb" => JSONB,
        "json" => JSON,
        "bpchar" => CHAR,
        _ => return None,
    })
}

fn refused(declared: &sql::DataType) -> PlanError {
    use sql::DataType as Sql;
    let hint = match declared {
        Sql::TinyInt(_) | Sql::UTinyInt | Sql::TinyIntUnsigned(_) => "Use smallint.",
        Sql::Time(..) => "Use time, or timestamptz.",
        Sql::Map(..) => "Use an array of STRUCT<key ..., value ...>.",
        Sql::Datetime(_) | Sql::Datetime64(..) => "Use timestamp.",
        Sql::Double(_) => "Use double precision.",
        Sql::Regclass => "Query pg_catalog.pg_class.",
        _ => return refused_name(&declared.to_string().to_lowercase()),
    };
    let name = declared.to_string().to_lowercase();
    let name =
        name.split_once('(').filter(|_| matches!(declared, Sql::Map(..))).map_or(name.as_str(), |(name, _)| name);
    PlanError::unsupported(format!("type {name} is not supported")).with_hint(hint)
}

fn refused_name(name: &str) -> PlanError {
    PlanError::new(PlanErrorKind::UndefinedObject, format!("type \"{name}\" does not exist")).with_hint(
        "The types are boolean, smallint, integer, bigint, real, double precision, numeric, text, varchar, char, bytea, \
         date, time, timestamp, timestamptz, interval, uuid, jsonb, json, arrays and STRUCT<...>.",
    )
}

fn invalid(message: impl Into<String>) -> PlanError {
    PlanError::new(PlanErrorKind::InvalidParameterValue, message)
}

/// The name of a type as Postgres' `format_type` writes it; of one that no SQL type stands for, Arrow's.
pub fn sql_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".to_string(),
        DataType::Int8 | DataType::Int16 => "smallint".to_string(),
        DataType::Int32 => "integer".to_string(),
        DataType::Int64 => "bigint".to_string(),
        DataType::Float32 => "real".to_string(),
        DataType::Float64 => "double precision".to_string(),
        DataType::Decimal128(NUMERIC_PRECISION, NUMERIC_SCALE) => "numeric".to_string(),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("numeric({precision},{scale})")
        }
        DataType::Utf8 => "text".to_string(),
        DataType::Utf8View => "character".to_string(),
        DataType::LargeUtf8 => "jsonb".to_string(),
        DataType::LargeBinary => "json".to_string(),
        DataType::FixedSizeBinary(16) => "uuid".to_string(),
        DataType::Binary | DataType::BinaryView => "bytea".to_string(),
        DataType::Date32 | DataType::Date64 => "date".to_string(),
        DataType::Time32(_) | DataType::Time64(_) => "time without time zone".to_string(),
        DataType::Timestamp(_, None) => "timestamp without time zone".to_string(),
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone".to_string(),
        DataType::Interval(_) | DataType::Duration(_) => "interval".to_string(),
        DataType::Null => "unknown".to_string(),
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            format!("{}[]", sql_name(element.data_type()))
        }
        DataType::Struct(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|field| format!("{} {}", field.name(), sql_name(field.data_type()))).collect();
            format!("struct<{}>", fields.join(", "))
        }
        DataType::Dictionary(_, values) => sql_name(values),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::TextPosition;
    use crate::parse::{ast, parse_statement};
    use crate::statement::StatementText;

    fn declared(name: &str) -> Result<DataType> {
        let sql = format!("CREATE TABLE t (c {name})");
        let statement = parse_statement(&StatementText { sql, start: TextPosition(1) })?;
        let ast::Statement::CreateRelation(relation) = statement else { panic!("a table was parsed") };
        arrow_type(relation.columns[0].data_type.as_ref().expect("the column has a type"))
    }

    #[test]
    fn declared_types_have_one_arrow_type_and_one_name() {
        for (written, name) in [
            ("boolean", "boolean"),
            ("int2", "smallint"),
            ("int", "integer"),
            ("int4", "integer"),
            ("int8", "bigint"),
            ("float4", "real"),
            ("float(24)", "real"),
            ("float", "double precision"),
            ("double", "double precision"),
            ("numeric", "numeric"),
            ("decimal(10, 2)", "numeric(10,2)"),
            ("numeric(5)", "numeric(5,0)"),
            ("numeric(76, 10)", "numeric(76,10)"),
            ("varchar(20)", "text"),
            ("character varying", "text"),
            ("string", "text"),
            ("char(3)", "character"),
            ("bpchar", "character"),
            ("character[]", "character[]"),
            ("bytea", "bytea"),
            ("bytes", "bytea"),
            ("uuid", "uuid"),
            ("jsonb", "jsonb"),
            ("json[]", "json[]"),
            ("date", "date"),
            ("time", "time without time zone"),
            ("timestamp(3)", "timestamp without time zone"),
            ("timestamp(3) without time zone", "timestamp without time zone"),
            ("timestamp with time zone", "timestamp with time zone"),
            ("timestamptz", "timestamp with time zone"),
            ("timestamp_ltz(3)", "timestamp with time zone"),
            ("interval", "interval"),
            ("bigint[]", "bigint[]"),
            ("array<array<int>>", "integer[][]"),
            ("struct<a int, b struct<c text>>", "struct<a integer, b struct<c text>>"),
            ("row<a int, b array<text>>", "struct<a integer, b text[]>"),
            ("struct<a timestamp(3), b varchar>[]", "struct<a timestamp without time zone, b text>[]"),
        ] {
            let data_type = declared(written).unwrap_or_else(|error| panic!("{written}: {error}"));
            assert_eq!(sql_name(&data_type), name, "{written}");
        }
        assert_eq!(declared("numeric(39, 1)").ok(), Some(DataType::Decimal256(39, 1)));
    }

    #[test]
    fn what_is_refused_says_so() {
        for (written, message) in [
            ("numeric(77)", "NUMERIC precision 77 must be between 1 and 76"),
            ("numeric(5, 6)", "NUMERIC scale 6 must be between 0 and precision 5"),
            ("timestamp(9)", "type timestamp(9) has more digits than microseconds"),
            ("map<text, int>", "type map is not supported"),
            ("char(0)", "length for type char must be at least 1"),
            ("char(10485761)", "length for type char cannot exceed 10485760"),
            ("struct<a char(3)[]>", "type character is not supported within STRUCT"),
            ("tinyint", "type tinyint is not supported"),
            ("money", "type \"money\" does not exist"),
            ("serial", "type serial is not supported"),
        ] {
            let error = declared(written).expect_err(written);
            assert_eq!(error.message, message, "{written}");
            assert!(error.hint.is_some() || written.starts_with("numeric") || written.starts_with("char"), "{written}");
        }
    }
}
