//! What the names in a definition's text mean: the relations that they stood for when it was planned first.
//!
//! A relation keeps its number when it gets another name, and whoever reads it goes on to read it, as in Postgres. The
//! text of a plain view is planned again wherever the view is used, with the old names in it: each leads through
//! this map, never through the catalog of that day. Nothing of it is stored: a start plans every definition in its
//! old place among the others, renames included, and finds the same relations under the same names.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, Ident, Query, TableFactor, Visit, Visitor};

use crate::bind::{Binder, resolve};
use crate::catalog::{Catalog, Relation, Resolved};
use crate::ddl::dependencies;
use crate::error::TextPosition;
use crate::parse::ast::Statement;
use crate::parse::{folded, parse_query, parse_statement};
use crate::statement::{Read, StatementText};

/// The names of relations in a text, as they stand there (folded unless quoted), and what they mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeantNames(BTreeMap<(Option<String>, String), Read>);

impl MeantNames {
    /// Notes what a name stands for.
    pub fn note(&mut self, schema: Option<&str>, name: &str, resolved: &Resolved) {
        self.0.insert((schema.map(str::to_string), name.to_string()), resolved.read());
    }

    /// What a name means; `None` for one that the text does not have, and for what is gone.
    pub fn find(&self, schema: Option<&str>, name: &str, catalog: &Catalog) -> Option<Resolved> {
        catalog.resolve_read(*self.0.get(&(schema.map(str::to_string), name.to_string()))?)
    }
}

/// The text of a view with the names that what it reads has today, for people to read and to run. What was called
/// otherwise keeps that name as an alias. Where a text can't be given that means the same, it is as it was written.
pub fn present_text(text: &str, view: &Relation, catalog: &Catalog, quote: &dyn Fn(&str) -> String) -> String {
    let names = Present { view, catalog, quote };
    if view.names.0.keys().all(|(schema, name)| names.still_found(schema.as_deref(), name)) {
        return text.to_string();
    }
    let Some(query) = query_in(text) else { return text.to_string() };
    let mut said = Said { names: &names, hidden: BTreeSet::new(), edits: BTreeMap::new() };
    let _: ControlFlow<()> = query.visit(&mut said);
    let mut written = String::with_capacity(text.len());
    let mut characters = text.chars().zip(1_u64..);
    for (start, (end, put)) in said.edits {
        written.extend(characters.by_ref().take_while(|(_, at)| *at < start).map(|(character, _)| character));
        // The character at the start is taken by `take_while`.
        characters.by_ref().take(usize::try_from(end - start).unwrap_or(0).saturating_sub(1)).for_each(drop);
        written.push_str(&put);
    }
    written.extend(characters.map(|(character, _)| character));
    match names.means_the_same(&written) {
        true => written,
        false => text.to_string(),
    }
}

/// The query of a text: the whole of it, or that of a CREATE.
fn query_in(text: &str) -> Option<Box<Query>> {
    if let Ok(query) = parse_query(text) {
        return Some(query);
    }
    let text = StatementText { sql: text.to_string(), start: TextPosition(1) };
    match parse_statement(&text).ok()? {
        Statement::CreateView(view) => Some(view.query.query),
        _ => None,
    }
}

/// What the names of a view's text mean, as one would say it today.
struct Present<'a> {
    view: &'a Relation,
    catalog: &'a Catalog,
    quote: &'a dyn Fn(&str) -> String,
}

impl Present<'_> {
    /// Whether a name of the text, said today, would mean the same.
    fn still_found(&self, schema: Option<&str>, name: &str) -> bool {
        let found = resolve(self.catalog, &self.view.settings, schema, name);
        let meant = self.view.names.find(schema, name, self.catalog);
        found.map(|found| found.read()) == meant.map(|meant| meant.read())
    }

    /// How a name of the text would be said today; `None` where it can stay.
    fn said_today(&self, schema: Option<&str>, name: &str) -> Option<(String, String)> {
        if self.still_found(schema, name) {
            return None;
        }
        let meant = self.view.names.find(schema, name, self.catalog)?;
        let today = meant.name();
        let bare = resolve(self.catalog, &self.view.settings, None, &today.name).map(|found| found.read());
        let written = match schema.is_none() && bare == Some(meant.read()) {
            true => (self.quote)(&today.name),
            false => format!("{}.{}", (self.quote)(&today.schema), (self.quote)(&today.name)),
        };
        Some((today.name, written))
    }

    /// Whether a text, planned today, reads what the view reads.
    fn means_the_same(&self, text: &str) -> bool {
        let Some(query) = query_in(text) else { return false };
        let bound = Binder::new(self.catalog, &self.view.settings).definition(&query);
        bound.and_then(|bound| dependencies(&bound)).is_ok_and(|reads| reads == self.view.depends_on)
    }
}

/// The places in a text where relations are named, and what is to stand there.
struct Said<'a> {
    names: &'a Present<'a>,
    /// Names of WITH: they hide relations.
    hidden: BTreeSet<String>,
    edits: BTreeMap<u64, (u64, String)>,
}

impl Said<'_> {
    /// Notes what is to stand in the place of a name; `aliased` where an alias can follow it, and none does.
    fn name(&mut self, parts: &[&Ident], aliased: bool) {
        let (schema, last) = match parts {
            [last] => (None, *last),
            [schema, last] | [_, schema, last] => (Some(folded(schema)), *last),
            _ => return,
        };
        let name = folded(last);
        if schema.is_none() && self.hidden.contains(&name) {
            return;
        }
        let Some((today, written)) = self.names.said_today(schema.as_deref(), &name) else { return };
        let put = match aliased && today != name {
            true => format!("{written} AS {}", (self.names.quote)(&name)),
            false => written,
        };
        self.edits.insert(parts[0].span.start.column, (last.span.end.column, put));
    }
}

impl Visitor for Said<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let with = query.with.iter().flat_map(|with| &with.cte_tables);
        self.hidden.extend(with.map(|table| folded(&table.alias.name)));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, alias, args, .. } = factor else { return ControlFlow::Continue(()) };
        let Some(args) = args else {
            let parts: Vec<&Ident> = name.0.iter().filter_map(|part| part.as_ident()).collect();
            self.name(&parts, alias.is_none());
            return ControlFlow::Continue(());
        };
        // `tumble(t, ...)`: the relation is the first argument.
        if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = args.args.first() {
            match first {
                Expr::Identifier(ident) => self.name(&[ident], false),
                Expr::CompoundIdentifier(parts) => self.name(&parts.iter().collect::<Vec<_>>(), false),
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }
}
