//! Lists of privileges, and how GRANT and REVOKE change them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ObjectClass, PUBLIC, RoleOid};

/// A set of privileges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Privileges(u16);

/// Every privilege with its name in SQL and its letter in `relacl`, in the order in which Postgres writes them.
const NAMES: [(Privileges, &str, char); 11] = [
    (Privileges::INSERT, "INSERT", 'a'),
    (Privileges::SELECT, "SELECT", 'r'),
    (Privileges::UPDATE, "UPDATE", 'w'),
    (Privileges::DELETE, "DELETE", 'd'),
    (Privileges::TRUNCATE, "TRUNCATE", 'D'),
    (Privileges::REFERENCES, "REFERENCES", 'x'),
    (Privileges::TRIGGER, "TRIGGER", 't'),
    (Privileges::USAGE, "USAGE", 'U'),
    (Privileges::CREATE, "CREATE", 'C'),
    (Privileges::TEMPORARY, "TEMPORARY", 'T'),
    (Privileges::CONNECT, "CONNECT", 'c'),
];

impl Privileges {
    /// None.
    pub const NONE: Self = Self(0);
    /// Reading rows.
    pub const SELECT: Self = Self(1);
    /// Adding rows.
    pub const INSERT: Self = Self(2);
    /// Changing rows.
    pub const UPDATE: Self = Self(4);
    /// Taking rows out.
    pub const DELETE: Self = Self(8);
    /// Taking all rows out.
    pub const TRUNCATE: Self = Self(16);
    /// Kept for Postgres' sake: there are no foreign keys.
    pub const REFERENCES: Self = Self(32);
    /// Kept for Postgres' sake: there are no triggers.
    pub const TRIGGER: Self = Self(64);
    /// Naming what is in a schema; connecting with a secret.
    pub const USAGE: Self = Self(128);
    /// Making something in a schema, or a schema.
    pub const CREATE: Self = Self(256);
    /// Connecting to the database.
    pub const CONNECT: Self = Self(512);
    /// Kept for Postgres' sake: there are no temporary relations.
    pub const TEMPORARY: Self = Self(1024);
    /// ALL on a relation.
    pub const ALL_ON_RELATION: Self = Self(1 | 2 | 4 | 8 | 16 | 32 | 64);

    /// ALL on an object of a class.
    pub fn all(class: ObjectClass) -> Self {
        match class {
            ObjectClass::Relation => Self::ALL_ON_RELATION,
            ObjectClass::Schema => Self::USAGE.with(Self::CREATE),
            ObjectClass::Database => Self::CREATE.with(Self::TEMPORARY).with(Self::CONNECT),
            ObjectClass::Secret => Self::USAGE,
        }
    }

    /// The privilege of that name, upper case.
    pub fn named(name: &str) -> Option<Self> {
        let name = if name == "TEMP" { "TEMPORARY" } else { name };
        NAMES.iter().find(|(_, known, _)| *known == name).map(|(privilege, ..)| *privilege)
    }

    /// Both together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is not in the other.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether it is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names of its privileges with their letters, in Postgres' order.
    pub fn names(self) -> impl Iterator<Item = (&'static str, char)> {
        NAMES.iter().filter(move |(one, ..)| !self.and(*one).is_empty()).map(|(_, name, letter)| (*name, *letter))
    }
}

impl fmt::Display for Privileges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.names().map(|(name, _)| name).collect();
        f.write_str(&names.join(", "))
    }
}

/// What one role has given another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclItem {
    /// Who has it; [`PUBLIC`] for everybody.
    pub grantee: RoleOid,
    /// Who gave it.
    pub grantor: RoleOid,
    /// What it is.
    pub privileges: Privileges,
    /// Those that it may give on: WITH GRANT OPTION.
    pub grantable: Privileges,
}

impl AclItem {
    /// An entry of a list.
    pub fn new(grantee: RoleOid, grantor: RoleOid, privileges: Privileges, grantable: Privileges) -> Self {
        Self { grantee, grantor, privileges, grantable }
    }

    /// As `relacl` shows it: `grantee=arwdDxt/grantor`, a `*` behind what may be given on, nothing before `=` for
    /// everybody.
    pub fn shown(&self, name_of: impl Fn(RoleOid) -> String) -> String {
        let grantee = if self.grantee == PUBLIC { String::new() } else { name_of(self.grantee) };
        let mut letters = String::new();
        for (name, letter) in self.privileges.names() {
            letters.push(letter);
            if Privileges::named(name).is_some_and(|one| !self.grantable.and(one).is_empty()) {
                letters.push('*');
            }
        }
        format!("{grantee}={letters}/{}", name_of(self.grantor))
    }
}

/// What holds on an object on which nothing was granted or revoked.
pub fn default_acl(class: ObjectClass, owner: RoleOid) -> Vec<AclItem> {
    let own = AclItem::new(owner, owner, Privileges::all(class), Privileges::NONE);
    let connecting = Privileges::CONNECT.with(Privileges::TEMPORARY);
    match class {
        ObjectClass::Relation | ObjectClass::Schema | ObjectClass::Secret => vec![own],
        ObjectClass::Database => vec![AclItem::new(PUBLIC, owner, connecting, Privileges::NONE), own],
    }
}

