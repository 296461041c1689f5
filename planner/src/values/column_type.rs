//! Which Postgres type an Arrow column is shown as, and in which Arrow type it is formatted.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, TimeUnit};

use super::NESTING_LEVELS;
use super::shown::{Digits, WIDTH_METADATA, digits_of};
use crate::error::{PlanError, PlanErrorKind, Result};

/// Field metadata that names the Postgres type where Arrow has none of its own: `uuid`, `jsonb`, `name`, ...
pub const TYPE_METADATA: &str = "millstream.type";

/// The Postgres types that columns and parameters can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `numeric`
    Numeric,
    /// `text`
    Text,
    /// `character varying`
    Varchar,
    /// `character`
    Bpchar,
    /// `name`, of catalog relations
    Name,
    /// `"char"`, of catalog relations
    Char,
    /// `bytea`
    Bytea,
    /// `date`
    Date,
    /// `time without time zone`
    Time,
    /// `timestamp without time zone`
    Timestamp,
    /// `timestamp with time zone`
    Timestamptz,
    /// `interval`
    Interval,
    /// `uuid`
    Uuid,
    /// `json`; maps are shown as it
    Json,
    /// `jsonb`
    Jsonb,
    /// `oid`, of catalog relations
    Oid,
    /// `regclass`, of catalog relations
    Regclass,
    /// `regproc`, of catalog relations
    Regproc,
    /// `regprocedure`, of catalog queries
    Regprocedure,
    /// `regoper`, of catalog queries
    Regoper,
    /// `regoperator`, of catalog queries
    Regoperator,
    /// `regtype`, of catalog relations
    Regtype,
    /// `regnamespace`, of catalog queries
    Regnamespace,
    /// `regrole`, of catalog queries
    Regrole,
    /// `regcollation`, of catalog queries
    Regcollation,
    /// `int2vector`, of catalog relations
    Int2Vector,
    /// `oidvector`, of catalog relations
    OidVector,
    /// `pg_node_tree`, of catalog relations
    NodeTree,
    /// A composite value without a named type.
    Record,
    /// An array; its elements have a type of their own.
    Array,
}

