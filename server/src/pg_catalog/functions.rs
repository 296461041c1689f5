//! The functions that statements over the catalog call, as DataFusion functions over one view of the catalog.
//!
//! They are evaluated value by value: catalogs are small. Arguments are taken as integers or texts whatever
//! their type is, because clients write `'16384'` and `16384` alike.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::new_empty_array;
use arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use super::CatalogView;
use super::objects::{OWNER_OID, Objects, quote_identifier, visible_schemas};
use super::relations::{TYPES, TypeRow};
use crate::wire::values::Kind;

/// What the functions look at.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) view: CatalogView,
    pub(super) objects: Objects,
}

/// The result types that occur.
#[derive(Clone, Copy, Debug)]
enum Gives {
    Text,
    Int4,
    Int8,
    Bool,
    Texts,
}

impl Gives {
    fn data_type(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Int4 => DataType::Int32,
            Self::Int8 => DataType::Int64,
            Self::Bool => DataType::Boolean,
            Self::Texts => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
        }
    }
}

/// What a function gives; the constructors of [`ScalarValue`] it needs.
enum Answer {
    Null,
    Text(String),
    Int(i64),
    Bool(bool),
    Texts(Vec<String>),
}

impl Answer {
    fn text(text: Option<String>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }

    fn into_scalar(self, gives: Gives) -> Result<ScalarValue> {
        let value = match self {
            Self::Null => return ScalarValue::try_from(gives.data_type()),
            Self::Text(text) => ScalarValue::Utf8(Some(text)),
            Self::Int(value) => ScalarValue::Int64(Some(value)),
            Self::Bool(value) => ScalarValue::Boolean(Some(value)),
            Self::Texts(texts) => {
                let texts: Vec<ScalarValue> = texts.into_iter().map(|text| ScalarValue::Utf8(Some(text))).collect();
                ScalarValue::List(ScalarValue::new_list_nullable(&texts, &DataType::Utf8))
            }
        };
        value.cast_to(&gives.data_type())
    }
}

type Evaluate = fn(&Context, &[ScalarValue]) -> Answer;

/// Functions that the planner knows, too: a statement is not taken for one over the catalog because of them.
const NOT_ONLY_HERE: [&str; 1] = ["current_setting"];

