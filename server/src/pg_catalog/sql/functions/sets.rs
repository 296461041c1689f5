//! Functions that give sets of rows.

use millstream_planner::error::{PlanError, PlanErrorKind, Result};

use super::super::datum::Datum;
use super::super::text::output;
use super::super::types;
use super::{Call, json, privileges, strings};

/// The most rows that a series gives: as many as a query may make in all.
const SERIES_ROWS: i128 = 10_000_000;

pub(super) const FUNCTIONS: super::Sets = &[
    ("unnest", |call| Ok(call.items(0).to_vec())),
    ("generate_subscripts", |call| {
        let first = call.ty(0).first_subscript();
        let count = if call.int(1) == 1 { call.items(0).len() } else { 0 };
        let numbers = (first..).take(count).map(Datum::Int);
        Ok(if call.is_true(2) { numbers.collect::<Vec<_>>().into_iter().rev().collect() } else { numbers.collect() })
    }),
    ("generate_series", series),
    ("_pg_expandarray", |call| {
        let numbered = call.items(0).iter().zip(1i64..);
        Ok(numbered.map(|(item, at)| Datum::Record([item.clone(), Datum::Int(at)].into())).collect())
    }),
    ("aclexplode", |call| Ok(call.items(0).iter().flat_map(|item| privileges::exploded(item, call.context)).collect())),
    // There is none to be had.
    ("pg_available_extensions", |_| Ok(Vec::new())),
    ("pg_options_to_table", |call| {
        let option = |item: &Datum| {
            let Datum::Text(text) = item else { return Datum::Null };
            let (name, value) = text.split_once('=').map_or((&**text, None), |(name, value)| (name, Some(value)));
            Datum::Record([Datum::text(name), value.into()].into())
        };
        Ok(call.items(0).iter().map(option).collect())
    }),
    ("regexp_matches", strings::regexp_matches),
    ("regexp_split_to_table", strings::regexp_split),
    ("string_to_table", |call| Ok(call.text(0).split(call.text(1)).map(Datum::text).collect())),
    ("json_array_elements", |call| elements(call, false)),
    ("jsonb_array_elements", |call| elements(call, false)),
    ("json_array_elements_text", |call| elements(call, true)),
    ("jsonb_array_elements_text", |call| elements(call, true)),
    ("json_object_keys", keys),
    ("jsonb_object_keys", keys),
    ("pg_get_keywords", |_| Ok(keywords())),
    ("pg_show_all_settings", |call| Ok(crate::pg_catalog::relations::settings_records(&call.context.view))),
    ("pg_listening_channels", |_| Ok(Vec::new())),
    ("pg_partition_ancestors", |_| Ok(Vec::new())),
    ("pg_partition_tree", |_| Ok(Vec::new())),
    ("pg_get_publication_tables", |_| Ok(Vec::new())),
    ("pg_tablespace_databases", |_| Ok(Vec::new())),
    ("pg_prepared_xact", |_| Ok(Vec::new())),
];

fn series(call: &Call<'_>) -> Result<Vec<Datum>> {
    let (start, stop) = (call.int(0), call.int(1));
    let step = if call.given(2) { call.int(2) } else { 1 };
    if step == 0 {
        return Err(PlanError::new(PlanErrorKind::InvalidParameterValue, "step size cannot equal zero"));
    }
    if (i128::from(stop) - i128::from(start)) / i128::from(step) > SERIES_ROWS {
        let message = format!("a query over the catalog can make at most {SERIES_ROWS} rows");
        return Err(PlanError::new(PlanErrorKind::ProgramLimitExceeded, message).with_hint("Use a shorter series."));
    }
    let within = |value: &i64| if step > 0 { *value <= stop } else { *value >= stop };
    let values = std::iter::successors(Some(start), |value| value.checked_add(step)).take_while(within);
    Ok(values.map(Datum::Int).collect())
}

fn elements(call: &Call<'_>, as_text: bool) -> Result<Vec<Datum>> {
    let value = json::parsed(call.datum(0))?;
    let items = value.as_array().ok_or_else(|| {
        PlanError::new(PlanErrorKind::InvalidParameterValue, "cannot extract elements from an object or a scalar")
    })?;
    let element = |item: &serde_json::Value| match item {
        serde_json::Value::String(text) if as_text => Datum::text(text.as_str()),
        serde_json::Value::Null if as_text => Datum::Null,
        item => json::text_of(item, *call.ty(0) == types::JSONB),
    };
    Ok(items.iter().map(element).collect())
}

fn keys(call: &Call<'_>) -> Result<Vec<Datum>> {
    let value = json::parsed(call.datum(0))?;
    let pairs = value.as_object().ok_or_else(|| {
        let message = format!("cannot call json_object_keys on {}", output(call.datum(0), call.ty(0), call.context));
        PlanError::new(PlanErrorKind::InvalidParameterValue, message)
    })?;
    Ok(pairs.keys().map(|name| Datum::text(name.as_str())).collect())
}

/// Words that can't be names unless they are quoted, as Postgres groups them.
fn keywords() -> Vec<Datum> {
    let reserved = crate::pg_catalog::objects::RESERVED_WORDS.iter();
    let row = |word: &&str| {
        let fields = [(*word).into(), "R".into(), false.into(), "reserved".into(), "requires AS".into()];
        Datum::Record(fields.into())
    };
    reserved.map(row).collect()
}
