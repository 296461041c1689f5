//! `VACUUM`, `ANALYZE` and `REINDEX`: taken as tools send them, with the checks and the warnings of Postgres, and nothing
//! is done. Rows that were deleted go with the last version that shows them, no plan rests on statistics, and an index
//! is never behind its rows.

use millstream_planner::access::RoleOid;
use millstream_planner::catalog::{Catalog, Relation, RelationKind};
use millstream_planner::statement::{Maintain, MaintainTarget, ReindexTarget};
use millstream_runtime::Error;
use millstream_runtime::plan::RelationId;

use super::sqlstate::Condition;
use super::{Notice, Outcome, Session, SqlError};
use crate::pg_catalog::is_relation;

impl Session {
    pub(super) fn maintain(&mut self, statement: &Maintain) -> Result<Outcome, SqlError> {
        let (tag, notices) = match statement {
            Maintain::Vacuum { targets } => {
                self.transaction.refuse_block("VACUUM")?;
                ("VACUUM", self.skipped(targets, "vacuum")?)
            }
            Maintain::Analyze { targets } => ("ANALYZE", self.skipped(targets, "analyze")?),
            Maintain::Reindex { target, concurrently } => ("REINDEX", self.reindex(target, *concurrently)?),
        };
        Ok(Outcome { notices, ..Outcome::fixed(tag) })
    }

    /// What Postgres would leave out, and says so.
    fn skipped(&self, targets: &[MaintainTarget], verb: &str) -> Result<Vec<Notice>, SqlError> {
        let (state, role) = (self.state(), self.actor()?.current);
        let view = &state.catalog.view;
        if targets.is_empty() {
            let all = view.relations().filter(|relation| keeps_rows(relation));
            return Ok(all.filter_map(|relation| not_permitted(view, role, relation, verb)).collect());
        }
        let warnings = targets.iter().map(|target| match target {
            MaintainTarget::Relation(id) => {
                let relation = relation(view, *id)?;
                Ok(not_permitted(view, role, relation, verb).or_else(|| not_a_table(relation, verb)))
            }
            MaintainTarget::OfPostgres { schema, name, position } => {
                if !is_relation(schema.as_deref().unwrap_or("pg_catalog"), name) {
                    let shown = schema.as_ref().map_or(name.clone(), |schema| format!("{schema}.{name}"));
                    let message = format!("relation \"{shown}\" does not exist");
                    return Err(SqlError {
                        position: Some(position.0),
                        ..SqlError::new(Condition::UndefinedTable, message)
                    });
                }
                let may = view.roles().owns(role, view.database_access());
                let who = "only superuser or database owner can";
                Ok((!may).then(|| skipping(name, &format!("{who} {verb} it"))))
            }
        });
        Ok(warnings.collect::<Result<Vec<_>, SqlError>>()?.into_iter().flatten().collect())
    }

    fn reindex(&self, target: &ReindexTarget, concurrently: bool) -> Result<Vec<Notice>, SqlError> {
        if concurrently {
            self.transaction.refuse_block("REINDEX CONCURRENTLY")?;
        }
        match target {
            ReindexTarget::Index { .. } | ReindexTarget::Table { has_indexes: true, .. } => Ok(Vec::new()),
            ReindexTarget::Table { relation: id, has_indexes: false } => {
                let state = self.state();
                let name = &relation(&state.catalog.view, *id)?.name.name;
                Ok(vec![Notice::plain(format!("table \"{name}\" has no indexes to reindex"))])
            }
            ReindexTarget::Schema { .. } => self.transaction.refuse_block("REINDEX SCHEMA").map(|()| Vec::new()),
            ReindexTarget::Database { name, position, is_system } => {
                let statement = if *is_system { "REINDEX SYSTEM" } else { "REINDEX DATABASE" };
                self.transaction.refuse_block(statement)?;
                if *name == self.database {
                    return Ok(Vec::new());
                }
                let message = "can only reindex the currently open database";
                Err(SqlError { position: Some(position.0), ..SqlError::new(Condition::FeatureNotSupported, message) })
            }
        }
    }
}

fn relation(catalog: &Catalog, id: RelationId) -> Result<&Relation, SqlError> {
    let relation = catalog.get(id).map(AsRef::as_ref);
    relation.ok_or_else(|| Error::internal("a plan names a relation that is not there").into())
}

fn keeps_rows(relation: &Relation) -> bool {
    matches!(relation.kind, RelationKind::Table(_) | RelationKind::MaterializedView(_))
}

fn not_permitted(catalog: &Catalog, role: RoleOid, relation: &Relation, verb: &str) -> Option<Notice> {
    let roles = catalog.roles();
    let may = roles.owns(role, &relation.access) || roles.owns(role, catalog.database_access());
    (!may).then(|| skipping(&relation.name.name, &format!("only table or database owner can {verb} it")))
}

fn not_a_table(relation: &Relation, verb: &str) -> Option<Notice> {
    let reason = format!("cannot {verb} non-tables or special system tables");
    (!keeps_rows(relation)).then(|| skipping(&relation.name.name, &reason))
}

fn skipping(name: &str, reason: &str) -> Notice {
    Notice::warning(Condition::Warning, format!("skipping \"{name}\" --- {reason}"))
}