/// A row of the table of types: name, OID, OID of the array, bytes on disk (−1: it varies).
struct TypeRow(Kind, &'static str, u32, u32, i16);

const TYPES: &[TypeRow] = &[
    TypeRow(Kind::Bool, "boolean", 16, 1000, 1),
    TypeRow(Kind::Int2, "smallint", 21, 1005, 2),
    TypeRow(Kind::Int4, "integer", 23, 1007, 4),
    TypeRow(Kind::Int8, "bigint", 20, 1016, 8),
    TypeRow(Kind::Float4, "real", 700, 1021, 4),
    TypeRow(Kind::Float8, "double precision", 701, 1022, 8),
    TypeRow(Kind::Numeric, "numeric", 1700, 1231, -1),
    TypeRow(Kind::Text, "text", 25, 1009, -1),
    TypeRow(Kind::Varchar, "character varying", 1043, 1015, -1),
    TypeRow(Kind::Bpchar, "character", 1042, 1014, -1),
    TypeRow(Kind::Name, "name", 19, 1003, 64),
    TypeRow(Kind::Char, "\"char\"", 18, 1002, 1),
    TypeRow(Kind::Bytea, "bytea", 17, 1001, -1),
    TypeRow(Kind::Date, "date", 1082, 1182, 4),
    TypeRow(Kind::Time, "time without time zone", 1083, 1183, 8),
    TypeRow(Kind::Timestamp, "timestamp without time zone", 1114, 1115, 8),
    TypeRow(Kind::Timestamptz, "timestamp with time zone", 1184, 1185, 8),
    TypeRow(Kind::Interval, "interval", 1186, 1187, 16),
    TypeRow(Kind::Uuid, "uuid", 2950, 2951, 16),
    TypeRow(Kind::Json, "json", 114, 199, -1),
    TypeRow(Kind::Jsonb, "jsonb", 3802, 3807, -1),
    TypeRow(Kind::Oid, "oid", 26, 1028, 4),
    TypeRow(Kind::Regclass, "regclass", 2205, 2210, 4),
    TypeRow(Kind::Regproc, "regproc", 24, 1008, 4),
    TypeRow(Kind::Regprocedure, "regprocedure", 2202, 2207, 4),
    TypeRow(Kind::Regoper, "regoper", 2203, 2208, 4),
    TypeRow(Kind::Regoperator, "regoperator", 2204, 2209, 4),
    TypeRow(Kind::Regtype, "regtype", 2206, 2211, 4),
    TypeRow(Kind::Regnamespace, "regnamespace", 4089, 4090, 4),
    TypeRow(Kind::Regrole, "regrole", 4096, 4097, 4),
    TypeRow(Kind::Regcollation, "regcollation", 4191, 4192, 4),
    TypeRow(Kind::Int2Vector, "int2vector", 22, 1006, -1),
    TypeRow(Kind::OidVector, "oidvector", 30, 1013, -1),
    TypeRow(Kind::NodeTree, "pg_node_tree", 194, 25, -1),
    TypeRow(Kind::Record, "record", 2249, 2287, -1),
    TypeRow(Kind::Array, "anyarray", 2277, 2277, -1),
];

impl Kind {
    fn row(self) -> &'static TypeRow {
        TYPES.iter().find(|row| row.0 == self).expect("every kind has a row")
    }

    /// The name that `format_type` gives it.
    pub fn sql_name(self) -> &'static str {
        self.row().1
    }

    /// The OID of the type.
    pub fn oid(self) -> u32 {
        self.row().2
    }

    /// The OID of its array type.
    pub fn array_oid(self) -> u32 {
        self.row().3
    }

    /// Bytes on disk, −1 when it varies.
    pub fn size_bytes(self) -> i16 {
        self.row().4
    }

    /// All of them, in the order of the declaration.
    pub fn all() -> impl Iterator<Item = Self> {
        TYPES.iter().map(|row| row.0)
    }

    /// The type with an OID, and whether the OID is that of its array.
    pub fn of_oid(oid: u32) -> Option<(Self, bool)> {
        let row = TYPES.iter().find(|row| row.2 == oid || row.3 == oid)?;
        Some((row.0, row.2 != oid))
    }

    /// Whether its values are OIDs that are shown by name: number and name, side by side, in a struct.
    pub fn is_registry(self) -> bool {
        use Kind::{
            Regclass, Regcollation, Regnamespace, Regoper, Regoperator, Regproc, Regprocedure, Regrole, Regtype,
        };
        let numbered = [Regclass, Regproc, Regprocedure, Regoper, Regoperator, Regtype, Regnamespace, Regrole];
        numbered.contains(&self) || self == Regcollation
    }

    /// The Arrow type of its values, in which parameters are read; `None` where that takes more than the kind.
    pub fn arrow_type(self) -> Option<DataType> {
        Some(match self {
            Self::Bool => DataType::Boolean,
            Self::Int2 => DataType::Int16,
            Self::Int4 => DataType::Int32,
            Self::Int8 | Self::Oid => DataType::Int64,
            Self::Float4 => DataType::Float32,
            Self::Float8 => DataType::Float64,
            Self::Text
            | Self::Varchar
            | Self::Name
            | Self::Char
            | Self::Regclass
            | Self::Regproc
            | Self::Regprocedure
            | Self::Regoper
            | Self::Regoperator
            | Self::Regnamespace
            | Self::Regrole
            | Self::Regcollation
            | Self::Regtype
            | Self::Int2Vector
            | Self::OidVector
            | Self::NodeTree => DataType::Utf8,
            Self::Bpchar => crate::types::CHAR,
            Self::Json => DataType::LargeBinary,
            Self::Jsonb => DataType::LargeUtf8,
            Self::Bytea => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Self::Uuid => DataType::FixedSizeBinary(16),
            Self::Numeric | Self::Record | Self::Array => return None,
        })
    }

    /// The type that [`TYPE_METADATA`] names.
    fn of_metadata(name: &str) -> Option<Self> {
        match name {
            "varchar" => Some(Self::Varchar),
            "bpchar" | "char" => Some(Self::Bpchar),
            name => TYPES.iter().find(|row| row.1 == name).map(|row| row.0),
        }
    }
}

/// Numerics show those up to their last one that is no zero.
const NO_DIGITS: Digits = Digits::Fixed(0);

