//! The types of catalog queries: Postgres' own, by OID, read once from `types.txt`.
//!
//! A value's type is known before any row is read. `unknown` is that of a literal or a parameter which nothing
//! has given a type yet; [`common`] settles what two sides of an operator are compared as.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// A type as `pg_type` describes it.
#[derive(Debug)]
pub(in crate::pg_catalog) struct TypeRow {
    pub(in crate::pg_catalog) oid: u32,
    pub(in crate::pg_catalog) name: &'static str,
    /// As `format_type` writes it.
    pub(in crate::pg_catalog) sql_name: &'static str,
    pub(in crate::pg_catalog) length: i64,
    /// `b`ase or `p`seudo.
    pub(in crate::pg_catalog) kind: &'static str,
    pub(in crate::pg_catalog) category: char,
    pub(in crate::pg_catalog) element: u32,
    pub(in crate::pg_catalog) array: u32,
    pub(in crate::pg_catalog) preferred: bool,
    pub(in crate::pg_catalog) align: &'static str,
    pub(in crate::pg_catalog) storage: &'static str,
    /// Functions: input, output, receive, send.
    pub(in crate::pg_catalog) functions: [u32; 4],
    pub(in crate::pg_catalog) by_value: bool,
    pub(in crate::pg_catalog) collation: u32,
    /// Functions that read and write its modifier.
    pub(in crate::pg_catalog) modifiers: [u32; 2],
}

static TYPES: LazyLock<Vec<TypeRow>> = LazyLock::new(|| {
    let lines = include_str!("types.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| read(line).unwrap_or_else(|| panic!("types.txt is part of the program: {line}"))).collect()
});

static BY_NAME: LazyLock<HashMap<&'static str, u32>> = LazyLock::new(|| {
    let names = TYPES.iter().flat_map(|row| [(row.sql_name, row.oid), (row.name, row.oid)]);
    // `char` in SQL is bpchar; the one-byte type is written in quotes.
    let spellings = [
        ("int", 23),
        ("decimal", 1700),
        ("dec", 1700),
        ("string", 25),
        ("bool", 16),
        ("char varying", 1043),
        ("timestamp", 1114),
        ("timestamptz", 1184),
        ("time", 1083),
        ("float", 701),
        ("\"char\"", 18),
    ];
    names.chain(spellings).collect()
});

fn read(line: &'static str) -> Option<TypeRow> {
    let (columns, sql_name) = line.split_once(": ")?;
    let words: Vec<&str> = columns.split(' ').collect();
    let number = |index: usize| words.get(index)?.parse::<u32>().ok();
    Some(TypeRow {
        oid: number(0)?,
        name: words.get(1)?,
        sql_name,
        length: words.get(2)?.parse().ok()?,
        kind: words.get(3)?,
        category: words.get(4)?.chars().next()?,
        element: number(5)?,
        array: number(6)?,
        preferred: *words.get(7)? == "t",
        align: words.get(8)?,
        storage: words.get(9)?,
        functions: [number(10)?, number(11)?, number(12)?, number(13)?],
        by_value: *words.get(14)? == "t",
        collation: number(15)?,
        modifiers: [number(16)?, number(17)?],
    })
}

/// All types, by OID, without those of arrays.
pub(in crate::pg_catalog) fn types() -> &'static [TypeRow] {
    &TYPES
}

/// A type by its OID, and whether that is the OID of its array.
pub(in crate::pg_catalog) fn of_oid(oid: u32) -> Option<(&'static TypeRow, bool)> {
    if oid == 0 {
        return None;
    }
    let plain = TYPES.binary_search_by_key(&oid, |row| row.oid).ok().map(|index| (&TYPES[index], false));
    plain.or_else(|| TYPES.iter().find(|row| row.array == oid).map(|row| (row, true)))
}

/// The type of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::pg_catalog) enum Type {
    /// Not settled yet.
    Unknown,
    /// One with an OID of its own, vectors included.
    Plain(u32),
    /// An array of elements of the type with this OID.
    Array(u32),
    /// Named fields.
    Record(Arc<[(String, Type)]>),
}

pub(in crate::pg_catalog) const BOOL: Type = Type::Plain(16);
pub(in crate::pg_catalog) const CHAR: Type = Type::Plain(18);
pub(in crate::pg_catalog) const NAME: Type = Type::Plain(19);
pub(in crate::pg_catalog) const INT8: Type = Type::Plain(20);
pub(in crate::pg_catalog) const INT2: Type = Type::Plain(21);
pub(in crate::pg_catalog) const INT4: Type = Type::Plain(23);
pub(in crate::pg_catalog) const REGPROC: Type = Type::Plain(24);
pub(in crate::pg_catalog) const TEXT: Type = Type::Plain(25);
pub(in crate::pg_catalog) const OID: Type = Type::Plain(26);
pub(in crate::pg_catalog) const TID: Type = Type::Plain(27);
pub(in crate::pg_catalog) const XID: Type = Type::Plain(28);
pub(in crate::pg_catalog) const JSON: Type = Type::Plain(114);
pub(in crate::pg_catalog) const FLOAT8: Type = Type::Plain(701);
pub(in crate::pg_catalog) const DATE: Type = Type::Plain(1082);
pub(in crate::pg_catalog) const TIME: Type = Type::Plain(1083);
pub(in crate::pg_catalog) const TIMESTAMP: Type = Type::Plain(1114);
pub(in crate::pg_catalog) const TIMESTAMPTZ: Type = Type::Plain(1184);
pub(in crate::pg_catalog) const INTERVAL: Type = Type::Plain(1186);
pub(in crate::pg_catalog) const NUMERIC: Type = Type::Plain(1700);
pub(in crate::pg_catalog) const REGCLASS: Type = Type::Plain(2205);
pub(in crate::pg_catalog) const REGROLE: Type = Type::Plain(4096);
pub(in crate::pg_catalog) const REGTYPE: Type = Type::Plain(2206);
pub(in crate::pg_catalog) const JSONB: Type = Type::Plain(3802);

