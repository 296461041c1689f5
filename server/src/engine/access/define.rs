//! CREATE, ALTER and DROP of roles, and who becomes whose member. The rules and words are those of Postgres 15; only
//! membership in the predefined roles is given by superusers and by their admins alone, not by everybody with
//! CREATEROLE, because some of them reach outside of the server.

use millstream_planner::access::{AccessStatement, BOOTSTRAP, Membership, Role, RoleOid, RoleOptions, RoleSpec};

use super::{AccessChange, Changing, denied, password};
use crate::session::sqlstate::Condition;
use crate::session::{Notice, SqlError};

impl Changing {
    pub(super) fn roles(&mut self, statement: &AccessStatement, next_oid: u32) -> Result<(), SqlError> {
        match statement {
            AccessStatement::CreateRole { name, options, in_roles, members, admins } => {
                self.create_role(name, options, next_oid)?;
                let new = [RoleSpec::Name(name.clone())];
                in_roles.iter().try_for_each(|of| self.add_members(of, &new, false))?;
                self.add_members(&new[0], members, false)?;
                self.add_members(&new[0], admins, true)
            }
            AccessStatement::AlterRole { role, options } => self.alter_role(role, options),
            AccessStatement::RenameRole { role, new_name } => self.rename_role(role, new_name),
            AccessStatement::DropRoles { roles, if_exists } => {
                roles.iter().try_for_each(|role| self.drop_role(role, *if_exists))
            }
            AccessStatement::GrantRoles { roles, members, admin } => {
                roles.iter().try_for_each(|of| self.add_members(of, members, *admin))
            }
            AccessStatement::RevokeRoles { roles, members, admin_only } => {
                roles.iter().try_for_each(|of| self.remove_members(of, members, *admin_only))
            }
            AccessStatement::Grant { .. }
            | AccessStatement::Revoke { .. }
            | AccessStatement::OwnerTo { .. }
            | AccessStatement::ReassignOwned { .. }
            | AccessStatement::DropOwned { .. }
            | AccessStatement::ChangeDefaults(_) => unreachable!("these are about objects"),
        }
    }

    fn may_create_roles(&self) -> bool {
        let own = self.roles_known().get(self.actor.current);
        own.is_some_and(|role| role.superuser || role.create_role)
    }

    fn create_role(&mut self, name: &str, options: &RoleOptions, next_oid: u32) -> Result<(), SqlError> {
        if options.superuser == Some(true) && !self.is_superuser() {
            return Err(denied("must be superuser to create superusers"));
        }
        if !self.may_create_roles() {
            return Err(denied("permission denied to create role"));
        }
        if self.roles_known().find(name).is_some() {
            return Err(SqlError::new(Condition::DuplicateObject, format!("role \"{name}\" already exists")));
        }
        let role = self.with_options(Role::new(RoleOid(next_oid), name), options)?;
        self.change(AccessChange::PutRole(role))
    }

    fn alter_role(&mut self, spec: &RoleSpec, options: &RoleOptions) -> Result<(), SqlError> {
        let role = self.role(spec)?;
        if role.is_given() && role.oid != BOOTSTRAP {
            return Err(reserved(&role.name));
        }
        if role.oid == BOOTSTRAP && options.superuser == Some(false) {
            return Err(denied("the first role must stay a superuser"));
        }
        if (role.superuser || options.superuser.is_some()) && !self.is_superuser() {
            return Err(denied("must be superuser to alter superuser roles or change superuser attribute"));
        }
        let only_password = RoleOptions { password: options.password.clone(), ..RoleOptions::default() };
        let own_password = role.oid == self.actor.current && *options == only_password;
        if !self.may_create_roles() && !own_password {
            return Err(denied("permission denied"));
        }
        let role = self.with_options(role, options)?;
        self.change(AccessChange::PutRole(role))
    }

    /// A role with what was said of it, and a warning where that leaves a door open.
    fn with_options(&mut self, mut role: Role, options: &RoleOptions) -> Result<Role, SqlError> {
        role.superuser = options.superuser.unwrap_or(role.superuser);
        role.inherit = options.inherit.unwrap_or(role.inherit);
        role.create_role = options.create_role.unwrap_or(role.create_role);
        role.login = options.login.unwrap_or(role.login);
        role.connection_limit = options.connection_limit.unwrap_or(role.connection_limit);
        role.valid_until_micros = options.valid_until_micros.unwrap_or(role.valid_until_micros);
        if let Some(given) = &options.password {
            role.verifier = match given {
                None => None,
                Some(password) => password::kept(&password.0)?,
            };
            if given.is_some() && role.verifier.is_none() {
                self.notices.push(Notice::plain("empty string is not a valid password, clearing password"));
            }
            let first = self.roles_known().get(BOOTSTRAP);
            if role.verifier.is_some() && role.oid != BOOTSTRAP && first.is_some_and(|first| first.verifier.is_none()) {
                let first = self.roles_known().name_of(BOOTSTRAP);
                let mut notice = Notice::plain(format!("the superuser \"{first}\" still connects without a password"));
                notice.hint = Some(format!("ALTER ROLE {first} PASSWORD '...' demands one from everybody."));
                self.notices.push(notice);
            }
        }
        Ok(role)
    }

