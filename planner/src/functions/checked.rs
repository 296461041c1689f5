//! Checked arithmetic: integer overflow and division by zero are errors, never a wrapped number.
//!
//! DataFusion's binary expression wraps unless it is told otherwise. Where we make physical expressions
//! ourselves (views, standalone expressions) it is told; where DataFusion makes them (batch queries) the
//! arithmetic is replaced by functions of ours before, as the last step on the logical plan. Constants are
//! folded here as well, before any rule of DataFusion could fold them unchecked.

use std::sync::{Arc, LazyLock};

use arrow::array::{Datum, RecordBatch, RecordBatchOptions};
use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions;

use crate::bind::rewrite_expressions;

/// Tells every arithmetic expression of a tree to fail on overflow.
pub(super) fn physical(expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    let checked = expr.transform_up(|node| {
        let Some(binary) = node.downcast_ref::<expressions::BinaryExpr>() else { return Ok(Transformed::no(node)) };
        if !wraps(*binary.op()) {
            return Ok(Transformed::no(node));
        }
        let (left, right) = (Arc::clone(binary.left()), Arc::clone(binary.right()));
        let checked = expressions::BinaryExpr::new(left, *binary.op(), right).with_fail_on_overflow(true);
        Ok(Transformed::yes(Arc::new(checked) as Arc<dyn PhysicalExpr>))
    })?;
    Ok(checked.data)
}

fn wraps(operator: Operator) -> bool {
    matches!(operator, Operator::Plus | Operator::Minus | Operator::Multiply)
}

/// Writes `-x` of an integer as `0 - x`, which can be checked.
pub(super) fn without_unary_minus(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    Ok(expr.transform_up(|node| subtraction(node, schema))?.data)
}

fn subtraction(node: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match node {
        Expr::Negative(inner) => {
            let data_type = inner.get_type(schema)?;
            if !data_type.is_integer() {
                return Ok(Transformed::no(Expr::Negative(inner)));
            }
            let zero = Expr::Literal(ScalarValue::new_zero(&data_type)?, None);
            Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(Box::new(zero), Operator::Minus, inner))))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Replaces the integer arithmetic of a plan by checked functions.
pub fn checked_functions(plan: LogicalPlan) -> Result<LogicalPlan> {
    rewrite_expressions(plan, &|expr, scope| {
        let arithmetic = match &expr {
            Expr::Negative(_) => true,
            Expr::BinaryExpr(binary) => wraps(binary.op),
            _ => false,
        };
        if !arithmetic {
            return Ok(Transformed::no(expr));
        }
        let schema = scope.schema();
        let expr = subtraction(expr, schema)?;
        match expr.data {
            Expr::BinaryExpr(binary) if binary.left.get_type(schema)?.is_integer() => {
                let function = match binary.op {
                    Operator::Plus => &FUNCTIONS[0],
                    Operator::Minus => &FUNCTIONS[1],
                    _ => &FUNCTIONS[2],
                };
                Ok(Transformed::yes(function.call(vec![*binary.left, *binary.right])))
            }
            other => Ok(Transformed::new_transformed(other, expr.transformed)),
        }
    })
}

static FUNCTIONS: LazyLock<[Arc<ScalarUDF>; 3]> = LazyLock::new(|| {
    [Operator::Plus, Operator::Minus, Operator::Multiply].map(|operator| {
        let signature = Signature::any(2, Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(CheckedArithmetic { operator, name: operator.to_string(), signature }))
    })
});

/// `+`, `-` or `*` of two integers of one type.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct CheckedArithmetic {
    operator: Operator,
    name: String,
    signature: Signature,
}

