//! The frame of functions of dates and times: overloads as Postgres resolves them, one row in and one value out.
//!
//! What counts by clocks gets the session's zone when its statement is bound ([`in_session`]); a call that was never
//! bound has none and fails, it does not count in UTC. A NULL among the arguments gives NULL unless the definition
//! says otherwise.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, IntervalMonthDayNanoArray,
    StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Field, FieldRef, Float64Type, Int32Type, Int64Type,
    IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, i256,
};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use crate::bind::refuse;
use crate::error::{PlanError, PlanErrorKind};
use crate::functions::sql_type;
use crate::types::{DECIMAL128_PRECISION_MAX, NUMERIC_PRECISION, NUMERIC_SCALE};
use crate::values::{TextStyle, Zone};

/// What an argument or a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Boolean,
    Integer,
    BigInt,
    Double,
    Numeric,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
}

/// Kinds among which Postgres chooses by preference; between two of them it does not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Category {
    Text,
    Boolean,
    Number,
    Moment,
    Span,
}

impl Kind {
    fn data_type(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Boolean => DataType::Boolean,
            Self::Integer => DataType::Int32,
            Self::BigInt => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Numeric => DataType::Decimal128(NUMERIC_PRECISION, NUMERIC_SCALE),
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
        }
    }

    /// Whether a value of the type is one as it stands.
    fn is(self, data_type: &DataType) -> bool {
        match self {
            Self::Numeric => data_type.is_decimal(),
            kind => kind.data_type() == *data_type,
        }
    }

    /// Whether Postgres makes one of it by itself.
    fn takes(self, data_type: &DataType) -> bool {
        use DataType as T;
        self.is(data_type)
            || match self {
                Self::Text => data_type.is_string() && *data_type != T::LargeUtf8,
                Self::Integer => matches!(data_type, T::Int8 | T::Int16),
                Self::BigInt => data_type.is_signed_integer(),
                Self::Double => data_type.is_numeric(),
                Self::Numeric => data_type.is_integer(),
                Self::Timestamp => *data_type == T::Date32,
                Self::Timestamptz => matches!(data_type, T::Date32 | T::Timestamp(..)),
                Self::Interval => matches!(data_type, T::Time64(_) | T::Duration(_) | T::Interval(_)),
                Self::Time => matches!(data_type, T::Time64(_) | T::Time32(_)),
                Self::Boolean | Self::Date => false,
            }
    }

    fn category(self) -> Category {
        match self {
            Self::Text => Category::Text,
            Self::Boolean => Category::Boolean,
            Self::Integer | Self::BigInt | Self::Double | Self::Numeric => Category::Number,
            Self::Date | Self::Time | Self::Timestamp | Self::Timestamptz => Category::Moment,
            Self::Interval => Category::Span,
        }
    }

    /// Whether it is the one of its category that Postgres prefers.
    fn is_preferred(self) -> bool {
        matches!(self, Self::Text | Self::Boolean | Self::Double | Self::Timestamptz | Self::Interval)
    }
}

/// One value that a function gives.
#[derive(Debug)]
pub(super) enum Datum {
    Null,
    Text(String),
    Boolean(bool),
    Double(f64),
    /// So many digits of it behind the point.
    Numeric(i128, u8),
    /// Days since 1970.
    Date(i32),
    /// Microseconds: of the day, or since 1970.
    Micros(i64),
    Interval(IntervalMonthDayNano),
}

/// What a function gives.
#[derive(Clone, Copy)]
pub(super) enum Gives {
    Kind(Kind),
    /// A numeric with so many digits behind the point, by the arguments that are literals.
    Digits(fn(&[Option<&str>]) -> Option<u8>),
}

/// One list of arguments that a function takes.
pub(super) struct Overload {
    pub(super) takes: &'static [Kind],
    pub(super) gives: Gives,
    pub(super) run: fn(&Row<'_>) -> Result<Datum>,
}

pub(super) const fn overload(takes: &'static [Kind], gives: Kind, run: fn(&Row<'_>) -> Result<Datum>) -> Overload {
    Overload { takes, gives: Gives::Kind(gives), run }
}

/// A function by its name.
pub(super) struct Definition {
    pub(super) name: &'static str,
    pub(super) overloads: &'static [Overload],
    /// Whether NULL among the arguments gives NULL.
    pub(super) strict: bool,
}

/// A definition as a function of DataFusion's.
#[derive(Debug)]
pub(super) struct MomentFunction {
    name: &'static str,
    aliases: Vec<String>,
    definition: &'static Definition,
    style: Option<TextStyle>,
    signature: Signature,
}

impl std::fmt::Debug for Definition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for MomentFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.style == other.style
    }
}

impl Eq for MomentFunction {}

impl Hash for MomentFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.style.hash(state);
    }
}