/// Names are those that statements use, but for the casts, which [`super::rewrite`] turns into calls.
const FUNCTIONS: &[(&str, Gives, Evaluate)] = &[
    ("array_to_string", Gives::Text, array_to_string),
    ("array_upper", Gives::Int4, |_, _| Answer::Null),
    ("col_description", Gives::Text, |_, _| Answer::Null),
    ("current_catalog", Gives::Text, |context, _| Answer::Text(context.view.database.clone())),
    ("current_database", Gives::Text, |context, _| Answer::Text(context.view.database.clone())),
    ("current_role", Gives::Text, |context, _| Answer::Text(context.view.user.clone())),
    ("current_schema", Gives::Text, |context, _| Answer::text(context.view.search_path.first().cloned())),
    ("current_schemas", Gives::Texts, current_schemas),
    ("current_setting", Gives::Text, current_setting),
    ("current_user", Gives::Text, |context, _| Answer::Text(context.view.user.clone())),
    ("format_type", Gives::Text, format_type),
    ("getdatabaseencoding", Gives::Text, |_, _| Answer::Text("UTF8".to_owned())),
    ("has_any_column_privilege", Gives::Bool, |_, _| Answer::Bool(true)),
    ("has_column_privilege", Gives::Bool, |_, _| Answer::Bool(true)),
    ("has_database_privilege", Gives::Bool, |_, _| Answer::Bool(true)),
    ("has_function_privilege", Gives::Bool, |_, _| Answer::Bool(true)),
    ("has_schema_privilege", Gives::Bool, |_, _| Answer::Bool(true)),
    ("has_table_privilege", Gives::Bool, |_, _| Answer::Bool(true)),
    ("has_tablespace_privilege", Gives::Bool, |_, _| Answer::Bool(true)),
    ("has_type_privilege", Gives::Bool, |_, _| Answer::Bool(true)),
    ("inet_server_addr", Gives::Text, |_, _| Answer::Null),
    ("inet_server_port", Gives::Int4, |_, _| Answer::Null),
    ("obj_description", Gives::Text, |_, _| Answer::Null),
    ("pg_backend_pid", Gives::Int4, |context, _| Answer::Int(i64::from(context.view.process_id))),
    ("pg_char_to_encoding", Gives::Int4, |_, _| Answer::Int(6)),
    ("pg_database_size", Gives::Int8, |_, _| Answer::Null),
    ("pg_encoding_to_char", Gives::Text, |_, _| Answer::Text("UTF8".to_owned())),
    ("pg_function_is_visible", Gives::Bool, |_, _| Answer::Bool(true)),
    ("pg_get_constraintdef", Gives::Text, constraint_definition),
    ("pg_get_expr", Gives::Text, |_, arguments| Answer::text(text(arguments, 0))),
    ("pg_get_function_arguments", Gives::Text, |_, _| Answer::Null),
    ("pg_get_function_identity_arguments", Gives::Text, |_, _| Answer::Null),
    ("pg_get_function_result", Gives::Text, |_, _| Answer::Null),
    ("pg_get_indexdef", Gives::Text, index_definition),
    ("pg_get_partkeydef", Gives::Text, |_, _| Answer::Null),
    ("pg_get_ruledef", Gives::Text, |_, _| Answer::Null),
    ("pg_get_serial_sequence", Gives::Text, |_, _| Answer::Null),
    ("pg_get_statisticsobjdef_columns", Gives::Text, |_, _| Answer::Null),
    ("pg_get_triggerdef", Gives::Text, |_, _| Answer::Null),
    ("pg_get_userbyid", Gives::Text, user_by_id),
    ("pg_get_viewdef", Gives::Text, view_definition),
    ("pg_indexes_size", Gives::Int8, |_, _| Answer::Null),
    ("pg_is_in_recovery", Gives::Bool, |_, _| Answer::Bool(false)),
    ("pg_is_other_temp_schema", Gives::Bool, |_, _| Answer::Bool(false)),
    ("pg_my_temp_schema", Gives::Int8, |_, _| Answer::Int(0)),
    ("pg_regclass_name", Gives::Text, regclass_name),
    ("pg_regclass_oid", Gives::Int8, regclass_oid),
    ("pg_regnamespace_name", Gives::Text, namespace_name),
    ("pg_regnamespace_oid", Gives::Int8, namespace_oid),
    ("pg_regtype_name", Gives::Text, regtype_name),
    ("pg_regtype_oid", Gives::Int8, regtype_oid),
    ("pg_relation_is_publishable", Gives::Bool, |_, _| Answer::Bool(false)),
    ("pg_relation_size", Gives::Int8, |_, _| Answer::Null),
    ("pg_size_pretty", Gives::Text, |_, arguments| {
        Answer::text(text(arguments, 0).map(|bytes| format!("{bytes} bytes")))
    }),
    ("pg_table_is_visible", Gives::Bool, is_visible),
    ("pg_table_size", Gives::Int8, |_, _| Answer::Null),
    ("pg_tablespace_location", Gives::Text, |_, _| Answer::Text(String::new())),
    ("pg_total_relation_size", Gives::Int8, |_, _| Answer::Null),
    ("pg_type_is_visible", Gives::Bool, |_, _| Answer::Bool(true)),
    ("quote_ident", Gives::Text, |_, arguments| Answer::text(text(arguments, 0).map(|name| quote_identifier(&name)))),
    ("session_user", Gives::Text, |context, _| Answer::Text(context.view.user.clone())),
    ("shobj_description", Gives::Text, |_, _| Answer::Null),
    ("to_regclass", Gives::Text, to_regclass),
    ("to_regtype", Gives::Int8, regtype_oid),
    ("txid_current", Gives::Int8, |_, _| Answer::Int(0)),
    ("version", Gives::Text, |context, _| Answer::Text(context.view.version.clone())),
];

/// Whether statements over the catalog can call it.
pub(super) fn is_only_here(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, ..)| *known == name) && !NOT_ONLY_HERE.contains(&name)
}

/// Whether a text, in lower case, has the name of one of them.
pub(super) fn is_called_in(sql: &str) -> bool {
    FUNCTIONS.iter().any(|(name, ..)| !NOT_ONLY_HERE.contains(name) && sql.contains(name))
}

/// All functions over one view of the catalog.
pub(super) fn functions(context: &Arc<Context>) -> Vec<ScalarUDF> {
    let functions = FUNCTIONS.iter().map(|(name, gives, evaluate)| {
        let any_arguments = vec![TypeSignature::Nullary, TypeSignature::VariadicAny];
        ScalarUDF::from(CatalogFunction {
            name,
            gives: *gives,
            evaluate: *evaluate,
            signature: Signature::one_of(any_arguments, Volatility::Stable),
            context: Arc::clone(context),
        })
    });
    functions.collect()
}

#[derive(Debug)]
struct CatalogFunction {
    name: &'static str,
    gives: Gives,
    evaluate: Evaluate,
    signature: Signature,
    context: Arc<Context>,
}

