//! A plan compiled into the steps of a look-up ([`super::look_up`]).
//!
//! What a step says must be what the plan's node says; what does not fit gives no look-up, never another one.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::Field;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::expr::{Cast, Exists, Placeholder};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, Limit, LogicalPlan, Operator, Projection, Sort, lit};
use datafusion::physical_expr::PhysicalExpr;

use super::key_look_up::needs_the_optimizer;
use super::look_up::{Answer, AskedFirst, Compiled, LookUp, Ordered, Step};
use super::row_steps::Aggregates;
use crate::bind::RelationTable;
use crate::catalog::{RelationKind, Resolved};
use crate::functions;
use crate::subqueries::rows_only;

/// Begins the name of the placeholder for a subquery's answer; its number follows.
pub(super) const ANSWER: &str = "\u{0}answer ";

/// The look-up of a plan whose ties are settled.
pub(super) fn compile(plan: &LogicalPlan) -> DataFusionResult<Option<LookUp>> {
    let mut nodes = vec![plan];
    while let [input] = nodes[nodes.len() - 1].inputs().as_slice() {
        nodes.push(input);
    }
    nodes.reverse();
    let [leaf, above @ ..] = nodes.as_slice() else { return Ok(None) };
    let table = match leaf {
        LogicalPlan::TableScan(scan) => scan.source.downcast_ref::<RelationTable>(),
        _ => None,
    };
    let columns = needed_columns(leaf.schema(), above)?;
    let mut compiler = Compiler {
        schema: narrowed(leaf.schema(), &columns)?,
        columns: Some(&columns),
        origins: (0..leaf.schema().fields().len()).map(Some).collect(),
        table,
        conditions: Vec::new(),
        limited: false,
        order: None,
        first: None,
        steps: Vec::new(),
        asked: Vec::new(),
        asks_facts: false,
    };
    for node in above {
        compiler.node(node)?;
    }
    let Compiler { conditions, steps, first, asked, asks_facts, .. } = compiler;
    let fits = table.is_none() || !conditions.is_empty() || first.is_some();
    let relation = table.map(|table| table.relation.relation);
    Ok(fits.then_some(LookUp { relation, columns, conditions, steps, first, asked, asks_facts }))
}

/// Whether a plan is a chain of the nodes that are known here, over a relation that may have indexes, or over none.
pub(super) fn has_shape(plan: &LogicalPlan) -> bool {
    let mut node = plan;
    let mut chooses = false;
    loop {
        node = match node {
            LogicalPlan::Projection(projection) => projection.input.as_ref(),
            LogicalPlan::SubqueryAlias(alias) => alias.input.as_ref(),
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => sort.input.as_ref(),
            LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => aggregate.input.as_ref(),
            LogicalPlan::Limit(limit) => {
                chooses = true;
                limit.input.as_ref()
            }
            LogicalPlan::Filter(filter) => {
                chooses = true;
                filter.input.as_ref()
            }
            LogicalPlan::TableScan(scan) => {
                let whole = scan.projection.is_none() && scan.filters.is_empty() && scan.fetch.is_none();
                let table = scan.source.downcast_ref::<RelationTable>();
                return chooses && whole && table.is_some_and(keeps_rows) && plain(plan);
            }
            LogicalPlan::EmptyRelation(none) => return none.produce_one_row && plain(plan),
            _ => return false,
        };
    }
}

fn keeps_rows(table: &RelationTable) -> bool {
    let Resolved::Relation(relation) = &table.resolved else { return false };
    matches!(relation.kind, RelationKind::Table(_) | RelationKind::MaterializedView(_))
}

/// Whether all expressions of a plan can be evaluated row by row, for the same value at any time of its statement.
fn plain(plan: &LogicalPlan) -> bool {
    let odd = plan.exists(|node| {
        let expressions = node.expressions();
        let odd = |expr: &Expr| expr.exists(|expr| Ok(!is_value(expr) && needs_the_optimizer(expr))).unwrap_or(true);
        Ok(expressions.iter().any(odd))
    });
    !odd.unwrap_or(true)
}

/// Whether a part of an expression has one value in the whole statement, which is put in before it runs. A subquery
/// that is none of this kind is found out when it is compiled.
fn is_value(expr: &Expr) -> bool {
    match expr {
        Expr::Placeholder(_) | Expr::Exists(_) | Expr::ScalarSubquery(_) => true,
        Expr::ScalarFunction(call) => functions::is_fact(&call.func),
        _ => false,
    }
}

