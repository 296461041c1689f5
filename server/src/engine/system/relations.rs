//! `millstream.relations`: what there is, with the statement that made it.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::Field;
use millstream_planner::catalog::{Relation, RelationKind};
use millstream_runtime::Result;

use super::{SystemContext, SystemRelation, bigint, count, text};

/// The relation.
pub const RELATION: SystemRelation =
    SystemRelation { schema: super::SCHEMA, name: "relations", oid: 9_006, columns, rows };

fn columns() -> Vec<Field> {
    vec![bigint("oid"), text("schema"), text("name"), text("kind"), bigint("graph"), text("definition")]
}

fn rows(context: &SystemContext<'_>) -> Result<Vec<ArrayRef>> {
    let catalog = &context.state.catalog;
    let relations: Vec<&Arc<Relation>> =
        catalog.view.relations().filter(|relation| !matches!(relation.kind, RelationKind::System)).collect();
    let graphs = relations.iter().map(|relation| catalog.graph_of(relation.id).map(|graph| count(graph.0)));
    Ok(vec![
        Arc::new(Int64Array::from_iter_values(relations.iter().map(|relation| i64::from(relation.oid)))),
        Arc::new(StringArray::from_iter_values(relations.iter().map(|relation| &relation.name.schema))),
        Arc::new(StringArray::from_iter_values(relations.iter().map(|relation| &relation.name.name))),
        Arc::new(StringArray::from_iter_values(relations.iter().map(|relation| kind_name(&relation.kind)))),
        Arc::new(Int64Array::from_iter(graphs)),
        Arc::new(StringArray::from_iter_values(relations.iter().map(|relation| super::super::masked_sql(relation)))),
    ])
}

/// A kind as lists show it.
pub fn kind_name(kind: &RelationKind) -> &'static str {
    match kind {
        RelationKind::Table(_) => "table",
        RelationKind::Source(_) => "source",
        RelationKind::View { .. } => "view",
        RelationKind::MaterializedView(_) => "materialized view",
        RelationKind::Sink(_) => "sink",
        RelationKind::System => "system relation",
    }
}