impl ScalarUDFImpl for CheckedArithmetic {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return Err(datafusion::error::DataFusionError::Internal("arithmetic has two operands".to_string()));
        };
        let both_scalar = matches!((left, right), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let (left, right) = (datum(left)?, datum(right)?);
        let result = match self.operator {
            Operator::Plus => numeric::add(left.as_ref(), right.as_ref())?,
            Operator::Minus => numeric::sub(left.as_ref(), right.as_ref())?,
            _ => numeric::mul(left.as_ref(), right.as_ref())?,
        };
        if both_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

fn datum(value: &ColumnarValue) -> Result<Box<dyn Datum>> {
    Ok(match value {
        ColumnarValue::Array(array) => Box::new(Arc::clone(array)),
        ColumnarValue::Scalar(scalar) => Box::new(scalar.to_scalar()?),
    })
}

/// Evaluates what has the same value for every row; an error of a constant is an error of the statement.
pub fn fold_constants(plan: LogicalPlan) -> Result<LogicalPlan> {
    rewrite_expressions(plan, &|expr, _| if foldable(&expr) { fold(expr) } else { Ok(Transformed::no(expr)) })
}

fn foldable(expr: &Expr) -> bool {
    let literal = |expr: &Expr| matches!(expr, Expr::Literal(..));
    match expr {
        Expr::BinaryExpr(binary) => literal(&binary.left) && literal(&binary.right),
        Expr::Cast(cast) => literal(&cast.expr),
        Expr::Negative(inner) | Expr::Not(inner) => literal(inner),
        Expr::ScalarFunction(function) => {
            function.func.signature().volatility == Volatility::Immutable && function.args.iter().all(literal)
        }
        _ => false,
    }
}

fn fold(expr: Expr) -> Result<Transformed<Expr>> {
    let schema = DFSchema::empty();
    let physical = super::physical_expression(&expr, &schema)
        .map_err(|error| datafusion::error::DataFusionError::External(Box::new(error)))?;
    let one_row = RecordBatch::try_new_with_options(
        Arc::new(Schema::empty()),
        Vec::new(),
        &RecordBatchOptions::new().with_row_count(Some(1)),
    )?;
    let value = match physical.evaluate(&one_row)? {
        ColumnarValue::Scalar(value) => value,
        ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0)?,
    };
    Ok(Transformed::yes(Expr::Literal(value, None)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use arrow::array::{ArrayRef, Int32Array, Int64Array};
    use arrow::datatypes::Field;
    use datafusion::logical_expr::{col, lit};

    use super::*;

    fn evaluate(expr: &Expr, column: ArrayRef) -> Result<ScalarValue, String> {
        let schema = Schema::new(vec![Field::new("a", column.data_type().clone(), true)]);
        let df_schema = DFSchema::try_from(schema.clone()).unwrap();
        let physical = super::super::physical_expression(expr, &df_schema).unwrap();
        let batch = RecordBatch::try_new(Arc::new(schema), vec![column]).unwrap();
        let value = physical.evaluate(&batch).map_err(|error| error.to_string())?;
        Ok(ScalarValue::try_from_array(&value.into_array(1).unwrap(), 0).unwrap())
    }

    #[test]
    fn overflow_and_division_by_zero_fail() {
        let greatest: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX]));
        let least: ArrayRef = Arc::new(Int32Array::from(vec![i32::MIN]));
        assert!(evaluate(&(col("a") + lit(1_i64)), Arc::clone(&greatest)).is_err());
        assert!(evaluate(&(col("a") * lit(2_i64)), Arc::clone(&greatest)).is_err());
        assert!(evaluate(&(lit(-2_i64) - col("a")), Arc::clone(&greatest)).is_err());
        assert!(evaluate(&(col("a") / lit(0_i64)), Arc::clone(&greatest)).is_err());
        assert!(evaluate(&Expr::Negative(Box::new(col("a"))), Arc::clone(&least)).is_err());
        assert_eq!(evaluate(&(col("a") - lit(1_i64)), greatest), Ok(ScalarValue::Int64(Some(i64::MAX - 1))));
    }

    #[test]
    fn constants_fold_checked() {
        let overflow = lit(i64::MAX) + lit(1_i64);
        assert!(fold(overflow).is_err());
        let folded = fold(lit(40_i64) + lit(2_i64)).unwrap().data;
        assert_eq!(folded, lit(42_i64));
    }
}