/// What the values of a type are held as, which decides what they can be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pg_catalog) enum Family {
    Unknown,
    Bool,
    /// Integers, OIDs and the types that show OIDs by name.
    Int,
    Float,
    Text,
    Bytes,
    /// Dates and timestamps.
    Moment,
    Interval,
    Json,
    Array,
    Record,
    Void,
}

impl Type {
    /// The type with an OID; `None` when there is none.
    pub(in crate::pg_catalog) fn of_oid(oid: u32) -> Option<Self> {
        of_oid(oid).map(|(row, array)| if array { Self::Array(row.oid) } else { Self::Plain(row.oid) })
    }

    /// The type with a name, in SQL or in the catalog; `_int4` and `integer[]` are arrays.
    pub(in crate::pg_catalog) fn named(name: &str) -> Option<Self> {
        let name = name.trim();
        let name = name.strip_prefix("pg_catalog.").unwrap_or(name);
        if let Some(element) = name.strip_suffix("[]") {
            return Self::named(element)?.array_of();
        }
        if let Some(oid) = BY_NAME.get(name) {
            return Some(Self::Plain(*oid));
        }
        Self::named(name.strip_prefix('_')?)?.array_of()
    }

    /// Its OID; a record's is that of `record`.
    pub(in crate::pg_catalog) fn oid(&self) -> u32 {
        match self {
            Self::Unknown => 705,
            Self::Plain(oid) => *oid,
            Self::Array(element) => of_oid(*element).map_or(0, |(row, _)| row.array),
            Self::Record(_) => 2249,
        }
    }

    /// The name in SQL.
    pub(in crate::pg_catalog) fn sql_name(&self) -> String {
        match self {
            Self::Unknown => "unknown".to_owned(),
            Self::Plain(oid) => of_oid(*oid).map_or_else(|| "???".to_owned(), |(row, _)| row.sql_name.to_owned()),
            Self::Array(element) => format!("{}[]", Self::Plain(*element).sql_name()),
            Self::Record(_) => "record".to_owned(),
        }
    }

    /// The type of an array of it; records have none with an element OID of their own.
    pub(in crate::pg_catalog) fn array_of(&self) -> Option<Self> {
        match self {
            Self::Unknown => Some(Self::Array(25)),
            Self::Plain(oid) => Some(Self::Array(*oid)),
            Self::Record(_) => Some(Self::Array(2249)),
            Self::Array(_) => Some(self.clone()),
        }
    }

    /// The type of an array's or a vector's elements.
    pub(in crate::pg_catalog) fn element(&self) -> Option<Self> {
        match self {
            Self::Array(element) => Some(Self::Plain(*element)),
            Self::Plain(22) => Some(INT2),
            Self::Plain(30) => Some(OID),
            // Statistics that are never there.
            Self::Plain(2277) => Some(TEXT),
            _ => None,
        }
    }

    /// The number of the first element: vectors count from 0.
    pub(in crate::pg_catalog) fn first_subscript(&self) -> i64 {
        i64::from(!matches!(self, Self::Plain(22 | 30)))
    }

    /// Whether its values are OIDs that are shown by name.
    pub(in crate::pg_catalog) fn is_registry(&self) -> bool {
        matches!(self, Self::Plain(24 | 2202..=2206 | 3734 | 3769 | 4089 | 4096 | 4191))
    }

    /// How its values are held.
    pub(in crate::pg_catalog) fn family(&self) -> Family {
        match self {
            Self::Unknown | Self::Plain(705) => Family::Unknown,
            Self::Array(_) | Self::Plain(22 | 30 | 2277 | 5078) => Family::Array,
            Self::Record(_) | Self::Plain(2249) => Family::Record,
            registry if registry.is_registry() => Family::Int,
            Self::Plain(oid) => match oid {
                16 => Family::Bool,
                20 | 21 | 23 | 26 | 28 | 29 | 5069 => Family::Int,
                700 | 701 | 1700 => Family::Float,
                17 => Family::Bytes,
                1082 | 1083 | 1114 | 1184 => Family::Moment,
                1186 => Family::Interval,
                114 | 3802 => Family::Json,
                2278 => Family::Void,
                _ => Family::Text,
            },
        }
    }
}

