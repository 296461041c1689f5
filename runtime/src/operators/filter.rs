//! Keeps the rows for which a predicate is true. Stateless.

use std::sync::Arc;

use arrow::array::AsArray;
use datafusion::physical_expr::PhysicalExpr;

use crate::batch::ChangeBatch;
use crate::error::Result;
use crate::expr::RowExpressions;
use crate::operator::{Operator, Output, Port};
use crate::operators::{emit, reject};
use crate::plan::PlanNode;

/// `WHERE predicate`: null counts as false, a failure sets the row apart.
pub(super) struct Filter {
    predicate: RowExpressions,
}

impl Filter {
    pub(super) fn new(predicate: &Arc<dyn PhysicalExpr>, input: &PlanNode) -> Self {
        Self { predicate: RowExpressions::new(vec![Arc::clone(predicate)], Arc::clone(&input.schema)) }
    }
}

impl Operator for Filter {
    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, out: &mut dyn Output) -> Result<()> {
        let evaluated = self.predicate.evaluate(&batch.rows)?;
        reject(&batch, evaluated.failures, out)?;
        let batch = match &evaluated.succeeded {
            Some(rows) => batch.take(rows)?,
            None => batch,
        };
        let mask = evaluated.columns[0].as_boolean();
        match mask.true_count() {
            0 => Ok(()),
            count if count == batch.len() => emit(batch, out),
            _ => emit(batch.filter(mask)?, out),
        }
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
    fn null_is_not_true_and_failures_are_set_apart_with_their_weight() {
        let schema = int_schema(&["a", "b"]);
        let predicate = checked(
            checked(column(&schema, "a"), Op::Divide, column(&schema, "b")),
            Op::Gt,
            datafusion::physical_expr::expressions::lit(1_i64),
        );
        let mut filter = Filter::new(&predicate, &input(&schema, Changes::Retract));
        let mut out = Collector::default();
        let rows = [
            (vec![Some(4), Some(2)], 1),
            (vec![Some(1), Some(0)], 3),
            (vec![None, Some(1)], 1),
            (vec![Some(9), Some(3)], -1),
            (vec![Some(1), Some(0)], -2),
        ];
        filter.on_batch(Port(0), changes(&schema, &rows), &mut out).unwrap();
        assert_eq!(out.rows(), vec![("4|2".to_owned(), 1), ("9|3".to_owned(), -1)]);
        assert_eq!(out.rejected(), vec![("1|0: division by zero".to_owned(), 1)]);
    }
}
