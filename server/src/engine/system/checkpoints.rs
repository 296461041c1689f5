//! `millstream.checkpoints`: the newest committed checkpoint of every graph.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::Field;
use millstream_runtime::Result;

use super::{SystemContext, SystemRelation, bigint, count, text};

/// The relation.
pub const RELATION: SystemRelation =
    SystemRelation { schema: super::SCHEMA, name: "checkpoints", oid: 9_003, columns, rows };

fn columns() -> Vec<Field> {
    vec![bigint("graph"), text("epoch"), bigint("log_position"), text("manifest")]
}

fn rows(context: &SystemContext<'_>) -> Result<Vec<ArrayRef>> {
    let all = context.engine.newest_checkpoints();
    let committed: Vec<_> = all.values().filter(|record| context.state.graphs.contains_key(&record.graph)).collect();
    Ok(vec![
        Arc::new(Int64Array::from_iter_values(committed.iter().map(|checkpoint| count(checkpoint.graph.0)))),
        Arc::new(StringArray::from_iter_values(committed.iter().map(|checkpoint| checkpoint.epoch.to_string()))),
        Arc::new(Int64Array::from_iter_values(committed.iter().map(|checkpoint| count(checkpoint.log_position.0)))),
        Arc::new(StringArray::from_iter_values(committed.iter().map(|checkpoint| &checkpoint.checkpoint.manifest))),
    ])
}
