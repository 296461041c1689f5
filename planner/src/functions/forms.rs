//! The frame of functions with forms: which types of arguments a function has, of which a call takes the first form
//! that fits, as Postgres chooses among functions of one name. NULL fits everywhere.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::sql_type;
use crate::bind::NO_FUNCTION;
use crate::error::{PlanError, PlanErrorKind};

/// What an argument may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Takes {
    /// `integer`, and what is narrower.
    Int,
    /// `bigint`, and what is narrower.
    Bigint,
    /// Any number, as `double precision`.
    Float,
    Text,
    Bytes,
    /// An array of anything.
    List,
    /// An array of `integer`.
    Ints,
    /// What the elements of the first argument are.
    Element,
    Anything,
}

/// What a form gives.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gives {
    Int,
    Float,
    Text,
    Texts,
    Bytes,
    /// What the first argument is.
    First,
    /// What the elements of the first argument are.
    Element,
    /// An array of what the first argument is.
    ListOfFirst,
}

/// The values of a form: the arguments in the types that it takes, all of one length.
pub(super) type Rows = fn(&[ArrayRef], &DataType, usize) -> Result<ArrayRef>;

/// One form of a function.
pub(super) struct Form {
    pub(super) takes: &'static [Takes],
    /// Whether the last argument may come more often, or not at all.
    pub(super) variadic: bool,
    pub(super) gives: Gives,
    pub(super) rows: Rows,
}

/// A form with as many arguments as are named.
pub(super) const fn form(takes: &'static [Takes], gives: Gives, rows: Rows) -> Form {
    Form { takes, variadic: false, gives, rows }
}

/// A form whose last argument may come more often, or not at all.
pub(super) const fn variadic(takes: &'static [Takes], gives: Gives, rows: Rows) -> Form {
    Form { takes, variadic: true, gives, rows }
}

impl Form {
    /// The types in which it takes these arguments, if it does.
    fn coerced(&self, found: &[DataType]) -> Option<Vec<DataType>> {
        let wanted = match self.variadic {
            true if found.len() + 1 >= self.takes.len() => self.takes.len().max(found.len()),
            false if found.len() == self.takes.len() => found.len(),
            _ => return None,
        };
        let takes = |place: usize| self.takes[place.min(self.takes.len() - 1)];
        let mut types: Vec<DataType> = Vec::with_capacity(wanted);
        for (place, data_type) in found.iter().enumerate() {
            types.push(taken(takes(place), data_type, types.first())?);
        }
        Some(types)
    }

    fn gives(&self, first: Option<&DataType>) -> DataType {
        let first = || first.cloned().unwrap_or(DataType::Null);
        match self.gives {
            Gives::Int => DataType::Int32,
            Gives::Float => DataType::Float64,
            Gives::Text => DataType::Utf8,
            Gives::Texts => DataType::new_list(DataType::Utf8, true),
            Gives::Bytes => DataType::Binary,
            Gives::First => first(),
            Gives::Element => element_of(&first()).unwrap_or(DataType::Null),
            Gives::ListOfFirst => DataType::new_list(first(), true),
        }
    }
}

/// The type of the elements of an array.
fn element_of(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::List(element) => Some(element.data_type().clone()),
        _ => None,
    }
}

/// The type in which an argument is taken.
fn taken(takes: Takes, found: &DataType, first: Option<&DataType>) -> Option<DataType> {
    let null = found.is_null();
    let narrow = matches!(found, DataType::Int8 | DataType::Int16 | DataType::Int32);
    match takes {
        Takes::Int => (null || narrow).then_some(DataType::Int32),
        Takes::Bigint => (null || narrow || *found == DataType::Int64).then_some(DataType::Int64),
        Takes::Float => (null || found.is_numeric()).then_some(DataType::Float64),
        Takes::Text => (null || matches!(found, DataType::Utf8 | DataType::Utf8View)).then_some(DataType::Utf8),
        Takes::Bytes => (null || *found == DataType::Binary).then_some(DataType::Binary),
        Takes::List => match found {
            DataType::List(_) => Some(found.clone()),
            _ => null.then(|| DataType::new_list(DataType::Null, true)),
        },
        Takes::Ints => {
            let wanted = DataType::new_list(DataType::Int32, true);
            let integers = element_of(found).is_some_and(|element| element.is_integer() || element.is_null());
            (null || integers).then_some(wanted)
        }
        Takes::Element => {
            let element = element_of(first?)?;
            let fits = null || element == *found || (element.is_numeric() && found.is_numeric());
            fits.then_some(element)
        }
        Takes::Anything => Some(found.clone()),
    }
}

