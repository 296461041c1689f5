//! The pass over a query's syntax tree before names are resolved.
//!
//! It refuses what DataFusion's planner would drop without a word, spells `FETCH FIRST` as `LIMIT`, gives
//! columns the names that Postgres gives them, writes exponents out, and notes the types that casts give to
//! parameters.

use std::collections::HashSet;
use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use sqlparser::ast::{
    self, AccessExpr, BinaryOperator, CastKind, DuplicateTreatment, Expr, Fetch, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, LimitClause,
    ObjectName, Query, Select, SelectFlavor, SelectItem, SetExpr, Spanned, Subscript, TableAlias, TableAliasColumnDef,
    TableFactor, Value, ValueWithSpan, VisitMut, VisitorMut,
};
use sqlparser::tokenizer::Span;

use super::clause_places::window_in;
use super::context::GENERATE_SERIES;
use super::diagnose::span_position;
use super::literal;
use super::respelled::{self, respell};
use super::{mistakes, moments, rows, sorted_names, subqueries};
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::functions::{CHARACTER, SECOND_DIGITS, VARYING};
use crate::reading::Reading;
use crate::settings::PlanSettings;

/// Stands before a number that makes a repeated column name unique inside the planner; clients never see it.
pub(super) const REPEATED: char = '\u{0}';

/// The name of an output column as the client sees it.
pub fn visible_name(name: &str) -> &str {
    name.split(REPEATED).next().unwrap_or(name)
}

/// A text in which column names stand, without the marks of repeated ones.
pub(super) fn without_marks(text: &str) -> String {
    let mut parts = text.split(REPEATED);
    let mut shown = parts.next().unwrap_or_default().to_string();
    parts.for_each(|part| shown.push_str(part.trim_start_matches(|digit: char| digit.is_ascii_digit())));
    shown
}

