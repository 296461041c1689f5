//! `ARRAY(SELECT ...)` on its way through the planner: a call over a scalar subquery, which [`crate::subqueries`] takes
//! for a question of its own. It is never called.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Subquery, Volatility,
};

/// The name under which the planner finds it: no statement can write it.
pub(crate) const ARRAY_OF_ROWS: &str = "\u{0}array";

static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    Arc::new(ScalarUDF::new_from_impl(ArrayOfRows { signature: Signature::any(1, Volatility::Stable) }))
});

/// The function.
pub(crate) fn array_of_rows() -> Arc<ScalarUDF> {
    Arc::clone(&FUNCTION)
}

/// The subquery whose rows are the elements, if an expression is such an array.
pub(crate) fn rows_of_array(expr: &Expr) -> Option<&Subquery> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else { return None };
    match args.as_slice() {
        [Expr::ScalarSubquery(subquery)] if func.name() == ARRAY_OF_ROWS => Some(subquery),
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ArrayOfRows {
    signature: Signature,
}

impl ScalarUDFImpl for ArrayOfRows {
    fn name(&self) -> &str {
        ARRAY_OF_ROWS
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(DataType::new_list(types[0].clone(), true))
    }

    fn invoke_with_args(&self, _arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(DataFusionError::Internal("an array of rows was called".to_string()))
    }
}
