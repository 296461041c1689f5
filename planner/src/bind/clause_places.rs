//! Where an error about a clause of a query points: DataFusion tells what is wrong with a clause, not where it stands.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, LimitClause, OrderByKind,
    Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Spanned, Value, Visit, Visitor,
};

use super::diagnose::span_position;
use super::normalize::folded;
use crate::error::{PlanError, PlanErrorKind, TextPosition};
use crate::functions::registry;

/// What is said of a subquery that stands for a value.
pub(super) const ONE_COLUMN: &str = "subquery must return only one column";

/// The place in the first clause that an error can be about.
pub(super) fn clause_place(error: &PlanError, query: &Query) -> Option<TextPosition> {
    match Visit::visit(query, &mut Search(Mistake::of(error)?)) {
        ControlFlow::Break(position) => Some(position),
        ControlFlow::Continue(()) => None,
    }
}

/// A mistake in a clause, by the words of its error.
enum Mistake {
    AggregateInWhere,
    NestedAggregate,
    /// By the number that is no column's.
    GroupByNumber(String),
    OrderByNumber(String),
    DistinctOrder,
    /// By the name that is there twice.
    WithTwice(String),
    /// By how many columns were named.
    WithColumns(usize),
    ValuesLength,
    /// Points at the first word of the subquery.
    SubqueryColumns,
    /// By the name in front of `.*`.
    Qualifier(String),
    /// The first argument of the first call.
    Grouping,
    /// The first `$0`.
    ParameterZero,
    /// LIMIT, or else OFFSET.
    Count {
        offset: bool,
    },
}

impl Mistake {
    fn of(error: &PlanError) -> Option<Self> {
        let message = error.message.as_str();
        let number = |clause: &str| message.strip_prefix(clause)?.strip_suffix(" is not in select list");
        Some(match error.kind {
            PlanErrorKind::GroupingError if message.ends_with("not allowed in WHERE") => Self::AggregateInWhere,
            PlanErrorKind::GroupingError if message.contains("cannot be nested") => Self::NestedAggregate,
            PlanErrorKind::InvalidColumnReference if message.starts_with("for SELECT DISTINCT") => Self::DistinctOrder,
            PlanErrorKind::InvalidColumnReference => {
                if let Some(number) = number("GROUP BY position ") {
                    Self::GroupByNumber(number.to_string())
                } else if let Some(number) = number("ORDER BY position ") {
                    Self::OrderByNumber(number.to_string())
                } else {
                    let named = message.strip_suffix(" columns specified")?.rsplit(' ').next()?;
                    Self::WithColumns(named.parse().ok()?)
                }
            }
            PlanErrorKind::DuplicateAlias => {
                Self::WithTwice(message.strip_prefix("WITH query name \"")?.split('"').next()?.to_string())
            }
            PlanErrorKind::GroupingError if message.starts_with("arguments to GROUPING") => Self::Grouping,
            PlanErrorKind::UndefinedTable => {
                let name = message.strip_prefix("missing FROM-clause entry for table \"")?;
                Self::Qualifier(name.strip_suffix('"')?.to_string())
            }
            PlanErrorKind::UndefinedParameter => Self::ParameterZero,
            PlanErrorKind::DatatypeMismatch if message.starts_with("argument of LIMIT ") => {
                Self::Count { offset: false }
            }
            PlanErrorKind::DatatypeMismatch if message.starts_with("argument of OFFSET ") => {
                Self::Count { offset: true }
            }
            PlanErrorKind::SyntaxError if message.starts_with("VALUES lists") => Self::ValuesLength,
            PlanErrorKind::SyntaxError if message == ONE_COLUMN => Self::SubqueryColumns,
            _ => return None,
        })
    }

    fn in_query(&self, query: &Query) -> Option<TextPosition> {
        let with = query.with.iter().flat_map(|with| &with.cte_tables);
        match self {
            Self::WithTwice(name) => {
                let mut named = with.map(|cte| &cte.alias.name).filter(|alias| folded(alias) == *name);
                named.nth(1).and_then(|alias| span_position(alias.span))
            }
            Self::WithColumns(count) => {
                let mut named = with.filter(|cte| cte.alias.columns.len() == *count);
                named.next().and_then(|cte| span_position(cte.alias.name.span))
            }
            Self::OrderByNumber(number) => order_by(query).find(|expr| is_number(expr, number)).and_then(place),
            Self::Count { offset: wanted } => match query.limit_clause.as_ref()? {
                LimitClause::LimitOffset { offset, .. } if *wanted => place(&offset.as_ref()?.value),
                LimitClause::LimitOffset { limit, .. } => place(limit.as_ref()?),
                LimitClause::OffsetCommaLimit { .. } => None,
            },
            Self::DistinctOrder => {
                let select = query.body.as_select()?;
                order_by(query).find(|expr| !is_selected(expr, select)).and_then(place)
            }
            _ => self.in_body(&query.body),
        }
    }