/// The columns of a scan that the nodes above it name, up to the first that makes columns of its own.
fn needed_columns(scanned: &DFSchema, above: &[&LogicalPlan]) -> DataFusionResult<Vec<usize>> {
    let mut needed = BTreeSet::new();
    for node in above {
        // Aliases give the columns other names and leave them in their places.
        let [input] = node.inputs()[..] else { continue };
        for expr in node.expressions() {
            for column in expr.column_refs() {
                needed.insert(input.schema().index_of_column(column)?);
            }
        }
        if matches!(node, LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_)) {
            return Ok(needed.into_iter().collect());
        }
    }
    Ok((0..scanned.fields().len()).collect())
}

/// Some of the columns of a schema.
fn narrowed(schema: &DFSchema, columns: &[usize]) -> DataFusionResult<Arc<DFSchema>> {
    let fields = columns.iter().map(|column| {
        let (qualifier, field) = schema.qualified_field(*column);
        (qualifier.cloned(), Arc::clone(field))
    });
    Ok(Arc::new(DFSchema::new_with_metadata(fields.collect(), schema.metadata().clone())?))
}

/// What is known while the nodes are gone through from the scan upwards.
struct Compiler<'a> {
    /// The columns of the rows so far.
    schema: Arc<DFSchema>,
    /// Which those are of the node's, before the first projection.
    columns: Option<&'a [usize]>,
    /// The relation's column that each column of the node is, where it is one.
    origins: Vec<Option<usize>>,
    /// The relation, if there is one.
    table: Option<&'a RelationTable>,
    /// Conditions that an index may be chosen by.
    conditions: Vec<Expr>,
    /// A LIMIT has been passed: what stands above it must not bear on the rows that it counts.
    limited: bool,
    /// The relation's columns by which the rows are ordered now.
    order: Option<Vec<(usize, SortOptions)>>,
    first: Option<Ordered>,
    steps: Vec<Step>,
    asked: Vec<AskedFirst>,
    asks_facts: bool,
}