/// A function as the registry has it.
pub(super) fn function(definition: &'static Definition, aliases: &[&str]) -> Arc<ScalarUDF> {
    let any = vec![TypeSignature::VariadicAny, TypeSignature::Nullary];
    Arc::new(ScalarUDF::from(MomentFunction {
        name: definition.name,
        aliases: aliases.iter().map(ToString::to_string).collect(),
        definition,
        style: None,
        signature: Signature::one_of(any, Volatility::Immutable),
    }))
}

/// The function with a session's zone and forms; `None` for one that is none of these.
pub(super) fn in_session(function: &ScalarUDF, style: TextStyle) -> Option<ScalarUDF> {
    let found = function.inner().downcast_ref::<MomentFunction>()?;
    Some(ScalarUDF::from(MomentFunction {
        name: found.name,
        aliases: found.aliases.clone(),
        definition: found.definition,
        style: Some(style),
        signature: found.signature.clone(),
    }))
}

/// The types in which a function takes arguments, `None` among `known` being a literal or parameter without one;
/// `None` for a function that is none of these.
pub(super) fn wanted(function: &ScalarUDF, known: &[Option<DataType>]) -> Option<Result<Vec<DataType>>> {
    let found = function.inner().downcast_ref::<MomentFunction>()?;
    Some(found.resolved(known).map(|overload| {
        let pairs = overload.takes.iter().zip(known);
        let wanted = pairs.map(|(kind, known)| match known {
            Some(known) if kind.is(known) => known.clone(),
            _ => kind.data_type(),
        });
        wanted.collect()
    }))
}

/// The digits behind the point that the numeric of a call shows; `None` where none are fixed.
pub(super) fn shown_digits(function: &ScalarUDF, arguments: &[Expr]) -> Option<u8> {
    let found = function.inner().downcast_ref::<MomentFunction>()?;
    // A date's fields are whole.
    let of_date = |expr: &Expr| matches!(expr, Expr::Cast(cast) if *cast.field.data_type() == DataType::Date32);
    if found.definition.name == "extract" && arguments.last().is_some_and(of_date) {
        return Some(0);
    }
    let literals: Vec<Option<&str>> = arguments.iter().map(literal).collect();
    found.definition.overloads.iter().find_map(|overload| match overload.gives {
        Gives::Digits(digits) => digits(&literals),
        Gives::Kind(_) => None,
    })
}

/// The one type of those that are known.
fn common_type(known: &[Option<DataType>]) -> Option<&DataType> {
    let mut types = known.iter().flatten();
    let first = types.next()?;
    types.all(|other| other == first).then_some(first)
}

fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text),
        _ => None,
    }
}

impl MomentFunction {
    /// The overload that Postgres would choose.
    fn resolved(&self, known: &[Option<DataType>]) -> Result<&'static Overload> {
        let fits = |overload: &&Overload| {
            let pairs = overload.takes.iter().zip(known);
            overload.takes.len() == known.len()
                && pairs.into_iter().all(|(kind, known)| known.as_ref().is_none_or(|known| kind.takes(known)))
        };
        let mut candidates: Vec<&'static Overload> = self.definition.overloads.iter().filter(fits).collect();
        let count = |overload: &Overload, counts: &dyn Fn(Kind, &DataType) -> bool| {
            let pairs = overload.takes.iter().zip(known);
            pairs.filter(|(kind, known)| known.as_ref().is_some_and(|known| counts(**kind, known))).count()
        };
        let exact = |kind: Kind, known: &DataType| kind.is(known);
        let preferred = |kind: Kind, known: &DataType| kind.is(known) || kind.is_preferred();
        for counts in [&exact as &dyn Fn(Kind, &DataType) -> bool, &preferred] {
            let most = candidates.iter().map(|overload| count(overload, counts)).max().unwrap_or_default();
            candidates.retain(|overload| count(overload, counts) == most);
        }
        for (place, _) in known.iter().enumerate().filter(|(_, known)| known.is_none()) {
            if candidates.iter().any(|overload| overload.takes[place] == Kind::Text) {
                candidates.retain(|overload| overload.takes[place] == Kind::Text);
            }
            let alike = |pair: &[&Overload]| pair[0].takes[place].category() == pair[1].takes[place].category();
            if candidates.windows(2).all(alike)
                && candidates.iter().any(|overload| overload.takes[place].is_preferred())
            {
                candidates.retain(|overload| overload.takes[place].is_preferred());
            }
        }
        if candidates.len() > 1
            && let Some(common) = common_type(known)
        {
            // What has no type is taken for what the others are.
            let all: Vec<&'static Overload> = candidates
                .iter()
                .filter(|overload| overload.takes.iter().all(|kind| kind.takes(common)))
                .copied()
                .collect();
            if !all.is_empty() {
                candidates = all;
            }
        }
        match candidates.as_slice() {
            [one] => Ok(one),
            [] => Err(self.refused(known, PlanErrorKind::UndefinedFunction, "does not exist")),
            _ => Err(self.refused(known, PlanErrorKind::AmbiguousFunction, "is not unique")),
        }
    }

    fn refused(&self, known: &[Option<DataType>], kind: PlanErrorKind, what: &str) -> DataFusionError {
        let name = |known: &Option<DataType>| known.as_ref().map_or_else(|| "unknown".to_string(), sql_type);
        let types: Vec<String> = known.iter().map(name).collect();
        let hint = match kind {
            PlanErrorKind::AmbiguousFunction => "Could not choose a best candidate function.",
            _ => "No function matches the given name and argument types.",
        };
        let error = PlanError::new(kind, format!("function {}({}) {what}", self.name, types.join(", ")))
            .with_hint(format!("{hint} You might need to add explicit type casts."));
        DataFusionError::External(Box::new(error))
    }

    /// The overload of arguments of these types, in which literals may still be text.
    fn of_types(&self, types: &[DataType]) -> Result<&'static Overload> {
        let exact = |overload: &&Overload| {
            overload.takes.len() == types.len()
                && overload.takes.iter().zip(types).all(|(kind, data_type)| kind.is(data_type))
        };
        if let Some(overload) = self.definition.overloads.iter().find(exact) {
            return Ok(overload);
        }
        let open = |data_type: &DataType| matches!(data_type, DataType::Utf8 | DataType::Null);
        // Literals are `bigint` until their place is known.
        let narrow = |data_type: &DataType| match data_type {
            DataType::Int64 => DataType::Int32,
            other => other.clone(),
        };
        let known: Vec<Option<DataType>> =
            types.iter().map(|data_type| (!open(data_type)).then(|| data_type.clone())).collect();
        self.resolved(&known).or_else(|error| {
            let narrowed: Vec<Option<DataType>> = known.iter().map(|known| known.as_ref().map(narrow)).collect();
            self.resolved(&narrowed).map_err(|_| error)
        })
    }
}

