//! GRANT and REVOKE of privileges, ALTER ... OWNER TO, REASSIGN OWNED.

use millstream_planner::access::{
    AccessStatement, AclItem, Grant, GrantObjects, ObjectAccess, ObjectClass, OwnedObject, PUBLIC, Privileges, RoleOid,
    RoleSpec, grant, grant_item, revoke,
};
use millstream_planner::secret::Secret;
use millstream_runtime::Error;
use millstream_runtime::plan::RelationId;

use super::check::{must_own, must_own_secret, noun};
use super::{AccessChange, Changing, denied};
use crate::engine::system::is_system_schema;
use crate::session::sqlstate::Condition;
use crate::session::{Notice, SqlError};

/// One object of a GRANT.
#[derive(Clone)]
enum Object {
    Relation(RelationId),
    Schema(String),
    Database(String),
    Secret(u32),
}

/// A GRANT or REVOKE over all of its objects.
struct Giving<'a> {
    privileges: Privileges,
    grantees: &'a [RoleSpec],
    option: bool,
    /// For REVOKE: whether CASCADE was said.
    revoke: Option<bool>,
}

impl Changing {
    pub(super) fn privileges(&mut self, statement: &AccessStatement, database: &str) -> Result<(), SqlError> {
        match statement {
            AccessStatement::Grant { privileges, objects, grantees, grant_option } => {
                let giving = Giving { privileges: *privileges, grantees, option: *grant_option, revoke: None };
                self.give_all(objects, &giving, database)
            }
            AccessStatement::Revoke { privileges, objects, grantees, option_only, cascade } => {
                let giving = Giving { privileges: *privileges, grantees, option: *option_only, revoke: Some(*cascade) };
                self.give_all(objects, &giving, database)
            }
            AccessStatement::OwnerTo { object, owner, .. } => {
                let owner = self.role(owner)?.oid;
                let object = match object {
                    OwnedObject::Relation(relation) => Object::Relation(*relation),
                    OwnedObject::Schema(name) => Object::Schema(name.clone()),
                    OwnedObject::Secret(oid) => Object::Secret(*oid),
                };
                self.may_hand_over(&object, owner)?;
                self.hand_over(&object, owner)
            }
            AccessStatement::ReassignOwned { roles, owner } => self.reassign(roles, owner),
            AccessStatement::CreateRole { .. }
            | AccessStatement::AlterRole { .. }
            | AccessStatement::RenameRole { .. }
            | AccessStatement::DropRoles { .. }
            | AccessStatement::GrantRoles { .. }
            | AccessStatement::RevokeRoles { .. }
            | AccessStatement::DropOwned { .. }
            | AccessStatement::ChangeDefaults(_) => unreachable!("these are planned elsewhere"),
        }
    }

    fn give_all(&mut self, objects: &GrantObjects, giving: &Giving<'_>, database: &str) -> Result<(), SqlError> {
        for object in self.objects(objects, database)? {
            self.give(&object, giving)?;
        }
        Ok(())
    }

    fn objects(&self, objects: &GrantObjects, database: &str) -> Result<Vec<Object>, SqlError> {
        Ok(match objects {
            GrantObjects::Relations(ids) => ids.iter().map(|id| Object::Relation(*id)).collect(),
            GrantObjects::AllInSchemas(schemas) => {
                let inside = self.view.relations().filter(|relation| {
                    schemas.contains(&relation.name.schema) && !is_system_schema(&relation.name.schema)
                });
                inside.map(|relation| Object::Relation(relation.id)).collect()
            }
            GrantObjects::Schemas(names) => names.iter().map(|name| Object::Schema(name.clone())).collect(),
            GrantObjects::Secrets(oids) => oids.iter().map(|oid| Object::Secret(*oid)).collect(),
            GrantObjects::Databases(names) => {
                if let Some(other) = names.iter().find(|name| *name != database) {
                    let message = format!("database \"{other}\" does not exist");
                    return Err(SqlError::new(Condition::InvalidCatalogName, message)
                        .with_hint("A server has one database: the one that you are connected to."));
                }
                names.iter().map(|name| Object::Database(name.clone())).collect()
            }
        })
    }

    /// Its class, its name, and who may do what with it.
    fn access(&self, object: &Object) -> Result<(ObjectClass, String, ObjectAccess), SqlError> {
        Ok(match object {
            Object::Relation(id) => {
                let relation =
                    self.view.get(*id).ok_or_else(|| Error::internal("a relation that was named is not there"))?;
                (ObjectClass::Relation, relation.name.name.clone(), relation.access.clone())
            }
            Object::Schema(name) => (ObjectClass::Schema, name.clone(), self.view.schema_access(name)),
            Object::Database(name) => (ObjectClass::Database, name.clone(), self.view.database_access().clone()),
            Object::Secret(oid) => {
                let secret = self.secret(*oid)?;
                (ObjectClass::Secret, secret.name.name.clone(), secret.access.clone())
            }
        })
    }

