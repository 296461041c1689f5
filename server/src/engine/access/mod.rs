//! Who may do what: roles, owners and privileges as statements change them, and the one place that asks.
//!
//! What holds: a statement is asked about when it runs, by [`check::authorize`], over all that its plan names, and in a
//! transaction once more at COMMIT;
//! what is durable is the outcome of a statement ([`AccessChange`]), never its text, which may hold a password.
//! A snapshot holds the same changes: those that lead from an empty catalog to what there is.

pub mod attempts;
pub mod check;
pub mod connections;
mod defaults;
mod define;
mod first;
mod grants;
mod owned;
pub mod password;
#[cfg(test)]
mod tests;

use millstream_planner::access::{
    AccessStatement, AclItem, BOOTSTRAP, DefaultsFor, ObjectAccess, Role, RoleOid, RoleSpec, Roles,
};
use millstream_planner::catalog::{Catalog, Relation};
use millstream_planner::secret::Secret;
use millstream_runtime::plan::RelationId;
use millstream_runtime::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::session::sqlstate::Condition;
use crate::session::{Notice, SqlError};

pub use owned::{owned, revoked};

/// Who runs a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Whose privileges count: what `current_user` says.
    pub current: RoleOid,
    /// Who is connected: what `session_user` says.
    pub session: RoleOid,
}

impl Actor {
    /// The server itself: its command line, its demo, its tests.
    pub const SERVER: Self = Self { current: BOOTSTRAP, session: BOOTSTRAP };
}

/// What a statement about roles, owners or privileges did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessChange {
    /// A role is now like this, new or not.
    PutRole(Role),
    /// A role is gone.
    DropRole(RoleOid),
    /// Whose a relation is now, and who may use it.
    Relation {
        /// Which one.
        relation: RelationId,
        /// The whole of it.
        access: ObjectAccess,
    },
    /// Whose a schema is now, and who may use it.
    Schema {
        /// Which one.
        name: String,
        /// The whole of it.
        access: ObjectAccess,
    },
    /// Who may connect and make schemas now.
    Database(ObjectAccess),
    /// What is granted on what a role will make.
    Defaults {
        /// On what.
        of: DefaultsFor,
        /// Its OID.
        oid: u32,
        /// The whole of it; `None`: what holds without a word.
        acl: Option<Vec<AclItem>>,
    },
    /// Whose a secret is now, and who may use it.
    Secret {
        /// Which one.
        oid: u32,
        /// The whole of it.
        access: ObjectAccess,
    },
}

impl AccessChange {
    /// Puts the change into a catalog.
    pub fn apply(&self, view: &mut Catalog) -> Result<()> {
        match self {
            Self::PutRole(role) => view.roles_mut().put(role.clone()),
            Self::DropRole(oid) => view.roles_mut().remove(*oid),
            Self::Relation { relation, access } => {
                let old = view
                    .get(*relation)
                    .ok_or_else(|| Error::data("a change of privileges in the log names no relation"))?;
                view.put(Relation { access: access.clone(), ..Relation::clone(old) });
            }
            Self::Schema { name, access } => view.set_schema_access(name.clone(), access.clone()),
            Self::Database(access) => view.set_database_access(access.clone()),
            Self::Defaults { of, oid, acl } => view.default_privileges_mut().set(of.clone(), *oid, acl.clone()),
            Self::Secret { oid, access } => {
                let old = view
                    .secret(*oid)
                    .ok_or_else(|| Error::data("a change of privileges in the log names no secret"))?;
                view.put_secret(Secret { access: access.clone(), ..Secret::clone(old) });
            }
        }
        Ok(())
    }

    /// The OID that the change takes, if it makes something.
    pub fn oid(&self) -> Option<u32> {
        match self {
            Self::PutRole(role) => Some(role.oid.0),
            Self::Defaults { oid, .. } => Some(*oid),
            Self::DropRole(_)
            | Self::Relation { .. }
            | Self::Schema { .. }
            | Self::Database(_)
            | Self::Secret { .. } => None,
        }
    }
}

