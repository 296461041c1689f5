//! Roles as the catalog shows them, and what they may do: the one place of the catalog that knows grants.

use millstream_planner::catalog::Relation;

use super::CatalogView;
use super::objects::{OWNER_OID, Object};

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
}

impl RoleRow {
    /// The one user of a server without roles, who may do everything.
    pub fn only(name: &str) -> Self {
        Self {
            oid: OWNER_OID,
            name: name.to_owned(),
            superuser: true,
            inherits: true,
            creates_roles: true,
            logs_in: true,
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

/// What a privilege is on.
#[derive(Clone, Copy)]
pub(super) enum Privileged<'a> {
    Relation(&'a Object),
    Schema(u32),
    Database,
}

/// The owner of a relation.
pub(super) fn owner_of(_: &CatalogView, _: &Relation) -> u32 {
    OWNER_OID
}

/// The owner of a schema.
pub(super) fn schema_owner(_: &CatalogView, _: u32) -> u32 {
    OWNER_OID
}

/// The name of a schema's owner.
pub(super) fn schema_owner_name(view: &CatalogView, schema: u32) -> Option<&str> {
    let owner = schema_owner(view, schema);
    view.roles.iter().find(|role| role.oid == owner).map(|role| role.name.as_str())
}

/// Whether a role may do something; `with_grant`, whether it may let others do it.
pub(super) fn may(view: &CatalogView, role: &RoleRow, on: Privileged<'_>, privilege: &str, with_grant: bool) -> bool {
    if role.superuser {
        return true;
    }
    match on {
        Privileged::Relation(object) => {
            is_member(view, role.oid, object.owner)
                || !with_grant
                    && privilege == "SELECT"
                    && matches!(object.schema.as_str(), "pg_catalog" | "information_schema")
        }
        Privileged::Schema(schema) => {
            is_member(view, role.oid, schema_owner(view, schema)) || !with_grant && privilege == "USAGE"
        }
        Privileged::Database => !with_grant && matches!(privilege, "CONNECT" | "TEMP" | "TEMPORARY"),
    }
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
