//! `millstream.epochs`: the newest epoch of every graph that can be read.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, TimeUnit};
use millstream_runtime::Result;

use super::{SystemContext, SystemRelation, bigint, count, text};

/// The relation.
pub const RELATION: SystemRelation =
    SystemRelation { schema: super::SCHEMA, name: "epochs", oid: 9_002, columns, rows };

fn columns() -> Vec<Field> {
    let moment = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    vec![bigint("graph"), text("epoch"), Field::new("stamp", moment, true), bigint("log_position")]
}

fn rows(context: &SystemContext<'_>) -> Result<Vec<ArrayRef>> {
    let shown: Vec<_> = context.state.graphs.iter().map(|(id, graph)| (*id, graph.published())).collect();
    let stamps = TimestampMicrosecondArray::from_iter_values(shown.iter().map(|(_, epoch)| epoch.stamp.0));
    Ok(vec![
        Arc::new(Int64Array::from_iter_values(shown.iter().map(|(id, _)| count(id.0)))),
        Arc::new(StringArray::from_iter_values(shown.iter().map(|(_, epoch)| epoch.epoch.to_string()))),
        Arc::new(stamps.with_timezone("UTC")),
        Arc::new(Int64Array::from_iter_values(shown.iter().map(|(_, epoch)| count(epoch.log_position.0)))),
    ])
}