/// Normalizes a query in place. `parameters` takes the types that casts give (`$1::int`), where none is known.
pub(super) fn query(query: &mut Query, parameters: &mut Vec<Option<DataType>>, settings: &PlanSettings) -> Result<()> {
    if settings.reading >= Reading::CHECKED_CLAUSES {
        mistakes::check(query)?;
    }
    let mut pass = Pass { parameters, settings, depth: 0 };
    match VisitMut::visit(query, &mut pass) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// The same for an expression that stands alone.
pub(super) fn expression(
    expr: &mut Expr,
    parameters: &mut Vec<Option<DataType>>,
    settings: &PlanSettings,
) -> Result<()> {
    let mut pass = Pass { parameters, settings, depth: 0 };
    match VisitMut::visit(expr, &mut pass) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Pass<'a> {
    parameters: &'a mut Vec<Option<DataType>>,
    settings: &'a PlanSettings,
    /// Queries around the current place; 1 at the top.
    depth: usize,
}

type Flow = ControlFlow<PlanError>;

impl VisitorMut for Pass<'_> {
    type Break = PlanError;

    fn pre_visit_query(&mut self, query: &mut Query) -> Flow {
        self.depth += 1;
        if self.depth == 1 {
            sorted_names::mark(query);
        }
        if let SetExpr::Values(values) = query.body.as_mut()
            && self.reads(Reading::TYPED_LITERALS)
        {
            values.rows.iter_mut().flat_map(|row| &mut row.content).for_each(literal::narrow_integer);
        }
        flow(self.check_query(query))
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> Flow {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> Flow {
        let checked = self.check_select(select).map(|()| name_columns(select, self.depth <= 1));
        if self.reads(Reading::POSTGRES_FUNCTIONS) {
            respelled::sets_in_rows(select);
        }
        flow(checked)
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> Flow {
        name_series(factor);
        flow(self.check_table_factor(factor))
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> Flow {
        if self.reads(Reading::ROWS_BY_COLUMNS) {
            rows::write_out(expr);
        }
        flow(self.check_expression(expr))
    }
}

fn flow(result: Result<()>) -> Flow {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

impl Pass<'_> {
    /// Whether the text is read in a way that came with a step, or later.
    fn reads(&self, step: Reading) -> bool {
        self.settings.reading >= step
    }

    fn refuse_if(&self, present: bool, construct: &str, span: Span) -> Result<()> {
        if present {
            return Err(PlanError::unsupported(format!("{construct} is not supported")).at(span_position(span)));
        }
        Ok(())
    }

    fn check_query(&mut self, query: &mut Query) -> Result<()> {
        let span = query.body.span();
        self.refuse_if(!query.locks.is_empty(), "FOR UPDATE / FOR SHARE", span)
            .map_err(|error| error.with_hint("Readers never block here: leave the clause out."))?;
        self.refuse_if(query.for_clause.is_some(), "a FOR clause", span)?;
        self.refuse_if(query.settings.is_some(), "SETTINGS", span)?;
        self.refuse_if(query.format_clause.is_some(), "FORMAT in a query", span)?;
        self.refuse_if(!query.pipe_operators.is_empty(), "the pipe syntax |>", span)?;
        if let Some(fetch) = query.fetch.take() {
            self.fetch_to_limit(query, fetch)?;
        }
        match &query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, limit_by }) => {
                self.refuse_if(!limit_by.is_empty(), "LIMIT ... BY", span)?;
                let counts = limit.iter().chain(offset.iter().map(|offset| &offset.value));
                let numbers: Vec<usize> = counts.filter_map(parameter_number).collect();
                numbers.into_iter().for_each(|number| self.note_parameter(number, DataType::Int64));
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => {
                self.refuse_if(true, "LIMIT #,#", span)
                    .map_err(|error| error.with_hint("Use separate LIMIT and OFFSET clauses."))?;
            }
            None => {}
        }
        if let SetExpr::Table(_) = query.body.as_ref() {
            self.refuse_if(true, "TABLE name", span).map_err(|error| error.with_hint("Write SELECT * FROM name."))?;
        }
        query.with.iter().flat_map(|with| &with.cte_tables).try_for_each(|cte| self.check_common_table(cte))
    }

    /// What changes rows is refused here, which names its place: the planner would give its text back.
    fn check_common_table(&self, cte: &ast::Cte) -> Result<()> {
        let body = &cte.query.body;
        if !matches!(**body, SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)) {
            return Ok(());
        }
        if self.depth > 1 {
            let message = "WITH clause containing a data-modifying statement must be at the top level";
            return Err(PlanError::unsupported(message).at(span_position(cte.alias.name.span)));
        }
        Err(PlanError::unsupported("a data-modifying statement in WITH is not supported")
            .with_hint("Send it by itself, with RETURNING, and what reads its rows behind it, both in one transaction.")
            .at(span_position(body.span())))
    }

    fn fetch_to_limit(&self, query: &mut Query, fetch: Fetch) -> Result<()> {
        let span = query.body.span();
        self.refuse_if(fetch.with_ties, "FETCH ... WITH TIES", span)?;
        self.refuse_if(fetch.percent, "FETCH ... PERCENT", span)?;
        let one = || Expr::Value(Value::Number("1".to_string(), false).with_empty_span());
        let quantity = fetch.quantity.unwrap_or_else(one);
        match &mut query.limit_clause {
            None => {
                query.limit_clause =
                    Some(LimitClause::LimitOffset { limit: Some(quantity), offset: None, limit_by: Vec::new() });
                Ok(())
            }
            Some(LimitClause::LimitOffset { limit: limit @ None, .. }) => {
                *limit = Some(quantity);
                Ok(())
            }
            Some(LimitClause::LimitOffset { .. } | LimitClause::OffsetCommaLimit { .. }) => {
                Err(PlanError::new(PlanErrorKind::SyntaxError, "multiple LIMIT clauses not allowed")
                    .at(span_position(span)))
            }
        }
    }

    fn check_select(&self, select: &Select) -> Result<()> {
        let span = select.select_token.0.span;
        let grouping_modifiers = match &select.group_by {
            GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers) => !modifiers.is_empty(),
        };
        let dropped = [
            (!select.optimizer_hints.is_empty(), "an optimizer hint"),
            (select.select_modifiers.is_some(), "a SELECT modifier"),
            (select.top.is_some(), "TOP"),
            (select.exclude.is_some(), "EXCLUDE"),
            (select.into.is_some(), "SELECT INTO"),
            (!select.lateral_views.is_empty(), "LATERAL VIEW"),
            (select.prewhere.is_some(), "PREWHERE"),
            (!select.connect_by.is_empty(), "CONNECT BY"),
            (!select.cluster_by.is_empty(), "CLUSTER BY"),
            (!select.distribute_by.is_empty(), "DISTRIBUTE BY"),
            (!select.sort_by.is_empty(), "SORT BY"),
            (select.value_table_mode.is_some(), "SELECT AS VALUE / STRUCT"),
            (grouping_modifiers, "a modifier of GROUP BY"),
            (select.flavor != SelectFlavor::Standard, "FROM before SELECT"),
        ];
        dropped.into_iter().try_for_each(|(present, construct)| self.refuse_if(present, construct, span))?;
        match select.selection.as_ref().and_then(window_in) {
            None => Ok(()),
            Some(place) => {
                Err(PlanError::new(PlanErrorKind::WindowingError, "window functions are not allowed in WHERE")
                    .with_hint("Compute it in a subquery and compare outside of it.")
                    .at(Some(place)))
            }
        }
    }

    fn check_table_factor(&self, factor: &TableFactor) -> Result<()> {
        let span = factor.span();
        match factor {
            TableFactor::Table { name, .. } if name.0.len() > 3 => {
                let message = format!("improper qualified name (too many dotted names): {name}");
                Err(PlanError::new(PlanErrorKind::SyntaxError, message).at(span_position(span)))
            }
            TableFactor::Table {
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
                args,
                ..
            } => {
                let settings = args.as_ref().is_some_and(|args| args.settings.is_some());
                let dropped = [
                    (!with_hints.is_empty(), "a table hint"),
                    (version.is_some(), "FOR SYSTEM_TIME AS OF"),
                    (*with_ordinality, "WITH ORDINALITY"),
                    (!partitions.is_empty(), "PARTITION"),
                    (json_path.is_some(), "a JSON path in FROM"),
                    (sample.is_some(), "TABLESAMPLE"),
                    (!index_hints.is_empty(), "an index hint"),
                    (settings, "SETTINGS of a table function"),
                ];
                dropped.into_iter().try_for_each(|(present, construct)| self.refuse_if(present, construct, span))
            }
            TableFactor::Derived { sample, .. } => self.refuse_if(sample.is_some(), "TABLESAMPLE", span),
            TableFactor::Function { with_ordinality, .. } => self.refuse_if(*with_ordinality, "WITH ORDINALITY", span),
            TableFactor::Pivot { .. } | TableFactor::Unpivot { .. } => self.refuse_if(true, "PIVOT / UNPIVOT", span),
            TableFactor::MatchRecognize { .. } => self.refuse_if(true, "MATCH_RECOGNIZE", span),
            TableFactor::JsonTable { .. } | TableFactor::OpenJsonTable { .. } => {
                self.refuse_if(true, "JSON_TABLE", span)
            }
            TableFactor::XmlTable { .. } => self.refuse_if(true, "XMLTABLE", span),
            // The planner refuses the rest by name itself.
            _ => Ok(()),
        }
    }

    fn check_expression(&mut self, expr: &mut Expr) -> Result<()> {
        if self.reads(Reading::POSTGRES_FUNCTIONS) {
            respell(expr, self.settings.reading)?;
        }
        if self.reads(Reading::TYPED_LITERALS) {
            literal::widen_integer(expr);
        }
        if let Expr::Cast { data_type, .. } | Expr::TypedString(ast::TypedString { data_type, .. }) = expr {
            crate::types::under(data_type, self.settings);
        }
        if let Expr::TypedString(typed) = expr
            && (crate::types::is_character(&typed.data_type)
                || (self.reads(Reading::POSTGRES_DIGITS) && crate::types::declared_digits(&typed.data_type).is_some()))
        {
            let (literal, data_type) = (Box::new(Expr::Value(typed.value.clone())), typed.data_type.clone());
            *expr = Expr::Cast { kind: CastKind::Cast, expr: literal, data_type, array: false, format: None };
        }
        let is_in = matches!(
            expr,
            Expr::AnyOp { compare_op: BinaryOperator::Eq, .. } | Expr::AllOp { compare_op: BinaryOperator::NotEq, .. }
        );
        match expr {
            Expr::AtTimeZone { .. } | Expr::Interval(_) | Expr::BinaryOp { op: ast::BinaryOperator::Overlaps, .. }
                if self.reads(Reading::POSTGRES_FUNCTIONS) =>
            {
                moments::written_out(expr)
            }
            Expr::Function(function) => {
                if self.reads(Reading::POSTGRES_FUNCTIONS) {
                    respelled::refuse_set(function)?;
                    moments::arguments_in_order(function)?;
                }
                subqueries::as_array(function);
                self.type_json_arguments(function);
                self.check_function(function)
            }
            Expr::Cast { kind, expr: inner, data_type, format, array } => {
                let span = inner.span();
                self.refuse_if(format.is_some() || *array, "CAST ... FORMAT", span)?;
                self.refuse_if(!matches!(kind, CastKind::Cast | CastKind::DoubleColon), "TRY_CAST", span)?;
                if let Some(number) = parameter_number(inner) {
                    let data_type =
                        crate::types::arrow_type(data_type).map_err(|error| error.at(span_position(span)))?;
                    self.note_parameter(number, data_type);
                } else {
                    crate::types::arrow_type(data_type).map_err(|error| error.at(span_position(span)))?;
                }
                if self.reads(Reading::POSTGRES_DIGITS) && declared(expr) {
                    return Ok(());
                }
                let Expr::Cast { data_type, .. } = expr else { return Ok(()) };
                if let Some(length) = crate::types::declared_length(data_type) {
                    *data_type = ast::DataType::Text;
                    *expr = of_length("left", expr.clone(), Some(length));
                } else if let Some(length) = crate::types::take_character(data_type) {
                    *expr = of_length(CHARACTER, expr.clone(), length?);
                }
                Ok(())
            }
            Expr::Exists { subquery, .. } | Expr::Subquery(subquery) => {
                sorted_names::mark(subquery);
                Ok(())
            }
            Expr::InSubquery { expr, subquery, .. } => {
                subqueries::check_width(expr, subquery)?;
                sorted_names::mark(subquery);
                subqueries::as_rows(expr, subquery);
                Ok(())
            }
            Expr::AnyOp { left, right, .. } | Expr::AllOp { left, right, .. } => {
                let Expr::Subquery(subquery) = right.as_mut() else {
                    return subqueries::as_matches(expr, self.parameters, self.settings.reading);
                };
                subqueries::check_width(left, subquery)?;
                // These are IN and NOT IN, or else the same for single values.
                match left.as_ref() {
                    Expr::Tuple(_) if is_in => subqueries::as_rows(left, subquery),
                    Expr::Tuple(_) => return Err(subqueries::row_beside_query(left)),
                    _ => {}
                }
                Ok(())
            }
            Expr::BinaryOp { left, right, .. } => {
                if let (Expr::Tuple(_), Expr::Subquery(subquery)) = (left.as_ref(), right.as_mut()) {
                    subqueries::check_width(left, subquery)?;
                    sorted_names::mark(subquery);
                    return subqueries::write_out_beside_row(expr);
                }
                Ok(())
            }
            Expr::CompoundFieldAccess { access_chain, .. } => {
                access_chain.iter_mut().for_each(name_field);
                for access in access_chain {
                    if let AccessExpr::Subscript(subscript) = access
                        && self.reads(Reading::POSTGRES_FUNCTIONS)
                    {
                        respelled::close(subscript);
                    }
                }
                Ok(())
            }
            Expr::Value(ValueWithSpan { value: Value::Number(text, _), span }) if text.contains(['e', 'E']) => {
                *expr = literal::with_exponent(text, *span, self.reads(Reading::TYPED_LITERALS))
                    .map_err(|error| error.at(span_position(*span)))?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Functions of JSON take literals and parameters as JSON and as paths: there is nothing else that they could be.
    fn type_json_arguments(&mut self, function: &mut Function) {
        let name = function.name.to_string().to_lowercase();
        let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
        let Some(types) = crate::functions::json_literals(name) else { return };
        let FunctionArguments::List(list) = &mut function.args else { return };
        for (argument, wanted) in list.args.iter_mut().zip(types) {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument else { continue };
            if let Some(number) = parameter_number(expr) {
                self.note_parameter(number, wanted);
            } else if matches!(expr, Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(_), .. })) {
                let data_type = match wanted {
                    crate::types::JSONB => ast::DataType::JSONB,
                    crate::types::JSON => ast::DataType::JSON,
                    _ => {
                        ast::DataType::Array(ast::ArrayElemTypeDef::SquareBracket(Box::new(ast::DataType::Text), None))
                    }
                };
                let literal = Box::new(expr.clone());
                let kind = CastKind::DoubleColon;
                *expr = Expr::Cast { kind, expr: literal, data_type, array: false, format: None };
            }
        }
    }

    fn note_parameter(&mut self, number: usize, data_type: DataType) {
        note_type(self.parameters, number, data_type);
    }

    fn check_function(&self, function: &Function) -> Result<()> {
        let span = function.span();
        let name = function.name.to_string();
        self.refuse_if(function.uses_odbc_syntax, "{fn ...}", span)?;
        self.refuse_if(
            !matches!(function.parameters, FunctionArguments::None),
            "a second list of function arguments",
            span,
        )?;
        self.refuse_if(function.null_treatment.is_some(), "IGNORE NULLS / RESPECT NULLS", span)?;
        let FunctionArguments::List(list) = &function.args else { return Ok(()) };
        for clause in &list.clauses {
            let construct = match clause {
                FunctionArgumentClause::OrderBy(_) => continue,
                FunctionArgumentClause::IgnoreOrRespectNulls(_) => "IGNORE NULLS / RESPECT NULLS",
                FunctionArgumentClause::Limit(_) => "LIMIT in an argument list",
                FunctionArgumentClause::OnOverflow(_) => "ON OVERFLOW",
                FunctionArgumentClause::Having(_) => "HAVING in an argument list",
                FunctionArgumentClause::Separator(_) => "SEPARATOR",
                FunctionArgumentClause::JsonNullClause(_) | FunctionArgumentClause::JsonReturningClause(_) => {
                    "a JSON clause in an argument list"
                }
            };
            self.refuse_if(true, construct, span)?;
        }
        let distinct = matches!(list.duplicate_treatment, Some(DuplicateTreatment::Distinct));
        self.refuse_if(distinct && function.over.is_some(), "DISTINCT in a window function", span)?;
        let ordered = list.clauses.iter().any(|clause| matches!(clause, FunctionArgumentClause::OrderBy(_)));
        if (distinct || ordered || function.filter.is_some()) && crate::functions::is_scalar(&name) {
            return Err(PlanError::new(
                PlanErrorKind::WrongObjectType,
                format!("DISTINCT, ORDER BY or FILTER specified, but {name} is not an aggregate function"),
            )
            .at(span_position(span)));
        }
        Ok(())
    }
}

/// The first characters of a text, as a cast to `varchar(n)` or `char(n)` cuts it, by a function of this name.
fn of_length(function: &str, text: Expr, length: Option<u64>) -> Expr {
    let count = length.map(|length| Expr::Value(Value::Number(length.to_string(), false).with_empty_span()));
    call(Ident::new(function), std::iter::once(text).chain(count).collect())
}

/// A cast to a type that says more than its Arrow type, as a call around the cast; and whether it is one.
fn declared(cast: &mut Expr) -> bool {
    let Expr::Cast { expr: inner, data_type, .. } = cast else { return false };
    let number = |number: u64| Expr::Value(Value::Number(number.to_string(), false).with_empty_span());
    if let Some(digits) = crate::types::take_digits(data_type) {
        *cast = call(Ident::with_quote('"', SECOND_DIGITS), vec![cast.clone(), number(u64::from(digits))]);
        return true;
    }
    // What a driver casts its parameters to is known without a call.
    let of_parameter = parameter_number(inner).is_some();
    match crate::types::take_varying(data_type) {
        Some(None) if of_parameter => true,
        Some(length) => {
            let arguments = std::iter::once(cast.clone()).chain(length.map(number)).collect();
            *cast = call(Ident::with_quote('"', VARYING), arguments);
            true
        }
        None => false,
    }
}

/// A call of a function.
pub(crate) fn call(name: Ident, arguments: Vec<Expr>) -> Expr {
    let argument = |expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    let args = arguments.into_iter().map(argument).collect();
    let list = FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() };
    Expr::Function(Function {
        name: ObjectName::from(vec![name]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// Gives a parameter the type of the place where it stands, unless it has one. What a client says of an array is the
/// type of its elements alone: its dimensions are those of the place.
pub(super) fn note_type(parameters: &mut Vec<Option<DataType>>, number: usize, data_type: DataType) {
    if parameters.len() < number {
        parameters.resize(number, None);
    }
    let known = &mut parameters[number - 1];
    if known.as_ref().is_none_or(|known| adds_dimensions(known, &data_type)) {
        *known = Some(data_type);
    }
}

/// Whether `wanted` is an array of the same elements in more dimensions.
fn adds_dimensions(known: &DataType, wanted: &DataType) -> bool {
    let (DataType::List(known), DataType::List(wanted)) = (known, wanted) else { return false };
    match (known.data_type(), wanted.data_type()) {
        (known @ DataType::List(_), wanted @ DataType::List(_)) => adds_dimensions(known, wanted),
        (element, wanted @ DataType::List(_)) => innermost(wanted) == element,
        _ => false,
    }
}

fn innermost(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::List(element) => innermost(element.data_type()),
        element => element,
    }
}

/// The number of a bare `$n`.
pub(super) fn parameter_number(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) => {
            name.strip_prefix('$')?.parse().ok().filter(|number| (1..=u16::MAX as usize).contains(number))
        }
        Expr::Nested(inner) => parameter_number(inner),
        _ => None,
    }
}

/// Gives every column of a SELECT the name that Postgres gives it; repeated names are marked.
fn name_columns(select: &mut Select, top: bool) {
    let mut columns: HashSet<String> = HashSet::new();
    let mut column_names: HashSet<String> = HashSet::new();
    let mut other_names: HashSet<String> = HashSet::new();
    let mut bare_names: HashSet<String> = HashSet::new();
    let mut marks = 0_usize;
    let has_wildcard = select
        .projection
        .iter()
        .any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
    for item in &mut select.projection {
        let (expr, name, plain) = match item {
            SelectItem::UnnamedExpr(expr) => {
                let plain = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
                (expr.clone(), column_name(expr).unwrap_or_else(|| "?column?".to_string()), plain)
            }
            SelectItem::ExprWithAlias { expr, alias } => (expr.clone(), folded(alias), false),
            SelectItem::ExprWithAliases { .. } | SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => {
                continue;
            }
        };
        // `a.x, b.x` are different columns to the planner and keep their qualifiers for the queries around.
        let repeated = if plain {
            // `x` and `a.x` may be the same one.
            let bare = matches!(expr, Expr::Identifier(_));
            let same = bare_names.contains(&name) || (bare && column_names.contains(&name));
            let taken = other_names.contains(&name) || !columns.insert(expr.to_string()) || same;
            column_names.insert(name.clone());
            if bare {
                bare_names.insert(name.clone());
            }
            taken
        } else {
            column_names.contains(&name) || !other_names.insert(name.clone())
        };
        if repeated || (has_wildcard && top) {
            marks += 1;
            *item =
                SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', format!("{name}{REPEATED}{marks}")) };
        } else if !plain {
            *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) };
        }
    }
}

