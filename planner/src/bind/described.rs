//! What the columns of a query are, as Postgres describes them: which column of which relation one is unchanged,
//! and the modifier of its type.
//!
//! A column keeps its relation through projections, aliases, subqueries, CTEs, joins and groups; it keeps its
//! modifier through what chooses among values of one modifier, too. How many digits a numeric shows is followed
//! through arithmetic, because Postgres' numerics carry it with them. A plain view is a relation: what it is made
//! of does not show. The plan is looked at before the analyzer has put casts in that nobody wrote.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{
    AggregateUDF, BinaryExpr, Distinct, Expr, LogicalPlan, Operator, WindowFunctionDefinition,
};
use sqlparser::ast;

use super::relation::{RelationTable, ViewTable};
use super::whole_row::NAMED_STRUCT;
use super::window::WindowNode;
use crate::catalog::{Catalog, Relation, Resolved};
use crate::functions::{
    CHARACTER, ExactAggregate, ExactKind, Operation, SECOND_DIGITS, VARYING, length_of_character, numeric_operation_of,
    shown_digits,
};
use crate::values::{Described, Digits, Origin, Shown};

/// The columns of a plan that `SqlToRel` made, in their order; `views` are those that were put in.
pub(super) fn columns(plan: &LogicalPlan, views: &[Arc<ViewTable>], catalog: &Catalog) -> Vec<Described> {
    let tracer = Tracer { views, catalog: Some(catalog) };
    (0..plan.schema().fields().len()).map(|column| tracer.column(plan, column)).collect()
}

/// Tells columns that are written as a cast to `varchar` from text, which they are in a plan. Not seen through subqueries.
pub(super) fn written_casts(query: &ast::Query, described: &mut [Described]) {
    let select = match query.body.as_ref() {
        ast::SetExpr::Query(inner) => return written_casts(inner, described),
        ast::SetExpr::Select(select) => select,
        _ => return,
    };
    for (item, described) in select.projection.iter().zip(described) {
        let (ast::SelectItem::UnnamedExpr(expr) | ast::SelectItem::ExprWithAlias { expr, .. }) = item else { return };
        if let Some(shown) = written_cast(expr) {
            described.shown = shown;
        }
    }
}

/// The type that an expression is cast to, or each element of an array; NULLs among them have none and no modifier.
fn written_cast(expr: &ast::Expr) -> Option<Shown> {
    let is_null = |expr: &&ast::Expr| matches!(expr, ast::Expr::Value(value) if value.value == ast::Value::Null);
    match expr {
        ast::Expr::Nested(inner) => written_cast(inner),
        ast::Expr::Cast { data_type, .. } => Some(Shown::of_declared(data_type)).filter(|shown| shown.kind.is_some()),
        ast::Expr::Array(array) => {
            let (nulls, values): (Vec<_>, Vec<_>) = array.elem.iter().partition(is_null);
            let first = written_cast(values.first()?)?;
            let alike = values.iter().all(|value| written_cast(value) == Some(first));
            let modifier = first.modifier.filter(|_| nulls.is_empty());
            alike.then_some(Shown { modifier, ..first })
        }
        _ => None,
    }
}

/// What an expression of a node's says of its type: the digits of a numeric, the characters of a `char(n)`.
pub(super) fn of_expression(expr: &Expr, node: &LogicalPlan) -> Shown {
    let tracer = Tracer { views: &[], catalog: None };
    let named = |column: &Column| {
        let inputs = node.inputs();
        let input = inputs.into_iter().find(|input| input.schema().maybe_index_of_column(column).is_some());
        input.map(|input| tracer.named(input, column)).unwrap_or_default()
    };
    tracer.expression(expr, &named).shown
}

/// What RETURNING gives, over the columns of its table.
pub fn returning(expressions: &[Expr], relation: &Relation) -> Vec<Described> {
    let of_table = |column: &Column| match relation.schema.index_of(&column.name) {
        Ok(index) => of_relation(relation, index),
        Err(_) => Described::default(),
    };
    expressions.iter().map(|expr| Tracer { views: &[], catalog: None }.expression(expr, &of_table)).collect()
}

