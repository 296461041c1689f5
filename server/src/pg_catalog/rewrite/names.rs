//! The names that Postgres gives to columns of a result.

use sqlparser::ast::{DataType, Expr, Ident, SelectItem, SetExpr, Value};

use super::{folded, last_part};

/// What a column without a better name is called.
const UNNAMED: &str = "?column?";

/// The names of the items of a select list; empty for wildcards.
pub(super) fn of_items(items: &[SelectItem]) -> Vec<String> {
    let names = items.iter().map(|item| match item {
        SelectItem::UnnamedExpr(expr) => of_expr(expr).unwrap_or_else(|| UNNAMED.to_owned()),
        SelectItem::ExprWithAlias { alias, .. } => folded(alias),
        _ => String::new(),
    });
    names.collect()
}

/// Writes the names out where DataFusion would choose others.
pub(super) fn name_items(items: &mut [SelectItem]) {
    for item in items {
        if let SelectItem::UnnamedExpr(expr) = item
            && !matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
            && let Some(name) = of_expr(expr)
        {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', name) };
        }
    }
}

fn of_expr(expr: &Expr) -> Option<String> {
    named(expr).map(|(name, _)| name)
}

/// The name, and whether it is better than that of a type to which the expression is cast.
fn named(expr: &Expr) -> Option<(String, bool)> {
    let strong = |name: Option<String>| name.map(|name| (name, true));
    match expr {
        Expr::Identifier(ident) => strong(Some(folded(ident))),
        Expr::CompoundIdentifier(parts) => strong(parts.last().map(folded)),
        Expr::Function(function) => strong(last_part(&function.name)),
        Expr::Cast { expr, data_type, .. } => match named(expr) {
            Some((name, true)) => strong(Some(name)),
            Some((_, false)) | None => Some((of_type(data_type), false)),
        },
        Expr::Collate { expr, .. } | Expr::Nested(expr) => named(expr),
        Expr::Case { else_result, .. } => match else_result.as_deref().and_then(named) {
            Some((name, true)) => strong(Some(name)),
            Some((_, false)) | None => Some(("case".to_owned(), false)),
        },
        Expr::Exists { .. } => strong(Some("exists".to_owned())),
        Expr::Array(_) => strong(Some("array".to_owned())),
        Expr::Trim { .. } => strong(Some("btrim".to_owned())),
        Expr::Substring { .. } => strong(Some("substring".to_owned())),
        Expr::Extract { .. } => strong(Some("extract".to_owned())),
        Expr::Position { .. } => strong(Some("position".to_owned())),
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => {
                strong(of_items(&select.projection).into_iter().next().filter(|name| name != UNNAMED))
            }
            _ => None,
        },
        Expr::Value(value) => match value.value {
            Value::Boolean(_) => Some(("bool".to_owned(), false)),
            _ => None,
        },
        _ => None,
    }
}

fn of_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Custom(name, _) => last_part(name).unwrap_or_default(),
        DataType::Int(_) | DataType::Integer(_) => "int4".to_owned(),
        DataType::BigInt(_) => "int8".to_owned(),
        DataType::SmallInt(_) => "int2".to_owned(),
        DataType::Boolean => "bool".to_owned(),
        other => other.to_string().to_lowercase(),
    }
}