/// The type of a column or a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnType {
    kind: Kind,
    storage: DataType,
    /// Of an array its one element type, of a record those of its fields.
    children: Vec<ColumnType>,
    /// Digits that a numeric shows behind the point at least.
    digits: Digits,
    /// Characters that a `char(n)` shows at least.
    width: usize,
}

impl ColumnType {
    /// The type of a column: by metadata where there is some, else by its Arrow type.
    pub fn of_field(field: &Field) -> Result<Self> {
        Self::of_field_at(field, 0)
    }

    /// The type of an Arrow type without metadata.
    pub fn of_type(data_type: &DataType) -> Result<Self> {
        Self::of_type_at(data_type, 0)
    }

    fn of_field_at(field: &Field, level: usize) -> Result<Self> {
        let mut plain = Self::of_type_at(field.data_type(), level)?;
        plain.show_digits(digits_of(field).unwrap_or(NO_DIGITS));
        let width = field.metadata().get(WIDTH_METADATA).and_then(|width| width.parse().ok());
        plain.show_width(width.unwrap_or(0));
        let named = field.metadata().get(TYPE_METADATA).and_then(|name| Kind::of_metadata(name));
        Ok(match named {
            Some(named) => plain.named(named),
            None => plain,
        })
    }

    /// A numeric, or the numerics of an array, with so many digits behind the point.
    fn show_digits(&mut self, digits: Digits) {
        match self.kind {
            Kind::Numeric => self.digits = digits,
            Kind::Array => self.children.iter_mut().for_each(|child| child.show_digits(digits)),
            _ => {}
        }
    }

    /// A `char(n)`, or those of an array, with so many characters.
    fn show_width(&mut self, width: usize) {
        match self.kind {
            Kind::Bpchar => self.width = width,
            Kind::Array => self.children.iter_mut().for_each(|child| child.show_width(width)),
            _ => {}
        }
    }

    /// The type under another name; an array's elements, however deep, have it.
    fn named(self, kind: Kind) -> Self {
        match kind {
            kind if self.kind == Kind::Array && kind != Kind::Array => {
                let elements = self.children.into_iter().map(|child| child.named(kind));
                Self { children: elements.collect(), ..self }
            }
            Kind::Oid if self.storage.is_integer() => Self { kind, storage: DataType::Int64, ..self },
            kind => Self { kind, ..self },
        }
    }