/// The schema with what is known of its columns.
pub fn with_descriptions(schema: &Schema, described: &[Described], catalog: &Catalog) -> SchemaRef {
    let known = described.iter().copied().chain(std::iter::repeat(Described::default()));
    let fields = schema.fields().iter().zip(known).map(|(field, known)| {
        let field = known.put(field.as_ref().clone());
        match (field.data_type(), known.row.and_then(|oid| relation(catalog, oid))) {
            (DataType::Struct(inner), Some(relation)) => {
                let inner = inner.iter().enumerate().map(|(column, field)| {
                    let described = Described { shown: relation.shown(column), ..Described::default() };
                    described.put(field.as_ref().clone())
                });
                let data_type = DataType::Struct(inner.collect());
                field.with_data_type(data_type)
            }
            _ => field,
        }
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn relation(catalog: &Catalog, oid: u32) -> Option<&Arc<Relation>> {
    catalog.relations().find(|relation| relation.oid == oid)
}

fn of_relation(relation: &Relation, column: usize) -> Described {
    let number = i16::try_from(column + 1).ok();
    let origin = number.map(|number| Origin { relation_oid: relation.oid, number });
    Described { shown: relation.shown(column), origin, row: None }
}

struct Tracer<'a> {
    views: &'a [Arc<ViewTable>],
    /// Where whole rows are looked for.
    catalog: Option<&'a Catalog>,
}

impl Tracer<'_> {
    fn column(&self, plan: &LogicalPlan, column: usize) -> Described {
        let through = |expr: &Expr, input: &LogicalPlan| self.expression(expr, &|named| self.named(input, named));
        match plan {
            LogicalPlan::Projection(projection) => {
                projection.expr.get(column).map(|expr| through(expr, &projection.input)).unwrap_or_default()
            }
            LogicalPlan::SubqueryAlias(alias) => match self.view(&alias.input) {
                Some(view) => of_relation(&view.relation, column),
                None => self.column(&alias.input, column),
            },
            LogicalPlan::TableScan(scan) => {
                let column = scan.projection.as_ref().map_or(Some(column), |kept| kept.get(column).copied());
                match (scan.source.downcast_ref::<RelationTable>(), column) {
                    (Some(RelationTable { resolved: Resolved::Relation(relation), .. }), Some(column)) => {
                        of_relation(relation, column)
                    }
                    _ => Described::default(),
                }
            }
            LogicalPlan::Filter(filter) => self.column(&filter.input, column),
            LogicalPlan::Sort(sort) => self.column(&sort.input, column),
            LogicalPlan::Limit(limit) => self.column(&limit.input, column),
            LogicalPlan::Repartition(repartition) => self.column(&repartition.input, column),
            LogicalPlan::Distinct(Distinct::All(input)) => self.column(input, column),
            LogicalPlan::Distinct(Distinct::On(on)) => {
                on.select_expr.get(column).map(|expr| through(expr, &on.input)).unwrap_or_default()
            }
            LogicalPlan::Subquery(subquery) => self.column(&subquery.subquery, column),
            LogicalPlan::Join(join) => match column.checked_sub(join.left.schema().fields().len()) {
                None => self.column(&join.left, column),
                Some(right) => self.column(&join.right, right),
            },
            LogicalPlan::Aggregate(aggregate) => match aggregate.group_expr.as_slice() {
                // A set of groups is one expression for several columns.
                sets @ [Expr::GroupingSet(_), ..] => {
                    let groups = grouping_set_to_exprlist(sets).unwrap_or_default();
                    let of_group = |expr: &&Expr| Described { origin: None, ..through(expr, &aggregate.input) };
                    groups.get(column).map(of_group).unwrap_or_default()
                }
                groups => {
                    let expr = groups.iter().chain(&aggregate.aggr_expr).nth(column);
                    expr.map(|expr| through(expr, &aggregate.input)).unwrap_or_default()
                }
            },
            LogicalPlan::Window(window) => match column.checked_sub(window.input.schema().fields().len()) {
                None => self.column(&window.input, column),
                Some(computed) => {
                    window.window_expr.get(computed).map(|expr| through(expr, &window.input)).unwrap_or_default()
                }
            },
            LogicalPlan::Union(union) => {
                let mut shown = union.inputs.iter().map(|input| self.column(input, column).shown);
                let first = shown.next().unwrap_or_default();
                let shown = if shown.all(|other| other == first) { first } else { Shown::default() };
                Described { shown, ..Described::default() }
            }
            LogicalPlan::Values(values) => {
                let cells: Vec<&Expr> = values.values.iter().filter_map(|row| row.get(column)).collect();
                Described { shown: self.of_cells(&cells), ..Described::default() }
            }
            LogicalPlan::Extension(extension) if extension.node.as_any().is::<WindowNode>() => {
                match extension.node.inputs()[..] {
                    [input] => self.of_input(input, column),
                    _ => Described::default(),
                }
            }
            _ => Described::default(),
        }
    }

    /// The digits of VALUES: DataFusion has cast all to the widest, which Postgres does not, so they must be written
    /// with as many.
    fn of_cells(&self, cells: &[&Expr]) -> Shown {
        let of = |expr: &Expr| self.expression(expr, &|_| Described::default()).shown;
        let written = |expr: &Expr| match expr {
            Expr::Cast(cast) => of(&cast.expr),
            other => of(other),
        };
        let as_written = agreed(cells.iter().copied(), &written).digits;
        let digits = as_written.and_then(|_| agreed(cells.iter().copied(), &of).digits);
        Shown { digits, ..Shown::default() }
    }

    /// A column of a node that shows those of its input first.
    fn of_input(&self, input: &LogicalPlan, column: usize) -> Described {
        if column < input.schema().fields().len() { self.column(input, column) } else { Described::default() }
    }

    fn named(&self, plan: &LogicalPlan, column: &Column) -> Described {
        let Some(index) = plan.schema().maybe_index_of_column(column) else { return Described::default() };
        let found = self.column(plan, index);
        match plan.schema().field(index).data_type().is_integer() {
            true => Described { shown: Shown { digits: Some(Digits::Fixed(0)), ..found.shown }, ..found },
            false => found,
        }
    }

    fn expression(&self, expr: &Expr, named: &dyn Fn(&Column) -> Described) -> Described {
        let shown = |shown| Described { shown, ..Described::default() };
        let digits = |digits| shown(Shown { digits, ..Shown::default() });
        // A value that was chosen or gathered is shown as it was, and has no modifier.
        let carried = |Shown { digits, width, .. }| shown(Shown { digits, width, ..Shown::default() });
        let of = |expr: &Expr| self.expression(expr, named).shown;
        match expr {
            Expr::Column(column) => named(column),
            Expr::Alias(alias) => self.expression(&alias.expr, named),
            Expr::Literal(value, _) => digits(digits_of_literal(value).map(Digits::Fixed)),
            Expr::Negative(inner) => digits(of(inner).digits),
            Expr::Cast(cast) if cast.field.data_type().is_integer() => digits(Some(Digits::Fixed(0))),
            Expr::Cast(cast) => match Shown::of_cast(cast.field.data_type()) {
                Shown { digits: None, .. } if cast.field.data_type().is_decimal() => digits(of(&cast.expr).digits),
                said => shown(said),
            },
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let operation = match op {
                    Operator::Plus => Some(Operation::Add),
                    Operator::Minus => Some(Operation::Subtract),
                    Operator::Multiply => Some(Operation::Multiply),
                    Operator::Modulo => Some(Operation::Remainder),
                    _ => None,
                };
                digits(
                    operation.and_then(|operation| digits_of_operation(operation, of(left).digits, of(right).digits)),
                )
            }
            Expr::ScalarFunction(call) if shown_digits(call).is_some() => digits(shown_digits(call).map(Digits::Fixed)),
            Expr::Case(case) => {
                let results = case.when_then_expr.iter().map(|(_, then)| then).chain(&case.else_expr);
                let found = agreed(results.map(|result| result.as_ref()), &of);
                // Without ELSE there is a NULL among them.
                shown(Shown { modifier: found.modifier.filter(|_| case.else_expr.is_some()), ..found })
            }
            Expr::ScalarFunction(call) if call.name() == NAMED_STRUCT => {
                Described { row: self.whole_row(&call.args, named), ..Described::default() }
            }
            Expr::ScalarFunction(call) => shown(match (call.name(), call.args.as_slice()) {
                (CHARACTER, [_, length]) => length_of_character(length).map(Shown::of_character).unwrap_or_default(),
                (SECOND_DIGITS, [_, digits]) => {
                    let modifier = length_of_character(digits).and_then(|digits| i32::try_from(digits).ok());
                    Shown { modifier, ..Shown::default() }
                }
                (VARYING, [_]) => Shown::of_varying(None),
                (VARYING, [_, length]) => Shown::of_varying(length_of_character(length)),
                ("nullif", [value, _]) if is_character(of(value)) => of(value),
                ("coalesce" | "greatest" | "least" | "make_array", arguments) => agreed(arguments.iter(), &of),
                ("array_append" | "array_prepend" | "array_concat", arguments) => agreed(arguments.iter(), &of),
                ("array_element", [array, _]) => of(array),
                (name, [left, right]) if numeric_operation_of(name).is_some() => {
                    let digits = numeric_operation_of(name)
                        .and_then(|operation| digits_of_operation(operation, of(left).digits, of(right).digits));
                    Shown { digits, ..Shown::default() }
                }
                (name, arguments) => {
                    Shown { digits: digits_of_call(name, arguments, |expr| of(expr).digits), ..Shown::default() }
                }
            }),
            Expr::AggregateFunction(call) if is_mean(&call.func) => {
                let argument = call.params.args.first().and_then(|argument| of(argument).digits);
                digits(digits_of_operation(Operation::Divide, argument, None))
            }
            Expr::WindowFunction(call) if matches!(&call.fun, WindowFunctionDefinition::AggregateUDF(function) if is_mean(function)) =>
            {
                let argument = call.params.args.first().and_then(|argument| of(argument).digits);
                digits(digits_of_operation(Operation::Divide, argument, None))
            }
            Expr::AggregateFunction(call) if CARRYING.contains(&call.func.name()) => {
                carried(call.params.args.first().map(of).unwrap_or_default())
            }
            Expr::WindowFunction(call) if CARRYING.contains(&call.fun.name()) => {
                carried(call.params.args.first().map(of).unwrap_or_default())
            }
            Expr::ScalarSubquery(subquery) => shown(self.column(&subquery.subquery, 0).shown),
            _ => Described::default(),
        }
    }

    /// The relation of which a struct has all columns in their order, by OID.
    fn whole_row(&self, arguments: &[Expr], named: &dyn Fn(&Column) -> Described) -> Option<u32> {
        let columns: Option<Vec<Origin>> = arguments
            .chunks(2)
            .map(|pair| match pair {
                [_, Expr::Column(column)] => named(column).origin,
                _ => None,
            })
            .collect();
        let columns = columns?;
        let oid = columns.first()?.relation_oid;
        let width = relation(self.catalog?, oid)?.schema.fields().len();
        let in_order =
            columns.iter().zip(1..).all(|(column, number)| column.relation_oid == oid && column.number == number);
        (columns.len() == width && in_order).then_some(oid)
    }

    /// The view that a plan is: it was put in as a copy, which shares its schema.
    fn view(&self, plan: &LogicalPlan) -> Option<&ViewTable> {
        self.views.iter().find(|view| Arc::ptr_eq(view.plan.schema(), plan.schema())).map(Arc::as_ref)
    }
}

