//! Names of relations that a definition makes or refers to.

use std::sync::Arc;

use crate::bind::unknown_relation;
use crate::catalog::{Auxiliary, Catalog, QualifiedName, Relation, RelationKind};
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::parse::ast::Name;
use crate::settings::PlanSettings;
use crate::statement::ObjectKind;

/// Schemas that the server fills; nothing can be created in them.
pub(super) const SYSTEM_SCHEMAS: [&str; 3] = ["millstream", "pg_catalog", "information_schema"];

/// Bytes of a name that clients can show; Postgres cuts longer ones, which makes two names one.
const NAME_BYTES_MAX: usize = 63;

/// The full name of a relation that is to be made. With `may_exist` (IF NOT EXISTS, OR REPLACE) a relation of
/// that name is no error.
pub(super) fn new_name(
    name: &Name,
    may_exist: bool,
    catalog: &Catalog,
    settings: &PlanSettings,
) -> Result<QualifiedName> {
    let full = new_place(name, catalog, settings)?;
    check_new(&full, catalog, may_exist).map_err(|error| error.at(Some(name.position)))?;
    Ok(full)
}

/// The full name of anything that is to be made in a schema of the users'.
pub(super) fn new_place(name: &Name, catalog: &Catalog, settings: &PlanSettings) -> Result<QualifiedName> {
    let at = Some(name.position);
    let schema = match &name.schema {
        Some(schema) => schema.clone(),
        None => current_schema(catalog, settings).map_err(|error| error.at(at))?,
    };
    if SYSTEM_SCHEMAS.contains(&schema.as_str()) {
        let message = format!("schema \"{schema}\" belongs to the system");
        return Err(PlanError::new(PlanErrorKind::InvalidDefinition, message)
            .with_hint("Create it in another schema.")
            .at(at));
    }
    if !catalog.schemas().contains_key(&schema) {
        return Err(unknown_schema(&schema).at(at));
    }
    if name.name.len() > NAME_BYTES_MAX {
        let message = format!("name \"{}\" is longer than {NAME_BYTES_MAX} bytes", name.name);
        return Err(PlanError::new(PlanErrorKind::InvalidDefinition, message).with_hint("Use a shorter name.").at(at));
    }
    Ok(QualifiedName { schema, name: name.name.clone() })
}

/// Refuses a name that is taken, too long or kept for rows that did not get through.
pub(super) fn check_new(name: &QualifiedName, catalog: &Catalog, may_exist: bool) -> Result<()> {
    if (catalog.find(name).is_some() && !may_exist) || catalog.find_index(name).is_some() {
        let message = format!("relation \"{}\" already exists", name.name);
        return Err(PlanError::new(PlanErrorKind::DuplicateTable, message));
    }
    if name.name.len() > NAME_BYTES_MAX {
        let message = format!("name \"{}\" is longer than {NAME_BYTES_MAX} bytes", name.name);
        return Err(PlanError::new(PlanErrorKind::InvalidDefinition, message).with_hint("Use a shorter name."));
    }
    let suffixes = [Auxiliary::Rejected, Auxiliary::Late, Auxiliary::Refused].map(Auxiliary::suffix);
    if let Some(suffix) = suffixes.into_iter().find(|suffix| name.name.ends_with(suffix)) {
        let message = format!("a name can't end with \"{suffix}\"");
        return Err(PlanError::new(PlanErrorKind::InvalidDefinition, message)
            .with_detail("Relations of that name hold the rows that did not get through."));
    }
    Ok(())
}

/// The first schema of the search path that exists: it takes new relations.
fn current_schema(catalog: &Catalog, settings: &PlanSettings) -> Result<String> {
    let mut path = settings.search_path.iter().filter(|schema| catalog.schemas().contains_key(*schema));
    path.next().cloned().ok_or_else(|| {
        PlanError::new(PlanErrorKind::UndefinedSchema, "no schema has been selected to create in")
            .with_hint("SET search_path TO a schema that exists.")
    })
}

pub(super) fn unknown_schema(schema: &str) -> PlanError {
    PlanError::new(PlanErrorKind::UndefinedSchema, format!("schema \"{schema}\" does not exist"))
}

/// The relation of a name, found over the search path if it has no schema; rows that did not get through are
/// none.
pub(crate) fn find(name: &Name, catalog: &Catalog, settings: &PlanSettings) -> Result<Arc<Relation>> {
    lookup(name, catalog, settings).ok_or_else(|| unknown(name, catalog))
}

/// What definitions say of a name that is not there: of its schema first, other than queries.
pub(crate) fn unknown(name: &Name, catalog: &Catalog) -> PlanError {
    let of_schema = |schema: &String| catalog.relations().any(|relation| relation.name.schema == *schema);
    let error = match &name.schema {
        Some(schema) if !catalog.schemas().contains_key(schema) && !of_schema(schema) => unknown_schema(schema),
        schema => unknown_relation(catalog, schema.as_deref(), &name.name),
    };
    error.at(Some(name.position))
}

/// The same without the error.
pub(super) fn lookup(name: &Name, catalog: &Catalog, settings: &PlanSettings) -> Option<Arc<Relation>> {
    let in_schema =
        |schema: &str| catalog.find(&QualifiedName { schema: schema.to_string(), name: name.name.clone() }).cloned();
    match &name.schema {
        Some(schema) => in_schema(schema),
        None => crate::bind::search_schemas(settings).find_map(in_schema),
    }
}

/// What a relation is called in SQL; `None` for the server's own.
pub(super) fn kind_of(relation: &Relation) -> Option<ObjectKind> {
    match relation.kind {
        RelationKind::Table(_) => Some(ObjectKind::Table),
        RelationKind::Source(_) => Some(ObjectKind::Source),
        RelationKind::View { .. } => Some(ObjectKind::View),
        RelationKind::MaterializedView(_) => Some(ObjectKind::MaterializedView),
        RelationKind::Sink(_) => Some(ObjectKind::Sink),
        RelationKind::System => None,
    }
}

/// Refuses a relation of another kind than the statement said.
pub(crate) fn must_be(relation: &Relation, expected: ObjectKind, verb: &str, name: &Name) -> Result<()> {
    let found = kind_of(relation);
    if found == Some(expected) {
        return Ok(());
    }
    let article = |kind: ObjectKind| format!("a {}", kind.sql().to_lowercase());
    let message = format!("\"{}\" is not {}", name.name, article(expected));
    let error = PlanError::new(PlanErrorKind::WrongObjectType, message).at(Some(name.position));
    Err(match found {
        Some(kind) => error.with_hint(format!("Use {verb} {} for {}.", kind.sql(), article(kind))),
        None => error.with_detail("It belongs to the system."),
    })
}

/// `materialized view mv`, as messages name a relation.
pub(super) fn described(relation: &Relation) -> String {
    let kind = kind_of(relation).map_or("system relation", ObjectKind::sql).to_lowercase();
    format!("{kind} {}", relation.name.name)
}
