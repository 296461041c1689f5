//! `COMMENT ON`: what the object is.

use crate::catalog::{Catalog, Relation, RelationKind};
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::parse::ast::{CommentObject, Name};
use crate::settings::PlanSettings;
use crate::statement::{CommentTarget, Statement};

use super::names::{find, must_be, unknown, unknown_schema};

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
        CommentObject::Index(name) => {
            let table = name.name.strip_suffix("_pkey").map(|table| Name { name: table.to_owned(), ..name.clone() });
            let table = table.and_then(|table| find(&table, catalog, settings).ok());
            let keyed = table.filter(|table| has_key(table)).ok_or_else(|| unknown(name, catalog))?;
            CommentTarget::PrimaryKey { relation: keyed.id }
        }
    };
    Ok(Statement::Comment { target, text })
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