impl PartialEq for CatalogFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for CatalogFunction {}

impl Hash for CatalogFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for CatalogFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.gives.data_type())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if arguments.number_rows == 0 {
            return Ok(ColumnarValue::Array(new_empty_array(&self.gives.data_type())));
        }
        let values = (0..arguments.number_rows).map(|row| {
            let of_row = arguments.args.iter().map(|argument| match argument {
                ColumnarValue::Array(array) => ScalarValue::try_from_array(array, row),
                ColumnarValue::Scalar(value) => Ok(value.clone()),
            });
            (self.evaluate)(&self.context, &of_row.collect::<Result<Vec<_>>>()?).into_scalar(self.gives)
        });
        Ok(ColumnarValue::Array(ScalarValue::iter_to_array(values.collect::<Result<Vec<_>>>()?)?))
    }
}

/// An argument as text; `None` when it is NULL or missing.
fn text(arguments: &[ScalarValue], index: usize) -> Option<String> {
    let argument = arguments.get(index).filter(|argument| !argument.is_null())?;
    match argument.cast_to(&DataType::Utf8).ok()? {
        ScalarValue::Utf8(text) => text,
        _ => None,
    }
}

/// An argument as an integer, written as text or not.
fn integer(arguments: &[ScalarValue], index: usize) -> Option<i64> {
    text(arguments, index)?.trim().parse().ok()
}

/// An argument as an OID.
fn oid(arguments: &[ScalarValue], index: usize) -> Option<u32> {
    u32::try_from(integer(arguments, index)?).ok()
}

fn array_to_string(_: &Context, arguments: &[ScalarValue]) -> Answer {
    let Some(ScalarValue::List(list)) = arguments.first() else { return Answer::text(text(arguments, 0)) };
    if arguments[0].is_null() {
        return Answer::Null;
    }
    let separator = text(arguments, 1).unwrap_or_default();
    let null = text(arguments, 2);
    let elements = list.value(0);
    let shown = (0..elements.len()).filter_map(|index| {
        let element = ScalarValue::try_from_array(&elements, index).ok()?;
        text(&[element], 0).or_else(|| null.clone())
    });
    Answer::Text(shown.collect::<Vec<_>>().join(&separator))
}

fn current_schemas(context: &Context, arguments: &[ScalarValue]) -> Answer {
    let implicit = text(arguments, 0).is_some_and(|shown| shown == "true");
    let path = context.view.search_path.iter().map(String::as_str);
    let schemas: Vec<&str> = if implicit { visible_schemas(&context.view) } else { path.collect() };
    Answer::Texts(schemas.into_iter().map(str::to_owned).collect())
}

fn current_setting(context: &Context, arguments: &[ScalarValue]) -> Answer {
    let name = text(arguments, 0).unwrap_or_default();
    let found = context.view.settings.iter().find(|setting| setting.name.eq_ignore_ascii_case(&name));
    Answer::text(found.map(|setting| setting.shown.clone()))
}

fn format_type(_: &Context, arguments: &[ScalarValue]) -> Answer {
    let Some(oid) = oid(arguments, 0) else { return Answer::Null };
    let modifier = integer(arguments, 1).filter(|modifier| *modifier >= 4);
    Answer::Text(match (type_sql_name(oid), modifier) {
        (Some(name), Some(modifier)) if oid == Kind::Numeric.oid() => {
            format!("{name}({},{})", (modifier - 4) >> 16, (modifier - 4) & 0xffff)
        }
        (Some(name), _) => name,
        (None, _) => "???".to_owned(),
    })
}

/// The name of a type in SQL.
fn type_sql_name(oid: u32) -> Option<String> {
    if let Some((kind, array)) = Kind::of_oid(oid) {
        return Some(format!("{}{}", kind.sql_name(), if array { "[]" } else { "" }));
    }
    TYPES.iter().find(|TypeRow(known, ..)| *known == oid).map(|TypeRow(_, name, ..)| (*name).to_owned())
}

fn user_by_id(context: &Context, arguments: &[ScalarValue]) -> Answer {
    match oid(arguments, 0) {
        Some(OWNER_OID) => Answer::Text(context.view.user.clone()),
        Some(other) => Answer::Text(format!("unknown (OID={other})")),
        None => Answer::Null,
    }
}

fn is_visible(context: &Context, arguments: &[ScalarValue]) -> Answer {
    let Some(oid) = oid(arguments, 0) else { return Answer::Null };
    let Some((schema, name)) = context.objects.name(oid) else { return Answer::Null };
    let visible = visible_schemas(&context.view).contains(&schema)
        && context.objects.find(&quote_identifier(&name), &context.view) == Some(oid);
    Answer::Bool(visible)
}

