//! `char(n)`: its casts, its blanks, and which functions take it as it is.
//!
//! Values are kept without the blanks at their end ([`CHAR`]), so they compare, group and join as Postgres' do. A
//! function takes the text of a `char(n)`, which has none of them either, unless it is named here: some choose among
//! values or gather them, and give `char(n)`; some write what a client would see, with the blanks.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use super::cast::{Conversion, converted};
use super::sql_type;
use crate::bind::refuse;
use crate::error::PlanErrorKind;
use crate::types::CHAR;

/// The function that a cast to `char(n)` is, of a text or an array of texts and, where there is one, the length.
pub(crate) const CHARACTER: &str = "bpchar";

/// Whether a function gives the `char(n)` that it takes, or takes values of any type as they are.
pub(crate) fn keeps_character(name: &str) -> bool {
    const KEEPING: &[&str] = &[
        CHARACTER,
        "coalesce",
        "nvl",
        "nvl2",
        "greatest",
        "least",
        "nullif",
        "make_array",
        "cardinality",
        "flatten",
        "struct",
        "row",
        "named_struct",
        "get_field",
        "pg_typeof",
        "arrow_typeof",
        "num_nulls",
        "num_nonnulls",
        "text_out",
    ];
    let of_array = name.starts_with("array_") && name != "array_to_string";
    KEEPING.contains(&name) || of_array || name.starts_with("cast to ") || name.starts_with(SHOWN)
}

/// Whether a function writes the blanks of a `char(n)`, too.
pub(crate) fn shows_blanks(name: &str) -> bool {
    let json = ["json_build", "jsonb_build", "to_json"].iter().any(|prefix| name.starts_with(prefix));
    json || matches!(name, "concat" | "concat_ws" | "format" | "octet_length" | "array_to_string")
}

/// A text, or an array of texts, as `char(n)`: what is longer than `length` characters is cut.
pub(crate) fn character(text: Expr, length: Option<u64>) -> Expr {
    let length = length.and_then(|length| i64::try_from(length).ok());
    let length = length.map(|length| Expr::Literal(ScalarValue::Int64(Some(length)), None));
    function().call([text].into_iter().chain(length).collect())
}

/// The length that a call of [`CHARACTER`] has.
pub(crate) fn length(argument: &Expr) -> Option<i64> {
    match argument {
        Expr::Literal(ScalarValue::Int64(length), _) => *length,
        Expr::Literal(ScalarValue::Int32(length), _) => length.map(i64::from),
        _ => None,
    }
}