impl Compiler<'_> {
    fn node(&mut self, node: &LogicalPlan) -> DataFusionResult<()> {
        match node {
            LogicalPlan::SubqueryAlias(alias) => {
                self.schema = match self.columns {
                    Some(columns) => narrowed(&alias.schema, columns)?,
                    None => Arc::clone(&alias.schema),
                };
                Ok(())
            }
            LogicalPlan::Filter(filter) => self.filter(&filter.predicate, filter.input.schema()),
            LogicalPlan::Projection(projection) => self.project(projection),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Sort(sort) => self.sort(sort),
            LogicalPlan::Limit(limit) => {
                self.limit(limit);
                Ok(())
            }
            _ => Err(no_look_up()),
        }
    }

    /// What an index can serve comes first: the rest is asked of the rows that are left, and fails on no others.
    fn filter(&mut self, predicate: &Expr, schema: &DFSchema) -> DataFusionResult<()> {
        let conjuncts = split_conjunction(predicate);
        let (simple, rest): (Vec<&Expr>, Vec<&Expr>) =
            conjuncts.into_iter().partition(|expr| is_comparison(expr, schema));
        for part in [simple, rest] {
            let mut conditions = Vec::with_capacity(part.len());
            for expr in part {
                conditions.push(self.answered(expr.clone())?);
            }
            if let Some(table) = self.table.filter(|_| !self.limited) {
                for expr in &conditions {
                    self.conditions.extend(over_relation(expr, schema, &self.origins, table)?);
                }
            }
            if let Some(condition) = conjunction(conditions) {
                let condition = self.compiled(condition)?;
                self.steps.push(Step::Filter(condition));
            }
        }
        Ok(())
    }

    fn project(&mut self, projection: &Projection) -> DataFusionResult<()> {
        let columns = projection.expr.iter().map(|expr| self.compiled(expr.clone()));
        let columns = columns.collect::<DataFusionResult<_>>()?;
        self.steps.push(Step::Project(columns));
        let origins = projection.expr.iter().map(|expr| match expr.clone().unalias_nested().data {
            Expr::Column(column) => Ok(self.origins[projection.input.schema().index_of_column(&column)?]),
            _ => Ok(None),
        });
        self.origins = origins.collect::<DataFusionResult<_>>()?;
        self.schema = Arc::clone(&projection.schema);
        self.columns = None;
        Ok(())
    }

    /// What the functions are given is computed by a step of its own, which has the values of parameters.
    fn aggregate(&mut self, aggregate: &Aggregate) -> DataFusionResult<()> {
        let mut given: Vec<Expr> = Vec::new();
        let mut calls = Vec::with_capacity(aggregate.aggr_expr.len());
        for expr in &aggregate.aggr_expr {
            let Expr::AggregateFunction(mut call) = expr.clone().unalias_nested().data else {
                return Err(no_look_up());
            };
            // A row that a FILTER leaves out is not computed: it may fail.
            let plain = |expr: &Expr| matches!(expr, Expr::Column(_) | Expr::Literal(..));
            if !call.params.order_by.is_empty() || (call.params.filter.is_some() && !call.params.args.iter().all(plain))
            {
                return Err(no_look_up());
            }
            for arg in call.params.args.iter_mut().chain(call.params.filter.as_deref_mut()) {
                // Some functions want their constants as such.
                if !matches!(arg, Expr::Literal(..)) {
                    let column = Expr::Column(Column::new_unqualified(given.len().to_string()));
                    given.push(std::mem::replace(arg, column));
                }
            }
            calls.push(Expr::AggregateFunction(call));
        }
        let fields = given.iter().enumerate().map(|(index, expr)| {
            let (_, field) = expr.to_field(aggregate.input.schema())?;
            Ok((None, Arc::new(Field::new(index.to_string(), field.data_type().clone(), field.is_nullable()))))
        });
        let schema = DFSchema::new_with_metadata(fields.collect::<DataFusionResult<_>>()?, Default::default())?;
        let given = given.into_iter().map(|expr| self.compiled(expr)).collect::<DataFusionResult<_>>()?;
        self.steps.push(Step::Project(given));
        self.steps.push(Step::Aggregate(Arc::new(Aggregates::new(&calls, &schema)?)));
        self.origins = vec![None; calls.len()];
        self.schema = Arc::clone(&aggregate.schema);
        (self.columns, self.order) = (None, None);
        Ok(())
    }

    fn sort(&mut self, sort: &Sort) -> DataFusionResult<()> {
        let options = |asc: bool, nulls_first: bool| SortOptions { descending: !asc, nulls_first };
        let mut keys = Vec::with_capacity(sort.expr.len());
        for key in &sort.expr {
            keys.push((self.compiled(key.expr.clone())?, options(key.asc, key.nulls_first)));
        }
        self.steps.push(Step::Sort(keys));
        let mut order = Vec::new();
        for key in &sort.expr {
            let Expr::Column(column) = &key.expr else { break };
            let Some(origin) = self.origins[sort.input.schema().index_of_column(column)?] else { break };
            order.push((origin, options(key.asc, key.nulls_first)));
        }
        self.order = Some(order).filter(|order| !order.is_empty());
        Ok(())
    }

    fn limit(&mut self, Limit { skip, fetch, .. }: &Limit) {
        let owned = |expr: &Option<Box<Expr>>| expr.as_deref().cloned();
        // What is left out is not computed: it may fail.
        let projected = self.steps.iter().rev().take_while(|step| matches!(step, Step::Project(_))).count();
        let step = self.steps.len() - projected;
        self.steps.insert(step, Step::Limit { skip: owned(skip), fetch: owned(fetch) });
        if !self.limited && self.table.is_some() {
            self.first = self.order.take().map(|keys| Ordered { keys, step });
        }
        self.limited = true;
    }

    /// An expression with placeholders for the answers of its subqueries.
    fn answered(&mut self, expr: Expr) -> DataFusionResult<Expr> {
        let answered = expr.transform_down(|expr| {
            let (plan, answer) = match &expr {
                Expr::Exists(Exists { subquery, negated }) => {
                    let rows = Arc::new(rows_only(&subquery.subquery)?.clone());
                    let found = Projection::try_new(vec![lit(true).alias("found")], rows)?;
                    (LogicalPlan::Projection(found), Answer::Exists { negated: *negated })
                }
                Expr::ScalarSubquery(subquery) => {
                    let data_type = subquery.subquery.schema().field(0).data_type().clone();
                    (subquery.subquery.as_ref().clone(), Answer::Value(data_type))
                }
                _ => return Ok(Transformed::no(expr)),
            };
            let data_type = match &answer {
                Answer::Exists { .. } => arrow::datatypes::DataType::Boolean,
                Answer::Value(data_type) => data_type.clone(),
            };
            let look_up = LookUp::of(&plan).ok_or_else(no_look_up)?;
            let name = format!("{ANSWER}{}", self.asked.len());
            self.asked.push(AskedFirst { look_up, answer });
            let field = Arc::new(Field::new(name.as_str(), data_type, true));
            let placeholder = Expr::Placeholder(Placeholder::new_with_field(name, Some(field)));
            Ok(Transformed::new(placeholder, true, TreeNodeRecursion::Jump))
        })?;
        Ok(answered.data)
    }

    fn compiled(&mut self, logical: Expr) -> DataFusionResult<Compiled> {
        let logical = self.answered(logical)?;
        let schema = Arc::clone(&self.schema);
        let asks = |expr: &Expr| matches!(expr, Expr::ScalarFunction(call) if functions::is_fact(&call.func));
        let asks_facts = logical.exists(|expr| Ok(asks(expr)))?;
        self.asks_facts |= asks_facts;
        if asks_facts || logical.exists(|expr| Ok(matches!(expr, Expr::Placeholder(_))))? {
            return Ok(Compiled { logical, schema, physical: None });
        }
        let physical = physical(functions::folded(logical.clone())?, &schema)?;
        Ok(Compiled { logical, schema, physical: Some(physical) })
    }
}