fn index_definition(context: &Context, arguments: &[ScalarValue]) -> Answer {
    let wanted = oid(arguments, 0);
    let index = context.objects.indexes().find(|index| Some(index.oid) == wanted);
    match (index, integer(arguments, 1)) {
        (None, _) => Answer::Null,
        (Some(index), None | Some(0)) => Answer::Text(index.definition()),
        // One column, counted from 1.
        (Some(index), Some(column)) => {
            let position = usize::try_from(column - 1).ok();
            let column = position.and_then(|position| index.table.key.get(position));
            Answer::text(column.map(|column| quote_identifier(index.table.columns.field(*column).name())))
        }
    }
}

fn constraint_definition(context: &Context, arguments: &[ScalarValue]) -> Answer {
    let wanted = oid(arguments, 0);
    let index = context.objects.indexes().find(|index| Some(index.constraint_oid) == wanted);
    Answer::text(index.map(|index| format!("PRIMARY KEY ({})", index.column_names())))
}

fn view_definition(context: &Context, arguments: &[ScalarValue]) -> Answer {
    let by_name = || context.objects.find(&text(arguments, 0)?, &context.view);
    let object = oid(arguments, 0).or_else(by_name).and_then(|oid| context.objects.relation(oid));
    Answer::text(object.filter(|object| !object.query.is_empty()).map(|object| object.query.clone()))
}

/// The name of a relation as it must be written: with its schema unless that is searched.
fn regclass_name(context: &Context, arguments: &[ScalarValue]) -> Answer {
    let Some(oid) = oid(arguments, 0) else { return Answer::text(text(arguments, 0)) };
    if oid == 0 {
        return Answer::Text("-".to_owned());
    }
    Answer::Text(match context.objects.name(oid) {
        Some((schema, name)) if visible_schemas(&context.view).contains(&schema) => quote_identifier(&name),
        Some((schema, name)) => format!("{}.{}", quote_identifier(schema), quote_identifier(&name)),
        None => oid.to_string(),
    })
}

fn regclass_oid(context: &Context, arguments: &[ScalarValue]) -> Answer {
    let by_name = || context.objects.find(&text(arguments, 0)?, &context.view);
    oid(arguments, 0).or_else(by_name).map_or(Answer::Null, |oid| Answer::Int(i64::from(oid)))
}

fn to_regclass(context: &Context, arguments: &[ScalarValue]) -> Answer {
    match regclass_oid(context, arguments) {
        Answer::Int(oid) => regclass_name(context, &[ScalarValue::Int64(Some(oid))]),
        _ => Answer::Null,
    }
}

fn namespace_name(context: &Context, arguments: &[ScalarValue]) -> Answer {
    let Some(oid) = oid(arguments, 0) else { return Answer::text(text(arguments, 0)) };
    let schema = context.objects.schemas.iter().find(|(_, known)| *known == oid);
    Answer::Text(schema.map_or_else(|| oid.to_string(), |(name, _)| quote_identifier(name)))
}

fn namespace_oid(context: &Context, arguments: &[ScalarValue]) -> Answer {
    let by_name = || {
        let name = text(arguments, 0)?;
        context.objects.schemas.iter().find(|(known, _)| *known == name).map(|(_, oid)| *oid)
    };
    oid(arguments, 0).or_else(by_name).map_or(Answer::Null, |oid| Answer::Int(i64::from(oid)))
}

fn regtype_name(_: &Context, arguments: &[ScalarValue]) -> Answer {
    match oid(arguments, 0) {
        Some(0) => Answer::Text("-".to_owned()),
        Some(oid) => Answer::Text(type_sql_name(oid).unwrap_or_else(|| oid.to_string())),
        None => Answer::text(text(arguments, 0)),
    }
}

fn regtype_oid(_: &Context, arguments: &[ScalarValue]) -> Answer {
    let by_name = || {
        let name = text(arguments, 0)?.to_ascii_lowercase();
        let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
        let (name, array) = name.strip_suffix("[]").map_or((name, false), |element| (element, true));
        let named = TYPES.iter().find(|TypeRow(_, known, ..)| *known == name);
        match named {
            Some(TypeRow(oid, .., of_array)) => Some(if array { *of_array } else { *oid }),
            None => {
                let kind = Kind::all().find(|kind| kind.sql_name() == name)?;
                Some(if array { kind.array_oid() } else { kind.oid() })
            }
        }
    };
    oid(arguments, 0).or_else(by_name).map_or(Answer::Null, |oid| Answer::Int(i64::from(oid)))
}