    fn of_type_at(data_type: &DataType, level: usize) -> Result<Self> {
        if level > NESTING_LEVELS {
            let message = format!("values can be nested at most {NESTING_LEVELS} levels deep");
            return Err(
                PlanError::new(PlanErrorKind::ProgramLimitExceeded, message).with_hint("Select the inner values.")
            );
        }
        let plain = |kind, storage: &DataType| {
            Ok(Self { kind, storage: storage.clone(), children: Vec::new(), digits: NO_DIGITS, width: 0 })
        };
        match data_type {
            DataType::Null => plain(Kind::Text, data_type),
            DataType::Boolean => plain(Kind::Bool, data_type),
            DataType::Int8 | DataType::UInt8 | DataType::Int16 => plain(Kind::Int2, &DataType::Int16),
            DataType::UInt16 | DataType::Int32 => plain(Kind::Int4, &DataType::Int32),
            DataType::UInt32 | DataType::Int64 => plain(Kind::Int8, &DataType::Int64),
            DataType::UInt64 => plain(Kind::Numeric, &DataType::Decimal128(20, 0)),
            DataType::Float16 | DataType::Float32 => plain(Kind::Float4, &DataType::Float32),
            DataType::Float64 => plain(Kind::Float8, data_type),
            DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
                plain(Kind::Numeric, &DataType::Decimal128(*precision, *scale))
            }
            DataType::Decimal128(..) | DataType::Decimal256(..) => plain(Kind::Numeric, data_type),
            DataType::Utf8 => plain(Kind::Text, data_type),
            DataType::Utf8View => plain(Kind::Bpchar, data_type),
            DataType::LargeUtf8 => plain(Kind::Jsonb, data_type),
            DataType::LargeBinary => plain(Kind::Json, data_type),
            DataType::FixedSizeBinary(16) => plain(Kind::Uuid, data_type),
            DataType::Binary | DataType::BinaryView | DataType::FixedSizeBinary(_) => plain(Kind::Bytea, data_type),
            DataType::Date32 | DataType::Date64 => plain(Kind::Date, &DataType::Date32),
            DataType::Time32(_) | DataType::Time64(_) => plain(Kind::Time, &DataType::Time64(TimeUnit::Microsecond)),
            DataType::Timestamp(_, None) => plain(Kind::Timestamp, &DataType::Timestamp(TimeUnit::Microsecond, None)),
            DataType::Timestamp(_, Some(zone)) => {
                plain(Kind::Timestamptz, &DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::clone(zone))))
            }
            DataType::Interval(_) => plain(Kind::Interval, &DataType::Interval(IntervalUnit::MonthDayNano)),
            DataType::Duration(_) => plain(Kind::Interval, &DataType::Duration(TimeUnit::Microsecond)),
            DataType::Dictionary(_, value) => Self::of_type_at(value, level + 1),
            DataType::RunEndEncoded(_, values) => Self::of_field_at(values, level + 1),
            DataType::List(element)
            | DataType::ListView(element)
            | DataType::FixedSizeList(element, _)
            | DataType::LargeList(element)
            | DataType::LargeListView(element) => Self::array(element, level),
            DataType::Struct(fields) => Self::record(fields, level),
            DataType::Map(entries, sorted) => Self::map(entries, *sorted, level),
            DataType::Union(..) => Err(PlanError::unsupported(format!("values of type {data_type} can't be shown"))
                .with_hint("Cast the column to another type.")),
        }
    }

    fn array(element: &FieldRef, level: usize) -> Result<Self> {
        let child = Self::of_field_at(element, level + 1)?;
        let storage = DataType::List(restored(element, &child));
        Ok(Self { kind: Kind::Array, storage, children: vec![child], digits: NO_DIGITS, width: 0 })
    }

    fn record(fields: &Fields, level: usize) -> Result<Self> {
        let children: Vec<_> = fields.iter().map(|field| Self::of_field_at(field, level + 1)).collect::<Result<_>>()?;
        let storage = fields.iter().zip(&children).map(|(field, child)| restored(field, child)).collect();
        Ok(Self { kind: Kind::Record, storage: DataType::Struct(storage), children, digits: NO_DIGITS, width: 0 })
    }

    fn map(entries: &FieldRef, sorted: bool, level: usize) -> Result<Self> {
        let entry = Self::of_field_at(entries, level + 1)?;
        let storage = DataType::Map(restored(entries, &entry), sorted);
        Ok(Self { kind: Kind::Json, storage, children: entry.children, digits: NO_DIGITS, width: 0 })
    }

    /// The type without its parts.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The Arrow type in which its values are formatted.
    pub fn storage(&self) -> &DataType {
        &self.storage
    }

    /// Digits that a numeric shows behind the point at least, zeros among them.
    pub fn digits(&self) -> Digits {
        self.digits
    }

    /// Characters that a `char(n)` shows at least, blanks at its end among them.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The element type of an array, the field types of a record, key and value types of a map.
    pub fn children(&self) -> &[ColumnType] {
        &self.children
    }

    /// The innermost element type of an array of any depth.
    pub fn element(&self) -> &ColumnType {
        match (self.kind, self.children.first()) {
            (Kind::Array, Some(child)) => child.element(),
            _ => self,
        }
    }

    /// The OID on the wire.
    pub fn oid(&self) -> u32 {
        match self.kind {
            Kind::Array => self.element().kind.array_oid(),
            kind => kind.oid(),
        }
    }

    /// The size that RowDescription says, −1 when it varies.
    pub fn size_bytes(&self) -> i16 {
        self.kind.size_bytes()
    }

    /// The name that `format_type` gives it.
    pub fn sql_name(&self) -> String {
        match self.kind {
            Kind::Array => format!("{}[]", self.element().kind.sql_name()),
            kind => kind.sql_name().to_owned(),
        }
    }
}

/// The same field over the storage type of its values.
fn restored(field: &FieldRef, column: &ColumnType) -> FieldRef {
    if field.data_type() == &column.storage {
        return Arc::clone(field);
    }
    Arc::new(field.as_ref().clone().with_data_type(column.storage.clone()))
}
