//! What a client is told of a column beside its values: a type that Arrow has no word for, the modifier of the
//! declared type, and the column of a relation that it is.
//!
//! The schema of a result carries this as metadata of its fields. Plans and relations never do: they would lose
//! it on the way, or take two columns for different that are not.

use arrow::datatypes::{Field, i256};
use millstream_runtime::decimals;
use sqlparser::ast::{DataType, ExactNumberInfo, TimezoneInfo};

use super::column_type::{Kind, TYPE_METADATA};
use crate::types::{character, declared_length, is_character};

const MODIFIER_METADATA: &str = "millstream.modifier";
const RELATION_METADATA: &str = "millstream.relation";
const COLUMN_METADATA: &str = "millstream.column";
const ROW_METADATA: &str = "millstream.row";
/// Digits of a numeric behind the point.
const DIGITS_METADATA: &str = "millstream.digits";

/// Characters of a `char(n)`.
pub(super) const WIDTH_METADATA: &str = "millstream.width";

/// What Postgres adds to the modifiers of texts and numerics: the bytes of a header.
const MODIFIER_HEADER: i32 = 4;

/// What a declared type says beyond its Arrow type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The type, or that of an array's elements, where its Arrow type stands for another one first.
    pub kind: Option<Kind>,
    /// Its modifier, as `atttypmod` has it.
    pub modifier: Option<i32>,
    /// How many digits a numeric shows behind the point, zeros among them; without, those up to its last one that is
    /// no zero.
    pub digits: Option<Digits>,
    /// How many characters a `char(n)` shows, blanks at its end among them; without, those up to its last one that is no
    /// blank.
    pub width: Option<u32>,
}

/// How many digits a numeric shows behind the point at least, zeros among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Digits {
    /// So many, whatever the value.
    Fixed(u8),
    /// As many as Postgres gives a quotient of this value, and so many at least.
    Quotient(u8),
}

impl Digits {
    /// Those of every value, if all have as many.
    pub fn fixed(self) -> Option<u8> {
        match self {
            Self::Fixed(digits) => Some(digits),
            Self::Quotient(_) => None,
        }
    }

    /// Those of a value.
    pub fn of_value(self, unscaled: i256, scale: i8) -> u8 {
        match self {
            Self::Fixed(digits) => digits,
            // Behind the digits of its column nothing is known.
            Self::Quotient(least) => {
                let digits = decimals::Decimal::new(unscaled, scale).quotient_digits();
                digits.max(least).min(scale.unsigned_abs())
            }
        }
    }

    fn of_text(text: &str) -> Option<Self> {
        match text.strip_prefix(QUOTIENT) {
            Some(least) => least.parse().ok().map(Self::Quotient),
            None => text.parse().ok().map(Self::Fixed),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Fixed(digits) => digits.to_string(),
            Self::Quotient(least) => format!("{QUOTIENT}{least}"),
        }
    }
}

/// What stands before the digits of a quotient.
const QUOTIENT: &str = "quotient ";

/// The digits that stand beside a field.
pub(super) fn digits_of(field: &Field) -> Option<Digits> {
    field.metadata().get(DIGITS_METADATA).and_then(|digits| Digits::of_text(digits))
}

/// The column of a relation that a column of a result is, unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The relation's OID.
    pub relation_oid: u32,
    /// The column's number there, from 1.
    pub number: i16,
}

/// All that is known of a column of a result beside its name and its Arrow type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// Of its type.
    pub shown: Shown,
    /// Where it comes from.
    pub origin: Option<Origin>,
    /// The OID of the relation of which it is the whole row.
    pub row: Option<u32>,
}

impl Shown {
    /// What a type says that is written in a declaration or a cast.
    pub fn of_declared(declared: &DataType) -> Self {
        let modifier = |modifier| Self { modifier, ..Self::default() };
        match declared {
            declared if is_character(declared) => {
                let length = character(declared).ok().flatten().and_then(|length| i64::try_from(length).ok());
                length.map(Self::of_character).unwrap_or_default()
            }
            DataType::Numeric(digits) | DataType::Decimal(digits) | DataType::Dec(digits) => declared_numeric(digits),
            DataType::Varchar(_) | DataType::Nvarchar(_) | DataType::CharacterVarying(_) | DataType::CharVarying(_) => {
                Self::of_varying(declared_length(declared).and_then(|length| i64::try_from(length).ok()))
            }
            DataType::Time(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone)
            | DataType::Timestamp(precision, _)
            | DataType::TimestampNtz(precision) => modifier(precision.and_then(|digits| i32::try_from(digits).ok())),
            DataType::Array(element) => match element {
                sqlparser::ast::ArrayElemTypeDef::AngleBracket(element)
                | sqlparser::ast::ArrayElemTypeDef::SquareBracket(element, _)
                | sqlparser::ast::ArrayElemTypeDef::Parenthesis(element) => Self::of_declared(element),
                sqlparser::ast::ArrayElemTypeDef::None => Self::default(),
            },
            DataType::Custom(name, arguments) if name.to_string().eq_ignore_ascii_case("timestamp_ltz") => {
                modifier(arguments.first().and_then(|digits| digits.parse().ok()))
            }
            _ => Self::default(),
        }
    }

