//! `current_setting(name [, missing_ok])` and `set_config(name, value, is_local)`: settings within a query.
//!
//! The settings themselves are the server's ([`SessionSettings`]); here a name goes in and a value comes out. A
//! query that sets is run to its end before its first row is sent, so that what it sets holds behind it.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use super::SessionFacts;
use crate::error::{PlanError, PlanErrorKind};

/// The settings of the session that runs a statement.
pub trait SessionSettings: Debug + Send + Sync {
    /// A setting's value; `None` when nobody knows it.
    fn get(&self, name: &str) -> Option<String>;

    /// Sets a setting, with `None` back to what it was at the start, and gives its new value.
    fn set(&self, name: &str, value: Option<&str>, local: bool) -> Result<String>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Access {
    Shows,
    Sets,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SettingFunction {
    access: Access,
    signature: Signature,
}

/// The functions.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let text = || DataType::Utf8;
    let shows = Signature::one_of(
        vec![TypeSignature::Exact(vec![text()]), TypeSignature::Exact(vec![text(), DataType::Boolean])],
        Volatility::Stable,
    );
    let sets = Signature::exact(vec![text(), text(), DataType::Boolean], Volatility::Volatile);
    [(Access::Shows, shows), (Access::Sets, sets)]
        .into_iter()
        .map(|(access, signature)| Arc::new(ScalarUDF::new_from_impl(SettingFunction { access, signature })))
        .collect()
}

/// Whether a function looks at the settings of who asks.
pub(super) fn asks_for_settings(function: &ScalarUDF) -> bool {
    function.inner().downcast_ref::<SettingFunction>().is_some()
}

/// Whether running a plan changes settings.
pub fn changes_settings(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let visited = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= expr.exists(|expr| Ok(sets(expr)))?;
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    });
    visited.is_ok() && found
}

fn sets(expr: &Expr) -> bool {
    let Expr::ScalarFunction(call) = expr else { return false };
    call.func.inner().downcast_ref::<SettingFunction>().is_some_and(|function| function.access == Access::Sets)
}

impl ScalarUDFImpl for SettingFunction {
    fn name(&self) -> &str {
        match self.access {
            Access::Shows => "current_setting",
            Access::Sets => "set_config",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let facts = args.config_options.extensions.get::<SessionFacts>().ok_or_else(|| {
            DataFusionError::Execution(format!("{}() has a value only where a statement runs", self.name()))
        })?;
        let rows = args.number_rows;
        let columns: Vec<ArrayRef> = args.args.iter().map(|value| value.to_array(rows)).collect::<Result<_>>()?;
        let text = |column: usize, row: usize| -> Result<Option<String>> {
            Ok(match ScalarValue::try_from_array(&columns[column], row)? {
                ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text) => text,
                _ => None,
            })
        };
        let truth = |column: usize, row: usize| {
            columns.get(column).is_some_and(|values| !values.is_null(row) && values.as_boolean().value(row))
        };
        let mut results = StringBuilder::new();
        for row in 0..rows {
            let Some(name) = text(0, row)? else {
                results.append_null();
                continue;
            };
            match self.access {
                Access::Shows => match facts.settings.get(&name) {
                    Some(value) => results.append_value(value),
                    None if truth(1, row) => results.append_null(),
                    None => {
                        let message = format!("unrecognized configuration parameter \"{name}\"");
                        let error = PlanError::new(PlanErrorKind::UndefinedObject, message);
                        return Err(DataFusionError::External(Box::new(error)));
                    }
                },
                Access::Sets => {
                    results.append_value(facts.settings.set(&name, text(1, row)?.as_deref(), truth(2, row))?);
                }
            }
        }
        Ok(ColumnarValue::Array(Arc::new(results.finish())))
    }
}