/// `generate_series(...) AS i` has a column `i`, as in Postgres.
fn name_series(factor: &mut TableFactor) {
    let TableFactor::Table { name, args: Some(_), alias, .. } = factor else { return };
    if last_part(name).as_deref() != Some(GENERATE_SERIES) {
        return;
    }
    let alias = alias.get_or_insert_with(|| TableAlias {
        explicit: true,
        name: Ident::new(GENERATE_SERIES),
        columns: Vec::new(),
        at: None,
    });
    if alias.columns.is_empty() {
        alias.columns.push(TableAliasColumnDef { name: alias.name.clone(), data_type: None });
    }
}

/// An identifier as it is stored: folded unless quoted.
pub(super) fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The last part of a name, folded.
fn last_part(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(|part| part.as_ident()).map(folded)
}

/// `(row).field` as `(row)['field']`: the planner reads names of fields in the second form only.
fn name_field(access: &mut AccessExpr) {
    if let AccessExpr::Dot(Expr::Identifier(ident)) = access {
        let name = Value::SingleQuotedString(folded(ident)).with_span(ident.span);
        *access = AccessExpr::Subscript(Subscript::Index { index: Expr::Value(name) });
    }
}

/// The name that Postgres gives to an output column without AS; `None` is `?column?`.
pub(super) fn column_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(folded(ident)),
        Expr::CompoundIdentifier(idents) => idents.last().map(folded),
        Expr::CompoundFieldAccess { root, access_chain } => match access_chain.last() {
            Some(AccessExpr::Dot(Expr::Identifier(ident))) => Some(folded(ident)),
            _ => column_name(root),
        },
        Expr::Function(function) => last_part(&function.name),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => column_name(inner),
        Expr::Cast { expr: inner, data_type, .. } => column_name(inner).or_else(|| Some(type_name(data_type))),
        Expr::TypedString(typed) => Some(type_name(&typed.data_type)),
        Expr::Interval(_) => Some("interval".to_string()),
        Expr::Case { else_result, .. } => {
            else_result.as_deref().and_then(column_name).or_else(|| Some("case".to_string()))
        }
        Expr::Extract { .. } => Some("extract".to_string()),
        Expr::Position { .. } => Some("position".to_string()),
        Expr::Substring { .. } => Some("substring".to_string()),
        Expr::Trim { .. } => Some("btrim".to_string()),
        Expr::Ceil { .. } => Some("ceil".to_string()),
        Expr::Floor { .. } => Some("floor".to_string()),
        Expr::Overlay { .. } => Some("overlay".to_string()),
        Expr::AtTimeZone { .. } => Some("timezone".to_string()),
        Expr::BinaryOp { op: ast::BinaryOperator::Overlaps, .. } => Some("overlaps".to_string()),
        Expr::Array(_) => Some("array".to_string()),
        Expr::Exists { negated: false, .. } => Some("exists".to_string()),
        Expr::Tuple(_) => Some("row".to_string()),
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => match select.projection.as_slice() {
                [SelectItem::UnnamedExpr(expr)] => column_name(expr),
                [SelectItem::ExprWithAlias { alias, .. }] => Some(folded(alias)),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// The catalog's name of a type, as Postgres uses it for an unnamed cast.
fn type_name(data_type: &sqlparser::ast::DataType) -> String {
    let written = data_type.to_string().to_lowercase();
    let base = written.split(['(', '<', '[']).next().unwrap_or_default().trim();
    match base {
        "int" | "integer" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "real" => "float4",
        "double precision" | "double" | "float" => "float8",
        "boolean" => "bool",
        "decimal" | "dec" => "numeric",
        "character varying" | "char varying" => "varchar",
        "timestamp with time zone" => "timestamptz",
        "timestamp without time zone" => "timestamp",
        "character" | "char" => "bpchar",
        other => other,
    }
    .to_string()
}
