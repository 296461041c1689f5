//! What relations take: bytes of the rows that are held, and of the orders that look-ups by an index made of them. An
//! index takes nothing before it was used.

use millstream_planner::error::{PlanError, PlanErrorKind, Result};

use super::super::datum::Datum;
use super::super::registry;
use super::super::types::{self, Family};
use super::Call;
use crate::pg_catalog::RelationSize;
use crate::pg_catalog::objects::Index;

pub(super) const FUNCTIONS: super::Values = &[
    ("pg_relation_size", |call| match call.given(1) && call.text(1) != "main" {
        // Free space and visibility are kept nowhere.
        true => sized(call, |_, _| 0),
        false => sized(call, own_bytes),
    }),
    ("pg_table_size", |call| sized(call, own_bytes)),
    ("pg_total_relation_size", |call| {
        sized(call, |held, index| if index.is_some() { own_bytes(held, index) } else { held.total() })
    }),
    ("pg_indexes_size", |call| sized(call, |held, index| if index.is_some() { 0 } else { held.total() - held.rows })),
    ("pg_database_size", |call| Ok(whole(call).into())),
    ("pg_tablespace_size", |call| match (call.ty(0).family(), call.int(0), call.text(0)) {
        // Of what all databases share only roles would count, which take nothing to speak of.
        (Family::Text, _, "pg_global") | (_, 1_664, _) => Ok(0.into()),
        _ => Ok(whole(call).into()),
    }),
    ("pg_relation_filenode", |_| Ok(Datum::Null)),
    ("pg_relation_filepath", |_| Ok(Datum::Null)),
    ("pg_size_pretty", |call| Ok(pretty(call.float(0)).into())),
    ("pg_size_bytes", size_bytes),
    ("pg_column_size", |call| Ok(call.shown(0).len().into())),
    ("pg_stat_get_live_tuples", |_| Ok(0.into())),
    ("pg_stat_get_last_vacuum_time", |_| Ok(Datum::Null)),
    ("pg_stat_get_last_analyze_time", |_| Ok(Datum::Null)),
];

/// The bytes that a relation itself takes: its rows, or those of an index that is an order of a table's.
fn own_bytes(held: &RelationSize, index: Option<&Index>) -> i64 {
    let Some(index) = index else { return held.rows };
    held.orders.iter().filter(|(columns, _)| *columns == index.columns).map(|(_, bytes)| *bytes).sum()
}

/// All that the database holds.
fn whole(call: &Call<'_>) -> i64 {
    let relations = call.context.objects.relations.iter();
    relations.filter_map(|object| call.context.view.sizes.of(object.oid)).map(|held| held.total()).sum()
}

/// A size of the relation or the index that a call names; nothing where there is none.
fn sized(call: &Call<'_>, size: impl Fn(&RelationSize, Option<&Index>) -> i64) -> Result<Datum> {
    let oid = match call.ty(0).family() {
        Family::Text => registry::oid_of(&types::REGCLASS, call.text(0), call.context)?,
        _ => call.int(0),
    };
    let Ok(oid) = u32::try_from(oid) else { return Ok(Datum::Null) };
    let objects = &call.context.objects;
    if objects.name(oid).is_none() {
        return Ok(Datum::Null);
    }
    let index = objects.indexes.iter().find(|index| index.oid == oid);
    let held = call.context.view.sizes.of(index.map_or(oid, |index| index.table_oid));
    Ok(held.map_or(0, |held| size(&held, index)).into())
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
