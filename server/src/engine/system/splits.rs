//! `millstream.splits`: how far every split of every source is read, and what became of its records.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field};
use millstream_runtime::Result;

use super::{SystemContext, SystemRelation, bigint, count, text, timestamp, watermarks};

/// The relation.
pub const RELATION: SystemRelation =
    SystemRelation { schema: super::SCHEMA, name: "splits", oid: 9_004, columns, rows };

fn columns() -> Vec<Field> {
    vec![
        text("schema"),
        text("relation"),
        text("split"),
        bigint("position"),
        timestamp("watermark"),
        Field::new("idle", DataType::Boolean, true),
        Field::new("ended", DataType::Boolean, true),
        bigint("rows_read"),
        bigint("accepted"),
        bigint("late"),
        bigint("rejected"),
    ]
}

fn rows(context: &SystemContext<'_>) -> Result<Vec<ArrayRef>> {
    let mut splits = Vec::new();
    for graph in context.state.graphs.values() {
        for (relation, of_relation) in &graph.published().splits {
            let Some(relation) = context.state.catalog.view.get(*relation) else { continue };
            let named = of_relation.iter().map(|(id, status)| (relation.name.clone(), id.0.clone(), status.clone()));
            splits.extend(named);
        }
    }
    let counts = |of: fn(&millstream_runtime::graph::SplitStatus) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(splits.iter().map(|(_, _, status)| count(of(status)))))
    };
    Ok(vec![
        Arc::new(StringArray::from_iter_values(splits.iter().map(|(name, _, _)| &name.schema))),
        Arc::new(StringArray::from_iter_values(splits.iter().map(|(name, _, _)| &name.name))),
        Arc::new(StringArray::from_iter_values(splits.iter().map(|(_, id, _)| id))),
        counts(|status| status.position.0),
        watermarks(splits.iter().map(|(_, _, status)| Some(status.watermark))),
        Arc::new(BooleanArray::from_iter(splits.iter().map(|(_, _, status)| Some(status.idle)))),
        Arc::new(BooleanArray::from_iter(splits.iter().map(|(_, _, status)| Some(status.ended)))),
        counts(|status| status.read),
        counts(|status| status.accepted),
        counts(|status| status.late),
        counts(|status| status.rejected),
    ])
}