impl ScalarUDFImpl for MomentFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match self.of_types(types)?.gives {
            Gives::Kind(kind) => Ok(kind.data_type()),
            Gives::Digits(_) => Ok(DataType::Decimal128(NUMERIC_PRECISION, NUMERIC_SCALE)),
        }
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = arguments.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let data_type = match self.of_types(&types)?.gives {
            Gives::Kind(kind) => kind.data_type(),
            Gives::Digits(digits) => {
                let literals = arguments.scalar_arguments.iter().map(|value| match value {
                    Some(ScalarValue::Utf8(Some(text))) => Some(text.as_str()),
                    _ => None,
                });
                match digits(&literals.collect::<Vec<_>>()) {
                    Some(digits) => DataType::Decimal128(DECIMAL128_PRECISION_MAX as u8, digits as i8),
                    None => DataType::Decimal128(NUMERIC_PRECISION, NUMERIC_SCALE),
                }
            }
        };
        Ok(Arc::new(Field::new(self.name, data_type, true)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<DataType> = arguments.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let overload = self.of_types(&types)?;
        let scalar = arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { arguments.number_rows };
        let columns = arguments.args.iter().map(|argument| argument.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let mut values = Vec::with_capacity(rows);
        for row in 0..rows {
            let null = self.definition.strict && columns.iter().any(|column| column.is_null(row));
            let row = Row { columns: &columns, row, style: self.style };
            values.push(if null { Datum::Null } else { (overload.run)(&row)? });
        }
        let result = array(values, arguments.return_field.data_type())?;
        match scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            false => Ok(ColumnarValue::Array(result)),
        }
    }
}

