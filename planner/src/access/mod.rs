//! Roles, owners and privileges, as Postgres has them: values, and questions about them. No statement is run here.
//!
//! What holds: a role is known by its OID, which is never given out again, so that a renamed role keeps what it
//! has and a new one of an old name inherits nothing. A role that is not there has no privilege at all.
//! Deliberately absent: privileges on columns, row security.

mod acl;
mod defaults;
mod roles;
mod statement;

use serde::{Deserialize, Serialize};

pub use acl::{AclItem, Grant, Privileges, default_acl, grant, revoke};
pub use defaults::{DefaultPrivileges, DefaultsFor, grant_item};
pub use roles::{BOOTSTRAP, BOOTSTRAP_NAME, Membership, Predefined, Role, Roles, Verifier};
pub use statement::{AccessStatement, ChangeDefaults, GrantObjects, OwnedObject, Password, RoleOptions, RoleSpec};

/// A role's number. 0 stands for PUBLIC where privileges are granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RoleOid(pub u32);

/// Everybody, as a grantee.
pub const PUBLIC: RoleOid = RoleOid(0);

/// What privileges are granted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectClass {
    /// Tables, sources, views and sinks.
    Relation,
    /// Schemas.
    Schema,
    /// The one database.
    Database,
    /// Secrets.
    Secret,
}

/// Who owns an object, and who else may do what with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectAccess {
    /// Its owner.
    pub owner: RoleOid,
    /// What was granted; `None` as long as nothing was granted or revoked: [`default_acl`] holds.
    pub acl: Option<Vec<AclItem>>,
}

impl ObjectAccess {
    /// An object of `owner` on which nothing was granted.
    pub fn owned_by(owner: RoleOid) -> Self {
        Self { owner, acl: None }
    }

    /// What holds for it, granted or by default.
    pub fn effective(&self, class: ObjectClass) -> Vec<AclItem> {
        self.acl.clone().unwrap_or_else(|| default_acl(class, self.owner))
    }
}

impl Default for ObjectAccess {
    /// What a release without roles has made belongs to the first superuser.
    fn default() -> Self {
        Self::owned_by(BOOTSTRAP)
    }
}

impl Roles {
    /// Those of `wanted` that a role has on an object, by itself, as a member of others or as one of everybody.
    pub fn held(&self, role: RoleOid, class: ObjectClass, access: &ObjectAccess, wanted: Privileges) -> Privileges {
        let Some(known) = self.get(role) else { return Privileges::NONE };
        if known.superuser {
            return wanted;
        }
        let items = access.effective(class);
        let mut held = items
            .iter()
            .filter(|item| item.grantee == PUBLIC || self.has_privileges_of(role, item.grantee))
            .fold(Privileges::NONE, |held, item| held.with(item.privileges));
        held = held.with(self.everywhere(role, class));
        held.and(wanted)
    }

    /// What the predefined roles give on every object of a class.
    fn everywhere(&self, role: RoleOid, class: ObjectClass) -> Privileges {
        let mut held = Privileges::NONE;
        let reads = self.has_privileges_of(role, Predefined::ReadAllData.oid());
        let writes = self.has_privileges_of(role, Predefined::WriteAllData.oid());
        match class {
            ObjectClass::Relation => {
                if reads {
                    held = held.with(Privileges::SELECT);
                }
                if writes {
                    held = held.with(Privileges::INSERT).with(Privileges::UPDATE).with(Privileges::DELETE);
                }
            }
            ObjectClass::Schema if reads || writes => held = held.with(Privileges::USAGE),
            ObjectClass::Schema | ObjectClass::Database | ObjectClass::Secret => {}
        }
        held
    }

    /// Whether a role has all of `wanted` on an object.
    pub fn may(&self, role: RoleOid, class: ObjectClass, access: &ObjectAccess, wanted: Privileges) -> bool {
        self.held(role, class, access, wanted) == wanted
    }

    /// Whether a role may do what only an object's owner may.
    pub fn owns(&self, role: RoleOid, access: &ObjectAccess) -> bool {
        self.has_privileges_of(role, access.owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(oid: u32, inherit: bool, member_of: &[u32]) -> Role {
        let mut role = Role::new(RoleOid(oid), format!("r{oid}"));
        role.inherit = inherit;
        let membership = |of: &u32| (RoleOid(*of), Membership { admin: false, grantor: BOOTSTRAP });
        role.member_of = member_of.iter().map(membership).collect();
        role
    }

    fn roles() -> Roles {
        let mut roles = Roles::default();
        for made in
            [role(1, true, &[]), role(2, true, &[1]), role(3, false, &[1]), role(4, true, &[3]), role(5, true, &[])]
        {
            roles.put(made);
        }
        roles
    }

    #[test]
    fn privileges_come_through_inheriting_members_only() {
        let roles = roles();
        let access = ObjectAccess {
            owner: BOOTSTRAP,
            acl: Some(vec![AclItem::new(RoleOid(1), BOOTSTRAP, Privileges::SELECT, Privileges::NONE)]),
        };
        let may = |role: u32| roles.may(RoleOid(role), ObjectClass::Relation, &access, Privileges::SELECT);
        assert_eq!([1, 2, 3, 4, 5].map(may), [true, true, false, false, false]);
        assert!(roles.is_member(RoleOid(4), RoleOid(1)) && roles.is_member(RoleOid(3), RoleOid(1)));
        assert!(!roles.is_member(RoleOid(5), RoleOid(1)));
        assert!(roles.may(BOOTSTRAP, ObjectClass::Relation, &access, Privileges::ALL_ON_RELATION));
        // A role that was dropped has nothing, what PUBLIC has neither.
        let public = ObjectAccess::owned_by(BOOTSTRAP);
        assert!(!roles.may(RoleOid(99), ObjectClass::Database, &public, Privileges::CONNECT));
        assert!(roles.may(RoleOid(5), ObjectClass::Database, &public, Privileges::CONNECT));
    }

    #[test]
    fn the_owner_has_what_it_did_not_revoke_from_itself() {
        let roles = roles();
        let mut access = ObjectAccess::owned_by(RoleOid(5));
        let may = |access: &ObjectAccess, wanted| roles.may(RoleOid(5), ObjectClass::Relation, access, wanted);
        assert!(may(&access, Privileges::ALL_ON_RELATION));
        let taken =
            Grant { grantee: RoleOid(5), grantor: RoleOid(5), privileges: Privileges::INSERT, option_only: false };
        let mut acl = access.effective(ObjectClass::Relation);
        assert!(revoke(&mut acl, &taken, RoleOid(5), false).is_ok());
        access.acl = Some(acl);
        assert!(may(&access, Privileges::SELECT) && !may(&access, Privileges::INSERT));
        assert!(roles.owns(RoleOid(5), &access) && !roles.owns(RoleOid(1), &access));
    }

    #[test]
    fn those_who_read_everything_read_and_do_not_write() {
        let mut roles = roles();
        roles.put(role(6, true, &[Predefined::ReadAllData.oid().0]));
        let access = ObjectAccess::owned_by(RoleOid(5));
        let may = |class, wanted| roles.may(RoleOid(6), class, &access, wanted);
        assert!(may(ObjectClass::Relation, Privileges::SELECT) && may(ObjectClass::Schema, Privileges::USAGE));
        assert!(!may(ObjectClass::Relation, Privileges::INSERT) && !may(ObjectClass::Schema, Privileges::CREATE));
    }
}
