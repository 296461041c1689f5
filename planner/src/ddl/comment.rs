//! `COMMENT ON`: what the object is.

use crate::catalog::{Catalog, Relation, RelationKind};
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::parse::ast::{CommentObject, Name};
use crate::settings::PlanSettings;
use crate::statement::{CommentTarget, Statement};

use super::index;
use super::names::{find, must_be, unknown, unknown_schema};
use super::secret::find_secret;

/// `COMMENT ON ... IS ...`
pub(crate) fn comment(
    object: &CommentObject,
    text: Option<String>,
    catalog: &Catalog,
    settings: &PlanSettings,
) -> Result<Statement> {
    let target = match object {
        CommentObject::Schema(schema) => {
            if !catalog.schemas().contains_key(&schema.value) {
                return Err(unknown_schema(&schema.value).at(Some(schema.position)));
            }
            CommentTarget::Schema { name: schema.value.clone() }
        }
        CommentObject::Relation(kind, name) => {
            let relation = find(name, catalog, settings)?;
            must_be(&relation, *kind, "COMMENT ON", name)?;
            CommentTarget::Relation { relation: relation.id }
        }
        CommentObject::Column(name, column) => {
            let relation = find(name, catalog, settings)?;
            if matches!(relation.kind, RelationKind::System) {
                return Err(of_the_system(name));
            }
            let index = relation.schema.index_of(&column.value).map_err(|_| {
                let message =
                    format!("column \"{}\" of relation \"{}\" does not exist", column.value, relation.name.name);
                PlanError::new(PlanErrorKind::UndefinedColumn, message).at(Some(column.position))
            })?;
            CommentTarget::Column { relation: relation.id, column: index }
        }
        CommentObject::Index(name) => of_index(name, catalog, settings)?,
        CommentObject::Constraint(constraint, name) => {
            let relation = find(name, catalog, settings)?;
            if !has_key(&relation) || constraint.value != format!("{}_pkey", relation.name.name) {
                let message =
                    format!("constraint \"{}\" for table \"{}\" does not exist", constraint.value, relation.name.name);
                let error = PlanError::new(PlanErrorKind::UndefinedObject, message);
                return Err(error.at(Some(constraint.position)));
            }
            CommentTarget::Constraint { relation: relation.id }
        }
        CommentObject::Secret(name) => CommentTarget::Secret { oid: find_secret(name, catalog, settings)?.oid },
        CommentObject::Role(name) => match catalog.roles().find(&name.value) {
            Some(role) => CommentTarget::Role { role: role.oid },
            None => {
                let message = format!("role \"{}\" does not exist", name.value);
                return Err(PlanError::new(PlanErrorKind::UndefinedObject, message).at(Some(name.position)));
            }
        },
        CommentObject::Database(_) => CommentTarget::Database,
    };
    let database = match object {
        CommentObject::Database(name) => Some(name.value.clone()),
        _ => None,
    };
    Ok(Statement::Comment { target, database, text })
}

/// An index: one that was made, or that of a primary key.
fn of_index(name: &Name, catalog: &Catalog, settings: &PlanSettings) -> Result<CommentTarget> {
    if let Some(index) = index::lookup(name, catalog, settings) {
        return Ok(CommentTarget::Index { oid: index.oid, relation: index.relation });
    }
    let table = name.name.strip_suffix("_pkey").map(|table| Name { name: table.to_owned(), ..name.clone() });
    let table = table.and_then(|table| find(&table, catalog, settings).ok());
    if let Some(keyed) = table.filter(|table| has_key(table)) {
        return Ok(CommentTarget::PrimaryKey { relation: keyed.id });
    }
    match find(name, catalog, settings) {
        Ok(_) => {
            let message = format!("\"{}\" is not an index", name.name);
            Err(PlanError::new(PlanErrorKind::WrongObjectType, message).at(Some(name.position)))
        }
        Err(_) => Err(unknown(name, catalog)),
    }
}

fn has_key(relation: &Relation) -> bool {
    match &relation.kind {
        RelationKind::Table(table) => !table.input.primary_key.is_empty(),
        RelationKind::Source(source) => !source.input.primary_key.is_empty(),
        _ => false,
    }
}

fn of_the_system(name: &Name) -> PlanError {
    let message = format!("permission denied: \"{}\" is a system relation", name.name);
    PlanError::new(PlanErrorKind::InsufficientPrivilege, message).at(Some(name.position))
}
