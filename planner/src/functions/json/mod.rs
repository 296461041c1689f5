//! Operators and functions of `jsonb` and `json`, as in Postgres.
//!
//! Both are text underneath, `jsonb` in its canonical form ([`millstream_runtime::jsonb`]), so getting a part is
//! copying a slice of it. Every function is strict (a NULL argument gives NULL) but for those that build.
//!
//! Absent: functions that give sets of rows, paths (`jsonpath`).

mod aggregates;
mod build;
mod change;
mod compare;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, Int32Builder, LargeBinaryBuilder, LargeStringBuilder,
    StringBuilder,
};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use millstream_runtime::jsonb::{self, Json, Kind};

use super::forms::undefined;
use super::sql_type;
use crate::bind::refuse;
use crate::error::PlanErrorKind;
use crate::types::{JSON, JSONB};
use crate::values::{DateForm, TextForms, TextStyle};

pub(crate) use aggregates::{aggregate, function_of as aggregate_function, is_aggregate};
pub(crate) use build::{cast_target, json_cast};

/// Whether a type is `jsonb` or `json`.
pub(crate) fn is_json(data_type: &DataType) -> bool {
    *data_type == JSONB || *data_type == JSON
}

/// What a function takes and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operation {
    /// `->`: a part by key or index.
    Get,
    /// `->>`: its text.
    GetText,
    /// `#>`: a part by path.
    Path,
    /// `#>>`: its text.
    PathText,
    /// `jsonb_extract_path`: the path as arguments.
    ExtractPath,
    /// `jsonb_extract_path_text`
    ExtractPathText,
    /// `@>`
    Contains,
    /// `<@`
    ContainedBy,
    /// `?`
    HasKey,
    /// `?|`
    HasAnyKey,
    /// `?&`
    HasAllKeys,
    /// `||`
    Concatenate,
    /// `-`
    Delete,
    /// `#-`
    DeletePath,
    /// `jsonb_set`
    Set,
    TypeOf,
    ArrayLength,
    StripNulls,
    Pretty,
    /// What `jsonb` is compared by.
    SortKey,
    BuildObject,
    BuildArray,
    /// `to_jsonb`, `to_json`
    From,
    /// `array_to_json`
    FromArray,
    /// `row_to_json`
    FromRow,
}

/// One entry of the registry.
struct Entry {
    name: &'static str,
    operation: Operation,
    /// Of `json` rather than `jsonb`, where the name says so.
    json: bool,
}

const fn entry(name: &'static str, operation: Operation, json: bool) -> Entry {
    Entry { name, operation, json }
}

const FUNCTIONS: &[Entry] = &[
    entry("jsonb_typeof", Operation::TypeOf, false),
    entry("json_typeof", Operation::TypeOf, true),
    entry("jsonb_array_length", Operation::ArrayLength, false),
    entry("json_array_length", Operation::ArrayLength, true),
    entry("jsonb_extract_path", Operation::ExtractPath, false),
    entry("json_extract_path", Operation::ExtractPath, true),
    entry("jsonb_extract_path_text", Operation::ExtractPathText, false),
    entry("json_extract_path_text", Operation::ExtractPathText, true),
    entry("jsonb_build_object", Operation::BuildObject, false),
    entry("json_build_object", Operation::BuildObject, true),
    entry("jsonb_build_array", Operation::BuildArray, false),
    entry("json_build_array", Operation::BuildArray, true),
    entry("to_jsonb", Operation::From, false),
    entry("to_json", Operation::From, true),
    entry("array_to_json", Operation::FromArray, true),
    entry("row_to_json", Operation::FromRow, true),
    entry("jsonb_strip_nulls", Operation::StripNulls, false),
    entry("jsonb_pretty", Operation::Pretty, false),
    entry("jsonb_set", Operation::Set, false),
    entry("jsonb_contains", Operation::Contains, false),
    entry("jsonb_contained", Operation::ContainedBy, false),
    entry("jsonb_exists", Operation::HasKey, false),
    entry("jsonb_exists_any", Operation::HasAnyKey, false),
    entry("jsonb_exists_all", Operation::HasAllKeys, false),
    entry("jsonb_concat", Operation::Concatenate, false),
    entry("jsonb_delete", Operation::Delete, false),
    entry("jsonb_delete_path", Operation::DeletePath, false),
];

