//! Who a session is: who connected, whose place it took since, and what that role may do.
//!
//! Who connected is known by number and stays: whatever happens to the role, the session is nobody else. Whose place
//! was taken stands in the settings `session_authorization` and `role`, so that a rollback puts it back; whether it
//! may still be taken is asked at every statement.

use millstream_planner::access::{BOOTSTRAP, ObjectClass, Privileges, Role, RoleOid, Roles};
use millstream_planner::catalog::Catalog;
use millstream_planner::statement::{Command, Statement};

use super::settings::Changed;
use super::sqlstate::Condition;
use super::{Session, SqlError};
use crate::engine::access::check::authorize;
use crate::engine::access::{Actor, denied, unknown_role};
use crate::engine::system::is_system_schema;

/// Who connected.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// The role.
    role: RoleOid,
    /// Its name at that time.
    name: String,
}

impl Identity {
    pub(super) fn of(role: &Role) -> Self {
        Self { role: role.oid, name: role.name.clone() }
    }

    /// The first superuser.
    pub(super) fn server(roles: &Roles) -> Self {
        Self { role: BOOTSTRAP, name: roles.name_of(BOOTSTRAP) }
    }

    /// Its name when it connected.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Session {
    /// Who runs a statement now.
    pub(super) fn actor(&self) -> Result<Actor, SqlError> {
        let state = self.state();
        self.actor_among(state.catalog.view.roles())
    }

    fn actor_among(&self, roles: &Roles) -> Result<Actor, SqlError> {
        let session = self.session_role(roles)?;
        let current = match self.settings.get("role") {
            Some(name) if name != "none" => taken(roles, session, &name, false)?,
            Some(_) | None => session,
        };
        Ok(Actor { current, session })
    }

    /// Refuses a setting that the role may not change, however it is set.
    pub(super) fn authorize_setting(&self, name: &str) -> Result<(), SqlError> {
        self.authorize(&Statement::Command(Command::Set { name: name.to_string(), value: None, local: false }))
    }

    /// Refuses what the role may not do.
    pub(super) fn authorize(&self, statement: &Statement) -> Result<(), SqlError> {
        let state = self.state();
        let catalog = &state.catalog.view;
        // Whoever lost the role that was taken must be able to go back.
        if let Statement::Command(Command::Set { name, .. } | Command::Reset { name }) = statement
            && ["role", "session_authorization"].contains(&name.as_str())
        {
            return Ok(());
        }
        authorize(catalog, self.actor_among(catalog.roles())?.current, statement)
    }

    /// `SET ROLE`, `SET SESSION AUTHORIZATION`; `None` goes back.
    pub(super) fn set_role(&mut self, setting: &str, value: Option<&str>, local: bool) -> Result<Changed, SqlError> {
        // As a value of a setting a role that is not there has another code.
        self.take_role(setting, value, local).map_err(|error| match error.is(Condition::UndefinedObject) {
            true => SqlError { sqlstate: Condition::InvalidParameterValue.code(), ..error },
            false => error,
        })
    }

    fn take_role(&mut self, setting: &str, value: Option<&str>, local: bool) -> Result<Changed, SqlError> {
        let state = self.state();
        let roles = state.catalog.view.roles();
        let mut changed = Changed::default();
        let value = value.filter(|name| setting != "role" || *name != "none");
        if setting == "session_authorization" {
            let name = match value {
                None => self.identity.name.clone(),
                Some(name) => {
                    taken(roles, self.identity.role, name, true)?;
                    name.to_string()
                }
            };
            changed = self.settings.force(setting, &name, local);
            changed.reported.extend(self.settings.set("role", None, local)?.reported);
        } else {
            if let Some(name) = value {
                taken(roles, self.session_role(roles)?, name, false)?;
            }
            changed.notices.extend(self.settings.set("role", value.or(Some("none")), local)?.notices);
        }
        let superuser = self.actor_among(roles).is_ok_and(|actor| roles.is_superuser(actor.current));
        let shown = self.settings.force("is_superuser", if superuser { "on" } else { "off" }, local);
        changed.reported.extend(shown.reported);
        Ok(changed)
    }

    /// Who the session is before SET ROLE.
    fn session_role(&self, roles: &Roles) -> Result<RoleOid, SqlError> {
        let connected = self.identity.role;
        if roles.get(connected).is_none() {
            return Err(unknown_role(&self.identity.name));
        }
        match self.settings.get("session_authorization") {
            Some(name) if name != self.identity.name => taken(roles, connected, &name, true),
            Some(_) | None => Ok(connected),
        }
    }

    /// The names of `current_user` and `session_user`.
    pub(super) fn user_names(&self) -> (String, String) {
        let state = self.state();
        let roles = state.catalog.view.roles();
        match self.actor_among(roles) {
            Ok(actor) => (roles.name_of(actor.current), roles.name_of(actor.session)),
            Err(_) => (self.identity.name.clone(), self.identity.name.clone()),
        }
    }

    /// The schemas of a search path in which the role may name something: as in Postgres others are passed over.
    pub(super) fn usable_schemas(&self, catalog: &Catalog, path: Vec<String>) -> Vec<String> {
        let roles = catalog.roles();
        let Ok(actor) = self.actor_among(roles) else { return Vec::new() };
        if roles.is_superuser(actor.current) {
            return path;
        }
        let usable = |schema: &String| {
            is_system_schema(schema)
                || !catalog.schemas().contains_key(schema)
                || roles.may(actor.current, ObjectClass::Schema, &catalog.schema_access(schema), Privileges::USAGE)
        };
        path.into_iter().filter(usable).collect()
    }
}

/// The role of that name, if `from` may take its place.
fn taken(roles: &Roles, from: RoleOid, name: &str, as_session: bool) -> Result<RoleOid, SqlError> {
    let role = roles.find(name).ok_or_else(|| unknown_role(name))?;
    let may = match as_session {
        true => role.oid == from || roles.is_superuser(from),
        false => roles.is_member(from, role.oid),
    };
    match (may, as_session) {
        (true, _) => Ok(role.oid),
        (false, true) => Err(denied("permission denied to set session authorization")),
        (false, false) => Err(denied(format!("permission denied to set role \"{name}\""))),
    }
}