/// Aggregates and window functions whose results are shown as their first argument is.
const CARRYING: &[&str] =
    &["sum", "min", "max", "array_agg", "first_value", "last_value", "nth_value", "lag", "lead", "any_value"];

/// Whether an aggregate divides as Postgres does.
fn is_mean(function: &AggregateUDF) -> bool {
    let exact = function.inner().downcast_ref::<ExactAggregate>();
    exact.is_some_and(|exact| exact.kind == ExactKind::Mean)
}

fn is_character(shown: Shown) -> bool {
    shown.width.is_some()
}

/// What all of the expressions of which one is chosen have in common. As in Postgres a NULL has no modifier.
fn agreed<'a>(each: impl Iterator<Item = &'a Expr>, of: &dyn Fn(&Expr) -> Shown) -> Shown {
    let (nulls, values): (Vec<&Expr>, Vec<&Expr>) =
        each.partition(|expr| matches!(expr, Expr::Literal(value, _) if value.is_null()));
    let mut values = values.into_iter().map(of);
    let first = values.next().unwrap_or_default();
    let mut common = first;
    for other in values {
        if (other.kind, other.modifier) != (first.kind, first.modifier) {
            (common.kind, common.modifier) = (None, None);
        }
        if other.digits != first.digits {
            common.digits = None;
        }
        if other.width != first.width {
            common.width = None;
        }
    }
    if !nulls.is_empty() {
        common.modifier = None;
    }
    common
}