/// That there is no function of this name for such arguments.
pub(super) fn undefined(name: &str, types: &str) -> DataFusionError {
    // Postgres' name of it is the shorter one.
    let name = if name == "character_length" { "length" } else { name };
    let message = format!("function {name}({types}) does not exist");
    let error = PlanError::new(PlanErrorKind::UndefinedFunction, message).with_hint(NO_FUNCTION);
    DataFusionError::External(Box::new(error))
}

/// A function of ours with its forms.
pub(super) fn function(name: &'static str, aliases: &[&str], forms: &'static [Form]) -> Arc<ScalarUDF> {
    let aliases = aliases.iter().map(ToString::to_string).collect();
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::from(Formed { name, aliases, forms, signature }))
}

struct Formed {
    name: &'static str,
    aliases: Vec<String>,
    forms: &'static [Form],
    signature: Signature,
}

impl std::fmt::Debug for Formed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Formed").field("name", &self.name).finish_non_exhaustive()
    }
}

// There is one function of a name.
impl PartialEq for Formed {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Formed {}

impl Hash for Formed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Formed {
    fn fitting(&self, found: &[DataType]) -> Result<(&'static Form, Vec<DataType>)> {
        let fits = |form: &'static Form| form.coerced(found).map(|types| (form, types));
        self.forms.iter().find_map(fits).ok_or_else(|| {
            let types: Vec<String> = found.iter().map(sql_type).collect();
            undefined(self.name, &types.join(", "))
        })
    }
}

impl ScalarUDFImpl for Formed {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, found: &[DataType]) -> Result<Vec<DataType>> {
        Ok(self.fitting(found)?.1)
    }

    fn return_type(&self, found: &[DataType]) -> Result<DataType> {
        let (form, types) = self.fitting(found)?;
        Ok(form.gives(types.first()))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { arguments.number_rows };
        let columns = arguments.args.iter().map(|argument| argument.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let found: Vec<DataType> = columns.iter().map(|column| column.data_type().clone()).collect();
        let (form, _) = self.fitting(&found)?;
        let result = (form.rows)(&columns, arguments.return_field.data_type(), rows)?;
        match scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            false => Ok(ColumnarValue::Array(result)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const FORMS: &[Form] = &[
        form(&[Takes::Int], Gives::Int, |columns, _, _| Ok(Arc::clone(&columns[0]))),
        form(&[Takes::Float], Gives::Float, |columns, _, _| Ok(Arc::clone(&columns[0]))),
        form(&[Takes::List, Takes::Element], Gives::Element, |columns, _, _| Ok(Arc::clone(&columns[1]))),
        variadic(&[Takes::Text, Takes::Text], Gives::Texts, |columns, _, _| Ok(Arc::clone(&columns[0]))),
    ];

    #[test]
    fn the_first_form_that_fits_is_taken() {
        let function = function("formed", &[], FORMS);
        let types = |found: &[DataType]| function.coerce_types(found).map(|types| types.to_vec());
        assert_eq!(types(&[DataType::Int16]).unwrap(), [DataType::Int32]);
        assert_eq!(types(&[DataType::Int64]).unwrap(), [DataType::Float64]);
        assert_eq!(types(&[DataType::Null]).unwrap(), [DataType::Int32]);
        let list = DataType::new_list(DataType::Int64, true);
        assert_eq!(types(&[list.clone(), DataType::Int32]).unwrap(), [list.clone(), DataType::Int64]);
        assert_eq!(function.return_type(&[list.clone(), DataType::Int64]).unwrap(), DataType::Int64);
        assert_eq!(types(&[DataType::Utf8]).unwrap(), [DataType::Utf8]);
        assert_eq!(types(&[DataType::Utf8, DataType::Utf8, DataType::Utf8]).unwrap().len(), 3);
        let error = types(&[DataType::Boolean, list]).unwrap_err().to_string();
        assert!(error.contains("function formed(boolean, bigint[]) does not exist"), "{error}");
        assert!(types(&[]).is_err());
    }
}
