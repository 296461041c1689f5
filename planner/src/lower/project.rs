//! Projections.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{EmptyRelation, Expr, LogicalPlan, Projection};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column as PhysicalColumn, Literal};
use millstream_runtime::plan::{EventTimeColumn, NodeIndex, Operation};

use super::leaf::constants;
use super::{Lowered, Lowering, nullable_schema};
use crate::bind::plan_error;
use crate::error::Result;
use crate::functions;

impl Lowering {
    pub(super) fn projection(&mut self, projection: &Projection) -> Result<Lowered> {
        if let LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, .. }) = projection.input.as_ref() {
            let row = constants(&projection.expr)?;
            return self.constant_rows(nullable_schema(&projection.schema), &[row]);
        }
        let input = match projection.input.as_ref() {
            // A rank that is compared and then forgotten needs no number.
            LogicalPlan::Filter(filter) => match self.ranked_filter(filter, Some(&projection.expr))? {
                Some(ranked) => ranked,
                None => self.plan(&projection.input)?,
            },
            other => self.plan(other)?,
        };
        let mut lowered = self.project(&input, &projection.expr, projection.input.schema())?;
        let schema = nullable_schema(&projection.schema);
        if lowered.node != input.node && lowered.schema.fields().len() == schema.fields().len() {
            lowered = self.with_names(lowered, &schema)?;
        }
        Ok(lowered)
    }

    /// Computes expressions over a node; nothing is added when they are all of its columns in order.
    pub(super) fn project(&mut self, input: &Lowered, expressions: &[Expr], schema: &DFSchema) -> Result<Lowered> {
        let physical =
            expressions.iter().map(|expr| functions::physical_expression(expr, schema)).collect::<Result<Vec<_>>>()?;
        self.project_physical(input, physical)
    }

    pub(super) fn project_physical(
        &mut self,
        input: &Lowered,
        mut expressions: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Lowered> {
        if expressions.is_empty() {
            // Rows without columns can't be counted: a constant column stands in behind what the plan knows of.
            expressions.push(Arc::new(Literal::new(ScalarValue::Boolean(Some(true)))));
        }
        let sources: Vec<Option<usize>> =
            expressions.iter().map(|expr| expr.downcast_ref::<PhysicalColumn>().map(PhysicalColumn::index)).collect();
        let identity = sources.len() == input.schema.fields().len()
            && sources.iter().enumerate().all(|(place, source)| *source == Some(place));
        if identity {
            return Ok(input.clone());
        }
        let mut fields = Vec::with_capacity(expressions.len());
        for (expression, source) in expressions.iter().zip(&sources) {
            let field = match source {
                Some(column) => input.schema.field(*column).clone(),
                None => {
                    let data_type = expression.data_type(&input.schema).map_err(plan_error)?;
                    Field::new(expression.to_string(), data_type, true)
                }
            };
            fields.push(field);
        }
        let schema = Arc::new(Schema::new(fields));
        let (below, expressions) = self.merged(input.node, expressions)?;
        let operation = Operation::Project { expressions };
        let node = self.add(operation, vec![below], Arc::clone(&schema), input.changes);
        let event_times = input.event_times.iter().flat_map(|bound| {
            let places = sources.iter().enumerate().filter(|(_, source)| **source == Some(bound.column));
            places.map(|(column, _)| EventTimeColumn { column, extent_micros: bound.extent_micros })
        });
        let event_times = event_times.collect();
        let place = |column: usize| sources.iter().position(|source| *source == Some(column));
        let key = input.key.as_ref().and_then(|key| key.iter().map(|column| place(*column)).collect());
        Ok(Lowered { node, schema, changes: input.changes, event_times, key, one_row: input.one_row })
    }

    /// Expressions over a projection as expressions over its input, unless that would compute something twice.
    pub(super) fn merged(
        &self,
        input: NodeIndex,
        expressions: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<(NodeIndex, Vec<Arc<dyn PhysicalExpr>>)> {
        let node = &self.nodes[input.0];
        let Operation::Project { expressions: inner } = &node.operation else { return Ok((input, expressions)) };
        let mut uses = vec![0_usize; inner.len()];
        for expression in &expressions {
            let counted = expression.apply(|part| {
                if let Some(column) = part.downcast_ref::<PhysicalColumn>() {
                    uses[column.index()] += 1;
                }
                Ok(TreeNodeRecursion::Continue)
            });
            counted.map_err(plan_error)?;
        }
        let computed = |expression: &Arc<dyn PhysicalExpr>| expression.downcast_ref::<PhysicalColumn>().is_none();
        if inner.iter().zip(&uses).any(|(expression, uses)| *uses > 1 && computed(expression)) {
            return Ok((input, expressions));
        }
        let merge = |expression: Arc<dyn PhysicalExpr>| {
            let merged = expression.transform_up(|part| {
                Ok(match part.downcast_ref::<PhysicalColumn>().map(PhysicalColumn::index) {
                    Some(index) => Transformed::new(Arc::clone(&inner[index]), true, TreeNodeRecursion::Jump),
                    None => Transformed::no(part),
                })
            });
            merged.map(|merged| merged.data).map_err(plan_error)
        };
        Ok((node.inputs[0], expressions.into_iter().map(merge).collect::<Result<Vec<_>>>()?))
    }

    /// The same node under the names of the logical plan, for EXPLAIN; types and nulls stay.
    fn with_names(&mut self, lowered: Lowered, schema: &Schema) -> Result<Lowered> {
        let fields = lowered.schema.fields().iter().zip(schema.fields());
        let fields: Vec<Field> = fields.map(|(own, named)| own.as_ref().clone().with_name(named.name())).collect();
        let named = Arc::new(Schema::new(fields));
        if named == lowered.schema {
            return Ok(lowered);
        }
        let last = lowered.node.0 + 1 == self.nodes.len();
        if !last {
            return Ok(lowered);
        }
        self.nodes[lowered.node.0].schema = Arc::clone(&named);
        Ok(Lowered { schema: named, ..lowered })
    }
}