    fn secret(&self, oid: u32) -> Result<&Secret, SqlError> {
        match self.view.secret(oid) {
            Some(secret) => Ok(secret),
            None => Err(Error::internal("a secret that was named is not there").into()),
        }
    }

    fn set_access(&mut self, object: &Object, access: ObjectAccess) -> Result<(), SqlError> {
        self.change(match object {
            Object::Relation(id) => AccessChange::Relation { relation: *id, access },
            Object::Schema(name) => AccessChange::Schema { name: name.clone(), access },
            Object::Database(_) => AccessChange::Database(access),
            Object::Secret(oid) => AccessChange::Secret { oid: *oid, access },
        })
    }

    fn give(&mut self, object: &Object, giving: &Giving<'_>) -> Result<(), SqlError> {
        let (class, name, mut access) = self.access(object)?;
        let mut acl = access.effective(class);
        let (grantor, grantable) = self.grantor(&access, class, giving.privileges);
        let what = match object {
            Object::Relation(id) => self.view.get(*id).map_or("relation", |relation| noun(&relation.kind)),
            Object::Schema(_) => "schema",
            Object::Database(_) => "database",
            Object::Secret(_) => "secret",
        };
        if grantable.is_empty() {
            let held = self.roles_known().held(self.actor.current, class, &access, Privileges::all(class));
            if held.is_empty() {
                return Err(denied(format!("permission denied for {what} {name}")));
            }
        }
        if grantable != giving.privileges {
            let how_many = if grantable.is_empty() { "no" } else { "not all" };
            self.notices.push(match giving.revoke {
                None => {
                    let message = format!("{how_many} privileges were granted for \"{name}\"");
                    Notice::warning(Condition::PrivilegeNotGranted, message)
                }
                Some(_) => {
                    let message = format!("{how_many} privileges could be revoked for \"{name}\"");
                    Notice::warning(Condition::PrivilegeNotRevoked, message)
                }
            });
        }
        for grantee in giving.grantees {
            let grantee = match grantee {
                RoleSpec::Public => PUBLIC,
                named => self.role(named)?.oid,
            };
            if grantee == PUBLIC && giving.option && giving.revoke.is_none() {
                let message = "grant options can only be granted to roles";
                return Err(SqlError::new(Condition::InvalidGrantOperation, message));
            }
            let one = Grant { grantee, grantor, privileges: grantable, option_only: giving.option };
            match giving.revoke {
                None if grantable.is_empty() => {}
                None => grant(&mut acl, &one),
                Some(cascade) => revoke(&mut acl, &one, access.owner, cascade).map_err(|_| {
                    SqlError::new(Condition::DependentObjectsStillExist, "dependent privileges exist")
                        .with_hint("Use CASCADE to revoke them too.")
                })?,
            }
        }
        if acl != access.effective(class) || access.acl.is_some() {
            access.acl = Some(acl);
            self.set_access(object, access)?;
        }
        Ok(())
    }

    /// In whose name a privilege is given, and which of those that are asked for can be.
    fn grantor(&self, access: &ObjectAccess, class: ObjectClass, wanted: Privileges) -> (RoleOid, Privileges) {
        let roles = self.roles_known();
        if roles.owns(self.actor.current, access) {
            return (access.owner, wanted);
        }
        let mut best = (self.actor.current, Privileges::NONE);
        for item in access.effective(class) {
            let own = item.grantee == self.actor.current;
            if (own || roles.has_privileges_of(self.actor.current, item.grantee)) && item.grantee != PUBLIC {
                let all = access.effective(class);
                let grantable = all
                    .iter()
                    .filter(|other| other.grantee == item.grantee)
                    .fold(Privileges::NONE, |grantable, other| grantable.with(other.grantable))
                    .and(wanted);
                if grantable.names().count() > best.1.names().count() {
                    best = (item.grantee, grantable);
                }
            }
        }
        best
    }

