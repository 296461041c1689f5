//! `VACUUM`, `ANALYZE` and `REINDEX`: what they name is looked up, and nothing is planned: rows that nobody sees any
//! more go by themselves, no plan rests on statistics, and indexes are never behind their rows.

use millstream_runtime::plan::RelationId;

use crate::catalog::{Catalog, Relation, RelationKind};
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::parse::ast::{Identifier, Maintenance, Name, ReindexName, VacuumName};
use crate::settings::PlanSettings;
use crate::statement::{Maintain, MaintainTarget, ReindexTarget};

use super::index;
use super::names::{find, lookup, unknown, unknown_schema};

/// What a statement that keeps things in order names.
pub(crate) fn maintain(statement: &Maintenance, catalog: &Catalog, settings: &PlanSettings) -> Result<Maintain> {
    let targets =
        |names: &[VacuumName]| names.iter().map(|name| target(name, catalog, settings)).collect::<Result<Vec<_>>>();
    Ok(match statement {
        Maintenance::Vacuum { names } => Maintain::Vacuum { targets: targets(names)? },
        Maintenance::Analyze { names } => Maintain::Analyze { targets: targets(names)? },
        Maintenance::Reindex { name, concurrently } => {
            Maintain::Reindex { target: reindexed(name, catalog, settings)?, concurrently: *concurrently }
        }
    })
}

fn target(named: &VacuumName, catalog: &Catalog, settings: &PlanSettings) -> Result<MaintainTarget> {
    let VacuumName { name, columns } = named;
    if let Some(relation) = lookup(name, catalog, settings) {
        check_columns(&relation, columns)?;
        return Ok(MaintainTarget::Relation(relation.id));
    }
    let may_be_of_postgres = match name.schema.as_deref() {
        Some(schema) => ["pg_catalog", "information_schema"].contains(&schema),
        None => name.name.starts_with("pg_"),
    };
    if may_be_of_postgres {
        let Name { schema, name, position } = name.clone();
        return Ok(MaintainTarget::OfPostgres { schema, name, position });
    }
    Err(unknown(name, catalog))
}

fn check_columns(relation: &Relation, columns: &[Identifier]) -> Result<()> {
    for (place, column) in columns.iter().enumerate() {
        let Identifier { value, position } = column;
        let table = &relation.name.name;
        if relation.schema.index_of(value).is_err() {
            let message = format!("column \"{value}\" of relation \"{table}\" does not exist");
            return Err(PlanError::new(PlanErrorKind::UndefinedColumn, message).at(Some(*position)));
        }
        if columns[..place].iter().any(|before| before.value == *value) {
            let message = format!("column \"{value}\" of relation \"{table}\" appears more than once");
            return Err(PlanError::new(PlanErrorKind::DuplicateColumn, message).at(Some(*position)));
        }
    }
    Ok(())
}

fn reindexed(name: &ReindexName, catalog: &Catalog, settings: &PlanSettings) -> Result<ReindexTarget> {
    match name {
        ReindexName::Index(name) => {
            if let Some(relation) = relation_of_index(name, catalog, settings) {
                return Ok(ReindexTarget::Index { name: name.name.clone(), relation });
            }
            find(name, catalog, settings)?;
            let message = format!("\"{}\" is not an index", name.name);
            Err(PlanError::new(PlanErrorKind::WrongObjectType, message).at(Some(name.position)))
        }
        ReindexName::Table(name) => {
            let not_a_table = || {
                let message = format!("\"{}\" is not a table or materialized view", name.name);
                Err(PlanError::new(PlanErrorKind::WrongObjectType, message).at(Some(name.position)))
            };
            let Some(relation) = lookup(name, catalog, settings) else {
                return match relation_of_index(name, catalog, settings) {
                    Some(_) => not_a_table(),
                    None => find(name, catalog, settings).and_then(|_| not_a_table()),
                };
            };
            if !matches!(relation.kind, RelationKind::Table(_) | RelationKind::MaterializedView(_)) {
                return not_a_table();
            }
            let has_indexes = has_key(&relation) || catalog.indexes_of(relation.id).next().is_some();
            Ok(ReindexTarget::Table { relation: relation.id, has_indexes })
        }
        ReindexName::Schema(name) if !catalog.schemas().contains_key(&name.value) => {
            Err(unknown_schema(&name.value).at(Some(name.position)))
        }
        ReindexName::Schema(name) => Ok(ReindexTarget::Schema { name: name.value.clone() }),
        ReindexName::Database(name) => {
            Ok(ReindexTarget::Database { name: name.value.clone(), position: name.position, is_system: false })
        }
        ReindexName::System(name) => {
            Ok(ReindexTarget::Database { name: name.value.clone(), position: name.position, is_system: true })
        }
    }
}

/// What an index stands on.
fn relation_of_index(name: &Name, catalog: &Catalog, settings: &PlanSettings) -> Option<RelationId> {
    if let Some(index) = index::lookup(name, catalog, settings) {
        return Some(index.relation);
    }
    let table = Name { name: name.name.strip_suffix("_pkey")?.to_string(), ..name.clone() };
    lookup(&table, catalog, settings).filter(|table| has_key(table)).map(|table| table.id)
}

/// A primary key has an index of its own.
fn has_key(relation: &Relation) -> bool {
    matches!(relation.kind, RelationKind::Table(_)) && relation.key().is_some_and(|key| !key.is_empty())
}
