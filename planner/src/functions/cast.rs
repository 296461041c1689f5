//! The frame of casts that are functions of ours: one value in, one value of the target's type out.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::sql_type;

/// How values become those of another type.
pub(crate) trait Conversion: Debug + Eq + Hash + Send + Sync + 'static {
    /// The name in plans and so in the fingerprints of views: another one would make their state unreadable.
    fn name(&self, target: &DataType) -> String {
        format!("cast to {}", sql_type(target))
    }

    /// As many values of the type `target`, out of those of the field `source`; those of NULL are NULL.
    fn convert(&self, values: &ArrayRef, source: &FieldRef, target: &DataType) -> Result<ArrayRef>;
}

/// The value as one of the type `target`.
pub(crate) fn converted(value: Expr, target: &DataType, conversion: impl Conversion) -> Expr {
    let function = Cast {
        name: conversion.name(target),
        target: target.clone(),
        conversion,
        signature: Signature::any(1, Volatility::Immutable),
    };
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(function)), vec![value]))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Cast<C> {
    name: String,
    target: DataType,
    conversion: C,
    signature: Signature,
}

impl<C: Conversion> ScalarUDFImpl for Cast<C> {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.target.clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let source = &arguments.arg_fields[0];
        let convert = |values: &ArrayRef| self.conversion.convert(values, source, &self.target);
        Ok(match &arguments.args[0] {
            ColumnarValue::Array(values) => ColumnarValue::Array(convert(values)?),
            ColumnarValue::Scalar(value) => {
                ColumnarValue::Scalar(ScalarValue::try_from_array(&convert(&value.to_array()?)?, 0)?)
            }
        })
    }
}
