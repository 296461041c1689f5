//! Expressions that Postgres' clients write and DataFusion does not know.

use sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, CastKind, DataType, ExactNumberInfo, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName, ObjectNamePart, Query, SelectItem,
    SetExpr, TableFactor, TimezoneInfo, Value,
};

use super::{empty, last_part};

/// What `ARRAY(SELECT ...)` over nothing becomes until its surroundings are known.
const EMPTY_ARRAY: &str = "__empty_array";

/// Rewrites one expression whose parts are rewritten already.
pub(super) fn rewrite(expr: &mut Expr) {
    let replacement = match expr {
        Expr::Collate { expr: inner, .. } => Some(inner.as_ref().clone()),
        Expr::BinaryOp { left, op, right } => binary(left, op, right),
        Expr::Cast { expr: inner, data_type, .. } => cast(inner, data_type),
        Expr::Function(function) => call_of(function),
        Expr::Subquery(query) if empty::is_empty(query) => Some(Expr::Value(Value::Null.into())),
        Expr::Identifier(ident) if ident.quote_style.is_none() => keyword_function(ident),
        _ => None,
    };
    if let Some(replacement) = replacement {
        *expr = replacement;
    }
}

/// A call of a function.
fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter().map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))).collect();
    let arguments = FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() };
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(arguments),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn is_call(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Function(function) if last_part(&function.name).as_deref() == Some(name))
}

/// Functions that are called without parentheses.
fn keyword_function(ident: &Ident) -> Option<Expr> {
    let name = ident.value.to_ascii_lowercase();
    let known = ["current_user", "session_user", "current_role", "current_catalog", "current_schema"];
    known.contains(&name.as_str()).then(|| call(&name, Vec::new()))
}

fn binary(left: &mut Box<Expr>, op: &mut BinaryOperator, right: &mut Box<Expr>) -> Option<Expr> {
    if let BinaryOperator::PGCustomBinaryOperator(parts) = op {
        *op = match parts.last().map(String::as_str)? {
            "~" => BinaryOperator::PGRegexMatch,
            "~*" => BinaryOperator::PGRegexIMatch,
            "!~" => BinaryOperator::PGRegexNotMatch,
            "!~*" => BinaryOperator::PGRegexNotIMatch,
            "~~" => BinaryOperator::PGLikeMatch,
            "!~~" => BinaryOperator::PGNotLikeMatch,
            "=" => BinaryOperator::Eq,
            "<>" => BinaryOperator::NotEq,
            "<" => BinaryOperator::Lt,
            "<=" => BinaryOperator::LtEq,
            ">" => BinaryOperator::Gt,
            ">=" => BinaryOperator::GtEq,
            "||" => BinaryOperator::StringConcat,
            "+" => BinaryOperator::Plus,
            "-" => BinaryOperator::Minus,
            _ => return None,
        };
    }
    // An array with nothing appended is the array.
    match op {
        BinaryOperator::StringConcat if is_call(right, EMPTY_ARRAY) => Some(left.as_ref().clone()),
        BinaryOperator::StringConcat if is_call(left, EMPTY_ARRAY) => Some(right.as_ref().clone()),
        _ => None,
    }
}

fn call_of(function: &mut Function) -> Option<Expr> {
    let name = last_part(&function.name)?;
    if name == EMPTY_ARRAY {
        return None;
    }
    let qualifier = function.name.0.first().and_then(|part| part.as_ident()).map(super::folded);
    if function.name.0.len() > 1 && matches!(qualifier.as_deref(), Some("pg_catalog" | "information_schema")) {
        function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name.clone()))]);
    }
    if name == "array"
        && let FunctionArguments::Subquery(query) = &function.args
    {
        return Some(array_of(query));
    }
    if let FunctionArguments::None = function.args {
        function.args =
            FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args: vec![], clauses: vec![] });
    }
    // What was appended to nothing and stands alone is an empty array.
    if let FunctionArguments::List(list) = &mut function.args {
        for argument in &mut list.args {
            if let FunctionArg::Unnamed(FunctionArgExpr::Expr(inner)) = argument
                && is_call(inner, EMPTY_ARRAY)
            {
                *inner = Expr::Value(Value::Null.into());
            }
        }
    }
    None
}

