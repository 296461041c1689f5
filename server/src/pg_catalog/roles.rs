//! Roles as the catalog shows them, and what they may do: the one place of the catalog that knows grants.

use std::sync::Arc;

use millstream_planner::access::{AclItem, ObjectAccess, ObjectClass, Privileges, Role, RoleOid, Roles};
use millstream_planner::catalog::{QualifiedName, Relation};

use super::CatalogView;
use super::objects::{OWNER_OID, Object};
use super::sql::datum::Datum;

/// A role.
#[derive(Clone, Debug)]
pub struct RoleRow {
    /// Its OID, kept over restarts.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// Whether it may do everything.
    pub superuser: bool,
    /// Whether it uses what the roles may do that it is a member of.
    pub inherits: bool,
    /// Whether it may make roles.
    pub creates_roles: bool,
    /// Whether it may log in.
    pub logs_in: bool,
    /// Its connections at a time.
    pub connection_limit: Option<u32>,
    /// When its password ends, microseconds since 1970.
    pub valid_until_micros: Option<i64>,
}

impl RoleRow {
    /// All roles.
    pub fn all(roles: &Roles) -> Vec<Self> {
        let row = |role: &Arc<Role>| Self {
            oid: role.oid.0,
            name: role.name.clone(),
            superuser: role.superuser,
            inherits: role.inherit,
            creates_roles: role.create_role,
            logs_in: role.login,
            connection_limit: role.connection_limit,
            valid_until_micros: role.valid_until_micros,
        };
        roles.iter().map(row).collect()
    }

    /// The one user of a server without roles, who may do everything.
    #[cfg(test)]
    pub fn only(name: &str) -> Self {
        Self {
            oid: OWNER_OID,
            name: name.to_owned(),
            superuser: true,
            inherits: true,
            creates_roles: true,
            logs_in: true,
            connection_limit: None,
            valid_until_micros: None,
        }
    }
}

/// A role that is in another.
#[derive(Clone, Copy, Debug)]
pub struct MemberRow {
    /// The role that is joined.
    pub role: u32,
    /// The role that joins it.
    pub member: u32,
    /// Whether the member may let others in.
    pub admin: bool,
}

impl MemberRow {
    /// All of them.
    pub fn all(roles: &Roles) -> Vec<Self> {
        let of = |member: &Arc<Role>| {
            let member_oid = member.oid.0;
            let rows = member.member_of.iter();
            rows.map(move |(of, how)| Self { role: of.0, member: member_oid, admin: how.admin }).collect::<Vec<_>>()
        };
        roles.iter().flat_map(of).collect()
    }
}

/// What a privilege is on.
#[derive(Clone, Copy)]
pub(super) enum Privileged<'a> {
    Relation(&'a Object),
    Schema(u32),
    Database,
}

/// The owner of a relation.
pub(super) fn owner_of(_: &CatalogView, relation: &Relation) -> u32 {
    relation.access.owner.0
}

fn schema_access(view: &CatalogView, schema: u32) -> Option<ObjectAccess> {
    let name = view.catalog.schemas().iter().find(|(_, oid)| **oid == schema)?.0;
    Some(view.catalog.schema_access(name))
}

/// The owner of a schema.
pub(super) fn schema_owner(view: &CatalogView, schema: u32) -> u32 {
    schema_access(view, schema).map_or(OWNER_OID, |access| access.owner.0)
}

/// The name of a schema's owner.
pub(super) fn schema_owner_name(view: &CatalogView, schema: u32) -> Option<&str> {
    let owner = schema_owner(view, schema);
    view.roles.iter().find(|role| role.oid == owner).map(|role| role.name.as_str())
}

/// What was granted on an object, as Postgres shows it; nothing as long as nothing was.
pub(super) fn acl_of(view: &CatalogView, on: Privileged<'_>) -> Datum {
    let Some(items) = access_of(view, on).and_then(|(_, access)| access.acl) else { return Datum::Null };
    Datum::texts(items.iter().map(|item| item.shown(|oid| view.catalog.roles().name_of(oid))))
}

/// What may be done with a relation, and by whom; its owner may do everything with what is the server's own.
pub(super) fn items(view: &CatalogView, object: &Object) -> Vec<AclItem> {
    let of_server = || (ObjectClass::Relation, ObjectAccess { owner: RoleOid(object.owner), acl: None });
    let (class, access) = access_of(view, Privileged::Relation(object)).unwrap_or_else(of_server);
    access.effective(class)
}

/// Who may do what with an object; `None` for those of the catalog itself.
fn access_of(view: &CatalogView, on: Privileged<'_>) -> Option<(ObjectClass, ObjectAccess)> {
    match on {
        Privileged::Relation(object) => {
            let name = QualifiedName { schema: object.schema.clone(), name: object.name.clone() };
            Some((ObjectClass::Relation, view.catalog.find(&name)?.access.clone()))
        }
        Privileged::Schema(schema) => Some((ObjectClass::Schema, schema_access(view, schema)?)),
        Privileged::Database => Some((ObjectClass::Database, view.catalog.database_access().clone())),
    }
}

/// Whether a role may do something; `with_grant`, whether it may let others do it.
pub(super) fn may(view: &CatalogView, role: &RoleRow, on: Privileged<'_>, privilege: &str, with_grant: bool) -> bool {
    if role.superuser {
        return true;
    }
    let Some((class, access)) = access_of(view, on) else {
        // What the catalog itself holds may be read by everybody.
        return !with_grant && matches!(privilege, "SELECT" | "USAGE");
    };
    let Some(wanted) = Privileges::named(privilege) else { return false };
    let (roles, role) = (view.catalog.roles(), RoleOid(role.oid));
    if !with_grant {
        return roles.may(role, class, &access, wanted);
    }
    let granted = |item: &AclItem| item.grantable.and(wanted) == wanted && roles.has_privileges_of(role, item.grantee);
    roles.owns(role, &access) || access.effective(class).iter().any(granted)
}

/// Whether a role is another, or in it, also through others.
pub(super) fn is_member(view: &CatalogView, member: u32, role: u32) -> bool {
    let (mut reached, mut next) = (vec![member], 0);
    while let Some(current) = reached.get(next).copied() {
        if current == role {
            return true;
        }
        next += 1;
        let joined = view.members.iter().filter(|row| row.member == current).map(|row| row.role);
        for joined in joined.collect::<Vec<_>>() {
            if !reached.contains(&joined) {
                reached.push(joined);
            }
        }
    }
    false
}
