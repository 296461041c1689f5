//! Queries for some rows of one relation, or of none, which run without DataFusion's planner.
//!
//! `SELECT ... FROM relation WHERE ... ORDER BY ... LIMIT ...`, through plain views and subqueries of the same shape,
//! is a series of steps over the rows that an index finds, `SELECT 1` one over a row without columns: planning them
//! anew at every execution would cost many times what they do. So its steps are compiled when it is bound, and only
//! what has parameters is compiled again with their values. Constants are folded and arithmetic is checked as in every
//! other query, so that both ways give the same rows; where a query does not fit, or no index serves it, the other way
//! is taken.

use std::sync::Arc;

use arrow::compute::SortOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Expr, Limit, LogicalPlan, Operator, Projection};
use datafusion::physical_expr::PhysicalExpr;
use millstream_runtime::plan::RelationId;

use super::key_look_up::needs_the_optimizer;
use super::row_steps::RowStep;
use crate::bind::{RelationTable, plan_error};
use crate::catalog::{RelationKind, Resolved};
use crate::error::Result;
use crate::functions;
use crate::optimize;

/// A query that has the shape.
#[derive(Debug)]
pub struct LookUp {
    relation: Option<RelationId>,
    columns: Vec<usize>,
    conditions: Vec<Expr>,
    steps: Vec<Step>,
}

/// A look-up with the values of its parameters.
#[derive(Debug)]
pub struct BoundLookUp {
    /// What all of its rows meet, over the relation's columns by their bare names: an index may be chosen by them.
    pub conditions: Vec<Expr>,
    /// What is done with the rows, conditions included.
    pub steps: Vec<RowStep>,
}

impl BoundLookUp {
    /// Whether it gives no row, whatever is found: nothing is computed then, and nothing fails.
    pub fn is_empty(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, RowStep::Limit { fetch: Some(0), .. }))
    }
}

#[derive(Debug)]
enum Step {
    Filter(Compiled),
    Project(Vec<Compiled>),
    Sort(Vec<(Compiled, SortOptions)>),
    Limit { skip: Option<Expr>, fetch: Option<Expr> },
}

/// An expression of a step.
#[derive(Debug)]
struct Compiled {
    logical: Expr,
    /// The columns that it sees.
    schema: Arc<DFSchema>,
    /// Nothing where it has parameters.
    physical: Option<Arc<dyn PhysicalExpr>>,
}

impl LookUp {
    /// The look-up that an analyzed plan is, if it is one.
    pub fn of(plan: &LogicalPlan) -> Option<Self> {
        if !has_shape(plan) {
            return None;
        }
        // Whatever can't be compiled here is for the planner, which says what is wrong with it.
        Self::compile(&optimize::settle_ties(plan.clone()).ok()?).ok().flatten()
    }

    /// The relation whose rows are looked up; none where there is one row without columns.
    pub fn relation(&self) -> Option<RelationId> {
        self.relation
    }

    /// The columns of the relation that the steps need, in the order in which they need them.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// The look-up with values for `$1`, `$2`, ...; nothing where it does not fit with these.
    pub fn bind(&self, parameters: &[ScalarValue]) -> Result<Option<BoundLookUp>> {
        self.bound(parameters).map_err(plan_error)
    }