/// All of them, by name.
pub(super) fn functions(postgres_blanks: bool) -> impl Iterator<Item = Arc<ScalarUDF>> {
    FUNCTIONS.iter().map(move |entry| function(entry.name, entry.operation, entry.json, postgres_blanks))
}

fn function(name: &'static str, operation: Operation, json: bool, postgres_blanks: bool) -> Arc<ScalarUDF> {
    let signature = match operation {
        Operation::BuildArray | Operation::BuildObject => {
            Signature::one_of(vec![any_arguments(), no_arguments()], Volatility::Immutable)
        }
        _ => Signature::variadic_any(Volatility::Immutable),
    };
    Arc::new(ScalarUDF::from(JsonFunction { name, operation, json, postgres_blanks, style: None, signature }))
}

/// The function with a session's zone and forms; `None` for one that does not make JSON of other values.
pub(super) fn in_session(function: &ScalarUDF, style: TextStyle) -> Option<ScalarUDF> {
    // A moment stands as ISO 8601 has it, whatever the session's style of dates.
    let forms = TextForms { date: DateForm::Iso, ..style.forms };
    let style = TextStyle { zone: style.zone, forms };
    if let Some(aggregated) = aggregates::in_session(function, style) {
        return Some(aggregated);
    }
    let found = function.inner().downcast_ref::<JsonFunction>()?;
    let builds = matches!(
        found.operation,
        Operation::BuildArray | Operation::BuildObject | Operation::From | Operation::FromArray | Operation::FromRow
    );
    builds.then(|| {
        ScalarUDF::from(JsonFunction {
            name: found.name,
            operation: found.operation,
            json: found.json,
            postgres_blanks: found.postgres_blanks,
            style: Some(style),
            signature: found.signature.clone(),
        })
    })
}

fn any_arguments() -> datafusion::logical_expr::TypeSignature {
    datafusion::logical_expr::TypeSignature::VariadicAny
}

fn no_arguments() -> datafusion::logical_expr::TypeSignature {
    datafusion::logical_expr::TypeSignature::Nullary
}

/// An operator's call on operands that were checked to be its own.
pub(crate) fn operator_call(symbol: &str, left: Expr, right: Expr) -> Option<Expr> {
    let (name, operation) = match symbol {
        "->" => ("->", Operation::Get),
        "->>" => ("->>", Operation::GetText),
        "#>" => ("#>", Operation::Path),
        "#>>" => ("#>>", Operation::PathText),
        "@>" => ("@>", Operation::Contains),
        "<@" => ("<@", Operation::ContainedBy),
        "?" => ("?", Operation::HasKey),
        "?|" => ("?|", Operation::HasAnyKey),
        "?&" => ("?&", Operation::HasAllKeys),
        "||" => ("||", Operation::Concatenate),
        "-" => ("-", Operation::Delete),
        "#-" => ("#-", Operation::DeletePath),
        _ => return None,
    };
    Some(function(name, operation, false, true).call(vec![left, right]))
}

/// What a `jsonb` is ordered and compared by.
pub(crate) fn sort_key(value: Expr) -> Expr {
    function("jsonb_sort_key", Operation::SortKey, false, true).call(vec![value])
}