    fn in_body(&self, body: &SetExpr) -> Option<TextPosition> {
        match (self, body) {
            (_, SetExpr::SetOperation { left, right, .. }) => self.in_body(left).or_else(|| self.in_body(right)),
            (Self::ValuesLength, SetExpr::Values(values)) => {
                let length = values.rows.first()?.content.len();
                let other = values.rows.iter().find(|row| row.content.len() != length)?;
                other.content.first().and_then(place)
            }
            (Self::Qualifier(name), SetExpr::Select(select)) => select.projection.iter().find_map(|item| match item {
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(found), _)
                    if found.to_string().eq_ignore_ascii_case(name) =>
                {
                    span_position(found.span())
                }
                _ => None,
            }),
            (Self::AggregateInWhere, SetExpr::Select(select)) => aggregate_in(select.selection.as_ref()?),
            (Self::GroupByNumber(number), SetExpr::Select(select)) => match &select.group_by {
                GroupByExpr::Expressions(expressions, _) => {
                    expressions.iter().find(|expr| is_number(expr, number)).and_then(place)
                }
                GroupByExpr::All(_) => None,
            },
            _ => None,
        }
    }
}

struct Search(Mistake);

impl Visitor for Search {
    type Break = TextPosition;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<TextPosition> {
        self.0.in_query(query).map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<TextPosition> {
        let found = match (&self.0, expr) {
            (Mistake::NestedAggregate, Expr::Function(call)) if is_aggregate(call) => {
                arguments(call).find_map(aggregate_in)
            }
            (Mistake::Grouping, Expr::Function(call)) if call.name.to_string().eq_ignore_ascii_case("grouping") => {
                arguments(call).next().and_then(place)
            }
            (Mistake::ParameterZero, Expr::Value(value)) if value.value == Value::Placeholder("$0".to_string()) => {
                span_position(value.span)
            }
            (Mistake::SubqueryColumns, Expr::Subquery(query)) if !is_one_column(query) => span_position(query.span()),
            _ => None,
        };
        found.map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }
}

fn place(expr: &Expr) -> Option<TextPosition> {
    span_position(expr.span())
}

fn order_by(query: &Query) -> impl Iterator<Item = &Expr> {
    let expressions = query.order_by.as_ref().and_then(|order_by| match &order_by.kind {
        OrderByKind::Expressions(expressions) => Some(expressions),
        OrderByKind::All(_) => None,
    });
    expressions.into_iter().flatten().map(|by| &by.expr)
}

fn is_number(expr: &Expr, number: &str) -> bool {
    matches!(expr, Expr::Value(value) if matches!(&value.value, Value::Number(digits, _) if digits == number))
}

/// Whether the select list has an expression, by itself, its name or its number.
fn is_selected(expr: &Expr, select: &Select) -> bool {
    let is_column = |alias: &Ident| matches!(expr, Expr::Identifier(name) if folded(name) == folded(alias));
    matches!(expr, Expr::Value(_))
        || select.projection.iter().any(|item| match item {
            SelectItem::UnnamedExpr(selected) => selected == expr,
            SelectItem::ExprWithAlias { expr: selected, alias } => selected == expr || is_column(alias),
            _ => true,
        })
}

/// Whether a call is one of an aggregate, not over a window.
pub(super) fn is_aggregate(call: &Function) -> bool {
    let name = call.name.0.last().and_then(|part| part.as_ident()).map(folded);
    call.over.is_none() && name.is_some_and(|name| registry().aggregate(&name).is_some())
}

/// The values that a function is called with.
pub(super) fn arguments(call: &Function) -> impl Iterator<Item = &Expr> {
    let list = match &call.args {
        FunctionArguments::List(list) => list.args.as_slice(),
        FunctionArguments::None | FunctionArguments::Subquery(_) => &[],
    };
    list.iter().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    })
}

/// Whether a query may well give one column.
fn is_one_column(query: &Query) -> bool {
    query.body.as_select().is_none_or(|select| {
        matches!(select.projection[..], [SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }])
    })
}

/// The first aggregate within an expression, beside its subqueries.
pub(super) fn aggregate_in(expr: &Expr) -> Option<TextPosition> {
    call_in(expr, is_aggregate)
}

/// The first window function within an expression, beside its subqueries.
pub(super) fn window_in(expr: &Expr) -> Option<TextPosition> {
    call_in(expr, |call| call.over.is_some())
}

/// The first call of such a function within an expression, beside its subqueries.
fn call_in(expr: &Expr, wanted: impl Fn(&Function) -> bool) -> Option<TextPosition> {
    in_calls(expr, |call| if wanted(call) { span_position(call.name.span()) } else { None })
}

/// What is found first in the calls within an expression, beside its subqueries.
pub(super) fn in_calls<T>(expr: &Expr, found: impl Fn(&Function) -> Option<T>) -> Option<T> {
    match Visit::visit(expr, &mut Calls { depth: 0, place: found }) {
        ControlFlow::Break(found) => Some(found),
        ControlFlow::Continue(()) => None,
    }
}

struct Calls<F> {
    /// How many subqueries are around.
    depth: usize,
    place: F,
}

impl<T, F: Fn(&Function) -> Option<T>> Visitor for Calls<F> {
    type Break = T;

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<T> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<T> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<T> {
        match expr {
            Expr::Function(call) if self.depth == 0 => {
                (self.place)(call).map_or(ControlFlow::Continue(()), ControlFlow::Break)
            }
            _ => ControlFlow::Continue(()),
        }
    }
}
