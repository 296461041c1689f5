//! `x LIKE ANY (array)`, `x !~ ALL (array)`, `x < ANY ('{...}')` and their like: a value held against every one of an
//! array, in SQL's three-valued logic. A call stands for the expression; no statement can write its name without quotes.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, BooleanBuilder, ListArray, UInt32Array};
use arrow::compute;
use arrow::compute::kernels::cmp;
use arrow::compute::kernels::comparison::{ilike, like, nilike, nlike, regexp_is_match};
use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// The operator, and the names under `ANY` and under `ALL`.
const NAMES: [(&str, &str, &str); 14] = [
    ("~~", "~~ any", "~~ all"),
    ("!~~", "!~~ any", "!~~ all"),
    ("~~*", "~~* any", "~~* all"),
    ("!~~*", "!~~* any", "!~~* all"),
    ("~", "~ any", "~ all"),
    ("!~", "!~ any", "!~ all"),
    ("~*", "~* any", "~* all"),
    ("!~*", "!~* any", "!~* all"),
    ("=", "= any", "= all"),
    ("<>", "<> any", "<> all"),
    ("<", "< any", "< all"),
    ("<=", "<= any", "<= all"),
    (">", "> any", "> all"),
    (">=", ">= any", ">= all"),
];

/// One of each, in no order that means anything.
static FUNCTIONS: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| {
    let both = |(operator, any, all): (&'static str, &'static str, &'static str)| {
        let signature = || Signature::user_defined(Volatility::Immutable);
        [
            Matches { operator, name: any, all: false, signature: signature() },
            Matches { operator, name: all, all: true, signature: signature() },
        ]
    };
    NAMES.into_iter().flat_map(both).map(|one| Arc::new(ScalarUDF::new_from_impl(one))).collect()
});

/// The name of the function that an operator over an array is, if it is one of patterns.
pub(crate) fn matches_name(operator: &str, all: bool) -> Option<&'static str> {
    let (_, of_any, of_all) = NAMES.iter().find(|(known, ..)| *known == operator)?;
    Some(if all { of_all } else { of_any })
}

/// The operator that a function stands for.
pub(crate) fn matches_operator(name: &str) -> Option<&'static str> {
    NAMES.iter().find(|(_, any, all)| *any == name || *all == name).map(|(operator, ..)| *operator)
}

/// Whether an operator compares values of any type, rather than texts with patterns.
pub(crate) fn compares(operator: &str) -> bool {
    matches!(operator, "=" | "<>" | "<" | "<=" | ">" | ">=")
}

/// The function of a name.
pub(crate) fn matches_function(name: &str) -> Option<Arc<ScalarUDF>> {
    FUNCTIONS.iter().find(|function| function.name() == name).cloned()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Matches {
    operator: &'static str,
    name: &'static str,
    all: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Matches {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if let ([left, DataType::List(_)], true) = (types, compares(self.operator)) {
            return Ok(vec![left.clone(), types[1].clone()]);
        }
        Ok(vec![DataType::Utf8, DataType::new_list(DataType::Utf8, true)])
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let mut arrays = arguments.args.into_iter().map(|argument| argument.into_array(rows));
        let (Some(texts), Some(lists)) = (arrays.next().transpose()?, arrays.next().transpose()?) else {
            return datafusion::common::internal_err!("{} takes two arguments", self.name);
        };
        let answers = self.answers(&texts, lists.as_list::<i32>())?;
        Ok(ColumnarValue::Array(Arc::new(answers)))
    }
}

impl Matches {
    fn answers(&self, texts: &ArrayRef, lists: &ListArray) -> Result<BooleanArray> {
        // Every pattern beside the text of its row.
        let mut places = Vec::new();
        let mut of_row = Vec::new();
        for row in 0..lists.len() {
            let (start, end) = (lists.value_offsets()[row] as u32, lists.value_offsets()[row + 1] as u32);
            let patterns = if lists.is_null(row) { start..start } else { start..end };
            of_row.extend(patterns.clone().map(|_| row as u32));
            places.extend(patterns);
        }
        let texts = compute::take(texts, &UInt32Array::from(of_row.clone()), None)?;
        let patterns = compute::take(lists.values(), &UInt32Array::from(places), None)?;
        let found = self.compared(&texts, &patterns)?;
        let mut found = found.iter().zip(of_row).peekable();
        let mut answers = BooleanBuilder::with_capacity(lists.len());
        for row in 0..lists.len() {
            let mut answer = Some(self.all);
            while let Some((here, _)) = found.next_if(|(_, of)| *of as usize == row) {
                answer = match (answer, here) {
                    (Some(decided), _) if decided != self.all => Some(decided),
                    (_, Some(here)) if here != self.all => Some(here),
                    (_, None) | (None, _) => None,
                    (open, Some(_)) => open,
                };
            }
            answers.append_option(if lists.is_null(row) { None } else { answer });
        }
        Ok(answers.finish())
    }

    fn compared(&self, texts: &ArrayRef, patterns: &ArrayRef) -> Result<BooleanArray> {
        let of_regex = |flags: Option<&str>, negated: bool| -> Result<BooleanArray> {
            let flags = flags.map(|flags| arrow::array::StringArray::from(vec![flags; texts.len()]));
            let found = regexp_is_match(texts.as_string::<i32>(), patterns.as_string::<i32>(), flags.as_ref())?;
            // A text or a pattern that is not known leaves the answer open.
            let nulls = arrow::buffer::NullBuffer::union(texts.nulls(), patterns.nulls());
            let found = BooleanArray::new(found.values().clone(), nulls);
            Ok(if negated { compute::not(&found)? } else { found })
        };
        match self.operator {
            "~~" => Ok(like(texts, patterns)?),
            "!~~" => Ok(nlike(texts, patterns)?),
            "~~*" => Ok(ilike(texts, patterns)?),
            "!~~*" => Ok(nilike(texts, patterns)?),
            "=" => Ok(cmp::eq(texts, patterns)?),
            "<>" => Ok(cmp::neq(texts, patterns)?),
            "<" => Ok(cmp::lt(texts, patterns)?),
            "<=" => Ok(cmp::lt_eq(texts, patterns)?),
            ">" => Ok(cmp::gt(texts, patterns)?),
            ">=" => Ok(cmp::gt_eq(texts, patterns)?),
            "~" => of_regex(None, false),
            "!~" => of_regex(None, true),
            "~*" => of_regex(Some("i"), false),
            _ => of_regex(Some("i"), true),
        }
    }
}