/// The function [`CHARACTER`].
pub(super) fn function() -> Arc<ScalarUDF> {
    let signature = Signature::one_of(vec![TypeSignature::Any(1), TypeSignature::Any(2)], Volatility::Immutable);
    Arc::new(ScalarUDF::from(Character { signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Character {
    signature: Signature,
}

impl ScalarUDFImpl for Character {
    fn name(&self) -> &str {
        CHARACTER
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        characters_of(&arguments[0])
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let length = match arguments.args.get(1) {
            None => None,
            Some(ColumnarValue::Scalar(ScalarValue::Int64(Some(length)))) => usize::try_from(*length).ok(),
            Some(ColumnarValue::Scalar(ScalarValue::Int32(Some(length)))) => usize::try_from(*length).ok(),
            Some(_) => return Err(DataFusionError::Internal("the length of a char(n) is a number".to_string())),
        };
        let target = arguments.return_field.data_type();
        Ok(match &arguments.args[0] {
            ColumnarValue::Array(texts) => ColumnarValue::Array(cut(texts, target, length)?),
            ColumnarValue::Scalar(text) => {
                let cut = cut(&text.to_array()?, target, length)?;
                ColumnarValue::Scalar(ScalarValue::try_from_array(&cut, 0)?)
            }
        })
    }
}

/// The type of `char(n)` that texts of a type become.
fn characters_of(texts: &DataType) -> Result<DataType> {
    match texts {
        DataType::List(element) => {
            Ok(DataType::List(Arc::new(Field::new_list_field(characters_of(element.data_type())?, true))))
        }
        DataType::Utf8 | DataType::Null => Ok(CHAR),
        texts if *texts == CHAR => Ok(CHAR),
        other => {
            let message = format!("function {CHARACTER}({}) does not exist", sql_type(other));
            Err(refuse(PlanErrorKind::UndefinedFunction, message))
        }
    }
}

/// The first characters of each text without the blanks at its end.
fn cut(texts: &ArrayRef, target: &DataType, length: Option<usize>) -> Result<ArrayRef> {
    if let (DataType::List(_), DataType::List(element)) = (texts.data_type(), target) {
        let lists = texts.as_list::<i32>();
        let elements = cut(lists.values(), element.data_type(), length)?;
        let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
        return Ok(Arc::new(ListArray::try_new(Arc::clone(element), offsets, elements, nulls)?));
    }
    let texts = cast(texts, &DataType::Utf8)?;
    let first = |text: &'_ str| match length.and_then(|length| text.char_indices().nth(length)) {
        Some((end, _)) => end,
        None => text.len(),
    };
    let texts = texts.as_string::<i32>().iter();
    let cut = texts.map(|text| text.map(|text| text[..first(text)].trim_end_matches(' ')));
    Ok(Arc::new(cut.collect::<StringViewArray>()))
}

/// What names of [`padded`] begin with.
const SHOWN: &str = "text of character";

/// The text of a `char(n)`, or the texts of an array of them, as they are shown: `length` characters at least.
pub(crate) fn padded(value: Expr, target: &DataType, length: usize) -> Expr {
    converted(value, target, Padded { length })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Padded {
    length: usize,
}

impl Conversion for Padded {
    fn name(&self, _target: &DataType) -> String {
        format!("{SHOWN}({})", self.length)
    }

    fn convert(&self, values: &ArrayRef, _source: &FieldRef, target: &DataType) -> Result<ArrayRef> {
        if let (DataType::List(_), DataType::List(element)) = (values.data_type(), target) {
            let lists = values.as_list::<i32>();
            let elements = self.convert(lists.values(), element, element.data_type())?;
            let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
            return Ok(Arc::new(ListArray::try_new(Arc::clone(element), offsets, elements, nulls)?));
        }
        let length = self.length;
        let texts = values.as_string_view().iter().map(|text| text.map(|text| format!("{text:<length$}")));
        Ok(Arc::new(texts.collect::<StringArray>()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    use datafusion::common::DFSchema;
    use datafusion::logical_expr::ExprSchemable;

    fn value(text: &str, target: &DataType) -> Expr {
        let text = ScalarValue::Utf8(Some(text.to_string())).cast_to(target).unwrap();
        Expr::Literal(text, None)
    }

    /// All that takes a text takes a `char(n)`, too, when its type is asked for before it was made text of.
    #[test]
    fn functions_of_texts_have_a_type_for_char() {
        let registry = super::super::registry();
        let others = [None, Some(DataType::Utf8), Some(DataType::Int64)];
        // Those of moments take a text for a literal whose type is not known yet.
        let of_moments: Vec<String> =
            super::super::moments::functions().map(|function| function.name().to_string()).collect();
        for name in registry.scalar_names() {
            let function = registry.scalar(&name).unwrap();
            let pairs = others.iter().flat_map(|second| others.iter().map(move |third| [second, third]));
            for rest in pairs.filter(|[second, third]| second.is_some() || third.is_none()) {
                let call = |first: &DataType| {
                    let null = |other: &DataType| Expr::Literal(ScalarValue::try_from(other).unwrap(), None);
                    let rest = rest.iter().filter_map(|other| other.as_ref()).map(null);
                    function.call([value("a", first)].into_iter().chain(rest).collect()).get_type(&DFSchema::empty())
                };
                if !of_moments.iter().any(|moment| moment == function.name()) && call(&DataType::Utf8).is_ok() {
                    let found = call(&CHAR);
                    assert!(found.is_ok(), "{name} {rest:?}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn texts_are_cut_by_characters_and_lose_their_blanks() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("äöü b  "), Some("a "), Some("  "), None]));
        let of = |length| {
            let cut = cut(&texts, &CHAR, length).unwrap();
            cut.as_string_view().iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
        };
        let texts =
            |texts: [&str; 3]| texts.map(|text| Some(text.to_owned())).into_iter().chain([None]).collect::<Vec<_>>();
        assert_eq!(of(None), texts(["äöü b", "a", ""]));
        assert_eq!(of(Some(4)), texts(["äöü", "a", ""]));
        assert_eq!(of(Some(1)), texts(["ä", "a", ""]));
    }

    #[test]
    fn blanks_are_shown_up_to_the_length() {
        let values: ArrayRef = Arc::new(StringViewArray::from(vec![Some("äö"), Some("abcd"), None]));
        let field = Arc::new(Field::new("c", CHAR, true));
        let shown = Padded { length: 3 }.convert(&values, &field, &DataType::Utf8).unwrap();
        assert_eq!(shown.as_string::<i32>().iter().collect::<Vec<_>>(), [Some("äö "), Some("abcd"), None]);
    }
}