    fn bound(&self, parameters: &[ScalarValue]) -> DataFusionResult<Option<BoundLookUp>> {
        let conditions = self.conditions.iter().map(|condition| with_values(condition.clone(), parameters));
        let conditions = conditions.collect::<DataFusionResult<_>>()?;
        let mut steps = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            steps.push(match step {
                Step::Filter(condition) => RowStep::Filter(condition.with_values(parameters)?),
                Step::Project(columns) => {
                    let columns = columns.iter().map(|column| column.with_values(parameters));
                    RowStep::Project(columns.collect::<DataFusionResult<_>>()?)
                }
                Step::Sort(keys) => {
                    let keys = keys.iter().map(|(key, options)| Ok((key.with_values(parameters)?, *options)));
                    RowStep::Sort(keys.collect::<DataFusionResult<_>>()?)
                }
                Step::Limit { skip, fetch } => {
                    let (Some(skip), Some(fetch)) = (count(skip, parameters)?, count(fetch, parameters)?) else {
                        return Ok(None);
                    };
                    RowStep::Limit { skip: skip.unwrap_or(0), fetch }
                }
            });
        }
        Ok(Some(BoundLookUp { conditions, steps }))
    }

    fn compile(plan: &LogicalPlan) -> DataFusionResult<Option<Self>> {
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
            steps: Vec::new(),
        };
        for node in above {
            compiler.node(node)?;
        }
        let Compiler { conditions, steps, .. } = compiler;
        let fits = table.is_none() || !conditions.is_empty();
        let relation = table.map(|table| table.relation.relation);
        Ok(fits.then_some(Self { relation, columns, conditions, steps }))
    }
}

