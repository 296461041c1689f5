//! `millstream.secrets`: the secrets' names and owners, and how many relations connect with each. Their values are nowhere
//! to be seen.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::Field;
use millstream_planner::secret::Secret;
use millstream_runtime::Result;

use super::{SystemContext, SystemRelation, bigint, text};

/// The relation.
pub const RELATION: SystemRelation =
    SystemRelation { schema: super::SCHEMA, name: "secrets", oid: 9_008, columns, rows };

fn columns() -> Vec<Field> {
    vec![bigint("oid"), text("schema"), text("name"), text("owner"), bigint("users")]
}

fn rows(context: &SystemContext<'_>) -> Result<Vec<ArrayRef>> {
    let view = &context.state.catalog.view;
    let secrets: Vec<&Arc<Secret>> = view.secrets().collect();
    let users =
        secrets.iter().map(|secret| i64::try_from(view.users_of_secret(secret.oid).count()).unwrap_or(i64::MAX));
    Ok(vec![
        Arc::new(Int64Array::from_iter_values(secrets.iter().map(|secret| i64::from(secret.oid)))),
        Arc::new(StringArray::from_iter_values(secrets.iter().map(|secret| &secret.name.schema))),
        Arc::new(StringArray::from_iter_values(secrets.iter().map(|secret| &secret.name.name))),
        Arc::new(StringArray::from_iter_values(secrets.iter().map(|secret| view.roles().name_of(secret.access.owner)))),
        Arc::new(Int64Array::from_iter_values(users)),
    ])
}