/// One GRANT or REVOKE on one object for one grantee.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// Who gets or loses it.
    pub grantee: RoleOid,
    /// In whose name.
    pub grantor: RoleOid,
    /// What.
    pub privileges: Privileges,
    /// GRANT: with the option to give it on. REVOKE: that option only.
    pub option_only: bool,
}

/// Gives privileges.
pub fn grant(acl: &mut Vec<AclItem>, given: &Grant) {
    let grantable = if given.option_only { given.privileges } else { Privileges::NONE };
    match acl.iter_mut().find(|item| item.grantee == given.grantee && item.grantor == given.grantor) {
        Some(item) => {
            item.privileges = item.privileges.with(given.privileges);
            item.grantable = item.grantable.with(grantable);
        }
        None => acl.push(AclItem::new(given.grantee, given.grantor, given.privileges, grantable)),
    }
}

/// Takes privileges back, and with `cascade` what the grantee has given on; without it that is an error.
pub fn revoke(acl: &mut Vec<AclItem>, taken: &Grant, owner: RoleOid, cascade: bool) -> Result<(), DependentPrivileges> {
    let Some(item) = acl.iter_mut().find(|item| item.grantee == taken.grantee && item.grantor == taken.grantor) else {
        return Ok(());
    };
    item.grantable = item.grantable.without(taken.privileges);
    if !taken.option_only {
        item.privileges = item.privileges.without(taken.privileges);
    }
    acl.retain(|item| !item.privileges.is_empty());
    // The owner can always give: nothing rests on its own entries.
    if taken.grantee == owner || taken.grantee == PUBLIC {
        return Ok(());
    }
    let still = acl
        .iter()
        .filter(|item| item.grantee == taken.grantee)
        .fold(Privileges::NONE, |still, item| still.with(item.grantable));
    let lost = taken.privileges.without(still);
    let resting: Vec<AclItem> = acl
        .iter()
        .filter(|item| item.grantor == taken.grantee && !item.privileges.and(lost).is_empty())
        .copied()
        .collect();
    if !resting.is_empty() && !cascade {
        return Err(DependentPrivileges);
    }
    for item in resting {
        let next = Grant { grantee: item.grantee, grantor: item.grantor, privileges: lost, option_only: false };
        revoke(acl, &next, owner, true)?;
    }
    Ok(())
}

/// Others have been given what is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DependentPrivileges;

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: RoleOid = RoleOid(1);

    fn given(grantee: u32, grantor: u32, privileges: Privileges, option_only: bool) -> Grant {
        Grant { grantee: RoleOid(grantee), grantor: RoleOid(grantor), privileges, option_only }
    }

    fn shown(acl: &[AclItem]) -> Vec<String> {
        acl.iter().map(|item| item.shown(|oid| format!("r{}", oid.0))).collect()
    }

    #[test]
    fn entries_look_as_in_postgres() {
        let mut acl = default_acl(ObjectClass::Relation, OWNER);
        grant(&mut acl, &given(0, 1, Privileges::SELECT, false));
        grant(&mut acl, &given(2, 1, Privileges::SELECT.with(Privileges::INSERT), true));
        grant(&mut acl, &given(2, 1, Privileges::DELETE, false));
        assert_eq!(shown(&acl), ["r1=arwdDxt/r1", "=r/r1", "r2=a*r*d/r1"]);
        assert_eq!(shown(&default_acl(ObjectClass::Schema, OWNER)), ["r1=UC/r1"]);
        assert_eq!(shown(&default_acl(ObjectClass::Database, OWNER)), ["=Tc/r1", "r1=CTc/r1"]);
    }

    #[test]
    fn what_was_given_on_goes_with_its_ground() {
        let mut acl = default_acl(ObjectClass::Relation, OWNER);
        grant(&mut acl, &given(2, 1, Privileges::SELECT, true));
        grant(&mut acl, &given(3, 2, Privileges::SELECT, true));
        grant(&mut acl, &given(4, 3, Privileges::SELECT, false));
        let whole = acl.clone();
        let taken = given(2, 1, Privileges::SELECT, true);
        assert_eq!(revoke(&mut acl.clone(), &taken, OWNER, false), Err(DependentPrivileges));
        assert_eq!(revoke(&mut acl, &taken, OWNER, true), Ok(()));
        assert_eq!(shown(&acl), ["r1=arwdDxt/r1", "r2=r/r1"]);
        // A second ground holds it up.
        let mut acl = whole;
        grant(&mut acl, &given(3, 1, Privileges::SELECT, true));
        assert_eq!(revoke(&mut acl, &given(2, 1, Privileges::SELECT, false), OWNER, true), Ok(()));
        assert_eq!(shown(&acl), ["r1=arwdDxt/r1", "r4=r/r3", "r3=r*/r1"]);
    }

    #[test]
    fn a_circle_of_grants_ends() {
        let mut acl = default_acl(ObjectClass::Relation, OWNER);
        grant(&mut acl, &given(2, 1, Privileges::SELECT, true));
        grant(&mut acl, &given(3, 2, Privileges::SELECT, true));
        grant(&mut acl, &given(2, 3, Privileges::SELECT, true));
        assert_eq!(revoke(&mut acl, &given(2, 1, Privileges::SELECT, false), OWNER, true), Ok(()));
        assert!(acl.len() <= 3, "it ends: {acl:?}");
    }
}