    /// What a cast to `varchar` or `varchar(n)` says.
    pub fn of_varying(length: Option<i64>) -> Self {
        let length = length.and_then(|length| i32::try_from(length).ok());
        let modifier = length.map(|length| length.saturating_add(MODIFIER_HEADER));
        Self { kind: Some(Kind::Varchar), modifier, ..Self::default() }
    }

    /// What a cast to `char(n)` says.
    pub fn of_character(length: i64) -> Self {
        let modifier = i32::try_from(length).ok().map(|length| length.saturating_add(MODIFIER_HEADER));
        Self { modifier, width: u32::try_from(length).ok(), ..Self::default() }
    }

    /// What a cast to an Arrow type says: only a numeric's digits stand in it. Bare `numeric` says nothing.
    pub fn of_cast(target: &arrow::datatypes::DataType) -> Self {
        use arrow::datatypes::DataType as Arrow;
        match target {
            Arrow::Decimal128(crate::types::NUMERIC_PRECISION, crate::types::NUMERIC_SCALE) => Self::default(),
            Arrow::Decimal128(precision, scale) | Arrow::Decimal256(precision, scale) => {
                numeric(i32::from(*precision), i32::from(*scale))
            }
            Arrow::List(element) => Self::of_cast(element.data_type()),
            _ => Self::default(),
        }
    }
}

fn declared_numeric(digits: &ExactNumberInfo) -> Shown {
    let (precision, scale) = match digits {
        ExactNumberInfo::None => return Shown::default(),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    match (i32::try_from(precision), i32::try_from(scale)) {
        (Ok(precision), Ok(scale)) => numeric(precision, scale),
        // No type has so many.
        _ => Shown::default(),
    }
}

fn numeric(precision: i32, scale: i32) -> Shown {
    let modifier = Some((precision << 16 | scale) + MODIFIER_HEADER);
    Shown { modifier, digits: u8::try_from(scale).ok().map(Digits::Fixed), ..Shown::default() }
}

impl Described {
    /// The field with this beside it.
    pub fn put(self, field: Field) -> Field {
        let mut metadata = field.metadata().clone();
        let mut put = |name: &str, value: String| metadata.insert(name.to_owned(), value);
        if let Some(kind) = self.shown.kind {
            put(TYPE_METADATA, kind.sql_name().to_owned());
        }
        if let Some(modifier) = self.shown.modifier {
            put(MODIFIER_METADATA, modifier.to_string());
        }
        if let Some(digits) = self.shown.digits {
            put(DIGITS_METADATA, digits.text());
        }
        if let Some(width) = self.shown.width {
            put(WIDTH_METADATA, width.to_string());
        }
        if let Some(origin) = self.origin {
            put(RELATION_METADATA, origin.relation_oid.to_string());
            put(COLUMN_METADATA, origin.number.to_string());
        }
        if let Some(row) = self.row {
            put(ROW_METADATA, row.to_string());
        }
        field.with_metadata(metadata)
    }

    /// What stands beside a field, but for the type, which [`super::ColumnType::of_field`] reads.
    pub fn of(field: &Field) -> Self {
        let of = |name: &str| field.metadata().get(name);
        let origin = || {
            let relation_oid = of(RELATION_METADATA)?.parse().ok()?;
            Some(Origin { relation_oid, number: of(COLUMN_METADATA)?.parse().ok()? })
        };
        let modifier = of(MODIFIER_METADATA).and_then(|modifier| modifier.parse().ok());
        let row = of(ROW_METADATA).and_then(|row| row.parse().ok());
        let width = of(WIDTH_METADATA).and_then(|width| width.parse().ok());
        Self { shown: Shown { kind: None, modifier, digits: digits_of(field), width }, origin: origin(), row }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifiers_are_those_of_postgres() {
        let dialect = sqlparser::dialect::PostgreSqlDialect {};
        let shown = |text: &str| {
            let mut parser = sqlparser::parser::Parser::new(&dialect).try_with_sql(text).expect("it can be cut");
            Shown::of_declared(&parser.parse_data_type().expect("it is a type"))
        };
        for (text, kind, modifier) in [
            ("numeric(10, 2)", None, Some(655_366)),
            ("numeric(76, 38)", None, Some(4_980_778)),
            ("decimal(5)", None, Some(327_684)),
            ("numeric", None, None),
            ("varchar(40)", Some(Kind::Varchar), Some(44)),
            ("character varying", Some(Kind::Varchar), None),
            ("varchar(3)[]", Some(Kind::Varchar), Some(7)),
            ("char(3)", None, Some(7)),
            ("character[]", None, Some(5)),
            ("bpchar", None, None),
            ("timestamp(3)", None, Some(3)),
            ("timestamp(0) with time zone", None, Some(0)),
            ("time", None, None),
            ("text", None, None),
        ] {
            let shown = shown(text);
            assert_eq!((shown.kind, shown.modifier), (kind, modifier), "{text}");
        }
    }

    #[test]
    fn what_is_put_beside_a_field_is_read_again() {
        let plain = Field::new("c", arrow::datatypes::DataType::Utf8, true);
        for digits in [Digits::Fixed(2), Digits::Quotient(2)] {
            let described = Described {
                shown: Shown { kind: None, modifier: Some(655_366), digits: Some(digits), width: Some(7) },
                origin: Some(Origin { relation_oid: 16_384, number: 3 }),
                row: Some(16_385),
            };
            assert_eq!(Described::of(&described.put(plain.clone())), described);
        }
        assert_eq!(Described::of(&plain), Described::default());
    }
}
