//! ALTER DEFAULT PRIVILEGES.

use millstream_planner::access::{
    AclItem, ChangeDefaults, DefaultsFor, Grant, ObjectClass, PUBLIC, RoleOid, RoleSpec, grant, revoke,
};

use super::{AccessChange, Changing, denied};
use crate::session::SqlError;
use crate::session::sqlstate::Condition;

impl Changing {
    /// Changes what is granted on what roles will make. `next_oid` is the first OID that is free.
    pub(super) fn default_privileges(&mut self, said: &ChangeDefaults, next_oid: u32) -> Result<(), SqlError> {
        let mut owners = Vec::new();
        for spec in &said.owners {
            let role = self.role(spec)?;
            if !self.roles_known().is_member(self.actor.current, role.oid) {
                return Err(denied(format!("must be member of role \"{}\"", role.name)));
            }
            owners.push(role.oid);
        }
        if owners.is_empty() {
            owners.push(self.actor.current);
        }
        if let Some(unknown) = said.schemas.iter().find(|name| !self.view.schemas().contains_key(*name)) {
            let message = format!("schema \"{unknown}\" does not exist");
            return Err(SqlError::new(Condition::InvalidSchemaName, message));
        }
        let relations = said.class == ObjectClass::Relation;
        let mut oid = next_oid;
        for owner in owners {
            let schemas: Vec<Option<String>> = match said.schemas.as_slice() {
                [] => vec![None],
                schemas => schemas.iter().cloned().map(Some).collect(),
            };
            for schema in schemas {
                let of = DefaultsFor { owner, schema, relations };
                let before = self.view.default_privileges().get(&of).cloned();
                let mut acl = before.as_ref().map_or_else(|| of.unsaid(), |(_, acl)| acl.clone());
                self.give_by_default(&mut acl, said, owner)?;
                let new_oid = before.as_ref().map_or(oid, |(oid, _)| *oid);
                if before.is_none() {
                    oid += 1;
                }
                self.set_defaults(of, new_oid, acl)?;
            }
        }
        Ok(())
    }

    fn give_by_default(&self, acl: &mut Vec<AclItem>, said: &ChangeDefaults, owner: RoleOid) -> Result<(), SqlError> {
        for grantee in &said.grantees {
            let grantee = match grantee {
                RoleSpec::Public => PUBLIC,
                named => self.role(named)?.oid,
            };
            if grantee == PUBLIC && said.option && said.revoke.is_none() {
                let message = "grant options can only be granted to roles";
                return Err(SqlError::new(Condition::InvalidGrantOperation, message));
            }
            let one = Grant { grantee, grantor: owner, privileges: said.privileges, option_only: said.option };
            match said.revoke {
                None => grant(acl, &one),
                Some(cascade) => revoke(acl, &one, owner, cascade).map_err(|_| {
                    SqlError::new(Condition::DependentObjectsStillExist, "dependent privileges exist")
                        .with_hint("Use CASCADE to revoke them too.")
                })?,
            }
        }
        Ok(())
    }

    /// What holds anyway is not kept.
    pub(super) fn set_defaults(&mut self, of: DefaultsFor, oid: u32, acl: Vec<AclItem>) -> Result<(), SqlError> {
        let acl = (acl != of.unsaid()).then_some(acl);
        if acl.is_none() && self.view.default_privileges().get(&of).is_none() {
            return Ok(());
        }
        self.change(AccessChange::Defaults { of, oid, acl })
    }
}
