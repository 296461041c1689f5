//! What relations take: bytes of the rows that are held.

use millstream_planner::error::{PlanError, PlanErrorKind, Result};

use super::super::datum::Datum;
use super::super::registry;
use super::super::types::{self, Family};
use super::Call;

pub(super) const FUNCTIONS: super::Values = &[
    ("pg_relation_size", |call| relation_size(call)),
    ("pg_table_size", |call| relation_size(call)),
    ("pg_total_relation_size", |call| relation_size(call)),
    ("pg_indexes_size", |call| relation_size(call).map(|size| if size.is_null() { size } else { 0.into() })),
    ("pg_database_size", |call| Ok(call.context.view.sizes.iter().map(|(_, bytes)| *bytes).sum::<i64>().into())),
    ("pg_tablespace_size", |call| Ok(call.context.view.sizes.iter().map(|(_, bytes)| *bytes).sum::<i64>().into())),
    ("pg_relation_filenode", |_| Ok(Datum::Null)),
    ("pg_relation_filepath", |_| Ok(Datum::Null)),
    ("pg_size_pretty", |call| Ok(pretty(call.float(0)).into())),
    ("pg_size_bytes", size_bytes),
    ("pg_column_size", |call| Ok(call.shown(0).len().into())),
    ("pg_stat_get_live_tuples", |_| Ok(0.into())),
    ("pg_stat_get_last_vacuum_time", |_| Ok(Datum::Null)),
    ("pg_stat_get_last_analyze_time", |_| Ok(Datum::Null)),
];

fn relation_size(call: &Call<'_>) -> Result<Datum> {
    let oid = match call.ty(0).family() {
        Family::Text => registry::oid_of(&types::REGCLASS, call.text(0), call.context)?,
        _ => call.int(0),
    };
    let Ok(oid) = u32::try_from(oid) else { return Ok(Datum::Null) };
    let objects = &call.context.objects;
    if objects.name(oid).is_none() {
        return Ok(Datum::Null);
    }
    let size = call.context.view.sizes.iter().find(|(known, _)| *known == oid);
    Ok(size.map_or(0, |(_, bytes)| *bytes).into())
}

/// Half a unit and more are rounded up, and the next unit is taken from 10240 on.
fn pretty(bytes: f64) -> String {
    let mut left = bytes;
    for unit in ["bytes", "kB", "MB", "GB", "TB"] {
        if left.abs() < 10_239.5 {
            return format!("{} {unit}", left.round());
        }
        left /= 1_024.0;
    }
    format!("{} PB", left.round())
}

fn size_bytes(call: &Call<'_>) -> Result<Datum> {
    let text = call.text(0).trim();
    let digits = text.find(|character: char| character.is_alphabetic()).unwrap_or(text.len());
    let wrong = || PlanError::new(PlanErrorKind::InvalidParameterValue, format!("invalid size: \"{text}\""));
    let number: f64 = text[..digits].trim().parse().map_err(|_| wrong())?;
    let power = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "bytes" | "b" => 0,
        "kb" => 1,
        "mb" => 2,
        "gb" => 3,
        "tb" => 4,
        "pb" => 5,
        _ => return Err(wrong()),
    };
    Ok(Datum::Int((number * 1_024f64.powi(power)).round() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_postgres_does() {
        for (bytes, text) in [(0.0, "0 bytes"), (10_239.0, "10239 bytes"), (10_240.0, "10 kB"), (1e9, "954 MB")] {
            assert_eq!(pretty(bytes), text);
        }
    }
}