    fn may_hand_over(&self, object: &Object, owner: RoleOid) -> Result<(), SqlError> {
        if self.is_superuser() {
            return Ok(());
        }
        let roles = self.roles_known();
        let (_, name, access) = self.access(object)?;
        let schema = match object {
            Object::Relation(id) => {
                let relation =
                    self.view.get(*id).ok_or_else(|| Error::internal("a relation that was named is not there"))?;
                must_own(roles, self.actor.current, relation)?;
                Some(relation.name.schema.clone())
            }
            Object::Secret(oid) => {
                must_own_secret(roles, self.actor.current, self.secret(*oid)?)?;
                Some(self.secret(*oid)?.name.schema.clone())
            }
            Object::Schema(_) | Object::Database(_) => {
                if !roles.owns(self.actor.current, &access) {
                    return Err(denied(format!("must be owner of schema {name}")));
                }
                None
            }
        };
        if !roles.is_member(self.actor.current, owner) {
            return Err(denied(format!("must be member of role \"{}\"", roles.name_of(owner))));
        }
        // The new owner must be able to have made it.
        let (within, class, called) = match schema {
            Some(schema) => (self.view.schema_access(&schema), ObjectClass::Schema, format!("schema {schema}")),
            None => (self.view.database_access().clone(), ObjectClass::Database, "database".to_string()),
        };
        match roles.may(owner, class, &within, Privileges::CREATE) {
            true => Ok(()),
            false => Err(denied(format!("permission denied for {called}"))),
        }
    }

    /// The new owner takes the old one's place, in what was granted, too.
    fn hand_over(&mut self, object: &Object, owner: RoleOid) -> Result<(), SqlError> {
        let (_, _, mut access) = self.access(object)?;
        if access.owner == owner {
            return Ok(());
        }
        let old = std::mem::replace(&mut access.owner, owner);
        if let Some(items) = access.acl.take() {
            let mut acl = Vec::new();
            for item in items {
                let replaced = |oid: RoleOid| if oid == old { owner } else { oid };
                let (grantee, grantor) = (replaced(item.grantee), replaced(item.grantor));
                grant_item(&mut acl, &AclItem { grantee, grantor, ..item });
            }
            access.acl = Some(acl);
        }
        self.set_access(object, access)
    }

    fn reassign(&mut self, from: &[RoleSpec], to: &RoleSpec) -> Result<(), SqlError> {
        let to = self.role(to)?;
        let mut old = Vec::new();
        for spec in from {
            let role = self.role(spec)?;
            for needed in [&role, &to] {
                if !self.roles_known().has_privileges_of(self.actor.current, needed.oid) {
                    return Err(denied("permission denied to reassign objects").with_detail(format!(
                        "Only roles with privileges of role \"{}\" may reassign objects owned by it or to it.",
                        needed.name
                    )));
                }
            }
            old.push(role.oid);
        }
        let mut objects: Vec<Object> = self
            .view
            .relations()
            .filter(|relation| old.contains(&relation.access.owner) && !is_system_schema(&relation.name.schema))
            .map(|relation| Object::Relation(relation.id))
            .collect();
        let schemas = self.view.schemas().keys().filter(|name| !is_system_schema(name));
        objects.extend(
            schemas
                .filter(|name| self.view.schemas_with_access().get(*name).is_some_and(|own| old.contains(&own.owner)))
                .map(|name| Object::Schema(name.clone())),
        );
        let secrets = self.view.secrets().filter(|secret| old.contains(&secret.access.owner));
        objects.extend(secrets.map(|secret| Object::Secret(secret.oid)));
        objects.iter().try_for_each(|object| self.hand_over(object, to.oid))
    }

    /// What keeps a role from being dropped, as Postgres lists it.
    pub(super) fn rests_on(&self, role: RoleOid) -> Vec<String> {
        let mut found = Vec::new();
        let mut note = |access: &ObjectAccess, what: String| {
            if access.owner == role {
                found.push(format!("owner of {what}"));
            } else if access.acl.iter().flatten().any(|item| item.grantee == role || item.grantor == role) {
                found.push(format!("privileges for {what}"));
            }
        };
        for relation in self.view.relations() {
            note(&relation.access, format!("{} {}", noun(&relation.kind), relation.name.name));
        }
        for (name, access) in self.view.schemas_with_access() {
            note(access, format!("schema {name}"));
        }
        for secret in self.view.secrets() {
            note(&secret.access, format!("secret {}", secret.name.name));
        }
        note(self.view.database_access(), "the database".to_string());
        for (of, (_, acl)) in self.view.default_privileges().iter() {
            let (roles, on) = (self.roles_known(), if of.relations { "relations" } else { "schemas" });
            let mut what = format!("default privileges on new {on} belonging to role {}", roles.name_of(of.owner));
            if let Some(schema) = &of.schema {
                what.push_str(&format!(" in schema {schema}"));
            }
            note(&ObjectAccess { owner: of.owner, acl: Some(acl.clone()) }, what);
        }
        found
    }
}
