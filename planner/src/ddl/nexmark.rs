//! The fixed columns of the Nexmark generator: those of RisingWave's source of that name, so that its scripts
//! run unchanged.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use crate::error::{PlanError, PlanErrorKind, Result};

/// The option that chooses the events; without it all three come in one envelope.
pub(super) const TABLE_TYPE_OPTION: &str = "nexmark.table.type";

/// The columns of a source with this value of [`TABLE_TYPE_OPTION`].
pub(super) fn columns(table_type: Option<&str>) -> Result<Fields> {
    match table_type.map(str::to_ascii_lowercase).as_deref() {
        None => Ok(envelope()),
        Some("person") => Ok(person()),
        Some("auction") => Ok(auction()),
        Some("bid") => Ok(bid()),
        Some(other) => {
            let message = format!("option \"{TABLE_TYPE_OPTION}\" can't be \"{other}\"");
            Err(PlanError::new(PlanErrorKind::InvalidParameterValue, message)
                .with_hint("Use Person, Auction or Bid, or leave it out for all three in one envelope."))
        }
    }
}

/// Exactly one of the three structs is there, as `event_type` (0, 1, 2) says.
fn envelope() -> Fields {
    Fields::from(vec![
        Field::new("event_type", DataType::Int64, true),
        Field::new("person", DataType::Struct(person()), true),
        Field::new("auction", DataType::Struct(auction()), true),
        Field::new("bid", DataType::Struct(bid()), true),
    ])
}

fn person() -> Fields {
    columns_of(&["id:i", "name", "email_address", "credit_card", "city", "state", "date_time:t", "extra"])
}

fn auction() -> Fields {
    columns_of(&[
        "id:i",
        "item_name",
        "description",
        "initial_bid:i",
        "reserve:i",
        "date_time:t",
        "expires:t",
        "seller:i",
        "category:i",
        "extra",
    ])
}

fn bid() -> Fields {
    columns_of(&["auction:i", "bidder:i", "price:i", "channel", "url", "date_time:t", "extra"])
}

/// `:i` is bigint, `:t` timestamp, the rest text.
fn columns_of(names: &[&str]) -> Fields {
    let fields = names.iter().map(|name| match name.split_once(':') {
        Some((name, "i")) => Field::new(name, DataType::Int64, true),
        Some((name, _)) => Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, None), true),
        None => Field::new(*name, DataType::Utf8, true),
    });
    fields.map(Arc::new).collect()
}
