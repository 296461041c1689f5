//! CSV (RFC 4180): fields in declared order, or named by a header.
//!
//! An unquoted field that equals the option `null` (the empty text unless set) is NULL; a quoted one never is.

use arrow::array::RecordBatch;
use millstream_runtime::source::{ConnectorSpec, FormatSpec};
use millstream_runtime::{Error, Result};

use super::cells::{CellKind, Cells};
use super::fault::Fault;
use super::json::encode::write_value;
use super::node::{Kind, Node};
use super::{Reason, not_utf8};
use crate::options::{Options, wrong};

/// What the options of CSV say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CsvOptions {
    /// Whether the first line names the columns.
    pub(crate) header: bool,
    /// Stands between two fields.
    pub(crate) delimiter: u8,
    /// Unquoted, it is NULL.
    pub(crate) null: String,
}

impl CsvOptions {
    /// Reads and checks the options.
    pub(crate) fn of(format: &FormatSpec) -> Result<Self> {
        let mut options = Options::of_format(format);
        let header = options.boolean(&["header"])?;
        let without_header = options.boolean(&["without_header"])?;
        if header.is_some() && without_header.is_some() {
            return Err(Error::invalid("options \"header\" and \"without_header\" mean the same")
                .with_hint("Give only one of them."));
        }
        let delimiter = match options.text(&["delimiter", "field-delimiter"])? {
            None => b',',
            Some("\\t") => b'\t',
            Some(text) => match text.as_bytes() {
                [byte] if byte.is_ascii() && !b"\"\r\n".contains(byte) => *byte,
                _ => return Err(wrong("delimiter", "one ASCII character", text)),
            },
        };
        let null = options.text(&["null", "null-literal"])?.unwrap_or_default().to_string();
        options.finish()?;
        let header = header.or(without_header.map(|without| !without)).unwrap_or(false);
        Ok(Self { header, delimiter, null })
    }
}

/// Reads lines into nodes.
#[derive(Debug)]
pub(crate) struct CsvReader {
    /// The declared columns.
    pub(crate) nodes: Vec<Node>,
    options: CsvOptions,
    /// By field of a line: the column it fills.
    targets: Vec<Option<usize>>,
    spans: Vec<Span>,
    scratch: String,
}

/// A field of a line, without its quotes.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
    quoted: bool,
}

impl CsvReader {
    /// A reader for these columns.
    pub(crate) fn new(spec: &ConnectorSpec, format: &FormatSpec, nodes: Vec<Node>) -> Result<Self> {
        let options = CsvOptions::of(format)?;
        if options.header && spec.connector != "file" {
            return Err(Error::invalid(format!("connector '{}' has no place for a CSV header", spec.connector))
                .with_hint("Leave out option \"header\"."));
        }
        if let Some(node) = nodes.iter().find(|node| matches!(node.kind, Kind::List(_) | Kind::Struct(_))) {
            return Err(Error::invalid(format!(
                "column \"{}\": CSV has no values of type {}",
                node.name, node.sql_type
            )));
        }
        let targets = (0..nodes.len()).map(Some).collect();
        Ok(Self { nodes, options, targets, spans: Vec::new(), scratch: String::new() })
    }

    /// Whether the first line of a file names its columns.
    pub(crate) fn has_header(&self) -> bool {
        self.options.header
    }

    /// Takes the names of the fields of the lines that follow.
    pub(crate) fn read_header(&mut self, line: &[u8]) -> Result<()> {
        let data = |reason: String| Error::data(format!("the CSV header can't be read: {reason}"));
        let text = std::str::from_utf8(line).map_err(|_| data("it is not UTF-8".into()))?;
        // Spreadsheets begin UTF-8 files with a byte order mark.
        let text = without_line_end(text.strip_prefix('\u{feff}').unwrap_or(text));
        split(text, self.options.delimiter, &mut self.spans).map_err(data)?;
        self.targets.clear();
        for span in &self.spans {
            let name = unquoted(text, *span, &mut self.scratch);
            let exact = self.nodes.iter().position(|node| node.name == name);
            let folded = || self.nodes.iter().position(|node| node.name.to_lowercase() == name.to_lowercase());
            self.targets.push(exact.or_else(folded));
        }
        for (index, node) in self.nodes.iter().enumerate() {
            match self.targets.iter().filter(|target| **target == Some(index)).count() {
                0 if !node.nullable => {
                    return Err(data(format!("it has no column \"{}\", which is NOT NULL", node.name)));
                }
                0 | 1 => {}
                _ => return Err(data(format!("it names column \"{}\" twice", node.name))),
            }
        }
        Ok(())
    }

    /// The length of the first record of `bytes` with its line end; `None` when it does not end there.
    pub(crate) fn record_length(&self, bytes: &[u8]) -> Option<usize> {
        let line = memchr::memchr(b'\n', bytes)?;
        if memchr::memchr(b'"', &bytes[..line]).is_none() {
            return Some(line + 1);
        }
        let mut at = 0;
        loop {
            // Quotes mean something at the beginning of a field only.
            if bytes.get(at) == Some(&b'"') {
                at = quoted_end(bytes, at + 1)? + 1;
            }
            at += memchr::memchr2(self.options.delimiter, b'\n', &bytes[at..])? + 1;
            if bytes[at - 1] == b'\n' {
                return Some(at);
            }
        }
    }

