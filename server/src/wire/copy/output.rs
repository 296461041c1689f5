//! The rows of COPY TO STDOUT, one CopyData message a row, as Postgres sends them.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use millstream_planner::copy::{CopyFormat, CopyHeader, CopyOptions};

use super::super::errors;
use super::super::values::RowEncoder;
use crate::session::registry::CopyProgress;
use crate::session::{CopyOut, SqlError};

/// What a binary COPY begins with: the signature, no flags, no extension.
pub(super) const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// Writes the messages of one COPY.
pub(in crate::wire) struct CopyEncoder {
    shape: Arc<CopyOut>,
    force_quote: Vec<bool>,
    /// The header of the binary form travels in the message of the first row: drivers expect both there.
    owes_header: bool,
    scratch: BytesMut,
    /// What others see of it.
    progress: Arc<CopyProgress>,
}

/// Bytes of a message before its data.
const MESSAGE_HEADER_BYTES: usize = 5;

impl CopyEncoder {
    /// Writes CopyOutResponse, and the line of names if it is asked for.
    pub(in crate::wire) fn begin(
        shape: &Arc<CopyOut>,
        progress: Arc<CopyProgress>,
        output: &mut BytesMut,
    ) -> Result<Self, SqlError> {
        let options = &shape.options;
        let names: Vec<&str> = shape.columns.fields().iter().map(|field| field.name().as_str()).collect();
        let force_quote = options.force_quote.among("FORCE_QUOTE", &shape.columns)?;
        let binary = options.format == CopyFormat::Binary;
        response(output, b'H', binary, names.len())?;
        if options.header == CopyHeader::Present {
            put_message(output, |output| {
                for (index, name) in names.iter().enumerate() {
                    if index > 0 {
                        output.put_u8(options.delimiter);
                    }
                    match options.format {
                        CopyFormat::Csv => put_csv(output, name.as_bytes(), options, false, names.len() == 1),
                        CopyFormat::Text | CopyFormat::Binary => {
                            put_escaped(output, name.as_bytes(), options.delimiter)
                        }
                    }
                }
                output.put_u8(b'\n');
                Ok(())
            })?;
        }
        let (shape, scratch) = (Arc::clone(shape), BytesMut::new());
        Ok(Self { shape, force_quote, owes_header: binary, scratch, progress })
    }

    /// The formats of the columns in which its rows have to be encoded.
    pub(in crate::wire) fn formats(shape: &CopyOut) -> Vec<i16> {
        vec![i16::from(shape.options.format == CopyFormat::Binary); shape.columns.fields().len()]
    }

    /// Writes a row; one that fails leaves nothing behind.
    pub(in crate::wire) fn put_row(
        &mut self,
        output: &mut BytesMut,
        encoder: &RowEncoder,
        row: usize,
    ) -> Result<(), SqlError> {
        let Self { shape, force_quote, owes_header, scratch, progress } = self;
        let (options, start) = (&shape.options, output.len());
        put_message(output, |output| match options.format {
            CopyFormat::Binary => {
                put_header(output, owes_header);
                encoder.put_row(row, output)
            }
            CopyFormat::Text => {
                encoder.each_text(row, scratch, |index, text| {
                    if index > 0 {
                        output.put_u8(options.delimiter);
                    }
                    match text {
                        None => output.put_slice(options.null.as_bytes()),
                        Some(text) => put_escaped(output, text, options.delimiter),
                    }
                });
                output.put_u8(b'\n');
                Ok(())
            }
            CopyFormat::Csv => {
                let alone = force_quote.len() == 1;
                encoder.each_text(row, scratch, |index, text| {
                    if index > 0 {
                        output.put_u8(options.delimiter);
                    }
                    match text {
                        None => output.put_slice(options.null.as_bytes()),
                        Some(text) => put_csv(output, text, options, force_quote[index], alone),
                    }
                });
                output.put_u8(b'\n');
                Ok(())
            }
        })?;
        progress.add(1, (output.len() - start - MESSAGE_HEADER_BYTES) as u64);
        Ok(())
    }

    /// Writes what follows the last row, and CopyDone.
    pub(in crate::wire) fn end(mut self, output: &mut BytesMut) -> Result<(), SqlError> {
        if self.shape.options.format == CopyFormat::Binary {
            put_message(output, |output| {
                put_header(output, &mut self.owes_header);
                output.put_i16(-1);
                Ok(())
            })?;
        }
        output.put_u8(b'c');
        output.put_i32(4);
        Ok(())
    }
}

/// CopyInResponse (`G`) or CopyOutResponse (`H`).
pub(super) fn response(output: &mut BytesMut, tag: u8, binary: bool, columns: usize) -> Result<(), SqlError> {
    let count = i16::try_from(columns)
        .map_err(|_| errors::limit_exceeded("COPY has too many columns", "List fewer columns."))?;
    output.put_u8(tag);
    output.put_i32(4 + 1 + 2 + 2 * i32::from(count));
    output.put_u8(u8::from(binary));
    output.put_i16(count);
    for _ in 0..count {
        output.put_i16(i16::from(binary));
    }
    Ok(())
}

/// One CopyData message; a failure leaves nothing behind.
fn put_message(
    output: &mut BytesMut,
    body: impl FnOnce(&mut BytesMut) -> Result<(), SqlError>,
) -> Result<(), SqlError> {
    let start = output.len();
    output.put_u8(b'd');
    output.put_i32(0);
    let written = body(output).and_then(|()| {
        let length = i32::try_from(output.len() - start - 1);
        length.map_err(|_| errors::limit_exceeded("a row is larger than 2 GiB", "Copy fewer or shorter columns."))
    });
    match written {
        Ok(length) => {
            output[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
            Ok(())
        }
        Err(error) => {
            output.truncate(start);
            Err(error)
        }
    }
}

fn put_header(output: &mut BytesMut, owed: &mut bool) {
    if std::mem::take(owed) {
        output.put_slice(SIGNATURE);
        output.put_i32(0);
        output.put_i32(0);
    }
}

/// A value of the text format: what would end it or be read as an escape gets a backslash.
fn put_escaped(output: &mut BytesMut, text: &[u8], delimiter: u8) {
    for byte in text {
        let escaped = match byte {
            b'\\' => b'\\',
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x0b => b'v',
            byte if *byte == delimiter => *byte,
            byte => {
                output.put_u8(*byte);
                continue;
            }
        };
        output.put_slice(&[b'\\', escaped]);
    }
}

/// A value of the CSV format, quoted where it would be read as something else. `alone`: it is the whole line.
fn put_csv(output: &mut BytesMut, text: &[u8], options: &CopyOptions, forced: bool, alone: bool) {
    let special = |byte: &u8| *byte == options.delimiter || *byte == options.quote || matches!(byte, b'\n' | b'\r');
    let quoted = forced || text == options.null.as_bytes() || (alone && text == b"\\.") || text.iter().any(special);
    if !quoted {
        return output.put_slice(text);
    }
    output.put_u8(options.quote);
    for byte in text {
        if *byte == options.quote || *byte == options.escape {
            output.put_u8(options.escape);
        }
        output.put_u8(*byte);
    }
    output.put_u8(options.quote);
}
