//! The name of a relation in the place of a value: the whole row (`SELECT t FROM t`).
//!
//! It is written out as a struct of the relation's columns before names are resolved, in the select lists of queries
//! over relations of the catalog. A column of that name comes first, as in Postgres.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName, Query,
    Select, SelectItem, SetExpr, TableFactor, Value, VisitMut, VisitorMut,
};

use super::Binder;
use super::normalize::folded;
use crate::catalog::{Relation, Resolved};

/// The function that makes a row; [`super::described`] knows it again.
pub(super) const NAMED_STRUCT: &str = "named_struct";

/// Writes whole rows out in the outermost select list.
pub(super) fn write_out(query: &mut Query, binder: &Binder<'_>) {
    let named = |name: &str| {
        let with = query.with.iter().flat_map(|with| &with.cte_tables);
        with.into_iter().any(|table| folded(&table.alias.name) == name)
    };
    let SetExpr::Select(select) = query.body.as_ref() else { return };
    let Some(relations) = relations_of(select, binder, &named) else { return };
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    for item in &mut select.projection {
        let (expr, alias) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias.clone())),
            _ => continue,
        };
        let name = match (&alias, &*expr) {
            (None, Expr::Identifier(name)) => Some(name.clone()),
            _ => alias,
        };
        let mut rows = Rows { relations: &relations, found: false };
        let _: ControlFlow<()> = expr.visit(&mut rows);
        if let (true, Some(alias)) = (rows.found, name) {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// A relation of FROM under the name that it has there.
struct Named {
    name: Ident,
    columns: Vec<String>,
}

/// The relations of FROM; `None` where one of them has columns that are not known yet.
fn relations_of(select: &Select, binder: &Binder<'_>, is_with: &dyn Fn(&str) -> bool) -> Option<Vec<Named>> {
    let factors = select
        .from
        .iter()
        .flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)));
    let relations = factors.map(|factor| {
        let TableFactor::Table { name, alias, args: None, .. } = factor else { return None };
        let parts: Option<Vec<&Ident>> = name.0.iter().map(|part| part.as_ident()).collect();
        let (schema, last) = match parts?.as_slice() {
            [last] => (None, *last),
            [schema, last] => (Some(folded(schema)), *last),
            _ => return None,
        };
        let table = folded(last);
        let alias_of = alias.as_ref().map(|alias| &alias.name);
        if (schema.is_none() && is_with(&table)) || alias.as_ref().is_some_and(|alias| !alias.columns.is_empty()) {
            return None;
        }
        match binder.resolve(schema.as_deref(), &table)? {
            Resolved::Relation(relation) => {
                Some(Named { name: alias_of.unwrap_or(last).clone(), columns: columns_of(&relation) })
            }
            Resolved::Auxiliary { .. } => None,
        }
    });
    relations.collect()
}

fn columns_of(relation: &Relation) -> Vec<String> {
    relation.schema.fields().iter().map(|field| field.name().clone()).collect()
}

struct Rows<'a> {
    relations: &'a [Named],
    found: bool,
}

impl VisitorMut for Rows<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Identifier(ident) = expr else { return ControlFlow::Continue(()) };
        let name = folded(ident);
        let is_column = self.relations.iter().any(|relation| relation.columns.contains(&name));
        let relation = self.relations.iter().find(|relation| folded(&relation.name) == name);
        if let (false, Some(relation)) = (is_column, relation) {
            *expr = row_of(relation, ident);
            self.found = true;
        }
        ControlFlow::Continue(())
    }
}

/// `named_struct('a', t.a, 'b', t.b)`, standing where the name stood.
fn row_of(relation: &Named, ident: &Ident) -> Expr {
    let fields = relation.columns.iter().flat_map(|column| {
        let key = Expr::Value(Value::SingleQuotedString(column.clone()).with_span(ident.span));
        let mut name = Ident::with_quote('"', column.clone());
        name.span = ident.span;
        [key, Expr::CompoundIdentifier(vec![relation.name.clone(), name])]
    });
    let args = fields.map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(NAMED_STRUCT)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
