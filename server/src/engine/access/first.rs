//! The password that the first superuser starts with.

use millstream_planner::access::{AccessStatement, BOOTSTRAP, Password, RoleOptions, RoleSpec};
use millstream_planner::settings::PlanSettings;
use millstream_planner::statement::Statement;
use tokio_util::sync::CancellationToken;

use super::Actor;
use super::password::Verifier;
use crate::engine::Engine;
use crate::engine::ddl::DdlRequest;
use crate::engine::stop::Stop;
use crate::session::SqlError;

impl Engine {
    /// Gives the first superuser its password, unless it has one: what stands in the environment sets a door that
    /// is open, and never opens one that somebody has locked in another way since.
    pub async fn give_first_password(&self, password: &str) -> Result<(), SqlError> {
        let one_at_a_time = self.begin_ddl().await;
        let state = self.state();
        let roles = state.catalog.view.roles();
        let known = roles.get(BOOTSTRAP).and_then(|first| first.verifier.clone());
        if let Some(known) = known {
            if !Verifier::parse(&known.0).is_some_and(|known| known.is_of(password)) {
                let name = roles.name_of(BOOTSTRAP);
                tracing::warn!(
                    "role {name} keeps the password that it has; MILLSTREAM_PASSWORD is another one. \
                     ALTER ROLE {name} PASSWORD changes it"
                );
            }
            return Ok(());
        }
        let options = RoleOptions { password: Some(Some(Password(password.to_string()))), ..RoleOptions::default() };
        let role = RoleSpec::Name(roles.name_of(BOOTSTRAP));
        let request = DdlRequest {
            sql: String::new(),
            settings: PlanSettings::default(),
            statement: Statement::Access(Box::new(AccessStatement::AlterRole { role, options })),
            actor: Actor::SERVER,
            database: String::new(),
            checkpoint_interval_micros: None,
            waits: false,
        };
        let stop = Stop::new(CancellationToken::new(), None);
        self.run_ddl(request, one_at_a_time, &stop).await.map(drop)
    }

    /// Whether the first superuser has a password.
    pub fn has_first_password(&self) -> bool {
        let state = self.state();
        state.catalog.view.roles().get(BOOTSTRAP).is_some_and(|first| first.verifier.is_some())
    }
}
