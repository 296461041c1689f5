//! `ALTER ... RENAME TO`, `SWAP WITH` and `SET SCHEMA`, and `ALTER SCHEMA ... RENAME TO`.
//!
//! What reads a relation reads it by its number, so it may have any name: see [`crate::meant`].

use std::sync::Arc;

use crate::catalog::{Catalog, QualifiedName, Relation};
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::parse::ast::{Identifier, Name, NewName as Said};
use crate::settings::PlanSettings;
use crate::statement::{NewName, ObjectKind, Statement};

use super::names::{SYSTEM_SCHEMAS, check_new, described, kind_of, lookup, must_be, unknown, unknown_schema};
use super::schema::check_schema_name;

/// `ALTER kind [IF EXISTS] name RENAME TO | SWAP WITH | SET SCHEMA ...`.
pub(crate) fn rename(
    object: ObjectKind,
    if_exists: bool,
    name: &Name,
    said: &Said,
    catalog: &Catalog,
    settings: &PlanSettings,
) -> Result<Statement> {
    let Some(relation) = lookup(name, catalog, settings) else {
        if if_exists {
            return Ok(Statement::Rename { relation: None, to: NewName::Name(name.name.clone()), object });
        }
        return Err(unknown(name, catalog));
    };
    of_kind(&relation, object, name)?;
    let to = match said {
        Said::Name(new) => {
            let renamed = QualifiedName { schema: relation.name.schema.clone(), name: new.value.clone() };
            check_new(&renamed, catalog, false).map_err(|error| error.at(Some(new.position)))?;
            NewName::Name(new.value.clone())
        }
        Said::Swap(other) => NewName::Swap(swapped(object, &relation, other, catalog, settings)?.id),
        Said::Schema(schema) => {
            check_moved(&relation, schema, catalog)?;
            NewName::Schema(schema.value.clone())
        }
    };
    Ok(Statement::Rename { relation: Some(relation.id), to, object })
}

/// As in Postgres, ALTER TABLE names views, too.
fn of_kind(relation: &Relation, object: ObjectKind, name: &Name) -> Result<()> {
    match kind_of(relation) {
        Some(ObjectKind::View | ObjectKind::MaterializedView) if object == ObjectKind::Table => Ok(()),
        _ => must_be(relation, object, "ALTER", name),
    }
}

/// The relation whose name a relation is to get, and which gets its.
fn swapped(
    object: ObjectKind,
    relation: &Relation,
    other: &Name,
    catalog: &Catalog,
    settings: &PlanSettings,
) -> Result<Arc<Relation>> {
    let found = lookup(other, catalog, settings).ok_or_else(|| unknown(other, catalog))?;
    of_kind(&found, object, other)?;
    let refused = |kind, message: String| PlanError::new(kind, message).at(Some(other.position));
    let (one, two) = (described(relation), described(&found));
    if found.id == relation.id {
        return Err(refused(PlanErrorKind::InvalidDefinition, format!("cannot swap {one} with itself")));
    }
    if kind_of(relation) != kind_of(&found) {
        return Err(refused(PlanErrorKind::WrongObjectType, format!("cannot swap {one} with {two}"))
            .with_detail("Only two relations of one kind swap their names."));
    }
    if relation.name.schema != found.name.schema {
        let message = format!("cannot swap {one} with {two}, which is in another schema");
        return Err(refused(PlanErrorKind::FeatureNotSupported, message)
            .with_hint("Use ALTER ... SET SCHEMA and ALTER ... RENAME TO within one transaction."));
    }
    Ok(found)
}

/// Refuses a schema that is not there, and one in which a name of the relation's is taken.
fn check_moved(relation: &Relation, schema: &Identifier, catalog: &Catalog) -> Result<()> {
    let at = Some(schema.position);
    if SYSTEM_SCHEMAS.contains(&schema.value.as_str()) {
        let message = format!("schema \"{}\" belongs to the system", schema.value);
        return Err(PlanError::new(PlanErrorKind::InvalidDefinition, message).at(at));
    }
    if !catalog.schemas().contains_key(&schema.value) {
        return Err(unknown_schema(&schema.value).at(at));
    }
    if relation.name.schema == schema.value {
        return Ok(());
    }
    let indexes = catalog.indexes_of(relation.id).map(|index| &index.name.name);
    for name in std::iter::once(&relation.name.name).chain(indexes) {
        let moved = QualifiedName { schema: schema.value.clone(), name: name.clone() };
        if catalog.find(&moved).is_some() || catalog.find_index(&moved).is_some() {
            let message = format!("relation \"{name}\" already exists in schema \"{}\"", schema.value);
            return Err(PlanError::new(PlanErrorKind::DuplicateTable, message).at(at));
        }
    }
    Ok(())
}

/// `ALTER SCHEMA name RENAME TO new_name`.
pub(crate) fn rename_schema(name: &Identifier, new_name: &Identifier, catalog: &Catalog) -> Result<Statement> {
    let (at, at_new) = (Some(name.position), Some(new_name.position));
    if !catalog.schemas().contains_key(&name.value) {
        return Err(unknown_schema(&name.value).at(at));
    }
    if SYSTEM_SCHEMAS.contains(&name.value.as_str()) {
        let message = format!("schema \"{}\" belongs to the system", name.value);
        return Err(PlanError::new(PlanErrorKind::InvalidDefinition, message).at(at));
    }
    if catalog.schemas().contains_key(&new_name.value) {
        let message = format!("schema \"{}\" already exists", new_name.value);
        return Err(PlanError::new(PlanErrorKind::DuplicateSchema, message).at(at_new));
    }
    check_schema_name(new_name)?;
    // The text of a table with a connector is read again when a sink into it is made, and names the secret.
    let mut secrets = catalog.secrets().filter(|secret| secret.name.schema == name.value);
    if let Some(used) = secrets.find(|secret| catalog.users_of_secret(secret.oid).next().is_some()) {
        let message = format!("cannot rename schema {} because other objects depend on it", name.value);
        return Err(PlanError::new(PlanErrorKind::DependentObjectsStillExist, message)
            .with_detail(format!("secret {} in it is in use", used.name.name))
            .with_hint("Drop what connects with the secret first.")
            .at(at));
    }
    Ok(Statement::RenameSchema { name: name.value.clone(), new_name: new_name.value.clone() })
}
