//! The plan node that answers a subquery for every row of its input, and what a subquery asks of the rows around it.
//!
//! A column of the query around is an `OuterReferenceColumn` in the subquery's plan. As in SQL it belongs to the
//! nearest query around that has it: what a subquery within the subquery finds there is no column of ours.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{Exists, InSubquery, Placeholder, SetComparison};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, Operator, Subquery, UserDefinedLogicalNodeCore};

use crate::functions;

/// The rows of its input, each with the answer of a subquery as one more column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SubqueryNode {
    /// The rows that ask.
    pub(crate) input: LogicalPlan,
    /// The subquery. It is no input: the optimizer sees it when the values of its outer columns are in it.
    pub(crate) subquery: Arc<LogicalPlan>,
    /// The outer columns that the subquery names, and what they are over the input.
    pub(crate) outer: Vec<(Column, Expr)>,
    /// What is made of the subquery's rows.
    pub(crate) answer: Answer,
    /// Which rows ask: for the others the answer is NULL, and nothing is evaluated. All ask where there is none.
    pub(crate) when: Option<Expr>,
    schema: DFSchemaRef,
}

/// What is made of a subquery's rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    /// Whether there is one.
    Exists,
    /// The value of the only one; NULL where there is none.
    Value,
    /// All values, in their order.
    Array,
    /// Whether a value over the input compares so with one of them, or with all.
    Compared {
        /// The value.
        left: Expr,
        /// How it is compared with each.
        op: Operator,
        /// With all of them, not with any.
        all: bool,
    },
}

impl SubqueryNode {
    /// A node whose column has the given name.
    pub(crate) fn try_new(
        input: LogicalPlan,
        subquery: Arc<LogicalPlan>,
        outer: Vec<(Column, Expr)>,
        answer: Answer,
        when: Option<Expr>,
        name: &str,
    ) -> Result<Self> {
        let field = match &answer {
            Answer::Exists => Field::new(name, DataType::Boolean, false),
            Answer::Compared { .. } => Field::new(name, DataType::Boolean, true),
            Answer::Value => Field::new(name, subquery.schema().field(0).data_type().clone(), true),
            Answer::Array => {
                let element = subquery.schema().field(0).data_type().clone();
                Field::new(name, DataType::new_list(element, true), false)
            }
        };
        let nullable = field.is_nullable() || when.is_some();
        let field = field.with_nullable(nullable);
        let column = DFSchema::new_with_metadata(vec![(None, Arc::new(field))], Default::default())?;
        let schema = Arc::new(input.schema().join(&column)?);
        Ok(Self { input, subquery, outer, answer, when, schema })
    }

    /// The node behind an extension, if it is one of these.
    pub(crate) fn of(extension: &Extension) -> Option<&Self> {
        extension.node.as_any().downcast_ref::<Self>()
    }

    /// The same node over another plan of the same subquery.
    pub(crate) fn with_subquery(&self, subquery: LogicalPlan) -> LogicalPlan {
        let node = Self { subquery: Arc::new(subquery), ..self.clone() };
        LogicalPlan::Extension(Extension { node: Arc::new(node) })
    }

    fn column(&self) -> usize {
        self.schema.fields().len() - 1
    }
}

impl PartialOrd for SubqueryNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.input.partial_cmp(&other.input).filter(|order| *order != Ordering::Equal || self == other)
    }
}

impl UserDefinedLogicalNodeCore for SubqueryNode {
    fn name(&self) -> &str {
        "Subquery of rows"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let left = match &self.answer {
            Answer::Compared { left, .. } => Some(left.clone()),
            Answer::Exists | Answer::Value | Answer::Array => None,
        };
        self.outer.iter().map(|(_, expr)| expr.clone()).chain(left).chain(self.when.clone()).collect()
    }

    /// A condition on the answer can't be asked before it is there; all others are asked below.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        [self.schema.field(self.column()).name().clone()].into()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Subquery of rows")
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let [input] = <[LogicalPlan; 1]>::try_from(inputs)
            .map_err(|_| DataFusionError::Internal("the node of a subquery has one input".to_string()))?;
        let mut exprs = exprs.into_iter();
        let mut next = || exprs.next().ok_or_else(|| DataFusionError::Internal("an expression is missing".to_string()));
        let outer = self.outer.iter().map(|(column, _)| Ok((column.clone(), next()?))).collect::<Result<_>>()?;
        let answer = match &self.answer {
            Answer::Compared { op, all, .. } => Answer::Compared { left: next()?, op: *op, all: *all },
            other => other.clone(),
        };
        let when = self.when.as_ref().map(|_| next()).transpose()?;
        let name = self.schema.field(self.column()).name();
        Self::try_new(input, Arc::clone(&self.subquery), outer, answer, when, name)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        // What the expressions need is added by the optimizer.
        Some(vec![output_columns.iter().copied().filter(|column| *column != self.column()).collect()])
    }

    /// It has a row for every row of its input.
    fn supports_limit_pushdown(&self) -> bool {
        true
    }
}

/// The subquery that an expression is, itself.
pub(super) fn subquery_of(expr: &Expr) -> Option<&Subquery> {
    match expr {
        Expr::Exists(Exists { subquery, .. })
        | Expr::InSubquery(InSubquery { subquery, .. })
        | Expr::SetComparison(SetComparison { subquery, .. })
        | Expr::ScalarSubquery(subquery) => Some(subquery),
        _ => None,
    }
}

/// The outer columns that a plan names, each once, beside those of queries within it.
pub(super) fn outer_columns(plan: &LogicalPlan) -> Result<Vec<Column>> {
    let mut found = Vec::new();
    collect(plan, &|_| true, &mut found)?;
    Ok(found)
}

