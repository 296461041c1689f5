//! The settings within a query: `current_setting` reads them, `set_config` changes a copy, which the session takes
//! over when the query has run to its end.

use std::sync::{Mutex, MutexGuard, PoisonError};

use datafusion::error::{DataFusionError, Result};
use millstream_planner::functions::SessionSettings;

use super::{Changed, Settings};

/// A copy of a session's settings with what was changed in it.
#[derive(Debug)]
pub struct SettingsCopy(Mutex<(Settings, Changed)>);

impl SettingsCopy {
    /// A copy of the settings as they are.
    pub fn of(settings: &Settings) -> Self {
        Self(Mutex::new((settings.clone(), Changed::default())))
    }

    /// The settings as the query left them, and what clients are told of the changes.
    pub fn taken(&self) -> (Settings, Changed) {
        let mut held = self.held();
        (held.0.clone(), std::mem::take(&mut held.1))
    }

    fn held(&self) -> MutexGuard<'_, (Settings, Changed)> {
        // Whoever panicked left whole settings behind: each change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionSettings for SettingsCopy {
    fn get(&self, name: &str) -> Option<String> {
        self.held().0.get(name)
    }

    fn set(&self, name: &str, value: Option<&str>, local: bool) -> Result<String> {
        let mut held = self.held();
        let (settings, told) = &mut *held;
        let changed = settings.set(name, value, local).map_err(|error| DataFusionError::External(Box::new(error)))?;
        told.reported.extend(changed.reported);
        told.notices.extend(changed.notices);
        Ok(settings.get(name).unwrap_or_default())
    }
}