/// The values as an array; one of another kind than the type is a fault of the definition.
fn array(values: Vec<Datum>, data_type: &DataType) -> Result<ArrayRef> {
    fn each<T>(values: Vec<Datum>, take: impl Fn(Datum) -> Option<T>) -> Result<Vec<Option<T>>> {
        let one = |value| match value {
            Datum::Null => Ok(None),
            value => take(value).map(Some).ok_or_else(|| {
                DataFusionError::External(Box::new(PlanError::internal("a function gave a value of another kind")))
            }),
        };
        values.into_iter().map(one).collect()
    }
    let micros = |values| each(values, |value| if let Datum::Micros(micros) = value { Some(micros) } else { None });
    Ok(match data_type {
        DataType::Utf8 => {
            let texts = each(values, |value| if let Datum::Text(text) = value { Some(text) } else { None })?;
            Arc::new(StringArray::from_iter(texts))
        }
        DataType::Boolean => {
            let truths = each(values, |value| if let Datum::Boolean(truth) = value { Some(truth) } else { None })?;
            Arc::new(BooleanArray::from(truths))
        }
        DataType::Float64 => {
            let floats = each(values, |value| if let Datum::Double(float) = value { Some(float) } else { None })?;
            Arc::new(Float64Array::from(floats))
        }
        DataType::Date32 => {
            let days = each(values, |value| if let Datum::Date(days) = value { Some(days) } else { None })?;
            Arc::new(Date32Array::from(days))
        }
        DataType::Time64(_) => Arc::new(Time64MicrosecondArray::from(micros(values)?)),
        DataType::Timestamp(_, zone) => {
            Arc::new(TimestampMicrosecondArray::from(micros(values)?).with_timezone_opt(zone.clone()))
        }
        DataType::Interval(_) => {
            let intervals =
                each(values, |value| if let Datum::Interval(interval) = value { Some(interval) } else { None })?;
            Arc::new(IntervalMonthDayNanoArray::from(intervals))
        }
        DataType::Decimal128(precision, scale) => {
            let numbers = values.into_iter().map(|value| match value {
                Datum::Null => Ok(None),
                Datum::Numeric(unscaled, digits) => rescaled(unscaled, digits, *scale).map(Some),
                _ => Err(DataFusionError::Internal("a function gave no numeric".to_string())),
            });
            let numbers = numbers.collect::<Result<Vec<_>>>()?;
            Arc::new(Decimal128Array::from(numbers).with_precision_and_scale(*precision, *scale)?)
        }
        other => return Err(DataFusionError::Internal(format!("no function of moments gives {other}"))),
    })
}

/// A numeric in the digits of its column: the digits that it does not have are cut.
fn rescaled(unscaled: i128, digits: u8, scale: i8) -> Result<i128> {
    let power = |exponent: i32| 10_i128.pow(exponent.unsigned_abs());
    let missing = i32::from(scale) - i32::from(digits);
    let value = if missing >= 0 { unscaled.checked_mul(power(missing)) } else { Some(unscaled / power(missing)) };
    value
        .filter(|value| value.unsigned_abs() < 10_u128.pow(38))
        .ok_or_else(|| refuse(PlanErrorKind::NumericValueOutOfRange, "numeric field overflow"))
}

/// The arguments of one call. The accessors take those that the overload declares.
pub(super) struct Row<'a> {
    columns: &'a [ArrayRef],
    row: usize,
    style: Option<TextStyle>,
}

impl Row<'_> {
    /// How many arguments there are.
    pub(super) fn count(&self) -> usize {
        self.columns.len()
    }

    pub(super) fn is_null(&self, column: usize) -> bool {
        self.columns[column].is_null(self.row)
    }

    pub(super) fn text(&self, column: usize) -> &str {
        self.columns[column].as_string::<i32>().value(self.row)
    }

    pub(super) fn integer(&self, column: usize) -> i32 {
        self.columns[column].as_primitive::<Int32Type>().value(self.row)
    }

    pub(super) fn big(&self, column: usize) -> i64 {
        self.columns[column].as_primitive::<Int64Type>().value(self.row)
    }

    pub(super) fn double(&self, column: usize) -> f64 {
        self.columns[column].as_primitive::<Float64Type>().value(self.row)
    }

    /// A numeric's digits and how many of them stand behind the point.
    pub(super) fn numeric(&self, column: usize) -> (i256, i8) {
        let column = &self.columns[column];
        match column.data_type() {
            DataType::Decimal256(_, scale) => (column.as_primitive::<Decimal256Type>().value(self.row), *scale),
            DataType::Decimal128(_, scale) => {
                (i256::from_i128(column.as_primitive::<Decimal128Type>().value(self.row)), *scale)
            }
            other => unreachable!("an overload with a numeric was called with {other}"),
        }
    }

    /// Days since 1970.
    pub(super) fn days(&self, column: usize) -> i32 {
        self.columns[column].as_primitive::<Date32Type>().value(self.row)
    }

    /// Microseconds of a time of day.
    pub(super) fn time(&self, column: usize) -> i64 {
        self.columns[column].as_primitive::<Time64MicrosecondType>().value(self.row)
    }

    /// Microseconds since 1970.
    pub(super) fn micros(&self, column: usize) -> i64 {
        self.columns[column].as_primitive::<TimestampMicrosecondType>().value(self.row)
    }

    pub(super) fn interval(&self, column: usize) -> IntervalMonthDayNano {
        self.columns[column].as_primitive::<IntervalMonthDayNanoType>().value(self.row)
    }

    /// The session's forms.
    pub(super) fn style(&self) -> Result<TextStyle> {
        self.style.ok_or_else(|| {
            DataFusionError::External(Box::new(PlanError::internal("a function of clocks was bound without a session")))
        })
    }

    /// The session's zone.
    pub(super) fn zone(&self) -> Result<Zone> {
        self.style().map(|style| style.zone)
    }
}
