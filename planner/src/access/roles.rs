//! Roles and who is a member of whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::RoleOid;

/// The first superuser: there from the start, under the number that Postgres gives it.
pub const BOOTSTRAP: RoleOid = RoleOid(10);

/// Its name until somebody renames it.
pub const BOOTSTRAP_NAME: &str = "millstream";

/// What is kept of a password: `SCRAM-SHA-256$rounds:salt$StoredKey:ServerKey`, in base64, as Postgres writes it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Verifier(pub String);

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(..)")
    }
}

/// How a role is a member of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// It may take in others: WITH ADMIN OPTION.
    pub admin: bool,
    /// Who made it a member.
    pub grantor: RoleOid,
}

/// A role: a user, a group, or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Its number.
    pub oid: RoleOid,
    /// Its name.
    pub name: String,
    /// No check applies to it.
    pub superuser: bool,
    /// It has the privileges of the roles that it is a member of, without SET ROLE.
    pub inherit: bool,
    /// It may make, alter and drop roles that are no superusers.
    pub create_role: bool,
    /// It may connect.
    pub login: bool,
    /// Its connections at a time; `None`: as many as it likes.
    pub connection_limit: Option<u32>,
    /// Its password is no good from here on; microseconds since 1970.
    pub valid_until_micros: Option<i64>,
    /// Its password; without one no password is right.
    pub verifier: Option<Verifier>,
    /// The roles that it is a member of.
    pub member_of: BTreeMap<RoleOid, Membership>,
}

impl Role {
    /// A role as `CREATE ROLE name` makes it.
    pub fn new(oid: RoleOid, name: impl Into<String>) -> Self {
        Self {
            oid,
            name: name.into(),
            superuser: false,
            inherit: true,
            create_role: false,
            login: false,
            connection_limit: None,
            valid_until_micros: None,
            verifier: None,
            member_of: BTreeMap::new(),
        }
    }
}

/// The roles that are always there: to be one's member is a privilege of its own. Names and numbers are those of
/// Postgres where it has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predefined {
    /// Reads every relation.
    ReadAllData,
    /// Changes the rows of every table.
    WriteAllData,
    /// May look at everything of [`Self::ReadAllStats`].
    Monitor,
    /// Sees what others run, and why their jobs do not.
    ReadAllStats,
    /// May cancel and end the sessions of others.
    SignalBackend,
    /// Sources that read files of the server.
    ReadServerFiles,
    /// Sinks that write files of the server.
    WriteServerFiles,
    /// May take checkpoints.
    Checkpoint,
    /// Sources and sinks that open connections: brokers, buckets.
    Connect,
}

impl Predefined {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::ReadAllData,
        Self::WriteAllData,
        Self::Monitor,
        Self::ReadAllStats,
        Self::SignalBackend,
        Self::ReadServerFiles,
        Self::WriteServerFiles,
        Self::Checkpoint,
        Self::Connect,
    ];

    /// Its number.
    pub fn oid(self) -> RoleOid {
        RoleOid(match self {
            Self::ReadAllData => 6_181,
            Self::WriteAllData => 6_182,
            Self::Monitor => 3_373,
            Self::ReadAllStats => 3_375,
            Self::SignalBackend => 4_200,
            Self::ReadServerFiles => 4_569,
            Self::WriteServerFiles => 4_570,
            Self::Checkpoint => 4_544,
            Self::Connect => 9_500,
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadAllData => "pg_read_all_data",
            Self::WriteAllData => "pg_write_all_data",
            Self::Monitor => "pg_monitor",
            Self::ReadAllStats => "pg_read_all_stats",
            Self::SignalBackend => "pg_signal_backend",
            Self::ReadServerFiles => "pg_read_server_files",
            Self::WriteServerFiles => "pg_write_server_files",
            Self::Checkpoint => "pg_checkpoint",
            Self::Connect => "millstream_connect",
        }
    }

    /// The role as it is at every start.
    fn role(self) -> Role {
        let mut role = Role::new(self.oid(), self.name());
        if self == Self::Monitor {
            role.member_of.insert(Self::ReadAllStats.oid(), Membership { admin: false, grantor: super::BOOTSTRAP });
        }
        role
    }
}

