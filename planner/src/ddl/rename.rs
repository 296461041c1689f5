//! `ALTER ... RENAME TO`.

use crate::catalog::{Catalog, QualifiedName};
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::parse::ast::{Identifier, Name};
use crate::settings::PlanSettings;
use crate::statement::{ObjectKind, Statement};

use super::names::{check_new, described, kind_of, lookup, must_be, unknown};

/// `ALTER kind [IF EXISTS] name RENAME TO new_name`.
///
/// A relation that others read keeps its name: views are planned again from their text at every start, and
/// the text says the old one.
pub(crate) fn rename(
    object: ObjectKind,
    if_exists: bool,
    name: &Name,
    new_name: &Identifier,
    catalog: &Catalog,
    settings: &PlanSettings,
) -> Result<Statement> {
    let Some(relation) = lookup(name, catalog, settings) else {
        if if_exists {
            return Ok(Statement::Rename { relation: None, new_name: new_name.value.clone(), object });
        }
        return Err(unknown(name, catalog));
    };
    // As in Postgres, ALTER TABLE names views, too.
    if object != ObjectKind::Table
        || !matches!(kind_of(&relation), Some(ObjectKind::View | ObjectKind::MaterializedView))
    {
        must_be(&relation, object, "ALTER", name)?;
    }
    let renamed = QualifiedName { schema: relation.name.schema.clone(), name: new_name.value.clone() };
    check_new(&renamed, catalog, false).map_err(|error| error.at(Some(new_name.position)))?;
    let dependents = catalog.dependents(relation.id);
    if !dependents.is_empty() {
        let detail: Vec<String> = dependents
            .iter()
            .map(|dependent| format!("{} depends on {}", described(dependent), described(&relation)))
            .collect();
        let message = format!("cannot rename {} because other objects depend on it", described(&relation));
        return Err(PlanError::new(PlanErrorKind::DependentObjectsStillExist, message)
            .with_detail(detail.join("\n"))
            .with_hint("Create a view of the new name over it.")
            .at(Some(name.position)));
    }
    Ok(Statement::Rename { relation: Some(relation.id), new_name: new_name.value.clone(), object })
}
