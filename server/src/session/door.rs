//! Who may connect.
//!
//! The whole rule: a role that has a password must give it. One without a password connects from this machine, as
//! long as the first superuser has none either; once that one has, every role needs one. As long as nobody has made
//! a role and the first superuser has no password, a name that is no role is let in, too, as the first superuser:
//! that is what a newcomer meets. A server that can be reached from elsewhere demands passwords always. Whoever
//! passed that must be a role with LOGIN, within its CONNECTION LIMIT, with CONNECT on the database.

use std::sync::{Arc, OnceLock};

use millstream_planner::access::{BOOTSTRAP, ObjectClass, Privileges, Role, Roles};
use millstream_runtime::graph::Clock;

use super::identity::Identity;
use super::registry::Place;
use super::sqlstate::Condition;
use super::{Session, SqlError};
use crate::engine::Engine;
use crate::engine::access::denied;
use crate::engine::access::password::{SALT_BYTES, Verifier, sign};
use crate::engine::limits::SCRAM_ITERATIONS;

/// What a client must show before it is let in.
#[derive(Clone, Debug)]
pub enum Demand {
    /// Nothing.
    Nothing,
    /// A password; without `known` none is right, and the client must not learn that from anything but the end.
    Password {
        /// What the password is checked with.
        verifier: Verifier,
        /// Whether there is such a role with a password that is still good.
        known: bool,
    },
}

/// Asks the roles of an engine. Until it is given one it lets nobody in.
pub struct Door {
    engine: OnceLock<Arc<Engine>>,
    beyond_loopback: bool,
    /// For names that are no roles while the first superuser has no password.
    seed: [u8; 32],
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("beyond_loopback", &self.beyond_loopback).finish_non_exhaustive()
    }
}

impl Door {
    /// A door that opens once it knows the roles.
    pub fn new(beyond_loopback: bool) -> Self {
        Self { engine: OnceLock::new(), beyond_loopback, seed: rand::random() }
    }

    /// A door over roles that are known already.
    pub fn of(engine: Arc<Engine>) -> Self {
        let door = Self::new(false);
        door.knows(engine);
        door
    }

    /// Gives it the roles.
    pub fn knows(&self, engine: Arc<Engine>) {
        // The first one stays: nobody can swap the roles under a server that runs.
        let _ = self.engine.set(engine);
    }

    /// What a client of that user name must show.
    pub fn demand(&self, user: &str) -> Demand {
        let Some(engine) = self.engine.get() else { return self.nobody(user, None) };
        let state = engine.state();
        let roles = state.catalog.view.roles();
        let first = roles.get(BOOTSTRAP).and_then(verifier);
        let role = roles.find(user);
        if let Some((role, verifier)) = role.and_then(|role| Some((role, verifier(role)?))) {
            let expired = role.valid_until_micros.is_some_and(|until| until < engine.clock().now().0);
            return Demand::Password { verifier, known: !expired };
        }
        if first.is_none() && !self.beyond_loopback {
            return Demand::Nothing;
        }
        self.nobody(user, first.as_ref())
    }

    /// The same salt for a name every time, also after a restart, as long as the first superuser keeps its password.
    fn nobody(&self, user: &str, first: Option<&Verifier>) -> Demand {
        let seed = first.map_or(self.seed, |first| sign(&first.server_key, b"names that are no roles"));
        let salt = sign(&seed, user.as_bytes())[..SALT_BYTES].to_vec();
        let verifier = Verifier { salt, iterations: SCRAM_ITERATIONS, stored_key: [0; 32], server_key: [0; 32] };
        Demand::Password { verifier, known: false }
    }
}

fn verifier(role: &Arc<Role>) -> Option<Verifier> {
    role.verifier.as_ref().and_then(|verifier| Verifier::parse(&verifier.0))
}

impl Session {
    /// The session of a client that has shown what [`Door::demand`] asked for.
    pub fn connect(engine: Arc<Engine>, user: &str, database: &str, place: Option<&Place>) -> Result<Self, SqlError> {
        let state = engine.state();
        let catalog = &state.catalog.view;
        let roles = catalog.roles();
        let role = Arc::clone(role_of(roles, user)?);
        if !role.login {
            let message = format!("role \"{}\" is not permitted to log in", role.name);
            return Err(SqlError::new(Condition::InvalidAuthorizationSpecification, message));
        }
        if !roles.may(role.oid, ObjectClass::Database, catalog.database_access(), Privileges::CONNECT) {
            return Err(denied(format!("permission denied for database \"{database}\""))
                .with_detail("User does not have CONNECT privilege."));
        }
        let limit = role.connection_limit.filter(|_| !role.superuser);
        let Some(counted) = engine.role_connections().open(role.oid, limit) else {
            let message = format!("too many connections for role \"{}\"", role.name);
            return Err(SqlError::new(Condition::TooManyConnections, message));
        };
        let mut session = Self::of(engine, Identity::of(&role), role.superuser, database.to_string());
        session.counted = Some(counted);
        if let Some(place) = place {
            session.locks.belong_to(place.seat.process_id());
        }
        session.place = place.cloned();
        Ok(session)
    }
}

/// The role that a user name stands for.
fn role_of<'a>(roles: &'a Roles, user: &str) -> Result<&'a Arc<Role>, SqlError> {
    let first = roles.get(BOOTSTRAP).filter(|first| first.verifier.is_none() && !roles.any_made());
    roles.find(user).or(first).ok_or_else(|| {
        let message = format!("role \"{user}\" does not exist");
        SqlError::new(Condition::InvalidAuthorizationSpecification, message)
    })
}
