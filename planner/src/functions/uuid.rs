//! `gen_random_uuid()`: a `uuid` of version 4, another one for every row. DataFusion's own gives text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryBuilder};
use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::functions::string::uuid;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use crate::types::UUID;
use crate::values::input;

/// The function.
pub(super) fn random() -> Arc<ScalarUDF> {
    let signature = Signature::nullary(Volatility::Volatile);
    Arc::new(ScalarUDF::from(RandomUuid { aliases: vec!["uuid".to_string()], signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RandomUuid {
    aliases: Vec<String>,
    signature: Signature,
}

impl ScalarUDFImpl for RandomUuid {
    fn name(&self) -> &str {
        "gen_random_uuid"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(UUID)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let texts = uuid().inner().invoke_with_args(arguments)?.into_array(rows)?;
        let texts = texts.as_string::<i32>();
        let mut uuids = FixedSizeBinaryBuilder::with_capacity(texts.len(), 16);
        for text in texts.iter().flatten() {
            let bytes =
                input::uuid(text).map_err(|error| datafusion::error::DataFusionError::External(Box::new(error)))?;
            uuids.append_value(bytes)?;
        }
        let uuids: ArrayRef = Arc::new(uuids.finish());
        Ok(ColumnarValue::Array(uuids))
    }
}
