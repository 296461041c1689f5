//! Rows as a person reads them: an aligned table as psql draws it, CSV, or JSON lines.

use std::io::{self, Write};

use arrow::datatypes::DataType;
use clap::ValueEnum;

use super::client::TextRows;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Aligned columns.
    Table,
    /// RFC 4180 with a header; NULL is empty.
    Csv,
    /// One object per row.
    Json,
}

/// Writes all rows.
pub(super) fn write(out: &mut dyn Write, rows: &TextRows, format: Format) -> io::Result<()> {
    match format {
        Format::Table => write_table(out, rows),
        Format::Csv => write_csv(out, rows),
        Format::Json => write_json(out, rows),
    }
}

fn write_table(out: &mut dyn Write, rows: &TextRows) -> io::Result<()> {
    let names: Vec<&str> = rows.schema.fields().iter().map(|field| field.name().as_str()).collect();
    let right: Vec<bool> = rows.schema.fields().iter().map(|field| field.data_type().is_numeric()).collect();
    let mut widths: Vec<usize> = names.iter().map(|name| name.chars().count()).collect();
    for row in &rows.rows {
        for (width, value) in widths.iter_mut().zip(row) {
            *width = (*width).max(value.as_ref().map_or(0, |value| value.chars().count()));
        }
    }
    let header: Vec<String> = names.iter().zip(&widths).map(|(name, width)| format!(" {name:^width$} ")).collect();
    writeln!(out, "{}", header.join("|").trim_end())?;
    writeln!(out, "{}", widths.iter().map(|width| "-".repeat(width + 2)).collect::<Vec<_>>().join("+"))?;
    for row in &rows.rows {
        let cells = row.iter().zip(&widths).zip(&right).map(|((value, width), right)| {
            let value = value.as_deref().unwrap_or("");
            if *right { format!(" {value:>width$} ") } else { format!(" {value:<width$} ") }
        });
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("|").trim_end())?;
    }
    let count = rows.rows.len();
    writeln!(out, "({count} row{})", if count == 1 { "" } else { "s" })
}

fn write_csv(out: &mut dyn Write, rows: &TextRows) -> io::Result<()> {
    let names: Vec<String> = rows.schema.fields().iter().map(|field| csv_value(field.name())).collect();
    writeln!(out, "{}", names.join(","))?;
    for row in &rows.rows {
        let values: Vec<String> =
            row.iter().map(|value| value.as_deref().map_or_else(String::new, csv_value)).collect();
        writeln!(out, "{}", values.join(","))?;
    }
    Ok(())
}

/// The empty string is quoted, so that it differs from NULL.
fn csv_value(value: &str) -> String {
    if value.is_empty() || value.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", value.replace('"', "\"\""))
    } else {
        value.to_string()
    }
}

fn write_json(out: &mut dyn Write, rows: &TextRows) -> io::Result<()> {
    for row in &rows.rows {
        let mut members = Vec::with_capacity(row.len());
        for (field, value) in rows.schema.fields().iter().zip(row) {
            let value =
                value.as_deref().map_or_else(|| "null".to_string(), |value| json_value(field.data_type(), value));
            members.push(format!("{}:{value}", serde_json::Value::from(field.name().as_str())));
        }
        writeln!(out, "{{{}}}", members.join(","))?;
    }
    Ok(())
}

/// Numbers and booleans are bare; what JSON has no form for (`NaN`, `Infinity`) stays a string.
fn json_value(data_type: &DataType, value: &str) -> String {
    let is_json = |value: &str| serde_json::from_str::<serde_json::Number>(value).is_ok();
    match data_type {
        DataType::Boolean => (value == "t").to_string(),
        numeric if numeric.is_numeric() && is_json(value) => value.to_string(),
        _ => serde_json::Value::from(value).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn sample() -> TextRows {
        let schema = Schema::new(vec![
            Field::new("name", DataType::Utf8, true),
            Field::new("n", DataType::Int64, true),
            Field::new("ok", DataType::Boolean, true),
        ]);
        let row = |values: [Option<&str>; 3]| values.into_iter().map(|value| value.map(str::to_string)).collect();
        TextRows {
            schema: Arc::new(schema),
            rows: vec![row([Some("a,\"b\""), Some("12"), Some("t")]), row([Some(""), None, Some("f")])],
        }
    }

    fn written(format: Format) -> String {
        let mut out = Vec::new();
        write(&mut out, &sample(), format).expect("a vector takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn tables_are_aligned_as_psql_aligns_them() {
        assert_eq!(
            written(Format::Table),
            " name  | n  | ok\n-------+----+----\n a,\"b\" | 12 | t\n       |    | f\n(2 rows)\n"
        );
    }

    #[test]
    fn csv_tells_null_from_the_empty_string() {
        assert_eq!(written(Format::Csv), "name,n,ok\n\"a,\"\"b\"\"\",12,t\n\"\",,f\n");
    }

    #[test]
    fn json_lines_keep_types() {
        assert_eq!(
            written(Format::Json),
            "{\"name\":\"a,\\\"b\\\"\",\"n\":12,\"ok\":true}\n{\"name\":\"\",\"n\":null,\"ok\":false}\n"
        );
    }
}