/// The rank by which the wider of two numbers is chosen.
fn width(oid: u32) -> u8 {
    match oid {
        21 => 1,
        23 => 2,
        20 => 3,
        1700 => 4,
        700 => 5,
        701 => 6,
        _ => 0,
    }
}

/// The type that two expressions have in common: of an operator's sides, of the arms of a CASE, of the rows of
/// a UNION. `None` when there is none.
pub(in crate::pg_catalog) fn common(left: &Type, right: &Type) -> Option<Type> {
    match (left.family(), right.family()) {
        (Family::Unknown, Family::Unknown) => Some(TEXT),
        (Family::Unknown, _) => Some(right.clone()),
        (_, Family::Unknown) => Some(left.clone()),
        _ if left == right => Some(left.clone()),
        (Family::Int | Family::Float, Family::Int | Family::Float) => Some(wider(left, right)),
        (Family::Text, Family::Text) => {
            Some(if *left == NAME || *right == NAME { wider_text(left, right) } else { TEXT })
        }
        (Family::Moment, Family::Moment) => Some(if left.oid() > right.oid() { left.clone() } else { right.clone() }),
        (Family::Array, Family::Array) => {
            common(&left.element()?, &right.element()?).and_then(|element| element.array_of())
        }
        (Family::Record, Family::Record) | (Family::Json, Family::Json) => Some(left.clone()),
        // A name of the catalog beside a text stands for its OID.
        (Family::Text, Family::Int) if *right == REGCLASS => Some(REGCLASS),
        (Family::Int, Family::Text) if *left == REGCLASS => Some(REGCLASS),
        _ => None,
    }
}

fn wider_text(left: &Type, right: &Type) -> Type {
    if left == right { left.clone() } else { TEXT }
}

fn wider(left: &Type, right: &Type) -> Type {
    let (left_width, right_width) = (width(left.oid()), width(right.oid()));
    match (left_width, right_width) {
        // OIDs take what is compared with them.
        (0, 0) => OID,
        (0, 1 | 2) => left.clone(),
        (1 | 2, 0) => right.clone(),
        _ if left_width >= right_width => left.clone(),
        _ => right.clone(),
    }
}

/// Whether a value of one type can stand where a function declares another, and how far apart they are:
/// the nearest declaration is called.
pub(in crate::pg_catalog) fn distance(given: &Type, declared: &Type) -> Option<u32> {
    if given == declared {
        return Some(0);
    }
    match declared {
        Type::Plain(2276) | Type::Plain(2283) | Type::Plain(2776) => return Some(6),
        Type::Plain(2277) | Type::Plain(5078) => {
            return matches!(given.family(), Family::Array | Family::Unknown).then_some(6);
        }
        _ => {}
    }
    match (given.family(), declared.family()) {
        // A literal is rather text than anything else.
        (Family::Unknown, Family::Text) => Some(if *declared == TEXT { 1 } else { 2 }),
        (Family::Unknown, _) => Some(3),
        (Family::Text, Family::Text) => Some(if *declared == TEXT { 1 } else { 4 }),
        (Family::Text, Family::Int) if *declared == REGCLASS => Some(5),
        (Family::Int, Family::Int) | (Family::Float, Family::Float) => {
            let (from, to) = (width(given.oid()), width(declared.oid()));
            match (from, to) {
                (0, 0) => Some(1),
                (0, 3) => Some(3),
                (0, _) => None,
                (_, 0) => Some(3),
                _ => (from <= to).then(|| u32::from(to - from)),
            }
        }
        (Family::Int, Family::Float) => (width(given.oid()) > 0).then(|| if declared.oid() == 701 { 5 } else { 6 }),
        (Family::Moment, Family::Moment) => (given.oid() < declared.oid()).then_some(2),
        (Family::Array, Family::Array) => {
            let (from, to) = (given.element()?, declared.element()?);
            (from == to || from.family() == Family::Text && to == TEXT).then_some(1)
        }
        (Family::Record, Family::Record) => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_by_every_name() {
        for (name, oid) in [
            ("int4", 23),
            ("integer", 23),
            ("\"char\"", 18),
            ("_text", 1009),
            ("regclass", 2205),
            ("pg_catalog.text", 25),
            ("character varying", 1043),
            ("oid[]", 1028),
        ] {
            assert_eq!(Type::named(name).map(|found| found.oid()), Some(oid), "{name}");
        }
        assert_eq!(Type::named("nothing"), None);
        assert!(TYPES.is_sorted_by_key(|row| row.oid));
    }

    #[test]
    fn sides_settle_on_one_type_or_none() {
        assert_eq!(common(&OID, &INT4), Some(OID));
        assert_eq!(common(&INT4, &INT8), Some(INT8));
        assert_eq!(common(&NAME, &Type::Unknown), Some(NAME));
        assert_eq!(common(&NAME, &TEXT), Some(TEXT));
        assert_eq!(common(&OID, &TEXT), None);
        assert_eq!(distance(&OID, &TEXT), None);
    }
}