/// Whether a plan is a chain of the nodes that are known here, over a relation that may have indexes, or over none.
fn has_shape(plan: &LogicalPlan) -> bool {
    let mut node = plan;
    let mut filters = false;
    loop {
        node = match node {
            LogicalPlan::Projection(projection) => projection.input.as_ref(),
            LogicalPlan::SubqueryAlias(alias) => alias.input.as_ref(),
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => sort.input.as_ref(),
            LogicalPlan::Limit(limit) => limit.input.as_ref(),
            LogicalPlan::Filter(filter) => {
                filters = true;
                filter.input.as_ref()
            }
            LogicalPlan::TableScan(scan) => {
                let whole = scan.projection.is_none() && scan.filters.is_empty() && scan.fetch.is_none();
                let table = scan.source.downcast_ref::<RelationTable>();
                return filters && whole && table.is_some_and(keeps_rows) && plain(plan);
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

/// Whether all expressions of a plan can be evaluated row by row, for the same value at any time.
fn plain(plan: &LogicalPlan) -> bool {
    let odd = plan.exists(|node| {
        let expressions = node.expressions();
        let odd = |expr: &Expr| {
            expr.exists(|expr| Ok(!matches!(expr, Expr::Placeholder(_)) && needs_the_optimizer(expr))).unwrap_or(true)
        };
        Ok(expressions.iter().any(odd))
    });
    !odd.unwrap_or(true)
}

/// The columns of a scan that the nodes above it name, up to the first that makes columns of its own.
fn needed_columns(scanned: &DFSchema, above: &[&LogicalPlan]) -> DataFusionResult<Vec<usize>> {
    let mut needed = std::collections::BTreeSet::new();
    for node in above {
        // Aliases give the columns other names and leave them in their places.
        let [input] = node.inputs()[..] else { continue };
        for expr in node.expressions() {
            for column in expr.column_refs() {
                needed.insert(input.schema().index_of_column(column)?);
            }
        }
        if matches!(node, LogicalPlan::Projection(_)) {
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
    steps: Vec<Step>,
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
            LogicalPlan::Sort(sort) => {
                let keys = sort.expr.iter().map(|key| {
                    let options = SortOptions { descending: !key.asc, nulls_first: key.nulls_first };
                    Ok((self.compiled(key.expr.clone())?, options))
                });
                self.steps.push(Step::Sort(keys.collect::<DataFusionResult<_>>()?));
                Ok(())
            }
            LogicalPlan::Limit(Limit { skip, fetch, .. }) => {
                self.limited = true;
                let owned = |expr: &Option<Box<Expr>>| expr.as_deref().cloned();
                // What is left out is not computed: it may fail.
                let projected = self.steps.iter().rev().take_while(|step| matches!(step, Step::Project(_))).count();
                let limit = Step::Limit { skip: owned(skip), fetch: owned(fetch) };
                self.steps.insert(self.steps.len() - projected, limit);
                Ok(())
            }
            _ => Err(DataFusionError::Internal("a look-up has no such node".to_string())),
        }
    }

    /// What an index can serve comes first: the rest is asked of the rows that are left, and fails on no others.
    fn filter(&mut self, predicate: &Expr, schema: &DFSchema) -> DataFusionResult<()> {
        let conjuncts = split_conjunction(predicate);
        let (simple, rest): (Vec<&Expr>, Vec<&Expr>) = conjuncts.into_iter().partition(|expr| is_comparison(expr));
        for part in [simple, rest] {
            if let Some(condition) = conjunction(part.iter().map(|expr| (*expr).clone())) {
                self.steps.push(Step::Filter(self.compiled(condition)?));
            }
            let Some(table) = self.table.filter(|_| !self.limited) else { continue };
            for expr in part {
                self.conditions.extend(over_relation(expr, schema, &self.origins, table)?);
            }
        }
        Ok(())
    }

    fn project(&mut self, projection: &Projection) -> DataFusionResult<()> {
        let columns = projection.expr.iter().map(|expr| self.compiled(expr.clone()));
        self.steps.push(Step::Project(columns.collect::<DataFusionResult<_>>()?));
        let origins = projection.expr.iter().map(|expr| match expr.clone().unalias_nested().data {
            Expr::Column(column) => Ok(self.origins[projection.input.schema().index_of_column(&column)?]),
            _ => Ok(None),
        });
        self.origins = origins.collect::<DataFusionResult<_>>()?;
        self.schema = Arc::clone(&projection.schema);
        self.columns = None;
        Ok(())
    }

    fn compiled(&self, logical: Expr) -> DataFusionResult<Compiled> {
        let schema = Arc::clone(&self.schema);
        if logical.exists(|expr| Ok(matches!(expr, Expr::Placeholder(_))))? {
            return Ok(Compiled { logical, schema, physical: None });
        }
        let physical = physical(functions::folded(logical.clone())?, &schema)?;
        Ok(Compiled { logical, schema, physical: Some(physical) })
    }
}

impl Compiled {
    fn with_values(&self, parameters: &[ScalarValue]) -> DataFusionResult<Arc<dyn PhysicalExpr>> {
        match &self.physical {
            Some(physical) => Ok(Arc::clone(physical)),
            None => physical(with_values(self.logical.clone(), parameters)?, &self.schema),
        }
    }
}

fn physical(expr: Expr, schema: &DFSchema) -> DataFusionResult<Arc<dyn PhysicalExpr>> {
    functions::physical_expression(&expr, schema).map_err(|error| DataFusionError::External(Box::new(error)))
}

/// Whether a condition compares a column with something that is no column, in a way that can't fail on a row.
fn is_comparison(expr: &Expr) -> bool {
    let constant = |expr: &Expr| expr.column_refs().is_empty();
    let column = |expr: &Expr| matches!(expr, Expr::Column(_));
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

/// An expression with the values of its parameters, its constants folded.
fn with_values(expr: Expr, parameters: &[ScalarValue]) -> DataFusionResult<Expr> {
    let replaced = expr.transform_up(|expr| match expr {
        Expr::Placeholder(parameter) => {
            let number = parameter.id.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
            let value = number.and_then(|number| parameters.get(number.checked_sub(1)?));
            let value = value.ok_or_else(|| {
                DataFusionError::Internal(format!("there is no value for the parameter {}", parameter.id))
            })?;
            Ok(Transformed::yes(Expr::Literal(value.clone(), None)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    functions::folded(replaced.data)
}

/// The number of a LIMIT or OFFSET, `None` within for no limit; nothing for what is no count.
fn count(expr: &Option<Expr>, parameters: &[ScalarValue]) -> DataFusionResult<Option<Option<usize>>> {
    let Some(expr) = expr else { return Ok(Some(None)) };
    Ok(match with_values(expr.clone(), parameters)? {
        Expr::Literal(ScalarValue::Int64(None), _) => Some(None),
        Expr::Literal(ScalarValue::Int64(Some(count)), _) => usize::try_from(count).ok().map(Some),
        _ => None,
    })
}