/// The types that quoted literals and parameters have as arguments of a function of JSON, in order; `None` for other
/// functions.
pub(crate) fn literal_types(name: &str) -> Option<Vec<DataType>> {
    let entry = FUNCTIONS.iter().find(|entry| entry.name == name)?;
    let texts = DataType::new_list(DataType::Utf8, true);
    Some(match entry.operation {
        Operation::BuildArray
        | Operation::BuildObject
        | Operation::From
        | Operation::FromArray
        | Operation::FromRow => Vec::new(),
        Operation::Contains | Operation::ContainedBy | Operation::Concatenate => vec![JSONB, JSONB],
        Operation::Set => vec![JSONB, texts, JSONB],
        Operation::HasAnyKey | Operation::HasAllKeys | Operation::DeletePath => vec![JSONB, texts],
        _ => vec![if entry.json { JSON } else { JSONB }],
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonFunction {
    name: &'static str,
    operation: Operation,
    json: bool,
    /// How the values that it makes JSON of are written, once the call is bound.
    style: Option<TextStyle>,
    /// Whether `json` has blanks where Postgres has them, or where `jsonb` has them.
    postgres_blanks: bool,
    signature: Signature,
}

impl ScalarUDFImpl for JsonFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        if !self.takes(arguments) {
            let types: Vec<String> = arguments.iter().map(sql_type).collect();
            return Err(undefined(self.name, &types.join(", ")));
        }
        Ok(match self.operation {
            Operation::Get | Operation::Path | Operation::ExtractPath => arguments[0].clone(),
            Operation::GetText
            | Operation::PathText
            | Operation::ExtractPathText
            | Operation::TypeOf
            | Operation::Pretty => DataType::Utf8,
            Operation::Contains
            | Operation::ContainedBy
            | Operation::HasKey
            | Operation::HasAnyKey
            | Operation::HasAllKeys => DataType::Boolean,
            Operation::ArrayLength => DataType::Int32,
            Operation::SortKey => DataType::Binary,
            Operation::Concatenate
            | Operation::Delete
            | Operation::DeletePath
            | Operation::Set
            | Operation::StripNulls => JSONB,
            Operation::BuildArray
            | Operation::BuildObject
            | Operation::From
            | Operation::FromArray
            | Operation::FromRow => self.own_type(),
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { arguments.number_rows };
        let columns = arguments.args.iter().map(|argument| argument.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let result = match self.operation {
            Operation::BuildArray
            | Operation::BuildObject
            | Operation::From
            | Operation::FromArray
            | Operation::FromRow => {
                let style = self
                    .style
                    .ok_or_else(|| DataFusionError::Internal(format!("{}() was bound without a session", self.name)))?;
                let as_json = self.json && self.postgres_blanks;
                let target = self.own_type();
                build::built(self.operation, as_json, &target, style, &columns, &arguments.arg_fields, rows)?
            }
            _ => self.strict(&columns, arguments.return_field.data_type(), rows)?,
        };
        match scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            false => Ok(ColumnarValue::Array(result)),
        }
    }
}

impl JsonFunction {
    fn own_type(&self) -> DataType {
        if self.json { JSON } else { JSONB }
    }

    /// Whether the function has arguments of these types.
    fn takes(&self, types: &[DataType]) -> bool {
        let texts = DataType::new_list(DataType::Utf8, true);
        let first = |wanted: &[&DataType], others: &[&[&DataType]]| {
            types.len() == 1 + others.len()
                && (wanted.contains(&&types[0]) || types[0].is_null())
                && types[1..].iter().zip(others).all(|(found, any)| found.is_null() || any.contains(&found))
        };
        let (index, text) = ([DataType::Int32, DataType::Int64, DataType::Int16], DataType::Utf8);
        let own = self.own_type();
        match self.operation {
            Operation::Get | Operation::GetText => {
                first(&[&JSONB, &JSON], &[&[&index[0], &index[1], &index[2], &text]])
            }
            Operation::Path | Operation::PathText => first(&[&JSONB, &JSON], &[&[&texts]]),
            Operation::ExtractPath | Operation::ExtractPathText => {
                types.len() > 1 && types[0] == own && types[1..].iter().all(|found| *found == text)
            }
            Operation::Contains | Operation::ContainedBy | Operation::Concatenate => first(&[&JSONB], &[&[&JSONB]]),
            Operation::HasKey => first(&[&JSONB], &[&[&text]]),
            Operation::HasAnyKey | Operation::HasAllKeys | Operation::DeletePath => first(&[&JSONB], &[&[&texts]]),
            Operation::Delete => first(&[&JSONB], &[&[&index[0], &index[1], &index[2], &text, &texts]]),
            Operation::Set => {
                first(&[&JSONB], &[&[&texts], &[&JSONB]])
                    || first(&[&JSONB], &[&[&texts], &[&JSONB], &[&DataType::Boolean]])
            }
            Operation::TypeOf | Operation::ArrayLength => first(&[&own], &[]),
            Operation::StripNulls | Operation::Pretty | Operation::SortKey => first(&[&JSONB], &[]),
            Operation::From => types.len() == 1,
            Operation::FromArray => matches!(types, [DataType::List(_) | DataType::Null]),
            Operation::FromRow => matches!(types, [DataType::Struct(_) | DataType::Null]),
            Operation::BuildArray => true,
            Operation::BuildObject => types.len().is_multiple_of(2),
        }
    }

    fn strict(&self, columns: &[ArrayRef], result: &DataType, rows: usize) -> Result<ArrayRef> {
        let mut output = Output::of(result, rows)?;
        for row in 0..rows {
            // Elements of a path may be null, a path may not.
            if columns.iter().any(|column| column.is_null(row)) {
                output.null();
                continue;
            }
            self.row(columns, row, &mut output)?;
        }
        Ok(output.finish())
    }

    fn row(&self, columns: &[ArrayRef], row: usize, output: &mut Output) -> Result<()> {
        let text = json_text(&columns[0], row)?;
        let parsed = |column: usize| -> Result<Json> { parse(json_text(&columns[column], row)?) };
        match self.operation {
            Operation::Get => output.text(part(text, &columns[1], row)?),
            Operation::GetText => output.owned(part(text, &columns[1], row)?.and_then(jsonb::text_of)),
            Operation::Path => output.text(at_path(text, &path(&columns[1], row))),
            Operation::PathText => output.owned(at_path(text, &path(&columns[1], row)).and_then(jsonb::text_of)),
            Operation::ExtractPath => output.text(at_path(text, &arguments_path(columns, row))),
            Operation::ExtractPathText => {
                output.owned(at_path(text, &arguments_path(columns, row)).and_then(jsonb::text_of));
            }
            Operation::Contains => output.truth(compare::contains(&parsed(0)?, &parsed(1)?)),
            Operation::ContainedBy => output.truth(compare::contains(&parsed(1)?, &parsed(0)?)),
            Operation::HasKey => {
                let key = columns[1].as_string::<i32>().value(row);
                output.truth(compare::has_key(text, key));
            }
            Operation::HasAnyKey => {
                output.truth(path(&columns[1], row).iter().flatten().any(|key| compare::has_key(text, key)));
            }
            Operation::HasAllKeys => {
                output.truth(path(&columns[1], row).iter().flatten().all(|key| compare::has_key(text, key)));
            }
            Operation::Concatenate => output.json(&change::concatenated(parsed(0)?, parsed(1)?)),
            Operation::Delete => output.json(&change::without(parsed(0)?, &columns[1], row)?),
            Operation::DeletePath => output.json(&change::without_path(parsed(0)?, &path(&columns[1], row))?),
            Operation::Set => {
                let create = columns.get(3).is_none_or(|create| create.as_boolean().value(row));
                output.json(&change::with(parsed(0)?, &path(&columns[1], row), parsed(2)?, create)?);
            }
            Operation::TypeOf => output.text(Some(type_name(jsonb::kind(text)))),
            Operation::ArrayLength => output.number(array_length(text)?),
            Operation::StripNulls => output.json(&change::without_nulls(parsed(0)?)),
            Operation::Pretty => output.owned(Some(change::pretty(&parsed(0)?))),
            Operation::SortKey => output.bytes(&compare::sort_key(&parsed(0)?)),
            Operation::BuildArray
            | Operation::BuildObject
            | Operation::From
            | Operation::FromArray
            | Operation::FromRow => {
                return Err(DataFusionError::Internal("what builds is not strict".into()));
            }
        }
        Ok(())
    }
}

fn parse(text: &str) -> Result<Json> {
    jsonb::parse(text).map_err(|fault| DataFusionError::Internal(format!("stored JSON can't be read: {fault:?}")))
}

/// The text of a `jsonb` or `json`.
fn json_text(column: &ArrayRef, row: usize) -> Result<&str> {
    match column.data_type() {
        DataType::LargeUtf8 => Ok(column.as_string::<i64>().value(row)),
        DataType::LargeBinary => std::str::from_utf8(column.as_binary::<i64>().value(row))
            .map_err(|error| DataFusionError::Internal(format!("stored JSON is no text: {error}"))),
        other => Err(DataFusionError::Internal(format!("{other} is no JSON"))),
    }
}

/// A part by key or by index, as the selector's type says.
fn part<'a>(text: &'a str, selector: &ArrayRef, row: usize) -> Result<Option<&'a str>> {
    Ok(match index(selector, row) {
        Some(index) => jsonb::element(text, index),
        None => match selector.data_type() {
            DataType::Utf8 => jsonb::member(text, selector.as_string::<i32>().value(row)),
            other => return Err(DataFusionError::Internal(format!("{other} selects no part of JSON"))),
        },
    })
}

/// An index of any integer type; `None` for what is none.
fn index(selector: &ArrayRef, row: usize) -> Option<i64> {
    match selector.data_type() {
        DataType::Int16 => Some(selector.as_primitive::<arrow::datatypes::Int16Type>().value(row).into()),
        DataType::Int32 => Some(selector.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Some(selector.as_primitive::<Int64Type>().value(row)),
        _ => None,
    }
}

/// The elements of a path, `None` for NULL.
fn path(column: &ArrayRef, row: usize) -> Vec<Option<String>> {
    let steps = column.as_list::<i32>().value(row);
    let steps = steps.as_string::<i32>();
    steps.iter().map(|step| step.map(ToOwned::to_owned)).collect()
}

fn arguments_path(columns: &[ArrayRef], row: usize) -> Vec<Option<String>> {
    columns[1..].iter().map(|column| Some(column.as_string::<i32>().value(row).to_owned())).collect()
}

fn at_path<'a>(text: &'a str, path: &[Option<String>]) -> Option<&'a str> {
    path.iter().try_fold(text, |text, step| {
        let step = step.as_deref()?;
        match jsonb::kind(text) {
            Kind::Object => jsonb::member(text, step),
            Kind::Array => jsonb::element(text, step.parse().ok()?),
            _ => None,
        }
    })
}

fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Null => "null",
        Kind::Bool => "boolean",
        Kind::Number => "number",
        Kind::Text => "string",
        Kind::Array => "array",
        Kind::Object => "object",
    }
}

fn array_length(text: &str) -> Result<i32> {
    let refused = |message: &str| Err(refuse(PlanErrorKind::InvalidParameterValue, message));
    match (jsonb::array_length(text), jsonb::kind(text)) {
        (Some(length), _) => i32::try_from(length).map_err(|error| DataFusionError::Internal(error.to_string())),
        (None, Kind::Object) => refused("cannot get array length of a non-array"),
        (None, _) => refused("cannot get array length of a scalar"),
    }
}

/// The column that a function makes.
enum Output {
    Jsonb(LargeStringBuilder),
    Json(LargeBinaryBuilder),
    Text(StringBuilder),
    Truth(BooleanBuilder),
    Number(Int32Builder),
    Bytes(BinaryBuilder),
}

impl Output {
    fn of(data_type: &DataType, rows: usize) -> Result<Self> {
        Ok(match data_type {
            DataType::LargeUtf8 => Self::Jsonb(LargeStringBuilder::with_capacity(rows, rows * 16)),
            DataType::LargeBinary => Self::Json(LargeBinaryBuilder::with_capacity(rows, rows * 16)),
            DataType::Utf8 => Self::Text(StringBuilder::with_capacity(rows, rows * 16)),
            DataType::Boolean => Self::Truth(BooleanBuilder::with_capacity(rows)),
            DataType::Int32 => Self::Number(Int32Builder::with_capacity(rows)),
            DataType::Binary => Self::Bytes(BinaryBuilder::with_capacity(rows, rows * 16)),
            other => return Err(DataFusionError::Internal(format!("no function of JSON gives {other}"))),
        })
    }

