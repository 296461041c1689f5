//! Queries for some rows of one relation, or of none, which run without DataFusion's planner.
//!
//! `SELECT ... FROM relation WHERE ... ORDER BY ... LIMIT ...`, through plain views and subqueries of the same shape,
//! is a series of steps over the rows that an index finds, `SELECT 1` one over a row without columns: planning them
//! anew at every execution would cost many times what they do. So its steps are compiled when it is bound
//! ([`super::look_up_steps`]), and only what has parameters is compiled again with their values. Constants are folded
//! and arithmetic is checked as in every other query, so that both ways give the same rows; where a query does not fit,
//! or no index serves it, the other way is taken.
//!
//! Aggregates without groups are one more step, the functions of the session have the values of its facts, and
//! `EXISTS (...)` and scalar subqueries that are look-ups themselves and name nothing around them run first: their
//! answers are values like those of parameters.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;
use millstream_runtime::plan::RelationId;

use super::look_up_steps;
use super::row_steps::{Aggregates, RowStep};
use crate::bind::plan_error;
use crate::error::Result;
use crate::functions::{self, SessionFacts};
use crate::optimize;

/// A query that has the shape.
#[derive(Debug)]
pub struct LookUp {
    pub(super) relation: Option<RelationId>,
    pub(super) columns: Vec<usize>,
    pub(super) conditions: Vec<Expr>,
    pub(super) steps: Vec<Step>,
    pub(super) first: Option<Ordered>,
    pub(super) asked: Vec<AskedFirst>,
    pub(super) asks_facts: bool,
}

/// A look-up with the values of its parameters.
#[derive(Debug)]
pub struct BoundLookUp {
    /// What all of its rows meet, over the relation's columns by their bare names: an index may be chosen by them.
    pub conditions: Vec<Expr>,
    /// What is done with the rows, conditions included.
    pub steps: Vec<RowStep>,
    /// Set where the first rows in an order are enough.
    pub first: Option<FirstRows>,
}

/// The first rows in an order of the relation's columns are all that is asked for.
#[derive(Debug)]
pub struct FirstRows {
    /// The columns that it is ordered by, as far as it is ordered by columns.
    pub keys: Vec<(usize, SortOptions)>,
    /// Rows that the step needs, or all that there are.
    pub rows: usize,
    /// The step that cuts the others off.
    pub step: usize,
}

/// A subquery that is answered before the steps run.
#[derive(Debug)]
pub struct AskedFirst {
    /// The subquery.
    pub look_up: LookUp,
    pub(super) answer: Answer,
}

/// What a subquery is asked.
#[derive(Debug)]
pub(super) enum Answer {
    Exists { negated: bool },
    Value(DataType),
}

/// What a look-up is given when it runs.
#[derive(Clone, Copy, Debug)]
pub struct LookUpValues<'a> {
    /// The values of `$1`, `$2`, ...
    pub parameters: &'a [ScalarValue],
    /// What its functions ask for, where [`LookUp::asks_facts`].
    pub facts: Option<&'a SessionFacts>,
    /// The answers of its subqueries.
    pub answers: &'a [ScalarValue],
}

impl BoundLookUp {
    /// Whether it gives no row, whatever is found: nothing is computed then, and nothing fails.
    pub fn is_empty(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, RowStep::Limit { fetch: Some(0), .. }))
    }
}

impl AskedFirst {
    /// The answer over the rows of the subquery; nothing where they are too many for a value.
    pub fn answer(&self, rows: &RecordBatch) -> Result<Option<ScalarValue>> {
        Ok(match (&self.answer, rows.num_rows()) {
            (Answer::Exists { negated }, found) => Some(ScalarValue::Boolean(Some((found > 0) != *negated))),
            (Answer::Value(data_type), 0) => Some(ScalarValue::try_from(data_type).map_err(plan_error)?),
            (Answer::Value(_), 1) => Some(ScalarValue::try_from_array(rows.column(0), 0).map_err(plan_error)?),
            (Answer::Value(_), _) => None,
        })
    }
}

/// A step before its values are known.
#[derive(Debug)]
pub(super) enum Step {
    Filter(Compiled),
    Project(Vec<Compiled>),
    Aggregate(Arc<Aggregates>),
    Sort(Vec<(Compiled, SortOptions)>),
    Limit { skip: Option<Expr>, fetch: Option<Expr> },
}

/// The order before a LIMIT.
#[derive(Debug)]
pub(super) struct Ordered {
    pub(super) keys: Vec<(usize, SortOptions)>,
    pub(super) step: usize,
}

/// An expression of a step.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) logical: Expr,
    /// The columns that it sees.
    pub(super) schema: Arc<DFSchema>,
    /// Nothing where it needs values.
    pub(super) physical: Option<Arc<dyn PhysicalExpr>>,
}

