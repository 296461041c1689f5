//! Values as Postgres prints them: what a cast to text gives and what the wire sends in the text format are the
//! same writing.
//!
//! A column goes: Arrow type and metadata to a [`ColumnType`], arrays to the few storage types that are
//! formatted (one cast per batch where they differ), a row to a [`Value`], a value to [`put_text`].
//!
//! Which of its forms a value is written in says a [`TextStyle`]. Trailing zeros of a numeric are printed where its column
//! says how many digits there are ([`Shown`]), and nowhere else.

mod column_type;
pub mod datetime;
mod float;
pub mod input;
mod interval;
mod json;
mod numeric;
mod shown;
mod style;
mod text;
mod value;
mod zone;

use arrow::array::ArrayRef;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::error::ArrowError;

pub use column_type::{ColumnType, Kind, TYPE_METADATA};
pub use float::{put_float4, put_float8};
pub use interval::put_interval;
pub use json::{put_map as put_map_as_json, put_value as put_json};
pub use numeric::Decimal;
pub use shown::{Described, Digits, Origin, Shown};
pub use style::{DateForm, DateOrder, IntervalForm, TextForms, TextStyle};
pub use text::put as put_text;
pub use value::{ColumnReader, Elements, Entries, RecordField, Value};
pub use zone::{Zone, abbreviation_seconds, offset_seconds};

/// Levels of lists and structs in a value: formatting them recurses.
pub const NESTING_LEVELS: usize = 64;

/// The array in the storage type of its column; a value that does not fit is an error, never a NULL.
pub fn as_stored(array: &ArrayRef, column: &ColumnType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == column.storage() {
        return Ok(ArrayRef::clone(array));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, column.storage(), &options)
}
