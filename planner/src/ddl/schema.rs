//! `CREATE SCHEMA` and `DROP SCHEMA`.

use crate::catalog::Catalog;
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::parse::ast::Identifier;
use crate::statement::Statement;

use super::names::{described, unknown_schema};

/// Prefix that Postgres keeps for its own schemas.
const RESERVED_PREFIX: &str = "pg_";

/// `CREATE SCHEMA [IF NOT EXISTS] name`.
pub(crate) fn create_schema(name: Identifier, if_not_exists: bool, catalog: &Catalog) -> Result<Statement> {
    let at = Some(name.position);
    if catalog.schemas().contains_key(&name.value) && !if_not_exists {
        let message = format!("schema \"{}\" already exists", name.value);
        return Err(PlanError::new(PlanErrorKind::DuplicateSchema, message).at(at));
    }
    check_schema_name(&name)?;
    Ok(Statement::CreateSchema { name: name.value, if_not_exists })
}

/// Refuses the names that Postgres keeps for itself.
pub(super) fn check_schema_name(name: &Identifier) -> Result<()> {
    if !name.value.starts_with(RESERVED_PREFIX) {
        return Ok(());
    }
    let message = format!("unacceptable schema name \"{}\"", name.value);
    Err(PlanError::new(PlanErrorKind::ReservedName, message)
        .with_detail("The prefix \"pg_\" is reserved for system schemas.")
        .at(Some(name.position)))
}

/// `DROP SCHEMA [IF EXISTS] names [CASCADE]`. What stands in them goes with CASCADE only.
pub(crate) fn drop_schemas(
    names: Vec<Identifier>,
    if_exists: bool,
    cascade: bool,
    catalog: &Catalog,
) -> Result<Statement> {
    for name in &names {
        let at = Some(name.position);
        if !catalog.schemas().contains_key(&name.value) && !if_exists {
            return Err(unknown_schema(&name.value).at(at));
        }
        let inside = catalog.relations().filter(|relation| relation.name.schema == name.value);
        let secrets = catalog.secrets().filter(|secret| secret.name.schema == name.value);
        let secrets = secrets.map(|secret| format!("secret {}", secret.name.name));
        let inside = inside.map(|relation| described(relation)).chain(secrets);
        let inside: Vec<String> = inside.map(|object| format!("{object} depends on schema {}", name.value)).collect();
        if !cascade && !inside.is_empty() {
            let message = format!("cannot drop schema {} because other objects depend on it", name.value);
            return Err(PlanError::new(PlanErrorKind::DependentObjectsStillExist, message)
                .with_detail(inside.join("\n"))
                .with_hint("Use DROP ... CASCADE to drop the dependent objects too.")
                .at(at));
        }
    }
    Ok(Statement::DropSchema { names: names.into_iter().map(|name| name.value).collect(), if_exists, cascade })
}