impl LookUp {
    /// The look-up that an analyzed plan is, if it is one.
    pub fn of(plan: &LogicalPlan) -> Option<Self> {
        if !look_up_steps::has_shape(plan) {
            return None;
        }
        // Whatever can't be compiled here is for the planner, which says what is wrong with it.
        look_up_steps::compile(&optimize::settle_ties(plan.clone()).ok()?).ok().flatten()
    }

    /// The relation whose rows are looked up; none where there is one row without columns.
    pub fn relation(&self) -> Option<RelationId> {
        self.relation
    }

    /// The columns of the relation that the steps need, in the order in which they need them.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// The subqueries whose answers it needs, in order.
    pub fn asked(&self) -> &[AskedFirst] {
        &self.asked
    }

    /// Whether it, or a subquery of it, has functions whose values are the session's.
    pub fn asks_facts(&self) -> bool {
        self.asks_facts || self.asked.iter().any(|asked| asked.look_up.asks_facts())
    }

    /// The look-up with its values; nothing where it does not fit with these.
    pub fn bind(&self, values: LookUpValues<'_>) -> Result<Option<BoundLookUp>> {
        self.bound(values).map_err(plan_error)
    }

    fn bound(&self, values: LookUpValues<'_>) -> DataFusionResult<Option<BoundLookUp>> {
        let conditions = self.conditions.iter().map(|condition| with_values(condition.clone(), values));
        let conditions = conditions.collect::<DataFusionResult<_>>()?;
        let mut steps = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            steps.push(match step {
                Step::Filter(condition) => RowStep::Filter(condition.with_values(values)?),
                Step::Project(columns) => {
                    let columns = columns.iter().map(|column| column.with_values(values));
                    RowStep::Project(columns.collect::<DataFusionResult<_>>()?)
                }
                Step::Aggregate(aggregates) => RowStep::Aggregate(Arc::clone(aggregates)),
                Step::Sort(keys) => {
                    let keys = keys.iter().map(|(key, options)| Ok((key.with_values(values)?, *options)));
                    RowStep::Sort(keys.collect::<DataFusionResult<_>>()?)
                }
                Step::Limit { skip, fetch } => {
                    let (Some(skip), Some(fetch)) = (count(skip, values)?, count(fetch, values)?) else {
                        return Ok(None);
                    };
                    RowStep::Limit { skip: skip.unwrap_or(0), fetch }
                }
            });
        }
        let first = self.first.as_ref().and_then(|ordered| match &steps[ordered.step] {
            RowStep::Limit { skip, fetch: Some(fetch) } => {
                let rows = skip.saturating_add(*fetch);
                Some(FirstRows { keys: ordered.keys.clone(), rows, step: ordered.step })
            }
            _ => None,
        });
        Ok(Some(BoundLookUp { conditions, steps, first }))
    }
}

impl Compiled {
    fn with_values(&self, values: LookUpValues<'_>) -> DataFusionResult<Arc<dyn PhysicalExpr>> {
        match &self.physical {
            Some(physical) => Ok(Arc::clone(physical)),
            None => look_up_steps::physical(with_values(self.logical.clone(), values)?, &self.schema),
        }
    }
}

/// An expression with its values in their places, its constants folded.
fn with_values(expr: Expr, values: LookUpValues<'_>) -> DataFusionResult<Expr> {
    let replaced = expr.transform_up(|expr| match expr {
        Expr::Placeholder(parameter) => {
            let known = match parameter.id.strip_prefix(look_up_steps::ANSWER) {
                Some(number) => number.parse::<usize>().ok().and_then(|number| values.answers.get(number)),
                None => {
                    let number = parameter.id.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
                    number.and_then(|number| values.parameters.get(number.checked_sub(1)?))
                }
            };
            let value = known.ok_or_else(|| {
                DataFusionError::Internal(format!("there is no value for the parameter {}", parameter.id))
            })?;
            Ok(Transformed::yes(Expr::Literal(value.clone(), None)))
        }
        Expr::ScalarFunction(call) if functions::is_fact(&call.func) => {
            let value = functions::fact_value(&call.func, values.facts)?;
            Ok(Transformed::yes(Expr::Literal(value, None)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    functions::folded(replaced.data)
}

/// The number of a LIMIT or OFFSET, `None` within for no limit; nothing for what is no count.
fn count(expr: &Option<Expr>, values: LookUpValues<'_>) -> DataFusionResult<Option<Option<usize>>> {
    let Some(expr) = expr else { return Ok(Some(None)) };
    Ok(match with_values(expr.clone(), values)? {
        Expr::Literal(ScalarValue::Int64(None), _) => Some(None),
        Expr::Literal(ScalarValue::Int64(Some(count)), _) => usize::try_from(count).ok().map(Some),
        _ => None,
    })
}
