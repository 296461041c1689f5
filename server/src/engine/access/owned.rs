//! DROP OWNED: everything that roles own goes, and whatever they were granted.

use std::collections::BTreeSet;

use millstream_planner::access::{AclItem, DefaultsFor, Grant, ObjectAccess, RoleOid, RoleSpec, revoke};
use millstream_planner::catalog::Catalog;
use millstream_runtime::plan::RelationId;

use super::check::noun;
use super::{AccessChange, Actor, Changing, denied};
use crate::engine::system::is_system_schema;
use crate::session::SqlError;
use crate::session::sqlstate::Condition;

/// What DROP OWNED drops.
pub struct Owned {
    /// The roles.
    pub roles: Vec<RoleOid>,
    /// Relations, and what CASCADE takes along; dependents are not among them unless they were said to go.
    pub relations: Vec<RelationId>,
    /// Schemas.
    pub schemas: Vec<String>,
    /// Secrets, by OID.
    pub secrets: Vec<u32>,
    /// What CASCADE takes along, for notices.
    pub cascaded: Vec<String>,
}

/// What the named roles own. `with_dependents` adds to relations what reads them, and puts dependents first.
pub fn owned(
    view: &Catalog,
    specs: &[RoleSpec],
    cascade: bool,
    actor: Actor,
    with_dependents: impl Fn(Vec<RelationId>) -> Vec<RelationId>,
) -> Result<Owned, SqlError> {
    let roles = roles(view, specs, actor)?;
    let owns = |access: &ObjectAccess| roles.contains(&access.owner);
    let of_users = view.relations().filter(|relation| !is_system_schema(&relation.name.schema));
    let own: BTreeSet<RelationId> =
        of_users.filter(|relation| owns(&relation.access)).map(|relation| relation.id).collect();
    let schemas = view.schemas_with_access().iter().filter(|(name, _)| !is_system_schema(name));
    let schemas: Vec<String> = schemas.filter(|(_, access)| owns(access)).map(|(name, _)| name.clone()).collect();
    let in_schema = |name: &str| schemas.iter().any(|schema| schema == name);
    let secrets = view.secrets().filter(|secret| owns(&secret.access) || in_schema(&secret.name.schema));
    let (own_secrets, others_secrets): (Vec<_>, Vec<_>) = secrets.partition(|secret| owns(&secret.access));
    let inside = view.relations().filter(|relation| in_schema(&relation.name.schema)).map(|relation| relation.id);
    let using = own_secrets.iter().chain(&others_secrets).flat_map(|secret| view.users_of_secret(secret.oid));
    let roots = own.iter().copied().chain(inside).chain(using).collect();
    let relations = with_dependents(roots);
    let along = relations.iter().filter(|id| !own.contains(id)).filter_map(|id| view.get(*id));
    let along = along.map(|relation| format!("{} {}", noun(&relation.kind), relation.name.name));
    let cascaded: Vec<String> =
        along.chain(others_secrets.iter().map(|secret| format!("secret {}", secret.name.name))).collect();
    if !cascade && !cascaded.is_empty() {
        let message = "cannot drop desired object(s) because other objects depend on them";
        let detail: Vec<String> = cascaded.iter().map(|what| format!("{what} depends on one of them")).collect();
        return Err(SqlError::new(Condition::DependentObjectsStillExist, message)
            .with_detail(detail.join("\n"))
            .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
    }
    let secrets = own_secrets.iter().chain(&others_secrets).map(|secret| secret.oid).collect();
    Ok(Owned { roles, relations, schemas, secrets, cascaded })
}

fn roles(view: &Catalog, specs: &[RoleSpec], actor: Actor) -> Result<Vec<RoleOid>, SqlError> {
    let changing = Changing { view: view.clone(), actor, planned: Vec::new(), notices: Vec::new() };
    let mut roles = Vec::new();
    for spec in specs {
        let role = changing.role(spec)?;
        if !changing.roles_known().has_privileges_of(actor.current, role.oid) {
            return Err(denied("permission denied to drop objects").with_detail(format!(
                "Only roles with privileges of role \"{}\" may drop objects owned by it.",
                role.name
            )));
        }
        if role.is_given() {
            let message = format!(
                "cannot drop objects owned by role {} because they are required by the database system",
                role.name
            );
            return Err(SqlError::new(Condition::DependentObjectsStillExist, message));
        }
        roles.push(role.oid);
    }
    Ok(roles)
}

/// The changes that take back whatever roles were granted on what is still there, and their default privileges.
pub fn revoked(view: &Catalog, roles: &[RoleOid], actor: Actor) -> Result<Vec<AccessChange>, SqlError> {
    let mut changing = Changing { view: view.clone(), actor, planned: Vec::new(), notices: Vec::new() };
    let left = |access: &ObjectAccess| {
        let acl = access.acl.as_ref()?;
        let left = without(acl, roles, access.owner);
        (left != *acl).then_some(ObjectAccess { owner: access.owner, acl: Some(left) })
    };
    let relations = view.relations().filter_map(|relation| {
        left(&relation.access).map(|access| AccessChange::Relation { relation: relation.id, access })
    });
    let schemas = view.schemas_with_access().iter();
    let schemas = schemas
        .filter_map(|(name, access)| left(access).map(|access| AccessChange::Schema { name: name.clone(), access }));
    let secrets = view.secrets();
    let secrets = secrets
        .filter_map(|secret| left(&secret.access).map(|access| AccessChange::Secret { oid: secret.oid, access }));
    let database = left(view.database_access()).map(AccessChange::Database);
    let changes: Vec<AccessChange> = relations.chain(schemas).chain(secrets).chain(database).collect();
    changes.into_iter().try_for_each(|change| changing.change(change))?;
    let defaults: Vec<(DefaultsFor, u32, Vec<AclItem>)> =
        view.default_privileges().iter().map(|(of, (oid, acl))| (of.clone(), *oid, acl.clone())).collect();
    for (of, oid, acl) in defaults {
        let left = match roles.contains(&of.owner) {
            true => of.unsaid(),
            false => without(&acl, roles, of.owner),
        };
        if left != acl {
            changing.set_defaults(of, oid, left)?;
        }
    }
    Ok(changing.planned)
}

/// A list without what roles were granted, and without what they have given on.
fn without(acl: &[AclItem], roles: &[RoleOid], owner: RoleOid) -> Vec<AclItem> {
    let mut left = acl.to_vec();
    while let Some(item) = left.iter().find(|item| item.grantee != owner && roles.contains(&item.grantee)).copied() {
        let AclItem { grantee, grantor, privileges, .. } = item;
        let taken = Grant { grantee, grantor, privileges, option_only: false };
        // With CASCADE nothing stands against it.
        let _never = revoke(&mut left, &taken, owner, true);
        left.retain(|other| other.grantee != grantee || other.grantor != grantor);
    }
    left
}