/// All roles at one moment.
#[derive(Clone, Debug)]
pub struct Roles {
    by_oid: BTreeMap<RoleOid, Arc<Role>>,
}

impl Default for Roles {
    /// The first superuser and the predefined roles.
    fn default() -> Self {
        let mut roles = Self { by_oid: BTreeMap::new() };
        let first = Role { superuser: true, create_role: true, login: true, ..Role::new(BOOTSTRAP, BOOTSTRAP_NAME) };
        roles.put(first);
        Predefined::ALL.into_iter().for_each(|predefined| roles.put(predefined.role()));
        roles
    }
}

impl Roles {
    /// A role by number.
    pub fn get(&self, oid: RoleOid) -> Option<&Arc<Role>> {
        self.by_oid.get(&oid)
    }

    /// A role by name.
    pub fn find(&self, name: &str) -> Option<&Arc<Role>> {
        self.by_oid.values().find(|role| role.name == name)
    }

    /// All roles by number, the predefined ones among them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Role>> {
        self.by_oid.values()
    }

    /// A role's name as messages and privileges show it.
    pub fn name_of(&self, oid: RoleOid) -> String {
        self.get(oid).map_or_else(|| format!("unknown (OID={})", oid.0), |role| role.name.clone())
    }

    /// Adds a role, or puts one with the same number in its place.
    pub fn put(&mut self, role: Role) {
        self.by_oid.insert(role.oid, Arc::new(role));
    }

    /// Takes a role out, and what was a member of it is so no longer.
    pub fn remove(&mut self, oid: RoleOid) {
        self.by_oid.remove(&oid);
        for role in self.by_oid.values_mut().filter(|role| role.member_of.contains_key(&oid)) {
            Arc::make_mut(role).member_of.remove(&oid);
        }
    }

    /// Whether somebody made a role: the first superuser and the predefined ones do not count.
    pub fn any_made(&self) -> bool {
        self.by_oid.keys().any(|oid| !is_given(*oid))
    }

    /// Whether no check applies to a role.
    pub fn is_superuser(&self, oid: RoleOid) -> bool {
        self.get(oid).is_some_and(|role| role.superuser)
    }

    /// Whether a role may take another one's place by SET ROLE.
    pub fn is_member(&self, member: RoleOid, of: RoleOid) -> bool {
        self.reaches(member, of, false)
    }

    /// Whether a role has what another one has without SET ROLE.
    pub fn has_privileges_of(&self, member: RoleOid, of: RoleOid) -> bool {
        self.reaches(member, of, true)
    }

    /// Whether a role may take others into `of`.
    pub fn is_admin(&self, role: RoleOid, of: RoleOid) -> bool {
        let admin = |at: &RoleOid| {
            self.get(*at).and_then(|at| at.member_of.get(&of)).is_some_and(|membership| membership.admin)
        };
        self.is_superuser(role) || self.above(role, false).iter().any(admin)
    }

    fn reaches(&self, member: RoleOid, of: RoleOid, by_inheritance: bool) -> bool {
        self.is_superuser(member) || (self.get(member).is_some() && self.above(member, by_inheritance).contains(&of))
    }

    /// A role and all that it is a member of, however far.
    fn above(&self, role: RoleOid, by_inheritance: bool) -> BTreeSet<RoleOid> {
        let mut found = BTreeSet::from([role]);
        let mut waiting = vec![role];
        while let Some(at) = waiting.pop() {
            let Some(at) = self.get(at).filter(|at| at.inherit || !by_inheritance) else { continue };
            waiting.extend(at.member_of.keys().filter(|of| found.insert(**of)));
        }
        found
    }
}

/// Whether a role was there from the start.
pub(super) fn is_given(oid: RoleOid) -> bool {
    oid == BOOTSTRAP || Predefined::ALL.iter().any(|predefined| predefined.oid() == oid)
}

impl Role {
    /// Whether it was there from the start and stays.
    pub fn is_given(&self) -> bool {
        is_given(self.oid)
    }
}