    fn null(&mut self) {
        match self {
            Self::Jsonb(builder) => builder.append_null(),
            Self::Json(builder) => builder.append_null(),
            Self::Text(builder) => builder.append_null(),
            Self::Truth(builder) => builder.append_null(),
            Self::Number(builder) => builder.append_null(),
            Self::Bytes(builder) => builder.append_null(),
        }
    }

    fn text(&mut self, text: Option<&str>) {
        match (self, text) {
            (Self::Jsonb(builder), Some(text)) => builder.append_value(text),
            (Self::Json(builder), Some(text)) => builder.append_value(text),
            (Self::Text(builder), Some(text)) => builder.append_value(text),
            (other, _) => other.null(),
        }
    }

    fn owned(&mut self, text: Option<String>) {
        self.text(text.as_deref());
    }

    fn json(&mut self, value: &Json) {
        self.text(Some(&value.to_string()));
    }

    fn truth(&mut self, value: bool) {
        match self {
            Self::Truth(builder) => builder.append_value(value),
            other => other.null(),
        }
    }

    fn number(&mut self, value: i32) {
        match self {
            Self::Number(builder) => builder.append_value(value),
            other => other.null(),
        }
    }

    fn bytes(&mut self, value: &[u8]) {
        match self {
            Self::Bytes(builder) => builder.append_value(value),
            other => other.null(),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Jsonb(mut builder) => Arc::new(builder.finish()),
            Self::Json(mut builder) => Arc::new(builder.finish()),
            Self::Text(mut builder) => Arc::new(builder.finish()),
            Self::Truth(mut builder) => Arc::new(builder.finish()),
            Self::Number(mut builder) => Arc::new(builder.finish()),
            Self::Bytes(mut builder) => Arc::new(builder.finish()),
        }
    }
}