/// Only says that there is no look-up: nobody is told.
fn no_look_up() -> DataFusionError {
    DataFusionError::Internal("the plan is no look-up".to_string())
}

/// An expression that can be run.
pub(super) fn physical(expr: Expr, schema: &DFSchema) -> DataFusionResult<Arc<dyn PhysicalExpr>> {
    functions::physical_expression(&expr, schema).map_err(|error| DataFusionError::External(Box::new(error)))
}

/// Whether a condition compares a column with something that is no column, in a way that can't fail on a row.
fn is_comparison(expr: &Expr, schema: &DFSchema) -> bool {
    let constant = |expr: &Expr| expr.column_refs().is_empty();
    let column = |expr: &Expr| is_column(expr, schema);
    match expr {
        Expr::BinaryExpr(binary) => {
            let compares =
                matches!(binary.op, Operator::Eq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq);
            let sides = (binary.left.as_ref(), binary.right.as_ref());
            compares && ((column(sides.0) && constant(sides.1)) || (constant(sides.0) && column(sides.1)))
        }
        Expr::Between(between) => column(&between.expr) && constant(&between.low) && constant(&between.high),
        Expr::InList(list) => column(&list.expr) && list.list.iter().all(constant),
        _ => false,
    }
}

/// Whether it is a column, or one of integers in a wider type.
fn is_column(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::Column(_) => true,
        Expr::Cast(Cast { expr, field }) => {
            let (Expr::Column(column), to) = (expr.as_ref(), field.data_type()) else { return false };
            let from = schema.field_from_column(column).map(|field| field.data_type().clone());
            from.is_ok_and(|from| {
                from.is_signed_integer() && to.is_signed_integer() && from.primitive_width() <= to.primitive_width()
            })
        }
        _ => false,
    }
}

/// A condition over the relation's columns by their bare names; nothing where it is about others, too.
fn over_relation(
    expr: &Expr,
    schema: &DFSchema,
    origins: &[Option<usize>],
    table: &RelationTable,
) -> DataFusionResult<Option<Expr>> {
    for column in expr.column_refs() {
        if origins[schema.index_of_column(column)?].is_none() {
            return Ok(None);
        }
    }
    let renamed = expr.clone().transform_up(|expr| match expr {
        Expr::Column(column) => {
            let origin = origins[schema.index_of_column(&column)?];
            let origin = origin.ok_or_else(|| DataFusionError::Internal("a column of nowhere".to_string()))?;
            let bare = Column::new_unqualified(table.schema.field(origin).name());
            Ok(Transformed::yes(Expr::Column(bare)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(Some(renamed.data))
}
