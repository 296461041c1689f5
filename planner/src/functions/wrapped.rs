//! The frame of DataFusion's functions with something of ours around them: another result type, or a check before or
//! behind the call. They keep their names, forms and arguments.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// What is ours about the function.
pub(super) trait Around: Debug + Eq + Hash + Send + Sync + 'static {
    /// The field of the result; that of the function, unless it is said here.
    fn field(&self, inner: &ScalarUDF, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        inner.return_field_from_args(arguments)
    }

    /// The call.
    fn call(&self, inner: &ScalarUDF, arguments: ScalarFunctionArgs) -> Result<ColumnarValue>;
}

/// The function with that around it.
pub(super) fn wrapped(inner: Arc<ScalarUDF>, around: impl Around) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Wrapped { inner, around }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Wrapped<A> {
    inner: Arc<ScalarUDF>,
    around: A,
}

impl<A: Around> ScalarUDFImpl for Wrapped<A> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.around.field(&self.inner, arguments)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.around.call(&self.inner, arguments)
    }
}