    fn rename_role(&mut self, spec: &RoleSpec, new_name: &str) -> Result<(), SqlError> {
        let role = self.role(spec)?;
        if role.is_given() && role.oid != BOOTSTRAP {
            return Err(reserved(&role.name));
        }
        if role.oid == self.actor.session {
            return Err(SqlError::new(Condition::FeatureNotSupported, "session user cannot be renamed"));
        }
        if role.oid == self.actor.current {
            return Err(SqlError::new(Condition::FeatureNotSupported, "current user cannot be renamed"));
        }
        if self.roles_known().find(new_name).is_some() {
            return Err(SqlError::new(Condition::DuplicateObject, format!("role \"{new_name}\" already exists")));
        }
        match role.superuser {
            true if !self.is_superuser() => return Err(denied("must be superuser to rename superusers")),
            false if !self.may_create_roles() => return Err(denied("permission denied to rename role")),
            true | false => {}
        }
        self.change(AccessChange::PutRole(Role { name: new_name.to_string(), ..role }))
    }

    fn drop_role(&mut self, spec: &RoleSpec, if_exists: bool) -> Result<(), SqlError> {
        if !self.may_create_roles() {
            return Err(denied("permission denied to drop role"));
        }
        let role = match (self.role(spec), spec) {
            (Err(_), RoleSpec::Name(name)) if if_exists => {
                self.notices.push(Notice::plain(format!("role \"{name}\" does not exist, skipping")));
                return Ok(());
            }
            (found, _) => found?,
        };
        let in_use = |message: &str| Err(SqlError::new(Condition::ObjectInUse, message));
        if role.oid == self.actor.current {
            return in_use("current user cannot be dropped");
        }
        if role.oid == self.actor.session {
            return in_use("session user cannot be dropped");
        }
        if role.superuser && !self.is_superuser() {
            return Err(denied("must be superuser to drop superusers"));
        }
        if role.is_given() {
            let message = format!("cannot drop role {} because it is required by the database system", role.name);
            return Err(SqlError::new(Condition::DependentObjectsStillExist, message));
        }
        let rests = self.rests_on(role.oid);
        if !rests.is_empty() {
            let message = format!("role \"{}\" cannot be dropped because some objects depend on it", role.name);
            return Err(SqlError::new(Condition::DependentObjectsStillExist, message)
                .with_detail(rests.join("\n"))
                .with_hint("REASSIGN OWNED gives what it owns to another role; DROP OWNED drops it, and takes back what the role was granted."));
        }
        self.change(AccessChange::DropRole(role.oid))
    }

    fn may_admit(&self, of: &Role) -> Result<(), SqlError> {
        if of.superuser && !self.is_superuser() {
            return Err(denied("must be superuser to alter superusers"));
        }
        let by_attribute = self.may_create_roles() && !of.is_given();
        if self.is_superuser() || by_attribute || self.roles_known().is_admin(self.actor.current, of.oid) {
            return Ok(());
        }
        Err(denied(format!("must have admin option on role \"{}\"", of.name)))
    }

    fn add_members(&mut self, of: &RoleSpec, members: &[RoleSpec], admin: bool) -> Result<(), SqlError> {
        if members.is_empty() {
            return Ok(());
        }
        let of = self.role(of)?;
        self.may_admit(&of)?;
        for member in members {
            let mut member = self.role(member)?;
            // A superuser is a member of everything: what counts for a circle is what was said.
            let ring = member.oid == of.oid || self.is_said_member(of.oid, member.oid);
            if ring {
                let message = format!("role \"{}\" is a member of role \"{}\"", of.name, member.name);
                return Err(SqlError::new(Condition::InvalidGrantOperation, message));
            }
            if member.is_given() && member.oid != BOOTSTRAP {
                return Err(reserved(&member.name));
            }
            let known = member.member_of.get(&of.oid).copied();
            if known.is_some_and(|known| known.admin || !admin) {
                let message = format!("role \"{}\" is already a member of role \"{}\"", member.name, of.name);
                self.notices.push(Notice::plain(message));
                continue;
            }
            member.member_of.insert(of.oid, Membership { admin, grantor: self.actor.current });
            self.change(AccessChange::PutRole(member))?;
        }
        Ok(())
    }

    fn is_said_member(&self, role: RoleOid, of: RoleOid) -> bool {
        let mut waiting = vec![role];
        let mut seen = Vec::new();
        while let Some(at) = waiting.pop() {
            if at == of {
                return true;
            }
            if seen.contains(&at) {
                continue;
            }
            seen.push(at);
            waiting.extend(self.roles_known().get(at).into_iter().flat_map(|role| role.member_of.keys().copied()));
        }
        false
    }

    fn remove_members(&mut self, of: &RoleSpec, members: &[RoleSpec], admin_only: bool) -> Result<(), SqlError> {
        let of = self.role(of)?;
        self.may_admit(&of)?;
        for member in members {
            let mut member = self.role(member)?;
            let Some(known) = member.member_of.get_mut(&of.oid) else {
                let message = format!("role \"{}\" is not a member of role \"{}\"", member.name, of.name);
                self.notices.push(Notice::warning(Condition::Warning, message));
                continue;
            };
            if admin_only {
                known.admin = false;
            } else {
                member.member_of.remove(&of.oid);
            }
            self.change(AccessChange::PutRole(member))?;
        }
        Ok(())
    }
}

fn reserved(name: &str) -> SqlError {
    SqlError::new(Condition::ReservedName, format!("role name \"{name}\" is reserved"))
        .with_detail("Role names starting with \"pg_\" and \"millstream_\" are reserved.")
}
