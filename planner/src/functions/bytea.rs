//! Text to `bytea` as Postgres reads it: `\x` and hexadecimal digits, or plain characters with `\\` and octal
//! escapes. DataFusion's own cast would take the text's bytes as they are.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder};
use arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

static BYTEA_IN: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(ByteaIn::new())));

/// The bytes that a text expression stands for.
pub(crate) fn bytea_in(text: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&BYTEA_IN), vec![text]))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ByteaIn {
    signature: Signature,
}

impl ByteaIn {
    fn new() -> Self {
        Self { signature: Signature::exact(vec![DataType::Utf8], Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for ByteaIn {
    fn name(&self) -> &str {
        "bytea_in"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let texts = columns[0].as_string::<i32>();
        let mut bytes = BinaryBuilder::with_capacity(texts.len(), texts.value_data().len());
        for text in texts {
            match text {
                None => bytes.append_null(),
                Some(text) => bytes.append_value(decoded(text)?),
            }
        }
        let bytes: ArrayRef = Arc::new(bytes.finish());
        Ok(ColumnarValue::Array(bytes))
    }
}

/// The bytes that a text stands for.
pub(crate) fn decoded(text: &str) -> Result<Vec<u8>> {
    let wrong = || DataFusionError::Execution(format!("invalid input syntax for type bytea: \"{text}\""));
    let digit = |byte: u8, radix| char::from(byte).to_digit(radix).map(|digit| digit as u8);
    if let Some(hexadecimal) = text.strip_prefix("\\x") {
        let digits: Option<Vec<u8>> =
            hexadecimal.bytes().filter(|byte| !byte.is_ascii_whitespace()).map(|byte| digit(byte, 16)).collect();
        let digits = digits.filter(|digits| digits.len() % 2 == 0).ok_or_else(wrong)?;
        return Ok(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = match (first, behind) {
            (b'\\', [b'\\', behind @ ..]) => {
                bytes.push(b'\\');
                behind
            }
            (b'\\', [high @ b'0'..=b'3', middle, low, behind @ ..]) => {
                let (middle, low) = digit(*middle, 8).zip(digit(*low, 8)).ok_or_else(wrong)?;
                bytes.push((high - b'0') << 6 | middle << 3 | low);
                behind
            }
            (b'\\', _) => return Err(wrong()),
            (plain, behind) => {
                bytes.push(*plain);
                behind
            }
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn text_is_read_as_postgres_reads_bytea() {
        let cases: [(&str, &[u8]); 6] = [
            ("", b""),
            ("\\x00fF", &[0x00, 0xff]),
            ("\\x 0a 0B", &[0x0a, 0x0b]),
            ("plain", b"plain"),
            ("a\\\\b", b"a\\b"),
            ("\\000\\377z", &[0x00, 0xff, b'z']),
        ];
        for (text, bytes) in cases {
            assert_eq!(decoded(text).expect(text), bytes, "{text}");
        }
        for text in ["\\x0", "\\xzz", "a\\b", "\\400", "\\09"] {
            let error = decoded(text).expect_err(text).to_string();
            assert!(error.contains("invalid input syntax for type bytea"), "{error}");
        }
    }
}