/// The changes that lead from a catalog without any to this one, for a snapshot.
pub fn stored(view: &Catalog) -> Vec<AccessChange> {
    let given = Roles::default();
    let roles = view.roles().iter().filter(|role| given.get(role.oid) != Some(role));
    let mut changes: Vec<AccessChange> = roles.map(|role| AccessChange::PutRole(Role::clone(role))).collect();
    let schemas = view.schemas_with_access().iter();
    changes.extend(schemas.map(|(name, access)| AccessChange::Schema { name: name.clone(), access: access.clone() }));
    let of_users = view.relations().filter(|relation| !super::system::is_system_schema(&relation.name.schema));
    changes.extend(
        of_users.map(|relation| AccessChange::Relation { relation: relation.id, access: relation.access.clone() }),
    );
    let secrets = view.secrets();
    changes.extend(secrets.map(|secret| AccessChange::Secret { oid: secret.oid, access: secret.access.clone() }));
    if *view.database_access() != ObjectAccess::default() {
        changes.push(AccessChange::Database(view.database_access().clone()));
    }
    let defaults = view.default_privileges().iter();
    changes.extend(defaults.map(|(of, (oid, acl))| AccessChange::Defaults {
        of: of.clone(),
        oid: *oid,
        acl: Some(acl.clone()),
    }));
    changes
}

/// What a statement about access comes to. Pure: nothing is changed here.
pub struct Planned {
    /// What it does; nothing when there is nothing to do.
    pub changes: Vec<AccessChange>,
    /// What the client is told.
    pub notices: Vec<Notice>,
}

/// What a statement about access comes to over a catalog. New roles get their numbers from `next_oid` on.
pub fn plan(
    view: &Catalog,
    statement: &AccessStatement,
    actor: Actor,
    database: &str,
    next_oid: u32,
) -> Result<Planned, SqlError> {
    let mut changing = Changing { view: view.clone(), actor, planned: Vec::new(), notices: Vec::new() };
    match statement {
        AccessStatement::CreateRole { .. }
        | AccessStatement::AlterRole { .. }
        | AccessStatement::RenameRole { .. }
        | AccessStatement::DropRoles { .. }
        | AccessStatement::GrantRoles { .. }
        | AccessStatement::RevokeRoles { .. } => changing.roles(statement, next_oid)?,
        AccessStatement::Grant { .. }
        | AccessStatement::Revoke { .. }
        | AccessStatement::OwnerTo { .. }
        | AccessStatement::ReassignOwned { .. } => changing.privileges(statement, database)?,
        AccessStatement::ChangeDefaults(said) => changing.default_privileges(said, next_oid)?,
        AccessStatement::DropOwned { .. } => {
            return Err(Error::internal("what DROP OWNED drops is planned elsewhere").into());
        }
    }
    Ok(Planned { changes: changing.planned, notices: changing.notices })
}

/// A catalog under change, and what was done to it.
struct Changing {
    view: Catalog,
    actor: Actor,
    planned: Vec<AccessChange>,
    notices: Vec<Notice>,
}

impl Changing {
    fn change(&mut self, change: AccessChange) -> Result<(), SqlError> {
        change.apply(&mut self.view)?;
        self.planned.push(change);
        Ok(())
    }

    fn roles_known(&self) -> &Roles {
        self.view.roles()
    }

    /// The role that a statement names; PUBLIC is none.
    fn role(&self, spec: &RoleSpec) -> Result<Role, SqlError> {
        let oid = match spec {
            RoleSpec::CurrentUser => self.actor.current,
            RoleSpec::SessionUser => self.actor.session,
            RoleSpec::Name(name) => match self.roles_known().find(name) {
                Some(role) => role.oid,
                None => return Err(unknown_role(name)),
            },
            RoleSpec::Public => return Err(unknown_role("public")),
        };
        match self.roles_known().get(oid) {
            Some(role) => Ok(Role::clone(role)),
            None => Err(unknown_role(&self.roles_known().name_of(oid))),
        }
    }

    fn is_superuser(&self) -> bool {
        self.roles_known().is_superuser(self.actor.current)
    }
}

/// `role "x" does not exist`.
pub fn unknown_role(name: &str) -> SqlError {
    SqlError::new(Condition::UndefinedObject, format!("role \"{name}\" does not exist"))
}

/// 42501 with these words.
pub fn denied(message: impl Into<String>) -> SqlError {
    SqlError::new(Condition::InsufficientPrivilege, message)
}
