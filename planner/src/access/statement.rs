//! What the statements about roles, owners and privileges say. Roles are named: which ones they are is looked up
//! when the statement runs, because `CURRENT_USER` is known only then.

use std::fmt;

use millstream_runtime::plan::RelationId;

use super::{ObjectClass, Privileges};

/// A password as it was written. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// How a statement names a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleSpec {
    /// By its name.
    Name(String),
    /// `CURRENT_USER`, `CURRENT_ROLE`.
    CurrentUser,
    /// `SESSION_USER`.
    SessionUser,
    /// `PUBLIC`.
    Public,
}

/// What CREATE ROLE and ALTER ROLE say of a role; `None` where nothing was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleOptions {
    /// `[NO]SUPERUSER`.
    pub superuser: Option<bool>,
    /// `[NO]INHERIT`.
    pub inherit: Option<bool>,
    /// `[NO]CREATEROLE`.
    pub create_role: Option<bool>,
    /// `[NO]LOGIN`.
    pub login: Option<bool>,
    /// `CONNECTION LIMIT`: the inner `None` is -1, no limit.
    pub connection_limit: Option<Option<u32>>,
    /// `PASSWORD`: the inner `None` is NULL.
    pub password: Option<Option<Password>>,
    /// `VALID UNTIL`, microseconds since 1970: the inner `None` is infinity.
    pub valid_until_micros: Option<Option<i64>>,
}

/// What GRANT and REVOKE name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantObjects {
    /// Relations of any kind.
    Relations(Vec<RelationId>),
    /// `ALL TABLES IN SCHEMA`.
    AllInSchemas(Vec<String>),
    /// Schemas.
    Schemas(Vec<String>),
    /// The database, by its name.
    Databases(Vec<String>),
    /// Secrets, by OID.
    Secrets(Vec<u32>),
}

impl GrantObjects {
    /// What they are.
    pub fn class(&self) -> ObjectClass {
        match self {
            Self::Relations(_) | Self::AllInSchemas(_) => ObjectClass::Relation,
            Self::Schemas(_) => ObjectClass::Schema,
            Self::Databases(_) => ObjectClass::Database,
            Self::Secrets(_) => ObjectClass::Secret,
        }
    }
}

/// What `ALTER ... OWNER TO` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedObject {
    /// A relation.
    Relation(RelationId),
    /// A schema.
    Schema(String),
    /// A secret, by OID.
    Secret(u32),
}

/// A statement about roles, owners or privileges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessStatement {
    /// `CREATE ROLE`, `CREATE USER`, `CREATE GROUP`.
    CreateRole {
        /// Its name.
        name: String,
        /// What was said of it.
        options: RoleOptions,
        /// `IN ROLE`: what it becomes a member of.
        in_roles: Vec<RoleSpec>,
        /// `ROLE`: who becomes its member.
        members: Vec<RoleSpec>,
        /// `ADMIN`: who becomes its member and may take in others.
        admins: Vec<RoleSpec>,
    },
    /// `ALTER ROLE`.
    AlterRole {
        /// Which one.
        role: RoleSpec,
        /// What changes.
        options: RoleOptions,
    },
    /// `ALTER ROLE ... RENAME TO`.
    RenameRole {
        /// Which one.
        role: RoleSpec,
        /// Its new name.
        new_name: String,
    },
    /// `DROP ROLE`.
    DropRoles {
        /// Which ones.
        roles: Vec<RoleSpec>,
        /// Says nothing when one is not there.
        if_exists: bool,
    },
    /// `GRANT role TO role`.
    GrantRoles {
        /// What they become members of.
        roles: Vec<RoleSpec>,
        /// Who.
        members: Vec<RoleSpec>,
        /// `WITH ADMIN OPTION`.
        admin: bool,
    },
    /// `REVOKE role FROM role`.
    RevokeRoles {
        /// What they are members of.
        roles: Vec<RoleSpec>,
        /// Who.
        members: Vec<RoleSpec>,
        /// `ADMIN OPTION FOR`: they stay members.
        admin_only: bool,
    },
    /// `GRANT privileges ON objects TO roles`.
    Grant {
        /// Which; ALL is what there is for the class.
        privileges: Privileges,
        /// On what.
        objects: GrantObjects,
        /// To whom.
        grantees: Vec<RoleSpec>,
        /// `WITH GRANT OPTION`.
        grant_option: bool,
    },
    /// `REVOKE privileges ON objects FROM roles`.
    Revoke {
        /// Which.
        privileges: Privileges,
        /// On what.
        objects: GrantObjects,
        /// From whom.
        grantees: Vec<RoleSpec>,
        /// `GRANT OPTION FOR`.
        option_only: bool,
        /// `CASCADE`.
        cascade: bool,
    },
    /// `ALTER ... OWNER TO`.
    OwnerTo {
        /// What.
        object: OwnedObject,
        /// Whose it is from now on.
        owner: RoleSpec,
        /// For the command tag: `TABLE`, `SCHEMA`, ...
        tag: &'static str,
    },
    /// `REASSIGN OWNED BY ... TO`.
    ReassignOwned {
        /// Whose objects.
        roles: Vec<RoleSpec>,
        /// Whose they are from now on.
        owner: RoleSpec,
    },
    /// `DROP OWNED BY`.
    DropOwned {
        /// Whose objects.
        roles: Vec<RoleSpec>,
        /// What depends on them goes along.
        cascade: bool,
    },
    /// `ALTER DEFAULT PRIVILEGES`.
    ChangeDefaults(ChangeDefaults),
}

/// `ALTER DEFAULT PRIVILEGES`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeDefaults {
    /// Whose objects; none for those of who runs it.
    pub owners: Vec<RoleSpec>,
    /// In which schemas; none for any.
    pub schemas: Vec<String>,
    /// Relations or schemas.
    pub class: ObjectClass,
    /// Which privileges.
    pub privileges: Privileges,
    /// To whom, or from whom.
    pub grantees: Vec<RoleSpec>,
    /// `WITH GRANT OPTION`, `GRANT OPTION FOR`.
    pub option: bool,
    /// REVOKE, and whether CASCADE was said.
    pub revoke: Option<bool>,
}

impl AccessStatement {
    /// The command tag.
    pub fn tag(&self) -> String {
        match self {
            Self::CreateRole { .. } => "CREATE ROLE".to_string(),
            Self::AlterRole { .. } | Self::RenameRole { .. } => "ALTER ROLE".to_string(),
            Self::DropRoles { .. } => "DROP ROLE".to_string(),
            Self::GrantRoles { .. } => "GRANT ROLE".to_string(),
            Self::RevokeRoles { .. } => "REVOKE ROLE".to_string(),
            Self::Grant { .. } => "GRANT".to_string(),
            Self::Revoke { .. } => "REVOKE".to_string(),
            Self::OwnerTo { tag, .. } => format!("ALTER {tag}"),
            Self::ReassignOwned { .. } => "REASSIGN OWNED".to_string(),
            Self::DropOwned { .. } => "DROP OWNED".to_string(),
            Self::ChangeDefaults(_) => "ALTER DEFAULT PRIVILEGES".to_string(),
        }
    }
}
