//! The name of a relation in the place of a value: the whole row (`SELECT t FROM t`).
//!
//! It is written out as a struct of the relation's columns before names are resolved, in select lists over relations of
//! the catalog and over queries whose columns have names. A column of that name comes first, as in Postgres.

use std::collections::HashSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    Cte, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    Query, Select, SelectItem, SetExpr, TableAlias, TableFactor, Value, VisitMut, VisitorMut,
};

use super::Binder;
use super::normalize::{column_name, folded};
use super::own_names::each_expression;
use crate::catalog::{Relation, Resolved};

/// The function that makes a row; [`super::described`] knows it again.
pub(super) const NAMED_STRUCT: &str = "named_struct";

/// Writes whole rows out in the select lists of a query and of those within it.
pub(super) fn write_out(query: &mut Query, binder: &Binder<'_>) {
    let _: ControlFlow<()> = VisitMut::visit(query, &mut Lists { binder, with: Vec::new() });
}

struct Lists<'a> {
    binder: &'a Binder<'a>,
    /// The WITH queries that are known where the visitor is, the innermost last.
    with: Vec<Vec<Cte>>,
}

impl VisitorMut for Lists<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.with.push(query.with.iter().flat_map(|with| with.cte_tables.iter().cloned()).collect());
        self.write_out(query.body.as_mut());
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.with.pop();
        ControlFlow::Continue(())
    }
}

impl Lists<'_> {
    fn write_out(&self, body: &mut SetExpr) {
        match body {
            SetExpr::Select(select) => self.write_out_list(select),
            SetExpr::SetOperation { left, right, .. } => {
                self.write_out(left);
                self.write_out(right);
            }
            _ => {}
        }
    }

    fn write_out_list(&self, select: &mut Select) {
        let Some(relations) = self.relations_of(select) else { return };
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
            let mut found = false;
            each_expression(expr, |expr| found |= put_row(expr, &relations));
            if let (true, Some(alias)) = (found, name) {
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
        }
    }

    /// The relations of FROM; `None` where one of them has columns that are not known yet.
    fn relations_of(&self, select: &Select) -> Option<Vec<Named>> {
        let factors = select
            .from
            .iter()
            .flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)));
        factors.map(|factor| self.named(factor)).collect()
    }

    fn named(&self, factor: &TableFactor) -> Option<Named> {
        let renamed = |name: &Ident, alias: Option<&TableAlias>, mut columns: Vec<String>| {
            let written = alias.iter().flat_map(|alias| &alias.columns).map(|column| folded(&column.name));
            columns.iter_mut().zip(written).for_each(|(column, written)| *column = written);
            Named { name: alias.map_or(name, |alias| &alias.name).clone(), columns }
        };
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                let parts: Option<Vec<&Ident>> = name.0.iter().map(|part| part.as_ident()).collect();
                let (schema, last) = match parts?.as_slice() {
                    [last] => (None, *last),
                    [schema, last] => (Some(folded(schema)), *last),
                    _ => return None,
                };
                let table = folded(last);
                let with = self.with.iter().rev().flatten().find(|with| folded(&with.alias.name) == table);
                let columns = match (with, &schema) {
                    (Some(with), None) => renamed(last, Some(&with.alias), self.columns_of_query(&with.query)?).columns,
                    _ => match self.binder.resolve(schema.as_deref(), &table)? {
                        Resolved::Relation(relation) => columns_of(&relation),
                        Resolved::Auxiliary { .. } => return None,
                    },
                };
                Some(renamed(last, alias.as_ref(), columns))
            }
            TableFactor::Derived { subquery, alias: Some(alias), .. } => {
                Some(renamed(&alias.name, Some(alias), self.columns_of_query(subquery)?))
            }
            _ => None,
        }
    }

    /// The names of a query's columns; `None` where they are not known yet, or one comes twice.
    fn columns_of_query(&self, query: &Query) -> Option<Vec<String>> {
        let columns = self.columns_of_body(query.body.as_ref())?;
        let different: HashSet<&String> = columns.iter().collect();
        (different.len() == columns.len()).then_some(columns)
    }

    fn columns_of_body(&self, body: &SetExpr) -> Option<Vec<String>> {
        let select = match body {
            SetExpr::Select(select) => select,
            SetExpr::Query(query) => return self.columns_of_query(query),
            SetExpr::SetOperation { left, .. } => return self.columns_of_body(left),
            SetExpr::Values(values) => {
                let width = values.rows.first()?.content.len();
                return Some((1..=width).map(|place| format!("column{place}")).collect());
            }
            _ => return None,
        };
        let mut columns = Vec::new();
        for item in &select.projection {
            match item {
                SelectItem::UnnamedExpr(expr) => columns.push(column_name(expr)?),
                SelectItem::ExprWithAlias { alias, .. } => columns.push(folded(alias)),
                SelectItem::Wildcard(_) => {
                    columns.extend(self.relations_of(select)?.into_iter().flat_map(|relation| relation.columns));
                }
                _ => return None,
            }
        }
        Some(columns)
    }
}

/// A relation of FROM under the name that it has there.
struct Named {
    name: Ident,
    columns: Vec<String>,
}

fn columns_of(relation: &Relation) -> Vec<String> {
    relation.schema.fields().iter().map(|field| field.name().clone()).collect()
}

/// Puts the row of a relation in the place of its name; whether it is one.
fn put_row(expr: &mut Expr, relations: &[Named]) -> bool {
    let Expr::Identifier(ident) = &*expr else { return false };
    let name = folded(ident);
    let is_column = relations.iter().any(|relation| relation.columns.contains(&name));
    match relations.iter().find(|relation| folded(&relation.name) == name) {
        Some(relation) if !is_column => {
            *expr = row_of(relation, ident);
            true
        }
        _ => false,
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