fn digits_of_literal(value: &ScalarValue) -> Option<u8> {
    match value {
        ScalarValue::Decimal128(Some(_), _, scale) | ScalarValue::Decimal256(Some(_), _, scale) => {
            u8::try_from(*scale).ok()
        }
        value if value.data_type().is_integer() => Some(0),
        _ => None,
    }
}

/// As Postgres counts them: a quotient has as many as it takes, which its value tells.
fn digits_of_operation(operation: Operation, left: Option<Digits>, right: Option<Digits>) -> Option<Digits> {
    let (left, right) = (left.and_then(Digits::fixed), right.and_then(Digits::fixed));
    if operation == Operation::Divide {
        return Some(Digits::Quotient(left.unwrap_or(0).max(right.unwrap_or(0))));
    }
    let (left, right) = (left?, right?);
    match operation {
        Operation::Multiply => left.checked_add(right),
        _ => Some(left.max(right)),
    }
    .map(Digits::Fixed)
}

fn digits_of_call(name: &str, arguments: &[Expr], digits: impl Fn(&Expr) -> Option<Digits>) -> Option<Digits> {
    let counted = |count: i64| u8::try_from(count.max(0)).ok().map(Digits::Fixed);
    match (name, arguments) {
        ("abs", [number]) | ("nullif", [number, _]) => digits(number),
        ("round" | "trunc" | "ceil" | "floor", [_]) => counted(0),
        ("round" | "trunc", [_, Expr::Literal(ScalarValue::Int32(Some(count)), _)]) => counted(i64::from(*count)),
        ("round" | "trunc", [_, Expr::Literal(ScalarValue::Int64(Some(count)), _)]) => counted(*count),
        _ => None,
    }
}
