//! `millstream.operators`: what every operator of every running view has done since its graph started, and the
//! bytes of state that it keeps.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::Field;
use millstream_runtime::Result;

use super::{SystemContext, SystemRelation, bigint, count, text, timestamp, watermarks};

/// The relation.
pub const RELATION: SystemRelation =
    SystemRelation { schema: super::SCHEMA, name: "operators", oid: 9_007, columns, rows };

fn columns() -> Vec<Field> {
    vec![
        bigint("graph"),
        text("schema"),
        text("relation"),
        bigint("node"),
        text("operator"),
        bigint("rows_in"),
        bigint("rows_out"),
        bigint("state_bytes"),
        timestamp("watermark"),
    ]
}

fn rows(context: &SystemContext<'_>) -> Result<Vec<ArrayRef>> {
    let mut reports = Vec::new();
    for (id, graph) in &context.state.graphs {
        for report in graph.report().iter() {
            let Some(relation) = context.state.catalog.view.get(report.view) else { continue };
            reports.push((count(id.0), relation.name.clone(), report.clone()));
        }
    }
    let nodes = reports.iter().map(|(_, _, report)| i64::try_from(report.node).unwrap_or(i64::MAX));
    Ok(vec![
        Arc::new(Int64Array::from_iter_values(reports.iter().map(|(graph, _, _)| *graph))),
        Arc::new(StringArray::from_iter_values(reports.iter().map(|(_, name, _)| &name.schema))),
        Arc::new(StringArray::from_iter_values(reports.iter().map(|(_, name, _)| &name.name))),
        Arc::new(Int64Array::from_iter_values(nodes)),
        Arc::new(StringArray::from_iter_values(reports.iter().map(|(_, _, report)| report.operator))),
        Arc::new(Int64Array::from_iter_values(reports.iter().map(|(_, _, report)| count(report.rows_in)))),
        Arc::new(Int64Array::from_iter_values(reports.iter().map(|(_, _, report)| count(report.rows_out)))),
        Arc::new(Int64Array::from_iter_values(reports.iter().map(|(_, _, report)| count(report.state_bytes as u64)))),
        watermarks(reports.iter().map(|(_, _, report)| Some(report.watermark))),
    ])
}
