//! Checked arithmetic: overflow and division by zero are errors, never a wrapped number and never an infinity.
//!
//! DataFusion's binary expression wraps integers unless it is told otherwise. Where we make physical expressions
//! ourselves (views, standalone expressions) it is told; where DataFusion makes them (batch queries) the
//! arithmetic is replaced by functions of ours before, as the last step on the logical plan. Floats know no such
//! switch: their arithmetic is the same function of ours in both. Constants are folded here as well, before any
//! rule of DataFusion could fold them unchecked.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Datum, RecordBatch, RecordBatchOptions};
use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Schema};
use arrow::error::ArrowError;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
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

/// What standalone expressions need before they are made physical: `-x` of an integer as `0 - x`, which can be
/// checked, and checked floats.
pub(super) fn logical(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let checked = expr.transform_up(|node| {
        let expr = subtraction(node, schema)?;
        match expr.data {
            Expr::BinaryExpr(binary) if operand_type(&binary, schema)?.is_floating() => Ok(function(binary)),
            other => Ok(Transformed::new_transformed(other, expr.transformed)),
        }
    })?;
    Ok(checked.data)
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

/// The type of the operands of an arithmetic operation; `Null` for other operations.
fn operand_type(binary: &BinaryExpr, schema: &DFSchema) -> Result<DataType> {
    if OPERATORS.contains(&binary.op) { binary.left.get_type(schema) } else { Ok(DataType::Null) }
}

/// The operation as a call of ours, if there is one.
fn function(binary: BinaryExpr) -> Transformed<Expr> {
    match OPERATORS.iter().position(|operator| *operator == binary.op) {
        Some(place) => Transformed::yes(FUNCTIONS[place].call(vec![*binary.left, *binary.right])),
        None => Transformed::no(Expr::BinaryExpr(binary)),
    }
}

/// Replaces the arithmetic of a plan on integers and floats by checked functions.
pub fn checked_functions(plan: LogicalPlan) -> Result<LogicalPlan> {
    rewrite_expressions(plan, &|expr, scope| {
        let arithmetic = match &expr {
            Expr::Negative(_) => true,
            Expr::BinaryExpr(binary) => OPERATORS.contains(&binary.op),
            _ => false,
        };
        if !arithmetic {
            return Ok(Transformed::no(expr));
        }
        let schema = scope.schema();
        let expr = subtraction(expr, schema)?;
        match expr.data {
            Expr::BinaryExpr(binary) => {
                let operands = operand_type(&binary, schema)?;
                // The division of integers is checked as it is.
                let checked = operands.is_floating() || (operands.is_integer() && wraps(binary.op));
                Ok(if checked { function(binary) } else { Transformed::no(Expr::BinaryExpr(binary)) })
            }
            other => Ok(Transformed::new_transformed(other, expr.transformed)),
        }
    })
}

const OPERATORS: [Operator; 4] = [Operator::Plus, Operator::Minus, Operator::Multiply, Operator::Divide];

static FUNCTIONS: LazyLock<[Arc<ScalarUDF>; 4]> = LazyLock::new(|| {
    OPERATORS.map(|operator| {
        let signature = Signature::any(2, Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(CheckedArithmetic { operator, name: operator.to_string(), signature }))
    })
});

/// One of [`OPERATORS`] on two integers or two floats of one type.
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
            return Err(DataFusionError::Internal("arithmetic has two operands".to_string()));
        };
        let both_scalar = matches!((left, right), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let (left, right) = (datum(left)?, datum(right)?);
        let (left, right) = (left.as_ref(), right.as_ref());
        let result = match self.operator {
            Operator::Plus => numeric::add(left, right)?,
            Operator::Minus => numeric::sub(left, right)?,
            Operator::Multiply => numeric::mul(left, right)?,
            _ => numeric::div(left, right)?,
        };
        match result.data_type() {
            DataType::Float32 => check_floats::<Float32Type>(self.operator, left, right, &result)?,
            DataType::Float64 => check_floats::<Float64Type>(self.operator, left, right, &result)?,
            _ => {}
        }
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

/// Fails where Postgres would have failed to compute one of the results.
fn check_floats<T>(operator: Operator, left: &dyn Datum, right: &dyn Datum, result: &ArrayRef) -> Result<()>
where
    T: ArrowPrimitiveType<Native: Into<f64>>,
{
    let operand = |(array, scalar): (&dyn Array, bool), row: usize| -> f64 {
        array.as_primitive::<T>().value(if scalar { 0 } else { row }).into()
    };
    for (row, value) in result.as_primitive::<T>().iter().enumerate() {
        let Some(value) = value else { continue };
        let value: f64 = value.into();
        // Nearly all values are neither: the operands are looked at for the others only.
        if value.is_finite() && value != 0.0 {
            continue;
        }
        check_float(operator, operand(left.get(), row), operand(right.get(), row), value)?;
    }
    Ok(())
}

/// `left operator right` gave `value`, which is zero or not finite.
fn check_float(operator: Operator, left: f64, right: f64, value: f64) -> Result<()> {
    if operator == Operator::Divide && right == 0.0 && !left.is_nan() {
        return Err(ArrowError::DivideByZero.into());
    }
    if value.is_infinite() && left.is_finite() && right.is_finite() {
        return Err(DataFusionError::Execution(FLOAT_OVERFLOW.to_string()));
    }
    let vanished = match operator {
        Operator::Multiply => left != 0.0 && right != 0.0,
        Operator::Divide => left != 0.0 && right.is_finite(),
        // The sum of two floats is never closer to zero than the smallest float.
        _ => false,
    };
    if value == 0.0 && vanished {
        return Err(DataFusionError::Execution(FLOAT_UNDERFLOW.to_string()));
    }
    Ok(())
}

/// What Postgres says of a float that is too large.
pub(super) const FLOAT_OVERFLOW: &str = "value out of range: overflow";
/// And of one that is too close to zero.
pub(super) const FLOAT_UNDERFLOW: &str = "value out of range: underflow";

/// Evaluates what has the same value for every row; an error of a constant is an error of the statement.
pub fn fold_constants(plan: LogicalPlan) -> Result<LogicalPlan> {
    rewrite_expressions(plan, &|expr, _| if foldable(&expr) { fold(expr) } else { Ok(Transformed::no(expr)) })
}

/// The same for an expression.
pub(crate) fn folded(expr: Expr) -> Result<Expr> {
    let folded = expr.transform_up(|expr| if foldable(&expr) { fold(expr) } else { Ok(Transformed::no(expr)) })?;
    Ok(folded.data)
}

/// One step of it; an expression that fails stays.
pub(crate) fn folded_if_it_can_be(expr: Expr) -> Transformed<Expr> {
    match foldable(&expr) {
        true => fold(expr.clone()).unwrap_or_else(|_| Transformed::no(expr)),
        false => Transformed::no(expr),
    }
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
    let physical =
        super::physical_expression(&expr, &schema).map_err(|error| DataFusionError::External(Box::new(error)))?;
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

    use arrow::array::{Float32Array, Float64Array, Int32Array, Int64Array};
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
    fn floats_fail_where_postgres_does() {
        let large: ArrayRef = Arc::new(Float64Array::from(vec![1e308]));
        let small: ArrayRef = Arc::new(Float64Array::from(vec![1e-308]));
        let infinite: ArrayRef = Arc::new(Float64Array::from(vec![f64::INFINITY]));
        let real: ArrayRef = Arc::new(Float32Array::from(vec![3e38]));
        let failing = [
            (col("a") / lit(0.0), &large, "Divide by zero"),
            (col("a") / lit(0.0), &infinite, "Divide by zero"),
            (col("a") + col("a"), &large, "overflow"),
            (lit(-1e308) - col("a"), &large, "overflow"),
            (col("a") * lit(10.0), &large, "overflow"),
            (col("a") / lit(0.01), &large, "overflow"),
            (col("a") * lit(2.0_f32), &real, "overflow"),
            (col("a") * col("a"), &small, "underflow"),
            (col("a") / lit(1e300), &small, "underflow"),
        ];
        for (expr, column, part) in failing {
            let error = evaluate(&expr, Arc::clone(column)).unwrap_err();
            assert!(error.contains(part), "{expr}: {error}");
        }
        let fine = [
            (lit(f64::NAN) / col("a") * lit(0.0), &large, f64::NAN),
            (col("a") + lit(1.0), &infinite, f64::INFINITY),
            (col("a") - col("a"), &large, 0.0),
            (lit(1.0) / col("a"), &infinite, 0.0),
            (col("a") * lit(0.0), &large, 0.0),
        ];
        for (expr, column, expected) in fine {
            assert_eq!(evaluate(&expr, Arc::clone(column)), Ok(ScalarValue::Float64(Some(expected))), "{expr}");
        }
    }

    #[test]
    fn rows_that_are_null_can_not_fail() {
        let none: ArrayRef = Arc::new(Float64Array::from(vec![None]));
        assert_eq!(evaluate(&(lit(1.0) / col("a")), none), Ok(ScalarValue::Float64(None)));
    }

    #[test]
    fn constants_fold_checked() {
        let overflow = lit(i64::MAX) + lit(1_i64);
        assert!(fold(overflow).is_err());
        let folded = fold(lit(40_i64) + lit(2_i64)).unwrap().data;
        assert_eq!(folded, lit(42_i64));
    }
}
