//! Projections.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::{EmptyRelation, Expr, LogicalPlan, Projection};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column as PhysicalColumn;
use millstream_runtime::plan::{EventTimeColumn, Operation};

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
            LogicalPlan::Filter(filter) => match self.ranked_filter(filter, shows_last(projection, &filter.input))? {
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
        expressions: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Lowered> {
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
        let operation = Operation::Project { expressions };
        let node = self.add(operation, vec![input.node], Arc::clone(&schema), input.changes);
        let event_times = input.event_times.iter().flat_map(|bound| {
            let places = sources.iter().enumerate().filter(|(_, source)| **source == Some(bound.column));
            places.map(|(column, _)| EventTimeColumn { column, extent_micros: bound.extent_micros })
        });
        let event_times = event_times.collect();
        let place = |column: usize| sources.iter().position(|source| *source == Some(column));
        let key = input.key.as_ref().and_then(|key| key.iter().map(|column| place(*column)).collect());
        Ok(Lowered { node, schema, changes: input.changes, event_times, key, one_row: input.one_row })
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

/// Whether a projection shows the last column of `input`, where a window function puts its value.
fn shows_last(projection: &Projection, input: &LogicalPlan) -> bool {
    let schema = input.schema();
    let Some(last) = schema.fields().len().checked_sub(1) else { return false };
    let last = Column::from(schema.qualified_field(last));
    projection.expr.iter().any(|expr| expr.column_refs().contains(&last))
}
