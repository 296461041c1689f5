//! Rows as JSON objects: one per row, fields in the order of the columns, NULL as `null`.
//!
//! | type | JSON |
//! |---|---|
//! | boolean, integers, floats | themselves; a float that is not finite is refused |
//! | numeric | a number, without trailing zeros |
//! | varchar, uuid | a string |
//! | bytea | a string: base64 |
//! | date, time, timestamp, timestamptz, interval | a string: ISO 8601, a timestamptz with `Z` |
//! | jsonb, json | itself |
//! | array, struct | an array, an object |

use arrow::array::RecordBatch;
use millstream_runtime::Result;

use crate::formats::cells::{CellKind, Cells, Refusal};

/// The rows of a batch as JSON objects.
#[derive(Debug)]
pub struct JsonRows<'a> {
    fields: Vec<(Vec<u8>, Cells<'a>)>,
}

impl<'a> JsonRows<'a> {
    /// An `Invalid` error names a column whose type has no JSON.
    pub fn new(rows: &'a RecordBatch) -> Result<Self> {
        let columns = rows.schema_ref().fields().iter().zip(rows.columns());
        let fields = columns.map(|(field, array)| Ok((quoted_key(field.name()), Cells::new(field, array)?)));
        Ok(Self { fields: fields.collect::<Result<_>>()? })
    }

    /// Appends the object of a row, without a line end. A refusal names the column, and appends nothing.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), String> {
        let start = out.len();
        let result = write_object(&self.fields, row, out);
        if result.is_err() {
            out.truncate(start);
        }
        result
    }
}

/// `"name":`
pub(crate) fn quoted_key(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 3);
    write_string(name, &mut out);
    out.push(b':');
    out
}

fn write_object(fields: &[(Vec<u8>, Cells<'_>)], row: usize, out: &mut Vec<u8>) -> Result<(), Refusal> {
    out.push(b'{');
    for (index, (key, cells)) in fields.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(key);
        write_value(cells, row, out).map_err(|refusal| {
            let name = String::from_utf8_lossy(&key[..key.len() - 1]);
            if refusal.starts_with("column ") { refusal } else { format!("column {name}: {refusal}") }
        })?;
    }
    out.push(b'}');
    Ok(())
}

/// Appends one value; also what a nested value is in CSV.
pub(crate) fn write_value(cells: &Cells<'_>, row: usize, out: &mut Vec<u8>) -> Result<(), Refusal> {
    if cells.is_null(row) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    match &cells.kind {
        CellKind::Boolean(_) | CellKind::Int16(_) | CellKind::Int32(_) | CellKind::Int64(_) => {
            cells.write_text(row, out)
        }
        CellKind::Float32(_) | CellKind::Float64(_) | CellKind::Decimal128(..) | CellKind::Decimal256(..) => {
            cells.write_text(row, out)
        }
        CellKind::Text(array) => {
            write_string(array.value(row), out);
            Ok(())
        }
        CellKind::Char(array) => {
            write_string(array.value(row), out);
            Ok(())
        }
        CellKind::Jsonb(array) => {
            out.extend_from_slice(array.value(row).as_bytes());
            Ok(())
        }
        CellKind::Json(array) => {
            // Between its tokens JSON may have line ends, which would break JSON lines; in strings it has none.
            out.extend(
                array.value(row).iter().copied().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }),
            );
            Ok(())
        }
        CellKind::Bytes(_) | CellKind::Uuid(_) | CellKind::Date(_) | CellKind::Time(_) => quoted(cells, row, out),
        CellKind::Timestamp(..) | CellKind::Interval(_) => quoted(cells, row, out),
        CellKind::List(lists, elements) => {
            out.push(b'[');
            let offsets = lists.value_offsets();
            let range = offsets[row] as usize..offsets[row + 1] as usize;
            for element in range.clone() {
                if element > range.start {
                    out.push(b',');
                }
                write_value(elements, element, out)?;
            }
            out.push(b']');
            Ok(())
        }
        CellKind::Struct(fields) => write_object(fields, row, out),
    }
}

/// A text that needs no escapes.
fn quoted(cells: &Cells<'_>, row: usize, out: &mut Vec<u8>) -> Result<(), Refusal> {
    out.push(b'"');
    cells.write_text(row, out)?;
    out.push(b'"');
    Ok(())
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
}
