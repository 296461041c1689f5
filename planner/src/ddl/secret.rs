//! `CREATE SECRET`, `ALTER SECRET` and `DROP SECRET`, and the secrets that options name.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::bind::{nearest, search_schemas};
use crate::catalog::{Catalog, QualifiedName};
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::parse::ast::{Name, SecretStatement};
use crate::secret::{Secret, SecretChange};
use crate::settings::PlanSettings;
use crate::statement::Statement;

use super::drop::dependents_first;
use super::names::{described, new_place};

/// Defines, changes or drops secrets.
pub(crate) fn secret(statement: SecretStatement, catalog: &Catalog, settings: &PlanSettings) -> Result<Statement> {
    let change = match statement {
        SecretStatement::Create { name, if_not_exists, value } => {
            let full = new_place(&name, catalog, settings)?;
            let exists = format!("secret \"{}\" already exists", full.name);
            match catalog.find_secret(&full) {
                None => SecretChange::Create { name: full, value },
                Some(_) if if_not_exists => SecretChange::Nothing { tag: "CREATE SECRET", notice: exists },
                Some(_) => {
                    return Err(PlanError::new(PlanErrorKind::DuplicateObject, exists).at(Some(name.position)));
                }
            }
        }
        SecretStatement::Alter { name, if_exists, value } => match find_secret(&name, catalog, settings) {
            Ok(secret) => SecretChange::Alter { oid: secret.oid, value },
            Err(error) if if_exists => SecretChange::Nothing { tag: "ALTER SECRET", notice: error.message },
            Err(error) => return Err(error),
        },
        SecretStatement::Drop { names, if_exists, cascade } => {
            drop_secrets(&names, if_exists, cascade, catalog, settings)?
        }
    };
    Ok(Statement::Secret(Box::new(change)))
}

fn drop_secrets(
    names: &[Name],
    if_exists: bool,
    cascade: bool,
    catalog: &Catalog,
    settings: &PlanSettings,
) -> Result<SecretChange> {
    let (mut oids, mut notices) = (Vec::new(), Vec::new());
    let mut users = BTreeSet::new();
    for name in names {
        let secret = match find_secret(name, catalog, settings) {
            Ok(secret) => secret,
            Err(error) if if_exists => {
                notices.push(format!("{}, skipping", error.message));
                continue;
            }
            Err(error) => return Err(error),
        };
        let using: Vec<_> = catalog.users_of_secret(secret.oid).collect();
        if !using.is_empty() && !cascade {
            let detail = using.iter().filter_map(|id| catalog.get(*id));
            let detail = detail.map(|user| format!("{} depends on secret {}", described(user), secret.name.name));
            let message = format!("cannot drop secret {} because other objects depend on it", secret.name.name);
            return Err(PlanError::new(PlanErrorKind::DependentObjectsStillExist, message)
                .with_detail(detail.collect::<Vec<_>>().join("\n"))
                .with_hint("Use DROP ... CASCADE to drop the dependent objects too.")
                .at(Some(name.position)));
        }
        users.extend(using);
        if !oids.contains(&secret.oid) {
            oids.push(secret.oid);
        }
    }
    let relations = dependents_first(users.into_iter(), catalog);
    let along = relations.iter().rev().filter_map(|id| catalog.get(*id));
    notices.extend(along.map(|relation| format!("drop cascades to {}", described(relation))));
    Ok(SecretChange::Drop { oids, relations, notices })
}

/// The secret of a name, found over the search path if it has no schema.
pub(crate) fn find_secret(name: &Name, catalog: &Catalog, settings: &PlanSettings) -> Result<Arc<Secret>> {
    let in_schema = |schema: &str| {
        catalog.find_secret(&QualifiedName { schema: schema.to_string(), name: name.name.clone() }).cloned()
    };
    let found = match &name.schema {
        Some(schema) => in_schema(schema),
        None => search_schemas(settings).find_map(in_schema),
    };
    found.ok_or_else(|| {
        let message = format!("secret \"{}\" does not exist", name.name);
        let error = PlanError::new(PlanErrorKind::UndefinedObject, message).at(Some(name.position));
        match nearest(&name.name, catalog.secrets().map(|secret| secret.name.name.as_str())) {
            Some(close) => error.with_hint(format!("Perhaps you meant the secret \"{close}\".")),
            None => error,
        }
    })
}
