//! `GRANT`, `REVOKE` and `ALTER ... OWNER TO`: the objects that they name. The roles are looked up later.

use std::sync::Arc;

use crate::access::{AccessStatement, GrantObjects, OwnedObject, RoleSpec};
use crate::catalog::{Catalog, Relation};
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::parse::ast::{Grant, GrantTarget, Identifier, Name};
use crate::secret::SecretChange;
use crate::settings::PlanSettings;
use crate::statement::{NewName, ObjectKind, Statement};

use super::names::{find, kind_of, must_be, unknown_schema};
use super::secret::find_secret;

/// `GRANT privileges ON ...`, `REVOKE privileges ON ...`.
pub(crate) fn grant(grant: Grant, catalog: &Catalog, settings: &PlanSettings) -> Result<Statement> {
    let Grant { privileges, target, grantees, option, revoke } = grant;
    let objects = match target {
        GrantTarget::Relations(kind, names) => {
            let relation = |name: &Name| {
                let relation = find(name, catalog, settings)?;
                match kind {
                    Some(kind) => must_be(&relation, kind, "GRANT ON", name)?,
                    None => of_user(&relation, name)?,
                }
                Ok(relation.id)
            };
            GrantObjects::Relations(names.iter().map(relation).collect::<Result<_>>()?)
        }
        GrantTarget::AllInSchemas(names) => GrantObjects::AllInSchemas(schemas(names, catalog)?),
        GrantTarget::Schemas(names) => GrantObjects::Schemas(schemas(names, catalog)?),
        GrantTarget::Secrets(names) => {
            let oid = |name: &Name| find_secret(name, catalog, settings).map(|secret| secret.oid);
            GrantObjects::Secrets(names.iter().map(oid).collect::<Result<_>>()?)
        }
        GrantTarget::Databases(names) => GrantObjects::Databases(names.into_iter().map(|name| name.value).collect()),
    };
    let statement = match revoke {
        None => AccessStatement::Grant { privileges, objects, grantees, grant_option: option },
        Some(cascade) => AccessStatement::Revoke { privileges, objects, grantees, option_only: option, cascade },
    };
    Ok(Statement::Access(Box::new(statement)))
}

/// `ALTER kind name OWNER TO role`.
pub(crate) fn owner_to(
    object: ObjectKind,
    if_exists: bool,
    name: &Name,
    owner: RoleSpec,
    catalog: &Catalog,
    settings: &PlanSettings,
) -> Result<Statement> {
    let tag = object.sql();
    let owned = if object == ObjectKind::Schema {
        if !catalog.schemas().contains_key(&name.name) {
            return Err(unknown_schema(&name.name).at(Some(name.position)));
        }
        OwnedObject::Schema(name.name.clone())
    } else if object == ObjectKind::Secret {
        match find_secret(name, catalog, settings) {
            Ok(secret) => OwnedObject::Secret(secret.oid),
            Err(error) if if_exists => {
                let nothing = SecretChange::Nothing { tag: "ALTER SECRET", notice: error.message };
                return Ok(Statement::Secret(Box::new(nothing)));
            }
            Err(error) => return Err(error),
        }
    } else {
        let relation = match find(name, catalog, settings) {
            // The same as a rename of what is not there: a notice.
            Err(_) if if_exists => {
                return Ok(Statement::Rename { relation: None, to: NewName::Name(name.name.clone()), object });
            }
            found => found?,
        };
        // As in Postgres ALTER TABLE takes what is like a table, too.
        match object {
            ObjectKind::Table => of_user(&relation, name)?,
            _ => must_be(&relation, object, "ALTER", name)?,
        }
        OwnedObject::Relation(relation.id)
    };
    Ok(Statement::Access(Box::new(AccessStatement::OwnerTo { object: owned, owner, tag })))
}

fn of_user(relation: &Arc<Relation>, name: &Name) -> Result<()> {
    if kind_of(relation).is_some() {
        return Ok(());
    }
    let message = format!("permission denied: \"{}\" is a system catalog", name.name);
    Err(PlanError::new(PlanErrorKind::InsufficientPrivilege, message).at(Some(name.position)))
}

fn schemas(names: Vec<Identifier>, catalog: &Catalog) -> Result<Vec<String>> {
    let known = |name: Identifier| match catalog.schemas().contains_key(&name.value) {
        true => Ok(name.value),
        false => Err(unknown_schema(&name.value).at(Some(name.position))),
    };
    names.into_iter().map(known).collect()
}
