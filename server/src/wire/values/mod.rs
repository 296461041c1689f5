//! Arrow values in the text and binary formats of Postgres, and parameters the other way.
//!
//! A column goes: Arrow type and metadata to a [`ColumnType`] (what RowDescription says), arrays to the
//! few storage types that are formatted (one cast per batch where they differ), a row to a `Value`, a value to
//! `text` or `binary`. Parameters go from their OID and format to a `ScalarValue` of the planned type.
//!
//! Texts are those of Postgres with `DateStyle = ISO`, `IntervalStyle = postgres`, `bytea_output = hex` and
//! `extra_float_digits = 1`, whatever a client sets. Trailing zeros of a numeric are not printed.

mod binary;
mod column_type;
mod datetime;
mod float;
mod json;
mod numeric;
pub mod parameter;
mod parse_binary;
mod parse_datetime;
mod parse_text;
mod text;
mod value;
mod zone;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use bytes::{BufMut, BytesMut};

pub use column_type::{ColumnType, Kind, TYPE_METADATA};
pub use zone::Zone;

use super::client_session::ClientSettings;
use super::errors;
use crate::session::SqlError;
use value::ColumnReader;

/// The settings that bear on formats.
#[derive(Clone, Debug, Default)]
pub struct DisplaySettings {
    /// In which zone `timestamptz` is shown and read.
    pub zone: Zone,
}

impl DisplaySettings {
    /// Those of a session.
    pub fn of(session: &impl ClientSettings) -> Self {
        // The session checked the name when it was set; what this build does not know is shown as UTC.
        let zone = session.setting("timezone").and_then(|name| Zone::named(&name));
        Self { zone: zone.unwrap_or_default() }
    }
}

/// Writes the rows of one batch.
pub struct RowEncoder {
    columns: Vec<(ColumnReader, bool)>,
    display: DisplaySettings,
}

impl RowEncoder {
    /// Prepares a batch for its columns as they were described; `formats` holds one code per column.
    pub fn new(
        batch: &RecordBatch,
        columns: &[ColumnType],
        formats: &[i16],
        display: DisplaySettings,
    ) -> Result<Self, SqlError> {
        if batch.num_columns() != columns.len() {
            let message = format!("{} columns were described and {} came", columns.len(), batch.num_columns());
            return Err(errors::internal(message));
        }
        let readers = batch.columns().iter().zip(columns).zip(formats).map(|((array, column), format)| {
            let stored = as_stored(array, column)?;
            Ok((ColumnReader::new(&stored, column)?, *format == 1))
        });
        Ok(Self { columns: readers.collect::<Result<_, SqlError>>()?, display })
    }

    /// Appends the body of DataRow: the number of columns, then every value behind its length.
    pub fn put_row(&self, row: usize, output: &mut BytesMut) -> Result<(), SqlError> {
        output.put_i16(i16::try_from(self.columns.len()).expect("describing bounds the columns"));
        for (reader, binary) in &self.columns {
            match reader.get(row) {
                None => output.put_i32(-1),
                Some(value) => put_sized(output, |output| match binary {
                    true => binary::put(output, &value),
                    false => text::put(output, &value, &self.display),
                })?,
            }
        }
        Ok(())
    }
}

impl RowEncoder {
    /// The values of a row as text, for the commands that print rows themselves.
    pub fn texts(&self, row: usize) -> Result<Vec<Option<String>>, SqlError> {
        let value = |(reader, _): &(ColumnReader, bool)| {
            let Some(value) = reader.get(row) else {
                return Ok(None);
            };
            let mut output = BytesMut::new();
            text::put(&mut output, &value, &self.display)?;
            Ok(Some(String::from_utf8_lossy(&output).into_owned()))
        };
        self.columns.iter().map(value).collect()
    }
}

/// The column in the storage type of its description.
fn as_stored(array: &ArrayRef, column: &ColumnType) -> Result<ArrayRef, SqlError> {
    if array.data_type() == column.storage() {
        return Ok(ArrayRef::clone(array));
    }
    // Not `safe`: a value that does not fit is an error, never a NULL.
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, column.storage(), &options)
        .map_err(|error| errors::datetime_out_of_range(format!("a value can't be shown: {error}")))
}

/// Puts what `write` writes behind its length.
fn put_sized(output: &mut BytesMut, write: impl FnOnce(&mut BytesMut) -> Result<(), SqlError>) -> Result<(), SqlError> {
    let start = output.len();
    output.put_i32(0);
    write(output)?;
    let length = i32::try_from(output.len() - start - 4)
        .map_err(|_| errors::limit_exceeded("a value is larger than 2 GiB", "Select a part of it."))?;
    output[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// The text, if it is JSON.
fn json_text(kind: Kind, text: &str) -> Result<&str, SqlError> {
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Ok(text),
        Err(error) => {
            Err(errors::malformed(format!("invalid input syntax for type {}", kind.sql_name()), format!("{error}.")))
        }
    }
}

#[cfg(test)]
mod tests;
