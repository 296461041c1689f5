//! Bounds on what one call can make: a text of a few bytes can ask for gigabytes (`repeat('a', 2000000000)`), which no
//! budget of queries would see before they are there.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::kernels::length::length;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};

use super::wrapped::{Around, wrapped};
use crate::bind::refuse;
use crate::error::PlanErrorKind;

/// Bytes of one value: a quarter of what Postgres takes, and as much as `--query-memory-mib` leaves to a query on a
/// small machine.
const VALUE_BYTES_MAX: u64 = 256 << 20;

/// Bytes of all values of a batch: Arrow counts them in 31 bits and ends the statement beyond.
const BATCH_BYTES_MAX: u64 = 1 << 30;

/// Longest encoding of a character, in bytes.
const CHARACTER_BYTES_MAX: u64 = 4;

/// Adds up what the values of a batch take.
#[derive(Default)]
pub(super) struct Budget {
    bytes: u64,
}

impl Budget {
    /// Counts a value of so many bytes; an error where it or all of them are too large.
    pub(super) fn take(&mut self, bytes: u64) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if bytes > VALUE_BYTES_MAX || self.bytes > BATCH_BYTES_MAX {
            return Err(refuse(PlanErrorKind::ProgramLimitExceeded, "requested length too large"));
        }
        Ok(())
    }
}

/// A function of DataFusion's whose result is as long as an argument says, held to the bounds; or the function itself.
pub(super) fn bounded(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    match function.name() {
        "repeat" => wrapped(function, Lengthened { repeats: true }),
        "lpad" | "rpad" => wrapped(function, Lengthened { repeats: false }),
        _ => function,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Lengthened {
    /// The second argument counts copies of the first; else it counts the characters of the result.
    repeats: bool,
}

impl Around for Lengthened {
    fn call(&self, inner: &ScalarUDF, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let [text, count, ..] = arguments.args.as_slice() {
            let scalar = matches!((text, count), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
            let rows = if scalar { 1 } else { arguments.number_rows };
            self.check(&text.to_array(rows)?, &count.to_array(rows)?)?;
        }
        inner.inner().invoke_with_args(arguments)
    }
}

impl Lengthened {
    fn check(&self, texts: &ArrayRef, counts: &ArrayRef) -> Result<()> {
        let counts = arrow::compute::cast(counts, &DataType::Int64)?;
        let counts = counts.as_primitive::<Int64Type>();
        let lengths = arrow::compute::cast(&length(texts.as_ref())?, &DataType::Int64)?;
        let lengths = lengths.as_primitive::<Int64Type>();
        let mut budget = Budget::default();
        for row in 0..texts.len() {
            if lengths.is_null(row) || counts.is_null(row) {
                continue;
            }
            let positive = |value: i64| u64::try_from(value).unwrap_or(0);
            let each = if self.repeats { positive(lengths.value(row)) } else { CHARACTER_BYTES_MAX };
            budget.take(each.saturating_mul(positive(counts.value(row))))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    #[test]
    fn what_is_too_long_is_refused_before_it_is_made() {
        let check = |repeats: bool, texts: Vec<Option<&str>>, counts: Vec<Option<i64>>| {
            let (texts, counts): (ArrayRef, ArrayRef) =
                (Arc::new(StringArray::from(texts)), Arc::new(Int64Array::from(counts)));
            Lengthened { repeats }.check(&texts, &counts).map_err(|error| error.to_string())
        };
        let too_long = |result: Result<(), String>| result.unwrap_err().contains("requested length too large");
        assert!(check(true, vec![Some("ab"), None, Some("x")], vec![Some(1 << 27), Some(i64::MAX), None]).is_ok());
        assert!(too_long(check(true, vec![Some("ab")], vec![Some((1 << 27) + 1)])));
        assert!(too_long(check(true, vec![Some("ab")], vec![Some(i64::MAX)])));
        assert!(check(true, vec![Some(""), Some("a")], vec![Some(i64::MAX), Some(i64::MIN)]).is_ok());
        assert!(too_long(check(true, vec![Some("a"); 5], vec![Some(1 << 28); 5])), "all of a batch");
        assert!(check(false, vec![Some("a long text")], vec![Some(1 << 26)]).is_ok());
        assert!(too_long(check(false, vec![Some("")], vec![Some((1 << 26) + 1)])));
    }
}