/// `ARRAY(SELECT expression ...)`: the aggregate over the same rows. A subquery over nothing, or over the
/// elements of an outer value (which catalog relations leave NULL), is an empty array.
fn array_of(query: &Query) -> Expr {
    let over_elements = |select: &sqlparser::ast::Select| {
        select.from.iter().any(|tables| {
            matches!(&tables.relation, TableFactor::Table { args: Some(_), .. } | TableFactor::Function { .. })
                || matches!(&tables.relation, TableFactor::UNNEST { .. })
        })
    };
    let mut query = query.clone();
    match query.body.as_mut() {
        SetExpr::Select(select) if !empty::is_empty_select(select) && !over_elements(select) => {
            if let Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) =
                select.projection.first().cloned()
            {
                select.projection = vec![SelectItem::UnnamedExpr(call("array_agg", vec![expr]))];
                query.order_by = None;
                return Expr::Subquery(Box::new(query));
            }
            call(EMPTY_ARRAY, Vec::new())
        }
        _ => call(EMPTY_ARRAY, Vec::new()),
    }
}

/// What is left of an empty array at the end: its text.
pub(super) fn settle(expr: &mut Expr) {
    if is_call(expr, EMPTY_ARRAY) {
        *expr = Expr::Value(Value::SingleQuotedString("{}".to_owned()).into());
    }
}

/// Whether a type is one of those that show an OID by name.
pub(in crate::pg_catalog) fn is_registry_type(data_type: &DataType) -> bool {
    registry(data_type).is_some()
}

fn registry(data_type: &DataType) -> Option<&'static str> {
    match data_type {
        DataType::Regclass => Some("regclass"),
        DataType::Custom(name, _) => match last_part(name)?.as_str() {
            "regclass" => Some("regclass"),
            "regtype" => Some("regtype"),
            "regnamespace" => Some("regnamespace"),
            "regproc" | "regprocedure" | "regoper" | "regrole" => Some("text"),
            _ => None,
        },
        _ => None,
    }
}

fn cast(inner: &Expr, data_type: &mut DataType) -> Option<Expr> {
    if let Some(registry) = registry(data_type) {
        // A name that is written out stands for its OID; an OID in a column is shown by name.
        let written = matches!(inner, Expr::Value(_));
        let inner = inner.clone();
        return Some(match (registry, written) {
            ("regclass", true) => call("pg_regclass_oid", vec![inner]),
            ("regclass", false) => call("pg_regclass_name", vec![inner]),
            ("regtype", true) => call("pg_regtype_oid", vec![inner]),
            ("regtype", false) => call("pg_regtype_name", vec![inner]),
            ("regnamespace", true) => call("pg_regnamespace_oid", vec![inner]),
            ("regnamespace", false) => call("pg_regnamespace_name", vec![inner]),
            (_, _) => to(inner, DataType::Text),
        });
    }
    if let DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) = data_type {
        // Catalog relations hold arrays of the right type already.
        return matches!(element.as_ref(), DataType::Custom(..)).then(|| inner.clone());
    }
    let DataType::Custom(name, modifiers) = data_type else {
        let named = matches!(data_type, DataType::Text | DataType::Varchar(_) | DataType::CharacterVarying(_));
        return if named { shown_by_name(inner) } else { None };
    };
    let plain = match last_part(name)?.as_str() {
        "oid" => match inner {
            Expr::Function(_) if is_call(inner, "pg_regclass_oid") || is_call(inner, "pg_regtype_oid") => {
                return Some(inner.clone());
            }
            _ => DataType::BigInt(None),
        },
        "int2" => DataType::SmallInt(None),
        "int4" | "integer" => DataType::Integer(None),
        "int8" | "bigint" | "xid" => DataType::BigInt(None),
        "bool" => DataType::Boolean,
        "float4" => DataType::Real,
        "float8" => DataType::DoublePrecision,
        "numeric" if modifiers.is_empty() => DataType::Numeric(ExactNumberInfo::None),
        "timestamptz" => DataType::Timestamp(None, TimezoneInfo::WithTimeZone),
        _ => return shown_by_name(inner).or_else(|| Some(to(inner.clone(), DataType::Text))),
    };
    Some(to(inner.clone(), plain))
}

/// A name that became an OID is a name again when it is cast to text.
fn shown_by_name(inner: &Expr) -> Option<Expr> {
    let shown = [("pg_regclass_oid", "pg_regclass_name"), ("pg_regtype_oid", "pg_regtype_name")];
    let (_, name) = shown.iter().find(|(oid, _)| is_call(inner, oid))?;
    Some(call(name, vec![inner.clone()]))
}

fn to(inner: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(inner), data_type, array: false, format: None }
}
