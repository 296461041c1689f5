//! Makes batches of the data of a COPY, and says of every error where in the data it arose.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use bytes::Bytes;
use millstream_planner::copy::{CopyFormat, CopyHeader, CopyIn};

use super::super::errors;
use super::super::limits::{COPY_SLICE_BYTES, COPY_SLICE_ROWS};
use super::super::values::DisplaySettings;
use super::super::values::column::ColumnBuilder;
use super::binary::Tuples;
use super::fields::{Fields, Forced};
use super::lines::{Line, Lines};
use crate::session::SqlError;

/// Bytes of the data that an error shows, as in Postgres.
const SHOWN_BYTES: usize = 100;

/// Reads the data of one COPY.
pub(super) struct Decoder {
    shape: Arc<CopyIn>,
    columns: Vec<ColumnBuilder>,
    form: Form,
    /// The line of every row of the batch that is being built.
    lines: Vec<u64>,
    /// The same of the batch that was taken last.
    taken: Vec<u64>,
    /// Bytes of data in the batch that is being built.
    bytes: usize,
}

enum Form {
    Lines { lines: Lines, fields: Fields, header: CopyHeader, not_null: Vec<bool>, null: Vec<bool> },
    Binary(Tuples),
}

impl Decoder {
    pub(super) fn new(shape: &Arc<CopyIn>, display: &DisplaySettings) -> Result<Self, SqlError> {
        let options = &shape.options;
        let fields = shape.columns.fields();
        let columns =
            fields.iter().map(|field| ColumnBuilder::new(field, display.clone())).collect::<Result<_, _>>()?;
        let form = match options.format {
            CopyFormat::Binary => Form::Binary(Tuples::new(fields.len())),
            CopyFormat::Text | CopyFormat::Csv => Form::Lines {
                lines: Lines::new(options),
                fields: Fields::default(),
                header: options.header,
                not_null: options.force_not_null.among("FORCE_NOT_NULL", &shape.columns)?,
                null: options.force_null.among("FORCE_NULL", &shape.columns)?,
            },
        };
        Ok(Self { shape: Arc::clone(shape), columns, form, lines: Vec::new(), taken: Vec::new(), bytes: 0 })
    }

    /// More data has come.
    pub(super) fn feed(&mut self, bytes: Bytes) -> Result<(), SqlError> {
        match &mut self.form {
            Form::Lines { lines, .. } => lines.feed(&bytes),
            Form::Binary(tuples) => tuples.feed(&bytes).map_err(|error| self.at_current(error))?,
        }
        Ok(())
    }

