//! Arrow values in the text and binary formats of Postgres, and parameters the other way.
//!
//! What a column is shown as, and its text, are the planner's ([`millstream_planner::values`]): casts to text
//! give the same. Here are the binary format and the parameters, which go from their OID and format to a
//! `ScalarValue` of the planned type.

mod binary;
pub mod column;
mod numeric;
pub mod parameter;
mod parse_binary;

use arrow::array::RecordBatch;
use bytes::{BufMut, BytesMut};
use millstream_planner::values::{ColumnReader, as_stored, put_text};

pub use millstream_planner::values::{ColumnType, Kind, TYPE_METADATA, TextStyle, Zone};

use super::client_session::ClientSettings;
use super::errors;
use crate::session::SqlError;

/// The settings that bear on formats.
#[derive(Clone, Debug, Default)]
pub struct DisplaySettings {
    /// In which forms and in which zone values are shown; dates and `timestamptz` are read likewise.
    pub style: TextStyle,
}

impl DisplaySettings {
    /// Those of a session.
    pub fn of(session: &impl ClientSettings) -> Self {
        Self { style: session.text_style() }
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
            let stored = as_stored(array, column)
                .map_err(|error| errors::datetime_out_of_range(format!("a value can't be shown: {error}")))?;
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
                    false => {
                        put_text(output, &value, self.display.style);
                        Ok(())
                    }
                })?,
            }
        }
        Ok(())
    }
}

impl RowEncoder {
    /// Hands every value of a row over as text, with the number of its column; `scratch` is room for one.
    pub fn each_text(&self, row: usize, scratch: &mut BytesMut, mut each: impl FnMut(usize, Option<&[u8]>)) {
        for (index, (reader, _)) in self.columns.iter().enumerate() {
            match reader.get(row) {
                None => each(index, None),
                Some(value) => {
                    scratch.clear();
                    put_text(scratch, &value, self.display.style);
                    each(index, Some(scratch));
                }
            }
        }
    }

    /// The values of a row as text, for the commands that print rows themselves.
    pub fn texts(&self, row: usize) -> Result<Vec<Option<String>>, SqlError> {
        let value = |(reader, _): &(ColumnReader, bool)| {
            let Some(value) = reader.get(row) else {
                return Ok(None);
            };
            let mut output = BytesMut::new();
            put_text(&mut output, &value, self.display.style);
            Ok(Some(String::from_utf8_lossy(&output).into_owned()))
        };
        self.columns.iter().map(value).collect()
    }
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

/// The bytes as text.
fn utf8(bytes: &[u8]) -> Result<&str, SqlError> {
    let text = std::str::from_utf8(bytes).map_err(|_| errors::invalid_encoding())?;
    if text.contains('\0') { Err(errors::invalid_encoding()) } else { Ok(text) }
}

#[cfg(test)]
mod tests;
