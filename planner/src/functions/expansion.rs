//! Functions that only stand for an expression: DataFusion's simplifier writes them out and nothing can run
//! them as calls. Its other rewritings fold unchecked, so that only these are taken from it.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};

/// The functions whose call DataFusion refuses to evaluate.
const STAND_INS: [&str; 7] =
    ["coalesce", "nvl", "nvl2", "arrow_cast", "arrow_try_cast", "cast_to_type", "try_cast_to_type"];

/// Writes such calls out, wherever in the expression they stand.
pub(super) fn written_out(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    if !expr.exists(|node| Ok(is_stand_in(node)))? {
        return Ok(expr);
    }
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .with_config_options(Arc::new(crate::bind::planner_options().clone()))
        .build();
    let written = expr.transform_up(|node| match node {
        Expr::ScalarFunction(call) if STAND_INS.contains(&call.func.name()) => {
            let ScalarFunction { func, args } = call;
            Ok(match func.simplify(args, &context)? {
                ExprSimplifyResult::Simplified(expr) => Transformed::yes(expr),
                ExprSimplifyResult::Original(args) => {
                    Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args }))
                }
            })
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(written.data)
}

/// Whether it is a call that nothing evaluates.
pub(crate) fn is_stand_in(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if STAND_INS.contains(&call.func.name()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use arrow::array::{Array, AsArray, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use datafusion::logical_expr::{col, lit};

    use super::*;

    #[test]
    fn calls_that_nothing_evaluates_are_written_out() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let df_schema = DFSchema::try_from(schema.as_ref().clone()).unwrap();
        let coalesce = super::super::registry().scalar("coalesce").unwrap();
        let inner = coalesce.call(vec![col("a"), lit(7_i64)]);
        let expr = coalesce.call(vec![inner + lit(1_i64), lit(0_i64)]);
        let physical = super::super::physical_expression(&expr, &df_schema).unwrap();
        let column = Arc::new(Int64Array::from(vec![Some(1), None]));
        let rows = RecordBatch::try_new(schema, vec![column]).unwrap();
        let values = physical.evaluate(&rows).unwrap().into_array(2).unwrap();
        let values = values.as_primitive::<Int64Type>();
        assert_eq!((values.value(0), values.value(1), values.null_count()), (2, 8, 0));
    }
}
