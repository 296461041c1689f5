//! The forms of UPDATE and DELETE beyond one table and one column at a time: `SET (a, b) = ...`, `UPDATE ... FROM` and
//! `DELETE ... USING`, `WITH` in front of either.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::logical_expr::{Distinct, DistinctOn, Expr, LogicalPlan};
use sqlparser::ast::{
    self, Assignment, AssignmentTarget, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, Query, SelectItem, SetExpr, Spanned, TableAlias, TableFactor, TableWithJoins, UpdateTableFromKind,
    Value,
};

use super::diagnose::{plan_error, span_position};
use super::dml::{self, Target};
use super::normalize::call;
use super::whole_row::NAMED_STRUCT;
use crate::error::{PlanError, PlanErrorKind, Result};

/// `SET (a, b) = (x, y)`, `= ROW(x, y)` and `= (SELECT x, y ...)` as one assignment per column.
pub(super) fn one_by_one(assignments: &[Assignment]) -> Result<Vec<Assignment>> {
    let mut single = Vec::with_capacity(assignments.len());
    for assignment in assignments {
        let AssignmentTarget::Tuple(columns) = &assignment.target else {
            single.push(assignment.clone());
            continue;
        };
        for (column, value) in columns.iter().zip(values_of(&assignment.value, columns.len())?) {
            single.push(Assignment { target: AssignmentTarget::ColumnName(column.clone()), value });
        }
    }
    Ok(single)
}

fn values_of(value: &ast::Expr, columns: usize) -> Result<Vec<ast::Expr>> {
    let given = match value {
        ast::Expr::Tuple(values) => values.clone(),
        ast::Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("row") => row_values(function)?,
        ast::Expr::Subquery(query) => return fields_of(query, columns),
        _ => {
            let message = "source for a multiple-column UPDATE item must be a sub-SELECT or ROW() expression";
            return Err(PlanError::unsupported(message).at(span_position(value.span())));
        }
    };
    if given.len() != columns {
        let message = "number of columns does not match number of values";
        return Err(PlanError::new(PlanErrorKind::SyntaxError, message).at(span_position(value.span())));
    }
    Ok(given)
}

fn row_values(function: &Function) -> Result<Vec<ast::Expr>> {
    let FunctionArguments::List(list) = &function.args else { return Ok(Vec::new()) };
    let value = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr.clone()),
        other => Err(PlanError::unsupported(format!("{other} in a row that is assigned is not supported"))),
    };
    list.args.iter().map(value).collect()
}

/// The columns of a query of one row, each as a field of that row: the query is one value, so that all of them are of
/// the same row.
fn fields_of(query: &Query, columns: usize) -> Result<Vec<ast::Expr>> {
    let place = |column: usize| format!("c{column}");
    let text = |text: String| ast::Expr::Value(Value::SingleQuotedString(text).with_empty_span());
    let mut query = query.clone();
    let is_plain = query.order_by.is_none() && query.limit_clause.is_none() && query.fetch.is_none();
    let fields: Vec<ast::Expr> = match query.body.as_mut() {
        SetExpr::Select(select) if is_plain && select.distinct.is_none() => {
            let expressions = select.projection.iter().map(|item| match item {
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr.clone()),
                _ => None,
            });
            let expressions: Option<Vec<ast::Expr>> = expressions.collect();
            let expressions = expressions.ok_or_else(|| {
                PlanError::unsupported("* in a query that is assigned to several columns is not supported")
                    .with_hint("Name its columns.")
                    .at(span_position(select.span()))
            })?;
            check_count(expressions.len(), columns, &query)?;
            expressions
        }
        _ => (0..columns).map(|column| ast::Expr::Identifier(Ident::new(place(column)))).collect(),
    };
    let pairs = fields.into_iter().enumerate().flat_map(|(column, field)| [text(place(column)), field]);
    let row = SelectItem::UnnamedExpr(call(Ident::new(NAMED_STRUCT), pairs.collect()));
    match query.body.as_mut() {
        SetExpr::Select(select) if is_plain && select.distinct.is_none() => select.projection = vec![row],
        _ => {
            let names = (0..columns).map(|column| ast::TableAliasColumnDef::from_name(place(column)));
            let alias = TableAlias { explicit: true, name: Ident::new("assigned"), columns: names.collect(), at: None };
            let relation =
                TableFactor::Derived { lateral: false, subquery: Box::new(query), alias: Some(alias), sample: None };
            query = dml::select(vec![row], vec![TableWithJoins { relation, joins: Vec::new() }], None);
        }
    }
    let row = ast::Expr::Subquery(Box::new(query));
    Ok((0..columns).map(|column| call(Ident::new("get_field"), vec![row.clone(), text(place(column))])).collect())
}

fn check_count(given: usize, columns: usize, query: &Query) -> Result<()> {
    if given == columns {
        return Ok(());
    }
    let message = "number of columns does not match number of values";
    Err(PlanError::new(PlanErrorKind::SyntaxError, message).at(span_position(query.span())))
}

/// The tables beside the one that changes.
pub(super) fn beside(from: Option<&UpdateTableFromKind>) -> &[TableWithJoins] {
    match from {
        Some(UpdateTableFromKind::BeforeSet(tables) | UpdateTableFromKind::AfterSet(tables)) => tables,
        None => &[],
    }
}

/// What a statement over further tables has to be: rows of the target are told apart by its key, and RETURNING shows
/// columns of the target only.
pub(super) fn check_beside(target: &Target, clause: &str, returning: Option<&[SelectItem]>) -> Result<()> {
    if target.definition().input.primary_key.is_empty() {
        let message = format!("{clause} over a table without a primary key is not supported");
        return Err(PlanError::unsupported(message).with_hint(
            "Its rows can't be told apart where several rows match one. Read the other table in a subquery.",
        ));
    }
    match returning.into_iter().flatten().find(|item| matches!(item, SelectItem::Wildcard(_))) {
        Some(item) => Err(PlanError::unsupported(format!("RETURNING * with {clause} is not supported"))
            .with_hint(format!("RETURNING shows the changed table: write {}.*.", target.name.value))
            .at(span_position(item.span()))),
        None => Ok(()),
    }
}

/// An error of RETURNING that names a column of another table.
pub(super) fn of_target_only(error: PlanError, clause: &str) -> PlanError {
    match error.kind {
        PlanErrorKind::UndefinedTable | PlanErrorKind::UndefinedColumn => {
            error.with_hint(format!("RETURNING shows columns of the changed table only, not those of {clause}."))
        }
        _ => error,
    }
}

/// One row of a plan per key of the target, whose columns come first: a row changes once, whatever it matches.
pub(super) fn once_per_key(target: &Target, plan: LogicalPlan) -> Result<LogicalPlan> {
    let columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let key = target.definition().input.primary_key.iter();
    let key = key.map(|column| Expr::Column(Column::from(plan.schema().qualified_field(*column)))).collect();
    let once = DistinctOn::try_new(key, columns, None, Arc::new(plan)).map_err(plan_error)?;
    Ok(LogicalPlan::Distinct(Distinct::On(once)))
}

/// Puts the WITH queries of a statement before the query that finds its rows.
pub(super) fn with_queries(mut query: Query, with: Option<&ast::With>) -> Query {
    query.with = with.cloned();
    query
}

/// A name of one part.
pub(super) fn bare_name(name: &Ident) -> ObjectName {
    ObjectName(vec![ObjectNamePart::Identifier(name.clone())])
}
