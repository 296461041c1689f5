//! `millstream.logins`: addresses with failed logins, or with connections that have not logged in yet; for superusers.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::Field;
use millstream_runtime::Result;

use super::{SystemContext, SystemRelation, bigint, text};

/// The relation.
pub const RELATION: SystemRelation =
    SystemRelation { schema: super::SCHEMA, name: "logins", oid: 9_009, columns, rows };

fn columns() -> Vec<Field> {
    vec![text("address"), text("role"), bigint("failures"), bigint("open"), bigint("refused_seconds")]
}

fn rows(context: &SystemContext<'_>) -> Result<Vec<ArrayRef>> {
    let counts = match context.is_superuser() {
        true => context.engine.login_attempts().report(Instant::now()),
        false => Vec::new(),
    };
    let seconds = |waits: std::time::Duration| i64::try_from(waits.as_millis().div_ceil(1_000)).unwrap_or(i64::MAX);
    Ok(vec![
        Arc::new(StringArray::from_iter_values(counts.iter().map(|count| &count.origin))),
        Arc::new(StringArray::from_iter(counts.iter().map(|count| count.role.as_ref()))),
        Arc::new(Int64Array::from_iter_values(counts.iter().map(|count| i64::from(count.failures)))),
        Arc::new(Int64Array::from_iter_values(counts.iter().map(|count| i64::from(count.open)))),
        Arc::new(Int64Array::from_iter(counts.iter().map(|count| count.waits.map(seconds)))),
    ])
}
