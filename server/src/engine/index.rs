//! Indexes: their definitions in the log, and what a query is offered of them.
//!
//! An index has no rows of its own: chunks of relations are sorted by its columns when they are first looked up, and
//! right after it is made, so nothing of it is written, and a start makes it anew.

use millstream_planner::catalog::{Relation, RelationKind};
use millstream_planner::statement::IndexChange;

use super::Engine;
use super::catalog::DurableCatalog;
use super::ddl::Planning;
use super::index_scan::IndexColumns;
use super::record::{Ddl, Detail};
use crate::session::sqlstate::Condition;
use crate::session::{Notice, SqlError};

impl Planning<'_> {
    /// `CREATE INDEX`, `DROP INDEX` and `ALTER INDEX`.
    pub(super) fn index(&mut self, change: &IndexChange) -> Result<(), SqlError> {
        match change {
            IndexChange::Create { relation, name, columns, unique } => {
                let oid = self.catalog().next_oid();
                let (relation, name, columns, unique) = (*relation, name.clone(), columns.clone(), *unique);
                self.add(None, Detail::CreateIndex { oid, relation, name, columns, unique })
            }
            IndexChange::Exists { notice } => {
                self.skip(Condition::DuplicateTable, notice);
                Ok(())
            }
            IndexChange::Drop { oids, notices } => {
                self.notices.extend(notices.iter().map(Notice::plain));
                match oids.is_empty() {
                    true => Ok(()),
                    false => self.add(None, Detail::DropIndexes { oids: oids.clone() }),
                }
            }
            IndexChange::Rename { oid, new_name } => {
                self.add(None, Detail::RenameIndex { oid: *oid, new_name: new_name.clone() })
            }
        }
    }
}

/// The indexes of a relation as look-ups use them, that of its key first.
pub fn indexes_of(catalog: &DurableCatalog, relation: &Relation) -> Vec<IndexColumns> {
    let name = &relation.name.name;
    let key = match &relation.kind {
        RelationKind::Table(table) => Some((format!("{name}_pkey"), &table.input.primary_key)),
        RelationKind::MaterializedView(view) => Some((format!("{name}_key"), &view.key)),
        RelationKind::Source(_) | RelationKind::View { .. } | RelationKind::Sink(_) | RelationKind::System => None,
    };
    let key = key.filter(|(_, columns)| !columns.is_empty());
    let key = key.map(|(name, columns)| IndexColumns { name, columns: columns.clone() });
    let declared = catalog.view.indexes_of(relation.id).map(|index| IndexColumns {
        name: index.name.name.clone(),
        columns: index.columns.iter().map(|column| column.column).collect(),
    });
    key.into_iter().chain(declared).collect()
}

impl Engine {
    /// Sorts what new indexes stand on, so that the first look-up does not have to. What can't be sorted now is
    /// when it is looked up.
    pub(super) async fn build_indexes(&self, records: &[std::sync::Arc<Ddl>]) {
        let state = self.state();
        for ddl in records {
            let Detail::CreateIndex { relation, columns, .. } = &ddl.detail else { continue };
            let graph = state.catalog.graph_of(*relation).and_then(|graph| state.graphs.get(&graph));
            let Some(version) = graph.and_then(|graph| graph.published().relations.get(relation).cloned()) else {
                continue;
            };
            let columns: Vec<usize> = columns.iter().map(|column| column.column).collect();
            let sorted = tokio::task::spawn_blocking(move || version.sort_by(&columns)).await;
            if let Ok(Err(error)) = sorted {
                tracing::warn!(%error, "an index is sorted at the first look-up");
            }
        }
    }
}
