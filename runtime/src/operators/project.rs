//! Computes columns. Stateless.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;

use crate::batch::ChangeBatch;
use crate::error::Result;
use crate::expr::RowExpressions;
use crate::operator::{Operator, Output, Port};
use crate::operators::{emit, record_batch, reject};
use crate::plan::PlanNode;

/// `SELECT expressions`: a row on which one of them fails is set apart.
pub(super) struct Project {
    expressions: RowExpressions,
    schema: SchemaRef,
}

impl Project {
    pub(super) fn new(expressions: &[Arc<dyn PhysicalExpr>], input: &PlanNode, schema: SchemaRef) -> Self {
        Self { expressions: RowExpressions::new(expressions.to_vec(), Arc::clone(&input.schema)), schema }
    }
}

impl Operator for Project {
    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, out: &mut dyn Output) -> Result<()> {
        let evaluated = self.expressions.evaluate(&batch.rows)?;
        reject(&batch, evaluated.failures, out)?;
        let batch = match &evaluated.succeeded {
            Some(rows) => batch.take(rows)?,
            None => batch,
        };
        let rows = record_batch(&self.schema, evaluated.columns, batch.len())?;
        emit(batch.with_rows(rows), out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use datafusion::logical_expr::Operator as Op;

    use super::*;
    use crate::operators::testing::{Collector, changes, checked, column, input, int_schema};
    use crate::plan::Changes;

    #[test]
    fn one_failing_expression_sets_the_row_apart() {
        let schema = int_schema(&["a", "b"]);
        let quotient = checked(column(&schema, "a"), Op::Divide, column(&schema, "b"));
        let mut project = Project::new(
            &[column(&schema, "b"), quotient],
            &input(&schema, Changes::Retract),
            int_schema(&["b", "quotient"]),
        );
        let mut out = Collector::default();
        let rows = [(vec![Some(4), Some(2)], 2), (vec![Some(1), Some(0)], -1), (vec![None, Some(3)], 1)];
        project.on_batch(Port(0), changes(&schema, &rows), &mut out).unwrap();
        assert_eq!(out.rows(), vec![("2|2".to_owned(), 2), ("3|NULL".to_owned(), 1)]);
        assert_eq!(out.rejected(), vec![("1|0: division by zero".to_owned(), -1)]);
    }

    #[test]
    fn rows_without_columns_are_rows() {
        let schema = int_schema(&["a"]);
        let mut project = Project::new(&[], &input(&schema, Changes::Append), int_schema(&[]));
        let mut out = Collector::default();
        project.on_batch(Port(0), changes(&schema, &[(vec![Some(1)], 1), (vec![None], 1)]), &mut out).unwrap();
        assert_eq!(out.rows(), vec![(String::new(), 2)]);
    }
}