    /// Reads rows until a batch is full or the data that is there is used up; whether the batch is full. `last`
    /// says that no more data will come.
    pub(super) fn decode(&mut self, last: bool) -> Result<bool, SqlError> {
        while self.bytes < COPY_SLICE_BYTES && self.lines.len() < COPY_SLICE_ROWS {
            let read = match &self.form {
                Form::Lines { .. } => self.decode_line(last)?,
                Form::Binary(_) => self.decode_tuple(last)?,
            };
            if !read {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The rows read so far, as a batch; `None` when there are none.
    pub(super) fn take(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        if self.lines.is_empty() {
            return Ok(None);
        }
        self.taken = std::mem::take(&mut self.lines);
        self.bytes = 0;
        let columns = self.columns.iter_mut().map(ColumnBuilder::finish).collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.taken.len()));
        Ok(Some(RecordBatch::try_new_with_options(Arc::clone(&self.shape.columns), columns, &options)?))
    }

    /// Where a row of the batch taken last stood; without a row, where the data has been read to.
    pub(super) fn place(&self, row: Option<usize>) -> String {
        let line = match row {
            Some(row) => self.taken.get(row),
            None => self.taken.last(),
        };
        let table = &self.shape.table;
        line.map_or_else(|| format!("COPY {table}"), |line| format!("COPY {table}, line {line}"))
    }

    fn decode_line(&mut self, last: bool) -> Result<bool, SqlError> {
        let Self { shape, columns, form, lines: numbers, bytes, .. } = self;
        let Form::Lines { lines, fields, header, not_null, null } = form else { return Ok(false) };
        let (options, table) = (&shape.options, &shape.table);
        let at_line = |number: u64, error: SqlError| error.with_context(format!("COPY {table}, line {number}"));
        let next = lines.next(last).map_err(|error| at_line(lines.current_number(), error))?;
        let Some(line) = next else { return Ok(false) };
        match options.format {
            CopyFormat::Csv => fields
                .cut_csv(&line.text, options, &Forced { not_null, null })
                .map_err(|error| whole_line(table, &line, error))?,
            CopyFormat::Text | CopyFormat::Binary => fields.cut_text(&line.text, options),
        }
        match std::mem::replace(header, CopyHeader::Absent) {
            CopyHeader::Absent => {}
            CopyHeader::Present => return Ok(true),
            CopyHeader::Match => {
                check_header(shape, fields, &line).map_err(|error| whole_line(table, &line, error))?;
                return Ok(true);
            }
        }
        if fields.len() > columns.len() {
            return Err(whole_line(table, &line, errors::bad_copy("extra data after last expected column")));
        }
        for (index, column) in columns.iter_mut().enumerate() {
            if index >= fields.len() {
                let message = format!("missing data for column \"{}\"", shape.columns.field(index).name());
                return Err(whole_line(table, &line, errors::bad_copy(message)));
            }
            let value = fields.get(index, &line.text, options);
            let put = value.map(text_of).transpose().and_then(|text| column.put_text(text));
            put.map_err(|error| {
                let name = shape.columns.field(index).name();
                let shown = value.map_or_else(|| "null input".to_string(), |value| format!("\"{}\"", clipped(value)));
                error.with_context(format!("COPY {table}, line {}, column {name}: {shown}", line.number))
            })?;
        }
        numbers.push(line.number);
        *bytes += line.text.len() + 1;
        Ok(true)
    }

    fn decode_tuple(&mut self, last: bool) -> Result<bool, SqlError> {
        let number = self.current_number();
        let Self { shape, columns, form, lines: numbers, bytes, .. } = self;
        let Form::Binary(tuples) = form else { return Ok(false) };
        let table = &shape.table;
        let at_row = |error: SqlError| error.with_context(format!("COPY {table}, line {number}"));
        let Some(tuple) = tuples.next(last).map_err(at_row)? else { return Ok(false) };
        for (index, (column, value)) in columns.iter_mut().zip(&tuple.values).enumerate() {
            column.put_binary(value.as_deref()).map_err(|error| {
                let name = shape.columns.field(index).name();
                error.with_context(format!("COPY {table}, line {number}, column {name}"))
            })?;
        }
        numbers.push(number);
        *bytes += tuple.size_bytes;
        Ok(true)
    }

    /// The number of the row that is read next.
    fn current_number(&self) -> u64 {
        match &self.form {
            Form::Lines { lines, .. } => lines.current_number(),
            Form::Binary(tuples) => tuples.count() + 1,
        }
    }

    fn at_current(&self, error: SqlError) -> SqlError {
        error.with_context(format!("COPY {}, line {}", self.shape.table, self.current_number()))
    }
}

/// A value's bytes as text.
fn text_of(bytes: &[u8]) -> Result<&str, SqlError> {
    match std::str::from_utf8(bytes) {
        Ok(text) if memchr::memchr(0, bytes).is_none() => Ok(text),
        _ => Err(errors::invalid_encoding()),
    }
}

fn whole_line(table: &str, line: &Line, error: SqlError) -> SqlError {
    error.with_context(format!("COPY {table}, line {}: \"{}\"", line.number, clipped(&line.text)))
}

/// The beginning of what the client sent, for a message.
fn clipped(bytes: &[u8]) -> String {
    if bytes.len() <= SHOWN_BYTES {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut end = SHOWN_BYTES;
    while end > 0 && bytes[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    format!("{}...", String::from_utf8_lossy(&bytes[..end]))
}

fn check_header(shape: &CopyIn, fields: &Fields, line: &Line) -> Result<(), SqlError> {
    let expected = shape.columns.fields();
    if fields.len() != expected.len() {
        let (found, expected) = (fields.len(), expected.len());
        let message = format!("wrong number of fields in header line: got {found}, expected {expected}");
        return Err(errors::bad_copy(message));
    }
    for (index, field) in expected.iter().enumerate() {
        let found = fields.get(index, &line.text, &shape.options);
        if found == Some(field.name().as_bytes()) {
            continue;
        }
        let shown = match found {
            Some(found) => format!("\"{}\"", clipped(found)),
            None => format!("null value (\"{}\")", shape.options.null),
        };
        let message = format!(
            "column name mismatch in header line field {}: got {shown}, expected \"{}\"",
            index + 1,
            field.name()
        );
        return Err(errors::bad_copy(message));
    }
    Ok(())
}