    /// Reads a line, with or without its line end.
    pub(crate) fn read(&mut self, payload: &[u8]) -> Result<(), Reason> {
        let text = std::str::from_utf8(payload).map_err(not_utf8)?;
        let text = without_line_end(text);
        split(text, self.options.delimiter, &mut self.spans)?;
        if self.spans.len() != self.targets.len() {
            return Err(format!("expected {} fields, got {}", self.targets.len(), self.spans.len()));
        }
        let mut filled = 0;
        for (span, target) in self.spans.iter().zip(&self.targets) {
            let Some(target) = *target else { continue };
            let node = &mut self.nodes[target];
            filled += 1;
            let field = unquoted(text, *span, &mut self.scratch);
            if !span.quoted && field == self.options.null {
                if !node.nullable {
                    return Err(Fault::not_null("the field is null").at(&node.name).to_string());
                }
                node.push_null();
            } else {
                node.push_text(field).map_err(|fault| fault.at(&node.name).to_string())?;
            }
        }
        if filled < self.nodes.len() {
            let targets = &self.targets;
            let absent = self.nodes.iter_mut().enumerate().filter(|(index, _)| !targets.contains(&Some(*index)));
            absent.for_each(|(_, node)| node.push_null());
        }
        Ok(())
    }
}

fn without_line_end(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

/// The fields of one record.
fn split(text: &str, delimiter: u8, spans: &mut Vec<Span>) -> Result<(), Reason> {
    let bytes = text.as_bytes();
    spans.clear();
    let mut at = 0;
    loop {
        if bytes.get(at) == Some(&b'"') {
            let end = quoted_end(bytes, at + 1).ok_or("a quoted field does not end: truncated?")?;
            spans.push(Span { start: at + 1, end, quoted: true });
            at = end + 1;
            if at < bytes.len() && bytes[at] != delimiter {
                return Err(format!("text behind the closing quote of field {}", spans.len()));
            }
        } else {
            let end = memchr::memchr2(delimiter, b'\n', &bytes[at..]).map_or(bytes.len(), |offset| at + offset);
            if bytes.get(end) == Some(&b'\n') {
                return Err("more than one line in the record".to_string());
            }
            spans.push(Span { start: at, end, quoted: false });
            at = end;
        }
        if at == bytes.len() {
            return Ok(());
        }
        at += 1;
    }
}

/// Where the quote stands that ends a field; doubled ones stand for themselves.
fn quoted_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr(b'"', &bytes[at..])?;
        if bytes.get(at + 1) != Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

/// A field's text; `scratch` holds it where quotes were doubled.
fn unquoted<'a>(text: &'a str, span: Span, scratch: &'a mut String) -> &'a str {
    let field = &text[span.start..span.end];
    if !span.quoted || !field.contains('"') {
        return field;
    }
    scratch.clear();
    scratch.push_str(&field.replace("\"\"", "\""));
    scratch
}

/// The rows of a batch as CSV lines. Arrays and structs are written as JSON.
#[derive(Debug)]
pub(crate) struct CsvRows<'a> {
    cells: Vec<Cells<'a>>,
    options: &'a CsvOptions,
}

impl<'a> CsvRows<'a> {
    /// An `Invalid` error names a column whose type has no text.
    pub(crate) fn new(rows: &'a RecordBatch, options: &'a CsvOptions) -> Result<Self> {
        let columns = rows.schema_ref().fields().iter().zip(rows.columns());
        let cells = columns.map(|(field, array)| Cells::new(field, array)).collect::<Result<_>>()?;
        Ok(Self { cells, options })
    }

    /// Appends the line of a row with its line end. A refusal appends nothing.
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), String> {
        let start = out.len();
        let mut text = Vec::new();
        for (index, cells) in self.cells.iter().enumerate() {
            if index > 0 {
                out.push(self.options.delimiter);
            }
            if cells.is_null(row) {
                out.extend_from_slice(self.options.null.as_bytes());
                continue;
            }
            text.clear();
            let result = match &cells.kind {
                CellKind::List(..) | CellKind::Struct(_) => write_value(cells, row, &mut text),
                _ => cells.write_text(row, &mut text),
            };
            if let Err(refusal) = result {
                out.truncate(start);
                return Err(format!("column {}: {refusal}", index + 1));
            }
            write_field(&text, self.options, out);
        }
        out.push(b'\n');
        Ok(())
    }
}

/// The line that names the columns.
pub(crate) fn header<'a>(names: impl Iterator<Item = &'a str>, options: &CsvOptions) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, name) in names.enumerate() {
        if index > 0 {
            out.push(options.delimiter);
        }
        write_field(name.as_bytes(), options, &mut out);
    }
    out.push(b'\n');
    out
}

/// Quotes what would be read back as something else.
fn write_field(text: &[u8], options: &CsvOptions, out: &mut Vec<u8>) {
    let special = |byte: &u8| matches!(byte, b'"' | b'\n' | b'\r') || *byte == options.delimiter;
    if text != options.null.as_bytes() && !text.iter().any(special) {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for &byte in text {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}