fn collect(plan: &LogicalPlan, wanted: &dyn Fn(&Column) -> bool, found: &mut Vec<Column>) -> Result<()> {
    plan.apply(|node| {
        let here = columns_below(node)?;
        let further = |column: &Column| here.maybe_index_of_column(column).is_none() && wanted(column);
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                match expr {
                    Expr::OuterReferenceColumn(_, column) if wanted(column) && !found.contains(column) => {
                        found.push(column.clone());
                    }
                    expr => {
                        if let Some(inner) = subquery_of(expr) {
                            collect(&inner.subquery, &further, found)?;
                        }
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        if let LogicalPlan::Extension(extension) = node
            && let Some(inner) = SubqueryNode::of(extension)
        {
            collect(&inner.subquery, &further, found)?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// The columns that the expressions of a node see.
fn columns_below(node: &LogicalPlan) -> Result<DFSchema> {
    Ok(match node.inputs().as_slice() {
        [] => DFSchema::empty(),
        [one] => one.schema().as_ref().clone(),
        several => merge_schema(several),
    })
}

/// A subquery with values in the place of outer columns.
pub(crate) fn with_outer_values(plan: LogicalPlan, values: &[(Column, Expr)]) -> Result<LogicalPlan> {
    if values.is_empty() {
        return Ok(plan);
    }
    let bound = plan.transform_up(|node| {
        let here = columns_below(&node)?;
        let further: Vec<(Column, Expr)> =
            values.iter().filter(|(column, _)| here.maybe_index_of_column(column).is_none()).cloned().collect();
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let bound = expr.transform_up(|expr| expression(expr, values, &further))?;
            Ok(bound.update_data(|expr| name.restore(expr)))
        })?;
        let node = node.map_data(LogicalPlan::recompute_schema)?;
        node.transform_data(|node| match &node {
            LogicalPlan::Extension(extension) => Ok(match SubqueryNode::of(extension) {
                Some(inner) => {
                    let subquery = with_outer_values(inner.subquery.as_ref().clone(), &further)?;
                    Transformed::yes(inner.with_subquery(subquery))
                }
                None => Transformed::no(node),
            }),
            _ => Ok(Transformed::no(node)),
        })
    })?;
    Ok(bound.data)
}

/// The place of a value that an optimised plan waits for; no statement can write it.
pub(crate) fn awaited(index: usize, data_type: DataType) -> Expr {
    let field = Arc::new(Field::new("", data_type, true));
    Expr::Placeholder(Placeholder::new_with_field(format!("\u{0}{index}"), Some(field)))
}

/// A plan with the values that it waited for. What is constant with them is folded, but for what fails: there may be no
/// row to fail on.
pub(crate) fn with_awaited(plan: LogicalPlan, values: &[ScalarValue]) -> Result<LogicalPlan> {
    if values.is_empty() {
        return Ok(plan);
    }
    let filled = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let filled = expr.transform_up(|expr| Ok(filled(expr, values)))?;
            Ok(filled.update_data(|expr| name.restore(expr)))
        })?;
        node.transform_data(|node| match &node {
            LogicalPlan::Extension(extension) => Ok(match SubqueryNode::of(extension) {
                Some(inner) => {
                    Transformed::yes(inner.with_subquery(with_awaited(inner.subquery.as_ref().clone(), values)?))
                }
                None => Transformed::no(node),
            }),
            _ => Ok(Transformed::no(node)),
        })
    })?;
    Ok(filled.data)
}

fn filled(expr: Expr, values: &[ScalarValue]) -> Transformed<Expr> {
    if let Expr::Placeholder(placeholder) = &expr {
        let index = placeholder.id.strip_prefix('\u{0}').and_then(|index| index.parse::<usize>().ok());
        return match index.and_then(|index| values.get(index)) {
            Some(value) => Transformed::yes(Expr::Literal(value.clone(), None)),
            None => Transformed::no(expr),
        };
    }
    functions::folded_if_it_can_be(expr)
}

/// An expression of a subquery: `here` are the values for itself, `further` those for the queries in it.
fn expression(expr: Expr, here: &[(Column, Expr)], further: &[(Column, Expr)]) -> Result<Transformed<Expr>> {
    let inner = |subquery: Subquery| -> Result<Subquery> {
        let known = |expr: &Expr| match expr {
            Expr::OuterReferenceColumn(_, column) => further.iter().any(|(known, _)| known == column),
            _ => false,
        };
        let mut outer_ref_columns = subquery.outer_ref_columns;
        outer_ref_columns.retain(|expr| !known(expr));
        let plan = with_outer_values(Arc::unwrap_or_clone(subquery.subquery), further)?;
        Ok(Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: subquery.spans })
    };
    Ok(match expr {
        Expr::OuterReferenceColumn(field, column) => match here.iter().find(|(known, _)| *known == column) {
            Some((_, value)) => Transformed::yes(value.clone()),
            None => Transformed::no(Expr::OuterReferenceColumn(field, column)),
        },
        Expr::Exists(Exists { subquery, negated }) => {
            Transformed::yes(Expr::Exists(Exists { subquery: inner(subquery)?, negated }))
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            Transformed::yes(Expr::InSubquery(InSubquery { expr, subquery: inner(subquery)?, negated }))
        }
        Expr::SetComparison(comparison) => {
            let subquery = inner(comparison.subquery)?;
            Transformed::yes(Expr::SetComparison(SetComparison { subquery, ..comparison }))
        }
        Expr::ScalarSubquery(subquery) => Transformed::yes(Expr::ScalarSubquery(inner(subquery)?)),
        other => Transformed::no(other),
    })
}
