//! What declared types say of texts beyond their Arrow type: the most characters of a `varchar(n)`, and that blanks at
//! the end of a `char(n)` are not kept.
//!
//! `char(n)` is the type [`BLANK_PADDED`], and nothing in a relation of that type has blanks at its end: operators
//! compare, join and group its values by their bytes.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, RecordBatch, RecordBatchOptions, StringArray, StringViewArray,
};
use arrow::datatypes::DataType;

use crate::error::{Error, Result};
use crate::plan::BLANK_PADDED;

/// The rows, without the blanks at the end of each `char(n)`.
pub(super) fn without_blanks(rows: &RecordBatch) -> Result<RecordBatch> {
    let cut: Vec<Option<ArrayRef>> = rows.columns().iter().map(cut_blanks).collect::<Result<_>>()?;
    if cut.iter().all(Option::is_none) {
        return Ok(rows.clone());
    }
    let columns = cut.into_iter().zip(rows.columns()).map(|(cut, column)| cut.unwrap_or_else(|| Arc::clone(column)));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(rows.schema(), columns.collect(), &options)?)
}

/// The column without these blanks, if it has any.
fn cut_blanks(column: &ArrayRef) -> Result<Option<ArrayRef>> {
    match column.data_type() {
        data_type if *data_type == BLANK_PADDED => {
            let texts = column.as_string_view();
            if !texts.iter().flatten().any(|text| text.ends_with(' ')) {
                return Ok(None);
            }
            let cut: StringViewArray = texts.iter().map(|text| text.map(|text| text.trim_end_matches(' '))).collect();
            Ok(Some(Arc::new(cut)))
        }
        DataType::List(element) if *element.data_type() == BLANK_PADDED || element.data_type().is_nested() => {
            let lists = column.as_list::<i32>();
            let Some(elements) = cut_blanks(lists.values())? else { return Ok(None) };
            let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
            Ok(Some(Arc::new(ListArray::try_new(Arc::clone(element), offsets, elements, nulls)?)))
        }
        _ => Ok(None),
    }
}

/// What becomes of a column that may have texts longer than it takes.
pub(super) struct Fitted {
    /// By row, whether its value fits.
    pub(super) keep: Vec<bool>,
    /// The column, blanks that were too many cut; as in Postgres they are no reason to refuse a text.
    pub(super) column: ArrayRef,
    /// Why the others are refused.
    pub(super) reason: String,
}

/// Holds a column to its length in characters; `None` if all of it is within.
pub(super) fn fitted(column: &ArrayRef, length_max: usize) -> Result<Option<Fitted>> {
    // A character has at least one byte.
    let within = |text: &str| text.len() <= length_max || text.chars().count() <= length_max;
    match column.data_type() {
        DataType::Utf8 => {
            let texts = column.as_string::<i32>();
            if texts.iter().flatten().all(within) {
                return Ok(None);
            }
            let end = |text: &str| text.char_indices().nth(length_max).map_or(text.len(), |(end, _)| end);
            let fits = |text: &str| text[end(text)..].bytes().all(|byte| byte == b' ');
            let keep = texts.iter().map(|text| text.is_none_or(fits)).collect();
            let cut: StringArray = texts.iter().map(|text| text.map(|text| &text[..end(text)])).collect();
            let reason = format!("value too long for type character varying({length_max})");
            Ok(Some(Fitted { keep, column: Arc::new(cut), reason }))
        }
        DataType::List(_) | DataType::Utf8View => {
            let keep: Vec<bool> =
                (0..column.len()).map(|row| all_within(column, row, &within)).collect::<Result<_>>()?;
            if keep.iter().all(|keep| *keep) {
                return Ok(None);
            }
            let reason = format!("value too long for type character({length_max})");
            Ok(Some(Fitted { keep, column: Arc::clone(column), reason }))
        }
        other => Err(Error::internal(format!("{other} has no length in characters"))),
    }
}

/// Whether a `char(n)`, or each one in an array, is within its length.
fn all_within(column: &ArrayRef, row: usize, within: &dyn Fn(&str) -> bool) -> Result<bool> {
    match column.data_type() {
        _ if column.is_null(row) => Ok(true),
        DataType::Utf8View => Ok(within(column.as_string_view().value(row))),
        DataType::List(_) => {
            let elements = column.as_list::<i32>().value(row);
            (0..elements.len()).try_fold(true, |all, element| Ok(all && all_within(&elements, element, within)?))
        }
        other => Err(Error::internal(format!("{other} has no length in characters"))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use arrow::array::{Int64Array, ListBuilder, StringViewBuilder};
    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn lists(rows: &[&[&str]]) -> ArrayRef {
        let mut lists = ListBuilder::new(StringViewBuilder::new());
        for row in rows {
            row.iter().for_each(|text| lists.values().append_value(text));
            lists.append(true);
        }
        Arc::new(lists.finish())
    }

    #[test]
    fn blanks_of_blank_padded_texts_are_cut_and_others_stay() {
        let padded: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a  "), None, Some(" b\t ")]));
        let plain: ArrayRef = Arc::new(StringArray::from(vec!["a  ", "b", " "]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let arrays = lists(&[&["x ", "y"], &[], &["   "]]);
        let columns = vec![padded, Arc::clone(&plain), Arc::clone(&numbers), arrays];
        let fields = columns.iter().map(|column| Field::new("c", column.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let rows = without_blanks(&RecordBatch::try_new(schema, columns).unwrap()).unwrap();
        assert_eq!(rows.column(0).as_string_view().iter().collect::<Vec<_>>(), [Some("a"), None, Some(" b\t")]);
        assert_eq!((rows.column(1), rows.column(2)), (&plain, &numbers));
        assert_eq!(rows.column(3), &lists(&[&["x", "y"], &[], &[""]]));
    }

    #[test]
    fn what_is_too_long_is_refused_by_characters() {
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec![Some("äöü"), Some("abcd"), None]));
        let refused = fitted(&texts, 3).unwrap().unwrap();
        assert_eq!(
            (refused.keep, refused.reason.as_str()),
            (vec![true, false, true], "value too long for type character(3)")
        );
        assert!(fitted(&texts, 4).unwrap().is_none());
        let refused = fitted(&lists(&[&["abc", "ab"], &["a"]]), 2).unwrap().unwrap();
        assert_eq!(refused.keep, [false, true]);
    }
}
